"""A libpq that begins with the TLS handshake, as PGSSLNEGOTIATION=direct has it do; older than 17 it would not, and ignore the variable."""

import psycopg
from psycopg import pq

assert pq.version() >= 170000, f"libpq {pq.version()}"
with psycopg.connect() as connection:
    print("in TLS" if connection.pgconn.ssl_in_use else "in clear", connection.execute("select 'let in'").fetchone()[0])
