"""Thresholds over many maps: hand-computed, against plain sorting, degenerate cases, any layout and batching."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.distribution.worker_threads import WorkerThreads
from tests.training.pseudo_labels.fitting import fit, selector_called
from training.distribution.shares import Workers
from training.errors import UserError
from training.probability_maps.sampling import sample_per_class
from training.probability_maps.scores import best_class
from training.pseudo_labels import thresholds as thresholds_module
from training.pseudo_labels.registry import choices


def soft_max(rng, *shape, sharpness=2.0):
    logits = rng.standard_normal(shape, dtype=np.float32) * sharpness
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def by_sorting(maps, portion, stride, one_pool=False):
    """The definition, word for word: pools of every stride-th confidence per image and class, sorted."""
    classes = maps[0].shape[-1]
    pools = [[] for _ in range(classes)]
    for probs in maps:
        label, confidence = probs.argmax(axis=-1), probs.max(axis=-1)
        for class_id in range(classes):
            pools[class_id] += confidence[label == class_id][::stride].tolist()
    pools = [[value for pool in pools for value in pool]] * classes if one_pool else pools
    ranks = [math.floor(len(pool) * portion) for pool in pools]
    return np.float32([sorted(pool)[-rank] if rank else 1.0 for pool, rank in zip(pools, ranks, strict=True)])


def test_by_hand():
    """Class 0: .9 .8 .7 .6, class 1: .95 .55; K = floor(4 / 2) and floor(2 / 2)."""
    of_class_0 = np.float32([[0.9, 0.6, 0.05], [0.8, 0.45, 0.7]])
    probs = np.stack([of_class_0, 1 - of_class_0], axis=-1)
    result = fit(lambda: [probs], "cbst", 0.5, stride=1)
    assert result.thresholds.tolist() == [np.float32(0.8), np.float32(0.95)]
    assert result.pixels.tolist() == [4, 2]
    assert result.label(probs).tolist() == [[0, 255, 1], [0, 255, 255]]
    everything = fit(lambda: [probs], "st", 0.5, stride=1)
    assert everything.thresholds.tolist() == [np.float32(0.8)] * 2
    # Every second pixel of each class in row-major order: .9 .8 of class 0, .95 of class 1.
    thinned = fit(lambda: [probs], "cbst", 1.0, stride=2)
    assert thinned.thresholds.tolist() == [np.float32(0.8), np.float32(0.95)]
    assert thinned.ranked_pixels.tolist() == [2, 1]


@pytest.mark.parametrize(("portion", "expected"), [(0.2, 0.95), (0.25, 0.95), (0.3, 0.9), (0.5, 0.7)])
def test_thresholds_of_ten_confidences(portion, expected):
    confidence = np.float32([0.99, 0.95, 0.9, 0.8, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4])
    probs = np.stack([confidence, (1 - confidence) / 2, (1 - confidence) / 2], axis=-1)[None]
    assert fit(lambda: [probs], "cbst", portion, stride=1).thresholds[0] == np.float32(expected)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5), st.floats(0.01, 1), st.sampled_from(["cbst", "st"])
)
def test_equals_sorting(seed, images, stride, portion, selector):
    rng = np.random.default_rng(seed)
    maps = [soft_max(rng, rng.integers(1, 20), rng.integers(1, 20), 4) for _ in range(images)]
    result = fit(lambda: iter(maps), selector, portion, stride)
    np.testing.assert_array_equal(result.thresholds, by_sorting(maps, portion, stride, selector == "st"))
    assert result.pixels.sum() == sum(probs.shape[0] * probs.shape[1] for probs in maps)
    assert result.images == images


@pytest.mark.parametrize("guess_is_wrong", [False, True])
def test_large_pools_equal_sorting_even_if_the_estimate_misleads(monkeypatch, guess_is_wrong):
    """More values than are kept singly; the sampled rows are far less confident than the others."""
    monkeypatch.setattr(thresholds_module, "FewValues", lambda classes: real_few_values(classes, limit=50))
    maps = [soft_max(np.random.default_rng(seed), 64, 48, 3, sharpness=4) for seed in range(3)]
    passes = []
    if guess_is_wrong:
        for probs in maps:
            probs[:: thresholds_module.SAMPLED_ROWS] = 0.3 * probs[:: thresholds_module.SAMPLED_ROWS] + 0.7 / 3

    def make_batches():
        passes.append(1)
        return iter(maps)

    result = fit(make_batches, "cbst", 0.3, 2)
    np.testing.assert_array_equal(result.thresholds, by_sorting(maps, 0.3, 2))
    assert len(passes) == (3 if guess_is_wrong else 2)


real_few_values = thresholds_module.FewValues


@pytest.mark.parametrize(("some_are_like_all", "passes_over_all"), [(True, 1), (False, 2)])
def test_some_images_decide_about_the_work_only(monkeypatch, some_are_like_all, passes_over_all):
    monkeypatch.setattr(thresholds_module, "FewValues", lambda classes: real_few_values(classes, limit=50))
    maps = [soft_max(np.random.default_rng(seed), 64, 48, 3, sharpness=4) for seed in range(3)]
    some, passes = maps if some_are_like_all else [0.3 * maps[0] + 0.7 / 3], []

    def make_batches():
        passes.append(1)
        return iter(maps)

    make_batches.some = lambda: iter(some)
    result = fit(make_batches, "cbst", 0.3, 2)
    np.testing.assert_array_equal(result.thresholds, by_sorting(maps, 0.3, 2))
    assert (result.images, len(passes)) == (3, passes_over_all)


def test_batching_layout_type_and_order_do_not_matter():
    maps = soft_max(np.random.default_rng(0), 6, 9, 11, 5)
    channels_first = np.ascontiguousarray(np.moveaxis(maps, -1, 1))
    versions = [
        [maps],
        [maps[:2], maps[2:]],
        list(maps),
        list(maps[::-1]),
        list(np.moveaxis(channels_first, 1, -1)),
        list(maps.astype(np.float64)),
        list(np.asfortranarray(maps)),
    ]
    results = [fit(lambda maps=version: iter(maps), "cbst", 0.4, 3) for version in versions]
    for result in results[1:]:
        np.testing.assert_array_equal(result.thresholds, results[0].thresholds)
        np.testing.assert_array_equal(result.pixels, results[0].pixels)


@pytest.mark.parametrize("portion", [0.1, 0.35, 1.0])
def test_share_selected_of_each_class(portion):
    """floor(|V| p) pixels reach their class' threshold, and more only by ties."""
    maps = soft_max(np.random.default_rng(3), 4, 40, 50, 6, sharpness=3)
    result = fit(lambda: [maps], "cbst", portion, stride=1)
    confidence, label = maps.max(axis=-1), maps.argmax(axis=-1)
    for class_id in range(6):
        values = confidence[label == class_id]
        reached = np.count_nonzero(values >= result.thresholds[class_id])
        ties = np.count_nonzero(values == result.thresholds[class_id]) - 1
        assert reached - ties <= math.floor(values.size * portion) <= reached


