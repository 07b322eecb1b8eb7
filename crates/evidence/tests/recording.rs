//! Recordings as they are written, read, cut, changed and checked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]

use std::sync::Arc;

use evidence::{
    DeploymentKey, Fault, KeyRing, Reader, Record, Verifier, Writer,
    format::{FRAME_HEAD_BYTES, FRAME_OVERHEAD_BYTES, HEADER_BYTES, Head, HeaderError},
    reader::Placed,
    record::{
        Answered, Asked, AskedOutcome, Cell, Closed, CopyData, Direction, Failure, Held, Hex, Note, Opened, Parameter, Rows, Ruling, Settled, Shape,
        ShapeColumn, Treatment, Via,
    },
    verify::{CutOff, FaultKind, Walked},
};
use model::{
    Action, Actor, ActorChain, Effects, Facts, HoldId, IdentityId, IdentityKind, Object, Pair, RecordLevel, Requirement, Risk, RowScope, SessionId,
    Timestamp, TokenId, Understanding, VersionHash,
    facts::{Outputs, RelationRef},
    hold::{HoldState, Signature},
};
use proptest::prelude::*;

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_795_300_000_000_000 + micros).unwrap()
}

fn session() -> SessionId {
    SessionId::from_random(42)
}

fn facts(table: &str) -> Facts {
    let table: Arc<str> = Arc::from(table);
    Facts {
        understanding: Understanding::Full,
        pairs: vec![Pair {
            action: Action::Read,
            object: Object::Table { database: Arc::from("shop"), schema: Arc::from("public"), table: Arc::clone(&table) },
        }],
        kinds: vec![Arc::from("SELECT")],
        statements: 1,
        reads: vec![RelationRef { schema: Arc::from("public"), name: table, oid: 16384 }],
        writes: vec![],
        functions: vec![],
        row_scope: RowScope::None,
        risk: Risk::new(1),
        effects: Effects::default(),
        outputs: Outputs::default(),
        filters: model::facts::Filters::default(),
        secret_spans: vec![],
    }
}

fn ruling(reason: &str) -> Ruling {
    Ruling {
        outcome: AskedOutcome::Allowed,
        policies: vec!["engineers.cedar:3".parse().unwrap()],
        reasons: vec![reason.to_owned()],
        version: VersionHash([7; 32]),
        classes: vec![],
    }
}

fn opened() -> Record {
    let subject = Actor {
        id: IdentityId::from_random(1),
        name: "alice".parse().unwrap(),
        kind: IdentityKind::User,
        groups: vec!["engineers".parse().unwrap()],
        owner: None,
        run: None,
        granted: Vec::new(),
    };
    Record::Opened(Box::new(Opened {
        at: time(0),
        session: session(),
        chain: ActorChain::alone(subject),
        connection: "prod-pg".parse().unwrap(),
        database: "shop".to_owned(),
        environment: "production".parse().unwrap(),
        peer: "127.0.0.1:40000".to_owned(),
        token: Some(TokenId::from_random(3)),
        version: VersionHash([7; 32]),
        level: RecordLevel::Statements,
        target_pid: 77,
        application_name: Some("psql".to_owned()),
        target_role: None,
    }))
}

fn asked(op: u64, at: i64, text: &str, via: Via) -> Record {
    Record::Asked(Asked {
        op,
        at: time(at),
        text: Arc::from(text),
        facts: Arc::new(facts("t")),
        ruling: Arc::new(ruling("r")),
        parameters: vec![],
        via,
    })
}

fn answered(op: u64, at: i64) -> Record {
    Record::Answered(Answered { op, at: time(at), duration_us: 412, rows: 1, bytes: 64, tag: Some("SELECT 1".to_owned()), ..Answered::default() })
}

fn closed() -> Record {
    Record::Closed(Closed { at: time(900), ending: "the caller left".to_owned(), operations: 2 })
}

struct Written {
    keys: Arc<KeyRing>,
    /// Segments, each the header and then one element a frame.
    segments: Vec<Vec<Vec<u8>>>,
    records: Vec<Record>,
    head: Head,
}

