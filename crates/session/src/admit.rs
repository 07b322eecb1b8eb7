//! From somebody signed in to a session that may be opened: the connection exists, policy permits `connect`, the session is registered, and its
//! access was looked at once more. An [`Admission`] is the proof; dialling a target takes one, and only this file makes them.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use jiff::SignedDuration;
use model::{ActorChain, Connection, ConnectionName, Outcome, SessionId, Timestamp, TokenId};
use policy::{
    classify::postgres::{self as classify, SessionView, Statement},
    decide::{self, Case},
};

use crate::{
    ask::Decided,
    guard::Guard,
    ids,
    live::LiveHandle,
    sign_in::{SignInRefused, SignedIn},
};

/// The right to dial one target for one caller.
#[derive(Debug)]
pub struct Admission {
    pub(crate) guard: Arc<Guard>,
    pub(crate) live: LiveHandle,
    pub(crate) connection: Arc<Connection>,
    pub(crate) database: String,
    pub(crate) token: Option<TokenId>,
    pub(crate) only_statement: Option<OnlyStatement>,
    pub(crate) peer: String,
    pub(crate) admitted_at: Timestamp,
    /// Settings it begins with that were decided: as SET statements, and what was decided.
    pub(crate) begins_with: Option<(String, Decided)>,
}

/// The one statement a token may run.
#[derive(Debug)]
pub(crate) struct OnlyStatement {
    pub(crate) token: TokenId,
    pub(crate) text: String,
}

/// Why nobody is admitted. `Display` is for the caller.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// No such connection, or none they may see.
    #[error("no connection `{wanted}` that you may open{}", hint(.near))]
    UnknownConnection {
        /// What was asked for, printable.
        wanted: String,
        /// Names they may open that look like it.
        near: Vec<ConnectionName>,
    },
    /// The connection does not offer that database.
    #[error("connection {connection} does not offer database `{database}`; it offers {}", .offered.join(", "))]
    UnknownDatabase {
        /// The connection.
        connection: ConnectionName,
        /// What was asked for, printable.
        database: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// Policy says no.
    #[error("{0}")]
    Denied(String),
    /// Recordings cannot be written.
    #[error("the gateway cannot record sessions at this moment, and nothing may happen unrecorded; try again later")]
    NotRecorded,
    /// Their access does not stand at the second look, or a limit is reached.
    #[error(transparent)]
    Refused(#[from] SignInRefused),
}

fn hint(near: &[ConnectionName]) -> String {
    match near {
        [] => "; `countersign connections` lists those you may".to_owned(),
        near => format!("; did you mean {}?", near.iter().map(ConnectionName::as_str).collect::<Vec<_>>().join(" or ")),
    }
}

/// What a caller who signed in wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The connection's name as sent.
    pub connection: &'a str,
    /// The database behind it, if one was named.
    pub database: Option<&'a str>,
    /// Where the caller comes from.
    pub peer: &'a str,
}

/// Admits somebody who signed in, or says why not.
///
/// # Errors
/// The connection or database is not theirs, policy denies `connect`, a limit is reached, recordings cannot be written, or the access was revoked in
/// the meantime.
pub async fn admit(guard: &Arc<Guard>, signed_in: &SignedIn, wanted: Wanted<'_>, now: Timestamp) -> Result<Admission, NotAdmitted> {
    let version = guard.version();
    let connection = wanted.connection.parse::<ConnectionName>().ok().and_then(|name| version.connections.get(&name).cloned());
    let Some(connection) = connection else { return Err(unknown(guard, &signed_in.chain, wanted.connection, now)) };
    let database = wanted.database.unwrap_or(&connection.database).to_owned();
    // Registered first: a revocation after this line finds the session, one before it is found by the second look.
    let live = guard.enter(ids::session(), &bounded(signed_in, &connection, now), &connection.name, &database, now).await?;
    // After the registration, too: a write that fails after this line ends the registered session.
    if !guard.store().recordings().standing().writable {
        return Err(NotAdmitted::NotRecorded);
    }
    // The policy in force after the registration: an `apply` after this line decides the registered session anew.
    let (version, chain) = (guard.version(), live.chain());
    let decision = decide::decide_connect(&version, &chain, &connection, &database, now);
    let reasons = decision.reasons.join("; ");
    match decision.outcome {
        Outcome::Allow => {}
        // That it exists is only for those who may open it.
        Outcome::Deny if decision.policies.is_empty() => return Err(unknown(guard, &chain, wanted.connection, now)),
        Outcome::Deny => return Err(NotAdmitted::Denied(format!("policy does not permit this session: {reasons}"))),
        Outcome::Hold(_) => {
            return Err(NotAdmitted::Denied(format!("opening this session would need a signature, which only operations can wait for: {reasons}")));
        }
    }
    if !connection.databases.is_empty() && !offers(&connection, &database) {
        let offered =
            std::iter::once(&connection.database).chain(&connection.databases).map(|name| model::name::printable(name)).collect::<BTreeSet<_>>();
        let offered = offered.into_iter().collect();
        return Err(NotAdmitted::UnknownDatabase { connection: connection.name.clone(), database: model::name::printable(&database), offered });
    }
    Ok(Admission {
        guard: guard.clone(),
        live,
        connection,
        database,
        token: signed_in.token.as_ref().map(|token| token.id),
        only_statement: signed_in.token.as_ref().and_then(|token| Some(OnlyStatement { token: token.id, text: token.statement.clone()? })),
        peer: wanted.peer.to_owned(),
        admitted_at: now,
        begins_with: None,
    })
}

