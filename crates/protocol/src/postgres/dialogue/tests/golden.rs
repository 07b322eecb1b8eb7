//! Conversations word by word. The target is a script: what it says is given, what it is sent is compared.

use bytes::{Bytes, BytesMut};

use crate::{
    Side,
    postgres::{
        dialogue::{Dialogue, Forwarding, Limits, Move, Operation, OperationKind, Reply, ReplyKind, Ruling, Settings},
        message::frontend::{self, Kind},
        refusal::{Refusal, Sqlstate},
        rows,
    },
};

const READY: &[u8] = b"Z\0\0\0\x05I";
const READY_OPEN: &[u8] = b"Z\0\0\0\x05T";
const INSERTED: &[u8] = b"C\0\0\0\x0fINSERT 0 1\0";
const COPY_IN: &[u8] = b"G\0\0\0\x07\0\0\0";
const PARSED_AND_BOUND: &[u8] = b"1\0\0\0\x042\0\0\0\x04";
const REFUSAL_OF_2: &str = "countersign refused operation 2: refused";

fn dialogue() -> Dialogue<()> {
    Dialogue::new(Limits::default(), Settings::new("ours", "theirs"))
}

fn message(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}

fn query(text: &str) -> Bytes {
    message(|out| frontend::query(out, text.as_bytes()).unwrap())
}

fn run(text: &str) -> Bytes {
    message(|out| {
        frontend::parse(out, b"", text.as_bytes(), &[]).unwrap();
        frontend::bind(out, b"", b"", &[], &[], &[]).unwrap();
        frontend::execute(out, b"", 0).unwrap();
    })
}

fn sync() -> Bytes {
    message(frontend::sync)
}

fn flush() -> Bytes {
    message(frontend::flush)
}

fn refused() -> Refusal {
    Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, "refused")
}

fn error(sqlstate: &str, fatal: bool) -> Bytes {
    let refusal = Refusal::new(Sqlstate::new(sqlstate).unwrap(), "it failed");
    message(|out| if fatal { refusal.fatal(out) } else { refusal.error(out) })
}

/// What was moved to each side, and the rest in words.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Moved {
    target: Vec<u8>,
    caller: Vec<u8>,
    words: Vec<String>,
}

/// Hears `bytes` of `side` and rules at once: what has `denied` in it is refused, what has `held` in it waits.
fn hear(dialogue: &mut Dialogue<()>, side: Side, bytes: &[u8], moved: &mut Moved) {
    dialogue.input(side).extend_from_slice(bytes);
    dialogue.received(side, 7);
    drain(dialogue, moved);
}

fn drain(dialogue: &mut Dialogue<()>, moved: &mut Moved) {
    loop {
        match dialogue.next_move() {
            Move::Ask(operation) if operation.text.contains("held") => {
                moved.words.push(format!("held {}", operation.id));
                dialogue.hold();
            }
            Move::Ask(operation) => {
                let ruling = ruling(&operation);
                dialogue.rule(ruling, 3);
            }
            Move::Send(Side::Target, bytes) => moved.target.extend_from_slice(&bytes),
            Move::Send(Side::Caller, bytes) => moved.caller.extend_from_slice(&bytes),
            Move::Show(Reply { kind: ReplyKind::Copy(Side::Caller), frames, .. }) => moved.target.extend_from_slice(&frames),
            Move::Show(Reply { kind: ReplyKind::Shape { forward: false }, .. }) => moved.words.push("shape".to_owned()),
            Move::Show(reply) => moved.caller.extend_from_slice(&reply.frames),
            Move::Answered(answer) => {
                let state = if answer.skipped {
                    "skipped"
                } else if answer.error.is_some() {
                    "failed"
                } else {
                    "done"
                };
                moved.words.push(format!("{} {state} {} rows {} bytes", answer.operation, answer.rows, answer.bytes));
            }
            Move::Learned(answer) => moved.words.push(format!("learned {answer:?}")),
            Move::Withdraw(operation) => moved.words.push(format!("withdraw {operation}")),
            Move::Wait => return,
            Move::End(ending) => moved.words.push(format!("{ending:?}")),
        }
    }
}

fn ruling(operation: &Operation) -> Ruling<()> {
    let text = &operation.text;
    if text.contains("denied") {
        return Ruling::Refuse(refused());
    }
    let (copy_in, show) = (text.contains("STDIN"), text.contains("shown"));
    Ruling::Forward((), Forwarding { alone: true, copy_in, show, generic_errors: text.contains("generic"), ..Forwarding::default() })
}

