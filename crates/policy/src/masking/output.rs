//! What commands write and terminals show: a stream of text with control sequences in it.
//!
//! The text alone is looked through by the detectors, so that colours in the middle of a value hide nothing; sequences go on in their places. What moves the cursor stands for
//! what it shows: a step to the right for a space, a repetition for the character, any other move for a new line. What is found does not depend on how the stream is cut.
//!
//! A finding is certain only some kilobytes behind its end. Where nothing comes for a while, [`idle`](OutputMask::idle) says that there may be no more: then all that is held is shown, with
//! everything masked that is whole by then; or, if strict, without what may be the beginning of a value.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};

use model::{ActorChain, Connection, Timestamp};

use super::{
    detected::{Net, Wanted},
    keys::MaskKeys,
};
use crate::{
    Version,
    detect::{Entity, Finding, Hints, Stream},
};

/// Longest control sequence that is held until it is whole; a longer one is text.
const MAX_SEQUENCE_BYTES: usize = 4_096;
/// Most that is held, whatever may still come of it.
const MAX_HELD_BYTES: usize = 1 << 20;
/// How often a character is repeated at most by one sequence, as far as it is looked at.
const MAX_REPEATED: usize = 1_024;
/// No value begins further before a pause than this.
const MAX_OPEN_BYTES: usize = 4_096;
/// What may be no value's beginning, as short as it is.
const MIN_OPEN_BYTES: usize = 3;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

/// Masks one stream of output.
pub struct OutputMask {
    net: Arc<Net>,
    strict: bool,
    stream: Stream,
    reader: Reader,
    /// What is held, in order.
    held: VecDeque<Piece>,
    held_bytes: usize,
    /// How much of the text is shown.
    shown: u64,
    /// Findings that are not shown yet.
    found: VecDeque<Finding>,
    /// What was masked so far.
    masked: BTreeSet<Entity>,
}

/// A part of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Text.
    Text(Vec<u8>),
    /// A control sequence, and for how many bytes of text it stands.
    Control(Vec<u8>, usize),
}

impl OutputMask {
    /// A mask for what the connection detects and the caller may not see; none if that is nothing.
    #[must_use]
    pub fn here(version: &Version, chain: &ActorChain, connection: &Connection, keys: &MaskKeys, strict: bool, now: Timestamp) -> Option<Self> {
        let wanted = Wanted::of(version, chain, connection, "", now)?;
        Some(Self::new(wanted.ready(keys), strict))
    }

    pub(super) fn new(net: Arc<Net>, strict: bool) -> Self {
        let stream = net.detectors().stream(Hints::NONE);
        Self {
            net,
            strict,
            stream,
            reader: Reader::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            shown: 0,
            found: VecDeque::new(),
            masked: BTreeSet::new(),
        }
    }

