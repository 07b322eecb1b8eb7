//! Programs that run code: shells, whose code is read where it is in the command, and others, whose code is not.

use model::{Action, Object};

use super::{Call, Walk, program_name, wrappers::typed};
use crate::classify::ssh::{
    command::{After, Input},
    paths::Place,
    shell::{Piece, Word},
};

pub(super) const NOT_READ: &str = "code of this language is not read";

impl Walk<'_> {
    /// A file is run, as a program would be.
    pub(super) fn run_file(&mut self, file: &Word) {
        if file.pieces.contains(&Piece::Glob) {
            return self.found.doubt("which file it runs is known only when it does");
        }
        match self.paths(file) {
            Err(why) => self.found.doubt(why),
            Ok(places) if places.iter().any(Place::is_passed_on) => self.found.doubt("the code it runs comes from elsewhere"),
            Ok(places) => {
                for place in places {
                    self.found.pair(Action::Execute, Object::Program { program: program_name(&place).into() });
                }
            }
        }
    }
}

pub(super) fn shell(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let mut rest = call.arguments;
    let (mut text, mut from_input) = (false, false);
    while let Some((word, others)) = rest.split_first() {
        let Some(option) = word.text() else { break };
        match option {
            "--version" | "--help" => return walk.stays(),
            "-" | "--" => {
                rest = others;
                break;
            }
            "--norc" | "--noprofile" | "--login" | "--posix" | "--verbose" => {}
            _ if !option.starts_with(['-', '+']) => break,
            _ => {
                let letters = option.get(1..).unwrap_or_default();
                if !letters.chars().all(|letter| "abcefhilmnopsuvxBCEH".contains(letter)) {
                    return walk.doubted("an option in it is not known");
                }
                text |= letters.contains('c');
                from_input |= letters.contains('s');
                if letters.contains('o') {
                    rest = others.get(1..).unwrap_or_default();
                    continue;
                }
            }
        }
        rest = others;
    }
    walk.apart(|walk| match rest.first() {
        Some(code) if text => match code.text() {
            Some(code) => walk.deeper(|walk| walk.text(code, call.input)),
            None => walk.doubted("the code it runs is known only when it does"),
        },
        Some(file) if !from_input => {
            walk.run_file(file);
            walk.stays()
        }
        _ => typed(walk, call.input),
    })
}

pub(super) fn python(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let mut words = call.arguments.iter();
    while let Some(word) = words.next() {
        match word.text() {
            Some("-V" | "-VV" | "--version" | "-h" | "--help") => return walk.stays(),
            Some("-W" | "-X") => drop(words.next()),
            Some("-m") => return module(walk, call, words.as_slice()),
            Some(option) if option.len() > 1 && option.starts_with('-') => {
                if !option.chars().skip(1).all(|letter| "BbdEIOPqRsSuvx".contains(letter)) {
                    return walk.doubted(NOT_READ);
                }
            }
            _ => return file_or_input(walk, call, Some(word)),
        }
    }
    file_or_input(walk, call, None)
}

/// Modules that only look, or install.
fn module(walk: &mut Walk<'_>, call: &Call<'_>, words: &[Word]) -> After {
    match words.split_first().and_then(|(name, rest)| name.text().map(|name| (name, rest))) {
        Some(("json.tool" | "platform" | "sysconfig", _)) => {}
        Some(("pip" | "venv" | "ensurepip", _)) => {
            walk.does(call, Action::Define);
            if words.iter().any(|word| word.text().is_none()) {
                walk.found.doubt("what an argument is, is known only when it runs");
            }
        }
        _ => walk.found.doubt(NOT_READ),
    }
    walk.stays()
}

/// Interpreters of which only this is known: options come first, then a script's file.
pub(super) fn script(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    for word in call.arguments {
        match word.text() {
            Some("-v" | "-V" | "--version" | "--help" | "-h") => return walk.stays(),
            Some("-w" | "-W" | "-T" | "-t") => {}
            Some(option) if option.len() > 1 && option.starts_with('-') => return walk.doubted(NOT_READ),
            _ => return file_or_input(walk, call, Some(word)),
        }
    }
    file_or_input(walk, call, None)
}

fn file_or_input(walk: &mut Walk<'_>, call: &Call<'_>, file: Option<&Word>) -> After {
    match (file, call.input) {
        (Some(file), _) if file.text() != Some("-") => {
            walk.run_file(file);
            walk.stays()
        }
        (_, Input::File(file)) => {
            walk.run_file(file);
            walk.stays()
        }
        (_, Input::Text(_)) => walk.doubted(NOT_READ),
        (_, Input::Unknown) => walk.doubted("the code it runs comes from elsewhere"),
    }
}

