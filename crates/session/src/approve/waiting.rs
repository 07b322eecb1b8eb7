//! The session's end of a held operation: the only place a release can be asked for.

use std::sync::Arc;

use model::{
    HoldId, IdentityName, Timestamp,
    hold::{HoldRow, HoldState, Signature},
    name::printable,
};
use tokio::{sync::watch, time::Instant};

use super::{
    Signers, Watch,
    desk::{CALLER_LEFT, Desk, Held, Standing},
};
use crate::trace::Span;

/// How a held operation came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All requirements are met. Check the operation again and call [`Waiting::release`]; nothing may run before that says so.
    Signed(Vec<Signature>),
    /// Somebody said no.
    Denied {
        /// Who.
        by: IdentityName,
        /// Why, if they said.
        reason: Option<String>,
    },
    /// Not everybody signed in time.
    Expired,
    /// It was withdrawn from the caller's side.
    Withdrawn {
        /// Why.
        why: String,
    },
    /// It was signed, and something differs from what was signed.
    Voided {
        /// What.
        why: String,
    },
    /// The state store cannot be reached, so nothing is released.
    StateLost,
}

impl Verdict {
    /// As what it is kept, and what its caller is told, where nothing is released. One that was signed by then is too late.
    pub(crate) fn refuses(&self, hold: HoldId) -> (HoldState, String) {
        let (state, message) = match self {
            Self::Denied { by, reason } => {
                let why = reason.as_deref().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
                (HoldState::Denied { by: by.clone(), reason: reason.clone() }, format!("denied by {by}{why}"))
            }
            Self::Expired | Self::Signed(_) => (HoldState::Expired, "nobody approved it in time".to_owned()),
            Self::Withdrawn { why } => (HoldState::Withdrawn { why: why.clone() }, format!("withdrawn: {}", printable(why))),
            Self::Voided { why } => (HoldState::Voided { why: why.clone() }, format!("its approval is void: {}", printable(why))),
            Self::StateLost => {
                let why = "the gateway lost its state store".to_owned();
                (HoldState::Voided { why: why.clone() }, why)
            }
        };
        (state, format!("held operation {hold} was refused: {message}"))
    }
}

/// A held operation, kept by the session that waits for it. Dropping it withdraws the operation.
#[derive(Debug)]
pub struct Waiting {
    desk: Arc<Desk>,
    held: Arc<Held>,
    seen: watch::Receiver<Standing>,
    signers: Signers,
    expires: Instant,
    span: Span,
    watch: Option<Watch>,
}

impl Waiting {
    pub(super) fn new(
        desk: Arc<Desk>,
        held: Arc<Held>,
        seen: watch::Receiver<Standing>,
        signers: Signers,
        expires: Instant,
        watch: Option<Watch>,
    ) -> Self {
        Self { desk, held, seen, signers, expires, span: Span::default(), watch }
    }

    /// Who watches it, if it has to be watched: what keeps it so is given away once.
    pub(crate) const fn take_watch(&mut self) -> Option<Watch> {
        self.watch.take()
    }

    /// With a span that is over when it no longer waits.
    pub(crate) fn traced(mut self, mut span: Span) -> Self {
        span.note("countersign.hold", self.held.draft.id);
        self.span = span;
        self
    }

    /// The operation as its signers see it.
    #[must_use]
    pub fn row(&self) -> HoldRow {
        self.held.row()
    }

    /// People who could sign, at most [`MAX_NAMED_SIGNERS`](super::MAX_NAMED_SIGNERS).
    #[must_use]
    pub fn signers(&self) -> &[IdentityName] {
        &self.signers
    }

    /// Waits until it is signed by all who must, denied or expired. Cancel-safe: call it again at any time.
    pub async fn settled(&mut self) -> Verdict {
        loop {
            if let Some(verdict) = verdict(&self.seen.borrow_and_update()) {
                return verdict;
            }
            tokio::select! {
                changed = self.seen.changed() => if changed.is_err() { return Verdict::StateLost },
                () = tokio::time::sleep_until(self.expires) => {
                    let at = self.held.draft.expires_at;
                    self.desk.end(&self.held, |machine| { machine.expire(at); }).await;
                }
            }
        }
    }

    /// After [`Verdict::Signed`]: releases the operation if `checked` found nothing that differs, and requester and signers still stand under the
    /// policy and register of this moment; it may run once this has answered `Ok`.
    ///
    /// # Errors
    /// It must not run: what differs, or what came in between.
    pub async fn release(self, checked: Result<(), String>, now: Timestamp) -> Result<Vec<Signature>, Verdict> {
        if let Err(why) = checked {
            let row = self
                .desk
                .end(&self.held, |machine| {
                    machine.void(&why);
                })
                .await;
            return Err(refusal(row));
        }
        match self.desk.release(&self.held, now).await {
            Ok(row) if row.state == HoldState::Approved => Ok(row.signatures),
            Ok(row) => Err(refusal(row)),
            Err(error) => {
                tracing::error!(hold = %self.held.draft.id, %error, "a signed operation is not released: the state store cannot be reached");
                self.desk
                    .end(&self.held, |machine| {
                        machine.void("the state store could not be reached");
                    })
                    .await;
                Err(Verdict::StateLost)
            }
        }
    }

    /// Withdraws it, saying why: cancelled, session ended.
    pub async fn withdraw(self, why: &str) {
        self.desk
            .end(&self.held, |machine| {
                machine.withdraw(why);
            })
            .await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let row = self.held.row();
        self.span.note("countersign.outcome", outcome(&row.state));
        self.span.note("countersign.signatures", row.signatures.len());
        self.desk.let_go(&self.held, CALLER_LEFT);
    }
}

const fn outcome(state: &HoldState) -> &'static str {
    match state {
        HoldState::Waiting => "left",
        HoldState::Approved => "approved",
        HoldState::Denied { .. } => "denied",
        HoldState::Expired => "expired",
        HoldState::Withdrawn { .. } => "withdrawn",
        HoldState::Voided { .. } => "voided",
    }
}

fn verdict(standing: &Standing) -> Option<Verdict> {
    if standing.complete {
        return Some(Verdict::Signed(standing.row.signatures.clone()));
    }
    match &standing.row.state {
        HoldState::Waiting => None,
        HoldState::Approved | HoldState::Denied { .. } | HoldState::Expired | HoldState::Withdrawn { .. } | HoldState::Voided { .. } => {
            Some(refusal(standing.row.clone()))
        }
    }
}

fn refusal(row: HoldRow) -> Verdict {
    match row.state {
        HoldState::Denied { by, reason } => Verdict::Denied { by, reason },
        HoldState::Expired => Verdict::Expired,
        HoldState::Withdrawn { why } => Verdict::Withdrawn { why },
        HoldState::Voided { why } => Verdict::Voided { why },
        HoldState::Waiting | HoldState::Approved => Verdict::Withdrawn { why: CALLER_LEFT.to_owned() },
    }
}
