//! What drivers, ORMs, migrators, dashboards and administration tools send, played through the gateway: policy permits everything but to see the values of
//! three columns, and nothing may be refused, and nothing else be withheld.
//!
//! `captured/README.md` says where the statements are from. Each file is played on servers that begin alike: through the gateway, directly, directly
//! once more, and directly with other values in the classified columns. What differs between the first two direct ones is no business of the gateway's
//! (process ids, times); a column that is another with other classified values is made of them, and may be withheld.
//! A last way through the gateway, whose caller may look classified values up and not search by them, only tells how much is refused for that.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Method, PASSWORD, Postgres, ROLE},
    wire::{Heard, Wire, close, describe, execute, message, query, sync, text},
};
use serde::Deserialize;

/// The classified columns and their masks.
const CLASSES: &[(&str, &str, &str)] = &[
    ("email", "keep-domain", "public.customers.email"),
    ("card", "keep-last-four", "public.customers.card_number"),
    ("phone", "redact", "public.customers.phone"),
];

/// Whom the statements run as where a line names nobody.
const OWNER: &str = "shop_owner";

/// The role of dashboards.
const READER: &str = "shop_reader";

/// May find classified values out by searching for them, and may not see them.
const SEARCHES: &str = "searches";

/// May look up a classified value that they know, as the policies of `init` say.
const LOOKS_UP: &str = "looks-up";

const POLICIES: &str = r#"
permit (principal, action, resource) unless { action == Action::"filter" || action == Action::"reveal" };
permit (principal in Group::"searches", action == Action::"filter", resource);
@id("lookups")
permit (principal in Group::"looks-up", action == Action::"filter", resource) when { context.comparison != "any" };
"#;

/// Other values for the classified columns, sorted as those of the fixture are.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("'customer' || g || '@mail.example'", "'another-customer' || g || '@letters.example'"),
    ("'4' || lpad", "'55' || lpad"),
    ("'+49 30 '", "'+33 1 5'"),
];

/// Lines of a file.
type Lines = (&'static str, &'static [usize]);

/// What shows how busy a server is, or who is connected, and so that the gateway is there; and what is drawn by lot.
const OF_THE_SERVER: &[Lines] = &[
    ("grafana", &[32, 33]),
    ("pgadmin", &[33, 42, 45, 115, 229, 230, 231, 274]),
    ("psql", &[51, 290, 291]),
    ("sqlalchemy_psycopg2", &[146]),
    ("sqlalchemy_psycopg3", &[136]),
    // `application_name` at the target is the gateway's: docs/compatibility.md.
    ("pgadmin", &[234]),
    ("psql", &[56, 170, 178]),
];

/// What is refused or withheld, with the reason.
const KNOWN: &[(&str, &[Lines])] = &[
    ("a parameter of type `void` counts as an argument", &[("pgjdbc", &[64])]),
    ("what is returned after a trigger that is not followed", &[("drizzle", &[5]), ("prisma", &[18])]),
    ("computed values, where a message holds several statements", &[("odbc", &[50])]),
    ("after code that is not followed, where a transaction keeps its snapshot", &[("pgx", &[15, 16])]),
    ("the plan of a statement that touches a table with classified columns", &[("psql", &[174])]),
    ("functions in PL/pgSQL, which could store what they read, and what needs them", &[("flyway", &[66]), ("pg_restore", &[65, 66, 67, 68, 125])]),
    ("anonymous blocks, and a function called by the message that makes it", &[("flyway", &[67]), ("sequelize", &[14, 20, 41])]),
    (
        "follows from the same",
        &[
            ("flyway", &[68, 69, 70, 76]),
            ("sequelize", &[15, 16, 17, 19, 21, 22, 23, 24, 25, 35, 36, 37, 38, 40, 43, 44, 45, 46, 54, 55, 56, 57, 58]),
        ],
    ),
];

fn lists(lines: &[Lines], file: &str, number: usize) -> bool {
    lines.iter().any(|(name, numbers)| *name == file && numbers.contains(&number))
}

