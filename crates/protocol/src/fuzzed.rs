//! What the fuzz targets of this crate run, and the replay of what they found: bytes that a stranger chose go in, and a promise that does not hold
//! panics.

use std::borrow::Cow;

use bytes::BytesMut;
use model::{Secret, facts::CopyLayout};

use crate::{
    Side,
    postgres::{
        copy::{Change, CopyRewriter},
        dialogue::{
            Dialogue, Forwarding, Limits, Move, Operation, Reply, ReplyKind, Ruling, Settings,
            tests::world::{self, Say},
        },
        frame::{self, HEAD_BYTES},
        login::{
            caller::{CallerLogin, CallerMove, Peer, TlsOffer},
            scram,
            target::{Link, TargetLogin, TargetMove, TargetWish},
        },
        message::{
            again::{again, back, raw},
            backend::{Authentication, Backend},
            frontend::{Frontend, SaslInitialResponse},
        },
        refusal::{Refusal, Sqlstate, generic_error},
        rows::{self, RowDescription},
    },
    ssh::sftp::{self, Sftp},
};

/// A type, then a body: what a caller's message says is refused, or is all that is in it.
pub fn caller_message(data: &[u8]) {
    let Some((&tag, body)) = data.split_first() else { return };
    let _ = (SaslInitialResponse::decode(body), frame::startup(data));
    if let Ok(message) = Frontend::decode(tag, body) {
        assert_eq!(again(&message), raw(tag, body), "{message:?}");
    }
    framed_alike(Side::Caller, tag, body);
}

/// The same of a target's, with its rows.
pub fn target_message(data: &[u8]) {
    let Some((&tag, body)) = data.split_first() else { return };
    match Backend::decode(tag, body) {
        // The rest of such a request is not read, because it is refused.
        Ok(Backend::Authentication(Authentication::Other(_))) | Err(_) => {}
        Ok(message) => assert_eq!(back(&message), raw(tag, body), "{message:?}"),
    }
    framed_alike(Side::Target, tag, body);
    if let Ok(shape) = RowDescription::decode(body) {
        let fields: Vec<_> = shape.iter().collect();
        assert_eq!(fields.len(), shape.len());
        let mut out = BytesMut::new();
        rows::describe(&mut out, &fields).unwrap();
        assert_eq!(&out[HEAD_BYTES..], body);
    }
    let mut out = BytesMut::new();
    let rewritten = rows::rewrite(body, |_, cell| cell.map(Cow::Borrowed), &mut out);
    assert_eq!(rewritten.is_ok(), rows::row(body).is_ok());
    assert!(if rewritten.is_ok() { out == raw(b'D', body) } else { out.is_empty() }, "an unchanged row is the same, a malformed one leaves nothing");
    let _ = generic_error(tag, body, &mut out);
}

