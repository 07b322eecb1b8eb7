//! Both machines against scripted peers, whole and cut at every byte, and each refusal by its name.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use model::Secret;
use proptest::prelude::*;

use super::{
    caller::{CallerLogin, CallerMove, Parameter, Peer, SignIn, TlsOffer},
    scram::ScramError,
    target::{Link, ReportedError, TargetFailure, TargetLogin, TargetMove, TargetReady, TargetWish},
};
use crate::postgres::{
    frame::{FrameError, HEAD_BYTES},
    message::{
        backend::{self, Report, Transaction},
        frontend::{self, Frontend, SaslInitialResponse},
    },
};

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSSENC_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

fn bytes(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    bytes(|out| frontend::startup(out, &parameters).unwrap())
}

fn password(text: &[u8]) -> Vec<u8> {
    bytes(|out| frontend::password(out, text).unwrap())
}

/// A caller's login, its buffers, and what the caller was sent.
struct Caller {
    login: CallerLogin,
    input: BytesMut,
    out: BytesMut,
}

impl Caller {
    fn new(peer: Peer, tls: TlsOffer) -> Self {
        Self { login: CallerLogin::new(peer, tls), input: BytesMut::new(), out: BytesMut::new() }
    }

    fn sends(&mut self, sent: &[u8]) -> CallerMove {
        self.input.extend_from_slice(sent);
        self.login.receive(&mut self.input, &mut self.out)
    }

    fn read(&mut self, sent: &[u8]) {
        let step = self.sends(sent);
        assert!(matches!(step, CallerMove::Read), "{step:?}");
    }

    fn secured(&mut self) {
        let step = self.sends(SSL_REQUEST);
        assert!(matches!(step, CallerMove::StartTls), "{step:?}");
        assert!(matches!(self.login.secured(None, &mut self.out), CallerMove::Read));
    }

    fn signs_in(&mut self, sent: &[u8]) -> SignIn {
        match self.sends(sent) {
            CallerMove::SignIn(wish) => *wish,
            step => panic!("{step:?}"),
        }
    }

    /// What was answered, and the SQLSTATE and message of the error at its end.
    fn refused(&mut self, step: CallerMove) -> (String, String) {
        let CallerMove::Refused(refusal) = step else { panic!("{step:?}") };
        let mut expected = BytesMut::new();
        refusal.fatal(&mut expected);
        assert!(self.out.ends_with(&expected), "{:?}", self.out);
        assert!(matches!(self.sends(b""), CallerMove::Close(_)), "a refused login is over");
        (refusal.sqlstate().to_string(), refusal.message().to_owned())
    }
}

#[test]
fn a_caller_inside_tls_is_asked_for_its_password() {
    let mut caller = Caller::new(Peer::Remote, TlsOffer::Offered);
    caller.secured();
    assert_eq!(&caller.out[..], b"S");
    caller.read(&startup(&[("user", "alice"), ("database", "prod-pg/shop"), ("application_name", "psql")]));
    assert_eq!(&caller.out[..], b"SR\0\0\0\x08\0\0\0\x03");
    let wish = caller.signs_in(&password(b"cs_c_token"));
    assert_eq!((wish.startup.user.as_str(), wish.startup.connection.as_str(), wish.startup.database.as_deref()), ("alice", "prod-pg", Some("shop")));
    assert_eq!(wish.secret.reveal(), b"cs_c_token");
    assert!(!format!("{wish:?}").contains("cs_c_token"));
}

