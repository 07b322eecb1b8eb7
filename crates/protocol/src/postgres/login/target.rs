//! The target's side of the login: TLS first where it is due, then a startup packet of our own making, then the proof.
//!
//! The server's certificate is checked by whoever does the handshake. A server inside TLS is therefore known; a proof that
//! it knows the secret is asked for on top wherever it offers SCRAM.

use std::fmt;

use bytes::BytesMut;
use md5::{Digest as _, Md5};
use model::Secret;
use zeroize::{Zeroize, Zeroizing};

use super::{
    scram::{self, Binding, ExpectServerFinal, ExpectServerFirst, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError},
    startup::Parameter,
};
use crate::{
    Side,
    postgres::{
        frame::{self, FrameError, HEAD_BYTES, Limits},
        message::{
            Unencodable,
            backend::{Authentication, BackendKeyData, Mechanisms, ParameterStatus, Report, Transaction},
            frontend,
        },
    },
    reader::Malformed,
};

/// The most a target may send before it is ready, in bytes.
pub const MAX_LOGIN_BYTES: usize = 1 << 20;

/// How the link to the target is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// TLS, with the server's certificate checked.
    Tls,
    /// None: a loopback address or a Unix socket.
    Loopback,
}

/// What the gateway signs in with.
#[derive(Debug, Clone)]
pub struct TargetWish {
    /// How the link is protected.
    pub link: Link,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The true identity and session, for the target's own logs. It comes last, so that it wins over one hidden in `options`.
    pub application_name: String,
    /// The caller's other parameters, in order. An `application_name` among them is left out.
    pub parameters: Vec<Parameter>,
    /// The role's password, if it has one.
    pub password: Option<Secret>,
    /// Random, base64, at least [`scram::MIN_NONCE_CHARS`] long, new for every login.
    pub nonce: String,
}

/// What to do next. Write `out` first, and wipe it: it may hold the password.
#[derive(Debug)]
pub enum TargetMove {
    /// Read more, then call [`TargetLogin::receive`] again.
    Read,
    /// Do a TLS handshake as client, then call [`TargetLogin::secured`].
    StartTls,
    /// Signed in; the target waits for the first statement.
    Ready(Box<TargetReady>),
    /// Close.
    Failed(TargetFailure),
}

/// A target that is ready.
#[derive(Debug, Clone)]
pub struct TargetReady {
    /// What a CancelRequest must carry; a proxy in between may give none.
    pub key: Option<CancelKey>,
    /// Name and value of every ParameterStatus, in order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// The bodies of every NoticeResponse, in order.
    pub notices: Vec<Vec<u8>>,
    /// Always [`Transaction::Idle`], from a target that is sane.
    pub transaction: Transaction,
}

/// What a CancelRequest must carry.
#[derive(Debug, Clone)]
pub struct CancelKey {
    /// The server process; what `pg_backend_pid()` says.
    pub process_id: i32,
    /// 4 to 256 bytes.
    pub secret: Secret,
}

/// What an ErrorResponse said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportedError {
    /// `FATAL`, `ERROR` …
    pub severity: String,
    /// The code; empty if it was none.
    pub sqlstate: String,
    /// The sentence.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ReportedError {
    /// Takes what people read out of a report. Bytes that are not UTF-8 are shown as U+FFFD.
    #[must_use]
    pub fn of(report: Report<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            severity: report.severity().map(text).unwrap_or_default(),
            sqlstate: report.sqlstate().unwrap_or_default().to_owned(),
            message: text(report.message()),
            detail: report.field(b'D').map(text),
            hint: report.field(b'H').map(text),
        }
    }
}

impl fmt::Display for ReportedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.severity, model::name::printable(&self.message), self.sqlstate)
    }
}

