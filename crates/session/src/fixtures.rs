//! A guard over a store of its own, for the tests of this crate: connection `prod-pg` in production, engineers, DBAs, auditors and administrators.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use identity::{Machine, MachineKind, NewIdentity};
use model::{
    Action, Actor, ActorChain, Connection, Effects, Facts, IdentityKind, IdentityName, Object, Pair, Requirement, Risk, RowScope, Timestamp,
    Understanding, facts::Outputs,
};
use policy::{Files, Version, classify::postgres::catalog::Catalog};
use store::Store;

use crate::{
    approve::Draft,
    catalogs::{Asked, CatalogSource},
    guard::Guard,
    ids,
    limits::Limits,
    register,
};

const CONNECTION: &str = r#"
protocol = "postgres"
host = "127.0.0.1"
database = "shop"
environment = "production"
user = "countersign"
password = { env = "PROD_PG_PASSWORD" }
"#;

const POLICY: &str = r#"
permit (principal in Group::"engineers", action in [Action::"connect", Action::"read", Action::"destroy"], resource in Environment::"production");
@id("prod-destroy") @approvers("dba") @count("1") @reason("destructive statements need a second signature")
forbid (principal, action == Action::"destroy", resource in Environment::"production") unless { context.approved };
permit (principal in Group::"dba", action == Action::"approve", resource == System::"countersign");
permit (principal in Group::"auditors", action == Action::"audit", resource == System::"countersign");
permit (principal in Group::"admins", action in [Action::"administer", Action::"revoke"], resource == System::"countersign");
"#;

pub(crate) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    now() + std::time::Duration::from_secs(seconds)
}

/// The policy directory, with more policies after the usual ones.
pub(crate) fn files(more: &str) -> Files {
    Files::from([
        ("connections/prod-pg.toml".to_owned(), CONNECTION.to_owned()),
        ("connections/staging-pg.toml".to_owned(), CONNECTION.replace("production", "staging")),
        ("policy/main.cedar".to_owned(), format!("{POLICY}{more}")),
    ])
}

/// The policy directory with a piece of the usual policies replaced.
pub(crate) fn files_with(from: &str, to: &str) -> Files {
    let mut files = files("");
    let policy = files.get_mut("policy/main.cedar").unwrap();
    assert!(policy.contains(from));
    *policy = policy.replace(from, to);
    files
}

/// A guard and the directory its store lies in.
pub(crate) struct Gate {
    pub(crate) guard: Arc<Guard>,
    /// Whether the target's tables are gone.
    pub(crate) emptied: Arc<AtomicBool>,
    _directory: tempfile::TempDir,
}

pub(crate) async fn gate() -> Gate {
    gate_with(Limits::default()).await
}

pub(crate) async fn gate_with(limits: Limits) -> Gate {
    gate_under(&files(""), limits).await
}

/// A guard under a policy directory of the test's own.
pub(crate) async fn gate_of(files: &Files) -> Gate {
    gate_under(files, Limits::default()).await
}

async fn gate_under(files: &Files, limits: Limits) -> Gate {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let version = Version::load(files).unwrap_or_else(|problems| panic!("{problems:?}"));
    Gate { guard: Guard::new(store, version, limits, Arc::new(NoTarget)), emptied: Arc::default(), _directory: directory }
}

/// A guard over a target with tables `public.customers` and `public.payments`, where engineers may do everything.
/// `more`: further policies.
pub(crate) async fn gate_on_tables(more: &str) -> Gate {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).await.unwrap();
    let all = r#"permit (principal in Group::"engineers", action, resource in Environment::"production");"#;
    let version = Version::load(&files(&format!("{all}\n{more}"))).unwrap_or_else(|problems| panic!("{problems:?}"));
    let emptied = Arc::<AtomicBool>::default();
    Gate { guard: Guard::new(store, version, Limits::default(), Arc::new(Tables(emptied.clone()))), emptied, _directory: directory }
}

/// A catalog of tables with columns `id` and `email`.
pub(crate) fn catalog(tables: &[(&str, &str)]) -> Catalog {
    let column = |number: i16, name: &str, type_oid: u32| serde_json::json!({"number": number, "name": name, "type_oid": type_oid, "not_null": false, "has_default": false});
    let relation = |(at, (schema, name)): (usize, &(&str, &str))| {
        let columns = [column(1, "id", 23), column(2, "email", 25)];
        serde_json::json!({"oid": 20_000 + at, "schema": schema, "name": name, "kind": "table", "columns": columns, "row_type": 0})
    };
    let lo_open = serde_json::json!({"oid": 952, "schema": "pg_catalog", "name": "lo_open", "arguments": [26, 23], "defaults": 0, "variadic": 0,
        "volatility": "v", "returns": 23, "returns_set": false, "language": ""});
    let relations: Vec<_> = tables.iter().enumerate().map(relation).collect();
    serde_json::from_value(serde_json::json!({
        "database": "shop", "server_version": 150_000, "path": ["pg_catalog"], "schemas": ["pg_catalog", "public"], "relations": relations,
        "types": [], "routines": [lo_open], "operators": [], "casts": [], "event_triggers": [],
    }))
    .unwrap()
}

