//! No classified value reaches somebody who may not see it, in whatever form and by whatever way: statements of a grammar's and of sqlsmith's making are
//! asked through the gateway, and every byte that comes back is searched for the values of the classified cells, of which no two are alike.
//!
//! A short run with a fixed seed is part of every test; `cargo xtask canaries` makes it longer. What is known to leak, if anything, is listed in
//! `grammar::LEFT_OUT`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    io::{BufWriter, ErrorKind, Write},
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use countersign_tests::{
    canaries::{
        grammar::{Grammar, LEFT_OUT, Program, Step},
        relay::{Exchange, Relay},
        schema::{Canary, Schema},
        search::{Found, Search},
    },
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Method, Postgres, ROLE},
    wire::{Heard, Wire, bind, describe, execute, message, parse, query, sync, text},
};

/// So many statements are asked in every run of the tests, and this seed is theirs.
const STATEMENTS: usize = 3_000;
const SEED: u64 = 20_260_101;
/// One statement in so many is sqlsmith's.
const SQLSMITH_SHARE: usize = 20;
/// A session makes things and leaves them: then comes the next.
const PROGRAMS_IN_A_SESSION: usize = 40;
/// Of the grammar's statements so many in a hundred must succeed: what fails or is refused proves little.
const SUCCESSES_MIN_PERCENT: usize = 30;
/// After so many finds the search ends: one fault makes many.
const FINDS_MAX: usize = 200;
/// Directly at the server they are of so many forms at least.
const FORMS_MIN: usize = 12;
/// So long may a statement of the grammar take: many products of many tables are in no proportion to what they show.
const SHORT: &str = "set statement_timeout = 400";
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// Who asks, and what policy permits them besides everything but `reveal`.
const ASKERS: &[(&str, bool)] = &[("filtering", true), ("blind", false)];

const POLICY: &str = r#"
permit (principal, action, resource);
permit (principal, action == Action::"unreadable", resource);
forbid (principal, action == Action::"reveal", resource);
forbid (principal in Group::"blind", action == Action::"filter", resource);
"#;

/// A statement must end, and so must its wait for the other asker's; and what it writes must fit on the disk.
const LIMITS: &[&str] =
    &["statement_timeout = 4000", "lock_timeout = 1000", "temp_file_limit = 100MB", "log_statement = none", "max_connections = 60"];

/// The schema behind the gateway, and what to look for.
struct Stand {
    _target: Postgres,
    gateway: Gateway,
    logins: Vec<(Login, bool)>,
    search: Search,
}

impl Stand {
    fn start(seed: u64) -> Result<Self> {
        let target = Postgres::start_with(Method::Cleartext, LIMITS)?;
        let schema = Schema::seeded(seed, ROLE);
        target.sql(DATABASE, &schema.script)?;
        let search = Search::new(&schema.canaries, &derived(&target, &schema.canaries)?);
        let setup = Setup::init()?;
        setup.permit_all()?;
        setup.write("policy/masking.cedar", POLICY)?;
        setup.write("data-classes.toml", &schema.classes)?;
        setup.target(&target, DATABASE, "record = \"full\"")?;
        let mut gateway = setup.serve()?;
        let mut logins = Vec::new();
        for (name, filter) in ASKERS {
            gateway.add_user(name, &[name])?;
            let token = gateway.run(name, &["token", CONNECTION, "--expires-in", "8h"])?.trim().to_owned();
            logins.push((gateway.login(name)?.with_password(token).without_tls(), *filter));
        }
        Ok(Self { _target: target, gateway, logins, search })
    }

    fn is_well(&self) -> Result<()> {
        ensure!(self.gateway.health()?.starts_with("HTTP/1.1 200"), "{}", self.gateway.printed());
        ensure!(!self.gateway.printed().contains("panicked"), "{}", self.gateway.printed());
        Ok(())
    }
}

