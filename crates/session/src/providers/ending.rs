//! How a sign-in at a provider ends: when the provider says so by back-channel logout, or when it no longer refreshes it, which it is asked every
//! [`check_every_s`](identity::oidc::Settings::check_every_s). What was minted in it ends with it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use identity::oidc::{Logout, MAX_LOGOUT_AGE_S, OidcError, Person, Provider, Refreshed};
use model::{IdentityName, ProviderName, Timestamp};
use store::{
    StoreError,
    state::{Account, EndedSignIn, SignInRow, Which},
};

use super::{FLOW_S, NotEntered, after};
use crate::{events, guard::Guard, live::EndReason};

/// How often it is looked which sign-ins are to be checked.
const LOOK: Duration = Duration::from_secs(1);
/// How long a provider that does not answer is left alone.
const PAUSE: Duration = Duration::from_secs(5);
/// Sign-ins looked at in one round, and checked at once.
const ROUND: u32 = 256;
const AT_ONCE: usize = 8;
/// A sign-in that a provider answers about so many intervals long without saying that it stands is over.
const MAX_UNCONFIRMED: u32 = 12;
/// Logout tokens remembered, so that none works twice.
const MAX_LOGOUTS: usize = 100_000;

/// Logout tokens that came, by issuer and id.
#[derive(Debug, Default)]
pub(super) struct Logouts(Mutex<HashMap<(String, String), Heard>>);

/// A logout token that came, and until when it is remembered.
#[derive(Debug)]
struct Heard {
    logout: Logout,
    until: Timestamp,
}

impl Logouts {
    fn heard(&self) -> MutexGuard<'_, HashMap<(String, String), Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a logout token came before.
    fn was_heard(&self, logout: &Logout) -> bool {
        self.heard().contains_key(&(logout.issuer.clone(), logout.id.clone()))
    }

    /// Remembers a logout token for as long as it could come again, or a sign-in that it speaks of could still be under way.
    fn remember(&self, logout: Logout, now: Timestamp) {
        let mut heard = self.heard();
        heard.retain(|_, heard| now < heard.until);
        // When there is no room to remember, it would count as new: ending what is over already does no harm.
        if heard.len() < MAX_LOGOUTS {
            let until = after(now, FLOW_S.max(2 * MAX_LOGOUT_AGE_S.unsigned_abs()));
            heard.insert((logout.issuer.clone(), logout.id.clone()), Heard { logout, until });
        }
    }

    /// Whether a logout came for what a provider said of somebody a moment before.
    pub(super) fn are_over(&self, person: &Person) -> bool {
        self.heard().values().any(|Heard { logout, .. }| {
            let about = match (&logout.session, &logout.subject) {
                (Some(session), subject) => {
                    let theirs = subject.as_ref().is_none_or(|subject| *subject == person.subject);
                    theirs && person.session.as_ref().map_or(subject.is_some(), |own| own == session)
                }
                (None, subject) => subject.as_ref() == Some(&person.subject),
            };
            about && logout.issuer == person.issuer && person.said_at.is_none_or(|said| logout.at >= said)
        })
    }
}

