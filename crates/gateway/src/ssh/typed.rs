//! What is typed at a terminal, as far as the terminal shows it: a password at a prompt without echo is not recorded.
//!
//! Nobody tells the gateway whether a terminal echoes. So what is typed waits until it is shown, in order and at the beginning of what comes; what was not shown when a line ends is
//! forgotten. Keys that write nothing, such as arrows, need no echo.

use std::collections::VecDeque;

/// Most that waits to be shown, in keys; more is forgotten from its beginning.
const MAX_WAITING: usize = 4_096;

/// Longest sequence of a key, in bytes; what is longer is no key.
const MAX_SEQUENCE: usize = 32;

const ESC: u8 = 0x1b;

/// What was typed and is not shown yet.
#[derive(Debug, Default)]
pub(super) struct Typed {
    waiting: VecDeque<Key>,
}

#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// It is shown as itself, or not at all.
    Letter(u8),
    /// The line ends.
    Enter(u8),
    /// It writes nothing.
    Other(Vec<u8>),
}

impl Typed {
    /// The caller typed something. Returns what is to be recorded of it at once.
    pub(super) fn typed(&mut self, data: &[u8]) -> Vec<u8> {
        let mut rest = data;
        while let Some((first, after)) = rest.split_first() {
            let length = if *first == ESC { sequence(rest) } else { 1 };
            let (key, behind) = rest.split_at(length.clamp(1, rest.len()));
            self.waiting.push_back(match *first {
                b'\r' | b'\n' => Key::Enter(*first),
                byte if byte < 0x20 || byte == 0x7f => Key::Other(key.to_vec()),
                byte => Key::Letter(byte),
            });
            rest = if length > 1 { behind } else { after };
        }
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
        let mut recorded = Vec::new();
        self.take_others(&mut recorded);
        recorded
    }

    /// The terminal shows something. Returns what of the typed it is.
    pub(super) fn shown(&mut self, mut output: &[u8]) -> Vec<u8> {
        let mut recorded = Vec::new();
        if self.waiting.is_empty() {
            return recorded;
        }
        while let Some((byte, rest)) = output.split_first() {
            if *byte == ESC {
                output = output.get(sequence(output)..).unwrap_or_default();
                continue;
            }
            match self.waiting.front() {
                Some(Key::Letter(typed)) if typed == byte => {
                    recorded.push(*byte);
                    self.waiting.pop_front();
                }
                _ if matches!(byte, b'\r' | b'\n') => match self.waiting.iter().position(|key| matches!(key, Key::Enter(_))) {
                    Some(place) => {
                        // Letters before it that were not shown by now were typed unseen.
                        if let Some(Key::Enter(enter)) = self.waiting.drain(..=place).next_back() {
                            recorded.push(enter);
                        }
                        output = rest.strip_prefix(b"\n").unwrap_or(rest);
                        self.take_others(&mut recorded);
                        continue;
                    }
                    None => break,
                },
                _ => break,
            }
            self.take_others(&mut recorded);
            output = rest;
        }
        recorded
    }

    fn take_others(&mut self, recorded: &mut Vec<u8>) {
        while let Some(Key::Other(keys)) = self.waiting.front_mut() {
            recorded.append(keys);
            self.waiting.pop_front();
        }
    }
}

/// How long a sequence is that begins with ESC.
fn sequence(text: &[u8]) -> usize {
    match text.get(1) {
        Some(b'[') => {
            let end = text.iter().take(MAX_SEQUENCE).skip(2).position(|byte| (0x40..=0x7e).contains(byte));
            end.map_or(MAX_SEQUENCE.min(text.len()), |place| place + 3)
        }
        Some(b'O') => 3.min(text.len()),
        Some(_) => 2,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is recorded of this: `>` before what is typed, `<` before what is shown.
    fn recorded(steps: &[&str]) -> String {
        let mut typed = Typed::default();
        let mut recorded = Vec::new();
        for step in steps {
            let data = step.get(1..).unwrap().as_bytes();
            recorded.extend(if step.starts_with('>') { typed.typed(data) } else { typed.shown(data) });
        }
        String::from_utf8(recorded).unwrap()
    }

    #[test]
    fn what_is_shown_is_recorded_and_a_password_is_not() {
        let table: [(&[&str], &str); 9] = [
            (&["<$ ", ">l", "<l", ">s", "<s", ">\r", "<\r\n", "<file\r\n$ "], "ls\r"),
            (&[">sudo id\r", "<sudo id\r\n", "<[sudo] password for alice: ", ">hunter2\r", "<\r\n", "<uid=0\r\n"], "sudo id\r\r"),
            // Typed ahead, before anything is shown.
            (&[">one\rtwo\r", "<one\r\n", "<two\r\n"], "one\rtwo\r"),
            // Password letter by letter, while something else is shown.
            (&[">p", ">a", "<other output", ">ss\r", "<\r\nSorry"], "\r"),
            (&[">\x1b[A", "<ls -l", ">\r", "<\r\n"], "\x1b[A\r"),
            (&[">\x03", "<^C\r\n"], "\x03"),
            (&[">ab", "<\x1b[32ma\x1b[0mb"], "ab"),
            (&[">é", "<é"], "é"),
            (&[">x"], ""),
        ];
        for (steps, expected) in table {
            assert_eq!(recorded(steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn nobody_makes_it_grow() {
        let mut typed = Typed::default();
        for _ in 0..100 {
            typed.typed(&[b'x'; 1_000]);
        }
        assert!(typed.waiting.len() <= MAX_WAITING);
    }
}
