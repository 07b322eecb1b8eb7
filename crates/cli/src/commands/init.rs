//! `countersign init DIR`: a working set of files, a CA, empty state, and the first administrator.

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use identity::{password, register::NewIdentity};
use model::{IdentityId, IdentityName, Secret, Timestamp};
use policy::starter_files;
use store::Store;

use crate::{certificates, client::Global, config::FILE_NAME};

/// The first administrator, and the group that `policy/system.cedar` lets govern.
const ADMINISTRATOR: &str = "admin";
const ADMINISTRATORS: &str = "administrators";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory; it is made if it is not there
    dir: PathBuf,
    /// Where PostgreSQL clients are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6432")]
    postgres: SocketAddr,
    /// Where the API is served over TLS, beside the local socket
    #[arg(long, value_name = "ADDRESS")]
    api: Option<SocketAddr>,
    /// Where /metrics and /healthz are served: a loopback address
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Where state, keys and recordings go; a relative path begins at the directory
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    data: PathBuf,
    /// A name or address callers reach this machine by, for the certificate; give it again for more
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let mut files = starter_files();
    files.insert(FILE_NAME.to_owned(), configuration(&args)?);
    let data = args.dir.join(&args.data);
    refuse_to_overwrite(&args.dir, &data, files.keys())?;
    for (path, text) in &files {
        write_new(&args.dir.join(path), text)?;
    }
    let store = Store::open(&data).await?;
    certificates::make(&data.join("tls"), &args.hosts, now)?;
    let (name, secret) = administrator(&store, now).await?;
    store.close().await;
    let Some(shown) = secret.reveal_str() else { bail!("the secret is no text") };
    let made = serde_json::json!({ "directory": args.dir, "administrator": name, "secret": shown, "ca": data.join("tls/ca.pem") });
    global.output().show(&made, |_| told(&args.dir, &data, &name, shown))
}

fn told(dir: &Path, data: &Path, name: &IdentityName, secret: &str) -> String {
    let socket = std::path::absolute(data).unwrap_or_else(|_| data.to_owned()).join("api.sock");
    let (dir, data, socket) = (dir.display(), data.display(), socket.display());
    format!(
        "A working set of files is in {dir}.

The first administrator is {name}. The password is shown this once:

    {secret}

Next:
    countersign serve {dir} &
    export COUNTERSIGN_SERVER={socket}
    countersign login {name}

{dir}/connections/README.md shows how to add a database.
Clients trust the gateway by {data}/tls/ca.pem."
    )
}

/// Nothing is written where anything is that would be lost.
fn refuse_to_overwrite<'a>(dir: &Path, data: &Path, paths: impl Iterator<Item = &'a String>) -> anyhow::Result<()> {
    let there: Vec<String> = paths
        .map(|path| dir.join(path))
        .chain(["state.db", "tls", "keys"].map(|name| data.join(name)))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    bail!("{} is there already, and init never overwrites: choose an empty directory", there.join(", "))
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!("{} is there already, and init never overwrites: choose an empty directory", path.display()),
        _ => anyhow::anyhow!("cannot write {}: {error}", path.display()),
    })
}

async fn administrator(store: &Store, now: Timestamp) -> anyhow::Result<(IdentityName, Secret)> {
    let secret = password::one_time()?;
    let hash = password::hash(&secret)?;
    let name: IdentityName = ADMINISTRATOR.parse()?;
    let mut random = [0u8; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
    let new = NewIdentity::user(name.clone(), vec![ADMINISTRATORS.parse()?])?;
    let state = store.state();
    state.add_identity(IdentityId::from_random(u64::from_le_bytes(random)), &new, &"init".parse()?, now).await?;
    state.set_password_hash(&name, Some(&hash)).await?;
    Ok((name, secret))
}

/// `countersign.toml` with every section and what it means.
fn configuration(args: &Args) -> anyhow::Result<String> {
    if let Some(address) = args.metrics
        && !address.ip().is_loopback()
    {
        bail!("{address} is not a loopback address, and measurements are served without TLS: use 127.0.0.1 or [::1]");
    }
    let optional = |name: &str, address: Option<SocketAddr>, usual: &str| match address {
        Some(address) => format!("{name} = \"{address}\""),
        None => format!("# {name} = \"{usual}\""),
    };
    Ok(format!(
        "# What the server itself needs to know; docs/configuration.md explains every line. Connections, policy and data classes are files of their own.

[data]
dir = {:?}                        # state, keys, recordings: back it up, keep it private

[listen]
postgres = \"{}\"
# ssh = \"127.0.0.1:2222\"      # machines; docs/connect-a-machine.md
{}    # the HTTP API over TLS; the local socket api.sock in the data directory is always there
{}   # /metrics and /healthz, loopback only

[holds]
expire_after_s = 900                # how long a held statement waits for a signature

[policy]
watch = true                        # serve applies this directory when its files change
",
        args.data,
        args.postgres,
        optional("api", args.api, "0.0.0.0:7443"),
        optional("metrics", args.metrics, "127.0.0.1:9464"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn args(dir: &Path) -> Args {
        Args {
            dir: dir.to_owned(),
            postgres: "127.0.0.1:0".parse().unwrap(),
            api: None,
            metrics: Some("127.0.0.1:0".parse().unwrap()),
            data: PathBuf::from("data"),
            hosts: vec![],
        }
    }

    fn global() -> Global {
        Global { server: None, ca: None, json: true }
    }

    #[tokio::test]
    async fn what_init_writes_is_read_back_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("set");
        run(&global(), args(&dir)).await.unwrap();
        let config = Config::read(&dir).unwrap();
        assert_eq!(config.listen.postgres, ["127.0.0.1:0".parse().unwrap()]);
        assert!(config.listen.metrics.is_some() && config.listen.api.is_none());
        let before = std::fs::read(dir.join("data/tls/ca.pem")).unwrap();
        let error = run(&global(), args(&dir)).await.unwrap_err().to_string();
        assert!(error.contains("never overwrites"), "{error}");
        assert_eq!(std::fs::read(dir.join("data/tls/ca.pem")).unwrap(), before);

        let store = Store::open(&dir.join("data")).await.unwrap();
        let admin = store.state().identity(&"admin".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(admin.created_by.as_str(), "init");
        assert_eq!(admin.groups[0].as_str(), ADMINISTRATORS);
    }

    #[tokio::test]
    async fn data_go_where_they_are_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, data) = (folder.path().join("set"), folder.path().join("elsewhere/data"));
        run(&global(), Args { data: data.clone(), ..args(&dir) }).await.unwrap();
        assert_eq!(Config::read(&dir).unwrap().data.dir, data);
        assert!(data.join("state.db").exists() && data.join("tls/ca.pem").exists() && !dir.join("data").exists());
        let other = folder.path().join("other");
        let error = run(&global(), Args { data, ..args(&other) }).await.unwrap_err().to_string();
        assert!(error.contains("elsewhere/data/state.db") && !other.exists(), "{error}");
    }

    #[test]
    fn measurements_are_not_offered_to_the_network() {
        let wrong = Args { metrics: Some("0.0.0.0:9464".parse().unwrap()), ..args(Path::new("x")) };
        assert!(configuration(&wrong).is_err());
    }
}
