//! Lists, pipelines, compound and simple commands. <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_10>

use super::{
    AndOr, Assignment, Body, Command, Join, MAX_DEPTH, Piece, Pipeline, Redirect, RedirectKind, Refused, Script, Simple, Word, heredocs::Pending,
    words::whole_variable,
};
use crate::classify::ssh::variables::is_name;

/// Words that some shell reads as more than the name of a command.
const RESERVED: &[&str] = &[
    "!",
    "{",
    "}",
    "if",
    "then",
    "elif",
    "else",
    "fi",
    "while",
    "until",
    "for",
    "do",
    "done",
    "case",
    "esac",
    "in",
    "select",
    "function",
    "coproc",
    "repeat",
    "foreach",
    "end",
    "nocorrect",
    "noglob",
    "[[",
    "]]",
    "((",
    "always",
    "namespace",
];

/// Reads one text from its beginning to its end.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Documents whose bodies come after the line's end.
    pub(super) pending: Vec<Pending>,
    /// Some of it, or of what it stands in, sets what fields are separated by.
    pub(super) own_separators: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, depth: usize) -> Self {
        Self { text, at: 0, depth, pending: vec![], own_separators: text.contains("IFS") }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The next character, if it is this one.
    pub(super) fn take(&mut self, token: &str) -> bool {
        let there = self.rest().starts_with(token);
        if there {
            self.at += token.len();
        }
        there
    }

    /// One level deeper.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Refused>) -> Result<T, Refused> {
        if self.depth >= MAX_DEPTH {
            return Err("it is nested too deeply");
        }
        self.depth += 1;
        let out = read(self);
        self.depth -= 1;
        out
    }

    /// Nothing may be left.
    pub(super) fn finish(&mut self) -> Result<(), Refused> {
        match (self.rest(), self.pending.is_empty()) {
            ("", true) => Ok(()),
            ("", false) => Err("a document in it does not end"),
            _ => Err("it is not a whole command"),
        }
    }

    /// Commands up to one of these words, a closing parenthesis, `;;` or the end.
    pub(super) fn script(&mut self, ends: &[&str]) -> Result<Script, Refused> {
        let mut script = Script::default();
        loop {
            self.newlines()?;
            let ended =
                matches!(self.peek(), None | Some(')')) || self.rest().starts_with(";;") || self.reserved().is_some_and(|word| ends.contains(&word));
            if ended {
                return Ok(script);
            }
            let mut item = self.and_or()?;
            item.background = self.ends_item()?;
            script.items.push(item);
        }
    }

    /// What separates a command from the next: whether it is `&`.
    fn ends_item(&mut self) -> Result<bool, Refused> {
        self.blanks()?;
        if self.rest().starts_with(";;") || matches!(self.peek(), None | Some(')' | '\n')) {
            return Ok(false);
        }
        let background = self.take("&");
        if !background && !self.take(";") {
            return Err("it is not a whole command");
        }
        self.no_continuation()?;
        if matches!(self.peek(), Some('|' | '!')) || (background && self.peek() == Some(';') && !self.rest().starts_with(";;")) {
            return Err("shells read it differently");
        }
        Ok(background)
    }

    fn and_or(&mut self) -> Result<AndOr, Refused> {
        let mut item = AndOr { first: self.pipeline()?, rest: vec![], background: false };
        loop {
            self.blanks()?;
            let join = if self.take("&&") {
                Join::And
            } else if self.take("||") {
                Join::Or
            } else {
                return Ok(item);
            };
            self.newlines()?;
            item.rest.push((join, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, Refused> {
        self.blanks()?;
        let negated = self.reserved() == Some("!");
        if negated {
            self.at += 1;
            self.blanks()?;
        }
        let mut pipeline = Pipeline { negated, commands: vec![self.command()?] };
        loop {
            self.blanks()?;
            if self.rest().starts_with("||") || !self.take("|") {
                return Ok(pipeline);
            }
            self.take("&");
            self.no_continuation()?;
            self.newlines()?;
            pipeline.commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Result<Command, Refused> {
        self.deeper(|reader| {
            let body = reader.body()?;
            let mut redirects = vec![];
            let body = match body {
                Some(body) => body,
                None => Body::Simple(reader.simple(&mut redirects)?),
            };
            reader.blanks()?;
            while let Some(redirect) = reader.redirect()? {
                redirects.push(redirect);
                reader.blanks()?;
            }
            Ok(Command { body, redirects })
        })
    }

    /// A compound command, if there is one here.
    fn body(&mut self) -> Result<Option<Body>, Refused> {
        if self.rest().starts_with("((") {
            return Err("it computes, which can run code");
        }
        if self.take("(") {
            self.no_continuation()?;
            let script = self.script(&[])?;
            self.closes(")")?;
            return Ok(Some(Body::Subshell(not_empty(script)?)));
        }
        let Some(word) = self.reserved() else { return Ok(None) };
        let read = match word {
            "{" => Self::group,
            "if" => Self::conditional,
            "while" | "until" => Self::repeated,
            "for" => Self::for_each,
            "case" => Self::case,
            "[[" => return Ok(None),
            _ => return Err("it has a word that shells read differently"),
        };
        self.at += word.len();
        read(self).map(Some)
    }

    fn group(&mut self) -> Result<Body, Refused> {
        self.block(&["}"], "}").map(Body::Group)
    }

    fn conditional(&mut self) -> Result<Body, Refused> {
        let mut branches = vec![];
        let mut otherwise = None;
        loop {
            let condition = self.block(&["then"], "then")?;
            let then = not_empty(self.script(&["elif", "else", "fi"])?)?;
            branches.push((condition, then));
            if self.keyword("elif") {
                continue;
            }
            if self.keyword("else") {
                otherwise = Some(not_empty(self.script(&["fi"])?)?);
            }
            self.expect_keyword("fi")?;
            return Ok(Body::If(branches, otherwise));
        }
    }

    fn repeated(&mut self) -> Result<Body, Refused> {
        let condition = self.block(&["do"], "do")?;
        Ok(Body::Loop(condition, self.block(&["done"], "done")?))
    }

    fn for_each(&mut self) -> Result<Body, Refused> {
        self.blanks()?;
        let name = self.word()?;
        let name = name.text().filter(|name| !name.is_empty() && is_name(name)).ok_or("a loop has no plain variable")?.to_owned();
        self.newlines()?;
        let mut words = vec![];
        if self.keyword("in") {
            self.blanks()?;
            while !matches!(self.peek(), None | Some(';' | '\n')) {
                words.push(self.argument()?);
                self.blanks()?;
            }
        } else {
            words.push(Word::dynamic());
        }
        self.take(";");
        self.newlines()?;
        self.expect_keyword("do")?;
        Ok(Body::For(name, words, self.block(&["done"], "done")?))
    }

    fn case(&mut self) -> Result<Body, Refused> {
        self.blanks()?;
        let word = self.argument()?;
        self.newlines()?;
        self.expect_keyword("in")?;
        let mut arms = vec![];
        loop {
            self.newlines()?;
            if self.keyword("esac") {
                return Ok(Body::Case(word, arms));
            }
            arms.push(self.arm()?);
        }
    }

    fn arm(&mut self) -> Result<(Vec<Word>, Script), Refused> {
        self.take("(");
        let mut patterns = vec![];
        loop {
            self.blanks()?;
            patterns.push(self.word()?);
            self.blanks()?;
            if !self.take("|") {
                break;
            }
        }
        self.closes(")")?;
        let script = self.script(&["esac"])?;
        if self.rest().starts_with(";;&") {
            return Err("shells read it differently");
        }
        if !self.take(";;") && self.reserved() != Some("esac") {
            return Err("it is not a whole command");
        }
        Ok((patterns, script))
    }

    /// Commands, and the word that ends them.
    fn block(&mut self, ends: &[&str], end: &str) -> Result<Script, Refused> {
        let script = not_empty(self.script(ends)?)?;
        self.expect_keyword(end)?;
        Ok(script)
    }

    fn closes(&mut self, end: &str) -> Result<(), Refused> {
        if !self.pending.is_empty() {
            return Err("a document in it does not end");
        }
        if self.take(end) { Ok(()) } else { Err("it is not a whole command") }
    }

    fn expect_keyword(&mut self, word: &str) -> Result<(), Refused> {
        if self.keyword(word) { Ok(()) } else { Err("it is not a whole command") }
    }

    fn keyword(&mut self, word: &str) -> bool {
        let there = self.reserved() == Some(word);
        if there {
            self.at += word.len();
        }
        there
    }

    /// The word here, if it is reserved, plain and whole.
    fn reserved(&self) -> Option<&'static str> {
        let rest = self.rest();
        let end = rest.find([' ', '\t', '\n', ';', '&', '|', '<', '>', '(', ')']).unwrap_or(rest.len());
        let word = rest.get(..end)?;
        RESERVED.iter().find(|reserved| **reserved == word).copied()
    }

    fn simple(&mut self, redirects: &mut Vec<Redirect>) -> Result<Simple, Refused> {
        let mut simple = Simple::default();
        if self.reserved() == Some("[[") {
            self.condition(&mut simple)?;
            return Ok(simple);
        }
        loop {
            self.blanks()?;
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            if self.take("&>>") || self.take("&>") {
                simple.may_be_background = true;
                redirects.push(self.file(RedirectKind::Write, false)?);
                continue;
            }
            if matches!(self.peek(), None | Some('\n' | ';' | '&' | '|' | ')')) {
                break;
            }
            if simple.may_be_background {
                return Err("shells read it differently");
            }
            if self.peek() == Some('(') {
                return Err("it defines a function, or shells read it differently");
            }
            self.simple_word(&mut simple)?;
        }
        if simple.words.is_empty() && simple.assignments.is_empty() && redirects.is_empty() {
            return Err("it is not a whole command");
        }
        Ok(simple)
    }

    fn simple_word(&mut self, simple: &mut Simple) -> Result<(), Refused> {
        let assigned = if simple.words.is_empty() { self.assigned() } else { None };
        let begin = self.at;
        let word = self.argument()?;
        if let Some((name, length)) = assigned {
            let raw = self.text.get(begin + length..self.at).unwrap_or_default();
            let variable = whole_variable(raw).map(str::to_owned);
            simple.assignments.push(Assignment { name, value: Word { variable, ..word.without(length) } });
            return Ok(());
        }
        if simple.words.is_empty() && !word.quoted && word.text().is_some_and(|text| RESERVED.contains(&text)) {
            return Err("it has a word that shells read differently");
        }
        simple.words.push(word);
        Ok(())
    }

    /// `[[ … ]]`, as far as it is only words: what shells that do not know it would read, too.
    fn condition(&mut self, simple: &mut Simple) -> Result<(), Refused> {
        loop {
            self.blanks()?;
            if matches!(self.peek(), None | Some('\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')')) {
                return Err("it has a condition that is not understood");
            }
            let ends = self.reserved() == Some("]]");
            simple.words.push(self.word()?);
            if ends {
                return Ok(());
            }
        }
    }

    /// The name that the word here sets, and how long what comes before its value is.
    fn assigned(&self) -> Option<(String, usize)> {
        let rest = self.rest();
        let (name, value) = rest.split_at(rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count());
        let sign = ["=", "+="].into_iter().find(|sign| value.starts_with(sign))?;
        is_name(name).then(|| (name.to_owned(), name.len() + sign.len()))
    }

    /// A word that is no brace: alone it ends a group to zsh.
    fn argument(&mut self) -> Result<Word, Refused> {
        let word = self.word()?;
        if !word.quoted && matches!(word.text(), Some("{" | "}")) {
            return Err("it has a brace that shells read differently");
        }
        Ok(word)
    }

    /// A redirection, if there is one here.
    fn redirect(&mut self) -> Result<Option<Redirect>, Refused> {
        let rest = self.rest();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = rest.get(digits..).unwrap_or_default();
        if !after.starts_with(['<', '>']) || after.starts_with("<(") || after.starts_with(">(") {
            return Ok(None);
        }
        if digits > 1 {
            return Err("shells read it differently");
        }
        let descriptor = rest.get(..digits).unwrap_or_default().to_owned();
        self.at += digits;
        self.redirected(&descriptor).map(Some)
    }

    fn redirected(&mut self, descriptor: &str) -> Result<Redirect, Refused> {
        let input = descriptor == "0" || descriptor.is_empty();
        for (operator, kind) in [(">>", RedirectKind::Write), (">|", RedirectKind::Write), ("<>", RedirectKind::ReadWrite)] {
            if self.take(operator) {
                return self.file(kind, input && kind == RedirectKind::ReadWrite);
            }
        }
        if self.take("<<<") {
            return self.file(RedirectKind::Text, input);
        }
        if self.take("<<-") {
            return self.document(input, true);
        }
        if self.take("<<") {
            return self.document(input, false);
        }
        if self.take(">&") || self.take("<&") {
            return self.duplicate(input);
        }
        if self.take("<") {
            return self.file(RedirectKind::Read, input);
        }
        self.at += 1;
        self.file(RedirectKind::Write, false)
    }

    fn file(&mut self, kind: RedirectKind, input: bool) -> Result<Redirect, Refused> {
        self.no_continuation()?;
        if matches!(self.peek(), Some('!' | '&' | '|')) {
            return Err("shells read it differently");
        }
        self.blanks()?;
        Ok(Redirect { kind, input, target: self.argument()?, document: None })
    }

    fn duplicate(&mut self, input: bool) -> Result<Redirect, Refused> {
        let from_input = self.text.as_bytes().get(self.at.wrapping_sub(2)) == Some(&b'<');
        let redirect = self.file(RedirectKind::Duplicate, input && from_input)?;
        let descriptor =
            redirect.target.text().map(|text| text.strip_suffix('-').unwrap_or(text)).map(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match descriptor {
            Some(true) => Ok(redirect),
            // bash expands what is in quotes here once more: `>&'$(rm x)'` runs it.
            Some(false) if !from_input && !redirect.target.quoted => Ok(Redirect { kind: RedirectKind::Write, ..redirect }),
            _ => Err("shells read it differently"),
        }
    }

    /// Blanks, continued lines and a comment.
    pub(super) fn blanks(&mut self) -> Result<(), Refused> {
        while self.take(" ") || self.take("\t") || self.take("\\\n") {}
        if self.peek() == Some('#') {
            let rest = self.rest();
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
        Ok(())
    }

    /// As [`Reader::blanks`], and ends of lines, with the documents that begin after them.
    pub(super) fn newlines(&mut self) -> Result<(), Refused> {
        loop {
            self.blanks()?;
            if !self.take("\n") {
                return Ok(());
            }
            self.documents()?;
        }
    }

    /// An operator that is continued on the next line is one that nobody writes.
    pub(super) fn no_continuation(&self) -> Result<(), Refused> {
        if self.rest().starts_with("\\\n") { Err("an operator is broken over two lines") } else { Ok(()) }
    }
}

fn not_empty(script: Script) -> Result<Script, Refused> {
    if script.items.is_empty() { Err("it is not a whole command") } else { Ok(script) }
}

/// Whether a word is one that some shell does not take for the name of a program.
pub(in crate::classify::ssh) fn is_reserved(word: &Word) -> bool {
    !word.quoted && word.text().is_some_and(|text| RESERVED.contains(&text)) || word.braces && matches!(word.pieces.as_slice(), [Piece::Text(_)])
}
