//! The door itself: crowds and silence at it, and what may not be said in clear on either side of the gateway.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{Login, script},
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    tls::trusting,
    wire::{Wire, message, query, startup, text},
};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::net::TcpSocket;

/// SSLRequest: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

fn serve(target: &Postgres, more: &str) -> Result<Gateway> {
    let setup = Setup::init()?;
    setup.permit_all()?;
    setup.target(target, DATABASE, "")?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write(
        "countersign.toml",
        &before.replace("postgres = \"127.0.0.1:0\"", "postgres = \"0.0.0.0:0\"").replacen("[listen]", &format!("{more}[listen]"), 1),
    )?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    Ok(gateway)
}

/// A connection that comes from this address.
fn from(address: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connected = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(address), 0))?;
        socket.connect(to).await
    });
    let stream = connected?.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// An address of this machine that is not loopback, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?; // sends nothing
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

/// Everything the server says until it closes the connection.
fn said(stream: &mut TcpStream) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(said),
    }
}

/// NEAR-01: who says nothing keeps only places of its own address, for as long as a login may take, and slows nobody else.
#[test]
fn near_01_six_hundred_silent_sockets_of_one_address_neither_slow_a_login_from_another_nor_take_all_places() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = serve(&target, "[limits]\nmax_logins = 120\nmax_logins_per_address = 100\nlogin_timeout_ms = 120000\n")?;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, gateway.port()?));
    let mut silent = (0..600).map(|_| TcpStream::connect(at)).collect::<Result<Vec<_>, _>>()?;
    let mut last = silent.pop().context("no socket")?;
    let told = String::from_utf8_lossy(&said(&mut last)?).into_owned();
    ensure!(told.starts_with('E') && told.contains("53300") && told.contains("from this address"), "{told:?}");

    let began = Instant::now();
    let mut wire = Wire::over(from(Ipv4Addr::new(127, 0, 0, 2), at)?, &gateway.login("alice")?.without_tls(), &[])?;
    wire.say(&query("select 'in'"))?;
    wire.hear_until_ready(1)?;
    ensure!(began.elapsed() < Duration::from_secs(20), "{:?} beside {} silent sockets", began.elapsed(), silent.len());
    // When they leave there is room again.
    drop(silent);
    let end = Instant::now() + PATIENCE;
    while Wire::open(&gateway.login("alice")?.without_tls(), &[]).is_err() {
        ensure!(Instant::now() < end, "their places never came free");
    }
    Ok(())
}

/// What came in clear before the handshake is no part of what is said inside TLS (the class of CVE-2021-23214).
#[test]
fn what_is_stuffed_behind_a_request_for_tls_is_never_taken_for_what_is_said_inside() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = serve(&target, "")?;
    let login = gateway.login("alice")?;
    let plain =
        [startup([("user", "alice"), ("database", CONNECTION)].iter()), message(b'p', &[text(&login.password)]), query("select 'stuffed'")].concat();
    // In one piece it is said so; behind the consent it is no TLS, which is answered with an alert (RFC 8446 section 6) or nothing.
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port()?))?;
    stream.write_all(&[&SSL_REQUEST[..], &plain].concat())?;
    let told = String::from_utf8_lossy(&said(&mut stream)?).into_owned();
    ensure!(told.starts_with('E') && told.contains("unencrypted data after SSL request"), "{told:?}");
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port()?))?;
    stream.write_all(&SSL_REQUEST)?;
    let mut consent = [0];
    stream.read_exact(&mut consent)?;
    stream.write_all(&plain)?;
    let answer = said(&mut stream)?;
    ensure!(consent == *b"S" && answer.first().is_none_or(|kind| *kind == 21), "{consent:?} {answer:?}");
    ensure!(!target.log()?.contains("stuffed") && gateway.json("alice", &["sessions"])?.pointer("/sessions/0").is_none(), "somebody was let in");
    Ok(())
}

/// A request for encryption is one question; asked again it is no startup packet either.
#[test]
fn requests_for_encryption_are_answered_once_each() -> Result<()> {
    const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
    let target = Postgres::start()?;
    let gateway = serve(&target, "")?;
    for (second, closes) in [(GSS_REQUEST, &b"E"[..]), (SSL_REQUEST, b"S")] {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port()?))?;
        stream.write_all(&GSS_REQUEST)?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        ensure!(answer == *b"N", "{answer:?}");
        stream.write_all(&second)?;
        stream.read_exact(&mut answer)?;
        ensure!(answer == closes, "{answer:?}");
        // After the consent to TLS, what follows is no handshake: an alert (RFC 8446 section 6) or nothing.
        let _ = stream.write_all(&SSL_REQUEST);
        let rest = said(&mut stream)?;
        ensure!(answer == *b"E" || rest.first().is_none_or(|kind| *kind == 21), "{rest:?}");
    }
    Ok(())
}

