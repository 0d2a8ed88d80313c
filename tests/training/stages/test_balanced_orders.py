"""Soft-balance sampling in rounds of alignment, kept in self-training with the adversarial term."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.training.small_runs import options, two_layers
from tests.training.stages.test_orders import ON_DEVICES, ROOT, with_labels
from training.command_line import experiment_of, parse
from training.data.sampling import Permutation, RareClasses, Weighted
from training.data.soft_balance import draw_probabilities, image_ratios
from training.errors import UserError
from training.methods.adversarial import AdversarialSelfTraining, AdversarialTraining
from training.presets import DATA
from training.progress import console
from training.run_directory.checkpoint import read_lasting
from training.run_directory.paths import RunDirectory
from training.settings.schedule import Optimizer
from training.settings.stages import Alignment
from training.stages import alignment, balanced_orders, fitting, rounds
from training.stages.plan import plan
from training.suited import SUITED

SHARP = ("alignment.sampler.slope=50", "alignment.sampler.shift=0.7")
ONE_CLASS = ("alignment.rounds=2", "alignment.sampler.classes=1", *SHARP)


def with_rare_sky(root: Path) -> None:
    """Class 2 in a corner of the fourth image alone; 0 and 1 half and half."""
    labels = [np.repeat([0, 1], 32)[:, None].repeat(64, 1) for _ in range(5)]
    labels[3][:16, :16] = 2
    with_labels(root, labels)


@pytest.fixture
def small(start, tmp_path) -> Path:
    with_rare_sky(tmp_path)
    return tmp_path


@pytest.fixture
def streams(monkeypatch) -> list:
    """The source's streams that the stages after the warm-up make."""
    made = []

    def spied(module):
        original = module.side_by_side

        def side_by_side(**of_stage):
            made.append(of_stage.get("source"))
            return original(**of_stage)

        monkeypatch.setattr(module, "side_by_side", side_by_side)

    spied(rounds)
    spied(alignment)
    return made


@pytest.fixture
def uncertain(monkeypatch):
    """As if the target had given these mean entropies; NaN stands for a lost class."""

    def given(*of_rounds):
        answers = iter(of_rounds)

        def entropies(run):
            found = balanced_orders.ClassEntropies(3)
            means = np.array(next(answers))
            found.pixels = np.where(np.isnan(means), 0, 100)
            found.sums = np.nan_to_num(means) * found.pixels
            return found

        monkeypatch.setattr(balanced_orders, "target_entropies", entropies)

    return given


def finished(start, root: Path, *settings: str, recipe: str = "uplr") -> RunDirectory:
    assert start([*options(root, recipe, *settings), "--out", str(root / "run")]) == 0
    return RunDirectory.reopen(root / "run")[0]


def test_each_round_draws_for_what_the_target_is_least_certain_of(start, small, streams, uncertain, capsys):
    uncertain((0.1, 0.2, 0.3), (0.1, 0.2, 0.9), (0.1, np.nan, 0.9))
    directory = finished(start, small, "alignment.rounds=3", *ONE_CLASS[1:], "alignment.sampler.unit=image")
    figures = [directory.stages[f"alignment_{number}"]["soft_balance"] for number in (1, 2, 3)]
    chosen = [[name for name, found in of_round.items() if found["chosen"]] for of_round in figures]
    assert chosen == [["sky", "ground", "wall"], ["sky"], ["wall"]]
    assert list(figures[0]) == ["sky", "ground", "wall"]  # the rarest first
    # Sky is in one of five images. Each round begins with the draws of the one before.
    sky = [of_round["sky"] for of_round in figures]
    assert sky[0]["before"] == pytest.approx(0.2)
    assert sky[1]["before"] == sky[0]["after"]
    assert sky[2]["before"] == sky[1]["after"] > 0.6
    assert sky[2]["after"] == pytest.approx(0.2)
    assert sky[1]["entropy"] == pytest.approx(0.9)
    assert sky[0]["pixels"] == pytest.approx(256 / 4096 / 5)
    assert figures[2]["wall"]["entropy"] is None
    assert figures[2]["wall"]["predicted"] == 0
    # The streams draw with these probabilities, and self-training keeps the last.
    assert all(type(stream.order) is Weighted for stream in streams)
    assert streams[1].order.probabilities[3] == pytest.approx(sky[1]["after"])
    np.testing.assert_allclose(streams[3].order.probabilities, streams[2].order.probabilities)
    said = capsys.readouterr().out
    assert "(mean entropy): sky 0.900" in said
    assert "(mean entropy): wall not predicted" in said
    assert "drawn as in the last round of alignment" in said
    # The report has the draws of every round.
    lines = (directory.report / "report.md").read_text().splitlines()
    titles = "alignment round 1 | alignment round 2 | alignment round 3"
    assert f"| class | of the labelled pixels | uniform sampling | {titles} |" in lines
    row = next(line for line in lines if line.startswith("| sky | 1.250 % | 20.0 % |"))
    assert row.count(" * (0.") == 2
    assert row.endswith("| 20.0 % (0.900) |")


