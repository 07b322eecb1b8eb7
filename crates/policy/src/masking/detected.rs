//! The second net: values of columns that hold nothing classified, looked through for what is sensitive by its form.

use std::{borrow::Cow, fmt, sync::Arc};

use model::{
    ActorChain, Connection, DataClassName, Timestamp,
    classes::{JsonPath, Mask, Masking, Seen},
};

use super::{
    cell::Rule,
    json::{self, Leaf},
    keys::MaskKeys,
    nested,
    shape::{Scalar, Shape},
    value,
};
use crate::{
    Version,
    decide::{Case, may_reveal},
    detect::{Detectors, Entity, Finding, Hints, Stream},
};

/// What is looked for in an answer, and how it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    detectors: Detectors,
    entities: Vec<(Entity, DataClassName, Masking)>,
}

impl Wanted {
    /// What the connection detects and the caller may not reveal. A class that is not written in `data-classes.toml` is redacted.
    pub(super) fn here(version: &Version, case: &Case<'_>) -> Option<Self> {
        Self::of(version, case.chain, case.connection, case.database, case.now)
    }

    /// As [`here`](Self::here), whatever is asked.
    pub(super) fn of(version: &Version, chain: &ActorChain, connection: &Connection, database: &str, now: Timestamp) -> Option<Self> {
        let reveals = |class: &DataClassName| may_reveal(version, chain, connection, database, class, now);
        let masking = |class: &DataClassName| version.classes.iter().find(|known| known.name == *class).map(|known| known.masking);
        let default = Masking { mask: Mask::Redact, length: Seen::Hidden, nulls: Seen::Shown };
        let hidden = connection.detect.iter().filter(|class| !reveals(class));
        let entities: Vec<_> =
            hidden.filter_map(|class| Some((Entity::from_name(class.as_str())?, class.clone(), masking(class).unwrap_or(default)))).collect();
        let found: Vec<Entity> = entities.iter().map(|(entity, ..)| *entity).collect();
        (!entities.is_empty()).then(|| Self { detectors: Detectors::new(&found), entities })
    }

    #[cfg(any(test, fuzzing))]
    pub(super) const fn new(detectors: Detectors, entities: Vec<(Entity, DataClassName, Masking)>) -> Self {
        Self { detectors, entities }
    }

    /// A text that begins, looked through for all of it.
    pub(super) fn stream(&self, hints: Hints) -> Stream {
        self.detectors.stream(hints)
    }

    /// With the keys of the classes.
    pub(super) fn ready(&self, keys: &MaskKeys) -> Arc<Net> {
        let rules = self.entities.iter().map(|(entity, class, masking)| (*entity, Rule::new(*masking, class, keys)));
        Arc::new(Net { detectors: self.detectors, rules: rules.collect() })
    }
}

/// Detectors, and what is put in place of what they find.
pub(super) struct Net {
    detectors: Detectors,
    rules: Vec<(Entity, Rule)>,
}

/// How the values of one column are looked through.
pub struct CellDetector {
    net: Arc<Net>,
    hints: Hints,
    shape: Shape,
    binary: bool,
}

impl CellDetector {
    /// None where values of this form are not looked through: numbers, times and the like.
    pub(super) fn new(net: &Arc<Net>, hints: Hints, shape: &Shape, binary: bool) -> Option<Self> {
        looked_through(shape).then(|| Self { net: net.clone(), hints, shape: shape.clone(), binary })
    }

