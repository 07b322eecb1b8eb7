//! Tokens: other values of the same format, by format-preserving encryption. Equal values of a class get equal tokens, others different ones.

use super::ff1::{Ff1, MAX_HALF_BITS, Numeral};

/// Of fewer values each could be found by trying all. <https://doi.org/10.6028/NIST.SP.800-38Gr1-draft>, requirement on `radix^minlen`.
const MIN_VALUES: u128 = 1_000_000;

/// Steps of a walk that ends with one of two steps or fewer: not to end is impossible in practice.
const MAX_STEPS: usize = 512;

/// Leading digits of a card's number that are kept: they tell its brand. <https://www.iso.org/standard/70484.html>
const CARD_BRAND_DIGITS: usize = 4;

/// Digits of a card's number.
pub(super) const CARD_DIGITS: std::ops::RangeInclusive<usize> = 12..=19;

/// Letters and digits become others of their kind, everything else stays; a card's number stays one. None for what is too short or too long to
/// have a token, or is not ASCII.
pub(super) fn of_text(ff1: &Ff1, text: &str) -> Option<String> {
    let signs: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let spaced = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-'));
    let card = |signs: &[u8]| spaced && is_card(signs);
    let token = if card(&signs) { of_card(ff1, &signs)? } else { beyond(signs, |signs| of_signs(ff1, signs.iter().copied()), |signs| card(signs))? };
    let mut token = token.into_iter();
    let sign = |c: char| if c.is_ascii_alphanumeric() { token.next().map(char::from) } else { c.is_ascii().then_some(c) };
    text.chars().map(sign).collect()
}

/// A number of as many digits, up to `most`; those of six digits or fewer become others of those. None if there are too few of them, or
/// `most` is less than the number.
pub(super) fn of_number(ff1: &Ff1, number: u128, most: u128, whole: bool) -> Option<u128> {
    let digits = number.to_string();
    // What stands before a point is no card's.
    if whole && is_card(digits.as_bytes()) {
        let token = of_card(ff1, digits.as_bytes())?;
        return String::from_utf8(token).ok()?.parse().ok().filter(|token| *token <= most);
    }
    let least = if number < MIN_VALUES { 0 } else { 10u128.checked_pow(u32::try_from(digits.len()).ok()? - 1)? };
    let last = if number < MIN_VALUES { MIN_VALUES - 1 } else { least.checked_mul(10)? - 1 }.min(most);
    let count = last.checked_sub(least)?.checked_add(1)?;
    let next = |number: &u128| {
        let token = walk(ff1, b"number", Wide::from(number.checked_sub(least)?), Wide::from(count))?;
        least.checked_add(token.low())
    };
    beyond(number, next, |token| whole && is_card(token.to_string().as_bytes()))
}

/// What comes next that is not one of those: they have tokens among themselves, and no other value may get one of theirs.
fn beyond<T>(first: T, next: impl Fn(&T) -> Option<T>, skipped: impl Fn(&T) -> bool) -> Option<T> {
    let mut at = next(&first)?;
    for _ in 0..MAX_STEPS {
        if !skipped(&at) {
            return Some(at);
        }
        at = next(&at)?;
    }
    None
}

/// Another number of that many bits.
pub(super) fn of_bits(ff1: &Ff1, tweak: &[u8], value: Wide, bits: u32) -> Option<Wide> {
    let lower = bits - bits / 2;
    let (upper, rest) = value.split(lower)?;
    let token = ff1.encrypt(tweak, Numeral { radix: 2, digits: bits, upper, lower: rest })?;
    Wide::joined(token.upper, token.lower, lower)
}

/// Whether these are the digits of a card's number: as many as one has, and the last is right by Luhn's rule.
pub(super) fn is_card(digits: &[u8]) -> bool {
    CARD_DIGITS.contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && digits.split_last().is_some_and(|(last, others)| luhn(others) == Some(*last))
}

/// The digit that makes these a number by Luhn's rule. ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> Option<u8> {
    let sum = digits.iter().rev().enumerate().map(|(place, digit)| {
        let value = u32::from(digit.wrapping_sub(b'0'));
        let counted = if place % 2 == 0 { value * 2 } else { value };
        counted / 10 + counted % 10
    });
    let sum: u32 = sum.sum();
    char::from_digit((10 - sum % 10) % 10, 10).and_then(|digit| u8::try_from(digit).ok())
}

