//! Environment variables: those that change how things look, and all others.

use model::{Action, Facts, Object};

use super::{found::Found, shell::Word};

/// What a caller may set without more: language, terminal and time zone, and the version of git's own protocol.
const OF_SESSIONS: &[&str] = &["LANG", "LANGUAGE", "TERM", "COLORTERM", "TZ", "GIT_PROTOCOL"];

/// What commands may set beside these: read by programs to say less, or to say which of its own settings applies.
const OF_COMMANDS: &[&str] = &[
    "APP_ENV",
    "CI",
    "COLUMNS",
    "DEBIAN_FRONTEND",
    "FORCE_COLOR",
    "LINES",
    "MYSQL_PWD",
    "NEEDRESTART_MODE",
    "NEEDRESTART_SUSPEND",
    "NODE_ENV",
    "NO_COLOR",
    "PGPASSWORD",
    "RACK_ENV",
    "RAILS_ENV",
    "SSHPASS",
];

/// Variables in lower case that shells or programs look at: proxies, and zsh's own.
const LOWER_THAT_COUNT: &[&str] = &[
    "aliases",
    "argv",
    "builtins",
    "cdpath",
    "commands",
    "dirstack",
    "fignore",
    "fpath",
    "functions",
    "galiases",
    "histchars",
    "home",
    "ifs",
    "keymaps",
    "mailpath",
    "manpath",
    "module_path",
    "modules",
    "nameddirs",
    "options",
    "parameters",
    "path",
    "postcmd",
    "precmd",
    "prompt",
    "psvar",
    "saliases",
    "shell",
    "signals",
    "status",
    "term",
    "userdirs",
    "watch",
    "widgets",
    "zle_bracketed_paste",
];

/// Variables that say what a path or a word of the rest of the command is.
const OF_READING: &[&str] = &["HOME", "PWD", "OLDPWD", "CDPATH"];

/// One environment variable that the caller asks to set.
#[must_use]
pub fn environment(name: &str) -> Facts {
    let action = if is_of_sessions(name) { Action::Connect } else { Action::Configure };
    Found::one("env", action, Object::Connection).into_facts()
}

/// What it means that a command sets a variable to a word.
pub(super) fn set_to(name: &str, value: &Word, found: &mut Found) {
    let number = value.text().is_some_and(is_number) || value.variable.as_deref().is_some_and(is_count);
    // What a session begins with may have been in it before, whatever the command sets it to later.
    if number && !is_of_sessions(name) {
        found.computed.numbers.insert(name.to_owned());
        sets(name, found);
    } else {
        assigned(name, found);
    }
}

/// What it means that a command sets a variable, to whatever that is.
pub(super) fn assigned(name: &str, found: &mut Found) {
    found.computed.texts.insert(name.to_owned());
    sets(name, found);
}

/// A word that some shells compute the value of. They run what a subscript in it has to be known for: `exit 'x[$(rm y)]'`.
pub(super) fn computed(word: &Word, found: &mut Found) {
    match &word.variable {
        Some(name) if is_count(name) => {}
        Some(name) => drop(found.computed.taken.insert(name.clone())),
        None if word.text().is_some_and(is_number) => {}
        None => found.doubt("it computes, which can run code"),
    }
}

/// `$?` and the like.
fn is_count(name: &str) -> bool {
    matches!(name, "?" | "#" | "$" | "!")
}

/// Digits, with a point among them or not, and a sign before them.
pub(super) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|first: char| first.is_ascii_digit()) && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn sets(name: &str, found: &mut Found) {
    if OF_READING.contains(&name) {
        found.doubt("it sets a variable that says where paths begin");
    }
    if !(is_of_sessions(name) || OF_COMMANDS.contains(&name) || is_own(name)) {
        found.pair(Action::Configure, Object::Connection);
    }
}

fn is_of_sessions(name: &str) -> bool {
    let of_locale =
        name.strip_prefix("LC_").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    of_locale || OF_SESSIONS.contains(&name)
}

/// Whether nobody but the command itself looks at it: names in lower case are for that, some apart.
fn is_own(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !LOWER_THAT_COUNT.contains(&name)
        && !name.ends_with("_proxy")
        && !name.ends_with("_functions")
}

/// Whether it is a variable's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_') && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
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

    #[test]
    fn of_a_commands_variables_its_own_need_nothing() {
        let asks = |name: &str| {
            let mut found = Found::of("exec");
            assigned(name, &mut found);
            found.into_facts().pairs.iter().map(|pair| pair.action.as_str()).collect::<Vec<_>>().join(" ")
        };
        for (name, expected) in [
            ("x", "connect"),
            ("backup_dir", "connect"),
            ("DEBIAN_FRONTEND", "connect"),
            ("LC_ALL", "connect"),
            ("PATH", "configure"),
            ("IFS", "configure"),
            ("path", "configure"),
            ("https_proxy", "configure"),
            ("GIT_SSH", "configure"),
            ("UNKNOWN", "configure"),
            ("HOME", "configure unreadable"),
        ] {
            assert_eq!(asks(name), expected, "{name}");
        }
    }
}