impl Written {
    fn bytes(&self, segment: usize) -> Vec<u8> {
        self.segments[segment].concat()
    }

    fn all(&self) -> Vec<Vec<u8>> {
        (0..self.segments.len()).map(|segment| self.bytes(segment)).collect()
    }
}

/// Writes each group of records as one commit, and begins a segment after each of the commits named.
fn write(groups: &[Vec<Record>], roll_after: &[usize]) -> Written {
    let deployment = DeploymentKey::generate().unwrap();
    let (mut writer, header) = Writer::new(session(), deployment.recording_key(session()).unwrap(), time(0));
    let mut segments = vec![vec![header.to_vec()]];
    for (index, group) in groups.iter().enumerate() {
        for record in group {
            writer.append(record).unwrap();
        }
        let sealed = writer.seal().unwrap().to_vec();
        segments.last_mut().unwrap().extend(split(&sealed));
        if roll_after.contains(&index) {
            segments.push(vec![writer.next_segment(time(1)).unwrap().to_vec()]);
        }
    }
    let keys = Arc::new(KeyRing::new(deployment, vec![]));
    Written { keys, segments, records: groups.concat(), head: writer.head() }
}

fn split(mut sealed: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !sealed.is_empty() {
        let length = u32::from_be_bytes([0, sealed[1], sealed[2], sealed[3]]) as usize + FRAME_OVERHEAD_BYTES;
        let (frame, rest) = sealed.split_at(length);
        frames.push(frame.to_vec());
        sealed = rest;
    }
    frames
}

fn read(keys: &Arc<KeyRing>, segments: &[Vec<u8>], piece: usize) -> (Vec<Record>, Result<Walked, Fault>) {
    let mut reader = Reader::new(Arc::clone(keys));
    let mut records = Vec::new();
    let mut drain = |reader: &mut Reader, bytes: &[u8]| -> Result<(), Fault> {
        reader.push(bytes);
        while let Some(Placed { record, .. }) = reader.next()? {
            records.push(record);
        }
        Ok(())
    };
    let all = (|| {
        for segment in segments {
            reader.begin_segment()?;
            segment.chunks(piece.max(1)).try_for_each(|bytes| drain(&mut reader, bytes))?;
        }
        Ok(reader.walked())
    })();
    (records, all)
}

fn verify(segments: &[Vec<u8>]) -> Result<Walked, Fault> {
    let mut verifier = Verifier::new();
    for segment in segments {
        verifier.begin_segment()?;
        segment.chunks(1000).try_for_each(|bytes| verifier.push(bytes))?;
    }
    Ok(verifier.finish())
}

fn walked_head(segments: &[Vec<u8>]) -> Head {
    verify(segments).unwrap().head
}

fn small() -> Written {
    write(
        &[
            vec![opened()],
            vec![asked(1, 10, "SELECT 1", Via::Simple)],
            vec![answered(1, 422)],
            vec![asked(2, 500, "SELECT * FROM t", Via::Bind)],
            vec![answered(2, 600)],
            vec![closed()],
        ],
        &[2],
    )
}

