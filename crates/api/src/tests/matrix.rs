//! Every route for every role: what each is answered, as it was looked over and committed in `access.txt`.

use std::fmt::Write;

use serde_json::json;

use super::{
    House,
    access::{body, filled},
    document::operations,
};

/// Whoever there is: somebody without a token, a workload with a token for connections, and people by what policy permits them.
const ROLES: [&str; 7] = ["nobody", "nightly", "mallory", "alice", "bob", "audrey", "admin"];
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/access.txt");

/// What ends access comes last: the token's, that of whom the others ask about, and, with a version that holds no policy, everybody's.
fn ends_something(path: &str) -> u8 {
    match path {
        "/v1/logout" => 1,
        "/v1/identities/{name}/revoke" | "/v1/token/revoke" => 2,
        "/v1/versions" => 3,
        _ => 0,
    }
}

/// What each is answered in a house of their own.
async fn answers(role: &str) -> Vec<((String, String), u16)> {
    let house = House::new().await;
    let mut asked: Vec<(String, String)> = operations().into_iter().collect();
    asked.sort_by_key(|(_, path)| ends_something(path));
    let mut token = token_of(&house, role).await;
    let mut answers = Vec::new();
    for (method, path) in asked {
        let ask = async |token: Option<&String>| house.ask(&method, &filled(&path), token.map(String::as_str), body(&method, &path)).await.0;
        let mut status = ask(token.as_ref()).await;
        // What was asked before ended the sign-in.
        if status == 401 && !matches!(role, "nobody" | "nightly") {
            token = token_of(&house, role).await;
            status = ask(token.as_ref()).await;
        }
        answers.push(((method, path), status));
    }
    answers.sort();
    answers
}

async fn token_of(house: &House, role: &str) -> Option<String> {
    match role {
        "nobody" => None,
        "nightly" => {
            let alice = house.login("alice").await;
            let wanted = json!({ "connections": ["prod-pg"], "subject": "nightly" });
            let minted = house.ask("POST", "/v1/tokens", Some(&alice), Some(wanted)).await.1;
            Some(minted["secret"].as_str().unwrap().to_owned())
        }
        person => Some(house.login(person).await),
    }
}

#[tokio::test]
async fn every_route_answers_every_role_as_the_matrix_says() {
    let mut columns = Vec::new();
    for role in ROLES {
        columns.push(answers(role).await);
    }
    let mut matrix = format!("{:<62}", "");
    ROLES.iter().for_each(|role| write!(matrix, "{role:>9}").unwrap());
    matrix.push('\n');
    for (row, ((method, path), _)) in columns[0].iter().enumerate() {
        write!(matrix, "{:<62}", format!("{method} {path}")).unwrap();
        columns.iter().for_each(|column| write!(matrix, "{:>9}", column[row].1).unwrap());
        matrix.push('\n');
    }
    if std::env::var_os("COUNTERSIGN_WRITE_OPENAPI").is_some() {
        std::fs::write(FILE, &matrix).unwrap();
    }
    let committed = std::fs::read_to_string(FILE).unwrap_or_default();
    let differs: Vec<(&str, &str)> = matrix.lines().zip(committed.lines()).filter(|(made, committed)| made != committed).collect();
    let hint = "look at each change, then run this test with COUNTERSIGN_WRITE_OPENAPI=1 and commit access.txt";
    assert!(differs.is_empty() && matrix.lines().count() == committed.lines().count(), "{hint}: {differs:#?}");
}
