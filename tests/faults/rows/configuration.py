"""Configuration, secrets and web configuration: missing, broken, replaced, rotated, at the start and while it runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
import yaml

from exporter.clients.redis.resp import command
from exporter.demo.ports import free_port
from exporter.demo.processes import bound
from exporter.demo.servers.valkey import ValkeyServer
from tests.faults.model import Fault
from tests.faults.rows.signals import refused
from tests.faults.scene import Scene

__all__ = ["FAULTS"]

Spoil = Callable[[Path], None]
"""Puts something else in a file's place."""

_HISTORY = "probing goes on, told, and it is left as it is"

_LOADED = "probe_exporter_config_last_reload_successful"


def _gone(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _written(content: bytes) -> Spoil:
    def spoil(path: Path) -> None:
        path.write_bytes(content)

    return spoil


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 << 30)


def _half(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b'\n  "')


def _restore(path: Path, content: bytes) -> None:
    """Put it back as people do: aside, and then in its place."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    aside = path.with_name("aside")
    aside.write_bytes(content)
    aside.replace(path)


def _kept(spoil: Spoil, says: str) -> Callable[[Scene], str]:
    """Spoil the file and have it reloaded, by a signal; then mend it."""

    def act(scene: Scene) -> str:
        scene.start()
        path = scene.daemon.path
        content = path.read_bytes()
        spoil(path)
        scene.send(1)
        scene.wait(lambda: scene.value(_LOADED) == 0, 20, "the refused reload is told")
        scene.says(says)
        line = next(line for line in scene.daemon.log.splitlines() if says in line)
        scene.watched(3)
        _restore(path, content)
        scene.send(1)
        scene.wait(lambda: scene.value(_LOADED) == 1, 20, "the mended file is loaded")
        scene.settled()
        return f"kept; {line.strip()}".replace(str(scene.folder), "…")[:160]

    return act


def _starts_not(spoil: Spoil, says: str) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        spoil(scene.daemon.path)
        return refused(scene, says, code=3)[:160]

    return act


def _unreadable(scene: Scene) -> str:
    """Root may read everything: it is taken from it by running as nobody."""
    scene.start(wrap=bound([], as_nobody=True))
    scene.daemon.path.chmod(0)
    scene.send(1)
    scene.wait(lambda: scene.value(_LOADED) == 0, 20, "the refused reload is told")
    scene.says("Permission denied")
    scene.daemon.path.chmod(0o644)
    scene.send(1)
    scene.wait(lambda: scene.value(_LOADED) == 1, 20, "the file that may be read is loaded")
    scene.settled()
    return "kept, told, and loaded once it may be read"


def _swapped(scene: Scene) -> str:
    """Swap the configuration as kubelets do: a link to a folder, replaced by another; the file is a link through it."""
    content = scene.daemon.path.read_bytes()
    scene.daemon.path.unlink()
    volume = scene.folder / "volume"
    volume.mkdir()

    def version(number: int, content: bytes) -> None:
        folder = volume / f"..{number}"
        folder.mkdir()
        (folder / "exporter.yml").write_bytes(content)
        (volume / "..new").symlink_to(folder.name)
        (volume / "..new").replace(volume / "..data")

    version(0, content)
    (volume / "exporter.yml").symlink_to("..data/exporter.yml")
    scene.daemon.named = str(volume / "exporter.yml")
    scene.start()
    for number in range(1, 21):
        version(number, content + b"# %d\n" % number)
        scene.holds(scene.reload() == 200, "a swapped file is not loaded")
        shutil.rmtree(volume / f"..{number - 1}")
    scene.settled()
    return "20 swaps, each loaded"


def _moved(scene: Scene) -> str:
    """Replace the folder of the configuration by another with the same file."""
    content = scene.daemon.path.read_bytes()
    place = scene.folder / "place"
    place.mkdir()
    (place / "exporter.yml").write_bytes(content)
    scene.daemon.named = str(place / "exporter.yml")
    scene.start()
    for number in range(5):
        place.rename(scene.folder / f"old-{number}")
        scene.holds(scene.reload() == 400, "a reload without a file is not refused")
        place.mkdir()
        (place / "exporter.yml").write_bytes(content)
        scene.holds(scene.reload() == 200, "the folder that is there again is not used")
    scene.settled()
    return "refused while it is gone, loaded when it is back"


def _storm(scene: Scene) -> str:
    scene.start()
    content = scene.daemon.path.read_bytes()
    for _ in range(200 if scene.long else 40):
        _half(scene.daemon.path)
        scene.holds(scene.reload() == 400, "half a file is not refused")
        _restore(scene.daemon.path, content)
    scene.holds(scene.reload() == 200, "the whole file is not loaded")
    scene.settled()
    return "all refused; the whole file loaded"


def _torn(scene: Scene) -> str:
    """Write the file in pieces all the time, as editors do, while it is read."""
    content, over = json.dumps(yaml.safe_load(scene.daemon.path.read_text())).encode(), threading.Event()
    scene.start()

    def write() -> None:
        while not over.is_set():
            with scene.daemon.path.open("wb", buffering=0) as file:
                for at in range(0, len(content), 100):
                    file.write(content[at : at + 100])
                    time.sleep(0.003)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        statuses = [scene.reload() for _ in range(300 if scene.long else 60)]
    finally:
        over.set()
        writing.join()
    scene.reload()
    scene.settled()
    scene.holds(set(statuses) <= {200, 400}, f"answers {set(statuses)}")
    return f"{statuses.count(200)} of {len(statuses)} reloads found a file that can be used, the others were refused"


def _moves_port(scene: Scene) -> str:
    scene.start()
    config = {**scene.targets.config(), "server": {"listen": "127.0.0.1:1"}}
    scene.daemon.write(config)
    scene.holds(scene.reload() == 200, "the reload is refused")
    scene.says("take effect at the next start")
    scene.settled()
    return "goes on where it listens, and says so"


# Secrets.


def _guarded(scene: Scene, act: Callable[[ValkeyServer, Path], str], *wrap: str) -> str:
    """Have it log in to a Valkey with a password, which is in a file."""
    secret = scene.folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text("first-password\n")
    with ValkeyServer(scene.folder / "guarded", options=("--requirepass", "first-password")) as guarded:
        probe = {"redis": {"password_file": str(secret), "allow_cleartext": True}}
        store = {"instances": [guarded.address], "probes": probe}
        scene.start(wrap=wrap, config=scene.targets.config(dependencies={"guarded": store}), settled=False)
        scene.settled()
        _is(scene, 1)
        seen = act(guarded, secret)
        scene.settled()
    return seen


def _is(scene: Scene, success: int | None, reason: str = "") -> None:
    scene.wait(lambda: scene.value("probe_success", service="guarded") == success, 20, f"its verdict is {success}")
    if reason:
        scene.wait(
            lambda: scene.value("probe_unknown", service="guarded", reason=reason) == 1, 20, f"it is unknown, {reason}"
        )


def _never_down(scene: Scene) -> None:
    scene.holds(scene.value("probe_success", service="guarded") != 0, "what may not be asked is told down")


def _refuses(guarded: ValkeyServer, password: str, old: str) -> None:
    with socket.create_connection((guarded.host, guarded.port), 10) as connection:
        for words in (("AUTH", old), ("CONFIG", "SET", "requirepass", password), ("CLIENT", "KILL", "TYPE", "normal")):
            connection.sendall(command(*words))
            connection.recv(4096)


def _secret_spoilt(spoil: Spoil, reason: str) -> Callable[[Scene], str]:
    """The secret's file is spoilt, and the server drops its connections, so that a login is needed."""

    def act(scene: Scene) -> str:
        def during(guarded: ValkeyServer, secret: Path) -> str:
            spoil(secret)
            _refuses(guarded, "first-password", "first-password")
            _is(scene, None, reason)
            _never_down(scene)
            scene.watched(3)
            _restore(secret, b"first-password\n")
            _is(scene, 1)
            return f"unknown ({reason}); up once it is back"

        return _guarded(scene, during)

    return act


