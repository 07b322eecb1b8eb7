//! Which columns' values decide something about an operation beyond what is shown of them: which rows there are, in which order, how many, and whether it
//! fails. Who sees a value masked could find it out by asking often enough, so that policy decides on it (`filter`).
//!
//! What a view, or a function whose body was parsed when it was made, does inside was settled then; a body that is text is looked at when it is called. What an
//! expression of a select list computes is shown masked as a whole, and decides
//! nothing as long as none of it can fail.

use std::collections::BTreeMap;

use model::facts::{ColumnSource, Comparison, Filters};
use pg_query::{
    NodeEnum,
    protobuf::{AExpr, AExprKind, BoolExprType, FuncCall, Node, TypeCast, a_const::Val},
};

use super::{
    analysis::{Analysis, Output, Outputs, Ty, inner, strings},
    builtins::{Safe, never_fails},
    catalog::{Catalog, FIRST_USER_OID, Relation, Routine},
    constants,
    lineage::Lineage,
    names::qualified,
    types,
};

/// Operators whose built-in functions give a value for any operands of the types they are for.
const COMPARISONS: [&str; 6] = ["=", "<>", "<", ">", "<=", ">="];

/// What has been found so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tested {
    columns: BTreeMap<(u32, i16), Comparison>,
    untold: Option<Comparison>,
}

impl Tested {
    /// These, too.
    pub(super) fn merge(&mut self, other: &Self) {
        other.columns.iter().for_each(|(place, by)| self.add(*place, *by));
        self.untold = self.untold.max(other.untold);
    }

    /// All of them, however they decide.
    pub(super) fn lineage(&self) -> Lineage {
        Lineage { columns: self.columns.keys().copied().collect(), untold: self.untold.is_some() }
    }

    /// Whether there is nothing.
    pub(super) fn is_nothing(&self) -> bool {
        self.columns.is_empty() && self.untold.is_none()
    }

    fn add(&mut self, place: (u32, i16), by: Comparison) {
        let known = self.columns.entry(place).or_insert(by);
        *known = by.max(*known);
    }

    /// As the facts tell it.
    pub(super) fn told(&self, catalog: &Catalog) -> Filters {
        let name = |((oid, number), by): (&(u32, i16), &Comparison)| {
            let columns = &catalog.relation_by_oid(*oid)?.columns;
            let column = columns.iter().find(|column| column.number == *number)?;
            Some((ColumnSource { relation: *oid, column: column.name.clone() }, *by))
        };
        Filters { columns: self.columns.iter().filter_map(name).collect(), untold: self.untold }
    }
}

impl<'a> Analysis<'a> {
    /// The values of these columns decide something.
    pub(super) fn tests(&mut self, lineage: &Lineage, by: Comparison) {
        if self.set_up {
            return;
        }
        lineage.columns.iter().for_each(|place| self.found.tested.add(*place, by));
        if lineage.untold {
            self.found.tested.untold = self.found.tested.untold.max(Some(by));
        }
    }

