//! One session's driver: carries bytes between two wires and a dialogue, has the session decide, mask and record, and waits for whatever comes next.
//!
//! One task for each session; no channel, timer or lock for a message. The order that matters: moves are drained and what they send is held back,
//! then the recording is committed, and only then is anything of it released to either side.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use model::{RequestId, Timestamp};
use protocol::{
    Side,
    postgres::{
        dialogue::{Dialogue, Ending, Move, Operation, Reply, ReplyKind, Rows, Ruling, Transaction},
        message::frontend,
        refusal::{self, Refusal, Sqlstate},
    },
};
use session::{
    Asked, Broken, Decided, Permit, Recorded, Session,
    approve::{Verdict, Waiting},
    live::{EndReason, Woken},
};
use tokio::{sync::oneshot, task::JoinHandle, time::Sleep};

use super::{
    cancel::TargetCancel,
    roles::RolePlace,
    signals::{Signal, Signals},
};
use crate::{dial::Dialled, link::Wire};

/// Bytes read at once: statements are short, answers long.
const CALLER_ROOM_BYTES: usize = 16 << 10;
const TARGET_ROOM_BYTES: usize = 64 << 10;

/// While this much waits to be written to one side, the other is not read.
const MAX_QUEUED_BYTES: usize = 256 << 10;

/// How a question ends that a failed transaction did not answer: with its SQLSTATE.
const IN_FAILED_TRANSACTION: &str = "(25P02)";

/// Operations decided in one go before others have their turn and what is decided goes out.
const MAX_TURN: u32 = 64;

/// Bytes of a caller that are carried before it is looked again whether its target says something: an early failure saves it the rest.
const MAX_UNHEARD_BYTES: usize = 128 << 10;

/// How long it may be unwritten how an operation ended whose answer went out.
const MAX_LAG: Duration = Duration::from_millis(10);

/// How long what a caller said before it left may wait, for a catalog or for a target that says nothing.
const LEAVING: Duration = Duration::from_secs(10);

/// How long the last words to either side may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// A session with everything it runs on.
pub(crate) struct Pump {
    session: Session,
    dialogue: Dialogue<Permit>,
    caller: Wire,
    target: Wire,
    signals: Signals,
    cancel: Option<TargetCancel>,
    stage: Stage,
    began: Instant,
    draining: bool,
    /// The operation before which the target's `application_name` was put back.
    restored_before: Option<u64>,
    /// What the caller was released so far ends inside a message.
    mid_message: bool,
    /// Operations asked in this turn.
    turn: u32,
    /// Bytes of the caller since its target was last listened to for certain.
    unheard_bytes: usize,
    lag: Lag,
    /// The caller says nothing more: how long what it said may still wait.
    leaving: Option<Pin<Box<Sleep>>>,
    /// The target's role of this session alone, if it has one: it is dropped after everything else here.
    _role: Option<RolePlace>,
}

/// What the operation being decided waits for.
enum Stage {
    /// Nothing is being decided.
    Flowing,
    /// The target answers questions.
    Learning(Box<Operation>, Then),
    /// People decide.
    Holding(Box<Operation>, Waiting),
}

/// What follows an answer.
enum Then {
    /// The session learns it, and is asked again.
    Ask,
    /// The target's `application_name` is ours again; the session is asked again.
    Restored,
    /// The session learns it, and releases what was signed or not.
    Release(Waiting, Verdict),
}

/// What must be waited for before the next move.
enum Awaited {
    /// Other sessions, which have their turn.
    Turn,
    /// The store, which marks the token of this operation.
    Once(Box<Operation>),
    /// A reading of the committed catalog, for this operation.
    Refresh(Box<Operation>),
    /// People, to be asked about this operation.
    Hold(Box<Operation>, Arc<Decided>),
    /// Whoever takes in the answers of the target.
    Learned(Result<Vec<Rows>, String>),
    /// The end of an operation's hold.
    Withdraw,
}

/// What happened.
enum Event {
    Signal(Signal),
    Settled(Verdict),
    Lagged,
    Left,
    Io(Io),
}

enum Io {
    /// How many bytes of the caller, and whether any of the target.
    Read {
        caller: usize,
        target: bool,
    },
    CallerEnded,
    CallerGone,
    TargetGone(std::io::Error),
}

