use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use evidence::{
    DeploymentKey,
    record::{Answered, AskedOutcome, Closed, Note, Ruling, Via},
    verify::FaultKind,
};
use model::{Effects, Facts, Risk, RowScope, Understanding, VersionHash, facts::Outputs};

use super::{
    disk::deeds::{self, Deed},
    *,
};

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_795_300_000_000_000 + micros).unwrap()
}

fn session(number: u64) -> SessionId {
    SessionId::from_random(number)
}

fn open(data: &Path, settings: Settings) -> Recordings {
    let keys = crate::keys::open(data).unwrap();
    Recordings::open(data, Arc::new(keys), settings).unwrap()
}

fn small_segments() -> Settings {
    Settings { segment_bytes: MIN_SEGMENT_BYTES, ..Settings::default() }
}

fn asked(op: u64, outcome: AskedOutcome) -> Record {
    let facts = Facts {
        understanding: Understanding::Full,
        pairs: vec![],
        kinds: vec![],
        statements: 1,
        reads: vec![],
        writes: vec![],
        functions: vec![],
        row_scope: RowScope::None,
        risk: Risk::new(0),
        effects: Effects::default(),
        outputs: Outputs::default(),
        filters: model::facts::Filters::default(),
        secret_spans: vec![],
    };
    let ruling = Ruling { outcome, policies: vec![], reasons: vec![], version: VersionHash([0; 32]), classes: vec![] };
    let text = Arc::from(format!("SELECT {op}"));
    Record::Asked(Asked { op, at: time(0), text, facts: Arc::new(facts), ruling: Arc::new(ruling), parameters: vec![], via: Via::Simple })
}

fn answered(op: u64) -> Record {
    Record::Answered(Answered { op, at: time(1), ..Answered::default() })
}

fn closed() -> Record {
    Record::Closed(Closed { at: time(9), ending: "the caller left".to_owned(), operations: 1 })
}

fn note(text: &str) -> Record {
    Record::Note(Note { at: time(0), kind: "test".to_owned(), text: text.to_owned() })
}

fn commit(recording: &mut Recording, record: &Record) {
    recording.append(record).unwrap();
    recording.commit().unwrap();
}

fn records(reading: &mut Records) -> Vec<Record> {
    reading.map(|placed| placed.unwrap().record).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn near_10_what_was_committed_is_read_across_segments() {
    let data = tempfile::tempdir().unwrap();
    for durability in [Durability::Process, Durability::Strict] {
        let all = open(data.path(), Settings { durability, ..small_segments() });
        let id = session(durability as u64);
        let mut recording = all.create(id, time(0)).unwrap();
        let written: Vec<Record> = (1..200).flat_map(|op| [asked(op, AskedOutcome::Allowed), answered(op)]).chain([closed()]).collect();
        written.iter().for_each(|record| commit(&mut recording, record));
        let head = recording.close().unwrap();
        let mut reading = all.read(id).unwrap();
        assert_eq!(records(&mut reading), written);
        let walked = all.verify(id).unwrap();
        assert_eq!(walked, reading.walked());
        assert_eq!((walked.head, walked.complete), (head, true));
        assert!(walked.segments > 3, "{walked:?}");
    }
    let listed = open(data.path(), Settings::default()).list().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|one| one.closed && one.segments > 3 && one.bytes > 3 * MIN_SEGMENT_BYTES && one.day == "2026-11-21"), "{listed:?}");
}

#[test]
fn files_are_for_their_owner_only() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), Settings::default());
    let mut recording = all.create(session(1), time(0)).unwrap();
    let file = recording.place.path(0);
    let day = recording.place.day.clone();
    assert_eq!((mode(&file), mode(&day), mode(&all.folder)), (0o600, 0o700, 0o700));
    commit(&mut recording, &closed());
    recording.close().unwrap();
    assert_eq!(mode(&file), 0o400);
}

