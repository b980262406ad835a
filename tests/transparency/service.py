"""The service of tests/transparency.rs: `service.py uvicorn-httptools|uvicorn-h11|hypercorn`.

Answers in every way that clients may see differently through a sidecar. Prints one line of JSON
with its address. Ends with its parent.
"""

import asyncio
import ctypes
import gzip
import hashlib
import json
import os
import signal
import socket
import sys
import tempfile
import zlib

import hypercorn.asyncio
import hypercorn.config
import starlette.responses
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

PR_SET_PDEATHSIG = 1

# What an intermediary has to change: it adds the first, and the second ends with each connection.
ADDED = {b"x-forwarded-for", b"x-forwarded-proto"}
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding"}

TEXT = b"the quick brown fox jumps over the lazy dog\n" * 100
CODED = {"gzip": gzip.compress(TEXT, mtime=0), "deflate": zlib.compress(TEXT), "none": TEXT}

# The boundary of multipart answers, else another one each time.
starlette.responses.token_hex = lambda _: "b0da"

# What was told to whom: events by the name of who waits for them.
told: dict[str, asyncio.Event] = {}
waiting: dict[str, asyncio.Event] = {}
closed: dict[str, asyncio.Future] = {}


async def echo(request: Request):
    """The request as it came, less what intermediaries have to change."""
    body = await request.body()
    headers = [
        [name.decode("latin-1"), value.decode("latin-1")]
        for name, value in request.scope["headers"]
        if name not in ADDED | HOP_BY_HOP
    ]
    seen = {
        "method": request.method,
        "path": request.scope["raw_path"].decode("latin-1"),
        "query": request.scope["query_string"].decode("latin-1"),
        "headers": sorted(headers, key=lambda header: header[0]),
        "body": [len(body), hashlib.sha256(body).hexdigest()],
    }
    return JSONResponse(seen, headers={"x-version": request.scope["http_version"]})


async def status(request: Request):
    # With HTTP/2, curl breaks off where an error comes before it has sent its body, and so does
    # hypercorn at the end of such a stream.
    await request.body()
    code = request.path_params["code"]
    body = b"" if code in (204, 205, 304) else b"status %d" % code
    return Response(body, code, {"x-status": str(code)})


async def size(request: Request):
    return Response(b"0123456789abcdef" * (request.path_params["size"] // 16))


async def chunks(_):
    async def pieces():
        for piece in (b"one ", b"two ", b"three " * 10_000):
            yield piece

    return StreamingResponse(pieces(), media_type="text/plain")


async def cookies(_):
    response = Response(b"cookies", headers={"x-between": "1"})
    response.set_cookie("a", "1", path="/", httponly=True)
    response.set_cookie("b", "2; 3", max_age=5)
    response.headers.append("set-cookie", "a=again")
    response.headers.append("www-authenticate", "Basic realm=x")
    response.headers.append("www-authenticate", "Bearer")
    response.headers.append("x-empty", "")
    response.headers.append("x-latin", "caf\xe9")
    return response


async def wide(_):
    return Response(b"wide", headers={f"x-wide-{n}": "w" * 1000 for n in range(12)})


async def coded(request: Request):
    coding = request.path_params["coding"]
    return Response(CODED[coding], headers={"content-encoding": coding, "vary": "accept-encoding"})


async def redirect(request: Request):
    await request.body()
    code, to = request.path_params["code"], request.query_params["to"]
    return RedirectResponse(to, code)


async def closing(_):
    return Response(b"that was all", headers={"connection": "close"})


async def early(_):
    """Refuses without having read the body."""
    return Response(b"too much", 413)


class Duplex:
    """Gives each piece back before the next has come.

    Not a StreamingResponse, which reads the request itself, so as to see a client that goes away.
    """

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            piece = {"body": message.get("body", b""), "more_body": more}
            await send({"type": "http.response.body", **piece})


async def events(request: Request):
    """An event, and another one once somebody has asked for it at `/go`."""
    name = request.path_params["name"]

    async def pieces():
        yield b"data: first\n\n"
        await wait(name)
        yield b"data: second\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def poll(request: Request):
    """Answers nothing before somebody has asked at `/go`."""
    await wait(request.path_params["name"])
    return JSONResponse({"polled": True})


async def wait(name: str):
    waiting.setdefault(name, asyncio.Event()).set()
    await told.setdefault(name, asyncio.Event()).wait()


async def go(request: Request):
    """Wakes who waits, once there is somebody who does."""
    # As in `status`: hypercorn ends the connection where the end of the body comes behind the answer.
    await request.body()
    name = request.path_params["name"]
    await waiting.setdefault(name, asyncio.Event()).wait()
    told.setdefault(name, asyncio.Event()).set()
    return Response(b"gone")


async def talk(websocket: WebSocket):
    """Echoes. Closes as it is told, and keeps how it was closed."""
    name = websocket.path_params["name"]
    offered = websocket.scope["subprotocols"]
    headers = [(b"x-offered", ",".join(offered).encode())]
    await websocket.accept("chat" if "chat" in offered else None, headers)
    ending = closed.setdefault(name, asyncio.get_running_loop().create_future())
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"], message.get("reason"))
            text, data = message.get("text"), message.get("bytes")
            if text == "close":
                await websocket.close(4001, "as you wish")
            elif text is not None:
                await websocket.send_text(text)
            else:
                await websocket.send_bytes(data)
    except WebSocketDisconnect as end:
        ending.set_result([end.code, end.reason])


async def refuse_websocket(websocket: WebSocket):
    await websocket.close(1008)


async def how_closed(request: Request):
    loop = asyncio.get_running_loop()
    return JSONResponse(await closed.setdefault(request.path_params["name"], loop.create_future()))


def build(directory: str) -> Starlette:
    any_method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]
    return Starlette(
        routes=[
            Route("/echo", echo, methods=any_method),
            Route("/echo/{rest:path}", echo, methods=any_method),
            Route("/slash", echo, methods=any_method),
            Route("/status/{code:int}", status, methods=any_method),
            Route("/size/{size:int}", size),
            Route("/chunks", chunks),
            Route("/cookies", cookies),
            Route("/wide", wide),
            Route("/coded/{coding}", coded),
            Route("/redirect/{code:int}", redirect, methods=any_method),
            Route("/closing", closing),
            Route("/early", early, methods=any_method),
            Route("/duplex", Duplex()),
            Route("/events/{name}", events),
            Route("/poll/{name}", poll),
            Route("/go/{name}", go, methods=["POST"]),
            Route("/closed/{name}", how_closed),
            WebSocketRoute("/talk/{name}", talk),
            WebSocketRoute("/refuse", refuse_websocket),
            Mount("/files", StaticFiles(directory=directory)),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["https://app.example"],
                allow_methods=["GET", "PUT"],
                allow_headers=["x-asked"],
                allow_credentials=True,
            )
        ],
    )


async def serve(app, server: str, listener: socket.socket) -> None:
    if server == "hypercorn":
        config = hypercorn.config.Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.loglevel = "CRITICAL"
        # It would tell which version of HTTP it spoke.
        config.include_server_header = False
        await hypercorn.asyncio.serve(app, config)
    else:
        parser = server.removeprefix("uvicorn-")
        config = uvicorn.Config(app, http=parser, log_level="critical", access_log=False)
        await uvicorn.Server(config).serve(sockets=[listener])


async def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "text")
        with open(path, "wb") as file:
            file.write(TEXT)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        print(json.dumps({"listening": "{}:{}".format(*listener.getsockname())}), flush=True)
        await serve(build(directory), sys.argv[1], listener)


asyncio.run(main())
