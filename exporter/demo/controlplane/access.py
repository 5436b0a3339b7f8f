"""The way into a control plane: commands, objects, identities with exactly the rights that one gives them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.demo.controlplane.client import APPLY, Client, Raw
from exporter.demo.controlplane.kinds import path_of
from exporter.demo.controlplane.orders import Orders
from exporter.demo.controlplane.servers import ADMIN, kubeconfig
from exporter.demo.controlplane.tokens import signed_token

__all__ = ["Access", "Identity", "KubectlError", "Rule"]

Rule = Mapping[str, Sequence[str]]
"""A rule of RBAC: apiGroups, resources, verbs, and resourceNames where wanted."""

MANAGER = "control-plane"
"""Name of who sets fields by `apply`."""


class KubectlError(RuntimeError):
    """kubectl failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who may speak to the API server.

    Attributes:
        name: Service account, or `admin`.
        namespace: Of the service account; also what commands are about by default.
        token: What proves it.
        config: A kubeconfig.
        cluster: Whether its rules hold in all namespaces.
    """

    name: str
    namespace: str
    token: str = field(repr=False)
    config: Path
    cluster: bool = False


class Access:
    """A control plane that runs somewhere, spoken to as its administrator or as whom one makes; from any event loop.

    Args:
        server: URL of the API server.
        pki: Folder of its certificate and of the key that signs tokens.
        token: The administrator's.
        programs: Folder of the programs.
        folder: Where kubeconfigs go; made if missing.

    Attributes:
        server: As given.
        programs: As given.
        folder: As given.
        ca_file: Authority of the API server's certificate.
        admin: Who may do everything.
        kubelets: What may be told to the kubelets, which somebody must play (`Kubelets`): there are no real ones.
    """

    def __init__(self, server: str, pki: Path, token: str, programs: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.server = server
        self.programs = programs
        self.folder = folder
        self.ca_file = pki / "apiserver.crt"
        self._signing_key = pki / "sa.key"
        self.admin = Identity(ADMIN, "default", token, folder / "admin.kubeconfig")
        self.admin.config.write_text(self._config(ADMIN, token, "default"))
        self.admin.config.chmod(0o600)
        self.kubelets = Orders(self.client)

    def client(self, identity: Identity | None = None) -> Client:
        """Return a client that is not open yet; the administrator's by default."""
        return Client(self.server, self.ca_file, (identity or self.admin).token)

    async def kubectl(self, *arguments: str, identity: Identity | None = None, stdin: str | None = None) -> str:
        """Run kubectl, as the administrator by default, and return what it prints.

        Raises:
            KubectlError: It fails, or takes longer than three minutes.
        """
        who = identity or self.admin
        process = await asyncio.create_subprocess_exec(
            self.programs / "kubectl", f"--kubeconfig={who.config}", f"--cache-dir={self.folder / 'kubectl'}", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(180):
                out, err = await process.communicate(stdin.encode() if stdin is not None else b"")
        except TimeoutError:
            raise KubectlError(f"kubectl {' '.join(arguments)}: not within three minutes") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {err.decode(errors='replace').strip()}")
        return out.decode()

    async def get(self, *arguments: str, identity: Identity | None = None) -> Raw:
        """Return what `kubectl get ARGUMENTS -o json` prints.

        Raises:
            KubectlError: It fails.
        """
        told: Raw = json.loads(await self.kubectl("get", *arguments, "-o", "json", identity=identity))
        return told

    async def apply(self, objects: Iterable[Raw], namespace: str | None = None) -> list[Raw]:
        """Apply objects on the server, fields held strictly to their schema, and return them as they are now.

        Args:
            objects: As in a manifest, one after the other.
            namespace: Of those that name none; `default` by default.

        Raises:
            ApiError: One is refused.
        """
        params = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        async with self.client() as client:
            return [
                await client.send("PATCH", path_of(item, namespace or "default"), item, APPLY, params) for item in objects
            ]

    async def delete(self, kind: str, name: str, namespace: str) -> None:
        """Delete an object, without waiting until it is gone.

        Raises:
            KubectlError: It fails.
        """
        await self.kubectl("delete", kind, name, "--namespace", namespace, "--wait=false")

    async def namespace(self, prefix: str = "test") -> str:
        """Make a namespace of one's own, and return its name.

        Raises:
            ApiError: It is refused.
        """
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": f"{prefix}-"}}
        async with self.client() as client:
            return str((await client.send("POST", "/api/v1/namespaces", body))["metadata"]["name"])

    async def as_user(
        self, name: str, rules: Sequence[Rule], namespace: str = "default", *, cluster: bool = False, seconds: int = 3600
    ) -> Identity:
        """Make a service account with exactly these rules, in effect when this returns.

        Args:
            name: Of the account, and of what grants it its rules.
            rules: What it may do.
            namespace: Where it is, and where the rules hold.
            cluster: Whether they hold in all namespaces, and for what is in none.
            seconds: How long its token lasts, ten minutes at least.

        Raises:
            ApiError: Something is refused.
        """
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        await self.apply([account], namespace)
        token = await self.request_token(name, namespace, seconds)
        identity = Identity(name, namespace, token, self.kubeconfig(name, token, namespace), cluster)
        await self.grant(identity, rules)
        return identity

    async def grant(self, identity: Identity, rules: Sequence[Rule]) -> None:
        """Let it do exactly this from now on; nothing, with no rules. It is in effect when this returns.

        Raises:
            ApiError: Something is refused.
        """
        role = "ClusterRole" if identity.cluster else "Role"
        name = f"{identity.namespace}-{identity.name}" if identity.cluster else identity.name
        group = "rbac.authorization.k8s.io"
        api, meta = f"{group}/v1", {"name": name}
        subject = {"kind": "ServiceAccount", "name": identity.name, "namespace": identity.namespace}
        reference = {"apiGroup": group, "kind": role, "name": name}
        mark = {"apiGroups": ["mark.invalid"], "resources": [f"m{time.monotonic_ns()}"], "verbs": ["get"]}
        rights = {"apiVersion": api, "kind": role, "metadata": meta, "rules": [*map(dict, rules), mark]}
        binding = {
            "apiVersion": api,
            "kind": f"{role}Binding",
            "metadata": meta,
            "subjects": [subject],
            "roleRef": reference,
        }
        await self.apply([rights, binding], identity.namespace)
        await self._until_in_effect(identity, str(mark["resources"][0]))

    async def withdraw(self, identity: Identity) -> None:
        """Take all its rights away; its token stays good. It is in effect when this returns.

        Raises:
            ApiError: Something is refused.
        """
        await self.grant(identity, [])

    async def request_token(self, account: str, namespace: str, seconds: int = 3600, secret: str | None = None) -> str:
        """Ask for a token of a service account (TokenRequest), which lasts ten minutes at least.

        Args:
            account: Of whom.
            namespace: Where it is.
            seconds: How long it lasts.
            secret: A Secret that it is bound to: when that is deleted, the token is refused within 10 s.

        Raises:
            ApiError: It is refused.
        """
        spec: dict[str, Any] = {"expirationSeconds": seconds}
        if secret is not None:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Secret", "name": secret}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        async with self.client() as client:
            return str((await client.send("POST", path, body))["status"]["token"])

    async def short_token(self, account: str, namespace: str, seconds: float) -> str:
        """Sign a token that the API server takes for so long, and for up to 10 s more once it has seen it.

        It forgives a minute: what the token itself says is a minute earlier. TokenRequest gives none below ten minutes.

        Raises:
            ApiError: There is no such account.
        """
        async with self.client() as client:
            raw = await client.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}")
        return signed_token(self._signing_key, account, namespace, raw["metadata"]["uid"], seconds - 60)

    def kubeconfig_path(self, name: str, namespace: str = "default") -> Path:
        """Return where the kubeconfig of an identity is, or will be."""
        return self.folder / "kubeconfigs" / namespace / f"{name}.kubeconfig"

    def kubeconfig(self, name: str, token: str, namespace: str = "default") -> Path:
        """Write a kubeconfig for a token, and return its path; one for the same name and namespace is replaced."""
        path = self.kubeconfig_path(name, namespace)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._config(name, token, namespace))
        path.chmod(0o600)
        return path

    def _config(self, name: str, token: str, namespace: str) -> str:
        return kubeconfig(self.server, self.ca_file, name, token, namespace)

    async def _until_in_effect(self, identity: Identity, mark: str) -> None:
        """Wait until the API server has learnt of a role: its last rule is a mark of nothing."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{identity.namespace}:{identity.name}",
                "resourceAttributes": {
                    "group": "mark.invalid", "resource": mark, "verb": "get", "namespace": identity.namespace,
                },
            },
        }  # fmt: skip
        async with self.client() as client, asyncio.timeout(30):
            path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
            while True:
                answer = await client.send("POST", path, review)
                if answer["status"]["allowed"]:
                    return
                await asyncio.sleep(0.02)
