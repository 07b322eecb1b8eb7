//! Programs that run the program they are given.

use model::Action;

use super::{
    Call, Walk,
    builtins::joined,
    options::{self, Given},
};
use crate::classify::ssh::{
    command::{After, Input},
    paths::Places,
    shell::{Piece, Word},
    variables::{self, is_name},
};

const SUDO: &str = ". -A -b -B -E -H -i -k -K -l -n -P -S -s -v -V -C: -D: -g: -p: -r: -t: -T: -u: -U: --background --chdir: --group: --list --login --non-interactive --preserve-env? --prompt: --remove-timestamp --reset-timestamp --set-home --shell --stdin --user: --validate --version";

/// Another's rights: what follows has its own home directory.
pub(super) fn sudo(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    walk.does(call, Action::Privilege);
    let Some(given) = walk.given(call, SUDO) else { return walk.stays() };
    let only_looks = given.has(&["-l", "-v", "-k", "-K", "-V", "--list", "--validate", "--remove-timestamp", "--reset-timestamp", "--version"]);
    walk.apart(|walk| {
        walk.keeps_home = false;
        if given.has(&["-i", "--login"]) {
            walk.places = Places::unknown();
        }
        moved(walk, &given, &["-D", "--chdir"]);
        let program = assigned(walk, &given.operands);
        if program.is_empty() && !only_looks { typed(walk, call.input) } else { walk.program(program, call.input) }
    })
}

pub(super) fn doas(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    walk.does(call, Action::Privilege);
    let Some(given) = walk.given(call, ". -u: -n -L -s") else { return walk.stays() };
    walk.apart(|walk| {
        walk.keeps_home = false;
        if given.operands.is_empty() && !given.has(&["-L"]) { typed(walk, call.input) } else { walk.program(&given.operands, call.input) }
    })
}

pub(super) fn su(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    walk.does(call, Action::Privilege);
    let options = "-c: -l -m -p -P -g: -G: -u: -s: --command: --login --preserve-environment --pty --user: --shell:";
    // With a user for an option, what follows is a program.
    let as_user = call.base == "runuser" && options::read(options, call.arguments).is_ok_and(|given| given.has(&["-u", "--user"]));
    let options = if as_user { ". -u: -g: -G: --user:" } else { options };
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    let dash = given.operands.first().and_then(Word::text) == Some("-");
    let users = given.operands.get(usize::from(dash)..).unwrap_or_default();
    let known_shell =
        given.values(&["-s", "--shell"]).all(|shell| shell.text().is_some_and(|shell| ["/bin/sh", "/bin/bash", "/bin/dash"].contains(&shell)));
    walk.apart(|walk| {
        walk.keeps_home = false;
        if as_user {
            return walk.program(&given.operands, call.input);
        }
        if dash || given.has(&["-l", "--login"]) {
            walk.places = Places::unknown();
        }
        let texts: Vec<_> = given.values(&["-c", "--command"]).collect();
        match texts.as_slice() {
            _ if users.len() > 1 || !known_shell => walk.doubted("an argument in it is not known"),
            [] => typed(walk, call.input),
            [text] => match text.text() {
                Some(text) => walk.deeper(|walk| walk.text(text, call.input)),
                None => walk.doubted("the code it runs is known only when it does"),
            },
            _ => walk.doubted("it is given several texts to run"),
        }
    })
}

/// Commands that are not in the command itself.
pub(super) fn typed(walk: &mut Walk<'_>, input: Input<'_>) -> After {
    match input {
        Input::Unknown => walk.doubted("the code it runs comes from elsewhere"),
        Input::File(file) => {
            walk.run_file(file);
            walk.stays()
        }
        Input::Text(text) => match text.text() {
            Some(text) => walk.deeper(|walk| walk.text(text, Input::Unknown)),
            None => walk.doubted("the code it runs is known only when it does"),
        },
    }
}

/// Variables that are set for a program, and what is left of the words.
fn assigned<'a>(walk: &mut Walk<'_>, words: &'a [Word]) -> &'a [Word] {
    let mut rest = words;
    while let Some((word, others)) = rest.split_first() {
        let Some((name, _)) = word.start().split_once('=') else { break };
        if !is_name(name) {
            // A function for the shells below it, for one.
            walk.found.doubt("which variable it sets is not known");
        }
        variables::assigned(name, walk.found);
        rest = others;
    }
    rest
}

/// An option says where the program runs.
fn moved(walk: &mut Walk<'_>, given: &Given, names: &[&str]) {
    for word in given.values(names) {
        walk.places = walk.paths(word).map_or_else(|_| Places::unknown(), Places::at);
    }
}

