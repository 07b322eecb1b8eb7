//! How a catalog is made of what a server answers, whole or on top of an earlier reading.
//!
//! A row that an earlier reading does not have was written by a transaction that had not ended when that reading began: its `xmin` is not below the
//! lowest transaction then running, the reading's horizon. Rows that are gone are found by the lists of what is there. Text that the server prints of
//! a definition also changes with the names of what it refers to, so it is printed again when that has changed. Printing locks what is printed,
//! which is why nothing else is printed: a migration that holds its tables must not make everybody wait.
//!
//! Each row is read once, and what did not change is shared with the reading before. What is left to do for each reading still grows with what is there:
//! the lists are gone through, but nothing in them is put together again.

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    catalog::{
        Cast, Column, Contents, FIRST_USER_OID, Few, ForeignKey, KeyAction, Operator, Printed, Relation, RelationKind, Routine, Rule, Trigger, Type,
        WriteEvent,
    },
    catalog_queries::{
        ABOUT, Answer, Answers, CASTS, COMMENTS, CatalogError, Cells, DEPENDENCIES, EVENT_TRIGGERS, FOREIGN_KEYS, FUNCTIONS, INDEXES, INHERITANCE,
        LISTS, OPERATORS, SCHEMAS, Since, TEXTS, THERE, TRIGGERS, TYPES, questions, settings,
    },
};
use crate::detect::Hints;

/// What a catalog is made of, and what the next reading builds on.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// The lowest transaction that was running when it began; what is written later is not below it.
    horizon: u64,
    /// Which database of which start of which server; on any other a row may be new whatever its `xmin` is. Empty: nothing was read.
    place: String,
    server_version: u32,
    built_in: HashMap<String, String>,
    schemas: Schemas,
    relations: Table<u32, RelationRow>,
    types: Table<u32, Placed<Type>>,
    routines: Table<u32, Placed<Routine>>,
    operators: Table<u32, Placed<Operator>>,
    casts: Table<u32, Cast>,
    indexes: Table<u32, Index>,
    triggers: Table<u32, TriggerRow>,
    foreign_keys: Table<u32, (u32, ForeignKey)>,
    /// Of relations, by kind and OID: `v`iews, `r`ules, `d`efaults.
    texts: Table<(char, u32), Text>,
    /// Of routines: their `b`odies, their `a`rguments' defaults.
    routine_texts: Table<(char, u32), Text>,
    /// By relation and column, those that speak of sensitive values.
    comments: Table<(u32, i16), Arc<str>>,
    /// Child and parent.
    inheritance: Vec<(u32, u32)>,
    /// What runs which code: `a` relation on a write, a relation on any use by `p`olicy, a `t`ype.
    dependencies: Vec<(char, u32, u32)>,
    event_triggers: Vec<u32>,
}

type Schemas = HashMap<u32, Arc<str>>;

/// Something in a schema, and that schema's OID: a schema is renamed without a word in what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed<T> {
    schema: u32,
    object: Arc<T>,
}

/// What a relation itself is; a catalog has hundreds of thousands, so that everything else is put together once, in the [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct RelationRow {
    schema: u32,
    name: Arc<str>,
    kind: RelationKind,
    columns: Arc<[Column]>,
    row_type: u32,
    /// Its out-of-line storage; 0 if it has none.
    toast: u32,
    temporary: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Index {
    table: u32,
    /// Columns of a plain unique one, sorted.
    key: Option<Arc<[i16]>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TriggerRow {
    table: u32,
    /// None if it does not fire, or only enforces a constraint.
    fires: Option<Trigger>,
}

/// What the server printed of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Text {
    /// The relation it is of; 0 for one of a routine.
    relation: u32,
    /// `ev_type` of a rule, the column of a default.
    of: i16,
    printed: Printed,
    /// Whether something that holds its objects was in the way.
    unprinted: bool,
}

