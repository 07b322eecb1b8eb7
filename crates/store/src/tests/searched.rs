//! Searching against a brute search of the records, however they were cut into batches and came together in bundles.

use std::{collections::BTreeSet, sync::Arc};

use evidence::{
    Record,
    record::{Answered, Asked, AskedOutcome, Cell, Closed, Failure, Output, Parameter, Ruling, Settled, Stream, Via},
};
use model::{
    Action, Facts, HoldId, SessionId, VersionHash,
    hold::{HoldState, Signature},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::fixtures::{Place, Script, at, facts, name, on_both};
use crate::{
    Query, Store,
    index::{Batch, Taken},
    recordings::Position,
};

on_both! {
    a_search_finds_what_a_look_at_every_record_finds,
    a_literal_that_is_everywhere_is_found_where_it_is,
    a_literal_is_found_while_its_run_is_merged,
    what_a_screen_showed_is_found_however_it_was_cut,
}

/// What all sessions say, and share as a reader of one recording shares it.
struct Said {
    statements: Vec<(Arc<str>, Arc<Facts>, &'static str)>,
    rulings: Vec<Arc<Ruling>>,
}

fn said() -> Said {
    let statement = |text: &'static str, action, table: &str, risk| (Arc::from(text), Arc::new(facts(action, table, risk)), text);
    let ruling = |outcome, classes: &[&str]| {
        Arc::new(Ruling {
            outcome,
            policies: vec!["engineers.cedar:1".parse().unwrap()],
            reasons: vec![],
            version: VersionHash([7; 32]),
            classes: classes.iter().map(|class| class.parse().unwrap()).collect(),
        })
    };
    Said {
        statements: vec![
            statement("SELECT * FROM customers WHERE id = 7", Action::Read, "customers", 1),
            statement("SELECT * FROM customers WHERE id = 8", Action::Read, "customers", 1),
            statement("UPDATE payments SET note = 'seven' WHERE id = $1", Action::Write, "payments", 3),
            statement("DELETE FROM payments WHERE note = 'customers'", Action::Destroy, "payments", 4),
        ],
        rulings: vec![ruling(AskedOutcome::Allowed, &["email"]), ruling(AskedOutcome::Held, &[]), ruling(AskedOutcome::Denied, &[])],
    }
}

/// One operation: statement, ruling, parameter, and how it goes on.
#[derive(Debug, Clone)]
struct Planned {
    statement: usize,
    ruling: usize,
    parameter: u32,
    seconds: i64,
    /// How many later operations are asked before it is answered; none for never.
    answered_after: Option<usize>,
    signed: Option<bool>,
    failed: bool,
    hid: bool,
}

prop_compose! {
    fn planned()(
        statement in 0..4usize, ruling in prop_oneof![6 => Just(0usize), 1 => Just(1), 1 => Just(2)], parameter in 5..9u32, seconds in 0..3i64,
        answered_after in prop_oneof![8 => Just(Some(0)), 1 => (0..4usize).prop_map(Some), 1 => Just(None)],
        signed in prop::option::of(any::<bool>()), failed in prop::bool::weighted(0.1), hid in any::<bool>(),
    ) -> Planned {
        Planned { statement, ruling, parameter, seconds, answered_after, signed, failed, hid }
    }
}

/// One operation as a search sees it.
#[derive(Debug)]
struct Seen {
    session: u64,
    op: u64,
    second: i64,
    /// Everything it can be found by.
    terms: BTreeSet<String>,
}

/// The records of a session and what is to be found of them.
fn session(said: &Said, number: u64, agent: Option<&str>, plan: &[Planned], closed: bool) -> (Vec<Record>, Vec<Seen>) {
    let (subject, connection) = if number == 1 { ("alice", "prod-pg") } else { ("bob", "dev-pg") };
    let mut records = Script::new(number, subject, agent, connection, 0).records;
    let (mut seen, mut second, mut owed) = (Vec::new(), 0, Vec::<(usize, Record)>::new());
    for (place, planned) in plan.iter().enumerate() {
        second += planned.seconds;
        let op = place as u64 + 1;
        let (text, facts, template) = &said.statements[planned.statement];
        let ruling = &said.rulings[planned.ruling];
        let parameters = if template.contains("$1") { vec![Parameter::Text(planned.parameter.to_string())] } else { vec![] };
        let mut terms = BTreeSet::from([format!("identity:{subject}"), format!("connection:{connection}")]);
        terms.extend(agent.map(|agent| format!("identity:{agent}")));
        terms.extend(parameters.iter().map(|_| planned.parameter.to_string()));
        let words = template.split(|c: char| !c.is_alphanumeric() && c != '$').filter(|word| word.parse::<u32>().is_err() && *word != "seven");
        terms.extend(words.map(str::to_lowercase));
        terms.extend(
            [("= 7", "7"), ("= 8", "8"), ("seven", "seven")]
                .iter()
                .filter(|(part, _)| template.contains(part))
                .map(|(_, literal)| (*literal).to_owned()),
        );
        terms.extend(facts.pairs.iter().map(|pair| format!("action:{}", pair.action)));
        terms.insert(format!("table:{}", facts.reads[0].name));
        terms.insert(format!("risk:{}", facts.risk.level()));
        let asked =
            Asked { op, at: at(second), text: Arc::clone(text), facts: Arc::clone(facts), ruling: Arc::clone(ruling), parameters, via: Via::Simple };
        records.push(Record::Asked(asked));
        let mut decision = match ruling.outcome {
            AskedOutcome::Allowed => "allowed",
            AskedOutcome::Held => "held",
            AskedOutcome::Denied => "refused",
        };
        terms.extend((decision != "allowed").then(|| format!("decision:{decision}")));
        let settled = planned.signed.filter(|_| decision == "held");
        if let Some(approved) = settled {
            let state = if approved { HoldState::Approved } else { HoldState::Expired };
            let signature = Signature { signer: name("carol"), at: at(second), policies: vec![] };
            let settled = Settled { op, at: at(second), hold: HoldId::from_random(9), state, signatures: vec![signature] };
            owed.push((place + planned.seconds as usize, Record::Settled(settled)));
            decision = if approved { "signed" } else { "refused" };
            terms.extend([format!("decision:{decision}"), "signer:carol".to_owned()]);
        }
        if decision == "allowed" {
            terms.insert("decision:allowed".to_owned());
        }
        let runs = matches!(decision, "allowed" | "signed");
        if let Some(after) = planned.answered_after.filter(|_| runs) {
            let hid = planned.hid && decision == "allowed" && !planned.failed;
            let error = planned.failed.then(|| Failure { sqlstate: "23505".to_owned(), message: String::new() });
            let masked = if hid { vec!["email".to_owned()] } else { vec![] };
            let answered = Answered { op, at: at(second), duration_us: 5, rows: 1, error, masked, ..Answered::default() };
            owed.push((place + after.max(planned.seconds as usize), Record::Answered(answered)));
            terms.extend(planned.failed.then(|| "error:23505".to_owned()));
            terms.extend(hid.then(|| ["decision:masked".to_owned(), "masked:email".to_owned()]).into_iter().flatten());
        }
        let due = |owed: &mut Vec<(usize, Record)>| owed.extract_if(.., |(when, _)| *when <= place).map(|(_, record)| record).collect::<Vec<_>>();
        records.extend(due(&mut owed));
        seen.push(Seen { session: number, op, second, terms });
    }
    records.extend(owed.into_iter().map(|(_, record)| record));
    if closed {
        records.push(Record::Closed(Closed { at: at(second), ending: "the caller left".to_owned(), operations: plan.len() as u64 }));
    }
    (records, seen)
}

async fn absorb(store: &Store, number: u64, records: &[Record], cuts: &[usize]) {
    let mut from = 0;
    let place = |frame: usize| Position { segment: 0, frame: frame as u32, records: 0 };
    let mut ends: Vec<usize> = cuts.iter().map(|cut| 1 + cut % records.len()).chain([records.len()]).collect();
    ends.sort_unstable();
    ends.dedup();
    for until in ends {
        let batch = Batch { session: SessionId::from_random(number), from: place(from), records: records[from..until].to_vec(), until: place(until) };
        assert_eq!(store.index().absorb(&batch).await.unwrap(), Taken::Now);
        from = until;
    }
}

const PARTS: &[&str] = &[
    "identity:alice",
    "identity:bob",
    "identity:support-bot",
    "connection:prod-pg",
    "table:customers",
    "table:payments",
    "action:read",
    "action:destroy",
    "risk:3",
    "decision:allowed",
    "decision:held",
    "decision:signed",
    "decision:refused",
    "decision:masked",
    "masked:email",
    "signer:carol",
    "error:23505",
    "customers",
    "payments",
    "7",
    "8",
    "seven",
    "update",
    "select",
    "5",
    "6",
];

type Case = (Vec<Planned>, Vec<Planned>, bool, Vec<usize>, Vec<(Vec<usize>, Option<(i64, i64)>, usize)>);

fn case() -> impl Strategy<Value = Case> {
    let plan = || prop::collection::vec(planned(), 1..40);
    let query = (prop::collection::vec(0..PARTS.len(), 0..4), prop::option::of((0..30i64, 0..30i64)), prop_oneof![Just(1_000usize), 1..8usize]);
    (plan(), plan(), any::<bool>(), prop::collection::vec(any::<usize>(), 0..6), prop::collection::vec(query, 12))
}

async fn check(store: &Store, (first, second, closed, cuts, queries): Case) {
    let said = said();
    let (records, mut seen) = session(&said, 1, None, &first, closed);
    absorb(store, 1, &records, &cuts).await;
    let (records, more) = session(&said, 2, Some("support-bot"), &second, closed);
    absorb(store, 2, &records, &cuts).await;
    seen.extend(more);
    seen.sort_by_key(|seen| std::cmp::Reverse((seen.second, seen.session, seen.op)));
    for (parts, span, limit) in queries {
        let wanted: Vec<&str> = parts.iter().map(|part| PARTS[*part]).collect();
        let mut text = format!("{} limit:{limit}", wanted.join(" "));
        if let Some((since, until)) = span {
            text += &format!(" since:{} until:{}", at(since), at(until));
        }
        let inside = |second: i64| span.is_none_or(|(since, until)| second >= since && second < until);
        let matching = seen.iter().filter(|seen| inside(seen.second) && wanted.iter().all(|part| seen.terms.contains(*part)));
        let expected: Vec<(u64, u64)> = matching.map(|seen| (seen.session, seen.op)).take(limit).collect();
        let found = store.index().search(&Query::parse(&text, at(10_000)).unwrap()).await.unwrap();
        let found: Vec<(u64, u64)> = found.iter().map(|hit| (hit.session.as_u64(), hit.op)).collect();
        assert_eq!(found, expected, "{text}");
    }
    store.index().forget(&[SessionId::from_random(1), SessionId::from_random(2)]).await.unwrap();
}

async fn a_search_finds_what_a_look_at_every_record_finds(place: Place) {
    let store = place.open().await;
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    for _ in 0..30 {
        let case = case().new_tree(&mut runner).unwrap().current();
        check(&store, case).await;
    }
}

/// A literal of more places than a search lists is asked about bundle by bundle.
async fn a_literal_that_is_everywhere_is_found_where_it_is(place: Place) {
    let store = place.open().await;
    let mut script = Script::new(1, "alice", None, "prod-pg", 0);
    let (read, allowed) = (Arc::new(facts(Action::Read, "customers", 1)), Arc::clone(&said().rulings[0]));
    for op in 1..=10_500u64 {
        let text = if op % 3_000 == 0 { "SELECT 'rare' FROM customers WHERE id = 7" } else { "SELECT 1 FROM customers WHERE id = 7" };
        let text = if op == 5_000 { "SELECT 'rare' FROM customers" } else { text };
        let (text, facts, ruling) = (Arc::from(text), Arc::clone(&read), Arc::clone(&allowed));
        script.records.push(Record::Asked(Asked { op, at: at(op as i64), text, facts, ruling, parameters: vec![], via: Via::Simple }));
        script.records.push(Record::Answered(Answered { op, at: at(op as i64), ..Answered::default() }));
    }
    script.write(&store);
    assert!(store.indexer().catch_up().await.unwrap().faults.is_empty());
    let found = async |text: &str| -> Vec<u64> {
        let hits = store.index().search(&Query::parse(text, at(20_000)).unwrap()).await.unwrap();
        hits.iter().map(|hit| hit.op).collect()
    };
    assert_eq!(found("7 limit:2").await, [10_500, 10_499]);
    assert_eq!(found("7 rare").await, [9_000, 6_000, 3_000]);
    assert_eq!(found("rare").await, [9_000, 6_000, 5_000, 3_000]);
    let span = format!("7 since:{} until:{} limit:1000", at(4_998), at(5_003));
    assert_eq!(found(&span).await, [5_002, 5_001, 4_999, 4_998]);
}

/// A search reads runs one after the other; a merge in between takes some away and puts another in their place.
async fn a_literal_is_found_while_its_run_is_merged(place: Place) {
    const BATCHES: u64 = 200;
    let store = place.open().await;
    let said = said();
    let (facts, ruling) = (Arc::new(facts(Action::Read, "customers", 1)), Arc::clone(&said.rulings[0]));
    let batch = |op: u64| {
        let text = Arc::from(if op == 1 { "SELECT 'rare'" } else { "SELECT 'common'" });
        let asked = Asked { op, at: at(1), text, facts: Arc::clone(&facts), ruling: Arc::clone(&ruling), parameters: vec![], via: Via::Simple };
        vec![Record::Asked(asked), Record::Answered(Answered { op, at: at(1), ..Answered::default() })]
    };
    let mut records = Script::new(1, "alice", None, "prod-pg", 0).records;
    records.extend((1..=BATCHES).flat_map(batch));
    absorb(&store, 1, &records[..3], &[]).await;
    let absorbing = store.clone();
    let absorbed = tokio::spawn(async move {
        for op in 2..=BATCHES as usize {
            let (from, until) = (2 * op - 1, 2 * op + 1);
            let place = |frame: usize| Position { segment: 0, frame: frame as u32, records: 0 };
            let (from, records, until) = (place(from), records[from..until].to_vec(), place(until));
            let batch = Batch { session: SessionId::from_random(1), from, records, until };
            assert_eq!(absorbing.index().absorb(&batch).await.unwrap(), Taken::Now);
        }
    });
    let mut searches = 0;
    while !absorbed.is_finished() {
        let found = store.index().search(&Query::parse("rare", at(10_000)).unwrap()).await.unwrap();
        assert_eq!(found.iter().map(|hit| hit.op).collect::<Vec<_>>(), [1], "search {searches}");
        searches += 1;
    }
    absorbed.await.unwrap();
    assert!(searches > 0);
}

/// Two terminals of one session, one of them still live: what each showed is found there and nowhere else, and what was typed unseen is not.
async fn what_a_screen_showed_is_found_however_it_was_cut(place: Place) {
    let store = place.open().await;
    let (facts, ruling) = (Arc::new(facts(Action::Execute, "customers", 1)), Arc::clone(&said().rulings[0]));
    let asked = |op: u64| {
        let (facts, ruling) = (Arc::clone(&facts), Arc::clone(&ruling));
        Record::Asked(Asked { op, at: at(1), text: "an interactive shell".into(), facts, ruling, parameters: vec![], via: Via::Shell })
    };
    let output = |op: u64, stream, data: &[u8]| Record::Output(Output { op, at: at(2), stream, data: Cell::new(data, false) });
    let shown = "$ cat /srv/keys\r\n\x1b[31mPer\x1b[0mmission denied!\r\n\x1b]0;a title\x07$ ls caf\u{e9}\r\n".as_bytes();
    let mut records = Script::new(1, "alice", None, "prod-pg", 0).records;
    records.extend([asked(1), asked(2)]);
    records.extend(shown.chunks(7).map(|piece| output(1, Stream::Output, piece)));
    records.push(output(1, Stream::Input, b"hunter2"));
    records.push(output(2, Stream::Error, b"permission granted\nhalf a li"));
    records.push(Record::Answered(Answered { op: 1, at: at(3), ..Answered::default() }));
    let cuts: Vec<usize> = (0..records.len()).collect();
    absorb(&store, 1, &records, &cuts).await;
    let found = async |text: &str| {
        let hits = store.index().search(&Query::parse(text, at(20_000)).unwrap()).await.unwrap();
        hits.iter().map(|hit| hit.op).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("permission", vec![2, 1]),
        ("denied", vec![1]),
        ("\"permission denied\"", vec![1]),
        ("\"permission nowhere\"", vec![]),
        ("permission granted", vec![2]),
        ("/srv/keys", vec![1]),
        ("keys", vec![1]),
        ("CAF\u{c9}", vec![1]),
        ("half", vec![2]),
        ("hunter2", vec![]),
        ("title", vec![]),
        ("mission", vec![]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
    let more = [output(2, Stream::Output, b"ne\n"), Record::Closed(Closed { at: at(4), ending: "the caller left".to_owned(), operations: 2 })];
    let place = |frame: usize| Position { segment: 0, frame: frame as u32, records: 0 };
    let (from, until) = (place(records.len()), place(records.len() + more.len()));
    let batch = Batch { session: SessionId::from_random(1), from, records: more.to_vec(), until };
    assert_eq!(store.index().absorb(&batch).await.unwrap(), Taken::Now);
    assert_eq!(found("line").await, [2]);
}
