"""Keeps one PostgreSQL for a whole test run: `cluster.py DIR [PORT]`.

Whoever needs the database holds a shared lock on `DIR/lease`. The keeper makes a cluster in
`DIR/data`, runs it, prints `ready`, and ends and removes it as soon as it gets the lease for itself,
i.e. when the last holder has gone, however it went. Nothing here is meant to last: no fsync.

While there is a `DIR/down`, whoever made it may end the server: it is started again, with the same
data at the same place, once that file is gone.

With a port it listens on 127.0.0.1 too, for passwords, and with TLS: its certificate, which names
`localhost`, is signed by `DIR/ca.pem`; `DIR/other.pem` has signed nothing.
"""

import ctypes
import fcntl
import glob
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "400",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "log_min_messages": "error",
}


def main(directory: str, port: str = "") -> None:
    user = unprivileged()
    os.makedirs(directory, exist_ok=True)
    data, sockets = os.path.join(directory, "data"), os.path.join(directory, "s")
    for path in (data, sockets):
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path, mode=0o700 if path == data else 0o755)
        if user:
            os.chown(path, user.pw_uid, user.pw_gid)
    run = {"cwd": "/", "preexec_fn": lambda: become(user), "stdin": subprocess.DEVNULL}
    subprocess.run(
        [tool("initdb"), "-D", data, "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "-E", "UTF8",
         "--locale=C.UTF-8"],
        check=True, stdout=sys.stderr, **run,
    )
    settings = dict(SETTINGS)
    if port:
        settings |= {"listen_addresses": "127.0.0.1", "port": port, "ssl": "on"}
        certify(directory, data, user)
    options = [f"-c{name}={value}" for name, value in settings.items()]
    command = [tool("postgres"), "-D", data, "-k", sockets, *options]

    def start() -> subprocess.Popen:
        server = subprocess.Popen(command, stdout=sys.stderr, **run)
        await_socket(server, sockets, port or "5432")
        return server

    server = start()
    print("ready", flush=True)
    # The one who started us goes on; so must our output's descriptors not hold its pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    keep(directory, server, start, data)


def keep(directory: str, server: subprocess.Popen, start, data: str) -> None:
    """Returns once nobody holds the lease and the server has ended and left nothing.

    The lease is free only then: the next keeper makes its cluster at the same place.
    """
    down = os.path.join(directory, "down")
    # Kept from look to look: between two of them the file may come and go.
    wanted = False
    with open(os.path.join(directory, "lease"), "a") as lease:
        while True:
            ended = server.poll() is not None
            wanted = wanted or os.path.exists(down)
            if ended and not os.path.exists(down):
                if not wanted:
                    break
                server, wanted = start(), False
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
                continue
            server.send_signal(signal.SIGINT)
            server.wait()
            break
        shutil.rmtree(data, ignore_errors=True)


def certify(directory: str, data: str, user) -> None:
    """Makes the certificates, and gives the server its own."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        openssl(directory, "req", "-x509", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.pem")
    openssl(directory, "req", *new, "-subj", "/CN=localhost", "-keyout", "data/server.key",
            "-out", "server.csr")
    with open(os.path.join(directory, "names"), "w") as names:
        names.write("subjectAltName=DNS:localhost\n")
    openssl(directory, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "data/server.crt")
    for name in ("server.key", "server.crt"):
        os.chmod(os.path.join(data, name), 0o600)
        if user:
            os.chown(os.path.join(data, name), user.pw_uid, user.pw_gid)


def openssl(directory: str, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, stdin=subprocess.DEVNULL,
                   stdout=sys.stderr, stderr=sys.stderr)


def await_socket(server: subprocess.Popen, sockets: str, port: str) -> None:
    ready = [tool("pg_isready"), "-q", "-h", sockets, "-p", port, "-U", "postgres"]
    socket = os.path.join(sockets, f".s.PGSQL.{port}")
    for _ in range(600):
        if server.poll() is not None:
            sys.exit(f"PostgreSQL ended at once with {server.returncode}")
        if os.path.exists(socket) and subprocess.run(ready).returncode == 0:
            return
        time.sleep(0.05)
    sys.exit("PostgreSQL does not answer")


def unprivileged():
    """Whom to run as: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    sys.exit("no user to run PostgreSQL as: make one named `postgres`")


def become(user) -> None:
    if user:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    # After setuid, which clears it. SIGQUIT is PostgreSQL's immediate shutdown.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def tool(name: str) -> str:
    for path in sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True):
        return path
    return shutil.which(name) or sys.exit(f"no {name}: install PostgreSQL (apt install postgresql)")


if __name__ == "__main__":
    main(*sys.argv[1:])
