//! What commands are taken for, beside what shells really make of them: bash, dash and zsh are the oracle.
//!
//! Commands are made at random of a few letters and all the characters that mean something to a shell. Where one is fully understood, a shell runs
//! it in an empty directory with a search path that leads nowhere: it names each program that it does not find, and may name none that was not seen.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use model::{Action, Object, Understanding};
use policy::classify::ssh::exec;

/// What commands are made of. There is nothing in it that loops while something succeeds.
const PIECES: &[&str] = &[
    "a",
    "b",
    "ab",
    "a ",
    " b",
    " ",
    " ",
    "\n",
    ";",
    "&&",
    "||",
    "|",
    "&",
    "!",
    "(",
    ")",
    "{ ",
    "; }",
    "'",
    "'",
    "\"",
    "\"",
    "\\",
    "$",
    "$a",
    "${a}",
    "${a:-b}",
    "$(a)",
    "`b`",
    "`",
    "$(",
    ")",
    "~",
    "*",
    "?",
    "[",
    "]",
    "{",
    "}",
    ",",
    "..",
    "=",
    "a=b ",
    "#",
    "<<a\n",
    "a\n",
    "if ",
    "then ",
    "fi",
    "for a in b; do ",
    "case a in a) ",
    ";; esac",
    "\\\n",
    "\t",
    "-",
    "!",
    "^",
    "%",
    "1",
    "2>&1",
    "&>/dev/null",
    ">/dev/null",
    "</dev/null",
    "<<<a ",
    "eval ",
    "command ",
    "\u{e9}",
    "[[ ",
    " ]]",
    "time ",
    "$'",
    "$\"",
    "((",
    "))",
    "+=",
    ">&2",
    "|&",
    "<(a)",
    "exec ",
    "exit ",
    "shift ",
    "test ",
    "read -t ",
    "-eq 1 ",
    "'x[$(a)]' ",
    "- ",
];

/// How many commands are made; some of them are understood to its end.
const ROUNDS: usize = 12_000;

#[test]
fn no_shell_runs_a_program_that_was_not_seen() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut understood = vec![];
    for _ in 0..ROUNDS {
        let text: String = (0..1 + random.below(9)).map(|_| PIECES[random.below(PIECES.len())]).collect();
        let facts = exec(text.as_bytes());
        if facts.understanding == Understanding::Full && facts.statements > 0 {
            let programs: BTreeSet<String> = facts.pairs.iter().filter_map(|pair| program(pair.action, &pair.object)).collect();
            // A name with a line's end in it is said in two lines.
            if programs.iter().all(|program| !program.contains('\n')) {
                understood.push((text, programs));
            }
        }
    }
    assert!(understood.len() > 200, "{} are too few to tell anything", understood.len());
    for shell in ["bash", "dash", "zsh"] {
        for (text, programs) in &understood {
            let ran = run(shell, text);
            assert!(ran.is_subset(programs), "{shell} runs {ran:?} for {text:?}, in which {programs:?} were seen");
        }
    }
}

fn program(action: Action, object: &Object) -> Option<String> {
    match object {
        Object::Program { program } if action == Action::Execute => Some(program.to_string()),
        _ => None,
    }
}

/// The programs that a shell looks for, but does not find: it names them.
fn run(shell: &str, text: &str) -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(format!("/bin/{shell}"))
        .args(["-c", text])
        .env_clear()
        .env("PATH", directory.path().join("nothing"))
        .env("HOME", directory.path())
        .env("LC_ALL", "C.UTF-8")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // bash: `bash: line 1: a: command not found`, dash: `dash: 1: a: not found`, zsh: `zsh:1: command not found: a`.
    let named = |line: &str| match line.split_once("command not found: ") {
        Some((_, name)) => Some(name.to_owned()),
        None => {
            let name = line.strip_suffix(": command not found").or_else(|| line.strip_suffix(": not found"))?;
            name.rsplit(": ").next().map(str::to_owned)
        }
    };
    // Names with other characters are quoted by some and broken over lines by others.
    // zsh runs these where a command has nothing but redirections.
    let of_redirections = |name: &String| shell == "zsh" && matches!(name.as_str(), "cat" | "more" | "pager");
    said.lines()
        .filter_map(named)
        .filter(|name| !of_redirections(name))
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .collect()
}

/// Numbers that are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}
