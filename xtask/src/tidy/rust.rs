//! Rules for Rust sources.

use std::path::Path;

use super::{Breach, File, arrows::crate_of, source::Source};

/// Lines of a file outside its tests before it is more than one subject.
const CODE_LINES_MAX: usize = 900;

/// Something that only some crates, or no crate but some, may say outside tests.
struct Rule {
    words: &'static [&'static str],
    applies: Applies,
    why: &'static str,
}

enum Applies {
    /// In these crates.
    In(&'static [&'static str]),
    /// In all crates but these.
    Except(&'static [&'static str]),
    /// In these crates, but not in files of this name.
    InBut(&'static [&'static str], &'static str),
}

const PURE: &[&str] = &["model", "protocol", "policy"];

const RULES: &[Rule] = &[
    Rule {
        words: &["std::net::TcpStream", "std::net::TcpListener", "std::net::UdpSocket", "ToSocketAddrs", "std::os::unix::net", "tokio"],
        applies: Applies::In(PURE),
        why: "protocol and policy touch no sockets and no runtime: bytes are parameters",
    },
    Rule {
        words: &["std::fs", "std::env", "std::process", "File::open", "std::io::stdin"],
        applies: Applies::In(PURE),
        why: "protocol and policy touch no files, environment or processes",
    },
    Rule {
        words: &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now", "now_v7"],
        applies: Applies::In(&["model", "protocol", "policy", "evidence"]),
        why: "the time is a parameter here",
    },
    Rule {
        words: &["SystemRandom", "rand::fill", "getrandom", "thread_rng", "new_v4"],
        applies: Applies::In(PURE),
        why: "randomness is a parameter here",
    },
    Rule {
        words: &["TcpStream", "TcpListener", "TcpSocket", "UdpSocket", "UnixStream", "UnixListener"],
        applies: Applies::Except(&["gateway", "api", "cli", "identity", "testkit"]),
        why: "sockets belong to gateway, api and cli",
    },
    Rule {
        words: &["TcpStream", "TcpListener", "TcpSocket", "UdpSocket", "UnixStream", "UnixListener", "lookup_host", "hyper::client"],
        applies: Applies::InBut(&["identity"], "fetch.rs"),
        why: "all that is fetched from elsewhere goes through the one client in fetch.rs, which looks where it leads",
    },
    Rule {
        words: &["TcpStream::connect", "TcpSocket", "UnixStream::connect"],
        applies: Applies::In(&["api"]),
        why: "api never opens a socket: targets are reached through gateway alone",
    },
    Rule { words: &["sqlx"], applies: Applies::Except(&["store"]), why: "store is the only crate that knows SQL" },
    Rule {
        words: &["from_be_bytes", "from_le_bytes", "get_u8", "get_u16", "get_u32", "get_i16", "get_i32", "get_i64", "bytes::Buf"],
        applies: Applies::InBut(&["protocol"], "reader.rs"),
        why: "reader.rs is the only reader of bytes",
    },
];

pub(super) fn check(file: &File, breaches: &mut Vec<Breach>) {
    let source = Source::read(&file.text, is_test_file(&file.path));
    let mut add = |line: usize, message: String| breaches.push(Breach { file: file.path.clone(), line, message });
    let code_lines = source.lines().filter(|(_, code, in_tests)| !in_tests && !code.trim().is_empty()).count();
    if code_lines > CODE_LINES_MAX {
        add(1, format!("{code_lines} lines of code are more than one subject; the limit is {CODE_LINES_MAX}"));
    }
    for attribute in ["allow", "expect"] {
        let unexplained = source.places(attribute).filter(|place| in_attribute(place.before) && !has_reason(place.after));
        for place in unexplained {
            add(place.line, format!("this {attribute} gives no reason: write {attribute}(lint, reason = \"...\")"));
        }
    }
    for place in source.places("#[ignore") {
        add(place.line, "a test that does not run tells nothing: mend it or remove it".to_owned());
    }
    for place in source.places("sleep").filter(|place| place.in_tests && place.after.starts_with('(')) {
        add(place.line, "tests wait for what they need, not for time to pass: no sleep".to_owned());
    }
    let Some(own) = crate_of(&file.path) else { return };
    let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    for rule in RULES.iter().filter(|rule| rule.applies.to(own, name)) {
        for word in rule.words {
            for place in source.places(word).filter(|place| !place.in_tests) {
                add(place.line, format!("{word} in {own}: {}", rule.why));
            }
        }
    }
}