/// A line of a file.
#[derive(Debug, Deserialize)]
struct Line {
    sql: String,
    params: Option<Vec<Option<String>>>,
    session: u32,
    #[serde(default = "owner")]
    role: String,
    #[serde(default)]
    protocol: Protocol,
    types: Option<Vec<Option<String>>>,
    statement: Option<String>,
    #[serde(default)]
    binary: bool,
    #[serde(default)]
    startup: BTreeMap<String, String>,
    copy_in: Option<String>,
    copy_in_hex: Option<String>,
    #[serde(default)]
    fails: bool,
    code: Option<String>,
    #[serde(default)]
    rows: usize,
    #[serde(default)]
    classified: Vec<usize>,
    #[serde(default)]
    varies: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    #[default]
    Simple,
    Extended,
    Prepare,
}

fn owner() -> String {
    OWNER.to_owned()
}

/// A file: what one tool sent.
#[derive(Debug)]
struct File {
    name: String,
    lines: Vec<Line>,
}

fn files() -> Result<Vec<File>> {
    let mut paths = std::fs::read_dir(folder())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    if let Some(only) = std::env::var_os("COUNTERSIGN_TEST_CAPTURED") {
        paths.retain(|path| path.file_stem() == Some(&only));
    }
    paths.sort();
    paths.iter().map(|path| file(path).with_context(|| path.display().to_string())).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captured")
}

fn file(path: &Path) -> Result<File> {
    let name = path.file_stem().context("no name")?.to_string_lossy().into_owned();
    let lines = std::fs::read_to_string(path)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(File { name, lines })
}

/// A server with the fixture, which every file finds as it was.
struct Fixture {
    server: Postgres,
}

impl Fixture {
    fn start(script: &str) -> Result<Self> {
        let server = Postgres::start_with(Method::Cleartext, &["autovacuum = off"])?;
        server.sql("postgres", &format!("drop database {DATABASE}"))?;
        server.sql("postgres", &format!("create database {DATABASE}"))?;
        server.sql(DATABASE, script)?;
        let literal = PASSWORD.replace('\'', "''");
        let passwords = [OWNER, READER, "postgres"].map(|role| format!("alter role {role} password '{literal}';")).concat();
        server.sql("postgres", &format!("{passwords} drop role {ROLE}; alter database {DATABASE} rename to fixture"))?;
        Ok(Self { server })
    }

    /// Its objects have other numbers from now on.
    fn count_further(&self) -> Result<()> {
        self.server.sql("postgres", "select count(lo_unlink(lo_create(0))) from generate_series(1, 5000)").map(drop)
    }

    fn renew(&self) -> Result<()> {
        let mut wire = Wire::open(&Login { database: "postgres".to_owned(), ..self.login("postgres") }, &[])?;
        for statement in
            [format!("drop database if exists {DATABASE} with (force)"), format!("create database {DATABASE} template fixture owner {OWNER}")]
        {
            wire.say(&query(&statement))?;
            let heard = wire.hear_until_ready(1)?;
            ensure!(heard.iter().all(|heard| heard.kind != 'E'), "{statement}: {heard:?}");
        }
        Ok(())
    }

    fn login(&self, role: &str) -> Login {
        Login { user: role.to_owned(), ..self.server.login(DATABASE).without_tls() }
    }
}

/// The login for a file and a role.
type Find<'a> = dyn Fn(&str, &str) -> Result<Login> + Send + Sync + 'a;

/// One way to a server with the fixture.
struct Way<'a> {
    fixture: &'a Fixture,
    login: Box<Find<'a>>,
}

impl<'a> Way<'a> {
    fn direct(fixture: &'a Fixture) -> Self {
        Self { fixture, login: Box::new(|_, role| Ok(fixture.login(role))) }
    }

    fn play(&self, files: &[File]) -> Result<Vec<Vec<Answer>>> {
        files.iter().map(|file| self.play_file(file).with_context(|| file.name.clone())).collect()
    }

