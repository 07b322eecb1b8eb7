//! One value, masked.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use aws_lc_rs::hmac;
use model::{
    DataClassName,
    classes::{Coarseness, JsonPath, Mask, Masking, Seen, TimeUnit},
};

use super::{
    CellDetector, CellPlan,
    json::{self, Leaf},
    keys::{ClassKeys, MaskKeys},
    nested,
    shape::{Scalar, Shape},
    token,
    value::{self, Decimal, Value},
};

/// A longer value is withheld instead of rebuilt, in bytes.
pub const MAX_MASKED_CELL_BYTES: usize = 64 << 10;

/// What a text is replaced by whole.
pub(super) const REDACTED: &str = "********";

/// The sign that stands for one that is hidden.
const HIDDEN: char = '*';

/// Fewest letters and digits of which the last four are shown; of fewer they would be most of the value.
const MIN_FOR_LAST_FOUR: usize = 8;

/// Hexadecimal digits of a hash: 128 bits.
const HASH_DIGITS: usize = 32;

/// Bits of a network that are kept of an address: those of a site. <https://www.rfc-editor.org/rfc/rfc6177>
const NETWORK_BITS: (u8, u8) = (24, 48);

/// How the values of one column are masked.
pub struct CellMask {
    shape: Shape,
    binary: bool,
    whole: Option<Rule>,
    /// Where not all of a document is masked.
    parts: Vec<(JsonPath, Rule)>,
    /// Looks through the rest of such a document.
    rest: Option<CellDetector>,
}

/// A mask with the keys of its class.
#[derive(Clone)]
pub(super) struct Rule {
    masking: Masking,
    /// Where it needs them.
    keys: Option<Arc<ClassKeys>>,
}

/// How values of a column are to be shown: which of them, in what way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hidden {
    pub(super) class: DataClassName,
    pub(super) masking: Masking,
    /// All of a value, if none.
    pub(super) path: Option<JsonPath>,
}

/// How the values of a column with these classes, of which there is at least one, are shown. They are withheld where their type cannot carry the
/// mask's result, and where masks disagree.
pub(super) fn planned(hidden: &[Hidden], shape: &Shape, binary: bool, keys: &MaskKeys) -> CellPlan {
    let Some(first) = hidden.first() else { return CellPlan::Pass };
    let class = first.class.clone();
    let withheld = CellPlan::Withhold { class: Some(class.clone()) };
    let rule = |hidden: &Hidden| Rule::new(hidden.masking, &hidden.class, keys);
    let whole: Vec<&Hidden> = hidden.iter().filter(|hidden| hidden.path.is_none()).collect();
    let document = matches!(shape, Shape::Scalar(Scalar::Json | Scalar::Jsonb));
    let mask = match whole.as_slice() {
        [] if document => {
            let parts = hidden.iter().filter_map(|part| Some((part.path.clone()?, rule(part))));
            CellMask { shape: shape.clone(), binary, whole: None, parts: parts.collect(), rest: None }
        }
        // A path into what is no document leads nowhere: all of it is meant.
        [] if hidden.iter().all(|other| other.masking == first.masking) => {
            CellMask { shape: shape.clone(), binary, whole: Some(rule(first)), parts: Vec::new(), rest: None }
        }
        // What is hidden in part as well must be hidden in the same way.
        [one, ..] if hidden.iter().all(|other| other.masking == one.masking) => {
            CellMask { shape: shape.clone(), binary, whole: Some(rule(one)), parts: Vec::new(), rest: None }
        }
        _ => return withheld,
    };
    if mask.never_shows() { withheld } else { CellPlan::Mask { class, mask: Arc::new(mask) } }
}

/// The value as the caller may see it; `None` is NULL. Allocates nothing for a value that passes.
#[must_use]
pub fn mask_cell<'a>(plan: &CellPlan, cell: Option<&'a [u8]>) -> Option<Cow<'a, [u8]>> {
    match plan {
        CellPlan::Pass => cell.map(Cow::Borrowed),
        CellPlan::Withhold { .. } => None,
        CellPlan::Detect(detector) => detector.shown(cell?),
        CellPlan::Mask { mask, .. } => mask.shown(cell),
    }
}

impl CellMask {
    /// Whether it makes NULL of everything.
    fn never_shows(&self) -> bool {
        match &self.whole {
            Some(Rule { masking: Masking { mask: Mask::Null, .. }, .. }) => true,
            // Where NULL must look like a value there must be one value for all.
            Some(Rule { masking: Masking { nulls: Seen::Hidden, .. }, .. }) => {
                !matches!(&self.shape, Shape::Scalar(kind) if redacted(*kind, self.binary).is_some())
            }
            Some(rule) => self.shape == Shape::Other || matches!(&self.shape, Shape::Scalar(kind) if !rule.applies(*kind)),
            None => false,
        }
    }

    /// Whether it masks parts of a document and passes the rest.
    pub(super) const fn is_partial(&self) -> bool {
        self.whole.is_none()
    }

    /// The same, with the rest of a document looked through.
    pub(super) fn with_detector(&self, rest: Option<CellDetector>) -> Self {
        Self { shape: self.shape.clone(), binary: self.binary, whole: self.whole.clone(), parts: self.parts.clone(), rest }
    }

