//! Dialling targets: a stream, TLS where the connection asks for it, and the role's credential. A caller's target is dialled only with an `Admission`.

use std::{net::SocketAddr, time::Duration};

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::BytesMut;
use model::{
    Connection, Secret,
    connection::{SecretSource, TargetLogin as Role, TargetTls},
};
use protocol::postgres::login::{
    startup::Parameter,
    target::{Link as LinkKind, ReportedError, TargetFailure, TargetLogin, TargetMove, TargetReady, TargetWish},
};
use socket2::{SockRef, TcpKeepalive};
use store::{Secrets, Store, secrets::SourceError};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use zeroize::Zeroize;

use crate::{
    link::{Ahead, Link, Wire},
    tls::{self, TargetChecks, TlsError},
};

/// How long a target may take from the first packet to being ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes read at once during a login.
const LOGIN_ROOM_BYTES: usize = 16 << 10;

/// Why a target cannot be reached or does not let the gateway in. For operators; callers are told less.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No such host, nobody listens, or the network does not answer.
    #[error("{host}:{port} cannot be reached: {error}")]
    Unreachable {
        /// As configured.
        host: String,
        /// As configured.
        port: u16,
        /// What the system says.
        error: std::io::Error,
    },
    /// `loopback-plain`, and the name means an address of another machine.
    #[error("{host} is {address}, which is not this machine: loopback-plain does not reach it")]
    Elsewhere {
        /// As configured.
        host: String,
        /// What it means.
        address: SocketAddr,
    },
    /// It did not answer in time.
    #[error("{host}:{port} did not answer within {} seconds", PATIENCE.as_secs())]
    Silent {
        /// As configured.
        host: String,
        /// As configured.
        port: u16,
    },
    /// Its certificate does not hold, or the handshake failed.
    #[error("TLS with {host}: {error}")]
    Handshake {
        /// As configured.
        host: String,
        /// What is wrong.
        error: std::io::Error,
    },
    /// TLS cannot be set up on our side.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credential cannot be read.
    #[error("the credential of the connection cannot be read: {0}")]
    Secret(String),
    /// It does not let us in.
    #[error(transparent)]
    Refused(#[from] TargetFailure),
    /// It went away during the login.
    #[error("the target closed the connection during the login")]
    Gone,
}

/// A target that is logged in.
#[derive(Debug)]
pub struct Dialled {
    pub(crate) wire: Wire,
    /// What arrived behind the login.
    pub(crate) input: BytesMut,
    pub(crate) ready: TargetReady,
}

/// What to ask a target for.
pub(crate) struct Wish<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) credential: Credential<'a>,
    pub(crate) database: &'a str,
    pub(crate) application_name: String,
    pub(crate) parameters: Vec<Parameter>,
}

/// Whom to sign in as.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// A standing role: its secret is where its source says.
    Standing(&'a Role),
    /// The same for readings of the gateway's own, which live sessions need: a secret that cannot be had now is used as it was last.
    Familiar(&'a Role),
    /// A role that was made for one session: its name and password.
    Made(&'a str, &'a Secret),
}

/// Dials and signs in.
pub(crate) async fn dial(store: &Store, wish: Wish<'_>) -> Result<Dialled, DialError> {
    let connection = wish.connection;
    let silent = || DialError::Silent { host: connection.host.clone(), port: connection.port };
    // Before the target's time runs: secrets may come from elsewhere, and whoever is slow there has a time of their own.
    let (user, password, role) = match wish.credential {
        Credential::Standing(role) => (role.user.as_str(), secret_of(store, role, Secrets::of).await?, role),
        Credential::Familiar(role) => (role.user.as_str(), secret_of(store, role, Secrets::of_or_last).await?, role),
        Credential::Made(user, password) => (user, Some(password.clone()), &connection.login),
    };
    let checks = checks(store, connection, role).await?;
    tokio::time::timeout(PATIENCE, sign_in(wish, user, password, checks)).await.map_err(|_| silent())?
}

async fn secret_of<'a, F: Future<Output = Result<Secret, SourceError>>>(
    store: &'a Store,
    role: &'a Role,
    of: impl Fn(&'a Secrets, &'a SecretSource) -> F,
) -> Result<Option<Secret>, DialError> {
    match &role.password {
        Some(source) => of(store.secrets(), source).await.map(Some).map_err(|error| DialError::Secret(error.to_string())),
        None => Ok(None),
    }
}

