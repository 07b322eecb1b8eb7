//! Policy tests, run: each asks what it says and is compared with what it expects.

use std::collections::BTreeMap;

use model::{Decision, Facts, Outcome, Pair, Timestamp};

use crate::{
    Version,
    classify::postgres::{SessionView, Statement, catalog::Catalog, classify},
    decide::{Case, Judgement, Wish, decide_at_best, decide_request, judge, may, may_reveal},
    version::{Ask, Expectation, Place, PolicyTest},
};

/// How one policy test ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TestOutcome<'v> {
    /// The test.
    pub test: &'v PolicyTest,
    /// Nothing when it passed, else everything that differs, a sentence each.
    pub differences: Vec<String>,
}

impl TestOutcome<'_> {
    /// Whether it ended as expected.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Runs every policy test of a version. Statements are understood by the catalog snapshot they name, from `catalogs`; a test whose snapshot is
/// not there fails and says so.
#[must_use]
pub fn run_tests<'v>(version: &'v Version, catalogs: &BTreeMap<String, Catalog>, now: Timestamp) -> Vec<TestOutcome<'v>> {
    version.tests.iter().map(|test| TestOutcome { test, differences: Trial { version, test, now }.run(catalogs) }).collect()
}

struct Trial<'a> {
    version: &'a Version,
    test: &'a PolicyTest,
    now: Timestamp,
}

/// What one test found.
struct Found {
    outcome: Expectation,
    decision: Option<Decision>,
    masked: Vec<String>,
}

impl Found {
    fn of(decision: Decision, masked: Vec<String>) -> Self {
        let outcome = match decision.outcome {
            Outcome::Allow => Expectation::Allow,
            Outcome::Hold(_) => Expectation::Hold,
            Outcome::Deny => Expectation::Deny,
        };
        Self { outcome, decision: Some(decision), masked }
    }
}

impl Trial<'_> {
    fn run(&self, catalogs: &BTreeMap<String, Catalog>) -> Vec<String> {
        match self.find(catalogs) {
            Ok(found) => self.compare(&found),
            Err(sentence) => vec![sentence],
        }
    }

    fn find(&self, catalogs: &BTreeMap<String, Catalog>) -> Result<Found, String> {
        let version = self.version;
        let plain = |yes: bool| Found { outcome: if yes { Expectation::Allow } else { Expectation::Deny }, decision: None, masked: Vec::new() };
        match &self.test.ask {
            Ask::System(action) => Ok(plain(self.test.chain.members().all(|member| may(version, member, *action, self.now)))),
            Ask::Reveal { place, class } => Ok(plain(may_reveal(version, &self.test.chain, &place.connection, &place.database, class, self.now))),
            Ask::Request { place, role, window_s, one_statement } => {
                let wish = Wish { role, window_s: *window_s, one_statement: *one_statement, reason: "" };
                Ok(Found::of(decide_request(version, &self.test.chain, &place.connection, wish, self.now), Vec::new()))
            }
            Ask::Action { place, action, object } => {
                let pair = Pair { action: *action, object: object.clone() };
                Ok(self.decided(place, &facts_of(pair), None))
            }
            Ask::Statement { place, text, catalog } => {
                let missing = || {
                    let name = model::name::printable(catalog);
                    format!("there is no catalog snapshot `{name}`: write one with `countersign catalog export {name}`")
                };
                let catalog = catalogs.get(catalog).ok_or_else(missing)?;
                let view = SessionView {
                    database: place.database.as_str().into(),
                    host: place.connection.name.as_str().into(),
                    role: place.connection.login.user.as_str().into(),
                    session_user: place.connection.login.user.as_str().into(),
                    ..SessionView::default()
                };
                let facts = classify(&Statement { text, parameters: None }, catalog, &view);
                Ok(self.decided(place, &facts, Some(catalog)))
            }
        }
    }

    fn decided(&self, place: &Place, facts: &Facts, catalog: Option<&Catalog>) -> Found {
        let case = Case {
            chain: &self.test.chain,
            connection: &place.connection,
            database: &place.database,
            facts,
            recent: self.test.recent,
            now: self.now,
        };
        let (decision, plan) = match catalog {
            Some(catalog) => {
                let Judgement { decision, plan, .. } = judge(self.version, &case, catalog);
                (decision, plan)
            }
            None => (decide_at_best(self.version, &case), None),
        };
        let masked = plan.iter().flat_map(|plan| plan.masked().iter().map(|column| column.column.clone())).collect();
        Found::of(decision, masked)
    }

    fn compare(&self, found: &Found) -> Vec<String> {
        let mut differences = Vec::new();
        let decision = found.decision.as_ref();
        if found.outcome != self.test.expect {
            let reasons = decision.map(|decision| decision.reasons.join("; ")).filter(|reasons| !reasons.is_empty());
            let because = reasons.map(|reasons| format!(": {reasons}")).unwrap_or_default();
            differences.push(format!("expected {}, got {}{because}", self.test.expect, found.outcome));
        }
        let policies = decision.map(|decision| decision.policies.as_slice()).unwrap_or_default();
        for policy in self.test.policies.iter().filter(|policy| !policies.contains(policy)) {
            let names: Vec<&str> = policies.iter().map(AsRef::as_ref).collect();
            let deciding = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            differences.push(format!("policy `{policy}` did not decide; these did: {deciding}"));
        }
        if let Some(expected) = &self.test.masked {
            differences.extend(expected.iter().filter(|column| !found.masked.contains(column)).map(|column| format!("{column} is not masked")));
            differences.extend(found.masked.iter().filter(|column| !expected.contains(column)).map(|column| format!("{column} is masked")));
        }
        differences
    }
}

