"""The SDK's own Python at a prompt (see prompting.py), whose namespace begins with `connect(user, password)`, which
makes a connection to the host, port and certificate of the command line, and `base`, the address below which types lie.
"""

import logging
import sys
from pathlib import Path

from PyPowerStore.powerstore_conn import PowerStoreConn

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))
    from prompting import serve

    logging.disable()
    host, port, certificate = sys.argv[1:4]

    def connect(user, password, verify=certificate):
        return PowerStoreConn(
            user, password, host, verify=verify, application_type="test/1.0", timeout=20.0, port_no=int(port)
        )

    serve(
        {"connect": connect, "base": f"https://{host}:{port}/api/rest"},
        lambda error: {"status": getattr(error, "status_code", None), "reason": getattr(error, "err_code", None)},
    )
