//! Ways around a gateway, each played directly, where it must work if it was proven to, and through the gateway under the policy it names, where it must
//! not: refused, held or masked, and the session in step afterwards. Controls come back byte by byte as the target says them.
//!
//! The cases are in `evasions/postgres.json` and `more.json`; what they mean by `expect` is [`judge`]. The facts of the same statements are tested in the policy crate.

use std::{collections::HashMap, fs, io::ErrorKind};

use anyhow::{Context, Result, anyhow, bail, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Method, PASSWORD, Postgres},
    wire::{Heard, Wire, close, execute, message, parse, query, sync, text},
};
use regex::bytes::Regex;
use serde::Deserialize;
use serde_json::Value;

const CORPUS: &str = include_str!("../evasions/postgres.json");

/// More of the same classes, and of some that the first lacks.
const MORE: &str = include_str!("../evasions/more.json");

/// What those need beside the fixture of the first: an operator of two types that writes and one that reads, a domain in a row, a cast that writes, a view
/// over a key, and a table of documents.
const MORE_FIXTURE: [&str; 13] = [
    "create function writes(int, text) returns int language plpgsql as $$begin insert into public.audit values('w'); return 1; end$$",
    "create operator #!# (leftarg = int, rightarg = text, function = writes)",
    "create function reads(int, text) returns text language sql as 'select ssn from people where id = $1'",
    "create operator ?#? (leftarg = int, rightarg = text, function = reads)",
    "create function checked(text) returns bool language plpgsql as $$begin insert into public.audit values('w'); return true; end$$",
    "create domain d_checked as text check (checked(value))",
    "create type with_checked as (a int, b d_checked)",
    "create type cast_to as (a int)",
    "create function casts(text) returns cast_to language plpgsql as $$begin insert into public.audit values('w'); return null; end$$",
    "create cast (text as cast_to) with function casts(text) as assignment",
    "create table docs(id int primary key, meta jsonb not null, flag bool not null, made timestamptz not null, tags text[])",
    "insert into docs select i, jsonb_build_object('a', i), i % 2 = 0, timestamptz '2024-01-15' + i * interval '9 days', array['t' || i] from generate_series(1, 9) i",
    "create view v_keys as select id as number, flag from docs",
];

/// A connection whose role at the target is a superuser.
const SUPERUSER: &str = "superuser";

