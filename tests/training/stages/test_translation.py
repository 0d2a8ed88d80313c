"""Translations in whole runs: in every stage that trains on the source, resumed bit-equal; what is refused."""

import json
import shutil

import numpy as np
import pytest

from tests.training.run_directory.test_resuming import Killed, kill_in_metrics
from tests.training.small_runs import left_by, options
from training.command_line import experiment_of, parse
from training.data.domains import load_domains
from training.data.fourier import AmplitudeExchange
from training.data.images import image_size
from training.data.translation import words_of
from training.errors import UserError
from training.run_directory.paths import RunDirectory
from training.stages import alignment, plan, rounds, streams, warm_up
from training.stages.stage import Run

FDA = ("translation=fda", "translation.beta=0.05,0.1")


def run_of(root, *settings: str) -> Run:
    """A run that is not begun."""
    experiment = experiment_of(parse(options(root, "source_only", *settings)))
    return Run(experiment, None, load_domains(experiment), None, ())


def images(stream) -> list[np.ndarray]:
    return [batch["image"].numpy() for batch in stream.batches()]


def test_without_a_translation_the_stream_is_the_plain_one(start, tmp_path):
    run = run_of(tmp_path)
    data = run.experiment.data
    schedule = data.schedules["warm_up"]
    plain = streams.stream_of(run.domains.source, data, schedule, 5)
    translated = images(streams.source_stream(run_of(tmp_path, *FDA), schedule, 5))
    np.testing.assert_array_equal(images(streams.source_stream(run, schedule, 5)), images(plain))
    assert (np.array(translated) != np.array(images(plain))).any()
    assert "translation" not in [stage.name for stage in plan.plan(run.experiment)]


def test_every_stage_that_trains_on_the_source_translates_it_and_the_run_resumes_bit_equal(
    start, tmp_path, monkeypatch
):
    schedules = []

    def noted(run, schedule, *rest, **options):
        stream = streams.source_stream(run, schedule, *rest, **options)
        schedules.append((schedule.steps, len(stream.changes)))
        return stream

    for stage in (warm_up, alignment, rounds):
        monkeypatch.setattr(stage, "source_stream", noted)
    lengths = ("data.schedules.alignment.steps=4", "data.schedules.rounds.steps=3")
    command = options(tmp_path, "cbst", *FDA, "alignment=on", "adaptation.rounds=1", *lengths)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start([*command, "--out", str(whole)]) == 0
    assert schedules == [(5, 1), (4, 1), (3, 1)]
    # Killed in the warm-up and in the round, it ends as the one that was not.
    again = [*command, "--out", str(killed)]
    for place in (("source", 4), ("round_1", 2)):
        with pytest.MonkeyPatch.context() as patch:
            kill_in_metrics(patch, *place)
            with pytest.raises(Killed):
                start(again)
        again = ["--resume", str(killed)]
    assert start(again) == 0
    assert left_by(killed) == left_by(whole)
    # The report tells of it and shows four images.
    report = (whole / "report/report.md").read_text()
    assert "(translated: FDA, beta 0.05 or 0.1)" in report
    assert "translation.png" in report
    height, width = image_size(whole / "report/translation.png")
    assert height > 4 * 400
    assert width > 3 * 400


def test_a_folder_of_the_sources_own_images_changes_nothing(start, tmp_path):
    shutil.copytree(tmp_path / "source/images", tmp_path / "translated")
    command = options(tmp_path, "cbst", "adaptation.rounds=1")
    for name, more in (("plain", []), ("same", ["--translated-root", str(tmp_path / "translated")])):
        assert start([*command[:2], *more, *command[2:], "--out", str(tmp_path / name)]) == 0
    plain, same = (RunDirectory(tmp_path / name) for name in ("plain", "same"))
    assert list(same.stages) == ["translation", *plain.stages]
    for stage in plain.stages:
        assert plain.weights(stage).read_bytes() == same.weights(stage).read_bytes()


def test_missing_translated_images_are_named_before_anything_is_trained(start, tmp_path, capsys):
    shutil.copytree(tmp_path / "source/images", tmp_path / "translated")
    (tmp_path / "translated/source3.png").unlink()
    more = ["--translated-root", str(tmp_path / "translated"), "--out", str(tmp_path / "run")]
    assert start([*options(tmp_path, "cbst"), *more]) == 2
    error = capsys.readouterr().err
    assert "1 file (source3.png) of the 5 of the source 'source' without a translated image" in error
    assert not (tmp_path / "run").exists()


