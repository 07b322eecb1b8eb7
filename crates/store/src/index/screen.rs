//! What terminals and commands showed, as words that can be searched for: of each operation, as it stood on a screen.
//!
//! Half a line at the end of a batch is taken as it stands, and again when it is whole, so that a live terminal can be searched, too. What was shown last of an operation that
//! runs is kept in memory alone: where another process reads on, a word that was cut there is lost.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use evidence::screen::Lines;
use model::SessionId;

use super::shape;

/// Most words of one operation that can be searched for, whatever it shows: a mebibyte of the index.
const MAX_WORDS: usize = 65_536;
/// Words that are known to be taken, so that a screen which is drawn anew costs nothing. Then all are forgotten.
const MAX_SEEN: usize = 8_192;
/// Longest word that is taken, in bytes.
const MAX_WORD_BYTES: usize = 256;
/// Operations whose screens are kept between batches. A screen takes some hundred kilobytes at most.
const MAX_KEPT: usize = 256;

/// The screen of one operation.
#[derive(Debug, Default)]
pub(super) struct Screen {
    lines: Lines,
    seen: HashSet<u64>,
    hasher: RandomState,
    taken: usize,
}

impl Screen {
    /// Takes what is shown next. `take` is given each word that is new.
    pub(super) fn show(&mut self, data: &[u8], mut take: impl FnMut(&str)) {
        if self.taken >= MAX_WORDS {
            return;
        }
        for line in self.lines.feed(data) {
            self.words(&line, &mut take);
        }
    }

    /// The batch ends: the line that is not over is taken as it stands.
    pub(super) fn pause(&mut self, mut take: impl FnMut(&str)) {
        let line = self.lines.current();
        self.words(&line, &mut take);
    }

    /// A word as it stands, without the marks around it, and each of its parts.
    fn words(&mut self, line: &str, take: &mut impl FnMut(&str)) {
        for word in line.split_whitespace().filter(|word| word.len() <= MAX_WORD_BYTES) {
            self.word(word, take);
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            if bare != word {
                self.word(bare, take);
            }
            let parts = shape::split_words(bare);
            if parts.len() > 1 {
                parts.iter().for_each(|part| self.word(part, take));
            }
        }
    }

    fn word(&mut self, word: &str, take: &mut impl FnMut(&str)) {
        if word.is_empty() || self.taken >= MAX_WORDS {
            return;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        if self.seen.insert(self.hasher.hash_one(word)) {
            self.taken += 1;
            take(word);
        }
    }
}

/// The screens of operations that run.
pub(super) type Kept = HashMap<(SessionId, u64), Screen>;

/// Puts screens back among those that are kept.
pub(super) fn keep(kept: &mut Kept, session: SessionId, screens: HashMap<u64, Screen>) {
    for (op, screen) in screens {
        // Whichever goes loses no more than the word that is cut at this moment.
        if kept.len() >= MAX_KEPT
            && let Some(other) = kept.keys().next().copied()
        {
            kept.remove(&other);
        }
        kept.insert((session, op), screen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pieces: &[&str]) -> Vec<String> {
        let (mut screen, mut words) = (Screen::default(), Vec::new());
        for piece in pieces {
            screen.show(piece.as_bytes(), |word| words.push(word.to_owned()));
        }
        screen.pause(|word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn words_are_taken_once_and_as_they_were_left_on_the_screen() {
        assert_eq!(words(&["rot: \x1b[31mper", "mission denied\x1b[0m\r\nrot\r\n"]), ["rot:", "rot", "permission", "denied"]);
        assert_eq!(words(&["pasx\x08s /srv/data/x.txt"]), ["pass", "/srv/data/x.txt", "srv/data/x.txt", "srv", "data", "x", "txt"]);
        assert_eq!(words(&["50%\r100%\r\n"]), ["100%", "100"]);
        assert_eq!(words(&[&"y".repeat(MAX_WORD_BYTES + 1), " \x1b]0;title\x07z"]), ["z"]);
    }

    #[test]
    fn nobody_fills_the_index_with_one_command() {
        let mut screen = Screen::default();
        let mut count = 0;
        for number in 0..2 * MAX_WORDS {
            screen.show(format!("w{number}\r\n").as_bytes(), |_| count += 1);
        }
        assert_eq!(count, MAX_WORDS);
    }

    #[test]
    fn so_many_screens_are_kept() {
        let mut kept = Kept::new();
        for op in 0..2 * MAX_KEPT as u64 {
            keep(&mut kept, SessionId::from_random(1), HashMap::from([(op, Screen::default())]));
        }
        assert_eq!(kept.len(), MAX_KEPT);
    }
}
