//! Words: quotes, expansions and substitutions. <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_06>

use std::rc::Rc;

use crate::classify::ssh::variables::is_name;

use super::{AndOr, Body, Command, Piece, Pipeline, Refused, Script, Simple, Word, commands::Reader};

/// Where a piece of a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    None,
    Double,
    /// The body of a document: quotes mean nothing in it.
    Document,
}

impl Reader<'_> {
    /// The word here. There must be one.
    pub(super) fn word(&mut self) -> Result<Word, Refused> {
        let (begin, mut word) = (self.at, Word::default());
        if self.peek() == Some('~') {
            self.tilde(&mut word);
        }
        let mut before = None;
        while let Some(c) = self.peek() {
            if matches!(c, ' ' | '\t' | '\n' | ';' | '&' | '|' | ')') {
                break;
            }
            if matches!(c, '<' | '>') {
                if !self.substituted_process(&mut word, begin)? {
                    break;
                }
                continue;
            }
            self.plain(c, before, &mut word)?;
            before = Some(c);
        }
        if self.at == begin {
            return Err("it is not a whole command");
        }
        self.word_as_a_whole(begin, &mut word);
        Ok(word)
    }

    /// What can be told of a word only when all of it is there.
    fn word_as_a_whole(&self, begin: usize, word: &mut Word) {
        let raw = self.text.get(begin..self.at).unwrap_or_default();
        // zsh puts a program's path in the place of `=name`.
        if raw.starts_with('=') && raw.len() > 1 {
            word.push(Piece::Dynamic);
        }
        // `[` alone is a program, and so is `[[` to some.
        if matches!(raw, "[" | "[[") {
            word.pieces = vec![Piece::Text(raw.to_owned())];
        }
        word.variable = whole_variable(raw).map(str::to_owned);
    }

    /// One character outside quotes, or what begins with it.
    fn plain(&mut self, c: char, before: Option<char>, word: &mut Word) -> Result<(), Refused> {
        match c {
            '\\' => self.escaped(word)?,
            '\'' => self.single_quoted(word)?,
            '"' => self.double_quoted(word)?,
            '$' => self.dollar(Quotes::None, word)?,
            '`' => self.backquoted(Quotes::None, word)?,
            '(' => return Err("it defines a function, or shells read it differently"),
            '*' | '?' | '[' => {
                self.at += 1;
                word.push(Piece::Glob);
            }
            '~' if matches!(before, Some('=' | ':')) => {
                self.at += 1;
                word.push(Piece::Dynamic);
            }
            '{' | '}' => {
                self.at += 1;
                word.braces = true;
                word.push(Piece::Text(c.to_string()));
            }
            ',' if word.braces => self.brace_list(word),
            '.' if word.braces && before == Some('.') => self.brace_list(word),
            c if c.is_control() || (!c.is_ascii() && c.is_whitespace()) => return Err("it has a character that shells read differently"),
            c => {
                self.at += c.len_utf8();
                word.push(Piece::Text(c.to_string()));
                self.bytes_stay_apart(c)?;
            }
        }
        Ok(())
    }

    /// bash and zsh make several words of `{a,b}` and `{1..3}`, other shells one.
    fn brace_list(&mut self, word: &mut Word) {
        self.at += 1;
        word.push(Piece::Dynamic);
    }

    /// In some encodings a character beyond ASCII would swallow the backslash or backquote after it.
    fn bytes_stay_apart(&self, c: char) -> Result<(), Refused> {
        if !c.is_ascii() && matches!(self.peek(), Some('\\' | '`')) { Err("it has a character that shells read differently") } else { Ok(()) }
    }

    fn tilde(&mut self, word: &mut Word) {
        self.at += 1;
        let alone = matches!(self.peek(), None | Some('/' | ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')'));
        word.push(if alone { Piece::Home } else { Piece::Dynamic });
    }

    fn escaped(&mut self, word: &mut Word) -> Result<(), Refused> {
        self.at += 1;
        match self.peek() {
            None => Err("a backslash ends it"),
            Some('\n') => {
                self.at += 1;
                if matches!(self.peek(), None | Some(' ' | '\t' | '\n')) { Ok(()) } else { Err("a word is broken over two lines") }
            }
            Some(c) => {
                self.at += c.len_utf8();
                word.quoted = true;
                word.push(Piece::Text(c.to_string()));
                self.bytes_stay_apart(c)
            }
        }
    }

    fn single_quoted(&mut self, word: &mut Word) -> Result<(), Refused> {
        self.at += 1;
        let rest = self.rest();
        let end = rest.find('\'').ok_or("a quote does not end")?;
        let text = rest.get(..end).unwrap_or_default();
        self.no_documents_across(text)?;
        self.at += end + 1;
        word.quoted = true;
        word.push(Piece::Text(text.to_owned()));
        Ok(())
    }

    fn double_quoted(&mut self, word: &mut Word) -> Result<(), Refused> {
        let begin = self.at;
        self.at += 1;
        word.quoted = true;
        loop {
            match self.peek() {
                None => return Err("a quote does not end"),
                Some('"') => {
                    self.at += 1;
                    return self.no_documents_across(self.text.get(begin..self.at).unwrap_or_default());
                }
                Some(c) => self.within_quotes(c, Quotes::Double, word)?,
            }
        }
    }

    /// One character within double quotes or a document, or what begins with it.
    pub(super) fn within_quotes(&mut self, c: char, quotes: Quotes, word: &mut Word) -> Result<(), Refused> {
        match c {
            '$' => self.dollar(quotes, word),
            '`' => self.backquoted(quotes, word),
            '\\' => {
                self.at += 1;
                match self.peek() {
                    Some('\n') => self.at += 1,
                    Some(c) if matches!(c, '$' | '`' | '\\') || (c == '"' && quotes == Quotes::Double) => {
                        self.at += 1;
                        word.push(Piece::Text(c.to_string()));
                    }
                    _ => word.push(Piece::Text("\\".to_owned())),
                }
                Ok(())
            }
            c => {
                self.at += c.len_utf8();
                word.push(Piece::Text(c.to_string()));
                self.bytes_stay_apart(c)
            }
        }
    }

    /// A line's end in the middle of a word, while documents wait for the line's end: shells differ in which one they take.
    fn no_documents_across(&self, text: &str) -> Result<(), Refused> {
        if self.pending.is_empty() || !text.contains('\n') { Ok(()) } else { Err("shells read it differently") }
    }

    /// `$` and what it makes of what follows.
    fn dollar(&mut self, quotes: Quotes, word: &mut Word) -> Result<(), Refused> {
        self.at += 1;
        self.no_continuation()?;
        match self.peek() {
            Some('(') if self.rest().starts_with("((") => self.computed(word),
            Some('(') => {
                self.at += 1;
                let script = self.substituted()?;
                self.substitute(script, quotes, word);
                Ok(())
            }
            Some('[') => Err("it computes, which can run code"),
            Some('{') => {
                self.at += 1;
                self.deeper(|reader| reader.parameter(quotes, word))
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.named(quotes, word),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!' | '0'..='9') => {
                self.at += 1;
                word.push(Piece::Dynamic);
                self.no_subscript()
            }
            None | Some(' ' | '\t' | '\n' | ';' | '&' | '|' | ')' | '/' | ',' | '%') => {
                word.push(Piece::Text("$".to_owned()));
                Ok(())
            }
            Some('"') if quotes == Quotes::Double => {
                word.push(Piece::Text("$".to_owned()));
                Ok(())
            }
            // `$'…'` and `$"…"` are text to some and more to others; what is in them is read as the quotes that they are to those.
            Some('\'' | '"') if quotes == Quotes::None => {
                word.push(Piece::Dynamic);
                self.no_escapes()
            }
            Some(_) if quotes == Quotes::None => Err("it has an expansion that shells read differently"),
            Some(_) => {
                word.push(Piece::Dynamic);
                Ok(())
            }
        }
    }

    /// In `$'…'` a backslash keeps the quote from ending, to those that know it.
    fn no_escapes(&self) -> Result<(), Refused> {
        let rest = self.rest();
        let quoted = rest.get(1..).unwrap_or_default();
        let end = quoted.find('\'').unwrap_or(0);
        let escapes = rest.starts_with('\'') && quoted.get(..end).is_some_and(|quoted| quoted.contains('\\'));
        if escapes { Err("it has a quote that shells read differently") } else { Ok(()) }
    }

    /// `$name`
    fn named(&mut self, quotes: Quotes, word: &mut Word) -> Result<(), Refused> {
        let rest = self.rest();
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        self.at += name.len();
        self.expand(name, quotes, word);
        self.no_subscript()
    }

    /// zsh reads `$name[…]` as an element, and computes which.
    fn no_subscript(&self) -> Result<(), Refused> {
        if self.peek() == Some('[') { Err("it has an expansion that shells read differently") } else { Ok(()) }
    }

    fn expand(&self, name: &str, quotes: Quotes, word: &mut Word) {
        let whole = quotes != Quotes::None || !self.own_separators;
        word.push(if name == "HOME" && whole { Piece::Home } else { Piece::Dynamic });
    }

    /// `${…}` in the forms that only look at a variable.
    fn parameter(&mut self, quotes: Quotes, word: &mut Word) -> Result<(), Refused> {
        const ODD: Refused = "it has an expansion that is not understood";
        let length = self.peek() == Some('#') && !self.rest().starts_with("#}");
        self.at += usize::from(length);
        let rest = self.rest();
        let name = match rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next() {
            Some("") | None => rest.get(..1).filter(|one| "@*#?-$!".contains(one)).ok_or(ODD)?,
            Some(name) => name,
        };
        self.at += name.len();
        if self.take("}") {
            let name = if length { "" } else { name };
            self.expand(name, quotes, word);
            return Ok(());
        }
        let operators = [":-", ":+", ":?", "-", "+", "?", "%%", "%", "##", "#"];
        if length || !operators.into_iter().any(|operator| self.take(operator)) {
            return Err(ODD);
        }
        word.push(Piece::Dynamic);
        self.alternative(quotes, word)
    }

    /// The word or pattern in `${name:-word}`. Quotes in it are read differently by many shells.
    fn alternative(&mut self, quotes: Quotes, word: &mut Word) -> Result<(), Refused> {
        let mut inner = Word::default();
        loop {
            match self.peek() {
                Some('}') => {
                    self.at += 1;
                    word.runs.extend(inner.runs);
                    return Ok(());
                }
                Some('$') => self.dollar(if quotes == Quotes::None { Quotes::None } else { Quotes::Double }, &mut inner)?,
                Some(c) if c.is_ascii_alphanumeric() || "_-./:@%+,=*?#! ".contains(c) => self.at += 1,
                _ => return Err("it has an expansion that is not understood"),
            }
        }
    }

    /// `$((…))` of numbers: a name in it can be made to run code.
    fn computed(&mut self, word: &mut Word) -> Result<(), Refused> {
        self.at += 2;
        let mut open = 0_usize;
        while let Some(c) = self.peek() {
            match c {
                ')' if open == 0 => {
                    word.push(Piece::Dynamic);
                    return if self.take("))") { Ok(()) } else { Err("shells read it differently") };
                }
                ')' => open -= 1,
                '(' => open += 1,
                c if c.is_ascii_digit() || " +-*/%<>=!&|^~?:,".contains(c) => {}
                _ => break,
            }
            self.at += 1;
        }
        Err("it computes, which can run code")
    }

    /// The commands of `$(…)`, after its beginning.
    fn substituted(&mut self) -> Result<Script, Refused> {
        if !self.pending.is_empty() {
            return Err("shells read it differently");
        }
        self.no_continuation()?;
        self.deeper(|reader| {
            let script = reader.script(&[])?;
            if !reader.pending.is_empty() {
                return Err("a document in it does not end");
            }
            if reader.take(")") { Ok(script) } else { Err("a substitution does not end") }
        })
    }

    /// `<(…)` and `>(…)`, whose place a file's name takes. False if it is a redirection.
    fn substituted_process(&mut self, word: &mut Word, begin: usize) -> Result<bool, Refused> {
        if !self.rest().get(1..).unwrap_or_default().starts_with('(') {
            return Ok(false);
        }
        if self.at != begin {
            return Err("shells read it differently");
        }
        self.at += 2;
        let script = self.substituted()?;
        word.runs.push(Rc::new(script));
        // Which descriptor it is does not matter: it is a file that keeps nothing.
        word.push(Piece::Text("/dev/fd/63".to_owned()));
        Ok(true)
    }

    /// `` `…` ``: a text of its own, once the backslashes that kept it together are taken away.
    fn backquoted(&mut self, quotes: Quotes, word: &mut Word) -> Result<(), Refused> {
        if !self.pending.is_empty() {
            return Err("shells read it differently");
        }
        self.at += 1;
        let mut inner = String::new();
        loop {
            let c = self.peek().ok_or("a substitution does not end")?;
            self.at += c.len_utf8();
            match c {
                '`' => break,
                '"' if quotes == Quotes::Double => return Err("shells read it differently"),
                '\\' => match self.peek() {
                    Some(c) if matches!(c, '$' | '`' | '\\') => {
                        self.at += 1;
                        inner.push(c);
                    }
                    Some('"') if quotes != Quotes::None => return Err("shells read it differently"),
                    _ => inner.push('\\'),
                },
                c => {
                    self.bytes_stay_apart(c)?;
                    inner.push(c);
                }
            }
        }
        let script = self.deeper(|reader| {
            let mut inner = Reader { own_separators: reader.own_separators, ..Reader::new(&inner, reader.depth) };
            let script = inner.script(&[])?;
            inner.finish()?;
            Ok(script)
        })?;
        self.substitute(script, quotes, word);
        Ok(())
    }

    /// What a substitution leaves in the word: where all it does is to print what is known, that.
    fn substitute(&self, script: Script, quotes: Quotes, word: &mut Word) {
        let whole = quotes != Quotes::None || !self.own_separators;
        match printed(&script).filter(|_| whole) {
            Some(pieces) => pieces.into_iter().for_each(|piece| word.push(piece)),
            None => word.push(Piece::Dynamic),
        }
        word.runs.push(Rc::new(script));
    }
}

