//! One held operation as a state machine: who signed, what that covers, and how it ended.
//!
//! Pure: no store, no timers, no clock. Everything a transition depends on is an argument, so that [`Machine`] can be tried in any order of
//! events. `desk` gives it turns one after the other, writes each result down before it is acknowledged, and keeps the time.
//!
//! Two rules decide what a signature is worth:
//!
//! - **One person fills one place.** Each requirement has `count` places. A signature is accepted when the people who signed, this one
//!   included, can be seated so that one more place is filled than before; earlier signers are re-seated for that if need be. Nobody is turned
//!   away because somebody who could have sat elsewhere came first, and nobody fills two places however many groups they are in.
//! - **Nobody signs their own.** Members of the requester's chain, the owners of workloads and agents in it and whoever minted the token are
//!   barred, whatever their groups; so is everything that is not a person.

use std::fmt;

use model::{
    Actor, ActorChain, HoldId, IdentityId, IdentityKind, IdentityName, Requirement, Timestamp,
    hold::{HoldState, Signature},
};

/// Why somebody may not sign. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ineligible {
    /// A workload or an agent.
    #[error("only people sign, and {0} is not a person")]
    NotAPerson(IdentityName),
    /// A member of the requester's chain.
    #[error("nobody signs what runs in their own name")]
    Requester,
    /// The owner of a workload or agent in the chain.
    #[error("you own {0}, in whose name it runs; somebody else must sign")]
    Owner(IdentityName),
    /// Whoever minted the token the session was opened with.
    #[error("you minted the token it was asked with; somebody else must sign")]
    Minter,
    /// Not in the approvers' groups, or not permitted `approve`.
    #[error("{0}")]
    Policy(String),
}

/// Why a signature or a denial did not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoteRefused {
    /// It is over.
    #[error("it is no longer waiting: {}", Ended(.0))]
    Ended(HoldState),
    /// Its time has passed, though nobody has written that down yet.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// All signatures are there and the operation is being checked for release.
    #[error("all signatures are there already")]
    Complete,
    /// The digest named is not this operation's.
    #[error("what you were shown is not what is waiting: look at it again, then sign")]
    OtherDigest,
    /// It has to be watched, and they do not.
    #[error("it runs only while one of those who signed it watches: sign it with `countersign watch {0}`")]
    Unwatched(HoldId),
    /// Nobody has to watch it.
    #[error("{0} is not one that has to be watched: `countersign approve {0}` signs it")]
    NeedsNoWatcher(HoldId),
    /// It was released, and they did not sign it.
    #[error("it runs by the signatures of others, and those who signed it watch it")]
    NotSigned,
    /// They may not sign.
    #[error(transparent)]
    Ineligible(#[from] Ineligible),
    /// They signed already.
    #[error("you signed it already; one person counts once")]
    Twice,
    /// What they could sign for is filled; other requirements are still open.
    #[error("the signatures you could give are there already; it still waits for {0}")]
    NotNeeded(String),
}

/// A final state, in words.
struct Ended<'a>(&'a HoldState);

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            HoldState::Waiting => f.write_str("it waits"),
            HoldState::Approved => f.write_str("it was approved and has run"),
            HoldState::Denied { by, .. } => write!(f, "{by} denied it"),
            HoldState::Expired => f.write_str("it expired"),
            HoldState::Withdrawn { why } => write!(f, "it was withdrawn: {why}"),
            HoldState::Voided { why } => write!(f, "its signatures were voided: {why}"),
        }
    }
}

/// What an accepted signature led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More are needed.
    Waiting {
        /// How many.
        missing: usize,
    },
    /// Every requirement is met; the operation must now be checked again and released or voided.
    Complete,
}

/// What the machine asks of its surroundings: may this person sign for this requirement, under the policy now in force?
pub trait Eligibility {
    /// `Ok` if `signer` may sign for `requirement`; otherwise why not, for people.
    ///
    /// # Errors
    /// The sentence that says why not.
    fn may_sign(&self, requirement: &Requirement, signer: &Actor) -> Result<(), String>;
}

impl<F: Fn(&Requirement, &Actor) -> Result<(), String>> Eligibility for F {
    fn may_sign(&self, requirement: &Requirement, signer: &Actor) -> Result<(), String> {
        self(requirement, signer)
    }
}

