"""The ablation's steps are HIAST's parts in the paper's order, and its tables say what the runs' reports say."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import ablation
from training.command_line import experiment_of, parse


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
    first, control, without, *others = (experiment(step, of=DRSL).recipe for step in DRSL.steps)
    assert not first.adapts
    assert control.adaptation.target_weight == 0
    assert without.adaptation == replace(control.adaptation, target_weight=1.0)
    heads = [recipe.adaptation.mixture for recipe in others]
    weights = [(head.triplet, head.cross_entropy, head.consistency) for head in heads]
    assert weights[:4] == [(0.1, 0.1, 0.0), (0.25, 0.1, 0.0), (0.5, 0.5, 0.0), (1.0, 1.0, 0.0)]
    assert [head.modes for head in heads[4:6]] == [1, 5]
    assert [head.label_reduction for head in heads[6:10]] == [1, 2, 4, 8]
    assert weights[10:13] == [(0.25, 0.1, weight) for weight in (0.01, 0.1, 0.25)]
    assert [recipe.translation is None for recipe in others] == [False] * 13 + [True]


def test_steps_with_a_warm_up_of_their_own_share_none(tmp_path, monkeypatch, capsys):
    commands = {}

    def carry_out(run: Path, options: list[str]) -> Path:
        more = options[4:]
        commands[run.name] = more
        after = {"miou": 10.0, "per_class_iou": {"pole": 10.0}}
        (run / "report").mkdir(parents=True)
        summary = {"after": after, "stages": [{"stage": "round_1", **after}], "chosen": "round_1"}
        (run / "report" / "summary.json").write_text(json.dumps(summary))
        return run

    monkeypatch.setattr(ablation, "carried_out", carry_out)
    assert ablation.main(["--out", str(tmp_path), "--method", "drsl", "--steps", "modes 5", "lambda 0 0"]) == 0
    assert list(commands) == ["lambda-0-0-0", "modes-5-0"]
    assert not any("--warm-start" in more for more in commands.values())
    assert "| modes 5 | 10.0 | +0.0 |" in capsys.readouterr().out


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
        return run

    monkeypatch.setattr(ablation, "carried_out", carry_out)
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
