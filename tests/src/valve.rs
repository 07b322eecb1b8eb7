//! A relay on loopback that can fall silent: as a network does that drops everything, it closes nothing and passes nothing on.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

use anyhow::Result;

/// It relays as long as this lives, and until it is closed nothing is held back.
#[derive(Debug)]
pub struct Valve {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Gone,
}

impl Valve {
    /// Relays to a port on 127.0.0.1.
    ///
    /// # Errors
    /// No port is free.
    pub fn before(target: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new((Mutex::new(State::Open), Condvar::new()));
        let shared = state.clone();
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                if passes(&shared) == State::Gone {
                    return;
                }
                let Ok(target) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                for (from, to) in [(caller.try_clone(), target.try_clone()), (Ok(target), Ok(caller))] {
                    let (Ok(from), Ok(to), shared) = (from, to, shared.clone()) else { continue };
                    thread::spawn(move || relay(from, to, &shared));
                }
            }
        });
        Ok(Self { port, state })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Passes nothing on from now on.
    pub fn close(&self) {
        self.set(State::Closed);
    }

    /// Passes everything on again, also what came meanwhile.
    pub fn open(&self) {
        self.set(State::Open);
    }

    fn set(&self, state: State) {
        *self.state.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.state.1.notify_all();
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.set(State::Gone);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the listener
    }
}

/// Waits until it is not closed.
fn passes(shared: &(Mutex<State>, Condvar)) -> State {
    let state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    *shared.1.wait_while(state, |state| *state == State::Closed).unwrap_or_else(PoisonError::into_inner)
}

fn relay(mut from: TcpStream, mut to: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let mut bytes = [0u8; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let whole = bytes.get(..read).unwrap_or_default();
        if passes(shared) == State::Gone || to.write_all(whole).is_err() {
            break;
        }
    }
    passes(shared);
    let _ = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}
