"""The plan of a run and the loop over its stages."""

import sys
from dataclasses import dataclass, replace
from types import ModuleType

import pytest

from training.command_line import experiment_of, parse
from training.errors import UserError
from training.progress import console
from training.recipes import RECIPES
from training.settings.stages import Alignment
from training.stages.plan import build_network, check_augmentations, check_batches, plan, run_experiment
from training.stages.stage import Stage


def experiment(recipe: str, *more: str):
    return experiment_of(parse(["--recipe", recipe, "--smoke", *more]))


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("source_only", ["source"]),
        ("oracle", ["source"]),
        ("advent", ["source", "statistics", "alignment"]),
        ("cbst", ["source", "statistics", "round_1"]),
        ("hiast", ["source", "statistics", "alignment", "round_1"]),
    ],
)
def test_a_recipe_becomes_stages_in_order(recipe, names):
    assert [stage.name for stage in plan(experiment(recipe))] == names


def test_logit_adjustment_comes_before_what_learns_from_labels_of_the_target():
    names = [stage.name for stage in plan(experiment("hiast", "--set", "logit_adjustment=0.25"))]
    assert names == ["source", "statistics", "adjustment", "alignment", "round_1"]
    assert [stage.name for stage in plan(experiment("source_only", "--set", "logit_adjustment=0.25"))] == [
        "source",
        "adjustment",
    ]


def test_statistics_that_stay_frozen_have_no_stage():
    frozen = ("data.schedules.rounds.batch_norm=frozen", "data.schedules.alignment.batch_norm=frozen")
    assert "statistics" not in [stage.name for stage in plan(experiment("hiast", "--set", *frozen))]


def test_the_data_bound_the_rounds():
    some = [stage.name for stage in plan(experiment("cbst", "--set", "adaptation.rounds=3", "data.most_rounds=2"))]
    assert some[-2:] == ["round_1", "round_2"]


def test_alignment_in_rounds_has_a_stage_per_round():
    settings = experiment("advent")
    recipe = replace(settings.recipe, alignment=replace(settings.recipe.alignment, rounds=3))
    names = [stage.name for stage in plan(replace(settings, recipe=recipe))]
    assert names[2:] == ["alignment_1", "alignment_2", "alignment_3"]


def test_every_part_of_a_recipe_says_its_kind():
    for recipe in RECIPES.values():
        parts = (recipe.translation, recipe.warm_up, recipe.alignment, recipe.adaptation)
        assert all(part.kind for part in parts if part is not None)
    assert Alignment().kind == "alignment"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_losses_that_its_stages_can_compute(recipe):
    for stage in plan(experiment(recipe)):
        stage.check()


def test_a_loss_that_a_stage_cannot_compute_is_refused():
    stages = plan(experiment("cbst", "--set", "adaptation.losses.consistency=on"))
    with pytest.raises(UserError, match=r"needs adaptation\.mean_teacher=on"):
        stages[-1].check()


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        (
            "cbst",
            ["source_share.share=0.1"],
            r"source_share\.share is 0\.1, and adaptation\.source_share\.maximum 0\.06",
        ),
        ("cbst", ["selector.portion=0.6"], r"adaptation\.selector in round_1: .* 0\.6 exceeds .* 0\.5: .*portion_max"),
        ("iast", ["selector.alpha=0.95", "rounds=3"], r"adaptation\.selector in round_3: .* has alpha 1\.05"),
    ],
)
def test_portions_that_a_round_cannot_select_are_refused_before_the_warm_up(recipe, settings, words):
    settings = [f"adaptation.{setting}" for setting in settings]
    stages = plan(experiment(recipe, "--set", "data.most_rounds=3", *settings))
    with pytest.raises(UserError, match=words):
        [stage.check() for stage in stages]


@pytest.mark.parametrize("setting", ["source_share.share=0", "source_share.maximum=0", "selector.initial=1"])
def test_portions_that_no_round_can_select_are_out_of_range(setting):
    with pytest.raises(UserError, match=rf"adaptation\.{setting.split('=')[0]}"):
        experiment("iast" if setting.startswith("selector") else "cbst", "--set", f"adaptation.{setting}")


