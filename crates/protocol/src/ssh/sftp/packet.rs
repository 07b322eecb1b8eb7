//! Packets of SFTP: a length, a kind, for most a number, and what belongs to the kind.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Ended, Request};
use crate::reader::{Malformed, Reader};

/// Longest packet, in bytes. OpenSSH takes 256 KiB.
pub(super) const MAX_PACKET_BYTES: usize = 1 << 20;

/// Of the length that a packet begins with.
const HEAD_BYTES: usize = 4;

/// What a packet is to whoever passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Init,
    /// It names paths, and is decided.
    Asked,
    RealPath,
    Read,
    Write,
    Close,
    ReadDirectory,
    FileStat,
    FileSetStat,
    CopyData,
    /// An extension that goes by a handle.
    HandleExtension,
    /// An extension that touches no file.
    PlainExtension,
    /// What machines send.
    Answer,
}

/// A whole packet.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// As it goes on.
    pub(super) whole: Bytes,
    code: u8,
    pub(super) kind: Kind,
    /// 0 for the first of each side, which have none.
    pub(super) id: u32,
}

/// Paths a packet names.
pub(super) enum Paths {
    None,
    One(Vec<u8>),
    Two(Vec<u8>, Vec<u8>),
}

impl IntoIterator for Paths {
    type Item = Vec<u8>;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Vec<u8>>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        let paths = match self {
            Self::None => [None, None],
            Self::One(path) => [Some(path), None],
            Self::Two(first, second) => [Some(first), Some(second)],
        };
        paths.into_iter().flatten()
    }
}

// Section 3 of the draft.
const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

// Section 6.3: what a file is opened for.
const FOR_READING: u32 = 1;
const FOR_WRITING: u32 = 2;
const APPENDED: u32 = 4;
const MADE: u32 = 8;
const EMPTIED: u32 = 16;

// Section 7: how something ended.
const OK: u32 = 0;
const END_OF_FILE: u32 = 1;
const PERMISSION_DENIED: u32 = 3;

/// Bytes of one side, cut into packets.
#[derive(Debug, Default)]
pub(super) struct Packets(BytesMut);

impl Packets {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole packet.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, Malformed> {
        if self.0.len() < HEAD_BYTES {
            return Ok(None);
        }
        let length = usize::try_from(Reader::new(&self.0).u32()?).map_err(|_| Malformed("an SFTP packet of a length that none has"))?;
        if length == 0 || length > MAX_PACKET_BYTES {
            return Err(Malformed("an SFTP packet of a length that none has"));
        }
        if self.0.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        Packet::read(self.0.split_to(HEAD_BYTES + length).freeze()).map(Some)
    }
}

