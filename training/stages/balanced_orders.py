"""Soft-balance sampling of the source (UPLR, ICCV 2021): in rounds of alignment, and kept in rounds of self-training.

Round 1 draws for all classes; later ones for those that the target is least certain of, where the recipe chooses some:
a pass over the target with the network as the round before left it gives the mean entropy of each predicted class.
"""

from collections.abc import Sequence

import numpy as np

from training.data.sampling import Weighted
from training.data.soft_balance import draw_probabilities, image_ratios, shown_shares
from training.distribution.devices import share_of_this_process
from training.distribution.workers import workers_of
from training.prediction.target_predictions import TargetPredictions
from training.probability_maps.class_entropies import ClassEntropies
from training.progress import console
from training.run_directory.kept_arrays import kept_array
from training.settings.sampling import SoftBalance
from training.stages.orders import SHOWN, class_counts
from training.stages.stage import Run

EVEN = 1.5  # times: a smaller spread of the draws makes no difference that could be seen

KEY = "soft_balance"
"""Of the figures of a stage: {class, the rarest first: {"pixels": share of the source's labelled pixels, "chosen":
whether images are drawn for it, "entropy": mean of the target's pixels that are predicted as it, None = not measured or
none are, "predicted": their share, None = not measured, "before", "after": the share of the images drawn before and in
this round that show it}}."""


def balanced_order(run: Run, sampler: SoftBalance | None, number: int, stage: str) -> tuple[Weighted | None, dict]:
    """The order of the source's images in round `number` of alignment (1 = first), the stage of this name, and its
    figures; None, {} without.

    Every worker calls it.
    """
    if sampler is None:
        return None, {}
    counts, names = class_counts(run, "source"), run.domains.label_space.names
    # 1. The classes: those that the source shows, or the least certain of them.
    chosen, entropies = counts.any(axis=0), None
    if sampler.classes != "all":
        entropies = kept_entropies(run, stage)
        if number > 1:
            chosen = entropies.most_uncertain(_count_of(sampler, len(names)), among=chosen)
    # 2. The probability of each image.
    ratios = image_ratios(counts, chosen, sampler.exponent, sampler.unit)
    order = Weighted(draw_probabilities(ratios, sampler.slope, sampler.shift))
    # 3. What becomes of the draws.
    earlier = _last_figures(run)
    alike = shown_shares(np.full(len(counts), 1 / len(counts)), counts)
    before = alike if earlier is None else np.array([earlier[name]["after"] for name in names])
    figures = _figures(counts, chosen, entropies, (before, shown_shares(order.probabilities, counts)), names)
    _say(figures, all_classes=sampler.classes == "all" or number == 1)
    _say_spread(order, ratios)
    return order, {KEY: figures}


def kept_order(run: Run, part: np.ndarray) -> Weighted | None:
    """The order of the last round of alignment, for the images `part` (int [n], indices) alone; None without one."""
    alignment, figures = run.experiment.recipe.alignment, _last_figures(run)
    if alignment is None or alignment.sampler is None:
        return None
    if figures is None:  # the run started from an adapted model
        console.print("  this run has no round of alignment to keep draws of: the source's images are drawn uniformly")
        return None
    counts, names = class_counts(run, "source"), run.domains.label_space.names
    chosen = np.array([figures[name]["chosen"] for name in names])
    ratios = image_ratios(counts, chosen, alignment.sampler.exponent, alignment.sampler.unit)
    probabilities = np.zeros(len(counts))
    probabilities[part] = draw_probabilities(ratios, alignment.sampler.slope, alignment.sampler.shift)[part]
    console.print("  the source's images are drawn as in the last round of alignment")
    return Weighted(probabilities / probabilities.sum())


