//! Documents in commands: `<<END`. <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_07_04>

use std::{cell::OnceCell, rc::Rc};

use super::{Redirect, RedirectKind, Refused, Word, commands::Reader, words::Quotes};

/// A document whose body was not reached yet.
#[derive(Debug)]
pub(super) struct Pending {
    end: String,
    /// Nothing in it is expanded.
    literal: bool,
    /// `<<-`: tabs at the beginning of its lines are taken away.
    strips_tabs: bool,
    body: Rc<OnceCell<Word>>,
}

impl Reader<'_> {
    /// A document's beginning: what ends it.
    pub(super) fn document(&mut self, input: bool, strips_tabs: bool) -> Result<Redirect, Refused> {
        self.no_continuation()?;
        self.blanks()?;
        let begin = self.at;
        let word = self.word()?;
        let raw = self.text.get(begin..self.at).unwrap_or_default();
        let end = word.text().filter(|end| !end.contains('\n') && !raw.contains('$')).ok_or("the end of a document is not plain")?.to_owned();
        let body = Rc::new(OnceCell::new());
        self.pending.push(Pending { end, literal: word.quoted, strips_tabs, body: Rc::clone(&body) });
        Ok(Redirect { kind: RedirectKind::Text, input, target: Word::default(), document: Some(body) })
    }

    /// The bodies of the documents that were begun in the line that ended here.
    pub(super) fn documents(&mut self) -> Result<(), Refused> {
        for pending in std::mem::take(&mut self.pending) {
            let text = self.lines_up_to(&pending)?;
            let word = if pending.literal { Word::of(&text) } else { self.deeper(|reader| expanded(&text, reader))? };
            let _ = pending.body.set(word);
        }
        Ok(())
    }

    fn lines_up_to(&mut self, pending: &Pending) -> Result<String, Refused> {
        let mut text = String::new();
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return Err("a document in it does not end");
            }
            let (line, length) = rest.split_once('\n').map_or((rest, rest.len()), |(line, _)| (line, line.len() + 1));
            self.at += length;
            let line = if pending.strips_tabs { line.trim_start_matches('\t') } else { line };
            if line == pending.end {
                return Ok(text);
            }
            if !pending.literal && line.ends_with('\\') {
                return Err("shells read it differently");
            }
            text.push_str(line);
            text.push('\n');
        }
    }
}

/// A document's text with its expansions.
fn expanded(text: &str, outer: &Reader<'_>) -> Result<Word, Refused> {
    let mut reader = Reader { own_separators: outer.own_separators, ..Reader::new(text, outer.depth) };
    let mut word = Word::default();
    while let Some(c) = reader.peek() {
        reader.within_quotes(c, Quotes::Document, &mut word)?;
    }
    Ok(word)
}
