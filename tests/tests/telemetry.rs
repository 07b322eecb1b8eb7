//! Traces of sessions as a collector receives them.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    authority::Authority,
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    wire::{Wire, query},
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;

/// Something that takes OTLP over HTTP.
struct Collector {
    address: SocketAddr,
    bodies: mpsc::Receiver<(String, Vec<u8>)>,
}

impl Collector {
    fn listen(at: SocketAddr) -> Result<Self> {
        Self::listen_by(at, take::<TcpStream>)
    }

    /// The same inside TLS.
    fn listen_with_tls(authority: &Authority) -> Result<Self> {
        let signed = authority.server()?;
        let chain = CertificateDer::pem_slice_iter(signed.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let config = Arc::new(config.with_safe_default_protocol_versions()?.with_no_client_auth().with_single_cert(chain, key)?);
        Self::listen_by(SocketAddr::from(([127, 0, 0, 1], 0)), move |stream| take(StreamOwned::new(ServerConnection::new(config.clone())?, stream)))
    }

    fn listen_by(at: SocketAddr, take: impl Fn(TcpStream) -> Result<(String, Vec<u8>)> + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind(at)?;
        let address = listener.local_addr()?;
        let (sender, bodies) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(posted) = take(stream) else { continue };
                if sender.send(posted).is_err() {
                    return;
                }
            }
        });
        Ok(Self { address, bodies })
    }

    /// What it receives until `enough` says so, with everything received in one text.
    fn spans_until(&self, enough: impl Fn(&[Span]) -> bool) -> Result<(Vec<Span>, String)> {
        let (mut spans, mut text, end) = (Vec::new(), String::new(), Instant::now() + PATIENCE);
        while !enough(&spans) {
            let left = end.saturating_duration_since(Instant::now());
            let (head, body) = self.bodies.recv_timeout(left).with_context(|| format!("not enough came: {spans:#?}"))?;
            ensure!(head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.to_lowercase().contains("content-type: application/json"), "{head}");
            text += std::str::from_utf8(&body)?;
            spans.extend(read(&serde_json::from_slice(&body)?)?);
        }
        Ok((spans, text))
    }
}

/// Reads a request and answers it.
fn take<S: Read + Write>(stream: S) -> Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let before = head.len();
        ensure!(reader.read_line(&mut head)? > 0, "it ended early");
        if let Some(value) = head.get(before..).unwrap_or_default().to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut stream = reader.into_inner();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")?;
    stream.flush()?;
    Ok((head, body))
}

#[derive(Debug, Clone)]
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    name: String,
    nanoseconds: u128,
    failed: bool,
    attributes: BTreeMap<String, String>,
}

fn read(request: &Value) -> Result<Vec<Span>> {
    let spans = request.pointer("/resourceSpans/0/scopeSpans/0/spans").and_then(Value::as_array).context("no spans")?;
    let text = |value: &Value, at: &str| value.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let span = |value: &Value| -> Result<Span> {
        let number = |at: &str| -> Result<u128> { Ok(text(value, at).context("no time")?.parse()?) };
        let attributes = value.pointer("/attributes").and_then(Value::as_array).context("no attributes")?;
        Ok(Span {
            trace: text(value, "/traceId").context("no trace")?,
            id: text(value, "/spanId").context("no id")?,
            parent: text(value, "/parentSpanId").filter(|id| !id.is_empty()),
            name: text(value, "/name").context("no name")?,
            nanoseconds: number("/endTimeUnixNano")?.checked_sub(number("/startTimeUnixNano")?).context("it ended before it began")?,
            failed: value.pointer("/status/code") == Some(&Value::from(2)),
            attributes: attributes.iter().filter_map(|each| Some((text(each, "/key")?, text(each, "/value/stringValue")?))).collect(),
        })
    };
    spans.iter().map(span).collect()
}

fn named<'a>(spans: &'a [Span], name: &'a str) -> impl Iterator<Item = &'a Span> {
    spans.iter().filter(move |span| span.name == name)
}

fn start(target: &Postgres, telemetry: &str) -> Result<Gateway> {
    start_with(target, telemetry, |_| Ok(()))
}

fn start_with(target: &Postgres, telemetry: &str, change: impl FnOnce(&Setup) -> Result<()>) -> Result<Gateway> {
    target.sql(DATABASE, "create table t (id int); alter table t owner to app")?;
    let setup = Setup::init()?;
    setup.target(target, DATABASE, "")?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("{before}[telemetry]\n{telemetry}\n"))?;
    change(&setup)?;
    let mut gateway = setup.serve()?;
    for (name, group) in [("alice", "engineers"), ("bob", "dba")] {
        gateway.add_user(name, &[group])?;
    }
    Ok(gateway)
}

