//! Codes beside passwords: from when they are asked for, and what nobody learns.

use std::{net::IpAddr, path::Path};

use identity::{oidc, password};

use super::*;
use crate::{
    fixtures::{Gate, gate, later, name, now},
    providers::Providers,
    register,
    sign_in::{Shown, SignInFor, SignInRefused, SignedIn, WrongSecret},
};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const PASSWORD: &str = "correct horse battery";

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

async fn with_password(gate: &Gate, text: &str, groups: &[&str]) -> Actor {
    let actor = gate.user(text, groups).await;
    let hash = password::hash(&secret(PASSWORD)).unwrap();
    gate.guard.store().state().set_password_hash(&actor.name, Some(&hash)).await.unwrap();
    actor
}

/// What alice's app shows at a time.
async fn code(gate: &Gate, at: Timestamp) -> Secret {
    code_of(gate, "alice", at).await
}

async fn code_of(gate: &Gate, text: &str, at: Timestamp) -> Secret {
    let identity = gate.guard.store().state().identity(&name(text)).await.unwrap().unwrap();
    let kept = gate.guard.store().secrets().second_factor(identity.id).await.unwrap().unwrap();
    Secret::new(totp::digits(&kept, at.as_second().div_euclid(totp::STEP_S)).to_vec())
}

async fn sign_in(gate: &Gate, password: &str, code: Option<&Secret>, at: Timestamp) -> Result<SignedIn, SignInRefused> {
    gate.guard.sign_in_with_code("alice", Shown { secret: &secret(password), code }, SignInFor::Api, PEER, at).await
}

/// Alice with a second factor, of whose codes the one of now was used.
async fn with_second_factor(gate: &Gate) -> Actor {
    let alice = with_password(gate, "alice", &["engineers"]).await;
    gate.guard.offer_second_factor(&alice.name, &secret(PASSWORD), &alice, now()).await.unwrap();
    gate.guard.accept_second_factor(&alice.name, &code(gate, now()).await, &alice, now()).await.unwrap();
    alice
}

#[tokio::test]
async fn a_code_is_asked_for_from_when_somebody_has_shown_one() {
    let gate = gate().await;
    let (alice, root) = (with_password(&gate, "alice", &["engineers"]).await, with_password(&gate, "root", &["admins"]).await);
    let guard = &gate.guard;
    let early = guard.accept_second_factor(&alice.name, &secret("123456"), &alice, now()).await.unwrap_err();
    assert!(matches!(&early, GovernError::Invalid(why) if why.contains("nothing was offered")), "{early}");
    assert!(guard.offer_second_factor(&alice.name, &secret("not her password"), &alice, now()).await.is_err());
    assert!(matches!(guard.offer_second_factor(&alice.name, &secret(PASSWORD), &root, now()).await, Err(GovernError::NotPermitted(_))));
    let offer = guard.offer_second_factor(&alice.name, &secret(PASSWORD), &alice, now()).await.unwrap();
    let (typed, uri) = (offer.typed.reveal_str().unwrap(), offer.uri.reveal_str().unwrap());
    assert!(typed.len() == 32 && uri.starts_with("otpauth://totp/Countersign:alice?") && uri.contains(typed));
    assert!(guard.store().secrets().list().await.unwrap().is_empty(), "it is not among the secrets of targets");
    for wrong in [secret("000000x"), code(&gate, later(3_600)).await] {
        assert!(guard.accept_second_factor(&alice.name, &wrong, &alice, now()).await.is_err());
    }
    assert!(sign_in(&gate, PASSWORD, None, now()).await.is_ok(), "it was only offered");
    guard.accept_second_factor(&alice.name, &code(&gate, now()).await, &alice, now()).await.unwrap();
    assert!(guard.store().state().identity(&alice.name).await.unwrap().unwrap().second_factor_at == Some(now()));
    assert!(matches!(sign_in(&gate, PASSWORD, None, now()).await, Err(SignInRefused::Wrong(WrongSecret::Code))));
    let again = guard.offer_second_factor(&alice.name, &secret(PASSWORD), &alice, now()).await.unwrap_err();
    assert!(again.to_string().contains("totp alice --remove"), "{again}");
    // Root's own is not touched by it; nor has a workload one, which has no password.
    assert!(guard.sign_in("root", &secret(PASSWORD), SignInFor::Api, PEER, now()).await.is_ok());
    let nightly = gate.workload("nightly", &alice, &[]).await;
    assert!(matches!(guard.offer_second_factor(&nightly.name, &secret(PASSWORD), &nightly, now()).await, Err(GovernError::Invalid(_))));

    assert!(matches!(guard.remove_second_factor(&alice.name, &alice, now()).await, Err(GovernError::NotPermitted(_))));
    guard.remove_second_factor(&alice.name, &root, now()).await.unwrap();
    assert!(matches!(guard.remove_second_factor(&alice.name, &root, now()).await, Err(GovernError::NotFound(_))));
    assert!(sign_in(&gate, PASSWORD, None, now()).await.is_ok());
    assert_eq!(gate.events().await, ["root identity.second_factor_removed alice", "alice identity.second_factor_added alice"]);
    assert!(guard.store().secrets().second_factor(alice.id).await.unwrap().is_none());
}

