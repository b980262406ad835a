"""What the clients that are written in Python share: the table of requests, and how they tell what they saw."""

import hashlib
import json
import pathlib
import sys

# Of all these clients it is the second argument.
ADDRESS = sys.argv[2]

# Seconds. Nothing takes longer, unless it is broken.
TRUST = 20


def table(client: str, version: str) -> list[dict]:
    """The rows of requests.json that this client can send, speaking this version of HTTP."""
    rows = json.loads(pathlib.Path(__file__).with_name("requests.json").read_text())
    who = {client, f"h{version}"}
    rows = [row for row in rows if not who & set(row.get("not_by", []))]
    return [{"headers": [], **row} for row in rows]


def body_of(row: dict):
    """Bytes, or an iterator of them where the request is to be chunked; None for no body."""
    body = row["body"].encode() * row.get("times", 1) if "body" in row else None
    return iter([body[:2], body[2:]]) if row.get("chunked") else body


def shown(row, status, headers, body, port, ports, reason="", trailers=()) -> None:
    """Prints one exchange as one line of JSON; ``ports`` are those of connections seen before.

    Services tell clients where they had connected to. For each way that is another place.
    """
    body = body.replace(ADDRESS.encode(), b"HOST:PORT")
    headers = [[name, value.replace(ADDRESS, "HOST:PORT")] for name, value in headers]
    if port not in ports:
        ports.append(port)
    saw = {
        "request": f"{row['method']} {row['target']} {row['headers']}",
        "status": status,
        "reason": reason,
        "headers": headers,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "text": body[:2000].decode("latin-1"),
        "trailers": list(trailers),
        "connection": ports.index(port),
    }
    print(json.dumps(saw))