    fn shown(&self, cell: Option<&[u8]>) -> Option<Cow<'static, [u8]>> {
        match (&self.whole, &self.rest) {
            (Some(rule), _) => rule.nested(&self.shape, self.binary, cell),
            (None, None) => self.document(cell?).map(Cow::Owned),
            (None, Some(rest)) => {
                let masked = self.document(cell?)?;
                rest.shown(&masked).map(|shown| Cow::Owned(shown.into_owned()))
            }
        }
    }

    /// A document, the parts of it masked. In binary a `jsonb` begins with its version, 1 (`jsonb_send`).
    fn document(&self, value: &[u8]) -> Option<Vec<u8>> {
        let versioned = self.binary && self.shape == Shape::Scalar(Scalar::Jsonb);
        let (version, text) = if versioned { value.split_at_checked(1)? } else { value.split_at(0) };
        if value.len() > MAX_MASKED_CELL_BYTES || (versioned && version != [1]) {
            return None;
        }
        let mut change = |parts: &mut dyn Iterator<Item = usize>, _: Option<&str>, leaf: Leaf<'_>| {
            let mut rules = parts.filter_map(|part| self.parts.get(part)).map(|(_, rule)| rule);
            // Where masks disagree, it is withheld.
            let rule = rules.next().filter(|first| rules.all(|other| other.masking == first.masking));
            Some(rule.and_then(|rule| rule.leaf(leaf)).unwrap_or_else(|| "null".to_owned()))
        };
        let masked = json::replace(std::str::from_utf8(text).ok()?, self.parts.iter().map(|(path, _)| path), &mut change)?;
        Some([version, masked.as_bytes()].concat())
    }
}

impl Rule {
    pub(super) fn new(masking: Masking, class: &DataClassName, keys: &MaskKeys) -> Self {
        Self { masking, keys: matches!(masking.mask, Mask::Hash | Mask::Token).then(|| keys.of(class)).flatten() }
    }

    /// What takes the place of a part of a text.
    pub(super) fn part(&self, text: &[u8]) -> String {
        let whole = self.masking.mask == Mask::Redact && self.masking.length == Seen::Hidden;
        let masked = std::str::from_utf8(text).ok().filter(|_| !whole).and_then(|text| self.text(text));
        masked.unwrap_or_else(|| REDACTED.to_owned())
    }

    /// Whether there is any value of this type that it shows.
    const fn applies(&self, kind: Scalar) -> bool {
        use Scalar::{Bytea, Cidr, Date, Float4, Float8, Inet, Int2, Int4, Int8, Json, Jsonb, Numeric, Text, Timestamp, TimestampTz, Uuid};
        match self.masking.mask {
            Mask::Redact => true,
            Mask::Null => false,
            Mask::KeepLastFour => matches!(kind, Text | Int4 | Int8 | Numeric | Json | Jsonb),
            Mask::KeepDomain => matches!(kind, Text | Json | Jsonb),
            Mask::Hash => matches!(kind, Text | Int8 | Numeric | Uuid | Bytea | Json | Jsonb),
            Mask::Token => matches!(kind, Text | Int4 | Int8 | Numeric | Uuid | Bytea | Inet | Json | Jsonb),
            Mask::Generalise(_) => {
                matches!(kind, Int2 | Int4 | Int8 | Numeric | Float4 | Float8 | Date | Timestamp | TimestampTz | Inet | Cidr | Json | Jsonb)
            }
        }
    }