def kept_entropies(run: Run, stage: str) -> ClassEntropies:
    """`target_entropies`, measured once per stage: one that is resumed in its middle draws for the same classes, also
    on another machine."""
    path, classes = run.directory.partial_entropies(stage), run.domains.label_space.count

    def measured() -> np.ndarray:
        entropies = target_entropies(run)
        return np.stack([entropies.sums, entropies.pixels])

    found, table = ClassEntropies(classes), kept_array(path, measured, (2, classes), np.float64, together=True)
    found.sums, found.pixels = table[0], table[1].astype(np.int64)
    return found


def target_entropies(run: Run) -> ClassEntropies:
    """Of the network as it is, from one pass over the target; the workers share the images."""
    classes, share = run.domains.label_space.count, share_of_this_process()
    predictions = TargetPredictions(run.predictor, run.domains.target, run.size, cache_bytes=0, share=share)
    return ClassEntropies.of_maps(predictions(), classes, workers_of(classes))


def _count_of(sampler: SoftBalance, classes: int) -> int:
    """How many classes are chosen."""
    return -(-classes // 2) if sampler.classes == "half" else sampler.classes


def _last_figures(run: Run) -> dict[str, dict] | None:
    """Those of the last finished stage that was balanced."""
    finished = run.directory.stages
    balanced = [finished[stage.name][KEY] for stage in run.plan if KEY in finished.get(stage.name, {})]
    return balanced[-1] if balanced else None


def _figures(
    counts: np.ndarray,
    chosen: np.ndarray,
    entropies: ClassEntropies | None,
    shares: tuple[np.ndarray, np.ndarray],
    names: Sequence[str],
) -> dict[str, dict]:
    """As `KEY` says; shares: float [classes] each, before and after."""
    pixels = counts.sum(axis=0)
    of_class = {}
    for index in np.argsort(pixels, kind="stable"):
        entropy = np.inf if entropies is None else entropies.means[index]
        predicted = None if entropies is None else entropies.pixels[index] / max(entropies.pixels.sum(), 1)
        of_class[names[index]] = {
            "pixels": float(pixels[index] / max(pixels.sum(), 1)),
            "chosen": bool(chosen[index]),
            "entropy": float(entropy) if np.isfinite(entropy) else None,
            "predicted": None if predicted is None else float(predicted),
            "before": float(shares[0][index]),
            "after": float(shares[1][index]),
        }
    return of_class


def _say(figures: dict[str, dict], all_classes: bool) -> None:
    """The chosen classes, the least certain first, and the rarest classes of the source."""
    if all_classes:
        console.print("  soft-balance sampling of the source, for all classes")
    else:
        chosen = {name: found["entropy"] for name, found in figures.items() if found["chosen"]}
        ranked = sorted(chosen, key=lambda name: -np.inf if chosen[name] is None else -chosen[name])
        told = (f"{name} {'not predicted' if chosen[name] is None else format(chosen[name], '.3f')}" for name in ranked)
        console.print(f"  soft-balance sampling of the source, for what the target is least certain of (mean entropy): "
                      f"{', '.join(told)}")  # fmt: skip
    shown = [(name, found) for name, found in figures.items() if found["after"] > 0][:SHOWN]
    moved = ", ".join(f"{name} {found['before']:.1%} -> {found['after']:.1%}" for name, found in shown)
    console.print(f"  of the images drawn, these show the rarest classes: {moved}")


def _say_spread(order: Weighted, ratios: np.ndarray) -> None:
    """How far the draws are from even ones, and what would help where they hardly are."""
    spread = order.probabilities.max() / order.probabilities.min()
    console.print(f"  an image is drawn up to {spread:.1f} times as often as another")
    if spread < EVEN and ratios.min() < ratios.max():
        console.print(
            f"  so the sampler does next to nothing: the ratios of these images are {ratios.min():.2f} to 1, half of "
            f"them below {np.median(ratios):.2f}; set alignment.sampler.shift=median, and a larger "
            "alignment.sampler.slope tells them apart more sharply",
            style="yellow",
        )
