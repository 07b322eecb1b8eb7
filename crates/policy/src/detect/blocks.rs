//! Sixty-four bytes at once: where in them something might begin. The bytes are classified all together, without any branch that depends on
//! them, so that a text in which nothing is found costs little more than reading it.

use wide::u8x16;

use super::classes::{DIGIT, LETTERS, MAX_CONTROL_BYTES, are, are_digits, are_letters, at, back, escaped, gather, is_word, run};
use super::prefixes::Prefixes;

pub(super) const BLOCK_BYTES: usize = 64;

/// Of less it is enough to classify half a block.
const SHORT_BYTES: usize = BLOCK_BYTES / 2;

/// So many bytes past a block are read with it, so that the first four bytes of each of its words can be.
const MARGIN_BYTES: usize = 8;

type Bytes = [u8; BLOCK_BYTES + MARGIN_BYTES];

/// Of each byte of a block, one bit.
#[derive(Clone, Copy, Default)]
struct Bits {
    letters: u64,
    digits: u64,
    /// `@`
    signs: u64,
    /// `+`, `-`, `/`, `:` and `_`, which join words.
    joins: u64,
    /// Backslash and the control character ESC.
    escapes: u64,
}

/// Where in a block something might begin.
#[derive(Clone, Copy)]
pub(super) struct Events {
    /// Where a token begins that is of interest, or an `@` stands. Others may be among them, none is missing.
    pub(super) places: u64,
    letters: u64,
    digits: u64,
}

impl Events {
    /// The token that begins at a place, if it ends within the block: its length, and whether it has digits and letters, which ones is not told.
    #[inline(always)]
    pub(super) fn token(&self, place: u32) -> Option<(usize, u8)> {
        let length = (!((self.letters | self.digits) >> place)).trailing_zeros();
        if length == 0 || place + length >= 64 {
            return None;
        }
        let (all, digits) = ((1 << length) - 1, self.digits >> place);
        let classes = if digits & all == 0 { LETTERS } else { DIGIT | if digits & all == all { 0 } else { LETTERS } };
        Some((length as usize, classes))
    }
}

/// What might begin in the block at `base`.
#[inline]
pub(super) fn events(text: &[u8], base: usize, prefixes: &Prefixes) -> Events {
    match text.get(base..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => events_in(bytes, classify::<BLOCK_BYTES>(bytes), text, base, prefixes),
        None => last_events(text, base, prefixes),
    }
}

/// The same where the text ends: what is left is most often a short value of a column.
#[inline]
fn last_events(text: &[u8], base: usize, prefixes: &Prefixes) -> Events {
    let bytes = padded(text, base);
    let bits = if text.len() - base <= SHORT_BYTES { classify::<SHORT_BYTES>(&bytes) } else { classify::<BLOCK_BYTES>(&bytes) };
    events_in(&bytes, bits, text, base, prefixes)
}

#[inline(always)]
fn events_in(bytes: &Bytes, bits: Bits, text: &[u8], base: usize, prefixes: &Prefixes) -> Events {
    let escapes = if bits.escapes != 0 || may_be_escape(back(text, base, 1)) { escapes(text, base, bits.escapes) } else { 0 };
    let (letters, digits) = (bits.letters & !escapes, bits.digits);
    let words = letters | digits;
    let carried = u64::from(is_word(back(text, base, 1)) && !escaped(text, base.wrapping_sub(1)));
    let starts = words & !(words << 1 | carried);
    let joined = if bits.joins == 0 { 0 } else { joined_words(starts, words, bits.joins) };
    let places = bits.signs | with_digits(starts, letters, digits) | joined | prefixed(bytes, starts, prefixes);
    Events { places, letters: bits.letters, digits }
}

/// The starts of words with a digit. Adding the starts to the letters carries through each word to its first digit, or to its end.
#[inline(always)]
fn with_digits(starts: u64, letters: u64, digits: u64) -> u64 {
    let (sum, cut) = letters.overflowing_add(starts & letters);
    let firsts = sum & digits & !letters;
    let mut found = starts & digits;
    let mut rest = firsts & !starts;
    while rest != 0 {
        found |= last_below(starts, rest.trailing_zeros());
        rest &= rest - 1;
    }
    // The last word goes on in the next block: it may have a digit there.
    found | if cut || (letters | digits) >> 63 == 1 { last_below(starts, 64) } else { 0 }
}

/// The starts of words that are followed by something that joins.
#[inline(always)]
fn joined_words(starts: u64, words: u64, joins: u64) -> u64 {
    let mut rest = words << 1 & joins;
    let mut found = 0;
    while rest != 0 {
        found |= last_below(starts, rest.trailing_zeros());
        rest &= rest - 1;
    }
    found
}

#[inline(always)]
fn last_below(starts: u64, index: u32) -> u64 {
    let below = if index >= 64 { starts } else { starts & ((1 << index) - 1) };
    if below == 0 { 0 } else { 1 << (63 - below.leading_zeros()) }
}

