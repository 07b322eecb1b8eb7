//! Sessions, holds, versions, events, secrets.

use std::collections::BTreeMap;

use model::{HoldId, Secret, SessionId, VersionHash, hold::HoldState};

use super::fixtures::{Place, at, hold, name, on_both, session_row, target_role};
use crate::{
    StoreError,
    database::sql,
    state::{Event, Restart, SessionFilter},
};

on_both! {
    sessions_are_listed_by_who_where_and_when,
    what_is_final_about_a_hold_is_never_written_over,
    a_restart_ends_sessions_and_withdraws_holds,
    the_version_applied_last_is_current_even_if_it_was_applied_before,
    events_written_at_once_are_numbered_without_gaps,
    roles_at_targets_are_known_from_before_they_are_made_until_they_are_gone,
    secrets_are_kept_replaced_and_deleted,
    a_sealed_secret_opens_under_its_own_name_and_unchanged_only,
    after_a_rotation_secrets_are_sealed_anew_and_the_old_key_may_go,
    a_row_that_cannot_be_read_is_an_error_not_a_guess,
}

async fn sessions_are_listed_by_who_where_and_when(place: Place) {
    let store = place.open().await;
    let state = store.state();
    let rows = [
        session_row(1, "alice", "prod-pg", 10),
        session_row(2, "alice via support-bot", "prod-pg", 20),
        session_row(3, "bob via support-bot", "dev-pg", 30),
        session_row(4, "support", "dev-pg", 40),
    ];
    for row in &rows {
        state.add_session(row).await.unwrap();
    }
    assert!(state.end_session(SessionId::from_random(3), "the caller left", 7, at(35)).await.unwrap());
    assert!(!state.end_session(SessionId::from_random(3), "again", 9, at(36)).await.unwrap(), "the first ending stands");
    assert!(!state.end_session(SessionId::from_random(99), "x", 0, at(36)).await.unwrap());
    let ids = async |filter: SessionFilter| -> Vec<u64> { state.sessions(&filter).await.unwrap().iter().map(|row| row.id.as_u64()).collect() };
    let all = SessionFilter::default;
    assert_eq!(ids(all()).await, [4, 3, 2, 1]);
    assert_eq!(ids(SessionFilter { identity: Some(name("alice")), ..all() }).await, [2, 1]);
    assert_eq!(ids(SessionFilter { identity: Some(name("support-bot")), ..all() }).await, [3, 2]);
    assert_eq!(ids(SessionFilter { identity: Some(name("support")), ..all() }).await, [4]);
    assert_eq!(ids(SessionFilter { connection: Some("dev-pg".parse().unwrap()), ..all() }).await, [4, 3]);
    assert_eq!(ids(SessionFilter { live: Some(true), ..all() }).await, [4, 2, 1]);
    assert_eq!(ids(SessionFilter { live: Some(false), ..all() }).await, [3]);
    assert_eq!(ids(SessionFilter { since: Some(at(20)), limit: 2, ..all() }).await, [4, 3]);
    let ended = state.session(SessionId::from_random(3)).await.unwrap().unwrap();
    assert_eq!((ended.ended_at, ended.ending.as_deref(), ended.operations), (Some(at(35)), Some("the caller left"), 7));
    assert_eq!(state.session(SessionId::from_random(2)).await.unwrap().as_ref(), Some(&rows[1]));
}

async fn what_is_final_about_a_hold_is_never_written_over(place: Place) {
    let store = place.open().await;
    let state = store.state();
    let waiting = hold(1);
    assert!(state.save_hold(&waiting).await.unwrap());
    let mut signed = waiting.clone();
    signed.signatures.push(model::hold::Signature { signer: name("bob"), at: at(5), policies: vec![] });
    assert!(state.save_hold(&signed).await.unwrap());
    let mut denied = signed.clone();
    denied.state = HoldState::Denied { by: name("bob"), reason: Some("no".to_owned()) };
    assert!(state.save_hold(&denied).await.unwrap());
    assert!(!state.save_hold(&approved(&signed)).await.unwrap());
    assert!(!state.save_hold(&waiting).await.unwrap());
    assert_eq!(state.hold(waiting.id).await.unwrap(), Some(denied.clone()));
    assert_eq!(state.hold(HoldId::from_random(99)).await.unwrap(), None);
    assert_eq!(state.waiting_holds().await.unwrap(), []);
    assert_eq!(state.holds(10).await.unwrap(), [denied]);
}

