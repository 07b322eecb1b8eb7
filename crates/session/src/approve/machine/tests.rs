//! The machine against a slow oracle that tries every seating, under any order of events.

use std::collections::BTreeSet;

use model::{GroupName, PolicyId};
use proptest::{
    collection::{btree_set, vec},
    prelude::*,
    sample::{select, subsequence},
};

use super::*;

const GROUPS: [&str; 3] = ["dba", "security", "leads"];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn person(number: u64, groups: &[&str]) -> Actor {
    Actor {
        id: IdentityId::from_random(number),
        name: format!("person-{number}").parse().unwrap(),
        kind: IdentityKind::User,
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        owner: None,
        run: None,
        granted: Vec::new(),
    }
}

fn requester() -> ActorChain {
    ActorChain::alone(person(99, &GROUPS))
}

fn requirement(number: usize, approvers: &[&str], count: u8) -> Requirement {
    let policy: PolicyId = format!("policy-{number}").parse().unwrap();
    Requirement { policy, approvers: approvers.iter().map(|group| group.parse().unwrap()).collect(), count, reason: None, watched: false }
}

/// What policy says in these tests: a member of one of the groups.
fn member(requirement: &Requirement, signer: &Actor) -> Result<(), String> {
    let fits = requirement.approvers.iter().any(|group| signer.groups.contains(group));
    if fits { Ok(()) } else { Err("in none of the groups".to_owned()) }
}

fn machine(requirements: Vec<Requirement>) -> Machine {
    Machine::new(requester(), requirements, "digest".to_owned(), at(1_000))
}

/// How many places these people can fill between them, by trying every seating.
fn oracle(requirements: &[Requirement], people: &[&Actor]) -> usize {
    let free: Vec<usize> = requirements.iter().map(|requirement| usize::from(requirement.count)).collect();
    best(requirements, people, &free)
}

fn best(requirements: &[Requirement], people: &[&Actor], free: &[usize]) -> usize {
    let Some((first, rest)) = people.split_first() else { return 0 };
    let mut most = best(requirements, rest, free);
    for (index, requirement) in requirements.iter().enumerate() {
        if free[index] > 0 && member(requirement, first).is_ok() {
            let mut free = free.to_vec();
            free[index] -= 1;
            most = most.max(1 + best(requirements, rest, &free));
        }
    }
    most
}

fn places(requirements: &[Requirement]) -> usize {
    requirements.iter().map(|requirement| usize::from(requirement.count)).sum()
}

prop_compose! {
    fn some_groups()(groups in subsequence(GROUPS.to_vec(), 0..=3)) -> Vec<&'static str> { groups }
}

prop_compose! {
    fn some_people()(groups in vec(some_groups(), 1..7)) -> Vec<Actor> {
        groups.iter().enumerate().map(|(number, groups)| person(number as u64, groups)).collect()
    }
}

prop_compose! {
    fn some_requirements()(asked in vec((subsequence(GROUPS.to_vec(), 1..=3), 1u8..=2), 1..4)) -> Vec<Requirement> {
        asked.iter().enumerate().map(|(number, (approvers, count))| requirement(number, approvers, *count)).collect()
    }
}

