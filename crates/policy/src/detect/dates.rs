//! Dates, where the context says that somebody was born on them.

use super::classes::{LOWER, UPPER, WORD, at, back, class, is_digit, part, run};
use super::entity::Entity;
use super::numbers::{Cluster, DOT, HYPHEN, Look, SLASH, SPACE};
use super::pass::{Match, Token};

/// The years somebody alive or lately dead was born in.
const YEARS: std::ops::RangeInclusive<u64> = 1875..=2060;

/// The longest name of a month: `pa\u{17a}dziernika` has 13 bytes.
const MAX_MONTH_BYTES: usize = 14;

/// Whether a cluster of few digits may be part of a date: three groups, or a month's name beside it.
pub(super) fn is_conceivable(text: &[u8], token: Token, groups: usize) -> bool {
    let day = run(text, token.start, 3, is_digit);
    if groups >= 3 || day > 2 {
        return groups >= 3;
    }
    let after = ordinal(text, token.start + day);
    let month = after + filler(text, after);
    (month > after && is_month(text, month)) || (is_letter(back(text, token.start, 2)) && month_before(text, token.start).is_some())
}

/// A date or time by the clock: something that happened, and nobody's birth. Returns where it ends.
///
/// RFC 3339 and what is close to it: `2026-03-11 08:15:41.123+01:00`, `08:15:41`.
#[inline]
pub(super) fn timestamp(text: &[u8], token: Token) -> Option<usize> {
    let start = token.start;
    let clock_from = match token.len() {
        4 if at(text, token.end) == b'-' => {
            // Midnight may stand for no time at all, and then the date is one.
            let &[a, b, c, d, b'-', e, f, b'-', g, h, b'T' | b' ', ref rest @ ..] = text.get(start..start + 16)? else { return None };
            if !are_digits(&[a, b, c, d, e, f, g, h]) || rest == b"00:00" {
                return None;
            }
            start + 11
        }
        2 if at(text, token.end) == b':' => start,
        _ => return None,
    };
    clock(text, clock_from)
}

fn clock(text: &[u8], start: usize) -> Option<usize> {
    let &[a, b, b':', c, d] = text.get(start..start + 5)? else { return None };
    if !are_digits(&[a, b, c, d]) {
        return None;
    }
    let mut end = start + 5;
    if is_two(text, end, b':') {
        end += 3;
        if matches!(at(text, end), b'.' | b',') {
            let fraction = run(text, end + 1, 10, is_digit);
            end += if (1..10).contains(&fraction) { fraction + 1 } else { 0 };
        }
    }
    if is_two(text, end, b'+') || is_two(text, end, b'-') {
        end += 3;
        end += if is_two(text, end, b':') { 3 } else { run(text, end, 2, is_digit) };
    }
    end += usize::from(at(text, end) == b'Z');
    let next = at(text, end);
    (class(next) & WORD == 0 && !matches!(next, b':' | b'-' | b'.') && next < 0x80).then_some(end)
}

#[inline(always)]
fn are_digits(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |most, byte| most.max(byte.wrapping_sub(b'0'))) < 10
}

/// Whether a mark and two digits stand there.
#[inline(always)]
fn is_two(text: &[u8], start: usize, mark: u8) -> bool {
    at(text, start) == mark && is_digit(at(text, start + 1)) && is_digit(at(text, start + 2))
}

/// A date that begins with the group, or with a month's name before it.
pub(super) fn read(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    if !look.on(Entity::DateOfBirth) {
        return None;
    }
    let (start, end, last) = written(look).or_else(|| plain(look))?;
    if !look.says(Entity::DateOfBirth) {
        return None;
    }
    let hinted = look.context().hinted & Entity::DateOfBirth.bit() != 0;
    if !hinted && has_time(look.cluster.text, end) {
        return None;
    }
    look.found_birth(end);
    Some((Match { start, end, entity: Entity::DateOfBirth, rule: "date-of-birth", checked: false }, last + 1))
}

