//! Accounts at identity providers, and sign-ins.

use model::{
    IdentityId, IdentityName, Run, Secret, SignInId, TokenId, TrustId,
    token::{TokenRow, TokenUse},
};

use super::fixtures::{Place, add_user, at, name, nightly, on_both, token};
use crate::{
    Store,
    state::{Account, AddTokenError, ChangeIdentityError, LinkError, NewSignIn, SignInError, TrustError, TrustRule, Which},
};

on_both! {
    a_newcomer_is_entered_and_found_again_by_issuer_and_subject,
    groups_are_an_administrators_and_those_the_provider_tells_of,
    an_account_is_one_persons_and_takes_their_password_away,
    what_was_minted_in_a_sign_in_ends_with_it,
    a_sign_in_that_is_over_is_ended_again_for_a_while,
    what_a_provider_is_asked_with_is_nobodys_to_see,
    groups_last_as_long_as_a_sign_in_there_stands,
    whoever_has_an_account_has_no_other_way_in,
    sign_ins_are_checked_as_long_as_they_have_a_token,
    a_rule_is_a_workloads_and_what_it_gave_out_ends_with_it,
    what_a_delegation_was_exchanged_for_ends_with_it,
}

pub(super) fn account(subject: &str) -> Account {
    Account { issuer: "https://idp.example".to_owned(), subject: subject.to_owned() }
}

pub(super) fn sign_in(number: u64, subject: &str, newcomer: Option<&str>) -> NewSignIn {
    NewSignIn {
        id: SignInId::from_random(number),
        provider: "idp".parse().unwrap(),
        account: account(subject),
        email: Some(format!("{subject}@example.com")),
        groups: vec!["engineers".parse().unwrap()],
        session: Some(format!("session {number}")),
        checkable: true,
        newcomer: newcomer.map(|text| (IdentityId::from_random(100 + number), name(text))),
    }
}

/// A token minted in a sign-in.
async fn mint(store: &Store, number: u64, subject: &str, sign_in: u64) -> Result<TokenId, AddTokenError> {
    let (mut row, digest, _) = token(number, subject);
    row.sign_in = Some(SignInId::from_random(sign_in));
    row.purpose = TokenUse::Api;
    row.connections.clear();
    store.state().add_token(&row, &digest).await.map(|()| row.id)
}

fn groups(names: &[&str]) -> Vec<model::GroupName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

async fn a_newcomer_is_entered_and_found_again_by_issuer_and_subject(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    // The name of somebody who is there is not taken over, however the letters are written.
    for taken in ["alice", "Alice"] {
        assert!(matches!(state.begin_sign_in(&sign_in(1, "a", Some(taken)), at(10)).await, Err(SignInError::Taken(_))));
    }
    assert!(matches!(state.begin_sign_in(&sign_in(1, "a", None), at(10)).await, Err(SignInError::Unlinked)));
    let entered = state.begin_sign_in(&sign_in(1, "a", Some("anna")), at(10)).await.unwrap();
    assert!(entered.is_new && entered.identity.created_by == name("idp") && entered.before.is_empty());
    assert_eq!(entered.identity.groups, groups(&["engineers"]));
    // Another name and address later: the same person. Another issuer: somebody else.
    let again = state.begin_sign_in(&sign_in(2, "a", Some("somebody")), at(20)).await.unwrap();
    assert_eq!((again.is_new, again.identity.name), (false, name("anna")));
    let mut other = sign_in(3, "a", Some("anna"));
    other.account.issuer = "https://other.example".to_owned();
    assert!(matches!(state.begin_sign_in(&other, at(20)).await, Err(SignInError::Taken(_))));
    let rows = state.accounts(Some(&name("anna"))).await.unwrap();
    assert_eq!((rows.len(), rows[0].account.clone(), rows[0].last_sign_in), (1, account("a"), Some(at(20))));
    state.revoke_identity(&name("anna"), &name("alice"), at(30)).await.unwrap();
    assert!(matches!(state.begin_sign_in(&sign_in(4, "a", Some("anna2")), at(31)).await, Err(SignInError::Inactive(_))));
}

