//! Chains of agents: whom they name, what they open, and how each link ends with the one before.

use std::net::{IpAddr, Ipv4Addr};

use identity::{GatewayUrl, PrivateKey};
use model::{ConnectionName, IdentityKeyId, TokenId};
use proptest::prelude::*;

use super::*;
use crate::{
    approve::machine::barred,
    fixtures::{Gate, files, gate_of, later, name, needs, now},
    live::LiveHandle,
    sign_in::{SignInFor, SignedIn},
    tokens::TokenRequest,
    workloads::Proof,
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const STAGING: &str =
    r#"permit (principal in Group::"engineers", action in [Action::"connect", Action::"read"], resource in Environment::"staging");"#;

/// A gateway with people and agents that have keys, and connections prod-pg and staging-pg open to all of them.
struct Stand {
    gate: Gate,
    root: Actor,
    keys: Vec<IdentityKeyId>,
}

impl Stand {
    /// `owners`: one agent for each, `a0` and so on, owned by that one of `people`.
    async fn with(people: &[&str], owners: &[usize]) -> Self {
        let gate = gate_of(&files(STAGING)).await;
        gate.guard.call_it(url());
        let root = gate.user("root", &["admins"]).await;
        let mut known = Vec::new();
        for person in people {
            known.push(gate.user(person, &["engineers", "dba"]).await);
        }
        let mut keys = Vec::new();
        for (number, owner) in owners.iter().enumerate() {
            let agent = gate.agent(&agent(number), &known[*owner], &["engineers"]).await;
            let given = gate.guard.add_key(&agent.name, &key(number).public().to_jwk(), later(86_400), &root, now()).await.unwrap();
            keys.push(given.id);
        }
        Self { gate, root, keys }
    }

    async fn actor(&self, text: &str) -> Actor {
        register::actor(&self.gate.guard.store().state().identity(&name(text)).await.unwrap().unwrap())
    }

    /// What a person gives the first agent.
    async fn given(&self, person: &str, connections: &[&str], seconds: u64) -> (Secret, TokenRow) {
        let wanted = TokenRequest {
            subject: name(person),
            purpose: TokenUse::Delegate,
            connections: connections.iter().map(|name| name.parse().unwrap()).collect(),
            statement: None,
            not_before: None,
            expires_at: later(seconds),
            sign_in: None,
            agent: Some(name(&agent(0))),
            request: None,
            bound_to: None,
        };
        self.gate.guard.mint_token(wanted, &self.actor(person).await, now()).await.unwrap()
    }

    async fn ask(&self, asked: Asked<'_>) -> Result<(Secret, TokenRow), NotExchanged> {
        let assertion = key(asked.by).assertion(&name(&agent(asked.by)), url().as_str(), now()).unwrap();
        let connections: Vec<ConnectionName> = asked.connections.iter().map(|name| name.parse().unwrap()).collect();
        let next = asked.next.map(name);
        let wanted = Exchange {
            proof: Proof::Assertion(assertion.reveal_str().unwrap()),
            delegation: asked.given,
            next: next.as_ref(),
            run: None,
            connections: &connections,
            statement: asked.statement,
            workload: None,
            expires_in_s: Some(asked.seconds),
            shape: asked.shape,
            possession: None,
            peer: PEER,
        };
        self.gate.guard.exchange_token(&wanted, now()).await
    }

    async fn sign_in(&self, person: &str, secret: &Secret, connection: &str) -> Option<SignedIn> {
        self.gate.guard.sign_in(person, secret, SignInFor::Connection(&connection.parse().unwrap()), PEER, now()).await.ok()
    }

    async fn live(&self, person: &str, secret: &Secret) -> LiveHandle {
        let signed_in = self.sign_in(person, secret, "prod-pg").await.unwrap();
        self.gate.guard.enter(ids::session(), &signed_in, &"prod-pg".parse().unwrap(), "shop", now()).await.unwrap()
    }

    /// A chain of all agents for alice with a session at each of them: the tokens it was made by, those that open sessions, and the sessions.
    async fn chain(&self) -> (Vec<TokenId>, Vec<LiveHandle>) {
        let (mut given, first) = self.given("alice", &["prod-pg"], 600).await;
        let (mut links, mut sessions) = (vec![first.id], Vec::new());
        for by in 0..self.keys.len() {
            let (opens, _) = self.ask(Asked { by, given: Some(&given), ..Asked::plain() }).await.unwrap();
            sessions.push(self.live("alice", &opens).await);
            if by + 1 < self.keys.len() {
                let (passed, row) = self.ask(Asked { by, given: Some(&given), ..Asked::on(&agent(by + 1)) }).await.unwrap();
                links.push(row.id);
                given = passed;
            }
        }
        (links, sessions)
    }
}

/// What an agent asks for.
struct Asked<'a> {
    by: usize,
    given: Option<&'a Secret>,
    connections: &'a [&'a str],
    next: Option<&'a str>,
    statement: Option<&'a str>,
    shape: Shape,
    seconds: u64,
}

