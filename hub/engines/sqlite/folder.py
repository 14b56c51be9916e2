"""The data folder: who may read it, who holds it, how much room is left.

One process at a time holds a folder (`flock` on `hub.lock`, so a lock never outlives its process). The data file is
made under another name and renamed when its schema is complete: a `hub.db` that is empty or missing beside its log is
therefore damage, never a fresh start.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from hub.model.errors import Damaged, Locked, StorageFailed

_LONGEST_PID = 20


class DataFolder:
    """A folder that this process holds from `take` to `give_back`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "hub.db"
        self.unfinished = path / "hub.db.new"
        self._lock: int | None = None

    def take(self) -> None:
        """Make the folder (0700) if there is none and lock it.

        Raises Locked when another process holds it, StorageFailed when it cannot be used.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "hub.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageFailed(f"the data folder {self.path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, _LONGEST_PID).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise Locked(f"the data folder {self.path} is in use by another hub (process {holder})") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def give_back(self) -> None:
        """Unlock; harmless when the folder is not held."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def has_data(self) -> bool:
        """Whether there is a data file; raises Damaged when only its remains are there."""
        if self.file.exists():
            if self.file.stat().st_size == 0:
                raise Damaged(f"the data file {self.file} is empty: it was cut off")
            return True
        log = self.beside(self.file, "-wal")
        if log.exists() and log.stat().st_size > 0:
            raise Damaged(f"the data file {self.file} is missing, but its log is there")
        return False

    def clear_unfinished(self) -> Path:
        """Remove what a creation that was cut short left behind; gives an empty file (0600) to begin again in."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            self.beside(self.unfinished, suffix).unlink(missing_ok=True)
        os.close(os.open(self.unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return self.unfinished

    def put_in_place(self) -> None:
        """Give the finished file its name, so that a crash leaves either no data file or a whole one."""
        for suffix in ("-wal", "-shm"):
            self.beside(self.file, suffix).unlink(missing_ok=True)
        os.replace(self.unfinished, self.file)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def keep_private(self) -> None:
        """Only the owner may read the data: SQLite makes the log with the mode of the file."""
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self.beside(self.file, suffix).chmod(0o600)

    def room(self) -> int:
        """Free bytes on the folder's disk, for us."""
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize

    @staticmethod
    def beside(file: Path, suffix: str) -> Path:
        return file.with_name(file.name + suffix)
