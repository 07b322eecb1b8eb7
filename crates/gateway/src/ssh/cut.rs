//! A stream that can be cut from outside, whatever whoever reads and writes it waits for.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flow::Flow;

/// Cuts the stream it was made with.
#[derive(Debug, Clone, Default)]
pub(super) struct Scissors(Arc<Cut>);

#[derive(Debug, Default)]
struct Cut {
    done: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Scissors {
    /// From here on nothing is read or written.
    pub(super) fn cut(&self) {
        self.0.done.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }
}

/// A stream until it is cut.
#[derive(Debug)]
pub(super) struct Cuttable<S> {
    stream: S,
    cut: Arc<Cut>,
    /// Says when it is not read for now.
    flow: Option<Arc<Flow>>,
}

impl<S> Cuttable<S> {
    pub(super) fn new(stream: S, scissors: &Scissors) -> Self {
        Self { stream, cut: scissors.0.clone(), flow: None }
    }

    /// Read only as far as what was read is taken.
    pub(super) fn flowing(mut self, flow: Arc<Flow>) -> Self {
        self.flow = Some(flow);
        self
    }

    fn whole(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        waker.register(cx.waker());
        if self.cut.done.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.whole(&self.cut.reader, cx)?;
        if self.flow.as_ref().is_some_and(|flow| flow.poll_read(cx).is_pending()) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.whole(&self.cut.writer, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole(&self.cut.writer, cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole(&self.cut.writer, cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_silent_peer_is_woken_by_the_cut() {
        let (ours, _theirs) = tokio::io::duplex(1);
        let scissors = Scissors::default();
        let (mut reader, mut writer) = tokio::io::split(Cuttable::new(ours, &scissors));
        let reading = async { reader.read_u8().await.unwrap_err().kind() };
        let writing = async { writer.write_all(b"more than fits").await.unwrap_err().kind() };
        let cutting = async { scissors.cut() };
        let (read, written, ()) = tokio::join!(reading, writing, cutting);
        assert_eq!((read, written), (io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionAborted));
    }
}
