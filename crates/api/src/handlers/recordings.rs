//! What happened in sessions: one recording from begin to end, or all of them as they grow.
//!
//! Both answer lines of JSON as they are read. A reader who goes away ends the reading; one who reads slowly slows the reading of one recording down, and of those that grow
//! is sent away; nothing is kept for either.

use std::{collections::HashMap, sync::Arc};

use axum::{body::Bytes, extract::State, response::Response};
use model::{ConnectionName, IdentityName, SessionId, SystemAction, Timestamp, session::SessionRow};
use serde::Deserialize;
use store::{
    recordings::{RecordingError, Records},
    state::SessionFilter,
};
use tokio::sync::mpsc;

use super::{
    follow::{AHEAD, Batch, Listener, Over, line, ndjson},
    sessions,
};
use crate::{
    Api,
    caller::Caller,
    json::{Path, Query},
    refused::Refused,
    types::{RecordEnd, RecordLine, Refusal, TailLine},
    values::Reader,
};

/// Sessions followed at once by one reader.
const MAX_FOLLOWED: u32 = 1_000;

/// How a recording is read, for the event that says so.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    #[default]
    Show,
    Replay,
}

/// How to read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    how: How,
}

/// The records of a session in order, a JSON value a line; the last says whether more may follow. Reading is itself recorded.
#[utoipa::path(get, path = "/v1/sessions/{id}/records",
    params(("id" = String, Path, description = "The session, s_…"), ("how" = Option<String>, Query, description = "`show` or `replay`, for the event that says it was read")),
    responses((status = 200, description = "Records", body = RecordLine, content_type = "application/x-ndjson"), (status = 404, description = "No such session", body = Refusal), (status = 429, description = "The caller reads too much", body = Refusal)))]
pub(crate) async fn records(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<SessionId>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Refused> {
    let row = sessions::one(&api, &caller, id).await?;
    let how = match wanted.how {
        How::Show => "show",
        How::Replay => "replay",
    };
    // A replay is read as slowly as it is played, and may pause: it keeps a thread meanwhile.
    let place = api.following.enter(&caller.actor.name)?;
    api.guard.read_recording(&row, how, &caller.actor, caller.now).await?;
    let recordings = api.guard.store().recordings().clone();
    let opened = tokio::task::spawn_blocking(move || recordings.read(id)).await.map_err(|error| Refused::failed(&error))?;
    let records = opened.map_err(|error| unreadable(&error))?;
    let mut reader = Reader::new(api.guard.version(), &caller, &row);
    let live = row.ended_at.is_none();
    let (lines, answer) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        tell(records, live, &mut reader, &lines);
        drop(place);
    });
    Ok(ndjson(answer))
}

fn unreadable(error: &RecordingError) -> Refused {
    match error {
        RecordingError::Unknown(session) => Refused::not_found(format!("the recording of {session} is gone")),
        other => Refused::failed(other),
    }
}

/// Reads to the end of what there is now. Ends early when nobody listens any more.
fn tell(mut records: Records, live: bool, reader: &mut Reader, lines: &mpsc::Sender<Bytes>) {
    let mut broken = None;
    for placed in &mut records {
        match placed {
            Ok(placed) => {
                if lines.blocking_send(line(&RecordLine::Record(reader.show(placed.record)))).is_err() {
                    return;
                }
            }
            Err(error) => {
                broken = Some(error.to_string());
                break;
            }
        }
    }
    let complete = records.walked().complete;
    let _ = lines.blocking_send(line(&RecordLine::End(RecordEnd { live: live && !complete, broken })));
}

/// Which sessions to follow.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Followed {
    session: Option<SessionId>,
    identity: Option<IdentityName>,
    connection: Option<ConnectionName>,
    /// Of that one session also what happened before.
    #[serde(default)]
    whole: bool,
}

/// What happens from now on in every session the caller may read, a JSON value a line, until the caller leaves or may no longer.
#[utoipa::path(get, path = "/v1/tail",
    params(("session" = Option<String>, Query, description = "Only this session"), ("identity" = Option<String>, Query, description = "Only with this identity in the chain"),
        ("connection" = Option<String>, Query, description = "Only on this connection"), ("whole" = Option<bool>, Query, description = "Of `session` also what happened before: to watch it")),
    responses((status = 200, description = "Records", body = TailLine, content_type = "application/x-ndjson"), (status = 401, description = "Nobody is signed in", body = Refusal), (status = 429, description = "The caller follows too much", body = Refusal)))]
