//! `countersign watch ID`: a live terminal as its own user sees it, from its beginning; and its end, if whoever watches wants that.
//!
//! Of a held operation that runs only while one of those who signed watches, this is also the signature.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use anyhow::bail;
use api::types::{ApproveRequest, EndedAnswer, HoldView, KillRequest, TailLine, WatchingAnswer, WatchingRequest, WhoamiAnswer};
use evidence::{
    record::{Cell, Record, Stream},
    screen::Safe,
};
use model::{HoldId, SessionId, hold::HoldState};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::holds;
use crate::{
    client::{Client, Global, Lines, Reading, query},
    output::{Output, Tone},
    story::Story,
    terminal::{self, Keys, RawTerminal},
};

/// How often the gateway hears that somebody is still there: it gives them up after ten seconds.
const BEAT: Duration = Duration::from_secs(3);
/// And how many of these may come to nothing.
const MAX_LOST_BEATS: u32 = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The session, s_…, or a held operation that runs only while it is watched, h_…
    id: Live,
    /// The shell or command of a session, by its number; the first that has a terminal if none is given
    #[arg(long, value_name = "NUMBER")]
    op: Option<u64>,
    /// Sign without a question; for scripts that have read what `show` prints
    #[arg(long)]
    yes: bool,
}

/// What is watched.
#[derive(Debug, Clone, Copy)]
enum Live {
    Session(SessionId),
    Hold(HoldId),
}

impl std::str::FromStr for Live {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let neither = |_| format!("`{}` is neither a session (s_…) nor a held operation (h_…)", model::name::printable(text));
        text.parse().map(Self::Session).or_else(|_| text.parse().map(Self::Hold)).map_err(|error: model::id::IdError| neither(error))
    }
}

/// How a watch ended.
enum Ended {
    ByItself,
    Left,
    /// With what became of that.
    Killed(&'static str),
}

/// What a key asks for.
enum Pressed {
    Leave,
    Kill,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    if global.output().is_json() {
        bail!("`countersign tail --json` prints what happens as JSON");
    }
    match args.id {
        Live::Session(id) => session(global, id, args.op).await,
        Live::Hold(id) => hold(global, id, args.yes).await,
    }
}

async fn session(global: &Global, id: SessionId, op: Option<u64>) -> anyhow::Result<()> {
    let client = global.client()?;
    let filters = query(&[("session", Some(id.to_string())), ("whole", Some("true".to_owned()))]);
    let lines = client.open(&format!("/v1/tail{filters}")).await?;
    eprintln!("watching {id}: q leaves, k ends the session");
    let kill = async {
        let request = KillRequest { reason: Some("ended by somebody who watched it".to_owned()) };
        let answer: EndedAnswer = client.post(&format!("/v1/sessions/{id}/kill"), &request).await?;
        Ok(if answer.sessions > 0 { "ended" } else { "it was over already" })
    };
    match follow(lines, Watched::new(op, global.output()), std::future::pending(), kill).await? {
        Ended::ByItself => eprintln!("the session is over"),
        Ended::Left => {}
        Ended::Killed(how) => eprintln!("{how}"),
    }
    Ok(())
}

async fn hold(global: &Global, id: HoldId, yes: bool) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    let path = format!("/v1/holds/{id}");
    let hold: HoldView = client.get(&path).await?;
    output.line(&holds::whole(&output, &hold))?;
    if !hold.requirements.iter().any(|requirement| requirement.watched) {
        bail!("{id} is not one that has to be watched: `countersign approve {id}` signs it");
    }
    let name = client.get::<WhoamiAnswer>("/v1/whoami").await?.identity.name;
    let signs = hold.state == HoldState::Waiting && !hold.signatures.iter().any(|signature| signature.signer == name);
    if signs && hold.not_yours.is_none() && !yes && !terminal::confirm("\nSign this operation, and watch it?")? {
        bail!("not signed: {id} still waits. `countersign deny {id} --reason …` refuses it.");
    }
    // Who signs watches already: it begins with the last signature.
    let lines = client.open(&format!("{path}/watch")).await?;
    if signs {
        let signed: HoldView = client.post(&format!("{path}/approve"), &ApproveRequest { digest: hold.digest }).await?;
        match signed.state {
            HoldState::Approved => output.line(&output.paint(Tone::Good, "Signed. It runs while you watch."))?,
            HoldState::Waiting => output.line(&output.paint(Tone::Good, &format!("Signed. State: {}", holds::summary(&signed))))?,
            _ => bail!("it does not run: {}", holds::summary(&signed)),
        }
    }
    eprintln!("watching {id}: q leaves, k ends it");
    let kill = async {
        let _: WatchingAnswer = client.post(&format!("{path}/watching"), &WatchingRequest { end: true }).await?;
        Ok("ended")
    };
    match follow(lines, Watched::new(None, output), silence(&client, &path), kill).await? {
        Ended::ByItself => eprintln!("it is over"),
        Ended::Left => eprintln!("left: it ends soon, unless somebody who signed it watches it"),
        Ended::Killed(how) => eprintln!("{how}"),
    }
    Ok(())
}

