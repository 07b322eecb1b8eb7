//! The connections a caller may open.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered},
    types::{ConnectionView, ConnectionsAnswer, Refusal},
};

/// The connections the caller may open, and where.
#[utoipa::path(get, path = "/v1/connections", responses((status = 200, description = "Connections", body = ConnectionsAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn list(caller: Caller, State(api): State<Arc<Api>>) -> Answered<ConnectionsAnswer> {
    let version = api.guard.version();
    let open = api.guard.open_connections(&caller.chain, caller.now);
    let connections = open.iter().filter_map(|name| version.connections.get(name)).map(|connection| ConnectionView {
        name: connection.name.clone(),
        protocol: connection.protocol.as_str().to_owned(),
        environment: connection.environment.clone(),
        description: connection.description.clone(),
        tags: connection.tags.clone(),
        database: connection.database.clone(),
        record: connection.record,
    });
    Ok(Answer(ConnectionsAnswer { connections: connections.collect(), gateway: api.gateway.clone() }))
}
