"""The service's database: plain SQL, and no unique constraint where the real one has none."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass

import asyncpg

from delays import Effect
from history import Change, History
from replica import Replicas

SCHEMA = """
CREATE TABLE IF NOT EXISTS agents (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    description text NOT NULL DEFAULT '',
    acp_url text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- (agent_id, name, api_key_type) is not unique: creates that race each other all succeed.
CREATE TABLE IF NOT EXISTS agent_api_keys (
    id text PRIMARY KEY,
    agent_id text NOT NULL REFERENCES agents (id),
    name varchar(256) NOT NULL,
    api_key_type text NOT NULL,
    secret_hash text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS agent_api_keys_agent ON agent_api_keys (agent_id, name);
CREATE TABLE IF NOT EXISTS replays (
    key text PRIMARY KEY,
    answer text
);
CREATE TABLE IF NOT EXISTS tasks (
    id text PRIMARY KEY,
    agent_id text NOT NULL REFERENCES agents (id),
    name text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

KEY = "id, agent_id, name, api_key_type, created_at"


async def open_pool(host: str, database: str, size: int = 40) -> asyncpg.Pool:
    """Makes the database and its tables where they are missing, and connects."""
    admin = await asyncpg.connect(host=host, user="postgres", database="postgres")
    try:
        if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await admin.execute(f'CREATE DATABASE "{database}"')
    finally:
        await admin.close()
    pool = await asyncpg.create_pool(
        host=host, user="postgres", database=database, min_size=1, max_size=size
    )
    await pool.execute(SCHEMA)
    return pool


@dataclass
class Session:
    """One transaction, ended by whoever is first: the handler on demand, or its dependency."""

    connection: asyncpg.Connection
    transaction: asyncpg.transaction.Transaction
    effect: Effect
    history: History
    change: Change
    # Replicas that apply it later.
    replicas: Replicas | None = None
    ended: bool = False

    def makes(self, row):
        self.change.made.append(row)
        self.history.agent_of[row["id"]] = row["agent_id"]

    async def removes(self, id):
        """Deletes a row, if there is one."""
        if row := await delete_key(self.connection, id):
            self.change.removed.append(row)
        else:
            # However long it waited for another request that deleted the row, it changes nothing.
            self.effect.ended()

    async def commit(self):
        if not self.ended:
            self.ended = True
            if self.replicas:
                self.replicas.committing(self.change)
            await self.transaction.commit()
            if self.replicas:
                self.replicas.committed(self.change)
            self.history.committed(self.change)
            self.effect.committed()

    async def rollback(self):
        if not self.ended:
            self.ended = True
            await self.transaction.rollback()


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


async def agent_by(connection, *, id=None, name=None):
    """One agent, or None."""
    column, value = ("id", id) if id is not None else ("name", name)
    return await connection.fetchrow(f"SELECT * FROM agents WHERE {column} = $1", value)


async def insert_agent(connection, name, id=None, description="", acp_url=None):
    return await connection.fetchrow(
        "INSERT INTO agents (id, name, description, acp_url) VALUES ($1, $2, $3, $4) RETURNING *",
        id or str(uuid.uuid4()), name, description, acp_url,
    )


async def name_taken(connection, agent_id, name, kind) -> bool:
    """The real service's only guard: a look before the insert, blind to what isn't committed."""
    return bool(await connection.fetchval(
        "SELECT 1 FROM agent_api_keys WHERE agent_id = $1 AND name = $2 AND api_key_type = $3"
        " LIMIT 1", agent_id, name, kind,
    ))


async def insert_key(connection, agent_id, name, kind, secret=None, skew=0.0, id=None):
    """Inserts a key; gives the row and its secret, which is stored nowhere."""
    secret = secret or secrets.token_urlsafe(24)
    row = await connection.fetchrow(
        f"INSERT INTO agent_api_keys ({KEY}, secret_hash) VALUES"
        f" ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5), $6) RETURNING {KEY}",
        id or str(uuid.uuid4()), agent_id, name, kind, skew, digest(secret),
    )
    return row, secret


async def keys(connection, agent_id):
    return await connection.fetch(
        f"SELECT {KEY} FROM agent_api_keys WHERE agent_id = $1 ORDER BY created_at, id", agent_id
    )


async def key_by_id(connection, id):
    # PostgreSQL refuses NUL in text; a router lets it through only where it is no id anyway.
    return await connection.fetchrow(f"SELECT {KEY} FROM agent_api_keys WHERE id = $1", id)


async def any_key_by_name(connection, agent_id, name, kind):
    """An arbitrary one of the rows of that name."""
    return await connection.fetchrow(
        f"SELECT {KEY} FROM agent_api_keys WHERE agent_id = $1 AND name = $2 AND api_key_type = $3"
        " ORDER BY random() LIMIT 1", agent_id, name, kind,
    )


async def delete_key(connection, id):
    """Deletes a row, if there is one; gives what it was."""
    return await connection.fetchrow(
        f"DELETE FROM agent_api_keys WHERE id = $1 RETURNING {KEY}, secret_hash", id
    )


async def first_answer(connection, key) -> str | None:
    """The first answer to an idempotency key; nothing where this request is the first.

    Then the key is this transaction's, and others that bring it wait for its end.
    """
    mine = "INSERT INTO replays (key) VALUES ($1) ON CONFLICT DO NOTHING RETURNING key"
    if await connection.fetchval(mine, key):
        return None
    return await connection.fetchval("SELECT answer FROM replays WHERE key = $1", key)


async def remember_answer(connection, key, answer: str):
    await connection.execute("UPDATE replays SET answer = $2 WHERE key = $1", key, answer)


async def secret_known(connection, secret) -> bool:
    return bool(await connection.fetchval(
        "SELECT 1 FROM agent_api_keys WHERE secret_hash = $1 LIMIT 1", digest(secret)
    ))