    /// The value with everything that was found in it masked; `None` where that cannot be done. It is the same, and not copied, if nothing was found.
    pub(super) fn shown<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        self.within(&self.shape, value)
    }

    fn within<'a>(&self, shape: &Shape, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match shape {
            Shape::Scalar(Scalar::Json | Scalar::Jsonb) => self.document(shape, value),
            Shape::Scalar(Scalar::Bytea) => self.bytes(value),
            // Texts in an array are looked through as they stand there, unless it is binary.
            Shape::Array(element) if self.binary || !matches!(**element, Shape::Scalar(Scalar::Text)) => {
                let mut change = |_: usize, value: Option<&[u8]>| self.within(element, value?).map(Cow::into_owned);
                rebuilt(value, nested::array(value, self.binary, &mut change)?)
            }
            Shape::Row(fields) => {
                let mut change = |place: usize, value: Option<&[u8]>| self.within(fields.get(place)?, value?).map(Cow::into_owned);
                rebuilt(value, nested::row(value, self.binary, fields.len(), &mut change)?)
            }
            // What is not known may not be rebuilt in binary.
            Shape::Other if self.binary => self.found(value, Hints::NONE).is_empty().then_some(Cow::Borrowed(value)),
            Shape::Scalar(kind) if !is_text(*kind) => Some(Cow::Borrowed(value)),
            _ => self.text(value, Hints::NONE),
        }
    }

    fn found(&self, text: &[u8], more: Hints) -> Vec<Finding> {
        let mut found = Vec::new();
        self.net.detectors.scan(text, self.hints.with(more), &mut found);
        found
    }

    fn text<'a>(&self, text: &'a [u8], more: Hints) -> Option<Cow<'a, [u8]>> {
        let found = self.found(text, more);
        if found.is_empty() {
            return Some(Cow::Borrowed(text));
        }
        let mut shown = Vec::with_capacity(text.len());
        let mut at = 0;
        for finding in found {
            let (start, end) = (usize::try_from(finding.start).ok()?, usize::try_from(finding.end).ok()?);
            shown.extend_from_slice(text.get(at..start)?);
            shown.extend_from_slice(self.net.masked(finding.entity, text.get(start..end)?).as_bytes());
            at = end;
        }
        shown.extend_from_slice(text.get(at..)?);
        Some(Cow::Owned(shown))
    }

    /// A document is looked through leaf by leaf, unescaped and by the names of its members; then all that is left of it as it is written, for what stretches
    /// over more than one leaf or stands in a name. Where that finds something, it is withheld.
    fn document<'a>(&self, shape: &Shape, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let versioned = self.binary && *shape == Shape::Scalar(Scalar::Jsonb);
        let (version, document) = if versioned { value.split_at_checked(1)? } else { value.split_at(0) };
        let document = std::str::from_utf8(document).ok()?;
        let shown = self.leaves(document, |shown| shown)?;
        // What takes a value's place may look like one: a token of a card is a card's number.
        let left = if shown == document { None } else { Some(self.leaves(document, |_| None)?) };
        if !self.found(left.as_deref().unwrap_or(document).as_bytes(), Hints::NONE).is_empty() {
            return None;
        }
        Some(if left.is_some() { Cow::Owned([version, shown.as_bytes()].concat()) } else { Cow::Borrowed(value) })
    }

    /// The document, each text in which something is found as `replace` has what is shown of it, or `null`; each such number as 0.
    fn leaves(&self, document: &str, replace: impl Fn(Option<String>) -> Option<String>) -> Option<String> {
        let mut change = |_: &mut dyn Iterator<Item = usize>, name: Option<&str>, leaf: Leaf<'_>| {
            let (Leaf::String(text) | Leaf::Number(text)) = leaf else { return None };
            let shown = match self.text(text.as_bytes(), Hints::of(name)) {
                Some(Cow::Borrowed(_)) => return None,
                changed => changed.and_then(|shown| String::from_utf8(shown.into_owned()).ok()),
            };
            let text = matches!(leaf, Leaf::String(_));
            Some(if text { replace(shown).map_or_else(|| "null".to_owned(), |shown| json::string(&shown)) } else { "0".to_owned() })
        };
        json::replace(document, std::iter::once(&JsonPath::default()), &mut change)
    }

    /// Bytes in which something is found are withheld. Text has them in hexadecimal, or as they are and escaped (`bytea_output`).
    fn bytes<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let written = std::str::from_utf8(value).ok().and_then(|text| text.strip_prefix("\\x")).filter(|_| !self.binary);
        let bytes = written.and_then(value::unhex).map_or(Cow::Borrowed(value), Cow::Owned);
        self.found(&bytes, Hints::NONE).is_empty().then_some(Cow::Borrowed(value))
    }
}

impl Net {
    pub(super) const fn detectors(&self) -> &Detectors {
        &self.detectors
    }

    pub(super) fn masked(&self, entity: Entity, text: &[u8]) -> String {
        let rule = self.rules.iter().find(|(known, _)| *known == entity).map(|(_, rule)| rule);
        rule.map_or_else(|| super::cell::REDACTED.to_owned(), |rule| rule.part(text))
    }
}

/// A value that holds others: the same, not copied, if nothing was found in it.
fn rebuilt(value: &[u8], rebuilt: Vec<u8>) -> Option<Cow<'_, [u8]>> {
    Some(if rebuilt == value { Cow::Borrowed(value) } else { Cow::Owned(rebuilt) })
}

const fn is_text(kind: Scalar) -> bool {
    matches!(kind, Scalar::Text | Scalar::Xml | Scalar::Json | Scalar::Jsonb | Scalar::Bytea)
}

fn looked_through(shape: &Shape) -> bool {
    match shape {
        Shape::Scalar(kind) => is_text(*kind),
        Shape::Array(element) => looked_through(element),
        Shape::Row(fields) => fields.iter().any(looked_through),
        Shape::Other => true,
    }
}

impl fmt::Debug for CellDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellDetector").field("hints", &self.hints).field("shape", &self.shape).field("binary", &self.binary).finish_non_exhaustive()
    }
}

