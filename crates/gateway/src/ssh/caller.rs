//! A caller's connection: how it is served from its first byte to its end, and which channels it opens. Who is calling: see [`super::sign_in`].

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use identity::ssh::SshKeys;
use model::{Secret, name::printable};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet, Preferred, Pty, Sig, SshId, cipher, compression, kex,
    keys::Certificate,
    mac,
    server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, VerifiedPublicKey},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::Instant,
};

use super::{
    channel,
    conversation::{Caller, Conversation},
    cut::{Cuttable, Scissors},
    flow,
    forward::{self, Destination},
    incoming::{self, Offer, Place},
    jump,
    machine::Dialling,
    sign_in::SigningIn,
};
use crate::listen::{Places, Shared};

/// Failures of one caller before it is sent away. Keys that are offered in vain count: agents hold many.
const MAX_AUTH_ATTEMPTS: usize = 20;
/// Messages that may wait for one channel: more than are ever read ahead.
const MAX_MESSAGES: usize = 1 << 17;
/// Channels one connection may have at a time.
const MAX_CHANNELS: usize = 64;
/// A caller that is silent for so long is looked for.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a caller has to hear why it is sent away, and what it left behind has to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How callers may show who they are.
pub(super) const METHODS: &[MethodKind] = &[MethodKind::PublicKey, MethodKind::KeyboardInteractive, MethodKind::Password];

/// What every caller meets.
#[derive(Debug)]
pub(crate) struct Doorway {
    config: Arc<server::Config>,
    pub(super) dialling: Dialling,
}

impl Doorway {
    /// With the keys of the gateway, which callers call by these names.
    pub(crate) fn new(keys: &SshKeys, names: &[String]) -> Self {
        let certificate = keys.host_certificate(names).inspect_err(|error| tracing::error!(%error, "the host key has no certificate"));
        let config = server::Config {
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Countersign")),
            methods: MethodSet::from(METHODS),
            // Whose key is offered in vain has many; who guesses secrets is slowed down where they are compared.
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![keys.host().clone()],
            certificates: certificate.into_iter().filter(|_| !names.is_empty()).collect(),
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
            // The connection waits for nobody: what is not taken is counted, and then nothing more is read. See `flow`.
            channel_buffer_size: MAX_MESSAGES,
            inactivity_timeout: None,
            keepalive_interval: Some(KEEPALIVE),
            nodelay: true,
            ..server::Config::default()
        };
        Self { config: Arc::new(config), dialling: Dialling::default() }
    }
}

/// Serves one caller from its first byte to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: tokio::net::TcpStream, peer: SocketAddr, patience: Duration, places: Places) {
    let conversation = Arc::new(Conversation::new(shared, peer));
    run(conversation, stream, None, patience, Some(places)).await;
}

/// Serves what comes through a caller's connection to another of the gateway's machines: a jump. Who is calling is known.
pub(super) async fn serve_jump(conversation: Arc<Conversation>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, caller: Caller) {
    let patience = Duration::from_millis(conversation.shared().guard.limits().login_timeout_ms);
    run(conversation, stream, Some(caller), patience, None).await;
}

/// Boxed where it is called from within itself: a jump is a connection in a connection.
fn run(
    conversation: Arc<Conversation>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    known: Option<Caller>,
    patience: Duration,
    places: Option<Places>,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let Some(doorway) = conversation.shared().ssh.clone() else { return };
        let peer = conversation.peer();
        let (login_until, until) = watch::channel(Instant::now() + patience);
        let scissors = Scissors::default();
        let door = Door { signing_in: SigningIn::new(conversation.clone(), known, login_until), conversation: conversation.clone() };
        let begun = Box::pin(server::run_stream(doorway.config.clone(), Cuttable::new(stream, &scissors).flowing(conversation.flow().clone()), door));
        let Ok(Ok(mut running)) = tokio::time::timeout(patience, begun).await else {
            tracing::debug!(%peer, "a caller did not begin to speak SSH in time");
            return;
        };
        let handle = running.handle();
        tokio::select! {
            // Perhaps it signed in and opened something at the same moment.
            _ = &mut running => return conversation.close("the caller left").await,
            () = conversation.signed_in() => {}
            () = passed(until) => {
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
            None => {
                conversation.channels_end(LAST_WORDS).await;
                conversation.close("the caller left").await;
            }
            Some(reason) => {
                let _ = tokio::time::timeout(LAST_WORDS, handle.disconnect(Disconnect::ByApplication, printable(&reason), String::new())).await;
                conversation.close(&reason).await;
                let _ = tokio::time::timeout(LAST_WORDS, running).await;
            }
        }
        scissors.cut();
    })
}

/// Waits until a deadline that may be put off.
async fn passed(mut until: watch::Receiver<Instant>) {
    loop {
        let at = *until.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(at) => return,
            Ok(()) = until.changed() => {}
        }
    }
}

/// What a caller's packets reach. What takes long is boxed: the connection's task has room for the largest of these futures as long as it lasts.
struct Door {
    signing_in: SigningIn,
    conversation: Arc<Conversation>,
}

impl Door {
    /// Something came for a channel: it is counted, so that no more is read than is taken.
    fn came(&self, channel: ChannelId, bytes: usize) {
        self.conversation.flow().came(channel.into(), bytes);
    }

