//! Reaching a machine: its host key must be one the connection names, and the gateway proves itself as the connection says.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use identity::ssh::{self, SshKeyError};
use jiff::SignedDuration;
use model::{
    Connection, ConnectionName, Timestamp,
    connection::{Machine, MachineProof, SecretSource},
    name::printable,
};
use russh::{
    Channel, Disconnect, Preferred, cipher, client, compression, kex,
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate},
    mac,
};
use session::{Guard, ssh::Session};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    cut::{Cuttable, Scissors},
    incoming::{Arrival, MAX_ARRIVING, Place, Way},
};
use crate::dial::{self, DialError};

/// How long a machine may take from the first packet to letting the gateway in.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a certificate of one session is valid: it is shown once, right after it was made.
const CERTIFICATE_LASTS: SignedDuration = SignedDuration::from_secs(120);
/// A machine that is silent for so long while nothing is asked of it is looked for.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why a machine cannot be reached or does not let the gateway in. For operators; callers are told less.
#[derive(Debug, thiserror::Error)]
pub(super) enum MachineError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0} shows a host key that is not among the connection's host_keys: either it was set up anew, or this is another machine")]
    OtherKey(String),
    #[error("{host} does not let {user} in with what the connection proves itself by")]
    Refused { host: String, user: String },
    #[error("the credential of the connection cannot be used: {0}")]
    Credential(#[from] SshKeyError),
    #[error("{0} did not answer in time")]
    Silent(String),
    #[error("SSH with {host}: {error}")]
    Protocol { host: String, error: russh::Error },
    #[error("connection {0} is of no machine")]
    NoMachine(String),
    #[error("the gateway has lost the keys that it makes certificates with")]
    NoKeys,
}

/// What a caller is told.
pub(super) fn sentence(connection: &Connection, error: &MachineError) -> String {
    let trouble = match error {
        MachineError::Dial(error) => return dial::sentence(connection, error),
        MachineError::OtherKey(_) => "the machine shows another host key than the connection names",
        MachineError::Refused { .. } | MachineError::Credential(_) | MachineError::NoKeys => "the machine does not let the gateway in",
        MachineError::Silent(_) => "the machine does not answer",
        MachineError::Protocol { .. } => "the machine cannot be spoken with",
        MachineError::NoMachine(_) => "it is of no machine",
    };
    format!("connection {} is not available: {trouble}", connection.name)
}

/// A link to a machine that let the gateway in.
pub(super) struct Link {
    pub(super) handle: client::Handle<Looks>,
    scissors: Scissors,
    /// Where the machine's own channels go; gone with the connection.
    arrivals: Weak<OnceLock<mpsc::Sender<Arrival>>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.scissors.cut();
    }
}

impl Link {
    /// The channels that the machine opens on this link from now on; none if the connection is gone. It is asked for once, and the link is for nothing else then.
    pub(super) fn arrivals(&self) -> Option<mpsc::Receiver<Arrival>> {
        let (sender, receiver) = mpsc::channel(MAX_ARRIVING);
        self.arrivals.upgrade()?.set(sender).ok()?;
        Some(receiver)
    }

    /// Whether it is as good as new for another channel.
    pub(super) fn is_reusable(&self) -> bool {
        self.arrivals.upgrade().is_some_and(|arrivals| arrivals.get().is_none())
    }

    /// Nothing passes on it any more, whoever else has it.
    pub(super) fn cut(&self) {
        self.scissors.cut();
    }

    /// Ends it in good order, as far as the machine answers.
    pub(super) async fn finish(self) {
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
    }
}

/// What the gateway looks at in what a machine says by itself.
pub(super) struct Looks {
    host_keys: Vec<String>,
    /// The key was looked at and is another.
    other_key: Arc<std::sync::atomic::AtomicBool>,
    /// Where channels go that the machine opens; nowhere unless something was asked for that it may open them for.
    arrivals: Arc<OnceLock<mpsc::Sender<Arrival>>>,
}

