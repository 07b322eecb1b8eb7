//! Which bytes of an answer are shown, which are masked, which are withheld. A value is shown only when its origin is certain.
//!
//! A column is clean if everything it may be made of is known and none of that is classified, or if the target names an ordinary, unclassified
//! column of an ordinary table the statement is known to touch and nothing in the statement makes that doubtful. Where the two disagree, and for whatever
//! else comes back from a statement that touches a classified relation, it is withheld.

mod cell;
mod detected;
mod ff1;
mod file;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
pub(crate) mod fuzzed;
mod json;
mod keys;
mod nested;
mod output;
mod shape;
mod token;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use model::{
    DataClassName, Facts, Understanding,
    classes::{ClassifiedColumn, DataClass, Mask, Seen},
    facts::{ColumnSource, Comparison, CopyLayout, Filters, OutputColumn, Stores},
};

use crate::{
    Version,
    classify::postgres::catalog::{Catalog, Relation, RelationKind},
    decide::{Case, may_reveal},
    detect::Hints,
    rulebook::written,
    version::applies,
};

use cell::Hidden;
use detected::{Net, Wanted};
use shape::Shape;

pub use cell::{CellMask, MAX_MASKED_CELL_BYTES, mask_cell};
pub use detected::CellDetector;
pub use file::FileSearch;
pub use keys::{MASK_KEY_BYTES, MaskKeys};
pub use output::OutputMask;
#[cfg(any(test, fuzzing))]
pub(crate) use output::fuzzed as fuzzed_output;

/// Partitions and children looked at for one relation: more than a server can plan for.
const MAX_DESCENDANTS: usize = 1_000_000;

/// How the answer of one statement is masked. There is none for a statement whose answer passes untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskPlan {
    /// It streams to the caller (`COPY … TO STDOUT`) in a way that cannot be rewritten: refuse it before it is forwarded.
    pub copy_refused: bool,
    /// How the rows of such a stream are written, where it can be. A stream that comes without it must not reach the caller.
    pub copy: Option<CopyLayout>,
    /// It stores, or lets code store, values the caller sees masked only where nothing would mask them any more, or takes away the name a
    /// class goes by: refuse it before it is forwarded, with this sentence.
    pub copies_refused: Option<String>,
    /// Classes the caller may not reveal whose values decide something about the operation, and what it learns of them; sorted.
    pub filters: Vec<(DataClassName, Comparison)>,
    /// From here to the session's end, errors and notices keep severity, a listed SQLSTATE and a generic message only.
    pub generic_errors: bool,
    /// No origin is to be trusted.
    opaque: bool,
    harmless: Vec<bool>,
    /// By position; empty when it is not known.
    made_of: Vec<MadeOf>,
    /// Columns the statement touches, of ordinary tables and hidden ones of others: number of relation and column, and what is known of it.
    origins: HashMap<(u32, i16), Origin>,
    /// What is looked for in values that are not hidden.
    wanted: Option<Wanted>,
    /// Nothing is hidden: all there is to do is to look for what is wanted.
    clean: bool,
    masked: Vec<MaskedColumn>,
}

/// A classified column of a relation the statement touches that the caller sees masked or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedColumn {
    /// `schema.table.column`.
    pub column: String,
    /// The class it is not revealed for; the first by name if there are several.
    pub class: DataClassName,
    /// How it is shown where it stands alone as a result column.
    pub mask: Mask,
}

impl fmt::Display for MaskedColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", model::name::printable(&self.column), self.class)
    }
}

/// What a result column is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MadeOf {
    /// Its name.
    name: Arc<str>,
    /// What it is called, here and where it comes from.
    hints: Hints,
    /// The columns; none if there may be others.
    columns: Option<Vec<(u32, i16)>>,
    /// Each value is that of one of them, unchanged: the types they have.
    plain: Option<Vec<u32>>,
    /// The hidden classes of all of them, each with its mask.
    hidden: Vec<Hidden>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    /// It is one of an ordinary table: where the target names it, it is what it shows.
    ordinary: bool,
    /// The type the target announces for it: a domain's base.
    type_oid: u32,
    /// The classes it has that the caller may not reveal, each with its mask.
    hidden: Vec<Hidden>,
}

/// One field of a RowDescription. <https://www.postgresql.org/docs/18/protocol-message-formats.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The column's label.
    pub name: &'a str,
    /// The table it comes from, 0 if it is not simply a column of one.
    pub table_oid: u32,
    /// The column's number in that table, 0 if it is not simply a column of one; below 0 for system columns.
    pub column: i16,
    /// Its type.
    pub type_oid: u32,
    /// Whether its values come in binary.
    pub binary: bool,
}

