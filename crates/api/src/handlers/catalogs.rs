//! Catalog snapshots, for policy tests.

use std::sync::Arc;

use axum::extract::State;
use model::{ConnectionName, SystemAction};
use policy::{classify::postgres::catalog::Catalog, decide};
use serde::Deserialize;
use session::tokens::unknown_connection;

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Path, Query},
    refused::Refused,
    types::Refusal,
};

/// Which database's catalog.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    database: Option<String>,
}

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
    let version = api.guard.version();
    let Some(connection) = version.connections.get(&name) else {
        let open = decide::visible_connections(&version, &caller.chain, caller.now);
        return Err(Refused::not_found(unknown_connection(&name, &caller.actor.name, &open)));
    };
    let database = wanted.database.as_deref().unwrap_or(&connection.database);
    if !connection.databases.is_empty() && database != connection.database && !connection.databases.iter().any(|known| known == database) {
        return Err(Refused::not_found(format!("connection {name} reaches no database {}", model::name::printable(database))));
    }
    let catalog = api.guard.catalogs().read(connection, database, None).await.map_err(Refused::unavailable)?;
    Ok(Answer(catalog))
}
