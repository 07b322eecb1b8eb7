//! Random pipelines, rulings and cuts against the model: the caller sees what it would see of a target where what is refused fails.

use bytes::BytesMut;
use proptest::prelude::*;

use super::world::{Say, TEXTS, World, check, write};
use crate::postgres::message::frontend::{self, Kind};

fn say() -> impl Strategy<Value = Say> {
    let text = || prop::sample::select(&TEXTS[..]);
    let statement = || prop::sample::select(&["", "", "s1", "s2"][..]);
    let portal = || prop::sample::select(&["", "", "p1"][..]);
    prop_oneof![
        3 => prop_oneof![text(), Just("ins 3; ins 4"), Just("ins 5; fail"), Just("secret 1; ins 6"), Just("begin; ins 7; commit; ins deny")].prop_map(Say::Query),
        5 => (statement(), text()).prop_map(|(name, text)| Say::Parse(name, text)),
        5 => (portal(), statement()).prop_map(|(portal, name)| Say::Bind(portal, name)),
        5 => (portal(), 0..3i32).prop_map(|(portal, rows)| Say::Execute(portal, rows)),
        1 => statement().prop_map(|name| Say::Describe(Kind::Statement, name)),
        1 => portal().prop_map(|name| Say::Describe(Kind::Portal, name)),
        1 => statement().prop_map(|name| Say::Close(Kind::Statement, name)),
        1 => portal().prop_map(|name| Say::Close(Kind::Portal, name)),
        4 => Just(Say::Sync),
        1 => Just(Say::Flush),
        1 => Just(Say::Data),
        1 => (any::<bool>(), any::<bool>(), prop::sample::select(&["c1", "bad"][..]), any::<bool>())
            .prop_map(|(simple, synced, data, fails)| Say::Copy { simple, synced, data, fails }),
    ]
}

fn conversation() -> impl Strategy<Value = Vec<Say>> {
    prop::collection::vec(say(), 1..30)
}

/// Conversations about one name, in which a Parse often fails because the name is taken.
fn conversation_of_names() -> impl Strategy<Value = Vec<Say>> {
    const TEXTS: [&str; 6] = ["ins deny", "sel 1", "prepare s1 ins deny", "prepare s1 sel 1", "deallocate s1", "execute s1"];
    let text = || prop::sample::select(&TEXTS[..]);
    let run = [Say::Bind("", "s1"), Say::Execute("", 0), Say::Sync];
    let said = prop_oneof![
        2 => prop::sample::select(&["ins deny", "sel 1"][..]).prop_map(|text| vec![Say::Parse("s1", text), Say::Sync]),
        2 => Just(run.to_vec()),
        2 => text().prop_map(|text| vec![Say::Query(text)]),
        1 => text().prop_map(|text| vec![Say::Parse("", text), Say::Bind("", ""), Say::Execute("", 0)]),
        1 => text().prop_map(|text| vec![Say::Parse("", "execute s1"), Say::Bind("", ""), Say::Parse("s1", text), Say::Bind("", "")]),
        1 => text().prop_map(|text| vec![
            Say::Parse("", "execute s1"), Say::Bind("", ""), Say::Close(Kind::Statement, "s1"), Say::Parse("s1", text), Say::Execute("", 0), Say::Sync
        ]),
        1 => Just(vec![Say::Close(Kind::Statement, "s1")]),
        1 => Just(vec![Say::Sync]),
    ];
    prop::collection::vec(said, 1..8).prop_map(|said| said.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1000), ..ProptestConfig::default() })]

    #[test]
    fn the_caller_sees_a_target_where_the_refused_fails(
        said in conversation(),
        steps in prop::collection::vec((any::<u8>(), 1..80usize), 0..400),
        max_owed in prop_oneof![Just(1usize), Just(3), Just(16_384)],
    ) {
        check(&said, &steps, max_owed);
    }

    #[test]
    fn no_name_lends_its_text_to_another_statement(
        said in conversation_of_names(),
        steps in prop::collection::vec((any::<u8>(), 1..200usize), 0..40),
    ) {
        check(&said, &steps, 16_384);
    }
}

#[test]
fn a_pipeline_of_100_000_statements_flows() {
    let said = [Say::Parse("", "ins 1"), Say::Bind("", ""), Say::Execute("", 0)];
    let mut caller = BytesMut::new();
    (0..100_000).for_each(|_| said.iter().for_each(|say| write(say, &mut caller)));
    frontend::sync(&mut caller);
    let mut world = World::new(&caller, 16_384);
    while (0..4).any(|choice| world.step(choice, 16 << 10)) {}
    assert_eq!(world.target.committed.len(), 100_000);
    assert!(world.told.ends_with(b"Z\0\0\0\x05I") && !world.dialogue.is_busy());
}
