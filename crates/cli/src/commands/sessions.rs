//! `countersign sessions`.

use api::types::SessionsAnswer;
use model::{ConnectionName, IdentityName, Timestamp};

use super::seconds;
use crate::{
    client::{Global, query},
    output::{moment, span},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those that live now
    #[arg(long)]
    live: bool,
    /// Only those on behalf of this identity
    #[arg(long)]
    identity: Option<IdentityName>,
    /// Only those on this connection
    #[arg(long)]
    connection: Option<ConnectionName>,
    /// Only those begun within this time, such as 2h or 7d
    #[arg(long, value_parser = seconds)]
    since: Option<u64>,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let path = format!(
        "/v1/sessions{}",
        query(&[
            ("live", args.live.then(|| "true".to_owned())),
            ("identity", args.identity.map(|name| name.to_string())),
            ("connection", args.connection.map(|name| name.to_string())),
            ("since_s", args.since.map(|seconds| seconds.to_string())),
            ("limit", Some(args.limit.to_string())),
        ])
    );
    let answer: SessionsAnswer = global.client()?.get(&path).await?;
    global.output().show(&answer, |output| {
        let now = Timestamp::now();
        let rows = answer.sessions.iter().map(|session| {
            let until = session.ended_at.unwrap_or(now);
            vec![
                session.id.to_string(),
                session.chain.clone(),
                super::place(&session.connection, &session.database),
                moment(session.started_at),
                span(until.as_second() - session.started_at.as_second()),
                if session.ended_at.is_some() { session.operations.to_string() } else { "-".to_owned() },
                session.peer.clone(),
                session.ending.clone().unwrap_or_else(|| "live".to_owned()),
            ]
        });
        output.table(&["id", "who", "connection", "started", "lasted", "operations", "from", "state"], rows.collect(), "No session that you may see.")
    })
}