impl Looks {
    /// The machine opens a channel. What nobody asked for, or is too much at a time, is refused by dropping the reply.
    fn arrives(&self, at: Way, from: Option<(&str, u32)>, channel: Channel<client::Msg>, reply: client::ChannelOpenHandle) {
        if let Some(arrivals) = self.arrivals.get() {
            let _ = arrivals.try_send(Arrival::new(at, from, channel, reply));
        }
    }
}

impl client::Handler for Looks {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let known = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => ssh::is_among(key, &self.host_keys),
            PublicKeyOrCertificate::Certificate(_) => false,
        };
        self.other_key.store(!known, std::sync::atomic::Ordering::Release);
        Ok(known)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<client::Msg>,
        connected_address: &str,
        connected_port: u32,
        originator_address: &str,
        originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let at = Way::Listener(Place::Port { address: connected_address.to_owned(), port: connected_port });
        self.arrives(at, Some((originator_address, originator_port)), channel, reply);
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<client::Msg>,
        socket_path: &str,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.arrives(Way::Listener(Place::Socket(socket_path.to_owned())), None, channel, reply);
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<client::Msg>,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.arrives(Way::Agent, None, channel, reply);
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        channel: Channel<client::Msg>,
        originator_address: &str,
        originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.arrives(Way::Display, Some((originator_address, originator_port)), channel, reply);
        Ok(())
    }

    // A machine has no business with these, and russh lets them in where nobody says otherwise. They are refused by dropping the reply.
    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<client::Msg>,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<client::Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<client::Msg>,
        _socket_path: &str,
        _reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// How many callers of one machine may be on their way in at a time: OpenSSH drops some of more than ten (`MaxStartups`), whoever they are.
const MAX_DIALLING: usize = 4;
/// How long somebody waits for a turn: others may wait for a machine that does not answer.
const TURN: Duration = Duration::from_secs(30);

/// Who is on their way into which machine.
#[derive(Debug, Default)]
pub(super) struct Dialling(Mutex<HashMap<ConnectionName, Arc<Semaphore>>>);

impl Dialling {
    /// Waits for a turn; none if none comes in time.
    async fn turn(&self, connection: &ConnectionName, within: Duration) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // No more than the connections there are; those that nobody dials are forgotten.
            known.retain(|name, turns| name == connection || Arc::strong_count(turns) > 1);
            known.entry(connection.clone()).or_insert_with(|| Arc::new(Semaphore::new(MAX_DIALLING))).clone()
        };
        tokio::time::timeout(within, turns.acquire_owned()).await.ok()?.ok()
    }
}

/// Whom a machine is dialled for.
pub(super) struct Wish<'a> {
    pub(super) connection: &'a Connection,
    /// Who acts and in which session: what the machine's own log shows of it.
    pub(super) key_id: String,
}

/// Dials a machine and signs in.
pub(super) async fn dial(guard: &Guard, dialling: &Dialling, wish: Wish<'_>) -> Result<Link, MachineError> {
    let connection = wish.connection;
    let _turn = dialling.turn(&connection.name, TURN).await.ok_or_else(|| MachineError::Silent(connection.host.clone()))?;
    let machine = connection.machine.as_ref().ok_or_else(|| MachineError::NoMachine(connection.name.to_string()))?;
    // Before the machine's time runs: secrets may come from elsewhere.
    let proof = proof(guard, machine, &wish).await?;
    let signing_in = sign_in(connection, machine, proof);
    tokio::time::timeout(PATIENCE, signing_in).await.map_err(|_| MachineError::Silent(connection.host.clone()))?
}

/// What is shown to a machine.
enum Proof {
    Password(model::Secret),
    Key(russh::keys::PrivateKey),
    Certificate(russh::keys::PrivateKey, Box<russh::keys::Certificate>),
}

