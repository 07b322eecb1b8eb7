//! The policies in force: Cedar, read strictly, checked against our schema, found by their scope.
//!
//! Cedar decides every question; what is ours is which policies it is shown (never fewer than could match) and what may be written.

mod checks;
mod slices;
mod source;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use model::{Action, Connection, ConnectionName, PolicyId, SystemAction};

use crate::version::{Lines, Problem};
use checks::Approval;
use slices::{ActionMask, EntityNumber, RuleNumber, Scope, Slices};
use source::{Piece, pieces, tokens};

pub(crate) use world::{Circumstances, Lineage, Unaskable, Vocabulary, World, written};

/// Our schema, in Cedar's own language.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// The schema, parsed once for all versions; the error is for nobody but who changes the schema.
static VALIDATOR: LazyLock<Result<Validator, String>> =
    LazyLock::new(|| Schema::from_str(SCHEMA).map(Validator::new).map_err(|error| error.to_string()));

/// Every policy of a version.
pub(crate) struct Rulebook {
    rules: Vec<Rule>,
    numbers: HashMap<cedar_policy::PolicyId, RuleNumber>,
    slices: Slices,
    looked_at: BTreeSet<String>,
    vocabulary: Vocabulary,
    authorizer: Authorizer,
}

impl std::fmt::Debug for Rulebook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rulebook({} policies)", self.rules.len())
    }
}

/// One policy.
pub(crate) struct Rule {
    pub(crate) id: PolicyId,
    pub(crate) reason: Option<String>,
    pub(crate) approval: Option<Approval>,
    policy: cedar_policy::Policy,
    file: String,
    line: u32,
    column: u32,
}

/// What Cedar answered to one question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    /// The permits of an allow, the forbids of a deny, in their order.
    pub(crate) decided: Vec<RuleNumber>,
    /// Policies that erred, in their order, with what went wrong.
    pub(crate) erred: Vec<(RuleNumber, String)>,
}

/// An entity as the slices know it.
pub(crate) struct Party {
    pub(crate) uid: EntityUid,
    numbers: Vec<EntityNumber>,
}

/// Policy sets of the slices met while one operation is decided; its pairs mostly meet the same few.
#[derive(Default)]
pub(crate) struct Sets(Vec<(Vec<RuleNumber>, PolicySet)>);

/// One question to Cedar, but for its context.
#[derive(Clone, Copy)]
pub(crate) struct Question<'q> {
    pub(crate) principal: &'q Party,
    pub(crate) action: &'static str,
    pub(crate) resource: &'q Party,
}

impl Rulebook {
    pub(crate) const fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    pub(crate) fn looks_at(&self, attribute: &str) -> bool {
        self.looked_at.contains(attribute)
    }

    pub(crate) fn rule(&self, number: RuleNumber) -> Option<&Rule> {
        self.rules.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn party(&self, lineage: &Lineage) -> Party {
        Party { uid: lineage.uid.clone(), numbers: lineage.all().filter_map(|uid| self.slices.number_of(uid)).collect() }
    }

    /// The policies whose scope could match a question.
    pub(crate) fn slice(&self, question: &Question<'_>) -> Vec<RuleNumber> {
        self.slices.slice(&Scope {
            principal_type: question.principal.uid.type_name(),
            principals: &question.principal.numbers,
            action: action_bit(question.action),
            by_name_only: by_name_only(question.action),
            resource_type: question.resource.uid.type_name(),
            resources: &question.resource.numbers,
        })
    }

    /// The policies of a slice as Cedar takes them; kept in `sets` for the next question.
    pub(crate) fn policy_set<'s>(&self, sets: &'s mut Sets, slice: Vec<RuleNumber>) -> Result<&'s PolicySet, Unaskable> {
        let known = sets.0.iter().position(|(numbers, _)| *numbers == slice);
        let place = match known {
            Some(place) => place,
            None => {
                let policies = slice.iter().filter_map(|number| self.rule(*number)).map(|rule| rule.policy.clone());
                let set = PolicySet::from_policies(policies).map_err(Unaskable::from_display)?;
                sets.0.push((slice, set));
                sets.0.len().saturating_sub(1)
            }
        };
        sets.0.get(place).map(|(_, set)| set).ok_or_else(|| Unaskable::from_display("no policy set"))
    }

    /// Asks Cedar.
    pub(crate) fn ask(&self, question: &Question<'_>, set: &PolicySet, context: &Context, entities: &Entities) -> Result<Answer, Unaskable> {
        let action = self.vocabulary.action(question.action)?.clone();
        let request = Request::new(question.principal.uid.clone(), action, question.resource.uid.clone(), context.clone(), None);
        let request = request.map_err(Unaskable::from_display)?;
        let response = self.authorizer.is_authorized(&request, set, entities);
        let number = |id: &cedar_policy::PolicyId| self.numbers.get(id).copied();
        let mut decided: Vec<RuleNumber> = response.diagnostics().reason().filter_map(number).collect();
        decided.sort_unstable();
        let mut erred: Vec<(RuleNumber, String)> = Vec::new();
        for cedar_policy::AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
            erred.extend(number(error.policy_id()).map(|number| (number, error.inner().to_string())));
        }
        erred.sort();
        Ok(Answer { allowed: response.decision() == Decision::Allow, decided, erred })
    }
}

