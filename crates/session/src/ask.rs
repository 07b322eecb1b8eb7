//! The spine: what happens to one operation between being asked and being ruled on. Read [`Session::ask`] first.
//!
//! An operation is classified on a catalog that is true, decided by the policy in force, written to the recording, and only then given a
//! [`Permit`], which nothing outside this file can make. A held operation is classified and decided again at its release.

use std::{sync::Arc, time::Duration};

use model::{
    Action, ActorChain, Decision, Facts, Outcome, RequestId, Timestamp, Understanding,
    hold::HoldState,
    object::{Object, Pair},
};
use policy::{
    Version,
    classify::postgres::{self as classify, ParameterValue, SessionView, Statement},
    decide::{self, Case, Judgement, Recent},
    masking::MaskPlan,
};
use protocol::postgres::{
    dialogue::{Forwarding, Names, Operation, OperationKind, Parameter, Ruling, Settings, Transaction},
    refusal::{Refusal, Sqlstate},
};

use crate::{
    approve::{Draft, HoldRefused, Verdict, Waiting},
    known::Sought,
    live::EndReason,
    open::{Need, Running, Session},
    record, value, volume,
};

/// Longer messages are not looked at for naming nothing.
const MAX_PLAIN_BYTES: usize = 256;

/// The right to forward one operation. Only this file makes one, and only after the operation stands in the recording.
#[derive(Debug)]
pub struct Permit(());

/// What to do about an operation.
#[derive(Debug)]
pub enum Asked {
    /// It is settled.
    Ruled(Box<Ruling<Permit>>),
    /// Ask the target these questions on the caller's connection, hand the rows to [`Session::learn`], then ask again.
    Learn(Vec<String>),
    /// Call [`Session::refresh`], then ask again.
    Refresh,
    /// It is the one statement of its token, which the store must mark before it runs: see [`Session::run_once`].
    Once,
    /// It waits for people: see [`Session::hold`].
    Hold(Arc<Decided>),
}

impl From<Need> for Asked {
    fn from(need: Need) -> Self {
        match need {
            Need::Refresh => Self::Refresh,
            Need::Learn(questions) => Self::Learn(questions),
        }
    }
}

/// What an operation means and what policy says of it.
#[derive(Debug, Clone)]
pub struct Decided {
    /// What it means.
    pub facts: Arc<Facts>,
    /// What policy says.
    pub decision: Decision,
    /// What of its answer is masked; none if it touches nothing classified.
    pub plan: Option<Arc<MaskPlan>>,
    /// What the recording says of the decision.
    pub(crate) ruling: Arc<evidence::record::Ruling>,
}

impl Decided {
    pub(crate) fn new(facts: Arc<Facts>, decision: Decision, plan: Option<Arc<MaskPlan>>) -> Self {
        let ruling = Arc::new(record::ruling(&decision, plan.as_deref()));
        Self { facts, decision, plan, ruling }
    }
}

/// Why the session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It was ended from outside.
    #[error("{0}")]
    Ended(EndReason),
    /// Its recording cannot be written: nothing may happen that is not recorded.
    #[error("the recording of this session cannot be written")]
    Recording(#[source] store::recordings::RecordingError),
    /// A value that had to be masked could not be.
    #[error("an answer could not be masked")]
    Masking,
}

impl Session {
    /// Decides one operation. Nothing of it has reached the target.
    ///
    /// # Errors
    /// The session was ended, or cannot be recorded any more.
    pub fn ask(&mut self, operation: &Operation, names: &Names, settings: &Settings, now: Timestamp) -> Result<Asked, Broken> {
        if let Some(reason) = self.live.check() {
            return Err(Broken::Ended(reason.clone()));
        }
        self.follow(operation, names, settings);
        // What names nothing needs no catalog; a failed transaction gives none, and in an open one the question would be its first query. Before it
        // begins, it is well asked.
        let plain = operation.transaction != Transaction::Idle && operation.text.len() <= MAX_PLAIN_BYTES;
        let plain = plain && self.is_stale() && names_nothing(&self.facts(operation));
        if !plain && let Some(need) = self.needs(operation) {
            return Ok(need.into());
        }
        let decided = self.decide(operation, now);
        if self.should_look_again(operation, &decided.facts) {
            return Ok(self.look_again(operation).into());
        }
        let ruling = match &decided.decision.outcome {
            Outcome::Allow if self.spends_token(operation) => return Ok(Asked::Once),
            Outcome::Allow => self.forward(operation, &decided, now)?,
            // Who signs must see its parameters.
            Outcome::Hold(_) if operation.bound.is_some() => self.refuse(operation, &decided, bound_earlier(&decided), now)?,
            Outcome::Hold(_) if operation.kind == OperationKind::Parse => self.forward(operation, &decided, now)?,
            Outcome::Deny if operation.kind == OperationKind::Parse && depends_on_parameters(operation, &decided.facts) => {
                self.forward(operation, &decided, now)?
            }
            Outcome::Hold(_) => return Ok(Asked::Hold(decided)),
            Outcome::Deny => self.refuse(operation, &decided, denial(&decided), now)?,
        };
        Ok(Asked::Ruled(Box::new(ruling)))
    }