/// The brand stays, and so does that the last digit is right.
fn of_card(ff1: &Ff1, digits: &[u8]) -> Option<Vec<u8>> {
    let (brand, rest) = digits.split_at_checked(CARD_BRAND_DIGITS)?;
    let (_, hidden) = rest.split_last()?;
    let mut token = brand.to_vec();
    token.extend(of_signs(ff1, hidden.iter().copied())?);
    token.push(luhn(&token)?);
    Some(token)
}

/// Each ASCII letter or digit as another of its kind.
fn of_signs(ff1: &Ff1, signs: impl Iterator<Item = u8> + Clone) -> Option<Vec<u8>> {
    let (mut rank, mut count) = (Wide::from(0), Wide::from(1));
    for sign in signs.clone() {
        let (first, radix) = kind(sign);
        rank = rank.times_plus(radix, u64::from(sign.wrapping_sub(first)))?;
        count = count.times_plus(radix, 0)?;
    }
    let mut token = walk(ff1, b"text", rank, count)?;
    let kinds: Vec<(u8, u64)> = signs.map(kind).collect();
    let mut found = Vec::with_capacity(kinds.len());
    for (first, radix) in kinds.into_iter().rev() {
        let place;
        (token, place) = token.divided(radix);
        found.push(first.checked_add(u8::try_from(place).ok()?)?);
    }
    found.reverse();
    Some(found)
}

/// The first sign of a kind, and how many there are.
const fn kind(sign: u8) -> (u8, u64) {
    match sign {
        b'0'..=b'9' => (b'0', 10),
        b'A'..=b'Z' => (b'A', 26),
        _ => (b'a', 26),
    }
}

/// Another number below `count`: those of the next power of two are gone through until one is. (Black and Rogaway, "Ciphers with Arbitrary Finite
/// Domains", cycle walking.) None where there are too few.
fn walk(ff1: &Ff1, tweak: &[u8], number: Wide, count: Wide) -> Option<Wide> {
    if count < Wide::from(MIN_VALUES) || number >= count {
        return None;
    }
    let bits = count.bits_below();
    let mut at = number;
    for _ in 0..MAX_STEPS {
        at = of_bits(ff1, tweak, at, bits)?;
        if at < count {
            return Some(at);
        }
    }
    None
}

/// A number of up to 192 bits, most significant part first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide([u64; 3]);

impl Wide {
    fn times_plus(self, factor: u64, addend: u64) -> Option<Self> {
        let Self(mut parts) = self;
        let mut carry = u128::from(addend);
        for part in parts.iter_mut().rev() {
            let product = u128::from(*part) * u128::from(factor) + carry;
            *part = low_half(product);
            carry = product >> 64;
        }
        (carry == 0).then_some(Self(parts))
    }

    fn divided(self, divisor: u64) -> (Self, u64) {
        let Self(mut parts) = self;
        let mut rest = 0u128;
        for part in &mut parts {
            let current = (rest << 64) | u128::from(*part);
            *part = low_half(current / u128::from(divisor));
            rest = current % u128::from(divisor);
        }
        (Self(parts), low_half(rest))
    }

    /// How many bits numbers below this one have.
    fn bits_below(self) -> u32 {
        let [a, b, c] = self.0;
        let (c, borrowed) = c.overflowing_sub(1);
        let (b, borrowed) = b.overflowing_sub(u64::from(borrowed));
        let a = a.wrapping_sub(u64::from(borrowed));
        [(a, 192), (b, 128), (c, 64)].into_iter().find(|(part, _)| *part != 0).map_or(0, |(part, upto)| upto - part.leading_zeros())
    }

    /// What is above the lowest `lower` bits, and those; at most [`MAX_HALF_BITS`] each.
    fn split(self, lower: u32) -> Option<(u128, u128)> {
        let [a, b, c] = self.0.map(u128::from);
        if lower > MAX_HALF_BITS {
            return None;
        }
        let low = (b << 64) | c;
        let mask = (1u128 << lower) - 1;
        // The lowest 128 bits and what is above them, moved together.
        let upper = if lower == 0 { low } else { (low >> lower) | (a << (128 - lower)) };
        (a == 0 || lower >= 64).then_some((upper, low & mask))
    }

    fn joined(upper: u128, lower: u128, bits: u32) -> Option<Self> {
        let above = if bits == 0 { 0 } else { upper >> (128 - bits) };
        let low = (upper << bits) | lower;
        Some(Self([u64::try_from(above).ok()?, low_half(low >> 64), low_half(low)]))
    }

    /// The lowest 128 bits.
    pub(super) fn low(self) -> u128 {
        let [_, b, c] = self.0.map(u128::from);
        (b << 64) | c
    }

