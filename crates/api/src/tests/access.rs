//! Every operation of the document, asked by nobody and by the wrong identity.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{House, document::operations, session_of_alice};
use crate::PUBLIC;

/// What nobody may ask for without a token. It only shrinks.
const FOR_EVERYBODY: [(&str, &str); 12] = [
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/v1/jwks"),
    ("GET", "/v1/openapi.json"),
    ("GET", "/v1/providers"),
    ("POST", "/v1/back-channel-logout"),
    ("POST", "/v1/login"),
    ("POST", "/v1/sign-in/browser"),
    ("POST", "/v1/sign-in/device"),
    ("POST", "/v1/sign-in/finish"),
    ("POST", "/v1/sign-in/poll"),
    ("POST", "/v1/token"),
    ("POST", "/v1/token/revoke"),
];

/// What those answer who have nothing to show: no sign-in, no provider, no logout.
fn nothing_to_show(path: &str) -> Option<u16> {
    match path {
        "/v1/login" | "/v1/sign-in/finish" | "/v1/sign-in/poll" => Some(401),
        "/v1/sign-in/browser" | "/v1/sign-in/device" | "/.well-known/oauth-authorization-server" => Some(404),
        "/v1/back-channel-logout" | "/v1/token" => Some(400),
        // Whether it was a token is not told.
        "/v1/token/revoke" => Some(200),
        _ => None,
    }
}

/// What every signed-in identity is answered, with what is its own: listings are empty of others' things, which the tests below look at.
const FOR_ANYBODY_SIGNED_IN: [(&str, &str); 18] = [
    ("GET", "/v1/connections"),
    ("GET", "/v1/holds"),
    ("GET", "/v1/identities"),
    ("GET", "/v1/jwks"),
    ("GET", "/v1/openapi.json"),
    ("GET", "/v1/providers"),
    ("GET", "/v1/requests"),
    ("GET", "/v1/roles"),
    ("GET", "/v1/search"),
    ("GET", "/v1/sessions"),
    ("GET", "/v1/status"),
    ("GET", "/v1/tail"),
    ("GET", "/v1/tokens"),
    ("GET", "/v1/who-touched"),
    ("GET", "/v1/whoami"),
    ("POST", "/v1/logout"),
    ("POST", "/v1/ssh/certificates"),
    ("POST", "/v1/token/introspect"),
];

/// A path with names in it that are somebody else's.
pub(super) fn filled(path: &str) -> String {
    let id = match path.split('/').nth(2) {
        Some("sessions") => session_of_alice().to_string(),
        Some("holds") => "h_000000000001".to_owned(),
        Some("requests") => "q_000000000001".to_owned(),
        Some("identities") if path.contains("/keys/") => "k_000000000001".to_owned(),
        Some("identities") => "r_000000000001".to_owned(),
        _ => "t_000000000001".to_owned(),
    };
    let path = path.replace("{id}", &id).replace("{connection}", "prod-pg").replace("{provider}", "idp");
    let path = if path.ends_with("/accounts") { path + "?provider=idp&subject=x" } else { path };
    let path = if path.starts_with("/v1/secrets") { path.replace("{name}", "prod") } else { path.replace("{name}", "alice") };
    match path.as_str() {
        "/v1/search" => path + "?q=select",
        "/v1/who-can" => path + "?action=read&on=prod-pg",
        "/v1/who-touched" => path + "?on=public.customers",
        _ => path,
    }
}

fn fresh_key() -> String {
    identity::ssh::fresh_key().unwrap().public_key().to_openssh().unwrap()
}

