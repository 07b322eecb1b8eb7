//! Conversations that go wrong at any byte, on either side: cut there, or with another byte there. Nobody panics, keeps more than the limits allow or
//! is sent what was not ruled on.

use bytes::{Bytes, BytesMut};

use super::golden::mixed;
use crate::{
    Side,
    postgres::{
        dialogue::{Dialogue, Forwarding, Limits, Move, Reply, ReplyKind, Ruling, Settings},
        frame::{self, HEAD_BYTES},
        message::frontend::{self, Frontend},
        refusal::{Refusal, Sqlstate},
        rows,
    },
};

fn limits() -> Limits {
    let frame = frame::Limits { max_statement_bytes: 4 << 10, max_bind_bytes: 4 << 10 };
    Limits { frame, max_waiting_bytes: 4 << 10, max_prepared_bytes: 4 << 10, max_shown_row_bytes: 4 << 10, ..Limits::default() }
}

/// Both sides speak in turn until one of them breaks off. Gives what each of them was sent and whether the conversation ended.
fn converse(turns: &[(Side, Bytes)]) -> (BytesMut, BytesMut, bool) {
    let mut dialogue = Dialogue::<()>::new(limits(), Settings::new("ours", "theirs"));
    let (mut to_target, mut to_caller, mut ended) = (BytesMut::new(), BytesMut::new(), false);
    for (side, bytes) in turns {
        dialogue.input(*side).extend_from_slice(bytes);
        dialogue.received(*side, 7);
        loop {
            match dialogue.next_move() {
                Move::Ask(operation) if operation.text.contains("denied") => {
                    dialogue.rule(Ruling::Refuse(Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, "refused")), 3);
                }
                Move::Ask(operation) => {
                    let (copy_in, show) = (operation.text.contains("STDIN"), operation.text.contains("shown"));
                    dialogue.rule(Ruling::Forward((), Forwarding { alone: true, copy_in, show, ..Forwarding::default() }), 3);
                }
                Move::Send(Side::Target, bytes) | Move::Show(Reply { kind: ReplyKind::Copy(Side::Caller), frames: bytes, .. }) => {
                    to_target.extend_from_slice(&bytes);
                }
                Move::Send(Side::Caller, bytes) => to_caller.extend_from_slice(&bytes),
                Move::Show(reply) => to_caller.extend_from_slice(&reply.frames),
                Move::Answered(_) | Move::Learned(_) | Move::Withdraw(_) => {}
                Move::Wait => break,
                Move::End(_) => ended = true,
            }
        }
    }
    (to_target, to_caller, ended)
}

/// Whole messages that a caller may send, the last one perhaps COPY data under way, and none of them refused.
fn check_sent(sent: &[u8], why: &str) {
    let mut rest = sent;
    while let Some(head) = frame::head(rest, Side::Caller, &frame::Limits::default()).unwrap() {
        let Some((message, after)) = rest.split_at_checked(head.len) else {
            assert_eq!(head.tag, b'd', "{why}: half a message");
            return;
        };
        let decoded = Frontend::decode(head.tag, &message[HEAD_BYTES..]).unwrap();
        let refused = match decoded {
            Frontend::Query(query) => query.statement.windows(6).any(|window| window == b"denied"),
            Frontend::Parse(parse) => parse.statement.windows(6).any(|window| window == b"denied"),
            _ => false,
        };
        assert!(!refused, "{why}: {decoded:?} was refused");
        rest = after;
    }
    assert!(rest.is_empty(), "{why}: half a head");
}

#[test]
fn a_conversation_cut_at_any_byte_has_sent_whole_messages_and_nothing_after_the_cut() {
    let turns = mixed();
    let whole = converse(&turns);
    for (turn, (side, bytes)) in turns.iter().enumerate() {
        for at in 0..bytes.len() {
            // The other side goes on as if it had heard all of it.
            let cut = [&turns[..turn], &[(*side, bytes.slice(..at))]].concat();
            let (to_target, to_caller, _) = converse(&cut);
            let why = format!("turn {turn} cut at {at}");
            check_sent(&to_target, &why);
            assert!(whole.0.starts_with(&to_target) && whole.1.starts_with(&to_caller), "{why}: something was made up");
        }
    }
}

