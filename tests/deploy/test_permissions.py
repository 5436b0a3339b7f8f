"""Permissions are one list: what the client follows, what roles grant, and what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.clients.kubernetes.permissions import LEASE, OF_KIND, PERMISSIONS, Permission, Purpose
from exporter.clients.kubernetes.resources import RESOURCES, Kind
from exporter.deployment.roles import role, table
from exporter.ownership.settings import LeaseSettings
from tests.deploy.rendering import DEPLOY, Objects, chart, kustomized, of_kind
from tests.fixtures.deployers import Deployers


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_kind_is_followed_where_its_permission_is(kind: Kind) -> None:
    resource, permission = RESOURCES[kind], OF_KIND[kind]
    group = resource.api.removeprefix("apis/").rpartition("/")[0] if resource.api != "api/v1" else ""
    assert (permission.group, permission.resource) == (group, resource.name)
    assert (permission.purpose is Purpose.NODES) is not resource.namespaced


def test_there_is_one_for_every_kind_that_is_followed_and_for_no_other() -> None:
    assert OF_KIND.keys() == RESOURCES.keys()


def test_nothing_is_ever_written_but_the_lease() -> None:
    writing = {"create", "update", "patch", "delete", "deletecollection", "*"}
    assert {permission.resource for permission in PERMISSIONS if writing & set(permission.verbs)} == {"leases"}
    assert not any("*" in (permission.group, permission.resource, *permission.verbs) for permission in PERMISSIONS)
    assert LeaseSettings.model_fields["name"].default == LEASE


def granted(objects: Objects) -> dict[str, list[dict[str, list[str]]]]:
    """Return the rules of every role, by what comes after the names."""
    roles = of_kind(objects, "Role") + of_kind(objects, "ClusterRole")
    return {
        item["metadata"]["name"].partition("hafnium-exporter")[2].removeprefix("-") or "state": item["rules"]
        for item in roles
    }


def test_roles_grant_the_list_and_no_more(deployers: Deployers, tmp_path: Path) -> None:
    wanted = {purpose.value: role(purpose)["rules"] for purpose in Purpose}
    everything = granted(kustomized(deployers, tmp_path, "leader", "nodes", "certificates"))
    assert everything == wanted
    values = ("--set=mode=leader", "--set=kubernetes.nodes=true", "--set=kubernetes.certificates=true")
    assert granted(chart(deployers, *values)) == wanted
    assert granted(chart(deployers)) == {"state": wanted["state"]}


def test_secrets_that_are_named_are_the_only_ones_that_may_be_read(deployers: Deployers) -> None:
    values = (
        "--set=mode=leader",
        "--set=kubernetes.certificates=true",
        "--set=kubernetes.certificateSecrets={api-tls,web-tls}",
    )
    [rule] = role(Purpose.CERTIFICATES)["rules"]
    objects = granted(chart(deployers, *values))
    assert objects["certificates"] == [{**rule, "resourceNames": ["api-tls", "web-tls"]}]
    assert objects["leader"] == role(Purpose.LEADER)["rules"]


@pytest.mark.parametrize("permission", PERMISSIONS, ids=lambda p: f"{p.group}/{p.resource}:{','.join(p.verbs)}")
def test_the_page_names_each(permission: Permission) -> None:
    page = (DEPLOY.parent / "docs" / "kubernetes.md").read_text()
    assert table() in page
    assert any(f"`{permission.resource}`" in line and ", ".join(permission.verbs) in line for line in page.splitlines())