async fn groups_are_an_administrators_and_those_the_provider_tells_of(place: Place) {
    let store = place.open().await;
    let state = store.state();
    let anna: IdentityName = state.begin_sign_in(&sign_in(1, "a", Some("anna")), at(10)).await.unwrap().identity.name;
    assert_eq!(state.set_groups(&anna, &groups(&["dba"])).await.unwrap().groups, groups(&["dba", "engineers"]));
    let told = groups(&["support"]);
    let changed = state.note_checked(SignInId::from_random(1), Some((Some("new@example.com"), &told)), at(20)).await.unwrap();
    assert_eq!(changed, Some((groups(&["dba", "engineers"]), groups(&["dba", "support"]))));
    assert_eq!(state.note_checked(SignInId::from_random(1), None, at(21)).await.unwrap().unwrap().1, groups(&["dba", "support"]));
    state.set_groups(&anna, &[]).await.unwrap();
    assert_eq!(state.identity(&anna).await.unwrap().unwrap().groups, told);
    let unlink = async || state.unlink_account(&account("a"), "why", &name("admin"), at(30)).await.unwrap();
    assert_eq!(unlink().await.unwrap().len(), 1, "its sign-in ends with it");
    assert_eq!(state.identity(&anna).await.unwrap().unwrap().groups, []);
    assert_eq!(unlink().await, None);
}

async fn an_account_is_one_persons_and_takes_their_password_away(place: Place) {
    let store = place.open().await;
    let (state, provider) = (store.state(), "idp".parse().unwrap());
    add_user(&store, 1, "alice").await;
    add_user(&store, 2, "bob").await;
    state.set_password_hash(&name("alice"), Some("$argon2id$x")).await.unwrap();
    state.link_account(&account("a"), &provider, &name("alice"), &name("bob"), at(5)).await.unwrap();
    assert_eq!(state.identity_and_password(&name("alice")).await.unwrap().unwrap().1, None);
    let again = state.link_account(&account("a"), &provider, &name("bob"), &name("bob"), at(6)).await;
    assert!(matches!(again, Err(LinkError::Linked(owner)) if owner == name("alice")));
    let ghost = state.link_account(&account("b"), &provider, &name("ghost"), &name("bob"), at(6)).await;
    assert!(matches!(ghost, Err(LinkError::Nobody(_))));
    assert_eq!(state.begin_sign_in(&sign_in(1, "a", None), at(10)).await.unwrap().identity.name, name("alice"));
}

async fn a_sign_in_that_is_over_is_ended_again_for_a_while(place: Place) {
    let store = place.open().await;
    let state = store.state();
    state.begin_sign_in(&sign_in(1, "a", Some("anna")), at(10)).await.unwrap();
    let minted = mint(&store, 1, "anna", 1).await.unwrap();
    let end = async |now| state.end_sign_ins(&session("session 1", None), "why", &name("idp"), at(now)).await.unwrap();
    assert!(end(20).await.iter().all(|one| !one.again && one.tokens == [minted]));
    let again = end(30).await;
    assert!(again.len() == 1 && again[0].again && again[0].tokens == [minted], "what it opened may have been left");
    assert_eq!(end(20 + 601).await, []);
}

fn session(session: &str, subject: Option<&str>) -> Which {
    Which::Session { issuer: "https://idp.example".to_owned(), session: session.to_owned(), subject: subject.map(str::to_owned) }
}

async fn what_was_minted_in_a_sign_in_ends_with_it(place: Place) {
    let store = place.open().await;
    let state = store.state();
    for number in 1..=3 {
        state
            .begin_sign_in(&sign_in(number, if number == 3 { "b" } else { "a" }, Some(if number == 3 { "bob" } else { "anna" })), at(10))
            .await
            .unwrap();
    }
    let (first, second, other) =
        (mint(&store, 1, "anna", 1).await.unwrap(), mint(&store, 2, "anna", 2).await.unwrap(), mint(&store, 3, "bob", 3).await.unwrap());

    let end = async |which: Which| state.end_sign_ins(&which, "why", &name("idp"), at(20)).await.unwrap();
    assert_eq!(end(session("session 1", Some("b"))).await, [], "of another person's session");
    let ended = end(session("session 1", Some("a"))).await;
    assert_eq!((ended.len(), ended[0].tokens.clone(), ended[0].identity.clone()), (1, vec![first], name("anna")));
    assert!(matches!(mint(&store, 4, "anna", 1).await, Err(AddTokenError::SignedOut)), "nothing slips in behind");
    assert!(state.note_checked(SignInId::from_random(1), None, at(21)).await.unwrap().is_none());
    let revoked = async |id| state.token(id).await.unwrap().unwrap().revoked_by;
    assert_eq!((revoked(first).await, revoked(second).await), (Some(name("idp")), None));
    let both = end(Which::Of(account("a"))).await;
    assert_eq!(both.iter().filter(|one| !one.again).map(|one| one.tokens.clone()).collect::<Vec<_>>(), [[second]]);
    assert_eq!(revoked(other).await, None);
    assert_eq!(end(Which::One(SignInId::from_random(3))).await[0].tokens, [other]);
}

