//! The caller's side of the login: TLS first, then who it is, then its secret. Nobody is looked up here.

use bytes::{Buf, BytesMut};
use model::Secret;
use zeroize::Zeroize;

pub use super::startup::{Parameter, Startup};
use crate::{
    Side,
    postgres::{
        frame::{self, HEAD_BYTES, Limits},
        message::{backend, frontend::Frontend},
        refusal::{Refusal, Sqlstate},
    },
    reader::Reader,
};

/// The ALPN name of the protocol, which a direct TLS handshake must carry: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>.
pub const ALPN: &[u8] = b"postgresql";

const CANCEL_REQUEST: i32 = 80_877_102;
const SSL_REQUEST: i32 = 80_877_103;
const GSSENC_REQUEST: i32 = 80_877_104;

/// The first byte of a TLS record that holds a handshake. As the first byte of a startup packet it would be a length of 369 million.
const TLS_HANDSHAKE: u8 = 0x16;

/// Where a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// On this machine: a loopback address or a Unix socket. It may speak without TLS.
    Loopback,
    /// Anywhere else.
    Remote,
}

/// Whether the listener has a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsOffer {
    /// It has.
    Offered,
    /// It has none.
    Unavailable,
}

/// What to do next. Write `out` first.
#[derive(Debug)]
pub enum CallerMove {
    /// Read more, then call [`CallerLogin::receive`] again.
    Read,
    /// Do a TLS handshake as server, giving it first what is left in `input` (nothing but in direct TLS), then call [`CallerLogin::secured`]
    /// and read into an empty `input`.
    StartTls,
    /// Cancel what that key stands for, if anything, and close without an answer.
    Cancel(CancelRequest),
    /// Find out whether that is the caller's secret. If it is, [`backend::authentication_ok`] comes next; otherwise [`Refusal::wrong_password`],
    /// for whatever reason.
    SignIn(Box<SignIn>),
    /// `out` holds the refusal: close.
    Refused(Refusal),
    /// Close without an answer; the text says why, for the log.
    Close(&'static str),
}

/// A caller's wish to have its running statement cancelled.
#[derive(Debug)]
pub struct CancelRequest {
    /// The process id it was given.
    pub process_id: i32,
    /// The secret it was given, 4 to 256 bytes.
    pub secret: Secret,
}

/// A caller that said who it is.
#[derive(Debug)]
pub struct SignIn {
    /// What it asked for.
    pub startup: Startup,
    /// What it proves itself with: a password or token; may be empty.
    pub secret: Secret,
}

/// One caller's login.
#[derive(Debug)]
pub struct CallerLogin {
    peer: Peer,
    tls: TlsOffer,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was read yet: the caller may begin with a TLS handshake.
    Untouched,
    /// In the clear, after an answer of `N`. What was asked once may not be asked again.
    Clear { ssl: Asked, gss: Asked },
    /// The driver does the handshake.
    Handshake(Opening),
    /// Inside TLS: only a startup or a cancel may come.
    Secured,
    /// The secret was asked for.
    Password(Box<Startup>),
    /// Over, one way or another.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
}

/// How TLS came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Requested,
    Direct,
}

impl CallerLogin {
    /// Before anything was read.
    #[must_use]
    pub const fn new(peer: Peer, tls: TlsOffer) -> Self {
        Self { peer, tls, state: State::Untouched }
    }

