//! What must be true of a policy beyond Cedar's own rules: known annotations, and `context.approved` in its one place.

use model::{GroupName, PolicyId};
use serde_json::Value;

use super::source::{Piece, tokens};
use crate::version::suggestion;

/// The annotations a policy may carry.
const ANNOTATIONS: [&str; 5] = ["id", "approvers", "count", "reason", "watched"];

/// A problem with one policy, at a byte of its text.
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    fn new(at: usize, message: impl Into<String>, help: &str) -> Self {
        Self { at, message: message.into(), help: Some(help.to_owned()) }
    }
}

/// Whose signatures lift a forbid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approval {
    pub(crate) approvers: Vec<GroupName>,
    pub(crate) count: u8,
    /// What they lift it for runs only while one of them watches.
    pub(crate) watched: bool,
}

/// What a policy's annotations and conditions say to us.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) id: Option<PolicyId>,
    pub(crate) reason: Option<String>,
    pub(crate) approval: Option<Approval>,
    /// Which attributes of `context` it looks at, beside `approved`.
    pub(crate) looks_at: Vec<String>,
}

/// Checks one policy that Cedar could read.
pub(crate) fn check(piece: &Piece<'_>, policy: &cedar_policy::Policy, faults: &mut Vec<Fault>) -> Findings {
    let mut findings = Findings::default();
    let mut approvers = None;
    let mut count = None;
    let mut watched = false;
    for (name, value) in policy.annotations() {
        let at = annotation_place(piece.text, name);
        match name {
            "id" => findings.id = value.parse().map_err(|error| faults.push(named_badly(at, &error))).ok(),
            "approvers" => approvers = Some(read_approvers(at, value, faults)),
            "count" => count = Some(read_count(at, value, faults)),
            "watched" => watched = read_watched(at, value, faults),
            "reason" => findings.reason = Some(value.to_owned()).filter(|reason| !reason.trim().is_empty()),
            _ => faults.push(Fault::new(at, format!("there is no annotation `@{name}`"), &suggestion(name, ANNOTATIONS))),
        }
    }
    let uses = approved_uses(policy, faults);
    findings.looks_at = uses.looks_at;
    let annotated = Annotated { id: policy.annotation("id").is_some(), approvers, count, watched };
    findings.approval = settle_approval(piece, policy, &annotated, uses.proper, uses.improper, faults);
    findings
}

fn named_badly(at: usize, error: &model::NameError) -> Fault {
    Fault::new(at, error.to_string(), "@id names the policy in decisions and records: @id(\"prod-destroy\")")
}

fn read_approvers(at: usize, value: &str, faults: &mut Vec<Fault>) -> Vec<GroupName> {
    let mut groups = Vec::new();
    for name in value.split(',').map(str::trim) {
        match name.parse::<GroupName>() {
            Ok(group) if !groups.contains(&group) => groups.push(group),
            Ok(_) => {}
            Err(error) => faults.push(Fault::new(at, error.to_string(), "@approvers lists groups: @approvers(\"dba, security\")")),
        }
    }
    groups.sort();
    groups
}

fn read_count(at: usize, value: &str, faults: &mut Vec<Fault>) -> u8 {
    let count = value.parse::<u8>().ok().filter(|count| *count > 0);
    if count.is_none() {
        faults.push(Fault::new(at, "@count must be a number from 1 to 255", "@count says how many distinct people must sign: @count(\"2\")"));
    }
    count.unwrap_or(1)
}

/// It stands alone, or as `"true"`. What is written wrongly counts as written: it never means less.
fn read_watched(at: usize, value: &str, faults: &mut Vec<Fault>) -> bool {
    if !matches!(value, "" | "true") {
        faults.push(Fault::new(
            at,
            "@watched takes no value",
            "@watched lets it run only while one of those who signed watches; leave it out where that is not so",
        ));
    }
    true
}

struct Annotated {
    id: bool,
    approvers: Option<Vec<GroupName>>,
    count: Option<u8>,
    watched: bool,
}

