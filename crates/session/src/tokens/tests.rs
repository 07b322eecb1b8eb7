//! Tokens: who mints for whom, how wide and how long.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    fixtures::{gate, later, now},
    sign_in::SignInFor,
};

fn connect(subject: &Actor, connections: &[&str]) -> TokenRequest {
    TokenRequest {
        subject: subject.name.clone(),
        purpose: TokenUse::Connect,
        connections: connections.iter().map(|name| name.parse().unwrap()).collect(),
        statement: None,
        not_before: None,
        expires_at: later(900),
        sign_in: None,
        agent: None,
        request: None,
        bound_to: None,
    }
}

#[tokio::test]
async fn people_mint_for_themselves_owners_and_administrators_for_workloads() {
    let gate = gate().await;
    let (alice, olga) = (gate.user("alice", &["engineers"]).await, gate.user("olga", &["engineers"]).await);
    let (root, ada) = (gate.user("root", &["admins"]).await, gate.user("ada", &["auditors"]).await);
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let other = gate.workload("other", &alice, &["engineers"]).await;
    for (subject, by, may) in [
        (&alice, &alice, true),
        (&nightly, &olga, true),
        (&nightly, &root, true),
        (&nightly, &nightly, false),
        (&nightly, &alice, false),
        (&nightly, &ada, false),
        (&nightly, &other, false),
        // NEAR-05: whoever could mint for another person could sign as that person.
        (&alice, &root, false),
        (&alice, &olga, false),
    ] {
        let minted = gate.guard.mint_token(connect(subject, &["prod-pg"]), by, now()).await;
        assert_eq!(minted.is_ok(), may, "{} by {}", subject.name, by.name);
        let Ok((secret, row)) = minted else { continue };
        assert_eq!(row.minted_by, by.name);
        let prod = "prod-pg".parse().unwrap();
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let signed_in = gate.guard.sign_in(subject.name.as_str(), &secret, SignInFor::Connection(&prod), peer, now()).await.unwrap();
        assert_eq!(signed_in.chain.minted_by.is_some(), subject.id != by.id);
    }
    assert_eq!(gate.events().await.len(), 3);
}

#[tokio::test]
async fn a_token_opens_only_what_its_subject_may_open() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let mint = |connections: &'static [&'static str]| gate.guard.mint_token(connect(&alice, connections), &alice, now());
    assert!(mint(&["prod-pg"]).await.is_ok());
    // What is not theirs and what does not exist are not told apart.
    let foreign = mint(&["prod-pg", "staging-pg"]).await.unwrap_err().to_string();
    assert_eq!(foreign, "no connection staging-pg that alice may open; there are: prod-pg");
    assert_eq!(mint(&["missing-pg"]).await.unwrap_err().to_string(), foreign.replace("staging-pg", "missing-pg"));
    assert_eq!(mint(&["prod-pf"]).await.unwrap_err().to_string(), "no connection prod-pf that alice may open; did you mean prod-pg?");
    assert!(matches!(mint(&[]).await, Err(GovernError::Invalid(_))));
    let api = TokenRequest { purpose: TokenUse::Api, ..connect(&alice, &["prod-pg"]) };
    assert!(matches!(gate.guard.mint_token(api, &alice, now()).await, Err(GovernError::Invalid(_))));
}

#[tokio::test]
async fn a_window_is_one_is_bounded_and_ends_with_its_subject() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let nightly = gate.workload("nightly", &alice, &["engineers"]).await;
    let month = gate.guard.limits().max_token_window_s;
    for (subject, from, until, may) in [
        (&alice, None, later(1), true),
        (&alice, None, now(), false),
        (&alice, Some(later(10)), later(10), false),
        (&alice, Some(later(10)), later(20), true),
        (&alice, None, later(month), true),
        (&alice, None, later(month + 1), false),
        (&nightly, None, later(86_400 * 30), true),
        (&nightly, None, later(86_400 * 30 + 1), false),
    ] {
        let wanted = TokenRequest { not_before: from, expires_at: until, ..connect(subject, &["prod-pg"]) };
        assert_eq!(gate.guard.mint_token(wanted, &alice, now()).await.is_ok(), may, "{} {from:?} {until}", subject.name);
    }
}

/// WEB-14, WEB-15: a token somebody may not see is no token to them.
#[tokio::test]
async fn web_14_tokens_are_seen_and_revoked_by_those_they_concern() {
    let gate = gate().await;
    let (alice, olga) = (gate.user("alice", &["engineers"]).await, gate.user("olga", &["engineers"]).await);
    let (root, ada) = (gate.user("root", &["admins"]).await, gate.user("ada", &["auditors"]).await);
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(gate.guard.mint_token(connect(&nightly, &["prod-pg"]), &olga, now()).await.unwrap().1.id);
    }
    for (viewer, sees) in [(&alice, 0), (&olga, 4), (&nightly, 4), (&root, 4), (&ada, 4)] {
        assert_eq!(gate.guard.tokens(viewer, now()).await.unwrap().len(), sees, "{}", viewer.name);
    }
    let (hidden, missing) = (ids[0], TokenId::from_random(5));
    let refused = gate.guard.revoke_token(hidden, &alice, now()).await.unwrap_err().to_string();
    assert_eq!(
        refused.replace(&hidden.to_string(), "x"),
        gate.guard.revoke_token(missing, &alice, now()).await.unwrap_err().to_string().replace(&missing.to_string(), "x")
    );
    assert!(gate.guard.revoke_token(hidden, &ada, now()).await.is_err());
    for (id, by) in ids.iter().skip(1).zip([&olga, &nightly, &root]) {
        assert!(gate.guard.revoke_token(*id, by, now()).await.is_ok(), "{}", by.name);
    }
    let rows = gate.guard.tokens(&root, now()).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.revoked_at.is_none()).map(|row| row.id).collect::<Vec<_>>(), [hidden]);
}
