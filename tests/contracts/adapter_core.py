"""Cases of the adapter contract that want the core above the adapter; see 19 and the end of 20."""

from __future__ import annotations


class AdapterCore:
    """Together with the core."""
