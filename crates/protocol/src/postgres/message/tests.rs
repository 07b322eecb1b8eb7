//! Golden bytes, every truncation, and properties: whatever is decoded is written back as it was, and nothing panics.

use bytes::BytesMut;
use proptest::prelude::*;

use super::{
    again::{again, back, raw, written},
    backend::{self, Authentication, Backend, CommandComplete, NotificationResponse, Report, Transaction},
    frontend::{self, Bind, Frontend, FunctionCall, Kind, SaslInitialResponse},
    *,
};
use crate::{
    Side,
    postgres::{
        frame::{self, HEAD_BYTES, Limits},
        rows::{self, RowDescription},
    },
    reader::Malformed,
};

fn fixed(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

/// One of each, as a caller sends them.
fn frontend_samples() -> Vec<(BytesMut, &'static [u8])> {
    let formats = [Format::Text, Format::Binary];
    vec![
        (written(|out| frontend::query(out, b"SELECT 1")), b"Q\0\0\0\x0dSELECT 1\0"),
        (written(|out| frontend::parse(out, b"s", b"SELECT $1", &[23, 0])), b"P\0\0\0\x1as\0SELECT $1\0\0\x02\0\0\0\x17\0\0\0\0"),
        (
            written(|out| frontend::bind(out, b"p", b"s", &formats, &[Some(b"x"), None], &[Format::Binary])),
            b"B\0\0\0\x1dp\0s\0\0\x02\0\0\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01",
        ),
        (written(|out| frontend::describe(out, Kind::Statement, b"s")), b"D\0\0\0\x07Ss\0"),
        (written(|out| frontend::close(out, Kind::Portal, b"")), b"C\0\0\0\x06P\0"),
        (written(|out| frontend::execute(out, b"p", 100)), b"E\0\0\0\x0ap\0\0\0\0\x64"),
        (raw(b'F', b"\0\0\x03\xbb\0\0\0\x01\0\0\0\x02ab\0\x01"), b"F\0\0\0\x14\0\0\x03\xbb\0\0\0\x01\0\0\0\x02ab\0\x01"),
        (written(|out| frontend::copy_data(out, b"1\t2\n")), b"d\0\0\0\x081\t2\n"),
        (written(|out| frontend::copy_fail(out, b"no")), b"f\0\0\0\x07no\0"),
        (written(|out| frontend::password(out, b"pw")), b"p\0\0\0\x07pw\0"),
        (fixed(frontend::flush), b"H\0\0\0\x04"),
        (fixed(frontend::sync), b"S\0\0\0\x04"),
        (fixed(frontend::copy_done), b"c\0\0\0\x04"),
        (fixed(frontend::terminate), b"X\0\0\0\x04"),
    ]
}

/// One of each, as a target sends them.
fn backend_samples() -> Vec<(BytesMut, &'static [u8])> {
    vec![
        (fixed(backend::authentication_ok), b"R\0\0\0\x08\0\0\0\0"),
        (fixed(backend::authentication_cleartext_password), b"R\0\0\0\x08\0\0\0\x03"),
        (fixed(|out| backend::authentication_md5_password(out, *b"salt")), b"R\0\0\0\x0c\0\0\0\x05salt"),
        (written(|out| backend::authentication_sasl(out, &["A", "B"])), b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0"),
        (written(|out| backend::authentication_sasl_continue(out, b"r=")), b"R\0\0\0\x0a\0\0\0\x0br="),
        (written(|out| backend::authentication_sasl_final(out, b"v=")), b"R\0\0\0\x0a\0\0\0\x0cv="),
        (written(|out| backend::backend_key_data(out, 258, b"\xde\xad\xbe\xef")), b"K\0\0\0\x0c\0\0\x01\x02\xde\xad\xbe\xef"),
        (written(|out| backend::negotiate_protocol_version(out, &[b"_pq_.x"])), b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0"),
        (written(|out| backend::parameter_status(out, b"TimeZone", b"UTC")), b"S\0\0\0\x11TimeZone\0UTC\0"),
        (fixed(|out| backend::ready_for_query(out, Transaction::Failed)), b"Z\0\0\0\x05E"),
        (written(|out| backend::command_complete(out, b"SELECT 3")), b"C\0\0\0\x0dSELECT 3\0"),
        (written(|out| backend::parameter_description(out, &[25])), b"t\0\0\0\x0a\0\x01\0\0\0\x19"),
        (written(|out| rows::row_description(out, &[(b"a", 25)])), b"T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"),
        (written(|out| rows::data_row(out, &[Some(b"1"), None, Some(b"")])), b"D\0\0\0\x13\0\x03\0\0\0\x011\xff\xff\xff\xff\0\0\0\0"),
        (written(|out| backend::report(out, b'E', &[(b'M', b"no")])), b"E\0\0\0\x09Mno\0\0"),
        (written(|out| backend::report(out, b'N', &[])), b"N\0\0\0\x05\0"),
        (raw(b'A', b"\0\0\0\x01chan\0load\0"), b"A\0\0\0\x12\0\0\0\x01chan\0load\0"),
        (raw(b'G', b"\x01\0\x01\0\x01"), b"G\0\0\0\x09\x01\0\x01\0\x01"),
        (raw(b'H', b"\0\0\x01\0\0"), b"H\0\0\0\x09\0\0\x01\0\0"),
        (raw(b'W', b"\0\0\0"), b"W\0\0\0\x07\0\0\0"),
        (raw(b'V', b"\0\0\0\x01x"), b"V\0\0\0\x09\0\0\0\x01x"),
        (raw(b'd', b"x"), b"d\0\0\0\x05x"),
        (raw(b'c', b""), b"c\0\0\0\x04"),
        (fixed(backend::parse_complete), b"1\0\0\0\x04"),
        (fixed(backend::bind_complete), b"2\0\0\0\x04"),
        (fixed(backend::close_complete), b"3\0\0\0\x04"),
        (fixed(backend::no_data), b"n\0\0\0\x04"),
        (fixed(backend::empty_query_response), b"I\0\0\0\x04"),
        (fixed(backend::portal_suspended), b"s\0\0\0\x04"),
    ]
}

#[test]
fn every_message_is_written_byte_for_byte_and_read_back() {
    for (message, golden) in frontend_samples() {
        assert_eq!(&message[..], golden);
        assert_eq!(again(&Frontend::decode(golden[0], &golden[HEAD_BYTES..]).unwrap()), message);
    }
    for (message, golden) in backend_samples() {
        assert_eq!(&message[..], golden);
        assert_eq!(back(&Backend::decode(golden[0], &golden[HEAD_BYTES..]).unwrap()), message);
    }
}

#[test]
fn a_stream_of_messages_is_framed_alike_at_every_split() {
    for (side, samples) in [(Side::Caller, frontend_samples()), (Side::Target, backend_samples())] {
        let whole: Vec<u8> = samples.iter().flat_map(|(message, _)| message.to_vec()).collect();
        let expected: Vec<_> = samples.iter().map(|(message, _)| message.clone()).collect();
        for split in 0..=whole.len() {
            let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
            for part in [&whole[..split], &whole[split..]] {
                buffer.extend_from_slice(part);
                while let Some(head) = frame::head(&buffer, side, &Limits::default()).unwrap().filter(|head| head.len <= buffer.len()) {
                    seen.push(buffer.split_to(head.len));
                }
            }
            assert_eq!(seen, expected, "split at {split}");
        }
    }
}

#[test]
fn a_body_cut_or_lengthened_anywhere_is_malformed() {
    for (message, _) in frontend_samples().into_iter().filter(|(message, _)| message[0] != b'd') {
        for end in HEAD_BYTES..message.len() {
            assert!(Frontend::decode(message[0], &message[HEAD_BYTES..end]).is_err(), "{message:?} cut at {end}");
        }
        assert!(Frontend::decode(message[0], &[&message[HEAD_BYTES..], b"\0"].concat()).is_err(), "{message:?} lengthened");
    }
    // Those whose last part has no length of its own take any.
    let open = |message: &[u8]| matches!(message, [b'd' | b'K' | b'T' | b'D', ..]) || matches!(message, [b'R', _, _, _, _, 0, 0, 0, 11 | 12, ..]);
    for (message, _) in backend_samples().into_iter().filter(|(message, _)| !open(message)) {
        for end in HEAD_BYTES..message.len() {
            assert!(Backend::decode(message[0], &message[HEAD_BYTES..end]).is_err(), "{message:?} cut at {end}");
        }
        assert!(Backend::decode(message[0], &[&message[HEAD_BYTES..], b"\0"].concat()).is_err(), "{message:?} lengthened");
    }
}

#[test]
fn more_parameters_than_can_be_counted_are_described() {
    let types: Vec<u32> = (0..65_537).collect();
    let message = written(|out| backend::parameter_description(out, &types));
    assert_eq!(message[HEAD_BYTES..HEAD_BYTES + 2], [0, 1]);
    let Ok(Backend::ParameterDescription(described)) = Backend::decode(b't', &message[HEAD_BYTES..]) else { panic!("not read") };
    assert!(described.types.iter().eq(types));
}

#[test]
fn a_text_with_a_nul_inside_is_malformed_coming_and_unencodable_going() {
    let hidden = b"SELECT 1\0; DROP TABLE t\0";
    assert_eq!(Frontend::decode(b'Q', hidden), Err(Malformed("longer than its contents")));
    assert!(Frontend::decode(b'p', b"a\0b\0").is_err());
    let mut out = BytesMut::from(&b"before"[..]);
    let text = b"a\0b";
    let refused = [
        frontend::query(&mut out, text),
        frontend::parse(&mut out, text, b"", &[]),
        frontend::parse(&mut out, b"", text, &[]),
        frontend::bind(&mut out, text, b"", &[], &[], &[]),
        frontend::bind(&mut out, b"", text, &[], &[], &[]),
        frontend::describe(&mut out, Kind::Portal, text),
        frontend::execute(&mut out, text, 0),
        frontend::password(&mut out, text),
        frontend::startup(&mut out, &[(b"user", text)]),
        frontend::startup(&mut out, &[(b"", b"x")]),
        frontend::startup(&mut out, &[(b"user", &[b'x'; 10_000])]),
        frontend::cancel_request(&mut out, 1, b"abc"),
        backend::backend_key_data(&mut out, 1, &[0; 257]),
        backend::parameter_status(&mut out, b"a", text),
        backend::command_complete(&mut out, text),
        backend::report(&mut out, b'E', &[(b'M', text)]),
        backend::report(&mut out, b'E', &[(0, b"x")]),
        backend::authentication_sasl(&mut out, &[""]),
        rows::row_description(&mut out, &[(text, 25)]),
        rows::data_row(&mut out, &vec![None; 65_536]),
    ];
    assert!(refused.iter().all(|refused| *refused == Err(Unencodable)), "{refused:?}");
    assert_eq!(&out[..], b"before");
}

#[test]
fn untyped_packets_are_written_byte_for_byte() {
    let startup = written(|out| frontend::startup(out, &[(b"user", b"a"), (b"database", b"d")]));
    assert_eq!(&startup[..], b"\0\0\0\x1b\0\x03\0\0user\0a\0database\0d\0\0");
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    assert_eq!(i32::from_be_bytes(request[4..8].try_into().unwrap()), 80_877_103);
    let cancel = written(|out| frontend::cancel_request(out, 7, b"\x01\x02\x03\x04"));
    assert_eq!(&cancel[..], b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\x01\x02\x03\x04");
    assert_eq!(i32::from_be_bytes(cancel[4..8].try_into().unwrap()), 80_877_102);
}

#[test]
fn sasl_first_messages_are_read_and_written() {
    let message = written(|out| frontend::sasl_initial_response(out, b"SCRAM-SHA-256", b"n,,n=,r=x"));
    let initial = SaslInitialResponse::decode(&message[HEAD_BYTES..]).unwrap();
    assert_eq!((initial.mechanism, initial.response), (&b"SCRAM-SHA-256"[..], Some(&b"n,,n=,r=x"[..])));
    assert_eq!(SaslInitialResponse::decode(b"X\0\xff\xff\xff\xff").unwrap().response, None);
}

#[test]
fn formats_resolve_as_the_protocol_says() {
    let bind = |formats: &[Format], parameters: &[Option<&[u8]>]| written(|out| frontend::bind(out, b"", b"", formats, parameters, formats));
    let read = |message: &BytesMut| Bind::decode(&message[HEAD_BYTES..]).map(|bind| bind.values().map(|(format, _)| format).collect::<Vec<_>>());
    let two: [Option<&[u8]>; 2] = [Some(b"a"), None];
    assert_eq!(read(&bind(&[], &two)).unwrap(), [Format::Text; 2]);
    assert_eq!(read(&bind(&[Format::Binary], &two)).unwrap(), [Format::Binary; 2]);
    assert_eq!(read(&bind(&[Format::Binary, Format::Text], &two)).unwrap(), [Format::Binary, Format::Text]);
    assert_eq!(read(&bind(&[Format::Unknown(7)], &two)).unwrap(), [Format::Unknown(7); 2]);
    assert_eq!(read(&bind(&[Format::Text; 3], &two)), Err(Malformed("as many formats as parameters are needed")));
    assert_eq!(read(&bind(&[Format::Text; 2], &[])), Err(Malformed("as many formats as parameters are needed")));
    let message = bind(&[Format::Text, Format::Binary], &two);
    let formats = Bind::decode(&message[HEAD_BYTES..]).unwrap().result_formats;
    assert_eq!([formats.of(0), formats.of(1), formats.of(2)], [Format::Text, Format::Binary, Format::Text]);
}

#[test]
fn a_negative_length_is_null_or_malformed() {
    assert_eq!(rows::row(b"\0\x01\xff\xff\xff\xff").unwrap().iter().collect::<Vec<_>>(), [None]);
    for length in [-2, i32::MIN, i32::MAX, 1] {
        let body = [&b"\0\x01"[..], &length.to_be_bytes()].concat();
        assert!(rows::row(&body).is_err(), "{length}");
    }
    assert!(FunctionCall::decode(b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xfe\0\0").is_err());
}

#[test]
fn a_command_tag_tells_its_rows() {
    for (tag, rows) in [
        ("SELECT 3", Some(3)),
        ("INSERT 0 12", Some(12)),
        ("UPDATE 0", Some(0)),
        ("MERGE 4", Some(4)),
        ("FETCH 5", Some(5)),
        ("COPY 6", Some(6)),
        ("CREATE TABLE", None),
        ("SELECT", None),
        ("COPY", None),
        ("", None),
        ("SELECT -1", None),
        ("BEGIN 3", None),
    ] {
        assert_eq!(CommandComplete { tag: tag.as_bytes() }.rows(), rows, "{tag}");
    }
}

#[test]
fn a_report_gives_its_fields() {
    let report = Report::decode(b"SFEHLER\0VERROR\0C42P01\0Mmissing\0P15\0\0").unwrap();
    assert_eq!((report.severity(), report.sqlstate(), report.message()), (Some(&b"ERROR"[..]), Some("42P01"), &b"missing"[..]));
    assert_eq!((report.field(b'P'), report.field(b'D')), (Some(&b"15"[..]), None));
    let old = Report::decode(b"SERROR\0C42p01\0\0").unwrap();
    assert_eq!((old.severity(), old.sqlstate(), old.message()), (Some(&b"ERROR"[..]), None, &b""[..]));
    let said = NotificationResponse::decode(b"\0\0\0\x09c\0\0").unwrap();
    assert_eq!((said.process_id, said.channel, said.payload), (9, &b"c"[..], &b""[..]));
}

#[test]
fn a_cancel_key_is_never_printed() {
    let key = backend::BackendKeyData::decode(b"\0\0\0\x01\x7a\x7a\x7a\x7a").unwrap();
    assert_eq!(format!("{key:?}"), "BackendKeyData { process_id: 1, .. }");
}

proptest! {
    #[test]
    fn whatever_a_caller_sends_is_refused_or_written_back_the_same(tag in prop::sample::select(b"BCDEFHPQSXcdfp".to_vec()), body in body()) {
        if let Ok(message) = Frontend::decode(tag, &body) {
            prop_assert_eq!(again(&message), raw(tag, &body));
        }
    }

    #[test]
    fn whatever_a_target_sends_is_refused_or_written_back_the_same(tag in prop::sample::select(b"123ACDEGHIKNRSTVWZcdnstv".to_vec()), body in body()) {
        match Backend::decode(tag, &body) {
            // The rest of such a request is not read, because it is refused.
            Ok(Backend::Authentication(Authentication::Other(_))) | Err(_) => {}
            Ok(message) => prop_assert_eq!(back(&message), raw(tag, &body)),
        }
    }

    #[test]
    fn any_tag_and_any_bytes_are_taken_without_panic(tag: u8, body: Vec<u8>) {
        let _ = (Frontend::decode(tag, &body), Backend::decode(tag, &body), SaslInitialResponse::decode(&body));
        let _ = (frame::startup(&body), frame::head(&body, Side::Caller, &Limits::default()), frame::head(&body, Side::Target, &Limits::default()));
        let _ = (rows::row(&body), RowDescription::decode(&body));
    }

    #[test]
    fn a_bind_survives_the_way_there_and_back(
        portal in "[^\0]{0,20}", statement in "[^\0]{0,20}",
        parameters in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 0..8), result in prop::collection::vec(any::<i16>(), 0..4),
    ) {
        let cells: Vec<_> = parameters.iter().map(|parameter| parameter.as_deref()).collect();
        let result: Vec<_> = result.into_iter().map(Format::from).collect();
        let message = written(|out| frontend::bind(out, portal.as_bytes(), statement.as_bytes(), &[Format::Binary], &cells, &result));
        let bind = Bind::decode(&message[HEAD_BYTES..]).unwrap();
        prop_assert_eq!((bind.portal, bind.statement), (portal.as_bytes(), statement.as_bytes()));
        prop_assert_eq!(bind.parameters.iter().collect::<Vec<_>>(), cells);
        prop_assert_eq!(bind.result_formats.iter().collect::<Vec<_>>(), result);
    }
}

/// Bytes that look enough like messages to get past the first field.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(vec![0]),
        Just(vec![0, 0]),
        Just(vec![0, 1]),
        Just(vec![0, 2]),
        Just(vec![0, 0, 0, 1]),
        Just(vec![0, 0, 0, 3]),
        Just(vec![0, 0, 0, 5]),
        Just(vec![0, 0, 0, 10]),
        Just(vec![0, 0, 0, 11]),
        Just(vec![0xff; 4]),
        Just(b"S".to_vec()),
        Just(b"P".to_vec()),
        Just(b"I".to_vec()),
        "[a-z]{0,6}\0".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}