    async fn forward(&self, opened: Channel<Msg>, reply: ChannelOpenHandle, handle: server::Handle, to: Destination) {
        if self.conversation.channels() >= MAX_CHANNELS {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        self.conversation.spawn(opened.id(), forward::run(self.conversation.clone(), opened, reply, handle, to));
    }
}

fn answer(session: &mut server::Session, channel: ChannelId, granted: bool) -> Result<(), russh::Error> {
    if granted { session.channel_success(channel) } else { session.channel_failure(channel) }
}

impl server::Handler for Door {
    type Error = russh::Error;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        Ok(self.signing_in.known(user))
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(Box::pin(self.signing_in.with_password(user, password)).await)
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(Box::pin(self.signing_in.offered(user, &offer)).await)
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Box::pin(self.signing_in.with_key(user, key.public_key)).await)
    }

    async fn auth_openssh_certificate(&mut self, user: &str, certificate: &Certificate) -> Result<Auth, Self::Error> {
        Ok(Box::pin(self.signing_in.with_certificate(user, certificate)).await)
    }

    async fn auth_keyboard_interactive<'a>(&'a mut self, user: &str, _submethods: &str, response: Option<Response<'a>>) -> Result<Auth, Self::Error> {
        let answers = response.map(|response| response.map(|answer| Secret::new(answer.to_vec())).collect());
        Ok(Box::pin(self.signing_in.interactively(user, answers)).await)
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
        self.conversation.expects(opened.id());
        reply.accept().await;
        self.conversation.spawn(opened.id(), channel::run(self.conversation.clone(), opened, session.handle()));
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
        let jump = match Box::pin(self.conversation.jump(host_to_connect, port_to_connect)).await {
            Ok(jump) => jump,
            Err(reason) => {
                reply.reject(reason).await;
                return Ok(());
            }
        };
        if let Some((inner, caller)) = jump {
            if self.conversation.channels() >= MAX_CHANNELS {
                reply.reject(ChannelOpenFailure::ResourceShortage).await;
                return Ok(());
            }
            reply.accept().await;
            let flow = self.conversation.flow().clone();
            self.conversation.spawn(opened.id(), jump::run(flow, opened, |stream| serve_jump(inner, stream, caller)));
            return Ok(());
        }
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

    // What is asked of a channel before it begins, and what it is for, is answered here and now: whether an answer is wanted is known of the last question alone. What
    // follows from it is done by the channel's own task.
    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        modes: &[(Pty, u32)],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        self.came(channel, flow::pty_bytes(term, modes.len()));
        answer(session, channel, self.conversation.is_before(channel))
    }

    async fn env_request(&mut self, channel: ChannelId, name: &str, value: &str, session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, name.len() + value.len());
        let set = self.conversation.set(channel, name, value).await;
        answer(session, channel, set)
    }

    async fn exec_request(&mut self, channel: ChannelId, command: &[u8], session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, command.len());
        answer(session, channel, self.conversation.begins(channel))
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, 0);
        answer(session, channel, self.conversation.begins(channel))
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, name.len());
        answer(session, channel, self.conversation.begins(channel))
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        single_connection: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        self.came(channel, protocol.len() + cookie.len());
        let offer = Offer::Display { single_connection, protocol: protocol.to_owned(), cookie: Secret::from(cookie.to_owned()), screen };
        let offered = self.conversation.offer(channel, offer).await;
        answer(session, channel, offered)
    }

    async fn agent_request(&mut self, channel: ChannelId, _session: &mut server::Session) -> Result<bool, Self::Error> {
        self.came(channel, 0);
        Ok(self.conversation.offer(channel, Offer::Agent).await)
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, session: &mut server::Session) -> Result<bool, Self::Error> {
        let asked = Place::Port { address: address.to_owned(), port: *port };
        let listens = Box::pin(incoming::listen(&self.conversation, session.handle(), asked)).await;
        if let Some(Place::Port { port: chosen, .. }) = &listens {
            *port = *chosen;
        }
        Ok(listens.is_some())
    }

    async fn cancel_tcpip_forward(&mut self, address: &str, port: u32, _session: &mut server::Session) -> Result<bool, Self::Error> {
        Ok(incoming::stop(&self.conversation, &Place::Port { address: address.to_owned(), port }).await)
    }

    async fn streamlocal_forward(&mut self, socket_path: &str, session: &mut server::Session) -> Result<bool, Self::Error> {
        let asked = Place::Socket(socket_path.to_owned());
        Ok(Box::pin(incoming::listen(&self.conversation, session.handle(), asked)).await.is_some())
    }

    async fn cancel_streamlocal_forward(&mut self, socket_path: &str, _session: &mut server::Session) -> Result<bool, Self::Error> {
        Ok(incoming::stop(&self.conversation, &Place::Socket(socket_path.to_owned())).await)
    }

    /// The caller takes a channel that was opened to it: nothing comes for it before this.
    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        self.conversation.flow().taken_up(channel.into());
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, data.len());
        Ok(())
    }

    async fn extended_data(&mut self, channel: ChannelId, _code: u32, data: &[u8], _session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, data.len());
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, 0);
        Ok(())
    }

    async fn window_adjusted(&mut self, channel: ChannelId, _new_size: u32, _session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, 0);
        Ok(())
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        self.came(channel, 0);
        Ok(())
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _session: &mut server::Session) -> Result<(), Self::Error> {
        self.came(channel, flow::signal_bytes(&signal));
        Ok(())
    }
}
