//! `cargo xtask demo`: the product's story, played with the real binary, a real PostgreSQL and plain `psql`. Each line
//! is run as it is printed, and each step is asserted.

mod scene;
mod stage;

use std::time::{Duration, Instant};

use self::{
    scene::{ADMINISTRATOR, CONNECTION, Scene},
    stage::{Live, Shown},
};
use crate::{
    Outcome,
    command::{cargo, run as run_command},
    install,
};

/// What sign-outs and revocations promise: a live session ends within this time.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// Plays the story. With `keep`, everything stays up afterwards until this process ends.
///
/// # Errors
/// Something could not be installed or built, or a step did not show what it must: which, and what it showed.
pub fn run(keep: bool) -> Outcome<()> {
    install::for_demo()?;
    println!("building countersign");
    run_command(&mut cargo(&["build", "--package", "countersign"]))?;
    let mut scene = Scene::build()?;
    let played = play(&mut scene);
    if let Err(failure) = played {
        return Err(format!("{failure}\n\nthe gateway's log:\n{}", scene.gateway_log()));
    }
    println!("\n{}", scene.stage.summary());
    if keep {
        println!("\n{}", scene.how_to_join());
        scene.stay();
    }
    Ok(())
}

fn play(scene: &mut Scene) -> Outcome<()> {
    scene.open()?;
    engineers_see_masked_values(scene)?;
    support_leads_see_emails(scene)?;
    let dropped = a_drop_is_held_and_signed(scene)?;
    the_job_is_refused_and_revoked(scene)?;
    everything_is_found(scene, &dropped)?;
    the_register_answers(scene)
}

fn engineers_see_masked_values(scene: &mut Scene) -> Outcome<()> {
    scene.stage.act("alice, an engineer, reads customers with plain psql: sensitive columns are masked");
    let truth = scene.truth("select email || ' ' || card_number || ' ' || phone || ' ' || address from customers where id = 1")?;
    let (email, domain, card) = parts_of(&truth)?;
    let line = scene.psql("alice", "select id, name, email, phone, card_number, address from customers order by id limit 3");
    let shown = scene.stage.types("alice", &line)?;
    let stage = &mut scene.stage;
    stage.claim(shown.status.success() && shown.text.contains("(3 rows)"), "the statement ran")?;
    stage.claim(!shown.text.contains(&email) && shown.text.contains(&format!("***@{domain}")), "e-mail addresses show their domain alone")?;
    let last_four = card.get(card.len().saturating_sub(4)..).unwrap_or_default();
    stage.claim(!shown.text.contains(&card) && shown.text.contains(last_four), "card numbers show their last four digits alone")?;
    let address = truth.splitn(6, ' ').last().unwrap_or_default().to_owned();
    stage.claim(!shown.text.contains(&address), "postal addresses are not shown")?;
    let line = scene.psql("alice", "select count(*), max(amount) from payments");
    let shown = scene.stage.types("alice", &line)?;
    scene.stage.claim(shown.text.contains("60000"), "what is not sensitive passes untouched")
}

fn support_leads_see_emails(scene: &mut Scene) -> Outcome<()> {
    scene.stage.act("sam, a support lead, may see e-mail addresses, and still no card numbers");
    let truth = scene.truth("select email || ' ' || card_number || ' ' || phone || ' ' || address from customers where id = 1")?;
    let (email, _, card) = parts_of(&truth)?;
    let line = scene.psql("sam", "select id, name, email, card_number from customers order by id limit 3");
    let shown = scene.stage.types("sam", &line)?;
    scene.stage.claim(shown.text.contains(&email), "e-mail addresses are shown in clear")?;
    scene.stage.claim(!shown.text.contains(&card), "card numbers stay masked")
}

/// E-mail address, its domain, and card number.
fn parts_of(truth: &str) -> Outcome<(String, String, String)> {
    let mut words = truth.split_whitespace();
    let (email, card) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let domain = email.split_once('@').map(|(_, domain)| domain).ok_or("the generated customer has no e-mail address")?;
    Ok((email.to_owned(), domain.to_owned(), card.to_owned()))
}