    /// Takes what arrived, as far as it is whole. The secret is wiped from `input`.
    pub fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> CallerMove {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::Untouched if input.first() == Some(&TLS_HANDSHAKE) => self.direct(),
            State::Untouched => self.first_packet(State::Untouched, Asked::No, Asked::No, input, out),
            State::Clear { ssl, gss } => self.first_packet(State::Clear { ssl, gss }, ssl, gss, input, out),
            State::Secured => self.first_packet(State::Secured, Asked::Yes, Asked::Yes, input, out),
            State::Password(startup) => self.password(startup, input),
            State::Handshake(_) => Ok(CallerMove::Close("bytes outside the TLS handshake")),
            State::Over => Ok(CallerMove::Close("bytes after the login was over")),
        };
        step.unwrap_or_else(|refusal| refuse(refusal, out))
    }

    /// The handshake is done; `alpn` is the protocol it agreed on.
    pub fn secured(&mut self, alpn: Option<&[u8]>, out: &mut BytesMut) -> CallerMove {
        let opening = std::mem::replace(&mut self.state, State::Over);
        match (opening, alpn) {
            (State::Handshake(Opening::Direct), None) => {
                let why = "received direct SSL connection request without ALPN protocol negotiation extension";
                refuse(Refusal::new(Sqlstate::PROTOCOL_VIOLATION, why), out)
            }
            (State::Handshake(_), Some(other)) if other != ALPN => {
                refuse(Refusal::new(Sqlstate::PROTOCOL_VIOLATION, "received SSL connection request with unexpected ALPN protocol"), out)
            }
            (State::Handshake(_), _) => {
                self.state = State::Secured;
                CallerMove::Read
            }
            _ => CallerMove::Close("a TLS handshake nobody asked for"),
        }
    }

    fn direct(&mut self) -> Result<CallerMove, Refusal> {
        if self.tls == TlsOffer::Unavailable {
            return Ok(CallerMove::Close("direct TLS, but the listener has no certificate"));
        }
        self.state = State::Handshake(Opening::Direct);
        Ok(CallerMove::StartTls)
    }

    /// A packet without a type: a request to protect the link, to cancel, or to begin. `here` is the state to stay in until it is whole.
    fn first_packet(&mut self, here: State, ssl: Asked, gss: Asked, input: &mut BytesMut, out: &mut BytesMut) -> Result<CallerMove, Refusal> {
        let Ok(whole) = frame::startup(input) else { return Ok(CallerMove::Close("invalid length of startup packet")) };
        let Some(len) = whole.filter(|&len| len <= input.len()) else {
            self.state = here;
            return Ok(CallerMove::Read);
        };
        let packet = input.split_to(len);
        let mut reader = Reader::new(&packet);
        let (_, code) = (reader.i32()?, reader.i32()?);
        match code {
            SSL_REQUEST if ssl == Asked::No => {
                reader.finish()?;
                self.ssl(gss, input, out)
            }
            GSSENC_REQUEST if gss == Asked::No => {
                reader.finish()?;
                nothing_stuffed(input, "received unencrypted data after GSSAPI encryption request")?;
                out.extend_from_slice(b"N");
                self.state = State::Clear { ssl, gss: Asked::Yes };
                Ok(CallerMove::Read)
            }
            CANCEL_REQUEST => Ok(cancel(reader)),
            _ => {
                let secured = matches!(here, State::Secured);
                self.startup(&packet, secured, out)
            }
        }
    }

    fn ssl(&mut self, gss: Asked, input: &BytesMut, out: &mut BytesMut) -> Result<CallerMove, Refusal> {
        nothing_stuffed(input, "received unencrypted data after SSL request")?;
        match self.tls {
            TlsOffer::Offered => {
                out.extend_from_slice(b"S");
                self.state = State::Handshake(Opening::Requested);
                Ok(CallerMove::StartTls)
            }
            TlsOffer::Unavailable => {
                out.extend_from_slice(b"N");
                self.state = State::Clear { ssl: Asked::Yes, gss };
                Ok(CallerMove::Read)
            }
        }
    }

    fn startup(&mut self, packet: &[u8], secured: bool, out: &mut BytesMut) -> Result<CallerMove, Refusal> {
        let startup = Startup::decode(packet)?;
        if !secured && self.peer == Peer::Remote {
            return Err(Refusal::new(Sqlstate::INVALID_AUTHORIZATION, "this gateway takes secrets only inside TLS")
                .hint("Connect with sslmode=verify-full and sslrootcert set to the gateway's CA certificate."));
        }
        if startup.needs_negotiation() {
            let unknown: Vec<&[u8]> = startup.unknown_options.iter().map(Vec::as_slice).collect();
            // INVARIANT: the names were read as strings of the packet, so they hold no NUL.
            backend::negotiate_protocol_version(out, &unknown).map_err(|_| Refusal::new(Sqlstate::INTERNAL_ERROR, "could not negotiate"))?;
        }
        backend::authentication_cleartext_password(out);
        self.state = State::Password(Box::new(startup));
        Ok(CallerMove::Read)
    }

    fn password(&mut self, startup: Box<Startup>, input: &mut BytesMut) -> Result<CallerMove, Refusal> {
        let expected = |tag: u8| Refusal::new(Sqlstate::PROTOCOL_VIOLATION, format!("expected password response, got message type {tag}"));
        if let Some(&tag) = input.first().filter(|&&tag| tag != b'p') {
            return Err(expected(tag));
        }
        let head = frame::head(input, Side::Caller, &Limits::default())?;
        let Some(head) = head.filter(|head| head.len <= input.len()) else {
            self.state = State::Password(startup);
            return Ok(CallerMove::Read);
        };
        let mut message = input.split_to(head.len);
        let secret = take_secret(&mut message)?;
        Ok(CallerMove::SignIn(Box::new(SignIn { startup: *startup, secret })))
    }
}

/// The secret of a whole PasswordMessage, which holds it no longer.
fn take_secret(message: &mut [u8]) -> Result<Secret, Refusal> {
    let secret = match Frontend::decode(b'p', message.get(HEAD_BYTES..).unwrap_or_default()) {
        Ok(Frontend::Password(secret)) => Ok(Secret::new(secret.to_vec())),
        _ => Err(Refusal::new(Sqlstate::PROTOCOL_VIOLATION, "invalid password packet size")),
    };
    message.zeroize();
    secret
}

fn refuse(refusal: Refusal, out: &mut BytesMut) -> CallerMove {
    refusal.fatal(out);
    CallerMove::Refused(refusal)
}

/// Bytes that came with the request, before the answer, did not come through the protected link: somebody may have put them there (CVE-2021-23214).
fn nothing_stuffed(input: &BytesMut, why: &str) -> Result<(), Refusal> {
    if input.has_remaining() {
        return Err(Refusal::new(Sqlstate::PROTOCOL_VIOLATION, why)
            .detail("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."));
    }
    Ok(())
}

/// PostgreSQL answers a cancel request with nothing, whatever is wrong with it.
fn cancel(mut reader: Reader<'_>) -> CallerMove {
    let Ok(process_id) = reader.i32() else { return CallerMove::Close("invalid length of cancel request packet") };
    let secret = reader.bytes();
    if !(4..=256).contains(&secret.len()) {
        return CallerMove::Close("invalid length of cancel request packet");
    }
    CallerMove::Cancel(CancelRequest { process_id, secret: Secret::new(secret.to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_message_is_wiped_whether_it_was_one_or_not() {
        for (message, secret) in [(&b"p\0\0\0\x0bhunter\0"[..], Some(&b"hunter"[..])), (b"p\0\0\0\x0ahunter", None), (b"p\0\0\0\x0chunt\0er\0", None)]
        {
            let mut message = message.to_vec();
            let taken = take_secret(&mut message).ok();
            assert_eq!(taken.as_ref().map(Secret::reveal), secret);
            assert!(message.iter().all(|&byte| byte == 0));
        }
    }
}
