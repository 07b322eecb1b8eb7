//! Values of built-in types, read from and written to both formats. <https://www.postgresql.org/docs/18/protocol-overview.html#PROTOCOL-FORMAT-CODES>;
//! binary formats are those of each type's `send` function.

use std::{net::IpAddr, num::NonZeroU64};

use jiff::civil::{Date, DateTime};

use super::shape::Scalar;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Most digits of a number that is read.
const MAX_DIGITS: usize = 38;

/// A value whose type is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    /// An integer.
    Integer(i64),
    Decimal(Decimal),
    Float(f64),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since 2000-01-01, of the clock that the text shows, and the text's zone.
    Moment(i64, &'a str),
    Uuid([u8; 16]),
    Bytes(Vec<u8>),
    /// An address and the bits of its network.
    Address(IpAddr, u8),
}

/// `unscaled / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) negative: bool,
    pub(super) unscaled: u128,
    pub(super) scale: u32,
}

impl Decimal {
    /// None for what is no plain number of up to 38 digits, such as `NaN` or `1e5`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = !whole.is_empty() && whole.len() + fraction.len() <= MAX_DIGITS;
        if !plain || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { negative, unscaled: format!("{whole}{fraction}").parse().ok()?, scale: u32::try_from(fraction.len()).ok()? })
    }

    /// Rounded down to a multiple of the band.
    pub(super) fn coarser(self, band: u32) -> Option<Self> {
        let unit = 10u128.checked_pow(self.scale)?;
        let step = NonZeroU64::new(u64::from(band)).map(|band| u128::from(band.get()))?.checked_mul(unit)?;
        // Towards the lesser number, below zero too.
        let steps = if self.negative { self.unscaled.div_ceil(step) } else { self.unscaled / step };
        let whole = steps.checked_mul(step)? / unit;
        Some(Self { negative: self.negative && whole != 0, unscaled: whole, scale: 0 })
    }

    /// Without zeros at its end.
    pub(super) const fn reduced(self) -> Self {
        let Self { negative, mut unscaled, mut scale } = self;
        while scale > 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
        Self { negative, unscaled, scale }
    }

    fn written(self) -> String {
        let width = usize::try_from(self.scale).unwrap_or(usize::MAX).saturating_add(1);
        let mut text = format!("{:0>width$}", self.unscaled);
        if self.scale > 0 {
            text.insert(text.len().saturating_sub(width - 1), '.');
        }
        if self.negative { format!("-{text}") } else { text }
    }
}

/// None where the bytes are no value of the type that is understood: what is infinite, before our era, or written in another style than ISO.
pub(super) fn read(kind: Scalar, binary: bool, bytes: &[u8]) -> Option<Value<'_>> {
    if binary { from_binary(kind, bytes) } else { from_text(kind, std::str::from_utf8(bytes).ok()?) }
}

/// None where the value is none of the type.
pub(super) fn write(kind: Scalar, binary: bool, value: &Value<'_>) -> Option<Vec<u8>> {
    if binary { to_binary(kind, value) } else { to_text(kind, value) }
}

fn from_text(kind: Scalar, text: &str) -> Option<Value<'_>> {
    Some(match kind {
        Scalar::Text => Value::Text(text),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => Value::Integer(text.parse().ok()?),
        Scalar::Numeric => Value::Decimal(Decimal::parse(text)?),
        Scalar::Float4 | Scalar::Float8 => Value::Float(text.parse().ok().filter(|number: &f64| number.is_finite())?),
        Scalar::Date => Value::Date(days(text)?),
        Scalar::Timestamp | Scalar::TimestampTz => moment(text, kind == Scalar::TimestampTz)?,
        Scalar::Uuid => Value::Uuid(unhex(&text.replace('-', ""))?.try_into().ok()?),
        Scalar::Bytea => Value::Bytes(unhex(text.strip_prefix("\\x")?)?),
        Scalar::Inet | Scalar::Cidr => {
            let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
            let address: IpAddr = address.parse().ok()?;
            Value::Address(address, bits.map_or(Ok(width(address)), str::parse).ok()?)
        }
        _ => return None,
    })
}

