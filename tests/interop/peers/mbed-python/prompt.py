"""The SDK's own Python at a prompt (see prompting.py), whose namespace begins with `api`, a ConnectAPI for the host and
the key of the command line. SIGUSR1 writes to standard error where every thread is.
"""

import faulthandler
import logging
import queue
import signal
import sys
import threading
import time
from pathlib import Path

from mbed_cloud import ConnectAPI

logged = []
"""What the SDK logged as an error, and what ended one of its threads."""


class Keep(logging.Handler):
    def emit(self, record):
        logged.append(self.format(record))


class Seen:
    """A callback that keeps what it is called with."""

    def __init__(self):
        self._queue = queue.Queue()

    def __call__(self, *values):
        self._queue.put(values[0] if len(values) == 1 else values)

    def get(self, timeout=15):
        return self._queue.get(timeout=timeout)

    def take(self, count, timeout=15):
        return [self.get(timeout) for _ in range(count)]

    @property
    def waiting(self):
        return self._queue.qsize()


def timed(act):
    """How long something takes, in seconds."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def polling():
    """Whether the thread that polls is alive; the SDK itself only knows whether it was started."""
    thread = scope["api"]._notifications_thread
    return thread is not None and thread.is_alive()


scope = {"ConnectAPI": ConnectAPI, "Seen": Seen, "logged": logged, "polling": polling, "time": time, "timed": timed}
"""What the statements see and may change."""


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))
    from prompting import serve

    faulthandler.register(signal.SIGUSR1)
    logging.getLogger("mbed_cloud").addHandler(Keep(logging.ERROR))
    threading.excepthook = lambda ended: logged.append(f"a thread ended: {ended.exc_value!r}")
    config = {"host": sys.argv[1], "api_key": sys.argv[2]}
    scope.update(config=config, api=ConnectAPI(dict(config)))
    serve(
        scope,
        lambda error: {"status": getattr(error, "status", None), "reason": getattr(error, "reason", None)},
    )