impl Applies {
    fn to(&self, own: &str, file_name: &str) -> bool {
        match self {
            Self::In(crates) => crates.contains(&own),
            Self::Except(crates) => !crates.contains(&own),
            Self::InBut(crates, but) => crates.contains(&own) && file_name != *but,
        }
    }
}

/// Whether a whole file is test code: integration tests, and modules kept in a `tests` file or folder.
fn is_test_file(path: &Path) -> bool {
    path.iter().any(|part| part == "tests") || path.file_stem().is_some_and(|stem| stem == "tests")
}

fn in_attribute(before: &str) -> bool {
    let opened = before.rfind("#[").max(before.rfind("#!["));
    opened.and_then(|at| before.get(at..)).is_some_and(|since| !since.contains(']'))
}

fn has_reason(after: &str) -> bool {
    let arguments = after.split(')').next().unwrap_or_default();
    arguments.contains("reason")
}

#[cfg(test)]
mod tests {
    use super::super::breaches_of;

    fn count(path: &str, text: &str) -> usize {
        breaches_of(path, text).len()
    }

    #[test]
    fn pure_crates_name_no_clock_socket_file_or_randomness() {
        for text in [
            "use std::fs;",
            "let now = std::time::Instant::now();",
            "use std::time::SystemTime; fn f() { SystemTime::now(); }",
            "let id = Uuid::now_v7();",
            "aws_lc_rs::rand::fill(&mut nonce);",
            "use tokio::io;",
        ] {
            assert_eq!(count("crates/policy/src/decide.rs", text), 1, "{text}");
        }
        assert_eq!(count("crates/protocol/src/login.rs", "// std::fs\nlet a = \"std::fs\"; use std::net::IpAddr;"), 0);
        assert_eq!(count("crates/policy/src/a.rs", "#[cfg(test)]\nmod tests { fn a() { std::fs::read(\"x\"); } }"), 0, "tests may");
        assert_eq!(count("crates/cli/src/serve.rs", "std::fs::read(path)"), 0);
    }

    #[test]
    fn one_reader_of_bytes() {
        let text = "let length = u32::from_be_bytes(four);";
        assert_eq!(count("crates/protocol/src/postgres/message.rs", text), 1);
        assert_eq!(count("crates/protocol/src/reader.rs", text), 0);
        assert_eq!(count("crates/protocol/src/postgres/frame.rs", "buffer.get_i32()"), 1);
    }

    #[test]
    fn sockets_have_their_crates() {
        assert_eq!(count("crates/session/src/live.rs", "use tokio::net::TcpStream;"), 1);
        assert_eq!(count("crates/gateway/src/dial.rs", "TcpStream::connect(address).await"), 0);
        assert_eq!(count("crates/api/src/serve.rs", "let l: TcpListener; TcpStream::connect(target)"), 1);
    }

    #[test]
    fn an_allow_says_why() {
        assert_eq!(count("crates/cli/src/main.rs", "#[allow(dead_code)]\nfn a() {}"), 1);
        assert_eq!(count("crates/cli/src/main.rs", "#![allow(dead_code, reason = \"generated\")]"), 0);
        assert_eq!(count("crates/cli/src/main.rs", "rules.allow(x); option.expect(\"y\"); // #[allow(z)]"), 0);
    }

    #[test]
    fn tests_neither_sleep_nor_are_ignored() {
        assert_eq!(count("tests/tests/kill.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}"), 1);
        assert_eq!(count("tests/tests/kill.rs", "tokio::time::sleep(SECOND).await; sql(\"select pg_sleep(1)\")"), 1);
        assert_eq!(count("crates/gateway/src/relay.rs", "tokio::time::sleep(GRACE).await"), 0, "the product may wait");
        assert_eq!(count("crates/gateway/src/relay.rs", "#[cfg(test)]\nmod tests { fn a() { thread::sleep(b) } }"), 1);
    }

    #[test]
    fn a_file_is_one_subject() {
        assert_eq!(count("crates/api/src/a.rs", &"a();\n".repeat(super::CODE_LINES_MAX + 1)), 1);
        assert_eq!(count("crates/api/src/a.rs", &"// a\n".repeat(super::CODE_LINES_MAX + 1)), 0);
    }
}
