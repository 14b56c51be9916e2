"""Where the hub listens, as its operator can type it."""

from __future__ import annotations

import socket
from pathlib import Path

from hub.serving import address, bind


def test_a_listening_socket_is_told_as_a_url() -> None:
    for host, told in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("0.0.0.0", "0.0.0.0")):
        with bind(host, 0) as listener:
            assert address("https", listener) == f"https://{told}:{listener.getsockname()[1]}"


def test_a_socket_in_the_file_system_is_told_by_its_path(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hub.sock"))
        assert address("http", listener) == f"unix:{tmp_path}/hub.sock"
