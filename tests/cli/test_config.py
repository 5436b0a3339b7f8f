"""`config`: what a person is told of a configuration, good or bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from exporter.cli.main import main
from exporter.config.schema import json_schema

SHIPPED = Path(__file__).parents[2] / "config" / "exporter.yml"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["hafnium-exporter", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def test_the_shipped_file_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "config", "validate", "--config", str(SHIPPED))
    assert (code, out) == (0, f"{SHIPPED}: ok: 8 services, 5 dependencies\n")


def test_errors_are_3_and_name_their_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text("services: {a: {instances: [b], probes: {tls: }}}")
    code, out, err = run(capsys, "config", "validate", "--config", str(path))
    assert (code, out) == (3, "")
    assert err.startswith(f"{path}:1:28: services.a.instances[0]: expected host:port")
    assert run(capsys, "config", "validate", "--config", str(tmp_path / "none.yml"))[0] == 3


def test_show_is_the_effective_configuration_with_secrets_masked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_PASSWORD", "hunter2")
    path = tmp_path / "exporter.yml"
    path.write_text(
        'defaults: {interval: 30s}\ndependencies: {c: {instances: [c:1], probes: {redis: {password: "${CACHE_PASSWORD}"}}}}'
    )
    code, out, _ = run(capsys, "config", "show", "--config", str(path))
    shown = yaml.safe_load(out)["dependencies"]["c"]["probes"]["redis"]
    assert code == 0
    assert "hunter2" not in out
    assert (shown["interval"], shown["password"]) == ("30s", "**********")


def test_show_masks_a_secret_in_its_files_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    redis = "{instances: [c:1], probes: {redis: {password_file: %s}}}"
    path.write_text(f"dependencies: {{c: {redis % 'hunter2'}, d: {redis % '/run/secrets/absent'}}}")
    code, out, _ = run(capsys, "config", "show", "--config", str(path))
    shown = yaml.safe_load(out)["dependencies"]
    assert (code, [shown[name]["probes"]["redis"]["password_file"] for name in "cd"]) == (
        0,
        ["**********", "/run/secrets/absent"],
    )


def test_schema_is_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "config", "schema")
    assert code == 0
    assert json.loads(out) == json_schema()


def test_help_and_version_are_0_and_an_unknown_verb_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--help")[0] == 0
    assert run(capsys, "--version")[1].startswith("hafnium-exporter, version ")
    code, _, err = run(capsys, "chekc")
    assert code == 3
    assert "chekc" in err
