"""Losses: hand values, empty regions, and agreement with the authors' own code."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.losses import (
    cross_entropy,
    entropy,
    kld_to_uniform,
    labelled_region,
    minimum_entropy,
    region_of,
    self_information,
    soft_consistency,
    soft_cross_entropy,
)


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


def test_weights_scale_the_pixels_but_not_the_divisor():
    logits = np.log(np.array([[[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]]], np.float32))
    label, weight = np.array([[[0, 1, 255]]], np.uint8), np.array([[[0.5, 0.25, 9.0]]], np.float32)
    by_hand = -(0.5 * math.log(0.5) + 0.25 * math.log(0.8))
    assert float(cross_entropy(logits, label, weight=weight)) == pytest.approx(by_hand / 2, rel=1e-6)
    assert float(cross_entropy(logits, label, count=3.0, weight=weight)) == pytest.approx(by_hand / 3, rel=1e-6)


def test_weights_of_one_change_nothing():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    label = np.random.default_rng(1).choice([0, 1, 4, 255], (2, 3, 4))
    weighted, gradient = value_and_gradient(lambda z: cross_entropy(z, label, weight=np.ones(label.shape)), logits)
    value, expected = value_and_gradient(lambda z: cross_entropy(z, label), logits)
    assert weighted == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)


def test_soft_cross_entropy_of_a_one_hot_label_is_the_hard_one():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    label = np.random.default_rng(1).integers(0, 5, (2, 3, 4))
    hard = float(cross_entropy(logits, label))
    assert float(soft_cross_entropy(logits, np.eye(5)[label], np.ones((2, 3, 4), np.float32))) == pytest.approx(hard)


def test_kld_to_uniform_is_smallest_at_the_uniform_distribution():
    mask = np.ones((1, 1, 1), np.float32)
    assert float(kld_to_uniform(np.zeros((1, 1, 1, 4), np.float32), mask)) == pytest.approx(math.log(4))
    assert float(kld_to_uniform(np.array([[[[3.0, 0, 0, 0]]]], np.float32), mask)) > math.log(4)


def test_entropy_by_hand():
    logits = np.log(np.array([[[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.98, 0.01, 0.01]]]], np.float32))
    mask = np.array([[[1, 1, 0]]], np.float32)
    by_hand = -(0.5 * math.log(0.5) + 0.5 * math.log(0.25) + 0.2 * math.log(0.1) + 0.8 * math.log(0.8)) / 2
    assert float(entropy(logits, mask, per_class=False)) == pytest.approx(by_hand, rel=1e-5)
    assert float(entropy(logits, mask)) == pytest.approx(by_hand / 3, rel=1e-5)


def test_consistency_by_hand_and_without_gradient_to_the_teacher():
    logits = tf.math.log(tf.constant([[[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]]]))
    teacher = tf.constant([[[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]]])
    with tf.GradientTape() as tape:
        tape.watch([logits, teacher])
        value = soft_consistency(logits, teacher, np.ones((1, 1, 2), np.float32))
    by_hand = -(math.log(0.5) + 0.5 * math.log(0.1) + 0.5 * math.log(0.8)) / 2 / 3
    assert float(value) == pytest.approx(by_hand, rel=1e-5)
    to_student, to_teacher = tape.gradient(value, [logits, teacher])
    assert np.abs(to_student).max() > 0.01
    assert to_teacher is None


def test_self_information_by_hand():
    logits = np.log(np.array([[[[0.5, 0.25, 0.125, 0.125], [0.25] * 4]]], np.float32))
    expected = [[[[0.25, 0.25, 0.1875, 0.1875], [0.25] * 4]]]  # halves and quarters of log2 4 = 2 bits
    np.testing.assert_allclose(self_information(logits), expected, rtol=1e-5)
    assert float(minimum_entropy(logits)) == pytest.approx((0.875 + 1.0) / 2, rel=1e-5)


def test_a_certain_prediction_has_no_entropy_and_no_nan():
    logits = np.array([[[[300.0, 0.0, -300.0]]]], np.float32)
    value, gradient = value_and_gradient(minimum_entropy, logits)
    assert value == 0.0
    assert np.all(gradient == 0.0)


def test_regions_by_name():
    label = np.array([[[3, 255, 0]]], np.uint8)
    assert region_of(label, "confident").numpy().tolist() == [[[1, 0, 1]]]
    assert region_of(label, "ignored").numpy().tolist() == [[[0, 1, 0]]]
    assert region_of(label, "all").numpy().tolist() == [[[1, 1, 1]]]
    with pytest.raises(ValueError, match="no region 'some': choose from confident, ignored, all"):
        region_of(label, "some")


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits, mask: entropy(logits, mask),
        lambda logits, mask: kld_to_uniform(logits, mask, per_class=True),
        lambda logits, mask: soft_consistency(logits, tf.ones_like(logits) / 3, mask),
    ],
    ids=["entropy", "kld_to_uniform", "soft_consistency"],
)
def test_a_batch_without_a_pixel_of_the_region_teaches_nothing(loss):
    """The published programs divide 0 by 0 here."""
    mask = np.zeros((1, 2, 2), np.float32)
    value, gradient = value_and_gradient(lambda logits: loss(logits, mask), np.full((1, 2, 2, 3), 30.0, np.float32))
    assert value == 0.0
    assert np.all(gradient == 0.0)


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


def agrees(loss, vectors, value_key: str, gradient_key: str):
    value, gradient = value_and_gradient(loss, vectors["logits"])
    assert value == pytest.approx(float(vectors[value_key]), rel=2e-5)
    np.testing.assert_allclose(gradient, vectors[gradient_key], atol=1e-6)


def teacher_probs(vectors):
    return tf.nn.softmax(vectors["teacher_logits"])


def test_region_losses_agree_with_iast(vectors):
    label = vectors["labels"]
    ignored, confident = region_of(label, "ignored"), region_of(label, "confident")
    agrees(lambda z: entropy(z, ignored), vectors, "iast_entropy_ignored", "iast_entropy_ignored_grad")
    agrees(
        lambda z: kld_to_uniform(z, confident, per_class=True),
        vectors,
        "iast_kld_confident",
        "iast_kld_confident_grad",
    )


@pytest.mark.parametrize("region", ["ignored", "confident", "all"])
def test_consistency_agrees_with_hiast(vectors, region):
    mask = region_of(vectors["labels"], region)
    loss = lambda z: soft_consistency(z, teacher_probs(vectors), mask)  # noqa: E731
    agrees(loss, vectors, f"hiast_softce_{region}", f"hiast_softce_{region}_grad")


def test_the_whole_loss_agrees_with_hiast(vectors):
    label = vectors["labels"]
    ignored, confident = region_of(label, "ignored"), region_of(label, "confident")

    def total(logits):
        smooth = 0.1 * kld_to_uniform(logits, confident, per_class=True)
        sharp = 1.0 * entropy(logits, ignored)
        consistent = 0.5 * soft_consistency(logits, teacher_probs(vectors), ignored)
        return cross_entropy(logits, label) + smooth + sharp + consistent

    agrees(lambda z: cross_entropy(z, label), vectors, "hiast_ce", "hiast_ce_grad")
    agrees(total, vectors, "hiast_total_sl_yaml", "hiast_total_grad")


def test_self_information_and_minimum_entropy_agree_with_hiast(vectors):
    np.testing.assert_allclose(self_information(vectors["logits"]), vectors["adv_entropy_map"], rtol=2e-5, atol=1e-7)
    assert float(minimum_entropy(vectors["logits"])) == pytest.approx(float(vectors["adv_entropy_loss"]), rel=2e-5)


def test_pixels_beyond_the_frame_belong_to_no_region():
    label = np.array([[[3, 255, 254]]], np.uint8)
    expected = {"confident": [1, 0, 0], "ignored": [0, 1, 0], "all": [1, 1, 0]}
    for region, mask in expected.items():
        assert region_of(label, region).numpy()[0, 0].tolist() == mask