fn settle_approval(
    piece: &Piece<'_>,
    policy: &cedar_policy::Policy,
    annotated: &Annotated,
    proper: bool,
    improper: bool,
    faults: &mut Vec<Fault>,
) -> Option<Approval> {
    const RULE: &str = "it may stand only as `unless { context.approved }`, alone, on a forbid that has @id and @approvers";
    let forbid = policy.effect() == cedar_policy::Effect::Forbid;
    if improper || (proper && !forbid) {
        let message = if forbid { "`context.approved` is used in another way than its one" } else { "a permit may not look at `context.approved`" };
        faults.push(Fault::new(misuse_place(piece.text, forbid), message, RULE));
        return None;
    }
    if !proper {
        for (name, given) in [("approvers", annotated.approvers.is_some()), ("count", annotated.count.is_some()), ("watched", annotated.watched)] {
            if given {
                let help = "add `unless { context.approved }` to a forbid, or remove the annotation";
                faults.push(Fault::new(annotation_place(piece.text, name), format!("@{name} does nothing on a policy that no approval lifts"), help));
            }
        }
        return None;
    }
    if !annotated.id {
        faults.push(Fault::new(0, "a forbid that signatures lift needs an @id", "requirements and signatures name it: @id(\"prod-destroy\")"));
    }
    let Some(approvers) = &annotated.approvers else {
        faults.push(Fault::new(0, "a forbid that signatures lift needs @approvers", "say which groups may sign: @approvers(\"dba\")"));
        return None;
    };
    Some(Approval { approvers: approvers.clone(), count: annotated.count.unwrap_or(1), watched: annotated.watched })
}

/// How a policy speaks of the context.
#[derive(Default)]
struct Uses {
    /// One of its conditions is `unless { context.approved }` and nothing else.
    proper: bool,
    /// `context.approved` stands anywhere else.
    improper: bool,
    looks_at: Vec<String>,
}

/// Reads Cedar's own policy tree, so that no spelling escapes: `context["approved"]` is the same tree as `context.approved`.
fn approved_uses(policy: &cedar_policy::Policy, faults: &mut Vec<Fault>) -> Uses {
    let mut uses = Uses::default();
    let tree = match policy.to_json() {
        Ok(tree) => tree,
        Err(error) => {
            faults.push(Fault { at: 0, message: format!("the policy cannot be inspected: {error}"), help: None });
            return uses;
        }
    };
    let approved = serde_json::json!({ ".": { "left": { "Var": "context" }, "attr": "approved" } });
    for condition in tree.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let unless = condition.get("kind").and_then(Value::as_str) == Some("unless");
        match condition.get("body") {
            Some(body) if unless && *body == approved && !uses.proper => uses.proper = true,
            Some(body) => walk(body, &mut uses),
            None => uses.improper = true,
        }
    }
    uses.looks_at.sort();
    uses.looks_at.dedup();
    uses
}