    fn play_file(&self, file: &File) -> Result<Vec<Answer>> {
        self.fixture.renew()?;
        let mut player = Player { names: Names::open(&self.fixture.login("postgres"))?, sessions: HashMap::new() };
        let last: HashMap<u32, usize> = file.lines.iter().enumerate().map(|(at, line)| (line.session, at)).collect();
        let mut answers = Vec::new();
        for (at, line) in file.lines.iter().enumerate() {
            let answer = player.play(line, || (self.login)(&file.name, &line.role)).with_context(|| format!("line {}: {}", at + 1, line.sql))?;
            if last.get(&line.session) == Some(&at) {
                player.sessions.remove(&line.session).map_or(Ok(()), Session::close)?;
            }
            answers.push(answer);
        }
        Ok(answers)
    }
}

/// What came of a statement.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    results: Vec<Table>,
    error: Option<Error>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// Names and types.
    columns: Vec<(String, u32)>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
    copied: bool,
}

impl Table {
    /// All but values. The numbers of types that a database made itself are its own.
    fn form(&self) -> (Vec<(&str, Option<u32>)>, usize, bool) {
        let columns = self.columns.iter().map(|(name, oid)| (name.as_str(), Some(*oid).filter(|oid| *oid < FIRST_OWN_OID))).collect();
        (columns, self.rows.len(), self.copied)
    }
}

/// `FirstNormalObjectId` of PostgreSQL's access/transam.h.
const FIRST_OWN_OID: u32 = 16384;

#[derive(Debug, PartialEq, Eq)]
struct Error {
    code: String,
    words: String,
}

/// Says the statements of a file in their sessions.
struct Player {
    names: Names,
    sessions: HashMap<u32, Session>,
}

struct Session {
    wire: Wire,
    /// Prepared statements and what they were made of.
    prepared: HashMap<String, String>,
}

impl Session {
    fn open(login: &Login, startup: &BTreeMap<String, String>) -> Result<Self> {
        let parameters: Vec<_> = startup.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Ok(Self { wire: Wire::open(login, &parameters)?, prepared: HashMap::new() })
    }

    fn close(mut self) -> Result<()> {
        self.wire.say(&message(b'X', &[]))?;
        self.wire.ends().map(drop)
    }
}

impl Player {
    fn play(&mut self, line: &Line, login: impl FnOnce() -> Result<Login>) -> Result<Answer> {
        let session = match self.sessions.entry(line.session) {
            std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(Session::open(&login()?, &line.startup)?),
        };
        let sql = self.names.fill(&line.sql)?;
        let said = match line.protocol {
            Protocol::Simple => query(&sql),
            Protocol::Prepare => {
                let types = self.names.types(line.types.as_deref().unwrap_or_default())?;
                [parse("", &sql, &types), describe('S', ""), sync()].concat()
            }
            Protocol::Extended => extended(line, &sql, &mut self.names, &mut session.prepared)?,
        };
        session.wire.say(&said)?;
        let answer = hear(&mut session.wire, line)?;
        if answer.error.is_some()
            && let Some(name) = &line.statement
        {
            // Whether Parse or Execute failed: it is made again.
            session.prepared.remove(name);
        }
        forget_deallocated(&line.sql, &mut session.prepared);
        Ok(answer)
    }
}

fn extended(line: &Line, sql: &str, names: &mut Names, prepared: &mut HashMap<String, String>) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    let parameters = line.params.as_deref().unwrap_or_default();
    let name = line.statement.as_deref().unwrap_or_default();
    if name.is_empty() || prepared.get(name).is_none_or(|known| known != sql) {
        let types = line.types.as_deref().unwrap_or_default();
        let types = names.types(if types.len() == parameters.len() { types } else { &[] })?;
        if !name.is_empty() {
            said.extend(close('S', name));
            prepared.insert(name.to_owned(), sql.to_owned());
        }
        said.extend(parse(name, sql, &types));
    }
    let filled = parameters.iter().map(|value| value.as_deref().map(|value| names.fill(value)).transpose()).collect::<Result<Vec<_>>>()?;
    let values: Vec<Option<&str>> = filled.iter().map(Option::as_deref).collect();
    said.extend(countersign_tests::wire::bind("", name, &values, i16::from(line.binary)));
    said.extend([describe('P', ""), execute("", 0), sync()].concat());
    Ok(said)
}

