//! Addresses of electronic mail: RFC 5321 and 6531, as people write them.

use super::classes::{DIGIT, WORD, at, back, class, escaped, is_digit, is_word, part, run, work};
use super::entity::Entity;
use super::pass::Match;

/// RFC 5321 section 4.5.3.1.1
const MAX_LOCAL_BYTES: usize = 64;

/// RFC 5321 section 4.5.3.1.2
const MAX_DOMAIN_BYTES: usize = 255;

/// Endings of files, as in `icon@2x.png`.
const FILES: &[&[u8]] = &[
    b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"ico", b"css", b"scss", b"js", b"mjs", b"ts", b"tsx", b"jsx", b"json", b"html", b"htm",
    b"xml", b"yml", b"yaml", b"txt", b"pdf", b"tgz", b"gz", b"zip", b"jar", b"service", b"timer", b"socket",
];

/// The address whose `@` is there.
pub(super) fn around(text: &[u8], sign: usize) -> Option<Match> {
    let start = local(text, sign)?;
    let end = domain(text, sign + 1)?;
    let accepted = !is_remote(text, start, sign, end) && !is_in_url(text, start);
    accepted.then_some(Match { start, end, entity: Entity::Email, rule: "email", checked: true })
}

/// Where the local part begins.
fn local(text: &[u8], sign: usize) -> Option<usize> {
    match back(text, sign, 1) {
        b'"' => quoted(text, sign),
        b'.' | b'@' | 0 => None,
        _ => dotted(text, sign),
    }
}

/// Letters, digits and the marks people use. `=`, `/`, `|`, `?`, `{`, `}`, `&` and backquote are legal but stand around addresses far
/// more often than in them.
fn is_local(byte: u8) -> bool {
    is_word(byte) || byte >= 0x80 || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'\'' | b'~' | b'%' | b'!' | b'#' | b'$' | b'*' | b'^')
}

fn dotted(text: &[u8], sign: usize) -> Option<usize> {
    let length = (0..=MAX_LOCAL_BYTES).take_while(|index| *index < sign && is_local(back(text, sign, index + 1))).count();
    work::count(length);
    let (mut start, mut last) = (sign - length, b' ');
    for index in (sign - length..sign).rev() {
        if at(text, index) == b'.' && last == b'.' {
            start = index + 2;
            break;
        }
        last = at(text, index);
    }
    let begun = run(text, start, sign - start, |byte| !(is_word(byte) || byte == b'_' || byte >= 0xC0));
    start = unescaped(text, punctuated(text, start + begun, sign));
    (start < sign && length <= MAX_LOCAL_BYTES).then_some(start)
}

/// After punctuation that is not ASCII, such as an opening quote.
fn punctuated(text: &[u8], start: usize, sign: usize) -> usize {
    let local = part(text, start, sign);
    let quote = local.windows(3).rposition(|three| matches!(three, [0xE2, 0x80, _] | [0xE3, 0x80, _] | [0xEF, 0xBC, _]));
    let space = local.windows(2).rposition(|two| matches!(two, [0xC2, 0xA0..=0xBF]));
    start + quote.map_or(0, |place| place + 3).max(space.map_or(0, |place| place + 2))
}

/// After the letter of an escape, as in `\njohn@example.com`, `\u003cjohn@example.com` and `ESC [33mjohn@example.com`.
fn unescaped(text: &[u8], start: usize) -> usize {
    match (back(text, start, 1), at(text, start)) {
        (b'\\', b'n' | b'r' | b't') => start + 1,
        (b'[' | b';', b'0'..=b'9') => {
            let letter = start + run(text, start, 8, is_digit);
            if escaped(text, letter) { letter + 1 } else { start }
        }
        (b'\\', b'u') if run(text, start + 1, 4, |byte| byte.is_ascii_hexdigit()) == 4 => start + 5,
        _ => start,
    }
}

/// `"john doe"@example.com`
fn quoted(text: &[u8], sign: usize) -> Option<usize> {
    let close = sign - 1;
    let length =
        (1..=MAX_LOCAL_BYTES).take_while(|index| *index <= close && !matches!(back(text, close, *index), b'"' | b'\n' | b'\r' | b'<' | b'>')).count();
    work::count(length);
    let open = close.checked_sub(length + 1)?;
    let first = at(text, open + 1);
    let fits = length > 0 && at(text, open) == b'"' && !is_word(back(text, open, 1)) && !matches!(first, b':' | b',' | b' ');
    (fits && back(text, close, 1) != b'\\').then_some(open)
}

