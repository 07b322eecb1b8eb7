use super::examples::{EXAMPLES, unmark};
use super::*;

fn scan(entities: &[Entity], hint: &str, text: &[u8]) -> Vec<Finding> {
    let mut found = Vec::new();
    Detectors::new(entities).scan(text, Hints::of([hint]), &mut found);
    found
}

fn stream(entities: &[Entity], hint: &str, text: &[u8], sizes: &[usize]) -> Vec<Finding> {
    let detectors = Detectors::new(entities);
    let mut stream = detectors.stream(Hints::of([hint]));
    let (mut found, mut rest, mut sizes) = (Vec::new(), text, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        stream.feed(piece, &mut found);
        rest = more;
    }
    stream.finish(&mut found);
    found
}

/// What is wrong with a text, if anything is.
fn trouble(entity: Entity, hint: &str, text: &str) -> Option<String> {
    let (plain, marked) = unmark(text);
    let found: Vec<_> = scan(Entity::ALL, hint, plain.as_bytes()).into_iter().filter(|finding| finding.entity == entity).collect();
    let places: Vec<_> = found.iter().map(|finding| (finding.start as usize, finding.end as usize)).collect();
    let expected: Vec<_> = marked.into_iter().collect();
    (places != expected)
        .then(|| format!("{}: {plain:?}: found {:?}", entity.name(), places.iter().map(|(start, end)| &plain[*start..*end]).collect::<Vec<_>>()))
}

#[test]
fn each_entity_is_found_in_its_examples_and_not_in_others() {
    let texts = EXAMPLES.iter().flat_map(|of| of.found.iter().chain(of.other).map(|text| trouble(of.entity, of.hint, text)));
    let troubles: Vec<_> = texts.flatten().collect();
    assert!(troubles.is_empty(), "{}\n{}", troubles.len(), troubles.join("\n"));
}

/// The examples of all entities, one after the other.
fn corpus() -> String {
    let lines = EXAMPLES.iter().flat_map(|of| of.found.iter().chain(of.other).map(|text| unmark(text).0));
    lines.map(|line| line + "\n").collect()
}

#[test]
fn a_subset_finds_only_its_own() {
    let corpus = corpus();
    for entity in Entity::ALL {
        let found = scan(&[*entity], "", corpus.as_bytes());
        assert!(found.iter().all(|finding| finding.entity == *entity), "{}", entity.name());
        let of_all = scan(Entity::ALL, "", corpus.as_bytes()).into_iter().filter(|finding| finding.entity == *entity).count();
        assert!(found.len() >= of_all, "{}: {} of {of_all}", entity.name(), found.len());
    }
    assert!(scan(&[], "ssn", corpus.as_bytes()).is_empty());
}

#[test]
fn findings_are_in_order_and_apart() {
    let found = scan(Entity::ALL, "", corpus().as_bytes());
    assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert!(found.iter().all(|finding| finding.start < finding.end));
    let mut twice = found.clone();
    Detectors::new(Entity::ALL).scan(b"jane@example.com", Hints::NONE, &mut twice);
    assert_eq!(twice.len(), found.len() + 1);
    assert_eq!(twice[..found.len()], found);
}

#[test]
fn a_stream_finds_the_same_for_every_cut_of_each_example() {
    for of in EXAMPLES {
        for text in of.found.iter().chain(of.other) {
            let (text, _) = unmark(text);
            let whole = scan(Entity::ALL, of.hint, text.as_bytes());
            for cut in 1..text.len().max(2) {
                assert_eq!(stream(Entity::ALL, of.hint, text.as_bytes(), &[cut, usize::MAX]), whole, "{text:?} cut at {cut}");
            }
        }
    }
}

/// Long enough that the stream forgets bytes and stops before its last ones: what short examples never make it do.
#[test]
fn a_stream_finds_the_same_for_every_size_of_pieces_of_a_long_text() {
    let text = corpus().repeat(3);
    let whole = scan(Entity::ALL, "", text.as_bytes());
    for size in (1..80).chain([100, 511, 512, 1000, 4095, 4096, 4097, 16_383, 16_384, 16_385, 50_000]) {
        let found = stream(Entity::ALL, "", text.as_bytes(), &[size]);
        let different = found.iter().zip(&whole).find(|(found, whole)| found != whole);
        assert_eq!(different, None, "pieces of {size}");
        assert_eq!(found.len(), whole.len(), "pieces of {size}");
    }
}