/// What functions that cannot be undone make of the values, as the server has it: place, function, result.
fn derived(target: &Postgres, canaries: &[Canary]) -> Result<Vec<(String, String, String)>> {
    use countersign_tests::canaries::schema::Value;
    let texts = canaries.iter().filter_map(|canary| match &canary.value {
        // An address is never alone: see the schema.
        Value::Text(text) if canary.place.contains(".mail ") => Some((&canary.place, format!("{text}@example.org"))),
        Value::Text(text) => Some((&canary.place, text.clone())),
        Value::Number(number) => Some((&canary.place, number.to_string())),
        _ => None,
    });
    let rows: Vec<String> = texts.map(|(place, text)| format!("('{place}', '{text}')")).collect();
    let hashed = format!(
        "select place, f, r from (values {}) v(place, t),
         lateral (values ('md5', md5(t)), ('sha256', encode(sha256(convert_to(t, 'UTF8')), 'hex')), ('hash', hashtextextended(t, 0)::text)) x(f, r)",
        rows.join(", ")
    );
    let lines = target.sql(DATABASE, &hashed)?;
    let parts = lines.lines().map(|line| line.split('|').map(str::to_owned).collect::<Vec<_>>());
    parts
        .map(|parts| <[String; 3]>::try_from(parts).map(|[place, function, result]| (place, function, result)).map_err(|parts| anyhow!("{parts:?}")))
        .collect()
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Succeeded,
    /// By the gateway.
    Refused,
    /// At the server.
    Failed,
    /// The connection was closed.
    Closed,
}

/// What came of all of them.
#[derive(Default)]
struct Tally {
    statements: usize,
    succeeded: usize,
    refused: usize,
    failed: usize,
    closed: usize,
    rows: usize,
    bytes: usize,
    /// Errors by SQLSTATE.
    codes: BTreeMap<String, usize>,
    finds: Vec<String>,
    /// In which forms.
    forms: BTreeSet<String>,
    faults: Vec<String>,
}

impl Tally {
    fn count(&mut self, outcome: Outcome, heard: &[Heard]) {
        self.statements += 1;
        self.rows += heard.iter().filter(|heard| heard.kind == 'D' || heard.kind == 'd').count();
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Closed => self.closed += 1,
        }
        if let Some(code) = heard.iter().find(|heard| heard.kind == 'E').and_then(|error| field(&error.body, b'C')) {
            *self.codes.entry(code).or_default() += 1;
        }
    }

    fn search(&mut self, search: &Search, bytes: &[u8], what: &dyn fmt::Display) {
        self.bytes += bytes.len();
        let found = search.all_in(bytes);
        if !found.is_empty() {
            let forms: Vec<String> = found.iter().take(8).map(|Found { place, form }| format!("  {place} ({form})")).collect();
            self.forms.extend(found.iter().map(|found| found.form.clone()));
            self.finds.push(format!("FOUND {} in the answer to\n{what}\n{}\n  {}\n", found.len(), forms.join("\n"), excerpt(bytes)));
        }
    }

    fn add(&mut self, other: Self) {
        self.statements += other.statements;
        self.succeeded += other.succeeded;
        self.refused += other.refused;
        self.failed += other.failed;
        self.closed += other.closed;
        self.rows += other.rows;
        self.bytes += other.bytes;
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
        self.finds.extend(other.finds);
        self.forms.extend(other.forms);
        self.faults.extend(other.faults);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100 * self.succeeded / self.statements.max(1);
        write!(
            f,
            "{} statements: {} succeeded ({percent} %), {} refused, {} failed, {} closed; {} rows, {} KiB, {} finds, {} faults",
            self.statements,
            self.succeeded,
            self.refused,
            self.failed,
            self.closed,
            self.rows,
            self.bytes >> 10,
            self.finds.len(),
            self.faults.len()
        )
    }
}

fn excerpt(bytes: &[u8]) -> String {
    bytes.get(..bytes.len().min(1500)).unwrap_or_default().escape_ascii().to_string()
}

/// A field of an error or notice.
fn field(body: &[u8], name: u8) -> Option<String> {
    let mut fields = body.split(|byte| *byte == 0);
    fields.find_map(|field| field.split_first().filter(|(first, _)| **first == name).map(|(_, value)| String::from_utf8_lossy(value).into_owned()))
}

