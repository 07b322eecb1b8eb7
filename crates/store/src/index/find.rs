//! Searching: bundles by whatever finds the fewest of them, newest first, and their operations one by one.
//!
//! If some condition matches few operations, their bundles are listed by it and the rest is checked on each. Otherwise bundles are
//! walked from the newest on, and a condition that matches many stops that walk soon. Either way work is bounded by what is found, not by what is stored; but for a text of
//! several words of which each is in many operations and all of them are in few: that walk goes on to the oldest.
//! All that operations of a bundle share is checked by the database; time and literals are checked here, on each operation.

use std::collections::{BTreeMap, BTreeSet};

use model::SessionId;
use sqlx::FromRow;

use super::{
    Hit, Index,
    absorb::PARAMETERS_AT_ONCE,
    bundle::{self, Operation},
    literals::{self, Found, LiteralHash},
    shape,
};
use crate::{
    StoreError,
    database::{Database, Statement, count, from_json, micros, parsed, sql, time},
    search::{DecisionWord, Query},
};

/// A condition that matches at most so many operations drives the search.
const FEW: i64 = 10_000;
/// A text of more words is found as a whole alone, among what was shown not at all.
const MAX_WORDS: usize = 8;
/// Bundles that a walk lists at a time.
const LISTED_AT_ONCE: i64 = 256;
/// Bundles that are read at a time.
const READ_AT_ONCE: usize = 32;
/// So many bundles a literal may be in and still be named in a statement one by one.
const NAMED_BUNDLES: usize = 64;

/// A condition that all operations of a bundle meet or none, kept in the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// A term of the bundle itself.
    Bundle(String),
    /// A term of its shape.
    Shape(String),
    /// Every one of these terms of its shape, or one of these bundles, in which a literal is.
    Words { words: Vec<String>, bundles: Vec<i64> },
    /// Its shape's risk level lies between these.
    Risk(u8, u8),
    /// The subject.
    Subject(String),
    /// The subject, or the term of the bundle (acting for somebody).
    Member { name: String, term: String },
}

/// A text that was asked for: words of the shape, all of them, or a literal, or words of literals and of what was shown, all of them.
#[derive(Debug)]
struct Text {
    words: Vec<String>,
    hashes: Hashes,
    literal: Literal,
}

/// What a text is found by among literals and what was shown.
#[derive(Debug)]
struct Hashes {
    whole: i64,
    /// Its words, if it has several.
    words: Vec<i64>,
}

/// Where a literal is.
#[derive(Debug)]
enum Literal {
    /// In these bundles, and there in these operations.
    In(BTreeMap<i64, BTreeSet<u32>>),
    /// In many: each bundle is asked about.
    Many,
}

/// What was asked for, in the terms of the tables.
struct Wanted<'a> {
    index: &'a Index,
    query: &'a Query,
    texts: Vec<Text>,
    conditions: Vec<Condition>,
}

/// Operations that match, newest first.
pub(super) async fn search(index: &Index, query: &Query) -> Result<Vec<Hit>, StoreError> {
    let texts = texts(index, query, &index.literals().await?).await?;
    let mut conditions = conditions(query);
    conditions.extend(texts.iter().filter_map(Text::condition));
    settle_members(index, &mut conditions).await?;
    let wanted = Wanted { index, query, texts, conditions };
    let mut hits = Hits { limit: usize::try_from(query.limit).unwrap_or(usize::MAX), found: Vec::new() };
    match wanted.driver().await? {
        Some(driver) => wanted.take_listed(&wanted.listed(&driver).await?, &mut hits).await?,
        None => wanted.walk(&mut hits).await?,
    }
    Ok(hits.found)
}

async fn texts(index: &Index, query: &Query, hash: &LiteralHash) -> Result<Vec<Text>, StoreError> {
    let mut texts = Vec::new();
    for text in &query.texts {
        let count = text.split_whitespace().count();
        let words = if (2..=MAX_WORDS).contains(&count) { text.split_whitespace().map(|word| hash.of(word)).collect() } else { Vec::new() };
        let hashes = Hashes { whole: hash.of(text), words };
        let literal = match hashes.places(index.database()).await? {
            None => Literal::Many,
            Some(places) => {
                let mut bundles = BTreeMap::<i64, BTreeSet<u32>>::new();
                for (bundle, op) in places {
                    bundles.entry(bundle).or_default().insert(op);
                }
                Literal::In(bundles)
            }
        };
        texts.push(Text { words: shape::split_words(text), hashes, literal });
    }
    Ok(texts)
}

