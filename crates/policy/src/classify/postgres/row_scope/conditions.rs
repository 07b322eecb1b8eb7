//! What a condition does to the target's rows, by its form.

use std::cmp::Ordering;

use pg_query::{
    NodeEnum,
    protobuf::{AExpr, AExprKind, BoolExprType, BoolTestType, Node, NullTestType, SubLink, SubLinkType},
};

use super::{
    super::{
        analysis::{Analysis, boxed, inner, strings},
        constants::{self, Constant, Value},
        names::qualified,
    },
    Target, Test,
    operands::Operand,
    patterns::{is_empty_container, like_is_nothing, path_demands, pattern_restricts, similar_pattern},
    together::{Condition, Restriction, atom, atom_later, both, either, restricts, restricts_by},
    values::{CTID, Form, Kind, Own},
};

impl Analysis<'_> {
    pub(super) fn condition(&self, node: &Node, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(depth) = depth.checked_sub(1) else { return Condition::Open };
        if let Some(truth) = constants::value(node, &self.parameters).as_ref().and_then(constants::truth) {
            return match truth {
                Some(truth) if truth != negated => Condition::Always,
                _ => Condition::Never,
            };
        }
        match inner(node) {
            Some(NodeEnum::BoolExpr(expression)) => {
                let flip = negated != (expression.boolop() == BoolExprType::NotExpr);
                let parts: Vec<Condition> = expression.args.iter().map(|node| self.condition(node, target, flip, depth)).collect();
                match (expression.boolop(), negated) {
                    (BoolExprType::NotExpr, _) => parts.into_iter().next().unwrap_or(Condition::Open),
                    (BoolExprType::AndExpr, false) | (BoolExprType::OrExpr, true) => both(parts),
                    _ => either(parts),
                }
            }
            Some(NodeEnum::AExpr(expression)) => self.comparison(expression, target, negated, depth),
            Some(NodeEnum::NullTest(test)) => {
                let null = (test.nulltesttype() == NullTestType::IsNull) != negated;
                test.arg.as_ref().map_or(Condition::Open, |node| null_or_not(&self.operand(node, target, depth), null))
            }
            Some(NodeEnum::BooleanTest(test)) => self.boolean_test(test.arg.as_deref(), test.booltesttype(), target, negated, depth),
            Some(NodeEnum::SubLink(link)) => self.sublink_condition(link, target, negated, depth),
            Some(NodeEnum::TypeCast(cast)) => cast.arg.as_ref().map_or(Condition::Open, |node| self.condition(node, target, negated, depth)),
            Some(_) => match self.operand(node, target, depth) {
                // A number that is cast is true unless it is 0.
                Operand::Own(own) if own.is_column() && own.kind == Kind::Truth => {
                    atom(&own, Test::Equal, Some(Constant::known(Value::Bool(!negated))))
                }
                Operand::Other { .. } => Condition::Others,
                Operand::Later => restricts(),
                _ => Condition::Open,
            },
            None => Condition::Open,
        }
    }

    /// `IS TRUE` and its like, which are never unknown.
    fn boolean_test(&self, node: Option<&Node>, test: BoolTestType, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        use BoolTestType::{IsFalse, IsNotFalse, IsNotTrue, IsNotUnknown, IsTrue, IsUnknown};
        let Some(node) = node else { return Condition::Open };
        match (test, negated) {
            (IsTrue, false) | (IsNotTrue, true) => self.condition(node, target, false, depth),
            (IsFalse, false) | (IsNotFalse, true) => self.condition(node, target, true, depth),
            (IsNotTrue, false) | (IsTrue, true) => self.fails(node, target, false, depth),
            (IsNotFalse, false) | (IsFalse, true) => self.fails(node, target, true, depth),
            (IsUnknown | IsNotUnknown, _) => null_or_not(&self.operand(node, target, depth), (test == IsUnknown) != negated),
            (BoolTestType::Undefined, _) => Condition::Open,
        }
    }

    /// The rows for which a condition is not true: false or unknown.
    fn fails(&self, node: &Node, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        if !self.takes_step() {
            return Condition::Open;
        }
        match (self.condition(node, target, negated, depth), self.condition(node, target, !negated, depth)) {
            (Condition::Never, _) => Condition::Always,
            // Where it may be unknown, a few rows more.
            (_, Condition::Restricts(_)) => restricts_by(true),
            _ => Condition::Open,
        }
    }

    fn comparison(&self, expression: &AExpr, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let (schema, name) = qualified(&expression.name);
        let (Some(left_node), "" | "pg_catalog") = (expression.lexpr.as_deref(), schema) else { return Condition::Open };
        if let Some(condition) = self.fields_compared(expression, name, target, negated, depth) {
            return condition;
        }
        let left = self.operand(left_node, target, depth);
        let list = match boxed(expression.rexpr.as_ref()) {
            Some(NodeEnum::List(list)) => Some(list.items.iter().map(|item| self.operand(item, target, depth)).collect::<Vec<_>>()),
            _ => None,
        };
        match (expression.kind(), list) {
            (AExprKind::AexprIn, Some(list)) => in_list(&left, &list, (name == "=") != negated),
            (AExprKind::AexprBetween | AExprKind::AexprNotBetween | AExprKind::AexprBetweenSym | AExprKind::AexprNotBetweenSym, Some(list)) => {
                let outside = matches!(expression.kind(), AExprKind::AexprNotBetween | AExprKind::AexprNotBetweenSym);
                let either_way = matches!(expression.kind(), AExprKind::AexprBetweenSym | AExprKind::AexprNotBetweenSym);
                between(&left, &list, outside != negated, either_way)
            }
            (AExprKind::AexprOpAny, _) if name == "=" => self.any(&left, expression.rexpr.as_deref(), target, negated, depth),
            (AExprKind::AexprOpAll, _) if name == "<>" => self.any(&left, expression.rexpr.as_deref(), target, !negated, depth),
            (AExprKind::AexprSimilar, _) => self.pattern(&left, similar_pattern(expression), target, negated != name.starts_with('!'), depth),
            (AExprKind::AexprDistinct, _) => self.distinct(&left, expression.rexpr.as_deref(), target, negated, depth),
            (AExprKind::AexprNotDistinct, _) => self.distinct(&left, expression.rexpr.as_deref(), target, !negated, depth),
            (AExprKind::AexprOp, _) if matches!(name, "~" | "~*" | "!~" | "!~*") => {
                self.pattern(&left, expression.rexpr.as_deref(), target, negated != name.starts_with('!'), depth)
            }
            (AExprKind::AexprOp | AExprKind::AexprLike | AExprKind::AexprIlike, _) => {
                let Some(right) = expression.rexpr.as_ref().map(|node| self.operand(node, target, depth)) else { return Condition::Open };
                match Test::of(name) {
                    Some(test) => compared(&left, if negated { test.negated() } else { test }, &right),
                    // Containment and search: a column of the target against something fixed.
                    None if matches!(name, "@>" | "<@" | "&&" | "@@" | "?" | "?|" | "?&" | "^@" | "@?") && !negated => contained(&left, name, &right),
                    None => Condition::Open,
                }
            }
            _ => Condition::Open,
        }
    }

    /// Rows that are written out on both sides: field by field, and in order by the first.
    fn fields_compared(&self, expression: &AExpr, name: &str, target: &Target<'_>, negated: bool, depth: usize) -> Option<Condition> {
        let fields = |node: Option<&'_ Node>| match node.and_then(inner) {
            Some(NodeEnum::RowExpr(row)) => Some(row.args.clone()),
            _ => None,
        };
        let left = fields(expression.lexpr.as_deref())?;
        let against = |right: &[Node], test: Test| -> Condition {
            if right.len() != left.len() {
                return Condition::Open;
            }
            let mut pairs = left.iter().zip(right).map(|(left, right)| (self.operand(left, target, depth), self.operand(right, target, depth)));
            match test {
                Test::Equal => both(pairs.map(|(left, right)| compared(&left, test, &right)).collect()),
                Test::Unequal => either(pairs.map(|(left, right)| compared(&left, test, &right)).collect()),
                _ => pairs.next().map_or(Condition::Open, |(left, right)| compared(&left, test.with_equal(), &right)),
            }
        };
        let test = Test::of(name)?;
        let test = if negated { test.negated() } else { test };
        match (expression.kind(), boxed(expression.rexpr.as_ref())) {
            (AExprKind::AexprOp, _) => Some(against(&fields(expression.rexpr.as_deref())?, test)),
            (AExprKind::AexprIn, Some(NodeEnum::List(list))) => {
                let each: Option<Vec<Condition>> = list.items.iter().map(|item| Some(against(&fields(Some(item))?, test))).collect();
                Some(if test == Test::Equal { either(each?).counted() } else { both(each?) })
            }
            _ => None,
        }
    }

    /// `IS NOT DISTINCT FROM` where `same`, `IS DISTINCT FROM` otherwise: neither is ever unknown.
    fn distinct(&self, left: &Operand, right: Option<&Node>, target: &Target<'_>, same: bool, depth: usize) -> Condition {
        let Some(right) = right.map(|node| self.operand(node, target, depth)) else { return Condition::Open };
        match (left, &right) {
            (value, Operand::Fixed(Some(null))) | (Operand::Fixed(Some(null)), value) if null.is_null() => null_or_not(value, same),
            (Operand::Own(own), Operand::Own(other)) if own.is_column() && other.is_column() && own.column == other.column => {
                if same {
                    Condition::Always
                } else {
                    Condition::Never
                }
            }
            _ => compared(left, if same { Test::Equal } else { Test::Unequal }, &right),
        }
    }

    fn any(&self, left: &Operand, right: Option<&Node>, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(node) = right else { return Condition::Open };
        if let Some(NodeEnum::SubLink(link)) = inner(node) {
            return self.membership(left, link, target, negated, depth);
        }
        let written = match inner(node) {
            Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().and_then(inner),
            other => other,
        };
        if let Some(NodeEnum::AArrayExpr(array)) = written {
            let list: Vec<Operand> = array.elements.iter().map(|item| self.operand(item, target, depth)).collect();
            return in_list(left, &list, !negated);
        }
        let few = matches!(left, Operand::Own(own) if own.few.is_some());
        match self.operand(node, target, depth) {
            Operand::Fixed(Some(array)) if negated && array.value().written().is_some_and(is_empty_container) => Condition::Always,
            Operand::Fixed(Some(array)) if negated || few => match array.value().written().and_then(constants::elements) {
                Some(elements) => {
                    let list: Vec<Operand> = elements.into_iter().map(Operand::of_text).collect();
                    in_list(left, &list, !negated)
                }
                None => Condition::Open,
            },
            // What is not in a list that nobody knows may be everything, and of a few values each may be in it.
            Operand::Fixed(None) | Operand::Computed if negated || few => Condition::Open,
            array => in_list(left, &[array], !negated).counted(),
        }
    }

    /// A regular expression or SIMILAR TO restricts if there is a letter or digit in it that must be there.
    fn pattern(&self, left: &Operand, right: Option<&Node>, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(node) = right else { return Condition::Open };
        match (left, self.operand(node, target, depth)) {
            (Operand::Own(own), Operand::Fixed(Some(pattern))) if pattern.value().written().is_some_and(|text| pattern_restricts(own, text)) => {
                restricts_by(negated)
            }
            (Operand::Own(_), Operand::Later) => restricts_by(negated),
            (Operand::Other { .. }, _) if !negated => Condition::Others,
            _ => Condition::Open,
        }
    }

    fn sublink_condition(&self, link: &SubLink, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        match link.sub_link_type() {
            SubLinkType::ExistsSublink => self.existence(link, target, negated, depth),
            SubLinkType::AnySublink if link.oper_name.is_empty() || strings(&link.oper_name) == ["="] => {
                let Some(left) = link.testexpr.as_ref().map(|node| self.operand(node, target, depth)) else { return Condition::Open };
                self.membership(&left, link, target, negated, depth)
            }
            _ => Condition::Open,
        }
    }

    fn membership(&self, left: &Operand, link: &SubLink, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(NodeEnum::SelectStmt(select)) = boxed(link.subselect.as_ref()) else { return Condition::Open };
        // Each of a few values may be among those of anything.
        let Operand::Own(own) = left else { return Condition::Open };
        if own.few.is_some() || self.may_be_all(select, target, depth) || self.looks_back(select, target) {
            return Condition::Open;
        }
        // Places in a file are those of another table's rows, too.
        let own_place = || self.others(&target.knowing(target.ctes.clone()), &select.from_clause, depth).iter().any(|other| other.same);
        if own.column == CTID && !select.from_clause.is_empty() && !own_place() {
            return Condition::Open;
        }
        if negated && !self.reads_stored_rows(select, target, depth) {
            return Condition::Open;
        }
        let bounded = !negated && (select.from_clause.is_empty() || select.limit_count.is_some());
        Condition::Restricts(Restriction { bounded, wide: negated, ..Restriction::default() })
    }

    fn existence(&self, link: &SubLink, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(NodeEnum::SelectStmt(select)) = boxed(link.subselect.as_ref()) else { return Condition::Open };
        if select.larg.is_some() || !select.group_clause.is_empty() || select.having_clause.is_some() || self.sources_look_back(select, target) {
            return Condition::Open;
        }
        let names = self.names_of(&select.from_clause, target, depth);
        let within = target.beside(self.others(target, &select.from_clause, depth), Some(names));
        let found = select.where_clause.as_deref().map_or(Condition::Always, |node| self.condition(node, &within, false, depth));
        let aggregated = select
            .target_list
            .iter()
            .any(|node| matches!(inner(node), Some(NodeEnum::ResTarget(value)) if matches!(boxed(value.val.as_ref()), Some(NodeEnum::FuncCall(_)))));
        match (found, negated) {
            // An aggregate gives a row whatever the condition.
            _ if aggregated => Condition::Open,
            (Condition::Never, false) | (Condition::Always, true) => {
                if select.from_clause.is_empty() || !negated {
                    Condition::Never
                } else {
                    Condition::Open
                }
            }
            (Condition::Never, true) => Condition::Always,
            (Condition::Linked { same: false } | Condition::Restricts(_), true) if !self.reads_stored_rows(select, target, depth) => {
                // Of a query without sources the condition is all there is.
                if select.from_clause.is_empty() && select.limit_count.is_none() && select.limit_offset.is_none() {
                    select.where_clause.as_deref().map_or(Condition::Open, |node| self.fails(node, &within, false, depth))
                } else {
                    Condition::Open
                }
            }
            (Condition::Linked { same: false }, true) => restricts_by(true),
            (Condition::Restricts(_), true) => restricts_by(true),
            (Condition::Restricts(_), false) => restricts(),
            (linked @ Condition::Linked { .. }, false) => linked,
            _ => Condition::Open,
        }
    }
}

