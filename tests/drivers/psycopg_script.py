"""psycopg 3: everything it can ask a server for. Rows are compared as the bytes that came over the wire."""

import threading

import psycopg
from psycopg import pq, sql
from psycopg.rows import tuple_row

from canonical import main, say, table

PARAMETERS = [
    "server_version", "server_encoding", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes",
    "standard_conforming_strings", "is_superuser", "session_authorization", "default_transaction_read_only", "in_hot_standby",
]

DIAGNOSTICS = [
    "SEVERITY", "SEVERITY_NONLOCALIZED", "SQLSTATE", "MESSAGE_PRIMARY", "MESSAGE_DETAIL", "MESSAGE_HINT", "STATEMENT_POSITION",
    "INTERNAL_POSITION", "INTERNAL_QUERY", "CONTEXT", "SCHEMA_NAME", "TABLE_NAME", "COLUMN_NAME", "DATATYPE_NAME", "CONSTRAINT_NAME",
    "SOURCE_FILE", "SOURCE_LINE", "SOURCE_FUNCTION",
]

TYPES = """select 1::int2 as "Small", 2::int4, 3::int8, 1.5::float4, 2.25::float8, 12345.6789::numeric, true, null::bool, 'text'::text,
    'varchar'::varchar(20), 'c'::char(5), '\\xdeadbeef'::bytea, '2024-02-29'::date, '12:34:56.789'::time, '2024-02-29 12:34:56+00'::timestamptz,
    '1 day 2 hours'::interval, '{"a": [1, 2]}'::jsonb, '{1,2,null}'::int4[], '127.0.0.1/8'::inet, 'b5a1a2f0-0000-4000-8000-000000000001'::uuid,
    '[1,5)'::int4range, 'naïve ☃ 漢字'::text, ''::text"""

FAILURES = [
    "select 1/0",
    "selekt 1",
    "select * from there_is_no_such_table",
    "select no_such_column from pg_class",
    "select no_such_function(1)",
    "select 'x'::int",
    "select $$unterminated",
    "insert into {t} (id, name) values (1, 'again')",
    "insert into {t} (id, name) values (99, null)",
    "insert into {t} (id, name, amount) values (98, 'x', -1)",
    "select 1; select 1/0; select 2",
]


def field(result, column):
    return [
        result.fname(column), result.ftable(column), result.ftablecol(column), result.fformat(column), result.ftype(column),
        result.fmod(column), result.fsize(column),
    ]


def raw(result):
    return {
        "status": pq.ExecStatus(result.status).name,
        "command": result.command_status,
        "tuples": result.command_tuples,
        "fields": [field(result, column) for column in range(result.nfields)],
        "rows": [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)],
        "error": diagnostics(result) if result.status == pq.ExecStatus.FATAL_ERROR else None,
    }


def diagnostics(result):
    return {name: result.error_field(getattr(pq.DiagnosticField, name)) for name in DIAGNOSTICS}


def failure(error):
    return None if error.pgresult is None else diagnostics(error.pgresult)


def run():
    conn = psycopg.connect("", autocommit=True, application_name="driver test")
    notices = []
    conn.add_notice_handler(lambda notice: notices.append([notice.severity, notice.sqlstate, notice.message_primary, notice.message_hint]))
    say("parameters", values={name: conn.info.parameter_status(name) for name in PARAMETERS})
    say("application name", value=conn.info.parameter_status("application_name"), shown=conn.execute("show application_name").fetchone())
    say("own process", same=conn.execute("select pg_backend_pid()").fetchone()[0] == conn.info.backend_pid)
    say("who", row=conn.execute("select current_user, session_user, current_database()").fetchone())

    results(conn)
    tables(conn)
    failures(conn)
    transactions(conn)
    prepared(conn)
    pipelines(conn)
    copies(conn)
    say("notices", seen=notices)
    notifications(conn)
    settings(conn)
    cancels(conn)
    conn.execute(sql.SQL("drop table {}").format(sql.Identifier(table("t"))))
    conn.close()


def results(conn):
    say("types by simple query", result=raw(conn.pgconn.exec_(TYPES.encode())))
    for binary in (False, True):
        say("types by extended query", binary=binary, result=raw(conn.pgconn.exec_params(TYPES.encode(), None, result_format=int(binary))))
    say("values", row=conn.execute(TYPES).fetchone())
    say("empty query", result=raw(conn.pgconn.exec_(b"")), extended=raw(conn.pgconn.exec_params(b"", None)))
    say("comment only", result=raw(conn.pgconn.exec_(b"-- nothing")))
    say("no columns", result=raw(conn.pgconn.exec_(b"select")))
    say("no rows", result=raw(conn.pgconn.exec_(b"select 1 where false")))
    cursor = conn.execute("select 1 as a; select 2 as b, 3 as c; values (4), (5)")
    seen = []
    while True:
        seen.append([[column.name for column in cursor.description], cursor.fetchall(), cursor.statusmessage])
        if not cursor.nextset():
            break
    say("several results", seen=seen)
    big = conn.execute("select repeat('x', 3000000) || n from generate_series(1, 2) n").fetchall()
    say("big values", lengths=[len(row[0]) for row in big], ends=[row[0][-3:] for row in big])
    many = conn.execute("select n, n::text, md5(n::text) from generate_series(1, 20000) n").fetchall()
    say("many rows", count=len(many), last=many[-1], total=sum(row[0] for row in many))


