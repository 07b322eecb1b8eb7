//! Taking records into the index.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use aws_lc_rs::digest;
use evidence::{
    Record,
    record::{Answered, Asked, AskedOutcome, Opened, Parameter, Settled},
};
use model::{Action, DataClassName, Facts, Object, SessionId, Timestamp, hold::HoldState};

use super::{Batch, Index, LiteralHash, Taken, session_number, shape};
use crate::{
    StoreError,
    database::{Value, Write, from_json, micros, sql, stored_count, to_json},
    recordings::Position,
    secrets::hex,
};

/// Most literals of one operation, parameters included, that can be searched for.
const MAX_LITERALS: usize = 64;
/// Longest literal whose words can be searched for one by one, in bytes; longer ones only as a whole.
const MAX_SPLIT_BYTES: usize = 256;
/// Most words of one literal that can be searched for one by one.
const MAX_SPLIT_WORDS: usize = 8;

/// Parameters of one INSERT. SQLite looks each up by its name among all of them, so that many cost more than the statements they save.
const PARAMETERS_AT_ONCE: usize = 128;

/// What a row says of an operation that is not allowed at once.
const HELD: &str = "held";
const SIGNED: &str = "signed";
const REFUSED: &str = "refused";

/// Takes a batch in one transaction.
pub(super) async fn absorb(index: &Index, batch: &Batch) -> Result<Taken, StoreError> {
    let literals = index.literals().await?;
    let mut write = index.database().write().await?;
    let (position, heading) = begun(&mut write, batch.session).await?;
    if position != batch.from {
        return Ok(Taken::Elsewhere);
    }
    let session = batch.session;
    let mut taking = Taking {
        write,
        session,
        heading,
        literals,
        shapes: HashMap::new(),
        counts: HashMap::new(),
        uses: HashMap::new(),
        asked: BTreeMap::new(),
        terms: BTreeSet::new(),
    };
    for record in &batch.records {
        taking.take(record).await?;
    }
    taking.finish(batch).await?;
    Ok(Taken::Now)
}

/// Forgets what was derived from recordings that will be read again.
pub(super) async fn forget(index: &Index, sessions: &[SessionId]) -> Result<(), StoreError> {
    for session in sessions {
        let mut write = index.database().write().await?;
        let number = session_number(*session);
        let counted: Vec<(i64, i64)> =
            sql("SELECT shape, COUNT(*) FROM operations WHERE session = $1 GROUP BY shape").bind(number).all(&mut write).await?;
        for (shape, uses) in counted {
            sql("UPDATE shapes SET uses = uses - $2 WHERE id = $1").bind(shape).bind(uses).run(&mut write).await?;
        }
        sql("DELETE FROM operation_terms WHERE session = $1").bind(number).run(&mut write).await?;
        sql("DELETE FROM operations WHERE session = $1").bind(number).run(&mut write).await?;
        sql("DELETE FROM uses WHERE session = $1").bind(number).run(&mut write).await?;
        sql("DELETE FROM indexed_recordings WHERE session = $1").bind(number).run(&mut write).await?;
        write.commit().await?;
    }
    let mut write = index.database().write().await?;
    sql("DELETE FROM shape_terms WHERE shape IN (SELECT id FROM shapes WHERE uses = 0)").run(&mut write).await?;
    sql("DELETE FROM shapes WHERE uses = 0").run(&mut write).await?;
    write.commit().await
}

/// Whose recording it is.
struct Heading {
    members: Vec<String>,
    connection: String,
    database: String,
}

type Begun = (i64, i64, i64, String, String, String);

/// The place up to which the recording was read, and its heading if any of it was.
async fn begun(write: &mut Write, session: SessionId) -> Result<(Position, Option<Heading>), StoreError> {
    let row: Option<Begun> = sql("SELECT segment, frame, records, members, connection, database_name FROM indexed_recordings WHERE session = $1")
        .bind(session_number(session))
        .optional(&mut *write)
        .await?;
    let Some((segment, frame, records, members, connection, database)) = row else { return Ok((Position::START, None)) };
    let members = from_json("the members of a chain", &members)?;
    Ok((super::position((segment, frame, records))?, Some(Heading { members, connection, database })))
}

/// A shape as this batch knows it.
struct Known {
    /// Kept so that the address in the key stays its own.
    _alive: (Arc<str>, Arc<Facts>),
    id: i64,
    pairs: Vec<(Action, String)>,
    literals: Vec<String>,
}

/// Action, object and who: how often and when last.
type Uses = HashMap<(Action, String), (u64, Timestamp)>;

