//! `/metrics` and `/healthz`, on a loopback listener of their own: numbers only, no names.

use std::sync::{Arc, atomic::AtomicU64};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use session::Guard;

use crate::Api;

/// What is counted here; the rest is asked when somebody looks.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Status, Counter>,
    live_sessions: Gauge,
    waiting_holds: Gauge,
    state_up: Gauge,
    recordings_up: Gauge,
    started_at: Gauge<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("countersign");
        let requests = Family::<Status, Counter>::default();
        let (live_sessions, waiting_holds, state_up, recordings_up) = (Gauge::default(), Gauge::default(), Gauge::default(), Gauge::default());
        let started_at = Gauge::<f64, AtomicU64>::default();
        registry.register("api_requests", "Requests of the HTTP API, by status", requests.clone());
        registry.register("live_sessions", "Sessions that live now", live_sessions.clone());
        registry.register("waiting_holds", "Operations that wait for a signature", waiting_holds.clone());
        registry.register("state_up", "Whether the state store answered when it was last asked", state_up.clone());
        registry.register("recordings_up", "Whether recordings can be written, as far as the last attempt says", recordings_up.clone());
        registry.register("start_time_seconds", "When the process began, in seconds since 1970-01-01 UTC", started_at.clone());
        Self { registry, requests, live_sessions, waiting_holds, state_up, recordings_up, started_at }
    }

    /// Counts an answer of the API.
    pub(crate) fn answered(&self, status: u16) {
        self.requests.get_or_create(&Status { status }).inc();
    }
}

/// The router of the listener for measurements.
pub fn watch_router(api: Arc<Api>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz)).with_state(api)
}

async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let metrics = &api.metrics;
    metrics.live_sessions.set(count(api.guard.live().count()));
    metrics.waiting_holds.set(count(api.guard.approvals().count()));
    metrics.state_up.set(i64::from(api.guard.state_is_there()));
    metrics.recordings_up.set(i64::from(api.guard.store().recordings().standing().writable));
    metrics.started_at.set(api.since.as_duration().as_secs_f64());
    let mut text = String::new();
    match encode(&mut text, &metrics.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], String::new()),
    }
}

async fn healthz(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let troubles = troubles(&api.guard);
    if troubles.is_empty() { (StatusCode::OK, "ok\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n") }
}

/// What keeps sessions from beginning, a sentence each.
pub(crate) fn troubles(guard: &Guard) -> Vec<String> {
    let state = (!guard.state_is_there()).then_some("the state store does not answer: no session can begin, and live ones end after the grace");
    let recordings = (!guard.store().recordings().standing().writable).then_some("recordings cannot be written: no session can begin");
    state.into_iter().chain(recordings).map(str::to_owned).collect()
}
