//! What the tests store.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use evidence::{
    Record,
    record::{Answered, Asked, AskedOutcome, Closed, Failure, Held, Opened, Parameter, Ruling, Settled, Via},
};
use identity::{Machine, MachineKind, NewIdentity, TokenDigest};
use model::{
    Action, Actor, ActorChain, Effects, Facts, HoldId, IdentityId, IdentityKind, IdentityName, Object, Pair, RecordLevel, RequestId, Risk, RowScope,
    SessionId, Timestamp, TokenId, Understanding, VersionHash,
    facts::{Outputs, RelationRef},
    hold::{HoldRow, HoldState, Signature},
    request::RequestRow,
    session::SessionRow,
    token::{TokenRow, TokenUse},
};

use tempfile::TempDir;
use xtask::postgres::Server;

use crate::{Home, Store, home::Postgres, recordings, state::TargetRole};

/// Makes of each function two tests, one on each kind of store.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                super::$test(crate::tests::fixtures::Place::embedded()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$test(crate::tests::fixtures::Place::postgres()).await;
            }
        })*
    };
}
pub(super) use on_both;

/// Where a test keeps what it stores: a data directory of its own, and perhaps a schema of its own.
pub(super) struct Place {
    directory: TempDir,
    home: Home,
}

impl Place {
    pub(super) fn embedded() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), home: Home::Embedded }
    }

    pub(super) fn postgres() -> Self {
        static SCHEMAS: AtomicU32 = AtomicU32::new(0);
        let schema = format!("test_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        Self { directory: tempfile::tempdir().unwrap(), home: Home::Postgres(at_port(server().port()).with_schema(&schema).unwrap()) }
    }

    /// In a database of its own, made with these options.
    pub(super) fn in_database(name: &str, options: &str) -> Self {
        server().sql("postgres", &format!("CREATE DATABASE {name} OWNER countersign {options}")).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), home: Home::Postgres(at_port(server().port()).in_database(name)) }
    }

    /// An empty one of the same kind.
    pub(super) fn another(&self) -> Self {
        if matches!(self.home, Home::Embedded) { Self::embedded() } else { Self::postgres() }
    }

    pub(super) const fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the server has, if there is one, as pg_dump writes it.
    pub(super) fn dump(&self) -> Option<Vec<u8>> {
        let Home::Postgres(postgres) = &self.home else { return None };
        let server = server();
        let mut dump = std::process::Command::new(server.program("pg_dump"));
        dump.args(["--inserts", "--username=postgres", "--schema", &postgres.schema, "--port", &server.port().to_string(), "--host"]);
        let dumped = dump.arg(server.socket_folder()).arg("countersign").output().unwrap();
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        Some(dumped.stdout)
    }

    pub(super) async fn open(&self) -> Store {
        Store::open_with(self.directory(), &self.home, recordings::Settings::default()).await.unwrap()
    }
}

/// The server that the tests of this process share. It ends with the process.
pub(super) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Server::start(&xtask::postgres::Settings::default()).unwrap();
        server.sql("postgres", "CREATE ROLE countersign LOGIN PASSWORD 'password of the store'").unwrap();
        server.sql("postgres", "CREATE DATABASE countersign OWNER countersign").unwrap();
        server
    })
}

/// The store on the server at that port, over TCP and with its password.
pub(super) fn at_port(port: u16) -> Postgres {
    let password = model::Secret::from("password of the store".to_owned());
    Postgres::new("127.0.0.1", port, "countersign", "countersign").with_password(password)
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) fn name(text: &str) -> IdentityName {
    text.parse().unwrap()
}

pub(super) async fn open(directory: &Path) -> Store {
    Store::open(directory).await.unwrap()
}

pub(super) async fn add_user(store: &Store, number: u64, text: &str) -> model::Identity {
    let new = NewIdentity::user(name(text), vec!["engineers".parse().unwrap()]).unwrap();
    store.state().add_identity(IdentityId::from_random(number), &new, &name("init"), at(0)).await.unwrap()
}

pub(super) fn nightly(owner: &str, expires: Timestamp) -> NewIdentity {
    let machine = Machine::new(MachineKind::Workload, name("nightly"), name(owner), "nightly exports".parse().unwrap(), expires, at(0)).unwrap();
    NewIdentity::machine(machine, vec!["jobs".parse().unwrap()])
}

