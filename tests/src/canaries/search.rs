//! Finds a canary among bytes, whole or in pieces, whatever of the usual things was done to it before it was shown.

use std::collections::HashMap;

use super::schema::{Canary, Value};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Of which cell.
    pub place: String,
    /// How it was undone, and in what form it stood there.
    pub form: String,
}

/// Searches for all canaries at once.
#[derive(Debug)]
pub struct Search {
    /// For bytes as they came, and as they are after a code was undone.
    exact: Index,
    /// For small letters and digits without anything between them.
    folded: Index,
    /// For digits without anything between them.
    digits: Index,
}

/// So many characters of a text in a row are a piece of it, and no accident: there are twenty letters and ten digits in them.
pub const PIECE: usize = 6;
/// Where capitals and small letters are one and separators are gone, one more: `rows=12 width=8` becomes a word there.
const FOLDED_PIECE: usize = 7;
/// So many digits in a row are a piece of a number where they stand together, as times, costs and object ids do not.
const NUMBER_PIECE: usize = 8;
/// And so many where whatever stands between digits was dropped.
const JOINED_PIECE: usize = 12;
/// So many hexadecimal digits are a piece of a UUID.
const UUID_PIECE: usize = 10;

impl Search {
    /// For these canaries, and what a hash or the like makes of them: place, name of the function, result.
    #[must_use]
    pub fn new(canaries: &[Canary], derived: &[(String, String, String)]) -> Self {
        let mut search = Self { exact: Index::new(), folded: Index::new(), digits: Index::new() };
        for canary in canaries {
            search.expect(&canary.place, &canary.value);
        }
        for (place, function, result) in derived {
            search.exact.add(place, function, result.as_bytes());
            search.exact.add(place, function, result.to_uppercase().as_bytes());
        }
        search
    }

    fn expect(&mut self, place: &str, value: &Value) {
        match value {
            Value::Text(text) => self.expect_text(place, text),
            Value::Number(number) => self.expect_number(place, *number),
            Value::Date { year, month, day } => self.expect_date(place, *year, *month, *day),
            Value::Uuid(bytes) => self.expect_uuid(place, *bytes),
        }
    }

    fn expect_text(&mut self, place: &str, text: &str) {
        for piece in pieces(text, PIECE) {
            self.exact.add(place, "text", piece.as_bytes());
            self.exact.add(place, "capitals", piece.to_uppercase().as_bytes());
        }
        for piece in pieces(text, FOLDED_PIECE) {
            self.folded.add(place, "text", piece.as_bytes());
        }
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        if digits.len() >= JOINED_PIECE {
            self.digits.add(place, "its digits", digits.as_bytes());
            self.digits.add(place, "its digits reversed", reversed(&digits).as_bytes());
        }
    }

    fn expect_number(&mut self, place: &str, number: u64) {
        let decimal = number.to_string();
        for piece in pieces(&decimal, NUMBER_PIECE) {
            self.exact.add(place, "number", piece.as_bytes());
        }
        for piece in pieces(&decimal, JOINED_PIECE) {
            self.folded.add(place, "number", piece.as_bytes());
            self.digits.add(place, "number", piece.as_bytes());
        }
        self.exact.add(place, "int8", &number.to_be_bytes());
        #[allow(clippy::cast_precision_loss, reason = "that is what a float of it is")]
        self.exact.add(place, "float8", &(number as f64).to_be_bytes());
        self.exact.add(place, "numeric", &base_10000(&decimal));
        self.exact.add(place, "hexadecimal number", format!("{number:x}").as_bytes());
        self.exact.add(place, "bits", format!("{number:b}").as_bytes());
    }

    fn expect_date(&mut self, place: &str, year: i32, month: i32, day: i32) {
        for between in ["-", "/", ".", " ", "", ", "] {
            for written in [
                format!("{year}{between}{month:02}{between}{day:02}"),
                format!("{day:02}{between}{month:02}{between}{year}"),
                format!("{month:02}{between}{day:02}{between}{year}"),
            ] {
                self.exact.add(place, "date", written.as_bytes());
                self.exact.add(place, "date reversed", reversed(&written).as_bytes());
            }
        }
        let days = days_since_2000(year, month, day);
        // As a value of its own in a row, an array or copied data: after its length.
        self.exact.add(place, "binary date", &[4i32.to_be_bytes(), days.to_be_bytes()].concat());
        self.exact.add(place, "hexadecimal date", format!("{days:08x}").as_bytes());
        // Microseconds since 2000 is a timestamp in binary, seconds since 1970 what extract(epoch) gives.
        self.exact.add(place, "binary timestamp", &(i64::from(days) * 86_400_000_000).to_be_bytes());
        self.exact.add(place, "epoch", ((i64::from(days) + 10_957) * 86_400).to_string().as_bytes());
        // After a sign that is no digit, since eight digits alone may come from anywhere.
        for (form, number) in [("days", i64::from(days)), ("Julian day", i64::from(days) + 2_451_545)] {
            for (before, after) in [("\"", ""), ("\0", ""), ("\t", ""), (",", ","), (" ", " "), ("'", "'")] {
                self.exact.add(place, form, format!("{before}{number}{after}").as_bytes());
            }
        }
    }

