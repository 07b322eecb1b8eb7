//! What a type is built of, as far as its values can be masked.

use std::sync::Arc;

use crate::classify::postgres::catalog::Catalog;

/// Types within types that are looked into.
const MAX_DEPTH: usize = 8;

/// Types in all that one is built of; of more, none is known.
const MAX_PARTS: usize = 10_000;

/// `int2vector` and `oidvector`: they are called arrays and are written otherwise.
const VECTORS: [u32; 2] = [22, 30];

/// How values of a type are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Of no others.
    Scalar(Scalar),
    /// Of others of one type, in any number of dimensions.
    Array(Arc<Self>),
    /// Of one value each of these types.
    Row(Arc<[Self]>),
    /// Not known, or not to be masked.
    Other,
}

/// Built-in types whose values can be masked. `pg_type.dat`,
/// <https://github.com/postgres/postgres/blob/REL_18_0/src/include/catalog/pg_type.dat>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Text,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Bool,
    Date,
    Timestamp,
    TimestampTz,
    Time,
    TimeTz,
    Interval,
    Uuid,
    Bytea,
    Inet,
    Cidr,
    Macaddr,
    Macaddr8,
    Json,
    Jsonb,
    Xml,
    Bit,
    Varbit,
    Point,
    Range,
    Multirange,
}

impl Shape {
    pub(super) fn of(catalog: &Catalog, oid: u32) -> Self {
        let mut parts = MAX_PARTS;
        let shape = Self::within(catalog, oid, MAX_DEPTH, &mut parts);
        if parts == 0 { Self::Other } else { shape }
    }

    fn within(catalog: &Catalog, oid: u32, depth: usize, parts: &mut usize) -> Self {
        *parts = parts.saturating_sub(1);
        let oid = catalog.base_type(oid);
        if let Some(known) = scalar(oid) {
            return Self::Scalar(known);
        }
        let Some(deeper) = depth.checked_sub(1).filter(|_| *parts > 0) else { return Self::Other };
        if let Some(row) = catalog.relation_of_row_type(oid) {
            return Self::Row(row.columns.iter().map(|column| Self::within(catalog, column.type_oid, deeper, parts)).collect());
        }
        match catalog.type_by_oid(oid) {
            Some(array) if array.element != 0 && !VECTORS.contains(&oid) => {
                Self::Array(Arc::new(Self::within(catalog, array.element, deeper, parts)))
            }
            _ => Self::Other,
        }
    }
}

const fn scalar(oid: u32) -> Option<Scalar> {
    Some(match oid {
        19 | 25 | 1042 | 1043 => Scalar::Text,
        21 => Scalar::Int2,
        23 => Scalar::Int4,
        20 => Scalar::Int8,
        700 => Scalar::Float4,
        701 => Scalar::Float8,
        1700 => Scalar::Numeric,
        16 => Scalar::Bool,
        1082 => Scalar::Date,
        1114 => Scalar::Timestamp,
        1184 => Scalar::TimestampTz,
        1083 => Scalar::Time,
        1266 => Scalar::TimeTz,
        1186 => Scalar::Interval,
        2950 => Scalar::Uuid,
        17 => Scalar::Bytea,
        869 => Scalar::Inet,
        650 => Scalar::Cidr,
        829 => Scalar::Macaddr,
        774 => Scalar::Macaddr8,
        114 => Scalar::Json,
        3802 => Scalar::Jsonb,
        142 => Scalar::Xml,
        1560 => Scalar::Bit,
        1562 => Scalar::Varbit,
        600 => Scalar::Point,
        3904 | 3906 | 3908 | 3910 | 3912 | 3926 => Scalar::Range,
        4451 | 4532 | 4533 | 4534 | 4535 | 4536 => Scalar::Multirange,
        _ => return None,
    })
}
