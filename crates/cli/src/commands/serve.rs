//! `countersign serve [DIR]`: the gateway itself.
//!
//! Reads `countersign.toml`, opens the store, takes the policy version that is to be in force, listens, says so on standard output, and goes on
//! until SIGTERM or SIGINT, which drains. SIGHUP applies the directory at once.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use api::{
    Api,
    types::{GatewayView, SshKeysView},
};
use gateway::{CallerTls, Gateway, Stop, TargetCatalogs, Threads};
use identity::{
    oidc::{Provider, Settings},
    ssh::SshKeys,
    vault::Vault,
    workload,
};
use model::{IdentityName, ProviderName, Timestamp};
use policy::{Files, Version, version::Problem};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::Serialize;
use session::{Guard, Issuers, Providers, guard::ApplyError, limits::Limits, live::EndReason};
use store::Store;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{config::Config, credentials::write_private, policy_files, supervisor, telemetry::Sending};

/// Stack of every thread: statements nest deeply, and what parses them recurses.
const STACK_BYTES: usize = 32 << 20;
/// How often the directory is looked at, and how long its files must stay the same before they are applied: half a file is no policy.
const WATCH: Duration = Duration::from_secs(1);
/// How often the search index takes what is new.
const INDEX: Duration = Duration::from_secs(2);
/// How long sessions have to end once they were told to, after the time to drain.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Who applies the directory, in records.
const ITSELF: &str = "countersign";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that holds countersign.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// How log lines are written to standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// A JSON value a line
    Json,
}

/// `addresses.json`: where this process listens, for tools that start it on ports of the system's choice.
#[derive(Debug, Serialize)]
struct Addresses {
    postgres: Vec<SocketAddr>,
    ssh: Vec<SocketAddr>,
    api: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    socket: PathBuf,
    pid: u32,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let dir = std::path::absolute(&args.dir).with_context(|| format!("cannot find {}", args.dir.display()))?;
    let config = Config::read(&dir)?;
    // Relative paths in connections begin here, whoever applied them and from wherever this was started.
    std::env::set_current_dir(&dir).with_context(|| format!("cannot work in {}", dir.display()))?;
    keep_private()?;
    start_log(args.log_format);
    take_all_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).thread_name("countersign").build();
    let served = runtime.context("cannot start")?.block_on(serve(&dir, &config));
    served.map(|()| ExitCode::SUCCESS)
}

/// Nothing of this process may be read from a core dump or by a debugger, and what it writes is its user's alone.
fn keep_private() -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("the system lets secrets be dumped")?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("the system lets secrets be dumped")
}

/// A session takes three file descriptors; the soft limit of many systems would be reached by a few hundred.
fn take_all_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

/// A file that may not grow (`ulimit -f`, `LimitFSIZE`) is an error for whoever writes it, not the end of the process. tokio keeps the handler for good.
fn outlive_file_limits() -> anyhow::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop).context("cannot handle SIGXFSZ")
}

