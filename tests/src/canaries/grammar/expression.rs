//! Expressions: what is done to a value so that it does not look like itself, and still is.

use super::{super::schema::Kind, Grammar, Reference};

/// Of a text, a text: `{}` is the text, `{o}` another one, `{i}` a small number.
const TEXT_OF_TEXT: &[&str] = &[
    "upper({})",
    "lower({})",
    "initcap({})",
    "reverse({})",
    "trim({})",
    "btrim({}, 'x')",
    "left({}, 12)",
    "right({}, 20)",
    "substr({}, 1, 14)",
    "substring({} from 1 for 10)",
    "substring({} from '^.{8}')",
    "substring({} similar '%#\"_______#\"_' escape '#')",
    "lpad({}, 40, '.')",
    "rpad({}, 40, '.')",
    "repeat({}, 2)",
    "replace({}, 'q', 'Q')",
    "translate({}, '0123456789', 'abcdefghij')",
    "translate({}, '@.', '')",
    "split_part({}, '@', 1)",
    "overlay({} placing '_' from 3 for 1)",
    "concat({}, '!')",
    "concat_ws('/', {}, {o})",
    "format('%s', {})",
    "format('%2$s-%1$s', {o}, {})",
    "format('%I', {})",
    "format('%L', {})",
    "quote_ident({})",
    "quote_literal({})",
    "quote_nullable({})",
    "md5({})",
    "encode(convert_to({}, 'UTF8'), 'hex')",
    "encode(convert_to({}, 'UTF8'), 'base64')",
    "encode(convert_to({}, 'UTF8'), 'escape')",
    "encode(sha256(convert_to({}, 'UTF8')), 'hex')",
    "convert_from(convert_to({}, 'UTF8'), 'UTF8')",
    "({})::name::text",
    "({})::varchar(20)",
    "({})::char(24)",
    "({})::varchar::text",
    "({})::code::text",
    "({}) collate \"C\"",
    "regexp_replace({}, '[aeiou]', '_', 'g')",
    "regexp_replace({}, '(.)(.)', '\\2\\1', 'g')",
    "(regexp_match({}, '(.*)'))[1]",
    "regexp_substr({}, '\\w+')",
    "(regexp_split_to_array({}, ''))[{i}]",
    "array_to_string(string_to_array({}, null), '-')",
    "array_to_string(regexp_split_to_array({}, ''), ' ')",
    "to_tsvector('simple', {})::text",
    "ts_headline('simple', {}, to_tsquery('simple', 'x'))",
    "normalize({})",
    "to_json({})::text",
    "to_jsonb({})::text",
    "json_build_object('a', {})->>'a'",
    "json_build_array({})->>0",
    "jsonb_build_object({}, 1)::text",
    "row({})::text",
    "(array[{}])[1]",
    "array[{}, {o}]::text",
    "xmlelement(name a, {})::text",
    "xmlforest({} as a)::text",
    "(xpath('/a/text()', xmlelement(name a, {})))[1]::text",
    "xmlconcat(xmlelement(name a, {}), xmlcomment('x'))::text",
    "coalesce({}, '')",
    "coalesce(null, {}, {o})",
    "nullif({}, '')",
    "greatest({}, '')",
    "least({}, '~')",
    "case when true then {} end",
    "case when {i} > 0 then {} else {o} end",
    "case {i} when 1 then {o} else {} end",
    "(select {})",
    "(values ({}))",
    "array_to_string(array(select {}), '')",
    "({} || '')",
    "('<' || {} || '>')",
    "({} || {o})",
    "chr(ascii({})) || substr({}, 2)",
    "ascii({})::text",
    "length({})::text",
    "hashtext({})::text",
    "hashtextextended({}, 0)::text",
    "textcat({}, 'x')",
    "textin(textout({}))",
    "jsonb_set('{}', '{a}', to_jsonb({}))->>'a'",
    "(jsonb_build_object('a', {}) || '{}')::text",
    "json_object(array['a'], array[{}])::text",
    "jsonb_path_query_first(to_jsonb({}), '$')::text",
    "jsonb_pretty(to_jsonb({}))",
    "lower(int8range(length({}), 100))::text",
    "pg_typeof({})::text || {}",
    "current_setting('my.v', true) || {}",
    "unistr({})",
    "string_to_array({}, '@')::text",
    "starts_with({}, 'a')::text || {}",
    "(date '2000-01-01' + ascii({}))::text",
    "to_char(ascii({}), 'FMRN')",
    "lpad(ascii({})::bit(8)::text, 8, '0')",
    "decode(encode(convert_to({}, 'UTF8'), 'hex'), 'hex')::text",
    "(convert_to({}, 'UTF8') || '\\x00')::text",
    "to_hex(ascii({}))",
    "reverse(encode(convert_to({}, 'UTF8'), 'hex'))",
    "encode(convert_to(reverse({}), 'UTF8'), 'base64')",
    "btrim(quote_literal({}), '''')",
    "point(ascii({}), ascii({}))::text",
    "set_byte(convert_to({}, 'UTF8'), 0, 65)::text",
    "array_fill({}, array[2])::text",
    "bpchar({})::text",
    "(json_build_object('a', {})::jsonb #>> '{a}')",
    "trim(both '\"' from to_json({})::text)",
    "json_strip_nulls(json_build_object('k', {}))::text",
];

