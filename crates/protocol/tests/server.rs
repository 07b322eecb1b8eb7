//! A dialogue in front of a real PostgreSQL: what is refused must leave the server where a failing statement would.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::BytesMut;
use model::facts::{ApplicationName, NameEffect};
use protocol::{
    Side,
    postgres::{
        dialogue::{Dialogue, Forwarding, Limits, Move, Operation, OperationKind, Reply, ReplyKind, Rows, Ruling, Settings},
        frame,
        message::{
            backend::{CommandComplete, Report},
            frontend::{self, Kind},
        },
        refusal::{Refusal, Sqlstate},
        rows,
    },
};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A scratch server, gone with the test.
struct Server {
    dir: PathBuf,
    process: Child,
}

impl Server {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("cs-dialogue-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        let data = dir.join("data");
        let made = as_postgres("initdb").args(["-A", "trust", "-U", "postgres", "-N", "-D"]).arg(&data).stdout(Stdio::null()).status().unwrap();
        assert!(made.success());
        let options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k"];
        let process = as_postgres("postgres").arg("-D").arg(&data).args(options).arg(&dir).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { dir, process };
        let ready = || Command::new(Path::new(BIN).join("pg_isready")).arg("-q").arg("-h").arg(&server.dir).status().unwrap().success();
        let began = std::time::Instant::now();
        while !ready() {
            assert!(began.elapsed() < Duration::from_secs(30), "the server does not start");
        }
        server
    }

