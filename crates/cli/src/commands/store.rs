//! `countersign store copy`: moves state and index from the data directory to PostgreSQL, or back, while no gateway runs.

use std::path::{Path, PathBuf};

use ::store::Home;
use anyhow::{Context, bail};

use crate::{client::Global, config::Config};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Copy state and index, whole or not at all, and close the source; stop the gateway first
    Copy {
        /// The directory that holds countersign.toml
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Where the store is now
        #[arg(long, value_enum)]
        from: Kind,
        /// Where it goes; it must be empty
        #[arg(long, value_enum)]
        to: Kind,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// The data directory
    Embedded,
    /// What `[store] postgres` in countersign.toml describes
    Postgres,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let Command::Copy { dir, from, to } = args.command;
    let config = Config::read(&dir)?;
    if from == to {
        bail!("a copy goes from one kind of store to the other: --from embedded --to postgres, or --from postgres --to embedded");
    }
    let (source, target) = (home(&config, &dir, from)?, home(&config, &dir, to)?);
    let copied = ::store::copy(&config.data.dir, &source, &target).await?;
    let rows: u64 = copied.iter().map(|(_, rows)| rows).sum();
    let tables: serde_json::Map<_, _> = copied.iter().map(|(table, rows)| ((*table).to_owned(), (*rows).into())).collect();
    global.output().show(&serde_json::json!({ "rows": rows, "tables": tables }), |_| {
        format!("{rows} rows of {} tables are copied and read back. {}", copied.len(), next(to, &config))
    })
}

fn home(config: &Config, dir: &Path, kind: Kind) -> anyhow::Result<Home> {
    match kind {
        Kind::Embedded => Ok(Home::Embedded),
        Kind::Postgres if config.store.postgres.is_some() => config.store.home(dir),
        Kind::Postgres => Err(anyhow::anyhow!("{} has no [store] postgres", crate::config::FILE_NAME)).context("PostgreSQL is not described yet"),
    }
}

fn next(to: Kind, config: &Config) -> String {
    match to {
        Kind::Postgres => format!(
            "The gateway uses them when it is started. The old files are {0}/state.db.copied and {0}/index.db.copied.",
            config.data.dir.display()
        ),
        Kind::Embedded => "Remove [store] from countersign.toml before the gateway is started.".to_owned(),
    }
}