/// Those of them that cannot fail: nobody can find anything out by whether they do, and whoever may not filter gets an answer.
const CALM: &[&str] = &[
    "upper({})",
    "lower({})",
    "reverse({})",
    "initcap({})",
    "md5({})",
    "({} || '')",
    "({} || {o})",
    "coalesce({}, '')",
    "nullif({}, '')",
    "left({}, 12)",
    "right({}, 20)",
    "quote_literal({})",
    "concat({}, '!')",
    "(select {})",
    "case when true then {} end",
    "greatest({}, '')",
    "least({}, '~')",
    "btrim({}, 'x')",
    "to_json({})::text",
    "row({})::text",
    "(array[{}])[1]",
    "array[{}, {o}]::text",
    "length({})::text",
    "replace({}, 'q', 'Q')",
    "translate({}, '@.', '')",
    "({}) collate \"C\"",
    "(values ({}))",
    "ascii({})::text",
    "quote_ident({})",
    "concat_ws('/', {}, {o})",
    "to_jsonb({})::text",
    "split_part({}, '@', 1)",
    "substr({}, 1, 14)",
];

/// Of a text, something else.
const ANYTHING_OF_TEXT: &[&str] = &[
    "convert_to({}, 'UTF8')",
    "({})::bytea",
    "to_json({})",
    "to_jsonb({})",
    "row({}, {i})",
    "array[{}]",
    "string_to_array({}, null)",
    "xmlelement(name a, {})",
    "({} is null)",
    "({} = {o})",
    "length({})",
    "ascii({})",
    "json_build_object('a', {}, 'b', {o})",
    "regexp_match({}, '(..)(..)')",
    "to_tsvector('simple', {})",
    "sha256(convert_to({}, 'UTF8'))",
    "({})::char",
    "({})::name",
    "array(select {} union all select {o})",
    "(select row({}))",
    "hashtext({})",
    "xmlforest({} as a, {o} as b)",
    "regexp_matches({}, '(.+)')",
    "regexp_split_to_table({}, '@')",
    "unnest(array[{}, {o}])",
    "jsonb_array_elements_text(jsonb_build_array({}))",
    "json_each_text(json_build_object('k', {}))",
    "generate_series(1, length({}) / 12)",
    "unnest(string_to_array({}, null))",
    "jsonb_object_keys(jsonb_build_object({}, 1))",
    "jsonb_each(jsonb_build_object('a', {}))",
    "ascii(substr({}, {i}, 1))",
    "string_to_table({}, '@')",
    "({} similar to '%a%')",
    "({} ~ '^[a-m]')",
    "pg_column_size({})",
    "bit_length({})",
    "int4range(0, ascii({}))",
    "make_interval(secs => ascii({}))",
    "(array[{}] || array[{o}])",
    "array_position(array[{}], {})",
    "ts_lexize('simple', {})",
    "md5({})::uuid",
];

/// Over many rows, of a text: used where rows are grouped, or all at once.
const AGGREGATES: &[&str] = &[
    "max({})",
    "min({})",
    "string_agg({}, ',')",
    "string_agg({}, ',' order by {k})",
    "array_agg({})",
    "array_agg({} order by {k} desc)::text",
    "json_agg({})",
    "jsonb_agg({})",
    "json_object_agg({k}, {})",
    "jsonb_object_agg({}, {k})",
    "count({})",
    "count(distinct {})",
    "xmlagg(xmlelement(name a, {}))",
    "mode() within group (order by {})",
    "percentile_disc(0.5) within group (order by {})",
    "string_agg(distinct {}, '|')",
    "max({}) filter (where {k} > 1)",
    "string_agg(convert_to({}, 'UTF8'), '\\x2c')",
    "sum(ascii({}))",
    "bit_or(ascii({}))",
    "bool_or({} > 'm')",
    "avg(length({}))",
    "(array_agg({}))[1]",
    "upper(max({}))",
    "array_to_string(array_agg({}), '-')",
    "range_agg(int4range(0, ascii({})))",
    "every({} <> '')",
    "rank('m') within group (order by {})",
    "json_agg(json_build_object('v', {}))->0->>'v'",
];