/// What only a policy that names it permits: whoever may do everything has not been given what was not understood, nor more than they have.
fn by_name_only(action: &str) -> bool {
    [Action::Unreadable, Action::Request].iter().any(|only| only.as_str() == action)
}

fn action_bit(name: &str) -> ActionMask {
    let names = Action::ALL.iter().map(|a| a.as_str()).chain(SystemAction::ALL.iter().map(|a| a.as_str()));
    (0u32..).zip(names).find(|(_, known)| *known == name).map_or(0, |(place, _)| 1 << place)
}

/// Reads every policy file. `None` when there is anything wrong; `problems` then says what.
pub(crate) fn load(files: &[(&str, &str)], problems: &mut Vec<Problem>) -> Option<Rulebook> {
    let before = problems.len();
    let vocabulary = Vocabulary::new().map_err(|error| problems.push(Problem::at("policy", "", 0, error.to_string()))).ok()?;
    let validator = VALIDATOR.as_ref().map_err(|error| problems.push(Problem::at("schema", SCHEMA, 0, error))).ok()?;
    let mut reading = Reading { validator, problems, rules: Vec::new(), seen: HashMap::new(), looked_at: BTreeSet::new() };
    for (file, text) in files {
        let lines = Lines::new(text);
        for piece in pieces(text) {
            reading.read(file, &lines, &piece);
        }
    }
    let Reading { rules, looked_at, problems, .. } = reading;
    if problems.len() != before {
        return None;
    }
    let actions: HashMap<EntityUid, ActionMask> = vocabulary.actions().map(|(name, uid)| (uid.clone(), action_bit(name))).collect();
    let mut slices = Slices::default();
    let mut numbers = HashMap::new();
    for (number, rule) in (0..).zip(&rules) {
        slices.add(number, &rule.policy, &actions);
        numbers.insert(rule.policy.id().clone(), number);
    }
    Some(Rulebook { rules, numbers, slices, looked_at, vocabulary, authorizer: Authorizer::new() })
}

/// Policies while they are read.
struct Reading<'p> {
    validator: &'static Validator,
    problems: &'p mut Vec<Problem>,
    rules: Vec<Rule>,
    /// Where each id was given.
    seen: HashMap<PolicyId, (String, u32)>,
    looked_at: BTreeSet<String>,
}

