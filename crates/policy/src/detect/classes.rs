//! Kinds of bytes, and where a token may begin and end.

use wide::u8x16;

pub(super) const DIGIT: u8 = 1;
pub(super) const LOWER: u8 = 2;
pub(super) const UPPER: u8 = 4;
pub(super) const WORD: u8 = DIGIT | LOWER | UPPER;
/// A letter that is no hexadecimal digit.
pub(super) const BEYOND_HEX: u8 = 8;
/// Letters of whatever kind.
pub(super) const LETTERS: u8 = LOWER | UPPER | BEYOND_HEX;

static CLASS: [u8; 256] = classes();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which stops at a wrong index")]
const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut index: usize = 0;
    while index < 128 {
        classes[index] = match index as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' => LOWER,
            b'g'..=b'z' => LOWER | BEYOND_HEX,
            b'A'..=b'F' => UPPER,
            b'G'..=b'Z' => UPPER | BEYOND_HEX,
            _ => 0,
        };
        index += 1;
    }
    classes
}

#[inline(always)]
pub(super) fn class(byte: u8) -> u8 {
    CLASS.get(usize::from(byte)).copied().unwrap_or(0)
}

/// The byte there, or 0 outside of the text.
#[inline(always)]
pub(super) fn at(text: &[u8], index: usize) -> u8 {
    text.get(index).copied().unwrap_or(0)
}

/// The byte `distance` before `index`, or 0 before the text.
#[inline(always)]
pub(super) fn back(text: &[u8], index: usize, distance: usize) -> u8 {
    index.checked_sub(distance).map_or(0, |index| at(text, index))
}

#[inline(always)]
pub(super) fn part(text: &[u8], from: usize, to: usize) -> &[u8] {
    text.get(from..to.min(text.len())).unwrap_or(&[])
}

#[inline(always)]
pub(super) fn is_word(byte: u8) -> bool {
    class(byte) & WORD != 0
}

#[inline(always)]
pub(super) fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// How many bytes from `from` on satisfy the test, at most `most`.
#[inline(always)]
pub(super) fn run(text: &[u8], from: usize, most: usize, test: impl Fn(u8) -> bool) -> usize {
    let rest = part(text, from, from.saturating_add(most));
    rest.iter().position(|byte| !test(*byte)).unwrap_or(rest.len())
}

/// So many bytes are compared by one instruction where a processor has it.
pub(super) const LANES: usize = 16;

/// Of which bytes it is true, as bits. `is` answers with all bits of a byte or none.
#[inline(always)]
pub(super) fn gather<const N: usize>(bytes: &[u8; N], is: impl Fn(u8x16) -> u8x16) -> u64 {
    let lanes = bytes.as_chunks::<LANES>().0.iter().enumerate();
    lanes.fold(0, |bits, (index, lanes)| bits | u64::from(is(u8x16::new(*lanes)).to_bitmask()) << (LANES * index))
}

/// How many of the first [`LANES`] bytes are of one token, and whether they have digits and letters.
#[inline(always)]
pub(super) fn token(text: &[u8]) -> (usize, u8) {
    let Some(bytes) = text.first_chunk::<LANES>() else {
        let length = run(text, 0, LANES, is_word);
        return (length, part(text, 0, length).iter().fold(0, |classes, byte| classes | class(*byte)));
    };
    let (letters, digits) = (gather(bytes, are_letters), gather(bytes, are_digits));
    let length = (!(letters | digits)).trailing_zeros();
    let in_token = |of: u64, class| if of & ((1 << length) - 1) == 0 { 0 } else { class };
    (length as usize, in_token(letters, LETTERS) | in_token(digits, DIGIT))
}

#[inline(always)]
pub(super) fn are_letters(bytes: u8x16) -> u8x16 {
    within(bytes | u8x16::splat(0x20), b'a', b'z')
}

#[inline(always)]
pub(super) fn are_digits(bytes: u8x16) -> u8x16 {
    within(bytes, b'0', b'9')
}

/// Which bytes lie in the range.
#[inline(always)]
pub(super) fn within(bytes: u8x16, from: u8, to: u8) -> u8x16 {
    let above = bytes - u8x16::splat(from);
    above.min(u8x16::splat(to - from)).simd_eq(above)
}

/// Which bytes are this one.
#[inline(always)]
pub(super) fn are(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

/// Whether the character that ends before `index` is a letter or digit.
///
/// Bytes from 0x80 on are letters, except the UTF-8 of punctuation and symbols (U+0080 to U+00BF, U+2000 to U+2FFF), of scripts
/// written without spaces (U+3000 and above) and of emoji.
pub(super) fn letter_before(text: &[u8], index: usize) -> bool {
    let last = back(text, index, 1);
    if last < 0x80 {
        return is_word(last) && !escaped(text, index.wrapping_sub(1));
    }
    let lead = (1..=4).map(|distance| back(text, index, distance)).find(|byte| *byte >= 0xC0 || *byte < 0x80);
    lead.is_none_or(|lead| letter_lead(lead, back(text, index, 2)))
}

/// Whether the character that begins at `index` is a letter or digit.
pub(super) fn letter_after(text: &[u8], index: usize) -> bool {
    let first = at(text, index);
    if first < 0x80 { is_word(first) } else { letter_lead(first, at(text, index + 1)) }
}

fn letter_lead(lead: u8, _next: u8) -> bool {
    match lead {
        0xC2 | 0xE2..=0xF7 => false,
        _ => lead >= 0x80,
    }
}

/// Whether the letter there is the last of an escape: `\n` as in JSON within a log line, or a terminal's `ESC [ 33 m`.
pub(super) fn escaped(text: &[u8], index: usize) -> bool {
    match back(text, index, 1) {
        b'\\' => matches!(at(text, index), b'n' | b't' | b'r'),
        b'0'..=b'9' | b';' | b'[' => ends_control(text, index),
        _ => false,
    }
}

/// The longest control sequence that is looked back on.
pub(super) const MAX_CONTROL_BYTES: usize = 20;

/// ECMA-48 section 5.4: `ESC [`, parameters, a final letter.
fn ends_control(text: &[u8], index: usize) -> bool {
    let parameters = (1..MAX_CONTROL_BYTES).take_while(|distance| matches!(back(text, index, *distance), b'0'..=b'9' | b';')).count();
    at(text, index).is_ascii_alphabetic() && back(text, index, parameters + 1) == b'[' && back(text, index, parameters + 2) == 0x1B
}

/// Work done, counted in tests only: so that they can say that it stays in proportion to the text.
#[cfg(test)]
pub(super) mod work {
    use std::cell::Cell;
    thread_local!(static DONE: Cell<u64> = const { Cell::new(0) });
    pub(in super::super) fn count(amount: usize) {
        DONE.with(|done| done.set(done.get() + amount as u64));
    }
    pub(in super::super) fn take() -> u64 {
        DONE.with(|done| done.replace(0))
    }
}

#[cfg(not(test))]
pub(super) mod work {
    #[inline(always)]
    pub(in super::super) fn count(_amount: usize) {}
}
