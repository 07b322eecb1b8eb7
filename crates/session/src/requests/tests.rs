//! What is asked for, who signs it, and what it lets somebody do.

use model::{SessionId, token::TokenUse};
use policy::Files;
use proptest::prelude::*;

use super::*;
use crate::{
    fixtures::{Gate, files, gate_of, later, name, now},
    guard::LockOut,
    live::{LiveHandle, Woken},
    sign_in::SignedIn,
    tokens::TokenRequest,
};

const POLICY: &str = r#"
permit (principal in Group::"writers", action in [Action::"connect", Action::"write"], resource in Connection::"prod-pg");
permit (principal in Group::"readers", action in [Action::"connect", Action::"read"], resource in Connection::"prod-pg");
permit (principal in Group::"engineers", action == Action::"request", resource in Connection::"staging-pg") when { context.request.window_s <= 3600 };
permit (principal in Group::"newcomers", action == Action::"request", resource in Connection::"prod-pg");
permit (principal in Group::"robots", action == Action::"request", resource in Connection::"prod-pg") when { context.request.one_statement };
@id("two") @approvers("dba, security") @count("2") @reason("two people sign for writing in production")
forbid (principal, action == Action::"request", resource == Role::"prod-pg/writer") unless { context.approved };
permit (principal in Group::"security", action == Action::"approve", resource == System::"countersign");
"#;

fn with_roles() -> Files {
    let mut files = files(POLICY);
    for connection in ["prod-pg", "staging-pg"] {
        let file = files.get_mut(&format!("connections/{connection}.toml")).unwrap();
        file.push_str("[roles]\nwriter = \"writers\"\nreader = \"readers\"\n");
    }
    files
}

fn asks(connection: &str, role: &str) -> NewRequest {
    let reason = "INC-4711".to_owned();
    NewRequest { connection: connection.parse().unwrap(), role: role.to_owned(), window_s: 600, reason, statement: None }
}

struct People {
    gate: Gate,
    /// May ask for a role, and has no access without it.
    nina: Actor,
    dbas: Vec<Actor>,
}

async fn people() -> People {
    let gate = gate_of(&with_roles()).await;
    let nina = gate.user("nina", &["newcomers"]).await;
    let mut dbas = Vec::new();
    for name in ["bob", "carol", "dan"] {
        dbas.push(gate.user(name, &["dba"]).await);
    }
    People { gate, nina, dbas }
}

impl People {
    fn guard(&self) -> &std::sync::Arc<Guard> {
        &self.gate.guard
    }

    async fn asked(&self, role: &str) -> RequestRow {
        self.guard().request_access(asks("prod-pg", role), &ActorChain::alone(self.nina.clone()), now()).await.unwrap()
    }

    async fn sign(&self, row: &RequestRow, who: &Actor) -> Result<RequestRow, RequestRefused> {
        self.guard().sign_request(row.id, who, &row.digest, now()).await
    }

    async fn granted(&self) -> RequestRow {
        let row = self.asked("writer").await;
        self.sign(&row, &self.dbas[0]).await.unwrap();
        self.sign(&row, &self.dbas[1]).await.unwrap()
    }

    fn opens(&self, at: Timestamp) -> Vec<ConnectionName> {
        self.guard().open_connections(&ActorChain::alone(self.nina.clone()), at)
    }

    async fn enters(&self, at: Timestamp) -> LiveHandle {
        let signed_in = SignedIn { chain: ActorChain::alone(self.nina.clone()), token: None, ends_at: None };
        self.guard().enter(ids::session(), &signed_in, &"prod-pg".parse().unwrap(), "shop", at).await.unwrap()
    }
}

fn refusal(refused: Result<RequestRow, RequestRefused>) -> String {
    refused.unwrap_err().to_string()
}