/// How each column of a result is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlan {
    /// One for each field, in order.
    pub cells: Vec<CellPlan>,
}

/// How the values of one result column are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellPlan {
    /// As they come.
    Pass,
    /// As they come, but for what is found in them.
    Detect(Arc<CellDetector>),
    /// As NULL.
    Withhold {
        /// The class that is the reason, if one column's is.
        class: Option<DataClassName>,
    },
    /// With a mask in place of each.
    Mask {
        /// The class whose mask it is; the first by name if there are several.
        class: DataClassName,
        /// The mask.
        mask: Arc<CellMask>,
    },
}

/// How the answer to an operation is masked. `None`: it touches no relation that holds anything the caller may not see, its bytes pass untouched.
#[must_use]
pub fn plan(version: &Version, case: &Case<'_>, catalog: &Catalog) -> Option<MaskPlan> {
    let wanted = Wanted::here(version, case);
    let here = Classified::here(version, case);
    if here.columns.is_empty() && wanted.is_none() {
        return None;
    }
    let unknown = case.facts.touches_unknown();
    let touched = touched(case.facts, catalog);
    let relevant = here.relevant(&touched, unknown || case.facts.effects.stores.code, catalog);
    let shown = |class: &DataClass| may_reveal(version, case.chain, case.connection, case.database, &class.name, case.now);
    let hidden: BTreeSet<&DataClassName> = relevant.into_iter().filter(|class| !shown(class)).map(|class| &class.name).collect();
    let clean = hidden.is_empty();
    if clean && wanted.is_none() {
        return None;
    }
    let full = matches!(case.facts.understanding, Understanding::Full);
    let classes = here.by_column(catalog, &touched, &hidden);
    let made_of: Vec<MadeOf> =
        if unknown { Vec::new() } else { case.facts.outputs.columns.iter().map(|column| made_of(column, catalog, &classes)).collect() };
    let origins = origins(&touched, catalog, &classes);
    Some(MaskPlan {
        wanted,
        clean,
        filters: filters(&case.facts.filters, catalog, &classes, &hidden),
        copies_refused: if clean { None } else { copies_refused(&case.facts.effects.stores, catalog, &classes, &hidden) },
        copy_refused: case.facts.effects.copy_out && (!full || case.facts.outputs.copy.is_none()),
        copy: case.facts.outputs.copy.clone().filter(|_| full),
        generic_errors: !clean,
        opaque: unknown || case.facts.outputs.opaque,
        harmless: if full { case.facts.outputs.harmless.clone() } else { Vec::new() },
        made_of,
        origins,
        masked: masked_columns(&touched, catalog, &classes),
    })
}

/// Columns that classes name but the catalog of this database does not have: nothing is masked there, which is worth a warning.
#[must_use]
pub fn unplaced<'v>(
    version: &'v Version,
    connection: &model::Connection,
    database: &str,
    catalog: &Catalog,
) -> Vec<(&'v DataClassName, &'v ClassifiedColumn)> {
    let columns = version.classes.iter().flat_map(|class| class.columns.iter().map(move |column| (&class.name, column)));
    columns
        .filter(|(_, column)| applies(column, connection, database))
        .filter(|(_, column)| catalog.relation(&column.schema, &column.table).and_then(|relation| relation.column(&column.column)).is_none())
        .collect()
}

/// What is classified in one database on one connection.
struct Classified<'v> {
    columns: Vec<(&'v DataClass, &'v ClassifiedColumn)>,
}

/// Hidden classes with their masks, by relation and column.
type HiddenClasses<'v> = HashMap<(u32, i16), Vec<(&'v DataClass, &'v ClassifiedColumn)>>;

impl<'v> Classified<'v> {
    fn here(version: &'v Version, case: &Case<'_>) -> Self {
        let columns = version.classes.iter().flat_map(|class| class.columns.iter().map(move |column| (class, column)));
        Self { columns: columns.filter(|(_, column)| applies(column, case.connection, case.database)).collect() }
    }