/// The variable whose value is all of a word: `$name`, `"$name"`, `${name}`, `$?`.
pub(super) fn whole_variable(raw: &str) -> Option<&str> {
    let bare = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or(raw).strip_prefix('$')?;
    let name = bare.strip_prefix('{').and_then(|bare| bare.strip_suffix('}')).unwrap_or(bare);
    (matches!(name, "?" | "#" | "$" | "!") || is_name(name)).then_some(name)
}

/// What `echo` with one plain word prints; none if it is another command, or shells print different things.
fn printed(script: &Script) -> Option<Vec<Piece>> {
    let [AndOr { first: Pipeline { commands, .. }, rest, background: false }] = script.items.as_slice() else { return None };
    let ([Command { body: Body::Simple(simple), redirects }], true) = (commands.as_slice(), rest.is_empty()) else { return None };
    let Simple { assignments, words, .. } = simple;
    let ([name, word], true) = (words.as_slice(), assignments.is_empty() && redirects.is_empty()) else { return None };
    let plain = |piece: &Piece| match piece {
        Piece::Home => true,
        Piece::Text(text) => text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:=@%,".contains(&byte)),
        Piece::Glob | Piece::Dynamic => false,
    };
    let certain = name.text() == Some("echo") && word.pieces.iter().all(plain) && !word.start().starts_with('-');
    certain.then(|| word.pieces.clone())
}
