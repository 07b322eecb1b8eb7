//! Numbers of persons by the rules of their countries.

use super::classes::{DIGIT, at, back, is_digit, is_word, letter_after, letter_before, part, run, work};
use super::entity::Entity;
use super::numbers::{DOT, HYPHEN, Look, NONE, SPACE, luhn};
use super::pass::{Match, Scene, Token};

/// A number of digits alone that begins with the group.
pub(super) fn read(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    let group = look.cluster.group(look.index);
    match group.len {
        3 => social_security(look).or_else(|| nhs(look)),
        9 => social_security(look),
        10 => nhs(look),
        11 if look.cluster.ends(look.index) => pesel(look).or_else(|| vat(look)),
        _ => None,
    }
}

/// Social security and taxpayer numbers: with hyphens by their form, otherwise by what is said of them.
fn social_security(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    let cluster = look.cluster;
    let grouped = cluster.has_lengths(look.index, &[3, 2, 4]);
    let last = if grouped { look.index + 2 } else { look.index };
    let separator = if grouped { cluster.group(last).lead } else { NONE };
    let digits = cluster.digits(look.index, last);
    if digits.len() != 9 || !cluster.ends(last) || !cluster.joined_by(look.index, last, separator) {
        return None;
    }
    let (entity, rule) = if is_ssn(digits) {
        (Entity::UsSsn, "us-ssn")
    } else if is_itin(digits) {
        (Entity::UsItin, "us-itin")
    } else {
        return None;
    };
    if !look.on(entity) {
        return None;
    }
    match separator {
        HYPHEN if look.stands(entity) => Some(look.hit(last, entity, rule, true)),
        SPACE if cluster.is_all(look.index, last) && look.stands(entity) => Some(look.hit(last, entity, rule, false)),
        NONE | SPACE | DOT | HYPHEN if look.says(entity) => Some(look.hit(last, entity, rule, false)),
        _ => None,
    }
}

/// <https://www.ssa.gov/employer/randomization.html>: no area 000, 666 or from 900 on, no group 00, no serial 0000. The three numbers
/// that advertisements have made void are left out too (<https://www.ssa.gov/history/ssn/misused.html>).
fn is_ssn(digits: &[u8]) -> bool {
    let [area, group, serial] = [0..3, 3..5, 5..9].map(|range| number(digits.get(range).unwrap_or_default()));
    let void = matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999) | (123, 45, 6788));
    (1..900).contains(&area) && area != 666 && group != 0 && serial != 0 && !void
}

/// <https://www.irs.gov/irm/part3/irm_03-021-263r>: from 900 on, with the groups 50 to 65, 70 to 88, 90 to 92 and 94 to 99.
fn is_itin(digits: &[u8]) -> bool {
    let [area, group] = [0..3, 3..5].map(|range| number(digits.get(range).unwrap_or_default()));
    area >= 900 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + u32::from(*digit))
}

/// <https://www.datadictionary.nhs.uk/attributes/nhs_number.html>: ten digits, the last by weights 10 to 2 modulo 11.
fn nhs(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    let cluster = look.cluster;
    let grouped = cluster.has_lengths(look.index, &[3, 3, 4]);
    let last = if grouped { look.index + 2 } else { look.index };
    let digits = cluster.digits(look.index, last);
    let separator = if grouped { cluster.group(last).lead } else { NONE };
    let fits = digits.len() == 10 && cluster.ends(last) && cluster.joined_by(look.index, last, separator) && !cluster.group(look.index).closed;
    if !look.on(Entity::UkNhs) || !fits || !matches!(separator, NONE | SPACE | HYPHEN) || !is_nhs(digits) {
        return None;
    }
    let by_itself = separator == SPACE && look.stands(Entity::UkNhs) && !look.says(Entity::Phone);
    (by_itself || look.says(Entity::UkNhs)).then(|| look.hit(last, Entity::UkNhs, "uk-nhs", true))
}

fn is_nhs(digits: &[u8]) -> bool {
    let sum: u32 = digits.iter().zip([10, 9, 8, 7, 6, 5, 4, 3, 2]).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    let same = digits.iter().all(|digit| Some(digit) == digits.first());
    !same && Some((11 - sum % 11) % 11) == digits.last().map(|digit| u32::from(*digit))
}