    /// The classes whose values the operation may bring to light: all of them if it is unknown what it touches.
    fn relevant(&self, touched: &BTreeSet<u32>, unknown: bool, catalog: &Catalog) -> Vec<&'v DataClass> {
        let everything = unknown || touched.iter().any(|oid| catalog.relation_by_oid(*oid).is_none_or(Relation::holds_statistics));
        let reached = |column: &ClassifiedColumn| {
            everything || catalog.relation(&column.schema, &column.table).is_some_and(|relation| touched.contains(&relation.oid))
        };
        let mut classes: Vec<&DataClass> = Vec::new();
        for (class, _) in self.columns.iter().filter(|(_, column)| reached(column)) {
            if !classes.iter().any(|known| known.name == class.name) {
                classes.push(class);
            }
        }
        classes
    }

    /// Where the hidden classes are in what is touched, partitions and children included: their columns go by the same names.
    fn by_column(&self, catalog: &Catalog, touched: &BTreeSet<u32>, hidden: &BTreeSet<&DataClassName>) -> HiddenClasses<'v> {
        let mut classes = HiddenClasses::new();
        for (class, column) in self.columns.iter().filter(|(class, _)| hidden.contains(&class.name)) {
            let Some(relation) = catalog.relation(&column.schema, &column.table) else { continue };
            // INVARIANT: with a relation, `touched` holds all above and below it, so whoever shares rows with what is read is here.
            if !touched.contains(&relation.oid) {
                continue;
            }
            let family =
                std::iter::once(relation.oid).chain(catalog.descendants(relation.oid, MAX_DESCENDANTS)).chain(catalog.ancestors(relation.oid));
            for member in family.filter_map(|oid| catalog.relation_by_oid(oid)) {
                let Some(number) = member.column(&column.column).map(|found| found.number) else { continue };
                let known = classes.entry((member.oid, number)).or_default();
                if !known.iter().any(|(other, place)| other.name == class.name && place.path == column.path) {
                    known.push((class, column));
                }
            }
        }
        classes
    }
}

/// Every relation whose rows the operation may meet: those of its facts, what these are parts of, their parts, and whose index or storage they are.
fn touched(facts: &Facts, catalog: &Catalog) -> BTreeSet<u32> {
    let mut touched = BTreeSet::new();
    let stores = &facts.effects.stores;
    let named = facts.reads.iter().chain(&facts.writes).map(|relation| relation.oid);
    let filters = facts.filters.columns.iter().map(|(column, _)| column.relation);
    for relation in named.chain(stores.columns.iter().chain(&stores.renames).map(|column| column.relation)).chain(filters) {
        let owner = catalog.relation_by_oid(relation).and_then(|relation| relation.owner);
        for oid in std::iter::once(relation).chain(owner) {
            if touched.insert(oid) {
                touched.extend(catalog.ancestors(oid));
                touched.extend(catalog.descendants(oid, MAX_DESCENDANTS));
            }
        }
    }
    touched
}

/// What is learnt of hidden classes.
fn filters(filters: &Filters, catalog: &Catalog, classes: &HiddenClasses<'_>, hidden: &BTreeSet<&DataClassName>) -> Vec<(DataClassName, Comparison)> {
    let mut learnt: BTreeMap<DataClassName, Comparison> = BTreeMap::new();
    let mut learn = |class: &DataClassName, by: Comparison, nulls: Seen| {
        // Where masks hide it, that there is no value is something to find out.
        let by = if nulls == Seen::Hidden { by.max(Comparison::Any) } else { by };
        let known = learnt.entry(class.clone()).or_insert(by);
        *known = by.max(*known);
    };
    for (source, by) in &filters.columns {
        let Some(relation) = catalog.relation_by_oid(source.relation) else { continue };
        let place = relation.column(&source.column).map(|column| (relation.oid, column.number));
        place.and_then(|place| classes.get(&place)).into_iter().flatten().for_each(|(class, _)| learn(&class.name, *by, class.masking.nulls));
    }
    if let Some(by) = filters.untold {
        hidden.iter().for_each(|class| learn(class, by, Seen::Shown));
    }
    learnt.into_iter().collect()
}

/// Why what is stored or renamed must not be, in a sentence for the caller; none if no hidden class is concerned.
fn copies_refused(stores: &Stores, catalog: &Catalog, classes: &HiddenClasses<'_>, hidden: &BTreeSet<&DataClassName>) -> Option<String> {
    let found = |sources: &[ColumnSource]| sources.iter().find_map(|source| hidden_source(source, catalog, classes));
    if let Some((column, class)) = found(&stores.columns) {
        return Some(format!(
            "it would store what {column} holds where it is not masked, and {column} is `{class}`, which you may not reveal; leave the column out or store a value of your own"
        ));
    }
    if let Some((column, class)) = found(&stores.renames) {
        return Some(format!(
            "it would give {column} another name or place, and its class `{class}` goes by the name; somebody who may reveal `{class}` can do it, with the new name in data-classes.toml first"
        ));
    }
    let class = hidden.first()?;
    if stores.untold {
        return Some(format!(
            "it cannot be told whether it stores values of class `{class}`, which you may not reveal, where they are not masked; name plain columns of tables"
        ));
    }
    let code = "it makes code that is not followed, which could store values of class";
    stores.code.then(|| format!("{code} `{class}` where they are not masked; somebody who may reveal `{class}` can make it, or write it in SQL"))
}

