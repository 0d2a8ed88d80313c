"""UPLR's uncertainty-aware pseudo-labels (ICCV 2021): per class the pixels of the certain one of two modes of entropy.

1. The normalised entropy of every pixel (`probability_maps/entropy.py`), in a histogram per arg-max class. Histograms
   add up over images and workers, so memory is bounded and the order of the images does not matter.
2. Two Gaussians are fitted to each class' histogram by expectation maximisation (`two_gaussians.py`): a mode of certain
   pixels and one of uncertain ones.
3. A pixel keeps its arg-max class if it belongs to the certain mode, else 255: if its entropy is at most the value
   between the two means where both are equally likely. No threshold has to be chosen.

A class with too few pixels, or whose two modes are one, is labelled by the rule of BDL (CVPR 2019): its more confident
half, and whatever reaches a confidence of 0.9.

JSON: kind, the parameters, thresholds (the largest entropy kept, null = the class has no cut), mixtures (per class: the
rule, the least confidence kept or null, weights, means and variances of the modes or null, the certain mode first),
pixels, images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from training.distribution.shares import Workers
from training.distribution.threads import in_order
from training.probability_maps.entropy import Uncertainty, measure_uncertainty, uncertainty
from training.pseudo_labels.selector import (
    IGNORE,
    Fitted,
    Maps,
    Probs,
    Selector,
    no_maps,
    parameter,
    read_common,
)
from training.pseudo_labels.two_gaussians import TwoGaussians, fit, is_one_mode, starting_point

BINS = 4096  # of 0..1: a quarter of the least standard deviation, 0.001, so that binning does not widen a mode
CENTRES = (np.arange(BINS) + 0.5) / BINS
DRAWN_BINS = 60  # of a histogram in a picture
NARROW, SHOWN_CUTS = 0.05, 5  # share of the drawn range that is too little for what is kept; what is drawn instead
SCOPES = ("domain", "image")
Rule = Literal["two modes", "certain mean", "uncertain mean", "too few pixels", "one mode", "no pixels"]
BY_MODES: tuple[Rule, ...] = ("two modes", "certain mean", "uncertain mean")
IN_WORDS: dict[Rule, str] = {
    "two modes": "cut between two modes",
    "certain mean": "cut at the mean of the certain mode, which the uncertain one covers",
    "uncertain mean": "cut at the mean of the uncertain mode, which the certain one covers",
    "too few pixels": "the more confident half, for too few pixels",
    "one mode": "the more confident half, for both modes are one",
    "no pixels": "nothing, for it is predicted nowhere",
}


@dataclass(frozen=True)
class ClassRule:
    """How one class is labelled.

    cut: the largest entropy kept, -inf = none. confidence: the least one kept, +inf = none.
    mixture: the two modes, also where they were not used; None where too few pixels were there to fit them to.
    """

    rule: Rule
    cut: float = -np.inf
    confidence: float = np.inf
    mixture: TwoGaussians | None = None

    def to_json(self) -> dict[str, Any]:
        modes = ("weights", "means", "variances")
        return {
            "rule": self.rule,
            "confidence": self.confidence if np.isfinite(self.confidence) else None,
            **{name: self.mixture and getattr(self.mixture, name).tolist() for name in modes},
        }


class ClassHistograms:
    """Counts of the pixels of each arg-max class by entropy and by confidence, int64 [c, BINS] each."""

    def __init__(self, classes: int):
        self.entropy, self.confidence = (np.zeros((classes, BINS), np.int64) for _ in range(2))
        self.images = 0

    @property
    def pixels(self) -> np.ndarray:
        """Pixels per class, int64 [c]."""
        return self.entropy.sum(axis=1)

    def add(self, found: Uncertainty) -> None:
        """Count one more image."""
        first = found.label.astype(np.intp) * BINS
        for table, values in ((self.entropy, found.entropy), (self.confidence, found.confidence)):
            bins = np.minimum(values * np.float32(BINS), BINS - 1).astype(np.intp)
            table += np.bincount((first + bins).ravel(), minlength=table.size).reshape(table.shape)
        self.images += 1

    def add_up(self, workers: Workers) -> None:
        """Make them the counts of all workers."""
        self.entropy, self.confidence = workers.add_up(self.entropy), workers.add_up(self.confidence)
        self.images = int(workers.add_up(np.array([self.images]))[0])


@dataclass(frozen=True, eq=False)
class EntropyMixtureFitted(Fitted):
    """thresholds: float64 [c], the largest entropy kept, -inf where a class has no cut.

    rules: of each class; with the scope "image" those of an image in which a class has no two modes of its own.
    histograms: of all images. own_modes: int64 [c], with the scope "image" the images whose own modes labelled the
    class. Both are None of what was read from JSON.
    """

    rules: tuple[ClassRule, ...]
    histograms: ClassHistograms | None = None
    own_modes: np.ndarray | None = None

    def label(self, probs: Probs) -> np.ndarray:
        found = uncertainty(probs)
        rules = self.rules
        if self.selector.scope == "image":
            rules = self.selector.rules_of_image(found, self.rules)
        cuts, least = (np.array([getattr(rule, name) for rule in rules]) for name in ("cut", "confidence"))
        kept = (found.entropy <= cuts[found.label]) | (found.confidence >= least[found.label])
        return np.where(kept, found.label, np.uint8(IGNORE))

    def rule_in_words(self, class_id: int) -> str:
        rule = self.rules[class_id]
        words = "never" if rule.rule == "no pixels" else f"confidence from {rule.confidence:.3f}"
        words = f"entropy up to {rule.cut:.3f}" if rule.rule in BY_MODES else words
        return words if self.selector.scope == "domain" else f"by the modes of its image, else {words}"

    def describe(self, class_names: Sequence[str] | None = None) -> str:
        """With the classes that are not labelled by two modes, if there are any."""
        names = class_names or [f"class {number}" for number in range(self.classes)]
        others = {}
        for name, rule in zip(names, self.rules, strict=True):
            if rule.rule not in ("two modes", "no pixels"):
                others.setdefault(IN_WORDS[rule.rule], []).append(name)
        return "; ".join([self.selector.describe(), *(f"{', '.join(of)}: {words}" for words, of in others.items())])

    def figures(self) -> dict[str, Any]:
        """mixtures: as in `to_json`, and of each class a histogram to draw; own_modes with the scope "image"."""
        entries = [rule.to_json() for rule in self.rules]
        if self.histograms is not None:
            entries = [
                entry | {"histogram": drawn_histogram(counts, rule)}
                for entry, counts, rule in zip(entries, self.histograms.entropy, self.rules, strict=True)
            ]
        own = {} if self.own_modes is None else {"own_modes": self.own_modes.tolist()}
        return {"mixtures": entries, **own}

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "mixtures": [rule.to_json() for rule in self.rules]}


@dataclass(frozen=True, eq=False, kw_only=True)
class EntropyMixtureSelector(Selector):
    kind: ClassVar = "entropy_mixture"
    short: ClassVar = "entropy_mixture"
    meaning: ClassVar = "UPLR's pixels of the certain one of two modes of entropy, per class: no threshold to choose"
    scope: Literal["domain", "image"] = parameter(
        "domain", "Fit the modes to all images together (domain) or to each image its own (image)."
    )
    iterations: int = parameter(200, "The most steps of expectation maximisation, at least 1.")
    tolerance: float = parameter(1e-5, "Stop when the mean log-likelihood moves by less, 0 or more.")
    least_variance: float = parameter(1e-6, "Added to the variance of each mode: above 0, at most 1.")
    initial_quantile: float = parameter(
        0.2,
        "The modes' means start at this quantile of the entropies and at 1 minus it, or, where both are equal, at the "
        "least and the largest entropy: above 0, at most 0.5.",
    )
    least_pixels: int = parameter(200, "A class with fewer pixels keeps its more confident part, at least 2.")
    fallback_portion: float = parameter(0.5, "That part of its pixels: above 0, at most 1.")
    fallback_confidence: float = parameter(0.9, "There, what reaches this confidence is kept in any case, 0 to 1.")

    def __post_init__(self) -> None:
        self.refuse(
            {
                "scope": (self.scope in SCOPES, "domain or image"),
                "iterations": (1 <= self.iterations <= 10**9, "a whole number from 1 up, such as 200"),
                "tolerance": (0 <= self.tolerance < np.inf, "a number from 0 up, such as 0.00001"),
                "least_variance": (0 < self.least_variance <= 1, "above 0 and at most 1, such as 0.000001"),
                "initial_quantile": (0 < self.initial_quantile <= 0.5, "above 0 and at most 0.5, such as 0.2"),
                "least_pixels": (2 <= self.least_pixels <= 10**9, "a whole number from 2 up, such as 200"),
                "fallback_portion": (0 < self.fallback_portion <= 1, "above 0 and at most 1, such as 0.5"),
                "fallback_confidence": (0 <= self.fallback_confidence <= 1, "from 0 to 1, such as 0.9"),
            }
        )

    def describe(self) -> str:
        return self.name if self.scope == "domain" else f"{self.name}, per image"

    def fit(self, maps: Maps, workers: Workers | None = None) -> EntropyMixtureFitted:
        """As `Selector.fit`, in one pass: the histograms of all images, then the rule of each class."""
        # 1. Histograms; with the scope "image" also how many images have two modes of their own, per class.
        histograms = None if workers is None else ClassHistograms(workers.classes)
        own_modes: np.ndarray | int = 0
        for classes, found, own in self._measured(maps):
            histograms = histograms or ClassHistograms(classes)
            histograms.add(found)
            own_modes = own_modes + own
        # 2. Those of all workers.
        if histograms is not None and workers is not None:
            histograms.add_up(workers)
            own_modes = workers.add_up(np.zeros(workers.classes, np.int64) + own_modes)
        if histograms is None or histograms.images == 0:
            raise no_maps()
        # 3. Rules.
        rules = self.class_rules(histograms)
        cuts = np.array([rule.cut for rule in rules])
        own = np.array(own_modes, np.int64) if self.scope == "image" else None
        return EntropyMixtureFitted(self, cuts, histograms.pixels, histograms.images, rules, histograms, own)

    def _measured(self, maps: Maps) -> Iterator[tuple[int, Uncertainty, np.ndarray | int]]:
        """Of each image the number of classes, the uncertainty, and with the scope "image" which classes have two modes
        there, bool [c]; they are fitted on a few threads, for that takes longer than to count."""

        def with_own_modes(classes: int, found: Uncertainty) -> tuple[int, Uncertainty, np.ndarray]:
            return classes, found, np.array([rule.rule in BY_MODES for rule in self._rules_of(found, classes)])

        if self.scope == "image":
            return in_order(with_own_modes, measure_uncertainty(maps()))
        return ((classes, found, 0) for classes, found in measure_uncertainty(maps()))

    def class_rules(self, histograms: ClassHistograms) -> tuple[ClassRule, ...]:
        """The rule of each class for the pixels that were counted."""
        return tuple(map(self._class_rule, histograms.entropy, histograms.confidence))

    def rules_of_image(self, found: Uncertainty, of_all: Sequence[ClassRule]) -> tuple[ClassRule, ...]:
        """The rule of each class by its two modes in one image, or `of_all` where it has no two modes there."""
        own = self._rules_of(found, len(of_all))
        return tuple(mine if mine.rule in BY_MODES else others for mine, others in zip(own, of_all, strict=True))

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> EntropyMixtureFitted:
        selector, common = cls.from_json(content), read_common(content, 0.0)
        cuts = np.where(np.isinf(common["thresholds"]), -np.inf, common["thresholds"])
        entries = content["mixtures"]
        if len(entries) != len(cuts):
            raise ValueError("expected a mixture per class")
        rules = tuple(map(_read_rule, entries, cuts.tolist()))
        return EntropyMixtureFitted(selector, **{**common, "thresholds": cuts}, rules=rules)

    def _rules_of(self, found: Uncertainty, classes: int) -> tuple[ClassRule, ...]:
        histograms = ClassHistograms(classes)
        histograms.add(found)
        return self.class_rules(histograms)

    def _class_rule(self, by_entropy: np.ndarray, by_confidence: np.ndarray) -> ClassRule:
        """The rule of one class from its two histograms, int64 [BINS]."""
        pixels = int(by_entropy.sum())
        if pixels == 0:
            return ClassRule("no pixels")
        if pixels < self.least_pixels:
            return ClassRule("too few pixels", confidence=self._least_confidence(by_confidence))
        filled = np.flatnonzero(by_entropy)
        values, counts = CENTRES[filled], by_entropy[filled].astype(np.float64)
        start = starting_point(values, counts, self.initial_quantile, self.least_variance)
        mixture = fit(values, counts, start, self.iterations, self.tolerance, self.least_variance)
        if is_one_mode(values, counts, mixture, self.least_variance):
            return ClassRule("one mode", confidence=self._least_confidence(by_confidence), mixture=mixture)
        cut = mixture.cut()
        certain, uncertain = mixture.means.tolist()
        rule: Rule = "certain mean" if cut <= certain else "uncertain mean" if cut >= uncertain else "two modes"
        return ClassRule(rule, cut=cut, mixture=mixture)

    def _least_confidence(self, by_confidence: np.ndarray) -> float:
        """BDL's rule: the largest bin edge that the wanted part of the pixels reaches, at most the confidence cap."""
        reaching = np.cumsum(by_confidence[::-1])[::-1]  # pixels in this bin or a higher one
        edge = np.flatnonzero(reaching >= self.fallback_portion * reaching[0])[-1]
        return min(float(edge) / BINS, self.fallback_confidence)


