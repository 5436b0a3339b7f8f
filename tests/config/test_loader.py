"""The configuration: what a good file comes to, and exactly what is said of a bad one."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.document import parse_document
from exporter.config.errors import ConfigError, Problem
from exporter.config.loader import load, validate
from exporter.config.models import Config
from exporter.config.schema import json_schema
from exporter.values import Address

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yml"))
SHIPPED = HERE.parents[1] / "config" / "exporter.yml"
MINIMAL = "services: {identity: {instances: [a:1], probes: {actuator: {}}}}"


def parse(text: str, environment: dict[str, str] | None = None) -> Config:
    return validate(parse_document(text, "exporter.yml", environment or {}))


def problems(text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, environment)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_error_of_a_bad_file_is_told_at_once_with_line_and_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(ConfigError) as caught:
        load(Path(path.name), {})
    assert f"{caught.value}\n" == path.with_suffix(".txt").read_text()


def test_every_bad_file_has_its_messages_and_none_is_left_over() -> None:
    assert {path.stem for path in BAD} == {path.stem for path in (HERE / "bad").glob("*.txt")}
    assert len(BAD) > 10


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_no_message_repeats_a_secret(path: Path) -> None:
    assert "hunter2" not in path.with_suffix(".txt").read_text()


@pytest.mark.parametrize(
    ("server", "fits"),
    [
        ("{listen: '127.0.0.1:9818', health_listen: '127.0.0.1:9818'}", False),
        ("{health_listen: '0.0.0.0:9818'}", False),
        ("{health_listen: '127.0.0.1:9818'}", False),
        ("{listen: 'localhost:9818', health_listen: '0.0.0.0:9818'}", False),
        ("{listen: '[::]:9818', health_listen: '[::1]:9818'}", False),
        ("{listen: '[::]:9818', health_listen: '0.0.0.0:9818'}", True),
        ("{listen: '[::1]:9818', health_listen: '0.0.0.0:9818'}", True),
        ("{listen: '127.0.0.1:9818', health_listen: '127.0.0.2:9818'}", True),
        ("{health_listen: '127.0.0.1:9819'}", True),
    ],
)
def test_health_has_an_address_of_its_own(server: str, fits: bool) -> None:
    """Else the start would say that the address is in use, and have one look for another process."""
    text = f"{MINIMAL}\nserver: {server}"
    if fits:
        parse(text)
    else:
        [told] = problems(text)
        assert "server.health_listen: is where server.listen listens, too" in told


def test_a_link_local_address_has_its_interface() -> None:
    """Without it, any interface would do, and another machine answer."""
    good = parse(MINIMAL.replace("a:1", "'[fe80::1%eth0]:1'"))
    assert good.services["identity"].instances.static == (Address("fe80::1%eth0", 1),)
    for host in ("fe80::1", "febf::1%", "fe80::1%a b"):
        [told] = problems(MINIMAL.replace("a:1", f"'[{host}]:1'"))
        assert ("the interface of a link-local address" in told) is (host == "fe80::1")


SECRETS = {
    "redis": "redis: {password: %s}",
    "postgres": "postgres: {database: d, user: u, password: %s}",
    "kafka": "kafka: {security: {protocol: SASL_SSL, mechanism: PLAIN, user: u, password: %s}}",
    "basic": "actuator: {auth: {basic: {username: u, password: %s}}}",
    "bearer": "actuator: {auth: {bearer: {token: %s}}}",
    "oauth2": "actuator: {auth: {oauth2: {token_url: https://sso.internal/token, client_id: c, client_secret: %s}}}",
    "header": "actuator: {headers: {X-Key: %s}}",
}


@pytest.mark.parametrize("probe", SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_that_no_protocol_can_carry_is_refused_with_its_place(probe: str) -> None:
    """Half of a surrogate pair, escaped or as Python reads an environment variable of bytes: no attempt must find it."""
    file = f"services: {{identity: {{instances: [a:1], probes: {{\n{probe}\n}}}}}}"
    parse(file % "good")
    escaped, from_environment = problems(file % r'"hunter2\ud800"'), problems(file % '"x${PW}"', {"PW": "hunter2\udcff"})
    assert [text.rpartition(": ")[2] for text in escaped] == ["has half of a surrogate pair, which is no character"]
    assert [text.rpartition(": ")[2] for text in from_environment] == ["environment variable PW is not UTF-8 text"]
    for text in (*escaped, *from_environment):
        assert text.startswith("exporter.yml:2:")
        assert "services.identity.probes." in text
        assert "hunter2" not in text


LINK = "links: {runbook: '%s'}"
DATABASE = "dependencies: {db: {instances: [a:1], probes: {postgres: {user: u, database: '%s'}}}}"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (LINK, "https://wiki.example:8443/a@b?c=d@e", "https://u:hunter2@wiki.example/a"),
        (LINK, "https://wiki.example?a=b@c", "https://hunter2@wiki.example"),
        (DATABASE, "orders@2026", "postgres://u:hunter2@host/orders"),
        (DATABASE, "passwords", "host=h password=hunter2 dbname=orders"),
    ],
)
def test_what_everybody_is_shown_holds_no_password(kind: str, good: str, bad: str) -> None:
    parse(f"{kind % good}\n{MINIMAL}")
    (told,) = problems(f"{kind % bad}\n{MINIMAL}")
    assert "hunter2" not in told


def test_a_key_that_is_no_text_is_refused() -> None:
    told = problems(r'services: {"a\ud800": {instances: [a:1], probes: {actuator: {}}}}')
    assert "exporter.yml:1:12: services: has half of a surrogate pair, which is no character" in told


def test_the_smallest_file_gets_every_default() -> None:
    config = parse(MINIMAL)
    probe = config.services["identity"].probe_settings["actuator"]
    assert config.server.listen == Address("0.0.0.0", 9818)
    assert (probe.interval, probe.timeout, probe.recheck, probe.confirm.failures) == (15.0, 5.0, 3.75, 2)


def test_defaults_reach_every_probe_and_its_own_settings_win() -> None:
    config = parse("""
        defaults:
          interval: 30s
          timeout: 3s
          confirm: {failures: 3}
          probes:
            actuator: {timeout: 2s, base_path: /manage, headers: {X-A: one}}
        services:
          identity: {instances: [a:1], probes: {actuator: }}
          case:
            instances: [a:1]
            probes: {actuator: {interval: 5s, timeout: 1s, confirm: {successes: 2}, headers: {X-B: two}}}
        """)
    identity, case = (config.services[name].probe_settings["actuator"] for name in ("identity", "case"))
    assert (identity.interval, identity.timeout, identity.confirm.failures) == (30.0, 2.0, 3)
    assert (case.interval, case.timeout, case.confirm.failures, case.confirm.successes) == (5.0, 1.0, 3, 2)
    assert set(case.headers) == {"X-A", "X-B"}  # type: ignore[attr-defined] # the kind's own settings
    assert case.base_path == "/manage"  # type: ignore[attr-defined] # the kind's own settings


def test_variables_are_put_in_with_defaults_and_an_escape() -> None:
    text = 'services: {identity: {instances: ["${HOST:-a}:${PORT}"], labels: {x: "$${y}"}, probes: {actuator: {}}}}'
    service = parse(text, {"PORT": "81"}).services["identity"]
    assert service.instances.static == (Address("a", 81),)
    assert service.labels == {"x": "${y}"}


def test_an_anchor_merges_and_what_is_written_beside_it_wins() -> None:
    config = parse("""
        services:
          identity: {instances: [a:1], probes: {actuator: &base {interval: 10s, timeout: 2s}}}
          case: {instances: [a:1], probes: {actuator: {<<: *base, timeout: 1s}}}
        """)
    probe = config.services["case"].probe_settings["actuator"]
    assert (probe.interval, probe.timeout) == (10.0, 1.0)


def test_a_secret_is_masked_wherever_the_configuration_is_shown() -> None:
    config = parse("services: {a: {instances: [a:1], probes: {actuator: {headers: {X-Key: hunter2}}}}}")
    assert "hunter2" not in repr(config) + str(config.model_dump(mode="json")) + config.model_dump_json()


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing, binary = tmp_path / "missing.yml", tmp_path / "binary.yml"
    binary.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match=r"missing\.yml: cannot be read: No such file"):
        load(missing)
    with pytest.raises(ConfigError, match=r"binary\.yml:1:4: is not UTF-8 text"):
        load(binary)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yml"
    huge.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="is larger than"):
        load(huge)


def test_timeout_must_fit_into_the_interval() -> None:
    text = "services: {a: {instances: [a:1], probes: {actuator: {interval: 1s, timeout: 2s}}}}"
    assert problems(text) == ["exporter.yml:1:43: services.a.probes.actuator: timeout must not be longer than interval"]


def test_the_schema_is_valid_and_accepts_the_shipped_file() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(SHIPPED.read_text()), schema)


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    schema = json_schema()
    for text in ("services: {a: {instanzes: []}}", "server: {listen: [1]}", "defaults: {probes: {actuater: {}}}"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(text), schema)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
keys = st.sampled_from(
    ["server", "limits", "defaults", "services", "dependencies", "probes", "actuator", "instances", "dns", "port", "labels"]
) | st.text(max_size=8)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
)


@given(st.dictionaries(keys, trees, max_size=6))
def test_any_tree_is_either_a_configuration_or_a_list_of_errors_with_places(tree: dict[str, object]) -> None:
    found: tuple[Problem, ...] = ()
    try:
        parse(yaml.safe_dump(tree, allow_unicode=True))
    except ConfigError as error:
        found = error.problems or (Problem("", 0, 0, "", ""),)
    assert all(problem.line >= 1 and problem.message for problem in found)
