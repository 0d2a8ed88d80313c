"""The instance-adaptive selector: by hand, against np.quantile, and against what the authors' programs produced."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import UserError
from training.pseudo_labels import InstanceAdaptiveSelector, from_json, instance_adaptive
from training.pseudo_labels.instance_adaptive import MovingThresholds, in_batches, pooled_quantiles

CASES = ["iast_S_a0.2_b0.9_g8_bs1", "iast_S_a0.2_b0.9_g8_bs2", "iast_S_a0.3_b0.9_g8_bs2", "iast_S_a0.5_b0.5_g0_bs2"]
CASES += ["iast_S_reversed", "hiast_ias_S_a0.2", "hiast_ias_S_a0.5", "hiast_ct_S", "hiast_nt_S"]
CONSTANT = {"hiast_ct_S": {"beta": 1.0, "initial": 0.9}, "hiast_nt_S": {"beta": 1.0, "initial": 0.0}}


def two_classes(*of_class_0):
    """[1, 1, pixels, 2]; values that float16 holds exactly."""
    first = np.float32([[of_class_0]])
    return np.stack([first, 1 - first], axis=-1)


def moving(classes, **parameters):
    return MovingThresholds(InstanceAdaptiveSelector(**parameters), classes)


def soft_max(seed, *shape):
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]) * 0.3, shape[:-1]).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_published_programs(shared_dir, case, monkeypatch):
    local = []  # psi of each batch
    monkeypatch.setattr(
        instance_adaptive, "pooled_quantiles", lambda *given: local.append(pooled_quantiles(*given)) or local[-1]
    )
    with np.load(shared_dir / "reference/inputs_S.npz") as archive:
        probs = np.moveaxis(archive["probs"], 1, -1)
    with np.load(shared_dir / f"reference/{case}.npz") as archive:
        expected = dict(archive)
    order = expected.get("order", np.arange(3))
    parameters = {name: float(expected[name]) for name in ("alpha", "beta", "gamma") if name in expected}
    batch_size = int(expected["batch_size"])
    selector = InstanceAdaptiveSelector(**parameters, **CONSTANT.get(case, {}), batch_size=batch_size)
    labelling = selector.label_all(lambda: probs[order])
    labels = np.array([label_of(single) for single, label_of in labelling])
    fitted = labelling.fitted
    assert np.mean(labels != expected["pseudo_trainid"][order]) <= 1e-4
    if expected.get("thresholds", np.zeros(19)).ndim == 2:
        np.testing.assert_allclose(fitted.trajectory, expected["thresholds"], atol=1e-6)
    if "local_thresholds" in expected:
        np.testing.assert_allclose(local, expected["local_thresholds"], atol=1e-6)
    if "class_mean_probs" in expected:  # it has 0 where nothing was selected
        np.testing.assert_allclose(np.nan_to_num(fitted.mean_confidence), expected["class_mean_probs"][-1], atol=1e-6)
        counts = np.array([np.bincount(label.ravel(), minlength=256)[:19] for label in labels])
        np.testing.assert_array_equal(counts.T, expected["pixels_per_class_image"])
        np.testing.assert_array_equal(counts.sum(axis=0), expected["statics_class"])


def test_two_batches_by_hand():
    """alpha .5, gamma 0, beta .5, theta .5. The first pool of class 0 is .5 .5625 .75 .875 1, its median .75."""
    selector = moving(2, alpha=0.5, beta=0.5, gamma=0.0, initial=0.5)
    label = selector.label_batch(two_classes(0.5625, 0.75, 0.875, 1.0, 0.375))
    assert selector.theta.tolist() == [0.625, 0.53125]  # half way to .75 and, of class 1, the middle of .5 and .625
    assert label.tolist() == [[[255, 0, 0, 0, 1]]]
    assert selector.mean_confidence.tolist() == [0.875, 0.625]
    label = selector.label_batch(two_classes(0.625, 0.5625))  # the pool .5625 .625 .625: the median keeps theta
    assert selector.trajectory.tolist() == [[0.5, 0.5], [0.625, 0.53125], [0.625, 0.53125]]
    assert label.tolist() == [[[0, 255]]]  # a confidence equal to theta is kept
    np.testing.assert_allclose(selector.mean_confidence, [0.99 * 0.875 + 0.01 * 0.625, 0.625], rtol=1e-12)
    assert (selector.predicted.tolist(), selector.images) == ([6, 1], 2)


def test_a_small_theta_keeps_a_smaller_share():
    """psi of a pool of .5 and .75 at alpha theta^gamma = .5 and .125: .625 and .71875."""
    for gamma, psi in ((1.0, 0.625), (3.0, 0.71875)):
        selector = moving(2, alpha=1.0, beta=0.0, gamma=gamma, initial=0.5)
        selector.label_batch(two_classes(0.75))
        assert selector.theta.tolist() == [psi, 0.5]


def test_a_threshold_of_one_becomes_less():
    selector = moving(2, alpha=1e-6, beta=0.0)
    assert selector.label_batch(two_classes(1.0, 1.0)).tolist() == [[[0, 0]]]
    assert selector.theta.tolist() == [0.999, pytest.approx(0.9)]


def test_an_absent_class_keeps_its_threshold_and_has_no_mean():
    selector = moving(2, initial=0.75)
    selector.label_batch(two_classes(1.0))
    assert selector.theta[1] == pytest.approx(0.75, abs=1e-7)  # psi and its product are float32
    assert np.isnan(selector.mean_confidence[1])
    np.testing.assert_array_equal(selector.fitted().mean_confidence, [1.0, np.nan])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 6), st.booleans())
def test_quantiles_equal_numpy(seed, pixels, classes, few_values):
    """Also with many equal confidences, absent classes and an extra value that equals a confidence."""
    random = np.random.default_rng(seed)
    confidence = random.random(pixels).astype(np.float32)
    if few_values:
        confidence = np.round(confidence * 4) / np.float32(4)
    label = random.integers(0, classes, pixels).astype(np.uint8)
    extra = random.choice([0.25, 0.5, 0.9, 1.0, 1e-9], classes)
    quantile = random.choice([0.0, 0.3, 0.5, 0.99, 1.0, random.random()], classes)
    expected = [
        np.quantile(np.append(confidence[label == c].astype(np.float16).astype(np.float64), extra[c]), quantile[c])
        for c in range(classes)
    ]
    found = pooled_quantiles(confidence, label, extra, quantile)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(expected))


def test_labels_depend_on_order_and_batch_size_and_on_nothing_else():
    maps = soft_max(0, 6, 20, 30, 5)

    def labels(order, batch_size):
        labelling = InstanceAdaptiveSelector(alpha=0.2, batch_size=batch_size).label_all(lambda: maps[order])
        return np.array([label_of(probs) for probs, label_of in labelling])[np.argsort(order)]

    forward, backward = np.arange(6), np.arange(6)[::-1]
    assert np.array_equal(labels(forward, 2), labels(forward, 2))
    assert not np.array_equal(labels(forward, 2), labels(backward, 2))
    assert not np.array_equal(labels(forward, 2), labels(forward, 1))


def test_a_batch_may_be_an_array_or_a_list_in_any_memory_layout():
    maps = soft_max(1, 2, 8, 9, 4)
    other_layout = [np.moveaxis(np.ascontiguousarray(np.moveaxis(single, -1, 0)), 0, -1) for single in maps]
    first, second = (moving(4).label_batch(batch) for batch in (maps, other_layout))
    assert first.dtype == np.uint8
    assert first.shape == (2, 8, 9)
    np.testing.assert_array_equal(first, second)


def test_fitting_ends_where_labelling_ends():
    maps = soft_max(2, 5, 8, 9, 4)
    selector = InstanceAdaptiveSelector(alpha=0.3, beta=0.8, gamma=4.0, initial=0.7)
    labelling = selector.label_all(lambda: iter(maps))
    assert sum(1 for _ in labelling) == 5
    for name in ("thresholds", "pixels", "images", "mean_confidence", "trajectory"):
        np.testing.assert_array_equal(getattr(selector.fit(lambda: iter(maps)), name), getattr(labelling.fitted, name))
    assert labelling.fitted.figures() == {"threshold_trajectory": labelling.fitted.trajectory.tolist()}


def test_labels_asked_for_later_are_those_of_the_thresholds_of_their_batch():
    """Another thread may ask when the thresholds have moved on."""
    maps = soft_max(2, 6, 8, 9, 4)
    late = [label_of for _, label_of in InstanceAdaptiveSelector().label_all(lambda: maps)]
    labels = [label_of(probs) for label_of, probs in zip(late, maps, strict=True)]
    at_once = [label_of(probs) for probs, label_of in InstanceAdaptiveSelector().label_all(lambda: maps)]
    np.testing.assert_array_equal(labels, at_once)


def test_its_thresholds_select_on_other_images():
    """No re-weighting: class 1 is nearer to its threshold, but class 0 is the arg-max."""
    fitted = InstanceAdaptiveSelector(beta=1.0, initial=0.5).fit(lambda: two_classes(0.75, 0.25))
    assert (fitted.selector.parameters["alpha"], fitted.images) == (0.5, 1)
    assert fitted.pixels.tolist() == [1, 1]
    lower = np.float32([[[0.5, 0.49], [0.49, 0.5], [0.48, 0.47]]])
    assert fitted.label(lower).tolist() == [[0, 1, 255]]
    other = from_json({**fitted.to_json(), "thresholds": [0.9, 0.3]})
    assert other.label(lower).tolist() == [[255, 1, 255]]


def test_no_maps_are_told_so():
    with pytest.raises(UserError, match="no probability maps"):
        InstanceAdaptiveSelector().fit(lambda: [])


def test_batches_keep_the_order_and_one_size_each():
    maps = [np.zeros((height, 4, 2)) for height in (1, 1, 1, 2, 1, 3, 3)]
    assert [[single.shape[0] for single in batch] for batch in in_batches(maps, 2)] == [[1, 1], [1], [2], [1], [3, 3]]
    assert list(in_batches([], 2)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.0}, "alpha 0.0"),
        ({"alpha": 1.5}, "alpha 1.5"),
        ({"alpha": float("nan")}, "alpha nan"),
        ({"beta": -0.1}, "beta -0.1"),
        ({"beta": 1.1}, "beta 1.1"),
        ({"gamma": -1.0}, "gamma -1.0"),
        ({"gamma": float("inf")}, "gamma inf"),
        ({"initial": 1.0}, "initial 1.0"),
        ({"batch_size": 0}, "batch_size 0: expected 1 to"),
        ({"batch_size": 10**9}, "batch_size 1000000000"),
    ],
)
def test_bad_parameters_are_told_in_one_sentence(change, message):
    with pytest.raises(UserError, match=message):
        InstanceAdaptiveSelector(**change)


def test_bad_maps_are_told_so():
    selector = moving(2)
    selector.label_batch(two_classes(0.5))
    for factor in (np.nan, -1, 3):
        with pytest.raises(UserError, match="Probability map 2 holds"):
            selector.label_batch([two_classes(0.5)[0], two_classes(0.5)[0] * np.float32(factor)])
    with pytest.raises(UserError, match="has 3 classes: expected 2"):
        selector.label_batch(soft_max(0, 1, 2, 2, 3))
    assert len(selector.trajectory) == 2  # a refused batch moves nothing
