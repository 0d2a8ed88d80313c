"""A batch computed in parts gives the weights, averages and logs of the whole, whatever the labels of each part."""

import time

import numpy as np
import pytest
import tensorflow as tf

from models.batch_norm import set_batch_norm
from models.discriminator import build_discriminator
from models.replicas import one_part_of, over_replicas, shares
from tests.training.methods.tiny import CLASSES, batch, optimizer_for, tiny_network
from training.errors import UserError
from training.losses import least_squares, mean_over
from training.methods.adversarial import AdversarialTraining
from training.methods.mean_teacher import MeanTeacherTraining, teacher_of
from training.methods.optimizers import Adam
from training.methods.parts import count_regions, sum_over_parts
from training.methods.self_training import SelfTraining, SoftLabeller
from training.methods.source_training import SourceTraining
from training.methods.terms import (
    ConfidentRegionKLDTerm,
    CrossEntropyTerm,
    IgnoredRegionEntropyTerm,
    MinimumEntropyTerm,
    SoftCrossEntropyTerm,
    TeacherConsistencyTerm,
    Term,
)
from training.stages.fitting import distributed_step

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

STEPS = 6
CLIP = 0.1  # of gradients whose norm is a few tenths
OPTIMIZERS = {"sgd": {"learning_rate": 0.1}, "adamw": {"learning_rate": 0.01}}


def both(number: int) -> dict:
    """Both domains, each image with another share of labels: the target's first has none, its last some outside."""
    source, target = batch(number, 0.9), batch(100 + number, 0.5)
    labels = {"source": source["label"].numpy(), "target": target["label"].numpy()}
    labels["source"][1, 3:] = 255
    labels["target"][0] = 255
    labels["target"][1, 2:] = 255
    labels["target"][3, 8:, 8:] = 254
    weak = target["image"]
    return {
        "source": {**source, "label": tf.constant(labels["source"])},
        "target": {"image": 255.0 - 0.8 * weak, "weak": weak, "label": tf.constant(labels["target"])},
    }


def frozen_network(seed: int = 0):
    network = tiny_network(seed, batch_norm=True)
    set_batch_norm(network, "frozen")
    return network


def source_training():
    return SourceTraining(frozen_network(), [CrossEntropyTerm("source")], loss_stride=2)


def with_soft_labels():
    soft = SoftLabeller(tiny_network(1), np.array([0.9, 0.5, 1.0], np.float32), 0.25)
    terms = [CrossEntropyTerm("source"), SoftCrossEntropyTerm(0.7), SoftCrossEntropyTerm(0.2, own_mean=True)]
    terms[2].name = "soft_cross_entropy_of_its_own_mean"
    return SelfTraining(frozen_network(), terms, soft_labeller=soft)


def with_mrkld():
    terms = [CrossEntropyTerm("source"), CrossEntropyTerm("target", 0.7), ConfidentRegionKLDTerm(0.3)]
    return SelfTraining(frozen_network(), terms)


def with_teacher():
    terms = [
        CrossEntropyTerm("source", own_mean=True),
        CrossEntropyTerm("target", own_mean=True),
        ConfidentRegionKLDTerm(0.3, per_class=True),
        IgnoredRegionEntropyTerm(1.0),
        TeacherConsistencyTerm(0.5),
        TeacherConsistencyTerm(0.5, "all"),
    ]
    network = frozen_network()
    return MeanTeacherTraining(network, teacher_of(network), terms, decay=0.8)


def of_all_pixels():
    terms = [CrossEntropyTerm("source", over_all=True), CrossEntropyTerm("target", 0.7, over_all=True)]
    return SelfTraining(frozen_network(), terms)


def adversarial(**choice):
    terms = [CrossEntropyTerm("source"), MinimumEntropyTerm(0.3)]
    return AdversarialTraining(frozen_network(), build_discriminator(CLASSES, channels=4), terms, weight=0.5, **choice)


def with_self_information():
    return adversarial(discriminator_input="self_information", loss="bce")


METHODS = [
    source_training,
    with_soft_labels,
    with_mrkld,
    with_teacher,
    of_all_pixels,
    adversarial,
    with_self_information,
]


def compiled(method, accumulate: int, optimizer: str = "sgd", clip_norm: float | None = CLIP):
    discriminator = {"discriminator_optimizer": Adam(0.002)} if isinstance(method, AdversarialTraining) else {}
    settings = {"name": optimizer, "clip_norm": clip_norm, **OPTIMIZERS[optimizer]}
    method.compile(optimizer=optimizer_for(method.network, **settings), accumulate=accumulate, **discriminator)
    return method


