//! Keys of machines without a platform: who gives one, what it is good for, and how it ends.

use std::net::{IpAddr, Ipv4Addr};

use identity::{GatewayUrl, PrivateKey};
use model::{ConnectionName, Secret, token::TokenRow};

use super::*;
use crate::{
    fixtures::{Gate, gate, later, name, now},
    sign_in::{SignInFor, SignInRefused, TokenRefused},
    workloads::{Exchange, Proof, Shape},
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn key_of(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32]).unwrap()
}

fn url() -> GatewayUrl {
    "https://gw.example".parse().unwrap()
}

/// Somebody who governs, and nightly of olga's with the key of seed 1.
async fn with_key() -> (Gate, Actor, Actor, IdentityKey) {
    let gate = gate().await;
    gate.guard.call_it(url());
    let (root, olga) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await);
    gate.workload("nightly", &olga, &["engineers"]).await;
    let key = gate.guard.add_key(&name("nightly"), &key_of(1).public().to_jwk(), later(86_400), &root, now()).await.unwrap();
    (gate, root, olga, key)
}

fn assertion(key: &PrivateKey, who: &str, at: Timestamp) -> Secret {
    key.assertion(&name(who), url().as_str(), at).unwrap()
}

async fn ask(gate: &Gate, assertion: &Secret, at: Timestamp) -> Result<(Secret, TokenRow), NotExchanged> {
    let connections: [ConnectionName; 1] = ["prod-pg".parse().unwrap()];
    let proof = Proof::Assertion(assertion.reveal_str().unwrap());
    let wanted = plain(proof, &connections);
    gate.guard.exchange_token(&wanted, at).await
}

#[tokio::test]
async fn administrators_give_keys_to_machines_and_their_owners_take_them_away() {
    let (gate, root, olga, key) = with_key().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let nightly = name("nightly");
    let other = key_of(2).public().to_jwk();
    for by in [&olga, &alice] {
        let refused = gate.guard.add_key(&nightly, &other, later(60), by, now()).await;
        assert!(matches!(refused, Err(GovernError::NotPermitted(_))), "{}", by.name);
    }
    for (identity, text, end) in [
        ("alice", other.as_str(), later(60)),
        ("ghost", &other, later(60)),
        ("nightly", "{}", later(60)),
        ("nightly", &other, now()),
        ("nightly", &other, later(MAX_KEY_DAYS * 86_400 + 1)),
        ("nightly", &key_of(1).public().to_jwk(), later(60)),
    ] {
        let refused = gate.guard.add_key(&name(identity), text, end, &root, now()).await;
        assert!(matches!(refused, Err(GovernError::Invalid(_))), "{identity} {text}");
    }
    gate.guard.add_key(&nightly, &other, later(MAX_KEY_DAYS * 86_400), &root, now()).await.unwrap();
    assert!(gate.guard.add_key(&nightly, &key_of(3).public().to_jwk(), later(60), &root, now()).await.is_err(), "two are enough");
    assert!(matches!(gate.guard.revoke_key(&nightly, key.id, &alice, now()).await, Err(GovernError::NotFound(_))));
    assert!(matches!(gate.guard.keys_of(&nightly, &alice, now()).await, Err(GovernError::NotFound(_))));
    assert_eq!(gate.guard.keys_of(&nightly, &olga, now()).await.unwrap().len(), 2);
    gate.guard.revoke_key(&nightly, key.id, &olga, now()).await.unwrap();
    let events = gate.events().await;
    assert_eq!(events[0], "olga identity.key_revoked nightly");
    assert_eq!(events.iter().filter(|event| event.as_str() == "root identity.key_added nightly").count(), 2);
}

