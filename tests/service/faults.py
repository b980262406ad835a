"""Faults on demand: what may go wrong in a service, at named points of a request.

A fault belongs to the route whose *handler* ran, not to the request's spelling. It strikes at one point:

- ``before``  the handler has the request and has touched nothing,
- ``after``   the row is changed and committed, the answer is not made yet,
- ``commit``  the answer is sent, the transaction is not committed yet,
- ``answer``  the answer is made and about to be sent.

It strikes ``times`` times (for ever where null) after letting ``skip`` requests pass, each time
with ``probability``.

A request may bring faults of its own, as a JSON list in the header ``x-fault``: those strike
nobody else.
"""

import asyncio
import gzip
import json
import random
import zlib
from dataclasses import dataclass, field
from typing import Any

from delays import FOR_EVER, Delays, Effect

POINTS = ("before", "after", "commit", "answer")

# What a fault can do at a point in the handler …
ANYWHERE = {"delay", "hang", "status", "abort", "close"}
# … after the answer …
COMMIT = {"delay", "hang", "rollback"}
# … and to an answer.
ANSWER = {
    "delay", "hang", "abort", "close", "status", "body", "headers", "without", "pad", "encode",
    "cut", "cut_chunked", "chunked", "stall", "raw", "slow",
}
ALLOWED = {"before": ANYWHERE, "after": ANYWHERE | {"nothing"}, "commit": COMMIT, "answer": ANSWER}


@dataclass
class Fault:
    """One fault; ``hits`` counts how often it struck."""

    id: int
    route: str
    point: str
    do: str
    value: Any = None
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    hits: int = 0

    def strikes(self) -> bool:
        """Whether it strikes the request at hand; counts it."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        if random.random() >= self.probability:
            return False
        self.hits += 1
        return True


class Refuse(Exception):
    """The handler is to answer an error of this status."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


class Gone(Exception):
    """The connection was broken on purpose: there is no one to answer."""


@dataclass
class Faults:
    """All faults of a service."""

    faults: list[Fault] = field(default_factory=list)
    made: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, spec: dict) -> Fault:
        """Adds a fault; a misspelt one is an error, not a fault that never strikes."""
        point, do = spec.get("point"), spec.get("do")
        if point not in POINTS or do not in ALLOWED[point]:
            raise ValueError(f"no fault {do!r} at {point!r}")
        self.made += 1
        fault = Fault(id=self.made, **spec)
        self.faults.append(fault)
        return fault

    def reset(self) -> None:
        """Forgets all faults and lets everything that hangs go on."""
        self.faults.clear()
        self.release()

    def release(self) -> None:
        """Lets everything that hangs now go on."""
        self.released.set()
        self.released = asyncio.Event()

    def striking(self, route: str | None, point: str) -> list[Fault]:
        """The faults that strike now, in the order in which they were added."""
        return [f for f in self.faults if f.route == route and f.point == point and f.strikes()]


class Exchange:
    """One request and its answer, as the faults see them."""

    def __init__(self, faults: Faults, transport: asyncio.Transport, effect: Effect):
        self.faults = faults
        self.transport = transport
        self.effect = effect
        self.route: str | None = None
        self.handler: str | None = None
        # Faults that the request itself asks for, or its agent suffers.
        self.own = Faults()
        # For how many seconds it may wait in all.
        self.most = FOR_EVER

    def striking(self, point: str) -> list[Fault]:
        """The faults that strike this request now."""
        own, all_ = self.own, self.faults
        return own.striking(self.route, point) + all_.striking(self.route, point)

    async def at(self, point: str, commit=None) -> list[Fault]:
        """Suffers the faults of a point in the handler. ``commit`` runs first where one strikes."""
        struck = self.striking(point)
        if struck and commit:
            await commit()
        for fault in struck:
            await self.suffer(fault)
            if fault.do == "status":
                raise Refuse(fault.value)
        return struck

    async def suffer(self, fault: Fault) -> None:
        """What is the same at every point."""
        if fault.do == "delay":
            seconds = min(fault.value, max(0.0, self.most - self.effect.asked))
            self.effect.asked += seconds
            await asyncio.sleep(seconds)
        elif fault.do == "hang":
            self.effect.asked = FOR_EVER
            await self.faults.released.wait()
        elif fault.do == "abort":
            self.transport.abort()
            raise Gone
        elif fault.do == "close":
            self.transport.close()
            raise Gone


