//! SFTP, version 3, as OpenSSH speaks it, between a caller and a machine.
//! <https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02>, and OpenSSH's `PROTOCOL` for its extensions.
//!
//! Whatever names a path is asked for before it goes on, with the path as the machine itself resolves it; what goes by a handle was asked for when that was
//! opened. A file that is opened to be read may be looked through before its caller has it. Packets go on whole and unchanged. While one is asked for, what the caller sends behind it waits in order; answers go on.
//!
//! Give it bytes with [`receive`](Sftp::receive), then take moves with [`next_move`](Sftp::next_move) until there is none; after [`Move::Ask`] nothing more comes
//! from the caller's side until [`forward`](Sftp::forward) or [`refuse`](Sftp::refuse).

mod packet;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use self::{
    packet::{Kind, Packet, Packets, Paths},
    tally::Tally,
};
use crate::{Side, reader::Malformed};

/// The version that is spoken, whatever newer ones a caller and a machine have in common: in those a file is opened with other words, and what is asked would be read wrongly.
const VERSION: u32 = 3;
/// Requests without an answer at a time.
const MAX_OUTSTANDING: usize = 4_096;
/// Files and directories open at a time.
const MAX_HANDLES: usize = 1_024;
/// How much of a file is looked at at a time, in bytes: as much as OpenSSH gives.
const LOOKED_AT_ONCE: u32 = 255 << 10;
/// Longest handle, in bytes: section 6.3.
const MAX_HANDLE_BYTES: usize = 256;

/// What is asked of files; paths as the caller gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A file is opened.
    Open {
        /// To be read.
        read: bool,
        /// To be written, appended to, made or emptied.
        write: bool,
        /// What is in it is dropped first.
        truncate: bool,
    },
    /// A directory is listed.
    List,
    /// Attributes or the target of a link are asked for.
    Look,
    /// Attributes are set.
    Change,
    /// A directory is made.
    Make,
    /// A file is removed.
    Remove,
    /// A directory is removed.
    RemoveDirectory,
    /// The first path becomes the second.
    Rename {
        /// What is there already is replaced.
        replaces: bool,
    },
    /// The second path leads to the first.
    Link {
        /// It holds a path, not the file.
        symbolic: bool,
    },
    /// An extension that is not known.
    Extended(String),
}

/// A path as the caller gave it and as the machine resolves it, if it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// As given.
    pub given: Vec<u8>,
    /// Absolute, without links.
    pub resolved: Option<Vec<u8>>,
}

/// Something to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// Of what: no path, one or two.
    pub paths: Vec<Path>,
}

/// How something ended that was permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The number it was given when it was permitted.
    pub operation: u64,
    /// In words: `ok`, `read 12 bytes (sha256 …)`.
    pub outcome: String,
    /// The machine did not do it.
    pub failed: bool,
    /// Bytes of content that were read and written.
    pub bytes: u64,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Decide this.
    Ask(Asked),
    /// Pass these bytes on.
    Send(Side, Bytes),
    /// Look at this: it is what stands next in a file that is to be looked through before its caller has it.
    Look {
        /// The number the file was permitted under.
        operation: u64,
        /// Up to a few hundred kilobytes.
        content: Bytes,
    },
    /// Nothing more comes of it: [`show`](Sftp::show) the file, or [`withhold`](Sftp::withhold) it.
    LookedThrough {
        /// The number the file was permitted under.
        operation: u64,
        /// The machine let all of it be read.
        whole: bool,
    },
    /// Record this.
    Ended(Ended),
}

/// A request that has no answer yet.
#[derive(Debug)]
enum Outstanding {
    /// Nothing is told of it.
    Plain,
    /// One that was decided.
    Decided { operation: u64 },
    /// A file or directory is opened.
    Open { file: Box<File>, look: bool },
    /// A piece of a file is read from here.
    Read { handle: Vec<u8>, offset: u64 },
    /// A handle is closed.
    Close { handle: Vec<u8> },
    /// The gateway's own question where a path leads.
    Resolve,
    /// The gateway's own reading of a file that it looks through.
    Look { operation: u64 },
    /// The gateway's own closing of a file that is withheld.
    Withheld,
}