proptest! {
    /// NEAR-05, NEAR-06: whatever the order, as many signatures count as can be seated, each of one person, and it is complete exactly when
    /// every place can be filled.
    #[test]
    fn near_05_in_any_order_the_same_number_counts(
        requirements in some_requirements(),
        people in some_people(),
        order in vec(0usize..7, 0..20),
    ) {
        let mut machine = machine(requirements.clone());
        let mut voted: Vec<&Actor> = Vec::new();
        for signer in order.into_iter().filter_map(|number| people.get(number)) {
            let before = machine.signatures().len();
            let answer = machine.sign(signer, "digest", &member, at(1));
            let complete = before == places(&requirements);
            if !voted.iter().any(|other| other.id == signer.id) {
                voted.push(signer);
            }
            prop_assert_eq!(answer.is_ok(), machine.signatures().len() == before + 1);
            prop_assert_eq!(machine.signatures().len(), oracle(&requirements, &voted).min(places(&requirements)));
            prop_assert!(!complete || answer == Err(VoteRefused::Complete));
            prop_assert_eq!(machine.is_complete(), oracle(&requirements, &voted) == places(&requirements));
        }
        let signatures = machine.signatures();
        let distinct: BTreeSet<&IdentityName> = signatures.iter().map(|signature| &signature.signer).collect();
        prop_assert_eq!(distinct.len(), signatures.len());
        for requirement in &requirements {
            let seated: Vec<&Signature> = signatures.iter().filter(|signature| signature.policies.contains(&requirement.policy)).collect();
            prop_assert!(seated.len() <= usize::from(requirement.count));
            for signature in seated {
                let signer = people.iter().find(|person| person.name == signature.signer).unwrap();
                prop_assert!(member(requirement, signer).is_ok());
            }
        }
        prop_assert!(signatures.iter().all(|signature| signature.policies.len() == 1));
    }

    /// Whether enough people exist is asked before anybody votes, and is right.
    #[test]
    fn it_is_known_beforehand_whether_it_can_be_met(requirements in some_requirements(), people in some_people()) {
        let all: Vec<&Actor> = people.iter().collect();
        let able = oracle(&requirements, &all) == places(&requirements);
        prop_assert_eq!(machine(requirements).can_be_met(&people, &member), able);
    }

    /// NEAR-05: nobody signs what runs in their name, on their behalf, by what they own, or with a token they minted, whatever groups they are in.
    #[test]
    fn near_05_nobody_signs_their_own(
        requirements in some_requirements(),
        through in select(vec!["subject", "actor", "owner of subject", "owner of actor", "minter", "same name", "agent"]),
    ) {
        let mut signer = person(1, &GROUPS);
        let mut bot = Actor { kind: IdentityKind::Agent, ..person(2, &GROUPS) };
        let mut chain = ActorChain { actors: vec![bot.clone()], ..requester() };
        match through {
            "subject" => chain.subject = signer.clone(),
            "actor" => chain.actors.push(signer.clone()),
            "owner of subject" => chain.subject.owner = Some(signer.name.clone()),
            "owner of actor" => { bot.owner = Some(signer.name.clone()); chain.actors = vec![bot]; }
            "minter" => chain.minted_by = Some(signer.name.clone()),
            "same name" => chain.subject.name = signer.name.clone(),
            "agent" => { signer.kind = IdentityKind::Agent; signer.owner = Some(chain.subject.name.clone()); }
            other => unreachable!("{other}"),
        }
        let mut machine = Machine::new(chain, requirements, "digest".to_owned(), at(1_000));
        prop_assert!(!machine.can_be_met(&vec![signer.clone(); 12], &member));
        prop_assert!(matches!(machine.sign(&signer, "digest", &member, at(1)), Err(VoteRefused::Ineligible(_))));
        prop_assert!(matches!(machine.deny(&signer, None, &member, at(1)), Err(VoteRefused::Ineligible(_))));
        prop_assert_eq!(machine.state(), HoldState::Waiting);
    }

    /// Groups and policy change between votes, and some signers are revoked: it is released only if those who signed could all still sign, and
    /// otherwise voided. Nothing else ever releases it, and what has ended stays as it ended.
    #[test]
    fn it_is_released_only_while_every_signature_holds(
        requirements in some_requirements(),
        people in some_people(),
        everybody_signs in any::<bool>(),
        events in vec(event(), 0..12),
        revoked in btree_set(0usize..7, 0..2),
    ) {
        let mut machine = machine(requirements.clone());
        let mut standing = people.clone();
        let mut now = 0;
        let first = (0..if everybody_signs { people.len() } else { 0 }).map(Event::Sign);
        for event in first.chain(events) {
            let before = machine.state();
            let ended = machine.has_ended();
            let complete = machine.is_complete();
            match event {
                Event::Sign(number) => if let Some(signer) = standing.get(number) {
                    let answer = machine.sign(signer, "digest", &member, at(now));
                    prop_assert!(answer.is_err() || !(ended || complete || now >= 1_000));
                },
                Event::Deny(number) => if let Some(signer) = standing.get(number) {
                    let may = requirements.iter().any(|requirement| member(requirement, signer).is_ok());
                    let answer = machine.deny(signer, None, &member, at(now));
                    prop_assert_eq!(answer.is_ok(), may && !ended && (complete || now < 1_000));
                },
                Event::Move(number, groups) => if let Some(person) = standing.get_mut(number) {
                    person.groups = groups.iter().map(|group| group.parse::<GroupName>().unwrap()).collect();
                },
                Event::Wait(seconds) => now += seconds,
                Event::Expire => { machine.expire(at(now)); }
                Event::Withdraw => { machine.withdraw("left"); }
                Event::Release => {
                    let there: Vec<Actor> = standing.iter().enumerate().filter(|(n, _)| !revoked.contains(n)).map(|(_, p)| p.clone()).collect();
                    let signed: Vec<&Actor> =
                        machine.signers().filter_map(|(id, _)| there.iter().find(|person| person.id == id)).collect();
                    let holds = complete && signed.len() == machine.signatures().len() && oracle(&requirements, &signed) == places(&requirements);
                    let released = machine.release(&there, &member);
                    prop_assert_eq!(released.is_ok(), holds);
                    prop_assert_eq!(released.is_ok(), machine.state() == HoldState::Approved && !ended);
                    let voided = matches!(machine.state(), HoldState::Voided { .. });
                    prop_assert_eq!(voided, (complete && !holds) || matches!(before, HoldState::Voided { .. }));
                }
            }
            if ended {
                prop_assert_eq!(machine.state(), before);
            }
            prop_assert!(machine.state() != HoldState::Approved || ended || complete);
        }
    }

    /// Role changes after the last signature: it is released exactly if the people who signed, as they stand now, could still fill every place.
    #[test]
    fn roles_that_change_before_the_release_count_as_they_are_then(
        asked in vec((subsequence(GROUPS.to_vec(), 1..=2), 1u8..=2), 1..3),
        groups in vec(subsequence(GROUPS.to_vec(), 1..=3), 4..8),
        moves in vec((0usize..4, some_groups()), 0..4),
    ) {
        let requirements: Vec<Requirement> =
            asked.iter().enumerate().map(|(number, (approvers, count))| requirement(number, approvers, *count)).collect();
        let mut people: Vec<Actor> = groups.iter().enumerate().map(|(number, groups)| person(number as u64, groups)).collect();
        let mut machine = machine(requirements.clone());
        for signer in &people {
            machine.sign(signer, "digest", &member, at(1)).ok();
        }
        prop_assume!(machine.is_complete());
        for (number, groups) in moves {
            people[number].groups = groups.iter().map(|group| group.parse::<GroupName>().unwrap()).collect();
        }
        let signed: Vec<&Actor> = machine.signers().filter_map(|(id, _)| people.iter().find(|person| person.id == id)).collect();
        let still = oracle(&requirements, &signed) == places(&requirements);
        prop_assert_eq!(machine.release(&people, &member).is_ok(), still);
        prop_assert_eq!(machine.state() == HoldState::Approved, still);
        prop_assert_eq!(matches!(machine.state(), HoldState::Voided { .. }), !still);
    }
}