    fn log_in(&self) -> Session {
        let mut target = UnixStream::connect(self.dir.join(".s.PGSQL.5432")).unwrap();
        target.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut out = BytesMut::new();
        frontend::startup(&mut out, &[(b"user", b"postgres"), (b"application_name", b"ours")]).unwrap();
        target.write_all(&out).unwrap();
        let dialogue = Dialogue::new(Limits::default(), Settings::new("ours", "theirs"));
        let mut session = Session { target, dialogue, told: Vec::new(), learned: None, ask_first: None };
        let mut login = BytesMut::new();
        while !login.ends_with(b"Z\0\0\0\x05I") {
            session.read(&mut login);
        }
        session
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-INT").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// PostgreSQL's programs do not run as root.
fn as_postgres(program: &str) -> Command {
    let path = Path::new(BIN).join(program);
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = if root { Command::new("setpriv") } else { Command::new(&path) };
    if root {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
    }
    command.current_dir("/");
    command
}

/// A caller, its dialogue, and the connection to the server.
struct Session {
    target: UnixStream,
    dialogue: Dialogue<()>,
    told: Vec<u8>,
    learned: Option<Result<Vec<Rows>, String>>,
    /// A question of the gateway's own before the next ruling.
    ask_first: Option<&'static str>,
}

impl Session {
    fn read(&mut self, into: &mut BytesMut) {
        let mut buffer = [0; 4096];
        let count = self.target.read(&mut buffer).unwrap();
        assert!(count > 0, "the server is gone");
        into.extend_from_slice(&buffer[..count]);
    }

    /// The caller says this; hands back what it is told up to the last of `readies` ReadyForQuery, one word a message.
    fn say(&mut self, readies: usize, write: impl FnOnce(&mut BytesMut)) -> String {
        write(self.dialogue.input(Side::Caller));
        self.dialogue.received(Side::Caller, 0);
        self.drain();
        loop {
            let said = outline(&self.told);
            if readies == 0 {
                return said;
            }
            if said.matches("Z:").count() >= readies {
                self.told.clear();
                return said;
            }
            let mut input = std::mem::take(self.dialogue.input(Side::Target));
            self.read(&mut input);
            *self.dialogue.input(Side::Target) = input;
            self.dialogue.received(Side::Target, 0);
            self.drain();
        }
    }

    fn query(&mut self, text: &str) -> String {
        self.say(1, |out| frontend::query(out, text.as_bytes()).unwrap())
    }

    fn drain(&mut self) {
        loop {
            match self.dialogue.next_move() {
                Move::Ask(operation) => self.ask(&operation),
                Move::Send(Side::Target, bytes) => self.target.write_all(&bytes).unwrap(),
                Move::Send(Side::Caller, bytes) => self.told.extend_from_slice(&bytes),
                Move::Show(Reply { kind: ReplyKind::Copy(Side::Caller), frames, .. }) => self.target.write_all(&frames).unwrap(),
                Move::Show(Reply { kind: ReplyKind::Shape { forward: false }, .. }) | Move::Answered(_) | Move::Withdraw(_) => {}
                Move::Show(reply) => self.told.extend_from_slice(&reply.frames),
                Move::Learned(answer) => {
                    self.learned = Some(answer);
                    self.dialogue.rule(Ruling::Forward((), Forwarding { alone: true, ..Forwarding::default() }), 0);
                }
                Move::Wait => return,
                Move::End(ending) => panic!("{ending:?}"),
            }
        }
    }

    fn ask(&mut self, operation: &Operation) {
        if let Some(question) = self.ask_first.take() {
            return self.dialogue.question(&[question]);
        }
        let ruling = self.ruling(operation);
        self.dialogue.rule(ruling, 0);
    }

    /// `denied` is refused when it would run, `denied at once` already when it is prepared.
    fn ruling(&self, operation: &Operation) -> Ruling<()> {
        let text = &*operation.text;
        let prepared = text.strip_prefix("EXECUTE ").and_then(|name| self.dialogue.names().statements().find(|(known, _)| *known == name));
        let denied = match operation.kind {
            OperationKind::Parse => text.contains("denied at once"),
            _ => text.contains("denied") || prepared.is_some_and(|(_, (text, _))| text.contains("denied")),
        };
        if denied {
            return Ruling::Refuse(Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, "refused"));
        }
        let declared =
            text.strip_prefix("DECLARE c CURSOR FOR ").map(|body| NameEffect::Declare { name: "c".into(), body: body.into(), hold: false });
        let forwarding = Forwarding {
            copy_in: text.contains("FROM STDIN"),
            alone: !text.contains(';'),
            show: text.contains("shown") || text.contains("\"c\""),
            names: declared.into_iter().collect(),
            application_name: text.starts_with("SET application_name").then(|| ApplicationName::Set("new".to_owned())),
            ..Forwarding::default()
        };
        Ruling::Forward((), forwarding)
    }

    /// What stands in the table.
    fn rows(&mut self) -> String {
        let said = self.query("SELECT coalesce(string_agg(v::text, ',' ORDER BY v), '') FROM t");
        said.split(' ').find_map(|word| word.strip_prefix("D:")).unwrap().to_owned()
    }
}

/// Type of each message, with what matters of it.
fn outline(mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    while let Some(head) = frame::head(bytes, Side::Target, &frame::Limits::default()).unwrap().filter(|head| head.len <= bytes.len()) {
        let body = &bytes[5..head.len];
        let cells = || rows::row(body).unwrap().iter().map(|cell| String::from_utf8_lossy(cell.unwrap_or(b"-")).into_owned()).collect::<Vec<_>>();
        let about = match head.tag {
            b'E' => Report::decode(body).unwrap().sqlstate().unwrap().to_owned(),
            b'C' => String::from_utf8_lossy(CommandComplete::decode(body).unwrap().tag).replace(' ', "_"),
            b'D' => cells().join("|"),
            b'Z' => char::from(body[0]).to_string(),
            b'S' => String::from_utf8_lossy(body).replace('\0', "="),
            _ => String::new(),
        };
        words.push(format!("{}:{about}", char::from(head.tag)));
        bytes = &bytes[head.len..];
    }
    words.join(" ")
}

/// Parse, Bind and Execute of the unnamed statement.
fn run(out: &mut BytesMut, text: &str) {
    frontend::parse(out, b"", text.as_bytes(), &[]).unwrap();
    run_statement(out, b"");
}

fn run_statement(out: &mut BytesMut, name: &[u8]) {
    frontend::bind(out, b"", name, &[], &[], &[]).unwrap();
    frontend::execute(out, b"", 0).unwrap();
}

const INSERT: &str = "INSERT INTO t VALUES (1)";
const DENIED: &str = "INSERT INTO t VALUES (66) /* denied */";
const DENIED_AT_ONCE: &str = "INSERT INTO t VALUES (66) /* denied at once */";

#[test]
fn a_refusal_leaves_the_server_where_a_failure_would() {
    let server = Server::start("refusals");
    let s = &mut server.log_in();
    assert_eq!(s.query("CREATE TABLE t (v int)"), "C:CREATE_TABLE Z:I");
    implicit_transactions(s);
    explicit_transactions(s);
    pipelines(s);
    copies(s);
    names_and_portals(s);
    questions(s);
    application_names(s);
}

fn implicit_transactions(s: &mut Session) {
    for denied in [DENIED, DENIED_AT_ONCE] {
        let said = s.say(1, |out| {
            [INSERT, denied, INSERT].iter().for_each(|text| run(out, text));
            frontend::sync(out);
        });
        let bound = if denied == DENIED { "1: " } else { "" };
        assert_eq!(said, format!("1: 2: C:INSERT_0_1 {bound}E:42501 Z:I"));
        assert_eq!(s.rows(), "");
    }
    // A refused Query ends what unsynced messages before it began.
    let said = s.say(2, |out| {
        run(out, INSERT);
        frontend::query(out, DENIED.as_bytes()).unwrap();
        frontend::sync(out);
    });
    assert_eq!(said, "1: 2: C:INSERT_0_1 E:42501 Z:I Z:I");
    assert_eq!(s.rows(), "");
    assert_eq!(s.query(DENIED), "E:42501 Z:I");
    assert_eq!(s.query("INSERT INTO t VALUES (2); INSERT INTO t VALUES (66) /* denied */"), "E:42501 Z:I");
    assert_eq!(s.rows(), "");
    // An earlier failure makes the target skip the refused Query too.
    let said = s.say(1, |out| {
        run(out, "SELECT 1/0 FROM pg_class");
        frontend::query(out, DENIED.as_bytes()).unwrap();
        frontend::sync(out);
    });
    assert!(said.ends_with("E:22012 Z:I"), "{said}");
}

fn explicit_transactions(s: &mut Session) {
    let said: Vec<String> = ["BEGIN", INSERT, DENIED, INSERT, "COMMIT"].iter().map(|text| s.query(text)).collect();
    assert_eq!(said, ["C:BEGIN Z:T", "C:INSERT_0_1 Z:T", "E:42501 Z:E", "E:25P02 Z:E", "C:ROLLBACK Z:I"]);
    assert_eq!(s.rows(), "");
    let texts = ["BEGIN", INSERT, "SAVEPOINT a", "INSERT INTO t VALUES (5)", DENIED, "ROLLBACK TO a", "INSERT INTO t VALUES (2)", "COMMIT"];
    let said: Vec<String> = texts.iter().map(|text| s.query(text)).collect();
    assert_eq!(said[4..], ["E:42501 Z:E", "C:ROLLBACK Z:T", "C:INSERT_0_1 Z:T", "C:COMMIT Z:I"]);
    assert_eq!(s.rows(), "1,2");
    s.query("TRUNCATE t");
}

fn pipelines(s: &mut Session) {
    let said = s.say(5, |out| {
        for text in [INSERT, DENIED, "INSERT INTO t VALUES (2)", DENIED_AT_ONCE, "INSERT INTO t VALUES (3)"] {
            run(out, text);
            frontend::sync(out);
        }
    });
    assert_eq!(said, "1: 2: C:INSERT_0_1 Z:I 1: E:42501 Z:I 1: 2: C:INSERT_0_1 Z:I E:42501 Z:I 1: 2: C:INSERT_0_1 Z:I");
    assert_eq!(s.rows(), "1,2,3");
    // Two refusals in one pipeline: the second is skipped like anything else.
    let said = s.say(1, |out| {
        [INSERT, DENIED, DENIED_AT_ONCE].iter().for_each(|text| run(out, text));
        frontend::sync(out);
    });
    assert_eq!(said, "1: 2: C:INSERT_0_1 1: E:42501 Z:I");
    assert_eq!(s.rows(), "1,2,3");
    s.query("TRUNCATE t");
}

fn copies(s: &mut Session) {
    let copy = |data: &'static [u8], fails: bool, early_sync: bool| {
        move |out: &mut BytesMut| {
            run(out, "COPY t FROM STDIN");
            if early_sync {
                frontend::sync(out);
            }
            frontend::copy_data(out, data).unwrap();
            if fails {
                frontend::copy_fail(out, b"no").unwrap()
            } else {
                frontend::copy_done(out)
            }
            frontend::sync(out);
        }
    };
    for early_sync in [false, true] {
        assert_eq!(s.say(1, copy(b"7\n", false, early_sync)), "1: 2: G: C:COPY_1 Z:I");
        assert_eq!(s.say(1, copy(b"7\n", true, early_sync)), "1: 2: G: E:57014 Z:I");
        assert_eq!(s.say(1, copy(b"x\n", false, early_sync)), "1: 2: G: E:22P02 Z:I");
    }
    assert_eq!(s.rows(), "7,7");
    // The target never copies: data and end are ignored.
    let said = s.say(1, |out| {
        frontend::query(out, b"COPY missing FROM STDIN").unwrap();
        frontend::copy_data(out, b"1\n").unwrap();
        frontend::copy_done(out);
    });
    assert_eq!(said, "E:42P01 Z:I");
    // Two COPYs in one Query, then the next.
    let said = s.say(2, |out| {
        frontend::query(out, b"COPY t FROM STDIN; COPY t FROM STDIN").unwrap();
        frontend::copy_done(out);
        frontend::copy_data(out, b"8\n").unwrap();
        frontend::copy_done(out);
        frontend::query(out, b"SELECT 1").unwrap();
    });
    assert_eq!(said, "G: C:COPY_0 G: C:COPY_1 Z:I T: D:1 C:SELECT_1 Z:I");
    let said = s.say(2, |out| {
        run(out, "COPY (SELECT 1) TO STDOUT");
        frontend::sync(out);
        frontend::query(out, b"COPY (SELECT 1) TO STDOUT").unwrap();
    });
    assert_eq!(said, "1: 2: H: d: c: C:COPY_1 Z:I H: d: c: C:COPY_1 Z:I");
    // A COPY that fails before it reads: the Sync before its data is the one that counts.
    s.query("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'");
    s.query("CREATE TRIGGER no BEFORE INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION no()");
    let said = s.say(1, |out| {
        run(out, "COPY t FROM STDIN");
        frontend::sync(out);
    });
    assert_eq!(said, "1: 2: G: E:P0001 Z:I");
    s.query("DROP TRIGGER no ON t");
    s.query("TRUNCATE t");
}

