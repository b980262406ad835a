"""Which request made each row and which removed it. It begins anew with the process."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

# A client marks its requests with this header, each with a value of its own. The sidecar may
# repeat the mark of a create in what it asks for because of it, so the value says what it marks.
MARK = "x-client-request"


@dataclass
class Change:
    """What one transaction does to the rows of keys."""

    # The mark of the request, where it has one.
    by: str | None = None
    made: list = field(default_factory=list)
    removed: list = field(default_factory=list)


class History:
    """What has been committed, and on whose request."""

    def __init__(self):
        # The agent of each row, known from the insert on, for the row may be gone already.
        self.agent_of: dict[str, str] = {}
        # When each row was committed.
        self.made_at: dict[str, float] = {}
        # The rows of each agent that were removed, each with when that was and the mark of the request.
        self.removals: dict[str, list] = defaultdict(list)

    def committed(self, change: Change) -> None:
        """Notes what everybody can see now."""
        for row in change.made:
            self.made_at[row["id"]] = time.monotonic()
        for row in change.removed:
            self.removals[row["agent_id"]].append((row, time.time(), change.by))

    def age(self, id: str) -> float | None:
        """For how many seconds the row has been committed; nothing where no request made it."""
        made_at = self.made_at.get(id)
        return None if made_at is None else time.monotonic() - made_at