impl<'a> Asked<'a> {
    const fn plain() -> Self {
        Self { by: 0, given: None, connections: &["prod-pg"], next: None, statement: None, shape: Shape::Opaque, seconds: 600 }
    }

    const fn on(next: &'a str) -> Self {
        Self { next: Some(next), shape: Shape::Delegation, ..Self::plain() }
    }
}

fn url() -> GatewayUrl {
    "https://gw.example".parse().unwrap()
}

fn agent(number: usize) -> String {
    format!("a{number}")
}

fn key(number: usize) -> PrivateKey {
    PrivateKey::from_seed(&[u8::try_from(number).unwrap() + 1; 32]).unwrap()
}

fn ended(sessions: &[LiveHandle]) -> Vec<bool> {
    sessions.iter().map(|session| session.check().is_some()).collect()
}

#[tokio::test]
async fn an_agent_passes_on_what_it_was_given_and_everybody_is_seen() {
    let stand = Stand::with(&["alice", "olga"], &[1, 1, 1]).await;
    let (given, _) = stand.given("alice", &["prod-pg", "staging-pg"], 300).await;
    let (passed, row) = stand.ask(Asked { given: Some(&given), ..Asked::on("a1") }).await.unwrap();
    assert_eq!((row.purpose, row.acting(), row.next()), (TokenUse::Delegate, [name("a0")].as_slice(), Some(&name("a1"))));
    assert_eq!((row.expires_at, row.minted_by.as_str()), (later(300), "a0"), "not longer than what it was given");
    assert!(stand.sign_in("alice", &passed, "prod-pg").await.is_none(), "it opens nothing by itself");
    // What opens a connection can be what is passed on, if it says so.
    let wanted = Asked { by: 1, given: Some(&passed), next: Some("a2"), shape: Shape::Jwt, ..Asked::plain() };
    let (opens, row) = stand.ask(wanted).await.unwrap();
    assert_eq!(stand.sign_in("alice", &opens, "prod-pg").await.unwrap().chain.to_string(), "alice via a0 via a1");
    assert_eq!(introspect::act(row.acting()).unwrap(), serde_json::json!({ "sub": "a1", "act": { "sub": "a0" } }));
    assert_eq!(introspect::may_act(&row).unwrap(), serde_json::json!({ "sub": "a2" }));
    let (opens, row) = stand.ask(Asked { by: 2, given: Some(&opens), ..Asked::plain() }).await.unwrap();
    let signed_in = stand.sign_in("alice", &opens, "prod-pg").await.unwrap();
    assert_eq!((signed_in.chain.to_string().as_str(), signed_in.ends_at), ("alice via a0 via a1 via a2", Some(later(300))));
    assert_eq!(introspect::act(row.acting()).unwrap()["act"]["act"]["sub"], "a0");
    // Narrower on the way is narrow to the end.
    assert!(matches!(
        stand.ask(Asked { by: 1, given: Some(&passed), connections: &["staging-pg"], ..Asked::plain() }).await,
        Err(NotExchanged::Target(_))
    ));
    assert!(stand.ask(Asked { given: Some(&given), connections: &["staging-pg"], ..Asked::plain() }).await.is_ok(), "the first one may");
}