#[test]
fn a_key_longer_than_any_window_is_found_whole() {
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2\n";
    let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{}-----END RSA PRIVATE KEY-----", line.repeat(300));
    let jwt = format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0{}.{}", "A".repeat(20_000), "b".repeat(9_000));
    let text = format!("before\n{key}\nbetween {jwt} jane@example.com");
    let whole = scan(Entity::ALL, "", text.as_bytes());
    let lengths: Vec<_> = whole.iter().map(|finding| (finding.entity, (finding.end - finding.start) as usize)).collect();
    assert_eq!(lengths, [(Entity::PrivateKey, key.len()), (Entity::Jwt, jwt.len()), (Entity::Email, 16)]);
    for size in [1, 7, 1000, 5000, 20_000] {
        assert_eq!(stream(Entity::ALL, "", text.as_bytes(), &[size]), whole, "pieces of {size}");
    }
}

#[test]
fn a_stream_finds_the_same_credentials() {
    let formats = credentials::FORMATS;
    let lines = formats.iter().map(|format| format!("{} {}\n", format.near.first().unwrap_or(&"see"), credentials::tests::example(format, 7)));
    let text: String = lines.collect();
    let whole = scan(Entity::ALL, "", text.as_bytes());
    assert!(whole.len() >= formats.len() * 9 / 10, "{} of {}", whole.len(), formats.len());
    for size in [1, 2, 3, 5, 17, 64, 65, 1000, 4096, 30_000] {
        assert_eq!(stream(Entity::ALL, "", text.as_bytes(), &[size]), whole, "pieces of {size}");
    }
}

/// Texts made to be slow. The work counted is every byte a rule looks at beyond the one look of the pass itself.
#[test]
fn the_work_stays_in_proportion_to_the_text() {
    let hostile = [
        "@",
        "a@",
        "a@a.",
        "1",
        "12 ",
        "1 ",
        "1-",
        "1.",
        "1:",
        "1:1:1:",
        "a:",
        "::",
        "1::",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n",
        "eyJ",
        "eyJ.",
        "eyJhbGciOiJIUzI1NiJ9.",
        "eyJhbGciOiJIUzI1NiJ9.eyJ",
        "PuTTY-User-Key-File-3:",
        "P<",
        "<",
        "\"",
        "\"a\"@",
        "AB12 ",
        "DE89 ",
        "DE89",
        "0x",
        "+",
        "+1 ",
        "(1) ",
        "ghp_",
        "sk-",
        "123456789 ",
        "ssn 123456789 ",
        "a1-",
        "a_",
        "a/",
        "12/",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ",
        "deadbeef-",
        "\\n",
        "\x1b[1m",
        "password=",
        "token: ",
        "é",
        "1é",
    ];
    for piece in hostile {
        let per_byte = |length: usize| {
            let text = piece.repeat(length / piece.len() + 1);
            classes::work::take();
            scan(Entity::ALL, "", &text.as_bytes()[..length]);
            classes::work::take() as f64 / length as f64
        };
        let (short, long) = (per_byte(8 * 1024), per_byte(64 * 1024));
        assert!(long < 150.0, "{piece:?}: {long} steps a byte");
        assert!(long <= short * 1.2 + 0.5, "{piece:?}: {short} steps a byte become {long}");
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let examples: Vec<String> = EXAMPLES.iter().flat_map(|of| of.found.iter().chain(of.other).map(|text| unmark(text).0)).collect();
        prop_oneof![
            4 => proptest::sample::select(examples).prop_map(String::into_bytes),
            2 => "[ \\n\\t,;:@./+(){}=<>\"'|_-]{1,4}".prop_map(String::into_bytes),
            2 => "[a-z ]{0,40}".prop_map(String::into_bytes),
            1 => proptest::sample::select(vec!["ssn ", "born ", "passport ", "phone: ", "aws secret ", "dl ", "card "]).prop_map(|word| word.as_bytes().to_vec()),
            1 => "[0-9 .:-]{0,30}".prop_map(String::into_bytes),
            1 => "[A-Za-z0-9+/]{0,400}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..30),
        ]
    }

    proptest! {
        #[test]
        fn a_stream_finds_what_a_scan_finds(pieces in proptest::collection::vec(pieces(), 0..300), sizes in proptest::collection::vec(1_usize..3000, 1..6), hint in proptest::sample::select(vec!["", "ssn", "phone", "dob", "passport"])) {
            let text = pieces.concat();
            let whole = scan(Entity::ALL, hint, &text);
            prop_assert!(whole.windows(2).all(|pair| pair[0].end <= pair[1].start));
            prop_assert_eq!(stream(Entity::ALL, hint, &text, &sizes), whole);
        }

        #[test]
        fn no_bytes_are_too_odd(text in proptest::collection::vec(any::<u8>(), 0..3000), sizes in proptest::collection::vec(1_usize..500, 1..4)) {
            prop_assert_eq!(stream(Entity::ALL, "ssn phone dob", &text, &sizes), scan(Entity::ALL, "ssn phone dob", &text));
        }
    }
}