/// A body that makes sense, so that what refuses it is not its shape.
pub(super) fn body(method: &str, path: &str) -> Option<Value> {
    let body = match (method, path) {
        ("POST", "/v1/login") => json!({ "name": "mallory", "password": "wrong wrong wrong" }),
        ("POST", "/v1/sign-in/browser") => json!({ "provider": "idp", "redirect_uri": "http://127.0.0.1:1/callback" }),
        ("POST", "/v1/sign-in/device") => json!({ "provider": "idp" }),
        ("POST", "/v1/sign-in/finish") => json!({ "flow": "x", "state": "x", "code": "x" }),
        ("POST", "/v1/sign-in/poll") => json!({ "flow": "x" }),
        ("PUT", "/v1/identities/{name}/accounts") => json!({ "provider": "idp", "subject": "x" }),
        ("POST", "/v1/identities/{name}/trust") => json!({ "issuer": "ci", "claims": { "sub": "x" } }),
        ("POST", "/v1/identities/{name}/keys") => json!({ "public_key": "{}", "expires_in_s": 60 }),
        ("POST", "/v1/token/introspect" | "/v1/token/revoke") => json!("token=cs_c_00000000000000000000000000000000zb0vjh"),
        ("POST", "/v1/tokens") => json!({ "connections": ["prod-pg"] }),
        // A key is registered once: each is another.
        ("POST", "/v1/ssh/certificates") => json!({ "public_key": fresh_key() }),
        ("POST", "/v1/ssh/keys") => json!({ "public_key": fresh_key(), "subject": "alice" }),
        ("POST", "/v1/identities") => json!({ "name": "eve", "kind": "user", "password": "correct horse battery" }),
        ("PUT", "/v1/identities/{name}/owner") => json!({ "owner": "mallory" }),
        ("PUT", "/v1/identities/{name}/expiry") => json!({ "expires_in_s": 86_400 }),
        ("PUT", "/v1/identities/{name}/groups") => json!({ "groups": ["administrators"] }),
        ("PUT", "/v1/identities/{name}/password") => json!({ "password": "correct horse battery" }),
        ("POST", "/v1/identities/{name}/second-factor") => json!({ "current": "correct horse battery" }),
        ("PUT", "/v1/identities/{name}/second-factor") => json!({ "code": "000000" }),
        ("POST", "/v1/requests") => json!({ "connection": "prod-pg", "role": "writer", "window_s": 60, "reason": "x" }),
        ("POST", "/v1/requests/{id}/comment") => json!({ "text": "x" }),
        ("POST", "/v1/requests/{id}/end") => json!({}),
        ("POST", "/v1/holds/{id}/approve" | "/v1/requests/{id}/approve") => json!({ "digest": "00" }),
        ("POST", "/v1/holds/{id}/deny" | "/v1/requests/{id}/deny" | "/v1/sessions/{id}/kill" | "/v1/providers/{provider}/revoke") => {
            json!({ "reason": "x" })
        }
        ("POST", "/v1/holds/{id}/watching") => json!({}),
        ("POST", "/v1/versions") => json!({ "files": {} }),
        ("POST", "/v1/connections/{connection}/classify") => json!({ "rows": 1 }),
        ("POST", "/v1/explain-statement") => json!({ "connection": "prod-pg", "statement": "select 1" }),
        ("PUT", "/v1/secrets/{name}") => json!({ "value": "s" }),
        _ => return None,
    };
    Some(body)
}

#[tokio::test]
async fn nobody_is_answered_but_by_what_is_for_everybody() {
    let house = House::new().await;
    let mut answered = BTreeSet::new();
    for (method, path) in operations() {
        let (status, refusal) = house.ask(&method, &filled(&path), None, body(&method, &path)).await;
        if let Some(expected) = nothing_to_show(&path) {
            assert_eq!(status, expected, "{method} {path}: {refusal}");
            assert_ne!(refusal["message"].as_str(), Some("sign in first"), "{method} {path}");
            answered.insert((method, path));
        } else if status == 401 {
            assert_eq!(refusal["code"], "unauthenticated", "{method} {path}");
        } else {
            answered.insert((method, path));
        }
    }
    let answered: Vec<(&str, &str)> = answered.iter().map(|(method, path)| (method.as_str(), path.as_str())).collect();
    assert_eq!(answered, FOR_EVERYBODY);
    assert_eq!(BTreeSet::from(PUBLIC), BTreeSet::from(FOR_EVERYBODY));
}