/// Parse with the parameters' types.
fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let count = u16::try_from(types.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    message(b'P', &[text(name), text(sql), count, types.iter().flat_map(|oid| oid.to_be_bytes()).collect()])
}

/// Hears what comes of a statement, and copies in what the server asks for.
fn hear(wire: &mut Wire, line: &Line) -> Result<Answer> {
    let mut answer = Answer::default();
    let mut left = 1;
    while left > 0 {
        let heard = match wire.hear() {
            Ok(heard) => heard,
            Err(gone) => {
                let words = format!("the connection ended: {gone:#}");
                answer.error.get_or_insert(Error { code: "closed".to_owned(), words });
                return Ok(answer);
            }
        };
        match heard.kind {
            'Z' => left -= 1,
            'T' => answer.results.push(Table { columns: columns(&heard.body), ..Table::default() }),
            'H' => answer.results.push(Table { copied: true, ..Table::default() }),
            'D' => answer.results.last_mut().context("a row of nothing")?.rows.push(cells(&heard.body)),
            'd' => answer.results.last_mut().context("copied from nothing")?.rows.push(copied(&heard.body, &line.sql)),
            'E' => drop(answer.error.get_or_insert_with(|| error(&heard))),
            'G' => copy_in(wire, line)?,
            _ => {}
        }
    }
    Ok(answer)
}

fn copy_in(wire: &mut Wire, line: &Line) -> Result<()> {
    let data = match (&line.copy_in_hex, &line.copy_in) {
        (Some(digits), _) => hexadecimal(digits)?,
        (None, data) => data.clone().unwrap_or_default().into_bytes(),
    };
    if !data.is_empty() {
        wire.say(&message(b'd', &[data]))?;
    }
    wire.say(&message(b'c', &[]))
}

fn hexadecimal(digits: &str) -> Result<Vec<u8>> {
    let two = |at| digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).with_context(|| digits.to_owned());
    (0..digits.len()).step_by(2).map(two).collect()
}

/// The names and types of a RowDescription.
fn columns(body: &[u8]) -> Vec<(String, u32)> {
    let (mut columns, mut rest) = (Vec::new(), body.get(2..).unwrap_or_default());
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, fields) = rest.split_at(end);
        // After the name and its zero: table, column, type, length, modifier, format.
        let oid = fields.get(7..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_be_bytes(*four));
        columns.push((String::from_utf8_lossy(name).into_owned(), oid));
        rest = fields.get(19..).unwrap_or_default();
    }
    columns
}

fn cells(row: &[u8]) -> Vec<Option<Vec<u8>>> {
    let (mut cells, mut rest) = (Vec::new(), row.get(2..).unwrap_or_default());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, next) = after.split_at(length.unwrap_or(0).min(after.len()));
        cells.push(length.map(|_| value.to_vec()));
        rest = next;
    }
    cells
}

/// A line of copied text, by its columns.
fn copied(line: &[u8], sql: &str) -> Vec<Option<Vec<u8>>> {
    let comma = sql.to_lowercase().contains("csv");
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.split(|byte| *byte == if comma { b',' } else { b'\t' })
        .map(|value| Some(value.to_vec()).filter(|value| value != b"\\N" && !(comma && value.is_empty())))
        .collect()
}

fn error(heard: &Heard) -> Error {
    let fields = heard.body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let mut error = Error { code: String::new(), words: String::new() };
    for field in fields {
        match field.split_at_checked(1) {
            Some(("C", code)) => code.clone_into(&mut error.code),
            Some(("M" | "D" | "H", words)) => drop(write!(error.words, "{words} ")),
            _ => {}
        }
    }
    error
}

