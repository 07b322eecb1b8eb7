//! Which operator, function or cast is meant: as much of PostgreSQL's overload resolution as tells built-in code from code somebody defined.
//! Where it cannot tell, everything that may be meant is.

use std::collections::BTreeSet;

use super::{
    analysis::{Analysis, Ty},
    catalog::{Catalog, FIRST_USER_OID, Operator, Routine},
};

// OIDs of `pg_type.dat`.
pub(super) const BOOL: u32 = 16;
pub(super) const INT8: u32 = 20;
pub(super) const INT4: u32 = 23;
pub(super) const TEXT: u32 = 25;
pub(super) const VARCHAR: u32 = 1043;
pub(super) const JSON: u32 = 114;
pub(super) const JSONB: u32 = 3802;
pub(super) const XML: u32 = 142;
pub(super) const UNKNOWN: u32 = 705;
pub(super) const NUMERIC: u32 = 1700;
pub(super) const BIT: u32 = 1560;
pub(super) const RECORD: u32 = 2249;

/// Polymorphic types: "any", anyarray, anyelement, anynonarray, anyenum, anyrange, anymultirange, anycompatible and its kin.
const POLYMORPHIC: &[u32] = &[2276, 2277, 2283, 2776, 3500, 3831, 4537, 4538, 5077, 5078, 5079, 5080];

/// `text`, `varchar`, `bpchar`, `name`.
pub(super) const fn is_text(oid: u32) -> bool {
    matches!(oid, TEXT | 1043 | 1042 | 19)
}

/// Types of which any two values can be compared: numbers, texts, moments, `bool`, `uuid`, `bytea`, `oid`, `inet`, `jsonb`.
pub(super) const fn is_simple(oid: u32) -> bool {
    is_text(oid) || is_moment(oid) || matches!(oid, BOOL | 17 | INT8 | 21 | INT4 | 26 | 700 | 701 | 869 | 1083 | 1186 | NUMERIC | 2950 | JSONB)
}

/// `timestamp`, `timestamptz`.
pub(super) const fn is_time(oid: u32) -> bool {
    matches!(oid, 1114 | 1184)
}

/// `date`, `timestamp`, `timestamptz`.
pub(super) const fn is_moment(oid: u32) -> bool {
    oid == 1082 || is_time(oid)
}

/// Whether a function that is declared so takes values of any type.
pub(super) fn is_any(oid: u32) -> bool {
    POLYMORPHIC.contains(&oid)
}

/// Whether every value of a type can be had in another, as it is: texts, and numbers in wider ones.
pub(super) const fn fits_safely(from: u32, to: u32) -> bool {
    const INT2: u32 = 21;
    const FLOAT8: u32 = 701;
    (is_text(from) && is_text(to))
        || matches!((from, to), (INT2, INT4 | INT8 | NUMERIC | FLOAT8) | (INT4, INT8 | NUMERIC | FLOAT8) | (INT8, NUMERIC | FLOAT8))
}

/// The names SQL has for types that the catalog calls otherwise.
pub(super) const fn sql_name(oid: u32) -> Option<&'static str> {
    Some(match oid {
        BOOL => "boolean",
        INT8 => "bigint",
        21 => "smallint",
        INT4 => "integer",
        700 => "real",
        701 => "double precision",
        1042 => "character",
        1043 => "character varying",
        1114 => "timestamp without time zone",
        1184 => "timestamp with time zone",
        1083 => "time without time zone",
        UNKNOWN => "unknown",
        _ => return None,
    })
}

/// Whether two declared types can stand for one another without any code of a user's: both known and the same.
fn same(actual: Ty, declared: u32) -> bool {
    actual == Some(declared)
}

impl<'a> Analysis<'a> {
    /// Whether a value of this type can be passed where that one is declared, without being cast by name.
    fn fits(&self, actual: Ty, declared: u32) -> bool {
        let Some(actual) = actual else { return true };
        let base = self.catalog.base_type(actual);
        if actual == declared || base == declared || actual == UNKNOWN || POLYMORPHIC.contains(&declared) {
            return true;
        }
        if [actual, base].iter().any(|from| self.catalog.cast(*from, declared).is_some_and(|cast| cast.implicit)) {
            return true;
        }
        self.fits_by_parts(base, declared)
    }

    /// Arrays by their elements; rows of a child as its parent's; any row as a record.
    fn fits_by_parts(&self, actual: u32, declared: u32) -> bool {
        let element = |oid| self.catalog.type_by_oid(oid).map_or(0, |kind| kind.element);
        let (from, to) = (element(actual), element(declared));
        if from != 0 && to != 0 {
            return from == to || self.catalog.cast(from, to).is_some_and(|cast| cast.implicit);
        }
        let row = |oid| oid == RECORD || self.catalog.relation_of_row_type(oid).is_some();
        row(actual) && row(declared)
    }

