//! Keys of workloads and agents, and ids that work once.

use model::{IdentityId, IdentityKeyId, token::TokenRow};

use super::fixtures::{Place, add_user, at, name, nightly, on_both, token};
use crate::{
    Store,
    state::{AddKeyError, AddTokenError, IdentityKey, MAX_REMEMBERED, Once},
};

on_both! {
    a_key_is_one_machines_once,
    what_was_asked_for_with_a_key_ends_with_it,
    no_token_slips_past_the_revocation_of_its_key,
    two_keys_are_in_force_at_once_and_an_end_makes_place,
    of_two_who_give_the_same_key_at_once_one_does,
    an_id_is_used_by_one_of_many_and_remembered_until_its_end,
    ids_of_one_fill_no_place_of_anothers,
}

pub(super) fn key(number: u64, identity: &str) -> IdentityKey {
    IdentityKey {
        id: IdentityKeyId::from_random(number),
        identity: name(identity),
        thumbprint: format!("thumbprint {number}"),
        public_key: "{\"kty\":\"OKP\"}".to_owned(),
        created_by: name("alice"),
        created_at: at(20),
        expires_at: at(1_000),
        last_used: None,
        revoked_at: None,
        revoked_by: None,
    }
}

async fn machines(place: &Place) -> Store {
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    store.state().add_identity(IdentityId::from_random(2), &nightly("alice", at(5_000)), &name("alice"), at(1)).await.unwrap();
    store
}

async fn a_key_is_one_machines_once(place: Place) {
    let store = machines(&place).await;
    let state = store.state();
    for nobody in ["alice", "ghost"] {
        assert!(matches!(state.add_key(&key(1, nobody)).await, Err(AddKeyError::Workload(_))), "{nobody}");
    }
    state.add_key(&key(1, "nightly")).await.unwrap();
    assert_eq!(state.keys_of(&name("nightly")).await.unwrap(), [key(1, "nightly")]);
    let same = IdentityKey { thumbprint: key(1, "nightly").thumbprint, ..key(2, "nightly") };
    assert!(matches!(state.add_key(&same).await, Err(AddKeyError::Known)));
    let id = IdentityKeyId::from_random(1);
    state.touch_key(id, at(30)).await.unwrap();
    assert_eq!(state.keys_of(&name("nightly")).await.unwrap()[0].last_used, Some(at(30)));
    state.revoke_key(&name("nightly"), id, &name("alice"), at(40)).await.unwrap();
    state.revoke_key(&name("nightly"), id, &name("bob"), at(41)).await.unwrap();
    let kept = state.keys_of(&name("nightly")).await.unwrap().remove(0);
    assert_eq!((kept.revoked_at, kept.revoked_by), (Some(at(40)), Some(name("alice"))), "the first time stands");
    assert!(state.keys_in_force(&name("nightly"), at(41)).await.unwrap().is_empty());
    assert!(matches!(state.add_key(&same).await, Err(AddKeyError::Known)), "a revoked key does not come back");
}

/// A token that was asked for with key 1 at a second, for a while.
async fn given(store: &Store, number: u64, second: i64) -> Result<TokenRow, AddTokenError> {
    let (mut row, digest, _) = token(number, "nightly");
    row.created_at = at(second);
    row.expires_at = at(second + 500);
    row.key = Some(IdentityKeyId::from_random(1));
    store.state().add_token(&row, &digest).await.map(|()| row)
}

async fn what_was_asked_for_with_a_key_ends_with_it(place: Place) {
    let store = machines(&place).await;
    let state = store.state();
    state.add_key(&key(1, "nightly")).await.unwrap();
    let row = given(&store, 1, 30).await.unwrap();
    assert_eq!(state.token(row.id).await.unwrap(), Some(row.clone()), "with its key");
    assert!(matches!(given(&store, 2, 1_000).await, Err(AddTokenError::KeyOver)), "the key has expired");
    let id = IdentityKeyId::from_random(1);
    assert_eq!(state.revoke_key(&name("alice"), id, &name("alice"), at(40)).await.unwrap(), None, "of another identity");
    assert_eq!(state.revoke_key(&name("nightly"), id, &name("alice"), at(40)).await.unwrap(), Some(vec![row.id]));
    assert_eq!(state.revoke_key(&name("nightly"), id, &name("bob"), at(41)).await.unwrap(), Some(vec![row.id]), "again");
    assert_eq!(state.token(row.id).await.unwrap().unwrap().revoked_at, Some(at(40)));
    assert!(matches!(given(&store, 3, 42).await, Err(AddTokenError::KeyOver)), "nothing slips in behind");
}

