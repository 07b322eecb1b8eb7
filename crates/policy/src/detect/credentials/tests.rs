use super::super::format::{Alphabet, assigned, matches};
use super::super::{Detectors, Entity, Finding, Hints};
use super::*;

/// Formats whose examples may be found under the other's name, since one form includes the other.
const EQUAL: &[(&str, &str)] = &[];

/// An example of a format, made and never written out, so that no scanner of repositories takes it for a leak. The same seed makes the same.
pub(crate) fn example(format: &Format, seed: u64) -> String {
    let mut dice = Dice(seed ^ format.name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)));
    for _ in 0..10_000 {
        let token = attempt(format, &mut dice);
        if matches(format, token.as_bytes(), 0) == Some(token.len()) {
            return token;
        }
    }
    panic!("{}: no example in ten thousand attempts", format.name);
}

fn attempt(format: &Format, dice: &mut Dice) -> String {
    let mut token = format.prefix.to_owned();
    for piece in format.body {
        match *piece {
            Text(text) => token.push_str(text),
            Secret => {}
            Run(alphabet, least, most) => token.extend(run(alphabet, usize::from(least), usize::from(most), dice)),
        }
    }
    match format.check {
        GithubCrc32 => with_checksum(&token),
        Marked(at, mark) => {
            let at = format.prefix.len() + usize::from(at);
            token.replace_range(at - 4..at + mark.len(), &format!("ab{}8{mark}", dice.below(10)));
            token
        }
        Check::None | Entropy(_) | Mixed(_) => token,
    }
}

/// As most are: the `=` of base 64 is no part of its inside, and a run begins with a letter and a digit and ends with one of both. What begins
/// with a digit and then punctuation may be passed over as a number, and what has no digit as a word.
fn run(alphabet: Alphabet, least: usize, most: usize, dice: &mut Dice) -> Vec<char> {
    let bytes: Vec<char> = (0..128).filter(|byte| alphabet.has(*byte) && (*byte != b'=' || alphabet == Assign)).map(char::from).collect();
    let ends: Vec<char> = bytes.iter().copied().filter(char::is_ascii_alphanumeric).collect();
    let begins: Vec<char> = ends.iter().copied().filter(char::is_ascii_alphabetic).collect();
    let digits: Vec<char> = ends.iter().copied().filter(char::is_ascii_digit).collect();
    let length = least + dice.below(most.min(least + 20) - least + 1);
    let pick = |index: usize, dice: &mut Dice| {
        let from = match index {
            0 if !begins.is_empty() => &begins,
            1 if !digits.is_empty() => &digits,
            _ if index + 1 == length && !ends.is_empty() => &ends,
            _ => &bytes,
        };
        from[dice.below(from.len())]
    };
    (0..length).map(|index| pick(index, dice)).collect()
}

/// The random part of a GitHub token and its checksum in base 62.
fn with_checksum(token: &str) -> String {
    let random = &token[4..token.len() - 6];
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    let crc = !random.bytes().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)));
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let sum: String = (0..6).rev().map(|place| digits[(crc / 62_u32.pow(place) % 62) as usize]).collect();
    format!("{}{random}{sum}", &token[..4])
}

/// The generator of Marsaglia, "Xorshift RNGs" (2003), with the multiplication of Vigna (2016).
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % count
    }
}

fn scan(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    Detectors::new(&[Entity::Credential]).scan(text.as_bytes(), Hints::NONE, &mut found);
    found
}

fn same(found: &str, wanted: &str) -> bool {
    found == wanted || EQUAL.iter().any(|(one, other)| (*one, *other) == (found, wanted) || (*other, *one) == (found, wanted))
}

/// What went wrong with a token that should be found in a text, if anything.
fn trouble(format: &Format, text: &str, token: &str) -> Option<String> {
    let from = text.rfind(token)?;
    let start = assigned(format, text.as_bytes(), from).unwrap_or(from) as u64;
    let end = (from + token.len()) as u64;
    let found = scan(text);
    let right = found.iter().any(|finding| same(finding.rule, format.name) && finding.start == start && finding.end == end);
    let names: Vec<_> = found.iter().map(|finding| (finding.rule, finding.start, finding.end)).collect();
    (!right).then(|| format!("{}: {names:?} instead of {start}..{end} in {text}", format.name))
}

fn none(troubles: Vec<String>) {
    assert!(troubles.is_empty(), "{} of them:\n{}", troubles.len(), troubles.join("\n"));
}

