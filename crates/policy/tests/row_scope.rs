//! Which conditions are taken for restrictions of a write, with a real server's catalog under them and the server as the oracle: what is here among
//! the wordings of `true` lets every row pass there.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may stop at what it did not expect")]

#[path = "postgres/server.rs"]
mod server;

use model::Action;
use policy::classify::postgres::{ParameterValue, SessionView, Statement, catalog::Catalog, classify};
use server::Server;

/// Rows as tables have them: keys from 1, no NULL.
const TABLES: &str = "
create type mood as enum ('a', 'b');
create table demo (id int primary key, v text not null, m mood not null);
insert into demo select i, 'v' || i, case when i % 2 = 0 then 'a' else 'b' end::mood from generate_series(1, 10) i;
create table demo2 as select id, v from demo;
create table audit (n text); insert into audit values ('seed');
create view v_demo as select id, v from demo2;
create view v_keys as select id as number, id, v from demo;
create table docs (id int, note text not null, meta jsonb not null, tags text[] not null, flag bool not null, made timestamptz not null, day date not null,
 words tsvector not null, net inet not null, amount numeric not null, code uuid primary key, twice int generated always as (id) stored);
insert into docs select i, 'n' || i, jsonb_build_object('a', i), array['t' || i], i % 2 = 0, timestamptz '2024-01-15' + i * interval '20 days', date '2024-01-15' + i,
 to_tsvector('cat' || i), '10.0.0.1', i, gen_random_uuid() from generate_series(1, 24) i;
analyze;";

