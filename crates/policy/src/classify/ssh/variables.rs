//! Environment variables: those that change how things look, and all others.

use model::{Action, Facts, Object};

use super::found::Found;

/// What a caller may set without more: language, terminal and time zone, and the version of git's own protocol.
const OF_SESSIONS: &[&str] = &["LANG", "LANGUAGE", "TERM", "COLORTERM", "TZ", "GIT_PROTOCOL"];

/// One environment variable that the caller asks to set.
#[must_use]
pub fn environment(name: &str) -> Facts {
    let action = if is_of_sessions(name) { Action::Connect } else { Action::Configure };
    Found::one("env", action, Object::Connection).into_facts()
}

fn is_of_sessions(name: &str) -> bool {
    let of_locale =
        name.strip_prefix("LC_").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    of_locale || OF_SESSIONS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_terminal_and_time_zone_need_nothing() {
        for name in ["LANG", "LC_ALL", "LC_CTYPE", "TERM", "COLORTERM", "TZ", "GIT_PROTOCOL"] {
            assert!(environment(name).asks(Action::Connect), "{name}");
        }
    }

    #[test]
    fn whatever_else_is_set_configures() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "BASH_ENV",
            "ENV",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "PATH",
            "IFS",
            "PYTHONPATH",
            "PERL5LIB",
            "NODE_OPTIONS",
            "HOME",
            "BASH_FUNC_ls%%",
            "lang",
            "LC_",
            "LC_A=B",
            "LANG=x",
            "TERM\0",
            "",
            "EDITOR",
            "PROMPT_COMMAND",
            "TERMINFO",
            "LOCPATH",
        ] {
            let facts = environment(name);
            assert!(facts.asks(Action::Configure) && facts.pairs.len() == 1, "{name:?}");
        }
    }
}
