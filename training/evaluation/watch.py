"""The label-free watch: did adaptation help, or does it collapse? It never sees target labels.

After every stage it predicts the same target images and held-out source images (`observing.py`; where the source names
none, training images stand in for them: `HOME_IMAGES` in `data/domains.py`) and compares with the
*reference*: the model before adaptation, with the target's batch-norm statistics where these are trained, and with
adjusted logits; a stage of adjusted logits itself is compared with the model that it adjusts. It measures

* `shares`: the class shares of the predictions. `drift` is the Jensen-Shannon divergence (natural log, 0 to 0.69)
  between these shares and the reference's; `lost` is the part of its share that the worst *common* class lost (common:
  at least 5 % in the reference and in the source labels).
* `share_excess`: mean over the classes of the distance (natural log) of their share from the plausible interval, which
  lies between the reference's share and the source's. It finds the slow collapse, in which rare classes grow round
  after round, or are lost: drift stays small and consistency rises, yet every round is worse than the one before.
* `agreement` with the stage before, `agreement_reference` with the reference: mean over the shown classes of the IoU
  between the two predictions, 0 to 1.
* `consistency`: the same between the prediction on the image and on its mirrored, smaller view, over all classes; a
  class that is never shown counts as 0, so that a stage is not worse for finding a rare class.
* `source_miou`: on held-out *source* images, the mean over the classes that their labels show, in percent (the only
  labels there are). A network that believes its own mistakes forgets the source.
* `reverse_miou`: of a linear classifier that is fitted to the network's features and labels of the target, on the
  source's labels, in percent (reverse validation).
* `estimated_accuracy`, `estimated_class_accuracy`: average thresholded confidence, 0 to 1.
* `entropy`, `diversity`, `nuclear_norm`: see `label_free.py`; 0 to 1. `confidence`: mean of the largest probability.

A stage is a *clear collapse* when the drift or a lost class is beyond the limits in
`training.settings.experiment.Watch`, or when the share excess is and the network forgets the source; half the share
excess is a warning. Which stage becomes the result is decided by `rule.py`; the model before adaptation is always one
of them. All limits were set on runs whose truth is known (tests/benchmarks/README.md).
"""

from dataclasses import asdict, dataclass

import numpy as np
from pydantic import TypeAdapter, ValidationError

from training.errors import UserError
from training.evaluation.confusion import Confusion, iou
from training.evaluation.observing import Observation, class_shares
from training.evaluation.rule import RULE, Measured
from training.run_directory.paths import STUDENT

COMMON_SHARE = 0.05
SMALLEST_SHARE = 1e-4


@dataclass(frozen=True)
class Verdict:
    """The watch's figures for one stage; `sentence` says them in words.

    score: the label-free gain of `rule.RULE` over the model before adaptation. refused: why that rule does not take
    the stage, in words. measured: by name, None where it could not be measured. source_change: points of mIoU gained
    on held-out source images since the reference; None where none of their pixels has a label.
    """

    score: float
    refused: tuple[str, ...]
    measured: dict[str, float | None]
    lost: float
    lost_class: int | None
    source_change: float | None
    shares: tuple[float, ...]
    collapse: bool
    sentence: str

    def as_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, figures: object, stage: str) -> "Verdict":
        """What `as_json` gave; UserError, saying the stage, for anything else."""
        try:
            return TypeAdapter(cls).validate_python(figures)
        except ValidationError as error:
            what = error.errors()[0]["msg"]
            raise UserError(f"state.json has no verdict on '{stage}' ({what}): start a new run") from error


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """Divergence between two distributions, natural log: 0 if equal, log 2 = 0.69 if disjoint."""
    middle = (first + second) / 2

    def to_middle(shares):
        present = shares > 0
        return float(np.sum(shares[present] * np.log(shares[present] / middle[present])))

    return (to_middle(first) + to_middle(second)) / 2


