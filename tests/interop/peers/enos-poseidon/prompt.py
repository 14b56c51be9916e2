"""The vendor's REST client at a prompt: statements come in and results go out, one JSON line each.

Every statement runs on a thread of its own in one namespace that begins with the package's `poseidon`, `BASE` (the
hub's address of the command line) and `ask`, which calls it as its users do. What the package prints goes to
standard error.
"""

import ast
import contextlib
import json
import sys
import threading
import traceback

from poseidon import poseidon

KEY, SECRET = "a1b2-c3d4-e5f6", "0f1e-2d3c-4b5a"


def ask(method, path, data=None, **more):
    with contextlib.redirect_stdout(sys.stderr):
        return poseidon.urlopen(KEY, SECRET, BASE + path, data, method=method, **more)


BASE = sys.argv[1]
scope = {"poseidon": poseidon, "ask": ask, "BASE": BASE, "KEY": KEY, "SECRET": SECRET}


def run(source):
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<test>", "exec"), scope)
    return None if last is None else eval(compile(ast.Expression(last.value), "<test>", "eval"), scope)


def answer(request):
    try:
        said = {"value": repr(run(request["run"]))}
    except Exception as error:
        traceback.print_exc()
        said = {"error": type(error).__name__, "status": None, "reason": None, "text": str(error)}
    line = json.dumps({"id": request["id"], **said}) + "\n"
    with writing:
        out.write(line)
        out.flush()


if __name__ == "__main__":
    writing, out = threading.Lock(), sys.stdout
    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
