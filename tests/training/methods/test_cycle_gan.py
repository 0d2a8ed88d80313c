"""CycleGAN's step: both updates by hand, the frozen segmenter, and the pools of translated images."""

import numpy as np
import pytest
import tensorflow as tf

from models.translator import build_generator, build_patch_discriminator
from tests.training.methods.tiny import assert_weights, tiny_network
from training.methods.cycle_gan import CycleGanTraining, TranslatorNetworks
from training.methods.image_pool import ImagePool
from training.methods.optimizers import RampedPoly, build_optimizer
from training.presets import TRANSLATION_OPTIMIZER
from training.settings.schedule import Optimizer
from training.settings.translation import CycleGan, SemanticConsistency

CROP = (32, 32)
PLAIN = Optimizer("sgd", learning_rate=0.01, weight_decay=0.0, momentum=0.0, schedule="constant")


def networks() -> TranslatorNetworks:
    generators = [build_generator(2, 1, seed) for seed in (1, 2)]
    return TranslatorNetworks(*generators, *(build_patch_discriminator(2, seed) for seed in (3, 4)))


def ready(settings=None, segmenter=None) -> CycleGanTraining:
    method = CycleGanTraining(networks(), settings or CycleGan(), CROP, 5, segmenter)
    optimizers = [build_optimizer(PLAIN, 1, []) for _ in range(2)]
    optimizers[0].build(method.trained_variables)
    method.compile(optimizer=optimizers[0], discriminator_optimizer=optimizers[1])
    return method


def batch(seed=0) -> dict:
    random = np.random.default_rng(seed)
    images = [tf.constant(random.uniform(low, low + 100, (2, *CROP, 3)), tf.float32) for low in (0, 120)]
    position = tf.constant([2 * seed, 2 * seed + 1], tf.int64)
    return {
        name: {"image": image, "position": position} for name, image in zip(("source", "target"), images, strict=True)
    }


def test_one_step_equals_both_updates_by_hand():
    settings, data = CycleGan(cycle=3.0, identity=0.5, semantic=SemanticConsistency(2.0, 0.25)), batch()
    segmenter, own = tiny_network(), networks()
    source, target = data["source"]["image"], data["target"]["image"]

    def l1(a, b):
        return tf.reduce_mean(tf.abs(a - b)) / 127.5

    def seen(image):
        logits = segmenter(image, training=False)["logits"]
        mean, variance = tf.nn.moments(logits, [1, 2], keepdims=True)
        return (logits - mean) / tf.sqrt(variance + 1e-5)

    def unlike(a, b):
        return tf.reduce_mean((seen(a) - seen(b)) ** 2)

    with tf.GradientTape(persistent=True) as tape:
        as_target, as_source = own.to_target(source), own.to_source(target)
        back_source, back_target = own.to_source(as_target), own.to_target(as_source)
        adversarial = tf.reduce_mean((own.of_target(as_target) - 1) ** 2)
        adversarial += tf.reduce_mean((own.of_source(as_source) - 1) ** 2)
        cycle = l1(back_source, source) + l1(back_target, target)
        identity = l1(own.to_target(target), target) + l1(own.to_source(source), source)
        semantic = 3.0 * 2.0 * (unlike(back_source, source) + unlike(back_target, target))
        semantic += 0.25 * (unlike(as_target, source) + unlike(as_source, target))
        value = adversarial + 3.0 * cycle + 1.5 * identity + semantic
        critics = 0.0
        for network, real, fake in ((own.of_source, source, as_source), (own.of_target, target, as_target)):
            fake = tf.cast(tf.cast(fake, tf.float16), tf.float32)  # the first images of a pool are shown themselves
            critics += 0.5 * tf.reduce_mean((network(real) - 1) ** 2) + 0.5 * tf.reduce_mean(network(fake) ** 2)
    method = ready(settings, segmenter)
    pairs = [("to_target", value), ("to_source", value), ("of_source", critics), ("of_target", critics)]
    expected = {}
    for name, loss in pairs:
        network = getattr(own, name)
        steps = tape.gradient(loss, network.trainable_variables)
        assert max(float(tf.reduce_max(tf.abs(step))) for step in steps) > 1e-4
        expected[name] = [w - 0.01 * s.numpy() for w, s in zip(network.get_weights(), steps, strict=True)]
    before = segmenter.get_weights()
    logged = method.train_step(data)
    for name, weights in expected.items():
        assert_weights(getattr(method.translators, name), weights, atol=2e-5)
    assert float(logged["cycle"]) == pytest.approx(float(cycle), rel=1e-4)
    assert float(logged["identity"]) == pytest.approx(float(identity), rel=1e-4)
    found = sum(float(logged[f"{name}_discriminator"]) for name in ("source", "target"))
    assert found == pytest.approx(float(critics), rel=1e-4)
    assert_weights(segmenter, before)