/// Says from time to time that somebody is there; over when that is not heard any more.
async fn silence(client: &Client, path: &str) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lost = 0;
    while lost < MAX_LOST_BEATS {
        beats.tick().await;
        let place = format!("{path}/watching");
        let request = WatchingRequest { end: false };
        let heard = timeout(BEAT, client.post::<WatchingAnswer>(&place, &request)).await;
        lost = if matches!(heard, Ok(Ok(_))) { 0 } else { lost + 1 };
    }
}

/// Shows what comes until it is over, a key ends that, or the gateway does not answer. Who ends it watches until that is done.
async fn follow(
    lines: Lines,
    mut watched: Watched,
    silence: impl Future<Output = ()>,
    kill: impl Future<Output = anyhow::Result<&'static str>>,
) -> anyhow::Result<Ended> {
    let raw = RawTerminal::begin();
    let mut keys = Keys::read();
    let mut following = std::pin::pin!(lines.read(|line: TailLine| watched.show(&line.record)));
    let ended = tokio::select! {
        followed = &mut following => followed.map(|()| Ended::ByItself),
        pressed = pressed(&mut keys) => match pressed {
            Pressed::Leave => Ok(Ended::Left),
            Pressed::Kill => kill.await.map(Ended::Killed),
        },
        () = silence => Err(anyhow::anyhow!("the gateway does not hear that you watch, any more")),
    };
    let _ = std::io::stdout().write_all(b"\x1b[0m\x1b[?25h\r\n");
    drop(raw);
    ended
}

async fn pressed(keys: &mut Keys) -> Pressed {
    loop {
        match keys.next().await {
            Some(b'k') => return Pressed::Kill,
            Some(b'q' | 3 | 4) | None => return Pressed::Leave,
            Some(_) => {}
        }
    }
}

struct Watched {
    op: Option<u64>,
    safe: Safe,
    story: Story,
    on_terminal: bool,
}

impl Watched {
    fn new(op: Option<u64>, output: Output) -> Self {
        Self { op, safe: Safe::default(), story: Story::new(output), on_terminal: std::io::stdout().is_terminal() }
    }

    fn show(&mut self, record: &Record) -> anyhow::Result<Reading> {
        match record {
            Record::Resized(size) if self.op.is_none() => self.op = Some(size.op),
            Record::Output(shown) if Some(shown.op) == self.op && shown.stream != Stream::Input => {
                let data = match &shown.data {
                    Cell::Text(text) => text.as_bytes(),
                    Cell::Binary { hex } => hex.0.as_slice(),
                };
                let mut out = std::io::stdout().lock();
                out.write_all(&self.safe.pass(data))?;
                out.flush()?;
            }
            // What is asked beside the terminal would tear its screen; where there is none, it is told.
            Record::Closed(_) => return Ok(Reading::Enough),
            other if !self.on_terminal => {
                if let Some(told) = self.story.tell(other) {
                    println!("{told}");
                }
            }
            _ => {}
        }
        Ok(Reading::More)
    }
}