impl Packet {
    fn read(whole: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&whole);
        reader.u32()?;
        let code = reader.u8()?;
        let id = if matches!(code, INIT | VERSION) { 0 } else { reader.u32()? };
        let kind = match code {
            INIT => Kind::Init,
            CLOSE => Kind::Close,
            READ => Kind::Read,
            WRITE => Kind::Write,
            READDIR => Kind::ReadDirectory,
            FSTAT => Kind::FileStat,
            FSETSTAT => Kind::FileSetStat,
            REALPATH => Kind::RealPath,
            OPEN | LSTAT | SETSTAT | OPENDIR | REMOVE | MKDIR | RMDIR | STAT | RENAME | READLINK | SYMLINK => Kind::Asked,
            EXTENDED => extension(string(&mut reader)?),
            VERSION | STATUS | HANDLE | DATA | NAME | ATTRS | EXTENDED_REPLY => Kind::Answer,
            _ => return Err(Malformed("an SFTP packet of an unknown kind")),
        };
        Ok(Self { whole, code, kind, id })
    }

    /// What stands behind the number.
    fn body(&self) -> Reader<'_> {
        Reader::new(self.whole.get(9..).unwrap_or_default())
    }

    /// The version that a side speaks; none of any other packet.
    pub(super) fn version(&self) -> Result<Option<u32>, Malformed> {
        if !matches!(self.code, INIT | VERSION) {
            return Ok(None);
        }
        Reader::new(self.whole.get(5..).unwrap_or_default()).u32().map(Some)
    }

    /// The handle that a request goes by.
    pub(super) fn handle(&self) -> Result<Vec<u8>, Malformed> {
        let mut body = self.body();
        if self.code == EXTENDED {
            string(&mut body)?;
        }
        Ok(string(&mut body)?.to_vec())
    }

    pub(super) fn handle_and_offset(&self) -> Result<(Vec<u8>, u64), Malformed> {
        let mut body = self.body();
        let handle = string(&mut body)?.to_vec();
        Ok((handle, u64(&mut body)?))
    }

    /// What is to be written.
    pub(super) fn written(&self) -> Result<&[u8], Malformed> {
        let mut body = self.body();
        string(&mut body)?;
        u64(&mut body)?;
        string(&mut body)
    }

    /// Of `copy-data`: from which, to which.
    pub(super) fn two_handles(&self) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        let mut body = self.body();
        string(&mut body)?;
        let from = string(&mut body)?.to_vec();
        u64(&mut body)?;
        u64(&mut body)?;
        Ok((from, string(&mut body)?.to_vec()))
    }

    /// What is asked for, and of which paths.
    pub(super) fn asked(&self) -> Result<(Request, Paths), Malformed> {
        let mut body = self.body();
        if self.code == EXTENDED {
            return extended(&mut body);
        }
        let path = string(&mut body)?.to_vec();
        let one = |request| Ok((request, Paths::One(path.clone())));
        match self.code {
            OPEN => {
                let flags = body.u32()?;
                // OpenSSH opens for reading what is not opened for writing, whatever else is said of it.
                let read = flags & FOR_READING != 0 || flags & FOR_WRITING == 0;
                let write = flags & (FOR_WRITING | APPENDED | MADE | EMPTIED) != 0;
                one(Request::Open { read, write, truncate: flags & EMPTIED != 0 })
            }
            LSTAT | STAT | READLINK => one(Request::Look),
            SETSTAT => one(Request::Change),
            OPENDIR => one(Request::List),
            REMOVE => one(Request::Remove),
            MKDIR => one(Request::Make),
            RMDIR => one(Request::RemoveDirectory),
            RENAME => Ok((Request::Rename { replaces: false }, Paths::Two(path, string(&mut body)?.to_vec()))),
            // OpenSSH names the target first, whatever the draft says.
            SYMLINK => Ok((Request::Link { symbolic: true }, Paths::Two(path, string(&mut body)?.to_vec()))),
            _ => Err(Malformed("an SFTP packet that asks for nothing")),
        }
    }

    /// Of an answer to where a path leads: its one name.
    pub(super) fn named(&self) -> Option<Vec<u8>> {
        let mut body = self.body();
        let one = self.code == NAME && body.u32().ok()? == 1;
        one.then(|| string(&mut body).ok().map(<[u8]>::to_vec)).flatten()
    }

    /// The handle that an answer gives.
    pub(super) fn given_handle(&self) -> Option<&[u8]> {
        (self.code == HANDLE).then(|| string(&mut self.body()).ok()).flatten()
    }

    /// The content that an answer brings.
    pub(super) fn content(&self) -> Option<&[u8]> {
        (self.code == DATA).then(|| string(&mut self.body()).ok()).flatten()
    }

    /// Whether it says that a file has no more.
    pub(super) fn is_end_of_file(&self) -> bool {
        self.code == STATUS && self.body().u32().is_ok_and(|code| code == END_OF_FILE)
    }

    /// How what was decided ended, by its answer.
    pub(super) fn ended(&self, operation: u64) -> Ended {
        let mut body = self.body();
        let code = if self.code == STATUS { body.u32().unwrap_or(PERMISSION_DENIED) } else { OK };
        let failed = !matches!(code, OK | END_OF_FILE);
        let said = string(&mut body).ok().filter(|_| failed).map(|said| String::from_utf8_lossy(said).into_owned());
        let outcome = said.unwrap_or_else(|| if failed { format!("status {code}") } else { "ok".to_owned() });
        Ended { operation, outcome, failed, bytes: 0 }
    }
}