#[tokio::test]
async fn each_code_works_once_and_with_its_password_alone() {
    let gate = gate().await;
    with_second_factor(&gate).await;
    let (first, next) = (code(&gate, now()).await, code(&gate, later(30)).await);
    assert!(sign_in(&gate, PASSWORD, Some(&first), now()).await.is_err(), "it was used when it was accepted");
    // A wrong password uses up no code.
    assert!(matches!(sign_in(&gate, "not her password", Some(&next), later(30)).await, Err(SignInRefused::Wrong(WrongSecret::Password))));
    let signed_in = sign_in(&gate, PASSWORD, Some(&next), later(30)).await.unwrap();
    assert_eq!(signed_in.chain.subject, register::actor(&gate.guard.store().state().identity(&name("alice")).await.unwrap().unwrap()));
    assert!(sign_in(&gate, PASSWORD, Some(&next), later(31)).await.is_err());
    assert!(sign_in(&gate, PASSWORD, Some(&first), later(31)).await.is_err(), "nor an earlier one");
    assert!(sign_in(&gate, PASSWORD, Some(&secret("abcdef")), later(60)).await.is_err());
    assert!(sign_in(&gate, PASSWORD, Some(&code(&gate, later(60)).await), later(60)).await.is_ok());
}

/// Of two who show the same code at once one is let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_is_shown_twice_at_once_lets_one_in() {
    let gate = gate().await;
    with_second_factor(&gate).await;
    let code = code(&gate, later(30)).await;
    let both = tokio::join!(sign_in(&gate, PASSWORD, Some(&code), later(30)), sign_in(&gate, PASSWORD, Some(&code), later(30)));
    assert_eq!(usize::from(both.0.is_ok()) + usize::from(both.1.is_ok()), 1);
}

/// SSH-04: neither an empty code nor somebody else's is one. Whoever guesses is not told that the password is right, however they come; and does not guess for long.
#[tokio::test]
async fn a_missing_or_wrong_code_is_answered_like_a_wrong_password() {
    let gate = gate().await;
    with_second_factor(&gate).await;
    let carol = with_password(&gate, "carol", &["engineers"]).await;
    gate.guard.offer_second_factor(&carol.name, &secret(PASSWORD), &carol, now()).await.unwrap();
    gate.guard.accept_second_factor(&carol.name, &code_of(&gate, "carol", now()).await, &carol, now()).await.unwrap();
    let carols = code_of(&gate, "carol", later(30)).await;
    let wrong = sign_in(&gate, "not her password", None, now()).await.unwrap_err().to_string();
    for code in [None, Some(secret("000000")), Some(secret("")), Some(secret("      ")), Some(carols)] {
        assert_eq!(sign_in(&gate, PASSWORD, code.as_ref(), now()).await.unwrap_err().to_string(), wrong);
    }
    // At a database's prompt there is no place for a code.
    let connection = "prod-pg".parse().unwrap();
    let refused = gate.guard.sign_in("alice", &secret(PASSWORD), SignInFor::Connection(&connection), PEER, now()).await.unwrap_err();
    assert_eq!((refused.to_string(), matches!(refused, SignInRefused::Wrong(WrongSecret::Code))), (wrong.clone(), true));
    let mut last = None;
    for number in 0..30 {
        last = sign_in(&gate, PASSWORD, Some(&secret(&format!("{number:06}"))), now()).await.err();
        if matches!(last, Some(SignInRefused::TooManyAttempts)) {
            break;
        }
    }
    assert!(matches!(&last, Some(refused @ SignInRefused::TooManyAttempts) if refused.to_string() == wrong), "{last:?}");
    let right = code(&gate, later(30)).await;
    assert!(sign_in(&gate, PASSWORD, Some(&right), later(30)).await.is_err());
    let (hour, much_later) = (later(3_600), code(&gate, later(3_600)).await);
    assert!(sign_in(&gate, PASSWORD, Some(&much_later), hour).await.is_ok());
}

/// Where there is a provider, each password that lets somebody in is told of; one that is not right is not.
#[tokio::test]
async fn a_password_beside_a_provider_breaks_glass_each_time() {
    let gate = gate().await;
    with_password(&gate, "alice", &["engineers"]).await;
    assert!(sign_in(&gate, PASSWORD, None, now()).await.is_ok());
    assert_eq!(gate.events().await, Vec::<String>::new(), "there is no other way in");
    let settings: oidc::Settings = serde_json::from_value(json!({ "issuer": "https://idp.example", "client_id": "us" })).unwrap();
    gate.guard.sign_in_at(Providers::new([oidc::Provider::new("idp".parse().unwrap(), settings, Path::new(".")).unwrap()]));
    assert!(sign_in(&gate, "not her password", None, now()).await.is_err());
    assert_eq!(gate.events().await, Vec::<String>::new());
    for _ in 0..2 {
        assert!(sign_in(&gate, PASSWORD, None, now()).await.is_ok());
    }
    assert_eq!(gate.events().await, ["alice sign_in.break_glass alice"; 2]);
    let event = gate.guard.store().state().events(Some("alice"), None, 1).await.unwrap().remove(0).event;
    assert_eq!(event.detail, json!({ "peer": "192.0.2.7", "for": "api", "second_factor": false }));
    // What cannot be written down lets nobody in.
    gate.guard.store().close().await;
    assert!(matches!(sign_in(&gate, PASSWORD, None, now()).await, Err(SignInRefused::StateLost)));
}
