//! The stage: what people type and what they are shown, printed as it happens, and the claims made about it.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::{BufRead, BufReader, IsTerminal, Read, Write, stdout},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use crate::{Outcome, json::Json};

/// How long anything that was typed may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stage of one play.
pub(super) struct Stage {
    folder: PathBuf,
    path: OsString,
    server: PathBuf,
    colours: bool,
    began: Instant,
    acts: Vec<String>,
    claims: usize,
}

/// What a line that was typed led to.
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) status: ExitStatus,
}

impl Shown {
    /// What it printed, read as JSON.
    pub(super) fn json(&self) -> Outcome<Json> {
        Json::read(&self.text)
    }
}

impl Stage {
    /// `programs`: the folders of `countersign` and of PostgreSQL's programs. `server`: the gateway's local socket.
    pub(super) fn new(folder: PathBuf, programs: &[&Path], server: PathBuf) -> Self {
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let folders = programs.iter().map(|folder| folder.to_path_buf()).chain(std::env::split_paths(&rest));
        let path = std::env::join_paths(folders).unwrap_or(rest);
        Self { folder, path, server, colours: stdout().is_terminal(), began: Instant::now(), acts: Vec::new(), claims: 0 }
    }

    /// Begins an act of the story.
    pub(super) fn act(&mut self, title: &str) {
        self.acts.push(title.to_owned());
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.acts.len())));
    }

    /// Somebody types a line; it runs to its end.
    pub(super) fn types(&self, who: &str, line: &str) -> Outcome<Shown> {
        self.starts(who, line)?.ends()
    }

    /// Somebody types a line, and a secret where it asks for one.
    pub(super) fn types_secret(&self, who: &str, line: &str, secret: &str) -> Outcome<Shown> {
        let mut live = self.starts(who, line)?;
        live.tell(secret)?;
        live.ends()
    }

    /// Runs what a person would not see, as somebody.
    pub(super) fn asks(&self, who: &str, line: &str) -> Outcome<Shown> {
        let mut live = self.spawn(who, line, false)?;
        drop(live.input.take());
        let shown = live.ends()?;
        if shown.status.success() { Ok(shown) } else { Err(format!("{who}$ {line}\n{}", shown.text)) }
    }

    /// Somebody types a line, and it goes on running.
    pub(super) fn starts(&self, who: &str, line: &str) -> Outcome<Live> {
        println!("\n  {} {line}", self.paint("36", &format!("{who}$")));
        self.spawn(who, line, true)
    }

    fn spawn(&self, who: &str, line: &str, shown: bool) -> Outcome<Live> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(&self.folder).env("PATH", &self.path).env_remove("COUNTERSIGN_TOKEN");
        command.env("COUNTERSIGN_SERVER", &self.server).env("COUNTERSIGN_CONFIG_DIR", self.folder.join("people").join(who));
        for name in ["PGPASSWORD", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGSERVICE", "PSQLRC"] {
            command.env_remove(name);
        }
        command.env("PGCONNECT_TIMEOUT", "30").env("PSQL_PAGER", "").env("PAGER", "cat").env("PGAPPNAME", "psql");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("cannot start sh: {error}"))?;
        let (tell, lines) = channel();
        if let (Some(out), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
            read_lines(out, tell.clone());
            read_lines(errors, tell);
        }
        let input = child.stdin.take();
        Ok(Live { child, input, lines, text: String::new(), shown })
    }

    /// A claim about what was shown: printed if it holds, the end of the play if not.
    pub(super) fn claim(&mut self, holds: bool, claim: &str) -> Outcome<()> {
        if !holds {
            println!("    {} {claim}", self.paint("31", "FAILED"));
            return Err(format!("in \"{}\": {claim}: that is not so", self.acts.last().map_or("the play", String::as_str)));
        }
        self.claims += 1;
        println!("    {} {claim}", self.paint("32", "ok"));
        Ok(())
    }

    /// A remark to the audience.
    pub(super) fn remark(&self, text: &str) {
        println!("  {}", self.paint("2", text));
    }

    /// What was played.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        for (number, act) in self.acts.iter().enumerate() {
            let _ = writeln!(text, "  {} {}. {act}", self.paint("32", "ok"), number + 1);
        }
        let _ = write!(text, "demo: {} acts, {} claims held, {} s", self.acts.len(), self.claims, self.began.elapsed().as_secs());
        text
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn read_lines(from: impl Read + Send + 'static, tell: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
}

/// A line that was typed and still runs. It is killed when this is dropped.
pub(super) struct Live {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    text: String,
    shown: bool,
}

impl Live {
    /// Types something into it, which is not shown.
    pub(super) fn tell(&mut self, line: &str) -> Outcome<()> {
        let input = self.input.as_mut().ok_or("it reads no more")?;
        writeln!(input, "{line}").and_then(|()| input.flush()).map_err(|error| format!("it reads no more: {error}"))
    }

    /// Types something into it.
    pub(super) fn types(&mut self, line: &str) -> Outcome<()> {
        println!("    > {line}");
        self.tell(line)
    }

    /// Waits for a line that holds `text`, and returns it.
    pub(super) fn shows(&mut self, text: &str) -> Outcome<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.line(end) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(_) => {}
                Err(why) => return Err(format!("nothing shown holds {text:?} ({why}):\n{}", self.text)),
            }
        }
    }

    /// Closes its input and waits for its end.
    pub(super) fn ends(mut self) -> Outcome<Shown> {
        drop(self.input.take());
        let end = Instant::now() + PATIENCE;
        loop {
            match self.line(end) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err(format!("it does not end:\n{}", self.text)),
            }
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        Ok(Shown { text: std::mem::take(&mut self.text), status })
    }

    fn line(&mut self, end: Instant) -> Result<String, RecvTimeoutError> {
        let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))?;
        if self.shown {
            println!("    {line}");
        }
        self.text.push_str(&line);
        self.text.push('\n');
        Ok(line)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