def drawn_histogram(counts: np.ndarray, rule: ClassRule) -> dict[str, Any]:
    """A coarse histogram for a picture: {start, width: of a bin, counts}, of the range where nearly all pixels are.

    Where the cut lies in the first `NARROW` of that range, only as far as `SHOWN_CUTS` times the cut.

    counts: int64 [BINS] of one class.
    """
    if not counts.any():
        return {"start": 0.0, "width": 1 / DRAWN_BINS, "counts": [0] * DRAWN_BINS}
    ends = np.searchsorted(np.cumsum(counts), np.array([0.002, 0.995]) * counts.sum()) / BINS
    if rule.mixture is not None:  # both modes and the cut between them are to be seen
        reach = rule.mixture.means + rule.mixture.deviations * np.array([-1, 1])
        ends = np.array([min(ends[0], reach[0]), max(ends[1], reach[1])])
    if ends[0] < rule.cut < ends[0] + NARROW * (ends[1] - ends[0]):
        ends[1] = ends[0] + SHOWN_CUTS * (rule.cut - ends[0])
    margin = 0.05 * (ends[1] - ends[0])
    first, last = (np.clip(ends + np.array([-margin, margin]), 0, 1) * BINS).astype(int).tolist()
    factor = max(1, -(-(last - first) // DRAWN_BINS))
    padded = np.zeros(factor * DRAWN_BINS, np.int64)
    part = counts[first : first + len(padded)]
    padded[: len(part)] = part
    return {
        "start": first / BINS,
        "width": factor / BINS,
        "counts": padded.reshape(DRAWN_BINS, factor).sum(axis=1).tolist(),
    }


def _read_rule(entry: Mapping[str, Any], cut: float) -> ClassRule:
    """The rule of one class from JSON; KeyError, TypeError, ValueError where something is missing or odd."""
    rule, confidence = entry["rule"], entry["confidence"]
    if rule not in get_args(Rule) or (rule in BY_MODES) != np.isfinite(cut):
        raise ValueError(f"no rule {rule!r} with this threshold")
    if confidence is None:
        confidence = np.inf
    elif type(confidence) not in (int, float) or not 0 <= confidence <= 1:
        raise ValueError("a confidence of 0 to 1 was expected")
    if (rule in ("too few pixels", "one mode")) != np.isfinite(confidence):
        raise ValueError(f"no rule {rule!r} with this confidence")
    if entry["weights"] is None:
        return ClassRule(rule, cut, confidence)
    modes = [np.array(entry[name], np.float64) for name in ("weights", "means", "variances")]
    if not all(mode.shape == (2,) and np.isfinite(mode).all() and (mode >= 0).all() for mode in modes):
        raise ValueError("two modes of finite weight, mean and variance were expected")
    return ClassRule(rule, cut, confidence, TwoGaussians(*modes))
