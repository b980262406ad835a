"""Loads on one sidecar at a time, and what it needed at most. Called by scripts/memory.sh."""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
BULK = 1 << 30
PIECE = b"x" * (256 << 10)
IDLE = 10_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = b"GET /small HTTP/1.1\r\nhost: x\r\n\r\n"
AUTHORITY = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x")]


async def service(reader, writer):
    """Answers /small, gives /bulk (1 GiB) and /large (10 MiB), and swallows what it is sent."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            await swallow(reader, head)
            size = {b"/bulk": BULK, b"/large": 10 * MIB}.get(path, 2)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            while size > 0:
                writer.write(PIECE[:size])
                await writer.drain()
                size -= len(PIECE)
            await writer.drain()
    writer.close()


async def swallow(reader, head):
    left = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            left = int(line.split(b":")[1])
    while left > 0:
        left -= len(await reader.read(min(left, MIB)))


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(headers):
    return b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in headers)


def http2_get(stream, path):
    return frame(1, 5, stream, block(AUTHORITY + [(b":path", path)]))


class Sidecar:
    """A fresh process, with everything in a directory of its own."""

    def __init__(self, binary, upstream):
        self.directory = tempfile.TemporaryDirectory()
        directory = pathlib.Path(self.directory.name)
        rules = pathlib.Path("config/agentex.yaml").read_text().split("\nrules:\n")[1]
        config = directory / "config.yaml"
        config.write_text(
            "listen: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\n"
            f"upstream: http://127.0.0.1:{upstream}\nforwarded: {{ trust: [] }}\n"
            "principal:\n  authn: { url: http://127.0.0.1:1/v1/authn }\n"
            "  deregister_as: { principal_type: service, service_account_id: s }\n"
            "authz: { memory: {} }\n"
            f"journal: {{ url: 'sqlite:{directory}/journal.db' }}\n"
            f"limits: {{ connections: 12000 }}\nrules:\n{rules}"
        )
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([binary, "run", config], stderr=log)
        self.port = self.listening()

    def listening(self):
        """The port that it tells of, once it does."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                # The last line may be half written.
                if '"message":"listening"' in line and line.endswith("}"):
                    return int(json.loads(line)["listen"].rsplit(":", 1)[1])
            time.sleep(0.05)
        raise RuntimeError(f"it does not start: {self.log.read_text()}")

    def peak(self):
        """VmHWM, in MiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    async def connect(self, **options):
        return await asyncio.open_connection("127.0.0.1", self.port, **options)


async def other_client(sidecar):
    """How long somebody else waits for a small answer."""
    began = time.monotonic()
    reader, writer = await sidecar.connect()
    writer.write(GET)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    writer.close()
    return time.monotonic() - began


async def many(sidecar, count, first):
    """`count` connections that send `first` and then nothing, and read nothing."""
    held = []
    for start in range(0, count, 500):
        opened = [sidecar.connect(limit=1024) for _ in range(min(500, count - start))]
        for _, writer in await asyncio.gather(*opened):
            writer.write(first)
            held.append(writer)
    return held


async def nothing(sidecar):
    return []


async def idle(sidecar):
    return await many(sidecar, IDLE, b"")


async def kept(sidecar):
    return await many(sidecar, IDLE, GET)


async def half_heads(sidecar):
    return await many(sidecar, IDLE, b"GET /small HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 1000)


async def download(sidecar):
    reader, writer = await sidecar.connect(limit=MIB)
    writer.write(b"GET /bulk HTTP/1.1\r\nhost: x\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    left = BULK
    while left:
        came = await reader.read(MIB)
        assert came, f"cut with {left} bytes to come: {head}"
        left -= len(came)
    return [writer]


async def upload(sidecar):
    reader, writer = await sidecar.connect()
    writer.write(b"POST /up HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % BULK)
    for _ in range(BULK // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    return [writer]


async def never_reading(sidecar):
    return await many(sidecar, 500, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")


async def slow_bodies(sidecar):
    head = b"PUT /up HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % MIB
    # Fewer than there are connections to the service.
    return await many(sidecar, 1000, head + b" " * 1000)


async def stuck_bodies(sidecar):
    head = b"POST /agent_api_keys HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % MIB
    held = await many(sidecar, 256, head + b" " * (MIB - 1))
    for writer in held:
        await writer.drain()
    return held


async def http2_idle(sidecar):
    return await many(sidecar, IDLE, PREFACE + frame(4, 0, 0))


async def http2_never_reading(sidecar):
    gets = b"".join(http2_get(2 * n + 1, b"/large") for n in range(100))
    # Fewer than there are connections to the service: those beyond get 503, as everybody then does.
    return await many(sidecar, 10, PREFACE + frame(4, 0, 0) + gets)


async def http2_resets(sidecar):
    flood = b"".join(
        http2_get(2 * n + 1, b"/small") + frame(3, 0, 2 * n + 1, (8).to_bytes(4, "big"))
        for n in range(20_000)
    )
    return await many(sidecar, 20, PREFACE + frame(4, 0, 0) + flood)


async def http2_endless_head(sidecar):
    more = frame(9, 0, 1, block([(b"x-more", b"a" * 100)]) * 100)
    first = frame(1, 1, 1, block(AUTHORITY + [(b":path", b"/")]))
    return await many(sidecar, 20, PREFACE + frame(4, 0, 0) + first + more * 500)


async def http2_settings(sidecar):
    return await many(sidecar, 20, PREFACE + frame(4, 0, 0) * 100_000)


# Name, load, and the bound in MiB over the process that does nothing.
LOADS = [
    ("nothing", nothing, 40),
    (f"{IDLE} connections that say nothing", idle, 100),
    (f"{IDLE} kept connections after one request each", kept, 250),
    (f"{IDLE} connections with half a head", half_heads, 250),
    ("1 GiB down", download, 20),
    ("1 GiB up", upload, 20),
    ("500 clients that read nothing of 10 MiB", never_reading, 400),
    ("1000 bodies that pass through and don't end", slow_bodies, 100),
    ("256 intercepted bodies of 1 MiB that don't end", stuck_bodies, 600),
    (f"{IDLE} idle HTTP/2 connections", http2_idle, 400),
    ("10 × 100 HTTP/2 streams of 10 MiB, nothing read", http2_never_reading, 400),
    ("HTTP/2 rapid reset: 20 × 20,000", http2_resets, 100),
    ("HTTP/2 header blocks without end: 20 × 5 MB", http2_endless_head, 100),
    ("HTTP/2 settings: 20 × 100,000", http2_settings, 100),
]


async def measure(binary, load):
    server = await asyncio.start_server(service, "127.0.0.1", 0, limit=MIB, backlog=4096)
    sidecar = Sidecar(binary, server.sockets[0].getsockname()[1])
    try:
        before = sidecar.peak()
        held = await load(sidecar)
        waited = max([await other_client(sidecar) for _ in range(20)])
        await asyncio.sleep(1)
        peak = sidecar.peak()
        for writer in held:
            writer.transport.abort()
        return before, peak, waited
    finally:
        sidecar.stop()
        server.close()


def main():
    binary, words = sys.argv[1], sys.argv[2:]
    print("| load | before MiB | peak MiB | another client waited at most ms |")
    print("|---|---|---|---|")
    over = []
    for name, load, bound in LOADS:
        if words and not any(word in name for word in words):
            continue
        before, peak, waited = asyncio.run(measure(binary, load))
        print(f"| {name} | {before:.0f} | {peak:.0f} | {waited * 1000:.0f} |", flush=True)
        if peak - before > bound:
            over.append(f"{name}: {peak - before:.0f} MiB more, bound {bound}")
    sys.exit("\n".join(over) if over else 0)


main()