    /// An operator is applied; `left` is `Some(None)` where the type is not known, `None` for a prefix operator. The result's type, if known.
    pub(super) fn operator(&mut self, schema: &str, name: &str, left: Option<Ty>, right: Ty) -> Ty {
        let chosen = self.choose_operators(schema, name, left, right);
        if chosen.iter().any(|operator| operator.oid >= FIRST_USER_OID) {
            self.user_operator = true;
            self.can_fail = true;
        }
        for operator in &chosen {
            self.run_oid(operator.function);
            self.coerce_argument(right, operator.right);
            if let Some(left) = left {
                self.coerce_argument(left, operator.left);
            }
        }
        if chosen.is_empty() && self.touched.contains(name) {
            self.found.doubt("it uses an operator that an earlier statement of the same message makes");
        }
        unanimous(chosen.iter().map(|operator| operator.result))
    }

    /// The operators that may be meant (`oper` and `left_oper` in the server's `parse_oper.c`); all of that name if types allow none, for they are only
    /// known in part here.
    fn choose_operators(&self, schema: &str, name: &str, left: Option<Ty>, right: Ty) -> Vec<&'a Operator> {
        let visible = self.catalog.operators_named(name);
        let visible: Vec<&'a Operator> =
            visible.filter(|operator| (operator.left == 0) == left.is_none() && self.sees(schema, &operator.schema)).collect();
        let pairs = |operator: &Operator, left: Option<Ty>, right: Ty| [left.map(|left| (left, operator.left)), Some((right, operator.right))];
        // A literal beside a value is first taken for the value's type, or for that below its domain. Any other that takes it may be meant as well.
        let (same_left, same_right) = same_unless_known(left, right);
        let below = |ty: Ty| ty.map(|oid| self.catalog.base_type(oid));
        let literal = (left.map(|_| same_left), same_right) != (left, right);
        for (left, right) in
            [(left.map(|_| same_left), same_right), (left.map(|_| below(same_left)), below(same_right))].into_iter().take(1 + usize::from(literal))
        {
            let exact = |operator: &&Operator| pairs(operator, left, right).into_iter().flatten().all(|(actual, declared)| same(actual, declared));
            if let Some(one) = visible.iter().copied().filter(exact).min_by_key(|operator| self.place_on_path(&operator.schema)) {
                return vec![one];
            }
        }
        let fits = |operator: &&Operator| pairs(operator, left, right).into_iter().flatten().all(|(actual, declared)| self.fits(actual, declared));
        let fitting: Vec<&'a Operator> = visible.iter().copied().filter(fits).collect();
        if fitting.is_empty() {
            return visible;
        }
        // Of several the server keeps those that are exact for most arguments (`func_select_candidate`).
        if [left.unwrap_or(right), right].contains(&None) {
            return fitting;
        }
        let exact = |operator: &Operator| {
            let known = pairs(operator, left, right).into_iter().flatten().filter(|(actual, _)| *actual != Some(UNKNOWN));
            known.filter(|(actual, declared)| same(below(*actual), *declared)).count()
        };
        let most = fitting.iter().map(|operator| exact(operator)).max().unwrap_or(0);
        fitting.into_iter().filter(|operator| exact(operator) == most).collect()
    }

    fn place_on_path(&self, schema: &str) -> usize {
        self.path.iter().position(|searched| **searched == *schema).unwrap_or(usize::MAX)
    }

    /// Of several that fit, those that may be meant: the first exact one of the path, else all.
    fn prefer<T: Copy>(&self, candidates: Vec<T>, exact: impl Fn(T) -> bool, schema: impl Fn(T) -> &'a str) -> Vec<T> {
        match candidates.iter().copied().filter(|one| exact(*one)).min_by_key(|one| self.place_on_path(schema(*one))) {
            Some(one) => vec![one],
            None => candidates,
        }
    }

    /// Of the routines a name can mean, those that types allow; all of them if types allow none, for they are only known in part here.
    pub(super) fn choose_routines(&self, candidates: Vec<&'a Routine>, arguments: &[Ty]) -> Vec<&'a Routine> {
        let declared = |routine: &Routine, at: usize| match routine.arguments.get(at) {
            Some(_) if routine.variadic != 0 && at + 1 >= routine.arguments.len() => routine.variadic,
            Some(oid) => *oid,
            None => routine.variadic,
        };
        let fits = |routine: &&Routine| {
            arguments.iter().enumerate().all(|(at, actual)| {
                let whole = routine.arguments.get(at).is_some_and(|oid| self.fits(*actual, *oid));
                whole || self.fits(*actual, declared(routine, at))
            })
        };
        let fitting: Vec<&Routine> = candidates.iter().copied().filter(|routine| fits(routine)).collect();
        let candidates = if fitting.is_empty() { candidates } else { fitting };
        let exact = |routine: &Routine| {
            routine.arguments.len() == arguments.len() && arguments.iter().zip(&routine.arguments).all(|(actual, declared)| same(*actual, *declared))
        };
        self.prefer(candidates, exact, |routine| routine.schema.as_ref())
    }

    /// A value becomes one of another type: casts run, and the checks somebody defined.
    pub(super) fn coerce(&mut self, from: Ty, to: u32) {
        self.become_type(from, to, false);
    }

    /// The same for an argument, for which only implicit casts are looked at.
    pub(super) fn coerce_argument(&mut self, from: Ty, to: u32) {
        self.become_type(from, to, true);
    }

    fn become_type(&mut self, from: Ty, to: u32, implicitly: bool) {
        if from == Some(to) {
            return;
        }
        for (source, target) in self.cast_steps(from, to) {
            for cast in self.catalog.casts().iter().filter(|cast| cast.function != 0 && cast.target == target && (cast.implicit || !implicitly)) {
                if source.is_none_or(|source| source == cast.source) {
                    self.run_oid(cast.function);
                }
            }
        }
        self.make_value(to);
    }

    /// A value of a type is made: what somebody defined for that runs.
    fn make_value(&mut self, ty: u32) {
        making(self.catalog, ty).into_iter().for_each(|code| self.run_oid(code));
    }

    /// A value of a type comes from the caller, and is assigned to another on its way: one of somebody's own type to any.
    pub(super) fn take_value(&mut self, ty: u32) {
        self.make_value(ty);
        let may = |assigned: bool| assigned || ty >= FIRST_USER_OID;
        for cast in
            self.catalog.casts().iter().filter(|cast| cast.source == ty && cast.function >= FIRST_USER_OID && may(cast.implicit || cast.assigned))
        {
            self.run_oid(cast.function);
        }
    }

    /// The pairs of types between which a cast may be looked for. A literal is read by its type's input function instead.
    fn cast_steps(&self, from: Ty, to: u32) -> Vec<(Ty, u32)> {
        if from == Some(UNKNOWN) {
            return vec![];
        }
        let element = |oid| self.catalog.type_by_oid(oid).map_or(0, |kind| kind.element);
        let mut steps = vec![(from, to), (from, self.catalog.base_type(to))];
        if let Some(from) = from {
            steps.push((Some(self.catalog.base_type(from)), self.catalog.base_type(to)));
            if element(from) != 0 && element(to) != 0 {
                steps.push((Some(element(from)), element(to)));
            }
        } else if element(to) != 0 {
            steps.push((None, element(to)));
        }
        steps.dedup();
        steps
    }
}

