"""curl as a client: `by_curl.py 1|2 ADDRESS NAME`, the first its HTTP.

One run of curl sends all requests of HTTP/1.1, so that it may reuse its connections.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from transcript import TRUST, shown, table


def options(row: dict, directory: pathlib.Path, index: int) -> list[str]:
    """What curl is to be told of one request."""
    told = ["--head"] if row["method"] == "HEAD" else ["--request", row["method"]]
    told += ["--output", directory / f"{index}.body", "--dump-header", directory / f"{index}.head"]
    told += ["--write-out", "%{local_port}\n", "--max-time", TRUST]
    for name, value in row["headers"]:
        told += ["--header", f"{name}: {value}"]
    if "body" in row:
        body = directory / f"{index}.sent"
        body.write_text(row["body"] * row.get("times", 1))
        told += ["--data-binary", f"@{body}"]
        if row.get("chunked"):
            told += ["--header", "transfer-encoding: chunked"]
    return [*BASE, *map(str, told), f"http://{address}{row['target']}"]


def requests() -> None:
    rows = list(enumerate(table("curl", version)))
    # curl 7.88 can't send a second request on a connection of HTTP/2 with prior knowledge.
    runs = [rows] if version == "1" else [[row] for row in rows]
    ports: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        for run in runs:
            send(run, pathlib.Path(name), ports)


def send(run: list[tuple[int, dict]], directory: pathlib.Path, ports: list[str]) -> None:
    command: list[str] = []
    for index, row in run:
        command += [*(["--next"] if command else []), *options(row, directory, index)]
    ran = subprocess.run(["curl", "--fail-early", *command], stdout=subprocess.PIPE, text=True)
    used = ran.stdout.split()
    if ran.returncode:
        sys.exit(f"curl ended with {ran.returncode} at {run[len(used) - 1]}")
    for (index, row), port in zip(run, used, strict=True):
        told(row, directory, index, port, ports)


def told(row: dict, directory: pathlib.Path, index: int, port: str, ports: list[str]) -> None:
    # A 100 comes in front of the answer's head, trailers come behind it.
    heads = (directory / f"{index}.head").read_bytes().decode("latin-1").split("\r\n\r\n")
    interim = [head for head in heads if head.split(" ")[1:2] == ["100"]]
    first, *lines = heads[len(interim)].split("\r\n")
    body = directory / f"{index}.body"
    read = body.read_bytes() if body.exists() and row["method"] != "HEAD" else b""
    _, status, reason = (first + "  ").split(" ", 2)
    headers = [line.split(": ", 1) for line in lines]
    headers = [[header[0].lower(), *header[1:]] for header in headers]
    shown(row, int(status), headers, read, port, ports, reason.strip(), heads[len(interim) + 1 :])


def stream(name: str) -> None:
    """An event stream with a request in between."""
    events = [*BASE, "--no-buffer", f"http://{address}/events/{name}"]
    with subprocess.Popen(["curl", *events], stdout=subprocess.PIPE, text=True) as curl:
        seen = [curl.stdout.readline()]
        go = ["curl", *BASE, "--request", "POST", f"http://{address}/go/{name}"]
        seen.append(subprocess.run(go, check=True, capture_output=True, text=True).stdout)
        seen += list(curl.stdout)
    print(json.dumps({"request": "events", "seen": seen}))


version, address, name = sys.argv[1:]
BASE = ["--silent", "--path-as-is", "--noproxy", "*"]
BASE += ["--http2-prior-knowledge"] if version == "2" else ["--http1.1"]
requests()
stream(name)
