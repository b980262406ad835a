"""The sidecar's neighbours, as small as they can be: a keys service and an authorization provider.

Prints the addresses of both on one line. The provider tells what it was called with at GET /calls.
"""

import json
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
rows = {}
calls = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Service(Handler):
    """The quirk that matters: a DELETE answers 200 whatever it did."""

    def do_POST(self):
        new = json.loads(self.body())
        with lock:
            row = {
                "id": f"key-{len(rows) + 1}",
                "agent_id": new["agent_id"],
                "created_at": datetime.now(timezone.utc).isoformat(),
                "name": new["name"],
                "api_key_type": "external",
            }
            rows[row["id"]] = row
        self.answer(200, {**row, "api_key": "shown-once"})

    def do_GET(self):
        with lock:
            row = rows.get(self.path.rsplit("/", 1)[-1])
        self.answer(200 if row else 404, row or {"detail": "no such key"})

    def do_DELETE(self):
        key = self.path.rsplit("/", 1)[-1]
        with lock:
            rows.pop(key, None)
        self.answer(200, f"Agent API key with ID {key} deleted")


class Provider(Handler):
    def do_POST(self):
        body = self.body()
        if self.path == "/v1/authn":
            self.answer(200, {"principal_type": "user", "user_id": "user-1"})
            return
        with lock:
            calls.append({"path": self.path, "body": json.loads(body)})
        self.answer(200, {})

    def do_GET(self):
        with lock:
            self.answer(200, calls)


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever).start()
    return f"http://127.0.0.1:{server.server_port}"


if __name__ == "__main__":
    print(serve(Service), serve(Provider), flush=True)
