//! Snapshots of a catalog that build on an earlier one, with snapshots read whole as the oracle.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may stop at what it did not expect")]

#[path = "postgres/server.rs"]
mod server;

use policy::classify::postgres::{RESOLUTION_QUERY, catalog::Catalog};
use server::{Server, answers};

/// What a database goes through, each step after a snapshot of what was before.
const STEPS: &[&str] = &[
    "create schema a; create table a.parent (id int primary key, name text default lower('X')); create view a.shown as select id, name from a.parent",
    "create function a.twice(x int) returns int language sql as 'select x * 2'; create function a.std(x int) returns int language sql return a.twice(x); \
     create function a.filled(x int default a.twice(1)) returns int language sql as 'select $1'",
    "create table a.child (extra int default a.twice(1)) inherits (a.parent); create view a.both as select p.*, c.extra from a.parent p join a.child c using (id)",
    "alter table a.parent rename column name to title",
    "alter table a.parent rename to people",
    "alter schema a rename to b",
    "alter function b.twice(int) rename to double",
    "create rule keep as on delete to b.people do instead nothing; alter table b.people alter title set not null, add note text",
    "alter table b.people disable rule keep; create type b.mood as enum ('x'); create domain b.small as int check (value < 10)",
    "create table b.refers (id int references b.people on delete cascade, s b.small, unique (s)); alter table b.refers disable trigger all",
    "alter table b.refers enable trigger all; create function b.fires() returns trigger language plpgsql as 'begin return new; end'; \
     create trigger t before insert on b.refers for each row execute function b.fires()",
    "alter table b.refers disable trigger t; create operator b.=== (leftarg = int, rightarg = int, procedure = int4eq); create cast (b.mood as int) with inout",
    "create function b.turns(x int) returns int language sql return x + 1; create table b.one (id int); create table b.two (id int, word text)",
    "create or replace function b.turns(x int) returns int language sql as 'select x + 2'",
    "create or replace function b.turns(x int) returns int language sql return x + 3",
    "alter table b.one rename to three; alter table b.two rename to one; alter table b.three rename to two; drop table b.one; create table b.one (word text)",
    "create schema d; alter table b.one set schema d; alter table d.one alter word set storage plain; alter table b.refers drop constraint refers_id_fkey",
    "alter table b.child no inherit b.people; alter table b.child inherit b.people; create table b.child2 () inherits (b.people, d.one)",
    "alter table b.child2 no inherit b.people; alter table b.child2 inherit b.people; drop function b.turns(int)",
    "drop table b.child2; drop schema d cascade; drop table b.two",
    "alter schema b rename to c",
    "alter schema c rename to b",
    "drop cast (b.mood as int); drop operator b.=== (int, int); drop view b.both; drop function b.std(int)",
    "create or replace view b.shown as select id, title as name, 1 as one from b.people; create materialized view b.kept as select * from b.shown; analyze",
    "begin; create table b.undone (id int); alter table b.people rename to never; rollback",
    "begin; savepoint s; alter table b.people add gone int; rollback to s; create table b.stays (id int generated always as identity); commit",
    "drop rule keep on b.people; alter table b.child no inherit b.people; create index on b.child (extra); create unique index on b.child (extra, id)",
    "create table b.parts (id int) partition by list (id); create table b.part1 partition of b.parts for values in (1); alter table b.parts detach partition b.part1",
    "alter table b.people enable row level security; create function b.may(int) returns bool language sql as 'select true'; \
     create policy p on b.people using (b.may(id))",
    "create function b.ddl() returns event_trigger language plpgsql as 'begin end'; create event trigger e on ddl_command_end execute function b.ddl()",
    "comment on column b.people.note is 'social security number, as told'; comment on column b.people.title is 'what they are called'; \
     comment on table b.people is 'passport'; comment on column b.child.extra is 'télefono: phone —'",
    "comment on column b.people.title is 'passport no'; comment on column b.people.note is 'no longer used'; alter table b.child drop column extra",
    "comment on column b.people.title is null; comment on column b.people.note is 'phone'; alter table b.people rename column note to words",
    "drop event trigger e; drop schema b cascade",
    "vacuum full pg_class; vacuum freeze",
    "create table last (id int)",
];