/// Why the gateway could not sign in. For operators; a caller learns only that it could not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetFailure {
    /// The server answered that it does not do TLS.
    #[error("the target does not offer TLS: turn it on there (ssl = on), or reach it over loopback with tls = \"loopback-plain\"")]
    TlsNotOffered,
    /// The answer to the request for TLS was neither yes nor no.
    #[error("the target answered a request for TLS with byte {0:#04x}: it is not a PostgreSQL server")]
    NotPostgres(u8),
    /// Bytes came before the handshake: somebody put them there (CVE-2021-23222).
    #[error("the target sent bytes before the TLS handshake: somebody on the way may have inserted them")]
    Stuffed,
    /// The server asks for a password and the connection has none.
    #[error("the target asks for a password, and the connection's file names none")]
    NoPassword,
    /// The connection's password holds a NUL byte.
    #[error("the password of the connection holds a NUL byte")]
    PasswordHoldsNul,
    /// Neither PLUS nor plain SCRAM-SHA-256 is offered.
    #[error("the target offers no SASL mechanism the gateway knows: {0}")]
    NoMechanism(String),
    /// A mechanism that needs TLS was offered without it: somebody ends TLS in between.
    #[error("the target offers SCRAM-SHA-256-PLUS outside TLS: somebody on the way may have ended it")]
    PlusOutsideTls,
    /// Kerberos, GSSAPI, SSPI or something newer.
    #[error("the target asks for authentication method {0}, which the gateway does not do: use scram-sha-256 in pg_hba.conf")]
    Method(i32),
    /// The SCRAM exchange failed.
    #[error(transparent)]
    Scram(#[from] ScramError),
    /// The server says no.
    #[error("the target refused: {0}")]
    Reported(ReportedError),
    /// A message that cannot come now.
    #[error("the target sent message type {0:#04x} where it cannot")]
    Unexpected(u8),
    /// A message that cannot be.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message that is not one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// More than [`MAX_LOGIN_BYTES`].
    #[error("the target sent more than {MAX_LOGIN_BYTES} bytes before it was ready")]
    TooMuch,
    /// The startup packet would be too long, or a parameter holds a NUL.
    #[error("the startup packet for the target cannot be written: a parameter is too long")]
    Startup,
}

/// One login at a target.
#[derive(Debug)]
pub struct TargetLogin {
    wish: TargetWish,
    /// The server certificate's hash, once the handshake is done.
    end_point: Option<Vec<u8>>,
    state: State,
    received_bytes: usize,
    ready: TargetReady,
}

#[derive(Debug)]
enum State {
    /// SSLRequest was sent.
    TlsAnswer,
    /// The driver does the handshake.
    Handshake,
    /// The startup packet was sent; the server says what it wants.
    Challenge,
    /// A password was sent, plain or hashed; only a yes may come.
    Password,
    ServerFirst(ExpectServerFirst),
    ServerFinal(ExpectServerFinal),
    /// The server proved that it knows the secret.
    Proven,
    /// Let in; the server says how it is set up.
    Settling,
    Over,
}

impl TargetLogin {
    /// Begins: appends the request for TLS, or the startup packet where there is none.
    ///
    /// # Errors
    /// The startup packet cannot be written.
    pub fn begin(wish: TargetWish, out: &mut BytesMut) -> Result<Self, TargetFailure> {
        let state = match wish.link {
            Link::Tls => {
                // Written now to be refused now, not after a handshake.
                startup(&wish, &mut BytesMut::new())?;
                frontend::ssl_request(out);
                State::TlsAnswer
            }
            Link::Loopback => {
                startup(&wish, out)?;
                State::Challenge
            }
        };
        let ready = TargetReady { key: None, parameters: Vec::new(), notices: Vec::new(), transaction: Transaction::Idle };
        Ok(Self { wish, end_point: None, state, received_bytes: 0, ready })
    }