    /// Takes what comes next. Appends what is shown of all that came.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let mut pieces = Vec::new();
        self.reader.read(data, &mut pieces);
        for piece in pieces {
            self.hold(piece);
        }
        self.show(self.stream.settled(), out);
        if self.held_bytes > MAX_HELD_BYTES {
            self.release(out);
        }
    }

    /// Whether anything is held.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.is_empty() || self.reader.shown < self.reader.sequence.len()
    }

    /// Nothing came for a while. Appends what is shown then; if strict, something may still be held.
    pub fn idle(&mut self, out: &mut Vec<u8>) {
        if self.strict {
            let open = open_bytes(self.stream.tail()) as u64;
            self.show_whole(self.stream.taken().saturating_sub(open), out);
        } else {
            self.release(out);
        }
    }

    /// The stream has ended. Appends what is left.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(out);
    }

    /// What was masked, by the names of its detectors.
    pub fn masked(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.masked.iter().map(|entity| entity.name())
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        self.show_whole(u64::MAX, out);
        out.extend_from_slice(self.reader.release());
    }

    fn hold(&mut self, piece: Piece) {
        let mut found = Vec::new();
        let (text, bytes) = match &piece {
            Piece::Text(text) => (text.clone(), text.len()),
            Piece::Control(sequence, stands_for) => (stands_for_text(sequence, *stands_for, self.stream.tail()), sequence.len()),
        };
        if bytes == 0 && text.is_empty() {
            return;
        }
        self.stream.feed(&text, &mut found);
        self.found.extend(found);
        self.held_bytes += bytes;
        self.held.push_back(piece);
    }

    /// Shows what is held up to here as if the text ended now. What is found for that alone is told again later, perhaps longer.
    fn show_whole(&mut self, upto: u64, out: &mut Vec<u8>) {
        let told = self.found.clone();
        let mut foreseen = Vec::new();
        self.stream.clone().finish(&mut foreseen);
        self.found.extend(foreseen);
        // A value that stands across the end of what is shown is held from its beginning.
        let across = self.found.iter().find(|finding| finding.start < upto && upto < finding.end);
        self.show(across.map_or(upto, |finding| finding.start.max(self.shown)), out);
        self.found = told.into_iter().filter(|finding| finding.end > self.shown).collect();
    }

    /// Shows what is held up to here; findings that begin before it are known and whole.
    fn show(&mut self, upto: u64, out: &mut Vec<u8>) {
        while let Some(piece) = self.held.pop_front() {
            let (bytes, length) = match &piece {
                Piece::Text(text) => (text.len(), text.len()),
                Piece::Control(sequence, stands_for) => (sequence.len(), *stands_for),
            };
            if self.shown >= upto && length > 0 {
                self.held.push_front(piece);
                return;
            }
            self.held_bytes = self.held_bytes.saturating_sub(bytes);
            match piece {
                Piece::Control(sequence, stands_for) => {
                    out.extend_from_slice(&sequence);
                    self.shown += stands_for as u64;
                }
                Piece::Text(text) => {
                    let fits = usize::try_from(upto.saturating_sub(self.shown)).unwrap_or(usize::MAX).min(text.len());
                    let (now, later) = text.split_at(fits);
                    self.show_text(now, out);
                    if !later.is_empty() {
                        self.held_bytes += later.len();
                        self.held.push_front(Piece::Text(later.to_vec()));
                        return;
                    }
                }
            }
        }
    }

    fn show_text(&mut self, mut text: &[u8], out: &mut Vec<u8>) {
        while !text.is_empty() {
            while self.found.front().is_some_and(|finding| finding.end <= self.shown) {
                self.found.pop_front();
            }
            let Some(finding) = self.found.front().copied() else {
                self.shown += text.len() as u64;
                out.extend_from_slice(text);
                return;
            };
            if finding.start > self.shown {
                let plain = usize::try_from(finding.start - self.shown).unwrap_or(usize::MAX).min(text.len());
                let (now, rest) = text.split_at(plain);
                out.extend_from_slice(now);
                (self.shown, text) = (self.shown + plain as u64, rest);
                continue;
            }
            if finding.start == self.shown {
                let value = self.value(text, finding);
                out.extend_from_slice(self.net.masked(finding.entity, &value).as_bytes());
            }
            self.masked.insert(finding.entity);
            let inside = usize::try_from(finding.end - self.shown).unwrap_or(usize::MAX).min(text.len());
            (self.shown, text) = (self.shown + inside as u64, text.get(inside..).unwrap_or_default());
        }
    }
}

impl OutputMask {
    /// All of a value that begins with `text`, however it was cut.
    fn value(&self, text: &[u8], finding: Finding) -> Vec<u8> {
        let length = usize::try_from(finding.end - finding.start).unwrap_or(usize::MAX);
        let mut value = text.get(..length.min(text.len())).unwrap_or_default().to_vec();
        for piece in &self.held {
            let left = length - value.len();
            if left == 0 {
                break;
            }
            match piece {
                Piece::Text(text) => value.extend_from_slice(text.get(..left.min(text.len())).unwrap_or_default()),
                Piece::Control(sequence, stands_for) => value.extend(stands_for_text(sequence, left.min(*stands_for), &value)),
            }
        }
        value
    }
}

impl fmt::Debug for OutputMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputMask").field("strict", &self.strict).field("held", &self.held_bytes).finish_non_exhaustive()
    }
}