/// Rows in the order of what tells them apart, shared with the earlier reading while none has changed.
#[derive(Debug, Clone)]
struct Table<K, T>(Arc<Vec<(K, T)>>);

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Copy, T: Clone + PartialEq> Table<K, T> {
    /// What it has once these were read and everything else is gone. `changed` hears of each row that is new, was another, or is gone.
    fn with(
        &self,
        read: impl Iterator<Item = Result<(K, T), CatalogError>>,
        is_there: impl Fn(K) -> bool,
        mut changed: impl FnMut(K, &T),
    ) -> Result<Self, CatalogError> {
        let mut read = read.filter(|row| row.as_ref().map_or(true, |(key, _)| is_there(*key))).collect::<Result<Vec<(K, T)>, _>>()?;
        read.sort_by_key(|(key, _)| *key);
        // Of two by one key the last counts.
        read.dedup_by(|later, earlier| {
            let again = later.0 == earlier.0;
            if again {
                std::mem::swap(later, earlier);
            }
            again
        });
        if read.iter().all(|(key, row)| self.get(*key) == Some(row)) && self.0.iter().all(|(key, _)| is_there(*key)) {
            return Ok(self.clone());
        }
        let mut rows = Vec::with_capacity(self.0.len() + read.len());
        let mut before = self.0.iter().peekable();
        let stays = |rows: &mut Vec<(K, T)>, (key, row): &(K, T), changed: &mut dyn FnMut(K, &T)| {
            if is_there(*key) { rows.push((*key, row.clone())) } else { changed(*key, row) }
        };
        for (key, row) in read {
            while let Some(earlier) = before.next_if(|(earlier, _)| *earlier < key) {
                stays(&mut rows, earlier, &mut changed);
            }
            let earlier = before.next_if(|(earlier, _)| *earlier == key).map(|(_, row)| row);
            if earlier != Some(&row) {
                earlier.into_iter().chain([&row]).for_each(|row| changed(key, row));
            }
            rows.push((key, row));
        }
        before.for_each(|earlier| stays(&mut rows, earlier, &mut changed));
        rows.shrink_to_fit();
        Ok(Self(Arc::new(rows)))
    }

    fn get(&self, key: K) -> Option<&T> {
        let at = self.0.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.0.get(at).map(|(_, row)| row)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Clone> Table<u32, Placed<T>> {
    /// Those in schemas that have another name than before are told it.
    fn moved(mut self, renamed: &Schemas, schema: fn(&mut T) -> &mut Arc<str>) -> Self {
        if self.0.iter().any(|(_, placed)| renamed.contains_key(&placed.schema)) {
            for (_, placed) in Arc::make_mut(&mut self.0) {
                if let Some(name) = renamed.get(&placed.schema) {
                    name.clone_into(schema(Arc::make_mut(&mut placed.object)));
                }
            }
        }
        self
    }

    fn objects(&self) -> Vec<Arc<T>> {
        self.0.iter().map(|(_, placed)| placed.object.clone()).collect()
    }
}

impl Reading {
    /// What to ask a server, in order, for a reading that builds on this one; a whole one builds on the default.
    pub(super) fn questions(&self) -> Vec<String> {
        questions(&if self.is_nothing() { Since::Nothing } else { Since::Told { horizon: self.horizon, unprinted: self.unprinted() } })
    }

    /// What tells a session of our own that the next reading builds on this one.
    pub(super) fn settings(&self) -> [String; 2] {
        settings(self.horizon, &self.unprinted())
    }

    fn unprinted(&self) -> Vec<u32> {
        let texts = self.texts.0.iter().chain(self.routine_texts.0.iter());
        texts.filter(|(_, text)| text.unprinted).map(|((_, oid), _)| *oid).collect()
    }

    /// Whether both are of the same database of the same start of the same server.
    pub(super) fn is_of_the_place_of(&self, other: &Self) -> bool {
        self.place == other.place
    }

    pub(super) const fn is_nothing(&self) -> bool {
        self.place.is_empty()
    }

    /// The reading that has these answers to [`Self::questions`], and the relations of which something is not as in this one.
    pub(super) fn with(&self, answers: Vec<Answer>) -> Result<(Self, Changed), CatalogError> {
        let answers = Answers::new(answers)?;
        let there = There::of(&answers)?;
        let about = answers.row(ABOUT)?;
        let (horizon, place) = (about.parsed(2)?, about.text(3)?.to_owned());
        if !self.is_nothing() {
            if self.built_in != there.built_in {
                return Err(answers.row(THERE)?.wrong("built-in objects changed"));
            }
            if self.place != place || self.horizon > horizon {
                return Err(about.wrong("this is another server or database than before"));
            }
        }
        let schemas: Schemas = answers.rows(SCHEMAS).map(|row| Ok((row.parsed(0)?, Arc::from(row.text(1)?)))).collect::<Result<_, _>>()?;
        let named_anew = |(oid, name): &(&u32, &Arc<str>)| self.schemas.get(oid) != Some(name);
        let renamed: Schemas = schemas.iter().filter(named_anew).map(|(oid, name)| (*oid, name.clone())).collect();
        let names = &mut Interner::default();
        let (mut relations, mut columns_of) = (Vec::new(), HashMap::new());
        let (mut texts, mut routine_texts, mut paths) = (Vec::new(), Vec::new(), Paths::default());
        // One that was replaced may have its body as text of its own by now.
        let mut unprinted: HashSet<u32> = answers.rows(FUNCTIONS).map(|row| row.parsed(0)).collect::<Result<_, _>>()?;
        for row in answers.rows(TEXTS) {
            let (kind, oid) = (row.letter(0)?, row.parsed(1)?);
            if kind == 'b' {
                unprinted.remove(&oid);
            }
            match kind {
                'c' => relations.push((oid, relation(&row)?)),
                'k' => drop(columns_of.insert(oid, columns(&row, names)?)),
                'a' | 'b' => routine_texts.push(Ok(((kind, oid), text(&row, kind, &mut paths)?))),
                _ => texts.push(Ok(((kind, oid), text(&row, kind, &mut paths)?))),
            }
        }
        let relations = relations.into_iter().map(|(oid, relation)| {
            let columns = columns_of.remove(&oid).unwrap_or(relation.columns);
            Ok((oid, RelationRow { columns, ..relation }))
        });
        let types = answers.rows(TYPES).map(|row| Ok((row.parsed(0)?, kind(&row, &schemas)?)));
        let routines = answers.rows(FUNCTIONS).map(|row| Ok((row.parsed(0)?, routine(&row, &schemas, names)?)));
        let operators = answers.rows(OPERATORS).map(|row| Ok((row.parsed(0)?, operator(&row, &schemas)?)));
        let casts = answers.rows(CASTS).map(|row| Ok((row.parsed(0)?, cast(&row)?)));
        let indexes = answers.rows(INDEXES).map(|row| Ok((row.parsed(0)?, index(&row)?)));
        let triggers = answers.rows(TRIGGERS).map(|row| Ok((row.parsed(0)?, trigger(&row)?)));
        let foreign_keys = answers.rows(FOREIGN_KEYS).map(|row| Ok((row.parsed(0)?, foreign_key(&row)?)));
        let inheritance = answers.rows(INHERITANCE).map(|row| Ok((row.parsed(0)?, row.parsed(1)?))).collect::<Result<Vec<_>, _>>()?;
        let mut dependencies =
            answers.rows(DEPENDENCIES).map(|row| Ok((row.letter(0)?, row.parsed(1)?, row.parsed(2)?))).collect::<Result<Vec<_>, _>>()?;
        dependencies.sort_unstable();
        let is_printed = |(kind, oid): (char, u32)| match kind {
            'd' => there.has(8, oid),
            'v' | 'r' => there.has(7, oid),
            'b' => there.has(2, oid) && !unprinted.contains(&oid),
            _ => there.has(2, oid),
        };
        let (comments, has_comment) = comments(&answers)?;
        let has_comment = |place| has_comment.binary_search(&place).is_ok();
        let mut changed = Changed::new();
        changed.extend(differing(&self.inheritance, &inheritance).flat_map(|(child, parent)| [child, parent]));
        changed.extend(differing(&self.dependencies, &dependencies).map(|(_, oid, _)| oid));
        let reading = Self {
            horizon,
            place,
            server_version: about.parsed(0)?,
            relations: self.relations.with(relations, there.list(0), |oid, relation| changed.extend([oid, relation.toast]))?,
            types: self.types.with(types, there.list(1), |_, _| {})?.moved(&renamed, |kind| &mut kind.schema),
            routines: self.routines.with(routines, there.list(2), |_, _| {})?.moved(&renamed, |routine| &mut routine.schema),
            operators: self.operators.with(operators, there.list(3), |_, _| {})?.moved(&renamed, |operator| &mut operator.schema),
            casts: self.casts.with(casts, there.list(4), |_, _| {})?,
            indexes: self.indexes.with(indexes, there.list(0), |oid, index| changed.extend([oid, index.table]))?,
            triggers: self.triggers.with(triggers, there.list(5), |_, trigger| changed.extend([trigger.table]))?,
            foreign_keys: self.foreign_keys.with(foreign_keys, there.list(6), |_, (parent, _)| changed.extend([*parent]))?,
            texts: self.texts.with(texts.into_iter(), is_printed, |_, text| changed.extend([text.relation]))?,
            routine_texts: self.routine_texts.with(routine_texts.into_iter(), is_printed, |_, _| {})?,
            comments: self.comments.with(comments.into_iter().map(Ok), has_comment, |(oid, _), _| changed.extend([oid]))?,
            inheritance,
            dependencies,
            event_triggers: answers.rows(EVENT_TRIGGERS).map(|row| row.parsed(0)).collect::<Result<_, _>>()?,
            schemas,
            built_in: there.built_in,
        };
        if !renamed.is_empty() {
            changed.extend(reading.relations.0.iter().filter(|(_, relation)| renamed.contains_key(&relation.schema)).map(|(oid, _)| *oid));
        }
        Ok((reading, changed))
    }

    /// Puts everything together. What has not changed since an earlier reading is what was put together then.
    pub(super) fn contents(&self, database: &str, changed: &Changed, earlier: Option<(&Self, &Contents)>) -> Contents {
        let unless_changed = |is_same: fn(&Self, &Self) -> bool| earlier.filter(|(reading, _)| is_same(self, reading)).map(|(_, contents)| contents);
        let same_types = unless_changed(|this, that| this.types.is(&that.types) && this.code_of_types().eq(that.code_of_types()));
        let same_routines = unless_changed(|this, that| this.routines.is(&that.routines) && this.routine_texts.is(&that.routine_texts));
        let same_operators = unless_changed(|this, that| this.operators.is(&that.operators));
        let same_casts = unless_changed(|this, that| this.casts.is(&that.casts));
        Contents {
            database: Arc::from(database),
            server_version: self.server_version,
            relations: self.whole_relations(changed, earlier.map(|(_, contents)| &*contents.relations).unwrap_or_default()),
            types: same_types.map_or_else(|| Arc::from(self.whole_types()), |same| same.types.clone()),
            routines: same_routines.map_or_else(|| Arc::from(self.whole_routines()), |same| same.routines.clone()),
            operators: same_operators.map_or_else(|| Arc::from(self.operators.objects()), |same| same.operators.clone()),
            casts: same_casts.map_or_else(|| self.casts.0.iter().map(|(_, cast)| cast.clone()).collect(), |same| same.casts.clone()),
            event_triggers: self.event_triggers.clone(),
            schemas: BTreeSet::from_iter(self.schemas.values().cloned()).into_iter().collect(),
        }
    }

    fn code_of_types(&self) -> impl Iterator<Item = (u32, u32)> {
        self.dependencies.iter().filter(|(kind, ..)| *kind == 't').map(|(_, oid, code)| (*oid, *code))
    }

    fn whole_types(&self) -> Vec<Arc<Type>> {
        let mut types = self.types.objects();
        for (oid, code) in self.code_of_types() {
            if let Ok(at) = types.binary_search_by_key(&oid, |kind| kind.oid)
                && let Some(kind) = types.get_mut(at)
            {
                Arc::make_mut(kind).code.push(code);
            }
        }
        types
    }

    fn whole_routines(&self) -> Vec<Arc<Routine>> {
        let mut routines = self.routines.objects();
        // Without its own text it has one that the server prints; should that be missing, nobody knows what it does.
        for routine in routines.iter_mut().filter(|routine| routine.body.as_deref() == Some("")) {
            Arc::make_mut(routine).body = Some(Arc::from(UNPRINTED));
        }
        for ((kind, oid), text) in self.routine_texts.0.iter() {
            if let Ok(at) = routines.binary_search_by_key(oid, |routine| routine.oid)
                && let Some(routine) = routines.get_mut(at)
            {
                attach_text_of(Arc::make_mut(routine), *kind, &text.printed);
            }
        }
        routines
    }

    /// What a relation is by itself. One made between two of the queries may lie in a schema that was not there yet; nothing can name it.
    fn bare_relation(&self, oid: u32, relation: &RelationRow) -> Relation {
        Relation {
            oid,
            schema: self.schemas.get(&relation.schema).cloned().unwrap_or_default(),
            name: relation.name.clone(),
            kind: relation.kind,
            columns: relation.columns.clone(),
            keys: Few::default(),
            parents: Few::default(),
            children: Few::default(),
            definition: None,
            rules: Few::default(),
            triggers: Few::default(),
            referenced_by: Few::default(),
            code: Few::default(),
            policy_code: Few::default(),
            defaults: Few::default(),
            comments: Few::default(),
            row_type: relation.row_type,
            owner: None,
            temporary: relation.temporary,
        }
    }

    /// Those that changed are put together anew.
    fn whole_relations(&self, changed: &Changed, earlier: &[Arc<Relation>]) -> Vec<Arc<Relation>> {
        let anew =
            self.relations.0.iter().filter(|(oid, _)| changed.contains(oid)).map(|(oid, relation)| Arc::new(self.bare_relation(*oid, relation)));
        let mut relations = Relations::of(merged(earlier, changed, anew.collect(), |one, other| one.oid.cmp(&other.oid)), changed);
        for (owner, relation) in self.relations.0.iter() {
            relations.change(relation.toast, |toast| toast.owner = Some(*owner));
        }
        for (oid, index) in self.indexes.0.iter() {
            relations.change(*oid, |relation| relation.owner = Some(index.table));
            if let Some(key) = &index.key {
                relations.change(index.table, |table| table.keys.push(key.clone()));
            }
        }
        for (child, parent) in &self.inheritance {
            relations.change(*child, |child| {
                child.parents.push(*parent);
                if child.kind == RelationKind::Table {
                    child.kind = RelationKind::InheritanceChild;
                }
            });
            relations.change(*parent, |parent| parent.children.push(*child));
        }
        for (_, trigger) in self.triggers.0.iter() {
            if let Some(fires) = &trigger.fires {
                relations.change(trigger.table, |table| table.triggers.push(fires.clone()));
            }
        }
        for (_, (parent, key)) in self.foreign_keys.0.iter() {
            relations.change(*parent, |parent| parent.referenced_by.push(key.clone()));
        }
        for (kind, oid, code) in &self.dependencies {
            match kind {
                't' => {}
                'p' => relations.change(*oid, |relation| relation.policy_code.push(*code)),
                _ => relations.change(*oid, |relation| relation.code.push(*code)),
            }
        }
        for ((oid, column), comment) in self.comments.0.iter() {
            relations.change(*oid, |relation| relation.comments.push((*column, comment.clone())));
        }
        for ((kind, _), text) in self.texts.0.iter() {
            let printed = &text.printed;
            match kind {
                'd' if !calls_something(printed) => {}
                'd' => relations.change(text.relation, |relation| relation.defaults.push((text.of, printed.clone()))),
                'v' => relations.change(text.relation, |relation| relation.definition = Some(printed.clone())),
                _ => relations.change(text.relation, |relation| {
                    relation.rules.push(Rule { event: event_of_rule(text.of), printed: printed.clone() });
                }),
            }
        }
        relations.all
    }
}

/// The earlier ones that did not change, and those that are put together anew, in an order that both are to be in.
pub(super) fn merged(
    earlier: &[Arc<Relation>],
    changed: &Changed,
    mut anew: Vec<Arc<Relation>>,
    order: fn(&Relation, &Relation) -> Ordering,
) -> Vec<Arc<Relation>> {
    anew.sort_unstable_by(|one, other| order(one, other));
    let mut all = Vec::with_capacity(earlier.len() + anew.len());
    let stays = |relation: &&Arc<Relation>| !changed.contains(&relation.oid);
    let mut rest = earlier;
    for relation in anew {
        let (before, after) = rest.split_at(rest.partition_point(|it| order(it, &relation).is_lt()));
        all.extend(before.iter().filter(stays).cloned());
        all.push(relation);
        rest = after;
    }
    all.extend(rest.iter().filter(stays).cloned());
    all
}

/// OIDs of relations of which something is not as it was.
pub(super) type Changed = HashSet<u32>;

/// What is in one of them alone; everything, if only the order is another.
fn differing<'a, T: Copy + Ord + 'a>(these: &'a [T], those: &'a [T]) -> impl Iterator<Item = T> {
    let sets: [BTreeSet<T>; 2] = [these, those].map(|list| if these == those { BTreeSet::new() } else { list.iter().copied().collect() });
    let [these, those] = sets;
    let differing: Vec<T> = if these == those { these.into_iter().collect() } else { these.symmetric_difference(&those).copied().collect() };
    differing.into_iter()
}

/// Relations by OID, under way.
struct Relations {
    all: Vec<Arc<Relation>>,
    /// Where those are that are put together.
    places: HashMap<u32, usize>,
}

impl Relations {
    fn of(all: Vec<Arc<Relation>>, changed: &Changed) -> Self {
        let places = all.iter().enumerate().filter(|(_, relation)| changed.contains(&relation.oid)).map(|(at, relation)| (relation.oid, at));
        Self { places: places.collect(), all }
    }

    /// Adds to one of those that are put together.
    fn change(&mut self, oid: u32, change: impl FnOnce(&mut Relation)) {
        if let Some(relation) = self.places.get(&oid).and_then(|at| self.all.get_mut(*at)) {
            change(Arc::make_mut(relation));
        }
    }
}

/// What a server says is there by now: OIDs of what somebody made, and how much is built in.
struct There {
    /// In order.
    made: Vec<Vec<u32>>,
    built_in: HashMap<String, String>,
}

impl There {
    fn of(answers: &Answers) -> Result<Self, CatalogError> {
        let mut there = Self { made: vec![Vec::new(); LISTS], built_in: HashMap::new() };
        for row in answers.rows(THERE) {
            if let Some(made) = there.made.get_mut(row.parsed::<usize>(0)?) {
                *made = row.list(1)?;
                made.sort_unstable();
            }
            there.built_in.insert(row.text(0)?.to_owned(), row.text(2)?.to_owned());
        }
        Ok(there)
    }

    fn has(&self, list: usize, oid: u32) -> bool {
        oid < FIRST_USER_OID || self.made.get(list).is_some_and(|made| made.binary_search(&oid).is_ok())
    }

    fn list(&self, list: usize) -> impl Fn(u32) -> bool {
        move |oid| self.has(list, oid)
    }
}

/// Texts that repeat, kept once.
#[derive(Default)]
struct Interner(HashSet<Arc<str>>);

impl Interner {
    fn keep(&mut self, text: &str) -> Arc<str> {
        if let Some(kept) = self.0.get(text) {
            return kept.clone();
        }
        let kept: Arc<str> = Arc::from(text);
        self.0.insert(kept.clone());
        kept
    }
}

fn placed<T>(schema: u32, schemas: &Schemas, object: impl FnOnce(Arc<str>) -> Result<T, CatalogError>) -> Result<Placed<T>, CatalogError> {
    // An object made between two of the queries may lie in a schema that was not there yet; nothing can name it through this snapshot.
    let name = schemas.get(&schema).cloned().unwrap_or_default();
    Ok(Placed { schema, object: Arc::new(object(name)?) })
}

/// A relation without its columns.
fn relation(row: &Cells<'_>) -> Result<RelationRow, CatalogError> {
    let words: Vec<&str> = row.text(2)?.split(' ').collect();
    let &[schema, row_type, toast, kind, partition, persistence] = words.as_slice() else { return Err(row.wrong("no relation")) };
    let oid = |word: &str| word.parse().map_err(|_| row.wrong("no OID"));
    let kind = match (kind, partition == "t") {
        ("r" | "p", true) => RelationKind::Partition,
        ("r", false) => RelationKind::Table,
        ("p", false) => RelationKind::Partitioned,
        ("v", _) => RelationKind::View,
        ("m", _) => RelationKind::MaterializedView,
        ("f", _) => RelationKind::Foreign,
        ("S", _) => RelationKind::Sequence,
        ("i" | "I", _) => RelationKind::Index,
        ("c", _) => RelationKind::Composite,
        ("t", _) => RelationKind::Toast,
        (other, _) => return Err(row.wrong(format_args!("unknown kind of relation {other:?}"))),
    };
    Ok(RelationRow {
        schema: oid(schema)?,
        name: Arc::from(row.text(4)?),
        kind,
        columns: Arc::default(),
        row_type: oid(row_type)?,
        toast: oid(toast)?,
        temporary: persistence == "t",
    })
}

/// A text of a JSON document, where it can be without a copy.
#[derive(Deserialize)]
#[serde(transparent)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// The columns of a relation, in order.
fn columns(row: &Cells<'_>, names: &mut Interner) -> Result<Arc<[Column]>, CatalogError> {
    let told: Vec<Borrowed<'_>> = row.json(4)?;
    let columns = told.iter().map(|Borrowed(column)| self::column(column, names).ok_or_else(|| row.wrong("no column")));
    let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
    columns.sort_unstable_by_key(|column| column.number);
    Ok(columns.into())
}

/// Number, type, whether it is NOT NULL and whether it has a default; the rest is its name, whatever that is.
fn column(told: &str, names: &mut Interner) -> Option<Column> {
    let mut words = told.splitn(5, ' ');
    Some(Column {
        number: words.next()?.parse().ok()?,
        type_oid: words.next()?.parse().ok()?,
        not_null: words.next()? == "t",
        has_default: words.next()? == "t",
        name: names.keep(words.next()?),
    })
}

fn index(row: &Cells<'_>) -> Result<Index, CatalogError> {
    let mut key = row.list::<i16>(2)?;
    key.sort_unstable();
    let plain = !key.is_empty() && !key.contains(&0);
    Ok(Index { table: row.parsed(1)?, key: plain.then(|| Arc::from(key)) })
}

/// In place of a definition that could not be printed: no SQL, so that what uses it is not understood.
pub(super) const UNPRINTED: &str = "(";

type Paths = HashMap<String, Arc<[Arc<str>]>>;

fn text(row: &Cells<'_>, kind: char, paths: &mut Paths) -> Result<Text, CatalogError> {
    let path = match paths.get(row.text(5)?) {
        Some(path) => path.clone(),
        None => paths.entry(row.text(5)?.to_owned()).or_insert(row.json::<Vec<Arc<str>>>(5)?.into()).clone(),
    };
    let printed = Printed { text: Arc::from(row.optional(4).unwrap_or(UNPRINTED)), path };
    let relation = if matches!(kind, 'a' | 'b') { 0 } else { row.parsed(2)? };
    let of = if matches!(kind, 'd' | 'r') { row.parsed(3)? } else { 0 };
    Ok(Text { relation, of, printed, unprinted: row.optional(4).is_none() })
}

fn attach_text_of(routine: &mut Routine, kind: char, printed: &Printed) {
    if kind == 'b' {
        routine.body = Some(printed.text.clone());
        routine.printed_under = Some(printed.path.clone());
    } else if calls_something(printed) {
        routine.default_values = Some(printed.clone());
    }
}

const fn event_of_rule(number: i16) -> WriteEvent {
    match number {
        2 => WriteEvent::Update,
        3 => WriteEvent::Insert,
        _ => WriteEvent::Delete,
    }
}

/// Whether a default is worth reading: constants and the commonest calls are not.
fn calls_something(printed: &Printed) -> bool {
    let text = &*printed.text;
    if names_something(text) {
        return !matches!(text, "now()" | "gen_random_uuid()" | "clock_timestamp()") && !is_plain_nextval(text);
    }
    text.contains(['(', '+', '|', '@', '#', '%', '~', '!'])
        && !matches!(text, "now()" | "gen_random_uuid()" | "clock_timestamp()")
        && !is_plain_nextval(text)
}

/// Whether anything but literals, types and the grammar's own words, which are printed in capitals, stands in it: a function, or a column.
fn names_something(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\'' => at += 1 + bytes.iter().skip(at + 1).take_while(|byte| **byte != b'\'').count(),
            b':' if bytes.get(at + 1) == Some(&b':') => {
                let of_type =
                    |byte: &&u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(**byte, b' ' | b'_' | b'"' | b'.' | b'[' | b']');
                at += 1 + bytes.iter().skip(at + 2).take_while(of_type).count();
            }
            b'a'..=b'z' | b'_' | b'"' | 0x80.. if text != "true" && text != "false" => return true,
            _ => {}
        }
        at += 1;
    }
    false
}

