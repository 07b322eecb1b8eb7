//! Who can do something to an object, and who did.

use std::sync::Arc;

use axum::extract::State;
use model::{Action, ConnectionName};
use serde::Deserialize;
use session::who::Deed;

use super::{before, identities};
use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Query},
    refused::Refused,
    types::{Place, Refusal, TouchedView, WhoCanAnswer, WhoTouchedAnswer},
};

/// How far back is looked if nobody says, in seconds.
const DEFAULT_SINCE_S: u64 = 30 * 86_400;

/// What could be done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Could {
    action: Action,
    on: String,
}

/// What was touched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Touched {
    on: String,
    since_s: Option<u64>,
}

/// Who can do something, by the policies in force: identities the caller may see.
#[utoipa::path(get, path = "/v1/who-can",
    params(("action" = String, Query, description = "The action"), ("on" = String, Query, description = "CONNECTION or CONNECTION/schema.table")),
    responses((status = 200, description = "Who", body = WhoCanAnswer), (status = 404, description = "No such connection", body = Refusal)))]
pub(crate) async fn can(caller: Caller, State(api): State<Arc<Api>>, Query(could): Query<Could>) -> Answered<WhoCanAnswer> {
    let place: Place = could.on.parse().map_err(Refused::invalid)?;
    let connection: ConnectionName = place.connection.ok_or_else(|| Refused::invalid("say on which connection: CONNECTION/schema.table"))?;
    let relation = place.relation.as_ref().map(|(schema, table)| (schema.as_str(), table.as_str()));
    let who = api.guard.who_can(Deed { action: could.action, connection: &connection, relation }, &caller.actor, caller.now).await?;
    Ok(Answer(WhoCanAnswer { who: who.into_iter().map(Into::into).collect() }))
}

/// Who did what to a table, from the records: identities the caller may see.
#[utoipa::path(get, path = "/v1/who-touched",
    params(("on" = String, Query, description = "schema.table or CONNECTION/schema.table"), ("since_s" = Option<u64>, Query, description = "How far back, in seconds: 30 days")),
    responses((status = 200, description = "Who", body = WhoTouchedAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn touched(caller: Caller, State(api): State<Arc<Api>>, Query(touched): Query<Touched>) -> Answered<WhoTouchedAnswer> {
    let place: Place = touched.on.parse().map_err(Refused::invalid)?;
    let (schema, table) = place.relation.ok_or_else(|| Refused::invalid("say which table: schema.table or CONNECTION/schema.table"))?;
    let since = before(caller.now, touched.since_s.unwrap_or(DEFAULT_SINCE_S))?;
    api.catch_up().await?;
    let relation = format!("{schema}.{table}");
    let uses = api.guard.who_touched(&relation, place.connection.as_ref(), since, &caller.actor, caller.now).await?;
    let touched = uses.into_iter().map(|one| TouchedView { identity: one.identity.clone(), used: identities::used(one) });
    Ok(Answer(WhoTouchedAnswer { touched: touched.collect() }))
}