impl Hashes {
    /// Bundles and operations in which it is; none if those are many, or nobody can tell.
    async fn places(&self, database: &Database) -> Result<Option<BTreeSet<(i64, u32)>>, StoreError> {
        let few = usize::try_from(FEW).unwrap_or(0);
        let Found::All(mut places) = literals::find(database, self.whole, few).await? else { return Ok(None) };
        let (mut common, mut of_many) = (None::<BTreeSet<(i64, u32)>>, Vec::new());
        for word in &self.words {
            match literals::find(database, *word, few).await? {
                Found::Many => of_many.push(*word),
                Found::All(found) => common = Some(common.map_or_else(|| found.clone(), |common| &common & &found)),
            }
        }
        let mut common = match common {
            None if of_many.is_empty() => return Ok(Some(places)),
            None => return Ok(None),
            Some(common) => common,
        };
        if common.len() > NAMED_BUNDLES && !of_many.is_empty() {
            return Ok(None);
        }
        for word in of_many {
            let mut with = BTreeSet::new();
            for bundle in common.iter().map(|(bundle, _)| *bundle).collect::<BTreeSet<_>>() {
                with.extend(literals::find_in(database, word, bundle).await?.into_iter().map(|op| (bundle, op)));
            }
            common = &common & &with;
        }
        places.append(&mut common);
        Ok(Some(places))
    }

    /// The operations of one bundle in which it is.
    async fn operations_in(&self, database: &Database, bundle: i64) -> Result<BTreeSet<u32>, StoreError> {
        let mut found: BTreeSet<u32> = literals::find_in(database, self.whole, bundle).await?.into_iter().collect();
        let mut common = None::<BTreeSet<u32>>;
        for word in &self.words {
            let with: BTreeSet<u32> = literals::find_in(database, *word, bundle).await?.into_iter().collect();
            common = Some(common.map_or_else(|| with.clone(), |common| &common & &with));
        }
        found.extend(common.unwrap_or_default());
        Ok(found)
    }
}

impl Text {
    /// What the tables can tell of it, unless the literal is in too many bundles to name them.
    fn condition(&self) -> Option<Condition> {
        match &self.literal {
            Literal::In(bundles) if bundles.len() <= NAMED_BUNDLES => {
                Some(Condition::Words { words: self.words.clone(), bundles: bundles.keys().copied().collect() })
            }
            Literal::In(_) | Literal::Many => None,
        }
    }
}

fn conditions(query: &Query) -> Vec<Condition> {
    let mut all = Vec::new();
    all.extend(query.identities.iter().map(|name| Condition::Member { name: name.to_string(), term: format!("via:{name}") }));
    all.extend(query.tables.iter().map(|table| Condition::Shape(format!("table:{}", table.to_lowercase()))));
    all.extend(query.functions.iter().map(|function| Condition::Shape(format!("function:{}", function.to_lowercase()))));
    all.extend(query.actions.iter().map(|action| Condition::Shape(format!("action:{action}"))));
    all.extend(query.masked.iter().map(|class| Condition::Bundle(format!("masked:{class}"))));
    all.extend(query.signers.iter().map(|signer| Condition::Bundle(format!("signer:{signer}"))));
    all.extend(query.errors.iter().map(|error| Condition::Bundle(format!("error:{error}"))));
    all.extend((query.risk != (0, 5)).then_some(Condition::Risk(query.risk.0, query.risk.1)));
    let kept = query.decisions.iter().filter(|word| **word != DecisionWord::Allowed);
    all.extend(kept.map(|word| Condition::Bundle(format!("decision:{}", word.as_str()))));
    all
}

/// Whoever never acted for somebody else is looked for among the subjects alone, which an index gives in the order of time.
async fn settle_members(index: &Index, conditions: &mut [Condition]) -> Result<(), StoreError> {
    for condition in conditions {
        if let Condition::Member { name, term } = condition
            && bundle_matches(index, term).await? == 0
        {
            *condition = Condition::Subject(std::mem::take(name));
        }
    }
    Ok(())
}