/// Conditions on `demo` that every row meets, or would where tables are as people have them.
const WHOLE: &[&str] = &[
    // What no value of the type can be, or none that anybody has.
    "id <> 0.5",
    "NOT (id = 0.5)",
    "id IS DISTINCT FROM 0.5",
    "id NOT IN (0.5, 1.5)",
    "id <> ALL ('{-1,-2}')",
    "id <> 3000000000",
    "id <> 0",
    "id <> -1",
    "id > 0",
    "id >= 1",
    "0 < id",
    "id > -5",
    "id < 1000000000",
    "id BETWEEN 1 AND 1000000000",
    "id BETWEEN 0 AND 2147483647",
    "id BETWEEN SYMMETRIC 2147483647 AND -1",
    "id NOT BETWEEN -5 AND 0",
    "id > 1 - 2",
    "id > -(3 - 2)",
    "id > length('')",
    "id > least(0, 5)",
    "id > (SELECT -1 FROM demo2 LIMIT 1)",
    "id + 1 > 1",
    "- id < 0",
    "id * 2 > 0",
    "abs(id) > 0",
    "sign(id) = 1 OR sign(id) = -1",
    "id::text <> 'x'",
    "id::text ~ '[0-9]'",
    "id::text SIMILAR TO '[0-9]+'",
    "id::numeric <> 0.5",
    "id::bool",
    "id % 2 IN (0, 1)",
    "id % 2 = 0 OR id % 2 = 1",
    "mod(id, 3) IN (0, 1, 2)",
    "id % 2 < 2",
    "id % 2 >= 0",
    "id % 2 <> 5",
    "length(v) >= 1",
    "length(v) < 1000000",
    "length(v) <> -1",
    "length(v) BETWEEN 0 AND 1000000",
    "length(md5(v)) = 32",
    "md5(v) <> ''",
    "md5(v) ~ '[0-9a-f]'",
    "md5(v) LIKE '________________________________'",
    "lower(v) <> 'X'",
    "left(v, 1) <> 'ab'",
    "v LIKE '%_%'",
    "v LIKE '_%'",
    "v LIKE '%%'",
    "v ~ '[a-z]'",
    "v ~ '[[:print:]]'",
    "v > ' '",
    "v < 'zzzz'",
    "v || 'x' LIKE '%x'",
    "v || 'x' <> 'x'",
    "concat('a', v) LIKE 'a%'",
    "concat('a', v) ~ '^a'",
    "'a' || v ~ 'a'",
    "coalesce('x', v) = 'x'",
    "coalesce(now()::text, v) <> 'x'",
    "round(id, -9) = 0",
    "array_length(ARRAY[id], 1) = 1",
    "cardinality(ARRAY[id]) = 1",
    "ARRAY[id, 1] @> '{1}'",
    "ARRAY[id, 1] && '{1}'",
    "1 = ANY (ARRAY[id, 1])",
    "(1, 2) < (1, 3)",
    "(1, id) > (0, 5)",
    "ROW(id, 1) >= ROW(1, 0)",
    "m IN ('a', 'b')",
    "m = 'a' OR m = 'b'",
    "m = ANY ('{a,b}')",
    "m IN (SELECT 'a'::mood UNION SELECT 'b')",
    "m >= 'a'",
    // Three values of truth.
    "NOT (id = NULL) IS TRUE",
    "(id = NULL) IS NOT TRUE",
    "(id = NULL) IS NULL",
    "(id = NULL) IS UNKNOWN",
    "(id IS NULL) IS NOT TRUE",
    "(id = 1) IS TRUE OR (id = 1) IS NOT TRUE",
    // Constants that are the same, and are written otherwise.
    "'2020-01-01'::date = '2020-1-1'",
    "'a'::bpchar = 'a '",
    "'ab'::varchar(1) = 'a'",
    "'ab'::\"char\" = 'a'",
    "interval '1 day' = '24 hours'",
    "0.1 + 0.2 = 0.3",
    "9007199254740993 <> 9007199254740992",
    "0.1 <> 0.1000000000000000000001",
    "0.6::int = 1",
    "1 IS NOT DISTINCT FROM '1'",
    "'{1,2}'::int[] = '{1, 2}'",
    "'{\"a\":1}'::jsonb = '{\"a\": 1}'",
    "1.0::text = '1.0'",
    "lower('\u{c9}') = '\u{c9}' OR lower('\u{c9}') = '\u{e9}'",
    "(SELECT false LIMIT 0) IS NULL",
    "id = '1' OR id <> '01'",
    "id < 5 OR id > 5 OR id = '5'",
    "v > 'B' OR v < 'a'",
    "v NOT LIKE 'a%' OR v LIKE 'a%%'",
    // Other sources that are no other, or nothing.
    "EXISTS (SELECT 1 FROM (SELECT demo.id) x WHERE x.id = demo.id)",
    "EXISTS (SELECT 1 FROM unnest(ARRAY[demo.id]) u WHERE u = demo.id)",
    "EXISTS (SELECT 1 FROM demo2 d, LATERAL (SELECT demo.id AS i) x WHERE x.i = demo.id)",
    "EXISTS (SELECT FROM demo d WHERE d.id = demo.id)",
    "NOT EXISTS (SELECT 1 FROM (SELECT 1 WHERE false) x(i) WHERE x.i = demo.id)",
    "NOT EXISTS (SELECT 1 FROM demo2 x WHERE x.id = demo.id LIMIT 0)",
    "NOT EXISTS (SELECT 1 FROM unnest('{}'::int[]) u WHERE u = demo.id)",
    "id NOT IN (SELECT u FROM unnest('{}'::int[]) u)",
    "id NOT IN (SELECT x FROM (VALUES (-1)) v(x))",
    "id NOT IN (SELECT id FROM demo2 WHERE id = NULL)",
    "id NOT IN (SELECT relfilenode::int FROM pg_class WHERE relfilenode > 100)",
    "id IN (SELECT row_number() OVER () FROM pg_class)",
    "id IN (SELECT generate_series(1, 1000) + 0)",
    "id IN (SELECT generate_series(1, 1000) FROM audit)",
    "id IN (SELECT a.n * 4 + b.n FROM (VALUES (0), (1), (2)) a(n), (VALUES (0), (1), (2), (3)) b(n))",
    "id IN (SELECT i FROM generate_series(1, 100) i)",
    "id IN (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n)",
    "id IN (SELECT id FROM demo ORDER BY id = id FETCH FIRST 1 ROW WITH TIES)",
    "id IN (SELECT id FROM demo LIMIT ALL)",
    "ctid IN (SELECT ctid FROM demo2)",
    "ctid = ANY (ARRAY(SELECT ctid FROM demo))",
    "tableoid = 'demo'::regclass",
    "tableoid IS NOT NULL",
    "left('abc' || v, 3) = 'abc'",
    "('a' || v)::varchar(1) = 'a'",
    "(ARRAY[id, 1])[2] = 1",
    "split_part(v, 'zz', 2) = ''",
    "btrim(v, 'v0123456789') = ''",
    "translate(v, 'v0123456789', '') = ''",
    "replace(replace(v, 'zz', ''), v, '') = ''",
    "demo IS NOT NULL",
    "demo = demo",
];

