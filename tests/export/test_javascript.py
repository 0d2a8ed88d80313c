"""The README's JavaScript, as it stands there, run by Node: it says what Keras says."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from training.data.classes import CITYSCAPES_NAMES
from training.prediction.predictor import Predictor, enlarge

README = Path(__file__).resolve().parents[2] / "export" / "README.md"
# What a browser has and Node lacks: a canvas with the picture, and files beside the page. Words go to stderr.
BEFORE = """import { readFileSync } from "node:fs";
globalThis.fetch = async (name) => new Response(readFileSync(name));
console.log = console.error;
globalThis.createImageBitmap = async () => ({ width: 320, height: 128 });
globalThis.OffscreenCanvas = function (width, height) {
  if (width !== 160 || height !== 64) throw new Error(`${width} x ${height}`);
  return { getContext: () => ({ drawImage() {}, getImageData: () => ({ data: new Uint8ClampedArray(street) }) }) };
};
const street = readFileSync("street.jpg"); // its pixels at 160 x 64, of the photo of 320 x 128
"""
AFTER = "process.stdout.write(labels.data);\n"


@pytest.fixture(scope="module")
def node_folder() -> Path:
    """A folder with onnxruntime-web, kept between test runs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    cache = Path(os.environ.get("STREETSHIFT_CACHE", "~/.cache/streetshift")).expanduser() / "node"
    if not (cache / "node_modules" / "onnxruntime-web").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        install = ("npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "onnxruntime-web@1")
        done = subprocess.run(install, cwd=cache, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm cannot install onnxruntime-web here: {done.stderr.strip().splitlines()[-1]}")
    return cache


def readme_script() -> str:
    """The one block of JavaScript in the README, between what a browser gives it and what the test wants of it."""
    (block,) = re.findall(r"^```js\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return BEFORE + block + AFTER


def test_the_readmes_javascript_agrees_with_keras(node_folder, report, network, streets, tmp_path):
    street = np.pad(streets[0], ((0, 0), (0, 32), (0, 0)), mode="reflect")
    rgba = np.dstack([street, np.full((64, 160), 255, np.uint8)])
    (tmp_path / "street.jpg").write_bytes(rgba.tobytes())
    for file in (report.path, report.path.with_suffix(".json")):
        shutil.copy(file, tmp_path)  # model.onnx and model.json, as the README names them
    (tmp_path / "segment.mjs").write_text(readme_script(), encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(node_folder / "node_modules")  # Node looks for packages beside the script
    done = subprocess.run(["node", "segment.mjs"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    labels = np.frombuffer(done.stdout, np.uint8).reshape(64, 160)
    probs = enlarge(Predictor(network).coarse_probs(tf.cast(street[None], tf.float32)), (64, 160))[0].numpy()
    assert np.mean(labels == probs.argmax(-1)) >= 0.9999
    name, confidence = done.stderr.decode().strip().rsplit(" ", 1)
    assert name == CITYSCAPES_NAMES[labels[0, 0]]
    assert float(confidence) == pytest.approx(probs[0, 0].max(), abs=1e-4)
