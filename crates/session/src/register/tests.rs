//! The register: who may change and see whom.

use identity::{Machine, MachineKind};
use model::Action;

use super::*;
use crate::fixtures::{gate, later, name, now};

fn user(text: &str, groups: &[&str]) -> NewIdentity {
    NewIdentity::user(name(text), groups.iter().map(|group| group.parse().unwrap()).collect()).unwrap()
}

fn workload(text: &str, owner: &str) -> NewIdentity {
    let purpose = "nightly exports".parse().unwrap();
    NewIdentity::machine(Machine::new(MachineKind::Workload, name(text), name(owner), purpose, later(86_400), now()).unwrap(), Vec::new())
}

/// WEB-04, WEB-13: only administrators enter and change identities; an owner cannot widen what they own, nor hand it on.
#[tokio::test]
async fn web_13_only_administrators_enter_and_change_identities() {
    let gate = gate().await;
    let (root, olga) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await);
    let nightly = gate.workload("nightly", &olga, &[]).await;
    let guard = &gate.guard;
    assert!(guard.add_identity(&user("eve", &["dba"]), None, &olga, now()).await.is_err());
    assert!(guard.set_groups(&olga.name, vec!["dba".parse().unwrap()], &olga, now()).await.is_err());
    assert!(guard.set_groups(&nightly.name, vec!["dba".parse().unwrap()], &olga, now()).await.is_err());
    assert!(guard.set_owner(&nightly.name, &root.name, &olga, now()).await.is_err());
    assert!(guard.set_expiry(&nightly.name, later(99), &olga, now()).await.is_err());
    assert!(guard.revoke_identity(&root.name, &olga, now()).await.is_err());
    assert_eq!(gate.events().await, Vec::<String>::new());

    guard.add_identity(&user("eve", &["engineers"]), None, &root, now()).await.unwrap();
    guard.set_owner(&nightly.name, &name("eve"), &root, now()).await.unwrap();
    guard.set_expiry(&nightly.name, later(99), &root, now()).await.unwrap();
    guard.revoke_identity(&nightly.name, &root, now()).await.unwrap();
    let events = gate.events().await;
    let expected = ["root identity.revoked nightly", "root identity.expiry nightly", "root identity.owner nightly", "root identity.added eve"];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn a_workload_is_owned_by_an_active_person_and_has_no_password() {
    let gate = gate().await;
    let root = gate.user("root", &["admins"]).await;
    let olga = gate.user("olga", &[]).await;
    let guard = &gate.guard;
    let added = guard.add_identity(&workload("nightly", "olga"), None, &root, now()).await.unwrap();
    assert_eq!((added.owner, added.created_by), (Some(olga.name), root.name.clone()));
    for owner in ["nightly", "nobody-here"] {
        let refused = guard.add_identity(&workload("weekly", owner), None, &root, now()).await;
        assert!(matches!(refused, Err(GovernError::Invalid(_))), "{owner}");
    }
    let with_password = guard.add_identity(&workload("weekly", "olga"), Some(Secret::from("long enough to be one".to_owned())), &root, now()).await;
    assert!(matches!(with_password, Err(GovernError::Invalid(_))));
}

#[tokio::test]
async fn a_person_changes_their_own_password_by_showing_it() {
    let gate = gate().await;
    let root = gate.user("root", &["admins"]).await;
    let secret = |text: &str| Secret::from(text.to_owned());
    let guard = &gate.guard;
    guard.add_identity(&user("alice", &[]), Some(secret("the first password")), &root, now()).await.unwrap();
    let alice = actor(&guard.store().state().identity(&name("alice")).await.unwrap().unwrap());
    let eve = gate.user("eve", &[]).await;
    let set = |current: Option<Secret>, by: Actor| async move {
        guard.set_password(&name("alice"), current.as_ref(), secret("the second password"), &by, now()).await
    };
    assert!(set(None, alice.clone()).await.is_err());
    assert!(set(Some(secret("not the first")), alice.clone()).await.is_err());
    assert!(set(Some(secret("the first password")), eve).await.is_err());
    set(Some(secret("the first password")), alice.clone()).await.unwrap();
    set(Some(secret("the second password")), alice.clone()).await.unwrap();
    set(None, root).await.unwrap();
    let short = guard.set_password(&alice.name, Some(&secret("the second password")), secret("short"), &alice, now()).await;
    assert!(matches!(short, Err(GovernError::Invalid(_))));
}

