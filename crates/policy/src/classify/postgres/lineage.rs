//! Which columns a value comes from, as far as what is stored needs to know it. What is uncertain is said to be untold, never left out.

use std::collections::BTreeSet;

use model::facts::{ColumnSource, OutputColumn, Stores};

use super::{
    analysis::{Analysis, Output, Outputs, Source},
    catalog::{Catalog, Relation, RelationKind},
};

/// Columns every table has without listing them, which hold nothing that anybody put there.
/// <https://www.postgresql.org/docs/18/ddl-system-columns.html>
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "cmax", "cmin", "tableoid", "xmax", "xmin"];

/// Most columns that one operation is said to rename; beyond, it counts as code that was not followed.
const MAX_RENAMED: usize = 10_000;

/// Most columns that are looked through for the names of one message.
const MAX_LOOKED: u64 = 50_000_000;

/// Where a value comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lineage {
    /// Relation and number of each column.
    pub(super) columns: BTreeSet<(u32, i16)>,
    /// There may be others.
    pub(super) untold: bool,
}

impl Lineage {
    /// Anything.
    pub(super) const fn untold() -> Self {
        Self { columns: BTreeSet::new(), untold: true }
    }

    /// One column. What is below a view is for [`Outputs::lie_over`] to say.
    pub(super) fn of(relation: &Relation, number: i16) -> Self {
        let lies_over = matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView) && !relation.built_in();
        // Which table and column statistics are of is nobody's value.
        let hidden = Analysis::hides_origin(relation) && !(relation.holds_statistics() && names_what_it_is_of(relation, number));
        Self { columns: BTreeSet::from([(relation.oid, number)]), untold: lies_over || hidden }
    }

    /// Also from there.
    pub(super) fn merge(&mut self, other: &Self) {
        self.columns.extend(&other.columns);
        self.untold |= other.untold;
    }

    fn is_nothing(&self) -> bool {
        self.columns.is_empty() && !self.untold
    }

    fn named(&self, catalog: &Catalog) -> Vec<ColumnSource> {
        let name = |(oid, number): &(u32, i16)| {
            let columns = &catalog.relation_by_oid(*oid)?.columns;
            let column = columns.iter().find(|column| column.number == *number)?;
            Some(ColumnSource { relation: *oid, column: column.name.clone() })
        };
        let mut named: Vec<ColumnSource> = self.columns.iter().filter_map(name).collect();
        named.sort();
        named
    }
}

/// Whether a column of the planner's statistics says which table, column or statistics object they are of.
fn names_what_it_is_of(relation: &Relation, number: i16) -> bool {
    const NAMES: [&str; 17] = [
        "attname",
        "attnames",
        "expr",
        "exprs",
        "inherited",
        "kinds",
        "schemaname",
        "staattnum",
        "stainherit",
        "starelid",
        "statistics_name",
        "statistics_owner",
        "statistics_schemaname",
        "stxdinherit",
        "stxoid",
        "tablename",
        "tableid",
    ];
    relation.columns.iter().any(|column| column.number == number && NAMES.contains(&&*column.name))
}

/// What is stored, in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) values: Lineage,
    pub(super) code: bool,
    pub(super) renamed: Lineage,
}

impl Output {
    /// Of how many columns it may be made.
    pub(super) fn width(&self) -> usize {
        self.lineage.columns.len()
    }

    /// As the facts tell it.
    pub(super) fn told(&self, catalog: &Catalog) -> OutputColumn {
        OutputColumn { name: self.name.clone(), from: self.lineage.named(catalog), untold: self.lineage.untold, plain: self.plain }
    }
}

impl Outputs {
    /// Whether there may be columns of which nothing is known.
    pub(super) const fn untold(&self) -> bool {
        self.open && !self.listed && self.rest.is_none()
    }

    /// There may be other columns, which come from there.
    pub(super) fn more(&mut self, lineage: &Lineage) {
        let untold = self.untold();
        let rest = self.rest.get_or_insert_default();
        rest.merge(lineage);
        rest.untold |= untold;
    }