/// Each policy of the corpus as that of a group, whose one member plays its cases. What none may, nobody may.
const POLICIES: &[(&str, &str)] = &[
    ("block_drop", "permit (principal in @who, action in [@connect, @read, @write, @export, @configure], resource);"),
    (
        COUNTING,
        "permit (principal in @who, action, resource); permit (principal in @who, action == @unreadable, resource);
         @id(\"held\") @approvers(\"dba\") forbid (principal in @who, action in [@destroy, @unreadable], resource) unless { context.approved };
         @id(\"many\") @approvers(\"dba\") forbid (principal in @who, action in [@write], resource)
         when { context.statement.kinds.contains(\"DELETE\") && context.recent.rows_written > 3 } unless { context.approved };",
    ),
    // As the one above for those who have not done anything before.
    (
        "hold_every_row",
        "permit (principal in @who, action, resource); permit (principal in @who, action == @unreadable, resource);
         @id(\"every-row\") @approvers(\"dba\") forbid (principal in @who, action in [@destroy, @unreadable], resource) unless { context.approved };",
    ),
    (
        MASKING,
        "permit (principal in @who, action, resource); permit (principal in @who, action == @unreadable, resource);
         forbid (principal in @who, action == @reveal, resource);",
    ),
    (
        FILTERING,
        "permit (principal in @who, action, resource); permit (principal in @who, action == @unreadable, resource);
         forbid (principal in @who, action in [@reveal, @filter], resource);",
    ),
    ("read_only", "permit (principal in @who, action in [@connect, @read], resource);"),
    (
        "block_privileged",
        "permit (principal in @who, action, resource); permit (principal in @who, action == @unreadable, resource);
         forbid (principal in @who, action in [@escape, @privilege, @configure], resource);",
    ),
    ("session_state", "permit (principal in @who, action, resource); forbid (principal in @who, action == @configure, resource);"),
    ("all", "permit (principal in @who, action in [@connect, @read, @write], resource);"),
    ("identity", "permit (principal in @who, action, resource);"),
    ("audit", "permit (principal in @who, action, resource);"),
];

/// Cases that are tests of their own, because they are no sequence of messages: the file and the test.
const ELSEWHERE: &[(&str, &str)] = &[
    ("PG-WIRE-040", "sessions.rs::a_newer_protocol_is_negotiated_down_and_a_function_call_refused"),
    ("PG-WIRE-041", "sessions.rs::near_07_a_cancel_request_ends_its_own_statement_and_no_other"),
    ("PG-WIRE-044", "listeners.rs::requests_for_encryption_are_answered_once_each"),
    ("PG-WIRE-045", "listeners.rs::who_begins_with_tls_and_does_not_name_the_protocol_is_asked_for_nothing"),
    ("PG-WIRE-053", "hostile_peers.rs::near_02_rows_that_are_recorded_or_masked_cost_no_more_when_nobody_reads_them"),
];

#[derive(Deserialize)]
struct Corpus {
    roles: Vec<String>,
    fixture: Vec<String>,
    cases: Vec<Case>,
}

impl Corpus {
    fn read() -> Result<Self> {
        let mut corpus: Self = serde_json::from_str(CORPUS)?;
        // Where state is kept decides nothing of these: once is enough.
        if std::env::var_os("COUNTERSIGN_TEST_STORE").is_none() {
            corpus.cases.extend(serde_json::from_str::<Vec<Case>>(MORE)?);
            corpus.fixture.extend(MORE_FIXTURE.map(str::to_owned));
        }
        Ok(corpus)
    }
}

#[derive(Deserialize)]
struct Case {
    id: String,
    policy: String,
    expect: String,
    /// What it finds out is in no value.
    #[serde(default)]
    covert: bool,
    /// `superuser`: whom the target takes the caller for.
    role: Option<String>,
    /// Simple queries, one after another.
    #[serde(default)]
    statements: Vec<String>,
    /// Instead of statements: what is said, message by message.
    #[serde(default)]
    steps: Vec<HashMap<String, Value>>,
    /// True afterwards where the attack worked.
    check: Option<String>,
    /// Found in what the caller heard where the attack worked.
    leak: Option<String>,
    /// `values`: looked for in cells, copied data and results of functions alone.
    leak_in: Option<String>,
    /// The attack works on a server without protection.
    #[serde(default)]
    proven: bool,
}

impl Case {
    /// What it finds out of a masked value is not in the answer, but in whether there is one, or how many: masks do not stop that.
    fn tells_by_what_happens(&self) -> bool {
        self.policy == MASKING && (self.expect == "deny_or_constrain" || self.covert)
    }
}

/// How far a case came.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// Everything was said, and answered.
    Open,
    /// The server closed the connection.
    Closed,
    /// The caller waits for a signature.
    Held,
}

struct Played {
    heard: Vec<Heard>,
    ending: Ending,
}

/// A server with the fixture as a template, and the database that is made of it anew.
struct Fixture {
    server: Postgres,
}

impl Fixture {
    fn start(corpus: &Corpus) -> Result<Self> {
        let server = Postgres::start_with(Method::Cleartext, &[])?;
        let roles = corpus.roles.iter().filter(|role| !role.starts_with("create role app "));
        let roles = roles.map(|role| format!("{role};\n")).collect::<String>();
        let literal = PASSWORD.replace('\'', "''");
        server.sql("postgres", &format!("{roles} alter role postgres password '{literal}'"))?;
        server.sql("postgres", "create database fixture owner app")?;
        let owned = corpus.fixture.iter().map(|statement| format!("{statement};\n")).collect::<String>();
        let script = format!(
            "alter schema public owner to app; create schema ext; create extension dblink schema ext; create schema tools; \
             create extension tablefunc schema tools; grant usage on schema tools to app; set role app;\n{owned}"
        );
        server.sql("fixture", &script)?;
        let fixture = Self { server };
        fixture.renew()?;
        Ok(fixture)
    }

    fn renew(&self) -> Result<()> {
        let subscriptions = "select format('alter subscription %I set (slot_name = none); drop subscription %1$I;', subname) from pg_subscription";
        let drop_them = self.server.sql("postgres", subscriptions)?;
        if !drop_them.is_empty() {
            self.server.sql(DATABASE, &drop_them)?;
        }
        self.server.sql("postgres", &format!("drop database if exists {DATABASE} with (force)"))?;
        self.server.sql("postgres", &format!("create database {DATABASE} template fixture owner app"))?;
        // What belongs to no database stays otherwise.
        self.server
            .sql("postgres", "alter role app nosuperuser; alter role app reset all; revoke postgres from app; drop role if exists evil")
            .map(drop)
    }

    fn is(&self, check: &str) -> Result<bool> {
        Ok(self.server.sql(DATABASE, &format!("select {check}"))? == "t\n")
    }

    /// Where the next change would be logged: as long as it stays, nothing was changed.
    fn position(&self) -> Result<String> {
        self.server.sql("postgres", "select pg_current_wal_insert_lsn()")
    }
}

/// Says what a case says, step by step.
struct Player<'a> {
    wire: Wire,
    fixture: &'a Fixture,
    /// Messages of the extended protocol before their Sync.
    waiting: Vec<u8>,
    played: Played,
}

fn play(case: &Case, login: &Login, fixture: &Fixture) -> Result<Played> {
    let wire = match Wire::open(login, &parameters(case)?.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>()) {
        Ok(wire) => wire,
        Err(refused) if refused.to_string().starts_with("refused: ") => {
            let heard = vec![Heard { kind: 'E', body: refused.to_string().into_bytes() }];
            return Ok(Played { heard, ending: Ending::Closed });
        }
        Err(error) => return Err(error),
    };
    let mut player = Player { wire, fixture, waiting: Vec::new(), played: Played { heard: Vec::new(), ending: Ending::Open } };
    for statement in &case.statements {
        player.say(&query(statement), 1)?;
    }
    for (name, step) in case.steps.iter().flatten() {
        player.step(name, step).with_context(|| format!("{name}: {step}"))?;
    }
    player.is_in_step()?;
    Ok(player.played)
}

/// What a case adds to the startup packet. Its own name and database stand in it anyway.
fn parameters(case: &Case) -> Result<Vec<(String, String)>> {
    let Some(startup) = case.steps.iter().find_map(|step| step.get("startup")) else { return Ok(Vec::new()) };
    let pairs: Vec<(String, String)> = serde_json::from_value(startup.clone())?;
    Ok(pairs.into_iter().filter(|(name, value)| !(name == "user" && value == "app" || name == "database")).collect())
}

impl Player<'_> {
    fn step(&mut self, name: &str, step: &Value) -> Result<()> {
        let word = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
        let whole = || step.as_str().context("a text");
        match name {
            "startup" => Ok(()),
            "query" => self.say(&query(whole()?), 1),
            "query_nowait" => Ok(self.wire.say(&query(whole()?))?),
            "query_hex" => self.say(&message(b'Q', &[hexadecimal(whole()?)?, vec![0]]), 1),
            "raw_query_bytes" => self.say(&query(whole()?), 1),
            "raw" => self.say(&hexadecimal(whole()?)?, 1),
            "burst" => {
                let statements: Vec<String> = serde_json::from_value(step.clone())?;
                self.say(&statements.iter().flat_map(|statement| query(statement)).collect::<Vec<_>>(), statements.len())
            }
            "split" => {
                let bytes = query(word("sql"));
                let (last, before) = bytes.split_last().context("an empty message")?;
                before.iter().try_for_each(|byte| self.wire.say(&[*byte]))?;
                self.say(&[*last], 1)
            }
            "query_copyin" => {
                self.wire.say(&query(word("sql")))?;
                let data = message(b'd', &[word("data").as_bytes().to_vec()]);
                self.say(&[data, message(b'c', &[])].concat(), 1)
            }
            "parse" => self.wait(&parse(word("name"), word("sql"))),
            "bind" => self.wait(&bind(word("portal"), word("stmt"), step.get("result_formats"))?),
            "execute" => self.wait(&execute(word("portal"), 0)),
            "close" => self.wait(&close(word("kind").chars().next().unwrap_or('S'), word("name"))),
            "sync" => {
                let said = [std::mem::take(&mut self.waiting), sync()].concat();
                self.say(&said, 1)
            }
            "function_call" => {
                let name = word("proc");
                let oid: u32 = self.fixture.server.sql(DATABASE, &format!("select '{name}'::regprocedure::oid"))?.trim().parse()?;
                let arguments: Vec<String> = serde_json::from_value(step.get("args").cloned().unwrap_or_default())?;
                self.say(&function_call(oid, &arguments)?, 1)
            }
            other => bail!("no step is called {other}"),
        }
    }

    fn wait(&mut self, message: &[u8]) -> Result<()> {
        self.waiting.extend(message);
        Ok(())
    }

    /// Says it and hears the answers to it, which end with so many of `ReadyForQuery`.
    fn say(&mut self, bytes: &[u8], mut ready: usize) -> Result<()> {
        if self.played.ending != Ending::Open {
            return Ok(());
        }
        let said = self.wire.say(bytes);
        while ready > 0 {
            match self.wire.hear() {
                Ok(heard) => {
                    ready -= usize::from(heard.kind == 'Z');
                    let holds = heard.kind == 'N' && heard.body.windows(17).any(|words| words == b"held for approval");
                    self.played.heard.push(heard);
                    if holds {
                        self.played.ending = Ending::Held;
                        return Ok(());
                    }
                }
                Err(error) if is_an_end(&error) => {
                    self.played.ending = Ending::Closed;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        said
    }

    /// Both sides still agree on where messages end, or the connection is closed.
    fn is_in_step(&mut self) -> Result<()> {
        if self.played.ending != Ending::Open {
            return Ok(());
        }
        let own = self.played.heard.len();
        self.say(&query("rollback"), 1)?;
        self.say(&query("select 'in step'"), 1)?;
        let after = self.played.heard.split_off(own);
        let in_step = after.iter().any(|heard| heard.kind == 'D' && heard.body.ends_with(b"in step"));
        ensure!(in_step || self.played.ending == Ending::Closed, "out of step: {after:?}");
        Ok(())
    }
}

fn is_an_end(error: &anyhow::Error) -> bool {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kind.is_some_and(|kind| matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

fn hexadecimal(digits: &str) -> Result<Vec<u8>> {
    let two = |at| digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).with_context(|| digits.to_owned());
    (0..digits.len()).step_by(2).map(two).collect()
}

/// Without parameters, its results in these formats.
fn bind(portal: &str, statement: &str, formats: Option<&Value>) -> Result<Vec<u8>> {
    let formats: Vec<i16> = formats.map_or(Ok(Vec::new()), |formats| serde_json::from_value(formats.clone()))?;
    let count = u16::try_from(formats.len())?.to_be_bytes().to_vec();
    let formats = formats.iter().flat_map(|format| format.to_be_bytes()).collect();
    Ok(message(b'B', &[text(portal), text(statement), vec![0, 0, 0, 0], count, formats]))
}

/// With arguments and an answer in text.
fn function_call(function: u32, arguments: &[String]) -> Result<Vec<u8>> {
    let mut parts = vec![function.to_be_bytes().to_vec(), vec![0, 0], u16::try_from(arguments.len())?.to_be_bytes().to_vec()];
    for argument in arguments {
        parts.push([&u32::try_from(argument.len())?.to_be_bytes(), argument.as_bytes()].concat());
    }
    parts.push(vec![0, 0]);
    Ok(message(b'F', &parts))
}

impl Played {
    /// The bytes a leak is looked for in.
    fn shown(&self, values_alone: bool) -> Vec<u8> {
        let values = |heard: &Heard| match heard.kind {
            'D' => cells(&heard.body),
            'd' | 'V' => heard.body.clone(),
            _ if values_alone => Vec::new(),
            _ => heard.body.clone(),
        };
        self.heard.iter().flat_map(|heard| [values(heard), b"\n".to_vec()].concat()).collect()
    }

    /// The text of the first error.
    fn error(&self) -> Option<String> {
        let error = self.heard.iter().find(|heard| heard.kind == 'E')?;
        Some(String::from_utf8_lossy(&error.body).replace('\0', " "))
    }
}

/// A row's values without their lengths.
fn cells(row: &[u8]) -> Vec<u8> {
    let (mut shown, mut rest) = (Vec::new(), row.get(2..).unwrap_or_default());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0).min(after.len());
        let (value, next) = after.split_at(length);
        shown.extend([value, b"\n"].concat());
        rest = next;
    }
    shown
}

/// Whether the attack of a case worked: at the server, or by what the caller heard.
fn worked(case: &Case, played: &Played, fixture: &Fixture) -> Result<bool> {
    let done = case.check.as_ref().map_or(Ok(false), |check| fixture.is(check))?;
    let shown = || played.shown(case.leak_in.is_some());
    Ok(done || case.leak.as_ref().map_or(Ok::<_, anyhow::Error>(false), |leak| Ok(Regex::new(leak)?.is_match(&shown())))?)
}

/// What is wrong with what came of a case through the gateway, if anything is.
fn judge(case: &Case, direct: &Played, through: &Played) -> Option<String> {
    let error = through.error();
    // By the gateway: what the server itself does not take proves nothing of it.
    let refused = || error.as_ref().is_some_and(|error| error.contains("refused"));
    let right = match case.expect.as_str() {
        "allow" => through.heard == direct.heard,
        "mask_or_deny" => through.ending != Ending::Held,
        "deny" | "deny_or_track" | "deny_or_audit" | "deny_or_limit" => refused(),
        // Its answer must not depend on classified values: it is not given.
        "deny_or_constrain" => error.as_ref().is_some_and(|error| error.contains("C42501")),
        "hold" | "hold_or_alert" => through.ending == Ending::Held,
        "protocol_error" => error.as_ref().is_some_and(|error| error.contains("C08P01")),
        "protocol_error_close" => through.ending == Ending::Closed,
        "audit_accurate" | "audited" => true,
        _ => false,
    };
    (!right).then(|| format!("{} ({}): not {}: {:?}, {error:?}", case.id, case.policy, case.expect, through.ending))
}

/// The gateway before a fixture, and a token for each policy.
struct Protected {
    gateway: Gateway,
    logins: HashMap<String, Login>,
}

impl Protected {
    fn start(fixture: &Fixture, corpus: &Corpus) -> Result<Self> {
        let setup = Setup::init()?;
        setup.target(&fixture.server, DATABASE, "record = \"full\"")?;
        let own = fs::read_to_string(setup.file(&format!("connections/{CONNECTION}.toml")))?;
        setup.write(&format!("connections/{SUPERUSER}.toml"), &own.replace("user = \"app\"", "user = \"postgres\""))?;
        let columns = |column: &str| ["people", "people_big", "pmask"].map(|table| format!("\"public.{table}.{column}\"")).join(", ");
        let class = |name: &str, columns: &str| format!("[{name}]\nmask = \"redact\"\ncolumns = [{columns}]\n");
        setup.write(
            "data-classes.toml",
            &format!("{}{}", class("ssn", &columns("ssn")), class("email", "\"public.people.email\", \"public.people_big.email\"")),
        )?;
        setup.permit_all()?;
        let mut gateway = setup.serve()?;
        let own = corpus.cases.iter().filter(|case| case.policy == COUNTING).map(|case| (own_user(case), group(COUNTING)));
        let users: Vec<_> = POLICIES.iter().map(|(policy, _)| (group(policy), group(policy))).chain(own).collect();
        for (user, group) in &users {
            gateway.add_user(user, &[group])?;
        }
        gateway.add_user("signer", &["dba"])?;
        let administrator = gateway.administrator().to_owned();
        gateway.setup().write("policy/all.cedar", &cedar(&administrator))?;
        gateway.run(&administrator, &["apply", &gateway.setup().file("").to_string_lossy()])?;
        let mut logins = HashMap::new();
        for (user, _) in &users {
            for connection in [CONNECTION, SUPERUSER] {
                let token = gateway.run(user, &["token", connection])?.trim().to_owned();
                let login = gateway.login(user)?.with_password(token).without_tls();
                logins.insert(format!("{user}/{connection}"), Login { database: connection.to_owned(), ..login });
            }
        }
        Ok(Self { gateway, logins })
    }

    fn login(&self, case: &Case) -> Result<&Login> {
        let connection = if case.role.is_some() { SUPERUSER } else { CONNECTION };
        let user = match case.policy.as_str() {
            COUNTING => own_user(case),
            _ if case.tells_by_what_happens() => group(FILTERING),
            policy => group(policy),
        };
        self.logins.get(&format!("{user}/{connection}")).with_context(|| format!("no policy {}", case.policy))
    }
}

/// Who plays a case of the policy that counts: nobody has done anything before.
fn own_user(case: &Case) -> String {
    case.id.to_ascii_lowercase()
}

fn group(policy: &str) -> String {
    policy.replace('_', "-")
}

fn cedar(administrator: &str) -> String {
    let mut text = format!(
        "permit (principal == User::\"{administrator}\", action, resource);
         permit (principal in Group::\"dba\", action == Action::\"approve\", resource);\n"
    );
    for (policy, rules) in POLICIES {
        // `@read` is short for `Action::"read"`.
        let mut rules = rules.replace("@who", &format!("Group::\"{}\"", group(policy)));
        for action in ["connect", "read", "write", "export", "configure", "destroy", "unreadable", "reveal", "filter", "escape", "privilege"] {
            rules =
                [" ", "["].iter().fold(rules, |rules, before| rules.replace(&format!("{before}@{action}"), &format!("{before}Action::\"{action}\"")));
        }
        text.push_str(&rules);
        text.push('\n');
    }
    text
}

const MASKING: &str = "mask_people_ssn_email";

/// Looks at what its caller did before.
const COUNTING: &str = "hold_delete_without_where";

/// As [`MASKING`], and nothing may depend on what is masked.
const FILTERING: &str = "mask_and_filter";

#[test]
fn no_way_of_asking_shows_what_is_masked() -> Result<()> {
    play_all(|case| case.policy == MASKING)
}

#[test]
fn no_way_around_a_policy_works_and_what_only_looks_like_one_comes_back_as_it_is() -> Result<()> {
    play_all(|case| case.policy != MASKING)
}

fn play_all(wanted: fn(&Case) -> bool) -> Result<()> {
    let corpus = Corpus::read()?;
    let (direct, behind) = (Fixture::start(&corpus)?, Fixture::start(&corpus)?);
    let protected = Protected::start(&behind, &corpus)?;
    let mut faults = Vec::new();
    for case in corpus.cases.iter().filter(|case| wanted(case) && ELSEWHERE.iter().all(|(id, _)| *id != case.id)) {
        let before = [direct.position()?, behind.position()?];
        faults.extend(played_both_ways(case, &direct, &behind, &protected).with_context(|| case.id.clone())?);
        for (fixture, before) in [&direct, &behind].into_iter().zip(before) {
            if fixture.position()? != before {
                fixture.renew()?;
            }
        }
    }
    ensure!(faults.is_empty(), "{} of {}:\n{}", faults.len(), corpus.cases.len(), faults.join("\n"));
    ensure!(!protected.gateway.printed().contains("panicked"), "{}", protected.gateway.printed());
    Ok(())
}

fn played_both_ways(case: &Case, direct: &Fixture, behind: &Fixture, protected: &Protected) -> Result<Option<String>> {
    let user = if case.role.is_some() { "postgres" } else { "app" };
    let login = Login { user: user.to_owned(), ..direct.server.login(DATABASE).without_tls() };
    let unprotected = play(case, &login, direct).context("directly")?;
    if case.proven && !worked(case, &unprotected, direct)? {
        return Ok(Some(format!("{}: it does not work without the gateway: {:?}", case.id, unprotected.error())));
    }
    let through = play(case, protected.login(case)?, behind).context("through the gateway")?;
    if worked(case, &through, behind)? {
        return Ok(Some(format!("{} ({}): it works: {:?}", case.id, case.policy, through.error())));
    }
    Ok(judge(case, &unprotected, &through))
}

#[test]
fn cases_that_are_played_elsewhere_are_known() -> Result<()> {
    let corpus: Corpus = serde_json::from_str(CORPUS)?;
    for (id, _) in ELSEWHERE {
        ensure!(corpus.cases.iter().any(|case| case.id == *id), "no case is called {id}");
    }
    for (id, place) in ELSEWHERE {
        let (file, test) = place.split_once("::").context("no file and test")?;
        let source = fs::read_to_string(format!("{}/tests/{file}", env!("CARGO_MANIFEST_DIR")))?;
        ensure!(source.contains(&format!("fn {test}(")), "{id}: there is no {place}");
    }
    Ok(())
}

/// Whatever became of it, the record says.
#[test]
fn the_record_names_what_was_sent_and_what_became_of_it() -> Result<()> {
    let corpus = Corpus::read()?;
    let behind = Fixture::start(&corpus)?;
    let protected = Protected::start(&behind, &corpus)?;
    for (id, parts) in [
        ("PG-WIRE-051", &["INSERT INTO audit VALUES('a')", "division by zero"][..]),
        ("PG-WIRE-052", &["SELECT ssn FROM people"]),
        ("PG-RO-034", &["BEGIN READ ONLY", "NOTIFY ch,'x'", "refused by policy"]),
    ] {
        let case = corpus.cases.iter().find(|case| case.id == id).with_context(|| anyhow!("no case {id}"))?;
        play(case, protected.login(case)?, &behind)?;
        let listed = protected.gateway.json(protected.gateway.administrator(), &["sessions", "--identity", &group(&case.policy)])?;
        let session = listed.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?;
        let told = protected.gateway.run(protected.gateway.administrator(), &["show", session])?;
        for part in parts {
            ensure!(told.contains(part), "{id}: the record does not say {part:?}:\n{told}");
        }
    }
    Ok(())
}