#[tokio::test]
async fn a_request_that_needs_two_signatures_gets_exactly_two_and_none_of_its_own_side() {
    let people = people().await;
    let row = people.asked("writer").await;
    assert_eq!((row.state.clone(), row.requirements[0].count), (HoldState::Waiting, 2));
    let mut agent = people.gate.workload("nina-bot", &people.nina, &["dba"]).await;
    agent.kind = IdentityKind::Agent;
    assert_eq!(refusal(people.sign(&row, &agent).await), format!("no request {} that you may see", row.id), "an agent never signs");
    assert_eq!(refusal(people.sign(&row, &people.nina).await), "nobody signs what runs in their own name");
    let other = people.guard().sign_request(row.id, &people.dbas[0], "00", now()).await;
    assert_eq!(refusal(other), "what you were shown is not what is waiting: look at it again, then sign");

    let signed = people.sign(&row, &people.dbas[0]).await.unwrap();
    assert_eq!((signed.state, signed.signatures.len(), signed.grant), (HoldState::Waiting, 1, None));
    assert_eq!(refusal(people.sign(&row, &people.dbas[0]).await), "you signed it already; one person counts once");
    assert!(people.opens(now()).is_empty());
    let granted = people.sign(&row, &people.dbas[1]).await.unwrap();
    assert_eq!((granted.state.clone(), granted.signatures.len()), (HoldState::Approved, 2));
    assert!(refusal(people.sign(&row, &people.dbas[2]).await).starts_with("it is no longer waiting"));

    assert_eq!(people.opens(now()), ["prod-pg".parse().unwrap()]);
    assert_eq!(people.opens(later(599)).len(), 1);
    assert!(people.opens(later(600)).is_empty(), "its window is over");
    let events = people.gate.events().await;
    let mine: Vec<&str> = events.iter().map(|event| event.trim_end_matches(&format!(" {}", row.id))).collect();
    assert_eq!(mine, ["carol grant.began", "carol request.signed", "bob request.signed", "nina request.made"]);
}

#[tokio::test]
async fn policy_says_who_may_ask_for_what_how_long_and_what_is_granted_at_once() {
    let people = people().await;
    let guard = people.guard();
    let reader = people.asked("reader").await;
    assert_eq!((reader.state.clone(), reader.is_in_force(now())), (HoldState::Approved, true), "no signature is asked for");
    let nina = ActorChain::alone(people.nina.clone());
    let ask = async |wanted: NewRequest, by: &ActorChain| refusal(guard.request_access(wanted, by, now()).await);
    assert!(ask(asks("prod-pg", "writr"), &nina).await.contains("did you mean writer?"));
    assert!(ask(asks("prod-gp", "writer"), &nina).await.contains("did you mean prod-pg?"), "it is open to her now");
    let stranger = ActorChain::alone(people.gate.user("eve", &["guests"]).await);
    let unknown = ask(asks("prod-pg", "writer"), &stranger).await;
    assert_eq!(unknown, "no connection prod-pg that eve may open; there is none at all", "that it is there is not for her");
    let alice = ActorChain::alone(people.gate.user("alice", &["engineers"]).await);
    assert!(ask(asks("prod-pg", "writer"), &alice).await.contains("no policy permits `request` on role writer"), "she may open it, and no more");
    assert!(ask(NewRequest { window_s: 3_601, ..asks("staging-pg", "writer") }, &alice).await.contains("staging-pg"));
    assert!(guard.request_access(NewRequest { window_s: 3_600, ..asks("staging-pg", "writer") }, &alice, now()).await.is_ok());
    for (wrong, said) in [
        (NewRequest { window_s: 0, ..asks("prod-pg", "writer") }, "for how long"),
        (NewRequest { window_s: MAX_WINDOW_S + 1, ..asks("prod-pg", "writer") }, "for how long"),
        (NewRequest { reason: " \n".to_owned(), ..asks("prod-pg", "writer") }, "say why"),
        (NewRequest { reason: "x".repeat(MAX_WORDS_BYTES + 1), ..asks("prod-pg", "writer") }, "longer than"),
        (NewRequest { statement: Some(String::new()), ..asks("prod-pg", "writer") }, "the statement is empty"),
        (NewRequest { role: "r".repeat(1 << 20), ..asks("prod-pg", "writer") }, "no role"),
    ] {
        let refused = ask(wrong, &nina).await;
        assert!(refused.contains(said), "{refused}");
    }
    let roles = |by: &ActorChain| guard.requestable(by, now()).into_iter().map(|one| format!("{} {} {}", one.connection, one.role, one.signed));
    assert_eq!(roles(&nina).collect::<Vec<_>>(), ["prod-pg reader false", "prod-pg writer true"]);
    assert_eq!(roles(&stranger).count(), 0);
}

