"""One create and one delete through a running sidecar, beside the doubles of world.py.

    story.py SIDECAR PROVIDER
"""

import json
import sys
import time
import urllib.error
import urllib.request

sidecar, provider = sys.argv[1:]


def call(method, url, value=None):
    body = None if value is None else json.dumps(value).encode()
    headers = {"content-type": "application/json", "authorization": "Bearer of-the-test"}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def calls(path):
    """The bodies of the calls to `path`, once there are some."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        _, seen = call("GET", f"{provider}/calls")
        bodies = [one["body"] for one in seen if one["path"] == path]
        if bodies:
            return bodies
        time.sleep(0.05)
    return []


def expect(what, seen, wanted):
    if seen != wanted:
        sys.exit(f"{what}: expected {wanted}, saw {seen}")


user = {"principal_type": "user", "user_id": "user-1"}
status, key = call("POST", f"{sidecar}/agent_api_keys", {"agent_id": "agent-1", "name": "first"})
expect("POST", (status, key if status != 200 else key["api_key"]), (200, "shown-once"))
resource = {"type": "api_key", "selector": key["id"]}
parent = {"type": "agent", "selector": "agent-1"}
registration = {"principal": user, "resource": resource, "parent": parent}
expect("registrations", calls("/v1/authz/register"), [registration])

status, _ = call("DELETE", f"{sidecar}/agent_api_keys/{key['id']}")
expect("DELETE", status, 200)
deregistration = {"principal": user, "resource": resource}
expect("deregistrations", calls("/v1/authz/deregister"), [deregistration])
expect("GET after DELETE", call("GET", f"{sidecar}/agent_api_keys/{key['id']}")[0], 404)
