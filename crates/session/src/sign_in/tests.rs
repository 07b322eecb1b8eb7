//! Who is let in, and what the others learn.

use std::time::Instant;

use identity::token::mint_fresh;
use model::{Actor, TokenId};

use super::*;
use crate::{
    fixtures::{Gate, gate, later, name, now},
    ids,
};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const PASSWORD: &str = "correct horse battery";

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

async fn with_password(gate: &Gate, text: &str) -> Actor {
    let actor = gate.user(text, &["engineers"]).await;
    let hash = password::hash(&secret(PASSWORD)).unwrap();
    gate.guard.store().state().set_password_hash(&actor.name, Some(&hash)).await.unwrap();
    actor
}

async fn token_for(gate: &Gate, subject: &Actor, change: impl FnOnce(&mut TokenRow)) -> (Secret, TokenRow) {
    let mut row = TokenRow {
        id: ids::token(),
        subject: subject.name.clone(),
        purpose: TokenUse::Connect,
        connections: vec!["prod-pg".parse().unwrap()],
        statement: None,
        minted_by: subject.name.clone(),
        created_at: now(),
        not_before: now(),
        expires_at: later(900),
        last_used: None,
        spent_at: None,
        revoked_at: None,
        revoked_by: None,
        sign_in: None,
        run: None,
        trust: None,
        key: None,
        bound_to: None,
        actors: Vec::new(),
        earlier_runs: std::collections::BTreeMap::new(),
        may_act: None,
        parent: None,
        request: None,
    };
    change(&mut row);
    let (secret, digest) = mint_fresh(row.purpose).unwrap();
    gate.guard.store().state().add_token(&row, &digest).await.unwrap();
    (secret, row)
}

async fn connect(gate: &Gate, name: &str, secret: &Secret, connection: &str, at: Timestamp) -> Result<SignedIn, SignInRefused> {
    let connection = connection.parse().unwrap();
    gate.guard.sign_in(name, secret, SignInFor::Connection(&connection), PEER, at).await
}

/// The fail-closed row "unknown identity, wrong secret": same answer, same time.
#[tokio::test]
async fn an_unknown_name_and_a_wrong_secret_are_not_told_apart() {
    let gate = gate().await;
    with_password(&gate, "alice").await;
    gate.user("carol", &[]).await;
    let (unknown_token, _) = mint_fresh(TokenUse::Connect).unwrap();
    let mut answers = Vec::new();
    let mut times = Vec::new();
    for (name, secret) in [
        ("alice", secret("wrong")),
        ("nobody-here", secret("wrong")),
        ("carol", secret("wrong")),
        ("not a name\u{0}", secret("wrong")),
        ("alice", secret(&"x".repeat(5_000))),
    ] {
        let began = Instant::now();
        answers.push(connect(&gate, name, &secret, "prod-pg", now()).await.unwrap_err().to_string());
        times.push(began.elapsed());
    }
    answers.push(connect(&gate, "alice", &unknown_token, "prod-pg", now()).await.unwrap_err().to_string());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // A missing computation would be a thousand times faster; this only has to see that.
    let (fastest, slowest) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(slowest.as_secs_f64() < fastest.as_secs_f64() * 20.0, "{times:?}");
}

#[tokio::test]
async fn a_password_signs_in_its_own_name_only() {
    let gate = gate().await;
    let alice = with_password(&gate, "alice").await;
    gate.user("bob", &["dba"]).await;
    let signed_in = connect(&gate, "alice", &secret(PASSWORD), "prod-pg", now()).await.unwrap();
    assert_eq!(signed_in.chain, ActorChain::alone(alice));
    assert!(signed_in.token.is_none());
    assert!(connect(&gate, "bob", &secret(PASSWORD), "prod-pg", now()).await.is_err());
    assert_eq!(gate.guard.store().state().identity(&name("alice")).await.unwrap().unwrap().last_used, Some(now()));
}

#[tokio::test]
async fn too_many_failures_refuse_even_the_right_password_but_never_a_token() {
    let gate = gate().await;
    let alice = with_password(&gate, "alice").await;
    let (token, _) = token_for(&gate, &alice, |_| ()).await;
    let mut refused = None;
    for _ in 0..30 {
        refused = connect(&gate, "alice", &secret("wrong"), "prod-pg", now()).await.err();
        if matches!(refused, Some(SignInRefused::TooManyAttempts)) {
            break;
        }
    }
    assert!(matches!(refused, Some(SignInRefused::TooManyAttempts)));
    let right = connect(&gate, "alice", &secret(PASSWORD), "prod-pg", now()).await.unwrap_err();
    assert_eq!(right.to_string(), SignInRefused::Wrong(WrongSecret::Password).to_string());
    assert!(connect(&gate, "alice", &token, "prod-pg", now()).await.is_ok());
    assert!(connect(&gate, "alice", &secret(PASSWORD), "prod-pg", later(3_600)).await.is_ok());
}

