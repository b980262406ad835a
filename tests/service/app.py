"""The keys service: the routes of docs/contract/keys-service.md, quirks included."""

import asyncio
import logging
import time
import uuid
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

import asyncpg
from fastapi import Body, Depends, FastAPI, Query, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel

import store
from faults import Exchange, Gone, Refuse
from settings import Settings
from store import Session

Type = Literal["external", "internal", "github", "slack"]


class Problem(Exception):
    """An error of the service's own: ``{"message", "code", "data"}``."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


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


class RegisterAgent(BaseModel):
    name: str
    description: str = ""
    acp_url: str | None = None
    agent_id: str | None = None


class Rpc(BaseModel):
    jsonrpc: str = "2.0"
    method: str
    params: dict[str, Any] = {}
    id: int | str | None = None


async def exchange_of(request: Request) -> Exchange:
    """Ties the request's exchange to the handler that the router chose.

    Async: FastAPI hands what is not to a thread, each time.
    """
    exchange: Exchange = request.state.exchange
    route = request.scope["route"]
    exchange.route = f"{request.method} {route.path}"
    exchange.handler = route.name
    return exchange


Ex = Annotated[Exchange, Depends(exchange_of)]


async def session_of(request: Request, exchange: Ex):
    """A transaction that FastAPI commits after the answer has left, as in the real service."""
    async with request.app.state.pool.acquire() as connection:
        exchange.effect.connected = time.monotonic()
        transaction = connection.transaction()
        await transaction.start()
        session = Session(connection, transaction, exchange.effect)
        try:
            yield session
        except BaseException:
            await session.rollback()
            raise
        settings: Settings = request.app.state.settings
        if not session.ended:
            if settings.commit_delay:
                exchange.effect.asked += settings.commit_delay
                await asyncio.sleep(settings.commit_delay)
            if any(f.do == "rollback" for f in await exchange.at("commit")):
                await session.rollback()
        await session.commit()


Db = Annotated[Session, Depends(session_of)]


async def authenticated(request: Request, db: Db) -> None:
    """The service's own checks: an agent's headers, and any credential where it wants one."""
    settings: Settings = request.app.state.settings
    headers = request.headers
    if secret := headers.get("x-agent-api-key"):
        if not await store.secret_known(db.connection, secret):
            raise Problem(401, "Invalid agent API key")
        return
    if agent := headers.get("x-agent-identity"):
        if not await store.agent_by(db.connection, id=agent):
            raise Problem(401, "Unknown agent identity")
        return
    if settings.require and not any(name in headers for name in settings.require):
        raise Problem(401, "Not authenticated")


def build(pool: asyncpg.Pool, settings: Settings) -> FastAPI:
    """The application, over a database."""
    app = FastAPI(dependencies=[Depends(exchange_of)])
    app.state.pool = pool
    app.state.settings = settings
    if settings.gzip:
        app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]
    )
    errors(app)
    keys(app, settings)
    agents(app, settings)
    others(app)
    return app


def errors(app: FastAPI) -> None:
    def shape(status: int, message: str) -> JSONResponse:
        return JSONResponse({"message": message, "code": status, "data": None}, status)

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem):
        return shape(error.status, error.message)

    @app.exception_handler(Refuse)
    async def refuse(_: Request, error: Refuse):
        return shape(error.status, "Refused on demand")

    @app.exception_handler(Gone)
    async def gone(_: Request, error: Gone):
        raise error

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception):
        logging.getLogger("service").info("500: %s", type(error).__name__)
        return shape(500, "Internal Server Error")


async def the_agent(db: Session, agent_id: str | None, agent_name: str | None):
    """The one agent that a request names."""
    if (agent_id is None) == (agent_name is None):
        raise Problem(400, "Exactly one of agent_id and agent_name is required")
    agent = await store.agent_by(db.connection, id=agent_id, name=agent_name)
    if agent is None:
        raise Problem(404, "Agent not found")
    return agent


def moment(at: datetime, form: str) -> str:
    """A time in one of the forms in which services write it."""
    at = at.astimezone(timezone.utc)
    text = at.replace(tzinfo=None).isoformat()
    return text + {"naive": "", "offset": "+00:00", "zulu": "Z"}[form]


def keys(app: FastAPI, settings: Settings) -> None:
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
    async def create_key(body: CreateKey, db: Db, exchange: Ex):
        await exchange.at("before")
        agent = await the_agent(db, body.agent_id, body.agent_name)
        if await store.name_taken(db.connection, agent["id"], body.name, body.api_key_type):
            raise Problem(409, f"API key '{body.name}' already exists")
        row, secret = await store.insert_key(
            db.connection, agent["id"], body.name, body.api_key_type, body.api_key,
            settings.skew,
        )
        await exchange.at("after", db.commit)
        return shown(row) | {"api_key": secret}

    @app.post("/agent_api_keys/webhook-trigger", dependencies=checked)
    async def create_webhook_key(body: CreateWebhookKey, db: Db, exchange: Ex):
        await exchange.at("before")
        agent = await the_agent(db, None, body.agent_name)
        if await store.name_taken(db.connection, agent["id"], body.name, body.source):
            raise Problem(409, f"API key '{body.name}' already exists")
        row, secret = await store.insert_key(
            db.connection, agent["id"], body.name, body.source, body.secret, settings.skew
        )
        await exchange.at("after", db.commit)
        path = f"/agents/forward/name/{body.agent_name}/{body.forward_path.lstrip('/')}"
        return {
            "key_id": row["id"],
            "agent_name": body.agent_name,
            "source": body.source,
            "name": body.name,
            "secret": secret,
            "webhook_path": path,
            "webhook_url": body.base_url.rstrip("/") + path if body.base_url else None,
        }

    @app.get("/agent_api_keys", dependencies=checked)
    async def list_keys(
        db: Db, exchange: Ex,
        agent_id: str | None = None,
        agent_name: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        page_number: Annotated[int, Query(ge=1)] = 1,
    ):
        await exchange.at("before")
        agent = await the_agent(db, agent_id, agent_name)
        rows = await store.keys(db.connection, agent["id"], limit, limit * (page_number - 1))
        return [shown(row) for row in rows]

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
    async def key_by_id(id: str, db: Db, exchange: Ex):
        await exchange.at("before")
        row = await store.key_by_id(db.connection, id)
        if row is None:
            raise Problem(404, f"Agent API key with ID {id} not found")
        return shown(row)

    @app.delete("/agent_api_keys/name/{name}", dependencies=checked)
    async def delete_key_by_name(
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
        await store.delete_key(db.connection, row["id"])
        await exchange.at("after", db.commit)
        return f"Agent api_key '{name}' deleted"

    @app.delete("/agent_api_keys/{id}", dependencies=checked)
    async def delete_key(id: str, db: Db, exchange: Ex):
        await exchange.at("before")
        await store.delete_key(db.connection, id)
        await exchange.at("after", db.commit)
        return f"Agent API key with ID {id} deleted"


def agents(app: FastAPI, settings: Settings) -> None:
    def shown(row) -> dict:
        return {
            "id": row["id"],
            "name": row["name"],
            "description": row["description"],
            "acp_url": row["acp_url"],
            "created_at": moment(row["created_at"], settings.created_at),
        }

    @app.get("/agents")
    async def list_agents(
        db: Db, exchange: Ex,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        page_number: Annotated[int, Query(ge=1)] = 1,
    ):
        await exchange.at("before")
        rows = await db.connection.fetch(
            "SELECT * FROM agents ORDER BY created_at, id LIMIT $1 OFFSET $2",
            limit, limit * (page_number - 1),
        )
        return [shown(row) for row in rows]

    @app.get("/agents/name/{agent_name}", dependencies=[Depends(authenticated)])
    async def agent_by_name(agent_name: str, db: Db, exchange: Ex):
        await exchange.at("before")
        return shown(await the_agent(db, None, agent_name))

    @app.get("/agents/{agent_id}")
    async def agent_by_id(agent_id: str, db: Db, exchange: Ex):
        await exchange.at("before")
        return shown(await the_agent(db, agent_id, None))

    @app.post("/agents/register")
    async def register_agent(body: RegisterAgent, db: Db, exchange: Ex):
        await exchange.at("before")
        agent = await store.agent_by(db.connection, name=body.name)
        if agent is None:
            agent = await store.insert_agent(
                db.connection, body.name, body.agent_id, body.description, body.acp_url
            )
        else:
            agent = await db.connection.fetchrow(
                "UPDATE agents SET description = $2, acp_url = $3 WHERE id = $1 RETURNING *",
                agent["id"], body.description, body.acp_url,
            )
        secret = None
        if not await store.name_taken(db.connection, agent["id"], body.name, "internal"):
            _, secret = await store.insert_key(
                db.connection, agent["id"], body.name, "internal", skew=settings.skew
            )
        await exchange.at("after", db.commit)
        return shown(agent) | {"agent_api_key": secret}

    @app.post("/agents/{agent_id}/rpc")
    async def rpc(agent_id: str, body: Rpc, db: Db, exchange: Ex):
        await exchange.at("before")
        agent = await the_agent(db, agent_id, None)
        answer = {"jsonrpc": "2.0", "id": body.id, "result": None, "error": None}
        if body.method != "task/create":
            return answer | {"error": {"code": -32601, "message": "Method not found"}}
        row = await db.connection.fetchrow(
            "INSERT INTO tasks (id, agent_id, name) VALUES ($1, $2, $3) RETURNING id, name",
            str(uuid.uuid4()), agent["id"], body.params.get("name"),
        )
        await exchange.at("after", db.commit)
        return answer if settings.null_result else answer | {"result": dict(row)}


def others(app: FastAPI) -> None:
    """Routes that no rule knows: what passes through."""

    @app.get("/healthz")
    async def healthz():
        return {"status": "ok"}

    @app.get("/sse")
    async def events(request: Request, count: int = 3, interval: float = 0.0):
        # Each event waits for a release where the interval is negative: a test that gets the
        # first before it releases the second has proven that nothing buffers.
        faults = request.state.exchange.faults

        async def stream():
            for number in range(count):
                yield f"data: {number}\n\n"
                await (faults.released.wait() if interval < 0 else asyncio.sleep(interval))

        return StreamingResponse(stream(), media_type="text/event-stream")

    @app.post("/echo")
    async def echo(request: Request):
        kind = request.headers.get("content-type", "application/octet-stream")
        return StreamingResponse(request.stream(), media_type=kind)

    @app.get("/bytes/{count}")
    async def some_bytes(count: int):
        async def stream():
            left = count
            while left > 0:
                piece = min(left, 65536)
                left -= piece
                yield b"x" * piece

        return StreamingResponse(stream(), media_type="application/octet-stream")

    @app.get("/status/{code}")
    async def status(code: int):
        return Response(status_code=code, headers={"x-status": str(code)})

    @app.get("/headers")
    async def headers(request: Request):
        return [[k, v] for k, v in request.headers.items()] + [
            ["(client)", str(request.client)], ["(scheme)", request.url.scheme],
        ]

    @app.post("/json")
    async def any_json(document: Annotated[Any, Body()]):
        return document

    @app.get("/text")
    async def text():
        return PlainTextResponse("text " * 200)
