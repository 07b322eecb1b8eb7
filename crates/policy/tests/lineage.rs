//! Where the values of result columns come from, and which columns decide something beyond what is shown of them, with a real server's catalog under both.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may stop at what it did not expect")]

#[path = "postgres/server.rs"]
mod server;

use model::{
    Facts,
    facts::{ColumnSource, Comparison},
};
use policy::classify::postgres::{SessionView, Statement, catalog::Catalog, classify};
use server::Server;

const TABLES: &str = "
    create table customers (id int primary key, name text, email text unique, phone text, born date, score int);
    create table old_customers () inherits (customers);
    create table orders (id int primary key, customer int references customers (id), total numeric, placed timestamptz, note text);
    create table events (id int, at date, who text) partition by range (at);
    create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01');
    create table staff (id int primary key, boss int, name text, ssn text);
    create view contacts as select id, email as contact, lower(email) as folded from customers where email is not null;
    create view over_contacts as select contact, id from contacts;
    create materialized view kept as select id, email from customers;
    create function shout(t text) returns text language sql as 'select upper(t)';
    create function email_of(i int) returns text language sql as 'select email from customers where id = i';
    create function opaque(t text) returns text language plpgsql as 'begin return t; end';
    create function of_all() returns setof customers language sql as 'select * from customers where score > 1';
    create table made (id int primary key, ssn text, last4 text generated always as (right(ssn, 4)) stored, again text generated always as (ssn) stored);
    create function pairs() returns table (value text) language sql as 'select ssn from staff';
    create function ends(text, text) returns bool language sql as 'select true';
    create operator @@@ (leftarg = text, rightarg = text, function = starts_with);
    create function of_old() returns setof customers language sql begin atomic select * from customers where score > 1; end;
    create function reads(int) returns text language sql as 'select ssn from staff';
    create type packed as (a int); create function pack(int) returns packed language sql as 'select row(length(ssn))::packed from staff';
    create cast (int as packed) with function pack(int);
    create function compares(int, int) returns bool language sql as 'select true from staff where ssn > name';
    create operator ### (leftarg = int, rightarg = int, function = compares);
    create table lists (id int primary key, ssn text, listed text[] generated always as (ARRAY[ssn]) stored, code text default lower('ssn'));
    create rule gone as on delete to orders do instead update orders set note = 'gone' where id = old.id returning id, customer, total, placed, note;
";

fn facts(catalog: &Catalog, view: &SessionView, text: &str) -> Facts {
    classify(&Statement { text, parameters: None }, catalog, view)
}

fn named(catalog: &Catalog, source: &ColumnSource) -> String {
    format!("{}.{}", catalog.relation_by_oid(source.relation).unwrap().name, source.column)
}

