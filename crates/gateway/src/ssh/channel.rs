//! A session channel: what is asked for before it begins, the one command or shell it is for, and what passes then.

use std::sync::Arc;

use model::{Timestamp, name::printable};
use policy::classify::ssh::{self as classify, Transfer};
use russh::{
    Channel, ChannelMsg, Pty, client,
    server::{Handle, Msg},
};
use session::{
    approve::Watch,
    ssh::{Answer, Operation, Ruling, Via},
};
use tokio::sync::mpsc;

use super::{
    ahead::{Ahead, Machines},
    conversation::{Conversation, Open},
    files,
    incoming::{self, Arrival, Offer, Way},
    machine::Link,
    relay::{self, Callers, Ended, Passed, Running, STDERR, lines},
};

/// The exit status of what was refused: no command's own by convention.
const REFUSED: u32 = 254;

/// A terminal that was asked for.
#[derive(Debug, Clone)]
struct PtyRequest {
    term: String,
    size: (u32, u32),
    pixels: (u32, u32),
    modes: Vec<(Pty, u32)>,
}

/// What a channel is to begin with.
#[derive(Debug)]
struct Prelude {
    pty: Option<PtyRequest>,
    variables: Vec<(String, String)>,
    offers: Vec<Offer>,
}

/// What a channel is for.
#[derive(Debug)]
enum Start {
    Exec(Vec<u8>),
    Shell,
    Subsystem(String),
}

/// The subsystem whose operations are decided one by one.
const SFTP: &str = "sftp";

impl Start {
    /// What has a terminal can be watched; files are no picture.
    fn operation(&self, terminal: bool) -> Operation {
        match self {
            Self::Exec(command) => Operation {
                text: String::from_utf8_lossy(command).into(),
                facts: Arc::new(classify::exec(command)),
                via: Via::Exec,
                may_wait: true,
                watchable: terminal,
            },
            Self::Shell => Operation {
                text: "an interactive shell".into(),
                facts: Arc::new(classify::shell()),
                via: Via::Shell,
                may_wait: true,
                watchable: terminal,
            },
            Self::Subsystem(name) => Operation {
                text: format!("the subsystem {}", printable(name)).into(),
                facts: Arc::new(classify::subsystem(name)),
                via: Via::Subsystem,
                may_wait: true,
                watchable: false,
            },
        }
    }
}

/// Runs one channel to its end.
pub(super) async fn run(conversation: Arc<Conversation>, channel: Channel<Msg>, handle: Handle) {
    let id = channel.id();
    let mut callers = Callers::new(channel, handle, conversation.flow());
    let begun = begin(&mut callers).await;
    let (offers, operations): (Vec<_>, Vec<_>) = conversation.offers(id).into_iter().unzip();
    if let Some((pty, start)) = begun {
        let prelude = Prelude { pty, variables: conversation.variables(id), offers };
        carry_out(&conversation, &mut callers, prelude, start).await;
        let _ = callers.end().await;
    }
    conversation.withdraw(&operations).await;
    let _ = callers.handle.close(id).await;
}

/// Takes what is asked for before the channel begins; that is answered where it arrives. None if it ends before.
async fn begin(callers: &mut Callers) -> Option<(Option<PtyRequest>, Start)> {
    let mut pty = None;
    let start = loop {
        match callers.inbox.next().await? {
            ChannelMsg::RequestPty { term, col_width, row_height, pix_width, pix_height, terminal_modes, .. } => {
                pty = Some(PtyRequest { term, size: (col_width, row_height), pixels: (pix_width, pix_height), modes: terminal_modes });
            }
            ChannelMsg::Exec { command, .. } => break Start::Exec(command),
            ChannelMsg::RequestShell { .. } => break Start::Shell,
            ChannelMsg::RequestSubsystem { name, .. } => break Start::Subsystem(name),
            ChannelMsg::Eof | ChannelMsg::Close => return None,
            _ => {}
        }
    };
    Some((pty, start))
}

