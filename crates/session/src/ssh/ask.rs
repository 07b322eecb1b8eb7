//! The spine of a session over SSH: what happens to one operation between being asked and being ruled on. Read [`Session::ask`] first.

use std::sync::Arc;

use model::{
    Action, ActorChain, Decision, Facts, Outcome, RequestId, Timestamp, Understanding, VersionHash,
    hold::{HoldState, Signature},
    name::printable,
};
use policy::decide::{self, Case, Recent};

use super::{Kept, Session, Via};
use crate::{
    approve::{Draft, Verdict, Waiting, Watch},
    ask::{Broken, Decided},
    live::EndReason,
};

/// One thing that is asked of a machine: a command, a shell, a file to be opened, a forward.
#[derive(Debug, Clone)]
pub struct Operation {
    /// As people read it: the command itself, or what is wanted in words.
    pub text: Arc<str>,
    /// What it means.
    pub facts: Arc<Facts>,
    /// How it was asked.
    pub via: Via,
    /// Whether it may wait for people. What its protocol answers in order with everything else may not.
    pub may_wait: bool,
    /// Whether somebody can watch it: it has a terminal, and is passed on only as long as a [`Watch`] that its permit may have says so.
    pub watchable: bool,
}

/// The right to have a machine do one operation. Only this file makes one, and only after the operation stands in the recording.
#[derive(Debug)]
pub struct Permit {
    operation: u64,
    watch: Option<Watch>,
}

impl Permit {
    /// The number of its operation in the session.
    #[must_use]
    pub const fn operation(&self) -> u64 {
        self.operation
    }

    /// What it is watched by, if it may go on only as long as it is: see [`Session::goes_unwatched`]. It is given away once.
    pub const fn take_watch(&mut self) -> Option<Watch> {
        self.watch.take()
    }
}

/// What was decided of an operation.
#[derive(Debug)]
pub enum Ruling {
    /// It may run.
    Forward(Permit),
    /// It may not. The sentence is for the caller.
    Refuse(String),
}

impl Session {
    /// Decides one operation, and waits for people if policy wants them. Nothing of it has reached the machine. `tell` passes what the caller is to know
    /// of the wait; `gone` is over when the caller does not wait any more.
    ///
    /// # Errors
    /// The session was ended, or cannot be recorded any more.
    pub async fn ask<F>(&self, operation: &Operation, tell: impl FnOnce(String) -> F, gone: impl Future<Output = ()>) -> Result<Ruling, Broken>
    where
        F: Future<Output = ()>,
    {
        let now = Timestamp::now();
        let (op, decided) = self.decide_and_record(operation, now)?;
        match &decided.decision.outcome {
            Outcome::Allow => self.permit(op, operation, None, now).await,
            Outcome::Hold(_) if !operation.may_wait => {
                let reasons = decided.decision.reasons.join("; ");
                self.refuse(op, format!("it needs a signature ({}), for which this cannot wait", printable(&reasons)), now)
            }
            Outcome::Hold(_) => self.hold(op, operation, &decided, tell, gone).await,
            Outcome::Deny => self.refuse(op, denial(&decided), now),
        }
    }

    /// What it means to policy at this moment, written down before anything of it goes on.
    fn decide_and_record(&self, operation: &Operation, now: Timestamp) -> Result<(u64, Decided), Broken> {
        if let Some(reason) = self.live.check() {
            return Err(Broken::Ended(reason.clone()));
        }
        let mut kept = self.kept();
        let decided = self.decide(&mut kept, operation, now);
        let op = kept.record_asked(operation, &decided, now)?;
        Ok((op, decided))
    }

    fn decide(&self, kept: &mut Kept, operation: &Operation, now: Timestamp) -> Decided {
        let (version, chain) = (self.guard.version(), self.live.chain_at(now));
        let facts = operation.facts.clone();
        // As the version in force describes it: a machine that became production is production for live sessions, too.
        match version.connections.get(&kept.connection.name) {
            Some(connection) => kept.connection = connection.clone(),
            None => return denied(facts, "this connection no longer exists".to_owned(), version.hash),
        }
        if let Some(why) = self.outside_token(operation).or_else(|| beyond_commands(kept, operation)) {
            return denied(facts, why, version.hash);
        }
        let case = Case { chain: &chain, connection: &kept.connection, database: "", facts: &facts, recent: Recent::default(), now };
        let decision = if operation.watchable { decide::decide_watchable(&version, &case) } else { decide::decide(&version, &case) };
        Decided::new(facts, decision, None)
    }

