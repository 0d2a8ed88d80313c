"""Every recipe trains end to end, in tiny: no skip list."""

import json
import shutil

import pytest
from keras import layers
from matplotlib.figure import Figure

from models import compact
from models.layers import Doubled, convolution
from models.segmenter import build_segmenter
from training import run as run_script
from training.evaluation import canvas, plots
from training.recipes import RECIPES
from training.settings.stages import Online, Rounds

pytestmark = pytest.mark.usefixtures("graphs_as_traced", "small_discriminators")


@pytest.fixture(scope="session", autouse=True)
def frame_cache(tmp_path_factory):
    """Embedded frames are rendered once for all recipes, away from the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("STREETSHIFT_CACHE", str(tmp_path_factory.mktemp("frames")))
    yield
    patch.undo()


@pytest.fixture(scope="module", autouse=True)
def fewer_layers():
    """`compact` with its strides and levels and a third of its layers: as much less to trace and to export."""

    def residual_block(x, filters: int, dilation: int = 1, *, name: str):
        return layers.ReLU(name=f"{name}_2_relu")(x)

    def merged(coarse, fine, filters: int, *, name: str):
        lifted = Doubled(name=f"{name}_doubled")(convolution(coarse, filters, 1, name=f"{name}_coarse"))
        return layers.Add(name=f"{name}_add")([lifted, convolution(fine, filters, 1, name=f"{name}_fine")])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact, "residual_block", residual_block)
        patch.setattr(compact, "with_scene_context", lambda x, filters: x)
        patch.setattr(compact, "merged", merged)
        yield


@pytest.fixture(autouse=True)
def coarse_charts(monkeypatch):
    """Without those of scores: they are the same for every recipe, and take longer to draw than all others."""
    for chart in ("confusion_chart", "per_class_chart"):
        monkeypatch.setattr(plots, chart, lambda path, *_, **__: path)
    monkeypatch.setattr(canvas, "figure", lambda width, height: Figure((width, height), dpi=20))


@pytest.fixture(scope="module")
def size_of_weights(tmp_path_factory) -> int:
    """Bytes of a file with the weights of the network alone."""
    file = tmp_path_factory.mktemp("plain") / "plain.weights.h5"
    build_segmenter("compact", 19).save_weights(file)
    return file.stat().st_size


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_trains_end_to_end(recipe, tmp_path, size_of_weights):
    out = tmp_path / recipe
    assert run_script.main(["--recipe", recipe, "--smoke", "--out", str(out)]) == 0
    summary = json.loads((out / "report" / "summary.json").read_text())
    names = [entry["stage"] for entry in summary["stages"]]
    adaptation = RECIPES[recipe].adaptation
    labelling = [name for name in names if name.startswith("round_")]
    online = [name for name in names if name.startswith("online_")]
    assert len(labelling) == (1 if isinstance(adaptation, Rounds) else 0)
    assert online == (["online_3"] if isinstance(adaptation, Online) else [])
    first = ["statistics"] if RECIPES[recipe].adaptation or RECIPES[recipe].alignment else []
    alignment = RECIPES[recipe].alignment
    rounds = 0 if alignment is None else min(alignment.rounds, 2)
    first += ["alignment"] if rounds == 1 else [f"alignment_{number}" for number in range(1, rounds + 1)]
    assert names == [*first, *labelling, *online]
    assert 0 <= summary["after"]["miou"] <= 100
    assert set(summary["after"]["per_class_iou"]) >= {"road", "bicycle"}
    assert (out / "report" / "report.md").read_text().startswith("# ")
    adapts = RECIPES[recipe].adaptation or RECIPES[recipe].alignment
    assert {file.name for file in out.glob("*.onnx")} == {"model.onnx", *(["source.onnx"] if adapts else [])}
    assert (out / "final.weights.h5").stat().st_size == size_of_weights  # no other head is in what is exported
    mixture = getattr(adaptation, "mixture", None)
    assert [bool(entry.get("modes")) for entry in summary["stages"] if entry["stage"] in labelling] == [
        mixture is not None for _ in labelling
    ]
    for name in labelling:
        folder = out / "pseudo_labels" / name
        manifest = json.loads((folder / "manifest.json").read_text())
        assert len(list(folder.glob("*.png"))) == manifest["images"]
    shutil.rmtree(out)
