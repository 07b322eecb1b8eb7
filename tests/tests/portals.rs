//! Portals and cursors: what was bound is decided by what is in force when it runs, and SQL reaches what the protocol made.

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    gateway::{Gateway, Setup},
    postgres::{DATABASE, Postgres},
    wire::{Heard, Wire, bind, execute, flush, parse, query, sync},
};

const EVERYTHING: &str = "permit (principal, action, resource);\n";

/// A gateway that permits everything, in front of a table of five rows, whose policies are taken when they are applied.
struct Stand {
    target: Postgres,
    gateway: Gateway,
}

impl Stand {
    fn start() -> Result<Self> {
        let target = Postgres::start()?;
        target.sql(
            DATABASE,
            "create table t (id int primary key, email text); insert into t select n, 'person' || n || '@example.org' from generate_series(1, 5) n;
             alter table t owner to app",
        )?;
        let setup = Setup::init()?;
        std::fs::remove_dir_all(setup.file("policy"))?;
        setup.write("policy/all.cedar", EVERYTHING)?;
        setup.target(&target, DATABASE, "")?;
        let before = std::fs::read_to_string(setup.file("countersign.toml"))?;
        setup.write("countersign.toml", &format!("{before}[policy]\nwatch = false\n"))?;
        let mut gateway = setup.serve()?;
        gateway.add_user("alice", &[])?;
        gateway.add_user("bob", &["dba"])?;
        Ok(Self { target, gateway })
    }

    fn alice(&self) -> Result<Wire> {
        Wire::open(&self.gateway.login("alice")?.without_tls(), &[])
    }

    fn apply(&self, file: &str, text: &str) -> Result<()> {
        let setup = self.gateway.setup();
        setup.write(file, text)?;
        self.gateway.run(self.gateway.administrator(), &["apply", &setup.file("").to_string_lossy()])?;
        Ok(())
    }
}

fn kinds(heard: &[Heard]) -> String {
    heard.iter().map(|message| message.kind).collect()
}

fn error(heard: &[Heard]) -> Result<String> {
    let error = heard.iter().find(|message| message.kind == 'E').with_context(|| format!("no error in {}", kinds(heard)))?;
    Ok(String::from_utf8_lossy(&error.body).replace('\0', "\n"))
}

/// The first column of each row.
fn cells(heard: &[Heard]) -> Vec<String> {
    let cell = |row: &Heard| row.body.get(6..).map(|cell| String::from_utf8_lossy(cell).into_owned()).unwrap_or_default();
    heard.iter().filter(|message| message.kind == 'D').map(cell).collect()
}

/// Says these and hears so many messages.
fn hear(wire: &mut Wire, bytes: &[u8], messages: usize) -> Result<Vec<Heard>> {
    wire.say(bytes)?;
    (0..messages).map(|_| wire.hear()).collect()
}

fn bound(wire: &mut Wire, portal: &str, statement: &str) -> Result<()> {
    let heard = hear(wire, &[parse("", statement), bind(portal, "", &[], 0), flush()].concat(), 2)?;
    ensure!(kinds(&heard) == "12", "{}", kinds(&heard));
    Ok(())
}