/// The column as people write it and its class, if it is hidden. Copies that the planner keeps, and relations that are not known, may be of any.
fn hidden_source(source: &ColumnSource, catalog: &Catalog, classes: &HiddenClasses<'_>) -> Option<(String, String)> {
    let relation = catalog.relation_by_oid(source.relation);
    let class = match relation {
        Some(relation) if !relation.holds_statistics() => {
            let number = relation.column(&source.column)?.number;
            classes.get(&(relation.oid, number))?.iter().map(|(class, _)| class.name.to_string()).min()?
        }
        _ => "unknown".to_owned(),
    };
    let table = relation.map_or_else(|| source.relation.to_string(), |relation| written(&relation.schema, &relation.name));
    Some((model::name::printable(&format!("{table}.{}", source.column)), class))
}

fn made_of(column: &OutputColumn, catalog: &Catalog, classes: &HiddenClasses<'_>) -> MadeOf {
    let mut made = MadeOf {
        name: column.name.clone(),
        columns: (!column.untold).then(Vec::new),
        plain: column.plain.then(Vec::new),
        hidden: Vec::new(),
        hints: Hints::of([&*column.name]),
    };
    for source in &column.from {
        let relation = catalog.relation_by_oid(source.relation);
        let Some((relation, found)) = relation.and_then(|relation| Some((relation, relation.column(&source.column)?))) else {
            made.columns = None;
            continue;
        };
        made.hints = made.hints.with(Hints::of([&*relation.name, &*found.name].into_iter().chain(relation.comment(found.number))));
        let place = (relation.oid, found.number);
        if let Some(columns) = &mut made.columns {
            columns.push(place);
        }
        if let Some(types) = &mut made.plain {
            types.push(catalog.base_type(found.type_oid));
        }
        made.hidden.extend(hidden(classes, place));
    }
    made.hidden.sort();
    made.hidden.dedup();
    made
}

/// The hidden classes of a column.
fn hidden(classes: &HiddenClasses<'_>, place: (u32, i16)) -> impl Iterator<Item = Hidden> {
    let found = classes.get(&place).into_iter().flatten();
    found.map(|(class, column)| Hidden { class: class.name.clone(), masking: class.masking, path: column.path.clone() })
}

/// What is known of the columns of what is touched. A column that is not here has no origin to trust.
fn origins(touched: &BTreeSet<u32>, catalog: &Catalog, classes: &HiddenClasses<'_>) -> HashMap<(u32, i16), Origin> {
    let mut origins = HashMap::new();
    for relation in touched.iter().filter_map(|oid| catalog.relation_by_oid(*oid)) {
        let ordinary = relation.kind == RelationKind::Table && relation.parents.is_empty() && relation.children.is_empty();
        let ordinary = ordinary && !relation.holds_statistics();
        let classified = relation.columns.iter().any(|column| classes.contains_key(&(relation.oid, column.number)));
        for column in relation.columns.iter().filter(|column| column.number > 0) {
            let place = (relation.oid, column.number);
            // What is generated from a hidden column goes by a name of its own.
            let generated = classified && relation.is_generated(column.number);
            if (!ordinary || generated) && !classes.contains_key(&place) {
                continue;
            }
            let mut hidden: Vec<Hidden> = hidden(classes, place).collect();
            hidden.sort();
            origins.insert(place, Origin { ordinary, type_oid: catalog.base_type(column.type_oid), hidden });
        }
    }
    origins
}

fn masked_columns(touched: &BTreeSet<u32>, catalog: &Catalog, classes: &HiddenClasses<'_>) -> Vec<MaskedColumn> {
    let mut masked = Vec::new();
    for ((oid, number), classes) in classes.iter().filter(|((oid, _), _)| touched.contains(oid)) {
        let Some(relation) = catalog.relation_by_oid(*oid) else { continue };
        let Some(column) = relation.columns.iter().find(|column| column.number == *number) else { continue };
        let table = written(&relation.schema, &relation.name);
        let first = classes.iter().map(|(class, _)| class).min_by(|a, b| a.name.cmp(&b.name));
        let column = format!("{table}.{}", column.name);
        masked.extend(first.map(|class| MaskedColumn { column, class: class.name.clone(), mask: class.masking.mask }));
    }
    masked.sort_by(|a, b| a.column.cmp(&b.column));
    masked
}

