use std::sync::atomic::Ordering;

use bytes::Bytes;
use evidence::record::{AskedOutcome, Record};
use model::ActorChain;
use protocol::{
    Side,
    postgres::dialogue::{Answer, Parameter, Reply, ReplyKind, Rows, TargetError},
};
use store::recordings::{MIN_SEGMENT_BYTES, Settings as RecordingSettings};

use super::*;
use crate::{
    Admission, Opening,
    fixtures::{Gate, gate_on_tables, now},
    ids,
    live::Registration,
    trace::Span,
};

/// A session of alice's, with a count of its operations.
struct Played {
    gate: Gate,
    session: Session,
    names: Names,
    settings: Settings,
    asked: u64,
}

async fn played() -> Played {
    played_with("").await
}

/// With more policies.
async fn played_with(more: &str) -> Played {
    let gate = gate_on_tables(more).await;
    let alice = gate.user("alice", &["engineers"]).await;
    let guard = gate.guard.clone();
    let connection = guard.version().connections.get("prod-pg").unwrap().clone();
    let registration = Registration {
        session: ids::session(),
        chain: ActorChain::alone(alice),
        token: None,
        request: None,
        connection: connection.name.clone(),
        database: "shop".to_owned(),
        ends_at: None,
    };
    let live = guard.live().register(registration).unwrap();
    let admission = Admission {
        guard,
        live,
        connection,
        database: "shop".to_owned(),
        token: None,
        only_statement: None,
        peer: "127.0.0.1:1".to_owned(),
        admitted_at: now(),
        begins_with: None,
    };
    let session =
        Session::open(admission, Opening { target_pid: 7, application_name: None, target_role: None, span: Span::default() }).await.unwrap();
    Played { gate, session, names: Names::default(), settings: Settings::new("ours", "theirs"), asked: 0 }
}

impl Played {
    fn operation(&mut self, kind: OperationKind, text: &str, transaction: Transaction) -> Operation {
        self.asked += 1;
        Operation { id: self.asked, kind, text: text.into(), speaks: true, meant: None, parameters: Vec::new(), bound: None, transaction }
    }

    fn ask(&mut self, operation: &Operation) -> Result<Asked, Broken> {
        self.session.ask(operation, &self.names, &self.settings, now())
    }

    /// Asks, answering its questions; the ruling, and how many questions there were.
    async fn ruled(&mut self, text: &str, transaction: Transaction) -> (Ruling<Permit>, usize) {
        let operation = self.operation(OperationKind::Query, text, transaction);
        let mut asked = 0;
        loop {
            match self.ask(&operation).unwrap() {
                Asked::Ruled(ruling) => return (*ruling, asked),
                Asked::Learn(questions) => {
                    asked += questions.len();
                    self.session.learn(answers(questions.len())).await.unwrap();
                }
                Asked::Refresh => self.session.refresh().await.unwrap(),
                Asked::Hold(_) | Asked::Once => panic!("{text} is not ruled on"),
            }
        }
    }

    fn records(&mut self) -> Vec<Record> {
        self.session.commit().unwrap();
        let read = self.gate.guard.store().recordings().read(self.session.id()).unwrap();
        read.map(|placed| placed.unwrap().record).collect()
    }

    fn outcomes(&mut self) -> Vec<AskedOutcome> {
        self.records().into_iter().filter_map(|record| if let Record::Asked(asked) = record { Some(asked.ruling.outcome) } else { None }).collect()
    }

    fn changes(&self) -> u64 {
        self.gate.guard.snapshots().shared(&self.session.connection.name, "shop").changes()
    }
}

/// What a target answers to so many questions; its own catalog is empty, under an isolation that makes the gateway read itself.
fn answers(questions: usize) -> Vec<Rows> {
    answers_under(questions, "repeatable read")
}

