"""Trains every method on a tiny network under a `tf.distribute` strategy.

In a process of its own, for TensorFlow fixes the devices at its start:

    python tests/training/methods/replicas.py --devices cpu:0,1 --out FILE.npz

FILE.npz holds the weights of each method after STEPS steps, on one device and on the replicas, and what was logged.
With TF_CONFIG in the environment the replicas are those of all workers. With `--accumulate 2` each replica computes its
rows in two parts, and the one device all at once; the networks then have frozen batch-norm and no dropout.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

import argparse

import numpy as np

from training.distribution.devices import parse_devices, share_of_this_process
from training.distribution.quiet import start_tensorflow

STEPS = 8


def batches(strong: bool = False, large: bool = False, steps: int = STEPS):
    """Global batches of both domains whose replicas differ much: hardly any label in the first half of the target.

    large: images of twice the size, without labels that fit.
    """
    import tensorflow as tf

    from tests.training.methods.tiny import batch

    for number in range(steps):
        source, target = batch(number), batch(1000 + number, 0.4)
        label = target["label"].numpy()
        label[:2, 1:] = 255
        label[3, 8:, 8:] = 254
        position = tf.range(4 * number, 4 * number + 4, dtype=tf.int64)
        source = {**source, "position": position}
        target = {**target, "label": tf.constant(label), "weak": target["image"], "position": position}
        if strong:
            target["image"] = 255.0 - 0.8 * target["image"]
        if large:
            for domain in (source, target):
                domain["image"] = tf.repeat(tf.repeat(domain["image"], 2, axis=1), 2, axis=2)
        position = {"position": tf.range(4, dtype=tf.int64) + 4 * number}
        yield {"source": {**source, **position}, "target": {**target, **position}}


def stream_of(share, **views):
    """This process' rows of the batches, as a training stream gives them."""
    import tensorflow as tf

    parts = []
    for batch in batches(**views):
        rows = share.rows(4).reshape(share.replicas, -1)
        parts += [tf.nest.map_structure(lambda x, mine=mine: tf.gather(x, mine), batch) for mine in rows]
    return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *values: tf.stack(values), *parts))


def trained(make, views, share, accumulate: int = 1) -> dict[str, np.ndarray]:
    """Weights (of every replica of this process) and logs of a method after training under the strategy in scope."""
    import keras
    import tensorflow as tf

    from training.stages.fitting import train

    method, logs = make(accumulate), {}

    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs_now=None):
            logs.update(logs_now)

    train(method, stream_of(share, **views), Keep())
    locally = tf.distribute.get_strategy().experimental_local_results
    networks = [method.network, getattr(method, "teacher", None), getattr(method, "discriminator", None)]
    weights = [weight for network in networks if network is not None for weight in network.weights]
    values = {f"weight_{i}": np.stack([x.numpy() for x in locally(w.value)]) for i, w in enumerate(weights)}
    state = {f"state_{i}": np.asarray(v)[None] for i, v in enumerate(method.resumable_variables)}
    return {**values, **state, **{f"log_{name}": np.stack(locally(value)) for name, value in logs.items()}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", default="cpu")
    parser.add_argument("--out", required=True)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="these methods alone (all)")
    arguments = parser.parse_args()
    strategy = start_tensorflow(parse_devices(arguments.devices))

    from tests.graphs import run_graphs_as_traced
    from tests.training.methods.replica_methods import methods

    run_graphs_as_traced(True)

    results = {}
    chosen = methods(STEPS, in_parts=arguments.accumulate > 1)
    for name, (make, views) in ((name, chosen[name]) for name in arguments.only or chosen):
        with strategy.scope():
            several = trained(make, views, share_of_this_process(), arguments.accumulate)
        alone = trained(make, views, share_of_this_process())
        results |= {f"{name}/several/{key}": value for key, value in several.items()}
        results |= {f"{name}/alone/{key}": value for key, value in alone.items()}
    np.savez(arguments.out, **results)


if __name__ == "__main__":
    main()