#[test]
fn every_format_is_found_by_its_name() {
    let mut troubles = Vec::new();
    for format in FORMATS {
        for seed in 1..=3 {
            let token = example(format, seed);
            let word = format.near.first().copied().unwrap_or("is");
            troubles.extend(trouble(format, &format!("{word}: {token}"), &token));
            troubles.extend(trouble(format, &format!("the {word} \"{token}\", and more"), &token));
        }
    }
    none(troubles);
}

/// In a shell's environment, a header and a JSON document.
#[test]
fn every_word_that_must_be_near_is_heard_however_it_is_spelled() {
    let mut troubles = Vec::new();
    for format in FORMATS {
        let token = example(format, 7);
        for word in format.near {
            let camel: String = word
                .split(' ')
                .enumerate()
                .map(|(index, part)| if index == 0 { part.to_owned() } else { part[..1].to_uppercase() + &part[1..] })
                .collect();
            for text in [
                format!("{}={token}", word.to_uppercase().replace(' ', "_")),
                format!("{}: {token}", word.replace(' ', "-")),
                format!("{{\"{camel}\": \"{token}\"}}"),
            ] {
                let found = scan(&text);
                if found.is_empty() {
                    troubles.push(format!("{}: nothing in {text}", format.name));
                }
            }
        }
    }
    none(troubles);
}

#[test]
fn without_the_word_a_weak_form_is_nothing() {
    let mut troubles = Vec::new();
    for format in FORMATS.iter().filter(|format| !format.near.is_empty()) {
        let token = example(format, 11);
        let found = scan(&format!("see {token} there"));
        troubles.extend(found.iter().filter(|finding| finding.rule == format.name).map(|finding| format!("{} in {token}", finding.rule)));
    }
    none(troubles);
}

#[test]
fn a_token_that_goes_on_is_another_thing() {
    let mut troubles = Vec::new();
    for format in FORMATS.iter().filter(|format| format.near.is_empty()) {
        let (Some(Run(Alphabet::Alnum | Alphabet::HexLower, least, most)), Check::None) = (format.body.last().copied(), format.check) else {
            continue;
        };
        if least == most {
            let token = example(format, 13);
            let found = scan(&format!("{token}0"));
            troubles.extend(found.iter().filter(|finding| finding.rule == format.name).map(|finding| format!("{} in {token}0", finding.rule)));
        }
    }
    none(troubles);
}

#[test]
fn cut_in_two_anywhere_a_text_holds_the_same() {
    let detectors = Detectors::new(&[Entity::Credential]);
    for format in FORMATS {
        let text = format!("{}={}\n", format.near.first().copied().unwrap_or("so"), example(format, 17));
        let whole = scan(&text);
        for cut in (0..text.len()).step_by(5) {
            let mut found = Vec::new();
            let mut stream = detectors.stream(Hints::NONE);
            stream.feed(&text.as_bytes()[..cut], &mut found);
            stream.feed(&text.as_bytes()[cut..], &mut found);
            stream.finish(&mut found);
            assert_eq!(found, whole, "{text} at {cut}");
        }
    }
}

#[test]
fn prefixes_are_long_enough_or_words_must_be_near() {
    for format in FORMATS {
        assert!(format.prefix.len() >= 2 || (format.prefix.is_empty() && !format.near.is_empty()), "{}", format.name);
        assert!(format.prefix.is_empty() || format.prefix.bytes().any(|byte| byte.is_ascii_alphanumeric()), "{}", format.name);
        assert!(!format.body.is_empty(), "{}", format.name);
    }
}

/// A short prefix needs a long or a checked body, or a word near it.
#[test]
fn no_form_is_weak_by_itself() {
    for format in FORMATS.iter().filter(|format| format.near.is_empty()) {
        let least: usize = format.prefix.len() + format.body.iter().map(|piece| least(*piece)).sum::<usize>();
        assert!(least >= 18 || format.check != Check::None, "{}: {least} bytes and no check", format.name);
    }
}

fn least(piece: Piece) -> usize {
    match piece {
        Text(text) => text.len(),
        Secret => 0,
        Run(_, least, _) => usize::from(least),
    }
}

#[test]
fn names_are_unique_and_kebab_case() {
    let mut names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
    for name in &names {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'), "{name}");
    }
    names.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}

