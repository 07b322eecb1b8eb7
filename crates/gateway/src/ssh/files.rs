//! The SFTP subsystem: each operation on files is decided by itself, by the path the machine resolves.

use std::sync::Arc;

use model::{Timestamp, name::printable};
use policy::classify::ssh::{self as classify, FileOperation, FilePath};
use protocol::{
    Side,
    ssh::sftp::{Asked, Ended as Done, Move, Request, Sftp},
};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client};
use session::ssh::{Answer, Operation, Ruling, Session, Via};

use super::relay::{CALLER_LEFT, Callers, Ended, MACHINE_GONE, Passed, STDERR};

/// Passes SFTP both ways until one side ends it.
pub(super) async fn run(session: &Session, callers: &mut Callers, machines: Channel<client::Msg>) -> Passed {
    let (mut from_machine, to_machine) = machines.split();
    let mut files = Files { session, sftp: Sftp::default(), ended: Ended::Unknown, down: 0 };
    let broken = files.pass(callers, &mut from_machine, &to_machine).await;
    for left in files.sftp.close() {
        files.tell(left);
    }
    if broken.is_some() {
        let _ = to_machine.close().await;
    }
    Passed { ended: files.ended, down: files.down, up: 0, in_order: broken.is_none(), broken, masked: Vec::new() }
}

/// One conversation.
struct Files<'a> {
    session: &'a Session,
    sftp: Sftp,
    ended: Ended,
    down: u64,
}

impl Files<'_> {
    /// Why it was broken off; none at the machine's own end.
    async fn pass(
        &mut self,
        callers: &mut Callers,
        from_machine: &mut ChannelReadHalf,
        to_machine: &ChannelWriteHalf<client::Msg>,
    ) -> Option<String> {
        loop {
            let heard = tokio::select! {
                message = callers.next() => self.heard_caller(message, to_machine).await,
                message = from_machine.wait() => match self.heard_machine(message, callers).await {
                    Ok(true) => Ok(()),
                    Ok(false) => return None,
                    Err(why) => Err(why),
                },
            };
            let moved = match heard {
                Ok(()) => self.carry_out(callers, to_machine).await,
                Err(why) => Err(why),
            };
            if let Err(why) = moved {
                return Some(why);
            }
        }
    }

    async fn heard_caller(&mut self, message: Option<ChannelMsg>, to_machine: &ChannelWriteHalf<client::Msg>) -> Result<(), String> {
        match message {
            Some(ChannelMsg::Data { data }) => self.sftp.receive(Side::Caller, &data),
            Some(ChannelMsg::Eof) => to_machine.eof().await.map_err(|_| MACHINE_GONE.to_owned())?,
            Some(ChannelMsg::Close) | None => return Err(CALLER_LEFT.to_owned()),
            Some(_) => {}
        }
        Ok(())
    }

    /// Whether the machine goes on.
    async fn heard_machine(&mut self, message: Option<ChannelMsg>, callers: &Callers) -> Result<bool, String> {
        match message {
            Some(ChannelMsg::Data { data }) => self.sftp.receive(Side::Target, &data),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                callers.write.extended_data_bytes(STDERR, data).await.map_err(|_| CALLER_LEFT.to_owned())?;
            }
            Some(ChannelMsg::Eof) => callers.write.eof().await.map_err(|_| CALLER_LEFT.to_owned())?,
            Some(ChannelMsg::ExitStatus { exit_status }) => self.ended = Ended::Status(exit_status),
            Some(ChannelMsg::Close) => return Ok(false),
            None => return Err(MACHINE_GONE.to_owned()),
            Some(_) => {}
        }
        Ok(true)
    }

    async fn carry_out(&mut self, callers: &mut Callers, to_machine: &ChannelWriteHalf<client::Msg>) -> Result<(), String> {
        while let Some(next) = self.sftp.next_move().map_err(|malformed| format!("it is no SFTP: {malformed}"))? {
            match next {
                Move::Send(Side::Caller, bytes) => {
                    self.down = self.down.saturating_add(bytes.len() as u64);
                    callers.write.data_bytes(bytes).await.map_err(|_| CALLER_LEFT.to_owned())?;
                }
                Move::Send(Side::Target, bytes) => to_machine.data_bytes(bytes).await.map_err(|_| MACHINE_GONE.to_owned())?,
                Move::Ask(asked) => self.ask(&asked, callers).await?,
                Move::Ended(done) => self.tell(done),
            }
        }
        Ok(())
    }

    async fn ask(&mut self, asked: &Asked, callers: &mut Callers) -> Result<(), String> {
        let operation = operation(asked);
        let tell = callers.teller();
        match self.session.ask(&operation, tell, callers.gone()).await.map_err(|broken| broken.to_string())? {
            Ruling::Forward(permit) => {
                let number = permit.operation();
                self.sftp.forward(permit, number);
            }
            Ruling::Refuse(sentence) => self.sftp.refuse(&format!("countersign: {sentence}")),
        }
        Ok(())
    }

    fn tell(&self, done: Done) {
        let Done { operation, outcome, failed, bytes } = done;
        let (tag, error) = if failed { (None, Some(outcome)) } else { (Some(outcome), None) };
        if let Err(error) = self.session.answered(operation, Answer { tag, error, bytes, masked: Vec::new() }, Timestamp::now()) {
            tracing::error!(%error, session = %self.session.id(), "how an operation on a file ended could not be recorded");
        }
    }
}