/// Both sides speak in turn.
fn converse(turns: &[(Side, Bytes)]) -> Moved {
    let (mut dialogue, mut moved) = (dialogue(), Moved::default());
    turns.iter().for_each(|(side, bytes)| hear(&mut dialogue, *side, bytes, &mut moved));
    moved
}

fn caller(bytes: &[&[u8]]) -> (Side, Bytes) {
    (Side::Caller, bytes.concat().into())
}

fn target(bytes: &[&[u8]]) -> (Side, Bytes) {
    (Side::Target, bytes.concat().into())
}

fn row(value: &str) -> Bytes {
    message(|out| rows::data_row(out, &[Some(value.as_bytes())]).unwrap())
}

/// A conversation with a bit of everything.
pub(super) fn mixed() -> Vec<(Side, Bytes)> {
    let shape = message(|out| rows::row_description(out, &[(b"a", 25)]).unwrap());
    let copy = message(|out| frontend::copy_data(out, b"some data\n").unwrap());
    let done = message(frontend::copy_done);
    vec![
        caller(&[&query("SELECT shown")]),
        target(&[&shape, &row("first"), &row("second"), b"C\0\0\0\x0dSELECT 2\0", READY]),
        caller(&[&run("INSERT"), &run("denied"), &sync()]),
        target(&[PARSED_AND_BOUND, INSERTED, &error("42601", false), READY]),
        caller(&[&run("COPY FROM STDIN"), &sync()]),
        target(&[PARSED_AND_BOUND, COPY_IN]),
        caller(&[&copy, &copy, &done, &sync()]),
        target(&[b"C\0\0\0\x0bCOPY 2\0", READY]),
        caller(&[&run("SELECT shown"), &sync()]),
        target(&[PARSED_AND_BOUND, &shape, &row("third"), b"C\0\0\0\x0dSELECT 1\0", READY]),
        caller(&[&query("SELECT plain")]),
        target(&[&shape, &row("a long row that streams"), b"C\0\0\0\x0dSELECT 1\0", b"N\0\0\0\x05\0", READY]),
        caller(&[&message(frontend::terminate)]),
    ]
}

#[test]
fn any_cut_gives_the_same_moves() {
    let turns = mixed();
    let whole = converse(&turns);
    assert_eq!(whole.words.last().unwrap(), "Terminated");
    let split = |turn: usize, at: usize| {
        let (side, bytes) = &turns[turn];
        let pieces = [(*side, bytes.slice(..at)), (*side, bytes.slice(at..))];
        converse(&[&turns[..turn], &pieces[..], &turns[turn + 1..]].concat())
    };
    for (turn, (_, bytes)) in turns.iter().enumerate() {
        for at in 0..=bytes.len() {
            assert_eq!(split(turn, at), whole, "turn {turn} cut at {at}");
        }
    }
    let bytewise: Vec<_> = turns.iter().flat_map(|(side, bytes)| (0..bytes.len()).map(|at| (*side, bytes.slice(at..=at)))).collect();
    assert_eq!(converse(&bytewise), whole);
}

/// The ReadyForQuery after a refusal is the target's own, and what followed in the pipeline is discarded until Sync.
#[test]
fn sql_08_a_refusal_in_an_open_transaction_fails_it_at_the_target() {
    let moved = converse(&[
        caller(&[&query("BEGIN")]),
        target(&[b"C\0\0\0\x0aBEGIN\0", READY_OPEN]),
        caller(&[&query("denied")]),
        target(&[&error("42601", false), b"Z\0\0\0\x05E"]),
    ]);
    assert_eq!(moved.target, [query("BEGIN"), query(REFUSAL_OF_2)].concat());
    let told = message(|out| refused().error(out));
    assert_eq!(moved.caller, [b"C\0\0\0\x0aBEGIN\0".as_slice(), READY_OPEN, &told, b"Z\0\0\0\x05E"].concat());
}

#[test]
fn a_refusal_at_rest_never_reaches_the_target() {
    let moved = converse(&[caller(&[&run("denied"), &run("more"), &flush(), &sync(), &query("denied")])]);
    // The Parse and what follows it: nothing goes on; the Query: nothing either.
    let told = message(|out| refused().error(out));
    assert_eq!((moved.target.as_slice(), moved.caller), (&b""[..], [&told[..], READY, &told, READY].concat()));
}

