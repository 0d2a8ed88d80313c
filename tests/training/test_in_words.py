"""What a recipe does on its data, in a sentence that follows the settings."""

from dataclasses import dataclass, replace

import pytest

from training.command_line import experiment_of, parse
from training.in_words import in_words
from training.recipes import RECIPES


def words(*argv: str) -> str:
    return in_words(experiment_of(parse(list(argv))))


def test_best_says_what_it_is_on_each_kind_of_data():
    photos = ("--recipe", "best", "--data", "folders", "--target-root", "photos", "--source-root", "labelled")
    assert words(*photos) == (
        "best on folders: logit adjustment 0.3 and label shift 0.5, then self-training of 500 steps with label entropy "
        "labels at scales 1 and 1.5, three quarters of the way"
    )
    assert words("--recipe", "best") == (
        "best on streetsim: 1600 online steps with a mean teacher, rare class sampling, class mix"
    )
    changed = ("--set", "logit_adjustment=0", "label_shift=0", "adaptation.blend=0.3", "data.schedules.rounds.steps=40")
    assert words(*photos, *changed) == (
        "best on folders: self-training of 40 steps with label entropy labels at scales 1 and 1.5, 30% of the way"
    )
    unshifted = words(*photos, "--set", "label_shift=0")
    assert unshifted.startswith("best on folders: logit adjustment 0.3, then self-training")
    taught = ("--recipe", "dacs", "--set", "adaptation.mean_teacher.scales=1,1.5")
    assert words(*taught).endswith("online steps with a teacher at scales 1 and 1.5, class mix")


def test_rounds_alignment_translation_and_the_control():
    said = words("--recipe", "uplr", "--control", "--set", "translation=fda")
    assert said.startswith(
        "uplr-control on streetsim: translation of the source (fda), then adversarial alignment of 3 times"
    )
    assert said.endswith("with entropy mixture labels, adversarial term, target labels of weight 0")
    assert "with class balanced labels, spatial priors" in words("--recipe", "cbst_sp")
    blended = words("--recipe", "advent", "--control", "--set", "alignment.blend=0.5")
    assert blended.endswith("adversarial alignment of 200 steps, adversarial term of weight 0, half of the way")
    scales = words("--recipe", "cbst", "--set", "adaptation.label_scales=0.75,1.0,1.5")
    assert "with class balanced labels at scales 0.75, 1 and 1.5" in scales
    assert words("--recipe", "oracle") == "oracle on streetsim: training on the target's labels alone"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_a_sentence(recipe):
    said = words("--recipe", recipe)
    assert said.startswith(f"{recipe} on streetsim: ")
    assert "_" not in said.removeprefix(recipe)


def test_a_kind_of_part_that_is_not_known_is_told_by_its_name():
    @dataclass(frozen=True)
    class Own:
        kind: str = "own_part"

    experiment = experiment_of(parse(["--recipe", "cbst"]))
    recipe = replace(experiment.recipe, adaptation=Own())
    assert in_words(replace(experiment, recipe=recipe)) == "cbst on streetsim: own part"