fn forget_deallocated(sql: &str, prepared: &mut HashMap<String, String>) {
    let words = sql.to_lowercase();
    if words.contains("deallocate all") || words.contains("discard all") {
        prepared.clear();
    } else if words.contains("deallocate") {
        prepared.retain(|name, _| !sql.contains(name));
    }
}

/// Says which number an object has on this server.
struct Names {
    wire: Wire,
    types: HashMap<String, u32>,
}

/// How the number of an object is asked for. `$` is its name as a literal, `<` what is before the slash in it, `>` what is after it.
const NUMBERS: &[(&str, &str)] = &[
    ("oid", "to_regclass($)::oid"),
    ("toastoid", "(select reltoastrelid from pg_class where oid = to_regclass($))"),
    ("typeoid", "to_regtype($)::oid"),
    ("procoid", "to_regprocedure($)::oid"),
    ("nsoid", "(select oid from pg_namespace where nspname = $)"),
    ("dboid", "(select oid from pg_database where datname = $)"),
    ("roleoid", "(select oid from pg_roles where rolname = $)"),
    ("pubid", "(select oid from pg_publication where pubname = $)"),
    ("statoid", "(select oid from pg_statistic_ext where stxname = $)"),
    ("extoid", "(select oid from pg_extension where extname = $)"),
    ("conoid", "(select oid from pg_constraint where conname = > and (conrelid = to_regclass(<) or contypid = to_regtype(<)))"),
    ("trigoid", "(select oid from pg_trigger where tgname = > and tgrelid = to_regclass(<))"),
    ("ruleoid", "(select oid from pg_rewrite where rulename = > and ev_class = to_regclass(<))"),
    ("policyoid", "(select oid from pg_policy where polname = > and polrelid = to_regclass(<))"),
    ("attrdefoid", "(select oid from pg_attrdef where adnum::text = > and adrelid = to_regclass(<))"),
];

impl Names {
    fn open(superuser: &Login) -> Result<Self> {
        Ok(Self { wire: Wire::open(superuser, &[])?, types: HashMap::new() })
    }