#[test]
fn a_hold_flushes_what_is_owed_and_falls_with_its_pipeline() {
    let parse = message(|out| frontend::parse(out, b"", b"held", &[]).unwrap());
    let (mut dialogue, mut moved) = (dialogue(), Moved::default());
    hear(&mut dialogue, Side::Caller, &[&run("INSERT")[..], &parse].concat(), &mut moved);
    assert_eq!(moved.target, [run("INSERT"), flush()].concat());
    assert_eq!(moved.words, ["held 3"]);
    let notice = Bytes::from_static(b"N\0\0\0\x05\0");
    dialogue.notify(notice.clone());
    hear(&mut dialogue, Side::Target, &[PARSED_AND_BOUND, &error("23505", false)].concat(), &mut moved);
    assert_eq!(moved.words[1..], ["2 failed 0 rows 0 bytes", "withdraw 3"]);
    // A late signature finds nothing to run.
    dialogue.rule(Ruling::Forward((), Forwarding::default()), 0);
    hear(&mut dialogue, Side::Caller, &sync(), &mut moved);
    assert_eq!(moved.target, [run("INSERT"), flush(), sync()].concat());
    assert_eq!(moved.caller, [&notice[..], PARSED_AND_BOUND, &error("23505", false)].concat());
}

#[test]
fn a_ruling_counts_only_for_the_operation_that_was_seen() {
    let mut dialogue = dialogue();
    dialogue.input(Side::Caller).extend_from_slice(&query("SELECT"));
    dialogue.received(Side::Caller, 0);
    dialogue.rule(Ruling::Forward((), Forwarding::default()), 0);
    assert!(matches!(dialogue.next_move(), Move::Ask(_)));
    assert!(matches!(dialogue.next_move(), Move::Wait));
}

/// Only for what speaks of names need anybody look at them; where there are none, nothing speaks of them.
#[test]
fn what_may_speak_of_names_says_so() {
    let asked = |bytes: &[u8], named: bool| {
        let (mut dialogue, mut moved) = (self::dialogue(), Moved::default());
        if named {
            let parse = message(|out| frontend::parse(out, b"p", b"SELECT 1", &[]).unwrap());
            hear(&mut dialogue, Side::Caller, &[parse, sync()].concat(), &mut moved);
            hear(&mut dialogue, Side::Target, &[b"1\0\0\0\x04", READY].concat(), &mut moved);
        }
        dialogue.input(Side::Caller).extend_from_slice(bytes);
        dialogue.received(Side::Caller, 7);
        let Move::Ask(asked) = dialogue.next_move() else { panic!("not asked") };
        asked.speaks
    };
    assert!(!asked(&query("EXECUTE p"), false));
    for (text, speaks) in
        [("SELECT executed", false), ("EXPLAIN execute p", true), ("FETCH c", true), ("UPDATE t SET a = 1 WHERE CURRENT OF c", true)]
    {
        assert_eq!(asked(&query(text), true), speaks, "{text}");
    }
    let bind = |statement: &[u8]| message(|out| frontend::bind(out, b"", statement, &[], &[], &[]).unwrap());
    assert!(!asked(&bind(b"p"), true));
    assert!(asked(&bind(b"made by SQL"), true));
}

/// A portal that was decided under what is no longer in force is asked about again, and what is ruled then is what happens.
#[test]
fn a_portal_is_asked_about_again_when_decisions_changed_after_its_bind() {
    for changes in [false, true] {
        let (mut dialogue, mut moved) = (dialogue(), Moved::default());
        let parse_and_bind = message(|out| {
            frontend::parse(out, b"", b"INSERT", &[]).unwrap();
            frontend::bind(out, b"p", b"", &[], &[], &[]).unwrap();
        });
        let execute = message(|out| frontend::execute(out, b"p", 0).unwrap());
        hear(&mut dialogue, Side::Caller, &[&parse_and_bind[..], &flush()].concat(), &mut moved);
        hear(&mut dialogue, Side::Target, PARSED_AND_BOUND, &mut moved);
        if changes {
            dialogue.decisions_changed();
        }
        dialogue.input(Side::Caller).extend_from_slice(&execute);
        dialogue.received(Side::Caller, 7);
        if !changes {
            assert!(matches!(dialogue.next_move(), Move::Send(Side::Target, bytes) if bytes == execute));
            continue;
        }
        let Move::Ask(asked) = dialogue.next_move() else { panic!("not asked") };
        assert_eq!((asked.id, asked.kind, &*asked.text, asked.bound), (3, OperationKind::Execute, "INSERT", Some(2)));
        dialogue.rule(Ruling::Forward((), Forwarding { show: true, ..Forwarding::default() }), 7);
        moved.target.clear();
        drain(&mut dialogue, &mut moved);
        let describe = message(|out| frontend::describe(out, Kind::Portal, b"p").unwrap());
        assert_eq!(moved.target, [&describe[..], &execute].concat());
        hear(&mut dialogue, Side::Caller, &sync(), &mut moved);
        hear(&mut dialogue, Side::Target, &[b"n\0\0\0\x04", INSERTED, READY].concat(), &mut moved);
        assert_eq!(moved.words.last().unwrap(), "3 done 0 rows 0 bytes");
    }
}

