//! Identities and tokens.

use model::{Identity, IdentityId, IdentityKind, TokenId, token::TokenUse};

use super::fixtures::{Place, add_user, at, name, nightly, on_both, token};
use crate::{
    StoreError,
    database::sql,
    state::{AddIdentityError, AddTokenError, ChangeIdentityError, SetOwnerError},
};

on_both! {
    an_identity_comes_back_as_it_was_entered,
    a_name_is_given_once_whatever_its_case_even_after_a_revocation,
    the_owner_of_a_machine_is_an_active_person,
    near_11_the_table_holds_no_machine_without_an_end,
    groups_expiry_and_password_change,
    what_was_revoked_changes_no_more,
    use_is_noted_to_the_minute,
    a_token_works_within_its_window_only,
    a_revoked_token_never_works_again_and_says_by_whom,
    web_12_tokens_end_with_their_subject,
    no_token_is_added_that_makes_no_sense,
    no_token_slips_past_the_revocation_of_its_subject,
    of_two_who_take_a_name_at_once_one_gets_it,
    a_token_for_one_statement_is_used_up_by_one_of_many_and_for_good,
}

async fn an_identity_comes_back_as_it_was_entered(place: Place) {
    let store = place.open().await;
    let state = store.state();
    let alice = add_user(&store, 1, "alice").await;
    let job = state.add_identity(IdentityId::from_random(2), &nightly("alice", at(5_000)), &name("alice"), at(1)).await.unwrap();
    assert_eq!(state.identity(&name("alice")).await.unwrap(), Some(alice.clone()));
    assert_eq!(state.identity_by_id(IdentityId::from_random(2)).await.unwrap(), Some(job.clone()));
    assert_eq!(state.identity(&name("nobody1")).await.unwrap(), None);
    assert_eq!(state.identities().await.unwrap(), [alice, job.clone()]);
    let expected = (IdentityKind::Workload, Some(name("alice")), Some("nightly exports".to_owned()), Some(at(5_000)));
    assert_eq!((job.kind, job.owner, job.purpose, job.expires_at), expected);
}

async fn a_name_is_given_once_whatever_its_case_even_after_a_revocation(place: Place) {
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    store.state().revoke_identity(&name("alice"), &name("bob"), at(5)).await.unwrap();
    for (number, text) in [(2, "alice"), (3, "Alice")] {
        let new = identity::NewIdentity::user(name(text), vec![]).unwrap();
        let added = store.state().add_identity(IdentityId::from_random(number), &new, &name("init"), at(6)).await;
        assert!(matches!(added, Err(AddIdentityError::Taken(_))), "{text}");
    }
}

async fn the_owner_of_a_machine_is_an_active_person(place: Place) {
    let store = place.open().await;
    let state = store.state();
    let add =
        async |owner: &str, number| state.add_identity(IdentityId::from_random(number), &nightly(owner, at(5_000)), &name("alice"), at(1)).await;
    assert!(matches!(add("ghost", 9).await, Err(AddIdentityError::Owner(_))));
    add_user(&store, 1, "alice").await;
    add_user(&store, 2, "bob").await;
    state.revoke_identity(&name("bob"), &name("alice"), at(1)).await.unwrap();
    assert!(matches!(add("bob", 9).await, Err(AddIdentityError::Owner(_))));
    add("alice", 9).await.unwrap();
    assert!(matches!(state.set_owner(&name("alice"), &name("nightly"), at(2)).await, Err(SetOwnerError::Owner(_))), "a machine owns nothing");
    assert!(matches!(state.set_owner(&name("nightly"), &name("bob"), at(2)).await, Err(SetOwnerError::Owner(_))));
    add_user(&store, 3, "carol").await;
    assert_eq!(state.set_owner(&name("nightly"), &name("carol"), at(2)).await.unwrap().owner, Some(name("carol")));
    assert_eq!(state.identity(&name("nightly")).await.unwrap().unwrap().owner, Some(name("carol")));
}

