"""Reading other people's probabilities: one map at a time, from archives and folders, and what is refused."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from training.errors import UserError
from training.probability_maps.map_files import check_probabilities, load_prior, open_probabilities


@pytest.fixture
def maps():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), (3, 5, 6)).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(probs, -1, 1))  # [n, c, h, w]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", ">f4", "fortran"])
def test_archives_in_any_form(tmp_path, maps, save, kind):
    stored = np.asfortranarray(maps) if kind == "fortran" else maps.astype(kind)
    save(tmp_path / "probs.npz", other=np.zeros(3), probs=stored)
    opened = open_probabilities(tmp_path / "probs.npz")
    assert opened.names == ("000000", "000001", "000002")
    assert opened.shape == (5, 6, 4)
    for _ in range(2):  # afresh each time
        read = list(opened.read())
        assert len(read) == 3
        for single, expected in zip(read, stored, strict=True):
            np.testing.assert_array_equal(single, np.moveaxis(expected, 0, -1))


def test_an_archive_is_read_one_map_at_a_time(tmp_path):
    np.savez_compressed(tmp_path / "probs.npz", probs=np.full((40, 4, 64, 64), 0.25, np.float32))
    opened = open_probabilities(tmp_path / "probs.npz")
    tracemalloc.start()
    for single in opened.read():
        assert single[0, 0, 0] == 0.25
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 4 * 64 * 64 * 4


def test_folders_keep_names_and_allow_different_sizes(tmp_path, maps):
    (tmp_path / "rome").mkdir()
    np.save(tmp_path / "rome" / "b.npy", np.moveaxis(maps[0], 0, -1))
    np.save(tmp_path / "a.npy", np.moveaxis(maps[1], 0, -1)[:2])
    opened = open_probabilities(tmp_path)
    assert opened.names == ("a", "rome__b")
    assert [single.shape for single in opened.read()] == [(2, 6, 4), (5, 6, 4)]


def refused(path):
    with pytest.raises(UserError) as raised:
        list(open_probabilities(path).read())
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5, 6), np.float32), "shape (4, 5, 6): expected [n, classes, height, width]"),
        (np.zeros((0, 4, 5, 6), np.float32), "none of them 0"),
        (np.zeros((1, 4, 5, 6), np.uint8), "type uint8"),
        (np.zeros((1, 300, 2, 2), np.float32), "300 classes"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, array, message):
    np.savez(tmp_path / "probs.npz", probs=array)
    assert message in refused(tmp_path / "probs.npz")


def test_wrong_files_are_refused(tmp_path, maps):
    assert "nothing at" in refused(tmp_path / "missing.npz")
    np.save(tmp_path / "probs.npy", maps)
    assert "is no .npz file" in refused(tmp_path / "probs.npy")
    np.savez(tmp_path / "probs.npz", logits=maps)
    assert "holds logits" in refused(tmp_path / "probs.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("probs.npy", "no array at all")
    assert "not in NumPy's .npy format" in refused(tmp_path / "text.npz")
    (tmp_path / "empty").mkdir()
    assert "holds no .npy files" in refused(tmp_path / "empty")


def test_damaged_files_are_refused(tmp_path, maps):
    np.savez(tmp_path / "probs.npz", probs=maps)
    content = bytearray((tmp_path / "probs.npz").read_bytes())
    content[len(content) // 2] ^= 255  # its check sum is wrong now
    (tmp_path / "probs.npz").write_bytes(content)
    assert "is damaged" in refused(tmp_path / "probs.npz")
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "a.npy", maps[0])
    (tmp_path / "folder" / "a.npy").write_bytes((tmp_path / "folder" / "a.npy").read_bytes()[:-9])
    assert "a.npy is damaged" in refused(tmp_path / "folder")


def test_folders_that_cannot_be_labelled_are_refused(tmp_path, maps):
    np.save(tmp_path / "a__b.npy", maps[0])
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "b.npy", maps[0])
    assert "both be labelled as a__b.png" in refused(tmp_path)
    np.save(tmp_path / "a" / "b.npy", maps[0][..., :3])
    (tmp_path / "a__b.npy").rename(tmp_path / "c.npy")
    assert "has 6 classes" in refused(tmp_path)


def test_values_are_checked(maps):
    probs = np.moveaxis(maps[0], 0, -1)
    assert check_probabilities(probs, "map") < 1e-6
    assert check_probabilities(probs * 2, "map") == pytest.approx(1, abs=1e-5)
    for bad in (np.nan, np.inf, -0.5):
        broken = probs.copy()
        broken[1, 2, 3] = bad
        with pytest.raises(UserError, match="map 7 holds NaN, infinite or negative"):
            check_probabilities(broken, "map 7")


def test_priors_in_both_layouts_and_forms(tmp_path):
    prior = np.random.default_rng(0).random((5, 6, 4), np.float32)
    np.save(tmp_path / "hwc.npy", prior)
    np.save(tmp_path / "chw.npy", np.moveaxis(prior, -1, 0))
    np.savez(tmp_path / "chw.npz", prior=np.moveaxis(prior, -1, 0))
    for name in ("hwc.npy", "chw.npy", "chw.npz"):
        np.testing.assert_array_equal(load_prior(tmp_path / name, 4), prior)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (np.ones((5, 6, 3), np.float32), "shape (5, 6, 3): expected floats [4, height, width]"),
        (np.ones((5, 6), np.float32), "shape (5, 6)"),
        (np.ones((5, 6, 4), int), "int64"),
        (np.full((5, 6, 4), np.nan, np.float32), "holds NaN"),
    ],
)
def test_wrong_priors_are_refused(tmp_path, prior, message):
    np.save(tmp_path / "prior.npy", prior)
    with pytest.raises(UserError) as raised:
        load_prior(tmp_path / "prior.npy", 4)
    assert message in str(raised.value)


def test_missing_priors_are_refused(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "other.npz", q=np.ones(3))
    for name, message in (("gone.npy", "no prior at"), ("text.npy", "not in NumPy"), ("other.npz", "named prior")):
        with pytest.raises(UserError, match=message):
            load_prior(tmp_path / name, 4)
