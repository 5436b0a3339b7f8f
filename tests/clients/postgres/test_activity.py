"""What a server says of its sessions, read: states that are not known are one."""

from __future__ import annotations

from exporter.clients.postgres.activity import _activity


def test_sessions_of_states_that_are_not_known_are_counted_as_other() -> None:
    states: list[tuple[str | None, ...]] = [
        ("active", "2", "1", "1", "0"), ("dreaming", "3", "0", "0", "0"), (None, "4", "0", "0", "0")
    ]  # fmt: skip
    found = _activity([("100", "97")], states, [("u", "a", "dreaming", "3", "0")])
    assert {state: count for state, count in found.sessions.items() if count} == {"active": 2, "other": 7}
    assert [holder.state for holder in found.holders] == ["other"]
