"""Python's websockets as a client: `by_websockets.py - ADDRESS NAME`. Prints what it saw, a line each."""

import asyncio
import json
import sys
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from transcript import TRUST

_, address, name = sys.argv[1:]


def show(**saw) -> None:
    print(json.dumps(saw))


def opened(who: str, **options):
    return connect(f"ws://{address}/talk/{name}-{who}", proxy=None, open_timeout=TRUST, **options)


def how_closed(who: str):
    """What the service knows of the end."""
    target = f"http://{address}/closed/{name}-{who}"
    # Of the tests' own service only.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return json.load(opener.open(target, timeout=TRUST))


async def talks() -> None:
    async with opened("client", subprotocols=["other", "chat"]) as socket:
        answer = socket.response.headers
        show(offered=answer["x-offered"], protocol=socket.subprotocol, server=answer["server"])
        show(extensions=answer.get_all("sec-websocket-extensions"))
        for sent in ["", "text \u00e9", "x" * 70_000, b"", bytes(range(256)), bytes(500_000)]:
            await socket.send(sent)
            came = await socket.recv()
            show(same=came == sent, kind=type(came).__name__, length=len(came))
        # In fragments, which the service sees as one message.
        await socket.send(["a", "b", "c"])
        show(joined=await socket.recv())
        await (await socket.ping(b"are you there"))
        show(pong=True)
        await socket.close(3999, "enough")
    show(closed_by_client=how_closed("client"))


async def is_closed() -> None:
    async with opened("service", compression=None) as socket:
        show(protocol=socket.subprotocol)
        await socket.send("close")
        try:
            await socket.recv()
        except ConnectionClosed as end:
            show(code=end.rcvd.code, reason=end.rcvd.reason)


async def vanishes() -> None:
    async with opened("gone") as socket:
        await socket.send("x")
        await socket.recv()
        socket.transport.abort()
    show(vanished=how_closed("gone"))


async def is_refused() -> None:
    try:
        await connect(f"ws://{address}/refuse", proxy=None)
    except InvalidStatus as refused:
        body = bytes(refused.response.body or b"")
        show(status=refused.response.status_code, body=body.decode())


async def main() -> None:
    for story in (talks, is_closed, vanishes, is_refused):
        async with asyncio.timeout(TRUST):
            await story()


asyncio.run(main())
