"""Files of secrets that others can read are told; each setting that names one is known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from exporter.cli.main import cli
from exporter.config.exposed import _SECRET_FILES, exposed_secrets
from exporter.config.loader import load
from exporter.config.models import Config
from exporter.probes import probe_types
from exporter.web.access.file import WebConfig, parse

NO_SECRET = frozenset({"ca_file", "cert_file", "client_ca_file", "state_file", "user_file", "username_file"})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with a secret, and a configuration that names it."""
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    cache = {"instances": ["127.0.0.1:1"], "probes": {"redis": {"password_file": str(path)}}}
    (tmp_path / "exporter.yml").write_text(yaml.safe_dump({"dependencies": {"cache": cache}}))
    return path


@pytest.mark.parametrize(
    ("mode", "says"),
    [(0o600, None), (0o640, None), (0o644, "may read it"), (0o666, "may write to it"), (0o602, "may write")],
)
def test_a_file_that_others_can_use_is_told(secret: Path, mode: int, says: str | None) -> None:
    secret.chmod(mode)
    told = list(exposed_secrets(load(secret.parent / "exporter.yml")))
    assert len(told) == (says is not None)
    done = CliRunner().invoke(cli, ["config", "validate", "--config", str(secret.parent / "exporter.yml")])
    assert done.exit_code in (0, None)
    if says is not None:
        assert f"{secret}: others {says}" in told[0]
        assert f"warning: {told[0]}" in done.output
        assert "hunter2" not in done.output
    else:
        assert "warning" not in done.output


def test_what_kubernetes_mounts_is_left_out(secret: Path, tmp_path: Path) -> None:
    (tmp_path / "..2026_11").mkdir()
    (tmp_path / "..data").symlink_to("..2026_11")
    secret.rename(tmp_path / "..2026_11" / "password")
    secret.symlink_to(Path("..data") / "password")
    os.chmod(tmp_path / "..2026_11" / "password", 0o644)  # noqa: PTH101 - the file behind the link
    assert list(exposed_secrets(load(tmp_path / "exporter.yml"))) == []


def test_a_file_that_is_not_there_is_for_others_to_tell(secret: Path) -> None:
    secret.unlink()
    assert list(exposed_secrets(load(secret.parent / "exporter.yml"))) == []


def test_what_is_no_path_is_for_others_to_tell(tmp_path: Path) -> None:
    config = parse('tls_server_config: {cert_file: server.pem, key_file: "a\\0b"}', "web.yml", tmp_path)
    assert list(exposed_secrets(config)) == []


def test_the_key_of_the_exporters_own_certificate_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "server.key").write_text("key")
    (tmp_path / "server.key").chmod(0o644)
    config = parse("tls_server_config: {cert_file: server.pem, key_file: server.key}", "web.yml", tmp_path)
    assert [text.partition(":")[0] for text in exposed_secrets(config)] == [str(tmp_path / "server.key")]


def _file_settings(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name.endswith("_file"):
            yield name
        for inner in _models(field.annotation):
            yield from _file_settings(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def test_every_setting_that_names_a_file_is_known_as_a_secret_or_as_none() -> None:
    models: list[type[BaseModel]] = [Config, WebConfig, *(kind.settings_type for kind in probe_types().values())]
    named = {name for model in models for name in _file_settings(model)}
    assert {"password_file", "token_file", "key_file"} <= named
    assert named <= _SECRET_FILES | NO_SECRET, named - _SECRET_FILES - NO_SECRET
