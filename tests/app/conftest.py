"""A tiny exported run, the page's functions on it without a server, and one real server for the tests that need it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.loaded_model import LoadedModel, load_model
from app.uploads import Upload
from tests.app.tiny_model import painted, street, write_tiny_model

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 400  # on a very busy machine


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A run with model.onnx and source.onnx."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    write_tiny_model(folder / "model.onnx")
    write_tiny_model(folder / "source.onnx", confuses_car=True, adapted=False)
    return folder


@pytest.fixture(scope="session")
def model(run_folder) -> LoadedModel:
    return load_model(run_folder / "model.onnx")


@pytest.fixture(scope="session")
def source(run_folder) -> LoadedModel:
    return load_model(run_folder / "source.onnx")


@pytest.fixture
def street_file(tmp_path) -> Path:
    """A photo that both models segment exactly."""
    path = tmp_path / "street.png"
    Image.fromarray(painted(street())).save(path)
    return path


@pytest.fixture
def save(tmp_path):
    """Write a picture (array or Pillow image) under a name and get it as an upload."""

    def write(name: str, picture, **options) -> Upload:
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        image.save(tmp_path / name, **options)
        return Upload(tmp_path / name, name)

    return write


@dataclass(frozen=True)
class Server:
    """A running page: its address, process and the folder it keeps uploads and results in."""

    url: str
    process: subprocess.Popen
    folder: Path
    log: Path


@pytest.fixture(scope="package")  # its queue takes a fifteenth of a core also when nobody asks
def server(run_folder, tmp_path_factory) -> Iterator[Server]:
    """`python app/main.py` on the tiny run, as a user starts it."""
    with running_page(run_folder, tmp_path_factory) as page:
        yield page


@contextmanager
def running_page(run_folder: Path, tmp_path_factory, *options: str) -> Iterator[Server]:
    """`python app/main.py` with `options` on the tiny run, until the block ends."""
    folder, log = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("log") / "server.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = str(run_folder / "model.onnx")
    command = [sys.executable, "app/main.py", "--model", model, "--port", str(port), *options]
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(folder)}
        )
    try:
        _wait_until_open(port, process, log)
        yield Server(f"http://127.0.0.1:{port}", process, next(folder.glob("streetshift-page-*")), log)
    finally:
        process.terminate()
        process.wait(timeout=60)
    assert not list(folder.glob("streetshift-page-*")), "uploads and results are to vanish with the server"


def _wait_until_open(port: int, process: subprocess.Popen, log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"the page did not open in {START_SECONDS} s: {log.read_text()}")


@pytest.fixture(scope="package")
def client(server, tmp_path_factory):
    """A gradio_client on the server."""
    from gradio_client import Client

    return Client(
        server.url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"), httpx_kwargs={"timeout": 120}
    )


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """(browser, driver), or a skip that says how to get them."""
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium: install it with 'apt-get install -y chromium chromium-driver'")
    pytest.importorskip("selenium", reason="no selenium: pip install -r requirements.txt")
    return browser, driver
