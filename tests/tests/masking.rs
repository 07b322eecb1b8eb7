//! Values of classified columns are masked, in text and in binary, or withheld: whatever way they are asked for.

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    gateway::{Gateway, Setup},
    postgres::{DATABASE, Method, Postgres},
    wire::{Wire, bind, describe, execute, parse, query, sync},
};

/// Parts of the sensitive values: none of them may reach somebody who may not see it.
const SECRETS: [&str; 4] = ["ada.lovelace", "grace.hopper", "4111111111", "5500000000"];

struct Stand {
    target: Postgres,
    gateway: Gateway,
}

impl Stand {
    fn start() -> Result<Self> {
        let target = Postgres::start()?;
        target.sql(
            DATABASE,
            "create table customers (id int primary key, name text, email text, card_number text);
             insert into customers values (1, 'Ada', 'ada.lovelace@example.org', '4111111111111111'), (2, 'Grace', 'grace.hopper@example.net', '5500000000000004');
             create view people as select id, email as contact from customers;
             alter table customers owner to app; alter view people owner to app",
        )?;
        let classes = [("email", "keep-domain", "public.customers.email"), ("card", "keep-last-four", "public.customers.card_number")];
        let gateway = Gateway::with_starter_policies(&target, &classes, "")?;
        Ok(Self { target, gateway })
    }

