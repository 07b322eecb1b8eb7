//! What is asked of a machine over SSH: commands, shells, subsystems, files, forwards and variables.
//!
//! Commands are read as the shells of such machines read them alike (`sh` in its kinds, bash, zsh); where they differ, or where the text does not say
//! what will run, the command is not understood. Paths are what the text says: where links at the machine lead is known only for the file operations
//! whose real path the gateway could find out. Work and depth are bounded by the limits here.

mod command;
mod files;
mod forwards;
mod found;
mod paths;
mod programs;
mod secrets;
mod shell;
mod variables;

use model::{Action, Facts, Object};

use self::{command::Walk, found::Found};
pub use self::{
    files::{FileOperation, FilePath, file},
    forwards::{Forward, forward},
    variables::environment,
};

/// Longest command that is read, in bytes; a longer one is unreadable.
pub const MAX_COMMAND_BYTES: usize = 64 << 10;

/// Longest name of a subsystem that is read, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// An exec request's command, as bytes from the wire.
#[must_use]
pub fn exec(command: &[u8]) -> Facts {
    let mut found = Found::of("exec");
    match std::str::from_utf8(command) {
        Err(_) => found.doubt("it is not UTF-8"),
        Ok(text) if text.len() > MAX_COMMAND_BYTES => found.doubt("it is too long"),
        Ok(text) => Walk::new(&mut found).whole(text),
    }
    found.secrets = secrets::spans(command);
    found.into_facts()
}

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// From the machine to the caller.
    Sends,
    /// From the caller to the machine.
    Takes,
}

/// Which end of a file transfer a command is, if it is one and nothing else: what it writes is a protocol of its own, in which nothing can be masked.
#[must_use]
pub fn transfers(command: &[u8]) -> Option<Transfer> {
    let text = std::str::from_utf8(command).ok().filter(|text| text.len() <= MAX_COMMAND_BYTES)?;
    let script = shell::read(text, 0).ok()?;
    let words = match script.items.as_slice() {
        [only] if !only.background && only.rest.is_empty() => match only.first.commands.as_slice() {
            [shell::Command { body: shell::Body::Simple(simple), redirects }] if redirects.is_empty() && simple.assignments.is_empty() => {
                &simple.words
            }
            _ => return None,
        },
        _ => return None,
    };
    if words.iter().any(|word| !word.runs.is_empty()) {
        return None;
    }
    let mut texts = words.iter().map(|word| word.text().unwrap_or_default());
    let program = texts.next().unwrap_or_default();
    let rest: Vec<&str> = texts.collect();
    let has = |option: &str| rest.contains(&option);
    match programs::in_the_system(program)? {
        "scp" if has("-f") => Some(Transfer::Sends),
        // Letters may stand together, and where both are said it sends.
        "scp" if has("-t") && !rest.iter().any(|word| word.starts_with('-') && word.contains('f')) => Some(Transfer::Takes),
        // A daemon does as its configuration has it.
        "rsync" if rest.first() == Some(&"--server") => Some(if has("--sender") || has("--daemon") { Transfer::Sends } else { Transfer::Takes }),
        "git" => match rest.first() {
            Some(&("upload-pack" | "upload-archive")) => Some(Transfer::Sends),
            Some(&"receive-pack") => Some(Transfer::Takes),
            _ => None,
        },
        "git-upload-pack" | "git-upload-archive" => Some(Transfer::Sends),
        "git-receive-pack" => Some(Transfer::Takes),
        _ => None,
    }
}

/// A shell request: what is typed in it is not decided on, so that it is code that runs on the connection.
#[must_use]
pub fn shell() -> Facts {
    Found::one("shell", Action::Execute, Object::Connection).into_facts()
}

/// A subsystem request. Each operation of `sftp` is decided by itself; what others do is not known.
#[must_use]
pub fn subsystem(name: &str) -> Facts {
    if name == "sftp" {
        return Found::one("sftp", Action::Connect, Object::Connection).into_facts();
    }
    let mut found = Found::one("subsystem", Action::Execute, Object::Program { program: format!("subsystem:{}", cut(name)).into() });
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        found.doubt("the name of the subsystem is not understood");
    }
    found.into_facts()
}

/// No more of a name than is kept.
fn cut(name: &str) -> &str {
    let end = (0..=MAX_NAME_BYTES.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    end.and_then(|end| name.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(facts: &Facts) -> Vec<String> {
        facts.pairs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_shell_is_code_on_the_connection() {
        assert_eq!(asks(&shell()), ["execute on the connection"]);
        assert_eq!(shell().kinds, [std::sync::Arc::from("shell")]);
    }

    #[test]
    fn a_transfer_is_one_and_nothing_beside_it() {
        for command in [
            "scp -f /srv/a",
            "scp -v -r -t -- /srv",
            "rsync --server --sender -logDtpre.iLsfxCIvu . /srv/",
            "git-upload-pack '/srv/a.git'",
            "/usr/bin/git upload-pack /srv/a",
        ] {
            assert!(transfers(command.as_bytes()).is_some(), "{command}");
        }
        for command in [
            "cat /srv/a",
            "scp a b",
            "scp -f /srv/a; cat /etc/x",
            "scp -f a | cat",
            "scp -f a > b",
            "$X --server",
            "rsync -a a b",
            "git log",
            "x=1 scp -f a",
            "(scp -f a)",
            "scp -f $(cat a)",
            "/tmp/scp -t /srv/a",
            "./rsync --server . /srv",
            "",
        ] {
            assert!(transfers(command.as_bytes()).is_none(), "{command}");
        }
    }

    #[test]
    fn what_may_send_is_not_taken_for_what_takes() {
        for (command, expected) in [
            ("scp -p -t /srv", Some(Transfer::Takes)),
            ("scp -t -f /srv/a", Some(Transfer::Sends)),
            ("scp -t -pf /srv/a", None),
            ("scp -pft /srv/a", None),
            ("rsync --server -logDtpr . /srv", Some(Transfer::Takes)),
            ("rsync --server -logDtpr --sender . /srv", Some(Transfer::Sends)),
            ("rsync --server --daemon --config=/tmp/own .", Some(Transfer::Sends)),
        ] {
            assert_eq!(transfers(command.as_bytes()), expected, "{command}");
        }
    }

    #[test]
    fn sftp_needs_nothing_more_and_any_other_subsystem_is_a_program() {
        assert_eq!(asks(&subsystem("sftp")), ["connect on the connection"]);
        assert_eq!(asks(&subsystem("netconf")), ["execute on program subsystem:netconf"]);
        for odd in ["SFTP", "sftp ", "sftp\0", "\u{200b}sftp", ""] {
            assert!(subsystem(odd).asks(Action::Execute), "{odd:?}");
        }
        assert!(subsystem(&"é".repeat(1_000)).asks(Action::Unreadable));
    }
}
