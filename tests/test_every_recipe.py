"""Every recipe trains end to end, in tiny: no skip list."""

import json
import shutil
from pathlib import Path

import pytest

from training import run as run_script
from training.recipes import RECIPES
from training.run_directory import RunDirectory


@pytest.fixture(scope="session", autouse=True)
def frame_cache(tmp_path_factory):
    """Embedded frames are rendered once for all recipes, away from the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("STREETSHIFT_CACHE", str(tmp_path_factory.mktemp("frames")))
    yield
    patch.undo()


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_trains_end_to_end(recipe, tmp_path):
    out = tmp_path / recipe
    assert run_script.main(["--recipe", recipe, "--smoke", "--out", str(out)]) == 0
    summary = json.loads((out / "report" / "summary.json").read_text())
    labelling = [entry for entry in summary["rounds"] if isinstance(entry["round"], int)]
    assert len(labelling) <= (RECIPES[recipe].adaptation.rounds if RECIPES[recipe].adaptation else 0)
    assert len(summary["rounds"]) - len(labelling) == (RECIPES[recipe].adversarial is not None)
    assert 0 <= summary["after"]["miou"] <= 100
    assert set(summary["after"]["per_class_iou"]) >= {"road", "bicycle"}
    assert (out / "report" / "report.md").read_text().startswith("# ")
    for entry in labelling:
        folder = out / "pseudo_labels" / f"round_{entry['round']}"
        manifest = json.loads((folder / "manifest.json").read_text())
        assert len(list(folder.glob("*.png"))) == manifest["images"]
    shutil.rmtree(out)


def test_a_killed_round_resumes_to_the_same_weights(tmp_path):
    """Stop after the warm-up as a kill would, resume, and compare with a run that was never stopped."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ["--recipe", "cbst", "--smoke", "--seed", "5"]
    assert run_script.main([*arguments, "--out", str(whole)]) == 0
    shutil.copytree(whole, killed)
    _forget_rounds(killed)
    assert run_script.main(["--resume", str(killed)]) == 0
    first, second = ((path / "final.weights.h5") for path in (whole, killed))
    assert _weights(first) == _weights(second)


def _forget_rounds(path: Path) -> None:
    directory = RunDirectory(path)
    state = directory.read_json("state.json")
    state["stages"] = {"source": state["stages"]["source"]}
    directory.write_json("state.json", state)
    for file in [*directory.checkpoints.glob("round_*"), directory.final_weights]:
        file.unlink()
    shutil.rmtree(directory.pseudo_labels)


def _weights(path: Path) -> dict[str, bytes]:
    import h5py

    values = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: values.update({name: item[()].tobytes()} if hasattr(item, "dtype") else {}))
    return values
