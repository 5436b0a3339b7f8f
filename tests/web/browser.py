"""A real browser, driven over its debugging protocol: what it complains of, what it loads, and how a page comes out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--no-first-run",
    "--remote-debugging-port=0",
)

_LISTENS = re.compile(rb"DevTools listening on (ws://\S+)")

_COMPLAINTS = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Network.loadingFailed"}

_DEADLINE = 60.0

_MEASURE = """
(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((value) => value / 255)
      .map((value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const backdrop = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const hidden = (element) => element.closest(".unseen, .skip, .symbols") || !element.checkVisibility();
  const name = (element) => `${element.tagName}.${element.getAttribute("class")} ${element.textContent.trim().slice(0, 40)}`;
  const shown = [...document.body.querySelectorAll("*")].filter((element) => !hidden(element));
  const width = document.documentElement.clientWidth;
  return {
    title: document.title,
    background: getComputedStyle(document.body).backgroundColor,
    touched: window.touched ?? null,
    wide: document.documentElement.scrollWidth > width,
    outside: shown.filter((element) => element.getBoundingClientRect().right > width + 0.5).map(name),
    spilling: shown.filter((element) => /^(TD|TH)$/.test(element.tagName) && element.scrollWidth > element.clientWidth + 1)
      .map(name),
    pale: shown.filter((element) => {
      if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) return false;
      const style = getComputedStyle(element), size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      const [light, dark] = [luminance(style.color), luminance(backdrop(element))].sort((a, b) => b - a);
      return (light + 0.05) / (dark + 0.05) < (large ? 3 : 4.5);
    }).map(name),
  };
})()
"""

_FIRST_SCREEN = """
(() => {
  const seen = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.data.trim() || node.parentElement.closest(".unseen, .skip") || !node.parentElement.checkVisibility()) continue;
    range.selectNodeContents(node);
    const place = range.getBoundingClientRect();
    if (place.width && place.top >= 0 && place.bottom <= innerHeight) seen.push(node.data);
  }
  return seen.join(" ");
})()
"""
"""The words that are wholly within the window."""


class Browser:
    """One page of a browser.

    Attributes:
        complaints: What the browser said of the pages loaded since `visit` was last called.
        requested: The addresses that it asked for since then.
    """

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.complaints: list[dict[str, Any]] = []
        self.requested: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session: dict[str, str] = {}
        self._loaded = asyncio.Event()

    async def open(self) -> None:
        """Make the page, and have everything reported."""
        made = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Log", "Runtime", "Network"):
            await self._call(f"{domain}.enable")

    async def visit(self, address: str, *, width: int, dark: bool, height: int = 900) -> dict[str, Any]:
        """Load an address in a window of that size, and measure how it came out."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        await self._call("Emulation.setEmulatedMedia", features=[scheme])
        self.complaints.clear()
        self.requested.clear()
        self._loaded.clear()
        await self._call("Page.navigate", url=address)
        async with asyncio.timeout(_DEADLINE):
            await self._loaded.wait()
        found: dict[str, Any] = await self.evaluate(_MEASURE)
        return found

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression comes to on the page."""
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def first_screen(self) -> str:
        """Return the words that are seen without scrolling."""
        return " ".join((await self.evaluate(_FIRST_SCREEN)).split())

    async def picture(self) -> bytes:
        """Return what the window shows, as PNG."""
        return base64.b64decode((await self._call("Page.captureScreenshot", format="png"))["data"])

    async def listen(self) -> None:
        """Take what the browser says, until it is gone."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                self._take(message.json())

    def _take(self, said: dict[str, Any]) -> None:
        if "id" in said:
            self._answers.pop(said["id"]).set_result(said)
        elif said["method"] in _COMPLAINTS and not said["params"].get("canceled"):  # as an open stream is by going on
            self.complaints.append(said)
        elif said["method"] == "Network.requestWillBeSent":
            self.requested.append(said["params"]["request"]["url"])
        elif said["method"] == "Page.loadEventFired":
            self._loaded.set()

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters, **self._session})
        async with asyncio.timeout(_DEADLINE):
            said = await answer
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """Run a browser that keeps all its files in `folder`, and end it with all its processes.

    Its Unix socket alone is elsewhere: the path of one may have 107 bytes, and the folder may be deep.
    """
    home = {name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    with tempfile.TemporaryDirectory(prefix="chromium-", dir="/tmp") as short:
        async with _started(folder, {**home, "TMPDIR": short}) as browser:
            yield browser


@asynccontextmanager
async def _started(folder: Path, home: dict[str, str]) -> AsyncIterator[Browser]:
    process = await asyncio.create_subprocess_exec(
        "chromium", *_OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={**os.environ, **home},
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_DEADLINE):
            address = await _debugging_address(process.stderr)
        async with (
            _in_background(process.stderr.read()),
            ClientSession() as http,
            http.ws_connect(address, max_msg_size=0) as socket,
        ):
            browser = Browser(socket)
            async with _in_background(browser.listen()):
                await browser.open()
                yield browser
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _debugging_address(stderr: asyncio.StreamReader) -> str:
    said = b""
    while line := await stderr.readline():
        if found := _LISTENS.search(line):
            return found[1].decode()
        said += line
    raise RuntimeError(f"the browser ended: {said.decode(errors='replace')}")


@asynccontextmanager
async def _in_background(work: Any) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
