//! What a fault of the gateway's own code costs: the session it happens in, and nothing else. The gateway runs in this process, with something
//! in it that panics on the way of a held operation.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Login,
    gateway::CONNECTION,
    postgres::{DATABASE, PASSWORD, PATIENCE, Postgres, ROLE},
    wire::{Wire, query},
};
use gateway::{Gateway, Stop, TargetCatalogs, Threads};
use identity::{NewIdentity, password};
use model::{Connection, IdentityId, IdentityName, Secret, Timestamp, session::SessionRow};
use policy::{Files, Version, classify::postgres::catalog::Catalog};
use session::{
    Guard, Limits,
    catalogs::{Asked, CatalogSource},
};
use store::{Store, state::SessionFilter};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

const POLICY: &str = "permit (principal, action, resource);\n\
    @id(\"hold\") @approvers(\"dba\")\n\
    forbid (principal, action == Action::\"destroy\", resource) unless { context.approved };\n";

/// Asks targets as the gateway does, and panics when it is to look for locks.
struct Panicking(TargetCatalogs);

impl CatalogSource for Panicking {
    fn read<'a>(&'a self, connection: &'a Arc<Connection>, database: &'a str, earlier: Option<Arc<Catalog>>) -> Asked<'a, Catalog> {
        self.0.read(connection, database, earlier)
    }

    fn estimate<'a>(&'a self, connection: &'a Arc<Connection>, database: &'a str, path: &'a [Arc<str>], statement: &'a str) -> Asked<'a, String> {
        self.0.estimate(connection, database, path, statement)
    }

    fn locks<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: i32) -> Asked<'a, Vec<String>> {
        #[expect(clippy::panic, reason = "that is what is tested")]
        Box::pin(async { panic!("a fault in the gateway") })
    }
}

/// A gateway of this process, with a user alice.
async fn serve(folder: &Path, target: &Postgres, stopping: watch::Receiver<Stop>) -> Result<(Arc<Guard>, SocketAddr)> {
    let secret = folder.join("password");
    fs::write(&secret, PASSWORD)?;
    let connection = format!(
        "protocol = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"{DATABASE}\"\nenvironment = \"production\"\nuser = \"{ROLE}\"\n\
         password = {{ file = {secret:?} }}\n[tls]\nmode = \"loopback-plain\"\n",
        target.port()
    );
    let files = Files::from([(format!("connections/{CONNECTION}.toml"), connection), ("policy/all.cedar".to_owned(), POLICY.to_owned())]);
    let version = Version::load(&files).ok().context("the policies are not valid")?;
    let store = Store::open(&folder.join("data")).await?;
    let alice: IdentityName = "alice".parse()?;
    let hash = password::hash(&Secret::from("the password of alice".to_owned()))?;
    store.state().add_identity(IdentityId::from_random(1), &NewIdentity::user(alice.clone(), Vec::new())?, &alice, Timestamp::now()).await?;
    store.state().set_password_hash(&alice, Some(&hash)).await?;
    let guard = Guard::new(store.clone(), version, Limits::default(), Arc::new(Panicking(TargetCatalogs::new(store))));
    tokio::spawn(guard.clone().watch());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let gateway = Gateway::new(guard.clone(), None, &[], Threads::start(8 << 20)?, stopping);
    tokio::spawn(async move { gateway.serve_postgres(listener).await });
    Ok((guard, address))
}

async fn sessions(guard: &Guard) -> Result<Vec<SessionRow>> {
    Ok(guard.store().state().sessions(&SessionFilter::default()).await?)
}

#[test]
fn a_session_whose_task_panics_is_closed_in_recording_and_listing_and_disturbs_nobody() -> Result<()> {
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table t (id int); alter table t owner to app")?;
    let folder = tempfile::tempdir()?;
    let runtime = Runtime::new()?;
    let (_stop, stopping) = watch::channel(Stop::No);
    let (guard, address) = runtime.block_on(serve(folder.path(), &target, stopping))?;
    let login = Login {
        host: address.ip().to_string(),
        port: address.port(),
        user: "alice".to_owned(),
        database: CONNECTION.to_owned(),
        password: "the password of alice".to_owned(),
        authority: None,
    };
    let mut bystander = Wire::open(&login, &[])?;
    let mut unlucky = Wire::open(&login, &[])?;
    unlucky.say(&[query("begin"), query("insert into t values (1)")].concat())?;
    unlucky.hear_until_ready(2)?;
    unlucky.say(&query("drop table t"))?;
    let told = unlucky.hear()?;
    ensure!(told.kind == 'E' && String::from_utf8_lossy(&told.body).contains("the gateway failed in it") && unlucky.ends()?, "{told:?}");

    let end = Instant::now() + PATIENCE;
    let ended = loop {
        let ended: Vec<_> = runtime.block_on(sessions(&guard))?.into_iter().filter(|session| session.ended_at.is_some()).collect();
        if let [ended] = &ended[..] {
            break ended.clone();
        }
        ensure!(ended.is_empty() && Instant::now() < end, "{ended:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    };
    ensure!(ended.ending.as_deref() == Some("the gateway failed") && ended.operations == 3, "{ended:?}");
    let recorded = guard.store().recordings().examine(ended.id);
    ensure!(recorded.complete && recorded.error.is_none() && recorded.operations == 3, "{recorded:?}");
    // What it had not committed is gone, with the table it wanted to drop still there.
    target.wait_until_true(DATABASE, "(select count(*) from pg_stat_activity where usename = 'app' and backend_type = 'client backend') = 1")?;
    ensure!(target.sql(DATABASE, "select count(*) from t")? == "0\n");
    bystander.say(&query("select 'undisturbed'"))?;
    bystander.hear_until_ready(1)?;
    ensure!(guard.live().count() == 1);
    Ok(())
}
