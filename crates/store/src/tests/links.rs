//! Links of a chain: each is there no longer than the one before it, and ends with it.

use std::collections::{BTreeMap, BTreeSet};

use model::{IdentityId, IdentityKeyId, Run, TokenId, token::TokenRow};

use super::{
    fixtures::{Place, add_user, at, name, nightly, on_both, token},
    keys::key,
};
use crate::state::AddTokenError;

on_both! {
    every_link_of_a_chain_ends_with_any_before_it,
    no_link_slips_past_a_revocation,
}

async fn every_link_of_a_chain_ends_with_any_before_it(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    state.add_identity(IdentityId::from_random(2), &nightly("alice", at(5_000)), &name("alice"), at(0)).await.unwrap();
    state.add_key(&key(1, "nightly")).await.unwrap();
    let add = async |number, parent: Option<u64>, change: fn(&mut TokenRow)| {
        let (mut row, digest, _) = token(number, "alice");
        row.parent = parent.map(TokenId::from_random);
        change(&mut row);
        state.add_token(&row, &digest).await.map(|()| row)
    };
    add(1, None, |_| {}).await.unwrap();
    let second = |row: &mut TokenRow| {
        let run = Run { id: "812".to_owned(), issuer: "ci".to_owned(), details: BTreeMap::new() };
        row.key = Some(IdentityKeyId::from_random(1));
        row.actors = vec![name("nightly"), name("bot")];
        row.may_act = Some(name("other"));
        row.earlier_runs = [(name("nightly"), run)].into();
    };
    let row = add(2, Some(1), second).await.unwrap();
    assert_eq!(state.token(row.id).await.unwrap(), Some(row.clone()), "as it was");
    for (number, parent) in [(3, 2), (4, 3), (5, 1), (6, 4)] {
        add(number, Some(parent), |_| {}).await.unwrap();
    }
    assert!(matches!(add(7, Some(2), |row| row.expires_at = at(901)).await, Err(AddTokenError::Undelegated)), "no longer than the one before");
    let ids = |numbers: &[u64]| numbers.iter().map(|number| TokenId::from_random(*number)).collect::<BTreeSet<_>>();
    let revoked = state.revoke_key(&name("nightly"), IdentityKeyId::from_random(1), &name("alice"), at(20)).await.unwrap().unwrap();
    assert_eq!(revoked.into_iter().collect::<BTreeSet<_>>(), ids(&[2, 3, 4, 6]), "with the key of one");
    assert!(state.token(TokenId::from_random(5)).await.unwrap().unwrap().revoked_at.is_none());
    let revoked = state.revoke_token(TokenId::from_random(1), &name("alice"), at(30)).await.unwrap();
    assert_eq!((revoked[0], revoked.len()), (TokenId::from_random(1), 6));
    for parent in 1..=6 {
        assert!(matches!(add(8, Some(parent), |_| {}).await, Err(AddTokenError::Undelegated)), "nothing comes after {parent}");
    }
}

/// A link that is added while those before it are revoked is refused, or revoked and told of.
async fn no_link_slips_past_a_revocation(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    for round in 0..8_u64 {
        let first = round * 10 + 1;
        let add = async |number: u64| {
            let (row, digest, _) = token(first + number, "alice");
            let row = TokenRow { parent: Some(TokenId::from_random(first + number - 1)), ..row };
            state.add_token(&row, &digest).await.is_ok()
        };
        let (row, digest, _) = token(first, "alice");
        state.add_token(&row, &digest).await.unwrap();
        assert!(add(1).await && add(2).await);
        let by = name("alice");
        let (added, revoked) = tokio::join!(async { add(3).await && add(4).await }, state.revoke_token(row.id, &by, at(20)));
        let revoked = revoked.unwrap();
        for number in 0..5 {
            let row = state.token(TokenId::from_random(first + number)).await.unwrap();
            assert!(row.is_none_or(|row| row.revoked_at.is_some() && revoked.contains(&row.id)), "link {number}, added: {added}");
        }
    }
}