    /// The text with numbers for its placeholders; 0 for what is not there.
    fn fill(&mut self, text: &str) -> Result<String> {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, (placeholder, after))) = rest.split_once("{{").and_then(|(before, from)| Some((before, from.split_once("}}")?))) {
            let (kind, name) = placeholder.split_once(':').with_context(|| placeholder.to_owned())?;
            write!(filled, "{before}{}", self.number(kind, name)?)?;
            rest = after;
        }
        Ok(filled + rest)
    }

    fn number(&mut self, kind: &str, name: &str) -> Result<u32> {
        let (_, asked) = NUMBERS.iter().find(|(known, _)| *known == kind).with_context(|| kind.to_owned())?;
        let (before, after) = name.rsplit_once('/').unwrap_or((name, name));
        let asked = asked.replace(" > ", &format!(" {} ", literal(after))).replace("(<)", &format!("({})", literal(before)));
        self.ask(&asked.replace('$', &literal(name)))
    }

    fn types(&mut self, names: &[Option<String>]) -> Result<Vec<u32>> {
        names.iter().map(|name| name.as_ref().map_or(Ok(0), |name| self.type_called(name))).collect()
    }

    fn type_called(&mut self, name: &str) -> Result<u32> {
        if let Some(known) = self.types.get(name) {
            return Ok(*known);
        }
        let (schema, own) = name.split_once('.').unwrap_or(("pg_catalog", name));
        let (schema, own) = (literal(schema), literal(own));
        let number = self.ask(&format!("(select oid from pg_type where typname = {own} and typnamespace = to_regnamespace({schema}))"))?;
        self.types.insert(name.to_owned(), number);
        Ok(number)
    }

    fn ask(&mut self, expression: &str) -> Result<u32> {
        self.wire.say(&query(&format!("select coalesce({expression}, 0)")))?;
        let heard = self.wire.hear_until_ready(1)?;
        let row = heard.iter().find(|heard| heard.kind == 'D').with_context(|| format!("{expression}: {heard:?}"))?;
        let value = cells(&row.body).into_iter().flatten().next().context("no value")?;
        Ok(String::from_utf8(value)?.parse()?)
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The gateway, with connections of its own for each file: it keeps what it knows of a database for each connection, and the file before left another.
struct Protected {
    gateway: Gateway,
    logins: HashMap<String, Login>,
}

impl Protected {
    fn start(files: &[File], fixtures: &[(&str, &Fixture)]) -> Result<Self> {
        let setup = Setup::init()?;
        setup.classes(CLASSES)?;
        setup.permit_all()?;
        let mut connections = Vec::new();
        for (user, fixture) in fixtures {
            setup.target(&fixture.server, DATABASE, "")?;
            let own = std::fs::read_to_string(setup.file(&format!("connections/{CONNECTION}.toml")))?;
            for file in files {
                for role in file.lines.iter().map(|line| line.role.as_str()).collect::<HashSet<_>>() {
                    let name = connection(user, &file.name, role);
                    setup.write(&format!("connections/{name}.toml"), &own.replace(&format!("user = \"{ROLE}\""), &format!("user = \"{role}\"")))?;
                    connections.push((*user, name));
                }
            }
        }
        std::fs::remove_file(setup.file(&format!("connections/{CONNECTION}.toml")))?;
        let mut gateway = setup.serve()?;
        for (user, _) in fixtures {
            gateway.add_user(user, &[user])?;
        }
        let administrator = gateway.administrator().to_owned();
        let text = format!("{POLICIES}permit (principal == User::\"{administrator}\", action, resource);\n");
        gateway.setup().write("policy/all.cedar", &text)?;
        gateway.run(&administrator, &["apply", &gateway.setup().file("").to_string_lossy()])?;
        let mut logins = HashMap::new();
        for (user, name) in connections {
            let token = gateway.run(user, &["token", &name])?.trim().to_owned();
            let login = gateway.login(user)?.with_password(token).without_tls();
            logins.insert(name.clone(), Login { database: name, ..login });
        }
        Ok(Self { gateway, logins })
    }

    fn way<'a>(&'a self, user: &'static str, fixture: &'a Fixture) -> Way<'a> {
        let logins = &self.logins;
        let login = move |file: &str, role: &str| logins.get(&connection(user, file, role)).cloned().context("no connection");
        Way { fixture, login: Box::new(login) }
    }
}

fn connection(user: &str, file: &str, role: &str) -> String {
    format!("{user}-{file}-{role}").replace('_', "-")
}

/// What is wrong with what came of a statement, in words.
enum Fault {
    /// It was refused, or ended otherwise than it does directly.
    Ended(String),
    /// It gives other columns or another number of rows.
    Formed(String),
    /// Values are others, or withheld, that are not classified: column by column.
    Withheld(String),
}

impl Fault {
    fn words(&self) -> &str {
        let (Self::Ended(words) | Self::Formed(words) | Self::Withheld(words)) = self;
        words
    }
}

/// The same statement, played all ways.
struct Played<'a> {
    line: &'a Line,
    through: &'a Answer,
    looking_up: &'a Answer,
    direct: &'a Answer,
    again: &'a Answer,
    /// With other values in the classified columns.
    other: &'a Answer,
}

