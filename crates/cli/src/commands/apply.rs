//! `countersign apply [DIR]`.

use std::path::PathBuf;

use api::types::{ApplyRequest, VersionView};

use crate::{client::Global, policy_files, story::counted};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory
    #[arg(default_value = ".")]
    dir: PathBuf,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let files = policy_files::read(&args.dir)?;
    let version: VersionView = global.client()?.post("/v1/versions", &ApplyRequest { files }).await?;
    global.output().show(&version, |_| {
        let connections = counted(version.connections, "connection");
        format!("Version {} is in force: {connections}.", version.hash.short())
    })
}