impl Reading<'_> {
    fn read(&mut self, file: &str, lines: &Lines<'_>, piece: &Piece<'_>) {
        let wrong = |at: usize, message: String, help: Option<String>| {
            let problem = lines.problem(file, piece.at.saturating_add(at), message);
            match help {
                Some(help) => problem.help(help),
                None => problem,
            }
        };
        if let Some(slot) = slot(piece.text) {
            let help = "write one policy for each principal or group: templates are not used here";
            self.problems.push(wrong(slot, "a policy may not be a template".to_owned(), Some(help.to_owned())));
            return;
        }
        let policy = match cedar_policy::Policy::parse(None, piece.text) {
            Ok(policy) => policy,
            Err(errors) => {
                // The parser goes on after an error; what it says then is mostly a consequence.
                let (at, message, help) = errors.iter().next().map_or_else(|| (0, errors.to_string(), None), |error| told(error));
                self.problems.push(wrong(at, message, help));
                return;
            }
        };
        let mut faults = Vec::new();
        let findings = checks::check(piece, &policy, &mut faults);
        let sound = faults.is_empty();
        self.problems.extend(faults.into_iter().map(|fault| wrong(fault.at, fault.message, fault.help)));
        let here = wrong(0, String::new(), None);
        let Some(id) = self.settle_id(findings.id, &here) else { return };
        let policy = policy.new_id(cedar_policy::PolicyId::new(id.as_str()));
        // A misuse of `context.approved` makes Cedar complain of the same place once more.
        if sound {
            self.validate(&policy, &wrong);
        }
        self.looked_at.extend(findings.looks_at);
        self.rules.push(Rule {
            id,
            reason: findings.reason,
            approval: findings.approval,
            policy,
            file: here.file,
            line: here.line,
            column: here.column,
        });
    }

    fn settle_id(&mut self, given: Option<PolicyId>, here: &Problem) -> Option<PolicyId> {
        let id = match given {
            Some(id) => id,
            None => self.place_id(here)?,
        };
        if let Some((file, line)) = self.seen.get(&id) {
            let problem = Problem { message: format!("the id `{id}` is already that of the policy at {file}:{line}"), ..here.clone() };
            self.problems.push(problem.help("every @id stands once"));
            return None;
        }
        self.seen.insert(id.clone(), (here.file.clone(), here.line));
        Some(id)
    }

    /// `file.cedar:3`, by the line it begins at; with the column too for the second on one line.
    fn place_id(&mut self, here: &Problem) -> Option<PolicyId> {
        let name = here.file.rsplit('/').next().unwrap_or_default();
        let by_line = format!("{name}:{}", here.line).parse::<PolicyId>();
        let id = match by_line {
            Ok(id) if self.seen.contains_key(&id) => format!("{name}:{}:{}", here.line, here.column).parse(),
            other => other,
        };
        id.map_err(|error| {
            let problem = Problem { message: format!("a policy without @id is named after its file: {error}"), ..here.clone() };
            self.problems.push(problem.help("rename the file, or give the policy an @id"));
        })
        .ok()
    }

    /// Cedar's strict validation. What it only warns of (a policy that can never apply, deceiving characters) is refused too.
    fn validate(&mut self, policy: &cedar_policy::Policy, wrong: &dyn Fn(usize, String, Option<String>) -> Problem) {
        let mut set = PolicySet::new();
        if let Err(error) = set.add(policy.clone()) {
            self.problems.push(wrong(0, error.to_string(), None));
            return;
        }
        let result = self.validator.validate(&set, ValidationMode::Strict);
        // One mistake makes several complaints: of those without a place of their own, one is enough, and only if there is no other.
        let mut errors: Vec<_> = result.validation_errors().map(|error| told(error)).collect();
        if errors.iter().any(|(at, ..)| *at > 0) {
            errors.retain(|(at, ..)| *at > 0);
        }
        if errors.is_empty() {
            errors.extend(result.validation_warnings().map(|warning| told(warning)));
        }
        errors.sort();
        errors.dedup();
        self.problems.extend(errors.into_iter().map(|(at, message, help)| wrong(at, message, help)));
    }
}

/// Cedar's own words for what is wrong, and the byte of the policy it points at.
fn told(diagnostic: &dyn Diagnostic) -> (usize, String, Option<String>) {
    let at = diagnostic.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let message = diagnostic.to_string();
    let message = message.split_once("`, ").filter(|(head, _)| head.starts_with("for policy `")).map_or(message.as_str(), |(_, rest)| rest);
    (at, message.to_owned(), diagnostic.help().map(|help| help.to_string()))
}

