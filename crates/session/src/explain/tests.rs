//! Explaining: who may ask, and that the answer is what would happen.

use model::Understanding;

use super::*;
use crate::fixtures::{gate, name, now};

#[tokio::test]
async fn a_statement_is_explained_to_who_it_concerns() {
    let gate = gate().await;
    let (alice, ada) = (gate.user("alice", &["engineers"]).await, gate.user("ada", &["auditors"]).await);
    let (eve, prod) = (gate.user("eve", &["engineers"]).await, "prod-pg".parse().unwrap());
    let question = Question { identity: &alice.name, connection: &prod, database: None, statement: "SELECT 1" };
    for (viewer, may) in [(&alice, true), (&ada, true), (&eve, false)] {
        assert_eq!(gate.guard.explain_statement(question, viewer, now()).await.is_ok(), may, "{}", viewer.name);
    }
    let explained = gate.guard.explain_statement(question, &alice, now()).await.unwrap();
    assert_eq!(explained.decision.outcome, Outcome::Allow);
    assert_eq!(explained.decision.version, gate.guard.version().hash);
    assert_eq!((explained.facts.understanding, explained.masking), (Understanding::Full, None));
}

#[tokio::test]
async fn what_is_not_understood_or_not_theirs_is_not_explained_away() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let (prod, staging) = ("prod-pg".parse().unwrap(), "staging-pg".parse().unwrap());
    let ask = |connection, statement| Question { identity: &alice.name, connection, database: None, statement };
    let explained = gate.guard.explain_statement(ask(&prod, "DO $$ BEGIN EXECUTE 'x'; END $$"), &alice, now()).await.unwrap();
    assert_eq!(explained.decision.outcome, Outcome::Deny);
    let foreign = gate.guard.explain_statement(ask(&staging, "SELECT 1"), &alice, now()).await.unwrap_err();
    assert_eq!(foreign.to_string(), "no connection staging-pg that alice may open; there are: prod-pg");
    let unknown = Question { identity: &name("nobody-here"), ..ask(&prod, "SELECT 1") };
    assert!(matches!(gate.guard.explain_statement(unknown, &alice, now()).await, Err(GovernError::NotFound(_))));
}

#[tokio::test]
async fn who_could_sign_a_held_statement_is_named() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers", "dba"]).await;
    let (bob, prod) = (gate.user("bob", &["dba"]).await, "prod-pg".parse().unwrap());
    // IF EXISTS: the empty catalog lacks it, and it is still a DROP.
    let question = Question { identity: &alice.name, connection: &prod, database: None, statement: "DROP SCHEMA IF EXISTS nothing" };
    let explained = gate.guard.explain_statement(question, &alice, now()).await.unwrap();
    let Outcome::Hold(requirements) = explained.decision.outcome else { panic!("{explained:?}") };
    assert_eq!(explained.signers, [(requirements[0].clone(), vec![bob.name])]);
}
