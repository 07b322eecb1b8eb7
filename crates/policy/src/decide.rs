//! Allow, hold or deny: every pair of an operation, for every member of the actor chain.
//!
//! Doubt denies: a policy that errs, facts that cannot be put to the policies, an operation that asks for nothing.

use std::{cell::OnceCell, collections::BTreeSet};

use cedar_policy::{Context, Entities};
use model::{
    Action, Actor, ActorChain, Connection, DataClassName, Decision, Facts, IdentityKind, Object, Outcome, Pair, PolicyId, Requirement, Risk,
    SystemAction, Timestamp, Understanding, connection::Protocol, facts::Comparison,
};

use crate::{
    Version,
    classify::postgres::{catalog::Catalog, level},
    masking::{self, MaskPlan},
    rulebook::{Answer, Circumstances, Question, Rulebook, Sets, Unaskable, World},
};

/// Most sentences a decision gives; a statement over a thousand tables would otherwise give a thousand.
const MAX_REASONS: usize = 8;

/// One operation to decide.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Who asks.
    pub chain: &'a ActorChain,
    /// Where.
    pub connection: &'a Connection,
    /// In which database.
    pub database: &'a str,
    /// What it means.
    pub facts: &'a Facts,
    /// What its caller did before.
    pub recent: Recent,
    /// When.
    pub now: Timestamp,
}

/// What a caller did on a connection lately, before the operation being decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    /// Rows changed.
    pub rows_written: u64,
}

/// What policy says of an operation, and what it was asked.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The facts with the pairs that follow from the data classes in force; none if there are no such pairs.
    pub facts: Option<Facts>,
    /// Allow, hold or deny.
    pub decision: Decision,
    /// How the answer is masked; none if it passes untouched.
    pub plan: Option<MaskPlan>,
}

/// Decides one operation, with all that data classes have to say of it.
#[must_use]
pub fn judge(version: &Version, case: &Case<'_>, catalog: &Catalog) -> Judgement {
    let plan = masking::plan(version, case, catalog);
    let filters = plan.as_ref().map(|plan| plan.filters.as_slice()).unwrap_or_default();
    let facts = (!filters.is_empty() || case.facts.asks(Action::Filter)).then(|| {
        let mut facts = case.facts.clone();
        // Those of another version do not count.
        facts.pairs.retain(|pair| pair.action != Action::Filter);
        let pair =
            |(class, _): &(DataClassName, Comparison)| Pair { action: Action::Filter, object: Object::DataClass { class: class.as_str().into() } };
        facts.pairs.extend(filters.iter().map(pair));
        facts.pairs.sort_unstable();
        let risk = facts.pairs.iter().map(|pair| level(pair.action)).max().unwrap_or_default();
        facts.risk = facts.risk.max(Risk::new(risk));
        facts
    });
    let decision = decide_on(version, &Case { facts: facts.as_ref().unwrap_or(case.facts), ..*case }, filters, Watching::Impossible);
    let unmaskable = plan.as_ref().and_then(|plan| {
        let copies = plan.copy_refused && case.facts.effects.copy_out;
        let why = || {
            let what = if plan.only_detects() { "is looked through for sensitive values" } else { "touches classified values" };
            format!("this COPY {what} and cannot be masked: its format, its encoding or the statements beside it; use SELECT")
        };
        plan.copies_refused.clone().or_else(|| copies.then(why))
    });
    let decision = match unmaskable {
        Some(why) if decision.outcome != Outcome::Deny => Decision { outcome: Outcome::Deny, reasons: vec![why], ..decision },
        _ => decision,
    };
    Judgement { facts, decision, plan }
}

/// Decides one operation. `reveal` is no part of it: it only decides masks. What would have to be watched is denied, like everywhere but in
/// [`decide_watchable`]: nobody can watch it.
#[must_use]
pub fn decide(version: &Version, case: &Case<'_>) -> Decision {
    decide_on(version, case, &[], Watching::Impossible)
}

/// As [`decide`], of something that shows what it does while it runs, and whose protocol ends it when nobody watches.
#[must_use]
pub fn decide_watchable(version: &Version, case: &Case<'_>) -> Decision {
    decide_on(version, case, &[], Watching::Possible)
}

/// As [`decide`], of something of which only what it asks for is known: it may be watchable where its protocol has such things.
#[must_use]
pub fn decide_at_best(version: &Version, case: &Case<'_>) -> Decision {
    match case.connection.protocol {
        Protocol::Ssh => decide_watchable(version, case),
        Protocol::Postgres => decide(version, case),
    }
}

/// Whether somebody can watch what is decided while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watching {
    Possible,
    Impossible,
}

/// As [`decide`], with what is learnt of each class that is filtered by: of one that is not listed, anything.
fn decide_on(version: &Version, case: &Case<'_>, filters: &[(DataClassName, Comparison)], watching: Watching) -> Decision {
    let mut pairs: Vec<&Pair> = case.facts.pairs.iter().filter(|pair| pair.action != Action::Reveal).collect();
    let unnamed = Pair { action: Action::Unreadable, object: Object::Connection };
    if matches!(case.facts.understanding, Understanding::Unreadable(_)) && !case.facts.asks(Action::Unreadable) {
        pairs.push(&unnamed);
    }
    let circumstances = Circumstances {
        connection: Some((case.connection, case.database)),
        statement: Some(case.facts),
        comparison: None,
        wish: None,
        recent: case.recent,
        now: case.now,
    };
    Hearing { version, chain: case.chain, connection: case.connection, facts: Some(case.facts), filters, watching }.decide(&pairs, &circumstances)
}