    /// Everything psql prints for a statement, errors included.
    fn psql(&self, who: &str, statement: &str) -> Result<String> {
        let output = self.gateway.login(who)?.psql(&self.target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose", "-c", statement]).run()?;
        Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
    }
}

#[test]
fn masks_show_what_they_leave_and_nothing_more() -> Result<()> {
    let stand = Stand::start()?;
    let shown = stand.psql("alice", "select id, name, email, card_number from customers order by id")?;
    ensure!(shown == "1|Ada|***@example.org|************1111\n2|Grace|***@example.net|************0004\n", "{shown}");
    let shown = stand.psql("sam", "select email, card_number from customers where id = 1")?;
    ensure!(shown == "ada.lovelace@example.org|************1111\n", "{shown}");
    Ok(())
}

#[test]
fn what_does_not_show_a_value_stays_usable() -> Result<()> {
    let stand = Stand::start()?;
    ensure!(stand.psql("alice", "select count(*) from customers")? == "2\n");
    ensure!(stand.psql("alice", "select id, name from customers order by id")? == "1|Ada\n2|Grace\n");
    ensure!(stand.psql("alice", "select 'x', 1 from customers limit 1")? == "x|1\n");
    Ok(())
}

#[test]
fn no_way_of_asking_shows_a_masked_value() -> Result<()> {
    let stand = Stand::start()?;
    for statement in [
        "select email as name from customers",
        "select upper(email) from customers",
        "select email || '' from customers",
        "select substr(card_number, 1, 12) from customers",
        "select customers from customers",
        "select c.* from customers c",
        "select row_to_json(c) from customers c",
        "select array_agg(email) from customers",
        "select max(email) from customers",
        "select string_agg(email, ',') from customers",
        "select contact from people",
        "select x from (select email as x from customers) s",
        "with s as (select email as x from customers) select x from s",
        "select (select email from customers where id = 1)",
        "select email from customers union select name from customers",
        "select coalesce(email, name) from customers",
        "values ((select email from customers where id = 1))",
        "table customers",
        "select email::bytea from customers",
        "select email::int from customers",
        "select 1 / (case when email like 'ada%' then 0 else 1 end) from customers",
        "copy customers to stdout",
        "copy (select email from customers) to stdout",
        "insert into customers select id + 10, name, email, card_number from customers returning email",
        "begin; declare c cursor for select email from customers; fetch all from c",
        "prepare p as select email from customers; execute p",
        "explain analyze verbose select email from customers where email > 'a'",
        "do $$ begin raise notice '%', (select email from customers where id = 1); end $$",
        "select most_common_vals from pg_stats where tablename = 'customers'",
    ] {
        let shown = stand.psql("alice", statement)?;
        for secret in SECRETS {
            ensure!(!shown.to_lowercase().contains(secret), "{statement} shows {secret}:\n{shown}");
        }
    }
    Ok(())
}

#[test]
fn a_masked_value_cannot_be_copied_to_where_it_shows() -> Result<()> {
    let stand = Stand::start()?;
    stand.target.sql(DATABASE, "create table notes (id int, note text); alter table notes owner to app")?;
    for statement in [
        "update customers set name = email where id = 1 returning name",
        "insert into notes select id, email from customers returning note",
        "with e as (select email from customers) insert into notes select 1, email from e",
        "insert into notes values (1, (select email from customers where id = 1))",
        "insert into notes select 1, row_to_json(c)::text from customers c",
        "insert into notes select id, contact from people",
        "with x as (update customers set name = 'x' returning email) insert into notes select 1, email from x",
        "merge into notes n using customers c on n.id = c.id when not matched then insert values (c.id, c.email)",
        "insert into customers (id, name) values (1, 'x') on conflict (id) do update set name = customers.email",
        "prepare p as insert into notes select 1, email from customers; execute p",
        "select set_config('x.y', email, false) from customers; show x.y",
        "select note from notes",
        "select name from customers",
    ] {
        let shown = stand.psql("alice", statement)?;
        ensure!(SECRETS.iter().all(|secret| !shown.contains(secret)), "{statement}:\n{shown}");
    }
    Ok(())
}

#[test]
fn a_class_keeps_its_mask_wherever_its_column_is_shown_unchanged() -> Result<()> {
    let stand = Stand::start()?;
    stand.target.sql(
        DATABASE,
        "create table old_customers () inherits (customers); insert into old_customers values (3, 'Joan', 'joan@example.com', '4000000000000002');
         create table parts (id int, email text) partition by list (id); create table part_1 partition of parts for values in (1);
         insert into parts values (1, 'ada.lovelace@example.org'); create materialized view kept as select id, email from customers;
         alter table old_customers owner to app; alter table parts owner to app; alter table part_1 owner to app; alter materialized view kept owner to app",
    )?;
    for from in [
        "customers where id = 1",
        "people p(i, email) where i = 1",
        "kept where id = 1",
        "(select email, id as i from customers) s where i = 1",
        "customers c join customers d using (id) cross join lateral (select c.email) x(e) where id = 1",
    ] {
        let column = if from.contains("lateral") { "c.email" } else { "email" };
        let shown = stand.psql("alice", &format!("select {column} from {from}"))?;
        ensure!(shown == "***@example.org\n", "{from}: {shown}");
    }
    let shown = stand
        .psql("alice", "with c as (select * from customers) select name, email from c where id = 2 union all select 'x', email from old_customers")?;
    ensure!(shown == "Grace|***@example.net\nx|***@example.com\n", "{shown}");
    Ok(())
}

#[test]
fn a_masked_value_cannot_be_found_out_by_asking() -> Result<()> {
    let stand = Stand::start()?;
    for condition in ["email like 'ada%'", "email > 'a'", "left(email, 1) = 'a'", "name = 'Ada' order by email", "1 / (length(email) - 24) = 1"] {
        let shown = stand.psql("alice", &format!("select id from customers where {condition}"))?;
        ensure!(shown.contains("42501") && shown.contains("`filter` on data class email"), "{condition}: {shown}");
    }
    ensure!(
        stand.psql("alice", "select id from customers where email = 'ada.lovelace@example.org'")? == "1\n",
        "the starter set lets those look up who know"
    );
    ensure!(stand.psql("sam", "select id from customers where email like 'ada%'")? == "1\n", "who sees it may search it");
    let explained = stand.gateway.run("alice", &["explain-statement", "prod-pg", "select id from customers order by email"])?;
    ensure!(explained.contains("filter on data class email"), "{explained}");
    Ok(())
}

#[test]
fn ordinary_writes_beside_a_masked_column_pass() -> Result<()> {
    let stand = Stand::start()?;
    stand.target.sql(DATABASE, "create table log (id int, at timestamptz); alter table log owner to app")?;
    for (statement, tag) in [
        ("update customers set name = 'x' where id = 1", "UPDATE 1"),
        ("update customers set email = 'new@example.org' where id = 1", "UPDATE 1"),
        ("insert into customers values (7, 'Joan', 'joan@example.org', '4111111111111111')", "INSERT 0 1"),
        ("insert into customers (id, email) values (7, 'j@example.org') on conflict (id) do update set email = excluded.email", "INSERT 0 1"),
        ("insert into log select id, now() from customers where email = 'j@example.org'", "INSERT 0 1"),
        ("delete from customers where id = 7", "DELETE 1"),
    ] {
        let shown = stand.psql("alice", statement)?;
        ensure!(shown.trim() == tag, "{statement}: {shown}");
    }
    Ok(())
}

#[test]
fn a_copy_that_is_refused_names_the_column() -> Result<()> {
    let stand = Stand::start()?;
    let shown = stand.psql("alice", "update customers set name = email where id = 1")?;
    ensure!(shown.contains("42501") && shown.contains("public.customers.email"), "{shown}");
    ensure!(stand.target.sql(DATABASE, "select name from customers where id = 1")?.trim() == "Ada");
    // Definitions wait for a signature in production, but this one is refused at once: nobody can sign a class away.
    let shown = stand.psql("alice", "alter table customers rename column email to mail")?;
    ensure!(shown.contains("42501") && shown.contains("another name"), "{shown}");
    Ok(())
}

#[test]
fn binary_values_are_masked_too() -> Result<()> {
    let stand = Stand::start()?;
    let mut wire = Wire::open(&stand.gateway.login("alice")?.without_tls(), &[])?;
    for format in [0, 1] {
        let statement = parse("", "select id, email from customers where id = $1::int");
        wire.say(&[statement, bind("", "", &[Some("1")], format), describe('P', ""), execute("", 0), sync()].concat())?;
        let heard = wire.hear_until_ready(1).with_context(|| format!("format {format}: {}", stand.gateway.printed()))?;
        let row = heard.iter().find(|message| message.kind == 'D').map(|row| row.body.escape_ascii().to_string()).unwrap_or_default();
        ensure!(row.ends_with("***@example.org") && !row.contains("ada"), "format {format}: {heard:?}");
    }
    Ok(())
}

/// The target goes on with the table that a statement or cursor found when it was made, whatever stands before it by now.
#[test]
fn what_was_prepared_stays_masked_when_a_table_is_put_before_what_it_named() -> Result<()> {
    let stand = Stand::start()?;
    let setup = Setup::init()?;
    setup.permit_all()?;
    setup.write("policy/reveal.cedar", "forbid (principal, action == Action::\"reveal\", resource);\n")?;
    setup.target(&stand.target, DATABASE, "")?;
    setup.classes(&[("email", "keep-domain", "public.customers.email")])?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    let made = [
        query("create temp table first (a int)"),
        query("prepare by_sql as select email from customers"),
        [parse("by_message", "select email from customers"), sync()].concat(),
        query("begin"),
        query("declare c cursor for select email from customers"),
        query("create temp table customers (email text)"),
    ];
    for message in made {
        wire.say(&message)?;
        let heard = wire.hear_until_ready(1)?;
        ensure!(heard.iter().all(|one| one.kind != 'E'), "{heard:?}");
    }
    let shown = [query("execute by_sql"), query("fetch all from c"), [bind("", "by_message", &[], 0), execute("", 0), sync()].concat()];
    for message in shown {
        wire.say(&message)?;
        let heard = wire.hear_until_ready(1)?;
        let rows: Vec<String> = heard.iter().filter(|one| one.kind == 'D').map(|row| row.body.escape_ascii().to_string()).collect();
        ensure!(rows.len() == 2 && rows.iter().all(|row| row.contains("***@example.")), "{}: {heard:?}", message.escape_ascii());
    }
    Ok(())
}

#[test]
fn errors_after_touching_a_classified_column_tell_nothing() -> Result<()> {
    let stand = Stand::start()?;
    let mut wire = Wire::open(&stand.gateway.login("alice")?.without_tls(), &[])?;
    wire.say(&query("select count(*) from customers"))?;
    wire.hear_until_ready(1)?;
    wire.say(&query("insert into customers values (1, 'x', 'y', 'z')"))?;
    let heard = wire.hear_until_ready(1)?;
    let error = heard.iter().find(|message| message.kind == 'E').map(|error| error.body.escape_ascii().to_string()).unwrap_or_default();
    ensure!(error.contains("23505") && !error.contains("customers_pkey") && !error.contains("(id)=(1)"), "{error}");
    Ok(())
}

#[test]
fn a_recording_holds_what_the_caller_saw() -> Result<()> {
    let stand = Stand::start()?;
    stand.psql("alice", "select email, card_number from customers where id = 1")?;
    let found = stand.gateway.json(stand.gateway.administrator(), &["search", "masked:email identity:alice"])?;
    let session = found.pointer("/hits/0/session").and_then(serde_json::Value::as_str).unwrap_or_default();
    let told = stand.gateway.run(stand.gateway.administrator(), &["show", session])?;
    ensure!(told.contains("***@example.org") && told.contains("masked") && !told.contains("ada.lovelace"), "{told}");
    Ok(())
}

/// Customers with every sign that a format must escape, and beside them what somebody who may not see it is to get, as a table of its own.
fn copied() -> Result<(Postgres, Gateway)> {
    let target = Postgres::start_with(Method::Cleartext, &[])?;
    target.sql(
        DATABASE,
        r#"create table customers (id int primary key, name text, email text, note text, score int);
         insert into customers values (1, 'Ada', 'ada@example.org', 'secret', 5), (2, E'a\tb\\c"d,e\nf''g', E'ada"\t@example.org', E'se\ncret', 6),
             (3, '', null, '', null), (4, E'\\N', E'x\\y@exa.mple', E'\\.', 7), (5, null, 'no address', null, 8);
         create table shown as select * from customers;
         update shown set note = case when note is not null then '********' end, score = case when score is not null then 0 end,
             email = case id when 1 then '***@example.org' when 2 then '***@example.org' when 4 then '***@exa.mple' when 5 then '********' end;
         create view people as select id, email as contact, upper(email) as loud from customers;
         create view shown_people as select id, email as contact, null::text as loud from shown;
         alter table customers owner to app; alter table shown owner to app; alter view people owner to app; alter view shown_people owner to app"#,
    )?;
    let setup = Setup::init()?;
    let classes = r#"
[email]
mask = "keep-domain"
columns = ["public.customers.email"]
[note]
columns = ["public.customers.note"]
[score]
columns = ["public.customers.score"]
"#;
    let gateway = masking_for_alice(setup, &target, classes)?;
    Ok((target, gateway))
}

#[test]
fn copies_are_what_the_server_would_say_of_masked_values() -> Result<()> {
    let (target, gateway) = copied()?;
    let mut direct = Wire::open(&target.login(DATABASE), &[])?;
    let mut through = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    let options = [
        "",
        "(delimiter '|')",
        "(format csv)",
        "(format csv, header, force_quote *)",
        r"(format csv, delimiter ';', quote '''', escape '\', null 'NULL')",
        "(format binary)",
    ]
    .map(str::to_owned);
    for option in options {
        for from in [
            "TABLE (id, name, email, note, score)",
            "TABLE",
            "TABLE (note, id)",
            "(select score, note, name, id from TABLE order by id)",
            "(select * from TABLE_people)",
        ] {
            let statement = |table: &str, people: &str| {
                query(&format!("copy {} to stdout {option}", from.replace("TABLE_people", people).replace("TABLE", table)))
            };
            direct.say(&statement("shown", "shown_people"))?;
            let wanted = direct.hear_until_ready(1)?;
            through.say(&statement("customers", "people"))?;
            let heard = through.hear_until_ready(1)?;
            ensure!(heard == wanted, "{from} {option}:\n{}\n{}", lines(&heard), lines(&wanted));
        }
    }
    for statement in
        ["copy customers to stdout (encoding 'SJIS')", "copy customers to stdout; select 1", "copy customers to stdout (null 'ada@example.org')"]
    {
        through.say(&query(statement))?;
        let heard = through.hear_until_ready(1)?;
        ensure!(
            heard.iter().any(|one| one.kind == 'E' && one.body.escape_ascii().to_string().contains("cannot be masked")),
            "{statement}: {heard:?}"
        );
    }
    // The recording says what was masked, and has no more than the caller got.
    let found = gateway.json(gateway.administrator(), &["search", "masked:email identity:alice"])?;
    let session = found.pointer("/hits/0/session").and_then(serde_json::Value::as_str).unwrap_or_default();
    let told = gateway.run(gateway.administrator(), &["show", session])?;
    ensure!(told.contains("masked: email, note, score") && !told.contains("ada@") && !told.contains("secret"), "{told}");
    Ok(())
}

fn lines(heard: &[countersign_tests::wire::Heard]) -> String {
    heard.iter().map(|one| format!("{} {}\n", one.kind, one.body.escape_ascii())).collect()
}

#[test]
fn a_dump_holds_masked_values_and_can_be_restored() -> Result<()> {
    let (target, gateway) = copied()?;
    let dump = gateway.login("alice")?.client(&target.program("pg_dump"))?.args(&["--no-owner", "--table", "customers"]).print()?;
    ensure!(dump.contains("***@example.org") && !dump.contains("ada@") && !dump.contains("secret"), "{dump}");
    target.create_database("restored")?;
    let file = gateway.setup().file("dump.sql");
    std::fs::write(&file, &dump)?;
    target.sql_file("restored", &file)?;
    let difference = "select count(*) from customers";
    ensure!(target.sql("restored", difference)?.trim() == "5");
    let of = |database: &str, table: &str| target.sql(database, &format!("select id, name, email, note, score from {table} order by id"));
    ensure!(of("restored", "customers")? == of(DATABASE, "shown")?);
    Ok(())
}

/// A generated column goes by a name of its own, and the target names it as where a value comes from.
#[test]
fn what_a_generated_column_is_made_of_is_masked_wherever_it_is_told_by_its_name_alone() -> Result<()> {
    let target = Postgres::start()?;
    target.sql(
        DATABASE,
        "create table codes (id int primary key, code text, shadow text generated always as (upper(code)) stored);
         insert into codes (id, code) values (1, 'ada.lovelace'); alter table codes owner to app;
         create function told() returns text language plpgsql immutable as 'begin return (select code from codes limit 1); end';
         create view wide as select c.id, c from codes c; alter view wide owner to app",
    )?;
    let gateway = masking_for_alice(Setup::init()?, &target, "[code]\ncolumns = [\"public.codes.code\"]\n")?;
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    for statement in [
        "select * from codes",
        "select (r).* from codes r",
        "with s as (select (r).* from codes r) table s",
        "select shadow from codes; select 1",
        "prepare p as select shadow from codes; execute p",
        "begin; declare c cursor for select shadow from codes; fetch all from c; commit",
        "update codes set id = id returning (codes).*",
        "update codes set id = id returning shadow; select 1",
        "select (c).* from wide",
        "explain (verbose) select told()",
        "savepoint s; select upper(code) from codes",
    ] {
        wire.say(&query(statement))?;
        let heard = lines(&wire.hear_until_ready(1)?).to_lowercase();
        ensure!(!heard.contains("lovelace"), "{statement}:\n{heard}");
    }
    // Beside statements that only mark a place, a statement's columns are as certain as alone.
    wire.say(&query("begin; savepoint s; select count(*), min(id) from codes; release s"))?;
    let heard = lines(&wire.hear_until_ready(1)?);
    ensure!(heard.contains("D \\x00\\x02\\x00\\x00\\x00\\x011\\x00\\x00\\x00\\x011"), "{heard}");
    Ok(())
}

/// Columns of one table for each mask, and a row of values.
const KINDS: &[(&str, &str)] = &[
    ("t text", "'4111 1111 1111 1111'"),
    ("v varchar(40)", "'ada.lovelace@example.org'"),
    ("i2 int2", "1234"),
    ("i4 int4", "123456789"),
    ("i8 int8", "4111111111111111"),
    ("n numeric(20,2)", "1234567.89"),
    ("neg numeric", "-0.0012345678"),
    ("f4 float4", "1234.5"),
    ("f8 float8", "-1234.5"),
    ("b bool", "true"),
    ("d date", "'1984-02-29'"),
    ("ts timestamp", "'1984-02-29 10:11:12.5'"),
    ("tz timestamptz", "'1984-02-29 10:11:12+02'"),
    ("tm time", "'10:11:12'"),
    ("tmz timetz", "'10:11:12+02'"),
    ("iv interval", "'3 days 04:05:06'"),
    ("u uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("by bytea", "'\\xdeadbeef00'"),
    ("ip inet", "'10.20.30.40'"),
    ("ci cidr", "'10.20.30.0/24'"),
    ("ma macaddr", "'08:00:2b:01:02:03'"),
    ("m8 macaddr8", "'08:00:2b:01:02:03:04:05'"),
    ("j json", "'{\"a\": [1, \"secret\"]}'"),
    ("jb jsonb", "'{\"a\": [1, \"secret\"]}'"),
    ("x xml", "'<a>secret</a>'"),
    ("bi bit(3)", "B'101'"),
    ("vb varbit", "B'1011'"),
    ("po point", "'(1,2)'"),
    ("r int4range", "'[1,5)'"),
    ("mr nummultirange", "'{[1,5),[7,9)}'"),
    ("ta text[]", "array['ada.lovelace@example.org', null, 'with \"quotes\", and \\ more']"),
    ("ia int8[]", "'[0:1][1:2]={{4111111111111111,2},{3,4}}'"),
    ("da date[]", "array['1984-02-29'::date]"),
    ("c address", "row('12 Main \"Street\"', 12345678, array['x y', null])"),
    ("ca address[]", "array[row('a, b', 7, null)::address]"),
    ("mail mail_domain", "'grace.hopper@example.net'"),
    ("e mood", "'sad'"),
];

const MASKS: [&str; 7] = [
    r#"mask = "redact""#,
    "mask = \"redact\"\nnulls = \"hidden\"",
    r#"mask = "keep-last-four""#,
    r#"mask = "keep-domain""#,
    r#"mask = "hash""#,
    r#"mask = "token""#,
    "mask = \"generalise\"\nto = \"year\"\nband = 100",
];

/// A table of every kind of value for each mask; in the last row all is NULL.
fn kinds() -> Result<(Postgres, Gateway)> {
    let target = Postgres::start()?;
    let columns: Vec<&str> = KINDS.iter().map(|(column, _)| *column).collect();
    let values: Vec<&str> = KINDS.iter().map(|(_, value)| *value).collect();
    let mut tables = "create type address as (street text, zip int4, tags text[]); create domain mail_domain as text check (value like '%@%'); \
                      create type mood as enum ('sad', 'ok'); "
        .to_owned();
    let mut classes = String::new();
    for (number, mask) in MASKS.iter().enumerate() {
        tables += &format!(
            "create table k{number} (id int, {}); insert into k{number} values (1, {}); insert into k{number} (id) values (2); \
             create table back{number} (like k{number}); alter table back{number} alter mail type text, alter n type numeric; alter table k{number} owner to app; ",
            columns.join(", "),
            values.join(", ")
        );
        let names = columns.iter().filter_map(|column| column.split(' ').next()).map(|name| format!("\"public.k{number}.{name}\""));
        classes += &format!("[mask{number}]\n{mask}\ncolumns = [{}]\n", names.collect::<Vec<_>>().join(", "));
    }
    target.sql(DATABASE, &tables)?;
    let setup = Setup::init()?;
    let gateway = masking_for_alice(setup, &target, &classes)?;
    Ok((target, gateway))
}

/// With these classes, everything is permitted to alice but to see what is masked.
fn masking_for_alice(setup: Setup, target: &Postgres, classes: &str) -> Result<Gateway> {
    setup.permit_all()?;
    setup.write("policy/reveal.cedar", "forbid (principal, action == Action::\"reveal\", resource);\n")?;
    setup.target(target, DATABASE, "record = \"full\"")?;
    setup.write("data-classes.toml", classes)?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    Ok(gateway)
}

/// What is masked in binary the server reads back as what is masked in text.
#[test]
fn masked_values_of_every_type_are_values_of_that_type() -> Result<()> {
    let (target, gateway) = kinds()?;
    let psql = |statement: &str| -> Result<String> {
        let output = gateway.login("alice")?.psql(&target.program("psql"))?.args(&["-At", "-c", statement]).run()?;
        Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
    };
    for (number, mask) in MASKS.iter().enumerate() {
        let table = format!("select * from k{number} order by id");
        let shown = psql(&table)?;
        for secret in
            ["ada.lovelace", "grace", "secret", "4111 1111 1111 1111", "Main", "deadbeef", "1234567.89", "a0eebc99", "10.20.30.40", "08:00:2b"]
        {
            ensure!(!shown.contains(secret), "{}: {shown}", mask);
        }
        for format in ["text", "csv", "binary"] {
            let file = gateway.setup().file(&format!("k{number}.{format}"));
            let copied = psql(&format!("\\copy k{number} to '{}' with (format {format})", file.display()))?;
            ensure!(copied.trim() == "COPY 2", "{format} of {}: {copied}", mask);
            target.sql(DATABASE, &format!("truncate back{number}"))?;
            target.sql(DATABASE, &format!("copy back{number} from '{}' with (format {format})", file.display()))?;
            let back = target.sql(DATABASE, &format!("select * from back{number} order by id"))?;
            ensure!(back.trim() == shown.trim(), "{format} of {}:\n{back}\n{shown}", mask);
        }
    }
    Ok(())
}

#[test]
fn tokens_and_hashes_stay_equal_and_parts_of_documents_are_masked() -> Result<()> {
    let target = Postgres::start()?;
    target.sql(
        DATABASE,
        r#"create table a (id int, card text, profile jsonb); create table b (id int, card text, ref text);
           insert into a values (1, '4111111111111111', '{"name": "Ada", "contact": {"mail": "ada.lovelace@example.org", "phones": ["555-0100-1234"]}}');
           insert into b values (1, '4111-1111-1111-1111', 'ada.lovelace@example.org'), (2, '5500000000000004', 'grace.hopper@example.net'), (3, null, null);
           alter table a owner to app; alter table b owner to app"#,
    )?;
    let setup = Setup::init()?;
    let classes = r#"[card]
mask = "token"
columns = ["public.a.card", "public.b.card"]
[mail]
mask = "hash"
columns = ["public.b.ref", { schema = "public", table = "a", column = "profile", path = "$.contact.mail" }]
[phone]
mask = "keep-last-four"
columns = [{ schema = "public", table = "a", column = "profile", path = "$.contact.phones" }]
"#;
    let mut gateway = masking_for_alice(setup, &target, classes)?;
    let ask = |gateway: &Gateway, statement: &str| gateway.login("alice")?.psql(&target.program("psql"))?.args(&["-At", "-c", statement]).print();
    let card = ask(&gateway, "select card from a")?.trim().to_owned();
    let others = ask(&gateway, "select card, ref from b order by id")?;
    let rows: Vec<Vec<&str>> = others.lines().map(|line| line.split('|').collect()).collect();
    ensure!(card.len() == 16 && card.starts_with("4111") && card != "4111111111111111", "{card}");
    ensure!(rows[0][0].replace('-', "") == card && rows[1][0] != card && rows[2] == ["", ""], "{card} {others}");
    let profile: serde_json::Value = serde_json::from_str(&ask(&gateway, "select profile from a")?)?;
    ensure!(profile["name"] == "Ada" && profile["contact"]["phones"][0] == "***-****-1234", "{profile}");
    ensure!(profile["contact"]["mail"] == rows[0][1] && rows[0][1].len() == 32, "{profile} {others}");
    // They outlast the process.
    gateway.kill();
    gateway.start_again()?;
    ensure!(ask(&gateway, "select card from a")?.trim() == card);
    Ok(())
}
