"""What can be switched, at start by flags and later over the control listener."""

from dataclasses import dataclass, field


@dataclass
class Settings:
    """Behaviour that is not a fault."""

    # How `created_at` is written: "naive" (UTC without a zone), "offset" (+00:00) or "zulu" (Z).
    created_at: str = "naive"
    # Seconds by which the service's clock is ahead of everybody else's.
    skew: float = 0.0
    # Seconds between an answer and the commit of what it tells.
    commit_delay: float = 0.0
    # Headers of which a request for keys must carry one; none: anybody may.
    require: list[str] = field(default_factory=list)
    # Whether JSON-RPC answers `"result": null` although the task was made.
    null_result: bool = False
    # A gzip middleware in front; fixed at start.
    gzip: bool = False

    def change(self, values: dict) -> None:
        """Changes some; an unknown name is an error."""
        for name, value in values.items():
            if name not in self.__dataclass_fields__ or name == "gzip":
                raise ValueError(f"no setting {name!r}")
            setattr(self, name, value)