/// A file that is looked through before its caller has it.
#[derive(Debug)]
struct Looked {
    /// What the machine answered, for the caller.
    answer: Packet,
    handle: Vec<u8>,
    file: File,
    /// How much of it was read.
    offset: u64,
}

/// How much of a file is looked at in all, in bytes: a longer one, or a device without end, is withheld.
#[derive(Debug)]
struct MaxLooked(u64);

impl Default for MaxLooked {
    fn default() -> Self {
        Self(64 << 30)
    }
}

/// A file or directory that is open.
#[derive(Debug)]
struct File {
    operation: u64,
    path: Vec<u8>,
    readable: bool,
    writable: bool,
    /// Its closing is under way: its handle may be another's next.
    closing: bool,
    /// As far as it was looked through, if it was: what is added to it later was not. None where its caller may write it, who may have added that.
    end: Option<u64>,
    read: Tally,
    written: Tally,
}

/// A request that waits to be decided.
#[derive(Debug)]
struct Waiting {
    packet: Packet,
    request: Request,
    paths: Vec<Path>,
    /// How many of the paths are resolved.
    resolved: usize,
    asked: bool,
}

/// One conversation.
#[derive(Debug, Default)]
pub struct Sftp {
    max_looked: MaxLooked,
    caller: Packets,
    machine: Packets,
    moves: VecDeque<Move>,
    outstanding: HashMap<u32, Outstanding>,
    files: HashMap<Vec<u8>, File>,
    looked: HashMap<u64, Looked>,
    waiting: Option<Waiting>,
    begun: bool,
}

impl Sftp {
    /// Takes bytes from a side.
    pub fn receive(&mut self, side: Side, bytes: &[u8]) {
        match side {
            Side::Caller => self.caller.push(bytes),
            Side::Target => self.machine.push(bytes),
        }
    }

    /// The next move, if there is one.
    ///
    /// # Errors
    /// A side does not speak SFTP, or passes a limit: the conversation is to be ended.
    pub fn next_move(&mut self) -> Result<Option<Move>, Malformed> {
        loop {
            if let Some(next) = self.moves.pop_front() {
                return Ok(Some(next));
            }
            if let Some(packet) = self.machine.next()? {
                self.answered(packet)?;
            } else if self.waiting.is_some() {
                return Ok(None);
            } else if let Some(packet) = self.caller.next()? {
                self.requested(packet)?;
            } else {
                return Ok(None);
            }
        }
    }

    /// What was asked for may go on. `operation` is its number from here on. With `look`, a file that is opened to be read is looked through first.
    pub fn forward<P>(&mut self, _permit: P, operation: u64, look: bool) {
        let Some(waiting) = self.waiting.take() else { return };
        let path = waiting.paths.into_iter().next().map(|path| path.resolved.unwrap_or(path.given)).unwrap_or_default();
        let outstanding = match waiting.request {
            // One that is emptied, too: devices and pipes are not, and some machines empty only what is opened for writing.
            Request::Open { read, write, truncate } => {
                Outstanding::Open { file: Box::new(File::new(operation, path, read, write || truncate)), look: look && read }
            }
            Request::List => Outstanding::Open { file: Box::new(File::new(operation, path, false, false)), look: false },
            _ => Outstanding::Decided { operation },
        };
        self.pass(waiting.packet, outstanding);
    }

    /// What was asked for is answered as the machine would that does not permit it.
    pub fn refuse(&mut self, sentence: &str) {
        if let Some(waiting) = self.waiting.take() {
            self.moves.push_back(Move::Send(Side::Caller, packet::denied(waiting.packet.id, sentence)));
        }
    }

