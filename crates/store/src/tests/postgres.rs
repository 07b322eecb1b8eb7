//! What is particular to a store on a server: who has it, and what happens when it is lost.

use std::time::Duration;

use model::IdentityId;

use super::fixtures::{Place, add_user, at, at_port, name, server, token};
use crate::{Home, Store, StoreError, database::sql, home::Postgres, recordings, state::Event};

/// How long anything that must come may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same schema, from the data directory of another gateway.
async fn open_elsewhere(place: &Place, directory: &std::path::Path) -> Result<Store, StoreError> {
    Store::open_with(directory, place.home(), recordings::Settings::default()).await
}

fn postgres(place: &Place) -> &Postgres {
    let Home::Postgres(postgres) = place.home() else { panic!("no server") };
    postgres
}

fn schema(place: &Place) -> String {
    postgres(place).schema.clone()
}

/// What a superuser sees in the database of the store.
fn asked(place: &Place, question: &str) -> String {
    server().sql(&postgres(place).database, question).unwrap().trim().to_owned()
}

/// Ends the connection that holds the lock of a store.
fn break_lock(place: &Place) {
    let key = crate::database::possession::key(&schema(place));
    let ended = asked(
        place,
        &format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = {key}"
        ),
    );
    assert_eq!(ended, "1");
}

/// A lock on a table that a superuser holds.
struct Locked<'a> {
    place: &'a Place,
    locking: tokio::task::JoinHandle<xtask::Outcome<String>>,
}

impl<'a> Locked<'a> {
    async fn table(place: &'a Place, table: &str, mode: &str) -> Self {
        let (schema, database) = (schema(place), postgres(place).database.clone());
        let lock = format!("BEGIN; LOCK TABLE {schema}.{table} IN {mode} MODE; SELECT pg_sleep(600)");
        let locking = tokio::task::spawn_blocking(move || server().sql(&database, &lock));
        let held = format!("SELECT count(*) FROM pg_locks WHERE granted AND relation = '{schema}.{table}'::regclass");
        until("the lock", async || asked(place, &held) != "0").await;
        Self { place, locking }
    }

    async fn release(mut self) {
        self.end();
        assert!((&mut self.locking).await.unwrap().is_err());
    }

