//! What a terminal showed, for whoever looks at it later: without what would do something to their own terminal, and as lines of text.

/// Longest control sequence that is looked at; a longer one is dropped.
const MAX_SEQUENCE_BYTES: usize = 256;
/// Longest line that is kept, in characters.
const MAX_LINE: usize = 4_096;
/// Modes that change only how text is shown: <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>, DEC private mode set.
const MODES: [&str; 11] = ["1", "5", "6", "7", "12", "25", "45", "47", "1047", "1048", "1049"];

const ESC: u8 = 0x1b;

/// Lets through what a screen shows, and the sequences that place and colour it. Titles, clipboards, reports, keys and everything else that a terminal does or answers is dropped:
/// whoever plays a recording has not asked for it.
#[derive(Debug, Default)]
pub struct Safe {
    state: State,
    sequence: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After the first byte of a character that may be a control character of eight bits.
    Lead,
    Escape,
    /// After ESC and what says which set is meant.
    Intermediate,
    Csi,
    /// In a string that nobody sees.
    String,
    StringEscape,
}

impl Safe {
    /// Passes a piece on; what it is the beginning of waits for the next.
    pub fn pass(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len());
        for byte in data.iter().copied() {
            self.byte(byte, &mut out);
        }
        out
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Ground => match byte {
                ESC => self.begin(State::Escape),
                0xc2 => self.state = State::Lead,
                b'\t' | b'\n' | b'\r' | 0x08 | 0x20..=0x7e | 0x80..=0xff => out.push(byte),
                _ => {}
            },
            State::Lead => {
                self.state = State::Ground;
                match byte {
                    0x80..=0x9f => {}
                    0xa0..=0xbf => out.extend([0xc2, byte]),
                    _ => self.byte(byte, out),
                }
            }
            State::String if byte == ESC => self.state = State::StringEscape,
            State::String if matches!(byte, 0x07 | 0x18 | 0x1a) => self.state = State::Ground,
            State::String => {}
            State::StringEscape => self.state = if byte == b'\\' { State::Ground } else { State::String },
            State::Escape | State::Intermediate | State::Csi => self.sequence(byte, out),
        }
    }

    fn begin(&mut self, state: State) {
        self.sequence.clear();
        self.sequence.push(ESC);
        self.state = state;
    }

    fn sequence(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte == ESC {
            return self.begin(State::Escape);
        }
        if matches!(byte, 0x18 | 0x1a) || self.sequence.len() >= MAX_SEQUENCE_BYTES {
            self.state = State::Ground;
            return;
        }
        self.sequence.push(byte);
        let shown = match (self.state, byte) {
            (State::Escape, b'[') => {
                self.state = State::Csi;
                return;
            }
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => {
                self.state = State::String;
                return;
            }
            (State::Escape | State::Intermediate, 0x20..=0x2f) => {
                self.state = State::Intermediate;
                return;
            }
            (State::Csi, 0x20..=0x3f) => return,
            (State::Escape, b'7' | b'8' | b'D' | b'E' | b'M') => true,
            // Sets of characters: lines of boxes.
            (State::Intermediate, b'0' | b'A' | b'B') => matches!(self.sequence.get(1), Some(b'(' | b')')) && self.sequence.len() == 3,
            (State::Csi, last) => csi_is_shown(self.sequence.get(2..self.sequence.len() - 1).unwrap_or_default(), last),
            _ => false,
        };
        self.state = State::Ground;
        if shown {
            out.extend_from_slice(&self.sequence);
        }
    }
}

/// Whether a sequence that begins with ESC [ only shows something.
fn csi_is_shown(parameters: &[u8], last: u8) -> bool {
    let plain = parameters.iter().all(|byte| byte.is_ascii_digit() || b";:".contains(byte));
    match last {
        b'm' | b'A' | b'B' | b'C' | b'D' | b'E' | b'F' | b'G' | b'H' | b'f' | b'J' | b'K' | b'L' | b'M' | b'P' | b'S' | b'T' | b'X' | b'@' | b'`'
        | b'a' | b'b' | b'd' | b'e' | b'r' | b's' | b'u' => plain,
        b'h' | b'l' => {
            let modes = std::str::from_utf8(parameters).unwrap_or_default();
            modes == "4" || modes.strip_prefix('?').is_some_and(|modes| modes.split(';').all(|mode| MODES.contains(&mode)))
        }
        _ => false,
    }
}

/// Lines of text, as far as they can be told without a whole screen: what is written over counts as it was left, and what moves elsewhere begins a new line.
#[derive(Debug, Default)]
pub struct Lines {
    safe: Safe,
    line: Vec<char>,
    column: usize,
    /// Bytes of a character that is not whole.
    partial: Vec<u8>,
}

