"""The SDK's own Python at a prompt: statements come in and results go out, one JSON line each.

Every request runs on a thread of its own in one namespace that begins with `api`, a ConnectAPI for the host and the
key of the command line. The value of a last expression goes back as source text, so that bytes stay bytes. SIGUSR1
writes to standard error where every thread is.
"""

import ast
import faulthandler
import json
import logging
import queue
import signal
import sys
import threading
import time
import traceback

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


def run(source):
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<test>", "exec"), scope)
    return None if last is None else eval(compile(ast.Expression(last.value), "<test>", "eval"), scope)


def plain(value):
    """The value as source text; None for what has no such text (the SDK's own objects)."""
    text = repr(value)
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return "None"
    return text


def answer(request):
    try:
        said = {"value": plain(run(request["run"]))}
    except Exception as error:
        traceback.print_exc()
        said = {
            "error": type(error).__name__,
            "status": getattr(error, "status", None),
            "reason": getattr(error, "reason", None),
            "text": str(error),
        }
    line = json.dumps({"id": request["id"], **said}) + "\n"
    with writing:
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    writing = threading.Lock()
    faulthandler.register(signal.SIGUSR1)
    logging.getLogger("mbed_cloud").addHandler(Keep(logging.ERROR))
    threading.excepthook = lambda ended: logged.append(f"a thread ended: {ended.exc_value!r}")
    config = {"host": sys.argv[1], "api_key": sys.argv[2]}
    scope.update(config=config, api=ConnectAPI(dict(config)))
    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
