//! The database: tables of every kind whose classified cells hold a canary each, and what can be read of them by other names.

use std::{collections::BTreeMap, fmt::Write as _};

use super::random::Random;

/// The value of one classified cell, or a part of it.
#[derive(Debug, Clone)]
pub struct Canary {
    /// `people.mail of 3`.
    pub place: String,
    /// What is looked for.
    pub value: Value,
}

/// A value that is in no other cell, nor six signs of it in a row.
#[derive(Debug, Clone)]
pub enum Value {
    /// Twenty-four letters and digits; no letter of them is a hexadecimal digit.
    Text(String),
    /// Of eighteen digits.
    Number(u64),
    /// In a year of six digits.
    Date {
        /// From 100000 to 289999, which a timestamp can hold.
        year: i32,
        /// From 1.
        month: i32,
        /// From 1.
        day: i32,
    },
    /// Sixteen bytes.
    Uuid([u8; 16]),
}

/// What a column holds: as much of its type as expressions need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A small int that tells rows apart.
    #[default]
    Key,
    /// text, varchar, a domain over text.
    Text,
    /// int8.
    Number,
    /// numeric.
    Numeric,
    /// date.
    Date,
    /// uuid.
    Uuid,
    /// jsonb.
    Jsonb,
    /// json.
    Json,
    /// text[].
    Array,
    /// The composite type contact.
    Contact,
    /// int8range.
    Range,
    /// The enum state.
    State,
    /// bytea.
    Bytes,
}

/// A column, as statements name it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The data class it belongs to itself; empty where it belongs to none.
    pub class: &'static str,
    /// Whether what it shows is classified, here or where it comes from.
    pub secret: bool,
}

/// Something to select from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source {
    /// As it is written after FROM.
    pub name: &'static str,
    /// A table that rows can be written to, of its own or as a parent's.
    pub table: bool,
    /// Its columns, the first of which tells rows apart.
    pub columns: &'static [Column],
    /// The keys of its rows that this module makes: from, and how many. None are made where there are none.
    rows: (u32, u32),
}

const fn plain(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, class: "", secret: false }
}

const fn classified(name: &'static str, kind: Kind, class: &'static str) -> Column {
    Column { name, kind, class, secret: true }
}

/// Classified because of what it is made of.
const fn derived(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, class: "", secret: true }
}

const KEY: Column = plain("id", Kind::Key);

/// The data classes and their masks.
const MASKS: &[(&str, &str)] = &[
    ("mail", "keep-domain"),
    ("phone", "redact"),
    ("card", "keep-last-four"),
    ("note", "null"),
    ("money", "redact"),
    ("birth", "redact"),
    ("token", "redact"),
    ("profile", "redact"),
    ("tags", "redact"),
    ("code", "keep-last-four"),
    ("contact", "redact"),
    ("salary", "redact"),
];

const PEOPLE: &[Column] = &[
    KEY,
    plain("name", Kind::Text),
    plain("city", Kind::Text),
    classified("mail", Kind::Text, "mail"),
    classified("phone", Kind::Text, "phone"),
    classified("born", Kind::Date, "birth"),
    classified("account", Kind::Number, "money"),
    classified("balance", Kind::Numeric, "money"),
    classified("token", Kind::Uuid, "token"),
    classified("profile", Kind::Jsonb, "profile"),
    classified("tags", Kind::Array, "tags"),
];