fn outcome(heard: &[Heard]) -> Outcome {
    let Some(error) = heard.iter().find(|heard| heard.kind == 'E') else { return Outcome::Succeeded };
    let words = field(&error.body, b'M').unwrap_or_default();
    if words.contains("refused") || words.contains("cannot be masked") { Outcome::Refused } else { Outcome::Failed }
}

/// A caller's session, and what it has heard since the last search.
struct Session<'a> {
    wire: Wire,
    /// What is asked to see whether both sides still agree; another number each time.
    step: u32,
    heard: Vec<u8>,
    ended: bool,
    log: &'a Log,
}

impl<'a> Session<'a> {
    fn open(login: &Login, log: &'a Log) -> Result<Self> {
        let wire = Wire::open(login, &[])?;
        let heard = format!("{:?}", wire.parameters).into_bytes();
        Ok(Self { wire, step: 0, heard, ended: false, log })
    }

    /// Asks all of a program, and counts what came of it.
    fn play(&mut self, program: &Program, tally: &mut Tally) -> Result<()> {
        if program.transaction {
            self.say(&query("begin"), 1, None)?;
        }
        for step in &program.steps {
            if self.ended {
                break;
            }
            let asked = Instant::now();
            let heard = self.step(step)?;
            let outcome = if self.ended { Outcome::Closed } else { outcome(&heard) };
            tally.count(outcome, &heard);
            self.log.write(step, outcome, asked.elapsed(), &heard);
            if program.transaction && outcome != Outcome::Succeeded {
                break; // what comes after a failure fails
            }
        }
        self.is_in_step()
    }

    fn step(&mut self, step: &Step) -> Result<Vec<Heard>> {
        match step {
            Step::Simple(sql) => self.say(&query(sql), 1, None),
            Step::CopyIn { sql, data } => self.say(&query(sql), 1, Some(data)),
            Step::Extended { sql, parameters, format, described, rows } => {
                let parameters: Vec<Option<&str>> = parameters.iter().map(|parameter| Some(parameter.as_str())).collect();
                let mut said = [parse("", sql), bind("", "", &parameters, *format)].concat();
                if *described {
                    said.extend(describe('P', ""));
                }
                said.extend(execute("", *rows));
                if *rows > 0 {
                    said.extend(execute("", 0));
                }
                self.say(&[said, sync()].concat(), 1, None)
            }
        }
    }

    /// Says it and hears the answers to it, which end with so many of `ReadyForQuery`. Whoever asks for data gets these.
    fn say(&mut self, bytes: &[u8], mut ready: usize, data: Option<&str>) -> Result<Vec<Heard>> {
        let mut heard = Vec::new();
        let said = self.wire.say(bytes);
        while ready > 0 {
            match self.wire.hear() {
                Ok(one) => {
                    self.heard.push(u8::try_from(one.kind).unwrap_or(b'?'));
                    self.heard.extend(u32::try_from(one.body.len() + 4)?.to_be_bytes());
                    self.heard.extend(&one.body);
                    ready -= usize::from(one.kind == 'Z');
                    if one.kind == 'G' {
                        self.wire.say(&match data {
                            Some(data) => [message(b'd', &[data.as_bytes().to_vec()]), message(b'c', &[])].concat(),
                            None => message(b'f', &[text("nothing to copy")]),
                        })?;
                    }
                    heard.push(one);
                }
                Err(error) if is_an_end(&error) => {
                    self.ended = true;
                    let fatal = heard.iter().any(|one| one.kind == 'E' && field(&one.body, b'S').is_some_and(|severity| severity == "FATAL"));
                    ensure!(fatal, "closed without a word: {heard:?}");
                    return Ok(heard);
                }
                Err(error) => return Err(error).with_context(|| format!("after {heard:?}")),
            }
        }
        said?;
        Ok(heard)
    }

