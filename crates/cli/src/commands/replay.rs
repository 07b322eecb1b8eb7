//! `countersign replay ID`: a session played as it happened, pauses included, at the speed asked for. What had a terminal is played on the terminal.

use std::{io::IsTerminal, time::Duration};

use anyhow::{Context, bail};
use api::types::RecordLine;
use evidence::record::Record;
use model::{SessionId, Timestamp};

use super::{seconds, show};
use crate::{
    cast::{Cast, Version},
    client::{Global, Reading},
    player::Player,
    story::Story,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The session, s_…
    id: SessionId,
    /// How many times faster than it happened
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Longest pause, such as 5s, whatever the speed
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    max_pause: Option<u64>,
    /// The shell or command to play, by its number; the first that has a terminal if none is given
    #[arg(long, value_name = "NUMBER")]
    op: Option<u64>,
    /// Begin where this was shown
    #[arg(long, value_name = "TEXT")]
    find: Option<String>,
    /// Print an asciicast file instead, of this version
    #[arg(long, value_enum, value_name = "VERSION")]
    asciicast: Option<Version>,
    /// Leave in the file what would do something to the terminal it is played on: titles, clipboards, reports
    #[arg(long, requires = "asciicast")]
    raw: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0).ok_or_else(|| "write a number above 0, such as 1, 0.5 or 20".to_owned())
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    let mut lines: Vec<RecordLine> = Vec::new();
    let path = format!("/v1/sessions/{}/records?how=replay", args.id);
    client
        .stream(&path, |line| {
            lines.push(line);
            Ok(Reading::More)
        })
        .await?;
    let longest = args.max_pause.map_or(Duration::MAX, Duration::from_secs);
    let records: Vec<Record> =
        lines.iter().filter_map(|line| if let RecordLine::Record(record) = line { Some(record.clone()) } else { None }).collect();
    if let Some(version) = args.asciicast {
        let cast = Cast::of(&records, args.op)
            .context("nothing that was shown is recorded there: a terminal always is, what commands write with record = \"full\"")?;
        let cast = if args.raw { cast } else { cast.made_safe() };
        print!("{}", cast.asciicast(version));
        return Ok(());
    }
    let has_terminal = args.op.is_some() || records.iter().any(|record| matches!(record, Record::Resized(_)));
    if has_terminal && !output.is_json() && std::io::stdout().is_terminal() {
        let cast = Cast::of(&records, args.op).context("nothing that was shown is recorded of that")?.made_safe();
        let mut player = Player::new(&cast, args.speed, longest);
        if let Some(text) = &args.find
            && !player.find(text)
        {
            bail!("{text:?} was not shown");
        }
        return player.play().await;
    }
    let mut story = Story::new(output);
    let mut last: Option<Timestamp> = None;
    for line in &lines {
        if let RecordLine::Record(record) = line
            && let Some(at) = record.at()
        {
            tokio::time::sleep(last.map_or(Duration::ZERO, |last| pause(last, at, args.speed)).min(longest)).await;
            last = Some(at);
        }
        show::print(output, &mut story, line)?;
    }
    Ok(())
}

fn pause(last: Timestamp, at: Timestamp, speed: f64) -> Duration {
    let between = Duration::try_from(at.duration_since(last)).unwrap_or(Duration::ZERO);
    Duration::try_from_secs_f64(between.as_secs_f64() / speed).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_shrink_with_speed_and_never_run_backwards() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(pause(at(10), at(14), 2.0), Duration::from_secs(2));
        assert_eq!(pause(at(14), at(10), 2.0), Duration::ZERO);
        for text in ["0", "-1", "nan", "inf", "x"] {
            assert!(speed(text).is_err(), "{text}");
        }
    }
}
