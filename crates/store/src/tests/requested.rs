//! Requests for access and what was granted, on both kinds of store.

use identity::TokenDigest;
use model::{
    RequestId,
    hold::HoldState,
    request::{Grant, GrantEnd, RequestRow},
    token::TokenRow,
};

use super::fixtures::{Place, add_user, at, name, on_both, request, token};
use crate::state::AddTokenError;

on_both! {
    a_request_changes_only_from_what_it_was,
    tokens_for_one_statement_end_with_what_was_granted,
}

fn granted(row: &RequestRow, until: i64) -> RequestRow {
    RequestRow { state: HoldState::Approved, grant: Some(Grant { from: at(10), until: at(until), ended: None }), ..row.clone() }
}

async fn a_request_changes_only_from_what_it_was(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let first = request(1, "alice");
    state.add_request(&first).await.unwrap();
    state.add_request(&request(2, "alice")).await.unwrap();
    assert_eq!(state.request(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(state.request(RequestId::from_random(9)).await.unwrap(), None);
    assert_eq!(state.waiting_requests().await.unwrap().iter().map(|row| row.id).collect::<Vec<_>>(), [first.id, RequestId::from_random(2)]);
    let denied = RequestRow { state: HoldState::Denied { by: name("bob"), reason: None }, ..first.clone() };
    assert!(state.change_request(&first, &denied).await.unwrap());
    assert!(!state.change_request(&first, &granted(&first, 100)).await.unwrap(), "somebody else was faster");
    assert_eq!(state.request(first.id).await.unwrap(), Some(denied));
    assert_eq!(state.waiting_requests().await.unwrap().len(), 1);
    assert_eq!(state.requests(1).await.unwrap()[0].id, RequestId::from_random(2), "the newest first");
    store.close().await;
}

async fn tokens_for_one_statement_end_with_what_was_granted(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let asked = request(1, "alice");
    state.add_request(&asked).await.unwrap();
    let for_it = |number: u64, created: i64| {
        let (row, digest, _) = token(number, "alice");
        (TokenRow { request: Some(asked.id), created_at: at(created), not_before: at(created), ..row }, digest)
    };
    let (early, digest) = for_it(1, 20);
    let ungranted = async |row: &TokenRow, digest: &TokenDigest| matches!(state.add_token(row, digest).await, Err(AddTokenError::Ungranted));
    assert!(ungranted(&early, &digest).await, "nobody granted it yet");
    let there = granted(&asked, 100);
    assert!(state.change_request(&asked, &there).await.unwrap());
    assert_eq!(state.granted_requests(at(99)).await.unwrap(), std::slice::from_ref(&there));
    assert!(state.granted_requests(at(100)).await.unwrap().is_empty());
    state.add_token(&early, &digest).await.unwrap();
    assert_eq!(state.token(early.id).await.unwrap().unwrap().request, Some(asked.id));
    let (late, digest) = for_it(2, 100);
    assert!(ungranted(&late, &digest).await, "its window is over");

    let mut over = there.clone();
    over.grant.as_mut().unwrap().ended = Some(GrantEnd { at: at(30), by: name("root"), reason: None });
    assert_eq!(state.end_grant(&there, &over, &name("root"), at(30)).await.unwrap(), Some(vec![early.id]));
    assert_eq!(state.end_grant(&there, &over, &name("root"), at(31)).await.unwrap(), None, "it is not what it was");
    assert!(state.token(early.id).await.unwrap().unwrap().revoked_at.is_some());
    assert!(state.granted_requests(at(31)).await.unwrap().is_empty());
    let (after, digest) = for_it(3, 31);
    assert!(ungranted(&after, &digest).await);
    store.close().await;
}
