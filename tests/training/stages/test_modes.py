"""What the modes are started from and judged by: the places and frames that training sees, in bounded memory."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from models.levels import with_levels
from models.segmenter import build_segmenter
from tests.training.methods.tiny import CLASSES, batch, give_levels, tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE
from tests.training.small_runs import options
from training.command_line import experiment_of, parse
from training.data.domains import load_domains
from training.methods.mixture import SOURCE_PLACES, mixture_head, mixture_terms
from training.methods.step import View, thin_label
from training.methods.term import TermContext
from training.run_directory.checkpoint import save_lasting
from training.settings.experiment import Model
from training.settings.losses import Mixture
from training.stages import modes, warm_up
from training.stages.modes import BATCH, EmbeddedPixels, embedded_pixels, figures_of, source_figures, start_modes
from training.stages.network import level_stride
from training.stages.plan import plan
from training.stages.stage import Run


@pytest.fixture(autouse=True)
def levels(monkeypatch):
    give_levels(monkeypatch)


def run_of(network, **more):
    """A run, as far as embeddings need one."""
    return SimpleNamespace(outputs_with_levels=with_levels(network), size=frame(0).shape[:2], **more)


EVERYTHING = Mixture(dimension=4, samples=999, label_reduction=2)


def head_of(network, settings=EVERYTHING, loss_stride=1):
    return mixture_head(mixture_terms(settings, TermContext(network, TINY_SPACE, 3, 20, loss_stride=loss_stride)))


@cache
def frame(position: int) -> np.ndarray:
    of_four = batch(position // 4)
    return np.dstack([each[position % 4].numpy().round().clip(0, 255) for each in of_four.values()]).astype(np.uint8)


@pytest.mark.parametrize(("loss_stride", "reduction"), [(4, 2), (3, 8)])
def test_the_report_draws_its_samples_where_training_does(loss_stride, reduction):
    network = tiny_network()
    head = head_of(network, replace(EVERYTHING, label_reduction=reduction), loss_stride)
    pixels = embedded_pixels(run_of(network), head, frame, 2, 999)
    # What training draws of the same images.
    frames = np.stack([frame(0), frame(1)])
    outputs = network(tf.constant(frames[..., :3], tf.float32))
    label = thin_label(tf.constant(frames[..., 3]), loss_stride)
    view = View(outputs["logits"], label, levels=[outputs["features"]], positions=tf.constant([0, 1], tf.int64))
    trained = head.of_view(view, SOURCE_PLACES)
    counts = trained.weight.numpy() > 0
    assert sorted(pixels.label) == sorted(trained.label.numpy()[counts])
    in_order = lambda values: values[np.lexsort(values.T)]  # noqa: E731
    np.testing.assert_allclose(in_order(pixels.values), in_order(trained.embeddings.numpy()[counts]), atol=1e-6)
    # Row and column are those of the image.
    np.testing.assert_array_equal(pixels.label, frames[pixels.image, pixels.row, pixels.column, 3])


def test_no_more_samples_are_kept_than_of_a_few_images_and_each_image_counts_alike(monkeypatch):
    held, joined = [], EmbeddedPixels.joined

    def noted(pixels, other):
        both = joined(pixels, other)
        held.append(len(both.label))
        return both

    monkeypatch.setattr(EmbeddedPixels, "joined", noted)
    network = tiny_network()
    run, head = run_of(network), head_of(network, replace(EVERYTHING, samples=10))
    pixels = embedded_pixels(run, head, frame, 40, 30)
    assert max(held) <= CLASSES * (30 + BATCH * 10)
    np.testing.assert_array_equal(np.bincount(pixels.label), [30] * CLASSES)
    late = (pixels.image > 19).mean()
    assert 0.35 < late < 0.65
    again = embedded_pixels(run, head, frame, 40, 30)
    np.testing.assert_array_equal(pixels.values, again.values)


def test_modes_start_from_the_frames_that_the_warm_up_sees(start, tmp_path, monkeypatch):
    unchanged = ("augmentation.scale=1,1", "augmentation.flip=0")
    translated = ("translation.warm_up=True", "translation.alongside=False", "translation.beta=0.2")
    statistics = "data.schedules.rounds.batch_norm=train"
    settings = [*translated, statistics, *(f"data.schedules.warm_up.{each}" for each in unchanged)]
    experiment = experiment_of(parse(options(tmp_path, "drsl", *settings)))
    # As in the second warm-up of a run: its baseline is finished, and no stage has taken the target's statistics.
    directory = SimpleNamespace(stages={"source": {}}, translated=None)
    run = Run(experiment, directory, load_domains(experiment), tiny_network(), plan(experiment))
    run.save_lasting = lambda method, stage: None
    monkeypatch.setattr(warm_up, "source_figures", lambda *_: {})
    run.take_statistics = lambda dataset: pytest.fail("the network has those of what it is trained on")
    stage = run.baseline
    seen = {}

    def trains(method, schedule, name, make_stream, *_, before_steps, **options):
        restart = lambda variable, anew: seen.update(restarted=variable, anew=anew)  # noqa: E731
        method.optimizer = SimpleNamespace(restart=restart, begin_late=lambda: seen.update(late=True))
        seen["trained"] = np.concatenate([each["source"]["image"] for each in make_stream().take(2)])
        for work in before_steps.values():
            work()

    def draws(run, head, frame, images, most, **options):
        seen.setdefault("started", np.stack([frame(position) for position in range(4)]))
        return embedded_pixels(run, head, frame, images, most, **options)

    monkeypatch.setattr(warm_up, "train_stage", trains)
    monkeypatch.setattr(modes, "embedded_pixels", draws)
    stage._train(run)
    np.testing.assert_allclose(seen["started"][..., :3], seen["trained"], atol=1e-3)
    assert (seen["restarted"].name, seen["anew"], seen["late"]) == ("modes", True, True)
    originals = [run.domains.source.read_image(index) for index in range(len(run.domains.source))]
    assert not any(np.array_equal(image, frame[..., :3]) for image in originals for frame in seen["started"])


def test_modes_of_another_run_are_gone_on_with_where_their_shapes_fit(tmp_path, monkeypatch, capsys):
    experiment = experiment_of(parse(["--recipe", "drsl"]))
    stages, lasting = {}, lambda name: tmp_path / f"{name}.npz"
    monkeypatch.setattr(modes, "term_context", lambda *_, **__: TermContext(tiny_network(), TINY_SPACE, 3, 1))
    run = SimpleNamespace(experiment=experiment, directory=SimpleNamespace(stages=stages, lasting=lasting))
    run.plan = plan(experiment)
    other = head_of(tiny_network(1))
    other.start_with(np.ones(other.modes.shape), np.ones(other.modes.shape[:2]))
    save_lasting(tmp_path / "other.npz", {"mixture": other.variables, "student": [np.zeros(2)]})
    source, last = run.plan[0], run.plan[-1]
    modes.take_modes(run, replace(EVERYTHING, modes=5), tmp_path / "other.npz", lasting(source.name))
    assert "has other shapes" in capsys.readouterr().out
    assert not lasting(source.name).exists()
    save_lasting(tmp_path / "asleep.npz", {"mixture": head_of(tiny_network(1)).variables})
    modes.take_modes(run, EVERYTHING, tmp_path / "asleep.npz", lasting(source.name))
    assert "had not begun yet" in capsys.readouterr().out
    assert not lasting(source.name).exists()
    modes.take_modes(run, EVERYTHING, tmp_path / "other.npz", lasting(source.name))
    stages[source.name] = {}
    head = head_of(tiny_network(2))
    assert modes.go_on_with_modes(run, last, head)
    np.testing.assert_array_equal(head.modes, 1)
    np.testing.assert_array_equal(head.block.get_weights()[0], other.block.get_weights()[0])
    assert float(head.active) == 1


@pytest.mark.parametrize(("loss_stride", "reduction", "told"), [(4, 2, "every 4th pixel"), (4, 8, ""), (1, 2, "")])
def test_a_label_reduction_without_effect_is_told(loss_stride, reduction, told, capsys):
    network = tiny_network()
    head = head_of(network, replace(EVERYTHING, label_reduction=reduction), loss_stride)
    domains = SimpleNamespace(source=[0] * 4, label_space=TINY_SPACE)
    statistics = lambda stage: nullcontext()  # noqa: E731
    run = run_of(network, domains=domains, source_statistics=statistics, experiment=SimpleNamespace(seed=0))
    start_modes(run, None, head, SimpleNamespace(frame=frame))
    said = " ".join(capsys.readouterr().out.split())
    assert (told in said) if told else ("can be a sample" not in said)
    # What the report of the warm-up says of the start.
    np.testing.assert_array_equal(head.start, head.modes)
    np.testing.assert_allclose(np.sum(head.start_shares, axis=1), 1, rtol=1e-6)


def test_figures_tell_use_distances_and_restarts_in_the_order_of_the_modes(monkeypatch):
    network = tiny_network()
    head = head_of(network, replace(EVERYTHING, modes=2, dimension=2, normalize=False))
    head.start_with([[[0, 0], [4, 0]], [[0, 3], [9, 9]], [[90, 0], [0, 90]]], [[0.9, 0.1], [0.5, 0.5], [np.nan] * 2])
    head.restarts.assign([2, 1, 0])
    values, label = np.float32([[0, 0], [4, 0], [4, 0], [9, 9]]), np.array([0, 0, 0, 1])
    pixels = EmbeddedPixels(values, label, *(np.zeros(4, int) for _ in range(4)))
    run = run_of(network, domains=SimpleNamespace(label_space=TINY_SPACE, source=None))
    run.source_statistics = lambda stage: nullcontext()
    found = figures_of(run, head, {"source": pixels, "target": pixels}, np.array([1, 1, 0]))
    expected = {"a": pytest.approx([1 / 3, 2 / 3]), "b": [0, 1], "c": None}
    assert found["source"] == found["target"] == expected
    assert found["moved"] == {"a": 1}
    assert found["distances"]["a"] == [4.0, 3.0]
    # After the warm-up, beside what k-means found.
    monkeypatch.setattr(modes, "some_pixels", lambda *_: pixels)
    after = source_figures(run, None, head)
    assert (after["source"], after["moved"]) == (expected, {"a": 2, "b": 1})
    assert after["start"]["source"] == {"a": pytest.approx([0.9, 0.1]), "b": [0.5, 0.5], "c": None}
    assert after["start"]["distances"] == after["distances"]
    assert "target" not in after


def test_of_many_modes_a_smaller_share_is_use(capsys):
    run = SimpleNamespace(domains=SimpleNamespace(label_space=TINY_SPACE))
    modes.say_usage(run, [np.array([0.03] * 20 + [0.005] * 5 + [0.075] * 5), None, None])
    assert "modes with 1.7 % of their class: 25 of 30; fewer of a 25" in capsys.readouterr().out


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(
            ("hiast", "alignment=off", "adaptation.rounds=1", "adaptation.strong_views=False"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("daformer", "watch.every=5", "watch.stop=False", "adaptation.mixture.consistency=0.1"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["hiast", "daformer"],
)
def test_the_head_takes_part_in_other_recipes(start, tmp_path, recipe):
    few = ("dimension=4", "samples=50", "start=0.6", "restart_every=2")
    settings = ("adaptation.mixture=on", *(f"adaptation.mixture.{each}" for each in few))
    out = tmp_path / "run"
    assert start([*options(tmp_path, *recipe, *settings), "--out", str(out)]) == 0
    summary = json.loads((out / "report" / "summary.json").read_text())
    last, source = summary["stages"][-1]["modes"], summary["source_modes"]
    assert set(last["source"]) == set(source["source"]) == set(source["start"]["source"]) == {"ground", "wall", "sky"}
    assert set(last["target"]) == set(last["distances"]) == set(last["source"])
    stage = summary["stages"][-1]["stage"]
    lines = [line for line in (out / "metrics.csv").read_text().splitlines() if line.startswith(stage)]
    assert any("mode_triplet" in line for line in lines)
    assert (out / "report" / f"mode_patches_{stage}.png").is_file()
    assert "after k-means" in (out / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    ("name", "output_stride", "expected"),
    [("compact", None, 16), ("deeplab_v3plus_mobilenet_v2", None, 16), ("deeplab_v2_mobilenet_v2", 8, 8)],
)
def test_the_block_is_told_the_stride_of_the_last_level(name, output_stride, expected):
    network = build_segmenter(name, 3, output_stride=output_stride)
    level = with_levels(network)(np.zeros((1, 64, 96, 3), np.float32))["levels"][-1]
    assert 64 // level.shape[1] == expected
    assert level_stride(Model(network=name, output_stride=output_stride)) == expected