/// How a session ended, and what is still to be said.
enum End {
    /// The caller said goodbye, or is gone.
    CallerLeft(String),
    /// It was ended from outside: what runs is cancelled.
    Cut(EndReason),
    /// Something broke here: what runs is cancelled; the caller hears this if it can be told.
    Broke(Refusal, String),
    /// The target broke or is gone; the caller hears this if it can be told.
    Lost(Refusal, String),
    /// The dialogue told the caller already.
    Told(String),
}

impl End {
    fn caller_is_gone() -> Self {
        Self::CallerLeft("the caller is gone".to_owned())
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        let text = broken.to_string();
        match broken {
            Broken::Ended(reason) => Self::Cut(reason),
            Broken::Recording(error) => {
                tracing::error!(%error, "a session ends: its recording cannot be written");
                Self::Broke(Refusal::new(Sqlstate::IO_ERROR, "this session ends: it cannot be recorded any more"), text)
            }
            Broken::Masking => Self::Broke(Refusal::new(Sqlstate::INTERNAL_ERROR, "this session ends: an answer could not be masked"), text),
        }
    }
}

impl Pump {
    pub(crate) fn new(
        session: Session,
        mut dialogue: Dialogue<Permit>,
        caller: Wire,
        target: Dialled,
        signals: Signals,
        cancel: Option<TargetCancel>,
        role: Option<RolePlace>,
    ) -> Self {
        dialogue.input(Side::Target).unsplit(target.input);
        let (stage, began) = (Stage::Flowing, Instant::now());
        Self {
            session,
            dialogue,
            caller,
            target: target.wire,
            signals,
            cancel,
            stage,
            began,
            draining: false,
            restored_before: None,
            mid_message: false,
            turn: 0,
            unheard_bytes: 0,
            lag: Lag::default(),
            leaving: None,
            _role: role,
        }
    }

    /// Carries the session to its end. What it seldom waits for is boxed below: an idle session keeps the room of the largest future there is in it.
    pub(crate) async fn run(mut self: Box<Self>) {
        let carried = unless_it_panics(std::pin::pin!(self.carry())).await;
        let end = match carried {
            Some(ControlFlow::Break(end) | ControlFlow::Continue(end)) => end,
            None => self.failed(),
        };
        Box::pin(self.finish(end)).await;
    }

    /// The task panicked. What was not released by then may not be recorded, and goes nowhere.
    fn failed(&mut self) -> End {
        self.caller.forget_held_back();
        self.target.forget_held_back();
        End::Broke(Refusal::new(Sqlstate::INTERNAL_ERROR, "this session ends: the gateway failed in it"), "the gateway failed".to_owned())
    }

    async fn carry(&mut self) -> ControlFlow<End, End> {
        self.received(Side::Target);
        loop {
            while let Some(awaited) = self.drain_moves()? {
                Box::pin(self.wait_for(awaited)).await?;
            }
            self.commit()?;
            // Of what arrives at the system's sockets this task is told only when it lets go of its thread.
            if self.unheard_bytes >= MAX_UNHEARD_BYTES {
                Box::pin(self.take_turn()).await?;
            }
            if self.draining && self.is_quiet() {
                return ControlFlow::Break(End::Cut(EndReason::Stopping));
            }
            // PostgreSQL, too, runs what a client said to its end before it left.
            if self.leaving.is_some() && !self.dialogue.has_words_left() {
                return ControlFlow::Break(End::caller_is_gone());
            }
            match self.next_event().await {
                Event::Signal(signal) => Box::pin(self.signalled(signal)).await?,
                Event::Settled(verdict) => Box::pin(self.settled(verdict)).await?,
                Event::Lagged => broken(self.session.commit())?,
                Event::Left => return ControlFlow::Break(End::caller_is_gone()),
                Event::Io(io) => self.moved(io)?,
            }
        }
    }

    /// Records what was decided and shown, and only then releases it to either side.
    fn commit(&mut self) -> ControlFlow<End> {
        if broken(self.session.commit_ahead())? == Recorded::MayFollow {
            self.lag.begin();
        }
        self.caller.release();
        self.target.release();
        self.mid_message = self.dialogue.is_mid_message();
        ControlFlow::Continue(())
    }