/// What statements are made of.
pub const SOURCES: &[Source] = &[
    Source { name: "people", table: true, rows: (1, 6), columns: PEOPLE },
    Source {
        name: "staff",
        table: true,
        rows: (11, 4),
        columns: &[
            KEY,
            plain("name", Kind::Text),
            plain("city", Kind::Text),
            derived("mail", Kind::Text),
            derived("phone", Kind::Text),
            derived("born", Kind::Date),
            derived("account", Kind::Number),
            derived("balance", Kind::Numeric),
            derived("token", Kind::Uuid),
            derived("profile", Kind::Jsonb),
            derived("tags", Kind::Array),
            plain("room", Kind::Text),
            classified("salary", Kind::Number, "salary"),
        ],
    },
    Source {
        name: "orders",
        table: true,
        rows: (1, 6),
        columns: &[
            KEY,
            plain("person", Kind::Key),
            classified("card", Kind::Text, "card"),
            classified("note", Kind::Text, "note"),
            plain("amount", Kind::Numeric),
            plain("state", Kind::State),
        ],
    },
    Source {
        name: "events",
        table: true,
        rows: (1, 6),
        columns: &[
            KEY,
            plain("person", Kind::Key),
            plain("kind", Kind::Text),
            classified("payload", Kind::Jsonb, "profile"),
            classified("address", Kind::Text, "phone"),
        ],
    },
    Source {
        name: "events_low",
        table: true,
        rows: (0, 0),
        columns: &[KEY, plain("person", Kind::Key), plain("kind", Kind::Text), derived("payload", Kind::Jsonb), derived("address", Kind::Text)],
    },
    Source {
        name: "vaults",
        table: true,
        rows: (1, 4),
        columns: &[KEY, plain("owner", Kind::Text), classified("contact", Kind::Contact, "contact"), classified("keys", Kind::Array, "code")],
    },
    Source { name: "codes", table: true, rows: (1, 4), columns: &[KEY, classified("code", Kind::Text, "code"), derived("shadow", Kind::Text)] },
    Source {
        name: "docs",
        table: true,
        rows: (1, 4),
        columns: &[KEY, plain("title", Kind::Text), classified("body", Kind::Json, "profile"), classified("raw", Kind::Bytes, "note")],
    },
    Source {
        name: "ledger",
        table: true,
        rows: (1, 6),
        columns: &[
            KEY,
            plain("label", Kind::Text),
            classified("pin", Kind::Number, "code"),
            classified("due", Kind::Date, "birth"),
            classified("total", Kind::Numeric, "money"),
            classified("span", Kind::Range, "money"),
        ],
    },
    Source { name: "notes", table: true, rows: (1, 4), columns: &[KEY, plain("note", Kind::Text), plain("n", Kind::Number)] },
    Source { name: "crm.people", table: true, rows: (1, 3), columns: &[KEY, plain("mail", Kind::Text), plain("name", Kind::Text)] },
    // Below: the same cells by other names.
    Source {
        name: "v_people",
        table: false,
        rows: (0, 0),
        columns: &[KEY, derived("contact", Kind::Text), plain("city", Kind::Text), derived("born", Kind::Date)],
    },
    Source { name: "v_loud", table: false, rows: (0, 0), columns: &[KEY, derived("loud", Kind::Text), derived("half", Kind::Text)] },
    Source {
        name: "v_joined",
        table: false,
        rows: (0, 0),
        columns: &[KEY, derived("mail", Kind::Text), derived("card", Kind::Text), plain("amount", Kind::Numeric)],
    },
    Source { name: "v_told", table: false, rows: (0, 0), columns: &[KEY, derived("said", Kind::Text), derived("mail", Kind::Text)] },
    Source { name: "v_either", table: false, rows: (0, 0), columns: &[KEY, derived("secret", Kind::Text)] },
    Source { name: "v_over_views", table: false, rows: (0, 0), columns: &[KEY, derived("a", Kind::Text), derived("b", Kind::Text)] },
    Source {
        name: "m_people",
        table: false,
        rows: (0, 0),
        columns: &[KEY, derived("mail", Kind::Text), derived("born", Kind::Date), derived("joined", Kind::Text)],
    },
    Source { name: "f_people()", table: false, rows: (0, 0), columns: PEOPLE },
    Source { name: "f_pairs(4)", table: false, rows: (0, 0), columns: &[KEY, derived("v", Kind::Text)] },
    Source { name: "f_atomic(4)", table: false, rows: (0, 0), columns: &[KEY, derived("v", Kind::Text)] },
    Source { name: "f_cursor_like()", table: false, rows: (0, 0), columns: &[KEY, derived("v", Kind::Text)] },
];

const DEFINITIONS: &str = "
create type contact as (mail text, phone text);
create type state as enum ('open', 'paid', 'void');
create domain code as text check (length(value) > 3);
create table people (id int primary key, name text, city text, mail text unique, phone varchar(40), born date, account int8 check (account > 0),
    balance numeric(30,2), token uuid, profile jsonb, tags text[]);