/// Every kind of record, with every kind of content.
fn every_kind() -> Vec<Record> {
    let held =
        Requirement { policy: "prod-destroy".parse().unwrap(), approvers: vec!["dba".parse().unwrap()], count: 1, reason: None, watched: false };
    let signature = Signature { signer: "bob".parse().unwrap(), at: time(50), policies: vec!["prod-destroy".parse().unwrap()] };
    let parameters = vec![Parameter::Null, Parameter::Text("null".to_owned()), Parameter::Binary { hex: Hex(vec![0, 255]), type_oid: 23 }];
    let columns = vec![
        ShapeColumn { name: "a".to_owned(), type_oid: 25, treatment: Treatment::Pass },
        ShapeColumn { name: "b\n".to_owned(), type_oid: 25, treatment: Treatment::Masked("email".parse().unwrap()) },
        ShapeColumn { name: String::new(), type_oid: 0, treatment: Treatment::Withheld },
    ];
    let failure = Failure { sqlstate: "42P01".to_owned(), message: "relation \"x\" does not exist".to_owned() };
    vec![
        opened(),
        Record::Asked(Asked {
            op: 1,
            at: time(1),
            text: Arc::from("DROP TABLE payments\n-- 名前"),
            facts: Arc::new(facts("payments")),
            ruling: Arc::new(Ruling { outcome: AskedOutcome::Held, classes: vec!["email".parse().unwrap()], ..ruling("held") }),
            parameters,
            via: Via::Bind,
        }),
        Record::Held(Held { op: 1, at: time(2), hold: HoldId::from_random(9), requirements: vec![held], expires_at: time(900) }),
        Record::Settled(Settled {
            op: 1,
            at: time(3),
            hold: HoldId::from_random(9),
            state: HoldState::Denied { by: "bob".parse().unwrap(), reason: Some("no".to_owned()) },
            signatures: vec![signature],
        }),
        Record::Shape(Shape { op: 1, columns }),
        Record::Rows(Rows { op: 1, rows: vec![vec![None, Some(Cell::Text(String::new())), Some(Cell::new(&[0xff], false))], vec![]] }),
        Record::CopyData(CopyData { op: 1, direction: Direction::In, data: Cell::new(b"1\tx\n", false) }),
        Record::CopyData(CopyData { op: 1, direction: Direction::Out, data: Cell::new(b"PGCOPY", true) }),
        Record::Answered(Answered {
            op: 1,
            at: time(-5),
            duration_us: 7,
            error: Some(failure),
            masked: vec!["email".to_owned()],
            refused: true,
            ..Answered::default()
        }),
        Record::Note(Note { at: time(4), kind: "cancel".to_owned(), text: "the caller cancelled".to_owned() }),
        closed(),
    ]
}

#[test]
fn every_kind_of_record_is_read_back() {
    let written = write(&[every_kind()], &[]);
    let (records, walked) = read(&written.keys, &written.all(), 7);
    assert_eq!(records, written.records);
    assert!(walked.unwrap().complete);
    for record in &written.records {
        let json = serde_json::to_string(record).unwrap();
        assert_eq!(&serde_json::from_str::<Record>(&json).unwrap(), record, "{json}");
    }
}

#[test]
fn the_chain_is_verified_without_a_key_and_across_segments() {
    let written = small();
    let walked = verify(&written.all()).unwrap();
    assert_eq!(walked, Walked { segments: 2, frames: 6, head: written.head, complete: true, cut_off: None });
    assert_eq!(read(&written.keys, &written.all(), 1).1.unwrap(), walked);
}