/// Decides whether a session may be opened, or stay open under a new version.
#[must_use]
pub fn decide_connect(version: &Version, chain: &ActorChain, connection: &Connection, database: &str, now: Timestamp) -> Decision {
    let connect = Pair { action: Action::Connect, object: Object::Connection };
    let circumstances =
        Circumstances { connection: Some((connection, database)), statement: None, comparison: None, wish: None, recent: Recent::default(), now };
    Hearing { version, chain, connection, facts: None, filters: &[], watching: Watching::Impossible }.decide(&[&connect], &circumstances)
}

/// A role that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish<'a> {
    /// As the connection names it.
    pub role: &'a str,
    /// For how long, in seconds.
    pub window_s: u64,
    /// Whether for a single statement.
    pub one_statement: bool,
    /// Why.
    pub reason: &'a str,
}

/// Decides a request: allow grants it at once, hold once it is signed.
#[must_use]
pub fn decide_request(version: &Version, chain: &ActorChain, connection: &Connection, wish: Wish<'_>, now: Timestamp) -> Decision {
    let request = Pair { action: Action::Request, object: Object::Role { role: wish.role.into() } };
    let place = Some((connection, connection.database.as_str()));
    let circumstances = Circumstances { connection: place, statement: None, comparison: None, wish: Some(wish), recent: Recent::default(), now };
    Hearing { version, chain, connection, facts: None, filters: &[], watching: Watching::Impossible }.decide(&[&request], &circumstances)
}

/// Whether one identity may do something to Countersign itself.
#[must_use]
pub fn may(version: &Version, actor: &Actor, action: SystemAction, now: Timestamp) -> bool {
    let rulebook = &version.rulebook;
    let ask = || -> Result<bool, Unaskable> {
        let mut world = World::new(rulebook.vocabulary());
        let principal = rulebook.party(&world.actor(actor)?);
        let resource = rulebook.party(&world.system()?);
        let entities = world.close()?;
        let circumstances = Circumstances { connection: None, statement: None, comparison: None, wish: None, recent: Recent::default(), now };
        let context = circumstances.context(rulebook.vocabulary(), &|name| rulebook.looks_at(name), None)?;
        let question = Question { principal: &principal, action: action.as_str(), resource: &resource };
        let mut sets = Sets::default();
        let set = rulebook.policy_set(&mut sets, rulebook.slice(&question))?;
        let answer = rulebook.ask(&question, set, &context, &entities)?;
        Ok(answer.allowed && answer.erred.is_empty())
    };
    ask().unwrap_or(false)
}