/// How many bytes at the end of a text may be the beginning of a value: its last word, and digits before that are grouped with it.
fn open_bytes(text: &[u8]) -> usize {
    let of_value = |byte: u8| byte.is_ascii_alphanumeric() || b"@._-+/=:%~".contains(&byte) || byte >= 0x80;
    let tail = text.get(text.len().saturating_sub(MAX_OPEN_BYTES)..).unwrap_or(text);
    let word = |text: &[u8]| text.iter().rev().take_while(|byte| of_value(**byte)).count();
    let split = |text: &[u8], length: usize| text.len() - length;
    let mut open = word(tail);
    let ends_a_prompt =
        tail.last().is_some_and(|byte| b":".contains(byte)) && !tail.get(split(tail, open)..).unwrap_or_default().iter().any(u8::is_ascii_digit);
    if ends_a_prompt {
        return 0;
    }
    loop {
        let before = tail.get(..split(tail, open)).unwrap_or_default();
        let Some((b' ', groups)) = before.split_last() else { break };
        let digits = groups.iter().rev().take_while(|byte| byte.is_ascii_digit() || b"-+()".contains(byte)).count();
        if digits == 0 {
            break;
        }
        open += digits + 1;
    }
    if open < MIN_OPEN_BYTES { 0 } else { open }
}

/// The text that a sequence stands for.
fn stands_for_text(sequence: &[u8], length: usize, before: &[u8]) -> Vec<u8> {
    let byte = match sequence.last() {
        Some(b'C') => b' ',
        Some(b'b') => before.last().copied().unwrap_or(b' '),
        _ => b'\n',
    };
    vec![byte; length]
}

/// Tells control sequences from text: ECMA-48, <https://vt100.net/emu/dec_ansi_parser>.
#[derive(Debug, Default)]
struct Reader {
    state: State,
    /// What of a sequence came so far.
    sequence: Vec<u8>,
    /// How much of that was shown already, when nothing more came for a while.
    shown: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After ESC and what says which set is meant.
    Intermediate,
    /// After ESC [.
    Csi,
    /// In a string: OSC, DCS, APC, PM, SOS.
    String,
    /// In a string, after ESC.
    StringEscape,
}

impl Reader {
    fn read(&mut self, data: &[u8], out: &mut Vec<Piece>) {
        let mut plain = 0;
        for (place, byte) in data.iter().copied().enumerate() {
            if self.state == State::Ground {
                if byte == ESC {
                    text(data.get(plain..place), out);
                    self.sequence.push(byte);
                    self.state = State::Escape;
                } else if is_control(byte) {
                    text(data.get(plain..place), out);
                    out.push(Piece::Control(vec![byte], 0));
                    plain = place + 1;
                }
                continue;
            }
            self.step(byte, out);
            plain = place + 1;
        }
        if self.state == State::Ground {
            text(data.get(plain..), out);
        }
    }

