-- A database that has one of nearly everything pg_dump and psql's \d family know.
CREATE EXTENSION hstore;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION postgres_fdw;
CREATE ROLE rich_owner;
CREATE ROLE rich_reader;
CREATE SCHEMA "Odd Schema" AUTHORIZATION rich_owner;
COMMENT ON SCHEMA "Odd Schema" IS 'a schema''s comment, with ''quotes'' and é';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a integer, b text COLLATE "C");
CREATE DOMAIN positive AS integer DEFAULT 1 CHECK (VALUE > 0);
CREATE TYPE spans AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE COLLATION plain (provider = libc, locale = 'C');
CREATE SEQUENCE numbers START 5 INCREMENT 3 MAXVALUE 1000 CYCLE;
CREATE FUNCTION twice(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION body(a integer, b integer DEFAULT 2) RETURNS integer LANGUAGE sql RETURN a + b;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $fn$ BEGIN NEW.note := coalesce(NEW.note, 'stamped'); RETURN NEW; END $fn$;
CREATE PROCEDURE clear_log() LANGUAGE plpgsql AS $$ BEGIN DELETE FROM log; COMMIT; END $$;
CREATE AGGREGATE total (integer) (sfunc = int4pl, stype = integer, initcond = '0');
CREATE OPERATOR <+> (leftarg = integer, rightarg = integer, function = int4pl, commutator = <+>);
CREATE CAST (pair AS text) WITH INOUT AS ASSIGNMENT;
CREATE TABLE people (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL COLLATE plain,
    mood mood DEFAULT 'ok',
    born date,
    wage numeric(10, 2) CHECK (wage >= 0),
    twice integer GENERATED ALWAYS AS (2) STORED,
    tags hstore,
    doc jsonb,
    raw bytea,
    points point[],
    span int4range,
    note text,
    seen timestamptz,
    at pair,
    amount positive,
    "Odd Column" uuid
);
CREATE TABLE log (at timestamp NOT NULL, person integer REFERENCES people ON DELETE CASCADE, line text) PARTITION BY RANGE (at);
CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE log_rest PARTITION OF log DEFAULT;
CREATE TABLE parent (a integer, b text);
CREATE TABLE child (c integer) INHERITS (parent);
CREATE TABLE "Odd Schema"."Odd ""Table" ("select" integer, "from" text, EXCLUDE USING gist (box(point("select", 0), point("select", 1)) WITH &&));
CREATE UNLOGGED TABLE scratch (a integer) WITH (fillfactor = 70);
CREATE INDEX people_name_trgm ON people USING gin (name gin_trgm_ops);
CREATE UNIQUE INDEX people_lower ON people (lower(name)) INCLUDE (born) WHERE name IS NOT NULL;
CREATE INDEX log_person ON log (person, at DESC NULLS LAST);
CREATE STATISTICS people_stats (dependencies, ndistinct) ON name, born FROM people;
ALTER TABLE people ALTER COLUMN doc SET STORAGE external, ALTER COLUMN name SET STATISTICS 500;
CREATE VIEW adults WITH (security_barrier) AS SELECT id, name, mood FROM people WHERE born < '2008-01-01' WITH LOCAL CHECK OPTION;
CREATE MATERIALIZED VIEW moods AS SELECT mood, count(*) AS people FROM people GROUP BY mood WITH NO DATA;
CREATE RULE no_delete AS ON DELETE TO parent DO INSTEAD NOTHING;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE OF note ON people FOR EACH ROW WHEN (NEW.name <> '') EXECUTE FUNCTION stamp();
CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION noted();
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON people FOR SELECT TO rich_reader USING (name = current_user);
CREATE FOREIGN DATA WRAPPER none;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid', dbname 'x');
CREATE USER MAPPING FOR rich_owner SERVER elsewhere OPTIONS (user 'u', password 'p');
CREATE FOREIGN TABLE far (a integer OPTIONS (column_name 'b')) SERVER elsewhere OPTIONS (table_name 't');
CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple, stopwords = english);
CREATE TEXT SEARCH CONFIGURATION ours (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION ours ALTER MAPPING FOR asciiword WITH words;
CREATE PUBLICATION news FOR TABLE people (id, name) WHERE (id > 10), TABLES IN SCHEMA "Odd Schema";
GRANT SELECT (id, name), UPDATE (note) ON people TO rich_reader;
GRANT USAGE ON SCHEMA "Odd Schema" TO rich_reader WITH GRANT OPTION;
REVOKE EXECUTE ON FUNCTION twice(integer) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO rich_reader;
ALTER ROLE rich_reader SET work_mem = '8MB';
COMMENT ON COLUMN people.name IS E'two\nlines';
INSERT INTO people (name, mood, born, wage, tags, doc, raw, points, span, seen, at, amount, "Odd Column")
    SELECT 'person ' || n || CASE n % 7 WHEN 0 THEN E'\ttab\\ü' ELSE '' END, (enum_range(NULL::mood))[1 + n % 3], '1990-01-01'::date + n,
           nullif(n, 13) / 7.0, hstore('n', n::text), jsonb_build_object('n', n, 'list', array[n, n + 1]), decode(md5(n::text), 'hex'),
           array[point(n, -n)], int4range(n, n + 10), '2025-01-01 00:00:00+00'::timestamptz + n * interval '1 hour', (n, 'b' || n)::pair, n,
           md5(n::text)::uuid
    FROM generate_series(1, 2000) AS n;
INSERT INTO log SELECT '2025-06-01'::timestamp + n * interval '1 day', 1 + n % 2000, repeat('line ' || n || ' ', 20) FROM generate_series(1, 3000) AS n;
INSERT INTO child SELECT n, 'row ' || n, n * 2 FROM generate_series(1, 50) AS n;
INSERT INTO "Odd Schema"."Odd ""Table" VALUES (1, NULL), (5, ''), (9, E'\\N');
REFRESH MATERIALIZED VIEW moods;
SELECT setval('numbers', 50);
SELECT lo_from_bytea(424242, decode(repeat('00ff10', 5000), 'hex'));
COMMENT ON LARGE OBJECT 424242 IS 'a large object';
ANALYZE;
