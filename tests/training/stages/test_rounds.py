"""What a round trains on: which crops are mined, which source images take part."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.small_runs import two_layers
from training.command_line import experiment_of, parse
from training.data.source_subset import source_subset
from training.stages import rounds
from training.stages.plan import plan
from training.stages.stage import Run


@pytest.mark.parametrize(("recipe", "of_source"), [("cbst", 0.8), ("lrent", 0.0), ("mrkld", 0.0), ("drsl", 0.0)])
def test_crst_mines_no_crops_of_the_source(recipe, of_source, monkeypatch):
    experiment = experiment_of(parse(["--recipe", recipe, "--set", "data.mined_crops=True"]))
    stage = next(each for each in plan(experiment) if each.name == "round_1")
    mined = {}
    monkeypatch.setattr(rounds, "stream_of", lambda *given, **_: mined.update(target=given[4].mine))
    monkeypatch.setattr(rounds, "source_stream", lambda *given, **_: mined.update(source=given[3].mine))
    monkeypatch.setattr(rounds, "side_by_side", lambda **streams: None)
    found = SimpleNamespace(fitted=SimpleNamespace(soft=None))
    labelled = SimpleNamespace(rare_classes=(3,), found=found, dataset=None)
    rounds.round_streams(
        SimpleNamespace(domains=None, experiment=experiment), stage, labelled, {"source": None, "target": None}
    )
    assert mined == {"source": of_source, "target": 0.8}


def part_of(recipe: str, seed: int, *command: str):
    experiment = experiment_of(parse(["--recipe", recipe, "--seed", str(seed), *command]))
    share = experiment.recipe.adaptation.source_share
    return rounds.source_part(1000, share, experiment.data, 1, experiment.seed)


def test_the_source_images_of_a_round_follow_from_the_seed():
    published = ("--data", "gta5_cityscapes", "--source-root", ".", "--target-root", ".")
    np.testing.assert_array_equal(part_of("cbst", 0, *published), source_subset(1000, 0.02, 0))
    np.testing.assert_array_equal(part_of("lrent", 0, *published), source_subset(1000, 0.03, 0, "random", seed=3))
    for recipe in ("cbst", "lrent"):
        assert set(part_of(recipe, 0)) != set(part_of(recipe, 1))


def test_a_round_labels_at_the_scales_that_it_names():
    experiment = experiment_of(parse(["--recipe", "cbst", "--set", "adaptation.label_scales=0.75,1.0,1.5"]))
    labeller = Run(experiment, None, None, two_layers(experiment, 3), ()).labeller
    assert labeller.views == [(scale, flip) for scale in (1.0, 0.75, 1.5) for flip in (False, True)]
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    alone = [labeller.with_views((scale,), (False, True)).coarse_probs(image) for scale in (1.0, 0.75, 1.5)]
    mean = sum(tf.image.resize(probs, (16, 16)) for probs in alone) / 3
    np.testing.assert_allclose(labeller.coarse_probs(image), mean, atol=1e-6)


def test_the_adversarial_term_alone_is_not_told_as_self_training():
    def way(*argv: str) -> str:
        stages = plan(experiment_of(parse(["--smoke", "--recipe", *argv])))
        return next(stage.way for stage in stages if stage.name == "round_1")

    assert way("uplr") == way("cbst") == "by self-training"
    assert way("uplr", "--control") == "by rounds with the adversarial term and target labels of weight 0"
    assert way("cbst", "--control") == "by rounds with target labels of weight 0"
    assert way("cbst", "--set", "adaptation.target_weight=0", "adaptation.losses.mrkld=on") == "by self-training"
