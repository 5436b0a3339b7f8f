"""What a consumer group can be found to do, in words: for those who read of it and ask no broker themselves."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["GroupVerdict"]


class GroupVerdict(StrEnum):
    """What a consumer group does; closed, since it is a label value."""

    OK = "ok"
    """It commits, or there is nothing to read."""
    LAGGING = "lagging"
    """It commits, and falls further behind throughout the window."""
    STALLED = "stalled"
    """It has members, messages come in, and for the whole window nothing was committed anywhere."""
    POISONED = "poisoned"
    """It has members and commits elsewhere, and some partitions have stood at the same offset for the whole window."""
    STOPPED = "stopped"
    """It has no members, and messages wait for it."""
    REWOUND = "rewound"
    """A commit went back within the window: its offsets were reset, or it reads again what it had read."""
    AHEAD = "ahead"
    """A commit is beyond the end of the log: the topic was made anew, or has lost messages. New ones are skipped."""
    EMPTY = "empty"
    """It has no members, and nothing waits for it."""
    REBALANCING = "rebalancing"
    """Its members have been sharing out partitions for long, and nobody reads meanwhile."""
    UNKNOWN = "unknown"
    """Its commits or the ends of the log are not known, or it has not been watched for long enough."""