/// A transaction that takes a batch.
struct Taking {
    write: Write,
    session: SessionId,
    heading: Option<Heading>,
    literals: LiteralHash,
    /// By the addresses of text and facts, which a reader shares between equal ones.
    shapes: HashMap<(usize, usize), Arc<Known>>,
    counts: HashMap<i64, i64>,
    uses: Uses,
    /// Operations asked in this batch, not written yet.
    asked: BTreeMap<u64, NewOperation>,
    /// Terms of operations, not written yet.
    terms: BTreeSet<(String, u64)>,
}

/// An operation that was asked in this batch, as it stands at the batch's end.
struct NewOperation {
    at: i64,
    shape: i64,
    risk: i64,
    decision: &'static str,
    policies: String,
    signers: String,
    classes: String,
    answer: Option<(i64, i64, Option<String>)>,
    pairs: Arc<Known>,
}

impl NewOperation {
    fn row(&self, session: i64, op: u64, subject: &str, connection: &str) -> [Value; 14] {
        let (rows, duration, error) = self.answer.clone().map_or((None, None, None), |(rows, duration, error)| (Some(rows), Some(duration), error));
        [
            session.into(),
            stored_count(op).into(),
            self.at.into(),
            self.shape.into(),
            subject.into(),
            connection.into(),
            self.risk.into(),
            self.decision.into(),
            Value::from(&self.policies),
            Value::from(&self.signers),
            Value::from(&self.classes),
            rows.into(),
            duration.into(),
            error.into(),
        ]
    }
}

