"""Online self-training as stages of a run: parts, the choice between student and teacher, the control, refusals."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.small_runs import options, two_layers
from training.command_line import experiment_of, parse
from training.data.classes import LABEL_SPACES
from training.data.input_pipeline import TrainingStream
from training.errors import UserError
from training.evaluation.watch import Verdict
from training.methods.online_labels import ImageWeights
from training.progress import console
from training.run_directory.checkpoint import read_lasting
from training.run_directory.paths import RunDirectory
from training.stages import online
from training.stages.judging import Judgement, better_of
from training.stages.plan import _carry_out_all, plan
from training.stages.warm_start import warm_start_of

WHOLE, PARTS = "watch.every=5", "watch.every=2"
SHORT = (
    *("data.schedules.warm_up.steps=1", "data.schedules.online.steps=2"),
    *("adaptation.class_mix.jitter_probability=0", "adaptation.class_mix.blur_probability=0"),
)
SURE = ("watch.stop=False", "adaptation.weighting.threshold=0.3")  # a network of five steps is not surer


@pytest.fixture
def small(start, tmp_path, monkeypatch):
    monkeypatch.setattr(online, "initial_network", two_layers)
    return tmp_path


def stages(*settings: str, recipe: str = "dacs", more: tuple[str, ...] = ()):
    return plan(experiment_of(parse(["--recipe", recipe, "--smoke", *more, "--set", "watch.every=2", *settings])))


def finished(start, root, name: str, *settings: str, recipe: str = "dacs", more: tuple[str, ...] = ()) -> RunDirectory:
    """The directory of a run that is carried out."""
    sure = SURE if recipe in ("dacs", "daformer") else ()  # others have no weighting
    assert start([*options(root, recipe, *sure, *settings), *more, "--out", str(root / name)]) == 0
    directory, _ = RunDirectory.reopen(root / name)
    directory.unlock()
    return directory


def assert_equal(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for group, arrays in ours.items():
        for first, second in zip(arrays, theirs[group], strict=True):
            np.testing.assert_array_equal(first, second, err_msg=group)


def test_the_training_is_cut_where_the_watch_judges():
    schedule = "data.schedules.online.steps=7"
    names = [stage.name for stage in stages(schedule)]
    assert names[-4:] == ["online_2", "online_4", "online_6", "online_7"]
    assert [(stage.first, stage.last) for stage in stages(schedule)[-4:]] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert [stage.name for stage in stages(schedule, "watch.every=100")][-1:] == ["online_7"]
    quarters = [stage.name for stage in stages("data.schedules.online.steps=8", "watch.every=None")]
    assert quarters[-4:] == ["online_2", "online_4", "online_6", "online_8"]


@pytest.mark.parametrize("batch_norm", ["train", pytest.param("frozen", marks=pytest.mark.slow)])
def test_a_training_in_parts_is_the_training_in_one(start, small, batch_norm, monkeypatch):
    """Bit for bit: student, teacher, optimiser, thresholds of the labels, figures of both networks at the end.

    The streams of a part end with it: what later parts show is not decoded ahead.
    """
    ends, batches = [], TrainingStream.batches
    monkeypatch.setattr(TrainingStream, "batches", lambda self, *of: ends.append(self.steps) or batches(self, *of))
    settings = (
        *("adaptation.weighting=RunningThresholds", f"data.schedules.online.batch_norm={batch_norm}"),
        *("adaptation.weighting.initial=0.4", "adaptation.losses.masked=on", "watch.stop=False"),
    )
    left = {}
    for name, every in (("whole", WHOLE), ("parts", PARTS)):
        assert start([*options(small, "dacs", *settings, every), "--out", str(small / name)]) == 0
        directory = RunDirectory(small / name)
        kept = read_lasting(directory.lasting("online_5"))
        if batch_norm == "train":
            # The teacher's moving statistics, which nothing uses there, are the student's from before a cut.
            moving = ("moving_mean", "moving_variance")
            names = [weight.name for weight in two_layers(SimpleNamespace(seed=0), 3).weights]
            kept["teacher"] = [v for v, name in zip(kept["teacher"], names, strict=True) if name not in moving]
            assert len(kept["teacher"]) == 6
        left[name] = (kept, directory.stages["online_5"]["candidates"])
        trained = [steps for steps in ends if steps > 1]  # a picture takes one
        assert trained == [5, 5, 5] if name == "whole" else [*[5] * 4, 2, 2, 4, 4, 5, 5]
    assert_equal(left["parts"][0], left["whole"][0])
    ours, theirs = left["parts"][1], left["whole"][1]
    for candidate in ("student", "teacher"):
        assert ours[candidate]["scores"] == theirs[candidate]["scores"]
    assert {"student", "teacher", "optimizer", "labels"} <= set(left["whole"][0])
    thresholds = left["whole"][0]["labels"][0]
    assert (thresholds != 0.4).any()


@pytest.mark.slow  # `methods/test_online_teacher.py` has it for single steps
def test_the_control_does_not_depend_on_the_labels_of_the_teacher(start, small, monkeypatch):
    """With a target weight of 0; with 1 the same change shows."""

    def lasting(name, *settings):
        directory = finished(start, small, name, *SHORT, "watch.every=2", "adaptation.losses.masked=on", *settings)
        return read_lasting(directory.lasting("online_2"))

    control, learnt = lasting("control", "adaptation.target_weight=0"), lasting("learnt")
    by_teacher = ImageWeights.__call__
    monkeypatch.setattr(ImageWeights, "__call__", lambda self, probs, region: by_teacher(self, 1 - probs, region))
    assert_equal(lasting("other_control", "adaptation.target_weight=0"), control)
    other = lasting("other")["student"]
    assert any((first != second).any() for first, second in zip(other, learnt["student"], strict=True))
    assert any((first != second).any() for first, second in zip(control["student"], learnt["student"], strict=True))


ROUND = ("adaptation.rounds=1", "data.schedules.rounds.steps=2", SHORT[0])
ALIGNMENT = ("alignment.rounds=2", "data.schedules.alignment.steps=1", "watch.stop=False", SHORT[0])


@pytest.mark.parametrize(
    ("recipe", "stage", "part", "settings"),
    [
        pytest.param("dacs", "online_2", "adaptation", (*SHORT, "watch.every=2"), marks=pytest.mark.slow),
        ("cbst", "round_1", "adaptation", ROUND),
        pytest.param("adaptseg", "alignment_2", "alignment", ALIGNMENT, marks=pytest.mark.slow),
    ],
    ids=["online", "rounds", "alignment"],
)
def test_a_blend_lies_between_the_model_before_and_the_trained_one(
    start, small, monkeypatch, recipe, stage, part, settings
):
    """What the training goes on with is not changed by it."""
    monkeypatch.setattr(online, "better_of", lambda judged: "teacher")  # they differ by less than the watch can tell
    of = {
        share: finished(start, small, f"{recipe}{share}", *settings, f"{part}.blend={share}", recipe=recipe)
        for share in (1, 0.25)
    }
    networks = {}
    for share, name in ((1, "source"), (1, stage), (0.25, stage)):
        network = two_layers(SimpleNamespace(seed=0), 3)
        network.load_weights(of[share].weights(name))
        networks[share, name] = network.get_weights()[0]
    before, after = networks[1, "source"], networks[1, stage]
    np.testing.assert_allclose(networks[0.25, stage], before + 0.25 * (after - before), rtol=1e-6, atol=1e-7)
    assert not np.allclose(before, after)
    if recipe == "dacs":
        kept = [read_lasting(of[share].lasting(stage))["student"][:1] for share in of]
        assert_equal({"kernel": kept[0]}, {"kernel": kept[1]})
    if recipe == "adaptseg":  # rounds before the last are not blended
        assert of[1].weights("alignment_1").read_bytes() == of[0.25].weights("alignment_1").read_bytes()
        assert_equal(*(read_lasting(of[share].lasting(stage)) for share in of))


@pytest.mark.parametrize(
    "setting", ["adaptation.blend=0.5", "alignment=on", "logit_adjustment=0.25", "label_shift=0.5"]
)
def test_what_goes_on_from_the_warm_up_is_refused_for_a_training_that_does_not(setting):
    with pytest.raises(UserError, match=setting.split("=")[0].replace(".", r"\.")):
        stages("adaptation.start=imagenet", setting)[-1].check()


def test_without_the_warm_ups_weights_the_modes_start_after_a_part_of_the_steps():
    """Of the training, not of each stage; the warm-up has no head, which would not be used."""
    head = ("adaptation.mixture=on", "adaptation.mixture.start=0.5", "data.schedules.online.steps=8", "watch.every=2")
    source, *_, last = stages("adaptation.start=imagenet", *head)
    last.check()
    assert source.mixture is None
    assert online.start_of_modes(last.settings, last.schedule) == 4
    source, *_, last = stages(*head)
    assert source.mixture == last.settings.mixture
    assert online.start_of_modes(last.settings, last.schedule) is None
    assert online.start_of_modes(replace(last.settings, start="imagenet", mixture=None), last.schedule) is None


@pytest.mark.slow
def test_they_start_in_the_part_that_reaches_that_step(start, small):
    """Parts of the steps 0 and 1, 2 and 3; the modes start before step 3, and teach nothing before."""
    head = ("=on", ".dimension=4", ".samples=50", ".start=0.75")
    settings = ("data.schedules.online.steps=4", *(f"adaptation.mixture{each}" for each in head))
    finished(start, small, "run", "adaptation.start=imagenet", PARTS, *settings, recipe="daformer")
    lines = [line.split(",") for line in (small / "run" / "metrics.csv").read_text().splitlines()]
    taught = {stage: float(value) for stage, _, name, value in lines if name == "mode_triplet"}
    assert taught["online_2"] == 0 < taught["online_4"]


def test_a_warm_start_is_refused_for_a_training_that_does_not_begin_with_it(start, small):
    first = finished(start, small, "first", WHOLE).path
    settings = ("--warm-start", str(first), "--set", "adaptation.start=imagenet")
    assert start([*options(small, "dacs"), *settings, "--out", str(small / "second")]) == 2


def test_from_the_weights_before_the_warm_up(start, small):
    """One step of an imperceptible rate: the student is the network as it was built, or as the warm-up left it."""
    settings = ("data.schedules.online.steps=1", "data.schedules.online.optimizer.learning_rate=1e-9")
    built = two_layers(SimpleNamespace(seed=7), 3).get_weights()
    for begin, same in (("imagenet", True), ("warm_up", False)):
        directory = finished(start, small, begin, f"adaptation.start={begin}", *settings)
        student = read_lasting(directory.lasting("online_1"))["student"]
        assert np.allclose(student[0], built[0], atol=1e-6) == same


def test_a_labelled_share_takes_the_place_of_the_source(start, small):
    directory = finished(start, small, "run", WHOLE, more=("--labelled-share", "1/2"))
    summary = json.loads((directory.report / "summary.json").read_text())
    assert "(2 labelled)" in summary["source"]
    assert list(directory.stages)[-1] == "online_5"


@pytest.mark.parametrize("winner", ["student", pytest.param("teacher", marks=pytest.mark.slow)])
def test_the_better_of_student_and_teacher_is_the_result_and_the_report_says_which(
    start, small, monkeypatch, capsys, winner
):
    monkeypatch.setattr(online, "better_of", lambda judged: winner)
    directory = finished(start, small, winner, PARTS, "watch.collapse_drift=10", "watch.collapse_lost_share=10")
    figures, lasting = directory.stages["online_4"], read_lasting(directory.lasting("online_4"))
    assert figures["result"] == winner
    assert set(figures["candidates"]) == {"student", "teacher"}
    for key in ("scores", "source_scores", "verdict"):
        assert figures[key] == figures["candidates"][winner][key]
    assert figures["student_scores"] == figures["candidates"]["student"]["scores"]
    assert 0 <= figures["candidates_agreement"] <= 1
    network = two_layers(SimpleNamespace(seed=0), 3)
    network.load_weights(directory.weights("online_4"))
    np.testing.assert_array_equal(network.get_weights()[0], lasting[winner][0])
    assert not np.array_equal(lasting["student"][0], lasting["teacher"][0])
    summary = json.loads((directory.report / "summary.json").read_text())
    phrases = [entry["phrase"] for entry in summary["stages"] if entry["stage"].startswith("online_")]
    assert phrases == [f"of the {winner} after step {step} of 5" for step in (2, 4, 5)]
    assert f"Step 4, the {winner}: " in (directory.report / "report.md").read_text()
    assert f"the {winner}: label-free gain" in capsys.readouterr().out


def verdict(score: float, collapse: bool = False) -> Judgement:
    nothing = {"refused": (), "measured": {}, "lost": 0.0, "lost_class": None, "source_change": None}
    said = Verdict(score=score, shares=(1.0,), collapse=collapse, sentence="", **nothing)
    return Judgement(None, None, None, said)


@pytest.mark.parametrize(
    ("student", "teacher", "better"),
    [
        (verdict(0.5), verdict(0.4), "student"),
        (verdict(0.4), verdict(0.5), "teacher"),
        (verdict(0.5), verdict(0.5), "teacher"),
        (verdict(0.5, True), verdict(0.1), "teacher"),
        (verdict(0.1), verdict(0.5, True), "student"),
        (verdict(0.5, True), verdict(0.1, True), "student"),
    ],
)
def test_the_better_is_by_score_among_what_did_not_collapse(student, teacher, better):
    assert better_of({"student": student, "teacher": teacher}) == better


def test_a_collapse_ends_the_training(start, small):
    directory = finished(start, small, "run", PARTS, "watch.stop=True", "watch.collapse_drift=0", "watch.patience=1")
    names = list(directory.stages)
    assert "online_5" not in names
    assert all(each["verdict"]["collapse"] for each in directory.stages[names[-1]]["candidates"].values())


@pytest.mark.parametrize(
    ("patience", "collapses", "said"),
    [
        (1, (False, True, True), ["The watch stops here: Step 1"]),
        (2, (True, True, True), ["The watch waits: Step 0", "The watch stops here: Step 1"]),
        (2, (True, False, True), ["The watch waits: Step 0", "The watch waits: Step 2"]),
    ],
)
def test_as_many_collapses_in_a_row_as_the_patience_end_the_training(monkeypatch, patience, collapses, said):
    parts = [SimpleNamespace(name=f"{number}", title=f"Step {number}", ends_run=patience) for number in range(3)]
    verdicts = {f"{number}": {"verdict": {"collapse": each, "sentence": ""}} for number, each in enumerate(collapses)}
    recipe = SimpleNamespace(watch=SimpleNamespace(stop=True))
    run = SimpleNamespace(
        plan=parts, directory=SimpleNamespace(stages=verdicts), experiment=SimpleNamespace(recipe=recipe)
    )
    printed = []
    monkeypatch.setattr(console, "print", lambda text, **_: printed.append(text.removesuffix(": ")))
    _carry_out_all(run)
    assert printed == said


def test_without_imagenet_weights_there_is_no_feature_distance_and_a_sentence_says_so(start, small, capsys):
    finished(start, small, "run", WHOLE, recipe="daformer")
    assert "No feature distance: this network has no ImageNet weights to stay near" in capsys.readouterr().out
    header = (small / "run" / "metrics.csv").read_text()
    assert "feature_distance" not in header


def test_margins_are_left_out_of_the_labels_of_the_teacher(start, small, monkeypatch):
    regions = []
    by_teacher = ImageWeights.__call__

    def seen(self, probs, region):
        if not tf.is_symbolic_tensor(region):  # the estimate of the memory traces the step
            regions.append(region.numpy())
        return by_teacher(self, probs, region)

    monkeypatch.setattr(ImageWeights, "__call__", seen)
    flat = ("data.schedules.online.augmentation.scale=1,1", "data.schedules.online.augmentation.flip=0")
    finished(start, small, "run", WHOLE, "data.label_margins=0.25,0.5,0,0", *flat)
    assert {tuple(region.mean(axis=(0, 2)).tolist()) for region in regions} == {(0,) * 16 + (1,) * 16 + (0,) * 32}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["adaptation.losses.consistency=on"], "needs the pseudo-labels of adaptation: online self-training cannot"),
        (["adaptation.rare_class_sampling=on", "adaptation.rare_class_sampling.domains=both"], "leave it at source"),
        (["data.label_margins=0.5,0.5,0,0"], "leave nothing of the target's frames to label"),
        (["data.label_margins=0,0,0.2,0.9"], "leave nothing of the target's frames to label"),
        (["data.schedules.online.average_weights=0.99"], r"online\.average_weights is 0\.99, and the teacher"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(settings, words):
    with pytest.raises(UserError, match=words):
        stages(*settings)[-1].check()


def test_another_model_cannot_label_for_an_online_recipe(start, small):
    experiment = experiment_of(parse(options(small, "dacs")))
    directory = RunDirectory.create(small / "run", experiment, (), {"path": "theirs.onnx", "pixels": None})
    with pytest.raises(UserError, match="'dacs' has none: choose one with rounds, such as cbst"):
        warm_start_of(directory, experiment, LABEL_SPACES["camvid11"], "source", None)