    /// Marks the token of a permitted operation as used up and lets the operation run. Should the gateway die in between, it never ran: never twice.
    ///
    /// # Errors
    /// The session was ended meanwhile, or cannot be recorded any more.
    pub async fn run_once(&mut self, operation: &Operation, now: Timestamp) -> Result<Ruling<Permit>, Broken> {
        let spent = self.spend_token(now).await;
        if let Some(reason) = self.live.check() {
            return Err(Broken::Ended(reason.clone()));
        }
        // The version in force may be another by now.
        let decided = self.decide(operation, now);
        match (spent, &decided.decision.outcome) {
            (Ok(()), Outcome::Allow) => self.forward(operation, &decided, now),
            (Ok(()), Outcome::Hold(_) | Outcome::Deny) => self.refuse(operation, &decided, denial(&decided), now),
            (Err(refusal), _) => {
                let decided = self.denied(decided.facts.clone(), refusal.message().to_owned());
                self.refuse(operation, &decided, refusal, now)
            }
        }
    }

    /// Whether it is what the session's token is for, and would use that up.
    fn spends_token(&self, operation: &Operation) -> bool {
        self.only_statement.is_some() && operation.kind != OperationKind::Parse && operation.bound.is_none()
    }

    /// Uses up a token for one statement, whichever session does so first.
    async fn spend_token(&self, now: Timestamp) -> Result<(), Refusal> {
        let Some(only) = &self.only_statement else { return Ok(()) };
        match self.guard.store().state().spend_token(only.token, now).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, "refused: this token runs its statement once, and it has run")
                .detail("Nothing of it ran now.")
                .hint("Mint another token with `countersign token`.")),
            Err(error) => {
                tracing::error!(%error, "a token for one statement could not be marked as used");
                Err(Refusal::new(Sqlstate::CANNOT_CONNECT_NOW, "refused: the gateway cannot reach its state store").detail("Nothing of it ran."))
            }
        }
    }

    /// Decides an operation whose questions the target did not answer because its transaction has failed: only the end of that may run.
    ///
    /// # Errors
    /// The session was ended, or cannot be recorded any more.
    pub fn ask_in_failed(&mut self, operation: &Operation, names: &Names, settings: &Settings, now: Timestamp) -> Result<Ruling<Permit>, Broken> {
        if let Some(reason) = self.live.check() {
            return Err(Broken::Ended(reason.clone()));
        }
        self.follow(operation, names, settings);
        let mut decided = self.decide(operation, now);
        if !names_nothing(&decided.facts) {
            // The target runs none of it, and says so itself where policy lets it be asked.
            let facts = doubted(&decided.facts, "its transaction has failed");
            decided = self.decide_on(operation, Arc::new(facts), None, now);
            if decided.decision.outcome == Outcome::Allow && !self.spends_token(operation) {
                return self.forward(operation, &decided, now);
            }
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            let decided = self.denied(decided.facts.clone(), "its transaction has failed".to_owned());
            return self.refuse(operation, &decided, Refusal::new(Sqlstate::IN_FAILED_TRANSACTION, message), now);
        }
        match &decided.decision.outcome {
            Outcome::Allow => self.forward(operation, &decided, now),
            Outcome::Hold(_) | Outcome::Deny => self.refuse(operation, &decided, denial(&decided), now),
        }
    }

    /// What it means and what policy says of it, at this moment.
    fn decide(&mut self, operation: &Operation, now: Timestamp) -> Arc<Decided> {
        let (version, chain) = (self.guard.version(), self.live.chain_at(now));
        self.known.under(&version, &chain);
        let (facts, known) = self.meaning(operation);
        // The facts of a message are those of the catalog before it; what follows the end of the transaction meets another.
        if facts.effects.transaction && self.transaction_changed_names() && !only_controls_transaction(&facts) && goes_on_after_end(&facts) {
            let why = "it ends a transaction that changed what names mean, and goes on: send what follows by itself";
            return self.decide_on(operation, Arc::new(doubted(&facts, why)), None, now);
        }
        self.decide_on(operation, facts, known, now)
    }

    /// What policy says of these facts; `known`: what was decided of them before.
    fn decide_on(&mut self, operation: &Operation, facts: Arc<Facts>, known: Option<Arc<Decided>>, now: Timestamp) -> Arc<Decided> {
        let (version, chain) = (self.guard.version(), self.live.chain_at(now));
        // As the version in force describes it: a target that became production is production for live sessions, too.
        match version.connections.get(&self.connection.name) {
            Some(connection) if Arc::ptr_eq(connection, &self.connection) => {}
            Some(connection) => self.connection = connection.clone(),
            None => return Arc::new(self.denied(facts, "this connection no longer exists".to_owned())),
        }
        if let Some(why) = self.outside_token(operation, &facts).or_else(|| beyond_reading(operation, &facts)) {
            return Arc::new(self.denied(facts, why));
        }
        let by_message = matches!(operation.kind, OperationKind::FunctionCall { .. });
        if let Some(decided) = known.filter(|_| !by_message && !version.looks_at_the_clock() && !version.looks_at_what_was_done()) {
            return decided;
        }
        let certain = facts.understanding == Understanding::Full;
        let decided = Arc::new(self.decide_anew(&version, &chain, facts.clone(), now));
        // What is only looked through matters where it is read from large objects.
        let masks = decided.plan.as_ref().is_some_and(|plan| !plan.only_detects() || decided.facts.asks(Action::Export));
        if by_message && masks {
            return Arc::new(self.denied(decided.facts.clone(), "the answer to a FunctionCall cannot be masked; use SELECT".to_owned()));
        }
        // A portal that was bound earlier means more than its text.
        if certain && !by_message && operation.bound.is_none() {
            self.known.decide(&sought(operation, &self.view), &facts, &decided);
        }
        decided
    }

    fn decide_anew(&self, version: &Version, chain: &ActorChain, facts: Arc<Facts>, now: Timestamp) -> Decided {
        let recent = Recent { rows_written: self.rows_written_before(version, &facts, now) };
        let case = Case { chain, connection: &self.connection, database: &self.database, facts: &facts, recent, now };
        let Judgement { facts: more, decision, plan } = decide::judge(version, &case, &self.catalog);
        Decided::new(more.map_or(facts, Arc::new), decision, plan.map(Arc::new))
    }

    /// Rows its caller changed before the last statement of an operation; counted only where a policy looks at it.
    fn rows_written_before(&self, version: &Version, facts: &Facts, now: Timestamp) -> u64 {
        if !version.looks_at_what_was_done() {
            return 0;
        }
        self.volume.rows(now).saturating_add(volume::expected(facts).saturating_sub(1))
    }

    fn denied(&self, facts: Arc<Facts>, why: String) -> Decided {
        let decision = Decision { outcome: Outcome::Deny, policies: Vec::new(), reasons: vec![why], version: self.guard.version().hash };
        Decided::new(facts, decision, None)
    }

    fn facts(&mut self, operation: &Operation) -> Arc<Facts> {
        self.meaning(operation).0
    }

    /// What it means, and what was decided of it before, should that hold whatever the time is.
    fn meaning(&mut self, operation: &Operation) -> (Arc<Facts>, Option<Arc<Decided>>) {
        let (facts, known) = self.meaning_now(operation);
        let runs_code = |parameter: &Parameter| classify::parameter_runs_code(&self.catalog, parameter.type_oid);
        if operation.parameters.iter().any(runs_code) {
            return (Arc::new(doubted(&facts, "a parameter is declared of a type whose values run code")), None);
        }
        match operation.meant.as_ref().and_then(|meant| classify::meaning_beside(&facts, meant, &self.catalog)) {
            Some(facts) => (Arc::new(facts), None),
            None => (facts, known),
        }
    }

    fn meaning_now(&mut self, operation: &Operation) -> (Arc<Facts>, Option<Arc<Decided>>) {
        if let OperationKind::FunctionCall { function } = operation.kind
            && !self.is_large_object_function(function, &operation.text)
        {
            return (Arc::new(not_understood(FUNCTION_CALL, "the FunctionCall message names a function by number")), None);
        }
        if let Some(bound) = operation.bound {
            let facts = self.running.get(&bound).map(|running| running.facts.clone());
            return (facts.unwrap_or_else(|| Arc::new(not_understood("EXECUTE", "what this portal was bound to is not known any more"))), None);
        }
        let sought = sought(operation, &self.view);
        if let Some((facts, decided)) = self.known.find(&sought) {
            return (facts.clone(), decided.cloned());
        }
        let parameters: Option<Vec<ParameterValue>> = sought.parameters.map(|parameters| parameters.iter().map(value::for_facts).collect());
        let statement = Statement { text: &operation.text, parameters: parameters.as_deref() };
        let (facts, likeness) = classify::classify_noting(&statement, &self.catalog, &self.view);
        let facts = Arc::new(facts);
        self.known.keep(&sought, likeness, &facts);
        (facts, None)
    }

    /// Whether the number means the built-in function that the text calls.
    fn is_large_object_function(&self, function: u32, text: &str) -> bool {
        let called = self.catalog.routine_by_oid(function).filter(|routine| routine.built_in());
        called.is_some_and(|routine| text.starts_with(&format!("SELECT pg_catalog.{}(", routine.name)))
    }

    /// A token for a single statement runs that statement. That it does so once, [`Session::run_once`] sees to.
    fn outside_token(&self, operation: &Operation, facts: &Facts) -> Option<String> {
        let only = self.only_statement.as_ref()?;
        let plain = |text: &str| text.trim().trim_end_matches(';').trim_end().to_owned();
        if plain(&only.text) != plain(&operation.text) {
            return Some("this token runs one statement, and this is another".to_owned());
        }
        (facts.statements > 1).then(|| "this token runs one statement".to_owned())
    }

    /// Records an operation that may run, and makes its permit.
    fn forward(&mut self, operation: &Operation, decided: &Decided, now: Timestamp) -> Result<Ruling<Permit>, Broken> {
        let forwarding = self.forwarding(decided);
        // A Parse runs nothing: its statement is recorded when it is bound.
        if operation.kind == OperationKind::Parse {
            let names = Vec::new();
            return Ok(Ruling::Forward(Permit(()), Forwarding { show: false, copy_in: false, opaque: false, names, ..forwarding }));
        }
        self.record_asked(operation, decided, now)?;
        self.expect_effects(&decided.facts);
        self.volume.add(volume::expected(&decided.facts), now);
        Ok(Ruling::Forward(Permit(()), forwarding))
    }

    fn forwarding(&self, decided: &Decided) -> Forwarding {
        let Facts { effects, outputs, statements, .. } = &*decided.facts;
        Forwarding {
            show: decided.plan.is_some() || self.records_rows(),
            generic_errors: decided.plan.as_ref().is_some_and(|plan| plan.generic_errors),
            copy_in: effects.copy_in,
            copy_whole: decided.plan.as_ref().is_some_and(|plan| plan.copy.is_some()),
            names: effects.names.clone(),
            alone: *statements <= 1,
            opaque: outputs.opaque,
            application_name: effects.application_name.clone(),
            meant: Some(decided.facts.clone()),
        }
    }

    fn refuse(&mut self, operation: &Operation, decided: &Decided, refusal: Refusal, now: Timestamp) -> Result<Ruling<Permit>, Broken> {
        self.record_asked(operation, decided, now)?;
        self.record_refused(operation.id, &refusal, now)?;
        Ok(Ruling::Refuse(refusal))
    }

    /// Has an operation wait for signatures. What is decided about it is in the recording before anybody is asked to sign.
    ///
    /// # Errors
    /// The inner one refuses the operation; the outer one ends the session.
    pub async fn hold(&mut self, operation: &Operation, decided: &Decided, now: Timestamp) -> Result<Result<Waiting, Ruling<Permit>>, Broken> {
        self.record_asked(operation, decided, now)?;
        self.commit()?;
        let draft = Draft {
            transaction_open_ms: (operation.transaction != Transaction::Idle).then(|| self.transaction_open_ms(now)),
            locks: self.locks(operation).await,
            estimate: self.estimate(operation, &decided.facts).await,
            ..self.draft(operation, decided)
        };
        match self.guard.approvals().open(draft, now).await {
            Ok(waiting) => {
                self.record_held(operation.id, &waiting.row(), now)?;
                Ok(Ok(waiting.traced(self.log.listing.span.child("hold"))))
            }
            Err(refused) => {
                let refusal = unheld(&refused, decided);
                self.record_refused(operation.id, &refusal, now)?;
                Ok(Err(Ruling::Refuse(refusal)))
            }
        }
    }

    /// Everything a signature is bound to, and what a signer is shown beside it.
    fn draft(&self, operation: &Operation, decided: &Decided) -> Draft {
        let requirements = match &decided.decision.outcome {
            Outcome::Hold(requirements) => requirements.clone(),
            Outcome::Allow | Outcome::Deny => Vec::new(),
        };
        Draft {
            session: self.id,
            chain: model::ActorChain::clone(&self.live.chain()),
            connection: self.connection.name.clone(),
            database: self.database.clone(),
            statement: operation.text.to_string(),
            parameters: operation.parameters.iter().map(value::for_people).collect(),
            facts: Facts::clone(&decided.facts),
            requirements,
            version: decided.decision.version,
            transaction_open_ms: None,
            locks: Vec::new(),
            estimate: String::new(),
        }
    }

    /// What the target must be asked before a signed operation is released: its catalog as it is now.
    #[must_use]
    pub fn questions_at_release(&mut self) -> Vec<String> {
        self.asks_all()
    }

    /// Settles a held operation after `verdict`: what was signed runs if it is still what would run, under the policy now in force.
    ///
    /// # Errors
    /// The session was ended, or cannot be recorded any more.
    pub async fn release(
        &mut self,
        operation: &Operation,
        waiting: Waiting,
        verdict: Verdict,
        (names, settings): (&Names, &Settings),
        now: Timestamp,
    ) -> Result<Ruling<Permit>, Broken> {
        if let Some(reason) = self.live.check().cloned() {
            self.withdraw(operation.id, waiting, &reason.to_string(), now).await?;
            return Err(Broken::Ended(reason));
        }
        let mut row = waiting.row();
        let verdict = match verdict {
            Verdict::Signed(_) => {
                self.follow(operation, names, settings);
                let decided = self.decide(operation, now);
                let checked = self.still_what_was_signed(operation, &decided, &row.digest);
                match waiting.release(checked, now).await {
                    Ok(signatures) => {
                        row.signatures = signatures;
                        self.record_settled(operation.id, &row, HoldState::Approved, now)?;
                        if let Err(refusal) = self.spend_token(now).await {
                            self.record_refused(operation.id, &refusal, now)?;
                            return Ok(Ruling::Refuse(refusal));
                        }
                        return self.forward_signed(operation, &decided, now);
                    }
                    Err(verdict) => verdict,
                }
            }
            refused => refused,
        };
        let (state, refusal) = unreleased(&verdict, &row);
        self.record_settled(operation.id, &row, state, now)?;
        self.record_refused(operation.id, &refusal, now)?;
        Ok(Ruling::Refuse(refusal))
    }

    fn forward_signed(&mut self, operation: &Operation, decided: &Decided, now: Timestamp) -> Result<Ruling<Permit>, Broken> {
        if let Some(reason) = self.live.check() {
            return Err(Broken::Ended(reason.clone()));
        }
        self.plan_changed(operation.id, decided.plan.clone());
        self.expect_effects(&decided.facts);
        self.volume.add(volume::expected(&decided.facts), now);
        Ok(Ruling::Forward(Permit(()), self.forwarding(decided)))
    }

    /// Whether what would run now, and what policy asks for it, is what was signed.
    fn still_what_was_signed(&self, operation: &Operation, decided: &Decided, digest: &str) -> Result<(), String> {
        if decided.decision.outcome == Outcome::Deny {
            return Err(format!("policy now denies it: {}", decided.decision.reasons.join("; ")));
        }
        let now = self.draft(operation, decided).digest();
        if now == digest { Ok(()) } else { Err("what it means, or who must sign it, changed while it was held".to_owned()) }
    }

    /// The caller or its session gave up a held operation.
    ///
    /// # Errors
    /// The session cannot be recorded any more.
    pub async fn withdraw(&mut self, operation: u64, waiting: Waiting, why: &str, now: Timestamp) -> Result<Refusal, Broken> {
        let row = waiting.row();
        waiting.withdraw(why).await;
        self.record_settled(operation, &row, HoldState::Withdrawn { why: why.to_owned() }, now)?;
        let refusal = Refusal::new(Sqlstate::QUERY_CANCELED, "canceling statement due to user request")
            .detail("It was waiting for approval; nothing of it ran.");
        self.record_refused(operation, &refusal, now)?;
        Ok(refusal)
    }

    /// An operation that cannot be fully understood because the target's state could not be read: policy decides whether it may run all the same.
    ///
    /// # Errors
    /// The session was ended, or cannot be recorded any more.
    pub fn unread(
        &mut self,
        operation: &Operation,
        why: &str,
        (names, settings): (&Names, &Settings),
        now: Timestamp,
    ) -> Result<Ruling<Permit>, Broken> {
        if let Some(reason) = self.live.check() {
            return Err(Broken::Ended(reason.clone()));
        }
        self.follow(operation, names, settings);
        let facts = doubted(&self.facts(operation), &format!("the target's catalog could not be read: {why}"));
        let decided = self.decide_on(operation, Arc::new(facts), None, now);
        if decided.decision.outcome == Outcome::Allow && !self.spends_token(operation) {
            return self.forward(operation, &decided, now);
        }
        let refusal = Refusal::new(
            Sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("refused: the target's catalog could not be read: {}", model::name::printable(why)),
        )
        .detail("Nothing of it ran.");
        let denied = if decided.decision.outcome == Outcome::Deny { decided } else { Arc::new(self.denied(decided.facts.clone(), why.to_owned())) };
        self.refuse(operation, &denied, refusal, now)
    }

    /// The caller gave up an operation before it was decided.
    ///
    /// # Errors
    /// The session was ended, or cannot be recorded any more.
    pub fn give_up(&mut self, operation: &Operation, (names, settings): (&Names, &Settings), now: Timestamp) -> Result<Ruling<Permit>, Broken> {
        self.follow(operation, names, settings);
        let facts = doubted(&self.facts(operation), "the caller cancelled it before the target's catalog was read");
        let denied = self.denied(Arc::new(facts), "the caller cancelled it before it was decided".to_owned());
        let refusal = Refusal::new(Sqlstate::QUERY_CANCELED, "canceling statement due to user request").detail("Nothing of it ran.");
        self.refuse(operation, &denied, refusal, now)
    }

    /// A signed operation that cannot be checked again.
    ///
    /// # Errors
    /// The session cannot be recorded any more.
    pub async fn void(&mut self, operation: &Operation, waiting: Waiting, why: &str, now: Timestamp) -> Result<Ruling<Permit>, Broken> {
        let row = waiting.row();
        let verdict = waiting.release(Err(why.to_owned()), now).await.err().unwrap_or_else(|| Verdict::Voided { why: why.to_owned() });
        let (state, refusal) = unreleased(&verdict, &row);
        self.record_settled(operation.id, &row, state, now)?;
        self.record_refused(operation.id, &refusal, now)?;
        Ok(Ruling::Refuse(refusal))
    }

    async fn locks(&self, operation: &Operation) -> Vec<String> {
        if operation.transaction == Transaction::Idle {
            return Vec::new();
        }
        let asked = self.guard.catalogs().locks(&self.connection, &self.database, self.target_pid);
        match tokio::time::timeout(ADVICE_PATIENCE, asked).await {
            Ok(Ok(locks)) => locks,
            Ok(Err(why)) => vec![format!("not known: {why}")],
            Err(_) => vec!["not known: the target did not answer in time".to_owned()],
        }
    }

    async fn estimate(&self, operation: &Operation, facts: &Facts) -> String {
        if let Some(why) = no_estimate(operation, facts) {
            return why;
        }
        let asked = self.guard.catalogs().estimate(&self.connection, &self.database, &self.view.search_path, &operation.text);
        match tokio::time::timeout(ADVICE_PATIENCE, asked).await {
            Ok(Ok(estimate)) => estimate,
            Ok(Err(why)) => format!("no estimate: {why}"),
            Err(_) => "no estimate: the target did not answer in time".to_owned(),
        }
    }

    /// The notice the caller gets when an operation begins to wait.
    #[must_use]
    pub fn notice_of_hold(waiting: &Waiting) -> (String, String, String) {
        let row = waiting.row();
        let reasons: Vec<String> =
            row.requirements.iter().map(|asked| asked.reason.clone().unwrap_or_else(|| format!("policy {}", asked.policy))).collect();
        let signers: Vec<String> = waiting.signers().iter().map(ToString::to_string).collect();
        let needed: Vec<String> = row
            .requirements
            .iter()
            .map(|asked| format!("{} of {}", asked.count, asked.approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
            .collect();
        (
            format!("held for approval as {}: {}", row.id, reasons.join("; ")),
            format!("Needed: {}. Can sign: {}. It is refused at {:.0} if not signed.", needed.join(" and "), signers.join(", "), row.expires_at),
            format!("A signer runs: countersign approve {}. Cancel the statement to give up.", row.id),
        )
    }

    /// Why the session must end after it lost what was granted: something that runs would not be allowed without it, or would be masked.
    #[must_use]
    pub fn outlives(&self, lost: RequestId, now: Timestamp) -> Option<EndReason> {
        let (version, chain) = (self.guard.version(), self.live.chain_at(now));
        let masked = |plan: Option<&Arc<MaskPlan>>| plan.map(|plan| plan.masked().to_vec()).unwrap_or_default();
        let needs = |running: &Running| {
            let decided = self.decide_anew(&version, &chain, running.facts.clone(), now);
            decided.decision.outcome != Outcome::Allow || masked(decided.plan.as_ref()) != masked(running.plan.as_ref())
        };
        self.running.values().any(|running| needs(running)).then_some(EndReason::GrantOver(lost))
    }

    /// Whether a decision was made under a version or chain that is no longer in force.
    pub fn forget_decisions(&mut self) {
        self.known.clear();
    }
}

fn sought<'a>(operation: &'a Operation, view: &'a SessionView) -> Sought<'a> {
    let bound = matches!(operation.kind, OperationKind::Bind | OperationKind::FunctionCall { .. }) && !operation.parameters.is_empty();
    Sought { text: &operation.text, parameters: bound.then_some(&operation.parameters), view }
}

/// What no policy can permit, because nobody could say what it means.
fn beyond_reading(operation: &Operation, facts: &Facts) -> Option<String> {
    let by_number = matches!(operation.kind, OperationKind::FunctionCall { .. }) && facts.kinds.iter().any(|kind| &**kind == FUNCTION_CALL);
    by_number.then(|| "function calls by protocol message are supported for large objects alone".to_owned())
}

/// Which rows a write reaches may only show at Bind: `LIKE $1` is everything for `%` and one row for another pattern. A Parse runs nothing.
fn depends_on_parameters(operation: &Operation, facts: &Facts) -> bool {
    facts.row_scope >= model::RowScope::Unbounded && operation.text.contains('$')
}

/// How long a signer's extra information may keep a caller waiting.
const ADVICE_PATIENCE: Duration = Duration::from_secs(2);

/// Estimates are only for statements the planner can look at without running anybody's code.
fn no_estimate(operation: &Operation, facts: &Facts) -> Option<String> {
    if let Some(function) = facts.functions.first() {
        return Some(format!("no estimate: calls {}", model::name::printable(function)));
    }
    if facts.touches_unknown() || facts.outputs.opaque || facts.statements != 1 {
        return Some("no estimate: it is not a single statement of tables and built-ins".to_owned());
    }
    let planned = matches!(facts.kinds.first().map(AsRef::as_ref), Some("SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE"));
    if !planned {
        return Some("no estimate: the planner makes none for this kind of statement".to_owned());
    }
    (!operation.parameters.is_empty()).then(|| "no estimate: it has parameters".to_owned())
}

/// Whether it is nothing but statements that begin and end transactions and parts of them: those name no object.
fn only_controls_transaction(facts: &Facts) -> bool {
    kinds_are_listed(facts) && !facts.kinds.is_empty() && facts.kinds.iter().all(|kind| is_control(kind))
}

/// Whether it is nothing but transaction control and settings, or nothing at all.
fn names_nothing(facts: &Facts) -> bool {
    let plain = |kind: &Arc<str>| is_control(kind) || matches!(&**kind, "SET" | "RESET" | "SHOW");
    facts.understanding == Understanding::Full && kinds_are_listed(facts) && facts.kinds.iter().all(plain)
}

fn is_control(kind: &str) -> bool {
    matches!(kind, "BEGIN" | "START TRANSACTION" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE")
}

/// Whether more follows in it after what may end a transaction or undo a part of it.
fn goes_on_after_end(facts: &Facts) -> bool {
    !kinds_are_listed(facts) || facts.kinds.iter().rev().skip(1).any(|kind| matches!(&**kind, "COMMIT" | "ROLLBACK" | "PREPARE TRANSACTION"))
}

/// Of a long message not every kind is listed.
pub(crate) fn kinds_are_listed(facts: &Facts) -> bool {
    usize::try_from(facts.statements).is_ok_and(|statements| statements == facts.kinds.len())
}

/// What the kinds of a FunctionCall are whose function is not known by name.
const FUNCTION_CALL: &str = "FUNCTION CALL";

/// The same facts, and that they may not be all.
fn doubted(facts: &Facts, why: &str) -> Facts {
    let mut facts = facts.clone();
    facts.understanding = Understanding::Unreadable(why.to_owned());
    let unreadable = Pair { action: Action::Unreadable, object: Object::Connection };
    if let Err(place) = facts.pairs.binary_search(&unreadable) {
        facts.pairs.insert(place, unreadable);
    }
    facts.outputs = model::facts::Outputs { opaque: true, unfollowed: true, ..Default::default() };
    facts.effects.resolution = true;
    // Its names may mean others than those it was read with.
    facts.filters.untold = Some(model::facts::Comparison::Any);
    let reads = facts.functions.is_empty() && kinds_are_listed(&facts) && facts.kinds.iter().all(|kind| READING.contains(&&**kind));
    facts.effects.stores.untold |= !reads;
    facts
}

/// Kinds of statements that store nothing by themselves.
const READING: [&str; 5] = ["SELECT", "FETCH", "MOVE", "SHOW", "CLOSE CURSOR"];

/// Facts of what cannot be read.
fn not_understood(kind: &str, why: &str) -> Facts {
    Facts {
        understanding: Understanding::Unreadable(why.to_owned()),
        pairs: vec![Pair { action: Action::Unreadable, object: Object::Connection }],
        kinds: vec![Arc::from(kind)],
        statements: 1,
        reads: Vec::new(),
        writes: Vec::new(),
        functions: Vec::new(),
        row_scope: model::RowScope::None,
        risk: model::Risk::new(4),
        effects: model::Effects { stores: model::facts::Stores { untold: true, ..Default::default() }, ..Default::default() },
        outputs: model::facts::Outputs { opaque: true, unfollowed: true, ..Default::default() },
        filters: model::facts::Filters { untold: Some(model::facts::Comparison::Any), ..Default::default() },
        secret_spans: Vec::new(),
    }
}

/// What a caller is told of a denied operation. What the target would have said is said in its words.
fn denial(decided: &Decided) -> Refusal {
    let reasons = decided.decision.reasons.join("; ");
    match &decided.facts.understanding {
        Understanding::Syntax { message, position } => {
            let refusal = Refusal::new(Sqlstate::SYNTAX_ERROR, model::name::printable(message)).detail("It was not sent to the target.");
            if *position > 0 { refusal.position(*position) } else { refusal }
        }
        Understanding::Missing { message, sqlstate } => {
            Refusal::new(Sqlstate::new(sqlstate).unwrap_or(Sqlstate::SYNTAX_ERROR), model::name::printable(message))
                .detail("It was not sent to the target.")
        }
        Understanding::Unreadable(why) => Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, format!("refused by policy: {reasons}"))
            .detail(format!("It was not fully understood: {}.", model::name::printable(why)))
            .hint("Nothing of it ran. `countersign explain-statement` shows what was understood."),
        Understanding::Full => {
            let asked = decided.facts.pairs.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let policies = decided.decision.policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let by = if policies.is_empty() { "No policy permits it.".to_owned() } else { format!("Decided by {policies}.") };
            Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, format!("refused by policy: {reasons}"))
                .detail(format!("It asks for: {asked}. {by}"))
                .hint("Nothing of it ran. Ask an administrator if you need this access.")
        }
    }
}

