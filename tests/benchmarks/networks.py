"""How fast each network trains and predicts on this machine.

    python tests/benchmarks/networks.py                                  every network, one step of 128x256 frames
    python tests/benchmarks/networks.py --networks compact --batch 4 --size 256 512 --policies mixed_bfloat16

A step is forward, backward and an AdamW update in one plain `tf.function`, on random images: the floor under any
training loop. Images a second of wall time, and of CPU time (as if both were free: steadier on a busy machine).
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from models.catalogue import NETWORKS

CLASSES = 19


def main():
    options = parsed_options()
    print(f"{'network':<28} {'parameters':>11}  {'policy':<15} {'batch-norm':<10} {'wall':>7} {'CPU':>7}  images/s")
    for name in options.networks:
        for policy in options.policies:
            for statistics in options.batch_norm:
                report(name, policy, statistics, options)


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--size", nargs=2, type=int, default=(128, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--stride", type=int, default=None, help="output stride (default: the network's own)")
    parser.add_argument("--policies", nargs="+", default=["float32", "mixed_bfloat16"])
    parser.add_argument("--batch-norm", nargs="+", default=["train", "frozen"], choices=["train", "frozen"])
    return parser.parse_args()


def report(name: str, policy: str, statistics: str, options: argparse.Namespace) -> None:
    import keras

    keras.config.set_dtype_policy(policy)
    step, parameters = training_step(name, statistics, options)
    for _ in range(2):  # traces, then fills oneDNN's caches
        step()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(options.steps):
        step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    images = options.batch * options.steps
    per_wall, per_cpu = images / wall, images / cpu * os.cpu_count()
    print(f"{name:<28} {parameters:>11,}  {policy:<15} {statistics:<10} {per_wall:>7.1f} {per_cpu:>7.1f}", flush=True)
    keras.backend.clear_session()


def training_step(name: str, statistics: str, options: argparse.Namespace):
    """`(step, parameter count)`: `step()` trains once on random images and waits for the result."""
    import keras
    import tensorflow as tf

    from models.batch_norm import set_batch_norm
    from models.segmenter import build_segmenter

    network = build_segmenter(name, CLASSES, output_stride=options.stride)
    set_batch_norm(network, statistics)
    variables = network.trainable_variables
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.build(variables)
    image = tf.random.uniform((options.batch, *options.size, 3), 0, 255)
    label = tf.random.uniform(network(image)["logits"].shape[:3], 0, CLASSES, tf.int32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = network(image, training=True)["logits"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return lambda: step().numpy(), network.count_params()


if __name__ == "__main__":
    main()