impl Played<'_> {
    /// Directly, on a server of the version that was captured from.
    fn is_other_than_captured(&self) -> bool {
        let line = self.line;
        let code = self.direct.error.as_ref().map(|error| &error.code);
        let rows = self.direct.results.iter().filter(|table| !table.copied).map(|table| table.rows.len()).sum::<usize>();
        let counted = !line.varies && !line.fails && line.protocol != Protocol::Prepare;
        code != line.code.as_ref() || code.is_some() != line.fails || counted && rows != line.rows
    }

    fn count(&self, fault: Option<&Fault>) -> Count {
        let for_filter = |error: &Error| error.code == "42501" && error.words.contains("no policy permits `filter`");
        Count {
            statements: 1,
            refused: usize::from(matches!(fault, Some(Fault::Ended(_)))),
            formed: usize::from(matches!(fault, Some(Fault::Formed(_)))),
            withheld: usize::from(matches!(fault, Some(Fault::Withheld(_)))),
            searches: usize::from(self.looking_up.error.as_ref().is_some_and(for_filter)),
        }
    }

    fn fault(&self) -> Option<Fault> {
        let [ended, right] = [self.through, self.direct].map(|answer| answer.error.as_ref().map(|error| error.code.as_str()));
        if ended != right {
            let words = self.through.error.as_ref().map_or("no error", |error| error.words.as_str());
            return Some(Fault::Ended(format!("{ended:?} instead of {right:?}: {words}")));
        }
        let [through, direct, again] =
            [self.through, self.direct, self.again].map(|answer| answer.results.iter().map(Table::form).collect::<Vec<_>>());
        if through != direct {
            return (direct == again).then(|| Fault::Formed(format!("{through:?} instead of {direct:?}")));
        }
        let withheld: Vec<String> = (0..self.through.results.len()).flat_map(|at| self.withheld(at)).collect();
        (!withheld.is_empty()).then(|| Fault::Withheld(withheld.join("; ")))
    }

    fn withheld(&self, at: usize) -> Vec<String> {
        let [Some(through), Some(direct), again, other] = [self.through, self.direct, self.again, self.other].map(|answer| answer.results.get(at))
        else {
            return Vec::new();
        };
        let mut wrong = BTreeMap::new();
        for (place, (row, right)) in through.rows.iter().zip(&direct.rows).enumerate() {
            for (column, (value, right)) in row.iter().zip(right).enumerate() {
                let beside = again.and_then(|table| table.rows.get(place)?.get(column));
                // Who withholds gives NULL, which is seen where values vary too.
                let varies = beside != Some(right) && (value.is_some() || beside == Some(&None));
                let shows = value == right && value.is_some() && self.through.results.len() == 1 && self.line.classified.contains(&(column + 1));
                if value == right && !shows || varies || (self.is_of_classified(column, direct, other) && is_mask(value.as_deref(), right.as_deref()))
                {
                    continue;
                }
                let name = direct.columns.get(column).map_or("?", |column| &column.0);
                wrong
                    .entry(column)
                    .or_insert_with(|| format!("{name} (row {place}): {} instead of {}", shown(value.as_deref()), shown(right.as_deref())));
            }
        }
        wrong.into_values().collect()
    }

    fn is_of_classified(&self, column: usize, direct: &Table, other: Option<&Table>) -> bool {
        let values = |table: &Table| table.rows.iter().map(|row| row.get(column).cloned()).collect::<Vec<_>>();
        let differs = |other: &Table| other.rows.len() == direct.rows.len() && values(other) != values(direct);
        self.line.classified.contains(&(column + 1)) || other.is_some_and(differs)
    }
}

/// Whether a value is what masks leave of another.
fn is_mask(value: Option<&[u8]>, of: Option<&[u8]>) -> bool {
    let (Some(value), Some(of)) = (value.map(String::from_utf8_lossy), of.map(String::from_utf8_lossy)) else { return value.is_none() };
    let domain = of.rsplit_once('@').map(|(_, domain)| format!("***@{domain}"));
    let last = of.char_indices().rev().nth(3).map(|(at, _)| format!("************{}", &of[at..]));
    value == "********" || Some(&*value) == domain.as_deref() || Some(&*value) == last.as_deref()
}

fn shown(value: Option<&[u8]>) -> String {
    value.map_or("NULL".to_owned(), |value| String::from_utf8_lossy(value).chars().take(80).collect())
}

/// The answers of each way, by file and line.
struct Ways {
    through: Vec<Vec<Answer>>,
    looking_up: Vec<Vec<Answer>>,
    direct: Vec<Vec<Answer>>,
    again: Vec<Vec<Answer>>,
    other: Vec<Vec<Answer>>,
}