create table staff (room text, salary int8) inherits (people);
create table orders (id int primary key, person int references people, card text, note text, amount numeric, state state);
create table events (id int, person int, kind text, payload jsonb, address text) partition by range (id);
create table events_low partition of events for values from (0) to (4);
create table events_high partition of events for values from (4) to (100);
create table vaults (id int primary key, owner text, contact contact, keys text[]);
create table codes (id int primary key, code code, shadow text generated always as (upper(code)) stored);
create table docs (id int primary key, title text, body json, raw bytea);
create table ledger (id int primary key, label text not null, pin int8, due date, total numeric(30,2), span int8range);
create table notes (id int, note text, n int8);
create table crm.people (id int primary key, mail text, name text);
create sequence counter;
create index on people (lower(phone));
create statistics both_of_people (mcv) on mail, city from people;
create view v_people as select id, mail as contact, city, born from people;
create view v_loud as select id, upper(mail) as loud, left(phone, 12) as half from people;
create view v_joined as select p.id, p.mail, o.card, o.amount from people p join orders o on o.person = p.id;
create view v_either as select id, mail as secret from people union all select id, card from orders;
create view v_over_views as select l.id, l.loud as a, p.contact as b from v_loud l join v_people p using (id);
create materialized view m_people as select id, mail, born, mail || '/' || phone as joined from people;
create function f_people() returns setof people language sql stable as 'select * from only people';
create function f_pairs(int) returns table (id int, v text) language sql stable as 'select id, phone::text from people where id <= $1';
create function f_atomic(top int) returns table (id int, v text) language sql stable begin atomic select o.id, o.card from orders o where o.id <= top; end;
create function f_mail(int) returns text language sql stable as 'select mail from people where id = $1';
create function f_said(one int) returns text language plpgsql stable as $$ begin return (select mail from people where id = one); end $$;
create function f_cursor_like() returns table (id int, v text) language plpgsql stable as
    $$ begin return query select p.id, p.mail || '' from people p order by 1; end $$;
create function f_const() returns text language plpgsql immutable as $$ begin return (select mail from people where id = 2); end $$;
create function f_const_sql() returns text language sql immutable as 'select phone::text from people where id = 2';
create function f_told(v text) returns text language plpgsql as $$ begin raise notice 'told %', v; return v; end $$;
create function f_failed(v text) returns text language plpgsql as $$ begin raise exception 'failed %', v using detail = v; end $$;
create function f_kept(v text) returns text language plpgsql as $$ begin insert into notes(id, note) values (7, v); return 'kept'; end $$;
create function f_kept_sql(v text) returns text language sql as $$ insert into notes(id, note) values (8, v) returning 'kept' $$;
create function f_run(statement text) returns text language plpgsql as $$ declare v text; begin execute statement into v; return v; end $$;
create function f_none() returns void language plpgsql as $$ begin insert into notes(id, note) select 9, mail from people; end $$;
create function f_noticed() returns trigger language plpgsql as $$ begin raise notice 'was %', old; return new; end $$;
create trigger noticed before update on orders for each row execute function f_noticed();
create view v_told as select id, f_said(id) as said, f_mail(id) as mail from notes;
create procedure p_shown(inout one int, out v text) language plpgsql as $$ begin select mail into v from people where id = one; end $$;
";

/// A schema with its values: the same for the same seed.
#[derive(Debug)]
pub struct Schema {
    /// One for each classified cell, or more where it has parts.
    pub canaries: Vec<Canary>,
    /// What makes it, as the superuser.
    pub script: String,
    /// `data-classes.toml`.
    pub classes: String,
}

impl Schema {
    /// Makes it for `owner`, who may do everything in it.
    #[must_use]
    pub fn seeded(seed: u64, owner: &str) -> Self {
        let mut making = Making { random: Random::seeded(seed), canaries: Vec::new() };
        let rows: String = SOURCES.iter().map(|source| making.rows(source)).collect();
        let script = format!(
            "alter schema public owner to {owner}; create schema crm authorization {owner}; set role {owner};\n{DEFINITIONS}\n{rows}\n\
             refresh materialized view m_people; analyze;"
        );
        Self { canaries: making.canaries, script, classes: classes() }
    }
}

/// Each class with its columns.
fn classes() -> String {
    let mut columns: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in SOURCES.iter().filter(|source| source.table) {
        for column in source.columns.iter().filter(|column| !column.class.is_empty()) {
            columns.entry(column.class).or_default().push(format!("\"public.{}.{}\"", source.name, column.name));
        }
    }
    let masks = MASKS
        .iter()
        .map(|(class, mask)| format!("[{class}]\nmask = \"{mask}\"\ncolumns = [{}]\n", columns.remove(class).unwrap_or_default().join(", ")));
    masks.collect()
}

struct Making {
    random: Random,
    canaries: Vec<Canary>,
}

impl Making {
    fn rows(&mut self, source: &Source) -> String {
        let (from, count) = source.rows;
        let stored: Vec<&Column> = source.columns.iter().filter(|column| column.name != "shadow").collect();
        let names = stored.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
        let mut script = String::new();
        for key in from..from + count {
            let values: Vec<String> = stored.iter().map(|column| self.cell(source.name, column, key)).collect();
            let _ = writeln!(script, "insert into {} ({names}) values ({});", source.name, values.join(", "));
        }
        script
    }