fn to_text(kind: Scalar, value: &Value<'_>) -> Option<Vec<u8>> {
    let text = match (kind, value) {
        (Scalar::Text, Value::Text(text)) => (*text).to_owned(),
        (Scalar::Int2, Value::Integer(number)) => i16::try_from(*number).ok()?.to_string(),
        (Scalar::Int4, Value::Integer(number)) => i32::try_from(*number).ok()?.to_string(),
        (Scalar::Int8, Value::Integer(number)) => number.to_string(),
        (Scalar::Numeric, Value::Decimal(number)) => number.written(),
        (Scalar::Float4 | Scalar::Float8, Value::Float(number)) => number.to_string(),
        (Scalar::Date, Value::Date(days)) => date(*days)?.to_string(),
        (Scalar::Timestamp | Scalar::TimestampTz, Value::Moment(micros, zone)) => {
            let moment = date_time(*micros)?;
            let (date, time) = (moment.date(), moment.time());
            let fraction = if time.subsec_nanosecond() == 0 { String::new() } else { format!(".{:06}", time.subsec_nanosecond() / 1_000) };
            let fraction = fraction.trim_end_matches('0');
            format!("{date} {:02}:{:02}:{:02}{fraction}{zone}", time.hour(), time.minute(), time.second())
        }
        (Scalar::Uuid, Value::Uuid(bytes)) => {
            let all = hex(bytes);
            let part = |from: usize, to: usize| all.get(from..to).unwrap_or_default();
            [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
        }
        (Scalar::Bytea, Value::Bytes(bytes)) => format!("\\x{}", hex(bytes)),
        (Scalar::Inet, Value::Address(address, bits)) if *bits == width(*address) => address.to_string(),
        (Scalar::Inet | Scalar::Cidr, Value::Address(address, bits)) => format!("{address}/{bits}"),
        _ => return None,
    };
    Some(text.into_bytes())
}

fn from_binary(kind: Scalar, bytes: &[u8]) -> Option<Value<'_>> {
    Some(match kind {
        Scalar::Text => Value::Text(std::str::from_utf8(bytes).ok()?),
        Scalar::Int2 => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Scalar::Int4 => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Scalar::Int8 => Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Scalar::Numeric => Value::Decimal(numeric(bytes)?),
        Scalar::Float4 => Value::Float(f64::from(f32::from_be_bytes(bytes.try_into().ok()?))).finite()?,
        Scalar::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)).finite()?,
        Scalar::Date => Value::Date(i32::from_be_bytes(bytes.try_into().ok()?)),
        Scalar::Timestamp | Scalar::TimestampTz => Value::Moment(i64::from_be_bytes(bytes.try_into().ok()?), ""),
        Scalar::Uuid => Value::Uuid(bytes.try_into().ok()?),
        Scalar::Bytea => Value::Bytes(bytes.to_vec()),
        Scalar::Inet | Scalar::Cidr => address(bytes)?,
        _ => return None,
    })
}

fn to_binary(kind: Scalar, value: &Value<'_>) -> Option<Vec<u8>> {
    Some(match (kind, value) {
        (Scalar::Text, Value::Text(text)) => text.as_bytes().to_vec(),
        (Scalar::Int2, Value::Integer(number)) => i16::try_from(*number).ok()?.to_be_bytes().to_vec(),
        (Scalar::Int4, Value::Integer(number)) => i32::try_from(*number).ok()?.to_be_bytes().to_vec(),
        (Scalar::Int8, Value::Integer(number)) => number.to_be_bytes().to_vec(),
        (Scalar::Numeric, Value::Decimal(number)) => numeric_bytes(*number)?,
        #[expect(clippy::cast_possible_truncation, reason = "a float4 has no more")]
        (Scalar::Float4, Value::Float(number)) => (*number as f32).to_be_bytes().to_vec(),
        (Scalar::Float8, Value::Float(number)) => number.to_be_bytes().to_vec(),
        (Scalar::Date, Value::Date(days)) => days.to_be_bytes().to_vec(),
        (Scalar::Timestamp | Scalar::TimestampTz, Value::Moment(micros, _)) => micros.to_be_bytes().to_vec(),
        (Scalar::Uuid, Value::Uuid(bytes)) => bytes.to_vec(),
        (Scalar::Bytea, Value::Bytes(bytes)) => bytes.clone(),
        (Scalar::Inet | Scalar::Cidr, Value::Address(address, bits)) => address_bytes(*address, *bits, kind == Scalar::Cidr),
        _ => return None,
    })
}

impl Value<'_> {
    fn finite(self) -> Option<Self> {
        if matches!(self, Self::Float(number) if !number.is_finite()) { None } else { Some(self) }
    }
}

/// The first day of what is kept, at least a month.
pub(super) fn first_day(days: i32, year: bool) -> Option<i32> {
    let day = date(days)?;
    since_2000(if year { day.first_of_year() } else { day.first_of_month() })
}

/// The beginning of the day, as the clock shows it.
pub(super) fn split_day(micros: i64) -> Option<(i32, i64)> {
    Some((i32::try_from(micros.div_euclid(DAY)).ok()?, micros.rem_euclid(DAY)))
}

