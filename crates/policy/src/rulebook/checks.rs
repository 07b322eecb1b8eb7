//! What must be true of a policy beyond Cedar's own rules: known annotations, and `context.approved` in its one place.

use model::{GroupName, PolicyId};
use serde_json::Value;

use super::source::{Piece, tokens};
use crate::version::suggestion;

/// The annotations a policy may carry.
const ANNOTATIONS: [&str; 4] = ["id", "approvers", "count", "reason"];

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
    for (name, value) in policy.annotations() {
        let at = annotation_place(piece.text, name);
        match name {
            "id" => findings.id = value.parse().map_err(|error| faults.push(named_badly(at, &error))).ok(),
            "approvers" => approvers = Some(read_approvers(at, value, faults)),
            "count" => count = Some(read_count(at, value, faults)),
            "reason" => findings.reason = Some(value.to_owned()).filter(|reason| !reason.trim().is_empty()),
            _ => faults.push(Fault::new(at, format!("there is no annotation `@{name}`"), &suggestion(name, ANNOTATIONS))),
        }
    }
    let uses = approved_uses(policy, faults);
    findings.looks_at = uses.looks_at;
    let annotated = Annotated { id: policy.annotation("id").is_some(), approvers, count };
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

struct Annotated {
    id: bool,
    approvers: Option<Vec<GroupName>>,
    count: Option<u8>,
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
        for (name, given) in [("approvers", annotated.approvers.is_some()), ("count", annotated.count.is_some())] {
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
    Some(Approval { approvers: approvers.clone(), count: annotated.count.unwrap_or(1) })
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