def test_an_augmentation_that_gives_no_crops_is_refused_before_the_warm_up():
    settings = experiment("cbst", "--set", "data.schedules.rounds.augmentation.scale=1.5,0.7")
    with pytest.raises(UserError, match=r"^data\.schedules\.rounds: The augmentation scale is 1\.5 to 0\.7"):
        check_augmentations(plan(settings), settings.data)
    with pytest.raises(UserError, match=r"^data\.schedules\.translation: The augmentation scale is 1\.5 to 0\.7"):
        plan(
            experiment("cbst", "--set", "translation=CycleGan", "data.schedules.translation.augmentation.scale=1.5,0.7")
        )


@dataclass(frozen=True)
class Online:
    """Settings of an adaptation of another kind than rounds."""

    kind: str = "online_for_tests"


@dataclass(frozen=True)
class Translation:
    kind: str = "translation_for_tests"


@dataclass(frozen=True, kw_only=True)
class OnlineStage(Stage):
    """Moves every weight by one hundredth."""

    def run(self, run) -> dict:
        run.network.set_weights([1.01 * weight for weight in run.network.get_weights()])
        return {"steps": self.schedule.steps}


@dataclass(frozen=True, kw_only=True)
class TranslationStage(Stage):
    """Leaves a file, and the network alone."""

    def run(self, run) -> dict:
        (run.directory.path / "translated.txt").write_text("done")
        return {"images": 1}

    def files(self, run) -> list:
        return [run.directory.path / "translated.txt"]


@pytest.fixture
def kinds(monkeypatch):
    """The modules of two kinds of parts that no recipe has."""

    def online(part, experiment):
        schedule = experiment.data.schedules["online"]
        return (
            OnlineStage(
                name="online",
                title="Online",
                phrase="of online training",
                schedule=schedule,
                way="online",
                trains_on_target=True,
            ),
        )

    def translation(part, experiment):
        return (TranslationStage(name="translation", title="Translation", phrase="", scored=False),)

    for kind, stages in ((Online.kind, online), (Translation.kind, translation)):
        module = ModuleType(kind)
        module.stages = stages
        monkeypatch.setitem(sys.modules, f"training.stages.{kind}", module)


def with_other_kinds(settings):
    recipe = replace(settings.recipe, translation=Translation(), adaptation=Online())
    schedules = {**settings.data.schedules, "online": settings.data.schedules["rounds"]}
    return replace(settings, recipe=recipe, data=replace(settings.data, schedules=schedules))


def test_other_kinds_of_parts_have_their_place(kinds):
    stages = plan(with_other_kinds(experiment("cbst")))
    assert [stage.name for stage in stages] == ["translation", "source", "statistics", "online"]


def test_the_batch_of_every_stage_is_checked(kinds, monkeypatch):
    from training.distribution.shares import Share

    settings = with_other_kinds(experiment("cbst"))
    odd = replace(settings.data.schedules["online"], batch_size=3)
    schedules = {**settings.data.schedules, "online": odd}
    monkeypatch.setattr("training.stages.plan.share_of_this_process", lambda: Share(replicas=2))
    with pytest.raises(UserError, match="batch of 3 images"):
        check_batches(plan(replace(settings, data=replace(settings.data, schedules=schedules))), settings.model)


FROZEN = tuple(f"data.schedules.{name}.batch_norm=frozen" for name in ("warm_up", "alignment", "rounds"))


def in_parts(recipe: str, *more: str):
    parts = [f"data.schedules.{name}.accumulate=2" for name in ("warm_up", "alignment", "rounds")]
    return experiment(recipe, "--set", *parts, *more)


def test_a_batch_is_computed_in_parts_where_it_divides_evenly(monkeypatch):
    from training.distribution.shares import Share

    settings = in_parts("hiast", *FROZEN)
    stages, model = plan(settings), settings.model
    assert {stage.schedule.accumulate for stage in stages if stage.schedule is not None} == {2}
    check_batches(stages, model)
    for stage in stages:
        stage.check()
    with pytest.raises(UserError, match="batch of 3 images cannot be divided evenly into 2 parts"):
        check_batches(plan(in_parts("hiast", *FROZEN, "data.schedules.rounds.batch_size=3")), model)
    monkeypatch.setattr("training.stages.plan.share_of_this_process", lambda: Share(replicas=4))
    with pytest.raises(UserError, match=r"evenly over 4 devices with 2 parts on each: .* multiple of 8 .* another acc"):
        check_batches(plan(in_parts("hiast", *FROZEN, "data.schedules.rounds.batch_size=4")), model)