pub(crate) async fn tail(caller: Caller, State(api): State<Arc<Api>>, Query(wanted): Query<Followed>) -> Result<Response, Refused> {
    if let Some(id) = wanted.session {
        sessions::one(&api, &caller, id).await?;
    }
    let since = caller.now;
    let (listener, answer) = Listener::begin(api, caller)?;
    let follower = Follower { since, followed: HashMap::new(), listener, wanted };
    tokio::spawn(async move {
        if let Over::Refused(refused) = follower.follow().await {
            tracing::debug!(?refused, "a reader of live recordings was ended");
        }
    });
    Ok(answer)
}

struct Follower {
    listener: Listener,
    wanted: Followed,
    since: Timestamp,
    /// Sessions being followed; none once their recording ended.
    followed: HashMap<SessionId, Option<Growing>>,
}

/// A session that is followed.
struct Growing {
    row: SessionRow,
    records: Records,
    reader: Reader,
}

impl Follower {
    async fn follow(mut self) -> Over {
        let mut behind = false;
        loop {
            match self.listener.next_look(behind).await {
                Ok(()) => {}
                Err(over) => return over,
            }
            behind = match self.look().await {
                Ok(behind) => behind,
                Err(over) => return over,
            };
        }
    }

    /// Whether there is more than was told at once.
    async fn look(&mut self) -> Result<bool, Over> {
        self.find_new().await?;
        let mut behind = false;
        let ids: Vec<SessionId> = self.followed.keys().copied().collect();
        for id in ids {
            let Some(mut growing) = self.followed.get_mut(&id).and_then(Option::take) else { continue };
            let (api, caller) = self.listener.asks_again().await?;
            if !api.guard.may(&caller.actor, SystemAction::Audit, caller.now) && growing.row.subject != caller.actor.name {
                continue;
            }
            growing.reader.reads_as(api.guard.version(), caller);
            let read = tokio::task::spawn_blocking(move || growing.grow());
            let (growing, batch) = read.await.map_err(|error| Refused::failed(&error))?;
            behind |= growing.is_some() && batch.is_full();
            self.listener.tell(batch).await?;
            self.followed.insert(id, growing);
        }
        Ok(behind)
    }

    /// Begins to follow sessions that live now or began since the last look.
    async fn find_new(&mut self) -> Result<(), Refused> {
        let filter = SessionFilter {
            identity: self.wanted.identity.clone(),
            connection: self.wanted.connection.clone(),
            live: None,
            since: None,
            limit: MAX_FOLLOWED,
        };
        let live = sessions::visible(&self.listener.api, &self.listener.caller, SessionFilter { live: Some(true), ..filter.clone() }).await?;
        let begun = sessions::visible(&self.listener.api, &self.listener.caller, SessionFilter { since: Some(self.since), ..filter }).await?;
        for row in live.into_iter().chain(begun) {
            let wanted = self.wanted.session.is_none_or(|id| id == row.id);
            if wanted && !self.followed.contains_key(&row.id) {
                self.begin(row).await?;
            }
        }
        Ok(())
    }

    async fn begin(&mut self, row: SessionRow) -> Result<(), Refused> {
        let id = row.id;
        let whole = self.wanted.whole && self.wanted.session == Some(id);
        let how = if whole { "watch" } else { "tail" };
        if self.listener.api.guard.read_recording(&row, how, &self.listener.caller.actor, self.listener.caller.now).await.is_err() {
            self.followed.insert(id, None);
            return Ok(());
        }
        let reader = Reader::new(self.listener.api.guard.version(), &self.listener.caller, &row);
        let recordings = self.listener.api.guard.store().recordings().clone();
        let already = row.started_at < self.since && !whole;
        let begun = tokio::task::spawn_blocking(move || {
            let mut records = recordings.read(id).ok()?;
            let mut reader = reader;
            // What happened before the reader came is gone through unseen: what is hidden later depends on it.
            if already {
                for placed in &mut records {
                    reader.show(placed.ok()?.record);
                }
            }
            Some(Growing { row, records, reader })
        });
        // A session that has no recording yet is looked for again next time.
        if let Some(begun) = begun.await.map_err(|error| Refused::failed(&error))? {
            self.followed.insert(id, Some(begun));
        }
        Ok(())
    }
}

impl Growing {
    /// Reads what the recording has more than last time. None once it ended or cannot be read.
    fn grow(mut self) -> (Option<Self>, Batch) {
        let mut batch = Batch::default();
        while !batch.is_full() {
            let Some(placed) = self.records.next() else {
                let ended = self.records.walked().complete;
                return (Some(self).filter(|_| !ended), batch);
            };
            let Ok(placed) = placed else { return (None, batch) };
            let record = self.reader.show(placed.record);
            batch.push(&TailLine { session: self.row.id, chain: self.row.chain.clone(), connection: self.row.connection.clone(), record });
        }
        (Some(self), batch)
    }
}
