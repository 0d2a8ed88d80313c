"""Agreement with the numbers that the authors' own programs produced (see the material's README for the tolerances)."""

import numpy as np
import pytest

from tests.training.pseudo_labels.fitting import fit
from training.data.mining import priority_classes, rare_classes
from training.data.source_subset import source_subset
from training.pseudo_labels import portion_at

LABEL_IDS = np.array([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33])
CRST_HARD = ["p0.2_ds4", "p0.25_ds4", "p0.35_ds4", "p0.5_ds4", "p0.2_ds1"]
CBST = ["st_S_p0.2", "st_sp_S_p0.2", "cbst_S_p0.15", "cbst_S_p0.2", "cbst_S_p0.5", "cbst_sp_S_p0.15"]


@pytest.fixture(scope="module")
def probs(shared_dir):
    with np.load(shared_dir / "reference/inputs_S.npz") as archive:
        return np.moveaxis(archive["probs"], 1, -1)


@pytest.fixture
def reference(shared_dir):
    return lambda name: dict(np.load(shared_dir / f"reference/{name}.npz"))


@pytest.mark.parametrize("case", CRST_HARD)
def test_crst_thresholds_and_labels(reference, probs, case):
    expected = reference(f"crst_hard_S_{case}")
    result = fit(lambda: [probs], "cbst", float(expected["p"]), int(expected["ds_rate"]))
    np.testing.assert_array_equal(result.thresholds, expected["cls_thresh"])
    np.testing.assert_array_equal(result.pixels, expected["pred_cls_num"])
    np.testing.assert_array_equal(result.ranked_pixels, expected["n_sub"])
    np.testing.assert_array_equal([result.label(image) for image in probs], expected["pseudo_trainid"])
    np.testing.assert_array_equal(priority_classes(result.pixels), expected["mine_id"])
    np.testing.assert_array_equal(rare_classes(result.pixels), expected["rare_id"])


@pytest.mark.parametrize("alpha", ["0.25", "1"])
def test_crst_soft_labels(reference, probs, alpha):
    expected = reference(f"crst_lrent_S_a{alpha}")
    strength = float(expected["alpha"])
    result = fit(lambda: [probs], "lrent", float(expected["p"]), int(expected["ds_rate"]), alpha=strength)
    labels, soft = zip(*(result.labels(image) for image in probs), strict=True)
    np.testing.assert_array_equal([result.label(image) for image in probs], expected["pseudo_trainid"])
    np.testing.assert_array_equal(labels, expected["pseudo_trainid"])
    np.testing.assert_allclose(soft, expected["soft"], atol=3e-6)


@pytest.mark.parametrize("case", CBST)
def test_original_cbst_with_its_stray_zeros(reference, probs, case):
    expected = reference(f"cbst_{case}")
    selector = case.split("_S_")[0]
    prior = np.moveaxis(expected["prior"], 0, -1) if "prior" in expected else None
    result = fit(lambda: [probs], selector, float(expected["p"]), 4, prior, compat="mxnet")
    np.testing.assert_array_equal(result.thresholds, expected["cls_thresh_used"])
    labels = np.array([result.label(image) for image in probs])
    np.testing.assert_array_equal(np.where(labels == 255, 0, LABEL_IDS[labels % 19]), expected["pseudo_labelid"])
    if selector.startswith("cbst"):
        sizes = result.ranked_pixels + (result.ranked_pixels > 0)  # it counts the stray zero where there is a pool
        np.testing.assert_array_equal(sizes, expected["cls_size"])
        np.testing.assert_array_equal(rare_classes(sizes), expected["mine_id"])
        np.testing.assert_array_equal(priority_classes(sizes), expected["mine_id_priority"])


def test_crst_schedule_and_source_subsets(reference):
    expected = reference("crst_schedule")
    for number in range(8):
        assert portion_at(number, 0.2, 0.05, 0.5) == pytest.approx(expected["p"][number], rel=1e-12)
        share = expected["src_portion"][number]  # its steps added one by one: the last bits decide a floor
        assert portion_at(number, 0.03, 0.0025, 0.06) == pytest.approx(share, rel=1e-12)
        for key, policy in (("c", "cumulative"), ("r", "random")):
            subset = source_subset(1000, share, number, policy, seed=3)
            np.testing.assert_array_equal(subset, expected[f"src_{key}_round{number}"])
