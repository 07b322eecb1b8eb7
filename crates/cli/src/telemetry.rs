//! Traces of sessions, posted to a collector as OTLP over HTTP in JSON: <https://opentelemetry.io/docs/specs/otlp/>.
//!
//! Spans are collected for a few seconds and sent together. A collector that is away costs spans, nothing else: they are tried a few times, then
//! dropped and counted.

mod otlp;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, header};
use rustls::pki_types::ServerName;
use session::trace::{Finished, Traces};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    client::{self, converse},
    config::telemetry::{Endpoint, Telemetry},
};

/// How long spans are collected, and how many go together at most.
const COLLECT: Duration = Duration::from_secs(2);
const MAX_BATCH: usize = 512;
/// How often a batch is tried, how long between, and how long one try may take.
const TRIES: u32 = 3;
const TRY_AGAIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer of a collector that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The sending of spans, as long as the gateway runs.
pub(crate) struct Sending {
    traces: Traces,
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Sending {
    /// Begins to send, if a collector is configured.
    ///
    /// # Errors
    /// The roots its certificate is checked by cannot be read.
    pub(crate) fn begin(config: &Telemetry) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &config.otlp else { return Ok(None) };
        let tls = if endpoint.tls { Some(tls(config).context("[telemetry]")?) } else { None };
        let (traces, spans) = Traces::taken();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let sender = Sender { endpoint: endpoint.clone(), tls, traces: traces.clone(), lost: 0, reaches: true };
        tracing::info!(%endpoint, "sessions are traced");
        Ok(Some(Self { traces, stop, task: tokio::spawn(sender.send_all(spans, stopped)) }))
    }

    /// Where spans go.
    pub(crate) fn traces(&self) -> Traces {
        self.traces.clone()
    }

    /// Sends what there is, and ends.
    pub(crate) async fn finish(self) {
        let _ = self.stop.send(());
        let _ = timeout(PATIENCE, self.task).await;
    }
}

fn tls(config: &Telemetry) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let ca = match &config.ca {
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?),
        None => None,
    };
    client::tls(ca.as_deref())
}

struct Sender {
    endpoint: Endpoint,
    tls: Option<Arc<rustls::ClientConfig>>,
    traces: Traces,
    /// Spans that could not be delivered.
    lost: u64,
    /// Whether the last batch arrived: a change is logged, once.
    reaches: bool,
}

impl Sender {
    async fn send_all(mut self, mut spans: mpsc::Receiver<Finished>, mut stopped: tokio::sync::oneshot::Receiver<()>) {
        let mut turns = interval(COLLECT);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            let last = tokio::select! {
                _ = turns.tick() => false,
                _ = &mut stopped => true,
            };
            loop {
                while batch.len() < MAX_BATCH
                    && let Ok(span) = spans.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    break;
                }
                self.deliver(&batch, if last { 1 } else { TRIES }).await;
                batch.clear();
            }
            if last {
                return;
            }
        }
    }

    async fn deliver(&mut self, batch: &[Finished], tries: u32) {
        let body = match serde_json::to_vec(&otlp::request(batch)) {
            Ok(body) => Bytes::from(body),
            Err(error) => return tracing::error!(%error, "spans could not be written"),
        };
        let mut why = String::new();
        for attempt in 0..tries {
            if attempt > 0 {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            match timeout(PATIENCE, self.post(body.clone())).await {
                Ok(Ok(())) => return self.note_success(),
                Ok(Err(error)) => why = format!("{error:#}"),
                Err(_) => "it does not answer".clone_into(&mut why),
            }
        }
        self.lost += batch.len() as u64;
        if std::mem::take(&mut self.reaches) {
            let why = model::name::printable(&why);
            tracing::warn!(endpoint = %self.endpoint, %why, "the collector of traces cannot be reached: spans are dropped until it can");
        }
    }

    fn note_success(&mut self) {
        if !std::mem::replace(&mut self.reaches, true) {
            tracing::info!(endpoint = %self.endpoint, dropped = self.lost + self.traces.lost(), "the collector of traces is there again");
        }
    }

    async fn post(&self, body: Bytes) -> anyhow::Result<()> {
        let request = Request::post(&self.endpoint.path)
            .header(header::HOST, self.endpoint.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let stream = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port)).await?;
        let response = match &self.tls {
            None => converse(stream, request).await?,
            Some(tls) => {
                let name = ServerName::try_from(self.endpoint.host.clone())?;
                converse(tokio_rustls::TlsConnector::from(tls.clone()).connect(name, stream).await?, request).await?
            }
        };
        let status = response.status();
        // Read to its end, so that the collector does not see its answer refused.
        let _ = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        if status == StatusCode::OK { Ok(()) } else { bail!("it answered with status {status}") }
    }
}
