"""The operations of a caller, each of them retried until it has an outcome."""

import asyncio
import uuid

import grpc

from proxies.client import ORGANIZATION
from rolling.attempt import KEY, NO_KEY, READ, Attempt, failed
from stubs import codes, codes_grpc, totp, totp_grpc

DEADLINE = 10  # seconds, of an attempt
PAUSE = 0.1  # seconds, between two attempts
MOST_ATTEMPTS = 1_000
TICK = 0.005  # seconds


class Operation:
    """Something that a caller wants done once, for a member of its own."""

    def __init__(self, member, kind, method, request):
        self.member, self.kind, self.attempts = member, kind, []
        self.method, self.request = method, request(member_id=member, **ORGANIZATION)
        self.metadata = [("idempotency-key", str(uuid.uuid4()))] if kind == KEY else []

    @property
    def first(self):
        return self.attempts[0]

    @property
    def last(self):
        return self.attempts[-1]

    async def run(self):
        self.attempts.append(await self.attempt())
        while self.last.may_be_retried(self.kind) and len(self.attempts) < MOST_ATTEMPTS:
            await asyncio.sleep(PAUSE)
            self.attempts.append(await self.attempt())

    async def attempt(self):
        call = self.method(self.request, timeout=DEADLINE, metadata=self.metadata)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            return failed(error)
        is_replay = ("idempotent-replayed", "true") in tuple(await call.initial_metadata())
        return Attempt("OK", request_id=response.request_id, is_replay=is_replay)


class Load:
    """Starts operations at a steady rate, however long they take: two with a key, two without, a read, and so on."""

    def __init__(self, addr, rate, most_open):
        # The library retries nothing: an attempt is what is counted as one here.
        self.channel = grpc.aio.insecure_channel(addr, [("grpc.enable_retries", 0)])
        codes_stub = codes_grpc.RecoveryCodesServiceStub(self.channel)
        create = totp_grpc.TotpServiceStub(self.channel).Create, totp.CreateRequest
        rotate = codes_stub.Rotate, codes.RotateRequest
        read = codes_stub.Get, codes.GetRequest
        self.mix = [(KEY, *create), (NO_KEY, *create), (KEY, *rotate), (NO_KEY, *rotate), (READ, *read)]
        self.rate, self.most_open = rate, most_open
        self.operations, self.tasks, self.open = [], [], 0
        self.stopped = asyncio.Event()
        self.starting = asyncio.create_task(self.start())

    async def start(self):
        loop = asyncio.get_running_loop()
        last, due = loop.time(), 0.0
        while not self.stopped.is_set():
            await asyncio.sleep(TICK)
            last, due = loop.time(), due % 1 + (loop.time() - last) * self.rate
            # A machine that is too busy gets fewer, rather than ever more at once.
            for _ in range(min(int(due), self.most_open - self.open)):
                number = len(self.operations)
                operation = Operation(f"member-{number}", *self.mix[number % len(self.mix)])
                self.operations.append(operation)
                self.open += 1
                self.tasks.append(asyncio.create_task(self.run(operation)))

    async def run(self, operation):
        try:
            await operation.run()
        finally:
            self.open -= 1

    async def end(self):
        """Waits until every operation has its outcome; with the operations."""
        self.stopped.set()
        await self.starting
        await asyncio.gather(*self.tasks)
        await self.channel.close()
        return self.operations