/// <https://www.gov.pl/web/gov/czym-jest-numer-pesel>: date of birth with the century in the month, serial, check digit.
fn pesel(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    let digits = look.cluster.digits(look.index, look.index);
    let possible = look.on(Entity::PlPesel) && is_pesel(digits);
    let stands = possible && look.stands(Entity::PlPesel) && (!look.says(Entity::Phone) || look.says(Entity::PlPesel));
    stands.then(|| look.hit(look.index, Entity::PlPesel, "pl-pesel", true))
}

fn is_pesel(digits: &[u8]) -> bool {
    let sum: u32 = digits.iter().zip([1, 3, 7, 9, 1, 3, 7, 9, 1, 3]).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    let [month, day] = [2..4, 4..6].map(|range| number(digits.get(range).unwrap_or_default()));
    let checks = Some((10 - sum % 10) % 10) == digits.last().map(|digit| u32::from(*digit));
    checks && (1..=12).contains(&(month % 20)) && (1..=31).contains(&day)
}

/// <https://www.agenziaentrate.gov.it/>: eleven digits by Luhn, of which the eighth to tenth are the office of a province.
fn vat(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    let digits = look.cluster.digits(look.index, look.index);
    if !look.on(Entity::ItVatCode) || !luhn(digits) || digits.iter().take(7).all(|digit| *digit == 0) {
        return None;
    }
    let office = number(digits.get(7..10).unwrap_or_default());
    let sure = matches!(office, 1..=100 | 120 | 121 | 888 | 999) && look.stands(Entity::ItVatCode) && !look.says(Entity::Phone);
    (sure || look.says(Entity::ItVatCode)).then(|| look.hit(look.index, Entity::ItVatCode, "it-vat-code", true))
}

/// A code of letters and digits that begins with the token.
pub(super) fn codes(scene: &mut Scene<'_>, token: Token) -> Option<Match> {
    if letter_before(scene.window.text, token.start) {
        return None;
    }
    match token.len() {
        1 | 2 | 8 | 9 => spanish(scene, token).or_else(|| prescriber(scene, token)),
        13 => italian_vat(scene, token),
        16 => fiscal_code(scene, token),
        28.. => second_passport_line(scene, token),
        _ if at(scene.window.text, token.end) == b'<' => second_passport_line(scene, token),
        _ => None,
    }
}

/// `IT` before a VAT code, as in invoices within the Union.
fn italian_vat(scene: &Scene<'_>, token: Token) -> Option<Match> {
    let digits = part(scene.window.text, token.start + 2, token.end);
    let mut values = [0; 11];
    values.iter_mut().zip(digits).for_each(|(value, digit)| *value = digit & 15);
    let named = part(scene.window.text, token.start, token.start + 2) == b"IT" && digits.iter().all(u8::is_ascii_digit);
    (scene.on.has(Entity::ItVatCode) && named && luhn(&values)).then(|| whole(token, Entity::ItVatCode, "it-vat-code"))
}

fn whole(token: Token, entity: Entity, rule: &'static str) -> Match {
    Match { start: token.start, end: token.end, entity, rule, checked: true }
}

/// <https://www.interior.gob.es/opencms/es/servicios-al-ciudadano/tramites-y-gestiones/dni/calculo-del-digito-de-control-del-nif-nie/>:
/// eight digits, or X, Y or Z (read as 0, 1, 2) and seven, then a letter by the remainder of 23. K, L and M begin numbers of residents
/// without a card.
fn spanish(scene: &Scene<'_>, token: Token) -> Option<Match> {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let text = scene.window.text;
    let first = at(text, token.start).to_ascii_uppercase();
    let joined = matches!(at(text, token.end), b'-' | b'.');
    if !matches!(first, b'0'..=b'9' | b'X'..=b'Z' | b'K'..=b'M') || (token.len() != 9 && !joined) || is_part_of_more(text, token.start) {
        return None;
    }
    let (code, end) = nine_characters(text, token.start)?;
    let (digits, letter) = (code.get(1..8)?, at(&code, 8).to_ascii_uppercase());
    if !digits.iter().all(u8::is_ascii_digit) || !letter.is_ascii_uppercase() || letter_after(text, end) || at(text, end) == b'-' {
        return None;
    }
    let lead = match first {
        b'X'..=b'Z' => u32::from(first - b'X'),
        b'0'..=b'9' => u32::from(first - b'0'),
        _ => 0,
    };
    let value = digits.iter().fold(lead, |value, digit| value * 10 + u32::from(digit - b'0'));
    let (entity, rule) = if matches!(first, b'X'..=b'Z') { (Entity::EsNie, "es-nie") } else { (Entity::EsNif, "es-nif") };
    let proven = LETTERS.get(value as usize % 23) == Some(&letter) && scene.on.has(entity);
    proven.then_some(Match { start: token.start, end, entity, rule, checked: true })
}

