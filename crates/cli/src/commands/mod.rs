//! What people type. Each command is a file of this folder: its arguments, and `run`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use model::ConnectionName;

use crate::client::Global;

mod apply;
mod approve;
mod catalog;
mod check;
mod classify;
pub(crate) mod connect;
mod connections;
mod deny;
mod explain_statement;
mod holds;
mod identity;
mod identity_key;
mod init;
mod kill;
mod login;
mod logout;
mod provider;
mod reindex;
mod replay;
mod request;
mod requests;
mod search;
mod secret;
mod serve;
mod sessions;
mod show;
mod ssh_ca;
mod ssh_config;
mod ssh_key;
mod status;
mod store;
mod tail;
mod token;
mod watch;
mod who;
mod whoami;

/// Stands between every identity and every target: decides, masks, holds, records.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a working set of files, make a CA, and print the administrator's one-time secret
    Init(init::Args),
    /// Run the gateway
    Serve(serve::Args),
    /// Check policy files and run their tests
    Check(check::Args),
    /// Make a directory's policy the current version
    Apply(apply::Args),
    /// Write catalog snapshots for `check`
    Catalog(catalog::Args),
    /// Sample a database and propose what of it is sensitive
    Classify(classify::Args),
    /// Show how the gateway stands
    Status,
    /// Rebuild the search index from the recordings
    Reindex,
    /// Sign in at your company's provider, or as a built-in user with a password
    Login(login::Args),
    /// Revoke the token of this sign-in and forget it
    Logout,
    /// Show who is signed in
    Whoami,
    /// List the connections you may open
    Connections,
    /// Start a client on a connection, signed in
    Connect(connect::Args),
    /// Mint, list and revoke tokens
    Token(token::Args),
    /// Register, list and revoke keys for signing in over SSH
    SshKey(ssh_key::Args),
    /// Print what ssh needs to know for reaching machines by name
    SshConfig(ssh_config::Args),
    /// Print the authority that machines are to trust: a line for TrustedUserCAKeys
    SshCa,
    /// Ask for a role of a connection for a while, or list the roles there are
    Request(request::Args),
    /// List requests, comment on them, give back or take what was granted
    Requests(requests::Args),
    /// List operations that wait for a signature
    Holds(holds::Args),
    /// Sign a held operation or a request
    Approve(approve::Args),
    /// Refuse a held operation or a request
    Deny(deny::Args),
    /// List sessions
    Sessions(sessions::Args),
    /// Print what happened in a session, a held operation or a request
    Show(show::Args),
    /// Play a session as it happened
    Replay(replay::Args),
    /// Find operations in all recordings
    Search(search::Args),
    /// Follow operations as they happen
    Tail(tail::Args),
    /// Watch a live terminal, and end it if you want; sign for one that runs only while it is watched
    Watch(watch::Args),
    /// End a live session
    Kill(kill::Args),
    /// Add, list, show, renew and revoke identities, set owners, groups and passwords
    Identity(identity::Args),
    /// Revoke a provider of people or an issuer of jobs' tokens, or allow it again
    Provider(provider::Args),
    /// Say what a statement means and what policy says of it; nothing is run
    ExplainStatement(explain_statement::Args),
    /// Show who made an identity, who answers for it, what it can reach and what it used
    Explain {
        /// The identity
        name: model::IdentityName,
    },
    /// List who can do something, by the policies in force
    WhoCan(who::Can),
    /// List who did what to a table, from the records
    WhoTouched(who::Touched),
    /// Keep target secrets in the encrypted store
    Secret(secret::Args),
    /// Move state and index to PostgreSQL, or back
    Store(store::Args),
}

/// Runs one command to its end.
///
/// # Errors
/// In sentences for people that say what to do next.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let global = arguments.global;
    match arguments.command {
        Command::Init(args) => brief(init::run(&global, args)),
        Command::Store(args) => brief(store::run(&global, args)),
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(&global, &args),
        Command::Connect(args) => brief(connect::run(&global, args)),
        other => brief(ask(&global, other)),
    }
}

