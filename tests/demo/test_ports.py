"""Free ports: two processes that pick some at the same time never pick the same, and nobody else is given them."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from exporter.demo import ports
from exporter.demo.ports import free_port, free_ports

MANY = 400


def test_processes_that_pick_side_by_side_pick_different_ports() -> None:
    """Each keeps its ports until it ends, whether it listens on them yet or not."""
    code = f"from exporter.demo.ports import free_ports; print(*free_ports({MANY}), flush=True); input()"
    pickers = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    picked = free_ports(MANY)
    for picker in pickers:
        assert picker.stdout is not None
        picked += map(int, picker.stdout.readline().split())
    for picker in pickers:
        picker.communicate("\n")
        assert picker.returncode == 0
    assert len(set(picked)) == len(picked) == 5 * MANY


def test_the_kernel_does_not_give_them_to_others() -> None:
    """For a client's connection, or for a server that asks for any port."""
    with socket.create_server(("127.0.0.1", 0)) as given, socket.create_connection(given.getsockname()) as client:
        lowest = min(given.getsockname()[1], client.getsockname()[1])
    assert max(free_ports(MANY)) < 32768 <= lowest


def test_a_port_that_somebody_listens_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(ports, "_ports", iter([port, port, port + 1]))
    with socket.create_server(("127.0.0.1", port)):
        assert free_port() == port + 1
        with pytest.raises(OSError, match=r"no port is left on 127\.0\.0\.1"):
            free_port()