fn plain(look: &mut Look<'_, '_, '_>) -> Option<(usize, usize, usize)> {
    let (cluster, from) = (look.cluster, look.index);
    let start = cluster.group(from).at;
    if let Some(last) = numeric(cluster, from) {
        return Some((start, cluster.group(last).end(), last));
    }
    let compact = cluster.group(from).len == 8 && cluster.ends(from) && is_compact(cluster.digits(from, from));
    (compact && look.says(Entity::DateOfBirth)).then(|| (start, cluster.group(from).end(), from))
}

/// A date by the clock is of something that happened.
fn has_time(text: &[u8], end: usize) -> bool {
    let clock = matches!(at(text, end), b'T' | b' ') && is_digit(at(text, end + 1)) && is_digit(at(text, end + 2)) && at(text, end + 3) == b':';
    clock && part(text, end + 1, end + 6) != b"00:00"
}

/// Three groups that are a day, a month and a year in a usual order. Returns the last.
pub(super) fn numeric(cluster: &Cluster<'_>, from: usize) -> Option<usize> {
    let last = from + 2;
    if last >= cluster.count {
        return None;
    }
    let lead = cluster.group(last).lead;
    let lengths = [from, from + 1, last].map(|index| cluster.group(index).len);
    let [first, second, third] = [from, from + 1, last].map(|index| cluster.value(index));
    let fits = match lengths {
        [4, 1..=2, 1..=2] => is_year(first) && is_day_and_month(third, second),
        [1..=2, 1..=2, 4] => is_year(third) && (is_day_and_month(first, second) || is_day_and_month(second, first)),
        [1..=2, 1..=2, 2] => lead != SPACE && (is_day_and_month(first, second) || is_day_and_month(second, first)),
        _ => false,
    };
    let separated = matches!(lead, HYPHEN | DOT | SLASH | SPACE) && cluster.group(from + 1).lead == lead;
    (fits && separated && date_ends(cluster, last)).then_some(last)
}

fn date_ends(cluster: &Cluster<'_>, last: usize) -> bool {
    let end = cluster.group(last).end();
    let time = last + 1 == cluster.count && at(cluster.text, end) == b'T' && is_digit(at(cluster.text, end + 1));
    cluster.ends(last) || time
}

fn is_year(year: u64) -> bool {
    YEARS.contains(&year)
}

fn is_day_and_month(day: u64, month: u64) -> bool {
    (1..=31).contains(&day) && (1..=12).contains(&month)
}

fn is_compact(digits: &[u8]) -> bool {
    let number = |from: usize, to: usize| part(digits, from, to).iter().fold(0, |value, digit| value * 10 + u64::from(*digit));
    (is_year(number(0, 4)) && is_day_and_month(number(6, 8), number(4, 6)))
        || (is_year(number(4, 8)) && (is_day_and_month(number(0, 2), number(2, 4)) || is_day_and_month(number(2, 4), number(0, 2))))
}

/// A date with the month as a word: `12 March 1985`, `12-Mar-85`, `12. M\u{e4}rz 1985`, `March 12, 1985`, `12 de marzo de 1985`.
fn written(look: &Look<'_, '_, '_>) -> Option<(usize, usize, usize)> {
    let (cluster, text) = (look.cluster, look.cluster.text);
    let day = cluster.group(look.index);
    if day.len > 2 || !(1..=31).contains(&cluster.value(look.index)) {
        return None;
    }
    let after = ordinal(text, day.end());
    if let Some(month) = month_before(text, day.at) {
        let gap = run(text, after, 2, |byte| matches!(byte, b',' | b' '));
        let (year, end) = year_at(text, after + gap)?;
        return (gap > 0 && is_year(year)).then(|| (month, end, last_group(cluster, look.index, end)));
    }
    let month = after + filler(text, after);
    let length = month_length(text, month)?;
    let (year, end) = year_at(text, month + length + filler(text, month + length))?;
    (month > after && (is_year(year) || end - month < length + 6)).then(|| (day.at, end, last_group(cluster, look.index, end)))
}

