//! `countersign connections`.

use api::types::ConnectionsAnswer;

use crate::client::Global;

pub(crate) async fn run(global: &Global) -> anyhow::Result<()> {
    let answer: ConnectionsAnswer = global.client()?.get("/v1/connections").await?;
    global.output().show(&answer, |output| {
        let rows = answer.connections.iter().map(|connection| {
            vec![
                connection.name.to_string(),
                connection.protocol.clone(),
                connection.environment.to_string(),
                connection.database.clone(),
                connection.tags.join(", "),
                connection.description.clone().unwrap_or_default(),
            ]
        });
        output.table(
            &["name", "protocol", "environment", "database", "tags", "description"],
            rows.collect(),
            "Policy lets you open no connection. Ask an administrator for membership of a group that may.",
        )
    })
}