#[test]
fn a_caller_is_understood_alike_however_its_bytes_arrive() {
    // Declined first by GSSENCRequest, then SSLRequest, each of which waits for its answer.
    let turns = [GSSENC_REQUEST.to_vec(), SSL_REQUEST.to_vec(), startup(&[("user", "alice"), ("options", "-c geqo=off")]), password(b"pw")];
    for (turn, sent) in turns.iter().enumerate() {
        for split in 0..=sent.len() {
            let mut caller = Caller::new(Peer::Loopback, TlsOffer::Unavailable);
            for earlier in &turns[..turn] {
                caller.read(earlier);
            }
            let first = caller.sends(&sent[..split]);
            let whole = if split == sent.len() {
                first
            } else {
                assert!(matches!(first, CallerMove::Read), "{first:?}");
                caller.sends(&sent[split..])
            };
            if turn < 3 {
                assert!(matches!(whole, CallerMove::Read), "turn {turn} split at {split}: {whole:?}");
                for later in &turns[turn + 1..3] {
                    caller.read(later);
                }
            }
            let wish = if turn < 3 { caller.signs_in(&turns[3]) } else { into_sign_in(whole) };
            assert_eq!((wish.startup.parameter("options"), wish.secret.reveal()), (Some(&b"-c geqo=off"[..]), &b"pw"[..]));
            assert_eq!(&caller.out[..], b"NNR\0\0\0\x08\0\0\0\x03");
        }
    }
}