    /// A token for a single statement runs that command, and nothing beside it.
    fn outside_token(&self, operation: &Operation) -> Option<String> {
        let only = self.only_statement.as_ref()?;
        let same = operation.via == Via::Exec && *operation.text == *only.text;
        (!same && !prepares(operation)).then(|| "this token runs one command, and this is another thing".to_owned())
    }

    /// Uses up a token for one command; then it may run. What only prepares something is not that command.
    async fn permit(&self, op: u64, operation: &Operation, watch: Option<Watch>, now: Timestamp) -> Result<Ruling, Broken> {
        if let Some(only) = self.only_statement.as_ref().filter(|_| !prepares(operation)) {
            match self.guard.store().state().spend_token(only.token, now).await {
                Ok(true) => {}
                Ok(false) => return self.refuse(op, "this token runs its command once, and it has run".to_owned(), now),
                Err(error) => {
                    tracing::error!(%error, "a token for one command could not be marked as used");
                    return self.refuse(op, "the gateway cannot reach its state store".to_owned(), now);
                }
            }
        }
        match self.live.check() {
            Some(reason) => Err(Broken::Ended(reason.clone())),
            None => Ok(Ruling::Forward(Permit { operation: op, watch })),
        }
    }

    fn refuse(&self, op: u64, sentence: String, now: Timestamp) -> Result<Ruling, Broken> {
        self.kept().record_refused(op, &sentence, now)?;
        Ok(Ruling::Refuse(sentence))
    }

    /// Has an operation wait for signatures, and settles it.
    async fn hold<F>(
        &self,
        op: u64,
        operation: &Operation,
        decided: &Decided,
        tell: impl FnOnce(String) -> F,
        gone: impl Future<Output = ()>,
    ) -> Result<Ruling, Broken>
    where
        F: Future<Output = ()>,
    {
        let now = Timestamp::now();
        let mut waiting = match self.guard.approvals().open(self.draft(operation, decided), now).await {
            Ok(waiting) => waiting,
            Err(refused) => return self.refuse(op, refused.to_string(), now),
        };
        self.kept().record_held(op, &waiting.row(), now)?;
        tell(notice(&waiting)).await;
        let verdict = tokio::select! {
            verdict = waiting.settled() => verdict,
            () = gone => return self.withdraw(op, waiting, "the caller did not wait any longer").await,
            reason = self.live.ended() => {
                self.withdraw(op, waiting, &reason.to_string()).await?;
                return Err(Broken::Ended(reason));
            }
        };
        self.release(op, operation, waiting, verdict).await
    }

    /// After a verdict: what was signed runs if it is still what would run, under the policy now in force.
    async fn release(&self, op: u64, operation: &Operation, mut waiting: Waiting, verdict: Verdict) -> Result<Ruling, Broken> {
        let now = Timestamp::now();
        let mut row = waiting.row();
        let verdict = match verdict {
            Verdict::Signed(signed) => {
                let watch = waiting.take_watch();
                let checked = self.still_what_was_signed(operation, &row.digest, now).and(must_be_watched(watch.as_ref(), &signed));
                match waiting.release(checked, now).await {
                    Ok(signatures) => {
                        if let Some(watch) = &watch {
                            watch.begins(&signatures);
                        }
                        // Who signs for what may have been told anew for another signature.
                        let watched = must_be_watched(watch.as_ref(), &signatures);
                        row.signatures = signatures;
                        self.kept().record_settled(op, &row, HoldState::Approved, now)?;
                        if let Err(sentence) = watched {
                            return self.refuse(op, sentence, now);
                        }
                        return self.permit(op, operation, watch, now).await;
                    }
                    Err(verdict) => verdict,
                }
            }
            refused => refused,
        };
        let (state, sentence) = verdict.refuses(row.id);
        self.kept().record_settled(op, &row, state, now)?;
        self.refuse(op, sentence, now)
    }

    async fn withdraw(&self, op: u64, waiting: Waiting, why: &str) -> Result<Ruling, Broken> {
        let now = Timestamp::now();
        let row = waiting.row();
        waiting.withdraw(why).await;
        self.kept().record_settled(op, &row, HoldState::Withdrawn { why: why.to_owned() }, now)?;
        self.refuse(op, format!("it was withdrawn: {}", printable(why)), now)
    }

    /// Whether what would run now, and what policy asks for it, is what was signed.
    fn still_what_was_signed(&self, operation: &Operation, digest: &str, now: Timestamp) -> Result<(), String> {
        let decided = self.decide(&mut self.kept(), operation, now);
        if decided.decision.outcome == Outcome::Deny {
            return Err(format!("policy now denies it: {}", decided.decision.reasons.join("; ")));
        }
        let same = self.draft(operation, &decided).digest() == digest;
        if same { Ok(()) } else { Err("what it means, or who must sign it, changed while it was held".to_owned()) }
    }

