"""A daemon that is none: whatever listens there, it costs one clear message, no password, and never a terminal."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import click
import pytest

from exporter.cli import daemon
from exporter.cli.daemon import ask
from exporter.cli.explanation import Explanation

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
SERVICE: dict[str, Any] = {
    "name": "case", "kind": "service", "verdict": "down", "state": "down", "since": 1.0, "incident": "case", "targets": [],
    "diagnoses": [],
}  # fmt: skip


@contextmanager
def answering(answer: bytes, *, drip: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """Give the URL of a server that answers everybody the same, and the list of what it is asked."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(65536))
                try:
                    connection.sendall(answer)
                    while drip:
                        connection.sendall(b" ")
                        if stop.wait(0.05):
                            return
                except OSError:
                    continue

    stop = Event()
    thread = Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def http(body: str, head: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "its answer is not HTTP, or not whole"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "its answer is not HTTP, or not whole"),
        (http("<html>"), "its answer is not JSON"),
        (http("[" * 100_000), "its answer is not JSON"),
        (http("[]"), "its answer is no JSON object"),
        (http(json.dumps({"error": ESCAPE}), "500 No"), r"\x1b]0;owned\x07\x1b[2J"),
        (http("[" * 100_000, "500 No"), "answers HTTP 500"),
    ],
    ids=["no-http", "cut-off", "html", "deep", "list", "escapes", "deep-error"],
)
def test_what_is_no_daemon_is_one_message(answer: bytes, told: str) -> None:
    with answering(answer) as (url, _), pytest.raises(click.ClickException) as raised:
        ask(url, "/api/v1/services")
    assert told in raised.value.message
    assert "\x1b" not in raised.value.message


def test_a_login_follows_no_redirect(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    with answering(http("{}")) as (elsewhere, asked_there):
        redirect = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        with answering(redirect) as (url, asked), pytest.raises(click.ClickException, match=r"sends elsewhere \(HTTP 302\)"):
            ask(url, "/api/v1/services", login=("oncall", secret))
    assert b"Authorization: Basic" in asked[0]
    assert asked_there == []


def test_one_byte_now_and_then_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_PATIENCE", 0.5)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with (
        answering(head, drip=True) as (url, _),
        pytest.raises(click.ClickException, match=r"no answer within 0\.5 s"),
    ):
        ask(url, "/api/v1/services")


def test_what_a_daemon_says_is_shown_and_not_obeyed() -> None:
    target = {"probe": "tls", "target": ESCAPE, "stage": "tls", "reason": "x", "detail": ESCAPE, "parts": {}}
    service = {**SERVICE, "incident": ESCAPE, "targets": [target]}
    with answering(http(json.dumps({"services": [service]}))) as (url, _):
        told = ask(url, "/api/v1/services")
    text = click.unstyle("\n".join(Explanation.of_daemon("case", told).lines()))
    assert r"\x1b]0;owned\x07" in text
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"since": "yesterday"},
        {"since": float("inf")},
        {"since": []},
        {"incident": 7},
        {"kind": []},
        {"targets": 1},
        {"targets": [{"probe": "a", "target": "b", "stage": None, "reason": None, "detail": None, "parts": []}]},
        {"diagnoses": [{"symptom": "down", "causes": [], "takes_down": []}]},
    ],
    ids=str,
)
def test_an_answer_of_other_words_is_refused_before_anything_is_told(change: dict[str, Any]) -> None:
    with pytest.raises((AttributeError, LookupError, TypeError, ValueError)):
        Explanation.of_daemon("case", {"services": [{**SERVICE, **change}]})