#[test]
fn nothing_readable_stands_in_a_file() {
    let written = small();
    let bytes = written.all().concat();
    for text in ["alice", "SELECT", "prod-pg", "public"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
}

/// REC-02: recordings of secrets.
#[test]
fn a_secret_is_never_written_and_its_place_is_marked() {
    let text = "ALTER ROLE bob PASSWORD 'hunter2'";
    let record = Record::Asked(Asked {
        op: 1,
        at: time(1),
        text: Arc::from(text),
        facts: Arc::new(Facts { secret_spans: vec![(24, 33)], ..facts("t") }),
        ruling: Arc::new(ruling("r")),
        parameters: vec![],
        via: Via::Bind,
    });
    let written = write(&[vec![opened(), record.clone(), record]], &[]);
    let (records, _) = read(&written.keys, &written.all(), 4096);
    for record in &records[1..] {
        let Record::Asked(asked) = record else { panic!("{record:?}") };
        assert_eq!(&*asked.text, "ALTER ROLE bob PASSWORD [secret]");
        assert_eq!(asked.facts.secret_spans, vec![(24, 32)]);
    }
}

/// REC-02: a flipped byte.
#[test]
fn any_changed_byte_is_noticed_without_a_key_and_its_frame_named() {
    let written = small();
    for (segment, parts) in written.segments.iter().enumerate() {
        let mut begin = 0;
        for (part, bytes) in parts.iter().enumerate() {
            for place in begin..begin + bytes.len() {
                let mut changed = written.all();
                changed[segment][place] ^= 0x20;
                let fault = verify(&changed).expect_err("a changed byte");
                assert_eq!((fault.segment as usize, fault.frame), (segment, part.checked_sub(1).map(|frame| frame as u32)), "byte {place}: {fault}");
                let (_, read) = read(&written.keys, &changed, 50);
                assert_eq!(read.expect_err("a changed byte").frame, fault.frame);
            }
            begin += bytes.len();
        }
    }
}

/// REC-02: delete, duplicate, reorder.
#[test]
fn a_removed_repeated_or_swapped_frame_is_named() {
    let written = small();
    for segment in 0..2 {
        let frames = written.segments[segment].len() - 1;
        for frame in 1..=frames {
            let name = |parts: Vec<Vec<u8>>| {
                let mut all = written.all();
                all[segment] = parts.concat();
                verify(&all).map_err(|fault| (fault.segment as usize, fault.frame))
            };
            let here = Err((segment, Some(frame as u32 - 1)));
            let mut removed = written.segments[segment].clone();
            removed.remove(frame);
            if frame < frames {
                assert_eq!(name(removed), here, "removed");
            } else if segment == 0 {
                assert_eq!(name(removed), Err((1, None)), "the end of an earlier segment: its successor does not follow");
            } else {
                assert!(!name(removed).unwrap().complete, "the end of the recording: it no longer says that it ended");
            }
            let mut repeated = written.segments[segment].clone();
            repeated.insert(frame, repeated[frame].clone());
            assert_eq!(name(repeated), Err((segment, Some(frame as u32))), "repeated");
            if frame < frames {
                let mut swapped = written.segments[segment].clone();
                swapped.swap(frame, frame + 1);
                assert_eq!(name(swapped), here, "swapped");
            }
        }
    }
}

/// REC-02: the same with whole files.
#[test]
fn removed_repeated_swapped_and_foreign_segments_are_named() {
    let group = |op: u64| vec![asked(op, 1, "SELECT 1", Via::Simple), answered(op, 2)];
    let written = write(&[vec![opened()], group(1), group(2), vec![closed()]], &[0, 1, 2]);
    let [a, b, c, d] = &written.all()[..] else { panic!("four segments") };
    let named = |segments: &[&Vec<u8>]| verify(&segments.iter().map(|s| (*s).clone()).collect::<Vec<_>>()).map_err(|f| (f.segment, f.what));
    assert!(named(&[a, b, c, d]).unwrap().complete);
    assert_eq!(named(&[a, c, d]), Err((1, FaultKind::Segment(2))));
    assert_eq!(named(&[b, c, d]), Err((0, FaultKind::Segment(1))));
    assert_eq!(named(&[a, b, b, c]), Err((2, FaultKind::Segment(1))));
    assert_eq!(named(&[a, c, b, d]), Err((1, FaultKind::Segment(2))));
    assert_eq!(named(&[a, b, c, d, d]), Err((4, FaultKind::AfterLast)));
    let other = write(&[vec![opened()], group(1)], &[0]);
    assert_eq!(named(&[a, &other.bytes(1)]), Err((1, FaultKind::Session(session()))), "the same session's id, another recording's key");
}

/// REC-02: truncation at the end.
#[test]
fn a_file_cut_at_any_byte_gives_every_whole_record_before_it() {
    let written = small();
    let (first, second) = (written.bytes(0), written.bytes(1));
    let ends: Vec<usize> = written.segments[1]
        .iter()
        .scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        })
        .collect();
    for length in 0..second.len() {
        let segments = vec![first.clone(), second[..length].to_vec()];
        let whole = ends.iter().filter(|end| **end <= length).count();
        let (records, walked) = read(&written.keys, &segments, 64);
        let walked = walked.unwrap();
        assert_eq!(records, written.records[..3 + whole.saturating_sub(1)]);
        assert!(!walked.complete);
        let begin = if whole == 0 { 0 } else { ends[whole - 1] };
        let frame = whole.checked_sub(1).map(|frame| frame as u32);
        let cut_off = (begin != length || whole == 0).then_some(CutOff { segment: 1, frame, bytes: (length - begin) as u64 });
        assert_eq!(walked.cut_off, cut_off, "cut at {length}");
        assert_eq!(verify(&segments).unwrap(), walked);
    }
}