def test_a_resumed_stage_draws_for_what_it_began_with(tmp_path, uncertain):
    """Also if this machine would measure something else; the next stage measures anew."""
    directory = RunDirectory(tmp_path)
    directory.begin("cityscapes19")
    space = SimpleNamespace(count=3)
    run = SimpleNamespace(directory=directory, domains=SimpleNamespace(label_space=space))
    uncertain((0.1, np.nan, 0.3), (0.3, 0.2, 0.1))
    for expected in ([10, 0, 30], [10, 0, 30]):
        np.testing.assert_allclose(balanced_orders.kept_entropies(run, "alignment_2").sums, expected)
    assert balanced_orders.kept_entropies(run, "alignment_2").pixels.tolist() == [100, 0, 100]
    # Those of another stage are not its own, also where a damaged state.json made the stage before unfinished again.
    np.testing.assert_allclose(balanced_orders.kept_entropies(run, "alignment_1").sums, [30, 20, 10])
    path = directory.partial_entropies("alignment_1")
    np.save(path, np.zeros((2, 4)))
    with pytest.raises(UserError, match=r"this run has float64 of shape \(2, 3\): delete it"):
        balanced_orders.kept_entropies(run, "alignment_1")
    directory.finish_stage("alignment_1", {})
    assert not path.exists()


def test_all_classes_need_no_pass_over_the_target(start, small, streams, monkeypatch):
    monkeypatch.setattr(balanced_orders, "target_entropies", lambda run: pytest.fail("not needed"))
    sampler = ("alignment.sampler=on", *SHARP)
    directory = finished(start, small, *sampler, recipe="advent")
    figures = directory.stages["alignment"]["soft_balance"]
    assert all(found["chosen"] and found["entropy"] is None for found in figures.values())
    assert figures["sky"]["after"] > 0.5 > figures["sky"]["before"]
    counts = np.load(directory.class_counts("source"))
    expected = draw_probabilities(image_ratios(counts), 50, 0.7)
    np.testing.assert_array_equal(streams[0].order.probabilities, expected)
    assert "class_counts_source" in directory.digests("alignment").read_text()


@pytest.mark.slow
def test_without_a_sampler_all_is_as_it_was(start, small, streams):
    directory = finished(start, small, "alignment.sampler=off", "alignment.rounds=1")
    assert [type(stream.order) for stream in streams] == [Permutation, Permutation]
    assert not list((small / "run").glob("class_counts_*"))
    assert "soft_balance" not in directory.stages["alignment"]
    assert "Soft-balance" not in (directory.report / "report.md").read_text()


@pytest.mark.slow
def test_rare_class_sampling_of_a_round_is_not_overruled(start, small, streams):
    finished(start, small, *ONE_CLASS, "adaptation.rare_class_sampling=on")
    assert [type(stream.order) for stream in streams] == [Weighted, Weighted, RareClasses]


