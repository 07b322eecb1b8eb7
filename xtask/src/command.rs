//! Running other programs.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Outcome;

/// The folder of the workspace: of the one that cargo runs something of, which need not be the one this was built in, where clones share a target folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let of_this_run = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let above = of_this_run.as_deref().and_then(|dir| dir.ancestors().find(|dir| dir.join("xtask/Cargo.toml").exists()));
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    above.or_else(|| built_in.parent()).unwrap_or(built_in).to_path_buf()
}

/// A command that may open as many files as the system lets this user. The shell before it is replaced by it: the process id is its own.
#[must_use]
pub fn with_many_files(program: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\""]).arg(program);
    command
}

/// The cargo that runs us, in the workspace's folder.
#[must_use]
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}

/// Runs a command to its end with its output on the terminal.
///
/// # Errors
/// It could not be started, or its exit status is not zero.
pub fn run(command: &mut Command) -> Outcome<()> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("cannot start {}: {error}", line(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", line(command))) }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// It could not be started, or its exit status is not zero: then with what it said on standard error.
pub fn capture(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot start {}: {error}", line(command)))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("{} ended with {}: {}{said}", line(command), output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// Whether a command runs and ends well; what it says is dropped.
#[must_use]
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A program of this name on `PATH`.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A folder of ours below the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`).
///
/// # Errors
/// Neither variable is set.
pub fn cache_folder(name: &str) -> Outcome<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or("HOME is not set, so there is no cache folder to use")?;
    Ok(base.join("countersign").join(name))
}

/// The user id of this process.
///
/// # Errors
/// `/proc` is not there.
pub fn own_user_id() -> Outcome<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map(|it| it.uid()).map_err(|error| format!("cannot look at /proc/self: {error}"))
}

/// A command as one would type it.
#[must_use]
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// A word as one would type it in a shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else if word.contains(['$', '`', '"', '\\', '!']) || !word.contains('\'') {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        format!("\"{word}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("psql");
        command.args(["-c", "select 'x'", "dbname=prod-pg user=alice", ""]);
        assert_eq!(line(&command), r#"psql -c "select 'x'" 'dbname=prod-pg user=alice' ''"#);
    }

    #[test]
    fn a_command_that_needs_many_files_gets_them() {
        let script = "ulimit -n; ulimit -Hn; echo $1";
        let said = capture(with_many_files(Path::new("/bin/sh")).args(["-c", script, "sh", "an argument"])).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() == 3 && lines[0] == lines[1] && lines[2] == "an argument", "{said}");
    }

    #[test]
    fn a_failing_command_is_named_with_its_words() {
        let failure = capture(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(failure.contains("exit 3") && failure.contains("why"), "{failure}");
    }
}
