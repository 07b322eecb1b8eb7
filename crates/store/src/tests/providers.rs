//! Providers that are revoked.

use model::{IdentityId, TokenId, token::TokenRow};

use super::{
    accounts::{account, rule, sign_in},
    fixtures::{Place, add_user, at, name, nightly, on_both, token},
};
use crate::state::{AddTokenError, NewSignIn, SignInError};

on_both! {
    nobody_signs_in_at_a_revoked_provider,
    no_token_is_given_out_for_a_revoked_issuer,
    that_a_provider_is_revoked_outlasts_the_process,
    nobody_slips_past_the_revocation_of_a_provider,
}

async fn nobody_signs_in_at_a_revoked_provider(place: Place) {
    let store = place.open().await;
    let (state, by, idp) = (store.state(), name("alice"), "idp".parse().unwrap());
    add_user(&store, 1, "alice").await;
    state.begin_sign_in(&sign_in(1, "anna-at-idp", Some("anna")), at(10)).await.unwrap();
    let ended = state.revoke_provider(&idp, Some("it was broken into"), "it was revoked", &by, at(20)).await.unwrap();
    assert_eq!((ended.sign_ins.len(), ended.tokens.len()), (1, 0));
    for again in [sign_in(2, "anna-at-idp", None), sign_in(3, "ben-at-idp", Some("ben"))] {
        assert!(matches!(state.begin_sign_in(&again, at(21)).await, Err(SignInError::Revoked(_))));
    }
    assert!(state.identity(&name("ben")).await.unwrap().is_none());
    // Another provider is another one.
    let other = NewSignIn { provider: "other".parse().unwrap(), account: account("carla"), ..sign_in(4, "carla", Some("carla")) };
    state.begin_sign_in(&other, at(22)).await.unwrap();
}

async fn no_token_is_given_out_for_a_revoked_issuer(place: Place) {
    let store = place.open().await;
    let (state, by, ci) = (store.state(), name("alice"), "ci".parse().unwrap());
    add_user(&store, 1, "alice").await;
    state.add_identity(IdentityId::from_random(2), &nightly("alice", at(5_000)), &by, at(0)).await.unwrap();
    state.add_trust(&rule(1, "nightly")).await.unwrap();
    let job = async |number, parent: Option<u64>| {
        let (row, digest, _) = token(number, "nightly");
        let row = match parent {
            None => TokenRow { trust: Some(model::TrustId::from_random(1)), ..row },
            Some(parent) => TokenRow { parent: Some(TokenId::from_random(parent)), ..row },
        };
        state.add_token(&row, &digest).await
    };
    job(1, None).await.unwrap();
    job(2, Some(1)).await.unwrap();
    job(3, None).await.unwrap();
    let mut tokens = state.revoke_provider(&ci, None, "it was revoked", &by, at(30)).await.unwrap().tokens;
    tokens.sort();
    assert_eq!(tokens, [1, 2, 3].map(TokenId::from_random), "with what was passed on");
    assert!(matches!(job(4, None).await, Err(AddTokenError::Revoked(_))));
    assert!(matches!(job(5, Some(1)).await, Err(AddTokenError::Undelegated)));
}

async fn that_a_provider_is_revoked_outlasts_the_process(place: Place) {
    let store = place.open().await;
    let (by, idp, ci) = (name("alice"), "idp".parse().unwrap(), "ci".parse().unwrap());
    add_user(&store, 1, "alice").await;
    store.state().revoke_provider(&idp, Some("it was broken into"), "it was revoked", &by, at(20)).await.unwrap();
    store.state().revoke_provider(&ci, None, "it was revoked", &by, at(30)).await.unwrap();
    store.state().revoke_provider(&ci, Some("again"), "again", &name("bob"), at(31)).await.unwrap();
    store.close().await;
    drop(store);
    let store = place.open().await;
    let state = store.state();
    let told = state.revoked_providers().await.unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.name.as_str(), one.by.as_str(), one.at, one.why.as_deref())).collect();
    assert_eq!(told, [("ci", "alice", at(30), Some("again")), ("idp", "alice", at(20), Some("it was broken into"))], "the first time stands");
    assert!(state.allow_provider(&idp).await.unwrap() && !state.allow_provider(&idp).await.unwrap());
    assert!(!state.is_provider_revoked(&idp).await.unwrap() && state.is_provider_revoked(&ci).await.unwrap());
    state.begin_sign_in(&sign_in(5, "anna-at-idp", Some("anna")), at(40)).await.unwrap();
}

/// Whoever is entered while a provider is revoked is refused, or there to be ended.
async fn nobody_slips_past_the_revocation_of_a_provider(place: Place) {
    let store = place.open().await;
    let (state, by, idp) = (store.state(), name("alice"), "idp".parse().unwrap());
    add_user(&store, 1, "alice").await;
    for round in 0..12_u64 {
        let new = sign_in(10 + round, &format!("person-{round}"), Some(&format!("person-{round}")));
        let enter = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            state.begin_sign_in(&new, at(10)).await.is_ok()
        };
        let (entered, revoked) = tokio::join!(enter, state.revoke_provider(&idp, None, "it was revoked", &by, at(20)));
        let found = revoked.unwrap().sign_ins.iter().any(|ended| ended.id == new.id);
        assert_eq!(entered, found, "round {round}");
        assert!(state.allow_provider(&idp).await.unwrap());
    }
}
