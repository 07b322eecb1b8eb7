//! Watching what runs only while one of those who signed for it does.
//!
//! A watcher is shown the one operation, whatever else is in its session, and says from time to time that they are there: a connection that is
//! lost without a word would go on reading.

use std::sync::Arc;

use axum::{body::Bytes, extract::State, response::Response};
use evidence::record::Record;
use model::{HoldId, Timestamp, session::SessionRow};
use session::{
    approve::{Attached, SILENT_AFTER},
    sign_in::SignInFor,
};
use store::recordings::Records;
use tokio::sync::mpsc;

use super::recordings::{AHEAD, LOOK, line, ndjson};
use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path},
    refused::Refused,
    types::{Refusal, TailLine, WatchingAnswer, WatchingRequest},
    values::Reader,
};

/// Watch a held operation that runs only while somebody does: its records, a JSON value a line, until it is over, the caller leaves or may no longer. It is
/// signed while it is watched, and whoever watches is heard of from time to time.
#[utoipa::path(get, path = "/v1/holds/{id}/watch", params(("id" = String, Path, description = "The held operation, h_…")),
    responses((status = 200, description = "Records", body = TailLine, content_type = "application/x-ndjson"), (status = 403, description = "Not yours to watch", body = Refusal), (status = 404, description = "No such operation", body = Refusal)))]
pub(crate) async fn watch(caller: Caller, State(api): State<Arc<Api>>, Path(id): Path<HoldId>) -> Result<Response, Refused> {
    let attached = api.guard.approvals().attach(id, &caller.actor, caller.now).await?;
    let session = attached.session();
    let row = api.guard.store().state().session(session).await?;
    let row = row.ok_or_else(|| Refused::not_found(format!("no session {session}")))?;
    let recordings = api.guard.store().recordings().clone();
    let opened = tokio::task::spawn_blocking(move || recordings.read(session)).await.map_err(|error| Refused::failed(&error))?;
    let records = opened.map_err(|error| Refused::failed(&error))?;
    let reader = Reader::new(api.guard.version(), &caller, &row);
    let (lines, answer) = mpsc::channel(AHEAD);
    let seen = Seen { row, records, reader, hold: id, operation: None, behind: false };
    let mut watcher = Watcher { api, caller, attached, lines };
    tokio::spawn(async move {
        if let Err(refused) = watcher.follow(seen).await {
            tracing::info!(?refused, hold = %id, "a watcher was sent away");
        }
    });
    Ok(ndjson(answer))
}

/// Say that one still watches, or end what one watches.
#[utoipa::path(post, path = "/v1/holds/{id}/watching", request_body = WatchingRequest, params(("id" = String, Path, description = "The held operation, h_…")),
    responses((status = 200, description = "Heard", body = WatchingAnswer), (status = 403, description = "Not watched by the caller", body = Refusal), (status = 404, description = "No such operation", body = Refusal)))]
pub(crate) async fn watching(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<HoldId>,
    Body(request): Body<WatchingRequest>,
) -> Answered<WatchingAnswer> {
    api.guard.approvals().hear(id, &caller.actor, request.end, caller.now).await?;
    Ok(Answer(WatchingAnswer { silent_after_ms: u64::try_from(SILENT_AFTER.as_millis()).unwrap_or(u64::MAX) }))
}

/// One who watches, for as long as this is kept.
struct Watcher {
    api: Arc<Api>,
    caller: Caller,
    attached: Attached,
    lines: mpsc::Sender<Bytes>,
}

/// What they have seen so far.
struct Seen {
    row: SessionRow,
    records: Records,
    reader: Reader,
    hold: HoldId,
    /// Its number, once it is known.
    operation: Option<u64>,
    /// There is more than was told at once.
    behind: bool,
}

/// So much is told before it is asked anew whether they still may.
const RECORDS_AT_ONCE: usize = 256;

impl Watcher {
    async fn follow(&mut self, mut seen: Seen) -> Result<(), Refused> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.lines.closed() => return Ok(()),
                _ = looks.tick(), if !seen.behind => {}
                () = std::future::ready(()), if seen.behind => {}
            }
            self.still_may().await?;
            seen.reader.version = self.api.guard.version();
            seen.reader.viewer = self.caller.chain.clone();
            seen.reader.now = self.caller.now;
            let lines = self.lines.clone();
            let grown = tokio::task::spawn_blocking(move || seen.grow(&lines)).await.map_err(|error| Refused::failed(&error))?;
            match grown {
                Some(more) => seen = more,
                None => return Ok(()),
            }
        }
    }

    async fn still_may(&mut self) -> Result<(), Refused> {
        self.caller.now = Timestamp::now();
        let chain = self.api.guard.still_stands(&self.caller.signed_in, SignInFor::Api, self.caller.now).await?;
        self.caller.actor = chain.subject.clone();
        self.caller.chain = chain;
        let may = self.api.guard.approvals().may_still_watch(&self.attached, &self.caller.actor, self.caller.now);
        may.map_err(|refused| session::approve::VoteError::from(refused).into())
    }
}

impl Seen {
    /// Tells what the recording has more of the operation than last time. None once that is over, cannot be read, or nobody listens.
    fn grow(mut self, lines: &mpsc::Sender<Bytes>) -> Option<Self> {
        self.behind = false;
        for _ in 0..RECORDS_AT_ONCE {
            let Some(placed) = self.records.next() else {
                return if self.records.walked().complete { None } else { Some(self) };
            };
            let record = self.reader.show(placed.ok()?.record);
            if let Record::Held(held) = &record
                && held.hold == self.hold
            {
                self.operation = Some(held.op);
            }
            let closed = matches!(record, Record::Closed(_));
            if !closed && (self.operation.is_none() || record.op() != self.operation) {
                continue;
            }
            let over = closed || matches!(record, Record::Answered(_));
            let told = TailLine { session: self.row.id, chain: self.row.chain.clone(), connection: self.row.connection.clone(), record };
            // Whoever takes nothing does not watch, and keeps no thread.
            let sent = tokio::runtime::Handle::current().block_on(tokio::time::timeout(SILENT_AFTER, lines.send(line(&told))));
            sent.ok()?.ok()?;
            if over {
                return None;
            }
        }
        self.behind = true;
        Some(self)
    }
}
