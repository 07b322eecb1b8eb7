//! Queries: joins, subqueries, common table expressions, groups, windows and sets, one in another.

use super::{
    super::schema::{Kind, SOURCES},
    Grammar, Reference, Relation, fill,
};

/// A query and what its columns are called.
pub(super) struct Query {
    pub(super) sql: String,
    /// Their expressions are names alone.
    pub(super) columns: Vec<Reference>,
}

impl Grammar {
    /// A query with columns `c0`, `c1` and so on.
    pub(super) fn query(&mut self, depth: usize) -> Query {
        let outer = self.tables.len();
        let query = match self.random.below(20) {
            0..3 if depth > 0 => self.with_tables(depth),
            3 if depth > 0 => self.recursive(depth),
            4..6 if depth > 0 => self.set_operation(depth),
            6..9 => self.grouped(depth),
            9 => self.whole_row(),
            10 => self.distinct(depth),
            11 => self.values(),
            12 => self.returning(depth),
            _ => self.plain(depth),
        };
        self.tables.truncate(outer);
        query
    }

    /// A query of one column of texts.
    pub(super) fn texts(&mut self, depth: usize) -> String {
        let (from, scope) = self.from(depth);
        self.scopes.push(scope);
        let (text, condition) = (self.text(1), self.condition(0));
        self.scopes.pop();
        format!("select ({text})::text from {from} where {condition}")
    }

    /// A subquery that gives one classified text.
    pub(super) fn scalar(&mut self, depth: usize) -> String {
        let outer = std::mem::take(&mut self.scopes);
        let source = self.stored();
        let alias = self.name();
        self.scopes.push(Self::columns(source.columns, &alias));
        let text = if depth == 0 { self.direct() } else { self.text(depth) };
        let key = format!("{alias}.id = {}", self.key());
        self.scopes = outer;
        format!("(select ({text})::text from {} {alias} where {key} limit 1)", source.name)
    }

    fn direct(&mut self) -> String {
        self.reference(Some(true)).map_or_else(|| "null".to_owned(), |reference| reference.sql)
    }

    fn columns(columns: &[super::super::schema::Column], alias: &str) -> Vec<Reference> {
        columns.iter().map(|column| Reference { sql: format!("{alias}.{}", column.name), kind: column.kind, secret: column.secret }).collect()
    }

    fn plain(&mut self, depth: usize) -> Query {
        let (from, scope) = self.from(depth);
        self.scopes.push(scope);
        let windows = self.random.chance(8);
        let items: Vec<(String, Kind, bool)> = (0..1 + self.random.below(4)).map(|_| self.item(depth, windows)).collect();
        let tail = self.tail(depth);
        self.scopes.pop();
        Self::selected("select", items, &format!("from {from}{tail}"))
    }

    /// A column as it is, or something made of one.
    fn item(&mut self, depth: usize, windows: bool) -> (String, Kind, bool) {
        if windows && self.random.chance(50) {
            return (format!("({})::text", self.window(1)), Kind::Text, true);
        }
        match self.random.below(10) {
            0..3 => match self.reference(None) {
                Some(reference) => (reference.sql, reference.kind, reference.secret),
                None => (self.harmless(), Kind::Key, false),
            },
            3..7 => {
                let depth = self.random.below(depth.min(2) + 1);
                (format!("({})::text", self.text(depth)), Kind::Text, true)
            }
            7 => (format!("({})::text", self.nested_scalar(depth)), Kind::Text, true),
            _ => (format!("({})::text", self.anything(1)), Kind::Text, true),
        }
    }

    /// A scalar subquery that may name what is around it.
    fn nested_scalar(&mut self, depth: usize) -> String {
        if depth == 0 || self.random.chance(40) {
            return self.scalar(depth.min(1));
        }
        let (from, scope) = self.from(0);
        self.scopes.push(scope);
        let (text, condition) = (self.text(1), self.condition(0));
        self.scopes.pop();
        let form = self.random.pick(&[
            "(select ($T)::text from $F where $C limit 1)",
            "array(select $T from $F where $C)",
            "(select max($T) from $F where $C)",
            "(select string_agg($T, ',') from $F where $C)",
        ]);
        fill(form, &[('T', &text), ('F', &from), ('C', &condition)])
    }

    fn tail(&mut self, depth: usize) -> String {
        let mut tail = String::new();
        if self.random.chance(60) {
            tail.push_str(&format!(" where {}", self.condition(depth)));
        }
        if self.random.chance(20) {
            tail.push_str(&format!(" order by {}", self.key_reference()));
        } else if self.filter && self.random.chance(15) {
            tail.push_str(&format!(" order by {}", self.text(0)));
        }
        if self.random.chance(15) {
            tail.push_str(self.random.pick(&[" limit 3", " limit 1", " offset 1", " fetch first 2 rows only"]));
        }
        tail
    }