const WINDOWS: &[&str] = &[
    "lag({}) over (order by {k})",
    "lead({}, 1, 'none') over (order by {k})",
    "first_value({}) over (order by {k})",
    "last_value({}) over ()",
    "nth_value({}, 2) over (order by {k} rows between unbounded preceding and unbounded following)",
    "max({}) over ()",
    "string_agg({}, ',') over (order by {k})",
    "array_agg({}) over (partition by {k} % 2)",
    "rank() over (order by {})",
    "ntile(2) over (order by {})",
    "row_number() over (partition by {})",
    "count(*) over (partition by left({}, 1))",
    "max({}) over (order by {k} rows between 1 preceding and current row)",
    "json_agg({}) over ()",
];

const PLAIN: &[&str] = &["{}::text", "{}::varchar", "concat({})", "format('%s', {})"];

const NUMBER: &[&str] = &[
    "{}::text",
    "to_char({}, 'FM999999999999999999')",
    "to_hex({})",
    "({} + 1)::text",
    "(-{})::text",
    "{}::numeric::text",
    "{}::float8::text",
    "({} / 10)::text",
    "{}::bit(64)::text",
    "encode(int8send({}), 'hex')",
    "chr(({} % 90 + 33)::int)",
    "to_json({})::text",
    "({} # 0)::text",
    "({} - 1)::varchar",
    "to_char({}, '999,999,999,999,999,999')",
    "(({} / 1000000000)::text || ' ' || ({} % 1000000000)::text)",
    "{}::money::text",
    "concat({})",
    "to_char({}, '9.99EEEE')",
    "int8range({}, null)::text",
    "(interval '1 microsecond' * {})::text",
    "sqrt({})::text",
    "abs({})::text",
    "div({}, 7)::text",
    "gcd({}, 0)::text",
    "mod({}, 1000000007)::text",
    "greatest({}, 0)::text",
    "nullif({}, 0)::text",
    "{}::text::int8::text",
];

const NUMERIC: &[&str] = &[
    "{}::text",
    "round({})::text",
    "trunc({}, 1)::text",
    "{}::int8::text",
    "({} + 0.5)::text",
    "to_char({}, 'FM999999999999999999.99')",
    "{}::money::text",
    "scale({})::text || {}::text",
    "({} * 1)::text",
    "floor({})::text",
    "to_jsonb({})::text",
    "encode(numeric_send({}), 'hex')",
    "(-{})::text",
    "ceil({} / 10)::text",
    "numrange({}, null)::text",
    "log({})::text",
    "{}::float8::text",
];

const DATE: &[&str] = &[
    "{}::text",
    "({} + 1)::text",
    "to_char({}, 'YYYY-MM-DD')",
    "extract(year from {})::text",
    "({} - date '2000-01-01')::text",
    "{}::timestamp::text",
    "extract(epoch from {})::text",
    "extract(julian from {})::text",
    "date_part('year', {})::text",
    "age({}, date '2000-01-01')::text",
    "to_char({}, 'DDMMYYYY')",
    "encode(date_send({}), 'hex')",
    "daterange({}, null)::text",
    "({} + time '00:00')::text",
    "date_trunc('year', {})::text",
    "to_json({})::text",
    "isfinite({})::text || {}",
    "greatest({}, date '2000-01-01')::text",
    "concat({})",
    "to_char({}, 'FMMonth FMDD, YYYY')",
];

const UUID: &[&str] = &[
    "{}::text",
    "replace({}::text, '-', '')",
    "encode(uuid_send({}), 'hex')",
    "encode(uuid_send({}), 'base64')",
    "left({}::text, 13)",
    "concat({})",
    "upper({}::text)",
    "to_json({})::text",
    "array[{}]::text",
    "coalesce({}, null)::text",
    "uuid_hash({})::text || {}",
    "row({})::text",
];

