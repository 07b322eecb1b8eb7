//! What programs do with their arguments, as far as that is known.
//!
//! A program that is not listed is `execute` on itself, whatever its arguments. One that is listed is that and what its arguments make it do; an argument
//! that is not listed makes the command unreadable, because it could make it do something else.

mod archives;
mod builtins;
#[cfg(test)]
mod documented;
mod files;
mod find;
mod git;
mod interpreters;
mod network;
mod options;
mod services;
mod table;
mod transfers;
mod wrappers;

use model::{Action, Object};

use self::table::{How, Row};
use super::{
    command::{After, Input, Walk},
    forwards,
    paths::{Place, Untold},
    shell::{self, Piece, Word},
};

/// Directories whose programs are known by their names alone.
const SYSTEM_DIRECTORIES: &[&str] = &["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"];

/// Longest name of a program, in bytes, as long as a file's name may be.
const MAX_NAME_BYTES: usize = 255;

/// A program with its arguments.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    /// As policies know it.
    program: &'a str,
    /// Its name without directory and version.
    base: &'a str,
    /// What comes after its name.
    arguments: &'a [Word],
    input: Input<'a>,
}

impl Walk<'_> {
    /// A program is run with these words.
    pub(super) fn program(&mut self, words: &[Word], input: Input<'_>) -> After {
        if self.spend(words.len()) {
            return self.doubted("it runs too much");
        }
        let Some((name, arguments)) = words.split_first() else { return self.stays() };
        match self.named(name) {
            Err(why) => self.doubted(why),
            Ok(programs) => self.deeper(|walk| walk.known(&programs, arguments, input)),
        }
    }

    /// The names that policies know a program by: where it may run in several directories, several.
    fn named(&self, word: &Word) -> Result<Vec<String>, Untold> {
        if shell::is_reserved(word) {
            return Err("it has a word that shells read differently");
        }
        let names = match word.text() {
            Some("") => return Err("the name of a program is empty"),
            Some(name) if !name.contains('/') => vec![name.to_owned()],
            Some(_) => program_names(&self.paths(word)?)?,
            None if word.pieces.contains(&Piece::Glob) || word.is_dynamic() => return Err("which program it runs is known only when it does"),
            None => program_names(&self.paths(word)?)?,
        };
        if names.iter().any(|name: &String| name.rsplit('/').next().is_none_or(|name| name.len() > MAX_NAME_BYTES)) {
            return Err("the name of a program is too long");
        }
        Ok(names)
    }

    fn known(&mut self, programs: &[String], arguments: &[Word], input: Input<'_>) -> After {
        for program in programs {
            self.found.pair(Action::Execute, program_object(program));
        }
        let Some(program) = programs.first() else { return self.stays() };
        let Some((row, base)) = table::find(program.rsplit('/').next().unwrap_or(program)) else { return self.stays() };
        self.listed(row, &Call { program, base, arguments, input })
    }

    fn listed(&mut self, row: &Row, call: &Call<'_>) -> After {
        match row.how {
            How::Anything => self.stays(),
            How::Refused(why) => self.doubted(why),
            How::Special(read) => read(self, call),
            How::Plain(ref plain) => self.plain(plain, call),
        }
    }

    /// Something is done to the program itself: what it governs has no other name.
    fn does(&mut self, call: &Call<'_>, action: Action) {
        self.found.pair(action, program_object(call.program));
    }

    /// Something is done to what a word names.
    fn touch(&mut self, word: &Word, actions: &[Action]) {
        match self.paths(word) {
            Err(why) => self.found.doubt(why),
            Ok(places) => places.iter().for_each(|place| self.touch_place(place, actions)),
        }
    }

    /// Something is done where the command runs.
    fn touch_here(&mut self, actions: &[Action]) {
        self.touch(&Word::of("."), actions);
    }

    fn touch_place(&mut self, place: &Place, actions: &[Action]) {
        if place.keeps_nothing() && !actions.contains(&Action::Destroy) {
            return;
        }
        for action in actions {
            let action = if *action == Action::Write && place.is_device() { Action::Destroy } else { *action };
            self.found.pair(action, place.object());
        }
    }

    /// The target of a redirection. bash makes connections of some that are no files.
    pub(super) fn redirected(&mut self, word: &Word, actions: &[Action]) {
        let host = word.text().and_then(|path| path.strip_prefix("/dev/tcp/").or_else(|| path.strip_prefix("/dev/udp/")));
        match host.and_then(|host| host.split_once('/')) {
            Some((host, port)) => self.escape(port.parse().ok().and_then(|port| forwards::address(host, port))),
            None => self.touch(word, actions),
        }
    }

    /// It leads to a host; none if which is not understood.
    fn escape(&mut self, host: Option<String>) {
        match host {
            Some(host) => self.found.pair(Action::Escape, Object::Host { host: host.into() }),
            None => {
                self.found.pair(Action::Escape, Object::Connection);
                self.found.doubt("where it leads is not understood");
            }
        }
    }

    /// The files a word names; for a pattern the directory that they are in.
    fn paths(&self, word: &Word) -> Result<Vec<Place>, Untold> {
        if word.is_dynamic() {
            return Err("which file it names is known only when it runs");
        }
        let (at_home, pieces) = match word.pieces.as_slice() {
            [Piece::Home, rest @ ..] => (true, rest),
            pieces => (false, pieces),
        };
        let mut path = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) if text.contains('\0') => return Err("a path has a NUL in it"),
                Piece::Text(text) => path.push_str(text),
                Piece::Glob => path.push('\0'),
                Piece::Home | Piece::Dynamic => return Err("which file it names is known only when it runs"),
            }
        }
        let path = directory_of_pattern(&path)?;
        if at_home {
            let below = path.is_empty() || path.starts_with('/');
            return if below && self.at_home {
                Ok(vec![Place::home().join(path.trim_start_matches('/'))?])
            } else {
                Err("where the home directory is, is not known")
            };
        }
        if path.is_empty() { Err("a path is empty") } else { self.places.join(path) }
    }
}

