//! A provider that is revoked: who is out, who stays, and that nobody slips in between.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use identity::{oidc, workload::Issuer};
use model::{Secret, SignInId, token::TokenUse};
use serde_json::json;
use store::state::{Account, NewSignIn, SignInError};

use super::*;
use crate::{
    Issuers,
    fixtures::{Gate, gate, later, name, now},
    ids,
    live::LiveHandle,
    register,
    sign_in::SignInFor,
    tokens::TokenRequest,
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn provider(text: &str) -> ProviderName {
    text.parse().unwrap()
}

/// A gateway with providers `idp` and `other` of people and issuers `ci` and `other-ci` of jobs' tokens.
async fn stand() -> Gate {
    let gate = gate().await;
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../identity/tests"));
    let of_people = |text: &str| {
        let settings = json!({ "issuer": format!("https://{text}.example"), "client_id": "countersign", "ca": "root.pem" });
        oidc::Provider::new(provider(text), serde_json::from_value(settings).unwrap(), folder).unwrap()
    };
    let of_jobs = |text: &str| {
        let settings = json!({ "issuer": format!("https://{text}.example"), "ca": "root.pem" });
        Issuer::new(provider(text), serde_json::from_value(settings).unwrap(), folder).unwrap()
    };
    gate.guard.sign_in_at(Providers::new([of_people("idp"), of_people("other")]));
    gate.guard.trust_issuers(Issuers::new([of_jobs("ci"), of_jobs("other-ci")]));
    gate
}

fn sign_in(at: &str, who: &str) -> NewSignIn {
    NewSignIn {
        id: ids::sign_in(),
        provider: provider(at),
        account: Account { issuer: format!("https://{at}.example"), subject: who.to_owned() },
        email: None,
        groups: vec!["engineers".parse().unwrap()],
        session: None,
        checkable: false,
        newcomer: Some((ids::identity(), name(who))),
    }
}

/// Somebody who signs in at a provider and connects, as far as they come.
async fn comes(gate: &Gate, at: &str, who: &str) -> Option<LiveHandle> {
    let new = sign_in(at, who);
    let person = gate.guard.store().state().begin_sign_in(&new, now()).await.ok()?.identity;
    let secret = minted(gate, &register::actor(&person), Some(new.id)).await?;
    enters(gate, who, &secret).await
}

async fn minted(gate: &Gate, subject: &Actor, sign_in: Option<SignInId>) -> Option<Secret> {
    let wanted = TokenRequest {
        subject: subject.name.clone(),
        purpose: TokenUse::Connect,
        connections: vec!["prod-pg".parse().unwrap()],
        statement: None,
        not_before: None,
        expires_at: later(600),
        sign_in,
        agent: None,
        request: None,
        bound_to: None,
    };
    gate.guard.mint_token(wanted, subject, now()).await.ok().map(|(secret, _)| secret)
}

async fn enters(gate: &Gate, who: &str, secret: &Secret) -> Option<LiveHandle> {
    let connection = "prod-pg".parse().unwrap();
    let signed_in = gate.guard.sign_in(who, secret, SignInFor::Connection(&connection), PEER, now()).await.ok()?;
    gate.guard.enter(ids::session(), &signed_in, &connection, "shop", now()).await.ok()
}

/// A job that an issuer vouches for, by a rule of its own, as far as it comes.
async fn job(gate: &Gate, root: &Actor, issuer: &str) -> Option<LiveHandle> {
    let workload = name(&format!("nightly-{issuer}"));
    if gate.guard.store().state().identity(&workload).await.unwrap().is_none() {
        gate.workload(workload.as_str(), root, &["engineers"]).await;
    }
    let claims = [("sub".to_owned(), "job".to_owned())].into();
    let rule = gate.guard.add_trust(&workload, &provider(issuer), claims, root, now()).await.unwrap();
    let (secret, digest) = identity::token::mint_fresh(TokenUse::Connect).unwrap();
    let template = minted(gate, root, None).await.unwrap();
    let row = gate.guard.introspect(&template, root, now()).await.unwrap().unwrap();
    let row = model::token::TokenRow { id: ids::token(), subject: workload.clone(), minted_by: workload.clone(), trust: Some(rule.id), ..row };
    gate.guard.store().state().add_token(&row, &digest).await.ok()?;
    enters(gate, workload.as_str(), &secret).await
}

#[tokio::test]
async fn whoever_came_from_a_revoked_provider_is_out_and_nobody_comes_until_it_is_allowed() {
    let gate = stand().await;
    let root = gate.user("root", &["admins", "engineers"]).await;
    let (alice, bob) = (comes(&gate, "idp", "alice").await.unwrap(), comes(&gate, "other", "bob").await.unwrap());
    let (nightly, weekly) = (job(&gate, &root, "ci").await.unwrap(), job(&gate, &root, "other-ci").await.unwrap());
    let ended = gate.guard.revoke_provider(&provider("idp"), Some("it was broken into"), &root, now()).await.unwrap();
    assert_eq!(ended, EndedThere { sign_ins: 1, tokens: 1, sessions: 1 });
    let why = "root revoked the provider".to_owned();
    assert_eq!(alice.check(), Some(&EndReason::SignedOut { provider: provider("idp"), why }));
    assert!(bob.check().is_none() && nightly.check().is_none() && weekly.check().is_none());
    assert!(comes(&gate, "idp", "alice").await.is_none() && comes(&gate, "idp", "carla").await.is_none());
    assert!(comes(&gate, "other", "dora").await.is_some());
    // Nobody is sent there, and it is not asked.
    let begun = gate.guard.begin_sign_in(&provider("idp"), "http://127.0.0.1:1234/callback", PEER, now()).await;
    assert!(matches!(begun, Err(NotEntered::Revoked(_))));
    assert!(matches!(gate.guard.begin_device_sign_in(&provider("idp"), PEER, now()).await, Err(NotEntered::Revoked(_))));

    let ended = gate.guard.revoke_provider(&provider("ci"), None, &root, now()).await.unwrap();
    assert_eq!(ended, EndedThere { sign_ins: 0, tokens: 1, sessions: 1 });
    assert!(nightly.check().is_some() && weekly.check().is_none());
    assert!(job(&gate, &root, "ci").await.is_none(), "also by another rule");
    let standings = gate.guard.standings(&root, now()).await.unwrap();
    let told: Vec<_> = standings.iter().map(|one| (one.name.as_str(), one.people, one.jobs, one.revoked.is_some())).collect();
    assert_eq!(told, [("ci", false, true, true), ("idp", true, false, true), ("other", true, false, false), ("other-ci", false, true, false)]);
    assert_eq!(standings[1].revoked.as_ref().unwrap().why.as_deref(), Some("it was broken into"));
    assert!(gate.events().await.contains(&"root provider.revoked idp".to_owned()));

    for text in ["idp", "ci"] {
        gate.guard.allow_provider(&provider(text), &root, now()).await.unwrap();
        assert!(matches!(gate.guard.allow_provider(&provider(text), &root, now()).await, Err(GovernError::NotFound(_))));
    }
    assert!(comes(&gate, "idp", "alice").await.is_some() && job(&gate, &root, "ci").await.is_some());
    assert!(alice.check().is_some() && nightly.check().is_some(), "what ended stays so");
}

#[tokio::test]
async fn a_provider_is_revoked_by_who_may_and_allowed_by_administrators() {
    let gate = stand().await;
    let (root, olga, ada) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await, gate.user("ada", &["auditors"]).await);
    for by in [&olga, &ada] {
        assert!(matches!(gate.guard.revoke_provider(&provider("idp"), None, by, now()).await, Err(GovernError::NotPermitted(_))));
        assert!(matches!(gate.guard.allow_provider(&provider("idp"), by, now()).await, Err(GovernError::NotPermitted(_))));
    }
    assert!(gate.guard.standings(&ada, now()).await.is_ok() && gate.guard.standings(&olga, now()).await.is_err());
    assert!(matches!(gate.guard.revoke_provider(&provider("idq"), None, &root, now()).await, Err(GovernError::NotFound(why)) if why.contains("idp")));
    let long = "x".repeat(MAX_WHY_BYTES + 1);
    assert!(matches!(gate.guard.revoke_provider(&provider("idp"), Some(&long), &root, now()).await, Err(GovernError::Invalid(_))));
}