fn into_sign_in(step: CallerMove) -> SignIn {
    match step {
        CallerMove::SignIn(wish) => *wish,
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_password_may_come_together_with_the_startup_and_what_follows_it_is_kept() {
    let mut caller = Caller::new(Peer::Loopback, TlsOffer::Offered);
    caller.read(&[startup(&[("user", "a")]), password(b"pw"), b"Q\0\0\0\x05\0".to_vec()].concat());
    let wish = caller.signs_in(b"");
    assert_eq!((wish.secret.reveal(), &caller.input[..]), (&b"pw"[..], &b"Q\0\0\0\x05\0"[..]));
}

#[test]
fn direct_tls_is_recognised_and_must_name_the_protocol() {
    let hello = b"\x16\x03\x01\x02\x00\x01";
    let begin = || {
        let mut caller = Caller::new(Peer::Remote, TlsOffer::Offered);
        assert!(matches!(caller.sends(&hello[..1]), CallerMove::StartTls));
        assert_eq!((&caller.input[..], &caller.out[..]), (&hello[..1], &b""[..]));
        caller.input.clear();
        caller
    };
    let mut caller = begin();
    assert!(matches!(caller.login.secured(Some(b"postgresql"), &mut caller.out), CallerMove::Read));
    caller.read(&startup(&[("user", "a")]));
    for alpn in [None, Some(&b"http/1.1"[..]), Some(b"")] {
        let mut caller = begin();
        let step = caller.login.secured(alpn, &mut caller.out);
        assert_eq!(caller.refused(step).0, "08P01");
    }
    let mut caller = Caller::new(Peer::Remote, TlsOffer::Unavailable);
    assert!(matches!(caller.sends(hello), CallerMove::Close(_)));
    let mut caller = Caller::new(Peer::Remote, TlsOffer::Offered);
    assert!(matches!(caller.sends(SSL_REQUEST), CallerMove::StartTls));
    let step = caller.login.secured(Some(b"h2"), &mut caller.out);
    assert_eq!(caller.refused(step).0, "08P01");
}

#[test]
fn bytes_stuffed_before_the_handshake_are_refused() {
    for (request, tls, message) in [
        (SSL_REQUEST, TlsOffer::Offered, "received unencrypted data after SSL request"),
        (SSL_REQUEST, TlsOffer::Unavailable, "received unencrypted data after SSL request"),
        (GSSENC_REQUEST, TlsOffer::Offered, "received unencrypted data after GSSAPI encryption request"),
    ] {
        for stuffed in [startup(&[("user", "a")]), b"\x16".to_vec(), b"\0".to_vec()] {
            let mut caller = Caller::new(Peer::Loopback, tls);
            let step = caller.sends(&[request, &stuffed[..]].concat());
            assert_eq!(caller.refused(step), ("08P01".to_owned(), message.to_owned()));
            assert_eq!(caller.out[0], b'E', "nothing was agreed to");
        }
    }
    let mut caller = Caller::new(Peer::Loopback, TlsOffer::Offered);
    assert!(matches!(caller.sends(SSL_REQUEST), CallerMove::StartTls));
    assert!(matches!(caller.sends(&startup(&[("user", "a")])), CallerMove::Close(_)));
}

/// NEAR-13.
#[test]
fn secrets_are_taken_only_inside_tls_or_on_loopback() {
    for tls in [TlsOffer::Offered, TlsOffer::Unavailable] {
        let mut caller = Caller::new(Peer::Remote, tls);
        let step = caller.sends(&startup(&[("user", "a")]));
        assert_eq!(caller.refused(step), ("28000".to_owned(), "this gateway takes secrets only inside TLS".to_owned()));
        assert!(!caller.out.starts_with(b"R"), "no password was asked for");
    }
    let mut caller = Caller::new(Peer::Remote, TlsOffer::Unavailable);
    caller.read(SSL_REQUEST);
    let step = caller.sends(&startup(&[("user", "a")]));
    assert_eq!(caller.refused(step).0, "28000");
    Caller::new(Peer::Loopback, TlsOffer::Offered).read(&startup(&[("user", "a")]));
}

#[test]
fn nothing_is_negotiated_twice() {
    let twice = |caller: &mut Caller, request: &[u8]| {
        let step = caller.sends(request);
        assert_eq!(caller.refused(step).0, "0A000");
    };
    for request in [SSL_REQUEST, GSSENC_REQUEST] {
        let mut caller = Caller::new(Peer::Loopback, TlsOffer::Unavailable);
        caller.read(request);
        twice(&mut caller, request);
        let mut caller = Caller::new(Peer::Loopback, TlsOffer::Offered);
        caller.secured();
        twice(&mut caller, request);
    }
}

/// NEAR-07.
#[test]
fn a_cancel_request_is_taken_with_and_without_tls() {
    let request = |secret: &[u8]| bytes(|out| frontend::cancel_request(out, 4711, secret).unwrap());
    for secret in [&b"\x01\x02\x03\x04"[..], &[7; 32], &[9; 256]] {
        let mut clear = Caller::new(Peer::Remote, TlsOffer::Offered);
        let mut inside = Caller::new(Peer::Remote, TlsOffer::Offered);
        inside.secured();
        for caller in [&mut clear, &mut inside] {
            match caller.sends(&request(secret)) {
                CallerMove::Cancel(cancel) => assert_eq!((cancel.process_id, cancel.secret.reveal()), (4711, secret)),
                step => panic!("{step:?}"),
            }
        }
        assert!(clear.out.is_empty(), "a cancel request is not answered");
    }
    for len in [0usize, 3, 7, 8 + 257] {
        let mut packet = u32::try_from(8 + len).unwrap().to_be_bytes().to_vec();
        packet.extend(b"\x04\xd2\x16\x2e");
        packet.extend(vec![1; len]);
        assert!(matches!(Caller::new(Peer::Remote, TlsOffer::Offered).sends(&packet), CallerMove::Close(_)), "{len}");
    }
}

#[test]
fn what_is_no_postgresql_client_is_closed_without_an_answer() {
    for sent in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x", &[0; 8], b"\0\0\0\x07", b"\0\0\x27\x15", &[0xff; 4]] {
        let mut caller = Caller::new(Peer::Remote, TlsOffer::Offered);
        assert!(matches!(caller.sends(sent), CallerMove::Close("invalid length of startup packet")), "{sent:?}");
        assert!(caller.out.is_empty());
    }
}

#[test]
fn newer_protocols_are_negotiated_down_before_anything_else() {
    let mut packet = startup(&[("user", "a"), ("_pq_.one", "1"), ("_pq_.two", "2")]);
    packet[7] = 2;
    let mut caller = Caller::new(Peer::Loopback, TlsOffer::Offered);
    caller.read(&packet);
    assert_eq!(&caller.out[..], b"v\0\0\0\x1e\0\x03\0\0\0\0\0\x02_pq_.one\0_pq_.two\0R\0\0\0\x08\0\0\0\x03");
    assert!(caller.signs_in(&password(b"x")).startup.parameters.is_empty());
    let mut packet = startup(&[("user", "a")]);
    packet[6..8].copy_from_slice(&9999u16.to_be_bytes());
    let mut caller = Caller::new(Peer::Loopback, TlsOffer::Offered);
    caller.read(&packet);
    assert!(caller.out.starts_with(b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0R"));
}

#[test]
fn a_startup_that_cannot_be_served_says_why() {
    let packets = [
        (startup(&[("user", "a"), ("user", "b")]), "08P01"),
        (startup(&[("user", "a"), ("replication", "database")]), "0A000"),
        (startup(&[("database", "d")]), "28000"),
        (b"\0\0\0\x09\0\x02\0\0\0".to_vec(), "0A000"),
        (b"\0\0\0\x08\0\x03\0\0".to_vec(), "08P01"),
        (b"\0\0\0\x09\x04\xd2\x16\x2f\0".to_vec(), "08P01"),
        (b"\0\0\0\x09\x04\xd2\x16\x30\0".to_vec(), "08P01"),
    ];
    for (packet, sqlstate) in packets {
        let mut caller = Caller::new(Peer::Loopback, TlsOffer::Offered);
        let step = caller.sends(&packet);
        assert_eq!(caller.refused(step).0, sqlstate, "{packet:?}");
    }
}

#[test]
fn only_a_password_answers_the_request_for_one() {
    for (sent, sqlstate) in [
        (&b"Q"[..], "08P01"),
        (b"X\0\0\0\x04", "08P01"),
        (b"p\0\0\0\x04", "08P01"),
        (b"p\0\0\0\x07a\0b", "08P01"),
        (b"p\0\0\0\x07a\0\0", "08P01"),
        (b"p\0\0\0\x05a", "08P01"),
        (b"p\0\x01\0\0", "08P01"),
        (b"p\xff\xff\xff\xff", "08P01"),
    ] {
        let mut caller = Caller::new(Peer::Loopback, TlsOffer::Offered);
        caller.read(&startup(&[("user", "a")]));
        let step = caller.sends(sent);
        assert_eq!(caller.refused(step).0, sqlstate, "{sent:?}");
    }
    let mut caller = Caller::new(Peer::Loopback, TlsOffer::Offered);
    caller.read(&startup(&[("user", "a")]));
    assert_eq!(caller.signs_in(b"p\0\0\0\x05\0").secret.reveal(), b"", "an empty one is wrong like any other");
}

const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn wish(link: Link) -> TargetWish {
    let parameter = |name: &str, value: &str| Parameter { name: name.to_owned(), value: value.as_bytes().to_vec() };
    TargetWish {
        link,
        user: "app".to_owned(),
        database: "shop".to_owned(),
        application_name: "alice/0198".to_owned(),
        parameters: vec![parameter("client_encoding", "UTF8"), parameter("Application_Name", "psql"), parameter("options", "-c geqo=off")],
        password: Some(Secret::from("pencil".to_owned())),
        nonce: NONCE.to_owned(),
    }
}

/// The startup packet that wish becomes.
fn rebuilt() -> Vec<u8> {
    startup(&[("user", "app"), ("database", "shop"), ("client_encoding", "UTF8"), ("options", "-c geqo=off"), ("application_name", "alice/0198")])
}

/// A target's login, its buffers, and what the target was sent since it was last asked.
struct Target {
    login: TargetLogin,
    input: BytesMut,
    out: BytesMut,
}

impl Target {
    fn begin(wish: TargetWish) -> Self {
        let mut out = BytesMut::new();
        Self { login: TargetLogin::begin(wish, &mut out).unwrap(), input: BytesMut::new(), out }
    }

    /// After the startup packet was sent.
    fn at_challenge(link: Link, end_point: Option<&[u8]>) -> Self {
        let mut target = Self::begin(wish(link));
        if link == Link::Tls {
            assert_eq!(target.got(), SSL_REQUEST);
            assert!(matches!(target.sends(b"S"), TargetMove::StartTls));
            let step = target.login.secured(end_point.map(<[u8]>::to_vec), &mut target.out);
            assert!(matches!(step, TargetMove::Read), "{step:?}");
        }
        assert_eq!(target.got(), rebuilt());
        target
    }

    fn sends(&mut self, sent: &[u8]) -> TargetMove {
        self.input.extend_from_slice(sent);
        self.login.receive(&mut self.input, &mut self.out)
    }

    fn read(&mut self, sent: &[u8]) -> Vec<u8> {
        let step = self.sends(sent);
        assert!(matches!(step, TargetMove::Read), "{step:?}");
        self.got()
    }

    fn fails(&mut self, sent: &[u8]) -> TargetFailure {
        match self.sends(sent) {
            TargetMove::Failed(failure) => failure,
            step => panic!("{step:?}"),
        }
    }

    fn got(&mut self) -> Vec<u8> {
        self.out.split().to_vec()
    }
}

fn ok() -> Vec<u8> {
    bytes(backend::authentication_ok)
}

fn sasl(mechanisms: &[&str]) -> Vec<u8> {
    bytes(|out| backend::authentication_sasl(out, mechanisms).unwrap())
}

fn settling() -> Vec<u8> {
    bytes(|out| {
        backend::parameter_status(out, b"server_version", b"18.1").unwrap();
        backend::report(out, b'N', &[(b'M', b"hello")]).unwrap();
        backend::parameter_status(out, b"TimeZone", b"UTC").unwrap();
        backend::backend_key_data(out, 4711, &[5; 32]).unwrap();
        backend::ready_for_query(out, Transaction::Idle);
    })
}

fn ready(step: TargetMove) -> TargetReady {
    match step {
        TargetMove::Ready(ready) => *ready,
        step => panic!("{step:?}"),
    }
}

fn check_settled(ready: &TargetReady) {
    let text = |text: &str| text.as_bytes().to_vec();
    assert_eq!(ready.parameters, [(text("server_version"), text("18.1")), (text("TimeZone"), text("UTC"))]);
    let key = ready.key.as_ref().unwrap();
    assert_eq!((key.process_id, key.secret.reveal()), (4711, &[5; 32][..]));
    assert_eq!(Report::decode(&ready.notices[0]).unwrap().message(), b"hello");
    assert_eq!((ready.notices.len(), ready.transaction), (1, Transaction::Idle));
}

/// A server that knows `pencil`, with the salt and count of RFC 7677.
mod scram_server {
    use aws_lc_rs::{digest, hmac, pbkdf2};
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    pub(super) const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
    }

    /// Checks the client's proof and gives the server's.
    pub(super) fn prove(first_bare: &str, server_first: &str, client_final: &str) -> String {
        let (without_proof, proof) = client_final.split_once(",p=").unwrap();
        let signed = format!("{first_bare},{server_first},{without_proof}");
        let mut salted = [0; 32];
        let salt = STANDARD.decode(SALT).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, std::num::NonZeroU32::new(4096).unwrap(), &salt, b"pencil", &mut salted);
        let stored = digest::digest(&digest::SHA256, &hmac(&salted, b"Client Key"));
        let signature = hmac(stored.as_ref(), signed.as_bytes());
        let key: Vec<u8> = STANDARD.decode(proof).unwrap().iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(digest::digest(&digest::SHA256, &key).as_ref(), stored.as_ref(), "the client's proof");
        format!("v={}", STANDARD.encode(hmac(&hmac(&salted, b"Server Key"), signed.as_bytes())))
    }
}

/// Plays a SCRAM exchange up to the server's proof, which it gives. Checks what the client says on the way.
fn scram_until_final(target: &mut Target, offered: &[&str], mechanism: &str, header: &str, end_point: &[u8]) -> Vec<u8> {
    let message = target.read(&sasl(offered));
    let initial = SaslInitialResponse::decode(&message[HEAD_BYTES..]).unwrap();
    assert_eq!((initial.mechanism, initial.response.unwrap()), (mechanism.as_bytes(), format!("{header}n=,r={NONCE}").as_bytes()));
    let server_first = format!("r={NONCE}server,s={},i=4096", scram_server::SALT);
    let message = target.read(&bytes(|out| backend::authentication_sasl_continue(out, server_first.as_bytes()).unwrap()));
    let last = String::from_utf8(message[HEAD_BYTES..].to_vec()).unwrap();
    let binding = STANDARD.encode([header.as_bytes(), end_point].concat());
    assert!(last.starts_with(&format!("c={binding},r={NONCE}server,p=")), "{last}");
    let proof = scram_server::prove(&format!("n=,r={NONCE}"), &server_first, &last);
    bytes(|out| backend::authentication_sasl_final(out, proof.as_bytes()).unwrap())
}

const BOTH: [&str; 2] = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];

