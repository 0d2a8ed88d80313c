"""Soft-balance sampling (UPLR, ICCV 2021): how often each image of the source is drawn, from the classes that it shows.

N_c(x): amount of class c in image x, N_c: in all images. With the exponent l, over the chosen classes only:

1. p_c = N_c^l / sum_k N_k^l / N_c: how likely one unit of class c is, if a class is drawn by its smoothed frequency and
   then a unit of it alike. l = 1: all units are alike; l = 0: all classes are.
2. p(x) = sum_c N_c(x)^l p_c / sum_c N_c(x)^l, over the chosen classes that x shows; 0 without one.
3. r(x) = p(x) / max p. The published formula lacks this step: with pixels p(x) is at most 1e-3, so that step 4 would
   give all images the same rate.
4. rate(x) = 0.1 + 1 / (1 + exp(-slope (r(x) - shift))): above 0.1 and below 1.1, so no image is left out. Where all
   images show many classes, all ratios are far above the default shift of 0.2 (Distribution-Balanced Loss, ECCV 2020;
   the paper states the constant 0.1 alone), and all rates alike: their median tells the images apart.
5. q(x) = rate(x) / sum of all rates: the probability of x at each draw, with replacement.
"""

from typing import Literal

import numpy as np

LEAST_RATE = 0.1

Unit = Literal["pixel", "image"]


def amounts(counts: np.ndarray, unit: Unit) -> np.ndarray:
    """N_c(x), float64 [images, classes]: the labelled pixels `counts` of each class, or 1 where an image shows it."""
    counts = np.asarray(counts)
    return (counts if unit == "pixel" else counts > 0).astype(np.float64)


def unit_probabilities(totals: np.ndarray, exponent: float) -> np.ndarray:
    """p_c of each class, float64 [classes]; 0 of a class that there is nothing of.

    totals: N_c, float [classes], at least 0. exponent: 0 to 1.
    """
    found = totals > 0
    weights = np.where(found, np.power(totals, exponent), 0.0)
    return np.divide(weights, weights.sum() * totals, out=np.zeros(len(totals)), where=found)


def image_scores(
    amounts: np.ndarray, unit_probabilities: np.ndarray, exponent: float, chosen: np.ndarray | None = None
) -> np.ndarray:
    """p(x) of each image, float64 [images]; 0 of an image without a chosen class.

    amounts: N_c(x). unit_probabilities: p_c, float [classes]. exponent: 0 to 1. chosen: bool [classes]; None = all.
    """
    chosen = np.ones(amounts.shape[1], bool) if chosen is None else chosen
    weights = np.where((amounts > 0) & chosen, np.power(amounts, exponent), 0.0)
    sums = weights.sum(axis=1)
    return np.divide(weights @ unit_probabilities, sums, out=np.zeros(len(sums)), where=sums > 0)


def sampling_rates(ratios: np.ndarray, slope: float = 10.0, shift: float = 0.2) -> np.ndarray:
    """0.1 + sigmoid(slope (r - shift)), float64 of the shape of `ratios` (0 to 1)."""
    # The hyperbolic tangent does not overflow.
    return LEAST_RATE + 0.5 * (1 + np.tanh(0.5 * slope * (np.asarray(ratios, np.float64) - shift)))


def image_ratios(
    counts: np.ndarray, chosen: np.ndarray | None = None, exponent: float = 0.5, unit: Unit = "pixel"
) -> np.ndarray:
    """Steps 1 to 3: r(x) of each image, float64 [images] in 0..1; all 0 where no image shows a chosen class.

    counts: int [images, classes], labelled pixels; else as above.
    """
    found = amounts(counts, unit)
    scores = image_scores(found, unit_probabilities(found.sum(axis=0), exponent), exponent, chosen)
    highest = scores.max(initial=0.0)
    return scores / highest if highest > 0 else scores


def draw_probabilities(ratios: np.ndarray, slope: float = 10.0, shift: float | Literal["median"] = 0.2) -> np.ndarray:
    """Steps 4 and 5: q(x) of each image, float64 [images] with the sum 1. ratios: r(x), of at least one image."""
    rates = sampling_rates(ratios, slope, float(np.median(ratios)) if shift == "median" else shift)
    return rates / rates.sum()


def shown_shares(probabilities: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The share of the drawn images that show each class, float64 [classes].

    probabilities: q(x), float [images]. counts: int [images, classes], labelled pixels.
    """
    return probabilities @ (counts > 0)
