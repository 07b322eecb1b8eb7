//! No secret stands in clear in any byte of the data directory, or of the schema on a server.

use std::path::Path;

use evidence::record::{AskedOutcome, Parameter};
use model::{Action, Secret};

use super::fixtures::{Place, Script, add_user, at, facts, name, on_both, token};

on_both! {
    web_16_no_secret_is_in_any_byte_of_the_store,
}

const PASSWORD: &str = "a password of alice";
const STORED: &str = "the password of prod-pg";
const REPLACED: &str = "the former password of prod-pg";
const DELETED: &str = "the password of a target that is gone";
const LITERAL: &str = "literal.value@example.com";
const PARAMETER: &str = "parameter.value@example.com";
const ERROR: &str = "bob@example.com";

/// Every file below a directory, with its bytes.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn holders<'a>(files: &'a [(String, Vec<u8>)], needle: &str) -> Vec<&'a str> {
    let bytes = needle.as_bytes();
    let hex = crate::secrets::hex(bytes);
    let holds = |file: &&(String, Vec<u8>)| [bytes, hex.as_bytes()].iter().any(|needle| file.1.windows(needle.len()).any(|window| window == *needle));
    files.iter().filter(holds).map(|(path, _)| path.as_str()).collect()
}

/// WEB-16 and NEAR-11: after minting, hashing, storing, replacing, deleting, recording and indexing, with the process alive (logs not folded in) and after it ended.
async fn web_16_no_secret_is_in_any_byte_of_the_store(place: Place) {
    let store = place.open().await;
    add_user(&store, 1, "alice").await;
    let hash = identity::password::hash(&Secret::from(PASSWORD.to_owned())).unwrap();
    store.state().set_password_hash(&name("alice"), Some(&hash)).await.unwrap();
    let (row, digest, text) = token(1, "alice");
    store.state().add_token(&row, &digest).await.unwrap();
    assert!(store.state().live_token(&digest, at(20)).await.unwrap().is_some());
    let put = async |secret: &str, under: &str| store.secrets().put(under, &Secret::from(secret.to_owned()), &name("alice"), at(1)).await.unwrap();
    put(REPLACED, "prod-pg").await;
    put(STORED, "prod-pg").await;
    put(DELETED, "gone").await;
    assert!(store.secrets().delete("gone").await.unwrap());
    let mut script = Script::new(1, "alice", None, "prod-pg", 100);
    let parameters = vec![Parameter::Text(PARAMETER.to_owned())];
    let statement = format!("SELECT * FROM customers WHERE email = '{LITERAL}' OR email = $1");
    let op = script.ask(&statement, facts(Action::Read, "customers", 1), AskedOutcome::Allowed, &[], parameters);
    script.answer(op, 0, Some("23505"));
    script.write(&store);
    store.indexer().catch_up().await.unwrap();
    let check = || {
        let mut files = files(place.directory());
        files.extend(place.dump().map(|dump| ("the server".to_owned(), dump)));
        for secret in [PASSWORD, STORED, REPLACED, DELETED, LITERAL, PARAMETER, ERROR, &text, &text[5..37]] {
            assert_eq!(holders(&files, secret), Vec::<&str>::new(), "{secret}");
        }
        assert!(
            !holders(&files, "nothing is hidden from this test").is_empty() || !holders(&files, "$argon2id$").is_empty(),
            "the search finds what is there"
        );
    };
    check();
    store.close().await;
    drop(store);
    check();
}
