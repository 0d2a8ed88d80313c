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


def run_with(shares, factor: float, **of_source) -> Run:
    """A run whose source shows the classes with these shares."""
    experiment = SimpleNamespace(recipe=Recipe(paper="", logit_adjustment=factor))
    domains = SimpleNamespace(source_shares=np.array(shares), label_space=TINY_SPACE)
    directory = SimpleNamespace(stages={"source": of_source})
    return Run(
        experiment, directory, domains, tiny_network(), (Stage(name="source", title="", phrase=""), AdjustmentStage())
    )


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


def test_published_recipes_do_without_and_so_does_a_run_from_an_adapted_model():
    assert run_with([0.5, 0.3, 0.2], 0.0).logit_prior is None
    assert all(recipe.logit_adjustment == 0 for name, recipe in RECIPES.items() if name != "best")
    assert AdjustmentStage().skipped(run_with([0.5, 0.3, 0.2], 1.0, adapted=True)) is not None
    assert AdjustmentStage().skipped(run_with([0.5, 0.3, 0.2], 1.0)) is None
