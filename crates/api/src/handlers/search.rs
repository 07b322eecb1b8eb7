//! Finding operations in all recordings.

use std::sync::Arc;

use axum::extract::State;
use model::SystemAction;
use serde::Deserialize;
use store::{index::Hit, search::Query as Wanted, state::Event};

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Query},
    refused::Refused,
    types::{HitView, Refusal, SearchAnswer},
};

/// What to find.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    q: String,
}

/// Operations that match a query, newest first: the caller's own; auditors find those of all.
#[utoipa::path(get, path = "/v1/search", params(("q" = String, Query, description = "Words and filters: `drop identity:alice risk:>=4 since:2h`")),
    responses((status = 200, description = "What was found", body = SearchAnswer), (status = 400, description = "The query makes no sense", body = Refusal)))]
pub(crate) async fn search(caller: Caller, State(api): State<Arc<Api>>, Query(asked): Query<Asked>) -> Answered<SearchAnswer> {
    let mut query = Wanted::parse(&asked.q, caller.now).map_err(|error| Refused::invalid(error.to_string()))?;
    let audits = api.guard.may(&caller.actor, SystemAction::Audit, caller.now);
    if !audits {
        query.identities.push(caller.actor.name.clone());
    }
    api.catch_up().await?;
    let mut hits = api.guard.store().index().search(&query).await?;
    hits.retain(|hit| audits || is_subject(hit, &caller));
    let sessions: std::collections::BTreeSet<String> = hits.iter().map(|hit| hit.session.to_string()).collect();
    let event = Event {
        at: caller.now,
        actor: caller.actor.name.clone(),
        kind: "recordings.searched".to_owned(),
        subject: caller.actor.name.to_string(),
        detail: serde_json::json!({ "hits": hits.len(), "sessions": sessions }),
    };
    api.guard.store().state().append_event(&event).await?;
    Ok(Answer(SearchAnswer { hits: hits.into_iter().map(view).collect() }))
}

/// Whether it ran on the caller's behalf: the first of the chain is the subject.
fn is_subject(hit: &Hit, caller: &Caller) -> bool {
    hit.chain.split(" via ").next() == Some(caller.actor.name.as_str())
}

fn view(hit: Hit) -> HitView {
    HitView {
        session: hit.session,
        op: hit.op,
        at: hit.at,
        chain: hit.chain,
        connection: hit.connection,
        database: hit.database,
        statement: hit.statement,
        decision: hit.decision,
        policies: hit.policies,
        signers: hit.signers,
        masked: hit.masked,
        risk: hit.risk,
        rows: hit.rows,
        duration_us: hit.duration_us,
        error: hit.error,
    }
}
