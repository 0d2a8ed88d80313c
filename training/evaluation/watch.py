"""The label-free watch: did self-training help, or is it collapsing? Nobody gives it target labels.

It looks at the same target images before the rounds (round 0: after the warm-up, with the target's batch-norm
statistics where these are trained) and after every round, and measures

* `shares`: the class shares of the predictions. Collapse moves them: one class floods the image, others vanish.
  `drift` is the Jensen-Shannon divergence (natural log, 0 .. 0.69) between the shares of this round and of round 0;
  `lost` is how much of its share the worst-hit *common* class (at least 5 % in round 0 and in the source labels) lost.
* `swell`: mean over the classes of how far (natural log) their share lies outside what is plausible, the span between
  the model's share in round 0 and the source's. Rare classes that eat into common ones, round after round, are the
  quiet form of collapse: shares barely drift, consistency even rises, and every round is worse than the one before.
* `agreement` with the previous round: mean over the classes shown of the IoU between the two predictions, 0 .. 1.
* `consistency` under views: the same between the prediction on the image and on its mirrored, smaller view, but over
  all classes, one that is never shown as 0: who finds a rare class at last, unsure of it, shall not lose by that.
  A network that knows what it sees says the same of both.
* `home`: how many points of mIoU the network has gained on held-out *source* images since round 0 (the only labels
  there are). One that learns the target's look for real also gets better at home; one that has begun to believe its
  own mistakes forgets.
* `confidence`: mean of the largest probability. Reported, never scored: self-training raises it whether right or wrong.

A round is a *clear collapse* when shares drift or a common class is lost beyond the limits in
`training.settings.Watch`, or when rare classes swell while the network forgets at home; half the swell is a warning.
The label-free score of a round is `consistency - drift / 2`, and the result is the best scored round that is no
collapse (the model before adaptation counts as round 0). Weight and limits were set on runs whose truth is known (see
the README).
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

COMMON_SHARE = 0.05
SMALLEST_SHARE = 1e-4
DRIFT_WEIGHT = 0.5
VIEW_SCALE = 0.75
WATCH_BATCH = 8
STUDENT = "student/"  # before the stage's name: the student of a round whose result is its teacher
LOOK_ARRAYS = ("prediction", "view", "confidence", "source_miou")


@dataclass(frozen=True)
class Look:
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
        """Keep it for the rounds to come."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **asdict(self))
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Look":
        """UserError if the file is damaged or another's."""
        prediction, view, confidence, source_miou = (npz_array(path, name) for name in LOOK_ARRAYS)
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
    """The watch's figures for one round; `sentence` says in words what was seen.

    home: points of mIoU gained on held-out source images since round 0; None where none of their pixels has a label.
    """

    score: float
    drift: float
    swell: float
    lost: float
    lost_class: int | None
    home: float | None
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


def other_view(predictor: Predictor) -> Predictor:
    """What consistency compares the plain prediction with: the mirrored image at three quarters of its size."""
    return predictor.with_views(scales=(VIEW_SCALE,), flips=(True,))