/// SQL-10: no downgrade of the channel binding.
#[test]
fn scram_is_bound_to_the_channel_wherever_it_can_be() {
    let hash = [7; 32];
    for (link, end_point, offered, mechanism, header, bound) in [
        (Link::Tls, Some(&hash[..]), &BOTH[..], "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", &hash[..]),
        (Link::Tls, Some(&hash[..]), &BOTH[1..], "SCRAM-SHA-256", "y,,", b""),
        (Link::Tls, None, &BOTH[..], "SCRAM-SHA-256", "n,,", b""),
        (Link::Loopback, None, &BOTH[1..], "SCRAM-SHA-256", "n,,", b""),
    ] {
        let mut target = Target::at_challenge(link, end_point);
        let last = scram_until_final(&mut target, offered, mechanism, header, bound);
        assert_eq!(target.read(&last), b"");
        check_settled(&ready(target.sends(&[ok(), settling()].concat())));
    }
}

#[test]
fn a_target_is_understood_alike_however_its_bytes_arrive() {
    let last = {
        let mut target = Target::at_challenge(Link::Loopback, None);
        scram_until_final(&mut target, &BOTH[1..], BOTH[1], "n,,", b"")
    };
    let end = [last, ok(), settling()].concat();
    let challenge = sasl(&BOTH[1..]);
    for split in 0..challenge.len() {
        let mut target = Target::at_challenge(Link::Loopback, None);
        assert_eq!(target.read(&challenge[..split]), b"");
        assert!(!target.read(&challenge[split..]).is_empty());
    }
    for split in 0..end.len() {
        let mut target = Target::at_challenge(Link::Loopback, None);
        scram_until_final(&mut target, &BOTH[1..], BOTH[1], "n,,", b"");
        assert_eq!(target.read(&end[..split]), b"", "split at {split}");
        check_settled(&ready(target.sends(&end[split..])));
    }
}

