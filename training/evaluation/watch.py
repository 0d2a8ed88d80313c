"""The label-free watch: did adaptation help, or does it collapse? It never sees target labels.

After every stage it predicts the same target images and compares with the *reference*: the model before adaptation,
with the target's batch-norm statistics where these are trained. It measures

* `shares`: the class shares of the predictions. `drift` is the Jensen-Shannon divergence (natural log, 0 to 0.69)
  between these shares and the reference's; `lost` is the part of its share that the worst *common* class lost (common:
  at least 5 % in the reference and in the source labels).
* `share_excess`: mean over the classes of the distance (natural log) of their share from the plausible interval, which
  lies between the reference's share and the source's. It finds the slow collapse, in which rare classes grow round
  after round: drift stays small and consistency rises, yet every round is worse than the one before.
* `agreement` with the stage before: mean over the shown classes of the IoU between the two predictions, 0 to 1.
* `consistency`: the same between the prediction on the image and on its mirrored, smaller view, over all classes; a
  class that is never shown counts as 0, so that a stage is not worse for finding a rare class.
* `source_change`: points of mIoU gained on held-out *source* images since the reference (the only labels there are).
  A network that believes its own mistakes forgets the source.
* `confidence`: mean of the largest probability. Reported, never scored: self-training always raises it.

A stage is a *clear collapse* when the drift or a lost class is beyond the limits in `training.settings.Watch`, or when
the share excess is and the network forgets the source; half the share excess is a warning. The label-free score is
`consistency - drift / 2`. The result is the best scored stage without collapse; the model before adaptation is one of
them. Weight and limits were set on runs whose truth is known (tests/benchmarks/README.md).
"""

import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from training.data.input_pipeline import evaluation_stream
from training.errors import UserError
from training.evaluation.confusion import Confusion, iou
from training.files.atomic import write_atomically
from training.files.npy import npz_array
from training.prediction.predictor import Predictor, enlarged_label
from training.run_directory.paths import STUDENT

COMMON_SHARE = 0.05
SMALLEST_SHARE = 1e-4
DRIFT_WEIGHT = 0.5
VIEW_SCALE = 0.75
WATCH_BATCH = 8
ARRAYS = ("prediction", "view", "confidence", "source_miou")


@dataclass(frozen=True)
class Observation:
    """What one state of the network says of the watched images.

    prediction: uint8 `[n, h, w]` labels; view: uint8 `[n, h, w]` labels predicted from the mirrored smaller view, in
    the same places; confidence: mean largest probability; source_miou: on held-out source images, in percent,
    NaN where none of their pixels has a label.
    """

    prediction: np.ndarray
    view: np.ndarray
    confidence: float
    source_miou: float

    def save(self, path: Path) -> None:
        """Keep it for the stages to come."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **asdict(self))
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Observation":
        """UserError if the file is damaged or another's."""
        prediction, view, confidence, source_miou = (npz_array(path, name) for name in ARRAYS)
        if (
            prediction.dtype != np.uint8
            or prediction.shape != view.shape
            or confidence.size != 1
            or source_miou.size != 1
        ):
            raise UserError(f"{path} is not what the watch wrote: start a new run")
        return cls(prediction, view, float(confidence), float(source_miou))


@dataclass(frozen=True)
class Verdict:
    """The watch's figures for one stage; `sentence` says them in words.

    source_change: points of mIoU gained on held-out source images since the reference; None where none of their pixels
    has a label.
    """

    score: float
    drift: float
    share_excess: float
    lost: float
    lost_class: int | None
    source_change: float | None
    agreement: float
    consistency: float
    confidence: float
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


def second_view(predictor: Predictor) -> Predictor:
    """What consistency compares the plain prediction with: the mirrored image at three quarters of its size."""
    return predictor.with_views(scales=(VIEW_SCALE,), flips=(True,))


def observe(
    predictor: Predictor, other: Predictor, dataset, size, images: int, source_miou: float | None
) -> Observation:
    """Predict `images` evenly spaced images of `dataset` with `predictor`, and with `second_view` of its network."""
    predictions, views, confidences = [], [], []
    for batch in evaluation_stream(dataset.evenly_spaced(images), size, WATCH_BATCH):
        probs = predictor.coarse_probs(batch["image"])
        grid = probs.shape[1:3]
        predictions.append(np.argmax(probs, axis=-1).astype(np.uint8))
        views.append(enlarged_label(other.coarse_probs(batch["image"]), grid).numpy())
        confidences.append(np.max(probs, axis=-1).mean(axis=(1, 2)))
    return Observation(
        np.concatenate(predictions),
        np.concatenate(views),
        float(np.mean(np.concatenate(confidences))),
        np.nan if source_miou is None else source_miou,
    )