fn is_part_of_more(text: &[u8], start: usize) -> bool {
    let country = matches!(part(text, start.saturating_sub(3), start), b"ES-");
    matches!(back(text, start, 1), b'-' | b'.' | b'_') && is_word(back(text, start, 2)) && !country
}

/// Nine letters and digits, over hyphens and dots.
fn nine_characters(text: &[u8], start: usize) -> Option<([u8; 9], usize)> {
    let (mut code, mut index) = ([0; 9], start);
    for place in &mut code {
        index += usize::from(index > start && matches!(at(text, index), b'-' | b'.'));
        *place = at(text, index);
        index += 1;
        if !is_word(*place) {
            return None;
        }
    }
    Some((code, index))
}

/// <https://www.deadiversion.usdoj.gov/>: the kind of registrant, the first letter of the name or 9, and seven digits; the sum of the
/// first, third and fifth and twice that of the others ends in the seventh.
fn prescriber(scene: &mut Scene<'_>, token: Token) -> Option<Match> {
    let code = part(scene.window.text, token.start, token.end);
    let kind = matches!(at(code, 0), b'A'..=b'H' | b'J'..=b'M' | b'P' | b'R'..=b'U' | b'X');
    let named = matches!(at(code, 1), b'A'..=b'Z' | b'9');
    if code.len() != 9 || !kind || !named || !scene.on.has(Entity::MedicalLicense) || !code.iter().skip(2).all(u8::is_ascii_digit) {
        return None;
    }
    let sum: u32 = code.iter().skip(2).take(6).enumerate().map(|(index, digit)| u32::from(digit & 15) * if index % 2 == 0 { 1 } else { 2 }).sum();
    let goes_on = at(scene.window.text, token.end) == b'-' && is_word(at(scene.window.text, token.end + 1));
    if sum % 10 != u32::from(at(code, 8) & 15) || goes_on || is_part_of_more(scene.window.text, token.start) {
        return None;
    }
    let context = scene.ear.context(scene.window.text, scene.window.base, token.start);
    let others = [Entity::Passport, Entity::ItPassport, Entity::ItIdentityCard, Entity::UsDriverLicense, Entity::ItDriverLicense];
    let other = others.iter().any(|entity| context.says(*entity)) && !context.says(Entity::MedicalLicense);
    (!other).then(|| whole(token, Entity::MedicalLicense, "medical-license-dea"))
}

/// <https://www.agenziaentrate.gov.it/portale/web/guest/codice-fiscale>, decree of 12 March 1974: name, year, month, day, place, check
/// letter. Where two persons would have the same code, digits become letters.
fn fiscal_code(scene: &Scene<'_>, token: Token) -> Option<Match> {
    const SHAPE: &[u8; 16] = b"LLLLLLDDMDDLDDDL";
    let code = part(scene.window.text, token.start, token.end);
    let fits = code.iter().zip(SHAPE).all(|(byte, kind)| match (kind, byte.to_ascii_uppercase()) {
        (b'L', byte) => byte.is_ascii_uppercase(),
        (b'M', byte) => b"ABCDEHLMPRST".contains(&byte),
        (_, byte) => digit_of(byte).is_some(),
    });
    if !fits || !scene.on.has(Entity::ItFiscalCode) {
        return None;
    }
    let day = digit_of(at(code, 9))? * 10 + digit_of(at(code, 10))?;
    let sum: u32 = code.iter().take(15).enumerate().map(|(index, byte)| fiscal_part(index, byte.to_ascii_uppercase())).sum();
    let proven = matches!(day, 1..=31 | 41..=71) && sum % 26 == u32::from(at(code, 15).to_ascii_uppercase() - b'A');
    proven.then(|| whole(token, Entity::ItFiscalCode, "it-fiscal-code"))
}