/// The table itself refuses a machine without owner, purpose or expiry, whoever writes to it.
async fn near_11_the_table_holds_no_machine_without_an_end(place: Place) {
    let store = place.open().await;
    let mut write = store.state().database().write().await.unwrap();
    let insert = sql("INSERT INTO identities (id, name, folded_name, kind, group_names, created_by, created_at, owner, purpose)
         VALUES ('i', 'j', 'j', 'agent', '[]', 'x', 0, 'alice', 'p')");
    assert!(insert.run(&mut write).await.is_err());
}

async fn groups_expiry_and_password_change(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let groups = ["b", "a", "b"].map(|group| group.parse().unwrap());
    assert_eq!(state.set_groups(&name("alice"), &groups).await.unwrap().groups.len(), 2);
    assert_eq!(state.identity(&name("alice")).await.unwrap().unwrap().groups, ["a", "b"].map(|group| group.parse().unwrap()));
    assert_eq!(state.set_expiry(&name("alice"), at(77)).await.unwrap().expires_at, Some(at(77)));
    state.set_password_hash(&name("alice"), Some("$argon2id$x")).await.unwrap();
    let (identity, hash) = state.identity_and_password(&name("alice")).await.unwrap().unwrap();
    assert_eq!((identity.expires_at, hash.as_deref()), (Some(at(77)), Some("$argon2id$x")));
}

async fn what_was_revoked_changes_no_more(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    state.set_password_hash(&name("alice"), Some("$argon2id$x")).await.unwrap();
    assert!(state.revoke_identity(&name("alice"), &name("bob"), at(8)).await.unwrap());
    assert!(!state.revoke_identity(&name("alice"), &name("carol"), at(9)).await.unwrap(), "the first revocation stands");
    let revoked = state.identity_and_password(&name("alice")).await.unwrap().unwrap();
    assert_eq!((revoked.0.revoked_at, revoked.1), (Some(at(8)), None), "WEB-11: the password is gone with it");
    assert!(matches!(state.set_groups(&name("alice"), &[]).await, Err(ChangeIdentityError::Revoked(_))));
    assert!(matches!(state.set_expiry(&name("alice"), at(99)).await, Err(ChangeIdentityError::Revoked(_))));
    assert!(matches!(state.set_password_hash(&name("alice"), Some("x")).await, Err(ChangeIdentityError::Revoked(_))));
    assert!(matches!(state.set_password_hash(&name("ghost"), Some("x")).await, Err(ChangeIdentityError::Unknown(_))));
    assert!(matches!(state.revoke_identity(&name("ghost"), &name("bob"), at(8)).await, Err(ChangeIdentityError::Unknown(_))));
}

async fn use_is_noted_to_the_minute(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let (row, digest, _) = token(1, "alice");
    state.add_token(&row, &digest).await.unwrap();
    for (now, expected) in [(100, 100), (130, 100), (90, 100), (161, 161)] {
        state.touch_identity(&name("alice"), at(now)).await.unwrap();
        state.touch_token(row.id, at(now)).await.unwrap();
        assert_eq!(state.identity(&name("alice")).await.unwrap().unwrap().last_used, Some(at(expected)), "at {now}");
        assert_eq!(state.token(row.id).await.unwrap().unwrap().last_used, Some(at(expected)), "at {now}");
    }
}

async fn a_token_works_within_its_window_only(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let (row, digest, _) = token(1, "alice");
    state.add_token(&row, &digest).await.unwrap();
    assert_eq!(state.token_by_digest(&digest).await.unwrap(), Some(row.clone()));
    for (second, live) in [(9, false), (10, true), (899, true), (900, false)] {
        assert_eq!(state.live_token(&digest, at(second)).await.unwrap().is_some(), live, "at {second}");
        assert_eq!(state.token_is_live(row.id, at(second)).await.unwrap(), live, "at {second}");
    }
    let (_, foreign, _) = token(2, "alice");
    assert_eq!(state.live_token(&foreign, at(20)).await.unwrap(), None);
    assert!(!state.token_is_live(TokenId::from_random(99), at(20)).await.unwrap());
}

async fn a_revoked_token_never_works_again_and_says_by_whom(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let (row, digest, _) = token(1, "alice");
    state.add_token(&row, &digest).await.unwrap();
    assert_eq!(state.revoke_token(row.id, &name("bob"), at(50)).await.unwrap(), [row.id]);
    let revoked = state.token(row.id).await.unwrap().unwrap();
    assert_eq!((revoked.revoked_at, revoked.revoked_by), (Some(at(50)), Some(name("bob"))));
    assert_eq!(state.revoke_token(row.id, &name("carol"), at(60)).await.unwrap(), [row.id]);
    let again = state.token(row.id).await.unwrap().unwrap();
    assert_eq!((again.revoked_at, again.revoked_by), (Some(at(50)), Some(name("bob"))), "the first revocation stands");
    assert_eq!(state.live_token(&digest, at(20)).await.unwrap(), None);
    assert_eq!(state.revoke_token(TokenId::from_random(99), &name("bob"), at(50)).await.unwrap(), []);
}

/// WEB-12: what speaks for a revoked or expired identity stops with it.
async fn web_12_tokens_end_with_their_subject(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    add_user(&store, 2, "bob").await;
    state.add_identity(IdentityId::from_random(3), &nightly("alice", at(100)), &name("alice"), at(0)).await.unwrap();
    let (mine, my_digest, _) = token(1, "alice");
    let (others, others_digest, _) = token(2, "bob");
    let (jobs, jobs_digest, _) = token(3, "nightly");
    for (row, digest) in [(&mine, &my_digest), (&others, &others_digest), (&jobs, &jobs_digest)] {
        state.add_token(row, digest).await.unwrap();
    }
    assert!(state.live_token(&jobs_digest, at(99)).await.unwrap().is_some());
    assert!(state.live_token(&jobs_digest, at(100)).await.unwrap().is_none(), "the job itself expired");
    state.revoke_identity(&name("alice"), &name("bob"), at(50)).await.unwrap();
    assert!(state.live_token(&my_digest, at(20)).await.unwrap().is_none());
    assert!(state.live_token(&others_digest, at(60)).await.unwrap().is_some());
    assert_eq!(state.tokens(Some(&name("alice"))).await.unwrap().first().and_then(|row| row.revoked_by.clone()), Some(name("bob")));
    assert_eq!(state.tokens(None).await.unwrap().len(), 3);
    assert_eq!(state.revoke_tokens_of(&name("bob"), &name("carol"), at(60)).await.unwrap(), 1);
    assert!(state.live_token(&others_digest, at(61)).await.unwrap().is_none());
}

async fn no_token_is_added_that_makes_no_sense(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let (row, digest, _) = token(1, "alice");
    let refused = async |change: &dyn Fn(&mut model::token::TokenRow)| {
        let mut row = row.clone();
        change(&mut row);
        state.add_token(&row, &digest).await.unwrap_err()
    };
    assert!(matches!(refused(&|row| row.subject = name("ghost")).await, AddTokenError::Subject(_)));
    assert!(matches!(refused(&|row| row.expires_at = row.not_before).await, AddTokenError::Window));
    assert!(matches!(refused(&|row| row.expires_at = at(401 * 86_400)).await, AddTokenError::Window));
    assert!(matches!(refused(&|row| row.connections.clear()).await, AddTokenError::Connections));
    assert!(matches!(refused(&|row| row.purpose = TokenUse::Api).await, AddTokenError::Connections));
    state.add_token(&row, &digest).await.unwrap();
    assert!(matches!(refused(&|row| row.id = TokenId::from_random(2)).await, AddTokenError::Store(StoreError::Database(_))), "one digest, one token");
    state.revoke_identity(&name("alice"), &name("bob"), at(0)).await.unwrap();
    let (late, late_digest, _) = token(5, "alice");
    assert!(matches!(state.add_token(&late, &late_digest).await, Err(AddTokenError::Subject(_))));
}

/// However minting and revoking race, no token of the identity is live afterwards.
async fn no_token_slips_past_the_revocation_of_its_subject(place: Place) {
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    let minting: Vec<_> = (0..20u64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let (row, digest, _) = token(100 + number, "alice");
                let _ = store.state().add_token(&row, &digest).await;
                digest
            })
        })
        .collect();
    let revoking = tokio::spawn({
        let store = store.clone();
        async move { store.state().revoke_identity(&name("alice"), &name("bob"), at(0)).await.unwrap() }
    });
    assert!(revoking.await.unwrap());
    for task in minting {
        let digest = task.await.unwrap();
        assert_eq!(store.state().live_token(&digest, at(20)).await.unwrap(), None);
    }
    assert!(store.state().tokens(None).await.unwrap().iter().all(|row| row.revoked_at.is_some()));
}