def ious_between(first: np.ndarray, second: np.ndarray, classes: int) -> np.ndarray:
    """IoU of each class between two label maps, float64 `[classes]`; NaN for a class that neither shows."""
    both = Confusion(classes)
    both.add(first, second)
    return iou(both.matrix)


def share_excesses(shares: np.ndarray, reference_shares: np.ndarray, source_shares: np.ndarray) -> np.ndarray:
    """Natural log of the factor by which the share of each class lies outside [reference, source], float64 `[classes]`:
    above 0 if it is larger, below 0 if it is smaller, 0 within.

    Shares below one in ten thousand are taken as that: an absent class has no meaningful ratio.
    """
    now, first, source = (np.maximum(values, SMALLEST_SHARE) for values in (shares, reference_shares, source_shares))
    above, below = now / np.maximum(first, source), np.minimum(first, source) / now
    return np.log(np.maximum(above, 1.0)) - np.log(np.maximum(below, 1.0))


def lost_share(shares, reference_shares, source_shares) -> tuple[float, int | None]:
    """`(part of its share lost, class)` of the common class that lost most; `(0, None)` if none did."""
    common = (reference_shares >= COMMON_SHARE) & (source_shares >= COMMON_SHARE)
    if not common.any():
        return 0.0, None
    lost = np.where(common, 1 - shares / np.maximum(reference_shares, 1e-12), -np.inf)
    worst = int(np.argmax(lost))
    return (float(lost[worst]), worst) if lost[worst] > 0 else (0.0, None)


def judge(
    observation: Observation,
    previous: Observation,
    reference: Observation,
    source_shares: np.ndarray,
    names,
    limits,
    labeller_shares=None,
    before: Measured | None = None,
) -> Verdict:
    """Compare a stage with the one before, with the reference and with the model before adaptation.

    Args:
        observation, previous, reference: of this stage, the stage before and the reference, on the same images.
        source_shares: class shares of the source labels, float `[classes]`.
        names: class names. limits: `training.settings.experiment.Watch`.
        labeller_shares: class shares of another model that labelled round 1, in place of the reference's: a network
            that learns from a better one is meant to leave its own.
        before: `Verdict.measured` of the model before adaptation; None = this is its verdict.
    """
    classes = len(names)
    shares = class_shares(observation.prediction, classes)
    reference_shares = class_shares(reference.prediction, classes) if labeller_shares is None else labeller_shares
    drift = jensen_shannon(shares, reference_shares)
    excesses = share_excesses(shares, reference_shares, source_shares)
    share_excess = float(np.abs(excesses).mean())
    lost, lost_class = lost_share(shares, reference_shares, source_shares)
    consistency = np.nan_to_num(ious_between(observation.prediction, observation.view, classes)).mean()
    gained = observation.measured["source_miou"] - reference.measured["source_miou"]
    source_change = float(gained) if np.isfinite(gained) else None
    measured = {
        "consistency": float(consistency),
        "agreement": agreement_of(observation, previous, classes),
        "agreement_reference": agreement_of(observation, reference, classes),
        "drift": drift,
        "share_excess": share_excess,
        **{name: value if np.isfinite(value) else None for name, value in observation.measured.items()},
    }
    rare = _rare_classes(excesses, names)
    reasons = _reasons(drift, share_excess, rare, source_change, lost, lost_class, names, limits)
    return Verdict(
        score=RULE.gain(measured, before or measured),
        refused=tuple(RULE.refusals(measured, before)) if before else (),
        measured=measured,
        lost=lost,
        lost_class=lost_class,
        source_change=source_change,
        shares=tuple(shares.tolist()),
        collapse=bool(reasons),
        sentence="; ".join(reasons) if reasons else _no_collapse(drift, share_excess, rare, source_change, limits),
    )


def agreement_of(first: Observation, second: Observation, classes: int) -> float:
    """Mean over the classes that either shows of the IoU between two states' labels of the same images, 0 to 1."""
    return float(np.nanmean(ious_between(first.prediction, second.prediction, classes)))