    fn selected(select: &str, items: Vec<(String, Kind, bool)>, rest: &str) -> Query {
        let list = items.iter().enumerate().map(|(at, (sql, ..))| format!("{sql} as c{at}")).collect::<Vec<_>>().join(", ");
        let columns = items.into_iter().enumerate().map(|(at, (_, kind, secret))| Reference { sql: format!("c{at}"), kind, secret });
        Query { sql: format!("{select} {list} {rest}"), columns: columns.collect() }
    }

    fn grouped(&mut self, depth: usize) -> Query {
        let (from, scope) = self.from(depth);
        self.scopes.push(scope);
        let key = self.key_reference();
        let mut items: Vec<(String, Kind, bool)> =
            (0..1 + self.random.below(2)).map(|_| (format!("({})::text", self.aggregate(1)), Kind::Text, true)).collect();
        let mut rest = format!("from {from}");
        if self.random.chance(60) {
            rest.push_str(&format!(" where {}", self.condition(0)));
        }
        let groups = key.contains('.');
        let by_text = self.random.chance(if self.filter { 30 } else { 3 });
        if by_text {
            let text = self.text(0);
            rest.push_str(&format!(" group by {text}"));
            items.push((text, Kind::Text, true));
        } else if groups && self.random.chance(70) {
            let form = self.random.pick(&["K", "K", "grouping sets ((K), ())", "rollup (K)", "cube (K)"]);
            rest.push_str(&format!(" group by {}", form.replace('K', &key)));
            items.push((key, Kind::Key, false));
        }
        if self.random.chance(15) {
            rest.push_str(" having count(*) > 0");
        }
        self.scopes.pop();
        Self::selected("select", items, &rest)
    }

    fn distinct(&mut self, depth: usize) -> Query {
        let (from, scope) = self.from(depth);
        self.scopes.push(scope);
        let key = self.key_reference();
        let items = vec![self.item(depth, false), self.item(depth, false)];
        let condition = self.condition(0);
        self.scopes.pop();
        if self.random.chance(60) && key.contains('.') {
            return Self::selected(&format!("select distinct on ({key})"), items, &format!("from {from} where {condition} order by {key}"));
        }
        Self::selected("select distinct", items, &format!("from {from} where {condition}"))
    }

    /// Rows as one value, or all their columns by a star.
    fn whole_row(&mut self) -> Query {
        let source = self.random.pick(SOURCES);
        let form = self.random.pick(&[
            "r::text",
            "row_to_json(r)::text",
            "to_jsonb(r)::text",
            "r",
            "(r).*",
            "r.*",
            "to_jsonb(r) - 'id'",
            "row(r.*)::text",
            "json_agg(r)::text",
            "array_agg(r)::text",
            "(select s::text from (select r.*) s)",
            "xmlforest(r)::text",
            "concat(r)",
            "format('%s', r)",
            "(select string_agg(value, '/') from jsonb_each_text(to_jsonb(r)))",
            "count(r)",
            "max(r::text)",
            "coalesce(r, null)::text",
            "md5(r::text)",
            "encode(convert_to(r::text, 'UTF8'), 'base64')",
            "hash_record(r)",
            "array[r]::text",
            "(select json_object_agg(key, value) from json_each(row_to_json(r)))::text",
            "(array[r])[1]::text",
            "row(r, r)",
            "(r is null)",
            "nullif(r::text, '')",
        ]);
        let only = if source.table && self.random.chance(10) { "only " } else { "" };
        let named = if form.ends_with('*') { form.to_owned() } else { format!("{form} as c0") };
        let rest = self.random.pick(&["", " where r.id <= 4", " limit 2", " tablesample bernoulli (100)", ""]);
        let sample = rest.contains("tablesample") && !source.table;
        let sql = format!("select {named} from {only}{} r{}", source.name, if sample { "" } else { rest });
        if form.ends_with('*') {
            let columns = source.columns.iter().map(|column| Reference { sql: column.name.to_owned(), kind: column.kind, secret: column.secret });
            return Query { sql, columns: columns.collect() };
        }
        Query { sql, columns: vec![Reference { sql: "c0".to_owned(), kind: Kind::Text, secret: true }] }
    }

    fn values(&mut self) -> Query {
        let rows: Vec<String> = (0..1 + self.random.below(3)).map(|at| format!("({at}, {})", self.scalar(1))).collect();
        let columns = vec![
            Reference { sql: "c0".to_owned(), kind: Kind::Key, secret: false },
            Reference { sql: "c1".to_owned(), kind: Kind::Text, secret: true },
        ];
        Query { sql: format!("select * from (values {}) v(c0, c1)", rows.join(", ")), columns }
    }