    /// One more byte of a sequence.
    fn step(&mut self, byte: u8, out: &mut Vec<Piece>) {
        if byte == ESC && !matches!(self.state, State::String) {
            // Another begins: that one was none.
            self.end(0, out);
            self.sequence.push(byte);
            self.state = State::Escape;
            return;
        }
        self.sequence.push(byte);
        self.state = match (self.state, byte) {
            (State::Escape, b'[') => State::Csi,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape | State::Intermediate, 0x20..=0x2f) => State::Intermediate,
            (State::Escape, b'7' | b'8' | b'D' | b'E' | b'H' | b'M' | b'c') => return self.end(1, out),
            (State::Escape | State::Intermediate, _) => return self.end(0, out),
            (State::Csi, 0x20..=0x3f) => State::Csi,
            (State::Csi, _) => {
                let length = csi_length(&self.sequence);
                return self.end(length, out);
            }
            (State::String, BEL | 0x18 | 0x1a) => return self.end(0, out),
            (State::String, ESC) => State::StringEscape,
            (State::String, _) => State::String,
            (State::StringEscape, _) => return self.end(0, out),
            (State::Ground, _) => State::Ground,
        };
        if self.sequence.len() > MAX_SEQUENCE_BYTES {
            // Nobody means so long a one: it is looked through as text.
            self.state = State::Ground;
            let (_, left) = self.taken();
            out.push(Piece::Text(left));
        }
    }

    fn end(&mut self, length: usize, out: &mut Vec<Piece>) {
        self.state = State::Ground;
        let (is_string, left) = self.taken();
        // A string is shown somewhere, too: as a title, or on another machine's clipboard.
        out.push(if is_string { Piece::Text(left) } else { Piece::Control(left, length) });
    }

    /// The sequence so far, as far as it was not shown, and whether it is a string.
    fn taken(&mut self) -> (bool, Vec<u8>) {
        let mut sequence = std::mem::take(&mut self.sequence);
        let is_string = matches!(sequence.get(1), Some(b']' | b'P' | b'X' | b'^' | b'_'));
        sequence.drain(..std::mem::take(&mut self.shown).min(sequence.len()));
        (is_string, sequence)
    }

    /// What came of a sequence that is not whole and was not shown before.
    fn release(&mut self) -> &[u8] {
        let shown = std::mem::replace(&mut self.shown, self.sequence.len());
        self.sequence.get(shown..).unwrap_or_default()
    }
}

/// For how much text a sequence stands that begins with ESC [.
fn csi_length(sequence: &[u8]) -> usize {
    let (last, parameters) = match sequence.split_last() {
        Some((last, rest)) => (*last, rest.get(2..).unwrap_or_default()),
        None => return 0,
    };
    let number = || std::str::from_utf8(parameters).ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(1).clamp(1, MAX_REPEATED);
    match last {
        b'C' | b'b' => number(),
        // Colours, erasing, modes, reports, and what scrolls or inserts where nothing is written.
        b'm' | b'K' | b'J' | b'h' | b'l' | b'n' | b'c' | b'q' | b't' | b'r' | b'p' | b'u' | b's' | b'X' | b'P' | b'@' => 0,
        _ => 1,
    }
}

/// What is no text: neither a letter nor what parts words.
const fn is_control(byte: u8) -> bool {
    matches!(byte, 0x00..=0x08 | 0x0b | 0x0c | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)
}

fn text(text: Option<&[u8]>, out: &mut Vec<Piece>) {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return };
    match out.last_mut() {
        Some(Piece::Text(before)) => before.extend_from_slice(text),
        _ => out.push(Piece::Text(text.to_vec())),
    }
}

/// Where a stream is cut, then the stream: what comes out is the same however it is cut, and the same as came in where nothing is found.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzed(data: &[u8]) {
    use model::classes::{Mask, Masking, Seen};
    let Some((&[cut, strict], stream)) = data.split_first_chunk() else { return };
    let masking = Masking { mask: Mask::KeepLastFour, length: Seen::Hidden, nulls: Seen::Shown };
    let entities: Vec<_> = Entity::ALL.iter().filter_map(|entity| Some((*entity, entity.name().parse().ok()?, masking))).collect();
    let net = Wanted::new(crate::detect::Detectors::new(Entity::ALL), entities).ready(&MaskKeys::new(None));
    let shown = |pieces: &mut dyn Iterator<Item = &[u8]>, pauses: bool| {
        let (mut mask, mut out) = (OutputMask::new(net.clone(), strict & 1 > 0), Vec::new());
        for piece in pieces {
            mask.push(piece, &mut out);
            if pauses {
                mask.idle(&mut out);
            }
        }
        mask.finish(&mut out);
        assert!(!mask.holds());
        let found = mask.masked().next().is_some();
        (out, found)
    };
    let whole = shown(&mut std::iter::once(stream), false);
    assert_eq!(shown(&mut stream.chunks(usize::from(cut).max(1)), false), whole);
    assert!(whole.1 || whole.0 == stream);
    let (paused, found) = shown(&mut stream.chunks(usize::from(cut).max(1)), true);
    assert!(found || paused == stream);
}

#[cfg(test)]
mod tests;