/// Whether every member of the chain may see values of a class unmasked.
#[must_use]
pub fn may_reveal(version: &Version, chain: &ActorChain, connection: &Connection, database: &str, class: &DataClassName, now: Timestamp) -> bool {
    let rulebook = &version.rulebook;
    let ask = || -> Result<bool, Unaskable> {
        let mut world = World::new(rulebook.vocabulary());
        world.connection(connection)?;
        let resource = rulebook.party(&world.class(class.as_str())?);
        let members = chain.members().map(|actor| Ok(rulebook.party(&world.member(actor, now)?))).collect::<Result<Vec<_>, Unaskable>>()?;
        let entities = world.close()?;
        let circumstances =
            Circumstances { connection: Some((connection, database)), statement: None, comparison: None, wish: None, recent: Recent::default(), now };
        let context = circumstances.context(rulebook.vocabulary(), &|name| rulebook.looks_at(name), None)?;
        let mut sets = Sets::default();
        for principal in &members {
            let question = Question { principal, action: Action::Reveal.as_str(), resource: &resource };
            let set = rulebook.policy_set(&mut sets, rulebook.slice(&question))?;
            let answer = rulebook.ask(&question, set, &context, &entities)?;
            if !answer.allowed || !answer.erred.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    ask().unwrap_or(false)
}

/// Why somebody may not sign, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEligible {
    /// Workloads and agents never sign.
    #[error("only people can sign; {0} is a {1}")]
    NotAPerson(String, &'static str),
    /// It is their own operation, or one made on their behalf or by them for another.
    #[error("{0} takes part in this operation and cannot sign it")]
    TakesPart(String),
    /// They answer for a workload or agent in the chain.
    #[error("{0} owns {1}, which takes part in this operation, and cannot sign it")]
    Owns(String, String),
    /// They made the token the session was opened with.
    #[error("{0} minted the token this session was opened with, and cannot sign its operations")]
    Minted(String),
    /// They are in none of the groups.
    #[error("{0} is in none of the groups that may sign `{1}`: {2}")]
    NotAnApprover(String, PolicyId, String),
    /// No policy permits them `approve`.
    #[error("no policy permits {0} to `approve`")]
    NotPermitted(String),
}

/// Whether somebody may sign one requirement of an operation of this chain.
///
/// # Errors
/// Why not.
pub fn eligible(version: &Version, requirement: &Requirement, chain: &ActorChain, signer: &Actor, now: Timestamp) -> Result<(), NotEligible> {
    let name = || signer.name.to_string();
    if signer.kind != IdentityKind::User {
        return Err(NotEligible::NotAPerson(name(), signer.kind.as_str()));
    }
    for member in chain.members() {
        if member.id == signer.id || member.name == signer.name {
            return Err(NotEligible::TakesPart(name()));
        }
        if member.owner.as_ref() == Some(&signer.name) {
            return Err(NotEligible::Owns(name(), member.name.to_string()));
        }
    }
    if chain.minted_by.as_ref() == Some(&signer.name) {
        return Err(NotEligible::Minted(name()));
    }
    if !requirement.approvers.iter().any(|group| signer.groups.contains(group)) {
        let groups: Vec<&str> = requirement.approvers.iter().map(AsRef::as_ref).collect();
        return Err(NotEligible::NotAnApprover(name(), requirement.policy.clone(), groups.join(", ")));
    }
    if may(version, signer, SystemAction::Approve, now) { Ok(()) } else { Err(NotEligible::NotPermitted(name())) }
}

/// One operation being decided.
struct Hearing<'a> {
    version: &'a Version,
    chain: &'a ActorChain,
    connection: &'a Connection,
    facts: Option<&'a Facts>,
    filters: &'a [(DataClassName, Comparison)],
    watching: Watching,
}

/// What is said of all pairs and members so far.
#[derive(Default)]
struct Findings {
    permits: BTreeSet<PolicyId>,
    requirements: BTreeSet<Requirement>,
    /// Policies that deny, for good.
    forbids: BTreeSet<PolicyId>,
    /// Sentences for people, each once, in the order they were found.
    reasons: Vec<String>,
    more_reasons: usize,
    denied: bool,
}

impl Findings {
    fn deny(&mut self, reason: String) {
        self.denied = true;
        if self.reasons.contains(&reason) {
            return;
        }
        if self.reasons.len() < MAX_REASONS { self.reasons.push(reason) } else { self.more_reasons = self.more_reasons.saturating_add(1) }
    }
}

impl Hearing<'_> {
    fn decide(&self, pairs: &[&Pair], circumstances: &Circumstances<'_>) -> Decision {
        let mut findings = Findings::default();
        if pairs.is_empty() {
            findings.deny("the operation asks for nothing that could be permitted".to_owned());
        }
        if let Err(error) = self.hear(pairs, circumstances, &mut findings) {
            findings.deny(error.to_string());
        }
        self.conclude(findings)
    }

    fn hear(&self, pairs: &[&Pair], circumstances: &Circumstances<'_>, findings: &mut Findings) -> Result<(), Unaskable> {
        let rulebook = &self.version.rulebook;
        let mut world = World::new(rulebook.vocabulary());
        // A wish is decided by what somebody has, not by what was granted: a grant never leads to the next.
        let as_member = |world: &mut World<'_>, actor: &Actor| match circumstances.wish {
            Some(_) => world.actor(actor),
            None => world.member(actor, circumstances.now),
        };
        let members =
            self.chain.members().map(|actor| Ok((actor, rulebook.party(&as_member(&mut world, actor)?)))).collect::<Result<Vec<_>, Unaskable>>()?;
        let objects = pairs
            .iter()
            .map(|pair| Ok((*pair, rulebook.party(&world.object(self.connection, &pair.object)?))))
            .collect::<Result<Vec<_>, Unaskable>>()?;
        let entities = world.close()?;
        let passes = Passes::new(rulebook, *circumstances, &entities)?;
        let mut sets = Sets::default();
        for (actor, principal) in &members {
            for (pair, resource) in &objects {
                let filtering = self.comparison(pair).map(|comparison| {
                    let circumstances = Circumstances { comparison: Some(comparison), ..*circumstances };
                    Passes::new(rulebook, circumstances, &entities)
                });
                let filtering = filtering.transpose()?;
                let passes = filtering.as_ref().unwrap_or(&passes);
                let question = Question { principal, action: pair.action.as_str(), resource };
                let finding = passes.ask(&question, &mut sets)?;
                self.note(finding, actor, pair, findings);
            }
        }
        Ok(())
    }

    /// What a filter learns.
    fn comparison(&self, pair: &Pair) -> Option<Comparison> {
        let Object::DataClass { class } = &pair.object else { return None };
        let known = self.filters.iter().find(|(name, _)| name.as_str() == &**class);
        (pair.action == Action::Filter).then(|| known.map_or(Comparison::Any, |(_, comparison)| *comparison))
    }

    fn note(&self, finding: Finding, actor: &Actor, pair: &Pair, findings: &mut Findings) {
        let rulebook = &self.version.rulebook;
        let rules = |numbers: Vec<u32>| numbers.into_iter().filter_map(|number| rulebook.rule(number));
        match finding {
            Finding::Permitted(numbers) => findings.permits.extend(rules(numbers).map(|rule| rule.id.clone())),
            Finding::Waits(numbers) => findings.requirements.extend(rules(numbers).filter_map(|rule| {
                let approval = rule.approval.as_ref()?;
                let approvers = approval.approvers.clone();
                Some(Requirement {
                    policy: rule.id.clone(),
                    approvers,
                    count: approval.count,
                    reason: rule.reason.clone(),
                    watched: approval.watched,
                })
            })),
            Finding::Forbidden(numbers) => {
                for rule in rules(numbers) {
                    findings.forbids.insert(rule.id.clone());
                    let plain = || format!("policy `{}` forbids {} for {}", rule.id, self.asked(pair), actor.name);
                    findings.deny(self.with_doubt(pair, rule.reason.clone().unwrap_or_else(plain)));
                }
            }
            Finding::Erred(errors) => {
                for (number, error) in errors {
                    let Some(rule) = rulebook.rule(number) else { continue };
                    findings.forbids.insert(rule.id.clone());
                    findings.deny(format!("policy `{}` failed while it was evaluated: {error}", rule.id));
                }
                findings.denied = true;
            }
            Finding::NothingPermits => findings.deny(self.unpermitted(actor, pair)),
        }
    }

    fn unpermitted(&self, actor: &Actor, pair: &Pair) -> String {
        let learns = match self.comparison(pair) {
            None => "",
            Some(Comparison::Presence) => ": it learns which of its values are NULL",
            Some(Comparison::Parameter) => ": it compares its values with a parameter",
            Some(Comparison::Value) => ": it compares its values with others, or must not repeat them",
            Some(Comparison::Any) => {
                ": its values, which are masked, decide which rows come back, in which order, how many, or whether the statement fails"
            }
        };
        self.with_doubt(pair, format!("no policy permits {} for {}{learns}", self.asked(pair), actor.name))
    }

    /// For `unreadable`, says first what was not understood.
    fn with_doubt(&self, pair: &Pair, sentence: String) -> String {
        match (pair.action, self.facts.map(|facts| &facts.understanding)) {
            (Action::Unreadable, Some(Understanding::Unreadable(why))) => {
                format!("the statement was not fully understood ({}): {sentence}", model::name::printable(why))
            }
            (Action::Unreadable, _) => format!("the statement was not fully understood: {sentence}"),
            _ => sentence,
        }
    }

    /// `` `read` on public.payments ``.
    fn asked(&self, pair: &Pair) -> String {
        match &pair.object {
            Object::Connection => format!("`{}` on connection {}", pair.action, self.connection.name),
            object => format!("`{}` on {object}", pair.action),
        }
    }

    fn conclude(&self, findings: Findings) -> Decision {
        let version = self.version.hash;
        if findings.denied {
            let mut reasons = findings.reasons;
            if findings.more_reasons > 0 {
                reasons.push(format!("and {} more", findings.more_reasons));
            }
            return Decision { outcome: Outcome::Deny, policies: findings.forbids.into_iter().collect(), reasons, version };
        }
        if findings.requirements.is_empty() {
            return Decision { outcome: Outcome::Allow, policies: findings.permits.into_iter().collect(), reasons: Vec::new(), version };
        }
        if self.watching == Watching::Impossible && findings.requirements.iter().any(|requirement| requirement.watched) {
            let watched: Vec<PolicyId> =
                findings.requirements.into_iter().filter(|requirement| requirement.watched).map(|requirement| requirement.policy).collect();
            let names = watched.iter().map(|policy| format!("`{policy}`")).collect::<Vec<_>>().join(", ");
            let reason =
                format!("policy {names} lets it run only while somebody watches, and only a shell or a command with a terminal can be watched");
            return Decision { outcome: Outcome::Deny, policies: watched, reasons: vec![reason], version };
        }
        let requirements: Vec<Requirement> = findings.requirements.into_iter().collect();
        let policies = requirements.iter().map(|requirement| requirement.policy.clone()).collect();
        let reason =
            |requirement: &Requirement| requirement.reason.clone().unwrap_or_else(|| format!("policy `{}` asks for a signature", requirement.policy));
        let mut reasons: Vec<String> = requirements.iter().map(reason).collect();
        reasons.dedup();
        Decision { outcome: Outcome::Hold(requirements), policies, reasons, version }
    }
}

