//! One value, masked.

use std::borrow::Cow;

use model::{DataClassName, classes::Mask};

use super::{CellPlan, Field};

/// A longer value is withheld instead of rebuilt, in bytes.
pub const MAX_MASKED_CELL_BYTES: usize = 64 << 10;

/// What a value is replaced by whole.
const REDACTED: &[u8] = b"********";

/// Fewest letters and digits of which the last four are shown; of fewer they would be most of the value.
const MIN_FOR_LAST_FOUR: usize = 8;

/// `text`, `varchar`, `bpchar` and `name`: their text and binary forms are the same bytes.
/// <https://github.com/postgres/postgres/blob/REL_18_0/src/include/catalog/pg_type.dat>
const TEXT_TYPES: [u32; 4] = [25, 1043, 1042, 19];

/// How values of one type are shown under a mask: types that cannot carry the mask's result are withheld.
pub(super) fn planned(mask: Mask, class: &DataClassName, field: &Field<'_>) -> CellPlan {
    let text = TEXT_TYPES.contains(&field.type_oid);
    match mask {
        Mask::Redact | Mask::KeepLastFour | Mask::KeepDomain if text => {
            CellPlan::Mask { mask, class: class.clone(), type_oid: field.type_oid, binary: field.binary }
        }
        Mask::Redact | Mask::KeepLastFour | Mask::KeepDomain | Mask::Null => CellPlan::Withhold { class: Some(class.clone()) },
    }
}

/// The value as the caller may see it; `None` is NULL. Allocates nothing for a value that passes.
#[must_use]
pub fn mask_cell<'a>(plan: &CellPlan, cell: Option<&'a [u8]>) -> Option<Cow<'a, [u8]>> {
    match plan {
        CellPlan::Pass => cell.map(Cow::Borrowed),
        CellPlan::Withhold { .. } => None,
        CellPlan::Mask { mask, .. } => mask_value(*mask, cell?),
    }
}

/// NULL when the mask cannot be applied: the value is too long, or its bytes are not UTF-8 (another client encoding).
fn mask_value(mask: Mask, value: &[u8]) -> Option<Cow<'static, [u8]>> {
    let text = || Some(value).filter(|value| value.len() <= MAX_MASKED_CELL_BYTES).and_then(|value| std::str::from_utf8(value).ok());
    match mask {
        Mask::Redact => Some(Cow::Borrowed(REDACTED)),
        Mask::Null => None,
        Mask::KeepLastFour => text().map(|text| Cow::Owned(keep_last_four(text).into_bytes())),
        Mask::KeepDomain => text().map(keep_domain),
    }
}

/// Every letter, digit and other sign becomes `*` but the last four letters or digits and what only separates.
fn keep_last_four(text: &str) -> String {
    let count = text.chars().filter(|c| c.is_alphanumeric()).count();
    let hidden = if count < MIN_FOR_LAST_FOUR { count } else { count.saturating_sub(4) };
    let mut seen = 0usize;
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() {
            seen = seen.saturating_add(1);
            shown.push(if seen <= hidden { '*' } else { c });
        } else {
            shown.push(if matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '+') { c } else { '*' });
        }
    }
    shown
}

/// `***@example.com`; redacted whole when what follows the last `@` does not look like a domain, or nothing does.
fn keep_domain(text: &str) -> Cow<'static, [u8]> {
    let domain = text.rsplit_once('@').map(|(_, domain)| domain);
    let plain = |domain: &&str| !domain.is_empty() && domain.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '-');
    match domain.filter(plain) {
        Some(domain) => Cow::Owned(format!("***@{domain}").into_bytes()),
        None => Cow::Borrowed(REDACTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(mask: Mask, type_oid: u32, binary: bool, value: Option<&[u8]>) -> Option<String> {
        let field = Field { name: "x", table_oid: 1, column: 1, type_oid, binary };
        let plan = planned(mask, &"secret".parse().unwrap(), &field);
        mask_cell(&plan, value).map(|value| String::from_utf8(value.into_owned()).unwrap())
    }

    #[test]
    fn masks_of_text_are_the_same_in_text_and_binary() {
        let table = [
            (Mask::Redact, "anything", Some("********")),
            (Mask::Redact, "", Some("********")),
            (Mask::Null, "anything", None),
            (Mask::KeepLastFour, "4111-1111-1111-1234", Some("****-****-****-1234")),
            (Mask::KeepLastFour, "+44 20 7946 0958", Some("+** ** **** 0958")),
            (Mask::KeepLastFour, "1234567", Some("*******")),
            (Mask::KeepLastFour, "p&ss", Some("****")),
            (Mask::KeepLastFour, "größe名前12345", Some("********2345")),
            (Mask::KeepDomain, "alice@example.com", Some("***@example.com")),
            (Mask::KeepDomain, "\"a@b\"@exämple.org", Some("***@exämple.org")),
            (Mask::KeepDomain, "alice at home", Some("********")),
            (Mask::KeepDomain, "write to alice@example.com please", Some("********")),
            (Mask::KeepDomain, "alice@", Some("********")),
        ];
        for (mask, value, expected) in table {
            for type_oid in TEXT_TYPES {
                for binary in [false, true] {
                    let shown = masked(mask, type_oid, binary, Some(value.as_bytes()));
                    assert_eq!(shown.as_deref(), expected, "{mask:?} of {value:?} as type {type_oid}, binary {binary}");
                    assert_eq!(masked(mask, type_oid, binary, None), None, "NULL stays NULL");
                }
            }
        }
    }

    #[test]
    fn other_types_are_withheld() {
        // int4, numeric, date, jsonb, bytea, text[], uuid, inet
        for type_oid in [23, 1700, 1082, 3802, 17, 1009, 2950, 869] {
            for mask in [Mask::Redact, Mask::Null, Mask::KeepLastFour, Mask::KeepDomain] {
                for binary in [false, true] {
                    assert_eq!(masked(mask, type_oid, binary, Some(b"\x00\x00\x00\x01")), None, "{type_oid} {mask:?}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_rebuilt_is_withheld() {
        let latin1 = b"andr\xe9@example.com";
        assert_eq!(masked(Mask::KeepDomain, 25, false, Some(latin1)), None);
        assert_eq!(masked(Mask::KeepLastFour, 25, false, Some(latin1)), None);
        assert_eq!(masked(Mask::Redact, 25, false, Some(latin1)).as_deref(), Some("********"));
        let long = vec![b'7'; MAX_MASKED_CELL_BYTES + 1];
        assert_eq!(masked(Mask::KeepLastFour, 25, false, Some(&long)), None);
    }

    proptest! {
        #[test]
        fn at_most_four_letters_or_digits_are_kept(text in "\\PC{0,40}") {
            let shown = keep_last_four(&text);
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert!(shown.chars().filter(|c| c.is_alphanumeric()).count() <= 4);
        }

        #[test]
        fn nothing_before_the_last_at_sign_is_kept(local in "[a-z0-9@\" ]{1,20}", domain in "[a-z0-9.-]{1,20}") {
            let value = format!("{local}@{domain}");
            let expected = format!("***@{domain}").into_bytes();
            prop_assert_eq!(keep_domain(&value).into_owned(), expected);
        }
    }
}