async fn sign_in(wish: Wish<'_>, user: &str, password: Option<Secret>, checks: Option<TargetChecks>) -> Result<Dialled, DialError> {
    let connection = wish.connection;
    let asked = TargetWish {
        link: if checks.is_some() { LinkKind::Tls } else { LinkKind::Loopback },
        user: user.to_owned(),
        database: wish.database.to_owned(),
        application_name: wish.application_name,
        parameters: wish.parameters,
        password,
        nonce: nonce()?,
    };
    let mut out = BytesMut::new();
    let mut login = TargetLogin::begin(asked, &mut out)?;
    let mut wire = Wire::new(reach(connection).await?);
    let mut input = BytesMut::with_capacity(LOGIN_ROOM_BYTES);
    let mut next = TargetMove::Read;
    loop {
        send(&mut wire, &mut out).await?;
        next = match next {
            TargetMove::Read => {
                if wire.fill(&mut input, LOGIN_ROOM_BYTES).await.map_err(|_| DialError::Gone)? == 0 {
                    return Err(DialError::Gone);
                }
                login.receive(&mut input, &mut out)
            }
            TargetMove::StartTls => {
                let end_point;
                (wire, end_point) = start_tls(wire, connection, checks.as_ref()).await?;
                login.secured(end_point, &mut out)
            }
            TargetMove::Ready(ready) => return Ok(Dialled { wire, input, ready: *ready }),
            TargetMove::Failed(failure) => return Err(failure.into()),
        };
    }
}

async fn send(wire: &mut Wire, out: &mut BytesMut) -> Result<(), DialError> {
    // A copy is queued and dropped once written; this one may hold the password.
    wire.push(bytes::Bytes::copy_from_slice(out));
    out.as_mut().zeroize();
    out.clear();
    wire.drain().await.map_err(|_| DialError::Gone)
}

async fn start_tls(wire: Wire, connection: &Connection, checks: Option<&TargetChecks>) -> Result<(Wire, Option<Vec<u8>>), DialError> {
    let (Link::Tcp(stream), Some(checks)) = (wire.into_link(), checks) else { return Err(TargetFailure::Stuffed.into()) };
    let connecting = TlsConnector::from(checks.config.clone()).connect(checks.name.clone(), stream);
    let stream = connecting.await.map_err(|error| DialError::Handshake { host: connection.host.clone(), error })?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let end_point = leaf.and_then(tls::end_point);
    Ok((Wire::new(Link::Target(Box::new(stream))), end_point))
}

/// A stream to the connection's host: TCP, or a Unix socket when the host is a folder.
pub(crate) async fn reach(connection: &Connection) -> Result<Link, DialError> {
    let failed = |error| DialError::Unreachable { host: connection.host.clone(), port: connection.port, error };
    if connection.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", connection.host, connection.port);
        return UnixStream::connect(path).await.map(Link::Unix).map_err(failed);
    }
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((connection.host.as_str(), connection.port)).await.map_err(failed)?.collect();
    // What the name means now counts, and each of these addresses may be the one that answers.
    if connection.tls == TargetTls::LoopbackPlain
        && let Some(address) = addresses.iter().find(|address| !is_loopback(address))
    {
        return Err(DialError::Elsewhere { host: connection.host.clone(), address: *address });
    }
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(failed)?;
    tune(&stream).map_err(failed)?;
    Ok(Link::Tcp(Ahead::new(BytesMut::new(), stream)))
}

/// No waiting for more to send, and a peer that is gone is noticed within about two minutes while nothing is on its way to it.
///
/// With something on its way the kernel's limit on sending again counts (`tcp_retries2`). `TCP_USER_TIMEOUT` would shorten it, but Linux also ends by it
/// a peer that is well and reads nothing for as long: a COPY whose target waits for a lock, or whose caller is a pager.
pub(crate) fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