    /// Everything a signature is bound to, and what a signer is shown beside it.
    fn draft(&self, operation: &Operation, decided: &Decided) -> Draft {
        let requirements = match &decided.decision.outcome {
            Outcome::Hold(requirements) => requirements.clone(),
            Outcome::Allow | Outcome::Deny => Vec::new(),
        };
        Draft {
            session: self.id,
            chain: ActorChain::clone(&self.live.chain()),
            connection: self.kept().connection.name.clone(),
            database: String::new(),
            statement: operation.text.to_string(),
            parameters: Vec::new(),
            facts: Facts::clone(&decided.facts),
            requirements,
            version: decided.decision.version,
            transaction_open_ms: None,
            locks: Vec::new(),
            estimate: "no estimate: it is no statement of a database".to_owned(),
        }
    }

    /// Why the session must end after it lost what was granted: something that runs would not be allowed without it.
    pub(super) fn outlives(&self, lost: RequestId, now: Timestamp) -> Option<EndReason> {
        let (version, chain) = (self.guard.version(), self.live.chain_at(now));
        let kept = self.kept();
        let needs = |facts: &Facts| {
            let case = Case { chain: &chain, connection: &kept.connection, database: "", facts, recent: Recent::default(), now };
            decide::decide(&version, &case).outcome != Outcome::Allow
        };
        kept.running.values().any(|running| needs(&running.facts)).then_some(EndReason::GrantOver(lost))
    }
}

fn denied(facts: Arc<Facts>, why: String, version: VersionHash) -> Decided {
    let decision = Decision { outcome: Outcome::Deny, policies: Vec::new(), reasons: vec![why], version };
    Decided::new(facts, decision, None)
}

/// What comes before something that is decided by itself: the beginning of SFTP, a variable that changes nothing.
fn prepares(operation: &Operation) -> bool {
    matches!(operation.via, Via::Subsystem | Via::Environment) && is_harmless(operation)
}

/// What needs no more than the session itself.
fn is_harmless(operation: &Operation) -> bool {
    operation.facts.understanding == Understanding::Full && operation.facts.pairs.iter().all(|pair| pair.action == Action::Connect)
}

/// A connection that names its commands has them run word for word, and nothing else done.
fn beyond_commands(kept: &Kept, operation: &Operation) -> Option<String> {
    let commands = &kept.connection.machine.as_ref()?.commands;
    let named = operation.via == Via::Exec && commands.iter().any(|command| **command == *operation.text);
    let within = commands.is_empty() || named || (operation.via == Via::Environment && is_harmless(operation));
    (!within).then(|| format!("connection {} runs the commands that it names, and nothing else", kept.connection.name))
}

/// What has to be watched is, by those who signed it.
fn must_be_watched(watch: Option<&Watch>, signed: &[Signature]) -> Result<(), String> {
    let met = watch.is_none_or(|watch| watch.is_met_by(signed));
    if met { Ok(()) } else { Err("nobody who signed it watches".to_owned()) }
}

fn denial(decided: &Decided) -> String {
    let reasons = decided.decision.reasons.join("; ");
    match &decided.facts.understanding {
        Understanding::Unreadable(why) => format!("refused by policy: {reasons}. It was not fully understood: {}", printable(why)),
        Understanding::Full | Understanding::Syntax { .. } | Understanding::Missing { .. } => {
            let asked = decided.facts.pairs.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let policies = decided.decision.policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let by = if policies.is_empty() { "no policy permits it".to_owned() } else { format!("decided by {policies}") };
            format!("refused by policy: {reasons}. It asks for: {asked}; {by}")
        }
    }
}

/// What the caller is told when an operation begins to wait.
fn notice(waiting: &Waiting) -> String {
    let row = waiting.row();
    let reasons: Vec<String> =
        row.requirements.iter().map(|asked| asked.reason.clone().unwrap_or_else(|| format!("policy {}", asked.policy))).collect();
    let needed = row.requirements.iter().map(|asked| {
        let groups = asked.approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("{} of {groups}", asked.count)
    });
    let watched = row.requirements.iter().any(|asked| asked.watched);
    let how = if watched {
        "it runs only while one of those who signed watches\na signer runs: countersign watch"
    } else {
        "a signer runs: countersign approve"
    };
    let signers: Vec<String> = waiting.signers().iter().map(ToString::to_string).collect();
    format!(
        "held for approval as {}: {}\nneeded: {}; can sign: {}; it is refused at {:.0} if not signed\n{how} {}",
        row.id,
        printable(&reasons.join("; ")),
        needed.collect::<Vec<_>>().join(" and "),
        signers.join(", "),
        row.expires_at,
        row.id
    )
}