/// Statement, and its result columns: what each is made of, `=` before what is shown unchanged, `?` after what may be made of more; nothing if
/// positions are not known.
const OUTPUTS: &[(&str, &str)] = &[
    ("SELECT id, email FROM customers", "=customers.id | =customers.email"),
    ("SELECT c.name AS n, 1, now(), count(*) OVER () FROM customers c", "=customers.name |  |  | "),
    ("SELECT * FROM staff", "=staff.id | =staff.boss | =staff.name | =staff.ssn"),
    ("SELECT lower(name), email || phone FROM customers", "customers.name | customers.email customers.phone"),
    ("SELECT coalesce(phone, email) FROM customers", "customers.email customers.phone"),
    ("SELECT mode() WITHIN GROUP (ORDER BY email) FROM customers", "customers.email"),
    ("SELECT CASE WHEN email LIKE 'a%' THEN name ELSE 'x' END FROM customers", "customers.email customers.name"),
    ("SELECT c FROM staff c", "staff.boss staff.id staff.name staff.ssn"),
    ("SELECT count(*) FROM customers WHERE email = 'x'", ""),
    ("SELECT max(email), count(phone) FROM customers", "customers.email | customers.phone"),
    ("SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer", "=orders.id | =customers.name"),
    (
        "SELECT o.*, s.* FROM orders o, staff s WHERE s.id = o.id",
        "=orders.id | =orders.customer | =orders.total | =orders.placed | =orders.note | =staff.id | =staff.boss | =staff.name | =staff.ssn",
    ),
    ("SELECT * FROM (SELECT id, email AS e FROM customers) s", "=customers.id | =customers.email"),
    ("SELECT x FROM (SELECT email || '' AS x FROM customers) s", "customers.email"),
    ("WITH e AS (SELECT email, id FROM customers) SELECT id FROM e", "=customers.id"),
    ("WITH e(a, b) AS (SELECT email, id FROM customers) SELECT b, a FROM e", "=customers.id | =customers.email"),
    ("SELECT name FROM customers UNION ALL SELECT ssn FROM staff", "=customers.name staff.ssn"),
    ("SELECT (SELECT name FROM customers WHERE email = 'x')", "customers.name"),
    ("SELECT EXISTS (SELECT email FROM customers)", ""),
    ("SELECT id FROM customers WHERE id IN (SELECT customer FROM orders)", "=customers.id"),
    ("SELECT rank() OVER (ORDER BY email), id FROM customers", " | =customers.id"),
    ("VALUES (1, 'x'), (2, (SELECT email FROM customers LIMIT 1))", " | customers.email"),
    // Views, copies, partitions, children.
    ("SELECT * FROM contacts", "=contacts.id customers.id | =contacts.contact customers.email | contacts.folded customers.email"),
    ("SELECT id FROM over_contacts", "=contacts.id customers.id over_contacts.id"),
    ("SELECT id, email FROM kept", "=customers.id kept.id | =customers.email kept.email"),
    ("SELECT id, who FROM events", "=events.id | =events.who"),
    ("SELECT id, name FROM old_customers", "=old_customers.id | =old_customers.name"),
    ("SELECT relname FROM pg_class", "=pg_class.relname"),
    ("SELECT tablename FROM pg_tables", "=pg_tables.tablename"),
    ("SELECT most_common_vals FROM pg_stats", "=pg_stats.most_common_vals?"),
    // Recursion: what is added by going round counts.
    (
        "WITH RECURSIVE up AS (SELECT id, boss, name FROM staff WHERE id = 1 UNION ALL SELECT s.id, s.boss, s.name FROM staff s JOIN up ON s.id = up.boss) SELECT id, name FROM up",
        "=staff.id | =staff.name",
    ),
    (
        "WITH RECURSIVE r(a, b, c) AS (SELECT 1, 'x', name FROM staff UNION ALL SELECT a + 1, c, ssn FROM r, staff WHERE a < 3) SELECT a, b, c FROM r",
        " | staff.name staff.ssn | =staff.name staff.ssn",
    ),
    ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n", ""),
    // Functions.
    ("SELECT shout(name) FROM customers", "customers.name"),
    ("SELECT email_of(1)", "customers.email"),
    ("SELECT opaque(name) FROM customers", "customers.name?"),
    ("SELECT u FROM customers, unnest(ARRAY[email]) u", "customers.email"),
    ("SELECT id FROM of_all()", "customers.born customers.email customers.id customers.name customers.phone customers.score"),
    ("SELECT lo_get(5)", "?"),
    // Generated from others.
    ("SELECT last4, again, id FROM made", "made.last4 made.ssn | made.again made.ssn | =made.id"),
    // Names that mean something else than they seem to.
    ("WITH RECURSIVE a AS (SELECT note FROM orders), orders AS (SELECT ssn || '' AS note FROM staff) SELECT note FROM a", "?"),
    ("SELECT (SELECT ssn || '' FROM json_each_text('{}') AS ssn) FROM staff", "staff.ssn"),
    ("SELECT (SELECT ssn || '' FROM jsonb_array_elements('[1]') AS ssn) FROM staff", "staff.ssn"),
    ("SELECT s.v FROM (SELECT 1 AS value) x, LATERAL (SELECT value AS v FROM pairs()) s", "staff.ssn"),
    ("SELECT (SELECT s.v FROM (SELECT '' AS ssn) q, (SELECT ssn || '' AS v) s) FROM staff", "staff.ssn"),
    ("SELECT s.b || '' FROM (SELECT (q).*, 'x' FROM (SELECT id, ssn FROM staff) q) s(a, b)", "staff.id staff.ssn"),
    ("SELECT s.b FROM (SELECT id, ssn || '' AS t FROM staff) q, LATERAL (VALUES (q.*, 'x')) s(a, b)", "staff.id staff.ssn"),
    ("SELECT (q).*, 1, (z).* FROM (SELECT id, ssn FROM staff) q, (SELECT) z", "-"),
    (
        "SELECT s.note || '' FROM (SELECT * FROM (SELECT 1 AS id, 2 AS w) q JOIN orders USING (id) UNION ALL SELECT 1, 2, 3, now(), ssn FROM staff) s",
        "orders.customer orders.id orders.note orders.placed orders.total staff.ssn",
    ),
    ("SELECT (SELECT p.ssn || '' FROM (orders p JOIN orders d ON true) AS j LIMIT 1) FROM staff p", "staff.ssn"),
    ("SELECT p.ssn || '' FROM ((SELECT '' AS ssn) p JOIN orders d ON true) AS j JOIN staff p ON true", "staff.ssn"),
    ("SELECT (SELECT public.staff.ssn || '' FROM orders staff LIMIT 1) FROM staff", "staff.ssn"),
    (
        "SELECT s.v FROM (SELECT '' AS ssn) q, LATERAL (SELECT ssn || '' AS v FROM (SELECT (p).ssn FROM staff p) i) s",
        "staff.boss staff.id staff.name staff.ssn",
    ),
    ("SELECT s.least FROM (SELECT least(ssn, '~') FROM staff) s", "staff.ssn"),
    ("SELECT s.ssn FROM (SELECT CASE WHEN true THEN '' ELSE ssn END FROM staff) s", "staff.ssn"),
    ("SELECT s.ssn || '' FROM (SELECT * FROM (SELECT 'x' AS ssn) q RIGHT JOIN staff USING (ssn)) s", "staff.ssn"),
    ("SELECT p.id, value FROM orders p, jsonb_array_elements('[]') WHERE value->>'k' = 'x'", "=orders.id | "),
    ("SELECT listed, code FROM lists", "lists.listed lists.ssn | =lists.code"),
    (
        "SELECT s.f FROM (SELECT p.*, p.ssn || '' FROM ((SELECT 1 AS x) p JOIN orders d ON true) AS j JOIN staff p ON true) s(a, b, c, d, e, f)",
        "staff.boss staff.id staff.name staff.ssn",
    ),
    ("SELECT (SELECT s.ssn || '' FROM (SELECT current_date, p.*) s) FROM staff p", "?"),
    (
        "SELECT s.z FROM (SELECT f.*, p.ssn || '', p.id FROM ROWS FROM (generate_series(1, 1), json_to_record('{}') AS (a int)) f, staff p) s(x, y, z)",
        "staff.id staff.ssn",
    ),
    ("SELECT (SELECT \"?column?\" FROM (SELECT (SELECT p.ssn || '')::text) s) FROM staff p, (SELECT 1) q", "staff.ssn"),
    ("PREPARE p(text) AS SELECT $1 || ''; EXECUTE p((SELECT ssn FROM staff))", "-"),
    (
        "WITH u(a, b, c) AS (UPDATE staff SET name = 'x' FROM (SELECT ssn || '' AS x, 1 AS y) old RETURNING old.*, name) SELECT c FROM u",
        "=staff.name",
    ),
    ("SELECT 1::packed", "staff.ssn"),
    ("SELECT (SELECT s.v FROM (SELECT 1 AS x) q, (SELECT reads(x) AS v) s) FROM (SELECT 'a'::text AS x) t", "staff.ssn"),
    ("SELECT p.id FROM customers p WHERE EXISTS (SELECT id FROM orders WHERE customer = p.id)", "=customers.id"),
    ("SELECT a, b FROM customers, unnest(ARRAY[email], ARRAY[name]) u(a, b)", "customers.email customers.name | customers.email customers.name"),
    ("SAVEPOINT s; SELECT id, lower(name) FROM customers; RELEASE s", "=customers.id | customers.name"),
    ("SELECT id, t FROM customers, unnest(ARRAY[name]) t", "customers.id customers.name | customers.name"),
    // Writes.
    ("INSERT INTO customers (id, email) VALUES (1, 'x') RETURNING id, email", "=customers.id | =customers.email"),
    ("UPDATE staff SET name = 'x' RETURNING *", "=staff.id | =staff.boss | =staff.name | =staff.ssn"),
    ("UPDATE contacts SET contact = 'x' WHERE id = 1 RETURNING id, contact", "=contacts.id customers.id | =contacts.contact customers.email"),
    ("DELETE FROM orders WHERE id = 1 RETURNING id", "orders.id?"),
    // Positions that are not known.
    ("SELECT * FROM orders JOIN customers USING (id)", "-"),
    ("EXPLAIN SELECT id FROM customers", "customers.id"),
    ("SELECT 1; SELECT email FROM customers", "-"),
];

