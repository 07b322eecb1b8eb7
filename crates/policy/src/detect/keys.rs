//! Tokens of JSON and private keys: what may be longer than any window. Their beginning opens a block, which is then followed to its end.

use super::Finding;
use super::classes::{at, back, is_word, part, run, work};
use super::entity::Entity;
use super::pass::Window;

/// A private key is followed no further than this: the longest in use, RSA of 16,384 bits in PEM, has some 12 KiB.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// What a key block may hold between two lines of base64: header lines such as `DEK-Info` (RFC 1421) and `Comment` (RFC 4880).
const MAX_HEADER_BYTES: u32 = 200;

/// So many base64 characters together are a line of a key and no word of prose.
const LINE_BYTES: u32 = 16;

/// The longest END line: `-----END PGP PRIVATE KEY BLOCK-----` and its like.
const MAX_END_BYTES: usize = 128;

/// The longest header of a token of JSON that is looked at.
const MAX_JWT_HEADER_BYTES: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jwt,
    Pem,
    Putty,
}

/// A match whose end has not been seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    kind: Kind,
    rule: &'static str,
    start: u64,
    body: u64,
    /// How many dots of a token of JSON have been seen.
    dots: u32,
    /// The end of the last line that is certainly part of a key.
    certain: Option<u64>,
    line: u32,
    since: u32,
}

/// How far a block could be followed.
pub(super) enum Followed {
    /// To its end.
    Ended { finding: Option<Finding>, resume: usize },
    /// To the end of what has come of the text.
    Open { block: Block, resume: usize },
}

impl Block {
    fn new(kind: Kind, rule: &'static str, window: Window<'_>, start: usize, body: usize) -> Self {
        Self { kind, rule, start: window.base + start as u64, body: window.base + body as u64, dots: 1, certain: None, line: 0, since: 0 }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Where in the whole text its inside begins.
    pub(super) fn body(&self) -> u64 {
        self.body
    }

    pub(super) fn follow(self, text: &[u8], base: u64, from: usize, last: bool) -> Followed {
        let mut block = self;
        let mut index = from;
        let ahead = if self.kind == Kind::Jwt { 1 } else { MAX_END_BYTES };
        let safe = if last { text.len() } else { text.len().saturating_sub(ahead) };
        while index < safe {
            work::count(1);
            let step = if block.kind == Kind::Jwt { block.jwt(text, base, index) } else { block.key(text, base, index) };
            match step {
                Step::On(count) => index += count,
                Step::End(end) => return block.end(base, end, end),
                Step::Broken => return block.broken(base, index),
            }
        }
        if last { block.broken(base, index) } else { Followed::Open { block, resume: index } }
    }

    fn end(&self, base: u64, end: usize, resume: usize) -> Followed {
        let proven = self.kind == Kind::Jwt || self.certain.is_some();
        Followed::Ended { finding: proven.then(|| self.finding(base + end as u64)), resume }
    }

    /// A key that was cut off is a secret all the same.
    fn broken(&self, base: u64, index: usize) -> Followed {
        if self.kind == Kind::Jwt {
            let finding = (self.dots >= 2).then(|| self.finding(base + index as u64));
            return Followed::Ended { finding, resume: index };
        }
        let resume = usize::try_from(self.certain.unwrap_or(self.body).saturating_sub(base)).unwrap_or(index);
        Followed::Ended { finding: self.certain.map(|end| self.finding(end)), resume: resume.min(index) }
    }

    fn finding(&self, end: u64) -> Finding {
        let entity = if self.kind == Kind::Jwt { Entity::Jwt } else { Entity::PrivateKey };
        Finding { start: self.start, end, entity, rule: self.rule, checked: true }
    }

    /// RFC 7519 and 7515: three parts of base64url; the third of an unsecured token is empty. RFC 7516 has five.
    fn jwt(&mut self, text: &[u8], _base: u64, index: usize) -> Step {
        let byte = at(text, index);
        if is_base64url(byte) {
            return Step::On(1);
        }
        if byte != b'.' {
            return Step::Broken;
        }
        if is_base64url(at(text, index + 1)) && self.dots < 4 {
            self.dots += 1;
            return Step::On(1);
        }
        if self.dots == 1 { Step::End(index + 1) } else { Step::Broken }
    }

    fn key(&mut self, text: &[u8], base: u64, index: usize) -> Step {
        let byte = at(text, index);
        let rest = part(text, index, index + MAX_END_BYTES);
        self.since += 1;
        match byte {
            b'-' if rest.starts_with(b"-----END ") || rest.starts_with(b"---- END ") => return Step::End(index + end_line(rest)),
            b'-' if rest.starts_with(b"-----BEGIN ") => return Step::Broken,
            b'P' if self.kind == Kind::Putty && rest.starts_with(b"Private-MAC: ") => {
                return Step::End(index + 13 + run(rest, 13, 64, |byte| byte.is_ascii_hexdigit()));
            }
            b'\\' if matches!(at(text, index + 1), b'n' | b'r' | b't') => {
                self.line = 0;
                self.since += 1;
                return Step::On(2);
            }
            _ => {}
        }
        self.line = if is_word(byte) || matches!(byte, b'+' | b'/' | b'=') { self.line + 1 } else { 0 };
        if self.line >= LINE_BYTES {
            self.certain = Some(base + index as u64 + 1);
            self.since = 0;
        }
        let over = self.since > MAX_HEADER_BYTES || base + index as u64 > self.start + MAX_KEY_BYTES;
        if over { Step::Broken } else { Step::On(1) }
    }
}

enum Step {
    On(usize),
    End(usize),
    Broken,
}

/// The length of an END line: to the dashes that close it, or its first word.
fn end_line(line: &[u8]) -> usize {
    let label = run(line, 9, MAX_END_BYTES, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    9 + label + run(line, 9 + label, 5, |byte| byte == b'-')
}

fn is_base64url(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'-' | b'_')
}

/// A token of JSON by its first two parts.
pub(super) fn jwt(window: Window<'_>, start: usize) -> Option<Block> {
    let text = window.text;
    if !begins_object(text, start) || matches!(back(text, start, 1), b'-' | b'_' | b'.') {
        return None;
    }
    let header = run(text, start, MAX_JWT_HEADER_BYTES, is_base64url);
    work::count(header);
    let body = start + header + 1;
    (at(text, body - 1) == b'.' && begins_object(text, body)).then(|| Block::new(Kind::Jwt, "json-web-token", window, start, body))
}

/// Whether the base64url there decodes to `{` and a quote, space or closing brace.
fn begins_object(text: &[u8], start: usize) -> bool {
    let sextets = [0, 1, 2].map(|index| sextet(at(text, start + index)));
    let [Some(a), Some(b), Some(c)] = sextets else { return false };
    let bits = a << 12 | b << 6 | c;
    bits >> 10 == u32::from(b'{') && matches!((bits >> 2 & 0xFF) as u8, b'"' | b' ' | b'\n' | b'\r' | b'\t' | b'}')
}

fn sextet(byte: u8) -> Option<u32> {
    match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'-' | b'+' => Some(62),
        b'_' | b'/' => Some(63),
        _ => None,
    }
}

