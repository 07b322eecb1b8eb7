//! Who reads what is recorded as it happens: so many at a time, and no longer than they may.

use super::*;

/// What somebody reads, once they are let.
async fn follows(house: &House, token: &str) -> Result<Body, u16> {
    let response = house.answer("GET", "/v1/tail", &[("authorization", format!("Bearer {token}"))], None).await;
    let status = response.status().as_u16();
    if status == 200 { Ok(response.into_body()) } else { Err(status) }
}

#[tokio::test]
async fn one_identity_has_so_many_streams_and_another_its_own() {
    let house = House::new().await;
    let (audrey, again, bob) = (house.login("audrey").await, house.login("audrey").await, house.login("bob").await);
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(follows(&house, &audrey).await.unwrap());
    }
    assert_eq!(follows(&house, &again).await.err(), Some(429), "another token is the same identity");
    assert!(follows(&house, &bob).await.is_ok());
    let (status, _) = house.ask("GET", &format!("/v1/sessions/{}/records", session_of_alice()), Some(&audrey), None).await;
    assert_eq!(status, 429, "a recording that is read is one of them");
    drop(streams.pop());
    let (status, _) = house.ask("GET", "/v1/holds/h_000000000000/watch", Some(&audrey), None).await;
    assert_eq!(status, 404);
    // Whoever goes is noticed a little later.
    let room = async {
        while follows(&house, &audrey).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), room).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_it() {
    let house = House::new().await;
    let (admin, audrey, bob) = (house.login("admin").await, house.login("audrey").await, house.login("bob").await);
    let (mut hers, mut his) = (follows(&house, &audrey).await.unwrap(), follows(&house, &bob).await.unwrap());
    let (status, answer) = house.ask("POST", "/v1/identities/audrey/revoke", Some(&admin), None).await;
    assert_eq!(status, 200, "{answer}");
    let end = async { while hers.frame().await.is_some() {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), end).await.unwrap();
    assert!(futures_util::FutureExt::now_or_never(his.frame()).is_none(), "his goes on");
}