/// `IS NULL` where `null`, `IS NOT NULL` otherwise.
fn null_or_not(value: &Operand, null: bool) -> Condition {
    match value {
        Operand::Own(own) if own.is_column() => match own.not_null {
            Some(true) if null => Condition::Never,
            Some(true) => Condition::Always,
            None if !null => Condition::Open,
            _ => atom(own, if null { Test::Null } else { Test::NotNull }, None),
        },
        Operand::Later => restricts(),
        Operand::Other { .. } => Condition::Others,
        _ => Condition::Open,
    }
}

fn compared(left: &Operand, test: Test, right: &Operand) -> Condition {
    match (left, right) {
        (_, Operand::Fixed(Some(null))) | (Operand::Fixed(Some(null)), _) if null.is_null() => Condition::Never,
        (Operand::Own(own), Operand::Own(other)) => columns_compared(own, test, other),
        (Operand::Own(own), Operand::Fixed(value)) => tested(own, test, value.as_ref()),
        (Operand::Fixed(value), Operand::Own(own)) => tested(own, test.mirrored(), value.as_ref()),
        (Operand::Own(own), Operand::Computed) => computed(own, test),
        (Operand::Computed, Operand::Own(own)) => computed(own, test.mirrored()),
        (Operand::Own(own), Operand::Later) | (Operand::Later, Operand::Own(own)) => {
            if own.has_fixed_parts() && test.is_wide() {
                Condition::Open
            } else {
                atom_later(own, test)
            }
        }
        // An extreme of all rows chooses one, or leaves out none.
        (Operand::Own(own), Operand::OfAll) | (Operand::OfAll, Operand::Own(own)) if test == Test::Equal && own.few.is_none() => restricts(),
        (Operand::Later, _) => restricts_by(test.is_wide()),
        // Places in a file are those of another table's rows, too; and of a few values, each has a partner.
        (Operand::Own(own), Operand::Other { same }) | (Operand::Other { same }, Operand::Own(own)) if test == Test::Equal => {
            if own.few.is_some() || (own.column == CTID && !same) { Condition::Open } else { Condition::Linked { same: *same } }
        }
        (Operand::Other { .. }, Operand::Fixed(_) | Operand::Computed | Operand::Later)
        | (Operand::Fixed(_) | Operand::Computed, Operand::Other { .. }) => Condition::Others,
        _ => Condition::Open,
    }
}

