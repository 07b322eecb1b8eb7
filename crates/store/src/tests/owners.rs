//! Owners who leave, ends that come near, and codes that are used up.

use model::{Identity, IdentityId, Timestamp};

use super::accounts::sign_in;
use super::fixtures::{Place, add_user, at, name, nightly, on_both, token};
use crate::{
    Store,
    state::{ChangeIdentityError, Event, LeftBehind, OwnerLeft, Which},
};

on_both! {
    an_orphan_is_found_once_and_works_until_its_deadline,
    an_orphan_stops_at_its_deadline_once,
    whoever_takes_an_orphan_on_has_it_for_as_long_as_it_would_have_worked,
    an_owner_has_left_who_was_revoked_has_expired_or_is_long_away,
    of_each_end_is_told_once,
    a_code_is_used_up_by_one_of_many_and_asked_for_as_long_as_somebody_has_an_app,
}

fn event(identity: &Identity) -> Event {
    Event { at: at(0), actor: name("countersign"), kind: "test".to_owned(), subject: identity.name.to_string(), detail: serde_json::json!({}) }
}

async fn count(store: &Store) -> usize {
    store.state().events(Some("nightly"), None, 100).await.unwrap().len()
}

/// Alice's nightly, which ends at 5,000.
async fn with_nightly(place: &Place) -> Store {
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    add_user(&store, 2, "bob").await;
    store.state().add_identity(IdentityId::from_random(3), &nightly("alice", at(5_000)), &name("alice"), at(0)).await.unwrap();
    store
}

async fn end_of(store: &Store) -> (Option<Timestamp>, Option<Timestamp>) {
    let identity = store.state().identity(&name("nightly")).await.unwrap().unwrap();
    (identity.orphaned_at, identity.expires_at)
}

/// Revokes alice and orphans her nightly, until 100.
async fn orphaned(store: &Store) -> LeftBehind {
    let state = store.state();
    state.revoke_identity(&name("alice"), &name("bob"), at(10)).await.unwrap();
    let found = state.left_behind(at(0), at(10)).await.unwrap().remove(0);
    let orphan = state.orphan(&found, at(100), event, at(10)).await.unwrap().unwrap();
    assert_eq!((orphan.orphaned_at, orphan.expires_at), (Some(at(10)), Some(at(100))));
    found
}

async fn an_orphan_is_found_once_and_works_until_its_deadline(place: Place) {
    let store = with_nightly(&place).await;
    let state = store.state();
    let (row, digest, _) = token(1, "nightly");
    state.add_token(&row, &digest).await.unwrap();
    assert_eq!(state.left_behind(at(0), at(0)).await.unwrap(), []);
    // Whoever it belongs to by now is asked once more.
    let wrong = LeftBehind { name: name("nightly"), owner: Some(name("bob")), why: OwnerLeft::Revoked };
    assert_eq!(state.orphan(&wrong, at(100), event, at(10)).await.unwrap(), None);
    let found = orphaned(&store).await;
    assert_eq!(found, LeftBehind { owner: Some(name("alice")), ..wrong });
    assert_eq!(end_of(&store).await, (Some(at(10)), Some(at(100))));
    assert_eq!(state.orphan(&found, at(90), event, at(10)).await.unwrap(), None, "once");
    assert_eq!((state.left_behind(at(0), at(10)).await.unwrap(), count(&store).await), (vec![], 1));
    assert!(matches!(state.set_expiry(&name("nightly"), at(900)).await, Err(ChangeIdentityError::Orphaned(_))));
    assert_eq!(state.owners_back(at(0), at(11)).await.unwrap(), []);
    assert!(state.live_token(&digest, at(99)).await.unwrap().is_some());
    assert!(state.live_token(&digest, at(100)).await.unwrap().is_none());
}

async fn an_orphan_stops_at_its_deadline_once(place: Place) {
    let store = with_nightly(&place).await;
    let state = store.state();
    let (row, digest, _) = token(1, "nightly");
    state.add_token(&row, &digest).await.unwrap();
    orphaned(&store).await;
    let stop = async |now| state.stop_orphan(&name("nightly"), &name("countersign"), event, now).await.unwrap();
    assert_eq!((state.orphans_run_out(at(99)).await.unwrap(), stop(at(99)).await), (vec![], None));
    assert_eq!(state.orphans_run_out(at(100)).await.unwrap(), [name("nightly")]);
    assert!(stop(at(100)).await.is_some());
    assert_eq!((state.orphans_run_out(at(101)).await.unwrap(), count(&store).await), (vec![], 2));
    assert_eq!(state.token(row.id).await.unwrap().unwrap().revoked_at, Some(at(100)));
    assert_eq!(state.owner_is_back(&name("nightly"), event, at(101)).await.unwrap(), None, "it is over");
}

async fn whoever_takes_an_orphan_on_has_it_for_as_long_as_it_would_have_worked(place: Place) {
    let store = with_nightly(&place).await;
    let state = store.state();
    orphaned(&store).await;
    state.stop_orphan(&name("nightly"), &name("countersign"), event, at(100)).await.unwrap();
    let taken_on = state.set_owner(&name("nightly"), &name("bob"), at(102)).await.unwrap();
    assert_eq!((taken_on.owner, taken_on.orphaned_at, taken_on.expires_at), (Some(name("bob")), None, Some(at(5_000))));
    assert_eq!(end_of(&store).await, (None, Some(at(5_000))));
    // It may be orphaned again, and end again: no later than it would have.
    state.revoke_identity(&name("bob"), &name("init"), at(200)).await.unwrap();
    let found = state.left_behind(at(0), at(200)).await.unwrap().remove(0);
    assert_eq!(state.orphan(&found, at(9_000), event, at(200)).await.unwrap().unwrap().expires_at, Some(at(5_000)));
    assert_eq!(state.orphans_run_out(at(5_000)).await.unwrap(), [name("nightly")]);
}