impl MaskPlan {
    /// Whether nothing is hidden, and all there is to do is to look through values.
    #[must_use]
    pub const fn only_detects(&self) -> bool {
        self.clean
    }

    /// How the columns of a result are shown.
    #[must_use]
    pub fn columns(&self, fields: &[Field<'_>], sight: Sight<'_>) -> RowPlan {
        let net = self.wanted.as_ref().map(|wanted| wanted.ready(sight.keys));
        let harmless = |place: usize| self.harmless.len() == fields.len() && self.harmless.get(place) == Some(&true);
        let made = |place: usize| self.made_of.get(place).filter(|_| self.made_of.len() == fields.len());
        let cell = |(place, field): (usize, &Field<'_>)| {
            let plan = if self.clean || harmless(place) { CellPlan::Pass } else { self.cell(field, made(place), sight) };
            let hints = made(place).map_or_else(|| Hints::of([field.name]), |made| made.hints.with(Hints::of([field.name])));
            looked_through(plan, net.as_ref(), hints, field.type_oid, field.binary, sight)
        };
        RowPlan { cells: fields.iter().enumerate().map(cell).collect() }
    }

    /// How the columns of a COPY are shown, which names no origins, and what each is called as far as that is known.
    #[must_use]
    pub fn copied(&self, count: usize, binary: bool, sight: Sight<'_>) -> (RowPlan, Vec<String>) {
        let net = self.wanted.as_ref().map(|wanted| wanted.ready(sight.keys));
        let made = |place: usize| self.made_of.get(place).filter(|_| self.made_of.len() == count);
        let cell = |place: usize| {
            let made = made(place);
            let plan = if self.clean { CellPlan::Pass } else { copied(made, binary, sight) };
            // Of what type a value is, its origin alone tells.
            let oid = made.and_then(|made| made.plain.as_deref()).and_then(|types| types.first().copied()).unwrap_or(0);
            looked_through(plan, net.as_ref(), made.map_or(Hints::NONE, |made| made.hints), oid, binary, sight)
        };
        let name = |place: usize| made(place).map_or_else(|| format!("column {}", place + 1), |made| made.name.to_string());
        (RowPlan { cells: (0..count).map(cell).collect() }, (0..count).map(name).collect())
    }

    fn cell(&self, field: &Field<'_>, made: Option<&MadeOf>, sight: Sight<'_>) -> CellPlan {
        let withheld = || CellPlan::Withhold { class: None };
        // INVARIANT: whole rows (0) and system columns (below 0) are never among the origins.
        let origin = self.origins.get(&(field.table_oid, field.column));
        let said = origin.map_or(&[] as &[_], |origin| origin.hidden.as_slice());
        if let Some(MadeOf { columns: Some(columns), plain, hidden, .. }) = made {
            // Where the target names a table's column, it must be one of those.
            if origin.is_some() && !columns.contains(&(field.table_oid, field.column)) {
                return withheld();
            }
            let plain = plain.as_ref().is_some_and(|types| types.iter().all(|oid| *oid == field.type_oid));
            return match hidden.as_slice() {
                [] if said.is_empty() => CellPlan::Pass,
                [] => withheld(),
                hidden if plain => sight.hidden(hidden, field.type_oid, field.binary),
                [first, ..] => CellPlan::Withhold { class: Some(first.class.clone()) },
            };
        }
        match origin {
            Some(origin) if !self.opaque && origin.ordinary && origin.type_oid == field.type_oid => sight.hidden(said, field.type_oid, field.binary),
            _ => withheld(),
        }
    }

    /// The classified columns of what the operation touches that the caller does not see in clear, sorted.
    #[must_use]
    pub fn masked(&self) -> &[MaskedColumn] {
        &self.masked
    }
}

/// What a plan is applied with: the keys of masks, and the types of the database.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// What masks are keyed with.
    pub keys: &'a MaskKeys,
    /// Of the database.
    pub catalog: &'a Catalog,
}

impl Sight<'_> {
    /// A value of a column with these hidden classes.
    fn hidden(self, hidden: &[Hidden], type_oid: u32, binary: bool) -> CellPlan {
        if hidden.is_empty() { CellPlan::Pass } else { cell::planned(hidden, &Shape::of(self.catalog, type_oid), binary, self.keys) }
    }
}

