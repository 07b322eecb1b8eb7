//! The index: every record once, whatever happens, and every filter finds what it should.

use evidence::{
    Record,
    record::{AskedOutcome, Hex, Parameter},
};
use model::{Action, SessionId, hold::HoldState};

use super::fixtures::{Place, Script, at, facts, name, on_both};
use crate::{
    Hit, Query, Store,
    database::{Database, Durability, Schema, sql},
    index::{Batch, Taken},
    recordings::Position,
};

on_both! {
    every_filter_finds_what_it_should_newest_first,
    a_hit_says_who_did_what_and_how_it_ended,
    uses_are_what_ran_for_every_member_of_the_chain,
    a_batch_counts_once_wherever_it_was_cut,
    masked_is_what_was_masked_and_not_what_might_have_been,
    a_failed_batch_is_not_there_at_all,
    a_word_of_any_length_is_found,
    a_live_recording_is_followed,
    reindex_gives_the_same_answers_and_keeps_uses_of_recordings_that_are_gone,
    a_faulty_recording_is_reported_and_the_others_are_read,
    a_lost_key_costs_the_literals_until_the_next_reindex,
}

async fn search(store: &Store, text: &str) -> Vec<Hit> {
    store.index().search(&Query::parse(text, at(10_000)).unwrap()).await.unwrap()
}

/// Session and operation of each hit, in order.
async fn found(store: &Store, text: &str) -> Vec<(u64, u64)> {
    search(store, text).await.iter().map(|hit| (hit.session.as_u64(), hit.op)).collect()
}

/// Two sessions: alice on prod-pg, bob through an agent on dev-pg.
fn story() -> [Script; 2] {
    let mut alice = Script::new(1, "alice", None, "prod-pg", 100);
    alice.read("SELECT email FROM customers WHERE email = 'carol@example.com' -- by dave@example.com", "customers");
    let drop = alice.ask("DROP TABLE payments", facts(Action::Destroy, "payments", 5), AskedOutcome::Held, &[], vec![]);
    alice.settle(drop, HoldState::Approved, Some("bob"));
    alice.answer(drop, 0, None);
    let insert = alice.ask(
        "INSERT INTO customers (email) VALUES ($1)",
        facts(Action::Write, "customers", 2),
        AskedOutcome::Allowed,
        &[],
        vec![
            Parameter::Text("Erin Example".to_owned()),
            Parameter::Binary { hex: Hex(4711i32.to_be_bytes().to_vec()), type_oid: 23 },
            Parameter::Null,
        ],
    );
    alice.answer(insert, 0, Some("23505"));
    alice.close();
    let mut bob = Script::new(2, "bob", Some("support-bot"), "dev-pg", 200);
    let masked = bob.ask("SELECT * FROM customers", facts(Action::Read, "customers", 1), AskedOutcome::Allowed, &["email"], vec![]);
    bob.answer_masked(masked, 100, &["email"]);
    bob.ask("GRANT ALL ON payments TO public", facts(Action::Privilege, "payments", 5), AskedOutcome::Denied, &["email"], vec![]);
    let held = bob.ask("DELETE FROM payments", facts(Action::Destroy, "payments", 5), AskedOutcome::Held, &[], vec![]);
    bob.settle(held, HoldState::Expired, None);
    bob.ask("TRUNCATE payments", facts(Action::Destroy, "payments", 5), AskedOutcome::Held, &[], vec![]);
    [alice, bob]
}

async fn indexed(place: &Place) -> Store {
    let store = place.open().await;
    for script in story() {
        script.write(&store);
    }
    let caught = store.indexer().catch_up().await.unwrap();
    assert!(caught.faults.is_empty(), "{:?}", caught.faults);
    assert_eq!(caught.recordings, 2);
    store
}

