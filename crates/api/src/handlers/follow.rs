//! Readers of what is recorded as it happens. They are asked again and again whether they still may, sent away when they take nothing, and one identity has so many at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use model::{IdentityName, Timestamp};
use serde::Serialize;
use session::{approve::SILENT_AFTER, sign_in::SignInFor};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::{Api, caller::Caller, refused::Refused};

/// Lines read ahead of a slow reader.
pub(super) const AHEAD: usize = 64;
/// How often growing recordings are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Those of one identity at a time.
const MAX_FOLLOWING: usize = 16;
/// So much is read before it is asked anew whether they still may, in records and in bytes. It is taken within [`SILENT_AFTER`] by whoever listens, also where the way is slow.
const RECORDS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 64 << 10;

/// Why nothing more is told.
#[derive(Debug)]
pub(super) enum Over {
    /// There is nothing more to tell.
    Ended,
    /// They are gone, or take nothing.
    Unheard,
    /// They may no longer, or it cannot be found out.
    Refused(Refused),
}

impl From<Refused> for Over {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// One who reads.
pub(super) struct Listener {
    pub(super) api: Arc<Api>,
    pub(super) caller: Caller,
    lines: mpsc::Sender<Bytes>,
    looks: Interval,
    asked: Instant,
    _place: Place,
}

impl Listener {
    /// One more of the caller's, with the answer that they read.
    pub(super) fn begin(api: Arc<Api>, caller: Caller) -> Result<(Self, Response), Refused> {
        let place = api.following.enter(&caller.actor.name)?;
        let (lines, answer) = mpsc::channel(AHEAD);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok((Self { api, caller, lines, looks, asked: Instant::now(), _place: place }, ndjson(answer)))
    }

    /// Waits until it is time to look, which it is at once where there is more than was told, and until they are known to be who they were.
    pub(super) async fn next_look(&mut self, behind: bool) -> Result<(), Over> {
        tokio::select! {
            () = self.lines.closed() => return Err(Over::Unheard),
            _ = self.looks.tick(), if !behind => {}
            () = std::future::ready(()), if behind => {}
        }
        self.still_stands().await
    }

    /// As [`next_look`](Self::next_look) does, where that was a while ago.
    pub(super) async fn asks_again(&mut self) -> Result<(&Api, &Caller), Over> {
        if self.asked.elapsed() >= LOOK {
            self.still_stands().await?;
        }
        Ok((&self.api, &self.caller))
    }

    async fn still_stands(&mut self) -> Result<(), Over> {
        self.asked = Instant::now();
        self.caller.now = Timestamp::now();
        let standing = self.api.guard.still_stands(&self.caller.signed_in, SignInFor::Api, self.caller.now).await;
        let chain = standing.map_err(Refused::from)?;
        self.caller.actor = chain.subject.clone();
        self.caller.chain = chain;
        Ok(())
    }

    pub(super) async fn tell(&self, batch: Batch) -> Result<(), Over> {
        tell(&self.lines, batch, SILENT_AFTER).await
    }
}

/// Whoever does not take it in time does not read, and nothing is kept for them.
async fn tell(to: &mpsc::Sender<Bytes>, batch: Batch, within: Duration) -> Result<(), Over> {
    let telling = async {
        for line in batch.lines {
            to.send(line).await.map_err(|_| Over::Unheard)?;
        }
        Ok(())
    };
    tokio::time::timeout(within, telling).await.unwrap_or(Err(Over::Unheard))
}

/// Lines that are told together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    lines: Vec<Bytes>,
    bytes: usize,
    passed: usize,
}

impl Batch {
    pub(super) fn push(&mut self, value: &impl Serialize) {
        let line = line(value);
        self.bytes += line.len();
        self.lines.push(line);
        self.pass();
    }

    /// A record was read that is not told.
    pub(super) const fn pass(&mut self) {
        self.passed += 1;
    }

    pub(super) const fn is_full(&self) -> bool {
        self.passed >= RECORDS_AT_ONCE || self.bytes >= BYTES_AT_ONCE
    }
}

/// How many read, of each identity that does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Following(Arc<Mutex<HashMap<IdentityName, usize>>>);

impl Following {
    fn counts(&self) -> MutexGuard<'_, HashMap<IdentityName, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more.
    pub(super) fn enter(&self, name: &IdentityName) -> Result<Place, Refused> {
        self.place(name).ok_or_else(|| {
            let most = format!("{name} reads {MAX_FOLLOWING} streams already, which is the most");
            Refused::too_many(most).hint("End a `countersign tail`, `watch` or `replay` first.")
        })
    }

    fn place(&self, name: &IdentityName) -> Option<Place> {
        let mut counts = self.counts();
        let count = counts.entry(name.clone()).or_default();
        if *count >= MAX_FOLLOWING {
            return None;
        }
        *count += 1;
        Some(Place { following: self.clone(), name: name.clone() })
    }
}

/// One of those, as long as it is kept.
#[derive(Debug)]
pub(super) struct Place {
    following: Following,
    name: IdentityName,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.following.counts();
        if let Some(count) = counts.get_mut(&self.name) {
            *count -= 1;
        }
        counts.retain(|_, count| *count > 0);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lines: usize) -> Batch {
        let mut batch = Batch::default();
        (0..lines).for_each(|number| batch.push(&number));
        batch
    }

    #[tokio::test]
    async fn whoever_takes_nothing_is_sent_away_after_a_while_and_who_takes_it_is_not() {
        let (lines, mut taken) = mpsc::channel(1);
        let long = Duration::from_secs(600);
        let (told, _) = tokio::join!(tell(&lines, batch(3), long), async {
            for _ in 0..3 {
                taken.recv().await.unwrap();
            }
        });
        assert!(told.is_ok());
        assert!(matches!(tell(&lines, batch(2), Duration::from_millis(20)).await, Err(Over::Unheard)));
        drop(taken);
        assert!(matches!(tell(&lines, batch(1), long).await, Err(Over::Unheard)), "who is gone is not waited for");
    }

    #[test]
    fn so_many_are_of_one_identity_and_whoever_goes_makes_room() {
        let following = Following::default();
        let (ann, bob) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        let mut places: Vec<Place> = (0..MAX_FOLLOWING).map(|_| following.place(&ann).unwrap()).collect();
        assert!(following.place(&ann).is_none() && following.place(&bob).is_some());
        places.pop();
        assert!(following.place(&ann).is_some());
        drop(places);
        assert!(following.counts().is_empty());
    }

    #[test]
    fn a_batch_is_full_by_records_and_by_bytes() {
        assert!(!batch(RECORDS_AT_ONCE - 1).is_full() && batch(RECORDS_AT_ONCE).is_full());
        let mut long = Batch::default();
        long.push(&"x".repeat(BYTES_AT_ONCE));
        assert!(long.is_full());
    }
}
