//! `countersign tail`: operations of every session the caller may see, as they happen.

use std::collections::HashMap;

use api::types::TailLine;
use model::{ConnectionName, IdentityName, SessionId};

use crate::{
    client::{Global, Reading, query},
    output::Tone,
    story::Story,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this session
    session: Option<SessionId>,
    /// Only sessions on behalf of this identity
    #[arg(long)]
    identity: Option<IdentityName>,
    /// Only sessions on this connection
    #[arg(long)]
    connection: Option<ConnectionName>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    let filters = query(&[
        ("session", args.session.map(|id| id.to_string())),
        ("identity", args.identity.map(|name| name.to_string())),
        ("connection", args.connection.map(|name| name.to_string())),
    ]);
    let mut stories: HashMap<SessionId, Story> = HashMap::new();
    let mut last = None;
    client
        .stream(&format!("/v1/tail{filters}"), |line: TailLine| {
            if output.is_json() {
                output.show_line(&line, |_| String::new())?;
            } else if let Some(told) = stories.entry(line.session).or_insert_with(|| Story::new(output)).tell(&line.record) {
                if last != Some(line.session) {
                    output.line(&output.paint(Tone::Strong, &format!("{} {} on {}", line.session, line.chain, line.connection)))?;
                    last = Some(line.session);
                }
                output.line(&told)?;
            }
            Ok(Reading::More)
        })
        .await
}
