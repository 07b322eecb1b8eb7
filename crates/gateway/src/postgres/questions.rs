//! Questions of the gateway's own to a target: several at once, each answered by its rows, or all of them by the first error.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
};

use bytes::BytesMut;
use policy::classify::postgres::catalog::Answer;
use protocol::{
    Side,
    postgres::{
        dialogue::{MAX_ANSWER_BYTES, Rows, kept_bytes},
        frame::{self, HEAD_BYTES},
        message::{
            Cells, backend,
            frontend::{self, Kind},
        },
        rows,
    },
};

use crate::{dial::Dialled, link::Wire};

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct AskFailed {
    /// The target's code, if it was the target that said no; else what became of the questions is not known.
    pub(super) sqlstate: Option<String>,
    /// For people.
    pub(super) message: String,
}

impl AskFailed {
    pub(super) fn lost(why: impl fmt::Display) -> Self {
        Self { sqlstate: None, message: why.to_string() }
    }

    /// What the target answered forbids to go on; the link is as good as before.
    pub(super) fn refused(why: &str) -> Self {
        Self { sqlstate: Some(String::new()), message: why.to_owned() }
    }
}

impl From<AskFailed> for String {
    fn from(failed: AskFailed) -> Self {
        failed.message
    }
}

/// One statement, whatever is in it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'a> {
    Once(&'a str),
    /// Asked again later: it stays prepared under its place, so that the target reads and plans it once.
    Standing(&'a str),
}

/// What the rows of an answer are kept as.
pub(super) trait Kept: Default {
    /// Keeps one more. Answers what that takes, in bytes.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep(&mut self, cells: &Cells<'_>) -> Result<usize, AskFailed>;
}

impl Kept for Rows {
    fn keep(&mut self, cells: &Cells<'_>) -> Result<usize, AskFailed> {
        let row: Vec<_> = cells.iter().map(|cell| cell.map(|cell| String::from_utf8_lossy(cell).into_owned())).collect();
        let bytes = kept_bytes(&row);
        self.push(row);
        Ok(bytes)
    }
}

impl Kept for Answer {
    fn keep(&mut self, cells: &Cells<'_>) -> Result<usize, AskFailed> {
        self.push(cells.iter().map(|cell| cell.map(String::from_utf8_lossy))).map_err(AskFailed::lost)
    }
}

/// Questions by the extended protocol.
#[derive(Debug)]
pub(super) struct Questions {
    wire: Wire,
    input: BytesMut,
    /// What may still be kept of the answers, in bytes.
    pub(super) room: usize,
    /// Whether those that are asked again are prepared.
    standing: bool,
    /// In their names: behind a pooler the next transaction may be at a backend where somebody prepared something else.
    nonce: u64,
}

/// Nobody guesses it: the standard library's hasher is keyed at random.
fn nonce() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Questions {
    /// Over a link that is logged in and has asked nothing yet.
    pub(super) fn of(dialled: Dialled) -> Self {
        let Dialled { wire, input, .. } = dialled;
        Self { wire, input, room: MAX_ANSWER_BYTES, standing: false, nonce: nonce() }
    }

    pub(super) async fn ask_one(&mut self, statement: String) -> Result<Rows, AskFailed> {
        self.ask(&[Question::Once(&statement)]).await.map(|answers| answers.into_iter().flatten().collect())
    }

    /// Asks all of them at once. Without an error there is an answer to each.
    pub(super) async fn ask(&mut self, questions: &[Question<'_>]) -> Result<Vec<Rows>, AskFailed> {
        self.ask_for(questions).await
    }

    /// The same, and the rows are kept so.
    pub(super) async fn ask_for<K: Kept>(&mut self, questions: &[Question<'_>]) -> Result<Vec<K>, AskFailed> {
        let mut out = BytesMut::new();
        for (place, question) in questions.iter().enumerate() {
            let (name, text) = match question {
                Question::Once(text) => (String::new(), text),
                Question::Standing(text) => (format!("countersign {:x} {place}", self.nonce), text),
            };
            let name = name.as_bytes();
            let parsed = if name.is_empty() || !self.standing { frontend::parse(&mut out, name, text.as_bytes(), &[]) } else { Ok(()) };
            let written = parsed
                .and_then(|()| frontend::bind(&mut out, b"", name, &[], &[], &[]))
                .and_then(|()| frontend::describe(&mut out, Kind::Portal, b""))
                .and_then(|()| frontend::execute(&mut out, b"", 0));
            written.map_err(AskFailed::lost)?;
        }
        frontend::sync(&mut out);
        self.wire.push(out.freeze());
        self.wire.drain().await.map_err(AskFailed::lost)?;
        let answers = self.answers().await?;
        self.standing |= questions.iter().any(|question| matches!(question, Question::Standing(_)));
        if answers.len() == questions.len() { Ok(answers) } else { Err(AskFailed::lost("the target did not answer every question")) }
    }

    async fn answers<K: Kept>(&mut self) -> Result<Vec<K>, AskFailed> {
        let limits = frame::Limits::default();
        let (mut answers, mut answer, mut failed) = (Vec::new(), K::default(), None);
        loop {
            let head = frame::head(&self.input, Side::Target, &limits).map_err(AskFailed::lost)?;
            let Some(head) = head.filter(|head| head.len <= self.input.len()) else {
                let read = self.wire.fill(&mut self.input, 64 << 10).await.map_err(AskFailed::lost)?;
                if read == 0 {
                    return Err(AskFailed::lost("the target closed the connection"));
                }
                continue;
            };
            let frame = self.input.split_to(head.len).freeze();
            let body = frame.get(HEAD_BYTES..).unwrap_or_default();
            match head.tag {
                b'D' => {
                    let bytes = answer.keep(&rows::row(body).map_err(AskFailed::lost)?)?;
                    self.room = self.room.checked_sub(bytes).ok_or_else(|| AskFailed::lost("the target's answers are above the limit"))?;
                }
                b'C' => answers.push(std::mem::take(&mut answer)),
                b'E' => {
                    let report = backend::Report::decode(body).map_err(AskFailed::lost)?;
                    let message = model::name::printable(&String::from_utf8_lossy(report.message()));
                    failed = Some(AskFailed { sqlstate: report.sqlstate().map(str::to_owned), message });
                }
                b'Z' => return failed.map_or(Ok(answers), Err),
                _ => {}
            }
        }
    }

    pub(super) async fn end(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        self.wire.push(out.freeze());
        let _ = self.wire.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::link::Link;

    /// A target that answers without end fills no memory: the link is let go.
    #[tokio::test]
    async fn what_a_target_answers_the_gateway_itself_is_bounded() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let mut row = BytesMut::new();
        rows::data_row(&mut row, &[Some(b"twelve bytes"), None]).unwrap();
        let mut questions = Questions { wire: Wire::new(Link::Unix(ours)), input: BytesMut::new(), room: 1_000, standing: false, nonce: nonce() };
        let endless = tokio::spawn(async move { while theirs.write_all(&row).await.is_ok() {} });
        assert_eq!(questions.ask_one("SELECT".to_owned()).await.unwrap_err().message, "the target's answers are above the limit");
        drop(questions);
        endless.await.unwrap();
    }
}