    /// The handshake is done and the certificate was checked. `end_point` is its `tls-server-end-point` hash
    /// ([`scram::EndPointHash`]); none if its signature has no single hash.
    pub fn secured(&mut self, end_point: Option<Vec<u8>>, out: &mut BytesMut) -> TargetMove {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Handshake => {
                self.end_point = end_point;
                match startup(&self.wish, out) {
                    Ok(()) => {
                        self.state = State::Challenge;
                        TargetMove::Read
                    }
                    Err(failure) => TargetMove::Failed(failure),
                }
            }
            _ => TargetMove::Failed(TargetFailure::Stuffed),
        }
    }

    /// Takes what arrived, as far as it is whole.
    pub fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> TargetMove {
        let step = match self.state {
            State::TlsAnswer => self.tls_answer(input),
            State::Handshake => Err(TargetFailure::Stuffed),
            _ => self.messages(input, out),
        };
        step.unwrap_or_else(|failure| {
            self.state = State::Over;
            TargetMove::Failed(failure)
        })
    }

    fn tls_answer(&mut self, input: &mut BytesMut) -> Result<TargetMove, TargetFailure> {
        match *input.as_ref() {
            [] => Ok(TargetMove::Read),
            [b'S'] => {
                input.clear();
                self.state = State::Handshake;
                Ok(TargetMove::StartTls)
            }
            [b'S', ..] => Err(TargetFailure::Stuffed),
            [b'N', ..] => Err(TargetFailure::TlsNotOffered),
            // Also `E`: an error outside TLS may come from anybody, so it is not read (CVE-2024-10977).
            [other, ..] => Err(TargetFailure::NotPostgres(other)),
        }
    }

    fn messages(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<TargetMove, TargetFailure> {
        while let Some(head) = frame::head(input, Side::Target, &Limits::default())? {
            if self.received_bytes.saturating_add(head.len) > MAX_LOGIN_BYTES {
                return Err(TargetFailure::TooMuch);
            }
            if input.len() < head.len {
                return Ok(TargetMove::Read);
            }
            self.received_bytes += head.len;
            let mut message = input.split_to(head.len);
            let done = self.message(head.tag, message.get(HEAD_BYTES..).unwrap_or_default(), out)?;
            if head.tag == b'K' {
                message.as_mut().zeroize();
            }
            if let Some(transaction) = done {
                return Ok(TargetMove::Ready(Box::new(self.settled(transaction))));
            }
        }
        Ok(TargetMove::Read)
    }

    /// One message; gives the transaction status of a ReadyForQuery.
    fn message(&mut self, tag: u8, body: &[u8], out: &mut BytesMut) -> Result<Option<Transaction>, TargetFailure> {
        match (tag, std::mem::replace(&mut self.state, State::Over)) {
            (b'E', _) => return Err(TargetFailure::Reported(ReportedError::of(Report::decode(body)?))),
            (b'N', state) => {
                Report::decode(body)?;
                self.ready.notices.push(body.to_vec());
                self.state = state;
            }
            (b'R', state) => self.state = self.authenticate(state, Authentication::decode(body)?, out)?,
            (b'S', State::Settling) => {
                let status = ParameterStatus::decode(body)?;
                self.ready.parameters.push((status.name.to_vec(), status.value.to_vec()));
                self.state = State::Settling;
            }
            (b'K', State::Settling) if self.ready.key.is_none() => {
                let key = BackendKeyData::decode(body)?;
                self.ready.key = Some(CancelKey { process_id: key.process_id, secret: Secret::new(key.secret.to_vec()) });
                self.state = State::Settling;
            }
            (b'Z', State::Settling) => return Ok(Some(Transaction::decode(body)?)),
            // Also NegotiateProtocolVersion: 3.0 without options was asked for, so there is nothing to negotiate.
            (tag, _) => return Err(TargetFailure::Unexpected(tag)),
        }
        Ok(None)
    }

    fn settled(&mut self, transaction: Transaction) -> TargetReady {
        let empty = TargetReady { key: None, parameters: Vec::new(), notices: Vec::new(), transaction };
        TargetReady { transaction, ..std::mem::replace(&mut self.ready, empty) }
    }

    fn authenticate(&self, state: State, asked: Authentication<'_>, out: &mut BytesMut) -> Result<State, TargetFailure> {
        match (state, asked) {
            (State::Challenge | State::Password | State::Proven, Authentication::Ok) => Ok(State::Settling),
            (State::ServerFirst(_) | State::ServerFinal(_), Authentication::Ok) => Err(ScramError::Unproven.into()),
            // Inside TLS, to a server whose certificate was checked, or on this machine: `Link` has no third.
            (State::Challenge, Authentication::CleartextPassword) => self.cleartext(out),
            (State::Challenge, Authentication::Md5Password { salt }) => self.md5(salt, out),
            (State::Challenge, Authentication::Sasl(offered)) => self.scram(offered, out),
            (State::ServerFirst(exchange), Authentication::SaslContinue(data)) => {
                let (exchange, last) = exchange.answer(data, self.password()?)?;
                frontend::sasl_response(out, &last).map_err(|Unencodable| TargetFailure::Startup)?;
                Ok(State::ServerFinal(exchange))
            }
            (State::ServerFinal(exchange), Authentication::SaslFinal(data)) => {
                exchange.verify(data)?;
                Ok(State::Proven)
            }
            (State::Challenge, Authentication::Other(code)) => Err(TargetFailure::Method(code)),
            _ => Err(TargetFailure::Unexpected(b'R')),
        }
    }

    fn cleartext(&self, out: &mut BytesMut) -> Result<State, TargetFailure> {
        frontend::password(out, self.password()?).map_err(|Unencodable| TargetFailure::PasswordHoldsNul)?;
        Ok(State::Password)
    }

    fn md5(&self, salt: [u8; 4], out: &mut BytesMut) -> Result<State, TargetFailure> {
        let hashed = md5_password(self.wish.user.as_bytes(), self.password()?, salt);
        frontend::password(out, hashed.as_bytes()).map_err(|Unencodable| TargetFailure::PasswordHoldsNul)?;
        Ok(State::Password)
    }

    fn scram(&self, offered: Mechanisms<'_>, out: &mut BytesMut) -> Result<State, TargetFailure> {
        self.password()?;
        let (mechanism, binding) = choose(offered, self.wish.link, self.end_point.as_deref())?;
        let (exchange, first) = scram::begin(binding, "", &self.wish.nonce)?;
        frontend::sasl_initial_response(out, mechanism.as_bytes(), &first).map_err(|Unencodable| TargetFailure::Startup)?;
        Ok(State::ServerFirst(exchange))
    }

    fn password(&self) -> Result<&[u8], TargetFailure> {
        self.wish.password.as_ref().map(Secret::reveal).ok_or(TargetFailure::NoPassword)
    }
}

