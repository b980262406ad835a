"""A keys service for tests/differential.rs that keeps nothing: `server.py uvicorn|hypercorn [PARSER]`.

The routes of docs/contract/keys-service.md in FastAPI, without a database, so that thousands of
requests take seconds. Prints one line of JSON with its address, and then one for each request that
reaches the application: what came, and which handler ran with what. Ends with its parent.
"""

import asyncio
import ctypes
import email.message
import json
import signal
import socket
import sys

import hypercorn.asyncio
import hypercorn.config
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse

PR_SET_PDEATHSIG = 1
# What a caller may be known by: the same as in tests/differential/judge.rs.
CREDENTIALS = ["x-user-id", "authorization", "cookie", "x-auth-token"]
ROW = {"agent_id": "a1", "created_at": "2020-01-01T00:00:00Z", "api_key_type": "external"}

app = FastAPI()


async def ran(request: Request, handler: str, argument: str = "") -> None:
    """Notes that a handler has its whole request."""
    body = await request.body()
    request.scope["note"].update(handler=handler, argument=argument, body=body.decode("latin-1"))


def agent_of(request: Request, body: bytes) -> str | None:
    """The agent that a body names, as FastAPI reads bodies; None where it refuses them."""
    message = email.message.Message()
    message["content-type"] = request.headers.get("content-type") or "application/json"
    subtype = message.get_content_subtype()
    is_json = message.get_content_maintype() == "application"
    if not (is_json and (subtype == "json" or subtype.endswith("+json"))):
        return None
    try:
        agent = json.loads(body)["agent_name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return agent if isinstance(agent, str) else None


def case_of(request: Request) -> str:
    return request.headers.get("x-case", "")


@app.post("/agent_api_keys")
async def create_key(request: Request):
    await ran(request, "create_key")
    return JSONResponse(ROW | {"id": case_of(request), "name": "n", "api_key": "secret"})


@app.post("/agent_api_keys/webhook-trigger")
async def create_webhook_key(request: Request):
    agent = agent_of(request, await request.body())
    if agent is None:
        return JSONResponse({"detail": "the body is not valid"}, 422)
    await ran(request, "create_webhook_key")
    request.scope["note"]["parent"] = agent.encode("utf-8", "replace").decode()
    return JSONResponse({"key_id": case_of(request), "agent_name": agent, "name": "n"})


@app.get("/agent_api_keys")
async def list_keys(request: Request):
    """Answers whoever asks for a name with a row of that name, which is gone afterwards."""
    await ran(request, "list_keys")
    name = request.query_params.get("name")
    return JSONResponse([ROW | {"id": f"gone-{name}", "name": name}] if name else [])


# A row is there until it was deleted.
DELETED = set()


@app.get("/agent_api_keys/{id}")
async def get_key(id: str, request: Request):
    await ran(request, "get_key", id)
    if id.startswith("gone-") or id in DELETED:
        return JSONResponse({"message": "not found"}, 404)
    return JSONResponse(ROW | {"id": id, "name": "n"})


@app.delete("/agent_api_keys/name/{name}")
async def delete_key_by_name(name: str, request: Request):
    # All rows are of this type; FastAPI refuses what is none.
    if request.query_params.get("api_key_type", "external") != "external":
        return JSONResponse({"detail": "no such type"}, 422)
    await ran(request, "delete_key_by_name", name)
    return JSONResponse(f"Agent api_key '{name}' deleted")


@app.delete("/agent_api_keys/{id}")
async def delete_key(id: str, request: Request):
    await ran(request, "delete_key", id)
    DELETED.add(id)
    return JSONResponse(f"Agent API key with ID {id} deleted")


@app.get("/agents/name/{name}")
async def get_agent(name: str, request: Request):
    await ran(request, "get_agent", name)
    return JSONResponse({"id": name, "name": name})


@app.post("/early")
async def early(request: Request):
    """Answers without having read the body."""
    request.scope["note"]["handler"] = "early"
    return JSONResponse({})


@app.websocket("/ws")
async def talk(socket: WebSocket):
    """Takes whatever comes; ends with the client."""
    await socket.accept()
    async for _ in socket.iter_bytes():
        pass


class Logged:
    """Prints each request that gets here, and names its case in the answer."""

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope.get("headers", [])]
        note = {
            "kind": scope["type"],
            "method": scope.get("method", ""),
            "path": scope["path"],
            "case": ",".join(v for n, v in headers if n == "x-case"),
            "encodings": ",".join(v for n, v in headers if n == "accept-encoding"),
            "caller": "|".join(
                ",".join(v.strip() for n, v in headers if n == c) for c in CREDENTIALS
            ),
        }
        scope["note"] = note

        async def answer(message):
            if message["type"] == "http.response.start":
                echo = (b"x-case", note["case"].encode("latin-1"))
                message = message | {"headers": [*message.get("headers", []), echo]}
            await send(message)

        try:
            await app(scope, receive, answer)
        except Exception as error:
            note["error"] = type(error).__name__
        finally:
            sys.stdout.write(json.dumps(note) + "\n")
            sys.stdout.flush()


async def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    sys.stdout.write(json.dumps({"listening": "{}:{}".format(*listener.getsockname())}) + "\n")
    sys.stdout.flush()
    server, parser = (sys.argv[1:] + ["auto"])[:2]
    if server == "hypercorn":
        config = hypercorn.config.Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.loglevel = "CRITICAL"
        await hypercorn.asyncio.serve(Logged(), config)
    else:
        config = uvicorn.Config(Logged(), http=parser, log_level="critical", access_log=False)
        await uvicorn.Server(config).serve(sockets=[listener])


asyncio.run(main())