#[tokio::test]
async fn the_wrong_identity_is_refused_everywhere_but_where_it_sees_only_its_own() {
    let house = House::new().await;
    let mut answered = BTreeSet::new();
    for (method, path) in operations() {
        if nothing_to_show(&path).is_some() {
            continue;
        }
        // Signing out comes in the middle: each is asked with a token of its own.
        let mallory = house.login("mallory").await;
        let (status, refusal) = house.ask(&method, &filled(&path), Some(&mallory), body(&method, &path)).await;
        match status {
            200 => drop(answered.insert((method, path))),
            403 => assert_eq!(refusal["code"], "forbidden", "{method} {path}"),
            404 => assert_eq!(refusal["code"], "not_found", "{method} {path}"),
            other => panic!("{method} {path}: {other} {refusal}"),
        }
    }
    let answered: Vec<(&str, &str)> = answered.iter().map(|(method, path)| (method.as_str(), path.as_str())).collect();
    assert_eq!(answered, FOR_ANYBODY_SIGNED_IN);
}

/// WEB-15: listings, searches and counts hold nothing of others.
#[tokio::test]
async fn web_15_listings_and_counts_hold_only_what_the_caller_may_see() {
    let house = House::new().await;
    let count = async |token: &str, path: &str, key: &str| house.ask("GET", path, Some(token), None).await.1[key].as_array().map(Vec::len);
    let live = async |token: &str| house.ask("GET", "/v1/status", Some(token), None).await.1["live_sessions"].as_u64();

    let mallory = house.login("mallory").await;
    assert_eq!(count(&mallory, "/v1/sessions", "sessions").await, Some(0));
    assert_eq!(count(&mallory, "/v1/sessions?identity=alice", "sessions").await, Some(0));
    assert_eq!(count(&mallory, "/v1/identities", "identities").await, Some(1));
    assert_eq!(count(&mallory, "/v1/tokens?all=true", "tokens").await, Some(1));
    assert_eq!(count(&mallory, "/v1/connections", "connections").await, Some(0));
    assert_eq!(live(&mallory).await, Some(0));

    let alice = house.login("alice").await;
    assert_eq!(count(&alice, "/v1/sessions", "sessions").await, Some(1));
    assert_eq!(count(&alice, "/v1/identities", "identities").await, Some(2), "herself and the workload she owns");
    assert_eq!(count(&alice, "/v1/connections", "connections").await, Some(1));
    assert_eq!(live(&alice).await, Some(1));

    let audrey = house.login("audrey").await;
    assert_eq!(count(&audrey, "/v1/sessions", "sessions").await, Some(1));
    assert_eq!(live(&audrey).await, Some(1));
}

/// WEB-09: a token for connections does not open the API, nor one that is cut, revoked or made up.
#[tokio::test]
async fn web_09_only_a_live_token_of_the_api_opens_the_api() {
    let house = House::new().await;
    let alice = house.login("alice").await;
    let (status, minted) = house.ask("POST", "/v1/tokens", Some(&alice), Some(json!({ "connections": ["prod-pg"] }))).await;
    assert_eq!(status, 200, "{minted}");
    let connect = minted["secret"].as_str().unwrap();
    assert!(connect.starts_with("cs_c_"));
    let cut = &alice[..alice.len() - 1];
    let made_up = alice.replace("cs_a_", "cs_c_");
    for token in [connect, cut, &made_up, super::PASSWORD, "", "x y"] {
        assert_eq!(house.ask("GET", "/v1/whoami", Some(token), None).await.0, 401, "{token}");
    }
    assert_eq!(house.ask("POST", "/v1/logout", Some(&alice), None).await.0, 200);
    assert_eq!(house.ask("GET", "/v1/whoami", Some(&alice), None).await.0, 401);
}

#[tokio::test]
async fn a_path_that_is_not_there_looks_to_nobody_like_one_that_is() {
    let house = House::new().await;
    let (there, not_there) = (house.ask("GET", "/v1/status", None, None).await, house.ask("GET", "/v1/nothing", None, None).await);
    assert_eq!(there, not_there);
    let alice = house.login("alice").await;
    assert_eq!(house.ask("GET", "/v1/nothing", Some(&alice), None).await.0, 404);
    assert_eq!(house.ask("DELETE", "/v1/status", Some(&alice), None).await.0, 404);
}

#[tokio::test]
async fn unknown_names_and_wrong_passwords_are_answered_alike() {
    let house = House::new().await;
    let wrong = json!({ "name": "alice", "password": "not her password" });
    let unknown = json!({ "name": "nemo", "password": "not her password" });
    assert_eq!(house.ask("POST", "/v1/login", None, Some(wrong)).await, house.ask("POST", "/v1/login", None, Some(unknown)).await);
}

