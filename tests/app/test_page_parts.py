"""What the page is made of, without a server: files that grow old, escaped text, models found, errors told."""

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from app.batch import Batch, Line
from app.context import PageContext
from app.drawing import certainty_map, changed_only, png, write_masks, written
from app.endpoints import told, upload_of
from app.examples import SIZE, draw_examples
from app.loaded_model import check_same_classes, load_model, newest_model, source_beside
from app.look import banner, head, theme, why_unchanged
from app.main import main
from app.page import about, build_page
from app.results import KEPT, ResultFolder, delete_older_than
from app.segmenting import compare, segment
from app.tables import batch, changes, legend, percent
from app.uploads import Photo, Upload, read_photo
from tests.app.tiny_model import NAMES, painted, street, write_tiny_model
from training.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def results():
    with ResultFolder() as folder:
        yield folder


def test_importing_the_page_never_imports_tensorflow():
    code = "import sys, app.main; sys.exit(int(bool({'tensorflow', 'keras', 'torch'} & set(sys.modules))))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_old_files_are_deleted_and_what_the_page_needs_stays(results):
    old, young, kept = results.new() / "old.png", results.new() / "young.png", results.kept("examples") / "street.jpg"
    for path in (old, young, kept):
        path.write_bytes(b"x")
    hour_ago = time.time() - 3600
    for path in (old, kept):
        os.utime(path, (hour_ago, hour_ago))
    assert delete_older_than(results.path, 1800) == 1
    assert (old.exists(), young.exists(), kept.exists()) == (False, True, True)
    os.utime(old.parent, (hour_ago, hour_ago))
    delete_older_than(results.path, 1800)
    assert not old.parent.exists()
    assert young.parent.exists()


def test_the_folder_vanishes_with_the_page(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "elsewhere")
    with ResultFolder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder.path)
        assert (folder.path / KEPT).is_dir()
    assert not folder.path.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "elsewhere"


def test_two_results_never_share_a_folder(results):
    assert results.new() != results.new()


def test_class_names_and_file_names_are_escaped(model, source, street_file):
    everything = np.full((64, 128), 4, np.uint8)
    found = segment(model, Photo("tree", painted(everything), (64, 128)))
    assert "tree &lt;b&gt;" in legend(found, model.space)
    assert "<b>tree" not in legend(found, model.space)
    table = batch(Batch((Line("<img src=x>.png", "x", ((0, 1.0),)),), Path("x.zip"), ()), model.space)
    assert "&lt;img src=x&gt;" in table
    assert "painted &lt;game&gt;" in banner(model)
    assert "mIoU 40.0 → <b>60.0</b>" in banner(model)
    assert "without a single label" in banner(model)
    compared = changes(compare(source, model, read_photo(Upload(street_file, "street.png"))), model.space)
    assert "<b>50 %</b> of the pixels changed" in compared


def test_shares_are_told_as_people_read_them():
    assert [percent(share) for share in (0, 0.0004, 0.031, 0.344, 1)] == ["0 %", "< 0.1 %", "3.1 %", "34 %", "100 %"]


def test_masks_hold_one_colour_where_the_class_is(model, tmp_path):
    from PIL import Image

    (path,) = write_masks(tmp_path, street(), [3], model.space)
    mask = np.asarray(Image.open(path).convert("RGBA"))
    assert np.array_equal(mask[..., 3] == 255, street() == 3)
    assert (mask[street() == 3][:, :3] == (0, 0, 142)).all()
    assert (mask[street() != 3][:, 3] == 0).all()
    assert path.stat().st_size < 1000


def test_certainty_runs_from_dark_blue_to_yellow():
    colours = certainty_map(np.float32([[0, 1, 2]]))
    assert colours[0, 0, 2] > colours[0, 0, 1]
    assert colours[0, 1].min() < 60
    assert colours[0, 1, :2].min() > 200
    assert np.array_equal(colours[0, 1], colours[0, 2])


def test_only_changed_pixels_keep_a_label():
    assert changed_only(np.uint8([[0, 1]]), np.uint8([[0, 2]])).tolist() == [[255, 2]]


def test_the_newest_run_is_found(tmp_path):
    with pytest.raises(UserError, match=r"python training/run\.py --recipe cbst_sp"):
        newest_model(tmp_path)
    for age, name in ((0, "new"), (60, "old")):
        path = written_model(tmp_path / "runs" / name / "model.onnx")
        os.utime(path, (time.time() - age,) * 2)
    (tmp_path / "runs" / "unfinished").mkdir()
    assert newest_model(tmp_path) == tmp_path / "runs" / "new" / "model.onnx"
    assert source_beside(newest_model(tmp_path)) is None
    source = written_model(tmp_path / "runs" / "new" / "source.onnx")
    assert source_beside(newest_model(tmp_path)) == source


def written_model(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return written(path, b"")


def test_a_model_that_cannot_be_used_is_told_so(tmp_path, model, run_folder):
    with pytest.raises(UserError, match="There is no model"):
        load_model(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match="cannot be opened"):
        load_model(written(tmp_path / "text.onnx", b"no model"))
    check_same_classes(model, load_model(run_folder / "source.onnx"))


def test_models_of_other_classes_are_not_compared(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.app.tiny_model.NAMES", (*NAMES[:-1], "bush"))
    other = load_model(write_tiny_model(tmp_path / "other.onnx"))
    with pytest.raises(UserError, match="same run"):
        check_same_classes(model, other)


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(["--model", "none.onnx"], "There is no model"), ([], "There is no run")]
)
def test_the_command_line_says_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"streetshift: {sentence}")