#[test]
fn words_that_must_be_near_are_lower_case() {
    for format in FORMATS {
        for word in format.near {
            assert!(
                word.split(' ').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())),
                "{word}"
            );
        }
    }
}

/// A run gives nothing back, so what follows must not begin with a byte that it takes.
#[test]
fn no_run_eats_what_follows_it() {
    for format in FORMATS {
        for pair in format.body.windows(2) {
            let Run(alphabet, least, most) = pair[0] else { continue };
            if least == most {
                continue;
            }
            match pair[1] {
                Secret => {}
                Text(text) => assert!(!alphabet.has(text.as_bytes()[0]), "{}", format.name),
                Run(next, least, _) => assert!(
                    alphabet == Assign || !(0..128).any(|byte| alphabet.has(byte) && next.has(byte)),
                    "{}: runs overlap ({least})",
                    format.name
                ),
            }
        }
    }
}

#[test]
fn there_are_as_many_formats_as_promised() {
    let mut providers: Vec<_> = FORMATS.iter().filter_map(|format| format.name.split('-').next()).collect();
    providers.sort_unstable();
    providers.dedup();
    assert!(FORMATS.len() >= 600, "{}", FORMATS.len());
    assert!(providers.len() >= 250, "{}", providers.len());
}

/// Where the match of a connection string ends: the host is no secret.
#[test]
fn a_login_in_a_url_ends_at_the_host() {
    let text = format!("see postgres://app:{}{}@db.example.com:5432/shop now", "s3", "cret");
    let found = scan(&text);
    assert_eq!(found.len(), 1);
    assert_eq!(&text[found[0].start as usize..found[0].end as usize], format!("postgres://app:{}{}@", "s3", "cret"));
}

