"""Hard classes and donors of HIAST's copy-paste: by hand, its properties, and the published donor lists."""

import json

import numpy as np
import pytest

from training.data.donors import DonorIndex, draw_donors, hard_classes
from training.errors import UserError

NAN = float("nan")


def draw(seed, counts, mean_confidence, hard, **options):
    rng = np.random.default_rng(seed)
    return draw_donors(rng, DonorIndex.from_counts(counts), np.array(mean_confidence), np.array(hard), **options)


def test_hard_classes_are_the_least_sure_ones():
    mean_confidence = np.array([0.9, 0.5, NAN, 0.7, 0.5, np.inf])
    assert hard_classes(mean_confidence, 3).tolist() == [1, 4, 3]
    assert hard_classes(mean_confidence, 14).tolist() == [1, 4, 3, 0]  # never selected: no candidates
    assert hard_classes(np.full(4, NAN), 2).tolist() == []
    with pytest.raises(UserError, match="number of hard classes is 0"):
        hard_classes(mean_confidence, 0)


def test_donor_lists_ascend_and_lose_their_lowest_tenth():
    """Image k has k pixels of class 0; class 1 is in two images alike; class 2 nowhere."""
    counts = np.zeros((16, 3), int)
    counts[:, 0] = np.arange(16)
    counts[[4, 2], 1] = 7
    first, second, none = DonorIndex.from_counts(counts).donors
    assert first.tolist() == list(range(3, 16))  # 15 images, round(1.5) = 2 dropped
    assert second.tolist() == [2, 4]
    assert none.tolist() == []


def test_published_hard_classes_and_donor_lists(shared_dir):
    with np.load(shared_dir / "reference/hiast_copypaste.npz") as archive:
        expected = dict(archive)
    mean_confidence = np.where(expected["class_value_raw"] == 0, NAN, expected["class_value_raw"])
    np.testing.assert_array_equal(hard_classes(mean_confidence, 14), expected["hard_classes"])
    index = DonorIndex.from_counts(expected["pixels_per_class_image"].T)
    names = json.loads(str(expected["donors_json"]))
    for class_id, donors in enumerate(index.donors):
        assert [f"img{donor:02d}.png" for donor in donors] == names[str(class_id)]


def test_classes_are_drawn_by_how_unsure_they_are():
    """One image a class, so the donor tells the class; shares (1 - mu)^2, normalised over the hard classes."""
    mean_confidence = np.array([0.9, 0.8, 0.5, 0.4])
    rng, index, hard = np.random.default_rng(0), DonorIndex.from_counts(np.eye(4)), np.array([1, 2, 3])
    drawn = [draw_donors(rng, index, mean_confidence, hard, max_donors=1)[0] for _ in range(1000)]
    shares = np.array([0, 0.2, 0.5, 0.6]) ** 2
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 1000, shares / shares.sum(), atol=0.05)


def test_a_class_is_covered_only_by_a_donor_that_has_it():
    """Class 0 is drawn almost always first; its only donor has class 1 too. Two of four are half: enough."""
    counts = np.array([[5, 5, 0, 0], [0, 0, 3, 0], [0, 0, 0, 2]])
    mean_confidence, hard = [0.0, 0.9999, 0.9999, 0.9999], [0, 1, 2, 3]
    for seed in range(20):
        assert draw(seed, counts, mean_confidence, hard) == [0]
        assert sorted(draw(seed, counts, mean_confidence, hard, stop_share=1.0)) == [0, 1, 2]
        three_quarters = draw(seed, counts, mean_confidence, hard, stop_share=0.75)
        assert three_quarters[0] == 0
        assert len(three_quarters) == 2


def test_never_more_donors_than_allowed():
    counts, mean_confidence = np.eye(10, dtype=int), np.full(10, 0.5)
    for allowed in (1, 2, 3):
        chosen = draw(0, counts, mean_confidence, range(10), max_donors=allowed)
        assert len(set(chosen)) == len(chosen) == allowed
    assert len(draw(0, counts, mean_confidence, range(10), max_donors=9)) == 5  # half are covered


def test_draws_end_where_nothing_is_left_to_draw():
    counts = np.array([[4, 0, 0], [9, 0, 0]])
    assert len(draw(0, counts, [0.5, NAN, NAN], [0])) == 1
    assert len(draw(0, counts, [0.5, 0.5, 0.5], [0, 1, 2], stop_share=1.0)) == 1  # 1 and 2 have no donors
    assert draw(0, counts, [0.5, 0.5, 0.5], [1, 2]) == []
    assert draw(0, counts, [0.5, 0.5, 0.5], []) == []
    assert draw(0, np.zeros((1, 3)), [NAN] * 3, []) == []


def test_one_image_is_its_own_donor_and_certain_classes_are_drawn_alike():
    assert draw(0, np.array([[3, 2]]), [1.0, 1.0], [0, 1]) == [0]
    drawn = {draw(seed, np.eye(2), [1.0, 1.0], [0, 1], max_donors=1)[0] for seed in range(20)}
    assert drawn == {0, 1}


def test_draws_are_a_function_of_the_generator():
    counts = np.random.default_rng(0).integers(0, 50, (30, 6))
    mean_confidence, hard = np.linspace(0.4, 0.9, 6), np.arange(4)
    assert draw(7, counts, mean_confidence, hard) == draw(7, counts, mean_confidence, hard)
    assert len({tuple(draw(seed, counts, mean_confidence, hard)) for seed in range(20)}) > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_donors": 0}, "donors is 0"), ({"stop_share": 0.0}, "stops at 0.0"), ({"stop_share": 1.1}, "stops at 1.1")],
)
def test_impossible_draws_are_told_so(options, message):
    with pytest.raises(UserError, match=message):
        draw(0, np.eye(2), [0.5, 0.5], [0, 1], **options)
