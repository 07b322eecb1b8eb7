//! A client that says exactly the bytes it is told to and keeps exactly the bytes it hears: to compare two servers.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::clients::Login;

/// How long a server may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A message of the server: its type and its body.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heard {
    /// The type byte as a character.
    pub kind: char,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// A connection without TLS that was let in.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// The parameters the server told before it was ready, by name.
    pub parameters: BTreeMap<String, String>,
    /// The process id and secret of BackendKeyData.
    pub key: (u32, u32),
}

impl Wire {
    /// Connects and signs in; the server must ask for the password itself, or for nothing.
    ///
    /// # Errors
    /// It was refused: with the server's words.
    pub fn open(login: &Login, parameters: &[(&str, &str)]) -> Result<Self> {
        Self::over(TcpStream::connect((login.host.as_str(), login.port))?, login, parameters)
    }

    /// Signs in over a connection that is there.
    ///
    /// # Errors
    /// It was refused: with the server's words.
    pub fn over(mut stream: TcpStream, login: &Login, parameters: &[(&str, &str)]) -> Result<Self> {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_nodelay(true)?;
        let own = [("user", login.user.as_str()), ("database", login.database.as_str())];
        stream.write_all(&startup(own.iter().chain(parameters)))?;
        let mut wire = Self { stream, parameters: BTreeMap::new(), key: (0, 0) };
        loop {
            let heard = wire.hear()?;
            let words = heard.body.as_slice();
            match (heard.kind, words.first_chunk::<4>().map(|four| u32::from_be_bytes(*four))) {
                ('R', Some(0)) => {}
                ('R', Some(3)) => wire.say(&message(b'p', &[text(&login.password)]))?,
                ('S', _) => {
                    let mut parts = words.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
                    wire.parameters.extend(parts.next().zip(parts.next()));
                }
                ('K', Some(pid)) => {
                    let secret = words.get(4..).and_then(<[u8]>::first_chunk).map(|four| u32::from_be_bytes(*four));
                    wire.key = (pid, secret.context("BackendKeyData without a secret of four bytes")?);
                }
                ('Z', _) => return Ok(wire),
                _ => bail!("refused: {} {}", heard.kind, String::from_utf8_lossy(words)),
            }
        }
    }

    /// Says these bytes.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The same connection for somebody else to write to while this one hears.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn another_hand(&self) -> Result<TcpStream> {
        Ok(self.stream.try_clone()?)
    }

    /// Hears the next message.
    ///
    /// # Errors
    /// The connection is gone, or silent for too long.
    pub fn hear(&mut self) -> Result<Heard> {
        let mut head = [0u8; 5];
        self.stream.read_exact(&mut head).context("the server said no more")?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length))?.checked_sub(4).context("a length below four")?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Heard { kind: char::from(kind), body })
    }

    /// Hears all messages up to this many of `ReadyForQuery`.
    ///
    /// # Errors
    /// The connection is gone, or silent for too long.
    pub fn hear_until_ready(&mut self, times: usize) -> Result<Vec<Heard>> {
        let mut heard = Vec::new();
        let mut left = times;
        while left > 0 {
            let message = self.hear()?;
            left -= usize::from(message.kind == 'Z');
            heard.push(message);
        }
        Ok(heard)
    }

    /// Whether the server closes the connection and says nothing before.
    ///
    /// # Errors
    /// It is silent for too long and does not close either.
    pub fn ends(&mut self) -> Result<bool> {
        let mut byte = [0u8; 1];
        match self.stream.read(&mut byte) {
            Ok(count) => Ok(count == 0),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// A startup packet of protocol 3.0.
pub fn startup<'a>(parameters: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut body = 196_608u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(text(name));
        body.extend(text(value));
    }
    body.push(0);
    with_length(body)
}

/// A message of this type with these parts.
#[must_use]
pub fn message(kind: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    [vec![kind], with_length(parts.concat())].concat()
}

/// Text that ends with a zero byte.
#[must_use]
pub fn text(words: &str) -> Vec<u8> {
    [words.as_bytes(), &[0]].concat()
}

/// A simple query.
#[must_use]
pub fn query(statement: &str) -> Vec<u8> {
    message(b'Q', &[text(statement)])
}

/// Parse, the types left to the server.
#[must_use]
pub fn parse(name: &str, statement: &str) -> Vec<u8> {
    message(b'P', &[text(name), text(statement), vec![0, 0]])
}

/// Bind of text parameters; `format` 0 asks for text, 1 for binary.
#[must_use]
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&str>], format: i16) -> Vec<u8> {
    let count = u16::try_from(parameters.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    let mut parts = vec![text(portal), text(statement), vec![0, 0], count];
    parts.extend(parameters.iter().map(|value| match value {
        Some(value) => [&i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes(), value.as_bytes()].concat(),
        None => (-1i32).to_be_bytes().to_vec(),
    }));
    parts.push([1i16.to_be_bytes(), format.to_be_bytes()].concat());
    message(b'B', &parts)
}

/// Describe, of a statement (`S`) or a portal (`P`).
#[must_use]
pub fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', &[vec![u8::try_from(kind).unwrap_or(b'?')], text(name)])
}

/// Close, of a statement (`S`) or a portal (`P`).
#[must_use]
pub fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', &[vec![u8::try_from(kind).unwrap_or(b'?')], text(name)])
}

/// Execute with a limit of rows; 0 for none.
#[must_use]
pub fn execute(portal: &str, rows: i32) -> Vec<u8> {
    message(b'E', &[text(portal), rows.to_be_bytes().to_vec()])
}

/// Sync.
#[must_use]
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// Flush.
#[must_use]
pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

fn with_length(body: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [length.to_be_bytes().to_vec(), body].concat()
}