/// One held operation.
#[derive(Debug, Clone)]
pub struct Machine {
    chain: ActorChain,
    requirements: Vec<Requirement>,
    digest: String,
    expires_at: Timestamp,
    votes: Vec<Vote>,
    stage: Stage,
}

#[derive(Debug, Clone)]
struct Vote {
    signer: IdentityId,
    name: IdentityName,
    at: Timestamp,
    /// The requirements they may sign for, by index.
    able: Vec<usize>,
    /// The requirement they are seated at. INVARIANT: every accepted vote has a seat.
    seat: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Waiting,
    Complete,
    Ended(HoldState),
}

impl Machine {
    /// An operation asked by `chain` that waits for `requirements` until `expires_at`; signers must name `digest`.
    #[must_use]
    pub const fn new(chain: ActorChain, requirements: Vec<Requirement>, digest: String, expires_at: Timestamp) -> Self {
        Self { chain, requirements, digest, expires_at, votes: Vec::new(), stage: Stage::Waiting }
    }

    /// Whether `signers`, all of them together, could meet every requirement.
    #[must_use]
    pub fn can_be_met(&self, signers: &[Actor], policy: &impl Eligibility) -> bool {
        let places = self.places();
        let mut able: Vec<Vec<usize>> = Vec::new();
        for signer in signers {
            let Ok(at) = self.able(signer, policy) else { continue };
            // As many candidates as there are places in all are enough for each requirement: one of them is always free.
            let useful = at.iter().any(|index| able.iter().filter(|other| other.contains(index)).count() < places);
            if useful {
                able.push(at);
            }
            if useful && able.len() >= places && self.seat(&able).is_some_and(|seats| seats.iter().flatten().count() == places) {
                return true;
            }
        }
        false
    }

    /// The requirements `signer` may sign for, without regard to what is already signed.
    ///
    /// # Errors
    /// Why there is none: barred, or what policy says of the first requirement.
    pub fn eligible(&self, signer: &Actor, policy: &impl Eligibility) -> Result<Vec<&Requirement>, Ineligible> {
        Ok(self.able(signer, policy)?.into_iter().filter_map(|index| self.requirements.get(index)).collect())
    }

    /// Counts a signature of `signer` over the operation whose digest is `digest`.
    ///
    /// # Errors
    /// Why it does not count; the machine is then unchanged.
    pub fn sign(&mut self, signer: &Actor, digest: &str, policy: &impl Eligibility, now: Timestamp) -> Result<Progress, VoteRefused> {
        self.open_to_votes(now)?;
        let able = self.able(signer, policy)?;
        if self.votes.iter().any(|vote| vote.signer == signer.id || vote.name == signer.name) {
            return Err(VoteRefused::Twice);
        }
        if digest != self.digest {
            return Err(VoteRefused::OtherDigest);
        }
        let mut everyone: Vec<Vec<usize>> = self.votes.iter().map(|vote| vote.able.clone()).collect();
        everyone.push(able.clone());
        let seats =
            self.seat(&everyone).filter(|seats| seats.iter().all(Option::is_some)).ok_or_else(|| VoteRefused::NotNeeded(self.open_places()))?;
        self.votes.push(Vote { signer: signer.id, name: signer.name.clone(), at: now, able, seat: 0 });
        for (vote, seat) in self.votes.iter_mut().zip(seats.into_iter().flatten()) {
            vote.seat = seat;
        }
        let missing = self.missing();
        if missing == 0 {
            self.stage = Stage::Complete;
            return Ok(Progress::Complete);
        }
        Ok(Progress::Waiting { missing })
    }

    /// Ends it with a no. One eligible signer suffices, also one who signed before, and also while a complete operation is being checked.
    ///
    /// # Errors
    /// Why it does not count; the machine is then unchanged.
    pub fn deny(&mut self, signer: &Actor, reason: Option<String>, policy: &impl Eligibility, now: Timestamp) -> Result<(), VoteRefused> {
        match self.open_to_votes(now) {
            Ok(()) | Err(VoteRefused::Complete) => {}
            Err(refused) => return Err(refused),
        }
        self.able(signer, policy)?;
        self.stage = Stage::Ended(HoldState::Denied { by: signer.name.clone(), reason });
        Ok(())
    }

