//! Held operations over a real store: who may sign, what becomes of it, what is written down.

use std::{future::Future, time::Duration};

use model::{ActorChain, hold::HoldState};

use super::*;
use crate::{
    fixtures::{Gate, drop_payments, files, files_with, gate, gate_with, later, name, needs, now, stranger},
    limits::{HoldLimits, Limits},
};

fn approvals(gate: &Gate) -> &Approvals {
    gate.guard.approvals()
}

fn holds(holds: HoldLimits) -> Limits {
    Limits { holds, ..Limits::default() }
}

/// A test that waits for what never comes fails instead of hanging.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.unwrap()
}

/// The session's part: waits, finds nothing that differs, releases.
async fn run(mut waiting: Waiting) -> Result<Vec<model::hold::Signature>, Verdict> {
    match waiting.settled().await {
        Verdict::Signed(_) => waiting.release(Ok(()), later(1)).await,
        verdict => Err(verdict),
    }
}

#[tokio::test]
async fn a_second_person_signs_and_it_is_released_and_written_down() {
    let gate = gate().await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]), now()).await.unwrap();
    let row = waiting.row();
    assert_eq!(waiting.signers(), std::slice::from_ref(&bob.name));
    assert_eq!(gate.guard.store().state().waiting_holds().await.unwrap(), std::slice::from_ref(&row));
    let (ran, signed) = soon(async { tokio::join!(run(waiting), approvals(&gate).sign(row.id, &bob, &row.digest, later(1))) }).await;
    assert_eq!(ran.unwrap()[0].signer, bob.name);
    let signed = signed.unwrap();
    assert_eq!((&signed.state, signed.signatures.len()), (&HoldState::Approved, 1));
    assert_eq!(gate.guard.store().state().hold(row.id).await.unwrap(), Some(signed));
    assert_eq!(gate.events().await[0], format!("bob hold.signed {}", row.id));
    assert_eq!(approvals(&gate).count(), 0);
}

#[tokio::test]
async fn near_05_the_requester_does_not_sign_even_as_a_dba_and_strangers_see_nothing() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers", "dba"]).await;
    let (_bob, eve) = (gate.user("bob", &["dba"]).await, gate.user("eve", &["engineers"]).await);
    let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice.clone()), vec![needs("dba", 1)]), now()).await.unwrap();
    let row = waiting.row();
    let own = approvals(&gate).sign(row.id, &alice, &row.digest, now()).await.unwrap_err();
    assert!(matches!(own, VoteError::Refused(VoteRefused::Ineligible(Ineligible::Requester))), "{own:?}");
    for error in [
        approvals(&gate).sign(row.id, &eve, &row.digest, now()).await.unwrap_err(),
        approvals(&gate).deny(row.id, &eve, None, now()).await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), format!("no held operation {}", row.id));
    }
    assert_eq!(waiting.row().state, HoldState::Waiting);
}

/// NEAR-06.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn near_06_simultaneous_signatures_are_all_counted() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let mut dbas = Vec::new();
    for number in 0..8 {
        dbas.push(gate.user(&format!("dba-{number}"), &["dba"]).await);
    }
    let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 8)]), now()).await.unwrap();
    let row = waiting.row();
    let mut votes = tokio::task::JoinSet::new();
    for dba in dbas {
        let (approvals, digest) = (approvals(&gate).clone(), row.digest.clone());
        votes.spawn(async move { approvals.sign(row.id, &dba, &digest, later(1)).await });
    }
    assert_eq!(soon(run(waiting)).await.unwrap().len(), 8);
    assert!(votes.join_all().await.into_iter().all(|vote| vote.is_ok()));
}

#[tokio::test]
async fn what_nobody_could_sign_is_refused_at_once() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers", "dba"]).await;
    let draft = || drop_payments(ActorChain::alone(alice.clone()), vec![needs("dba", 1)]);
    let refused = approvals(&gate).open(draft(), now()).await.unwrap_err();
    assert!(refused.to_string().ends_with("nobody who could give it exists: 1 of dba for needs-dba"), "{refused}");
    let bob = gate.user("bob", &["dba"]).await;
    assert!(approvals(&gate).open(draft(), now()).await.is_ok());
    gate.guard.store().state().revoke_identity(&bob.name, &name("init"), now()).await.unwrap();
    assert!(matches!(approvals(&gate).open(draft(), now()).await, Err(HoldRefused::NobodyCanSign(_))));
}

