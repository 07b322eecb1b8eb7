//! Tokens that are shown: what they are is told to those they concern, and whoever holds one may end it.

use identity::{PrivateKey, dpop};
use model::{Secret, Timestamp};
use serde_json::{Value, json};

use super::House;

async fn introspect(house: &House, by: &str, token: &str) -> Value {
    let (status, answer) = house.ask("POST", "/v1/token/introspect", Some(by), Some(json!(format!("token={token}")))).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn minted(house: &House, by: &str, body: Value) -> String {
    let (status, minted) = house.ask("POST", "/v1/tokens", Some(by), Some(body)).await;
    assert_eq!(status, 200, "{minted}");
    minted["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_token_is_is_told_to_those_it_concerns() {
    let house = House::new().await;
    house.api.guard.call_it("https://gw.example".parse().unwrap());
    let (alice, audrey, mallory, admin) =
        (house.login("alice").await, house.login("audrey").await, house.login("mallory").await, house.login("admin").await);
    let statement = json!({ "connections": ["prod-pg"], "statement": "select 1" });
    let own = minted(&house, &alice, statement).await;
    let jobs = minted(&house, &alice, json!({ "connections": ["prod-pg"], "subject": "nightly" })).await;
    let unknown = json!({ "active": false });
    for (by, token, active) in [
        (&alice, &own, true),
        (&alice, &jobs, true),
        (&audrey, &own, true),
        (&audrey, &jobs, true),
        (&mallory, &own, false),
        (&mallory, &jobs, false),
        // Who governs is no auditor.
        (&admin, &own, false),
        (&mallory, &mallory, true),
        (&mallory, &alice, false),
    ] {
        let answer = introspect(&house, by, token).await;
        assert_eq!(answer["active"], json!(active));
        // What does not concern them is as if it had never been.
        assert!(active || answer == unknown, "{answer}");
    }
    for none in ["", "x", "cs_c_00000000000000000000000000000000zb0vjh", "hunter2hunter2", "e30.e30.AA"] {
        assert_eq!(introspect(&house, &audrey, none).await, unknown, "{none}");
    }
    let answer = introspect(&house, &alice, &own).await;
    assert_eq!((&answer["sub"], &answer["iss"]), (&json!("alice"), &json!("https://gw.example")));
    assert_eq!(answer["aud"], json!(["https://gw.example/connections/prod-pg"]));
    let details = json!([{ "type": "countersign_statement", "locations": ["prod-pg"], "statement": "select 1" }]);
    assert_eq!(answer["authorization_details"], details);
    assert!(answer["exp"].as_i64() > answer["iat"].as_i64(), "{answer}");
    assert_eq!(introspect(&house, &mallory, &mallory).await["aud"], json!(["https://gw.example"]), "the API's is for the gateway");
}

#[tokio::test]
async fn whoever_holds_a_token_ends_it_and_nobody_learns_what_was_one() {
    let house = House::new().await;
    let alice = house.login("alice").await;
    let token = minted(&house, &alice, json!({ "connections": ["prod-pg"] })).await;
    let mut answers = Vec::new();
    for shown in [token.as_str(), &token, "cs_c_00000000000000000000000000000000zb0vjh", "nothing"] {
        answers.push(house.ask("POST", "/v1/token/revoke", None, Some(json!(format!("token={shown}&token_type_hint=access_token")))).await);
    }
    assert!(answers.iter().all(|answer| *answer == (200, Value::Null)), "{answers:?}");
    assert_eq!(introspect(&house, &alice, &token).await, json!({ "active": false }));
    assert_eq!(house.ask("POST", "/v1/token/revoke", None, Some(json!(format!("token={alice}")))).await.0, 200);
    assert_eq!(house.ask("GET", "/v1/whoami", Some(&alice), None).await.0, 401);
    for form in ["", "tokens=x", "token=a&token=b"] {
        let (status, refusal) = house.ask("POST", "/v1/token/revoke", None, Some(json!(form))).await;
        assert_eq!((status, &refusal["error"]), (400, &json!("invalid_request")), "{form}");
    }
}

#[tokio::test]
async fn the_gateway_says_where_tokens_are_given_out_once_it_has_a_name() {
    let house = House::new().await;
    let path = "/.well-known/oauth-authorization-server";
    assert_eq!(house.ask("GET", path, None, None).await.0, 404);
    house.api.guard.call_it("https://gw.example".parse().unwrap());
    let (status, answer) = house.ask("GET", path, None, None).await;
    assert_eq!((status, &answer["issuer"], &answer["token_endpoint"]), (200, &json!("https://gw.example"), &json!("https://gw.example/v1/token")));
    for (name, path) in [("revocation_endpoint", "/v1/token/revoke"), ("introspection_endpoint", "/v1/token/introspect")] {
        assert_eq!(answer[name], json!(format!("https://gw.example{path}")));
    }
}

/// A proof of possession of the key of this seed.
fn proof(seed: u8, method: &str, path: &str, id: &str, token: Option<&str>) -> String {
    let key = PrivateKey::from_seed(&[seed; 32]).unwrap();
    let jwk: Value = serde_json::from_str(&key.public().to_jwk()).unwrap();
    let ath = token.map(|token| dpop::hash_of(&Secret::from(token.to_owned())));
    let now = Timestamp::now().as_second();
    let claims = json!({ "jti": id, "htm": method, "htu": format!("https://gw.example{path}"), "iat": now, "ath": ath });
    key.sign(&json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk }), &claims).unwrap()
}