/// What a wrong byte does to the conversation is not always an error (a letter of a statement is as good as another), but it is never a panic, and what
/// reaches the target is well-formed and ruled on.
#[test]
fn a_wrong_byte_anywhere_makes_neither_side_hear_what_is_no_message() {
    let turns = mixed();
    for (turn, (side, bytes)) in turns.iter().enumerate() {
        for at in 0..bytes.len() {
            for wrong in [0x00, 0xff, bytes[at] ^ 0x01, bytes[at] ^ 0x80, bytes[at].wrapping_add(1)] {
                let mut changed = bytes.to_vec();
                changed[at] = wrong;
                let mut played = turns.clone();
                played[turn] = (*side, changed.into());
                let (to_target, _, _) = converse(&played);
                check_sent(&to_target, &format!("turn {turn}, byte {at} is {wrong:#04x}"));
            }
        }
    }
}

/// A target that lies about a length: shorter or longer than what follows, negative, or as long as can be said.
#[test]
fn a_target_that_lies_about_a_length_ends_the_session_or_waits_and_nothing_is_kept_for_it() {
    for (turn, (side, bytes)) in mixed().iter().enumerate().filter(|(_, (side, _))| *side == Side::Target) {
        let mut at = 0;
        while at < bytes.len() {
            let length = u32::from_be_bytes(bytes[at + 1..at + 5].try_into().unwrap());
            for lie in [0, 3, 4, length - 1, length + 1, length + 1000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                if lie == length {
                    continue;
                }
                let mut changed = bytes.to_vec();
                changed[at + 1..at + 5].copy_from_slice(&lie.to_be_bytes());
                let mut played = mixed();
                played[turn] = (*side, changed.into());
                let (to_target, to_caller, _) = converse(&played);
                check_sent(&to_target, &format!("turn {turn}, message at {at} says {lie}"));
                assert!(to_caller.len() < 8 << 10);
            }
            at += 1 + length as usize;
        }
    }
}

/// Found by the target `hostile_dialogue`: PostgreSQL reads such a text up to its first NUL and takes no notice of the rest.
#[test]
fn a_copy_is_not_given_up_by_more_than_one_text() {
    let mut query = BytesMut::new();
    frontend::query(&mut query, b"COPY FROM STDIN").unwrap();
    let give_up = |body: &[u8]| {
        let message = [&b"f"[..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat();
        let turns =
            [(Side::Caller, query.clone().freeze()), (Side::Target, Bytes::from_static(b"G\0\0\0\x07\0\0\0")), (Side::Caller, message.into())];
        converse(&turns)
    };
    let (to_target, _, ended) = give_up(b"no\0");
    assert!(!ended && to_target.ends_with(b"f\0\0\0\x07no\0"));
    for malformed in [&b"no\0more\0"[..], b"no"] {
        let (to_target, _, ended) = give_up(malformed);
        assert!(ended && to_target == query, "{to_target:?}");
    }
}

/// A row description of as many columns as can be counted, of which PostgreSQL makes 1,664 at most.
#[test]
fn a_row_description_beyond_what_postgresql_makes_ends_the_session() {
    let mut description = BytesMut::new();
    rows::row_description(&mut description, &vec![(&b"a column with a name of some length"[..], 25); 65_535]).unwrap();
    let mut query = BytesMut::new();
    frontend::query(&mut query, b"SELECT shown").unwrap();
    let (_, to_caller, ended) = asked_and_answered(&query, &description);
    assert!(ended && !to_caller.windows(6).any(|window| window == b"column"));
    let mut most = BytesMut::new();
    rows::row_description(&mut most, &vec![(&[b'n'; 63][..], 25); 1664]).unwrap();
    let (_, to_caller, ended) = asked_and_answered(&query, &most);
    assert!(!ended && to_caller == most, "as many as PostgreSQL makes pass");
}

fn asked_and_answered(query: &[u8], answer: &[u8]) -> (BytesMut, BytesMut, bool) {
    converse(&[(Side::Caller, Bytes::copy_from_slice(query)), (Side::Target, Bytes::copy_from_slice(answer))])
}
