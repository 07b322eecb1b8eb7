//! What the fuzz targets of this crate run, and the replay of what they found: files that a stranger wrote go in, and a promise that does not hold
//! panics.

use std::sync::{Arc, LazyLock};

use model::{SessionId, Timestamp};

use crate::{
    DeploymentKey, Fault, KeyRing, Reader, Record, Verifier,
    entry::{Lines, Names},
    format::{FrameHead, Head, Header, MAX_FRAME_BYTES, frame_aad, half, head_after},
    key::RecordingKey,
    screen::{self, Safe},
    verify::{FaultKind, Walked},
};

static KEYS: LazyLock<Arc<KeyRing>> = LazyLock::new(|| {
    let key = DeploymentKey::from_bytes(include_bytes!("../tests/golden/format1.key")).unwrap();
    Arc::new(KeyRing::new(key, vec![]))
});

/// Files of a recording, each with its length before it in three bytes: whoever reads finds no more wrong than whoever verifies, but for what only
/// a key shows, and neither finds it elsewhere for being given the bytes in other pieces.
pub fn recording(data: &[u8]) {
    let segments = files(data);
    let verified = verify(&segments, usize::MAX);
    assert_eq!(verify(&segments, 7), verified);
    let (records, read) = read(&segments, usize::MAX);
    assert_eq!(self::read(&segments, 7), (records, read.clone()));
    match (read, verified) {
        (Ok(read), verified) => assert_eq!(verified.as_ref(), Ok(&read)),
        (Err(Fault { what: FaultKind::Key(_) | FaultKind::Tag | FaultKind::Record(_), .. }), _) => {}
        (read @ Err(_), verified) => assert_eq!(read, verified),
    }
}

fn files(mut data: &[u8]) -> Vec<&[u8]> {
    let mut files = Vec::new();
    while let Some((&[a, b, c], rest)) = data.split_first_chunk() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let (file, rest) = rest.split_at(length.min(rest.len()));
        files.push(file);
        data = rest;
    }
    files
}

fn verify(segments: &[&[u8]], piece: usize) -> Result<Walked, Fault> {
    let mut verifier = Verifier::new();
    for segment in segments {
        verifier.begin_segment()?;
        segment.chunks(piece).try_for_each(|bytes| verifier.push(bytes))?;
    }
    Ok(verifier.finish())
}

fn read(segments: &[&[u8]], piece: usize) -> (Vec<Record>, Result<Walked, Fault>) {
    let (mut reader, mut records) = (Reader::new(Arc::clone(&KEYS)), Vec::new());
    let walked = (|| {
        for segment in segments {
            reader.begin_segment()?;
            for bytes in segment.chunks(piece) {
                reader.push(bytes);
                while let Some(placed) = reader.next()? {
                    records.push(placed.record);
                }
            }
        }
        Ok(reader.walked())
    })();
    (records, walked)
}

/// What stands in the frames of a recording whose writer had the key and meant harm: each frame with its flags and its length before it. Every
/// record that is read can be written, and is then read as the same.
pub fn recording_lines(data: &[u8]) {
    let file = sealed(data);
    let (records, _) = read(&[&file], usize::MAX);
    let mut written = Vec::new();
    let mut lines = Lines::new(begun_at());
    records.iter().for_each(|record| lines.write(record, &mut written).unwrap());
    let mut names = Names::new(begun_at());
    let again: Vec<Record> = written.split_inclusive(|byte| *byte == b'\n').filter_map(|line| names.read(&line[..line.len() - 1]).unwrap()).collect();
    if !records.iter().any(|record| matches!(record, Record::Asked(asked) if !asked.facts.secret_spans.is_empty())) {
        assert_eq!(again, records);
    }
}

fn begun_at() -> Timestamp {
    Timestamp::from_microsecond(1_795_300_000_000_000).unwrap()
}

/// A segment whose frames hold just what `data` says.
fn sealed(mut data: &[u8]) -> Vec<u8> {
    let session = SessionId::from_random(42);
    let key: RecordingKey = KEYS.current().unwrap().recording_key(session).unwrap();
    let header = Header { segment: 0, session, begun_at: begun_at(), previous: [0; 32], commitment: key.commitment, wrapped: key.wrapped };
    let (mut file, mut head): (Vec<u8>, Head) = (header.encode().to_vec(), header.head());
    let mut number = 0;
    while let Some((&[flags, a, b, c], rest)) = data.split_first_chunk() {
        let length = (u32::from_be_bytes([0, a, b, c]) as usize).min(rest.len()).min(MAX_FRAME_BYTES);
        let (text, rest) = rest.split_at(length);
        let frame_head = FrameHead { flags: flags & 7, length: length as u32, number }.encode();
        let mut text = text.to_vec();
        let tag = key.seal(0, number, frame_aad(&head, &frame_head), &mut text).unwrap();
        text.extend_from_slice(&tag);
        head = head_after(&head, &frame_head, &text);
        file.extend_from_slice(&frame_head);
        file.extend_from_slice(&text);
        file.extend_from_slice(&half(&head));
        number += 1;
        data = rest;
    }
    file
}

/// Where a piece of a terminal's output is cut, then it: what is let through is the same however it is cut, and all of it is let through again.
pub fn screen(data: &[u8]) {
    let Some((&cut, shown)) = data.split_first() else { return };
    let safe = |data: &[u8], piece: usize| {
        let mut safe = Safe::default();
        data.chunks(piece).flat_map(|piece| safe.pass(piece)).collect::<Vec<u8>>()
    };
    let passed = safe(shown, usize::MAX);
    assert_eq!(safe(shown, usize::from(cut).max(1)), passed);
    assert_eq!(safe(&passed, usize::MAX), passed);
    let mut lines = screen::Lines::default();
    shown.chunks(usize::from(cut).max(1)).for_each(|piece| drop(lines.feed(piece)));
    assert!(lines.current().chars().count() <= 4_096);
}

#[cfg(test)]
mod tests {
    use xtask::fuzz::replay;

    use super::*;

    #[test]
    fn recordings_of_strangers_are_replayed() {
        assert!(replay("recording", recording).unwrap() > 1);
        assert!(replay("recording_lines", recording_lines).unwrap() > 1);
    }

    #[test]
    fn screens_of_strangers_are_replayed() {
        assert!(replay("screen", screen).unwrap() > 1);
    }
}
