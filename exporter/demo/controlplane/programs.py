"""The programs of a control plane, built from the Go modules that `go.mod` and `go.sum` beside this file name."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from exporter.demo import golang

__all__ = ["PROGRAMS", "VERSION", "available", "built", "missing"]

_FILES = (Path(__file__).parent / "go.mod", Path(__file__).parent / "go.sum")
PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
"""What is built, by the name that it gets."""

VERSION = re.findall(r"^\tk8s\.io/kubernetes (v\S+)$", _FILES[0].read_text(), re.MULTILINE)[0]
"""Kubernetes' version."""


def key() -> str:
    """Return its name in the cache: another list of modules is another build."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in _FILES)).hexdigest()
    return f"kubernetes@{VERSION}-{digest[:12]}"


def available() -> bool:
    """Tell whether they are built already."""
    return golang.is_built(key())


def missing() -> str | None:
    """Return what is missing to build them; None: nothing, or they are built."""
    if available() or shutil.which("go") is not None:
        return None
    return "Go is missing, which builds the control plane: apt-get install golang-go"


def built(progress: Callable[[str], None] = lambda _: None, given_up: threading.Event | None = None) -> Path:
    """Return the folder of the programs; made now if this is the first time: 7 minutes of CPU, 4 GB on the way, 0.4 GB kept.

    Raises:
        BuildError: They cannot be fetched or do not compile, or the build was given up.
    """
    return golang.built(key(), _build, progress, given_up)


def _build(go: golang.Go, folder: Path) -> None:
    source = go.work / "source"
    source.mkdir(exist_ok=True)
    for file in _FILES:
        shutil.copy(file, source)
    go.progress(f"fetching the sources of Kubernetes {VERSION}")
    go.run("mod", "download", folder=source)
    for number, (name, package) in enumerate(PROGRAMS.items(), 1):
        go.progress(f"building {name}, {number} of {len(PROGRAMS)}")
        go.run(
            "build", "-mod=readonly", "-trimpath", f"-ldflags={_flags()}", "-o", str(folder / name), package, folder=source
        )


def _flags() -> str:
    """Leave symbols out, and stamp the version as Kubernetes' own build does: its API server needs one to start."""
    major, minor, _ = VERSION.removeprefix("v").split(".")
    stamp = {
        "gitVersion": VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean", "gitCommit": "0" * 40,
        "buildDate": "1970-01-01T00:00:00Z",
    }  # fmt: skip
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {package}.{name}={value}" for package in packages for name, value in stamp.items())])