#[tokio::test]
async fn the_owner_and_the_minter_of_a_workloads_token_do_not_sign_for_it() {
    let gate = gate().await;
    let (olga, max) = (gate.user("olga", &["dba"]).await, gate.user("max", &["dba"]).await);
    let nightly = gate.workload("nightly", &olga, &["engineers"]).await;
    let chain = ActorChain { minted_by: Some(max.name.clone()), ..ActorChain::alone(nightly) };
    assert!(matches!(approvals(&gate).open(drop_payments(chain.clone(), vec![needs("dba", 1)]), now()).await, Err(HoldRefused::NobodyCanSign(_))));
    let bob = gate.user("bob", &["dba"]).await;
    let waiting = approvals(&gate).open(drop_payments(chain, vec![needs("dba", 1)]), now()).await.unwrap();
    assert_eq!(waiting.signers(), [bob.name]);
}

#[tokio::test]
async fn limits_hold_for_each_identity_and_in_all_and_places_come_free() {
    let gate = gate_with(holds(HoldLimits { max_per_identity: 1, max_total: 2, ..HoldLimits::default() })).await;
    let _bob = gate.user("bob", &["dba"]).await;
    let mut people = Vec::new();
    for person in ["alice", "carol", "dave"] {
        people.push(gate.user(person, &["engineers"]).await);
    }
    let open = |person: usize| approvals(&gate).open(drop_payments(ActorChain::alone(people[person].clone()), vec![needs("dba", 1)]), now());
    let first = open(0).await.unwrap();
    assert!(matches!(open(0).await, Err(HoldRefused::OfIdentity(1, _))));
    let _second = open(1).await.unwrap();
    assert!(matches!(open(2).await, Err(HoldRefused::InAll(2))));
    drop(first);
    assert!(open(0).await.is_ok());
}

#[tokio::test]
async fn what_nobody_signs_in_time_expires() {
    let gate = gate_with(holds(HoldLimits { expire_after_s: 0, ..HoldLimits::default() })).await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let mut waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]), now()).await.unwrap();
    let row = waiting.row();
    let late = approvals(&gate).sign(row.id, &bob, &row.digest, now()).await.unwrap_err();
    assert!(matches!(late, VoteError::Refused(VoteRefused::Expired(_))), "{late:?}");
    assert_eq!(soon(waiting.settled()).await, Verdict::Expired);
    assert_eq!(gate.guard.store().state().hold(row.id).await.unwrap().unwrap().state, HoldState::Expired);
}

#[tokio::test]
async fn one_no_of_an_eligible_signer_ends_it() {
    let gate = gate().await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let mut waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]), now()).await.unwrap();
    let id = waiting.row().id;
    let row = approvals(&gate).deny(id, &bob, Some("not on a Friday".to_owned()), now()).await.unwrap();
    let denied = Verdict::Denied { by: bob.name.clone(), reason: Some("not on a Friday".to_owned()) };
    assert_eq!(soon(waiting.settled()).await, denied);
    assert_eq!(waiting.release(Ok(()), now()).await, Err(denied));
    let again = approvals(&gate).sign(id, &bob, &row.digest, now()).await.unwrap_err();
    assert!(matches!(again, VoteError::Refused(VoteRefused::Ended(HoldState::Denied { .. }))), "{again:?}");
}

#[tokio::test]
async fn a_caller_who_leaves_withdraws_it_and_a_late_signature_finds_nothing() {
    let gate = gate().await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]), now()).await.unwrap();
    let row = waiting.row();
    drop(waiting);
    assert!(approvals(&gate).sign(row.id, &bob, &row.digest, now()).await.is_err());
    let state = gate.guard.store().state();
    soon(async {
        while state.hold(row.id).await.unwrap().unwrap().state == HoldState::Waiting {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(matches!(state.hold(row.id).await.unwrap().unwrap().state, HoldState::Withdrawn { .. }));
}

#[tokio::test]
async fn a_session_that_does_not_check_in_time_voids_the_signatures() {
    let gate = gate_with(holds(HoldLimits { recheck_ms: 20, ..HoldLimits::default() })).await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let mut waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]), now()).await.unwrap();
    let row = waiting.row();
    let (verdict, signed) = tokio::join!(waiting.settled(), approvals(&gate).sign(row.id, &bob, &row.digest, now()));
    assert!(matches!(verdict, Verdict::Signed(_)), "{verdict:?}");
    assert_eq!(signed.unwrap().state, HoldState::Voided { why: "it could not be checked again in time".to_owned() });
    assert!(matches!(waiting.release(Ok(()), now()).await, Err(Verdict::Voided { .. })));
}