/// The strongest mechanism both sides can do, and how it is bound to the channel.
fn choose(offered: Mechanisms<'_>, link: Link, end_point: Option<&[u8]>) -> Result<(&'static str, Binding), TargetFailure> {
    let (plus, plain) = (offered.offers(SCRAM_SHA_256_PLUS), offered.offers(SCRAM_SHA_256));
    match (link, end_point) {
        (Link::Loopback, _) if plus => Err(TargetFailure::PlusOutsideTls),
        (Link::Tls, Some(hash)) if plus => Ok((SCRAM_SHA_256_PLUS, Binding::ServerEndPoint(hash.to_vec()))),
        (Link::Tls, Some(_)) if plain => Ok((SCRAM_SHA_256, Binding::NotOffered)),
        _ if plain => Ok((SCRAM_SHA_256, Binding::Unsupported)),
        _ => {
            let names: Vec<_> = offered.iter().take(10).map(|name| model::name::printable(&String::from_utf8_lossy(name))).collect();
            Err(TargetFailure::NoMechanism(names.join(", ")))
        }
    }
}

/// Appends our own startup packet: the role and database, the caller's settings in its order, and last the name that tells who it really is.
fn startup(wish: &TargetWish, out: &mut BytesMut) -> Result<(), TargetFailure> {
    const OURS: [&str; 4] = ["user", "database", "replication", "application_name"];
    let callers = wish.parameters.iter().filter(|parameter| !OURS.iter().any(|ours| parameter.is(ours)));
    let mut parameters: Vec<(&[u8], &[u8])> = vec![(b"user", wish.user.as_bytes()), (b"database", wish.database.as_bytes())];
    parameters.extend(callers.map(|parameter| (parameter.name.as_bytes(), parameter.value.as_slice())));
    parameters.push((b"application_name", wish.application_name.as_bytes()));
    frontend::startup(out, &parameters).map_err(|Unencodable| TargetFailure::Startup)
}

/// `"md5" + hex(md5(hex(md5(password + user)) + salt))`: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>.
fn md5_password(user: &[u8], password: &[u8], salt: [u8; 4]) -> Zeroizing<String> {
    let stored = Zeroizing::new(hex(&Md5::new().chain_update(password).chain_update(user).finalize()));
    Zeroizing::new(format!("md5{}", hex(&Md5::new().chain_update(stored.as_bytes()).chain_update(salt).finalize())))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // INVARIANT: writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
