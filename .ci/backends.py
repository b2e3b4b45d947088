"""What stands before and behind the façade in the scripts beside this one: a network that breaks, a log that counts
calls, a Stytch that can be reached or not."""

import json
import socket
import tempfile
import threading
from contextlib import contextmanager

from facade import facade
from process import free_port
from sandbox import Sandbox


class Proxy:
    """Forwards connections, and resets the open ones on demand."""

    def __init__(self, upstream):
        self.forward_to(upstream)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addr = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def forward_to(self, upstream):
        """Where new connections go."""
        host, port = upstream.split(":")
        self.upstream = (host, int(port))

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection(self.upstream)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open += [client, server]
            for pair in [(client, server), (server, client)]:
                threading.Thread(target=self.copy, args=pair, daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self):
        # Whoever connects meanwhile is not meant.
        ends, self.open = self.open, []
        for end in ends:
            # RST rather than FIN.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            try:
                end.shutdown(socket.SHUT_RD)
            except OSError:
                pass
            end.close()


class Log:
    """The façade's log, with one line for each call."""

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile("r")

    def calls(self, method):
        self.file.seek(0)
        lines = (json.loads(line) for line in self.file if line.startswith("{"))
        return sum(
            line["message"] == "call ended" and line.get("method", "").endswith(f"/{method}")
            for line in lines
            if line["target"] != "audit"
        )


@contextmanager
def alive():
    """A façade in front of its sandbox."""
    log = Log()
    with open(log.file.name, "w") as stderr:
        flags = ["--sandbox-control", "--log", "totp_facade=debug", "--log-format", "json"]
        with facade("dev", *flags, lines=3, stderr=stderr) as addrs:
            yield addrs["grpc"], log, Sandbox(addrs["sandbox"])


@contextmanager
def dead():
    """A façade in front of a closed port."""
    log = Log()
    settings = {
        "STYTCH_PROJECT_ID": "project-test-1",
        "STYTCH_SECRET": "secret-test-1",
        "STYTCH_BASE_URL": f"http://127.0.0.1:{free_port()}",
    }
    with open(log.file.name, "w") as stderr:
        flags = ["--log", "totp_facade=debug", "--log-format", "json"]
        with facade("serve", *flags, stderr=stderr, **settings) as addrs:
            yield addrs["grpc"], log