def _secret_rotated(scene: Scene) -> str:
    def during(guarded: ValkeyServer, secret: Path) -> str:
        _refuses(guarded, "second-password", "first-password")
        _is(scene, None, "auth")
        _never_down(scene)
        _restore(secret, b"second-password\n")
        _is(scene, 1)
        return "unknown (auth) until the file follows, then up without a reload"

    return _guarded(scene, during)


def _secret_open(scene: Scene) -> str:
    def during(_: ValkeyServer, secret: Path) -> str:
        secret.chmod(0o666)
        scene.holds(scene.reload() == 200, "the reload is refused")
        scene.says(str(secret))
        return (
            next(line for line in scene.daemon.log.splitlines() if str(secret) in line)
            .partition(": ")[2]
            .replace(str(scene.folder), "…")
        )

    return _guarded(scene, during)


# The web configuration.

_EXPIRES = "probe_exporter_web_certificate_not_after_timestamp_seconds"
_WEB = "probe_exporter_web_config_last_reload_successful"


def _web(spoil: Spoil) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        path = scene.folder / "web.yml"
        path.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
        content = path.read_bytes()
        scene.start(options=("--web.config.file", str(path)))
        spoil(path)
        scene.wait(lambda: scene.value(_WEB) == 0, 20, "the refused file is told")
        scene.watched(3)
        _restore(path, content)
        scene.wait(lambda: scene.value(_WEB) == 1, 20, "the mended file is in use")
        scene.settled()
        return "served by what was read before; told; in use once it is mended"

    return act


