//! A scratch PostgreSQL: its own cluster in a temporary folder, reached by a socket there only, gone when dropped.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use policy::classify::postgres::{
    RESOLUTION_QUERY, SessionView,
    catalog::{Answer, Catalog},
};

/// The rows of one query, every cell as text.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

pub(crate) struct Server {
    folder: tempfile::TempDir,
    bin: PathBuf,
    root: bool,
}

impl Server {
    /// Starts one with an empty database `shop`.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.starts_with(b"0\n"));
        let server = Self { bin: newest_bin(), folder, root };
        if root {
            // The server refuses to run as root; the folder becomes its user's.
            assert!(Command::new("chown").arg("postgres").arg(server.folder.path()).status().unwrap().success());
        }
        let data = server.data();
        server.run("initdb", &["-D", &data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let options = format!("-k {} -c listen_addresses='' -F", server.folder.path().display());
        server.run("pg_ctl", &["-D", &data, "-o", &options, "-l", &format!("{data}/log"), "-w", "start"]);
        server.sql("postgres", "create database shop");
        server
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.bin.join(program);
        let mut command = if self.root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let status = command.args(arguments).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{arguments:?}");
    }

    /// Runs a script with psql, stopping at the first error; what it printed.
    pub(crate) fn sql(&self, database: &str, script: &str) -> String {
        self.try_sql(database, script).unwrap_or_else(|error| panic!("{error}\n{script}"))
    }

    /// As [`Self::sql`]; the error as text.
    pub(crate) fn try_sql(&self, database: &str, script: &str) -> Result<String, String> {
        let mut child = Command::new("psql")
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"])
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        if out.status.success() { Ok(String::from_utf8(out.stdout).unwrap()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
    }

    /// The rows of queries, every cell as text.
    pub(crate) fn rows(&self, database: &str, queries: &[String]) -> Vec<Rows> {
        self.rows_after(database, "", queries)
    }

    /// The rows of queries in the session in which this ran before.
    pub(crate) fn rows_after(&self, database: &str, before: &str, queries: &[String]) -> Vec<Rows> {
        const NEXT: &str = "-- next";
        let script: String = queries.iter().map(|query| format!("COPY ({query}) TO STDOUT;\n\\echo {NEXT}\n")).collect();
        let row = |line: &str| line.split('\t').map(|cell| (cell != "\\N").then(|| unescape(cell))).collect();
        let copied = self.sql(database, &format!("{before}{script}"));
        let mut answers = vec![Rows::new()];
        for line in copied.lines() {
            match answers.last_mut() {
                Some(answer) if line != NEXT => answer.push(row(line)),
                _ => answers.push(Rows::new()),
            }
        }
        answers.truncate(queries.len());
        answers
    }

    /// A snapshot of a database, and how a fresh session resolves names in it.
    pub(crate) fn catalog(&self, database: &str) -> (Catalog, SessionView) {
        let catalog = self.read(database, None);
        let resolved = self.rows(database, &[RESOLUTION_QUERY.to_owned()]);
        let mut view = SessionView::from_row(database, &resolved[0][0]).unwrap();
        view.host = "test-pg".into();
        (catalog, view)
    }

    /// A snapshot of a database, perhaps built on an earlier one.
    pub(crate) fn read(&self, database: &str, earlier: Option<&Catalog>) -> Catalog {
        Catalog::from_answers(database, earlier, answers(self.rows(database, &Catalog::questions(earlier)))).unwrap()
    }
}

/// As a snapshot is made of them.
pub(crate) fn answers(rows: Vec<Rows>) -> Vec<Answer> {
    rows.into_iter().map(|rows| rows.try_into().unwrap()).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }
}

fn newest_bin() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|path: &PathBuf| Path::exists(&path.join("initdb")))
        .collect();
    found.sort();
    found.pop().unwrap()
}

/// The escapes of COPY's text format.
fn unescape(cell: &str) -> String {
    let mut plain = String::new();
    let mut characters = cell.chars();
    while let Some(c) = characters.next() {
        plain.push(match c {
            '\\' => match characters.next().unwrap() {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                other => other,
            },
            other => other,
        });
    }
    plain
}