/// How often this thread has called `write`, if the kernel counts that.
fn write_calls() -> Option<u64> {
    let counts = fs::read_to_string("/proc/thread-self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("syscw: "))?.parse().ok()
}

#[test]
fn a_commit_is_one_write_and_one_frame() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), Settings::default());
    let mut recording = all.create(session(1), time(0)).unwrap();
    (0..10).for_each(|_| recording.append(&note("x")).unwrap());
    assert_eq!(fs::metadata(recording.place.path(0)).unwrap().len(), HEADER_BYTES as u64, "nothing is written before the commit");
    let before = write_calls();
    recording.commit().unwrap();
    recording.commit().unwrap();
    assert_eq!(write_calls().zip(before).map_or(1, |(after, before)| after - before), 1);
    assert_eq!(all.verify(session(1)).unwrap().frames, 1);
}

/// REC-02: a deleted chunk.
#[test]
fn a_missing_segment_is_named() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), small_segments());
    let mut recording = all.create(session(1), time(0)).unwrap();
    (1..100).for_each(|op| commit(&mut recording, &asked(op, AskedOutcome::Allowed)));
    commit(&mut recording, &closed());
    let place = Place { day: recording.place.day.clone(), session: session(1) };
    recording.close().unwrap();
    let last = place.segments().unwrap() - 1;
    let middle = place.path(1);
    fs::rename(&middle, data.path().join("kept")).unwrap();
    assert!(matches!(all.verify(session(1)), Err(RecordingError::File { path, .. }) if path == middle));
    fs::rename(data.path().join("kept"), &middle).unwrap();
    fs::remove_file(place.path(last)).unwrap();
    assert!(!all.verify(session(1)).unwrap().complete);
    assert_eq!(all.unfinished().unwrap().len(), 1);
}

#[test]
fn a_recording_is_never_written_twice() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), Settings::default());
    all.create(session(1), time(0)).unwrap();
    assert!(matches!(all.create(session(1), time(0)), Err(RecordingError::File { .. })));
    assert!(matches!(all.read(session(2)), Err(RecordingError::Unknown(_))));
}

#[test]
fn a_live_recording_is_followed_and_read_on_from_any_place() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), small_segments());
    let mut recording = all.create(session(1), time(0)).unwrap();
    let mut following = all.read(session(1)).unwrap();
    let mut places = vec![Position::START];
    let mut written = Vec::new();
    for round in 0..120u64 {
        assert!(following.next().is_none());
        let commit: Vec<Record> = (0..=round % 3).map(|n| asked(round * 3 + n + 1, AskedOutcome::Allowed)).collect();
        commit.iter().for_each(|record| recording.append(record).unwrap());
        assert!(following.next().is_none(), "what is not committed is not seen");
        recording.commit().unwrap();
        for record in commit {
            assert_eq!(following.next().unwrap().unwrap().record, record);
            written.push(record);
            places.push(following.position());
        }
    }
    assert!(following.position().segment > 2);
    for (read, place) in places.iter().enumerate().step_by(17) {
        let mut reading = all.read_from(session(1), *place).unwrap();
        assert_eq!(records(&mut reading), written[read..], "{place:?}");
        assert_eq!(reading.position(), following.position());
    }
}

#[test]
fn what_was_asked_and_not_answered_has_an_unknown_outcome() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), Settings::default());
    let mut crashed = all.create(session(1), time(0)).unwrap();
    let settled =
        |op, state| Record::Settled(evidence::record::Settled { op, at: time(2), hold: model::HoldId::from_random(op), state, signatures: vec![] });
    let happened = [
        asked(1, AskedOutcome::Allowed),
        answered(1),
        asked(2, AskedOutcome::Allowed),
        asked(3, AskedOutcome::Denied),
        asked(4, AskedOutcome::Held),
        asked(5, AskedOutcome::Held),
        settled(5, model::hold::HoldState::Approved),
        asked(6, AskedOutcome::Held),
        settled(6, model::hold::HoldState::Expired),
    ];
    happened.iter().for_each(|record| commit(&mut crashed, record));
    let file = crashed.place.path(0);
    let before = fs::read(&file).unwrap();
    drop(crashed);
    let mut ended = all.create(session(2), time(0)).unwrap();
    commit(&mut ended, &closed());
    ended.close().unwrap();
    let found = all.unfinished().unwrap();
    assert_eq!(found.iter().map(|one| one.session).collect::<Vec<_>>(), [session(1)]);
    assert_eq!(found[0].unknown.iter().map(|asked| asked.op).collect::<Vec<_>>(), [2, 5]);
    assert_eq!((found[0].operations, found[0].last_at), (6, Some(time(2))));
    assert_eq!(fs::read(&file).unwrap(), before, "nothing is added to what happened");
}