/// The same on the other side (CVE-2021-23222): a target, or who stands before it, that answers more than one byte to the request for TLS.
#[test]
fn a_target_that_stuffs_an_answer_behind_its_consent_to_tls_is_told_nothing() -> Result<()> {
    let target = Postgres::start()?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let gateway = serve(&target, "")?;
    let setup = gateway.setup();
    let file = format!("connections/{CONNECTION}.toml");
    let connection = fs::read_to_string(setup.file(&file))?.replace("mode = \"loopback-plain\"", "mode = \"verify-full\"");
    setup.write(&file, &connection.replace(&format!("port = {}", target.port()), &format!("port = {port}")))?;
    gateway.run(gateway.administrator(), &["apply", &setup.file("").to_string_lossy()])?;
    let caller = std::thread::spawn({
        let login = gateway.login("alice")?.without_tls();
        move || Wire::open(&login, &[]).err().map(|refused| refused.to_string())
    });
    let (mut stream, _) = listener.accept()?;
    let mut asked = [0; 8];
    stream.read_exact(&mut asked)?;
    ensure!(asked == SSL_REQUEST);
    stream.write_all(b"SR\0\0\0\x08\0\0\0\x03")?;
    let more = said(&mut stream)?;
    ensure!(more.is_empty(), "it went on with {more:?}");
    let refused = caller.join().ok().flatten().context("the caller was let in")?;
    ensure!(refused.contains("is not available"), "{refused}");
    Ok(())
}

/// libpq 17 and later, with `sslnegotiation=direct`: no request in clear comes before the handshake.
#[test]
fn a_client_may_begin_with_tls() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = serve(&target, "")?;
    let psycopg = gateway.login("alice")?.python(&script("direct_tls.py"))?.env("PGSSLNEGOTIATION", "direct").print()?;
    ensure!(psycopg == "in TLS let in\n", "{psycopg}");
    Ok(())
}

/// Whoever begins with TLS must say in it that PostgreSQL's protocol follows, so that nobody makes a client of another one speak to this listener.
#[test]
fn who_begins_with_tls_and_does_not_name_the_protocol_is_asked_for_nothing() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = serve(&target, "")?;
    let mut named = begin_with_tls(&gateway, &["postgresql"])?;
    let mut asked = [0; 9];
    named.read_exact(&mut asked)?;
    ensure!(asked == *b"R\0\0\0\x08\0\0\0\x03", "{asked:?}");

    let mut heard = Vec::new();
    begin_with_tls(&gateway, &[])?.read_to_end(&mut heard)?;
    let told = String::from_utf8_lossy(&heard);
    ensure!(told.starts_with('E') && told.contains("08P01") && told.contains("without ALPN protocol negotiation extension"), "{told:?}");
    ensure!(!told.contains("R\0\0\0"), "{told:?}");

    // RFC 7301 section 3.2: no_application_protocol.
    let other = begin_with_tls(&gateway, &["http/1.1"]).and_then(|mut stream| Ok(stream.read(&mut asked)?));
    let error = format!("{:?}", other.err().context("it was served")?);
    ensure!(error.contains("NoApplicationProtocol"), "{error}");
    Ok(())
}

/// A handshake as the first thing, with these names of protocols, and a startup packet in it.
fn begin_with_tls(gateway: &Gateway, protocols: &[&str]) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let login = gateway.login("alice")?;
    let mut config = ClientConfig::clone(&*trusting(&login.authority.context("no authority")?)?);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect((login.host.as_str(), login.port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), login.host.try_into()?)?, socket);
    stream.write_all(&startup([("user", "alice"), ("database", CONNECTION)].iter()))?;
    Ok(stream)
}

/// Secrets travel inside TLS or on loopback (NEAR-13): from elsewhere no password is even asked for in clear.
#[test]
fn near_13_only_this_machine_may_speak_in_clear() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = serve(&target, "")?;
    let login = gateway.login("alice")?;
    Wire::open(&login.clone().without_tls(), &[])?;
    // Without another address there is nobody from elsewhere; `gateway/src/listen.rs` has the rule with an address of its own.
    let Some(own) = own_address() else { return Ok(()) };
    let elsewhere = Login { host: own.to_string(), ..login.clone() };
    let mut stream = TcpStream::connect((own, gateway.port()?))?;
    stream.write_all(&startup([("user", "alice"), ("database", CONNECTION)].iter()))?;
    let told = String::from_utf8_lossy(&said(&mut stream)?).into_owned();
    ensure!(told.starts_with('E') && told.contains("TLS") && !told.contains("R\0\0\0"), "{told:?}");
    let psql = Login { host: "localhost".to_owned(), ..elsewhere }.psql(&target.program("psql"))?;
    let inside = psql.env("PGHOSTADDR", &own.to_string()).args(&["-Atc", "select 'inside'"]).print()?;
    ensure!(inside == "inside\n", "{inside}");
    Ok(())
}
