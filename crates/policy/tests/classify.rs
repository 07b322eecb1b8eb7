//! Facts of statements, with a real server's catalog under them and the server as the oracle.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may stop at what it did not expect")]

#[path = "postgres/server.rs"]
mod server;

use std::{collections::BTreeSet, sync::Arc};

use model::{Action, Facts, RowScope, Understanding};
use policy::classify::postgres::{Named, SessionView, Statement, catalog::Catalog, classify, meaning_beside};
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
    id: String,
    policy: String,
    expect: String,
    /// None: it is about messages, which `tests/tests/evasions.rs` plays.
    #[serde(default)]
    statements: Vec<String>,
}

fn corpus() -> Corpus {
    let mut corpus: Corpus = serde_json::from_str(include_str!("../../../tests/evasions/postgres.json")).unwrap();
    corpus.cases.retain(|case| !case.statements.is_empty());
    corpus
}

fn fixture(server: &Server) {
    let corpus = corpus();
    let mut script = String::new();
    for statement in corpus.roles.iter().chain(&corpus.fixture) {
        script.push_str(statement);
        script.push_str(";\n");
    }
    script.push_str("create schema ext; create extension dblink schema ext;\n");
    server.sql("shop", &script);
}

fn facts(catalog: &Catalog, view: &SessionView, text: &str) -> Facts {
    classify(&Statement { text, parameters: None }, catalog, view)
}

fn actions(facts: &Facts) -> BTreeSet<Action> {
    facts.pairs.iter().map(|pair| pair.action).collect()
}

/// Every statement of a case in order, names of prepared statements and cursors followed.
fn run(case: &Case, catalog: &Catalog, view: &SessionView) -> Vec<Facts> {
    let mut view = view.clone();
    let one = |text: &String| {
        let facts = facts(catalog, &view, text);
        view.apply(&facts.effects.names);
        facts
    };
    case.statements.iter().map(one).collect()
}

/// What is wrong with the facts of a case under the meaning of its policy, if anything is.
fn fault(case: &Case, found: &[Facts]) -> Option<String> {
    let asked: BTreeSet<Action> = found.iter().flat_map(actions).collect();
    let any = |wanted: &[Action]| wanted.iter().any(|action| asked.contains(action));
    let classified = |facts: &Facts| {
        !facts.reads.is_empty() && facts.outputs.opaque
            || facts.asks(Action::Execute)
            || facts.asks(Action::Unreadable)
            || facts.reads.iter().chain(&facts.writes).any(|relation| matches!(&*relation.name, "people" | "people_big" | "pmask"))
    };
    use Action::{Configure, Connect, Define, Destroy, Escape, Execute, Privilege, Read, Unreadable, Write};
    let right = match case.policy.as_str() {
        "block_drop" => any(&[Destroy, Define, Execute, Unreadable]),
        "hold_delete_without_where" if case.expect == "hold_or_alert" => any(&[Write]),
        "hold_delete_without_where" => any(&[Destroy, Unreadable]),
        "mask_people_ssn_email" => found.iter().any(classified),
        "read_only" => asked.iter().any(|action| !matches!(action, Connect | Read)),
        "block_privileged" => any(&[Escape, Privilege, Configure]),
        "session_state" => any(&[Configure]),
        "all" => {
            found.iter().all(|facts| facts.understanding == Understanding::Full)
                && asked.iter().all(|action| matches!(action, Connect | Read | Write))
        }
        other => return Some(format!("no meaning for policy {other}")),
    };
    (!right).then(|| format!("{} ({}): {asked:?}, {:?}", case.id, case.policy, found.iter().map(|facts| &facts.understanding).collect::<Vec<_>>()))
}