pub(crate) async fn checks(store: &Store, connection: &Connection, role: &Role) -> Result<Option<TargetChecks>, DialError> {
    let key = match &role.certificate {
        Some(certificate) => Some((certificate, secret(store, &certificate.key).await?)),
        None => None,
    };
    Ok(tls::for_target(connection, key.as_ref().map(|(certificate, key)| (*certificate, key.reveal())))?)
}

/// Reads a credential where its source says.
async fn secret(store: &Store, source: &SecretSource) -> Result<Secret, DialError> {
    store.secrets().of(source).await.map_err(|error| DialError::Secret(error.to_string()))
}

fn nonce() -> Result<String, DialError> {
    let mut bytes = [0u8; 24];
    rand::fill(&mut bytes).map_err(|_| DialError::Secret("the system gives no randomness".to_owned()))?;
    Ok(STANDARD_NO_PAD.encode(bytes))
}

/// Whether an address is this machine's own.
pub(crate) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl DialError {
    /// What the target said that is its caller's to hear. Class 28 is about the gateway's own credential; everything else is about what the caller
    /// asked for, or passes. What has no code or no words is no error of PostgreSQL's, and tells nobody anything.
    pub(crate) fn for_the_caller(&self) -> Option<&ReportedError> {
        match self {
            Self::Refused(TargetFailure::Reported(reported)) => {
                Some(reported).filter(|it| !it.sqlstate.is_empty() && !it.sqlstate.starts_with("28") && !it.message.is_empty())
            }
            _ => None,
        }
    }
}

/// What a caller is told of a target that cannot be used: which connection, and what kind of trouble, but nothing of how it is reached.
pub(crate) fn sentence(connection: &Connection, error: &DialError) -> String {
    let trouble = match error {
        DialError::Unreachable { .. } | DialError::Silent { .. } | DialError::Gone => "it cannot be reached",
        DialError::Handshake { .. } | DialError::Tls(_) | DialError::Elsewhere { .. } => {
            "its TLS certificate or the gateway's TLS settings for it do not hold"
        }
        DialError::Secret(_) => "the gateway has no usable credential for it",
        DialError::Refused(_) => match error.for_the_caller() {
            Some(reported) => return format!("connection {}: {}", connection.name, model::name::printable(&reported.message)),
            None => "it does not let the gateway in",
        },
    };
    format!("connection {} is not available: {trouble}", connection.name)
}

#[cfg(test)]
mod tests {
    use policy::{Files, Version};

    use super::*;

    const CONNECTION: &str = "protocol = \"postgres\"\nhost = \"127.0.0.1\"\nport = 1\ndatabase = \"shop\"\nenvironment = \"production\"\n\
                              user = \"app\"\npassword = { env = \"X\" }\n[tls]\nmode = \"loopback-plain\"\n";

    fn connection(host: &str) -> Connection {
        let policy = "permit (principal, action, resource);".to_owned();
        let files = Files::from([("connections/c.toml".to_owned(), CONNECTION.to_owned()), ("policy/a.cedar".to_owned(), policy)]);
        let version = Version::load(&files).unwrap();
        Connection { host: host.to_owned(), ..Connection::clone(version.connections.values().next().unwrap()) }
    }

    /// The files are checked by name when they are read; what a name means shows when it is dialled.
    #[tokio::test]
    async fn loopback_plain_reaches_this_machine_only_whatever_a_name_means() {
        for elsewhere in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            let reached = reach(&connection(elsewhere)).await;
            assert!(matches!(&reached, Err(DialError::Elsewhere { address, .. }) if address.port() == 1), "{elsewhere}: {reached:?}");
        }
        for here in ["127.0.0.1", "127.3.2.1", "localhost", "::ffff:127.0.0.1"] {
            // Nobody listens there, and that is found out.
            assert!(matches!(reach(&connection(here)).await, Err(DialError::Unreachable { .. })), "{here}");
        }
    }

    #[tokio::test]
    async fn who_is_gone_is_noticed_and_who_only_does_not_read_is_kept() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        let patience = socket.tcp_keepalive_time().unwrap() + socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert_eq!(patience, Duration::from_secs(120));
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
}
