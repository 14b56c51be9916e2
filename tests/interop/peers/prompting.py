"""What the prompts of Python SDKs share: statements come in and results go out, one JSON line each.

Every request `{id, run}` runs on a thread of its own in one namespace. The value of a last expression goes back as
source text, so that bytes stay bytes; what was raised goes back by its name, with what `told` knows of it. Runs under
the peers' own Pythons, on the standard library alone.
"""

import ast
import json
import sys
import threading
import traceback

UNKNOWN = {"status": None, "reason": None}


def serve(scope, told=lambda error: UNKNOWN):
    """Answer the lines of standard input until it ends. Standard output is taken as it is now: what an SDK prints
    there later may be sent elsewhere."""
    writing, out = threading.Lock(), sys.stdout

    def answer(request):
        try:
            said = {"value": plain(run(request["run"], scope))}
        except BaseException as error:
            traceback.print_exc()
            said = {"error": type(error).__name__, "text": str(error), **told(error)}
        line = json.dumps({"id": request["id"], **said}) + "\n"
        with writing:
            out.write(line)
            out.flush()

    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()


def run(source, scope):
    """The value of the last expression, None where the source ends otherwise."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<test>", "exec"), scope)
    return None if last is None else eval(compile(ast.Expression(last.value), "<test>", "eval"), scope)


def plain(value):
    """The value as source text; None for what has no such text (an SDK's own objects)."""
    text = repr(value)
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return "None"
    return text