    fn end(&self) {
        let ours = format!("query LIKE 'BEGIN; LOCK TABLE {}.%' AND pid <> pg_backend_pid()", schema(self.place));
        asked(self.place, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"));
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

async fn waits_for_a_lock(place: &Place, statement: &str) {
    let waits = format!("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{statement}'");
    until("a statement that waits", async || asked(place, &waits) != "0").await;
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never came: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_is_told_who_has_the_store() {
    let (place, elsewhere) = (Place::postgres(), tempfile::tempdir().unwrap());
    let store = place.open().await;
    let error = open_elsewhere(&place, elsewhere.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::StoreInUse { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("database countersign, schema test_") && told.contains("server process") && !told.contains("password"), "{told}");
    store.close().await;
    let other = open_elsewhere(&place, elsewhere.path()).await.unwrap();
    add_user(&other, 1, "alice").await;
    other.close().await;
    drop(store);
    assert_eq!(place.open().await.state().identities().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_lost_its_lock_is_lost_until_it_has_it_again() {
    let place = Place::postgres();
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    break_lock(&place);
    until("the loss", async || matches!(store.state().identities().await, Err(StoreError::Lost))).await;
    let event = Event { at: at(0), actor: name("alice"), kind: "test".to_owned(), subject: "x".to_owned(), detail: serde_json::json!({}) };
    assert!(matches!(store.state().append_event(&event).await, Err(StoreError::Lost)));
    until("the lock", async || store.state().identities().await.is_ok()).await;
    assert_eq!(store.state().append_event(&event).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_another_had_meanwhile_is_never_used_again() {
    let (place, elsewhere) = (Place::in_database("passed_on", ""), tempfile::tempdir().unwrap());
    let store = place.open().await;
    // The first may have it back before the other looks: then nobody had it meanwhile, and the other tries once more. So it does on a machine too busy to answer.
    let other = loop {
        match tokio::join!(open_elsewhere(&place, elsewhere.path()), async { break_lock(&place) }).0 {
            Err(StoreError::StoreInUse { .. } | StoreError::Silent) => until("the first", async || store.state().identities().await.is_ok()).await,
            taken => break taken.unwrap(),
        }
    };
    add_user(&other, 1, "alice").await;
    until("the loss", async || store.state().identities().await.is_err()).await;
    other.close().await;
    until("the first has seen it", async || matches!(store.state().identities().await, Err(StoreError::Passed))).await;
    drop(store);
    assert_eq!(place.open().await.state().identities().await.unwrap().len(), 1);
}

/// Between the loss of the lock and the moment it is noticed, nothing is written beside the process that took it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_no_longer_the_processs_own_is_refused() {
    let place = Place::postgres();
    let store = place.open().await;
    let mut begun = store.state().database().write().await.unwrap();
    sql("UPDATE counters SET value = value + 1 WHERE name = 'event'").run(&mut begun).await.unwrap();
    let taken = tokio::task::spawn_blocking({
        let taking = format!("UPDATE {}.possession SET opening = opening + 1", schema(&place));
        move || server().sql("countersign", &taking)
    });
    waits_for_a_lock(&place, "UPDATE%possession%").await;
    begun.commit().await.unwrap();
    taken.await.unwrap().unwrap();
    assert!(matches!(store.state().database().write().await, Err(StoreError::Passed)));
}

/// However they interleave: who decides on an identity keeps it as it is until the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_waits_for_a_token_that_is_being_minted() {
    let place = Place::postgres();
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    // Minting gets as far as the insertion, and no further.
    let lock = Locked::table(&place, "tokens", "SHARE").await;
    let (row, digest, _) = token(1, "alice");
    let minting = tokio::spawn({
        let (store, digest) = (store.clone(), digest);
        async move { store.state().add_token(&row, &digest).await }
    });
    waits_for_a_lock(&place, "INSERT INTO tokens%").await;
    let revoking = tokio::spawn({
        let store = store.clone();
        async move { store.state().revoke_identity(&name("alice"), &name("bob"), at(0)).await }
    });
    waits_for_a_lock(&place, "SELECT * FROM identities%FOR UPDATE").await;
    lock.release().await;
    minting.await.unwrap().unwrap();
    assert!(revoking.await.unwrap().unwrap());
    assert_eq!(store.state().live_token(&digest, at(20)).await.unwrap(), None);
}

/// A lock of somebody else's ends in an error, and the connection is good again afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_ever_on_a_locked_table() {
    let place = Place::postgres();
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    let lock = Locked::table(&place, "identities", "ACCESS EXCLUSIVE").await;
    let alice = name("alice");
    let (read, written) = tokio::join!(store.state().identities(), store.state().touch_identity(&alice, at(100)));
    assert!(read.is_err() && written.is_err());
    lock.release().await;
    until("the lock is gone", async || store.state().identities().await.is_ok()).await;
    store.state().touch_identity(&name("alice"), at(100)).await.unwrap();
}

/// The order of texts is that of their bytes, whatever the database says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_ordered_by_their_bytes() {
    let place = Place::in_database("elsewhere", "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
    let store = place.open().await;
    for (number, text) in [(1, "ab"), (2, "a_b"), (3, "a-b"), (4, "a.b")] {
        let new = identity::NewIdentity::user(name(text), vec![]).unwrap();
        store.state().add_identity(IdentityId::from_random(number), &new, &name("init"), at(0)).await.unwrap();
    }
    let names: Vec<String> = store.state().identities().await.unwrap().iter().map(|identity| identity.name.to_string()).collect();
    assert_eq!(names, ["a-b", "a.b", "a_b", "ab"]);
    let others = "SELECT count(*) FROM information_schema.columns
        WHERE table_schema = 'countersign' AND table_name NOT LIKE '%_migrations' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'";
    assert_eq!(asked(&place, others), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_used_is_named_without_the_password() {
    let directory = tempfile::tempdir().unwrap();
    let opened = async |home| Store::open_with(directory.path(), &Home::Postgres(home), recordings::Settings::default()).await;
    let wrong = at_port(server().port()).with_password(model::Secret::from("not the password".to_owned()));
    let told = opened(wrong).await.unwrap_err().to_string();
    assert!(told.contains("cannot open PostgreSQL at 127.0.0.1") && told.contains("authentication failed"), "{told}");
    assert!(!told.contains("not the password"), "{told}");
    let nobody = Postgres::new("127.0.0.1", 1, "d", "u");
    let told = opened(nobody).await.unwrap_err().to_string();
    assert!(told.contains("cannot open PostgreSQL at 127.0.0.1:1"), "{told}");
}