    /// Nothing is open that an orderly stop would cut.
    fn is_quiet(&mut self) -> bool {
        matches!(self.stage, Stage::Flowing)
            && !self.dialogue.is_busy()
            && self.dialogue.transaction() == Transaction::Idle
            && self.dialogue.input(Side::Caller).is_empty()
            && self.caller.queued_bytes() == 0
    }

    async fn signalled(&mut self, signal: Signal) -> ControlFlow<End> {
        match signal {
            Signal::Woken(Woken::Ended(reason)) => return ControlFlow::Break(End::Cut(reason)),
            Signal::Woken(Woken::Changed { lost }) => self.changed(lost)?,
            Signal::Cancel(place, done) => {
                let cancelling = self.cancel(done).await?;
                self.signals.await_cancel(place, cancelling);
            }
            Signal::Drain => self.draining = true,
        }
        ControlFlow::Continue(())
    }

    /// What is decided is decided anew from here on; `lost`: a grant that what runs may have needed.
    fn changed(&mut self, lost: Option<RequestId>) -> ControlFlow<End> {
        self.session.forget_decisions();
        self.dialogue.decisions_changed();
        self.signals.await_change(&self.session);
        broken(self.session.note_granted(Timestamp::now()))?;
        match lost.and_then(|lost| self.session.outlives(lost, Timestamp::now())) {
            Some(reason) => ControlFlow::Break(End::Cut(reason)),
            None => ControlFlow::Continue(()),
        }
    }

    fn note_cancel(&mut self, now: Timestamp) -> ControlFlow<End> {
        broken(self.session.note("cancel", "the caller asked to cancel what runs", now))
    }

    async fn next_event(&mut self) -> Event {
        let Self { stage, dialogue, caller, target, signals, draining, lag, leaving, .. } = self;
        tokio::select! {
            biased;
            signal = signals.next() => Event::Signal(signal),
            verdict = verdict_of(stage) => Event::Settled(verdict),
            () = lag.due() => Event::Lagged,
            () = left(leaving) => Event::Left,
            io = std::future::poll_fn(|cx| poll_io(cx, dialogue, caller, target, *draining)) => Event::Io(io),
        }
    }

    fn moved(&mut self, io: Io) -> ControlFlow<End> {
        match io {
            Io::Read { caller, target } => {
                if target {
                    self.received(Side::Target);
                    if let Some(leaving) = &mut self.leaving {
                        leaving.as_mut().reset(tokio::time::Instant::now() + LEAVING);
                    }
                }
                if caller > 0 {
                    self.unheard_bytes += caller;
                    self.received(Side::Caller);
                }
                ControlFlow::Continue(())
            }
            Io::CallerEnded => {
                self.leaving = Some(Box::pin(tokio::time::sleep(LEAVING)));
                ControlFlow::Continue(())
            }
            Io::CallerGone => ControlFlow::Break(End::caller_is_gone()),
            Io::TargetGone(error) => {
                let refusal = Refusal::new(Sqlstate::CONNECTION_FAILURE, "the target closed the connection");
                ControlFlow::Break(End::Lost(refusal, format!("the target closed the connection: {error}")))
            }
        }
    }