    fn nested(&self, shape: &Shape, binary: bool, value: Option<&[u8]>) -> Option<Cow<'static, [u8]>> {
        let owned = |value: Option<Cow<'static, [u8]>>| value.map(Cow::into_owned);
        match shape {
            Shape::Scalar(kind) => match value {
                Some(value) => self.scalar(*kind, binary, value),
                None => (self.masking.nulls == Seen::Hidden).then(|| redacted(*kind, binary).map(Cow::Borrowed))?,
            },
            // Longer ones are withheld, since what is in them is rebuilt.
            Shape::Array(element) => {
                let value = value.filter(|value| value.len() <= MAX_MASKED_CELL_BYTES)?;
                nested::array(value, binary, &mut |_, value| owned(self.nested(element, binary, value))).map(Cow::Owned)
            }
            Shape::Row(fields) => {
                let value = value.filter(|value| value.len() <= MAX_MASKED_CELL_BYTES)?;
                let mut change = |place: usize, value: Option<&[u8]>| owned(self.nested(fields.get(place)?, binary, value));
                nested::row(value, binary, fields.len(), &mut change).map(Cow::Owned)
            }
            Shape::Other => None,
        }
    }

    fn scalar(&self, kind: Scalar, binary: bool, value: &[u8]) -> Option<Cow<'static, [u8]>> {
        if self.masking.mask == Mask::Redact && !(kind == Scalar::Text && self.masking.length == Seen::Shown) {
            return if kind == Scalar::Bit { Some(Cow::Owned(no_bits(value, binary))) } else { redacted(kind, binary).map(Cow::Borrowed) };
        }
        if value.len() > MAX_MASKED_CELL_BYTES || !self.applies(kind) {
            return None;
        }
        if matches!(kind, Scalar::Json | Scalar::Jsonb) {
            // What it is made of says too much: only a hash tells documents apart.
            let Some(keys) = self.keys.as_ref().filter(|_| self.masking.mask == Mask::Hash) else { return redacted(kind, binary).map(Cow::Borrowed) };
            let version = json_version(kind, binary);
            let text = value.strip_prefix(version)?;
            return Some(Cow::Owned([version, json::string(&hash(keys, text)).as_bytes()].concat()));
        }
        let masked = self.masked(kind, value::read(kind, binary, value)?)?;
        value::write(kind, binary, &masked.borrowed()).map(Cow::Owned)
    }

    fn masked(&self, kind: Scalar, value: Value<'_>) -> Option<Masked> {
        match (self.masking.mask, value) {
            (_, Value::Text(text)) => self.text(text).map(Masked::Text),
            (Mask::KeepLastFour, Value::Integer(number)) => Some(Masked::Other(Value::Integer(last_four(number.unsigned_abs().into())))),
            (Mask::KeepLastFour, Value::Decimal(number)) => {
                Some(Masked::Other(Value::Decimal(Decimal { negative: false, unscaled: last_four(number.unscaled).unsigned_abs().into(), scale: 0 })))
            }
            (Mask::Hash, value) => hashed(self.keys.as_ref()?, &value).map(Masked::Other),
            (Mask::Token, value) => tokenised(self.keys.as_ref()?.token.as_ref()?, kind, value).map(Masked::Other),
            (Mask::Generalise(coarseness), value) => coarser(coarseness, value),
            _ => None,
        }
    }

    fn text(&self, text: &str) -> Option<String> {
        match self.masking.mask {
            Mask::Redact => Some(HIDDEN.to_string().repeat(text.chars().count())),
            Mask::Null | Mask::Generalise(_) => None,
            Mask::KeepLastFour => Some(keep_last_four(text, self.masking.length)),
            Mask::KeepDomain => Some(keep_domain(text)),
            Mask::Hash => self.keys.as_ref().map(|keys| hash(keys, text.as_bytes())),
            Mask::Token => {
                let cipher = self.keys.as_ref()?.token.as_ref()?;
                Some(token::of_text(cipher, text).unwrap_or_else(|| REDACTED.to_owned()))
            }
        }
    }

    /// JSON in place of a leaf of the same kind.
    fn leaf(&self, leaf: Leaf<'_>) -> Option<String> {
        match leaf {
            _ if self.masking.mask == Mask::Null => None,
            // Of whatever kind it is, it looks the same.
            _ if self.masking.nulls == Seen::Hidden => Some(json::string(REDACTED)),
            Leaf::String(_) if self.masking.mask == Mask::Redact && self.masking.length == Seen::Hidden => Some(json::string(REDACTED)),
            Leaf::String(text) => Some(json::string(&self.text(text).unwrap_or_else(|| REDACTED.to_owned()))),
            Leaf::Number(number) => {
                let exact = Decimal::parse(number).and_then(|number| self.masked(Scalar::Numeric, Value::Decimal(number)));
                let written = exact.and_then(|masked| value::write(Scalar::Numeric, false, &masked.borrowed()));
                Some(written.and_then(|written| String::from_utf8(written).ok()).unwrap_or_else(|| "0".to_owned()))
            }
            Leaf::Bool => Some("false".to_owned()),
            Leaf::Null => None,
        }
    }
}

/// A value that a mask made.
enum Masked {
    Text(String),
    Other(Value<'static>),
    /// With the zone it is written with.
    Moment(i64, &'static str),
}

impl Masked {
    fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Other(value) => value.clone(),
            Self::Moment(micros, zone) => Value::Moment(*micros, zone),
        }
    }
}

/// A fixed value of the type that any client can read, as `pg_type.dat`'s input functions take it.
fn redacted(kind: Scalar, binary: bool) -> Option<&'static [u8]> {
    /// 1900-01-01, in days and in microseconds since 2000-01-01.
    const DATE: [u8; 4] = (-36_524i32).to_be_bytes();
    const MOMENT: [u8; 8] = (-36_524i64 * 86_400_000_000).to_be_bytes();
    const ZEROS: [u8; 16] = [0; 16];
    /// A flag for a range without values (`RANGE_EMPTY`).
    const EMPTY: [u8; 1] = [1];
    let (text, bytes): (&'static str, &'static [u8]) = match kind {
        Scalar::Text | Scalar::Xml => (REDACTED, REDACTED.as_bytes()),
        Scalar::Json => ("\"********\"", b"\"********\""),
        Scalar::Jsonb => ("\"********\"", b"\x01\"********\""),
        Scalar::Int2 => ("0", ZEROS.get(..2)?),
        Scalar::Int4 | Scalar::Float4 => ("0", ZEROS.get(..4)?),
        Scalar::Int8 | Scalar::Float8 | Scalar::Numeric => ("0", ZEROS.get(..8)?),
        Scalar::Bool => ("f", ZEROS.get(..1)?),
        Scalar::Date => ("1900-01-01", &DATE),
        Scalar::Timestamp => ("1900-01-01 00:00:00", &MOMENT),
        Scalar::TimestampTz => ("1900-01-01 00:00:00+00", &MOMENT),
        Scalar::Time => ("00:00:00", ZEROS.get(..8)?),
        Scalar::TimeTz => ("00:00:00+00", ZEROS.get(..12)?),
        Scalar::Interval => ("00:00:00", &ZEROS),
        Scalar::Uuid => ("00000000-0000-0000-0000-000000000000", &ZEROS),
        Scalar::Bytea => ("\\x", &[]),
        Scalar::Inet => ("0.0.0.0", &[2, 32, 0, 4, 0, 0, 0, 0]),
        Scalar::Cidr => ("0.0.0.0/32", &[2, 32, 1, 4, 0, 0, 0, 0]),
        Scalar::Macaddr => ("00:00:00:00:00:00", ZEROS.get(..6)?),
        Scalar::Macaddr8 => ("00:00:00:00:00:00:00:00", ZEROS.get(..8)?),
        // Its length is its type's.
        Scalar::Bit => return None,
        // No bits at all: their number first.
        Scalar::Varbit => ("", ZEROS.get(..4)?),
        Scalar::Point => ("(0,0)", &ZEROS),
        Scalar::Range => ("empty", &EMPTY),
        Scalar::Multirange => ("{}", ZEROS.get(..4)?),
    };
    Some(if binary { bytes } else { text.as_bytes() })
}