/// The starts whose first bytes a rule begins with.
#[inline(always)]
fn prefixed(bytes: &Bytes, starts: u64, prefixes: &Prefixes) -> u64 {
    let mut rest = starts;
    let mut found = 0;
    while rest != 0 {
        let index = rest.trailing_zeros();
        let four = bytes.get(index as usize..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_le_bytes(*four));
        found |= u64::from(prefixes.may_begin(four)) << index;
        rest &= rest - 1;
    }
    found
}

#[inline(always)]
fn may_be_escape(last: u8) -> bool {
    matches!(last, b'\\' | b'[' | b';' | 0x1B | b'0'..=b'9')
}

/// The letters of escapes such as `\n`, which belong to no word.
#[inline(never)]
fn escapes(text: &[u8], base: usize, begun: u64) -> u64 {
    let mut found = before(text, base);
    let mut rest = begun;
    while rest != 0 {
        let index = rest.trailing_zeros();
        found |= letter_of(text, base + index as usize).map_or(0, |letter| 1_u64.checked_shl((letter - base) as u32).unwrap_or(0));
        rest &= rest - 1;
    }
    found
}

/// The letter of an escape that began before the block.
fn before(text: &[u8], base: usize) -> u64 {
    let parameters = (1..MAX_CONTROL_BYTES).take_while(|distance| matches!(back(text, base, *distance), b'0'..=b'9' | b';')).count();
    let begun = match (back(text, base, parameters + 1), back(text, base, parameters + 2)) {
        (b'[', 0x1B) => base - parameters - 2,
        (b'\\' | 0x1B, _) if parameters == 0 => base - 1,
        _ => return 0,
    };
    let letter = letter_of(text, begun).and_then(|letter| letter.checked_sub(base));
    letter.map_or(0, |letter| 1_u64.checked_shl(letter as u32).unwrap_or(0))
}

/// Where the letter is that ends the escape which begins there.
fn letter_of(text: &[u8], begun: usize) -> Option<usize> {
    let parameters = run(text, begun + 2, MAX_CONTROL_BYTES, |byte| byte.is_ascii_digit() || byte == b';');
    let letter = if at(text, begun) == b'\\' { begun + 1 } else { begun + 2 + parameters };
    escaped(text, letter).then_some(letter)
}

#[inline]
fn padded(text: &[u8], base: usize) -> Bytes {
    let mut bytes = [0; BLOCK_BYTES + MARGIN_BYTES];
    let rest = text.get(base..).unwrap_or_default();
    let length = rest.len().min(bytes.len());
    if let (Some(to), Some(from)) = (bytes.get_mut(..length), rest.get(..length)) {
        to.copy_from_slice(from);
    }
    bytes
}

/// The first `N` bytes; the others are none of any kind.
#[inline(always)]
fn classify<const N: usize>(bytes: &Bytes) -> Bits {
    let Some(block) = bytes.first_chunk::<N>() else { return Bits::default() };
    Bits {
        letters: gather(block, are_letters),
        digits: gather(block, are_digits),
        signs: gather(block, |bytes| are(bytes, b'@')),
        escapes: gather(block, |bytes| are(bytes, b'\\') | are(bytes, 0x1B)),
        joins: gather(block, |bytes| are(bytes | u8x16::splat(0x02), b'/') | are(bytes, b'+') | are(bytes, b':') | are(bytes, b'_')),
    }
}

#[cfg(test)]
mod tests {
    use super::super::classes::{DIGIT, LOWER, UPPER, class};
    use super::*;

    #[test]
    fn every_byte_is_classified_at_every_place() {
        for byte in 0..=255_u8 {
            for place in 0..BLOCK_BYTES {
                let mut bytes = [0; BLOCK_BYTES + MARGIN_BYTES];
                bytes[place] = byte;
                let (bits, short) = (classify::<BLOCK_BYTES>(&bytes), classify::<SHORT_BYTES>(&bytes));
                let half = |bits: u64| if place < SHORT_BYTES { bits } else { 0 };
                assert_eq!((short.letters, short.digits, short.joins), (half(bits.letters), half(bits.digits), half(bits.joins)), "{byte}");
                let one = |is: bool| u64::from(is) << place;
                assert_eq!(bits.letters, one(class(byte) & (LOWER | UPPER) != 0), "{byte}");
                assert_eq!(bits.digits, one(class(byte) & DIGIT != 0), "{byte}");
                assert_eq!(bits.signs, one(byte == b'@'), "{byte}");
                assert_eq!(bits.escapes, one(byte == b'\\' || byte == 0x1B), "{byte}");
                assert_eq!(bits.joins, one(b"+-/:_".contains(&byte)), "{byte}");
            }
        }
    }

    #[test]
    fn words_with_digits_are_told_by_their_start() {
        for (text, expected) in [
            ("ab 1c d2 e", vec![3, 6]),
            ("12 ab", vec![0]),
            ("a1b2c3 x", vec![0]),
            ("abc", vec![]),
            ("\\n12", vec![2]),
            ("\x1b[33m12", vec![2, 5]),
            ("a-b c@d", vec![0, 5]),
        ] {
            let found = events(text.as_bytes(), 0, &Prefixes::none()).places;
            let places: Vec<u32> = (0..64).filter(|place| found >> place & 1 == 1).collect();
            assert_eq!(places, expected, "{text}");
        }
    }
}