    fn received(&mut self, side: Side) {
        let now_us = self.now_us();
        self.dialogue.received(side, now_us);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Makes moves until there is none, or one needs waiting.
    fn drain_moves(&mut self) -> ControlFlow<End, Option<Awaited>> {
        loop {
            match self.dialogue.next_move() {
                Move::Send(Side::Caller, bytes) => self.caller.hold_back(bytes),
                Move::Send(Side::Target, bytes) => self.target.hold_back(bytes),
                Move::Ask(operation) => {
                    self.turn += 1;
                    let awaited = self.ask(Box::new(operation))?;
                    if awaited.is_some() {
                        return ControlFlow::Continue(awaited);
                    }
                    if self.turn >= MAX_TURN {
                        return ControlFlow::Continue(Some(Awaited::Turn));
                    }
                }
                Move::Show(reply) => self.show(reply)?,
                Move::Answered(answer) => broken(self.session.answered(answer, Timestamp::now()))?,
                Move::Learned(answers) => return ControlFlow::Continue(Some(Awaited::Learned(answers))),
                Move::Withdraw(_) => return ControlFlow::Continue(Some(Awaited::Withdraw)),
                Move::Wait => {
                    // Only here: before, moves of what has ended may still be to come.
                    self.session.transaction_stands(self.dialogue.transaction(), self.dialogue.is_at_rest());
                    return ControlFlow::Continue(None);
                }
                Move::End(Ending::Terminated) => return ControlFlow::Break(End::CallerLeft("the caller left".to_owned())),
                Move::End(Ending::CallerBroke(why)) => {
                    return ControlFlow::Break(End::Told(format!("the caller broke the protocol or a limit: {why}")));
                }
                Move::End(Ending::TargetBroke(why)) => {
                    let refusal = Refusal::new(Sqlstate::CONNECTION_FAILURE, "the target broke the protocol");
                    return ControlFlow::Break(End::Lost(refusal, format!("the target broke the protocol: {why}")));
                }
            }
        }
    }

    /// A long pipeline is decided in turns, so that other sessions have theirs and what was decided goes out.
    async fn take_turn(&mut self) -> ControlFlow<End> {
        self.turn = 0;
        self.unheard_bytes = 0;
        self.commit()?;
        tokio::task::yield_now().await;
        ControlFlow::Continue(())
    }

    fn show(&mut self, reply: Reply) -> ControlFlow<End> {
        let to_target = reply.kind == ReplyKind::Copy(Side::Caller);
        let shown = broken(self.session.show(reply))?;
        if to_target {
            self.target.hold_back(shown);
        } else {
            self.caller.hold_back(shown);
        }
        ControlFlow::Continue(())
    }

    /// Has an operation decided; hands it back if something must be waited for.
    fn ask(&mut self, operation: Box<Operation>) -> ControlFlow<End, Option<Awaited>> {
        if self.dialogue.settings().is_displaced() && self.restored_before != Some(operation.id) && self.dialogue.transaction() != Transaction::Failed
        {
            self.restored_before = Some(operation.id);
            let restore = self.dialogue.settings().restore_statement();
            self.dialogue.question(&[&restore]);
            self.stage = Stage::Learning(operation, Then::Restored);
            return ControlFlow::Continue(None);
        }
        let asked = self.session.ask(&operation, self.dialogue.names(), self.dialogue.settings(), Timestamp::now());
        match broken(asked)? {
            Asked::Ruled(ruling) => self.rule(*ruling),
            Asked::Learn(questions) => {
                self.question(&questions);
                self.stage = Stage::Learning(operation, Then::Ask);
            }
            Asked::Once => return ControlFlow::Continue(Some(Awaited::Once(operation))),
            Asked::Refresh => return ControlFlow::Continue(Some(Awaited::Refresh(operation))),
            Asked::Hold(decided) => return ControlFlow::Continue(Some(Awaited::Hold(operation, decided))),
        }
        ControlFlow::Continue(None)
    }

    async fn wait_for(&mut self, awaited: Awaited) -> ControlFlow<End> {
        match awaited {
            Awaited::Turn => self.take_turn().await,
            Awaited::Once(operation) => {
                let ruling = self.session.run_once(&operation, Timestamp::now()).await;
                self.rule(broken(ruling)?);
                ControlFlow::Continue(())
            }
            Awaited::Refresh(operation) => self.refresh(operation).await,
            Awaited::Hold(operation, decided) => self.hold(operation, &decided).await,
            Awaited::Learned(answers) => self.learned(answers).await,
            Awaited::Withdraw => self.withdraw().await,
        }
    }

    /// Reads the committed catalog for an operation, on another link than the session's. However long that takes, the caller can cancel and leave.
    async fn refresh(&mut self, operation: Box<Operation>) -> ControlFlow<End> {
        // All of it: while this waits nobody looks at how long an outcome has been unwritten.
        broken(self.session.commit())?;
        self.commit()?;
        let (mut changed, mut cancelled) = (None, None);
        let refreshed = {
            let Self { session, dialogue, caller, signals, draining, leaving, .. } = self;
            let mut refreshing = std::pin::pin!(session.refresh());
            loop {
                tokio::select! {
                    biased;
                    refreshed = &mut refreshing => break refreshed,
                    signal = signals.next() => match signal {
                        Signal::Woken(Woken::Ended(reason)) => return ControlFlow::Break(End::Cut(reason)),
                        Signal::Woken(Woken::Changed { lost }) => changed = Some(lost),
                        Signal::Drain => *draining = true,
                        Signal::Cancel(place, done) => {
                            cancelled = Some((place, done));
                            break Ok(());
                        }
                    },
                    () = std::future::poll_fn(|cx| poll_departure(cx, dialogue, caller)), if leaving.is_none() => {
                        *leaving = Some(Box::pin(tokio::time::sleep(LEAVING)));
                    }
                    () = left(leaving), if leaving.is_some() => return ControlFlow::Break(End::caller_is_gone()),
                }
            }
        };
        if let Some(lost) = changed {
            self.changed(lost)?;
        }
        let Some((place, done)) = cancelled else { return self.knows(operation, refreshed).await };
        let now = Timestamp::now();
        self.note_cancel(now)?;
        let ruling = self.session.give_up(&operation, (self.dialogue.names(), self.dialogue.settings()), now);
        self.rule(broken(ruling)?);
        let _ = done.send(());
        self.signals.await_cancel(place, None);
        ControlFlow::Continue(())
    }

    fn question(&mut self, questions: &[String]) {
        self.dialogue.question(&questions.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Asks again, now that the session knows more, or could not learn it.
    async fn knows(&mut self, operation: Box<Operation>, learned: Result<(), String>) -> ControlFlow<End> {
        match learned {
            Ok(()) => match self.ask(operation)? {
                Some(awaited) => Box::pin(self.wait_for(awaited)).await,
                None => ControlFlow::Continue(()),
            },
            Err(why) => {
                let known = (self.dialogue.names(), self.dialogue.settings());
                let ruling = self.session.unread(&operation, &why, known, Timestamp::now());
                self.rule(broken(ruling)?);
                ControlFlow::Continue(())
            }
        }
    }

    fn rule(&mut self, ruling: Ruling<Permit>) {
        self.stage = Stage::Flowing;
        let now_us = self.now_us();
        self.dialogue.rule(ruling, now_us);
    }

    async fn hold(&mut self, operation: Box<Operation>, decided: &Decided) -> ControlFlow<End> {
        let held = self.session.hold(&operation, decided, Timestamp::now()).await;
        match broken(held)? {
            Ok(waiting) => {
                self.dialogue.hold();
                let (message, detail, hint) = Session::notice_of_hold(&waiting);
                let mut notice = BytesMut::new();
                refusal::notice(&mut notice, message, Some(detail), Some(hint));
                self.dialogue.notify(notice.freeze());
                self.stage = Stage::Holding(operation, waiting);
            }
            Err(ruling) => self.rule(ruling),
        }
        ControlFlow::Continue(())
    }

    async fn settled(&mut self, verdict: Verdict) -> ControlFlow<End> {
        let Stage::Holding(operation, waiting) = std::mem::replace(&mut self.stage, Stage::Flowing) else { return ControlFlow::Continue(()) };
        if !matches!(verdict, Verdict::Signed(_)) {
            return self.release(&operation, waiting, verdict).await;
        }
        let questions = self.session.questions_at_release();
        self.question(&questions);
        self.stage = Stage::Learning(operation, Then::Release(waiting, verdict));
        ControlFlow::Continue(())
    }

    async fn release(&mut self, operation: &Operation, waiting: Waiting, verdict: Verdict) -> ControlFlow<End> {
        let known = (self.dialogue.names(), self.dialogue.settings());
        let ruling = self.session.release(operation, waiting, verdict, known, Timestamp::now()).await;
        self.rule(broken(ruling)?);
        ControlFlow::Continue(())
    }

    async fn learned(&mut self, answers: Result<Vec<Rows>, String>) -> ControlFlow<End> {
        let Stage::Learning(operation, then) = std::mem::replace(&mut self.stage, Stage::Flowing) else { return ControlFlow::Continue(()) };
        let learned = match (answers, &then) {
            (Ok(answers), Then::Ask | Then::Release(..)) => self.session.learn(answers).await,
            (answers, _) => answers.map(drop),
        };
        let now = Timestamp::now();
        match (learned, then) {
            (Ok(()), Then::Release(waiting, verdict)) => self.release(&operation, waiting, verdict).await,
            // The transaction has failed: the target runs nothing but its end.
            (Err(why), Then::Ask | Then::Restored) if why.ends_with(IN_FAILED_TRANSACTION) => {
                let ruling = self.session.ask_in_failed(&operation, self.dialogue.names(), self.dialogue.settings(), now);
                self.rule(broken(ruling)?);
                ControlFlow::Continue(())
            }
            (learned, Then::Ask | Then::Restored) => self.knows(operation, learned).await,
            (Err(why), Then::Release(waiting, _)) => {
                let ruling = self.session.void(&operation, waiting, &why, now).await;
                self.rule(broken(ruling)?);
                ControlFlow::Continue(())
            }
        }
    }

    /// The target skips the operation that is being decided; the caller heard of it from the target.
    async fn withdraw(&mut self) -> ControlFlow<End> {
        if let Stage::Holding(operation, waiting) | Stage::Learning(operation, Then::Release(waiting, _)) =
            std::mem::replace(&mut self.stage, Stage::Flowing)
        {
            let why = "an earlier statement of the pipeline failed";
            broken(self.session.withdraw(operation.id, waiting, why, Timestamp::now()).await)?;
        }
        ControlFlow::Continue(())
    }

    /// The caller cancels: what is held is given up, what runs is cancelled at the target, which may take longer than this.
    async fn cancel(&mut self, done: oneshot::Sender<()>) -> ControlFlow<End, Option<JoinHandle<()>>> {
        let now = Timestamp::now();
        self.note_cancel(now)?;
        match std::mem::replace(&mut self.stage, Stage::Flowing) {
            Stage::Holding(operation, waiting) => {
                let refusal = broken(self.session.withdraw(operation.id, waiting, "the caller cancelled it", now).await)?;
                self.rule(Ruling::Refuse(refusal));
                let _ = done.send(());
                ControlFlow::Continue(None)
            }
            stage => {
                self.stage = stage;
                ControlFlow::Continue(self.cancel_at_target(Some(done)))
            }
        }
    }

    fn cancel_at_target(&self, done: Option<oneshot::Sender<()>>) -> Option<JoinHandle<()>> {
        let cancel = self.cancel.clone().filter(|_| self.dialogue.is_busy())?;
        Some(tokio::spawn(async move {
            cancel.send().await;
            drop(done);
        }))
    }

    /// Says what is left to say, records the end, lets both sides go.
    async fn finish(mut self: Box<Self>, end: End) {
        let now = Timestamp::now();
        let text = match &end {
            End::CallerLeft(text) | End::Told(text) | End::Broke(_, text) | End::Lost(_, text) => text.clone(),
            End::Cut(reason) => reason.to_string(),
        };
        if let Stage::Holding(operation, waiting) | Stage::Learning(operation, Then::Release(waiting, _)) =
            std::mem::replace(&mut self.stage, Stage::Flowing)
            && let Err(error) = self.session.withdraw(operation.id, waiting, &text, now).await
        {
            tracing::error!(%error, "the withdrawal of a held operation could not be recorded");
        }
        self.say_farewell(end).await;
        let id = self.session.id();
        if let Err(error) = self.session.close(&text, Timestamp::now()).await {
            tracing::error!(%error, session = %id, "the end of a session could not be recorded");
        }
    }

    /// The last words to either side. What is not recorded goes to nobody; a session that is cut or broke sends its target nothing more.
    async fn say_farewell(&mut self, end: End) {
        let recorded = self.session.commit().is_ok() && self.commit().is_continue();
        if !recorded {
            self.caller.forget_held_back();
        }
        let (refusal, leaves) = match end {
            End::CallerLeft(_) | End::Told(_) => (None, true),
            End::Broke(refusal, _) => (Some(refusal), false),
            End::Lost(refusal, _) => (Some(refusal).filter(|_| !self.dialogue.is_told_fatal()), true),
            End::Cut(reason) => (Some(Refusal::new(Sqlstate::ADMIN_SHUTDOWN, reason.to_string())), false),
        };
        if !leaves {
            self.cancel_at_target(None);
        }
        // After half a message a Terminate would be taken for the rest of it; that the connection closes says enough.
        let cut_off = (!leaves || !recorded) && self.target.forget();
        if !cut_off {
            let mut terminate = BytesMut::new();
            frontend::terminate(&mut terminate);
            self.target.push(Bytes::from(terminate));
        }
        if let Some(refusal) = refusal.filter(|_| !self.mid_message) {
            let mut out = BytesMut::new();
            refusal.fatal(&mut out);
            self.caller.push(out.freeze());
        }
        let both = async { tokio::join!(self.caller.finish(), self.target.finish()) };
        let _ = tokio::time::timeout(FAREWELL, both).await;
    }
}

/// Runs a session's work to its end; none if it panicked, which the panic hook has told by then.
async fn unless_it_panics<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// Bounds how long it may be unwritten how operations ended. One timer for all that end meanwhile: what follows soon takes them along.
#[derive(Default)]
struct Lag {
    timer: Option<Pin<Box<Sleep>>>,
    runs: bool,
}

impl Lag {
    fn begin(&mut self) {
        if self.runs {
            return;
        }
        self.runs = true;
        let ends = tokio::time::Instant::now() + MAX_LAG;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(ends),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(ends))),
        }
    }

