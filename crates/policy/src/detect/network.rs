//! Addresses of machines: IP versions 4 and 6, and hardware addresses.

use super::classes::{at, back, is_digit, is_word, letter_after, letter_before, part, run, work};
use super::entity::Entity;
use super::numbers::{DOT, Look};
use super::pass::{Match, Scene, Token};

/// An address written with colons, hyphens or, as Cisco does, dots, that begins with the token or with the two colons before it.
pub(super) fn colons(scene: &mut Scene<'_>, token: Token) -> Option<Match> {
    let text = scene.window.text;
    if token.len() > 4 || !token.is_hex() {
        return None;
    }
    let (next, before) = (at(text, token.end), back(text, token.start, 1));
    let hardware = match (token.len(), next) {
        (2, b':' | b'-') if before != next && before != b':' => hardware(text, token, next),
        (4, b'.') if before != b'.' => cisco(text, token),
        _ => None,
    };
    if let Some((end, sure)) = hardware.filter(|_| scene.on.has(Entity::MacAddress) && !letter_before(text, token.start)) {
        let sure = sure || scene.ear.context(text, scene.window.base, token.start).says(Entity::MacAddress);
        return sure.then_some(Match { start: token.start, end, entity: Entity::MacAddress, rule: "mac-address", checked: true });
    }
    let double = before == b':' && back(text, token.start, 2) == b':';
    let start = if double { token.start - 2 } else { token.start };
    let possible = scene.on.has(Entity::IpAddress) && (double || (next == b':' && before != b':')) && back(text, start, 1) != b':';
    if !possible || letter_before(text, start) {
        return None;
    }
    let end = v6(text, start)?;
    Some(Match { start, end, entity: Entity::IpAddress, rule: "ip-v6", checked: true })
}

/// IEEE 802: six octets, or eight of an EUI-64. With hyphens and no letter it might be a date or a number.
fn hardware(text: &[u8], token: Token, separator: u8) -> Option<(usize, bool)> {
    let mut end = token.start;
    let mut octets = 0;
    let mut bits = 0;
    while octets < 9 && at(text, end).is_ascii_hexdigit() && at(text, end + 1).is_ascii_hexdigit() && !is_word(at(text, end + 2)) {
        bits |= at(text, end) | at(text, end + 1);
        octets += 1;
        end += 2;
        if at(text, end) != separator {
            break;
        }
        end += 1;
    }
    work::count(end - token.start);
    let ended = !is_word(at(text, end)) && is_word(back(text, end, 1)) && at(text, end) != separator && !letter_after(text, end);
    let sure = separator == b':' || bits & 0x40 != 0;
    (matches!(octets, 6 | 8) && ended && bits != b'0').then_some((end, sure))
}

/// `0123.4567.89ab`
fn cisco(text: &[u8], token: Token) -> Option<(usize, bool)> {
    let whole = text.get(token.start..token.start + 14)?;
    let fits = whole.iter().enumerate().all(|(index, byte)| if index == 4 || index == 9 { *byte == b'.' } else { byte.is_ascii_hexdigit() });
    let end = token.start + 14;
    let goes_on = letter_after(text, end) || (at(text, end) == b'.' && is_word(at(text, end + 1))) || back(text, token.start, 1) == b'.';
    let letter = whole.iter().any(u8::is_ascii_alphabetic);
    (fits && !goes_on).then_some((end, letter))
}

/// RFC 4291 section 2.2: eight groups of at most four digits, one run of zeros as `::`, the last two perhaps as version 4.
fn v6(text: &[u8], start: usize) -> Option<usize> {
    const MOST: usize = 46;
    let length = run(text, start, MOST, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    work::count(length);
    let mut whole = part(text, start, start + length);
    while let [rest @ .., b'.'] = whole {
        whole = rest;
    }
    if let ([rest @ .., b':'], false) = (whole, whole.ends_with(b"::")) {
        whole = rest;
    }
    let end = start + whole.len();
    (length < MOST && is_v6(whole) && !letter_after(text, end) && at(text, end) != b'_').then_some(end)
}

fn is_v6(whole: &[u8]) -> bool {
    let double = whole.windows(2).position(|pair| pair == b"::");
    let (head, tail) = match double {
        Some(place) => (part(whole, 0, place), part(whole, place + 2, whole.len())),
        None => (whole, &[][..]),
    };
    let (Some(before), Some(after)) = (groups(head, double.is_none()), groups(tail, true)) else { return false };
    let digits = whole.iter().any(u8::is_ascii_digit);
    match double {
        None => before == 8,
        Some(place) => before + after <= 7 && (digits || before + after > 3) && is_no_path(whole, place, before, after),
    }
}

/// With one group or two, `::` stands in paths and slices of programs too: `c::B1`, `list[::2]`. An address begins with three digits or more.
fn is_no_path(whole: &[u8], place: usize, before: usize, after: usize) -> bool {
    match (before, after) {
        (0, 1) => whole == b"::1",
        (1, 0 | 1) => place >= 3,
        _ => true,
    }
}

/// How many groups, if all are right; a version 4 address counts as two and may only be the last.
fn groups(text: &[u8], may_end_in_v4: bool) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    let count = text.split(|byte| *byte == b':').count();
    text.split(|byte| *byte == b':').enumerate().try_fold(0, |sum, (index, group)| match group.len() {
        1..=4 if group.iter().all(u8::is_ascii_hexdigit) => Some(sum + 1),
        7..=15 if may_end_in_v4 && index + 1 == count && is_dotted(group) => Some(sum + 2),
        _ => None,
    })
}