#[tokio::test]
async fn what_differs_at_the_release_voids_the_signatures_and_the_signer_is_told() {
    let gate = gate().await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let mut waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]), now()).await.unwrap();
    let row = waiting.row();
    let differs = async {
        waiting.settled().await;
        waiting.release(Err("payments is another table now".to_owned()), now()).await
    };
    let (released, signed) = soon(async { tokio::join!(differs, approvals(&gate).sign(row.id, &bob, &row.digest, now())) }).await;
    let voided = HoldState::Voided { why: "payments is another table now".to_owned() };
    assert_eq!(released, Err(Verdict::Voided { why: "payments is another table now".to_owned() }));
    assert_eq!(signed.unwrap().state, voided);
}

#[tokio::test]
async fn a_signer_who_loses_the_role_before_the_last_signature_voids_it() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let (bob, carol) = (gate.user("bob", &["dba"]).await, gate.user("carol", &["dba"]).await);
    let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 2)]), now()).await.unwrap();
    let row = waiting.row();
    assert_eq!(approvals(&gate).sign(row.id, &bob, &row.digest, now()).await.unwrap().state, HoldState::Waiting);
    gate.guard.store().state().set_groups(&bob.name, &[]).await.unwrap();
    let (ran, signed) = soon(async { tokio::join!(run(waiting), approvals(&gate).sign(row.id, &carol, &row.digest, now())) }).await;
    assert!(matches!(ran, Err(Verdict::Voided { why }) if why.starts_with("bob, who signed, may no longer sign")));
    assert!(matches!(signed.unwrap().state, HoldState::Voided { .. }));
}

#[tokio::test]
async fn a_requester_whose_groups_changed_or_who_was_revoked_gets_nothing_released() {
    for revoked in [false, true] {
        let gate = gate().await;
        let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
        let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice.clone()), vec![needs("dba", 1)]), now()).await.unwrap();
        let row = waiting.row();
        let state = gate.guard.store().state();
        if revoked {
            state.revoke_identity(&alice.name, &name("init"), now()).await.unwrap();
        } else {
            state.set_groups(&alice.name, &["interns".parse().unwrap()]).await.unwrap();
        }
        let (ran, _) = soon(async { tokio::join!(run(waiting), approvals(&gate).sign(row.id, &bob, &row.digest, now())) }).await;
        assert!(matches!(ran, Err(Verdict::Voided { .. })), "{ran:?}");
    }
}

#[tokio::test]
async fn the_policy_in_force_at_the_signature_decides_who_may_sign() {
    let gate = gate().await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]), now()).await.unwrap();
    let row = waiting.row();
    let without =
        files_with(r#"principal in Group::"dba", action == Action::"approve""#, r#"principal in Group::"chiefs", action == Action::"approve""#);
    gate.guard.apply_as(&without, &name("init"), now()).await.unwrap();
    assert!(matches!(approvals(&gate).sign(row.id, &bob, &row.digest, now()).await, Err(VoteError::NotFound(_))));
    gate.guard.apply_as(&files("// again\n"), &name("init"), now()).await.unwrap();
    let (ran, _) = soon(async { tokio::join!(run(waiting), approvals(&gate).sign(row.id, &bob, &row.digest, now())) }).await;
    assert!(ran.is_ok());
}