/// A database's client has commands of its own, some of which run others: they begin with a backslash.
pub(super) fn psql(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const OPTIONS: &str = "-a -A -b -c: -d: -e -E -f: -F: -h: -H -l -L:w -n -o: -p: -P: -q -R: -s -S -t -T: -U: -v: -V -w -W -x -X -1 -z -0 --echo-all --no-align --command: --dbname: \
                           --echo-queries --echo-errors --echo-hidden --file: --field-separator: --host: --html --list --log-file:w --output: --port: --pset: --quiet --record-separator: \
                           --single-step --single-line --tuples-only --table-attr: --username: --variable: --set: --version --no-password --password --expanded --no-psqlrc \
                           --single-transaction --csv --field-separator-zero --record-separator-zero --help?";
    let Some(given) = walk.given(call, OPTIONS) else { return walk.stays() };
    let begins_with = |word: &Word, sign: char| word.start().trim_start().is_empty() || word.start().trim_start().starts_with(sign);
    if given.values(&["-c", "--command"]).any(|word| begins_with(word, '\\')) || given.values(&["-o", "--output"]).any(|word| begins_with(word, '|'))
    {
        return walk.doubted("it may run a command of its own");
    }
    given.values(&["-o", "--output"]).for_each(|word| walk.touch(word, &[Action::Write]));
    given.values(&["-f", "--file"]).filter(|word| word.text() != Some("-")).for_each(|word| walk.run_file(word));
    walk.stays()
}

/// As [`psql`], of clients whose commands may stand anywhere in what they are told.
pub(super) fn client(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const OWN: &[&str] = &["\\!", "\\.", "\\p", "\\t", "system", "source", "pager", "tee", "!!", ":r"];
    let own = |word: &Word| word.text().is_none_or(|text| OWN.iter().any(|command| text.to_ascii_lowercase().contains(command)));
    if call.arguments.iter().any(own) { walk.doubted("it may run a command of its own") } else { walk.stays() }
}

pub(super) fn awk(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, ". -F: -v: -f: --field-separator: --assign: --version") else { return walk.stays() };
    let files: Vec<Word> = given.values(&["-f"]).cloned().collect();
    files.iter().for_each(|file| walk.run_file(file));
    let mut operands = given.operands.as_slice();
    if files.is_empty() && !given.has(&["--version"]) {
        let Some((program, rest)) = operands.split_first() else { return walk.stays() };
        if !program.text().is_some_and(only_reads) {
            return walk.doubted("a program in it may do more than read");
        }
        operands = rest;
    }
    let is_variable = |word: &Word| word.start().split_once('=').is_some_and(|(name, _)| crate::classify::ssh::variables::is_name(name));
    operands.iter().filter(|word| !is_variable(word) && word.text() != Some("-")).for_each(|word| walk.touch(word, &[Action::Read]));
    walk.stays()
}

/// Whether an awk program neither runs others nor names files itself.
fn only_reads(program: &str) -> bool {
    let plain = program.replace("||", " ").replace(">=", " ");
    !["system", "getline", "|", ">", "@", "ARG", "extension"].iter().any(|word| plain.contains(word))
}

const SED: &str = "-n -E -r -s -u -z -b -i? -l: -e: --expression: --in-place? --quiet --silent --regexp-extended --null-data --separate --unbuffered --posix --follow-symlinks --version";

pub(super) fn sed(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, SED) else { return walk.stays() };
    let mut scripts: Vec<&Word> = given.values(&["-e", "--expression"]).collect();
    let mut operands = given.operands.as_slice();
    if scripts.is_empty() {
        let Some((script, rest)) = operands.split_first() else { return walk.stays() };
        scripts.push(script);
        operands = rest;
    }
    let script = scripts.iter().map(|word| word.text()).collect::<Option<Vec<_>>>().map(|scripts| scripts.join("\n"));
    if !script.is_some_and(|script| !script.is_empty() && sed_script::only_edits(&script)) {
        return walk.doubted("a script in it may do more than edit");
    }
    let in_place = given.has(&["-i", "--in-place"]);
    let kept: Vec<&str> = given.values(&["-i", "--in-place"]).map(|suffix| suffix.text().unwrap_or("/")).collect();
    if kept.iter().any(|suffix| suffix.contains(['/', '*'])) {
        return walk.doubted("where it keeps what it edits is not known");
    }
    for word in operands.iter().filter(|word| word.text() != Some("-")) {
        walk.touch(word, if in_place { &[Action::Read, Action::Write] } else { &[Action::Read] });
        for suffix in &kept {
            let mut beside = word.clone();
            beside.push(Piece::Text((*suffix).to_owned()));
            walk.touch(&beside, &[Action::Write]);
        }
    }
    walk.stays()
}

/// Scripts of sed. <https://www.gnu.org/software/sed/manual/sed.html#sed-commands-list>
mod sed_script {
    use std::{iter::Peekable, str::Chars};