/// A portal that would need a signature now, which nobody saw when it was bound.
fn bound_earlier(decided: &Decided) -> Refusal {
    let reasons = decided.decision.reasons.join("; ");
    Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, format!("refused: what is in force has changed since it was bound: {reasons}"))
        .detail("It needs approval now. Nothing more of it ran.")
        .hint("Bind it again to ask for approval.")
}

fn unheld(refused: &HoldRefused, decided: &Decided) -> Refusal {
    let reasons = decided.decision.reasons.join("; ");
    Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, format!("refused: {refused}")).detail(format!("It needs approval: {reasons}. Nothing of it ran."))
}

fn unreleased(verdict: &Verdict, row: &model::hold::HoldRow) -> (HoldState, Refusal) {
    let (state, message) = verdict.refuses(row.id);
    let code = match verdict {
        Verdict::Denied { .. } | Verdict::Voided { .. } => Sqlstate::INSUFFICIENT_PRIVILEGE,
        Verdict::Expired | Verdict::Signed(_) | Verdict::Withdrawn { .. } => Sqlstate::QUERY_CANCELED,
        Verdict::StateLost => Sqlstate::CANNOT_CONNECT_NOW,
    };
    (state, Refusal::new(code, message).detail("Nothing of it ran.").hint("Run the statement again to ask again."))
}

#[cfg(test)]
mod tests;
