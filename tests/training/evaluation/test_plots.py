"""Charts: files a viewer can open, that change with the figures; matplotlib stays away until it is needed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.classes import LABEL_SPACES, LabelSpace
from training.evaluation import plots

ROOT = Path(__file__).resolve().parents[3]


def picture(path) -> np.ndarray:
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        assert min(opened.size) > 200
        return np.asarray(opened.convert("RGB"))


def share_of(image: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float(np.mean(np.abs(image.astype(int) - colour).max(axis=-1) <= 3))


BLUE, GREY, ORANGE, BAND = (0, 114, 178), (166, 166, 166), (213, 94, 0), (227, 238, 246)


def test_matplotlib_is_not_imported_with_the_module():
    code = (
        "import sys, training.evaluation.report; sys.exit('matplotlib' in sys.modules or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_confusion_chart_is_dark_on_the_diagonal_of_a_good_model(tmp_path):
    space = LABEL_SPACES["cityscapes19"]
    good, bad = np.eye(19) * 100, np.full((19, 19), 5)
    dark = [
        plots.confusion_chart(tmp_path / f"{name}.png", matrix, space) for name, matrix in (("a", good), ("b", bad))
    ]
    shares = [np.mean(picture(path)[..., 0] < 60) for path in dark]
    assert shares[0] > shares[1] + 0.01


def test_confusion_chart_gives_silent_pixels_a_column(tmp_path):
    space, matrix = LABEL_SPACES["cityscapes19"], np.eye(19)
    plain = picture(plots.confusion_chart(tmp_path / "a.png", matrix, space, np.zeros(19)))
    silent = picture(plots.confusion_chart(tmp_path / "b.png", matrix, space, np.eye(19)[3]))
    assert silent.shape[1] > plain.shape[1]


def test_confusion_chart_hatches_absent_classes(tmp_path, label_space, before):
    hatch = (207, 207, 207)
    absent = picture(plots.confusion_chart(tmp_path / "a.png", before.matrix, label_space))
    present = picture(plots.confusion_chart(tmp_path / "b.png", before.matrix + 1, label_space))
    assert share_of(absent, hatch) > 2 * share_of(present, hatch)
    picture(plots.confusion_chart(tmp_path / "c.png", np.zeros((4, 4)), label_space))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("classes", "name"), [(2, "a"), (2, "a very long name of a class $"), (40, "class number")])
def test_charts_fit_label_spaces_of_any_size(tmp_path, classes, name):
    names = tuple(f"{name} {index}" for index in range(classes))
    space = LabelSpace("own", names, ((9, 9, 9),) * classes, (255,) * 19)
    picture(plots.confusion_chart(tmp_path / "a.png", np.eye(classes), space, title="Confusion: city, val split"))
    picture(plots.per_class_chart(tmp_path / "b.png", space, dict.fromkeys(names, 10.0), dict.fromkeys(names, 20.0)))


def test_per_class_chart_has_bars_for_what_is_known(tmp_path, label_space):
    values = {"road": 80.0, "tree | hedge": 60.0, "car": None, "tram": None}
    both = picture(plots.per_class_chart(tmp_path / "a.png", label_space, values, {**values, "car": 30.0}))
    single = picture(plots.per_class_chart(tmp_path / "b.png", label_space, None, values))
    assert share_of(both, GREY) > 0.05
    assert share_of(both, BLUE) > 0.05
    assert share_of(single, GREY) < 0.01
    assert share_of(single, BLUE) > 0.1


def test_loss_is_marked_unless_less_is_not_worse(tmp_path, label_space):
    old, new = {"road": 80.0, "car": 10.0}, {"road": 20.0, "car": 30.0}
    marked = plots.per_class_chart(tmp_path / "a.png", label_space, old, new)
    neutral = plots.per_class_chart(tmp_path / "b.png", label_space, old, new, more_is_better=False)
    assert share_of(picture(marked), ORANGE) > 0
    assert share_of(picture(neutral), ORANGE) == 0


def test_stages_chart_marks_the_chosen_and_the_collapsed_stage(tmp_path, summary):
    drawn = picture(plots.stages_chart(tmp_path / "a.png", summary))
    assert share_of(drawn, BAND) > 0.02
    assert share_of(drawn, ORANGE) > 0.0005
    healthy = {**summary, "chosen": None, "stages": [{**entry, "verdict": "ok"} for entry in summary["stages"]]}
    calm = picture(plots.stages_chart(tmp_path / "b.png", healthy))
    assert share_of(calm, BAND) < 0.001
    assert share_of(calm, ORANGE) == 0


@pytest.mark.parametrize(
    "entries",
    [[{}], [{"kept_share": 0.2}], [{"miou": 40.0 + n} for n in range(1, 9)]],
)
def test_stages_chart_with_few_figures(tmp_path, entries):
    stages = [{"stage": f"round_{n}", "title": f"Round {n}", **entry} for n, entry in enumerate(entries)]
    picture(plots.stages_chart(tmp_path / "a.png", {"stages": stages}))


def test_names_of_stages_that_would_overlap_are_tilted(tmp_path, summary):
    """The stages of `best`: the lines of names below the small charts take more room, and the charts keep theirs."""
    titles = ("Logit adjustment", "Step 75", "Step 150", "Step 225", "Step 300")
    stages = [{**summary["stages"][0], "stage": title, "title": title} for title in titles]
    few = picture(plots.stages_chart(tmp_path / "a.png", {**summary, "stages": stages[1:3]}))
    tilted = picture(plots.stages_chart(tmp_path / "b.png", {**summary, "stages": stages}))
    assert tilted.shape[0] > few.shape[0] + 100


def test_charts_leave_the_callers_matplotlib_settings_alone(tmp_path, label_space, before):
    import matplotlib

    settings = dict(matplotlib.rcParams)
    plots.confusion_chart(tmp_path / "a.png", before.matrix, label_space)
    assert dict(matplotlib.rcParams) == settings