/// As many bits as there are, none of them set. In binary their number comes first (`bit_send`).
fn no_bits(value: &[u8], binary: bool) -> Vec<u8> {
    let zero = |(place, byte): (usize, &u8)| match (binary, place) {
        (true, 0..4) => *byte,
        (true, _) => 0,
        (false, _) => b'0',
    };
    value.iter().enumerate().map(zero).collect()
}

fn json_version(kind: Scalar, binary: bool) -> &'static [u8] {
    if binary && kind == Scalar::Jsonb { &[1] } else { &[] }
}

/// Every letter, digit and other sign becomes `*` but the last four letters or digits and what only separates. Where the length is not to be seen, `****`
/// and the last four.
fn keep_last_four(text: &str, length: Seen) -> String {
    let count = text.chars().filter(|c| c.is_alphanumeric()).count();
    let hidden = if count < MIN_FOR_LAST_FOUR { count } else { count.saturating_sub(4) };
    if length == Seen::Hidden {
        let kept = text.chars().filter(|c| c.is_alphanumeric()).skip(hidden);
        return "****".chars().chain(kept).collect();
    }
    let mut seen = 0usize;
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() {
            seen = seen.saturating_add(1);
            shown.push(if seen <= hidden { HIDDEN } else { c });
        } else {
            shown.push(if matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '+') { c } else { HIDDEN });
        }
    }
    shown
}

/// The last four digits of a number that has eight or more.
fn last_four(number: u128) -> i64 {
    if number < 10u128.pow(7) { 0 } else { i64::try_from(number % 10_000).unwrap_or(0) }
}

/// `***@example.com`; redacted whole when what follows the last `@` does not look like a domain, or nothing does.
fn keep_domain(text: &str) -> String {
    let domain = text.rsplit_once('@').map(|(_, domain)| domain);
    let plain = |domain: &&str| !domain.is_empty() && domain.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '-');
    domain.filter(plain).map_or_else(|| REDACTED.to_owned(), |domain| format!("***@{domain}"))
}

fn digest(keys: &ClassKeys, value: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&keys.hash, value);
    let mut digest = [0; 32];
    digest.iter_mut().zip(tag.as_ref()).for_each(|(into, byte)| *into = *byte);
    digest
}

fn hash(keys: &ClassKeys, value: &[u8]) -> String {
    let mut text = value::hex(&digest(keys, value));
    text.truncate(HASH_DIGITS);
    text
}