/// How a COPY is written, then rows, each with its length before it: what changes nothing gives the same bytes, a row of other values is read as these, and what is
/// no row leaves nothing behind.
pub fn copy_rows(data: &[u8]) {
    let mut data = Choices(data);
    let flags = data.byte();
    let delimiter = [b'\t', b',', b'|', b'x'][usize::from(flags >> 2 & 3)];
    let null = [&b"\\N"[..], b"", b"NULL"][usize::from(flags >> 4) % 3].to_vec();
    let layout = match flags & 3 {
        0 => CopyLayout::Text { delimiter, null: b"\\N".to_vec(), header: flags & 128 > 0 },
        1 => CopyLayout::Csv { delimiter, quote: b'"', escape: b'"', null, quoted: Some(Vec::new()), header: flags & 128 > 0 },
        2 => CopyLayout::Csv { delimiter, quote: b'\'', escape: b'\\', null, quoted: None, header: flags & 128 > 0 },
        _ => CopyLayout::Binary,
    };
    let columns = usize::from(data.byte()) % 6;
    let rewriter = || CopyRewriter::new(layout.clone(), columns);
    let (mut kept, mut masked, mut read) = (rewriter(), rewriter(), rewriter());
    while let Some(row) = data.piece() {
        let mut same = BytesMut::new();
        let mut before = Vec::new();
        let known = kept.rewrite(
            row,
            |_, value| {
                before.push(value.map(<[u8]>::to_vec));
                Change::Keep
            },
            &mut same,
        );
        let mut out = BytesMut::new();
        let change = |index: usize, value: Option<&[u8]>| match (index % 3, value) {
            (0, Some(_)) => Change::Value(Cow::Borrowed(&b"*\t\"\\,'\n"[..])),
            (1, _) => Change::Null,
            _ => Change::Keep,
        };
        let changed = masked.rewrite(row, change, &mut out);
        assert_eq!(known.is_ok(), changed.is_ok());
        if known.is_err() {
            assert!(same.is_empty() && out.is_empty());
            return;
        }
        assert_eq!(same, raw(b'd', row));
        let mut after = Vec::new();
        let whole = read.rewrite(
            &out[HEAD_BYTES..],
            |_, value| {
                after.push(value.map(<[u8]>::to_vec));
                Change::Keep
            },
            &mut BytesMut::new(),
        );
        whole.unwrap();
        let expected = before.into_iter().enumerate().map(|(index, value)| match (index % 3, value) {
            (0, Some(_)) => Some(b"*\t\"\\,'\n".to_vec()),
            (1, _) => None,
            (_, value) => value,
        });
        assert_eq!(after, expected.collect::<Vec<_>>());
    }
}

/// A message is as long as its head says, however much of it and of what follows is there.
fn framed_alike(side: Side, tag: u8, body: &[u8]) {
    let mut message = raw(tag, body);
    let limits = frame::Limits { max_statement_bytes: 1 << 10, max_bind_bytes: 1 << 10 };
    let whole = frame::head(&message, side, &limits);
    if let Ok(Some(head)) = whole {
        assert_eq!((head.tag, head.len), (tag, message.len()));
    }
    message.extend_from_slice(b"Q\0\0");
    assert_eq!(frame::head(&message, side, &limits), whole);
    assert!((0..HEAD_BYTES).all(|end| frame::head(&message[..end], side, &limits) == Ok(None)));
}

/// A caller before it is signed in: the first byte says where it is and what TLS agrees on, then pieces come, each with its length before it.
pub fn caller_login(data: &[u8]) {
    let mut data = Choices(data);
    let flags = data.byte();
    let peer = if flags & 1 == 0 { Peer::Loopback } else { Peer::Remote };
    let tls = if flags & 2 == 0 { TlsOffer::Offered } else { TlsOffer::Unavailable };
    let alpn: Option<&[u8]> = [None, Some(&b"postgresql"[..]), Some(b"h2"), Some(b"")][usize::from(flags >> 2 & 3)];
    let mut login = CallerLogin::new(peer, tls);
    let (mut input, mut out, mut secured, mut over) = (BytesMut::new(), BytesMut::new(), false, false);
    while let Some(piece) = data.piece() {
        input.extend_from_slice(piece);
        let mut step = login.receive(&mut input, &mut out);
        if matches!(step, CallerMove::StartTls) {
            assert_eq!(tls, TlsOffer::Offered);
            input.clear();
            step = login.secured(alpn, &mut out);
            secured = true;
        }
        assert!(!over || matches!(step, CallerMove::Close(_)), "a login that is over stays over");
        match step {
            CallerMove::Read => assert!(input.len() <= frame::MAX_PASSWORD_BYTES, "no more is kept than one message may have"),
            CallerMove::SignIn(wish) => {
                assert!(secured || peer == Peer::Loopback, "a secret is taken inside TLS or on loopback");
                let _ = wish.startup.settings();
                over = true;
            }
            CallerMove::StartTls => panic!("two handshakes"),
            CallerMove::Cancel(_) | CallerMove::Refused(_) | CallerMove::Close(_) => over = true,
        }
        assert!(out.len() <= 64 << 10, "a stranger is told little");
    }
}

