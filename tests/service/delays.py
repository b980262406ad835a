"""Whether effects came in time.

A request takes effect within a bound of being sent (L): who relies on that asks here whether it
was so. The time runs from the earliest moment at which the request can have been sent, which is
before it was read where the process stood still, to the end of its commit.
"""

import asyncio
import math
import time
from collections import deque

# So often it is looked whether the event loop goes on, in seconds.
TICK = 0.05
# What took less is not remembered.
LONG = 4 * TICK
# More than a run that is worth anything has.
REMEMBERED = 10_000
# How long a test may want something to take.
FOR_EVER = math.inf


class Effect:
    """What a request changes."""

    def __init__(self, delays: "Delays", method: str, path: str):
        self.delays = delays
        self.what = f"{method} {path}"
        self.sent = delays.earliest()
        # When it got its connection to the database.
        self.connected: float | None = None
        # For how many seconds faults and settings have it wait.
        self.asked = 0.0
        if method != "GET":
            delays.running.add(self)

    def committed(self) -> None:
        """Everybody can see it now."""
        if self in self.delays.running:
            self.delays.remember(self.so_far())
        self.ended()

    def ended(self) -> None:
        """Nothing more comes of it. May be told more than once."""
        self.delays.running.discard(self)

    def so_far(self) -> dict:
        now = time.monotonic()
        waited = (self.connected or now) - self.sent
        return {
            "what": self.what, "took": now - self.sent, "waited": waited, "asked": self.asked
        }


class Delays:
    """How long effects took, and for how long the process stood still."""

    def __init__(self):
        self.running: set[Effect] = set()
        self.past: deque = deque(maxlen=REMEMBERED)
        # When the last tick began, and the one before it.
        self.ticks = deque([time.monotonic()] * 2, maxlen=2)

    async def watch(self) -> None:
        """Ticks for ever."""
        while True:
            began = time.monotonic()
            self.ticks.append(began)
            await asyncio.sleep(TICK)
            took = time.monotonic() - began
            self.remember({"what": "standing still", "took": took, "waited": 0.0, "asked": 0.0})

    def earliest(self) -> float:
        """When a request that is read now was sent at the earliest."""
        now, ticked = time.monotonic(), self.ticks[0]
        return ticked if now - ticked > LONG else now

    def remember(self, told: dict) -> None:
        if told["took"] > LONG:
            self.past.append((time.monotonic(), told))

    def late(self, within: float, bound: float) -> list[dict]:
        """What took longer than `bound` without being asked to: of what ended in the last `within`
        seconds, and of what has not ended."""
        since = time.monotonic() - within
        past = [told for ended, told in self.past if ended >= since]
        running = [effect.so_far() for effect in self.running]
        late = [told for told in past + running if told["asked"] <= bound < told["took"]]
        return sorted(late, key=lambda told: -told["took"])
