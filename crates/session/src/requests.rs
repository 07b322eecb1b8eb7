//! Access that is asked for: by whom, signed by whom, and what it became.
//!
//! What a vote counts for is said by the machine that held operations have, too ([`approve::machine`](crate::approve::machine)); here it is made anew from the row for
//! each vote, with the people who signed as the register has them now. One act at a time; each is written down before anybody hears of it.

use std::time::Duration;

use aws_lc_rs::digest;
use model::{
    Actor, ActorChain, Connection, ConnectionName, GroupName, IdentityKind, Outcome, RequestId, Requirement, SystemAction, Timestamp,
    hold::HoldState,
    request::{Comment, Grant, GrantEnd, RequestRow},
};
use policy::{
    decide::{self, Wish},
    version::{Version, nearest},
};
use serde::Serialize;
use store::StoreError;

use crate::{
    approve::machine::{Machine, Progress, VoteRefused},
    events,
    guard::{GovernError, Guard},
    ids,
    live::EndReason,
    register,
    tokens::{MAX_TOKEN_STATEMENT_BYTES, unknown_connection},
};

/// Longest window that can be asked for, in seconds, whatever policy permits: 30 days.
pub const MAX_WINDOW_S: u64 = 30 * 86_400;
/// How long a request waits for its signatures.
const WAITS: Duration = Duration::from_secs(86_400);
/// Longest reason and comment, in bytes.
const MAX_WORDS_BYTES: usize = 2_000;
/// Comments on one request.
const MAX_COMMENTS: usize = 100;
/// How many of the newest requests are looked through for a listing of all.
const MAX_SEARCHED: u32 = 10_000;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// Where.
    pub connection: ConnectionName,
    /// As the connection names it.
    pub role: String,
    /// For how long, in seconds.
    pub window_s: u64,
    /// Why.
    pub reason: String,
    /// The one statement it is for, if it is for one.
    pub statement: Option<String>,
}

/// A role that somebody could ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requestable {
    /// Where.
    pub connection: ConnectionName,
    /// As the connection names it.
    pub role: String,
    /// Whether it has to be signed for, as far as can be told before length and reason are known.
    pub signed: bool,
}