    fn expect_uuid(&mut self, place: &str, bytes: [u8; 16]) {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        for piece in pieces(&digits, UUID_PIECE) {
            self.exact.add(place, "uuid", piece.as_bytes());
            self.exact.add(place, "uuid in capitals", piece.to_uppercase().as_bytes());
            self.folded.add(place, "uuid", piece.as_bytes());
        }
        for piece in bytes.windows(PIECE) {
            self.exact.add(place, "binary uuid", piece);
        }
    }

    /// Whatever of the canaries is in these bytes: of each cell and form once.
    #[must_use]
    pub fn all_in(&self, bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        self.exact.find("as it is", bytes, &mut found);
        let joined: Vec<u8> = bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
        self.folded.find("separators dropped", &joined, &mut found);
        let backward: Vec<u8> = joined.iter().rev().copied().collect();
        self.folded.find("reversed", &backward, &mut found);
        let digits: Vec<u8> = bytes.iter().filter(|byte| byte.is_ascii_digit()).copied().collect();
        self.digits.find("digits alone", &digits, &mut found);
        let letters: Vec<u8> = joined.iter().filter(|byte| (b'a'..=b'j').contains(byte)).map(|byte| byte - b'a' + b'0').collect();
        self.digits.find("letters for digits", &letters, &mut found);
        for (name, digits) in [("hexadecimal", &joined), ("reversed hexadecimal", &backward)] {
            for offset in 0..2 {
                self.exact.find(name, &from_hexadecimal(digits.get(offset..).unwrap_or_default()), &mut found);
            }
        }
        let coded: Vec<u8> = bytes.iter().filter_map(|byte| base64_digit(*byte)).collect();
        for offset in 0..4 {
            self.exact.find("base64", &from_base64(coded.get(offset..).unwrap_or_default()), &mut found);
        }
        self.exact.find("codes of characters", &from_codes(bytes), &mut found);
        found.sort();
        found.dedup();
        found
    }
}

/// All runs of so many characters, forward and backward.
fn pieces(text: &str, length: usize) -> Vec<String> {
    let forward = (0..=text.len().saturating_sub(length)).filter_map(|at| text.get(at..at + length));
    forward.flat_map(|piece| [piece.to_owned(), reversed(piece)]).collect()
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// The digits of a numeric as they go over the wire, without the first, which is of the number's length: `numeric_send` in
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/numeric.c>.
fn base_10000(decimal: &str) -> Vec<u8> {
    let first = decimal.len() % 4;
    let groups = decimal.get(first..).unwrap_or_default().as_bytes().chunks(4);
    groups.flat_map(|group| group.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0')).to_be_bytes()).collect()
}

/// Days since 2000-01-01, as a date goes over the wire. By counting from a March, so that the leap day is a year's last.
#[must_use]
pub fn days_since_2000(year: i32, month: i32, day: i32) -> i32 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    before + (153 * month + 2) / 5 + day - 730_426
}

/// Two digits a byte; what is no pair of digits becomes one zero byte.
fn from_hexadecimal(digits: &[u8]) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.chunks_exact(2).map(|pair| match pair {
        [high, low] => value(*high).zip(value(*low)).map_or(0, |(high, low)| high * 16 + low),
        _ => 0,
    });
    pairs.collect()
}

/// The value of a sign of <https://www.rfc-editor.org/rfc/rfc4648#section-4>, or of its form for addresses.
const fn base64_digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn from_base64(digits: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(digits.len());
    for four in digits.chunks_exact(4) {
        let together = four.iter().fold(0u32, |sum, digit| (sum << 6) | u32::from(*digit));
        let [_, three @ ..] = together.to_be_bytes();
        bytes.extend(three);
    }
    bytes
}