const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A target that the gateway signs in at: the first byte says how, then pieces come.
pub fn target_login(data: &[u8]) {
    if asks_for_many_iterations(data) {
        return;
    }
    let mut data = Choices(data);
    let flags = data.byte();
    let pieces: Vec<&[u8]> = std::iter::from_fn(|| data.piece()).collect();
    let said_ok = pieces.concat().windows(9).any(|window| window == b"R\0\0\0\x08\0\0\0\0");
    let wish = TargetWish {
        link: if flags & 1 == 0 { Link::Loopback } else { Link::Tls },
        user: "app".to_owned(),
        database: "shop".to_owned(),
        application_name: "alice/0198".to_owned(),
        parameters: Vec::new(),
        password: (flags & 2 == 0).then(|| Secret::from("pencil".to_owned())),
        nonce: NONCE.to_owned(),
    };
    let end_point = (flags & 4 == 0).then(|| vec![7; 32]);
    let mut out = BytesMut::new();
    let mut login = TargetLogin::begin(wish, &mut out).unwrap();
    let mut input = BytesMut::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut step = login.receive(&mut input, &mut out);
        if matches!(step, TargetMove::StartTls) {
            step = login.secured(end_point.clone(), &mut out);
        }
        match step {
            TargetMove::Read => {}
            TargetMove::Ready(_) => {
                assert!(said_ok, "nobody is let in who was not told so");
                return;
            }
            TargetMove::Failed(failure) => return drop(failure.to_string()),
            TargetMove::StartTls => panic!("two handshakes"),
        }
        assert!(out.len() <= 4 << 10, "what a target is told is small");
    }
}

/// The server's two messages of a SCRAM exchange. It does not know the password, so it never proves that it does.
pub fn scram(data: &[u8]) {
    if asks_for_many_iterations(data) {
        return;
    }
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let (kind, first, last) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let binding = match kind {
        b"y" => scram::Binding::NotOffered,
        b"p" => scram::Binding::ServerEndPoint(last.to_vec()),
        _ => scram::Binding::Unsupported,
    };
    let user = String::from_utf8_lossy(kind);
    let (begun, _) = scram::begin(binding, &user, NONCE).unwrap();
    let continued = [format!("r={NONCE}").as_bytes(), first].concat();
    if let Ok((state, answer)) = begun.answer(&continued, b"pencil") {
        assert!(answer.is_ascii());
        assert!(state.verify(last).is_err());
    }
}

/// Hashing is bounded by [`scram::MAX_ITERATIONS`], which is a third of a second: too slow to be tried at random.
fn asks_for_many_iterations(data: &[u8]) -> bool {
    data.windows(5).any(|window| window.iter().all(u8::is_ascii_digit))
}

/// A conversation of well-formed messages in any order, rulings and cuts: the caller sees what it would see of a target where the refused fails.
pub fn dialogue(data: &[u8]) {
    let mut data = Choices(data);
    let max_owed = [16_384, 1, 3][usize::from(data.byte()) % 3];
    let count = usize::from(data.byte()) % 40;
    let said: Vec<Say> = (0..count).map(|_| say(&mut data)).collect();
    let mut steps = Vec::new();
    while !data.0.is_empty() {
        steps.push((data.byte(), 1 + usize::from(data.byte())));
    }
    world::check(&said, &steps, max_owed);
}