    /// Both sides still agree on where answers end, or the connection is closed.
    fn is_in_step(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.step += 1;
        let wanted = format!("in step {}", self.step);
        self.say(&query("rollback"), 1, None)?;
        if self.ended {
            return Ok(());
        }
        let after = self.say(&query(&format!("select '{wanted}'")), 1, None)?;
        let told = after.iter().any(|heard| heard.kind == 'D' && heard.body.ends_with(wanted.as_bytes()));
        ensure!(told || self.ended, "out of step: {after:?}");
        Ok(())
    }
}

fn is_an_end(error: &anyhow::Error) -> bool {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kind.is_some_and(|kind| matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

/// Each statement with what became of it, if `COUNTERSIGN_TEST_CANARIES_LOG` names a file: to see what the grammar is worth.
struct Log(Option<Mutex<BufWriter<File>>>);

impl Log {
    fn open() -> Result<Self> {
        let file = std::env::var_os("COUNTERSIGN_TEST_CANARIES_LOG").map(File::create).transpose()?;
        Ok(Self(file.map(|file| Mutex::new(BufWriter::new(file)))))
    }

    fn write(&self, step: &Step, outcome: Outcome, took: Duration, heard: &[Heard]) {
        let Some(mut file) = self.0.as_ref().and_then(|file| file.lock().ok()) else { return };
        let error = heard.iter().find(|heard| heard.kind == 'E').map(|error| error.body.escape_ascii().to_string().replace("\\x00", " "));
        let kind = if matches!(step, Step::Extended { .. }) { "extended" } else { "simple" };
        let _ = writeln!(file, "{outcome:?}\t{kind}\t{} ms\t{}\t{}", took.as_millis(), step.sql().escape_debug(), error.unwrap_or_default());
    }
}

/// Programs of one seed, so many statements.
struct Lane<'a> {
    search: &'a Search,
    login: &'a Login,
    grammar: Grammar,
    statements: usize,
    log: &'a Log,
    name: &'static str,
    /// Whether what is found is printed while it runs.
    loud: bool,
}

impl Lane<'_> {
    fn run(mut self) -> Result<Tally> {
        let mut tally = Tally::default();
        let (mut told, mut shown) = (Instant::now(), (0, 0));
        while tally.statements < self.statements && tally.finds.len() < FINDS_MAX {
            let mut session = Session::open(self.login, self.log)?;
            session.step(&Step::Simple(SHORT.to_owned()))?;
            for setting in self.grammar.settings() {
                session.step(&setting)?;
            }
            for _ in 0..PROGRAMS_IN_A_SESSION {
                let program = self.grammar.program();
                if let Err(fault) = session.play(&program, &mut tally) {
                    tally.faults.push(format!("{fault:#}\n{}", Said(&program)));
                    session.ended = true;
                }
                tally.search(self.search, &std::mem::take(&mut session.heard), &Said(&program));
                if session.ended || tally.statements >= self.statements {
                    break;
                }
            }
            if told.elapsed() > PROGRESS_EVERY {
                told = Instant::now();
                println!("{}: {tally}", self.name);
                for new in [tally.finds.get(shown.0..), tally.faults.get(shown.1..)].into_iter().flatten().flatten().filter(|_| self.loud) {
                    println!("{new}");
                }
                shown = (tally.finds.len(), tally.faults.len());
            }
            ensure!(tally.faults.len() < FINDS_MAX, "too many faults: {}", tally.faults.join("\n"));
        }
        Ok(tally)
    }
}

/// A program as it was said.
struct Said<'a>(&'a Program);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.transaction {
            writeln!(f, "  begin")?;
        }
        self.0.steps.iter().try_for_each(|step| match step {
            Step::Simple(sql) => writeln!(f, "  {sql}"),
            other => writeln!(f, "  {other:?}"),
        })
    }
}

