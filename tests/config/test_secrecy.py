"""No secret is repeated, wherever in the file it stands and in whatever shape."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.cli.main import main
from exporter.config.document import Location, parse_document
from exporter.config.errors import ConfigError
from exporter.config.loader import validate
from tests.config.whole import WHOLE, at, paths, secret_fields, with_value

MARK = "xK9q"
PATHS = list(paths())
SECRETS = [path for path in PATHS if at(path) == "secret"] + [("defaults", "probes", "actuator", "headers", "X-Tenant")]

BEARER: Location = ("services", "case", "probes", "actuator", "auth", "bearer")

VALUES: dict[str, Callable[[str, Any], Any]] = {
    "a scalar": lambda secret, _: secret,
    "a list": lambda secret, _: [secret],
    "a key": lambda secret, _: {secret: None},
    "a key with a value": lambda secret, _: {secret: {"user": secret}},
    "user and password": lambda secret, _: f"prober:{secret}",
    "a map of user and password": lambda secret, _: {"prober": secret},
    "a name and a password": lambda secret, _: {"user": "prober", "pass": secret},
    "an address": lambda secret, _: f"prober:{secret}@host:443",
    "an address in a list": lambda secret, _: [f"prober:{secret}@host:443"],
    "a URL": lambda secret, _: f"https://prober:{secret}@host/token#x",
    "a word beside": lambda secret, old: {**old, "pasword": secret} if isinstance(old, dict) else {"pasword": secret},
    "a key beside": lambda secret, old: {**old, secret: secret} if isinstance(old, dict) else {secret: [secret]},
    "an item beside": lambda secret, old: [*old, secret] if isinstance(old, list) else [old, secret],
    "a duration": lambda secret, _: f"15s {secret}",
    "deep": lambda secret, _: {"value": {"value": {secret: {secret: secret}}}},
}
"""What may stand at a path, made of the secret and of what should be there."""

TEXTS = [
    "S", '"S', "'S", "*S", "&S x", "!S x", "!!S x", "!S", "%S", "@S", "`S", "S: S: x", "- S", "[S", "{S", "S]", "|S", ">S\n",
    "<<: S", "{<<: S}", "{<<: [S]}", "{S: 1, S: 2}", "{? [S] : x}", "{? {S: x} : y}", "!!int S", "!!bool S", "!!timestamp S",
    "!!float S", "!!binary S", "!!set {S}", "!!python/object:S {}", "2026-99-99S", "0x_S", '"\\S"', "${S}", "${S", "a${S}b",
    "\x01S", "\tS", "S\x00", "? S", "# S", "--- S", "...\nS", "S #", "%TAG ! S",
]  # fmt: skip
"""What may stand at a path as it is written, by someone who does not know YAML."""

secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12).map(lambda tail: f"{MARK}{tail}")


def told(text: str, environment: dict[str, str]) -> tuple[bool, str]:
    """Load a text; return whether it is a configuration, and what the errors say."""
    try:
        validate(parse_document(text, "exporter.yml", environment))
    except ConfigError as error:
        problems = error.problems
    else:
        return True, ""
    assert problems
    assert all(problem.line >= 1 and problem.message for problem in problems)
    return False, "\n".join(map(str, problems))


def run(text: str, verb: str) -> str:
    """Run `config validate` or `config show` over a text; return all that is printed and logged."""
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    logging.getLogger().addHandler(handler)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "exporter.yml"
        path.write_text(text, "utf-8")
        patch.setattr("sys.argv", ["hafnium-exporter", "config", verb, "--config", str(path)])
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), pytest.raises(SystemExit):
            main()
    logging.getLogger().removeHandler(handler)
    assert "Traceback" not in printed.getvalue()
    assert "unexpected" not in printed.getvalue()
    return printed.getvalue()


def test_the_whole_configuration_is_one_and_has_every_secret() -> None:
    config = validate(parse_document(yaml.safe_dump(WHOLE), "exporter.yml", {}))
    masked = str(config.model_dump(mode="json")).count("**********")
    assert masked > len(SECRETS)  # what is written under defaults reaches each use
    assert {name for _, name in secret_fields()} == {*(path[-1] for path in SECRETS if path[-1] != "X-Tenant"), "headers"}
    assert MARK not in run(yaml.safe_dump(WHOLE), "show")


@pytest.mark.parametrize("shape", VALUES)
def test_no_shape_of_a_secret_at_any_path_is_told(shape: str) -> None:
    for path in PATHS:
        text = yaml.safe_dump(with_value(path, VALUES[shape](f"{MARK}#1:b", at(path))))
        assert MARK not in told(text, {})[1], path


@pytest.mark.parametrize("written", TEXTS)
def test_no_way_of_writing_a_secret_is_told(written: str) -> None:
    for path in sorted({*SECRETS, *(path[:-1] for path in SECRETS)}, key=str):
        for flow in (False, True):
            text = yaml.safe_dump(with_value(path, "PLACE"), default_flow_style=flow)
            assert MARK not in told(text.replace("PLACE", written.replace("S", f"{MARK}7b")), {})[1], path


@given(st.sampled_from(PATHS), st.sampled_from(sorted(VALUES)), secrets)
@example((), "a scalar", MARK)
@settings(deadline=None, max_examples=100)
def test_nothing_that_is_printed_or_logged_has_the_secret(path: Location, shape: str, secret: str) -> None:
    text = yaml.safe_dump(with_value(path, VALUES[shape](secret, at(path))), allow_unicode=True)
    assert MARK not in run(text, "validate")
    if path in SECRETS or not told(text, {})[0]:
        assert MARK not in run(text, "show")


@given(
    st.sampled_from(PATHS),
    st.sampled_from(["${S}", "a${S}b", "u:${S}@h:1", "https://u:${S}@h/", "${S}: x", "[ ${S} ]"]),
    secrets,
)
@settings(deadline=None, max_examples=100)
def test_a_variable_with_a_secret_is_not_told(path: Location, written: str, secret: str) -> None:
    text = yaml.safe_dump(with_value(path, written))
    assert MARK not in told(text, {"S": secret})[1]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (BEARER, MARK, "bearer: expected a mapping"),
        (("services", "vault", "probes", "actuator", "auth", "basic"), f"u:{MARK}", "basic: expected a mapping"),
        (("dependencies", "cache", "probes", "redis"), MARK, "redis: expected a mapping"),
        (("dependencies", "cache", "instances"), [f"u:{MARK}@cache:6379"], "instances[0]: expected host:port"),
        (BEARER, {MARK: None}, "bearer.…: unknown key; known: token, token_file"),
        (BEARER, {"tokn": MARK}, "bearer.tokn: unknown key; did you mean 'token'?"),
        (BEARER, {"correcthorse": None}, "bearer.…: unknown key"),
        (BEARER[:-1], {"correcthorse": None}, "auth.…: unknown key"),
        (("dependencies", "cache", "probes", "redis"), {"correcthorse": 1}, "redis.…: unknown key"),
        (("dependencies", "cache", "probes", "redis", "password"), {"correcthorse": {}}, "password: expected text"),
        (("server",), {"nonsense": 1}, "server.nonsense: unknown key; known: listen"),
        (("dependencies", "cache", "probes", "redis", "password"), 123456789, "password: expected text; put a number"),
        (("dependencies", "cache", "probes", "redis", "password"), [MARK], "password: expected text"),
        (
            ("services", "identity", "probes", "actuator", "auth", "oauth2", "token_url"),
            f"https://u:{MARK}@keycloak/token",
            "token_url: the URL must carry neither credentials nor a fragment",
        ),
        (("services", "identity", "instances", "dns"), f"u:{MARK}@identity", "dns: expected a DNS name"),
        (("defaults", "probes", "actuator", "headers"), {f"X {MARK}": "x"}, "headers: … is not a header name"),
    ],
)  # fmt: skip
def test_what_is_said_instead_helps(path: Location, value: Any, expected: str) -> None:
    text = told(yaml.safe_dump(with_value(path, value)), {})[1]
    assert expected in text
    assert MARK not in text
    assert "123456789" not in text
    assert "correcthorse" not in text


@pytest.mark.parametrize("written", ["2026-99-99", "2026-01-31", "0x_", "12:34:56", "0b_", "1_000:59", "=", "<<"])
def test_a_plain_secret_that_looks_like_something_else_is_the_text(written: str) -> None:
    text = f"dependencies: {{c: {{instances: [c:1], probes: {{redis: {{password: {written}}}}}}}}}"
    config = validate(parse_document(text, "exporter.yml", {}))
    password = config.dependencies["c"].probe_settings["redis"].password  # type: ignore[attr-defined] # the kind's own
    assert password.get_secret_value() == written
