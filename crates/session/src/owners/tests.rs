//! Owners who leave, and what becomes of what they own.

use model::{Actor, ActorChain, Requirement};
use policy::decide;
use store::state::{Account, NewSignIn, Which};

use super::*;
use crate::{
    fixtures::{Gate, gate, gate_with, later, name, needs, now},
    ids,
    limits::{IdentityLimits, Limits},
    live::{LiveHandle, Registration},
    register,
    sign_in::{SignInFor, SignInRefused},
    tokens::TokenRequest,
};

const DAY: u64 = DAY_S;
const PEER: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn live(gate: &Gate, actor: &Actor) -> LiveHandle {
    let registration = Registration {
        session: ids::session(),
        chain: ActorChain::alone(actor.clone()),
        token: None,
        request: None,
        connection: "prod-pg".parse().unwrap(),
        database: "shop".to_owned(),
        ends_at: None,
    };
    gate.guard.live().register(registration).unwrap()
}

async fn known(gate: &Gate, text: &str) -> Identity {
    gate.guard.store().state().identity(&name(text)).await.unwrap().unwrap()
}

/// A token of the workload's, minted by its owner.
async fn token(gate: &Gate, subject: &Actor, by: &Actor) -> model::Secret {
    let wanted = TokenRequest {
        subject: subject.name.clone(),
        purpose: model::token::TokenUse::Connect,
        connections: vec!["prod-pg".parse().unwrap()],
        statement: None,
        not_before: None,
        expires_at: later(29 * DAY),
        sign_in: None,
        agent: None,
        request: None,
        bound_to: None,
    };
    gate.guard.mint_token(wanted, by, now()).await.unwrap().0
}

/// Signs somebody new in at a provider.
async fn signs_in(gate: &Gate, text: &str, at: Timestamp) -> model::SignInId {
    let id = ids::sign_in();
    let new = NewSignIn {
        id,
        provider: "idp".parse().unwrap(),
        account: Account { issuer: "https://idp.example".to_owned(), subject: text.to_owned() },
        email: None,
        groups: Vec::new(),
        session: None,
        checkable: true,
        newcomer: Some((ids::identity(), name(text))),
    };
    gate.guard.store().state().begin_sign_in(&new, at).await.unwrap();
    id
}

async fn ends(gate: &Gate, sign_in: model::SignInId, at: Timestamp) {
    gate.guard.store().state().end_sign_ins(&Which::One(sign_in), "it was not renewed", &name("idp"), at).await.unwrap();
}

