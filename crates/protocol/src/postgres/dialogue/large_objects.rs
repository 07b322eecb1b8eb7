//! The built-in functions of large objects, which libpq calls by FunctionCall. Their OIDs are the same in every version (`pg_proc.dat`).

const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const OID: u32 = 26;

/// A function by its OID, with the types of its arguments.
type Function = (u32, &'static str, &'static [u32]);

const FUNCTIONS: [Function; 20] = [
    (715, "lo_create", &[OID]),
    (764, "lo_import", &[TEXT]),
    (765, "lo_export", &[OID, TEXT]),
    (767, "lo_import", &[TEXT, OID]),
    (952, "lo_open", &[OID, INT4]),
    (953, "lo_close", &[INT4]),
    (954, "loread", &[INT4, INT4]),
    (955, "lowrite", &[INT4, BYTEA]),
    (956, "lo_lseek", &[INT4, INT4, INT4]),
    (957, "lo_creat", &[INT4]),
    (958, "lo_tell", &[INT4]),
    (964, "lo_unlink", &[OID]),
    (1004, "lo_truncate", &[INT4, INT4]),
    (3170, "lo_lseek64", &[INT4, INT8, INT4]),
    (3171, "lo_tell64", &[INT4]),
    (3172, "lo_truncate64", &[INT4, INT8]),
    (3457, "lo_from_bytea", &[OID, BYTEA]),
    (3458, "lo_get", &[OID]),
    (3459, "lo_get", &[OID, INT8, INT4]),
    (3460, "lo_put", &[OID, INT8, BYTEA]),
];

/// The SQL call that a FunctionCall with so many arguments stands for, and their types; none for any other function.
pub(super) fn sql_call(function: u32, arguments: usize) -> Option<(String, &'static [u32])> {
    let (_, name, types) = FUNCTIONS.iter().find(|(oid, _, types)| *oid == function && types.len() == arguments)?;
    let places: Vec<String> = (1..=arguments).map(|place| format!("${place}")).collect();
    Some((format!("SELECT pg_catalog.{name}({})", places.join(", ")), types))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_object_functions_are_their_sql_calls_and_no_others_are() {
        assert_eq!(sql_call(952, 2), Some(("SELECT pg_catalog.lo_open($1, $2)".to_owned(), [OID, INT4].as_slice())));
        assert_eq!(sql_call(952, 1), None);
        // 1598: random
        assert_eq!(sql_call(1598, 0), None);
    }
}
