//! Taking records into the index.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use aws_lc_rs::digest;
use evidence::{
    Record,
    record::{Answered, Asked, AskedOutcome, Cell, Opened, Output, Parameter, Ruling, Settled, Stream},
};
use model::{Action, DataClassName, Facts, Object, SessionId, Timestamp, hold::HoldState};

use super::{
    Batch, Index, Taken,
    bundle::{self, Operation},
    literals::{self, Entry, LiteralHash},
    screen::Screen,
    session_number, shape,
};
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
pub(super) const PARAMETERS_AT_ONCE: usize = 128;

/// What a row says of its operations.
const ALLOWED: &str = "allowed";
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
    let (generation, stored) = index.remembered();
    let mut taking = Taking {
        write,
        index,
        session: session_number(batch.session),
        heading,
        literals,
        shapes: Shapes::new(stored),
        counts: HashMap::new(),
        uses: HashMap::new(),
        asked: BTreeMap::new(),
        screens: HashMap::new(),
        shown: BTreeMap::new(),
        entries: Vec::new(),
    };
    for record in &batch.records {
        taking.take(batch.session, record).await?;
    }
    let (stored, screens) = taking.finish(batch).await?;
    index.remember(generation, stored);
    index.keep_screens(batch.session, screens);
    Ok(Taken::Now)
}

/// Forgets what was derived from recordings that will be read again.
pub(super) async fn forget(index: &Index, sessions: &[SessionId]) -> Result<(), StoreError> {
    index.forget_screens(sessions);
    for session in sessions {
        let mut write = index.database().write().await?;
        let number = session_number(*session);
        let bundles: Vec<(i64, String)> = sql("SELECT shape, operations FROM bundles WHERE session = $1").bind(number).all(&mut write).await?;
        let mut counted = HashMap::<i64, i64>::new();
        for (shape, operations) in bundles {
            *counted.entry(shape).or_default() += i64::try_from(bundle::read(&operations)?.len()).unwrap_or(i64::MAX);
        }
        for (shape, uses) in counted {
            sql("UPDATE shapes SET uses = uses - $2 WHERE id = $1").bind(shape).bind(uses).run(&mut write).await?;
        }
        sql("DELETE FROM bundle_terms WHERE bundle IN (SELECT id FROM bundles WHERE session = $1)").bind(number).run(&mut write).await?;
        for table in FORGOTTEN {
            sql(table).bind(number).run(&mut write).await?;
        }
        write.commit().await?;
    }
    let mut write = index.database().write().await?;
    sql("DELETE FROM shape_terms WHERE shape IN (SELECT id FROM shapes WHERE uses = 0)").run(&mut write).await?;
    sql("DELETE FROM shapes WHERE uses = 0").run(&mut write).await?;
    // Literals of bundles that are gone lead nowhere and cost only their place.
    let (left,): (i64,) = sql("SELECT COUNT(*) FROM (SELECT 1 AS one FROM bundles LIMIT 1) AS any_left").one(&mut write).await?;
    if left == 0 {
        literals::clear(&mut write).await?;
    }
    write.commit().await?;
    index.forget_shapes();
    Ok(())
}

/// Clears one session.
const FORGOTTEN: [&str; 4] = [
    "DELETE FROM waiting WHERE session = $1",
    "DELETE FROM bundles WHERE session = $1",
    "DELETE FROM uses WHERE session = $1",
    "DELETE FROM indexed_recordings WHERE session = $1",
];

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
    id: i64,
    pairs: Vec<(Action, String)>,
}

/// Action, object and who: how often and when last.
type Uses = HashMap<(Action, String), (u64, Timestamp)>;

/// A transaction that takes a batch.
struct Taking<'a> {
    write: Write,
    index: &'a Index,
    session: i64,
    heading: Option<Heading>,
    literals: LiteralHash,
    shapes: Shapes,
    counts: HashMap<i64, i64>,
    uses: Uses,
    /// Operations asked in this batch, not written yet.
    asked: BTreeMap<u64, NewOperation>,
    /// What operations that are not answered yet showed.
    screens: HashMap<u64, Screen>,
    /// Hashes of what they showed in this batch.
    shown: BTreeMap<u64, Vec<i64>>,
    /// What operations of earlier batches showed in this one.
    entries: Vec<Entry>,
}