    async fn due(&mut self) {
        match &mut self.timer {
            Some(timer) if self.runs => timer.await,
            _ => std::future::pending().await,
        }
        self.runs = false;
    }
}

fn broken<T>(done: Result<T, Broken>) -> ControlFlow<End, T> {
    match done {
        Ok(value) => ControlFlow::Continue(value),
        Err(broken) => ControlFlow::Break(broken.into()),
    }
}

async fn verdict_of(stage: &mut Stage) -> Verdict {
    match stage {
        Stage::Holding(_, waiting) => Box::pin(waiting.settled()).await,
        Stage::Flowing | Stage::Learning(..) => std::future::pending().await,
    }
}

async fn left(leaving: &mut Option<Pin<Box<Sleep>>>) {
    match leaving {
        Some(until) => until.await,
        None => std::future::pending().await,
    }
}

/// Writes what waits for the caller and reads what it sends meanwhile, as far as there is room. Ready when it is gone.
fn poll_departure(cx: &mut Context<'_>, dialogue: &mut Dialogue<Permit>, caller: &mut Wire) -> Poll<()> {
    if let Poll::Ready(Err(_)) = caller.poll_drain(cx) {
        return Poll::Ready(());
    }
    while dialogue.wants(Side::Caller) {
        match std::task::ready!(caller.poll_fill(cx, dialogue.input(Side::Caller), CALLER_ROOM_BYTES)) {
            Ok(0) | Err(_) => return Poll::Ready(()),
            Ok(_) => {}
        }
    }
    Poll::Pending
}