/// statement, actions asked for, row scope
const TABLE: &[(&str, &[Action], RowScope)] = {
    use Action::{Configure, Connect, Define, Destroy, Escape, Execute, Export, Privilege, Read, Unreadable, Write};
    use RowScope::{Bounded, Key, None, Selective, Tautology, Unbounded};
    &[
        ("", &[Connect], None),
        ("SELECT 1", &[Connect], None),
        ("SELECT now(), lower('X'), 1 + 2, count(*) FROM generate_series(1, 3)", &[Connect], None),
        ("BEGIN", &[Connect], None),
        ("SET timezone = 'UTC'", &[Connect], None),
        ("SHOW server_version", &[Connect], None),
        ("SELECT id, name FROM people", &[Read], None),
        ("TABLE demo", &[Read], None),
        ("EXPLAIN DELETE FROM demo", &[Read], None),
        ("SELECT set_config(name, 'view', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'", &[Configure, Read], None),
        ("SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = 'DateStyle' AND true", &[Read], None),
        ("SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = 'a' OR true", &[Configure, Read, Unreadable], None),
        ("SELECT set_config(name, 'x', false) FROM pg_settings, demo WHERE name = 'DateStyle'", &[Configure, Read, Unreadable], None),
        ("SELECT relname FROM pg_class", &[Read], None),
        ("SELECT * FROM information_schema.tables", &[Read], None),
        ("INSERT INTO demo VALUES (11, 'x', 'a')", &[Write], Bounded),
        ("INSERT INTO demo(id) SELECT id + 100 FROM demo2", &[Read, Write], Selective),
        ("UPDATE demo SET v = 'x' WHERE id = 1", &[Write], Key),
        ("DELETE FROM demo WHERE id IN (1, 2)", &[Write], Bounded),
        ("DELETE FROM demo WHERE id = 1 OR id = 2", &[Write], Bounded),
        ("DELETE FROM demo WHERE v = 'x'", &[Write], Selective),
        ("DELETE FROM demo WHERE id < 3 AND v LIKE 'a%'", &[Write], Selective),
        ("DELETE FROM demo WHERE v IS NULL", &[Write], Selective),
        ("DELETE FROM demo WHERE id IN (SELECT n::int FROM audit WHERE n = '1')", &[Read, Write], Selective),
        ("DELETE FROM demo USING demo2 WHERE demo.id = demo2.id", &[Read, Write], Selective),
        ("DELETE FROM demo WHERE EXISTS (SELECT 1 FROM demo2 d WHERE d.id = demo.id)", &[Read, Write], Selective),
        ("DELETE FROM demo WHERE ctid IN (SELECT ctid FROM demo LIMIT 5)", &[Read, Write], Bounded),
        ("WITH old AS (SELECT id FROM demo WHERE v = 'x') DELETE FROM demo USING old WHERE demo.id = old.id", &[Read, Write], Selective),
        ("MERGE INTO demo USING demo2 ON demo.id = demo2.id WHEN MATCHED THEN UPDATE SET v = 'x'", &[Read, Write], Selective),
        ("DELETE FROM demo", &[Destroy], Unbounded),
        ("DELETE FROM demo WHERE true", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE 1 = 1", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE 'a' = 'a' OR id = 1", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id = id", &[Destroy], Tautology),
        ("DELETE FROM demo d WHERE d.id >= d.id", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id IS NOT NULL", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id IS DISTINCT FROM NULL", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE NULL IS DISTINCT FROM id", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE NOT id IS NOT DISTINCT FROM NULL", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE v IS NOT DISTINCT FROM v", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE v IS DISTINCT FROM NULL", &[Write], Selective),
        ("DELETE FROM demo WHERE v IS NOT DISTINCT FROM NULL", &[Write], Selective),
        ("DELETE FROM demo WHERE v LIKE '%'", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE v ~ ''", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE v SIMILAR TO '%'", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE length(v) >= 0", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id * 0 = 0", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id - id = 0", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE coalesce(NULL, true)", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id = 1 OR id <> 1", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id > 5 OR id <= 5", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id > 1 OR id < 5", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE v IS NULL OR v IS NOT NULL", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE NOT (id > 5 AND id < 5)", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id BETWEEN id AND id", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id IN (id)", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id = ANY (ARRAY[id])", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE random() < 2", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE (SELECT true)", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE EXISTS (SELECT 1)", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE NOT EXISTS (SELECT 1 WHERE false)", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE CASE WHEN id = 1 THEN true ELSE true END", &[Destroy], Tautology),
        ("DELETE FROM demo WHERE id IN (SELECT id FROM demo)", &[Read, Destroy], Tautology),
        ("DELETE FROM demo WHERE id = (SELECT d.id FROM demo d WHERE d.id = demo.id)", &[Read, Destroy], Tautology),
        ("DELETE FROM demo USING demo d2 WHERE demo.id = d2.id", &[Read, Destroy], Tautology),
        ("WITH t AS (SELECT id FROM demo) DELETE FROM demo USING t WHERE demo.id = t.id", &[Read, Destroy], Tautology),
        ("WITH x AS (DELETE FROM demo RETURNING id) SELECT count(*) FROM x", &[Read, Destroy], Unbounded),
        ("UPDATE demo SET v = 'x'", &[Destroy], Unbounded),
        ("DELETE FROM v_demo", &[Read, Destroy], Unbounded),
        ("TRUNCATE demo", &[Destroy], Unbounded),
        ("DROP TABLE demo", &[Destroy], None),
        ("DROP TABLE IF EXISTS nope", &[Connect], None),
        ("ALTER TABLE demo DROP COLUMN v", &[Destroy], None),
        ("ALTER TABLE demo ADD COLUMN z int", &[Define], None),
        ("ALTER TABLE demo ENABLE ROW LEVEL SECURITY", &[Privilege], None),
        ("CREATE TABLE fresh(id serial primary key, t text)", &[Define], None),
        ("COMMENT ON TABLE demo IS 'x'", &[Define], None),
        ("VACUUM demo", &[Define], None),
        ("GRANT SELECT ON demo TO app", &[Privilege], None),
        ("SET ROLE app", &[Privilege], None),
        ("SET SESSION AUTHORIZATION app", &[Privilege], None),
        ("SET search_path = evil", &[Configure], None),
        ("SELECT set_config('search_path', 'evil', false)", &[Configure], None),
        ("SELECT get_ssn(1)", &[Execute], None),
        ("SELECT people.get_pair FROM people", &[Read, Execute], None),
        ("SELECT do_write()", &[Write, Execute], Bounded),
        ("SELECT * FROM v_write", &[Read, Write, Execute], Bounded),
        ("SELECT 'x'::text::boom", &[Execute], None),
        ("SELECT pg_sleep(1)", &[Execute], None),
        ("COPY demo TO STDOUT", &[Export], None),
        ("COPY (SELECT id FROM demo) TO STDOUT", &[Read, Export], None),
        ("COPY demo FROM STDIN", &[Write], Bounded),
        ("COPY demo TO '/tmp/x'", &[Export, Escape], None),
        ("COPY demo FROM PROGRAM 'id'", &[Write, Escape], Bounded),
        ("SELECT lo_get(1)", &[Export], None),
        ("SELECT lo_unlink(1)", &[Destroy], None),
        ("SELECT * FROM pg_read_file('/etc/passwd')", &[Escape], None),
        ("LOAD 'x'", &[Escape], None),
        ("CREATE EXTENSION pg_trgm", &[Define], None),
        ("CREATE EXTENSION file_fdw", &[Define, Escape], None),
        ("SELECT * FROM ext.dblink('x', 'y') t(a text)", &[Execute, Escape], None),
        ("ALTER SYSTEM SET work_mem = '1GB'", &[Escape, Configure], None),
        ("DO $$BEGIN END$$", &[Execute, Unreadable], None),
        ("SELECT query_to_xml('select 1', true, true, '')", &[Execute, Unreadable], None),
        ("SELECT nextval('sq_main')", &[Write], None),
        ("SELECT * FROM demo FOR UPDATE", &[Read, Write], None),
        ("DELETE FROM fk_parent WHERE id = 1", &[Write], Key),
    ]
};

/// Conditions on `demo` that every row meets, or may meet: wordings of `true` that look as if they restricted.
const WHOLE: &[&str] = &[
    "id IN (SELECT id)",
    "id = (SELECT demo.id)",
    "id = ANY (ARRAY(SELECT id))",
    "(SELECT id) = id",
    "(id, v) IN (SELECT id, v)",
    "id IN (VALUES (id))",
    "id IN (SELECT id UNION SELECT 0)",
    "id IN (SELECT x.i FROM (SELECT demo.id AS i) x)",
    "id IN (SELECT i FROM LATERAL (SELECT id AS i) x)",
    "id IN (SELECT unnest(ARRAY[demo.id]))",
    "id = (SELECT (demo).id)",
    "EXISTS (SELECT 1 FROM demo2 WHERE id = 1)",
    "EXISTS (SELECT FROM demo WHERE demo.id = 1)",
    "EXISTS (SELECT 1 FROM demo d2 WHERE id = 1)",
    "EXISTS (SELECT 1 FROM demo WHERE id IN (1, 2))",
    "NOT EXISTS (SELECT 1 FROM demo2 WHERE id = -1)",
    "id IN (SELECT id FROM jsonb_to_recordset('[{\"x\": 1}]') AS t(x int))",
    "id IN (SELECT id FROM unnest(ARRAY[1]) AS x)",
    "id IN (SELECT (ARRAY[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])[id])",
    "id IN (SELECT x.id FROM demo2 x ORDER BY x.id = demo.id DESC LIMIT 1)",
    "id IN (SELECT CASE WHEN true THEN demo.id END)",
    "id <> ALL ('{}')",
    "(id, v) = (1, 'v1') OR (id, v) <> (1, 'v1')",
    "ARRAY[id] @> ARRAY[]::int[]",
    "ARRAY[id] <> '{}'",
    "mod(id, 1) = 0",
    "right(v, -1000) = ''",
    "id < 'Infinity'::float8",
    "id <@ '(,)'::int4range",
    "replace(v, v, '') = ''",
    "ctid >= '(0,0)'",
    "v = m::text OR v <> m::text",
    "id <> ALL (ARRAY[]::int[])",
    "NOT (id = ANY ('{}'))",
    "id NOT IN (SELECT id FROM demo WHERE false)",
    "id NOT IN (SELECT -1)",
    "id IN (SELECT id FROM demo LIMIT 1000000)",
    "id IN (SELECT id FROM demo LIMIT (SELECT count(*) FROM demo))",
    "id IN (SELECT id FROM demo FETCH FIRST 1000000000 ROWS ONLY)",
    "id IN (SELECT unnest(ARRAY(SELECT id FROM demo)))",
    "id IN (SELECT generate_series(1, 1000))",
    "id IN (SELECT d.id FROM demo2 s, demo d WHERE s.id = 1)",
    "id IN (1, 2) OR id NOT IN (1, 2)",
    "id BETWEEN 1 AND 5 OR id NOT BETWEEN 1 AND 5",
    "lower(v) = 'a' OR lower(v) <> 'a'",
    "id % 2 = 0 OR id % 2 <> 0",
    "id + 0 > 5 OR id + 0 <= 5",
    "length(v) > 3 OR length(v) <= 3",
    "id::text = '1' OR id::text <> '1'",
    "v ~ 'a' OR v !~ 'a'",
    "(id = 1 AND v = 'v1') OR NOT (id = 1 AND v = 'v1')",
    "id = 1 OR (id <> 1 AND id <> 1)",
    "id NOT BETWEEN 1 AND 0",
    "NOT (id BETWEEN 5 AND 1)",
    "id BETWEEN -2147483648 AND 2147483647",
    "id >= -2147483648",
    "v >= ''",
    "v ~ 'x*'",
    "v ~ '(v1)?'",
    "v ~ '\\w*'",
    "v ~ 'a{0,}'",
    "v ~ '.{0,9}'",
    "v ~ '[a-z]*'",
    "v ~* '(?:x)?'",
    "v SIMILAR TO '%x*%'",
    "id >= (SELECT min(id) FROM demo)",
    "id <= (SELECT max(id) FROM demo)",
];

/// Statements that may write every row of `demo`.
const WHOLE_STATEMENTS: &[&str] = &[
    "DELETE FROM demo USING unnest(ARRAY(SELECT id FROM demo)) x WHERE demo.id = x",
    "DELETE FROM demo USING (SELECT id FROM demo LIMIT 1000000) d WHERE demo.id = d.id",
    "DELETE FROM demo USING demo d WHERE demo.id = d.id AND d.id IS NOT NULL",
    "DELETE FROM demo USING demo d WHERE demo.id = d.id AND d.v LIKE '%'",
    "DELETE FROM demo USING demo d WHERE demo.id = d.id AND d.id > -2147483648",
    "UPDATE demo SET v = 'x' WHERE id IN (SELECT id)",
    "MERGE INTO demo d USING (SELECT 1 AS one) s ON EXISTS (SELECT 1 FROM demo2 WHERE id = 1) WHEN MATCHED THEN DELETE",
];

/// Conditions on `demo` as applications write them: they restrict.
const SOME: &[&str] = &[
    "id = (SELECT max(id) FROM demo)",
    "id IN (SELECT id FROM demo2 WHERE v = 'x')",
    "id IN (SELECT d.id FROM demo d WHERE d.v = 'x')",
    "id IN (SELECT demo.id FROM demo WHERE demo.v = 'x')",
    "id IN (SELECT x.id FROM (SELECT id FROM demo2 WHERE v = 'a') x)",
    "id IN (SELECT id FROM jsonb_to_recordset('[{\"id\": 1}]') AS t(id int))",
    "id IN (SELECT id FROM unnest(ARRAY[1]) AS id)",
    "id IN (SELECT id FROM (SELECT * FROM demo2 WHERE v = 'a') x)",
    "id IN (WITH old AS (SELECT id FROM demo2 WHERE v = 'a') SELECT id FROM demo2 WHERE id IN (SELECT id FROM old))",
    "EXISTS (SELECT 1 FROM demo2 WHERE demo2.id = demo.id)",
    "EXISTS (SELECT 1 FROM demo2 x WHERE x.id = demo.id AND x.v = 'a')",
    "NOT EXISTS (SELECT 1 FROM demo2 x WHERE x.id = demo.id)",
    "id NOT IN (SELECT id FROM demo2)",
    "id NOT IN (1, 2)",
    "id <> ALL (ARRAY[1, 2])",
    "id = ANY ('{1,2}')",
    "id IN (SELECT id FROM demo WHERE v = 'x' LIMIT 1000)",
    "id IN (SELECT id FROM demo ORDER BY id LIMIT 1000)",
    "id IN (SELECT unnest(ARRAY[1, 2]))",
    "id BETWEEN 1 AND 5",
    "id NOT BETWEEN 1 AND 5",
    "v = 'a' OR v = 'b'",
    "v = 'a' OR id > 5",
    "lower(v) = 'a' OR lower(v) = 'b'",
    "v ~ '^foo.*'",
    "v ~ '^v[0-9]+$'",
    "v ~ '^\\d+$'",
    "v ~ '[0-9]'",
    "v SIMILAR TO 'v%'",
    "v > 'a' AND id < 100",
    "id > 5",
    "v <= 'm'",
    "id % 2 = 0",
    "id = (SELECT id FROM demo2 WHERE v = 'x')",
    "v IN ('a', 'b') AND id > 3",
    "id = 1 OR (v = 'a' AND id > 7)",
];

fn scope_faults(catalog: &Catalog, view: &SessionView) -> Vec<String> {
    let where_ = |condition: &&str| format!("DELETE FROM demo WHERE {condition}");
    let deep = format!("id IN (SELECT {}id{})", "abs(".repeat(250), ")".repeat(250));
    let whole = WHOLE
        .iter()
        .map(where_)
        .chain(WHOLE_STATEMENTS.iter().map(|text| (*text).to_owned()))
        .chain([where_(&deep.as_str())])
        .map(|text| (text, true));
    let judged = whole.chain(SOME.iter().map(where_).map(|text| (text, false)));
    let wrong = judged.filter(|(text, destroys)| facts(catalog, view, text).asks(Action::Destroy) != *destroys);
    wrong
        .map(|(text, destroys)| format!("{text}: {}", if destroys { "is taken for a restriction" } else { "is taken for the whole table" }))
        .collect()
}

fn table_faults(catalog: &Catalog, view: &SessionView) -> Vec<String> {
    let mut faults = vec![];
    for (text, wanted, scope) in TABLE {
        let found = facts(catalog, view, text);
        let wanted: BTreeSet<Action> = wanted.iter().copied().collect();
        if actions(&found) != wanted || found.row_scope != *scope {
            faults.push(format!("{text}: {:?} {:?} {:?}", actions(&found), found.row_scope, found.understanding));
        }
    }
    faults
}

#[test]
fn facts_agree_with_a_real_server() {
    let server = Server::start();
    fixture(&server);
    let (catalog, view) = server.catalog("shop");
    let mut faults: Vec<String> = corpus().cases.iter().filter_map(|case| fault(case, &run(case, &catalog, &view))).collect();
    faults.extend(table_faults(&catalog, &view));
    faults.extend(scope_faults(&catalog, &view));
    faults.extend(built_in_faults(&server));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// statement, columns it stores and renames (`table.column`), marks: `?` untold, `!` code that is not followed
const STORES: &[(&str, &str)] = &[
    // Ordinary writes store nothing that was there already but the row's own plain columns.
    ("UPDATE customers SET status = 'x', visits = visits + 1 WHERE id = $1", "customers.visits"),
    ("INSERT INTO customers VALUES (1, 'a', 'b', 'c', 0)", ""),
    ("INSERT INTO customers (id, email) VALUES ($1, $2) RETURNING email", ""),
    (
        "INSERT INTO customers (id, email) VALUES (1, 'b') ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email, visits = customers.visits + 1",
        "customers.visits",
    ),
    ("UPDATE customers SET email = $1 WHERE id = 1", ""),
    ("UPDATE customers SET status = $1 WHERE email = $2", ""),
    ("INSERT INTO log SELECT id, now() FROM customers", "customers.id"),
    ("INSERT INTO log SELECT c.id, now() FROM customers c WHERE c.email LIKE 'a%' ORDER BY c.email", "customers.id"),
    ("INSERT INTO log SELECT s.id, now() FROM (SELECT id, email FROM customers) s", "customers.id"),
    ("WITH x AS (UPDATE customers SET visits = 0 WHERE id = 1 RETURNING id, email) INSERT INTO log SELECT id, now() FROM x", "customers.id"),
    ("DELETE FROM customers WHERE email = 'x'", ""),
    ("SELECT email FROM customers", ""),
    ("EXPLAIN INSERT INTO notes SELECT id, email FROM customers", ""),
    ("INSERT INTO notes VALUES (nextval('numbers'), 'x')", ""),
    ("CREATE TABLE fresh (id serial PRIMARY KEY, t text DEFAULT 'x', u text GENERATED ALWAYS AS ('y') STORED)", ""),
    ("DROP TABLE customers", ""),
    ("ALTER TABLE customers ADD COLUMN z int DEFAULT 0", ""),
    ("CREATE VIEW v AS SELECT email FROM customers", ""),
    ("COPY customers TO STDOUT", ""),
    ("COPY customers FROM STDIN", ""),
    ("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT email FROM customers'", ""),
    // Values that move.
    ("UPDATE customers SET name = email WHERE id = 1 RETURNING name", "customers.email"),
    ("UPDATE customers SET name = (SELECT c.email FROM customers c WHERE c.id = customers.id)", "customers.email"),
    ("UPDATE customers SET (name, status) = (SELECT email, 'x' FROM customers c LIMIT 1)", "customers.email"),
    ("UPDATE notes SET note = c.email FROM customers c WHERE notes.id = c.id", "customers.email"),
    ("UPDATE customers SET name = CASE WHEN email LIKE 'a%' THEN 'a' ELSE 'b' END", "customers.email"),
    ("INSERT INTO notes SELECT id, email FROM customers", "customers.email customers.id"),
    ("INSERT INTO notes SELECT 1, c::text FROM customers c", "customers.email customers.id customers.name customers.status customers.visits"),
    (
        "INSERT INTO notes SELECT 1, row_to_json(c)::text FROM customers c",
        "customers.email customers.id customers.name customers.status customers.visits",
    ),
    ("INSERT INTO notes SELECT 1, row(c.*)::text FROM customers c", "customers.email customers.id customers.name customers.status customers.visits"),
    ("INSERT INTO notes VALUES (1, (SELECT email FROM customers LIMIT 1)), (2, 'x')", "customers.email"),
    ("INSERT INTO notes SELECT 1, m FROM (SELECT max(email) AS m FROM customers) s", "customers.email"),
    ("INSERT INTO notes SELECT 1, t FROM (SELECT 'x' UNION ALL SELECT email FROM customers) s(t)", "customers.email"),
    ("INSERT INTO notes SELECT 1, u FROM customers c, unnest(ARRAY[c.email]) u", "customers.email"),
    ("WITH e AS (SELECT email FROM customers) INSERT INTO notes SELECT 1, email FROM e", "customers.email"),
    ("WITH x AS (UPDATE customers SET visits = 0 RETURNING email) INSERT INTO notes SELECT 1, email FROM x", "customers.email"),
    ("WITH x AS (INSERT INTO notes SELECT 1, email FROM customers RETURNING id) SELECT id FROM x", "customers.email"),
    ("INSERT INTO notes SELECT 1, contact FROM people", "customers.email people.contact"),
    ("INSERT INTO notes (id, note) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = (SELECT email FROM customers LIMIT 1)", "customers.email"),
    ("MERGE INTO notes n USING customers c ON n.id = c.id WHEN MATCHED THEN UPDATE SET note = c.email", "customers.email"),
    ("MERGE INTO notes n USING customers c ON n.id = c.id WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.email)", "customers.email customers.id"),
    ("CREATE TABLE x AS SELECT email FROM customers", "customers.email"),
    ("SELECT email INTO x FROM customers", "customers.email"),
    ("CREATE MATERIALIZED VIEW x AS SELECT lower(email) FROM customers", "customers.email"),
    ("COPY (SELECT email FROM customers) TO PROGRAM 'cat'", "customers.email"),
    ("ALTER TABLE customers ALTER COLUMN name TYPE text USING email", "customers.email"),
    ("ALTER TABLE customers ADD COLUMN z text GENERATED ALWAYS AS (email) STORED", "customers.email"),
    ("CREATE RULE r AS ON UPDATE TO customers DO ALSO INSERT INTO notes VALUES (new.id, new.email)", "customers.email customers.id"),
    ("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'INSERT INTO notes SELECT 1, email FROM customers'", "customers.email"),
    ("SELECT keep(email) FROM customers", "customers.email"),
    ("SELECT set_config('x.y', email, false) FROM customers", "customers.email"),
    ("SELECT pg_notify('c', email) FROM customers", "customers.email"),
    ("PREPARE p AS INSERT INTO notes SELECT 1, email FROM customers", "customers.email"),
    ("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN END'", "!"),
    ("DO 'BEGIN END'", "?"),
    // Names that end.
    ("ALTER TABLE customers RENAME COLUMN email TO mail", "customers.email"),
    ("ALTER TABLE notes RENAME TO remarks", "notes.id notes.note"),
    ("ALTER TABLE notes SET SCHEMA pg_temp", "notes.id notes.note"),
    // What was generated from others stays, and nothing says any more what that was.
    ("ALTER TABLE made ALTER COLUMN shadow DROP EXPRESSION", "made.email made.shadow"),
    ("ALTER TABLE made ALTER COLUMN email DROP EXPRESSION IF EXISTS", "made.email"),
    // A bound is computed once and kept in the catalog.
    ("CREATE TABLE part PARTITION OF parted FOR VALUES IN ((SELECT email FROM customers))", "customers.email"),
    ("ALTER TABLE parted ATTACH PARTITION notes FOR VALUES FROM ((SELECT email FROM customers)) TO (maxvalue)", "customers.email"),
    ("CREATE TABLE part PARTITION OF parted FOR VALUES IN ('a', 'b')", ""),
];

fn stores_faults(catalog: &Catalog, view: &SessionView) -> Vec<String> {
    let mut faults = vec![];
    for (text, wanted) in STORES {
        let stores = facts(catalog, view, text).effects.stores;
        let mut shown: Vec<String> = vec![];
        for column in stores.columns.iter().chain(&stores.renames) {
            shown.push(format!("{}.{}", catalog.relation_by_oid(column.relation).unwrap().name, column.column));
        }
        shown.sort();
        shown.extend(stores.untold.then(|| "?".to_owned()));
        shown.extend(stores.code.then(|| "!".to_owned()));
        if shown.join(" ") != *wanted {
            faults.push(format!("{text}: {shown:?}"));
        }
    }
    faults
}

#[test]
fn what_a_statement_stores_is_known_by_column() {
    let server = Server::start();
    server.sql(
        "shop",
        "create table customers (id int primary key, name text, email text, status text, visits int);
         create table notes (id int primary key, note text); create table log (id int, at timestamptz); create sequence numbers;
         create table made (id int primary key, email text, shadow text generated always as (upper(email)) stored);
         create table parted (v text) partition by list (v);
         create view people as select id, email as contact from customers;
         create function keep(text) returns bool language plpgsql as 'begin insert into notes values (1, $1); return true; end'",
    );
    let (catalog, view) = server.catalog("shop");
    let faults = stores_faults(&catalog, &view);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// What a portal made by Bind would give is known by its text, as a cursor's is.
#[test]
fn a_known_cursor_is_fetched_from() {
    let server = Server::start();
    server.sql("shop", "create table customers (id int primary key, email text)");
    let (catalog, mut view) = server.catalog("shop");
    view.cursors.insert("c".to_owned(), "select email from customers where id = $1".into());
    for text in ["FETCH ALL FROM c", "MOVE 3 IN c", "FETCH 2 c"] {
        let found = facts(&catalog, &view, text);
        assert_eq!((&found.understanding, actions(&found)), (&Understanding::Full, BTreeSet::from([Action::Read])), "{text}");
        assert_eq!(&*found.reads[0].name, "customers");
    }
    assert!(matches!(facts(&catalog, &view, "FETCH ALL FROM d").understanding, Understanding::Unreadable(_)));
}

/// A call may leave arguments out: what stands for them runs, too.
#[test]
fn values_of_arguments_that_are_left_out_are_found_by_what_they_call() {
    let server = Server::start();
    server.sql(
        "shop",
        "create function code() returns text language plpgsql as 'begin return 1; end';
         create function reads(a text default pg_read_file('x')) returns text language sql as 'select $1';
         create function calls(a int, b text default 'y' || code()) returns text language sql as 'select $2';
         create function plain(a int default 1, b text default 'it''s') returns text language sql as 'select $2'",
    );
    let (catalog, view) = server.catalog("shop");
    assert!(facts(&catalog, &view, "SELECT reads()").asks(Action::Escape));
    let called = facts(&catalog, &view, "SELECT calls(1)");
    assert!(called.functions.iter().any(|function| &**function == "public.code") && called.outputs.unfollowed, "{called:?}");
    let plain = facts(&catalog, &view, "SELECT plain()");
    assert!(plain.understanding == Understanding::Full && !plain.outputs.unfollowed, "{plain:?}");
}

/// The target looks up the names of what was prepared again only when something that it found has changed.
#[test]
fn what_was_prepared_means_what_it_meant_beside_what_it_would_mean_now() {
    let server = Server::start();
    server.sql("shop", "create schema mine; create table customers (id int primary key); create table orders (id int primary key)");
    let (catalog, mut view) = server.catalog("shop");
    view.search_path.insert(1, "mine".into());
    let text = "DELETE FROM customers";
    let meant = Arc::new(facts(&catalog, &view, text));
    let named = Named { text: text.into(), meant: Some(meant.clone()) };
    view.prepared.insert("p".to_owned(), named);
    let destroys = |facts: &Facts, schema: &str| {
        facts.pairs.iter().any(|pair| pair.action == Action::Destroy && pair.object.to_string().contains(&format!("{schema}.customers")))
    };
    let executed = facts(&catalog, &view, "EXECUTE p");
    assert!(destroys(&executed, "public") && meaning_beside(&executed, &meant, &catalog).is_none(), "{executed:?}");
    server.sql("shop", "create table mine.customers (id int)");
    let catalog = server.read("shop", Some(&catalog));
    for text in ["EXECUTE p", "EXECUTE p; DELETE FROM public.customers WHERE id = 1"] {
        let executed = facts(&catalog, &view, text);
        assert!(destroys(&executed, "public"), "{executed:?}");
    }
    // What it found is gone: it is looked up again.
    server.sql("shop", "drop table customers");
    let catalog = server.read("shop", Some(&catalog));
    assert!(!destroys(&facts(&catalog, &view, "EXECUTE p"), "public"));
}

/// Every built-in function this server declares volatile is listed, so that none is unreadable for want of a line.
fn built_in_faults(server: &Server) -> Vec<String> {
    let (catalog, view) = server.catalog("shop");
    let names = server.sql("shop", "select distinct proname from pg_proc where provolatile = 'v' and pronargs = 0 and pronamespace = 'pg_catalog'::regnamespace and prokind = 'f' and oid < 16384 and proname not like '%handler' and prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)");
    let unknown = |name: &&str| {
        let found = facts(&catalog, &view, &format!("SELECT pg_catalog.{name}()"));
        matches!(found.understanding, Understanding::Unreadable(why) if why.starts_with("nothing is known"))
    };
    names.lines().filter(unknown).map(|name| format!("unlisted built-in {name}")).collect()
}

/// Hostile shapes are answered, never crashed on: PG-DEEP.
#[test]
fn deep_and_long_statements_are_understood_or_refused() {
    let (catalog, view) = (Catalog::default(), SessionView::default());
    let sum = |terms: usize| format!("SELECT {}1", "1+".repeat(terms));
    let nested = |levels: usize| format!("{}SELECT 1{}", "SELECT (".repeat(levels), ")".repeat(levels));
    let unions = |arms: usize| format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(arms));
    for text in [sum(20), sum(58), sum(400), nested(14), nested(15), nested(38), unions(15), nested(100), unions(500)] {
        assert_eq!(facts(&catalog, &view, &text).understanding, Understanding::Full, "{} bytes", text.len());
    }
    let shapes: [(&str, &str, &str); 10] = [
        ("SELECT ", "(", ")"),
        ("SELECT 1", "+1", ""),
        ("SELECT ", "-", ""),
        ("SELECT ", "NOT ", ""),
        ("SELECT ", "ARRAY[", "]"),
        ("SELECT ", "coalesce(", ")"),
        ("SELECT ", "CASE WHEN true THEN ", " END"),
        ("SELECT * FROM ", "(SELECT * FROM ", ") x"),
        ("SELECT 1 WHERE 1 IN ", "(SELECT 1 WHERE 1 IN ", ")"),
        ("SELECT 1 FROM a", " JOIN a ON true", ""),
    ];
    // Every depth is answered, whichever of the parser, the tree and the walk is the first to refuse.
    for levels in [10, 30, 60, 120, 240, 400, 600, 800, 1_000, 1_300, 1_700, 2_500, 5_000, 20_000] {
        for (start, open, close) in shapes {
            let text = format!("{start}{}1{}", open.repeat(levels), close.repeat(levels));
            assert!(!facts(&catalog, &view, &text).pairs.is_empty());
        }
        for text in [sum(levels), nested(levels), unions(levels)] {
            assert!(!facts(&catalog, &view, &text).pairs.is_empty());
        }
    }
    let list = format!("SELECT 1 WHERE 1 IN ({}1)", "1,".repeat(10_000));
    assert_eq!(facts(&catalog, &view, &list).understanding, Understanding::Full);
}

#[test]
fn what_lexes_differently_at_the_server_is_not_guessed() {
    let catalog = Catalog::default();
    let unreadable = |view: &SessionView, text: &str| matches!(facts(&catalog, view, text).understanding, Understanding::Unreadable(_));
    let off = SessionView { standard_conforming_strings: false, ..SessionView::default() };
    assert!(unreadable(&off, "SELECT '\\'"));
    assert!(!unreadable(&off, "SELECT 'x'"));
    let sjis = SessionView { client_encoding: "SJIS".into(), ..SessionView::default() };
    assert!(unreadable(&sjis, "SELECT '\u{8868}'"));
    assert!(!unreadable(&sjis, "SELECT 'x'"));
    let latin = SessionView { client_encoding: "LATIN1".into(), ..SessionView::default() };
    assert!(unreadable(&latin, "SELECT \"\u{e9}\""));
    assert!(!unreadable(&latin, "SELECT '\u{e9}'"));
    assert!(unreadable(&SessionView::default(), "SELECT 1\0DROP TABLE demo"));
}

#[test]
fn a_syntax_error_is_postgresqls_own_with_its_place() {
    let found = facts(&Catalog::default(), &SessionView::default(), "SELECT 1 FROM WHERE x = 1 WHERE");
    assert_eq!(found.understanding, Understanding::Syntax { message: "syntax error at or near \"WHERE\"".to_owned(), position: 15 });
    assert!(found.asks(Action::Unreadable));
}

/// What a body in the standard form calls was settled when it was made, whatever stands before it in the caller's search path.
#[test]
fn a_body_in_the_standard_form_is_read_as_it_was_printed() {
    let server = Server::start();
    server.sql(
        "shop",
        "create function std() returns text return pg_read_file('x');
         create schema mine; create function mine.pg_read_file(text) returns text language sql as 'select $1'",
    );
    let (catalog, mut view) = server.catalog("shop");
    view.search_path = ["mine", "pg_catalog", "public"].map(Into::into).to_vec();
    let found = facts(&catalog, &view, "SELECT std()");
    assert!(found.asks(Action::Escape) && found.understanding == Understanding::Full, "{found:?}");
}

/// WITH queries that name themselves or each other are followed within bounds: the whole program would end with the stack, or not come to an end.
#[test]
fn with_queries_that_name_themselves_are_followed_within_bounds() {
    let server = Server::start();
    server.sql("shop", "create table y (a int primary key); create table z (a int)");
    let (catalog, view) = server.catalog("shop");
    let recursive =
        "WITH RECURSIVE t(a) AS (SELECT 11 UNION ALL SELECT a + 1 FROM t WHERE a < 50) DELETE FROM y USING t WHERE t.a = y.a RETURNING y.a";
    assert_eq!(facts(&catalog, &view, recursive).understanding, Understanding::Full);
    let chained: Vec<String> = (1..40).map(|at| format!("c{at} AS (SELECT x.a FROM c{0} x, c{0} y)", at - 1)).collect();
    let text = format!("WITH c0 AS (SELECT a FROM z), {} DELETE FROM y USING c39 WHERE c39.a = y.a", chained.join(", "));
    assert!(facts(&catalog, &view, &text).row_scope >= RowScope::Selective);
}

proptest::proptest! {
    #[test]
    fn mutated_statements_never_panic(seed in 0_usize..149, cut in 0_usize..400, insert in "[ -~]{0,6}", at in 0_usize..400) {
        let corpus = corpus();
        let mut text = corpus.cases[seed % corpus.cases.len()].statements.join("; ");
        let boundary = |text: &str, at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let place = boundary(&text, at);
        text.insert_str(place, &insert);
        let cut = boundary(&text, cut);
        for text in [&text[..cut], &text[cut..], &text] {
            let found = facts(&Catalog::default(), &SessionView::default(), text);
            proptest::prop_assert!(!found.pairs.is_empty());
        }
    }
}

/// What is answered on the caller's own thread fits in half of a runtime worker's stack, so that the caller may use the other half.
#[test]
fn shallow_statements_need_little_stack() {
    let work = || {
        let (catalog, view) = (Catalog::default(), SessionView::default());
        for levels in 1..50 {
            for (start, open, close) in [
                ("SELECT 1", "+1", ""),
                ("SELECT ", "NOT ", ""),
                ("SELECT ", "SELECT (", ")"),
                ("", "(SELECT ", ")"),
                ("SELECT * FROM ", "(SELECT * FROM ", ") x"),
            ] {
                let text = format!("{start}{}1{}", open.repeat(levels), close.repeat(levels));
                assert!(!facts(&catalog, &view, &text).pairs.is_empty());
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}
