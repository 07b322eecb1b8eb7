//! Searching: one statement, driven by whatever finds the fewest operations.
//!
//! If some condition matches few operations, they are listed by it and the rest is checked on each. Otherwise operations are
//! walked from the newest on, and a condition that matches many stops that walk soon. Either way work is bounded by what is found, not by what is stored.

use model::SessionId;
use sqlx::FromRow;

use super::{Hit, Index, LiteralHash, shape};
use crate::{
    StoreError,
    database::{Statement, count, from_json, micros, parsed, sql, time},
    search::{DecisionWord, Query},
};

/// A condition that matches at most so many operations drives the search.
const FEW: i64 = 10_000;

/// A condition kept in the term tables.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// A term of the operation itself.
    Operation(String),
    /// A term of its shape.
    Shape(String),
    /// Every one of these terms of its shape, or the one of the operation (a literal).
    Text { words: Vec<String>, literal: String },
    /// Its shape's risk level lies between these.
    Risk(u8, u8),
    /// The subject.
    Subject(String),
    /// The subject, or the term of the operation (acting for somebody).
    Member { name: String, term: String },
}

/// Operations that match, newest first.
pub(super) async fn search(index: &Index, query: &Query) -> Result<Vec<Hit>, StoreError> {
    let mut conditions = conditions(query, &index.literals().await?);
    settle_members(index, &mut conditions).await?;
    let driver = fewest(index, &conditions).await?;
    let rows: Vec<Row> = statement(query, &conditions, driver.as_ref()).all(index.database().read()).await?;
    rows.into_iter().map(Row::parse).collect()
}

fn conditions(query: &Query, literals: &LiteralHash) -> Vec<Condition> {
    let mut all = Vec::new();
    all.extend(query.texts.iter().map(|text| Condition::Text { words: shape::split_words(text), literal: literals.term(text) }));
    all.extend(query.identities.iter().map(|name| Condition::Member { name: name.to_string(), term: format!("via:{name}") }));
    all.extend(query.tables.iter().map(|table| Condition::Shape(format!("table:{}", table.to_lowercase()))));
    all.extend(query.functions.iter().map(|function| Condition::Shape(format!("function:{}", function.to_lowercase()))));
    all.extend(query.actions.iter().map(|action| Condition::Shape(format!("action:{action}"))));
    all.extend(query.masked.iter().map(|class| Condition::Operation(format!("masked:{class}"))));
    all.extend(query.signers.iter().map(|signer| Condition::Operation(format!("signer:{signer}"))));
    all.extend(query.errors.iter().map(|error| Condition::Operation(format!("error:{error}"))));
    all.extend((query.risk != (0, 5)).then_some(Condition::Risk(query.risk.0, query.risk.1)));
    let kept = query.decisions.iter().filter(|word| **word != DecisionWord::Allowed);
    all.extend(kept.map(|word| Condition::Operation(format!("decision:{}", word.as_str()))));
    all
}

/// Whoever never acted for somebody else is looked for among the subjects alone, which an index gives in the order of time.
async fn settle_members(index: &Index, conditions: &mut [Condition]) -> Result<(), StoreError> {
    for condition in conditions {
        if let Condition::Member { name, term } = condition
            && operation_matches(index, term).await? == 0
        {
            *condition = Condition::Subject(std::mem::take(name));
        }
    }
    Ok(())
}

/// The condition that matches the fewest operations, if those are few.
async fn fewest(index: &Index, conditions: &[Condition]) -> Result<Option<Condition>, StoreError> {
    let mut best: Option<(i64, &Condition)> = None;
    for condition in conditions {
        let matches = match condition {
            Condition::Operation(term) => operation_matches(index, term).await?,
            Condition::Shape(term) => shape_matches(index, std::slice::from_ref(term)).await?,
            Condition::Text { words, literal } => {
                let shapes = if words.is_empty() { 0 } else { shape_matches(index, words).await? };
                shapes.saturating_add(operation_matches(index, literal).await?)
            }
            Condition::Risk(lowest, highest) => risk_matches(index, *lowest, *highest).await?,
            // These are walked in the order of time.
            Condition::Subject(_) | Condition::Member { .. } => continue,
        };
        if best.is_none_or(|(fewest, _)| matches < fewest) {
            best = Some((matches, condition));
        }
    }
    Ok(best.filter(|(matches, _)| *matches <= FEW).map(|(_, condition)| condition.clone()))
}