    /// A file that was looked through is its caller's.
    pub fn show(&mut self, operation: u64) {
        if let Some(Looked { answer, handle, mut file, offset }) = self.looked.remove(&operation) {
            file.end = Some(offset).filter(|_| !file.writable);
            self.files.insert(handle, file);
            self.moves.push_back(Move::Send(Side::Caller, answer.whole));
        }
    }

    /// A file that is looked through is not its caller's. It is closed.
    pub fn withhold(&mut self, operation: u64, sentence: &str) {
        let id = self.free_id();
        if let Some(Looked { answer, handle, .. }) = self.looked.remove(&operation) {
            self.outstanding.insert(id, Outstanding::Withheld);
            self.moves.push_back(Move::Send(Side::Target, packet::closing(id, &handle)));
            self.moves.push_back(Move::Send(Side::Caller, packet::denied(answer.id, sentence)));
        }
    }

    /// What is still open at the end of the conversation: it ends with it.
    pub fn close(&mut self) -> Vec<Ended> {
        let looked = std::mem::take(&mut self.looked).into_values().map(|looked| looked.file);
        let files = std::mem::take(&mut self.files).into_values().chain(looked);
        let left = std::mem::take(&mut self.outstanding).into_values().filter_map(|outstanding| match outstanding {
            Outstanding::Decided { operation } => Some(operation),
            Outstanding::Open { file, .. } => Some(file.operation),
            Outstanding::Plain
            | Outstanding::Read { .. }
            | Outstanding::Close { .. }
            | Outstanding::Resolve
            | Outstanding::Look { .. }
            | Outstanding::Withheld => None,
        });
        let left = left.map(|operation| Ended { operation, outcome: "it was not answered".to_owned(), failed: true, bytes: 0 });
        files.map(|file| file.ended("not closed")).chain(left).collect()
    }

    fn pass(&mut self, packet: Packet, outstanding: Outstanding) {
        self.outstanding.insert(packet.id, outstanding);
        self.moves.push_back(Move::Send(Side::Target, packet.whole));
    }

    /// A packet of the caller's.
    fn requested(&mut self, packet: Packet) -> Result<(), Malformed> {
        if packet.kind == Kind::Init {
            if self.begun {
                return Err(Malformed("SFTP is begun twice"));
            }
            if packet.version()?.is_none_or(|version| version < VERSION) {
                return Err(Malformed("SFTP of a version before 3"));
            }
            self.begun = true;
            self.moves.push_back(Move::Send(Side::Target, packet::beginning()));
            return Ok(());
        }
        if !self.begun || self.outstanding.len() >= MAX_OUTSTANDING || self.outstanding.contains_key(&packet.id) {
            return Err(Malformed("a request out of turn, one too many, or of a number that is in use"));
        }
        match packet.kind {
            Kind::Read => {
                let (handle, offset) = packet.handle_and_offset()?;
                self.readable(&handle)?;
                self.pass(packet, Outstanding::Read { handle, offset });
            }
            Kind::Write => self.write(packet)?,
            Kind::Close => {
                let handle = packet.handle()?;
                self.known(&handle)?.closing = true;
                self.pass(packet, Outstanding::Close { handle });
            }
            Kind::ReadDirectory | Kind::FileStat | Kind::HandleExtension => {
                self.known(&packet.handle()?)?;
                self.pass(packet, Outstanding::Plain);
            }
            Kind::FileSetStat => {
                let file = self.known(&packet.handle()?)?;
                let (path, writable) = (file.path.clone(), file.writable);
                match writable {
                    true => self.pass(packet, Outstanding::Plain),
                    false => self.wait_for(packet, Request::Change, Paths::One(path)),
                }
            }
            Kind::CopyData => self.copy(packet)?,
            Kind::RealPath | Kind::PlainExtension => self.pass(packet, Outstanding::Plain),
            Kind::Asked => {
                let (request, paths) = packet.asked()?;
                self.wait_for(packet, request, paths);
            }
            Kind::Init | Kind::Answer => return Err(Malformed("a packet that callers do not send")),
        }
        Ok(())
    }

