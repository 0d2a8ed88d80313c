"""The table of recipes: which runs it makes, from where they start, and what its lines say."""

import argparse
import json
from pathlib import Path

import pytest

from tests.benchmarks import recipes
from training.command_line import experiment_of, parse
from training.errors import UserError

NAMESPACE = {"camvid": "/camvid", "facades": "/facades", "photo_weights": "weights.h5", "table": False}
SOURCE = {"miou_in_truth": 29.0, "per_class_iou": {"road": 42.0, "car": 29.0, "train": 0.0}}


def summary(before: float | None, stages: list[tuple[float, float]], taken: int) -> dict:
    """Figures of two classes in the truth and one that is not there."""
    scored = [
        {"stage": f"round_{index}", "verdict": "ok", "miou": sum(pair) / 3, "per_class_iou": iou, "source_miou": 49.0}
        for index, pair in enumerate(stages, 1)
        for iou in [{"road": pair[0], "car": pair[1], "train": 0.0}]
    ]
    after = {
        "miou_in_truth": sum(stages[taken]) / 2,
        "per_class_iou": scored[taken]["per_class_iou"],
        "truth_pixels": {"road": 9, "car": 1, "train": 0},
    }
    start = None if before is None else {"miou_in_truth": before, "per_class_iou": {"road": 30.0, "car": 30.0}}
    figures = {"before": start, "after": after, "stages": scored, "chosen": f"round_{taken + 1}"}
    return figures | {"label_free": {"before": {"source_miou": 50.0}}}


@pytest.fixture
def fails():
    """Names of the folders of runs that fail."""
    return set()


@pytest.fixture
def made(monkeypatch, fails):
    """The runs that were carried out, by folder; each leaves a summary as a run does."""
    runs = {}

    def carry_out(path, options):
        runs[path.name] = (options, experiment_of(parse([*options, "--out", str(path)])))
        if path.name in fails:
            raise UserError(f"the run in {path} did not finish")
        (path / "report").mkdir(parents=True)
        gain = 0 if "--control" in options else 10
        figures = summary(30.0, [(40.0 + gain, 20.0 + gain), (30.0 + gain, 20.0 + gain)], taken=1)
        if "source_only" in options or "oracle" in options:
            figures |= {"stages": [], "after": figures["after"] | SOURCE}
        (path / "report" / "summary.json").write_text(json.dumps(figures))
        return path

    monkeypatch.setattr(recipes, "carried_out", carry_out)
    return runs


def test_every_recipe_and_its_control_start_from_one_source_model(tmp_path, made, capsys):
    command = ["--out", str(tmp_path), "--recipes", "cbst", "oracle", "--seeds", "3", "--controls"]
    assert recipes.main([*command, "--per-class", "--set", "watch.stop=False", "--size", "64x128"]) == 0
    assert set(made) == {"source_only-3", "cbst-3", "cbst-control-3", "oracle-3"}
    assert {tuple(experiment.data.size) for _, experiment in made.values()} == {(64, 128)}
    start = str(tmp_path / "streets" / "source_only-3")
    assert {name for name, (options, _) in made.items() if start in options} == {"cbst-3", "cbst-control-3"}
    assert made["cbst-control-3"][1].recipe.adaptation.target_weight == 0
    assert not made["cbst-3"][1].recipe.watch.stop
    printed = capsys.readouterr().out
    assert "| `source_only` | 29.0, own start 30.0 |  |  |  |  | 29.0 |" in printed
    assert "| `cbst` | 29.0, own start 30.0 | 25.0 | 35.0 | 35.0 | +6.0 | 29.0 |" in printed
    assert "| `cbst` | 5.0 | road -2.0 | road -2.0 | 50.0 → 49.0 | 40.0 35.0 | round_2 |  |" in printed
    assert "| car | 29.0 | 30.0 / 20.0 | 29.0 |" in printed
    made.clear()
    assert recipes.main([*command, "--table"]) == 0
    assert not made
    assert capsys.readouterr().out in printed


def test_recipes_that_differ_in_losses_on_the_target_share_a_control(tmp_path, made, capsys):
    recipes.main(["--out", str(tmp_path), "--recipes", "source_only", "mic", "dacs", "pgpc", "--controls"])
    assert {name for name in made if "control" in name} == {"daformer-control-0", "dacs-control-0"}
    assert made["daformer-control-0"][1].recipe.adaptation.rare_class_sampling is not None
    lines = capsys.readouterr().out.splitlines()
    assert all(
        "| 25.0 | 35.0 |" in line
        for line in lines
        if line.count("|") == 8 and line.startswith(("| `mic`", "| `pgpc`", "| `dacs`"))
    )
    assert next(line for line in lines if "source_only" in line).split("|")[3].strip() == ""


def test_alignment_by_another_map_has_the_same_control():
    shared = recipes.shared_controls(["adaptseg", "advent", "oracle"], ["--data", "streetsim"])
    assert shared == {"adaptseg": "adaptseg", "advent": "adaptseg"}


def test_overrides_of_parts_that_other_recipes_lack_are_no_obstacle(tmp_path, made):
    command = ["--out", str(tmp_path), "--recipes", "cbst", "--controls", "--set", "adaptation.rounds=2"]
    assert recipes.main(command) == 0
    with pytest.raises(UserError, match=r"adaptation\.rounds"):
        recipes.main([*command, "--recipes", "daformer"])