fn is_plain_nextval(text: &str) -> bool {
    text.strip_prefix("nextval('").and_then(|rest| rest.strip_suffix("'::regclass)")).is_some_and(|name| !name.contains('\''))
}

/// Comments on columns that are new, and in order the places of all that are kept: one that says nothing of sensitive values is not.
fn comments(answers: &Answers) -> Result<(Vec<Comment>, Vec<ColumnPlace>), CatalogError> {
    let (mut told, mut places) = (Vec::new(), Vec::new());
    for row in answers.rows(COMMENTS) {
        let place = (row.parsed(0)?, row.parsed(1)?);
        match row.bytes(2)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
            Some(text) if Hints::of([text.as_str()]) == Hints::NONE => continue,
            Some(text) => told.push((place, Arc::from(text))),
            None => {}
        }
        places.push(place);
    }
    places.sort_unstable();
    Ok((told, places))
}

type Comment = (ColumnPlace, Arc<str>);
/// A relation, and the number of its column.
type ColumnPlace = (u32, i16);

fn trigger(row: &Cells<'_>) -> Result<TriggerRow, CatalogError> {
    let events = row.parsed::<i16>(2)?;
    let fires = Trigger { events: u8::try_from(events & 0x7f).unwrap_or(0x7f), function: row.parsed(3)? };
    Ok(TriggerRow { table: row.parsed(1)?, fires: row.yes(4)?.then_some(fires) })
}