impl Gate {
    pub(crate) async fn user(&self, name: &str, groups: &[&str]) -> Actor {
        let new = NewIdentity::user(self::name(name), groups.iter().map(|group| group.parse().unwrap()).collect()).unwrap();
        self.enter(new).await
    }

    pub(crate) async fn workload(&self, name: &str, owner: &Actor, groups: &[&str]) -> Actor {
        self.machine(MachineKind::Workload, name, owner, groups).await
    }

    pub(crate) async fn agent(&self, name: &str, owner: &Actor, groups: &[&str]) -> Actor {
        self.machine(MachineKind::Agent, name, owner, groups).await
    }

    async fn machine(&self, kind: MachineKind, name: &str, owner: &Actor, groups: &[&str]) -> Actor {
        let purpose = "nightly exports".parse().unwrap();
        let machine = Machine::new(kind, self::name(name), owner.name.clone(), purpose, later(86_400 * 30), now()).unwrap();
        self.enter(NewIdentity::machine(machine, groups.iter().map(|group| group.parse().unwrap()).collect())).await
    }

    async fn enter(&self, new: NewIdentity) -> Actor {
        let id = ids::identity();
        register::actor(&self.guard.store().state().add_identity(id, &new, &name("init"), now()).await.unwrap())
    }

    /// The kinds of events so far, newest first.
    pub(crate) async fn events(&self) -> Vec<String> {
        let rows = self.guard.store().state().events(None, None, 100).await.unwrap();
        rows.into_iter().map(|row| format!("{} {} {}", row.event.actor, row.event.kind, row.event.subject)).collect()
    }
}

pub(crate) fn name(text: &str) -> IdentityName {
    text.parse().unwrap()
}

/// `DROP TABLE payments` in production, held for `requirements`.
pub(crate) fn drop_payments(chain: ActorChain, requirements: Vec<Requirement>) -> Draft {
    let table = Object::Table { database: "shop".into(), schema: "public".into(), table: "payments".into() };
    Draft {
        session: ids::session(),
        chain,
        connection: "prod-pg".parse().unwrap(),
        database: "shop".to_owned(),
        statement: "DROP TABLE payments".to_owned(),
        parameters: Vec::new(),
        facts: Facts {
            understanding: Understanding::Full,
            pairs: vec![Pair { action: Action::Destroy, object: table }],
            kinds: vec!["DROP TABLE".into()],
            statements: 1,
            reads: Vec::new(),
            writes: Vec::new(),
            functions: Vec::new(),
            row_scope: RowScope::None,
            risk: Risk::new(5),
            effects: Effects::default(),
            outputs: Outputs::default(),
            filters: model::facts::Filters::default(),
            secret_spans: Vec::new(),
        },
        requirements,
        version: Version::load(&files("")).unwrap().hash,
        transaction_open_ms: None,
        locks: Vec::new(),
        estimate: "no estimate: not a query".to_owned(),
    }
}

pub(crate) fn needs(approvers: &str, count: u8) -> Requirement {
    Requirement {
        policy: format!("needs-{approvers}").parse().unwrap(),
        approvers: vec![approvers.parse().unwrap()],
        count,
        reason: None,
        watched: false,
    }
}

/// Somebody who is in no register.
pub(crate) fn stranger(text: &str, groups: &[&str]) -> Actor {
    Actor {
        id: ids::identity(),
        name: name(text),
        kind: IdentityKind::User,
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        owner: None,
        run: None,
        granted: Vec::new(),
    }
}

/// A target with two tables, until they are gone.
struct Tables(Arc<AtomicBool>);

impl CatalogSource for Tables {
    fn read<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: Option<Arc<Catalog>>) -> Asked<'a, Catalog> {
        let there = [("public", "customers"), ("public", "payments")];
        Box::pin(async move { Ok(catalog(if self.0.load(Ordering::Relaxed) { &[] } else { &there })) })
    }

    fn estimate<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: &'a [Arc<str>], _: &'a str) -> Asked<'a, String> {
        Box::pin(async { Err("no target".to_owned()) })
    }

    fn locks<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: i32) -> Asked<'a, Vec<String>> {
        Box::pin(async { Err("no target".to_owned()) })
    }
}

/// A target whose databases are empty.
struct NoTarget;

impl CatalogSource for NoTarget {
    fn read<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: Option<Arc<Catalog>>) -> Asked<'a, Catalog> {
        Box::pin(async { Ok(Catalog::default()) })
    }

    fn estimate<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: &'a [Arc<str>], _: &'a str) -> Asked<'a, String> {
        Box::pin(async { Err("no target".to_owned()) })
    }

    fn locks<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: i32) -> Asked<'a, Vec<String>> {
        Box::pin(async { Err("no target".to_owned()) })
    }
}
