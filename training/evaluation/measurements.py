"""The watch's measurements for a reader: name, unit and digits of each, see `watch.py` for how it is measured."""

from training.evaluation.formats import UNKNOWN, number, words

NEEDS_SOURCE = ("share_excess", "estimated_accuracy", "estimated_class_accuracy", "reverse_miou", "source_miou")
"""Measurements that take images or labels of the source too."""
TO_REFERENCE = {"agreement_reference", "drift", "share_excess"}
"""Measurements of a change since the reference: the model before adaptation, or what took its place."""
RELATIVE = {"label_free_gain", "agreement", *TO_REFERENCE}
"""Measurements of a change, which the model before adaptation has none of."""
TITLES = {
    "label_free_gain": "label-free gain",
    "consistency": "consistency: same answer in a mirrored, smaller view, %",
    "agreement": "agreement with the stage before, %",
    "agreement_reference": "agreement with the model before adaptation, %",
    "drift": "drift of the class shares",
    "confidence": "mean confidence, %",
    "entropy": "entropy of a pixel (0: sure, 1: all classes equal)",
    "diversity": "entropy of the mean (0: one class, 1: all classes equal)",
    "nuclear_norm": "nuclear norm (1: sure, and all classes equally frequent)",
    "share_excess": "share excess: rare classes beyond the plausible",
    "estimated_accuracy": "estimated pixel accuracy, %",
    "estimated_class_accuracy": "estimated accuracy, mean over the classes, %",
    "reverse_miou": "mIoU on the source of a head fitted to the target's predictions, %",
    "source_miou": "mIoU on held-out source images, %",
}
SHARES = (
    *("consistency", "agreement", "agreement_reference", "confidence", "estimated_accuracy"),
    "estimated_class_accuracy",
)
"""Measurements from 0 to 1 that are told in percent."""
PERCENT = ("reverse_miou", "source_miou")
"""Measurements that are in percent already."""


def title_of(key: str) -> str:
    """The name of a measurement, with its unit or range."""
    return TITLES.get(key, words(key))


def measured(key: str, value: float | None, signed: bool = False) -> str:
    """A measurement, or a change of it, as text in its unit; `—` for None."""
    if value is None:
        return UNKNOWN
    if key in SHARES:
        return number(100 * value, signed=signed)
    return number(value, 1 if key in PERCENT else 3, signed)
