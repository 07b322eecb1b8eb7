//! Telephone numbers: international by ITU-T E.164, and national forms that are written in no other way. Others need words.

use super::classes::{at, back, is_digit, is_word, run};
use super::dates;
use super::entity::Entity;
use super::numbers::{BRACKET, Cluster, DOT, HYPHEN, Look, SLASH, SPACE};
use super::pass::Match;

/// Country code, least and most digits after it without the trunk zero (ITU-T E.164 and the plans countries notify to the ITU).
const COUNTRIES: &[(u64, usize, usize)] = &[
    (1, 10, 10),
    (7, 10, 10),
    (20, 8, 10),
    (27, 9, 9),
    (30, 10, 10),
    (31, 9, 9),
    (32, 8, 9),
    (33, 9, 9),
    (34, 9, 9),
    (36, 8, 9),
    (39, 6, 11),
    (40, 9, 9),
    (41, 9, 9),
    (43, 7, 13),
    (44, 9, 10),
    (45, 8, 8),
    (46, 7, 10),
    (47, 8, 8),
    (48, 9, 9),
    (49, 6, 12),
    (51, 8, 9),
    (52, 10, 11),
    (53, 6, 8),
    (54, 10, 11),
    (55, 10, 11),
    (56, 9, 9),
    (57, 8, 10),
    (58, 10, 10),
    (60, 8, 10),
    (61, 9, 9),
    (62, 8, 12),
    (63, 8, 10),
    (64, 8, 10),
    (65, 8, 8),
    (66, 8, 9),
    (81, 9, 10),
    (82, 8, 10),
    (84, 9, 10),
    (86, 10, 11),
    (90, 10, 10),
    (91, 10, 10),
    (92, 9, 10),
    (93, 9, 9),
    (94, 9, 9),
    (95, 7, 10),
    (98, 10, 10),
    (351, 9, 9),
    (352, 6, 11),
    (353, 7, 9),
    (358, 6, 11),
    (380, 9, 9),
    (420, 9, 9),
    (421, 9, 9),
    (852, 8, 8),
    (886, 8, 9),
    (966, 8, 9),
    (971, 8, 9),
    (972, 8, 9),
];

/// How many digits a number may have with its country code.
const MAX_E164_DIGITS: usize = 15;

/// A telephone number that begins with the group.
pub(super) fn read(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    if !look.on(Entity::Phone) {
        return None;
    }
    let plus = plus_before(look);
    if let Some((last, rule)) = plus.and_then(|_| international(look.cluster, look.index, 0)) {
        return Some(hit(look, last, plus, rule, true));
    }
    let spoken = look.says(Entity::Phone);
    if let Some((last, rule)) = strong(look, spoken).filter(|_| spoken || look.left == super::numbers::Left::Free) {
        return Some(hit(look, last, None, rule, true));
    }
    if !spoken {
        return None;
    }
    let last = weak(look)?;
    Some(hit(look, last, plus, "phone", false))
}

/// Whether a plus says that this is an international number and nothing else.
pub(super) fn has_plus(look: &Look<'_, '_, '_>) -> bool {
    look.on(Entity::Phone) && plus_before(look).is_some()
}

/// Where a plus stands before the group, also as `+(` and `(+`.
fn plus_before(look: &Look<'_, '_, '_>) -> Option<usize> {
    let (text, start) = (look.cluster.text, look.cluster.group(look.index).at);
    if look.index > 0 {
        return None;
    }
    let plus = match (back(text, start, 2), back(text, start, 1)) {
        (b'(', b'+') => return Some(start - 2),
        (_, b'+') => start - 1,
        (b'+', b'(' | b' ') => start - 2,
        _ => return None,
    };
    (!is_word(back(text, plus, 1))).then_some(plus)
}

fn hit(look: &Look<'_, '_, '_>, last: usize, plus: Option<usize>, rule: &'static str, checked: bool) -> (Match, usize) {
    let (mut hit, next) = look.hit(last, Entity::Phone, rule, checked);
    let text = look.cluster.text;
    let opened = look.cluster.group(look.index).opened && (look.index..=last).any(|index| look.cluster.group(index).closed);
    let bracket = usize::from(opened && back(text, hit.start, 1) == b'(');
    hit.start = plus.unwrap_or(hit.start - bracket);
    hit.end = extended(text, hit.end);
    (hit, next)
}

/// With the extension, as in `x123`, ` ext. 123` and ` #123`.
fn extended(text: &[u8], end: usize) -> usize {
    const MARKS: &[&[u8]] = &[b"extension", b"ext.", b"ext", b"x.", b"x", b"#"];
    let begin = end + run(text, end, 2, |byte| matches!(byte, b' ' | b','));
    let rest = text.get(begin..).unwrap_or_default();
    let mark = MARKS.iter().find(|mark| rest.get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark)));
    let Some(mark) = mark else { return end };
    let from = begin + mark.len() + run(text, begin + mark.len(), 2, |byte| matches!(byte, b' ' | b':'));
    let digits = run(text, from, 7, is_digit);
    if (1..=6).contains(&digits) && !is_word(at(text, from + digits)) { from + digits } else { end }
}

