"""The order of things in a run: experiment -> the plan of its stages, and the loop that carries them out.

1. A recipe's parts become stages in one order: translation, warm-up, statistics, logit adjustment, alignment,
   adaptation. A translation that learns from a source model (CycleGAN with BDL's term) comes after the warm-up, which
   is then made again on the translated images, unless the recipe's warm-up sees the originals alone.
2. Each stage is skipped, found finished, or carried out: weights of the stage before -> work -> weights, scores, the
   watch's verdict and figures in the run directory. A resumed run goes on after the last finished stage.
3. The watch chooses the stage whose weights become the result; the report tells of all.

A new stage is a module `training/stages/KIND.py` with `stages(part, experiment)`, and its settings with that `kind`.
"""

import importlib
import time

import keras

from models.catalogue import NETWORKS
from training.data.domains import load_domains
from training.data.fixed_lists import with_fixed_lists
from training.distribution.devices import share_of_this_process
from training.distribution.memory import out_of_memory_predicting, out_of_memory_said, peak_memory
from training.distribution.workers import chief_first, on_chief
from training.errors import UserError
from training.evaluation.formats import score_or_none
from training.evaluation.tables import told_miou
from training.evaluation.watch import chosen_stage
from training.in_words import in_words
from training.prediction.predictor import images_at_once
from training.prediction.trained_model import load_own_weights
from training.progress import console
from training.run_directory.paths import RunDirectory
from training.settings.data import Data
from training.settings.experiment import Experiment, Model, Recipe
from training.stages.adjustment import AdjustmentStage
from training.stages.judging import judge_network
from training.stages.network import build_network
from training.stages.report import report_run
from training.stages.stage import JUDGED, Run, Stage, trains_statistics
from training.stages.statistics import StatisticsStage
from training.stages.streams import augmentation_of, refuse_augmentation
from training.stages.translation import reads_source
from training.stages.warm_start import warm_start_of


def plan(experiment: Experiment) -> tuple[Stage, ...]:
    """The stages of a run, in their order; the part of a recipe that is None has none."""
    recipe = experiment.recipe
    first = [_stages(recipe.translation, experiment), _stages(recipe.warm_up, experiment)]
    if recipe.translates_after_warm_up:
        first.reverse()
    later = [*_stages(recipe.alignment, experiment), *_stages(recipe.adaptation, experiment)]
    statistics = [StatisticsStage()] if trains_statistics(later, experiment.model) else []
    return (*first[0], *first[1], *statistics, *_adjustment(recipe), *later)


def _adjustment(recipe: Recipe) -> tuple[Stage, ...]:
    """The stage of logit adjustment, if any; UserError where the network has not learned the source's class shares."""
    if not recipe.adjusts_logits:
        return ()
    if recipe.warm_up.domain == "target":
        raise UserError(
            "logit_adjustment and label_shift go by the class shares of the source, and this recipe is trained on the "
            "target's labels: set both to 0"
        )
    return (AdjustmentStage(),)


def _stages(part, experiment: Experiment) -> tuple[Stage, ...]:
    """The stages of one part of a recipe, which the module of its kind knows."""
    if part is None:
        return ()
    return importlib.import_module(f"training.stages.{part.kind}").stages(part, experiment)


def run_experiment(experiment: Experiment, directory: RunDirectory) -> dict:
    """Carry out an experiment from wherever `directory` stands; the summary that the report shows."""
    stages = plan(experiment)
    check_batches(stages, experiment.model)
    check_augmentations(stages, experiment.data)
    for stage in stages:
        stage.check()
    _check_finished(directory, stages)
    keras.utils.set_random_seed(experiment.seed)
    keras.mixed_precision.set_dtype_policy(experiment.model.precision)
    on_chief(lambda: console.print(in_words(experiment), style="bold", markup=False))
    found = load_domains(experiment)
    domains = chief_first(lambda: with_fixed_lists(found, experiment, directory.images))
    on_chief(lambda: console.print(*domains.as_sentences(), sep="\n"))
    baseline, labelled = next(each.name for each in stages if each.scored), _first_labelled(stages)
    start = on_chief(lambda: warm_start_of(directory, experiment, domains.label_space, baseline, labelled))
    network = build_network(experiment, domains.label_space.count)
    run = Run(experiment, directory, domains, network, stages, start)
    _carry_out_all(run)
    return _finish(run)


def _first_labelled(stages: tuple[Stage, ...]) -> str | None:
    """The name of the first stage that learns from pseudo-labels; None if there is none."""
    return next((stage.name for stage in stages if stage.labelled), None)


