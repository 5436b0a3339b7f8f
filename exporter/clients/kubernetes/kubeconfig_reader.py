"""Reads a kubeconfig by the `kubernetes` package, in a process of its own, and writes what it says to the standard output.

The package takes 40 MB and seconds to import, and credential plugins that it runs may hang: neither is for the process that
probes. It is run as a script: `python kubeconfig_reader.py FILE [CONTEXT]`.
"""

from __future__ import annotations

import binascii
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def read(file: str, context: str | None, scratch: str) -> dict[str, Any]:
    """Return what a context says, credentials fetched.

    Raises:
        Exception: Whatever the package raises.
    """
    from kubernetes.client import Configuration  # noqa: PLC0415 - it is what takes long
    from kubernetes.config import kube_config  # noqa: PLC0415

    # The public functions do not tell when a token expires.
    loader: Any = kube_config._get_kube_config_loader(  # type: ignore[no-untyped-call] # the package has no types
        filename=file,
        active_context=context,
        persist_config=os.access(file, os.W_OK),  # as kubectl does: an OIDC provider's refresh token may serve once
        temp_file_path=scratch,
    )
    configuration = Configuration()
    loader.load_and_set(configuration)
    user = loader._user or {}
    token = configuration.api_key.get("BearerToken")
    certificate, key = (_content(name) for name in (configuration.cert_file, configuration.key_file))
    if "exec" in user and not token and not certificate:
        raise RuntimeError("the credential plugin gave no credentials")
    expiry = getattr(loader, "expiry", None)
    return {
        "server": configuration.host,
        "authorization": token,
        "expires": expiry.timestamp() if expiry is not None else None,
        "authority": _content(configuration.ssl_ca_cert),
        "certificate": certificate,
        "key": key,
        "verify": bool(configuration.verify_ssl),
        "server_name": getattr(configuration, "tls_server_name", None),
        "proxy": getattr(configuration, "proxy", None),
        "files": [name for name in _files(loader) if name],
    }


def _content(file: str | None) -> str | None:
    return Path(file).read_text("utf-8") if file else None


def _files(loader: Any) -> list[str]:
    """Name the files that the context refers to: when one changes, all is read again."""
    found = []
    for node, key in ((loader._cluster, "certificate-authority"), *((loader._user, key) for key in _USER_FILES)):
        name = node.safe_get(key) if node else None
        if isinstance(name, str):
            found.append(str(Path(node.path or ".").parent / name))
    return found


_USER_FILES = ("tokenFile", "client-certificate", "client-key")


def _unreadable(error: Exception) -> str:
    """Say what keeps a kubeconfig from being read, and where, in none of its own words: they may be a secret."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: is not YAML from here on; mend it, or write the file anew"
    if type(error).__name__ == "ReaderError":
        return "is no text, or has a character that YAML does not know; write the file anew"
    if isinstance(error, binascii.Error):
        return "something of it that ends in -data is not base64; write the file anew"
    return f"is no kubeconfig ({type(error).__name__}); expected clusters, contexts, users: see `kubectl config view`"


def main() -> None:
    """Read, and write one line of JSON; errors are told in `error`, without what they may quote."""
    logging.disable(logging.CRITICAL)  # the package logs what a plugin says, which may be a secret
    file, context = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    shared_memory = "/dev/shm"  # noqa: S108 - keys are better not written to a disk, and the root may be read-only
    place = shared_memory if os.access(shared_memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        try:
            said = read(file, context, scratch)
        except Exception as error:
            known = type(error).__name__ in ("ConfigException", "RuntimeError", "FileNotFoundError", "PermissionError")
            said = {"error": str(error) if known else _unreadable(error)}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
