//! Logins while a thousand others dawdle before theirs. A file of its own: cargo runs these one after another, and what else the machine does counts.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Method, PATIENCE, Postgres},
    wire::{Wire, startup},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Waits until the gateway has at least so many open: a connection the kernel keeps for it is none of its own yet.
fn holds_descriptors(gateway: &Gateway, count: usize) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while fs::read_dir(format!("/proc/{}/fd", gateway.pid()))?.count() < count {
        ensure!(Instant::now() < end, "the gateway does not take {count} connections");
    }
    Ok(())
}

/// How long logins take, sorted.
fn logins(login: &Login, count: usize) -> Result<Vec<Duration>> {
    let one = |_| {
        let began = Instant::now();
        Wire::open(login, &[]).map(|_| began.elapsed())
    };
    let mut took = (0..count).map(one).collect::<Result<Vec<_>>>()?;
    took.sort();
    Ok(took)
}

/// NEAR-01: half of the thousand say nothing, half say their startup packet a byte at a time. Each round measures without and with them, so that what
/// else the machine does falls on both; the round in the middle counts.
#[test]
fn near_01_a_thousand_who_dawdle_before_their_login_at_most_double_the_time_of_others() -> Result<()> {
    const ROUNDS: usize = 5;
    const LOGINS: usize = 200;
    let most = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: most.maximum, ..most })?;
    let target = Postgres::start_with(Method::Cleartext, &[])?;
    let setup = Setup::init()?;
    setup.permit_all()?;
    setup.target(&target, DATABASE, "")?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("[limits]\nmax_logins = 1200\nmax_logins_per_address = 1200\nlogin_timeout_ms = 300000\n{before}"))?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    // By token: a password is slow to check, on purpose.
    let token = gateway.run("alice", &["token", CONNECTION])?.trim().to_owned();
    let login = gateway.login("alice")?.with_password(token).without_tls();
    let packet = startup([("user", "alice"), ("database", CONNECTION), ("application_name", "y".repeat(8_000).as_str())].iter());
    logins(&login, 5)?;
    let (mut alone, mut crowded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(logins(&login, LOGINS)?);
        let mut dawdling = (0..1_000).map(|_| TcpStream::connect(("127.0.0.1", gateway.port()?)).map_err(Into::into)).collect::<Result<Vec<_>>>()?;
        holds_descriptors(&gateway, dawdling.len())?;
        let over = AtomicBool::new(false);
        crowded.push(std::thread::scope(|scope| {
            let saying = scope.spawn(|| {
                for byte in packet.chunks(1).take_while(|_| !over.load(Ordering::Relaxed)) {
                    dawdling.iter_mut().take(500).try_for_each(|stream| stream.write_all(byte))?;
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                anyhow::Ok(())
            });
            let measured = logins(&login, LOGINS);
            over.store(true, Ordering::Relaxed);
            saying.join().ok().context("the slow ones panicked")?.context("a slow one was sent away")?;
            measured
        })?);
        // All of them were there all the time.
        for stream in &dawdling {
            stream.set_nonblocking(true)?;
            ensure!(matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "one of the thousand is gone");
        }
    }
    let in_the_middle = |rounds: &[Vec<Duration>], percent: usize| {
        let mut of_rounds: Vec<Duration> = rounds.iter().map(|took| took[(took.len() * percent / 100).min(took.len() - 1)]).collect();
        of_rounds.sort();
        of_rounds[ROUNDS / 2]
    };
    let (alone_p99, crowded_p99) = (in_the_middle(&alone, 99), in_the_middle(&crowded, 99));
    println!(
        "p99 of logins: {alone_p99:?} alone, {crowded_p99:?} beside a thousand; p90 {:?}, {:?}; medians {:?}, {:?}",
        in_the_middle(&alone, 90),
        in_the_middle(&crowded, 90),
        in_the_middle(&alone, 50),
        in_the_middle(&crowded, 50)
    );
    ensure!(crowded_p99 <= alone_p99 * 2, "p99 {crowded_p99:?} beside a thousand, {alone_p99:?} alone");
    Ok(())
}
