"""Ordinary calls through a proxy, for as long as a block runs."""

import threading
import time
from collections import Counter
from contextlib import contextmanager

from proxies.client import ORGANIZATION, Outcome, new_key
from stubs import codes

PAUSE = 0.2  # seconds


class Traffic:
    """Calls that change something, with a key and without, and reads. None is retried here."""

    def __init__(self, caller):
        self.caller, self.calls, self.changes = caller, [], 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        rotate = codes.RotateRequest(member_id="enrolled", **ORGANIZATION)
        get = codes.GetRequest(member_id="enrolled", **ORGANIZATION)
        while not self.stop.is_set():
            self.calls.append(self.caller.start(self.caller.codes.Rotate, rotate))
            self.calls.append(self.caller.start(self.caller.codes.Rotate, rotate, key=new_key()))
            self.calls.append(self.caller.start(self.caller.codes.Get, get))
            self.changes += 2
            time.sleep(PAUSE)

    def failures(self):
        """What went wrong, and how often."""
        outcomes = map(Outcome, self.calls)
        return dict(Counter((*it.facts(), it.message) for it in outcomes if it.code != "OK"))


@contextmanager
def traffic(callers):
    """The traffic of each caller, by name."""
    all_traffic = {name: Traffic(caller) for name, caller in callers.items()}
    for each in all_traffic.values():
        each.thread.start()
    try:
        yield all_traffic
    finally:
        for each in all_traffic.values():
            each.stop.set()
            each.thread.join()