    /// Whether every column has the name it is known by.
    fn certain(&self) -> bool {
        !self.untold() && self.rest.is_none()
    }

    /// Where all of its values come from.
    pub(super) fn lineage(&self) -> Lineage {
        let mut all = self.rest.clone().unwrap_or_default();
        all.untold |= self.untold();
        self.columns.iter().for_each(|column| all.merge(&column.lineage));
        all
    }

    /// Adds where the column of this name comes from, as far as there may be such. Whether there may.
    pub(super) fn named(&self, name: &str, gathered: &mut Lineage) -> bool {
        let mut found = self.rest.is_some() || self.untold();
        for column in self.columns.iter().filter(|column| *column.name == *name) {
            gathered.merge(&column.lineage);
            found = true;
        }
        if let Some(rest) = &self.rest {
            gathered.merge(rest);
        }
        gathered.untold |= self.untold();
        found
    }

    /// Whether every column of this name shows another's values unchanged; none if there is no such column.
    pub(super) fn shows_plainly(&self, name: &str) -> Option<bool> {
        let certain = !self.untold() && self.rest.as_ref().is_none_or(Lineage::is_nothing);
        let mut named = self.columns.iter().filter(|column| *column.name == *name).peekable();
        named.peek()?;
        Some(named.all(|column| column.plain) && certain)
    }

    /// These are the columns of a view over a query with those. A class may name the view's own columns, too.
    pub(super) fn lie_over(&mut self, below: &Self) {
        if below.open || below.columns.len() != self.columns.len() {
            return self.come_from(&Lineage { untold: true, ..below.lineage() });
        }
        for (column, below) in self.columns.iter_mut().zip(&below.columns) {
            column.lineage.columns.extend(&below.lineage.columns);
            column.lineage.untold = below.lineage.untold;
            column.plain &= below.plain;
        }
    }

    /// Every column may come from there, too.
    pub(super) fn come_from(&mut self, lineage: &Lineage) {
        for column in &mut self.columns {
            column.lineage.merge(lineage);
            column.plain = false;
        }
        if let Some(rest) = &mut self.rest {
            rest.merge(lineage);
        }
    }

    /// Any column may be made of any of them, and of that: which is at which place is not known.
    pub(super) fn blend(&mut self, lineage: &Lineage) {
        let mut all = self.lineage();
        all.merge(lineage);
        self.come_from(&all);
        self.open = true;
        self.listed = false;
        self.rest = Some(all);
    }
}