/// An operation that was asked in this batch, as it stands at the batch's end.
struct NewOperation {
    at: i64,
    known: Arc<Known>,
    risk: i64,
    ruling: Arc<Ruling>,
    literals: Vec<i64>,
    settled: Option<Settlement>,
    answer: Option<Answer>,
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Settlement {
    approved: bool,
    signers: Vec<String>,
}

/// An answer, as far as its bundle says it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    rows: i64,
    duration: i64,
    ending: Ending,
}

/// What answers of one bundle share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Ending {
    error: Option<String>,
    refused: bool,
    hid: bool,
}

/// What operations of one bundle share. Rulings are the same if they are at one address: a reader shares them between operations.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    shape: i64,
    ruling: usize,
    settled: Option<Settlement>,
    ending: Ending,
    /// One that waits for its answer is alone.
    waiting: Option<u64>,
}

impl NewOperation {
    fn alike(&self, op: u64) -> Alike {
        Alike {
            shape: self.known.id,
            ruling: Arc::as_ptr(&self.ruling) as usize,
            settled: self.settled.clone(),
            ending: self.answer.as_ref().map(|answer| answer.ending.clone()).unwrap_or_default(),
            waiting: self.answer.is_none().then_some(op),
        }
    }

    fn decision(&self) -> &'static str {
        match (&self.answer, &self.settled) {
            (Some(answer), _) if answer.ending.refused => REFUSED,
            (_, Some(settled)) => settled.decision(),
            _ => decision(self.ruling.outcome),
        }
    }

    /// Data classes masked; before it is answered, those that may be.
    fn classes(&self) -> &[DataClassName] {
        let hides = self.answer.as_ref().is_none_or(|answer| answer.ending.hid) && self.ruling.outcome != AskedOutcome::Denied;
        if hides { &self.ruling.classes } else { &[] }
    }

    fn terms(&self, members: &[String]) -> BTreeSet<String> {
        let mut terms: BTreeSet<String> = members.iter().skip(1).map(|member| format!("via:{member}")).collect();
        let asked = decision(self.ruling.outcome);
        terms.extend((asked != ALLOWED).then(|| format!("decision:{asked}")));
        terms.extend(self.settled.iter().flat_map(Settlement::terms));
        terms.extend(self.answer.iter().flat_map(|answer| answer.ending.terms(self.classes())));
        terms
    }

    fn operation(&self, op: u64) -> Operation {
        Operation { op: stored_count(op), at: self.at, answer: self.answer.as_ref().map(|answer| (answer.rows, answer.duration)) }
    }
}

const fn decision(outcome: AskedOutcome) -> &'static str {
    match outcome {
        AskedOutcome::Allowed => ALLOWED,
        AskedOutcome::Held => HELD,
        AskedOutcome::Denied => REFUSED,
    }
}

impl Settlement {
    fn of(settled: &Settled) -> Self {
        let signers = settled.signatures.iter().map(|signature| signature.signer.to_string()).collect();
        Self { approved: settled.state == HoldState::Approved, signers }
    }

    const fn decision(&self) -> &'static str {
        if self.approved { SIGNED } else { REFUSED }
    }

    fn terms(&self) -> Vec<String> {
        let decision = format!("decision:{}", self.decision());
        self.signers.iter().map(|signer| format!("signer:{signer}")).chain([decision]).collect()
    }
}

impl Answer {
    fn of(answered: &Answered) -> Self {
        let error = answered.error.as_ref().map(|error| error.sqlstate.clone());
        let ending = Ending { error, refused: answered.refused, hid: hid_something(answered) };
        Self { rows: stored_count(answered.rows), duration: stored_count(answered.duration_us), ending }
    }
}

impl Ending {
    fn terms(&self, classes: &[DataClassName]) -> Vec<String> {
        let mut terms: Vec<String> = self.error.iter().map(|error| format!("error:{}", error.to_ascii_uppercase())).collect();
        terms.extend(self.refused.then(|| format!("decision:{REFUSED}")));
        if self.hid {
            terms.push("decision:masked".to_owned());
            terms.extend(classes.iter().map(|class| format!("masked:{class}")));
        }
        terms
    }
}