/// Numbers become numbers of 53 bits or fewer, which every client can hold; those that are equal have equal hashes, whatever their types.
fn hashed(keys: &ClassKeys, value: &Value<'_>) -> Option<Value<'static>> {
    let number = |negative: bool, unscaled: u128, scale: u32| {
        let text = format!("{}{unscaled}e-{scale}", if negative { "-" } else { "" });
        let [a, b, c, d, e, f, g, ..] = digest(keys, text.as_bytes());
        i64::from_be_bytes([0, a >> 3, b, c, d, e, f, g])
    };
    Some(match value {
        Value::Integer(integer) => Value::Integer(number(*integer < 0, integer.unsigned_abs().into(), 0)),
        Value::Decimal(decimal) => {
            let Decimal { negative, unscaled, scale } = decimal.reduced();
            let hash = number(negative && unscaled != 0, unscaled, scale);
            Value::Decimal(Decimal { negative: false, unscaled: hash.unsigned_abs().into(), scale: 0 })
        }
        Value::Uuid(uuid) => {
            let [mut bytes, _] = halves(digest(keys, uuid));
            // Version 8, of the variant RFC 9562 defines.
            bytes[6] = (bytes[6] & 0x0f) | 0x80;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            Value::Uuid(bytes)
        }
        Value::Bytes(bytes) => Value::Bytes(digest(keys, bytes).to_vec()),
        _ => return None,
    })
}

fn halves(digest: [u8; 32]) -> [[u8; 16]; 2] {
    let number = |bytes: &[u8]| bytes.iter().fold(0u128, |sum, byte| (sum << 8) | u128::from(*byte)).to_be_bytes();
    let (first, second) = digest.split_at(16);
    [number(first), number(second)]
}

fn tokenised(cipher: &super::ff1::Ff1, kind: Scalar, value: Value<'_>) -> Option<Value<'static>> {
    Some(match value {
        Value::Integer(number) => {
            let most = if kind == Scalar::Int4 { i64::from(i32::MAX) } else { i64::MAX };
            let token = i64::try_from(token::of_number(cipher, number.unsigned_abs().into(), most.unsigned_abs().into(), true)?).ok()?;
            Value::Integer(if number < 0 { -token } else { token })
        }
        // Equal numbers have equal tokens, however many zeros they are written with.
        Value::Decimal(number) => {
            let number = number.reduced();
            Value::Decimal(Decimal { unscaled: token::of_number(cipher, number.unscaled, 10u128.pow(38) - 1, number.scale == 0)?, ..number })
        }
        Value::Uuid(uuid) => Value::Uuid(uuid_token(cipher, u128::from_be_bytes(uuid))?.to_be_bytes()),
        Value::Bytes(bytes) => {
            let bits = u32::try_from(bytes.len()).ok()?.checked_mul(8).filter(|bits| (20..=192).contains(bits))?;
            Value::Bytes(token::of_bits(cipher, b"bytes", token::Wide::of_bytes(&bytes)?, bits)?.bytes(bytes.len()))
        }
        Value::Address(IpAddr::V4(address), bits) => {
            let token = token::of_bits(cipher, b"address", u128::from(address.to_bits()).into(), 32)?.low();
            Value::Address(IpAddr::V4(u32::try_from(token).ok()?.into()), bits)
        }
        Value::Address(IpAddr::V6(address), bits) => {
            Value::Address(IpAddr::V6(token::of_bits(cipher, b"address", address.to_bits().into(), 128)?.low().into()), bits)
        }
        _ => return None,
    })
}

/// All bits but those that say of which version and variant it is. <https://www.rfc-editor.org/rfc/rfc9562#section-4>
fn uuid_token(cipher: &super::ff1::Ff1, uuid: u128) -> Option<u128> {
    const LOW: u128 = (1 << 62) - 1;
    const MIDDLE: u128 = 0xfff;
    let (high, middle, low) = (uuid >> 80, (uuid >> 64) & MIDDLE, uuid & LOW);
    let fixed = uuid & !((((1 << 48) - 1) << 80) | (MIDDLE << 64) | LOW);
    let token = token::of_bits(cipher, b"uuid", ((high << 74) | (middle << 62) | low).into(), 122)?.low();
    Some(fixed | ((token >> 74) << 80) | (((token >> 62) & MIDDLE) << 64) | (token & LOW))
}

fn coarser(coarseness: Coarseness, value: Value<'_>) -> Option<Masked> {
    let band = i64::from(coarseness.band);
    Some(Masked::Other(match value {
        Value::Integer(number) => Value::Integer(number.checked_sub(number.rem_euclid(band))?),
        Value::Decimal(number) => Value::Decimal(number.coarser(coarseness.band)?),
        Value::Float(number) => Value::Float((number / f64::from(coarseness.band)).floor() * f64::from(coarseness.band)),
        Value::Date(days) => Value::Date(value::first_day(days, coarseness.to == TimeUnit::Year)?),
        Value::Moment(micros, zone) => {
            const HOUR: i64 = 3_600_000_000;
            // In UTC, as in binary: the offset of a moment tells in which part of the year it lies.
            let micros = micros.checked_sub(value::offset(zone)?)?;
            let (days, rest) = value::split_day(micros)?;
            let micros = match coarseness.to {
                TimeUnit::Hour => value::join_day(days, rest - rest.rem_euclid(HOUR)),
                TimeUnit::Day => value::join_day(days, 0),
                TimeUnit::Month | TimeUnit::Year => value::join_day(value::first_day(days, coarseness.to == TimeUnit::Year)?, 0),
            };
            return Some(Masked::Moment(micros?, if zone.is_empty() { "" } else { "+00" }));
        }
        Value::Address(IpAddr::V4(address), bits) => {
            let kept = bits.min(NETWORK_BITS.0);
            let mask = u32::MAX.checked_shl(32 - u32::from(kept)).unwrap_or(0);
            Value::Address(IpAddr::V4((address.to_bits() & mask).into()), kept)
        }
        Value::Address(IpAddr::V6(address), bits) => {
            let kept = bits.min(NETWORK_BITS.1);
            let mask = u128::MAX.checked_shl(128 - u32::from(kept)).unwrap_or(0);
            Value::Address(IpAddr::V6((address.to_bits() & mask).into()), kept)
        }
        Value::Text(_) | Value::Uuid(_) | Value::Bytes(_) => return None,
    }))
}

impl fmt::Debug for CellMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.parts.iter().map(|(path, rule)| (path, rule.masking)).collect();
        let whole = self.whole.as_ref().map(|rule| rule.masking);
        f.debug_struct("CellMask").field("shape", &self.shape).field("binary", &self.binary).field("whole", &whole).field("parts", &parts).finish()
    }
}