impl Analysis<'_> {
    /// Does something, and says which columns it took part of. They count for what is around it as well.
    pub(super) fn traced<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> (R, Lineage) {
        let around = std::mem::take(&mut self.gathered);
        let result = work(self);
        let inside = std::mem::replace(&mut self.gathered, around);
        self.gathered.merge(&inside);
        (result, inside)
    }

    /// Does something that was set up before and is no part of what the caller wrote: columns it names are not the caller's, nor are those around it its own.
    pub(super) fn apart<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let around = std::mem::take(&mut self.gathered);
        let result = work(self);
        self.gathered = around;
        result
    }

    /// Values that come from there are stored.
    pub(super) fn store(&mut self, lineage: &Lineage) {
        self.found.stored.values.merge(lineage);
    }

    /// An expression's value is stored.
    pub(super) fn storing<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let (result, lineage) = self.traced(work);
        self.store(&lineage);
        result
    }

    /// All values of a relation may be stored.
    pub(super) fn store_rows(&mut self, relation: &Relation) {
        relation.columns.iter().for_each(|column| self.store(&Lineage::of(relation, column.number)));
    }

    /// These columns, or all of them, are no longer found by the name they have.
    pub(super) fn renames(&mut self, relation: &Relation, column: Option<&str>) {
        let renamed = relation.columns.iter().filter(|found| column.is_none_or(|name| *found.name == *name));
        self.found.stored.renamed.columns.extend(renamed.map(|column| (relation.oid, column.number)));
        self.found.stored.code |= self.found.stored.renamed.columns.len() > MAX_RENAMED;
    }

    /// The sources that a name may mean a column of, innermost first. Which it can see depends on where it stands (`colNameToVar` in the server's
    /// `parse_relation.c`): unless a query is complete and has it, all of them.
    pub(super) fn sources_of<'s>(&'s self, alias: Option<&str>, name: &str) -> Vec<&'s Source> {
        let mut sources = vec![];
        for scope in self.scopes.iter().rev() {
            let mut has = false;
            for source in scope.sources.iter().filter(|source| alias.is_none_or(|alias| *source.alias == *alias)) {
                has |= source.outputs.columns.iter().any(|column| *column.name == *name);
                sources.push(source);
            }
            if scope.complete && has && scope.sources.iter().all(|source| source.outputs.certain()) {
                break;
            }
        }
        sources
    }

    /// Whether nothing that was stored before takes part in the column that a name means: it is there, and all it may mean comes from nowhere.
    pub(super) fn is_of_nothing(&self, alias: &str, name: &str) -> bool {
        let (mut lineage, mut found) = (Lineage::default(), false);
        for source in self.sources_of(Some(alias), name) {
            found |= source.outputs.named(name, &mut lineage);
        }
        found && lineage.is_nothing()
    }

    /// Counts what is looked through for a name. False where that is too much.
    fn may_look(&mut self) -> bool {
        let columns: usize = self.scopes.iter().flat_map(|scope| &scope.sources).map(|source| source.outputs.columns.len()).sum();
        self.looked = self.looked.saturating_add(columns as u64);
        if self.looked > MAX_LOOKED {
            self.found.doubt("its names lead through too many columns");
            self.gathered.untold = true;
        }
        self.looked <= MAX_LOOKED
    }

    /// A column of this name takes part, or a row that goes by it.
    pub(super) fn gather_bare(&mut self, name: &str) {
        if !self.may_look() {
            return;
        }
        let (mut gathered, mut found) = (Lineage::default(), false);
        for source in self.sources_of(None, name) {
            found |= source.outputs.named(name, &mut gathered);
            if *source.alias == *name {
                gathered.merge(&source.outputs.lineage());
                found = true;
            }
        }
        gathered.untold |= !found && !SYSTEM_COLUMNS.contains(&name);
        self.gathered.merge(&gathered);
    }

    /// All columns of whatever goes by this name take part, if there is such.
    pub(super) fn gather_row(&mut self, alias: &str) -> bool {
        let mut row = None::<Lineage>;
        for source in self.scopes.iter().flat_map(|scope| &scope.sources).filter(|source| *source.alias == *alias) {
            row.get_or_insert_default().merge(&source.outputs.lineage());
        }
        if let Some(row) = &row {
            self.gathered.merge(row);
        }
        row.is_some()
    }

    /// A column of whatever goes by this name takes part.
    pub(super) fn gather_qualified(&mut self, alias: &str, name: &str) {
        if !self.may_look() {
            return;
        }
        let (mut gathered, mut found) = (Lineage::default(), false);
        for source in self.sources_of(Some(alias), name) {
            found |= source.outputs.named(name, &mut gathered);
        }
        self.gathered.merge(&gathered);
        if !found && !SYSTEM_COLUMNS.contains(&name) {
            // A function of the whole row may be meant.
            let known = self.gather_row(alias) && !self.routines("", name, 1).is_empty();
            self.gathered.untold |= !known;
        }
    }

    /// What is stored, for the facts.
    pub(super) fn stores(&self) -> Stores {
        let Stored { values, code, renamed } = &self.found.stored;
        // Where something was not understood, names may mean something else than they were taken for.
        let doubtful = self.found.doubt.is_some() && (!values.is_nothing() || !self.found.writes.is_empty());
        Stores { columns: values.named(self.catalog), untold: values.untold || doubtful, code: *code, renames: renamed.named(self.catalog) }
    }
}