impl Taking<'_> {
    async fn take(&mut self, session: SessionId, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Opened(opened) => self.opened(opened).await,
            Record::Asked(asked) => self.asked(asked).await,
            Record::Settled(settled) => self.settled(settled).await,
            Record::Answered(answered) => self.answered(answered).await,
            Record::Output(output) => {
                self.shows(session, output);
                // A screen that is drawn anew without end takes its time: others have theirs in between.
                tokio::task::yield_now().await;
                Ok(())
            }
            Record::Held(_) | Record::Shape(_) | Record::Rows(_) | Record::CopyData(_) | Record::Resized(_) | Record::Note(_) | Record::Closed(_) => {
                Ok(())
            }
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
        .bind(self.session)
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
        heading(self.heading.as_ref())?;
        let (known, literals) = self.shapes.of(&mut self.write, &asked.text, &asked.facts).await?;
        let literals = literal_hashes(&self.literals, &literals, &asked.parameters);
        *self.counts.entry(known.id).or_default() += 1;
        if asked.ruling.outcome == AskedOutcome::Allowed {
            used(&mut self.uses, &known.pairs, asked.at);
        }
        let (at, risk, ruling) = (micros(asked.at), i64::from(asked.facts.risk.level()), Arc::clone(&asked.ruling));
        self.asked.insert(asked.op, NewOperation { at, known, risk, ruling, literals, settled: None, answer: None });
        Ok(())
    }

    async fn settled(&mut self, settled: &Settled) -> Result<(), StoreError> {
        let settlement = Settlement::of(settled);
        let Some(operation) = self.asked.get_mut(&settled.op) else { return self.settled_later(settled, &settlement).await };
        if settlement.approved {
            used(&mut self.uses, &operation.known.pairs, settled.at);
        }
        operation.settled = Some(settlement);
        Ok(())
    }

    /// A terminal or a command shows something. What is typed is shown, too, or not to be found.
    fn shows(&mut self, session: SessionId, output: &Output) {
        if output.stream == Stream::Input || self.asked.get(&output.op).is_some_and(|operation| operation.answer.is_some()) {
            return;
        }
        let screen = self.screens.entry(output.op).or_insert_with(|| self.index.take_screen(session, output.op));
        let hashes = self.shown.entry(output.op).or_default();
        let data = match &output.data {
            Cell::Text(text) => text.as_bytes(),
            Cell::Binary { hex } => hex.0.as_slice(),
        };
        screen.show(data, |word| hashes.push(self.literals.of(word)));
    }

    /// Takes what an operation showed in this batch.
    async fn take_shown(&mut self, op: u64) -> Result<(), StoreError> {
        let Some(mut hashes) = self.shown.remove(&op) else { return Ok(()) };
        if let Some(screen) = self.screens.get_mut(&op) {
            screen.pause(|word| hashes.push(self.literals.of(word)));
        }
        if let Some(operation) = self.asked.get_mut(&op) {
            operation.literals.extend(hashes);
        } else if let Some(bundle) = self.waiting(op).await? {
            // One that waits for its answer is alone in its bundle.
            self.entries.extend(hashes.into_iter().map(|hash| Entry { hash, bundle, op: 0 }));
        }
        Ok(())
    }

    async fn answered(&mut self, answered: &Answered) -> Result<(), StoreError> {
        self.take_shown(answered.op).await?;
        self.screens.remove(&answered.op);
        let answer = Answer::of(answered);
        match self.asked.get_mut(&answered.op) {
            Some(operation) => {
                operation.answer = Some(answer);
                Ok(())
            }
            None => self.answered_later(answered.op, &answer).await,
        }
    }

    /// The hold of an operation that an earlier batch took has ended.
    async fn settled_later(&mut self, settled: &Settled, settlement: &Settlement) -> Result<(), StoreError> {
        let Some(bundle) = self.waiting(settled.op).await? else { return Ok(()) };
        sql("UPDATE bundles SET decision = $2, signers = $3 WHERE id = $1")
            .bind(bundle)
            .bind(settlement.decision())
            .bind(to_json("signers", &settlement.signers)?)
            .run(&mut self.write)
            .await?;
        write_terms(&mut self.write, settlement.terms().into_iter().map(|term| (term, bundle)).collect()).await?;
        if settlement.approved {
            let (pairs,): (String,) =
                sql("SELECT s.pairs FROM bundles b JOIN shapes s ON s.id = b.shape WHERE b.id = $1").bind(bundle).one(&mut self.write).await?;
            used(&mut self.uses, &from_json::<Vec<_>>("what an operation asked for", &pairs)?, settled.at);
        }
        Ok(())
    }

    /// An operation that an earlier batch took is answered.
    async fn answered_later(&mut self, op: u64, answer: &Answer) -> Result<(), StoreError> {
        let Some(bundle) = self.waiting(op).await? else { return Ok(()) };
        let (at, classes): (i64, String) = sql("SELECT first_at, classes FROM bundles WHERE id = $1").bind(bundle).one(&mut self.write).await?;
        let may_hide: Vec<DataClassName> = from_json("data classes", &classes)?;
        let ending = &answer.ending;
        let operation = Operation { op: stored_count(op), at, answer: Some((answer.rows, answer.duration)) };
        sql("UPDATE bundles SET operations = $2, error = $3, classes = $4, decision = CASE WHEN $5 = 1 THEN 'refused' ELSE decision END WHERE id = $1")
            .bind(bundle)
            .bind(bundle::write(&[operation])?)
            .bind(ending.error.clone())
            .bind(to_json("data classes", if ending.hid { may_hide.as_slice() } else { &[] })?)
            .bind(i64::from(ending.refused))
            .run(&mut self.write)
            .await?;
        write_terms(&mut self.write, ending.terms(&may_hide).into_iter().map(|term| (term, bundle)).collect()).await?;
        sql("DELETE FROM waiting WHERE session = $1 AND op = $2").bind(self.session).bind(stored_count(op)).run(&mut self.write).await.map(drop)
    }

    /// The bundle of an operation that an earlier batch took and that waits for its answer.
    async fn waiting(&mut self, op: u64) -> Result<Option<i64>, StoreError> {
        let row: Option<(i64,)> = sql("SELECT bundle FROM waiting WHERE session = $1 AND op = $2")
            .bind(self.session)
            .bind(stored_count(op))
            .optional(&mut self.write)
            .await?;
        Ok(row.map(|(bundle,)| bundle))
    }

    /// Writes the bundles, the sums and the place, and commits. Returns the shapes it knows, which are stored from now on, and the screens of what runs.
    async fn finish(mut self, batch: &Batch) -> Result<(StoredShapes, HashMap<u64, Screen>), StoreError> {
        while let Some(op) = self.shown.keys().next().copied() {
            self.take_shown(op).await?;
        }
        for (shape, uses) in std::mem::take(&mut self.counts) {
            sql("UPDATE shapes SET uses = uses + $2 WHERE id = $1").bind(shape).bind(uses).run(&mut self.write).await?;
        }
        self.write_bundles().await?;
        literals::add(&mut self.write, std::mem::take(&mut self.entries)).await?;
        self.write_uses().await?;
        let complete = matches!(batch.records.last(), Some(Record::Closed(_)));
        sql("UPDATE indexed_recordings SET segment = $2, frame = $3, records = $4, complete = $5 WHERE session = $1")
            .bind(self.session)
            .bind(i64::from(batch.until.segment))
            .bind(i64::from(batch.until.frame))
            .bind(i64::from(batch.until.records))
            .bind(i64::from(complete))
            .run(&mut self.write)
            .await?;
        if complete {
            sql("DELETE FROM waiting WHERE session = $1").bind(self.session).run(&mut self.write).await?;
        }
        self.write.commit().await?;
        let screens = if complete { HashMap::new() } else { self.screens };
        Ok((self.shapes.stored, screens))
    }

    async fn write_bundles(&mut self) -> Result<(), StoreError> {
        let operations = std::mem::take(&mut self.asked);
        if operations.is_empty() {
            return Ok(());
        }
        let mut bundles = HashMap::<Alike, Vec<(u64, NewOperation)>>::new();
        for (op, operation) in operations {
            bundles.entry(operation.alike(op)).or_default().push((op, operation));
        }
        let mut bundles: Vec<_> = bundles.into_values().collect();
        // In an order that does not depend on hashing.
        bundles.sort_unstable_by_key(|bundle| bundle.first().map(|(op, _)| *op));
        let first = self.next_bundles(bundles.len()).await?;
        let heading = heading(self.heading.as_ref())?;
        let mut written = Written::default();
        for (id, bundle) in (first..).zip(&bundles) {
            written.add(id, self.session, heading, bundle)?;
        }
        written.write(&mut self.write).await
    }

    /// Takes ids for so many bundles; the first of them.
    async fn next_bundles(&mut self, count: usize) -> Result<i64, StoreError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let (last,): (i64,) =
            sql("UPDATE index_counters SET value = value + $1 WHERE name = 'bundle' RETURNING value").bind(count).one(&mut self.write).await?;
        Ok(last - count + 1)
    }

    async fn write_uses(&mut self) -> Result<(), StoreError> {
        let uses = std::mem::take(&mut self.uses);
        if uses.is_empty() {
            return Ok(());
        }
        let heading = heading(self.heading.as_ref())?;
        let session = self.session;
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

fn used(uses: &mut Uses, pairs: &[(Action, String)], at: Timestamp) {
    for pair in pairs {
        match uses.get_mut(pair) {
            Some((count, last)) => (*count, *last) = (*count + 1, at.max(*last)),
            None => drop(uses.insert(pair.clone(), (1, at))),
        }
    }
}

/// The rows of new bundles.
#[derive(Default)]
struct Written {
    bundles: Vec<[Value; COLUMNS]>,
    waiting: Vec<[Value; 3]>,
    terms: Vec<(String, i64)>,
    literals: Vec<Entry>,
}

const COLUMNS: usize = 15;

impl Written {
    /// Adds operations that are alike, in the order of their numbers.
    fn add(&mut self, id: i64, session: i64, heading: &Heading, bundle: &[(u64, NewOperation)]) -> Result<(), StoreError> {
        let Some((first, alike)) = bundle.first() else { return Ok(()) };
        let operations: Vec<Operation> = bundle.iter().map(|(op, operation)| operation.operation(*op)).collect();
        let times = || operations.iter().map(|operation| operation.at);
        let signers = alike.settled.as_ref().map_or(&[][..], |settled| settled.signers.as_slice());
        self.bundles.push([
            id.into(),
            session.into(),
            alike.known.id.into(),
            heading.members.first().cloned().unwrap_or_default().into(),
            Value::from(&heading.connection),
            alike.risk.into(),
            alike.decision().into(),
            to_json("policies", &alike.ruling.policies)?.into(),
            to_json("signers", signers)?.into(),
            to_json("data classes", alike.classes())?.into(),
            alike.answer.as_ref().and_then(|answer| answer.ending.error.clone()).into(),
            stored_count(*first).into(),
            times().min().unwrap_or(0).into(),
            times().max().unwrap_or(0).into(),
            bundle::write(&operations)?.into(),
        ]);
        if alike.answer.is_none() {
            self.waiting.push([session.into(), stored_count(*first).into(), id.into()]);
        }
        self.terms.extend(alike.terms(&heading.members).into_iter().map(|term| (term, id)));
        for (op, operation) in bundle {
            let op = u32::try_from(op - first).map_err(|error| StoreError::corrupt("a recording", error))?;
            self.literals.extend(operation.literals.iter().map(|hash| Entry { hash: *hash, bundle: id, op }));
        }
        Ok(())
    }

    async fn write(self, write: &mut Write) -> Result<(), StoreError> {
        for chunk in self.bundles.chunks(PARAMETERS_AT_ONCE / COLUMNS) {
            let mut sql = sql("INSERT INTO bundles (id, session, shape, subject, connection, risk, decision, policies, signers, classes, error,
                    first_op, first_at, last_at, operations)");
            sql.push_rows(chunk.iter().cloned());
            sql.run(write).await?;
        }
        for chunk in self.waiting.chunks(PARAMETERS_AT_ONCE / 3) {
            let mut sql = sql("INSERT INTO waiting (session, op, bundle)");
            sql.push_rows(chunk.iter().cloned());
            sql.run(write).await?;
        }
        write_terms(write, self.terms).await?;
        literals::add(write, self.literals).await
    }
}

async fn write_terms(write: &mut Write, terms: Vec<(String, i64)>) -> Result<(), StoreError> {
    for chunk in terms.chunks(PARAMETERS_AT_ONCE / 2) {
        let mut sql = sql("INSERT INTO bundle_terms (term, bundle)");
        sql.push_rows(chunk.iter().map(|(term, bundle)| [Value::from(term), (*bundle).into()]));
        sql.push(" ON CONFLICT (term, bundle) DO NOTHING");
        sql.run(write).await?;
    }
    Ok(())
}

/// Shapes that are stored: their ids by their hashes.
pub(super) type StoredShapes = HashMap<[u8; 32], i64>;

/// The shapes of a batch.
struct Shapes {
    /// By the addresses of text and facts, which a reader shares between equal ones: the shape and its literals.
    statements: HashMap<(usize, usize), Statement>,
    /// By the address of the facts and the text without literals.
    texts: HashMap<(usize, String), Arc<Known>>,
    stored: StoredShapes,
}

struct Statement {
    /// Kept so that the addresses in the key stay their own.
    _alive: (Arc<str>, Arc<Facts>),
    known: Arc<Known>,
    literals: Arc<[String]>,
}

impl Shapes {
    fn new(stored: StoredShapes) -> Self {
        Self { statements: HashMap::new(), texts: HashMap::new(), stored }
    }

    async fn of(&mut self, write: &mut Write, text: &Arc<str>, facts: &Arc<Facts>) -> Result<(Arc<Known>, Arc<[String]>), StoreError> {
        let address = Arc::as_ptr(facts) as usize;
        let key = (Arc::as_ptr(text).cast::<u8>() as usize, address);
        if let Some(statement) = self.statements.get(&key) {
            return Ok((Arc::clone(&statement.known), Arc::clone(&statement.literals)));
        }
        let shape = shape::shape(text);
        let key_of_text = (address, shape.text);
        let known = match self.texts.get(&key_of_text) {
            Some(known) => Arc::clone(known),
            None => {
                let known = Arc::new(self.find_or_add(write, &key_of_text.1, shape.words, facts).await?);
                self.texts.insert(key_of_text, Arc::clone(&known));
                known
            }
        };
        let literals: Arc<[String]> = shape.literals.into();
        let alive = (Arc::clone(text), Arc::clone(facts));
        self.statements.insert(key, Statement { _alive: alive, known: Arc::clone(&known), literals: Arc::clone(&literals) });
        Ok((known, literals))
    }

    /// Finds the shape, or adds it with its terms.
    async fn find_or_add(&mut self, write: &mut Write, text: &str, words: Vec<String>, facts: &Facts) -> Result<Known, StoreError> {
        let mut terms = facts_terms(facts);
        terms.extend(words);
        terms.sort_unstable();
        terms.dedup();
        let risk = i64::from(facts.risk.level());
        let pairs: Vec<(Action, String)> = facts.pairs.iter().map(|pair| (pair.action, pair.object.to_string())).collect();
        let written_pairs = to_json("what an operation asked for", &pairs)?;
        let digest = digest::digest(&digest::SHA256, to_json("a shape", &(text, &written_pairs, risk, &terms))?.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().map_err(|_| StoreError::corrupt("a shape", "its hash has another length"))?;
        if let Some(id) = self.stored.get(&digest) {
            return Ok(Known { id: *id, pairs });
        }
        let hash = hex(&digest);
        let found: Option<(i64,)> = sql("SELECT id FROM shapes WHERE hash = $1").bind(&hash).optional(&mut *write).await?;
        let id = match found {
            Some((id,)) => id,
            None => add_shape(write, hash, text, written_pairs, risk, &terms).await?,
        };
        self.stored.insert(digest, id);
        Ok(Known { id, pairs })
    }
}

async fn add_shape(write: &mut Write, hash: String, text: &str, pairs: String, risk: i64, terms: &[String]) -> Result<i64, StoreError> {
    let (id,): (i64,) = sql("UPDATE index_counters SET value = value + 1 WHERE name = 'shape' RETURNING value").one(&mut *write).await?;
    sql("INSERT INTO shapes (id, hash, text, pairs, risk, uses) VALUES ($1, $2, $3, $4, $5, 0)")
        .bind(id)
        .bind(hash)
        .bind(text)
        .bind(pairs)
        .bind(risk)
        .run(write)
        .await?;
    for chunk in terms.chunks(PARAMETERS_AT_ONCE / 2) {
        let mut sql = sql("INSERT INTO shape_terms (term, shape)");
        sql.push_rows(chunk.iter().map(|term| [Value::from(term), id.into()]));
        sql.run(write).await?;
    }
    Ok(id)
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

/// The hashes of an operation's literals and parameters: each whole, and a short one's words too.
fn literal_hashes(hash: &LiteralHash, literals: &[String], parameters: &[Parameter]) -> Vec<i64> {
    let parameters: Vec<String> = parameters.iter().filter_map(readable).collect();
    let mut hashes = Vec::new();
    for literal in literals.iter().chain(&parameters) {
        if literal.trim().is_empty() {
            continue;
        }
        hashes.push(hash.of(literal));
        let words = literal.split_whitespace();
        if literal.len() <= MAX_SPLIT_BYTES && words.clone().nth(1).is_some() {
            hashes.extend(words.take(MAX_SPLIT_WORDS).map(|word| hash.of(word)));
        }
        if hashes.len() >= MAX_LITERALS {
            hashes.truncate(MAX_LITERALS);
            break;
        }
    }
    hashes
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
