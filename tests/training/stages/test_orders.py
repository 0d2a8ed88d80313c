"""Rare class sampling as a part of warm-up and rounds: counted once, kept, drawn, told; and what it refuses."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.training.small_runs import options, two_layers
from training.command_line import experiment_of, parse
from training.data import domains as domains_module
from training.data.augment import SampleAugmentation
from training.data.domains import load_domains
from training.data.samples import Dataset
from training.data.sampling import Permutation, RareClasses
from training.errors import UserError
from training.run_directory.paths import RunDirectory
from training.settings.sampling import RareClassSampling
from training.stages import rounds, warm_up
from training.stages.orders import class_counts, order_figures, showing, source_order, target_order
from training.stages.plan import plan

ROOT = Path(__file__).resolve().parents[3]
IN_BOTH = ("warm_up.rare_class_sampling=on", "adaptation.rare_class_sampling=on", "adaptation.rounds=1")


def with_labels(root: Path, labels: list[np.ndarray], domain: str = "source") -> None:
    """Give the images of a domain these labels, and images of their sizes; what is left over goes."""
    for index, path in enumerate(sorted((root / domain / "labels").glob("*.png"))):
        image = root / domain / "images" / path.name
        if index >= len(labels):
            path.unlink()
            image.unlink()
            continue
        Image.fromarray(labels[index].astype(np.uint8)).save(path)
        Image.fromarray(np.stack([80 * (labels[index] % 3)] * 3, -1).astype(np.uint8)).save(image)


def with_rare_sky(root: Path) -> None:
    """Class 2 in a corner of the fourth image alone; 0 and 1 half and half."""
    labels = [np.repeat([0, 1], 32)[:, None].repeat(64, 1) for _ in range(5)]
    labels[3][:16, :16] = 2
    with_labels(root, labels)


def run_of(root: Path, *settings: str, recipe: str = "cbst"):
    """What `source_order` takes of a run that is about to begin."""
    experiment = experiment_of(parse(options(root, recipe, *settings)))
    directory = RunDirectory.create(root / "run", experiment)
    directory.unlock()
    domains = load_domains(experiment)
    return SimpleNamespace(experiment=experiment, directory=directory, domains=domains, size=experiment.data.size)


@pytest.fixture
def small(start, tmp_path) -> Path:
    """A folder with the data of a small run."""
    return tmp_path


@pytest.fixture
def streams(monkeypatch) -> dict[str, list]:
    """The streams that the stages of runs in this process make, by name."""
    made = {"source": [], "target": []}

    def spied(module):
        original = module.side_by_side

        def side_by_side(**of_stage):
            for name, stream in of_stage.items():
                made[name].append(stream)
            return original(**of_stage)

        monkeypatch.setattr(module, "side_by_side", side_by_side)

    spied(rounds)
    spied(warm_up)
    return made


def share_that_shows(stream, wanted: int) -> float:
    """Of the images in the batches of a stream."""
    return float(np.mean([(label == wanted).any() for batch in stream.batches() for label in batch["label"].numpy()]))


@pytest.mark.slow
def test_the_rare_class_is_seen_more_often_in_warm_up_and_round(start, small, streams):
    with_rare_sky(small)
    shown = {}
    for name, settings in (("alike", IN_BOTH[2:]), ("rare", IN_BOTH)):
        command = options(small, "cbst", *settings, "data.minimum_source_images=5")
        assert start([*command, "--out", str(small / name)]) == 0
        shown[name] = [share_that_shows(stream, 2) for stream in streams["source"]]
        streams["source"].clear()
    assert max(shown["alike"]) <= 0.3
    assert min(shown["rare"]) >= 0.8


def test_without_the_part_the_streams_are_as_they_were(start, small, streams):
    assert start([*options(small, "cbst_sp", "adaptation.rounds=1"), "--out", str(small / "run")]) == 0
    before, in_round = streams["source"]
    np.testing.assert_array_equal(before.order.chosen, np.arange(5))
    assert type(in_round.order) is Permutation
    assert len(in_round.order.chosen) == 2
    assert {each.augmentation.redraws for each in (before, in_round, *streams["target"])} == {0}
    assert not list((small / "run").glob("class_counts_*"))
    assert "Rare class sampling" not in (small / "run" / "report" / "report.md").read_text()


def test_figures_files_and_report(start, small, capsys):
    with_rare_sky(small)
    more = ("adaptation.rare_class_sampling.domains=both", "data.minimum_source_images=5")
    assert start([*options(small, "cbst_sp", *IN_BOTH, *more), "--out", str(small / "run")]) == 0
    directory, _ = RunDirectory.reopen(small / "run")
    counts = np.load(directory.class_counts("source"))
    assert counts.dtype == np.int64
    assert counts[3].tolist() == [32 * 64 - 256, 32 * 64, 256]
    of_source = directory.stages["source"]["rare_class_sampling"]["source"]
    assert list(of_source) == ["sky", "ground", "wall"]
    assert of_source["sky"]["images"] == 1
    assert of_source["sky"]["drawn"] > 0.99
    assert set(directory.stages["round_1"]["rare_class_sampling"]) == {"source", "target"}
    # The file is one stage's alone: doing another stage again leaves it.
    listed = [name for name in ("source", "round_1") if "class_counts" in directory.digests(name).read_text()]
    assert listed == ["source"]
    report = (directory.report / "report.md").read_text()
    assert "### Images of the source (Round 1)" in report
    assert "| sky | 1.250 % | 1 | 100.0 % |" in report
    said = capsys.readouterr().out
    assert "rare class sampling of the source: images are drawn for sky 100.0%" in said
    assert "rare class sampling of the target" in said


def test_the_oracle_counts_the_labels_that_it_learns_from(start, small):
    command = options(small, "oracle", "warm_up.rare_class_sampling=on")
    command[command.index(str(small / "target" / "images"))] = str(small / "target")
    assert start([*command, "--out", str(small / "run")]) == 0
    directory, _ = RunDirectory.reopen(small / "run")
    assert np.load(directory.class_counts("target")).shape == (4, 3)
    assert set(directory.stages["source"]["rare_class_sampling"]) == {"target"}


def test_every_label_is_read_once_and_counted_at_the_size_of_the_data(small, monkeypatch):
    labels = [np.full((64, 64), 0), np.full((32, 96), 1), np.full((200, 100), 2), np.full((64, 64), 255)]
    labels[0][:16] = 1
    labels[1][:, :24] = 255
    with_labels(small, labels)
    monkeypatch.setattr(domains_module, "PRIOR_LABELS", 2)
    run, read = run_of(small), Counter()
    original = Dataset.read_label

    def counting(dataset, index):
        read[dataset.samples[index].name] += 1
        return original(dataset, index)

    monkeypatch.setattr(Dataset, "read_label", counting)
    shares = run.domains.source_shares
    counts = class_counts(run, "source")
    assert counts.tolist() == [[3072, 1024, 0], [0, 3072, 0], [0, 0, 4096], [0, 0, 0]]
    assert read == dict.fromkeys([f"source{index}" for index in range(4)], 1)
    np.testing.assert_array_equal(shares, [0.75, 0.25, 0])  # of the first and the last label alone
    assert not run.domains.all_source_labels_counted
    np.testing.assert_array_equal(class_counts(run, "source"), counts)
    assert max(read.values()) == 1


def test_counts_of_another_data_set_are_refused(small):
    run = run_of(small)
    np.save(run.directory.class_counts("source"), np.zeros((3, 3), np.int64))
    with pytest.raises(UserError, match=r"int64 of shape \(3, 3\), where this run has int64 of shape \(5, 3\)"):
        class_counts(run, "source")


def test_a_part_of_the_source_with_the_frequencies_of_all(small):
    with_rare_sky(small)
    run, sampling = run_of(small), RareClassSampling(temperature=0.5)
    whole, part = source_order(run, sampling), source_order(run, sampling, np.array([1, 4]))
    assert set(part.indices(0, 200, seed=0).tolist()) == {1, 4}
    assert set(whole.indices(0, 200, seed=0).tolist()) == set(range(5))
    np.testing.assert_array_equal(part.frequencies, whole.frequencies)
    assert part.class_probabilities[2] == 0  # sky is in image 3
    assert source_order(run, None) is None
    assert source_order(run, None, np.array([1, 4])).chosen.tolist() == [1, 4]


def test_a_class_that_never_occurs_is_left_out_and_named(small, capsys):
    with_labels(small, [np.repeat([0, 1], 32)[:, None].repeat(64, 1) for _ in range(5)])
    order = source_order(run_of(small), RareClassSampling())
    assert order.class_probabilities.tolist() == [0.5, 0.5, 0]
    assert "left out, for no image shows more than 0.15% of it: sky" in capsys.readouterr().out
    assert order_figures({"source": order}, ("a", "b", "c"))["rare_class_sampling"]["source"]["c"] == {
        "pixels": 0.0,
        "images": 0,
        "drawn": 0.0,
    }


def test_a_source_of_one_image(small):
    with_labels(small, [np.eye(64) * 2])
    order = source_order(run_of(small), RareClassSampling(), np.array([0]))
    assert set(order.indices(0, 20, seed=0).tolist()) == {0}
    assert order.classes(0, 20, seed=0).tolist() == [2] * 20


def test_a_part_without_labels_is_drawn_alike_and_said_so(small, capsys):
    labels = [np.full((64, 64), 255) for _ in range(5)]
    labels[0][:] = 1
    with_labels(small, labels)
    order = source_order(run_of(small), RareClassSampling(), np.array([2, 3]))
    assert order.chosen.tolist() == [2, 3]
    assert "no image of this part of the source shows enough of any class" in capsys.readouterr().out


def test_a_share_that_no_image_reaches_ends_the_run_with_a_sentence(start, small, capsys):
    settings = ("warm_up.rare_class_sampling=on", "warm_up.rare_class_sampling.least_share=0.99")
    assert start([*options(small, "source_only", *settings), "--out", str(small / "run")]) == 2
    assert "No image shows more than 99.00% of any class" in capsys.readouterr().err


def test_the_target_by_its_pseudo_labels(capsys):
    counts = np.array([[50, 50, 0], [0, 0, 0], [99, 0, 1]])
    found = SimpleNamespace(image_counts=counts, class_names=("a", "b", "c"))
    order = target_order(found, RareClassSampling(temperature=0.01))
    assert set(order.indices(0, 50, seed=0).tolist()) == {2}
    assert set(order.classes(0, 50, seed=0).tolist()) == {2}
    assert target_order(found, None) is None
    nothing = SimpleNamespace(image_counts=np.zeros((3, 3), np.int64), class_names=("a", "b", "c"))
    assert target_order(nothing, RareClassSampling()) is None
    assert "no pseudo-label shows enough of any class" in capsys.readouterr().out


def test_crops_are_drawn_again_for_the_class_of_the_image_only():
    plain, sampling = SampleAugmentation((8, 8)), RareClassSampling(crop_draws=7, crop_share=0.02, crop_most_share=0.6)
    by_class = RareClasses.from_counts(np.array([[3, 1]]))
    assert showing(plain, None, by_class) is plain
    assert showing(plain, sampling, Permutation([0])) is plain
    shown = showing(plain, sampling, by_class)
    assert (shown.redraws, shown.wanted_share, shown.most_share) == (7, 0.02, 0.6)


def experiment(recipe: str, *settings: str):
    return experiment_of(parse(["--recipe", recipe, "--smoke", "--set", *settings]))


def test_the_part_is_set_from_the_command_line():
    settings = ("adaptation.rare_class_sampling=on", "adaptation.rare_class_sampling.temperature=0.1")
    recipe = experiment("cbst_sp", *settings, "warm_up.rare_class_sampling=RareClassSampling").recipe
    assert recipe.adaptation.rare_class_sampling == RareClassSampling(temperature=0.1)
    assert recipe.warm_up.rare_class_sampling == RareClassSampling()
    off = experiment("cbst_sp", *settings[:1], "adaptation.rare_class_sampling=off").recipe
    assert off.adaptation.rare_class_sampling is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("temperature", "0"), ("least_share", "1"), ("crop_draws", "-1"), ("crop_most_share", "0"), ("domains", "target")],
)
def test_values_out_of_their_range_are_refused(key, value):
    with pytest.raises(UserError, match=key):
        experiment("cbst", "adaptation.rare_class_sampling=on", f"adaptation.rare_class_sampling.{key}={value}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("adaptation.rare_class_sampling=on", "adaptation.source_share=off", "data.keep_source=False"),
            "no source image takes part in the rounds",
        ),
        (
            ("warm_up.rare_class_sampling=on", "warm_up.rare_class_sampling.domains=both"),
            "the warm-up has images of one domain alone",
        ),
    ],
)
def test_a_part_that_would_do_nothing_is_refused(settings, message):
    def check() -> None:
        for stage in plan(experiment("cbst", *settings)):
            stage.check()

    with pytest.raises(UserError, match=message):
        check()


def test_rounds_without_a_source_sample_the_target_alone(start, small, streams, capsys):
    settings = (*IN_BOTH[1:], "adaptation.rare_class_sampling.domains=both", "adaptation.source_share=off")
    command = options(small, "cbst", *settings, "data.keep_source=False")
    assert start([*command, "--out", str(small / "run")]) == 0
    assert type(streams["target"][-1].order) is RareClasses
    assert not list((small / "run").glob("class_counts_*"))


ON_DEVICES = """
import sys
from pathlib import Path

from tests.training.small_runs import two_layers
from training import run as run_script
from training.evaluation import charts
from training.stages import plan

plan.build_network, charts.write_charts, run_script._export = two_layers, lambda *_: {}, lambda *_: None
sys.exit(run_script.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_devices_draw_and_train_as_one(small):
    command = options(small, "cbst", *IN_BOTH, "adaptation.rare_class_sampling.domains=both")
    counts, drawn, weights = [], [], []
    for devices in ("cpu", "cpu:0,1"):
        out = small / devices.replace(":", "_")
        line = [sys.executable, "-c", ON_DEVICES, *command, "--devices", devices, "--out", str(out)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        directory, settings = RunDirectory.reopen(out)
        counts.append(np.load(directory.class_counts("source")))
        drawn.append([directory.stages[name]["rare_class_sampling"]["source"] for name in ("source", "round_1")])
        network = two_layers(settings, 3)
        weights.append([])
        for name in ("source", "round_1"):
            network.load_weights(directory.weights(name))
            weights[-1] += network.get_weights()
    np.testing.assert_array_equal(*counts)
    assert drawn[0] == drawn[1]
    for alone, several in zip(*weights, strict=True):
        np.testing.assert_allclose(several, alone, atol=1e-4)