async fn groups_last_as_long_as_a_sign_in_there_stands(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "anna").await;
    state.link_account(&account("a"), &"idp".parse().unwrap(), &name("anna"), &name("anna"), at(5)).await.unwrap();
    let mut elsewhere = sign_in(2, "b", None);
    elsewhere.account.issuer = "https://other.example".to_owned();
    elsewhere.groups = groups(&["contractors"]);
    elsewhere.session = None;
    state.link_account(&elsewhere.account, &"other".parse().unwrap(), &name("anna"), &name("anna"), at(5)).await.unwrap();
    let first = NewSignIn { groups: groups(&["support"]), ..sign_in(1, "a", None) };
    state.begin_sign_in(&first, at(10)).await.unwrap();
    state.begin_sign_in(&elsewhere, at(10)).await.unwrap();
    let has = async |group: &str| state.identity(&name("anna")).await.unwrap().unwrap().groups.contains(&group.parse().unwrap());
    assert!(has("support").await && has("contractors").await);
    // Barred at the one, she keeps nothing of it by signing in at the other.
    state.end_sign_ins(&Which::One(SignInId::from_random(1)), "why", &name("idp"), at(20)).await.unwrap();
    assert!(!has("support").await && has("contractors").await);
    // A session that the provider did not name is any of the person's.
    let session = Which::Session { issuer: "https://other.example".to_owned(), session: "s".to_owned(), subject: Some("b".to_owned()) };
    assert_eq!(state.end_sign_ins(&session, "why", &name("other"), at(30)).await.unwrap().len(), 1);
    assert!(!has("contractors").await && state.providers_with_sign_ins().await.unwrap().is_empty());
}

async fn whoever_has_an_account_has_no_other_way_in(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let (row, digest, _) = token(1, "alice");
    state.add_token(&row, &digest).await.unwrap();
    state.link_account(&account("a"), &"idp".parse().unwrap(), &name("alice"), &name("bob"), at(5)).await.unwrap();
    assert_eq!(state.token(row.id).await.unwrap().unwrap().revoked_by, Some(name("bob")), "what was minted with the password");
    let (row, digest, _) = token(2, "alice");
    assert!(matches!(state.add_token(&row, &digest).await, Err(AddTokenError::SignedOut)));
    assert!(matches!(state.set_password_hash(&name("alice"), Some("$argon2id$x")).await, Err(ChangeIdentityError::Elsewhere(_))));
}

async fn what_a_provider_is_asked_with_is_nobodys_to_see(place: Place) {
    let store = place.open().await;
    let (secrets, id) = (store.secrets(), SignInId::from_random(1));
    secrets.keep_refresh(id, &Secret::from("refresh".to_owned()), at(10)).await.unwrap();
    assert_eq!(secrets.list().await.unwrap(), []);
    assert_eq!(secrets.refresh(id).await.unwrap().unwrap().reveal(), b"refresh");
    assert!(secrets.forget_refresh(id).await.unwrap() && secrets.refresh(id).await.unwrap().is_none());
}

