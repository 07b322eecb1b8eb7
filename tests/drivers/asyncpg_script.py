"""asyncpg: its own protocol code, binary throughout, with its introspection of types and its session reset."""

import asyncio
import os
import ssl

import asyncpg

from canonical import main, say, table

PARAMETERS = ["server_version", "client_encoding", "DateStyle", "TimeZone", "is_superuser", "session_authorization", "application_name"]


def tls():
    if os.environ["PGSSLMODE"] == "disable":
        return False
    return ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])


def failure(error):
    return {key: value for key, value in error.as_dict().items()} | {"class": type(error).__name__}


async def connect():
    return await asyncpg.connect(
        host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]), user=os.environ["PGUSER"], password=os.environ["PGPASSWORD"],
        database=os.environ["PGDATABASE"], ssl=tls(), server_settings={"application_name": "driver test", "search_path": "public"},
    )


async def play():
    conn = await connect()
    notices = []
    conn.add_log_listener(lambda _, message: notices.append([message.severity, message.sqlstate, message.message]))
    settings = conn.get_settings()
    say("parameters", values={name: getattr(settings, name) for name in PARAMETERS}, version=str(conn.get_server_version()))
    say("own process", same=await conn.fetchval("select pg_backend_pid()") == conn.get_server_pid())
    t = table("t")
    await conn.execute(f"create table {t} (id int primary key, name text not null, amount numeric, tags text[], body jsonb, at timestamptz)")
    await conn.execute(f"create type {t}_mood as enum ('calm', 'cross')")
    await conn.execute(f"create type {t}_pair as (a int, b text)")
    await types(conn, t)
    await rows(conn, t)
    await failures(conn, t)
    await copies(conn, t)
    await notifications(conn)
    await cancels(conn)
    await conn.execute("do $$ begin raise notice 'heard'; end $$")
    say("notices", seen=notices)
    await conn.execute(f"drop table {t}; drop type {t}_mood; drop type {t}_pair")
    await conn.reset()
    say("after reset", row=await conn.fetchrow("select 1 as one"))
    await pool(t)
    await conn.close()


async def types(conn, t):
    row = await conn.fetchrow(
        "select 1::int2, 2::int4, 3::int8, 1.5::float4, 2.25::float8, 12345.6789::numeric, true, null::bool, 'text'::text, '\\xdeadbeef'::bytea,"
        " '2024-02-29'::date, '12:34:56.789'::time, '2024-02-29 12:34:56+00'::timestamptz, '1 day 2 hours'::interval, '{\"a\": 1}'::jsonb,"
        " '{1,2,null}'::int4[], '127.0.0.1/8'::inet, 'b5a1a2f0-0000-4000-8000-000000000001'::uuid, '[1,5)'::int4range, 'naïve ☃'::text, '10.5'::money"
    )
    say("types", row=list(row.items()))
    say("enum", value=await conn.fetchval(f"select 'cross'::{t}_mood"), back=await conn.fetchval(f"select $1::{t}_mood", "calm"))
    say("composite", value=await conn.fetchval(f"select row(1, 'x')::{t}_pair"), many=await conn.fetchval(f"select array[row(1, 'x'), row(2, null)]::{t}_pair[]"))
    statement = await conn.prepare("select $1::int + 1 as next, $2::text[] as words, $3::numeric")
    say("prepared", parameters=[[p.oid, p.name] for p in statement.get_parameters()], attributes=[[a.name, a.type.oid, a.type.name] for a in statement.get_attributes()],
        row=list((await statement.fetchrow(41, ["a", None], None)).items()), status=statement.get_statusmsg())