class FaultLayer:
    """The outermost ASGI application: gives each request its exchange and bends its answer."""

    def __init__(self, app, faults: Faults, log, delays: Delays):
        self.app = app
        self.faults = faults
        self.log = log
        self.delays = delays

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        # uvicorn's cycle object owns `send` and the transport, whichever parser is used.
        effect = Effect(self.delays, scope["method"], scope["path"])
        exchange = Exchange(self.faults, send.__self__.transport, effect)
        for name, value in scope["headers"]:
            if name == b"x-fault":
                for spec in json.loads(value):
                    exchange.own.add(spec)
        scope.setdefault("state", {})["exchange"] = exchange
        answer = Answer(exchange, send)
        entry = self.log.begin(scope)
        try:
            await self.app(scope, receive, answer.send)
        except Gone:
            pass
        finally:
            effect.ended()
            self.log.end(entry, exchange, answer.status)


class Answer:
    """An answer on its way out; held back wholly only where a fault is to bend it."""

    def __init__(self, exchange: Exchange, send):
        self.exchange = exchange
        self.forward = send
        self.status: int | None = None
        self.start = None
        self.body = b""
        self.struck: list[Fault] = []

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.struck = self.exchange.striking("answer")
            self.start = message
            if not self.struck:
                await self.forward(message)
        elif not self.struck:
            await self.forward(message)
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                await self.bend()

    async def bend(self):
        """Applies the faults in order; the last that has its own way of sending sends."""
        headers = {k.decode().lower(): v.decode("latin-1") for k, v in self.start["headers"]}
        sending = None
        for fault in self.struck:
            await self.exchange.suffer(fault)
            if fault.do == "status":
                self.status = fault.value
            elif fault.do == "headers":
                headers.update(fault.value)
            elif fault.do == "body":
                self.body = fault.value.encode()
            elif fault.do == "without":
                document = json.loads(self.body)
                document.pop(fault.value, None)
                self.body = json.dumps(document).encode()
            elif fault.do == "pad":
                document = json.loads(self.body)
                self.body = json.dumps(document | {"padding": "x" * fault.value}).encode()
            elif fault.do == "encode":
                self.body = ENCODINGS[fault.value](self.body)
                headers["content-encoding"] = fault.value
            elif fault.do in {"cut", "cut_chunked", "chunked", "stall", "raw", "slow"}:
                sending = fault
        if sending and sending.do == "raw":
            self.exchange.transport.write(sending.value.encode("latin-1"))
            self.exchange.transport.close()
            raise Gone
        headers["content-length"] = str(len(self.body))
        if sending and sending.do in {"cut_chunked", "chunked"}:
            del headers["content-length"]
        pairs = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
        await self.forward(
            {"type": "http.response.start", "status": self.status, "headers": pairs}
        )
        await self.finish(sending)

    async def finish(self, sending: Fault | None):
        """Sends the body, in the way of the fault."""
        half = len(self.body) // 2
        do = sending.do if sending else None
        if do == "slow":
            self.exchange.effect.asked += sending.value * len(self.body)
            for at in range(len(self.body)):
                await self.piece(self.body[at : at + 1])
                await asyncio.sleep(sending.value)
        elif do:
            await self.piece(self.body[:half])
            if do == "stall":
                self.exchange.effect.asked = FOR_EVER
                await self.exchange.faults.released.wait()
                await self.piece(self.body[half:])
            elif do == "chunked":
                await self.piece(self.body[half:])
            else:
                # Flushes what was written, then FIN: the answer ends too early.
                self.exchange.transport.close()
                return
        else:
            await self.piece(self.body)
        await self.forward({"type": "http.response.body", "body": b"", "more_body": False})

    async def piece(self, body: bytes):
        await self.forward({"type": "http.response.body", "body": body, "more_body": True})


def deflate(body: bytes) -> bytes:
    return zlib.compress(body)


ENCODINGS = {"gzip": gzip.compress, "deflate": deflate, "identity": bytes}
