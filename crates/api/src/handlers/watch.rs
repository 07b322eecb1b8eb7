//! Watching what runs only while one of those who signed for it does.
//!
//! A watcher is shown the one operation, whatever else is in its session, and says from time to time that they are there: a connection that is
//! lost without a word would go on reading.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use evidence::record::Record;
use model::{HoldId, session::SessionRow};
use session::approve::{Attached, SILENT_AFTER, VoteError};
use store::recordings::Records;

use super::follow::{Batch, Listener, Over};
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
    responses((status = 200, description = "Records", body = TailLine, content_type = "application/x-ndjson"), (status = 403, description = "Not yours to watch", body = Refusal), (status = 404, description = "No such operation", body = Refusal), (status = 429, description = "The caller follows too much", body = Refusal)))]
pub(crate) async fn watch(caller: Caller, State(api): State<Arc<Api>>, Path(id): Path<HoldId>) -> Result<Response, Refused> {
    let attached = api.guard.approvals().attach(id, &caller.actor, caller.now).await?;
    let session = attached.session();
    let row = api.guard.store().state().session(session).await?;
    let row = row.ok_or_else(|| Refused::not_found(format!("no session {session}")))?;
    let recordings = api.guard.store().recordings().clone();
    let opened = tokio::task::spawn_blocking(move || recordings.read(session)).await.map_err(|error| Refused::failed(&error))?;
    let records = opened.map_err(|error| Refused::failed(&error))?;
    let reader = Reader::new(api.guard.version(), &caller, &row);
    let seen = Seen { row, records, reader, hold: id, operation: None };
    let (listener, answer) = Listener::begin(api, caller)?;
    let watcher = Watcher { listener, attached };
    tokio::spawn(async move {
        if let Over::Refused(refused) = watcher.follow(seen).await {
            tracing::info!(?refused, hold = %id, "a watcher was sent away");
        }
    });
    Ok(answer)
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
    listener: Listener,
    attached: Attached,
}

/// What they have seen so far.
struct Seen {
    row: SessionRow,
    records: Records,
    reader: Reader,
    hold: HoldId,
    /// Its number, once it is known.
    operation: Option<u64>,
}

impl Watcher {
    async fn follow(mut self, mut seen: Seen) -> Over {
        let mut behind = false;
        loop {
            match self.next(seen, behind).await {
                Ok((more, full)) => (seen, behind) = (more, full),
                Err(over) => return over,
            }
        }
    }

    /// What they have seen then, and whether there is more.
    async fn next(&mut self, mut seen: Seen, behind: bool) -> Result<(Seen, bool), Over> {
        self.listener.next_look(behind).await?;
        let (api, caller) = (&self.listener.api, &self.listener.caller);
        let may = api.guard.approvals().may_still_watch(&self.attached, &caller.actor, caller.now);
        may.map_err(|refused| Refused::from(VoteError::from(refused)))?;
        seen.reader.reads_as(api.guard.version(), caller);
        let read = tokio::task::spawn_blocking(move || seen.grow());
        let (seen, batch) = read.await.map_err(|error| Refused::failed(&error))?;
        let behind = batch.is_full();
        self.listener.tell(batch).await?;
        Ok((seen.ok_or(Over::Ended)?, behind))
    }
}

impl Seen {
    /// Reads what the recording has more of the operation than last time. None once that is over, or cannot be read.
    fn grow(mut self) -> (Option<Self>, Batch) {
        let mut batch = Batch::default();
        while !batch.is_full() {
            let Some(placed) = self.records.next() else {
                let ended = self.records.walked().complete;
                return (Some(self).filter(|_| !ended), batch);
            };
            let Ok(placed) = placed else { return (None, batch) };
            let record = self.reader.show(placed.record);
            if let Record::Held(held) = &record
                && held.hold == self.hold
            {
                self.operation = Some(held.op);
            }
            let closed = matches!(record, Record::Closed(_));
            if !closed && (self.operation.is_none() || record.op() != self.operation) {
                batch.pass();
                continue;
            }
            let over = closed || matches!(record, Record::Answered(_));
            batch.push(&TailLine { session: self.row.id, chain: self.row.chain.clone(), connection: self.row.connection.clone(), record });
            if over {
                return (None, batch);
            }
        }
        (Some(self), batch)
    }
}