#[inline(always)]
fn ordinal(text: &[u8], end: usize) -> usize {
    if !is_letter(at(text, end)) {
        return end + usize::from(at(text, end) == b'.');
    }
    let suffix = part(text, end, end + 2);
    let known = [b"st", b"nd", b"rd", b"th", b"er"].iter().any(|known| suffix.eq_ignore_ascii_case(*known));
    end + if known { 2 } else { 0 }
}

/// Spaces, hyphens and `de` or `of` between the parts.
#[inline(always)]
fn filler(text: &[u8], start: usize) -> usize {
    let fills = |byte: u8| matches!(byte, b' ' | b'-' | b'/' | b',' | b'.');
    if !fills(at(text, start)) {
        return 0;
    }
    let gap = 1 + usize::from(fills(at(text, start + 1)));
    let word = part(text, start + gap, start + gap + 3);
    if word.eq_ignore_ascii_case(b"de ") || word.eq_ignore_ascii_case(b"of ") { gap + 3 } else { gap }
}

fn is_letter(byte: u8) -> bool {
    class(byte) & (LOWER | UPPER) != 0 || byte >= 0x80
}

fn month_length(text: &[u8], start: usize) -> Option<usize> {
    let length = run(text, start, MAX_MONTH_BYTES + 1, is_letter);
    ((3..=MAX_MONTH_BYTES).contains(&length) && is_month(text, start)).then_some(length)
}

/// Whether the word begins like the name of a month in English, German, Spanish, French, Italian or Polish.
#[rustfmt::skip]
fn is_month(text: &[u8], start: usize) -> bool {
    let three = [0, 1, 2].map(|index| at(text, start + index).to_ascii_lowercase());
    matches!(
        &three,
        b"jan" | b"feb" | b"mar" | b"apr" | b"may" | b"jun" | b"jul" | b"aug" | b"sep" | b"oct" | b"nov" | b"dec"
            | b"j\xC3\xA4" | b"m\xC3\xA4" | b"mai" | b"okt" | b"dez"
            | b"ene" | b"abr" | b"ago" | b"dic"
            | b"f\xC3\xA9" | b"fev" | b"avr" | b"jui" | b"ao\xC3" | b"aou" | b"d\xC3\xA9"
            | b"gen" | b"mag" | b"giu" | b"lug" | b"set" | b"ott"
            | b"sty" | b"lut" | b"kwi" | b"maj" | b"cze" | b"lip" | b"sie" | b"wrz" | b"pa\xC5" | b"paz" | b"lis" | b"gru"
    )
}

/// Where a month's name begins that ends before the day.
fn month_before(text: &[u8], day: usize) -> Option<usize> {
    let gap = (1..=2).take_while(|distance| matches!(back(text, day, *distance), b' ' | b'.' | b'-')).count();
    let end = day - gap;
    let length = (1..=MAX_MONTH_BYTES).take_while(|distance| is_letter(back(text, end, *distance))).count();
    let start = end - length;
    (gap > 0 && length >= 3 && month_length(text, start) == Some(length) && class(back(text, start, 1)) & WORD == 0).then_some(start)
}

fn year_at(text: &[u8], start: usize) -> Option<(u64, usize)> {
    let length = run(text, start, 5, is_digit);
    let year = part(text, start, start + length).iter().fold(0, |year, digit| year * 10 + u64::from(digit & 15));
    (matches!(length, 2 | 4) && class(at(text, start + length)) & WORD == 0 && (length == 2 || is_year(year))).then_some((year, start + length))
}

/// The last group of the cluster within the date.
fn last_group(cluster: &Cluster<'_>, from: usize, end: usize) -> usize {
    (from..cluster.count).rfind(|index| cluster.group(*index).end() <= end).unwrap_or(from)
}