    fn known(&mut self, handle: &[u8]) -> Result<&mut File, Malformed> {
        self.files.get_mut(handle).filter(|file| !file.closing).ok_or(Malformed("a handle that was not given"))
    }

    /// What was not opened to be read may not have been looked through.
    fn readable(&mut self, handle: &[u8]) -> Result<&mut File, Malformed> {
        let file = self.known(handle)?;
        if file.readable { Ok(file) } else { Err(Malformed("a handle is read from that was opened for writing")) }
    }

    fn write(&mut self, packet: Packet) -> Result<(), Malformed> {
        let (handle, offset) = packet.handle_and_offset()?;
        let content = packet.written()?;
        let file = self.known(&handle)?;
        if !file.writable {
            return Err(Malformed("a handle is written to that was opened for reading"));
        }
        file.written.add(offset, content);
        self.pass(packet, Outstanding::Plain);
        Ok(())
    }

    /// `copy-data` from one open file to another.
    fn copy(&mut self, packet: Packet) -> Result<(), Malformed> {
        let (from, to) = packet.two_handles()?;
        self.readable(&from)?;
        let file = self.known(&to)?;
        if !file.writable {
            return Err(Malformed("a handle is copied to that was opened for reading"));
        }
        file.written.lose_track();
        self.pass(packet, Outstanding::Plain);
        Ok(())
    }

    fn wait_for(&mut self, packet: Packet, request: Request, paths: Paths) {
        let paths = paths.into_iter().map(|given| Path { given, resolved: None }).collect();
        self.waiting = Some(Waiting { packet, request, paths, resolved: 0, asked: false });
        self.resolve_or_ask();
    }

    /// Asks the machine where the next path leads; once all are known, asks what is to be decided.
    fn resolve_or_ask(&mut self) {
        let id = self.free_id();
        let Some(waiting) = &mut self.waiting else { return };
        if let Some(path) = waiting.paths.get(waiting.resolved) {
            let question = packet::real_path(id, &path.given);
            self.outstanding.insert(id, Outstanding::Resolve);
            self.moves.push_back(Move::Send(Side::Target, question));
        } else if !std::mem::replace(&mut waiting.asked, true) {
            self.moves.push_back(Move::Ask(Asked { request: waiting.request.clone(), paths: waiting.paths.clone() }));
        }
    }

    /// A number that the caller does not use now. It sends nothing that is looked at before the answer is there.
    fn free_id(&self) -> u32 {
        let waiting = self.waiting.as_ref().map(|waiting| waiting.packet.id);
        (0..=u32::MAX).rev().find(|id| !self.outstanding.contains_key(id) && Some(*id) != waiting).unwrap_or(u32::MAX)
    }

    /// A packet of the machine's.
    fn answered(&mut self, packet: Packet) -> Result<(), Malformed> {
        if let Some(version) = packet.version()? {
            if version != VERSION {
                return Err(Malformed("SFTP of another version than 3"));
            }
            self.moves.push_back(Move::Send(Side::Caller, packet.whole));
            return Ok(());
        }
        let outstanding = self.outstanding.remove(&packet.id).ok_or(Malformed("an answer to nothing"))?;
        match outstanding {
            Outstanding::Resolve => {
                self.resolved(packet.named());
                return Ok(());
            }
            Outstanding::Look { operation } => return self.looks(&packet, operation),
            Outstanding::Withheld => return Ok(()),
            Outstanding::Plain => {}
            Outstanding::Decided { operation } => self.moves.push_back(Move::Ended(packet.ended(operation))),
            Outstanding::Open { file, look } => {
                if self.opened(&packet, *file, look)? {
                    return Ok(());
                }
            }
            Outstanding::Read { handle, offset } => {
                if let Some(content) = packet.content() {
                    // Of one that was closed before, nothing: how much of it was looked through is not known any more.
                    let seen = self.files.get_mut(&handle).map_or(&[][..], |file| file.reads(offset, content));
                    if seen.len() < content.len() {
                        self.moves.push_back(Move::Send(Side::Caller, packet::piece(packet.id, seen)));
                        return Ok(());
                    }
                }
            }
            Outstanding::Close { handle } => {
                if let Some(file) = self.files.remove(&handle) {
                    self.moves.push_back(Move::Ended(file.ended("closed")));
                }
            }
        }
        self.moves.push_back(Move::Send(Side::Caller, packet.whole));
        Ok(())
    }

