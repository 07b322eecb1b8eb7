//! Which rule may begin with the bytes at the start of a token: an index of the first four, behind a bit for the hash of the first three.

use std::sync::LazyLock;

use super::classes::{at, is_word};
use super::credentials::FORMATS;
use super::format::{Format, Piece};
use super::words::asking;

/// What a token may turn out to be by its first bytes.
pub(super) enum Rule {
    /// A credential whose prefix has so many bytes before its first alphanumeric one; the words it asks for, if any, have a number.
    Credential {
        format: &'static Format,
        near: Option<usize>,
        lead: usize,
    },
    Jwt,
    PemKey,
    PuttyKey,
    AgeKey,
    PassportLines,
}

/// A credential that no prefix tells: words near it do.
pub(super) struct Keyless {
    pub(super) format: &'static Format,
    /// The number of the words it asks for.
    pub(super) near: usize,
    /// The least length of what it begins with in one go.
    pub(super) least: usize,
}

struct Head {
    mask: u32,
    bytes: u32,
    rule: usize,
}

const SLOTS: usize = 1024;

pub(super) struct Prefixes {
    /// A bit for the hash of the first three bytes of each that has so many.
    threes: [u64; 1 << 10],
    /// A bit for each two bytes that are all there is.
    twos: [u64; 1 << 10],
    slots: Vec<Vec<Head>>,
    rules: Vec<Rule>,
    pub(super) keyless: Vec<Keyless>,
    /// The least length a token without prefix begins with.
    pub(super) shortest_keyless: usize,
}

pub(super) static PREFIXES: LazyLock<Prefixes> = LazyLock::new(Prefixes::compile);

impl Prefixes {
    pub(super) fn none() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { threes: [0; 1 << 10], twos: [0; 1 << 10], slots, rules: Vec::new(), keyless: Vec::new(), shortest_keyless: usize::MAX }
    }

    fn compile() -> Self {
        let mut prefixes = Self::none();
        for begin in JSON_BEGINS {
            prefixes.add(begin, Rule::Jwt);
        }
        prefixes.add(b"BEGIN", Rule::PemKey);
        prefixes.add(b"PuTTY-User-Key-File-", Rule::PuttyKey);
        prefixes.add(b"AGE-SECRET-KEY-1", Rule::AgeKey);
        prefixes.add(b"P<", Rule::PassportLines);
        for format in FORMATS {
            prefixes.add_format(format);
        }
        prefixes.shortest_keyless = prefixes.keyless.iter().map(|keyless| keyless.least).min().unwrap_or(usize::MAX);
        prefixes
    }

    fn add_format(&mut self, format: &'static Format) {
        let near = asking().position(|other| std::ptr::eq(other, format));
        let prefix = format.prefix.as_bytes();
        if let Some(lead) = prefix.iter().position(|byte| is_word(*byte)) {
            let anchor = prefix.get(lead..).unwrap_or_default();
            self.add(anchor, Rule::Credential { format, near, lead });
        } else if let Some(near) = near {
            self.keyless.push(Keyless { format, near, least: least_joined(format) });
        }
    }

    fn add(&mut self, anchor: &[u8], rule: Rule) {
        let index = self.rules.len();
        self.rules.push(rule);
        let first = at(anchor, 0);
        match anchor.get(1) {
            Some(second) => self.add_head(first, *second, anchor, index),
            None => (0..128).for_each(|second| self.add_head(first, second, anchor, index)),
        }
    }

    fn add_head(&mut self, first: u8, second: u8, anchor: &[u8], rule: usize) {
        let length = anchor.len().min(4);
        let mask = u32::MAX >> (8 * (4 - length));
        let bytes = anchor.iter().take(4).rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
        if length > 2 {
            set(&mut self.threes, hash(bytes & 0xFF_FFFF));
        } else {
            set(&mut self.twos, usize::from(first) | usize::from(second) << 8);
        }
        if let Some(slot) = self.slots.get_mut(slot(first, second)) {
            slot.push(Head { mask, bytes, rule });
        }
    }

    /// Whether a rule begins with the bytes there, as far as the first four tell.
    #[inline(always)]
    pub(super) fn begins(&self, text: &[u8], start: usize) -> bool {
        self.may_begin(four(text, start)) && self.rules(text, start).next().is_some()
    }

    /// Whether a rule may begin with these four bytes, the first being the lowest. Wrong only where there is none. Without a branch: which words
    /// have a bit set is nothing to be guessed.
    #[inline(always)]
    pub(super) fn may_begin(&self, four: u32) -> bool {
        (bit(&self.threes, hash(four & 0xFF_FFFF)) | bit(&self.twos, (four & 0xFFFF) as usize)) & 1 == 1
    }

    /// The rules whose first bytes, at most four, are those at `start`.
    #[inline(always)]
    pub(super) fn rules<'a>(&'a self, text: &[u8], start: usize) -> impl Iterator<Item = &'a Rule> + use<'a> {
        let bytes = four(text, start);
        let slot = self.slots.get(slot(at(text, start), at(text, start + 1))).map_or(&[][..], Vec::as_slice);
        slot.iter().filter(move |head| bytes & head.mask == head.bytes).filter_map(|head| self.rules.get(head.rule))
    }
}