/// Programs that are to be asked instead of the grammar's, if `COUNTERSIGN_TEST_CANARIES_TRY` names a file with one a line, their statements parted by `;;`:
/// to find the smallest form of what was found.
fn tried() -> Result<Option<Vec<Program>>> {
    let Some(file) = std::env::var_os("COUNTERSIGN_TEST_CANARIES_TRY") else { return Ok(None) };
    let lines = fs::read_to_string(file)?;
    Ok(Some(lines.lines().filter(|line| !line.is_empty()).map(Program::read).collect()))
}

#[test]
fn no_statement_that_is_tried_shows_a_canary() -> Result<()> {
    let Some(programs) = tried()? else { return Ok(()) };
    let stand = Stand::start(SEED)?;
    let log = Log::open()?;
    let mut total = Tally::default();
    for ((login, _), (name, _)) in stand.logins.iter().zip(ASKERS) {
        for program in &programs {
            let mut session = Session::open(login, &log)?;
            session.play(program, &mut total)?;
            let before = total.finds.len();
            total.search(&stand.search, &session.heard, &Said(program));
            println!("{name}: {}\n{}    {}\n", if total.finds.len() > before { "FOUND" } else { "nothing" }, Said(program), excerpt(&session.heard));
        }
    }
    judge(&stand, &total)
}

/// How many statements this run is to ask: in all its parts.
fn statements() -> Result<usize> {
    let wanted = std::env::var("COUNTERSIGN_TEST_CANARIES").map_or(Ok(STATEMENTS), |count| count.parse())?;
    // Where state is kept changes nothing of what is masked: a look is enough.
    Ok(if std::env::var_os("COUNTERSIGN_TEST_STORE").is_some() { wanted / 10 } else { wanted })
}

#[test]
fn no_statement_of_the_grammar_shows_a_canary() -> Result<()> {
    let statements = statements()?;
    let statements = (statements - statements / SQLSMITH_SHARE) / ASKERS.len();
    let seed = std::env::var("COUNTERSIGN_TEST_CANARIES_SEED").map_or(Ok(SEED), |seed| seed.parse())?;
    let stand = Stand::start(SEED)?;
    let log = Log::open()?;
    let began = Instant::now();
    let lanes = stand.logins.iter().zip(ASKERS).zip(1u64..).map(|(((login, filter), (name, _)), number)| Lane {
        search: &stand.search,
        login,
        grammar: Grammar::seeded(seed.wrapping_add(number), &format!("o{number}_"), *filter),
        statements,
        log: &log,
        name,
        loud: true,
    });
    let lanes: Vec<Lane<'_>> = lanes.collect();
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = lanes.into_iter().map(|lane| (lane.name, scope.spawn(|| lane.run()))).collect();
        for (name, lane) in running {
            let tally = lane.join().map_err(|_| anyhow!("a lane panicked"))??;
            println!("{name}: {tally}");
            total.add(tally);
        }
        Ok::<_, anyhow::Error>(())
    })?;
    println!("grammar: {total} in {} s\n{:?}", began.elapsed().as_secs(), total.codes);
    judge(&stand, &total)?;
    ensure!(100 * total.succeeded >= SUCCESSES_MIN_PERCENT * total.statements, "too few succeed: {total}");
    Ok(())
}

#[test]
fn no_statement_of_sqlsmiths_shows_a_canary() -> Result<()> {
    let statements = statements()? / SQLSMITH_SHARE / ASKERS.len();
    let stand = Stand::start(SEED)?;
    let log = Log::open()?;
    let began = Instant::now();
    let mut total = Tally::default();
    for ((login, _), (name, _)) in stand.logins.iter().zip(ASKERS) {
        let tally = sqlsmith(&stand, login, statements, &log)?;
        println!("sqlsmith as {name}: {tally}");
        total.add(tally);
    }
    println!("sqlsmith: {total} in {} s\n{:?}", began.elapsed().as_secs(), total.codes);
    judge(&stand, &total)?;
    ensure!(total.statements >= statements && total.succeeded > 0, "sqlsmith asked nothing: {total}");
    Ok(())
}

