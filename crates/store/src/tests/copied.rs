//! Moving a store from files to a server and back.

use std::{collections::BTreeMap, path::Path};

use evidence::record::AskedOutcome;
use model::{Action, IdentityId, Secret, SessionId, VersionHash};

use super::accounts::{rule, sign_in};
use super::fixtures::{Place, Script, add_user, at, facts, hold, name, nightly, request, server, session_row, target_role, token};
use super::keys::key;
use crate::{
    Home, Query, Store, StoreError, copy,
    database::sql,
    home::Postgres,
    recordings,
    state::{Event, Once, SessionFilter},
};

/// A store with something in every table.
async fn filled(place: &Place) -> Store {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    add_user(&store, 2, "Emile").await;
    state.add_identity(IdentityId::from_random(3), &nightly("alice", at(5_000)), &name("alice"), at(1)).await.unwrap();
    state.set_password_hash(&name("alice"), Some("$argon2id$x")).await.unwrap();
    state.begin_sign_in(&sign_in(1, "anna-at-idp", Some("anna")), at(1)).await.unwrap();
    state.add_trust(&rule(1, "nightly")).await.unwrap();
    state.add_request(&request(1, "alice")).await.unwrap();
    state.add_key(&key(1, "nightly")).await.unwrap();
    assert_eq!(state.use_once(&name("nightly"), "one", at(9_000), at(1)).await.unwrap(), Once::First);
    for number in 0..700 {
        let (row, digest, _) = token(number, "alice");
        state.add_token(&row, &digest).await.unwrap();
    }
    state.add_session(&session_row(1, "alice via support-bot", "prod-pg", 10)).await.unwrap();
    state.save_hold(&hold(1)).await.unwrap();
    let files = BTreeMap::from([("policy/a.cedar".to_owned(), "permit ('\u{1F511}', \\, \"\n\");".to_owned())]);
    state.add_version(VersionHash([1; 32]), &files, &name("alice"), at(1)).await.unwrap();
    state.add_target_role(&target_role(1, 10)).await.unwrap();
    let event = Event { at: at(0), actor: name("alice"), kind: "test".to_owned(), subject: "x".to_owned(), detail: serde_json::json!({ "n": 1 }) };
    state.append_event(&event).await.unwrap();
    store.secrets().put("prod", &Secret::from("one".to_owned()), &name("alice"), at(1)).await.unwrap();
    let mut script = Script::new(1, "alice", Some("support-bot"), "prod-pg", 100);
    script.read("SELECT email FROM customers WHERE email = 'carol@example.com'", "customers");
    script.close();
    script.write(&store);
    let mut waiting = Script::new(2, "alice", None, "prod-pg", 200);
    waiting.ask("SELECT 1 FROM old", facts(Action::Read, "old", 1), AskedOutcome::Allowed, &[], vec![]);
    waiting.write(&store);
    store.indexer().catch_up().await.unwrap();
    store
}

/// What somebody sees who looks at all of it.
async fn seen(store: &Store) -> String {
    let state = store.state();
    let found = store.index().search(&Query::parse("carol@example.com", at(10_000)).unwrap()).await.unwrap();
    let secret = store.secrets().get("prod").await.unwrap().unwrap();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {found:?} {:?}",
        state.identities().await.unwrap(),
        state.identity_and_password(&name("alice")).await.unwrap(),
        state.accounts(None).await.unwrap(),
        state.tokens(None).await.unwrap(),
        state.sessions(&SessionFilter::default()).await.unwrap(),
        (state.holds(10).await.unwrap(), state.requests(10).await.unwrap()),
        state.current_version().await.unwrap(),
        state.events(None, None, 10).await.unwrap(),
        store.index().uses_of(&name("support-bot")).await.unwrap(),
        store.index().progress(SessionId::from_random(1)).await.unwrap(),
        secret.reveal_str(),
    )
}

async fn opened(directory: &Path, home: &Home) -> Result<Store, StoreError> {
    Store::open_with(directory, home, recordings::Settings::default()).await
}