fn approved(hold: &model::hold::HoldRow) -> model::hold::HoldRow {
    model::hold::HoldRow { state: HoldState::Approved, ..hold.clone() }
}

/// At start nothing of the last process is left open.
async fn a_restart_ends_sessions_and_withdraws_holds(place: Place) {
    let store = place.open().await;
    store.state().add_session(&session_row(1, "alice", "prod-pg", 10)).await.unwrap();
    store.state().save_hold(&hold(1)).await.unwrap();
    store.state().save_hold(&hold(2)).await.unwrap();
    store.state().save_hold(&approved(&hold(2))).await.unwrap();
    store.close().await;
    drop(store);
    let store = place.open().await;
    assert_eq!(store.state().note_restart(at(100)).await.unwrap(), Restart { sessions: 1, holds: 1 });
    assert_eq!(store.state().note_restart(at(101)).await.unwrap(), Restart { sessions: 0, holds: 0 });
    let withdrawn = store.state().hold(HoldId::from_random(1)).await.unwrap().unwrap();
    assert_eq!(withdrawn.state, HoldState::Withdrawn { why: "the gateway was restarted".to_owned() });
    assert_eq!(store.state().hold(HoldId::from_random(2)).await.unwrap().unwrap().state, HoldState::Approved);
    let ended = store.state().session(SessionId::from_random(1)).await.unwrap().unwrap();
    assert_eq!((ended.ended_at, ended.ending.as_deref()), (Some(at(100)), Some("the gateway stopped")));
}

async fn the_version_applied_last_is_current_even_if_it_was_applied_before(place: Place) {
    let store = place.open().await;
    let state = store.state();
    assert_eq!(state.current_version().await.unwrap(), None);
    let files = |text: &str| BTreeMap::from([("policy/a.cedar".to_owned(), text.to_owned())]);
    let (first, second) = (VersionHash([1; 32]), VersionHash([2; 32]));
    for (hash, text, second) in [(first, "one", 1), (second, "two", 2), (first, "one", 3)] {
        state.add_version(hash, &files(text), &name("alice"), at(second)).await.unwrap();
    }
    let current = state.current_version().await.unwrap().unwrap();
    assert_eq!((current.applied.number, current.applied.hash, current.applied.at, current.files), (3, first, at(3), files("one")));
    assert_eq!(state.version_files(second).await.unwrap(), Some(files("two")));
    assert_eq!(state.version_files(VersionHash([3; 32])).await.unwrap(), None);
    assert_eq!(state.applications(2).await.unwrap().iter().map(|applied| applied.number).collect::<Vec<_>>(), [3, 2]);
}

async fn events_written_at_once_are_numbered_without_gaps(place: Place) {
    let store = place.open().await;
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for turn in 0..10 {
                    let detail = serde_json::json!({ "turn": turn });
                    let event = Event { at: at(turn), actor: name("alice"), kind: "test".to_owned(), subject: format!("s{task}"), detail };
                    store.state().append_event(&event).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let numbers: Vec<u64> = store.state().events(None, None, 100).await.unwrap().iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=40).rev().collect::<Vec<_>>());
    let page = store.state().events(Some("s1"), Some(20), 3).await.unwrap();
    assert!(page.len() <= 3 && page.iter().all(|row| row.event.subject == "s1" && row.number < 20));
    let json = serde_json::to_value(&page).unwrap();
    assert!(json.as_array().unwrap().iter().all(|row| row.get("number").is_some() && row.get("kind").is_some()));
}

async fn roles_at_targets_are_known_from_before_they_are_made_until_they_are_gone(place: Place) {
    let store = place.open().await;
    let state = store.state();
    for (number, made_s) in [(1, 20), (2, 10)] {
        state.add_target_role(&target_role(number, made_s)).await.unwrap();
    }
    assert!(state.add_target_role(&target_role(1, 30)).await.is_err(), "two of one name");
    state.note_target_role(&target_role(1, 20).name, "it owns a table").await.unwrap();
    let failed = crate::state::TargetRole { failure: Some("it owns a table".to_owned()), ..target_role(1, 20) };
    assert_eq!(state.target_roles().await.unwrap(), [target_role(2, 10), failed.clone()]);
    state.remove_target_role(&target_role(2, 10).name).await.unwrap();
    state.remove_target_role("somebody").await.unwrap();
    assert_eq!(state.target_roles().await.unwrap(), [failed]);
}