/// Runs what needs little more than one connection on the current thread.
fn brief<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<ExitCode>
where
    ExitCode: From<Ended<T>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(work).map(|value| ExitCode::from(Ended(value)))
}

/// How a command ended: nothing more to say, or a status of its own.
struct Ended<T>(T);

impl From<Ended<()>> for ExitCode {
    fn from(_: Ended<()>) -> Self {
        Self::SUCCESS
    }
}

impl From<Ended<Self>> for ExitCode {
    fn from(ended: Ended<Self>) -> Self {
        ended.0
    }
}

async fn ask(global: &Global, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Apply(args) => apply::run(global, args).await,
        Command::Catalog(args) => catalog::run(global, args).await,
        Command::Classify(args) => classify::run(global, args).await,
        Command::Status => status::run(global).await,
        Command::Reindex => reindex::run(global).await,
        Command::Request(args) => request::run(global, args).await,
        Command::Requests(args) => requests::run(global, args).await,
        Command::Holds(args) => holds::run(global, args).await,
        Command::Approve(args) => approve::run(global, args).await,
        Command::Deny(args) => deny::run(global, args).await,
        Command::Sessions(args) => sessions::run(global, args).await,
        Command::Show(args) => show::run(global, args).await,
        Command::Replay(args) => replay::run(global, args).await,
        Command::Search(args) => search::run(global, args).await,
        Command::Tail(args) => tail::run(global, args).await,
        Command::Watch(args) => watch::run(global, args).await,
        Command::Kill(args) => kill::run(global, args).await,
        Command::Identity(args) => identity::run(global, args).await,
        Command::Provider(args) => provider::run(global, args).await,
        Command::Explain { name } => identity::explain(global, &name).await,
        Command::WhoCan(args) => who::can(global, args).await,
        Command::WhoTouched(args) => who::touched(global, args).await,
        Command::ExplainStatement(args) => explain_statement::run(global, args).await,
        Command::Secret(args) => secret::run(global, args).await,
        other => come_in(global, other).await,
    }
}

/// Signing in, and what opens connections.
async fn come_in(global: &Global, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Login(args) => login::run(global, args).await,
        Command::Logout => logout::run(global).await,
        Command::Whoami => whoami::run(global).await,
        Command::Connections => connections::run(global).await,
        Command::Token(args) => token::run(global, args).await,
        Command::SshKey(args) => ssh_key::run(global, args).await,
        Command::SshConfig(args) => ssh_config::run(global, args).await,
        Command::SshCa => ssh_ca::run(global).await,
        // Whoever calls this has run the others.
        _ => Ok(()),
    }
}

/// A span of time as people type it: `90s`, `15m`, `8h`, `30d`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write a number and s, m, h or d, such as 15m or 90d".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "write a number and s, m, h or d, such as 15m or 90d".to_owned())?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or_else(|| "that is no span of time".to_owned())
}

/// A connection, and the database behind it if it has any.
pub(crate) fn place(connection: &ConnectionName, database: &str) -> String {
    if database.is_empty() { connection.to_string() } else { format!("{connection}/{database}") }
}

/// `session` or `sessions`.
pub(crate) const fn sessions_word(count: u64) -> &'static str {
    if count == 1 { "session" } else { "sessions" }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_argument_takes_a_secret() {
        fn walk(command: &clap::Command, seen: &mut Vec<String>) {
            seen.extend(command.get_arguments().map(|argument| argument.get_id().to_string()));
            command.get_subcommands().for_each(|below| walk(below, seen));
        }
        let mut seen = Vec::new();
        walk(&Arguments::command(), &mut seen);
        for word in ["password", "secret", "token", "value"] {
            assert!(!seen.iter().any(|id| id == word), "an argument called {word}");
        }
    }

    #[test]
    fn spans_are_read() {
        assert_eq!(["90s", "15m", "8h", "30d"].map(|text| seconds(text).unwrap()), [90, 900, 28_800, 2_592_000]);
        for text in ["", "15", "m", "0m", "-1m", "1w", "99999999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