@pytest.mark.slow
def test_a_round_that_sees_a_part_of_the_source_draws_in_it(start, small, streams, capsys):
    part = ("adaptation.source_share.share=0.4", "adaptation.source_share.maximum=0.4")
    finished(start, small, *ONE_CLASS, *part)
    last = streams[-1].order.probabilities
    assert np.count_nonzero(last) == 2
    assert last.sum() == pytest.approx(1)


def test_where_alignment_was_left_out_nothing_is_kept():
    """As in a run that starts from an adapted model."""
    recipe = experiment("uplr").recipe
    stages = [SimpleNamespace(name="source"), SimpleNamespace(name="alignment_1")]
    directory = SimpleNamespace(stages={"source": {"adapted": True}})
    run = SimpleNamespace(experiment=SimpleNamespace(recipe=recipe), plan=stages, directory=directory)
    with console.capture() as said:
        assert balanced_orders.kept_order(run, np.arange(3)) is None
    assert "no round of alignment to keep draws of" in said.get()


def test_images_that_are_drawn_nearly_alike_are_told_with_a_remedy(start, small, capsys):
    finished(start, small, "alignment.sampler=on", "alignment.sampler.exponent=0.99", recipe="advent")
    said = " ".join(capsys.readouterr().out.split())
    assert "an image is drawn up to 1.0 times as often as another" in said
    assert "so the sampler does next to nothing" in said
    assert "set alignment.sampler.shift=median" in said


def test_segmenter_discriminator_and_their_optimisers_go_on(start, small, monkeypatch):
    """Over the rounds of alignment all; the round of self-training goes on with the discriminator alone, whose learning
    rate falls and starts anew."""
    begun = []
    original = fitting.train

    def train(method, *others):
        if isinstance(method, AdversarialTraining):
            discriminator = int(method.discriminator_optimizer.iterations)
            begun.append((method, int(method.optimizer.iterations), discriminator, method.discriminator.get_weights()))
        original(method, *others)

    monkeypatch.setattr(fitting, "train", train)
    directory = finished(start, small, *ONE_CLASS, "alignment.discriminator_schedule=poly")
    assert [(of_segmenter, of_other) for _, of_segmenter, of_other, _ in begun] == [(0, 0), (5, 5), (0, 0)]
    rates = [method.discriminator_optimizer.learning_rate.numpy() for method, *_ in begun]
    assert rates[:2] == pytest.approx([1e-4 * 0.5**0.9, 0])  # after 5 and 10 of the 10 steps of both rounds
    assert rates[2] == 0  # after the 5 of its own
    assert [type(method) for method, *_ in begun] == [AdversarialTraining] * 2 + [AdversarialSelfTraining]
    for name, (_, _, _, weights) in zip(("alignment_1", "alignment_2"), begun[1:], strict=True):
        for kept, found in zip(read_lasting(directory.lasting(name))["discriminator"], weights, strict=True):
            np.testing.assert_array_equal(found, kept)
    assert set(read_lasting(directory.lasting("round_1"))) == {"discriminator"}


def test_the_learning_rates_fall_over_all_rounds():
    stages = plan(experiment_of(parse(["--recipe", "uplr", "--set", "data.schedules.alignment.steps=40"])))
    aligned = [stage for stage in stages if stage.name.startswith("alignment")]
    assert {stage.schedule.steps for stage in aligned} == {120}
    assert [(stage.number, stage.steps) for stage in aligned] == [(1, 40), (2, 40), (3, 40)]
    for horizon, middle in ((0, 0.5**0.9), (240, 0.75**0.9)):
        schedule = replace(aligned[0].schedule, optimizer=Optimizer(schedule="constant", horizon=horizon))
        optimizer = alignment.discriminator_optimizer(Alignment(discriminator_schedule="poly"), schedule)
        optimizer.iterations.assign(60)
        assert float(optimizer.learning_rate) == pytest.approx(1e-4 * middle)


