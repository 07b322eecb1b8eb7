//! One connected stream, whatever carries it, and the queue of what is still to be written to it.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{client, server};

/// A stream to a caller or target.
#[derive(Debug)]
pub enum Link {
    /// Plain TCP, with bytes that were read ahead of it.
    Tcp(Ahead<TcpStream>),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS towards a caller.
    Caller(Box<server::TlsStream<Ahead<TcpStream>>>),
    /// TLS towards a target.
    Target(Box<client::TlsStream<Ahead<TcpStream>>>),
}

/// A stream whose first bytes were already read.
#[derive(Debug)]
pub struct Ahead<S> {
    read: BytesMut,
    stream: S,
}

impl<S> Ahead<S> {
    /// `read` comes before what the stream gives.
    pub const fn new(read: BytesMut, stream: S) -> Self {
        Self { read, stream }
    }

    /// Puts back bytes that were read.
    #[must_use]
    pub fn with_read(mut self, read: BytesMut) -> Self {
        self.read.unsplit(read);
        self
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

macro_rules! each {
    ($link:expr, $stream:ident => $body:expr) => {
        match $link {
            Link::Tcp($stream) => $body,
            Link::Unix($stream) => $body,
            Link::Caller($stream) => $body,
            Link::Target($stream) => $body,
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A link with what is still to be written to it.
///
/// INVARIANT: bytes given to [`Wire::hold_back`] are not written before [`Wire::release`]; that is how nothing goes out before it is recorded.
#[derive(Debug)]
pub struct Wire {
    link: Link,
    queue: VecDeque<Bytes>,
    /// Behind the queue, not to be written yet.
    held_back: Vec<Bytes>,
    /// Bytes in both.
    queued_bytes: usize,
    unflushed: bool,
    /// The other end sends nothing more.
    ended: bool,
    /// The last read took all the room it had.
    busy: bool,
}

/// Room for pieces held back that an idle wire keeps.
const KEPT_PIECES: usize = 64;

/// Room for what a peer sends that mostly sends little: of thousands of idle sessions, each keeps it.
const SMALL_ROOM_BYTES: usize = 2 << 10;

/// Pieces handed to one vectored write.
const MAX_PIECES: usize = 16;

impl Wire {
    /// A link with nothing queued.
    #[must_use]
    pub const fn new(link: Link) -> Self {
        Self { link, queue: VecDeque::new(), held_back: Vec::new(), queued_bytes: 0, unflushed: false, ended: false, busy: false }
    }

    /// Queues bytes behind those already waiting. Only for a wire that holds nothing back.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    /// Takes bytes that may not be written yet.
    pub fn hold_back(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.held_back.push(bytes);
        }
    }

    /// What was held back may be written.
    pub fn release(&mut self) {
        self.queue.extend(self.held_back.drain(..));
        self.held_back.shrink_to(KEPT_PIECES);
    }

    /// Drops what was held back. Whether there was anything.
    pub fn forget_held_back(&mut self) -> bool {
        let bytes: usize = self.held_back.iter().map(Bytes::len).sum();
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        !std::mem::take(&mut self.held_back).is_empty()
    }

    /// Drops everything that was not written yet. Whether there was anything: the other end may then have half a message.
    pub fn forget(&mut self) -> bool {
        let held_back = self.forget_held_back();
        self.queued_bytes = 0;
        !std::mem::take(&mut self.queue).is_empty() || held_back
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub const fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether the other end has closed its sending side.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Writes what waits, as far as the other end takes it. Ready when all of it is gone.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.queue.front() {
            let link = Pin::new(&mut self.link);
            let written = if self.queue.len() == 1 {
                ready!(link.poll_write(cx, first))?
            } else {
                let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
                let mut count = 0;
                for (piece, bytes) in pieces.iter_mut().zip(&self.queue) {
                    *piece = IoSlice::new(bytes);
                    count += 1;
                }
                ready!(link.poll_write_vectored(cx, pieces.get(..count).unwrap_or_default()))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.written(written);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.link).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, mut count: usize) {
        self.queued_bytes -= count.min(self.queued_bytes);
        while count > 0 {
            let Some(front) = self.queue.front_mut() else { return };
            let piece = front.len().min(count);
            front.advance(piece);
            count -= piece;
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
    }

    /// Appends what arrives to `buffer`, at most `room` bytes at once. Ready with how many; with 0 when the other end is done.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut, room: usize) -> Poll<io::Result<usize>> {
        // A buffer that has room is filled further; one that has not gets a whole piece, so that large answers take few reads.
        let room = if self.busy { room } else { room.min(SMALL_ROOM_BYTES) };
        if !self.busy && buffer.is_empty() && buffer.capacity() > 2 * room {
            *buffer = BytesMut::new();
        }
        if buffer.capacity() - buffer.len() < room / 4 {
            buffer.reserve(room);
        }
        let free = buffer.capacity() - buffer.len();
        let read = std::pin::pin!(self.link.read_buf(buffer));
        let count = ready!(read.poll(cx))?;
        self.ended = count == 0;
        self.busy = count == free || (self.busy && count >= SMALL_ROOM_BYTES);
        Poll::Ready(Ok(count))
    }

    /// Writes all that waits, then closes the sending side.
    ///
    /// # Errors
    /// The other end is gone.
    pub async fn finish(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_drain(cx)).await?;
        std::future::poll_fn(|cx| Pin::new(&mut self.link).poll_shutdown(cx)).await
    }

    /// Writes all that waits.
    ///
    /// # Errors
    /// The other end is gone.
    pub async fn drain(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_drain(cx)).await
    }

    /// Reads once, appending to `buffer`; 0 when the other end is done.
    ///
    /// # Errors
    /// The other end is gone.
    pub async fn fill(&mut self, buffer: &mut BytesMut, room: usize) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx, buffer, room)).await
    }

    /// The link, for a handshake. What is queued must have been drained.
    #[must_use]
    pub fn into_link(self) -> Link {
        self.link
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Wire, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Wire::new(Link::Unix(ours)), theirs)
    }

    #[tokio::test]
    async fn what_is_held_back_goes_out_when_it_is_released_and_never_when_it_is_forgotten() {
        let (mut wire, mut theirs) = pair();
        wire.hold_back(Bytes::from_static(b"recorded "));
        wire.drain().await.unwrap();
        assert_eq!(wire.queued_bytes(), 9);
        wire.release();
        wire.hold_back(Bytes::from_static(b"not recorded"));
        wire.drain().await.unwrap();
        assert!(wire.forget_held_back() && !wire.forget_held_back() && !wire.forget());
        wire.push(Bytes::from_static(b"last words"));
        wire.finish().await.unwrap();
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"recorded last words");
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_leaves_all_of_it_counted() {
        let (mut wire, mut theirs) = pair();
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        for _ in 0..4 {
            wire.push(piece.clone());
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(wire.poll_drain(&mut cx).is_pending());
        let waiting = wire.queued_bytes();
        assert!(waiting > 0 && waiting < 4 << 20);
        let read = async {
            let mut read = vec![0; 4 << 20];
            theirs.read_exact(&mut read).await.unwrap();
            theirs.write_all(b"done").await.unwrap();
        };
        let (drained, ()) = tokio::join!(wire.drain(), read);
        drained.unwrap();
        assert_eq!(wire.queued_bytes(), 0);
        let mut answer = BytesMut::new();
        assert_eq!(wire.fill(&mut answer, 64).await.unwrap(), 4);
    }
}
