//! The walk over one message: its state, its limits, and the order of its statements.

use std::{cell::Cell, collections::HashSet, sync::Arc};

use model::{Facts, Object, facts::RelationRef};
use pg_query::{
    NodeEnum,
    protobuf::{Node, RawStmt, TransactionStmtKind},
};

use super::{
    ParameterValue, SessionView,
    catalog::{Catalog, Printed, Relation},
    found::{Found, MAX_KINDS},
    kinds,
    lineage::Lineage,
    looks::{Looks, Noted},
    parse::{self, Refused},
    prepared,
};

/// Deepest nesting that is followed on any thread, and on the deep stack. A level of an unoptimised build was measured to take up to 28 KiB of stack.
const SHALLOW_DEPTH: usize = 24;
const DEEP_DEPTH: usize = 2_000;

/// Most definitions (views, function bodies, rules) that are read for one message.
const MAX_DEFINITIONS: usize = 200;

/// Most queries that are looked at for which rows of a write's target they give, for one message.
const MAX_ROW_SCOPE_STEPS: u32 = 2_000;

/// Most columns that the columns of one result are said to be made of, all in all.
const MAX_TOLD: usize = 50_000;

/// A type by OID, as far as it is known.
pub(super) type Ty = Option<u32>;

/// A result column.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) name: Arc<str>,
    pub(super) ty: Ty,
    /// A constant or `count(*)`.
    pub(super) harmless: bool,
    /// Where its values come from.
    pub(super) lineage: Lineage,
    /// Each value is that of one of these columns, unchanged.
    pub(super) plain: bool,
}

impl Output {
    /// A column of values that are made of others.
    pub(super) fn made(name: impl Into<Arc<str>>, ty: Ty, lineage: Lineage) -> Self {
        Self { name: name.into(), ty, harmless: false, lineage, plain: false }
    }
}

/// The columns of a query; `open` if there may be others.
#[derive(Debug, Clone, Default)]
pub(super) struct Outputs {
    pub(super) columns: Vec<Output>,
    pub(super) open: bool,
    /// Only their positions are not certain: each is among them.
    pub(super) listed: bool,
    /// There may be columns of other names, or by other names than these, which come from there.
    pub(super) rest: Option<Lineage>,
}

/// A thing in FROM.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) alias: Arc<str>,
    /// The relation, if it is one.
    pub(super) relation: Option<u32>,
    pub(super) outputs: Outputs,
}

/// What names mean inside one query.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) sources: Vec<Source>,
    pub(super) ctes: Vec<(Arc<str>, Outputs)>,
    /// A join merges columns, or hides what is in it behind a name: `*` is not what the sources have, one after the other.
    pub(super) merges: bool,
    /// All of its FROM is there, and nothing hides any of it: a name that it has is looked for no further.
    pub(super) complete: bool,
    /// The one value that its WHERE lets the name of a setting have.
    pub(super) fixed_name: Option<String>,
}

/// What is known of `$1` and its like, and what was looked at of them and of the literals beside them.
#[derive(Debug, Clone)]
pub(super) struct Parameters {
    pub(super) known: Known,
    pub(super) looks: Looks,
}

/// What is known of `$1` and its like.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// Nothing yet: the statement is prepared, and judged again when they come.
    Later,
    /// Their values.
    Given(Vec<ParameterValue>),
    /// Nothing, and nobody will judge again: a function's arguments.
    Never,
}

impl Parameters {
    /// Those of a text of its own.
    pub(super) fn new(known: Known) -> Self {
        Self { known, looks: Looks::default() }
    }
}

/// One walk.
pub(super) struct Analysis<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) view: &'a SessionView,
    pub(super) found: Found,
    /// The search path in force at this place.
    pub(super) path: Vec<Arc<str>>,
    /// The search path that what runs here runs under: definitions are read under another.
    pub(super) running: Vec<Arc<str>>,
    /// Whether the temporary schema is searched before a path that does not name it.
    pub(super) temporary_first: bool,
    pub(super) scopes: Vec<Scope>,
    pub(super) parameters: Parameters,
    /// Bare names of objects that earlier statements of the same string make, change or drop.
    pub(super) touched: HashSet<Arc<str>>,
    /// Whether an earlier statement of the string may have changed anything at all.
    pub(super) unsettled: bool,
    /// A transaction was begun by an earlier statement of the same message.
    pub(super) began: bool,
    /// Rows read in FROM are locked.
    pub(super) locking: bool,
    /// Columns that took part in what is being looked at.
    pub(super) gathered: Lineage,
    /// What is being looked at can fail, or give more rows than one.
    pub(super) can_fail: bool,
    /// A collation was named: texts may have two that cannot be reconciled.
    pub(super) collates: bool,
    /// Columns of all sources so far, and columns that were looked at for a name.
    pub(super) width: usize,
    pub(super) looked: u64,
    /// An operator that somebody defined was met.
    pub(super) user_operator: bool,
    /// Parameters are given as literals of the statement, by EXECUTE.
    pub(super) written: bool,
    /// It may be looked at or not.
    pub(super) branches: bool,
    /// What is being read was set up before.
    pub(super) set_up: bool,
    /// Where the arguments of the last function called come from.
    pub(super) handed: Option<Lineage>,
    /// Where the arguments of the function that is being followed come from.
    pub(super) passed: Lineage,
    /// Views and functions being followed, by OID.
    pub(super) following: Vec<u32>,
    definitions: usize,
    /// Walks of recursive queries.
    pub(super) walks: usize,
    /// Queries that may still be looked at for which rows they give.
    pub(super) row_scope_steps: Cell<u32>,
    depth: usize,
    deep: bool,
    needs_deep: bool,
}