fn columns_compared(own: &Own, test: Test, other: &Own) -> Condition {
    if !own.is_column() || !other.is_column() || own.generated || other.generated {
        return if own.is_column() && other.is_column() && own.column == other.column { of_itself(test) } else { Condition::Open };
    }
    if own.column == other.column { of_itself(test) } else { restricts_by(test.is_wide()) }
}

/// A column beside itself.
fn of_itself(test: Test) -> Condition {
    match test {
        Test::Equal | Test::AtMost | Test::AtLeast | Test::Like => Condition::Always,
        _ => Condition::Never,
    }
}

/// Against something that is the same for each row; none: which value is not known.
fn tested(own: &Own, test: Test, value: Option<&Constant>) -> Condition {
    match (test, value) {
        (Test::Like | Test::NotLike, Some(pattern)) => liked(own, test, pattern),
        // A pattern that is not known may be `%`.
        (Test::Like | Test::NotLike, None) => Condition::Open,
        // What is left may be nothing in each row.
        (Test::Equal, Some(constant)) if own.form == Form::Stripped && constant.value().written() == Some("") => Condition::Open,
        (Test::Equal, _) => atom(own, test, value.cloned()),
        // Places of rows in their file: which of them are taken is nobody's condition.
        _ if own.column == CTID || own.has_fixed_parts() => Condition::Open,
        (_, Some(constant)) if own.all_meet(test, constant) => Condition::Open,
        _ if own.key && !own.is_column() && own.span.is_none() => Condition::Open,
        _ => atom(own, test, value.cloned()),
    }
}

