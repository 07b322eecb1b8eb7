//! A connection inside a connection: the stream of a channel.

use std::sync::Arc;

use russh::{Channel, ChannelMsg, server::Msg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::flow::{Flow, Inbox};

/// Bytes under way between a channel and the connection in it.
const UNDER_WAY: usize = 256 << 10;

/// Serves what comes through a channel as a stream, until either ends.
pub(super) async fn run<F>(flow: Arc<Flow>, channel: Channel<Msg>, serve: impl FnOnce(DuplexStream) -> F)
where
    F: Future<Output = ()>,
{
    let id = channel.id();
    let (from_caller, to_caller) = channel.split();
    let mut inbox = Inbox::new(id.into(), from_caller, flow.clone());
    let (inner, outer) = tokio::io::duplex(UNDER_WAY);
    let (mut from_inner, mut to_inner) = tokio::io::split(outer);
    let up = async {
        while let Some(message) = inbox.next().await {
            let passed = match message {
                ChannelMsg::Data { data } => to_inner.write_all(&data).await,
                ChannelMsg::Close => return,
                _ => Ok(()),
            };
            if passed.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut piece = vec![0; 32 << 10];
        while let Ok(length) = from_inner.read(&mut piece).await
            && length > 0
        {
            let data = piece.get(..length).unwrap_or_default().to_vec();
            if flow.says(to_caller.data_bytes(data)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = serve(inner) => {}
        () = up => {}
        () = down => {}
    }
    let _ = to_caller.close().await;
}
