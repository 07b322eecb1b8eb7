//! Policies by their scope, so that a question meets only those that could match it.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

/// A policy's place in the rulebook.
pub(crate) type RuleNumber = u32;

/// An entity that some policy's scope names. Others need no number: nothing is found by them.
pub(crate) type EntityNumber = u32;

/// Policies by the entity their scope names for the resource, then for the principal; `None` where it names none.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    numbers: HashMap<EntityUid, EntityNumber>,
    by_resource: HashMap<Option<EntityNumber>, HashMap<Option<EntityNumber>, Vec<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    rule: RuleNumber,
    actions: ActionMask,
    /// A permit that names no action: it covers neither `unreadable` nor `request`.
    sweeping: bool,
    principal_type: Option<EntityTypeName>,
    resource_type: Option<EntityTypeName>,
}

/// One bit for each action, by its place in the rulebook's list.
pub(crate) type ActionMask = u32;

/// What is asked: a principal and a resource with all that is above them, and one action.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'q> {
    pub(crate) principal_type: &'q EntityTypeName,
    pub(crate) principals: &'q [EntityNumber],
    pub(crate) action: ActionMask,
    /// Only policies that name the action may permit it.
    pub(crate) by_name_only: bool,
    pub(crate) resource_type: &'q EntityTypeName,
    pub(crate) resources: &'q [EntityNumber],
}

impl Slices {
    /// Adds a policy. `actions` maps an action's entity to its bit; unknown actions were refused by validation.
    pub(crate) fn add(&mut self, rule: RuleNumber, policy: &Policy, actions: &HashMap<EntityUid, ActionMask>) {
        let (principal, principal_type) = match policy.principal_constraint() {
            PrincipalConstraint::Any => (None, None),
            PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) => (Some(uid), None),
            PrincipalConstraint::Is(name) => (None, Some(name)),
            PrincipalConstraint::IsIn(name, uid) => (Some(uid), Some(name)),
        };
        let (resource, resource_type) = match policy.resource_constraint() {
            ResourceConstraint::Any => (None, None),
            ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) => (Some(uid), None),
            ResourceConstraint::Is(name) => (None, Some(name)),
            ResourceConstraint::IsIn(name, uid) => (Some(uid), Some(name)),
        };
        let bit = |uid: &EntityUid| actions.get(uid).copied().unwrap_or(0);
        let (mask, names_actions) = match policy.action_constraint() {
            ActionConstraint::Any => (ActionMask::MAX, false),
            ActionConstraint::Eq(uid) => (bit(&uid), true),
            ActionConstraint::In(uids) => (uids.iter().fold(0, |mask, uid| mask | bit(uid)), true),
        };
        let sweeping = !names_actions && policy.effect() == cedar_policy::Effect::Permit;
        let entry = Entry { rule, actions: mask, sweeping, principal_type, resource_type };
        let principal = principal.map(|uid| self.number(uid));
        let resource = resource.map(|uid| self.number(uid));
        self.by_resource.entry(resource).or_default().entry(principal).or_default().push(entry);
    }

    fn number(&mut self, uid: EntityUid) -> EntityNumber {
        let next = EntityNumber::try_from(self.numbers.len()).unwrap_or(EntityNumber::MAX);
        *self.numbers.entry(uid).or_insert(next)
    }

    /// The number of an entity, if any policy's scope names it.
    pub(crate) fn number_of(&self, uid: &EntityUid) -> Option<EntityNumber> {
        self.numbers.get(uid).copied()
    }

    /// The policies whose scope could match, in their order.
    pub(crate) fn slice(&self, scope: &Scope<'_>) -> Vec<RuleNumber> {
        let mut rules = Vec::new();
        for resource in with_none(scope.resources) {
            let Some(by_principal) = self.by_resource.get(&resource) else { continue };
            for principal in with_none(scope.principals) {
                let entries = by_principal.get(&principal).map(Vec::as_slice).unwrap_or_default();
                rules.extend(entries.iter().filter(|entry| entry.may_match(scope)).map(|entry| entry.rule));
            }
        }
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

impl Entry {
    fn may_match(&self, scope: &Scope<'_>) -> bool {
        self.actions & scope.action != 0
            && !(scope.by_name_only && self.sweeping)
            && self.principal_type.as_ref().is_none_or(|name| name == scope.principal_type)
            && self.resource_type.as_ref().is_none_or(|name| name == scope.resource_type)
    }
}

fn with_none(numbers: &[EntityNumber]) -> impl Iterator<Item = Option<EntityNumber>> {
    std::iter::once(None).chain(numbers.iter().copied().map(Some))
}
