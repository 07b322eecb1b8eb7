//! An operation that goes on only while somebody watches it: who does is recorded, and when nobody does any more, it has some time.

use std::pin::Pin;

use model::{HoldId, IdentityName, Timestamp};
use tokio::time::Instant;

use super::Session;
use crate::{approve::Watch, ask::Broken};

/// Of what kind the notes in the recording are.
const NOTE: &str = "watched";

impl Session {
    /// Returns when an operation may not go on, with the sentence for its caller: one who watches ended it, or nobody watched it for longer than
    /// the grace. `tell` tells the caller what becomes of it meanwhile.
    pub async fn goes_unwatched<F>(&self, op: u64, watch: &mut Watch, mut tell: impl FnMut(String) -> F) -> String
    where
        F: Future<Output = ()>,
    {
        let grace = self.guard.limits().holds.unwatched_grace();
        let mut ends: Option<Instant> = None;
        // The last that was said: to somebody who does not listen nothing is kept beside it.
        let mut telling: Option<Pin<Box<F>>> = None;
        loop {
            let now = Instant::now();
            if let Err(broken) = self.note_watchers(op, watch, now) {
                return broken.to_string();
            }
            if let Some(by) = watch.ended_by() {
                return format!("{by}, who watched it, ended it");
            }
            match (watch.until(now), ends) {
                (None, None) => {
                    ends = Some(now + grace);
                    telling = Some(Box::pin(tell(deserted(watch.hold(), &watch.may_watch(), grace.as_secs()))));
                }
                (Some(_), Some(_)) => {
                    ends = None;
                    telling = Some(Box::pin(tell("it is watched again".to_owned())));
                }
                (None, Some(end)) if now >= end => return "nobody watched it".to_owned(),
                (Some(_), None) | (None, Some(_)) => {}
            }
            let next = [ends, watch.next_silence(now)].into_iter().flatten().min();
            tokio::select! {
                () = watch.changed() => {}
                () = until(next) => {}
                () = told(&mut telling) => telling = None,
            }
        }
    }

    /// Records of those who watched an operation until now that they did so to its end.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn was_watched(&self, op: u64, watch: &Watch, now: Timestamp) -> Result<(), Broken> {
        watch.noted().iter().try_for_each(|name| self.note(NOTE, &format!("{name} watched operation {op} to its end"), now))
    }

    fn note_watchers(&self, op: u64, watch: &mut Watch, now: Instant) -> Result<(), Broken> {
        let (came, went) = watch.changes(now);
        let at = Timestamp::now();
        came.iter().try_for_each(|name| self.note(NOTE, &format!("{name} watches operation {op}"), at))?;
        went.iter().try_for_each(|name| self.note(NOTE, &format!("{name} no longer watches operation {op}"), at))
    }
}

/// What the caller is told when nobody is left.
fn deserted(hold: HoldId, may_watch: &[IdentityName], grace_s: u64) -> String {
    let names = may_watch.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    format!("nobody watches this any more: it ends in {grace_s} s, unless {names} watches again: countersign watch {hold}")
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn told<F: Future<Output = ()>>(telling: &mut Option<Pin<Box<F>>>) {
    match telling {
        Some(telling) => telling.await,
        None => std::future::pending().await,
    }
}