#[derive(Debug, Clone)]
enum Event {
    Sign(usize),
    Deny(usize),
    Move(usize, Vec<&'static str>),
    Wait(i64),
    Expire,
    Withdraw,
    Release,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0usize..7).prop_map(Event::Sign),
        1 => (0usize..7).prop_map(Event::Deny),
        2 => (0usize..7, some_groups()).prop_map(|(number, groups)| Event::Move(number, groups)),
        1 => (0i64..600).prop_map(Event::Wait),
        1 => Just(Event::Expire),
        1 => Just(Event::Withdraw),
        4 => Just(Event::Release),
    ]
}

#[test]
fn somebody_in_two_groups_is_moved_so_that_another_can_sit() {
    // bob sits for dba first; carol can only sit there, so bob is moved to security.
    let mut machine = machine(vec![requirement(0, &["dba"], 1), requirement(1, &["security"], 1)]);
    let (bob, carol) = (person(1, &["dba", "security"]), person(2, &["dba"]));
    assert_eq!(machine.sign(&bob, "digest", &member, at(1)), Ok(Progress::Waiting { missing: 1 }));
    assert_eq!(machine.signatures()[0].policies[0].as_str(), "policy-0");
    assert_eq!(machine.sign(&carol, "digest", &member, at(2)), Ok(Progress::Complete));
    let seats: Vec<String> = machine.signatures().iter().map(|s| format!("{} {}", s.signer, s.policies[0])).collect();
    assert_eq!(seats, ["person-1 policy-1", "person-2 policy-0"]);
}