async fn of_two_who_take_a_name_at_once_one_gets_it(place: Place) {
    let store = place.open().await;
    let tasks: Vec<_> = (0..8u64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let new = identity::NewIdentity::user(name("alice"), vec![]).unwrap();
                store.state().add_identity(IdentityId::from_random(number), &new, &name("init"), at(0)).await.ok()
            })
        })
        .collect();
    let mut added: Vec<Identity> = Vec::new();
    for task in tasks {
        added.extend(task.await.unwrap());
    }
    assert_eq!(added.len(), 1);
}

async fn a_token_for_one_statement_is_used_up_by_one_of_many_and_for_good(place: Place) {
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    let (row, digest, _) = token(7, "alice");
    store.state().add_token(&row, &digest).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|second| {
            let (store, id) = (store.clone(), row.id);
            tokio::spawn(async move { store.state().spend_token(id, at(100 + second)).await.unwrap() })
        })
        .collect();
    let mut spent = 0;
    for task in tasks {
        spent += usize::from(task.await.unwrap());
    }
    assert_eq!(spent, 1);
    store.close().await;
    drop(store);
    let store = place.open().await;
    assert!(!store.state().spend_token(row.id, at(200)).await.unwrap());
    let stored = store.state().token(row.id).await.unwrap().unwrap();
    assert!(stored.spent_at.is_some_and(|spent| spent < at(200)), "{stored:?}");

    let (revoked, digest, _) = token(8, "alice");
    store.state().add_token(&revoked, &digest).await.unwrap();
    store.state().revoke_token(revoked.id, &name("bob"), at(1)).await.unwrap();
    assert!(!store.state().spend_token(revoked.id, at(2)).await.unwrap());
}
