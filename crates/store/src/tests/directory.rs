//! One process to a directory, files nobody else reads, and what a killed process leaves.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use super::fixtures::{Place, add_user, at, at_port, name, on_both, open, session_row};
use crate::{Home, Store, StoreError, database::sql, recordings, state::Event};

on_both! {
    a_killed_process_loses_nothing_it_acknowledged,
}

/// Tells the child half of a test which directory it works in.
const CHILD: &str = "COUNTERSIGN_STORE_TEST_DIRECTORY";
/// And where its state is, if not there: port and schema.
const CHILD_HOME: &str = "COUNTERSIGN_STORE_TEST_HOME";

/// The child: holds the store and appends events without end, printing each number once it was committed.
#[tokio::test]
async fn child_appends_events_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let home = std::env::var(CHILD_HOME).map_or(Home::Embedded, |at| {
        let (port, schema) = at.split_once(' ').unwrap();
        Home::Postgres(at_port(port.parse().unwrap()).with_schema(schema).unwrap())
    });
    let store = Store::open_with(directory.as_ref(), &home, recordings::Settings::default()).await.unwrap();
    store.state().add_session(&session_row(1, "alice", "prod-pg", 0)).await.unwrap();
    loop {
        let event =
            Event { at: at(0), actor: name("alice"), kind: "test".to_owned(), subject: "x".to_owned(), detail: serde_json::json!({ "n": 1 }) };
        println!("appended {}", store.state().append_event(&event).await.unwrap());
    }
}

fn child(directory: &std::path::Path, home: &Home) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tests::directory::child_appends_events_until_it_is_killed", "--nocapture"]);
    if let Home::Postgres(postgres) = home {
        command.env(CHILD_HOME, format!("{} {}", postgres.port, postgres.schema));
    }
    command.env(CHILD, directory).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Reads acknowledgements up to a number, kills the child, and returns the last one that came.
fn kill_after(child: &mut Child, number: u64) -> u64 {
    let mut last = 0;
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some((_, text)) = line.unwrap().split_once("appended ") {
            last = text.trim().parse().unwrap();
        }
        if last >= number && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    last
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = child(directory.path(), &Home::Embedded);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("appended 1")).unwrap().unwrap();
    let error = Store::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { pid: Some(pid), .. } if pid == child.id()), "{error}");
    assert!(error.to_string().contains(&format!("another Countersign (process {}) is using", child.id())));
    child.kill().unwrap();
    child.wait().unwrap();
    open(directory.path()).await;
}

#[tokio::test]
async fn two_stores_in_one_process_exclude_each_other_too() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).await;
    assert!(matches!(Store::open(directory.path()).await, Err(StoreError::InUse { .. })));
    first.close().await;
    drop(first);
    open(directory.path()).await;
}

async fn a_killed_process_loses_nothing_it_acknowledged(place: Place) {
    let mut acknowledged = 0;
    for round in 1..=3u64 {
        // Sessions are added under one id each round.
        let place = place.another();
        let mut child = child(place.directory(), place.home());
        acknowledged = kill_after(&mut child, 5 * round).max(acknowledged);
        let store = place.open().await;
        let events = store.state().events(None, None, 1_000_000).await.unwrap();
        assert!(events.len() as u64 >= 5 * round);
        let numbers: Vec<u64> = events.iter().rev().map(|row| row.number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "no gap, nothing twice");
        assert_eq!(store.state().note_restart(at(60)).await.unwrap().sessions, 1);
        assert_eq!(store.state().session(model::SessionId::from_random(1)).await.unwrap().unwrap().ending.as_deref(), Some("the gateway stopped"));
    }
    assert!(acknowledged >= 15);
}

#[tokio::test]
async fn nobody_else_may_read_what_lies_there() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("deep/data");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = open(&directory).await;
    add_user(&store, 1, "alice").await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let mut seen = 0;
    let mut folders = vec![directory];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
            seen += 1;
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(seen >= 6, "lock, two databases with their logs, keys, recordings");
}

/// `dir = "/srv"` must not close /srv to everybody else.
#[tokio::test]
async fn a_folder_of_others_is_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("theirs"), "x").unwrap();
    std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = Store::open(parent.path()).await.unwrap_err();
    assert!(error.to_string().contains("a folder of its own"), "{error}");
    assert_eq!(std::fs::metadata(parent.path()).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named_with_what_to_do() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for path in [file.join("data"), file] {
        let error = Store::open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Directory { .. }), "{error:?}");
        assert!(error.to_string().contains("cannot use") && error.to_string().contains("data directory must exist"), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut write = store.state().database().write().await.unwrap();
    let later = sql("INSERT INTO state_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)");
    later.run(&mut write).await.unwrap();
    write.commit().await.unwrap();
    store.close().await;
    drop(store);
    let error = Store::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.close().await;
    std::fs::write(directory.path().join("state.db"), "this is no database, this is no database").unwrap();
    assert!(Store::open(directory.path()).await.is_err());
}