def test_the_discriminators_rate_falls_where_it_does_in_the_papers_setting():
    falls = {pair for pair, settings in SUITED.items() if "alignment.discriminator_schedule=poly" in settings}
    assert falls == {
        (recipe, name)
        for recipe in ("adaptseg", "advent", "uplr")
        for name in DATA
        if DATA[name].network == "deeplab_v2_resnet101"
    }
    command = ["--recipe", "uplr", "--data", "gta5_cityscapes", "--source-root", "s", "--target-root", "t"]
    published = experiment_of(parse(command))
    assert published.recipe.alignment.discriminator_schedule == "poly"
    optimizers = [published.data.schedules[name].optimizer for name in ("alignment", "rounds")]
    assert [optimizer.horizon for optimizer in optimizers] == [250_000] * 2


@pytest.mark.slow
def test_two_rounds_of_half_the_steps_are_one_training(start, tmp_path):
    """Without a sampler, where the streams are the same: steps 5 to 9 go on as if there were no cut."""
    command = ("data.schedules.alignment.optimizer.schedule=constant", "data.schedules.alignment.average_weights=None")
    frozen = ("data.schedules.alignment.batch_norm=frozen", "alignment.sampler=off", "adaptation=off")
    weights = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "LATER_ROUNDS", -4)  # so that round 2 has the streams of round 1
        for steps, number in ((10, 1), (5, 2)):
            out = tmp_path / f"run_{number}"
            settings = (*command, *frozen, f"data.schedules.alignment.steps={steps}", f"alignment.rounds={number}")
            assert start([*options(tmp_path, "uplr", *settings), "--out", str(out)]) == 0
            directory, experiment = RunDirectory.reopen(out)
            network = two_layers(experiment, 3)
            network.load_weights(directory.weights("alignment" if number == 1 else "alignment_2"))
            weights.append(network.get_weights())
    for whole, cut in zip(*weights, strict=True):
        np.testing.assert_array_equal(cut, whole)


def experiment(recipe: str, *settings: str):
    return experiment_of(parse(["--recipe", recipe, "--smoke", "--set", *settings]))


