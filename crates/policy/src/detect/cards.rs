//! Numbers of payment cards.

use super::classes::{at, back};
use super::entity::Entity;
use super::numbers::{HYPHEN, Look, SPACE, luhn};
use super::pass::Match;

/// Issuer identification ranges by their first six digits, and which lengths a brand has.
/// ISO/IEC 7812 and the networks' own tables: Visa, Mastercard (the 2-series since 2017), American Express, Discover and Diners Club,
/// JCB, UnionPay, Mir, RuPay, Elo, Verve, Troy, Dankort, UATP.
struct Range {
    from: u32,
    to: u32,
    /// Bit n: n digits are possible.
    lengths: u32,
    rule: &'static str,
    /// Few enough that the check digit proves the number; otherwise words must.
    sure: bool,
}

const fn range(from: u32, to: u32, lengths: &[u32], rule: &'static str, sure: bool) -> Range {
    let mut bits = 0;
    let mut rest = lengths;
    while let [first, others @ ..] = rest {
        bits |= 1 << *first;
        rest = others;
    }
    Range { from, to, lengths: bits, rule, sure }
}

const MAESTRO_LENGTHS: &[u32] = &[12, 13, 14, 15, 16, 17, 18, 19];

/// The more specific first.
static RANGES: &[Range] = &[
    range(506_099, 506_198, &[16, 18, 19], "card-verve", true),
    range(650_002, 650_027, &[16, 18, 19], "card-verve", true),
    range(507_865, 507_964, &[16, 18, 19], "card-verve", true),
    range(979_200, 979_289, &[16], "card-troy", true),
    range(401_178, 401_179, &[16], "card-elo", true),
    range(438_935, 438_935, &[16], "card-elo", true),
    range(451_416, 451_416, &[16], "card-elo", true),
    range(504_175, 504_175, &[16], "card-elo", true),
    range(506_699, 506_778, &[16], "card-elo", true),
    range(509_000, 509_999, &[16], "card-elo", true),
    range(627_780, 627_780, &[16], "card-elo", true),
    range(636_297, 636_297, &[16], "card-elo", true),
    range(636_368, 636_368, &[16], "card-elo", true),
    range(340_000, 349_999, &[15], "card-amex", true),
    range(370_000, 379_999, &[15], "card-amex", true),
    range(300_000, 305_999, &[14, 16, 17, 18, 19], "card-diners", true),
    range(309_500, 309_599, &[14, 16, 17, 18, 19], "card-diners", true),
    range(360_000, 369_999, &[14, 15, 16, 17, 18, 19], "card-diners", true),
    range(380_000, 399_999, &[14, 16, 17, 18, 19], "card-diners", true),
    range(352_800, 358_999, &[16, 17, 18, 19], "card-jcb", true),
    range(350_000, 359_999, &[16], "card-jcb", false),
    range(180_000, 180_099, &[15], "card-jcb", true),
    range(213_100, 213_199, &[15], "card-jcb", true),
    range(220_000, 220_499, &[16, 17, 18, 19], "card-mir", true),
    range(222_100, 272_099, &[16], "card-mastercard", true),
    range(510_000, 559_999, &[16], "card-mastercard", true),
    range(400_000, 499_999, &[13, 16, 19], "card-visa", true),
    range(501_900, 501_999, &[16], "card-dankort", true),
    range(601_100, 601_199, &[16, 17, 18, 19], "card-discover", true),
    range(622_126, 622_925, &[16, 17, 18, 19], "card-discover", true),
    range(644_000, 659_999, &[16, 17, 18, 19], "card-discover", true),
    range(508_500, 508_999, &[16], "card-rupay", true),
    range(817_200, 820_199, &[16], "card-rupay", true),
    range(810_000, 817_199, &[16, 17, 18, 19], "card-unionpay", true),
    range(606_900, 608_999, &[16], "card-rupay", true),
    range(620_000, 629_999, &[16, 17, 18, 19], "card-unionpay", true),
    range(501_800, 501_899, MAESTRO_LENGTHS, "card-maestro", true),
    range(502_000, 502_099, MAESTRO_LENGTHS, "card-maestro", true),
    range(503_800, 503_899, MAESTRO_LENGTHS, "card-maestro", true),
    range(561_200, 561_299, MAESTRO_LENGTHS, "card-maestro", true),
    range(589_300, 589_399, MAESTRO_LENGTHS, "card-maestro", true),
    range(630_400, 630_499, MAESTRO_LENGTHS, "card-maestro", true),
    range(670_300, 670_399, MAESTRO_LENGTHS, "card-maestro", true),
    range(670_800, 670_899, MAESTRO_LENGTHS, "card-maestro", true),
    range(675_000, 676_999, MAESTRO_LENGTHS, "card-maestro", true),
    range(60_400, 60_499, MAESTRO_LENGTHS, "card-maestro", true),
    range(500_000, 509_999, MAESTRO_LENGTHS, "card-maestro", false),
    range(560_000, 589_999, MAESTRO_LENGTHS, "card-maestro", false),
    range(600_000, 699_999, MAESTRO_LENGTHS, "card-maestro", false),
    range(100_000, 199_999, &[15], "card-uatp", false),
];