def _rare_classes(excesses: np.ndarray, names) -> str:
    """In words: did more shares leave their intervals upwards or downwards, and that of which class most?"""
    grew = excesses.sum() > 0
    most = names[int(np.argmax(excesses if grew else -excesses))]
    return f"rare classes {'grew' if grew else 'were lost'}, '{most}' most"


def _no_collapse(drift: float, share_excess: float, rare: str, source_change: float | None, limits) -> str:
    source = (
        "no labelled pixel on the source" if source_change is None else f"{source_change:+.1f} points on the source"
    )
    seen = f"class-share drift {drift:.3f}, share excess {share_excess:.2f}, {source}"
    if share_excess > limits.collapse_share_excess / 2 and _forgets(source_change, limits):
        return f"no clear collapse, but {rare}, while the source is forgotten, check the panels: {seen}"
    return f"no collapse: {seen}"


def _forgets(source_change: float | None, limits) -> bool:
    return source_change is not None and source_change < -limits.collapse_source_loss


def _reasons(
    drift: float,
    share_excess: float,
    rare: str,
    source_change: float | None,
    lost: float,
    lost_class: int | None,
    names,
    limits,
) -> list[str]:
    reasons = []
    if drift > limits.collapse_drift:
        reasons.append(f"class-share drift {drift:.3f} (limit {limits.collapse_drift})")
    if share_excess > limits.collapse_share_excess and _forgets(source_change, limits):
        reasons.append(
            f"{rare}, share excess {share_excess:.2f} (limit {limits.collapse_share_excess}), while the "
            f"network lost {-source_change:.1f} points on the source (limit {limits.collapse_source_loss})"
        )
    if lost > limits.collapse_lost_share:
        reasons.append(f"'{names[lost_class]}' lost {lost:.0%} of its pixels (limit {limits.collapse_lost_share:.0%})")
    return reasons


def chosen_index(verdicts: list[Verdict]) -> int:
    """Index of the state to keep: what `rule.RULE` says of those that are no collapse.

    Entry 0, the model before adaptation, never is a collapse.
    """
    return RULE.choice([verdict.measured for verdict in verdicts], [verdict.collapse for verdict in verdicts])


def rank_of(verdict: Verdict) -> tuple[bool, bool, float]:
    """For comparing states of one stage: no collapse first, then what the rule would take, then the score."""
    return not verdict.collapse, not verdict.refused, verdict.score


def scored_stages(stages: dict[str, dict]) -> list[str]:
    """The stages that left a network, in their order; the first is the model before adaptation.

    stages: what state.json records of each, in their order.
    """
    return [name for name, figures in stages.items() if "scores" in figures]


def chosen_stage(stages: dict[str, dict]) -> str:
    """The stage of a run whose weights become its result: the watch's choice, or the last one without a watch.

    stages: as in `scored_stages`, at least one scored.
    """
    names = scored_stages(stages)
    if "verdict" not in stages[names[0]]:
        return names[-1]
    return names[chosen_index([Verdict.from_json(stages[name].get("verdict"), name) for name in names])]


def stages_until(stages: dict[str, dict], stage: str) -> list[str]:
    """Names of the finished stages up to `stage`, in their order; arguments as in `was_adapted`."""
    names = list(stages)
    return names[: names.index(stage.removeprefix(STUDENT)) + 1]


def was_adapted(stages: dict[str, dict], stage: str) -> bool:
    """Was the network of a finished stage trained on the target, in this run or before its warm start?

    stages: as in `scored_stages`. stage: its name; "student/NAME" is the student of that one.
    """
    so_far = stages_until(stages, stage)
    return any(stages[name].get("adapts") or stages[name].get("adapted") for name in so_far)


def weights_stage(stages: dict[str, dict], stage: str) -> str | None:
    """The finished stage whose weights "final" are, or `stage` itself; None where nothing is recorded."""
    if stage != "final":
        return stage if stage.removeprefix(STUDENT) in stages else None
    return chosen_stage(stages) if scored_stages(stages) else None