#[test]
fn notices_wait_for_the_end_of_a_message_that_streams() {
    let (mut dialogue, mut moved) = (dialogue(), Moved::default());
    hear(&mut dialogue, Side::Caller, &query("SELECT"), &mut moved);
    let row = row("value");
    hear(&mut dialogue, Side::Target, &row[..8], &mut moved);
    assert!(dialogue.is_mid_message());
    dialogue.notify(Bytes::from_static(b"N\0\0\0\x05\0"));
    hear(&mut dialogue, Side::Target, &row[8..], &mut moved);
    assert_eq!(moved.caller, [&row[..], b"N\0\0\0\x05\0"].concat());
}

/// A target that answers the gateway's own question without end is left: nothing of the caller's went to it.
#[test]
fn what_is_kept_of_an_answer_to_the_gateway_itself_is_bounded() {
    let limits = Limits { max_answer_bytes: 1_000, ..Limits::default() };
    let (mut dialogue, mut moved) = (Dialogue::<()>::new(limits, Settings::new("ours", "theirs")), Moved::default());
    dialogue.input(Side::Caller).extend_from_slice(&query("SELECT"));
    dialogue.received(Side::Caller, 0);
    assert!(matches!(dialogue.next_move(), Move::Ask(_)));
    dialogue.question(&["one", "two"]);
    let begun = [b"3\0\0\0\x043\0\0\0\x04", PARSED_AND_BOUND].concat();
    let rows = [&row("x")[..], &row(&"y".repeat(800))].concat();
    hear(&mut dialogue, Side::Target, &[&begun[..], &rows].concat(), &mut moved);
    assert_eq!(moved.words, Vec::<String>::new());
    hear(&mut dialogue, Side::Target, &[&b"C\0\0\0\x0dSELECT 2\x003\0\0\0\x043\0\0\0\x04"[..], &begun, &rows].concat(), &mut moved);
    assert!(moved.words.last().is_some_and(|word| word.starts_with("TargetBroke") && word.contains("above the limit")), "{moved:?}");
}

#[test]
fn a_fatal_error_is_told_whatever_is_owed() {
    for asked in [Bytes::new(), query("SELECT"), run("denied")] {
        let said = error("57P01", true);
        let moved = converse(&[caller(&[&query("INSERT"), &asked]), target(&[INSERTED, READY, &said])]);
        assert!(moved.caller.ends_with(&said), "{moved:?}");
    }
}

#[test]
fn messages_of_the_login_are_refused_after_it() {
    let ends = |turn: (Side, Bytes)| converse(&[caller(&[&query("SELECT")]), turn]).words.pop().unwrap_or_default();
    for said in [
        &b"R\0\0\0\x08\0\0\0\0"[..],
        b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x01",
        b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0",
        b"V\0\0\0\x08\xff\xff\xff\xff",
        b"1\0\0\0\x04",
        b"d\0\0\0\x04",
        COPY_IN,
    ] {
        assert!(ends(target(&[said])).starts_with("TargetBroke"), "{said:?}");
    }
    assert!(ends(caller(&[b"p\0\0\0\x05\0"])).starts_with("CallerBroke"));
    // While messages are skipped, too.
    let moved = converse(&[caller(&[&run("denied"), b"p\0\0\0\x05\0"])]);
    assert!(moved.words.last().unwrap().starts_with("CallerBroke"));
}

#[test]
fn nothing_passes_a_copy_that_takes_data() {
    let moved = converse(&[caller(&[&run("COPY FROM STDIN"), &query("SELECT")]), target(&[PARSED_AND_BOUND, COPY_IN])]);
    assert_eq!(moved.target, [run("COPY FROM STDIN"), flush()].concat());
    assert!(moved.words.last().unwrap().starts_with("CallerBroke"));
    // One that fails before it begins: what waited goes on.
    let moved = converse(&[caller(&[&query("COPY FROM STDIN"), &query("SELECT")]), target(&[&error("42P01", false), READY])]);
    assert_eq!(moved.target, [query("COPY FROM STDIN"), query("SELECT")].concat());
}