    /// Of up to 24 bytes, most significant first.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.iter().try_fold(Self::from(0), |sum, byte| sum.times_plus(256, u64::from(*byte)))
    }

    /// The lowest bytes.
    pub(super) fn bytes(self, count: usize) -> Vec<u8> {
        let all: Vec<u8> = self.0.iter().flat_map(|part| part.to_be_bytes()).collect();
        all.get(all.len().saturating_sub(count)..).unwrap_or_default().to_vec()
    }
}

impl From<u128> for Wide {
    fn from(number: u128) -> Self {
        Self([0, low_half(number >> 64), low_half(number)])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
const fn low_half(number: u128) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ff1() -> Ff1 {
        Ff1::new(&[9; 32]).unwrap()
    }

    #[test]
    fn a_card_stays_a_card_of_its_brand() {
        for card in ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "30569309025904", "6759649826438453"] {
            let token = of_text(&ff1(), card).unwrap();
            let digits: Vec<u8> = token.bytes().filter(u8::is_ascii_digit).collect();
            assert!(is_card(&digits) && token != card && token[..4] == card[..4], "{card} {token}");
            let shape = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
            assert_eq!(shape(&token), shape(card));
        }
        let plain = of_text(&ff1(), "4111111111111111").unwrap();
        assert_eq!(of_text(&ff1(), "4111 1111 1111 1111").unwrap().replace(' ', ""), plain, "written otherwise, it is the same card");
        assert_eq!(of_number(&ff1(), 4_111_111_111_111_111, u128::MAX, true).unwrap().to_string(), plain, "and so as a number");
    }

    #[test]
    fn what_has_too_few_alternatives_or_is_too_long_has_no_token() {
        for text in ["", "12345", "ab1", "1-2-3", "größe12345678", &"x".repeat(41), "naïve text of words"] {
            assert_eq!(of_text(&ff1(), text), None, "{text}");
        }
        assert!(of_text(&ff1(), "123456").is_some() && of_text(&ff1(), &"x".repeat(40)).is_some());
        assert_eq!(of_number(&ff1(), 5, 32_767, true), None, "all of int2 can be tried");
    }

    #[test]
    fn numbers_keep_their_digits_and_stay_distinct() {
        let tokens: BTreeSet<u128> = (0..3_000).map(|number| of_number(&ff1(), number, u128::MAX, true).unwrap()).collect();
        assert!(tokens.len() == 3_000 && tokens.iter().all(|token| *token < 1_000_000));
        for number in [1_000_000, 2_147_483_647, 2_000_000_000, 9_007_199_254_740_992] {
            let token = of_number(&ff1(), number, i64::MAX as u128, true).unwrap();
            assert_eq!(token.to_string().len(), number.to_string().len());
        }
        for number in [1_000_000_000, 2_147_483_647] {
            assert!(of_number(&ff1(), number, 2_147_483_647, true).unwrap() <= 2_147_483_647);
        }
    }

    #[test]
    fn what_is_no_card_never_gets_a_cards_token() {
        let others = (4_111_111_111_111_000..4_111_111_111_112_000u128).filter(|number| !is_card(number.to_string().as_bytes()));
        let tokens: BTreeSet<(String, u128)> =
            others.map(|number| (of_text(&ff1(), &number.to_string()).unwrap(), of_number(&ff1(), number, u128::MAX, true).unwrap())).collect();
        assert_eq!(tokens.len(), 900);
        assert!(tokens.iter().all(|(text, number)| !is_card(text.as_bytes()) && !is_card(number.to_string().as_bytes())));
    }

    proptest! {
        #[test]
        fn the_format_stays(text in "[a-zA-Z0-9@. -]{12,30}") {
            let kind = |c: char| match c { '0'..='9' => '0', 'a'..='z' => 'a', 'A'..='Z' => 'A', other => other };
            if let Some(token) = of_text(&ff1(), &text) {
                prop_assert_eq!(token.chars().map(kind).collect::<String>(), text.chars().map(kind).collect::<String>());
                prop_assert_eq!(of_text(&ff1(), &text), Some(token));
            }
        }

        #[test]
        fn wide_numbers_are_cut_and_joined(bytes in prop::collection::vec(any::<u8>(), 24), bits in 1u32..=192) {
            let mut value = Wide::of_bytes(&bytes).unwrap();
            prop_assert_eq!(value.bytes(24), bytes);
            while value.bits_below() > bits { value = value.divided(2).0; }
            let lower = bits - bits / 2;
            if let Some((upper, rest)) = value.split(lower) {
                prop_assert_eq!(Wide::joined(upper, rest, lower), Some(value));
            } else {
                prop_assert!(false, "{} bits do not split", bits);
            }
        }
    }
}
