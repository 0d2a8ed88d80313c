"""The mixture of two Gaussians: by hand, against scikit-learn's figures, and what must hold of any sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, norm

from training.pseudo_labels.two_gaussians import TwoGaussians, em_step, fit, is_one_mode, starting_point

BINS = 4096
FIVE, ONES = np.array([0, 0.1, 0.2, 0.8, 1]), np.ones(5)


def mixture(weights, means, deviations) -> TwoGaussians:
    return TwoGaussians(np.array(weights), np.array(means), np.array(deviations) ** 2)


FAR = mixture([0.5, 0.5], [0.0, 1.0], [1.0, 1.0])


def shares(two: TwoGaussians, values) -> np.ndarray:
    """Probability of the first component at each value; the second has the rest."""
    joint = np.exp(two.log_joint(np.array(values, float)))
    return joint[0] / joint.sum(axis=0)


def random_sample(seed):
    """Values in 0..1 with counts, in two lumps that may overlap."""
    random = np.random.default_rng(seed)
    parts = [random.beta(*random.uniform(0.5, 12, 2), random.integers(20, 400)) for _ in range(2)]
    values, counts = np.unique(np.round(np.concatenate(parts), 3), return_counts=True)
    return values, counts.astype(float)


def test_probabilities_by_hand():
    two = mixture([0.6, 0.4], [0.1, 0.5], [0.05, 0.15])
    np.testing.assert_allclose(
        shares(two, [0.2, 0.05, 0.25, 0.3]), [9 / 11, 0.9959464, 0.1670009, 0.0036585], atol=5e-8
    )


def test_the_cut_is_the_root_between_the_means():
    two = mixture([0.6, 0.4], [0.1, 0.5], [0.05, 0.15])
    assert two.cut() == pytest.approx(0.2259557767, abs=1e-10)
    assert two.log_odds(two.cut()) == pytest.approx(0, abs=1e-12)


def test_one_step_by_hand():
    step, before = em_step(FIVE, ONES, FAR, 1e-6)
    np.testing.assert_allclose(shares(FAR, FIVE), [0.6224593, 0.5986877, 0.5744425, 0.4255575, 0.3775407], atol=5e-8)
    np.testing.assert_allclose(step.weights, [0.5197375, 0.4802625], atol=5e-8)
    np.testing.assert_allclose(step.means, [0.3435364, 0.5027485], atol=6e-8)
    np.testing.assert_allclose(step.variances, [0.1432163, 0.1683222], atol=6e-8)
    second, after_one = em_step(FIVE, ONES, step, 1e-6)
    _, after_two = em_step(FIVE, ONES, second, 1e-6)
    np.testing.assert_allclose([before, after_one, after_two], [-1.1071098, -0.5053342, -0.5046181], atol=5e-8)


def test_five_values_fall_into_their_two_groups():
    found = fit(FIVE, ONES, FAR, 200, 1e-9, 1e-6)
    np.testing.assert_allclose(found.weights, [0.6, 0.4], atol=1e-6)
    np.testing.assert_allclose(found.means, [0.1, 0.9], atol=1e-6)
    np.testing.assert_allclose(found.variances, [0.0066677, 0.0100010], atol=5e-8)
    assert (shares(found, FIVE) >= 0.5).tolist() == [True, True, True, False, False]


# What GaussianMixture(2, covariance_type="spherical", reg_covar=1e-6, max_iter=200, tol=1e-5) of scikit-learn 1.9.1
# finds from the start that the bins' centres give: weights, means, variances, from the centres and from the values
# themselves, and of the latter the rows of predict_proba at three values.
SAMPLES = {"road": (1.2, 30, 3000, 2, 3, 1500), "pole": (3, 9, 900, 6, 4, 2100), "wide": (2, 5, 2500, 2, 2, 500)}
OF_CENTRES = {
    "road": ([0.6161979511143183, 0.38380204888568176], [0.03270848228729875, 0.3616859361708489],
             [0.0006014141858211045, 0.04476058372896419]),
    "pole": ([0.31313802192436796, 0.6868619780756321], [0.24433677496799117, 0.6092741356443171],
             [0.011243897384884181, 0.01915237603548528]),
    "wide": ([0.5122064354461969, 0.487793564553803], [0.20013167110503843, 0.4487900302933072],
             [0.009440447900467766, 0.03214969797778744]),
}  # fmt: skip
OF_VALUES = {
    "road": ([0.616188779544586, 0.38381122045541394], [0.03270799829209154, 0.3616821572119657],
             [0.0006014504868418975, 0.04475996774499458]),
    "pole": ([0.3131569887785779, 0.6868430112214222], [0.24434648363528055, 0.6092794059657315],
             [0.0112455381381649, 0.019152579458972335]),
    "wide": ([0.5121994121907149, 0.4878005878092851], [0.2001295878208472, 0.4487902253099702],
             [0.009440413093749342, 0.03214927297545492]),
}  # fmt: skip


PREDICTED_AT = (0.05, 0.2, 0.4)
PREDICTED = {
    "road": [[0.9696716379177681, 0.030328362082232063], [1.4587971158113755e-09, 0.9999999985412029],
             [2.774180192819981e-48, 1.0]],
    "pole": [[0.9974454093796803, 0.0025545906203197468], [0.9773884396567039, 0.02261156034329611],
             [0.38864709791976004, 0.61135290208024]],
    "wide": [[0.8744751691518582, 0.12552483084814178], [0.8353659798749002, 0.1646340201250998],
             [0.19508802022953659, 0.8049119797704634]],
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_a_histogram_gives_what_scikit_learn_finds_in_the_sample(name):
    """From the centres to 1e-10, from the values to 1e-6; a histogram and the values themselves differ by 2e-5 at
    most: 4096 bins move each value by 1.2e-4 at most."""
    first, second, many, third, fourth, few = SAMPLES[name]
    parts = ((first, second, many), (third, fourth, few))
    sample = np.concatenate([beta.ppf((np.arange(count) + 0.5) / count, *shape) for *shape, count in parts])
    counts = np.bincount((sample * BINS).astype(int), minlength=BINS)
    filled = np.flatnonzero(counts)
    values, counts = (filled + 0.5) / BINS, counts[filled].astype(float)
    start = starting_point(values, counts, 0.2, 1e-6)
    found = fit(values, counts, start, 200, 1e-5, 1e-6)
    of_values = fit(np.sort(sample), np.ones(len(sample)), start, 200, 1e-5, 1e-6)
    for ours, theirs, tolerance in (
        (found, OF_CENTRES[name], 1e-10),
        (found, OF_VALUES[name], 2e-5),
        (of_values, OF_VALUES[name], 1e-6),
    ):
        for mine, expected in zip((ours.weights, ours.means, ours.variances), theirs, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=0, atol=tolerance)
    predicted = np.stack([shares(of_values, PREDICTED_AT), 1 - shares(of_values, PREDICTED_AT)], axis=1)
    np.testing.assert_allclose(predicted, PREDICTED[name], rtol=0, atol=1e-6)


def test_the_density_is_that_of_scipy():
    two, values = mixture([0.3, 0.7], [0.2, 0.6], [0.05, 0.2]), np.linspace(0, 1, 9)
    expected = [weight * norm.pdf(values, mean, sd) for weight, mean, sd in ((0.3, 0.2, 0.05), (0.7, 0.6, 0.2))]
    np.testing.assert_allclose(np.exp(two.log_joint(values)), expected, rtol=1e-12)


def test_the_start():
    """Of 1 2 3 4 5 (counts 1 1 2 1 5): a fifth reaches 2, four fifths reach 5."""
    start = starting_point(np.arange(1.0, 6), np.array([1.0, 1, 2, 1, 5]), 0.2, 1e-6)
    assert (start.weights.tolist(), start.means.tolist()) == ([0.5, 0.5], [2.0, 5.0])
    sample = np.repeat(np.arange(1, 6), [1, 1, 2, 1, 5])
    np.testing.assert_allclose(start.variances, sample.var() / 4)
    assert starting_point(np.array([0.5]), np.array([9.0]), 0.2, 1e-6).variances.tolist() == [1e-6, 1e-6]


@pytest.mark.parametrize("counts", [[8, 1, 1], [1, 4, 1], [1, 1, 9]])
def test_where_both_quantiles_are_one_value_the_means_start_at_the_ends(counts):
    start = starting_point(np.array([0.1, 0.2, 0.7]), np.array(counts, float), 0.2, 1e-6)
    assert start.means.tolist() == [0.1, 0.7]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_likelihood_never_falls_and_counts_are_repeated_values(seed):
    values, counts = random_sample(seed)
    two, likelihoods = starting_point(values, counts, 0.2, 1e-12), []
    repeated = np.repeat(values, counts.astype(int))
    for _ in range(25):
        again, _ = em_step(repeated, np.ones(len(repeated)), two, 1e-12)
        two, likelihood = em_step(values, counts, two, 1e-12)
        np.testing.assert_allclose(again.means, two.means, rtol=1e-9)
        likelihoods.append(likelihood)
    assert (np.diff(likelihoods) > -1e-9).all()
    assert two.weights.sum() == pytest.approx(1, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 8), st.floats(-3, 3))
def test_the_fit_moves_with_the_values(seed, factor, shift):
    values, counts = random_sample(seed)
    start = starting_point(values, counts, 0.2, 1e-6)
    moved_start = TwoGaussians(start.weights, factor * start.means + shift, factor**2 * start.variances)
    # Always the same number of steps: the log-likelihood itself moves by a constant only.
    found = fit(values, counts, start, 30, 0, 1e-6)
    moved = fit(factor * values + shift, counts, moved_start, 30, 0, 1e-6 * factor**2)
    np.testing.assert_allclose(moved.means, factor * found.means + shift, atol=1e-6 * factor)
    assert moved.cut() == pytest.approx(factor * found.cut() + shift, abs=1e-6 * factor)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_exchanged_components_give_the_same_cut(seed):
    values, counts = random_sample(seed)
    start = starting_point(values, counts, 0.2, 1e-6)
    exchanged = TwoGaussians(start.weights[::-1], start.means[::-1], start.variances[::-1])
    first, second = (fit(values, counts, each, 200, 1e-5, 1e-6) for each in (start, exchanged))
    assert first.means[0] <= first.means[1]
    assert first.cut() == second.cut()


@settings(max_examples=300, deadline=None)
@given(
    st.floats(0.001, 0.999), st.floats(0, 0.9), st.floats(0.001, 1), st.floats(-3, 0), st.floats(-3, 0), st.booleans()
)
def test_the_cut_is_the_only_place_between_the_means_where_the_decision_changes(weight, mean, gap, one, other, equal):
    deviations = [10**one, 10 ** (one if equal else other)]
    two = mixture([weight, 1 - weight], [mean, mean + gap], deviations)
    first, second = two.means
    inside = np.linspace(first, second, 101)
    odds = np.array([two.log_odds(value) for value in inside])
    assert (np.diff(odds) < 1e-9 * np.abs(odds).max()).all()
    cut = two.cut()
    assert first <= cut <= second
    unclear = 1e-9 * np.abs(odds).max()
    assert (odds[inside < cut] > -unclear).all()
    assert (odds[inside > cut] < unclear).all()


def test_the_cut_where_one_mode_covers_the_other():
    """Likelier everywhere between the means: the second mode, then the first."""
    covered = mixture([0.01, 0.99], [0.4, 0.5], [0.2, 0.2])
    assert covered.log_odds(0.4) < 0
    assert covered.cut() == 0.4
    covering = mixture([0.99, 0.01], [0.4, 0.5], [0.2, 0.2])
    assert covering.log_odds(0.5) > 0
    assert covering.cut() == 0.5


def test_a_narrow_certain_mode_would_lose_the_most_certain_pixels():
    """The plain rule gives entropy 0 to the uncertain mode; the cut keeps all below it."""
    two = mixture([0.5, 0.5], [0.2, 0.5], [0.03, 0.3])
    np.testing.assert_allclose(shares(two, [0, 0.2]), [9e-9, 0.94], rtol=0.05)
    assert 0.2 < two.cut() < 0.5


def test_two_modes_and_one():
    separate = np.concatenate([norm.ppf((np.arange(500) + 0.5) / 500, mean, 0.05) for mean in (0.2, 0.7)])
    single = norm.ppf((np.arange(1000) + 0.5) / 1000, 0.5, 0.1)
    for sample, expected in ((np.sort(separate), False), (single, True), (np.full(1000, 0.3), True)):
        values, counts = np.unique(sample, return_counts=True)
        counts = counts.astype(float)
        found = fit(values, counts, starting_point(values, counts, 0.2, 1e-6), 200, 1e-5, 1e-6)
        assert is_one_mode(values, counts, found, 1e-6) == expected


def test_means_that_nearly_coincide_are_one_mode():
    """A narrow peak on a broad one: two Gaussians tell much more, but their means are 0.02 apart."""
    narrow, broad = (norm.ppf((np.arange(2000) + 0.5) / 2000, mean, sd) for mean, sd in ((0.5, 0.01), (0.52, 0.15)))
    values, counts = np.unique(np.concatenate([narrow, broad]), return_counts=True)
    found = fit(values, counts.astype(float), starting_point(values, counts, 0.2, 1e-6), 200, 1e-5, 1e-6)
    assert found.means[1] - found.means[0] < 0.5 * found.deviations.max()
    assert is_one_mode(values, counts.astype(float), found, 1e-6)
