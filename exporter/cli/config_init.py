"""`config init`: a first configuration, from URLs, an application that is asked, or a cluster."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.cleartext import cleartext_option, refuse_cleartext
from exporter.cli.progress import ProgressLine
from exporter.cli.verbs import PROGRAM, Verb
from exporter.visible import visible

if TYPE_CHECKING:
    from exporter.scaffold.draft import Draft

__all__ = ["init"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_EXAMPLES = (
    ("config init", "Ask for the URLs, on a terminal."),
    (
        "config init http://localhost:8081 postgres://monitor@localhost:5432/app redis://localhost:6379",
        "One application, whose health components say what it uses, and two servers that it needs.",
    ),
    (
        "config init http://case-1:8084 http://case-2:8084 --output -",
        "Two instances of one application; print, write nothing.",
    ),
    ("config init --username monitor --password-file secrets/actuator https://case:8084", "An actuator that wants a login."),
    (
        "config init --kubeconfig ~/.kube/config --namespace hafnium --selector tier=backend",
        "What a namespace runs, where its workloads show an actuator, and what their environment says that they need.",
    ),
)
_ASKED = {
    "postgres": ("PostgreSQL", "postgres://ROLE@HOST:5432/DATABASE"),
    "redis": ("Redis", "redis://HOST:6379"),
    "kafka": ("Kafka", "kafka://HOST:9092,HOST:9092"),
}


@click.command(cls=Verb, short_help="Write one with a comment on each setting.", examples=_EXAMPLES)
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option(
    "--output", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default=Path("config/exporter.yml"),
    show_default=True, help="File to write, which must not be there yet; - prints it.",
)  # fmt: skip
@click.option("--kubeconfig", type=_FILE, help="Read a cluster, by this kubeconfig.")
@click.option("--in-cluster", is_flag=True, help="Read the cluster that this runs in.")
@click.option("--context", help="Context of the kubeconfig.  [default: its current one]")
@click.option("--namespace", help="Namespace to read.  [default: the context's]")
@click.option("--selector", help="Label selector of the workloads to read.  [default: all]")
@click.option("--username", help="For actuators that want a login, with --password-file.")
@click.option("--password-file", type=_FILE, help="File with that password; the configuration names the file.")
@click.option("--token-file", type=_FILE, help="File with a bearer token, for actuators that want one.")
@click.option("--ca-file", type=_FILE, help="PEM bundle to trust instead of the system's, of all that speaks TLS.")
@cleartext_option
@click.option("--listen", default="127.0.0.1:9818", show_default=True, help="Where the exporter is to listen.")
def init(urls: tuple[str, ...], output: Path, listen: str, **given: Any) -> None:
    """Write a configuration with a comment on each setting: a valid one, or none.

    URL is of an actuator (its path may be left out: usual paths and management ports are tried) or of a server that services
    need: postgres://, redis://, kafka://, tls://, or https:// of an OIDC issuer. Passwords are never asked for and never
    written: the file names files that have them.
    """
    _usage(urls, given)
    _must_not_exist(output)
    if not urls and not given["kubeconfig"] and not given["in_cluster"]:
        urls = _ask_for_urls()
    from exporter.config.errors import ConfigError
    from exporter.scaffold.draft import Unusable
    from exporter.scaffold.text import checked, written

    try:
        draft = _drafted(urls, given)
        text = written(draft, str(output) if str(output) != "-" else "config/exporter.yml", listen=listen)
        checked(text, str(output))
    except Unusable as error:
        raise click.ClickException(str(error)) from error
    except ConfigError as error:
        problems = "\n".join(f"  {problem.key}: {problem.message}" for problem in error.problems)
        raise click.ClickException(
            f"what was found does not make a valid configuration; nothing is written:\n{problems}"
        ) from error
    if str(output) == "-":
        click.echo(text, nl=False)
        return
    _write(output, text)
    _tell(draft, output)


def _usage(urls: Sequence[str], given: dict[str, Any]) -> None:
    cluster = given["kubeconfig"] or given["in_cluster"]
    if given["kubeconfig"] and given["in_cluster"]:
        raise click.UsageError("give --kubeconfig or --in-cluster, not both")
    if urls and cluster:
        raise click.UsageError("give URLs or a cluster, not both; the file that is written takes more services by hand")
    for name in ("context", "namespace", "selector"):
        if given[name] and not cluster:
            raise click.UsageError(f"--{name} is for a cluster: add --kubeconfig FILE or --in-cluster")
    if given["context"] and not given["kubeconfig"]:
        raise click.UsageError("--context is of a kubeconfig: add --kubeconfig FILE")
    if bool(given["username"]) is not bool(given["password_file"]):
        raise click.UsageError("--username and --password-file go together")
    if given["username"] and given["token_file"]:
        raise click.UsageError("give --username or --token-file, not both")
    if given["allow_cleartext"] and not given["username"] and not given["token_file"]:
        raise click.UsageError("--allow-cleartext is for a login: add --username and --password-file, or --token-file")


def _must_not_exist(output: Path) -> None:
    if str(output) != "-" and (output.exists() or output.is_symlink()):
        raise click.ClickException(f"{output} is there already and stays as it is: choose another --output, or - to print")


def _ask_for_urls() -> tuple[str, ...]:
    if not sys.stdin.isatty():
        raise click.UsageError("nothing to begin with: give URLs, --kubeconfig or --in-cluster (see the examples in --help)")
    click.echo("URLs of your services, such as http://localhost:8081, one or more at a time; an empty line ends.", err=True)
    found: list[str] = []
    while line := click.prompt("URL", default="", show_default=False, err=True):
        found += _readable(line.split())
    if not found:
        raise click.UsageError("no URL, no configuration")
    return tuple(found)


def _readable(urls: Sequence[str]) -> list[str]:
    """Return those that can be read; say of the others why not."""
    from exporter.scaffold.draft import Unusable
    from exporter.scaffold.urls import read_url

    found = []
    for url in urls:
        try:
            read_url(url if "://" in url else f"http://{url}")
        except Unusable as error:
            click.echo(f"  {error}", err=True)
        else:
            found.append(url if "://" in url else f"http://{url}")
    return found


def _drafted(urls: Sequence[str], given: dict[str, Any]) -> Draft:
    import uvloop

    if not urls:
        from exporter.scaffold.cluster import read_cluster

        with ProgressLine("asking the cluster …"):
            draft = uvloop.run(read_cluster(given["kubeconfig"], given["context"], given["namespace"], given["selector"]))
    else:
        from exporter.scaffold.applications import ask_all
        from exporter.scaffold.spring import Entrance

        if _auth(given) and not given["allow_cleartext"]:
            refuse_cleartext(urls, "token" if given["token_file"] else "password")

        with ProgressLine("asking …") as line:
            draft = uvloop.run(ask_all(urls, Entrance(_auth(given), _tls(given), given["allow_cleartext"]), line.say))
        if sys.stdin.isatty() and sys.stderr.isatty():
            _ask_for_missing(draft)
    draft.connect()
    return draft


def _ask_for_missing(draft: Draft) -> None:
    from exporter.scaffold.applications import add_server

    for kind, services in draft.missing().items():
        called, example = _ASKED[kind]
        click.echo(
            f"{', '.join(services)} {'uses' if len(services) == 1 else 'use'} {called}; Spring does not tell where it is.",
            err=True,
        )
        line = click.prompt(f"{example}, or empty to leave it out", default="", show_default=False, err=True)
        for url in _readable(line.split()):
            add_server(draft, url)


def _auth(given: dict[str, Any]) -> dict[str, Any]:
    if given["token_file"]:
        return {"bearer": {"token_file": str(given["token_file"])}}
    if given["username"]:
        return {"basic": {"username": given["username"], "password_file": str(given["password_file"])}}
    return {}


def _tls(given: dict[str, Any]) -> dict[str, Any]:
    return {"ca_file": str(given["ca_file"])} if given["ca_file"] else {}


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and over none that is there."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, "utf-8")
        os.link(aside, path)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already and stays as it is") from None
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def _tell(draft: Draft, output: Path) -> None:
    def several(number: int, one: str, many: str) -> str:
        return f"{number} {one if number == 1 else many}"

    what = [several(len(draft.services), "service", "services")]
    if draft.dependencies:
        what.append(several(len(draft.dependencies), "dependency", "dependencies"))
    click.echo(f"wrote {visible(str(output))}: {' and '.join(what)}")
    files = sorted(_secret_files(draft.as_dict()))
    for file in files:
        if not Path(file).exists():
            click.echo(f"put a password into {file} (mode 0600)")
    option = "" if str(output) == "config/exporter.yml" else f" --config {visible(shlex.quote(str(output)))}"
    click.echo(f"next: {PROGRAM} check{option}")


def _secret_files(value: Any, key: str = "") -> set[str]:
    if isinstance(value, dict):
        return {file for name, inner in value.items() for file in _secret_files(inner, name)}
    return {value} if key in ("password_file", "token_file") else set()
