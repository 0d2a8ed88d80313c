"""How fast exported models are, and how faithful.

    python tests/benchmarks/inference.py                       # Keras, TensorFlow graph, ONNX Runtime fp32 and int8
    python tests/benchmarks/inference.py --model deeplab_v2_mobilenet_v2 --threads 1
    python tests/benchmarks/inference.py --table               # size and parity of every network at every precision

Weights are random: neither speed nor the difference to Keras depends on what was learned. The contenders take turns, so
that a busy machine slows all of them; CPU time is steadier than wall time, but holds what idle threads of ONNX Runtime
spend waiting: compare it at one thread. Each network of the table has a process of its own, for its memory.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from export.onnx_graph import to_onnx
from export.parity import measured_parity, session_of
from export.precision import PRECISIONS, with_precision
from models.catalogue import NETWORKS
from tests.export.networks import lively_network
from training.data.streetsim import STYLES, render

CLASSES = 19
SIZES = ((256, 512), (512, 1024))
CALIBRATION, CHECKED = 8, 4  # frames
TABLE_SIZE = (128, 256)
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

    return {
        "Keras predict_on_batch": lambda image: decide(network.predict_on_batch(image)["logits"], image.shape[1:3]),
        "TensorFlow graph": lambda image: [value.numpy() for value in graph(tf.constant(image))],
        "ONNX Runtime fp32": lambda image: fp32.run(["labels", "confidence"], {"image": image}),
        "ONNX Runtime int8": lambda image: int8.run(["labels", "confidence"], {"image": image}),
    }


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


def compare_speed(name: str, rounds: int, threads: int) -> None:
    """Print the table of one network."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    network = lively_network(name, CLASSES)
    predict = contenders(network, streets(CALIBRATION, SIZES[0], seed=1), threads)
    print(f"{name}, one image of uint8 to labels and confidence, {threads} threads, median of {rounds}")
    print(f"{'':24}" + "".join(f"| {height}x{width}: ms  CPU ms  x TF  x fp32 " for height, width in SIZES))
    results = [measured(predict, streets(1, size, seed=2)[0][None], rounds) for size in SIZES]
    for contender in predict:
        cells = []
        for times in results:
            (wall, cpu), graph, fp32 = (times[key] for key in (contender, "TensorFlow graph", "ONNX Runtime fp32"))
            cells.append(f"| {wall:11.0f} {cpu:7.0f} {graph[1] / cpu:5.2f} {fp32[1] / cpu:7.2f} ")
        print(f"{contender:24}" + "".join(cells), flush=True)
    print("(ratios of CPU time)")


def table_row(name: str) -> None:
    """Print size and parity of one network at every precision."""
    network = lively_network(name, CLASSES)
    model = to_onnx(network)
    for precision in PRECISIONS:
        converted = with_precision(model, precision, streets(CALIBRATION, TABLE_SIZE, seed=1))
        frames = [frame[index:, index:] for index, frame in enumerate(streets(CHECKED, TABLE_SIZE, seed=2))]
        parity = measured_parity(network, session_of(converted), frames)
        print(
            f"| {name} | {precision} | {converted.ByteSize() / 1e6:.1f} | {parity.difference:.1e} | "
            f"{parity.largest_logit:.1f} | {parity.agreement:.3%} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact", choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each contender")
    parser.add_argument("--table", action="store_true", help="all networks and precisions")
    parser.add_argument("--row", action="store_true", help="the lines of one network in that table")
    arguments = parser.parse_args()
    if arguments.row:
        table_row(arguments.model)
    elif arguments.table:
        print("| network | precision | MB | largest logit difference | largest logit | equal labels |")
        print("|---|---|---|---|---|---|", flush=True)
        for name in NETWORKS:
            subprocess.run([sys.executable, __file__, "--row", "--model", name], check=True)
    else:
        compare_speed(arguments.model, arguments.rounds, arguments.threads)


if __name__ == "__main__":
    main()
