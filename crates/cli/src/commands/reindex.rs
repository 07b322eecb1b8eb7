//! `countersign reindex`.

use api::types::ReindexAnswer;

use crate::client::Global;

pub(crate) async fn run(global: &Global) -> anyhow::Result<()> {
    let answer: ReindexAnswer = global.client()?.post("/v1/reindex", &()).await?;
    global.output().show(&answer, |_| {
        let faults = answer.faults.iter().map(|fault| format!("\n{}", model::name::printable(fault)));
        format!("The index was rebuilt: {} records of {} recordings.{}", answer.records, answer.recordings, faults.collect::<String>())
    })
}