fn names_and_portals(s: &mut Session) {
    // A Parse that fails because the name is taken lends nothing to what has the name.
    let said = s.say(3, |out| {
        frontend::parse(out, b"x", DENIED.as_bytes(), &[]).unwrap();
        frontend::sync(out);
        frontend::parse(out, b"x", b"SELECT 1", &[]).unwrap();
        frontend::sync(out);
        run_statement(out, b"x");
        frontend::sync(out);
    });
    assert_eq!(said, "1: Z:I E:42P05 Z:I E:42501 Z:I");
    // EXECUTE finds its statement when it runs.
    let said = s.say(1, |out| {
        frontend::parse(out, b"y", INSERT.as_bytes(), &[]).unwrap();
        frontend::parse(out, b"", b"EXECUTE y", &[]).unwrap();
        frontend::bind(out, b"", b"", &[], &[], &[]).unwrap();
        frontend::close(out, Kind::Statement, b"y").unwrap();
        frontend::parse(out, b"y", DENIED.as_bytes(), &[]).unwrap();
        frontend::execute(out, b"", 0).unwrap();
        frontend::sync(out);
    });
    assert_eq!(said, "1: 1: 2: 3: 1: E:42501 Z:I");
    assert_eq!(s.rows(), "");
    // Portals with a row limit, and a cursor of SQL run by the protocol.
    let said = s.say(1, |out| {
        frontend::parse(out, b"", b"SELECT * FROM generate_series(1, 3) /* shown */", &[]).unwrap();
        frontend::bind(out, b"p", b"", &[], &[], &[]).unwrap();
        (0..2).for_each(|_| frontend::execute(out, b"p", 2).unwrap());
        frontend::sync(out);
    });
    assert_eq!(said, "1: 2: D:1 D:2 s: D:3 C:SELECT_1 Z:I");
    assert_eq!(s.query("BEGIN"), "C:BEGIN Z:T");
    assert_eq!(s.query("DECLARE c CURSOR FOR SELECT 4"), "C:DECLARE_CURSOR Z:T");
    let said = s.say(1, |out| {
        frontend::execute(out, b"c", 0).unwrap();
        frontend::sync(out);
    });
    assert_eq!(said, "D:4 C:SELECT_1 Z:T");
    assert_eq!(s.query("COMMIT"), "C:COMMIT Z:I");
}