def checked(recipe: str, *settings: str) -> None:
    for stage in plan(experiment(recipe, *settings)):
        stage.check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("uplr", "alignment.rounds=1"), r"sampler\.classes is half, and the first round .* set alignment\.rounds=2"),
        (
            ("iast", "adaptation.adversarial_term=on", "data.keep_source=False"),
            r"no source image takes part .* set adaptation\.source_share=on",
        ),
        (
            ("cbst", "adaptation.adversarial_term=on", "adaptation.losses.consistency=on"),
            r"losses\.consistency needs adaptation\.mean_teacher=on",
        ),
        (("advent", "alignment.losses.mrkld=on"), "needs the pseudo-labels of adaptation"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_a_sentence(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        checked(*settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [("hiast",), ("drsl_plus",), ("cbst", "adaptation.class_mix=on")])
def test_any_recipe_with_rounds_can_keep_the_adversarial_term(settings):
    checked(*settings, "adaptation.adversarial_term=on")


@pytest.mark.parametrize(("classes", "count"), [("half", {19: 10, 16: 8, 11: 6}), ("4", {19: 4}), ("40", {19: 40})])
def test_how_many_classes_are_chosen(classes, count):
    sampler = experiment("uplr", f"alignment.sampler.classes={classes}").recipe.alignment.sampler
    assert {space: balanced_orders._count_of(sampler, space) for space in count} == count


def test_photos_are_drawn_around_the_median_of_their_ratios():
    ratios = np.linspace(0.57, 1, 101)
    even, told_apart = draw_probabilities(ratios), draw_probabilities(ratios, 20, "median")
    assert even.max() / even.min() < 1.05
    assert told_apart.max() / told_apart.min() > 8
    np.testing.assert_allclose(told_apart, draw_probabilities(ratios, 20, 0.785))
    for data in ("streetsim_camvid", "folders"):
        roots = ["--data", data, "--source-root", "s", "--target-root", "t", "--classes", "camvid11"]
        roots = roots if data == "folders" else ["--data", data, "--target-root", "t"]
        sampler = experiment_of(parse(["--recipe", "uplr", *roots])).recipe.alignment.sampler
        assert (sampler.slope, sampler.shift) == (20, "median")


@pytest.mark.parametrize(("key", "value"), [("exponent", "1.1"), ("slope", "0"), ("shift", "-1"), ("classes", "none")])
def test_values_out_of_their_range_are_refused(key, value):
    with pytest.raises(UserError, match=key):
        experiment("uplr", f"alignment.sampler.{key}={value}")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["mrkld", "lrent", "iast"])
def test_other_recipes_keep_the_adversarial_term(start, small, recipe, capsys):
    """Also without alignment, whose discriminator would go on."""
    settings = ("adaptation.adversarial_term=on", "adaptation.rounds=2", "data.most_rounds=2")
    directory = finished(start, small, *settings, recipe=recipe)
    assert "adversarial" in directory.metrics.read_text().split("round_2", 1)[1]
    iterations = read_lasting(directory.lasting("round_2"))["discriminator_optimizer"][0]
    assert iterations == (15 if recipe == "iast" else 10)
    assert capsys.readouterr().out.count("the discriminator starts at random") == (recipe != "iast")


def test_the_weight_of_the_term_is_the_alignments_or_its_own():
    from training.stages.adversarial_rounds import adversary_of

    def weight(recipe: str, *settings: str) -> float:
        found = experiment(recipe, "adaptation.adversarial_term=on", *settings).recipe
        return adversary_of(found, found.adaptation.adversarial_term).weight

    assert weight("iast") == 0.05
    assert weight("iast", "adaptation.adversarial_term.weight=0.02") == 0.02
    assert weight("cbst") == 0.001


FROZEN = tuple(f"data.schedules.{name}.batch_norm=frozen" for name in ("warm_up", "alignment", "rounds"))


@pytest.mark.slow
def test_in_parts_it_trains_as_at_once(start, small):
    """On the stage with the most in it: both labels, the adversarial term, the kept sampler."""
    weights = []
    for parts in (1, 2):
        settings = (*FROZEN, *(f"data.schedules.{name}.accumulate={parts}" for name in ("alignment", "rounds")))
        out = small / f"parts_{parts}"
        command = options(small, "uplr", *ONE_CLASS, *settings, "data.loss_stride=1")
        assert start([*command, "--out", str(out)]) == 0
        directory, found = RunDirectory.reopen(out)
        network = two_layers(found, 3)
        network.load_weights(directory.weights("round_1"))
        weights.append(network.get_weights())
    for at_once, in_parts in zip(*weights, strict=True):
        np.testing.assert_allclose(in_parts, at_once, atol=2e-4)


@pytest.mark.slow
def test_two_devices_draw_and_train_as_one(small):
    command = options(small, "uplr", *ONE_CLASS)
    figures, weights = [], []
    for devices in ("cpu", "cpu:0,1"):
        out = small / devices.replace(":", "_")
        line = [sys.executable, "-c", ON_DEVICES, *command, "--devices", devices, "--out", str(out)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        directory, settings = RunDirectory.reopen(out)
        figures.append([directory.stages[f"alignment_{number}"]["soft_balance"] for number in (1, 2)])
        network = two_layers(settings, 3)
        network.load_weights(directory.weights("round_1"))
        weights.append(network.get_weights())
    for alone, several in zip(*figures, strict=True):
        for name in alone:
            assert several[name]["chosen"] == alone[name]["chosen"]
            assert several[name]["after"] == pytest.approx(alone[name]["after"])
    for alone, several in zip(*weights, strict=True):
        np.testing.assert_allclose(several, alone, atol=1e-4)
