"""A headless Chromium on the page, with the few gestures that the tests need."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 240  # seconds, on a very busy machine
DESK, PHONE = (1280, 860), (390, 844)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
)  # fmt: skip
CLICK_IF_READY = """((found) => {
    if (!found?.checkVisibility() || found.disabled) return false;
    found.click();
    return true;
})(document.querySelector(arguments[0]))"""


class Page:
    """A browser on the page, with the few gestures the tests need."""

    def __init__(self, driver, url: str, downloads: Path):
        self.driver, self.url, self.downloads = driver, url, downloads

    def open(self, size: tuple[int, int] = DESK, theme: str = "light") -> None:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get(f"{self.url}/?__theme={theme}")
        self.wait("document.querySelectorAll('#masks img.mask').length && document.querySelector('#legend li')")

    def js(self, expression: str, *arguments):
        return self.driver.execute_script(f"return {expression}", *arguments)

    def wait(self, expression: str) -> None:
        """Until the JavaScript expression is true."""
        until(lambda: self.js(expression), expression)

    def click(self, selector: str) -> None:
        """Click the first such element once it is there, shown and enabled: Gradio fills a tab when it is opened."""
        until(lambda: self.js(CLICK_IF_READY, selector), f"something to click at {selector}")

    def tab(self, name: str) -> None:
        self.click(f"#tab-{name}-button")
        self.wait(f"document.querySelector('#tab-{name}')?.checkVisibility()")

    def remove_photo(self) -> None:
        self.click("#segment-photo button[aria-label*=emove]")

    def upload(self, place: str, *files: Path) -> None:
        from selenium.webdriver.common.by import By

        self.wait(f"document.querySelector('{place} input[type=file]')")
        entry = self.driver.find_element(By.CSS_SELECTOR, f"{place} input[type=file]")
        entry.send_keys("\n".join(str(file) for file in files))

    def point(self, kind: str, selector: str, x: float, y: float) -> None:
        """Move, press or release the pointer at a share of an element's width and height."""
        box = self.js(f"document.querySelector('{selector}').getBoundingClientRect().toJSON()")
        where = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        held = {"button": "left", "buttons": 1, "clickCount": 1} if kind != "mouseMoved" else {}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **where, **held})

    def downloaded(self, selector: str, pattern: str) -> Path:
        """Click a download and wait for the file, whole."""
        for earlier in self.downloads.glob(pattern):
            earlier.unlink()
        self.click(selector)
        until(lambda: self._whole(pattern), f"a download {pattern}")
        return next(self.downloads.glob(pattern))

    def _whole(self, pattern: str) -> bool:
        """Chromium reserves the name with an empty file before the content is there."""
        sizes = [path.stat().st_size for path in self.downloads.glob(pattern)]
        return bool(sizes) and min(sizes) > 0 and not list(self.downloads.glob("*.crdownload"))


def until(condition: Callable, what: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, f"waited {PATIENCE} s for {what}"
        time.sleep(0.1)


@contextmanager
def browser_on(url: str, chromium: tuple[str, str], downloads: Path) -> Iterator[Page]:
    """A browser for the page at `url` that saves in `downloads` and logs what it loads, until the block ends."""
    from selenium import webdriver

    browser, driver_path = chromium
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--window-size={DESK[0]},{DESK[1]}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    try:
        allowed = {"behavior": "allow", "downloadPath": str(downloads)}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
        yield Page(driver, url, downloads)
    finally:
        driver.quit()