/// A connect token for prod-pg that works from 10 s to 900 s, and its text.
pub(super) fn token(number: u64, subject: &str) -> (TokenRow, TokenDigest, String) {
    let (secret, digest) = identity::token::mint_fresh(TokenUse::Connect).unwrap();
    let row = TokenRow {
        id: TokenId::from_random(number),
        subject: name(subject),
        purpose: TokenUse::Connect,
        connections: vec!["prod-pg".parse().unwrap()],
        statement: None,
        minted_by: name("alice"),
        created_at: at(0),
        not_before: at(10),
        expires_at: at(900),
        last_used: None,
        spent_at: None,
        revoked_at: None,
        revoked_by: None,
        sign_in: None,
        run: None,
        trust: None,
        key: None,
        bound_to: None,
        actors: Vec::new(),
        earlier_runs: BTreeMap::new(),
        may_act: None,
        parent: None,
        request: None,
    };
    (row, digest, secret.reveal_str().unwrap().to_owned())
}

pub(super) fn session_row(number: u64, chain: &str, connection: &str, started: i64) -> SessionRow {
    SessionRow {
        id: SessionId::from_random(number),
        subject: name(chain.split(" via ").next().unwrap()),
        chain: chain.to_owned(),
        connection: connection.parse().unwrap(),
        database: "shop".to_owned(),
        token: None,
        peer: "192.0.2.7:50000".to_owned(),
        started_at: at(started),
        ended_at: None,
        ending: None,
        operations: 0,
    }
}

/// A request of somebody's that waits.
pub(super) fn request(number: u64, requester: &str) -> RequestRow {
    RequestRow {
        id: RequestId::from_random(number),
        chain: ActorChain::alone(actor(1, requester, IdentityKind::User)),
        connection: "prod-pg".parse().unwrap(),
        role: "writer".to_owned(),
        group: "writers".parse().unwrap(),
        statement: None,
        window_s: 60,
        reason: "INC-4711".to_owned(),
        requirements: vec![],
        version: VersionHash([7; 32]),
        digest: "00".to_owned(),
        created_at: at(i64::try_from(number).unwrap()),
        expires_at: at(1_000),
        signatures: vec![],
        comments: vec![],
        state: HoldState::Waiting,
        grant: None,
    }
}

pub(super) fn target_role(number: u64, made: i64) -> TargetRole {
    let session = SessionId::from_random(number);
    TargetRole {
        name: format!("countersign_{session}"),
        session,
        connection: "prod-pg".parse().unwrap(),
        host: "db.example".to_owned(),
        port: 5432,
        database: "shop".to_owned(),
        acts_as: "app_owner".to_owned(),
        lease: Some(format!("database/creds/shop/{number}")).filter(|_| number > 1),
        made_at: at(made),
        failure: None,
    }
}

pub(super) fn hold(number: u64) -> HoldRow {
    HoldRow {
        id: HoldId::from_random(number),
        session: SessionId::from_random(1),
        requester: name("alice"),
        chain: "alice".to_owned(),
        connection: "prod-pg".parse().unwrap(),
        database: "shop".to_owned(),
        statement: "DROP TABLE payments".to_owned(),
        parameters: vec![None, Some("x".to_owned())],
        facts: facts(Action::Destroy, "payments", 5),
        requirements: vec![],
        version: VersionHash([7; 32]),
        digest: "00".repeat(32),
        transaction_open_ms: Some(3),
        locks: vec![],
        estimate: "none".to_owned(),
        created_at: at(i64::try_from(number).unwrap()),
        expires_at: at(900),
        signatures: vec![],
        state: HoldState::Waiting,
    }
}

pub(super) fn facts(action: Action, table: &str, risk: u8) -> Facts {
    let relation = RelationRef { schema: "public".into(), name: table.into(), oid: 16_384 };
    let object = Object::Table { database: "shop".into(), schema: "public".into(), table: table.into() };
    Facts {
        understanding: Understanding::Full,
        pairs: vec![Pair { action, object }],
        kinds: vec!["SELECT".into()],
        statements: 1,
        reads: vec![relation],
        writes: vec![],
        functions: vec![],
        row_scope: RowScope::None,
        risk: Risk::new(risk),
        effects: Effects::default(),
        outputs: Outputs::default(),
        filters: model::facts::Filters::default(),
        secret_spans: vec![],
    }
}