#[test]
fn what_follows_the_first_ready_for_query_is_kept() {
    let mut target = Target::at_challenge(Link::Loopback, None);
    check_settled(&ready(target.sends(&[ok(), settling(), b"N\0".to_vec()].concat())));
    assert_eq!(&target.input[..], b"N\0");
}

#[test]
fn cleartext_and_md5_are_answered() {
    let cleartext = bytes(backend::authentication_cleartext_password);
    for link in [Link::Tls, Link::Loopback] {
        let mut target = Target::at_challenge(link, None);
        assert_eq!(target.read(&cleartext), password(b"pencil"));
        check_settled(&ready(target.sends(&[ok(), settling()].concat())));
    }
    let mut target = Target::at_challenge(Link::Tls, None);
    // md5(md5("pencil" + "app") + "salt"), computed with md5sum.
    let hashed = target.read(&bytes(|out| backend::authentication_md5_password(out, *b"salt")));
    assert_eq!(Frontend::decode(b'p', &hashed[HEAD_BYTES..]).unwrap(), Frontend::Password(b"md52afb5b311168c70c7e1783b3f1da0ac3"));
    check_settled(&ready(target.sends(&[ok(), settling()].concat())));
}

#[test]
fn a_target_without_a_cancel_key_is_taken() {
    let mut target = Target::at_challenge(Link::Loopback, None);
    let settled = ready(target.sends(&[ok(), bytes(|out| backend::ready_for_query(out, Transaction::Idle))].concat()));
    assert!(settled.key.is_none() && settled.parameters.is_empty());
}

