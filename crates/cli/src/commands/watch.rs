//! `countersign watch ID`: a live terminal as its own user sees it, from its beginning; and its end, if whoever watches wants that.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use api::types::{EndedAnswer, KillRequest, TailLine};
use evidence::{
    record::{Cell, Record, Stream},
    screen::Safe,
};
use model::SessionId;

use crate::{
    client::{Global, Reading, query},
    story::Story,
    terminal::{Keys, RawTerminal},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The session, s_…
    id: SessionId,
    /// The shell or command, by its number; the first that has a terminal if none is given
    #[arg(long, value_name = "NUMBER")]
    op: Option<u64>,
}

/// How a watch ended.
enum Ended {
    ByItself,
    Left,
    Kill,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    if output.is_json() {
        bail!("`countersign tail {} --json` prints what happens as JSON", args.id);
    }
    let mut watched = Watched { op: args.op, safe: Safe::default(), story: Story::new(output), on_terminal: std::io::stdout().is_terminal() };
    eprintln!("watching {}: q leaves, k ends the session", args.id);
    let raw = RawTerminal::begin();
    let mut keys = Keys::read();
    let filters = query(&[("session", Some(args.id.to_string())), ("whole", Some("true".to_owned()))]);
    let path = format!("/v1/tail{filters}");
    let following = client.stream(&path, |line: TailLine| watched.show(&line.record));
    let ended = tokio::select! {
        followed = following => followed.map(|()| Ended::ByItself),
        ended = pressed(&mut keys) => Ok(ended),
    };
    let _ = std::io::stdout().write_all(b"\x1b[0m\x1b[?25h\r\n");
    drop(raw);
    match ended? {
        Ended::ByItself => eprintln!("the session is over"),
        Ended::Left => {}
        Ended::Kill => {
            let request = KillRequest { reason: Some("ended by somebody who watched it".to_owned()) };
            let answer: EndedAnswer = client.post(&format!("/v1/sessions/{}/kill", args.id), &request).await?;
            eprintln!("{}", if answer.sessions > 0 { "ended" } else { "it was over already" });
        }
    }
    Ok(())
}

async fn pressed(keys: &mut Keys) -> Ended {
    loop {
        match keys.next().await {
            Some(b'k') => return Ended::Kill,
            Some(b'q' | 3 | 4) | None => return Ended::Left,
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
