use super::{packet::MAX_PACKET_BYTES, *};

fn packet(code: u8, id: u32, rest: &[u8]) -> Vec<u8> {
    let mut packet = u32::try_from(rest.len() + 5).unwrap().to_be_bytes().to_vec();
    packet.push(code);
    packet.extend(id.to_be_bytes());
    packet.extend(rest);
    packet
}

fn string(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

fn begun() -> Sftp {
    let mut sftp = Sftp::default();
    sftp.receive(Side::Caller, &[0, 0, 0, 5, 1, 0, 0, 0, 3]);
    assert!(matches!(sftp.next_move(), Ok(Some(Move::Send(Side::Target, _)))));
    sftp
}

fn drain(sftp: &mut Sftp) -> Vec<Move> {
    std::iter::from_fn(|| sftp.next_move().unwrap()).collect()
}

/// The machine's answer to the gateway's last question.
fn resolve(sftp: &mut Sftp, to: &[u8]) -> Vec<Move> {
    let id = *sftp.outstanding.iter().find(|(_, outstanding)| matches!(outstanding, Outstanding::Resolve)).unwrap().0;
    sftp.receive(Side::Target, &packet(104, id, &[&1u32.to_be_bytes()[..], &string(to), &string(b""), &[0; 4]].concat()));
    drain(sftp)
}

fn open(sftp: &mut Sftp, id: u32, path: &[u8], flags: u32) -> Vec<Move> {
    sftp.receive(Side::Caller, &packet(3, id, &[&string(path)[..], &flags.to_be_bytes(), &[0; 4]].concat()));
    drain(sftp)
}

fn asked(moves: &[Move]) -> &Asked {
    let [Move::Ask(asked)] = moves else { panic!("{moves:?}") };
    asked
}

#[test]
fn a_file_is_asked_for_by_the_path_it_has_and_told_of_when_it_is_closed() {
    let mut sftp = begun();
    let moves = open(&mut sftp, 7, b"link", 2 | 8 | 16);
    assert!(matches!(moves.as_slice(), [Move::Send(Side::Target, question)] if question[4] == 16), "{moves:?}");
    let moves = resolve(&mut sftp, b"/etc/passwd");
    assert_eq!(asked(&moves).request, Request::Open { read: false, write: true, truncate: true });
    assert_eq!(asked(&moves).paths, [Path { given: b"link".to_vec(), resolved: Some(b"/etc/passwd".to_vec()) }]);
    sftp.forward((), 5, false);
    assert!(matches!(drain(&mut sftp).as_slice(), [Move::Send(Side::Target, open)] if open[4] == 3));
    sftp.receive(Side::Target, &packet(102, 7, &string(b"h")));
    assert!(matches!(drain(&mut sftp).as_slice(), [Move::Send(Side::Caller, _)]));
    for (id, offset, piece) in [(8, 0u64, &b"ab"[..]), (9, 2, b"c")] {
        sftp.receive(Side::Caller, &packet(6, id, &[&string(b"h")[..], &offset.to_be_bytes(), &string(piece)].concat()));
        assert!(matches!(drain(&mut sftp).as_slice(), [Move::Send(Side::Target, _)]));
    }
    sftp.receive(Side::Caller, &packet(4, 10, &string(b"h")));
    drain(&mut sftp);
    sftp.receive(Side::Target, &packet(101, 10, &[&[0; 4][..], &string(b""), &string(b"")].concat()));
    let moves = drain(&mut sftp);
    let [Move::Ended(ended), Move::Send(Side::Caller, _)] = moves.as_slice() else { panic!("{moves:?}") };
    // `printf abc | sha256sum`
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((ended.operation, ended.outcome.as_str()), (5, format!("closed, wrote 3 bytes (sha256 {digest})").as_str()));
}

#[test]
fn what_is_refused_never_reaches_the_machine_and_what_follows_waits_in_order() {
    let mut sftp = begun();
    sftp.receive(Side::Caller, &packet(13, 1, &string(b"/srv/data")));
    sftp.receive(Side::Caller, &packet(16, 2, &string(b".")));
    drain(&mut sftp);
    let moves = resolve(&mut sftp, b"/srv/data");
    assert_eq!(asked(&moves).request, Request::Remove);
    assert!(drain(&mut sftp).is_empty(), "nothing goes on meanwhile");
    sftp.refuse("no");
    let moves = drain(&mut sftp);
    let [Move::Send(Side::Caller, denied), Move::Send(Side::Target, next)] = moves.as_slice() else { panic!("{moves:?}") };
    assert_eq!((&denied[4..13], next[4]), (&[101, 0, 0, 0, 1, 0, 0, 0, 3][..], 16));
}

#[test]
fn what_goes_by_a_handle_needs_one_that_was_given_and_for_writing_one_to_write_by() {
    for (flags, code, rest, wrong) in
        [(1u32, 6u8, [&string(b"h")[..], &[0; 8], &string(b"x")].concat(), true), (1, 4, string(b"other"), true), (1, 8, string(b"h"), false)]
    {
        let mut sftp = begun();
        open(&mut sftp, 1, b"/f", flags);
        resolve(&mut sftp, b"/f");
        sftp.forward((), 1, false);
        sftp.receive(Side::Target, &packet(102, 1, &string(b"h")));
        drain(&mut sftp);
        sftp.receive(Side::Caller, &packet(code, 2, &rest));
        assert_eq!(sftp.next_move().is_err(), wrong, "{code}");
    }
}

/// OpenSSH opens for reading whatever is not opened for writing: so it is asked for, and looked through.
#[test]
fn what_can_be_read_is_asked_for_and_looked_through_whatever_else_is_said_of_it() {
    for (flags, read, write) in [
        (0u32, true, false),
        (1, true, false),
        (2, false, true),
        (3, true, true),
        (4, true, true),
        (8, true, true),
        (1 | 2 | 8 | 16, true, true),
        (6, false, true),
    ] {
        let mut sftp = begun();
        open(&mut sftp, 1, b"/f", flags);
        let moves = resolve(&mut sftp, b"/f");
        assert_eq!(asked(&moves).request, Request::Open { read, write, truncate: flags & 16 != 0 }, "{flags}");
        sftp.forward((), 9, true);
        drain(&mut sftp);
        sftp.receive(Side::Target, &packet(102, 1, &string(b"h")));
        let looked = matches!(drain(&mut sftp).as_slice(), [Move::Send(Side::Target, reading)] if reading[4] == 5);
        assert_eq!(looked, read, "{flags}");
        if !looked {
            sftp.receive(Side::Caller, &packet(5, 2, &[&string(b"h")[..], &[0; 12]].concat()));
            assert!(sftp.next_move().is_err(), "it is read all the same");
        }
    }
}

/// In newer versions a file is opened with other words.
#[test]
fn version_3_is_spoken_and_no_other() {
    for version in [3u8, 6] {
        let mut sftp = Sftp::default();
        sftp.receive(Side::Caller, &[&[0, 0, 0, 10, 1, 0, 0, 0, version][..], &string(b"x")].concat());
        let moves = drain(&mut sftp);
        assert!(matches!(moves.as_slice(), [Move::Send(Side::Target, beginning)] if beginning[..] == [0, 0, 0, 5, 1, 0, 0, 0, 3]), "{moves:?}");
        sftp.receive(Side::Target, &[0, 0, 0, 5, 2, 0, 0, 0, version]);
        assert_eq!(sftp.next_move().is_err(), version != 3, "{version}");
    }
    let mut sftp = Sftp::default();
    sftp.receive(Side::Caller, &[0, 0, 0, 5, 1, 0, 0, 0, 2]);
    assert!(sftp.next_move().is_err());
}

/// A machine may give the handle of a file that is closed to the next one.
#[test]
fn a_handle_that_is_being_closed_is_nobodys() {
    let mut sftp = begun();
    open(&mut sftp, 1, b"/f", 1);
    resolve(&mut sftp, b"/f");
    sftp.forward((), 1, false);
    sftp.receive(Side::Target, &packet(102, 1, &string(b"h")));
    drain(&mut sftp);
    sftp.receive(Side::Caller, &packet(4, 2, &string(b"h")));
    assert!(matches!(drain(&mut sftp).as_slice(), [Move::Send(Side::Target, closing)] if closing[4] == 4));
    sftp.receive(Side::Caller, &packet(5, 3, &[&string(b"h")[..], &[0; 12]].concat()));
    assert!(sftp.next_move().is_err());
}

#[test]
fn every_split_of_a_conversation_makes_the_same_moves() {
    let whole = [&packet(17, 1, &string(b"/a"))[..], &packet(19, 2, &string(b"/b"))].concat();
    let moves = |cut: usize| {
        let mut sftp = begun();
        sftp.receive(Side::Caller, &whole[..cut]);
        let mut moves = drain(&mut sftp);
        sftp.receive(Side::Caller, &whole[cut..]);
        moves.extend(drain(&mut sftp));
        moves.extend(resolve(&mut sftp, b"/a"));
        sftp.forward((), 1, false);
        moves.extend(drain(&mut sftp));
        moves
    };
    let expected = moves(0);
    assert_eq!(expected.len(), 4);
    for cut in 1..whole.len() {
        assert_eq!(moves(cut), expected, "{cut}");
    }
}

#[test]
fn what_no_packet_can_be_ends_the_conversation() {
    let too_long = u32::try_from(MAX_PACKET_BYTES + 1).unwrap().to_be_bytes();
    for wrong in [&[0, 0, 0, 0][..], &too_long, &packet(99, 1, b""), &packet(3, 1, &[0, 0, 0, 9, b'x']), &packet(101, 1, &[0; 4]), &[0, 0, 0, 1, 17]]
    {
        let mut sftp = begun();
        sftp.receive(Side::Caller, wrong);
        assert!(sftp.next_move().is_err(), "{wrong:?}");
    }
    let mut sftp = Sftp::default();
    sftp.receive(Side::Caller, &packet(17, 1, &string(b"/a")));
    assert!(sftp.next_move().is_err(), "before it is begun");
    let mut sftp = begun();
    sftp.receive(Side::Target, &packet(101, 1, &[0; 4]));
    assert!(sftp.next_move().is_err(), "an answer to nothing");
}

/// The gateway's last question: its kind and its number.
fn own(moves: &[Move]) -> (u8, u32) {
    match moves {
        [.., Move::Send(Side::Target, question)] => (question[4], u32::from_be_bytes(question[5..9].try_into().unwrap())),
        other => panic!("{other:?}"),
    }
}

fn content(sftp: &mut Sftp, id: u32, piece: &[u8]) -> Vec<Move> {
    sftp.receive(Side::Target, &packet(103, id, &string(piece)));
    drain(sftp)
}

/// A file that is looked through has been opened under number 9: the number of the first reading.
fn looked_at(sftp: &mut Sftp, flags: u32) -> u32 {
    open(sftp, 1, b"/f", flags);
    resolve(sftp, b"/f");
    sftp.forward((), 9, true);
    drain(sftp);
    sftp.receive(Side::Target, &packet(102, 1, &string(b"h")));
    let (code, id) = own(&drain(sftp));
    assert_eq!(code, 5, "it is read, and its caller is told nothing");
    id
}

fn ends(sftp: &mut Sftp, id: u32) -> Vec<Move> {
    sftp.receive(Side::Target, &packet(101, id, &[&1u32.to_be_bytes()[..], &string(b""), &string(b"")].concat()));
    drain(sftp)
}

/// Its caller has no handle until it is shown, and none if it is withheld.
#[test]
fn a_file_that_is_looked_through_is_its_callers_only_then() {
    for shown in [true, false] {
        let mut sftp = begun();
        let id = looked_at(&mut sftp, 1);
        let moves = content(&mut sftp, id, b"some");
        assert!(matches!(&moves[0], Move::Look { operation: 9, content } if content == "some"), "{moves:?}");
        let (_, id) = own(&moves);
        if shown {
            assert_eq!(ends(&mut sftp, id), [Move::LookedThrough { operation: 9, whole: true }]);
            sftp.show(9);
            assert!(matches!(drain(&mut sftp).as_slice(), [Move::Send(Side::Caller, answer)] if answer[4] == 102));
            sftp.receive(Side::Caller, &packet(5, 2, &[&string(b"h")[..], &[0; 12]].concat()));
            assert!(matches!(drain(&mut sftp).as_slice(), [Move::Send(Side::Target, _)]));
        } else {
            sftp.withhold(9, "no");
            let moves = drain(&mut sftp);
            let [Move::Send(Side::Target, closing), Move::Send(Side::Caller, denied)] = moves.as_slice() else { panic!("{moves:?}") };
            assert_eq!((closing[4], denied[4], u32::from_be_bytes(denied[5..9].try_into().unwrap())), (4, 101, 1));
            assert!(content(&mut sftp, id, b"late").is_empty(), "what was on its way is nobody's");
            sftp.receive(Side::Caller, &packet(5, 2, &[&string(b"h")[..], &[0; 12]].concat()));
            assert!(sftp.next_move().is_err(), "its handle was not given");
        }
    }
    let mut sftp = begun();
    looked_at(&mut sftp, 1);
    sftp.receive(Side::Caller, &packet(5, 2, &[&string(b"h")[..], &[0; 12]].concat()));
    assert!(sftp.next_move().is_err(), "nobody waits for the end of the looking");
}

/// What is added to a file after it was looked through was not.
#[test]
fn of_a_file_that_was_looked_through_so_much_is_shown_and_no_more() {
    for (flags, expected) in [(1u32, [&b"me"[..], b""]), (3, [b"me and more", b"later"])] {
        let mut sftp = begun();
        let id = looked_at(&mut sftp, flags);
        let (_, id) = own(&content(&mut sftp, id, b"some"));
        ends(&mut sftp, id);
        sftp.show(9);
        drain(&mut sftp);
        for ((id, offset, piece), expected) in [(2, 2u64, &b"me and more"[..]), (3, 4, b"later")].into_iter().zip(expected) {
            sftp.receive(Side::Caller, &packet(5, id, &[&string(b"h")[..], &offset.to_be_bytes(), &[0, 0, 1, 0]].concat()));
            drain(&mut sftp);
            let answer = match expected {
                b"" => packet(101, id, &[&1u32.to_be_bytes()[..], &string(b""), &string(b"")].concat()),
                some => packet(103, id, &string(some)),
            };
            assert_eq!(content(&mut sftp, id, piece), [Move::Send(Side::Caller, answer.into())], "{flags}");
        }
        // What is on its way when it is closed is nobody's.
        sftp.receive(Side::Caller, &packet(5, 4, &[&string(b"h")[..], &[0; 12]].concat()));
        sftp.receive(Side::Caller, &packet(4, 5, &string(b"h")));
        drain(&mut sftp);
        ends(&mut sftp, 5);
        let moves = content(&mut sftp, 4, b"some");
        assert!(matches!(moves.as_slice(), [Move::Send(Side::Caller, end)] if end[4] == 101), "{moves:?}");
    }
}

#[test]
fn a_file_without_an_end_is_looked_through_to_the_bound_and_no_further() {
    let mut sftp = begun();
    sftp.max_looked = MaxLooked(10);
    let id = looked_at(&mut sftp, 1);
    let moves = content(&mut sftp, id, b"0123456789");
    assert!(matches!(&moves[0], Move::Look { .. }), "as long as that, it may be: {moves:?}");
    let (_, id) = own(&moves);
    assert_eq!(content(&mut sftp, id, b"x"), [Move::LookedThrough { operation: 9, whole: false }]);
}