def test_without_a_segmenter_there_is_no_semantic_term():
    plain, term_off = ready(), ready(CycleGan(semantic=None), tiny_network())
    data = batch()
    for method in (plain, term_off):
        assert not [name for name in method.train_step(data) if name.startswith("semantic")]
    assert_weights(plain.translators.to_target, term_off.translators.to_target.get_weights())


def test_the_generators_last_and_everything_resumes():
    method = ready()
    method.train_step(batch())
    assert {name: len(kept) for name, kept in method.lasting_variables.items()} == {"to_target": 16, "to_source": 16}
    again = ready()
    for variable, value in zip(again.resumable_variables, method.resumable_variables, strict=True):
        variable.assign(value)
    for each in (method, again):
        each.train_step(batch(1))
    for ours, theirs in zip(again.resumable_variables, method.resumable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_rate_is_constant_and_then_falls_to_zero():
    optimizer = build_optimizer(TRANSLATION_OPTIMIZER, 100, [])
    rates = [float(optimizer._learning_rate(step)) for step in (0, 49, 50, 75, 99)]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-4, 1e-4, 2e-4 / 50], rel=1e-4)
    assert (optimizer.beta_1, optimizer.weight_decay) == (0.5, 0.0)
    assert float(RampedPoly(1.0, 10, 1.0)(5)) == 0.5


def images(first: int, count: int) -> tf.Tensor:
    """Image n has the value n."""
    values = np.arange(first, first + count, dtype=np.float32)
    return tf.constant(np.broadcast_to(values[:, None, None, None], (count, 2, 2, 3)))


def shown(pool: ImagePool, first: int, count: int) -> list[int]:
    positions = tf.range(first, first + count, dtype=tf.int64)
    return pool.exchanged(images(first, count), positions)[:, 0, 0, 0].numpy().astype(int).tolist()


def test_a_pool_fills_in_order_and_then_gives_back_half_of_what_it_is_given():
    pool, held = ImagePool(5, (2, 2), seed=1, stream_number=1), set(range(5))
    assert [shown(pool, number, 1)[0] for number in range(5)] == list(range(5))
    assert pool.images.numpy()[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    earlier = 0
    for number in range(5, 105):
        (found,) = shown(pool, number, 1)
        if found != number:  # it left the pool, and the new one is in its place
            earlier += 1
            held = held - {found} | {number}
        assert set(pool.images.numpy()[:, 0, 0, 0].astype(int)) == held
    assert 30 < earlier < 70


def test_the_rows_of_a_batch_enter_one_after_the_other():
    alone, together = (ImagePool(2, (2, 2), seed=3, stream_number=1) for _ in range(2))
    found = [row for first in range(0, 48, 6) for row in shown(together, first, 6)]
    assert found == [shown(alone, number, 1)[0] for number in range(48)]
    np.testing.assert_array_equal(alone.images, together.images)
    first_batch = found[:6]
    assert any(row != number for number, row in enumerate(first_batch))  # places of one batch were met twice


def test_pools_of_other_seeds_and_uses_draw_otherwise():
    pools = [ImagePool(3, (2, 2), seed, use) for seed, use in ((1, 1), (1, 2), (2, 1))]
    draws = [shown(pool, 0, 30) for pool in pools]
    assert draws[0] != draws[1]
    assert draws[0] != draws[2]
