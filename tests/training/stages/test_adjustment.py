"""Logit adjustment: what the classifier's bias loses, and when nothing is taken."""

from types import SimpleNamespace

import numpy as np
import pytest

from models.heads import classifier_bias
from tests.training.methods.tiny import tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE
from training.recipes import RECIPES
from training.settings.experiment import Recipe
from training.stages.adjustment import AdjustmentStage
from training.stages.stage import Run, Stage
from training.stages.warm_start import WarmStart, _logit_adjustment_of


def run_with(shares, factor: float, before: float | None = None, finished=("source",)) -> Run:
    """A run whose source shows the classes with these shares. before: what its warm start went through. finished: its
    stages so far."""
    experiment = SimpleNamespace(recipe=Recipe(paper="", logit_adjustment=factor))
    domains = SimpleNamespace(source_shares=np.array(shares), label_space=TINY_SPACE)
    start = None if before is None else WarmStart("", "weights", "", "", "source", True, before)
    plan = (Stage(name="source", title="", phrase=""), AdjustmentStage())
    directory = SimpleNamespace(stages=dict.fromkeys(finished))
    return Run(experiment, directory, domains, tiny_network(), plan, start)


def test_logits_lose_the_logarithm_of_the_classes_shares():
    run = run_with([0.7, 0.2, 0.1], 0.5)
    before = classifier_bias(run.network).numpy()
    figures = run.plan[1].run(run)
    lost = before - classifier_bias(run.network).numpy()
    np.testing.assert_allclose(np.diff(lost), 0.5 * np.diff(np.log([0.7, 0.2, 0.1])), rtol=1e-5)
    assert lost.mean() == pytest.approx(0, abs=1e-6)  # no class is moved on the whole
    assert list(figures["logits"].values()) == pytest.approx((-lost).tolist(), abs=1e-6)


def test_a_class_that_the_source_never_shows_gains_nothing_and_a_very_rare_one_no_more_than_a_rare_one():
    prior = run_with([0.6, 0.4, 0.0], 1.0).logit_prior
    assert prior[2] == prior.max() == prior[0]
    assert run_with([0.5, 0.5 - 1e-6, 1e-6], 1.0).logit_prior[0] == pytest.approx(
        run_with([0.5, 0.5 - 1e-4, 1e-4], 1.0).logit_prior[0], abs=1e-3
    )


def test_published_recipes_do_without():
    assert run_with([0.5, 0.3, 0.2], 0.0).logit_prior is None
    assert all(recipe.logit_adjustment == 0 for name, recipe in RECIPES.items() if name != "best")


@pytest.mark.parametrize(("before", "share"), [(None, 1.0), (0.0, 1.0), (0.25, 0.5), (1.0, -1.0)])
def test_what_the_model_of_a_warm_start_went_through_is_not_repeated(before, share):
    run = run_with([0.7, 0.2, 0.1], 0.5, before)
    assert run.plan[1].skipped(run) is None
    bias = classifier_bias(run.network).numpy()
    run.plan[1].run(run)
    np.testing.assert_allclose(bias - classifier_bias(run.network).numpy(), share * run.logit_prior, atol=1e-6)


def test_a_model_that_is_adjusted_stays_so_whatever_the_recipe_asks():
    same = run_with([0.7, 0.2, 0.1], 0.5, 0.5)
    assert "has it already" in same.plan[1].skipped(same)
    without = run_with([0.7, 0.2, 0.1], 0.0, 0.5)
    np.testing.assert_array_equal(without.logit_prior, same.logit_prior)  # training on the source keeps it


def test_a_source_model_on_translated_images_has_not_gone_through_what_the_model_of_the_warm_start_has():
    anew = ("source", "cycle_gan", "translation", "translated")
    run = run_with([0.7, 0.2, 0.1], 0.5, 0.5, anew)
    assert run.plan[1].skipped(run) is None
    bias = classifier_bias(run.network).numpy()
    run.plan[1].run(run)
    np.testing.assert_allclose(bias - classifier_bias(run.network).numpy(), run.logit_prior, atol=1e-6)
    # Nor is an adjustment of that model kept where the recipe has none, though it was known before.
    run = run_with([0.7, 0.2, 0.1], 0.0, 0.5)
    assert run.logit_prior is not None
    run.directory.stages |= dict.fromkeys(anew)
    assert run.logit_prior is None


def test_a_warm_start_knows_what_the_other_run_went_through():
    trained = SimpleNamespace(recipe=Recipe(paper="", logit_adjustment=0.25))
    state = {}
    other = SimpleNamespace(stages=["source", "adjustment", "online_3"], read_json=lambda _: state)
    found = [_logit_adjustment_of(other, trained, taken) for taken in ("source", "adjustment", "online_3")]
    assert found == [0.0, 0.25, 0.25]
    other.stages, state["warm_start"] = ["source", "round_1"], {"logit_adjustment": 0.5}
    assert _logit_adjustment_of(other, trained, "round_1") == 0.5
    other.stages = ["source", "cycle_gan", "translation", "translated", "round_1"]
    assert [_logit_adjustment_of(other, trained, taken) for taken in ("source", "round_1")] == [0.5, 0.0]
