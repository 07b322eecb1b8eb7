//! A client that asks one statement and reads its answer as fast as it comes, looking at nothing but the headers of messages.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::tls::Tls;

const READ_BYTES: usize = 256 << 10;
const HEADER_BYTES: usize = 5;
const PROTOCOL_3_0: i32 = 3 << 16;

/// Whom to be, and where.
pub(crate) struct Login<'a> {
    pub(crate) address: &'a str,
    pub(crate) user: &'a str,
    pub(crate) database: &'a str,
    pub(crate) password: &'a str,
}

/// Signs in, says `ready`, waits for a line on standard input, runs the statement, and prints the bytes of its answer.
pub(crate) async fn run(login: &Login<'_>, statement: &str, tls: Option<Tls>) -> io::Result<()> {
    let stream = TcpStream::connect(login.address).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => read(stream, login, statement).await,
        Some(tls) => read(tls.connect(stream).await?, login, statement).await,
    }
}

async fn read(mut stream: impl AsyncRead + AsyncWrite + Unpin, login: &Login<'_>, statement: &str) -> io::Result<()> {
    let mut body = PROTOCOL_3_0.to_be_bytes().to_vec();
    for text in ["user", login.user, "database", login.database] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    stream.write_all(&with_length(&body)?).await?;
    let password = message(b'p', login.password)?;
    stream.write_all(&password).await?;
    Answer::default().read(&mut stream).await?;
    println!("ready");
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    stream.write_all(&message(b'Q', statement)?).await?;
    println!("{}", Answer::default().read(&mut stream).await?);
    stream.write_all(&[b'X', 0, 0, 0, 4]).await
}

fn with_length(body: &[u8]) -> io::Result<Vec<u8>> {
    let length = i32::try_from(body.len() + 4).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes(), body].concat())
}

fn message(kind: u8, text: &str) -> io::Result<Vec<u8>> {
    let body = with_length(&[text.as_bytes(), &[0]].concat())?;
    Ok([&[kind], body.as_slice()].concat())
}

/// Where in the stream of messages the reader is.
#[derive(Default)]
struct Answer {
    header: Vec<u8>,
    /// What is left of the message's body.
    left: usize,
    error: Option<Vec<u8>>,
}

impl Answer {
    /// Reads up to ReadyForQuery; how many bytes that were.
    async fn read(mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
        let mut buffer = vec![0; READ_BYTES];
        let mut total = 0;
        loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            total += count as u64;
            let ready = self.walk(buffer.get(..count).unwrap_or_default());
            if let Some(error) = &self.error {
                return Err(io::Error::other(String::from_utf8_lossy(error).into_owned()));
            }
            if ready {
                return Ok(total);
            }
        }
    }

    /// Whether these bytes end with ReadyForQuery.
    fn walk(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = 0;
        while !bytes.is_empty() {
            if self.left == 0 {
                let (header, rest) = bytes.split_at((HEADER_BYTES - self.header.len()).min(bytes.len()));
                self.header.extend_from_slice(header);
                bytes = rest;
                let [_, a, b, c, d] = *self.header.as_slice() else { return false };
                self.left = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or_default().saturating_sub(4);
            }
            let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
            if self.header.first() == Some(&b'E') {
                self.error = Some(body.to_vec());
            }
            self.left -= body.len();
            bytes = rest;
            if self.left == 0 {
                ended = self.header.drain(..).next().unwrap_or_default();
            }
        }
        ended == b'Z' && self.header.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_cut() {
        let mut bytes = message(b'D', "a row").unwrap();
        bytes.extend(message(b'D', &"another".repeat(10)).unwrap());
        bytes.extend([b'Z', 0, 0, 0, 5, b'I']);
        for cut in 1..bytes.len() {
            let mut answer = Answer::default();
            let (first, second) = bytes.split_at(cut);
            assert!(!answer.walk(first), "cut at {cut}");
            assert!(answer.walk(second), "cut at {cut}");
        }
    }

    #[test]
    fn an_error_is_kept() {
        let mut answer = Answer::default();
        answer.walk(&message(b'E', "SERROR").unwrap());
        assert_eq!(answer.error.as_deref(), Some(&b"SERROR\0"[..]));
    }
}