#[tokio::test]
async fn what_nobody_could_sign_and_what_is_too_much_is_refused_at_once() {
    let gate = gate_of(&with_roles()).await;
    let nina = ActorChain::alone(gate.user("nina", &["newcomers"]).await);
    gate.user("bob", &["dba"]).await;
    let alone = gate.guard.request_access(asks("prod-pg", "writer"), &nina, now()).await;
    assert!(refusal(alone).contains("not enough people"), "one is there, two are asked for");
    gate.user("carol", &["security"]).await;
    let most = gate.guard.limits().holds.max_per_identity;
    for _ in 0..most {
        gate.guard.request_access(asks("prod-pg", "writer"), &nina, now()).await.unwrap();
    }
    assert!(refusal(gate.guard.request_access(asks("prod-pg", "writer"), &nina, now()).await).contains("take some back first"));
    // Those that nobody signed in time are no burden.
    assert!(gate.guard.request_access(asks("prod-pg", "writer"), &nina, later(86_400)).await.is_ok());
    gate.guard.expire_requests(later(86_400)).await.unwrap();
    let all = gate.guard.requests(&nina.subject, Some(100), later(86_400)).await.unwrap();
    assert_eq!(all.iter().filter(|row| row.state == HoldState::Expired).count(), most);
}

#[tokio::test]
async fn a_signature_that_no_longer_counts_and_a_change_of_what_was_asked_void_a_request() {
    let people = people().await;
    let root = people.gate.user("root", &["admins"]).await;
    let guard = people.guard();
    let voided = |refused: String, why: &str| assert!(refused.contains("void") && refused.contains(why), "{refused}");

    let row = people.asked("writer").await;
    people.sign(&row, &people.dbas[0]).await.unwrap();
    guard.set_groups(&people.dbas[0].name, vec!["guests".parse().unwrap()], &root, now()).await.unwrap();
    voided(refusal(people.sign(&row, &people.dbas[1]).await), "bob, who signed, may no longer sign");
    guard.set_groups(&people.dbas[0].name, vec!["dba".parse().unwrap()], &root, now()).await.unwrap();

    let row = people.asked("writer").await;
    people.sign(&row, &people.dbas[0]).await.unwrap();
    guard.set_groups(&people.nina.name, vec!["newcomers".parse().unwrap(), "guests".parse().unwrap()], &root, now()).await.unwrap();
    let last = people.sign(&row, &people.dbas[1]).await.unwrap();
    assert!(matches!(&last.state, HoldState::Voided { why } if why.contains("groups or the owner of nina")), "{:?}", last.state);
    assert!(last.grant.is_none() && people.opens(now()).is_empty());
    guard.set_groups(&people.nina.name, vec!["newcomers".parse().unwrap()], &root, now()).await.unwrap();

    for (from, to, why) in [
        ("@count(\"2\")", "@count(\"3\")", "what policy asks for changed"),
        ("Group::\"newcomers\", action == Action::\"request\"", "Group::\"others\", action == Action::\"request\"", "policy now denies it"),
    ] {
        guard.apply(&with_roles(), &root, LockOut::Refused, now()).await.unwrap();
        let row = people.asked("writer").await;
        people.sign(&row, &people.dbas[0]).await.unwrap();
        let mut files = with_roles();
        let policy = files.get_mut("policy/main.cedar").unwrap();
        *policy = policy.replace(from, to);
        guard.apply(&files, &root, LockOut::Refused, now()).await.unwrap();
        let last = people.sign(&row, &people.dbas[1]).await.unwrap();
        assert!(matches!(&last.state, HoldState::Voided { why: said } if said.contains(why)), "{:?}", last.state);
    }
}

#[tokio::test]
async fn what_is_granted_counts_in_sessions_that_began_before_and_its_end_is_noticed_there() {
    let people = people().await;
    people.asked("reader").await;
    let live = people.enters(now()).await;
    assert_eq!(live.chain().subject.granted.len(), 1);
    people.granted().await;
    let roles = |live: &LiveHandle, at: Timestamp| live.chain_at(at).subject.granted.iter().map(|one| one.role.clone()).collect::<Vec<_>>();
    let mut both = roles(&live, now());
    both.sort();
    assert_eq!(both, ["reader", "writer"]);
    assert!(matches!(live.woken().await, Woken::Changed { lost: None }));
    assert!(roles(&live, later(600)).is_empty(), "at the end of its window, whoever notices");
    assert!(matches!(live.woken().await, Woken::Changed { lost: Some(_) }));
    people.guard().look_after_requests(later(600)).await;
    assert!(
        matches!(live.check(), Some(EndReason::PolicyChanged(_) | EndReason::GrantOver(_))),
        "without it she may not be there: {:?}",
        live.check()
    );
}