#[tokio::test]
async fn whoever_has_the_key_gets_a_token_that_ends_with_it() {
    let (gate, _, olga, key) = with_key().await;
    let (secret, row) = ask(&gate, &assertion(&key_of(1), "nightly", now()), now()).await.unwrap();
    assert_eq!((row.key, row.subject.as_str(), row.expires_at), (Some(key.id), "nightly", later(900)));
    let prod = "prod-pg".parse().unwrap();
    let sign_in = async || gate.guard.sign_in("nightly", &secret, SignInFor::Connection(&prod), PEER, now()).await;
    assert_eq!(sign_in().await.unwrap().chain.subject.name, name("nightly"));
    assert!(gate.events().await.iter().any(|event| event.starts_with("nightly token.minted")));
    assert_eq!(gate.guard.keys_of(&name("nightly"), &olga, now()).await.unwrap()[0].last_used, Some(now()));
    gate.guard.revoke_key(&name("nightly"), key.id, &olga, now()).await.unwrap();
    assert!(matches!(sign_in().await, Err(SignInRefused::Token(TokenRefused::Revoked))));
    assert!(matches!(ask(&gate, &assertion(&key_of(1), "nightly", now()), now()).await, Err(NotExchanged::Assertion(_))));
}

#[tokio::test]
async fn a_token_does_not_outlive_the_key_nor_does_an_assertion_come_after_it() {
    let (gate, _, _, key) = with_key().await;
    let close = later(86_400 - 60);
    let (_, row) = ask(&gate, &assertion(&key_of(1), "nightly", close), close).await.unwrap();
    assert_eq!(row.expires_at, key.expires_at);
    let after = later(86_400);
    assert!(matches!(ask(&gate, &assertion(&key_of(1), "nightly", after), after).await, Err(NotExchanged::Assertion(_))));
}

/// What is taken down on the way is worth nothing: not again, not in another name, not here if it was for elsewhere.
#[tokio::test]
async fn an_assertion_works_once_for_whom_it_names_and_here() {
    let (gate, root, olga, _) = with_key().await;
    gate.workload("weekly", &olga, &["engineers"]).await;
    gate.guard.add_key(&name("weekly"), &key_of(2).public().to_jwk(), later(60), &root, now()).await.unwrap();
    let once = assertion(&key_of(1), "nightly", now());
    ask(&gate, &once, now()).await.unwrap();
    for at in [now(), later(200)] {
        assert!(matches!(ask(&gate, &once, at).await, Err(NotExchanged::UsedBefore)));
    }
    assert!(matches!(ask(&gate, &once, later(400)).await, Err(NotExchanged::Assertion(_))), "it is over");
    let unbelieved = [
        assertion(&key_of(1), "weekly", now()),
        assertion(&key_of(2), "nightly", now()),
        assertion(&key_of(9), "nightly", now()),
        assertion(&key_of(9), "ghost", now()),
        assertion(&key_of(1), "olga", now()),
        key_of(1).assertion(&name("nightly"), "https://other.example", now()).unwrap(),
        Secret::from(String::new()),
        Secret::from("e30.e30.AA".to_owned()),
        Secret::from("x".repeat(100_000)),
    ];
    let mut said = Vec::new();
    for wrong in &unbelieved {
        let refused = ask(&gate, wrong, now()).await;
        let Err(NotExchanged::Assertion(error)) = refused else { panic!("{wrong:?}") };
        said.push(error.to_string());
    }
    // Who is in the register and who has keys is not told.
    assert!(said[1..5].iter().all(|text| *text == said[0]), "{said:?}");
}

#[tokio::test]
async fn an_assertion_needs_a_gateway_with_a_name_and_an_identity_that_works() {
    let (gate, root, olga, _) = with_key().await;
    let unnamed = crate::fixtures::gate().await;
    assert!(matches!(ask(&unnamed, &assertion(&key_of(1), "nightly", now()), now()).await, Err(NotExchanged::Unnamed)));
    gate.guard.revoke_identity(&name("nightly"), &olga, now()).await.unwrap();
    assert!(matches!(ask(&gate, &assertion(&key_of(1), "nightly", now()), now()).await, Err(NotExchanged::Inactive(_))));
    assert!(gate.guard.add_key(&name("nightly"), &key_of(3).public().to_jwk(), later(60), &root, now()).await.is_err());
}

async fn readable(gate: &Gate, at: Timestamp) -> (Secret, TokenRow) {
    let connections: [ConnectionName; 1] = ["prod-pg".parse().unwrap()];
    let assertion = assertion(&key_of(1), "nightly", at);
    let proof = Proof::Assertion(assertion.reveal_str().unwrap());
    let wanted = Exchange { shape: Shape::Jwt, expires_in_s: Some(600), ..plain(proof, &connections) };
    gate.guard.exchange_token(&wanted, at).await.unwrap()
}

