"""Random numbers of a training step depend on seed, use and position, not on how the batch is divided."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import kstest

from training.data.augment import DECISIONS, draw
from training.randomness import uniform_at

POSITIONS = [7, 8, 9, 10**9, 7, 0]

TWO_REPLICAS = f"""
import json
import tensorflow as tf
from training.distribution.devices import open_devices, parse_devices
from training.randomness import uniform_at

strategy = open_devices(parse_devices("cpu:0,1"))
batches = tf.data.Dataset.from_tensor_slices({POSITIONS}).batch(3)
batches = iter(strategy.distribute_datasets_from_function(lambda _: batches))
step = tf.function(lambda batch: strategy.run(lambda positions: uniform_at(3, 1, positions, 5), args=(batch,)))
print(json.dumps([part.numpy().tolist() for part in strategy.experimental_local_results(step(next(batches)))]))
"""


def numbers(positions=POSITIONS, seed=3, stream_number=1, count=5) -> np.ndarray:
    return uniform_at(seed, stream_number, tf.constant(positions, tf.int64), count).numpy()


def test_shape_and_range():
    assert numbers().shape == (6, 5)
    assert numbers().dtype == np.float32
    assert ((numbers() >= 0) & (numbers() < 1)).all()
    assert numbers([]).shape == (0, 5)


def test_rows_alone_equal_rows_in_a_batch():
    whole = numbers()
    np.testing.assert_array_equal(np.concatenate([numbers([position]) for position in POSITIONS]), whole)
    np.testing.assert_array_equal(numbers(POSITIONS[::-1])[::-1], whole)
    np.testing.assert_array_equal(whole[0], whole[4])  # the same position


def test_a_traced_step_draws_the_same():
    traced = tf.function(
        lambda positions: uniform_at(3, 1, positions, 5), input_signature=[tf.TensorSpec([None], tf.int64)]
    )
    np.testing.assert_array_equal(traced(tf.constant(POSITIONS, tf.int64)), numbers())


def test_two_replicas_draw_what_one_device_draws():
    """In a process of its own: devices are divided before TensorFlow computes anything."""
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", TWO_REPLICAS], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    parts = json.loads(result.stdout.splitlines()[-1])
    np.testing.assert_array_equal(np.concatenate(parts).astype(np.float32), numbers())


@pytest.mark.parametrize("other", [{"seed": 4}, {"stream_number": 2}, {"positions": [1, 2, 3, 4, 5, 6]}])
def test_seed_use_and_position_decide(other):
    assert (numbers() != numbers(**other)).all()


def test_apart_from_the_augmentations_numbers():
    pair = tf.constant([3, 7], tf.int64)
    of_augmentation = tf.random.stateless_uniform([DECISIONS], seed=pair).numpy()
    assert float(draw(3, tf.constant(7)).scale) == of_augmentation[0]
    assert not np.isin(numbers(), of_augmentation).any()


def test_uniform_over_positions_and_within_a_row():
    over_positions = numbers(np.arange(500), count=1)[:, 0]
    within_a_row = numbers([5], count=5000)[0]
    for values in (over_positions, within_a_row):
        assert kstest(values, "uniform").pvalue > 0.01