/// Where a template's slot stands.
fn slot(text: &str) -> Option<usize> {
    let mut question = None;
    for token in tokens(text) {
        if question.is_some() && matches!(token.text, "principal" | "resource") {
            return question;
        }
        question = (token.text == "?").then_some(token.at);
    }
    None
}

impl Rulebook {
    /// Whether any policy looks at `context.now`.
    pub(crate) fn looks_at_the_clock(&self) -> bool {
        self.looks_at("now")
    }

    /// Whether any policy looks at `context.recent`.
    pub(crate) fn looks_at_what_was_done(&self) -> bool {
        self.looks_at("recent")
    }

    /// Policies that name connections, environments or data classes which do not exist: allowed, so that policies can be written ahead, but
    /// a forbid spelled wrongly forbids nothing.
    pub(crate) fn doubts(&self, connections: &BTreeMap<ConnectionName, Arc<Connection>>, classes: &BTreeSet<&str>) -> Vec<Problem> {
        let environments: BTreeSet<&str> = connections.values().map(|connection| connection.environment.as_str()).collect();
        let connections: BTreeSet<&str> = connections.keys().map(ConnectionName::as_str).collect();
        let mut doubts = Vec::new();
        for rule in &self.rules {
            for literal in rule.policy.entity_literals() {
                let id = AsRef::<str>::as_ref(literal.id()).to_owned();
                let type_name = literal.type_name().to_string();
                let (what, known) = match type_name.as_str() {
                    "Environment" => ("connection is in the environment", &environments),
                    "Connection" => ("file in connections/ is for", &connections),
                    "DataClass" => ("table in data-classes.toml is for the class", classes),
                    _ => continue,
                };
                if !known.contains(id.as_str()) {
                    let message = format!("policy `{}` speaks of `{id}`, but no {what} `{id}`", rule.id);
                    let problem = Problem { file: rule.file.clone(), line: rule.line, column: rule.column, message, help: None };
                    doubts.push(problem.help(crate::version::suggestion(&id, known.iter().copied())));
                }
            }
        }
        doubts.sort();
        doubts.dedup();
        doubts
    }