#[tokio::test]
async fn a_grant_that_is_given_back_or_taken_ends_what_needed_it() {
    let people = people().await;
    let guard = people.guard();
    let root = people.gate.user("root", &["admins"]).await;
    let given = people.granted().await;
    let live = people.enters(now()).await;
    let stranger = people.gate.user("eve", &[]).await;
    assert!(guard.end_request(given.id, &stranger, None, now()).await.is_err());
    assert!(guard.end_request(given.id, &people.dbas[0], None, now()).await.is_err(), "who signed may not take it: `revoke` is for that");
    let (row, _) = guard.end_request(given.id, &people.nina, None, now()).await.unwrap();
    assert_eq!(row.grant.unwrap().ended.unwrap().by, people.nina.name);
    assert!(people.opens(now()).is_empty());
    assert_eq!(live.check(), Some(&EndReason::GrantOver(given.id)), "she could not be there without it");
    assert!(guard.end_request(given.id, &people.nina, None, now()).await.is_err(), "it is over");

    // Where she may be there without it, she stays when she gives it back, and is cut when it is taken.
    people.asked("reader").await;
    let (first, second) = (people.granted().await, people.granted().await);
    let live = people.enters(now()).await;
    guard.end_request(first.id, &people.nina, None, now()).await.unwrap();
    assert!(live.check().is_none());
    assert_eq!(live.woken().await, Woken::Changed { lost: Some(first.id) });
    let (_, ended) = guard.end_request(second.id, &root, Some("the incident is over".to_owned()), now()).await.unwrap();
    assert_eq!((ended, live.check()), (1, Some(&EndReason::GrantRevoked { request: second.id, by: root.name.clone() })));

    let waits = people.asked("writer").await;
    let (back, _) = guard.end_request(waits.id, &people.nina, None, now()).await.unwrap();
    assert_eq!(back.state, HoldState::Withdrawn { why: "nina took it back".to_owned() });
    assert!(refusal(people.sign(&waits, &people.dbas[0]).await).starts_with("it is no longer waiting"));
}

#[tokio::test]
async fn a_request_for_one_statement_is_a_token_that_runs_it() {
    let people = people().await;
    let guard = people.guard();
    let robot = people.gate.user("robot", &["robots"]).await;
    let chain = ActorChain::alone(robot.clone());
    let whole = guard.request_access(asks("prod-pg", "reader"), &chain, now()).await;
    assert!(refusal(whole).contains("prod-pg"), "policy lets it ask for single statements only");
    let statement = Some("DELETE FROM t WHERE id = 7".to_owned());
    let row = guard.request_access(NewRequest { statement, ..asks("prod-pg", "reader") }, &chain, now()).await.unwrap();
    assert!(row.is_in_force(now()) && guard.open_connections(&chain, now()).is_empty(), "it counts with its token alone");
    let wanted = TokenRequest {
        subject: robot.name.clone(),
        purpose: TokenUse::Connect,
        connections: vec!["prod-pg".parse().unwrap()],
        statement: None,
        not_before: None,
        expires_at: later(86_000),
        sign_in: None,
        agent: None,
        bound_to: None,
        request: Some(row.id),
    };
    assert!(guard.mint_token(TokenRequest { subject: people.nina.name.clone(), ..wanted.clone() }, &people.nina, now()).await.is_err(), "of another");
    let more = TokenRequest { statement: Some("SELECT 1".to_owned()), ..wanted.clone() };
    assert!(guard.mint_token(more, &robot, now()).await.is_err(), "another statement");
    assert!(guard.mint_token(TokenRequest { connections: vec!["staging-pg".parse().unwrap()], ..wanted.clone() }, &robot, now()).await.is_err());
    let (_, token) = guard.mint_token(wanted.clone(), &robot, now()).await.unwrap();
    assert_eq!((token.statement.as_deref(), token.expires_at), (Some("DELETE FROM t WHERE id = 7"), later(600)));
    let signed_in = SignedIn { chain: chain.clone(), token: Some(token.clone()), ends_at: Some(token.expires_at) };
    let session: SessionId = ids::session();
    let live = guard.enter(session, &signed_in, &"prod-pg".parse().unwrap(), "shop", now()).await.unwrap();
    assert_eq!(live.chain().subject.granted[0].request, row.id);
    guard.decide_anew(now()).await;
    assert!(live.check().is_none() && live.chain().subject.granted.len() == 1);
    guard.end_request(row.id, &robot, None, now()).await.unwrap();
    assert_eq!(live.check(), Some(&EndReason::TokenRevoked(token.id)));
    let late = guard.mint_token(wanted, &robot, now()).await.unwrap_err();
    assert!(late.to_string().contains("not granted, or its window is over"), "{late}");
}