#[test]
fn notifications_and_empty_queries_pass() {
    let notification = b"A\0\0\0\x0d\0\0\0\x01chan\0".as_slice();
    let turns = [target(&[b"A\0\0\0\x0e\0\0\0\x01chan\0\0"]), caller(&[&query("")]), target(&[b"I\0\0\0\x04", READY])];
    let moved = converse(&turns);
    assert_eq!(moved.caller, [&b"A\0\0\0\x0e\0\0\0\x01chan\0\0"[..], b"I\0\0\0\x04", READY].concat());
    assert_eq!(moved.words, ["1 done 0 rows 0 bytes"]);
    assert!(converse(&[target(&[notification])]).words[0].starts_with("TargetBroke"));
}

#[test]
fn a_function_call_is_answered_like_a_query() {
    let call = Bytes::from_static(b"F\0\0\0\x0e\0\0\0\x01\0\0\0\0\0\0");
    let null = b"V\0\0\0\x08\xff\xff\xff\xff".as_slice();
    let moved = converse(&[caller(&[&call]), target(&[null, READY]), caller(&[&call]), target(&[&error("22012", false), READY])]);
    assert_eq!(moved.target, [&call[..], &call[..]].concat());
    assert!(moved.caller.starts_with(&[null, READY].concat()) && moved.caller.ends_with(READY));
    assert_eq!(moved.words, ["1 done 0 rows 9 bytes", "2 failed 0 rows 0 bytes"]);
}

#[test]
fn errors_become_generic_for_good() {
    let said = error("23505", false);
    let moved = converse(&[caller(&[&query("generic")]), target(&[&said, READY]), caller(&[&query("SELECT")]), target(&[&said, READY])]);
    assert!(!moved.caller.windows(9).any(|window| window == b"it failed"));
    assert_eq!(moved.caller.windows(5).filter(|window| window == b"23505").count(), 2);
}

#[test]
fn a_full_ledger_flushes_and_waits() {
    let limits = Limits { max_owed: 3, ..Limits::default() };
    let (mut dialogue, mut moved) = (Dialogue::new(limits, Settings::new("ours", "theirs")), Moved::default());
    hear(&mut dialogue, Side::Caller, &[run("INSERT"), run("INSERT")].concat(), &mut moved);
    assert_eq!(moved.target, [run("INSERT"), flush()].concat());
    assert!(!dialogue.wants(Side::Caller));
    hear(&mut dialogue, Side::Target, &[PARSED_AND_BOUND, INSERTED].concat(), &mut moved);
    assert_eq!(moved.target, [run("INSERT"), flush(), run("INSERT"), flush()].concat());
}

#[test]
fn limits_end_the_conversation() {
    let limits = Limits { max_prepared_bytes: 1000, max_waiting_bytes: 100, ..Limits::default() };
    let new = || Dialogue::<()>::new(limits, Settings::new("ours", "theirs"));
    let (mut many, mut moved) = (new(), Moved::default());
    for name in 0..4 {
        let parse = message(|out| frontend::parse(out, format!("s{name}").as_bytes(), b"", &[]).unwrap());
        hear(&mut many, Side::Caller, &[parse, flush()].concat(), &mut moved);
        hear(&mut many, Side::Target, b"1\0\0\0\x04", &mut moved);
    }
    hear(&mut many, Side::Caller, &query("SELECT"), &mut moved);
    assert!(moved.words[0].starts_with("CallerBroke"), "even empty statements are kept under a name");
    let (mut waiting, mut moved) = (new(), Moved::default());
    hear(&mut waiting, Side::Caller, &query("held"), &mut moved);
    hear(&mut waiting, Side::Caller, &query(&"x".repeat(200)), &mut moved);
    assert!(moved.words[1].starts_with("CallerBroke"));
}

#[test]
fn the_callers_application_name_follows_its_transaction() {
    use model::facts::ApplicationName;
    let mut settings = Settings::new("ours", "theirs");
    settings.ran(&ApplicationName::Set("new".to_owned()), true);
    assert_eq!(settings.untold().as_deref(), Some("new"));
    assert_eq!(settings.untold(), None);
    settings.transaction_ended(false);
    assert_eq!(settings.untold().as_deref(), Some("theirs"));
    settings.ran(&ApplicationName::SetLocal("local".to_owned()), true);
    settings.transaction_ended(true);
    assert_eq!(settings.untold(), None, "there and back is no change");
    settings.ran(&ApplicationName::SetLocal("local".to_owned()), false);
    assert_eq!(settings.untold(), None);
    assert_eq!(settings.reported(b"application_name", b"code"), None);
    assert!(settings.is_displaced());
    assert_eq!(settings.untold(), None, "the target told it");
    settings.transaction_ended(false);
    assert_eq!(settings.untold().as_deref(), Some("theirs"));
}

