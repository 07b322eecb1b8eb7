//! How options are told from operands, by what the table says of a program.
//!
//! The table writes a program's options as a list: `-v` and `--all` are flags, `-n:` and `--lines:` take a value, `--color?` may have one after `=`
//! (`-i?` right after it). After these, `r` and `w` say that the value is the path of a file that is read or written. `-#` stands for numbers (`head -20`),
//! `.` says that options end at the first operand, `*` that it does not matter when a pattern matches a file whose name looks like an option.

use model::Action;

use super::{
    Call, Walk,
    table::{ANY_OPTIONS, Operands, Plain},
};
use crate::classify::ssh::{
    command::After,
    paths::Untold,
    shell::{Piece, Word},
};

/// Arguments, told apart.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Options as the table writes them, `-n`, with their values.
    pub(super) options: Vec<(String, Option<Word>)>,
    pub(super) operands: Vec<Word>,
}

impl Given {
    /// Whether any of these was given.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.options.iter().any(|(name, _)| names.contains(&name.as_str()))
    }

    /// The values given to any of these.
    pub(super) fn values<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a Word> {
        self.options.iter().filter(|(name, _)| names.contains(&name.as_str())).filter_map(|(_, value)| value.as_ref())
    }
}

/// What the table says of one option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    Maybe,
}

const UNKNOWN: Untold = "an option in it is not known";

impl Walk<'_> {
    /// A program that only does something to its operands.
    pub(super) fn plain(&mut self, plain: &Plain, call: &Call<'_>) -> After {
        for action in plain.does {
            self.does(call, *action);
        }
        if plain.options == ANY_OPTIONS {
            // Some of these run what follows such a word.
            let runs = call.arguments.iter().any(|word| word.text().is_some_and(|text| matches!(text, "exec" | "run")));
            return if runs { self.doubted("it runs another program in a way that is not followed") } else { self.stays() };
        }
        let Some(given) = self.given(call, plain.options) else { return self.stays() };
        self.operands(plain.operands, &given);
        self.stays()
    }

    fn operands(&mut self, operands: Operands, given: &Given) {
        let each = |walk: &mut Self, words: &[Word], actions: &[Action]| {
            // `-` is what the program is sent, or sends.
            let named = words.iter().filter(|word| word.text() != Some("-") || actions.contains(&Action::Destroy));
            named.for_each(|word| walk.touch(word, actions));
        };
        match (operands, given.operands.as_slice()) {
            (Operands::NoPaths, _) => {}
            (Operands::EachOrHere(actions), []) => self.touch_here(actions),
            (Operands::Each(actions) | Operands::EachOrHere(actions), words) => each(self, words, actions),
            (Operands::AfterFirst(actions), words) => each(self, words.get(1..).unwrap_or_default(), actions),
            (Operands::Copies(from, to), words) => self.copies(given, words, from, to),
        }
    }

    /// The last operand is where the others go, unless an option names it.
    pub(super) fn copies(&mut self, given: &Given, words: &[Word], from: &[Action], to: &[Action]) {
        let mut sources = words;
        let named: Vec<Word> = given.values(&["-t", "--target-directory"]).cloned().collect();
        match (named.is_empty(), words.split_last()) {
            (false, _) => named.iter().for_each(|word| self.touch(word, to)),
            (true, Some((last, rest))) => {
                self.touch(last, to);
                sources = rest;
            }
            (true, None) => {}
        }
        sources.iter().for_each(|word| self.touch(word, from));
    }

    /// A program's arguments by its options, whose files are read and written; none, with the doubt said, where an argument is not understood.
    pub(super) fn given(&mut self, call: &Call<'_>, options: &str) -> Option<Given> {
        match read(options, call.arguments) {
            Err(why) => {
                self.found.doubt(why);
                None
            }
            Ok(given) => {
                for (name, value) in &given.options {
                    let files = entry(options, name).and_then(|entry| value.as_ref().zip(entry.chars().last()));
                    match files {
                        Some((word, _)) if word.text() == Some("-") => {}
                        Some((word, 'r')) if entry_takes_file(options, name) => self.touch(word, &[Action::Read]),
                        Some((word, 'w')) if entry_takes_file(options, name) => self.touch(word, &[Action::Write]),
                        _ => {}
                    }
                }
                Some(given)
            }
        }
    }
}

/// Arguments told apart by a list of options.
pub(super) fn read(options: &str, arguments: &[Word]) -> Result<Given, Untold> {
    let has = |special: &str| options.split(' ').any(|entry| entry == special);
    let mut given = Given::default();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if word.text() == Some("--") {
            given.operands.extend(rest.cloned());
            return Ok(given);
        }
        let start = word.start();
        match word.pieces.first() {
            Some(Piece::Dynamic) => return Err("what an argument is, is known only when it runs"),
            Some(Piece::Glob) if !has("*") => return Err("a pattern may match what looks like an option"),
            _ if word.is_dynamic() && !start.starts_with('-') && may_be_several(word) => {
                return Err("what an argument is, is known only when it runs");
            }
            _ if start.len() > 2 && start.starts_with("--") => long(options, word, &mut rest, &mut given)?,
            _ if start.starts_with('-') && word.text() != Some("-") => short(options, word, &mut rest, &mut given)?,
            _ if has(".") => {
                given.operands.push(word.clone());
                given.operands.extend(rest.cloned());
                return Ok(given);
            }
            _ => given.operands.push(word.clone()),
        }
    }
    Ok(given)
}

