"""Starts the keys service: `main.py --database-host DIR --database NAME`.

Prints one line of JSON with the addresses it is bound to, once it answers. Ends with its parent,
or when its standard input is closed: no orphans.
"""

import argparse
import asyncio
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading

import uvicorn

import app
import control
import store
from delays import Delays
from faults import FaultLayer, Faults
from history import History
from quirks import Agents
from settings import Settings

PR_SET_PDEATHSIG = 1


def main() -> None:
    flags = arguments()
    end_with_parent()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(serve(flags))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-host", required=True, help="directory of PostgreSQL's socket")
    parser.add_argument("--database", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--uds", help="listen on a unix socket instead")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--http", choices=["httptools", "h11"], default="httptools")
    parser.add_argument("--gzip", action="store_true", help="a gzip middleware in front")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, see settings.py")
    return parser.parse_args()


def end_with_parent() -> None:
    """Dies with the parent, and at the end of standard input."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def bind(flags: argparse.Namespace) -> socket.socket:
    if flags.uds:
        listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(flags.uds):
            os.unlink(flags.uds)
        listener.bind(flags.uds)
        return listener
    return bind_tcp(flags.host, flags.port)


def bind_tcp(host: str, port: int) -> socket.socket:
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


async def serve(flags: argparse.Namespace) -> None:
    settings = Settings(gzip=flags.gzip)
    settings.change(flags.settings)
    pool = await store.open_pool(flags.database_host, flags.database)
    # Of its own: what tests ask does not wait behind what they have the service do.
    apart = await store.open_pool(flags.database_host, flags.database, size=4)
    faults, log, delays = Faults(), control.Log(), Delays()
    history, quirks = History(), Agents()
    service = FaultLayer(app.build(pool, settings, history, quirks), faults, log, delays)
    listener, controls = bind(flags), bind_tcp("127.0.0.1", flags.control_port)
    # uvicorn's defaults, spelt out where a test depends on them.
    server = uvicorn.Server(uvicorn.Config(
        service, http=flags.http, timeout_keep_alive=5, proxy_headers=True,
        log_level="warning", access_log=False, backlog=2048,
    ))
    control_server = uvicorn.Server(uvicorn.Config(
        control.build(apart, settings, faults, log, delays, history, quirks),
        log_level="error", access_log=False,
    ))
    served = asyncio.gather(
        server.serve(sockets=[listener]), control_server.serve(sockets=[controls])
    )
    # Kept: the event loop itself does not hold its tasks.
    watch = asyncio.create_task(delays.watch())
    while not (server.started and control_server.started):
        if served.done():
            break
        await asyncio.sleep(0.01)
    bound = flags.uds or "{}:{}".format(*listener.getsockname())
    print(json.dumps({
        "listening": bound,
        "control": "{}:{}".format(*controls.getsockname()),
    }), flush=True)
    await served
    watch.cancel()


if __name__ == "__main__":
    main()
