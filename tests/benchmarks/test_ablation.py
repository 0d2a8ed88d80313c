"""The ablation's steps are HIAST's parts in the paper's order, and its tables say what the runs' reports say."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import ablation, recipes
from tests.benchmarks.label_quality import RoundLabels, mean_labels
from tests.benchmarks.paper_tables import PaperTable, paper_table
from training.command_line import experiment_of, parse
from training.errors import UserError


def parts(adaptation) -> tuple[bool, ...]:
    switches = (adaptation.losses.regions, adaptation.copy_paste, adaptation.mean_teacher, adaptation.strong_views)
    return tuple(map(bool, switches))


HIAST, DAFORMER, UPLR, DRSL = (ablation.ABLATIONS[name] for name in ("hiast", "daformer", "uplr", "drsl"))


def experiment(step: str, given=(), of=HIAST):
    return experiment_of(parse(["--recipe", of.recipe, *ablation.overrides(of, step, list(given))]))


def test_each_step_adds_one_part():
    first, *others = (experiment(step).recipe for step in HIAST.steps)
    assert first.alignment is not None
    assert first.adaptation is None
    assert [sum(parts(recipe.adaptation)) for recipe in others] == [0, 1, 2, 4]
    assert all(type(recipe.adaptation.selector).__name__ == "InstanceAdaptive" for recipe in others)


def test_each_step_of_daformer_adds_one_part():
    first, control, *others = (experiment(step, of=DAFORMER).recipe.adaptation for step in DAFORMER.steps)
    assert first is None
    assert control.target_weight == 0
    assert replace(control, target_weight=others[0].target_weight) == others[0]
    losses = [adaptation.losses for adaptation in others]
    parts = [
        (bool(each.rare_class_sampling), bool(loss.feature_distance), bool(loss.contrast), bool(loss.masked))
        for each, loss in zip(others, losses, strict=True)
    ]
    assert [sum(each) for each in parts] == [0, 1, 2, 3, 4]


def test_each_step_of_uplr_adds_one_part():
    first, *aligned = (experiment(step, of=UPLR).recipe for step in UPLR.steps)
    assert not first.adapts
    parts = [
        (
            recipe.translation is not None,
            recipe.alignment.sampler is not None,
            recipe.alignment.sampler is not None and recipe.alignment.sampler.classes == "half",
            recipe.adaptation is not None,
        )
        for recipe in aligned
    ]
    assert [sum(each) for each in parts] == [0, 1, 2, 3, 4, 4]
    assert {recipe.alignment.rounds for recipe in aligned} == {3}
    control, whole = (recipe.adaptation for recipe in aligned[-2:])
    assert control == replace(whole, target_weight=0.0)


def test_each_step_of_drsl_is_a_row_of_the_papers_tables():
    experiments = {step: experiment(step, of=DRSL) for step in DRSL.steps}
    of_steps = {step: each.recipe for step, each in experiments.items()}
    assert not of_steps.pop("source only").adapts
    whole = of_steps["lambda .25 .1"].adaptation
    assert of_steps["control, head"].adaptation == replace(whole, target_weight=0.0)
    without = of_steps["lambda 0 0"].adaptation
    assert without == replace(whole, mixture=None)
    assert of_steps["control, no head"].adaptation == replace(without, target_weight=0.0)
    heads = {step: recipe.adaptation.mixture for step, recipe in of_steps.items() if recipe.adaptation.mixture}
    weights = [(heads[step].triplet, heads[step].cross_entropy) for step in DRSL.tables["3"].figures if step in heads]
    assert weights == [(0.1, 0.1), (0.25, 0.1), (0.5, 0.5), (1.0, 1.0)]
    assert [heads[step].modes for step in DRSL.tables["5"].figures] == [1, 3, 5]
    assert [heads[step].label_reduction for step in DRSL.tables["6"].figures] == [1, 2, 4, 8]
    assert [heads[step].consistency for step in DRSL.tables["8"].figures] == [0.01, 0.1, 0.25]
    assert [step for step, recipe in of_steps.items() if recipe.translation is None] == ["without ISA"]
    # All rows are steps; those of a table have as many rounds, and their loss on one grid.
    rows = ablation.rows_of(DRSL)
    assert {step for table in rows.values() for step in table} == set(DRSL.steps)
    assert {each.data.most_rounds for each in experiments.values()} == {2}
    assert experiment("modes 1", ["data.most_rounds=3"], of=DRSL).data.most_rounds == 3
    for table in rows.values():
        assert len({experiments[step].data.loss_stride for step in table}) == 1


def finished_run(run: Path, miou: float, pole: float) -> Path:
    """`run`, with what a finished run of one round leaves, and its source model exported."""
    (run / "report").mkdir(parents=True)
    for name in ("source.onnx", "final.weights.h5"):
        (run / name).touch()
    after = {"miou": miou, "per_class_iou": {"pole": pole}}
    summary = {"after": after, "stages": [{"stage": "round_1", **after}], "chosen": "round_1"}
    (run / "report" / "summary.json").write_text(json.dumps(summary))
    return run


def test_all_heads_of_one_shape_start_from_one_source_model(tmp_path, monkeypatch, capsys):
    commands = {}

    def carry_out(run: Path, options: list[str]) -> Path:
        commands[run.name] = options
        score = {"modes-1": 10.0, "lambda-.25-.1": 12.0, "modes-5": 11.0}.get(run.name.rpartition("-")[0], 9.0)
        return finished_run(run, score + int(run.name[-1]), pole=score)

    monkeypatch.setattr(recipes, "carried_out", carry_out)
    rounds = [RoundLabels(50.0, 20.0, 0.5), RoundLabels(60.0, 25.0, 0.4)]
    better = [rounds[0], RoundLabels(62.0, 25.0, 0.3)]
    monkeypatch.setattr(ablation, "labels_of", lambda run: better if ".25" in run.name else rounds)
    options = ["--out", str(tmp_path), "--method", "drsl", "--seeds", "0", "1"]
    assert ablation.main([*options, "--tables", "5", "7"]) == 0
    first = ["lambda-.25-.1-0", "lambda-.25-.1-1"]
    assert list(commands) == [
        *first, "lambda-0-0-0", "modes-1-0", "modes-5-0", "lambda-0-0-1", "modes-1-1", "modes-5-1"
    ]  # fmt: skip
    assert [name for name, given in commands.items() if "--warm-start" in given] == ["lambda-0-0-0", "lambda-0-0-1"]
    assert str(tmp_path / "drsl" / "lambda-.25-.1-1" / "source.onnx") in commands["lambda-0-0-1"]
    said = capsys.readouterr().out
    table = said[said.index("Table 5") : said.index("Table 7")]
    assert "| modes 1 | 44.7 | 10.5 | 10.0 11.0 |\n| lambda .25 .1 | 47.6 | 12.5 | 12.0 13.0 |\n| modes 5 |" in table
    assert "Order of the paper: found; the nearest two differ by 1.0." in table
    assert "| lambda 0 0 | 1 | 76.4 | 60.0 | 60.0 60.0 | 1.57 | 0.400 | 0.400 0.400 |" in said
    assert "Start of round 1, entropy: Order of the paper: found; the nearest two differ by 0.100." in said
    assert "Table 3" not in said

    # Tables of what is finished; without labels of the target there is none of pseudo-labels.
    commands.clear()
    (tmp_path / "drsl" / "modes-5-1" / "final.weights.h5").unlink()
    monkeypatch.setattr(ablation, "labels_of", without_labels)
    assert ablation.main([*options, "--table"]) == 0
    assert not commands
    said = capsys.readouterr().out
    assert "| modes 5 | 46.2 | 11.0 | 11.0 |" in said
    assert "Table 7 is left out: photos has no labels." in said
    assert ablation.main(["--out", str(tmp_path / "none"), "--table"]) == 0
    assert capsys.readouterr().out == "No run is finished.\n"

    # A head of its own needs no other run.
    commands.clear()
    assert ablation.main(["--out", str(tmp_path / "some"), "--method", "drsl", "--steps", "modes 5"]) == 0
    assert list(commands) == ["modes-5-0"]
    with pytest.raises(SystemExit):
        ablation.main([*options, "--tables", "2"])
    assert "drsl has no table '2'" in capsys.readouterr().err


def without_labels(run: Path):
    raise UserError("photos has no labels")


@pytest.mark.parametrize(
    ("failing", "told"), [("lambda-.25-.1-0", ["lambda-.25-.1-0", "lambda-0-0-0"]), ("lambda-0-0-0", ["lambda-0-0-0"])]
)
def test_a_run_that_fails_is_told_and_the_others_are_made(failing, told, tmp_path, monkeypatch, capsys):
    def carry_out(run: Path, options: list[str]) -> Path:
        if run.name == failing:
            raise UserError("the disk is full")
        return finished_run(run, 9.0, pole=9.0)

    monkeypatch.setattr(recipes, "carried_out", carry_out)
    options = ["--out", str(tmp_path), "--method", "drsl", "--steps", "lambda 0 0", "modes 5"]
    assert ablation.main(options) == 1
    said = capsys.readouterr()
    assert "| modes 5 | 9.0 |" in said.out
    lines = said.err.splitlines()
    assert [line.split(": ")[1].rpartition("/")[2] for line in lines] == told
    assert lines[0].endswith("the disk is full")


def test_an_order_that_is_not_found_is_said():
    table = PaperTable("weights", {"a": 1.0, "b": 3.0, "c": 2.0, "d": None})
    said = paper_table("3", table, {"a": [2.0], "b": [5.0, 6.0], "c": [1.0], "d": [9.0]})
    assert "| d |  | 9.0 | 9.0 |" in said
    assert said.endswith(
        "not found; its best row is the best here too (here b > a > c; the nearest two differ by 1.0)."
    )
    assert "Order" not in paper_table("3", table, {"a": [2.0], "d": [5.0]})


def test_labels_of_several_seeds_have_a_mean():
    one, two = [RoundLabels(50, 20, 0.5), RoundLabels(60, 25, 0.4)], [RoundLabels(52, 22, 0.7)]
    assert mean_labels([one, two]) == [RoundLabels(51, 21, 0.6), RoundLabels(60, 25, 0.4)]


def test_the_draws_of_each_step_are_beside_its_scores():
    def run(*shares: float) -> dict:
        rounds = [{"classes": {"train": {"before": 0.1, "after": share}}} for share in shares]
        return {"soft_balance": rounds}

    summaries = {"+ IT": [{"soft_balance": []}, {}], "+ SR": [run(0.2, 0.3), run(0.2, 0.5)]}
    drawn = ablation.draws_table(UPLR, summaries)
    assert drawn.splitlines()[0] == "| % of the images drawn | alike | + SR |"
    assert drawn.splitlines()[2] == "| **train** | 10.0 | 40.0 |"
    assert ablation.draws_table(HIAST, {"+ IAS": [{}]}) is None


@pytest.mark.parametrize("step", HIAST.steps)
def test_overrides_reach_the_steps_that_have_the_part(step):
    given = ("data.most_rounds=1", "adaptation.mean_teacher.decay=0.9", "adaptation.selector.alpha=0.3")
    resolved = experiment(step, given)
    adaptation = resolved.recipe.adaptation
    assert resolved.data.most_rounds == 1
    assert adaptation is None or adaptation.selector.alpha == 0.3
    assert adaptation is None or adaptation.mean_teacher is None or adaptation.mean_teacher.decay == 0.9


def test_one_command_shares_the_warm_up_and_prints_means(tmp_path, monkeypatch, capsys):
    """Runs that write what they are told to: a score of 10 a step, and the pole's of 20 a step.

    The watch took other models, with 5: the steps start from alignment, and their own scores are those of their ends.
    """
    commands = {}

    def carry_out(run: Path, options: list[str]) -> Path:
        seed, more = int(options[3]), options[4:]
        commands[run.name] = more
        score = 10.0 * (len(commands) - 1) / (1 + seed)
        after = {"miou": score, "per_class_iou": {"road": score, "pole": 2 * score, "absent": None}}
        taken = {"miou": 5.0, "per_class_iou": {"road": 5.0, "pole": 5.0, "absent": None}}
        last = "alignment" if run.name.startswith("warm-up") else "round_1"
        stages = [{"stage": "statistics", **taken}, {"stage": last, **after}]
        summary = {"after": taken, "stages": stages, "chosen": "statistics"}
        if last == "alignment":
            run.mkdir(parents=True)
            (run / "alignment.onnx").touch()
        (run / "report").mkdir(parents=True)
        (run / "report" / "summary.json").write_text(json.dumps(summary))
        (run / "final.weights.h5").touch()
        return run

    monkeypatch.setattr(recipes, "carried_out", carry_out)
    assert ablation.main(["--out", str(tmp_path), "--data", "streetsim_dusk", "--seeds", "0"]) == 0
    assert list(commands) == ["warm-up-0", "IAS-0", "regularisation-0", "copy-paste-0", "consistency-0"]
    assert all(more[:2] == ["--data", "streetsim_dusk"] for more in commands.values())
    aligned = str(tmp_path / "hiast" / "warm-up-0" / "alignment.onnx")
    assert [more[2:4] for more in commands.values()][1:] == [["--warm-start", aligned]] * 4
    assert "--warm-start" not in commands["warm-up-0"]
    said = capsys.readouterr().out
    assert "| warm-up | 0.0 |  | 0.0 | 0.0 | 5.0 0.0 | statistics |" in said
    assert "| + IAS | 10.0 | +10.0 | 20.0 | 10.0 | 5.0 10.0 | statistics |" in said
    assert "| **pole** | 0.0 | 20.0 | 40.0 | 60.0 | 80.0 |" in said
    assert "| road | 0.0 | 10.0 | 20.0 | 30.0 | 40.0 |" in said
    assert "absent" not in said

    # Later steps alone start from the first one all the same; the tables leave it out.
    commands.clear()
    assert ablation.main(["--out", str(tmp_path / "some"), "--steps", "+ copy-paste"]) == 0
    assert list(commands) == ["warm-up-0", "copy-paste-0"]
    assert commands["copy-paste-0"][0] == "--warm-start"
    assert "| warm-up |" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        ablation.main(["--out", str(tmp_path), "--steps", "+ paste"])
    assert "has no step '+ paste'" in capsys.readouterr().err
