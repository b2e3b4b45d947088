"""Makes calls as standard input says, with the client of examples/python: see ../client.py."""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from facade import connect, details, metadata, totp_pb2, totp_pb2_grpc


def create(channel, member, key, deadline):
    request = totp_pb2.CreateRequest(organization_id="example-works", member_id=member.strip("-"))
    stub = totp_pb2_grpc.TotpServiceStub(channel)
    try:
        _, call = stub.Create.with_call(
            request, timeout=int(deadline) / 1000, metadata=metadata(key)
        )
    except grpc.RpcError as error:
        reason, upstream, fields = details(error)
        return [error.code().value[0], reason or "-", upstream or "-", ",".join(fields) or "-", "-"]
    replayed = dict(call.initial_metadata()).get("idempotent-replayed", "-")
    return [0, "-", "-", "-", replayed]


def health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    return [stub.Check(health_pb2.HealthCheckRequest(), timeout=300).status]


with connect() as channel:
    for line in sys.stdin:
        name, *arguments = line.split()
        print(*{"create": create, "health": health}[name](channel, *arguments), flush=True)
