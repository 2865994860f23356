"""Drive a headless Chromium over its pipe: sizes, colours, keys and pictures, without a package or a network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LAUNCH = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
"""The browser reads commands from descriptor 3, and writes what happens to descriptor 4."""
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run")
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Tab": 9, "Escape": 27}


def browser_path() -> str:
    """Where a Chromium is; a test that has none is skipped, or fails where one is needed."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        needed = os.environ.get("BERT_COMPRESS_NEED_CHROMIUM") == "1"
        (pytest.fail if needed else pytest.skip)(f"none of {', '.join(BROWSERS)} is installed")
    assert path is not None
    return path


class Tab:
    """A page in a browser."""

    def __init__(self, commands: int, events: int) -> None:
        self.commands, self.events = commands, events
        self.pending, self.number, self.session = b"", 0, ""
        self.asked: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Send a command, and return what it answers."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": arguments}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.pending:
            chunk = os.read(self.events, 1 << 20)
            assert chunk, "the browser has ended"
            self.pending += chunk
        message, self.pending = self.pending.split(b"\0", 1)
        event: dict[str, Any] = json.loads(message)
        details = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.asked.append(details["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(details["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.errors.append(details["entry"]["text"])
        self.last = event.get("method")
        return event

    def open(self, page: Path, width: int = 1100, scheme: str = "light", height: int = 900) -> None:
        """Show a page in a window of this width, to somebody who prefers these colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        while self.last != "Page.loadEventFired":
            self._next()

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def picture(self, path: Path) -> None:
        """Write a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def tab_in(room: Path) -> Iterator[Tab]:
    """Open a browser with its profile in a folder, and close it in the end."""
    read_by_browser, commands = os.pipe()
    events, written_by_browser = os.pipe()
    pipes = [str(read_by_browser), str(written_by_browser)]
    command = [browser_path(), *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={room}", "about:blank"]
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", LAUNCH, *pipes, *command],
        pass_fds=(read_by_browser, written_by_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_by_browser)
    os.close(written_by_browser)
    try:
        tab = Tab(commands, events)
        yield tab
        tab.session = ""
        tab.call("Browser.close")
    finally:
        os.close(commands)  # which ends it too
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(events)
