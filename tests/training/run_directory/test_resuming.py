"""A run killed anywhere ends as the one that was never stopped; what is damaged is named and made again."""

import os
from pathlib import Path

import pytest

from tests.training.small_runs import left_by, options
from training.stages import fitting

MEAN_TEACHER = (
    *("hiast", "alignment=off", "adaptation.rounds=1", "adaptation.strong_views=False"),
    *(
        "adaptation.mean_teacher.decay_steps=20",
        "adaptation.selector.initial=0.2",
        "data.schedules.warm_up.average_weights=0.9",
    ),
)
ADVERSARIAL = ("advent", "alignment.weight=0.5")
RARE_CLASSES = (
    *("cbst_sp", "adaptation.rounds=1", "warm_up.rare_class_sampling=on", "adaptation.rare_class_sampling=on"),
    "adaptation.rare_class_sampling.domains=both",
)

BALANCED = (
    *("uplr", "alignment.rounds=2", "alignment.sampler.classes=1", "alignment.sampler.slope=20"),
    *("adaptation.selector.least_pixels=20", "alignment.discriminator_schedule=poly"),
)


ONLINE = (
    *("mic", "watch.every=3", "watch.stop=False", "adaptation.weighting=RunningThresholds"),
    "adaptation.weighting.initial=0.4",
)


MIXTURE = (
    *("drsl_plus", "adaptation.rounds=1", "adaptation.mixture.dimension=4", "adaptation.mixture.start=0.6"),
    *("adaptation.mixture.samples=50", "adaptation.mixture.restart_every=2"),
    "data.schedules.rounds.average_weights=0.9",
)


class Killed(BaseException):
    """Nothing of ours catches it, as nothing can catch SIGKILL."""


def kill_when(monkeypatch, name: str) -> None:
    """Kill at the moment when a file of this name is written but not in its place."""
    replace = os.replace

    def killed(source, destination):
        if Path(destination).name == name:
            raise Killed
        replace(source, destination)

    monkeypatch.setattr("training.files.atomic.os.replace", killed)


def kill_in_metrics(monkeypatch, stage: str, step: int) -> None:
    """Kill in the middle of a row of metrics.csv."""
    append = fitting.append_metrics

    def killed(path, of_stage, at_step, values):
        append(path, of_stage, at_step, values)
        if (of_stage, at_step) == (stage, step):
            path.write_bytes(path.read_bytes()[:-7])
            raise Killed

    monkeypatch.setattr(fitting, "append_metrics", killed)


@pytest.mark.slow
def test_a_second_head_without_weights_is_plain_cbst(start, tmp_path):
    without = [f"adaptation.mixture.{name}=0" for name in ("triplet", "cross_entropy", "consistency")]
    for name, more in (("plain", []), ("head", ["adaptation.mixture=on", *without])):
        command = options(tmp_path, "cbst", "adaptation.rounds=1", *more)
        assert start([*command, "--out", str(tmp_path / name)]) == 0
    plain, head = (left_by(tmp_path / name) for name in ("plain", "head"))
    assert set(plain) == set(head)
    same = [name for name in plain if name.endswith((".h5", ".npz", ".png", ".csv"))]
    assert any(name.startswith("checkpoints/round_1") for name in same)
    assert {name: plain[name] for name in same} == {name: head[name] for name in same}


@pytest.mark.parametrize(
    ("recipe", "places"),
    [
        (MEAN_TEACHER, ["recipe.json", "source-0000004.npz", "target2.png", ("round_1", 4), "state.json"]),
        (ADVERSARIAL, ["partial.sha256", ("alignment", 4)]),
        (ONLINE, ["online_3.lasting.npz", ("online_5", 4)]),
        pytest.param(RARE_CLASSES, ["class_counts_source.npy", ("round_1", 4)], marks=pytest.mark.slow),
        (MIXTURE, [("source", 5), ("round_1", 4)]),  # after k-means
        (BALANCED, [("alignment_2", 8), ("round_1", 4)]),
    ],
    ids=["mean_teacher", "adversarial", "online", "rare_classes", "mixture", "balanced"],
)
def test_killed_again_and_again_it_ends_as_the_one_that_was_not(start, tmp_path, recipe, places):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = options(tmp_path, *recipe)
    assert start([*command, "--out", str(whole)]) == 0
    again = [*command, "--out", str(killed)]
    for place in places:
        with pytest.MonkeyPatch.context() as patch:
            kill_in_metrics(patch, *place) if isinstance(place, tuple) else kill_when(patch, place)
            with pytest.raises(Killed):
                start(again)
        again = ["--resume", str(killed)] if (killed / "recipe.json").exists() else again
    assert start(again) == 0
    assert left_by(killed) == left_by(whole)


def test_a_photo_that_cannot_be_used_stays_out_of_the_resumed_run_removed_or_not(start, tmp_path, capsys):
    photo = tmp_path / "target" / "images" / "broken.jpg"
    photo.write_bytes(b"")
    command, whole, killed = options(tmp_path, "source_only"), tmp_path / "whole", tmp_path / "killed"
    assert start([*command, "--out", str(whole)]) == 0
    said = capsys.readouterr().out
    assert said.index("Left out of the 5 photos of images, for they cannot be used: 1 file (broken.jpg)") < said.index(
        "Warm-up"
    )
    with pytest.MonkeyPatch.context() as patch:
        kill_in_metrics(patch, "source", 4)
        with pytest.raises(Killed):
            start([*command, "--out", str(killed)])
    with pytest.MonkeyPatch.context() as patch:
        kill_when(patch, "state.json")
        with pytest.raises(Killed):
            start(["--resume", str(killed)])
    assert "came after this run began" not in capsys.readouterr().out
    photo.unlink()
    assert start(["--resume", str(killed)]) == 0
    assert left_by(killed) == left_by(whole)
    report = (whole / "report" / "report.md").read_text()
    assert "| target | images | 4 |" in report
    assert "- Left out of the 5 photos of images" in report
