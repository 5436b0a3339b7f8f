"""The way by a kubeconfig, as kubectl has it: contexts, client certificates, tokens, credential plugins, OIDC."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from exporter.clients.kubernetes import kubeconfig_reader
from exporter.clients.kubernetes.access import Way, credentials_failure
from exporter.net.files import read_aside
from exporter.net.tls import restrain
from exporter.unforeseen import Where, tell
from exporter.verdict import Failure

__all__ = ["Kubeconfig"]

PATIENCE = 30.0
"""Seconds that reading may take, credential plugins included."""

LOOK_SECONDS = 10.0
"""Seconds after which the files are looked at again."""

LOOK_PATIENCE = 2.0
"""Seconds that looking may take, as on a file system that hangs."""

AHEAD = 60.0
"""Seconds before a token expires at which another is fetched; less where it lives for less than ten minutes."""

HOLD = 5.0
"""Seconds that must pass before what was refused or could not be read is read again: each time is a process. Until then
the way stays as it is, or untold: whoever asks is refused again, and learns why rather than that it takes too long."""

_LARGEST = 4 << 20


class Kubeconfig:
    """Follows a kubeconfig, the files that it names, and the life of its credentials.

    Args:
        file: The kubeconfig.
        context: Which context; default: its current one.
    """

    def __init__(self, file: Path, context: str | None) -> None:
        self._file = file
        self._context = context
        self._way: Way | None = None
        self._stamps: dict[str, tuple[int, int] | None] = {}
        self._looked_at = 0.0
        self._read_at = -inf
        self._renew_at: float | None = None
        self._refused = False
        self._unreadable: str | None = None
        self._reading: asyncio.Task[Way] | None = None

    async def way(self) -> Way:
        """Return the way; see `Connection`. Whoever asks while it is read waits for the same answer.

        Raises:
            Failure: The kubeconfig, or what it names, cannot be put to use.
        """
        if self._reading is None:
            held = asyncio.get_running_loop().time() < self._read_at + HOLD
            if held and self._unreadable is not None:
                raise credentials_failure(self._unreadable)
            if self._way is not None and (held or not await self._is_old()):
                return self._way
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_again(), name=f"read {self._file}")
                self._reading.add_done_callback(self._has_been_read)
        return await asyncio.shield(self._reading)  # a caller's deadline must not end a plugin that others wait for

    def refused(self, way: Way) -> None:
        """Have the credentials fetched again before the next request."""
        if self._way is way:
            self._refused = True

    async def close(self) -> None:
        """End what is under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _has_been_read(self, task: asyncio.Task[Way]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # every caller may have left: mark it as seen

    async def _read_again(self) -> Way:
        loop = asyncio.get_running_loop()
        self._looked_at = loop.time()
        try:
            self._way = await self._read()
        except Failure as failure:
            self._unreadable = failure.detail
            raise
        except Exception as error:  # told here, once: those who ask wait for the same answer, or have left
            tell(Where.TOKENS, f"{self._file} could not be put to use", error)
            self._unreadable = f"{self._file}: unexpected {type(error).__name__}: see the log"
            raise credentials_failure(self._unreadable) from error
        finally:
            self._read_at = loop.time()
        self._unreadable, self._refused = None, False
        return self._way

    async def _is_old(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._refused or (self._renew_at is not None and time.time() >= self._renew_at):
            return True
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        try:
            return await _current_stamps(self._stamps) != self._stamps
        except TimeoutError:
            return False  # what was read before stays in use

    async def _read(self) -> Way:
        try:
            return await self._read_whole()
        except TimeoutError:
            raise credentials_failure(f"{self._file}: cannot be read in time") from None
        except OSError as error:  # as where no process can be started
            raise credentials_failure(f"{self._file}: cannot be read: {_words(error)}") from None

    async def _read_whole(self) -> Way:
        stamps = await _current_stamps([str(self._file)])
        said = await self._ask()
        if "error" in said:
            raise credentials_failure(f"{self._file}: {said['error']}")
        if "@" in said["server"].partition("://")[2].partition("/")[0]:
            raise credentials_failure(f"{self._file}: its server has a user in its URL, which belongs under users")
        try:
            context = await asyncio.to_thread(_context_of, said)
        except (OSError, TypeError, ValueError) as error:  # TypeError: what is no text of a certificate at all
            raise credentials_failure(f"{self._file}: its certificates cannot be used: {_words(error)}") from None
        self._stamps = stamps | await _current_stamps(said["files"])
        expires = said["expires"]
        self._renew_at = expires - min(AHEAD, max(0.0, expires - time.time()) / 10) if expires is not None else None
        return Way(said["server"].rstrip("/"), context, said["authorization"], said["server_name"], said["proxy"])

    async def _ask(self) -> dict[str, Any]:
        """Have the kubeconfig read by a process of its own, which ends with all that it started."""
        words = [
            sys.executable,
            "-P",
            kubeconfig_reader.__file__,
            str(self._file),
            *([self._context] if self._context else []),
        ]
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                assert process.stdout is not None  # noqa: S101 - it was asked for
                output = await process.stdout.read(_LARGEST)
                await process.wait()
            said = json.loads(output)
        except TimeoutError:
            raise credentials_failure(f"{self._file}: no credentials within {PATIENCE:g} s") from None
        except ValueError:
            raise credentials_failure(f"{self._file}: cannot be read") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if not isinstance(said, dict) or ("error" not in said and not isinstance(said.get("server"), str)):
            raise credentials_failure(f"{self._file}: names no server")
        return said


async def _current_stamps(names: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    wanted = tuple(names)
    async with asyncio.timeout(LOOK_PATIENCE):
        return await read_aside((_stamps, wanted), lambda: _stamps(wanted))


def _stamps(names: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    found: dict[str, tuple[int, int] | None] = {}
    for name in names:
        try:
            status = Path(name).stat()
            found[name] = status.st_mtime_ns, status.st_size
        except OSError:
            found[name] = None
    return found


def _context_of(said: dict[str, Any]) -> ssl.SSLContext | None:
    if not said["server"].startswith("https://"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    restrain(context)
    if said["authority"]:
        context.load_verify_locations(cadata=said["authority"])
    else:
        context.load_default_certs()
    if not said["verify"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if said["certificate"]:
        _load_client_certificate(context, f"{said['certificate']}\n{said['key'] or ''}")
    return context


def _load_client_certificate(context: ssl.SSLContext, pem: str) -> None:
    """Load a certificate and its key from memory: OpenSSL reads files only, and a key is better not written to a disk."""
    descriptor = os.memfd_create("client certificate")
    try:
        os.write(descriptor, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_refuse_encrypted_key)
    finally:
        os.close(descriptor)


def _refuse_encrypted_key() -> str:
    """Stand in for OpenSSL's own prompt, which would wait on the terminal for ever."""
    raise ssl.SSLError("the key is encrypted")


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