async fn every_filter_finds_what_it_should_newest_first(place: Place) {
    let store = indexed(&place).await;
    let cases: &[(&str, &[(u64, u64)])] = &[
        ("", &[(2, 4), (2, 3), (2, 2), (2, 1), (1, 3), (1, 2), (1, 1)]),
        ("limit:2", &[(2, 4), (2, 3)]),
        ("drop", &[(1, 2)]),
        ("DROP payments", &[(1, 2)]),
        ("payments customers", &[]),
        ("identity:alice", &[(1, 3), (1, 2), (1, 1)]),
        ("identity:support-bot", &[(2, 4), (2, 3), (2, 2), (2, 1)]),
        ("identity:bob", &[(2, 4), (2, 3), (2, 2), (2, 1)]),
        ("identity:carol", &[]),
        ("connection:prod-pg", &[(1, 3), (1, 2), (1, 1)]),
        ("connection:prod-pg connection:dev-pg", &[]),
        ("table:public.payments", &[(2, 4), (2, 3), (2, 2), (1, 2)]),
        ("table:PAYMENTS identity:alice", &[(1, 2)]),
        ("action:destroy", &[(2, 4), (2, 3), (1, 2)]),
        ("risk:>=4", &[(2, 4), (2, 3), (2, 2), (1, 2)]),
        ("risk:2", &[(1, 3)]),
        ("risk:<2", &[(2, 1), (1, 1)]),
        ("decision:allowed", &[(2, 1), (1, 3), (1, 1)]),
        ("decision:held", &[(2, 4), (2, 3), (1, 2)]),
        ("decision:signed", &[(1, 2)]),
        ("decision:refused", &[(2, 3), (2, 2)]),
        ("decision:masked", &[(2, 1)]),
        ("masked:email", &[(2, 1)]),
        ("signer:bob", &[(1, 2)]),
        ("error:23505", &[(1, 3)]),
        ("since:1970-01-01 until:1970-01-02", &[]),
        ("since:9800s", &[(2, 4), (2, 3), (2, 2), (2, 1)]),
        ("carol@example.com", &[(1, 1)]),
        ("CAROL@example.com", &[(1, 1)]),
        ("dave@example.com", &[]),
        ("\"erin example\"", &[(1, 3)]),
        ("Erin", &[(1, 3)]),
        ("4711", &[(1, 3)]),
        ("4711 table:customers identity:alice connection:prod-pg action:write", &[(1, 3)]),
    ];
    for (query, expected) in cases {
        assert_eq!(&found(&store, query).await, expected, "{query}");
    }
}

async fn a_hit_says_who_did_what_and_how_it_ended(place: Place) {
    let store = indexed(&place).await;
    let hits = search(&store, "drop").await;
    let hit = hits.first().unwrap();
    assert_eq!((hit.chain.as_str(), hit.connection.as_str(), hit.database.as_str()), ("alice", "prod-pg", "shop"));
    assert_eq!((hit.decision.as_str(), hit.risk, hit.rows, hit.duration_us), ("signed", 5, Some(0), Some(1_500)));
    assert_eq!((hit.pairs.as_slice(), hit.at), ([(Action::Destroy, "public.payments".to_owned())].as_slice(), at(102)));
    assert_eq!((hit.signers.as_slice(), hit.policies.len()), ([name("bob")].as_slice(), 1));
    let masked = search(&store, "decision:masked").await;
    assert_eq!((masked[0].chain.as_str(), masked[0].masked[0].as_str()), ("bob via support-bot", "email"));
    let literal = search(&store, "carol@example.com").await;
    assert_eq!(literal[0].statement, "SELECT email FROM customers WHERE email = ?");
    let open = search(&store, "truncate").await;
    assert_eq!((open[0].decision.as_str(), open[0].rows), ("held", None));
}