/// Where the domain ends: labels of letters, digits and hyphens, of which the last is no number; or an address in brackets.
fn domain(text: &[u8], start: usize) -> Option<usize> {
    if at(text, start) == b'[' {
        return literal(text, start);
    }
    let length = run(text, start, MAX_DOMAIN_BYTES + 1, |byte| is_word(byte) || byte >= 0x80 || matches!(byte, b'-' | b'.'));
    work::count(length);
    if length > MAX_DOMAIN_BYTES {
        return None;
    }
    let end = well_formed(text, start, closed(text, start, start + length));
    let whole = part(text, start, end);
    let dot = whole.iter().rposition(|byte| *byte == b'.')?;
    let ending = part(whole, dot + 1, whole.len());
    (is_top_level(ending) && !is_versioned(whole) && !is_file(whole, ending)).then_some(end)
}

/// Before punctuation that is not ASCII, such as a closing quote.
fn closed(text: &[u8], start: usize, end: usize) -> usize {
    let domain = part(text, start, end);
    let mark = |index: &usize| matches!(part(domain, *index, *index + 2), [0xE2, 0x80..=0x81] | [0xE3, 0x80] | [0xC2, 0xA0..=0xBF] | [0xEF, 0xBC]);
    (0..domain.len()).filter(|index| at(domain, *index) >= 0xC2).find(mark).map_or(end, |index| start + index)
}

/// The end of the last good label: none is empty or begins or ends with a hyphen.
fn well_formed(text: &[u8], start: usize, end: usize) -> usize {
    let mut good = start;
    let mut index = start;
    while index < end {
        let length = run(text, index, end - index, |byte| byte != b'.');
        let label = part(text, index, index + length);
        if label.is_empty() || label.len() > 63 || label.starts_with(b"-") {
            break;
        }
        let hyphens = label.iter().rev().take_while(|byte| **byte == b'-').count();
        good = index + length - hyphens;
        if hyphens > 0 {
            break;
        }
        index += length + 1;
    }
    good
}

fn is_top_level(ending: &[u8]) -> bool {
    let letters = ending.iter().all(|byte| class(*byte) & WORD & !DIGIT != 0 || *byte >= 0x80);
    (ending.len() >= 2 && letters) || (ending.len() > 4 && part(ending, 0, 4).eq_ignore_ascii_case(b"xn--"))
}

/// `package@18.2.0-rc.next`
fn is_versioned(domain: &[u8]) -> bool {
    let mut labels = domain.split(|byte| *byte == b'.');
    let digits = |label: Option<&[u8]>| label.is_some_and(|label| is_digit(at(label, 0)));
    digits(labels.next()) && digits(labels.next())
}

fn is_file(domain: &[u8], ending: &[u8]) -> bool {
    let short = domain.len() <= ending.len() + 3 || !part(domain, 0, domain.len() - ending.len() - 1).contains(&b'.');
    short && FILES.iter().any(|file| ending.eq_ignore_ascii_case(file))
}

/// RFC 5321 section 4.1.3
fn literal(text: &[u8], start: usize) -> Option<usize> {
    let length = run(text, start + 1, 52, |byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'I' | b'P' | b'v'));
    let inside = part(text, start + 1, start + 1 + length);
    let address = inside.iter().filter(|byte| **byte == b'.').count() == 3 || inside.starts_with(b"IPv6:");
    (address && at(text, start + 1 + length) == b']').then_some(start + length + 2)
}

/// `git@github.com:owner/name` is the address of a repository.
fn is_remote(text: &[u8], start: usize, sign: usize, end: usize) -> bool {
    matches!(part(text, start, sign), b"git" | b"hg" | b"svn") && matches!(at(text, end), b':' | b'/')
}

/// `https://name:secret@host` names a host, not a mailbox.
fn is_in_url(text: &[u8], start: usize) -> bool {
    match back(text, start, 1) {
        b'/' => back(text, start, 2) == b'/' && back(text, start, 3) == b':',
        b':' => {
            let name = (2..=MAX_LOCAL_BYTES).take_while(|distance| is_local(back(text, start, *distance))).count();
            part(text, (start - 1).saturating_sub(name + 3), (start - 1).saturating_sub(name)) == b"://"
        }
        _ => false,
    }
}
