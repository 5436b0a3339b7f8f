"""The list of what is shipped: every package of the lock with its hashes, under licences that may be shipped."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shipping.sbom import LOCK, bill, foreign, texts

WITHOUT_TEXT: list[str] = []
"""Packages that carry no text of their licence."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The list, as `make sbom` makes it."""
    return bill()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_of_the_lock_is_in_it_with_version_and_hashes(document: dict[str, Any]) -> None:
    entries = re.split(r"\n(?=\S)", LOCK.read_text().strip())
    locked = {
        re.split("==", entry)[0]: (entry.split("==")[1].split()[0], set(re.findall(r"--hash=sha256:(\w+)", entry)))
        for entry in entries
    }
    assert len(locked) > 40
    found = {}
    for component in document["components"]:
        hashes = {
            one["content"]
            for reference in component["externalReferences"]
            for one in reference.get("hashes", ())
            if one["alg"] == "SHA-256"
        }
        found[canonical(component["name"])] = component["version"], hashes
        assert component["purl"] == f"pkg:pypi/{canonical(component['name'])}@{component['version']}"
    assert found == locked


def test_it_says_what_it_is_of_and_what_needs_what(document: dict[str, Any]) -> None:
    assert document["bomFormat"] == "CycloneDX"
    own = document["metadata"]["component"]
    assert own["name"] == "hafnium-exporter"
    needs = {one["ref"]: set(one["dependsOn"]) for one in document["dependencies"]}
    assert {name.partition("==")[0] for name in needs[own["bom-ref"]]} >= {"aiohttp", "kubernetes", "uvloop"}
    names = {component["bom-ref"] for component in document["components"]}
    assert set().union(*needs.values()) == names, "what is in it and nobody needs"


def test_every_licence_is_one_that_may_be_shipped_and_its_text_is_there(document: dict[str, Any]) -> None:
    assert {one["name"]: foreign(one) for one in document["components"] if foreign(one)} == {}
    assert [one["name"] for one in document["components"] if not any(len(text) > 200 for text in texts(one))] == WITHOUT_TEXT


@pytest.mark.parametrize(
    ("licenses", "wrong"),
    [
        ([{"expression": "Apache-2.0 AND (MIT OR BSD-3-Clause)"}], []),
        ([{"expression": "MIT AND GPL-3.0-only"}], ["GPL-3.0-only"]),
        ([{"license": {"id": "AGPL-3.0-or-later"}}], ["AGPL-3.0-or-later"]),
        ([{"license": {"name": "License :: Other/Proprietary License"}}], ["License :: Other/Proprietary License"]),
        ([], ["none is named"]),
    ],
)
def test_a_licence_that_may_not_be_shipped_is_found(licenses: list[dict[str, Any]], wrong: list[str]) -> None:
    assert foreign({"name": "x", "licenses": licenses}) == wrong
