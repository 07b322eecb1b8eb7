//! A caller's connection: who it is, and which channels it opens.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use identity::ssh::SshKeys;
use model::{ConnectionName, Secret, Timestamp, name::printable};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac,
    server::{self, Auth, ChannelOpenHandle, Msg},
};
use session::sign_in::{SignInFor, SignInRefused, SignedIn};
use tokio::net::TcpStream;

use super::{
    channel,
    conversation::{Caller, Conversation},
    cut::{Cuttable, Scissors},
    forward::{self, Destination},
};
use crate::listen::{Places, Shared};

/// Failures of one caller before it is sent away.
const MAX_AUTH_ATTEMPTS: usize = 6;
/// Channels one connection may have at a time.
const MAX_CHANNELS: usize = 64;
/// A caller that is silent for so long is looked for.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a caller has to hear why it is sent away.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between the name of an identity and that of a connection in what callers sign in as.
const SEPARATOR: char = '+';

/// What every caller meets.
#[derive(Debug)]
pub(crate) struct Doorway {
    keys: SshKeys,
    config: Arc<server::Config>,
}

impl Doorway {
    pub(crate) fn new(keys: SshKeys) -> Self {
        let config = server::Config {
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Countersign")),
            methods: MethodSet::from(&[MethodKind::Password][..]),
            // Whoever is refused waits as long as the slowest refusal takes: nothing is told by the time.
            auth_rejection_time: Duration::from_millis(500),
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![keys.host().clone()],
            preferred: Preferred {
                kex: Cow::Borrowed(&[
                    kex::MLKEM768X25519_SHA256,
                    kex::CURVE25519,
                    kex::CURVE25519_PRE_RFC_8731,
                    kex::EXTENSION_SUPPORT_AS_SERVER,
                    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
                ]),
                // Of these a prefix cannot be cut off (CVE-2023-48795), strict key exchange or not.
                cipher: Cow::Borrowed(&[cipher::AES_128_GCM, cipher::AES_256_GCM]),
                mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM]),
                compression: Cow::Borrowed(&[compression::NONE, compression::ZLIB_LEGACY]),
                ..Preferred::default()
            },
            max_auth_attempts: MAX_AUTH_ATTEMPTS,
            inactivity_timeout: None,
            keepalive_interval: Some(KEEPALIVE),
            nodelay: true,
            ..server::Config::default()
        };
        Self { keys, config: Arc::new(config) }
    }

    pub(super) const fn keys(&self) -> &SshKeys {
        &self.keys
    }
}

/// Serves one caller from its first byte to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, patience: Duration, places: Places) {
    let Some(doorway) = shared.ssh.clone() else { return };
    let deadline = tokio::time::Instant::now() + patience;
    let conversation = Arc::new(Conversation::new(shared, doorway.clone(), peer));
    let scissors = Scissors::default();
    let door = Door { conversation: conversation.clone() };
    let begun = server::run_stream(doorway.config.clone(), Cuttable::new(stream, &scissors), door);
    let Ok(Ok(mut running)) = tokio::time::timeout_at(deadline, begun).await else {
        tracing::debug!(%peer, "a caller did not begin to speak SSH in time");
        return;
    };
    let handle = running.handle();
    tokio::select! {
        _ = &mut running => return,
        () = conversation.signed_in() => {}
        () = tokio::time::sleep_until(deadline) => {
            tracing::debug!(%peer, "a caller did not finish its login in time");
            scissors.cut();
            return;
        }
    }
    drop(places);
    let reason = tokio::select! {
        _ = &mut running => None,
        reason = conversation.must_end() => Some(reason),
    };
    match reason {
        None => conversation.close("the caller left").await,
        Some(reason) => {
            let _ = tokio::time::timeout(LAST_WORDS, handle.disconnect(Disconnect::ByApplication, printable(&reason), String::new())).await;
            conversation.close(&reason).await;
            let _ = tokio::time::timeout(LAST_WORDS, running).await;
        }
    }
    scissors.cut();
}

/// What a caller's packets reach.
struct Door {
    conversation: Arc<Conversation>,
}

impl Door {
    /// Signs in whoever proves to be `user`, which is `identity+connection`.
    async fn sign_in(&mut self, user: &str, secret: Secret) -> Auth {
        let Some((identity, connection)) = user.rsplit_once(SEPARATOR) else { return Auth::reject() };
        match self.signed_in(identity, connection, &secret).await {
            Ok(signed_in) => {
                self.conversation.enter(Caller { signed_in, connection: connection.to_owned() });
                Auth::Accept
            }
            Err(refused) => {
                tracing::info!(user = %printable(user), peer = %self.conversation.peer(), ?refused, "a sign-in was refused");
                // The same may be tried again with another secret.
                Auth::Reject { proceed_with_methods: Some(MethodSet::from(&[MethodKind::Password][..])), partial_success: false }
            }
        }
    }

    async fn forward(&self, opened: Channel<Msg>, reply: ChannelOpenHandle, handle: server::Handle, to: Destination) {
        if self.conversation.channels() >= MAX_CHANNELS {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        self.conversation.spawn(forward::run(self.conversation.clone(), opened, reply, handle, to));
    }

    async fn signed_in(&self, identity: &str, connection: &str, secret: &Secret) -> Result<SignedIn, SignInRefused> {
        // A name no connection can have opens nothing; signing in for it costs and tells the same as for any other.
        let name: ConnectionName = match connection.parse().or_else(|_| "unknown".parse()) {
            Ok(name) => name,
            Err(_) => return Err(SignInRefused::TooManyAttempts),
        };
        let guard = &self.conversation.shared().guard;
        guard.sign_in(identity, secret, SignInFor::Connection(&name), self.conversation.peer().ip(), Timestamp::now()).await
    }
}

impl server::Handler for Door {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(self.sign_in(user, Secret::new(password.as_bytes().to_vec())).await)
    }

    async fn channel_open_session(
        &mut self,
        opened: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if self.conversation.channels() >= MAX_CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        reply.accept().await;
        self.conversation.spawn(channel::run(self.conversation.clone(), opened, session.handle()));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        opened: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        let from = (originator_address.to_owned(), originator_port);
        self.forward(opened, reply, session.handle(), Destination::Port { host: host_to_connect.to_owned(), port: port_to_connect, from }).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        opened: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        self.forward(opened, reply, session.handle(), Destination::Socket(socket_path.to_owned())).await;
        Ok(())
    }

    // What a channel's own task is told of it answers: see `channel`. Agents are asked for in a way that must be answered here.
    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut server::Session) -> Result<bool, Self::Error> {
        Ok(false)
    }
}