/// REC-02: truncation before the end.
#[test]
fn a_cut_in_a_segment_that_others_follow_is_a_fault() {
    let written = small();
    let first = written.bytes(0);
    for length in 0..first.len() {
        let segments = vec![first[..length].to_vec(), written.bytes(1)];
        let fault = verify(&segments).expect_err("a cut in the middle");
        let at_boundary = matches!(fault.what, FaultKind::Previous);
        assert!(at_boundary || matches!(fault.what, FaultKind::CutOff(_)), "{length}: {fault}");
        assert!(read(&written.keys, &segments, 64).1.is_err());
    }
}

#[test]
fn zeros_after_the_last_frame_are_a_power_cut_and_nothing_else_is() {
    let written = write(&[vec![opened()], vec![asked(1, 10, "SELECT 1", Via::Simple)]], &[]);
    let mut bytes = written.bytes(0);
    bytes.extend_from_slice(&[0; 5000]);
    let walked = verify(&[bytes.clone()]).unwrap();
    assert_eq!(walked.cut_off.map(|cut| cut.frame), Some(Some(2)));
    assert_eq!(read(&written.keys, &[bytes.clone()], 100).0, written.records);
    *bytes.last_mut().unwrap() = 1;
    assert_eq!(verify(&[bytes]).expect_err("not all zeros").what, FaultKind::FrameHead);
}

/// The power went while a further segment was begun: its name and length are there, its bytes are not.
#[test]
fn zeros_in_place_of_the_last_header_are_a_power_cut_and_nothing_else_is() {
    let written = write(&[vec![opened()], vec![asked(1, 10, "SELECT 1", Via::Simple)]], &[]);
    for length in [1, 20, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, 5000] {
        let mut segments = vec![written.bytes(0), vec![0; length]];
        let walked = verify(&segments).unwrap();
        assert_eq!((walked.segments, walked.head, walked.cut_off.map(|cut| cut.frame)), (2, written.head, Some(None)), "{length}");
        for piece in [1, 7, 64, 100_000] {
            let (records, walked) = read(&written.keys, &segments, piece);
            assert!(walked.unwrap().cut_off.is_some() && records == written.records, "{length} in pieces of {piece}");
        }
        let fault = verify(&[segments.clone(), vec![written.bytes(0)]].concat()).expect_err("others follow");
        assert!(matches!(fault.what, FaultKind::CutOff(_)), "{length}: {fault}");
        if length >= HEADER_BYTES {
            *segments[1].last_mut().unwrap() = 1;
            assert_eq!(verify(&segments).expect_err("not all zeros").what, FaultKind::Header(HeaderError::Magic), "{length}");
        }
    }
}

#[test]
fn another_key_opens_nothing() {
    let written = small();
    let other = Arc::new(KeyRing::new(DeploymentKey::generate().unwrap(), vec![]));
    let (records, walked) = read(&other, &written.all(), 4096);
    assert!(records.is_empty());
    assert!(matches!(walked.expect_err("a foreign key").what, FaultKind::Key(_)));
}

#[test]
fn a_short_statement_takes_at_most_250_bytes() {
    let facts = Arc::new(facts("pgbench_accounts"));
    let ruling = Arc::new(ruling("engineers may read"));
    let pair = |op: u64, via: Via, text: &str, parameters: Vec<Parameter>| {
        let at = 2_000 * i64::try_from(op).unwrap();
        let asked = Asked { op, at: time(at), text: Arc::from(text), facts: Arc::clone(&facts), ruling: Arc::clone(&ruling), parameters, via };
        let tag = Some("SELECT 1".to_owned());
        let answered = Answered { op, at: time(at + 412), duration_us: 412, rows: 1, bytes: 78, tag, ..Answered::default() };
        [vec![Record::Asked(asked)], vec![Record::Answered(answered)]]
    };
    let size = |via: Via, text: &dyn Fn(u64) -> String, parameters: &dyn Fn(u64) -> Vec<Parameter>| {
        let mut groups = vec![vec![opened()]];
        (100_000..100_020).for_each(|op| groups.extend(pair(op, via, &text(op), parameters(op))));
        let written = write(&groups, &[]);
        let frames = &written.segments[0];
        assert_eq!(read(&written.keys, &written.all(), 4096).0, written.records);
        frames[frames.len() - 2..].iter().map(Vec::len).sum::<usize>()
    };
    let prepared =
        size(Via::Bind, &|_| "SELECT abalance FROM pgbench_accounts WHERE aid = $1".to_owned(), &|op| vec![Parameter::Text(op.to_string())]);
    let simple = size(Via::Simple, &|op| format!("SELECT abalance FROM pgbench_accounts WHERE aid = {op};"), &|_| vec![]);
    println!("a short statement takes {prepared} bytes prepared, {simple} bytes as a simple query with its own text");
    assert!(prepared <= 250, "{prepared}");
    assert!(simple <= 250, "{simple}");
}