def test_mistakes_and_bugs_both_become_messages():
    @told
    def fails(error: Exception):
        raise error

    with pytest.raises(gr.Error) as mistake:
        fails(UserError("<script> is damaged"))
    assert mistake.value.message == "&lt;script&gt; is damaged"
    with pytest.raises(gr.Error) as bug:
        fails(KeyError("secret"))
    assert "secret" not in bug.value.message
    assert not mistake.value.print_exception


def test_a_payload_without_a_file_is_told_so():
    assert upload_of(None) is None
    with pytest.raises(gr.Error):
        upload_of({"path": None, "url": "data:image/png;base64,xx"})


def test_files_outside_the_upload_folder_are_no_uploads(results, street_file, tmp_path):
    uploaded = results.new() / "y.png"
    assert upload_of({"path": str(uploaded), "orig_name": "../../a.png"}) == Upload(uploaded, "a.png")
    (results.path / "link.png").symlink_to(street_file)
    above = results.path / ".." / tmp_path.name
    for path in (street_file, results.path / "link.png", above, results.path, Path("a.png")):
        with pytest.raises(gr.Error, match="uploaded to this page"):
            upload_of({"path": str(path), "orig_name": "a.png"})


def test_the_look_asks_nothing_of_a_network():
    fonts = theme()._font_css + theme()._stylesheets
    for text in (*fonts, head()):
        assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)), text


def test_examples_stay_when_uploads_are_deleted(model, source, results):
    """Gradio deletes every file an event has used; a clicked example is one."""
    from gradio.route_utils import delete_files_created_by_app

    examples = draw_few(results)
    page = build_page(PageContext(model, source, results, examples))
    for component in page.blocks.values():
        getattr(component, "temp_files", set()).update(str(path) for path in examples)
    delete_files_created_by_app(page, age=None)
    assert all(path.exists() for path in examples)
    assert all(path.exists() for path in (results.path / KEPT / "segment").iterdir())
    assert list((results.path / KEPT / "segment").iterdir())


def draw_few(results: ResultFolder) -> tuple[Path, ...]:
    folder = results.kept("examples")
    return tuple(written(folder / f"street_{k}.png", png(painted(street()))) for k in range(2))


def test_the_page_works_without_a_source_model(model, results):
    context = PageContext(model, None, results, draw_few(results))
    page = build_page(context)
    names = {function.api_name for function in page.fns.values() if function.api_visibility == "public"}
    assert names == {"segment", "compare", "pseudo_labels", "batch", "model"}
    assert about(context)["compares"] is False


def test_one_event_at_a_time_shows_the_overlay_to_download(model, results):
    page = build_page(PageContext(model, None, results, draw_few(results)))
    button = next(block for block in page.blocks.values() if getattr(block, "elem_id", "") == "overlay-file")
    events = [function for function in page.fns.values() if button in function.outputs]
    assert len(events) == 2
    assert {(event.concurrency_id, event.concurrency_limit) for event in events} == {("ordered", 1)}


def test_examples_are_generated_streets(tmp_path, monkeypatch):
    monkeypatch.setattr("app.examples.FRAMES", (("city", 10), ("dusk", 10)))
    photos = [read_photo(Upload(path, path.name)) for path in draw_examples(tmp_path)]
    assert [photo.own_size for photo in photos] == [SIZE, SIZE]
    assert photos[0].image.mean() > photos[1].image.mean() + 10


@pytest.mark.parametrize(
    "about", [{"weights_of": None, "trained_on_target": None}, {"source": "a"}, {"target": "a, the rest"}]
)
def test_a_model_that_had_labels_of_its_target_or_does_not_say_is_not_said_to_do_without(model, about):
    metadata = replace(model.metadata, **{"source": "b", "target": "a", **about})
    assert "it." in banner(replace(model, metadata=metadata))
    assert "as told by" not in banner(replace(model, metadata=metadata))


def test_a_model_that_was_not_trained_on_its_target_says_so(model, source, street_file):
    """The watch kept the model before adaptation: the page says it, and why before and after are the same."""
    about = replace(model.metadata, weights_of="before adaptation", trained_on_target=False)
    kept = replace(source, metadata=about)
    assert "as told by the model before adaptation, which the watch kept: it was <b>not trained on" in banner(kept)
    assert "as told by the model before adaptation: it was" in banner(source)
    photo = read_photo(Upload(street_file, "street.png"))
    told = changes(compare(source, kept, photo), model.space, why_unchanged(kept, source))
    assert "<b>0 %</b> of the pixels changed. Both are the model before adaptation: the watch kept it" in told
    assert why_unchanged(model, source) == why_unchanged(kept, None) == ""


def test_a_batch_says_how_many_files_its_table_leaves_out(model):
    lines = tuple(Line(f"{number}.png", str(number), ((0, 1.0),)) for number in range(30))
    assert "<p>18 more in the zip's table.</p>" in batch(Batch(lines, Path("x.zip"), ()), model.space)


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 70000), ("203.0.113.5", None), ("no such host", None), ("a..b", None)]
)
def test_an_address_to_listen_on_that_there_is_not_is_told_before_a_model_is_opened(host, port, capsys):
    options = ["--model", "none.onnx", "--host", host, *(["--port", str(port)] if port else [])]
    assert main(options) == 2
    assert ("--host" if port is None else "--port") in capsys.readouterr().err