def trained(make, accumulate: int, optimizer: str):
    """All variables that moved, and the logs, after some steps as a stage makes them."""
    method = compiled(make(), accumulate, optimizer)
    step = distributed_step(method)
    for number in range(STEPS):
        logs = step(both(number))
    return [variable.numpy() for variable in method.resumable_variables], {k: float(v) for k, v in logs.items()}


@pytest.mark.parametrize(
    ("make", "optimizer"),
    [
        *((make, "sgd") for make in METHODS),
        (source_training, "adamw"),
        pytest.param(adversarial, "adamw", marks=pytest.mark.slow),
    ],
)
def test_parts_train_as_the_whole_batch(make, optimizer):
    weights, logs = trained(make, 1, optimizer)
    start = [variable.numpy() for variable in compiled(make(), 1, optimizer).resumable_variables]
    assert any((before != after).any() for before, after in zip(start, weights, strict=True))
    for parts in (2, 4):
        found, found_logs = trained(make, parts, optimizer)
        for ours, whole in zip(found, weights, strict=True):
            np.testing.assert_allclose(ours, whole, rtol=1e-4, atol=2e-5)
        assert found_logs == pytest.approx(logs, rel=1e-5)


@pytest.mark.parametrize("make", METHODS)
def test_the_gradients_of_the_parts_add_up_and_are_clipped_once(make):
    """The norm of the sum is above the limit, those of the parts may lie below it."""
    results = []
    for parts in (1, 4):
        method = compiled(make(), parts)
        results.append(tf.function(method.gradients_of_all, autograph=False)(both(0)))
    (values, whole), (part_values, sums) = results
    assert float(tf.linalg.global_norm(whole)) > CLIP
    np.testing.assert_allclose(part_values, values, rtol=1e-5)
    for ours, expected in zip(sums, whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_regions_are_counted_on_the_grid_of_the_loss():
    counts = count_regions(both(0), 2)
    label = both(0)["target"]["label"].numpy()[:, 1::2, 1::2]
    expected = {"confident": (label < 254).sum(), "ignored": (label == 255).sum(), "all": (label != 254).sum()}
    assert {region: int(count) for region, count in counts["target"].items()} == expected


def test_one_part_follows_the_other():
    """Each begins after the gradients of the one before, in the graph too, where independent work runs in parallel."""
    running, most, order = [], [], []

    def work(number):
        running.append(int(number))
        most.append(len(running))
        time.sleep(0.05)  # long enough for another part to begin
        running.remove(int(number))
        order.append(int(number))
        return number

    def compute(part):
        value = tf.numpy_function(work, [part["number"][0]], tf.float32, stateful=False)
        return [tf.reshape(value, ())], [tf.reshape(value, (1,))]

    variable, numbers = tf.Variable([0.0]), tf.range(8, dtype=tf.float32)
    run = tf.function(lambda: sum_over_parts(compute, {"number": numbers}, 8, 1, [variable]), autograph=False)
    (value,), (gradient,) = run()
    assert (float(value), gradient.numpy().tolist()) == (28.0, [28.0])
    assert (max(most), order) == (1, list(range(8)))


def test_a_variable_without_gradient_stays_without():
    compute = lambda part: ([tf.reduce_sum(part)], [None, tf.reduce_sum(part, keepdims=True)])  # noqa: E731
    variables = [tf.Variable([1.0]), tf.Variable([1.0])]
    run = tf.function(lambda x: sum_over_parts(compute, x, 2, 1, variables)[1][1], autograph=False)
    assert run(tf.range(4.0)).numpy().tolist() == [6.0]
    assert sum_over_parts(compute, tf.range(4.0), 2, 1, variables)[1][0] is None


def test_a_loss_of_a_part_must_know_the_whole():
    """A mean over all values does; one over a mask that nobody has counted is refused instead of being wrong."""
    ones = tf.ones((1, 2, 2))
    with one_part_of(4):
        assert shares() == 4
        assert float(least_squares(ones[..., None], 0.0)) == 0.25
        assert float(mean_over(ones, ones, count=16.0)) == 0.25
        with pytest.raises(TypeError, match=r"View\.count, or set Term\.splits = False"):
            mean_over(ones, ones)
    assert shares() == 1
    assert float(over_replicas(mean_over(ones, ones))) == 1.0


class WholeTerm(Term):
    """Not a sum over pixels: the largest value of the features."""

    name, weight, needs, splits = "largest_feature", 1.0, ("features",), False

    def __call__(self, step):
        return tf.reduce_max(step.source.features)


def test_a_term_that_does_not_split_is_refused_with_parts():
    method = SourceTraining(frozen_network(), [CrossEntropyTerm("source"), WholeTerm()])
    compiled(method, 1).train_step(both(0))
    with pytest.raises(UserError, match="largest_feature needs the whole batch at once") as caught:
        compiled(method, 2)
    assert "\n" not in str(caught.value)
    assert "accumulate=1" in str(caught.value)