    #[cfg(test)]
    pub(crate) fn everything_but_sweeping(&self, action: &str) -> Vec<RuleNumber> {
        let sweeping = |rule: &Rule| {
            rule.policy.effect() == cedar_policy::Effect::Permit && rule.policy.action_constraint() == cedar_policy::ActionConstraint::Any
        };
        let by_name_only = by_name_only(action);
        (0..).zip(&self.rules).filter(|(_, rule)| !(by_name_only && sweeping(rule))).map(|(number, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::Object;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures;

    const GROUPS: [&str; 3] = ["a", "b", "c"];
    const PRINCIPALS: [&str; 9] = [
        "principal",
        "principal == User::\"u\"",
        "principal == Workload::\"u\"",
        "principal in Group::\"a\"",
        "principal in Group::\"b\"",
        "principal in Group::\"c\"",
        "principal is User",
        "principal is Agent",
        "principal is User in Group::\"a\"",
    ];
    const ACTIONS: [&str; 6] = [
        "action",
        "action == Action::\"read\"",
        "action == Action::\"unreadable\"",
        "action in [Action::\"read\", Action::\"destroy\"]",
        "action in [Action::\"read\", Action::\"unreadable\"]",
        "action == Action::\"connect\"",
    ];
    const RESOURCES: [&str; 10] = [
        "resource",
        "resource in Environment::\"production\"",
        "resource in Environment::\"staging\"",
        "resource == Connection::\"prod-pg\"",
        "resource in Connection::\"prod-pg\"",
        "resource in Schema::\"prod-pg/shop/public\"",
        "resource == Table::\"prod-pg/shop/public/t\"",
        "resource in Table::\"prod-pg/shop/public/t\"",
        "resource is Table",
        "resource is Table in Database::\"prod-pg/shop\"",
    ];
    const CONDITIONS: [&str; 5] = [
        "",
        "when { context.statement.risk > 2 }",
        "when { context.statement.risk + 9223372036854775807 > 0 }",
        "when { context.database == \"shop\" }",
        "unless { principal.name == \"u\" }",
    ];

    prop_compose! {
        fn policy()(
            permit in any::<bool>(),
            principal in 0..PRINCIPALS.len(),
            action in 0..ACTIONS.len(),
            resource in 0..RESOURCES.len(),
            condition in 0..CONDITIONS.len(),
            approvable in any::<bool>(),
        ) -> (bool, String) {
            let body = format!(
                "{} ({}, {}, {}) {}",
                if permit { "permit" } else { "forbid" }, PRINCIPALS[principal], ACTIONS[action], RESOURCES[resource], CONDITIONS[condition]
            );
            (approvable && !permit, body)
        }
    }

    fn written_out(policies: &[(bool, String)]) -> String {
        let mut text = String::new();
        for (number, (approvable, body)) in policies.iter().enumerate() {
            if *approvable {
                text.push_str(&format!("@id(\"p{number}\") @approvers(\"dba\") {body} unless {{ context.approved }};\n"));
            } else {
                text.push_str(&format!("@id(\"p{number}\") {body};\n"));
            }
        }
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// What Cedar says of the slice is what it says of every policy: decision, deciding policies and errors, in both passes.
        #[test]
        fn a_slice_answers_as_the_full_set(
            policies in prop::collection::vec(policy(), 0..14),
            groups in prop::collection::vec(0..GROUPS.len(), 0..3),
            kind in 0..3usize,
            action in 0..4usize,
            object in 0..4usize,
            risk in 0..5u8,
        ) {
            // Cedar refuses a policy that can never apply, such as one on workloads that asks for a user by name: those are not in any rulebook.
            let policies: Vec<(bool, String)> =
                policies.into_iter().filter(|policy| crate::Version::load(&fixtures::files(&written_out(std::slice::from_ref(policy)))).is_ok()).collect();
            let version = fixtures::load(&written_out(&policies));
            let rulebook = &version.rulebook;
            let connection = fixtures::connection();
            let mut actor = fixtures::identity("u", &groups.iter().map(|group| GROUPS[*group]).collect::<Vec<_>>());
            actor.kind = [model::IdentityKind::User, model::IdentityKind::Workload, model::IdentityKind::Agent][kind];
            let object = [
                Object::Connection,
                fixtures::table("t"),
                fixtures::table("other"),
                Object::Column { database: "shop".into(), schema: "public".into(), table: "t".into(), column: "c".into() },
            ][object].clone();
            let action = [Action::Read, Action::Unreadable, Action::Destroy, Action::Connect][action].as_str();
            let mut facts = fixtures::facts(&[]);
            facts.risk = model::Risk::new(risk);

            let mut world = World::new(rulebook.vocabulary());
            let principal = rulebook.party(&world.actor(&actor).unwrap());
            let resource = rulebook.party(&world.object(&connection, &object).unwrap());
            let entities = world.close().unwrap();
            let question = Question { principal: &principal, action, resource: &resource };
            let circumstances = Circumstances { connection: Some((&connection, "shop")), statement: Some(&facts), comparison: None, wish: None, recent: crate::decide::Recent::default(), now: fixtures::now() };
            for approved in [false, true] {
                let context = circumstances.context(rulebook.vocabulary(), &|name| rulebook.looks_at(name), Some(approved)).unwrap();
                let (mut some, mut all) = (Sets::default(), Sets::default());
                let sliced = rulebook.slice(&question);
                let full = rulebook.everything_but_sweeping(action);
                prop_assert!(sliced.iter().all(|number| full.contains(number)));
                let sliced = rulebook.ask(&question, rulebook.policy_set(&mut some, sliced).unwrap(), &context, &entities).unwrap();
                let full = rulebook.ask(&question, rulebook.policy_set(&mut all, full).unwrap(), &context, &entities).unwrap();
                prop_assert_eq!(sliced, full);
            }
        }
    }

    #[test]
    fn ten_thousand_policies_about_others_are_not_met() {
        let mut policy = String::from("permit (principal in Group::\"a\", action == Action::\"read\", resource in Environment::\"production\");\n");
        for number in 0..2_000 {
            policy.push_str(&format!("permit (principal in Group::\"team-{number}\", action, resource);\n"));
            policy.push_str(&format!("permit (principal, action == Action::\"read\", resource == Table::\"prod-pg/shop/public/t{number}\");\n"));
        }
        let version = fixtures::load(&policy);
        let rulebook = &version.rulebook;
        let mut world = World::new(rulebook.vocabulary());
        let principal = rulebook.party(&world.actor(&fixtures::identity("u", &["a", "team-7"])).unwrap());
        let resource = rulebook.party(&world.object(&fixtures::connection(), &fixtures::table("t9")).unwrap());
        let slice = rulebook.slice(&Question { principal: &principal, action: "read", resource: &resource });
        assert_eq!(slice.len(), 3, "{slice:?}");
    }

    #[test]
    fn every_fact_and_circumstance_can_be_asked_for() {
        let policy = r#"permit (principal is User, action == Action::"read", resource is Table) when {
  principal.name == "u" && !(principal has owner) && principal in Group::"a" && resource.name == "t" && resource.schema == "public" &&
  resource in Schema::"prod-pg/shop/public" && resource in Database::"prod-pg/shop" && resource in Connection::"prod-pg" &&
  context.connection == Connection::"prod-pg" && context.connection.tags.contains("pci") && context.connection.protocol == "postgres" &&
  context.connection.environment == context.environment && context.environment.name == "production" && context.database == "shop" &&
  context.now > datetime("2026-11-21T00:00:00Z") && context.now.toTime() == duration("12h") && !(context has interactive) &&
  context.statement.kinds.contains("SELECT") && context.statement.statements == 1 && context.statement.reads.contains("public.t") &&
  context.statement.reads.contains("\"Odd.schema\".t") && context.statement.writes.isEmpty() && context.statement.functions.contains("public.f") &&
  context.statement.row_scope == "key" && context.statement.risk == 2 && context.statement.understood &&
  context.recent.rows_written == 7
};"#;
        let version = fixtures::load(policy);
        assert!(version.looks_at_the_clock() && version.looks_at_what_was_done());
        let mut facts = fixtures::facts(&[(Action::Read, fixtures::table("t"))]);
        let relation = |schema: &str| model::facts::RelationRef { schema: schema.into(), name: "t".into(), oid: 1 };
        facts.reads = vec![relation("Odd.schema"), relation("public")];
        facts.functions = vec!["public.f".into()];
        facts.row_scope = model::RowScope::Key;
        facts.risk = model::Risk::new(2);
        let chain = fixtures::chain(&[("u", &["a"])]);
        let connection = fixtures::connection();
        let case = crate::Case {
            chain: &chain,
            connection: &connection,
            database: "shop",
            facts: &facts,
            recent: crate::decide::Recent { rows_written: 7 },
            now: fixtures::now(),
        };
        assert_eq!(crate::decide(&version, &case).outcome, model::Outcome::Allow, "{:?}", crate::decide(&version, &case).reasons);
        assert!(!fixtures::load("").looks_at_the_clock() && !fixtures::load("").looks_at_what_was_done());
    }

    #[test]
    fn a_policy_about_nothing_that_exists_is_doubted() {
        let policy =
            "forbid (principal, action, resource in Environment::\"prodution\");\npermit (principal, action, resource == Connection::\"prod-pg\");";
        let doubts = fixtures::load(policy).doubts();
        assert_eq!(doubts.len(), 1);
        assert_eq!(
            doubts[0].to_string(),
            "policy/main.cedar:1:1: policy `main.cedar:1` speaks of `prodution`, but no connection is in the environment `prodution`\n  help: did you mean `production`?"
        );
    }
}