def _web_at_start(scene: Scene) -> str:
    path = scene.folder / "web.yml"
    path.write_text("tls_server_config: {cert_file: nothing.pem, key_file: nothing.key}\n")
    return refused(scene, "nothing.pem", "--web.config.file", str(path), code=3)[:160]


class _Tls:
    """A certificate of the exporter's own, and who asks over TLS."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.folder = scene.folder / "tls"
        self.folder.mkdir()
        self.ca = trustme.CA()
        self.issue()
        (self.folder / "web.yml").write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
        scene.daemon.options = ("--web.config.file", str(self.folder / "web.yml"))
        scene.daemon.launch()
        scene.wait(lambda: self.serial() is not None, 20, "it answers over TLS")

    def issue(self, *, key: bool = True, expires: datetime | None = None) -> None:
        began = expires - timedelta(days=90) if expires is not None else None
        made = self.ca.issue_cert("localhost", not_before=began, not_after=expires)
        (self.folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        if key:
            made.private_key_pem.write_to_path(str(self.folder / "server.key"))

    def serial(self) -> str | None:
        """Ask for health over TLS; return the serial number of the certificate, None where it is not answered."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        try:
            url = f"https://localhost:{self.scene.daemon.port}"
            with urllib.request.urlopen(f"{url}/-/healthy", timeout=20, context=context) as answer:
                answer.read()
            text = ssl.get_server_certificate(("localhost", self.scene.daemon.port))
        except OSError:
            return None
        return text

    def unverified(self, path: str) -> str:
        """Ask as one who takes any certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        url = f"https://localhost:{self.scene.daemon.port}{path}"
        with urllib.request.urlopen(url, timeout=20, context=context) as answer:
            text: str = answer.read().decode()
        return text

    def left(self) -> float:
        """Return for how long its certificate holds, by its own metric; seconds."""
        lines = dict(line.rsplit(" ", 1) for line in self.unverified("/metrics").splitlines() if not line.startswith("#"))
        return float(lines[_EXPIRES]) - time.time()

    def told(self) -> bool:
        """Say whether what is in the files is in use."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        url = f"https://localhost:{self.scene.daemon.port}/metrics"
        with urllib.request.urlopen(url, timeout=20, context=context) as answer:
            return f"\n{_WEB} 1\n" in answer.read().decode()


def _rotated(scene: Scene) -> str:
    tls = _Tls(scene)
    for _ in range(3):
        before = tls.serial()
        tls.issue()
        scene.wait(lambda before=before: tls.serial() not in (None, before), 10, "the new certificate is served")  # type: ignore[misc]
    scene.holds(tls.told(), "it is not told that the files are in use")
    return "three certificates, each served within seconds"