fn liked(own: &Own, test: Test, pattern: &Constant) -> Condition {
    match pattern.value().written() {
        Some(text) if test == Test::Like && own.is_column() && own.not_null == Some(true) && constants::matches_everything(text) => Condition::Always,
        Some(text) if like_is_nothing(own, text) => Condition::Open,
        Some(_) => atom(own, test, Some(pattern.clone())),
        None => Condition::Open,
    }
}

/// Against something that is made of constants alone, and not followed here.
fn computed(own: &Own, test: Test) -> Condition {
    match test {
        Test::Equal => atom(own, test, None),
        Test::Like | Test::NotLike => Condition::Open,
        _ if own.column == CTID || own.has_fixed_parts() => Condition::Open,
        _ if matches!(own.kind, Kind::Moment { .. } | Kind::Other) => atom(own, test, None),
        _ => Condition::Open,
    }
}

/// Containment, text search and the like.
fn contained(left: &Operand, name: &str, right: &Operand) -> Condition {
    let demands = |constant: &Constant| match (name, constant.value().written()) {
        // An empty container is contained in everything.
        ("@@" | "@?", Some(text)) => !is_empty_container(text) && path_demands(text),
        (_, Some(text)) => !is_empty_container(text),
        (_, None) => false,
    };
    match (left, right) {
        (Operand::Own(own), other) | (other, Operand::Own(own)) => match other {
            // Beside a part that is the same for each row, that part may be all that is asked for.
            _ if own.has_fixed_parts() => Condition::Open,
            Operand::Fixed(Some(constant)) if demands(constant) => restricts_by(name == "<@"),
            Operand::Later => restricts(),
            // Of what is made of a column and of something that is not known, nothing is.
            Operand::Fixed(None) if own.is_column() => restricts_by(name == "<@"),
            _ => Condition::Open,
        },
        _ => Condition::Open,
    }
}