/// WEB-15.
#[tokio::test]
async fn web_15_identities_are_listed_to_themselves_their_owners_and_who_governs() {
    let gate = gate().await;
    let (root, ada) = (gate.user("root", &["admins"]).await, gate.user("ada", &["auditors"]).await);
    let (olga, eve) = (gate.user("olga", &[]).await, gate.user("eve", &[]).await);
    let nightly = gate.workload("nightly", &olga, &[]).await;
    for (viewer, sees) in [(&root, 5), (&ada, 5), (&olga, 2), (&eve, 1), (&nightly, 1)] {
        assert_eq!(gate.guard.identities(viewer, now()).await.unwrap().len(), sees, "{}", viewer.name);
    }
    let unseen = gate.guard.identity_facts(&nightly.name, &eve, now()).await.unwrap_err().to_string();
    assert_eq!(unseen, gate.guard.identity_facts(&name("nobody-here"), &eve, now()).await.unwrap_err().to_string().replace("nobody-here", "nightly"));
}

/// Who made it and by which change, and who gets at a credential of its; told of nobody whom the viewer may not see.
#[tokio::test]
async fn who_can_act_through_an_identity_is_told_to_who_may_see_them() {
    let gate = gate().await;
    let (root, olga) = (gate.user("root", &["admins"]).await, gate.user("olga", &["engineers"]).await);
    let eve = gate.user("eve", &["engineers"]).await;
    let guard = &gate.guard;
    guard.add_identity(&workload("nightly", "olga"), None, &root, now()).await.unwrap();
    let purpose = "answers tickets".parse().unwrap();
    let bot = Machine::new(MachineKind::Agent, name("bot"), olga.name.clone(), purpose, later(86_400), now()).unwrap();
    guard.add_identity(&NewIdentity::machine(bot, vec!["engineers".parse().unwrap()]), None, &root, now()).await.unwrap();
    let given = crate::tokens::TokenRequest {
        subject: eve.name.clone(),
        purpose: model::token::TokenUse::Delegate,
        connections: vec!["prod-pg".parse().unwrap()],
        statement: None,
        not_before: None,
        expires_at: later(600),
        sign_in: None,
        agent: Some(name("bot")),
        request: None,
        bound_to: None,
    };
    let (_, token) = guard.mint_token(given, &eve, now()).await.unwrap();
    let through = async |text: &str, viewer: &Actor, at| {
        let facts = guard.identity_facts(&name(text), viewer, at).await.unwrap();
        let told = facts.through.into_iter().map(|one| format!("{} {} {}", one.who, one.how.as_str(), one.by.unwrap_or_default()));
        told.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(through("nightly", &root, now()).await, ["olga owner", "root administrator"]);
    assert_eq!(through("nightly", &olga, now()).await, ["olga owner"], "WEB-15");
    assert_eq!(through("eve", &eve, now()).await, [format!("bot agent {}", token.id)]);
    assert_eq!(through("bot", &root, now()).await, ["olga owner".to_owned(), "root administrator".to_owned(), format!("eve person {}", token.id)]);
    assert_eq!(through("eve", &eve, later(600)).await, Vec::<String>::new(), "the delegation is over");
    assert_eq!(through("nightly", &root, later(86_400)).await, Vec::<String>::new(), "nobody acts through what has ended");
    let entered = guard.identity_facts(&name("nightly"), &olga, now()).await.unwrap().entered.unwrap();
    assert_eq!((entered.event.kind.as_str(), entered.event.actor, entered.event.subject.as_str()), ("identity.added", root.name.clone(), "nightly"));
    assert!(guard.identity_facts(&root.name, &root, now()).await.unwrap().entered.is_none(), "it was there before there were changes");
}

#[tokio::test]
async fn what_an_identity_can_reach_is_asked_of_the_policies() {
    let gate = gate().await;
    let olga = gate.user("olga", &["engineers"]).await;
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let facts = gate.guard.identity_facts(&nightly.name, &olga, now()).await.unwrap();
    assert_eq!(facts.identity.purpose.as_deref(), Some("nightly exports"));
    let [reach] = &facts.reach[..] else { panic!("{:?}", facts.reach) };
    assert_eq!(reach.connection.as_str(), "prod-pg");
    let actions: Vec<(Action, bool)> = reach.actions.iter().map(|reached| (reached.action, reached.held)).collect();
    assert_eq!(actions, [(Action::Connect, false), (Action::Read, false), (Action::Destroy, true)]);
    assert_eq!(reach.actions[2].policies[0].as_str(), "prod-destroy");
    assert_eq!(gate.guard.identity_facts(&olga.name, &olga, now()).await.unwrap().owns, std::slice::from_ref(&nightly.name));
    // What has ended reaches nothing.
    assert_eq!(gate.guard.identity_facts(&nightly.name, &olga, later(86_400 * 31)).await.unwrap().reach, []);
}