impl<'a> Analysis<'a> {
    pub(super) fn new(catalog: &'a Catalog, view: &'a SessionView, parameters: Option<&[ParameterValue]>, deep: bool) -> Self {
        Self {
            catalog,
            view,
            found: Found::default(),
            path: view.search_path.clone(),
            running: view.search_path.clone(),
            temporary_first: true,
            scopes: vec![],
            parameters: Parameters::new(parameters.map_or(Known::Later, |values| Known::Given(values.to_vec()))),
            touched: HashSet::new(),
            unsettled: false,
            began: false,
            locking: false,
            gathered: Lineage::default(),
            can_fail: false,
            collates: false,
            width: 0,
            looked: 0,
            user_operator: false,
            written: false,
            branches: false,
            set_up: false,
            handed: None,
            passed: Lineage::default(),
            following: vec![],
            definitions: 0,
            walks: 0,
            row_scope_steps: Cell::new(MAX_ROW_SCOPE_STEPS),
            depth: 0,
            deep,
            needs_deep: false,
        }
    }

    /// The facts of the text, and what they depend on; none if the walk needs the deep stack.
    pub(super) fn run(mut self, text: &str) -> Option<(Facts, Noted)> {
        let mut answering = 0usize;
        match parse::tree(text) {
            Err(Refused::Syntax(message, position)) => return Some((Found::syntax(message, position), Noted::default())),
            Err(Refused::Limit(why)) => return Some((Found::unreadable(why).into_facts(), Noted::default())),
            Ok(tree) => {
                self.found.statements = u32::try_from(tree.stmts.len()).unwrap_or(u32::MAX);
                for statement in &tree.stmts {
                    answering += usize::from(!only_marks(statement));
                    self.top_statement(statement, text);
                }
            }
        }
        // Of several statements that answer, it is not known which an answer is of.
        if answering != 1 {
            self.found.harmless.clear();
            self.found.columns.clear();
        }
        if self.found.statements != 1 {
            self.found.copy = None;
            self.found.effects.application_name = None;
        }
        self.found.effects.stores = self.stores();
        self.found.filters = self.found.tested.told(self.catalog);
        let (meant, looks) = (std::mem::take(&mut self.found.meant), self.parameters.looks.take());
        let facts = self.found.into_facts();
        (!self.needs_deep).then(|| (meant.iter().fold(facts, |facts, meant| prepared::both(facts, meant)), looks))
    }

    fn top_statement(&mut self, statement: &RawStmt, text: &str) {
        let Some(node) = statement.stmt.as_ref().and_then(|node| node.node.as_ref()) else { return };
        let start = usize::try_from(statement.stmt_location).unwrap_or(0);
        let length = usize::try_from(statement.stmt_len).unwrap_or(0);
        let end = if length == 0 { text.len() } else { start.saturating_add(length) };
        self.scopes.clear();
        self.gathered = Lineage::default();
        if self.found.kinds.len() < MAX_KINDS {
            self.found.kinds.push(Arc::from(kinds::kind(node)));
        }
        let outputs = self.statement(node, text.get(start..end).unwrap_or(text));
        if !only_marks(statement) && !outputs.open {
            self.found.harmless = outputs.columns.iter().map(|column| column.harmless).collect();
            let told: usize = outputs.columns.iter().map(Output::width).sum();
            // Beyond, it counts as not known.
            if told <= MAX_TOLD {
                self.found.columns = outputs.columns.iter().map(|column| column.told(self.catalog)).collect();
            }
        }
        self.unsettled |= self.found.wild;
    }