#[tokio::test]
async fn what_a_revoked_owner_leaves_is_orphaned_at_once_and_stops_at_the_deadline() {
    let gate = gate().await;
    let (root, olga) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await);
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let other = gate.workload("weekly", &root, &["engineers"]).await;
    let (secret, session) = (token(&gate, &nightly, &olga).await, live(&gate, &nightly));
    let before = known(&gate, "nightly").await.expires_at;
    gate.guard.revoke_identity(&olga.name, &root, now()).await.unwrap();
    let orphan = known(&gate, "nightly").await;
    assert_eq!((orphan.orphaned_at, orphan.expires_at), (Some(now()), Some(later(14 * DAY))));
    assert_eq!(orphan.owner, Some(olga.name.clone()), "it is told whose it was");
    assert_eq!(known(&gate, "weekly").await.orphaned_at, None);
    assert_eq!(gate.events().await[..2], ["countersign identity.orphaned nightly", "root identity.revoked olga"]);

    // Until then it works, and it is told of once.
    let connection = "prod-pg".parse().unwrap();
    let sign_in = async |at| gate.guard.sign_in("nightly", &secret, SignInFor::Connection(&connection), PEER, at).await;
    gate.guard.look_after_owners(later(14 * DAY - 1)).await;
    let signed_in = sign_in(later(14 * DAY - 1)).await.unwrap();
    assert_eq!(signed_in.ends_at, Some(later(14 * DAY)));
    assert_eq!((session.check(), gate.events().await.len()), (None, 3));
    let longer = gate.guard.set_expiry(&nightly.name, later(60 * DAY), &root, now()).await.unwrap_err();
    assert!(matches!(&longer, GovernError::Invalid(why) if why.contains("identity own nightly")), "{longer}");

    assert!(matches!(sign_in(later(14 * DAY)).await, Err(SignInRefused::Inactive(_))), "also before anybody has looked");
    for _ in 0..2 {
        gate.guard.look_after_owners(later(14 * DAY)).await;
    }
    assert_eq!(session.check(), Some(&EndReason::WindowClosed(later(14 * DAY))));
    assert!(gate.guard.store().state().tokens(Some(&nightly.name)).await.unwrap().iter().all(|token| token.revoked_at.is_some()));
    assert_eq!(gate.events().await.iter().filter(|event| event.contains("identity.stopped")).count(), 1);
    assert_eq!(live(&gate, &other).check(), None);

    // Taken on even then, it works for as long as it would have; its tokens stay revoked.
    gate.guard.set_owner(&nightly.name, &root.name, &root, later(15 * DAY)).await.unwrap();
    let taken_on = known(&gate, "nightly").await;
    assert_eq!((taken_on.orphaned_at, taken_on.expires_at, taken_on.owner), (None, before, Some(root.name.clone())));
    assert!(sign_in(later(15 * DAY)).await.is_err());
    gate.guard.look_after_owners(later(15 * DAY)).await;
    assert_eq!(known(&gate, "nightly").await.orphaned_at, None);
}

#[tokio::test]
async fn a_new_owner_before_the_deadline_makes_it_good() {
    let gate = gate().await;
    let (root, olga) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await);
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let session = live(&gate, &nightly);
    gate.guard.revoke_identity(&olga.name, &root, now()).await.unwrap();
    gate.guard.set_owner(&nightly.name, &root.name, &root, later(60)).await.unwrap();
    gate.guard.look_after_owners(later(20 * DAY)).await;
    let identity = known(&gate, "nightly").await;
    assert_eq!((identity.orphaned_at, identity.expires_at, session.check()), (None, Some(later(30 * DAY)), None));
    // One that was to end sooner is not given more time.
    let short = gate.workload("short", &root, &[]).await;
    gate.guard.set_expiry(&short.name, later(DAY), &root, now()).await.unwrap();
    let tom = gate.user("tom", &["admins"]).await;
    gate.guard.revoke_identity(&root.name, &tom, now()).await.unwrap();
    assert_eq!(known(&gate, "short").await.expires_at, Some(later(DAY)));
}

/// Somebody who is barred at a provider does not come back from there; who was only away is back with the next sign-in.
#[tokio::test]
async fn an_owner_who_no_longer_signs_in_at_the_provider_has_left_until_they_do() {
    let gate = gate().await;
    let first = signs_in(&gate, "olga", now()).await;
    let olga = register::actor(&known(&gate, "olga").await);
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let is_orphaned = async |at: Timestamp| {
        gate.guard.look_after_owners(at).await;
        known(&gate, "nightly").await.orphaned_at
    };
    assert_eq!(is_orphaned(later(29 * DAY)).await, None, "her sign-in stands");
    ends(&gate, first, later(100)).await;
    assert_eq!(is_orphaned(later(100)).await, None, "she may come again");
    gate.guard.set_expiry(&nightly.name, later(300 * DAY), &gate.user("root", &["admins"]).await, later(29 * DAY)).await.unwrap();
    let found = later(100 + 30 * DAY);
    assert_eq!(is_orphaned(later(99 + 30 * DAY)).await, None);
    assert_eq!(is_orphaned(found).await, Some(found));
    assert_eq!(known(&gate, "nightly").await.expires_at, Some(later(100 + 44 * DAY)));
    signs_in(&gate, "olga", later(40 * DAY)).await;
    assert_eq!(is_orphaned(later(40 * DAY)).await, None);
    assert_eq!(known(&gate, "nightly").await.expires_at, Some(later(300 * DAY)));
    let events = gate.events().await;
    assert_eq!(
        events.iter().filter(|event| event.contains("identity.o")).collect::<Vec<_>>(),
        ["countersign identity.owner_back nightly", "countersign identity.orphaned nightly"]
    );
}