fn answers_under(questions: usize, isolation: &str) -> Vec<Rows> {
    let text = |cell: &str| Some(cell.to_owned());
    let mut answers = vec![Rows::new(); questions];
    answers[0] = vec![vec![text(r#"["pg_catalog","public"]"#), text("app"), text("app"), text("UTF8"), text("on"), None]];
    if questions > 1 {
        answers[1] = vec![vec![text(isolation)]];
        answers[2] = vec![vec![text("150000"), text(r#"["pg_catalog","public"]"#), text("700"), text("[1,2,3]")]];
    }
    answers
}

/// How many questions there are to know everything as an open transaction sees it.
const ALL: usize = 17;

fn sqlstate(ruling: &Ruling<Permit>) -> Option<String> {
    match ruling {
        Ruling::Refuse(refusal) => Some(refusal.sqlstate().to_string()),
        Ruling::Forward(..) => None,
    }
}

#[tokio::test]
async fn every_outcome_is_in_the_recording_when_it_is_told() {
    let mut played = played().await;
    let (allowed, asked) = played.ruled("SELECT id FROM customers", Transaction::Idle).await;
    assert!(sqlstate(&allowed).is_none() && asked == 1);
    let call = played.operation(OperationKind::FunctionCall { function: 1 }, "FunctionCall of function 1", Transaction::Idle);
    // Not even who may run what is not understood runs this.
    let Asked::Ruled(ruling) = played.ask(&call).unwrap() else { panic!("not ruled") };
    assert_eq!(sqlstate(&ruling).as_deref(), Some("42501"));
    assert_eq!(played.outcomes(), [AskedOutcome::Allowed, AskedOutcome::Denied]);
    let refused = played.records().into_iter().any(|record| matches!(record, Record::Answered(answered) if answered.refused));
    assert!(refused);
}

#[tokio::test]
async fn a_session_that_was_ended_asks_nothing_more() {
    let mut played = played().await;
    played.gate.guard.live().end(played.session.id(), &EndReason::Stopping);
    let operation = played.operation(OperationKind::Query, "SELECT 1", Transaction::Idle);
    assert!(matches!(played.ask(&operation), Err(Broken::Ended(EndReason::Stopping))));
}

#[tokio::test]
async fn what_cannot_be_recorded_gets_no_permit() {
    let mut played = played().await;
    played.ruled("SELECT 1", Transaction::Idle).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = store::Store::open(elsewhere.path()).await.unwrap();
    let settings = RecordingSettings { segment_bytes: MIN_SEGMENT_BYTES, ..RecordingSettings::default() };
    played.session.log.recording = other.recordings().with_settings(settings).create(ids::session(), now()).unwrap();
    std::fs::remove_dir_all(elsewhere.path().join("recordings")).unwrap();
    let mut committed = 0;
    let broken = loop {
        let operation = played.operation(OperationKind::Query, &format!("SELECT {committed}"), Transaction::Idle);
        if let Err(broken) = played.ask(&operation) {
            break broken;
        }
        played.session.commit().unwrap();
        committed += 1;
        assert!(committed < 10_000);
    };
    assert!(matches!(broken, Broken::Recording(_)) && committed > 0);
}

#[tokio::test]
async fn a_held_operation_is_recorded_before_anybody_can_sign_and_released_as_it_was_signed() {
    let mut played = played().await;
    let bob = played.gate.user("bob", &["dba"]).await;
    played.ruled("SELECT 1", Transaction::Idle).await;
    let mut operation = played.operation(OperationKind::Bind, "DROP TABLE payments", Transaction::Idle);
    operation.parameters = vec![Parameter { type_oid: 25, binary: false, value: Some(Bytes::from_static(b"seven")) }];
    let Asked::Hold(decided) = played.ask(&operation).unwrap() else { panic!("not held") };
    let mut waiting = played.session.hold(&operation, &decided, now()).await.unwrap().unwrap();
    assert_eq!(waiting.row().parameters, [Some("seven".to_owned())]);
    let (id, digest) = (waiting.row().id, waiting.row().digest);
    let guard = played.gate.guard.clone();
    let signed = guard.approvals().sign(id, &bob, &digest, now());
    let released = async {
        let verdict = waiting.settled().await;
        let questions = played.session.questions_at_release();
        played.session.learn(answers(questions.len())).await.unwrap();
        played.session.release(&operation, waiting, verdict, (&played.names, &played.settings), now()).await.unwrap()
    };
    let (signed, ruling) = tokio::join!(signed, released);
    assert!(sqlstate(&ruling).is_none());
    assert_eq!(signed.unwrap().state, HoldState::Approved);
}

#[tokio::test]
async fn what_was_signed_does_not_run_when_it_means_another_thing_by_then_or_its_session_was_ended() {
    for ended in [false, true] {
        let mut played = played().await;
        let bob = played.gate.user("bob", &["dba"]).await;
        played.ruled("SELECT 1", Transaction::Idle).await;
        let operation = played.operation(OperationKind::Query, "DROP TABLE payments", Transaction::Idle);
        let Asked::Hold(decided) = played.ask(&operation).unwrap() else { panic!("not held") };
        let mut waiting = played.session.hold(&operation, &decided, now()).await.unwrap().unwrap();
        let (id, digest) = (waiting.row().id, waiting.row().digest);
        let guard = played.gate.guard.clone();
        let signed = guard.approvals().sign(id, &bob, &digest, now());
        let released = async {
            let verdict = waiting.settled().await;
            // There is no such table any more.
            played.gate.emptied.store(!ended, Ordering::Relaxed);
            let questions = played.session.questions_at_release();
            played.session.learn(answers(questions.len())).await.unwrap();
            if ended {
                guard.live().end(played.session.id(), &EndReason::Stopping);
            }
            played.session.release(&operation, waiting, verdict, (&played.names, &played.settings), now()).await
        };
        let (signed, ruling) = tokio::join!(signed, released);
        assert_ne!(signed.unwrap().state, HoldState::Approved);
        match ruling {
            Ok(ruling) => assert!(!ended && sqlstate(&ruling).is_some()),
            Err(broken) => assert!(ended && matches!(broken, Broken::Ended(_))),
        }
    }
}

#[tokio::test]
async fn what_a_pipeline_changed_is_asked_again_until_it_has_ended_and_kept_from_others() {
    let mut played = played().await;
    played.ruled("SELECT 1", Transaction::Idle).await;
    let (before, shared) = (played.changes(), played.gate.guard.snapshots().shared(&played.session.connection.name, "shop"));
    let snapshot = shared.current().unwrap().1;
    let (created, _) = played.ruled("CREATE SCHEMA other", Transaction::Idle).await;
    assert!(sqlstate(&created).is_none());
    // A change of its own cannot be read from a snapshot that may be older.
    let operation = played.operation(OperationKind::Query, "SELECT id FROM customers", Transaction::Idle);
    let Asked::Learn(questions) = played.ask(&operation).unwrap() else { panic!("not asked") };
    assert_eq!(questions.len(), ALL);
    assert!(played.session.learn(answers(ALL)).await.unwrap_err().contains("READ COMMITTED"));
    // Read on its own connection it counts for this operation, and only for this one: the next may come after the end.
    let Asked::Learn(_) = played.ask(&operation).unwrap() else { panic!("not asked") };
    played.session.learn(answers_under(ALL, "read committed")).await.unwrap();
    assert!(Arc::ptr_eq(&shared.current().unwrap().1, &snapshot));
    let next = played.operation(OperationKind::Query, "SELECT 2", Transaction::Idle);
    assert!(matches!(played.ask(&next).unwrap(), Asked::Learn(questions) if questions.len() == ALL));
    // Its error undoes it.
    let error = Some(TargetError { sqlstate: "22012".to_owned(), message: "division by zero".to_owned() });
    let answer = Answer { operation: next.id, duration_us: 1, rows: 0, bytes: 0, changed: 0, tag: None, error, skipped: false };
    played.session.answered(answer, now()).unwrap();
    played.session.transaction_stands(Transaction::Idle, true);
    assert!(played.changes() > before && shared.current().is_none());
    // What is committed the gateway reads itself, and everybody has it.
    let (ruling, asked) = played.ruled("SELECT id FROM customers", Transaction::Idle).await;
    assert!(sqlstate(&ruling).is_none() && asked <= 1 && shared.current().is_some());
    let (_, asked) = played.ruled("SELECT id FROM customers", Transaction::Idle).await;
    assert_eq!(asked, 0);
}

#[tokio::test]
async fn a_failed_transaction_only_ends_and_what_follows_its_end_in_one_message_is_refused() {
    let mut played = played().await;
    played.ruled("SELECT 1", Transaction::Idle).await;
    played.ruled("SET search_path = other", Transaction::Open).await;
    played.ruled("SELECT 1", Transaction::Open).await;
    let (ruling, _) = played.ruled("ROLLBACK; SELECT email FROM customers", Transaction::Open).await;
    assert_eq!(sqlstate(&ruling).as_deref(), Some("42501"));
    let (ruling, asked) = played.ruled("ROLLBACK TO SAVEPOINT a", Transaction::Open).await;
    assert!(sqlstate(&ruling).is_none() && asked == 0);
    // From here on what is known is stale, and in a failed transaction nothing can be asked.
    let select = played.operation(OperationKind::Query, "SELECT email FROM customers", Transaction::Failed);
    assert!(matches!(played.ask(&select).unwrap(), Asked::Learn(_)));
    let refused = played.session.ask_in_failed(&select, &played.names, &played.settings, now()).unwrap();
    assert_eq!(sqlstate(&refused).as_deref(), Some("25P02"));
    let (ruling, asked) = played.ruled("ROLLBACK", Transaction::Failed).await;
    assert!(sqlstate(&ruling).is_none() && asked == 0);
}

#[tokio::test]
async fn what_others_commit_is_seen_in_a_transaction_that_made_something_itself() {
    let mut played = played().await;
    played.ruled("SELECT 1", Transaction::Idle).await;
    played.ruled("CREATE SCHEMA other", Transaction::Open).await;
    let learned = async |played: &mut Played| {
        let select = played.operation(OperationKind::Query, "SELECT 2", Transaction::Open);
        let Asked::Learn(questions) = played.ask(&select).unwrap() else { return 0 };
        played.session.learn(answers_under(questions.len(), "read committed")).await.unwrap();
        questions.len()
    };
    assert_eq!((learned(&mut played).await, learned(&mut played).await), (ALL, 0));
    played.gate.guard.snapshots().shared(&played.session.connection.name, "shop").changed();
    assert_eq!((learned(&mut played).await, learned(&mut played).await), (ALL, 0));
}

#[tokio::test]
async fn the_answer_of_a_function_call_is_not_masked_and_does_not_come_where_it_should_be() {
    let mut played = played_with(r#"permit (principal, action == Action::"unreadable", resource);"#).await;
    played.ruled("SELECT 1", Transaction::Idle).await;
    let call = OperationKind::FunctionCall { function: 952 };
    let mut call = played.operation(call, "SELECT pg_catalog.lo_open($1, $2)", Transaction::Idle);
    call.parameters = vec![Parameter { type_oid: 26, binary: true, value: None }, Parameter { type_oid: 23, binary: true, value: None }];
    let unread = |played: &mut Played| played.session.unread(&call, "it is down", (&played.names, &played.settings), now()).unwrap();
    assert_eq!(sqlstate(&unread(&mut played)), None);
    let all = r#"permit (principal in Group::"engineers", action, resource in Environment::"production");"#;
    let mut files = crate::fixtures::files(all);
    files.insert("data-classes.toml".to_owned(), "[email]\nmask = \"redact\"\ncolumns = [\"public.customers.email\"]\n".to_owned());
    played.gate.guard.apply_as(&files, &"admin".parse().unwrap(), now()).await.unwrap();
    assert_eq!(sqlstate(&unread(&mut played)).as_deref(), Some("42501"));
}

#[tokio::test]
async fn what_the_target_does_not_tell_is_for_policy_to_permit_by_name() {
    for (more, runs) in [("", false), (r#"permit (principal, action == Action::"unreadable", resource);"#, true)] {
        let mut played = played_with(more).await;
        played.ruled("SELECT 1", Transaction::Idle).await;
        played.ruled("CREATE SCHEMA other", Transaction::Open).await;
        let select = played.operation(OperationKind::Query, "SELECT id FROM customers", Transaction::Open);
        assert!(matches!(played.ask(&select).unwrap(), Asked::Learn(_)));
        let why = played.session.learn(answers_under(ALL, "serializable")).await.unwrap_err();
        let ruling = played.session.unread(&select, &why, (&played.names, &played.settings), now()).unwrap();
        assert_eq!(sqlstate(&ruling).is_none(), runs);
        let asked = played.records().into_iter().filter_map(|record| if let Record::Asked(asked) = record { Some(asked) } else { None });
        let facts = asked.last().unwrap().facts;
        assert!(facts.asks(Action::Unreadable) && facts.asks(Action::Read), "{facts:?}");
        // The end of the transaction needs no catalog.
        let (ruling, asked) = played.ruled("COMMIT", Transaction::Open).await;
        assert!(sqlstate(&ruling).is_none() && asked == 0);
    }
}

#[tokio::test]
async fn a_function_call_of_large_objects_is_its_sql_call_where_the_number_means_that_function() {
    let mut played = played().await;
    played.ruled("SELECT 1", Transaction::Idle).await;
    let number = |value: u32| Parameter { type_oid: 26, binary: true, value: Some(Bytes::copy_from_slice(&value.to_be_bytes())) };
    for (function, runs) in [(952, true), (953, false)] {
        let text = "SELECT pg_catalog.lo_open($1, $2)";
        let mut call = played.operation(OperationKind::FunctionCall { function }, text, Transaction::Idle);
        call.parameters = vec![number(7), number(131_072)];
        let Asked::Ruled(ruling) = played.ask(&call).unwrap() else { panic!("not ruled") };
        assert_eq!(sqlstate(&ruling).is_none(), runs);
    }
    let asked = played.records().into_iter().filter_map(|record| if let Record::Asked(asked) = record { Some(asked) } else { None });
    let call = asked.into_iter().nth(1).unwrap();
    assert_eq!((&*call.text, call.facts.asks(Action::Export)), ("SELECT pg_catalog.lo_open($1, $2)", true));
    assert_eq!(call.parameters.len(), 2);
}

#[tokio::test]
async fn rows_without_a_known_mask_are_never_shown() {
    let mut played = played().await;
    let reply = |kind| Reply { operation: 9, kind, frames: Bytes::from_static(b"D\0\0\0\x06\0\0") };
    for kind in [ReplyKind::Rows, ReplyKind::Shape { forward: true }, ReplyKind::Copy(Side::Target)] {
        assert!(matches!(played.session.show(reply(kind)), Err(Broken::Masking)), "{kind:?}");
    }
}
