"""Batch-norm of a head, which no weights come with: it is trained where that of the backbone is frozen."""

from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from models.batch_norm import BatchNormalization, set_batch_norm
from models.catalogue import NETWORKS
from models.segmenter import build_segmenter
from tests.training.methods.tiny import batch, compiled
from tests.training.small_runs import options, two_layers
from training.methods.source_training import SourceTraining
from training.methods.terms import CrossEntropyTerm
from training.run_directory.paths import RunDirectory
from training.stages import online, plan

FROZEN = tuple(f"data.schedules.{name}.batch_norm=frozen" for name in ("warm_up", "online"))


@pytest.mark.parametrize(("name", "has_others"), [("segformer_mit_b0", False), ("daformer_mobilenet_v2", True)])
def test_a_warm_up_trains_the_statistics_of_the_head_alone(name, has_others):
    network = build_segmenter(name, 3)
    set_batch_norm(network, "frozen")
    before = {layer.name: layer.get_weights()[2:] for layer in norms_of(network)}
    method = compiled(SourceTraining(network, [CrossEntropyTerm("source")]))
    for _ in range(2):
        method.train_step({"source": batch(0)})
    after = {layer.name: layer.get_weights()[2:] for layer in norms_of(network)}
    backbone = [each for each in after if not each.startswith("head_")]
    assert bool(backbone) == has_others
    for each in after:
        kept = [np.array_equal(*pair) for pair in zip(before[each], after[each], strict=True)]
        assert kept == [each in backbone] * 2


def norms_of(network) -> list[BatchNormalization]:
    return [layer for layer in network.layers if isinstance(layer, BatchNormalization)]


def with_head_norm(experiment, classes: int) -> keras.Model:
    """`two_layers` with batch-norm in its head."""
    network = two_layers(experiment, classes)
    logits, features = network.output["logits"], network.output["features"]
    logits = BatchNormalization(momentum=0.5, name="head_norm")(logits)
    return keras.Model(network.inputs[0], {"logits": logits, "features": features}, name="two_layers")


def test_a_run_adapts_the_statistics_of_the_head_and_leaves_those_of_the_backbone(start, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "compact", replace(NETWORKS["compact"], head_norm=True))
    monkeypatch.setattr(plan, "build_network", with_head_norm)
    monkeypatch.setattr(online, "initial_network", with_head_norm)
    steps = ("data.schedules.warm_up.steps=2", "data.schedules.online.steps=2", "watch.every=2")
    assert start([*options(tmp_path, "dacs", *FROZEN, *steps), "--out", str(tmp_path / "run")]) == 0
    directory, _ = RunDirectory.reopen(tmp_path / "run")
    directory.unlock()
    found = {}
    for stage in ("source", "statistics", "online_2"):
        network = with_head_norm(SimpleNamespace(seed=0), 3)
        network.load_weights(directory.weights(stage))
        found[stage] = np.concatenate(network.get_layer("head_norm").get_weights()[2:])
        np.testing.assert_array_equal(network.get_layer("batch_norm").get_weights()[2:], [[0] * 8, [1] * 8])
    # Trained on the source; then the target's, of the weights as they are.
    assert not np.allclose(found["source"], [0, 0, 0, 1, 1, 1])
    assert not np.allclose(found["source"], found["statistics"])
    assert not np.allclose(found["statistics"], found["online_2"])