#[tokio::test]
async fn requests_are_seen_by_who_asked_who_could_sign_and_auditors() {
    let people = people().await;
    let guard = people.guard();
    let row = people.asked("writer").await;
    let audrey = people.gate.user("audrey", &["auditors"]).await;
    let eve = people.gate.user("eve", &["newcomers"]).await;
    let sees = async |who: &Actor| guard.requests(who, None, now()).await.unwrap().len();
    assert_eq!((sees(&people.nina).await, sees(&people.dbas[0]).await, sees(&audrey).await, sees(&eve).await), (1, 1, 1, 0));
    assert!(guard.comment_on_request(row.id, &eve, "me too".to_owned(), now()).await.is_err());
    assert!(guard.comment_on_request(row.id, &people.nina, " ".to_owned(), now()).await.is_err());
    guard.comment_on_request(row.id, &people.dbas[0], "which rows?".to_owned(), now()).await.unwrap();
    let shown = guard.access_request(row.id, &people.nina, now()).await.unwrap();
    assert_eq!((shown.comments[0].by.as_str(), shown.comments[0].text.as_str()), ("bob", "which rows?"));
    assert!(people.sign(&shown, &people.dbas[0]).await.is_ok(), "what was said changes nothing of what is signed");
    let denied = guard.deny_request(row.id, &people.dbas[1], Some("not today".to_owned()), now()).await.unwrap();
    assert_eq!(denied.state, HoldState::Denied { by: name("carol"), reason: Some("not today".to_owned()) });
    assert_eq!(sees(&people.nina).await, 0);
    assert_eq!(guard.requests(&people.nina, Some(10), now()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_restart_forgets_nothing_that_was_granted() {
    let people = people().await;
    let row = people.granted().await;
    people.guard().grants().remove(row.id);
    assert!(people.opens(now()).is_empty());
    people.guard().load_grants(now()).await.unwrap();
    assert_eq!(people.opens(now()).len(), 1);
    people.guard().grants().remove(row.id);
    people.guard().load_grants(later(600)).await.unwrap();
    assert!(people.opens(later(1)).is_empty(), "what is over is not read");
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Sign(usize),
    Deny(usize),
    Comment(usize),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    /// However people act, one after the other, a request stands as the machine of held operations would.
    #[test]
    fn a_request_is_a_hold_by_another_name(acts in proptest::collection::vec((0..8usize, 0..4usize), 1..10)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome: Result<(), TestCaseError> = runtime.block_on(async {
            let people = people().await;
            let all = [people.nina.clone(), people.dbas[0].clone(), people.dbas[1].clone(), people.dbas[2].clone()];
            let row = people.asked("writer").await;
            let mut machine = machine_without_votes(&row);
            let version = people.guard().version();
            for (what, who) in acts {
                let act = match what {
                    0 => Act::Deny(who),
                    1 => Act::Comment(who),
                    _ => Act::Sign(who),
                };
                let policy = signing(&version, &row.chain, now());
                let (done, expected) = match act {
                    Act::Sign(who) => {
                        let expected = machine.sign(&all[who], &row.digest, &policy, now()).is_ok();
                        (people.sign(&row, &all[who]).await.is_ok(), expected)
                    }
                    Act::Deny(who) => {
                        let expected = machine.deny(&all[who], None, &policy, now()).is_ok();
                        (people.guard().deny_request(row.id, &all[who], None, now()).await.is_ok(), expected)
                    }
                    Act::Comment(who) => {
                        (people.guard().comment_on_request(row.id, &all[who], "well".to_owned(), now()).await.is_ok(), true)
                    }
                };
                if machine.is_complete() {
                    drop(machine.release(&all, &policy));
                }
                prop_assert_eq!(done, expected, "{:?}", act);
                let stands = people.guard().store().state().request(row.id).await.unwrap().unwrap();
                prop_assert_eq!(&stands.state, &machine.state());
                prop_assert_eq!(&stands.signatures, &machine.signatures());
                prop_assert_eq!(stands.grant.is_some(), machine.state() == HoldState::Approved);
            }
            Ok(())
        });
        outcome?;
    }
}