async fn sign_ins_are_checked_as_long_as_they_have_a_token(place: Place) {
    let store = place.open().await;
    let (state, provider) = (store.state(), "idp".parse().unwrap());
    state.begin_sign_in(&sign_in(1, "a", Some("anna")), at(100)).await.unwrap();
    let due = async |before, now| {
        state.sign_ins_to_check(&provider, at(before), 10, at(now)).await.unwrap().into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(due(200, 200).await, [], "it has no token");
    assert_eq!(state.sign_ins_run_out(10, at(120)).await.unwrap(), [], "it has just begun");
    let minted = mint(&store, 1, "anna", 1).await.unwrap();
    let id = SignInId::from_random(1);
    assert_eq!(due(100, 100).await, [id]);
    assert_eq!(due(99, 100).await, []);
    state.note_checked(id, None, at(150)).await.unwrap();
    assert_eq!((due(149, 150).await, due(150, 150).await), (vec![], vec![id]));
    assert_eq!(state.sign_ins_run_out(10, at(300)).await.unwrap(), []);
    state.revoke_token(minted, &name("anna"), at(300)).await.unwrap();
    assert_eq!((due(300, 300).await, state.sign_ins_run_out(10, at(300)).await.unwrap()), (vec![], vec![id]));
}

pub(super) fn rule(number: u64, workload: &str) -> TrustRule {
    TrustRule {
        id: TrustId::from_random(number),
        identity: name(workload),
        issuer: "ci".parse().unwrap(),
        anchor: "GitHub https://ci.example".to_owned(),
        claims: [("repository_id".to_owned(), "74".to_owned())].into(),
        created_by: name("alice"),
        created_at: at(20),
        last_used: None,
        revoked_at: None,
        revoked_by: None,
    }
}

async fn a_rule_is_a_workloads_and_what_it_gave_out_ends_with_it(place: Place) {
    let store = place.open().await;
    let (state, ci) = (store.state(), "ci".parse().unwrap());
    add_user(&store, 1, "alice").await;
    state.add_identity(IdentityId::from_random(2), &nightly("alice", at(5_000)), &name("alice"), at(1)).await.unwrap();
    for nobody in ["alice", "ghost"] {
        assert!(matches!(state.add_trust(&rule(1, nobody)).await, Err(TrustError::Workload(_))), "{nobody}");
    }
    state.add_trust(&rule(1, "nightly")).await.unwrap();
    assert_eq!(state.trust_in(&ci).await.unwrap(), [rule(1, "nightly")]);
    let given = async |number| {
        let (mut row, digest, _) = token(number, "nightly");
        let details = [("run_id".to_owned(), "812".to_owned())].into();
        row.run = Some(Run { id: "812".to_owned(), issuer: "ci".to_owned(), details });
        row.trust = Some(TrustId::from_random(1));
        state.add_token(&row, &digest).await.map(|()| row)
    };
    let row = given(1).await.unwrap();
    assert_eq!(state.token(row.id).await.unwrap(), Some(row.clone()), "with its run");
    state.touch_trust(TrustId::from_random(1), at(30)).await.unwrap();
    assert_eq!(state.trust_of(&name("nightly")).await.unwrap()[0].last_used, Some(at(30)));
    assert_eq!(state.revoke_trust(&name("alice"), TrustId::from_random(1), &name("alice"), at(40)).await.unwrap(), None, "of another identity");
    assert_eq!(state.revoke_trust(&name("nightly"), TrustId::from_random(1), &name("alice"), at(40)).await.unwrap(), Some(vec![row.id]));
    assert_eq!(state.revoke_trust(&name("nightly"), TrustId::from_random(1), &name("alice"), at(41)).await.unwrap(), Some(vec![row.id]), "again");
    assert!(state.trust_in(&ci).await.unwrap().is_empty() && state.token(row.id).await.unwrap().unwrap().revoked_at == Some(at(40)));
    assert!(matches!(given(2).await, Err(AddTokenError::Distrusted)), "nothing slips in behind");
}

async fn what_a_delegation_was_exchanged_for_ends_with_it(place: Place) {
    let store = place.open().await;
    let state = store.state();
    add_user(&store, 1, "alice").await;
    let delegation = |row: TokenRow| TokenRow { purpose: TokenUse::Delegate, actors: vec![name("bot")], ..row };
    let (row, digest, _) = token(1, "alice");
    let given = delegation(row);
    state.add_token(&given, &digest).await.unwrap();
    assert_eq!(state.token(given.id).await.unwrap(), Some(given.clone()), "it is no token that connects");
    let exchanged = async |number| {
        let (row, digest, _) = token(number, "alice");
        let row = TokenRow { actors: vec![name("bot")], parent: Some(given.id), minted_by: name("bot"), ..row };
        state.add_token(&row, &digest).await.map(|()| row.id)
    };
    let (first, second) = (exchanged(2).await.unwrap(), exchanged(3).await.unwrap());
    assert_eq!(state.revoke_token(first, &name("alice"), at(20)).await.unwrap(), [first], "one of them alone");
    assert_eq!(state.revoke_token(given.id, &name("alice"), at(30)).await.unwrap(), [given.id, first, second]);
    assert_eq!(state.token(first).await.unwrap().unwrap().revoked_at, Some(at(20)), "the first time stands");
    assert_eq!(state.tokens(Some(&name("bot"))).await.unwrap().len(), 3, "what it acts with is listed");
    assert!(matches!(exchanged(4).await, Err(AddTokenError::Undelegated)), "nothing slips in behind");
}
