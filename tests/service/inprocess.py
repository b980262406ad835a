"""The dual write that the sidecar replaces, done by the service itself: `inprocess.py …`.

Registers before its insert, and deregisters after its delete as well as it can. Nothing
remembers what was begun, so whatever dies in between leaves something behind: the crash tests
kill this one too, to show that they can see what they look for.
"""

import argparse
import asyncio
import http.client
import json
import socket
import urllib.parse
import uuid

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import store
from keys import CreateKey
from main import bind_tcp, end_with_parent


class Provider:
    """The back end, called from a thread of the pool."""

    def __init__(self, url: str):
        self.host = urllib.parse.urlsplit(url).netloc

    async def call(self, endpoint: str, body: dict) -> bool:
        return await asyncio.to_thread(self.post, endpoint, json.dumps(body))

    def post(self, endpoint: str, body: str) -> bool:
        connection = http.client.HTTPConnection(self.host, timeout=1)
        try:
            connection.request(
                "POST", f"/v1/authz/{endpoint}", body, {"content-type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def build(pool, provider: Provider) -> FastAPI:
    """The application, over a database."""
    app = FastAPI()

    def key(id: str) -> dict:
        return {"type": "api_key", "selector": id}

    def principal(request: Request) -> dict:
        user = request.headers.get("x-user-id", "nobody")
        return {"principal_type": "user", "user_id": user, "account_id": "acct-1"}

    async def remove(request: Request, id: str) -> None:
        await store.delete_key(pool, id)
        # As well as it can: nobody tries again.
        await provider.call("deregister", {"principal": principal(request), "resource": key(id)})

    @app.post("/agent_api_keys")
    async def create_key(body: CreateKey, request: Request):
        agent = await store.agent_by(pool, id=body.agent_id, name=body.agent_name)
        id = str(uuid.uuid4())
        registered = await provider.call("register", {
            "principal": principal(request),
            "resource": key(id),
            "parent": {"type": "agent", "selector": agent["id"]},
        })
        if not registered:
            return JSONResponse({"message": "not registered"}, 503)
        row, _ = await store.insert_key(
            pool, agent["id"], body.name, body.api_key_type, body.api_key, id=id
        )
        return {"id": row["id"], "agent_id": row["agent_id"], "name": row["name"]}

    @app.delete("/agent_api_keys/name/{name}")
    async def delete_key_by_name(name: str, request: Request, agent_id: str):
        row = await store.any_key_by_name(pool, agent_id, name, "external")
        if row is None:
            return JSONResponse({"message": "not found"}, 404)
        await remove(request, row["id"])

    @app.delete("/agent_api_keys/{id}")
    async def delete_key(id: str, request: Request):
        await remove(request, id)

    return app


async def serve(flags: argparse.Namespace) -> None:
    pool = await store.open_pool(flags.database_host, flags.database)
    application = build(pool, Provider(flags.provider))
    listener: socket.socket = bind_tcp("127.0.0.1", flags.port)
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", access_log=False))
    served = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not served.done():
        await asyncio.sleep(0.01)
    print(json.dumps({"listening": "{}:{}".format(*listener.getsockname())}), flush=True)
    await served


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-host", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--provider", required=True, help="URL of the authorization back end")
    parser.add_argument("--port", type=int, default=0)
    end_with_parent()
    asyncio.run(serve(parser.parse_args()))