/// What it looks for is the plan's.
impl PartialEq for CellDetector {
    fn eq(&self, other: &Self) -> bool {
        self.hints == other.hints && self.shape == other.shape && self.binary == other.binary && self.net.detectors == other.net.detectors
    }
}

impl Eq for CellDetector {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::MASK_KEY_BYTES;

    fn detector(shape: &Shape, binary: bool, masking: Mask) -> CellDetector {
        let masking = Masking { mask: masking, length: Seen::Hidden, nulls: Seen::Shown };
        let entities = [Entity::Email, Entity::Card, Entity::UsSsn];
        let wanted = Wanted {
            detectors: Detectors::new(&entities),
            entities: entities.iter().map(|entity| (*entity, entity.name().parse().unwrap(), masking)).collect(),
        };
        CellDetector::new(&wanted.ready(&MaskKeys::new(Some([5; MASK_KEY_BYTES].into()))), Hints::NONE, shape, binary).unwrap()
    }

    fn shown(shape: &Shape, value: &str) -> Option<String> {
        let detector = detector(shape, false, Mask::KeepDomain);
        detector.shown(value.as_bytes()).map(|shown| String::from_utf8(shown.into_owned()).unwrap())
    }

    const TEXT: Shape = Shape::Scalar(Scalar::Text);
    const JSON: Shape = Shape::Scalar(Scalar::Json);

    #[test]
    fn what_is_found_is_masked_where_it_stands() {
        let row = Shape::Row([TEXT, Shape::Scalar(Scalar::Int4), Shape::Scalar(Scalar::Bytea)].into());
        let table = [
            (TEXT, "to ann@example.com, 4111 1111 1111 1111.", Some("to ***@example.com, ********.")),
            (TEXT, "nothing", Some("nothing")),
            (Shape::Other, "ann@example.com", Some("***@example.com")),
            (Shape::Array(Arc::new(TEXT)), "{ann@example.com,NULL,\"a b\"}", Some("{***@example.com,NULL,\"a b\"}")),
            (row.clone(), "(ann@example.com,5,\"\\\\x616263\")", Some("(***@example.com,5,\"\\\\x616263\")")),
            (row, "(x,5,\"\\\\x616e6e406578616d706c652e636f6d\")", Some("(x,5,)")),
            (Shape::Scalar(Scalar::Bytea), "\\x616e6e406578616d706c652e636f6d", None),
            (Shape::Scalar(Scalar::Bytea), "\\x0102", Some("\\x0102")),
            (JSON, r#"{"a": "ann@example.com", "n": 4111111111111111, "b": [1, "x"]}"#, Some(r#"{"a": "***@example.com", "n": 0, "b": [1, "x"]}"#)),
            (JSON, r#"{"a": "ann\u0040example.com"}"#, Some(r#"{"a": "***@example.com"}"#)),
            (JSON, r#"{"ssn": "536-90-4399", "order": "536904399"}"#, Some(r#"{"ssn": "********", "order": "536904399"}"#)),
            // A name is heard of however far it stands from its value.
            (
                JSON,
                r#"{"ssn": ["000000000", "000000000", "000000000", "000000000", "000000000", "536904399"]}"#,
                Some(r#"{"ssn": ["000000000", "000000000", "000000000", "000000000", "000000000", "********"]}"#),
            ),
            (JSON, r#"{"ann@example.com": 1}"#, None),
            (JSON, r#"{"a": "x\n"}"#, Some(r#"{"a": "x\n"}"#)),
        ];
        for (shape, value, expected) in table {
            assert_eq!(shown(&shape, value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_token_in_a_document_is_no_find() {
        let document = br#"{"card": "4111 1111 1111 1111", "x": 1}"#;
        let shown = detector(&JSON, false, Mask::Token).shown(document).unwrap().into_owned();
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.starts_with(r#"{"card": "4111 "#) && !shown.contains("1111 1111 1111"), "{shown}");
    }

    #[test]
    fn what_holds_nothing_is_not_copied_and_numbers_are_not_looked_through() {
        assert!(matches!(detector(&TEXT, true, Mask::Redact).shown(b"nothing"), Some(Cow::Borrowed(_))));
        assert_eq!(detector(&TEXT, true, Mask::Redact).shown(b"ann@example.com").as_deref(), Some(b"********".as_slice()));
        assert_eq!(detector(&Shape::Other, true, Mask::Redact).shown(b"ann@example.com"), None, "what is not known cannot be rebuilt");
        assert!(!looked_through(&Shape::Scalar(Scalar::Int8)) && !looked_through(&Shape::Array(Arc::new(Shape::Scalar(Scalar::Date)))));
    }
}