async fn uses_are_what_ran_for_every_member_of_the_chain(place: Place) {
    let store = indexed(&place).await;
    let uses = async |who: &str| -> Vec<(Action, String, u64)> {
        let uses = store.state().uses_of(&name(who)).await.unwrap();
        uses.into_iter().map(|used| (used.action, used.object, used.count)).collect()
    };
    let customers = || "public.customers".to_owned();
    let alice = [(Action::Destroy, "public.payments".to_owned(), 1), (Action::Read, customers(), 1), (Action::Write, customers(), 1)];
    assert_eq!(uses("alice").await, alice);
    assert_eq!(uses("bob").await, [(Action::Read, customers(), 1)], "what was refused or never signed is no use");
    assert_eq!(uses("support-bot").await, [(Action::Read, customers(), 1)]);
    let on = store.state().uses_on("public.customers", at(150)).await.unwrap();
    assert_eq!(on.iter().map(|used| used.identity.as_str()).collect::<Vec<_>>(), ["bob", "support-bot"]);
}

fn batch(script: &Script, from: u32, until: u32) -> Batch {
    let place = |frame| Position { segment: 0, frame, records: 0 };
    let records: Vec<Record> = script.records[from as usize..until as usize].to_vec();
    Batch { session: script.session, from: place(from), records, until: place(until) }
}

async fn a_batch_counts_once_wherever_it_was_cut(place: Place) {
    let store = indexed(&place).await;
    let expected = search(&store, "").await;
    let [alice, bob] = story();
    for cut in 1..alice.records.len() as u32 {
        let place = place.another();
        let store = place.open().await;
        let last = alice.records.len() as u32;
        let (first, second) = (batch(&alice, 0, cut), batch(&alice, cut, last));
        assert_eq!(store.index().absorb(&first).await.unwrap(), Taken::Now);
        assert_eq!(store.index().absorb(&first).await.unwrap(), Taken::Elsewhere, "again");
        assert_eq!(store.index().absorb(&second).await.unwrap(), Taken::Now);
        assert_eq!(store.index().absorb(&second).await.unwrap(), Taken::Elsewhere, "again");
        assert_eq!(store.index().absorb(&batch(&bob, 0, bob.records.len() as u32)).await.unwrap(), Taken::Now);
        assert_eq!(search(&store, "").await, expected, "cut at {cut}");
        assert_eq!(store.state().uses_of(&name("alice")).await.unwrap().iter().map(|used| used.count).sum::<u64>(), 3);
    }
}

/// A plan that hides nothing of what came back is no masking: aggregates, empty answers, whatever was refused.
async fn masked_is_what_was_masked_and_not_what_might_have_been(place: Place) {
    let store = place.open().await;
    let mut script = Script::new(5, "alice", None, "prod-pg", 100);
    let read =
        |script: &mut Script, text: &str| script.ask(text, facts(Action::Read, "customers", 1), AskedOutcome::Allowed, &["email", "phone"], vec![]);
    let shown = read(&mut script, "SELECT count(*) FROM customers");
    script.answer(shown, 1, None);
    let empty = read(&mut script, "SELECT email FROM customers WHERE false");
    script.answer_masked(empty, 0, &["email"]);
    let masked = read(&mut script, "SELECT email FROM customers");
    script.answer_masked(masked, 3, &["email"]);
    let records = script.records.len() as u32;
    // Every cut: the answer may come in a later batch than the question.
    for cut in 1..records {
        let number = u64::from(cut) + 5;
        let session = SessionId::from_random(number);
        store.index().absorb(&Batch { session, ..batch(&script, 0, cut) }).await.unwrap();
        store.index().absorb(&Batch { session, ..batch(&script, cut, records) }).await.unwrap();
        for query in ["masked:email", "decision:masked", "masked:phone"] {
            let ops: Vec<u64> = found(&store, query).await.into_iter().filter(|(session, _)| *session == number).map(|(_, op)| op).collect();
            assert_eq!(ops, [masked], "{query}, cut at {cut}");
        }
    }
    assert!(search(&store, "count").await.iter().all(|hit| hit.masked.is_empty()));
    assert!(search(&store, "decision:masked").await.iter().all(|hit| hit.masked.len() == 2));
}

