"""Known vulnerabilities of the packages that are shipped: `python -m shipping.audit`, a part of `make check`.

pip-audit asks PyPI of each. Where PyPI's database is out of reach, as behind a mirror that serves packages alone, nothing is
audited, and pip-audit nevertheless says that it found nothing: here that is told as it is, and is no failure.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Verdict", "audit", "judge"]

LOCK = Path(__file__).parents[1] / "requirements.serve.lock"

PATIENCE = 30.0
"""Seconds that an audit may take."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out: whether to fail, and the lines to say."""

    failed: bool
    lines: list[str]


def judge(report: Any) -> Verdict:
    """Say what pip-audit's report in JSON means."""
    known, unknown = [], []
    for one in report["dependencies"]:
        if "skip_reason" in one:
            unknown.append(one["name"])
        for hole in one.get("vulns", []):
            fixed = ", ".join(hole["fix_versions"]) or "no version yet"
            known.append(f"{one['name']} {one['version']}: {hole['id']}, fixed in {fixed}")
    total = len(report["dependencies"])
    if unknown and len(unknown) == total:
        return Verdict(failed=False, lines=["NOT AUDITED: no database of vulnerabilities knows these packages here"])
    lines = [*known, f"audited: {total - len(unknown)} packages, {len(known)} known vulnerabilities"]
    if unknown:
        lines.append(f"NOT AUDITED, as the database does not know them: {', '.join(unknown)}")
    return Verdict(failed=bool(known), lines=lines)


def audit(program: list[str], cache: Path, patience: float = PATIENCE) -> Verdict:
    """Run pip-audit over what is shipped.

    Args:
        program: What to run it by.
        cache: Where it may keep answers.
        patience: Seconds after which it is given up.
    """
    words = ["--requirement", str(LOCK), "--require-hashes", "--disable-pip", "--cache-dir", str(cache)]
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            [*program, *words, "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
        return judge(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return Verdict(failed=False, lines=[f"NOT AUDITED: no answer within {patience:g} s"])
    except json.JSONDecodeError:
        said = done.stderr.strip()
        if _UNREACHABLE.search(said):
            return Verdict(failed=False, lines=["NOT AUDITED: the database of vulnerabilities is out of reach"])
        return Verdict(failed=True, lines=[said[-2000:], "the audit itself failed"])


_UNREACHABLE = re.compile(r"Could not connect|not redirecting|requests\.exceptions\.|ServiceError")
"""What pip-audit says, in part by its traceback, of a database that does not answer or answers nonsense."""


if __name__ == "__main__":
    verdict = audit([sys.executable, "-m", "pip_audit"], Path(__file__).parents[1] / ".cache" / "audit")
    sys.stderr.write("".join(f"{line}\n" for line in verdict.lines))
    sys.exit(1 if verdict.failed else 0)
