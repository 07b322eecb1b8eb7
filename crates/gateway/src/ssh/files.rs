//! The SFTP subsystem: each operation on files is decided by itself, by the path the machine resolves.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use model::{Timestamp, name::printable};
use policy::classify::ssh::{self as classify, FileOperation, FilePath};
use protocol::{
    Side,
    ssh::sftp::{Asked, Ended as Done, Move, Request, Sftp},
};
use russh::{ChannelMsg, ChannelWriteHalf, client};
use session::ssh::{Answer, FileSearch, Operation, Ruling, Session, Via};

use super::ahead::{FromMachine, Machines};
use super::relay::{CALLER_LEFT, Callers, Ended, MACHINE_GONE, Passed, STDERR};

/// So many bytes may wait to be sent one way before nothing more is taken that leads to more of them.
const MAX_WAITING: usize = 1 << 20;

/// Passes SFTP both ways until one side ends it.
pub(super) async fn run(session: &Session, callers: &mut Callers, machines: Machines) -> Passed {
    let Machines { hear: mut from_machine, say: to_machine } = machines;
    let mut files = Files {
        session,
        sftp: Sftp::default(),
        ended: Ended::Unknown,
        down: 0,
        looked: HashMap::new(),
        to_caller: Outbox::default(),
        to_machine: Outbox::default(),
        caller_ended: End::Not,
    };
    let broken = files.pass(callers, &mut from_machine, &to_machine).await;
    for left in files.sftp.close() {
        files.tell(left);
    }
    if broken.is_some() {
        let _ = to_machine.close().await;
    }
    Passed { ended: files.ended, down: files.down, up: 0, in_order: broken.is_none(), broken, stopped: false, masked: Vec::new() }
}

/// What waits to be sent one way.
#[derive(Debug, Default)]
struct Outbox {
    waiting: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.waiting.push_back(bytes);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.waiting.pop_front()?;
        self.bytes -= bytes.len();
        Some(bytes)
    }

    const fn has_room(&self) -> bool {
        self.bytes < MAX_WAITING
    }
}

/// Something that is being sent.
type Sending<'s> = Pin<Box<dyn Future<Output = Result<(), russh::Error>> + Send + 's>>;

/// One conversation. Both ways go on by themselves: a machine that is to take a file's bytes answers for those that it has, and stops if nobody hears it.
struct Files<'a> {
    session: &'a Session,
    sftp: Sftp,
    ended: Ended,
    down: u64,
    /// Files that are looked through before the caller has them, by their operations.
    looked: HashMap<u64, FileSearch>,
    to_caller: Outbox,
    to_machine: Outbox,
    caller_ended: End,
}

/// That the caller sends no more, and whether the machine was told: behind everything it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Not,
    Heard,
    Told,
}

