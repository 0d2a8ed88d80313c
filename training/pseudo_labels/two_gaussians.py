"""A mixture of two Gaussians on a weighted sample, fitted by expectation maximisation, and where it decides.

All in float64. A sample is `values` [n] with `counts` [n]: single values with counts of 1, or the centres of the bins
of a histogram. The steps, their order and the stop are those of scikit-learn's GaussianMixture.
"""

import math
from dataclasses import dataclass

import numpy as np

_ALMOST_NONE = 10 * np.finfo(np.float64).eps  # added to a component's pixels, as scikit-learn does: never 0
_PARAMETERS_OF_ONE, _PARAMETERS_OF_TWO = 2, 5
APART = 0.5  # means closer than this part of the larger standard deviation are one mode


@dataclass(frozen=True)
class TwoGaussians:
    """weights, means and variances of the two components, float64 [2] each; `fit` puts the smaller mean first."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviations, float64 [2]."""
        return np.sqrt(self.variances)

    def log_joint(self, values: np.ndarray) -> np.ndarray:
        """log(weight * density) of each component, float64 [2, n]."""
        weights, means, variances = (each[:, None] for each in (self.weights, self.means, self.variances))
        return np.log(weights) - 0.5 * (np.log(2 * np.pi * variances) + (values - means) ** 2 / variances)

    def log_odds(self, value: float) -> float:
        """log of P(first component) / P(second component) at one value."""
        first, second = self.log_joint(np.array([value]))[:, 0]
        return float(first - second)

    def in_order(self) -> "TwoGaussians":
        """With the smaller mean first."""
        order = np.argsort(self.means, kind="stable")
        return TwoGaussians(self.weights[order], self.means[order], self.variances[order])

    def cut(self) -> float:
        """The one value up to which a pixel belongs to the first component (smaller mean), between the two means.

        The log-odds of the first component are a quadratic that falls all the way from mean m1 to mean m2: its slope
        is (m1 - m2) / v2 at m1 and (m1 - m2) / v1 at m2. So it has at most one root between them. Where it has none: m1
        if the second component is the likelier one already there, else m2. Beyond the means the quadratic may have
        another root, which gives values below a narrow first component to the second one: it is not used, so that what
        is accepted is an interval from 0 on.
        """
        at_first, at_second = (self.log_odds(mean) for mean in self.means)
        if not at_first > 0:
            return float(self.means[0])
        if not at_second < 0:
            return float(self.means[1])
        # a s^2 + b s + d = 0 with s = value - m1: b is negative and d positive, so nothing cancels here.
        first, second = self.variances
        a, b, d = 0.5 / second - 0.5 / first, (self.means[0] - self.means[1]) / second, at_first
        root = self.means[0] + 2 * d / (-b + math.sqrt(max(b * b - 4 * a * d, 0.0)))
        return float(min(max(root, self.means[0]), self.means[1]))


def starting_point(values: np.ndarray, counts: np.ndarray, quantile: float, least_variance: float) -> TwoGaussians:
    """Equal weights, means at the quantiles `quantile` and 1 - `quantile`, a quarter of the variance each.

    values: ascending. A quantile is the smallest value that so large a share of the sample does not exceed. Where both
    are the same value, the means are the least and the largest one (as in PAA, ECCV 2020): components that start alike
    stay alike.
    """
    at_most, last = np.cumsum(counts), len(values) - 1
    places = np.minimum(np.searchsorted(at_most, np.array([quantile, 1 - quantile]) * at_most[-1]), last)
    means = values[[0, last] if places[0] == places[1] else places]
    _, variance = _mean_and_variance(values, counts, 0.0)
    return TwoGaussians(np.full(2, 0.5), means, np.full(2, max(variance / 4, least_variance)))


def em_step(
    values: np.ndarray, counts: np.ndarray, mixture: TwoGaussians, least_variance: float
) -> tuple[TwoGaussians, float]:
    """One step: the mixture after it, and the mean log-likelihood of the sample before it."""
    # E: the share of each component in each value.
    joint = mixture.log_joint(values)
    total = np.logaddexp(joint[0], joint[1])
    shares = np.exp(joint - total) * counts
    # M: weighted moments.
    sizes = shares.sum(axis=1) + _ALMOST_NONE
    means = (shares * values).sum(axis=1) / sizes
    variances = (shares * (values - means[:, None]) ** 2).sum(axis=1) / sizes + least_variance
    pixels = counts.sum()
    return TwoGaussians(sizes / pixels, means, variances), float((total * counts).sum() / pixels)


def fit(
    values: np.ndarray,
    counts: np.ndarray,
    start: TwoGaussians,
    iterations: int,
    tolerance: float,
    least_variance: float,
) -> TwoGaussians:
    """Step until the mean log-likelihood moves by less than `tolerance`, at most `iterations` times."""
    mixture, before = start, -math.inf
    for _ in range(iterations):
        mixture, likelihood = em_step(values, counts, mixture, least_variance)
        if abs(likelihood - before) < tolerance:
            break
        before = likelihood
    return mixture.in_order()


def is_one_mode(values: np.ndarray, counts: np.ndarray, mixture: TwoGaussians, least_variance: float) -> bool:
    """Do the means nearly coincide, or does one Gaussian tell as much with fewer parameters (a smaller BIC)?"""
    if mixture.means[1] - mixture.means[0] < APART * mixture.deviations.max():
        return True
    pixels = counts.sum()
    of_two = (np.logaddexp(*mixture.log_joint(values)) * counts).sum()
    mean, variance = _mean_and_variance(values, counts, least_variance)
    of_one = (-0.5 * (np.log(2 * np.pi * variance) + (values - mean) ** 2 / variance) * counts).sum()
    penalty = (_PARAMETERS_OF_TWO - _PARAMETERS_OF_ONE) * math.log(pixels)
    return bool(-2 * of_one < -2 * of_two + penalty)


def _mean_and_variance(values: np.ndarray, counts: np.ndarray, least_variance: float) -> tuple[float, float]:
    pixels = counts.sum()
    mean = float((values * counts).sum() / pixels)
    return mean, float((counts * (values - mean) ** 2).sum() / pixels) + least_variance