def check_batches(stages: tuple[Stage, ...], model: Model) -> None:
    """Refuse, before anything is trained, a batch that the devices cannot share or compute in parts.

    Raises:
        UserError: it cannot be divided evenly, or trained batch-norm would normalise with the statistics of a part.
    """
    for stage in stages:
        schedule = stage.schedule
        if schedule is None:
            continue
        share_of_this_process().replica_batch(schedule.batch_size, schedule.accumulate, stage.setting)
        if schedule.accumulate == 1 or not stage.scored:  # a stage that leaves the segmenter alone has its own check
            continue
        parts = f"stage {stage.name}: accumulate={schedule.accumulate}"
        of_part = "would normalise with the statistics of a part of the batch"
        if NETWORKS[model.network].head_norm:
            raise UserError(
                f"{parts} {of_part} in the head of {model.network}, whose batch-norm is trained always: set "
                "accumulate=1; for less memory set a smaller batch_size"
            )
        if schedule.batch_norm == "train":
            raise UserError(
                f"{parts} with batch_norm=train {of_part}: set batch_norm=frozen beside it, or accumulate=1"
            )


def check_augmentations(stages: tuple[Stage, ...], data: Data) -> None:
    """Refuse, before anything is trained, an augmentation that cannot give crops of the data's size.

    Raises:
        UserError: scales in the wrong order, or crops larger than the scaled frames.
    """
    for stage in stages:
        if stage.schedule is not None and stage.scored:  # a stage that leaves the segmenter alone has its own check
            refuse_augmentation(augmentation_of(stage.schedule, data), data.size, stage.setting)


def _check_finished(directory: RunDirectory, stages: tuple[Stage, ...]) -> None:
    """Refuse a directory with finished stages that are not in the plan."""
    unknown = sorted(set(directory.stages) - {stage.name for stage in stages})
    if unknown:
        raise UserError(f"{directory.path} has a finished stage '{unknown[0]}' that its recipe lacks: start a new run")


def _carry_out_all(run: Run) -> None:
    """Every stage that is neither finished nor skipped, until a collapse ends the run."""
    collapses = 0  # in a row
    for stage in run.plan:
        if stage.name not in run.directory.stages:
            reason = stage.skipped(run)
            if reason is not None:
                console.print(reason)
                continue
            if reads_source(stage) and not _restored(run):
                _carry_out_all(run)
                return
            with out_of_memory_said(lambda: out_of_memory_predicting(images_at_once(run.size), run.size)):
                _carry_out(run, stage)  # what its training needs is said where it trains
        verdict = run.directory.stages[stage.name].get("verdict")
        if not stage.ends_run or not run.experiment.recipe.watch.stop:
            continue
        collapses = collapses + 1 if verdict["collapse"] else 0
        if collapses == stage.ends_run:
            console.print(f"The watch stops here: {stage.title}: {verdict['sentence']}", style="bold red")
            break
        if collapses:
            console.print(f"The watch waits: {stage.title}: {verdict['sentence']}", style="bold red")


def _restored(run: Run) -> bool:
    """Does the next stage find the files of the finished ones as they were made, lost translated images made again?

    Where they have become others, their stage and those after it are unfinished afterwards.
    """
    changed = next((each for each in run.plan if each.name in run.directory.stages and not each.restored(run)), None)
    if changed is not None:
        console.print(
            f"What was lost of {changed.name} and made again is not as it was (other versions or another machine?): "
            "what follows it is done again",
            style="yellow",
        )
        on_chief(lambda: run.directory.unfinish(changed.name))
    return changed is None


def _carry_out(run: Run, stage: Stage) -> None:
    """One stage, from the weights of the one before to its own weights and figures in the run directory."""
    run.directory.stage_began, before = time.monotonic(), run.previous(stage)
    if before is not None:
        load_own_weights(run.network, run.directory.weights(before.name))
    figures = dict(stage.run(run))
    if stage.scored:
        on_chief(lambda: run.directory.save_weights(run.network, run.directory.weights(stage.name)))
        judgement = figures.pop(JUDGED, None) or judge_network(run, stage)
        figures |= {**judgement.figures, "adapts": stage.trains_on_target}
        if judgement.observation is not None:
            on_chief(lambda: judgement.observation.save(run.directory.observation(stage.name)))
    figures["seconds"] = time.monotonic() - run.directory.stage_began
    on_chief(lambda: run.directory.finish_stage(stage.name, figures, stage.files(run)))
    if figures.get("scores"):
        on_chief(lambda: console.print(f"  {stage.name}: mIoU {score_or_none(told_miou(figures['scores']))}"))


def _finish(run: Run) -> dict:
    """The chosen stage's weights become the result; the report."""
    chosen = chosen_stage(run.directory.stages)
    load_own_weights(run.network, run.directory.weights(chosen))
    on_chief(lambda: run.directory.save_weights(run.network, run.directory.final_weights))
    return on_chief(lambda: report_run(run, chosen, peak_memory()))
