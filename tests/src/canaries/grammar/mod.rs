//! Statements of somebody who may do everything but see what is masked, and tries to: the same for the same seed.

mod expression;
mod query;
mod ways;

pub use ways::{LEFT_OUT, LeftOut};

use super::{
    random::Random,
    schema::{Kind, SOURCES, Source},
};

/// How deep queries and expressions stand inside one another.
const DEPTH_MAX: usize = 3;

/// What is said to the server and answered as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A simple query, of one statement or several.
    Simple(String),
    /// Parse, Bind, maybe Describe, Execute, Sync.
    Extended {
        /// One statement.
        sql: String,
        /// Its parameters, all text.
        parameters: Vec<String>,
        /// Of the results: 0 for text, 1 for binary.
        format: i16,
        /// Whether the portal is described.
        described: bool,
        /// So many rows are fetched first, and then the others; 0 for all at once.
        rows: i32,
    },
    /// A COPY from the client, and what it copies.
    CopyIn {
        /// The statement.
        sql: String,
        /// The data.
        data: String,
    },
}

impl Step {
    /// The statement.
    #[must_use]
    pub fn sql(&self) -> &str {
        match self {
            Self::Simple(sql) | Self::Extended { sql, .. } | Self::CopyIn { sql, .. } => sql,
        }
    }
}

/// Statements that belong together: what one leaves, another shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Whether they run in a transaction that is rolled back.
    pub transaction: bool,
    /// The statements.
    pub steps: Vec<Step>,
}

impl Program {
    /// A program in a transaction, its statements parted by `;;`; those that begin with `extended: ` go by the extended protocol, for results in binary.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let step = |sql: &str| match sql.strip_prefix("extended: ") {
            Some(sql) => Step::Extended { sql: sql.to_owned(), parameters: Vec::new(), format: 1, described: true, rows: 0 },
            None => Step::Simple(sql.to_owned()),
        };
        Self { transaction: true, steps: text.split(";;").map(step).collect() }
    }
}

/// Makes programs.
#[derive(Debug)]
pub struct Grammar {
    random: Random,
    /// Whether policy permits `filter`: without, conditions on classified columns are rare, since they are refused.
    filter: bool,
    /// For names that nobody had yet.
    names: u64,
    prefix: String,
    /// What expressions of the query that is being made can name.
    scopes: Vec<Vec<Reference>>,
    /// Common table expressions that are in reach.
    tables: Vec<Relation>,
}

/// An expression that names a column, and what it gives.
#[derive(Debug, Clone)]
struct Reference {
    sql: String,
    kind: Kind,
    secret: bool,
}

/// Something in FROM and what its columns are called there.
#[derive(Debug, Clone)]
struct Relation {
    from: String,
    columns: Vec<Reference>,
}

impl Grammar {
    /// The grammar of this seed. `prefix` begins the names of what is made.
    #[must_use]
    pub fn seeded(seed: u64, prefix: &str, filter: bool) -> Self {
        let prefix = prefix.to_owned();
        Self { random: Random::seeded(seed), filter, names: 0, prefix, scopes: Vec::new(), tables: Vec::new() }
    }

    /// The next program.
    pub fn program(&mut self) -> Program {
        loop {
            let program = if self.random.chance(62) { self.reading() } else { self.way() };
            if !is_left_out(&program) {
                return program;
            }
        }
    }

    /// What a session says before anything else.
    pub fn settings(&mut self) -> Vec<Step> {
        (0..self.random.below(3)).map(|_| Step::Simple(self.random.pick(ways::SETTINGS).to_owned())).collect()
    }

    /// One query, asked in one of the ways that show its rows.
    fn reading(&mut self) -> Program {
        let query = self.query(DEPTH_MAX).sql;
        let step = match self.random.below(100) {
            0..40 => Step::Simple(query),
            40..75 => self.extended(query),
            75..80 => Step::Simple(format!("{query}; {}", self.query(1).sql)),
            _ => return self.wrapped(&query),
        };
        Program { transaction: self.random.chance(30), steps: vec![step] }
    }

    fn extended(&mut self, sql: String) -> Step {
        let format = i16::from(self.random.chance(60));
        let (described, rows) = (self.random.chance(60), if self.random.chance(20) { 1 } else { 0 });
        // A key becomes a parameter now and then.
        let named = self.random.chance(25) && sql.contains("id <= 4");
        let (sql, parameters) = if named { (sql.replace("id <= 4", "id <= $1::int"), vec!["4".to_owned()]) } else { (sql, Vec::new()) };
        Step::Extended { sql, parameters, format, described, rows }
    }

