//! `countersign ssh-ca`: what machines are to trust.

use api::types::ConnectionsAnswer;

use crate::{client::Global, ssh::Gate};

pub(crate) async fn run(global: &Global) -> anyhow::Result<()> {
    let client = global.client()?;
    let answer: ConnectionsAnswer = client.get("/v1/connections").await?;
    let gate = Gate::of(&client.server, answer.gateway)?;
    global.output().show(&gate.keys, |_| gate.keys.user_authority.clone())
}
