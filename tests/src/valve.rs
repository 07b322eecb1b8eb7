//! A relay on loopback that can fall silent: as a network does that drops everything, it closes nothing and passes nothing on. It can also put other
//! words into the target's mouth.

use std::{
    fmt,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::Result;

/// It relays as long as this lives, and until it is closed nothing is held back.
#[derive(Debug)]
pub struct Valve {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    alteration: Mutex<Option<Alteration>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Gone,
}

type Harm = Box<dyn Fn(&[u8]) -> Vec<u8> + Send>;

/// What becomes of the words in which the target says something.
struct Alteration {
    of: String,
    harm: Harm,
    then: Then,
}

/// What the altered connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    GoOn,
    /// It is closed.
    Close,
    /// It says nothing more and still listens: half of it is closed.
    SayNoMore,
}

impl Valve {
    /// Relays to a port on 127.0.0.1.
    ///
    /// # Errors
    /// No port is free.
    pub fn before(target: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared { state: Mutex::new(State::Open), changed: Condvar::new(), alteration: Mutex::new(None) });
        let valve = Self { port, shared: shared.clone() };
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                if shared.passes() == State::Gone {
                    return;
                }
                let Ok(target) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let _ = (caller.set_nodelay(true), target.set_nodelay(true));
                let (Ok(from), Ok(to)) = (caller.try_clone(), target.try_clone()) else { continue };
                let (there, back) = (shared.clone(), shared.clone());
                thread::spawn(move || there.relay(from, to, false));
                thread::spawn(move || back.relay(target, caller, true));
            }
        });
        Ok(valve)
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

    /// Whenever the target says `of`, `harm` makes something else of all that came with it. What was set before is forgotten.
    pub fn alter(&self, of: &str, harm: impl Fn(&[u8]) -> Vec<u8> + Send + 'static, then: Then) {
        *locked(&self.shared.alteration) = Some(Alteration { of: of.to_owned(), harm: Box::new(harm), then });
    }

    fn set(&self, state: State) {
        *locked(&self.shared.state) = state;
        self.shared.changed.notify_all();
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.set(State::Gone);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the listener
    }
}

impl Shared {
    /// Waits until it is not closed.
    fn passes(&self) -> State {
        *self.changed.wait_while(locked(&self.state), |state| *state == State::Closed).unwrap_or_else(PoisonError::into_inner)
    }

    fn relay(&self, mut from: TcpStream, mut to: TcpStream, from_target: bool) {
        let mut bytes = [0u8; 16 << 10];
        let mut then = Then::GoOn;
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let whole = bytes.get(..read).unwrap_or_default();
            if self.passes() == State::Gone {
                break;
            }
            let altered = from_target.then(|| self.altered(whole)).flatten();
            let (said, next) = altered.as_ref().map_or((whole, Then::GoOn), |(said, then)| (said.as_slice(), *then));
            if to.write_all(said).is_err() || next != Then::GoOn {
                then = next;
                break;
            }
        }
        self.passes();
        if then == Then::SayNoMore {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn altered(&self, said: &[u8]) -> Option<(Vec<u8>, Then)> {
        let alteration = locked(&self.alteration);
        let alteration = alteration.as_ref().filter(|it| said.windows(it.of.len()).any(|window| window == it.of.as_bytes()))?;
        Some(((alteration.harm)(said), alteration.then))
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Alteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alteration").field("of", &self.of).field("then", &self.then).finish_non_exhaustive()
    }
}
