"""Python's httpx as a client: `by_httpx.py 1|2 ADDRESS NAME`, the first its HTTP."""

import json
import sys

import httpx
from transcript import TRUST, body_of, shown, table


def requests(client: httpx.Client) -> None:
    ports: list[int] = []
    for row in table("httpx", version):
        with client.stream(
            row["method"], row["target"], headers=row["headers"], content=body_of(row)
        ) as answer:
            # Before the body: the last answer of a connection closes it.
            port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
            raw = b"".join(answer.iter_raw())
            reason = answer.extensions.get("reason_phrase", b"").decode()
            headers = [[n.decode().lower(), v.decode("latin-1")] for n, v in answer.headers.raw]
            shown(row, answer.status_code, headers, raw, port, ports, reason)


def stream(client: httpx.Client, name: str) -> None:
    """An event stream with a request in between."""
    with client.stream("GET", f"/events/{name}") as answer:
        lines = answer.iter_lines()
        seen = [next(lines)]
        seen.append(client.post(f"/go/{name}").text)
        seen += list(lines)
    print(json.dumps({"request": "events", "seen": seen}))


version, address, name = sys.argv[1:]
with httpx.Client(
    base_url=f"http://{address}",
    http1=version == "1",
    http2=version == "2",
    timeout=TRUST,
    trust_env=False,
) as client:
    requests(client)
    stream(client, name)