async fn secrets_are_kept_replaced_and_deleted(place: Place) {
    let store = place.open().await;
    let secrets = store.secrets();
    let secret = |text: &str| Secret::from(text.to_owned());
    let get = async |name: &str| secrets.get(name).await.unwrap().map(|secret| secret.reveal_str().unwrap().to_owned());
    assert_eq!(get("prod").await, None);
    secrets.put("prod", &secret("one"), &name("alice"), at(1)).await.unwrap();
    secrets.put("prod", &secret("two"), &name("bob"), at(2)).await.unwrap();
    secrets.put("empty", &secret(""), &name("bob"), at(3)).await.unwrap();
    assert_eq!((get("prod").await.as_deref(), get("empty").await.as_deref()), (Some("two"), Some("")));
    let listed = secrets.list().await.unwrap();
    assert_eq!(listed.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["empty", "prod"]);
    assert_eq!((listed[1].created_at, listed[1].updated_at, listed[1].updated_by.as_str()), (at(1), at(2), "bob"));
    assert!(secrets.delete("prod").await.unwrap() && !secrets.delete("prod").await.unwrap());
    assert_eq!(get("prod").await, None);
    assert!(secrets.put("long", &secret(&"x".repeat(70_000)), &name("alice"), at(1)).await.is_err());
}

async fn a_sealed_secret_opens_under_its_own_name_and_unchanged_only(place: Place) {
    let store = place.open().await;
    store.secrets().put("prod", &Secret::from("one".to_owned()), &name("alice"), at(1)).await.unwrap();
    let change = async |text: &'static str| {
        let mut write = store.state().database().write().await.unwrap();
        sql(text).run(&mut write).await.unwrap();
        write.commit().await.unwrap();
    };
    change("INSERT INTO secrets (name, key_id, sealed, created_at, updated_at, updated_by) SELECT 'dev', key_id, sealed, 0, 0, 'x' FROM secrets WHERE name = 'prod'")
        .await;
    assert!(matches!(store.secrets().get("dev").await, Err(StoreError::Sealing(_))), "copied under another name");
    change("UPDATE secrets SET sealed = sealed || '00' WHERE name = 'prod'").await;
    assert!(matches!(store.secrets().get("prod").await, Err(StoreError::Sealing(_))), "changed");
    change("UPDATE secrets SET sealed = 'zz', key_id = '0000000000000000'").await;
    assert!(matches!(store.secrets().get("prod").await, Err(StoreError::Key(_))), "sealed with a key that is gone");
}

async fn after_a_rotation_secrets_are_sealed_anew_and_the_old_key_may_go(place: Place) {
    let store = place.open().await;
    store.secrets().put("prod", &Secret::from("one".to_owned()), &name("alice"), at(1)).await.unwrap();
    let old = store.keys().current().unwrap().id().to_string();
    store.close().await;
    drop(store);
    crate::keys::rotate(place.directory()).unwrap();
    let store = place.open().await;
    assert_eq!(store.secrets().get("prod").await.unwrap().unwrap().reveal(), b"one", "the old key still opens it");
    assert_eq!(
        (store.secrets().reseal().await.unwrap(), store.secrets().reseal().await.unwrap()),
        (4, 0),
        "those of masks, access tokens and SSH, too"
    );
    let (masking, signing, ssh) = (store.masking().unwrap().clone(), store.signing().clone(), store.ssh().unwrap().clone());
    assert!(store.secrets().list().await.unwrap().iter().all(|row| row.name == "prod"), "which nobody can name");
    store.close().await;
    drop(store);
    let keys = std::fs::read_dir(place.directory().join("keys")).unwrap().map(|entry| entry.unwrap().path());
    let old_file: Vec<_> = keys.filter(|path| path.to_string_lossy().contains(&old)).collect();
    std::fs::remove_file(&old_file[0]).unwrap();
    let store = place.open().await;
    assert_eq!(store.secrets().get("prod").await.unwrap().unwrap().reveal(), b"one");
    assert_eq!((store.masking(), store.signing(), store.ssh()), (Some(&masking), &signing, Some(&ssh)), "they outlast the key");
}

async fn a_row_that_cannot_be_read_is_an_error_not_a_guess(place: Place) {
    let store = place.open().await;
    store.state().add_session(&session_row(1, "alice", "prod-pg", 10)).await.unwrap();
    let mut write = store.state().database().write().await.unwrap();
    sql("UPDATE sessions SET connection = 'not a name'").run(&mut write).await.unwrap();
    write.commit().await.unwrap();
    assert!(matches!(store.state().session(SessionId::from_random(1)).await, Err(StoreError::Corrupt { .. })));
}