/// Where credentials are made for one session each, they may bound how long it lasts.
fn bounded<'a>(signed_in: &'a SignedIn, connection: &Connection, now: Timestamp) -> Cow<'a, SignedIn> {
    let longest = connection.jit.as_ref().and_then(|jit| jit.valid_for_s);
    let end = longest.and_then(|seconds| now.checked_add(SignedDuration::from_secs(seconds.into())).ok());
    match (end, signed_in.ends_at) {
        (Some(end), ends_at) if ends_at.is_none_or(|at| end < at) => Cow::Owned(SignedIn { ends_at: Some(end), ..signed_in.clone() }),
        _ => Cow::Borrowed(signed_in),
    }
}

fn offers(connection: &Connection, database: &str) -> bool {
    connection.database == database || connection.databases.iter().any(|offered| offered == database)
}

fn unknown(guard: &Guard, chain: &ActorChain, wanted: &str, now: Timestamp) -> NotAdmitted {
    let visible = guard.open_connections(chain, now);
    let near = visible.into_iter().filter(|name| distance(name.as_str(), wanted) <= 2 + name.as_str().len() / 4).take(3).collect();
    NotAdmitted::UnknownConnection { wanted: model::name::printable(wanted).chars().take(80).collect(), near }
}

/// The caller's name never reaches the target, and UTF-8 is what statements are read as.
fn needs_nothing(name: &str, value: &[u8]) -> bool {
    let utf8 = || matches!(value.to_ascii_lowercase().as_slice(), b"utf8" | b"utf-8" | b"'utf-8'" | b"unicode");
    name.eq_ignore_ascii_case("application_name") || (name.eq_ignore_ascii_case("client_encoding") && utf8())
}

/// A setting as the statement that would make it. Names of custom ones have parts.
fn as_statement(name: &str, value: &[u8]) -> Result<String, String> {
    let value = std::str::from_utf8(value).map_err(|_| format!("the value of setting {} is not UTF-8", model::name::printable(name)))?;
    let name = name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".");
    Ok(format!("SET {name} TO '{}'", value.replace('\'', "''")))
}

/// Levenshtein's distance, in characters; texts longer than 64 are far from everything.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    if b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            *cell = replaced.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

impl Admission {
    /// The session's id.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.live.session()
    }

    /// The target to dial.
    #[must_use]
    pub const fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The database to ask it for.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Who acts.
    #[must_use]
    pub fn chain(&self) -> Arc<ActorChain> {
        self.live.chain()
    }

    /// When the session's access ends, if it does by itself.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.live.ends_at()
    }

    /// The session's access ends at this moment at the latest.
    pub fn end_by(&self, at: Timestamp) {
        self.live.end_by(at);
    }

    /// Whether the settings a session begins with are permitted: they mean what SET would mean. Settings of the caller's encoding, formats and name
    /// need nothing; others need what their SET needs, and are recorded like it.
    ///
    /// # Errors
    /// The sentence for the caller.
    pub async fn check_settings(&mut self, settings: &[(&str, &[u8])], now: Timestamp) -> Result<(), String> {
        let asked: Vec<_> = settings.iter().filter(|(name, value)| !needs_nothing(name, value)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let source = self.guard.catalogs().clone();
        let (_, catalog) = self.guard.snapshots().current(&source, &self.connection, &self.database).await?;
        let text = asked.iter().map(|(name, value)| as_statement(name, value)).collect::<Result<Vec<_>, _>>()?.join("; ");
        let facts = Arc::new(classify::classify(&Statement { text: &text, parameters: None }, &catalog, &SessionView::default()));
        let (version, chain) = (self.guard.version(), self.chain());
        let case =
            Case { chain: &chain, connection: &self.connection, database: &self.database, facts: &facts, recent: decide::Recent::default(), now };
        let decision = decide::decide(&version, &case);
        if decision.outcome != Outcome::Allow {
            let names = asked.iter().map(|(name, _)| model::name::printable(name)).collect::<Vec<_>>().join(", ");
            return Err(format!("the session may not begin with these settings ({names}): {}", decision.reasons.join("; ")));
        }
        self.begins_with = Some((text, Decided::new(facts, decision, None)));
        Ok(())
    }

    /// What the target's own logs show of this session: the true identity and the session's id, at most 63 bytes, the id whole.
    #[must_use]
    pub fn application_name(&self) -> String {
        let id = self.session().to_string();
        let mut who = self.chain().to_string();
        who.truncate(63 - 1 - id.len());
        format!("{who} {id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_near() {
        assert_eq!(distance("prod-pg", "prod-pg"), 0);
        assert_eq!(distance("prod-pg", "prd-pg"), 1);
        assert_eq!(distance("prod-pg", "prod-gp"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert!(distance("prod-pg", &"x".repeat(1000)) > 100);
    }
}