    /// Whether the caller does not have it yet.
    fn opened(&mut self, packet: &Packet, file: File, look: bool) -> Result<bool, Malformed> {
        let operation = file.operation;
        let Some(handle) = packet.given_handle() else {
            self.moves.push_back(Move::Ended(packet.ended(operation)));
            return Ok(false);
        };
        if self.files.len() + self.looked.len() >= MAX_HANDLES || handle.len() > MAX_HANDLE_BYTES {
            return Err(Malformed("more files are open than may be"));
        }
        if self.files.contains_key(handle) || self.looked.values().any(|looked| looked.handle == handle) {
            return Err(Malformed("a handle is given twice"));
        }
        if look {
            let handle = handle.to_vec();
            self.looked.insert(operation, Looked { answer: packet.clone(), handle, file, offset: 0 });
            self.read_on(operation);
        } else {
            self.files.insert(handle.to_vec(), file);
        }
        Ok(look)
    }

    /// Reads the next piece of a file that is looked through: by its own handle, so that it is the very file that the caller gets.
    fn read_on(&mut self, operation: u64) {
        let id = self.free_id();
        if let Some(looked) = self.looked.get(&operation) {
            self.outstanding.insert(id, Outstanding::Look { operation });
            self.moves.push_back(Move::Send(Side::Target, packet::reading(id, &looked.handle, looked.offset, LOOKED_AT_ONCE)));
        }
    }

    /// The machine's answer to that.
    fn looks(&mut self, packet: &Packet, operation: u64) -> Result<(), Malformed> {
        let Some(looked) = self.looked.get_mut(&operation) else { return Ok(()) };
        match packet.content() {
            Some([]) => Err(Malformed("a piece of a file of no length")),
            Some(content) => {
                looked.offset = looked.offset.saturating_add(content.len() as u64);
                if looked.offset > self.max_looked.0 {
                    self.moves.push_back(Move::LookedThrough { operation, whole: false });
                    return Ok(());
                }
                let content = Bytes::copy_from_slice(content);
                self.moves.push_back(Move::Look { operation, content });
                self.read_on(operation);
                Ok(())
            }
            None => {
                self.moves.push_back(Move::LookedThrough { operation, whole: packet.is_end_of_file() });
                Ok(())
            }
        }
    }

    fn resolved(&mut self, path: Option<Vec<u8>>) {
        if let Some(waiting) = &mut self.waiting {
            if let Some(given) = waiting.paths.get_mut(waiting.resolved) {
                given.resolved = path;
            }
            waiting.resolved += 1;
        }
        self.resolve_or_ask();
    }
}

impl File {
    fn new(operation: u64, path: Vec<u8>, readable: bool, writable: bool) -> Self {
        Self { operation, path, readable, writable, closing: false, end: None, read: Tally::default(), written: Tally::default() }
    }

    /// A piece is read: what its caller may have of it.
    fn reads<'c>(&mut self, offset: u64, content: &'c [u8]) -> &'c [u8] {
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(offset));
        let seen = usize::try_from(left).ok().and_then(|left| content.get(..left)).unwrap_or(content);
        if !seen.is_empty() {
            self.read.add(offset, seen);
        }
        seen
    }

    fn ended(self, how: &str) -> Ended {
        let (read, written) = (self.read.bytes(), self.written.bytes());
        let parts = [self.read.in_words("read"), self.written.in_words("wrote")];
        let outcome = std::iter::once(Some(how.to_owned())).chain(parts).flatten().collect::<Vec<_>>().join(", ");
        Ended { operation: self.operation, outcome, failed: false, bytes: read.saturating_add(written) }
    }
}