fn schema(home: &Home) -> (&Postgres, String) {
    let Home::Postgres(postgres) = home else { panic!("no server") };
    (postgres, postgres.schema.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_to_a_server_and_comes_back() {
    let (files, there) = (Place::embedded(), Place::postgres());
    let (directory, home) = (files.directory(), there.home());
    let store = filled(&files).await;
    let before = seen(&store).await;
    assert!(matches!(copy(directory, &Home::Embedded, home).await, Err(StoreError::InUse { .. })), "while a gateway runs");
    store.close().await;
    drop(store);

    assert!(matches!(opened(directory, home).await, Err(StoreError::NotCopied { .. })), "an empty store is not begun beside one that is not");
    let copied = copy(directory, &Home::Embedded, home).await.unwrap();
    let rows: BTreeMap<_, _> = copied.into_iter().collect();
    assert_eq!((rows["identities"], rows["tokens"], rows["bundles"], rows["counters"]), (4, 700, 2, 2));
    assert!(rows.iter().all(|(_, rows)| *rows > 0), "{rows:?}");
    let store = opened(directory, home).await.unwrap();
    assert_eq!(seen(&store).await, before);
    store.state().revoke_identity(&name("alice"), &name("bob"), at(9)).await.unwrap();
    let event = Event { at: at(0), actor: name("bob"), kind: "test".to_owned(), subject: "y".to_owned(), detail: serde_json::json!({}) };
    assert_eq!(store.state().append_event(&event).await.unwrap(), 2, "it goes on counting");
    store.close().await;
    drop(store);

    // What alice lost there, she does not get back here.
    assert!(matches!(opened(directory, &Home::Embedded).await, Err(StoreError::Copied { .. })));
    assert!(matches!(copy(directory, &Home::Embedded, home).await, Err(StoreError::Missing { .. })));
    copy(directory, home, &Home::Embedded).await.unwrap();
    assert!(matches!(opened(directory, home).await, Err(StoreError::Copied { .. })));
    let store = opened(directory, &Home::Embedded).await.unwrap();
    assert!(store.state().identity(&name("alice")).await.unwrap().unwrap().revoked_at.is_some());
    assert_eq!(store.state().append_event(&event).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_over() {
    let (files, there) = (Place::embedded(), Place::postgres());
    let other = there.open().await;
    add_user(&other, 1, "bob").await;
    other.close().await;
    drop(other);
    filled(&files).await.close().await;
    for (from, to) in [(&Home::Embedded, there.home()), (there.home(), &Home::Embedded)] {
        let error = copy(files.directory(), from, to).await.unwrap_err();
        assert!(matches!(error, StoreError::Occupied { .. }), "{error}");
    }
    assert_eq!(files.open().await.state().identities().await.unwrap().len(), 4);
    assert_eq!(there.open().await.state().identities().await.unwrap().len(), 1);
    let empty = Place::postgres();
    empty.open().await.close().await;
    let directory = tempfile::tempdir().unwrap();
    let error = copy(directory.path(), empty.home(), &Home::Embedded).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
}

/// Whatever goes wrong on the way, there is nothing at the other end, and the source goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_fails_or_differs_has_not_happened() {
    let files = Place::embedded();
    let store = filled(&files).await;
    let before = seen(&store).await;
    store.close().await;
    drop(store);
    for (body, expected) in [("RAISE EXCEPTION 'full'", "full"), ("NEW.operations := NEW.operations + 1", "table sessions did not arrive as it was")]
    {
        let there = Place::postgres();
        there.open().await.close().await;
        let (postgres, schema) = schema(there.home());
        let trigger = format!(
            "CREATE FUNCTION {schema}.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
             CREATE TRIGGER meddle BEFORE INSERT ON {schema}.sessions FOR EACH ROW EXECUTE FUNCTION {schema}.meddle()"
        );
        server().sql(&postgres.database, &trigger).unwrap();
        let error = copy(files.directory(), &Home::Embedded, there.home()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let there = there.open().await;
        assert!(there.state().identities().await.unwrap().is_empty());
    }
    let store = files.open().await;
    assert_eq!(seen(&store).await, before);
}

/// Files that a copy left which was broken off are no store, and the next copy does without them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_copy_left_is_in_nobodys_way() {
    let (files, there) = (Place::embedded(), Place::postgres());
    filled(&there).await.close().await;
    std::fs::write(files.directory().join("state.db.new"), "half a database").unwrap();
    std::fs::write(files.directory().join("index.db.new-wal"), "half a log").unwrap();
    copy(files.directory(), there.home(), &Home::Embedded).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(files.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".new")), "{left:?}");
    assert_eq!(files.open().await.state().identities().await.unwrap().len(), 4);
}

/// A table that a later migration adds must not be forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_is_copied() {
    let place = Place::embedded();
    let store = place.open().await;
    const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%_migrations' AND name NOT LIKE 'sqlite_%'";
    for (database, listed) in [(store.state().database(), crate::copy::STATE), (store.index().database(), crate::copy::INDEX)] {
        let mut tables: Vec<(String,)> = sql(TABLES).all(database.read()).await.unwrap();
        tables.sort();
        let mut listed = listed.to_vec();
        listed.sort_unstable();
        assert_eq!(tables.iter().map(|(name,)| name.as_str()).collect::<Vec<_>>(), listed);
    }
}