/// Keys are the class's, which a plan names.
impl PartialEq for CellMask {
    fn eq(&self, other: &Self) -> bool {
        let parts = |mask: &Self| mask.parts.iter().map(|(path, rule)| (path.clone(), rule.masking)).collect::<Vec<_>>();
        let whole = |mask: &Self| mask.whole.as_ref().map(|rule| rule.masking);
        self.shape == other.shape && self.binary == other.binary && whole(self) == whole(other) && parts(self) == parts(other)
    }
}

impl Eq for CellMask {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::masking::MASK_KEY_BYTES;

    const BAND: Mask = Mask::Generalise(Coarseness { to: TimeUnit::Month, band: 100 });

    fn keys() -> MaskKeys {
        MaskKeys::new(Some([5; MASK_KEY_BYTES].into()))
    }

    fn hidden(mask: Mask, path: Option<&str>) -> Hidden {
        let length = if mask == Mask::KeepLastFour { Seen::Shown } else { Seen::Hidden };
        Hidden {
            class: "secret".parse().unwrap(),
            masking: Masking { mask, length, nulls: Seen::Shown },
            path: path.map(|path| path.parse().unwrap()),
        }
    }

    fn bytes(mask: Mask, shape: &Shape, binary: bool, value: Option<&[u8]>) -> Option<Vec<u8>> {
        mask_cell(&planned(&[hidden(mask, None)], shape, binary, &keys()), value).map(Cow::into_owned)
    }