def tables(conn):
    t = table("t")
    say("create", status=conn.execute(f"create table {t} (id int primary key, name text not null, amount numeric check (amount >= 0), at timestamptz)").statusmessage)
    cursor = conn.cursor()
    cursor.executemany(f"insert into {t} values (%s, %s, %s, %s) returning id", [(n, f"name {n}", n * 1.5, "2024-01-01 00:00:00Z") for n in range(10)], returning=True)
    seen = []
    while True:
        seen.append(cursor.fetchall())
        if not cursor.nextset():
            break
    say("insert returning", seen=seen)
    say("update", status=conn.execute(f"update {t} set amount = amount + 1 where id > %s", (4,)).statusmessage)
    say("delete", status=conn.execute(f"delete from {t} where id = 9").statusmessage)
    say("parameters of many types", row=conn.execute("select %s::int, %s::text, %s::numeric, %s::bytea, %s::int[], %s::jsonb", (1, "O'Hara", None, b"\x00\xff", [1, 2], '{"k": null}')).fetchone())
    say("binary cursor", rows=conn.cursor(binary=True).execute(f"select * from {t} order by id").fetchall())
    say("described by name", result=raw(conn.pgconn.exec_(f"select id, name, amount, at, name || '!' as loud from {t} order by id limit 2".encode())))


def failures(conn):
    for statement in FAILURES:
        statement = statement.format(t=table("t"))
        say("failure by simple query", statement=statement, result=raw(conn.pgconn.exec_(statement.encode())))
        say("failure by extended query", statement=statement, result=raw(conn.pgconn.exec_params(statement.encode(), None)))
    conn.execute("do $$ begin raise notice 'a notice' using hint = 'a hint'; raise warning 'a warning'; end $$")
    try:
        conn.execute("do $$ begin raise exception 'own words' using errcode = 'P0042', detail = 'a detail', hint = 'a hint'; end $$")
    except psycopg.Error as error:
        say("raised", error=failure(error))
    say("works afterwards", row=conn.execute("select 1").fetchone())


def transactions(conn):
    t = table("t")
    status = lambda: pq.TransactionStatus(conn.info.transaction_status).name
    seen = [status()]
    conn.execute("begin")
    seen.append(status())
    conn.execute(f"insert into {t} (id, name) values (100, 'kept?')")
    try:
        conn.execute("select 1/0")
    except psycopg.Error as error:
        seen.append([status(), error.sqlstate])
    try:
        conn.execute("select 1")
    except psycopg.Error as error:
        seen.append([status(), failure(error)])
    seen.append(conn.execute("commit").statusmessage)
    seen.append([status(), conn.execute(f"select count(*) from {t} where id = 100").fetchone()])
    conn.execute("begin; savepoint s")
    try:
        conn.execute(f"insert into {t} (id, name) values (1, 'twice')")
    except psycopg.Error as error:
        seen.append([status(), error.sqlstate])
    conn.execute("rollback to s")
    conn.execute(f"insert into {t} (id, name) values (101, 'kept')")
    seen.append(conn.execute("commit").statusmessage)
    seen.append(conn.execute(f"select count(*) from {t} where id = 101").fetchone())
    with conn.transaction():
        cursor = conn.cursor("named", row_factory=tuple_row)
        cursor.execute(f"select id from {t} order by id")
        seen.append([cursor.fetchmany(3), cursor.fetchone(), cursor.fetchall()])
        cursor.close()
    say("transactions", seen=seen)


def prepared(conn):
    t = table("t")
    seen = [conn.execute(f"select name from {t} where id = %s", (n,), prepare=True).fetchone() for n in range(4)]
    result = conn.pgconn.prepare(b"own", f"select id, name from {t} where id > $1 and name <> $2".encode())
    described = conn.pgconn.describe_prepared(b"own")
    seen.append([raw(result)["status"], described.nparams, [described.param_type(n) for n in range(described.nparams)], [field(described, n) for n in range(described.nfields)]])
    seen.append(raw(conn.pgconn.exec_prepared(b"own", [b"3", b"x"])))
    seen.append(raw(conn.pgconn.prepare(b"own", b"select 1")))
    conn.execute("deallocate own")
    seen.append(raw(conn.pgconn.exec_prepared(b"own", [b"3", b"x"])))
    conn.execute("prepare by_sql (int) as select $1 + 1")
    seen.append([conn.execute("execute by_sql (41)").fetchone(), raw(conn.pgconn.exec_prepared(b"by_sql", [b"1"]))])
    conn.execute("deallocate all")
    say("prepared statements", seen=seen)