/// Whether the number may end with this group: also before an extension.
fn ends(cluster: &Cluster<'_>, index: usize) -> bool {
    let end = cluster.group(index).end();
    cluster.ends(index) || (index + 1 == cluster.count && extended(cluster.text, end) > end)
}

/// A number that begins with its country code, of which the first `skipped` digits are an access code.
fn international(cluster: &Cluster<'_>, from: usize, skipped: usize) -> Option<(usize, &'static str)> {
    let all = cluster.digits(from, cluster.count - 1);
    let code = country_length(all.get(skipped..)?)?;
    let value = all.iter().skip(skipped).take(code).fold(0, |value, digit| value * 10 + u64::from(*digit));
    let (least, most) =
        COUNTRIES.iter().find(|(country, ..)| *country == value).map_or((6, MAX_E164_DIGITS - code), |(_, least, most)| (*least, *most));
    let mut trunk = 0;
    let mut best = None;
    for index in from..cluster.count {
        let group = cluster.group(index);
        trunk += usize::from(index > from && group.opened && group.closed && group.len == 1 && cluster.value(index) == 0);
        let national = (cluster.digits(from, index).len()).saturating_sub(skipped + code + trunk);
        if national > most + usize::from(trunk == 0 && all.get(skipped + code) == Some(&0)) {
            break;
        }
        if national >= least && ends(cluster, index) {
            best = Some(index);
        }
    }
    best.map(|last| (last, "phone-international"))
}

/// ITU-T E.164 annex: one digit for North America and Russia, two for most of the large countries, otherwise three.
fn country_length(digits: &[u8]) -> Option<usize> {
    match digits {
        [1 | 7, ..] => Some(1),
        [2, 0 | 7, ..] | [3, 0..=4 | 6 | 9, ..] | [4, 0 | 1 | 3..=9, ..] | [5, 1..=8, ..] | [6, 0..=6, ..] => Some(2),
        [8, 1 | 2 | 4 | 6, ..] | [9, 0..=5 | 8, ..] => Some(2),
        [a, b, c, ..] if is_assigned(u32::from(*a) * 100 + u32::from(*b) * 10 + u32::from(*c)) => Some(3),
        _ => None,
    }
}

/// Codes of three digits that are assigned (ITU-T E.164, list of 2016 with its amendments).
fn is_assigned(code: u32) -> bool {
    matches!(
        code,
        211..=213 | 216 | 218 | 220..=269 | 290 | 291 | 297..=299 | 350..=359 | 370..=378 | 380..=383 | 385..=387 | 389 | 420 | 421 | 423
            | 500..=509 | 590..=599 | 670 | 672..=683 | 685..=692 | 800 | 808 | 850 | 852 | 853 | 855 | 856 | 870 | 878 | 880..=883 | 886 | 888
            | 960..=968 | 970..=977 | 979 | 992..=996 | 998
    )
}

/// Forms that hardly anything but a telephone number has.
fn strong(look: &Look<'_, '_, '_>, spoken: bool) -> Option<(usize, &'static str)> {
    let (cluster, from) = (look.cluster, look.index);
    let first = cluster.group(from);
    let zeros = cluster.digits(from, from).iter().take_while(|digit| **digit == 0).count();
    if zeros == 2 && cluster.count > from + 1 {
        let whole = |last: usize| last > from && cluster.is_all(from, last) && !is_date(look, last);
        return international(cluster, from, 2).filter(|(last, _)| whole(*last) && has_no_trunk(cluster.digits(from, *last)));
    }
    american(look, spoken).or_else(|| {
        let leads_zero = zeros == 1 && first.len >= 2;
        if leads_zero { trunk(look) } else { grouped(look) }
    })
}

/// After `00` and the country's code comes no zero, unlike in lists of numbers with leading zeros.
fn has_no_trunk(digits: &[u8]) -> bool {
    let rest = digits.get(2..).unwrap_or_default();
    country_length(rest).and_then(|code| rest.get(code)).is_some_and(|next| *next != 0)
}

