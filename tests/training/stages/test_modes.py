"""What the modes are started from and judged by: the places and frames that training sees, in bounded memory."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.methods.tiny import CLASSES, batch, tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE
from tests.training.small_runs import options
from training.command_line import experiment_of, parse
from training.data.domains import load_domains
from training.methods.mixture import SOURCE_PLACES, mixture_head, mixture_terms
from training.methods.step import View, thin_label
from training.methods.term import TermContext
from training.prediction.predictor import Predictor
from training.settings.losses import Mixture
from training.stages import modes, warm_up
from training.stages.modes import BATCH, EmbeddedPixels, embedded_pixels
from training.stages.plan import plan
from training.stages.stage import Run

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
    pixels = embedded_pixels(SimpleNamespace(predictor=Predictor(network)), head, frame, 2, 999)
    # What training draws of the same images.
    frames = np.stack([frame(0), frame(1)])
    outputs = network(tf.constant(frames[..., :3], tf.float32))
    label = thin_label(tf.constant(frames[..., 3]), loss_stride)
    view = View(outputs["logits"], label, features=outputs["features"], positions=tf.constant([0, 1], tf.int64))
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
    run, head = SimpleNamespace(predictor=Predictor(network)), head_of(network, replace(EVERYTHING, samples=10))
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
    run.take_statistics = lambda dataset: pytest.fail("the network has those of what it is trained on")
    stage = run.baseline
    seen = {}

    def trains(method, schedule, name, make_stream, *_, before_steps, **options):
        method.optimizer = SimpleNamespace(restart_average=lambda variable: seen.update(restarted=variable))
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
    assert seen["restarted"].name == "modes"
    originals = [run.domains.source.read_image(index) for index in range(len(run.domains.source))]
    assert not any(np.array_equal(image, frame[..., :3]) for image in originals for frame in seen["started"])
