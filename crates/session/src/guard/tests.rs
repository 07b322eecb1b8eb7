//! Governing: who may, what lives on, what is written down.

use model::{ActorChain, ConnectionName, session::SessionRow};

use super::*;
use crate::{
    fixtures::{Gate, files, files_with, gate, gate_with, later, name, now},
    ids,
    live::{LiveHandle, Registration, Woken},
    sign_in::{SignInFor, SignInRefused},
};

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

fn row(actor: &Actor) -> SessionRow {
    SessionRow {
        id: ids::session(),
        subject: actor.name.clone(),
        chain: actor.name.to_string(),
        connection: "prod-pg".parse::<ConnectionName>().unwrap(),
        database: "shop".to_owned(),
        token: None,
        peer: "127.0.0.1:1".to_owned(),
        started_at: now(),
        ended_at: None,
        ending: None,
        operations: 0,
    }
}

#[tokio::test]
async fn only_who_administers_applies_a_version_and_it_is_written_down() {
    let gate = gate().await;
    let (alice, root) = (gate.user("alice", &["engineers"]).await, gate.user("root", &["admins"]).await);
    let before = gate.guard.version().hash;
    let new = files("// more\n");
    assert!(matches!(gate.guard.apply(&new, &alice, LockOut::Refused, now()).await, Err(ApplyError::NotPermitted(_))));
    assert_eq!(gate.guard.version().hash, before);
    let hash = gate.guard.apply(&new, &root, LockOut::Refused, now()).await.unwrap();
    assert_ne!(hash, before);
    assert_eq!(gate.guard.version().hash, hash);
    let stored = gate.guard.store().state().current_version().await.unwrap().unwrap();
    assert_eq!((stored.applied.hash, stored.applied.by, stored.files), (hash, root.name.clone(), new.clone()));
    assert_eq!(gate.events().await, [format!("root policy.applied {hash}")]);
    // The same again is nothing new.
    gate.guard.apply(&new, &root, LockOut::Refused, now()).await.unwrap();
    assert_eq!(gate.events().await.len(), 1);
}

