"""Every verb and option put to wrong use: one clear message, exit code 3, nothing done."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from exporter.cli.main import cli
from exporter.cli.verbs import PROGRAM, Verb
from exporter.demo.ports import free_port
from tests.cli.test_config import run

VALID = "services: {case: {instances: ['127.0.0.1:1'], probes: {actuator: {}}}}"
NAMED = "known: case"
CLEAR = "the password would cross the network to localhost. in the clear: use https, "


def verbs(group: click.Group = cli, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, (*above, name))
        else:
            yield (*above, name), command


VERBS = dict(verbs())
BAD: list[tuple[str, str]] = [
    ("chekc", "No such command 'chekc'. Did you mean 'check'?"),
    ("config valdiate", "No such command 'valdiate'. Did you mean 'validate'?"),
    ("config", ""),
    ("check caes", "no such service: caes; did you mean case? known: case"),
    ("check caes http://a", "names of the configuration or URLs, not both"),
    ("check --probe postgre", "no such kind of probe: postgre; did you mean postgres? known: actuator, kafka"),
    ("check --probe tls", "no probe is of kind tls; there are: actuator"),
    ("check case --probe tls", "no probe of case is of kind tls; there are: actuator"),
    ("check --output xml", "'xml' is not one of 'table', 'json', 'yaml'"),
    ("check --timeout soon", "'--timeout': expected a duration"),
    ("check --timeout 0s", "greater than zero"),
    ("check --watch=often", "'--watch': expected a duration"),
    ("check localhost:{free}", "is no name of a service, nor a URL, which has a scheme: http://HOST:PORT"),
    ("check http://a --probe redis", "no probe is of kind redis; there are: actuator"),
    ("check --watch caes", "no such service: caes; did you mean case?"),
    ("check mysql://db", "mysql is no URL of what can be probed; expected one such as http://"),
    ("check redis://:hunter2@db", "REDISCLI_AUTH"),
    ("explain", "Missing argument 'SERVICE'"),
    ("explain caes", "no such service: caes; did you mean case? " + NAMED),
    ("explain case --timeout 1x", "expected a duration"),
    ("explain case --url localhost", "expected a URL such as http://localhost:9818"),
    ("explain case --url http://localhost:99999", "'--url': expected a port from 1 to 65535"),
    ("explain case --url http://localhost:0", "'--url': expected a port from 1 to 65535"),
    ("explain case --url http://bücher.example:9818", "'--url': expected the host as it is looked up"),
    ("explain case --url http://[::1", "expected a URL such as http://localhost:9818"),
    ("check http://localhost:70000", "this http URL cannot be asked: expected a port from 1 to 65535"),
    ("check redis://кэш.example:6379", "this redis URL cannot be asked: expected the host as it is looked up"),
    ("serve --listen 127.0.0.1:65536", "'--listen': expected a port from 1 to 65535"),
    ("explain case --url http://u:hunter2@localhost", "leave user and password out"),
    ("explain case --url http://127.0.0.1:{free}", "no daemon at http://127.0.0.1:"),
    ("explain case --username u", "--username and --password-file go together"),
    ("explain case --url http://localhost.:{free} --username u --password-file {config}", CLEAR + "or --allow-cleartext"),
    ("explain case --url http://localhost:{free} --username u --password-file {config}", "no daemon at http://localhost:"),
    (
        "explain case --url http://localhost.:{free} --username u --password-file {config} --allow-cleartext",
        "no daemon at http://localhost.:",
    ),
    ("explain case --url http://localhost:{free} --allow-cleartext", "add --username and --password-file"),
    ("explain case --ca-file {config}", "add --url"),
    ("explain case --url https://127.0.0.1:{free} --ca-file {config}", "cannot be used"),
    ("serve --listen here", "expected host:port"),
    ("serve --log-level loud", "'loud' is not one of"),
    ("serve --web.config.file none.yml", "File 'none.yml' does not exist"),
    ("config validate extra", "Got unexpected extra argument (extra)"),
    ("config check-web", "Missing argument 'FILE'"),
    ("config check-web none.yml", "File 'none.yml' does not exist"),
    ("config init --output {config} http://a", "is there already and stays as it is"),
    ("config init --output -", "nothing to begin with: give URLs, --kubeconfig or --in-cluster"),
    ("config init --output - http://127.0.0.1:{free}/actuator", "cannot be asked: connect: connect_refused"),
    ("config init --output - http://u:hunter2@a", "--password-file"),
    ("config init --output - --listen here kafka://a", "server.listen: expected host:port"),
    ("config init --output - --kubeconfig none", "File 'none' does not exist"),
    ("config init --output - --kubeconfig {config}", "exporter.yml, namespace default: "),
    ("config init --output - --kubeconfig {config} http://a", "give URLs or a cluster, not both"),
    ("config init --output - --kubeconfig {config} --in-cluster", "give --kubeconfig or --in-cluster, not both"),
    ("config init --output - --namespace x http://a", "--namespace is for a cluster"),
    ("config init --output - --selector x http://a", "--selector is for a cluster"),
    ("config init --output - --in-cluster --context x", "--context is of a kubeconfig"),
    ("config init --output - --in-cluster", "the cluster that this runs in, namespace default: "),
    ("config init --output - --username u http://a", "--username and --password-file go together"),
    ("config init --output - --username u --password-file {config} --token-file {config} http://a", "not both"),
    ("config init --output - --username u:v --password-file {config} https://a", "username must have neither a colon"),
    ("config init --output - --username u --password-file {config} https://a http://b", "to b in the clear: use https, or"),
    ("config init --output - --token-file {config} http://192.0.2.1:8081", "the token would cross the network to 192.0.2.1"),
    ("config init --output - --username u --password-file {config} http://[::1]:{free}", "connect_refused"),
    (
        "config init --output - --username u --password-file {config} http://localhost.:{free} --allow-cleartext",
        "cannot be asked",
    ),
    ("config init --output - --allow-cleartext http://localhost:{free}", "--password-file, or --token-file"),
    ("config init --output - --ca-file {config} https://a", "exporter.yml: "),
    ("alerts build --output {config}", "is a file"),
    ("alerts build --scrape-interval often", "expected a duration"),
    ("alerts build --config none.yml", "File 'none.yml' does not exist"),
    ("dashboards build --out {config}", "is a file"),
    ("runbook chekc", "No such command 'chekc'. Did you mean 'check'?"),
    ("runbook check --runbook none.md", "none.md: is not there; --help says how another is named"),
    ("runbook check --config none.yml", "File 'none.yml' does not exist"),
    ("demo --fault no-such", "no-such"),
    ("demo --fault db-down@soon", "'--fault'"),
    ("demo --ports some", "'some' is not one of"),
    ("demo --duration soon", "expected a duration"),
    ("completion ksh", "'ksh' is not one of 'bash', 'zsh', 'fish'"),
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in a folder with a valid configuration, of which nothing answers."""
    (tmp_path / "exporter.yml").write_text(VALID)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAFNIUM_EXPORTER_CONFIG", str(tmp_path / "exporter.yml"))
    monkeypatch.delenv("SHELL", raising=False)


