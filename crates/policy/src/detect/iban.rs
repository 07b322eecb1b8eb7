//! International bank account numbers (ISO 13616).

use super::classes::{at, is_digit, is_word, letter_after, letter_before};
use super::entity::Entity;
use super::pass::{Match, Scene, Token};

/// Country and length, from the IBAN registry of SWIFT, release 99, and the countries that use IBANs without being in it.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AO", 25),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BF", 28),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BJ", 28),
    (b"BR", 29),
    (b"BY", 28),
    (b"CF", 27),
    (b"CG", 27),
    (b"CH", 21),
    (b"CI", 28),
    (b"CM", 27),
    (b"CR", 22),
    (b"CV", 25),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"DZ", 26),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GA", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GQ", 27),
    (b"GR", 27),
    (b"GT", 28),
    (b"GW", 25),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IR", 26),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KM", 27),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MA", 28),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MG", 27),
    (b"MK", 19),
    (b"ML", 28),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"MZ", 25),
    (b"NE", 28),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SN", 28),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TD", 27),
    (b"TG", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// An IBAN that begins with the token, whole or in groups by single spaces or hyphens.
pub(super) fn begins(scene: &Scene<'_>, token: Token) -> Option<Match> {
    let text = scene.window.text;
    let country = [at(text, token.start).to_ascii_uppercase(), at(text, token.start + 1).to_ascii_uppercase()];
    let checked = is_digit(at(text, token.start + 2)) && is_digit(at(text, token.start + 3));
    if !checked || !country.iter().all(u8::is_ascii_uppercase) || token.len() < 4 || !scene.on.has(Entity::Iban) || letter_before(text, token.start) {
        return None;
    }
    let (_, length) = LENGTHS.iter().find(|(code, _)| **code == country)?;
    let end = end_of(text, token.start, *length)?;
    let proven = !letter_after(text, end) && remainder(text.get(token.start..end)?) == 1;
    proven.then_some(Match { start: token.start, end, entity: Entity::Iban, rule: "iban", checked: true })
}

/// Where so many letters and digits end, read over single spaces or hyphens between groups of at least two.
fn end_of(text: &[u8], start: usize, length: usize) -> Option<usize> {
    let (mut index, mut count, mut group) = (start, 0, 0);
    while count < length {
        let byte = at(text, index);
        if is_word(byte) {
            count += 1;
            group += 1;
        } else if matches!(byte, b' ' | b'-') && group >= 2 {
            group = 0;
        } else if byte == 0xC2 && at(text, index + 1) == 0xA0 && group >= 2 {
            group = 0;
            index += 1;
        } else {
            return None;
        }
        index += 1;
    }
    Some(index)
}

/// ISO 7064, MOD 97-10: the first four characters go to the end, letters count from 10.
fn remainder(iban: &[u8]) -> u32 {
    let chars = || iban.iter().copied().filter(|byte| is_word(*byte));
    chars().skip(4).chain(chars().take(4)).fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
    })
}
