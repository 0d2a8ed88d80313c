"""Logit adjustment and label shift: what the classifier's bias gains, and when nothing is done."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from models.heads import classifier_bias
from tests.training.methods.tiny import tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE
from training.errors import UserError
from training.recipes import RECIPES
from training.settings.experiment import Recipe
from training.stages import adjustment
from training.stages.adjustment import AdjustmentStage, log_shares, predicted_shares
from training.stages.stage import Run, Stage
from training.stages.warm_start import WarmStart, _adjustment_of, _refuse_shift

SHARES = [0.7, 0.2, 0.1]
START = WarmStart("RUN", "weights", "", "", "source", True)


def run_with(factor: float, shift: float = 0.0, shares=SHARES, start: WarmStart | None = None) -> Run:
    """A run whose source shows the classes with these shares."""
    experiment = SimpleNamespace(recipe=Recipe(paper="", logit_adjustment=factor, label_shift=shift))
    domains = SimpleNamespace(source_shares=np.array(shares), all_source_labels_counted=True, label_space=TINY_SPACE)
    plan = (Stage(name="source", title="", phrase=""), AdjustmentStage())
    directory = SimpleNamespace(stages={"source": {}})
    return Run(experiment, directory, domains, tiny_network(), plan, start)


def adjusted(run: Run) -> np.ndarray:
    """What the bias gains, once the stage has been carried out."""
    before = classifier_bias(run.network).numpy()
    run.directory.stages["adjustment"] = run.plan[1].run(run)
    return classifier_bias(run.network).numpy() - before


def start_from(run: Run) -> WarmStart:
    """A warm start of what that run has made."""
    found = _adjustment_of(SimpleNamespace(stages=run.directory.stages), run.experiment, "adjustment")
    return replace(START, **found)


def test_logits_lose_the_logarithm_of_the_classes_shares():
    run = run_with(0.5)
    assert run.logit_prior is None  # the source model is trained as ever
    gained = adjusted(run)
    np.testing.assert_allclose(np.diff(gained), -0.5 * np.diff(np.log(SHARES)), rtol=1e-5)
    assert gained.mean() == pytest.approx(0, abs=1e-6)  # no class is moved on the whole
    np.testing.assert_allclose(run.logit_prior, -gained, atol=1e-6)


def test_a_class_that_the_source_never_shows_gains_nothing_and_a_very_rare_one_no_more_than_a_rare_one():
    never = log_shares(np.array([0.6, 0.4, 0.0]), True)
    assert never[2] == never.max() == never[0]
    rare, rarer = (log_shares(np.array([0.5, 0.4, share]), True) for share in (1e-4, 1e-6))
    np.testing.assert_array_equal(rare[2], rarer[2])


def test_a_class_that_may_be_in_labels_that_were_not_counted_keeps_its_logit():
    perhaps = log_shares(np.array([0.6, 0.4, 0.0]), False)
    assert perhaps[2] == pytest.approx(perhaps[:2].mean())
    gained = -0.5 * (perhaps - perhaps.mean())
    assert gained[2] == pytest.approx(0)


@pytest.fixture
def target(monkeypatch):
    """Sets the shares of what the network says of the target."""
    return lambda *shares: monkeypatch.setattr(adjustment, "predicted_shares", lambda _: np.array(shares))


def test_label_shift_raises_what_the_target_shows_more_often_within_limits(target):
    target(0.7, 0.1, 0.2)
    gained = adjusted(run_with(0, 0.5))
    np.testing.assert_allclose(np.diff(gained), 0.5 * np.diff(np.log([0.7 / 0.7, 0.1 / 0.2, 0.2 / 0.1])), rtol=1e-5)
    np.testing.assert_allclose(adjusted(run_with(0.25, 0.5)), gained + adjusted(run_with(0.25)), atol=1e-6)
    # A class that is not seen at all is taken for one that is four times as rare as in the source.
    target(0.9, 0.0, 0.1)
    gained = adjusted(run_with(0, 1.0))
    np.testing.assert_allclose(gained[1] - gained[2], np.log(1 / 4), rtol=1e-5)


def test_the_targets_shares_are_the_mean_probabilities(monkeypatch):
    batches = [np.zeros((2, 4, 6, 3), np.float32), np.zeros((1, 4, 6, 3), np.float32)]
    stream = SimpleNamespace(shown=lambda _: ({"image": batch} for batch in batches))
    monkeypatch.setattr(adjustment, "evaluation_stream", lambda *_: stream)
    probs = np.broadcast_to(np.float32([0.5, 0.3, 0.2]), (2, 2, 3, 3))
    run = SimpleNamespace(
        domains=SimpleNamespace(target=SimpleNamespace(evenly_spaced=lambda _: None), label_space=TINY_SPACE),
        experiment=SimpleNamespace(recipe=Recipe(paper="")),
        predictor=SimpleNamespace(coarse_probs=lambda images: tf.constant(probs[: len(images)])),
        size=(4, 6),
    )
    np.testing.assert_allclose(predicted_shares(run), [0.5, 0.3, 0.2], rtol=1e-6)


def test_published_recipes_do_without():
    assert all(not recipe.adjusts_logits for name, recipe in RECIPES.items() if name != "best")


@pytest.mark.parametrize("before", [0.25, 1.0])
def test_what_the_model_of_a_warm_start_went_through_is_not_repeated(before):
    first = run_with(before)
    went_through, alone = adjusted(first), adjusted(run_with(0.5))
    run = run_with(0.5, start=start_from(first))
    assert run.plan[1].skipped(run) is None
    np.testing.assert_allclose(adjusted(run), alone - went_through, atol=1e-6)
    np.testing.assert_allclose(run.logit_prior, -alone, atol=1e-6)


def test_a_model_that_is_adjusted_stays_so_whatever_the_recipe_asks(target):
    target(0.7, 0.1, 0.2)
    first = run_with(0.5, 0.5)
    gained = adjusted(first)
    same = run_with(0.5, 0.5, start=start_from(first))
    assert "has it already" in same.plan[1].skipped(same)
    without = run_with(0.0, start=start_from(first))
    for run in (same, without):  # training on the source keeps it
        np.testing.assert_allclose(run.logit_prior, -gained, atol=1e-6)


def test_what_an_adjusted_model_says_of_the_target_is_no_measure_of_it():
    adjusted = {"logits": {"road": 0.5}, "logit_adjustment": 0.4, "label_shift": 0.0}
    with pytest.raises(UserError, match=r"--warm-start RUN are adjusted already: start from a source model"):
        _refuse_shift(Path("RUN"), adjusted, Recipe(paper="", logit_adjustment=0.4, label_shift=0.5), True)
    _refuse_shift(Path("RUN"), adjusted, Recipe(paper="", logit_adjustment=0.2), False)
    _refuse_shift(Path("RUN"), {}, Recipe(paper="", label_shift=0.5), False)
    alike, recipe = adjusted | {"label_shift": 0.5}, Recipe(paper="", logit_adjustment=0.4, label_shift=0.5)
    _refuse_shift(Path("RUN"), alike, recipe, True)
    with pytest.raises(UserError, match="are adjusted already"):  # on other photos: the shift is theirs
        _refuse_shift(Path("RUN"), alike, recipe, False)


def test_a_source_model_on_translated_images_has_not_gone_through_what_the_model_of_the_warm_start_has():
    first = run_with(0.5)
    gained = adjusted(first)
    anew = dict.fromkeys(("cycle_gan", "translation", "translated"))
    run = run_with(0.5, start=start_from(first))
    run.directory.stages |= anew
    assert run.plan[1].skipped(run) is None
    np.testing.assert_allclose(adjusted(run), gained, atol=1e-6)
    # Nor is an adjustment of that model kept where the recipe has none, though it was known before.
    run = run_with(0.0, start=start_from(first))
    assert run.logit_prior is not None
    run.directory.stages |= anew
    assert run.logit_prior is None


def test_a_warm_start_knows_what_the_other_run_went_through():
    trained = SimpleNamespace(recipe=Recipe(paper="", logit_adjustment=0.25, label_shift=0.5))
    state, logits = {}, {"road": 0.5}
    stages = {"source": {}, "adjustment": {"logits": logits}, "online_3": {}}
    other = SimpleNamespace(stages=stages, read_json=lambda _: state)
    found = [_adjustment_of(other, trained, taken) for taken in ("source", "adjustment", "online_3")]
    own = {"logits": logits, "logit_adjustment": 0.25, "label_shift": 0.5}
    assert found == [{}, own, own]
    earlier = {"logits": logits, "logit_adjustment": 0.5, "label_shift": 0.0}
    other.stages, state["warm_start"] = {"source": {}, "round_1": {}}, {**earlier, "path": "RUN"}
    assert _adjustment_of(other, trained, "round_1") == earlier
    state["warm_start"] = asdict(START)  # of a source model: what was not adjusted is no adjustment
    assert _adjustment_of(other, trained, "round_1") == {}
    state["warm_start"] = {**earlier, "path": "RUN"}
    other.stages = dict.fromkeys(["source", "cycle_gan", "translation", "translated", "round_1"])
    assert [_adjustment_of(other, trained, taken) for taken in ("source", "round_1")] == [earlier, {}]