/// Bytes that tokens without prefix are made of.
pub(super) fn is_joined(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'-' | b'_' | b'+' | b'/' | b'.' | b'=' | b'~')
}

/// The least length of a format up to the first byte that is not joined.
fn least_joined(format: &Format) -> usize {
    let mut least = 0;
    for piece in format.body {
        match piece {
            Piece::Run(_, length, _) => least += usize::from(*length),
            Piece::Text(text) => {
                // The padding of base 64 ends a token that is of letters and digits up to there.
                let joined = text.bytes().take_while(|byte| *byte != b'=' && is_joined(*byte)).count();
                least += joined;
                if joined < text.len() {
                    break;
                }
            }
            Piece::Secret => {}
        }
    }
    least
}

/// How base64 of `{` and a quote or space begins.
const JSON_BEGINS: &[&[u8]] = &[
    b"eyI", b"eyJ", b"eyK", b"eyL", b"eyA", b"eyB", b"eyC", b"eyD", b"ewo", b"ewp", b"ewq", b"ewr", b"ew0", b"ew1", b"ew2", b"ew3", b"ewk", b"ewl",
    b"ewm", b"ewn",
];

#[inline(always)]
fn four(text: &[u8], start: usize) -> u32 {
    match text.get(start..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => u32::from_le_bytes([at(text, start), at(text, start + 1), at(text, start + 2), 0]),
    }
}

fn set(bits: &mut [u64; 1 << 10], index: usize) {
    if let Some(word) = bits.get_mut(index >> 6) {
        *word |= 1 << (index & 63);
    }
}

/// The bit there as the lowest, others above it.
#[inline(always)]
fn bit(bits: &[u64; 1 << 10], index: usize) -> u64 {
    bits.get(index >> 6).copied().unwrap_or(0) >> (index & 63)
}

/// Sixteen bits.
#[inline(always)]
fn hash(bytes: u32) -> usize {
    (bytes.wrapping_mul(0x9E37_79B1) >> 16) as usize
}

#[inline(always)]
fn slot(first: u8, second: u8) -> usize {
    (usize::from(first).wrapping_mul(37) ^ usize::from(second).wrapping_mul(5)) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_can_be_reached() {
        for format in FORMATS {
            let prefix = format.prefix.as_bytes();
            let lead = prefix.iter().position(|byte| is_word(*byte));
            let Some(lead) = lead else {
                assert!(prefix.is_empty() && !format.near.is_empty(), "{}: nothing to find it by", format.name);
                let keyless = PREFIXES.keyless.iter().find(|keyless| std::ptr::eq(keyless.format, format));
                assert!(keyless.is_some_and(|keyless| keyless.least >= 8), "{}: begins with too short a run", format.name);
                continue;
            };
            assert!(prefix.len() >= 2, "{}: prefix too short", format.name);
            let anchor = [&prefix[lead..], b"\0\0\0"].concat();
            assert!(PREFIXES.begins(&anchor, 0), "{}", format.name);
            let reached = PREFIXES.rules(&anchor, 0).any(|rule| matches!(rule, Rule::Credential { format: of, .. } if std::ptr::eq(*of, format)));
            assert!(reached, "{}", format.name);
        }
    }
}
