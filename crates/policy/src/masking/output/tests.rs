use model::classes::{Mask, Masking, Seen};
use proptest::prelude::*;

use super::*;
use crate::{detect::Detectors, masking::MASK_KEY_BYTES};

fn net(mask: Mask) -> Arc<Net> {
    let masking = Masking { mask, length: Seen::Hidden, nulls: Seen::Shown };
    let entities = [Entity::Email, Entity::Card, Entity::UsSsn, Entity::PrivateKey];
    let named = entities.iter().map(|entity| (*entity, entity.name().parse().unwrap(), masking)).collect();
    Wanted::new(Detectors::new(&entities), named).ready(&MaskKeys::new(Some([5; MASK_KEY_BYTES].into())))
}

fn mask(strict: bool) -> OutputMask {
    OutputMask::new(net(Mask::KeepDomain), strict)
}

/// What is shown of pieces that follow each other without a pause.
fn shown<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let (mut mask, mut out) = (mask(false), Vec::new());
    for piece in pieces {
        mask.push(piece, &mut out);
    }
    mask.finish(&mut out);
    assert!(!mask.holds());
    String::from_utf8(out).unwrap()
}

#[test]
fn values_are_masked_and_everything_else_is_as_it_was() {
    let table = [
        ("to ann@example.com.\r\n", "to ***@example.com.\r\n"),
        ("nothing", "nothing"),
        ("\x1b[1mann@example.com\x1b[0m x", "\x1b[1m***@example.com\x1b[0m x"),
        // As `grep --color` shows what it found.
        ("a ann\x1b[01;31m\x1b[K@\x1b[m\x1b[Kexample.com b", "a ***@example.com\x1b[01;31m\x1b[K\x1b[m\x1b[K b"),
        ("4111\x1b[C1111\x1b[C1111\x1b[1C1111 x", "********\x1b[C\x1b[C\x1b[1C x"),
        // Two fields of a screen are not one value.
        ("4111\x1b[5;9H1111 1111 1111", "4111\x1b[5;9H1111 1111 1111"),
        ("\x1b]0;mail from ann@example.com\x07$ ", "\x1b]0;mail from ***@example.com\x07$ "),
        ("\x1b]52;c;YQ==\x1b\\$ ", "\x1b]52;c;YQ==\x1b\\$ "),
        ("\x1b(B\x1b[?2004h$ \x1b[?2004l", "\x1b(B\x1b[?2004h$ \x1b[?2004l"),
        ("日本 ann@example.com 語", "日本 ***@example.com 語"),
        ("\x08\x00\x1b", "\x08\x00\x1b"),
    ];
    for (text, expected) in table {
        assert_eq!(shown([text.as_bytes()]), expected, "{text:?}");
    }
}

#[test]
fn a_long_stream_holds_little_and_loses_nothing() {
    let line = b"2026-11-30 10:00:00 order 5 of ann@example.com is \x1b[32mready\x1b[0m\r\n";
    let (mut mask, mut out, mut most) = (mask(false), Vec::new(), 0);
    for _ in 0..20_000 {
        mask.push(line, &mut out);
        most = most.max(mask.held_bytes);
    }
    mask.finish(&mut out);
    let expected = String::from_utf8_lossy(line).replace("ann@", "***@").repeat(20_000);
    assert!(String::from_utf8(out).unwrap() == expected && most < 64 << 10, "{most}");
    assert_eq!(mask.masked().collect::<Vec<_>>(), ["email"]);
}

/// Nobody makes the gateway hold all of a stream: not by a key that never ends, nor by a sequence that does not.
#[test]
fn what_never_ends_is_not_held_for_ever() {
    for endless in [&b"-----BEGIN OPENSSH PRIVATE KEY-----\r\n"[..], b"\x1b]0;", b"\x1b["] {
        let (mut mask, mut out) = (mask(true), Vec::new());
        mask.push(endless, &mut out);
        for _ in 0..5_000 {
            mask.push(&[b"QUJD".repeat(256).as_slice(), b"\r\n"].concat(), &mut out);
            assert!(mask.held_bytes <= MAX_HELD_BYTES + 4_096);
        }
        mask.finish(&mut out);
        assert!(!mask.holds());
    }
}

#[test]
fn after_a_pause_what_is_whole_is_masked_and_the_rest_is_shown() {
    let (mut mask, mut out) = (mask(false), Vec::new());
    mask.push(b"$ ", &mut out);
    assert!(out.is_empty() && mask.holds());
    mask.idle(&mut out);
    assert_eq!(std::mem::take(&mut out), b"$ ");
    mask.push(b"ann@example.com and 4111 1111", &mut out);
    mask.idle(&mut out);
    assert_eq!(std::mem::take(&mut out), b"***@example.com and 4111 1111");
    // What was shown of a value is shown; what follows of it is not.
    mask.push(b" 1111 1111 x\r\n", &mut out);
    mask.idle(&mut out);
    assert_eq!(std::mem::take(&mut out), b" x\r\n");
    mask.push(b"\x1b[3", &mut out);
    mask.idle(&mut out);
    mask.push(b"1mred", &mut out);
    mask.finish(&mut out);
    assert_eq!(out, b"\x1b[31mred");
}

#[test]
fn strict_shows_no_beginning_of_a_value() {
    let (mut mask, mut out) = (mask(true), Vec::new());
    for (piece, expected) in [
        ("card 4111 1111", "card "),
        (" 1111 1111", ""),
        (" x\r\n", "******** x\r\n"),
        ("mail ann", "mail "),
        ("@example.com", ""),
        (" ", "***@example.com "),
        ("Password:", "Password:"),
        ("alice@web1:~$ ", "alice@web1:~$ "),
        ("l", "l"),
    ] {
        mask.push(piece.as_bytes(), &mut out);
        mask.idle(&mut out);
        assert_eq!(String::from_utf8(std::mem::take(&mut out)).unwrap(), expected, "{piece:?}");
    }
    mask.finish(&mut out);
    assert!(out.is_empty() && !mask.holds());
}

/// Parts of streams, those that detectors and the reader of sequences look at among them.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "ann@example.com",
        "4111 1111 1111 1111",
        "536-90-4399",
        "ssn: ",
        "\x1b[31m",
        "\x1b[K",
        "\x1b[C",
        "\x1b[4;2H",
        "\x1b]0;t\x07",
        "\x1b",
        "\x1bP1",
        "\x1b\\",
        "\r\n",
        " ",
        "4",
        "@",
        "日",
        "\x08",
        "x",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
    ]);
    prop_oneof![8 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..20)]
}

proptest! {
    #[test]
    fn the_same_comes_out_however_a_stream_is_cut(parts in prop::collection::vec(part(), 0..40), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let whole = parts.concat();
        let run = |pieces: &[&[u8]]| {
            let (mut mask, mut out) = (mask(false), Vec::new());
            for piece in pieces {
                mask.push(piece, &mut out);
            }
            mask.finish(&mut out);
            out
        };
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        places.extend([0, whole.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
        prop_assert_eq!(run(&[&whole]), run(&pieces));
    }

    /// With pauses, nothing is lost or doubled where nothing is found.
    #[test]
    fn pauses_lose_nothing(parts in prop::collection::vec("[a-z \r\n\x1b\\[\\]m0-9;C]{0,12}", 0..30), strict: bool) {
        let (mut mask, mut out) = (mask(strict), Vec::new());
        for part in &parts {
            mask.push(part.as_bytes(), &mut out);
            mask.idle(&mut out);
        }
        mask.finish(&mut out);
        prop_assert!(mask.masked().next().is_some() || String::from_utf8_lossy(&out) == parts.concat());
    }
}