/// NEAR-08, SQL-11: as far as the protocol goes; the certificate itself is checked by whoever does the handshake.
#[test]
fn tls_is_never_given_up() {
    let answer = |sent: &[u8]| Target::begin(wish(Link::Tls)).fails(sent);
    assert_eq!(answer(b"N"), TargetFailure::TlsNotOffered);
    assert_eq!(answer(b"E\0\0\0\x05\0"), TargetFailure::NotPostgres(b'E'));
    assert_eq!(answer(b"H"), TargetFailure::NotPostgres(b'H'));
    assert_eq!(answer(b"SR"), TargetFailure::Stuffed);
    let mut target = Target::begin(wish(Link::Tls));
    assert!(matches!(target.sends(b"S"), TargetMove::StartTls));
    assert_eq!(target.fails(&ok()), TargetFailure::Stuffed);
    let mut target = Target::begin(wish(Link::Tls));
    let step = target.login.secured(None, &mut target.out);
    assert!(matches!(step, TargetMove::Failed(TargetFailure::Stuffed)));
    assert_eq!(target.got(), SSL_REQUEST, "no startup packet outside TLS");
}

#[test]
fn a_target_must_prove_that_it_knows_the_password() {
    let mut target = Target::at_challenge(Link::Loopback, None);
    target.read(&sasl(&BOTH[1..]));
    assert_eq!(target.fails(&ok()), TargetFailure::Scram(ScramError::Unproven));

    let mut target = Target::at_challenge(Link::Loopback, None);
    scram_until_final(&mut target, &BOTH[1..], BOTH[1], "n,,", b"");
    assert_eq!(target.fails(&ok()), TargetFailure::Scram(ScramError::Unproven));

    let mut target = Target::at_challenge(Link::Loopback, None);
    let mut last = scram_until_final(&mut target, &BOTH[1..], BOTH[1], "n,,", b"");
    let place = HEAD_BYTES + 4 + 2;
    last[place] = if last[place] == b'A' { b'B' } else { b'A' };
    assert_eq!(target.fails(&last), TargetFailure::Scram(ScramError::WrongSignature));
}

