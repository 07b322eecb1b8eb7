//! What a credential looks like, and whether bytes look like it. The table of credentials itself is `credentials.rs`.

use super::classes::{back, is_word, letter_after, letter_before, part, run, work};

/// One documented credential format.
pub(crate) struct Format {
    /// Kebab-case, unique, begins with the provider: `github-fine-grained-token`.
    pub(crate) name: &'static str,
    /// The literal the token begins with, at least two bytes of which one is alphanumeric; empty only when `near` is not.
    pub(crate) prefix: &'static str,
    /// What follows, in order.
    pub(crate) body: &'static [Piece],
    /// Lower-case words, one of which must stand within 48 bytes before the token or be in the hints; none needed when empty.
    pub(crate) near: &'static [&'static str],
    /// What the form alone does not say.
    pub(crate) check: Check,
}

/// A part of a token.
///
/// A run is greedy and never gives back: it must not contain the first byte of the text that follows, unless its least and most are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// These bytes.
    Text(&'static str),
    /// At least so many and at most so many bytes of an alphabet.
    Run(Alphabet, u16, u16),
    /// Here the secret begins: what stands before is the name it is assigned to, which proves nothing.
    Secret,
}

/// The bytes a run may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// `0-9`
    Digit,
    /// `0-9a-f`
    HexLower,
    /// `0-9A-F`
    HexUpper,
    /// `0-9a-fA-F`
    Hex,
    /// `a-z`
    Lower,
    /// `A-Z`
    Upper,
    /// `a-z0-9`
    LowerDigit,
    /// `A-Z0-9`
    UpperDigit,
    /// `A-Za-z0-9`
    Alnum,
    /// Alphanumeric without `0OIl`.
    Base58,
    /// Alphanumeric and `+/=`.
    Base64,
    /// Alphanumeric and `-_`.
    Base64Url,
    /// Alphanumeric and `_`.
    Word,
    /// Alphanumeric and `-_.`.
    Token,
    /// Alphanumeric and `-._~+/=`: RFC 6750 section 2.1.
    Bearer,
    /// What a user name or password in a URL is made of: printable, without `:@/?#[]{}`, space, quotes, backslash, `<` and `>`.
    Userinfo,
    /// Printable without brackets of any kind, comma and semicolon, so that an expression of a program is no password.
    Password,
    /// What stands around the sign of an assignment: space, tab, quotes and backslash.
    Blank,
    /// The sign of an assignment: `=`, `:` and the `>` of `=>`.
    Assign,
    /// ASCII that prints, without space, quotes (`"`, `'`, backquote), backslash, `<` and `>`.
    Printable,
}

/// What is checked of a token that has the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing more.
    None,
    /// The last six characters are the CRC-32 in base 62 of the characters between the prefix's last `_` and them.
    GithubCrc32,
    /// At least so many different bytes after the prefix.
    Entropy(u8),
    /// At least so many different bytes after the prefix, of which one is a digit and one a letter.
    Mixed(u8),
    /// So many bytes after the prefix these bytes stand.
    Marked(u8, &'static str),
}

impl Alphabet {
    const fn bit(self) -> u32 {
        1 << self as u16
    }

    #[inline(always)]
    pub(crate) fn has(self, byte: u8) -> bool {
        ALPHABETS.get(usize::from(byte)).is_some_and(|of| of & self.bit() != 0)
    }
}

/// Of each byte, the alphabets that have it.
static ALPHABETS: [u32; 256] = alphabets();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which stops at a wrong index")]
const fn alphabets() -> [u32; 256] {
    let mut all = [0; 256];
    let mut index: usize = 0;
    while index < 128 {
        all[index] = alphabets_of(index as u8);
        index += 1;
    }
    all
}