/// A foreign key, and the table it points at.
fn foreign_key(row: &Cells<'_>) -> Result<(u32, ForeignKey), CatalogError> {
    let action = |letter| match letter {
        'c' => KeyAction::Cascade,
        'n' | 'd' => KeyAction::Set,
        _ => KeyAction::Refuse,
    };
    let key = ForeignKey { child: row.parsed(1)?, on_delete: action(row.letter(3)?), on_update: action(row.letter(4)?) };
    Ok((row.parsed(2)?, key))
}

fn kind(row: &Cells<'_>, schemas: &Schemas) -> Result<Placed<Type>, CatalogError> {
    let input: u32 = row.parsed(5)?;
    // `typelem` is also set for types that are merely subscripted, such as `point`; true arrays have variable length (-1).
    let element = if row.text(6)? == "-1" { row.parsed(4)? } else { 0 };
    placed(row.parsed(1)?, schemas, |schema| {
        Ok(Type {
            oid: row.parsed(0)?,
            schema,
            name: Arc::from(row.text(2)?),
            base: row.parsed(3)?,
            element,
            labels: row.parsed(7)?,
            code: if input >= FIRST_USER_OID { vec![input] } else { vec![] },
        })
    })
}

fn routine(row: &Cells<'_>, schemas: &Schemas, names: &mut Interner) -> Result<Placed<Routine>, CatalogError> {
    let mut keep_all = |at| Ok(row.json::<Option<Vec<String>>>(at)?.unwrap_or_default().iter().map(|text| names.keep(text)).collect());
    let (argument_names, settings) = (keep_all(11)?, keep_all(12)?);
    let (name, language) = (names.keep(row.text(2)?), names.keep(row.optional(9).unwrap_or_default()));
    placed(row.parsed(1)?, schemas, |schema| {
        Ok(Routine {
            oid: row.parsed(0)?,
            schema,
            name,
            arguments: row.list(3)?,
            defaults: row.parsed(4)?,
            variadic: row.parsed(5)?,
            volatility: row.letter(6)?,
            returns: row.parsed(7)?,
            returns_set: row.yes(8)?,
            language,
            body: row.optional(10).map(Arc::from),
            argument_names,
            settings,
            printed_under: None,
            default_values: None,
        })
    })
}

