"""The exported files in runtimes other than the installed ONNX Runtime: the labels are the same.

OpenCV's DNN module runs the plain graph (`--outputs logits`), an old ONNX Runtime and OpenVINO the whole one. The last
two get environments of their own. One network stays in the usual tests; all three, as a table, in some minutes:

    python -m pytest -m "slow or not slow" -s tests/export/test_other_runtimes.py
"""

import subprocess
import sys
import venv
from pathlib import Path

import cv2
import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from export.enlarge import enlarged_label
from export.onnx_graph import LOGITS, exact_float32, to_onnx
from tests.export.networks import lively_network
from training.data.streetsim import STYLES, render
from training.probability_maps.scores import softmax

NETWORKS = (
    "compact",
    pytest.param("deeplab_v3plus_mobilenet_v2", marks=pytest.mark.slow),
    pytest.param("deeplab_v2_resnet18_v2", marks=pytest.mark.slow),
)
SIZES = ((128, 256), (97, 131), (64, 99))  # odd ones among them
LEAST_EQUAL = 0.999
ENVIRONMENTS = {
    "ONNX Runtime 1.17": ("onnxruntime==1.17.3", "numpy<2"),
    "OpenVINO": ("openvino", "numpy"),
}
CODE = {
    "ONNX Runtime 1.17": """
import onnxruntime
version = onnxruntime.__version__
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
run = lambda image: session.run(["labels"], {"image": image})[0]
""",
    "OpenVINO": """
import openvino
version = openvino.__version__.split("-")[0]
model = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
run = lambda image: model({"image": image})["labels"]
""",
}
FRAME = """
import sys, numpy
{code}
images = numpy.load(sys.argv[2])
numpy.savez(sys.argv[3], **{{name: run(images[name]) for name in images.files}})
print(version)
"""


@pytest.fixture(scope="module", params=NETWORKS)
def files(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """(name, whole graph, plain graph of opset 13) of a network."""
    folder = tmp_path_factory.mktemp("exported")
    with exact_float32():
        network = lively_network(request.param, 19)
        onnx.save(to_onnx(network), folder / "model.onnx")
        onnx.save(to_onnx(network, LOGITS, 13), folder / "model_logits.onnx")
    keras.backend.clear_session()
    return request.param, folder / "model.onnx", folder / "model_logits.onnx"


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """Generated streets uint8 [1, h, w, 3] of several sizes, by size."""
    return {f"{h}x{w}": render(STYLES["city"], 5, index, (h, w))[0][None] for index, (h, w) in enumerate(SIZES)}


def labels_of(model: Path, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the installed ONNX Runtime says."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    labels = {name: session.run(["labels"], {"image": image})[0] for name, image in images.items()}
    assert all(len(np.unique(label)) > 4 for label in labels.values())  # or equal labels would say little
    return labels


def equal_share(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """Share of the pixels of all images with the same label."""
    return float(np.mean(np.concatenate([(ours[name] == theirs[name]).ravel() for name in ours])))


def say(network: str, runtime: str, version: str, share: float) -> None:
    """A line of the table, seen with `-s`."""
    print(f"| {network} | {runtime} {version} | {share:.4%} |")


def test_opencv_computes_the_same_logits_and_labels(files, images):
    if int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip(f"OpenCV {cv2.__version__} cannot read the file: 5.0 is the first that can")
    name, whole, plain = files
    session = onnxruntime.InferenceSession(plain, providers=["CPUExecutionProvider"])
    net, labels = cv2.dnn.readNetFromONNX(str(plain)), {}
    for size, image in images.items():
        blob = cv2.dnn.blobFromImage(image[0, :, :, ::-1], swapRB=True)  # OpenCV reads photos as BGR
        net.setInput(blob)
        logits = net.forward()
        expected = session.run(["logits"], {"image": blob})[0]
        assert logits.shape == expected.shape
        assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()
        assert np.mean(logits.argmax(1) == expected.argmax(1)) > LEAST_EQUAL
        labels[size] = enlarged_label(softmax(logits[0].transpose(1, 2, 0)), image.shape[1:3])[0][None]
    share = equal_share(labels_of(whole, images), labels)
    say(name, "OpenCV", cv2.__version__, share)
    assert share > LEAST_EQUAL


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def runtime(request, tmp_path_factory) -> tuple[str, Path]:
    """(name, interpreter of an environment that has nothing but this runtime and NumPy)."""
    if request.param == "ONNX Runtime 1.17" and sys.version_info >= (3, 13):
        pytest.skip("ONNX Runtime 1.17 has wheels up to Python 3.12")
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
    done = subprocess.run([*install, *ENVIRONMENTS[request.param]], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install {request.param} here: {done.stderr.strip().splitlines()[-1]}")
    return request.param, python


def test_other_runtimes_give_the_same_labels(runtime, files, images, tmp_path):
    (title, python), (name, whole, _) = runtime, files
    np.savez(tmp_path / "images.npz", **images)
    code = FRAME.format(code=CODE[title])
    command = [python, "-c", code, whole, tmp_path / "images.npz", tmp_path / "labels.npz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    share = equal_share(labels_of(whole, images), np.load(tmp_path / "labels.npz"))
    say(name, title.split(" 1")[0], done.stdout.strip(), share)
    assert share > LEAST_EQUAL