#[test]
fn each_failure_has_its_name() {
    let fails = |link: Link, sent: &[u8]| Target::at_challenge(link, None).fails(sent);
    assert_eq!(fails(Link::Loopback, &sasl(&BOTH)), TargetFailure::PlusOutsideTls);
    assert_eq!(fails(Link::Tls, &sasl(&["OAUTHBEARER"])), TargetFailure::NoMechanism("OAUTHBEARER".to_owned()));
    assert_eq!(fails(Link::Tls, b"R\0\0\0\x08\0\0\0\x07"), TargetFailure::Method(7));
    assert_eq!(fails(Link::Tls, b"R\0\0\0\x0c\0\0\0\x0babcd"), TargetFailure::Unexpected(b'R'));
    assert_eq!(fails(Link::Tls, b"Z\0\0\0\x05I"), TargetFailure::Unexpected(b'Z'));
    assert_eq!(fails(Link::Tls, b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0"), TargetFailure::Unexpected(b'v'));
    assert_eq!(fails(Link::Tls, &[ok(), ok()].concat()), TargetFailure::Unexpected(b'R'));
    assert_eq!(fails(Link::Tls, &[ok(), b"D\0\0\0\x06\0\0".to_vec()].concat()), TargetFailure::Unexpected(b'D'));
    let key = b"K\0\0\0\x0c\0\0\0\x01aaaa".to_vec();
    assert_eq!(fails(Link::Tls, &[ok(), key.clone(), key].concat()), TargetFailure::Unexpected(b'K'));
    assert!(matches!(fails(Link::Tls, b"HTTP/1.1 400"), TargetFailure::Frame(FrameError::Length { tag: b'H', .. })));
    assert!(matches!(fails(Link::Tls, b"\0\0\0\0\0"), TargetFailure::Frame(FrameError::UnknownTag { tag: 0 })));
    assert!(matches!(fails(Link::Tls, b"R\0\0\0\x09\0\0\0\0\0"), TargetFailure::Malformed(_)));
    let twice = [bytes(backend::authentication_cleartext_password), bytes(backend::authentication_cleartext_password)].concat();
    assert_eq!(fails(Link::Tls, &twice), TargetFailure::Unexpected(b'R'));

    let error = bytes(|out| backend::report(out, b'E', &[(b'S', b"FATAL"), (b'C', b"28P01"), (b'M', b"no\x1b"), (b'H', b"hint")]).unwrap());
    let reported = ReportedError {
        severity: "FATAL".to_owned(),
        sqlstate: "28P01".to_owned(),
        message: "no\x1b".to_owned(),
        detail: None,
        hint: Some("hint".to_owned()),
    };
    let failure = fails(Link::Tls, &error);
    assert_eq!(failure, TargetFailure::Reported(reported));
    assert_eq!(failure.to_string(), "the target refused: FATAL: no\\u{1b} (SQLSTATE 28P01)");
}

#[test]
fn a_target_cannot_make_the_gateway_collect_without_end() {
    let mut target = Target::at_challenge(Link::Loopback, None);
    target.read(&ok());
    let status = bytes(|out| backend::parameter_status(out, b"a", &[b'x'; 20_000]).unwrap());
    let failure = (0..100).find_map(|_| match target.sends(&status) {
        TargetMove::Failed(failure) => Some(failure),
        _ => None,
    });
    assert_eq!(failure, Some(TargetFailure::TooMuch));
    let mut target = Target::at_challenge(Link::Loopback, None);
    assert_eq!(target.fails(b"E\0\x20\0\0"), TargetFailure::TooMuch, "refused by its length, before it is collected");
}

#[test]
fn a_missing_or_impossible_password_is_named() {
    for challenge in
        [bytes(backend::authentication_cleartext_password), bytes(|out| backend::authentication_md5_password(out, [0; 4])), sasl(&BOTH[1..])]
    {
        let mut target = Target::begin(TargetWish { password: None, ..wish(Link::Loopback) });
        assert_eq!(target.fails(&challenge), TargetFailure::NoPassword);
    }
    let mut target = Target::begin(TargetWish { password: Some(Secret::new(b"a\0b".to_vec())), ..wish(Link::Loopback) });
    assert_eq!(target.fails(&bytes(backend::authentication_cleartext_password)), TargetFailure::PasswordHoldsNul);
    let mut target = Target::begin(TargetWish { nonce: "short".to_owned(), ..wish(Link::Loopback) });
    assert_eq!(target.fails(&sasl(&BOTH[1..])), TargetFailure::Scram(ScramError::Nonce));
}

#[test]
fn a_startup_packet_that_cannot_be_written_is_refused_before_anything_is_sent() {
    for link in [Link::Tls, Link::Loopback] {
        let long = Parameter { name: "options".to_owned(), value: vec![b'x'; 10_000] };
        let nul = Parameter { name: "options".to_owned(), value: b"a\0b".to_vec() };
        for parameter in [long, nul] {
            let mut out = BytesMut::new();
            let wish = TargetWish { parameters: vec![parameter], ..wish(link) };
            assert_eq!(TargetLogin::begin(wish, &mut out).unwrap_err(), TargetFailure::Startup);
            assert!(out.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn no_caller_makes_the_login_panic(sent in prop::collection::vec(noise(), 0..8), tls: bool) {
        let mut caller = Caller::new(Peer::Loopback, if tls { TlsOffer::Offered } else { TlsOffer::Unavailable });
        for part in sent {
            if matches!(caller.sends(&part), CallerMove::StartTls) {
                caller.input.clear();
                let _ = caller.login.secured(Some(b"postgresql"), &mut caller.out);
            }
        }
    }

    #[test]
    fn no_target_makes_the_login_panic_or_lets_itself_in(sent in prop::collection::vec(noise(), 0..8), link in prop::sample::select(vec![Link::Tls, Link::Loopback])) {
        let mut target = Target::begin(wish(link));
        let mut said_ok = false;
        for part in sent {
            said_ok |= part == ok();
            match target.sends(&part) {
                TargetMove::StartTls => { let _ = target.login.secured(Some(vec![7; 32]), &mut target.out); }
                TargetMove::Ready(_) => prop_assert!(said_ok),
                TargetMove::Read | TargetMove::Failed(_) => {}
            }
        }
    }
}

/// Whole messages of both sides, and bytes that are none.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(SSL_REQUEST.to_vec()),
        Just(GSSENC_REQUEST.to_vec()),
        Just(startup(&[("user", "a")])),
        Just(password(b"x")),
        Just(b"S".to_vec()),
        Just(ok()),
        Just(sasl(&BOTH)),
        Just(sasl(&BOTH[1..])),
        Just(settling()),
        Just(bytes(|out| backend::authentication_sasl_continue(out, format!("r={NONCE}x,s=AAAA,i=1").as_bytes()).unwrap())),
        Just(bytes(|out| backend::authentication_sasl_final(out, b"v=AAAA").unwrap())),
        prop::collection::vec(any::<u8>(), 0..20),
    ]
}