fn actor(number: u64, text: &str, kind: IdentityKind) -> Actor {
    Actor { id: IdentityId::from_random(number), name: name(text), kind, groups: vec![], owner: None, run: None, granted: Vec::new() }
}

/// A session's records: `script` adds them, in order.
pub(super) struct Script {
    pub(super) session: SessionId,
    pub(super) records: Vec<Record>,
    second: i64,
    op: u64,
}

impl Script {
    pub(super) fn new(number: u64, subject: &str, agent: Option<&str>, connection: &str, second: i64) -> Self {
        let session = SessionId::from_random(number);
        let mut chain = ActorChain::alone(actor(1, subject, IdentityKind::User));
        chain.actors.extend(agent.map(|agent| actor(2, agent, IdentityKind::Agent)));
        let opened = Opened {
            at: at(second),
            session,
            chain,
            connection: connection.parse().unwrap(),
            database: "shop".to_owned(),
            environment: "production".parse().unwrap(),
            peer: "192.0.2.7:50000".to_owned(),
            token: None,
            version: VersionHash([7; 32]),
            level: RecordLevel::Statements,
            target_pid: 42,
            application_name: None,
            target_role: None,
        };
        Self { session, records: vec![Record::Opened(Box::new(opened))], second, op: 0 }
    }

    pub(super) fn ask(&mut self, text: &str, facts: Facts, outcome: AskedOutcome, classes: &[&str], parameters: Vec<Parameter>) -> u64 {
        self.op += 1;
        self.second += 1;
        let ruling = Ruling {
            outcome,
            policies: vec!["engineers.cedar:1".parse().unwrap()],
            reasons: vec![],
            version: VersionHash([7; 32]),
            classes: classes.iter().map(|class| class.parse().unwrap()).collect(),
        };
        let asked = Asked {
            op: self.op,
            at: at(self.second),
            text: Arc::from(text),
            facts: Arc::new(facts),
            ruling: Arc::new(ruling),
            parameters,
            via: Via::Simple,
        };
        self.records.push(Record::Asked(asked));
        self.op
    }

    pub(super) fn answer(&mut self, op: u64, rows: u64, sqlstate: Option<&str>) {
        let error = sqlstate.map(|sqlstate| Failure { sqlstate: sqlstate.to_owned(), message: "Key (email)=(bob@example.com) exists".to_owned() });
        let answered = Answered { op, at: at(self.second), duration_us: 1_500, rows, error, refused: false, ..Answered::default() };
        self.records.push(Record::Answered(answered));
    }

    /// An answer in which these columns were masked.
    pub(super) fn answer_masked(&mut self, op: u64, rows: u64, columns: &[&str]) {
        let masked = columns.iter().map(|column| (*column).to_owned()).collect();
        self.records.push(Record::Answered(Answered { op, at: at(self.second), duration_us: 1_500, rows, masked, ..Answered::default() }));
    }

    /// A read that is allowed and answered.
    pub(super) fn read(&mut self, text: &str, table: &str) -> u64 {
        let op = self.ask(text, facts(Action::Read, table, 1), AskedOutcome::Allowed, &[], vec![]);
        self.answer(op, 1, None);
        op
    }

    pub(super) fn settle(&mut self, op: u64, state: HoldState, signer: Option<&str>) {
        let hold = HoldId::from_random(9);
        self.records.push(Record::Held(Held { op, at: at(self.second), hold, requirements: vec![], expires_at: at(self.second + 900) }));
        let signatures = signer.map(|signer| Signature { signer: name(signer), at: at(self.second), policies: vec![] });
        self.records.push(Record::Settled(Settled { op, at: at(self.second), hold, state, signatures: signatures.into_iter().collect() }));
    }

    pub(super) fn close(&mut self) {
        let closed = Closed { at: at(self.second), ending: "the caller left".to_owned(), operations: self.op };
        self.records.push(Record::Closed(closed));
    }

    /// Writes it as a recording, each record committed.
    pub(super) fn write(&self, store: &Store) {
        let mut recording = store.recordings().create(self.session, at(0)).unwrap();
        for record in &self.records {
            recording.append(record).unwrap();
            recording.commit().unwrap();
        }
        if matches!(self.records.last(), Some(Record::Closed(_))) {
            recording.close().unwrap();
        }
    }
}