impl Taking {
    async fn take(&mut self, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Opened(opened) => self.opened(opened).await,
            Record::Asked(asked) => self.asked(asked).await,
            Record::Settled(settled) => self.settled(settled).await,
            Record::Answered(answered) => self.answered(answered).await,
            Record::Held(_) | Record::Shape(_) | Record::Rows(_) | Record::CopyData(_) | Record::Note(_) | Record::Closed(_) => Ok(()),
        }
    }

    async fn opened(&mut self, opened: &Opened) -> Result<(), StoreError> {
        let heading = Heading {
            members: opened.chain.members().map(|member| member.name.to_string()).collect(),
            connection: opened.connection.to_string(),
            database: opened.database.clone(),
        };
        sql("INSERT INTO indexed_recordings (session, segment, frame, records, complete, chain, members, connection, database_name)
             VALUES ($1, 0, 0, 0, 0, $2, $3, $4, $5) ON CONFLICT (session) DO NOTHING")
        .bind(session_number(self.session))
        .bind(opened.chain.to_string())
        .bind(to_json("the members of a chain", &heading.members)?)
        .bind(&heading.connection)
        .bind(&heading.database)
        .run(&mut self.write)
        .await?;
        self.heading = Some(heading);
        Ok(())
    }

    async fn asked(&mut self, asked: &Asked) -> Result<(), StoreError> {
        let known = self.shape(&asked.text, &asked.facts).await?;
        let (decision, runs) = match asked.ruling.outcome {
            AskedOutcome::Allowed => ("allowed", true),
            AskedOutcome::Held => (HELD, false),
            AskedOutcome::Denied => (REFUSED, false),
        };
        let heading = heading(self.heading.as_ref())?;
        let masks = asked.ruling.outcome != AskedOutcome::Denied;
        let classes = if masks { asked.ruling.classes.as_slice() } else { &[] };
        let operation = NewOperation {
            at: micros(asked.at),
            shape: known.id,
            risk: i64::from(asked.facts.risk.level()),
            decision,
            policies: to_json("policies", &asked.ruling.policies)?,
            signers: "[]".to_owned(),
            classes: to_json("data classes", classes)?,
            answer: None,
            pairs: Arc::clone(&known),
        };
        self.asked.insert(asked.op, operation);
        *self.counts.entry(known.id).or_default() += 1;
        let mut terms: Vec<String> = heading.members.iter().skip(1).map(|member| format!("via:{member}")).collect();
        terms.extend((decision != "allowed").then(|| format!("decision:{decision}")));
        terms.extend(literal_terms(&self.literals, &known.literals, &asked.parameters));
        self.add_terms(asked.op, terms);
        if runs {
            self.used(&known.pairs, asked.at);
        }
        Ok(())
    }

    async fn settled(&mut self, settled: &Settled) -> Result<(), StoreError> {
        let approved = settled.state == HoldState::Approved;
        let decision = if approved { SIGNED } else { REFUSED };
        let signers: Vec<_> = settled.signatures.iter().map(|signature| signature.signer.as_str()).collect();
        let written = to_json("signers", &signers)?;
        if let Some(operation) = self.asked.get_mut(&settled.op) {
            operation.decision = decision;
            operation.signers = written;
        } else {
            sql("UPDATE operations SET decision = $3, signers = $4 WHERE session = $1 AND op = $2")
                .bind(session_number(self.session))
                .bind(stored_count(settled.op))
                .bind(decision)
                .bind(written)
                .run(&mut self.write)
                .await?;
        }
        let mut terms = vec![format!("decision:{decision}")];
        terms.extend(signers.iter().map(|signer| format!("signer:{signer}")));
        self.add_terms(settled.op, terms);
        if approved {
            let pairs = self.pairs_of(settled.op).await?;
            self.used(&pairs, settled.at);
        }
        Ok(())
    }

    async fn answered(&mut self, answered: &Answered) -> Result<(), StoreError> {
        self.write_answer(answered).await?;
        let mut terms: Vec<String> = answered.error.iter().map(|error| format!("error:{}", error.sqlstate.to_ascii_uppercase())).collect();
        terms.extend(answered.refused.then(|| format!("decision:{REFUSED}")));
        if hid_something(answered) {
            terms.push("decision:masked".to_owned());
            terms.extend(self.classes_of(answered.op).await?.iter().map(|class| format!("masked:{class}")));
        }
        self.add_terms(answered.op, terms);
        Ok(())
    }

    async fn write_answer(&mut self, answered: &Answered) -> Result<(), StoreError> {
        let error = answered.error.as_ref().map(|error| error.sqlstate.clone());
        if let Some(operation) = self.asked.get_mut(&answered.op) {
            operation.answer = Some((stored_count(answered.rows), stored_count(answered.duration_us), error));
            operation.decision = if answered.refused { REFUSED } else { operation.decision };
            if !hid_something(answered) {
                operation.classes = "[]".to_owned();
            }
            return Ok(());
        }
        sql("UPDATE operations SET row_count = $3, duration_us = $4, error = $5,
                decision = CASE WHEN $6 = 1 THEN 'refused' ELSE decision END,
                classes = CASE WHEN $7 = 1 THEN classes ELSE '[]' END WHERE session = $1 AND op = $2")
        .bind(session_number(self.session))
        .bind(stored_count(answered.op))
        .bind(stored_count(answered.rows))
        .bind(stored_count(answered.duration_us))
        .bind(error)
        .bind(i64::from(answered.refused))
        .bind(i64::from(hid_something(answered)))
        .run(&mut self.write)
        .await?;
        Ok(())
    }

    fn add_terms(&mut self, op: u64, terms: Vec<String>) {
        self.terms.extend(terms.into_iter().map(|term| (term, op)));
    }

    async fn write_operations(&mut self) -> Result<(), StoreError> {
        let operations: Vec<_> = std::mem::take(&mut self.asked).into_iter().collect();
        if operations.is_empty() {
            return Ok(());
        }
        let session = session_number(self.session);
        let heading = heading(self.heading.as_ref())?;
        let subject = heading.members.first().cloned().unwrap_or_default();
        for chunk in operations.chunks(PARAMETERS_AT_ONCE / 14) {
            let mut sql = sql(
                "INSERT INTO operations (session, op, at, shape, subject, connection, risk, decision, policies, signers, classes, row_count, duration_us, error)",
            );
            sql.push_rows(chunk.iter().map(|(op, operation)| operation.row(session, *op, &subject, &heading.connection)));
            sql.push(" ON CONFLICT (session, op) DO NOTHING");
            sql.run(&mut self.write).await?;
        }
        Ok(())
    }

    async fn write_terms(&mut self) -> Result<(), StoreError> {
        let session = session_number(self.session);
        let terms: Vec<_> = std::mem::take(&mut self.terms).into_iter().collect();
        for chunk in terms.chunks(PARAMETERS_AT_ONCE / 3) {
            let mut sql = sql("INSERT INTO operation_terms (term, session, op)");
            sql.push_rows(chunk.iter().map(|(term, op)| [Value::from(term), session.into(), stored_count(*op).into()]));
            sql.push(" ON CONFLICT (term, session, op) DO NOTHING");
            sql.run(&mut self.write).await?;
        }
        Ok(())
    }

    fn used(&mut self, pairs: &[(Action, String)], at: Timestamp) {
        for pair in pairs {
            let (count, last) = self.uses.entry(pair.clone()).or_insert((0, at));
            *count += 1;
            *last = at.max(*last);
        }
    }

    async fn pairs_of(&mut self, op: u64) -> Result<Vec<(Action, String)>, StoreError> {
        if let Some(operation) = self.asked.get(&op) {
            return Ok(operation.pairs.pairs.clone());
        }
        let row: Option<(String,)> = sql("SELECT s.pairs FROM operations o JOIN shapes s ON s.id = o.shape WHERE o.session = $1 AND o.op = $2")
            .bind(session_number(self.session))
            .bind(stored_count(op))
            .optional(&mut self.write)
            .await?;
        row.map_or(Ok(Vec::new()), |(pairs,)| from_json("what an operation asked for", &pairs))
    }

    /// The classes that the plan of an operation names.
    async fn classes_of(&mut self, op: u64) -> Result<Vec<DataClassName>, StoreError> {
        const WHAT: &str = "data classes";
        if let Some(operation) = self.asked.get(&op) {
            return from_json(WHAT, &operation.classes);
        }
        let row: Option<(String,)> = sql("SELECT classes FROM operations WHERE session = $1 AND op = $2")
            .bind(session_number(self.session))
            .bind(stored_count(op))
            .optional(&mut self.write)
            .await?;
        row.map_or(Ok(Vec::new()), |(classes,)| from_json(WHAT, &classes))
    }

    async fn shape(&mut self, text: &Arc<str>, facts: &Arc<Facts>) -> Result<Arc<Known>, StoreError> {
        let key = (Arc::as_ptr(text).cast::<u8>() as usize, Arc::as_ptr(facts) as usize);
        if let Some(known) = self.shapes.get(&key) {
            return Ok(Arc::clone(known));
        }
        let shape = shape::shape(text);
        let pairs: Vec<(Action, String)> = facts.pairs.iter().map(|pair| (pair.action, pair.object.to_string())).collect();
        let id = self.shape_id(&shape, facts, &pairs).await?;
        let known = Arc::new(Known { _alive: (Arc::clone(text), Arc::clone(facts)), id, pairs, literals: shape.literals });
        self.shapes.insert(key, Arc::clone(&known));
        Ok(known)
    }

    /// Finds the shape, or adds it with its terms.
    async fn shape_id(&mut self, shape: &shape::Shape, facts: &Facts, pairs: &[(Action, String)]) -> Result<i64, StoreError> {
        let mut terms = facts_terms(facts);
        terms.extend(shape.words.iter().cloned());
        terms.sort_unstable();
        terms.dedup();
        let risk = i64::from(facts.risk.level());
        let pairs = to_json("what an operation asked for", pairs)?;
        let hash = hex(digest::digest(&digest::SHA256, to_json("a shape", &(&shape.text, &pairs, risk, &terms))?.as_bytes()).as_ref());
        let found: Option<(i64,)> = sql("SELECT id FROM shapes WHERE hash = $1").bind(&hash).optional(&mut self.write).await?;
        if let Some((id,)) = found {
            return Ok(id);
        }
        let (id,): (i64,) = sql("UPDATE index_counters SET value = value + 1 WHERE name = 'shape' RETURNING value").one(&mut self.write).await?;
        sql("INSERT INTO shapes (id, hash, text, pairs, risk, uses) VALUES ($1, $2, $3, $4, $5, 0)")
            .bind(id)
            .bind(hash)
            .bind(&shape.text)
            .bind(pairs)
            .bind(risk)
            .run(&mut self.write)
            .await?;
        for chunk in terms.chunks(PARAMETERS_AT_ONCE / 2) {
            let mut sql = sql("INSERT INTO shape_terms (term, shape)");
            sql.push_rows(chunk.iter().map(|term| [Value::from(term), id.into()]));
            sql.run(&mut self.write).await?;
        }
        Ok(id)
    }

    /// Writes the sums and the place, and commits.
    async fn finish(mut self, batch: &Batch) -> Result<(), StoreError> {
        for (shape, uses) in std::mem::take(&mut self.counts) {
            sql("UPDATE shapes SET uses = uses + $2 WHERE id = $1").bind(shape).bind(uses).run(&mut self.write).await?;
        }
        self.write_operations().await?;
        self.write_terms().await?;
        self.write_uses().await?;
        sql("UPDATE indexed_recordings SET segment = $2, frame = $3, records = $4, complete = $5 WHERE session = $1")
            .bind(session_number(self.session))
            .bind(i64::from(batch.until.segment))
            .bind(i64::from(batch.until.frame))
            .bind(i64::from(batch.until.records))
            .bind(i64::from(matches!(batch.records.last(), Some(Record::Closed(_)))))
            .run(&mut self.write)
            .await?;
        self.write.commit().await
    }

    async fn write_uses(&mut self) -> Result<(), StoreError> {
        let uses = std::mem::take(&mut self.uses);
        if uses.is_empty() {
            return Ok(());
        }
        let heading = heading(self.heading.as_ref())?;
        let session = session_number(self.session);
        let rows: Vec<[Value; 8]> = uses
            .iter()
            .flat_map(|used| heading.members.iter().map(move |member| (member, used)))
            .map(|(member, ((action, object), (times, last)))| {
                let (connection, database) = (Value::from(&heading.connection), Value::from(&heading.database));
                let (count, last) = (stored_count(*times).into(), micros(*last).into());
                [session.into(), member.into(), connection, database, action.as_str().into(), object.into(), count, last]
            })
            .collect();
        for chunk in rows.chunks(PARAMETERS_AT_ONCE / 8) {
            let mut sql = sql("INSERT INTO uses (session, identity, connection, database_name, action, object, count, last_at)");
            sql.push_rows(chunk.iter().cloned());
            sql.push(
                " ON CONFLICT (session, identity, connection, database_name, action, object) DO UPDATE SET count = uses.count + excluded.count,
                    last_at = CASE WHEN excluded.last_at > uses.last_at THEN excluded.last_at ELSE uses.last_at END",
            );
            sql.run(&mut self.write).await?;
        }
        Ok(())
    }
}

/// Whether a row came back in which something was masked or withheld. A plan alone hides nothing: `count(*)` of a classified table shows all it has.
fn hid_something(answered: &Answered) -> bool {
    !answered.masked.is_empty() && answered.rows > 0
}

fn heading(heading: Option<&Heading>) -> Result<&Heading, StoreError> {
    heading.ok_or_else(|| StoreError::corrupt("a recording", "it does not begin with `Opened`"))
}

/// What the facts can be searched by.
fn facts_terms(facts: &Facts) -> Vec<String> {
    let mut terms: Vec<String> = facts.pairs.iter().map(|pair| format!("action:{}", pair.action)).collect();
    let mut table = |schema: &str, name: &str| {
        terms.push(format!("table:{}", name.to_lowercase()));
        terms.push(format!("table:{schema}.{name}").to_lowercase());
    };
    facts.reads.iter().chain(&facts.writes).for_each(|relation| table(&relation.schema, &relation.name));
    for pair in &facts.pairs {
        if let Object::Table { schema, table: name, .. } | Object::Column { schema, table: name, .. } = &pair.object {
            table(schema, name);
        }
    }
    for pair in &facts.pairs {
        if let Object::Function { schema, function, .. } = &pair.object {
            terms.push(format!("function:{function}").to_lowercase());
            terms.push(format!("function:{schema}.{function}").to_lowercase());
        }
    }
    terms.extend(facts.functions.iter().map(|function| format!("function:{}", function.trim_end_matches("()").to_lowercase())));
    terms
}

/// The hashed terms of an operation's literals and parameters: each whole, and a short one's words too.
fn literal_terms(hash: &LiteralHash, literals: &[String], parameters: &[Parameter]) -> Vec<String> {
    let parameters: Vec<String> = parameters.iter().filter_map(readable).collect();
    let mut terms = Vec::new();
    for literal in literals.iter().chain(&parameters) {
        if literal.trim().is_empty() {
            continue;
        }
        terms.push(hash.term(literal));
        let words = literal.split_whitespace();
        if literal.len() <= MAX_SPLIT_BYTES && words.clone().nth(1).is_some() {
            terms.extend(words.take(MAX_SPLIT_WORDS).map(|word| hash.term(word)));
        }
        if terms.len() >= MAX_LITERALS {
            terms.truncate(MAX_LITERALS);
            break;
        }
    }
    terms
}

/// A parameter as a person would write it, if it can be told: text, whole numbers and UUIDs in binary form too.
/// Type OIDs: <https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat>.
fn readable(parameter: &Parameter) -> Option<String> {
    match parameter {
        Parameter::Null => None,
        Parameter::Text(text) => Some(text.clone()),
        Parameter::Binary { hex: bytes, type_oid } => match type_oid {
            20 => bytes.0.as_slice().try_into().ok().map(|bytes| i64::from_be_bytes(bytes).to_string()),
            21 => bytes.0.as_slice().try_into().ok().map(|bytes| i16::from_be_bytes(bytes).to_string()),
            23 => bytes.0.as_slice().try_into().ok().map(|bytes| i32::from_be_bytes(bytes).to_string()),
            2950 => <[u8; 16]>::try_from(bytes.0.as_slice()).ok().map(|bytes| uuid::Uuid::from_bytes(bytes).to_string()),
            _ => String::from_utf8(bytes.0.clone()).ok(),
        },
    }
}