pub(super) fn env(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = ". -i -0 -v -u: -C: --ignore-environment --null --debug --unset: --chdir:";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    walk.apart(|walk| {
        moved(walk, &given, &["-C", "--chdir"]);
        for name in given.values(&["-u", "--unset"]) {
            match name.text() {
                Some(name) => variables::assigned(name, walk.found),
                None => walk.found.doubt("which variable it sets is not known"),
            }
        }
        let dash = given.operands.first().and_then(Word::text) == Some("-");
        if dash || given.has(&["-i", "--ignore-environment"]) {
            walk.keeps_home = false;
        }
        let program = assigned(walk, given.operands.get(usize::from(dash)..).unwrap_or_default());
        walk.program(program, call.input)
    })
}

pub(super) fn nohup(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    after_options(walk, call, ". -c -f -w --ctty --fork --wait", 0)
}

pub(super) fn nice(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    after_options(walk, call, ". -# -n: -c: -t --adjustment: --class: --classdata: --ignore", 0)
}

pub(super) fn timeout(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    after_options(walk, call, ". -k: -s: -v -f -p --kill-after: --signal: --verbose --foreground --preserve-status", 1)
}

/// A program to some shells and a word of its own to others, which set variables after it.
pub(super) fn time(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let Some(given) = walk.given(call, ". -p -v -q -a -f: -o:w") else { return walk.stays() };
    if given.operands.first().is_some_and(|word| word.start().contains('=')) {
        return walk.doubted("it has a word that shells read differently");
    }
    walk.apart(|walk| walk.program(&given.operands, call.input))
}

pub(super) fn stdbuf(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    after_options(walk, call, ". -i: -o: -e: --input: --output: --error:", 0)
}

/// The program follows the options and so many operands.
fn after_options(walk: &mut Walk<'_>, call: &Call<'_>, options: &str, operands: usize) -> After {
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    walk.apart(|walk| walk.program(given.operands.get(operands..).unwrap_or_default(), call.input))
}

pub(super) fn xargs(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options = ". -0 -r -t -p -x -n: -P: -I: -L: -l? -d: -E: -i? -a:r -s: --null --no-run-if-empty --verbose --exit --max-args: --max-procs: --replace? --delimiter: --arg-file:r --max-chars: --max-lines?";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    let replaced: Vec<String> = given
        .options
        .iter()
        .filter(|(name, _)| ["-I", "-i", "--replace"].contains(&name.as_str()))
        .map(|(_, value)| place_of(value.as_ref()))
        .collect();
    let filled = |word: &Word| if contains_any(word, &replaced) { Word::dynamic() } else { word.clone() };
    let mut program: Vec<Word> = given.operands.iter().map(filled).collect();
    if program.is_empty() {
        return walk.stays();
    }
    program.push(Word::dynamic());
    walk.apart(|walk| walk.program(&program, Input::Unknown))
}

/// What xargs puts arguments in the place of; empty for anything.
fn place_of(value: Option<&Word>) -> String {
    value.map_or("{}", |value| value.text().unwrap_or_default()).to_owned()
}

fn contains_any(word: &Word, places: &[String]) -> bool {
    let in_text = |place: &String| word.pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains(place.as_str())));
    places.iter().any(in_text)
}

pub(super) fn watch(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options =
        ". -n: -d? -t -b -e -g -c -x -p -w --interval: --differences? --no-title --beep --errexit --chgexit --color --exec --precise --no-wrap";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    walk.apart(|walk| match joined(&given.operands) {
        _ if given.has(&["-x", "--exec"]) => walk.program(&given.operands, Input::Unknown),
        Some(text) => walk.deeper(|walk| walk.text(&text, Input::Unknown)),
        None => walk.doubted("the code it runs is known only when it does"),
    })
}

pub(super) fn busybox(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    match call.arguments.first().map(Word::start) {
        None => walk.stays(),
        Some(start) if start.starts_with('-') => walk.doubted("an option in it is not known"),
        Some(_) => walk.apart(|walk| walk.program(call.arguments, call.input)),
    }
}

pub(super) fn flock(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let options =
        ". -s -x -e -n -u -o -F -w: -E: --shared --exclusive --nonblock --unlock --close --no-fork --timeout: --wait: --conflict-exit-code:";
    let Some(given) = walk.given(call, options) else { return walk.stays() };
    let Some((lock, rest)) = given.operands.split_first() else { return walk.stays() };
    walk.touch(lock, &[Action::Write]);
    walk.apart(|walk| match rest {
        [option, text] if option.text() == Some("-c") => match text.text() {
            Some(text) => walk.deeper(|walk| walk.text(text, call.input)),
            None => walk.doubted("the code it runs is known only when it does"),
        },
        program => walk.program(program, call.input),
    })
}