def test_larger_portion_selects_no_smaller_share():
    maps = soft_max(np.random.default_rng(4), 2, 30, 30, 5)
    kept = []
    for portion in (0.1, 0.2, 0.4, 0.8, 1.0):
        result = fit(lambda: [maps], "cbst", portion, stride=1)
        kept.append(sum(np.count_nonzero(result.label(probs) != 255) for probs in maps))
    assert kept == sorted(kept)
    assert kept[-1] == maps[..., 0].size  # portion 1: everything that is predicted is selected


def one_hot_like(label, confidence, classes=3):
    probs = np.full((*label.shape, classes), 0, np.float32)
    probs[...] = ((1 - confidence) / (classes - 1))[..., None]
    np.put_along_axis(probs, label[..., None], confidence[..., None], axis=-1)
    return probs


def test_a_class_never_predicted_and_one_with_too_few_pixels():
    label = np.zeros((4, 5), int)
    label[0, :3] = 1  # three pixels at portion 0.2: floor(0.6) = 0
    probs = one_hot_like(label, np.linspace(0.6, 0.9, 20, dtype=np.float32).reshape(4, 5))
    result = fit(lambda: [probs], "cbst", 0.2, stride=1)
    assert result.thresholds[1:].tolist() == [1.0, 1.0]
    assert set(np.unique(result.label(probs))) == {0, 255}