#[tokio::test]
async fn each_run_in_a_chain_stays_with_whoever_came_with_it() {
    let stand = Stand::with(&["alice"], &[0, 0]).await;
    let (given, _) = stand.given("alice", &["prod-pg"], 300).await;
    let run = |id: &str| Run { id: id.to_owned(), issuer: "ci".to_owned(), details: BTreeMap::new() };
    let proven = async |by: &str, number: &str| Proven {
        identity: stand.gate.guard.store().state().identity(&name(by)).await.unwrap().unwrap(),
        run: Some(run(number)),
        trust: None,
        key: None,
        ends_at: None,
    };
    let connections: [ConnectionName; 1] = ["prod-pg".parse().unwrap()];
    let next = name("a1");
    let mut wanted = Exchange {
        proof: Proof::Either(""),
        delegation: Some(&given),
        next: Some(&next),
        run: None,
        connections: &connections,
        statement: None,
        workload: None,
        expires_in_s: None,
        shape: Shape::Delegation,
        possession: None,
        peer: PEER,
    };
    let guard = &stand.gate.guard;
    let (secret, digest) = identity::token::mint_fresh(TokenUse::Delegate).unwrap();
    let first = guard.link(&wanted, &proven("a0", "811").await, now()).await.unwrap().minted(&wanted, proven("a0", "811").await, later(60), now());
    guard.store().state().add_token(&first, &digest).await.unwrap();
    (wanted.delegation, wanted.next, wanted.shape) = (Some(&secret), None, Shape::Opaque);
    let (opens, digest) = identity::token::mint_fresh(TokenUse::Connect).unwrap();
    let last = guard.link(&wanted, &proven("a1", "812").await, now()).await.unwrap().minted(&wanted, proven("a1", "812").await, later(60), now());
    guard.store().state().add_token(&last, &digest).await.unwrap();
    assert_eq!(stand.sign_in("alice", &opens, "prod-pg").await.unwrap().chain.to_string(), "alice via a0 (run 811) via a1 (run 812)");
}

/// RFC 8693 section 4.4, for each link.
#[tokio::test]
async fn nothing_is_passed_on_to_whom_it_does_not_name() {
    let stand = Stand::with(&["alice", "olga"], &[1, 1, 1, 1, 1]).await;
    stand.gate.workload("nightly", &stand.actor("olga").await, &["engineers"]).await;
    let (given, _) = stand.given("alice", &["prod-pg"], 300).await;
    let (opens, _) = stand.ask(Asked { given: Some(&given), ..Asked::plain() }).await.unwrap();
    let (named, _) = stand.ask(Asked { given: Some(&given), next: Some("a1"), ..Asked::plain() }).await.unwrap();
    let (passed, _) = stand.ask(Asked { given: Some(&given), ..Asked::on("a1") }).await.unwrap();
    let refused =
        async |by, given: &Secret| matches!(stand.ask(Asked { by, given: Some(given), ..Asked::plain() }).await, Err(NotExchanged::Undelegated(_)));
    assert!(refused(1, &opens).await, "it names nobody");
    assert!(refused(1, &given).await && refused(2, &named).await && refused(2, &passed).await, "it names another one");
    assert!(refused(0, &passed).await && refused(0, &named).await, "whoever passed it on acts with what it has");
    assert!(refused(1, &Secret::from("cs_d_nothing".to_owned())).await);
    let invalid = async |asked: Asked<'_>| matches!(stand.ask(asked).await, Err(NotExchanged::Govern(GovernError::Invalid(_))));
    for wrong in ["a0", "alice", "olga", "nightly", "nobody"] {
        assert!(invalid(Asked { given: Some(&given), ..Asked::on(wrong) }).await, "{wrong}");
    }
    assert!(invalid(Asked::on("a1")).await, "what it may do itself is not passed on");
    assert!(invalid(Asked { given: Some(&given), next: None, ..Asked::on("") }).await, "to nobody");
    assert!(invalid(Asked { given: Some(&given), statement: Some("select 1"), ..Asked::on("a1") }).await, "one statement would be two");
    // Four in a row, and no more.
    let mut last = given;
    for by in 0..3 {
        last = stand.ask(Asked { by, given: Some(&last), ..Asked::on(&agent(by + 1)) }).await.unwrap().0;
    }
    assert!(stand.ask(Asked { by: 3, given: Some(&last), ..Asked::plain() }).await.is_ok());
    assert!(invalid(Asked { by: 3, given: Some(&last), ..Asked::on("a4") }).await);
}