/// `COUNTERSIGN_LOG` filters as `RUST_LOG` does elsewhere: `info` if it is not set.
fn start_log(format: LogFormat) {
    let filter = std::env::var("COUNTERSIGN_LOG").ok().and_then(|text| tracing_subscriber::EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A subscriber that is there already stays: the first one counts.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

async fn serve(dir: &Path, config: &Config) -> anyhow::Result<()> {
    let since = Timestamp::now();
    outlive_file_limits()?;
    let store = Store::open_with(&config.data.dir, &config.store.home(dir)?, config.recording.settings()).await?;
    tell_of_masks(&store);
    if let Some(vault) = &config.vault {
        store.secrets().use_vault(Vault::new(vault.clone(), dir).context("[vault]")?);
    }
    let guard = guard_over(&store, dir, config, since).await?;
    let sending = Sending::begin(&config.telemetry)?;
    if let Some(sending) = &sending {
        guard.trace_to(sending.traces());
    }
    if guard.ssh().is_none() && !config.listen.ssh.is_empty() {
        // Another host key would look like another machine to every caller.
        bail!("the deployment key that sealed the keys for SSH is gone: restore it in keys/, or take `ssh` out of [listen]");
    }
    let listeners = Listeners::open(config).await?;
    let addresses = listeners.addresses(config)?;
    let tls = Tls::load(config)?;
    let api = Api::new(guard.clone(), tls.view(&addresses, &guard)?, since);
    let (stop, stopping) = watch::channel(Stop::No);
    let threads = Threads::start(STACK_BYTES).context("cannot start the threads of sessions")?;
    let gateway = Arc::new(Gateway::new(guard.clone(), Some(tls.callers.clone()), &names(config, &addresses), threads, stopping));

    let mut others = JoinSet::new();
    others.spawn(guard.clone().watch());
    others.spawn(gateway.watch_roles());
    others.spawn(keep_index(api.clone()));
    if config.policy.watch {
        others.spawn(watch_directory(dir.to_owned(), guard.clone()));
    }
    let mut sessions = listeners.serve(&gateway, &api, tls.api, &stop, &mut others);
    announce(config, &addresses)?;
    supervisor::tell(supervisor::State::Ready);
    wait_for_end(dir, &guard).await?;

    tracing::info!(live = guard.live().count(), "stopping: sessions end as soon as they have nothing open");
    supervisor::tell(supervisor::State::Stopping);
    let _ = stop.send(Stop::Drain);
    drain(&guard, &mut sessions, Duration::from_millis(config.listen.drain_ms)).await;
    gateway.finish_roles(LAST_WORDS).await;
    let _ = std::fs::remove_file(addresses_file(config));
    let _ = std::fs::remove_file(config.socket());
    others.shutdown().await;
    if let Some(sending) = sending {
        sending.finish().await;
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The guard as the configuration has it, under the version in force.
async fn guard_over(store: &Store, dir: &Path, config: &Config, now: Timestamp) -> anyhow::Result<Arc<Guard>> {
    let version = version_to_begin_with(store, dir, config.policy.watch, now).await?;
    tell_what_was_left(store, now).await?;
    let limits = Limits { holds: config.holds.clone(), identities: config.identities.clone(), ..config.limits.clone() };
    let guard = Guard::new(store.clone(), version, limits, Arc::new(TargetCatalogs::new(store.clone())));
    guard.load_grants(now).await?;
    guard.sign_in_at(providers(dir, config)?);
    guard.trust_issuers(issuers(dir, config)?);
    if let Some(url) = &config.tokens.issuer {
        guard.call_it(url.clone());
    }
    Ok(guard)
}

/// Where people sign in.
fn providers(dir: &Path, config: &Config) -> anyhow::Result<Providers> {
    let provider = |(name, settings): (&ProviderName, &Settings)| {
        Provider::new(name.clone(), settings.clone(), dir).with_context(|| format!("[providers.{name}]"))
    };
    Ok(Providers::new(config.providers.iter().map(provider).collect::<anyhow::Result<Vec<_>>>()?))
}

/// Where jobs run whose tokens are taken.
fn issuers(dir: &Path, config: &Config) -> anyhow::Result<Issuers> {
    let issuer = |(name, settings): (&ProviderName, &workload::Settings)| {
        workload::Issuer::new(name.clone(), settings.clone(), dir).with_context(|| format!("[issuers.{name}]"))
    };
    Ok(Issuers::new(config.issuers.iter().map(issuer).collect::<anyhow::Result<Vec<_>>>()?))
}

/// What callers over SSH call the gateway: names of its host certificate.
fn names(config: &Config, addresses: &Addresses) -> Vec<String> {
    let mut names: Vec<String> = config.tokens.issuer.iter().map(|url| url.host().to_owned()).collect();
    names.extend(addresses.ssh.iter().map(|address| address.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    names.sort();
    names.dedup();
    names
}

fn tell_of_masks(store: &Store) {
    if store.masking().is_none() {
        tracing::error!(
            "the deployment key that sealed the secret of masks is gone: what is masked by `hash` or `token` is withheld until it is back in keys/"
        );
    }
}

fn until_stopped(stop: &watch::Sender<Stop>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.subscribe();
    async move {
        let _ = stop.wait_for(|stop| *stop != Stop::No).await;
    }
}

/// The version in force when the first caller comes: the directory's if it is watched and right, else the one applied last, else the directory's.
async fn version_to_begin_with(store: &Store, dir: &Path, watched: bool, now: Timestamp) -> anyhow::Result<Version> {
    let stored = store.state().current_version().await?;
    let files = policy_files::read(dir);
    let (stored, problems) = match (stored, watched) {
        (Some(stored), false) => (stored, Vec::new()),
        (None, _) => {
            let files = files?;
            let version = load(files.clone()).await?.map_err(|problems| anyhow::anyhow!("{}", listed(&problems)))?;
            store.state().add_version(version.hash, &files, &itself()?, now).await?;
            return Ok(version);
        }
        (Some(stored), true) => {
            let files = files?;
            match load(files.clone()).await? {
                Ok(version) if version.hash == stored.applied.hash => return Ok(version),
                Ok(version) => {
                    store.state().add_version(version.hash, &files, &itself()?, now).await?;
                    return Ok(version);
                }
                Err(problems) => (stored, problems),
            }
        }
    };
    if !problems.is_empty() {
        tracing::error!(problems = %listed(&problems), version = %stored.applied.hash.short(), "the policy directory is not valid: the version applied last stays in force");
    }
    let version = load(stored.files).await?;
    version.map_err(|problems| anyhow::anyhow!("the version applied last is no longer valid: {}", listed(&problems)))
}

async fn load(files: Files) -> anyhow::Result<Result<Version, Vec<Problem>>> {
    tokio::task::spawn_blocking(move || Version::load(&files)).await.context("the policy files could not be checked")
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

fn itself() -> anyhow::Result<IdentityName> {
    ITSELF.parse().context("the gateway's own name")
}

/// Ends in the listings what a killed process left open, and says which of its operations have an unknown outcome.
async fn tell_what_was_left(store: &Store, now: Timestamp) -> anyhow::Result<()> {
    let left = store.state().note_restart(now).await?;
    if left.sessions > 0 || left.holds > 0 {
        tracing::warn!(left.sessions, left.holds, "the last process was killed: its live sessions are ended and its holds withdrawn");
    }
    let recordings = store.recordings().clone();
    let unfinished = tokio::task::spawn_blocking(move || recordings.unfinished()).await.context("recordings could not be looked at")?;
    for recording in unfinished? {
        if let Some(error) = &recording.error {
            tracing::error!(session = %recording.session, %error, "a recording cannot be read to its end");
        }
        if !recording.unknown.is_empty() {
            let count = recording.unknown.len();
            tracing::warn!(session = %recording.session, count, "operations were forwarded whose outcome is unknown; `countersign show` names them");
        }
    }
    Ok(())
}

struct Listeners {
    postgres: Vec<TcpListener>,
    ssh: Vec<TcpListener>,
    api: Option<TcpListener>,
    metrics: Option<TcpListener>,
    local: tokio::net::UnixListener,
}

impl Listeners {
    async fn open(config: &Config) -> anyhow::Result<Self> {
        let mut postgres = Vec::new();
        for address in &config.listen.postgres {
            postgres.push(bind(*address).await?);
        }
        if postgres.is_empty() && config.listen.ssh.is_empty() {
            bail!("[listen] in countersign.toml names no address for callers, neither `postgres` nor `ssh`: nobody could come in");
        }
        let mut ssh = Vec::new();
        for address in &config.listen.ssh {
            ssh.push(bind(*address).await?);
        }
        let api = match config.listen.api {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let metrics = match config.listen.metrics {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let socket = config.socket();
        let local = api::listen::bind_local(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        Ok(Self { postgres, ssh, api, metrics, local })
    }

    /// Serves everything; the tasks that are returned end when their last session has.
    fn serve(self, gateway: &Arc<Gateway>, api: &Arc<Api>, tls: TlsAcceptor, stop: &watch::Sender<Stop>, others: &mut JoinSet<()>) -> JoinSet<()> {
        let mut sessions = JoinSet::new();
        for listener in self.postgres {
            let gateway = gateway.clone();
            sessions.spawn(async move { gateway.serve_postgres(listener).await });
        }
        for listener in self.ssh {
            let gateway = gateway.clone();
            sessions.spawn(async move { gateway.serve_ssh(listener).await });
        }
        let router = api::router(api.clone());
        others.spawn(api::listen::serve_local(self.local, router.clone(), until_stopped(stop)));
        if let Some(listener) = self.api {
            others.spawn(api::listen::serve_tls(listener, tls, router, until_stopped(stop)));
        }
        if let Some(listener) = self.metrics {
            others.spawn(api::listen::serve_plain(listener, api::watch_router(api.clone()), until_stopped(stop)));
        }
        sessions
    }

    fn addresses(&self, config: &Config) -> anyhow::Result<Addresses> {
        Ok(Addresses {
            postgres: self.postgres.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?,
            ssh: self.ssh.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?,
            api: self.api.as_ref().map(TcpListener::local_addr).transpose()?,
            metrics: self.metrics.as_ref().map(TcpListener::local_addr).transpose()?,
            socket: std::path::absolute(config.socket())?,
            pid: std::process::id(),
        })
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another in [listen] of countersign.toml, or end what listens there"))
}

/// One certificate, for callers of every kind.
struct Tls {
    callers: CallerTls,
    api: TlsAcceptor,
    ca: Option<String>,
}

impl Tls {
    fn load(config: &Config) -> anyhow::Result<Self> {
        let (certificate, key, ca) = config.certificate_files();
        let hint = "`countersign init` makes certificates; [tls] in countersign.toml names others";
        let callers = CallerTls::load(&certificate, &key).context(hint)?;
        let chain: Vec<_> = CertificateDer::pem_file_iter(&certificate).and_then(Iterator::collect).context(hint)?;
        let key = PrivateKeyDer::from_pem_file(&key).context(hint)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut api = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        api.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { callers, api: TlsAcceptor::from(Arc::new(api)), ca: std::fs::read_to_string(ca).ok() })
    }

    fn view(&self, addresses: &Addresses, guard: &Guard) -> anyhow::Result<GatewayView> {
        let keys = guard.ssh().filter(|_| !addresses.ssh.is_empty());
        let view = |keys: &SshKeys| -> anyhow::Result<SshKeysView> {
            let host_key = keys.host().public_key().to_openssh().context("the host key cannot be written out")?;
            Ok(SshKeysView { host_key, host_authority: keys.host_authority()?, user_authority: keys.authority()? })
        };
        let ssh_keys = keys.map(view).transpose()?;
        Ok(GatewayView { postgres: texts(&addresses.postgres), ssh: texts(&addresses.ssh), ssh_keys, ca: self.ca.clone() })
    }
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn addresses_file(config: &Config) -> PathBuf {
    config.data.dir.join("addresses.json")
}

fn announce(config: &Config, addresses: &Addresses) -> anyhow::Result<()> {
    write_private(&addresses_file(config), &serde_json::to_vec_pretty(addresses)?)?;
    let postgres = addresses.postgres.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    // Whoever started this may not listen to it; that ends nothing.
    let _ = writeln!(std::io::stdout(), "ready postgres={postgres} socket={}", addresses.socket.display());
    tracing::info!(%postgres, ssh = ?addresses.ssh, api = ?addresses.api, metrics = ?addresses.metrics, "listening");
    Ok(())
}

/// Applies the directory whenever its files have changed and then stayed the same for a while.
async fn watch_directory(dir: PathBuf, guard: Arc<Guard>) {
    let mut looks = tokio::time::interval(WATCH);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last, mut settled): (Option<Files>, Option<Files>) = (None, None);
    loop {
        looks.tick().await;
        let from = dir.clone();
        let read = tokio::task::spawn_blocking(move || policy_files::read(&from)).await;
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the policy directory cannot be read: the version in force stays");
                continue;
            }
            Err(_) => continue,
        };
        if last.as_ref() == Some(&files) && settled.as_ref() != Some(&files) {
            apply(&guard, &files).await;
            settled = Some(files.clone());
        }
        last = Some(files);
    }
}

async fn apply(guard: &Guard, files: &Files) {
    let Ok(itself) = itself() else { return };
    let before = guard.version().hash;
    match guard.apply_as(files, &itself, Timestamp::now()).await {
        Ok(hash) if hash == before => {}
        Ok(hash) => tracing::info!(version = %hash.short(), "the policy directory changed and is in force"),
        Err(ApplyError::Invalid(problems)) => {
            tracing::error!(problems = %listed(&problems), "the policy directory is not valid: the version in force stays");
        }
        Err(error) => tracing::error!(%error, "the policy directory could not be applied"),
    }
}

async fn keep_index(api: Arc<Api>) {
    let mut turns = tokio::time::interval(INDEX);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if let Err(error) = api.catch_up().await {
            tracing::error!(%error, "the search index could not be brought up to date");
        }
    }
}

/// Returns when it is time to stop; applies the directory at SIGHUP.
async fn wait_for_end(dir: &Path, guard: &Guard) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = reload.recv() => match policy_files::read(dir) {
                Ok(files) => apply(guard, &files).await,
                Err(error) => tracing::error!(%error, "the policy directory cannot be read: the version in force stays"),
            },
        }
    }
}

/// Waits for sessions to end by themselves, then ends them.
async fn drain(guard: &Guard, sessions: &mut JoinSet<()>, patience: Duration) {
    let all_ended = async |sessions: &mut JoinSet<()>| while sessions.join_next().await.is_some() {};
    if tokio::time::timeout(patience, all_ended(sessions)).await.is_ok() {
        return;
    }
    let ended = guard.live().end_all(&EndReason::Stopping);
    tracing::warn!(ended, "sessions were still busy and are ended");
    if tokio::time::timeout(LAST_WORDS, all_ended(sessions)).await.is_err() {
        tracing::error!("sessions did not end in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, policy: &str) {
        std::fs::create_dir_all(dir.join("policy")).unwrap();
        std::fs::write(dir.join("policy/a.cedar"), policy).unwrap();
    }

    /// A directory that is not valid never takes the place of the version in force, nor is it taken without one.
    #[tokio::test]
    async fn the_version_to_begin_with_is_the_last_valid_one() {
        const ONE: &str = "permit (principal in Group::\"a\", action, resource);";
        const TWO: &str = "permit (principal in Group::\"b\", action, resource);";
        let folder = tempfile::tempdir().unwrap();
        let (dir, now) = (folder.path(), Timestamp::now());
        let store = Store::open(&dir.join("data")).await.unwrap();
        write(dir, "permit (principal, action, resource)");
        let error = version_to_begin_with(&store, dir, true, now).await.unwrap_err().to_string();
        assert!(error.contains("policy/a.cedar:1:"), "{error}");

        write(dir, ONE);
        let one = version_to_begin_with(&store, dir, true, now).await.unwrap().hash;
        write(dir, "permit (principal, action, resource)");
        assert_eq!(version_to_begin_with(&store, dir, true, now).await.unwrap().hash, one);

        write(dir, TWO);
        assert_eq!(version_to_begin_with(&store, dir, false, now).await.unwrap().hash, one, "nobody applied it");
        let two = version_to_begin_with(&store, dir, true, now).await.unwrap().hash;
        assert_ne!(two, one);
        assert_eq!(store.state().current_version().await.unwrap().unwrap().applied.hash, two);
    }
}
