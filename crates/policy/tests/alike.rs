//! What is found by the shape of a statement is what would be found of the statement itself, with a real server's catalog under both.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may stop at what it did not expect")]

#[path = "postgres/server.rs"]
mod server;

use model::RowScope;
use policy::classify::postgres::{
    ParameterValue, SessionView, Statement,
    catalog::Catalog,
    classify, classify_noting,
    shape::{Likeness, Shape},
};
use serde::Deserialize;
use server::Server;

#[derive(Deserialize)]
struct Corpus {
    roles: Vec<String>,
    fixture: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    statements: Vec<String>,
}

/// Ordinary statements, and such as are judged by the values in them.
const STATEMENTS: &[&str] = &[
    "SELECT abalance FROM accounts WHERE aid = 5",
    "UPDATE accounts SET abalance = abalance + -17 WHERE aid = 5",
    "UPDATE accounts SET abalance = abalance + 17 WHERE aid = - 5",
    "INSERT INTO history (tid, delta, mtime) VALUES (3, -4, CURRENT_TIMESTAMP), (3, 4, '2020-01-01')",
    "DELETE FROM accounts WHERE filler = '5'",
    "DELETE FROM accounts WHERE filler = '5'::text",
    "DELETE FROM accounts WHERE aid = '5'::int",
    "DELETE FROM accounts WHERE '5' = filler",
    "DELETE FROM accounts WHERE 5",
    "DELETE FROM accounts WHERE 1 = 1",
    "DELETE FROM accounts WHERE 'a' = 'b'",
    "DELETE FROM accounts WHERE 'true'",
    "DELETE FROM accounts WHERE filler LIKE '5'",
    "DELETE FROM accounts WHERE filler NOT LIKE '5'",
    "DELETE FROM accounts WHERE filler ~ '5'",
    "DELETE FROM accounts WHERE filler SIMILAR TO '5'",
    "DELETE FROM accounts WHERE aid > 5 OR aid < 3",
    "DELETE FROM accounts WHERE aid <> 5 OR aid = 5",
    "DELETE FROM accounts WHERE aid <> 5 OR aid <> 6",
    "DELETE FROM accounts WHERE aid >= 5 OR aid <= 5 OR aid = 5",
    "DELETE FROM accounts WHERE aid % 2 = 1",
    "DELETE FROM accounts WHERE aid * 2 = 1",
    "DELETE FROM accounts WHERE length(filler) >= 5",
    "DELETE FROM accounts WHERE left(filler, 2) = 'x'",
    "DELETE FROM accounts WHERE tags @> '5'",
    "DELETE FROM accounts WHERE aid BETWEEN 1 AND 10",
    "DELETE FROM accounts WHERE aid IN (1, 2, 3)",
    "DELETE FROM accounts WHERE aid NOT IN (1, 2)",
    "DELETE FROM accounts WHERE aid = coalesce(5, 6)",
    "DELETE FROM accounts WHERE lower('x') = 'x'",
    "DELETE FROM accounts WHERE NOT (aid = 5 AND filler = 'x') AND 5 > 3",
    "DELETE FROM accounts WHERE aid IN (SELECT aid FROM accounts LIMIT 5)",
    "DELETE FROM accounts WHERE EXISTS (SELECT 1 FROM history WHERE tid = 5)",
    "DELETE FROM accounts WHERE CASE WHEN 5 > 3 THEN true ELSE false END",
    "SELECT nextval('s5'), currval('s5')",
    "SELECT set_config('search_path', 'x', false)",
    "SELECT float(5) '1', interval '5' day, timestamp(3) '2020-01-01', extract(year FROM now()), '5'::varchar(5)",
    "SELECT 'pg_class'::regclass, 5::bit(3), date '2020-01-01'",
    "SELECT aid AS x, 5 FROM accounts ORDER BY 1, 2 LIMIT 5 OFFSET 3",
    "SELECT pg_read_file('5'), pg_sleep(5)",
    "SELECT lo_import('5')",
    "SELECT * FROM accounts TABLESAMPLE system (5) REPEATABLE (3)",
    "SELECT $1, 5 /* '5' */ , '5' -- 5",
    "WITH x AS (SELECT 5 AS a) UPDATE accounts SET filler = '5' FROM x WHERE accounts.aid = x.a",
    "MERGE INTO accounts a USING history h ON a.aid = h.tid AND 5 = 5 WHEN MATCHED AND a.aid > 5 THEN DELETE",
    "VALUES (5, 'x')",
    "SELECT json_value('{}', '$.a' RETURNING int DEFAULT 5 ON EMPTY)",
];