const JSONB: &[&str] = &[
    "{}::text",
    "{}->>'k'",
    "{}#>>'{l,0}'",
    "{}['k']::text",
    "jsonb_pretty({})",
    "jsonb_path_query_first({}, '$.k')::text",
    "({} - 'n')::text",
    "({}->'n')::text",
    "jsonb_path_query_array({}, '$.l[*]')::text",
    "({}->>'n')::int8::text",
    "(select string_agg(value, '/') from jsonb_each_text({}))",
    "jsonb_set({}, '{z}', '1')::text",
    "({} || '{\"z\": 1}')::text",
    "(select max(x) from jsonb_array_elements_text({}->'l') x)",
    "jsonb_strip_nulls({})::text",
    "(jsonb_populate_record(null::contact, jsonb_build_object('mail', {}->>'k'))).mail",
    "jsonb_path_exists({}, '$.k ? (@ like_regex \"^g\")')::text",
    "(select x.k from jsonb_to_record({}) x(k text))",
    "to_tsvector('simple', {})::text",
    "jsonb_to_tsvector('simple', {}, '\"all\"')::text",
    "({} @> '{\"k\": \"g\"}')::text",
    "{}::json::text",
    "jsonb_insert({}, '{l,0}', '1')::text",
];

const JSON: &[&str] = &[
    "{}::text",
    "{}->>'k'",
    "{}#>>'{l,0}'",
    "{}::jsonb::text",
    "({}->'l'->>0)",
    "(select string_agg(value, '/') from json_each_text({}))",
    "json_extract_path_text({}, 'k')",
    "(select max(x) from json_array_elements_text({}->'l') x)",
    "(select x.k from json_to_record({}) x(k text))",
    "json_strip_nulls({})::text",
    "json_array_length({}->'l')::text || ({}->>'k')",
    "row({})::text",
    "json_to_tsvector('simple', {}, '\"string\"')::text",
];

const ARRAY: &[&str] = &[
    "{}::text",
    "{}[1]",
    "array_to_string({}, ',')",
    "({}[1:1])::text",
    "(select string_agg(x, '/') from unnest({}) x)",
    "array_to_json({})::text",
    "array_append({}, 'x')::text",
    "({} || 'y'::text)::text",
    "(select max(x) from unnest({}) x)",
    "array_remove({}, 'x')::text",
    "to_jsonb({})->>0",
    "array_cat({}, {})::text",
    "{}[array_upper({}, 1)]",
    "(select x from unnest({}) with ordinality u(x, n) where n = 2)",
    "array_replace({}, 'a', 'b')::text",
    "array_ndims({})::text || {}[1]",
    "json_build_array({})::text",
    "trim_array({}, 1)::text",
    "(select array_agg(x) from unnest({}) x)::text",
];

const CONTACT: &[&str] = &[
    "{}::text",
    "({}).mail",
    "({}).phone",
    "row_to_json({})::text",
    "to_jsonb({})->>'mail'",
    "upper(({}).mail)",
    "(select (c).mail from (select {} as c) s)",
    "array[{}]::text",
    "coalesce({}, null)::text",
    "(row(({}).*)).f1::text",
    "concat({})",
    "encode(record_send({}), 'hex')",
    "(array[{}])[1].phone",
];

const RANGE: &[&str] = &[
    "{}::text",
    "lower({})::text",
    "upper({})::text",
    "({} + int8range(lower({}), upper({})))::text",
    "isempty({})::text || {}",
    "to_json({})::text",
    "int8multirange({})::text",
    "range_merge({}, {})::text",
    "(upper({}) - lower({}))::text",
];

const BYTES: &[&str] = &[
    "{}::text",
    "convert_from({}, 'UTF8')",
    "encode({}, 'hex')",
    "encode({}, 'base64')",
    "encode({}, 'escape')",
    "md5({})",
    "substr({}, 1, 12)::text",
    "get_byte({}, 0)::text",
    "({} || '\\x00')::text",
    "encode(sha256({}), 'hex')",
    "(overlay({} placing '\\x41' from 1 for 1))::text",
    "length({})::text",
];

/// Of a column that is not text, a text.
const fn as_text(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Text | Kind::Key | Kind::State => PLAIN,
        Kind::Number => NUMBER,
        Kind::Numeric => NUMERIC,
        Kind::Date => DATE,
        Kind::Uuid => UUID,
        Kind::Jsonb => JSONB,
        Kind::Json => JSON,
        Kind::Array => ARRAY,
        Kind::Contact => CONTACT,
        Kind::Range => RANGE,
        Kind::Bytes => BYTES,
    }
}

