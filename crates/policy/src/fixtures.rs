//! Small versions, chains and facts for the tests of this crate.

use model::{
    Action, Actor, ActorChain, Connection, Effects, Facts, IdentityId, IdentityKind, Object, Pair, Requirement, Risk, RowScope, Timestamp,
    Understanding, facts::Outputs,
};

use crate::{Files, Version, classify::postgres::catalog::Catalog};

pub(crate) const CONNECTION: &str = r#"
protocol = "postgres"
host = "127.0.0.1"
database = "shop"
environment = "production"
tags = ["pci"]
user = "countersign"
password = { env = "PROD_PG_PASSWORD" }
"#;

pub(crate) fn files(policy: &str) -> Files {
    Files::from([("connections/prod-pg.toml".to_owned(), CONNECTION.to_owned()), ("policy/main.cedar".to_owned(), policy.to_owned())])
}

pub(crate) fn load(policy: &str) -> Version {
    load_files(&files(policy))
}

pub(crate) fn load_files(files: &Files) -> Version {
    Version::load(files).unwrap_or_else(|problems| panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>()))
}

pub(crate) fn connection() -> Connection {
    let version = load("");
    version.connections.values().next().map(|connection| (**connection).clone()).unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub(crate) fn identity(name: &str, groups: &[&str]) -> Actor {
    let id = name.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Actor {
        id: IdentityId::from_random(id),
        name: name.parse().unwrap(),
        kind: IdentityKind::User,
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        owner: None,
        run: None,
        granted: Vec::new(),
    }
}

pub(crate) fn chain(members: &[(&str, &[&str])]) -> ActorChain {
    let mut members = members.iter().map(|(name, groups)| identity(name, groups));
    ActorChain { subject: members.next().unwrap(), actors: members.collect(), minted_by: None }
}

pub(crate) fn table(name: &str) -> Object {
    Object::Table { database: "shop".into(), schema: "public".into(), table: name.into() }
}

pub(crate) fn requirement(policy: &str, approvers: &[&str]) -> Requirement {
    let approvers = approvers.iter().map(|group| group.parse().unwrap()).collect();
    Requirement { policy: policy.parse().unwrap(), approvers, count: 1, reason: None, watched: false }
}

pub(crate) fn facts(pairs: &[(Action, Object)]) -> Facts {
    let mut pairs: Vec<Pair> = pairs.iter().map(|(action, object)| Pair { action: *action, object: object.clone() }).collect();
    pairs.sort();
    Facts {
        understanding: Understanding::Full,
        pairs,
        kinds: vec!["SELECT".into()],
        statements: 1,
        reads: Vec::new(),
        writes: Vec::new(),
        functions: Vec::new(),
        row_scope: RowScope::None,
        risk: Risk::new(0),
        effects: Effects::default(),
        outputs: Outputs::default(),
        filters: model::facts::Filters::default(),
        secret_spans: Vec::new(),
    }
}

pub(crate) const CUSTOMERS: u32 = 20_000;
pub(crate) const PLAIN: u32 = 20_001;
pub(crate) const ORDERS: u32 = 20_002;
pub(crate) const ORDERS_2026: u32 = 20_003;
pub(crate) const VIEW: u32 = 20_004;
pub(crate) const STATISTIC: u32 = 2_619;
const EMAIL_DOMAIN: u32 = 20_100;

/// A few relations as a snapshot would hold them.
pub(crate) fn catalog() -> Catalog {
    let column = |number: i16, name: &str, type_oid: u32| serde_json::json!({ "number": number, "name": name, "type_oid": type_oid, "not_null": false, "has_default": false });
    let relation = |oid: u32, schema: &str, name: &str, kind: &str, columns: &[serde_json::Value], parents: &[u32], children: &[u32]| serde_json::json!({ "oid": oid, "schema": schema, "name": name, "kind": kind, "columns": columns, "parents": parents, "children": children, "row_type": 0 });
    let customers =
        [column(1, "id", 23), column(2, "email", EMAIL_DOMAIN), column(3, "phone", 1043), column(4, "salary", 1700), column(5, "name", 25)];
    let orders = [column(1, "id", 23), column(2, "email", 25)];
    let relations = [
        relation(CUSTOMERS, "public", "customers", "table", &customers, &[], &[]),
        relation(PLAIN, "public", "plain", "table", &[column(1, "id", 23)], &[], &[]),
        relation(ORDERS, "public", "orders", "partitioned", &orders, &[], &[ORDERS_2026]),
        relation(ORDERS_2026, "public", "orders_2026", "partition", &orders, &[ORDERS], &[]),
        relation(VIEW, "public", "contacts", "view", &[column(1, "email", 25)], &[], &[]),
        relation(STATISTIC, "pg_catalog", "pg_statistic", "table", &[column(1, "starelid", 26)], &[], &[]),
    ];
    let mut json = serde_json::to_value(Catalog::default()).unwrap();
    json["relations"] = serde_json::json!(relations);
    json["types"] = serde_json::json!([{ "oid": EMAIL_DOMAIN, "schema": "public", "name": "email_address", "base": 25, "element": 0 }]);
    serde_json::from_value(json).unwrap()
}