/// What stands in for a literal in turn, a number where a number stood, a string where a string did.
const NUMBERS: &[&str] = &["5", "0", "1", "2", "-5", "3000000000", "5.0", "00", "99999999999999999999"];
const STRINGS: &[&str] =
    &["'5'", "'%'", "''", "'x'", "'a|b'", "'true'", "'{}'", "'search_path'", "'s6'", "'password=x'", "'pg_class'", "'it''s'", "E'5'"];

const BOUND: &[&str] = &[
    "SELECT abalance FROM accounts WHERE aid = $1",
    "UPDATE accounts SET abalance = abalance + $1 WHERE aid = $2",
    "DELETE FROM accounts WHERE $1",
    "DELETE FROM accounts WHERE filler LIKE $1",
    "DELETE FROM accounts WHERE filler NOT LIKE $1 OR filler LIKE $2",
    "DELETE FROM accounts WHERE aid > $1 OR aid < $2",
    "DELETE FROM accounts WHERE aid = $1::int OR filler = $2::text",
    "DELETE FROM accounts WHERE $1 = $2",
    "DELETE FROM accounts WHERE aid = ANY ($1)",
    "DELETE FROM accounts WHERE length(filler) > $1",
    "SELECT nextval($1), set_config($1, $2, true)",
    "INSERT INTO accounts (aid, filler) VALUES ($1, $2)",
];

fn values() -> Vec<ParameterValue> {
    let texts = ["5", "0", "%", "", "t", "1", "x", " 7 ", "s5", "search_path", "{1,2}"];
    let texts = texts.iter().map(|text| ParameterValue::Text((*text).to_owned()));
    texts.chain([ParameterValue::Null, ParameterValue::Unreadable]).collect()
}

/// The places of things that look like literals: digits by themselves, and whatever stands between quotes.
fn literals(text: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (vec![], 0);
    while at < bytes.len() {
        let begin = at;
        at += 1;
        if bytes[begin] == b'\'' {
            at = text[at..].find('\'').map_or(text.len(), |end| at + end + 1);
            found.push(begin..at);
        } else if bytes[begin].is_ascii_digit() && (begin == 0 || !(bytes[begin - 1].is_ascii_alphanumeric() || b"_$.".contains(&bytes[begin - 1]))) {
            at += bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            found.push(begin..at);
        }
    }
    found
}

struct Oracle {
    catalog: Catalog,
    view: SessionView,
    found: usize,
    faults: Vec<String>,
}

impl Oracle {
    fn meaning(&self, text: &str) -> (model::Facts, Likeness, Vec<u8>) {
        let (facts, likeness) = classify_noting(&Statement { text, parameters: None }, &self.catalog, &self.view);
        (facts, likeness, Shape::default().of(text, &self.view).to_vec())
    }

    /// Puts other literals into `text`; where what is known of it is said to hold, it must.
    fn try_literals(&mut self, text: &str) {
        let (facts, likeness, known) = self.meaning(text);
        for place in literals(text) {
            let others = if text[place.clone()].starts_with('\'') { STRINGS } else { NUMBERS };
            for other in others {
                let changed = format!("{}{other}{}", &text[..place.start], &text[place.end..]);
                let mut shape = Shape::default();
                if *shape.of(&changed, &self.view) == *known && likeness.holds(&shape, &changed, None, &|_| ParameterValue::Null) {
                    self.found += 1;
                    let anew = classify(&Statement { text: &changed, parameters: None }, &self.catalog, &self.view);
                    if anew != facts {
                        self.faults.push(format!("{text}\n  taken for {changed}\n  {facts:?}\n  {anew:?}"));
                    }
                }
            }
        }
    }

    fn try_parameters(&mut self, text: &str) {
        let pairs: Vec<[ParameterValue; 2]> = values().into_iter().flat_map(|a| values().into_iter().map(move |b| [a.clone(), b])).collect();
        let shape_of = |view: &SessionView| {
            let mut shape = Shape::default();
            shape.of(text, view);
            shape
        };
        let shape = shape_of(&self.view);
        for known in &pairs {
            let (facts, likeness) = classify_noting(&Statement { text, parameters: Some(known) }, &self.catalog, &self.view);
            for other in &pairs {
                if likeness.holds(&shape, text, Some(2), &|at| other[at].clone()) {
                    self.found += 1;
                    let anew = classify(&Statement { text, parameters: Some(other) }, &self.catalog, &self.view);
                    if anew != facts {
                        self.faults.push(format!("{text}\n  with {known:?} taken for {other:?}\n  {facts:?}\n  {anew:?}"));
                    }
                }
            }
        }
    }