/// A value of a COPY, by what it is made of.
fn copied(made: Option<&MadeOf>, binary: bool, sight: Sight<'_>) -> CellPlan {
    let Some(MadeOf { columns: Some(_), plain, hidden, .. }) = made else { return CellPlan::Withhold { class: None } };
    match (hidden.as_slice(), plain.as_deref()) {
        ([], _) => CellPlan::Pass,
        (hidden, Some([oid, others @ ..])) if others.iter().all(|other| other == oid) => sight.hidden(hidden, *oid, binary),
        ([first, ..], _) => CellPlan::Withhold { class: Some(first.class.clone()) },
    }
}

/// Looks through what would pass as it comes, and what passes of a document of which parts are masked.
fn looked_through(plan: CellPlan, net: Option<&Arc<Net>>, hints: Hints, type_oid: u32, binary: bool, sight: Sight<'_>) -> CellPlan {
    match (plan, net) {
        (CellPlan::Mask { mask, class }, Some(net)) if mask.is_partial() => {
            let detector = CellDetector::new(net, hints, &Shape::of(sight.catalog, type_oid), binary);
            CellPlan::Mask { class, mask: Arc::new(CellMask::with_detector(&mask, detector)) }
        }
        (CellPlan::Pass, Some(net)) => CellDetector::new(net, hints, &Shape::of(sight.catalog, type_oid), binary)
            .map_or(CellPlan::Pass, |detector| CellPlan::Detect(Arc::new(detector))),
        (plan, _) => plan,
    }
}

impl RowPlan {
    /// The columns that are masked or withheld, with their place.
    pub fn masked_columns(&self) -> impl Iterator<Item = (usize, &CellPlan)> {
        self.cells.iter().enumerate().filter(|(_, cell)| !matches!(cell, CellPlan::Pass | CellPlan::Detect(_)))
    }
}

#[cfg(test)]
mod tests {
    use model::{Action, Object, facts::Outputs, facts::RelationRef};

    use super::*;
    use crate::fixtures::{self, CUSTOMERS, ORDERS, ORDERS_2026, PLAIN, STATISTIC, VIEW, catalog};

    const CLASSES: &str = r#"
[email]
mask = "keep-domain"
columns = ["public.customers.email", "public.orders.email"]
[phone]
mask = "keep-last-four"
columns = ["prod-pg/public.customers.phone"]
[contact]
mask = "redact"
columns = ["public.customers.phone"]
[salary]
mask = "redact"
columns = ["public.customers.salary"]
[elsewhere]
columns = ["prod-pg/other/public.plain.id"]
"#;
    const POLICY: &str = r#"permit (principal, action == Action::"read", resource);
permit (principal in Group::"leads", action == Action::"reveal", resource == DataClass::"email");
permit (principal in Group::"half", action == Action::"reveal", resource == DataClass::"phone");
permit (principal in Group::"all", action == Action::"reveal", resource);"#;

    fn version() -> Version {
        let mut files = fixtures::files(POLICY);
        files.insert("data-classes.toml".to_owned(), CLASSES.to_owned());
        fixtures::load_files(&files)
    }

    fn reading(relations: &[(&str, u32)]) -> Facts {
        let mut facts = fixtures::facts(&[(Action::Read, Object::Connection)]);
        let reference = |(name, oid): &(&str, u32)| {
            let (schema, name) = name.split_once('.').unwrap_or(("public", name));
            RelationRef { schema: schema.into(), name: name.into(), oid: *oid }
        };
        facts.reads = relations.iter().map(reference).collect();
        facts
    }

    fn planned(groups: &[&str], facts: &Facts) -> Option<MaskPlan> {
        let chain = fixtures::chain(&[("u", groups)]);
        let connection = fixtures::connection();
        plan(
            &version(),
            &Case { chain: &chain, connection: &connection, database: "shop", facts, recent: crate::decide::Recent::default(), now: fixtures::now() },
            &catalog(),
        )
    }

