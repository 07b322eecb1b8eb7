//! A small backend: PostgreSQL's main loop (`postgres.c`) over a language of a few words, to be the target and the oracle.

use std::collections::HashMap;

use bytes::{BufMut, BytesMut};

use crate::{
    Side,
    postgres::{
        dialogue::Transaction,
        frame,
        message::{backend, frontend::Frontend},
        refusal::{Refusal, Sqlstate},
        rows,
    },
};

#[derive(Debug, Default)]
pub(super) struct Model {
    input: BytesMut,
    /// What was answered and not flushed.
    kept: BytesMut,
    pub(super) out: BytesMut,
    /// What the gateway would refuse fails here, for the oracle.
    pub(super) refuses: bool,
    pub(super) committed: Vec<String>,
    uncommitted: Vec<String>,
    pub(super) executed: Vec<String>,
    block: Block,
    savepoints: Vec<usize>,
    skip: bool,
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, Portal>,
    copy: Option<bool>,
    pub(super) dead: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    #[default]
    None,
    Open,
    Failed,
}

#[derive(Debug, Clone)]
struct Portal {
    text: String,
    at: usize,
    done: bool,
}

struct Failed;

impl Model {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.dead
            && let Some(head) = frame::head(&self.input, Side::Caller, &frame::Limits::default()).unwrap()
            && self.input.len() >= head.len
        {
            let message = self.input.split_to(head.len);
            self.message(head.tag, &message[5..]);
        }
    }

    pub(super) fn is_failed(&self) -> bool {
        self.skip || self.block == Block::Failed
    }

    /// Whether it waits for COPY data.
    pub(super) const fn copies_in(&self) -> bool {
        self.copy.is_some()
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        let decoded = Frontend::decode(tag, body).unwrap();
        if let Some(extended) = self.copy {
            return self.copying(&decoded, extended);
        }
        if self.skip && !matches!(decoded, Frontend::Sync | Frontend::Terminate) {
            return;
        }
        match decoded {
            Frontend::Query(query) => self.query(&String::from_utf8_lossy(query.statement)),
            Frontend::Sync => {
                self.skip = false;
                self.end_implicit();
                self.ready();
            }
            Frontend::Flush => self.flush(),
            Frontend::Terminate => self.dead = true,
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => {}
            extended => {
                if self.extended(&extended).is_err() {
                    self.skip = true;
                }
            }
        }
    }

    fn copying(&mut self, message: &Frontend<'_>, extended: bool) {
        let outcome = match message {
            Frontend::CopyData(b"bad") => Err(self.error("bad data")),
            Frontend::CopyData(data) => {
                self.uncommitted.push(String::from_utf8_lossy(data).into_owned());
                return;
            }
            Frontend::CopyDone => {
                self.complete("COPY 1");
                Ok(())
            }
            Frontend::CopyFail(_) => Err(self.error("copy failed")),
            Frontend::Flush | Frontend::Sync => return,
            _ => {
                Refusal::new(Sqlstate::PROTOCOL_VIOLATION, "unexpected").fatal(&mut self.kept);
                self.flush();
                self.dead = true;
                return;
            }
        };
        self.copy = None;
        match (outcome, extended) {
            (Err(Failed), true) => self.skip = true,
            (Ok(()), true) => {}
            (outcome, false) => self.query_ends(outcome),
        }
    }

    fn query(&mut self, text: &str) {
        self.statements.remove(&b""[..]);
        if self.refuses && text.contains("deny") {
            let outcome = Err(self.error("refused"));
            return self.query_ends(outcome);
        }
        for statement in text.split(';') {
            let statement = statement.trim();
            if let Some(count) = statement.strip_prefix("sel ").or_else(|| statement.strip_prefix("secret "))
                && self.block != Block::Failed
                && count.parse::<usize>().is_ok()
            {
                rows::row_description(&mut self.kept, &[(b"a", 25)]).unwrap();
            }
            let outcome = self.run(statement, false, &mut 0, 0);
            if self.copy.is_some() {
                return;
            }
            if outcome.is_err() {
                return self.query_ends(Err(Failed));
            }
        }
        self.query_ends(Ok(()));
    }

    fn query_ends(&mut self, outcome: Result<(), Failed>) {
        if outcome.is_ok() {
            self.end_implicit();
        }
        self.ready();
    }

    fn extended(&mut self, message: &Frontend<'_>) -> Result<(), Failed> {
        match message {
            Frontend::Parse(parse) => {
                if parse.name.is_empty() {
                    self.statements.remove(&b""[..]);
                }
                let text = String::from_utf8_lossy(parse.statement).into_owned();
                if (self.refuses && text.contains("denyparse")) || !known(&text) || self.statements.contains_key(parse.name) {
                    return Err(self.error("parse"));
                }
                self.allowed_in_block(&text)?;
                self.statements.insert(parse.name.to_vec(), text);
                self.kept.put_slice(b"1\0\0\0\x04");
            }
            Frontend::Bind(bind) => {
                let Some(text) = self.statements.get(bind.statement).cloned() else { return Err(self.error("no statement")) };
                self.refused(&text)?;
                self.allowed_in_block(&text)?;
                if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
                    return Err(self.error("portal exists"));
                }
                self.portals.insert(bind.portal.to_vec(), Portal { text, at: 0, done: false });
                self.kept.put_slice(b"2\0\0\0\x04");
            }
            Frontend::Describe(named) => self.describe(named)?,
            Frontend::Close(named) => {
                match named.kind {
                    crate::postgres::message::frontend::Kind::Statement => drop(self.statements.remove(named.name)),
                    crate::postgres::message::frontend::Kind::Portal => drop(self.portals.remove(named.name)),
                }
                self.kept.put_slice(b"3\0\0\0\x04");
            }
            Frontend::Execute(execute) => {
                let Some(portal) = self.portals.get(execute.portal).cloned() else { return Err(self.error("no portal")) };
                if portal.done {
                    return Err(self.error("portal cannot be run"));
                }
                self.allowed_in_block(&portal.text)?;
                let mut at = portal.at;
                self.run(&portal.text, true, &mut at, usize::try_from(execute.max_rows).unwrap_or(0))?;
                if let Some(portal) = self.portals.get_mut(execute.portal) {
                    portal.done = at == portal.at;
                    portal.at = at;
                }
            }
            _ => unreachable!(),
        }
        Ok(())
    }

    fn describe(&mut self, named: &crate::postgres::message::frontend::Named<'_>) -> Result<(), Failed> {
        let statement = named.kind == crate::postgres::message::frontend::Kind::Statement;
        let text = if statement { self.statements.get(named.name).cloned() } else { self.portals.get(named.name).map(|portal| portal.text.clone()) };
        let Some(text) = text else { return Err(self.error("nothing to describe")) };
        if statement {
            self.kept.put_slice(b"t\0\0\0\x06\0\0");
        }
        if text.starts_with("sel ") || text.starts_with("secret ") {
            rows::row_description(&mut self.kept, &[(b"a", 25)]).unwrap();
        } else {
            self.kept.put_slice(b"n\0\0\0\x04");
        }
        Ok(())
    }

    fn allowed_in_block(&mut self, text: &str) -> Result<(), Failed> {
        if self.block == Block::Failed && !matches!(text, "commit" | "rollback" | "rollback to") { Err(self.error("in failed")) } else { Ok(()) }
    }

    fn refused(&mut self, text: &str) -> Result<(), Failed> {
        let prepared = text.strip_prefix("execute ").and_then(|name| self.statements.get(name.as_bytes())).is_some_and(|text| text.contains("deny"));
        if self.refuses && (prepared || text.contains("deny")) { Err(self.error("refused")) } else { Ok(()) }
    }

    fn run(&mut self, text: &str, extended: bool, at: &mut usize, limit: usize) -> Result<(), Failed> {
        let text = &*text.to_lowercase();
        if !known(text) {
            return Err(self.error("syntax"));
        }
        self.refused(text)?;
        self.allowed_in_block(text)?;
        self.executed.push(text.to_owned());
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "ins" => {
                self.uncommitted.push(rest.to_owned());
                self.complete("INSERT 0 1");
            }
            "sel" | "secret" => {
                let total: usize = rest.parse().map_err(|_| self.error("number"))?;
                let end = if limit == 0 { total } else { total.min(*at + limit) };
                for row in *at..end {
                    rows::data_row(&mut self.kept, &[Some(format!("{word}{row}").as_bytes())]).unwrap();
                }
                if limit > 0 && end - *at == limit {
                    *at = end;
                    self.kept.put_slice(b"s\0\0\0\x04");
                } else {
                    self.complete("SELECT 1");
                }
            }
            "begin" => {
                self.block = Block::Open;
                self.complete("BEGIN");
            }
            "commit" | "rollback" if rest.is_empty() => {
                let commits = word == "commit" && self.block != Block::Failed;
                if commits {
                    self.committed.append(&mut self.uncommitted)
                } else {
                    self.uncommitted.clear()
                }
                self.block = Block::None;
                self.savepoints.clear();
                self.portals.clear();
                self.complete(if commits { "COMMIT" } else { "ROLLBACK" });
            }
            "savepoint" | "rollback" => {
                if self.block == Block::None {
                    return Err(self.error("no block"));
                }
                if word == "savepoint" {
                    self.savepoints.push(self.uncommitted.len());
                    self.complete("SAVEPOINT");
                } else {
                    let Some(&len) = self.savepoints.last() else { return Err(self.error("no savepoint")) };
                    self.uncommitted.truncate(len);
                    self.block = Block::Open;
                    self.complete("ROLLBACK");
                }
            }
            "release" => {
                self.savepoints.pop().ok_or_else(|| self.error("no savepoint"))?;
                self.complete("RELEASE");
            }
            "copyin" => {
                self.kept.put_slice(b"G\0\0\0\x07\0\0\0");
                self.flush();
                self.copy = Some(extended);
            }
            "prepare" => {
                let (name, body) = rest.split_once(' ').unwrap_or((rest, "sel 0"));
                if self.statements.contains_key(name.as_bytes()) {
                    return Err(self.error("exists"));
                }
                self.statements.insert(name.as_bytes().to_vec(), body.to_owned());
                self.complete("PREPARE");
            }
            "deallocate" => {
                if self.statements.remove(rest.as_bytes()).is_none() {
                    return Err(self.error("missing"));
                }
                self.complete("DEALLOCATE");
            }
            "execute" => {
                let Some(body) = self.statements.get(rest.as_bytes()).cloned() else { return Err(self.error("missing")) };
                self.executed.push(body);
                self.complete("INSERT 0 1");
            }
            _ => return Err(self.error("fails")),
        }
        Ok(())
    }

    fn end_implicit(&mut self) {
        if self.block == Block::None {
            self.committed.append(&mut self.uncommitted);
            self.portals.clear();
        }
    }

    fn error(&mut self, message: &str) -> Failed {
        if self.block == Block::None {
            self.uncommitted.clear();
            self.portals.clear();
        } else {
            self.block = Block::Failed;
            if self.savepoints.is_empty() {
                self.uncommitted.clear();
            }
        }
        Refusal::new(Sqlstate::SYNTAX_ERROR, message).error(&mut self.kept);
        self.flush();
        Failed
    }

    fn complete(&mut self, tag: &str) {
        self.kept.put_u8(b'C');
        self.kept.put_i32(i32::try_from(tag.len() + 5).unwrap());
        self.kept.put_slice(tag.as_bytes());
        self.kept.put_u8(0);
    }

    fn ready(&mut self) {
        backend::ready_for_query(
            &mut self.kept,
            match self.block {
                Block::None => Transaction::Idle,
                Block::Open => Transaction::Open,
                Block::Failed => Transaction::Failed,
            },
        );
        self.flush();
    }

    fn flush(&mut self) {
        let kept = self.kept.split();
        self.out.extend_from_slice(&kept);
    }
}

/// What parses.
fn known(text: &str) -> bool {
    const WORDS: [&str; 13] =
        ["ins", "sel", "secret", "begin", "commit", "rollback", "savepoint", "release", "copyin", "prepare", "deallocate", "execute", "fail"];
    WORDS.contains(&&*text.split(' ').next().unwrap_or_default().to_lowercase())
}
