//! A program that runs beside us and never outlives us.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use crate::{Outcome, command::line};

/// How often a condition is looked at again while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Starts the program with its output in a file, tells its process id and its exit status, and kills it when the
/// standard input ends, which it does when whoever holds the other side is gone, however it went.
const KEEPER: &str = r#"
log=$1
shift
exec 3<&0
"$@" >>"$log" 2>&1 </dev/null 3<&- &
program=$!
{ read -r _ <&3; kill -KILL "$program"; } >/dev/null 2>&1 &
leash=$!
exec 3<&-
echo "$program"
wait "$program"
echo "$?"
kill -KILL "$leash"
"#;

/// A running program. It is killed when this is dropped, and when the process that holds it ends in whatever way.
#[derive(Debug)]
pub struct Kept {
    keeper: Child,
    leash: Option<ChildStdin>,
    program: String,
    pid: u32,
    log: PathBuf,
    ended: Receiver<i32>,
    exit_status: Option<i32>,
}

impl Kept {
    /// Starts a program. What it prints goes to the end of the file `log`.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(command: &Command, log: &Path) -> Outcome<Self> {
        let mut keeper = Command::new("/bin/sh");
        keeper.args([OsStr::new("-c"), OsStr::new(KEEPER), OsStr::new("keeper"), log.as_os_str(), command.get_program()]).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => keeper.env(name, value),
                None => keeper.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            keeper.current_dir(folder);
        }
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let program = line(command);
        let mut keeper = keeper.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
        let (leash, said) = (keeper.stdin.take(), keeper.stdout.take().ok_or("the keeper has no standard output")?);
        let mut said = BufReader::new(said).lines().map_while(Result::ok).filter_map(|line| line.trim().parse::<i64>().ok());
        let pid = said.next().and_then(|pid| u32::try_from(pid).ok()).ok_or_else(|| format!("cannot start {program}"))?;
        let (tell, ended) = channel();
        std::thread::spawn(move || said.next().and_then(|status| i32::try_from(status).ok()).map(|status| tell.send(status)));
        Ok(Self { keeper, leash, program, pid, log: log.to_path_buf(), ended, exit_status: None })
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read(&self.log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until `ready` gives something.
    ///
    /// # Errors
    /// The program ended, or `limit` passed: with what it printed.
    pub fn wait_until<T>(&mut self, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Outcome<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = ready() {
                return Ok(found);
            }
            if let Some(status) = self.ended_within(LOOK_AGAIN) {
                return Err(format!("{} ended with status {status}:\n{}", self.program, self.printed()));
            }
            if began.elapsed() > limit {
                return Err(format!("{} was not ready after {} s:\n{}", self.program, limit.as_secs(), self.printed()));
            }
        }
    }

    /// Its exit status, 128 and the signal's number if a signal ended it, or nothing if it still runs after `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Option<i32> {
        if self.exit_status.is_none() {
            self.exit_status = match self.ended.recv_timeout(limit) {
                Ok(status) => Some(status),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(-1),
            };
        }
        self.exit_status
    }

    /// Kills it, as `kill -9` does, and waits for its end.
    pub fn kill(&mut self) {
        drop(self.leash.take());
        let _ = self.keeper.wait();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("countersign-kept-{}-{name}", std::process::id()))
    }

    #[test]
    fn it_is_killed_with_its_holder() {
        let file = log("killed");
        let kept = Kept::start(Command::new("sleep").arg("600"), &file).unwrap();
        let process = PathBuf::from(format!("/proc/{}", kept.pid()));
        assert!(process.exists());
        drop(kept);
        assert!(!process.exists());
        // It may have been killed before the keeper made the file.
        let _ = fs::remove_file(file);
    }

    #[test]
    fn its_end_is_noticed_with_what_it_printed() {
        let file = log("ended");
        let mut kept = Kept::start(Command::new("sh").args(["-c", "echo said; exit 7"]), &file).unwrap();
        let failure = kept.wait_until::<()>(Duration::from_secs(60), || None).unwrap_err();
        assert!(failure.contains("status 7") && failure.contains("said"), "{failure}");
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_condition_is_waited_for() {
        let file = log("ready");
        let mut kept = Kept::start(Command::new("sh").args(["-c", "echo up; exec sleep 600"]), &file).unwrap();
        let path = file.clone();
        let text = kept.wait_until(Duration::from_secs(60), || fs::read_to_string(&path).ok().filter(|text| !text.is_empty())).unwrap();
        assert_eq!(text, "up\n");
        drop(kept);
        fs::remove_file(file).unwrap();
    }
}