/// Nobody who could mend it would be left.
#[tokio::test]
async fn a_version_under_which_nobody_administers_is_applied_on_purpose_alone() {
    let gate = gate().await;
    let (alice, root) = (gate.user("alice", &["engineers"]).await, gate.user("root", &["admins"]).await);
    let before = gate.guard.version().hash;
    let nobody = files_with(r#"principal in Group::"admins""#, r#"principal in Group::"ghosts""#);
    let engineers = files_with(r#"principal in Group::"admins""#, r#"principal in Group::"engineers""#);
    let refused = |files, by| gate.guard.apply(files, by, LockOut::Refused, now());
    assert!(matches!(refused(&nobody, &root).await, Err(ApplyError::LockedOut)));
    assert!(matches!(refused(&engineers, &root).await, Err(ApplyError::LockedOut)), "alice may, and has no way in");
    let state = gate.guard.store().state();
    state.set_password_hash(&alice.name, Some("$argon2id$x")).await.unwrap();
    assert!(matches!(refused(&nobody, &root).await, Err(ApplyError::LockedOut)));
    assert_eq!((gate.guard.version().hash, gate.events().await.len()), (before, 0), "the one before stays");
    let hash = refused(&engineers, &root).await.unwrap();
    let recorded = async || state.events(None, None, 1).await.unwrap()[0].event.detail["locks_everybody_out"].clone();
    assert_eq!((gate.guard.version().hash, recorded().await), (hash, false.into()), "somebody else may");
    let hash = gate.guard.apply(&nobody, &alice, LockOut::OnPurpose, now()).await.unwrap();
    assert_eq!((gate.guard.version().hash, recorded().await), (hash, true.into()), "and that is recorded");
}

/// The fail-closed row "policy files invalid".
#[tokio::test]
async fn files_that_are_not_valid_leave_the_version_in_force() {
    let gate = gate().await;
    let before = gate.guard.version().hash;
    let Err(ApplyError::Invalid(problems)) = gate.guard.apply_as(&files("permit (principal,\n"), &name("init"), now()).await else {
        panic!("it was applied");
    };
    assert_eq!((problems[0].file.as_str(), problems[0].line > 0), ("policy/main.cedar", true));
    assert_eq!(gate.guard.version().hash, before);
    assert!(gate.guard.store().state().current_version().await.unwrap().is_none());
}

#[tokio::test]
async fn after_a_version_live_sessions_are_decided_anew_for_connect() {
    let gate = gate().await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["engineers", "keepers"]).await);
    let (cut, kept) = (live(&gate, &alice), live(&gate, &bob));
    let fewer = files_with(r#"principal in Group::"engineers", action in"#, r#"principal in Group::"keepers", action in"#);
    gate.guard.apply_as(&fewer, &name("init"), now()).await.unwrap();
    assert!(matches!(cut.check(), Some(EndReason::PolicyChanged(why)) if why.contains("alice")), "{:?}", cut.check());
    assert_eq!(kept.check(), None);
    assert_eq!(kept.woken().await, Woken::Changed { lost: None });
    let mut without = fewer.clone();
    without.remove("connections/prod-pg.toml");
    gate.guard.apply_as(&without, &name("init"), now()).await.unwrap();
    assert_eq!(kept.check(), Some(&EndReason::ConnectionRemoved));
}

#[tokio::test]
async fn web_12_who_leaves_a_group_is_decided_anew_at_once() {
    let gate = gate().await;
    let root = gate.user("root", &["admins"]).await;
    let alice = gate.user("alice", &["engineers"]).await;
    let (session, other) = (live(&gate, &alice), live(&gate, &root));
    gate.guard.set_groups(&alice.name, vec!["dba".parse().unwrap(), "engineers".parse().unwrap()], &root, now()).await.unwrap();
    assert_eq!(session.chain().subject.groups.len(), 2);
    gate.guard.set_groups(&alice.name, vec!["interns".parse().unwrap()], &root, now()).await.unwrap();
    assert!(matches!(session.check(), Some(EndReason::PolicyChanged(_))));
    // root is in no group that may connect, and so was ended too: connect is decided for everybody.
    assert!(other.check().is_some());
}

/// The fail-closed row "state store unreachable".
#[tokio::test]
async fn without_the_state_store_no_session_begins_and_live_ones_end_after_the_grace() {
    let patient = gate().await;
    let alice = patient.user("alice", &["engineers"]).await;
    let session = live(&patient, &alice);
    patient.guard.look_after(now()).await;
    assert!(patient.guard.state_is_there());
    patient.guard.store().close().await;
    patient.guard.look_after(now()).await;
    patient.guard.look_after(now()).await;
    assert!(!patient.guard.state_is_there());
    assert_eq!(session.check(), None);
    let refused = patient.guard.sign_in("alice", &model::Secret::from("x".to_owned()), SignInFor::Api, [127, 0, 0, 1].into(), now()).await;
    assert!(matches!(refused, Err(SignInRefused::StateLost)));

    let strict = gate_with(Limits { revocation_grace_ms: 0, ..Limits::default() }).await;
    let alice = strict.user("alice", &["engineers"]).await;
    let session = live(&strict, &alice);
    strict.guard.store().close().await;
    strict.guard.look_after(now()).await;
    strict.guard.look_after(now()).await;
    assert_eq!(session.ended().await, EndReason::StateLost);
}

#[test]
fn a_state_store_that_is_slow_counts_as_gone_after_a_hesitation_and_one_that_fails_at_once() {
    let (health, began) = (Health::new(), Instant::now());
    assert_eq!(health.note(Answer::Late, began), Duration::ZERO);
    assert_eq!(health.note(Answer::Late, began + HESITATION), HESITATION);
    assert!(health.is_there());
    health.note(Answer::Late, began + HESITATION + Duration::from_millis(1));
    assert!(!health.is_there());
    assert_eq!(health.note(Answer::Came, began), Duration::ZERO);
    assert!(health.is_there());
    health.note(Answer::Failed, began);
    assert!(!health.is_there());
    // It failed: that the next answer is late makes it no better.
    health.note(Answer::Late, began);
    assert!(!health.is_there());
}

#[tokio::test]
async fn a_session_is_ended_by_its_subject_its_owner_or_who_may_revoke() {
    let gate = gate().await;
    let (alice, eve) = (gate.user("alice", &["engineers"]).await, gate.user("eve", &["engineers", "dba"]).await);
    let root = gate.user("root", &["admins"]).await;
    let nightly = gate.workload("nightly", &alice, &["engineers"]).await;
    for (killer, ends) in [(&eve, false), (&alice, true), (&root, true), (&nightly, true)] {
        let session = live(&gate, &nightly);
        let answer = gate.guard.kill(session.session(), killer, Some("too slow".to_owned()), now()).await;
        assert_eq!(answer.is_ok(), ends, "{}", killer.name);
        assert_eq!(session.check().is_some(), ends);
        let unknown = gate.guard.kill(ids::session(), killer, None, now()).await.unwrap_err();
        assert!(ends || matches!((answer, unknown), (Err(GovernError::NotFound(_)), GovernError::NotFound(_))));
    }
    assert_eq!(gate.events().await.iter().filter(|event| event.contains("session.killed")).count(), 3);
}

#[tokio::test]
async fn a_revoked_identity_is_cut_with_its_tokens_and_sessions() {
    let gate = gate().await;
    let (alice, root) = (gate.user("alice", &["engineers"]).await, gate.user("root", &["admins"]).await);
    let eve = gate.user("eve", &["engineers"]).await;
    let session = live(&gate, &alice);
    assert!(matches!(gate.guard.revoke_identity(&alice.name, &eve, now()).await, Err(GovernError::NotFound(_))));
    assert!(matches!(gate.guard.revoke_identity(&root.name, &root, now()).await, Err(GovernError::NotPermitted(_))));
    assert_eq!(gate.guard.revoke_identity(&alice.name, &root, now()).await.unwrap(), 1);
    assert_eq!(session.check(), Some(&EndReason::IdentityRevoked(alice.name.clone())));
    assert!(!gate.guard.store().state().identity(&alice.name).await.unwrap().unwrap().is_active(now()));
}

#[tokio::test]
async fn a_window_that_closes_ends_its_sessions_at_the_next_look() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let registration = Registration {
        session: ids::session(),
        chain: ActorChain::alone(alice),
        token: None,
        request: None,
        connection: "prod-pg".parse().unwrap(),
        database: "shop".to_owned(),
        ends_at: Some(later(60)),
    };
    let session = gate.guard.live().register(registration).unwrap();
    gate.guard.look_after(later(59)).await;
    assert_eq!(session.check(), None);
    gate.guard.look_after(later(60)).await;
    assert_eq!(session.check(), Some(&EndReason::WindowClosed(later(60))));
}

