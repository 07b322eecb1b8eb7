//! Plays what a terminal showed on the terminal: faster, slower, from elsewhere, from where something was shown.

use std::{io::Write, time::Duration};

use evidence::screen::Lines;
use tokio::time::Instant;

use crate::{
    cast::{Cast, Kind},
    terminal::{Keys, RawTerminal},
};

/// How far a key goes back or forth.
const STEP: Duration = Duration::from_secs(10);
/// A screen that shows nothing yet.
const CLEAR: &[u8] = b"\x1b[0m\x1b[?25h\x1b[2J\x1b[H";
const HELP: &str = "space: pause; + -: faster, slower; f b: ten seconds on, back; n: next find; q: end";

/// A recording that is played.
#[derive(Debug)]
pub(crate) struct Player<'c> {
    cast: &'c Cast,
    speed: f64,
    longest: Duration,
    /// Which event is next.
    next: usize,
    /// Where it is.
    at: Duration,
    /// What was looked for last.
    wanted: Option<String>,
}

impl<'c> Player<'c> {
    pub(crate) const fn new(cast: &'c Cast, speed: f64, longest: Duration) -> Self {
        Self { cast, speed, longest, next: 0, at: Duration::ZERO, wanted: None }
    }

    /// Goes to where this is shown next. Whether it is.
    pub(crate) fn find(&mut self, text: &str) -> bool {
        self.wanted = Some(text.to_owned());
        let mut lines = Lines::default();
        let from = if self.next == 0 { 0 } else { self.next + 1 };
        for (place, event) in self.cast.events.iter().enumerate() {
            let Kind::Output(data) = &event.kind else { continue };
            let shown = lines.feed(data).iter().any(|line| line.contains(text)) || lines.current().contains(text);
            if shown && place >= from {
                (self.next, self.at) = (place, event.at);
                return true;
            }
        }
        false
    }

    /// Plays to the end, or until somebody ends it.
    pub(crate) async fn play(mut self) -> anyhow::Result<()> {
        let (columns, rows) = self.cast.size;
        println!("{} ({columns} by {rows}). {HELP}", model::name::printable(&self.cast.title));
        let raw = RawTerminal::begin();
        let mut keys = Keys::read();
        if self.next > 0 {
            self.go(self.at)?;
        }
        let (mut paused, mut due) = (false, Instant::now());
        while let Some(event) = self.cast.events.get(self.next) {
            let key = if paused {
                keys.next().await
            } else {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => None,
                    key = keys.next() => key,
                }
            };
            match key {
                None if paused => break,
                None => {
                    if let Kind::Output(data) = &event.kind {
                        write(data)?;
                    }
                    self.at = event.at;
                    self.next += 1;
                }
                Some(b' ') => paused = !paused,
                Some(b'+') => self.speed *= 1.5,
                Some(b'-') => self.speed /= 1.5,
                Some(b'f') => self.go(self.at + STEP)?,
                Some(b'b') => self.go(self.at.saturating_sub(STEP))?,
                Some(b'n') => {
                    if let Some(text) = self.wanted.clone()
                        && self.find(&text)
                    {
                        self.go(self.at)?;
                    }
                }
                Some(b'q' | 3 | 4) => break,
                Some(_) => continue,
            }
            due = Instant::now() + self.pause();
        }
        write(b"\x1b[0m\x1b[?25h\r\n")?;
        drop(raw);
        Ok(())
    }

    /// How long until the next event.
    fn pause(&self) -> Duration {
        let between = self.cast.events.get(self.next).map_or(Duration::ZERO, |event| event.at.saturating_sub(self.at));
        Duration::try_from_secs_f64(between.as_secs_f64() / self.speed).unwrap_or(Duration::MAX).min(self.longest)
    }

    /// Shows the screen as it was then.
    fn go(&mut self, to: Duration) -> anyhow::Result<()> {
        write(CLEAR)?;
        self.next = 0;
        while let Some(event) = self.cast.events.get(self.next).filter(|event| event.at <= to) {
            if let Kind::Output(data) = &event.kind {
                write(data)?;
            }
            self.next += 1;
        }
        self.at = to;
        Ok(())
    }
}

fn write(data: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(data)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::cast::Event;

    #[test]
    fn what_was_shown_is_found_by_its_line_and_then_the_next_time() {
        let event = |second, data: &[u8]| Event { at: Duration::from_secs(second), kind: Kind::Output(data.to_vec()) };
        let events = vec![event(1, b"$ ec"), event(2, b"h\x08ho\x1b[31m se"), event(3, b"cret\r\n"), event(9, b"echo secret again")];
        let cast = Cast { began: Timestamp::UNIX_EPOCH, title: String::new(), size: (80, 24), events, status: None };
        let mut player = Player::new(&cast, 2.0, Duration::from_secs(2));
        assert!(player.find("echo secret") && player.at == Duration::from_secs(3));
        assert!(player.find("echo secret") && player.at == Duration::from_secs(9));
        assert!(!player.find("echo secret") && !Player::new(&cast, 1.0, Duration::MAX).find("nothing"));
        let mut player = Player::new(&cast, 2.0, Duration::from_secs(2));
        (player.next, player.at) = (3, Duration::from_secs(3));
        assert_eq!(player.pause(), Duration::from_secs(2));
    }
}