impl Guard {
    /// Takes a logout token of a provider: what was minted in the sign-ins it speaks of ends. Returns how many sessions ended.
    ///
    /// # Errors
    /// It is no logout token of a provider here, or the state store cannot be reached.
    pub async fn back_channel_logout(&self, token: &str, now: Timestamp) -> Result<usize, NotEntered> {
        let mut refused = NotEntered::UnknownFlow;
        // Several clients of one provider have one issuer: the token is for one of them.
        for provider in self.providers().all().filter(|provider| provider.issued(token)) {
            match provider.logout(token, now).await {
                Ok(logout) => return self.log_out(provider, logout, now).await,
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    async fn log_out(&self, provider: &Provider, logout: Logout, now: Timestamp) -> Result<usize, NotEntered> {
        if self.providers().logouts.was_heard(&logout) {
            return Err(NotEntered::UnknownFlow);
        }
        let issuer = logout.issuer.clone();
        let which = match (logout.session.clone(), logout.subject.clone()) {
            (Some(session), subject) => Which::Session { issuer, session, subject },
            (None, Some(subject)) => Which::Of(Account { issuer, subject }),
            (None, None) => return Err(NotEntered::UnknownFlow),
        };
        let (mut ended, again) = (self.end_sign_ins(provider.name(), &which, "it was ended there", now).await?, which);
        // Remembered only now: what could not be ended is tried again with the same token. And again for who came in between.
        self.providers().logouts.remember(logout, now);
        ended += self.end_sign_ins(provider.name(), &again, "it was ended there", now).await?;
        Ok(ended)
    }

    /// Ends sign-ins: their tokens are revoked, and then what those opened is ended. Returns how many sessions that were.
    pub(super) async fn end_sign_ins(&self, provider: &ProviderName, which: &Which, why: &str, now: Timestamp) -> Result<usize, StoreError> {
        let by: IdentityName = provider.as_str().parse().map_err(|_| StoreError::Lost)?;
        let ended = self.store().state().end_sign_ins(which, why, &by, now).await?;
        Ok(self.cut(provider, ended, &by, why, now).await)
    }

    /// Ends what was opened in sign-ins that are over: all of it at once, before anything is waited for.
    pub(super) async fn cut(&self, provider: &ProviderName, ended: Vec<EndedSignIn>, by: &IdentityName, why: &str, now: Timestamp) -> usize {
        let reason = EndReason::SignedOut { provider: provider.clone(), why: why.to_owned() };
        let cut = |sign_in: EndedSignIn| {
            let count: usize = sign_in.tokens.iter().map(|token| self.live().end_by_token(*token, &reason)).sum();
            (sign_in, count)
        };
        let ended: Vec<(EndedSignIn, usize)> = ended.into_iter().map(cut).collect();
        if ended.iter().any(|(sign_in, _)| !sign_in.again) {
            // Groups that only this provider told of are gone.
            self.decide_anew(now).await;
        }
        let sessions = ended.iter().map(|(_, count)| count).sum();
        for (sign_in, count) in ended.into_iter().filter(|(sign_in, count)| !sign_in.again || *count > 0) {
            events::note(self.store(), events::sign_in_ended(&sign_in, by, why, count, now)).await;
            if let Err(error) = self.store().secrets().forget_refresh(sign_in.id).await {
                tracing::error!(%error, "what a provider could be asked with about a sign-in that is over could not be deleted");
            }
        }
        sessions
    }

    /// Asks the providers whether those who signed in still may, for ever.
    pub(crate) async fn watch_sign_ins(&self) {
        while let Err(error) = self.end_strangers(Timestamp::now()).await {
            tracing::error!(%error, "sign-ins at providers that are gone could not be ended");
            tokio::time::sleep(PAUSE).await;
        }
        join_all(self.providers().all().map(|provider| self.watch_provider(provider))).await;
    }

    /// Ends sign-ins at providers that the configuration does not name any more, or names with another issuer: nobody can be asked about them.
    async fn end_strangers(&self, now: Timestamp) -> Result<(), StoreError> {
        for (provider, issuer) in self.store().state().providers_with_sign_ins().await? {
            let name: ProviderName = provider.parse().map_err(|_| StoreError::Lost)?;
            if self.providers().known.get(&name).is_some_and(|known| known.settings().issuer.as_str() == issuer) {
                continue;
            }
            let ended = self.end_sign_ins(&name, &Which::At { provider, issuer }, "the provider is not among the gateway's any more", now).await?;
            tracing::warn!(provider = %name, ended, "sign-ins at a provider that is gone were ended");
        }
        Ok(())
    }

    async fn watch_provider(&self, provider: &Provider) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if !self.check_sign_ins(provider, Timestamp::now()).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// One round; whether all went well. One sign-in that cannot be checked keeps no other from it.
    async fn check_sign_ins(&self, provider: &Provider, now: Timestamp) -> bool {
        let well = |done: Result<bool, StoreError>| {
            done.unwrap_or_else(|error| {
                tracing::error!(%error, provider = %provider.name(), "a sign-in could not be checked");
                false
            })
        };
        let every = Duration::from_secs(provider.settings().check_every_s);
        let before = now.checked_sub(every).unwrap_or(Timestamp::MIN);
        let due = match self.store().state().sign_ins_to_check(provider.name(), before, ROUND, now).await {
            Ok(due) => due,
            Err(error) => return well(Err(error)),
        };
        let checks = stream::iter(due).map(|row| self.check_sign_in(provider, row, now)).buffer_unordered(AT_ONCE);
        let mut all = checks.fold(true, async |all, checked| well(checked) && all).await;
        match self.store().state().sign_ins_run_out(ROUND, now).await {
            Ok(over) => {
                for id in over {
                    all &= well(self.end_sign_ins(provider.name(), &Which::One(id), "its tokens have expired", now).await.map(|_| true));
                }
            }
            Err(error) => all = well(Err(error)),
        }
        all
    }

    async fn check_sign_in(&self, provider: &Provider, row: SignInRow, now: Timestamp) -> Result<bool, StoreError> {
        let secrets = self.store().secrets();
        self.store().state().note_tried(row.id, now).await?;
        if self.prepare(provider).await.is_err() {
            return Ok(false);
        }
        let Some(refresh) = secrets.refresh(row.id).await? else { return Ok(true) };
        let error = match provider.refresh(&refresh, &row.account.subject, now).await {
            Ok(Refreshed::Over(why)) => return self.not_renewed(provider, &row, &why, now).await,
            Ok(Refreshed::Still { next, told }) => {
                if let Some(next) = next {
                    secrets.keep_refresh(row.id, &next, now).await?;
                }
                match told {
                    Ok(person) => return self.note_checked(&row, person, now).await,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::warn!(%error, provider = %provider.name(), "a sign-in could not be checked");
        if matches!(error, OidcError::Unreachable(..)) {
            return Ok(false);
        }
        let patience = Duration::from_secs(provider.settings().check_every_s).saturating_mul(MAX_UNCONFIRMED);
        if row.checked_at.checked_add(patience).is_ok_and(|end| end < now) {
            self.not_renewed(provider, &row, "the provider answers, and has not said for long that it stands", now).await?;
        }
        Ok(false)
    }

    async fn note_checked(&self, row: &SignInRow, person: Option<Person>, now: Timestamp) -> Result<bool, StoreError> {
        let told = person.as_ref().map(|person| (person.email.as_deref(), person.groups.as_slice()));
        match self.store().state().note_checked(row.id, told, now).await? {
            Some((before, after)) if before != after => self.decide_anew(now).await,
            Some(_) => {}
            // It ended meanwhile.
            None => drop(self.store().secrets().forget_refresh(row.id).await?),
        }
        Ok(true)
    }

    async fn not_renewed(&self, provider: &Provider, row: &SignInRow, why: &str, now: Timestamp) -> Result<bool, StoreError> {
        let ended = self.end_sign_ins(provider.name(), &Which::One(row.id), &format!("it was not renewed: {why}"), now).await?;
        tracing::info!(identity = %row.identity, provider = %provider.name(), ended, "a provider ended a sign-in");
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(session: Option<&str>) -> Person {
        Person {
            issuer: "https://idp.example".to_owned(),
            subject: "alice".to_owned(),
            name: None,
            email: None,
            groups: Vec::new(),
            session: session.map(str::to_owned),
            said_at: Timestamp::from_second(100).ok(),
        }
    }

    /// A logout that comes while a sign-in is under way is not forgotten.
    #[test]
    fn a_logout_counts_for_what_was_said_before_it() {
        let heard = |session: Option<&str>, subject: Option<&str>, second| {
            let logouts = Logouts::default();
            let at = Timestamp::from_second(second).unwrap();
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let issuer = "https://idp.example".to_owned();
            logouts.remember(Logout { issuer, subject: owned(subject), session: owned(session), id: "j".to_owned(), at }, at);
            logouts
        };
        assert!(heard(None, Some("alice"), 101).are_over(&person(None)));
        assert!(heard(Some("s"), None, 101).are_over(&person(Some("s"))));
        assert!(heard(Some("s"), Some("alice"), 101).are_over(&person(None)), "its session was not named");
        assert!(!heard(None, Some("alice"), 99).are_over(&person(None)), "said after it");
        assert!(!heard(None, Some("bob"), 101).are_over(&person(None)));
        assert!(!heard(Some("other"), Some("alice"), 101).are_over(&person(Some("s"))));
        assert!(!heard(Some("s"), Some("bob"), 101).are_over(&person(Some("s"))));
    }
}