    const fn field(table_oid: u32, column: i16, type_oid: u32) -> Field<'static> {
        Field { name: "x", table_oid, column, type_oid, binary: false }
    }

    fn keys() -> MaskKeys {
        MaskKeys::new(Some([5; MASK_KEY_BYTES].into()))
    }

    /// `p` passes, `w` is withheld, `m` is masked.
    fn shape(plan: &MaskPlan, fields: &[Field<'_>]) -> String {
        plan.columns(fields, Sight { keys: &keys(), catalog: &catalog() })
            .cells
            .iter()
            .map(|cell| match cell {
                CellPlan::Pass => 'p',
                CellPlan::Detect(_) => 'd',
                CellPlan::Withhold { .. } => 'w',
                CellPlan::Mask { .. } => 'm',
            })
            .collect()
    }

    const ROW: [Field<'static>; 5] =
        [field(CUSTOMERS, 1, 23), field(CUSTOMERS, 2, 25), field(CUSTOMERS, 3, 1043), field(CUSTOMERS, 4, 1700), field(CUSTOMERS, 5, 25)];

    #[test]
    fn what_touches_nothing_classified_passes_untouched() {
        assert_eq!(planned(&[], &reading(&[])), None);
        assert_eq!(planned(&[], &reading(&[("plain", PLAIN)])), None, "classified in another database only");
        assert_eq!(planned(&["all"], &reading(&[("customers", CUSTOMERS)])), None, "everything is revealed");
    }

    #[test]
    fn each_column_is_shown_by_its_classes() {
        let facts = reading(&[("customers", CUSTOMERS), ("plain", PLAIN)]);
        let nobody = planned(&[], &facts).unwrap();
        assert_eq!(shape(&nobody, &ROW), "pmwmp", "phone has two classes whose masks differ");
        assert!(nobody.generic_errors && !nobody.copy_refused);
        let columns: Vec<&str> = nobody.masked().iter().map(|column| column.column.as_str()).collect();
        assert_eq!(columns, ["public.customers.email", "public.customers.phone", "public.customers.salary"]);
        assert_eq!(shape(&planned(&["leads"], &facts).unwrap(), &ROW), "ppwmp");
        assert_eq!(shape(&planned(&["half"], &facts).unwrap(), &ROW), "pmmmp", "one of two classes revealed is not enough");
        assert_eq!(shape(&nobody, &[field(PLAIN, 1, 23)]), "p");
        let cells = planned(&["half"], &facts).unwrap().columns(&ROW, Sight { keys: &keys(), catalog: &catalog() }).cells;
        let shown = |place: usize, value: &str| mask_cell(&cells[place], Some(value.as_bytes())).map(|v| String::from_utf8(v.into_owned()).unwrap());
        assert_eq!(shown(1, "a@b.org").as_deref(), Some("***@b.org"));
        assert_eq!(shown(2, "+4420794609").as_deref(), Some("********"), "contact's mask, not that of the revealed phone");
        assert_eq!(shown(3, "100").as_deref(), Some("0"));
        assert_eq!(shown(4, "Ann").as_deref(), Some("Ann"));
    }

    #[test]
    fn an_origin_that_is_not_certain_is_withheld() {
        let plan = planned(&[], &reading(&[("customers", CUSTOMERS)])).unwrap();
        let doubtful = [
            field(0, 0, 25),
            field(CUSTOMERS, 0, 25),
            field(CUSTOMERS, -1, 27),
            field(CUSTOMERS, 99, 25),
            field(CUSTOMERS, 5, 23),
            field(PLAIN, 1, 23),
            field(4_000_000_000, 1, 25),
        ];
        assert_eq!(shape(&plan, &doubtful), "wwwwwww");
    }

    #[test]
    fn constants_and_counts_stay_usable() {
        let mut facts = reading(&[("customers", CUSTOMERS)]);
        facts.outputs = Outputs { harmless: vec![true, false], ..Outputs::default() };
        let plan = planned(&[], &facts).unwrap();
        assert_eq!(shape(&plan, &[field(0, 0, 20), field(0, 0, 20)]), "pw");
        assert_eq!(shape(&plan, &[field(0, 0, 20)]), "w", "the number of columns is not what the facts say");
        facts.outputs.opaque = true;
        let plan = planned(&[], &facts).unwrap();
        assert_eq!(shape(&plan, &[field(0, 0, 20), field(CUSTOMERS, 1, 23)]), "pw");
        facts.understanding = Understanding::Unreadable("x".to_owned());
        assert_eq!(shape(&planned(&[], &facts).unwrap(), &[field(0, 0, 20), field(0, 0, 20)]), "ww");
    }

    #[test]
    fn partitions_statistics_and_the_unknown_count_as_classified() {
        for (name, oid) in [("orders", ORDERS), ("orders_2026", ORDERS_2026)] {
            let plan = planned(&[], &reading(&[(name, oid)])).unwrap();
            assert_eq!(shape(&plan, &[field(oid, 1, 23), field(oid, 2, 25)]), "ww", "{name}");
            assert!(plan.masked().iter().any(|column| column.column == "public.orders_2026.email"), "{:?}", plan.masked());
            assert_eq!(planned(&["leads"], &reading(&[(name, oid)])), None);
        }
        let statistics = planned(&["leads"], &reading(&[("pg_catalog.pg_statistic", STATISTIC)])).unwrap();
        assert_eq!(shape(&statistics, &[field(STATISTIC, 1, 26)]), "w");
        assert!(planned(&[], &reading(&[("gone", 5)])).is_some(), "a relation the catalog does not have");
        let mut unreadable = reading(&[]);
        unreadable.understanding = Understanding::Unreadable("x".to_owned());
        assert_eq!(shape(&planned(&["leads"], &unreadable).unwrap(), &ROW), "wwwww");
    }

    #[test]
    fn a_view_over_a_classified_table_is_withheld() {
        let mut facts = reading(&[("contacts", VIEW), ("customers", CUSTOMERS)]);
        facts.outputs.opaque = true;
        let plan = planned(&["leads"], &facts).unwrap();
        assert_eq!(shape(&plan, &[field(VIEW, 1, 25), field(CUSTOMERS, 2, 25)]), "ww");
    }

    #[test]
    fn copy_out_that_cannot_be_rewritten_is_refused() {
        let mut facts = reading(&[("customers", CUSTOMERS)]);
        facts.effects.copy_out = true;
        assert!(planned(&[], &facts).unwrap().copy_refused, "how it is written is not known");
        facts.outputs.copy = Some(CopyLayout::Binary);
        let plan = planned(&[], &facts).unwrap();
        assert!(!plan.copy_refused);
        assert!(
            plan.copied(2, true, Sight { keys: &keys(), catalog: &catalog() }).0.cells.iter().all(|cell| *cell == CellPlan::Withhold { class: None }),
            "columns that are not known"
        );
        assert_eq!(planned(&["all"], &facts), None);
    }

    #[test]
    fn what_is_hidden_is_not_stored_elsewhere() {
        let source = |relation: u32, column: &str| ColumnSource { relation, column: column.into() };
        let storing = |stores: Stores| {
            let mut facts = reading(&[("customers", CUSTOMERS)]);
            facts.effects.stores = stores;
            facts
        };
        let refused = |groups: &[&str], stores: &Stores| planned(groups, &storing(stores.clone())).and_then(|plan| plan.copies_refused);
        let email = Stores { columns: vec![source(CUSTOMERS, "email")], ..Stores::default() };
        let why = refused(&[], &email).unwrap();
        assert!(why.contains("public.customers.email") && why.contains("`email`"), "{why}");
        assert_eq!(refused(&["leads"], &email), None, "revealed");
        assert_eq!(refused(&[], &Stores { columns: vec![source(CUSTOMERS, "name"), source(PLAIN, "id")], ..Stores::default() }), None);
        assert!(refused(&[], &Stores { columns: vec![source(ORDERS_2026, "email")], ..Stores::default() }).is_some(), "a partition's");
        assert!(refused(&[], &Stores { columns: vec![source(STATISTIC, "starelid")], ..Stores::default() }).is_some(), "a planner's copy");
        assert!(refused(&[], &Stores { columns: vec![source(5, "x")], ..Stores::default() }).is_some(), "not in the catalog");
        assert!(refused(&[], &Stores { renames: vec![source(CUSTOMERS, "email")], ..Stores::default() }).is_some());
        assert_eq!(refused(&[], &Stores { renames: vec![source(CUSTOMERS, "name")], ..Stores::default() }), None);
        assert!(refused(&[], &Stores { untold: true, ..Stores::default() }).is_some());
        assert_eq!(refused(&["all"], &Stores { untold: true, code: true, ..Stores::default() }), None);
        let mut facts = reading(&[("plain", PLAIN)]);
        facts.effects.stores.untold = true;
        assert_eq!(planned(&[], &facts), None, "nothing classified is read");
        facts.effects.stores = Stores { code: true, ..Stores::default() };
        assert!(planned(&[], &facts).unwrap().copies_refused.is_some(), "code that is not followed may read anything");
    }

    #[test]
    fn columns_that_are_not_there_are_named() {
        let version = version();
        let unplaced = unplaced(&version, &fixtures::connection(), "other", &catalog());
        assert!(unplaced.is_empty(), "{unplaced:?}");
        let mut files = fixtures::files("");
        files.insert(
            "data-classes.toml".to_owned(),
            "[x]\ncolumns = [\"public.customers.emial\", \"public.gone.a\", \"public.customers.email\"]".to_owned(),
        );
        let version = fixtures::load_files(&files);
        assert_eq!(super::unplaced(&version, &fixtures::connection(), "shop", &catalog()).len(), 2);
    }
}
