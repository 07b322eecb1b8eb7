//! What happened in sessions: one recording from begin to end, or all of them as they grow.
//!
//! Both answer lines of JSON as they are read. A reader who goes away ends the reading; one who reads slowly slows it down; nothing is kept for either.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use model::{ConnectionName, IdentityName, SessionId, SystemAction, Timestamp, session::SessionRow};
use serde::{Deserialize, Serialize};
use session::sign_in::SignInFor;
use store::{
    recordings::{RecordingError, Records},
    state::SessionFilter,
};
use tokio::sync::mpsc;

use super::sessions;
use crate::{
    Api,
    caller::Caller,
    json::{Path, Query},
    refused::Refused,
    types::{RecordEnd, RecordLine, Refusal, TailLine},
    values::Reader,
};

/// Lines read ahead of a slow reader.
pub(super) const AHEAD: usize = 64;
/// How often growing recordings are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(250);
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
    responses((status = 200, description = "Records", body = RecordLine, content_type = "application/x-ndjson"), (status = 404, description = "No such session", body = Refusal)))]
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
    api.guard.read_recording(&row, how, &caller.actor, caller.now).await?;
    let recordings = api.guard.store().recordings().clone();
    let opened = tokio::task::spawn_blocking(move || recordings.read(id)).await.map_err(|error| Refused::failed(&error))?;
    let records = opened.map_err(|error| unreadable(&error))?;
    let mut reader = Reader::new(api.guard.version(), &caller, &row);
    let live = row.ended_at.is_none();
    let (lines, answer) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || tell(records, live, &mut reader, &lines));
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
    responses((status = 200, description = "Records", body = TailLine, content_type = "application/x-ndjson"), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn tail(caller: Caller, State(api): State<Arc<Api>>, Query(wanted): Query<Followed>) -> Result<Response, Refused> {
    if let Some(id) = wanted.session {
        sessions::one(&api, &caller, id).await?;
    }
    let (lines, answer) = mpsc::channel(AHEAD);
    let mut follower = Follower { since: caller.now, followed: HashMap::new(), api, caller, wanted, lines };
    tokio::spawn(async move {
        if let Err(refused) = follower.follow().await {
            tracing::debug!(?refused, "a reader of live recordings was ended");
        }
    });
    Ok(ndjson(answer))
}

struct Follower {
    api: Arc<Api>,
    caller: Caller,
    wanted: Followed,
    since: Timestamp,
    /// Sessions being followed; none once their recording ended.
    followed: HashMap<SessionId, Option<(SessionRow, Records, Reader)>>,
    lines: mpsc::Sender<Bytes>,
}

impl Follower {
    async fn follow(&mut self) -> Result<(), Refused> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.lines.closed() => return Ok(()),
                _ = looks.tick() => self.look().await?,
            }
        }
    }

    async fn look(&mut self) -> Result<(), Refused> {
        self.caller.now = Timestamp::now();
        let chain = self.api.guard.still_stands(&self.caller.signed_in, SignInFor::Api, self.caller.now).await?;
        self.caller.actor = chain.subject.clone();
        self.caller.chain = chain;
        self.find_new().await?;
        let audits = self.api.guard.may(&self.caller.actor, SystemAction::Audit, self.caller.now);
        for followed in self.followed.values_mut() {
            let Some((row, records, mut reader)) = followed.take() else { continue };
            if !audits && row.subject != self.caller.actor.name {
                continue;
            }
            reader.version = self.api.guard.version();
            reader.viewer = self.caller.chain.clone();
            reader.now = self.caller.now;
            let lines = self.lines.clone();
            let read = tokio::task::spawn_blocking(move || grow(row, records, reader, &lines));
            *followed = read.await.map_err(|error| Refused::failed(&error))?;
        }
        Ok(())
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
        let live = sessions::visible(&self.api, &self.caller, SessionFilter { live: Some(true), ..filter.clone() }).await?;
        let begun = sessions::visible(&self.api, &self.caller, SessionFilter { since: Some(self.since), ..filter }).await?;
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
        if self.api.guard.read_recording(&row, how, &self.caller.actor, self.caller.now).await.is_err() {
            self.followed.insert(id, None);
            return Ok(());
        }
        let reader = Reader::new(self.api.guard.version(), &self.caller, &row);
        let recordings = self.api.guard.store().recordings().clone();
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
            Some((row, records, reader))
        });
        // A session that has no recording yet is looked for again next time.
        if let Some(begun) = begun.await.map_err(|error| Refused::failed(&error))? {
            self.followed.insert(id, Some(begun));
        }
        Ok(())
    }
}

/// Tells what a recording has more than last time. None once it ended, cannot be read, or nobody listens.
fn grow(row: SessionRow, mut records: Records, mut reader: Reader, lines: &mpsc::Sender<Bytes>) -> Option<(SessionRow, Records, Reader)> {
    for placed in &mut records {
        let record = reader.show(placed.ok()?.record);
        let told = TailLine { session: row.id, chain: row.chain.clone(), connection: row.connection.clone(), record };
        lines.blocking_send(line(&told)).ok()?;
    }
    if records.walked().complete { None } else { Some((row, records, reader)) }
}

pub(super) fn line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    Bytes::from(line)
}

pub(super) fn ndjson(lines: mpsc::Receiver<Bytes>) -> Response {
    let stream = futures_util::stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}
