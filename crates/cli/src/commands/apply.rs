//! `countersign apply [DIR]`.

use std::path::PathBuf;

use api::types::{ApplyRequest, VersionView};

use crate::{client::Global, policy_files, story::counted};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Apply it even if nobody may administer under it: then only whoever can write the gateway's own files can change it. Recorded
    #[arg(long)]
    lock_everybody_out: bool,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let files = policy_files::read(&args.dir)?;
    let version: VersionView = global.client()?.post("/v1/versions", &ApplyRequest { files, lock_everybody_out: args.lock_everybody_out }).await?;
    global.output().show(&version, |_| {
        let connections = counted(version.connections, "connection");
        format!("Version {} is in force: {connections}.", version.hash.short())
    })
}
