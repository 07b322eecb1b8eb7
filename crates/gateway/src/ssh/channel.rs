//! A session channel: what is asked for before it begins, the one command or shell it is for, and what passes then.

use std::{collections::VecDeque, sync::Arc};

use model::{Facts, Timestamp, name::printable};
use policy::classify::ssh as classify;
use russh::{
    Channel, ChannelMsg, Pty, client,
    server::{Handle, Msg},
};
use session::ssh::{Answer, Operation, Ruling, Via};

use super::{
    conversation::{Conversation, Open},
    files,
    machine::Link,
    relay::{self, Callers, Ended, Running, STDERR, lines},
};

/// The exit status of what was refused: no command's own by convention.
const REFUSED: u32 = 254;
/// Variables one channel may set, and their bytes in all.
const MAX_VARIABLES: usize = 64;
const MAX_VARIABLES_BYTES: usize = 64 << 10;

/// A terminal that was asked for.
#[derive(Debug, Clone)]
struct PtyRequest {
    term: String,
    size: (u32, u32),
    pixels: (u32, u32),
    modes: Vec<(Pty, u32)>,
}

/// What a channel is to begin with.
#[derive(Debug, Default)]
struct Prelude {
    pty: Option<PtyRequest>,
    variables: Vec<(String, String)>,
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
    fn operation(&self) -> Operation {
        match self {
            Self::Exec(command) => {
                Operation { text: String::from_utf8_lossy(command).into(), facts: Arc::new(classify::exec(command)), via: Via::Exec, may_wait: true }
            }
            Self::Shell => Operation { text: "an interactive shell".into(), facts: Arc::new(classify::shell()), via: Via::Shell, may_wait: true },
            Self::Subsystem(name) => Operation {
                text: format!("the subsystem {}", printable(name)).into(),
                facts: Arc::new(classify::subsystem(name)),
                via: Via::Subsystem,
                may_wait: true,
            },
        }
    }
}

/// Runs one channel to its end.
pub(super) async fn run(conversation: Arc<Conversation>, channel: Channel<Msg>, handle: Handle) {
    let id = channel.id();
    let (read, write) = channel.split();
    let mut callers = Callers { id, handle, read, write: Arc::new(write), ahead: VecDeque::new(), ended: false, flow: conversation.flow().clone() };
    if let Some((prelude, start)) = begin(&conversation, &mut callers).await {
        let _ = callers.handle.channel_success(id).await;
        carry_out(&conversation, &mut callers, prelude, start).await;
        let _ = callers.end().await;
    }
    let _ = callers.handle.close(id).await;
}

/// Takes what is asked for before the channel begins. None if it ends before.
async fn begin(conversation: &Conversation, callers: &mut Callers) -> Option<(Prelude, Start)> {
    let mut prelude = Prelude::default();
    loop {
        let granted = match callers.read.wait().await? {
            ChannelMsg::RequestPty { term, col_width, row_height, pix_width, pix_height, terminal_modes, .. } => {
                prelude.pty = Some(PtyRequest { term, size: (col_width, row_height), pixels: (pix_width, pix_height), modes: terminal_modes });
                true
            }
            ChannelMsg::SetEnv { variable_name, variable_value, .. } => set(conversation, &mut prelude, variable_name, variable_value).await,
            ChannelMsg::Exec { command, .. } => return Some((prelude, Start::Exec(command))),
            ChannelMsg::RequestShell { .. } => return Some((prelude, Start::Shell)),
            ChannelMsg::RequestSubsystem { name, .. } => return Some((prelude, Start::Subsystem(name))),
            ChannelMsg::Eof | ChannelMsg::Close => return None,
            // Answered where they arrive, or without an answer.
            ChannelMsg::AgentForward { .. } | ChannelMsg::WindowAdjusted { .. } | ChannelMsg::WindowChange { .. } | ChannelMsg::Signal { .. } => {
                continue;
            }
            _ => false,
        };
        let answered = if granted { callers.handle.channel_success(callers.id).await } else { callers.handle.channel_failure(callers.id).await };
        answered.ok()?;
    }
}

