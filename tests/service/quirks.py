"""What a test may switch on for the keys of one agent: how services are at their worst.

Each request about such a key suffers it, the sidecar's own too. It is drawn from dice of the
agent's own.
"""

import time
from dataclasses import dataclass, field
from random import Random

from faults import Exchange
from replica import LEAST, Replicas, log_uniform

# The share of requests that a storm strikes.
STRUCK = 0.7


@dataclass
class Quirks:
    """The quirks of one agent."""

    # Whether a create with an `Idempotency-Key` repeats the first answer to that key.
    replays: bool = False
    # How many seconds after its arrival a request may at most be committed, or answered.
    late: float = 0.0
    # How many seconds reads may at most be behind.
    lag: float = 0.0
    # From when until when most requests are answered 500, in seconds from now on.
    storms: list = field(default_factory=list)
    # Of the dice.
    seed: int = 0

    def __post_init__(self):
        self.since = time.monotonic()
        self.dice = Random(self.seed)
        self.replicas = Replicas(self.lag, self.dice) if self.lag else None

    def strike(self, exchange: Exchange, changes: bool) -> None:
        """Gives a request its faults; `changes` says whether it may change something."""
        specs = self.delays() if changes and self.late else []
        if self.is_stormy() and self.dice.random() < STRUCK:
            point = self.dice.choice(["before", "after"]) if changes else "before"
            specs.append({"point": point, "do": "status", "value": 500})
        if self.late:
            exchange.most = self.late
        for spec in specs:
            exchange.own.add({"route": exchange.route} | spec)

    def delays(self) -> list[dict]:
        """How late a request is committed and answered: either may be the first."""
        def delay(point, seconds):
            return {"point": point, "do": "delay", "value": seconds}

        whole = log_uniform(self.dice, LEAST, self.late)
        if self.dice.random() < 0.5:
            before = whole * self.dice.random()
            return [delay("before", before), delay("commit", whole - before)]
        after = log_uniform(self.dice, LEAST, self.late)
        return [delay("before", whole), delay("after", after)]

    def is_stormy(self) -> bool:
        now = time.monotonic() - self.since
        return any(begin <= now < end for begin, end in self.storms)

    def as_read(self, rows: list) -> list:
        """What reads show of `rows`, which the primary has."""
        return self.replicas.show(rows) if self.replicas else rows


class Agents:
    """The quirks of all agents."""

    def __init__(self):
        self.known: dict[str, Quirks] = {}

    def set(self, id: str, name: str, values: dict) -> None:
        """Has the agent, by its id and by its name, behave so from now on."""
        self.known[id] = self.known[name] = Quirks(**values)

    def of(self, *agents: str | None) -> Quirks:
        """Those of the first agent that has any."""
        found = (self.known[agent] for agent in agents if agent in self.known)
        return next(found, CALM)


CALM = Quirks()
