"""Streams depend on seed and position only, resume anywhere, and carry clear errors out of tf.data."""

import gc
import os
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.data import published_layouts as layouts
from tests.training.data.published_layouts import save
from training.data import datasets, input_pipeline
from training.data.classes import IGNORE, LABEL_SPACES
from training.data.images import resize_image
from training.data.input_pipeline import (
    SampleAugmentation,
    TrainingStream,
    Views,
    evaluation_stream,
    raise_unreadable,
    side_by_side,
)
from training.data.samples import Dataset
from training.data.sampling import NO_CLASS, Permutation, RareClasses, Weighted
from training.distribution.shares import Share
from training.errors import UserError

SIZE = (24, 48)
VARIED = SampleAugmentation((16, 32), scale=(0.7, 1.5), jitter=0.5, blur=0.3, noise=0.3, mine=0.5, mine_classes=(3, 4))
STILL = SampleAugmentation(SIZE, flip=0.0)


@pytest.fixture
def data(tmp_path) -> Dataset:
    return datasets.folders(layouts.write_folders(tmp_path / "data", 5), LABEL_SPACES["cityscapes19"])


def batches(stream: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    return [{key: value.numpy() for key, value in batch.items()} for batch in stream]


def read_all(stream: tf.data.Dataset) -> None:
    """Go through a training stream as a stage does."""
    for _ in stream:
        raise_unreadable()
    raise_unreadable()


def assert_equal(first, second) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_shapes_types_and_number_of_batches(data):
    stream = TrainingStream(data, SIZE, VARIED, batch_size=3, steps=4, seed=0).batches()
    assert len(list(stream)) == 4
    assert stream.element_spec["image"].shape == (3, 16, 32, 3)
    found = batches(stream)
    assert len(found) == 4
    for batch in found:
        assert (batch["image"].shape, batch["image"].dtype) == ((3, 16, 32, 3), np.float32)
        assert (batch["label"].shape, batch["label"].dtype) == ((3, 16, 32), np.uint8)
        assert (batch["index"].shape, batch["index"].dtype) == ((3,), np.int32)


@pytest.mark.parametrize(("cache", "starts"), [(True, (1, 9)), (False, (4,))])
def test_resumed_stream_equals_the_tail(data, cache, starts):
    whole = batches(TrainingStream(data, SIZE, VARIED, 2, 9, seed=4, cache=cache).batches())
    for start in starts:
        rest = batches(TrainingStream(data, SIZE, VARIED, 2, 9, seed=4, cache=cache).batches(first_step=start))
        assert_equal(rest, whole[start:])


def test_processes_and_replicas_make_their_rows_of_the_same_batches(data):
    whole = batches(TrainingStream(data, SIZE, VARIED, 4, 5, seed=4).batches())
    for process in range(2):
        share = Share(process, processes=2, replicas=2)
        mine = batches(TrainingStream(data, SIZE, VARIED, 4, 5, seed=4).batches(share=share))
        rows = [{key: value[row : row + 1] for key, value in batch.items()} for batch in whole for row in range(4)]
        assert_equal(mine, [row for number, row in enumerate(rows) if number % 4 // 2 == process])
        late = batches(TrainingStream(data, SIZE, VARIED, 4, 5, seed=4).batches(first_step=3, share=share))
        assert_equal(late, mine[6:])


def test_seeds_differ_and_epochs_are_not_repeated(data):
    one, other = (batches(TrainingStream(data, SIZE, VARIED, 5, 2, seed=seed).batches()) for seed in (0, 1))
    assert (one[0]["image"] != other[0]["image"]).any()
    views = {int(i): image for i, image in zip(one[0]["index"], one[0]["image"], strict=True)}
    for index, image in zip(one[1]["index"], one[1]["image"], strict=True):
        assert (views[int(index)] != image).any()  # the same frame, another view


def test_result_does_not_depend_on_parallelism_or_cache(data, monkeypatch):
    expected = batches(TrainingStream(data, SIZE, VARIED, 2, 8, seed=1, cache=True).batches())
    read_pair = Dataset.read_pair

    def uneven(self, index):
        time.sleep(0.02 if index % 2 else 0.0)
        return read_pair(self, index)

    monkeypatch.setattr(Dataset, "read_pair", uneven)
    for threads in (1, 4):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        stream = TrainingStream(data, SIZE, VARIED, 2, 8, seed=1, cache=False).batches().with_options(options)
        assert_equal(batches(stream), expected)


def test_each_epoch_holds_every_sample_of_the_subset(data):
    chosen = np.array([4, 1, 2])
    for cache in (True, False):
        stream = TrainingStream(
            data, SIZE, SampleAugmentation(SIZE), 3, 4, seed=0, order=Permutation(chosen), cache=cache
        ).batches()
        for batch in batches(stream):
            assert sorted(batch["index"].tolist()) == [1, 2, 4]


def test_index_label_and_image_belong_together(data):
    for cache in (True, False):
        for batch in batches(TrainingStream(data, SIZE, STILL, 2, 5, seed=0, cache=cache).batches()):
            for image, label, index in zip(batch["image"], batch["label"], batch["index"], strict=True):
                np.testing.assert_array_equal(image, data.read_image(int(index)))
                np.testing.assert_array_equal(label, data.read_label(int(index)))


def test_decoded_frames_live_as_long_as_the_stream_and_no_longer(data, monkeypatch):
    stream = TrainingStream(data, SIZE, VARIED, 2, 20, seed=0, cache=True).batches()
    frames = weakref.ref(stream.decoded_frames)
    derived = tf.data.Dataset.zip({"source": stream.map(lambda batch: batch["image"])})
    del stream
    monkeypatch.setattr(Dataset, "read_pair", None)  # reading a file again would fail
    iterator = iter(derived)
    del derived
    gc.collect()
    assert sum(1 for _ in iterator) == 20
    del iterator
    gc.collect()
    assert frames() is None


def test_unlabelled_samples_are_all_ignored(data):
    for batch in batches(TrainingStream(data.without_labels(), SIZE, VARIED, 2, 3, seed=0).batches()):
        assert (batch["label"] == IGNORE).all()


def test_frames_of_any_size_come_at_one_size(tmp_path):
    for index, shape in enumerate(((10, 20), (33, 44), (24, 48))):
        save(tmp_path / f"{index}.png", np.full((*shape, 3), 50 * index, np.uint8))
    data = datasets.image_folder(tmp_path, LABEL_SPACES["cityscapes19"])
    stream = TrainingStream(data, SIZE, SampleAugmentation(SIZE), 3, 1, seed=0).batches()
    assert next(iter(stream))["image"].shape == (3, *SIZE, 3)


@pytest.mark.parametrize("cache", [True, False])
def test_damaged_label_becomes_one_sentence(data, cache):
    path = data.samples[3].label
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"labels/003\.png is damaged"):
        read_all(TrainingStream(data, SIZE, VARIED, 2, 6, seed=0, cache=cache).batches())


def test_wrong_size_pair_found_while_training(data):
    save(data.samples[2].label, np.zeros((3, 3), np.uint8))  # after the reader has looked
    with pytest.raises(UserError, match=r"002\.png is 24x48"):
        batches(TrainingStream(data, SIZE, VARIED, 2, 6, seed=0).batches())


def test_no_batch_holds_anything_in_the_place_of_a_damaged_file(data):
    data.samples[3].image.write_bytes(b"no picture")
    found = batches(TrainingStream(data, SIZE, VARIED, 2, 6, seed=0, cache=False).batches())
    assert len(found) < 6
    assert all(index not in (3, -1) for batch in found for index in batch["index"])
    with pytest.raises(UserError, match=r"003\.png is damaged"):
        raise_unreadable()


def test_a_defect_of_the_program_is_no_sentence(data, monkeypatch):
    monkeypatch.setattr(Dataset, "read_image", lambda *_: 1 / 0)
    with pytest.raises(tf.errors.OpError, match="division by zero"):
        batches(evaluation_stream(data, SIZE, 2))


def test_impossible_crop_and_empty_subset(data):
    with pytest.raises(UserError, match="crop 100x48"):
        TrainingStream(data, SIZE, SampleAugmentation((100, 48)), 2, 6, seed=0).batches()
    with pytest.raises(UserError, match="no image to train on"):
        TrainingStream(data, SIZE, VARIED, 2, 6, seed=0, order=Permutation(np.array([], int))).batches()


@pytest.mark.parametrize("size", [None, (12, 24), (40, 60)])
def test_evaluation_stream_is_in_order_and_plain(data, size):
    result = batches(evaluation_stream(data, size, 2))
    assert [batch["index"].tolist() for batch in result] == [[0, 1], [2, 3], [4]]
    for batch in result:
        assert batch["image"].dtype == np.float32
        for image, index in zip(batch["image"], batch["index"], strict=True):
            expected = data.read_image(int(index))
            np.testing.assert_array_equal(image, expected if size is None else resize_image(expected, size))


def test_what_is_decoded_and_predicted_is_counted_where_it_takes_long(data, capsys, monkeypatch):
    monkeypatch.setattr(input_pipeline, "PATIENCE", 0.0)
    assert len(list(evaluation_stream(data, SIZE, 2).shown("watching"))) == 3
    TrainingStream(data, SIZE, STILL, 2, 1, seed=0, cache=True).batches()
    said = capsys.readouterr().out
    assert "watching: 5/5 in" in said
    assert f"decoding {data.name}: 2/2 in" in said  # of one step, the frames of one step


def test_evaluation_of_mixed_sizes_comes_one_at_a_time(data):
    save(data.samples[1].image, np.zeros((10, 20, 3), np.uint8))
    shapes = [batch["image"].shape[:3] for batch in batches(evaluation_stream(data, None, 4))]
    assert shapes == [(1, 24, 48), (1, 10, 20), (1, 24, 48), (1, 24, 48), (1, 24, 48)]


def test_evaluation_of_a_damaged_image(data):
    data.samples[4].image.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"images/004\.png is damaged"):
        next(iter(evaluation_stream(data, SIZE, 8)))  # not a batch that is too short


PRINTED = """
import sys
from training.distribution.quiet import start_tensorflow
start_tensorflow()
from training.data import datasets, input_pipeline
from training.data.classes import LABEL_SPACES
from training.data.input_pipeline import TrainingStream, evaluation_stream, raise_unreadable
from training.data.augment import SampleAugmentation
from training.errors import UserError
data = datasets.folders(sys.argv[1], LABEL_SPACES["cityscapes19"])
plain = SampleAugmentation((24, 48))
training = TrainingStream(data, (24, 48), plain, 2, 9, seed=0, cache=False)
for stream in (evaluation_stream(data, (24, 48), 2), training.batches()):
    try:
        for batch in stream:
            pass
        raise_unreadable()
    except UserError as error:
        print(error)
"""


def test_a_damaged_file_prints_nothing(tmp_path, pytestconfig):
    """TensorFlow's C++ part logs the traceback of any Python error that it meets, where pytest cannot look."""
    layouts.write_folders(tmp_path, 5)
    image = tmp_path / "images/004.png"
    image.write_bytes(image.read_bytes()[:-40])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    command = [sys.executable, "-c", PRINTED, str(tmp_path)]
    done = subprocess.run(
        command, cwd=pytestconfig.rootpath, capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.count("004.png is damaged") == 2
    assert "Traceback" not in done.stderr
    assert "004.png" not in done.stderr


def test_pseudo_labels_of_another_size_are_enlarged(data, tmp_path):
    for index in range(5):
        save(tmp_path / f"pseudo/{index:03d}.png", np.array([[index, IGNORE]], np.uint8))
    labelled = replace(data, label_space=LABEL_SPACES["cityscapes19"]).with_label_folder(tmp_path / "pseudo")
    batch = batches(TrainingStream(labelled, SIZE, STILL, 5, 1, seed=0).batches())[0]
    for label, index in zip(batch["label"], batch["index"], strict=True):
        assert (label[:, :24] == index).all()
        assert (label[:, 24:] == IGNORE).all()


@pytest.mark.parametrize("strong", [0.0, 0.5, 1.0])
def test_the_weak_view_shares_geometry_and_label_with_the_image(data, strong):
    """The same stream without any change of appearance gives the weak view."""
    plain = replace(VARIED, jitter=0.0, blur=0.0, noise=0.0)
    seen = batches(TrainingStream(data, SIZE, VARIED, 3, 4, seed=0, views=Views(strong=strong, weak=True)).batches())
    expected = batches(TrainingStream(data, SIZE, plain, 3, 4, seed=0).batches())
    for one, other in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(one["weak"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"])
    assert any(np.abs(one["image"] - one["weak"]).max() > 10 for one in seen)


def test_a_strong_view_may_go_a_part_of_the_way(data):
    half, whole = (
        batches(TrainingStream(data, SIZE, VARIED, 3, 4, seed=0, views=Views(strong, weak=True)).batches())
        for strong in (0.5, 1.0)
    )
    for one, other in zip(half, whole, strict=True):
        np.testing.assert_allclose(one["image"], (other["image"] + other["weak"]) / 2, atol=1e-4)


@dataclass(frozen=True)
class WritePosition:
    """A change that writes the position into the label, and marks where it was not the first change."""

    needs_other_frames: bool = True

    def change(self, index, position, frame, load):
        assert load(index).shape == frame.shape == (*SIZE, 4)
        changed_before = (frame[..., 3] != load(index)[..., 3]).any()
        return np.dstack([frame[..., :3], np.full(SIZE, position + 100 * changed_before, np.uint8)])


def test_frames_are_changed_by_position_before_they_are_varied(data):
    """The tail of a resumed stream sees the same positions."""
    stream = TrainingStream(data, SIZE, STILL, 3, 4, seed=0, changes=(WritePosition(),))
    whole = batches(stream.batches())
    assert [int(label.max()) for batch in whole for label in batch["label"]] == list(range(12))
    assert_equal(batches(stream.batches(first_step=2)), whole[2:])


def test_changes_are_made_one_after_the_other(data):
    two = TrainingStream(data, SIZE, STILL, 3, 4, seed=0, changes=(WritePosition(), WritePosition()))
    labels = [int(label.max()) for batch in batches(two.batches()) for label in batch["label"]]
    assert labels == [position + 100 for position in range(12)]


@pytest.mark.parametrize(("needs_other_frames", "frames"), [(True, 5), (False, 3)])
def test_all_frames_are_decoded_only_if_a_change_needs_them(data, needs_other_frames, frames):
    change = WritePosition(needs_other_frames)
    stream = TrainingStream(data, SIZE, STILL, 3, 1, seed=0, changes=(change,), cache=True).batches()
    assert len(stream.decoded_frames.pixels) == frames


def test_batches_carry_the_positions_of_their_rows(data):
    stream = TrainingStream(data, SIZE, STILL, 4, 3, seed=4)
    whole = batches(stream.batches())
    assert np.concatenate([batch["position"] for batch in whole]).tolist() == list(range(12))
    assert whole[0]["position"].dtype == np.int64
    order = stream.order.indices(0, 12, 4)
    assert np.concatenate([batch["index"] for batch in whole]).tolist() == order.tolist()
    for process in range(2):
        late = batches(stream.batches(first_step=1, share=Share(process, processes=2, replicas=2)))
        expected = [row for row in range(4, 12) if row % 4 // 2 == process]
        assert [batch["position"].tolist() for batch in late] == [[row] for row in expected]


def test_a_weighted_stream_shows_what_its_order_says(data):
    order = Weighted([0.5, 0, 0, 0.5, 0])
    shown = batches(TrainingStream(data, SIZE, STILL, 4, 6, seed=2, order=order).batches())
    assert np.concatenate([batch["index"] for batch in shown]).tolist() == order.indices(0, 24, 2).tolist()
    assert {NO_CLASS} == {int(wanted) for batch in shown for wanted in batch["wanted"]}
    with pytest.raises(IndexError, match="2 samples does not fit a data set of 5"):
        TrainingStream(data, SIZE, STILL, 4, 6, seed=2, order=Weighted([0.5, 0.5]))
    with pytest.raises(IndexError, match=r"0\.\.5 do not fit a data set of 5"):
        TrainingStream(data, SIZE, STILL, 4, 6, seed=2, order=Permutation([0, 5]))


def test_crops_of_a_rare_class_stream_show_the_class_they_were_drawn_for(data):
    """A class that fills one column of a frame: most first crops miss it, and those drawn again show it."""
    for sample in data.samples:
        label = np.zeros(SIZE, np.uint8)
        label[:, 3] = 11
        save(sample.label, label)
    counts = np.zeros((5, 19), int)
    counts[:, 11] = 24
    common = {"seed": 1, "order": RareClasses.from_counts(counts)}
    shown = {}
    for redraws in (0, 10):
        crop = SampleAugmentation((8, 16), redraws=redraws)
        stream = TrainingStream(data, SIZE, crop, 4, 10, **common)
        whole = batches(stream.batches())
        assert_equal(batches(stream.batches(first_step=7)), whole[7:])
        assert {11} == {int(wanted) for batch in whole for wanted in batch["wanted"]}
        shown[redraws] = np.mean([(label == 11).any() for batch in whole for label in batch["label"]])
    assert shown[0] < 0.3
    assert shown[10] > 0.7


def test_streams_side_by_side_make_one_batch_per_step(data):
    one, other = TrainingStream(data, SIZE, STILL, 2, 3, seed=0), TrainingStream(data, SIZE, STILL, 2, 3, seed=1)
    both = list(side_by_side(source=one, target=other)(1))
    assert [set(batch) for batch in both] == [{"source", "target"}] * 2
    for name, stream in (("source", one), ("target", other)):
        found = [{key: value.numpy() for key, value in batch[name].items()} for batch in both]
        assert_equal(found, batches(stream.batches(1)))