/// That nobody answers for a workload any more lets nobody sign for it who could not before.
#[tokio::test]
async fn the_former_owner_of_an_orphan_may_not_sign_for_it() {
    let limits = Limits { identities: IdentityLimits { owner_absent_days: 0, ..IdentityLimits::default() }, ..Limits::default() };
    let gate = gate_with(limits).await;
    let sign_in = signs_in(&gate, "olga", now()).await;
    gate.guard.store().state().set_groups(&name("olga"), &["dba".parse().unwrap()]).await.unwrap();
    let olga = register::actor(&known(&gate, "olga").await);
    let bob = gate.user("bob", &["dba"]).await;
    gate.workload("nightly", &olga, &["engineers"]).await;
    ends(&gate, sign_in, now()).await;
    gate.guard.look_after_owners(now()).await;
    let orphan = known(&gate, "nightly").await;
    assert_eq!(orphan.orphaned_at, Some(now()));
    let chain = ActorChain::alone(register::actor(&orphan));
    let requirement: Requirement = needs("dba", 1);
    let may_sign = |signer| decide::eligible(&gate.guard.version(), &requirement, &chain, signer, now()).is_ok();
    assert!(may_sign(&bob) && !may_sign(&olga));
}

#[tokio::test]
async fn owners_are_told_once_of_each_end_that_comes_near() {
    let gate = gate().await;
    let (root, olga) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await);
    let (eve, nightly) = (gate.user("eve", &["engineers"]).await, gate.workload("nightly", &olga, &[]).await);
    let told = async || gate.events().await.into_iter().filter(|event| event == "countersign identity.expiring nightly").count();
    let seen = async |viewer: &Actor, at| gate.guard.ending(viewer, at).await.unwrap().len();
    gate.guard.look_after_owners(later(16 * DAY - 1)).await;
    assert_eq!((told().await, seen(&olga, later(16 * DAY - 1)).await), (0, 0), "more than fourteen days");
    for second in [16 * DAY, 17 * DAY] {
        gate.guard.look_after_owners(later(second)).await;
        assert_eq!(told().await, 1);
    }
    let at = later(17 * DAY);
    assert_eq!([seen(&olga, at).await, seen(&root, at).await, seen(&nightly, at).await, seen(&eve, at).await], [1, 1, 1, 0], "WEB-15");
    gate.guard.set_expiry(&nightly.name, later(60 * DAY), &root, at).await.unwrap();
    gate.guard.look_after_owners(at).await;
    assert_eq!((told().await, seen(&olga, at).await), (1, 0));
    gate.guard.look_after_owners(later(50 * DAY)).await;
    assert_eq!(told().await, 2, "of another end");
    // What has ended is over, and of an orphan the deadline is told.
    gate.guard.look_after_owners(later(60 * DAY)).await;
    assert_eq!((told().await, seen(&root, later(60 * DAY)).await), (2, 0));
    let weekly = gate.workload("weekly", &olga, &[]).await;
    gate.guard.revoke_identity(&olga.name, &root, now()).await.unwrap();
    let orphans = gate.guard.ending(&root, now()).await.unwrap();
    assert!(orphans.iter().any(|identity| identity.name == weekly.name && identity.orphaned_at.is_some()), "{orphans:?}");
}

