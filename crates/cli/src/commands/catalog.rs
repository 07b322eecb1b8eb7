//! `countersign catalog export CONNECTION`: a snapshot of a target's catalog, for policy tests where the target is out of reach.

use std::path::PathBuf;

use anyhow::Context;
use model::ConnectionName;

use crate::client::{Global, query};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write the catalog of a connection's database
    Export {
        /// The connection
        connection: ConnectionName,
        /// The database; the connection's own if none is given
        #[arg(long)]
        database: Option<String>,
        /// The file; `check` reads DIR/catalogs/CONNECTION.json. Default: standard output
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let Command::Export { connection, database, output: file } = args.command;
    let path = format!("/v1/connections/{connection}/catalog{}", query(&[("database", database)]));
    let snapshot: Box<serde_json::value::RawValue> = global.client()?.get(&path).await?;
    let Some(file) = file else { return global.output().line(snapshot.get()) };
    std::fs::write(&file, format!("{snapshot}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    let shown = serde_json::json!({ "connection": connection, "file": file });
    global.output().show(&shown, |_| format!("The catalog of {connection} is in {}.", file.display()))
}
