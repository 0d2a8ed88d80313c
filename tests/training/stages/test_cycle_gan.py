"""CycleGAN in whole runs: the order of the stages, resumed bit-equal, translated files lost and made again."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.training.run_directory.test_resuming import Killed, kill_in_metrics, kill_when
from tests.training.small_runs import left_by, options, two_layers
from training.command_line import experiment_of, parse
from training.data.images import image_size, read_image, resize_image
from training.errors import UserError
from training.experiment_json import experiment_from_json, experiment_to_json
from training.presets import DATA
from training.run_directory.paths import RunDirectory
from training.settings.data import Translator
from training.stages import judging, plan, streams, warm_up
from training.stages.cycle_gan import TranslatingStage, blocks_of, crop_of, size_of
from training.stages.stage import Run

TINY = (
    *("translation=CycleGan", "translation.pool=1", "data.translator.channels=2", "data.translator.blocks=1"),
    *(f"data.schedules.translation.{key}" for key in ("steps=3", "checkpoint_every=2", "batch_size=1")),
    *("data.translator.crop=32,32", "data.translator.width=48"),
)


def experiment(recipe: str, *settings: str):
    return experiment_of(parse(["--recipe", recipe, "--smoke", "--set", *settings]))


def names(recipe: str, *settings: str) -> list[str]:
    return [stage.name for stage in plan.plan(experiment(recipe, *settings))]


def test_the_semantic_term_needs_a_source_model_first_and_another_one_is_trained_on_translated_images():
    gan = "translation=CycleGan"
    assert names("cbst", gan) == ["source", "cycle_gan", "translation", "translated", "statistics", "round_1"]
    assert names("source_only", gan) == ["source", "cycle_gan", "translation", "translated"]
    assert names("source_only", gan, "translation.semantic=off") == ["cycle_gan", "translation", "source"]


def test_a_recipe_whose_warm_up_sees_the_originals_trains_no_source_model_on_translated_images():
    gan = ("translation=CycleGan", "adaptation.rounds=1")
    assert names("drsl", *gan) == ["source", "cycle_gan", "translation", "statistics", "round_1"]
    assert names("drsl", *gan, "translation.semantic=off")[:3] == ["cycle_gan", "translation", "source"]


def test_both_source_models_are_measured_on_the_source_with_their_own_statistics(monkeypatch):
    taken = []
    monkeypatch.setattr(judging, "score", lambda *rest: {"miou": 0.5})
    chosen = experiment("cbst", "translation=CycleGan")
    network = SimpleNamespace(get_weights=list, set_weights=lambda weights: None)
    domains = SimpleNamespace(source=None, source_evaluation=None)
    run = Run(chosen, SimpleNamespace(stages={"source": {}}), domains, network, plan.plan(chosen))
    run.predictor = None
    run.take_statistics = lambda dataset: taken.append(stage.name)
    for stage in run.plan:
        if stage.scored:
            judging._source_scores(run, stage, "")
    assert taken == ["statistics", "round_1"]


@pytest.mark.parametrize("name", DATA)
def test_every_pair_of_domains_has_a_schedule_for_it(name):
    data = DATA[name]
    size = size_of(data.translator, data.size)
    height, width = crop_of(data.translator, size)
    schedule = data.schedules["translation"]
    assert height * schedule.augmentation.scale[0] <= size[0]  # no crop reaches beyond the image
    assert (height, width) <= size
    assert blocks_of(data.translator, size) == (9 if data.size == (1024, 2048) else 6)
    assert size == ((512, 1024) if data.size == (1024, 2048) else data.size)  # BDL's
    assert (schedule.optimizer.learning_rate, schedule.optimizer.beta_1) == (2e-4, 0.5)
    assert schedule.batch_norm == "frozen"


def test_a_crop_is_at_most_the_image():
    assert crop_of(Translator(crop=(452, 452)), (240, 512)) == (240, 452)
    assert [size_of(Translator(width=width), (240, 320)) for width in (160, 1024)] == [(120, 160), (240, 320)]


def test_large_crops_have_more_blocks_unless_the_settings_say_how_many():
    sizes = [Translator(crop=crop) for crop in ((128, 128), (128, 160), (452, 452))]
    assert [blocks_of(each, (240, 320)) for each in sizes] == [6, 9, 9]
    assert blocks_of(Translator(), (96, 128)) == 6  # the crop is at most the image
    assert blocks_of(Translator(blocks=4), (240, 320)) == 4


def test_it_survives_json():
    chosen = experiment("cbst", "translation=cycle_gan", "translation.semantic.translation=0.2", "translation.pool=9")
    assert (chosen.recipe.translation.semantic.translation, chosen.recipe.translation.pool) == (0.2, 9)
    assert experiment_from_json(json.loads(json.dumps(experiment_to_json(chosen)))) == chosen


def test_what_it_cannot_do_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="the oracle trains on the target's: choose another recipe"):
        names("oracle", "translation=CycleGan")
    chosen = experiment("source_only", "translation=CycleGan", "data.schedules.translation.accumulate=2")
    stage = next(stage for stage in plan.plan(chosen) if stage.name == "cycle_gan")
    with pytest.raises(UserError, match="take a whole batch at once: set it to 1"):
        stage.check()
    replace(stage, schedule=replace(stage.schedule, accumulate=1)).check()


def test_images_that_the_discriminators_have_no_score_for_are_refused_before_the_first_warm_up():
    command = ["--recipe", "cbst", "--set", "translation=CycleGan", "data.translator.channels=2"]
    with pytest.raises(UserError, match="crops of 16x32 of images of 16x32, and its discriminators need 24 pixels"):
        plan.plan(experiment_of(parse([*command, "data.translator.width=32"])))
    assert plan.plan(experiment_of(parse([*command, "data.translator.width=48"])))


def test_a_model_that_was_adapted_already_is_not_trained_anew():
    chosen = experiment("cbst", "translation=CycleGan")
    stages = {stage.name: stage for stage in plan.plan(chosen)}
    for adapted in (True, False):
        directory = SimpleNamespace(stages={"source": {"adapted": adapted}})
        run = Run(chosen, directory, None, None, tuple(stages.values()))
        assert bool(stages["translated"].skipped(run)) == adapted


@pytest.mark.parametrize(("same", "left"), [(True, ["cycle_gan", "translation", "source"]), (False, ["cycle_gan"])])
def test_lost_images_that_become_others_cost_the_stages_after_the_translation(tmp_path, monkeypatch, same, left):
    chosen, samples = experiment("cbst", "translation=CycleGan", "translation.semantic=off"), ("a", "b")
    directory = RunDirectory.create(tmp_path / "run", chosen)
    stages = plan.plan(chosen)
    domains = SimpleNamespace(source=SimpleNamespace(samples=[SimpleNamespace(name=name) for name in samples]))
    run = Run(chosen, directory, domains, None, stages)
    made = []

    def translate(stage, run):
        made.append(stage.name)
        lost.write_bytes(b"a.png" if same else b"other")

    monkeypatch.setattr(TranslatingStage, "_translate", translate)
    directory.translated.mkdir()
    images = [directory.translated / f"{name}.png" for name in samples]
    for image in images:
        image.write_bytes(image.name.encode())
    for stage in stages[:3]:
        directory.finish_stage(stage.name, {}, stage.files(run) if stage.name == "translation" else [])
    lost = images[0]
    assert plan._restored(run)
    assert made == []
    lost.unlink()
    assert plan._restored(run) == same
    assert made == ["translation"]
    assert list(directory.stages) == left
    assert images[1].is_file()


@pytest.fixture
def small(start, tmp_path, monkeypatch):
    monkeypatch.setattr(warm_up, "initial_network", two_layers)
    return tmp_path


def killed_at(start, command: list[str], place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_in_metrics(patch, *place) if isinstance(place, tuple) else kill_when(patch, place)
        with pytest.raises(Killed):
            start(command)


def test_killed_again_and_again_it_ends_as_the_one_that_was_not(start, small, monkeypatch, capsys):
    shown = []

    def noted(run, *rest, **options):
        shown.append(run.translation is not None)
        return streams.source_stream(run, *rest, **options)

    monkeypatch.setattr(warm_up, "source_stream", noted)
    whole, killed = small / "whole", small / "killed"
    command = options(small, "source_only", *TINY)
    assert start([*command, "--out", str(whole)]) == 0
    assert shown == [False, True]
    # 1. Killed while it trains the translators, while it translates, and in the training on translated images.
    again = [*command, "--out", str(killed)]
    for place, made in ((("cycle_gan", 3), 0), ("source2.png", 2), (("translated", 5), 5)):
        killed_at(start, again, place)
        assert len(list((killed / "translated").glob("source*.png"))) == made
        again = ["--resume", str(killed)]
    # 2. A translated image is lost: it is named and made again, and no finished stage is carried out again.
    lost, kept = killed / "translated/source1.png", RunDirectory(killed).stages
    written = {path: path.stat().st_mtime_ns for path in lost.parent.iterdir()}
    lost.write_bytes(lost.read_bytes()[:-20])
    assert start(again) == 0
    assert [path for path in written if path.stat().st_mtime_ns != written[path]] == [lost]  # the others stayed
    assert "source1.png damaged or missing: made again if a stage" in capsys.readouterr().out
    assert RunDirectory(killed).stages.items() >= kept.items()
    assert left_by(killed) == left_by(whole)
    # 3. What it has left: translated images, of the translator's size; pictures and both models in the report.
    files = sorted((whole / "translated").iterdir())
    assert [file.name for file in files] == [f"source{number}.png" for number in range(5)]
    assert {image_size(file) for file in files} == {(48, 48)}
    original = resize_image(read_image(small / "source/images/source1.png"), (48, 48)).astype(int)
    assert np.abs(read_image(files[1]) - original).max() > 0
    assert image_size(whole / "report/translation.png")[0] > 5 * 400
    report = (whole / "report/report.md").read_text()
    chosen = json.loads((whole / "report/summary.json").read_text())["chosen"]
    assert ("(translated: CycleGAN)" in report) == (chosen == "translated")
    assert "translation.png" in report
    assert "| source model on translated images" in report  # a line of the table of stages
