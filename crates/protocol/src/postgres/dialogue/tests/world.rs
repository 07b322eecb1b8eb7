//! A caller, the dialogue and a model of PostgreSQL, with bytes on the way between them: what may happen in any order, and what must then be true.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use model::facts::NameEffect;

use super::model::Model;
use crate::{
    Side,
    postgres::{
        dialogue::{Dialogue, Forwarding, Limits, Move, Operation, OperationKind, Reply, ReplyKind, Ruling, Settings},
        frame,
        message::frontend::{self, Kind},
        refusal::{Refusal, Sqlstate},
    },
};

/// What statements are made of.
pub(crate) const TEXTS: [&str; 22] = [
    "ins 1",
    "ins 2",
    "ins deny",
    "ins denyparse",
    "sel 3",
    "secret 2",
    "secret 5",
    "fail",
    "begin",
    "begin",
    "commit",
    "rollback",
    "savepoint",
    "rollback to",
    "nonsense",
    "prepare s1 ins deny",
    "prepare s1 sel 1",
    "prepare s2 ins 9",
    "deallocate s1",
    "execute s1",
    "execute s2",
    "sel x",
];

/// One of a caller's messages, or a few that belong together.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Query(&'static str),
    Parse(&'static str, &'static str),
    Bind(&'static str, &'static str),
    Execute(&'static str, i32),
    Describe(Kind, &'static str),
    Close(Kind, &'static str),
    Sync,
    Flush,
    /// Bind and Execute of a COPY, data, its end; then a Sync. `synced`: another Sync before the data, as libpq sends it.
    Copy {
        simple: bool,
        synced: bool,
        data: &'static str,
        fails: bool,
    },
    Data,
}

/// Holds one conversation and its oracle together.
pub(crate) fn check(said: &[Say], steps: &[(u8, usize)], max_owed: usize) {
    let caller = bytes_of(said);
    let mut oracle = Model::default();
    oracle.refuses = true;
    oracle.feed(&caller);
    let mut world = World::new(&caller, max_owed);
    for &(choice, amount) in steps {
        world.step(choice, amount);
    }
    world.settle();
    assert_eq!(outline(&world.told), outline(&oracle.out), "what the caller sees");
    assert_eq!(world.target.committed, oracle.committed, "what stands in the tables");
    assert!(world.target.executed.iter().all(|text| !text.contains("deny")), "{:?}", world.target.executed);
    assert!(!world.passed.windows(6).any(|window| window == b"secret"), "shown rows pass nowhere else");
    assert_eq!(world.ended, oracle.dead);
    if !world.ended && !oracle.copies_in() {
        assert!(!world.dialogue.is_busy() && world.asked.is_none() && world.dialogue.input(Side::Caller).is_empty());
    }
}

fn bytes_of(said: &[Say]) -> BytesMut {
    let mut caller = BytesMut::new();
    said.iter().for_each(|say| write(say, &mut caller));
    frontend::sync(&mut caller);
    caller
}

pub(super) fn write(say: &Say, out: &mut BytesMut) {
    match say {
        Say::Query(text) => frontend::query(out, text.as_bytes()).unwrap(),
        Say::Parse(name, text) => frontend::parse(out, name.as_bytes(), text.as_bytes(), &[]).unwrap(),
        Say::Bind(portal, name) => frontend::bind(out, portal.as_bytes(), name.as_bytes(), &[], &[], &[]).unwrap(),
        Say::Execute(portal, rows) => frontend::execute(out, portal.as_bytes(), *rows).unwrap(),
        Say::Describe(kind, name) => frontend::describe(out, *kind, name.as_bytes()).unwrap(),
        Say::Close(kind, name) => frontend::close(out, *kind, name.as_bytes()).unwrap(),
        Say::Sync => frontend::sync(out),
        Say::Flush => frontend::flush(out),
        Say::Data => frontend::copy_data(out, b"stray").unwrap(),
        Say::Copy { simple, synced, data, fails } => {
            if *simple {
                frontend::query(out, b"copyin").unwrap();
            } else {
                frontend::parse(out, b"", b"copyin", &[]).unwrap();
                frontend::bind(out, b"", b"", &[], &[], &[]).unwrap();
                frontend::execute(out, b"", 0).unwrap();
                // Whether a Sync after bad data counts is a race on the real server too.
                if *synced {
                    frontend::sync(out);
                }
            }
            frontend::copy_data(out, data.as_bytes()).unwrap();
            if *fails {
                frontend::copy_fail(out, b"no").unwrap()
            } else {
                frontend::copy_done(out)
            }
            if !*simple {
                frontend::sync(out);
            }
        }
    }
}

/// Caller, dialogue and target, with bytes on the way between them.
pub(super) struct World {
    pub(super) dialogue: Dialogue<()>,
    pub(super) target: Model,
    from_caller: VecDeque<u8>,
    to_target: VecDeque<u8>,
    from_target: VecDeque<u8>,
    pub(super) told: Vec<u8>,
    passed: Vec<u8>,
    asked: Option<Operation>,
    learning: bool,
    ended: bool,
}

impl World {
    pub(super) fn new(caller: &[u8], max_owed: usize) -> Self {
        let limits = Limits { max_owed, ..Limits::default() };
        Self {
            dialogue: Dialogue::new(limits, Settings::new("ours", "theirs")),
            target: Model::default(),
            from_caller: caller.iter().copied().collect(),
            to_target: VecDeque::new(),
            from_target: VecDeque::new(),
            told: Vec::new(),
            passed: Vec::new(),
            asked: None,
            learning: false,
            ended: false,
        }
    }

    /// One thing happens. False if it had nothing to do.
    pub(super) fn step(&mut self, choice: u8, amount: usize) -> bool {
        match choice % 4 {
            0 if self.dialogue.wants(Side::Caller) => {
                let bytes = take(&mut self.from_caller, amount);
                self.dialogue.input(Side::Caller).extend_from_slice(&bytes);
                self.received(Side::Caller, !bytes.is_empty())
            }
            1 => {
                let bytes = take(&mut self.from_target, amount);
                self.dialogue.input(Side::Target).extend_from_slice(&bytes);
                self.received(Side::Target, !bytes.is_empty())
            }
            2 => {
                let bytes = take(&mut self.to_target, amount);
                self.target.feed(&bytes);
                self.from_target.extend(self.target.out.split());
                !bytes.is_empty()
            }
            3 => self.decide(amount),
            _ => false,
        }
    }

    fn received(&mut self, side: Side, any: bool) -> bool {
        if any {
            self.dialogue.received(side, 0);
            self.drain();
        }
        any
    }

    fn drain(&mut self) {
        loop {
            match self.dialogue.next_move() {
                Move::Ask(operation) => {
                    assert!(self.asked.replace(operation).is_none());
                }
                Move::Send(Side::Target, bytes) => self.to_target.extend(bytes),
                Move::Send(Side::Caller, bytes) => {
                    self.told.extend_from_slice(&bytes);
                    self.passed.extend_from_slice(&bytes);
                }
                Move::Show(Reply { kind: ReplyKind::Copy(Side::Caller), frames, .. }) => self.to_target.extend(frames),
                Move::Show(Reply { kind: ReplyKind::Shape { forward: false }, .. }) | Move::Answered(_) => {}
                Move::Show(reply) => self.told.extend_from_slice(&reply.frames),
                Move::Learned(answer) => {
                    assert_eq!(answer.unwrap(), vec![vec![vec![Some("sel0".to_owned())]]]);
                    self.learning = false;
                }
                Move::Withdraw(id) => {
                    assert_eq!(self.asked.take().map(|operation| operation.id), Some(id));
                    self.learning = false;
                }
                Move::Wait => return,
                Move::End(_) => self.ended = true,
            }
        }
    }

    fn decide(&mut self, amount: usize) -> bool {
        if self.learning {
            return false;
        }
        let Some(operation) = self.asked.take() else { return false };
        // Now and then the gateway has a question of its own first.
        let quiet = self.to_target.is_empty() && !self.target.is_failed();
        if amount.is_multiple_of(5) && quiet {
            self.asked = Some(operation);
            self.learning = true;
            self.dialogue.hold();
            self.dialogue.question(&["sel 1"]);
        } else {
            let ruling = self.ruling(&operation);
            self.dialogue.rule(ruling, 0);
        }
        self.drain();
        true
    }

    fn ruling(&self, operation: &Operation) -> Ruling<()> {
        let text = &*operation.text;
        let prepared = |name: &str| self.dialogue.names().statements().find(|(known, _)| *known == name).map(|(_, (text, _))| text.to_string());
        let denied = match operation.kind {
            OperationKind::Parse => text.contains("denyparse"),
            _ => text.contains("deny") || text.strip_prefix("execute ").and_then(prepared).is_some_and(|text| text.contains("deny")),
        };
        if denied {
            return Ruling::Refuse(Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, "refused"));
        }
        let effect = |text: &str| {
            let (word, rest) = text.split_once(' ')?;
            match (word, rest.split_once(' ')) {
                ("prepare", Some((name, body))) => Some(NameEffect::Prepare { name: name.to_owned(), body: body.to_owned() }),
                ("deallocate", None) => Some(NameEffect::Deallocate(rest.to_owned())),
                _ => None,
            }
        };
        let forwarding = Forwarding {
            show: text.contains("secret"),
            copy_in: text.contains("copyin"),
            alone: !text.contains(';'),
            names: effect(text).into_iter().collect(),
            ..Forwarding::default()
        };
        Ruling::Forward((), forwarding)
    }

    /// Everything that can still happen does.
    fn settle(&mut self) {
        while (0..4).any(|choice| self.step(choice, 1 << 20)) {}
    }
}

fn take(queue: &mut VecDeque<u8>, amount: usize) -> Vec<u8> {
    let count = amount.min(queue.len());
    queue.drain(..count).collect()
}

/// Messages with the texts of errors left out.
fn outline(mut bytes: &[u8]) -> Vec<(char, Bytes)> {
    let mut messages = Vec::new();
    while let Some(head) = frame::head(bytes, Side::Target, &frame::Limits::default()).unwrap() {
        let body = if head.tag == b'E' { Bytes::new() } else { Bytes::copy_from_slice(&bytes[5..head.len]) };
        messages.push((char::from(head.tag), body));
        bytes = &bytes[head.len..];
    }
    assert!(bytes.is_empty());
    messages
}
