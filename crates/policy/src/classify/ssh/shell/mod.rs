//! Commands as a shell reads them.
//!
//! A reader of its own and not somebody's parser of bash: which shell will read the text is not known, so it accepts only what `sh` in its kinds, bash and
//! zsh read alike, and refuses the rest by name. What bash and dash run of it is what it says (`tests/shells.rs`). It reads every byte once, never goes back, and is as deep at most as [`MAX_DEPTH`].

mod commands;
mod heredocs;
mod words;

use std::{cell::OnceCell, rc::Rc};

use commands::Reader;
pub(super) use commands::is_reserved;

/// How deep commands may be nested in one another: substitutions, groups, quotes in expansions, and texts that are read as commands again.
pub(super) const MAX_DEPTH: usize = 64;

/// Why a text is not read.
pub(super) type Refused = &'static str;

/// Commands one after another.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) items: Vec<AndOr>,
}

/// Pipelines joined by `&&` and `||`.
#[derive(Debug)]
pub(super) struct AndOr {
    pub(super) first: Pipeline,
    pub(super) rest: Vec<(Join, Pipeline)>,
    /// `&`: it runs beside what follows.
    pub(super) background: bool,
}

/// When the next pipeline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// When the one before succeeded.
    And,
    /// When it failed.
    Or,
}

/// Commands whose output is the next one's input.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// `!`: success and failure change places.
    pub(super) negated: bool,
    pub(super) commands: Vec<Command>,
}

/// One command and where its input and output go.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) body: Body,
    pub(super) redirects: Vec<Redirect>,
}

#[derive(Debug)]
pub(super) enum Body {
    Simple(Simple),
    /// `{ …; }`
    Group(Script),
    /// `( … )`
    Subshell(Script),
    /// Conditions with what runs when they hold, and what runs otherwise.
    If(Vec<(Script, Script)>, Option<Script>),
    /// `while` and `until`: the condition and the body.
    Loop(Script, Script),
    /// `for`: the variable, the words and the body.
    For(String, Vec<Word>, Script),
    /// `case`: the word, and each arm's patterns and commands.
    Case(Word, Vec<(Vec<Word>, Script)>),
}

/// A command of words.
#[derive(Debug, Default)]
pub(super) struct Simple {
    /// Variables that are set before it.
    pub(super) assignments: Vec<Assignment>,
    pub(super) words: Vec<Word>,
    /// `&>`: some shells take what is before it for a command in the background.
    pub(super) may_be_background: bool,
}

#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: Word,
}

#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) kind: RedirectKind,
    /// Whether it is what the command reads: descriptor 0.
    pub(super) input: bool,
    pub(super) target: Word,
    /// The text of a document, which comes after the line.
    pub(super) document: Option<Rc<OnceCell<Word>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RedirectKind {
    Read,
    Write,
    ReadWrite,
    /// Another descriptor, or none.
    Duplicate,
    /// The target is the text itself.
    Text,
}

/// A word as it was written, with what has to run before it is known.
#[derive(Debug, Default, Clone)]
pub(super) struct Word {
    pub(super) pieces: Vec<Piece>,
    /// Substitutions in it, in order.
    pub(super) runs: Vec<Rc<Script>>,
    /// Some of it was quoted.
    pub(super) quoted: bool,
    /// It has a brace that is not quoted.
    pub(super) braces: bool,
    /// All of it is the value of this variable, or of this parameter of one sign.
    pub(super) variable: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// These characters.
    Text(String),
    /// The home directory.
    Home,
    /// `*`, `?` or `[`: names of files will stand here.
    Glob,
    /// What stands here is known when it runs, or differs among shells.
    Dynamic,
}

impl Word {
    /// A word that is exactly this text.
    pub(super) fn of(text: &str) -> Self {
        Self { pieces: vec![Piece::Text(text.to_owned())], quoted: true, ..Self::default() }
    }

    /// A word of which nothing is known.
    pub(super) fn dynamic() -> Self {
        Self { pieces: vec![Piece::Dynamic], ..Self::default() }
    }

    /// What it is, where that is certain.
    pub(super) fn text(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The characters it certainly begins with.
    pub(super) fn start(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether it can be told that it is one word, and which files it can mean.
    pub(super) fn is_dynamic(&self) -> bool {
        self.pieces.contains(&Piece::Dynamic)
    }

    /// More of it.
    pub(super) fn push(&mut self, piece: Piece) {
        match (self.pieces.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, Piece::Text(text)) if text.is_empty() => {}
            (_, piece) => self.pieces.push(piece),
        }
    }

    /// What is left of it without so many bytes of the text it begins with.
    pub(super) fn without(&self, bytes: usize) -> Self {
        let mut word = Self { pieces: vec![], variable: None, ..self.clone() };
        let mut pieces = self.pieces.iter();
        if let Some(Piece::Text(text)) = pieces.next() {
            word.push(Piece::Text(text.get(bytes..).unwrap_or_default().to_owned()));
        }
        pieces.for_each(|piece| word.push(piece.clone()));
        word
    }
}

/// Reads a text, which stands so deep in others already.
pub(super) fn read(text: &str, depth: usize) -> Result<Script, Refused> {
    if text.contains('\0') {
        return Err("it has a NUL in it");
    }
    let mut reader = Reader::new(text, depth);
    let script = reader.script(&[])?;
    reader.finish()?;
    Ok(script)
}

#[cfg(test)]
mod tests;