/// Has what the channel is for decided, carries it out, and tells the caller how it ended. Boxed is what only goes before, or is only for some: a channel that waits takes up the room
/// of the largest that it may wait for.
async fn carry_out(conversation: &Arc<Conversation>, callers: &mut Callers, prelude: Prelude, start: Start) {
    let open = match conversation.open().await {
        Ok(open) => open,
        Err(why) => return callers.refuse(&why).await,
    };
    let operation = start.operation(prelude.pty.is_some());
    let tell = callers.teller();
    let ruling = Box::pin(open.session.ask(&operation, tell, callers.inbox.gone())).await;
    let mut permit = match ruling {
        Ok(Ruling::Forward(permit)) => permit,
        Ok(Ruling::Refuse(sentence)) => return callers.refuse(&sentence).await,
        Err(broken) => return callers.refuse(&broken.to_string()).await,
    };
    let (op, mut watch) = (permit.operation(), permit.take_watch());
    let transfer = if let Start::Exec(command) = &start { classify::transfers(command) } else { None };
    // What it sends cannot be looked through. It is refused for whoever may not see all that would be looked for.
    if transfer == Some(Transfer::Sends) && open.session.looks_through(Timestamp::now()).is_some() {
        let why = "files are looked through here before you have them, which only sftp allows (scp without -O)";
        open.answered(op, Answer { error: Some(why.to_owned()), ..Answer::default() });
        return callers.refuse(why).await;
    }
    let masks = transfer.is_none();
    let of_files = matches!(&start, Start::Subsystem(name) if name == SFTP);
    match Box::pin(started(&open, &prelude, start)).await {
        Ok(Started { link, machines, ways, arrivals }) => {
            if let Some(pty) = &prelude.pty {
                let _ = open.session.resized(op, pty.size, Timestamp::now());
            }
            let records = prelude.pty.is_some() || open.session.records_output();
            let running = Running { session: &open.session, operation: op, records, terminal: prelude.pty.is_some(), masks, has_status: true };
            let handle = callers.handle.clone();
            let passed = tokio::select! {
                passed = pass(&running, callers, machines, of_files, watch.as_mut()) => passed,
                never = incoming::pass_on(conversation, &open, &link, handle, ways, arrivals) => match never {},
            };
            if let (true, Some(why), false) = (passed.stopped, &passed.broken, callers.ended) {
                callers.refuse(why).await;
            }
            // What was passed on is part of what was watched; and of what did not end in order nothing goes on.
            if !passed.in_order || watch.is_some() {
                link.cut();
            }
            if let Some(watch) = &watch {
                let _ = open.session.was_watched(op, watch, Timestamp::now());
            }
            open.answered(op, passed.answer());
            if let Some(link) = Arc::into_inner(link).filter(|_| passed.in_order && watch.is_none()) {
                open.give_back(link);
            }
        }
        Err(why) => {
            open.answered(op, Answer { error: Some(why.clone()), ..Answer::default() });
            callers.refuse(&why).await;
        }
    }
}

async fn pass(running: &Running<'_>, callers: &mut Callers, machines: Machines, of_files: bool, watch: Option<&mut Watch>) -> Passed {
    if of_files { Box::pin(files::run(running.session, callers, machines)).await } else { relay::run(running, callers, machines, watch).await }
}

/// What the machine has begun.
struct Started {
    link: Arc<Link>,
    machines: Machines,
    /// What of the caller's it may reach, and who there wants to.
    ways: Vec<Way>,
    arrivals: Option<mpsc::Receiver<Arrival>>,
}

/// Has the machine begin what was permitted.
async fn started(open: &Open, prelude: &Prelude, start: Start) -> Result<Started, String> {
    let link = open.link().await?;
    let failed = |error: russh::Error| format!("the machine does not begin it: {error}");
    let mut channel = link.handle.channel_open_session().await.map_err(failed)?;
    let arrivals = if prelude.offers.is_empty() { None } else { link.arrivals() };
    let mut ahead = Ahead::default();
    let ways = offer(&mut channel, &mut ahead, &prelude.offers).await?;
    for (name, value) in &prelude.variables {
        channel.set_env(false, name.as_str(), value.as_str()).await.map_err(failed)?;
    }
    if let Some(pty) = &prelude.pty {
        let ((columns, rows), (width, height)) = (pty.size, pty.pixels);
        channel.request_pty(true, &pty.term, columns, rows, width, height, &pty.modes).await.map_err(failed)?;
        granted(&mut channel, &mut ahead, "gives no terminal").await?;
    }
    match start {
        Start::Exec(command) => channel.exec(true, command).await.map_err(failed)?,
        Start::Shell => channel.request_shell(true).await.map_err(failed)?,
        Start::Subsystem(name) => channel.request_subsystem(true, name).await.map_err(failed)?,
    }
    granted(&mut channel, &mut ahead, "refuses to begin it").await?;
    Ok(Started { link: Arc::new(link), machines: Machines::new(channel, ahead), ways, arrivals })
}

/// Offers the machine what of the caller's it may reach. One that does not want it goes without, as a caller that asked it itself would.
async fn offer(channel: &mut Channel<client::Msg>, ahead: &mut Ahead, offers: &[Offer]) -> Result<Vec<Way>, String> {
    let mut ways = Vec::new();
    for offer in offers {
        let asked = match offer {
            Offer::Agent => channel.agent_forward(true).await,
            Offer::Display { single_connection, protocol, cookie, screen } => {
                let cookie = cookie.reveal_str().unwrap_or_default();
                channel.request_x11(true, *single_connection, protocol.as_str(), cookie, *screen).await
            }
        };
        asked.map_err(|error| format!("the machine does not begin it: {error}"))?;
        if ahead.until_answered(channel).await? {
            ways.push(offer.way());
        }
    }
    Ok(ways)
}

/// Waits for the machine to grant what was asked last.
async fn granted(channel: &mut Channel<client::Msg>, ahead: &mut Ahead, refuses: &str) -> Result<(), String> {
    if ahead.until_answered(channel).await? { Ok(()) } else { Err(format!("the machine {refuses}")) }
}

impl Callers {
    /// Tells the caller why nothing came of it.
    async fn refuse(&self, sentence: &str) {
        let _ = self.handle.extended_data(self.id, STDERR, lines(sentence)).await;
        Ended::Status(REFUSED).tell(&self.handle, self.id).await;
    }
}
