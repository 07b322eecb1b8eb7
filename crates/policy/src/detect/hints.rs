//! What stands around a value: names of its column and table, and words shortly before it. They make a weak match count.

use super::classes::{at, back, is_word, part, work};
use super::entity::Entity;
use super::words::{Asked, BIRTH, DICTIONARY, Dictionary, Entry, begins, has_letter, letter};

/// How far before a value a word may stand to speak of it.
pub(super) const NEAR_BYTES: usize = 48;

/// What is known around a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    pub(super) kinds: u32,
    pub(super) near: Asked,
}

impl Hints {
    /// Nothing is known.
    pub const NONE: Hints = Hints { kinds: 0, near: Asked::NONE };

    /// What the names of a column and its table, a comment or a JSON key say.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().fold(Self::NONE, |hints, name| hints.with(Self::of_name(name.as_bytes())))
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { kinds: self.kinds | other.kinds, near: self.near.with(other.near) }
    }

    /// Whether they speak of this.
    #[must_use]
    pub const fn says(self, entity: Entity) -> bool {
        self.kinds & entity.bit() != 0
    }

    fn of_name(name: &[u8]) -> Self {
        let mut hints = Self::NONE;
        DICTIONARY.words(name, 0, name.len(), |_, entry| hints = hints.with(Hints { kinds: entry.kinds, near: entry.near }));
        if says_something_else(name) {
            hints.kinds = 0;
        }
        hints
    }
}

/// A column such as `phone_verified_at` or `card_type` holds no number.
fn says_something_else(name: &[u8]) -> bool {
    const LAST: &[&[u8]] =
        &[b"at", b"count", b"type", b"kind", b"status", b"verified", b"enabled", b"created", b"updated", b"brand", b"country", b"place", b"city"];
    let start = (0..name.len()).rev().find(|index| begins(letter(back(name, *index, 1)), letter(at(name, *index)))).unwrap_or(0);
    let last = part(name, start, name.len());
    name.len() > last.len() && LAST.iter().any(|word| last.eq_ignore_ascii_case(word))
}

/// What stands before a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// What the closest word speaks of.
    pub(super) nearest: u32,
    /// What all words and the hints speak of.
    pub(super) kinds: u32,
    /// What the hints speak of.
    pub(super) hinted: u32,
}

impl Context {
    pub(super) fn says(self, entity: Entity) -> bool {
        self.kinds & entity.bit() != 0
    }
}

#[derive(Clone, Copy)]
struct Heard {
    start: u64,
    entry: &'static Entry,
}

/// How many words are remembered: more than fit before a value.
const MEMORY: usize = 12;

/// The words lately heard, so that no part of a text is searched for words twice.
#[derive(Clone)]
pub(super) struct Ear {
    hints: Hints,
    dictionary: &'static Dictionary,
    heard: [Option<Heard>; MEMORY],
    next: usize,
    /// Where the last of them begins.
    latest: u64,
    upto: u64,
    /// Where the last date of birth ends: words before it have had their date.
    born: u64,
}

impl Ear {
    pub(super) fn new(hints: Hints) -> Self {
        Self { hints, dictionary: &DICTIONARY, heard: [None; MEMORY], next: 0, latest: 0, upto: 0, born: 0 }
    }

    pub(super) fn hinted(&self) -> u32 {
        self.hints.kinds
    }

    /// What is said of the value that begins at `start` of the window, whose first byte is `base` of the text.
    pub(super) fn context(&mut self, window: &[u8], base: u64, start: usize) -> Context {
        let hinted = self.hints.kinds;
        if let Some((from, to)) = label(window, start) {
            let mut kinds = 0;
            work::count(to - from);
            self.dictionary.words(window, from, to, |_, entry| kinds |= entry.kinds);
            return Context { nearest: kinds, kinds: kinds | hinted, hinted };
        }
        self.listen(window, base, start);
        if self.is_silent(base, start) {
            return Context { nearest: 0, kinds: hinted, hinted };
        }
        let mut context = Context { nearest: 0, kinds: hinted, hinted };
        let mut latest = 0;
        for heard in self.lately(base, start) {
            let kinds = if heard.start < self.born { heard.entry.kinds & !BIRTH } else { heard.entry.kinds };
            context.kinds |= kinds;
            if kinds != 0 && heard.start >= latest {
                context.nearest = if heard.start == latest { context.nearest | kinds } else { kinds };
                latest = heard.start;
            }
        }
        context
    }

    /// A date of birth was found that ends there.
    pub(super) fn found_birth(&mut self, end: u64) {
        self.born = end;
    }

    /// The credential formats for which a word they ask for is in the hints or stands before the value.
    pub(super) fn asked(&mut self, window: &[u8], base: u64, start: usize) -> Asked {
        self.listen(window, base, start);
        if self.is_silent(base, start) {
            return self.hints.near;
        }
        self.lately(base, start).fold(self.hints.near, |asked, heard| asked.with(heard.entry.near))
    }

    #[inline(always)]
    fn is_silent(&self, base: u64, start: usize) -> bool {
        self.next == 0 || self.latest + (NEAR_BYTES as u64) < base + start as u64
    }

    fn lately(&self, base: u64, start: usize) -> impl Iterator<Item = &Heard> {
        let least = (base + start as u64).saturating_sub(NEAR_BYTES as u64);
        self.heard.iter().flatten().filter(move |heard| heard.start >= least)
    }