/// Finds every use of `context`. Used whole (compared, put in a record or a set, in the branch of an `if`) it could carry `approved` along, so
/// it may only be asked for one of its attributes by name.
fn walk(tree: &Value, uses: &mut Uses) {
    match tree {
        Value::Object(node) => {
            for (operator, operand) in node {
                match (operator.as_str(), context_attribute(operand)) {
                    ("." | "has", Some("approved")) => uses.improper = true,
                    ("." | "has", Some(attribute)) => uses.looks_at.push(attribute.to_owned()),
                    ("Var", _) if operand.as_str() == Some("context") => uses.improper = true,
                    ("Value", _) => {}
                    // The keys of a record are names of the policy's author, not operators.
                    ("Record", _) => operand.as_object().into_iter().flatten().for_each(|(_, value)| walk(value, uses)),
                    _ => walk(operand, uses),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, uses)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn context_attribute(operand: &Value) -> Option<&str> {
    let whole = operand.get("left")?.get("Var")?.as_str()? == "context";
    if whole { operand.get("attr")?.as_str() } else { None }
}

/// Where `@name` stands.
fn annotation_place(text: &str, name: &str) -> usize {
    let mut before = None;
    for token in tokens(text) {
        if token.text == name && before.is_some_and(|sign| sign == "@") {
            return token.at.saturating_sub(1);
        }
        before = Some(token.text);
    }
    0
}

/// Where the first use of `context` stands that is not the proper one, as far as the words tell; in a permit none is.
fn misuse_place(text: &str, forbid: bool) -> usize {
    const PROPER: [&str; 6] = ["unless", "{", "context", ".", "approved", "}"];
    let words: Vec<_> = tokens(text).collect();
    let approved = |word: &str| word == "approved" || word == "\"approved\"";
    let mut whole = None;
    let mut proper_seen = false;
    for (place, word) in words.iter().enumerate().filter(|(_, word)| word.text == "context") {
        let around = words.get(place.saturating_sub(2)..place.saturating_add(4)).unwrap_or_default();
        let proper = forbid && place >= 2 && around.iter().map(|w| w.text).eq(PROPER);
        if proper && !proper_seen {
            proper_seen = true;
            continue;
        }
        let after = |steps: usize| words.get(place.saturating_add(steps)).map_or("", |w| w.text);
        if matches!(after(1), "." | "has" | "[") && approved(after(2)) {
            return word.at;
        }
        if !matches!(after(1), "." | "has" | "[") {
            whole.get_or_insert(word.at);
        }
    }
    whole.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::{Version, fixtures};

    /// The first problem of a policy file, `line:column: message`.
    fn problem(policy: &str) -> String {
        let problems = Version::load(&fixtures::files(policy)).expect_err(policy);
        let first = &problems[0];
        assert_eq!(first.file, "policy/main.cedar");
        format!("{}:{}: {}", first.line, first.column, first.message)
    }

    const FORBID: &str = "@id(\"x\") @approvers(\"dba\")\nforbid (principal, action == Action::\"read\", resource)\n";

    #[test]
    fn context_approved_has_one_place() {
        assert!(Version::load(&fixtures::files(&format!("{FORBID}unless {{ context.approved }};"))).is_ok());
        assert!(Version::load(&fixtures::files(&format!("{FORBID}unless {{ context[\"approved\"] }};"))).is_ok(), "the same tree");
        let both = format!("{FORBID}when {{ context.statement.risk > 2 }} unless {{ context.approved }};");
        assert!(Version::load(&fixtures::files(&both)).is_ok());

        let misuses = [
            ("when { context.approved };", "3:8"),
            ("unless { !context.approved };", "3:11"),
            ("unless { context.approved || true };", "3:10"),
            ("unless { context.approved && context.statement.risk < 3 };", "3:10"),
            ("unless { context.approved == true };", "3:10"),
            ("unless { context has approved };", "3:10"),
            ("when { context[\"approved\"] };", "3:8"),
            ("when { !context.approved };", "3:9"),
            ("unless { context.approved } unless { context.approved };", "3:38"),
            ("unless { context.approved } when { context.approved };", "3:36"),
            ("unless { if context.approved then true else false };", "3:13"),
            ("when { [context.approved].contains(true) };", "3:9"),
            ("when { {Value: context.approved}.Value };", "3:16"),
            ("when { {Record: {Value: context.approved}}.Record.Value };", "3:25"),
            ("when { {x: context}.x.approved };", "3:12"),
            ("when { (if principal is User then context else context).approved };", "3:35"),
            ("when { [context].contains(context) };", "3:9"),
            ("when { context == context };", "3:8"),
        ];
        for (condition, place) in misuses {
            let found = problem(&format!("{FORBID}{condition}"));
            assert!(found.starts_with(&format!("{place}: `context.approved` is used in another way")), "{condition}: {found}");
        }
    }

    #[test]
    fn a_permit_never_looks_at_approvals() {
        let scope = "@id(\"x\") @approvers(\"dba\")\npermit (principal, action == Action::\"read\", resource)\n";
        for (condition, place) in
            [("unless { context.approved };", "3:10"), ("when { context.approved };", "3:8"), ("when { !context.approved };", "3:9")]
        {
            let found = problem(&format!("{scope}{condition}"));
            assert_eq!(found, format!("{place}: a permit may not look at `context.approved`"), "{condition}");
        }
    }

    #[test]
    fn annotations_are_known_and_mean_something() {
        let held = "unless { context.approved };";
        let scope = "forbid (principal, action == Action::\"read\", resource)";
        let table = [
            (format!("@approver(\"dba\")\n{scope};"), "1:1: there is no annotation `@approver`"),
            (format!("@id(\"x\")\n@approvers(\"dba\")\n@count(\"0\")\n{scope} {held}"), "3:1: @count must be a number from 1 to 255"),
            (format!("@id(\"x\") @approvers(\"dba\") @count(\"many\") {scope} {held}"), "1:28: @count must be a number from 1 to 255"),
            (format!("@id(\"x\") @approvers(\"dba\") @count {scope} {held}"), "1:28: @count must be a number from 1 to 255"),
            (format!("@id(\"x\") @approvers(\"dba,,\") {scope} {held}"), "1:10: a group name is empty"),
            (format!("@id(\"x\") @approvers {scope} {held}"), "1:10: a group name is empty"),
            (format!("@id(\"a b\") {scope};"), "1:1: a policy id `a b` has a character"),
            (format!("  {scope} {held}"), "1:3: a forbid that signatures lift needs @approvers"),
            (format!("@id(\"x\") {scope} {held}"), "1:1: a forbid that signatures lift needs @approvers"),
            (format!("@id(\"x\") @approvers(\"dba\") {scope};"), "1:10: @approvers does nothing on a policy that no approval lifts"),
            (format!("@id(\"x\") @watched {scope};"), "1:10: @watched does nothing on a policy that no approval lifts"),
            (format!("@id(\"x\") @approvers(\"dba\") @watched(\"no\") {scope} {held}"), "1:28: @watched takes no value"),
            (format!("@id(\"x\") @watched {scope} {held}"), "1:1: a forbid that signatures lift needs @approvers"),
            (format!("@approvers(\"dba\") @watched {scope} {held}"), "1:1: a forbid that signatures lift needs an @id"),
            (format!("@id(\"x\") @count(\"2\") {scope};"), "1:10: @count does nothing on a policy that no approval lifts"),
            (format!("@id(\"x\") {scope};\n{scope};\n@id(\"x\") {scope};"), "3:1: the id `x` is already that of the policy at policy/main.cedar:1"),
        ];
        for (policy, expected) in table {
            let found = problem(&policy);
            assert!(found.starts_with(expected), "{policy}\n{found}");
        }
        let helped = Version::load(&fixtures::files(&format!("@approver(\"dba\") {scope};"))).unwrap_err();
        assert_eq!(helped[0].help.as_deref(), Some("did you mean `approvers`?"));
    }

    #[test]
    fn cedar_finds_the_rest_with_its_place() {
        let table = [
            ("permit (principal, action, resource)\nwhen { principal.nme == \"x\" };", "2:8: attribute `nme`"),
            ("permit (principal, action == Action::\"raed\", resource);", "1:30: unrecognized action `Action::\"raed\"`"),
            ("permit (principal in Grup::\"x\", action, resource);", "1:22: unrecognized entity type `Grup`"),
            ("permit (principal == ?principal, action, resource);", "1:22: a policy may not be a template"),
            ("permit (principal, action, resource)\nwhen { 1 };", "2:8:"),
            ("permit (principal, action resource);", "1:27: unexpected token `resource`"),
            ("permit (principal, action, resource);\n\n  permit (principal, actoin, resource);", "3:22:"),
            ("permit (principal, action, resource)", "1:37: unexpected end of input"),
            ("permit (principal, action == Action::\"read\", resource == System::\"countersign\");", "1:1:"),
            (
                "forbid (principal, action == Action::\"reveal\", resource) unless { context.approved };",
                "1:1: a forbid that signatures lift needs @approvers",
            ),
            ("@id(\"x\") @approvers(\"d\")\nforbid (principal, action == Action::\"reveal\", resource) unless { context.approved };", "2:"),
            ("@id(\"x\") @approvers(\"d\")\nforbid (principal, action == Action::\"administer\", resource) unless { context.approved };", "2:"),
        ];
        for (policy, expected) in table {
            let found = problem(policy);
            assert!(found.starts_with(expected), "{policy}\n{found}");
        }
    }

    #[test]
    fn every_wrong_policy_is_told_at_once() {
        let policy = "permit (principal, action == Action::\"raed\", resource);\npermit (oops);\n@idd(\"x\") permit (principal, action, resource);";
        let lines: Vec<u32> = Version::load(&fixtures::files(policy)).unwrap_err().iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn policies_without_an_id_are_named_after_their_place() {
        let policy = "permit (principal, action == Action::\"read\", resource); forbid (principal, action == Action::\"read\", resource);\n\n\
                      forbid (principal, action, resource);";
        let version = fixtures::load(policy);
        let ids: Vec<&str> = (0..3).filter_map(|number| version.rulebook.rule(number)).map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids, ["main.cedar:1", "main.cedar:1:57", "main.cedar:3"]);
    }
}