impl Lines {
    /// Takes what is shown next. Returns the lines that are over.
    pub fn feed(&mut self, data: &[u8]) -> Vec<String> {
        let shown = self.safe.pass(data);
        let bytes = [std::mem::take(&mut self.partial), shown].concat();
        let (text, partial) = whole_characters(&bytes);
        self.partial = partial.to_vec();
        let mut lines = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\n' => self.end(&mut lines),
                '\r' => self.column = 0,
                '\u{8}' => self.column = self.column.saturating_sub(1),
                '\u{1b}' => {
                    let sequence = sequence(&mut characters);
                    self.moved(&sequence, &mut lines);
                }
                other => self.put(other),
            }
        }
        lines
    }

    /// The line that is not over yet.
    #[must_use]
    pub fn current(&self) -> String {
        self.line.iter().collect::<String>().trim_end().to_owned()
    }

    fn put(&mut self, character: char) {
        if self.column >= MAX_LINE {
            return;
        }
        if self.column >= self.line.len() {
            self.line.resize(self.column + 1, ' ');
        }
        if let Some(place) = self.line.get_mut(self.column) {
            *place = character;
        }
        self.column += 1;
    }

    fn end(&mut self, lines: &mut Vec<String>) {
        let line = self.current();
        if !line.is_empty() {
            lines.push(line);
        }
        self.line.clear();
        self.column = 0;
    }

    fn moved(&mut self, sequence: &str, lines: &mut Vec<String>) {
        let Some(last) = sequence.chars().last().filter(|_| sequence.starts_with('[')) else { return };
        let number = sequence.get(1..sequence.len() - 1).and_then(|digits| digits.parse::<usize>().ok());
        let count = number.unwrap_or(1).clamp(1, MAX_LINE);
        match last {
            'C' | 'a' => self.column = (self.column + count).min(MAX_LINE),
            'D' => self.column = self.column.saturating_sub(count),
            'G' | '`' => self.column = count - 1,
            'K' => match number.unwrap_or(0) {
                0 => self.line.truncate(self.column),
                1 => self.line.iter_mut().take(self.column + 1).for_each(|place| *place = ' '),
                _ => self.line.clear(),
            },
            'P' => drop(self.line.drain(self.column.min(self.line.len())..(self.column + count).min(self.line.len()))),
            '@' => {
                let (at, more) = (self.column.min(self.line.len()), count.min(MAX_LINE.saturating_sub(self.line.len())));
                drop(self.line.splice(at..at, std::iter::repeat_n(' ', more)));
            }
            'A' | 'B' | 'E' | 'F' | 'H' | 'J' | 'd' | 'e' | 'f' | 'S' | 'T' | 'L' | 'M' => self.end(lines),
            _ => {}
        }
    }
}

/// A sequence behind ESC, of those that [`Safe`] lets through.
fn sequence(characters: &mut impl Iterator<Item = char>) -> String {
    let mut sequence: String = characters.next().into_iter().collect();
    match sequence.as_str() {
        "[" => {
            for next in characters {
                sequence.push(next);
                if ('@'..='~').contains(&next) {
                    break;
                }
            }
        }
        "(" | ")" => sequence.extend(characters.next()),
        _ => {}
    }
    sequence
}

/// What of bytes is whole characters, and what begins one. What is none is replaced.
fn whole_characters(bytes: &[u8]) -> (String, &[u8]) {
    let cut = bytes.iter().rev().take(3).position(|byte| *byte >= 0xc0).map_or(bytes.len(), |back| bytes.len() - 1 - back);
    let (before, last) = bytes.split_at(cut);
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => (String::from_utf8_lossy(before).into_owned(), last),
        _ => (String::from_utf8_lossy(bytes).into_owned(), &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(pieces: &[&[u8]]) -> Vec<u8> {
        let mut safe = Safe::default();
        pieces.iter().flat_map(|piece| safe.pass(piece)).collect()
    }

    #[test]
    fn only_what_is_seen_passes_however_it_is_cut() {
        let table: [(&[u8], &[u8]); 14] = [
            (b"plain \xe6\x97\xa5\r\n\t\x08", b"plain \xe6\x97\xa5\r\n\t\x08"),
            (b"\x1b[1;31mred\x1b[0m\x1b[2J\x1b[5;9H", b"\x1b[1;31mred\x1b[0m\x1b[2J\x1b[5;9H"),
            (b"a\x1b]0;title\x07b", b"ab"),
            (b"a\x1b]52;c;cm0gLXJm\x1b\\b", b"ab"),
            (b"a\x1bP$q\"p\x1b\\b\x1b_x\x1b\\c\x1b^y\x1b\\d\x1bXz\x1b\\e", b"abcde"),
            (b"a\x1b[6nb\x1b[cc\x1b[>cd\x1b[21te\x1b[5if", b"abcdef"),
            (b"\x1b[?25l\x1b[?1049h\x1b[?2004h\x1b[?1000h\x1b[?25;9999hx", b"\x1b[?25l\x1b[?1049hx"),
            (b"\x1b(0lqk\x1b(B\x1b#8\x1bcx\x1bZ", b"\x1b(0lqk\x1b(Bx"),
            (b"\x07\x00\x05\x0e\x7fx", b"x"),
            (b"\xc2\x9b6n\xc2\xa0\xc2\x90q\xc2\x9cx", b"6n\xc2\xa0qx"),
            (b"\x1b[\x1b[31mx", b"\x1b[31mx"),
            (b"\x1b[3\x18x", b"x"),
            (b"\x1b]unended", b""),
            (b"\x1b[ q\x1b[!p\x1b[>4;1mx", b"x"),
        ];
        for (shown, expected) in table {
            assert_eq!(safe(&[shown]), expected, "{shown:?}");
            for cut in 0..=shown.len() {
                let (one, two) = shown.split_at(cut);
                assert_eq!(safe(&[one, two]), expected, "{shown:?} at {cut}");
            }
        }
    }

    #[test]
    fn lines_are_as_they_were_left() {
        let mut lines = Lines::default();
        let shown = "one\r\n10%\r20%\r\x1b[K100%\r\nsl\x08\x08ls -l\r\n\x1b[31mre\x1b[0md\r\n日本\r\n$ ech\x1b[1Pat\x1b[3;1Hbelow".as_bytes();
        let found: Vec<String> = shown.chunks(1).flat_map(|piece| lines.feed(piece)).collect();
        assert_eq!(found, ["one", "100%", "ls -l", "red", "日本", "$ echat"]);
        assert_eq!(lines.current(), "below");
        assert_eq!(lines.feed(b"\x1b[2K\rabc\x1b[2G\x1b[2@\n"), ["a  bc"]);
    }
}