@pytest.mark.parametrize(("name", "stage"), [("warm_up", "source"), ("alignment", "alignment"), ("rounds", "round_1")])
def test_parts_with_trained_batch_norm_are_refused(name, stage):
    trained = f"data.schedules.{name}.batch_norm=train"
    words = rf"stage {stage}: accumulate=2 with batch_norm=train .* set batch_norm=frozen beside it, or accumulate=1"
    settings = in_parts("hiast", *FROZEN, trained)
    with pytest.raises(UserError, match=words) as caught:
        check_batches(plan(settings), settings.model)
    assert "\n" not in str(caught.value)


def test_batch_norm_of_a_head_is_trained_where_the_schedule_says_frozen():
    """So the network takes the target's statistics, and its batches cannot be computed in parts."""
    settings = in_parts("cbst", *FROZEN)
    with_head_norm = replace(settings, model=replace(settings.model, network="segformer_mit_b0"))
    names = [[stage.name for stage in plan(each)] for each in (settings, with_head_norm)]
    assert names == [["source", "round_1"], ["source", "statistics", "round_1"]]
    check_batches(plan(settings), settings.model)
    with pytest.raises(UserError, match=r"stage source: accumulate=2 .* head of segformer_mit_b0, .* accumulate=1;"):
        check_batches(plan(with_head_norm), with_head_norm.model)


@pytest.mark.parametrize(("recipe", "part"), [("advent", "alignment"), ("hiast", "adaptation")])
def test_a_loss_that_needs_the_whole_batch_is_refused_with_parts(recipe, part, monkeypatch):
    settings = in_parts(recipe, *FROZEN, f"{part}.losses.minimum_entropy=on")
    plan(settings)[-1].check()
    monkeypatch.setattr("training.methods.terms.MinimumEntropyTerm.splits", False)
    with pytest.raises(UserError, match=r"losses\.minimum_entropy needs the whole batch at once, so that accumulate=2"):
        plan(settings)[-1].check()


def test_a_run_of_other_kinds_is_carried_out_reported_and_resumed(kinds, start, tmp_path):
    from tests.training.small_runs import options
    from training.run_directory.paths import RunDirectory

    begun = experiment_of(parse(options(tmp_path, "cbst")))
    settings, directory = with_other_kinds(begun), RunDirectory.create(tmp_path / "run", begun)
    summary = run_experiment(settings, directory)
    assert list(directory.stages) == ["translation", "source", "online"]
    assert directory.stages["online"]["steps"] == 5
    assert [entry["title"] for entry in summary["stages"]] == ["Online"]
    assert "online, without its labels" in (directory.report / "report.md").read_text()
    assert "translated.txt" in directory.digests("translation").read_text()
    # A second call finds everything finished and makes the same report.
    again = run_experiment(settings, directory)
    assert again["stages"] == summary["stages"]
    # Stages of another plan are refused.
    with pytest.raises(UserError, match="finished stage 'online'"):
        run_experiment(begun, directory)
    directory.unlock()


def test_a_run_prints_what_its_network_starts_from(tmp_path):
    start = experiment("source_only", "--model", "compact", "--weights", "none")
    with console.capture() as captured:
        network = build_network(start, 19)
    assert captured.get().strip() == "compact: all layers start at random."
    file = tmp_path / "start.weights.h5"
    network.save_weights(file)
    with console.capture() as captured:
        build_network(experiment("source_only", "--model", "compact", "--weights", str(file)), 19)
    assert f"checkpoint weights from {file}" in captured.get().replace("\n", "")
    with pytest.raises(UserError, match="no weights file at nowhere"):
        build_network(experiment("source_only", "--weights", "nowhere.safetensors"), 19)


def test_logits_are_adjusted_by_the_classes_that_the_network_has_learned():
    with pytest.raises(UserError, match="trained on the target's labels"):
        plan(experiment_of(parse(["--recipe", "oracle", "--set", "logit_adjustment=0.25"])))
