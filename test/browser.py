"""Opens a page in headless Chromium, driven by chromedriver's own protocol; tells what it loads and complains about."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

DRIVER = shutil.which("chromedriver")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = (
    "" if DRIVER and CHROMIUM else "chromium and chromedriver are not installed (Debian: chromium chromium-driver)"
)

_PATIENCE_S = 60.0


class Browser:
    """A headless Chromium; use it as a context manager."""

    def __init__(self) -> None:
        assert DRIVER is not None
        self._process = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        port = ""
        for line in self._process.stdout:
            if "started successfully on port" in line:
                port = line.rstrip().rstrip(".").rsplit(" ", 1)[-1]
                break
        self._address = f"http://127.0.0.1:{port}"
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"], "binary": CHROMIUM}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def open(self, path: Path, width: int, dark: bool = False, paper: bool = False) -> None:
        """Load the page in a window `width` px wide."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.cdp("Emulation.setEmulatedMedia", media="print" if paper else "", features=scheme)
        self._ask("POST", f"{self._session}/url", {"url": path.resolve().as_uri()})

    def script(self, text: str) -> Any:
        """What a script in the page returns."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": text, "args": []})

    def complaints(self) -> list[str]:
        """Errors and warnings on the console since the last call."""
        entries = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call, pictures in the page itself left out."""
        entries = self._ask("POST", f"{self._session}/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        return [address for address in asked if not address.startswith("data:")]

    def screenshot(self, path: Path) -> None:
        """The whole page, from top to bottom."""
        picture = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self, path: Path) -> None:
        """The page as it would be printed on A4."""
        printed = self.cdp("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        path.write_bytes(base64.b64decode(printed["data"]))

    def cdp(self, command: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self._ask("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self) -> None:
        """End the browser and its driver."""
        self._ask("DELETE", self._session)
        self._process.terminate()
        self._process.wait(_PATIENCE_S)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(
            self._address + path, body, {"Content-Type": "application/json"}, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                with opener.open(request, timeout=_PATIENCE_S) as answer:
                    return json.load(answer)["value"]
            except urllib.error.HTTPError as error:
                raise RuntimeError(json.load(error)["value"]["message"]) from None
            except urllib.error.URLError:  # not listening yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
