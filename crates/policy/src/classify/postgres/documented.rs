//! Writes what docs/statements-and-actions.md says of examples and of built-in functions, from the code that decides it.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::json;

use super::{SessionView, Statement, builtins, catalog::Catalog, classify};
use crate::fixtures;

/// Statements, most of which people ask about. They are classified over a catalog with the tables `customers`, `plain`, `orders` (partitioned) and a view `contacts`.
const EXAMPLES: &[&str] = &[
    "SELECT 1 + 1",
    "BEGIN",
    "COMMIT",
    "SHOW work_mem",
    "SET work_mem = '64MB'",
    "SET search_path = private",
    "SET client_encoding = 'UTF8'",
    "SET synchronous_commit = off",
    "SET default_tablespace = ''",
    "SET ROLE admin",
    "RESET ALL",
    "LISTEN news",
    "NOTIFY news, 'x'",
    "SELECT * FROM customers",
    "SELECT * FROM customers FOR UPDATE",
    "TABLE plain",
    "SELECT c.id FROM customers c JOIN orders o ON o.id = c.id",
    "WITH gone AS (DELETE FROM orders WHERE id = 1 RETURNING id) SELECT * FROM gone",
    "EXPLAIN SELECT * FROM plain",
    "EXPLAIN ANALYZE DELETE FROM plain WHERE id = 1",
    "PREPARE p AS SELECT * FROM plain",
    "DECLARE c CURSOR FOR SELECT * FROM plain",
    "INSERT INTO plain VALUES (1)",
    "INSERT INTO plain SELECT id FROM customers",
    "UPDATE customers SET phone = '1' WHERE id = 1",
    "UPDATE customers SET phone = '1'",
    "UPDATE customers SET phone = '1' WHERE id = id",
    "DELETE FROM customers WHERE id = 1",
    "DELETE FROM customers",
    "DELETE FROM customers WHERE 1 = 1",
    "DELETE FROM customers WHERE id <> 0.5",
    "DELETE FROM customers WHERE name LIKE '%_%'",
    "DELETE FROM customers WHERE id IN (SELECT id FROM customers)",
    "MERGE INTO plain p USING orders o ON p.id = o.id WHEN MATCHED THEN DELETE",
    "TRUNCATE orders",
    "LOCK TABLE plain",
    "COPY plain TO STDOUT",
    "COPY plain FROM STDIN",
    "COPY plain TO '/tmp/x'",
    "COPY plain FROM PROGRAM 'ls'",
    "CREATE TABLE t (id int)",
    "CREATE TEMPORARY TABLE t (id int)",
    "CREATE TABLE t AS SELECT * FROM customers",
    "SELECT * INTO t FROM customers",
    "CREATE INDEX ON plain (id)",
    "CREATE VIEW v AS SELECT id FROM customers",
    "ALTER TABLE plain ADD COLUMN n int",
    "ALTER TABLE plain DROP COLUMN id",
    "ALTER TABLE plain RENAME TO other",
    "ALTER TABLE plain OWNER TO admin",
    "ALTER TABLE plain ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE plain DISABLE TRIGGER ALL",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO someone",
    "SECURITY LABEL ON ROLE someone IS 'x'",
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    "COMMENT ON TABLE plain IS 'x'",
    "VACUUM plain",
    "ANALYZE",
    "REINDEX TABLE plain",
    "DROP TABLE plain",
    "DROP SCHEMA private CASCADE",
    "GRANT SELECT ON plain TO someone",
    "REVOKE ALL ON plain FROM someone",
    "CREATE ROLE someone",
    "ALTER ROLE someone SUPERUSER",
    "DROP ROLE someone",
    "CREATE POLICY p ON plain USING (true)",
    "CREATE EXTENSION hstore",
    "CREATE EXTENSION dblink",
    "CREATE SERVER s FOREIGN DATA WRAPPER w",
    "CREATE SUBSCRIPTION s CONNECTION 'host=elsewhere' PUBLICATION p",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "LOAD 'auto_explain'",
    "DO 'BEGIN DELETE FROM plain; END'",
    "CHECKPOINT",
    "SELECT 1; DROP TABLE plain",
];

/// The fixture's tables, the type `int`, and the built-in functions that are listed, each as if it took no arguments.
fn catalog() -> Catalog {
    let mut catalog = serde_json::to_value(fixtures::catalog()).unwrap();
    catalog["types"].as_array_mut().unwrap().push(json!({ "oid": 23, "schema": "pg_catalog", "name": "int4", "base": 0, "element": 0 }));
    let routine = |(place, name): (usize, String)| json!({ "oid": 1_000 + place, "schema": "pg_catalog", "name": name, "arguments": [], "defaults": 0, "variadic": 0, "volatility": "v", "returns": 25, "returns_set": false, "language": "" });
    let listed = builtins::listed().map(|name| name.replace('*', "x"));
    catalog["routines"] = listed.chain(["of_a_newer_server".to_owned()]).enumerate().map(routine).collect();
    serde_json::from_value(catalog).unwrap()
}

fn asked_for(catalog: &Catalog, text: &str) -> String {
    let facts = classify(&Statement { text, parameters: None }, catalog, &SessionView::default());
    facts.pairs.iter().map(|pair| format!("{pair}").replace('|', "\\|")).collect::<Vec<_>>().join(", ")
}

fn examples() -> String {
    let catalog = catalog();
    let mut out = String::from("| statement | asks for |\n|---|---|\n");
    for text in EXAMPLES {
        let _ = writeln!(out, "| `{text}` | {} |", asked_for(&catalog, text));
    }
    out
}

fn functions() -> String {
    let catalog = catalog();
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in builtins::listed() {
        let call = format!("{}()", name.replace('*', "x"));
        let asked = asked_for(&catalog, &format!("SELECT pg_catalog.{call}")).replace(&format!("pg_catalog.{call}"), "the function");
        alike.entry(asked).or_default().push(format!("`{name}`"));
    }
    let mut out = String::from("| functions | ask for, without arguments that tell more |\n|---|---|\n");
    for (asked, names) in alike {
        let _ = writeln!(out, "| {} | {asked} |", names.join(", "));
    }
    let newer = asked_for(&catalog, "SELECT of_a_newer_server()").replace("pg_catalog.of_a_newer_server()", "the function");
    let _ = writeln!(out, "| volatile ones that are not listed | {newer} |");
    out
}

#[test]
fn the_page_says_what_the_code_does() {
    xtask::generated::check("docs/statements-and-actions.md", &[("examples", examples()), ("functions", functions())]).unwrap();
}