/// The two ways a question is asked: as nobody had signed, and as everybody had.
struct Passes<'a> {
    rulebook: &'a Rulebook,
    circumstances: Circumstances<'a>,
    unsigned: Context,
    /// Made when first needed: most operations are settled without it.
    signed: OnceCell<Context>,
    entities: &'a Entities,
}

/// What is said of one pair for one member; policies by their number.
enum Finding {
    Permitted(Vec<u32>),
    Waits(Vec<u32>),
    Forbidden(Vec<u32>),
    Erred(Vec<(u32, String)>),
    NothingPermits,
}

impl<'a> Passes<'a> {
    fn new(rulebook: &'a Rulebook, circumstances: Circumstances<'a>, entities: &'a Entities) -> Result<Self, Unaskable> {
        let unsigned = circumstances.context(rulebook.vocabulary(), &|name| rulebook.looks_at(name), Some(false))?;
        Ok(Self { rulebook, circumstances, unsigned, signed: OnceCell::new(), entities })
    }

    /// The second pass is only asked when the first denies because of forbids that signatures lift: such a forbid never errs with
    /// `approved == true` where it did not with `false`, and no other policy can tell the passes apart.
    fn ask(&self, question: &Question<'_>, sets: &mut Sets) -> Result<Finding, Unaskable> {
        let rulebook = self.rulebook;
        let set = rulebook.policy_set(sets, rulebook.slice(question))?;
        let first = rulebook.ask(question, set, &self.unsigned, self.entities)?;
        if let Some(finding) = settled(rulebook, &first) {
            return Ok(finding);
        }
        let second = rulebook.ask(question, set, self.signed()?, self.entities)?;
        if !second.erred.is_empty() {
            return Ok(Finding::Erred(second.erred));
        }
        Ok(match second {
            Answer { allowed: true, .. } => Finding::Waits(first.decided),
            Answer { decided, .. } if decided.is_empty() => Finding::NothingPermits,
            Answer { decided, .. } => Finding::Forbidden(decided),
        })
    }