    /// Does something one level deeper, unless that is too deep.
    pub(super) fn deeper<R: Default>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let limit = if self.deep { DEEP_DEPTH } else { SHALLOW_DEPTH };
        if self.depth >= limit {
            self.too_deep();
            return R::default();
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    fn too_deep(&mut self) {
        if self.deep {
            self.found.doubt("it is nested too deeply");
        } else {
            self.needs_deep = true;
        }
    }

    /// Whether a text can be parsed on this stack.
    pub(super) fn may_parse(&self, text: &str) -> bool {
        self.deep || parse::is_shallow(text)
    }

    /// Reads a definition the catalog gave: parsed here, walked by `work` under a search path of its own, without the names of the place it is used in.
    pub(super) fn definition(&mut self, text: &str, path: Vec<Arc<str>>, work: impl FnOnce(&mut Self, &[RawStmt])) {
        if !self.deep && (!parse::is_shallow(text) || self.following.len() > 4) {
            self.needs_deep = true;
            return;
        }
        self.definitions += 1;
        if self.definitions > MAX_DEFINITIONS || self.following.len() > 32 || text.len() > super::MAX_STATEMENT_BYTES {
            return self.found.doubt("it leads through too many definitions");
        }
        let Ok(tree) = parse::tree(text) else { return self.found.doubt("a definition it uses could not be read") };
        let scopes = std::mem::take(&mut self.scopes);
        let path = std::mem::replace(&mut self.path, path);
        let parameters = std::mem::replace(&mut self.parameters, Parameters::new(Known::Never));
        let locking = std::mem::replace(&mut self.locking, false);
        let passed = std::mem::take(&mut self.passed);
        self.deeper(|this| work(this, &tree.stmts));
        self.passed = passed;
        self.locking = locking;
        self.parameters = parameters;
        self.path = path;
        self.scopes = scopes;
    }

    /// Reads what the server printed, under the path it was printed with: names that the temporary schema had hidden then are qualified in it.
    pub(super) fn printed(&mut self, text: &str, printed: &Printed, work: impl FnOnce(&mut Self, &[RawStmt])) {
        let outer = std::mem::replace(&mut self.temporary_first, false);
        self.set_up(|this| this.definition(text, printed.path.to_vec(), work));
        self.temporary_first = outer;
    }

    /// Whether this OID is being followed already; otherwise it is from now on, until [`Self::leave`].
    pub(super) fn enter(&mut self, oid: u32) -> bool {
        let fresh = !self.following.contains(&oid);
        if fresh {
            self.following.push(oid);
        }
        fresh
    }

    /// Ends what [`Self::enter`] began.
    pub(super) fn leave(&mut self) {
        self.following.pop();
    }

    /// The innermost query's names.
    pub(super) fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        // Not empty: one was pushed above if there was none.
        #[expect(clippy::indexing_slicing, reason = "the index is the last one of a vector that is not empty")]
        &mut self.scopes[last]
    }

    pub(super) fn table(&self, schema: &Arc<str>, name: &Arc<str>) -> Object {
        Object::Table { database: self.view.database.clone(), schema: schema.clone(), table: name.clone() }
    }

    pub(super) fn object(&self, relation: &Relation) -> Object {
        self.table(&relation.schema, &relation.name)
    }

    pub(super) fn database(&self) -> Object {
        Object::Database { database: self.view.database.clone() }
    }

    pub(super) fn schema(&self, schema: &str) -> Object {
        Object::Schema { database: self.view.database.clone(), schema: Arc::from(schema) }
    }

    pub(super) fn function(&self, schema: &str, name: &str) -> Object {
        Object::Function { database: self.view.database.clone(), schema: Arc::from(schema), function: Arc::from(name) }
    }

    pub(super) fn host(&self) -> Object {
        Object::Host { host: self.view.host.clone() }
    }
}

/// A relation as the facts name it.
/// Whether a statement gives no rows and changes nothing but where a transaction can be taken back to.
fn only_marks(statement: &RawStmt) -> bool {
    use TransactionStmtKind::{TransStmtBegin, TransStmtRelease, TransStmtSavepoint, TransStmtStart};
    matches!(statement.stmt.as_ref().and_then(|node| node.node.as_ref()), Some(NodeEnum::TransactionStmt(transaction))
        if matches!(transaction.kind(), TransStmtBegin | TransStmtStart | TransStmtSavepoint | TransStmtRelease))
}

pub(super) fn reference(relation: &Relation) -> RelationRef {
    RelationRef { schema: relation.schema.clone(), name: relation.name.clone(), oid: relation.oid }
}

/// The node itself, if there is one.
pub(super) fn inner(node: &Node) -> Option<&NodeEnum> {
    node.node.as_ref()
}

/// The node in an optional box, if there is one.
#[expect(clippy::borrowed_box, reason = "the generated tree has optional boxes, and `Option<&Box<_>>` is what `as_ref` gives of them")]
pub(super) fn boxed(node: Option<&Box<Node>>) -> Option<&NodeEnum> {
    node.and_then(|node| node.node.as_ref())
}

/// The strings of a list of String nodes; others are left out.
pub(super) fn strings(nodes: &[Node]) -> Vec<&str> {
    let text = |node| match inner(node) {
        Some(NodeEnum::String(text)) => Some(text.sval.as_str()),
        _ => None,
    };
    nodes.iter().filter_map(text).collect()
}