/// However asking and revoking race, no token of the key works afterwards.
async fn no_token_slips_past_the_revocation_of_its_key(place: Place) {
    let store = machines(&place).await;
    store.state().add_key(&key(1, "nightly")).await.unwrap();
    let asking: Vec<_> = (0..20u64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { drop(given(&store, 100 + number, 30).await) })
        })
        .collect();
    let revoking = tokio::spawn({
        let store = store.clone();
        async move { store.state().revoke_key(&name("nightly"), IdentityKeyId::from_random(1), &name("alice"), at(31)).await.unwrap() }
    });
    assert!(revoking.await.unwrap().is_some());
    for task in asking {
        task.await.unwrap();
    }
    assert!(store.state().tokens(None).await.unwrap().iter().all(|row| row.revoked_at.is_some()));
}

async fn two_keys_are_in_force_at_once_and_an_end_makes_place(place: Place) {
    let store = machines(&place).await;
    let state = store.state();
    state.add_key(&key(1, "nightly")).await.unwrap();
    state.add_key(&key(2, "nightly")).await.unwrap();
    assert!(matches!(state.add_key(&key(3, "nightly")).await, Err(AddKeyError::TooMany(_))));
    assert_eq!(state.keys_in_force(&name("nightly"), at(999)).await.unwrap().len(), 2);
    assert_eq!(state.keys_in_force(&name("nightly"), at(1_000)).await.unwrap().len(), 0, "an end is an end");
    state.revoke_key(&name("nightly"), IdentityKeyId::from_random(1), &name("alice"), at(30)).await.unwrap();
    state.add_key(&key(3, "nightly")).await.unwrap();
    let later = IdentityKey { created_at: at(1_000), expires_at: at(2_000), ..key(4, "nightly") };
    state.add_key(&later).await.unwrap();
    assert_eq!(state.keys_in_force(&name("nightly"), at(1_000)).await.unwrap(), [later]);
    state.revoke_identity(&name("nightly"), &name("alice"), at(40)).await.unwrap();
    assert!(matches!(state.add_key(&key(5, "nightly")).await, Err(AddKeyError::Workload(_))));
}

async fn of_two_who_give_the_same_key_at_once_one_does(place: Place) {
    let store = machines(&place).await;
    let tasks: Vec<_> = (0..6u64)
        .map(|number| {
            let store = store.clone();
            let key = IdentityKey { thumbprint: "one and the same".to_owned(), ..key(number, "nightly") };
            tokio::spawn(async move { store.state().add_key(&key).await.is_ok() })
        })
        .collect();
    let mut added = 0;
    for task in tasks {
        added += usize::from(task.await.unwrap());
    }
    assert_eq!(added, 1);
}

async fn an_id_is_used_by_one_of_many_and_remembered_until_its_end(place: Place) {
    let store = machines(&place).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.state().use_once(&name("nightly"), "one", at(300), at(10)).await.unwrap() })
        })
        .collect();
    let mut first = 0;
    for task in tasks {
        first += usize::from(task.await.unwrap() == Once::First);
    }
    assert_eq!(first, 1);
    store.close().await;
    drop(store);
    // Whoever took it down hoped that it would be forgotten.
    let store = place.open().await;
    let state = store.state();
    assert_eq!(state.use_once(&name("nightly"), "one", at(300), at(299)).await.unwrap(), Once::Again);
    assert_eq!(state.use_once(&name("weekly"), "one", at(300), at(299)).await.unwrap(), Once::First, "ids are whose they are");
    assert_eq!(state.use_once(&name("nightly"), "One", at(300), at(299)).await.unwrap(), Once::First);
    assert_eq!(state.use_once(&name("nightly"), "one", at(600), at(300)).await.unwrap(), Once::First, "it would not have worked any more");
}

async fn ids_of_one_fill_no_place_of_anothers(place: Place) {
    let store = machines(&place).await;
    let state = store.state();
    let mut write = state.database().write().await.unwrap();
    for number in 0..MAX_REMEMBERED {
        crate::database::sql("INSERT INTO used_ids (digest, identity, forget_at) VALUES ($1, 'nightly', $2)")
            .bind(number.to_string())
            .bind(crate::database::micros(at(300)))
            .run(&mut write)
            .await
            .unwrap();
    }
    write.commit().await.unwrap();
    assert_eq!(state.use_once(&name("nightly"), "one more", at(400), at(10)).await.unwrap(), Once::TooMany);
    assert_eq!(state.use_once(&name("weekly"), "one", at(400), at(10)).await.unwrap(), Once::First);
    assert_eq!(state.use_once(&name("nightly"), "one more", at(400), at(300)).await.unwrap(), Once::First, "those are over");
}