/// A batch that fails on its last record leaves nothing behind.
async fn a_failed_batch_is_not_there_at_all(place: Place) {
    let store = place.open().await;
    let [alice, _] = story();
    let mut headless = batch(&alice, 0, alice.records.len() as u32);
    headless.records.remove(0);
    assert!(store.index().absorb(&headless).await.is_err());
    assert!(search(&store, "").await.is_empty());
    assert_eq!(store.index().progress(alice.session).await.unwrap(), None);
    assert_eq!(store.index().absorb(&batch(&alice, 0, alice.records.len() as u32)).await.unwrap(), Taken::Now);
    assert!(store.index().progress(alice.session).await.unwrap().unwrap().complete);
}

/// PostgreSQL refuses index entries of 2,704 bytes that do not compress: no statement may keep its recording out of the index.
async fn a_word_of_any_length_is_found(place: Place) {
    let store = place.open().await;
    let mut state = 1u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    let long: String = (0..4_000).map(|_| letter()).collect();
    let mut script = Script::new(6, "alice", None, "prod-pg", 100);
    script.read(&format!("SELECT {long}, \"{long} x\" FROM customers WHERE a = '{long}' AND b = '\u{e9}{long}'"), "customers");
    script.write(&store);
    assert!(store.indexer().catch_up().await.unwrap().faults.is_empty());
    for word in [long.as_str(), "customers", &format!("{}andmore", &long[..300]), &format!("\u{e9}{long}")] {
        assert_eq!(found(&store, word).await, [(6, 1)], "{word:.20}");
    }
}

async fn a_live_recording_is_followed(place: Place) {
    let store = place.open().await;
    let mut indexer = store.indexer();
    let [alice, _] = story();
    let mut recording = store.recordings().create(alice.session, at(0)).unwrap();
    let mut taken = 0;
    for record in &alice.records {
        recording.append(record).unwrap();
        recording.commit().unwrap();
        taken += indexer.catch_up().await.unwrap().records;
    }
    recording.close().unwrap();
    assert_eq!(taken, alice.records.len() as u64);
    assert_eq!(found(&store, "").await, [(1, 3), (1, 2), (1, 1)]);
    let idle = indexer.catch_up().await.unwrap();
    assert_eq!((idle.recordings, idle.records), (0, 0));
    store.close().await;
    drop((store, indexer));
    let store = place.open().await;
    assert_eq!(store.indexer().catch_up().await.unwrap().records, 0, "after a restart nothing is taken again");
    assert_eq!(found(&store, "").await.len(), 3);
}

async fn reindex_gives_the_same_answers_and_keeps_uses_of_recordings_that_are_gone(place: Place) {
    let store = indexed(&place).await;
    let gone = Script::new(77, "carol", None, "prod-pg", 50);
    let mut gone = gone;
    gone.read("SELECT 1 FROM old", "old");
    store.index().absorb(&batch(&gone, 0, gone.records.len() as u32)).await.unwrap();
    let (before, uses) = (search(&store, "").await, store.state().uses_of(&name("alice")).await.unwrap());
    for _ in 0..2 {
        let caught = store.indexer().reindex().await.unwrap();
        assert_eq!(caught.recordings, 2);
        assert_eq!(search(&store, "").await, before);
        assert_eq!(store.state().uses_of(&name("alice")).await.unwrap(), uses);
        assert_eq!(store.state().uses_of(&name("carol")).await.unwrap().len(), 1);
        assert_eq!(found(&store, "drop").await, [(1, 2)]);
    }
    store.index().forget(&[SessionId::from_random(1), SessionId::from_random(2), gone.session]).await.unwrap();
    let left = sql("SELECT (SELECT COUNT(*) FROM shapes) + (SELECT COUNT(*) FROM shape_terms) + (SELECT COUNT(*) FROM bundle_terms)
            + (SELECT COUNT(*) FROM literal_chunks) + (SELECT COUNT(*) FROM waiting)");
    let (left,): (i64,) = left.one(store.index().database().read()).await.unwrap();
    assert_eq!(left, 0, "nothing is left of what was forgotten");
}

/// A recording with a fault gives what stands before it; the others are not concerned.
async fn a_faulty_recording_is_reported_and_the_others_are_read(place: Place) {
    let store = place.open().await;
    for script in story() {
        script.write(&store);
    }
    let listed = store.recordings().list().unwrap();
    let day = place.directory().join("recordings").join(&listed[0].day);
    let file = std::fs::read_dir(day)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&SessionId::from_random(2).to_string()));
    let path = file.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let caught = store.indexer().catch_up().await.unwrap();
    assert_eq!(caught.faults.len(), 1);
    assert_eq!(found(&store, "identity:alice").await.len(), 3);
    assert!(!found(&store, "identity:bob").await.is_empty(), "what stands before the fault");
}

