//! Parameters as text: for facts, for signers, for the recording.

use policy::classify::postgres::ParameterValue;
use protocol::postgres::dialogue::Parameter;

/// The value as facts are made from it.
pub(crate) fn for_facts(parameter: &Parameter) -> ParameterValue {
    match (&parameter.value, as_text(parameter)) {
        (None, _) => ParameterValue::Null,
        (Some(_), Some(text)) => ParameterValue::Text(text),
        (Some(_), None) => ParameterValue::Unreadable,
    }
}

/// The value as PostgreSQL would print it; none for NULL and for what has no text form here.
pub(crate) fn as_text(parameter: &Parameter) -> Option<String> {
    let value = parameter.value.as_deref()?;
    if !parameter.binary {
        return std::str::from_utf8(value).ok().map(str::to_owned);
    }
    binary_as_text(parameter.type_oid, value)
}

/// The value for a signer; NULL and what cannot be read are said to be that.
pub(crate) fn for_people(parameter: &Parameter) -> Option<String> {
    let value = parameter.value.as_deref()?;
    Some(as_text(parameter).unwrap_or_else(|| {
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\\x{digits} (binary, type {})", parameter.type_oid)
    }))
}

/// Binary forms of the built-in types drivers send: `src/backend/utils/adt/*.c`, the `*send` functions. OIDs: `pg_type.dat`.
fn binary_as_text(type_oid: u32, value: &[u8]) -> Option<String> {
    match type_oid {
        // bool
        16 => match value {
            [0] => Some("f".to_owned()),
            [1] => Some("t".to_owned()),
            _ => None,
        },
        // name, text, xml, bpchar, varchar, json, unknown: their text itself
        19 | 25 | 114 | 142 | 705 | 1042 | 1043 => std::str::from_utf8(value).ok().map(str::to_owned),
        // jsonb: a version byte, then text
        3802 => std::str::from_utf8(value.strip_prefix(&[1])?).ok().map(str::to_owned),
        // int8, int2, int4, oid
        20 => value.try_into().ok().map(|bytes| i64::from_be_bytes(bytes).to_string()),
        21 => value.try_into().ok().map(|bytes| i16::from_be_bytes(bytes).to_string()),
        23 => value.try_into().ok().map(|bytes| i32::from_be_bytes(bytes).to_string()),
        26 => value.try_into().ok().map(|bytes| u32::from_be_bytes(bytes).to_string()),
        // float4, float8
        700 => value.try_into().ok().map(|bytes| f32::from_be_bytes(bytes).to_string()),
        701 => value.try_into().ok().map(|bytes| f64::from_be_bytes(bytes).to_string()),
        // uuid
        2950 => value.try_into().ok().map(|bytes| uuid::Uuid::from_bytes(bytes).to_string()),
        // date: days since 2000-01-01; timestamp and timestamptz: microseconds since then
        1082 => moment(i64::from(i32::from_be_bytes(value.try_into().ok()?)).checked_mul(86_400_000_000)?).map(|at| at.date().to_string()),
        1114 => moment(i64::from_be_bytes(value.try_into().ok()?)).map(|at| at.to_string().replace('T', " ")),
        1184 => moment(i64::from_be_bytes(value.try_into().ok()?)).map(|at| format!("{}+00", at.to_string().replace('T', " "))),
        _ => None,
    }
}

/// Microseconds from 1970 to 2000, PostgreSQL's epoch.
const EPOCH_US: i64 = 946_684_800_000_000;

fn moment(since_2000_us: i64) -> Option<jiff::civil::DateTime> {
    let at = model::Timestamp::from_microsecond(since_2000_us.checked_add(EPOCH_US)?).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).datetime())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn binary(type_oid: u32, value: &[u8]) -> Parameter {
        Parameter { type_oid, binary: true, value: Some(Bytes::copy_from_slice(value)) }
    }

    #[test]
    fn binary_values_read_as_postgresql_prints_them() {
        let cases: [(u32, &[u8], &str); 9] = [
            (16, &[1], "t"),
            (23, &[0xff, 0xff, 0xff, 0xfe], "-2"),
            (20, &[0, 0, 0, 0, 0, 0, 1, 0], "256"),
            (25, "é".as_bytes(), "é"),
            (3802, b"\x01{\"a\": 1}", "{\"a\": 1}"),
            (701, &1.5f64.to_be_bytes(), "1.5"),
            (1082, &1i32.to_be_bytes(), "2000-01-02"),
            (1114, &1_500_000i64.to_be_bytes(), "2000-01-01 00:00:01.5"),
            (2950, &[0x12; 16], "12121212-1212-1212-1212-121212121212"),
        ];
        for (type_oid, value, text) in cases {
            assert_eq!(as_text(&binary(type_oid, value)).as_deref(), Some(text), "{type_oid}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_shown_in_digits_and_never_guessed() {
        assert_eq!(as_text(&binary(600, &[1, 2])), None);
        assert_eq!(as_text(&binary(23, &[1])), None);
        assert_eq!(as_text(&binary(1114, &i64::MAX.to_be_bytes())), None);
        assert_eq!(for_people(&binary(600, &[1, 0xab])).as_deref(), Some("\\x01ab (binary, type 600)"));
        assert_eq!(for_people(&Parameter { type_oid: 25, binary: false, value: None }), None);
    }
}