/// What somebody defined that runs when a value of a type is made: of the type itself, of what it is made of, and of its fields.
fn making(catalog: &Catalog, ty: u32) -> BTreeSet<u32> {
    let (mut code, mut seen, mut waiting) = (BTreeSet::new(), BTreeSet::new(), vec![ty]);
    while let Some(oid) = waiting.pop() {
        if oid == 0 || !seen.insert(oid) {
            continue;
        }
        if let Some(kind) = catalog.type_by_oid(oid) {
            code.extend(kind.code.iter().copied());
            waiting.extend([kind.base, kind.element]);
        }
        if let Some(relation) = catalog.relation_of_row_type(oid) {
            waiting.extend(relation.columns.iter().map(|column| column.type_oid));
        }
    }
    code
}

/// Whether a parameter that is declared of this type may run code that somebody wrote, by being made or by being cast. What is in C came with an
/// extension, and makes its result of its arguments.
#[must_use]
pub fn parameter_runs_code(catalog: &Catalog, type_oid: u32) -> bool {
    let casts = || catalog.casts().iter().filter(|cast| cast.source == type_oid).map(|cast| cast.function);
    let written =
        |code: u32| code >= FIRST_USER_OID && catalog.routine_by_oid(code).is_none_or(|routine| !matches!(&*routine.language, "c" | "internal"));
    // Arrays of rows are not in the catalog here, nor is what was made a moment ago.
    let known = || catalog.type_by_oid(type_oid).is_some() || catalog.relation_of_row_type(type_oid).is_some();
    type_oid >= FIRST_USER_OID && (!known() || making(catalog, type_oid).into_iter().chain(casts()).any(written))
}

/// A literal beside a value is first taken for the value's type.
fn same_unless_known(left: Option<Ty>, right: Ty) -> (Ty, Ty) {
    match (left, right) {
        (Some(Some(UNKNOWN)), Some(right)) if right != UNKNOWN => (Some(right), Some(right)),
        (Some(Some(left)), Some(UNKNOWN)) if left != UNKNOWN => (Some(left), Some(left)),
        (left, right) => (left.flatten(), right),
    }
}

/// The one value they all have.
pub(super) fn unanimous(mut values: impl Iterator<Item = u32>) -> Ty {
    let first = values.next()?;
    (values.all(|value| value == first) && !POLYMORPHIC.contains(&first)).then_some(first)
}
