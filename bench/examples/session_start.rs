//! What looking who is calling costs when a session begins: the token and the register in the embedded store, twice, the policies, the registration. No network, no target.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use identity::NewIdentity;
use model::{Connection, Timestamp, token::TokenUse};
use policy::{Files, Version, classify::postgres::catalog::Catalog};
use session::{
    Guard, Limits, Wanted, admit,
    catalogs::{Asked, CatalogSource},
    register,
    sign_in::SignInFor,
    tokens::TokenRequest,
};
use store::Store;

const SESSIONS: usize = 20_000;
const POLICY: &str =
    r#"permit (principal in Group::"engineers", action in [Action::"connect", Action::"read"], resource in Environment::"production");"#;
const CONNECTION: &str = "protocol = \"postgres\"\nhost = \"127.0.0.1\"\ndatabase = \"shop\"\nenvironment = \"production\"\nuser = \"app\"\n";

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("data")).await?;
    let files: Files =
        [("policy/a.cedar", POLICY), ("connections/prod-pg.toml", CONNECTION)].map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    let version = Version::load(&files).map_err(|problems| format!("{problems:?}"))?;
    let guard = Guard::new(store.clone(), version, Limits::default(), Arc::new(NoTarget));
    let now = Timestamp::now();
    let new = NewIdentity::user("alice".parse()?, vec!["engineers".parse()?])?;
    let alice = register::actor(&store.state().add_identity(model::IdentityId::from_random(1), &new, &"init".parse()?, now).await?);
    let wanted = TokenRequest {
        subject: alice.name.clone(),
        purpose: TokenUse::Connect,
        connections: vec!["prod-pg".parse()?],
        statement: None,
        not_before: None,
        expires_at: now.checked_add(Duration::from_secs(3_600))?,
        sign_in: None,
        agent: None,
        request: None,
        bound_to: None,
    };
    let (secret, _) = guard.mint_token(wanted, &alice, now).await?;
    let (connection, peer) = ("prod-pg".parse()?, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut took = Vec::with_capacity(SESSIONS);
    let whole = Instant::now();
    for _ in 0..SESSIONS {
        let (began, now) = (Instant::now(), Timestamp::now());
        let signed_in = guard.sign_in("alice", &secret, SignInFor::Connection(&connection), peer, now).await?;
        let admitted = admit(&guard, &signed_in, Wanted { connection: "prod-pg", database: None, peer: "127.0.0.1:5" }, now).await?;
        took.push(began.elapsed());
        drop(admitted);
    }
    let whole = whole.elapsed();
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 1000).map_or(0.0, |took| took.as_secs_f64() * 1e3);
    println!(
        "{SESSIONS} sessions, {:.0} a second: median {:.3} ms, 99th percentile {:.3} ms",
        SESSIONS as f64 / whole.as_secs_f64(),
        at(500),
        at(990)
    );
    Ok(())
}

/// Nobody is dialled.
struct NoTarget;

impl CatalogSource for NoTarget {
    fn read<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: Option<Arc<Catalog>>) -> Asked<'a, Catalog> {
        Box::pin(async { Err("no target".to_owned()) })
    }

    fn estimate<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: &'a [Arc<str>], _: &'a str) -> Asked<'a, String> {
        Box::pin(async { Err("no target".to_owned()) })
    }

    fn locks<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: i32) -> Asked<'a, Vec<String>> {
        Box::pin(async { Err("no target".to_owned()) })
    }
}