def _expired(scene: Scene) -> str:
    """Its own certificate has expired: whoever verifies is lost, and so it must be said before, by who keeps it."""
    health = free_port()
    server = {"listen": f"127.0.0.1:{scene.daemon.port}", "health_listen": f"127.0.0.1:{health}"}
    scene.daemon.write(scene.targets.config(server=server))
    tls = _Tls(scene)
    tls.issue(expires=datetime.now(UTC) - timedelta(minutes=1))
    scene.wait(lambda: tls.serial() is None, 10, "the expired certificate is served")
    scene.says("the exporter's own certificate has expired")
    with urllib.request.urlopen(f"http://127.0.0.1:{health}/-/healthy", timeout=20) as answer:
        scene.holds(answer.status == 200, "health is not answered")
    scene.holds("alpha" in tls.unverified("/metrics"), "who does not verify is not answered")
    scene.holds(tls.left() < 0, "its metric does not say that it has expired")
    tls.issue()
    scene.wait(lambda: tls.serial() is not None, 10, "the new certificate is served")
    scene.holds(tls.told(), "it is not told that the files are in use")
    scene.holds(tls.left() > 0, "its metric is the old one's")
    return (
        "served and told in the log and by its metric; health by health_listen as ever; the new one served without a restart"
    )


def _tls_pipe(scene: Scene) -> str:
    tls = _Tls(scene)
    before = tls.serial()
    _pipe(tls.folder / "server.pem")
    scene.wait(lambda: not tls.told(), 10, "it is told that the files cannot be used")
    scene.holds(tls.serial() == before, "the old certificate is not served any more")
    (tls.folder / "server.pem").unlink()
    tls.issue()
    scene.wait(tls.told, 10, "the files that are there again are in use")
    return "served by the old pair; told; mended without a restart"


def _mismatched(scene: Scene) -> str:
    tls = _Tls(scene)
    before = tls.serial()
    tls.issue(key=False)
    scene.wait(lambda: not tls.told(), 10, "it is told that the files cannot be used")
    scene.holds(tls.serial() == before, "the old certificate is not served any more")
    tls.issue()
    scene.wait(tls.told, 10, "the files that belong together are in use")
    return "served by the old pair until both belong together; told"


_KEEP = "the old configuration stays; told by metric, log, page"
_LINE = "one line that says where, exit 3"
_UNKNOWN = "its target unknown, not down"
_BOMB = b"a: &a [1,1,1,1,1,1,1,1,1]\n" + b"".join(
    b"%c: &%c [%s]\n" % (97 + n, 97 + n, b",".join([b"*%c" % (96 + n)] * 9)) for n in range(1, 12)
)


def _history(spoil: Spoil) -> Callable[[Scene], str]:
    """Start with something else in the place of the file that keeps the history."""

    def act(scene: Scene) -> str:
        kept = scene.folder / "history.json"
        kept.write_bytes(b"mine\n")
        spoil(kept)
        before = kept.lstat()
        server = {"listen": f"127.0.0.1:{scene.daemon.port}", "state_file": str(kept)}
        scene.start(config=scene.targets.config(server=server))
        scene.says("is left unread")
        scene.wait(lambda: scene.value("probe_exporter_state_file_last_write_successful") == 0, 90, "it is told")
        scene.says("the history could not be written")
        after = kept.lstat()
        scene.holds((after.st_ino, after.st_mode) == (before.st_ino, before.st_mode), "it was replaced")
        scene.settled()
        return "every verdict right; told at the start and after a minute, and left as it is"

    return act


def _as_it_is(_path: Path) -> None:
    """Leave it."""


