"""Losses: hand values, empty regions, and agreement with the authors' own code."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.losses import cross_entropy, kld_to_uniform, labelled_region, soft_cross_entropy


@pytest.fixture(scope="module")
def vectors(shared_dir):
    arrays = np.load(shared_dir / "reference" / "losses.npz")
    channels_last = {key: np.moveaxis(arrays[key], 1, -1) for key in arrays.files if arrays[key].ndim == 4}
    return {key: channels_last.get(key, arrays[key]) for key in arrays.files if key != "provenance"}


def value_and_gradient(loss, logits):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits)
    return float(value), tape.gradient(value, logits).numpy()


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]]], np.float32))
    label = np.array([[[0, 1, 255]]], np.uint8)
    assert float(cross_entropy(logits, label)) == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2, rel=1e-6)


def test_soft_cross_entropy_of_a_one_hot_label_is_the_hard_one():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    label = np.random.default_rng(1).integers(0, 5, (2, 3, 4))
    hard = float(cross_entropy(logits, label))
    assert float(soft_cross_entropy(logits, np.eye(5)[label], np.ones((2, 3, 4), np.float32))) == pytest.approx(hard)


def test_kld_to_uniform_is_smallest_at_the_uniform_distribution():
    mask = np.ones((1, 1, 1), np.float32)
    assert float(kld_to_uniform(np.zeros((1, 1, 1, 4), np.float32), mask)) == pytest.approx(math.log(4))
    assert float(kld_to_uniform(np.array([[[[3.0, 0, 0, 0]]]], np.float32), mask)) > math.log(4)


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits, label: cross_entropy(logits, label),
        lambda logits, label: kld_to_uniform(logits, labelled_region(label)),
        lambda logits, label: soft_cross_entropy(logits, tf.ones_like(logits) / 3, labelled_region(label)),
    ],
    ids=["cross_entropy", "kld_to_uniform", "soft_cross_entropy"],
)
def test_an_all_ignored_batch_teaches_nothing(loss):
    label = np.full((1, 2, 2), 255, np.uint8)
    value, gradient = value_and_gradient(lambda logits: loss(logits, label), np.full((1, 2, 2, 3), 30.0, np.float32))
    assert value == 0.0
    assert np.all(gradient == 0.0)


def test_losses_are_computed_in_float32_from_half_precision_logits():
    logits = keras.ops.cast(np.array([[[[20.0, 0.0]]]]), "bfloat16")
    value = cross_entropy(logits, np.array([[[1]]]))
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx(20.0, rel=1e-6)


def test_cross_entropy_agrees_with_crst(vectors):
    value, gradient = value_and_gradient(lambda z: cross_entropy(z, vectors["labels"]), vectors["logits"])
    assert value == pytest.approx(float(vectors["crst_ce"]), rel=2e-5)
    np.testing.assert_allclose(gradient, vectors["crst_ce_grad"], atol=1e-6)


def test_mrkld_agrees_with_crst_including_its_squared_weight(vectors):
    label, mask = vectors["labels"], labelled_region(vectors["labels"])
    both = lambda z: cross_entropy(z, label) + 0.1 * 0.1 * kld_to_uniform(z, mask)  # noqa: E731
    value, gradient = value_and_gradient(both, vectors["logits"])
    assert value == pytest.approx(float(vectors["crst_mrkld_tgt_both"]), rel=2e-5)
    np.testing.assert_allclose(gradient, vectors["crst_mrkld_tgt_both_grad"], atol=1e-6)


def test_mrkld_on_the_target_alone_agrees_with_crst(vectors):
    """The first image is source (weight 0), the second target."""
    label, mask = vectors["labels"], labelled_region(vectors["labels"])
    target_only = mask * np.array([0.0, 1.0], np.float32)[:, None, None]
    loss = lambda z: cross_entropy(z, label) + 0.01 * kld_to_uniform(z, target_only)  # noqa: E731
    value, gradient = value_and_gradient(loss, vectors["logits"])
    assert value == pytest.approx(float(vectors["crst_mrkld_src_tgt"]), rel=2e-5)
    np.testing.assert_allclose(gradient, vectors["crst_mrkld_src_tgt_grad"], atol=1e-6)


def test_soft_cross_entropy_agrees_with_crst(vectors):
    soft = vectors["crst_softce_target"]
    mask = (soft.sum(axis=-1) > 0).astype(np.float32)
    value, gradient = value_and_gradient(lambda z: soft_cross_entropy(z, soft, mask), vectors["logits"])
    assert value == pytest.approx(float(vectors["crst_softce"]), rel=2e-5)
    np.testing.assert_allclose(gradient, vectors["crst_softce_grad"], atol=1e-6)