fn say(data: &mut Choices<'_>) -> Say {
    use crate::postgres::message::frontend::Kind::{Portal, Statement};
    const STATEMENTS: &[&str] = &["", "s1", "s2"];
    const PORTALS: &[&str] = &["", "p1"];
    const QUERIES: &[&str] = &["ins 3; ins 4", "ins 5; fail", "secret 1; ins 6", "begin; ins 7; commit; ins deny"];
    match data.byte() % 12 {
        0 => Say::Query(data.pick(&world::TEXTS)),
        1 => Say::Query(data.pick(QUERIES)),
        2 => Say::Parse(data.pick(STATEMENTS), data.pick(&world::TEXTS)),
        3 => Say::Bind(data.pick(PORTALS), data.pick(STATEMENTS)),
        4 => Say::Execute(data.pick(PORTALS), i32::from(data.byte() % 3)),
        5 => Say::Describe(Statement, data.pick(STATEMENTS)),
        6 => Say::Describe(Portal, data.pick(PORTALS)),
        7 => Say::Close(Statement, data.pick(STATEMENTS)),
        8 => Say::Close(Portal, data.pick(PORTALS)),
        9 => Say::Flush,
        10 => {
            let flags = data.byte();
            Say::Copy { simple: flags & 1 > 0, synced: flags & 2 > 0, data: if flags & 4 > 0 { "bad" } else { "c1" }, fails: flags & 8 > 0 }
        }
        _ if data.byte() == 0 => Say::Data,
        _ => Say::Sync,
    }
}

/// A caller and a target that say whatever they like, in pieces: what goes to the target is whole messages, and of nothing refused.
pub fn hostile_dialogue(data: &[u8]) {
    let mut data = Choices(data);
    let frame = frame::Limits { max_statement_bytes: 1 << 10, max_bind_bytes: 1 << 10 };
    let limits = Limits {
        frame,
        max_owed: 1 + usize::from(data.byte()),
        max_waiting_bytes: 2 << 10,
        max_prepared_bytes: 2 << 10,
        max_shown_row_bytes: 1 << 10,
        max_answer_bytes: 2 << 10,
    };
    let mut room = Room { dialogue: Dialogue::new(limits, Settings::new("ours", "theirs")), sent: BytesMut::new(), asked: None, ended: false };
    while !room.ended {
        let choice = data.byte();
        let Some(piece) = data.piece() else { break };
        let side = if choice & 1 == 0 { Side::Caller } else { Side::Target };
        if room.dialogue.wants(side) {
            room.dialogue.input(side).extend_from_slice(piece);
            room.dialogue.received(side, 1);
        }
        room.drain();
        room.decide(choice);
        assert!(room.dialogue.input(Side::Caller).len() <= (2 << 10) + 255 + (1 << 10), "what waits is bounded");
    }
    room.check_sent();
}

/// A caller and a machine that say whatever they like over SFTP, in pieces: one thing is asked at a time, what waits is answered, and what is kept is bounded.
pub fn sftp(data: &[u8]) {
    let mut data = Choices(data);
    let (mut sftp, mut asked, mut operation, mut came) = (Sftp::default(), false, 0u64, 0usize);
    'pieces: loop {
        let choice = data.byte();
        let Some(piece) = data.piece() else { break };
        let side = if choice & 1 == 0 { Side::Caller } else { Side::Target };
        sftp.receive(side, piece);
        came += piece.len();
        loop {
            match sftp.next_move() {
                Ok(Some(sftp::Move::Ask(question))) => {
                    assert!(!std::mem::replace(&mut asked, true), "one thing at a time");
                    assert!(question.paths.len() <= 2 && question.paths.iter().all(|path| path.given.len() <= came));
                }
                Ok(Some(sftp::Move::Send(_, bytes))) => assert!(bytes.len() <= came + 1_024, "more than came"),
                Ok(Some(sftp::Move::Ended(ended))) => assert!(ended.operation <= operation),
                Ok(Some(sftp::Move::Look { operation: looked, content })) => {
                    assert!(looked <= operation && content.len() <= came);
                    if choice & 16 > 0 {
                        sftp.withhold(looked, "not this");
                    }
                }
                Ok(Some(sftp::Move::LookedThrough { operation: looked, whole })) => {
                    assert!(looked <= operation);
                    if whole { sftp.show(looked) } else { sftp.withhold(looked, "not this") }
                }
                Ok(None) => break,
                Err(_) => break 'pieces,
            }
        }
        if asked && choice & 2 > 0 {
            asked = false;
            if choice & 4 > 0 {
                operation += 1;
                sftp.forward((), operation, choice & 8 > 0);
            } else {
                sftp.refuse("not here");
            }
        }
    }
    assert!(sftp.close().iter().all(|left| left.operation <= operation));
}