#[tokio::test]
async fn a_token_opens_what_it_is_for_in_its_window_under_its_name() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let (secret, row) = token_for(&gate, &alice, |row| row.statement = Some("SELECT 1".to_owned())).await;
    let signed_in = connect(&gate, "alice", &secret, "prod-pg", now()).await.unwrap();
    assert_eq!(signed_in.token.as_ref().map(|token| (token.id, token.statement.as_deref())), Some((row.id, Some("SELECT 1"))));
    assert_eq!(signed_in.ends_at, Some(later(900)));
    let refusal = |refused: Result<SignedIn, SignInRefused>| match refused.unwrap_err() {
        SignInRefused::Token(refused) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(connect(&gate, "bob", &secret, "prod-pg", now()).await), TokenRefused::OtherName);
    let other = TokenRefused::OtherConnection("staging-pg".parse().unwrap());
    assert_eq!(refusal(connect(&gate, "alice", &secret, "staging-pg", now()).await), other);
    assert_eq!(refusal(connect(&gate, "alice", &secret, "prod-pg", later(900)).await), TokenRefused::Expired(later(900)));
    let api = gate.guard.sign_in("alice", &secret, SignInFor::Api, PEER, now()).await;
    assert_eq!(refusal(api), TokenRefused::OtherUse(TokenUse::Connect, TokenUse::Api));
    let (early, _) = token_for(&gate, &alice, |row| row.not_before = later(60)).await;
    assert_eq!(refusal(connect(&gate, "alice", &early, "prod-pg", now()).await), TokenRefused::NotYet(later(60)));
    gate.guard.store().state().revoke_token(row.id, &alice.name, now()).await.unwrap();
    assert_eq!(refusal(connect(&gate, "alice", &secret, "prod-pg", now()).await), TokenRefused::Revoked);
}

#[tokio::test]
async fn a_cut_token_is_called_that_and_does_not_count_as_a_guess() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let (token, _) = token_for(&gate, &alice, |_| ()).await;
    let cut = secret(&token.reveal_str().unwrap()[..40]);
    for _ in 0..200 {
        assert!(matches!(connect(&gate, "alice", &cut, "prod-pg", now()).await, Err(SignInRefused::MalformedToken(MalformedToken::Length(40)))));
    }
    assert!(connect(&gate, "alice", &token, "prod-pg", now()).await.is_ok());
}

#[tokio::test]
async fn whoever_minted_a_workloads_token_is_in_its_chain_and_its_end_is_the_earlier_one() {
    let gate = gate().await;
    let olga = gate.user("olga", &[]).await;
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let (secret, _) = token_for(&gate, &nightly, |row| {
        row.minted_by = name("olga");
        row.expires_at = later(86_400 * 60);
    })
    .await;
    let signed_in = connect(&gate, "nightly", &secret, "prod-pg", now()).await.unwrap();
    assert_eq!(signed_in.chain.minted_by, Some(olga.name.clone()));
    assert_eq!(signed_in.chain.subject.owner, Some(olga.name));
    assert_eq!(signed_in.ends_at, Some(later(86_400 * 30)));
    assert!(matches!(connect(&gate, "nightly", &secret, "prod-pg", later(86_400 * 30)).await, Err(SignInRefused::Inactive(_))));
}

/// The fail-closed row "token, grant or identity revoked": what is revoked between the sign-in and the session's registration opens nothing.
#[tokio::test]
async fn a_revocation_between_sign_in_and_registration_is_seen() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let connection: ConnectionName = "prod-pg".parse().unwrap();
    let (secret, row) = token_for(&gate, &alice, |_| ()).await;
    let signed_in = connect(&gate, "alice", &secret, "prod-pg", now()).await.unwrap();
    let enter = || gate.guard.enter(ids::session(), &signed_in, &connection, "shop", now());
    let handle = enter().await.unwrap();
    assert_eq!(gate.guard.revoke_token(row.id, &alice, now()).await.unwrap(), 1);
    assert!(handle.check().is_some());
    drop(handle);
    assert!(matches!(enter().await, Err(SignInRefused::Token(TokenRefused::Revoked))));
    assert_eq!(gate.guard.live().count(), 0);

    let (secret, _) = token_for(&gate, &alice, |row| row.id = TokenId::from_random(77)).await;
    let signed_in = connect(&gate, "alice", &secret, "prod-pg", now()).await.unwrap();
    gate.guard.store().state().set_groups(&alice.name, &["dba".parse().unwrap()]).await.unwrap();
    let handle = gate.guard.enter(ids::session(), &signed_in, &connection, "shop", now()).await.unwrap();
    assert_eq!(handle.chain().subject.groups[0].as_str(), "dba");
    gate.guard.store().state().revoke_identity(&alice.name, &name("init"), now()).await.unwrap();
    assert!(gate.guard.still_stands(&signed_in, SignInFor::Connection(&connection), now()).await.is_err());
}

/// Whichever comes first, a token revoked while its session registers leaves no session alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_session_slips_between_a_revocation_and_its_registration() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let connection: ConnectionName = "prod-pg".parse().unwrap();
    let mut cut = 0;
    for _ in 0..60 {
        let (secret, row) = token_for(&gate, &alice, |_| ()).await;
        let signed_in = connect(&gate, "alice", &secret, "prod-pg", now()).await.unwrap();
        let (guard, by) = (gate.guard.clone(), alice.clone());
        let revoking = tokio::spawn(async move { guard.revoke_token(row.id, &by, now()).await.unwrap() });
        let entered = gate.guard.enter(ids::session(), &signed_in, &connection, "shop", now()).await;
        cut += revoking.await.unwrap();
        assert!(entered.is_err() || entered.is_ok_and(|handle| handle.check().is_some()));
    }
    assert_eq!(gate.guard.live().count(), 0);
    assert!(cut <= 60);
}