impl Grammar {
    /// A text, of something classified if there is anything.
    pub(super) fn text(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.bare();
        }
        let calm = !self.filter && self.random.chance(80);
        let template = self.random.pick(if calm { CALM } else { TEXT_OF_TEXT });
        self.around(template, depth)
    }

    /// Anything one can make of what is in reach.
    pub(super) fn anything(&mut self, depth: usize) -> String {
        match self.random.below(10) {
            0..5 => self.text(depth),
            5..8 => {
                let template = self.random.pick(ANYTHING_OF_TEXT);
                self.around(template, depth)
            }
            8 => self.harmless(),
            _ => {
                let function = self.random.pick(&[
                    "f_mail({k})",
                    "f_said({k})",
                    "(select v from f_pairs({k}) limit 1)",
                    "(f_atomic({k})).v",
                    "(f_people()).mail",
                ]);
                let key = self.key_reference();
                function.replace("{k}", &key)
            }
        }
    }

    pub(super) fn aggregate(&mut self, depth: usize) -> String {
        let template = self.random.pick(AGGREGATES);
        self.around(template, depth)
    }

    pub(super) fn window(&mut self, depth: usize) -> String {
        let template = self.random.pick(WINDOWS);
        self.around(template, depth)
    }

    fn around(&mut self, template: &str, depth: usize) -> String {
        let inner = if self.random.chance(45) { self.text(depth - depth.min(1)) } else { self.bare() };
        let other = self.bare();
        let (key, number) = (self.key_reference(), (1 + self.random.below(9)).to_string());
        // '{}' in quotes is an empty object.
        let marked = template.replace("'{}'", "'{ }'");
        marked.replace("{}", &inner).replace("{o}", &other).replace("{i}", &number).replace("{k}", &key)
    }

    /// A column as text, with no more done to it than that takes.
    fn bare(&mut self) -> String {
        let secret = self.random.chance(88).then_some(true);
        let Some(reference) = self.reference(secret) else { return self.scalar(0) };
        if !self.filter && self.random.chance(60) {
            return format!("{}::text", reference.sql);
        }
        if reference.kind == Kind::Text {
            return reference.sql;
        }
        self.random.pick(as_text(reference.kind)).replace("'{}'", "'{ }'").replace("{}", &reference.sql)
    }

    /// Something that shows nothing.
    pub(super) fn harmless(&mut self) -> String {
        match self.reference(Some(false)) {
            Some(reference) if self.random.chance(80) => reference.sql,
            _ => self.random.pick(&["1", "'x'", "now()", "current_user", "null::text", "pg_typeof(1)", "random() < 2"]).to_owned(),
        }
    }

    /// A condition on what is not classified, or on what is where that is permitted.
    pub(super) fn condition(&mut self, depth: usize) -> String {
        if self.random.chance(if self.filter { 35 } else { 3 }) {
            let text = self.text(depth.min(1));
            let template =
                self.random.pick(&["{} like '%1%'", "{} > 'a'", "length({}) > 3", "{} is not null", "{} <> 'x'", "{} ~ '[0-9]'", "{} in ('a', {})"]);
            return template.replace("{}", &text);
        }
        let key = self.key_reference();
        format!("{key} {}", self.random.pick(&["<= 4", "> 0", "in (1, 2, 3)", "= 1", "between 1 and 3", "<= 4", "is not null"]))
    }

    /// A column that tells rows apart, or a number where there is none.
    pub(super) fn key_reference(&mut self) -> String {
        let keys: Vec<Reference> =
            self.scopes.iter().rev().flatten().filter(|reference| reference.kind == Kind::Key && !reference.secret).cloned().collect();
        keys.get(self.random.below(keys.len().max(1))).map_or_else(|| "1".to_owned(), |reference| reference.sql.clone())
    }

    /// A column in reach, of this query or, more seldom, of one around it.
    pub(super) fn reference(&mut self, secret: Option<bool>) -> Option<Reference> {
        let inner = self.scopes.len().checked_sub(1)?;
        let at = if self.random.chance(85) { inner } else { self.random.below(inner + 1) };
        let wanted = |reference: &&Reference| secret.is_none_or(|secret| reference.secret == secret);
        let own: Vec<&Reference> = self.scopes.get(at).into_iter().flatten().filter(wanted).collect();
        own.get(self.random.below(own.len().max(1))).map(|reference| (*reference).clone())
    }

    /// An expression of the columns of people, named without their table.
    pub(super) fn of_people(&mut self) -> String {
        let columns = super::SOURCES.first().map(|source| source.columns).unwrap_or_default();
        let scope = columns.iter().map(|column| Reference { sql: column.name.to_owned(), kind: column.kind, secret: column.secret }).collect();
        let outer = std::mem::replace(&mut self.scopes, vec![scope]);
        let text = self.text(1);
        self.scopes = outer;
        text
    }
}
