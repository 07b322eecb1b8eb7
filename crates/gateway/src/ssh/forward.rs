//! Connections that a caller has opened from the machine: `ssh -L`, `-W`, `-D`. Each is decided by where it leads.

use std::sync::Arc;

use model::{Timestamp, name::printable};
use policy::classify::ssh::{self as classify, Forward};
use russh::{
    Channel, ChannelOpenFailure, client,
    server::{ChannelOpenHandle, Handle, Msg},
};
use session::ssh::{Answer, Operation, Ruling, Via};

use super::{
    conversation::{Conversation, Open},
    machine::Link,
    relay::{self, Callers, Running},
};

/// Where a connection leads.
#[derive(Debug, Clone)]
pub(super) enum Destination {
    Port { host: String, port: u32, from: (String, u32) },
    Socket(String),
}

impl Destination {
    fn operation(&self) -> Operation {
        let (text, facts) = match self {
            Self::Port { host, port, .. } => (format!("a connection to {host}:{port}"), classify::forward(&Forward::Direct { host, port: *port })),
            Self::Socket(path) => (format!("a connection to the socket {path}"), classify::forward(&Forward::DirectSocket { path })),
        };
        Operation { text: printable(&text).into(), facts: Arc::new(facts), via: Via::Forward, may_wait: true, watchable: false }
    }
}

/// Decides a connection and carries it to its end.
pub(super) async fn run(conversation: Arc<Conversation>, channel: Channel<Msg>, reply: ChannelOpenHandle, handle: Handle, to: Destination) {
    let id = channel.id();
    let (open, op) = match permitted(&conversation, &to).await {
        Ok(permitted) => permitted,
        Err(reason) => return reply.reject(reason).await,
    };
    let answer = match begun(&open, to).await {
        Ok((link, machines)) => {
            reply.accept().await;
            let mut callers = Callers::new(channel, handle, conversation.flow());
            let passed = relay::run(
                &Running { session: &open.session, operation: op, records: false, terminal: false, masks: false, has_status: false },
                &mut callers,
                machines.into(),
                None,
            )
            .await;
            let _ = callers.handle.close(id).await;
            if passed.in_order {
                open.give_back(link);
            }
            Answer { tag: Some(format!("{} bytes there, {} bytes back", passed.up, passed.down)), ..passed.answer() }
        }
        Err(why) => {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            Answer { error: Some(why), ..Answer::default() }
        }
    };
    if let Err(error) = open.session.answered(op, answer, Timestamp::now()) {
        tracing::error!(%error, session = %open.session.id(), "how a connection ended could not be recorded");
    }
}

async fn permitted(conversation: &Conversation, to: &Destination) -> Result<(Arc<Open>, u64), ChannelOpenFailure> {
    let open = conversation.open().await.map_err(|_| ChannelOpenFailure::ConnectFailed)?;
    // Its caller has nothing that a notice could be shown on, and waits for the channel itself.
    let asked = open.session.ask(&to.operation(), |_| std::future::ready(()), std::future::pending()).await;
    match asked {
        Ok(Ruling::Forward(permit)) => Ok((open, permit.operation())),
        Ok(Ruling::Refuse(_)) | Err(_) => Err(ChannelOpenFailure::AdministrativelyProhibited),
    }
}

async fn begun(open: &Open, to: Destination) -> Result<(Link, Channel<client::Msg>), String> {
    let link = open.link().await?;
    let opened = match to {
        Destination::Port { host, port, from: (from, from_port) } => link.handle.channel_open_direct_tcpip(host, port, from, from_port).await,
        Destination::Socket(path) => link.handle.channel_open_direct_streamlocal(path).await,
    };
    let channel = opened.map_err(|error| format!("the machine does not connect: {error}"))?;
    Ok((link, channel))
}