#[test]
fn the_callers_application_name_goes_back_to_the_savepoint_that_is_gone_back_to() {
    use model::facts::ApplicationName::{Release, RollbackTo, Savepoint, Set, SetLocal};
    let mut settings = Settings::new("ours", "theirs");
    let name = |text: &str| text.to_owned();
    let after = |settings: &mut Settings, statement| {
        settings.ran(&statement, true);
        settings.application_name().to_string()
    };
    after(&mut settings, Set(name("one")));
    after(&mut settings, Savepoint(name("a")));
    after(&mut settings, SetLocal(name("two")));
    after(&mut settings, Savepoint(name("b")));
    after(&mut settings, Savepoint(name("a")));
    after(&mut settings, Set(name("three")));
    assert_eq!(after(&mut settings, RollbackTo(name("a"))), "two", "the newest of that name");
    assert_eq!(after(&mut settings, Release(name("b"))), "two");
    after(&mut settings, Set(name("four")));
    assert_eq!(after(&mut settings, RollbackTo(name("a"))), "one");
    assert_eq!(after(&mut settings, RollbackTo(name("unknown"))), "one");
    settings.transaction_ended(true);
    assert_eq!(&**settings.application_name(), "one", "what was local is gone");
    // A failure undoes the innermost part at once, and without a savepoint all.
    for (savepoint, back) in [(true, "five"), (false, "one")] {
        settings.ran(&Set(name("five")), true);
        if savepoint {
            settings.ran(&Savepoint(name("c")), true);
        }
        settings.ran(&Set(name("six")), true);
        settings.transaction_failed();
        assert_eq!(&**settings.application_name(), back);
        settings.transaction_ended(false);
        assert_eq!(&**settings.application_name(), "one");
    }
    // Who makes very many is not remembered for ever.
    for number in 0..100_000 {
        settings.ran(&Savepoint(number.to_string()), true);
    }
    settings.ran(&Set(name("seven")), true);
    assert_eq!(after(&mut settings, RollbackTo(name("1"))), "seven");
    assert_eq!(after(&mut settings, RollbackTo(name("99999"))), "one");
}

#[test]
fn an_error_takes_back_the_name_that_its_transaction_set() {
    use model::facts::ApplicationName;
    const FAILED: &[u8] = b"Z\0\0\0\x05E";
    const NAME_IS_BACK: &[u8] = b"S\0\0\0\x1capplication_name\0theirs\0";
    let told = |before: &[u8]| {
        let (mut dialogue, mut told) = (dialogue(), Vec::new());
        let set = Forwarding { alone: true, application_name: Some(ApplicationName::Set("new".to_owned())), ..Forwarding::default() };
        let plain = || Forwarding { alone: true, ..Forwarding::default() };
        let answers = [(plain(), [before, READY_OPEN].concat()), (set, [b"C\0\0\0\x08SET\0", READY_OPEN].concat())];
        for (forwarding, answer) in answers.into_iter().chain([(plain(), [&error("22012", false)[..], FAILED].concat())]) {
            dialogue.input(Side::Caller).extend_from_slice(&query("x"));
            dialogue.received(Side::Caller, 1);
            assert!(matches!(dialogue.next_move(), Move::Ask(_)));
            dialogue.rule(Ruling::Forward((), forwarding), 2);
            dialogue.input(Side::Target).extend_from_slice(&answer);
            dialogue.received(Side::Target, 3);
            loop {
                match dialogue.next_move() {
                    Move::Wait => break,
                    Move::Send(Side::Caller, bytes) => told.extend_from_slice(&bytes),
                    _ => {}
                }
            }
        }
        told
    };
    assert!(told(b"C\0\0\0\x0aBEGIN\0").ends_with(&[NAME_IS_BACK, FAILED].concat()));
    // With a savepoint before it, what the error undid is not known before the transaction ends.
    let kept = told(b"C\0\0\0\x0eSAVEPOINT\0");
    assert!(kept.ends_with(FAILED) && !kept.windows(NAME_IS_BACK.len()).any(|part| part == NAME_IS_BACK));
}