    fn listen(&mut self, window: &[u8], base: u64, start: usize) {
        let done = usize::try_from(self.upto.saturating_sub(base)).unwrap_or(usize::MAX);
        let from = start.saturating_sub(NEAR_BYTES).max(done);
        if from >= start {
            return;
        }
        work::count(start - from);
        let (heard, next, latest) = (&mut self.heard, &mut self.next, &mut self.latest);
        self.dictionary.words(window, from, start, |begin, entry| {
            if let Some(place) = heard.get_mut(*next % MEMORY) {
                *place = Some(Heard { start: base + begin as u64, entry });
            }
            *next += 1;
            *latest = base + begin as u64;
        });
        self.upto = base + start as u64;
    }
}

/// Whether no letter stands so close before a place that a word could speak of it: a quick look that may only err in saying no.
#[inline(always)]
pub(super) fn is_wordless(text: &[u8], start: usize) -> bool {
    let before = part(text, start.saturating_sub(NEAR_BYTES), start);
    let (eights, rest) = before.as_chunks::<8>();
    let letters = eights.iter().fold(0, |all, eight| all | u64::from_le_bytes(*eight));
    !has_letter(letters) && rest.iter().all(|byte| byte & 0xC0 == 0)
}

/// The name a value is bound to directly, which then alone speaks of it: a JSON key, an XML element, `name=`.
fn label(window: &[u8], start: usize) -> Option<(usize, usize)> {
    let mut end = start;
    while end > 0 && start - end < 4 && matches!(back(window, end, 1), b'"' | b'\\' | b'\'' | b'+' | b'(') {
        end -= 1;
    }
    match back(window, end, 1) {
        b'=' => attribute(window, end - 1),
        b'>' => element(window, end - 1),
        b':' | b' ' => key(window, end),
        _ => None,
    }
}

fn key(window: &[u8], end: usize) -> Option<(usize, usize)> {
    let colon = if back(window, end, 1) == b' ' { end - 1 } else { end };
    if back(window, colon, 1) != b':' {
        return None;
    }
    let quote = colon - 1 - usize::from(back(window, colon, 2) == b' ');
    if back(window, quote, 1) != b'"' {
        return None;
    }
    let close = quote - 1 - usize::from(back(window, quote, 2) == b'\\');
    let length = (1..=NEAR_BYTES).find(|length| matches!(back(window, close, *length), b'"' | 0))?;
    Some(((close + 1).saturating_sub(length), close))
}

fn attribute(window: &[u8], end: usize) -> Option<(usize, usize)> {
    const SAY_NOTHING: &[&[u8]] = &[b"value", b"number", b"no", b"num", b"nr", b"v", b"val", b"text", b"data"];
    let length = (0..NEAR_BYTES).find(|length| !name_byte(back(window, end, *length + 1)))?;
    let name = part(window, end - length, end);
    let tells = length > 0 && !SAY_NOTHING.iter().any(|word| name.eq_ignore_ascii_case(word));
    tells.then_some((end - length, end))
}

fn name_byte(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'_' | b'-' | b'.')
}

/// The name of an XML element; those of HTML say nothing.
fn element(window: &[u8], end: usize) -> Option<(usize, usize)> {
    const HTML: &[&[u8]] = &[b"td", b"th", b"p", b"b", b"i", b"li", b"dd", b"em", b"span", b"div", b"strong", b"code", b"pre", b"br", b"a", b"label"];
    let length = (1..=NEAR_BYTES).find(|length| back(window, end, *length) == b'<')?;
    let name = part(window, end + 1 - length, end);
    let name = name.split(|byte| *byte == b' ').next().unwrap_or(name);
    let plain = !name.is_empty() && name.iter().all(|byte| name_byte(*byte) || *byte == b':');
    (plain && !HTML.iter().any(|html| name.eq_ignore_ascii_case(html))).then_some((end + 1 - length, end))
}

#[cfg(test)]
mod tests {
    use super::super::words::{BANK, IBAN, LICENSE, PASSPORT, PHONE, SSN};
    use super::*;

    fn heard(text: &str) -> u32 {
        Ear::new(Hints::NONE).context(text.as_bytes(), 0, text.len()).kinds
    }

    #[test]
    fn names_say_what_a_column_holds() {
        for (name, kinds) in [
            ("ssn", SSN),
            ("customer_ssn", SSN),
            ("SocialSecurityNumber", SSN),
            ("phoneNumber", PHONE),
            ("home_phone", PHONE),
            ("dateOfBirth", BIRTH),
            ("birth_date", BIRTH),
            ("DOB", BIRTH),
            ("Geburtsdatum", BIRTH),
            ("fecha_nacimiento", BIRTH),
            ("passport_no", PASSPORT),
            ("driver_license", LICENSE),
            ("order_number", 0),
            ("phone_verified_at", 0),
            ("hotel", 0),
            ("telemetry", 0),
            ("adobe", 0),
            ("card_type", 0),
        ] {
            assert_eq!(Hints::of([name]).kinds, kinds, "{name}");
        }
    }

    #[test]
    fn words_speak_of_what_follows_shortly() {
        assert_eq!(heard("my SSN is "), SSN);
        assert_eq!(heard("my SSN is very long and I have to say much more before it comes: "), 0);
        assert_eq!(heard("\"ssn\": 1, \"order\": \""), 0);
        assert_eq!(heard("\"ssn\": \""), SSN);
        assert_eq!(heard("\\\"ssn\\\":\\\""), SSN);
        assert_eq!(heard("<ssn>1</ssn><order>"), 0);
        assert_eq!(heard("ssn=1&order="), 0);
        assert_eq!(heard("ssn number="), SSN);
        assert_eq!(heard("<td>ssn</td><td>"), SSN);
        assert_eq!(heard("n\u{e9} le "), BIRTH);
        assert_eq!(heard("Call my bank at "), PHONE | BANK | IBAN);
    }
}