/// A card number that begins with the group.
pub(super) fn read(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    if !look.on(Entity::Card) {
        return None;
    }
    let cluster = look.cluster;
    let first = cluster.group(look.index);
    let separator = cluster.group(look.index + 1).lead;
    let one = first.len >= 12;
    let grouped = matches!(separator, SPACE | HYPHEN) && (4..=8).contains(&first.len);
    if !one && !grouped {
        return None;
    }
    let last = if one { look.index } else { cluster.count - 1 };
    (look.index..=last).rev().find_map(|last| {
        let digits = cluster.digits(look.index, last);
        let possible = (12..=19).contains(&digits.len()) && cluster.joined_by(look.index, last, separator) && cluster.ends(last);
        if !possible || !(one || is_grouped(look, last)) || digits.iter().all(|digit| Some(digit) == digits.first()) || !luhn(digits) {
            return None;
        }
        let range = brand(digits).filter(|_| one || !is_in_list(look, last))?;
        let sure = range.sure && !is_article(digits) && !is_date_grouped(look, last);
        let stands = if sure { look.stands(Entity::Card) } else { look.says(Entity::Card) };
        stands.then(|| look.hit(last, Entity::Card, range.rule, true))
    })
}

fn brand(digits: &[u8]) -> Option<&'static Range> {
    let issuer = digits.iter().take(6).fold(0, |issuer, digit| issuer * 10 + u32::from(*digit));
    RANGES.iter().find(|range| (range.from..=range.to).contains(&issuer) && range.lengths >> digits.len() & 1 == 1)
}

/// Groups as printed on cards: fours, or 4-6-5 and 4-6-4, or the issuer's six and the rest.
fn is_grouped(look: &Look<'_, '_, '_>, last: usize) -> bool {
    let (from, cluster) = (look.index, look.cluster);
    let fours = (from..last).all(|index| cluster.group(index).len == 4) && cluster.group(last).len <= 4;
    let count = last - from + 1;
    let special: &[&[usize]] =
        &[&[4, 6, 5], &[4, 6, 4], &[4, 5, 6], &[6, 13], &[6, 10], &[8, 8], &[8, 4], &[8, 5], &[4, 4, 5], &[4, 4, 4, 5], &[4, 4, 4, 6], &[4, 4, 4, 7]];
    fours || special.iter().any(|lengths| lengths.len() == count && cluster.has_lengths(from, lengths))
}

/// Whether fours go on before and after, or a hexadecimal one on either side, as in a list of numbers or a dump of bytes.
fn is_in_list(look: &Look<'_, '_, '_>, last: usize) -> bool {
    let text = look.cluster.text;
    let (start, end) = (look.cluster.group(look.index).at, look.cluster.group(last).end());
    let (before, after) = (four(text, start.wrapping_sub(5)), four(text, end + 1));
    let hex = |four: Option<&[u8]>| four.is_some_and(|four| !four.iter().all(u8::is_ascii_digit));
    (before.is_some() && after.is_some()) || hex(before) || hex(after)
}

/// Four hexadecimal digits by themselves.
fn four(text: &[u8], start: usize) -> Option<&[u8]> {
    let ends = |byte: u8| matches!(byte, b' ' | b'\n' | b'\t' | 0);
    let four = text.get(start..start.checked_add(4)?)?;
    (four.iter().all(u8::is_ascii_hexdigit) && ends(back(text, start, 1)) && ends(at(text, start + 4))).then_some(four)
}

/// `2021 1231 2359` is a time, not a card.
fn is_date_grouped(look: &Look<'_, '_, '_>, last: usize) -> bool {
    last > look.index && look.cluster.digits(look.index, last).len() == 12
}

/// Thirteen digits that are a good article number (GS1 General Specifications 7.9.1) are no Visa number of the 1980s.
fn is_article(digits: &[u8]) -> bool {
    let sum: u32 = digits.iter().enumerate().map(|(index, digit)| u32::from(*digit) * if index % 2 == 0 { 1 } else { 3 }).sum();
    digits.len() == 13 && sum.is_multiple_of(10)
}
