//! What goes into the recording, and when: everything about an operation before anything of it goes on, and one write for all that is ready.

use std::{collections::BTreeSet, sync::Arc};

use evidence::record::{Answered, Asked, AskedOutcome, Failure, Parameter, Record, Ruling, Treatment, Via};
use model::{
    Decision, Outcome, Timestamp,
    hold::{HoldRow, HoldState},
};
use policy::masking::{CellPlan, MaskPlan};
use protocol::postgres::{
    dialogue::{Answer, Operation, OperationKind},
    refusal::Refusal,
};

use crate::{
    ask::{Broken, Decided},
    logbook::Recorded,
    open::{MAX_RUNNING, Running, Session},
    value, volume,
};

impl Session {
    /// Writes everything recorded since the last call.
    ///
    /// # Errors
    /// It cannot be written: the session must end.
    pub fn commit(&mut self) -> Result<(), Broken> {
        self.log.commit()
    }

    /// Writes what must stand before anything more is sent to either side: what is asked, decided and shown, and with it all before it. How
    /// operations ended may follow with the next, in one write for both: then this says so, and [`Session::commit`] must follow soon.
    ///
    /// # Errors
    /// It cannot be written: the session must end.
    pub fn commit_ahead(&mut self) -> Result<Recorded, Broken> {
        self.log.commit_ahead()
    }

    pub(crate) fn record_asked(&mut self, operation: &Operation, decided: &Decided, now: Timestamp) -> Result<(), Broken> {
        self.log.listing.operations += 1;
        let asked = Asked {
            op: operation.id,
            at: now,
            text: operation.text.clone(),
            facts: decided.facts.clone(),
            ruling: decided.ruling.clone(),
            parameters: operation.parameters.iter().map(parameter).collect(),
            via: via(operation.kind),
        };
        self.log.append(&Record::Asked(asked))?;
        if decided.decision.outcome != Outcome::Deny {
            self.remember(operation.id, decided, now);
        }
        Ok(())
    }

    fn remember(&mut self, operation: u64, decided: &Decided, now: Timestamp) {
        let running = Running {
            facts: decided.facts.clone(),
            plan: decided.plan.clone(),
            rows: None,
            copy: None,
            copied: protocol::postgres::copy::CopyBodies::default(),
            binary: Vec::new(),
            names: Vec::new(),
            masked: Vec::new(),
            asked_at: now,
        };
        self.running.insert(operation, Box::new(running));
        if self.running.len() > MAX_RUNNING {
            self.running.pop_first();
        }
    }

    pub(crate) fn plan_changed(&mut self, operation: u64, plan: Option<Arc<MaskPlan>>) {
        if let Some(running) = self.running.get_mut(&operation) {
            running.plan = plan;
        }
    }

    pub(crate) fn record_refused(&mut self, operation: u64, refusal: &Refusal, now: Timestamp) -> Result<(), Broken> {
        let running = self.running.remove(&operation);
        let waited = running.map_or(0, |running| now.duration_since(running.asked_at).as_micros());
        self.log.append(&Record::Answered(Answered {
            op: operation,
            at: now,
            duration_us: u64::try_from(waited).unwrap_or(0),
            error: Some(Failure { sqlstate: refusal.sqlstate().as_str().to_owned(), message: refusal.message().to_owned() }),
            refused: true,
            ..Answered::default()
        }))
    }

    pub(crate) fn record_held(&mut self, operation: u64, row: &HoldRow, now: Timestamp) -> Result<(), Broken> {
        self.log.held(operation, row, now)
    }

    pub(crate) fn record_settled(&mut self, operation: u64, row: &HoldRow, state: HoldState, now: Timestamp) -> Result<(), Broken> {
        self.log.settled(operation, row, state, now)
    }

