"""An environment with ONNX Runtime, NumPy and Pillow and nothing else runs the exported file and predict.py."""

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """The interpreter of a fresh environment."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
    done = subprocess.run([*install, "onnxruntime", "numpy", "pillow"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install onnxruntime, numpy and pillow here: {done.stderr.strip().splitlines()[-1]}")
    return python


def test_the_environment_is_bare(bare_python):
    code = "import importlib.util as u; print([n for n in ('tensorflow', 'keras', 'cv2', 'onnx') if u.find_spec(n)])"
    assert subprocess.run([bare_python, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_predict_runs_there(bare_python, report, photos, segmenter, tmp_path):
    command = [bare_python, ROOT / "export/predict.py", "--model", report.path, "--images", photos, "--out", tmp_path]
    done = subprocess.run([*command, "--labels", "--pseudo-labels"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stderr  # one of the photos is no picture
    assert "broken.png" in done.stderr
    assert "Traceback" not in done.stderr
    label = np.array(Image.open(tmp_path / "labels" / "a.png"))
    assert np.mean(label == segmenter(photos / "a.png").labels) > 0.999


def test_the_file_alone_needs_nothing_of_ours(bare_python, report, photos, segmenter):
    code = (
        "import sys, numpy, onnxruntime; from PIL import Image\n"
        "image = numpy.asarray(Image.open(sys.argv[2]).convert('RGB'))\n"
        "labels = onnxruntime.InferenceSession(sys.argv[1]).run(['labels'], {'image': image[None]})[0]\n"
        "sys.stdout.buffer.write(labels.tobytes())"
    )
    done = subprocess.run([bare_python, "-c", code, report.path, photos / "a.png"], capture_output=True, check=True)
    labels = np.frombuffer(done.stdout, np.uint8).reshape(64, 128)
    assert np.mean(labels == segmenter(photos / "a.png").labels) > 0.999