#[test]
fn near_05_one_person_in_both_groups_does_not_fill_both() {
    let mut machine = machine(vec![requirement(0, &["dba"], 1), requirement(1, &["security"], 1)]);
    let bob = person(1, &["dba", "security"]);
    assert!(!machine.can_be_met(std::slice::from_ref(&bob), &member));
    assert_eq!(machine.sign(&bob, "digest", &member, at(1)), Ok(Progress::Waiting { missing: 1 }));
    assert_eq!(machine.sign(&bob, "digest", &member, at(1)), Err(VoteRefused::Twice));
    let same_name = Actor { id: IdentityId::from_random(77), ..bob };
    assert_eq!(machine.sign(&same_name, "digest", &member, at(1)), Err(VoteRefused::Twice));
}

#[test]
fn a_signature_that_could_not_help_says_what_is_still_open() {
    let mut machine = machine(vec![requirement(0, &["dba"], 1), requirement(1, &["security"], 1)]);
    machine.sign(&person(1, &["dba"]), "digest", &member, at(1)).unwrap();
    let refused = machine.sign(&person(2, &["dba"]), "digest", &member, at(1)).unwrap_err();
    assert_eq!(refused.to_string(), "the signatures you could give are there already; it still waits for 1 of security (policy-1)");
}

#[test]
fn only_what_was_shown_is_signed() {
    let mut machine = machine(vec![requirement(0, &["dba"], 1)]);
    let bob = person(1, &["dba"]);
    assert_eq!(machine.sign(&bob, "another", &member, at(1)), Err(VoteRefused::OtherDigest));
    assert_eq!(machine.sign(&bob, "digest", &member, at(1)), Ok(Progress::Complete));
    assert_eq!(machine.release(&[bob], &member).unwrap().len(), 1);
}

#[test]
fn it_expires_at_its_moment_and_not_while_it_is_being_released() {
    let bob = person(1, &["dba"]);
    let mut late = machine(vec![requirement(0, &["dba"], 1)]);
    assert!(!late.expire(at(999)));
    assert_eq!(late.sign(&bob, "digest", &member, at(1_000)), Err(VoteRefused::Expired(at(1_000))));
    assert!(late.expire(at(1_000)));
    assert!(!late.withdraw("left"));
    assert_eq!(late.state(), HoldState::Expired);
    let mut signed = machine(vec![requirement(0, &["dba"], 1)]);
    signed.sign(&bob, "digest", &member, at(999)).unwrap();
    assert!(!signed.expire(at(1_001)));
    assert!(signed.release(&[bob], &member).is_ok());
}

#[test]
fn a_no_counts_while_a_signed_operation_is_being_checked() {
    let (bob, carol) = (person(1, &["dba"]), person(2, &["dba"]));
    let mut machine = machine(vec![requirement(0, &["dba"], 1)]);
    machine.sign(&bob, "digest", &member, at(1)).unwrap();
    machine.deny(&carol, Some("not now".to_owned()), &member, at(1)).unwrap();
    assert_eq!(machine.release(&[bob, carol], &member), Err("person-2 denied it".to_owned()));
}

#[test]
fn a_signer_whose_name_was_given_to_somebody_else_no_longer_counts() {
    let bob = person(1, &["dba"]);
    let mut machine = machine(vec![requirement(0, &["dba"], 1)]);
    machine.sign(&bob, "digest", &member, at(1)).unwrap();
    let other = Actor { id: IdentityId::from_random(77), ..bob };
    assert!(machine.release(&[other], &member).is_err());
    assert!(matches!(machine.state(), HoldState::Voided { .. }));
}

#[test]
fn signers_who_crowd_into_one_group_no_longer_fill_both_requirements() {
    let mut machine = machine(vec![requirement(0, &["dba"], 1), requirement(1, &["security"], 1)]);
    let (bob, carol) = (person(1, &["dba"]), person(2, &["security"]));
    machine.sign(&bob, "digest", &member, at(1)).unwrap();
    machine.sign(&carol, "digest", &member, at(1)).unwrap();
    let moved = person(1, &["security"]);
    let why = machine.release(&[moved, carol], &member).unwrap_err();
    assert_eq!(why, "the people who signed no longer meet every requirement between them");
}

#[test]
fn a_thousand_people_and_fifty_places_are_seated_in_no_time() {
    let people: Vec<Actor> = (0..1_000).map(|number| person(number, &GROUPS)).collect();
    let requirements: Vec<Requirement> = (0..10).map(|number| requirement(number, &["dba"], 5)).collect();
    assert!(machine(requirements).can_be_met(&people, &member));
}
