"""The control listener: what tests do to the service behind the sidecar's back."""

import dataclasses
import time
from collections import deque
from datetime import timezone

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import store
from delays import Delays
from faults import Faults
from history import History
from quirks import Agents
from settings import Settings

# Requests that are remembered: more than a soak of a minute makes.
REMEMBERED = 200_000


class Log:
    """Which requests came and which handler ran; printed by nobody, asked for by tests."""

    def __init__(self):
        self.entries = deque(maxlen=REMEMBERED)

    def begin(self, scope) -> dict:
        entry = {
            "at": time.time(),
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "raw_path": (scope.get("raw_path") or b"").decode("latin-1"),
            "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]],
            "handler": None,
            "status": None,
            "done": False,
        }
        self.entries.append(entry)
        return entry

    def end(self, entry, exchange, status):
        entry["handler"] = exchange.handler
        entry["status"] = status
        entry["done"] = True


def build(
    pool, settings: Settings, faults: Faults, log: Log, delays: Delays, history: History,
    quirks: Agents,
) -> FastAPI:
    """The control application."""
    app = FastAPI()

    @app.exception_handler(ValueError)
    @app.exception_handler(TypeError)
    async def misspelt(_: Request, error: Exception):
        return JSONResponse({"detail": str(error)}, 400)

    @app.get("/rows")
    async def rows():
        found = await pool.fetch(f"SELECT {store.KEY} FROM agent_api_keys ORDER BY created_at, id")
        return [
            dict(row) | {"created_at": row["created_at"].astimezone(timezone.utc).isoformat()}
            for row in found
        ]

    @app.post("/made")
    async def made(spec: dict):
        secrets = {store.digest(secret): secret for secret in spec["secrets"]}
        found = await pool.fetch(
            "SELECT id, name, secret_hash FROM agent_api_keys WHERE agent_id = $1",
            spec["agent_id"],
        )
        return [
            {
                "id": row["id"], "name": row["name"], "secret": secrets.get(row["secret_hash"]),
                "age": history.age(row["id"]),
            }
            for row in found
        ]

    @app.post("/removed")
    async def removed(spec: dict):
        secrets = {store.digest(secret): secret for secret in spec["secrets"]}
        return [
            {"id": row["id"], "secret": secrets.get(row["secret_hash"]), "at": at, "by": by}
            for row, at, by in history.removals[spec["agent_id"]]
        ]

    @app.get("/tasks")
    async def tasks():
        return [dict(row) for row in await pool.fetch("SELECT id, agent_id, name FROM tasks")]

    @app.post("/agents")
    async def agent(spec: dict):
        row = await store.insert_agent(pool, spec["name"], spec.get("id"))
        return {"id": row["id"], "name": row["name"]}

    @app.post("/quirks")
    async def quirks_of(spec: dict):
        quirks.set(spec["agent_id"], spec["agent_name"], spec["quirks"])

    @app.post("/keys")
    async def key(spec: dict):
        row, secret = await store.insert_key(pool, **spec)
        return {"id": row["id"], "api_key": secret}

    @app.delete("/keys/{id}")
    async def no_key(id: str):
        await store.delete_key(pool, id)

    @app.post("/faults")
    async def add_fault(spec: dict):
        return dataclasses.asdict(faults.add(spec))

    @app.get("/faults")
    async def all_faults():
        return [dataclasses.asdict(fault) for fault in faults.faults]

    @app.delete("/faults")
    async def no_faults():
        faults.reset()

    @app.delete("/faults/{id}")
    async def no_fault(id: int):
        faults.faults[:] = [fault for fault in faults.faults if fault.id != id]

    @app.post("/release")
    async def release():
        faults.release()

    @app.post("/settings")
    async def change(values: dict):
        settings.change(values)

    @app.get("/requests")
    async def requests():
        return list(log.entries)

    @app.delete("/requests")
    async def forget():
        log.entries.clear()

    @app.get("/late")
    async def late(within: float, bound: float):
        return delays.late(within, bound)

    return app
