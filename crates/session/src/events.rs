//! What is written down of every act of governing: who did what to whom, and when.
//!
//! The kinds are part of what auditors search for; new ones are added, old ones never renamed. No secret and no statement stands in an event:
//! it names the held operation, session or token, and those who may can look there.

use std::net::IpAddr;

use model::{
    Actor, ConnectionName, Identity, IdentityName, ProviderName, SessionId, Timestamp, TokenId, VersionHash,
    hold::HoldRow,
    request::RequestRow,
    token::{TokenRow, TokenUse},
};
use serde_json::{Value, json};
use store::{
    Store, StoreError,
    state::{EndedSignIn, Event, IdentityKey, NewSignIn, OwnerLeft},
};

use crate::providers::EndedThere;

/// Writes an act down.
///
/// # Errors
/// The state store cannot be reached.
pub(crate) async fn append(store: &Store, event: Event) -> Result<(), StoreError> {
    store.state().append_event(&event).await.map(drop)
}

/// Writes down an act whose own row is stored already, with who and when: that this second note fails does not undo it.
pub(crate) async fn note(store: &Store, event: Event) {
    let kind = event.kind.clone();
    if let Err(error) = append(store, event).await {
        tracing::error!(kind, %error, "an act of governing was done and stored, and its event could not be written down");
    }
}

fn event(at: Timestamp, actor: &IdentityName, kind: &str, subject: impl ToString, detail: Value) -> Event {
    Event { at, actor: actor.clone(), kind: kind.to_owned(), subject: subject.to_string(), detail }
}

pub(crate) fn hold_signed(row: &HoldRow, signer: &Actor, digest: &str, now: Timestamp) -> Event {
    event(now, &signer.name, "hold.signed", row.id, json!({ "session": row.session, "requester": row.chain, "digest": digest }))
}

pub(crate) fn hold_denied(row: &HoldRow, signer: &Actor, reason: Option<&str>, now: Timestamp) -> Event {
    event(now, &signer.name, "hold.denied", row.id, json!({ "session": row.session, "requester": row.chain, "reason": reason }))
}

pub(crate) fn hold_ended(row: &HoldRow, watcher: &Actor, now: Timestamp) -> Event {
    event(now, &watcher.name, "hold.ended", row.id, json!({ "session": row.session, "requester": row.chain }))
}

pub(crate) fn hold_shown(row: &HoldRow, viewer: &Actor, now: Timestamp) -> Event {
    event(now, &viewer.name, "hold.shown", row.id, json!({ "session": row.session, "requester": row.chain }))
}

/// A request as events name it: its words and its statement are looked up there, by those who may.
fn about(row: &RequestRow) -> Value {
    let what = if row.statement.is_some() { "statement" } else { "role" };
    json!({ "requester": row.chain.to_string(), "connection": row.connection, "role": row.role, "for": what, "window_s": row.window_s })
}

fn with(mut detail: Value, more: Value) -> Value {
    if let (Value::Object(detail), Value::Object(more)) = (&mut detail, more) {
        detail.extend(more);
    }
    detail
}

pub(crate) fn access_requested(row: &RequestRow, now: Timestamp) -> Event {
    event(now, &row.chain.subject.name, "request.made", row.id, about(row))
}

pub(crate) fn request_signed(row: &RequestRow, signer: &Actor, digest: &str, now: Timestamp) -> Event {
    event(now, &signer.name, "request.signed", row.id, with(about(row), json!({ "digest": digest, "state": row.state })))
}

/// Denied, withdrawn or voided.
pub(crate) fn request_settled(row: &RequestRow, by: &Actor, now: Timestamp) -> Event {
    event(now, &by.name, "request.settled", row.id, with(about(row), json!({ "state": row.state })))
}

pub(crate) fn request_commented(row: &RequestRow, by: &Actor, now: Timestamp) -> Event {
    event(now, &by.name, "request.commented", row.id, about(row))
}

pub(crate) fn access_granted(row: &RequestRow, by: &Actor, now: Timestamp) -> Event {
    let signers: Vec<&IdentityName> = row.signatures.iter().map(|signature| &signature.signer).collect();
    let until = row.grant.as_ref().map(|grant| grant.until);
    event(now, &by.name, "grant.began", row.id, with(about(row), json!({ "group": row.group, "until": until, "signed_by": signers })))
}

pub(crate) fn grant_ended(row: &RequestRow, by: &Actor, ended: usize, now: Timestamp) -> Event {
    let reason = row.grant.as_ref().and_then(|grant| grant.ended.as_ref()).and_then(|end| end.reason.as_deref());
    event(now, &by.name, "grant.ended", row.id, with(about(row), json!({ "reason": reason, "sessions_ended": ended })))
}

pub(crate) fn policy_applied(hash: VersionHash, before: VersionHash, locks_everybody_out: bool, by: &IdentityName, now: Timestamp) -> Event {
    event(now, by, "policy.applied", hash, json!({ "before": before, "locks_everybody_out": locks_everybody_out }))
}

pub(crate) fn database_surveyed(connection: &ConnectionName, database: &str, rows: u32, viewer: &Actor, now: Timestamp) -> Event {
    event(now, &viewer.name, "database.surveyed", connection, json!({ "database": database, "rows": rows }))
}