async def rows(conn, t):
    await conn.executemany(f"insert into {t} (id, name, amount, tags, body) values ($1, $2, $3, $4, $5)", [(n, f"name {n}", n, [str(n)], "[]") for n in range(50)])
    say("fetch", rows=[list(row.items()) for row in await conn.fetch(f"select * from {t} order by id limit 5")])
    say("execute", status=await conn.execute(f"update {t} set name = name || '!' where id < 10"), several=await conn.execute("select 1; select 2"))
    seen = []
    async with conn.transaction():
        async for row in conn.cursor(f"select id from {t} order by id", prefetch=7):
            seen.append(row["id"])
        cursor = await conn.cursor(f"select id, name from {t} order by id")
        await cursor.forward(10)
        seen.append([list(row) for row in await cursor.fetch(3)])
    say("cursors", seen=seen)
    try:
        async with conn.transaction():
            await conn.execute(f"delete from {t} where id < 10")
            async with conn.transaction():
                await conn.execute(f"delete from {t} where id < 20")
            raise KeyError
    except KeyError:
        say("rolled back", count=await conn.fetchval(f"select count(*) from {t}"))
    async with conn.transaction(isolation="serializable", readonly=True, deferrable=True):
        say("isolation", value=await conn.fetchval("show transaction_isolation"), readonly=await conn.fetchval("show transaction_read_only"))
    first = [await conn.fetchval("select $1::int", n) for n in range(150)]
    say("many statements", total=sum(first))


async def failures(conn, t):
    for statement in ("select 1/0", "selekt", "select * from no_such_table", f"insert into {t} (id, name) values (1, 'x')", f"insert into {t} (id) values (1000)", "select 'x'::int"):
        try:
            await conn.fetch(statement)
            say("failure", statement=statement, error=None)
        except asyncpg.PostgresError as error:
            say("failure", statement=statement, error=failure(error))
    try:
        await conn.executemany(f"insert into {t} (id, name) values ($1, 'x')", [(5000,), (5001,), (1,), (5002,)])
    except asyncpg.PostgresError as error:
        say("executemany fails whole", error=failure(error), count=await conn.fetchval(f"select count(*) from {t} where id >= 5000"))
    say("in transaction", value=conn.is_in_transaction())


async def copies(conn, t):
    say("records in", status=await conn.copy_records_to_table(t, columns=["id", "name"], records=[(n, f"copied {n}") for n in range(2000, 2500)]))

    async def chunks():
        for n in range(3000, 3100):
            yield f"{n},\"csv {n}\"\n".encode()

    say("csv in", status=await conn.copy_to_table(t, source=chunks(), columns=["id", "name"], format="csv"))
    out = bytearray()

    async def keep(data):
        out.extend(data)

    status = await conn.copy_from_query(f"select id, name from {t} where id > $1 order by id", 2400, output=keep, format="binary")
    say("query out", status=status, data=bytes(out))
    try:
        await conn.copy_records_to_table(t, columns=["id", "name"], records=[(1, "again")])
    except asyncpg.PostgresError as error:
        say("copy fails", error=failure(error))


async def notifications(conn):
    channel = table("channel")
    heard = asyncio.Queue()

    def hear(connection, pid, name, payload):
        heard.put_nowait([pid == connection.get_server_pid(), name, payload])

    await conn.add_listener(channel, hear)
    await conn.execute(f"notify {channel}, 'payload'")
    say("notification", seen=await asyncio.wait_for(heard.get(), 30))
    await conn.remove_listener(channel, hear)


async def cancels(conn):
    try:
        await conn.fetch("select pg_sleep(60)", timeout=0.5)
    except asyncio.TimeoutError:
        say("timed out", row=list(await conn.fetchrow("select 1 as still")))


async def pool(t):
    async with asyncpg.create_pool(
        host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]), user=os.environ["PGUSER"], password=os.environ["PGPASSWORD"],
        database=os.environ["PGDATABASE"], ssl=tls(), min_size=2, max_size=4,
    ) as connections:
        say("pool", values=await asyncio.gather(*(connections.fetchval("select $1::int * 2", n) for n in range(40))))


main(lambda: asyncio.run(play()))