impl Files<'_> {
    /// Why it was broken off; none at the machine's own end.
    async fn pass(&mut self, callers: &mut Callers, from_machine: &mut FromMachine, machine: &ChannelWriteHalf<client::Msg>) -> Option<String> {
        let (mut up, mut down): (Option<Sending<'_>>, Option<Sending<'_>>) = (None, None);
        let mut machine_closed = false;
        loop {
            if up.is_none()
                && let Some(bytes) = self.to_machine.pop()
            {
                up = Some(Box::pin(machine.data_bytes(bytes)));
            }
            if down.is_none()
                && let Some(bytes) = self.to_caller.pop()
            {
                let (flow, caller) = (callers.flow.clone(), callers.write.clone());
                down = Some(Box::pin(async move { flow.says(caller.data_bytes(bytes)).await }));
            }
            if machine_closed && down.is_none() {
                return None;
            }
            if self.caller_ended == End::Heard && up.is_none() {
                self.caller_ended = End::Told;
                if machine.eof().await.is_err() {
                    return Some(MACHINE_GONE.to_owned());
                }
            }
            let heard = tokio::select! {
                sent = sent(&mut up) => sent.map_err(|_| MACHINE_GONE.to_owned()),
                sent = sent(&mut down) => sent.map_err(|_| CALLER_LEFT.to_owned()),
                message = callers.inbox.next(), if self.to_machine.has_room() => self.heard_caller(message),
                message = from_machine.wait(), if self.to_caller.has_room() && !machine_closed => match self.heard_machine(message, callers).await {
                    Ok(goes_on) => {
                        machine_closed = !goes_on;
                        Ok(())
                    }
                    Err(why) => Err(why),
                },
            };
            let moved = match heard {
                Ok(()) => self.carry_out(callers).await,
                Err(why) => Err(why),
            };
            if let Err(why) = moved {
                return Some(why);
            }
        }
    }

    fn heard_caller(&mut self, message: Option<ChannelMsg>) -> Result<(), String> {
        match message {
            Some(ChannelMsg::Data { data }) => self.sftp.receive(Side::Caller, &data),
            Some(ChannelMsg::Eof) => self.caller_ended = End::Heard,
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
                callers.flow.says(callers.write.extended_data_bytes(STDERR, data)).await.map_err(|_| CALLER_LEFT.to_owned())?;
            }
            // That nothing more comes is told at the end, behind how it ended.
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                self.ended = Ended::Status(exit_status);
                self.ended.tell(&callers.handle, callers.id).await;
            }
            Some(ChannelMsg::Close) => return Ok(false),
            None => return Err(MACHINE_GONE.to_owned()),
            Some(_) => {}
        }
        Ok(true)
    }

    async fn carry_out(&mut self, callers: &mut Callers) -> Result<(), String> {
        while let Some(next) = self.sftp.next_move().map_err(|malformed| format!("it is no SFTP: {malformed}"))? {
            match next {
                Move::Send(Side::Caller, bytes) => {
                    self.down = self.down.saturating_add(bytes.len() as u64);
                    self.to_caller.push(bytes);
                }
                Move::Send(Side::Target, bytes) => self.to_machine.push(bytes),
                Move::Ask(asked) => self.ask(&asked, callers).await?,
                Move::Look { operation, content } => self.look(operation, &content),
                Move::LookedThrough { operation, whole } => self.looked_through(operation, whole),
                Move::Ended(done) => self.tell(done),
            }
        }
        Ok(())
    }

    async fn ask(&mut self, asked: &Asked, callers: &mut Callers) -> Result<(), String> {
        let operation = operation(asked);
        let tell = callers.teller();
        match self.session.ask(&operation, tell, callers.inbox.gone()).await.map_err(|broken| broken.to_string())? {
            Ruling::Forward(permit) => {
                let number = permit.operation();
                let search =
                    matches!(asked.request, Request::Open { read: true, .. }).then(|| self.session.looks_through(Timestamp::now())).flatten();
                self.sftp.forward(permit, number, search.is_some());
                self.looked.extend(search.map(|search| (number, search)));
            }
            Ruling::Refuse(sentence) => self.sftp.refuse(&format!("countersign: {sentence}")),
        }
        Ok(())
    }

    /// One that has something in it is withheld as soon as that is found.
    fn look(&mut self, operation: u64, content: &[u8]) {
        let Some(search) = self.looked.get_mut(&operation) else { return };
        search.push(content);
        if !search.found().is_empty() {
            self.looked_through(operation, true);
        }
    }

    fn looked_through(&mut self, operation: u64, whole: bool) {
        let Some(mut search) = self.looked.remove(&operation) else { return };
        search.end();
        let found = search.found();
        let why = match (whole, found.as_slice()) {
            (true, []) => return self.sftp.show(operation),
            (false, []) => "it cannot be looked through".to_owned(),
            (_, found) => format!("it holds {}, which you may not reveal", found.join(", ")),
        };
        self.sftp.withhold(operation, &format!("countersign: {why}"));
        let masked = found.into_iter().map(str::to_owned).collect();
        self.answered(operation, Answer { error: Some(why), masked, ..Answer::default() });
    }

    fn tell(&mut self, done: Done) {
        let Done { operation, outcome, failed, bytes } = done;
        // One that could not be opened is not looked through.
        self.looked.remove(&operation);
        let (tag, error) = if failed { (None, Some(outcome)) } else { (Some(outcome), None) };
        self.answered(operation, Answer { tag, error, bytes, masked: Vec::new() });
    }

    fn answered(&self, operation: u64, answer: Answer) {
        if let Err(error) = self.session.answered(operation, answer, Timestamp::now()) {
            tracing::error!(%error, session = %self.session.id(), "how an operation on a file ended could not be recorded");
        }
    }
}

/// Waits until something is sent, if anything is being sent.
async fn sent(sending: &mut Option<Sending<'_>>) -> Result<(), russh::Error> {
    match sending {
        Some(underway) => {
            let sent = underway.await;
            *sending = None;
            sent
        }
        None => std::future::pending().await,
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
    Operation { text: in_words(asked).into(), facts: Arc::new(facts), via: Via::File, may_wait: true, watchable: false }
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
