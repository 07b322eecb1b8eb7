//! PostgreSQL's own client programs: psql with all it can do, pg_dump and pg_restore with a database that has one of nearly everything, and the
//! others. What a program printed, its exit status and what it left behind must be the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use super::{Results, Run, Suite, TestOutcome};
use crate::{Outcome, command, install::postgres_programs};

/// The database that is dumped and asked about.
const RICH: &str = include_str!("programs/rich.sql");
/// What is typed into psql, each case under a line that begins with `====`.
const TYPED: &str = include_str!("programs/psql.txt");
/// How long a program may run.
const PROGRAM_SECONDS_MAX: &str = "180";
const STATEMENT_STARTS_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Suites of programs.
pub(super) const SUITES: &[Suite] = &[
    Suite {
        name: "psql",
        runs_some: false,
        databases: &["compared"],
        makes: &["nowhere_at_all"],
        configuration: &[],
        install: || Ok(PathBuf::new()),
        run: |run| {
            let at = Programs::of(run)?;
            let mut results = Results::from([("load".to_owned(), at.load()?)]);
            for (name, typed) in cases() {
                results.insert(name.to_owned(), at.typed(typed)?);
            }
            results.insert("Ctrl-C".to_owned(), at.interrupted("select pg_sleep(100)", 0)?);
            results.insert("\\watch and Ctrl-C".to_owned(), at.interrupted("select 'watched' \\watch 0.05", 3)?);
            Ok(results)
        },
    },
    Suite {
        name: "pg_dump",
        runs_some: false,
        databases: &["compared"],
        makes: &["restored", "again", "by_psql"],
        configuration: &[],
        install: || Ok(PathBuf::new()),
        run: |run| {
            let at = Programs::of(run)?;
            let mut results = Results::from([("load".to_owned(), at.load()?)]);
            for (name, line) in at.dumps() {
                results.insert(name.to_owned(), at.shell(&line)?);
            }
            Ok(results)
        },
    },
];

fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    TYPED.split("==== ").filter_map(|case| case.split_once('\n'))
}

/// The programs of one run.
struct Programs<'a> {
    run: &'a Run<'a>,
    folder: PathBuf,
}

