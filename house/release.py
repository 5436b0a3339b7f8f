"""A release: `make release VERSION=1.2.3` says what it would be, `ARGS=--really` makes it.

The version is written in one place, pyproject.toml; all else that names it is made from that. Nothing is pushed.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

__all__ = ["Changelog", "main", "released", "with_version"]

ROOT = Path(__file__).parents[1]
UNRELEASED = "## Unreleased"

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_IN_PYPROJECT = re.compile(r'^version = "([^"]*)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Changelog:
    """CHANGELOG.md in three parts.

    Attributes:
        before: What comes before the heading of what is not released.
        changes: What is below that.
        after: The releases there were.
    """

    before: str
    changes: str
    after: str

    @classmethod
    def of(cls, text: str) -> Changelog:
        """Take the text apart.

        Raises:
            ValueError: It has no section of what is not released, or nothing is in it.
        """
        before, found, rest = text.partition(f"{UNRELEASED}\n")
        if not found:
            raise ValueError(f"CHANGELOG.md has no section {UNRELEASED!r}")
        changes, mark, after = rest.partition("\n## ")
        if not re.search(r"^- ", changes, re.MULTILINE):
            raise ValueError(f"CHANGELOG.md tells of no change under {UNRELEASED!r}")
        return cls(before, changes.strip("\n"), mark.lstrip("\n") + after)


def released(text: str, version: str, date: str) -> str:
    """Return CHANGELOG.md with what was not released as a release.

    Raises:
        ValueError: There is nothing to release.
    """
    log = Changelog.of(text)
    after = f"\n{log.after}" if log.after else ""
    return f"{log.before}{UNRELEASED}\n\n## {version} - {date}\n\n{log.changes}\n{after}"


def with_version(text: str, version: str) -> str:
    """Return pyproject.toml with another version.

    Raises:
        ValueError: It does not have exactly one.
    """
    if len(_IN_PYPROJECT.findall(text)) != 1:
        raise ValueError("pyproject.toml: expected one line with the version")
    return _IN_PYPROJECT.sub(f'version = "{version}"', text)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.rstrip()


def _obstacles(version: str, present: str) -> list[str]:
    """Return all that is in the way of a release."""
    found = []
    if not _VERSION.fullmatch(version):
        return [f"{version!r} is not a version: expected three numbers, as 1.2.3"]
    if _numbers(version) < _numbers(present):
        found.append(f"{version} comes before {present}, which pyproject.toml has")
    if _git("tag", "--list", f"v{version}"):
        found.append(f"the tag v{version} is there already")
    if (branch := _git("branch", "--show-current")) != "main":
        found.append(f"the branch is {branch or 'none'}: releases are made on main")
    if changed := _git("status", "--porcelain"):
        found.append(f"the tree is not clean:\n{changed}")
    return found


def _run(*command: str) -> None:
    """Run a step, and show it."""
    click.echo(f"$ {' '.join(command)}")
    subprocess.run(command, cwd=ROOT, check=True)


def _make(version: str, files: dict[str, str]) -> None:
    """Write, check, commit, tag and build. What fails before the commit leaves everything as it was."""
    try:
        for name, text in files.items():
            (ROOT / name).write_text(text, "utf-8")
        _run("make", "generate")  # it installs the package anew, since pyproject.toml has changed
        _run("make", "check")
        _run("git", "commit", "--quiet", "--all", "--message", f"Release {version}")
    except (OSError, subprocess.CalledProcessError) as error:
        _git("checkout", "--quiet", "--force", "HEAD", "--", ".")
        raise click.ClickException(f"{error}\nNothing was released, and everything is as it was.") from error
    _run("git", "tag", "--annotate", f"v{version}", "--message", f"hafnium-exporter {version}")
    _run("make", "dist")
    click.echo(
        f"\nv{version} is tagged, dist/ has wheel, source and what is in them. To publish: git push origin main v{version}"
    )


@click.command()
@click.argument("version")
@click.option("--really", is_flag=True, help="Make the release; without, say what it would be and change nothing.")
def main(version: str, really: bool) -> None:
    """Release VERSION: three numbers, by semantic versioning (docs/upgrading.md)."""
    before = {name: (ROOT / name).read_text("utf-8") for name in ("pyproject.toml", "CHANGELOG.md")}
    present = (_IN_PYPROJECT.findall(before["pyproject.toml"]) or ["0.0.0"])[0]
    obstacles = _obstacles(version, present)
    files: dict[str, str] = {}
    try:
        today = datetime.now(UTC).date().isoformat()
        files["CHANGELOG.md"] = released(before["CHANGELOG.md"], version, today)
        files["pyproject.toml"] = with_version(before["pyproject.toml"], version)
    except ValueError as error:
        obstacles.append(str(error))
    if obstacles:
        raise click.ClickException("\n".join(["cannot be released:", *(f"- {obstacle}" for obstacle in obstacles)]))
    if really:
        _make(version, files)
        return
    click.echo(
        f"{present} → {version}, {today}. CHANGELOG.md would say:\n\n{Changelog.of(before['CHANGELOG.md']).changes}\n"
    )
    click.echo("Then: make generate, make check, a commit, the tag, wheel and source in dist/. ARGS=--really does it.")


if __name__ == "__main__":
    main()
