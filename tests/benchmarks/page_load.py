"""How the page holds up: 200 requests by 30 people at once through its API. `python tests/benchmarks/page_load.py`

Every request uploads a street photo of 512 x 1024 pixels, waits in the queue, and downloads the label, the overlay and
the confidence map. Server and clients share the computer. Exits with 1 if an answer is missing or wrong.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import argparse
import concurrent.futures
import os
import queue
import re
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file

from app.drawing import jpeg, written
from app.loaded_model import newest_model
from training.data.streetsim import STYLES, render

ROOT = Path(__file__).resolve().parents[2]
REQUESTS, PEOPLE, PHOTOS = 200, 30, 4
SIZE = (512, 1024)
PATIENCE = 600  # seconds one answer may take before it counts as lost


@dataclass(frozen=True)
class Load:
    """seconds: of every answered request; lost: what went wrong with the others; megabytes: the server's most."""

    seconds: np.ndarray
    lost: list[str]
    wall: float
    megabytes: float

    def __str__(self) -> str:
        median, high = np.percentile(self.seconds, (50, 95))
        return (
            f"{len(self.seconds)} answers, {len(self.lost)} lost, {self.wall:.0f} s in all "
            f"({len(self.seconds) / self.wall:.1f} a second)\n"
            f"median {median:.2f} s, 95th percentile {high:.2f} s, slowest {self.seconds.max():.2f} s\n"
            f"peak memory of the server {self.megabytes:.0f} MB"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="the .onnx file; not given: that of the newest run")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--people", type=int, default=PEOPLE)
    arguments = parser.parse_args()
    model = arguments.model or newest_model(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        photos = draw_photos(Path(folder))
        process, url = start_page(model, Path(folder))
        try:
            load = measure(url, process, photos, arguments.requests, arguments.people, Path(folder))
        finally:
            process.terminate()
            process.wait(60)
    print(f"{arguments.people} people, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {model}")
    print(load)
    print(*load.lost, sep="\n")
    return 1 if load.lost or len(load.seconds) != arguments.requests else 0


def draw_photos(folder: Path) -> list[Path]:
    frames = (render(STYLES["city"], 1, index, SIZE)[0] for index in range(PHOTOS))
    return [written(folder / f"street_{index}.jpg", jpeg(frame)) for index, frame in enumerate(frames)]


def start_page(model: Path, folder: Path) -> tuple[subprocess.Popen, str]:
    """The server, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app/main.py", "--model", str(model.resolve()), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(folder)})
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}"
        time.sleep(0.2)
    raise SystemExit("the page did not start")


def measure(url: str, process, photos: list[Path], requests: int, people: int, folder: Path) -> Load:
    """Each person asks again as soon as the answer is there, until all requests are taken."""
    patient = {"timeout": PATIENCE}
    clients = [Client(url, verbose=False, download_files=folder / str(k), httpx_kwargs=patient) for k in range(people)]
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for number in range(requests):
        waiting.put(number)
    seconds: list[float] = []
    lost: list[str] = []

    def person(client: Client) -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            started = time.perf_counter()
            try:
                check(client.predict(handle_file(photos[number % len(photos)]), 0.5, api_name="/segment"))
                seconds.append(time.perf_counter() - started)
            except Exception as error:  # whatever it is, the answer is lost
                lost.append(f"request {number}: {type(error).__name__}: {error}")

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(people) as threads:
        list(threads.map(person, clients))
    return Load(np.array(seconds), lost, time.perf_counter() - started, peak_megabytes(process.pid))


def check(answer) -> None:
    details, *files = answer
    if abs(sum(details["shares"].values()) - 1) > 1e-6 or not all(Path(file).stat().st_size for file in files):
        raise ValueError(f"a wrong answer: {details}")


def peak_megabytes(pid: int) -> float:
    """The most memory the process held at any time (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


if __name__ == "__main__":
    sys.exit(main())