#[tokio::test]
async fn whatever_ends_a_link_ends_all_after_it_at_once() {
    for cut in 0..3 {
        let stand = Stand::with(&["alice", "olga"], &[1, 1, 1]).await;
        let (links, sessions) = stand.chain().await;
        stand.gate.guard.revoke_token(links[cut], &stand.root, now()).await.unwrap();
        assert_eq!(ended(&sessions), [cut == 0, cut <= 1, true], "link {cut}");
        // What an agent got by its key, it passed on by it.
        let stand = Stand::with(&["alice", "olga"], &[1, 1, 1]).await;
        let (_, sessions) = stand.chain().await;
        stand.gate.guard.revoke_key(&name(&agent(cut)), stand.keys[cut], &stand.root, now()).await.unwrap();
        assert_eq!(ended(&sessions), [cut == 0, cut <= 1, true], "key {cut}");
        let stand = Stand::with(&["alice", "olga"], &[1, 1, 1]).await;
        let (_, sessions) = stand.chain().await;
        stand.gate.guard.revoke_identity(&name(&agent(cut)), &stand.root, now()).await.unwrap();
        assert_eq!(ended(&sessions), [cut == 0, cut <= 1, true], "agent {cut}");
    }
    let stand = Stand::with(&["alice", "olga"], &[1, 1, 1]).await;
    let (_, sessions) = stand.chain().await;
    stand.gate.guard.revoke_identity(&name("alice"), &stand.root, now()).await.unwrap();
    assert_eq!(ended(&sessions), [true; 3]);
}

/// What is passed on while a link is revoked does not slip past it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_passed_on_past_a_revocation() {
    for _ in 0..8 {
        let stand = Stand::with(&["alice"], &[0, 0]).await;
        let (given, first) = stand.given("alice", &["prod-pg"], 300).await;
        let (passed, _) = stand.ask(Asked { given: Some(&given), ..Asked::on("a1") }).await.unwrap();
        let enter = async {
            let (opens, _) = stand.ask(Asked { by: 1, given: Some(&passed), ..Asked::plain() }).await.ok()?;
            let signed_in = stand.sign_in("alice", &opens, "prod-pg").await?;
            stand.gate.guard.enter(ids::session(), &signed_in, &"prod-pg".parse().unwrap(), "shop", now()).await.ok()
        };
        let (entered, revoked) = tokio::join!(enter, stand.gate.guard.revoke_token(first.id, &stand.root, now()));
        revoked.unwrap();
        assert!(entered.is_none_or(|session| session.check().is_some()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    /// DESIGN: never anyone in the chain, the owner of an agent in it, whoever minted its token at any stage.
    #[test]
    fn whoever_had_a_hand_in_a_chain_never_signs_and_everybody_else_may(
        subject in 0..5_usize,
        owners in proptest::collection::vec(0..5_usize, 1..=MAX_ACTORS),
        whole in proptest::collection::vec(any::<bool>(), MAX_ACTORS),
        seconds in proptest::collection::vec(60..600_u64, MAX_ACTORS + 1),
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let people = ["p0", "p1", "p2", "p3", "p4"];
            let stand = Stand::with(&people, &owners).await;
            let (mut given, mut row) = stand.given(people[subject], &["prod-pg"], seconds[0]).await;
            let mut links = vec![row.clone()];
            for by in 0..owners.len() {
                let next = agent(by + 1);
                let last = by + 1 == owners.len();
                let asked = match (last, whole[by]) {
                    (true, _) => Asked::plain(),
                    (false, true) => Asked { next: Some(&next), ..Asked::plain() },
                    (false, false) => Asked::on(&next),
                };
                (given, row) = stand.ask(Asked { by, given: Some(&given), seconds: seconds[by + 1], ..asked }).await.unwrap();
                links.push(row.clone());
            }
            assert_eq!(links.iter().map(|link| link.expires_at).min(), Some(row.expires_at), "no link outlives another before it");
            let signed_in = stand.sign_in(people[subject], &given, "prod-pg").await.unwrap();
            let members: Vec<String> = signed_in.chain.members().map(|member| member.name.to_string()).collect();
            assert_eq!(members.len(), owners.len() + 1);
            let version = stand.gate.guard.version();
            for (number, person) in people.iter().enumerate() {
                let signer = stand.actor(person).await;
                let minted = links.iter().any(|link| link.minted_by == signer.name);
                let had_a_hand = number == subject || owners.contains(&number) || minted;
                assert_eq!(barred(&signed_in.chain, &signer).is_err(), had_a_hand, "{person} of {}", signed_in.chain);
                let eligible = policy::decide::eligible(&version, &needs("dba", 1), &signed_in.chain, &signer, now());
                assert_eq!(eligible.is_err(), had_a_hand, "{person}: {eligible:?}");
            }
            for number in 0..owners.len() {
                assert!(barred(&signed_in.chain, &stand.actor(&agent(number)).await).is_err());
            }
        });
    }
}