def test_pairs_of_photos_need_their_folders(tmp_path, made):
    command = ["--out", str(tmp_path), "--pairs", "facades", "--recipes", "cbst", "--camvid", "/camvid"]
    with pytest.raises(UserError, match="needs --facades FOLDER"):
        recipes.main(command)
    assert recipes.main([*command, "--facades", "/facades", "--source-set", "data.schedules.warm_up.steps=7"]) == 0
    assert set(made) == {"source_only-0", "cbst-0"}
    steps = [experiment.data.schedules["warm_up"].steps for _, experiment in made.values()]
    assert steps[0] == 7 != steps[1]


def test_the_oracle_of_photos_trains_on_each_half_of_the_labelled_ones(tmp_path, made, capsys):
    labelled = tmp_path / "photos" / "val"
    for part, ending in (("images", ".jpg"), ("labels", ".png")):
        (labelled / part).mkdir(parents=True)
        for name in "abcde":
            (labelled / part / f"{name}{ending}").write_text(name)
    roots = ("--camvid", "/camvid", "--facades", str(tmp_path / "photos"))
    command = ["--out", str(tmp_path / "runs"), "--pairs", "facades", *roots, "--recipes", "cbst", "oracle"]
    assert recipes.main([*command, "--per-class"]) == 0
    assert set(made) == {"source_only-0", "cbst-0", "oracle-of-first-half-0", "oracle-of-second-half-0"}
    of = {
        name: [
            sorted(file.name for file in (Path(root) / "labels").iterdir())
            for root in (data.source.root, data.evaluation.root)
        ]
        for name, (_, experiment) in made.items()
        if "half" in name
        for data in [experiment.data]
    }
    first, second = ["a.png", "b.png", "c.png"], ["d.png", "e.png"]
    assert of == {"oracle-of-first-half-0": [first, second], "oracle-of-second-half-0": [second, first]}
    printed = capsys.readouterr().out
    assert "| `cbst` | 29.0, own start 30.0 |  | 35.0 | 35.0 | +6.0 | 35.5 |" in printed  # the last: the oracle
    assert "| class | source_only | cbst | oracle |" in printed


def test_one_command_gives_each_pair_its_own_options(tmp_path, made):
    roots = ("--camvid", "/camvid", "--facades", "/facades", "--photo-weights", str(tmp_path / "file.h5"))
    assert recipes.main(["--out", str(tmp_path), "--pairs", *recipes.PAIRS, *roots, "--recipes", "cbst"]) == 0
    (streets, _), (photos, _) = (made[name] for name in ("source_only-0", "cbst-0"))  # the last pair's
    assert "data.schedules.warm_up.average_weights=0.99" in streets
    assert "data.schedules.warm_up.average_weights=0.99" not in photos
    of = {pair: recipes.options_of(pair, argparse.Namespace(**NAMESPACE)) for pair in recipes.PAIRS}
    assert ["--size" in options for options in of.values()] == [False, False, True, True, True]
    assert ["weights.h5" in options for options in of.values()] == [False, False, True, True, True]


def test_what_trains_a_source_model_of_its_own_is_read_off_the_resolved_settings():
    """Of the recipe, its constants on the data and the overrides."""
    streets = ["--data", "streetsim"]
    assert not recipes.has_own_warm_up("cbst", streets, [])
    assert not recipes.has_own_warm_up("dacs", streets, ["--set", "adaptation.target_weight=0.5"])
    for recipe in ("oracle", "uplr", "drsl"):
        assert recipes.has_own_warm_up(recipe, streets, [])
    for setting in ("warm_up.rare_class_sampling=on", "translation=fda", "data.schedules.warm_up.steps=7"):
        assert recipes.has_own_warm_up("cbst", streets, ["--set", setting])
    published = ["--data", "gta5_cityscapes", "--source-root", ".", "--target-root", "."]
    assert recipes.has_own_warm_up("daformer", published, [])  # from ImageNet's weights


def test_a_failed_run_does_not_end_the_series(tmp_path, made, fails, capsys):
    fails |= {"cbst-0", "source_only-1"}
    assert recipes.main(["--out", str(tmp_path), "--recipes", "cbst", "st", "oracle", "--seeds", "0", "1"]) == 1
    assert set(made) == {"source_only-0", "source_only-1", "cbst-0", "st-0", "oracle-0", "oracle-1"}
    said = capsys.readouterr().err.splitlines()
    names = ["source_only-1", "cbst-1", "st-1", "cbst-0"]
    assert [line.split(":")[1].rsplit("/", 1)[1] for line in said] == names


def test_runs_side_by_side_share_the_cores(tmp_path):
    # Runs that cannot begin are told, from whichever process they were in.
    ((run, said),) = recipes.carry_out([recipes.Job(tmp_path / "run", ["--recipe", "none_such"])], at_a_time=2)
    assert run == tmp_path / "run"
    assert "did not finish" in said
    every = recipes.cores(1)[0]
    two = recipes.cores(2)
    assert set().union(*two) == every
    assert all(two)