@pytest.mark.parametrize(("line", "told"), BAD, ids=[line for line, _ in BAD])
def test_bad_usage_is_3_and_says_what_to_do(
    line: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = line.format(config=tmp_path / "exporter.yml", free=free_port()).split()
    before = sorted(tmp_path.iterdir())
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (3, ""), out + err
    assert told in " ".join(err.split())
    assert "hunter2" not in err
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_teaches_and_refuses_what_it_does_not_know(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *verb, "--help")
    assert (code, err) == (0, "")
    assert "Examples:" in out
    assert f"  {PROGRAM} {' '.join(verb)}" in out
    code, out, err = run(capsys, *verb, "--hepl")
    assert (code, out) == (3, "")
    assert "No such option '--hepl'." in err
    assert "Did you mean" in err
    assert "'--help'" in err


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_option_and_verb_says_what_it_is_for(verb: tuple[str, ...]) -> None:
    command = VERBS[verb]
    assert isinstance(command, Verb)
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name


@pytest.mark.parametrize("group", ["", "config", "alerts", "dashboards", "runbook"])
def test_the_help_of_a_group_is_whole_in_a_terminal_of_eighty_columns(
    group: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, *group.split(), "--help")
    assert code == 0
    assert [line for line in out.splitlines() if len(line) > 79] == []
    assert [line for line in out.splitlines() if line.endswith("...") and not line.startswith("Usage:")] == []


WITH_CONFIG = [verb for verb, command in VERBS.items() if any("--config" in each.opts for each in command.params)]


@pytest.mark.parametrize("verb", WITH_CONFIG, ids=" ".join)
def test_a_configuration_that_cannot_be_used_is_3(
    verb: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argument = ("case",) if verb == ("explain",) else ()
    (tmp_path / "bad.yml").write_text("services: {case: {instanecs: []}}")
    (tmp_path / "folder").mkdir()
    for name, told in (
        ("none.yml", "File 'none.yml' does not exist"),
        ("folder", "is a directory"),
        ("bad.yml", "bad.yml:1:"),
    ):
        code, _, err = run(capsys, *verb, *argument, "--config", name)
        assert code == 3
        assert told in " ".join(err.split())
        assert "Traceback" not in err


def test_who_has_no_configuration_is_told_how_to_get_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HAFNIUM_EXPORTER_CONFIG")
    for verb in (("check",), ("serve",), ("explain", "case")):
        code, _, err = run(capsys, *verb)
        assert code == 3
        assert "write one: hafnium-exporter config init" in " ".join(err.split())
        assert ("; a URL needs none: hafnium-exporter check http://" in " ".join(err.split())) is (verb == ("check",))


def test_examples_are_valid_but_for_what_they_name() -> None:
    """Each example's options are ones that its verb has."""
    for verb, command in VERBS.items():
        assert isinstance(command, Verb)
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        for line, _ in command.examples:
            words = shlex.split(line.partition(" | ")[0].partition(" > ")[0].replace("<(", "").replace(")", ""))
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert options <= known, f"{verb}: {line}"