impl Ways {
    fn play(files: &[File]) -> Result<Self> {
        let script = std::fs::read_to_string(folder().join("fixture.sql"))?;
        let others = OTHER_VALUES.iter().fold(script.clone(), |script, (from, to)| script.replace(from, to));
        let [behind, narrower, direct, again, other] = [&script, &script, &script, &script, &others].map(|script| Fixture::start(script));
        let (behind, narrower, direct, again, other) = (behind?, narrower?, direct?, again?, other?);
        again.count_further()?;
        let protected = Protected::start(files, &[(SEARCHES, &behind), (LOOKS_UP, &narrower)])?;
        let mut ways = vec![protected.way(SEARCHES, &behind), protected.way(LOOKS_UP, &narrower)];
        ways.extend([&direct, &again, &other].map(Way::direct));
        let mut played = thread::scope(|scope| {
            let threads: Vec<_> = ways.iter().map(|way| scope.spawn(|| way.play(files))).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a way panicked")).flatten()).collect::<Result<Vec<_>>>()
        })?
        .into_iter();
        ensure!(!protected.gateway.printed().contains("panicked"), "{}", protected.gateway.printed());
        let mut next = || played.next().context("a way is missing");
        Ok(Self { through: next()?, looking_up: next()?, direct: next()?, again: next()?, other: next()? })
    }

    fn of<'a>(&'a self, file: usize, number: usize, line: &'a Line) -> Result<Played<'a>> {
        let answer = |way: &'a Vec<Vec<Answer>>| way.get(file).and_then(|answers| answers.get(number - 1)).context("no answer");
        let (through, looking_up) = (answer(&self.through)?, answer(&self.looking_up)?);
        Ok(Played { line, through, looking_up, direct: answer(&self.direct)?, again: answer(&self.again)?, other: answer(&self.other)? })
    }
}

/// What is counted of a tool.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    statements: usize,
    /// Refused, or ended otherwise.
    refused: usize,
    formed: usize,
    withheld: usize,
    /// Refused only to who may not search by classified values, but look them up.
    searches: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.statements += other.statements;
        self.refused += other.refused;
        self.formed += other.formed;
        self.withheld += other.withheld;
        self.searches += other.searches;
    }

    fn shown(self, name: &str) -> String {
        let Self { statements, refused, formed, withheld, searches } = self;
        format!("{name:20} {statements:>10} {refused:>8} {formed:>12} {withheld:>8} {searches:>20}\n")
    }
}

#[test]
fn what_tools_send_is_not_refused_and_loses_nothing_but_what_is_classified() -> Result<()> {
    let files = files()?;
    let ways = Ways::play(&files)?;
    let (mut all, mut faults) = (Count::default(), Vec::new());
    let mut table =
        format!("{:20} {:>10} {:>8} {:>12} {:>8} {:>20}\n", "", "statements", "refused", "other form", "withheld", "refused for `filter`");
    for (at, file) in files.iter().enumerate() {
        let mut count = Count::default();
        for (number, line) in (1..).zip(&file.lines) {
            let played = ways.of(at, number, line)?;
            let place = format!("{}:{number}", file.name);
            faults.extend(played.is_other_than_captured().then(|| format!("{place}: it is not as it was captured: {:?}", played.direct.error)));
            let fault = played.fault().filter(|_| !lists(OF_THE_SERVER, &file.name, number));
            count.add(played.count(fault.as_ref()));
            let known = KNOWN.iter().any(|(_, lines)| lists(lines, &file.name, number));
            match fault {
                Some(fault) if !known => faults.push(format!("{place}: {}\n    {}", fault.words(), line.sql.replace('\n', " "))),
                None if known => faults.push(format!("{place} is right by now")),
                _ => {}
            }
        }
        table.push_str(&count.shown(&file.name));
        all.add(count);
    }
    table.push_str(&all.shown("all"));
    println!("{table}");
    ensure!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    Ok(())
}