#[test]
fn a_portal_bound_before_a_policy_change_is_decided_anew_when_it_runs() -> Result<()> {
    let stand = Stand::start()?;
    let (mut denied, mut held, mut masked, mut goes_on) = (stand.alice()?, stand.alice()?, stand.alice()?, stand.alice()?);
    bound(&mut denied, "", "insert into t values (6)")?;
    bound(&mut held, "", "delete from t")?;
    bound(&mut masked, "rows", "select email from t order by id")?;
    let heard = hear(&mut masked, &[execute("rows", 2), flush()].concat(), 3)?;
    ensure!(cells(&heard) == ["person1@example.org", "person2@example.org"], "{heard:?}");
    bound(&mut goes_on, "", "update t set id = 1 where id = 1")?;

    let hold = "@id(\"hold\") @approvers(\"dba\")\nforbid (principal, action == Action::\"destroy\", resource) unless { context.approved };\n";
    let deny = "forbid (principal, action == Action::\"write\", resource) when { context.statement.kinds.contains(\"INSERT\") };\n\
                forbid (principal, action == Action::\"reveal\", resource);\n";
    stand.gateway.setup().write("data-classes.toml", "[email]\nmask = \"keep-domain\"\ncolumns = [\"public.t.email\"]\n")?;
    stand.apply("policy/all.cedar", &format!("{EVERYTHING}{hold}{deny}"))?;

    denied.say(&[execute("", 0), sync()].concat())?;
    let told = error(&denied.hear_until_ready(1)?)?;
    ensure!(told.contains("C42501") && told.contains("refused by policy"), "{told}");
    held.say(&[execute("", 0), sync()].concat())?;
    let told = error(&held.hear_until_ready(1)?)?;
    ensure!(told.contains("C42501") && told.contains("Bind it again"), "{told}");
    masked.say(&[execute("rows", 0), sync()].concat())?;
    let heard = masked.hear_until_ready(1)?;
    ensure!(cells(&heard) == ["***@example.org"; 3], "{heard:?}");
    goes_on.say(&[execute("", 0), sync()].concat())?;
    ensure!(kinds(&goes_on.hear_until_ready(1)?) == "CZ");
    ensure!(stand.target.sql(DATABASE, "select count(*) from t")? == "5\n", "something of it ran");
    // They are decided as what they were bound to, and that is recorded.
    let found = stand.gateway.run(stand.gateway.administrator(), &["search", "insert", "decision:refused"])?;
    ensure!(found.contains("insert into t values"), "{found}");
    for wire in [&mut denied, &mut held, &mut masked, &mut goes_on] {
        wire.say(&query("select 1"))?;
        ensure!(kinds(&wire.hear_until_ready(1)?) == "TDCZ");
    }
    Ok(())
}

/// Whatever way a cursor over a masked column is walked, what comes out is masked; MOVE shows nothing.
#[test]
fn a_cursor_over_a_masked_column_is_masked_however_it_is_walked() -> Result<()> {
    let stand = Stand::start()?;
    stand.gateway.setup().write("data-classes.toml", "[email]\nmask = \"keep-domain\"\ncolumns = [\"public.t.email\"]\n")?;
    stand.apply("policy/all.cedar", &format!("{EVERYTHING}forbid (principal, action == Action::\"reveal\", resource);\n"))?;
    let mut wire = stand.alice()?;
    let mut said = |bytes: &[u8]| -> Result<(String, Vec<String>)> {
        wire.say(bytes)?;
        let heard = wire.hear_until_ready(1)?;
        Ok((kinds(&heard), cells(&heard)))
    };
    let masked = |count: usize| vec!["***@example.org".to_owned(); count];
    said(&query("begin"))?;
    said(&query("declare c scroll cursor for select email from t order by id"))?;
    for (fetch, rows) in [
        ("fetch 2 from c", 2),
        ("fetch backward 1 from c", 1),
        ("fetch absolute -1 from c", 1),
        ("fetch first c", 1),
        ("fetch relative 2 from c", 1),
        ("fetch 0 from c", 1),
        ("fetch all in c", 2),
    ] {
        ensure!(said(&query(fetch))?.1 == masked(rows), "{fetch}");
    }
    for step in ["move first in c", "move 2 in c", "move backward all in c"] {
        ensure!(said(&query(step))?.0 == "CZ", "{step}");
    }
    ensure!(said(&[execute("c", 2), sync()].concat())?.1 == masked(2), "by the protocol");
    let fetch = [parse("", "fetch next from c"), bind("", "", &[], 1), execute("", 0), sync()].concat();
    ensure!(said(&fetch)?.1 == masked(1), "as a prepared statement, in binary");
    let portal = [parse("s", "select email from t order by id"), bind("p", "s", &[], 0), execute("p", 1), sync()].concat();
    ensure!(said(&portal)?.1 == masked(1));
    ensure!(said(&query("fetch 1 from p"))?.1 == masked(1), "SQL on a portal of the protocol");
    said(&query("declare h cursor with hold for select email from t"))?;
    said(&query("commit"))?;
    ensure!(said(&query("fetch 3 from h"))?.1 == masked(3), "after its transaction");
    Ok(())
}