/// North America: `(555) 123-4567`, `555.123.4567`, `1-555-123-4567`. With hyphens or dots the form is enough; with spaces the first
/// digits must be right too.
fn american(look: &Look<'_, '_, '_>, spoken: bool) -> Option<(usize, &'static str)> {
    let (cluster, from) = (look.cluster, look.index);
    let country = usize::from(cluster.has_lengths(from, &[1, 3, 3, 4]) && cluster.value(from) == 1);
    let area = from + country;
    let last = area + 2;
    if !cluster.has_lengths(area, &[3, 3, 4]) || !ends(cluster, last) {
        return None;
    }
    let valid = is_american(cluster.digits(area, last));
    let lead = cluster.group(last).lead;
    let bracket = cluster.group(area).opened && cluster.group(area).closed;
    let same = cluster.group(last - 1).lead == lead;
    let fits = match lead {
        HYPHEN => bracket || same || cluster.group(last - 1).lead == SPACE,
        DOT => bracket || same,
        SPACE => bracket || (same && (spoken || (valid && (cluster.is_all(from, last) || country == 1)))),
        _ => false,
    };
    fits.then_some((last, "phone-us"))
}

/// <https://www.nanpa.com/numbering/area-codes>: neither the area nor the exchange begins with 0 or 1.
fn is_american(digits: &[u8]) -> bool {
    matches!(digits, [2..=9, _, _, 2..=9, ..])
}

/// Countries whose national numbers begin with a trunk zero: at least one separator, nine to twelve digits.
fn trunk(look: &Look<'_, '_, '_>) -> Option<(usize, &'static str)> {
    let (cluster, from) = (look.cluster, look.index);
    let bracket = cluster.group(from).opened && cluster.group(from).closed;
    let last = furthest(look, 9, 12)?;
    let count = last - from + 1;
    let lead = cluster.group(from + 1).lead;
    let decimal = count == 2 && lead == DOT && !bracket;
    let whole = bracket || cluster.is_all(from, last);
    let dotted = lead != DOT || bracket || cluster.has_lengths(from, &[2, 2, 2, 2, 2]) || cluster.has_lengths(from, &[4, 3, 3]);
    // A ZIP code of New England, and code points in a list.
    let other = (cluster.has_lengths(from, &[5, 4]) && lead == HYPHEN) || (cluster.has_lengths(from, &[4, 4, 4]) && !bracket);
    let fits =
        count > 1 && whole && !decimal && dotted && !other && (from + 1..=last).all(|index| cluster.group(index).len >= 2) && !is_date(look, last);
    (fits && is_even(look, last)).then_some((last, "phone-national"))
}

/// Whether the separators after the first are the same.
fn is_even(look: &Look<'_, '_, '_>, last: usize) -> bool {
    let lead = look.cluster.group(last).lead;
    (look.index + 2..=last).all(|index| look.cluster.group(index).lead == lead)
}

/// Groups without a trunk zero that are told by their lengths: Spain and Poland, Brazil and Australia with the area in brackets.
fn grouped(look: &Look<'_, '_, '_>) -> Option<(usize, &'static str)> {
    let (cluster, from) = (look.cluster, look.index);
    let bracket = cluster.group(from).opened && cluster.group(from).closed;
    let forms: &[&[usize]] = if bracket { &[&[2, 4, 4], &[2, 5, 4], &[2, 3, 2, 2], &[3, 3, 4]] } else { &[&[3, 2, 2, 2], &[2, 3, 2, 2]] };
    let form = forms.iter().find(|form| cluster.has_lengths(from, form))?;
    let last = from + form.len() - 1;
    let lead = cluster.group(last).lead;
    let spaced = matches!(lead, SPACE | HYPHEN) && (bracket || (lead == SPACE && cluster.joined_by(from, last, SPACE) && cluster.is_all(from, last)));
    (spaced && ends(cluster, last)).then_some((last, "phone-national"))
}

/// The last group with which the number has so many digits.
fn furthest(look: &Look<'_, '_, '_>, least: usize, most: usize) -> Option<usize> {
    let cluster = look.cluster;
    let within = |last: &usize| (least..=most).contains(&cluster.digits(look.index, *last).len());
    (look.index..cluster.count).filter(within).rfind(|last| ends(cluster, *last))
}

/// Any seven to fifteen digits, where the context speaks of a telephone.
fn weak(look: &Look<'_, '_, '_>) -> Option<usize> {
    let (cluster, from) = (look.cluster, look.index);
    let pairs = cluster.has_lengths(from, &[2, 2, 2]) && cluster.joined_by(from, from + 2, SPACE);
    let last = furthest(look, if pairs { 6 } else { 7 }, MAX_E164_DIGITS)?;
    let count = last - from + 1;
    let separators = (from + 1..=last).all(|index| matches!(cluster.group(index).lead, SPACE | HYPHEN | DOT | SLASH | BRACKET));
    let decimal = count == 2 && cluster.group(last).lead == DOT;
    let fits = separators && !decimal && !is_date(look, last) && (from..=last).all(|index| cluster.group(index).len <= MAX_E164_DIGITS);
    fits.then_some(last)
}

fn is_date(look: &Look<'_, '_, '_>, last: usize) -> bool {
    let (cluster, from) = (look.cluster, look.index);
    last >= from + 2 && dates::numeric(cluster, from).is_some() && (cluster.group(from).len == 4 || cluster.group(from + 2).len == 4)
}
