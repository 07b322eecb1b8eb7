//! Forms that anything may have: they count where the context speaks of what they are.

use super::classes::{LOWER, at, back, is_digit, is_word, letter_after, letter_before, part};
use super::entity::Entity;
use super::numbers::{HYPHEN, Look, SPACE};
use super::pass::{Match, Scene, Token};
use super::{crypto, dates};

/// What tokens of letters and digits may be.
const MIXED: u32 = Entity::Passport.bit()
    | Entity::UsPassport.bit()
    | Entity::ItPassport.bit()
    | Entity::UsDriverLicense.bit()
    | Entity::ItDriverLicense.bit()
    | Entity::ItIdentityCard.bit()
    | Entity::CryptoAddress.bit();

/// What digits alone may be.
const DIGITS: u32 =
    Entity::UsBankNumber.bit() | Entity::UsPassport.bit() | Entity::Passport.bit() | Entity::UsDriverLicense.bit() | Entity::ItIdentityCard.bit();

/// How long numbers of persons are, and addresses.
pub(super) const SHORT: std::ops::RangeInclusive<usize> = 6..=16;
pub(super) const LONG: std::ops::RangeInclusive<usize> = 32..=44;

/// A token of letters and digits that the context speaks of.
pub(super) fn mixed(scene: &mut Scene<'_>, token: Token) -> Option<Match> {
    let text = scene.window.text;
    let length = token.len();
    let long = LONG.contains(&length);
    if !scene.on.any(MIXED) || !(long || SHORT.contains(&length)) || is_part_of_more(text, token) {
        return None;
    }
    let whole = part(text, token.start, token.end);
    let possible = if long { crypto::is_base58(whole) } else { token.classes & LOWER == 0 || scene.ear.hinted() & MIXED != 0 };
    let digits = whole.iter().filter(|byte| byte.is_ascii_digit()).count();
    let licence = is_italian_licence(whole);
    if !possible || (!long && digits < 2 && !licence) {
        return None;
    }
    let context = scene.ear.context(text, scene.window.base, token.start);
    let kinds = [context.nearest & scene.on.0, context.kinds & scene.on.0];
    let said = kinds.iter().find_map(|kinds| if long { wallet(*kinds, whole) } else { code(*kinds, &Code::of(whole)) });
    let alone = licence && digits > 1 && context.kinds & MIXED == 0 && scene.on.has(Entity::ItDriverLicense) && stands_free(text, token);
    let (entity, rule) = said.or(alone.then_some((Entity::ItDriverLicense, "it-driver-license")))?;
    Some(Match { start: token.start, end: token.end, entity, rule, checked: false })
}

/// A driving licence of Italy since 2013: `U1`, seven digits and letters but vowels and what looks like others, and a letter. Hardly anything else
/// looks like it, so that it counts where nothing is said of what stands there.
fn is_italian_licence(whole: &[u8]) -> bool {
    let [b'U', b'1', middle @ .., last] = whole else { return false };
    middle.len() == 7 && last.is_ascii_uppercase() && middle.iter().all(|byte| b"BCDFGHJKLMNPRSTUWXYZ0123456789".contains(byte))
}

fn stands_free(text: &[u8], token: Token) -> bool {
    !letter_before(text, token.start) && !letter_after(text, token.end)
}

fn is_part_of_more(text: &[u8], token: Token) -> bool {
    let (before, after) = (back(text, token.start, 1), at(text, token.end));
    let joined = matches!(before, b'-' | b'_' | b'.' | b'/' | b'@') && is_word(back(text, token.start, 2));
    joined || (matches!(after, b'-' | b'_' | b'@') && is_word(at(text, token.end + 1)))
}

fn wallet(kinds: u32, whole: &[u8]) -> Option<(Entity, &'static str)> {
    (kinds & Entity::CryptoAddress.bit() != 0 && crypto::unproven(whole)).then_some((Entity::CryptoAddress, "crypto-solana"))
}

/// How letters and digits take turns: `AB1234567` is 2 letters, 7 digits, 0 letters.
struct Code {
    first: u8,
    second: u8,
    lead: usize,
    digits: usize,
    trail: usize,
    length: usize,
    /// Nine of the characters that passports of Germany are numbered with, which leave out vowels and what looks like digits.
    german: bool,
}

