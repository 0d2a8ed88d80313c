"""The page as people use it, in a real headless Chromium: upload, look, move, read, download, on a desk and a phone."""

import base64
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from export.video_writing import VideoWriter
from tests.app.browser import DESK, PHONE, Page, browser_on, until
from tests.app.tiny_model import painted, street

TABS = ("segment", "before-after", "pseudo-labels", "batch")


@pytest.fixture(scope="module")
def page(chromium, server, tmp_path_factory) -> Iterator[Page]:
    with browser_on(server.url, chromium, tmp_path_factory.mktemp("browser")) as page:
        yield page


LEGEND = "[...document.querySelectorAll('#legend li')].map((row) => row.innerText.replace(/\\s+/g, ' ').trim())"


def test_upload_read_the_legend_and_download(page, street_file):
    page.open()
    page.remove_photo()
    page.wait("!document.querySelector('#legend li')")  # an empty page, once the example is taken away
    page.upload("#segment-photo", street_file)
    page.wait("document.querySelectorAll('#legend li').length === 3")
    assert page.js(LEGEND) == ["sky 50 %", "road 44 %", "car 6.2 %"]
    assert page.js("document.querySelectorAll('#masks img.mask').length") == 3
    label = page.downloaded("#label-file", "street_label.png")
    assert Image.open(label).size == (128, 64)


def test_pointing_at_the_picture_tells_the_class(page):
    page.wait("[...document.querySelectorAll('#masks img')].every((image) => image.complete && image.naturalWidth)")
    page.point("mouseMoved", "#masks img.base-image", 0.5, 0.2)
    page.wait("document.querySelector('#class-tip')?.innerText.includes('sky')")
    page.point("mouseMoved", "#masks img.base-image", 0.37, 0.6)
    page.wait("document.querySelector('#class-tip').innerText.includes('car')")
    assert page.js("document.querySelector('#legend li.lit .name').innerText") == "car"
    assert page.js("document.querySelectorAll('#masks img.mask.faded').length") == 2
    page.point("mouseMoved", "#legend li:first-child", 0.5, 0.5)
    page.wait("document.querySelector('#legend li.lit .name')?.innerText === 'sky'")