/// Whether a word with an expansion may turn out to be several, and so options too.
const fn may_be_several(word: &Word) -> bool {
    !word.quoted
}

fn long<'a>(options: &str, word: &Word, rest: &mut impl Iterator<Item = &'a Word>, given: &mut Given) -> Result<(), Untold> {
    let start = word.start();
    let (name, value) = match start.split_once('=') {
        Some((name, _)) => (name, Some(word.without(name.len() + 1))),
        None if word.text().is_some() => (start, None),
        None => return Err("what an argument is, is known only when it runs"),
    };
    let value = match (takes(options, name).ok_or(UNKNOWN)?, value) {
        (Takes::Nothing, None) | (Takes::Maybe, None) => None,
        (Takes::Value | Takes::Maybe, Some(value)) => Some(value),
        (Takes::Value, None) => Some(rest.next().ok_or("an option has no value")?.clone()),
        (Takes::Nothing, Some(_)) => return Err(UNKNOWN),
    };
    given.options.push((name.to_owned(), value));
    Ok(())
}

fn short<'a>(options: &str, word: &Word, rest: &mut impl Iterator<Item = &'a Word>, given: &mut Given) -> Result<(), Untold> {
    let letters = word.start().get(1..).unwrap_or_default();
    if options.split(' ').any(|entry| entry == "-#")
        && word.text().is_some()
        && !letters.is_empty()
        && letters.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Ok(());
    }
    for (place, letter) in letters.char_indices() {
        let name = format!("-{letter}");
        let takes = takes(options, &name).ok_or(UNKNOWN)?;
        let attached = word.without(1 + place + letter.len_utf8());
        let value = match (takes, attached.pieces.is_empty()) {
            (Takes::Nothing, _) => None,
            (Takes::Value | Takes::Maybe, false) => Some(attached),
            (Takes::Maybe, true) => None,
            (Takes::Value, true) => Some(rest.next().ok_or("an option has no value")?.clone()),
        };
        let ended = value.is_some();
        given.options.push((name, value));
        if ended {
            return Ok(());
        }
    }
    if word.text().is_some() { Ok(()) } else { Err("what an argument is, is known only when it runs") }
}

/// Whether an option takes a value.
pub(super) fn takes_value(options: &str, name: &str) -> bool {
    takes(options, name) == Some(Takes::Value)
}

/// What a list says of an option.
fn entry<'a>(options: &'a str, name: &str) -> Option<&'a str> {
    options.split(' ').find(|entry| entry.strip_prefix(name).is_some_and(|after| after.is_empty() || after.starts_with([':', '?'])))
}

fn takes(options: &str, name: &str) -> Option<Takes> {
    let after = entry(options, name)?.get(name.len()..)?;
    Some(match after.chars().next() {
        None => Takes::Nothing,
        Some(':') => Takes::Value,
        Some(_) => Takes::Maybe,
    })
}

fn entry_takes_file(options: &str, name: &str) -> bool {
    entry(options, name).and_then(|entry| entry.get(name.len()..)).is_some_and(|after| after.len() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(options: &str, arguments: &str) -> String {
        let script = crate::classify::ssh::shell::read(&format!("x {arguments}"), 0).unwrap();
        let crate::classify::ssh::shell::Body::Simple(simple) = &script.items[0].first.commands[0].body else { panic!("{arguments}") };
        let shown = |word: &Word| word.text().unwrap_or("?").to_owned();
        match read(options, &simple.words[1..]) {
            Err(why) => format!("refused: {why}"),
            Ok(given) => {
                let options = given.options.iter().map(|(name, value)| format!("{name}={}", value.as_ref().map(shown).unwrap_or_default()));
                options.chain(given.operands.iter().map(shown)).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn options_are_told_from_operands_as_the_list_says() {
        for (options, arguments, expected) in [
            ("-r -f", "-rf a b", "-r= -f= a b"),
            ("-n: -v", "-vn5 a -n 6", "-v= -n=5 -n=6 a"),
            ("-i? -e:", "-i.bak -i -e x y", "-i=.bak -i= -e=x y"),
            ("--lines: --color?", "--lines=5 --lines 6 --color --color=auto a", "--lines=5 --lines=6 --color= --color=auto a"),
            ("-f", "-- -f", "-f"),
            ("-f", "a -f - b", "-f= a - b"),
            (". -u:", "-u x rm -rf", "-u=x rm -rf"),
            ("-#", "-20 a", "a"),
            ("-o:", "-o\"$x\" \"a$x\"", "-o=? ?"),
            ("*", "*.c", "?"),
        ] {
            assert_eq!(told(options, arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn what_the_list_does_not_say_is_refused() {
        for (options, arguments) in [
            ("-r", "-x"),
            ("--all", "--al"),
            ("--all", "--all=x"),
            ("-n:", "-n"),
            ("", "$x"),
            ("", "\"$x\""),
            ("", "*"),
            ("-r", "-r$x"),
            ("--a:", "--$x"),
            ("-#", "-2x"),
            ("-r", "-é"),
            ("", "a$x"),
        ] {
            assert!(told(options, arguments).starts_with("refused"), "{arguments}: {}", told(options, arguments));
        }
    }
}