/// What the grammar leaves out leaks indeed: what is mended is asked again.
#[test]
fn what_is_left_out_is_known_to_leak() -> Result<()> {
    let stand = Stand::start(SEED)?;
    let log = Log(None);
    let (login, _) = stand.logins.last().context("nobody asks")?;
    for form in LEFT_OUT {
        let (mut session, mut tally) = (Session::open(login, &log)?, Tally::default());
        let program = Program::read(form.example);
        session.play(&program, &mut tally)?;
        tally.search(&stand.search, &session.heard, &Said(&program));
        ensure!(!tally.finds.is_empty(), "it does not leak any more, take it from LEFT_OUT: {}: {}", form.example, excerpt(&session.heard));
    }
    stand.is_well()
}

/// Without the gateway the same statements show canaries all the time: otherwise it would prove nothing that none is found behind it.
#[test]
fn the_bare_server_shows_canaries() -> Result<()> {
    let target = Postgres::start_with(Method::Cleartext, LIMITS)?;
    let schema = Schema::seeded(SEED, ROLE);
    target.sql(DATABASE, &schema.script)?;
    let search = Search::new(&schema.canaries, &derived(&target, &schema.canaries)?);
    let log = Log(None);
    let grammar = Grammar::seeded(SEED, "d", true);
    let login = target.login(DATABASE);
    let lane = Lane { search: &search, login: &login, grammar, statements: 10 * FINDS_MAX, log: &log, name: "directly", loud: false };
    let tally = lane.run()?;
    println!("directly: {tally}\n{:?}\n{:?}", tally.codes, tally.forms);
    ensure!(tally.finds.len() >= FINDS_MAX && tally.finds.len() * 4 >= tally.statements, "{tally}");
    ensure!(tally.forms.len() >= FORMS_MIN && tally.faults.is_empty(), "{:?} {:?}", tally.forms, tally.faults);
    Ok(())
}

fn judge(stand: &Stand, total: &Tally) -> Result<()> {
    ensure!(total.finds.is_empty(), "{total}\n{}", total.finds.join("\n"));
    ensure!(total.faults.is_empty(), "{total}\n{}", total.faults.join("\n"));
    stand.is_well()
}

/// Lets sqlsmith ask so many statements over a relay.
fn sqlsmith(stand: &Stand, login: &Login, statements: usize, log: &Log) -> Result<Tally> {
    let relay = Relay::before(login.port)?;
    let target = format!("host=127.0.0.1 port={} user={} dbname={} sslmode=disable connect_timeout=30", relay.port, login.user, login.database);
    let mut sqlsmith = Command::new(xtask::install::sqlsmith().map_err(|error| anyhow!(error))?);
    sqlsmith.args([&format!("--target={target}"), &format!("--seed={SEED}"), &format!("--max-queries={statements}"), "--exclude-catalog"]);
    sqlsmith.env("PGPASSWORD", &login.password).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = sqlsmith.spawn()?.wait_with_output()?;
    ensure!(output.status.success(), "sqlsmith: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let mut tally = Tally::default();
    let mut own = false;
    while let Ok(exchange) = relay.exchanges.try_recv() {
        if own {
            let heard = frames(&exchange);
            tally.count(outcome(&heard), &heard);
            let sql = exchange.said.get(5..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
            log.write(&Step::Simple(String::from_utf8_lossy(sql).into_owned()), outcome(&heard), Duration::ZERO, &heard);
        }
        // Everything else is how it reads the catalog: thousands of questions, searched like the rest.
        own = exchange.said.ends_with(b"BEGIN;\0");
        tally.search(&stand.search, &exchange.heard, &exchange.said.escape_ascii());
    }
    Ok(tally)
}

/// The messages of an answer.
fn frames(exchange: &Exchange) -> Vec<Heard> {
    let mut frames = Vec::new();
    let mut rest = exchange.heard.as_slice();
    while let Some(([kind, length @ ..], after)) = rest.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(0).saturating_sub(4).min(after.len());
        let (body, next) = after.split_at(length);
        frames.push(Heard { kind: char::from(*kind), body: body.to_vec() });
        rest = next;
    }
    frames
}
