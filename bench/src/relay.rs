//! The bare relay: what an intermediary costs that copies bytes and does nothing else.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream},
};

use crate::tls::Tls;

/// Read at once from a caller, and from the target: as much as the gateway reads.
const FROM_CALLER_BYTES: usize = 16 << 10;
const FROM_TARGET_BYTES: usize = 64 << 10;

/// Listens on a port of the system's choice, prints its address, and relays every connection to `target` until it is killed.
/// With `tls`, it speaks that on both sides.
pub(crate) async fn run(target: &str, tls: Option<Tls>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (caller, _) = listener.accept().await?;
        let (target, tls) = (target.to_owned(), tls.clone());
        tokio::spawn(async move { connect(caller, &target, tls).await });
    }
}

async fn connect(caller: TcpStream, target: &str, tls: Option<Tls>) -> io::Result<()> {
    let target = TcpStream::connect(target).await?;
    caller.set_nodelay(true)?;
    target.set_nodelay(true)?;
    match tls {
        None => relay(caller, target).await,
        Some(tls) => relay(tls.accept(caller).await?, tls.connect(target).await?).await,
    }
}

async fn relay(mut caller: impl AsyncRead + AsyncWrite + Unpin, mut target: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    copy_bidirectional_with_sizes(&mut caller, &mut target, FROM_CALLER_BYTES, FROM_TARGET_BYTES).await.map(drop)
}