fn questions(s: &mut Session) {
    const QUESTION: &str = "SELECT 'known'";
    let known = || Some(Ok(vec![vec![vec![Some("known".to_owned())]]]));
    s.ask_first = Some(QUESTION);
    assert_eq!(s.query("BEGIN"), "C:BEGIN Z:T");
    assert_eq!(s.learned.take(), known());
    s.ask_first = Some(QUESTION);
    assert_eq!(s.query(INSERT), "C:INSERT_0_1 Z:T");
    assert_eq!(s.learned.take(), known());
    assert_eq!(s.query("ROLLBACK"), "C:ROLLBACK Z:I");
    // What asking locks in a transaction is let go again, and the caller's savepoints stay, even one of that name.
    assert_eq!(s.query("BEGIN"), "C:BEGIN Z:T");
    assert_eq!(s.query("SAVEPOINT _countersign"), "C:SAVEPOINT Z:T");
    assert_eq!(s.query(INSERT), "C:INSERT_0_1 Z:T");
    s.ask_first = Some("SELECT 'known' FROM (SELECT count(*) FROM pg_catalog.pg_description) counted");
    const LOCKS: &str = "SELECT count(*) FROM pg_catalog.pg_locks WHERE relation = 'pg_catalog.pg_description'::regclass";
    assert_eq!(s.query(LOCKS), "T: D:0 C:SELECT_1 Z:T");
    assert_eq!(s.learned.take(), known());
    assert_eq!(s.query("ROLLBACK TO _countersign"), "C:ROLLBACK Z:T");
    assert_eq!(s.query("COMMIT"), "C:COMMIT Z:I");
    assert_eq!(s.rows(), String::new());
    // If it fails in one, the transaction goes on, and what was set in it stays.
    assert_eq!(s.query("BEGIN"), "C:BEGIN Z:T");
    assert_eq!(s.query(INSERT), "C:INSERT_0_1 Z:T");
    s.ask_first = Some("SELECT 1/0");
    assert_eq!(s.query("SELECT 1"), "T: D:1 C:SELECT_1 Z:T");
    assert!(s.learned.take().unwrap().unwrap_err().contains("22012"));
    assert_eq!(s.query("SELECT 2"), "T: D:2 C:SELECT_1 Z:T");
    assert_eq!(s.query("ROLLBACK"), "C:ROLLBACK Z:I");
    // Inside a pipeline it ends nothing: what came before still falls with what comes after.
    s.say(0, |out| run(out, INSERT));
    s.ask_first = Some(QUESTION);
    let said = s.say(1, |out| {
        ["SELECT 1", DENIED].iter().for_each(|text| run(out, text));
        frontend::sync(out);
    });
    assert_eq!(said, "1: 2: C:INSERT_0_1 1: 2: D:1 C:SELECT_1 1: E:42501 Z:I");
    assert_eq!((s.learned.take(), s.rows()), (known(), String::new()));
    // If it fails there, so does the pipeline, and the caller hears why; alone, nobody but the gateway hears of it.
    s.say(0, |out| run(out, INSERT));
    s.ask_first = Some("SELECT 1/0");
    let said = s.say(1, |out| {
        run(out, "SELECT 1");
        frontend::sync(out);
    });
    assert_eq!(said, "1: 2: C:INSERT_0_1 E:XX000 Z:I");
    assert_eq!((s.learned.take(), s.rows()), (None, String::new()));
    s.ask_first = Some("SELECT 1/0");
    assert_eq!(s.query("SELECT 1"), "T: D:1 C:SELECT_1 Z:I");
    assert!(s.learned.take().unwrap().unwrap_err().contains("22012"));
}

fn application_names(s: &mut Session) {
    const TARGETS: &str = "SELECT setting FROM pg_settings WHERE name = 'application_name'";
    assert_eq!(s.query("SET application_name = 'new'"), "C:SET S:application_name=new= Z:I");
    assert_eq!(s.query(TARGETS), "T: D:ours C:SELECT_1 Z:I");
    // Code at the target may change it; the caller hears of it, and then ours is put back.
    let said = s.query("SELECT set_config('application_name', 'code', false)");
    assert_eq!(said, "T: D:code C:SELECT_1 S:application_name=code= Z:I");
    assert!(s.dialogue.settings().is_displaced());
    let restore: &'static str = Box::leak(s.dialogue.settings().restore_statement().into_boxed_str());
    s.ask_first = Some(restore);
    assert_eq!(s.query(TARGETS), "T: D:ours C:SELECT_1 Z:I");
    assert!(!s.dialogue.settings().is_displaced());
}