    /// Whether a script only edits what goes through: it neither runs programs (`e`) nor names files (`r`, `w`).
    pub(super) fn only_edits(script: &str) -> bool {
        let mut rest = script.chars().peekable();
        loop {
            while rest.next_if(|c| c.is_whitespace() || matches!(c, ';' | '{' | '}')).is_some() {}
            if rest.peek().is_none() {
                return true;
            }
            if addresses(&mut rest).is_none() || command(&mut rest).is_none() {
                return false;
            }
        }
    }

    fn addresses(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
        address(rest)?;
        blanks(rest);
        if rest.next_if_eq(&',').is_some() {
            blanks(rest);
            let _ = rest.next_if(|c| matches!(c, '+' | '~'));
            address(rest)?;
        }
        while rest.next_if(|c| matches!(c, ' ' | '\t' | '!')).is_some() {}
        while rest.next_if(|c| matches!(c, ' ' | '\t' | '\n' | ';' | '{')).is_some() {}
        Some(())
    }

    fn address(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
        match rest.peek()? {
            '$' => drop(rest.next()),
            '/' => {
                rest.next();
                delimited(rest, '/')?;
                while rest.next_if(|c| matches!(c, 'I' | 'M')).is_some() {}
            }
            '\\' => return None,
            _ => while rest.next_if(|c| c.is_ascii_digit() || *c == '~').is_some() {},
        }
        Some(())
    }

    fn command(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
        match rest.next()? {
            '=' | 'd' | 'D' | 'g' | 'G' | 'h' | 'H' | 'n' | 'N' | 'p' | 'P' | 'x' | 'z' | 'q' | 'Q' | 'l' | 'F' => {
                while rest.next_if(|c| c.is_ascii_digit() || matches!(c, ' ' | '\t')).is_some() {}
                ends(rest)
            }
            '}' => Some(()),
            's' => {
                let delimiter = rest.next().filter(|c| !c.is_alphanumeric() && !matches!(c, '\n' | '\\' | ' '))?;
                delimited(rest, delimiter)?;
                delimited(rest, delimiter)?;
                while rest.next_if(|c| c.is_ascii_digit() || matches!(c, 'g' | 'p' | 'i' | 'I')).is_some() {}
                blanks(rest);
                ends(rest)
            }
            'y' => {
                let delimiter = rest.next().filter(|c| !c.is_alphanumeric() && !matches!(c, '\n' | '\\' | ' '))?;
                delimited(rest, delimiter)?;
                delimited(rest, delimiter)?;
                blanks(rest);
                ends(rest)
            }
            'a' | 'i' | 'c' => text(rest),
            ':' | 'b' | 't' | 'T' => {
                while rest.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_')).is_some() {}
                ends(rest)
            }
            _ => None,
        }
    }

    /// Text that is put in, up to the line's end: a backslash takes the next line in.
    fn text(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
        while let Some(c) = rest.next() {
            match c {
                '\\' => drop(rest.next()),
                '\n' => return Some(()),
                _ => {}
            }
        }
        Some(())
    }

    /// Up to a delimiter. One within brackets ends it for some.
    fn delimited(rest: &mut Peekable<Chars<'_>>, delimiter: char) -> Option<()> {
        let mut open = 0_i64;
        loop {
            match rest.next()? {
                '\\' => drop(rest.next()?),
                '\n' => return None,
                c if c == delimiter => return (open == 0).then_some(()),
                '[' => open += 1,
                ']' => open = (open - 1).max(0),
                _ => {}
            }
        }
    }

    fn blanks(rest: &mut Peekable<Chars<'_>>) {
        while rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
    }

    fn ends(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
        matches!(rest.peek(), None | Some(';' | '\n' | '}')).then_some(())
    }

    #[cfg(test)]
    mod tests {
        use super::only_edits;

        #[test]
        fn scripts_that_edit_are_told_from_those_that_do_more() {
            for script in [
                "s/a/b/",
                "s|a|b|g;p",
                "1d",
                "$!d",
                "/a/,/b/p",
                "2q",
                "/x/{s/a/b/;p}",
                "s/[0-9]*//",
                "/^#/d; s/\\/x/y/2",
                "1i hello; w x",
                "5,10p",
                "y/ab/cd/",
                "1~2d",
                "n;d",
            ] {
                assert!(only_edits(script), "{script}");
            }
            for script in [
                "e",
                "1e rm x",
                "s/a/b/e",
                "s/a/b/w x",
                "w x",
                "r /etc/shadow",
                "R x",
                "W x",
                "/a/w x",
                "s/[/]/e",
                "\\,a,w x",
                "1!w x",
                "s/a/b/ge",
                "p w",
                "{e}",
                "s/a/b",
                "1{w x\n}",
                "i a\nw x",
            ] {
                assert!(!only_edits(script), "{script}");
            }
        }
    }
}
