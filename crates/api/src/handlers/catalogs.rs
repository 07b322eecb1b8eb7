//! What a target holds: catalog snapshots, for policy tests, and what samples of its values speak for.

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use model::{Connection, ConnectionName, SystemAction};
use policy::{classify::postgres::catalog::Catalog, survey::Report};
use serde::Deserialize;
use session::{survey::Wish, tokens::unknown_connection};

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path, Query},
    refused::Refused,
    types::Refusal,
};

/// Which database's catalog.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    database: Option<String>,
}

/// How a database is sampled.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SurveyRequest {
    /// The database; the connection's own if none is given.
    database: Option<String>,
    /// How many rows of each table; 500 if it is not said.
    rows: Option<u32>,
    /// After how many seconds no further table is begun; 60 if it is not said.
    seconds: Option<u64>,
}

const ROWS: u32 = 500;
const SECONDS: u64 = 60;

/// The catalog of a connection's database, read now.
#[utoipa::path(get, path = "/v1/connections/{connection}/catalog",
    params(("connection" = String, Path, description = "The connection"), ("database" = Option<String>, Query, description = "The database; the connection's own if none is given")),
    responses((status = 200, description = "The snapshot", body = Object), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such connection", body = Refusal)))]
pub(crate) async fn export(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<ConnectionName>,
    Query(wanted): Query<Wanted>,
) -> Answered<Catalog> {
    caller.must_any(&api, &[SystemAction::Administer, SystemAction::Audit])?;
    let (connection, database) = reached(&caller, &api, &name, wanted.database)?;
    let catalog = api.guard.catalogs().read(&connection, &database, None).await.map_err(Refused::unavailable)?;
    Ok(Answer(catalog))
}

/// Which columns hold sensitive values, as samples of them say. Values stay in the gateway: the answer has counts.
#[utoipa::path(post, path = "/v1/connections/{connection}/classify", request_body = SurveyRequest,
    params(("connection" = String, Path, description = "The connection")),
    responses((status = 200, description = "What the samples say", body = Object), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such connection", body = Refusal)))]
pub(crate) async fn classify(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<ConnectionName>,
    Body(request): Body<SurveyRequest>,
) -> Answered<Report> {
    caller.must(&api, SystemAction::Administer)?;
    let (connection, database) = reached(&caller, &api, &name, request.database)?;
    let within = Duration::from_secs(request.seconds.unwrap_or(SECONDS));
    let wish = Wish { connection: &connection, database: &database, rows: request.rows.unwrap_or(ROWS), within };
    Ok(Answer(api.guard.survey(wish, &caller.actor, caller.now).await?))
}

/// A connection and one of its databases.
fn reached(caller: &Caller, api: &Api, name: &ConnectionName, database: Option<String>) -> Result<(Arc<Connection>, String), Refused> {
    let version = api.guard.version();
    let Some(connection) = version.connections.get(name) else {
        let open = api.guard.open_connections(&caller.chain, caller.now);
        return Err(Refused::not_found(unknown_connection(name, &caller.actor.name, &open)));
    };
    let database = database.unwrap_or_else(|| connection.database.clone());
    if !connection.databases.is_empty() && database != connection.database && !connection.databases.contains(&database) {
        return Err(Refused::not_found(format!("connection {name} reaches no database {}", model::name::printable(&database))));
    }
    Ok((connection.clone(), database))
}