/// RFC 7468, RFC 4880 section 6.2 and RFC 4716: a line `-----BEGIN ... PRIVATE KEY...-----`, of which `start` is the word BEGIN.
pub(super) fn pem(window: Window<'_>, start: usize) -> Option<Block> {
    let text = window.text;
    let dashes = part(text, start.saturating_sub(5), start);
    if !text.get(start..)?.starts_with(b"BEGIN ") || (dashes != b"-----" && dashes != b"---- ") {
        return None;
    }
    let length = run(text, start, 64, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'_'));
    let label = part(text, start, start + length);
    let rule = pem_rule(label)?;
    let closing = run(text, start + length, 5, |byte| byte == b'-');
    (closing >= 4).then(|| Block::new(Kind::Pem, rule, window, start - 5, start + length + closing))
}

fn pem_rule(label: &[u8]) -> Option<&'static str> {
    let has = |word: &[u8]| label.windows(word.len()).any(|part| part == word);
    match () {
        () if !has(b"PRIVATE KEY") => None,
        () if has(b"OPENSSH") => Some("private-key-openssh"),
        () if has(b"PGP") => Some("private-key-pgp"),
        () if has(b"SSH2") => Some("private-key-ssh2"),
        () => Some("private-key-pem"),
    }
}

/// PuTTY's file format, <https://the.earth.li/~sgtatham/putty/latest/htmldoc/AppendixC.html>: the key ends with the line `Private-MAC`.
pub(super) fn putty(window: Window<'_>, start: usize) -> Option<Block> {
    let head = part(window.text, start, start + 22);
    let known = head.starts_with(b"PuTTY-User-Key-File-") && at(head, 20).is_ascii_digit() && at(head, 21) == b':';
    known.then(|| Block::new(Kind::Putty, "private-key-putty", window, start, start + 22))
}