/// The fail-closed row "token, grant or identity revoked": a provider is no exception.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_slips_past_the_revocation_of_its_provider() {
    let gate = stand().await;
    let root = gate.user("root", &["admins", "engineers"]).await;
    for round in 0..40 {
        let (text, people) = if round % 2 == 0 { ("idp", true) } else { ("ci", false) };
        let who = format!("person-{round}");
        let enter = async {
            for _ in 0..round / 4 {
                tokio::task::yield_now().await;
            }
            if people { comes(&gate, text, &who).await } else { job(&gate, &root, text).await }
        };
        let name = provider(text);
        let (entered, revoked) = tokio::join!(enter, gate.guard.revoke_provider(&name, None, &root, now()));
        revoked.unwrap();
        assert!(entered.is_none_or(|session| session.check().is_some()), "round {round}");
        gate.guard.allow_provider(&name, &root, now()).await.unwrap();
    }
}

#[tokio::test]
async fn a_newcomer_from_a_revoked_provider_is_not_entered() {
    let gate = stand().await;
    let root = gate.user("root", &["admins"]).await;
    gate.guard.revoke_provider(&provider("idp"), None, &root, now()).await.unwrap();
    let refused = gate.guard.store().state().begin_sign_in(&sign_in("idp", "mallory"), now()).await;
    assert!(matches!(refused, Err(SignInError::Revoked(_))));
    assert!(gate.guard.store().state().identity(&name("mallory")).await.unwrap().is_none());
}