    /// Does something whose result decides. Its columns are none of what is made around it: that they may decide is asked for by itself.
    pub(super) fn deciding<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        self.deciding_by(Comparison::Any, work)
    }

    fn deciding_by<R>(&mut self, by: Comparison, work: impl FnOnce(&mut Self) -> R) -> R {
        if self.set_up {
            return work(self);
        }
        let around = std::mem::take(&mut self.gathered);
        let result = work(self);
        let inside = std::mem::replace(&mut self.gathered, around);
        self.tests(&inside, by);
        result
    }

    /// Does something that was set up before: what decides in it does not count.
    pub(super) fn set_up<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let outer = std::mem::replace(&mut self.set_up, true);
        let result = work(self);
        self.set_up = outer;
        result
    }

    /// Something that holds for a row or not: WHERE, ON, HAVING, FILTER.
    pub(super) fn decides(&mut self, node: Option<&Node>) {
        let Some(node) = node else { return };
        self.deeper(|this| match inner(node) {
            Some(NodeEnum::BoolExpr(all)) if all.boolop() != BoolExprType::NotExpr => all.args.iter().for_each(|part| this.decides(Some(part))),
            Some(NodeEnum::NullTest(test)) if test.arg.as_deref().is_some_and(|tested| this.is_plain(tested)) => {
                this.deciding_by(Comparison::Presence, |this| this.expression(node));
            }
            Some(NodeEnum::AExpr(expression)) => {
                this.user_operator = false;
                let around = std::mem::take(&mut this.gathered);
                this.expression(node);
                let inside = std::mem::take(&mut this.gathered);
                this.gathered = around;
                // An operator that somebody defined may compare by anything.
                let by = if this.user_operator { Comparison::Any } else { this.equality(expression) };
                if this.set_up { this.gathered.merge(&inside) } else { this.tests(&inside, by) }
            }
            _ => drop(this.deciding(|this| this.expression(node))),
        });
    }

    /// Notes that a WHERE over the settings says `name = 'setting'`, and nothing beside it but more conditions.
    pub(super) fn fixes_name(&mut self, condition: Option<&Node>) {
        if !self.reads_settings() {
            return;
        }
        let parts = match condition.and_then(inner) {
            Some(NodeEnum::BoolExpr(all)) if all.boolop() == BoolExprType::AndExpr => all.args.iter().collect(),
            _ => condition.into_iter().collect::<Vec<_>>(),
        };
        let said = parts.into_iter().find_map(|part| {
            let Some(NodeEnum::AExpr(expression)) = inner(part) else { return None };
            let equal = expression.kind() == AExprKind::AexprOp && qualified(&expression.name) == ("", "=");
            let Some(NodeEnum::ColumnRef(column)) = expression.lexpr.as_deref().and_then(inner) else { return None };
            let right = expression.rexpr.as_deref().filter(|node| is_place(node) && equal && strings(&column.fields) == ["name"])?;
            constants::text(right, &self.parameters)
        });
        self.scope().fixed_name = said;
    }

    /// How a comparison learns of a column.
    fn equality(&self, expression: &AExpr) -> Comparison {
        let (left, right) = (expression.lexpr.as_deref(), expression.rexpr.as_deref());
        let (Some(left), Some(right), ("" | "pg_catalog", "=")) = (left, right, qualified(&expression.name)) else { return Comparison::Any };
        let by = match expression.kind() {
            AExprKind::AexprOp | AExprKind::AexprNotDistinct if self.is_whole(left) => self.given(right),
            AExprKind::AexprOp | AExprKind::AexprNotDistinct if self.is_whole(right) => self.given(left),
            AExprKind::AexprIn if self.is_whole(left) => match inner(right) {
                Some(NodeEnum::List(list)) => match list.items.as_slice() {
                    [only] => self.given(only),
                    items => items.iter().map(|item| self.given(item)).collect::<Option<Vec<_>>>().map(|_| Comparison::Value),
                },
                _ => None,
            },
            AExprKind::AexprOpAny if self.is_whole(left) => self.given(right).map(|_| Comparison::Value),
            _ => None,
        };
        by.unwrap_or(Comparison::Any)
    }

    /// A column of a relation with its whole value, also as text.
    fn is_whole(&self, node: &Node) -> bool {
        match inner(node) {
            Some(NodeEnum::TypeCast(cast)) => self.casts_to_text(cast) && cast.arg.as_deref().is_some_and(|node| self.is_plain(node)),
            _ => self.is_plain(node),
        }
    }

    /// What the caller gave: a bound parameter, or something made of literals and parameters alone.
    fn given(&self, node: &Node) -> Option<Comparison> {
        match inner(node)? {
            NodeEnum::ParamRef(_) if self.passed == Lineage::default() => Some(if self.written { Comparison::Value } else { Comparison::Parameter }),
            NodeEnum::SqlvalueFunction(_) | NodeEnum::SetToDefault(_) => Some(Comparison::Value),
            // What the same statement gives.
            NodeEnum::ColumnRef(column) => match strings(&column.fields).as_slice() {
                ["excluded", name] if self.is_of_nothing("excluded", name) => Some(Comparison::Value),
                _ => None,
            },
            NodeEnum::AConst(_) => Some(Comparison::Value),
            NodeEnum::TypeCast(cast) => self.given(cast.arg.as_deref()?),
            NodeEnum::FuncCall(call) if self.calls_built_in(call) => {
                call.args.iter().map(|argument| self.given(argument)).collect::<Option<Vec<_>>>().map(|_| Comparison::Value)
            }
            NodeEnum::AArrayExpr(array) => {
                array.elements.iter().map(|element| self.given(element)).collect::<Option<Vec<_>>>().map(|_| Comparison::Value)
            }
            _ => None,
        }
    }

    fn calls_built_in(&self, call: &FuncCall) -> bool {
        let (schema, name) = qualified(&call.funcname);
        let meant = self.routines(schema, name, call.args.len());
        never_fails(name).is_some() && !meant.is_empty() && meant.iter().all(|routine| routine.built_in())
    }

    /// To a text type of any length: nothing of the value is lost.
    fn casts_to_text(&self, cast: &TypeCast) -> bool {
        let Some(name) = &cast.type_name else { return false };
        let (schema, called) = qualified(&name.names);
        name.typmods.is_empty()
            && name.array_bounds.is_empty()
            && !name.setof
            && matches!(self.find_type(schema, called), Some(types::TEXT | types::VARCHAR))
    }

    /// ORDER BY, GROUP BY, DISTINCT ON: expressions, places and names of result columns. `named_first`: a name means the result column rather than the source's.
    pub(super) fn arrangement(&mut self, nodes: &[Node], outputs: &Outputs, named_first: bool) {
        for node in nodes {
            let by = match inner(node) {
                Some(NodeEnum::SortBy(sort)) => sort.node.as_deref().unwrap_or(node),
                _ => node,
            };
            if is_place(by) {
                // Which column it means is a matter of the literal's value.
                drop(constants::value(by, &self.parameters));
            }
            match inner(node) {
                // DISTINCT by itself: all of it.
                None => self.tests(&outputs.lineage(), Comparison::Any),
                Some(NodeEnum::GroupingSet(set)) => self.deeper(|this| this.arrangement(&set.content, outputs, named_first)),
                // The parts of a row are places and names of their own.
                Some(NodeEnum::RowExpr(row)) if !named_first => self.deeper(|this| this.arrangement(&row.args, outputs, named_first)),
                Some(_) => self.arranged(node, by, outputs, named_first),
            }
        }
    }

    fn arranged(&mut self, node: &Node, by: &Node, outputs: &Outputs, named_first: bool) {
        let meant = result_column(by, outputs);
        if let Some(lineage) = &meant {
            self.tests(lineage, Comparison::Any);
            if self.set_up {
                self.gathered.merge(lineage);
            }
        }
        // A result column of this name comes first, if there is one for certain; in GROUP BY, a column of a source.
        let source = !named_first && self.names_source(by);
        if meant.is_some() && !source && outputs.rest.is_none() {
            self.apart(|this| this.expression(node));
        } else {
            self.deciding(|this| this.expression(node));
        }
    }

    fn names_source(&self, node: &Node) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = inner(node) else { return false };
        let names = strings(&column.fields);
        let [name] = names.as_slice() else { return true };
        let mut sources = self.scopes.last().into_iter().flat_map(|scope| &scope.sources);
        sources.any(|source| source.outputs.named(name, &mut Lineage::default()))
    }

    /// Columns joined by a name they share, among these sources of the innermost query.
    pub(super) fn joined_by(&mut self, name: &str, from: usize) {
        let (mut gathered, mut found) = (Lineage::default(), false);
        for source in self.scopes.last().into_iter().flat_map(|scope| scope.sources.iter().skip(from)) {
            found |= source.outputs.named(name, &mut gathered);
        }
        gathered.untold |= !found;
        self.tests(&gathered, Comparison::Any);
        if self.set_up {
            self.gathered.merge(&gathered);
        }
    }

    /// Looks at an expression of which some parts decide whether others are looked at.
    pub(super) fn branching<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let outer = std::mem::replace(&mut self.branches, true);
        let result = work(self);
        self.branches = outer;
        result
    }

    /// Something is made for a select list: where anything of it can fail, whether it does decides.
    pub(super) fn made_for_show(&mut self, node: &Node) -> (Ty, Lineage) {
        let around = std::mem::replace(&mut self.can_fail, false);
        let (ty, lineage) = self.traced(|this| this.expression(node));
        // What is shown in another encoding may have signs that this one lacks.
        self.can_fail |= !matches!(&*self.view.client_encoding, "UTF8" | "SQL_ASCII") && !self.is_plain(node);
        if self.can_fail {
            self.tests(&lineage, Comparison::Any);
        }
        self.can_fail |= around;
        (ty, lineage)
    }

    /// A call of a built-in function: whether it can fail, or gives many rows.
    pub(super) fn weigh_call(&mut self, routine: &Routine, arguments: &[Ty], values: &[Node]) {
        let as_declared = |at: usize, actual: Ty| {
            let declared = routine.arguments.get(at).copied().unwrap_or(routine.variadic);
            let fits = |actual| actual == types::UNKNOWN || actual == declared || types::fits_safely(actual, declared);
            types::is_any(declared) || actual.is_some_and(fits)
        };
        let fits = arguments.iter().enumerate().all(|(at, actual)| as_declared(at, *actual));
        let literal = |at: usize| values.get(at).filter(|node| is_place(node)).and_then(|node| constants::text(node, &self.parameters));
        let never = match never_fails(&routine.name) {
            Some(Safe::Always { most }) => arguments.len() <= most,
            Some(Safe::Slices) => (1..arguments.len()).all(|at| literal(at).is_some_and(|text| text.parse::<u32>().is_ok())),
            Some(Safe::Pads) => literal(1).is_some_and(|text| text.parse::<u16>().is_ok()) && (2..arguments.len()).all(|at| literal(at).is_some()),
            Some(Safe::Splits) => literal(1).is_some() && literal(2).is_some_and(|text| text.parse::<u16>().is_ok_and(|place| place > 0)),
            Some(Safe::Units) => literal(0).zip(routine.arguments.get(1)).is_some_and(|(unit, ty)| has_unit(&routine.name, &unit, *ty)),
            Some(Safe::Formats) => routine.arguments.first().is_some_and(|ty| types::is_time(*ty)) && literal(1).is_some(),
            Some(Safe::Prints) => literal(0).is_some_and(|format| prints(&format, arguments.len().saturating_sub(1))),
            None => false,
        };
        let collated = self.collates && arguments.iter().flatten().any(|ty| types::is_text(*ty));
        self.can_fail |= routine.returns_set || !fits || !never || collated;
    }

    /// Code that somebody defined runs: it may fail by what it is handed, and what it does may be seen where a value decides whether it runs at all. What else it
    /// looks at was settled when it was made.
    pub(super) fn handed_to_code(&mut self) {
        let handed = self.gathered.clone();
        self.tests(&handed, Comparison::Any);
        self.can_fail |= self.branches;
    }

    /// An operator between values of these types.
    pub(super) fn weigh_operator(&mut self, name: &str, left: Ty, right: Ty) {
        let literal = |ty: Ty| ty == Some(types::UNKNOWN);
        let alike = match (left, right) {
            (Some(left), Some(right)) => {
                let fits = left == right || types::fits_safely(left, right) || types::fits_safely(right, left);
                (types::is_simple(left) && types::is_simple(right) && fits)
                    || (left == types::UNKNOWN && types::is_simple(right))
                    || (right == types::UNKNOWN && types::is_simple(left))
            }
            _ => false,
        };
        let text = |ty: Ty| ty.is_some_and(types::is_text);
        let never = match name {
            "||" => (text(left) || text(right)) && (text(left) || literal(left)) && (text(right) || literal(right)),
            "->" | "->>" | "#>" | "#>>" | "@>" | "<@" | "?" | "?|" | "?&" => left == Some(types::JSONB),
            name => COMPARISONS.contains(&name) && alike && !(self.collates && (text(left) || text(right))),
        };
        self.can_fail |= !never;
    }

    /// Values of these types become one another's.
    pub(super) fn weigh_union(&mut self, found: &[Ty]) {
        let mut known = found.iter().filter(|ty| **ty != Some(types::UNKNOWN));
        let Some(first) = known.next() else { return };
        let fits = |from: Ty, to: Ty| from.zip(to).is_some_and(|(from, to)| types::fits_safely(from, to));
        let alike = known.all(|ty| (ty == first && ty.is_some()) || fits(*ty, *first) || fits(*first, *ty));
        self.can_fail |= !alike;
    }

    /// A cast that is asked for.
    pub(super) fn weigh_cast(&mut self, cast: &TypeCast, to: Ty) {
        let literal = match cast.arg.as_deref().and_then(inner) {
            Some(NodeEnum::AConst(constant)) => match &constant.val {
                Some(Val::Ival(_) | Val::Fval(_)) => matches!(to, Some(types::INT4 | types::INT8 | types::NUMERIC)),
                _ => true,
            },
            _ => false,
        };
        // A literal is read when the statement is; a domain's checks wait.
        let built_in =
            to.and_then(|oid| self.catalog.type_by_oid(oid)).is_some_and(|kind| kind.oid < FIRST_USER_OID && kind.base == 0 && kind.element == 0);
        self.can_fail |= !(self.casts_to_text(cast) || literal && built_in);
    }

    /// `count(column)`: how many there are of it.
    pub(super) fn counts(&mut self, call: &FuncCall) {
        let [only] = call.args.as_slice() else { return };
        if qualified(&call.funcname).1 == "count" {
            let lineage = self.gathered.clone();
            let alone = !call.agg_distinct && (self.is_plain(only) || self.is_row(only));
            self.tests(&lineage, if alone { Comparison::Presence } else { Comparison::Any });
        }
    }

    /// `p` or `p.*`, where `p` is a source: whether there is such a row.
    fn is_row(&self, node: &Node) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = inner(node) else { return false };
        let names = strings(&column.fields);
        let star = matches!(column.fields.last().and_then(inner), Some(NodeEnum::AStar(_)));
        let sources = || self.scopes.iter().flat_map(|scope| &scope.sources);
        let [name] = names.as_slice() else { return false };
        sources().any(|source| *source.alias == **name) && (star || sources().all(|source| source.outputs.shows_plainly(name).is_none()))
    }

    /// Values that were given are stored in these columns of a relation, in this order: where they must be unique, whether that fails tells of others.
    pub(super) fn fills(&mut self, target: &Outputs, names: &[&str], given: &[Option<Comparison>]) {
        for (at, name) in names.iter().enumerate() {
            let by = given.get(at).copied().flatten().unwrap_or(Comparison::Value);
            self.fill(target, name, by);
        }
    }

    /// A value is stored in one column.
    pub(super) fn fill(&mut self, target: &Outputs, name: &str, by: Comparison) {
        let Some(column) = target.columns.iter().find(|column| *column.name == *name) else { return };
        let unique = |(oid, number): &(u32, i16)| {
            let keys = self.catalog.relation_by_oid(*oid).map(|relation| &*relation.keys).unwrap_or_default();
            keys.iter().any(|key| key.contains(number))
        };
        let columns = column.lineage.columns.iter().copied().filter(unique).collect();
        self.tests(&Lineage { columns, untold: false }, by);
    }

    /// How each value of a row was given, where there is one row.
    pub(super) fn given_row(&self, row: &Node) -> Vec<Option<Comparison>> {
        let Some(NodeEnum::List(list)) = inner(row) else { return vec![] };
        list.items.iter().map(|item| self.given(item)).collect()
    }

    /// How the value of an assignment was given.
    pub(super) fn given_value(&self, node: Option<&Node>) -> Comparison {
        node.and_then(|node| self.given(node)).unwrap_or(Comparison::Any)
    }

    /// These columns of a relation decide.
    pub(super) fn tests_columns(&mut self, relation: &Relation, names: &[&str]) {
        for column in relation.columns.iter().filter(|column| names.contains(&&*column.name)) {
            self.tests(&Lineage::of(relation, column.number), Comparison::Any);
        }
    }
}