/// The directory that what a pattern matches is in, where NUL stands for what it leaves open; a path that is no pattern itself.
fn directory_of_pattern(path: &str) -> Result<&str, Untold> {
    let Some(open) = path.find('\0') else { return Ok(path) };
    let begin = path.get(..open).and_then(|before| before.rfind('/')).map_or(0, |slash| slash + 1);
    // `.*` matches the directory above in some shells.
    let climbs = |part: &str| part == ".." || part.starts_with(".\0") || part.starts_with("..\0");
    if path.get(begin..).is_none_or(|rest| rest.split('/').any(climbs)) {
        return Err("a pattern may match the directory above");
    }
    Ok(match path.get(..begin) {
        None | Some("") => ".",
        Some(directory) => directory,
    })
}

/// As [`program_name`]; what is passed on from elsewhere is no program.
fn program_names(places: &[Place]) -> Result<Vec<String>, Untold> {
    if places.iter().any(Place::is_passed_on) { Err("the code it runs comes from elsewhere") } else { Ok(places.iter().map(program_name).collect()) }
}

fn program_name(place: &Place) -> String {
    let path = place.name();
    let known = in_the_system(&path).map(str::to_owned);
    known.unwrap_or(path)
}

/// The name of a program that is looked for, or is in a directory of the system's; none of a file elsewhere, which may be anything.
pub(super) fn in_the_system(program: &str) -> Option<&str> {
    let name = SYSTEM_DIRECTORIES.iter().find_map(|directory| program.strip_prefix(directory)).unwrap_or(program);
    Some(name).filter(|name| !name.contains('/') && !name.is_empty())
}

fn program_object(program: &str) -> Object {
    Object::Program { program: program.into() }
}