def predicted_shares(predictor, dataset, size, classes: int) -> np.ndarray:
    """`class_shares` of what a predictor says of all images of `dataset`."""
    batches = evaluation_stream(dataset, size, WATCH_BATCH)
    labels = [np.argmax(predictor.coarse_probs(batch["image"]), axis=-1).ravel() for batch in batches]
    return class_shares(np.concatenate(labels), classes)


def class_shares(prediction: np.ndarray, classes: int) -> np.ndarray:
    """Share of the pixels of each class, float64 `[classes]`, summing to 1."""
    counts = np.bincount(prediction.ravel(), minlength=classes)[:classes]
    return counts / max(counts.sum(), 1)


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


def share_excess_of(shares: np.ndarray, reference_shares: np.ndarray, source_shares: np.ndarray) -> float:
    """Mean over classes of `|log|` of the factor by which a share lies outside [first, source]; 0 if none does.

    Shares below one in ten thousand are taken as that: an absent class has no meaningful ratio.
    """
    now, first, source = (np.maximum(values, SMALLEST_SHARE) for values in (shares, reference_shares, source_shares))
    above, below = now / np.maximum(first, source), np.minimum(first, source) / now
    return float(np.mean(np.log(np.maximum(np.maximum(above, below), 1.0))))


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
) -> Verdict:
    """Compare a stage with the one before and with the reference.

    Args:
        observation, previous, reference: of this stage, the stage before and the reference, on the same images.
        source_shares: class shares of the source labels, float `[classes]`.
        names: class names. limits: `training.settings.Watch`.
        labeller_shares: class shares of another model that labelled round 1, in place of the reference's: a network
            that learns from a better one is meant to leave its own.
    """
    classes = len(names)
    shares = class_shares(observation.prediction, classes)
    reference_shares = class_shares(reference.prediction, classes) if labeller_shares is None else labeller_shares
    drift = jensen_shannon(shares, reference_shares)
    share_excess = share_excess_of(shares, reference_shares, source_shares)
    lost, lost_class = lost_share(shares, reference_shares, source_shares)
    agreement = float(np.nanmean(ious_between(observation.prediction, previous.prediction, classes)))
    consistency = float(np.nan_to_num(ious_between(observation.prediction, observation.view, classes)).mean())
    gained = observation.source_miou - reference.source_miou
    source_change = float(gained) if np.isfinite(gained) else None
    reasons = _reasons(drift, share_excess, source_change, lost, lost_class, names, limits)
    return Verdict(
        score=consistency - DRIFT_WEIGHT * drift,
        drift=drift,
        share_excess=share_excess,
        lost=lost,
        lost_class=lost_class,
        source_change=source_change,
        agreement=agreement,
        consistency=consistency,
        confidence=observation.confidence,
        shares=tuple(shares.tolist()),
        collapse=bool(reasons),
        sentence="; ".join(reasons) if reasons else _no_collapse(drift, share_excess, source_change, limits),
    )


def _no_collapse(drift: float, share_excess: float, source_change: float | None, limits) -> str:
    source = (
        "no labelled pixel on the source" if source_change is None else f"{source_change:+.1f} points on the source"
    )
    seen = f"class-share drift {drift:.3f}, share excess {share_excess:.2f}, {source}"
    if share_excess > limits.collapse_share_excess / 2 and _forgets(source_change, limits):
        return f"no clear collapse, but rare classes grow while the source is forgotten, check the panels: {seen}"
    return f"no collapse: {seen}"


def _forgets(source_change: float | None, limits) -> bool:
    return source_change is not None and source_change < -limits.collapse_source_loss


def _reasons(
    drift: float, share_excess: float, source_change: float | None, lost: float, lost_class: int | None, names, limits
) -> list[str]:
    reasons = []
    if drift > limits.collapse_drift:
        reasons.append(f"class-share drift {drift:.3f} (limit {limits.collapse_drift})")
    if share_excess > limits.collapse_share_excess and _forgets(source_change, limits):
        reasons.append(
            f"rare classes grew, share excess {share_excess:.2f} (limit {limits.collapse_share_excess}), while the "
            f"network lost {-source_change:.1f} points on the source (limit {limits.collapse_source_loss})"
        )
    if lost > limits.collapse_lost_share:
        reasons.append(f"'{names[lost_class]}' lost {lost:.0%} of its pixels (limit {limits.collapse_lost_share:.0%})")
    return reasons


def chosen_index(verdicts: list[Verdict]) -> int:
    """Index of the state to keep: the best scored one that is no collapse, the later one on ties.

    Entry 0, the model before adaptation, never is a collapse.
    """
    healthy = [index for index, verdict in enumerate(verdicts) if index == 0 or not verdict.collapse]
    return max(healthy, key=lambda index: (verdicts[index].score, index))


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


def weights_stage(stages: dict[str, dict], stage: str) -> str | None:
    """The finished stage whose weights "final" are, or `stage` itself; None where nothing is recorded."""
    if stage != "final":
        return stage if stage.removeprefix(STUDENT) in stages else None
    return chosen_stage(stages) if scored_stages(stages) else None