/// The lineage of the result column that a place or a name means.
fn result_column(node: &Node, outputs: &Outputs) -> Option<Lineage> {
    let of = |column: &Output| column.lineage.clone();
    match inner(node)? {
        NodeEnum::AConst(_) if outputs.open => Some(outputs.lineage()),
        NodeEnum::AConst(constant) => match &constant.val {
            Some(Val::Ival(place)) => {
                let at = usize::try_from(place.ival).ok()?.checked_sub(1)?;
                outputs.columns.get(at).map(of)
            }
            _ => None,
        },
        NodeEnum::ColumnRef(column) => {
            let names = strings(&column.fields);
            let [name] = names.as_slice() else { return None };
            let mut named = outputs.columns.iter().filter(|column| *column.name == **name).peekable();
            if named.peek().is_none() && outputs.rest.is_none() {
                return None;
            }
            let mut lineage = outputs.rest.clone().unwrap_or_default();
            named.for_each(|column| lineage.merge(&column.lineage));
            Some(lineage)
        }
        _ => None,
    }
}

/// Whether a function of moments of this type gives this unit of each of them
/// (<https://www.postgresql.org/docs/18/functions-datetime.html#FUNCTIONS-DATETIME-EXTRACT>).
fn has_unit(function: &str, unit: &str, ty: u32) -> bool {
    let of_days = ["year", "quarter", "month", "week", "day", "decade", "century", "millennium"].contains(&unit);
    let of_hours = ["hour", "minute", "second"].contains(&unit);
    match function {
        // The first day of a year may be before the first that can be.
        "date_trunc" => types::is_time(ty) && (of_hours || unit == "day"),
        // `date_part` of a date is that of a timestamp, which not every date has.
        "date_part" => types::is_time(ty) && (of_days || of_hours),
        _ => (types::is_time(ty) && (of_days || of_hours)) || (types::is_moment(ty) && of_days),
    }
}

/// Whether a format prints so many values at most, and in no way that can fail.
fn prints(format: &str, values: usize) -> bool {
    let mut asked = 0;
    let mut signs = format.chars();
    while let Some(sign) = signs.next() {
        if sign == '%' {
            match signs.next() {
                Some('%') => {}
                Some('s' | 'L') => asked += 1,
                _ => return false,
            }
        }
    }
    asked <= values
}

fn is_place(node: &Node) -> bool {
    matches!(inner(node), Some(NodeEnum::AConst(_)))
}