    fn knows(&self, text: &str, other: &str) -> bool {
        let (_, likeness, known) = self.meaning(text);
        let mut shape = Shape::default();
        *shape.of(other, &self.view) == *known && likeness.holds(&shape, other, None, &|_| ParameterValue::Null)
    }
}

fn oracle() -> (Oracle, Corpus) {
    let corpus: Corpus = serde_json::from_str(include_str!("../../../tests/evasions/postgres.json")).unwrap();
    let server = Server::start();
    let script: Vec<&str> = corpus.roles.iter().chain(&corpus.fixture).map(String::as_str).collect();
    let tables = "create table accounts (aid int primary key, abalance int, filler text, tags jsonb);
        create table history (tid int, delta int, mtime timestamp); create sequence s5; create sequence s6";
    server.sql("shop", &format!("{};\n{tables}", script.join(";\n")));
    let (catalog, view) = server.catalog("shop");
    (Oracle { catalog, view, found: 0, faults: vec![] }, corpus)
}

/// SQL-06, SQL-09: a cache never answers for a statement that means something else.
#[test]
fn what_is_known_by_shape_is_what_would_be_found_anew() {
    let (mut oracle, corpus) = oracle();
    for text in STATEMENTS.iter().copied().chain(corpus.cases.iter().flat_map(|case| case.statements.iter().map(String::as_str))) {
        oracle.try_literals(text);
    }
    for text in BOUND {
        oracle.try_parameters(text);
    }
    assert!(oracle.faults.is_empty(), "{} faults:\n{}", oracle.faults.len(), oracle.faults[..oracle.faults.len().min(12)].join("\n"));
    assert!(oracle.found > 1_000, "only {} were alike: nothing was tried", oracle.found);
}

/// The cache is of use: what applications send again and again with other values is known.
#[test]
fn ordinary_statements_are_known_by_their_shape() {
    let (oracle, _) = oracle();
    for (text, other) in [
        ("SELECT abalance FROM accounts WHERE aid = 5", "SELECT abalance FROM accounts WHERE aid = 77"),
        ("UPDATE accounts SET abalance = abalance + 17 WHERE aid = 5", "UPDATE accounts SET abalance = abalance + 1234 WHERE aid = 1"),
        ("UPDATE accounts SET abalance = abalance + -17 WHERE aid = 5", "UPDATE accounts SET abalance = abalance + -1 WHERE aid = 1"),
        ("INSERT INTO history (tid, delta) VALUES (3, 4)", "INSERT INTO history (tid, delta) VALUES (1, 2)"),
        ("SELECT filler FROM accounts WHERE filler = 'a' /* 1 */ LIMIT 5", "SELECT filler FROM accounts WHERE filler = 'b' /* 22 */ LIMIT 50"),
        ("DELETE FROM accounts WHERE aid IN (1, 2)", "DELETE FROM accounts WHERE aid IN (8, 9)"),
    ] {
        assert!(oracle.knows(text, other), "{text}");
    }
    for (text, other) in [
        ("DELETE FROM accounts WHERE 1 = 2", "DELETE FROM accounts WHERE 1 = 1"),
        ("DELETE FROM accounts WHERE filler LIKE 'a'", "DELETE FROM accounts WHERE filler LIKE '%'"),
        ("SELECT nextval('s5')", "SELECT nextval('s6')"),
        ("SELECT 'a'", "SELECT 'password=x'"),
        ("SELECT 5", "SELECT 5000000000"),
    ] {
        assert!(!oracle.knows(text, other), "{text}");
    }
}

/// A value nobody here can read may be any: it never makes a write look smaller.
#[test]
fn a_parameter_that_cannot_be_read_is_not_taken_for_null() {
    let (oracle, _) = oracle();
    let scope =
        |text: &str, value: ParameterValue| classify(&Statement { text, parameters: Some(&[value]) }, &oracle.catalog, &oracle.view).row_scope;
    assert_eq!(scope("DELETE FROM accounts WHERE $1", ParameterValue::Null), RowScope::Bounded);
    for text in ["DELETE FROM accounts WHERE $1", "DELETE FROM accounts WHERE filler LIKE $1", "DELETE FROM accounts WHERE $1 = 1"] {
        assert_eq!(scope(text, ParameterValue::Unreadable), RowScope::Tautology, "{text}");
    }
}
