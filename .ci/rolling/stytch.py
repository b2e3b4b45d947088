"""Stytch as the replicas of these checks see it: it takes its time, and counts what it is asked to do, by member."""

import asyncio
import json
import random
from collections import Counter
from contextlib import asynccontextmanager

from facade import ROOT

SLOWEST = 0.3  # seconds
SAMPLE_MEMBER = "member-test-6fe2e0f6-071a-42bb-8d0b-1ef26d1b691e"
FIXTURES = "tests/it/fixtures/stytch"
READ = f"{FIXTURES}/recovery-codes-get.response.json"
SAMPLES = {
    # It has a QR code of the usual size.
    "/v1/b2b/totp": "bench/answers/create.json",
    "/v1/b2b/recovery_codes/rotate": f"{FIXTURES}/recovery-codes-rotate.response.json",
}


def sample(file):
    """The response in that file without its `request_id`, which says of which execution it is."""
    response = json.loads((ROOT / file).read_text())
    del response["request_id"]
    return json.dumps(response)[1:]


class Stytch:
    def __init__(self):
        self.executions, self.slowest = Counter(), SLOWEST
        self.samples = {file: sample(file) for file in [*SAMPLES.values(), READ]}
        self.tasks = {}  # with their connections

    def execute(self, head, body):
        """Counts the request from the moment at which it is complete, whether its response reaches anybody or not."""
        path = head.split(b" ", 2)[1].decode()
        file = SAMPLES.get(path, READ)
        member = path.rsplit("/", 1)[1] if file == READ else json.loads(body)["member_id"]
        self.executions[member] += 1
        request_id = f"{member}/{self.executions[member]}"
        return f'{{"request_id": "{request_id}", ' + self.samples[file].replace(SAMPLE_MEMBER, member)

    async def serve(self, reader, writer):
        self.tasks[asyncio.current_task()] = writer.transport
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
                body = await reader.readexactly(int(headers.get(b"content-length", 0)))
                response = self.execute(head, body).encode()
                await asyncio.sleep(random.uniform(0, self.slowest))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n%s" % (len(response), response))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The replica has closed the connection, or died.
        finally:
            del self.tasks[asyncio.current_task()]
            writer.close()


@asynccontextmanager
async def stytch():
    """With the settings by which a replica finds it."""
    it = Stytch()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    it.settings = {
        "STYTCH_PROJECT_ID": "project-test-1",
        "STYTCH_SECRET": "secret-test-1",
        "STYTCH_BASE_URL": f"http://127.0.0.1:{port}",
    }
    try:
        yield it
    finally:
        server.close()
        for transport in it.tasks.values():
            transport.abort()
        await asyncio.gather(*it.tasks)
