"""The list of what the image carries beside its base, in CycloneDX, and the licences of it: `python -m shipping.sbom dist`.

Versions and hashes are those of `requirements.serve.lock`, so of every file that pip would install from it; what each
package needs and under which licence it comes is told by the packages themselves, as they are installed beside this.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

__all__ = ["ALLOWED", "bill", "foreign", "licences", "main", "texts"]

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.serve.lock"
SCHEMA = SchemaVersion.V1_6

ALLOWED = frozenset(
    {
        "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0", "Python-2.0",
        "MPL-2.0",  # asks for the source of its own files alone, which are shipped as they are
        # What packages said before there were expressions.
        "License :: OSI Approved :: Apache Software License", "License :: OSI Approved :: BSD License",
        "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
    }
)  # fmt: skip
"""Licences under which a package may be shipped, by SPDX."""

Component = dict[str, Any]


def bill() -> dict[str, Any]:
    """Return the CycloneDX document.

    Raises:
        ValueError: A package of the lock is not installed in its version, or what came out is not of the schema.
    """
    with tempfile.TemporaryDirectory() as scratch:
        installed = _told("environment", "--output-reproducible", sys.executable, scratch=Path(scratch))
        locked = _told("requirements", str(LOCK), scratch=Path(scratch))
    found = {(_canonical(one["name"]), one["version"]): one for one in installed["components"]}
    components = []
    for entry in locked["components"]:
        key = _canonical(entry["name"]), entry["purl"].partition("@")[2]
        if key not in found:
            raise ValueError(f"{key[0]} {key[1]} is locked and not installed: make setup")
        hashed = [reference for reference in entry["externalReferences"] if reference["type"] == "distribution"]
        components.append({**found[key], "externalReferences": [*found[key].get("externalReferences", []), *hashed]})
    known = {one["bom-ref"] for one in components} | {installed["metadata"]["component"]["bom-ref"]}
    installed["components"] = components
    installed["dependencies"] = [
        {**one, "dependsOn": [name for name in one.get("dependsOn", []) if name in known]}
        for one in installed["dependencies"]
        if one["ref"] in known
    ]
    if error := JsonStrictValidator(SCHEMA).validate_str(json.dumps(installed)):
        raise ValueError(f"not of the schema: {error.data}")
    return installed


def licences(component: Mapping[str, Any]) -> list[str]:
    """Name the licences of a component: SPDX expressions, or what it says else."""
    found = []
    for choice in component.get("licenses", []):
        one = choice.get("license", {})
        found.append(choice.get("expression") or one.get("id") or one["name"])
    return found


def foreign(component: Mapping[str, Any]) -> list[str]:
    """Name the licences of a component that are not allowed; that it names none counts as one."""
    told = licences(component)
    if not told:
        return ["none is named"]
    names = [name for text in told for name in ([text] if " :: " in text else re.findall(r"[^()\s]+", text))]
    return [name for name in names if name not in ALLOWED | {"AND", "OR"}]


def texts(component: Mapping[str, Any]) -> list[str]:
    """Return the texts of a component's licences that its package carries."""
    files = distribution(component["name"]).files or []
    named = [file for file in files if _TEXT.search(str(file))]
    return [Path(str(file.locate())).read_text("utf-8", "replace").strip() for file in named]


_TEXT = re.compile(r"\.dist-info/(.*/)?(LICEN[CS]E|COPYING|NOTICE)[^/]*$", re.IGNORECASE)


def main() -> int:
    """Write both into a folder; fail where a licence is not allowed."""
    folder = Path(sys.argv[1])
    document = bill()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    parts = [
        "\n\n".join([f"{one['name']} {one['version']}: {'; '.join(licences(one))}", *texts(one)])
        for one in document["components"]
    ]
    (folder / "licences.txt").write_text(f"\n\n{'=' * 80}\n\n".join(parts) + "\n")
    wrong = {one["name"]: names for one in document["components"] if (names := foreign(one))}
    for name, names in wrong.items():
        sys.stderr.write(f"{name}: not an allowed licence: {', '.join(names)} (shipping/sbom.py)\n")
    sys.stdout.write(f"{folder}/sbom.cdx.json, {folder}/licences.txt: {len(document['components'])} packages\n")
    return 1 if wrong else 0


def _told(kind: str, *words: str, scratch: Path) -> dict[str, Any]:
    """Have cyclonedx-py tell of something; what is made of it is validated once, in the end."""
    out = scratch / f"{kind}.json"
    program = [sys.executable, "-m", "cyclonedx_py", kind, "--no-validate", "--pyproject", str(ROOT / "pyproject.toml")]
    form = ["--mc-type", "application", "--spec-version", SCHEMA.to_version(), "--of", "JSON", "--output-file", str(out)]
    done = subprocess.run([*program, *form, *words], capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode != 0:
        raise ValueError(f"cyclonedx-py {kind}: {done.stderr[-1000:]}")
    document: dict[str, Any] = json.loads(out.read_text())
    return document


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