/// Returns the session in which the table was dropped.
fn a_drop_is_held_and_signed(scene: &mut Scene) -> Outcome<String> {
    scene.stage.act("alice drops a table in production: it is held on her connection until bob, a DBA, signs");
    let line = scene.psql("alice", "drop table payments");
    let mut dropping = scene.stage.starts("alice", &line)?;
    let notice = dropping.shows("held for approval")?;
    let hold = notice.split(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("h_")).ok_or("the notice names no hold")?;
    scene.stage.claim(true, "alice's psql is told why it waits, and waits")?;
    scene.stage.claim(scene.truth("select count(*) from payments")? == "60000", "nothing of it has reached the target")?;

    let own = scene.stage.types("alice", &format!("countersign approve {hold} --yes"))?;
    scene.stage.claim(!own.status.success(), "alice cannot sign her own statement")?;
    scene.stage.claim(scene.truth("select count(*) from payments")? == "60000", "the table is still there")?;

    let listed = scene.stage.types("bob", "countersign holds")?;
    scene.stage.claim(listed.text.contains(hold) && listed.text.contains("alice"), "bob sees who asks for what")?;
    let signed = scene.stage.types("bob", &format!("countersign approve {hold} --yes"))?;
    scene.stage.claim(signed.status.success() && signed.text.contains("drop table payments"), "bob is shown the whole statement and signs it")?;
    scene.stage.remark("alice's terminal:");
    let done = dropping.ends()?;
    scene.stage.claim(done.status.success() && done.text.contains("DROP TABLE"), "the statement ran on alice's own connection")?;
    scene.stage.claim(scene.truth("select to_regclass('payments') is null")? == "t", "the table is gone")?;
    let session = scene.session_of("alice", "drop table payments")?;
    let log = scene.target_log()?;
    let logged = log.lines().find(|line| line.contains("drop table payments")).unwrap_or_default();
    scene.stage.remark("the target's own log:");
    println!("{}", indent(std::iter::once(logged)));
    scene.stage.claim(logged.contains("alice"), "the target's own log names alice, who signed in there as nobody but the gateway's role")?;
    Ok(session)
}

fn indent<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

fn the_job_is_refused_and_revoked(scene: &mut Scene) -> Outcome<()> {
    scene.stage.act("the nightly job works with a token for one connection and 15 minutes; what it may not do is refused, and its owner ends it");
    let minted = scene.stage.types("olga", &format!("umask 077; countersign token {CONNECTION} --for nightly --expires-in 15m > nightly.token"))?;
    scene.stage.claim(minted.status.success(), "olga, who owns the job, mints its token")?;
    let line = scene.psql_with("nightly", "$(cat nightly.token)");
    let mut job = scene.stage.starts("nightly", &line)?;
    job.types("select count(*) from customers;")?;
    job.shows("40000")?;
    scene.stage.claim(true, "the job reads")?;
    job.types("grant all on customers to public;")?;
    let refused = job.shows("ERROR")?;
    scene.stage.claim(refused.to_lowercase().contains("privilege"), "its GRANT is refused, with the reason")?;
    scene.stage.claim(
        !scene.truth("select coalesce(array_to_string(relacl, ','), '') from pg_class where relname = 'customers'")?.contains("=arwd"),
        "nothing was granted",
    )?;
    job.types("select count(*) as pairs from customers a, customers b, customers c;")?;
    scene.wait_until_logged("as pairs")?;
    revoke(scene, job)
}