fn digit_of(byte: u8) -> Option<u32> {
    match byte.to_ascii_uppercase() {
        digit @ b'0'..=b'9' => Some(u32::from(digit - b'0')),
        letter => b"LMNPQRSTUV".iter().position(|of| *of == letter).map(|value| value as u32),
    }
}

/// What a character adds to the check: its value, or at odd places (the first is odd) that of the decree's table.
fn fiscal_part(index: usize, byte: u8) -> u32 {
    const ODD: &[u8; 26] = &[1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let value = if is_digit(byte) { byte - b'0' } else { byte.saturating_sub(b'A') };
    if index.is_multiple_of(2) { u32::from(at(ODD, usize::from(value))) } else { u32::from(value) }
}

/// ICAO Doc 9303 part 4: the length of each of a passport's two lines.
const LINE_BYTES: usize = 44;

/// Both lines, of which the first begins `P<`.
pub(super) fn passport_lines(text: &[u8], start: usize) -> Option<Match> {
    let first = run(text, start, LINE_BYTES + 1, is_mrz);
    work::count(first);
    if first != LINE_BYTES || letter_before(text, start) {
        return None;
    }
    let end = start + LINE_BYTES;
    let gap = run(text, end, 4, |byte| matches!(byte, b'\r' | b'\n' | b'\\' | b'n' | b'r' | b' '));
    let second = end + gap;
    is_second_line(text, second).then_some(Match { start, end: second + LINE_BYTES, entity: Entity::Passport, rule: "passport-mrz", checked: true })
}

/// The second line alone: its check digits prove it.
fn second_passport_line(scene: &Scene<'_>, token: Token) -> Option<Match> {
    let proven = scene.on.has(Entity::Passport) && is_second_line(scene.window.text, token.start);
    let end = token.start + LINE_BYTES;
    proven.then_some(Match { start: token.start, end, entity: Entity::Passport, rule: "passport-mrz", checked: true })
}

fn is_second_line(text: &[u8], start: usize) -> bool {
    let line = part(text, start, start + LINE_BYTES);
    if line.len() != LINE_BYTES
        || !matches!(at(line, 20), b'M' | b'F' | b'X' | b'<')
        || !is_digit(at(line, 9))
        || is_mrz(at(text, start + LINE_BYTES))
    {
        return false;
    }
    let checked = |range: std::ops::Range<usize>| line.get(range).and_then(<[u8]>::split_last).is_some_and(|(check, of)| checks(of, *check));
    line.iter().all(|byte| is_mrz(*byte)) && checked(0..10) && checked(13..20) && checked(21..28)
}

fn is_mrz(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'<'
}

/// ICAO Doc 9303 part 3, 4.9: weights 7, 3, 1 modulo 10.
fn checks(of: &[u8], check: u8) -> bool {
    let value = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'Z' => u32::from(byte - b'A') + 10,
        _ => 0,
    };
    let sum: u32 = of.iter().zip([7, 3, 1].iter().cycle()).map(|(byte, weight)| value(*byte) * weight).sum();
    is_digit(check) && sum % 10 == value(check)
}

/// Whether the token is, or may be the beginning of, a code of letters and digits: `X-1234567-L` and `12.345.678-Z` are too.
pub(super) fn may_begin_code(text: &[u8], token: Token) -> bool {
    if token.classes & DIGIT != 0 && token.classes != DIGIT {
        return true;
    }
    let (next, second) = (at(text, token.end), at(text, token.end + 1));
    match token.len() {
        1 => next == b'-' && is_digit(second) && matches!(at(text, token.start).to_ascii_uppercase(), b'X'..=b'Z' | b'K'..=b'M'),
        2 => token.classes == DIGIT && next == b'.' && at(text, token.end + 4) == b'.',
        8 => token.classes == DIGIT && next == b'-' && is_word(second) && !is_digit(second),
        _ => token.classes == DIGIT && next == b'<',
    }
}