/// A token that was minted with a proof is worth nothing without the key.
#[tokio::test]
async fn a_token_of_the_api_that_is_bound_needs_a_proof_with_each_call() {
    let house = House::new().await;
    house.api.guard.call_it("https://gw.example".parse().unwrap());
    let body = json!({ "name": "alice", "password": super::PASSWORD });
    let login = async |proofs: &[String]| {
        let headers: Vec<_> = proofs.iter().map(|proof| ("dpop", proof.clone())).collect();
        house.ask_with("POST", "/v1/login", &headers, Some(body.clone())).await
    };
    let once = proof(1, "POST", "/v1/login", "a", None);
    let (status, answer) = login(std::slice::from_ref(&once)).await;
    assert_eq!(status, 200, "{answer}");
    let bound = answer["token"].as_str().unwrap().to_owned();
    assert_eq!(login(std::slice::from_ref(&once)).await.0, 401, "each works once");
    assert_eq!(login(&[proof(1, "POST", "/v1/token", "b", None)]).await.0, 401, "for another call");
    assert_eq!(login(&["x".to_owned()]).await.0, 401);
    assert_eq!(login(&[proof(1, "POST", "/v1/login", "c", None), proof(1, "POST", "/v1/login", "d", None)]).await.0, 400, "two of them");

    let whoami = async |scheme: &str, token: &str, proof: Option<String>| {
        let headers: Vec<_> = [("authorization", format!("{scheme} {token}"))].into_iter().chain(proof.map(|proof| ("dpop", proof))).collect();
        house.ask_with("GET", "/v1/whoami", &headers, None).await.0
    };
    let with = |seed, path, id, token| Some(proof(seed, "GET", path, id, token));
    assert_eq!(whoami("DPoP", &bound, with(1, "/v1/whoami", "1", Some(&bound))).await, 200);
    let unbound = house.login("alice").await;
    for (scheme, token, proof) in [
        ("DPoP", &bound, with(1, "/v1/whoami", "1", Some(&bound))),
        ("Bearer", &bound, with(1, "/v1/whoami", "2", Some(&bound))),
        ("Bearer", &bound, None),
        ("DPoP", &bound, None),
        ("DPoP", &bound, with(2, "/v1/whoami", "3", Some(&bound))),
        ("DPoP", &bound, with(1, "/v1/status", "4", Some(&bound))),
        ("DPoP", &bound, with(1, "/v1/whoami", "5", None)),
        ("DPoP", &bound, with(1, "/v1/whoami", "6", Some(&unbound))),
        ("DPoP", &unbound, with(1, "/v1/whoami", "7", Some(&unbound))),
    ] {
        assert_eq!(whoami(scheme, token, proof.clone()).await, 401, "{scheme} {proof:?}");
    }
    assert_eq!(whoami("Bearer", &unbound, None).await, 200);
    // A body makes who calls be looked at twice, and the proof be used once.
    let minting = proof(1, "POST", "/v1/tokens", "8", Some(&bound));
    let headers = [("authorization", format!("DPoP {bound}")), ("dpop", minting)];
    let (status, minted) = house.ask_with("POST", "/v1/tokens", &headers, Some(json!({ "connections": ["prod-pg"] }))).await;
    assert_eq!(status, 200, "{minted}");
    let told = introspect(&house, &unbound, &bound).await;
    assert_eq!(
        (told["token_type"].as_str(), &told["cnf"]["jkt"]),
        (Some("DPoP"), &json!(PrivateKey::from_seed(&[1; 32]).unwrap().public().thumbprint()))
    );
}