#[test]
fn an_ended_recording_whose_mode_was_lost_is_not_taken_for_a_crashed_one() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), Settings::default());
    let mut recording = all.create(session(1), time(0)).unwrap();
    let file = recording.place.path(0);
    commit(&mut recording, &closed());
    recording.close().unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert!(all.unfinished().unwrap().is_empty());
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let found = all.unfinished().unwrap();
    assert!(
        matches!(&found[0].error, Some(RecordingError::Fault { fault: Fault { frame: Some(0), what: FaultKind::Changed, .. }, .. })),
        "{found:?}"
    );
}

#[test]
fn after_rotation_a_rewrapped_recording_is_whole_and_needs_the_new_key_only() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), small_segments());
    let mut recording = all.create(session(1), time(0)).unwrap();
    (1..100).for_each(|op| commit(&mut recording, &asked(op, AskedOutcome::Allowed)));
    commit(&mut recording, &closed());
    let head = recording.close().unwrap();
    let new = crate::keys::rotate(data.path()).unwrap();
    let only_new = DeploymentKey::from_bytes(new.current().unwrap().reveal()).unwrap();
    Recordings::open(data.path(), Arc::new(new), Settings::default()).unwrap().rewrap(session(1)).unwrap();
    let after = Recordings::open(data.path(), Arc::new(KeyRing::new(only_new, vec![])), Settings::default()).unwrap();
    assert_eq!(records(&mut after.read(session(1)).unwrap()).len(), 100);
    assert_eq!(after.verify(session(1)).unwrap().head, head);
    assert!(all.list().unwrap()[0].closed);
}

fn incompressible(length: u32) -> String {
    (0..length).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 28) as u8)).collect()
}

#[test]
fn a_segment_that_cannot_be_begun_ends_the_recording() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), small_segments());
    let mut recording = all.create(session(1), time(0)).unwrap();
    fs::write(recording.place.path(1), b"in the way").unwrap();
    commit(&mut recording, &note(&incompressible(8000)));
    assert!(recording.is_poisoned());
    assert!(matches!(recording.append(&note("y")), Err(RecordingError::Poisoned(_))));
    assert!(matches!(recording.commit(), Err(RecordingError::Poisoned(_))));
}

#[test]
fn the_first_write_that_fails_counts_for_all_until_a_probe_was_really_written() {
    let data = tempfile::tempdir().unwrap();
    let all = open(data.path(), small_segments());
    let mut one = all.create(session(1), time(0)).unwrap();
    let mut followed = all.watch_standing();
    assert!(all.standing().writable);
    // What is wrong with one record is no reason to end other sessions.
    assert!(one.append(&note(&"x".repeat(evidence::format::MAX_RECORD_BYTES + 1))).is_err());
    assert!(all.standing().writable && !followed.has_changed().unwrap());

    let mut two = all.create(session(2), time(0)).unwrap();
    fs::write(two.place.path(1), b"in the way").unwrap();
    commit(&mut two, &note(&incompressible(8000)));
    assert!(!all.standing().writable && followed.has_changed().unwrap(), "a segment that cannot be begun is told at once");
    // The way is still barred: a day that cannot be made.
    let (folder, away) = (data.path().join(FOLDER), data.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, b"in the way").unwrap();
    followed.mark_unchanged();
    assert!(all.probe(time(0)).is_err() && !all.standing().writable && !followed.has_changed().unwrap());
    assert!(all.create(session(3), time(0)).is_err() && followed.has_changed().unwrap(), "each failure is told");
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    all.probe(time(0)).unwrap();
    assert!(all.standing().writable);
    assert_eq!(all.list().unwrap().len(), 2, "the probe is gone");
}

