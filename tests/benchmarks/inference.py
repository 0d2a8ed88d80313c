"""How fast a network is in Keras, as a SavedModel, as a TensorFlow graph, and in ONNX Runtime at 32 and 8 bits.

    python tests/benchmarks/inference.py --run RUN                # the network of a run
    python tests/benchmarks/inference.py --model deeplab_v3plus_mobilenet_v2 --threads 1       # random weights

The contenders take turns, so that a busy machine slows all of them. Ratios are of CPU time at one thread, which is
steadier than wall time, and of wall time at more, where idle threads of ONNX Runtime spend CPU time waiting. Every
contender gives labels and confidence at the image's size. The SavedModel decides as one usually writes it: logits
enlarged, soft-max of every pixel, maximum and arg-max. Keras and the TensorFlow graph take the soft-max of cells and
enlarge probabilities, as the exported graph does; that is less work, and a slightly different confidence. The time of
the exported graph depends a little on what was learned: the more borders between classes, the longer.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from export.onnx_graph import exact_float32, to_onnx
from export.precision import with_precision
from models.catalogue import NETWORKS
from tests.export.networks import lively_network
from training.data.streetsim import STYLES, render
from training.prediction.trained_model import load_trained

CLASSES = 19
SIZES = ((256, 512), (512, 1024))
CALIBRATION = 8  # frames
REFERENCES = ("SavedModel", "TensorFlow graph")
PAUSE = 0.05  # seconds, in which the threads of the last contender stop waiting for more work and free the cores


def streets(count: int, size: tuple[int, int], seed: int) -> list[np.ndarray]:
    return [render(STYLES["city"], seed, index, size)[0] for index in range(count)]


def contenders(
    network: keras.Model, frames: list[np.ndarray], threads: int
) -> dict[str, Callable[[np.ndarray], object]]:
    """Functions image uint8 [1, h, w, 3] -> labels and confidence at its size, by name."""
    model, options = to_onnx(network), onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    fp32, int8 = (
        onnxruntime.InferenceSession(with_precision(model, precision, frames).SerializeToString(), options)
        for precision in ("fp32", "int8")
    )

    @tf.function(reduce_retracing=True)
    def decide(logits, size):
        probs = tf.image.resize(tf.nn.softmax(logits), size)
        return tf.argmax(probs, axis=-1), tf.reduce_max(probs, axis=-1)

    @tf.function(reduce_retracing=True)
    def graph(image):
        return decide(network(tf.cast(image, tf.float32), training=False)["logits"], tf.shape(image)[1:3])

    plain = saved_model(network)
    return {
        "Keras predict_on_batch": lambda image: decide(network.predict_on_batch(image)["logits"], image.shape[1:3]),
        "SavedModel": lambda image: [value.numpy() for value in plain(tf.constant(image)).values()],
        "TensorFlow graph": lambda image: [value.numpy() for value in graph(tf.constant(image))],
        "ONNX Runtime fp32": lambda image: fp32.run(["labels", "confidence"], {"image": image}),
        "ONNX Runtime int8": lambda image: int8.run(["labels", "confidence"], {"image": image}),
    }


def saved_model(network: keras.Model) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """What the exported file gives, in plain TensorFlow, saved and loaded: uint8 [b, h, w, 3] -> outputs by name."""

    def serve(image):
        logits = network(tf.cast(image, tf.float32), training=False)["logits"]
        probs = tf.nn.softmax(tf.image.resize(logits, tf.shape(image)[1:3]))
        labels = tf.cast(tf.argmax(probs, axis=-1), tf.uint8)
        return {"labels": labels, "confidence": tf.reduce_max(probs, axis=-1), "logits": logits}

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serve", serve, [tf.TensorSpec((None, None, None, 3), tf.uint8, name="image")])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        loaded = tf.saved_model.load(folder)
    return lambda image: loaded.serve(image)  # the function alone would lose its variables


def measured(predict: dict[str, Callable], image: np.ndarray, rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall and CPU milliseconds of each contender; they take turns."""
    times = {name: [] for name in predict}
    for number in range(rounds + 1):
        for name, function in predict.items():
            time.sleep(PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            function(image)
            if number:  # the first round traces graphs and fills caches
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: tuple(1000 * np.median(values, axis=0)) for name, values in times.items()}


def compare_speed(network: keras.Model, rounds: int, threads: int) -> None:
    """Print the table of one network."""
    predict = contenders(network, streets(CALIBRATION, SIZES[0], seed=1), threads)
    print(f"{network.name}, one image of uint8 to labels and confidence, {threads} threads, median of {rounds}")
    heads = "".join(f"| {height}x{width}: ms  CPU ms  x SavedModel  x graph  x fp32 " for height, width in SIZES)
    print(f"{'':24}{heads}")
    results = [measured(predict, streets(1, size, seed=2)[0][None], rounds) for size in SIZES]
    compared = 1 if threads == 1 else 0  # CPU time, wall time
    for contender in predict:
        cells = []
        for times in results:
            (wall, cpu), time_spent = times[contender], times[contender][compared]
            ratios = [times[other][compared] / time_spent for other in (*REFERENCES, "ONNX Runtime fp32")]
            cells.append(f"| {wall:11.0f} {cpu:7.0f} " + "".join(map("{:{}.2f} ".format, ratios, (13, 8, 7))))
        print(f"{contender:24}" + "".join(cells), flush=True)
    print(f"(ratios of {'CPU' if compared else 'wall'} time)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="the network and weights of this run directory")
    parser.add_argument("--model", default="compact", choices=NETWORKS, help="without --run: a network, random weights")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each contender")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    with exact_float32():
        if arguments.run is None:
            network = lively_network(arguments.model, CLASSES)
        else:
            network = load_trained(arguments.run, "final").network
        compare_speed(network, arguments.rounds, arguments.threads)


if __name__ == "__main__":
    main()
