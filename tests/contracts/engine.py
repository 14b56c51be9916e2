"""The engine contract: every promise of `hub/ports/engine.py` as a sentence that each engine must keep.

`tests/contracts/test_engines.py` finds the engines by their folders and runs all of these on each.
"""

from tests.contracts.engine_jobs import JobsContract, PastContract
from tests.contracts.engine_journal import ForgettingContract, IdempotencyContract, JournalContract, ListingContract
from tests.contracts.engine_log import ChannelLogContract, CommitOrderContract, PositionsContract, RetentionContract
from tests.contracts.engine_rest import BellContract, DirectoryContract, LifeContract, OutboxContract

__all__ = [
    "BellContract", "ChannelLogContract", "CommitOrderContract", "DirectoryContract", "ForgettingContract",
    "IdempotencyContract", "JobsContract", "JournalContract", "LifeContract", "ListingContract", "OutboxContract",
    "PastContract", "PositionsContract", "RetentionContract",
]