async fn operation_matches(index: &Index, term: &str) -> Result<i64, StoreError> {
    let (matches,): (i64,) = sql("SELECT COUNT(*) FROM (SELECT 1 AS one FROM operation_terms WHERE term = $1 LIMIT $2) AS few")
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

fn statement(query: &Query, conditions: &[Condition], driver: Option<&Condition>) -> Statement {
    let mut sql =
        sql("SELECT o.session, o.op, o.at, r.chain, o.connection, r.database_name, s.text, s.pairs, o.decision, o.policies, o.signers, o.classes,
                o.risk, o.row_count, o.duration_us, o.error FROM ");
    if let Some(driver) = driver {
        sql.push("(");
        push_driver(&mut sql, driver);
        sql.push(") AS d CROSS JOIN operations o");
    } else {
        sql.push("operations o");
    }
    // The cross joins keep SQLite from reading the small tables first; every condition on them is an equality of keys.
    sql.push(" CROSS JOIN shapes s CROSS JOIN indexed_recordings r WHERE s.id = o.shape AND r.session = o.session");
    if driver.is_some() {
        sql.push(" AND o.session = d.session AND o.op = d.op");
    }
    for condition in conditions.iter().filter(|condition| Some(*condition) != driver) {
        push_condition(&mut sql, condition);
    }
    push_columns(&mut sql, query);
    sql.push(" ORDER BY o.at DESC, o.session DESC, o.op DESC LIMIT ").push_bind(i64::from(query.limit));
    sql
}

fn push_driver(sql: &mut Statement, driver: &Condition) {
    let operations = |sql: &mut Statement, term: &str| {
        sql.push("SELECT session, op FROM operation_terms WHERE term = ").push_bind(term.to_owned());
    };
    let shapes = |sql: &mut Statement, terms: &[String]| {
        sql.push("SELECT session, op FROM operations WHERE shape IN (");
        push_shapes(sql, terms);
        sql.push(")");
    };
    match driver {
        Condition::Operation(term) | Condition::Subject(term) | Condition::Member { term, .. } => operations(sql, term),
        Condition::Shape(term) => shapes(sql, std::slice::from_ref(term)),
        Condition::Risk(lowest, highest) => {
            sql.push("SELECT session, op FROM operations WHERE shape IN (SELECT id FROM shapes WHERE risk BETWEEN ");
            sql.push_bind(i64::from(*lowest)).push(" AND ").push_bind(i64::from(*highest)).push(")");
        }
        Condition::Text { words, literal } => {
            operations(sql, literal);
            if !words.is_empty() {
                sql.push(" UNION ");
                shapes(sql, words);
            }
        }
    }
}

fn push_condition(sql: &mut Statement, condition: &Condition) {
    sql.push(" AND (");
    match condition {
        Condition::Operation(term) => push_operation_term(sql, term),
        Condition::Shape(term) => push_shape_term(sql, term),
        Condition::Text { words, literal } => {
            push_operation_term(sql, literal);
            for (place, word) in words.iter().enumerate() {
                sql.push(if place == 0 { " OR (" } else { " AND " });
                push_shape_term(sql, word);
            }
            sql.push(if words.is_empty() { "" } else { ")" });
        }
        Condition::Risk(lowest, highest) => {
            sql.push("o.risk BETWEEN ").push_bind(i64::from(*lowest)).push(" AND ").push_bind(i64::from(*highest));
        }
        Condition::Subject(name) => {
            sql.push("o.subject = ").push_bind(name.clone());
        }
        Condition::Member { name, term } => {
            sql.push("o.subject = ").push_bind(name.clone()).push(" OR ");
            push_operation_term(sql, term);
        }
    }
    sql.push(")");
}

fn push_operation_term(sql: &mut Statement, term: &str) {
    sql.push("EXISTS (SELECT 1 FROM operation_terms t WHERE t.term = ").push_bind(term.to_owned());
    sql.push(" AND t.session = o.session AND t.op = o.op)");
}

fn push_shape_term(sql: &mut Statement, term: &str) {
    sql.push("EXISTS (SELECT 1 FROM shape_terms t WHERE t.term = ").push_bind(term.to_owned()).push(" AND t.shape = o.shape)");
}

fn push_columns(sql: &mut Statement, query: &Query) {
    for connection in &query.connections {
        sql.push(" AND o.connection = ").push_bind(connection.to_string());
    }
    if query.decisions.contains(&DecisionWord::Allowed) {
        sql.push(" AND o.decision = ").push_bind(DecisionWord::Allowed.as_str());
    }
    if let Some(since) = query.since {
        sql.push(" AND o.at >= ").push_bind(micros(since));
    }
    if let Some(until) = query.until {
        sql.push(" AND o.at < ").push_bind(micros(until));
    }
}

#[derive(FromRow)]
struct Row {
    session: i64,
    op: i64,
    at: i64,
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
    row_count: Option<i64>,
    duration_us: Option<i64>,
    error: Option<String>,
}

impl Row {
    fn parse(self) -> Result<Hit, StoreError> {
        Ok(Hit {
            session: SessionId::from_random(count(self.session)),
            op: count(self.op),
            at: time(self.at)?,
            chain: self.chain,
            connection: parsed("a connection name", &self.connection)?,
            database: self.database_name,
            statement: self.text,
            pairs: from_json("what an operation asked for", &self.pairs)?,
            decision: self.decision,
            policies: from_json("policies", &self.policies)?,
            signers: from_json("signers", &self.signers)?,
            masked: from_json("data classes", &self.classes)?,
            risk: u8::try_from(self.risk).unwrap_or(5),
            rows: self.row_count.map(count),
            duration_us: self.duration_us.map(count),
            error: self.error,
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

    /// No search walks a whole table other than the newest operations in their order, and none of those walks sorts.
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
            let conditions = conditions(&query, &store.index().literals().await.unwrap());
            let drivers = conditions.iter().map(Some).chain([None]);
            for driver in drivers {
                let plan = plan(store.index(), &statement(&query, &conditions, driver)).await;
                let walks = plan.iter().filter(|step| step.starts_with("SCAN"));
                let walked: Vec<_> =
                    walks.filter(|step| !step.contains("USING INDEX operations_at") && !["SCAN d"].contains(&step.as_str())).collect();
                assert!(walked.is_empty(), "{text}, by {driver:?}: {plan:#?}");
                let sorts = plan.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY"));
                assert!(driver.is_some() || !sorts, "{text}: {plan:#?}");
            }
        }
    }
}
