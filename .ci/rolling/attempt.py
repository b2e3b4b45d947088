"""What a caller sees of an attempt, and whether docs/retries.md lets it retry."""

import re
from typing import NamedTuple

from google.rpc import error_details_pb2
from grpc_status import rpc_status

KEY, NO_KEY, READ = "with a key", "without a key", "read"


class Attempt(NamedTuple):
    code: str
    # The façade's word about the call, or what somebody else says instead.
    reason: str = ""
    upstream: str = ""
    # Of the response.
    request_id: str = ""
    is_replay: bool = False

    def __str__(self):
        return " ".join(filter(None, [self.code, self.reason, self.upstream]))

    def may_be_retried(self, kind):
        if self.code == "OK":
            return False
        if not self.upstream:
            # The caller's library or Envoy has made the status, and it may mean anything.
            return kind != NO_KEY
        if self.upstream == "not_sent" or kind == READ:
            return True
        # Any other outcome is remembered.
        return kind == KEY and self.reason == "DEADLINE_EXCEEDED"


def failed(error):
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else []:
        if detail.Unpack(info):
            return Attempt(error.code().name, info.reason, info.metadata["upstream"])
    return Attempt(error.code().name, f"({others_reason(error)})")


def others_reason(error):
    """Envoy's reason, without what differs each time, or that of gRPC's library."""
    details = error.details() or ""
    reset = re.search(r"(?<=reset reason: )[a-z ]+|RST_STREAM with error code \d+", details)
    if reset:
        return reset[0]
    return "caller's deadline" if "Deadline Exceeded" in details else details
