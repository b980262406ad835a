"""The keys service: the routes of docs/contract/keys-service.md, quirks included."""

import asyncio
import logging
import uuid
from typing import Annotated, Any

import asyncpg
from fastapi import Body, Depends, FastAPI, Query, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel

import keys
import store
from context import Db, Ex, Problem, Suffers, authenticated, exchange_of, moment, the_agent
from faults import Gone, Refuse
from history import History
from quirks import Agents
from settings import Settings


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


def build(
    pool: asyncpg.Pool, settings: Settings, history: History, quirks: Agents
) -> FastAPI:
    """The application, over a database."""
    app = FastAPI(dependencies=[Depends(exchange_of)])
    app.state.pool = pool
    app.state.settings = settings
    app.state.history = history
    app.state.quirks = quirks
    if settings.gzip:
        app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]
    )
    errors(app)
    keys.routes(app, settings)
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
    async def agent_by_name(agent_name: str, db: Db, exchange: Ex, suffers: Suffers):
        suffers(agent_name)
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