fn operator(row: &Cells<'_>, schemas: &Schemas) -> Result<Placed<Operator>, CatalogError> {
    placed(row.parsed(1)?, schemas, |schema| {
        Ok(Operator {
            oid: row.parsed(0)?,
            schema,
            name: Arc::from(row.text(2)?),
            left: row.parsed(3)?,
            right: row.parsed(4)?,
            result: row.parsed(5)?,
            function: row.parsed(6)?,
        })
    })
}

fn cast(row: &Cells<'_>) -> Result<Cast, CatalogError> {
    Ok(Cast {
        source: row.parsed(1)?,
        target: row.parsed(2)?,
        function: row.parsed(3)?,
        implicit: row.letter(4)? == 'i',
        assigned: row.letter(4)? != 'e',
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, char)]) -> Table<u32, char> {
        Table(Arc::new(rows.to_vec()))
    }

    #[test]
    fn a_table_has_what_was_read_and_is_there_and_tells_what_changed() {
        let before = table(&[(1, 'a'), (2, 'b'), (4, 'd'), (7, 'g')]);
        let mut changed = Vec::new();
        let read = [(8, 'h'), (4, 'D'), (1, 'a'), (3, 'c'), (9, 'i'), (4, 'E')];
        let is_there = |key| key != 2 && key != 9;
        let after = before.with(read.into_iter().map(Ok), is_there, |key, row| changed.push((key, *row))).unwrap();
        assert_eq!(*after.0, [(1, 'a'), (3, 'c'), (4, 'E'), (7, 'g'), (8, 'h')]);
        assert_eq!(changed, [(2, 'b'), (3, 'c'), (4, 'd'), (4, 'E'), (8, 'h')]);
        assert_eq!((after.get(7), after.get(9)), (Some(&'g'), None));
    }

    #[test]
    fn a_table_of_which_nothing_changed_is_shared() {
        let before = table(&[(1, 'a'), (2, 'b')]);
        let read_again = before.with([Ok((2, 'b'))].into_iter(), |_| true, |_, _| panic!("nothing changed")).unwrap();
        assert!(read_again.is(&before));
        assert!(!before.with(std::iter::empty(), |key| key == 1, |_, _| {}).unwrap().is(&before));
    }
}