/// The fail-closed row "state store unreachable": nothing is held, signed or released.
#[tokio::test]
async fn without_the_state_store_nothing_is_held_signed_or_released() {
    let gate = gate_with(holds(HoldLimits { recheck_ms: 20, ..HoldLimits::default() })).await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let draft = || drop_payments(ActorChain::alone(alice.clone()), vec![needs("dba", 1)]);
    let mut signed = approvals(&gate).open(draft(), now()).await.unwrap();
    let unsigned = approvals(&gate).open(draft(), now()).await.unwrap();
    let row = signed.row();
    let approving = approvals(&gate).clone();
    let vote = tokio::spawn(async move { (approving.sign(row.id, &bob, &row.digest, now()).await, bob) });
    assert!(matches!(soon(signed.settled()).await, Verdict::Signed(_)));
    gate.guard.store().close().await;
    assert!(signed.release(Ok(()), now()).await.is_err());
    let (_, bob) = vote.await.unwrap();
    let row = unsigned.row();
    assert!(matches!(approvals(&gate).sign(row.id, &bob, &row.digest, now()).await, Err(VoteError::State(_))));
    assert_eq!(unsigned.row().signatures, []);
    assert!(matches!(approvals(&gate).open(draft(), now()).await, Err(HoldRefused::State(_))));
}

/// WEB-15: listings, single rows and how many there are show only what the viewer may see.
#[tokio::test]
async fn web_15_held_operations_are_shown_to_requester_signers_and_auditors_only() {
    let gate = gate().await;
    let alice = gate.user("alice", &["engineers"]).await;
    let (bob, eve, ada) = (gate.user("bob", &["dba"]).await, gate.user("eve", &["engineers"]).await, gate.user("ada", &["auditors"]).await);
    let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice.clone()), vec![needs("dba", 1)]), now()).await.unwrap();
    let id = waiting.row().id;
    for (viewer, sees) in [(&alice, true), (&bob, true), (&ada, true), (&eve, false), (&stranger("mallory", &["interns"]), false)] {
        let listed = approvals(&gate).list(viewer, HoldsWanted::Waiting, now()).await.unwrap();
        assert_eq!(listed.len(), usize::from(sees), "{}", viewer.name);
        assert_eq!(approvals(&gate).view(id, viewer, now()).await.unwrap().is_some(), sees, "{}", viewer.name);
    }
    // That bob and ada were shown it is on record, once each.
    let shown = gate.events().await.into_iter().filter(|event| event.contains("hold.shown")).count();
    assert_eq!(shown, 2);
    waiting.withdraw("cancelled").await;
    for (viewer, sees) in [(&alice, true), (&bob, false), (&ada, true), (&eve, false)] {
        assert_eq!(approvals(&gate).list(viewer, HoldsWanted::Waiting, now()).await.unwrap(), []);
        assert_eq!(approvals(&gate).list(viewer, HoldsWanted::All(10), now()).await.unwrap().len(), usize::from(sees), "{}", viewer.name);
        assert_eq!(approvals(&gate).view(id, viewer, now()).await.unwrap().is_some(), sees, "{}", viewer.name);
    }
}

#[test]
fn the_digest_covers_everything_a_signature_is_bound_to() {
    let alice = stranger("alice", &["engineers"]);
    let draft = drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]);
    let changed = [
        Draft { session: crate::ids::session(), ..draft.clone() },
        Draft { chain: ActorChain::alone(stranger("carol", &["engineers"])), ..draft.clone() },
        Draft { connection: "staging-pg".parse().unwrap(), ..draft.clone() },
        Draft { database: "other".to_owned(), ..draft.clone() },
        Draft { statement: "DROP TABLE customers".to_owned(), ..draft.clone() },
        Draft { parameters: vec![None], ..draft.clone() },
        Draft { facts: model::Facts { statements: 2, ..draft.facts.clone() }, ..draft.clone() },
        Draft { requirements: vec![needs("dba", 2)], ..draft.clone() },
    ];
    assert!(changed.iter().all(|other| other.digest() != draft.digest()));
    let same = Draft { estimate: "12 rows".to_owned(), locks: vec!["payments".to_owned()], ..draft.clone() };
    assert_eq!(same.digest(), draft.digest());
}