impl Code {
    fn of(whole: &[u8]) -> Self {
        let lead = whole.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let digits = whole.iter().skip(lead).take_while(|byte| byte.is_ascii_digit()).count();
        let rest = part(whole, lead + digits, whole.len());
        let trail = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let german = whole.len() == 9 && !is_digit(at(whole, 0)) && whole.iter().all(|byte| b"CFGHJKLMNPRTVWXYZ0123456789".contains(byte));
        Self { first: at(whole, 0), second: at(whole, 1), lead, digits, trail, length: whole.len(), german }
    }

    /// Whether it is letters, digits and letters of these numbers and nothing more.
    fn is(&self, lead: usize, digits: usize, trail: usize) -> bool {
        (self.lead, self.digits, self.trail) == (lead, digits, trail) && self.length == lead + digits + trail
    }
}

/// Passports: the United States' new ones have a letter and eight digits, Italy's two letters and seven; others six to nine characters.
/// Identity cards of Italy (decree of 23 December 2015): `CA00000AA`, and on paper two letters and seven digits. Driving licences of
/// Italy: two letters, seven digits, a letter, or `U1` with seven characters and a letter. Licences of the United States: up to three letters, digits (AAMVA).
fn code(kinds: u32, code: &Code) -> Option<(Entity, &'static str)> {
    let said = |entity: Entity| kinds & entity.bit() != 0;
    let table = [
        (Entity::ItIdentityCard, "it-identity-card", code.is(2, 5, 2) || code.is(2, 7, 0) || code.is(0, 7, 2)),
        (Entity::ItDriverLicense, "it-driver-license", code.is(2, 7, 1) || (code.length == 10 && code.first == b'U' && code.second == b'1')),
        (Entity::UsPassport, "us-passport", code.is(1, 8, 0)),
        (Entity::ItPassport, "it-passport", code.is(2, 7, 0)),
        (Entity::UsDriverLicense, "us-driver-license", code.lead <= 3 && code.digits >= 4 && (5..=16).contains(&code.length) && code.trail <= 3),
        (
            Entity::Passport,
            "passport",
            code.german || ((6..=10).contains(&code.length) && code.lead <= 3 && code.digits >= 5 && code.lead + code.digits == code.length),
        ),
    ];
    table.iter().find(|(entity, _, fits)| said(*entity) && *fits).map(|(entity, rule, _)| (*entity, *rule))
}

/// Digits that the context speaks of.
pub(super) fn read(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    let group = look.cluster.group(look.index);
    let any = DIGITS & Entity::ALL.iter().filter(|entity| look.on(**entity)).fold(0, |bits, entity| bits | entity.bit());
    if any == 0 || group.len > 17 || dates::numeric(look.cluster, look.index).is_some() {
        return None;
    }
    let context = look.context();
    if context.kinds & any == 0 {
        return None;
    }
    let kinds = [context.nearest & any, context.kinds & any];
    let lasts = [joined(look), look.index];
    lasts.iter().filter(|last| look.cluster.ends(**last)).find_map(|last| {
        let count = look.cluster.digits(look.index, *last).len();
        let (entity, rule) = kinds.iter().find_map(|kinds| number(*kinds, count, *last == look.index))?;
        Some(look.hit(*last, entity, rule, false))
    })
}

/// The last group of a number whose groups are joined by hyphens or spaces.
fn joined(look: &Look<'_, '_, '_>) -> usize {
    let lead = look.cluster.group(look.index + 1).lead;
    let more =
        (look.index + 1..look.cluster.count).take_while(|index| matches!(lead, HYPHEN | SPACE) && look.cluster.group(*index).lead == lead).count();
    // Two fours are years, from and to.
    if more == 1 && look.cluster.has_lengths(look.index, &[4, 4]) { look.index } else { look.index + more }
}

fn number(kinds: u32, count: usize, one: bool) -> Option<(Entity, &'static str)> {
    let said = |entity: Entity| kinds & entity.bit() != 0;
    let table = [
        (Entity::UsPassport, "us-passport", one && count == 9),
        (Entity::Passport, "passport", one && (7..=9).contains(&count)),
        (Entity::UsDriverLicense, "us-driver-license", (7..=14).contains(&count)),
        (Entity::UsBankNumber, "us-bank-number", (8..=17).contains(&count)),
        (Entity::ItIdentityCard, "it-identity-card", one && count == 9),
    ];
    table.iter().find(|(entity, _, fits)| said(*entity) && *fits).map(|(entity, rule, _)| (*entity, *rule))
}