const fn alphabets_of(byte: u8) -> u32 {
    use Alphabet::{
        Alnum, Assign, Base58, Base64, Base64Url, Bearer, Blank, Digit, Hex, HexLower, HexUpper, Lower, LowerDigit, Password, Printable, Token,
        Upper, UpperDigit, Userinfo, Word,
    };
    let mut bits = 0;
    if byte.is_ascii_digit() {
        bits |= Digit.bit() | HexLower.bit() | HexUpper.bit() | LowerDigit.bit() | UpperDigit.bit();
    }
    if byte.is_ascii_lowercase() {
        bits |= Lower.bit() | LowerDigit.bit() | if byte <= b'f' { HexLower.bit() } else { 0 };
    }
    if byte.is_ascii_uppercase() {
        bits |= Upper.bit() | UpperDigit.bit() | if byte <= b'F' { HexUpper.bit() } else { 0 };
    }
    if byte.is_ascii_hexdigit() {
        bits |= Hex.bit();
    }
    if byte.is_ascii_alphanumeric() {
        bits |= Alnum.bit() | Base64.bit() | Base64Url.bit() | Word.bit() | Token.bit() | Bearer.bit();
        bits |= if matches!(byte, b'0' | b'O' | b'I' | b'l') { 0 } else { Base58.bit() };
    }
    match byte {
        b'+' | b'/' | b'=' => bits |= Base64.bit() | Bearer.bit(),
        b'-' => bits |= Base64Url.bit() | Token.bit() | Bearer.bit(),
        b'_' => bits |= Base64Url.bit() | Word.bit() | Token.bit() | Bearer.bit(),
        b'.' => bits |= Token.bit() | Bearer.bit(),
        b'~' => bits |= Bearer.bit(),
        b' ' | b'\t' | b'"' | b'\'' | b'`' | b'\\' => bits |= Blank.bit(),
        _ => {}
    }
    if matches!(byte, b'=' | b':' | b'>') {
        bits |= Assign.bit();
    }
    if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'<' | b'>') {
        bits |= Printable.bit();
        bits |= if matches!(byte, b':' | b'@' | b'/' | b'?' | b'#' | b'[' | b']' | b'{' | b'}') { 0 } else { Userinfo.bit() };
        bits |= if matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b',' | b';') { 0 } else { Password.bit() };
    }
    bits
}

/// Where the token that begins at `start` ends, if it has the format. The words a format wants near are the caller's matter.
pub(crate) fn matches(format: &Format, text: &[u8], start: usize) -> Option<usize> {
    let head = format.prefix.as_bytes();
    if (!head.is_empty() && !text.get(start..)?.starts_with(head)) || (starts_plain(format) && letter_before(text, start)) {
        return None;
    }
    let from = start + head.len();
    let (mut last, mut end) = (from, from);
    for piece in format.body {
        last = end;
        end = follow(*piece, text, end)?;
    }
    work::count(end - start);
    let end = settle(format, text, last, end)?;
    holds(format.check, part(text, from, end)).then_some(end)
}

/// Where the secret of a match begins that is no more than a value with a telling name.
pub(crate) fn assigned(format: &Format, text: &[u8], start: usize) -> Option<usize> {
    let name = format.body.iter().position(|piece| *piece == Piece::Secret)?;
    format.body.iter().take(name).try_fold(start + format.prefix.len(), |from, piece| follow(*piece, text, from))
}