/// The same of `docs`: wordings inside documents, lists, moments and truths.
const WHOLE_DOCUMENTS: &[&str] = &[
    "meta @@ '1==1'",
    "meta @@ '$.a == $.a'",
    "meta @@ '!($.a == 0)'",
    "meta @@ '$.a == 1 || $.a != 1'",
    "meta @@ 'exists($)'",
    "meta @? '$'",
    "meta @? '$.*'",
    "meta @? '$ ? (1 == 1)'",
    "meta @? 'strict $'",
    "meta @> jsonb_build_object()",
    "meta @> '{}'",
    "meta @> ' { } '",
    "meta @> ('{}'::jsonb || '{}')",
    "meta @> jsonb_strip_nulls('{\"a\":null}')",
    "meta || '{\"a\":1}' @> '{\"a\":1}'",
    "meta || '{\"a\":1}' ? 'a'",
    "tags @> '{}'",
    "tags @> ARRAY[]::text[]",
    "tags || '{x}' && '{x}'",
    "'{}' <@ tags",
    "flag = true OR flag = false",
    "flag IN (true, false)",
    "flag = ANY ('{t,f}')",
    "flag = ANY (ARRAY[true, false])",
    "flag OR NOT flag",
    "flag IS TRUE OR flag IS NOT TRUE",
    "flag IS UNKNOWN OR flag IS NOT UNKNOWN",
    "flag >= false",
    "flag <= true",
    "flag IN (SELECT true UNION SELECT false)",
    "made > '1900-01-01'",
    "made >= '-infinity'",
    "made < 'infinity'",
    "made < '9999-12-31'",
    "made BETWEEN '-infinity' AND 'infinity'",
    "made <> '0001-01-01'",
    "date_trunc('millennium', made) = '2001-01-01'",
    "extract(century FROM made) = 21",
    "extract(year FROM made) > 0",
    "extract(month FROM made) BETWEEN 1 AND 12",
    "extract(month FROM made) IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)",
    "made::text LIKE '2%'",
    "age('2100-01-01', made) >= '0'",
    "day = '2020-1-1' OR day <> '2020-01-01'",
    "words @@ '!zzz'",
    "words @@ to_tsquery('!zzz')",
    "net && '0.0.0.0/0'",
    "code <> '00000000-0000-0000-0000-000000000000'",
    "twice = id",
    "(meta || '{\"b\":1}') ->> 'b' = '1'",
    "made::time >= '00:00'",
    "to_char(made, '\"dd\"') = 'dd'",
    "to_char(made, 'CC') = '21'",
];

/// Statements that may write every row of their target.
const STATEMENTS: &[&str] = &[
    "DELETE FROM v_demo WHERE id IN (SELECT id FROM demo2)",
    "DELETE FROM v_keys WHERE id IS NOT NULL",
    "DELETE FROM v_keys WHERE number > 0",
    "DELETE FROM v_keys WHERE number <> -1",
    "INSERT INTO demo SELECT generate_series(1, 10), 'x', 'a' ON CONFLICT (id) DO UPDATE SET v = 'gone'",
    "INSERT INTO demo SELECT i, 'x', 'a' FROM generate_series(1, 10) i ON CONFLICT (id) DO UPDATE SET v = 'gone'",
    "INSERT INTO demo SELECT row_number() OVER (), 'x', 'a' FROM pg_class ON CONFLICT (id) DO UPDATE SET v = 'gone'",
    "INSERT INTO demo SELECT a.n * 4 + b.n, 'x', 'a' FROM (VALUES (0), (1), (2)) a(n), (VALUES (0), (1), (2), (3)) b(n) ON CONFLICT (id) DO UPDATE SET v = 'gone'",
    "INSERT INTO demo TABLE demo ON CONFLICT (id) DO UPDATE SET v = 'gone'",
    "DELETE FROM demo USING (SELECT row_number() OVER () AS n FROM pg_class) s WHERE demo.id = s.n",
    "DELETE FROM demo USING demo2 WHERE demo.ctid = demo2.ctid",
    "DELETE FROM demo USING pg_class WHERE pg_class.oid > 0",
];

/// The same in what PostgreSQL 15 and later have.
const MERGES: &[&str] = &[
    "MERGE INTO demo USING (SELECT generate_series(1, 10) AS id) s ON demo.id = s.id WHEN MATCHED THEN DELETE",
    "MERGE INTO demo USING (SELECT row_number() OVER () AS id FROM pg_class) s ON demo.id = s.id WHEN MATCHED THEN DELETE",
    "MERGE INTO demo USING demo2 ON demo.id = demo2.id AND demo.id > 0 WHEN NOT MATCHED BY SOURCE THEN DELETE",
];