/// Why an act on a request was not done. The text is for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum RequestRefused {
    /// As other acts of governing are refused.
    #[error(transparent)]
    Govern(#[from] GovernError),
    /// The signature or denial does not count.
    #[error(transparent)]
    Vote(#[from] VoteRefused),
}

impl From<StoreError> for RequestRefused {
    fn from(error: StoreError) -> Self {
        Self::Govern(GovernError::State(error))
    }
}

impl Guard {
    /// Asks for a role of a connection. What policy permits at once is granted when this returns; what has to be signed waits.
    ///
    /// # Errors
    /// There is no such role that they may ask for, policy does not permit it, nobody could sign it, or a limit is reached.
    pub async fn request_access(&self, wanted: NewRequest, by: &ActorChain, now: Timestamp) -> Result<RequestRow, RequestRefused> {
        check_words(&wanted)?;
        let _turn = self.requesting().lock().await;
        let version = self.version();
        let (connection, group) = self.role_for(&version, &wanted, by, now)?;
        let decision = decide::decide_request(&version, by, &connection, wish(&wanted), now);
        let requirements = match decision.outcome {
            Outcome::Allow => Vec::new(),
            Outcome::Hold(requirements) => requirements,
            Outcome::Deny => {
                return Err(GovernError::NotPermitted(format!("policy does not permit this request: {}", decision.reasons.join("; "))).into());
            }
        };
        if !requirements.is_empty() {
            self.must_be_signable(&version, by, &requirements, now).await?;
            self.must_have_place(by, now).await?;
        }
        let mut row = RequestRow {
            id: ids::request(),
            chain: by.clone(),
            connection: wanted.connection,
            role: wanted.role,
            group,
            statement: wanted.statement,
            window_s: wanted.window_s,
            reason: wanted.reason,
            requirements,
            version: decision.version,
            digest: String::new(),
            created_at: now,
            expires_at: now.checked_add(WAITS).unwrap_or(Timestamp::MAX),
            signatures: Vec::new(),
            comments: Vec::new(),
            state: HoldState::Waiting,
            grant: None,
        };
        row.digest = digest_of(&row);
        if row.requirements.is_empty() {
            (row.state, row.grant) = (HoldState::Approved, Some(window(&row, now)));
        }
        self.store().state().add_request(&row).await?;
        events::note(self.store(), events::access_requested(&row, now)).await;
        if row.grant.is_some() {
            self.now_granted(&row, &by.subject, now).await;
        }
        Ok(row)
    }

    /// The roles somebody could ask for, by connection and name.
    #[must_use]
    pub fn requestable(&self, by: &ActorChain, now: Timestamp) -> Vec<Requestable> {
        let version = self.version();
        let mut all = Vec::new();
        for connection in version.connections.values() {
            for role in connection.roles.keys() {
                let asked = Wish { role, window_s: 1, one_statement: false, reason: "" };
                let decision = decide::decide_request(&version, by, connection, asked, now);
                let signed = match decision.outcome {
                    Outcome::Allow => false,
                    Outcome::Hold(_) => true,
                    Outcome::Deny => continue,
                };
                all.push(Requestable { connection: connection.name.clone(), role: role.clone(), signed });
            }
        }
        all
    }

    /// The connection and the group a role stands for. Who may neither open the connection nor ask for any role of it does not hear that it is there.
    fn role_for(
        &self,
        version: &Version,
        wanted: &NewRequest,
        by: &ActorChain,
        now: Timestamp,
    ) -> Result<(std::sync::Arc<Connection>, GroupName), GovernError> {
        let open = self.open_connections(by, now);
        let known = version.connections.get(&wanted.connection).filter(|connection| {
            let asked = wish(wanted);
            let may_ask = |role: &str| decide::decide_request(version, by, connection, Wish { role, ..asked }, now).outcome != Outcome::Deny;
            open.contains(&connection.name) || connection.roles.keys().any(|role| may_ask(role))
        });
        let connection = known.ok_or_else(|| GovernError::NotFound(unknown_connection(&wanted.connection, &by.subject.name, &open)))?;
        let group = connection.roles.get(&wanted.role).ok_or_else(|| {
            let role = model::name::printable(&wanted.role);
            let name = &connection.name;
            GovernError::NotFound(match nearest(&wanted.role, connection.roles.keys().map(String::as_str)) {
                _ if connection.roles.is_empty() => format!("{name} has no roles to ask for: its file names them in [roles]"),
                Some(near) => format!("{name} has no role `{role}`; did you mean {near}?"),
                None => format!("{name} has no role `{role}`; it has: {}", connection.roles.keys().cloned().collect::<Vec<_>>().join(", ")),
            })
        })?;
        Ok((connection.clone(), group.clone()))
    }

    /// That there are people who could sign it, all requirements of it.
    async fn must_be_signable(&self, version: &Version, by: &ActorChain, requirements: &[Requirement], now: Timestamp) -> Result<(), RequestRefused> {
        let identities = self.store().state().identities().await?;
        let people: Vec<Actor> =
            identities.iter().filter(|identity| identity.kind == IdentityKind::User && identity.is_active(now)).map(register::actor).collect();
        let machine = Machine::new(by.clone(), requirements.to_vec(), String::new(), Timestamp::MAX);
        if machine.can_be_met(&people, &signing(version, by, now)) {
            return Ok(());
        }
        let policies = requirements.iter().map(|requirement| requirement.policy.to_string()).collect::<Vec<_>>().join(", ");
        Err(GovernError::NotPermitted(format!("it has to be signed, and there are not enough people who could: {policies}")).into())
    }

    async fn must_have_place(&self, by: &ActorChain, now: Timestamp) -> Result<(), RequestRefused> {
        let limits = &self.limits().holds;
        let mut waiting = self.store().state().waiting_requests().await?;
        waiting.retain(|row| row.is_waiting(now));
        let own = waiting.iter().filter(|row| row.chain.subject.id == by.subject.id).count();
        if own >= limits.max_per_identity || waiting.len() >= limits.max_total {
            let words =
                format!("{own} requests of {} and {} in all wait for signatures already: take some back first", by.subject.name, waiting.len());
            return Err(GovernError::Invalid(words).into());
        }
        Ok(())
    }

    /// Counts a signature of `signer`, who was shown the request with this digest. The last one grants it, from now, if it is still what policy would have signed.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn sign_request(&self, id: RequestId, signer: &Actor, digest: &str, now: Timestamp) -> Result<RequestRow, RequestRefused> {
        let _turn = self.requesting().lock().await;
        let before = self.request_seen_by(id, signer, now).await?;
        let version = self.version();
        let policy = signing(&version, &before.chain, now);
        let (mut machine, mut standing) = match self.machine_of(&before, &version, now).await? {
            Ok(there) => there,
            Err(why) => {
                let after = RequestRow { state: HoldState::Voided { why }, ..before.clone() };
                self.change(&before, &after).await?;
                events::note(self.store(), events::request_settled(&after, signer, now)).await;
                return Err(VoteRefused::Ended(after.state).into());
            }
        };
        let progress = machine.sign(signer, digest, &policy, now)?;
        standing.push(signer.clone());
        let mut after = before.clone();
        if let Progress::Complete = progress {
            match self.still_asked(&before, &version, now).await? {
                Err(why) => drop(machine.void(&why)),
                // Voided by the machine itself if they may not: its state says so.
                Ok(()) => drop(machine.release(&standing, &policy)),
            }
        }
        (after.signatures, after.state) = (machine.signatures(), machine.state());
        if after.state == HoldState::Approved {
            after.grant = Some(window(&after, now));
        }
        self.change(&before, &after).await?;
        events::note(self.store(), events::request_signed(&after, signer, digest, now)).await;
        if after.state == HoldState::Approved {
            self.now_granted(&after, signer, now).await;
        }
        Ok(after)
    }

    /// Ends a request that waits with a no; one eligible signer suffices.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn deny_request(&self, id: RequestId, signer: &Actor, reason: Option<String>, now: Timestamp) -> Result<RequestRow, RequestRefused> {
        check_length(reason.as_deref().unwrap_or_default())?;
        let _turn = self.requesting().lock().await;
        let before = self.request_seen_by(id, signer, now).await?;
        let version = self.version();
        // Who signed before does not matter to a no.
        let mut machine = machine_without_votes(&before);
        still_waits(&before, now)?;
        machine.deny(signer, reason, &signing(&version, &before.chain, now), now)?;
        let after = RequestRow { state: machine.state(), ..before.clone() };
        self.change(&before, &after).await?;
        events::note(self.store(), events::request_settled(&after, signer, now)).await;
        Ok(after)
    }

    /// Says something about a request, for all who may see it.
    ///
    /// # Errors
    /// There is no such request that `by` may see, or too much was said.
    pub async fn comment_on_request(&self, id: RequestId, by: &Actor, text: String, now: Timestamp) -> Result<RequestRow, RequestRefused> {
        check_length(&text)?;
        if text.trim().is_empty() {
            return Err(GovernError::Invalid("the comment is empty".to_owned()).into());
        }
        let _turn = self.requesting().lock().await;
        let before = self.request_seen_by(id, by, now).await?;
        if before.comments.len() >= MAX_COMMENTS {
            return Err(GovernError::Invalid(format!("{id} has {MAX_COMMENTS} comments already")).into());
        }
        let mut after = before.clone();
        after.comments.push(Comment { by: by.name.clone(), at: now, text });
        self.change(&before, &after).await?;
        events::note(self.store(), events::request_commented(&after, by, now)).await;
        Ok(after)
    }

    /// Ends a request or what was granted of it: whoever asked takes it back or gives it back, whoever may `revoke` takes it from them. Sessions that have it
    /// then go on without it where they may, and end at once where somebody took it. Returns how many ended.
    ///
    /// # Errors
    /// `by` may not, or it is over already.
    pub async fn end_request(
        &self,
        id: RequestId,
        by: &Actor,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<(RequestRow, usize), RequestRefused> {
        check_length(reason.as_deref().unwrap_or_default())?;
        let _turn = self.requesting().lock().await;
        let before = self.request_seen_by(id, by, now).await?;
        let own = before.chain.members().any(|member| member.id == by.id);
        if !own {
            self.must_revoke(by, now)?;
        }
        let mut after = before.clone();
        match &mut after.grant {
            Some(grant) if before.is_in_force(now) => grant.ended = Some(GrantEnd { at: now, by: by.name.clone(), reason: reason.clone() }),
            _ if before.is_waiting(now) => {
                let why = reason.map_or_else(|| format!("{} took it back", by.name), |reason| format!("{} took it back: {reason}", by.name));
                after.state = HoldState::Withdrawn { why };
                self.change(&before, &after).await?;
                events::note(self.store(), events::request_settled(&after, by, now)).await;
                return Ok((after, 0));
            }
            _ => return Err(GovernError::Invalid(format!("{id} is over already")).into()),
        }
        let tokens = self.store().state().end_grant(&before, &after, &by.name, now).await?.ok_or_else(changed_meanwhile)?;
        self.grants().remove(id);
        let mut ended: usize = tokens.into_iter().map(|token| self.live().end_by_token(token, &EndReason::TokenRevoked(token))).sum();
        if !own {
            ended += self.live().end_by_grant(id, &EndReason::GrantRevoked { request: id, by: by.name.clone() });
        }
        self.decide_anew(now).await;
        events::note(self.store(), events::grant_ended(&after, by, ended, now)).await;
        Ok((after, ended))
    }

    /// The requests `viewer` may see: their own, those they could sign, and all of them for auditors and whoever may revoke. Those that wait, oldest first; or of the newest, at most `limit`, newest first.
    ///
    /// # Errors
    /// The state store cannot be reached.
    pub async fn requests(&self, viewer: &Actor, all: Option<u32>, now: Timestamp) -> Result<Vec<RequestRow>, StoreError> {
        let version = self.version();
        let mut rows = match all {
            None => self.store().state().waiting_requests().await?,
            Some(_) => self.store().state().requests(MAX_SEARCHED).await?,
        };
        if all.is_none() {
            rows.retain(|row| row.is_waiting(now));
        }
        rows.retain(|row| self.may_see_request(&version, row, viewer, now));
        rows.truncate(all.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
        Ok(rows.into_iter().map(|row| as_of(row, now)).collect())
    }

    /// One request that `viewer` may see.
    ///
    /// # Errors
    /// There is none.
    pub async fn access_request(&self, id: RequestId, viewer: &Actor, now: Timestamp) -> Result<RequestRow, RequestRefused> {
        Ok(as_of(self.request_seen_by(id, viewer, now).await?, now))
    }

    /// Why a signature of `viewer` would count for nothing; nothing if it would count.
    #[must_use]
    pub fn why_not_sign(&self, row: &RequestRow, viewer: &Actor, now: Timestamp) -> Option<String> {
        machine_without_votes(row).eligible(viewer, &signing(&self.version(), &row.chain, now)).err().map(|why| why.to_string())
    }

    /// The window of a granted request for one statement that `by` may mint a token for, and the statement.
    pub(crate) async fn granted_statement(&self, id: RequestId, by: &Actor, now: Timestamp) -> Result<RequestRow, GovernError> {
        let row = self.store().state().request(id).await?.filter(|row| row.chain.subject.id == by.id);
        let row = row.ok_or_else(|| no_request(id))?;
        if !row.is_in_force(now) {
            return Err(GovernError::Invalid(format!("{id} is not granted, or its window is over")));
        }
        if row.statement.is_none() {
            return Err(GovernError::Invalid(format!(
                "{id} is for the role {}, which counts in every session of yours: mint no token for it",
                row.role
            )));
        }
        Ok(row)
    }

    /// Writes down what expired unsigned, and lets go of what lapsed. Live sessions go on without it where they may.
    pub(crate) async fn look_after_requests(&self, now: Timestamp) {
        if self.grants().take_lapsed(now) {
            self.decide_anew(now).await;
        }
    }

    /// Writes down that requests nobody signed in time are over.
    pub(crate) async fn expire_requests(&self, now: Timestamp) -> Result<(), StoreError> {
        let _turn = self.requesting().lock().await;
        for before in self.store().state().waiting_requests().await? {
            if before.is_waiting(now) {
                continue;
            }
            let after = RequestRow { state: HoldState::Expired, ..before.clone() };
            self.store().state().change_request(&before, &after).await?;
        }
        Ok(())
    }

    async fn now_granted(&self, row: &RequestRow, by: &Actor, now: Timestamp) {
        self.grants().add(row);
        self.decide_anew(now).await;
        events::note(self.store(), events::access_granted(row, by, now)).await;
    }

    async fn change(&self, before: &RequestRow, after: &RequestRow) -> Result<(), RequestRefused> {
        if self.store().state().change_request(before, after).await? { Ok(()) } else { Err(changed_meanwhile().into()) }
    }

    async fn request_seen_by(&self, id: RequestId, viewer: &Actor, now: Timestamp) -> Result<RequestRow, RequestRefused> {
        let row = self.store().state().request(id).await?;
        let row = row.filter(|row| self.may_see_request(&self.version(), row, viewer, now));
        row.ok_or_else(|| no_request(id).into())
    }

    fn may_see_request(&self, version: &Version, row: &RequestRow, viewer: &Actor, now: Timestamp) -> bool {
        row.chain.members().any(|member| member.id == viewer.id)
            || row.signatures.iter().any(|signature| signature.signer == viewer.name)
            || machine_without_votes(row).eligible(viewer, &signing(version, &row.chain, now)).is_ok()
            || [SystemAction::Audit, SystemAction::Revoke, SystemAction::Administer].iter().any(|act| decide::may(version, viewer, *act, now))
    }

    /// The machine of a request with the signatures it has, and the people who gave them as they stand now; or what became of one of them.
    async fn machine_of(&self, row: &RequestRow, version: &Version, now: Timestamp) -> Result<Result<(Machine, Vec<Actor>), String>, RequestRefused> {
        still_waits(row, now)?;
        let mut machine = machine_without_votes(row);
        let mut standing = Vec::new();
        for signature in &row.signatures {
            let signer = self.store().state().identity(&signature.signer).await?.filter(|identity| identity.is_active(now));
            let Some(signer) = signer.map(|identity| register::actor(&identity)) else {
                return Ok(Err(format!("{}, who signed, is no longer an active identity", signature.signer)));
            };
            if let Err(why) = machine.sign(&signer, &row.digest, &signing(version, &row.chain, now), signature.at) {
                return Ok(Err(format!("{}, who signed, may no longer sign: {why}", signature.signer)));
            }
            standing.push(signer);
        }
        Ok(Ok((machine, standing)))
    }

    /// Whether whoever asked still stands as they did, and policy still asks for what was signed.
    async fn still_asked(&self, row: &RequestRow, version: &Version, now: Timestamp) -> Result<Result<(), String>, StoreError> {
        for member in row.chain.members() {
            let standing = self.store().state().identity_by_id(member.id).await?.filter(|identity| identity.is_active(now));
            match standing.map(|identity| register::renewed(member, &identity)) {
                None => return Ok(Err(format!("{} is no longer an active identity", member.name))),
                Some(actor) if actor != *member => return Ok(Err(format!("the groups or the owner of {} have changed", member.name))),
                Some(_) => {}
            }
        }
        let Some(connection) = version.connections.get(&row.connection) else { return Ok(Err(format!("connection {} is gone", row.connection))) };
        if connection.roles.get(&row.role) != Some(&row.group) {
            return Ok(Err(format!("the role {} of {} is another now", row.role, row.connection)));
        }
        let asked = Wish { role: &row.role, window_s: row.window_s, one_statement: row.statement.is_some(), reason: &row.reason };
        let decision = decide::decide_request(version, &row.chain, connection, asked, now);
        Ok(match decision.outcome {
            Outcome::Hold(requirements) if requirements == row.requirements => Ok(()),
            Outcome::Hold(_) | Outcome::Allow => Err("what policy asks for changed while it waited: ask again".to_owned()),
            Outcome::Deny => Err(format!("policy now denies it: {}", decision.reasons.join("; "))),
        })
    }
}

fn signing<'a>(version: &'a Version, chain: &'a ActorChain, now: Timestamp) -> impl Fn(&Requirement, &Actor) -> Result<(), String> + 'a {
    move |requirement, signer| decide::eligible(version, requirement, chain, signer, now).map_err(|why| why.to_string())
}

fn machine_without_votes(row: &RequestRow) -> Machine {
    Machine::new(row.chain.clone(), row.requirements.clone(), row.digest.clone(), row.expires_at)
}

fn still_waits(row: &RequestRow, now: Timestamp) -> Result<(), VoteRefused> {
    match &row.state {
        HoldState::Waiting if now >= row.expires_at => Err(VoteRefused::Expired(row.expires_at)),
        HoldState::Waiting => Ok(()),
        ended => Err(VoteRefused::Ended(ended.clone())),
    }
}

/// A request as it stands now: that nobody signed it in time may not be written down yet.
fn as_of(row: RequestRow, now: Timestamp) -> RequestRow {
    let expired = row.state == HoldState::Waiting && !row.is_waiting(now);
    if expired { RequestRow { state: HoldState::Expired, ..row } } else { row }
}

fn window(row: &RequestRow, now: Timestamp) -> Grant {
    Grant { from: now, until: now.checked_add(Duration::from_secs(row.window_s)).unwrap_or(now), ended: None }
}

fn wish(wanted: &NewRequest) -> Wish<'_> {
    Wish { role: &wanted.role, window_s: wanted.window_s, one_statement: wanted.statement.is_some(), reason: &wanted.reason }
}

