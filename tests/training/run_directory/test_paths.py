"""One run a directory, nothing of another run in it, and a way back from damaged files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.command_line import experiment_of, parse
from training.data.classes import load_label_space
from training.errors import UserError
from training.experiment_json import VERSION
from training.files.atomic import write_atomically
from training.run_directory.paths import RunDirectory
from training.run_directory.resuming import asked_start, resume

ROOT = Path(__file__).resolve().parents[3]
ARGUMENTS = ["--recipe", "cbst_sp", "--smoke", "--set", "adaptation.rounds=2"]
STAGES = ("source", "round_1", "round_2")


def begun(path: Path) -> RunDirectory:
    return RunDirectory.create(path, experiment_of(parse(ARGUMENTS)), ARGUMENTS)


@pytest.fixture(scope="module")
def three_stages(tmp_path_factory) -> Path:
    """A run with three finished stages, whose files hold their own names, and nobody at work."""
    directory = begun(tmp_path_factory.mktemp("runs") / "run")
    for stage in STAGES:
        files = [directory.weights(stage), directory.lasting(stage), directory.observation(stage)]
        if stage != "source":
            (directory.pseudo_labels / stage).mkdir(parents=True)
            files += [directory.pseudo_labels / stage / name for name in ("a.png", "b.png", "manifest.json")]
        for path in [*files, directory.spatial_prior]:
            write_atomically(path, path.name.encode())
        more = [directory.spatial_prior] if stage == "round_1" else []
        directory.finish_stage(stage, {"stage": stage}, more)
    directory.unlock()
    return directory.path


@pytest.fixture
def run(three_stages, tmp_path) -> Path:
    return shutil.copytree(three_stages, tmp_path / "run")


def resumed(run: Path, *more: str) -> RunDirectory:
    directory, _ = resume(run, ["--resume", str(run), *more])
    directory.unlock()
    return directory


def refusal(run: Path, *more: str) -> str:
    with pytest.raises(UserError) as caught:
        resume(run, ["--resume", str(run), *more])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_run_is_left_as_it_is(run, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.stem != "lock"}
    assert list(resumed(run).stages) == list(STAGES)
    assert {path: path.read_bytes() for path in before} == before
    assert capsys.readouterr().out == ""


RELATIVE = [
    *("--recipe", "cbst", "--data", "folders", "--model", "compact", "--target-root", "data/photos"),
    *("--source-root", "data/labelled", "--eval-root", "data/eval", "--classes", "data/yard.json"),
    *("--weights", "data/weights.h5", "--warm-start", "data/theirs.onnx"),
]


def test_options_beside_resume_are_understood_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "yard.json").write_text('{"name": "yard", "names": ["ground", "sky"]}')
    for name in ("weights.h5", "theirs.onnx"):
        (tmp_path / "data" / name).touch()
    monkeypatch.chdir(tmp_path)
    run, arguments = tmp_path / "run", parse(RELATIVE)
    RunDirectory.create(run, experiment_of(arguments), RELATIVE, asked_start(arguments)).unlock()
    resumed(run, "--devices", "cpu")
    resumed(run, *RELATIVE)
    monkeypatch.chdir(tmp_path / "elsewhere")
    resumed(run, "--devices", "cpu")
    resumed(
        run, "--target-root", "../data/photos", "--warm-start", "../data/theirs.onnx", "--classes", "../data/yard.json"
    )
    assert "data.target.root" in refusal(run, "--target-root", "data/photos")
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe.pop("working_directory") == str(tmp_path)
    (run / "recipe.json").write_text(json.dumps(recipe))  # of an earlier version
    assert "data.target.root" in refusal(run, "--devices", "cpu")
    monkeypatch.chdir(tmp_path)
    resumed(run, "--devices", "cpu")


def test_a_run_keeps_its_label_space_whatever_becomes_of_the_users_file(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    yard = tmp_path / "data" / "yard.json"
    yard.write_text('{"names": ["ground", "sky"]}')
    monkeypatch.chdir(tmp_path)
    arguments = RELATIVE[: RELATIVE.index("--weights")]
    run = tmp_path / "run"
    RunDirectory.create(run, experiment_of(parse(arguments)), arguments).unlock()
    for change in (lambda: yard.write_text('{"names": ["ground", "sea", "sky"]}'), yard.unlink):
        change()
        for more in ((), ("--devices", "cpu"), ("--set", "data.schedules.warm_up.accumulate=2")):
            directory, experiment = resume(run, ["--resume", str(run), *more])
            directory.unlock()
            space = load_label_space(experiment.data.label_space)
            assert (space.name, space.names) == ("yard", ("ground", "sky"))
    (tmp_path / "data" / "other.json").write_text('{"names": ["sky"]}')
    assert "data.label_space" in refusal(run, "--classes", "data/other.json")
    with pytest.raises(UserError, match=r"yard\.json"):
        RunDirectory.create(tmp_path / "second", experiment_of(parse(arguments)), arguments)
    assert not (tmp_path / "second").exists()


def test_sha256sum_reads_the_digests(run):
    for stage in STAGES:
        subprocess.run(["sha256sum", "--check", "--quiet", f"checkpoints/{stage}.sha256"], cwd=run, check=True)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("checkpoints/source.weights.h5", []),
        ("checkpoints/round_1.weights.h5", ["source"]),
        ("checkpoints/round_2.lasting.npz", ["source", "round_1"]),
        ("checkpoints/round_1.watch.npz", ["source"]),
        ("pseudo_labels/round_1/b.png", ["source"]),
        ("pseudo_labels/round_2/manifest.json", ["source", "round_1"]),
        ("checkpoints/round_2.sha256", ["source", "round_1"]),
        ("spatial_prior.npy", ["source"]),
    ],
)
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-1]), Path.unlink])
def test_a_damaged_file_is_named_and_the_stage_before_it_is_the_last(run, capsys, name, kept, damage):
    damage(run / name)
    assert list(resumed(run).stages) == kept
    said = capsys.readouterr().out
    assert str(run / name) in said
    assert "done again" in said
    assert list(resumed(run).stages) == kept
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("damaged", "stay", "finished"),
    [
        ("translated/b.png", ["a.png", "c.png"], [*STAGES, "translation", "later"]),
        ("checkpoints/translation.watch.npz", ["a.png", "b.png", "c.png"], [*STAGES]),
        ("checkpoints/translation.sha256", [], [*STAGES]),  # nobody knows which are whole
    ],
)
def test_of_translated_images_only_the_damaged_are_removed_and_cost_no_stage(run, damaged, stay, finished):
    directory = RunDirectory(run)
    images = [directory.translated / name for name in ("a.png", "b.png", "c.png")]
    directory.translated.mkdir()
    for path in [*images, directory.observation("translation")]:
        write_atomically(path, path.name.encode())
    directory.finish_stage("translation", {}, images)
    directory.finish_stage("later", {})
    (run / damaged).write_bytes((run / damaged).read_bytes()[:-1])
    assert list(resumed(run).stages) == finished
    assert sorted(path.name for path in directory.translated.iterdir()) == stay


def test_a_picture_of_the_report_that_is_gone_costs_no_stage(run, capsys):
    directory = RunDirectory(run)
    picture = directory.pasting_picture("round_3")
    write_atomically(directory.weights("round_3"), b"weights")
    directory.report.mkdir()
    picture.write_bytes(b"picture")
    directory.finish_stage("round_3", {}, [picture])
    shutil.rmtree(directory.report)
    assert list(resumed(run).stages) == [*STAGES, "round_3"]
    assert capsys.readouterr().out == ""


def test_of_pseudo_labels_all_are_made_anew(run):
    (run / "pseudo_labels/round_1/b.png").unlink()
    resumed(run)
    assert not list((run / "pseudo_labels/round_1").iterdir())


def test_a_damaged_state_is_replaced_by_the_one_before(run, capsys):
    text = (run / "state.json").read_text()
    (run / "state.json").write_text(text.replace('"round_2"', '"round_3"', 1))
    assert list(resumed(run).stages) == ["source", "round_1"]
    assert "state.json is damaged" in capsys.readouterr().out
    for name in ("state.json", "state.previous.json"):
        (run / name).write_text(text[: len(text) // 2])
    assert "cannot be resumed" in refusal(run)


def test_leftovers_of_killed_writes_are_removed(run):
    for folder in (run, run / "checkpoints", run / "pseudo_labels" / "round_1"):
        (folder / ".partial-x.png").write_bytes(b"half")
    resumed(run)
    assert not list(run.rglob(".partial-*"))


@pytest.mark.parametrize("last", ["recipe.json", "environment.json"])
def test_a_run_killed_at_its_very_beginning_can_be_begun_or_resumed(run, last):
    for path in run.iterdir():
        if path.name not in ("lock", "lock.json", last, "recipe.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert list(resumed(run).stages) == []
    shutil.rmtree(run / "checkpoints")
    for path in run.glob("*.json"):
        path.unlink()
    (run / ".partial-recipe.json").write_text("{")
    begun(run).unlock()


def test_a_second_run_on_a_directory_is_refused_until_the_first_is_killed(run):
    code = (
        "import sys, time; from pathlib import Path; from training.run_directory.resuming import resume;"
        "run = resume(Path(sys.argv[1]), ['--resume', sys.argv[1]]); print('at work', flush=True); time.sleep(600)"
    )
    first = subprocess.Popen([sys.executable, "-c", code, str(run)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "at work\n"
        assert f"in use by another run (process {first.pid} on" in refusal(run)
        with pytest.raises(UserError, match="not empty"):
            begun(run)
        assert RunDirectory.reopen(run)[0].stages.keys() == set(STAGES), "reading is free"
    finally:
        first.kill()
        first.wait()
    assert list(resumed(run).stages) == list(STAGES)


def test_two_that_begin_at_once(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    first = RunDirectory(path)
    first.lock()
    with pytest.raises(UserError, match="in use by another run"):
        begun(path)
    first.unlock()


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        (["--recipe", "cbst"], "names.recipe: cbst_sp -> cbst"),
        (["--recipe", "hiast"], "more"),
        (["--seed", "4"], "seed: 0 -> 4"),
        (["--set", "adaptation.rounds=3"], "adaptation.rounds: 2 -> 3"),
        (["--set", "data.schedules.warm_up.steps=9", "adaptation.rounds=2"], "data.schedules.warm_up.steps: 6 -> 9"),
        (["--source-root", "/labelled"], "data.source.root: None -> /labelled"),
        (["--warm-start", "other"], f"warm_start: None -> {Path('other').resolve()}"),
        (["--out", "elsewhere"], "out: "),
    ],
)
def test_other_settings_than_it_was_begun_with_are_refused_with_the_difference(run, more, difference):
    assert difference in refusal(run, *more)


def test_the_same_settings_again_are_fine(run):
    resumed(run, *ARGUMENTS, "--seed", "0", "--out", str(run))
    resumed(run, "--set", "adaptation.rounds=2")


def test_the_same_settings_in_the_words_of_another_version_are_fine(run):
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["experiment"]["data"].update(title="other words", note="other words")
    (run / "recipe.json").write_text(json.dumps(recipe))
    resumed(run, "--set", "adaptation.rounds=2")


def test_the_warm_start_is_remembered(tmp_path):
    asked = {"path": "/runs/other", "pixels": None}
    RunDirectory.create(tmp_path / "run", experiment_of(parse([])), ["--warm-start", "other"], asked).unlock()
    assert resumed(tmp_path / "run").warm_start == asked
    assert resumed(tmp_path / "run", "--warm-start", "other").warm_start == asked
    other, third = Path("other").resolve(), Path("third").resolve()
    assert f"warm_start: {other} -> {third}" in refusal(tmp_path / "run", "--warm-start", "third")


def test_a_run_of_another_version_is_said_and_goes_on_if_it_fits(run, capsys):
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**environment, "streetshift": "0.0.1", "cpus": 999}))
    state = json.loads((run / "state.json").read_text())
    (run / "state.json").write_text(json.dumps({**state, "version": "0.0.1"}))
    directory = resumed(run)
    said = capsys.readouterr().out
    assert f"was begun by StreetShift 0.0.1: version {VERSION} goes on" in said
    assert "other streetshift, cpus" in said
    assert directory.read_json("environment.json")["continued_with"][0]["streetshift"] == VERSION
    resumed(run)
    assert "cpus" not in capsys.readouterr().out, "said once"


@pytest.mark.parametrize("change", [{"invented": 1}, {"seed": "many"}])
def test_a_run_of_another_version_that_does_not_fit_is_refused(run, change):
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["experiment"].update(change)
    (run / "recipe.json").write_text(json.dumps(recipe))
    sentence = refusal(run)
    assert next(iter(change)) in sentence
    assert VERSION in sentence


def test_a_run_without_digests_is_refused(run):
    state = json.loads((run / "state.json").read_text())
    for name in ("state.json", "state.previous.json"):
        (run / name).write_text(json.dumps({key: state[key] for key in ("version", "stages")}))
    assert "of an earlier StreetShift" in refusal(run)
