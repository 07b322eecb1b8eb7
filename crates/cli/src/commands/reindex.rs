//! `countersign reindex`.

use api::types::ReindexAnswer;

use crate::client::Global;

pub(crate) async fn run(global: &Global) -> anyhow::Result<()> {
    let answer: ReindexAnswer = global.client()?.post("/v1/reindex", &()).await?;
    global.output().show(&answer, |_| format!("The index was rebuilt: {} operations of {} recordings.", answer.operations, answer.recordings))
}