/// What is known of an operation of which only one pair is.
fn facts_of(pair: Pair) -> Facts {
    Facts {
        understanding: model::Understanding::Full,
        pairs: vec![pair],
        kinds: Vec::new(),
        statements: 1,
        reads: Vec::new(),
        writes: Vec::new(),
        functions: Vec::new(),
        row_scope: model::RowScope::None,
        risk: model::Risk::new(0),
        effects: model::Effects::default(),
        outputs: model::facts::Outputs::default(),
        filters: model::facts::Filters::default(),
        secret_spans: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    const TESTS: &str = r#"
[identities]
alice = { groups = ["engineers"] }
[[test]]
name = "right"
identity = "alice"
connection = "prod-pg"
action = "destroy"
table = "public.payments"
expect = "hold"
policies = ["prod-destroy"]
[[test]]
name = "wrong answer"
identity = "alice"
connection = "prod-pg"
action = "write"
table = "public.payments"
expect = "allow"
[[test]]
name = "wrong policy"
identity = "alice"
connection = "prod-pg"
action = "destroy"
table = "public.payments"
expect = "hold"
policies = ["other"]
[[test]]
name = "no snapshot"
identity = "alice"
connection = "prod-pg"
statement = "select 1"
expect = "allow"
[[test]]
name = "wrong environment is no production"
identity = "alice"
environment = "staging"
action = "destroy"
table = "public.payments"
expect = "deny"
"#;

    #[test]
    fn what_differs_is_said() {
        let mut files = fixtures::files(
            r#"permit (principal in Group::"engineers", action == Action::"destroy", resource in Environment::"production");
@id("prod-destroy") @approvers("dba") forbid (principal, action == Action::"destroy", resource) unless { context.approved };"#,
        );
        files.insert("tests/a.toml".to_owned(), TESTS.to_owned());
        let version = fixtures::load_files(&files);
        let outcomes = run_tests(&version, &BTreeMap::new(), fixtures::now());
        let found: Vec<(u32, Vec<&str>)> =
            outcomes.iter().map(|outcome| (outcome.test.line, outcome.differences.iter().map(String::as_str).collect())).collect();
        let expected: [(u32, Vec<&str>); 5] = [
            (4, vec![]),
            (12, vec!["expected allow, got deny: no policy permits `write` on public.payments for alice"]),
            (19, vec!["policy `other` did not decide; these did: prod-destroy"]),
            (27, vec!["there is no catalog snapshot `prod-pg`: write one with `countersign catalog export prod-pg`"]),
            (33, vec![]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_statement_is_understood_by_its_snapshot() {
        let mut files = fixtures::files("permit (principal, action in [Action::\"connect\", Action::\"read\"], resource);");
        files.insert("data-classes.toml".to_owned(), "[email]\nmask = \"keep-domain\"\ncolumns = [\"public.customers.email\"]".to_owned());
        let test = |statement: &str, expect: &str, masked: &str| {
            format!(
                "[[test]]\nname = {statement:?}\nidentity = \"alice\"\nconnection = \"prod-pg\"\ncatalog = \"snapshot\"\nstatement = {statement:?}\n\
                 expect = {expect:?}\nmasked = [{masked}]\n"
            )
        };
        let tests = [
            test("select id from plain", "allow", ""),
            test("select * from customers", "allow", "\"public.customers.email\""),
            test("drop table customers", "deny", "\"public.customers.email\""),
        ];
        files.insert("tests/a.toml".to_owned(), format!("[identities]\nalice = {{}}\n{}", tests.concat()));
        let version = fixtures::load_files(&files);
        let catalogs = BTreeMap::from([("snapshot".to_owned(), fixtures::catalog())]);
        for outcome in run_tests(&version, &catalogs, fixtures::now()) {
            assert!(outcome.passed(), "{}: {:?}", outcome.test.name, outcome.differences);
        }
    }

    #[test]
    fn a_role_is_asked_for_by_name_and_counts_where_it_was_granted() {
        let mut files = fixtures::files(
            r#"permit (principal, action, resource in Environment::"production") when { principal in Group::"engineers" && context.statement.risk < 3 };
permit (principal in Group::"writers", action == Action::"write", resource in Connection::"prod-pg");
permit (principal in Group::"engineers", action == Action::"request", resource == Role::"prod-pg/writer") when { context.request.window_s <= 3600 };
@id("writers") @approvers("dba") forbid (principal, action == Action::"request", resource == Role::"prod-pg/writer")
when { !context.request.one_statement && context.request.reason != "drill" } unless { context.approved };"#,
        );
        if let Some(connection) = files.get_mut("connections/prod-pg.toml") {
            connection.push_str("[roles]\nwriter = \"writers\"\nowner = \"owners\"\n");
        }
        let asks = |role: &str, more: &str, expect: &str| {
            format!(
                "[[test]]\nname = \"x\"\nidentity = \"alice\"\nconnection = \"prod-pg\"\naction = \"request\"\nrole = \"{role}\"\n{more}expect = \"{expect}\"\n"
            )
        };
        let writes = |granted: &str, expect: &str| {
            format!(
                "[[test]]\nname = \"x\"\nidentity = \"alice\"\nconnection = \"prod-pg\"\naction = \"write\"\ntable = \"public.payments\"\n\
                 {granted}expect = \"{expect}\"\n"
            )
        };
        let tests = [
            asks("writer", "", "hold"),
            asks("writer", "window_s = 3601\n", "deny"),
            asks("writer", "scope = \"statement\"\n", "allow"),
            asks("writer", "granted = [\"owner\"]\n", "hold"),
            asks("owner", "granted = [\"writer\"]\n", "deny"),
            writes("", "allow"),
            writes("granted = [\"writer\"]\n", "allow"),
            "[[test]]\nname = \"governing\"\nidentity = \"bob\"\nconnection = \"prod-pg\"\naction = \"write\"\ntable = \"public.payments\"\nexpect = \"deny\"\n".to_owned(),
            "[[test]]\nname = \"granted\"\nidentity = \"bob\"\nconnection = \"prod-pg\"\naction = \"write\"\ntable = \"public.payments\"\ngranted = [\"writer\"]\nexpect = \"allow\"\n".to_owned(),
        ];
        files.insert("tests/a.toml".to_owned(), format!("[identities]\nalice = {{ groups = [\"engineers\"] }}\nbob = {{}}\n{}", tests.concat()));
        for outcome in run_tests(&fixtures::load_files(&files), &BTreeMap::new(), fixtures::now()) {
            assert!(outcome.passed(), "{}: {:?}", outcome.test.line, outcome.differences);
        }
    }

    #[test]
    fn what_the_caller_did_before_may_decide() {
        let mut files = fixtures::files(
            r#"permit (principal, action == Action::"write", resource);
@id("mass-change") @approvers("dba") forbid (principal, action == Action::"write", resource) when { context.recent.rows_written >= 1000 } unless { context.approved };"#,
        );
        let test = |rows: &str, expect: &str| {
            format!(
                "[[test]]\nname = \"{expect}\"\nidentity = \"alice\"\nconnection = \"prod-pg\"\naction = \"write\"\n\
                 table = \"public.payments\"\n{rows}expect = \"{expect}\"\n"
            )
        };
        let tests = [test("", "allow"), test("rows_written = 999\n", "allow"), test("rows_written = 1000\n", "hold")];
        files.insert("tests/a.toml".to_owned(), format!("[identities]\nalice = {{}}\n{}", tests.concat()));
        for outcome in run_tests(&fixtures::load_files(&files), &BTreeMap::new(), fixtures::now()) {
            assert!(outcome.passed(), "{}: {:?}", outcome.test.name, outcome.differences);
        }
    }
}