fn is_dotted(text: &[u8]) -> bool {
    let octet = |part: &[u8]| {
        (1..=3).contains(&part.len())
            && part.iter().all(u8::is_ascii_digit)
            && part.iter().fold(0, |value, digit| value * 10 + u32::from(digit & 15)) < 256
    };
    text.split(|byte| *byte == b'.').count() == 4 && text.split(|byte| *byte == b'.').all(octet)
}

/// RFC 791 in dotted form: four groups to 255 without leading zeros. Not the version of something, not an object identifier.
pub(super) fn v4(look: &mut Look<'_, '_, '_>) -> Option<(Match, usize)> {
    let (from, cluster) = (look.index, look.cluster);
    let last = from + 3;
    if !look.on(Entity::IpAddress) || cluster.group(from + 1).lead != DOT || last >= cluster.count || !cluster.joined_by(from, last, DOT) {
        return None;
    }
    let octet = |index: usize| {
        cluster.value(index) < 256
            && cluster.group(index).len <= 3
            && !(cluster.group(index).len > 1 && cluster.digits(index, index).first() == Some(&0))
    };
    let ended = last + 1 == cluster.count || matches!(cluster.group(last + 1).lead, b' ' | b'/' | b'-' | b'(');
    let text = cluster.text;
    let start = cluster.group(from).at;
    let end = cluster.group(last).end();
    let goes_on = letter_after(text, end) || (at(text, end) == b'-' && letter_after(text, end + 1)) || at(text, end) == b'_';
    let zero = cluster.value(from) == 0 || (from..=last).all(|index| cluster.value(index) == 255);
    let fits = (from..=last).all(octet) && ended && !goes_on && !zero;
    (fits && !is_versioned(text, start) && !is_object_identifier(look)).then(|| look.hit(last, Entity::IpAddress, "ip-v4", true))
}

/// Whether the word before says that the number is a version: `v 1.2.3.4`, `version: 1.2.3.4`, `Chrome/120.0.6099.71`.
fn is_versioned(text: &[u8], start: usize) -> bool {
    const WORDS: &[&[u8]] = &[
        b"v",
        b"ver",
        b"vers",
        b"version",
        b"versions",
        b"versie",
        b"release",
        b"rev",
        b"revision",
        b"build",
        b"firmware",
        b"oid",
        b"section",
        b"chapter",
        b"clause",
        b"upgrade",
        b"patch",
        b"driver",
        b"numpy",
        b"kernel",
    ];
    let gap = (1..=4).take_while(|distance| matches!(back(text, start, *distance), b' ' | b':' | b'=' | b'"' | b'-' | b'/' | b'#')).count();
    let end = start - gap;
    let length = (1..=12).take_while(|distance| back(text, end, *distance).is_ascii_alphabetic()).count();
    let word = part(text, end - length, end);
    let product = back(text, start, 1) == b'/' && length > 0 && back(text, start, 2) != b'/';
    product || WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// The arcs of ISO and the joint arc with a second one that is in use: `1.3.6.1`, `2.5.4.3`, `1.2.840.x`.
fn is_object_identifier(look: &Look<'_, '_, '_>) -> bool {
    let value = |index: usize| look.cluster.value(look.index + index);
    matches!((value(0), value(1), value(2)), (1, 3, 6) | (2, 5, 4 | 29))
        || look.left == super::numbers::Left::Joined && is_digit(back(look.cluster.text, look.start(), 2))
}
