//! What the fuzz target `mask` runs.

use std::sync::{Arc, LazyLock};

use model::classes::{Coarseness, JsonPath, Mask, Masking, Seen, TimeUnit};

use super::{
    CellPlan, MASK_KEY_BYTES, MaskKeys,
    cell::{self, Hidden},
    mask_cell,
    shape::{Scalar, Shape},
};

static KEYS: LazyLock<MaskKeys> = LazyLock::new(|| MaskKeys::new(Some([5; MASK_KEY_BYTES].into())));

/// Types with the size their values have in binary, 0 if it varies.
const TYPES: &[(Scalar, usize)] = &[
    (Scalar::Text, 0),
    (Scalar::Int2, 2),
    (Scalar::Int4, 4),
    (Scalar::Int8, 8),
    (Scalar::Float4, 4),
    (Scalar::Float8, 8),
    (Scalar::Numeric, 0),
    (Scalar::Bool, 1),
    (Scalar::Date, 4),
    (Scalar::Timestamp, 8),
    (Scalar::TimestampTz, 8),
    (Scalar::Time, 8),
    (Scalar::TimeTz, 12),
    (Scalar::Interval, 16),
    (Scalar::Uuid, 16),
    (Scalar::Bytea, 0),
    (Scalar::Inet, 0),
    (Scalar::Cidr, 0),
    (Scalar::Macaddr, 6),
    (Scalar::Macaddr8, 8),
    (Scalar::Json, 0),
    (Scalar::Jsonb, 0),
    (Scalar::Xml, 0),
    (Scalar::Bit, 0),
    (Scalar::Varbit, 0),
    (Scalar::Range, 0),
    (Scalar::Multirange, 0),
];

fn masks() -> [Mask; 9] {
    let coarse = |to| Mask::Generalise(Coarseness { to, band: 10 });
    let generalised = [TimeUnit::Hour, TimeUnit::Month, TimeUnit::Year].map(coarse);
    let [hour, month, year] = generalised;
    [Mask::Redact, Mask::Null, Mask::KeepLastFour, Mask::KeepDomain, Mask::Hash, Mask::Token, hour, month, year]
}

pub(crate) fn mask(data: &[u8]) {
    let Some((&[kind, flags, by], value)) = data.split_first_chunk() else { return };
    let (scalar, size) = TYPES[usize::from(kind) % TYPES.len()];
    let (binary, seen) = (flags & 1 > 0, if flags & 2 > 0 { Seen::Shown } else { Seen::Hidden });
    let all = masks();
    let mask = all[usize::from(by) % all.len()];
    let shape = match flags >> 3 & 3 {
        1 => Shape::Array(Arc::new(Shape::Scalar(scalar))),
        2 => Shape::Row([Shape::Scalar(scalar), Shape::Scalar(Scalar::Text)].into()),
        _ => Shape::Scalar(scalar),
    };
    let path = (flags & 32 > 0).then(|| "$.a.*".parse::<JsonPath>().unwrap());
    let hidden = [Hidden { class: "secret".parse().unwrap(), masking: Masking { mask, length: seen, nulls: Seen::Shown }, path }];
    let plan = cell::planned(&hidden, &shape, binary, &KEYS);
    let shown = mask_cell(&plan, Some(value));
    assert_eq!(shown, mask_cell(&plan, Some(value)), "{plan:?}");
    assert!(matches!(plan, CellPlan::Mask { .. }) || shown.is_none());
    assert!(mask != Mask::Null || hidden[0].path.is_some() || shown.is_none());
    let Some(shown) = shown else { return };
    if let (Shape::Scalar(_), true) = (&shape, binary) {
        assert!(size == 0 || shown.len() == size, "{shown:?} is no {scalar:?}");
    }
    if !binary && std::str::from_utf8(value).is_ok() {
        assert!(std::str::from_utf8(&shown).is_ok(), "{shown:?}");
    }
    if mask == Mask::Redact && shape == Shape::Scalar(Scalar::Text) {
        assert!(shown.iter().all(|byte| *byte == b'*'), "{shown:?}");
    }
}