def test_the_oracle_is_refused_with_a_translation(start, tmp_path, capsys):
    assert start([*options(tmp_path, "oracle", "translation=on"), "--out", str(tmp_path / "run")]) == 2
    assert "the oracle trains on the target's: choose another recipe" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["fda", "CycleGan"])
def test_a_translation_that_no_stage_trains_on_is_refused(kind):
    def planned(recipe: str, *settings: str) -> None:
        chosen = ("--set", f"translation={kind}", "translation.warm_up=False", *settings)
        plan.plan(experiment_of(parse(["--recipe", recipe, *chosen])))

    for unused in (("source_only",), ("iast", "alignment=off", "data.keep_source=False")):
        with pytest.raises(UserError, match="no translated image would be trained on: set translation"):
            planned(*unused)
    planned("source_only", "translation.warm_up=True")
    planned("source_only", "alignment=on")
    planned("iast", "alignment=off", "data.keep_source=True")
    planned("iast", "data.keep_source=False")
    planned("drsl")
    planned("dacs")


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        ("source_only", (), None),
        ("source_only", FDA, "FDA, beta 0.05 or 0.1"),
        ("drsl", (), "FDA, beta 0.01, beside the originals, after a warm-up on the originals alone"),
        ("drsl", ("translation=CycleGan", "translation.alongside=False"),
         "CycleGAN, after a warm-up on the originals alone"),
        ("uplr", ("translation.alongside=True",), "FDA, beta 0.01, beside the originals"),
    ],
)  # fmt: skip
def test_a_translation_is_told_with_what_is_trained_on_beside_it(recipe, settings, words):
    chosen = ["--set", *settings] if settings else []
    assert words_of(experiment_of(parse(["--recipe", recipe, *chosen])).recipe.translation) == words


def test_a_target_photo_damaged_since_the_start_is_named_and_the_mended_run_goes_on(
    start, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("training.data.fixed_lists.usable_photos", lambda photos, size: (photos, ()))
    translation = run_of(tmp_path, *FDA).translation
    drawn = [AmplitudeExchange(translation.partners, (0.05,), False, 7).drawn_at(at).partner for at in range(24)]
    later = min(set(drawn[4:]) - set(drawn[:4]))  # the stage that shows four images does not meet it
    photo = tmp_path / f"target/images/target{later}.png"
    content = photo.read_bytes()
    photo.write_bytes(content[:300])
    command = options(tmp_path, "source_only", *FDA, "data.schedules.warm_up.steps=12")
    assert start([*command, "--out", str(tmp_path / "run")]) == 2
    assert f"target{later}.png is damaged" in capsys.readouterr().err
    assert list(RunDirectory(tmp_path / "run").stages) == ["translation"]
    photo.write_bytes(content)
    assert start(["--resume", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("beta", ["0.5", "-0.01", "0.01,2", "much"])
def test_a_bad_beta_is_refused(tmp_path, beta):
    with pytest.raises(UserError, match=r"beta|-0\.01 is no value"):
        experiment_of(parse(["--set", "translation=fda", f"translation.beta={beta}"]))


@pytest.mark.parametrize("kind", ["fda", "Fda", "on"])
def test_it_is_switched_on_by_name_and_survives_json(kind):
    from training.experiment_json import experiment_from_json, experiment_to_json

    chosen = ["--set", f"translation={kind}", "translation.beta=0.01,0.05,0.09", "translation.alongside=True"]
    experiment = experiment_of(parse(chosen))
    assert (experiment.recipe.translation.beta, experiment.recipe.translation.alongside) == ((0.01, 0.05, 0.09), True)
    assert experiment_from_json(json.loads(json.dumps(experiment_to_json(experiment)))) == experiment


def test_a_translated_root_beside_another_translation_is_refused():
    for other in ("fda", "CycleGan"):
        with pytest.raises(UserError, match="--set translation names another way"):
            experiment_of(parse(["--translated-root", "there", "--set", f"translation={other}"]))


def test_a_translated_root_can_stand_alongside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = ["--translated-root", "there", "--set", "translation.alongside=True"]
    translation = experiment_of(parse(chosen)).recipe.translation
    assert (translation.kind, translation.root, translation.alongside) == (
        "translated_images",
        str(tmp_path / "there"),
        True,
    )
    assert experiment_of(parse([*chosen[:2], "--set", "translation=off"])).recipe.translation is None