/// What [`split_day`] cut.
pub(super) fn join_day(days: i32, micros: i64) -> Option<i64> {
    i64::from(days).checked_mul(DAY)?.checked_add(micros)
}

fn date(days: i32) -> Option<Date> {
    let span = jiff::Span::new().try_days(days).ok()?;
    jiff::civil::date(2000, 1, 1).checked_add(span).ok()
}

fn since_2000(day: Date) -> Option<i32> {
    day.since((jiff::Unit::Day, jiff::civil::date(2000, 1, 1))).ok().map(|span| span.get_days())
}

fn date_time(micros: i64) -> Option<DateTime> {
    let (days, rest) = split_day(micros)?;
    let time = jiff::civil::Time::midnight().checked_add(jiff::Span::new().try_microseconds(rest).ok()?).ok()?;
    Some(date(days)?.to_datetime(time))
}

/// `2026-11-29`.
fn days(text: &str) -> Option<i32> {
    let mut parts = text.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() {
        return None;
    }
    since_2000(Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?)
}

/// `2026-11-29 13:45:10.123456+01`.
fn moment(text: &str, zoned: bool) -> Option<Value<'_>> {
    let (date, clock) = text.split_once(' ')?;
    let at = clock.find(['+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at_checked(at)?;
    if zone.is_empty() == zoned || zone.bytes().skip(1).any(|byte| !byte.is_ascii_digit() && byte != b':') {
        return None;
    }
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let (hour, minute, second) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || fraction.len() > 6 {
        return None;
    }
    let fraction = if fraction.is_empty() { 0 } else { number(&format!("{fraction:0<6}"), 6)? };
    let micros = (((hour * 60 + minute) * 60 + second) * 1_000_000) + fraction;
    Some(Value::Moment(join_day(days(date)?, micros)?, zone))
}

/// Microseconds by which a zone is ahead of UTC, as a moment is written with: `+01`, `-03:30`, `+00:19:32`; none is UTC.
pub(super) fn offset(zone: &str) -> Option<i64> {
    let (sign, parts) = match zone.split_at_checked(1) {
        None => return Some(0),
        Some(("+", parts)) => (1, parts),
        Some((_, parts)) => (-1, parts),
    };
    let mut seconds = 0;
    for (part, unit) in parts.split(':').zip([3_600, 60, 1]) {
        seconds += number(part, 2)? * unit;
    }
    Some(sign * seconds * 1_000_000)
}

/// As many digits, all of the text.
fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// `inet_send`: family (2 or 3), bits, whether it is a cidr, bytes, the address.
fn address(bytes: &[u8]) -> Option<Value<'_>> {
    let ([family, bits, _, _], address) = bytes.split_first_chunk::<4>()?;
    let address = match family {
        2 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        3 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some(Value::Address(address, *bits))
}

fn address_bytes(address: IpAddr, bits: u8, cidr: bool) -> Vec<u8> {
    let head = |family: u8, count: u8| [family, bits, u8::from(cidr), count];
    match address {
        IpAddr::V4(v4) => [head(2, 4).as_slice(), v4.octets().as_slice()].concat(),
        IpAddr::V6(v6) => [head(3, 16).as_slice(), v6.octets().as_slice()].concat(),
    }
}

/// `numeric_send`: digits of base 10,000, their count, the first one's weight, sign, decimal digits after the point.
fn numeric(bytes: &[u8]) -> Option<Decimal> {
    const NEGATIVE: u16 = 0x4000;
    let (head, digits) = bytes.split_first_chunk::<8>()?;
    let [c1, c2, w1, w2, s1, s2, d1, d2] = *head;
    let (count, weight) = (usize::from(u16::from_be_bytes([c1, c2])), i32::from(i16::from_be_bytes([w1, w2])));
    let (sign, scale) = (u16::from_be_bytes([s1, s2]), u32::from(u16::from_be_bytes([d1, d2])));
    if !matches!(sign, 0 | NEGATIVE) || digits.len() != count.checked_mul(2)? || weight > 10 || scale > 38 {
        return None;
    }
    // Digits of 10^-scale: each group is worth 10^(4 * (weight - place)).
    let mut unscaled: u128 = 0;
    for (place, group) in digits.chunks_exact(2).enumerate() {
        let group = u128::from(u16::from_be_bytes(group.try_into().ok()?));
        let exponent = 4 * (weight - i32::try_from(place).ok()?) + i32::try_from(scale).ok()?;
        let power = 10u128.checked_pow(exponent.unsigned_abs())?;
        let worth = if exponent >= 0 { group.checked_mul(power)? } else { group / power };
        unscaled = unscaled.checked_add(worth)?;
    }
    Some(Decimal { negative: sign == NEGATIVE, unscaled, scale })
}

fn numeric_bytes(number: Decimal) -> Option<Vec<u8>> {
    let text = Decimal { negative: false, ..number }.written();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let all = format!("{whole}{fraction}");
    let groups: Vec<u16> = all.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).ok()?.parse().ok()).collect::<Option<_>>()?;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let trailing = groups.iter().rev().take_while(|group| **group == 0).count().min(groups.len() - leading);
    let kept = groups.get(leading..groups.len() - trailing)?;
    let weight = if kept.is_empty() { 0 } else { i16::try_from(whole.len() / 4).ok()? - 1 - i16::try_from(leading).ok()? };
    let mut bytes = Vec::with_capacity(8 + 2 * kept.len());
    bytes.extend(u16::try_from(kept.len()).ok()?.to_be_bytes());
    bytes.extend(weight.to_be_bytes());
    bytes.extend(if number.negative { [0x40, 0] } else { [0, 0] });
    bytes.extend(u16::try_from(number.scale).ok()?.to_be_bytes());
    kept.iter().for_each(|group| bytes.extend(group.to_be_bytes()));
    Some(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_in_both_formats_is_the_same_value() {
        let date = |days| Value::Date(days);
        let table: &[(Scalar, &str, Option<Value<'_>>)] = &[
            (Scalar::Date, "2000-01-01", Some(date(0))),
            (Scalar::Date, "1999-12-31", Some(date(-1))),
            (Scalar::Date, "2024-02-29", Some(date(8825))),
            (Scalar::Date, "2023-02-29", None),
            (Scalar::Date, "29/02/2024", None),
            (Scalar::Date, "0044-03-15 BC", None),
            (Scalar::Date, "infinity", None),
            (Scalar::Timestamp, "2000-01-02 00:00:01.5", Some(Value::Moment(86_401_500_000, ""))),
            (Scalar::Timestamp, "2000-01-02 00:00:01.5+01", None),
            (Scalar::TimestampTz, "1999-12-31 23:59:59+05:30", Some(Value::Moment(-1_000_000, "+05:30"))),
            (Scalar::TimestampTz, "1999-12-31 23:59:59", None),
            (Scalar::Int4, "-17", Some(Value::Integer(-17))),
            (Scalar::Inet, "10.1.2.3/8", Some(Value::Address("10.1.2.3".parse().unwrap(), 8))),
            (Scalar::Inet, "fe80::1", Some(Value::Address("fe80::1".parse().unwrap(), 128))),
            (Scalar::Bytea, "\\xdead", Some(Value::Bytes(vec![0xde, 0xad]))),
            (Scalar::Bytea, "\\336", None),
        ];
        for (kind, text, expected) in table {
            let value = read(*kind, false, text.as_bytes());
            assert_eq!(value, *expected, "{text}");
            let Some(value) = value else { continue };
            assert_eq!(write(*kind, false, &value).as_deref(), Some(text.as_bytes()), "{text}");
            let binary = write(*kind, true, &value).unwrap();
            let again = read(*kind, true, &binary).unwrap();
            if !matches!(value, Value::Moment(_, zone) if !zone.is_empty()) {
                assert_eq!(again, value, "{text}");
            }
        }
    }

    #[test]
    fn numbers_are_rounded_down() {
        let table = [
            ("17", 10, "10"),
            ("-17", 10, "-20"),
            ("-3", 10, "-10"),
            ("3", 10, "0"),
            ("1999.99", 500, "1500"),
            ("-0.5", 2, "-2"),
            ("-20", 10, "-20"),
        ];
        for (number, band, coarser) in table {
            assert_eq!(Decimal::parse(number).unwrap().coarser(band).unwrap().written(), coarser, "{number}");
        }
        for text in ["", "-", "1e5", "NaN", "1.2.3", "+1", " 1", "123456789012345678901234567890123456789"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn binary_numbers_come_back(negative: bool, unscaled in 0u128..10u128.pow(30), scale in 0u32..20) {
            let number = Decimal { negative: negative && unscaled != 0, unscaled, scale };
            prop_assert_eq!(numeric(&numeric_bytes(number).unwrap()), Some(number));
            prop_assert_eq!(Decimal::parse(&number.written()), Some(number));
        }

        #[test]
        fn moments_come_back(micros in -60_000_000_000_000_000i64..200_000_000_000_000_000) {
            let value = Value::Moment(micros, "");
            let text = write(Scalar::Timestamp, false, &value).unwrap();
            prop_assert_eq!(read(Scalar::Timestamp, false, &text), Some(value));
        }
    }
}