/// What has to be watched is signed by one who watches, and by nobody else; what was signed is over when nobody is left.
#[tokio::test]
async fn who_signs_for_what_has_to_be_watched_watches_it() {
    let gate = gate().await;
    let (alice, bob, carol) = (gate.user("alice", &["engineers", "dba"]).await, gate.user("bob", &["dba"]).await, gate.user("carol", &["dba"]).await);
    let eve = gate.user("eve", &["engineers"]).await;
    let watched = Requirement { watched: true, ..needs("dba", 1) };
    let mut waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice.clone()), vec![watched]), now()).await.unwrap();
    let row = waiting.row();
    let unwatched = approvals(&gate).sign(row.id, &bob, &row.digest, now()).await.unwrap_err();
    assert_eq!(unwatched.to_string(), format!("it runs only while one of those who signed it watches: sign it with `countersign watch {}`", row.id));
    assert!(waiting.row().signatures.is_empty(), "it does not count");
    let own = approvals(&gate).attach(row.id, &alice, now()).await.unwrap_err();
    assert!(matches!(own, VoteError::Refused(VoteRefused::Ineligible(Ineligible::Requester))), "{own:?}");
    assert!(matches!(approvals(&gate).attach(row.id, &eve, now()).await.unwrap_err(), VoteError::NotFound(_)));
    assert!(matches!(approvals(&gate).hear(row.id, &bob, true, now()).await.unwrap_err(), VoteError::Refused(VoteRefused::Unwatched(_))));

    let (bobs, carols) = (approvals(&gate).attach(row.id, &bob, now()).await.unwrap(), approvals(&gate).attach(row.id, &carol, now()).await.unwrap());
    assert_eq!(gate.events().await[0], format!("carol recording.read {}", row.session));
    let early = approvals(&gate).hear(row.id, &bob, true, now()).await.unwrap_err();
    assert!(matches!(early, VoteError::Refused(VoteRefused::Unwatched(_))), "what waits has no end but a denial: {early:?}");
    assert!(approvals(&gate).hear(row.id, &bob, false, now()).await.is_ok());
    let mut watch = waiting.take_watch().unwrap();
    let (signatures, signed) = soon(async { tokio::join!(run(waiting), approvals(&gate).sign(row.id, &bob, &row.digest, later(1))) }).await;
    let signatures = signatures.unwrap();
    assert_eq!(signed.unwrap().state, HoldState::Approved);
    let at = tokio::time::Instant::now();
    assert!(watch.is_met_by(&signatures) && watch.until(at).is_none(), "it has not begun");
    watch.begins(&signatures);
    assert!(watch.until(at).is_some());
    assert_eq!(watch.changes(at), (vec![bob.name.clone(), carol.name.clone()], Vec::new()));
    // Carol did not sign: she watches no more, and her being there does not count.
    assert_eq!(approvals(&gate).may_still_watch(&carols, &carol, now()), Err(VoteRefused::NotSigned));
    assert!(approvals(&gate).attach(row.id, &carol, now()).await.is_err());
    drop(bobs);
    assert!(watch.until(at).is_none() && !watch.is_met_by(&signatures));
    assert_eq!(watch.changes(at), (Vec::new(), vec![bob.name.clone()]));
    // He comes back, and ends it.
    let _bobs = approvals(&gate).attach(row.id, &bob, now()).await.unwrap();
    assert!(watch.until(at).is_some() && watch.ended_by().is_none());
    approvals(&gate).hear(row.id, &bob, true, now()).await.unwrap();
    assert_eq!(watch.ended_by(), Some(bob.name.clone()));
    assert_eq!(gate.events().await[0], format!("bob hold.ended {}", row.id));
    drop(watch);
    let over = approvals(&gate).attach(row.id, &bob, now()).await.unwrap_err();
    assert!(matches!(over, VoteError::Refused(VoteRefused::Ended(HoldState::Approved))), "{over:?}");
}

#[tokio::test]
async fn what_nobody_has_to_watch_is_not_watched() {
    let gate = gate().await;
    let (alice, bob) = (gate.user("alice", &["engineers"]).await, gate.user("bob", &["dba"]).await);
    let waiting = approvals(&gate).open(drop_payments(ActorChain::alone(alice), vec![needs("dba", 1)]), now()).await.unwrap();
    let refused = approvals(&gate).attach(waiting.row().id, &bob, now()).await.unwrap_err();
    assert!(matches!(refused, VoteError::Refused(VoteRefused::NeedsNoWatcher(_))), "{refused:?}");
}
