//! Sensitive values are found by their form where no column is classified, and masked: in rows, documents, bytes and COPY.

use anyhow::{Result, ensure};
use countersign_tests::{
    gateway::{Gateway, Setup},
    postgres::{DATABASE, Postgres},
    wire::{Wire, bind, describe, execute, parse, sync},
};

const SECRETS: [&str; 5] = ["ada.lovelace", "4111111111111111", "4111-1111", "6164612e6c6f7665", "078-05-1121"];

struct Stand {
    target: Postgres,
    gateway: Gateway,
}

impl Stand {
    fn start(detect: &str, more: &str) -> Result<Self> {
        let target = Postgres::start()?;
        target.sql(
            DATABASE,
            r#"create table notes (id int primary key, body text, data jsonb, raw bytea, list text[], contact text);
               insert into notes values
               (1, 'write to ada.lovelace@example.org about card 4111-1111-1111-1111, please',
                '{"who": "ada.lovelace@example.org", "n": 4111111111111111, "escaped": "ada.lovelace\u0040example.org", "plain": [1, "x"]}',
                'ada.lovelace@example.org', '{a,ada.lovelace@example.org}', 'ada.lovelace@example.org'),
               (2, 'nothing to see', '{"plain": true}', '\x00ff', '{b}', null);
               alter table notes owner to app"#,
        )?;
        let setup = Setup::init()?;
        setup.permit_all()?;
        setup.write("policy/reveal.cedar", more)?;
        setup.target(&target, DATABASE, &format!("record = \"full\"\ndetect = {detect}"))?;
        setup.write("data-classes.toml", "[email]\nmask = \"keep-domain\"\n")?;
        let mut gateway = setup.serve()?;
        for name in ["alice", "sam"] {
            gateway.add_user(name, &[])?;
        }
        Ok(Self { target, gateway })
    }

    fn psql(&self, who: &str, statement: &str) -> Result<String> {
        let output = self.gateway.login(who)?.psql(&self.target.program("psql"))?.args(&["-At", "-c", statement]).run()?;
        Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
    }
}

const NOBODY: &str = "forbid (principal, action == Action::\"reveal\", resource);\n";

#[test]
fn what_is_found_is_masked_and_the_rest_comes_as_it_is() -> Result<()> {
    let stand = Stand::start(r#"["email", "card"]"#, NOBODY)?;
    let shown = stand.psql("alice", "select * from notes order by id")?;
    let (first, second) = shown.split_once('\n').unwrap_or_default();
    ensure!(
        first
            == r#"1|write to ***@example.org about card ********, please|{"n": 0, "who": "***@example.org", "plain": [1, "x"], "escaped": "***@example.org"}||{a,***@example.org}|***@example.org"#,
        "{first}"
    );
    ensure!(second.trim() == r#"2|nothing to see|{"plain": true}|\x00ff|{b}|"#, "{second}");
    // What an expression makes of it is looked through as well.
    for statement in [
        "select body || '!' from notes",
        "select json_agg(body) from notes",
        "select to_json(n.list) from notes n",
        "select string_agg(contact, ',') from notes",
        "select data->>'who' from notes",
        "select n from notes n",
        "copy notes to stdout",
        "copy notes to stdout (format csv)",
        "copy (select body, data::text from notes) to stdout",
        "explain select 1 from notes where contact = 'ada.lovelace@example.org'",
        "select 'ada.lovelace@example.org'; select body from notes",
    ] {
        let shown = stand.psql("alice", statement)?;
        ensure!(!shown.is_empty() && SECRETS.iter().all(|secret| !shown.contains(secret)), "{statement}: {shown}");
    }
    // The record says where something was found, and holds what was shown.
    let found = stand.gateway.json(stand.gateway.administrator(), &["search", "decision:masked identity:alice"])?;
    ensure!(found.pointer("/hits/0/session").is_some(), "{found}");
    Ok(())
}

#[test]
fn binary_values_are_looked_through() -> Result<()> {
    let stand = Stand::start(r#"["all"]"#, NOBODY)?;
    let mut wire = Wire::open(&stand.gateway.login("alice")?.without_tls(), &[])?;
    wire.say(
        &[parse("", "select body, data, raw, list, contact from notes order by id"), bind("", "", &[], 1), describe('P', ""), execute("", 0), sync()]
            .concat(),
    )?;
    let heard = wire.hear_until_ready(1)?;
    let rows: Vec<String> = heard.iter().filter(|one| one.kind == 'D').map(|one| one.body.escape_ascii().to_string()).collect();
    ensure!(rows.len() == 2 && rows.iter().all(|row| SECRETS.iter().all(|secret| !row.contains(secret))), "{rows:?}");
    ensure!(rows[0].contains("***@example.org") && rows[1].contains("nothing to see"), "{rows:?}");
    Ok(())
}

#[test]
fn who_may_reveal_a_class_sees_what_is_found_of_it() -> Result<()> {
    let stand = Stand::start(
        r#"["email", "card"]"#,
        "forbid (principal, action == Action::\"reveal\", resource) unless { principal == User::\"sam\" && resource == DataClass::\"email\" };\n",
    )?;
    let shown = stand.psql("sam", "select body from notes where id = 1")?;
    ensure!(shown == "write to ada.lovelace@example.org about card ********, please\n", "{shown}");
    Ok(())
}

/// Nine digits are a social security number where something says so: here a comment, as long as it is there.
#[test]
fn a_comment_on_a_column_says_what_it_holds() -> Result<()> {
    let stand = Stand::start(r#"["us-ssn"]"#, NOBODY)?;
    stand.target.sql(
        DATABASE,
        "create table codes (a text, b text); insert into codes values ('536904399', '536904399');
         comment on column codes.a is 'Social security number \u{2014} as told'; comment on column codes.b is 'of the order'; alter table codes owner to app",
    )?;
    for statement in ["select a, b from codes", "select c.a as one, c.b as two from codes c"] {
        let shown = stand.psql("alice", statement)?;
        ensure!(shown == "********|536904399\n", "{statement}: {shown}");
    }
    let copied = stand.psql("alice", "copy codes to stdout (format csv)")?;
    ensure!(copied == "********,536904399\n", "{copied}");
    let commented = stand.psql("alice", "comment on column codes.a is null; comment on column codes.b is 'ssn'")?;
    ensure!(!commented.contains("ERROR"), "{commented}");
    let shown = stand.psql("alice", "select a, b from codes")?;
    ensure!(shown == "536904399|********\n", "{shown}");
    Ok(())
}