/// Numbers in decimal that are codes of letters or digits; others are skipped.
fn from_codes(bytes: &[u8]) -> Vec<u8> {
    let numbers = bytes.split(|byte| !byte.is_ascii_digit()).filter(|digits| matches!(digits.len(), 2 | 3));
    let codes = numbers.map(|digits| digits.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0')));
    codes.filter_map(|code| u8::try_from(code).ok()).filter(u8::is_ascii_alphanumeric).collect()
}

/// Sequences of bytes, all looked for in one go: their first bytes are looked up at each place.
#[derive(Debug)]
struct Index {
    needles: Vec<Needle>,
    by_head: HashMap<u64, Vec<usize>>,
    /// One bit for each hash that a head has: nearly all places end here.
    sieve: Vec<u64>,
}

#[derive(Debug)]
struct Needle {
    place: String,
    form: String,
    bytes: Vec<u8>,
}

/// So many bits has the number of a hash.
const SIEVE_BITS: u32 = 20;
const HEAD_MASK: u64 = (1 << (8 * PIECE)) - 1;

impl Index {
    fn new() -> Self {
        Self { needles: Vec::new(), by_head: HashMap::new(), sieve: vec![0; 1 << (SIEVE_BITS - 6)] }
    }

    fn add(&mut self, place: &str, form: &str, bytes: &[u8]) {
        let Some(head) = bytes.get(..PIECE) else { return };
        let head = head.iter().fold(0, |head, byte| shifted(head, *byte));
        self.by_head.entry(head).or_default().push(self.needles.len());
        let (word, bit) = place_in_sieve(head);
        if let Some(word) = self.sieve.get_mut(word) {
            *word |= bit;
        }
        self.needles.push(Needle { place: place.to_owned(), form: form.to_owned(), bytes: bytes.to_owned() });
    }

    fn find(&self, undone: &str, bytes: &[u8], found: &mut Vec<Found>) {
        let mut head = 0;
        for (at, byte) in bytes.iter().enumerate() {
            head = shifted(head, *byte);
            let (word, bit) = place_in_sieve(head);
            if self.sieve.get(word).is_some_and(|word| word & bit != 0) {
                let from = bytes.get((at + 1).saturating_sub(PIECE)..).unwrap_or_default();
                let candidates = self.by_head.get(&head).into_iter().flatten().filter_map(|index| self.needles.get(*index));
                let there = candidates.filter(|needle| from.starts_with(&needle.bytes));
                found.extend(there.map(|needle| Found { place: needle.place.clone(), form: format!("{undone}: {}", needle.form) }));
            }
        }
    }
}

const fn shifted(head: u64, byte: u8) -> u64 {
    ((head << 8) | byte as u64) & HEAD_MASK
}

fn place_in_sieve(head: u64) -> (usize, u64) {
    let hash = head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SIEVE_BITS);
    (usize::try_from(hash >> 6).unwrap_or(0), 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "k3m9p0q7r1s5t8u2v4w6x3z9";
    const NUMBER: u64 = 738_105_926_418_350_297;

    fn search() -> Search {
        let canary = |place: &str, value: Value| Canary { place: place.to_owned(), value };
        let uuid = 0x8f3a_61d2_70c4_4b9e_a517_2dc8_06f3_e94b_u128.to_be_bytes();
        let canaries = [
            canary("text", Value::Text(TEXT.to_owned())),
            canary("number", Value::Number(NUMBER)),
            canary("date", Value::Date { year: 183_742, month: 11, day: 23 }),
            canary("uuid", Value::Uuid(uuid)),
        ];
        Search::new(&canaries, &[("text".to_owned(), "md5".to_owned(), "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned())])
    }

    fn places(bytes: impl AsRef<[u8]>) -> Vec<String> {
        let mut places: Vec<String> = search().all_in(bytes.as_ref()).into_iter().map(|found| found.place).collect();
        places.dedup();
        places
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn base64(bytes: &[u8]) -> String {
        const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let six = |bits: u32| char::from(SIGNS[bits as usize & 63]);
        let threes = bytes.chunks(3).map(|three| three.iter().fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte)) << (8 * (3 - three.len())));
        threes.flat_map(|bits| [six(bits >> 18), six(bits >> 12), six(bits >> 6), six(bits)]).collect()
    }

    #[test]
    fn a_text_is_found_in_every_form() {
        let spread = |between: &str| TEXT.chars().map(String::from).collect::<Vec<_>>().join(between);
        let codes = |text: &str| text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        let hexed = hexadecimal(TEXT.as_bytes());
        let forms = [
            TEXT.to_owned(),
            TEXT.to_uppercase(),
            format!("K{}", &TEXT[1..]),
            reversed(TEXT),
            reversed(&TEXT.to_uppercase()),
            spread(" "),
            spread(", "),
            spread("-"),
            spread("\n"),
            spread("\0\0\0\x01"),
            format!("{{\"{}\",\"{}\"}}", &TEXT[..3], &TEXT[3..]),
            hexed.clone(),
            format!("\\x{}", hexed.to_uppercase()),
            format!("\\\\x{hexed}"),
            reversed(&hexed),
            format!("a{hexed}"),
            TEXT.bytes().map(|byte| format!("{byte:02x} ")).collect(),
            base64(TEXT.as_bytes()),
            base64(format!("a{TEXT}").as_bytes()),
            base64(format!("ab{TEXT}").as_bytes()),
            base64(reversed(TEXT).as_bytes()),
            base64(TEXT.to_uppercase().as_bytes()),
            format!("x{}", base64(TEXT.as_bytes())),
            format!("{}\n{}", &base64(TEXT.as_bytes())[..9], &base64(TEXT.as_bytes())[9..]),
            TEXT.replace(|sign: char| sign.is_ascii_alphabetic(), ""),
            codes(TEXT),
            codes(TEXT).replace(", ", " | 4711 | "),
            "0F1E2D3C4B5A69788796A5B4C3D2E1F0".to_owned(),
        ];
        for form in forms {
            assert_eq!(places(&form), ["text"], "{form}");
            assert_eq!(places(format!("before {form} after")), ["text"], "{form}");
        }
    }

    #[test]
    fn a_piece_is_enough() {
        for at in 0..=TEXT.len() - PIECE {
            let piece = &TEXT[at..at + PIECE];
            for form in [piece.to_owned(), piece.to_uppercase(), reversed(piece), hexadecimal(piece.as_bytes())] {
                assert_eq!(places(format!("'{form}'")), ["text"], "{form}");
            }
            for before in ["", "_", "__"] {
                assert_eq!(places(base64(format!("{before}{piece}__").as_bytes())), ["text"], "{before}{piece}");
            }
        }
    }

    #[test]
    fn a_number_is_found_in_every_form() {
        let decimal = NUMBER.to_string();
        let forms: [&[u8]; 12] = [
            decimal.as_bytes(),
            &decimal.as_bytes()[3..11],
            b"738,105,926,418,350,297",
            b"7.38105926418350e+17",
            b" 738 105 926 418 350 297 PR",
            reversed(&decimal).leak().as_bytes(),
            &NUMBER.to_be_bytes(),
            hexadecimal(&NUMBER.to_be_bytes()).leak().as_bytes(),
            // The groups 73, 8105, 9264, 1835, 0297.
            &[0, 5, 0, 4, 0, 0, 0, 0, 0, 73, 0x1f, 0xa9, 0x24, 0x30, 0x07, 0x2b, 0x01, 0x29],
            b"hdibafjcgebidfacjh",
            b"a7b3c8d1e0f5g9h2i6j4k1l8m3n5o0p2q9r7",
            b"73810592 and then 6418350297",
        ];
        for form in forms {
            assert_eq!(places(form), ["number"], "{}", form.escape_ascii());
        }
    }

    #[test]
    fn a_date_and_a_uuid_are_found_in_every_form() {
        assert_eq!([days_since_2000(2000, 1, 1), days_since_2000(1970, 1, 1), days_since_2000(2024, 3, 1)], [0, -10_957, 8826]);
        let days = days_since_2000(183_742, 11, 23);
        let in_a_row = [[0, 0, 0, 4], days.to_be_bytes()].concat();
        for form in ["183742-11-23", "23.11.183742", "11/23/183742", "1837421123", "32-11-247381"] {
            assert_eq!(places(form), ["date"], "{form}");
        }
        assert_eq!(places(in_a_row), ["date"]);
        assert_eq!(places(format!("\\x{days:08x}")), ["date"]);
        assert_eq!(places(format!("D\0\0{days}")), ["date"]);
        let uuid = 0x8f3a_61d2_70c4_4b9e_a517_2dc8_06f3_e94b_u128;
        for form in
            ["8f3a61d2-70c4-4b9e-a517-2dc806f3e94b", "8F3A61D270C44B9EA5172DC806F3E94B", "a5172dc806f3", "b49e3f608cd2715a", "{8f3a61d2-70c4}"]
        {
            assert_eq!(places(form), ["uuid"], "{form}");
        }
        assert_eq!(places(uuid.to_be_bytes()), ["uuid"]);
        assert_eq!(places(base64(&uuid.to_be_bytes())), ["uuid"]);
    }

    #[test]
    fn what_is_no_canary_is_not_found() {
        let harmless = [
            "***@example.org ************1111 ******** 2026-11-29 14:04:12.123456+00",
            "Seq Scan on people  (cost=0.00..1.06 rows=6 width=32) (actual time=0.012..0.015 rows=6 loops=1)",
            &TEXT[..PIECE - 1],
            "7381059",
            "183742",
            "d41d8cd98f00b204e9800998ecf8427e",
        ];
        for text in harmless {
            assert!(places(text).is_empty(), "{text}: {:?}", search().all_in(text.as_bytes()));
        }
    }
}