#[tokio::test]
async fn an_unknown_connection_is_answered_with_a_near_one_the_caller_may_open() {
    let house = House::new().await;
    let alice = house.login("alice").await;
    let (status, refusal) = house.ask("POST", "/v1/tokens", Some(&alice), Some(json!({ "connections": ["prod-gp"] }))).await;
    assert_eq!(status, 404);
    assert!(refusal["message"].as_str().unwrap().contains("did you mean prod-pg?"), "{refusal}");
    let mallory = house.login("mallory").await;
    let (_, refusal) = house.ask("POST", "/v1/tokens", Some(&mallory), Some(json!({ "connections": ["prod-gp"] }))).await;
    assert!(!refusal["message"].as_str().unwrap().contains("prod-pg"), "{refusal}");
}

#[tokio::test]
async fn a_secret_goes_in_and_never_comes_out() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    assert_eq!(house.ask("PUT", "/v1/secrets/prod", Some(&admin), Some(json!({ "value": "hunter2hunter2" }))).await.0, 200);
    for path in ["/v1/secrets", "/v1/versions/current", "/v1/status"] {
        let (status, answer) = house.ask("GET", path, Some(&admin), None).await;
        assert_eq!(status, 200);
        assert!(!answer.to_string().contains("hunter2"), "{path}");
    }
    assert_eq!(house.ask("DELETE", "/v1/secrets/prod", Some(&admin), None).await.0, 200);
    assert_eq!(house.ask("DELETE", "/v1/secrets/prod", Some(&admin), None).await.0, 404);
    for name in ["..%2Fx", "a%20b", &"x".repeat(64)] {
        assert_eq!(house.ask("PUT", &format!("/v1/secrets/{name}"), Some(&admin), Some(json!({ "value": "s" }))).await.0, 400, "{name}");
    }
}

#[tokio::test]
async fn a_misspelt_restriction_is_not_read_as_none() {
    let house = House::new().await;
    let alice = house.login("alice").await;
    let misspelt = json!({ "connections": ["prod-pg"], "statment": "select 1" });
    let (status, refusal) = house.ask("POST", "/v1/tokens", Some(&alice), Some(misspelt)).await;
    assert_eq!((status, &refusal["code"]), (400, &json!("invalid")));
    assert_eq!(house.ask("GET", "/v1/tokens?al=true", Some(&alice), None).await.0, 400);
}

#[tokio::test]
async fn a_wrong_policy_is_refused_with_its_place_and_the_old_one_stays() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let before = house.ask("GET", "/v1/status", Some(&admin), None).await.1["version"]["hash"].clone();
    let files = json!({ "files": { "policy/a.cedar": "permit (principal, action, resource)" } });
    let (status, refusal) = house.ask("POST", "/v1/versions", Some(&admin), Some(files)).await;
    assert_eq!(status, 400);
    assert!(refusal["problems"][0].as_str().unwrap().starts_with("policy/a.cedar:1:"), "{refusal}");
    assert_eq!(house.ask("GET", "/v1/status", Some(&admin), None).await.1["version"]["hash"], before);
}

/// Reading a recording is itself recorded, before anything of it is shown.
#[tokio::test]
async fn reading_a_recording_is_a_recorded_event() {
    let house = House::new().await;
    let audrey = house.login("audrey").await;
    house.ask("GET", &format!("/v1/sessions/{}/records", session_of_alice()), Some(&audrey), None).await;
    let events = house.store.state().events(Some(&session_of_alice().to_string()), None, 10).await.unwrap();
    assert_eq!((events[0].event.kind.as_str(), events[0].event.actor.as_str()), ("recording.read", "audrey"));
    assert!(house.api.guard.state_is_there());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let house = House::new().await;
    let alice = house.login("alice").await;
    let long = json!({ "connections": ["prod-pg"], "statement": "x".repeat(3 << 20) });
    let (status, refusal) = house.ask("POST", "/v1/tokens", Some(&alice), Some(long)).await;
    assert_eq!((status, &refusal["code"]), (413, &json!("too_large")));
}