fn operation(asked: &Asked) -> Operation {
    let path = |place: usize| {
        let path = asked.paths.get(place);
        FilePath { given: path.map_or(&[], |path| &path.given), resolved: path.and_then(|path| path.resolved.as_deref()) }
    };
    let (first, second) = (path(0), path(1));
    let facts = classify::file(&match &asked.request {
        Request::Open { read, write, truncate } => FileOperation::Open { path: first, read: *read, write: *write, truncate: *truncate },
        Request::List => FileOperation::List(first),
        Request::Look => FileOperation::Look(first),
        Request::Change => FileOperation::Change(first),
        Request::Make => FileOperation::Make(first),
        Request::Remove => FileOperation::Remove(first),
        Request::RemoveDirectory => FileOperation::RemoveDirectory(first),
        Request::Rename { replaces } => FileOperation::Rename { from: first, to: second, replaces: *replaces },
        Request::Link { symbolic } => FileOperation::Link { target: first, at: second, symbolic: *symbolic },
        Request::Extended(name) => FileOperation::Extended(name),
    });
    Operation { text: in_words(asked).into(), facts: Arc::new(facts), via: Via::File, may_wait: true }
}

/// `open /etc/passwd for reading`, `rename a to b`; where a path leads elsewhere, that too.
fn in_words(asked: &Asked) -> String {
    let path = |place: usize| {
        let Some(path) = asked.paths.get(place) else { return String::new() };
        let given = String::from_utf8_lossy(&path.given).into_owned();
        let led = path.resolved.as_deref().filter(|resolved| *resolved != path.given.as_slice());
        led.map_or_else(|| given.clone(), |led| format!("{given} ({})", String::from_utf8_lossy(led)))
    };
    let (first, second) = (path(0), path(1));
    let text = match &asked.request {
        Request::Open { read, write, truncate } => {
            let how = match (read, write, truncate) {
                (_, _, true) => "for writing, from its beginning",
                (true, true, false) => "for reading and writing",
                (false, true, false) => "for writing",
                (_, false, false) => "for reading",
            };
            format!("open {first} {how}")
        }
        Request::List => format!("list {first}"),
        Request::Look => format!("look at {first}"),
        Request::Change => format!("change attributes of {first}"),
        Request::Make => format!("make directory {first}"),
        Request::Remove => format!("remove {first}"),
        Request::RemoveDirectory => format!("remove directory {first}"),
        Request::Rename { replaces: false } => format!("rename {first} to {second}"),
        Request::Rename { replaces: true } => format!("rename {first} to {second}, in place of what is there"),
        Request::Link { symbolic: true } => format!("make symbolic link {second} to {first}"),
        Request::Link { symbolic: false } => format!("make link {second} to {first}"),
        Request::Extended(name) => format!("the extension {name}"),
    };
    printable(&text)
}