/// Conditions on `demo` as applications write them.
const SOME: &[&str] = &[
    "(id, v) = (1, 'v1')",
    "ROW(id) = ROW(1)",
    "id > (SELECT id FROM demo2 WHERE v = 'v3')",
    "(id = 1) IS TRUE",
    "m = 'a'",
    "m IN ('a')",
    "id % 10 = 3",
    "id <> 7",
    "v <> 'v3'",
    "lower(v) <> 'v3'",
    "v || '-' || 'x' = 'v1-x'",
    "coalesce(v, '') = ''",
    "ctid IN (SELECT ctid FROM demo WHERE v = 'v3')",
    "left(v, 2) = 'v1'",
    "md5(v) = '0cc175b9c0f1b6a831c399e269772661'",
    "id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY v ORDER BY id) AS n FROM demo2) t WHERE n > 1)",
];

/// Conditions on `docs` as applications write them.
const SOME_DOCUMENTS: &[&str] = &[
    "meta @> '{\"a\": 1}'",
    "meta @> jsonb_build_object('a', 1)",
    "meta @@ '$.a == 1'",
    "meta @? '$.b'",
    "meta @? '$.a ? (@ > 3)'",
    "meta ? 'b'",
    "meta ->> 'a' = 'x'",
    "meta -> 'a' @> '[1]'",
    "tags @> '{a}'",
    "tags && ARRAY['a', 'b']",
    "flag",
    "NOT flag",
    "flag = false",
    "flag IS NOT TRUE",
    "flag AND made < now() - interval '30 days'",
    "made < '2024-04-01'::timestamptz",
    "made >= '2024-01-01' AND made < '2024-02-01'",
    "made < '2024-01-01'::date + interval '1 month'",
    "made::date = '2024-01-01'",
    "date_trunc('month', made) = '2024-01-01'",
    "extract(year FROM made) = 2024",
    "extract(month FROM made) IN (1, 2)",
    "made::text LIKE '2024-01%'",
    "age('2025-01-01', made) > '30 days'",
    "words @@ plainto_tsquery('cat')",
    "words @@ 'cat & dog'",
    "amount > 3",
    "amount >= 10.50",
    "amount <> 3",
    "note = ''",
    "day < '2020-01-01' OR day > '2024-02-01'",
    "(id, note) IN ((1, 'a'), (2, 'b'))",
    "(made, id) < ('2024-03-01', 5)",
    "code = '00000000-0000-0000-0000-000000000001'",
    "id > 5 AND amount <= 3",
];

/// The same, where no row of this fixture is left out.
const SOME_BY_MEANING: &[&str] =
    &["amount > 0", "amount <> 0", "note <> ''", "tags <> '{}'", "made < now() - interval '30 days'", "made < CURRENT_TIMESTAMP"];

/// With parameters, judged when they come: the statement, the parameters, whether it may be all of them.
const BOUND: &[(&str, &[&str], bool)] = &[
    ("DELETE FROM docs WHERE flag = $1 OR flag = $2", &["t", "f"], true),
    ("DELETE FROM docs WHERE flag = $1 OR flag = $2", &["true", "0"], true),
    ("DELETE FROM docs WHERE flag = $1 OR flag = $2", &["t", "true"], false),
    ("DELETE FROM docs WHERE flag IN ($1, $2)", &["t", "f"], true),
    ("DELETE FROM docs WHERE flag = ANY ($1)", &["{t,f}"], true),
    ("DELETE FROM docs WHERE flag = ANY ($1)", &["{t}"], false),
    ("DELETE FROM docs WHERE flag = $1", &["t"], false),
    ("DELETE FROM demo WHERE m = ANY ($1)", &["{a,b}"], true),
    ("DELETE FROM demo WHERE m IN ($1, $2)", &["a", "b"], true),
    ("DELETE FROM demo WHERE m IN ($1, $2)", &["a", "a"], false),
    ("DELETE FROM demo WHERE id <> $1", &["0"], true),
    ("DELETE FROM demo WHERE id > $1", &["0"], true),
    ("DELETE FROM demo WHERE id > $1", &["5"], false),
    ("DELETE FROM demo WHERE id <> ALL ($1)", &["{}"], true),
    ("DELETE FROM demo WHERE id <> ALL ($1)", &["{-1}"], true),
    ("DELETE FROM demo WHERE id <> ALL ($1)", &["{1,2}"], false),
    ("DELETE FROM demo WHERE $1 = $2", &["1", "01"], true),
    ("DELETE FROM demo WHERE ($1 = 'all' OR v = $1)", &["all"], true),
    ("DELETE FROM demo WHERE ($1 = 'all' OR v = $1)", &["open"], false),
    ("DELETE FROM demo WHERE v LIKE $1", &["%_%"], true),
    ("DELETE FROM demo WHERE v LIKE $1", &["a%"], false),
    ("DELETE FROM docs WHERE meta @> $1", &["{}"], true),
    ("DELETE FROM docs WHERE meta @> $1", &["{\"a\":1}"], false),
    ("DELETE FROM docs WHERE made < $1", &["infinity"], true),
    ("DELETE FROM docs WHERE made < $1", &["2024-01-01"], false),
    ("DELETE FROM demo WHERE id IN (SELECT id FROM demo LIMIT $1)", &["1000000"], true),
    ("DELETE FROM demo WHERE id IN (SELECT id FROM demo LIMIT $1)", &["10"], false),
];