    /// Records how an operation ended. A suspended portal is not ended: its rows go on with the next Execute.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), Broken> {
        let suspended = answer.tag.is_none() && answer.error.is_none() && !answer.skipped && answer.rows > 0;
        let masked = self.running.get(&answer.operation).map(|running| running.masked.clone()).unwrap_or_default();
        let found = if suspended { None } else { self.running.remove(&answer.operation) };
        if let Some(running) = &found {
            self.follow_answer(&answer, &running.facts);
            // So many were counted when it was forwarded.
            self.volume.add(answer.changed.saturating_sub(volume::expected(&running.facts)), now);
        }
        let tag = answer.tag.as_deref().map(|tag| String::from_utf8_lossy(tag).into_owned());
        let counted = tag.as_deref().and_then(|tag| tag.rsplit(' ').next()).and_then(|count| count.parse().ok());
        let error = match answer.skipped {
            true => Some(Failure { sqlstate: "25P02".to_owned(), message: "skipped by the target after an earlier error".to_owned() }),
            false => answer.error.map(|error| Failure { sqlstate: error.sqlstate, message: error.message }),
        };
        let answered = Record::Answered(Answered {
            op: answer.operation,
            at: now,
            duration_us: answer.duration_us,
            rows: if answer.rows > 0 { answer.rows } else { counted.unwrap_or(0) },
            bytes: answer.bytes,
            tag,
            error,
            masked,
            refused: false,
        });
        self.log.append_later(&answered)
    }

    /// Records anything else worth knowing: a cancel request, a change of policy.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn note(&mut self, kind: &str, text: &str, now: Timestamp) -> Result<(), Broken> {
        self.log.note(kind, text, now)
    }

    /// Records what is granted to the session's members from here on, if that is not what the recording says.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn note_granted(&mut self, now: Timestamp) -> Result<(), Broken> {
        self.log.note_granted(&self.live.chain_at(now), now)
    }

    pub(crate) fn append_shown(&mut self, record: &Record) -> Result<(), Broken> {
        self.log.append(record)
    }
}

/// What a recording says of a decision.
pub(crate) fn ruling(decision: &Decision, plan: Option<&MaskPlan>) -> Ruling {
    let classes = plan.map(|plan| plan.masked().iter().map(|column| column.class.clone()).collect::<BTreeSet<_>>());
    Ruling {
        outcome: match decision.outcome {
            Outcome::Allow => AskedOutcome::Allowed,
            Outcome::Hold(_) => AskedOutcome::Held,
            Outcome::Deny => AskedOutcome::Denied,
        },
        policies: decision.policies.clone(),
        reasons: if decision.outcome == Outcome::Allow { Vec::new() } else { decision.reasons.clone() },
        version: decision.version,
        classes: classes.unwrap_or_default().into_iter().collect(),
    }
}

/// The number in its session of what the session begins with: those that are asked count from 1.
const STARTUP: u64 = 0;

/// What a recording says of settings in the startup packet: what SET would leave. The target has them by the time the session is open.
pub(crate) fn startup(settings: &str, decided: &Decided, at: Timestamp) -> [Record; 2] {
    let (text, facts, ruling) = (Arc::from(settings), decided.facts.clone(), decided.ruling.clone());
    [
        Record::Asked(Asked { op: STARTUP, at, text, facts, ruling, parameters: Vec::new(), via: Via::Startup }),
        Record::Answered(Answered { op: STARTUP, at, ..Answered::default() }),
    ]
}

/// What a recording says of a column.
pub(crate) fn treatment(plan: &CellPlan) -> Treatment {
    match plan {
        CellPlan::Pass | CellPlan::Detect(_) => Treatment::Pass,
        CellPlan::Withhold { .. } => Treatment::Withheld,
        CellPlan::Mask { class, .. } => Treatment::Masked(class.clone()),
    }
}

const fn via(kind: OperationKind) -> Via {
    match kind {
        OperationKind::Query => Via::Simple,
        OperationKind::Parse => Via::Parse,
        OperationKind::Bind => Via::Bind,
        OperationKind::Execute => Via::Execute,
        OperationKind::FunctionCall { .. } => Via::FunctionCall,
    }
}

fn parameter(parameter: &protocol::postgres::dialogue::Parameter) -> Parameter {
    match (&parameter.value, value::as_text(parameter)) {
        (None, _) => Parameter::Null,
        (Some(_), Some(text)) => Parameter::Text(text),
        (Some(bytes), None) => Parameter::Binary { hex: evidence::record::Hex(bytes.to_vec()), type_oid: parameter.type_oid },
    }
}