/// The key of the literals' hashes may be lost: search goes on without them, and a reindex brings them back.
async fn a_lost_key_costs_the_literals_until_the_next_reindex(place: Place) {
    let store = indexed(&place).await;
    let old = store.keys().current().unwrap().id().to_string();
    store.close().await;
    drop(store);
    crate::keys::rotate(place.directory()).unwrap();
    let store = place.open().await;
    assert_eq!(found(&store, "4711").await, [(1, 3)], "the old key still hashes");
    for listed in store.recordings().list().unwrap() {
        store.recordings().rewrap(listed.session).unwrap();
    }
    store.close().await;
    drop(store);
    let keys = std::fs::read_dir(place.directory().join("keys")).unwrap().map(|entry| entry.unwrap().path());
    let old_file: Vec<_> = keys.filter(|path| path.to_string_lossy().contains(&old)).collect();
    std::fs::remove_file(&old_file[0]).unwrap();
    let store = place.open().await;
    assert!(store.masking().is_none(), "it was not sealed anew");
    assert_eq!(found(&store, "4711").await, []);
    assert_eq!(found(&store, "drop").await, [(1, 2)]);
    store.indexer().reindex().await.unwrap();
    assert_eq!(found(&store, "4711").await, [(1, 3)]);
}

/// An index of the first form, in which each operation had a row of its own, is made anew: nothing is missing and nothing counts twice.
#[tokio::test]
async fn an_index_of_the_first_form_is_made_anew() {
    let place = Place::embedded();
    let store = indexed(&place).await;
    let (before, uses) = (search(&store, "").await, store.state().uses_of(&name("alice")).await.unwrap());
    store.close().await;
    drop(store);
    let path = place.directory().join(crate::index::FILE);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(place.directory().join(format!("{}{suffix}", crate::index::FILE)));
    }
    let first = Schema { migrations: &crate::index::SCHEMA.migrations[..1], ..crate::index::SCHEMA };
    let old = Database::open_file(&path, Durability::Process, &first).await.unwrap();
    let mut write = old.write().await.unwrap();
    for row in [
        "INSERT INTO indexed_recordings VALUES (1, 0, 9, 1, 1, 'alice', '[\"alice\"]', 'prod-pg', 'shop')",
        "INSERT INTO shapes VALUES (1, 'x', 'SELECT ?', '[]', 1, 1)",
        "INSERT INTO shape_terms VALUES ('select', 1)",
        "INSERT INTO operations VALUES (1, 1, 5, 1, 'alice', 'prod-pg', 1, 'allowed', '[]', '[]', '[]', 1, 1, NULL)",
        "INSERT INTO operation_terms VALUES ('=00', 1, 1)",
        "INSERT INTO uses VALUES (1, 'alice', 'prod-pg', 'shop', 'read', 'public.customers', 1, 5)",
    ] {
        sql(row).run(&mut write).await.unwrap();
    }
    write.commit().await.unwrap();
    old.close().await;
    let store = place.open().await;
    assert_eq!(store.indexer().catch_up().await.unwrap().recordings, 2);
    assert_eq!(search(&store, "").await, before);
    assert_eq!(found(&store, "carol@example.com").await, [(1, 1)]);
    assert_eq!(store.state().uses_of(&name("alice")).await.unwrap(), uses);
}