fn in_list(left: &Operand, list: &[Operand], member: bool) -> Condition {
    let parts = list.iter().map(|item| compared(left, if member { Test::Equal } else { Test::Unequal }, item)).collect();
    if !member {
        return both(parts);
    }
    match either(parts) {
        restricts @ Condition::Restricts(_) if list.len() > 1 => restricts.counted(),
        other => other,
    }
}

fn between(left: &Operand, list: &[Operand], outside: bool, either_way: bool) -> Condition {
    let [low, high] = list else { return Condition::Open };
    let constant = |operand: &'_ Operand| match operand {
        Operand::Fixed(Some(constant)) => Some(constant.clone()),
        _ => None,
    };
    let order = || constants::compare(constant(low)?.value(), constant(high)?.value());
    let (low, high) = if either_way && order() == Some(Ordering::Greater) { (high, low) } else { (low, high) };
    if matches!(left, Operand::Other { .. }) {
        return Condition::Others;
    }
    if outside {
        return either(vec![compared(left, Test::Less, low), compared(left, Test::More, high)]);
    }
    match (compared(left, Test::AtLeast, low), compared(left, Test::AtMost, high)) {
        // Two ends choose some.
        (Condition::Restricts(_), Condition::Restricts(_)) => restricts(),
        (low, high) => both(vec![low, high]),
    }
}