#[tokio::test]
async fn web_15_recordings_are_read_by_their_subject_and_auditors_and_that_is_written_down_first() {
    let gate = gate().await;
    let (alice, ada) = (gate.user("alice", &["engineers"]).await, gate.user("ada", &["auditors"]).await);
    let (eve, root) = (gate.user("eve", &["engineers"]).await, gate.user("root", &["admins"]).await);
    let row = row(&alice);
    for (reader, may) in [(&alice, true), (&ada, true), (&eve, false), (&root, false)] {
        assert_eq!(gate.guard.read_recording(&row, "show", reader, now()).await.is_ok(), may, "{}", reader.name);
        assert_eq!(gate.guard.may_see_session(&row, None, reader, now()), may, "{}", reader.name);
    }
    assert_eq!(gate.events().await, [format!("ada recording.read {}", row.id), format!("alice recording.read {}", row.id)]);
    gate.guard.store().close().await;
    assert!(matches!(gate.guard.read_recording(&row, "show", &ada, now()).await, Err(GovernError::State(_))));
}

#[tokio::test]
async fn the_watch_ends_what_is_due_by_itself() {
    let gate = gate_with(Limits { watch_interval_ms: 1, ..Limits::default() }).await;
    let alice = gate.user("alice", &["engineers"]).await;
    let registration = Registration {
        session: ids::session(),
        chain: ActorChain::alone(alice),
        token: None,
        request: None,
        connection: "prod-pg".parse().unwrap(),
        database: "shop".to_owned(),
        ends_at: Some("2020-01-01T00:00:00Z".parse().unwrap()),
    };
    let session = gate.guard.live().register(registration).unwrap();
    let watch = tokio::spawn(gate.guard.clone().watch());
    let ended = tokio::time::timeout(Duration::from_secs(30), session.ended()).await.unwrap();
    assert!(matches!(ended, EndReason::WindowClosed(_)));
    watch.abort();
}
