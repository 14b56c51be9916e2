"""What is kept with a call whose job an upstream holds, so that the next process of the hub can go on with it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

MOST_FURTHER = 8


@dataclass(frozen=True, slots=True)
class Note:
    """The job; `result`: what it names is the address of the result; `further`: how many jobs came before it, `before`:
    those themselves. `found`: no answer gave the first of them to the call, it was only looked for."""

    job: str
    result: bool = False
    further: int = 0
    before: tuple[str, ...] = ()
    found: bool = False

    @property
    def first(self) -> str:
        """The job that the change became."""
        return self.before[0] if self.before else self.job

    def next(self, job: str, result: bool) -> Note | None:
        """The note of the job that follows; None where there is no end to them."""
        if self.further >= MOST_FURTHER:
            return None
        return replace(self, job=job, result=result, further=self.further + 1, before=(*self.before, self.job))

    def encoded(self) -> bytes:
        """As bytes, for the journal."""
        told: dict[str, object] = {
            "job": self.job, "result": self.result, "further": self.further, "before": self.before,
            "found": self.found,
        }  # fmt: skip
        return json.dumps(told).encode()


def decoded(data: bytes) -> Note:
    """The note of a journal. Raises ValueError for anything else."""
    value = json.loads(data)
    if not isinstance(value, dict) or not isinstance(value.get("job"), str):
        raise ValueError("this is no note of a job")
    before = tuple(str(job) for job in value.get("before", ()))
    return Note(value["job"], bool(value.get("result")), int(value.get("further", 0)), before, bool(value.get("found")))
