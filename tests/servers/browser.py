"""A real Chromium as a person holds it: a phone, without scripts. Driven by chromedriver over W3C WebDriver."""

import base64
import shutil
from pathlib import Path
from typing import Any, Self

import httpx

from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing, end, free_port, spawn, tail

MISSING = "Chromium: apt-get install chromium chromium-driver"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window, `width` times `height` pixels. `scripts=False` switches JavaScript off, as some readers do."""

    def __init__(self, directory: Path, *, width: int = 360, height: int = 740, scripts: bool = False) -> None:
        """Start it. Raises ServerMissing."""
        driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
        if driver is None or chromium is None:
            raise ServerMissing(MISSING)
        log, port = directory / "chromedriver.log", free_port()
        self._process = spawn([driver, f"--port={port}"], log, directory)
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)

        def ready() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"chromedriver ended:\n{tail(log)}")
            try:
                return bool(self._http.get("/status").json()["value"]["ready"])
            except httpx.TransportError:
                return False

        try:
            eventually(ready, within=20)
            arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"]
            options: dict[str, Any] = {
                "binary": chromium,
                "args": [*arguments, f"--user-data-dir={directory / 'profile'}"],
                "mobileEmulation": {
                    "deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0, "touch": False}
                },
            }
            if not scripts:
                options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
            # It would wait for a page's refresh, too: `_moving` waits for the next page.
            wanted = {"browserName": "chrome", "pageLoadStrategy": "none", "goog:chromeOptions": options}
            asked = {"capabilities": {"alwaysMatch": wanted}}
            self._session = f"/session/{self._ask('POST', '/session', asked)['sessionId']}"
        except BaseException:
            self.close()
            raise

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(method, path, json=body if body is not None or method != "POST" else {})
        found = answer.json()["value"]
        if answer.status_code != 200:
            raise AssertionError(f"{found['error']}: {found['message'].splitlines()[0]}")
        return found

    def _element(self, css: str) -> str:
        found = self._ask("POST", f"{self._session}/element", {"using": "css selector", "value": css})
        return f"{self._session}/element/{found[_ELEMENT]}"

    def open(self, url: str) -> Self:
        """Go there, and wait until it is loaded."""
        before = eventually(lambda: self._element("html"), within=20)  # a fresh one has no page at first
        self._ask("POST", f"{self._session}/url", {"url": url})
        return self._moved(before)

    def _moved(self, before: str) -> Self:
        """Wait until the page of the element ``before`` is gone, and the next one is there to its end."""

        def gone() -> bool:
            try:
                self._ask("GET", f"{before}/name")
            except AssertionError:
                return True
            return False

        eventually(gone, within=20)
        eventually(lambda: self._element("footer"), within=20)
        return self

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self._ask("GET", f"{self._session}/url"))

    def text(self, css: str = "main") -> str:
        """What a reader sees of an element. Raises AssertionError where there is none."""
        return str(self._ask("GET", f"{self._element(css)}/text"))

    def click(self, css: str) -> Self:
        """Press a link or a button and wait for the page that it leads to. Raises AssertionError where it is not there,
        or something lies over it.
        """
        before = self._element("html")
        return self.press(css)._moved(before)

    def press(self, css: str) -> Self:
        """Press what leads nowhere."""
        self._ask("POST", f"{self._element(css)}/click")
        return self

    def enter(self, css: str) -> Self:
        """Press the enter key in a field, and wait for the page that it leads to."""
        before = self._element("html")
        self._ask("POST", f"{self._element(css)}/value", {"text": "\ue007"})
        return self._moved(before)

    def unnamed(self) -> list[str]:
        """Roles of what can be operated and has no name that a screen reader could say."""
        asked = {"cmd": "Accessibility.getFullAXTree", "params": {}}
        nodes = self._ask("POST", f"{self._session}/goog/cdp/execute", asked)["nodes"]
        operated = {
            "button",
            "link",
            "textbox",
            "searchbox",
            "combobox",
            "checkbox",
            "spinbutton",
            "DisclosureTriangle",
        }
        found = [n for n in nodes if not n.get("ignored") and n.get("role", {}).get("value") in operated]
        return [n["role"]["value"] for n in found if not n.get("name", {}).get("value", "").strip()]

    def write(self, css: str, text: str) -> Self:
        """Replace what stands in a field."""
        element = self._element(css)
        self._ask("POST", f"{element}/clear")
        self._ask("POST", f"{element}/value", {"text": text})
        return self

    def run(self, script: str) -> Any:
        """What JavaScript returns."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def size(self, css: str) -> tuple[float, float]:
        """Width and height of an element in pixels."""
        rect = self._ask("GET", f"{self._element(css)}/rect")
        return float(rect["width"]), float(rect["height"])

    def screenshot(self, path: Path) -> Path:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self._ask("GET", f"{self._session}/screenshot")))
        return path

    def close(self) -> None:
        """End it."""
        if hasattr(self, "_session"):
            try:
                self._ask("DELETE", self._session)
            except (httpx.TransportError, AssertionError):
                pass
        self._http.close()
        end(self._process)
