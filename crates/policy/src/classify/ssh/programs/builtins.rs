//! What shells do themselves.

use super::{Call, Walk, options};
use crate::classify::ssh::{
    command::{After, Input},
    paths::Places,
    shell::Word,
    variables::{self, is_name},
};

const COMPUTES: &str = "it computes, which can run code";
const CODE: &str = "the code it runs is known only when it does";

/// What takes numbers, which zsh and mksh compute.
pub(super) fn count(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    // The letters of `ulimit -n` and the like are options.
    let option = |word: &&Word| {
        word.text()
            .is_some_and(|text| text.len() > 1 && text.strip_prefix('-').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphabetic())))
    };
    let named = |word: &&Word| word.text() == Some("unlimited");
    call.arguments.iter().filter(|word| !option(word) && !named(word)).for_each(|word| variables::computed(word, walk.found));
    walk.stays()
}

/// What comes after it does not run.
pub(super) fn exit(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    call.arguments.iter().for_each(|word| variables::computed(word, walk.found));
    let numeric = |word: &Word| word.text().is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match call.arguments {
        [] => After { success: Places::nowhere(), failure: Places::nowhere() },
        [status] if numeric(status) => After { success: Places::nowhere(), failure: Places::nowhere() },
        _ => walk.stays(),
    }
}

pub(super) fn change_directory(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, "-L -P -e -q -s") else { return walk.doubted("where it goes is not known") };
    let success = match given.operands.as_slice() {
        [] if call.base == "pushd" => Places::unknown(),
        [] => home(walk),
        [word] if word.text() == Some("-") => Places::unknown(),
        [word] => going(walk, word),
        _ => return walk.doubted("where it goes is not known"),
    };
    After { success, failure: walk.places.clone() }
}

fn home(walk: &Walk<'_>) -> Places {
    if walk.at_home { Places::home() } else { Places::unknown() }
}

/// Where a word leads; anywhere if that is not known, which is no harm by itself.
fn going(walk: &Walk<'_>, word: &Word) -> Places {
    let plain = word.pieces.iter().all(|piece| !matches!(piece, crate::classify::ssh::shell::Piece::Glob));
    walk.paths(word).ok().filter(|_| plain).map_or_else(Places::unknown, Places::at)
}

pub(super) fn back(_: &mut Walk<'_>, _: &Call<'_>) -> After {
    After { success: Places::unknown(), failure: Places::unknown() }
}

/// `export NAME=value`
pub(super) fn export(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    for word in call.arguments.iter().filter(|word| word.text() != Some("-p")) {
        let named = word.start().split_once('=').map(|(name, _)| name).or_else(|| word.text());
        match named.map(|name| name.strip_suffix('+').unwrap_or(name)).filter(|name| is_name(name)) {
            Some(name) => variables::assigned(name, walk.found),
            None => walk.found.doubt("which variable it sets is not known"),
        }
    }
    walk.stays()
}

/// `read NAME` and `unset NAME`
pub(super) fn name_variables(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = if call.base == "read" { "-r -s -p: -t: -n: -N: -d: -u:" } else { "-v" };
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    given.values(&["-t", "-n", "-N", "-u"]).for_each(|word| variables::computed(word, walk.found));
    for word in &given.operands {
        match word.text().filter(|name| is_name(name)) {
            Some(name) => variables::assigned(name, walk.found),
            None => walk.found.doubt("which variable it sets is not known"),
        }
    }
    walk.stays()
}

/// Options that change how much is said and when to stop, and the positional parameters.
pub(super) fn set(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const NAMES: &[&str] = &["errexit", "nounset", "pipefail", "xtrace", "verbose", "noclobber", "errtrace", "noexec"];
    let mut words = call.arguments.iter();
    while let Some(word) = words.next() {
        let text = word.text().unwrap_or_default();
        let letters = text.strip_prefix(['-', '+']).unwrap_or_default();
        let known = match text {
            "--" => return walk.stays(),
            _ if letters.ends_with('o') => words.next().and_then(Word::text).is_some_and(|name| NAMES.contains(&name)) && plain(letters),
            _ => !letters.is_empty() && plain(letters),
        };
        if !known {
            return walk.doubted("what comes after it may mean something else");
        }
    }
    walk.stays()
}

fn plain(letters: &str) -> bool {
    letters.chars().all(|letter| "euxvnEbCo".contains(letter))
}