pub(crate) fn token_minted(row: &TokenRow, now: Timestamp) -> Event {
    let class = match row.purpose {
        TokenUse::Connect => "connect",
        TokenUse::Api => "api",
        TokenUse::Delegate => "delegate",
        TokenUse::SshKey => "ssh-key",
        TokenUse::SshCertificate => "ssh-certificate",
    };
    let detail = json!({
        "subject": row.subject, "class": class, "connections": row.connections, "one_statement": row.statement.is_some(),
        "not_before": row.not_before, "expires_at": row.expires_at, "sign_in": row.sign_in, "trust": row.trust, "key": row.key, "run": row.run, "actors": row.actors, "parent": row.parent,
        "may_act": row.may_act, "bound_to": row.bound_to,
    });
    event(now, &row.minted_by, "token.minted", row.id, detail)
}

pub(crate) fn token_revoked(id: TokenId, subject: &IdentityName, ended: usize, by: &IdentityName, now: Timestamp) -> Event {
    event(now, by, "token.revoked", id, json!({ "subject": subject, "sessions_ended": ended }))
}

pub(crate) fn identity_added(identity: &Identity, now: Timestamp) -> Event {
    let detail = json!({
        "id": identity.id, "kind": identity.kind.as_str(), "groups": identity.groups, "owner": identity.owner,
        "purpose": identity.purpose, "expires_at": identity.expires_at,
    });
    event(now, &identity.created_by, "identity.added", &identity.name, detail)
}

pub(crate) fn sign_in_began(new: &NewSignIn, identity: &Identity, now: Timestamp) -> Event {
    let detail = json!({
        "sign_in": new.id, "provider": new.provider, "issuer": new.account.issuer, "subject": new.account.subject, "email": new.email,
        "groups": new.groups, "checkable": new.checkable,
    });
    event(now, &identity.name, "sign_in.began", &identity.name, detail)
}

pub(crate) fn sign_in_broke_glass(identity: &Identity, peer: IpAddr, wanted: &str, second_factor: bool, now: Timestamp) -> Event {
    let detail = json!({ "peer": peer, "for": wanted, "second_factor": second_factor });
    event(now, &identity.name, "sign_in.break_glass", &identity.name, detail)
}

pub(crate) fn sign_in_ended(ended: &EndedSignIn, by: &IdentityName, why: &str, sessions: usize, now: Timestamp) -> Event {
    let detail = json!({ "sign_in": ended.id, "why": why, "tokens_revoked": ended.tokens.len(), "sessions_ended": sessions });
    event(now, by, "sign_in.ended", &ended.identity, detail)
}

pub(crate) fn identity_changed(kind: &str, name: &IdentityName, detail: Value, by: &Actor, now: Timestamp) -> Event {
    event(now, &by.name, kind, name, detail)
}

/// Who does what the gateway does by itself. The name is nobody's.
///
/// # Errors
/// It is no name.
pub(crate) fn itself() -> Result<IdentityName, StoreError> {
    "countersign".parse().map_err(|_| StoreError::Lost)
}

pub(crate) fn identity_orphaned(identity: &Identity, why: OwnerLeft, by: &IdentityName, now: Timestamp) -> Event {
    let detail = json!({ "owner": identity.owner, "why": why.as_str(), "deadline": identity.expires_at });
    event(now, by, "identity.orphaned", &identity.name, detail)
}

pub(crate) fn identity_expiring(identity: &Identity, by: &IdentityName, now: Timestamp) -> Event {
    event(now, by, "identity.expiring", &identity.name, json!({ "owner": identity.owner, "expires_at": identity.expires_at }))
}

pub(crate) fn provider_revoked(name: &ProviderName, why: Option<&str>, ended: EndedThere, by: &Actor, now: Timestamp) -> Event {
    let detail = json!({ "reason": why, "sign_ins_ended": ended.sign_ins, "tokens_revoked": ended.tokens, "sessions_ended": ended.sessions });
    event(now, &by.name, "provider.revoked", name, detail)
}

pub(crate) fn provider_allowed(name: &ProviderName, by: &Actor, now: Timestamp) -> Event {
    event(now, &by.name, "provider.allowed", name, json!({}))
}

pub(crate) fn key_expiring(identity: &Identity, key: &IdentityKey, by: &IdentityName, now: Timestamp) -> Event {
    let detail = json!({ "owner": identity.owner, "key": key.id, "expires_at": key.expires_at, "last_used": key.last_used });
    event(now, by, "identity.key_expiring", &identity.name, detail)
}

pub(crate) fn owner_is_back(identity: &Identity, by: &IdentityName, now: Timestamp) -> Event {
    event(now, by, "identity.owner_back", &identity.name, json!({ "owner": identity.owner, "expires_at": identity.expires_at }))
}

pub(crate) fn orphan_stopped(identity: &Identity, by: &IdentityName, now: Timestamp) -> Event {
    event(now, by, "identity.stopped", &identity.name, json!({ "owner": identity.owner, "orphaned_at": identity.orphaned_at }))
}

pub(crate) fn session_killed(session: SessionId, why: Option<&str>, by: &Actor, now: Timestamp) -> Event {
    event(now, &by.name, "session.killed", session, json!({ "why": why }))
}

pub(crate) fn recording_read(session: SessionId, how: &str, by: &Actor, now: Timestamp) -> Event {
    event(now, &by.name, "recording.read", session, json!({ "how": how }))
}