/// What finds few bundles: a condition of the tables, or a text by its place.
#[derive(Debug)]
enum Driver<'a> {
    Condition(&'a Condition),
    Text(&'a Text),
}

impl Wanted<'_> {
    /// What matches the fewest operations, if those are few.
    async fn driver(&self) -> Result<Option<Driver<'_>>, StoreError> {
        let mut best: Option<(i64, Driver<'_>)> = None;
        let mut offer = |matches: i64, driver| {
            if matches <= FEW && best.as_ref().is_none_or(|(fewest, _)| matches < *fewest) {
                best = Some((matches, driver));
            }
        };
        for condition in &self.conditions {
            let matches = match condition {
                Condition::Bundle(term) => bundle_matches(self.index, term).await?,
                Condition::Shape(term) => shape_matches(self.index, std::slice::from_ref(term)).await?,
                Condition::Risk(lowest, highest) => risk_matches(self.index, *lowest, *highest).await?,
                // Texts come below, and the others are walked in the order of time.
                Condition::Words { .. } | Condition::Subject(_) | Condition::Member { .. } => continue,
            };
            offer(matches, Driver::Condition(condition));
        }
        for text in &self.texts {
            if let Literal::In(bundles) = &text.literal {
                let shapes = if text.words.is_empty() { 0 } else { shape_matches(self.index, &text.words).await? };
                offer(shapes.saturating_add(i64::try_from(bundles.len()).unwrap_or(i64::MAX)), Driver::Text(text));
            }
        }
        Ok(best.map(|(_, driver)| driver))
    }

    /// Every bundle the driver finds that meets the conditions, newest first.
    async fn listed(&self, driver: &Driver<'_>) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut listed: Vec<(i64, i64)> = Vec::new();
        let database = self.index.database();
        match driver {
            Driver::Condition(condition) => listed = self.driven(condition).all(database.read()).await?,
            Driver::Text(text) => {
                if !text.words.is_empty() {
                    listed = self.driven(&Condition::Words { words: text.words.clone(), bundles: Vec::new() }).all(database.read()).await?;
                }
                if let Literal::In(bundles) = &text.literal {
                    let ids: Vec<i64> = bundles.keys().copied().collect();
                    for ids in ids.chunks(PARAMETERS_AT_ONCE) {
                        let named = Condition::Words { words: Vec::new(), bundles: ids.to_vec() };
                        listed.extend(self.driven(&named).all::<(i64, i64)>(database.read()).await?);
                    }
                }
            }
        }
        listed.sort_unstable_by(|a, b| b.cmp(a));
        listed.dedup();
        Ok(listed)
    }

    /// Goes through all bundles that meet the conditions, from the newest on.
    async fn walk(&self, hits: &mut Hits) -> Result<(), StoreError> {
        let mut before = (i64::MAX, i64::MAX);
        loop {
            let listed: Vec<(i64, i64)> = self.walked(before).all(self.index.database().read()).await?;
            self.take_listed(&listed, hits).await?;
            match listed.last() {
                Some(last) if !hits.are_complete_before(last.0) => before = *last,
                _ => return Ok(()),
            }
        }
    }

    /// Reads bundles, given by time and id from the newest on, until what is left cannot be among the hits.
    async fn take_listed(&self, listed: &[(i64, i64)], hits: &mut Hits) -> Result<(), StoreError> {
        for listed in listed.chunks(READ_AT_ONCE) {
            if listed.first().is_none_or(|(last_at, _)| hits.are_complete_before(*last_at)) {
                return Ok(());
            }
            let rows: Vec<Row> = self.rows(listed).all(self.index.database().read()).await?;
            for row in rows {
                self.take_row(row, hits).await?;
            }
        }
        Ok(())
    }

    async fn take_row(&self, row: Row, hits: &mut Hits) -> Result<(), StoreError> {
        let mut operations = bundle::read(&row.operations)?;
        let inside = |at: i64| self.query.since.is_none_or(|since| at >= micros(since)) && self.query.until.is_none_or(|until| at < micros(until));
        operations.retain(|operation| inside(operation.at));
        for (text, by_words) in self.texts.iter().zip(row.by_words.bytes()) {
            if by_words == b'n' && !operations.is_empty() {
                let with = text.operations_in(self.index, row.id).await?;
                operations.retain(|operation| u32::try_from(operation.op.wrapping_sub(row.first_op)).is_ok_and(|op| with.contains(&op)));
            }
        }
        hits.add(&row, operations)
    }

    fn driven(&self, driver: &Condition) -> Statement {
        let mut sql = sql("SELECT b.last_at, b.id FROM (");
        push_driver(&mut sql, driver);
        // The cross joins keep SQLite from reading the small tables first; every condition on them is an equality of keys.
        sql.push(") AS d CROSS JOIN bundles b WHERE b.id = d.id");
        self.push_conditions(&mut sql, Some(driver));
        sql
    }

    fn walked(&self, before: (i64, i64)) -> Statement {
        let mut sql = sql("SELECT b.last_at, b.id FROM bundles b WHERE (b.last_at, b.id) < (");
        sql.push_bind(before.0).push(", ").push_bind(before.1).push(")");
        self.push_conditions(&mut sql, None);
        sql.push(" ORDER BY b.last_at DESC, b.id DESC LIMIT ").push_bind(LISTED_AT_ONCE);
        sql
    }

    /// Conditions on `b`, but the one that found it.
    fn push_conditions(&self, sql: &mut Statement, driver: Option<&Condition>) {
        for condition in self.conditions.iter().filter(|condition| Some(*condition) != driver) {
            push_condition(sql, condition);
        }
        for connection in &self.query.connections {
            sql.push(" AND b.connection = ").push_bind(connection.to_string());
        }
        if self.query.decisions.contains(&DecisionWord::Allowed) {
            sql.push(" AND b.decision = ").push_bind(DecisionWord::Allowed.as_str());
        }
        if let Some(since) = self.query.since {
            sql.push(" AND b.last_at >= ").push_bind(micros(since));
        }
        if let Some(until) = self.query.until {
            sql.push(" AND b.first_at < ").push_bind(micros(until));
        }
    }

    /// Reads bundles whole; of each text, whether the words of the shape are enough.
    fn rows(&self, listed: &[(i64, i64)]) -> Statement {
        let mut sql =
            sql("SELECT b.id, b.session, r.chain, b.connection, r.database_name, s.text, s.pairs, b.decision, b.policies, b.signers, b.classes,
                b.risk, b.error, b.first_op, b.operations, ");
        for (place, text) in self.texts.iter().enumerate() {
            sql.push(if place == 0 { "" } else { " || " }).push("CASE WHEN ");
            push_words(&mut sql, &text.words);
            sql.push(" THEN 'y' ELSE 'n' END");
        }
        sql.push(if self.texts.is_empty() { "'' AS by_words" } else { " AS by_words" });
        sql.push(" FROM bundles b CROSS JOIN shapes s CROSS JOIN indexed_recordings r WHERE s.id = b.shape AND r.session = b.session AND ");
        push_ids(&mut sql, "b.id IN (", listed.iter().map(|(_, id)| *id));
        sql
    }
}

impl Text {
    /// The operations of a bundle that have the literal, counted from its first.
    async fn operations_in(&self, index: &Index, bundle: i64) -> Result<BTreeSet<u32>, StoreError> {
        match &self.literal {
            Literal::In(bundles) => Ok(bundles.get(&bundle).cloned().unwrap_or_default()),
            Literal::Many => self.hashes.operations_in(index.database(), bundle).await,
        }
    }
}

/// The newest operations found so far.
struct Hits {
    limit: usize,
    found: Vec<Hit>,
}

impl Hits {
    /// Whether nothing asked at or before this time can be among them any more.
    fn are_complete_before(&self, at: i64) -> bool {
        self.found.len() >= self.limit && self.found.last().is_some_and(|oldest| micros(oldest.at) > at)
    }

    fn add(&mut self, row: &Row, mut operations: Vec<Operation>) -> Result<(), StoreError> {
        operations.sort_unstable_by_key(|operation| std::cmp::Reverse((operation.at, operation.op)));
        operations.truncate(self.limit);
        for operation in operations {
            self.found.push(row.hit(operation)?);
        }
        self.found.sort_by_key(|hit| std::cmp::Reverse((hit.at, hit.session.as_u64(), hit.op)));
        self.found.truncate(self.limit);
        Ok(())
    }
}

/// How many bundles have a term, up to more than a few. Most have one operation each, or what they share is of interest to few.
async fn bundle_matches(index: &Index, term: &str) -> Result<i64, StoreError> {
    let (matches,): (i64,) = sql("SELECT COUNT(*) FROM (SELECT 1 AS one FROM bundle_terms WHERE term = $1 LIMIT $2) AS few")
        .bind(term)
        .bind(FEW + 1)
        .one(index.database().read())
        .await?;
    Ok(matches)
}

async fn shape_matches(index: &Index, terms: &[String]) -> Result<i64, StoreError> {
    let mut sql = sql("SELECT CAST(COALESCE(SUM(s.uses), 0) AS BIGINT) FROM shapes s WHERE s.id IN (");
    push_shapes(&mut sql, terms);
    sql.push(")");
    let (matches,): (i64,) = sql.one(index.database().read()).await?;
    Ok(matches)
}

async fn risk_matches(index: &Index, lowest: u8, highest: u8) -> Result<i64, StoreError> {
    let (matches,): (i64,) = sql("SELECT CAST(COALESCE(SUM(uses), 0) AS BIGINT) FROM shapes WHERE risk BETWEEN $1 AND $2")
        .bind(i64::from(lowest))
        .bind(i64::from(highest))
        .one(index.database().read())
        .await?;
    Ok(matches)
}

/// The shapes that have every term.
fn push_shapes(sql: &mut Statement, terms: &[String]) {
    for (place, term) in terms.iter().enumerate() {
        sql.push(if place == 0 { "SELECT shape FROM shape_terms WHERE term = " } else { " INTERSECT SELECT shape FROM shape_terms WHERE term = " });
        sql.push_bind(term.clone());
    }
}

fn push_driver(sql: &mut Statement, driver: &Condition) {
    match driver {
        Condition::Bundle(term) | Condition::Subject(term) | Condition::Member { term, .. } => {
            sql.push("SELECT bundle AS id FROM bundle_terms WHERE term = ").push_bind(term.clone());
        }
        Condition::Shape(term) => push_bundles_of_shapes(sql, |sql| push_shapes(sql, std::slice::from_ref(term))),
        Condition::Risk(lowest, highest) => push_bundles_of_shapes(sql, |sql| {
            sql.push("SELECT id FROM shapes WHERE risk BETWEEN ").push_bind(i64::from(*lowest)).push(" AND ").push_bind(i64::from(*highest));
        }),
        Condition::Words { words, bundles } if bundles.is_empty() => push_bundles_of_shapes(sql, |sql| push_shapes(sql, words)),
        Condition::Words { bundles, .. } => {
            sql.push("SELECT id FROM bundles WHERE ");
            push_ids(sql, "id IN (", bundles.iter().copied());
        }
    }
}

fn push_bundles_of_shapes(sql: &mut Statement, shapes: impl FnOnce(&mut Statement)) {
    sql.push("SELECT id FROM bundles WHERE shape IN (");
    shapes(sql);
    sql.push(")");
}

fn push_ids(sql: &mut Statement, test: &'static str, ids: impl Iterator<Item = i64>) {
    sql.push(test);
    for (place, id) in ids.enumerate() {
        sql.push(if place == 0 { "" } else { ", " }).push_bind(id);
    }
    sql.push(")");
}

fn push_condition(sql: &mut Statement, condition: &Condition) {
    sql.push(" AND (");
    match condition {
        Condition::Bundle(term) => push_bundle_term(sql, term),
        Condition::Shape(term) => push_shape_term(sql, term),
        Condition::Words { words, bundles } => {
            push_words(sql, words);
            if !bundles.is_empty() {
                push_ids(sql, " OR b.id IN (", bundles.iter().copied());
            }
        }
        Condition::Risk(lowest, highest) => {
            sql.push("b.risk BETWEEN ").push_bind(i64::from(*lowest)).push(" AND ").push_bind(i64::from(*highest));
        }
        Condition::Subject(name) => {
            sql.push("b.subject = ").push_bind(name.clone());
        }
        Condition::Member { name, term } => {
            sql.push("b.subject = ").push_bind(name.clone()).push(" OR ");
            push_bundle_term(sql, term);
        }
    }
    sql.push(")");
}

/// Whether the shape of `b` has every word; without words it has not.
fn push_words(sql: &mut Statement, words: &[String]) {
    for (place, word) in words.iter().enumerate() {
        sql.push(if place == 0 { "(" } else { " AND " });
        push_shape_term(sql, word);
    }
    sql.push(if words.is_empty() { "1 = 0" } else { ")" });
}

fn push_bundle_term(sql: &mut Statement, term: &str) {
    sql.push("EXISTS (SELECT 1 FROM bundle_terms t WHERE t.term = ").push_bind(term.to_owned()).push(" AND t.bundle = b.id)");
}

fn push_shape_term(sql: &mut Statement, term: &str) {
    sql.push("EXISTS (SELECT 1 FROM shape_terms t WHERE t.term = ").push_bind(term.to_owned()).push(" AND t.shape = b.shape)");
}

#[derive(FromRow)]
struct Row {
    id: i64,
    session: i64,
    chain: String,
    connection: String,
    database_name: String,
    text: String,
    pairs: String,
    decision: String,
    policies: String,
    signers: String,
    classes: String,
    risk: i64,
    error: Option<String>,
    first_op: i64,
    operations: String,
    /// For each text that was asked for, `y` if the words of the shape are enough.
    by_words: String,
}

impl Row {
    fn hit(&self, operation: Operation) -> Result<Hit, StoreError> {
        Ok(Hit {
            session: SessionId::from_random(count(self.session)),
            op: count(operation.op),
            at: time(operation.at)?,
            chain: self.chain.clone(),
            connection: parsed("a connection name", &self.connection)?,
            database: self.database_name.clone(),
            statement: self.text.clone(),
            pairs: from_json("what an operation asked for", &self.pairs)?,
            decision: self.decision.clone(),
            policies: from_json("policies", &self.policies)?,
            signers: from_json("signers", &self.signers)?,
            masked: from_json("data classes", &self.classes)?,
            risk: u8::try_from(self.risk).unwrap_or(5),
            rows: operation.answer.map(|(rows, _)| count(rows)),
            duration_us: operation.answer.map(|(_, duration)| count(duration)),
            error: self.error.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, database::Reader};

    async fn plan(index: &Index, sql: &Statement) -> Vec<String> {
        let Reader::Embedded(readers) = index.database().read() else { panic!("no SQLite") };
        // A plan needs no values: SQLite takes missing parameters as NULL.
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.embedded_text().as_str()));
        let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(readers).await.unwrap();
        rows.into_iter().map(|(_, _, _, step)| step).collect()
    }

    /// No search reads a whole table, and none sorts: walks go by an index from the newest on.
    #[tokio::test]
    async fn searches_use_indexes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let now = model::Timestamp::UNIX_EPOCH;
        let queries = [
            "",
            "drop payments",
            "identity:alice",
            "connection:prod-pg",
            "table:payments",
            "function:f",
            "action:read",
            "decision:refused",
            "decision:allowed",
            "masked:email",
            "signer:bob",
            "error:23505",
            "risk:>=4",
            "since:2h",
            "carol@example.com",
            "drop identity:alice connection:prod-pg since:2h risk:5",
        ];
        for text in queries {
            let query = Query::parse(text, now).unwrap();
            let texts = texts(store.index(), &query, &store.index().literals().await.unwrap()).await.unwrap();
            let mut conditions = conditions(&query);
            conditions.extend(texts.iter().filter_map(Text::condition));
            let wanted = Wanted { index: store.index(), query: &query, texts, conditions };
            let driven = wanted.conditions.iter().map(|driver| wanted.driven(driver));
            for statement in driven.chain([wanted.walked((5, 5)), wanted.rows(&[(1, 1), (2, 2)])]) {
                let plan = plan(store.index(), &statement).await;
                let scans: Vec<_> = plan.iter().filter(|step| step.starts_with("SCAN") && *step != "SCAN d").collect();
                assert!(scans.is_empty(), "{text}, by {statement:?}: {plan:#?}");
                assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE FOR")), "{text}, by {statement:?}: {plan:#?}");
            }
        }
    }
}