async fn an_owner_has_left_who_was_revoked_has_expired_or_is_long_away(place: Place) {
    let store = with_nightly(&place).await;
    let state = store.state();
    let why = async |absent_since, now| state.left_behind(absent_since, now).await.unwrap().into_iter().map(|found| found.why).collect::<Vec<_>>();
    // A built-in user may stay away as long as they like.
    assert_eq!(why(at(4_000), at(4_000)).await, []);
    state.set_expiry(&name("alice"), at(50)).await.unwrap();
    assert_eq!((why(at(0), at(49)).await, why(at(0), at(50)).await), (vec![], vec![OwnerLeft::Expired]));
    let signed_in = state.begin_sign_in(&sign_in(1, "anna-at-idp", Some("anna")), at(60)).await.unwrap();
    state.set_owner(&name("nightly"), &signed_in.identity.name, at(60)).await.unwrap();
    assert_eq!(why(at(1_000), at(1_000)).await, [], "the sign-in stands");
    state.end_sign_ins(&Which::Of(sign_in(1, "anna-at-idp", None).account), "it was not renewed", &name("idp"), at(1_000)).await.unwrap();
    assert_eq!((why(at(999), at(1_500)).await, why(at(1_000), at(1_500)).await), (vec![], vec![OwnerLeft::Absent]));
    let found = state.left_behind(at(1_000), at(1_500)).await.unwrap().remove(0);
    state.orphan(&found, at(3_000), event, at(1_500)).await.unwrap().unwrap();
    assert_eq!(state.owners_back(at(1_000), at(1_600)).await.unwrap(), []);
    state.begin_sign_in(&sign_in(2, "anna-at-idp", None), at(1_700)).await.unwrap();
    assert_eq!(state.owners_back(at(1_000), at(1_700)).await.unwrap(), [name("nightly")]);
    let back = state.owner_is_back(&name("nightly"), event, at(1_700)).await.unwrap().unwrap();
    assert_eq!((back.orphaned_at, back.expires_at), (None, Some(at(5_000))));
    assert_eq!(state.owner_is_back(&name("nightly"), event, at(1_700)).await.unwrap(), None, "once");
}

async fn of_each_end_is_told_once(place: Place) {
    let store = with_nightly(&place).await;
    let state = store.state();
    let untold = async |before, now| state.ending_untold(before, now).await.unwrap();
    assert_eq!(untold(at(4_999), at(0)).await, []);
    assert_eq!(untold(at(5_000), at(0)).await, [name("nightly")]);
    assert_eq!(state.ending(at(5_000), at(0)).await.unwrap().len(), 1);
    assert_eq!(state.tell_of_end(&name("nightly"), at(4_999), event, at(0)).await.unwrap(), None, "it was renewed meanwhile");
    assert!(state.tell_of_end(&name("nightly"), at(5_000), event, at(0)).await.unwrap().is_some());
    assert_eq!((untold(at(5_000), at(1)).await, count(&store).await), (vec![], 1));
    state.set_expiry(&name("nightly"), at(6_000)).await.unwrap();
    assert_eq!(untold(at(6_000), at(1)).await, [name("nightly")], "of another end");
    assert_eq!(untold(at(9_000), at(6_000)).await, [], "nor of one that has come");
    state.revoke_identity(&name("alice"), &name("bob"), at(10)).await.unwrap();
    let found = state.left_behind(at(0), at(10)).await.unwrap().remove(0);
    state.orphan(&found, at(5_900), event, at(10)).await.unwrap();
    assert_eq!(untold(at(6_000), at(10)).await, [], "its owner is not there to be told");
    assert_eq!(state.ending(at(20), at(10)).await.unwrap().len(), 1, "an orphan is shown all the same");
}

async fn a_code_is_used_up_by_one_of_many_and_asked_for_as_long_as_somebody_has_an_app(place: Place) {
    let store = with_nightly(&place).await;
    let state = store.state();
    assert!(!state.spend_code(&name("alice"), 7).await.unwrap(), "none is asked for");
    assert!(state.begin_second_factor(&name("alice"), 7, at(5)).await.unwrap());
    assert!(!state.begin_second_factor(&name("alice"), 3, at(6)).await.unwrap());
    assert_eq!(state.identity(&name("alice")).await.unwrap().unwrap().second_factor_at, Some(at(5)));
    let tasks = [7, 8, 8, 8, 6].map(|step| {
        let store = store.clone();
        tokio::spawn(async move { store.state().spend_code(&name("alice"), step).await.unwrap() })
    });
    let mut spent = 0;
    for task in tasks {
        spent += usize::from(task.await.unwrap());
    }
    assert_eq!(spent, 1);
    assert!(state.spend_code(&name("alice"), 9).await.unwrap());
    assert!(!state.spend_code(&name("bob"), 9).await.unwrap());
    let id = IdentityId::from_random(1);
    let secret = model::Secret::from("twenty bytes of noise".to_owned());
    store.secrets().keep_second_factor(id, &secret, at(5)).await.unwrap();
    assert_eq!(store.secrets().second_factor(id).await.unwrap().unwrap().reveal(), secret.reveal());
    assert!(store.secrets().second_factor(IdentityId::from_random(2)).await.unwrap().is_none());
    assert!(state.end_second_factor(&name("alice")).await.unwrap() && !state.end_second_factor(&name("alice")).await.unwrap());
    assert!(store.secrets().forget_second_factor(id).await.unwrap());
    assert_eq!(state.identity(&name("alice")).await.unwrap().unwrap().second_factor_at, None);
}
