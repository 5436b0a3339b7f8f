"""An application is asked: where its actuator is, what it shows, what it uses."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from exporter.demo.ports import free_port
from exporter.probing.probe import SharedClients
from exporter.scaffold import spring
from exporter.scaffold.draft import Draft, Entry, Unusable
from exporter.scaffold.spring import Entrance, look
from exporter.scaffold.text import checked, written
from exporter.scaffold.urls import read_url
from tests.scaffold.applications import application

UP = {"status": "UP"}
FULL = {
    "/actuator": {"_links": {"self": {}, "health": {}, "prometheus": {}}},
    "/actuator/info": {"build": {"name": "case-service"}},
    "/actuator/health": {
        "status": "UP",
        "groups": ["liveness", "readiness", "custom"],
        "components": {
            "db": {"status": "UP", "details": {"database": "PostgreSQL"}},
            "redis": UP,
            "rabbit": UP,
            "diskSpace": UP,
        },
    },
}
NO_WAY_IN = Entrance({}, {})


async def asked(shared: SharedClients, url: str, entrance: Entrance = NO_WAY_IN) -> tuple[str, Entry]:
    """Ask, and hold what is found to be valid as a configuration."""
    name, entry = await look(read_url(url), entrance, shared)
    draft = Draft("a test")
    draft.add(name, entry)
    checked(written(draft, "exporter.yml", listen="127.0.0.1:9818"), "exporter.yml")
    return name, entry


def probe(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = entry.settings["probes"]["actuator"]
    return found


async def test_the_usual_one_needs_no_settings_but_its_groups(shared: SharedClients) -> None:
    async with application(FULL) as port:
        name, entry = await asked(shared, f"http://127.0.0.1:{port}")
    assert (name, entry.uses) == ("case", ("postgres", "redis"))
    assert entry.settings["instances"] == [f"127.0.0.1:{port}"]
    assert probe(entry) == {"groups": ["liveness", "readiness"]}
    assert entry.remarks == ["It uses rabbit, which no kind of probe here asks; its own health still tells of it."]


async def test_one_that_is_down_is_found_all_the_same(shared: SharedClients) -> None:
    async with application({"/actuator/health": (503, {"status": "DOWN"})}) as port:
        name, entry = await asked(shared, f"http://127.0.0.1:{port}")
    assert name == f"127-0-0-1-{port}"
    assert probe(entry) == {"metrics": False}


@pytest.mark.parametrize("base", ["/manage", "/management", "/"])
async def test_other_base_paths_are_tried(shared: SharedClients, base: str) -> None:
    async with application({f"{base.rstrip('/')}/health": UP}) as port:
        assert probe((await asked(shared, f"http://127.0.0.1:{port}"))[1])["base_path"] == base


async def test_a_path_that_is_given_is_the_only_one_that_is_asked(shared: SharedClients) -> None:
    async with application({"/inner/ops/health": UP, "/actuator/health": UP}) as port:
        assert probe((await asked(shared, f"http://127.0.0.1:{port}/inner/ops"))[1])["base_path"] == "/inner/ops"
        with pytest.raises(Unusable, match="no actuator at /elsewhere"):
            await asked(shared, f"http://127.0.0.1:{port}/elsewhere")


@pytest.mark.parametrize(
    ("main", "settings", "remarks"),
    [
        ({"/livez": UP, "/readyz": UP}, {}, 0),
        ({"/livez": UP}, {"paths": ["/livez"]}, 0),
        ({"/": UP}, None, 1),
    ],
    ids=["both", "one", "none"],
)
async def test_a_management_port_is_found_and_the_main_port_watched_too(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch, main: dict[str, Any], settings: Any, remarks: int
) -> None:
    management = {path: said for path, said in FULL.items() if path != "/actuator/info"}
    management["/actuator/health"] = {**UP, "groups": ["readiness"]}
    async with application(main) as port, application(management) as other:
        monkeypatch.setattr(spring, "_PORTS", (free_port(), other))
        _, entry = await asked(shared, f"http://127.0.0.1:{port}")
    expected = {"port": other, "groups": ["readiness"], **({"main": settings} if settings is not None else {})}
    assert (entry.settings["instances"], probe(entry)) == ([f"127.0.0.1:{port}"], expected)
    assert len(entry.remarks) == remarks


async def test_a_login_that_is_not_known_is_told_and_one_that_is_given_is_used(
    shared: SharedClients, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2")
    login = "Basic " + b64encode(b"monitor:hunter2").decode()
    auth = {"basic": {"username": "monitor", "password_file": str(file)}}
    async with application(FULL, login=login) as port:
        _, closed = await asked(shared, f"http://127.0.0.1:{port}")
        _, open_ = await asked(shared, f"http://127.0.0.1:{port}", Entrance(auth, {}))
        _, allowed = await asked(shared, f"http://127.0.0.1:{port}", Entrance(auth, {}, allow_cleartext=True))
    assert "wants credentials" in closed.remarks[0]
    assert probe(closed) == {}
    assert probe(open_) == {"auth": auth, "groups": ["liveness", "readiness"]}
    assert probe(allowed) == {**probe(open_), "allow_cleartext": True}


async def test_a_login_goes_to_no_port_that_is_only_guessed(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2")
    auth = {"basic": {"username": "monitor", "password_file": str(file)}}
    login = "Basic " + b64encode(b"monitor:hunter2").decode()
    async with application({"/": UP}) as port, application(FULL, login=login) as other:
        monkeypatch.setattr(spring, "_PORTS", (other,))
        _, entry = await asked(shared, f"http://127.0.0.1:{port}", Entrance(auth, {}))
    assert "were not sent to a port that was only guessed" in entry.remarks[0]
    assert probe(entry) == {"port": other, "auth": auth}


async def test_a_database_of_another_make_is_not_taken_for_postgres(shared: SharedClients) -> None:
    body = {**UP, "components": {"db": {"status": "UP", "details": {"database": "Oracle"}}}}
    async with application({"/actuator/health": body}) as port:
        _, entry = await asked(shared, f"http://127.0.0.1:{port}")
    assert entry.uses == ()
    assert "It uses Oracle" in entry.remarks[-1]


async def test_what_is_no_application_says_what_to_do(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spring, "_PORTS", ())
    with pytest.raises(Unusable, match="is it up, and the port right"):
        await asked(shared, f"http://127.0.0.1:{free_port()}")
    async with application({"/actuator/health": ["no", "object"], "/health": "text"}) as port:
        with pytest.raises(Unusable, match="answers, but no actuator"):
            await asked(shared, f"http://127.0.0.1:{port}")
