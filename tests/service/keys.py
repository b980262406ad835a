"""The routes of keys."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Query, Request
from pydantic import BaseModel

import store
from context import Db, Ex, Problem, Suffers, authenticated, moment, the_agent
from quirks import Quirks
from settings import Settings
from store import Session

Type = Literal["external", "internal", "github", "slack"]


class CreateKey(BaseModel):
    agent_id: str | None = None
    agent_name: str | None = None
    name: str
    api_key_type: Type = "external"
    api_key: str | None = None


class CreateWebhookKey(BaseModel):
    agent_name: str
    source: Literal["github", "slack"]
    name: str
    forward_path: str
    secret: str | None = None
    base_url: str | None = None


@dataclass
class Replay:
    """What a create does about its idempotency key; nothing where it has none."""

    db: Session
    key: str | None
    # The first answer to it.
    answer: dict | None = None

    @classmethod
    async def of(cls, request: Request, quirks: Quirks, db: Session) -> "Replay":
        key = request.headers.get("idempotency-key") if quirks.replays else None
        first = key and await store.first_answer(db.connection, key)
        if first:
            # However long it waited for the first request, it changes nothing.
            db.effect.ended()
        return cls(db, key, json.loads(first) if first else None)

    async def remember(self, answer: dict) -> dict:
        if self.key:
            await store.remember_answer(self.db.connection, self.key, json.dumps(answer))
        return answer


async def key_as_read(quirks: Quirks, db: Session, id: str):
    """The row of that id, as reads show it."""
    row = await store.key_by_id(db.connection, id)
    shown = quirks.as_read([row] if row else [])
    return next((row for row in shown if row["id"] == id), None)


def routes(app: FastAPI, settings: Settings) -> None:
    def shown(row) -> dict:
        return {
            "id": row["id"],
            "agent_id": row["agent_id"],
            "created_at": moment(row["created_at"], settings.created_at),
            "name": row["name"],
            "api_key_type": row["api_key_type"],
        }

    checked = [Depends(authenticated)]

    @app.post("/agent_api_keys", dependencies=checked)
    async def create_key(
        body: CreateKey, request: Request, db: Db, exchange: Ex, suffers: Suffers
    ):
        quirks = suffers(body.agent_id, body.agent_name, changes=True)
        await exchange.at("before")
        replay = await Replay.of(request, quirks, db)
        if replay.answer:
            await exchange.at("after", db.commit)
            return replay.answer
        agent = await the_agent(db, body.agent_id, body.agent_name)
        if await store.name_taken(db.connection, agent["id"], body.name, body.api_key_type):
            raise Problem(409, f"API key '{body.name}' already exists")
        row, secret = await store.insert_key(
            db.connection, agent["id"], body.name, body.api_key_type, body.api_key,
            settings.skew,
        )
        db.makes(row)
        answer = await replay.remember(shown(row) | {"api_key": secret})
        await exchange.at("after", db.commit)
        return answer

    @app.post("/agent_api_keys/webhook-trigger", dependencies=checked)
    async def create_webhook_key(
        body: CreateWebhookKey, request: Request, db: Db, exchange: Ex, suffers: Suffers
    ):
        quirks = suffers(body.agent_name, changes=True)
        await exchange.at("before")
        replay = await Replay.of(request, quirks, db)
        if replay.answer:
            await exchange.at("after", db.commit)
            return replay.answer
        agent = await the_agent(db, None, body.agent_name)
        if await store.name_taken(db.connection, agent["id"], body.name, body.source):
            raise Problem(409, f"API key '{body.name}' already exists")
        row, secret = await store.insert_key(
            db.connection, agent["id"], body.name, body.source, body.secret, settings.skew
        )
        db.makes(row)
        path = f"/agents/forward/name/{body.agent_name}/{body.forward_path.lstrip('/')}"
        answer = await replay.remember({
            "key_id": row["id"],
            "agent_name": body.agent_name,
            "source": body.source,
            "name": body.name,
            "secret": secret,
            "webhook_path": path,
            "webhook_url": body.base_url.rstrip("/") + path if body.base_url else None,
        })
        await exchange.at("after", db.commit)
        return answer

    @app.get("/agent_api_keys", dependencies=checked)
    async def list_keys(
        db: Db, exchange: Ex, suffers: Suffers,
        agent_id: str | None = None,
        agent_name: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        page_number: Annotated[int, Query(ge=1)] = 1,
    ):
        quirks = suffers(agent_id, agent_name)
        await exchange.at("before")
        agent = await the_agent(db, agent_id, agent_name)
        rows = quirks.as_read(await store.keys(db.connection, agent["id"]))
        begin = limit * (page_number - 1)
        return [shown(row) for row in rows[begin : begin + limit]]

    @app.get("/agent_api_keys/name/{name}", dependencies=checked)
    async def key_by_name(
        name: str, db: Db, exchange: Ex,
        agent_id: str | None = None,
        agent_name: str | None = None,
        api_key_type: Type = "external",
    ):
        await exchange.at("before")
        agent = await the_agent(db, agent_id, agent_name)
        row = await store.any_key_by_name(db.connection, agent["id"], name, api_key_type)
        if row is None:
            raise Problem(404, f"Agent api_key '{name}' not found")
        return shown(row)

    @app.get("/agent_api_keys/{id}", dependencies=checked)
    async def key_by_id(id: str, db: Db, exchange: Ex, suffers: Suffers):
        quirks = suffers(key=id)
        await exchange.at("before")
        row = await key_as_read(quirks, db, id)
        if row is None:
            raise Problem(404, f"Agent API key with ID {id} not found")
        return shown(row)

    @app.delete("/agent_api_keys/name/{name}", dependencies=checked)
    async def delete_key_by_name(
        name: str, db: Db, exchange: Ex, suffers: Suffers,
        agent_id: str | None = None,
        agent_name: str | None = None,
        api_key_type: Type = "external",
    ):
        suffers(agent_id, agent_name, changes=True)
        await exchange.at("before")
        agent = await the_agent(db, agent_id, agent_name)
        row = await store.any_key_by_name(db.connection, agent["id"], name, api_key_type)
        if row is None:
            raise Problem(404, f"Agent api_key '{name}' not found")
        await db.removes(row["id"])
        await exchange.at("after", db.commit)
        return f"Agent api_key '{name}' deleted"

    @app.delete("/agent_api_keys/{id}", dependencies=checked)
    async def delete_key(id: str, db: Db, exchange: Ex, suffers: Suffers):
        quirks = suffers(key=id, changes=True)
        await exchange.at("before")
        # The real service looks the row up first, and deletes nothing that it does not see.
        if await key_as_read(quirks, db, id):
            await db.removes(id)
        else:
            exchange.effect.ended()
        await exchange.at("after", db.commit)
        return f"Agent API key with ID {id} deleted"