    /// Ends it if its time has come. A complete operation being checked for release does not expire: the last signature was in time.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let expires = self.stage == Stage::Waiting && now >= self.expires_at;
        if expires {
            self.stage = Stage::Ended(HoldState::Expired);
        }
        expires
    }

    /// Ends it from the caller's side: cancelled, left, session ended. Nothing happens to one that has ended.
    pub fn withdraw(&mut self, why: &str) -> bool {
        self.end_with(HoldState::Withdrawn { why: why.to_owned() })
    }

    /// Ends it because what was signed is not what would run. Nothing happens to one that has ended.
    pub fn void(&mut self, why: &str) -> bool {
        self.end_with(HoldState::Voided { why: why.to_owned() })
    }

    /// Looks at every signer again and releases the operation if their signatures still meet every requirement; otherwise voids it.
    ///
    /// `standing` are the signers as the register knows them now; one who is missing from it (revoked, gone, the name given to somebody else)
    /// may no longer sign.
    ///
    /// # Errors
    /// What differs. The machine has ended in both cases. If it had ended before, or was not complete, nothing is released either.
    pub fn release(&mut self, standing: &[Actor], policy: &impl Eligibility) -> Result<Vec<Signature>, String> {
        if self.stage != Stage::Complete {
            return Err(match &self.stage {
                Stage::Ended(state) => Ended(state).to_string(),
                Stage::Waiting | Stage::Complete => "it is not signed by all who must".to_owned(),
            });
        }
        match self.seats_now(standing, policy) {
            Ok(votes) => {
                self.votes = votes;
                self.stage = Stage::Ended(HoldState::Approved);
                Ok(self.signatures())
            }
            Err(why) => {
                self.void(&why);
                Err(why)
            }
        }
    }

    /// Who signed, in order, and what each signature counts for.
    #[must_use]
    pub fn signatures(&self) -> Vec<Signature> {
        let policies = |seat: usize| self.requirements.get(seat).map(|requirement| requirement.policy.clone()).into_iter().collect();
        self.votes.iter().map(|vote| Signature { signer: vote.name.clone(), at: vote.at, policies: policies(vote.seat) }).collect()
    }

    /// The signers by id and name, in the order they signed.
    pub fn signers(&self) -> impl Iterator<Item = (IdentityId, &IdentityName)> {
        self.votes.iter().map(|vote| (vote.signer, &vote.name))
    }

    /// How it stands, for rows and listings: a complete one still waits.
    #[must_use]
    pub fn state(&self) -> HoldState {
        match &self.stage {
            Stage::Waiting | Stage::Complete => HoldState::Waiting,
            Stage::Ended(state) => state.clone(),
        }
    }

    /// Whether every requirement is met and it waits to be released or voided.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// Whether nothing can change it any more.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// How many signatures are missing.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.places().saturating_sub(self.votes.len())
    }

    /// The chain that asked.
    #[must_use]
    pub const fn chain(&self) -> &ActorChain {
        &self.chain
    }

    fn open_to_votes(&self, now: Timestamp) -> Result<(), VoteRefused> {
        match &self.stage {
            Stage::Ended(state) => Err(VoteRefused::Ended(state.clone())),
            Stage::Complete => Err(VoteRefused::Complete),
            Stage::Waiting if now >= self.expires_at => Err(VoteRefused::Expired(self.expires_at)),
            Stage::Waiting => Ok(()),
        }
    }

    fn end_with(&mut self, state: HoldState) -> bool {
        let ends = !self.has_ended();
        if ends {
            self.stage = Stage::Ended(state);
        }
        ends
    }

    /// Indices of the requirements `signer` may sign for; never empty.
    fn able(&self, signer: &Actor, policy: &impl Eligibility) -> Result<Vec<usize>, Ineligible> {
        barred(&self.chain, signer)?;
        let mut able = Vec::new();
        let mut first = None;
        for (index, requirement) in self.requirements.iter().enumerate() {
            match policy.may_sign(requirement, signer) {
                Ok(()) => able.push(index),
                Err(why) => first = first.or(Some(why)),
            }
        }
        if able.is_empty() {
            return Err(Ineligible::Policy(first.unwrap_or_else(|| "there is nothing to sign".to_owned())));
        }
        Ok(able)
    }

    fn seats_now(&self, standing: &[Actor], policy: &impl Eligibility) -> Result<Vec<Vote>, String> {
        let mut votes = Vec::with_capacity(self.votes.len());
        for vote in &self.votes {
            let signer = standing.iter().find(|actor| actor.id == vote.signer && actor.name == vote.name);
            let signer = signer.ok_or_else(|| format!("{}, who signed, is no longer an active identity", vote.name))?;
            let able = self.able(signer, policy).map_err(|why| format!("{}, who signed, may no longer sign: {why}", vote.name))?;
            votes.push(Vote { able, ..vote.clone() });
        }
        let able: Vec<Vec<usize>> = votes.iter().map(|vote| vote.able.clone()).collect();
        let seats = self.seat(&able).filter(|seats| seats.iter().flatten().count() == self.places());
        let seats = seats.ok_or_else(|| "the people who signed no longer meet every requirement between them".to_owned())?;
        for (vote, seat) in votes.iter_mut().zip(seats.into_iter().flatten()) {
            vote.seat = seat;
        }
        Ok(votes)
    }

    /// How many signatures it takes in all. A requirement of nobody would be no requirement: it counts as one.
    fn places(&self) -> usize {
        self.requirements.iter().map(capacity).sum()
    }

    fn open_places(&self) -> String {
        let taken = |index: usize| self.votes.iter().filter(|vote| vote.seat == index).count();
        let open = self.requirements.iter().enumerate().filter_map(|(index, requirement)| {
            let missing = capacity(requirement).saturating_sub(taken(index));
            let groups: Vec<&str> = requirement.approvers.iter().map(model::GroupName::as_str).collect();
            (missing > 0).then(|| format!("{missing} of {} ({})", groups.join(" or "), requirement.policy))
        });
        open.collect::<Vec<_>>().join(", ")
    }

    /// Seats as many people as possible, each at one of the requirements they are able for: a maximum bipartite matching with capacities, by
    /// augmenting paths (Kuhn). People earlier in the list never lose their seat altogether to later ones, only change it.
    /// `None` only if an index is out of range.
    fn seat(&self, able: &[Vec<usize>]) -> Option<Vec<Option<usize>>> {
        let mut seats: Vec<Option<usize>> = vec![None; able.len()];
        for person in 0..able.len() {
            let mut tried = vec![false; self.requirements.len()];
            self.place(person, able, &mut seats, &mut tried)?;
        }
        Some(seats)
    }

    /// Finds a seat for `person`, moving others along if that frees one. `Some(false)` if there is none.
    fn place(&self, person: usize, able: &[Vec<usize>], seats: &mut Vec<Option<usize>>, tried: &mut Vec<bool>) -> Option<bool> {
        for &at in able.get(person)? {
            if std::mem::replace(tried.get_mut(at)?, true) {
                continue;
            }
            let sitting: Vec<usize> = (0..seats.len()).filter(|other| seats.get(*other) == Some(&Some(at))).collect();
            let mut free = sitting.len() < capacity(self.requirements.get(at)?);
            for other in sitting {
                if free {
                    break;
                }
                free = self.place(other, able, seats, tried)?;
            }
            if free {
                *seats.get_mut(person)? = Some(at);
                return Some(true);
            }
        }
        Some(false)
    }
}

fn capacity(requirement: &Requirement) -> usize {
    usize::from(requirement.count.max(1))
}

/// Refuses whoever may never sign for `chain`, whatever their groups.
///
/// # Errors
/// Why they may not.
pub fn barred(chain: &ActorChain, signer: &Actor) -> Result<(), Ineligible> {
    if signer.kind != IdentityKind::User {
        return Err(Ineligible::NotAPerson(signer.name.clone()));
    }
    if chain.members().any(|member| member.id == signer.id || member.name == signer.name) {
        return Err(Ineligible::Requester);
    }
    if let Some(owned) = chain.members().find(|member| member.owner.as_ref() == Some(&signer.name)) {
        return Err(Ineligible::Owner(owned.name.clone()));
    }
    if chain.minted_by.as_ref() == Some(&signer.name) {
        return Err(Ineligible::Minter);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
