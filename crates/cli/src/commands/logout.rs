//! `countersign logout`.

use crate::{
    client::Global,
    credentials,
    ssh::{self, Files},
};

pub(crate) async fn run(global: &Global) -> anyhow::Result<()> {
    let told = match global.client() {
        Ok(client) => client.post::<Option<()>>("/v1/logout", &()).await.err(),
        Err(error) => Some(error),
    };
    credentials::forget()?;
    ssh::forget(&Files::find()?);
    match told {
        None => global.output().show(&serde_json::json!({ "signed_in": false }), |_| "Signed out; the token was revoked.".to_owned()),
        Some(error) => Err(error.context("the token was forgotten here, but the server could not be told")),
    }
}