async fn proof(guard: &Guard, machine: &Machine, wish: &Wish<'_>) -> Result<Proof, MachineError> {
    let secret = async |source: &SecretSource| {
        guard.store().secrets().of(source).await.map_err(|error| MachineError::Dial(DialError::Secret(error.to_string())))
    };
    match (&machine.proof, &wish.connection.login.password) {
        (MachineProof::Key(source), _) => Ok(Proof::Key(ssh::private_key(secret(source).await?.reveal())?)),
        (MachineProof::Certificate(principals), _) => {
            let now = Timestamp::now();
            let until = now.checked_add(CERTIFICATE_LASTS).unwrap_or(now);
            let keys = guard.ssh().ok_or(MachineError::NoKeys)?;
            let (key, certificate) = keys.certify(&wish.key_id, principals, now, until)?;
            Ok(Proof::Certificate(key, Box::new(certificate)))
        }
        (MachineProof::Password, Some(source)) => Ok(Proof::Password(secret(source).await?)),
        (MachineProof::Password, None) => Err(DialError::Secret("the connection names none".to_owned()).into()),
    }
}

async fn sign_in(connection: &Connection, machine: &Machine, proof: Proof) -> Result<Link, MachineError> {
    let host = connection.host.clone();
    let other_key = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let arrivals = Arc::new(OnceLock::new());
    let to_arrivals = Arc::downgrade(&arrivals);
    let looks = Looks { host_keys: machine.host_keys.clone(), other_key: other_key.clone(), arrivals };
    let scissors = Scissors::default();
    let stream = Cuttable::new(dial::reach(connection).await?, &scissors);
    let failed = |error: russh::Error| match other_key.load(std::sync::atomic::Ordering::Acquire) {
        true => MachineError::OtherKey(host.clone()),
        false => MachineError::Protocol { host: host.clone(), error },
    };
    let handle = client::connect_stream(Arc::new(config()), stream, looks).await.map_err(&failed)?;
    let mut link = Link { handle, scissors, arrivals: to_arrivals };
    let user = connection.login.user.clone();
    let answered = match proof {
        Proof::Password(password) => {
            // russh wipes the copy that it is given, once it has sent it.
            let password = password.reveal_str().ok_or_else(|| DialError::Secret("it is not UTF-8".to_owned()))?;
            link.handle.authenticate_password(user.clone(), password).await
        }
        Proof::Key(key) => {
            let hash = link.handle.best_supported_rsa_hash().await.map_err(&failed)?.flatten();
            link.handle.authenticate_publickey(user.clone(), PrivateKeyWithHashAlg::new(Arc::new(key), hash)).await
        }
        Proof::Certificate(key, certificate) => link.handle.authenticate_openssh_cert(user.clone(), Arc::new(key), *certificate).await,
    };
    match answered.map_err(&failed)? {
        russh::client::AuthResult::Success => Ok(link),
        russh::client::AuthResult::Failure { .. } => Err(MachineError::Refused { host, user: printable(&user) }),
    }
}

fn config() -> client::Config {
    client::Config {
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::MLKEM768X25519_SHA256,
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                kex::ECDH_SHA2_NISTP256,
                kex::DH_G16_SHA512,
                kex::DH_G14_SHA256,
                kex::EXTENSION_SUPPORT_AS_CLIENT,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            ]),
            cipher: Cow::Borrowed(&[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_128_CTR]),
            mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256]),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::default()
        },
        keepalive_interval: Some(KEEPALIVE),
        nodelay: true,
        ..client::Config::default()
    }
}

/// What a machine's own log shows of a session.
pub(super) fn key_id(session: &Session) -> String {
    format!("{} {}", session.chain(), session.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_gets_no_turn_in_time_hears_of_it_and_other_machines_are_not_waited_for() {
        let dialling = Dialling::default();
        let (slow, other) = ("slow".parse().unwrap(), "other".parse().unwrap());
        let mut turns = Vec::new();
        for _ in 0..MAX_DIALLING {
            turns.push(dialling.turn(&slow, TURN).await.unwrap());
        }
        assert!(dialling.turn(&slow, Duration::from_millis(20)).await.is_none());
        assert!(dialling.turn(&other, Duration::from_millis(20)).await.is_some());
        turns.pop();
        assert!(dialling.turn(&slow, TURN).await.is_some());
    }
}
