//! Secrets of targets in the encrypted store. They go in; nothing here lets one out.

use std::sync::Arc;

use axum::extract::State;
use model::SystemAction;
use store::{secrets::MAX_SECRET_BYTES, state::Event};

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path},
    refused::Refused,
    types::{Refusal, SecretRequest, SecretView, SecretsAnswer},
};

/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// Names of the stored secrets.
#[utoipa::path(get, path = "/v1/secrets", responses((status = 200, description = "Names", body = SecretsAnswer), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn list(caller: Caller, State(api): State<Arc<Api>>) -> Answered<SecretsAnswer> {
    caller.must(&api, SystemAction::Administer)?;
    let rows = api.guard.store().secrets().list().await?;
    let secrets =
        rows.into_iter().map(|row| SecretView { name: row.name, created_at: row.created_at, updated_at: row.updated_at, updated_by: row.updated_by });
    Ok(Answer(SecretsAnswer { secrets: secrets.collect() }))
}

/// Keep a secret.
#[utoipa::path(put, path = "/v1/secrets/{name}", request_body = SecretRequest, params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "Kept"), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn set(caller: Caller, State(api): State<Arc<Api>>, Path(name): Path<String>, Body(request): Body<SecretRequest>) -> Answered<()> {
    caller.must(&api, SystemAction::Administer)?;
    check_name(&name)?;
    if request.value.0.reveal().is_empty() || request.value.0.reveal().len() > MAX_SECRET_BYTES {
        return Err(Refused::invalid(format!("a secret has 1 to {MAX_SECRET_BYTES} bytes")));
    }
    note(&api, &caller, "secret.set", &name).await?;
    api.guard.store().secrets().put(&name, &request.value.0, &caller.actor.name, caller.now).await?;
    Ok(Answer(()))
}

/// Forget a secret.
#[utoipa::path(delete, path = "/v1/secrets/{name}", params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "Forgotten"), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such secret", body = Refusal)))]
pub(crate) async fn delete(caller: Caller, State(api): State<Arc<Api>>, Path(name): Path<String>) -> Answered<()> {
    caller.must(&api, SystemAction::Administer)?;
    check_name(&name)?;
    note(&api, &caller, "secret.deleted", &name).await?;
    if api.guard.store().secrets().delete(&name).await? { Ok(Answer(())) } else { Err(Refused::not_found(format!("no secret {name}"))) }
}

fn check_name(name: &str) -> Result<(), Refused> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain && !name.is_empty() && name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(Refused::invalid(format!("a secret's name has 1 to {MAX_NAME_BYTES} letters, digits, `-`, `_` or `.`")))
}

/// Written down before it is done: an act that cannot be recorded does not happen.
async fn note(api: &Api, caller: &Caller, kind: &str, name: &str) -> Result<(), Refused> {
    let event =
        Event { at: caller.now, actor: caller.actor.name.clone(), kind: kind.to_owned(), subject: name.to_owned(), detail: serde_json::json!({}) };
    api.guard.store().state().append_event(&event).await?;
    Ok(())
}