    fn masked(mask: Mask, kind: Scalar, value: &str) -> Option<String> {
        bytes(mask, &Shape::Scalar(kind), false, Some(value.as_bytes())).map(|value| String::from_utf8(value).unwrap())
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
            (Mask::Token, "a12", Some("********")),
            (BAND, "2024-05-17", None),
        ];
        for (mask, value, expected) in table {
            for binary in [false, true] {
                let shown = bytes(mask, &Shape::Scalar(Scalar::Text), binary, Some(value.as_bytes()));
                assert_eq!(shown.as_deref(), expected.map(str::as_bytes), "{mask:?} of {value:?}, binary {binary}");
                assert_eq!(bytes(mask, &Shape::Scalar(Scalar::Text), binary, None), None, "NULL stays NULL");
            }
        }
    }

    #[test]
    fn other_types_keep_their_type() {
        let table = [
            (Mask::Redact, Scalar::Int4, "17", Some("0")),
            (Mask::Redact, Scalar::Bool, "t", Some("f")),
            (Mask::Redact, Scalar::Date, "2024-05-17", Some("1900-01-01")),
            (Mask::Redact, Scalar::TimestampTz, "2024-05-17 10:11:12+02", Some("1900-01-01 00:00:00+00")),
            (Mask::Redact, Scalar::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", Some("00000000-0000-0000-0000-000000000000")),
            (Mask::Redact, Scalar::Jsonb, r#"{"a": 1}"#, Some("\"********\"")),
            (Mask::Redact, Scalar::Range, "[1,5)", Some("empty")),
            (Mask::KeepLastFour, Scalar::Int8, "4111111111111234", Some("1234")),
            (Mask::KeepLastFour, Scalar::Int8, "1234567", Some("0")),
            (Mask::KeepLastFour, Scalar::Bool, "t", None),
            (BAND, Scalar::Int4, "1234", Some("1200")),
            (BAND, Scalar::Int4, "-1", Some("-100")),
            (BAND, Scalar::Numeric, "1234.56", Some("1200")),
            (BAND, Scalar::Float8, "1234.56", Some("1200")),
            (BAND, Scalar::Date, "2024-05-17", Some("2024-05-01")),
            (BAND, Scalar::Timestamp, "2024-05-17 10:11:12.5", Some("2024-05-01 00:00:00")),
            (BAND, Scalar::TimestampTz, "2024-05-17 10:11:12+02", Some("2024-05-01 00:00:00+00")),
            (BAND, Scalar::TimestampTz, "2024-05-01 01:30:00+05:30", Some("2024-04-01 00:00:00+00")),
            (BAND, Scalar::Int2, "-32768", None),
            (BAND, Scalar::Date, "17/05/2024", None),
            (BAND, Scalar::Inet, "10.1.2.3", Some("10.1.2.0/24")),
            (BAND, Scalar::Inet, "2001:db8:1:2::5/64", Some("2001:db8:1::/48")),
            (BAND, Scalar::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", None),
            (Mask::Hash, Scalar::Date, "2024-05-17", None),
            (Mask::Token, Scalar::Int2, "17", None),
        ];
        for (mask, kind, value, expected) in table {
            assert_eq!(masked(mask, kind, value).as_deref(), expected, "{mask:?} of {value}");
            let Some(expected) = expected else { continue };
            // In binary it is the same value, as far as it can be read.
            let (Some(read), Some(shown)) = (value::read(kind, false, value.as_bytes()), value::read(kind, false, expected.as_bytes())) else {
                continue;
            };
            let binary = bytes(mask, &Shape::Scalar(kind), true, Some(&value::write(kind, true, &read).unwrap())).unwrap();
            let again = value::read(kind, true, &binary).unwrap();
            assert!(matches!(shown, Value::Moment(..)) || again == shown, "{mask:?} of {value}: {again:?}");
        }
    }

    #[test]
    fn hashes_and_tokens_are_equal_for_equal_values_of_a_class_alone() {
        for (kind, values) in [
            (Scalar::Text, ["ann@example.com", "ben@example.com"]),
            (Scalar::Int8, ["4111111111111111", "17"]),
            (Scalar::Numeric, ["1234567.50", "12.5"]),
            (Scalar::Uuid, ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"]),
            (Scalar::Bytea, ["\\xdeadbeef", "\\xdeadbeee"]),
        ] {
            for mask in [Mask::Hash, Mask::Token] {
                let [first, second] = values.map(|value| masked(mask, kind, value).unwrap());
                assert_eq!(masked(mask, kind, values[0]).as_ref(), Some(&first));
                assert!(first != second && first != values[0] && second != values[1], "{mask:?} {first} {second}");
                let other = Hidden { class: "other".parse().unwrap(), ..hidden(mask, None) };
                let other = mask_cell(&planned(&[other], &Shape::Scalar(kind), false, &keys()), Some(values[0].as_bytes())).unwrap().into_owned();
                assert_ne!(other, first.into_bytes(), "each class has keys of its own");
            }
        }
        assert_eq!(masked(Mask::Hash, Scalar::Int8, "17"), masked(Mask::Hash, Scalar::Numeric, "17.00"), "equal numbers of two types");
        assert_eq!(masked(Mask::Hash, Scalar::Text, "x").unwrap().len(), HASH_DIGITS);
        let uuid = masked(Mask::Token, Scalar::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").unwrap();
        assert!(uuid.as_bytes()[14] == b'4' && b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }

    #[test]
    fn without_the_key_what_needs_it_is_withheld() {
        for mask in [Mask::Hash, Mask::Token] {
            for kind in [Scalar::Text, Scalar::Int8, Scalar::Uuid] {
                let plan = planned(&[hidden(mask, None)], &Shape::Scalar(kind), false, &MaskKeys::new(None));
                assert_eq!(mask_cell(&plan, Some(b"4111111111111111")), None, "{mask:?}");
            }
        }
    }

    #[test]
    fn length_and_absence_are_hidden_where_that_is_chosen() {
        let plan = |mask, length, nulls, shape: &Shape| {
            planned(&[Hidden { masking: Masking { mask, length, nulls }, ..hidden(mask, None) }], shape, false, &keys())
        };
        let text = Shape::Scalar(Scalar::Text);
        let shown = |plan: &CellPlan, value: Option<&str>| {
            mask_cell(plan, value.map(str::as_bytes)).map(|value| String::from_utf8(value.into_owned()).unwrap())
        };
        assert_eq!(shown(&plan(Mask::Redact, Seen::Shown, Seen::Shown, &text), Some("größe")).as_deref(), Some("*****"));
        assert_eq!(shown(&plan(Mask::KeepLastFour, Seen::Hidden, Seen::Shown, &text), Some("4111-1111-1111-1234")).as_deref(), Some("****1234"));
        assert_eq!(shown(&plan(Mask::KeepLastFour, Seen::Hidden, Seen::Shown, &text), Some("1")).as_deref(), Some("****"));
        let quiet = plan(Mask::Redact, Seen::Hidden, Seen::Hidden, &text);
        assert_eq!((shown(&quiet, None), shown(&quiet, Some("x"))), (Some("********".to_owned()), Some("********".to_owned())));
        assert_eq!(shown(&plan(Mask::Redact, Seen::Hidden, Seen::Hidden, &Shape::Scalar(Scalar::Date)), None).as_deref(), Some("1900-01-01"));
        // Of these there is no one value that could stand for all: then nothing is shown at all.
        for shape in [Shape::Array(Arc::new(text)), Shape::Row([Shape::Scalar(Scalar::Int4)].into()), Shape::Scalar(Scalar::Bit), Shape::Other] {
            assert!(matches!(plan(Mask::Redact, Seen::Hidden, Seen::Hidden, &shape), CellPlan::Withhold { .. }), "{shape:?}");
        }
        let part = Hidden { masking: Masking { mask: Mask::Redact, length: Seen::Hidden, nulls: Seen::Hidden }, ..hidden(Mask::Redact, Some("$.a")) };
        let part = planned(&[part], &Shape::Scalar(Scalar::Json), false, &keys());
        assert_eq!(
            shown(&part, Some(r#"{"a": [1, null, true, "x"]}"#)).as_deref(),
            Some(r#"{"a": ["********", "********", "********", "********"]}"#)
        );
    }

    #[test]
    fn what_is_within_others_is_masked_there() {
        let texts = Shape::Array(Arc::new(Shape::Scalar(Scalar::Text)));
        let shown =
            |mask, shape: &Shape, value: &str| bytes(mask, shape, false, Some(value.as_bytes())).map(|value| String::from_utf8(value).unwrap());
        assert_eq!(shown(Mask::KeepDomain, &texts, "{ann@example.com,NULL,\"a b\"}").as_deref(), Some("{***@example.com,NULL,********}"));
        let row = Shape::Row([Shape::Scalar(Scalar::Int4), Shape::Scalar(Scalar::Text), Shape::Other].into());
        assert_eq!(shown(Mask::Redact, &row, "(7,\"a b\",x)").as_deref(), Some("(0,********,)"));
        let rows = Shape::Array(Arc::new(row));
        assert_eq!(shown(Mask::Redact, &rows, "{\"(7,\\\"a b\\\",x)\"}").as_deref(), Some("{\"(0,********,)\"}"));
        assert_eq!(shown(Mask::Redact, &texts, "{a"), None, "what cannot be rebuilt is withheld");
        assert_eq!(shown(Mask::Redact, &Shape::Other, "x"), None);
    }

    #[test]
    fn parts_of_documents_are_masked_and_the_rest_passes() {
        let document = br#"{"name": "Ann", "mail": ["ann@example.com"], "card": {"number": 4111111111111111, "since": null}}"#;
        let parts = [hidden(Mask::KeepDomain, Some("$.mail")), hidden(Mask::Redact, Some("$.card"))];
        let expected = r#"{"name": "Ann", "mail": ["***@example.com"], "card": {"number": 0, "since": null}}"#;
        for kind in [Scalar::Json, Scalar::Jsonb] {
            let plan = planned(&parts, &Shape::Scalar(kind), false, &keys());
            assert_eq!(mask_cell(&plan, Some(document)).unwrap(), expected.as_bytes());
            assert_eq!(mask_cell(&plan, Some(b"{\"mail\": ")), None);
        }
        let plan = planned(&parts, &Shape::Scalar(Scalar::Jsonb), true, &keys());
        assert_eq!(mask_cell(&plan, Some(&[b"\x01".as_slice(), document].concat())).unwrap(), [b"\x01", expected.as_bytes()].concat());
        assert_eq!(mask_cell(&plan, Some(document)), None, "another version");
        let whole = [hidden(Mask::Redact, None), hidden(Mask::Redact, Some("$.mail"))];
        let plan = planned(&whole, &Shape::Scalar(Scalar::Json), false, &keys());
        assert_eq!(mask_cell(&plan, Some(document)).unwrap().as_ref(), b"\"********\"", "all of it is hidden");
        let both = [hidden(Mask::Redact, None), hidden(Mask::KeepDomain, Some("$.mail"))];
        assert!(matches!(planned(&both, &Shape::Scalar(Scalar::Json), false, &keys()), CellPlan::Withhold { .. }), "masks that disagree");
        let within = [hidden(Mask::KeepDomain, Some("$.mail")), hidden(Mask::Redact, Some("$.*"))];
        let plan = planned(&within, &Shape::Scalar(Scalar::Json), false, &keys());
        assert_eq!(mask_cell(&plan, Some(br#"{"mail": "a@b.org", "x": 1}"#)).unwrap().as_ref(), br#"{"mail": null, "x": 0}"#);
        let plan = planned(&parts, &Shape::Scalar(Scalar::Text), false, &keys());
        assert!(matches!(plan, CellPlan::Withhold { .. }), "no document, and masks that disagree");
    }

    #[test]
    fn what_cannot_be_rebuilt_is_withheld() {
        let latin1 = b"andr\xe9@example.com";
        let text = Shape::Scalar(Scalar::Text);
        for mask in [Mask::KeepDomain, Mask::KeepLastFour, Mask::Hash, Mask::Token] {
            assert_eq!(bytes(mask, &text, false, Some(latin1)), None);
            assert_eq!(bytes(mask, &text, false, Some(&vec![b'7'; MAX_MASKED_CELL_BYTES + 1])), None);
        }
        assert_eq!(bytes(Mask::Redact, &text, false, Some(latin1)).as_deref(), Some(REDACTED.as_bytes()));
    }

    proptest! {
        #[test]
        fn at_most_four_letters_or_digits_are_kept(text in "\\PC{0,40}") {
            let shown = keep_last_four(&text, Seen::Shown);
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert!(shown.chars().filter(|c| c.is_alphanumeric()).count() <= 4);
        }

        #[test]
        fn nothing_before_the_last_at_sign_is_kept(local in "[a-z0-9@\" ]{1,20}", domain in "[a-z0-9.-]{1,20}") {
            prop_assert_eq!(keep_domain(&format!("{local}@{domain}")), format!("***@{domain}"));
        }

        #[test]
        fn no_bytes_make_a_mask_panic(value in prop::collection::vec(any::<u8>(), 0..40), binary: bool) {
            let kinds = [Scalar::Text, Scalar::Int4, Scalar::Numeric, Scalar::Date, Scalar::TimestampTz, Scalar::Inet, Scalar::Jsonb, Scalar::Bytea, Scalar::Uuid];
            for kind in kinds {
                for shape in [Shape::Scalar(kind), Shape::Array(Arc::new(Shape::Scalar(kind))), Shape::Row([Shape::Scalar(kind)].into())] {
                    for mask in [Mask::Redact, Mask::KeepLastFour, Mask::Hash, Mask::Token, BAND] {
                        bytes(mask, &shape, binary, Some(&value));
                    }
                    let _ = mask_cell(&planned(&[hidden(Mask::Hash, Some("$.a"))], &shape, binary, &keys()), Some(&value));
                }
            }
        }
    }
}