def look_at(predictor: Predictor, other: Predictor, dataset, size, images: int, source_miou: float | None) -> Look:
    """Predict `images` evenly spaced images of `dataset` with `predictor`, and with `other_view` of its network."""
    predictions, views, confidences = [], [], []
    for batch in evaluation_stream(dataset.evenly_spaced(images), size, WATCH_BATCH):
        probs = predictor.coarse_probs(batch["image"])
        grid = probs.shape[1:3]
        predictions.append(np.argmax(probs, axis=-1).astype(np.uint8))
        views.append(enlarged_label(other.coarse_probs(batch["image"]), grid).numpy())
        confidences.append(np.max(probs, axis=-1).mean(axis=(1, 2)))
    return Look(
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


def swell_of(shares: np.ndarray, first_shares: np.ndarray, source_shares: np.ndarray) -> float:
    """Mean over classes of `|log|` of the factor by which a share lies outside [first, source]; 0 if none does.

    Shares below one in ten thousand are taken as that: an absent class has no meaningful ratio.
    """
    now, first, source = (np.maximum(values, SMALLEST_SHARE) for values in (shares, first_shares, source_shares))
    above, below = now / np.maximum(first, source), np.minimum(first, source) / now
    return float(np.mean(np.log(np.maximum(np.maximum(above, below), 1.0))))


def lost_share(shares, first_shares, source_shares) -> tuple[float, int | None]:
    """`(part of its share lost, class)` of the common class that lost most since round 0; `(0, None)` if none did."""
    common = (first_shares >= COMMON_SHARE) & (source_shares >= COMMON_SHARE)
    if not common.any():
        return 0.0, None
    lost = np.where(common, 1 - shares / np.maximum(first_shares, 1e-12), -np.inf)
    worst = int(np.argmax(lost))
    return (float(lost[worst]), worst) if lost[worst] > 0 else (0.0, None)


def judge(
    look: Look, previous: Look, first: Look, source_shares: np.ndarray, names, limits, labeller_shares=None
) -> Verdict:
    """Compare a round with the one before and with round 0.

    Args:
        look, previous, first: what this round, the round before and round 0 saw on the same images.
        source_shares: class shares of the source labels, float `[classes]`.
        names: class names. limits: `training.settings.Watch`.
        labeller_shares: class shares of another model that labelled round 1, in place of those of round 0: a network
            that learns from a better one is meant to leave its own.
    """
    classes = len(names)
    shares = class_shares(look.prediction, classes)
    first_shares = class_shares(first.prediction, classes) if labeller_shares is None else labeller_shares
    drift = jensen_shannon(shares, first_shares)
    swell = swell_of(shares, first_shares, source_shares)
    lost, lost_class = lost_share(shares, first_shares, source_shares)
    agreement = float(np.nanmean(ious_between(look.prediction, previous.prediction, classes)))
    consistency = float(np.nan_to_num(ious_between(look.prediction, look.view, classes)).mean())
    gained = look.source_miou - first.source_miou
    home = float(gained) if np.isfinite(gained) else None
    reasons = _reasons(drift, swell, home, lost, lost_class, names, limits)
    return Verdict(
        score=consistency - DRIFT_WEIGHT * drift,
        drift=drift,
        swell=swell,
        lost=lost,
        lost_class=lost_class,
        home=home,
        agreement=agreement,
        consistency=consistency,
        confidence=look.confidence,
        shares=tuple(shares.tolist()),
        collapse=bool(reasons),
        sentence="; ".join(reasons) if reasons else _fine(drift, swell, home, limits),
    )


def _fine(drift: float, swell: float, home: float | None, limits) -> str:
    on_source = "no labelled pixel on the source" if home is None else f"{home:+.1f} points on the source"
    seen = f"shares drifted by {drift:.3f}, swelled by {swell:.2f}, {on_source}"
    if swell > limits.collapse_swell / 2 and _forgets(home, limits):
        return f"no clear collapse, but rare classes swell while the source is forgotten, look at the panels: {seen}"
    return f"no collapse: {seen}"


def _forgets(home: float | None, limits) -> bool:
    return home is not None and home < -limits.collapse_forgotten


def _reasons(
    drift: float, swell: float, home: float | None, lost: float, lost_class: int | None, names, limits
) -> list[str]:
    reasons = []
    if drift > limits.collapse_drift:
        reasons.append(f"class shares drifted by {drift:.3f} (limit {limits.collapse_drift})")
    if swell > limits.collapse_swell and _forgets(home, limits):
        reasons.append(
            f"rare classes swelled by {swell:.2f} (limit {limits.collapse_swell}) while the network lost "
            f"{-home:.1f} points on the source (limit {limits.collapse_forgotten})"
        )
    if lost > limits.collapse_lost_share:
        reasons.append(f"'{names[lost_class]}' lost {lost:.0%} of its pixels (limit {limits.collapse_lost_share:.0%})")
    return reasons


def chosen_round(verdicts: list[Verdict]) -> int:
    """Index of the state to keep: the best scored one that is no collapse, the later one on ties.

    Entry 0, the model before adaptation, never is a collapse.
    """
    healthy = [index for index, verdict in enumerate(verdicts) if index == 0 or not verdict.collapse]
    return max(healthy, key=lambda index: (verdicts[index].score, index))


def chosen_stage(stages: dict[str, dict]) -> str:
    """The stage of a run whose weights become its result: `chosen_round`'s, or the last one where nothing is watched.

    stages: what state.json records of each, in their order, at least one.
    """
    names = list(stages)
    if "verdict" not in stages[names[0]]:
        return names[-1]
    return names[chosen_round([Verdict.from_json(stages[name].get("verdict"), name) for name in names])]


def weights_stage(stages: dict[str, dict], stage: str) -> str | None:
    """The finished stage whose weights "final" are, or `stage` itself; None where nothing is recorded."""
    if stage != "final":
        return stage if stage.removeprefix(STUDENT) in stages else None
    return chosen_stage(stages) if stages else None