fn starts_plain(format: &Format) -> bool {
    format.prefix.is_empty() || format.prefix.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

fn follow(piece: Piece, text: &[u8], from: usize) -> Option<usize> {
    match piece {
        Piece::Secret => Some(from),
        Piece::Text(literal) => text.get(from..)?.starts_with(literal.as_bytes()).then_some(from + literal.len()),
        Piece::Run(alphabet, least, most) => {
            let length = run(text, from, usize::from(most), |byte| alphabet.has(byte));
            (length >= usize::from(least)).then_some(from + length)
        }
    }
}

/// Refuses a token that goes on, and leaves the end of a sentence out of one whose alphabet has punctuation. Its last piece begins at `last`.
fn settle(format: &Format, text: &[u8], last: usize, end: usize) -> Option<usize> {
    let Some(Piece::Run(alphabet, least, _)) = format.body.last().copied() else {
        return (!letter_after(text, end) || !is_word(back(text, end, 1))).then_some(end);
    };
    if text.get(end).is_some_and(|byte| alphabet.has(*byte)) {
        return None;
    }
    let spare = (end - last).saturating_sub(usize::from(least)).min(3);
    let trailing = (0..spare).take_while(|index| is_sentence_end(alphabet, back(text, end, index + 1))).count();
    Some(end - trailing)
}

fn is_sentence_end(alphabet: Alphabet, byte: u8) -> bool {
    match alphabet {
        Alphabet::Printable | Alphabet::Userinfo | Alphabet::Password => matches!(byte, b'.' | b',' | b';' | b':' | b'!' | b'?' | b')' | b']' | b'}'),
        _ => byte == b'.',
    }
}

fn holds(check: Check, body: &[u8]) -> bool {
    match check {
        Check::None => true,
        Check::GithubCrc32 => has_github_checksum(body),
        Check::Entropy(least) => distinct(body) >= u32::from(least),
        Check::Mixed(least) => distinct(body) >= u32::from(least) && body.iter().any(u8::is_ascii_digit) && body.iter().any(u8::is_ascii_alphabetic),
        Check::Marked(from, mark) => body.get(usize::from(from)..).is_some_and(|rest| rest.starts_with(mark.as_bytes())),
    }
}

fn distinct(body: &[u8]) -> u32 {
    body.iter().fold(0_u128, |seen, byte| seen | 1 << (byte & 127)).count_ones()
}

/// <https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>: the last six characters are a
/// CRC-32 of the random part in base 62, with leading zeros.
fn has_github_checksum(body: &[u8]) -> bool {
    let body = body.rsplit(|byte| *byte == b'_').next().unwrap_or(body);
    let Some((random, sum)) = body.len().checked_sub(6).and_then(|length| body.split_at_checked(length)) else {
        return false;
    };
    let mut rest = crc32(random);
    sum.iter().rev().all(|digit| {
        let expected = rest % 62;
        rest /= 62;
        base62(*digit) == Some(expected)
    })
}

fn base62(digit: u8) -> Option<u32> {
    match digit {
        b'0'..=b'9' => Some(u32::from(digit - b'0')),
        b'A'..=b'Z' => Some(u32::from(digit - b'A') + 10),
        b'a'..=b'z' => Some(u32::from(digit - b'a') + 36),
        _ => None,
    }
}

/// The reflected polynomial 0xEDB88320 of ISO 3309 (also IEEE 802.3).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn format(prefix: &'static str, body: &'static [Piece], check: Check) -> Format {
        Format { name: "test", prefix, body, near: &[], check }
    }

    #[test]
    fn a_token_has_its_pieces_and_no_more() {
        let of = format("ab_", &[Piece::Run(Alphabet::Digit, 2, 4), Piece::Text("-"), Piece::Run(Alphabet::Lower, 3, 3)], Check::None);
        for (text, end) in [
            ("ab_12-abc", Some(9)),
            ("ab_1234-abc.", Some(11)),
            ("ab_1-abc", None),
            ("ab_12345-abc", None),
            ("ab_12-abcd", None),
            ("ab_12-ab", None),
            ("ab_12", None),
            ("AB_12-abc", None),
        ] {
            assert_eq!(matches(&of, text.as_bytes(), 0), end, "{text}");
        }
        assert_eq!(matches(&of, b"xab_12-abc", 1), None);
        assert_eq!(matches(&of, b"-ab_12-abc", 1), Some(10));
    }

    #[test]
    fn the_end_of_a_sentence_is_no_part_of_a_token() {
        let of = format("ab.", &[Piece::Run(Alphabet::Token, 4, 20)], Check::None);
        assert_eq!(matches(&of, b"ab.cdef.gh.", 0), Some(10));
        assert_eq!(matches(&of, b"ab.cde.", 0), Some(7));
    }

    #[test]
    fn entropy_counts_different_bytes() {
        let of = format("ab_", &[Piece::Run(Alphabet::Alnum, 8, 8)], Check::Entropy(5));
        assert_eq!(matches(&of, b"ab_aaaaaaaa", 0), None);
        assert_eq!(matches(&of, b"ab_abcdeaaa", 0), Some(11));
    }

    #[test]
    fn crc32_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
