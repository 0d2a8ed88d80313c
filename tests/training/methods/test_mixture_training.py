"""The second head in training: losses fall, modes come nearer to their classes, dead ones start anew."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.methods.tiny import CLASSES, batch, give_levels, tiny_network
from tests.training.methods.tiny_mixture import RAW, SOME, terms_with
from training.methods.mixture import PUSHED, mixture_head
from training.methods.modes import started_modes, usage
from training.methods.optimizers import build_optimizer
from training.methods.self_training import SelfTraining
from training.methods.source_training import SourceTraining
from training.methods.terms import CrossEntropyTerm
from training.settings.losses import Mixture
from training.settings.schedule import Optimizer


@pytest.fixture(autouse=True)
def levels(monkeypatch):
    give_levels(monkeypatch)


def trained(method, steps=8, rate=0.02):
    optimizer = build_optimizer(Optimizer(learning_rate=rate), 1000, [])
    optimizer.build(method.trained_variables)
    method.compile(optimizer=optimizer)
    values = []
    for number in range(steps):
        position = tf.range(4, dtype=tf.int64) + 4 * number
        method.reset_metrics()
        domains = {name: {**batch(seed), "position": position} for name, seed in (("source", 0), ("target", 50))}
        values.append({name: float(value) for name, value in method.train_step(domains).items()})
    return values


def test_the_losses_fall_and_the_head_is_kept_once():
    network = tiny_network()
    method = SelfTraining(network, [CrossEntropyTerm("source"), *terms_with(network=network)])
    head = mixture_head(method.terms)
    modes = np.asarray(head.modes)
    values = trained(method, 25)
    assert values[-1]["mode_triplet"] < values[0]["mode_triplet"] - 0.1
    assert np.abs(np.asarray(head.modes) - modes).max() > 0
    assert list(method.lasting_variables) == ["mixture"]
    assert len(method.lasting_variables["mixture"]) == len(head.variables)
    assert len({id(variable) for variable in method.resumable_variables}) == len(method.resumable_variables)
    assert not {id(variable) for variable in head.variables} & {id(variable) for variable in network.weights}


def with_far_modes(restart_every):
    """A method and its head, the second mode of each class far from every sample."""
    network = tiny_network()
    settings = replace(SOME, restart_every=restart_every)
    method = SelfTraining(network, [CrossEntropyTerm("source"), *terms_with(settings, network)])
    head = mixture_head(method.terms)
    far = np.asarray(head.modes)
    far[:, 1] = 1000.0
    head.start_with(far, np.zeros(far.shape[:2]))
    return method, head


def test_every_nth_step_modes_without_samples_start_anew_and_stand_still():
    method, head = with_far_modes(restart_every=4)
    trained(method, 3)
    assert np.asarray(head.counts).sum(axis=1).min() >= 100
    assert not np.any(np.asarray(head.counts)[:, 1])
    assert np.asarray(head.last.pushed).tolist() == [3 * 2 * PUSHED] * CLASSES
    assert not np.any(head.restarts)
    assert np.abs(np.asarray(head.modes)[:, 1]).min() > 900
    trained(method, 1)
    assert np.asarray(head.restarts).min() >= 1
    assert not np.any(head.counts)
    assert np.abs(np.asarray(head.modes)).max() < 50
    momentum = next(each for each in method.optimizer.variables if "modes_momentum" in each.path)
    assert not np.any(np.asarray(momentum)[:, 1])
    assert np.any(np.asarray(momentum))
    head.forget()
    assert (int(head.steps), int(np.sum(head.last.pushed))) == (0, 0)
    assert np.any(head.restarts)


def test_without_restarts_modes_without_samples_stay_where_they_are():
    method, head = with_far_modes(restart_every=None)
    trained(method, 4)
    np.testing.assert_allclose(np.asarray(head.modes)[:, 1], 1000.0, atol=1)
    assert not np.any(head.restarts)


PALETTE = np.array([
    [[230, 20, 20], [20, 230, 20], [20, 20, 230]],
    [[20, 230, 230], [230, 20, 230], [230, 230, 20]],
    [[10, 10, 10], [125, 125, 125], [245, 245, 245]],
])  # fmt: skip


def colours(number: int):
    """A global batch of images whose classes have three colours each."""
    random = np.random.default_rng(number)
    label, colour = (np.kron(random.integers(0, 3, (4, 2, 2)), np.ones((1, 8, 8), int)) for _ in range(2))
    image = PALETTE[label, colour] + random.normal(0, 8, (*label.shape, 3))
    return {
        "image": tf.constant(image, tf.float32),
        "label": tf.constant(label.astype(np.uint8)),
        "position": tf.range(4, dtype=tf.int64) + 4 * number,
    }


@pytest.mark.parametrize(
    "settings",
    [
        Mixture(),
        pytest.param(Mixture(**RAW), marks=pytest.mark.slow),
        pytest.param(Mixture(restart_every=None, **RAW), marks=pytest.mark.slow),
    ],
    ids=["default", "published", "without restarts"],
)
def test_modes_come_nearer_and_each_keeps_a_share_of_a_class_that_has_as_many_colours(settings):
    """Specification 6 (iv). Without restarts one mode of a class after another loses its samples."""
    network = tiny_network(1)
    settings = replace(settings, label_reduction=1, dimension=8, samples=100)
    terms = terms_with(settings, network)
    method, head = SourceTraining(network, [CrossEntropyTerm("source"), *terms]), mixture_head(terms)
    optimizer = build_optimizer(Optimizer(learning_rate=2e-3, schedule="constant"), 1000, [])
    optimizer.build(method.trained_variables)
    method.compile(optimizer=optimizer)

    def embedded():
        parts = [colours(10_000 + number) for number in range(4)]
        maps = [head.block(network(part["image"])["features"]) for part in parts]
        values = np.concatenate([tf.image.resize(each, (16, 16)) for each in maps]).reshape(-1, 8)
        values = np.asarray(head.as_used(tf.constant(values)))
        return values, np.concatenate([part["label"] for part in parts]).ravel()

    def modes_as_used():
        return np.asarray(head.as_used(tf.convert_to_tensor(head.modes)))

    def share_of_spread():
        """Mean squared distance to the nearest own mode over that to the mean of the class, mean over the classes."""
        values, label = embedded()
        parts = []
        for number, modes in enumerate(modes_as_used()):
            mine = values[label == number]
            near = ((mine[:, None] - modes) ** 2).sum(-1).min(axis=1).mean()
            parts.append(near / ((mine - mine.mean(axis=0)) ** 2).sum(-1).mean())
        return np.mean(parts)

    values, label = embedded()
    modes = started_modes(values, label, np.asarray(head.modes), seed=0)
    head.start_with(modes, np.zeros(modes.shape[:2]))
    before, step = share_of_spread(), tf.function(method.train_step, autograph=False)
    for number in range(150):
        step({"source": colours(number)})
    shares = usage(*embedded(), modes_as_used())
    if settings.restart_every is None:
        assert np.min(shares) < 0.01
        return
    assert share_of_spread() < 0.7 * before
    assert np.min(shares) >= 0.05