#[test]
fn what_changed_since_is_all_that_must_be_read() {
    let server = Server::start();
    let (mut known, _) = server.catalog("shop");
    for step in STEPS {
        server.sql("shop", step);
        let next = server.read("shop", Some(&known));
        let whole = server.read("shop", None);
        assert!(next == whole, "after {step}: {}", first_difference(&next, &whole));
        let told = format!("BEGIN;\n{};\n", known.settings().join(";\n"));
        let answers = answers(server.rows_after("shop", &told, &Catalog::standing_questions()));
        assert!(Catalog::from_answers("shop", Some(&known), answers).unwrap() == whole, "after {step}");
        for relation in known.relations().chain(whole.relations()) {
            let found = |catalog: &Catalog| {
                let named = catalog.relation(&relation.schema, &relation.name).cloned();
                (named, catalog.relation_of_row_type(relation.row_type).cloned())
            };
            assert!(found(&next) == found(&whole), "after {step}: {}.{}", relation.schema, relation.name);
        }
        known = next;
    }
}

/// Comments are read where the caller's encoding lacks their letters, and those that say nothing of sensitive values are not kept.
#[test]
fn comments_that_say_what_columns_hold_are_read_in_every_encoding() {
    let server = Server::start();
    server.sql(
        "shop",
        "create table t (a text, b text, c text); comment on column t.a is 'phone — «ligne» ☎'; comment on column t.b is 'what we think'; \
         comment on table t is 'passport'; comment on column t.c is 'téléphone'",
    );
    for encoding in ["UTF8", "LATIN1", "SQL_ASCII"] {
        let answers = answers(server.rows_after("shop", &format!("set client_encoding = '{encoding}';\n"), &Catalog::questions(None)));
        let catalog = Catalog::from_answers("shop", None, answers).unwrap();
        let comments = catalog.relation("public", "t").unwrap().comments.clone();
        assert_eq!(*comments, [(1, "phone — «ligne» ☎".into()), (3, "téléphone".into())], "{encoding}");
    }
}

/// What lies in a template has old rows: in a database that was made anew they are no sign that nothing changed.
#[test]
fn another_database_of_the_same_name_is_read_whole() {
    let server = Server::start();
    server.sql("shop", "create view shown as select 1 as one");
    server.sql("postgres", "create database copied template shop");
    let known = server.read("copied", None);
    server.sql("postgres", "drop database copied");
    server.sql("shop", "create or replace view shown as select 2 as one");
    server.sql("postgres", "create database copied template shop");
    let answers = answers(server.rows("copied", &Catalog::questions(Some(&known))));
    let error = Catalog::from_answers("copied", Some(&known), answers).unwrap_err();
    assert!(error.to_string().contains("another server or database"), "{error}");
    assert!(!known.is_for_others(&server.read("copied", None)));
}

/// Paths that begin with the temporary schema, read without making it, with the server's own reading as the oracle.
#[test]
fn asking_how_names_resolve_makes_no_temporary_schema() {
    const OWN_READING: &str =
        "select array_to_json(array(select s from unnest(current_schemas(true)) with ordinality as u(s, o) where s not like 'pg_temp_%' order by o))";
    let server = Server::start();
    server.sql(
        "shop",
        "create schema \"Odd, \"\"one\"; create schema odd; create schema postgres; create schema other; create schema \"é\"; create role other; \
         grant usage on schema odd to other; create schema kept_from; grant usage on schema other to other",
    );
    for path in [
        "pg_temp",
        "pg_temp, public",
        "pg_temp, \"$user\", public",
        "PG_TEMP , $user,public, absent",
        "\"pg_temp\",\"Odd, \"\"one\",ODD",
        "pg_temp, odd, pg_catalog, public",
        "pg_temp, \"pg_catalog\", kept_from, \"ODD\"",
        "pg_temp, \"é\", public",
    ] {
        for role in ["postgres", "other"] {
            let quoted = path.replace('\'', "''");
            let said = server.sql(
                "shop",
                &format!("set role {role}; \\o /dev/null\nselect set_config('search_path', '{quoted}', false);\n\\o\n{RESOLUTION_QUERY};\nselect pg_my_temp_schema();\n{OWN_READING};"),
            );
            let lines: Vec<_> = said.lines().collect();
            let [row, temporary, own] = lines[..] else { panic!("{said}") };
            let read = row.rsplitn(6, '|').last().unwrap();
            if path.is_ascii() {
                assert_eq!((read, temporary), (own, "0"), "{path} as {role}");
            } else {
                assert!(read.contains("\"é\"") || role == "other", "{path} as {role}: {read}");
            }
        }
    }
}

/// The first part of two snapshots, as they are exported, that is not the same.
fn first_difference(left: &Catalog, right: &Catalog) -> String {
    let (left, right) = (serde_json::to_value(left).unwrap(), serde_json::to_value(right).unwrap());
    for (part, left) in left.as_object().unwrap() {
        let items = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        let (left, right) = (items(left), items(&right[part]));
        if let Some(item) = left.iter().find(|item| !right.contains(item)).or_else(|| right.iter().find(|item| !left.contains(item))) {
            return format!("{part}: {item}");
        }
    }
    "only their order".to_owned()
}