/// Writes what waits and reads what may be read, on both sides. While `draining`, that the caller has the last of its answers is an event, too.
fn poll_io(cx: &mut Context<'_>, dialogue: &mut Dialogue<Permit>, caller: &mut Wire, target: &mut Wire, draining: bool) -> Poll<Io> {
    let answering = caller.queued_bytes() > 0;
    if let Poll::Ready(Err(error)) = target.poll_drain(cx) {
        return Poll::Ready(Io::TargetGone(error));
    }
    if let Poll::Ready(Err(_)) = caller.poll_drain(cx) {
        return Poll::Ready(Io::CallerGone);
    }
    if draining && answering && caller.queued_bytes() == 0 {
        return Poll::Ready(Io::Read { caller: 0, target: false });
    }
    let (mut from_caller, mut from_target) = (0, false);
    if target.queued_bytes() < MAX_QUEUED_BYTES && dialogue.wants(Side::Caller) && !caller.ended() {
        match caller.poll_fill(cx, dialogue.input(Side::Caller), CALLER_ROOM_BYTES) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Io::CallerEnded),
            Poll::Ready(Err(_)) => return Poll::Ready(Io::CallerGone),
            Poll::Ready(Ok(bytes)) => from_caller = bytes,
            Poll::Pending => {}
        }
    }
    if caller.queued_bytes() < MAX_QUEUED_BYTES && dialogue.wants(Side::Target) {
        match target.poll_fill(cx, dialogue.input(Side::Target), TARGET_ROOM_BYTES) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Io::TargetGone(std::io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Err(error)) => return Poll::Ready(Io::TargetGone(error)),
            Poll::Ready(Ok(_)) => from_target = true,
            Poll::Pending => {}
        }
    }
    if from_caller > 0 || from_target { Poll::Ready(Io::Read { caller: from_caller, target: from_target }) } else { Poll::Pending }
}