#[test]
fn bulk_is_compressed_and_a_record_may_span_frames() {
    let row = vec![Some(Cell::Text("the same again and again".to_owned())); 4];
    let rows = Record::Rows(Rows { op: 1, rows: vec![row; 100_000] });
    let noise: Vec<u8> = (0..6_000_000u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let data = Record::CopyData(CopyData { op: 1, direction: Direction::Out, data: Cell::new(&noise, true) });
    let written = write(&[vec![opened()], vec![rows], vec![data], vec![closed()]], &[]);
    assert!(written.segments[0].len() > 6, "several frames");
    assert!(written.bytes(0).len() < 12_000_000, "{} bytes", written.bytes(0).len());
    let (records, walked) = read(&written.keys, &written.all(), 64 << 10);
    assert_eq!(records, written.records);
    assert_eq!(walked.unwrap(), verify(&written.all()).unwrap());
    let cut = written.bytes(0).len() - written.segments[0].last().unwrap().len() - written.segments[0].iter().rev().nth(1).unwrap().len();
    let segments = vec![written.bytes(0)[..cut].to_vec()];
    let (records, walked) = read(&written.keys, &segments, 64 << 10);
    assert_eq!(records, written.records[..2], "a record whose last frame is missing is not given");
    assert!(walked.unwrap().cut_off.is_some(), "and its missing end is told");
}

#[test]
fn more_statements_than_are_remembered_are_named_anew() {
    let mut groups = vec![vec![opened()]];
    for op in 1..=2500u64 {
        let table = format!("t{}", op % 1500);
        let asked = Asked {
            op,
            at: time(1),
            text: Arc::from(format!("SELECT {}", op % 1100)),
            facts: Arc::new(facts(&table)),
            ruling: Arc::new(ruling(&table)),
            parameters: vec![],
            via: Via::Bind,
        };
        groups.push(vec![Record::Asked(asked)]);
    }
    let written = write(&groups, &[1700]);
    let (records, walked) = read(&written.keys, &written.all(), 64 << 10);
    walked.unwrap();
    assert_eq!(records, written.records);
}

#[test]
fn nothing_is_written_after_the_end() {
    let deployment = DeploymentKey::generate().unwrap();
    let (mut writer, _) = Writer::new(session(), deployment.recording_key(session()).unwrap(), time(0));
    writer.append(&closed()).unwrap();
    assert!(writer.append(&closed()).is_err());
    assert!(!writer.seal().unwrap().is_empty());
    assert!(writer.append(&opened()).is_err());
    assert!(writer.next_segment(time(1)).is_err());
    assert!(writer.seal().unwrap().is_empty());
}

/// Format 1 as it was first written. These files are never written again: a program that cannot read them breaks somebody's evidence.
#[test]
fn recordings_of_format_1_are_read_for_ever() {
    let golden: [&[u8]; 2] = [include_bytes!("golden/format1.0000.rec"), include_bytes!("golden/format1.0001.rec")];
    let segments = golden.map(<[u8]>::to_vec);
    let key = DeploymentKey::from_bytes(include_bytes!("golden/format1.key")).unwrap();
    let (records, walked) = read(&Arc::new(KeyRing::new(key, vec![])), &segments, 4096);
    assert_eq!(walked.unwrap(), verify(&segments).unwrap());
    let json: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    assert_eq!(json, include_str!("golden/format1.jsonl").lines().collect::<Vec<_>>());
    let head: String = walked_head(&segments).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(include_str!("../../../docs/recording-format.md").contains(&head), "the document names the head its own program computes");
}

fn any_record() -> impl Strategy<Value = Record> {
    let text = || any::<String>();
    let via = prop_oneof![Just(Via::Simple), Just(Via::Bind), Just(Via::FunctionCall)];
    let parameter = prop_oneof![
        Just(Parameter::Null),
        text().prop_map(Parameter::Text),
        (any::<Vec<u8>>(), any::<u32>()).prop_map(|(bytes, type_oid)| Parameter::Binary { hex: Hex(bytes), type_oid }),
    ];
    let cell = || (any::<Vec<u8>>(), any::<bool>()).prop_map(|(bytes, binary)| Cell::new(&bytes, binary));
    let at = || (-1_000_000_000i64..1_000_000_000_000).prop_map(time);
    prop_oneof![
        (any::<u64>(), at(), "[a-c]{0,3}|.{0,40}", 0..3u8, prop::collection::vec(parameter, 0..4), via).prop_map(
            |(op, at, text, table, parameters, via)| {
                let facts = Arc::new(facts(&format!("t{table}")));
                Record::Asked(Asked { op, at, text: Arc::from(text), facts, ruling: Arc::new(ruling(&table.to_string())), parameters, via })
            }
        ),
        (any::<u64>(), at(), any::<(u64, u64, u64, bool)>(), prop::option::of(text()), prop::option::of(text()), prop::collection::vec(text(), 0..3))
            .prop_map(|(op, at, (duration_us, rows, bytes, refused), tag, message, masked)| {
                let error = message.map(|message| Failure { sqlstate: "57014".to_owned(), message });
                Record::Answered(Answered { op, at, duration_us, rows, bytes, tag, error, masked, refused })
            }),
        (any::<u64>(), prop::collection::vec(prop::collection::vec(prop::option::of(cell()), 0..4), 0..4))
            .prop_map(|(op, rows)| Record::Rows(Rows { op, rows })),
        (any::<u64>(), cell()).prop_map(|(op, data)| Record::CopyData(CopyData { op, direction: Direction::In, data })),
        (at(), text(), text()).prop_map(|(at, kind, text)| Record::Note(Note { at, kind, text })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_records_in_any_commits_and_pieces_are_read_back(
        groups in prop::collection::vec(prop::collection::vec(any_record(), 0..4), 1..8),
        roll_after in prop::collection::vec(0..8usize, 0..3),
        piece in 1..300usize,
    ) {
        let written = write(&groups, &roll_after);
        let (records, walked) = read(&written.keys, &written.all(), piece);
        prop_assert_eq!(walked, verify(&written.all()));
        prop_assert_eq!(records, written.records);
    }

    #[test]
    fn any_change_of_any_byte_is_noticed(
        groups in prop::collection::vec(prop::collection::vec(any_record(), 1..4), 1..6),
        place in any::<prop::sample::Index>(),
        change in 1..=255u8,
    ) {
        let written = write(&groups, &[]);
        let mut bytes = written.bytes(0);
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        let fault = verify(&[bytes.clone()]);
        prop_assert!(fault.is_err());
        prop_assert_eq!(read(&written.keys, &[bytes], 64).1.map_err(|f| f.frame), fault.map_err(|f| f.frame));
    }

    #[test]
    fn any_bytes_at_all_are_read_without_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        keep in 0..600usize,
        piece in 1..64usize,
    ) {
        let written = small();
        let mut mixed = written.bytes(0);
        mixed.truncate(keep.min(mixed.len()));
        mixed.extend_from_slice(&bytes);
        let (records, _) = read(&written.keys, &[mixed.clone()], piece);
        prop_assert!(records.len() <= written.records.len());
        let _ = verify(&[mixed]);
        const { assert!(HEADER_BYTES > FRAME_HEAD_BYTES) };
    }
}