    /// A statement around a query.
    fn wrapped(&mut self, query: &str) -> Program {
        let frame = self.random.pick(ways::AROUND_A_QUERY);
        let (a, b) = (self.name(), self.name());
        let steps = frame.split(";;").map(|statement| {
            let sql = statement.replace("{a}", &a).replace("{b}", &b).replace("{q}", query);
            if statement.starts_with("copy") || self.random.chance(80) { Step::Simple(sql) } else { self.extended(sql) }
        });
        Program { transaction: true, steps: steps.collect() }
    }

    /// One of the ways that are no query.
    fn way(&mut self) -> Program {
        let way = self.random.pick(ways::WAYS);
        let (way, transaction) = way.strip_prefix("alone: ").map_or((way, true), |alone| (alone, false));
        let names = [self.name(), self.name(), self.name()];
        let steps = way.split(";;").map(|statement| {
            let sql = self.filled(statement, &names);
            match sql.split_once("<<<") {
                Some((sql, data)) => Step::CopyIn { sql: sql.to_owned(), data: data.to_owned() },
                // After its Sync was ignored, a COPY that failed would want another.
                None if !sql.contains("from stdin") && self.random.chance(15) => self.extended(sql),
                None => Step::Simple(sql),
            }
        });
        Program { transaction, steps: steps.collect() }
    }

    /// A template with its holes filled: `{a}`, `{b}`, `{c}` names of this program; `{x}` a classified text, `{n}` a classified number, `{l}` a letter's
    /// code, each as one expression; `{s}` a query of texts, `{q}` of anything; `{t}` a table, `{v}` a column of it, `{k}` a key, `{f}` a function that gives a classified text, `{e}` an
    /// expression of people's columns.
    fn filled(&mut self, template: &str, names: &[String; 3]) -> String {
        let [a, b, c] = names;
        let table = self.stored();
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let hole = after.split_once('}').filter(|(hole, _)| hole.len() == 1);
            let Some((hole, next)) = hole else {
                filled.push('{');
                rest = after;
                continue;
            };
            filled.push_str(&match hole {
                "a" => a.clone(),
                "b" => b.clone(),
                "c" => c.clone(),
                "x" => self.scalar(1),
                "n" => format!("(select {} from people where id = {})", self.random.pick(&["account", "account", "balance::int8"]), self.key()),
                "l" => format!("(select ascii(substr(mail, {}, 1)) from people where id = {})", 1 + self.random.below(24), self.key()),
                "s" => self.texts(1),
                "q" => self.query(1).sql,
                "t" => table.name.to_owned(),
                "v" => self.column_of(&table),
                "k" => self.key().to_string(),
                "e" => self.of_people(),
                "f" => self.random.pick(ways::FUNCTIONS).replace("{k}", &self.key().to_string()),
                other => format!("{{{other}}}"),
            });
            rest = next;
        }
        filled + rest
    }

    /// A table with something classified in it.
    fn stored(&mut self) -> Source {
        let stored: Vec<Source> =
            SOURCES.iter().filter(|source| source.table && source.columns.iter().any(|column| column.secret)).copied().collect();
        self.random.pick(&stored)
    }

    fn column_of(&mut self, source: &Source) -> String {
        let secret: Vec<&str> = source.columns.iter().filter(|column| column.secret).map(|column| column.name).collect();
        self.random.pick(&secret).to_owned()
    }

    fn key(&mut self) -> usize {
        1 + self.random.below(4)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("{}{}", self.prefix, self.names)
    }
}

fn is_left_out(program: &Program) -> bool {
    LEFT_OUT.iter().any(|form| form.words.iter().all(|word| program.steps.iter().any(|step| step.sql().contains(word))))
}

/// A template whose `$A`, `$B` and so on are replaced, all at once.
fn fill(template: &str, values: &[(char, &str)]) -> String {
    let mut parts = template.split('$');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let value = values.iter().find(|(name, _)| part.starts_with(*name)).map_or("", |(_, value)| value);
        filled.push_str(value);
        filled.push_str(part.get(1..).unwrap_or_default());
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_statements() {
        let of = |seed| {
            let mut grammar = Grammar::seeded(seed, "o", true);
            (0..300).map(|_| grammar.program()).collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
