"""The vendor's REST client at a prompt (see prompting.py), whose namespace begins with the package's `poseidon`, `BASE`
(the hub's address of the command line) and `ask`, which calls it as its users do. What the package prints goes to
standard error.
"""

import contextlib
import sys
from pathlib import Path

from poseidon import poseidon

KEY, SECRET = "a1b2-c3d4-e5f6", "0f1e-2d3c-4b5a"


def ask(method, path, data=None, **more):
    with contextlib.redirect_stdout(sys.stderr):
        return poseidon.urlopen(KEY, SECRET, BASE + path, data, method=method, **more)


BASE = sys.argv[1]

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))
    from prompting import serve

    serve({"poseidon": poseidon, "ask": ask, "BASE": BASE, "KEY": KEY, "SECRET": SECRET})
