"""The SDK's own Python at a prompt: statements come in and results go out, one JSON line each.

Every request runs on a thread of its own in one namespace that begins with `connect(user, password)`, which makes a
connection to the host, port and certificate of the command line, and `base`, the address below which types lie.
"""

import ast
import json
import logging
import sys
import threading
import traceback

from PyPowerStore.powerstore_conn import PowerStoreConn

scope = {}
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
            "status": getattr(error, "status_code", None),
            "reason": getattr(error, "err_code", None),
            "text": str(error),
        }
    with writing:
        sys.stdout.write(json.dumps({"id": request["id"], **said}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    writing = threading.Lock()
    logging.disable()
    host, port, certificate = sys.argv[1:4]

    def connect(user, password, verify=certificate):
        return PowerStoreConn(
            user, password, host, verify=verify, application_type="test/1.0", timeout=20.0, port_no=int(port)
        )

    scope.update(connect=connect, base=f"https://{host}:{port}/api/rest")
    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