/// Whether a variable is set: what changes what programs mean is decided.
async fn set(conversation: &Conversation, prelude: &mut Prelude, name: String, value: String) -> bool {
    let bytes: usize = prelude.variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    if prelude.variables.len() >= MAX_VARIABLES || bytes + name.len() + value.len() > MAX_VARIABLES_BYTES {
        return false;
    }
    let facts = Arc::new(classify::environment(&name));
    if needs_more(&facts) {
        let Ok(open) = conversation.open().await else { return false };
        // Its value may be a secret.
        let operation = Operation { text: format!("the variable {}", printable(&name)).into(), facts, via: Via::Environment, may_wait: false };
        match open.ask_at_once(&operation).await {
            Ok(Ruling::Forward(permit)) => answered(&open, permit.operation(), Answer::default()),
            Ok(Ruling::Refuse(_)) | Err(_) => return false,
        }
    }
    prelude.variables.push((name, value));
    true
}

fn needs_more(facts: &Facts) -> bool {
    facts.understanding != model::Understanding::Full || facts.pairs.iter().any(|pair| pair.action != model::Action::Connect)
}

fn answered(open: &Open, operation: u64, answer: Answer) {
    if let Err(error) = open.session.answered(operation, answer, Timestamp::now()) {
        tracing::error!(%error, session = %open.session.id(), "how an operation ended could not be recorded");
    }
}

/// Has what the channel is for decided, carries it out, and tells the caller how it ended.
async fn carry_out(conversation: &Conversation, callers: &mut Callers, prelude: Prelude, start: Start) {
    let open = match conversation.open().await {
        Ok(open) => open,
        Err(why) => return callers.refuse(&why).await,
    };
    let operation = start.operation();
    let tell = callers.teller();
    let ruling = open.session.ask(&operation, tell, callers.gone()).await;
    let permit = match ruling {
        Ok(Ruling::Forward(permit)) => permit,
        Ok(Ruling::Refuse(sentence)) => return callers.refuse(&sentence).await,
        Err(broken) => return callers.refuse(&broken.to_string()).await,
    };
    let op = permit.operation();
    let masks = !matches!(&start, Start::Exec(command) if classify::transfers(command));
    let of_files = matches!(&start, Start::Subsystem(name) if name == SFTP);
    match started(&open, &prelude, start).await {
        Ok((link, machines)) => {
            if let Some(pty) = &prelude.pty {
                let _ = open.session.resized(op, pty.size, Timestamp::now());
            }
            let records = prelude.pty.is_some() || open.session.records_output();
            let passed = match of_files {
                true => files::run(&open.session, callers, machines).await,
                false => {
                    let running =
                        Running { session: &open.session, operation: op, records, terminal: prelude.pty.is_some(), masks, has_status: true };
                    relay::run(&running, callers, machines).await
                }
            };
            answered(&open, op, passed.answer());
            if passed.in_order {
                open.give_back(link);
            }
        }
        Err(why) => {
            answered(&open, op, Answer { error: Some(why.clone()), ..Answer::default() });
            callers.refuse(&why).await;
        }
    }
}

/// Has the machine begin what was permitted.
async fn started(open: &Open, prelude: &Prelude, start: Start) -> Result<(Link, Channel<client::Msg>), String> {
    let link = open.link().await?;
    let failed = |error: russh::Error| format!("the machine does not begin it: {error}");
    let mut channel = link.handle.channel_open_session().await.map_err(failed)?;
    for (name, value) in &prelude.variables {
        channel.set_env(false, name.as_str(), value.as_str()).await.map_err(failed)?;
    }
    if let Some(pty) = &prelude.pty {
        let ((columns, rows), (width, height)) = (pty.size, pty.pixels);
        channel.request_pty(true, &pty.term, columns, rows, width, height, &pty.modes).await.map_err(failed)?;
        granted(&mut channel, "gives no terminal").await?;
    }
    match start {
        Start::Exec(command) => channel.exec(true, command).await.map_err(failed)?,
        Start::Shell => channel.request_shell(true).await.map_err(failed)?,
        Start::Subsystem(name) => channel.request_subsystem(true, name).await.map_err(failed)?,
    }
    granted(&mut channel, "refuses to begin it").await?;
    Ok((link, channel))
}

/// Waits for the machine's answer to what was asked last.
async fn granted(channel: &mut Channel<client::Msg>, refuses: &str) -> Result<(), String> {
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok(()),
            Some(ChannelMsg::Failure) => return Err(format!("the machine {refuses}")),
            None | Some(ChannelMsg::Close) => return Err("the machine is gone".to_owned()),
            Some(_) => {}
        }
    }
}

impl Callers {
    /// Tells the caller why nothing came of it.
    async fn refuse(&self, sentence: &str) {
        let _ = self.handle.extended_data(self.id, STDERR, lines(sentence)).await;
        Ended::Status(REFUSED).tell(&self.handle, self.id).await;
    }
}