/// What compares numbers.
const NUMBERS: &[&str] = &["-eq", "-ne", "-lt", "-le", "-gt", "-ge"];

/// Whether the one word compares the other, which is a text and no number.
fn compares(two: &[Word], operator: usize, operand: usize) -> bool {
    let text = |index: usize| two.get(index).and_then(Word::text);
    text(operator).is_some_and(|text| NUMBERS.contains(&text)) && text(operand).is_some_and(|text| !variables::is_number(text.trim()))
}

/// `test`, `[` and `[[`. To look at an element of an array, or to compare numbers in `[[`, bash computes, and that can run code.
pub(super) fn test(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    const OPERATORS: &[&str] =
        &["-b", "-c", "-d", "-e", "-f", "-h", "-L", "-n", "-p", "-r", "-s", "-S", "-w", "-x", "-z", "-t", "=", "!=", "-nt", "-ot", "=~"];
    let words = call.arguments;
    let has = |names: &[&str]| words.iter().any(|word| word.text().is_some_and(|text| names.contains(&text)));
    let dynamic = || words.iter().filter(|word| word.is_dynamic());
    // A name is one, too: its value is computed, and what that says.
    if words.windows(2).any(|two| compares(two, 0, 1) || compares(two, 1, 0)) {
        return walk.doubted(COMPUTES);
    }
    let condition = call.base == "[[";
    let brackets = words
        .iter()
        .any(|word| word.text().is_some_and(|text| text.contains('[')) || word.pieces.contains(&crate::classify::ssh::shell::Piece::Glob));
    let computes = if condition { has(NUMBERS) && (dynamic().next().is_some() || brackets) } else { dynamic().any(|word| !word.quoted) };
    let open = dynamic().next().is_some() && !(has(NUMBERS) || has(OPERATORS));
    if has(&["-v", "-R"]) || computes || (open && !condition) || (dynamic().next().is_some() && has(&["-a", "-o", "(", ")"])) {
        return walk.doubted("what it tests is known only when it runs");
    }
    walk.stays()
}

/// With `-v` it sets a variable.
pub(super) fn printf(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let format = call.arguments.first();
    let plain = format.is_some_and(|word| {
        !word.start().starts_with('-') && (word.text().is_some() || !word.start().is_empty() || word.quoted && word.start() != "")
    });
    if plain || format.and_then(Word::text) == Some("--") { walk.stays() } else { walk.doubted("what it prints is known only when it runs") }
}

pub(super) fn trap(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    match call.arguments.split_first() {
        None => walk.stays(),
        Some((code, _)) => match code.text() {
            Some("" | "-" | "-l" | "-p") => walk.stays(),
            Some(text) if !text.starts_with('-') => walk.apart(|walk| {
                // It runs later, wherever that will be.
                walk.places = Places::unknown();
                walk.deeper(|walk| walk.text(text, Input::Unknown))
            }),
            _ => walk.doubted(CODE),
        },
    }
}

pub(super) fn eval(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    match joined(call.arguments) {
        Some(text) => walk.deeper(|walk| walk.text(&text, call.input)),
        None => walk.doubted(CODE),
    }
}

/// Words as one text.
pub(super) fn joined(words: &[Word]) -> Option<String> {
    words.iter().map(Word::text).collect::<Option<Vec<_>>>().map(|texts| texts.join(" "))
}

/// The program takes the shell's place.
pub(super) fn exec(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    if call.arguments.is_empty() {
        return walk.stays();
    }
    if call.arguments.first().is_some_and(|word| word.start().starts_with('-')) {
        return walk.doubted("an option in it is not known");
    }
    let failure = walk.places.clone();
    walk.program(call.arguments, call.input);
    After { success: Places::nowhere(), failure }
}

pub(super) fn command(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    match options::read(". -p -v -V", call.arguments) {
        Err(why) => walk.doubted(why),
        Ok(given) if given.has(&["-v", "-V"]) => walk.stays(),
        Ok(given) => walk.program(&given.operands, call.input),
    }
}

/// A file is read as commands of this shell: what it leaves behind is not known.
pub(super) fn source(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    match call.arguments.first() {
        Some(file) if file.text().is_none_or(|text| text.contains('/')) => walk.run_file(file),
        _ => walk.found.doubt("which file it reads as commands is not known"),
    }
    After { success: Places::unknown(), failure: Places::unknown() }
}
