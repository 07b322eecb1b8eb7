//! Stands between a client and a server on loopback and keeps each word of the client's with the server's answer.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use anyhow::Result;

/// What a client said, and all that it received before it said something else.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The client's bytes.
    pub said: Vec<u8>,
    /// The server's.
    pub heard: Vec<u8>,
}

/// A relay that keeps what passes. It ends with the process.
#[derive(Debug)]
pub struct Relay {
    /// The port on 127.0.0.1 that clients connect to.
    pub port: u16,
    /// The exchanges, each when the client speaks again or is gone.
    pub exchanges: Receiver<Exchange>,
}

impl Relay {
    /// Relays to a port on 127.0.0.1.
    ///
    /// # Errors
    /// No port is free.
    pub fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let (tell, exchanges) = channel();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let _ = begin(client, server, tell.clone());
            }
        });
        Ok(Self { port, exchanges })
    }
}

fn begin(client: TcpStream, server: TcpStream, tell: Sender<Exchange>) -> Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let exchange = Arc::new(Mutex::new(Exchange::default()));
    let (to_server, to_client, answered) = (server.try_clone()?, client.try_clone()?, exchange.clone());
    thread::spawn(move || {
        pass(server, to_client, |bytes| answered.lock().unwrap_or_else(PoisonError::into_inner).heard.extend(bytes));
    });
    thread::spawn(move || {
        let take = || std::mem::take(&mut *exchange.lock().unwrap_or_else(PoisonError::into_inner));
        pass(client, to_server, |bytes| {
            let mut kept = exchange.lock().unwrap_or_else(PoisonError::into_inner);
            if !kept.heard.is_empty() {
                let _ = tell.send(std::mem::take(&mut *kept)); // nobody may listen any more
            }
            kept.said.extend(bytes);
        });
        let _ = tell.send(take());
    });
    Ok(())
}

/// Everything is told of before it goes on.
fn pass(mut from: TcpStream, mut to: TcpStream, mut tell: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count) = from.read(&mut buffer) {
        let bytes = buffer.get(..count).unwrap_or_default();
        tell(bytes);
        if bytes.is_empty() || to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