def test_ties_at_the_threshold_are_all_selected():
    probs = one_hot_like(np.zeros((2, 5), int), np.full((2, 5), 0.75, np.float32))
    result = fit(lambda: [probs], "cbst", 0.2, stride=1)
    assert (result.label(probs) == 0).all()


def test_an_image_without_any_selected_pixel():
    sure = one_hot_like(np.zeros((3, 3), int), np.full((3, 3), 0.9, np.float32))
    unsure = one_hot_like(np.zeros((3, 3), int), np.full((3, 3), 0.5, np.float32))
    result = fit(lambda: [sure, unsure], "cbst", 0.5, stride=1)
    assert (result.label(unsure) == 255).all()
    assert (result.label(sure) == 0).all()


def test_absent_classes_are_never_selected_where_a_prior_could_lift_them_above_one():
    label = np.zeros((4, 4), int)
    probs = one_hot_like(label, np.full((4, 4), 0.6, np.float32))
    prior = np.ones((4, 4, 3), np.float32)
    prior[..., 2] = 2.9  # 0.2 * 2.9 = 0.58: never the arg-max, but above ...
    result = fit(lambda: [probs], "cbst_sp", 0.5, 1, prior)
    assert np.isposinf(result.thresholds[1:]).all()
    brighter = one_hot_like(label, np.full((4, 4), 0.2, np.float32))  # ... 1 where class 2 has 0.4
    assert (result.label(brighter) == 255).all()
    original = fit(lambda: [probs], "cbst_sp", 0.5, 1, prior, compat="mxnet")
    assert (original.label(brighter) == 2).all()


def test_pixels_that_no_class_may_claim_are_not_selected():
    """Where the prior of all classes is 0 the score is 0; even portion 1 must not make a threshold of it."""
    probs = one_hot_like(np.zeros((2, 2), int), np.full((2, 2), 0.6, np.float32))
    prior = np.ones((2, 2, 3), np.float32)
    prior[0] = 0
    result = fit(lambda: [probs], "cbst_sp", 1.0, 1, prior)
    assert result.label(probs).tolist() == [[255, 255], [0, 0]]