#[test]
fn where_result_columns_come_from_is_known() {
    let server = Server::start();
    server.sql("shop", TABLES);
    let (catalog, view) = server.catalog("shop");
    let mut faults = vec![];
    for (text, wanted) in OUTPUTS {
        let outputs = facts(&catalog, &view, text).outputs;
        let shown: Vec<String> = outputs
            .columns
            .iter()
            .map(|column| {
                let mut from: Vec<String> = column.from.iter().map(|source| named(&catalog, source)).collect();
                from.sort();
                let plain = if column.plain && !from.is_empty() { "=" } else { "" };
                format!("{plain}{}{}", from.join(" "), if column.untold { "?" } else { "" })
            })
            .collect();
        let shown = if outputs.columns.is_empty() { "-".to_owned() } else { shown.join(" | ") };
        if shown != *wanted {
            faults.push(format!("{text}\n    wanted {wanted}\n    found  {shown}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Statement, and what it learns of columns beyond what it shows: `-` that there is a value, `$` equality with a parameter, `=` with a value, `*` anything; `?` of
/// any column.
const FILTERS: &[(&str, &str)] = &[
    ("SELECT id, email, lower(email) FROM customers", ""),
    ("SELECT id, (SELECT email FROM customers WHERE id = o.customer) FROM orders o", "customers.id* orders.customer*"),
    ("SELECT id FROM customers WHERE email = $1", "customers.email$"),
    ("SELECT id FROM customers WHERE $1 = email::text", "customers.email$"),
    ("SELECT id FROM customers WHERE email = $1::text AND phone IS NOT NULL", "customers.email$ customers.phone-"),
    ("SELECT id FROM customers WHERE email = 'x' OR (id = 2 AND phone = $1)", "customers.email= customers.id= customers.phone$"),
    ("SELECT id FROM customers WHERE email IN ($1)", "customers.email$"),
    ("SELECT id FROM customers WHERE email IN ('x', $1)", "customers.email="),
    ("SELECT id FROM customers WHERE email = ANY ($1)", "customers.email="),
    ("SELECT id FROM customers WHERE email = lower($1)", "customers.email="),
    ("SELECT id FROM customers WHERE NOT email = $1", "customers.email*"),
    ("SELECT id FROM customers WHERE email <> $1", "customers.email*"),
    ("SELECT id FROM customers WHERE email LIKE $1", "customers.email*"),
    ("SELECT id FROM customers WHERE email NOT IN ('x')", "customers.email*"),
    ("SELECT id FROM customers WHERE lower(email) = $1", "customers.email*"),
    ("SELECT id FROM customers WHERE email::varchar(3) = $1", "customers.email*"),
    ("SELECT id FROM customers WHERE email COLLATE \"C\" = $1", "customers.email*"),
    ("SELECT id FROM customers WHERE substr(email, 1, 1) = $1", "customers.email*"),
    ("SELECT 1 FROM (SELECT left(email, 1) AS l FROM customers) s WHERE l = $1", "customers.email*"),
    ("SELECT 1 FROM (SELECT email AS l FROM customers) s WHERE l = $1", "customers.email$"),
    ("SELECT id FROM customers WHERE (CASE WHEN email LIKE 'a%' THEN 1 END) IS NULL", "customers.email*"),
    ("SELECT id FROM customers WHERE born BETWEEN $1 AND $2", "customers.born*"),
    ("SELECT id FROM customers WHERE (email, id) = ($1, $2)", "customers.email* customers.id*"),
    // Order, number, groups.
    ("SELECT name FROM customers ORDER BY email", "customers.email*"),
    ("SELECT name, email FROM customers ORDER BY 2", "customers.email*"),
    ("SELECT name, email FROM customers ORDER BY 1 DESC", "customers.name*"),
    ("SELECT name, email AS e FROM customers ORDER BY e LIMIT 1", "customers.email*"),
    ("SELECT id AS email FROM customers ORDER BY email", "customers.id*"),
    ("SELECT id AS email FROM customers GROUP BY email, id", "customers.email* customers.id*"),
    ("SELECT id FROM customers LIMIT (SELECT score FROM customers WHERE id = 1)", "customers.id= customers.score*"),
    ("SELECT DISTINCT name FROM customers", "customers.name*"),
    ("SELECT DISTINCT ON (email) name FROM customers", "customers.email*"),
    ("SELECT name FROM customers UNION SELECT ssn FROM staff", "customers.name* staff.ssn*"),
    ("SELECT name FROM customers UNION ALL SELECT ssn FROM staff", ""),
    ("SELECT name FROM customers EXCEPT ALL SELECT ssn FROM staff", "customers.name* staff.ssn*"),
    ("SELECT count(*) FROM customers GROUP BY left(email, 1)", "customers.email*"),
    ("SELECT count(*) FROM customers GROUP BY GROUPING SETS ((name), ())", "customers.name*"),
    ("SELECT name AS n, count(*) FROM customers GROUP BY ROLLUP (n)", "customers.name*"),
    ("SELECT name FROM customers GROUP BY name HAVING max(email) > 'a'", "customers.email* customers.name*"),
    ("SELECT count(email) FROM customers", "customers.email-"),
    ("SELECT count(DISTINCT email) FROM customers", "customers.email*"),
    ("SELECT max(email), sum(score) FROM customers", "customers.email* customers.score*"),
    ("SELECT count(*) FILTER (WHERE email = $1) FROM customers", "customers.email$"),
    ("SELECT string_agg(name, ',' ORDER BY email) FROM customers", "customers.email* customers.name*"),
    ("SELECT rank() OVER (PARTITION BY name ORDER BY email) FROM customers", "customers.email* customers.name*"),
    ("SELECT rank() OVER w FROM customers WINDOW w AS (ORDER BY email)", "customers.email*"),
    // Joins and subqueries.
    ("SELECT o.id FROM orders o JOIN customers c ON c.email = o.note", "customers.email* orders.note*"),
    ("SELECT 1 FROM customers JOIN staff USING (name)", "customers.name* staff.name*"),
    ("SELECT 1 FROM customers NATURAL JOIN staff", "customers.id* customers.name* staff.id* staff.name*"),
    ("SELECT id FROM customers WHERE id IN (SELECT customer FROM orders WHERE note = $1)", "customers.id* orders.customer* orders.note$"),
    (
        "SELECT id FROM customers c WHERE EXISTS (SELECT 1 FROM orders WHERE customer = c.id AND note = $1)",
        "customers.id* orders.customer* orders.note$",
    ),
    ("SELECT id FROM staff WHERE name = (SELECT name FROM customers WHERE email = $1)", "customers.email$ customers.name* staff.name*"),
    ("SELECT id FROM staff s, LATERAL (SELECT 1 FROM customers WHERE email = s.ssn) x", "customers.email* staff.ssn*"),
    ("SELECT g FROM customers, generate_series(1, length(email)) g", "customers.email*"),
    ("SELECT g FROM generate_series(1, 3) g", ""),
    // What can fail, or give more rows.
    ("SELECT 1 / score FROM customers", "customers.score*"),
    ("SELECT email::int FROM customers", "customers.email*"),
    ("SELECT CASE WHEN email LIKE 'a%' THEN 1 / (id - id) END FROM customers", "customers.email* customers.id*"),
    ("SELECT CASE WHEN email = 'a' THEN 'a' ELSE 'b' END FROM customers", ""),
    // The pattern may be none: `123\\`.
    ("SELECT email LIKE 'a%' FROM customers", "customers.email*"),
    ("SELECT ARRAY[ARRAY[1], CASE WHEN email = 'a' THEN ARRAY[1, 2] END] FROM customers", "customers.email*"),
    ("SELECT (CASE WHEN email = 'a' THEN ARRAY[[1]] ELSE '{}'::int[] END) || ARRAY[[2, 3]] FROM customers", "customers.email*"),
    ("SELECT ARRAY(SELECT CASE WHEN email = 'a' THEN ARRAY[1, 2] ELSE ARRAY[1] END FROM customers)", "customers.email*"),
    ("SELECT format(email), format('%I', email) FROM customers", "customers.email*"),
    ("SELECT format('%s <%s>', name, email) FROM customers", ""),
    ("SELECT substr(CASE WHEN email = 'a' THEN 'x' END, 1, -1) FROM customers", "customers.email*"),
    ("SELECT date_trunc('nope', CASE WHEN email = 'a' THEN now() END) FROM customers", "customers.email*"),
    ("SELECT split_part(email, '@', 0) FROM customers", "customers.email*"),
    ("SELECT split_part(email, '@', 1) FROM customers", ""),
    ("SELECT regexp_replace(email, '(', '') FROM customers", "customers.email*"),
    ("SELECT lpad(email, 2000000000) FROM customers", "customers.email*"),
    ("SELECT (CASE WHEN email = 'a' THEN '{}'::json END) ->> 'a' FROM customers", "customers.email*"),
    ("SELECT length(CASE WHEN email = 'a' THEN 'x'::bytea END, 'UTF8') FROM customers", "customers.email*"),
    ("SELECT CASE WHEN email = 'a' THEN random() END FROM customers", "customers.email*"),
    ("SELECT name ~ ANY (SELECT CASE WHEN email = 'a' THEN '(' END FROM customers) FROM staff", "customers.email* staff.name*"),
    ("SELECT uuid(CASE WHEN email = 'a' THEN 'x' END) FROM customers", "customers.email*"),
    ("SELECT 1 FROM customers p, jsonb(CASE WHEN p.email = 'a' THEN lower('{') ELSE '1' END) j", "customers.email*"),
    ("SELECT CASE WHEN email = 'a' THEN 'x'::information_schema.yes_or_no END FROM customers", "customers.email*"),
    ("SELECT (CASE WHEN email = 'a' THEN 1e400 ELSE 1.0 END) = 1::float8 FROM customers", "customers.email*"),
    ("SELECT CASE WHEN email = 'a' THEN 1e400 ELSE 1::float8 END FROM customers", "customers.email*"),
    ("SELECT (CASE WHEN email = 'a' THEN '\\xff'::bytea END) IS JSON FROM customers", "customers.email*"),
    ("SELECT id FROM customers WHERE email @@@ $1", "customers.email*"),
    ("SELECT ROW(1) ### ROW(2)", "staff.name* staff.ssn*"),
    ("SELECT CASE WHEN left(email, 1) = '1' THEN format('%z') END FROM customers", "customers.email*"),
    (
        "SELECT CASE WHEN left(email, 1) = '1' THEN a < b END FROM (SELECT email, name COLLATE \"C\" AS a, name COLLATE \"POSIX\" AS b FROM customers) s",
        "customers.email* customers.name*",
    ),
    (
        "SELECT CASE WHEN left(email, 1) = '1' THEN s.x = 1::float8 END FROM customers, (SELECT 1 AS x UNION ALL SELECT 1e400 OFFSET 0) s",
        "customers.email*",
    ),
    (
        "SELECT CASE WHEN left(p.email, 1) = '1' THEN 2::float8 = ANY (SELECT s.n UNION ALL SELECT 1::float8) END FROM customers p, (SELECT 1e400 AS n OFFSET 0) s",
        "customers.email*",
    ),
    (
        "INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET note = 'x' WHERE EXISTS (SELECT 1 FROM (SELECT left(email, 1) AS l FROM customers) excluded WHERE orders.note = excluded.l)",
        "customers.email* orders.id= orders.note*",
    ),
    ("SELECT o.id FROM orders o, (SELECT left(email, 1) AS l FROM customers) excluded WHERE o.note = excluded.l", "customers.email* orders.note*"),
    (
        "SELECT CASE WHEN left(p.email, 1) = '1' THEN a.x[a.n] END FROM customers p, (SELECT '{1}'::int[] AS x, 99999999999 AS n OFFSET 0) a",
        "customers.email*",
    ),
    ("SELECT CASE WHEN left(email, 1) = '1' THEN 1e30::money END FROM customers", "customers.email*"),
    ("SELECT id FROM customers WHERE ROW(email, id) = ROW($1, 1)", "customers.email* customers.id*"),
    ("SELECT id FROM customers WHERE EXISTS (SELECT 1 FROM (SELECT '' AS email) q, orders a JOIN orders b ON email LIKE '1%')", "customers.email*"),
    ("SELECT (q).*, 1 FROM (SELECT id, email FROM customers) q ORDER BY 2", "customers.email* customers.id*"),
    ("SELECT p.id, least(p.email, '~') FROM customers p, (SELECT 1 AS least) q ORDER BY least", "customers.email*"),
    (
        "SELECT p.id, s.c FROM customers p, LATERAL (SELECT count(*) AS c FROM orders TABLESAMPLE bernoulli (CASE WHEN p.email = 'a' THEN 100 ELSE 0 END)) s",
        "customers.email*",
    ),
    (
        "WITH RECURSIVE r(id, s, n) AS (SELECT id, left(email, 1), 0 FROM customers UNION ALL SELECT id, '1', n + 1 FROM r WHERE n < 2) CYCLE s SET c USING pa SELECT count(*) FROM r",
        "customers.email* customers.id*",
    ),
    ("SELECT email = '1', 1, count(*) FROM customers GROUP BY (1, 2)", "customers.email*"),
    (
        "SELECT count(c), count(c.*) FROM customers c",
        "customers.born- customers.email- customers.id- customers.name- customers.phone- customers.score-",
    ),
    ("SELECT 1 FROM customers p, orders a NATURAL JOIN (SELECT 1 AS total) d", "orders.total*"),
    ("SELECT CASE WHEN email LIKE 'a%' THEN (SELECT id FROM staff) END FROM customers", "customers.email* staff.id*"),
    ("SELECT generate_series(1, length(email)) FROM customers", "customers.email*"),
    ("SELECT substr(email, 1, 3), substr(email, 1, length(email) - 9) FROM customers", "customers.email*"),
    ("SELECT email || ' (' || coalesce(phone, '-') || ')', upper(name), left(email, 3), email = 'x' FROM customers", ""),
    ("SELECT to_char(placed, 'YYYY'), date_trunc('day', placed), extract(year FROM placed) FROM orders", ""),
    ("SELECT date_trunc('year', placed) FROM orders", "orders.placed*"),
    ("SELECT extract(year FROM born) FROM customers", ""),
    ("SELECT extract(hour FROM born), date_part('year', born) FROM customers", "customers.born*"),
    // A date may be beyond what a timestamp can be.
    ("SELECT to_char(born, 'YYYY') FROM customers", "customers.born*"),
    ("SELECT opaque(email), opaque(name) FROM customers", "customers.email* customers.name*"),
    ("SELECT CASE WHEN email = 'a' THEN opaque('x') END FROM customers", "customers.email* ?*"),
    ("SELECT pg_sleep(score) FROM customers", "customers.score*"),
    // Writes.
    ("UPDATE customers SET name = 'x' WHERE email = $1", "customers.email$"),
    ("DELETE FROM customers WHERE email LIKE 'a%'", "customers.email*"),
    ("DELETE FROM customers USING staff WHERE staff.ssn = customers.phone", "customers.phone* staff.ssn*"),
    ("INSERT INTO customers (id, email, phone) VALUES (1, $1, 'x')", "customers.email$ customers.id="),
    ("INSERT INTO customers (name, phone) VALUES ('x', 'y')", ""),
    ("INSERT INTO customers (email) SELECT 'u' || g FROM generate_series(1, 9) g ON CONFLICT DO NOTHING", "customers.email="),
    ("UPDATE customers SET email = $1 WHERE id = $2", "customers.email$ customers.id$"),
    ("UPDATE customers SET phone = $1 WHERE id = $2", "customers.id$"),
    ("UPDATE contacts SET contact = $1 WHERE id = $2", "contacts.id$ customers.email$ customers.id$"),
    ("COPY customers (id, phone) FROM STDIN", "customers.id="),
    ("INSERT INTO customers (id, email) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET email = excluded.email", "customers.email= customers.id$"),
    ("MERGE INTO customers c USING orders o ON c.id = o.id WHEN NOT MATCHED THEN INSERT (name, phone) VALUES ('a', 'b')", "customers.id* orders.id*"),
    ("SELECT id FROM customers WHERE email IS NOT DISTINCT FROM $1", "customers.email$"),
    ("SELECT id FROM customers WHERE email = current_user", "customers.email="),
    ("MERGE INTO staff s USING customers c ON s.ssn = c.phone WHEN MATCHED AND s.name > 'a' THEN DELETE", "customers.phone* staff.name* staff.ssn*"),
    ("EXPLAIN SELECT 1 FROM customers WHERE email > 'a'", "customers.email*"),
    ("PREPARE p AS SELECT 1 FROM customers WHERE email > $1", "customers.email*"),
    ("DECLARE c CURSOR FOR SELECT 1 FROM customers WHERE email > 'a'", "customers.email*"),
    ("COPY (SELECT name FROM customers WHERE email > 'a') TO STDOUT", "customers.email*"),
    // What was set up before is settled; what is set up now is asked for.
    ("SELECT id FROM contacts", ""),
    ("SELECT id FROM contacts WHERE contact = $1", "contacts.contact$ customers.email$"),
    ("SELECT id FROM contacts WHERE folded = $1", "contacts.folded* customers.email*"),
    ("SELECT email_of(1), email_of(id) FROM orders", "customers.id* orders.id*"),
    ("SELECT id FROM of_all()", "customers.score*"),
    ("SELECT id FROM of_old()", ""),
    ("CREATE OR REPLACE VIEW kept_ids AS SELECT id, email FROM customers", "customers.email* customers.id*"),
    (
        "CREATE OR REPLACE FUNCTION f(i int) RETURNS text LANGUAGE sql RETURN (SELECT email FROM customers WHERE id = i)",
        "customers.email* customers.id*",
    ),
    ("CREATE VIEW v AS SELECT id FROM customers WHERE email LIKE 'a%'", "customers.email*"),
    ("CREATE FUNCTION f(text) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM customers WHERE email LIKE $1'", "customers.email*"),
    ("CREATE FUNCTION f(t text) RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM customers WHERE email LIKE t)", "customers.email*"),
    ("CREATE FUNCTION f(i int) RETURNS text LANGUAGE sql AS 'SELECT name FROM customers WHERE id = i'", "customers.id*"),
    ("CREATE INDEX ON customers (lower(email)) WHERE phone > 'a'", "customers.email* customers.phone*"),
    ("CREATE UNIQUE INDEX ON customers (phone)", "customers.phone*"),
    ("CREATE INDEX ON customers (phone)", ""),
    ("ALTER TABLE customers ADD CHECK (email LIKE 'a%')", "customers.email*"),
    ("CREATE TABLE mine (guess text REFERENCES customers (email))", "customers.email*"),
    ("ALTER TABLE customers ADD UNIQUE (phone)", "customers.phone*"),
    ("ALTER TABLE customers ALTER score TYPE numeric(5, 0)", "customers.score*"),
    ("ALTER TABLE customers ALTER phone SET NOT NULL", "customers.phone-"),
    ("ALTER TABLE customers ADD EXCLUDE USING btree (phone WITH =)", "customers.phone*"),
    ("ALTER TABLE customers ADD FOREIGN KEY (score) REFERENCES orders", "customers.score* orders.id*"),
    ("CREATE STATISTICS s ON (1 / (score - 5)), id FROM customers", "customers.score*"),
    ("CREATE POLICY p ON customers USING (email LIKE 'a%')", "customers.email*"),
    // What cannot be told may be anything.
    ("SELECT id FROM customers WHERE opaque(name) = 'x'", "customers.name* ?*"),
    ("SELECT 1 FROM orders JOIN pg_stats s ON s.most_common_vals::text = orders.note", "orders.note* pg_stats.most_common_vals* ?*"),
    ("SELECT 1 FROM orders JOIN pg_stats s ON s.attname = orders.note", "orders.note* pg_stats.attname*"),
    (
        "WITH RECURSIVE up AS (SELECT id, boss FROM staff WHERE id = $1 UNION ALL SELECT s.id, s.boss FROM staff s JOIN up ON s.id = up.boss) SELECT id FROM up",
        "staff.boss* staff.id*",
    ),
];

#[test]
fn what_decides_beyond_what_is_shown_is_known_by_column() {
    let server = Server::start();
    server.sql("shop", TABLES);
    let (catalog, view) = server.catalog("shop");
    let sign = |by: Comparison| match by {
        Comparison::Presence => '-',
        Comparison::Parameter => '$',
        Comparison::Value => '=',
        Comparison::Any => '*',
    };
    let mut faults = vec![];
    for (text, wanted) in FILTERS {
        let filters = facts(&catalog, &view, text).filters;
        let mut shown: Vec<String> = filters.columns.iter().map(|(source, by)| format!("{}{}", named(&catalog, source), sign(*by))).collect();
        shown.sort();
        shown.extend(filters.untold.map(|by| format!("?{}", sign(by))));
        if shown.join(" ") != *wanted {
            faults.push(format!("{text}\n    wanted {wanted}\n    found  {}", shown.join(" ")));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Definitions are followed so far and no further: what is beyond may be made of anything.
#[test]
fn a_generated_column_that_is_not_followed_may_be_made_of_anything() {
    let server = Server::start();
    server.sql("shop", TABLES);
    let (catalog, view) = server.catalog("shop");
    let sources: Vec<String> = (0..250).map(|at| format!("made m{at}")).collect();
    let text = format!("SELECT m0.last4, m249.last4, m249.id FROM {}", sources.join(", "));
    let outputs = facts(&catalog, &view, &text).outputs;
    let certain = |column: &model::facts::OutputColumn| !column.untold && column.from.iter().all(|source| &*source.column != "ssn");
    let certain: Vec<bool> = outputs.columns.iter().map(certain).collect();
    assert_eq!(certain, [false, false, true]);
}

/// Whole rows of a wide table, again and again: what is said of them is bounded, and what is not said counts as not known.
#[test]
fn what_is_told_of_result_columns_is_bounded() {
    let server = Server::start();
    let columns: Vec<String> = (0..1_000).map(|at| format!("c{at} int")).collect();
    server.sql("shop", &format!("create table wide ({})", columns.join(", ")));
    let (catalog, view) = server.catalog("shop");
    let told = |rows: usize| {
        let outputs = facts(&catalog, &view, &format!("SELECT {} FROM wide w", vec!["w"; rows].join(", "))).outputs;
        outputs.columns.iter().map(|column| column.from.len()).sum::<usize>()
    };
    assert_eq!((told(50), told(51)), (50_000, 0));
}