    fn cell(&mut self, table: &str, column: &Column, key: u32) -> String {
        if !column.secret {
            return harmless(column, key);
        }
        let place = format!("{table}.{} of {key}", column.name);
        match column.kind {
            Kind::Text if column.name == "mail" => format!("'{}@example.org'", self.text(&place)),
            Kind::Text | Kind::Key | Kind::State => format!("'{}'", self.text(&place)),
            Kind::Number => self.number(&place).to_string(),
            Kind::Numeric => format!("{}.25", self.number(&place)),
            Kind::Date => self.date(&place),
            Kind::Uuid => self.uuid(&place),
            Kind::Jsonb | Kind::Json => {
                format!(r#"'{{"k": "{}", "n": {}, "l": ["{}"]}}'"#, self.text(&place), self.number(&place), self.text(&place))
            }
            Kind::Array => format!("array['{}', '{}']", self.text(&place), self.text(&place)),
            Kind::Contact => format!("row('{}', '{}')", self.text(&place), self.text(&place)),
            Kind::Range => {
                let (one, other) = (self.number(&place), self.number(&place));
                format!("int8range({}, {})", one.min(other), one.max(other))
            }
            Kind::Bytes => format!("convert_to('{}', 'UTF8')", self.text(&place)),
        }
    }

    fn keep(&mut self, place: &str, value: Value) {
        self.canaries.push(Canary { place: place.to_owned(), value });
    }

    /// Half letters and half digits, beginning with a letter.
    fn text(&mut self, place: &str) -> String {
        let mut signs: Vec<char> = (0..24).map(|at| if at % 2 == 0 { self.random.pick(&LETTERS) } else { self.random.pick(&DIGITS) }).collect();
        for at in 1..signs.len() {
            let other = at + self.random.below(signs.len() - at);
            signs.swap(at, other);
        }
        let text: String = signs.into_iter().collect();
        self.keep(place, Value::Text(text.clone()));
        text
    }

    fn number(&mut self, place: &str) -> u64 {
        let number = 100_000_000_000_000_000 + self.random.number() % 900_000_000_000_000_000;
        self.keep(place, Value::Number(number));
        number
    }

    fn date(&mut self, place: &str) -> String {
        let mut up_to = |most: i32| i32::try_from(self.random.number() % u64::from(most.unsigned_abs())).unwrap_or(0);
        let (year, month, day) = (100_000 + up_to(190_000), 1 + up_to(12), 1 + up_to(28));
        self.keep(place, Value::Date { year, month, day });
        format!("make_date({year}, {month}, {day})")
    }

    fn uuid(&mut self, place: &str) -> String {
        let bytes = (u128::from(self.random.number()) << 64 | u128::from(self.random.number())).to_be_bytes();
        self.keep(place, Value::Uuid(bytes));
        format!("'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

const LETTERS: [char; 20] = ['g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z'];
const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];

fn harmless(column: &Column, key: u32) -> String {
    match column.kind {
        Kind::Text => format!("'{} {}'", column.name, ["Ada", "Bea", "Cleo", "Dora"].get(key as usize % 4).unwrap_or(&"Eve")),
        Kind::State => format!("'{}'", ["open", "paid", "void"].get(key as usize % 3).unwrap_or(&"open")),
        Kind::Numeric => format!("{key}.5"),
        _ => key.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn six_signs_in_a_row_are_of_one_cell() {
        let schema = Schema::seeded(1, "app");
        let mut seen = HashSet::new();
        let mut texts = 0;
        for canary in &schema.canaries {
            if let Value::Text(text) = &canary.value {
                texts += 1;
                let both = [text.clone(), text.chars().rev().collect()];
                assert!(both.iter().all(|way| (0..=text.len() - 6).all(|at| seen.insert(way[at..at + 6].to_owned()))), "{text}");
                assert!(text.chars().all(|sign| sign.is_ascii_digit() || sign > 'f'), "{text}");
            }
        }
        assert!(texts > 100 && schema.canaries.len() > 200, "{} of {}", texts, schema.canaries.len());
        assert_eq!(schema.script, Schema::seeded(1, "app").script);
    }

    #[test]
    fn every_class_has_columns() {
        assert!(!classes().contains("[]"), "{}", classes());
        assert!(
            SOURCES
                .iter()
                .flat_map(|source| source.columns)
                .all(|column| MASKS.iter().any(|(class, _)| *class == column.class) || column.class.is_empty())
        );
    }
}