FAULTS = (
    Fault("start-no-file", "there is no configuration at the start", _LINE, _starts_not(_gone, "exporter.yml")),
    Fault("start-folder", "the configuration is a folder", _LINE, _starts_not(_folder, "exporter.yml")),
    Fault("start-empty", "the configuration is empty", _LINE, _starts_not(_written(b""), "exporter.yml"), quick=True),
    Fault("start-binary", "the configuration is binary", _LINE, _starts_not(_written(os.urandom(4096)), "exporter.yml")),
    Fault("start-pipe", "the configuration is a FIFO that nobody writes to", _LINE, _starts_not(_pipe, "exporter.yml"),
          quick=True),
    Fault("reload-no-file", "the configuration has gone", _KEEP, _kept(_gone, "No such file"), quick=True),
    Fault("reload-folder", "a folder is in its place", _KEEP, _kept(_folder, "exporter.yml: ")),
    Fault("reload-pipe", "a FIFO is in its place", _KEEP, _kept(_pipe, "exporter.yml: "), quick=True),
    Fault("reload-endless", "a link to /dev/zero is in its place", _KEEP, _kept(_endless, "exporter.yml: "), quick=True),
    Fault("reload-circle", "a link to itself is in its place", _KEEP, _kept(_circle, "exporter.yml: ")),
    Fault("reload-unreadable", "it may not be read, as nobody", _KEEP, _unreadable, quick=True),
    Fault("reload-empty", "it is empty", _KEEP, _kept(_written(b""), "exporter.yml"), quick=True),
    Fault("reload-binary", "it is binary", _KEEP, _kept(_written(bytes(range(256)) * 16), "exporter.yml")),
    Fault("reload-huge", "it has 2 GB", _KEEP, _kept(_huge, "exporter.yml"), quick=True),
    Fault("reload-half", "it is written halfway", _KEEP, _kept(_half, "exporter.yml"), quick=True),
    Fault("reload-bomb", "it is a bomb of aliases", _KEEP, _kept(_written(_BOMB), "exporter.yml")),
    Fault("reload-storm", "200 broken reloads", "the same, 200 times", _storm),
    Fault("reload-torn", "it is written in pieces while it is read (as JSON, of which no half is whole)",
          "half a file changes nothing", _torn),
    Fault("reload-swapped", "it is swapped as Kubernetes swaps a ConfigMap", "each version is loaded", _swapped, quick=True),
    Fault("reload-moved", "its folder is replaced by another", "loaded when it is there", _moved),
    Fault("reload-listen", "the new configuration listens elsewhere", "goes on where it is, and says so", _moves_port),
    Fault("secret-gone", "the file of a password has gone", _UNKNOWN, _secret_spoilt(_gone, "credentials"), quick=True),
    Fault("secret-empty", "the file of a password is empty", _UNKNOWN, _secret_spoilt(_written(b""), "credentials")),
    Fault("secret-folder", "a folder is in a password's place", _UNKNOWN, _secret_spoilt(_folder, "credentials")),
    Fault("secret-pipe", "a FIFO is in a password's place", _UNKNOWN, _secret_spoilt(_pipe, "credentials"), quick=True),
    Fault("secret-huge", "the file of a password has 2 GB", _UNKNOWN, _secret_spoilt(_huge, "credentials")),
    Fault("secret-rotated", "the password is another, and its file follows later", f"{_UNKNOWN}; then up, without a reload",
          _secret_rotated, quick=True),
    Fault("secret-open", "others may read and write the password's file", "a warning with its name", _secret_open),
    Fault("history-foreign", "somebody else's file is in the history's place", _HISTORY, _history(_as_it_is)),
    Fault("history-pipe", "a FIFO is in the history's place", _HISTORY, _history(_pipe)),
    Fault("history-folder", "a folder is in the history's place", _HISTORY, _history(_folder)),
    Fault("web-half", "the web configuration is written halfway", "what was read stays in use, told",
          _web(_written(b"http_server_config: {headers: "))),
    Fault("web-gone", "the web configuration has gone", "the same", _web(_gone)),
    Fault("web-certificate-pipe", "a FIFO is in the place of its own certificate", "the old one is served, told", _tls_pipe),
    Fault("web-pipe", "a FIFO is in the web configuration's place", "the same", _web(_pipe), quick=True),
    Fault("web-start", "the web configuration names a certificate that there is not", _LINE, _web_at_start),
    Fault("web-rotated", "its own certificate is rotated, three times", "served at the next connections", _rotated),
    Fault("web-expired", "its own certificate has expired", "served, told; health by `health_listen`", _expired, quick=True),
    Fault("web-mismatch", "certificate and key do not belong together", "the old pair is served, told", _mismatched),
)  # fmt: skip