def test_the_opacity_moves_at_once_and_changes_the_download(page):
    page.js(
        "(() => { const slider = document.querySelector('#opacity input[type=range]'); slider.value = 1;"
        " slider.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    page.wait("getComputedStyle(document.querySelector('#masks img.mask')).opacity === '1'")

    def only_colours() -> bool:
        overlay = Image.open(page.downloaded("#overlay-file", "street_overlay*.jpg")).convert("RGB")
        return max(abs(a - b) for a, b in zip(overlay.getpixel((60, 5)), (70, 130, 180), strict=True)) < 12

    until(only_colours, "the overlay at full opacity")


def test_the_slider_between_before_and_after_moves(page, street_file):
    page.tab("before-after")
    page.click("#take-photo")
    page.wait("document.querySelector('#changes').innerText.includes('50 % of the pixels changed.')")
    assert page.js("document.querySelectorAll('#changes tbody tr').length") == 2
    handle = "document.querySelector('#slider .inner, #slider .outer')"
    page.wait(f"{handle} !== null")
    start = page.js(f"{handle}.getBoundingClientRect().x")
    page.point("mousePressed", "#slider img", 0.5, 0.5)
    for share in (0.55, 0.65, 0.75):
        page.point("mouseMoved", "#slider img", share, 0.5)
    page.point("mouseReleased", "#slider img", 0.75, 0.5)
    width = page.js("document.querySelector('#slider img').getBoundingClientRect().width")
    until(lambda: page.js(f"{handle}.getBoundingClientRect().x") > start + 0.15 * width, "the slider to move")


def test_pseudo_labels_of_the_examples_and_their_zip(page):
    page.tab("pseudo-labels")
    page.click("#pseudo-examples")
    page.wait("document.querySelector('#pseudo-photos').innerText.includes('street_6')")
    page.click("#pseudo-run")
    page.wait("document.querySelectorAll('#thresholds tbody tr').length && document.querySelector('#pseudo-zip')")
    assert "of the pixels are kept as pseudo-labels." in page.js("document.querySelector('#thresholds').innerText")
    page.wait("document.querySelectorAll('#pseudo-gallery button img').length >= 6")
    with zipfile.ZipFile(page.downloaded("#pseudo-zip", "pseudo_labels*.zip")) as bundle:
        manifest = json.loads(bundle.read("manifest.json"))
        sizes = {Image.open(bundle.open(name)).size for name in manifest["files"]}
    assert manifest["files"] == [f"street_{number}.png" for number in range(1, 7)]
    assert sizes == {(768, 384)}


def test_batch_names_the_bad_file_and_gives_the_zip(page, street_file, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    page.tab("batch")
    page.upload("#batch-files", street_file, tmp_path / "notes.png")
    page.wait("document.querySelector('#batch-files').innerText.includes('notes')")
    page.click("#batch-run")
    page.wait("document.querySelector('#batch-table .headline')")
    told = page.js("document.querySelector('#batch-table').innerText")
    assert "1 of 2 done." in told
    assert "notes.png is damaged" in told
    with zipfile.ZipFile(page.downloaded("#batch-zip", "streetshift_batch*.zip")) as bundle:
        assert "labels/street.png" in bundle.namelist()


PLAYS = """((video) => {
    if (video?.readyState < 2 || !video?.videoWidth) return null;
    video.muted = true;
    if (video.paused && !video.ended) video.play();
    return video.currentTime > 0.3 ? [video.videoWidth, video.videoHeight, video.duration] : null;
})(document.querySelector(arguments[0]))"""


@pytest.fixture
def drive(tmp_path) -> Path:
    """Ten frames of the painted street at 5 frames per second, 130 x 66 pixels."""
    with VideoWriter(tmp_path, "drive", 5.0) as writer:
        for _ in range(10):
            writer.add(painted(street(66, 130)))
    return writer.path


def test_the_page_plays_the_video_that_it_gives_back(page, drive):
    page.open()
    page.tab("batch")
    page.upload("#batch-files", drive)
    page.wait("document.querySelector('#batch-files').innerText.includes('drive')")
    page.click("#batch-run")
    page.wait("document.querySelector('#batch-table .headline')?.innerText.includes('10 of 10 done')")
    until(lambda: page.js(PLAYS, "#batch-film video"), "the video to play")
    assert page.js(PLAYS, "#batch-film video") == [130, 66, pytest.approx(2.0, abs=0.1)]


def test_the_film_goes_when_photos_follow_it(page, street_file):
    assert page.js("document.querySelector('#batch-film video').checkVisibility()")
    page.click("#batch-files button[aria-label=Clear]")
    page.upload("#batch-files", street_file)
    page.wait("document.querySelector('#batch-files').innerText.includes('street')")
    page.click("#batch-run")
    page.wait("document.querySelector('#batch-table .headline')?.innerText.includes('1 of 1 done')")
    assert not page.js("document.querySelector('#batch-film video')?.checkVisibility()")


@pytest.mark.parametrize("ffmpeg", [True, False], ids=["with FFmpeg", "without FFmpeg"])
def test_the_browser_plays_what_each_encoder_writes(page, tmp_path, monkeypatch, ffmpeg):
    found = shutil.which("ffmpeg")
    if ffmpeg and found is None:
        pytest.skip("no FFmpeg: apt-get install -y ffmpeg")
    monkeypatch.setattr("export.video_writing.shutil.which", lambda name: found if ffmpeg else None)
    with VideoWriter(tmp_path, "film", 5.0) as writer:
        for _ in range(10):
            writer.add(painted(street(66, 130)))
    address = f"data:video/{writer.path.suffix[1:]};base64,{base64.b64encode(writer.path.read_bytes()).decode()}"
    element = "Object.assign(document.createElement('video'), {id: 'film', src: arguments[0]})"
    page.js(f"document.body.append({element})", address)
    until(lambda: page.js(PLAYS, "#film"), "the video to play")
    page.js("document.querySelector('#film').remove()")


def test_a_very_large_photo_is_shrunk_and_the_page_says_so(page, tmp_path):
    large = Image.fromarray(painted(street(60, 80))).resize((8000, 6000), Image.Resampling.NEAREST)
    large.save(tmp_path / "phone.jpg")
    page.open()
    page.remove_photo()
    page.upload("#segment-photo", tmp_path / "phone.jpg")
    page.wait("document.querySelector('#tab-segment').innerText.includes('phone.jpg has 48 megapixels (8000 x 6000)')")
    assert Image.open(page.downloaded("#label-file", "phone_label.png")).size == (8000, 6000)


def test_a_file_that_is_no_picture_gives_a_message_not_a_traceback(page, tmp_path):
    (tmp_path / "fake.png").write_text("no picture")
    page.tab("segment")
    page.remove_photo()
    page.upload("#segment-photo", tmp_path / "fake.png")
    page.wait("document.querySelector('.toast-body')?.innerText.includes('fake.png is damaged or no picture')")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_tab_fits_the_screen(page, size, theme, tmp_path):
    page.open(size, theme)
    assert page.js("document.body.classList.contains('dark')") == (theme == "dark")
    for tab in TABS:
        page.tab(tab)
        assert page.js("document.documentElement.scrollWidth") <= size[0], tab
        page.driver.save_screenshot(str(tmp_path / f"{tab}.png"))
        assert Image.open(tmp_path / f"{tab}.png").size == size


def test_the_browser_spoke_to_nobody_else_and_saw_no_error(page, server):
    """Everything the tests above made the page load."""
    addresses = set()
    for entry in page.driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            addresses.add(message["params"].get("request", message["params"])["url"])
    others = {url for url in addresses if not url.startswith((server.url, "data:", "blob:", "chrome"))}
    assert len(addresses) > 20
    assert others == set()
    severe = [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []
