"""The selector of UPLR: its rules, what it falls back to, and that neither workers nor JSON change a label."""

import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.distribution.worker_threads import WorkerThreads
from training.distribution.shares import Workers
from training.errors import UserError
from training.probability_maps.entropy import Uncertainty, uncertainty
from training.pseudo_labels import EntropyMixtureSelector, build_selector, from_json
from training.pseudo_labels.entropy_mixture import BINS, ClassHistograms, ClassRule, drawn_histogram
from training.pseudo_labels.two_gaussians import TwoGaussians
from training.settings.selectors import EntropyMixture

CLASSES = 4


def two_groups(seed, shape=(40, 60), right_of_unsure=0.4):
    """A map and its truth: certain pixels are right, uncertain ones often wrong. Class 3 is predicted nowhere."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, shape)
    sure = random.random(shape) < 0.6
    predicted = np.where(sure | (random.random(shape) < right_of_unsure), truth, random.integers(0, 3, shape))
    top = np.where(sure, random.normal(0.97, 0.01, shape), random.normal(0.6, 0.05, shape)).clip(0.45, 0.999)
    probs = np.broadcast_to(((1 - top) / (CLASSES - 1))[..., None], (*shape, CLASSES)).copy()
    np.put_along_axis(probs, predicted[..., None], top[..., None], axis=-1)
    return probs.astype(np.float32), truth


def of_confidence(*confidences, classes=2):
    """One row of pixels of class 0."""
    first = np.float32([confidences])
    rest = np.repeat(((1 - first) / (classes - 1))[..., None], classes - 1, axis=-1)
    return np.concatenate([first[..., None], rest], axis=-1).astype(np.float32)


def test_a_cut_near_0_is_drawn_large_enough_to_be_seen():
    counts = np.zeros(BINS, np.int64)
    counts[:20], counts[20:2400] = 1000, 2  # entropies up to 0.005, then a long tail
    modes = TwoGaussians(np.array([0.8, 0.2]), np.array([0.002, 0.3]), np.array([4e-6, 0.01]))
    near = drawn_histogram(counts, ClassRule("two modes", cut=0.006, mixture=modes))
    end = near["start"] + near["width"] * len(near["counts"])
    assert 0.03 <= end < 0.06
    assert sum(np.array(near["counts"]) > 1000) >= 5  # of 60 bars
    whole = drawn_histogram(counts, ClassRule("two modes", cut=0.2, mixture=modes))
    assert whole["width"] * len(whole["counts"]) > 0.5


def test_certain_pixels_are_kept_and_are_right_more_often():
    maps = [two_groups(seed) for seed in range(3)]
    fitted = EntropyMixtureSelector().fit(lambda: (probs for probs, _ in maps))
    assert [rule.rule for rule in fitted.rules] == ["two modes"] * 3 + ["no pixels"]
    plain, kept = [], []
    for probs, truth in maps:
        label = fitted.label(probs)
        plain.append(probs.argmax(axis=-1) == truth)
        kept.append(np.where(label == 255, np.nan, label == truth))
        assert set(np.unique(label)) == {0, 1, 2, 255}
    assert np.mean(plain) < 0.9
    assert np.nanmean(kept) > 0.99
    assert np.isfinite(kept).mean() == pytest.approx(0.6, abs=0.02)


def test_what_is_kept_is_an_interval_of_entropy_per_class():
    probs, _ = two_groups(5)
    fitted = EntropyMixtureSelector().fit(lambda: [probs])
    found, label = uncertainty(probs), fitted.label(probs)
    for class_id in range(3):
        of_class, kept = found.label == class_id, label == class_id
        assert (label[of_class & ~kept] == 255).all()
        assert found.entropy[kept].max() <= fitted.thresholds[class_id] < found.entropy[of_class & ~kept].min()
    certain = of_confidence(1.0, classes=CLASSES)  # entropy 0, below both modes
    assert fitted.label(certain).tolist() == [[0]]


def test_the_cut_is_between_the_modes_that_are_told():
    probs, _ = two_groups(6)
    rule = EntropyMixtureSelector().fit(lambda: [probs]).rules[0]
    assert rule.mixture.means[0] < rule.cut < rule.mixture.means[1]
    assert rule.mixture.log_odds(rule.cut) == pytest.approx(0, abs=1e-9)
    assert rule.mixture.weights[0] == pytest.approx(0.6, abs=0.05)


def test_a_class_of_few_pixels_keeps_its_better_half():
    probs = of_confidence(0.51, 0.55, 0.6, 0.65, 0.7, 0.75)
    fitted = EntropyMixtureSelector().fit(lambda: [probs])
    assert fitted.rules[0].rule == "too few pixels"
    assert fitted.label(probs).tolist() == [[255, 255, 255, 0, 0, 0]]
    assert fitted.rules[0].confidence == int(0.65 * 4096) / 4096
    assert fitted.rule_in_words(0) == "confidence from 0.650"


def test_and_whatever_reaches_the_confidence_cap():
    probs = of_confidence(0.89, 0.91, 0.95, 0.97, 0.98, 0.99)
    fitted = EntropyMixtureSelector().fit(lambda: [probs])
    assert fitted.rules[0].confidence == 0.9
    assert fitted.label(probs).tolist() == [[255, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(("pixels", "rule"), [(199, "too few pixels"), (200, "two modes")])
def test_how_many_pixels_are_enough(pixels, rule):
    random = np.random.default_rng(0)
    sure, unsure = random.normal(0.98, 0.004, 120), random.normal(0.7, 0.02, pixels - 120)
    confidences = np.concatenate([sure, unsure])
    assert EntropyMixtureSelector().fit(lambda: [of_confidence(*confidences)]).rules[0].rule == rule


def test_one_lump_of_entropies_is_one_mode():
    probs = of_confidence(*np.full(500, 0.8))
    fitted = EntropyMixtureSelector().fit(lambda: [probs])
    assert (fitted.rules[0].rule, fitted.thresholds[0]) == ("one mode", -np.inf)
    assert (fitted.label(probs) == 0).all()  # ties at the median
    assert fitted.describe(["road", "car"]) == (
        "entropy_mixture; road: the more confident half, for both modes are one"
    )


def test_a_class_whose_certain_pixels_lie_in_one_bin_has_two_modes():
    random, histograms = np.random.default_rng(0), ClassHistograms(1)
    certain, uncertain = random.uniform(0, 2e-4, 8500), random.normal(0.3, 0.1, 1500).clip(0, 1)
    entropy = np.float32([np.concatenate([certain, uncertain])])
    histograms.add(Uncertainty(entropy, label=np.zeros(entropy.shape, np.uint8), confidence=1 - entropy))
    (rule,) = EntropyMixtureSelector().class_rules(histograms)
    assert rule.rule == "two modes"
    assert rule.cut == pytest.approx(0.0048, abs=3e-4)
    np.testing.assert_allclose(rule.mixture.weights, [0.85, 0.15], atol=0.005)


def test_a_class_without_pixels_gets_no_label():
    fitted = EntropyMixtureSelector().fit(lambda: [two_groups(0)[0]])
    later = np.full((3, 3, CLASSES), 0.001, np.float32)
    later[..., 3] = 0.997
    assert (fitted.label(later) == 255).all()
    assert fitted.rule_in_words(3) == "never"
    assert fitted.describe() == "entropy_mixture"


def test_nan_is_never_labelled():
    fitted = EntropyMixtureSelector().fit(lambda: [two_groups(0)[0]])
    assert (fitted.label(np.full((2, 2, CLASSES), np.nan, np.float32)) == 255).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["domain", "image"]))
def test_labels_are_the_arg_max_or_none_whatever_the_maps(seed, scope):
    random = np.random.default_rng(seed)
    maps = [
        random.dirichlet(np.ones(3) * random.uniform(0.02, 5), random.integers(1, 40, 2)).astype(np.float32)
        for _ in range(random.integers(1, 4))
    ]
    fitted = EntropyMixtureSelector(scope=scope).fit(lambda: iter(maps))
    counts = [np.bincount(each.argmax(axis=-1).ravel(), minlength=3) for each in maps]
    np.testing.assert_array_equal(fitted.pixels, np.sum(counts, axis=0))
    assert fitted.images == len(maps)
    again = from_json(json.loads(json.dumps(fitted.to_json())))
    for probs in maps:
        label = fitted.label(probs)
        assert ((label == 255) | (label == probs.argmax(axis=-1))).all()
        np.testing.assert_array_equal(again.label(probs), label)


@pytest.mark.parametrize("scope", ["domain", "image"])
def test_workers_find_what_one_process_finds_to_the_byte(scope):
    """Three workers, one of them without an image."""
    maps = [two_groups(seed, shape)[0] for seed, shape in enumerate(((30, 40), (50, 20)))]
    selector, threads = EntropyMixtureSelector(scope=scope), WorkerThreads(3)

    def work():
        mine = [maps[index] for index in threads.share().in_batches(2, 1)]
        fitted = selector.fit(lambda: iter(mine), Workers(threads.add_up, threads.on_chief, classes=CLASSES))
        return json.dumps([fitted.to_json(), fitted.figures()])

    alone = selector.fit(lambda: iter(maps))
    backwards = selector.fit(lambda: iter(maps[::-1]))
    expected = json.dumps([alone.to_json(), alone.figures()])
    assert threads.run(work) == [expected] * 3
    assert json.dumps([backwards.to_json(), backwards.figures()]) == expected


def test_each_image_by_its_own_modes():
    """Image 1 is all certain, image 2 has two groups, a third has too few pixels and takes the rule of all."""
    (first, _), (second, _) = two_groups(1), two_groups(2)
    small = second[:4, :10]
    selector = EntropyMixtureSelector(scope="image")
    fitted = selector.fit(lambda: [first, second, small])
    assert fitted.own_modes.tolist() == [2, 2, 2, 0]
    assert fitted.figures()["own_modes"] == [2, 2, 2, 0]
    assert fitted.rule_in_words(3) == "by the modes of its image, else never"
    of_second = EntropyMixtureSelector().fit(lambda: [second])
    np.testing.assert_array_equal(fitted.label(second), of_second.label(second))
    of_all = EntropyMixtureSelector().fit(lambda: [first, second, small])
    np.testing.assert_array_equal(fitted.label(small), of_all.label(small))
    assert selector.describe() == "entropy_mixture, per image"


def test_the_modes_of_an_image_are_fitted_beside_the_thread_that_counts(monkeypatch):
    fitted, rules_of = [], EntropyMixtureSelector._rules_of
    noted = lambda *given: fitted.append(threading.current_thread()) or rules_of(*given)  # noqa: E731
    monkeypatch.setattr(EntropyMixtureSelector, "_rules_of", noted)
    EntropyMixtureSelector(scope="image").fit(lambda: [two_groups(seed)[0] for seed in range(3)])
    assert len(fitted) == 3
    assert threading.current_thread() not in fitted


def test_memory_does_not_grow_with_the_images():
    tables = ClassHistograms(19)
    assert tables.entropy.nbytes + tables.confidence.nbytes < 2**21
    sizes = set()
    for seed in range(3):
        tables.add(uncertainty(two_groups(seed)[0]))
        sizes.add((tables.entropy.shape, tables.confidence.shape))
    assert sizes == {((19, 4096), (19, 4096))}
    assert tables.pixels.sum() == 3 * 40 * 60


def test_its_settings():
    assert build_selector(EntropyMixture(), 3).parameters == EntropyMixtureSelector().parameters == {
        "scope": "domain", "iterations": 200, "tolerance": 1e-5, "least_variance": 1e-6, "initial_quantile": 0.2,
        "least_pixels": 200, "fallback_portion": 0.5, "fallback_confidence": 0.9,
    }  # fmt: skip
    assert build_selector(EntropyMixture(scope="image", least_pixels=9), 1).least_pixels == 9


BAD = [
    {"scope": "pixel"}, {"iterations": 0}, {"tolerance": -1}, {"tolerance": float("nan")}, {"least_variance": 0},
    {"initial_quantile": 0.6}, {"least_pixels": 1}, {"fallback_portion": 0}, {"fallback_confidence": 1.1},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD, ids=str)
def test_bad_parameters_are_told_in_one_sentence(change):
    with pytest.raises(UserError, match=f"has {next(iter(change))} .*: expected"):
        EntropyMixtureSelector(**change)


def test_without_maps_there_is_nothing_to_fit():
    with pytest.raises(UserError, match="no probability maps"):
        EntropyMixtureSelector().fit(lambda: [])


FIRST = {"rule": "one mode"}, {"rule": "odd"}, {"rule": ["two modes"]}, {"confidence": 0.5}, {"confidence": "0.5"}
FIRST += ({"weights": [1.0]}, {"means": None}, {"variances": [float("inf"), 1]}, {"means": [-1, 2]})
BENT = [
    *({"mixtures": [change]} for change in FIRST),
    {"mixtures": []},
    {"mixtures": None},
    {"thresholds": [None] * 4},
    {"scope": "pixel"},
    {"least_pixels": 2.5},
    {"pixels": [1]},
]


@pytest.mark.parametrize("change", BENT, ids=str)
def test_bent_json_is_refused(change):
    content = EntropyMixtureSelector().fit(lambda: [two_groups(0)[0]]).to_json()
    if change.get("mixtures"):
        change = {"mixtures": [content["mixtures"][0] | change["mixtures"][0], *content["mixtures"][1:]]}
    from_json(content)
    with pytest.raises((ValueError, TypeError, UserError)):
        from_json({**content, **change})