fn revoke(scene: &mut Scene, mut job: Live) -> Outcome<()> {
    let listed = scene.stage.types("olga", "countersign token list --all")?;
    scene.stage.claim(listed.text.contains("nightly"), "olga finds the job's token")?;
    let tokens = scene.stage.asks("olga", "countersign token list --all --json")?.json()?;
    let token = tokens.list("tokens").iter().find(|token| token.text("subject") == Some("nightly") && token.text("purpose") == Some("connect"));
    let id = token.and_then(|token| token.text("id")).ok_or("the job's token is not listed")?;
    let revoked = scene.stage.types("olga", &format!("countersign token revoke {id}"))?;
    let at = Instant::now();
    scene.stage.claim(revoked.status.success(), "she revokes it")?;
    scene.stage.remark("the job's terminal:");
    job.shows("FATAL")?;
    let took = at.elapsed();
    scene.stage.claim(took < REVOKED_WITHIN, &format!("its live session and its running query end within a second ({} ms)", took.as_millis()))?;
    drop(job);
    let line = scene.psql_with("nightly", "$(cat nightly.token)");
    let again = scene.stage.types("nightly", &format!("{line} -c 'select 1'"))?;
    scene.stage.claim(!again.status.success(), "and the token opens no other")
}

fn everything_is_found(scene: &mut Scene, dropped: &str) -> Outcome<()> {
    scene.stage.act("sessions, show, search and replay find all of it, with the true identity on each line");
    let sessions = scene.stage.types(ADMINISTRATOR, "countersign sessions")?;
    for name in ["alice", "sam", "nightly"] {
        scene.stage.claim(sessions.text.lines().any(|line| line.starts_with("s_") && line.contains(name)), &format!("sessions lists {name}'s"))?;
    }
    let told = scene.stage.types(ADMINISTRATOR, &format!("countersign show {dropped}"))?;
    tells_of_the_drop(scene, &told, "show")?;
    for (query, who, what) in [
        ("action:destroy signer:bob", "alice", "the drop, signed by bob"),
        ("decision:refused identity:nightly", "nightly", "the job's refused GRANT"),
        ("masked:email identity:alice", "alice", "alice's reading, its e-mail addresses masked"),
        ("table:public.customers identity:sam", "sam", "sam's reading"),
    ] {
        let found = scene.stage.types(ADMINISTRATOR, &format!("countersign search '{query}'"))?;
        let hits: Vec<&str> = found.text.lines().filter(|line| line.contains("s_")).collect();
        scene.stage.claim(!hits.is_empty() && hits.iter().all(|line| line.contains(who)), &format!("search finds {what}, and only {who}'s"))?;
    }
    let unmasked = scene.stage.types(ADMINISTRATOR, "countersign search 'masked:email identity:sam'")?;
    scene.stage.claim(!unmasked.text.contains("s_"), "and nothing of sam's, who saw them in clear")?;
    let replayed = scene.stage.types(ADMINISTRATOR, &format!("countersign replay {dropped} --speed 20 --max-pause 1s"))?;
    tells_of_the_drop(scene, &replayed, "replay")
}

fn tells_of_the_drop(scene: &mut Scene, told: &Shown, command: &str) -> Outcome<()> {
    let whole = ["alice", "drop table payments", "prod-destroy", "approved by bob", "DROP TABLE"].iter().all(|part| told.text.contains(part));
    scene.stage.claim(told.status.success() && whole, &format!("{command} tells who asked, what held it, who signed and how it ended"))
}

fn the_register_answers(scene: &mut Scene) -> Outcome<()> {
    scene.stage.act("the register answers for the nightly job: who made it, who owns it, what it can reach, what it used");
    let listed = scene.stage.types(ADMINISTRATOR, "countersign identity list")?;
    let line = listed.text.lines().find(|line| line.starts_with("nightly")).unwrap_or_default().to_owned();
    scene.stage.claim(line.contains("workload") && line.contains("olga") && line.contains(ADMINISTRATOR), "its kind, owner and maker")?;
    let shown = scene.stage.types(ADMINISTRATOR, "countersign identity show nightly")?;
    scene.stage.claim(shown.text.contains("counts the day's sales"), "what it is for")?;
    let reaches = shown.text.split("\nused\n").next().unwrap_or_default().lines().any(|line| line.starts_with(CONNECTION) && line.contains("write"));
    scene.stage.claim(reaches, "what it can reach")?;
    let used = |line: &str| line.starts_with(CONNECTION) && line.contains("read") && line.contains("public.customers");
    scene.stage.claim(shown.text.lines().any(used), "which actions it used, on what")?;
    scene.stage.claim(shown.text.contains("revoked by olga"), "and that olga revoked its token")
}