fn plain<'a>(proof: Proof<'a>, connections: &'a [ConnectionName]) -> Exchange<'a> {
    Exchange {
        proof,
        delegation: None,
        next: None,
        run: None,
        connections,
        statement: None,
        workload: None,
        expires_in_s: None,
        shape: Shape::Opaque,
        possession: None,
        peer: PEER,
    }
}

/// A token that others can read opens what its row does, as long as that does, and nothing by its words alone.
#[tokio::test]
async fn a_token_that_others_can_read_is_its_row() {
    let (gate, root, olga, _) = with_key().await;
    let (secret, row) = readable(&gate, now()).await;
    let open = async |name: &str, secret: &Secret, connection: &str, at| {
        gate.guard.sign_in(name, secret, SignInFor::Connection(&connection.parse().unwrap()), PEER, at).await
    };
    assert_eq!(open("nightly", &secret, "prod-pg", now()).await.unwrap().token.unwrap().id, row.id);
    let refused = async |name: &str, secret: &Secret, connection: &str, at| open(name, secret, connection, at).await.unwrap_err();
    assert!(matches!(refused("olga", &secret, "prod-pg", now()).await, SignInRefused::Token(TokenRefused::OtherName)));
    assert!(matches!(refused("nightly", &secret, "staging-pg", now()).await, SignInRefused::Token(TokenRefused::OtherConnection(_))));
    assert!(matches!(refused("nightly", &secret, "prod-pg", later(600)).await, SignInRefused::Token(TokenRefused::Expired(_))));
    assert!(matches!(gate.guard.sign_in("nightly", &secret, SignInFor::Api, PEER, now()).await, Err(SignInRefused::Wrong(_))));
    // The same words, signed by the gateway's own key once more with a second more of life: that text was never given out.
    let claims = |id: model::TokenId, exp: i64| json!({ "iss": url().as_str(), "sub": "nightly", "aud": [url().connection(&"prod-pg".parse().unwrap())], "exp": exp, "jti": id });
    let own = gate.guard.signer().unwrap();
    let exp = row.expires_at.as_second();
    let foreign = identity::access::Signer::from_seed(&[9; 32]).unwrap();
    for forged in [own.sign(&claims(row.id, exp + 1)), own.sign(&claims(ids::token(), exp)), foreign.sign(&claims(row.id, exp))] {
        assert!(matches!(refused("nightly", &forged.unwrap(), "prod-pg", now()).await, SignInRefused::Wrong(_)));
    }
    gate.guard.revoke_token(row.id, &olga, now()).await.unwrap();
    assert!(matches!(refused("nightly", &secret, "prod-pg", now()).await, SignInRefused::Token(TokenRefused::Revoked)));
    // It is shown like any other.
    let (secret, _) = readable(&gate, now()).await;
    assert!(gate.guard.introspect(&secret, &olga, now()).await.unwrap().is_some());
    assert!(gate.guard.introspect(&secret, &root, now()).await.unwrap().is_none(), "who governs is no auditor");
    gate.guard.revoke_shown(&secret, PEER, now()).await.unwrap();
    assert!(gate.guard.introspect(&secret, &olga, now()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_for_one_statement_is_bounded_and_says_so() {
    let (gate, ..) = with_key().await;
    let connections: [ConnectionName; 1] = ["prod-pg".parse().unwrap()];
    let long = "x".repeat(crate::tokens::MAX_TOKEN_STATEMENT_BYTES + 1);
    for statement in ["", "  ", &long] {
        let assertion = assertion(&key_of(1), "nightly", now());
        let wanted = Exchange { statement: Some(statement), ..plain(Proof::Assertion(assertion.reveal_str().unwrap()), &connections) };
        assert!(matches!(gate.guard.exchange_token(&wanted, now()).await, Err(NotExchanged::Statement)));
    }
    // A password has no room for it.
    let long = format!("select '{}'", "x".repeat(20_000));
    let assertion = assertion(&key_of(1), "nightly", now());
    let proof = Proof::Assertion(assertion.reveal_str().unwrap());
    let wanted = Exchange { statement: Some(&long), shape: Shape::Jwt, ..plain(proof, &connections) };
    let refused = gate.guard.exchange_token(&wanted, now()).await.unwrap_err().to_string();
    assert!(refused.contains("no JWT"), "{refused}");
}