fn check_words(wanted: &NewRequest) -> Result<(), GovernError> {
    if wanted.window_s == 0 || wanted.window_s > MAX_WINDOW_S {
        return Err(GovernError::Invalid(format!("say for how long: 1 second to {} days", MAX_WINDOW_S / 86_400)));
    }
    if wanted.reason.trim().is_empty() {
        return Err(GovernError::Invalid("say why: --reason \"INC-4711\"".to_owned()));
    }
    if wanted.role.len() > MAX_WORDS_BYTES {
        return Err(GovernError::NotFound("there is no role of such a name".to_owned()));
    }
    if wanted.statement.as_ref().is_some_and(|text| text.trim().is_empty() || text.len() > MAX_TOKEN_STATEMENT_BYTES) {
        return Err(GovernError::Invalid(format!("the statement is empty or has more than {MAX_TOKEN_STATEMENT_BYTES} bytes")));
    }
    check_length(&wanted.reason)
}

fn check_length(words: &str) -> Result<(), GovernError> {
    if words.len() <= MAX_WORDS_BYTES { Ok(()) } else { Err(GovernError::Invalid(format!("that is longer than {MAX_WORDS_BYTES} bytes"))) }
}

/// SHA-256, hexadecimal, over all that a signature is bound to.
fn digest_of(row: &RequestRow) -> String {
    #[derive(Serialize)]
    struct Bound<'a>(
        &'a str,
        RequestId,
        &'a ActorChain,
        &'a ConnectionName,
        &'a str,
        &'a GroupName,
        Option<&'a str>,
        u64,
        &'a str,
        &'a [Requirement],
    );
    let bound = Bound(
        "countersign request 1",
        row.id,
        &row.chain,
        &row.connection,
        &row.role,
        &row.group,
        row.statement.as_deref(),
        row.window_s,
        &row.reason,
        &row.requirements,
    );
    // JSON of strings, numbers and sequences cannot fail; if it ever did, the digest of nothing would match no other.
    let bytes = serde_json::to_vec(&bound).unwrap_or_default();
    digest::digest(&digest::SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn no_request(id: RequestId) -> GovernError {
    GovernError::NotFound(format!("no request {id} that you may see"))
}

fn changed_meanwhile() -> GovernError {
    GovernError::Invalid("it changed meanwhile: look at it again".to_owned())
}

#[cfg(test)]
mod tests;