#[test]
fn a_session_is_one_trace_from_its_sign_in_to_its_end_and_tells_no_statement_or_secret() -> Result<()> {
    let target = Postgres::start()?;
    let collector = Collector::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let gateway = start(&target, &format!("otlp = \"http://{}\"", collector.address))?;
    let alice = gateway.login("alice")?;

    // A password where the name belongs, and a connection that does not exist.
    ensure!(Wire::open(&Login { user: "typed-in-the-wrong-place".to_owned(), ..alice.clone().without_tls() }, &[]).is_err());
    ensure!(Wire::open(&Login { database: "pasted-in-the-wrong-place".to_owned(), ..alice.clone().without_tls() }, &[]).is_err());

    let mut psql = alice.psql(&target.program("psql"))?.start()?;
    psql.type_line("select 'a literal' as a_column; drop table t;")?;
    let notice = psql.wait_for("held for approval", PATIENCE)?;
    let hold = notice.rsplit(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("h_")).context("no hold")?.to_owned();
    gateway.run("bob", &["approve", &hold, "--yes"])?;
    psql.wait_for("DROP TABLE", PATIENCE)?;
    ensure!(psql.finish(PATIENCE)?.0.success());

    let (spans, text) = collector.spans_until(|spans| named(spans, "session").next().is_some() && named(spans, "login").count() >= 3)?;
    let session = named(&spans, "session").next().context("no session")?;
    let login = spans.iter().find(|span| Some(&span.id) == session.parent.as_ref()).context("no login")?;
    ensure!(login.name == "login" && login.parent.is_none() && !login.failed && login.trace == session.trace);
    ensure!(login.attributes.get("client.address").is_some_and(|address| address == "127.0.0.1"));
    for part in ["sign_in", "admit", "dial"] {
        let parts: Vec<_> = named(&spans, part).filter(|span| span.trace == login.trace).collect();
        ensure!(
            parts.len() == 1 && parts.iter().all(|span| span.parent.as_ref() == Some(&login.id) && span.nanoseconds <= login.nanoseconds),
            "{part}: {parts:?}"
        );
    }
    let attribute = |span: &Span, name: &str| span.attributes.get(&format!("countersign.{name}")).cloned().unwrap_or_default();
    ensure!(attribute(session, "chain") == "alice" && attribute(session, "connection") == CONNECTION && attribute(session, "operations") == "2");
    let held = named(&spans, "hold").next().context("no hold")?;
    ensure!(held.parent.as_ref() == Some(&session.id) && attribute(held, "hold") == hold, "{held:?}");
    ensure!(attribute(held, "outcome") == "approved" && attribute(held, "signatures") == "1", "{held:?}");

    let refused: Vec<_> = named(&spans, "login").filter(|span| span.failed).collect();
    let codes: Vec<_> = refused.iter().filter_map(|span| span.attributes.get("db.response.status_code")).collect();
    ensure!(codes.iter().any(|code| *code == "28P01") && codes.iter().any(|code| *code == "3D000"), "{refused:?}");
    for secret in ["wrong-place", "literal", "a_column", "drop", "password", "select"] {
        ensure!(!text.contains(secret), "{secret} is in {text}");
    }
    Ok(())
}

#[test]
fn a_collector_that_is_away_costs_its_spans_and_nothing_else() -> Result<()> {
    let target = Postgres::start()?;
    // A port where nobody listens, until later.
    let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let gateway = start(&target, &format!("otlp = \"http://{address}\""))?;
    let work = || -> Result<()> {
        let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
        wire.say(&query("select 1"))?;
        wire.hear_until_ready(1).map(drop)
    };
    work()?;
    let end = Instant::now() + PATIENCE;
    while !gateway.printed().contains("the collector of traces cannot be reached") {
        ensure!(Instant::now() < end, "{}", gateway.printed());
        thread::park_timeout(Duration::from_millis(10));
    }
    work()?;
    let collector = Collector::listen(address)?;
    work()?;
    collector.spans_until(|spans| named(spans, "session").next().is_some())?;
    let end = Instant::now() + PATIENCE;
    while !gateway.printed().contains("is there again") {
        ensure!(Instant::now() < end, "{}", gateway.printed());
        thread::park_timeout(Duration::from_millis(10));
    }
    ensure!(gateway.printed().matches("cannot be reached").count() == 1, "{}", gateway.printed());
    // What is under way when the gateway ends is sent as it ends.
    let mut gateway = gateway;
    gateway.signal(rustix::process::Signal::TERM)?;
    ensure!(gateway.ended_within(PATIENCE) == Some(0));
    Ok(())
}

#[test]
fn a_collector_is_reached_inside_tls_by_its_authority_alone() -> Result<()> {
    let target = Postgres::start()?;
    let authority = Authority::new("authority of a collector")?;
    let collector = Collector::listen_with_tls(&authority)?;
    let telemetry = format!("otlp = \"https://{}\"\nca = \"collector-ca.pem\"", collector.address);
    let mut gateway = start_with(&target, &telemetry, |setup| setup.write("collector-ca.pem", &Authority::new("somebody else")?.certificate))?;
    let end = Instant::now() + PATIENCE;
    while !gateway.printed().contains("the collector of traces cannot be reached") {
        Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
        ensure!(Instant::now() < end, "{}", gateway.printed());
    }
    gateway.kill();
    gateway.setup().write("collector-ca.pem", &authority.certificate)?;
    gateway.start_again()?;
    Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    collector.spans_until(|spans| named(spans, "session").next().is_some()).map(drop)
}