    fn signed(&self) -> Result<&Context, Unaskable> {
        if let Some(context) = self.signed.get() {
            return Ok(context);
        }
        let looks_at = |name: &str| self.rulebook.looks_at(name);
        let context = self.circumstances.context(self.rulebook.vocabulary(), &looks_at, Some(true))?;
        Ok(self.signed.get_or_init(|| context))
    }
}

/// What the first pass says, unless only forbids that signatures lift are in the way.
fn settled(rulebook: &Rulebook, first: &Answer) -> Option<Finding> {
    let liftable = |number: &u32| rulebook.rule(*number).is_some_and(|rule| rule.approval.is_some());
    if !first.erred.is_empty() {
        return Some(Finding::Erred(first.erred.clone()));
    }
    if first.allowed {
        return Some(Finding::Permitted(first.decided.clone()));
    }
    if first.decided.is_empty() {
        return Some(Finding::NothingPermits);
    }
    let lasting: Vec<u32> = first.decided.iter().copied().filter(|number| !liftable(number)).collect();
    if lasting.is_empty() { None } else { Some(Finding::Forbidden(lasting)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{chain, connection, facts, identity, load, now, requirement, table};

    const POLICY: &str = r#"
permit (principal in Group::"engineers", action in [Action::"connect", Action::"read", Action::"destroy"], resource in Environment::"production");
permit (principal in Group::"readers", action in [Action::"connect", Action::"read"], resource in Environment::"production");
@id("prod-destroy") @approvers("dba") @count("1") @reason("destructive statements in production need a second signature")
forbid (principal, action == Action::"destroy", resource in Environment::"production") unless { context.approved };
@id("payments") @approvers("finance,audit") @count("2")
forbid (principal, action == Action::"destroy", resource in Table::"prod-pg/shop/public/payments") unless { context.approved };
@id("never") @reason("the ledger is never destroyed")
forbid (principal, action == Action::"destroy", resource == Table::"prod-pg/shop/public/ledger");
permit (principal in Group::"dba", action == Action::"approve", resource);
"#;

    fn answer(pairs: &[(Action, Object)], chain: &ActorChain) -> Decision {
        let version = load(POLICY);
        let facts = facts(pairs);
        decide(&version, &Case { chain, connection: &connection(), database: "shop", facts: &facts, recent: Recent::default(), now: now() })
    }

    fn held(decision: &Decision) -> Vec<&str> {
        match &decision.outcome {
            Outcome::Hold(requirements) => requirements.iter().map(|requirement| requirement.policy.as_str()).collect(),
            other => panic!("not held: {other:?} {:?}", decision.reasons),
        }
    }

    #[test]
    fn allow_hold_and_deny() {
        let alice = chain(&[("alice", &["engineers"])]);
        let read = answer(&[(Action::Read, table("customers"))], &alice);
        assert_eq!(read.outcome, Outcome::Allow);
        assert_eq!(read.policies.iter().map(PolicyId::as_str).collect::<Vec<_>>(), ["main.cedar:2"]);

        let destroy = answer(&[(Action::Destroy, table("customers"))], &alice);
        assert_eq!(held(&destroy), ["prod-destroy"]);
        assert_eq!(destroy.reasons, ["destructive statements in production need a second signature"]);

        let both = answer(&[(Action::Destroy, table("payments")), (Action::Read, table("payments"))], &alice);
        assert_eq!(held(&both), ["payments", "prod-destroy"]);
        let Outcome::Hold(requirements) = &both.outcome else { unreachable!() };
        assert_eq!((requirements[0].count, requirements[0].approvers.len()), (2, 2));

        let ledger = answer(&[(Action::Destroy, table("ledger"))], &alice);
        assert_eq!((ledger.outcome, ledger.reasons), (Outcome::Deny, vec!["the ledger is never destroyed".to_owned()]));
        assert_eq!(ledger.policies.iter().map(PolicyId::as_str).collect::<Vec<_>>(), ["never"]);

        let grant = answer(&[(Action::Privilege, Object::Connection)], &chain(&[("nightly", &["engineers"])]));
        assert_eq!(grant.outcome, Outcome::Deny);
        assert_eq!(grant.reasons, ["no policy permits `privilege` on connection prod-pg for nightly"]);
    }

    #[test]
    fn one_pair_that_is_denied_denies_what_would_be_held() {
        let alice = chain(&[("alice", &["engineers"])]);
        let decision = answer(&[(Action::Destroy, table("customers")), (Action::Write, table("customers"))], &alice);
        assert_eq!(decision.outcome, Outcome::Deny);
        assert_eq!(decision.reasons, ["no policy permits `write` on public.customers for alice"]);
    }

    #[test]
    fn signatures_lift_a_forbid_but_permit_nothing() {
        let decision = answer(&[(Action::Destroy, table("customers"))], &chain(&[("rita", &["readers"])]));
        assert_eq!(decision.outcome, Outcome::Deny);
        assert!(decision.policies.is_empty());
    }

    #[test]
    fn a_chain_only_narrows() {
        let pairs = [(Action::Destroy, table("customers"))];
        assert_eq!(held(&answer(&pairs, &chain(&[("alice", &["engineers"]), ("bot", &["engineers"])]))), ["prod-destroy"]);
        for members in [[("alice", ["engineers"]), ("bot", ["readers"])], [("bot", ["readers"]), ("alice", ["engineers"])]] {
            let members: Vec<(&str, &[&str])> = members.iter().map(|(name, groups)| (*name, groups.as_slice())).collect();
            assert_eq!(answer(&pairs, &chain(&members)).outcome, Outcome::Deny);
        }
    }

    #[test]
    fn an_operation_that_asks_for_nothing_is_denied() {
        let mut nothing = facts(&[]);
        let version = load("permit (principal, action, resource);");
        let alice = chain(&[("alice", &[])]);
        let decided = |facts: &Facts| {
            decide(&version, &Case { chain: &alice, connection: &connection(), database: "shop", facts, recent: Recent::default(), now: now() })
                .outcome
        };
        assert_eq!(decided(&nothing), Outcome::Deny);
        nothing.pairs.push(Pair { action: Action::Connect, object: Object::Connection });
        assert_eq!(decided(&nothing), Outcome::Allow);
        nothing.understanding = Understanding::Unreadable("EXECUTE of a string".to_owned());
        assert_eq!(decided(&nothing), Outcome::Deny, "not understood, though no pair says so");
    }

    #[test]
    fn unreadable_is_permitted_by_name_only() {
        let alice = chain(&[("alice", &["engineers"])]);
        let decided = |policy: &str| {
            let version = load(policy);
            let facts = facts(&[(Action::Unreadable, Object::Connection)]);
            decide(
                &version,
                &Case { chain: &alice, connection: &connection(), database: "shop", facts: &facts, recent: Recent::default(), now: now() },
            )
        };
        let sweeping = decided("permit (principal, action, resource);");
        assert_eq!(sweeping.outcome, Outcome::Deny);
        assert_eq!(sweeping.reasons, ["the statement was not fully understood: no policy permits `unreadable` on connection prod-pg for alice"]);
        assert_eq!(decided("permit (principal, action == Action::\"unreadable\", resource);").outcome, Outcome::Allow);
        assert_eq!(decided("permit (principal, action in [Action::\"read\", Action::\"unreadable\"], resource);").outcome, Outcome::Allow);
        let forbidden = "permit (principal, action == Action::\"unreadable\", resource); @id(\"no\") forbid (principal, action, resource);";
        assert_eq!(decided(forbidden).policies.iter().map(PolicyId::as_str).collect::<Vec<_>>(), ["no"]);
    }

    #[test]
    fn a_policy_that_errs_denies_and_is_named() {
        let alice = chain(&[("alice", &["engineers"])]);
        let overflow = "context.statement.risk + 9223372036854775807 > 0";
        let cases = [
            format!(
                "permit (principal, action, resource); @id(\"odd\") forbid (principal, action, resource in Environment::\"production\") when {{ {overflow} }};"
            ),
            format!(
                "permit (principal, action, resource); @id(\"odd\") permit (principal, action == Action::\"read\", resource) when {{ {overflow} }};"
            ),
            format!(
                "permit (principal, action, resource); @id(\"odd\") @approvers(\"dba\") forbid (principal, action == Action::\"read\", resource) when {{ {overflow} }} unless {{ context.approved }};"
            ),
        ];
        for policy in &cases {
            let version = load(policy);
            let mut facts = facts(&[(Action::Read, table("customers"))]);
            facts.risk = model::Risk::new(3);
            let decision = decide(
                &version,
                &Case { chain: &alice, connection: &connection(), database: "shop", facts: &facts, recent: Recent::default(), now: now() },
            );
            assert_eq!(decision.outcome, Outcome::Deny, "{policy}");
            assert_eq!(decision.policies.iter().map(PolicyId::as_str).collect::<Vec<_>>(), ["odd"], "{policy}");
            assert!(decision.reasons[0].starts_with("policy `odd` failed while it was evaluated"), "{:?}", decision.reasons);
        }
    }

    #[test]
    fn who_may_sign() {
        let version = load(POLICY);
        let mut nightly = chain(&[("alice", &["engineers"]), ("bot", &["engineers"])]);
        nightly.actors[0].kind = IdentityKind::Agent;
        nightly.actors[0].owner = Some("olga".parse().unwrap());
        nightly.minted_by = Some("mint".parse().unwrap());
        let requirement = requirement("prod-destroy", &["dba"]);
        let ask = |signer: &Actor| eligible(&version, &requirement, &nightly, signer, now());
        assert_eq!(ask(&identity("bob", &["dba"])), Ok(()));
        let why = |name: &str, groups: &[&str]| ask(&identity(name, groups)).unwrap_err().to_string();
        assert_eq!(why("alice", &["dba"]), "alice takes part in this operation and cannot sign it");
        assert_eq!(why("bot", &["dba"]), "bot takes part in this operation and cannot sign it");
        assert_eq!(why("olga", &["dba"]), "olga owns bot, which takes part in this operation, and cannot sign it");
        assert_eq!(why("mint", &["dba"]), "mint minted the token this session was opened with, and cannot sign its operations");
        assert_eq!(why("carol", &["security"]), "carol is in none of the groups that may sign `prod-destroy`: dba");
        let mut robot = identity("robot", &["dba"]);
        robot.kind = IdentityKind::Workload;
        assert_eq!(ask(&robot).unwrap_err().to_string(), "only people can sign; robot is a workload");
        let unpermitted = crate::fixtures::requirement("payments", &["finance"]);
        let refused = eligible(&version, &unpermitted, &nightly, &identity("fay", &["finance"]), now());
        assert_eq!(refused.unwrap_err().to_string(), "no policy permits fay to `approve`");
    }

    #[test]
    fn what_is_granted_counts_on_its_connection_until_its_end_and_never_for_governing() {
        let version = load(
            r#"permit (principal in Group::"writers", action == Action::"write", resource);
permit (principal in Group::"writers", action in [Action::"approve", Action::"administer"], resource == System::"countersign");
permit (principal in Group::"writers", action == Action::"request", resource);
permit (principal in Group::"writers", action == Action::"reveal", resource);"#,
        );
        let mut alice = chain(&[("alice", &[])]);
        let until = now().checked_add(std::time::Duration::from_secs(60)).unwrap();
        let request = model::RequestId::from_random(1);
        alice.subject.granted = vec![model::Granted { request, role: "writer".to_owned(), group: "writers".parse().unwrap(), until }];
        let writes = |at: Timestamp| {
            let facts = facts(&[(Action::Write, table("payments"))]);
            let case = Case { chain: &alice, connection: &connection(), database: "shop", facts: &facts, recent: Recent::default(), now: at };
            decide(&version, &case).outcome
        };
        assert_eq!((writes(now()), writes(until)), (Outcome::Allow, Outcome::Deny));
        let email = "email".parse().unwrap();
        assert!(may_reveal(&version, &alice, &connection(), "shop", &email, now()));
        assert!(!may_reveal(&version, &alice, &connection(), "shop", &email, until));
        assert!(!may(&version, &alice.subject, SystemAction::Approve, now()) && !may(&version, &alice.subject, SystemAction::Administer, now()));
        let wish = Wish { role: "writer", window_s: 60, one_statement: false, reason: "" };
        assert_eq!(decide_request(&version, &alice, &connection(), wish, now()).outcome, Outcome::Deny, "a grant does not lead to the next");
        let signs = eligible(&version, &requirement("x", &["writers"]), &chain(&[("bob", &[])]), &alice.subject, now());
        assert!(matches!(signs, Err(NotEligible::NotAnApprover(..))));
    }

    #[test]
    fn governing_and_revealing_are_asked_on_their_own() {
        let version = load(
            r#"permit (principal in Group::"auditors", action == Action::"audit", resource == System::"countersign");
permit (principal in Group::"leads", action == Action::"reveal", resource == DataClass::"email") when { context.environment == Environment::"production" && context.connection.tags.contains("pci") };"#,
        );
        assert!(may(&version, &identity("ann", &["auditors"]), SystemAction::Audit, now()));
        assert!(!may(&version, &identity("ann", &["auditors"]), SystemAction::Administer, now()));
        let email = "email".parse().unwrap();
        let shown = |members: &[(&str, &[&str])]| may_reveal(&version, &chain(members), &connection(), "shop", &email, now());
        assert!(shown(&[("lea", &["leads"])]));
        assert!(!shown(&[("lea", &["leads"]), ("bot", &[])]));
        assert!(!may_reveal(&version, &chain(&[("lea", &["leads"])]), &connection(), "shop", &"phone".parse().unwrap(), now()));
    }

    /// Whoever cannot have it watched is denied it, and told why; a signature beside it is asked for as ever.
    #[test]
    fn what_must_be_watched_is_denied_where_nobody_can_watch() {
        let watched = format!(
            "{POLICY}\n@id(\"watched\") @approvers(\"dba\") @watched\nforbid (principal, action == Action::\"read\", resource) unless {{ context.approved }};"
        );
        let version = load(&watched);
        let (alice, connection) = (chain(&[("alice", &["engineers"])]), connection());
        let facts = facts(&[(Action::Read, table("ledger"))]);
        let case = Case { chain: &alice, connection: &connection, database: "shop", facts: &facts, recent: Recent::default(), now: now() };
        for decision in [decide(&version, &case), judge(&version, &case, &crate::fixtures::catalog()).decision, decide_at_best(&version, &case)] {
            assert_eq!((decision.outcome, &decision.policies[..]), (Outcome::Deny, &["watched".parse().unwrap()][..]));
            let why = "policy `watched` lets it run only while somebody watches, and only a shell or a command with a terminal can be watched";
            assert_eq!(decision.reasons, [why]);
        }
        let request = Wish { role: "writer", window_s: 60, one_statement: false, reason: "" };
        let asked = load(
            "permit (principal, action == Action::\"request\", resource);\n@id(\"watched\") @approvers(\"dba\") @watched\nforbid (principal, \
             action == Action::\"request\", resource) unless { context.approved };",
        );
        assert_eq!(decide_request(&asked, &alice, &connection, request, now()).outcome, Outcome::Deny);
        let machine = Connection { protocol: Protocol::Ssh, ..connection.clone() };
        for decision in [decide_watchable(&version, &case), decide_at_best(&version, &Case { connection: &machine, ..case })] {
            assert_eq!(decision.outcome, Outcome::Hold(vec![Requirement { watched: true, ..requirement("watched", &["dba"]) }]));
        }
    }

    #[test]
    fn who_may_connect() {
        let version = load(POLICY);
        let opens = |chain: &ActorChain| decide_connect(&version, chain, &connection(), "shop", now()).outcome;
        assert_eq!(opens(&chain(&[("alice", &["engineers"])])), Outcome::Allow);
        assert_eq!(opens(&chain(&[("eve", &[])])), Outcome::Deny);
    }

    /// Allow 0, hold 1, deny 2: what a longer chain may only raise.
    fn severity(decision: &Decision) -> u8 {
        match decision.outcome {
            Outcome::Allow => 0,
            Outcome::Hold(_) => 1,
            Outcome::Deny => 2,
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 48, ..Default::default() })]

        #[test]
        fn no_member_and_no_pair_ever_widens(
            members in proptest::collection::vec(proptest::collection::vec(0..3usize, 0..3), 1..4),
            pairs in proptest::collection::vec((0..4usize, 0..3usize), 1..4),
        ) {
            let version = load(POLICY);
            let names = ["ann", "ben", "cid"];
            let groups = ["engineers", "readers", "dba"];
            let tables = ["customers", "payments", "ledger"];
            let actions = [Action::Connect, Action::Read, Action::Destroy, Action::Write];
            let groups_of: Vec<Vec<&str>> = members.iter().map(|member| member.iter().map(|group| groups[*group]).collect()).collect();
            let actors: Vec<(&str, &[&str])> = names.into_iter().zip(groups_of.iter().map(Vec::as_slice)).collect();
            let pairs: Vec<(Action, Object)> = pairs.iter().map(|(action, object)| (actions[*action], table(tables[*object]))).collect();
            let connection = connection();
            let ask = |actors: &[(&str, &[&str])], pairs: &[(Action, Object)]| {
                let (chain, facts) = (chain(actors), facts(pairs));
                decide(&version, &Case { chain: &chain, connection: &connection, database: "shop", facts: &facts, recent: Recent::default(), now: now() })
            };
            let whole = ask(&actors, &pairs);
            let mut parts = Vec::new();
            for actor in &actors {
                for pair in &pairs {
                    parts.push(ask(std::slice::from_ref(actor), std::slice::from_ref(pair)));
                }
            }
            // The whole is exactly as severe as its worst part, and asks for every signature that any part asks for.
            proptest::prop_assert_eq!(severity(&whole), parts.iter().map(severity).max().unwrap_or(0));
            if let Outcome::Hold(requirements) = &whole.outcome {
                let mut wanted: Vec<Requirement> =
                    parts.iter().flat_map(|part| if let Outcome::Hold(requirements) = &part.outcome { requirements.clone() } else { Vec::new() }).collect();
                wanted.sort();
                wanted.dedup();
                proptest::prop_assert_eq!(requirements, &wanted);
            }
        }
    }

    #[test]
    fn filtering_by_a_class_is_asked_for_with_what_it_learns() {
        const CLASSES: &str = "[email]\ncolumns = [\"public.customers.email\"]\n[phone]\ncolumns = [\"public.customers.phone\"]\n";
        const FILTERING: &str = r#"
permit (principal, action in [Action::"connect", Action::"read"], resource);
permit (principal in Group::"apps", action == Action::"filter", resource == DataClass::"email") when { context.comparison == "parameter" };
permit (principal in Group::"dba", action == Action::"filter", resource);
permit (principal in Group::"leads", action == Action::"reveal", resource == DataClass::"email");
@id("watched") @approvers("dba")
forbid (principal in Group::"dba", action == Action::"filter", resource == DataClass::"phone") unless { context.approved };
"#;
        let mut files = crate::fixtures::files(FILTERING);
        files.insert("data-classes.toml".to_owned(), CLASSES.to_owned());
        let version = crate::fixtures::load_files(&files);
        let catalog = crate::fixtures::catalog();
        let customers = crate::fixtures::CUSTOMERS;
        let judged = |group: &str, columns: &[(&str, Comparison)], untold: Option<Comparison>| {
            let mut facts = facts(&[(Action::Read, table("customers"))]);
            facts.reads = vec![model::facts::RelationRef { schema: "public".into(), name: "customers".into(), oid: customers }];
            let source = |column: &str| model::facts::ColumnSource { relation: customers, column: column.into() };
            facts.filters.columns = columns.iter().map(|(column, by)| (source(column), *by)).collect();
            facts.filters.untold = untold;
            let alice = chain(&[("alice", &[group])]);
            judge(
                &version,
                &Case { chain: &alice, connection: &connection(), database: "shop", facts: &facts, recent: Recent::default(), now: now() },
                &catalog,
            )
        };
        let reasons = |judgement: &Judgement| judgement.decision.reasons.join("; ");
        let by = |column, comparison| [(column, comparison)];
        assert_eq!(judged("apps", &by("email", Comparison::Parameter), None).decision.outcome, Outcome::Allow);
        for more in [Comparison::Presence, Comparison::Value, Comparison::Any] {
            assert_eq!(judged("apps", &by("email", more), None).decision.outcome, Outcome::Deny, "{more:?}");
        }
        let denied = judged("apps", &by("phone", Comparison::Parameter), None);
        assert_eq!(reasons(&denied), "no policy permits `filter` on data class phone for alice: it compares its values with a parameter");
        assert!(denied.facts.unwrap().asks(Action::Filter), "what was asked stands in the facts that are recorded");
        assert_eq!(judged("apps", &by("name", Comparison::Any), None).decision.outcome, Outcome::Allow, "not classified");
        assert_eq!(judged("leads", &by("email", Comparison::Any), None).decision.outcome, Outcome::Allow, "who sees a value may filter by it");
        assert_eq!(judged("leads", &[], Some(Comparison::Any)).decision.outcome, Outcome::Deny, "it may be the other class");
        assert_eq!(judged("dba", &by("email", Comparison::Any), None).decision.outcome, Outcome::Allow);
        assert!(matches!(judged("dba", &by("phone", Comparison::Any), None).decision.outcome, Outcome::Hold(_)), "a filter can be held");
        let stale = judged("apps", &[], None);
        assert!(stale.facts.is_none() && stale.decision.outcome == Outcome::Allow);
    }
}