struct Judge {
    server: Server,
    catalog: Catalog,
    view: SessionView,
    faults: Vec<String>,
}

impl Judge {
    fn start() -> Self {
        let server = Server::start();
        server.sql("shop", TABLES);
        let (catalog, view) = server.catalog("shop");
        Self { server, catalog, view, faults: vec![] }
    }

    fn expect(&mut self, text: &str, parameters: Option<&[ParameterValue]>, whole: bool) {
        let found = classify(&Statement { text, parameters }, &self.catalog, &self.view);
        if found.asks(Action::Destroy) != whole {
            let what = if whole { "is taken for a restriction" } else { "is taken for the whole table" };
            self.faults.push(format!("{text} {parameters:?}: {what}: {:?}", found.row_scope));
        }
    }

    /// Conditions on a table, and whether the server lets every row of it pass, if that is asked.
    fn conditions(&mut self, table: &str, conditions: &[&str], whole: bool, server_too: bool) {
        let count = |condition: &&str| format!("SELECT count(*) = (SELECT count(*) FROM {table}) FROM {table} WHERE {condition};\n");
        let passes = self.server.sql("shop", &conditions.iter().map(count).collect::<String>());
        assert_eq!(passes.lines().count(), conditions.len());
        for (condition, passes) in conditions.iter().zip(passes.lines()) {
            if server_too && (passes == "t") != whole {
                self.faults.push(format!("{condition}: the server thinks otherwise"));
            }
            self.expect(&format!("DELETE FROM {table} WHERE {condition}"), None, whole);
            self.expect(&format!("UPDATE {table} SET id = id WHERE ({condition})"), None, whole);
        }
    }
}

#[test]
fn a_condition_that_every_row_meets_is_none() {
    let mut judge = Judge::start();
    judge.conditions("demo", WHOLE, true, true);
    judge.conditions("docs", WHOLE_DOCUMENTS, true, true);
    let merges = if judge.catalog.server_version() >= 170_000 { MERGES } else { &MERGES[..2] };
    for text in STATEMENTS.iter().chain(merges) {
        judge.server.sql("shop", &format!("BEGIN; {text}; ROLLBACK"));
        judge.expect(text, None, true);
    }
    for text in MERGES {
        judge.expect(text, None, true);
    }
    assert!(judge.faults.is_empty(), "{} faults:\n{}", judge.faults.len(), judge.faults.join("\n"));
}

#[test]
fn what_applications_write_restricts() {
    let mut judge = Judge::start();
    judge.conditions("demo", SOME, false, true);
    judge.conditions("docs", SOME_DOCUMENTS, false, true);
    judge.conditions("docs", SOME_BY_MEANING, false, false);
    assert!(judge.faults.is_empty(), "{} faults:\n{}", judge.faults.len(), judge.faults.join("\n"));
}

#[test]
fn parameters_are_judged_when_they_come() {
    let mut judge = Judge::start();
    for (text, values, whole) in BOUND {
        let values: Vec<ParameterValue> = values.iter().map(|value| ParameterValue::Text((*value).to_owned())).collect();
        judge.expect(text, Some(&values), *whole);
    }
    assert!(judge.faults.is_empty(), "{} faults:\n{}", judge.faults.len(), judge.faults.join("\n"));
}