def pipelines(conn):
    t = table("t")
    with conn.pipeline():
        cursors = [conn.execute(f"select id, name from {t} where id = %s", (n,)) for n in range(6)]
        cursors.append(conn.execute("select 'after'"))
    say("pipeline", seen=[cursor.fetchall() for cursor in cursors])
    seen = []
    try:
        with conn.pipeline() as pipeline:
            first = conn.execute(f"insert into {t} (id, name) values (200, 'rolled back')")
            conn.execute("select 1/0")
            conn.execute(f"insert into {t} (id, name) values (201, 'never')")
            pipeline.sync()
            seen.append(first.statusmessage)
    except psycopg.Error as error:
        seen.append(failure(error))
    seen.append(conn.execute(f"select id from {t} where id >= 200").fetchall())
    with conn.pipeline() as pipeline:
        conn.execute(f"insert into {t} (id, name) values (202, 'kept')")
        pipeline.sync()
        failing = conn.execute(f"insert into {t} (id, name) values (202, 'twice')")
        try:
            pipeline.sync()
            failing.fetchall()
        except psycopg.Error as error:
            seen.append(failure(error))
        last = conn.execute(f"select id from {t} where id >= 200")
        pipeline.sync()
        seen.append(last.fetchall())
    say("pipeline with errors", seen=seen)
    with conn.transaction(), conn.pipeline():
        inside = [conn.execute("select %s::int", (n,)) for n in range(300)]
    say("long pipeline", total=sum(cursor.fetchone()[0] for cursor in inside))


def copies(conn):
    t = table("t")
    cursor = conn.cursor()
    with cursor.copy(f"copy {t} (id, name, amount) from stdin") as copy:
        for n in range(1000, 1500):
            copy.write_row((n, f"copied\t{n}\n", n / 4))
    say("copy in", status=cursor.statusmessage, count=cursor.rowcount)
    with cursor.copy(f"copy {t} (id, name) from stdin (format binary)") as copy:
        copy.set_types(["int4", "text"])
        for n in range(1500, 1600):
            copy.write_row((n, None if n < 0 else f"binary {n}"))
    say("copy in binary", status=cursor.statusmessage)
    for options in ("", "(format csv, header)", "(format binary)"):
        with cursor.copy(f"copy (select id, name, amount from {t} order by id) to stdout {options}") as copy:
            data = b"".join(bytes(block) for block in copy)
        say("copy out", options=options, data=data, status=cursor.statusmessage)
    with cursor.copy(f"copy {t} to stdout") as copy:
        say("copy table out", rows=sum(1 for _ in copy.rows()))
    try:
        with cursor.copy(f"copy {t} (id, name) from stdin") as copy:
            copy.write(b"not a number\tx\n")
    except psycopg.Error as error:
        say("copy fails", error=failure(error))
    try:
        with cursor.copy(f"copy {t} (id, name) from stdin") as copy:
            copy.write(b"7000\tx\n")
            raise KeyError("the client changes its mind")
    except (KeyError, psycopg.Error) as error:
        say("copy given up", error=type(error).__name__, rows=conn.execute(f"select count(*) from {t} where id = 7000").fetchone())


def notifications(conn):
    channel = table("channel")
    conn.execute(f"listen {channel}")
    conn.execute(f"notify {channel}, 'first'")
    conn.execute("select pg_notify(%s, 'second')", (channel,))
    seen = [[note.channel, note.payload, note.pid == conn.info.backend_pid] for note in conn.notifies(timeout=30, stop_after=2)]
    conn.execute("unlisten *")
    say("notifications", seen=seen)


def settings(conn):
    seen = []
    for setting, value in (("application_name", "renamed"), ("TimeZone", "Asia/Tokyo"), ("DateStyle", "SQL, DMY"), ("IntervalStyle", "iso_8601"), ("statement_timeout", "60s")):
        conn.execute(f"set {setting} to '{value}'")
        seen.append([setting, conn.info.parameter_status(setting), conn.execute(f"show {setting}").fetchone()])
    conn.execute("begin; set local timezone to 'Europe/Oslo'")
    seen.append(conn.info.parameter_status("TimeZone"))
    conn.execute("rollback")
    seen.append(conn.info.parameter_status("TimeZone"))
    conn.execute("reset all")
    seen.append({name: conn.info.parameter_status(name) for name in PARAMETERS})
    say("settings", seen=seen)


def cancels(conn):
    timer = threading.Timer(0.5, conn.cancel_safe)
    timer.start()
    try:
        conn.execute("select pg_sleep(60)")
        say("cancel", error=None)
    except psycopg.Error as error:
        say("cancel", error=failure(error))
    timer.join()
    say("works after cancel", row=conn.execute("select 1").fetchone())


main(run)
