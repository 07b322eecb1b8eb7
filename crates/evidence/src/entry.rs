//! The lines inside frames: how records are written short, with what is repeated named once. Specified in [`crate::format`].

use std::{collections::HashMap, hash::Hash, sync::Arc};

use model::{Facts, Timestamp};
use serde::{Deserialize, Serialize};

use crate::format::MAX_RECORD_BYTES;
use crate::record::{
    Answered, Asked, Closed, CopyData, Failure, Held, Note, Opened, Output, Parameter, Record, Resized, Rows, Ruling, SECRET_MARK, Settled, Shape,
    Via,
};

/// Most statements, facts and rulings each that are known by an id at a time; then all are forgotten and named anew.
pub(crate) const MAX_NAMED: usize = 1024;
/// Longest statement that is known by an id; a longer one is written out each time.
pub(crate) const MAX_NAMED_STATEMENT_BYTES: usize = 64 << 10;
/// Bytes of lines that name something after which all are forgotten and named anew.
pub(crate) const MAX_NAMED_BYTES: usize = 1 << 20;

/// One line, to be written.
#[derive(Debug, Serialize)]
pub(crate) enum Line<'a> {
    #[serde(rename = "facts")]
    Facts { i: u32, f: &'a Facts },
    #[serde(rename = "ruling")]
    Ruling { i: u32, r: &'a Ruling },
    #[serde(rename = "statement")]
    Statement { i: u32, f: u32, x: &'a str },
    #[serde(rename = "forget")]
    Forget {},
    #[serde(rename = "a")]
    Asked {
        #[serde(skip_serializing_if = "Option::is_none")]
        o: Option<u64>,
        t: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        s: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        x: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        f: Option<u32>,
        r: u32,
        #[serde(skip_serializing_if = "is_simple")]
        v: Via,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        p: &'a [Parameter],
    },
    #[serde(rename = "z")]
    Answered {
        #[serde(skip_serializing_if = "Option::is_none")]
        o: Option<u64>,
        t: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        d: Option<u64>,
        #[serde(skip_serializing_if = "is_zero")]
        n: u64,
        #[serde(skip_serializing_if = "is_zero")]
        b: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        g: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        e: Option<&'a Failure>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        m: &'a [String],
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        x: bool,
    },
    #[serde(untagged)]
    Whole(&'a Record),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_simple(via: &Via) -> bool {
    *via == Via::Simple
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One line, as read.
#[derive(Debug, Deserialize)]
enum ReadLine {
    #[serde(rename = "facts")]
    Facts { i: u32, f: Arc<Facts> },
    #[serde(rename = "ruling")]
    Ruling { i: u32, r: Arc<Ruling> },
    #[serde(rename = "statement")]
    Statement { i: u32, f: u32, x: Arc<str> },
    #[serde(rename = "forget")]
    Forget {},
    #[serde(rename = "a")]
    Asked(ReadAsked),
    #[serde(rename = "z")]
    Answered(ReadAnswered),
    #[serde(rename = "opened")]
    Opened(Box<Opened>),
    #[serde(rename = "held")]
    Held(Held),
    #[serde(rename = "settled")]
    Settled(Settled),
    #[serde(rename = "shape")]
    Shape(Shape),
    #[serde(rename = "rows")]
    Rows(Rows),
    #[serde(rename = "copy_data")]
    CopyData(CopyData),
    #[serde(rename = "output")]
    Output(Output),
    #[serde(rename = "resized")]
    Resized(Resized),
    #[serde(rename = "note")]
    Note(Note),
    #[serde(rename = "closed")]
    Closed(Closed),
}

#[derive(Debug, Deserialize)]
struct ReadAsked {
    o: Option<u64>,
    t: i64,
    s: Option<u32>,
    x: Option<Arc<str>>,
    f: Option<u32>,
    r: u32,
    v: Option<Via>,
    #[serde(default)]
    p: Vec<Parameter>,
}

#[derive(Debug, Deserialize)]
struct ReadAnswered {
    o: Option<u64>,
    t: i64,
    d: Option<u64>,
    #[serde(default)]
    n: u64,
    #[serde(default)]
    b: u64,
    g: Option<String>,
    e: Option<Failure>,
    #[serde(default)]
    m: Vec<String>,
    #[serde(default)]
    x: bool,
}

/// Where the numbers left out of short records count from.
#[derive(Debug, Clone, Copy)]
struct Counting {
    /// Time of the last `a` or `z`, microseconds.
    at: i64,
    /// The last operation asked.
    op: u64,
}

impl Counting {
    fn since(&mut self, at: Timestamp) -> i64 {
        let now = at.as_microsecond();
        let since = now.saturating_sub(self.at);
        self.at = now;
        since
    }

    fn after(&mut self, since: i64) -> Result<Timestamp, LineError> {
        self.at = self.at.checked_add(since).ok_or(LineError::Range)?;
        Timestamp::from_microsecond(self.at).map_err(|_| LineError::Range)
    }
}

/// Ids given to values that are written once.
#[derive(Debug)]
struct Named<K> {
    ids: HashMap<K, u32>,
}

/// Values asked for last, found without hashing them: a session says the same few things again and again.
#[derive(Debug)]
struct Latest<T>(Vec<(Arc<T>, u32)>);

/// How many of them.
const MAX_LATEST: usize = 8;

impl<T> Latest<T> {
    fn id(&self, value: &Arc<T>) -> Option<u32> {
        self.0.iter().find(|(known, _)| Arc::ptr_eq(known, value)).map(|(_, id)| *id)
    }

    fn keep(&mut self, value: &Arc<T>, id: u32) {
        if self.0.len() >= MAX_LATEST {
            self.0.remove(0);
        }
        self.0.push((Arc::clone(value), id));
    }
}

impl<K: Eq + Hash> Named<K> {
    fn new() -> Self {
        Self { ids: HashMap::new() }
    }

    fn next(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }
}

/// Writes records as lines, naming what is repeated.
#[derive(Debug)]
pub(crate) struct Lines {
    counting: Counting,
    facts: Named<Arc<Facts>>,
    latest_facts: Latest<Facts>,
    rulings: Named<Arc<Ruling>>,
    latest_rulings: Latest<Ruling>,
    statements: Named<(Arc<str>, u32)>,
    named_bytes: usize,
}

impl Lines {
    /// For a segment begun at `begun_at`.
    pub(crate) fn new(begun_at: Timestamp) -> Self {
        Self {
            counting: Counting { at: begun_at.as_microsecond(), op: 0 },
            facts: Named::new(),
            latest_facts: Latest(Vec::new()),
            rulings: Named::new(),
            latest_rulings: Latest(Vec::new()),
            statements: Named::new(),
            named_bytes: 0,
        }
    }

    /// Appends the lines of a record.
    pub(crate) fn write(&mut self, record: &Record, into: &mut Vec<u8>) -> serde_json::Result<()> {
        match record {
            Record::Asked(asked) if asked.facts.secret_spans.is_empty() => self.write_asked(asked, into),
            Record::Asked(asked) => self.write_asked(&without_secrets(asked), into),
            Record::Answered(answered) => self.write_answered(answered, into),
            other => line(&Line::Whole(other), into),
        }
    }

    fn write_asked(&mut self, asked: &Asked, into: &mut Vec<u8>) -> serde_json::Result<()> {
        self.forget_if_full(into)?;
        let facts = self.facts_id(&asked.facts, into)?;
        let ruling = self.ruling_id(&asked.ruling, into)?;
        let statement = self.statement_id(asked, facts, into)?;
        let o = (self.counting.op.checked_add(1) != Some(asked.op)).then_some(asked.op);
        self.counting.op = asked.op;
        let (x, f) = if statement.is_some() { (None, None) } else { (Some(&*asked.text), Some(facts)) };
        let t = self.counting.since(asked.at);
        line(&Line::Asked { o, t, s: statement, x, f, r: ruling, v: asked.via, p: &asked.parameters }, into)
    }

    fn write_answered(&mut self, answered: &Answered, into: &mut Vec<u8>) -> serde_json::Result<()> {
        let t = self.counting.since(answered.at);
        let short = Line::Answered {
            o: (self.counting.op != answered.op).then_some(answered.op),
            t,
            d: (u64::try_from(t) != Ok(answered.duration_us)).then_some(answered.duration_us),
            n: answered.rows,
            b: answered.bytes,
            g: answered.tag.as_deref(),
            e: answered.error.as_ref(),
            m: &answered.masked,
            x: answered.refused,
        };
        line(&short, into)
    }

    fn forget_if_full(&mut self, into: &mut Vec<u8>) -> serde_json::Result<()> {
        let most = [self.facts.ids.len(), self.rulings.ids.len(), self.statements.ids.len()].into_iter().max().unwrap_or(0);
        if most < MAX_NAMED && self.named_bytes < MAX_NAMED_BYTES {
            return Ok(());
        }
        *self = Self { counting: self.counting, ..Self::new(Timestamp::UNIX_EPOCH) };
        line(&Line::Forget {}, into)
    }

    fn facts_id(&mut self, facts: &Arc<Facts>, into: &mut Vec<u8>) -> serde_json::Result<u32> {
        if let Some(id) = self.latest_facts.id(facts) {
            return Ok(id);
        }
        let id = match self.facts.ids.get(facts) {
            Some(id) => *id,
            None => {
                let i = self.facts.next();
                self.name(&Line::Facts { i, f: facts }, into)?;
                self.facts.ids.insert(Arc::clone(facts), i);
                i
            }
        };
        self.latest_facts.keep(facts, id);
        Ok(id)
    }

    fn ruling_id(&mut self, ruling: &Arc<Ruling>, into: &mut Vec<u8>) -> serde_json::Result<u32> {
        if let Some(id) = self.latest_rulings.id(ruling) {
            return Ok(id);
        }
        let id = match self.rulings.ids.get(ruling) {
            Some(id) => *id,
            None => {
                let i = self.rulings.next();
                self.name(&Line::Ruling { i, r: ruling }, into)?;
                self.rulings.ids.insert(Arc::clone(ruling), i);
                i
            }
        };
        self.latest_rulings.keep(ruling, id);
        Ok(id)
    }

    /// The id of a statement that may well come again: one that was prepared. A simple query is written out.
    fn statement_id(&mut self, asked: &Asked, facts: u32, into: &mut Vec<u8>) -> serde_json::Result<Option<u32>> {
        if asked.via == Via::Simple || asked.text.len() > MAX_NAMED_STATEMENT_BYTES || !asked.facts.secret_spans.is_empty() {
            return Ok(None);
        }
        let key = (Arc::clone(&asked.text), facts);
        if let Some(id) = self.statements.ids.get(&key) {
            return Ok(Some(*id));
        }
        let i = self.statements.next();
        self.name(&Line::Statement { i, f: facts, x: &asked.text }, into)?;
        self.statements.ids.insert(key, i);
        Ok(Some(i))
    }

    fn name(&mut self, named: &Line<'_>, into: &mut Vec<u8>) -> serde_json::Result<()> {
        let before = into.len();
        line(named, into)?;
        self.named_bytes = self.named_bytes.saturating_add(into.len() - before);
        Ok(())
    }
}

fn line(line: &Line<'_>, into: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *into, line)?;
    into.push(b'\n');
    Ok(())
}

/// The record with [`SECRET_MARK`]s for secrets, and its facts pointing at the marks.
fn without_secrets(asked: &Asked) -> Asked {
    let (text, marks) = redact(&asked.text, &asked.facts.secret_spans);
    let facts = Facts { secret_spans: marks, ..(*asked.facts).clone() };
    Asked { text: Arc::from(text), facts: Arc::new(facts), ..asked.clone() }
}

/// The text with a mark for each span (byte ranges, in any order), and where the marks stand. A span that cuts a
/// character takes all of it; one that is no range, or ends beyond the text, takes all that follows its begin.
#[must_use]
pub fn redact(text: &str, spans: &[(u32, u32)]) -> (String, Vec<(u32, u32)>) {
    let mut spans = spans.to_vec();
    spans.sort_unstable();
    let (mut shown, mut marks, mut from) = (String::with_capacity(text.len()), Vec::new(), 0usize);
    for (begin, end) in spans {
        let begin = text.floor_char_boundary(begin as usize).max(from);
        let end = if end as usize >= text.len() || (end as usize) < begin { text.len() } else { text.ceil_char_boundary(end as usize) };
        if end <= from && !marks.is_empty() {
            continue;
        }
        shown.push_str(text.get(from..begin).unwrap_or_default());
        let mark = shown.len();
        shown.push_str(SECRET_MARK);
        marks.push((place(mark), place(shown.len())));
        from = end.max(begin);
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    (shown, marks)
}

fn place(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Why a line says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("a record is not what this format allows: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a record names a statement, facts or ruling that was not written before it")]
    Unnamed,
    #[error("more is named in it than this format allows")]
    TooMany,
    #[error("a time or number in it is out of range")]
    Range,
}

/// Reads lines back into records, remembering what was named.
#[derive(Debug)]
pub(crate) struct Names {
    counting: Counting,
    facts: Known<Arc<Facts>>,
    rulings: Known<Arc<Ruling>>,
    statements: Known<(Arc<str>, Arc<Facts>)>,
    named_bytes: usize,
}

impl Names {
    /// For a segment begun at `begun_at`.
    pub(crate) fn new(begun_at: Timestamp) -> Self {
        let counting = Counting { at: begun_at.as_microsecond(), op: 0 };
        Self { counting, facts: Known(HashMap::new()), rulings: Known(HashMap::new()), statements: Known(HashMap::new()), named_bytes: 0 }
    }

    /// The record of a line, or none if it only names something.
    pub(crate) fn read(&mut self, line: &[u8]) -> Result<Option<Record>, LineError> {
        Ok(Some(match serde_json::from_slice(line)? {
            ReadLine::Facts { i, f } => return self.count(line)?.facts.name(i, f),
            ReadLine::Ruling { i, r } => return self.count(line)?.rulings.name(i, r),
            ReadLine::Statement { i, f, x } => return self.count(line)?.name_statement(i, f, x),
            ReadLine::Forget {} => {
                *self = Self { counting: self.counting, ..Self::new(Timestamp::UNIX_EPOCH) };
                return Ok(None);
            }
            ReadLine::Asked(asked) => Record::Asked(self.asked(asked)?),
            ReadLine::Answered(answered) => Record::Answered(self.answered(answered)?),
            ReadLine::Opened(opened) => Record::Opened(opened),
            ReadLine::Held(held) => Record::Held(held),
            ReadLine::Settled(settled) => Record::Settled(settled),
            ReadLine::Shape(shape) => Record::Shape(shape),
            ReadLine::Rows(rows) => Record::Rows(rows),
            ReadLine::CopyData(data) => Record::CopyData(data),
            ReadLine::Output(output) => Record::Output(output),
            ReadLine::Resized(resized) => Record::Resized(resized),
            ReadLine::Note(note) => Record::Note(note),
            ReadLine::Closed(closed) => Record::Closed(closed),
        }))
    }

    fn count(&mut self, line: &[u8]) -> Result<&mut Self, LineError> {
        // The writer forgets before it names more than this, and what names one statement is three records at most.
        if self.named_bytes > MAX_NAMED_BYTES + MAX_RECORD_BYTES {
            return Err(LineError::TooMany);
        }
        self.named_bytes = self.named_bytes.saturating_add(line.len());
        Ok(self)
    }

    fn name_statement(&mut self, id: u32, facts: u32, text: Arc<str>) -> Result<Option<Record>, LineError> {
        let facts = self.facts.get(facts)?;
        self.statements.name(id, (text, facts))
    }

    fn asked(&mut self, read: ReadAsked) -> Result<Asked, LineError> {
        let (text, facts) = match (read.s, read.x, read.f) {
            (Some(id), None, None) => self.statements.get(id)?,
            (None, Some(text), Some(id)) => (text, self.facts.get(id)?),
            _ => return Err(LineError::Unnamed),
        };
        let op = match read.o {
            Some(op) => op,
            None => self.counting.op.checked_add(1).ok_or(LineError::Range)?,
        };
        self.counting.op = op;
        let ruling = self.rulings.get(read.r)?;
        let at = self.counting.after(read.t)?;
        Ok(Asked { op, at, text, facts, ruling, parameters: read.p, via: read.v.unwrap_or(Via::Simple) })
    }

    fn answered(&mut self, read: ReadAnswered) -> Result<Answered, LineError> {
        let at = self.counting.after(read.t)?;
        let duration_us = match read.d {
            Some(duration) => duration,
            None => u64::try_from(read.t).map_err(|_| LineError::Range)?,
        };
        Ok(Answered {
            op: read.o.unwrap_or(self.counting.op),
            at,
            duration_us,
            rows: read.n,
            bytes: read.b,
            tag: read.g,
            error: read.e,
            masked: read.m,
            refused: read.x,
        })
    }
}

/// Values by the ids a file gave them.
#[derive(Debug)]
struct Known<V>(HashMap<u32, V>);

impl<V: Clone> Known<V> {
    fn get(&self, id: u32) -> Result<V, LineError> {
        self.0.get(&id).cloned().ok_or(LineError::Unnamed)
    }

    fn name(&mut self, id: u32, value: V) -> Result<Option<Record>, LineError> {
        if self.0.len() > MAX_NAMED {
            return Err(LineError::TooMany);
        }
        self.0.insert(id, value);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_by_marks() {
        let text = "ALTER ROLE bob PASSWORD 'hunter2', x 'é'";
        assert_eq!(redact(text, &[(24, 33)]), ("ALTER ROLE bob PASSWORD [secret], x 'é'".to_owned(), vec![(24, 32)]));
        assert_eq!(redact("é", &[(1, 2)]).0, "[secret]");
        assert_eq!(redact("abc", &[(1, 99)]).0, "a[secret]");
        assert_eq!(redact("abc", &[(2, 1)]).0, "ab[secret]");
        assert_eq!(redact("abcdef", &[(4, 5), (0, 2), (1, 3)]).0, "[secret][secret]d[secret]f");
        assert_eq!(redact("abc", &[(7, 9)]).0, "abc[secret]");
    }
}
