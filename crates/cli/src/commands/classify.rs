//! `countersign classify CONNECTION`: samples a database and proposes entries of `data-classes.toml`.

use std::path::PathBuf;

use anyhow::Context;
use model::ConnectionName;
use policy::survey::Report;

use crate::client::Global;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection
    connection: ConnectionName,
    /// The database; the connection's own if none is given
    #[arg(long)]
    database: Option<String>,
    /// How many rows of each table are sampled
    #[arg(long, default_value_t = 500)]
    rows: u32,
    /// After how long no further table is begun
    #[arg(long, default_value = "60s", value_parser = super::seconds)]
    within: u64,
    /// The file the proposal goes to. Default: standard output
    #[arg(long, short)]
    output: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let path = format!("/v1/connections/{}/classify", args.connection);
    let request = serde_json::json!({ "database": args.database, "rows": args.rows, "seconds": args.within });
    let report: Report = global.client()?.post(&path, &request).await?;
    let Some(file) = args.output else { return global.output().show(&report, |_| report.toml()) };
    std::fs::write(&file, report.toml()).with_context(|| format!("cannot write {}", file.display()))?;
    global.output().show(&report, |_| {
        let columns = report.proposed.len();
        format!("{}\nColumns that are proposed for a class: {columns}. The proposal is in {}.", report.coverage().join("\n"), file.display())
    })
}