#[tokio::test]
async fn owners_are_told_once_of_each_key_that_nears_its_end() {
    let gate = gate().await;
    let (root, olga) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await);
    let (eve, nightly) = (gate.user("eve", &["engineers"]).await, gate.workload("nightly", &olga, &[]).await);
    gate.guard.set_expiry(&nightly.name, later(200 * DAY), &root, now()).await.unwrap();
    let key = |seed: u8| identity::PrivateKey::from_seed(&[seed; 32]).unwrap().public().to_jwk();
    let first = gate.guard.add_key(&nightly.name, &key(1), later(30 * DAY), &root, now()).await.unwrap();
    let told = async || gate.events().await.into_iter().filter(|event| event == "countersign identity.key_expiring nightly").count();
    let seen = async |viewer: &Actor, at| {
        let keys = gate.guard.keys_ending(viewer, at).await.unwrap();
        keys.into_iter().map(|(identity, key)| (identity.name, key.id)).collect::<Vec<_>>()
    };
    let early = later(16 * DAY - 1);
    gate.guard.look_after_owners(early).await;
    assert_eq!((told().await, seen(&olga, early).await.len()), (0, 0), "more than fourteen days");
    for second in [16 * DAY, 17 * DAY] {
        gate.guard.look_after_owners(later(second)).await;
        assert_eq!(told().await, 1);
    }
    let at = later(17 * DAY);
    for viewer in [&olga, &root, &nightly] {
        assert_eq!(seen(viewer, at).await, [(nightly.name.clone(), first.id)], "{}", viewer.name);
    }
    assert_eq!(seen(&eve, at).await, [], "WEB-15");
    // The one that takes its place has an end of its own; one that is revoked or over has none any more.
    let second = gate.guard.add_key(&nightly.name, &key(2), later(60 * DAY), &root, at).await.unwrap();
    gate.guard.look_after_owners(later(46 * DAY)).await;
    assert_eq!((told().await, seen(&olga, later(46 * DAY)).await), (2, vec![(nightly.name.clone(), second.id)]));
    gate.guard.add_key(&nightly.name, &key(3), later(50 * DAY), &root, later(40 * DAY)).await.unwrap();
    let third = gate.guard.keys_of(&nightly.name, &olga, at).await.unwrap().into_iter().find(|key| key.expires_at == later(50 * DAY)).unwrap();
    gate.guard.revoke_key(&nightly.name, third.id, &olga, later(46 * DAY)).await.unwrap();
    gate.guard.look_after_owners(later(46 * DAY)).await;
    assert_eq!(told().await, 2, "nobody waits for the end of what was revoked");
    // Without an owner there is nobody to tell; whoever takes it on is told.
    let weekly = gate.workload("weekly", &olga, &[]).await;
    gate.guard.add_key(&weekly.name, &key(4), later(DAY), &root, now()).await.unwrap();
    gate.guard.revoke_identity(&olga.name, &root, now()).await.unwrap();
    gate.guard.look_after_owners(now()).await;
    let of_weekly = async || gate.events().await.into_iter().filter(|event| event == "countersign identity.key_expiring weekly").count();
    assert_eq!(of_weekly().await, 0);
    gate.guard.set_owner(&weekly.name, &eve.name, &root, now()).await.unwrap();
    gate.guard.look_after_owners(now()).await;
    assert_eq!(of_weekly().await, 1);
}

#[tokio::test]
async fn without_a_grace_it_stops_at_once() {
    let limits = Limits { identities: IdentityLimits { orphaned_grace_days: 0, ..IdentityLimits::default() }, ..Limits::default() };
    let gate = gate_with(limits).await;
    let (root, olga) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await);
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let session = live(&gate, &nightly);
    gate.guard.store().state().revoke_identity(&olga.name, &root.name, now()).await.unwrap();
    gate.guard.look_after_owners(now()).await;
    assert_eq!(session.check(), Some(&EndReason::WindowClosed(now())));
    assert_eq!(gate.events().await, ["countersign identity.stopped nightly", "countersign identity.orphaned nightly"]);
}
