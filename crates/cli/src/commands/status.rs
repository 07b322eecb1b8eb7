//! `countersign status`.

use api::types::StatusAnswer;

use crate::{
    client::Global,
    output::{maybe_moment, moment},
};

pub(crate) async fn run(global: &Global) -> anyhow::Result<()> {
    let answer: StatusAnswer = global.client()?.get("/v1/status").await?;
    global.output().show(&answer, |output| {
        let version = &answer.version;
        let by = version.applied_by.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let health = if answer.troubles.is_empty() { "ok".to_owned() } else { answer.troubles.join("; ") };
        let mut fields = vec![
            ("program", answer.program.clone()),
            ("running since", moment(answer.since)),
            ("health", health),
            ("policy version", version.hash.short()),
            ("applied", format!("{} by {by}", maybe_moment(version.applied_at))),
            ("connections", version.connections.to_string()),
            ("live sessions", answer.live_sessions.to_string()),
            ("waiting holds", answer.waiting_holds.to_string()),
            ("postgres", answer.gateway.postgres.join(", ")),
        ];
        if !answer.gateway.ssh.is_empty() {
            fields.push(("ssh", answer.gateway.ssh.join(", ")));
        }
        fields.extend(super::identity::ends(&answer.ending, &answer.ending_keys));
        fields.extend(answer.left_roles.iter().map(|left| ("left role", left.clone())));
        output.fields(&fields)
    })
}