struct Room {
    dialogue: Dialogue<()>,
    sent: BytesMut,
    asked: Option<Operation>,
    ended: bool,
}

impl Room {
    fn drain(&mut self) {
        loop {
            match self.dialogue.next_move() {
                Move::Ask(operation) => assert!(self.asked.replace(operation).is_none(), "one operation at a time"),
                Move::Send(Side::Target, bytes) => self.sent.extend_from_slice(&bytes),
                Move::Show(Reply { kind: ReplyKind::Copy(Side::Caller), frames, .. }) => self.sent.extend_from_slice(&frames),
                Move::Send(Side::Caller, _) | Move::Show(_) | Move::Answered(_) | Move::Learned(_) => {}
                Move::Withdraw(id) => assert_eq!(self.asked.take().map(|operation| operation.id), Some(id)),
                Move::Wait => return,
                Move::End(_) => self.ended = true,
            }
        }
    }

    fn decide(&mut self, choice: u8) {
        match choice >> 1 & 7 {
            0 => return,
            1 => return self.dialogue.hold(),
            2 => self.dialogue.decisions_changed(),
            _ => {}
        }
        let Some(operation) = self.asked.take() else { return };
        let ruling = if operation.text.contains('!') {
            Ruling::Refuse(Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, "refused"))
        } else {
            let has = |bit: u8| choice & bit > 0;
            Ruling::Forward((), Forwarding { show: has(16), copy_in: has(32), alone: has(64), generic_errors: has(128), ..Forwarding::default() })
        };
        self.dialogue.rule(ruling, 2);
        self.drain();
    }

    /// Everything that was sent is messages of a caller, the last perhaps still under way, and no statement of them was refused.
    fn check_sent(&self) {
        let mut rest = &self.sent[..];
        while let Some(head) = frame::head(rest, Side::Caller, &frame::Limits::default()).unwrap() {
            let Some((message, after)) = rest.split_at_checked(head.len) else {
                assert_eq!(head.tag, b'd', "only COPY data streams");
                return;
            };
            let statement = match Frontend::decode(head.tag, &message[HEAD_BYTES..]).unwrap() {
                Frontend::Query(query) => query.statement,
                Frontend::Parse(parse) => parse.statement,
                _ => &[],
            };
            assert!(!statement.contains(&b'!'), "a refused statement was sent");
            rest = after;
        }
        assert!(rest.is_empty());
    }
}

/// What is left of the input.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// As many bytes as the next one says, or what there is; none at the end.
    fn piece(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let length = usize::from(self.byte()).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use xtask::fuzz::replay;

    use super::*;

    #[test]
    fn what_callers_may_send_is_replayed() {
        assert!(replay("caller_message", caller_message).unwrap() > 1);
        assert!(replay("caller_login", caller_login).unwrap() > 1);
    }

    #[test]
    fn what_targets_may_send_is_replayed() {
        assert!(replay("target_message", target_message).unwrap() > 1);
        assert!(replay("target_login", target_login).unwrap() > 1);
        assert!(replay("scram", scram).unwrap() > 1);
        assert!(replay("copy_rows", copy_rows).unwrap() > 1);
    }

    #[test]
    fn conversations_about_files_are_replayed() {
        assert!(replay("sftp", sftp).unwrap() > 1);
    }

    #[test]
    fn conversations_are_replayed() {
        assert!(replay("dialogue", dialogue).unwrap() > 1);
        assert!(replay("hostile_dialogue", hostile_dialogue).unwrap() > 1);
    }
}