#[test]
fn a_probe_says_nothing_of_a_write_that_failed_while_it_was_written() {
    let shared = super::standing::Shared::new();
    let full = || RecordingError::file(Path::new("x"))(io::ErrorKind::StorageFull.into());
    shared.failed(&full());
    let before = shared.now();
    shared.failed(&full());
    shared.written(before);
    assert!(!shared.now().writable);
    shared.written(shared.now());
    assert!(shared.now().writable);
    shared.failed(&RecordingError::file(Path::new("x"))(io::Error::from_raw_os_error(24)));
    assert!(shared.now().writable, "no free descriptor says nothing of the disk");
}

/// Runs [`child`] in a process of its own, started by a shell that first runs `before`.
fn start_child(data: &Path, before: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" --exact recordings::tests::child --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env("RECORDING_CHILD_DATA", data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Not a test by itself: what the processes of the next two run. Commits operations for ever and says after each that it did,
/// or that it could not and that nothing is taken after that.
#[test]
fn child() {
    let Some(data) = std::env::var_os("RECORDING_CHILD_DATA") else { return };
    let all = open(Path::new(&data), Settings { segment_bytes: 256 << 10, ..Settings::default() });
    let mut recording = all.create(session(1), time(0)).unwrap();
    for op in 1u64.. {
        let committed = recording.append(&asked(op, AskedOutcome::Allowed)).and_then(|()| recording.commit());
        if let Err(error) = committed {
            let after = recording.append(&answered(op)).is_err() && recording.commit().is_err() && recording.commit().is_err();
            println!("\nfailed {op} {after} {error}");
            return;
        }
        println!("\ncommitted {op}");
    }
}

fn committed(line: &str) -> Option<u64> {
    line.strip_prefix("committed ")?.parse().ok()
}

/// REC-02: kill -9.
#[test]
fn a_killed_process_loses_nothing_it_committed() {
    for wait_for in [1, 40, 300, 2000] {
        let data = tempfile::tempdir().unwrap();
        crate::keys::open(data.path()).unwrap();
        let (mut child, output) = start_child(data.path(), "");
        let mut last = 0;
        for line in output.lines().map_while(Result::ok) {
            last = committed(&line).unwrap_or(last);
            if last == wait_for {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let all = open(data.path(), Settings::default());
        let found = all.unfinished().unwrap();
        assert!(found[0].error.is_none(), "{found:?}");
        assert!(last >= wait_for && found[0].operations >= last, "{} recorded of {last}", found[0].operations);
        assert_eq!(found[0].unknown.len() as u64, found[0].operations);
    }
}

/// A write that fails, or fails half-way, is an error and stays one.
#[test]
fn rec_01_a_file_that_may_not_grow_ends_the_recording_and_keeps_what_was_committed() {
    for blocks in [8, 9, 64] {
        let data = tempfile::tempdir().unwrap();
        crate::keys::open(data.path()).unwrap();
        let (mut child, output) = start_child(data.path(), &format!("trap '' XFSZ; ulimit -f {blocks};"));
        let lines: Vec<String> = output.lines().map_while(Result::ok).collect();
        child.wait().unwrap();
        let last = lines.iter().filter_map(|line| committed(line)).max().unwrap();
        let failure = lines.iter().find(|line| line.starts_with("failed ")).unwrap_or_else(|| panic!("{lines:?}"));
        assert!(failure.starts_with(&format!("failed {} true ", last + 1)), "{failure}");
        let all = open(data.path(), Settings::default());
        let mut reading = all.read(session(1)).unwrap();
        assert_eq!(records(&mut reading).len() as u64, last);
        assert!(reading.walked().cut_off.is_some(), "the part of the frame that was written is told");
    }
}

/// What a power cut leaves of these deeds under `folder`: what was synced; of what was not, as `kept` says, nothing, half or all of the bytes, and the
/// names or not. Half of what was not synced is there as zeros if `zeros`, as file systems do that note a length before the bytes.
fn after_a_power_cut(deeds: &[Deed], folder: &Path, kept: usize, zeros: bool) -> tempfile::TempDir {
    let (mut written, mut synced, mut named) = (BTreeMap::<&Path, Vec<u8>>::new(), BTreeMap::<&Path, usize>::new(), BTreeMap::<&Path, bool>::new());
    for deed in deeds {
        match deed {
            Deed::Made(path) => drop(named.insert(path, false)),
            Deed::Wrote(path, bytes) => written.entry(path).or_default().extend(bytes),
            Deed::Synced(path) => {
                synced.insert(path, written.get(path.as_path()).map_or(0, Vec::len));
                named.iter_mut().filter(|(name, _)| name.parent() == Some(path)).for_each(|(_, named)| *named = true);
            }
        }
    }
    let left = tempfile::tempdir().unwrap();
    for (path, named) in named {
        let Ok(place) = path.strip_prefix(folder).map(|path| left.path().join(path)) else { continue };
        if !(named || kept > 0) || !place.parent().unwrap().exists() {
            continue;
        }
        if path.extension().is_none() {
            fs::create_dir(place).unwrap();
            continue;
        }
        // Of a file that was only just made nothing is written.
        let bytes = written.get(path).map_or(&[][..], Vec::as_slice);
        let sure = synced.get(path).copied().unwrap_or(0);
        let there = sure + (bytes.len() - sure) * kept / 2;
        let mut bytes = bytes[..there].to_vec();
        if zeros {
            bytes[sure..].fill(0);
        }
        fs::write(place, bytes).unwrap();
    }
    left
}

/// What can be read after a power cut that follows these deeds, however much of what was not synced is there.
fn survives(deeds: &[Deed], data: &Path, keys: &Arc<KeyRing>, id: SessionId) -> Vec<Result<Vec<Record>, RecordingError>> {
    let cuts = [(0, false), (1, false), (1, true), (2, false), (2, true)];
    cuts.iter()
        .map(|(kept, zeros)| {
            let left = after_a_power_cut(deeds, data, *kept, *zeros);
            Recordings::open(left.path(), Arc::clone(keys), Settings::default())?.read(id)?.map(|placed| placed.map(|placed| placed.record)).collect()
        })
        .collect()
}

/// `durability = "strict"`: the machine loses power after any deed, in the middle of a commit too, and with it all that was not synced.
#[test]
fn a_power_cut_loses_nothing_that_was_committed_strictly() {
    for durability in [Durability::Strict, Durability::Process] {
        let data = tempfile::tempdir().unwrap();
        let keys = Arc::new(crate::keys::open(data.path()).unwrap());
        let id = session(7 + durability as u64);
        let all = Recordings::open(data.path(), Arc::clone(&keys), Settings { durability, ..small_segments() }).unwrap();
        let mut recording = all.create(id, time(0)).unwrap();
        let words = "not compressed as it is below sixteen kibibytes ".repeat(10);
        let written: Vec<Record> = (1..15).flat_map(|op| [asked(op, AskedOutcome::Allowed), note(&words), answered(op)]).collect();
        let (mut lost, mut played) = (0, deeds::so_far().len());
        for (number, record) in written.iter().enumerate() {
            commit(&mut recording, record);
            let deeds = deeds::so_far();
            for done in played + 1..=deeds.len() {
                let committed = if done == deeds.len() { number + 1 } else { number };
                for found in survives(&deeds[..done], data.path(), &keys, id) {
                    let whole = found.as_ref().is_ok_and(|found| found.starts_with(&written[..committed]));
                    assert!(whole || durability == Durability::Process, "after deed {done}, of record {number}: {found:?}");
                    lost += usize::from(!whole);
                }
            }
            played = deeds.len();
        }
        assert!(recording.writer.segment() > 0, "over several files");
        assert_eq!(lost > 0, durability == Durability::Process, "the cut takes what it may take");
        // At its end a session waits for the disk, whatever was said.
        commit(&mut recording, &closed());
        recording.close().unwrap();
        let whole = |found: &Result<Vec<Record>, _>| found.as_ref().is_ok_and(|found| found.len() == written.len() + 1);
        assert!(survives(&deeds::so_far(), data.path(), &keys, id).iter().all(whole));
    }
}
