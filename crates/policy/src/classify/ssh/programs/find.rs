//! `find`: where it begins, and what it does with what it finds.

use model::Action::{Destroy, Read, Write};

use super::{Call, Walk};
use crate::classify::ssh::{
    command::{After, Input},
    shell::{Piece, Word},
};

/// Tests and options without a value.
const FLAGS: &[&str] = &[
    "(",
    ")",
    "!",
    ",",
    "-a",
    "-and",
    "-o",
    "-or",
    "-not",
    "-true",
    "-false",
    "-daystart",
    "-depth",
    "-d",
    "-empty",
    "-executable",
    "-follow",
    "-ignore_readdir_race",
    "-ls",
    "-mount",
    "-nogroup",
    "-noleaf",
    "-nouser",
    "-print",
    "-print0",
    "-prune",
    "-quit",
    "-readable",
    "-warn",
    "-nowarn",
    "-writable",
    "-xdev",
];

/// Tests and options with a value.
const VALUED: &[&str] = &[
    "-amin",
    "-anewer",
    "-atime",
    "-cmin",
    "-cnewer",
    "-context",
    "-ctime",
    "-fstype",
    "-gid",
    "-group",
    "-ilname",
    "-iname",
    "-inum",
    "-ipath",
    "-iregex",
    "-iwholename",
    "-links",
    "-lname",
    "-maxdepth",
    "-mindepth",
    "-mmin",
    "-mtime",
    "-name",
    "-newer",
    "-newermt",
    "-newerct",
    "-path",
    "-perm",
    "-printf",
    "-regex",
    "-regextype",
    "-samefile",
    "-size",
    "-type",
    "-uid",
    "-used",
    "-user",
    "-wholename",
    "-xtype",
];

pub(super) fn find(walk: &mut Walk<'_>, call: &Call<'_>) -> After {
    let mut words = call.arguments;
    while let Some((word, rest)) = words.split_first()
        && word.text().is_some_and(|text| matches!(text, "-H" | "-L" | "-P"))
    {
        words = rest;
    }
    let is_start = |word: &Word| !word.start().starts_with(['-', '(', '!']) && !matches!(word.pieces.first(), Some(Piece::Dynamic | Piece::Glob));
    let count = words.iter().take_while(|word| is_start(word)).count();
    let (starts, expression) = words.split_at_checked(count).unwrap_or((words, &[]));
    let here = [Word::of(".")];
    let starts = if starts.is_empty() { &here } else { starts };
    starts.iter().for_each(|start| walk.touch(start, &[Read]));
    if let Err(why) = walk.expression(starts, expression) {
        walk.found.doubt(why);
    }
    walk.stays()
}

impl Walk<'_> {
    fn expression(&mut self, starts: &[Word], expression: &[Word]) -> Result<(), &'static str> {
        let mut rest = expression.iter();
        while let Some(word) = rest.next() {
            match word.text().ok_or("what it does with what it finds is not known")? {
                "-delete" => starts.iter().for_each(|start| self.touch(start, &[Destroy])),
                "-fprint" | "-fprint0" | "-fls" => self.touch(rest.next().ok_or("an option has no value")?, &[Write]),
                "-fprintf" => {
                    self.touch(rest.next().ok_or("an option has no value")?, &[Write]);
                    rest.next();
                }
                "-exec" | "-execdir" | "-ok" | "-okdir" => {
                    let given = rest.as_slice();
                    let count =
                        given.iter().position(|word| matches!(word.text(), Some(";" | "+"))).ok_or("where a program in it ends is not known")?;
                    let program = given.get(..count).unwrap_or_default();
                    rest = given.get(count + 1..).unwrap_or_default().iter();
                    starts.iter().for_each(|start| self.found_by(start, program));
                }
                flag if FLAGS.contains(&flag) => {}
                // Its value decides what is found, and not what is done with it.
                valued if VALUED.contains(&valued) => drop(rest.next()),
                _ => return Err("an option in it is not known"),
            }
        }
        Ok(())
    }

    /// A program is run on what is found below a directory.
    fn found_by(&mut self, start: &Word, program: &[Word]) {
        let words: Vec<Word> = program.iter().map(|word| filled(word, start)).collect();
        self.apart(|walk| walk.program(&words, Input::Unknown));
    }
}

/// A word with something below a directory in the place of `{}`.
fn filled(word: &Word, start: &Word) -> Word {
    let has_place = word.pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains("{}")));
    if !has_place {
        return word.clone();
    }
    // Before it stands something else: whatever that makes of a path, it is not known.
    let Some(after) = word.text().and_then(|text| text.strip_prefix("{}")).filter(|after| !after.contains("{}")) else { return Word::dynamic() };
    let mut filled = Word { quoted: true, ..start.clone() };
    filled.push(Piece::Text("/".to_owned()));
    filled.push(Piece::Glob);
    filled.push(Piece::Text(after.to_owned()));
    filled
}