fn string<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(reader.u32()?).map_err(|_| Malformed("a string is too long"))?;
    reader.take(length)
}

fn u64(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    Ok(u64::from(reader.u32()?) << 32 | u64::from(reader.u32()?))
}

/// OpenSSH's `PROTOCOL`, section 4.
fn extension(name: &[u8]) -> Kind {
    match name {
        b"fstatvfs@openssh.com" | b"fsync@openssh.com" => Kind::HandleExtension,
        b"limits@openssh.com" | b"expand-path@openssh.com" | b"home-directory" | b"users-groups-by-id@openssh.com" => Kind::PlainExtension,
        b"copy-data" => Kind::CopyData,
        _ => Kind::Asked,
    }
}

fn extended(body: &mut Reader<'_>) -> Result<(Request, Paths), Malformed> {
    let name = string(body)?;
    let mut path = || string(body).map(<[u8]>::to_vec);
    Ok(match name {
        b"posix-rename@openssh.com" => (Request::Rename { replaces: true }, Paths::Two(path()?, path()?)),
        b"hardlink@openssh.com" => (Request::Link { symbolic: false }, Paths::Two(path()?, path()?)),
        b"statvfs@openssh.com" => (Request::Look, Paths::One(path()?)),
        b"lsetstat@openssh.com" => (Request::Change, Paths::One(path()?)),
        other => (Request::Extended(String::from_utf8_lossy(other).into_owned()), Paths::None),
    })
}

/// A packet of this kind.
fn made(code: u8, id: u32, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut packet = BytesMut::new();
    packet.put_u32(0);
    packet.put_u8(code);
    packet.put_u32(id);
    body(&mut packet);
    let length = u32::try_from(packet.len().saturating_sub(4)).unwrap_or(u32::MAX);
    if let Some(head) = packet.first_chunk_mut::<4>() {
        *head = length.to_be_bytes();
    }
    packet.freeze()
}

fn put_string(packet: &mut BytesMut, text: &[u8]) {
    packet.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    packet.put_slice(text);
}

/// The first packet of a caller: version 3, without extensions.
pub(super) const fn beginning() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 5, INIT, 0, 0, 0, 3])
}

/// Where a path leads.
pub(super) fn real_path(id: u32, path: &[u8]) -> Bytes {
    made(REALPATH, id, |packet| put_string(packet, path))
}

/// So much of an open file, from there on.
pub(super) fn reading(id: u32, handle: &[u8], offset: u64, length: u32) -> Bytes {
    made(READ, id, |packet| {
        put_string(packet, handle);
        packet.put_u64(offset);
        packet.put_u32(length);
    })
}

/// An open file is closed.
pub(super) fn closing(id: u32, handle: &[u8]) -> Bytes {
    made(CLOSE, id, |packet| put_string(packet, handle))
}

/// A piece of a file; of nothing, that it has no more.
pub(super) fn piece(id: u32, content: &[u8]) -> Bytes {
    if content.is_empty() { status(id, END_OF_FILE, "") } else { made(DATA, id, |packet| put_string(packet, content)) }
}

/// It is not permitted.
pub(super) fn denied(id: u32, sentence: &str) -> Bytes {
    status(id, PERMISSION_DENIED, sentence)
}

fn status(id: u32, code: u32, sentence: &str) -> Bytes {
    made(STATUS, id, |packet| {
        packet.put_u32(code);
        put_string(packet, sentence.as_bytes());
        put_string(packet, b"");
    })
}