#[test]
fn a_value_assigned_to_a_telling_name_is_found() {
    let secret = ["Tr0ub", "4dor-9"].concat();
    for text in [
        format!("DB_PASSWORD={secret}"),
        format!("password: {secret}"),
        format!("\"password\": \"{secret}\""),
        format!("{{\\\"password\\\":\\\"{secret}\\\"}}"),
        format!("'Password' => '{secret}'"),
        format!("Server=db;Uid=sa;Password={secret};Database=x"),
        format!("jdbc:postgresql://db/shop?user=app&password={secret}"),
    ] {
        let found = scan(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(text[found[0].start as usize..found[0].end as usize].starts_with(&secret), "{text}: {found:?}");
        assert!(found[0].rule.starts_with("generic-password") && !found[0].checked, "{text}: {found:?}");
    }
}

/// What is like a credential and is none.
const INNOCENT: &[&str] = &[
    "",
    "The quick brown fox jumps over the lazy dog.",
    // Identifiers.
    "550e8400-e29b-41d4-a716-446655440000",
    "id: 6ba7b810-9dad-11d1-80b4-00c04fd430c8, parent: 6ba7b811-9dad-11d1-80b4-00c04fd430c8",
    "trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "Merge 89e6c98d92887913cadf06b2adb97f26cde4849b into main (#1234)",
    "md5 d41d8cd98f00b204e9800998ecf8427e",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
    "ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
    "docker.io/library/postgres@sha256:4c1e7c0a9f3b8d2e5a6f7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "507f1f77bcf86cd799439011",
    "arn:aws:iam::123456789012:role/service-role/AWSLambdaBasicExecutionRole",
    "order ORD-2024-000123-ABCDEF, tracking 1Z999AA10123456784",
    "datadog trace 4bf92f3577b34da6a3ce929d0e0e4736",
    "heroku release 550e8400-e29b-41d4-a716-446655440000",
    "snyk project 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "twilio message SM1234",
    "mailgun id 20240101.1.ABCDEF0123456789@example.com",
    // Images, fonts and other base64.
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
    "data:font/woff2;base64,d09GMgABAAAAAAIkAAoAAAAABVwAAAHcAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABmAAgkIKgUCBPgE2AiQDCAsGAAQgBYdmBzYb",
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwSExIQEw8QEBD/",
    "SGVsbG8gd29ybGQsIHRoaXMgaXMgYSBsb25nIGJhc2U2NCB0ZXh0IHRoYXQgaXMgbm8gc2VjcmV0IGF0IGFsbC4=",
    // Code and style sheets.
    "sk_scan_keys(sk_buffer, sk_test_buffer_size_in_bytes)",
    "int sk_live_objects = 0; sk_test_case_number_one_hundred();",
    "let pk_column = table.pk_name; re_compile(re_pattern_with_a_long_name)",
    "whsec_header_name_is_not_a_secret_value_at_all",
    "fn api_key_header() -> HeaderName; const API_KEY_HEADER: &str = \"x-api-key\";",
    "class=\"sk-circle sk-circle-fade-delay sk-proj-card-header-large-with-a-very-long-class-name-indeed\"",
    ".glrt-container-with-very-long-class-name { color: red }",
    "sq_attribute sqp_project squ_user sqa_admin",
    "hf_hub_download(repo_id, filename)",
    "npm_config_registry npm_lifecycle_event npm_package_version",
    "pul-left pul-right pull-request-review-comment-thread-container",
    "shpat_name shpca_name cs_application_form_code_name ck_editor_toolbar_configuration",
    "secret_santa_list_of_all_the_people_who_work_here_this_year",
    "dapi_version dose_of_medicine",
    "pat.match(expression) key.value sl.listen(port)",
    "live_stream_title_of_the_day test_number_one_of_the_long_test_suite",
    "AC_CONFIG_FILES AC_CHECK_FUNCS SK_BUFFER",
    "EAAACCOUNTNAME AKIAZONE ASIAPACIFIC",
    "xoxo-hugs-and-kisses",
    "import { apiKey } from './config'; const client = new Client({ apiKey });",
    "password: String, passwordConfirmation: String",
    "password VARCHAR(255) NOT NULL, password_hash TEXT, secret: text",
    "password = os.environ['DB_PASSWORD_1']",
    "password: ${DB_PASSWORD_1}",
    "password={{ vault_password_1 }}",
    "\"password\": \"<your password 1>\"",
    "api_key = getenv(\"OPENAI_API_KEY_2\")",
    "secret: null, password: true, api_key: undefined",
    "Password must have 8 to 64 characters, a digit and a letter.",
    "password_reset_at: 2024-01-01T00:00:00Z, password_version: 12",
    "Forgot your password? Reset it at https://example.com/reset/2024",
    "secret ballot results for district 1234567890",
    "Authorization: Basic <credentials>",
    "Authorization: Bearer <token>",
    "Basic internationalization and Bearer of good tidings in the year 2024",
    // Addresses.
    "https://example.com:8443/path?x=1",
    "https://user@example.com/repository.git",
    "postgres://db.example.com:5432/shop",
    "postgres://app@db.example.com:5432/shop",
    "postgres://${USER}:${PASSWORD}@db.example.com/shop",
    "mongodb://localhost:27017,localhost:27018/?replicaSet=rs0",
    "redis://localhost:6379/0",
    "ftp://ftp.example.com/pub/file@2.tar.gz",
    "https://medium.com/@someone/a-long-article-about-something-1234567890ab",
    "https://cdn.example.com/assets/index-4f3c2b1a09e8d7c6.js?v=20240101",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PLrAXtmErZgOeiKm4sgNOknGvNjby9efdf",
    "mailto:someone@example.com?subject=password%20reset",
    "https://github.com/rust-lang/rust/commit/3f786850e387550fdab836ed7e6dc881de23001b",
    "s3://bucket/prefix/2024/01/01/part-00000-3f786850-e387-550f-dab8-36ed7e6dc881-c000.snappy.parquet",
    // Keys that are public, and placeholders.
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0X9f3l8Qm2n4vU1k7yTgq0Zb5cR8wXe6sVhPjLd2aM someone@host",
    "AKIAYYYYYYYYYYYYYYYY",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "API_KEY=your-api-key-here",
    "AWS_SECRET_ACCESS_KEY=****************************************",
    "xoxb-your-token-here",
    "token-based authentication, pat- and sat-exams, kubeconfig-file",
    "version 1.0.0-beta.12+build.4567, t1.micro, p.example, s.example, 0.5 of it",
    "CVE-2024-12345, RFC 7519, ISO 8601: 2024-01-01T12:34:56.789Z",
    "GR1348 is a flight; SCW is a code; EXO is a planet; hvs.example.org is a host",
];

#[test]
fn what_is_no_credential_is_not_found() {
    assert!(INNOCENT.len() >= 80, "{}", INNOCENT.len());
    none(INNOCENT.iter().filter(|text| !scan(text).is_empty()).map(|text| format!("{:?} in {text}", scan(text))).collect());
}