def test_mxnet_zeros_raise_the_rank():
    """Nine values and one stray zero at portion 0.2: K = floor(10 * 0.2) = 2, not 1; at portion 1 it is a zero."""
    confidence = np.linspace(0.6, 0.9, 9, dtype=np.float32).reshape(3, 3)
    probs = one_hot_like(np.zeros((3, 3), int), confidence)
    values = [fit(lambda: [probs], "cbst", 0.2, 1, compat=mode).thresholds[0] for mode in (None, "mxnet")]
    assert values == [confidence[2, 2], confidence[2, 1]]
    assert fit(lambda: [probs], "cbst", 1.0, 1, compat="mxnet").thresholds[0] == 1.0
    # One pool: nine values and four zeros, K = floor(13 * 0.25) = 3.
    assert fit(lambda: [probs], "st", 0.25, 1, compat="mxnet").thresholds[2] == confidence[2, 0]


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("run_length", [1, 40])
def test_sampling_takes_every_nth_pixel_of_each_class_in_row_major_order(stride, run_length):
    rng = np.random.default_rng(stride)
    label = np.repeat(rng.integers(0, 5, 200_000 // run_length), run_length).astype(np.uint8).reshape(400, -1)
    index, counts = sample_per_class(label, 7, stride)
    flat = label.reshape(-1)
    expected = np.concatenate([np.flatnonzero(flat == class_id)[::stride] for class_id in range(7)])
    np.testing.assert_array_equal(np.sort(index), np.sort(expected))
    np.testing.assert_array_equal(counts, np.bincount(flat, minlength=7))


def test_best_class_equals_numpy_and_the_lowest_index_wins_ties():
    probs = np.round(soft_max(np.random.default_rng(0), 130, 151, 19), 2)
    for version in (probs, np.moveaxis(np.moveaxis(probs, -1, 0).copy(), 0, -1), probs[::3, ::2], probs[:, ::-1]):
        score, label = best_class(version)
        np.testing.assert_array_equal(score, version.max(axis=-1))
        np.testing.assert_array_equal(label, version.argmax(axis=-1))
    weights = np.random.default_rng(1).random(probs.shape, np.float32)
    score, label = best_class(probs, weights, np.linspace(0.1, 1, 19, dtype=np.float32))
    expected = weights * probs / np.linspace(0.1, 1, 19, dtype=np.float32)
    np.testing.assert_array_equal(score, expected.max(axis=-1))
    np.testing.assert_array_equal(label, expected.argmax(axis=-1))


MAP = np.full((2, 2, 2), 0.5, np.float32)
BAD_CALLS = [
    ({"maps": lambda: []}, "no probability maps"),
    ({"portion": 0.0}, "portion is 0.0"),
    ({"portion": 1.5}, "portion is 1.5"),
    ({"portion": float("nan")}, "portion is nan"),
    ({"stride": 0}, "stride 0: expected"),
    ({"name": "csbt"}, "no selector 'csbt'"),
    ({"name": "cbst_sp"}, "none was given"),
    ({"prior": MAP}, "uses no spatial prior"),
    ({"name": "cbst_sp", "prior": MAP[..., :1]}, "the probability maps have"),
    ({"compat": "torch"}, "compat torch"),
    ({"maps": lambda: [MAP, np.ones((2, 2, 3), np.float32)]}, "has 3 classes"),
    ({"maps": lambda: [MAP * np.nan]}, "map 0 holds NaN"),
    ({"maps": lambda: [MAP, -MAP]}, "map 1 holds NaN or negative"),
    ({"maps": lambda: [MAP[0]]}, "shape (2, 2)"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_bad_arguments_are_told_in_one_sentence(change, message):
    arguments = {"maps": lambda: [MAP], "name": "cbst", "portion": 0.2, "stride": 1} | change
    with pytest.raises(UserError) as raised:
        fit(**arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_exhausted_generator_is_a_programming_error():
    once = iter([MAP])
    with pytest.raises(ValueError, match="start afresh"):
        fit(lambda: once, "cbst", 0.5)


@pytest.mark.parametrize("name", [name for name, choice in choices().items() if "stride" in choice.selector.options()])
def test_every_selector_that_ranks_all_images_finds_thresholds(name):
    maps = soft_max(np.random.default_rng(0), 2, 8, 8, 3)
    prior = np.ones((8, 8, 3), np.float32) if choices()[name].with_prior else None
    assert fit(lambda: [maps], name, 0.3, 1, prior).thresholds.shape == (3,)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0.01, 1), st.sampled_from(["cbst", "st"]))
def test_several_workers_find_the_thresholds_of_one(seed, images, portion, selector):
    """Three workers, some perhaps without an image; sizes and sharpness differ, so that windows are missed too."""
    rng = np.random.default_rng(seed)
    maps = [soft_max(rng, *rng.integers(1, 30, 2), 4, sharpness=rng.uniform(0.1, 9)) for _ in range(images)]
    alone = fit(lambda: iter(maps), selector, portion, 1)
    threads = WorkerThreads(3)

    def work():
        mine = [maps[index] for index in threads.share().in_batches(images, 1)]
        workers = Workers(threads.add_up, threads.on_chief, classes=4)
        return selector_called(selector, portion, 1).fit(lambda: iter(mine), workers)

    for found in threads.run(work):
        for name in ("thresholds", "pixels", "ranked_pixels", "images"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name), err_msg=name)
