"""What became of operations: what their caller saw, how often Stytch executed them, and why some failed."""

from collections import Counter

from expect import check
from rolling.attempt import KEY, NO_KEY, READ

# Why an attempt fails while replicas are killed. A failure of another kind has no explanation, and is one of the check.
WHY = {
    "UNKNOWN (connection termination)": "the replica died with the call in flight",
    "INTERNAL (RST_STREAM with error code 2)": "the replica died within its response",
    "UNAVAILABLE (remote connection failure)": "the replica of Envoy's last attempt refused the connection",
    "UNAVAILABLE (no healthy upstream)": "Envoy had left out both replicas",
    "UNKNOWN (upstream request timeout)": "Envoy's last attempt waited 5 s for the lease of a dead replica",
    "DEADLINE_EXCEEDED (caller's deadline)": "it waited for the lease of a dead replica until its deadline",
    "UNKNOWN OUTCOME_UNKNOWN unknown": "the lease of a dead replica was over",
}


class Fates:
    def __init__(self, operations, executions):
        self.operations, self.executions = operations, executions
        self.changes = [it for it in operations if it.kind != READ]

    def __str__(self):
        attempts = sum(len(it.attempts) for it in self.operations)
        rows = Counter(map(self.row, self.operations))
        return "\n".join([
            f"{len(self.operations)} operations, {attempts} attempts",
            "| call | first attempt | in the end | executed | calls | why it failed at first |",
            "|---|---|---|--:|--:|---|",
            *("| " + " | ".join([*map(str, row), str(count), WHY.get(row[1], "")]) + " |"
              for row, count in sorted(rows.items())),
        ])

    def row(self, it):
        end = "" if len(it.attempts) == 1 else f"{it.last}{', replayed' if it.last.is_replay else ''}"
        return it.kind, str(it.first), end, self.executions[it.member]

    def check_none_failed(self):
        check("operations that failed at first", self.where(self.operations, lambda it: it.first.code != "OK"), [])

    def check_some_failed(self, least):
        """Otherwise nothing has been tried."""
        failed = sum(it.first.code != "OK" for it in self.operations)
        check(f"at least {least} operations failed at first", failed >= least, True)

    def check_explained(self):
        failures = {str(attempt) for it in self.operations for attempt in it.attempts if attempt.code != "OK"}
        check("failures without an explanation", sorted(failures - WHY.keys()), [])

    def check_executions(self):
        """Nothing happened twice, and each caller was told the truth."""
        for what, is_wrong in [
            ("executed twice", lambda it: self.executions[it.member] > 1),
            ("OK, but not executed", lambda it: it.last.code == "OK" and not self.executions[it.member]),
            ("OK with the response of another execution",
             lambda it: it.last.code == "OK" and it.last.request_id != f"{it.member}/1"),
            # With a key, it is said of the last attempt only.
            ("executed, but UNAVAILABLE without a key",
             lambda it: it.kind == NO_KEY and it.last.code == "UNAVAILABLE" and self.executions[it.member]),
        ]:
            check(what, self.where(self.changes, is_wrong), [])

    def check_ends(self):
        """Whoever may retry a call gets an outcome by that, if only that it is unknown."""
        reads = [it for it in self.operations if it.kind == READ]
        check("reads without a response", self.where(reads, lambda it: it.last.code != "OK"), [])
        ends = {str(it.last) for it in self.changes if it.kind == KEY}
        check("outcomes with a key", sorted(ends - {"OK", "UNKNOWN OUTCOME_UNKNOWN unknown"}), [])

    @staticmethod
    def where(operations, condition):
        """Some of them, as they went."""
        return [f"{it.kind}: {', '.join(map(str, it.attempts))}" for it in operations if condition(it)][:10]