impl<'a> Programs<'a> {
    fn of(run: &'a Run<'a>) -> Outcome<Self> {
        Ok(Self { run, folder: postgres_programs()? })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", PROGRAM_SECONDS_MAX]).arg(program);
        self.run.place.tell(&mut command);
        let path =
            std::env::join_paths(std::iter::once(self.folder.clone()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())));
        command.env("PATH", path.unwrap_or_default()).env("PAGER", "cat").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.current_dir(self.run.work).stdin(Stdio::null());
        command
    }

    /// Makes the rich database.
    fn load(&self) -> Outcome<TestOutcome> {
        self.typed(RICH)
    }

    /// What psql prints of this script.
    fn typed(&self, script: &str) -> Outcome<TestOutcome> {
        let file = self.run.work.join("script");
        fs::write(&file, script).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        // One stream, so that errors stand where they came.
        self.shell("psql -X --echo-all --no-password -f script")
    }

    /// What a shell prints of this line.
    fn shell(&self, line: &str) -> Outcome<TestOutcome> {
        let mut shell = self.command(Path::new("sh"));
        self.outcome(shell.args(["-c", &format!("({line}) 2>&1")]))
    }

    fn dumps(&self) -> Vec<(&'static str, String)> {
        let help = command::capture(Command::new(self.folder.join("pg_dump")).arg("--help")).unwrap_or_default();
        // Newer releases make up a key for each dump.
        let key = if help.contains("--restrict-key") { "--restrict-key=compared" } else { "" };
        let dump = |options: &str| format!("pg_dump {key} {options}");
        let dump_of = |database: &str| format!("pg_dump {key} {database}");
        vec![
            ("01 plain", dump("compared")),
            ("02 inserts", dump("--column-inserts --rows-per-insert=100 compared")),
            ("03 schema", dump("--schema-only --no-owner --clean --if-exists --create compared")),
            ("04 binary upgrade of nothing", dump("--section=pre-data --no-privileges --quote-all-identifiers compared")),
            ("05 one table", dump("--table=people --exclude-table-data=log --blobs compared")),
            ("06 custom", format!("pg_dump -Fc -f c compared && pg_restore {key} -f - c")),
            ("07 directory, two jobs", format!("pg_dump -Fd -j 2 -f d compared && pg_restore {key} -f - d")),
            ("08 tar", format!("pg_dump -Ft -f t compared && pg_restore {key} -f - t")),
            ("09 all", format!("pg_dumpall {key} --no-role-passwords --globals-only")),
            ("10 restored", format!("createdb restored && pg_restore -d restored c; {}", dump_of("restored"))),
            ("11 restored by two jobs", format!("createdb again && pg_restore -j 2 -d again d; {}", dump_of("again"))),
            ("12 restored by psql", format!("createdb by_psql && {} | psql -X -q -d by_psql -f -; {}", dump("--inserts compared"), dump_of("by_psql"))),
            ("13 clean and again", format!("pg_restore --clean --if-exists -d restored c; {}", dump_of("restored"))),
            ("14 vacuumdb", "vacuumdb --analyze --jobs=2 compared".to_owned()),
            ("15 reindexdb", "reindexdb --concurrently --table=people compared".to_owned()),
            ("16 clusterdb", "clusterdb compared".to_owned()),
            ("17 users", "createuser -c 3 --no-login made && psql -X -c '\\du made' compared && dropuser made && dropuser made".to_owned()),
            ("18 pg_isready", "pg_isready -q -d compared".to_owned()),
            ("19 pgbench", "pgbench -i -s 1 -q compared 2>/dev/null; for m in simple extended prepared; do pgbench -n -c 3 -j 2 -t 50 -M $m compared | \
              grep -E 'transactions|failed'; done; pgbench -n -f /dev/stdin -t 2 compared <<'X' | grep transactions\n\\startpipeline\nselect 1;\nselect 2;\n\\endpipeline\nX"
                .to_owned()),
            ("20 dropdb", "dropdb --force again && dropdb --if-exists again && dropdb again".to_owned()),
            ("21 pg_amcheck", "psql -X -q -c 'create extension amcheck' compared && pg_amcheck --heapallindexed compared".to_owned()),
            ("22 vacuumlo", "vacuumlo -v compared".to_owned()),
            ("23 oid2name", "oid2name -q | grep -c compared".to_owned()),
        ]
    }

    /// psql runs this, and gets SIGINT once it runs at the server and has printed so many rows: what it said of that, and that it ended.
    fn interrupted(&self, statement: &str, rows: usize) -> Outcome<TestOutcome> {
        let said = |error: std::io::Error| format!("cannot interrupt psql: {error}");
        let printed = self.run.work.join("interrupted");
        let file = fs::File::create(&printed).map_err(said)?;
        let mut psql = self.command(&self.folder.join("psql"));
        psql.args(["-XAt", "-f", "-"]).stdin(Stdio::piped()).stdout(file.try_clone().map_err(said)?).stderr(file);
        // timeout(1) hands the signal on to psql.
        let mut child = psql.spawn().map_err(said)?;
        if let Some(mut input) = child.stdin.take() {
            use std::io::Write as _;
            writeln!(input, "{statement};").map_err(said)?;
        }
        let began = Instant::now();
        let asleep = || self.query("select count(*) from pg_stat_activity where query like '%pg_sleep(100)%' and pid <> pg_backend_pid()");
        loop {
            let lines = fs::read_to_string(&printed).map_err(said)?.lines().filter(|line| *line == "watched").count();
            if (rows > 0 && lines >= rows) || (rows == 0 && asleep()?.trim() == "1") {
                break;
            }
            if began.elapsed() > STATEMENT_STARTS_MAX {
                let _ = child.kill();
                return Ok(TestOutcome::Failed("it never ran".to_owned()));
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
        command::run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
        let status = child.wait().map_err(said)?;
        let mut lines: Vec<String> = fs::read_to_string(&printed).map_err(said)?.lines().map(str::to_owned).collect();
        lines.dedup();
        let left = asleep()?;
        Ok(TestOutcome::Printed(format!("{status}\n{}\nstill asleep: {left}", lines.join("\n"))))
    }

    fn query(&self, statement: &str) -> Outcome<String> {
        let mut psql = self.command(&self.folder.join("psql"));
        command::capture(psql.args(["-XAtq", "-c", statement]))
    }

    fn outcome(&self, command: &mut Command) -> Outcome<TestOutcome> {
        let Output { status, stdout, stderr } = command.output().map_err(|error| format!("cannot start {}: {error}", command::line(command)))?;
        let printed = [String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)].concat();
        Ok(TestOutcome::Printed(self.same_each_time(&format!("{printed}{status}\n"))))
    }

    /// Without what is another in every run: ports, process ids, numbers of temporary schemas, and where in the script a line stands is the same.
    fn same_each_time(&self, printed: &str) -> String {
        let port = format!("port {}", self.run.place.port);
        let printed = printed.replace(&port, "port PORT").replace(&*self.run.work.to_string_lossy(), "WORK");
        let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        for line in &mut lines {
            if let Some((before, _)) = line.split_once(" received from server process with PID ") {
                *line = before.to_owned();
            }
            // The number is the server process's place among all, and the gateway's own links have places, too.
            if let Some((before, behind)) = line.split_once("pg_temp_") {
                *line = format!("{before}pg_temp_N{}", behind.trim_start_matches(|c: char| c.is_ascii_digit()));
            }
        }
        lines.join("\n")
    }
}
