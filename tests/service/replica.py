"""What reads show where they are served by replicas of the database."""

import math
import time
from random import Random

from history import Change

# A replica is at least so far behind, in seconds.
LEAST = 0.001
# Reads are spread over so many replicas: what one read showed, the next may not show.
REPLICAS = 2


def log_uniform(dice: Random, least: float, most: float) -> float:
    """A time whose order of magnitude is as likely as any other."""
    return math.exp(dice.uniform(math.log(least), math.log(most)))


class Replica:
    """A replica: it applies each commit some time after it, and in the same order."""

    def __init__(self, lag: float, dice: Random):
        self.lag = lag
        self.dice = dice
        # When the last commit is applied here.
        self.applied = 0.0
        # From when on a row is shown, and until when one that is removed.
        self.shown_from: dict[str, float] = {}
        self.shown_until: dict[str, tuple] = {}

    def note(self, change: Change, applied: float) -> None:
        for row in change.made:
            self.shown_from[row["id"]] = applied
        for row in change.removed:
            self.shown_until[row["id"]] = (row, applied)

    def committing(self, change: Change) -> None:
        """Hides a change before anybody can read it from the primary."""
        self.note(change, math.inf)

    def committed(self, change: Change) -> None:
        behind = log_uniform(self.dice, LEAST, self.lag)
        self.applied = max(self.applied, time.monotonic() + behind)
        self.note(change, self.applied)

    def show(self, rows: list) -> list:
        """What is shown instead of `rows`, which the primary has."""
        now = time.monotonic()
        removed = [row for row, until in self.shown_until.values() if now < until]
        known = {row["id"]: row for row in [*removed, *rows]}
        shown = [row for id, row in known.items() if self.shown_from.get(id, 0.0) <= now]
        return sorted(shown, key=lambda row: (row["created_at"], row["id"]))


class Replicas:
    """The replicas that serve the reads of one agent's keys."""

    def __init__(self, lag: float, dice: Random):
        self.dice = dice
        self.replicas = [Replica(lag, dice) for _ in range(REPLICAS)]

    def committing(self, change: Change) -> None:
        for replica in self.replicas:
            replica.committing(change)

    def committed(self, change: Change) -> None:
        for replica in self.replicas:
            replica.committed(change)

    def show(self, rows: list) -> list:
        return self.dice.choice(self.replicas).show(rows)
