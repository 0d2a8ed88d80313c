"""Selectors by the names of a command line, fitted to maps."""

import numpy as np

from training.pseudo_labels import Fitted
from training.pseudo_labels.registry import choice_called
from training.pseudo_labels.thresholds import ThresholdFitted, ThresholdSelector


def selector_called(name: str, portion: float, stride: int = 4, prior: np.ndarray | None = None, **parameters):
    """The selector that this name means, with a portion and a stride."""
    return choice_called(name).build(prior, portion=portion, stride=stride, **parameters)


def fit(maps, name: str, portion: float, stride: int = 4, prior: np.ndarray | None = None, **parameters) -> Fitted:
    """It, fitted to `maps`."""
    return selector_called(name, portion, stride, prior, **parameters).fit(maps)


def with_thresholds(selector: ThresholdSelector, *values: float) -> ThresholdFitted:
    """What the selector would be fitted to if it had found these thresholds."""
    zeros = np.zeros(len(values), np.int64)
    return selector.fitted_type(selector, np.float32(values), zeros, 1, zeros)