    fn set_operation(&mut self, depth: usize) -> Query {
        let (one, other) = (self.two_texts(depth - 1), self.two_texts(depth - 1));
        let (one, other) = if self.random.chance(50) { (one, other) } else { (other, one) };
        let operation = if self.filter || self.random.chance(10) {
            self.random.pick(&["union all", "union", "intersect", "except", "intersect all", "except all"])
        } else {
            "union all"
        };
        let order = if self.random.chance(20) { " order by 1" } else { "" };
        let columns = (0..2).map(|at| Reference { sql: format!("c{at}"), kind: if at == 0 { Kind::Key } else { Kind::Text }, secret: at == 1 });
        Query { sql: format!("{one} {operation} {other}{order}"), columns: columns.collect() }
    }

    /// A key and a text, which may be nobody's secret.
    fn two_texts(&mut self, depth: usize) -> String {
        let (from, scope) = self.from(depth);
        self.scopes.push(scope);
        let key = self.key_reference();
        let text = if self.random.chance(75) { self.text(1) } else { "'nobody''s'".to_owned() };
        let condition = self.condition(0);
        self.scopes.pop();
        format!("(select {key} as c0, ({text})::text as c1 from {from} where {condition})")
    }

    fn with_tables(&mut self, depth: usize) -> Query {
        let mut made = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let name = self.name();
            let query = self.query(depth - 1);
            let how = self.random.pick(&["", "", "materialized ", "not materialized "]);
            made.push(format!("{name} as {how}({})", query.sql));
            self.tables.push(Relation { from: name, columns: query.columns });
        }
        let query = self.plain(depth - 1);
        Query { sql: format!("with {} {}", made.join(", "), query.sql), columns: query.columns }
    }

    fn recursive(&mut self, depth: usize) -> Query {
        let (from, scope) = self.from(0);
        self.scopes.push(scope);
        let (key, text) = (self.key_reference(), self.text(depth.min(1)));
        self.scopes.pop();
        let name = self.name();
        let step = self.random.pick(&["substr(c1, 2)", "c1", "reverse(c1)", "c1 || 'x'", "left(c1, -1)", "chr(ascii(c1))"]);
        let after = self.random.pick(&["", "", " search depth first by c0 set o", " search breadth first by c0 set o", " cycle c0 set y using p"]);
        let shown = self.random.pick(&["c1", "c0, c1", "*", "string_agg(c1, '')", "upper(c1)", "string_agg(left(c1, 1), '' order by c2)"]);
        let sql = format!(
            "with recursive {name}(c0, c1, c2) as (select {key}::int, ({text})::text, 0 from {from} union all select c0, {step}, c2 + 1 from {name} where c2 < 5){after} \
             select {shown} from {name}"
        );
        Query {
            sql: format!("select r::text as c0 from ({sql}) r"),
            columns: vec![Reference { sql: "c0".to_owned(), kind: Kind::Text, secret: true }],
        }
    }

    /// What a statement that writes gives back, by itself or to another. It is no subquery: only a whole statement may be.
    fn returning(&mut self, depth: usize) -> Query {
        if depth < super::DEPTH_MAX {
            return self.plain(depth);
        }
        let source = self.stored();
        self.scopes.push(Self::columns(source.columns, source.name));
        let items: Vec<(String, Kind, bool)> = (0..2).map(|_| (format!("({})::text", self.text(1)), Kind::Text, true)).collect();
        self.scopes.pop();
        let name = source.name;
        let (statement, rest) = self.random.pick(&[
            ("update T set id = id where T.id <= 4", ""),
            ("delete from T where T.id > 2", ""),
            ("update T set id = T.id from notes where notes.id = T.id", ""),
        ]);
        let list = items.iter().enumerate().map(|(at, (sql, ..))| format!("{sql} as c{at}")).collect::<Vec<_>>().join(", ");
        let written = format!("{}{rest} returning {list}", statement.replace('T', name));
        let sql = if self.random.chance(50) { written } else { format!("with w as ({written}) select c0 as c0, upper(c1) as c1 from w") };
        let columns = (0..2).map(|at| Reference { sql: format!("c{at}"), kind: Kind::Text, secret: true });
        Query { sql, columns: columns.collect() }
    }

    /// FROM, and what can be named because of it.
    pub(super) fn from(&mut self, depth: usize) -> (String, Vec<Reference>) {
        let first = self.relation(depth, false);
        if self.random.chance(72) {
            return (first.from, first.columns);
        }
        self.scopes.push(first.columns.clone());
        let second = self.relation(depth.min(1), true);
        let keys: Vec<String> = [&first, &second]
            .iter()
            .filter_map(|relation| relation.columns.iter().find(|column| column.kind == Kind::Key))
            .map(|key| key.sql.clone())
            .collect();
        self.scopes.pop();
        let columns = [first.columns, second.columns].concat();
        let from = match keys.as_slice() {
            [one, other] if self.random.chance(80) => {
                let join = self.random.pick(&["join", "left join", "right join", "full join", "join"]);
                // Only what stands to the right of it may name what is to the left, and not in every join.
                let join = if second.from.starts_with("lateral") { "left join" } else { join };
                format!("{} {join} {} on {one} = {other}", first.from, second.from)
            }
            _ => format!("{} cross join {}", first.from, second.from),
        };
        (from, columns)
    }

    fn relation(&mut self, depth: usize, lateral: bool) -> Relation {
        let alias = self.name();
        if !self.tables.is_empty() && self.random.chance(45) {
            let tables = self.tables.clone();
            if let Some(table) = tables.get(self.random.below(tables.len())) {
                return Self::aliased(&table.from, &alias, &table.columns);
            }
        }
        match self.random.below(10) {
            0..2 if depth > 0 => {
                let query = self.query(depth - 1);
                self.subquery(&query, &alias)
            }
            2 if lateral => self.lateral(&alias),
            3 => {
                let texts = self.texts(0);
                Relation {
                    from: format!("(select array_agg(x) as v from ({texts}) s(x)) {alias}"),
                    columns: vec![Reference { sql: format!("{alias}.v"), kind: Kind::Array, secret: true }],
                }
            }
            4 => {
                let scalar = self.scalar(1);
                let function = self.random.pick(&[
                    "unnest(string_to_array(X, null)) with ordinality",
                    "regexp_split_to_table(X, '@') with ordinality",
                    "rows from (unnest(array[X])) with ordinality",
                    "unnest(array[X], array[1])",
                    "json_each_text(json_build_object(1, X))",
                ]);
                let flipped = function.starts_with("json");
                let columns = if flipped { format!("{alias}(n, v)") } else { format!("{alias}(v, n)") };
                Relation {
                    from: format!("{} as {columns}", function.replace('X', &scalar)),
                    columns: vec![Reference { sql: format!("{alias}.v"), kind: Kind::Text, secret: true }],
                }
            }
            _ => self.base(&alias),
        }
    }

    fn base(&mut self, alias: &str) -> Relation {
        let source = self.random.pick(SOURCES);
        let columns = Self::columns(source.columns, alias);
        // Other names for the columns hide what they are.
        if self.random.chance(10) {
            let names: Vec<String> = (0..columns.len()).map(|at| format!("x{at}")).collect();
            let renamed = columns.iter().zip(&names).map(|(column, name)| Reference { sql: format!("{alias}.{name}"), ..column.clone() });
            return Relation { from: format!("{} {alias}({})", source.name, names.join(", ")), columns: renamed.collect() };
        }
        let schema = if source.table && !source.name.contains('.') && self.random.chance(15) { "public." } else { "" };
        Relation { from: format!("{schema}{} {alias}", source.name), columns }
    }

    fn aliased(from: &str, alias: &str, columns: &[Reference]) -> Relation {
        let named = columns.iter().map(|column| Reference { sql: format!("{alias}.{}", column.sql), ..column.clone() });
        Relation { from: format!("{from} {alias}"), columns: named.collect() }
    }

    fn subquery(&mut self, query: &Query, alias: &str) -> Relation {
        let offset = if self.random.chance(15) { " offset 0" } else { "" };
        let from = if offset.is_empty() { format!("({})", query.sql) } else { format!("(select * from ({}) s{offset})", query.sql) };
        Self::aliased(&from, alias, &query.columns)
    }

    fn lateral(&mut self, alias: &str) -> Relation {
        let (text, key) = (self.text(1), self.key_reference());
        let form = self.random.pick(&[
            "lateral (select $K as k, ($T)::text as v) $A",
            "lateral (values ($K, ($T)::text)) $A(k, v)",
            "lateral (select $K as k, x as v from unnest(array[($T)::text]) x) $A",
            "lateral (select $K as k, max(x) as v from regexp_split_to_table(($T)::text, '@') x) $A",
            "lateral (select 1 as k, t.v from xmltable('/a' passing xmlelement(name a, ($T)::text) columns v text path '.') t) $A",
        ]);
        let from = fill(form, &[('T', &text), ('K', &key), ('A', alias)]);
        let columns = vec![
            Reference { sql: format!("{alias}.k"), kind: Kind::Key, secret: false },
            Reference { sql: format!("{alias}.v"), kind: Kind::Text, secret: true },
        ];
        Relation { from, columns }
    }
}
