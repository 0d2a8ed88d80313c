"""The order of things in a run: warm up -> align -> (label -> train -> watch) x rounds -> choose -> report.

Each stage ends in files and figures recorded in `state.json`; a resumed run reads those and goes on after them.
"""

import resource
import shutil
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.batch_norm import StatisticsEstimator, set_batch_norm
from models.heads import head_variables
from models.segmenter import build_segmenter
from models.weights import WeightsError
from training.data.domains import Domains, load_domains
from training.data.fixed_lists import with_fixed_lists
from training.data.input_pipeline import evaluation_stream, training_stream
from training.distribution.devices import share_of_this_process
from training.distribution.workers import chief_first, on_chief
from training.errors import UserError
from training.evaluation.scoring import score
from training.evaluation.tables import score_or_none
from training.evaluation.watch import Look, Verdict, chosen_stage, judge, look_at, other_view, predicted_shares
from training.methods.optimizers import Adam
from training.methods.source_training import SourceTraining
from training.methods.terms import CrossEntropy
from training.prediction.foreign_predictor import ForeignPredictor
from training.prediction.labelling import PREDICTION_BATCH
from training.prediction.predictor import Predictor
from training.progress import console
from training.run_directory.paths import RunDirectory
from training.settings import Experiment, Stage
from training.stages.adaptation import (
    adversarial_method,
    augmentation_of,
    label_round,
    round_method,
    round_streams,
    soft_labeller,
    unlabelled_streams,
)
from training.stages.fitting import train_stage
from training.stages.report import report_run
from training.stages.warm_start import WarmStart, open_labeller, warm_start_of

FIRST = ("source", "statistics", "adversarial")  # stages before the rounds
STATISTICS_BATCH = 16


@dataclass
class Run:
    """What every stage of a run works with."""

    experiment: Experiment
    directory: RunDirectory
    domains: Domains
    network: keras.Model
    warm_start: WarmStart | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.experiment.data.size

    @property
    def rounds(self) -> int:
        """Rounds of adaptation: the recipe's, or the fewer that the data allow."""
        rounds, most = self.experiment.recipe.adaptation.rounds, self.experiment.data.most_rounds
        return rounds if most is None else min(rounds, most)

    @cached_property
    def predictor(self) -> Predictor:
        """Of the network as it is whenever it is asked: made once, for its graph takes a second to trace."""
        return Predictor(self.network)

    @cached_property
    def other_view(self) -> Predictor:
        return other_view(self.predictor)

    @cached_property
    def labeller(self) -> Predictor:
        return self.predictor.with_views(flips=(False, True))

    @property
    def before_rounds(self) -> str:
        """The last finished stage before the rounds."""
        return [stage for stage in FIRST if stage in self.directory.stages][-1]

    @cached_property
    def estimator(self) -> StatisticsEstimator:
        return StatisticsEstimator(self.network)

    def take_statistics(self, dataset) -> None:
        """Give the network the batch-norm statistics of a data set's images."""
        part = dataset.evenly_spaced(self.experiment.data.statistics_images)
        stream = evaluation_stream(part, self.size, STATISTICS_BATCH)
        self.estimator.take(batch["image"] for batch in stream)

    def follow_target(self, stage: Stage) -> None:
        """After a stage that trains batch-norm: give the network the statistics of the target's images as they are."""
        if stage.batch_norm == "train":
            self.take_statistics(self.domains.target)

    @cached_property
    def first_labeller(self):
        """The other model that labels round 1, or None where the network does that itself."""
        start = self.warm_start
        if start is None or start.role == "weights" or not start.is_needed(self.directory.stages):
            return None
        return open_labeller(start, self.domains.label_space, self.size)

    def score(self, dataset, title: str, predictor=None) -> dict | None:
        """Figures of the network, or of another predictor, on a labelled data set; None where there is none."""
        if dataset is None:
            return None
        return score(predictor or self.predictor, dataset, self.size, PREDICTION_BATCH, title)


def run_experiment(experiment: Experiment, directory: RunDirectory) -> dict:
    """Carry out an experiment from wherever `directory` stands; the summary that the report shows."""
    check_batches(experiment)
    keras.utils.set_random_seed(experiment.seed)
    keras.mixed_precision.set_dtype_policy(experiment.model.precision)
    found = load_domains(experiment)
    domains = chief_first(lambda: with_fixed_lists(found, experiment, directory.images))
    on_chief(lambda: console.print(*domains.as_sentences(), sep="\n"))
    start = on_chief(lambda: warm_start_of(directory, experiment, domains.label_space))
    run = Run(experiment, directory, domains, build_network(experiment, domains.label_space.count), start)
    _warm_up(run)
    if experiment.recipe.adapts:
        _take_statistics(run)
    if experiment.recipe.adversarial is not None:
        _align(run)
    if experiment.recipe.adaptation is not None:
        _adapt(run)
    return _finish(run)


def check_batches(experiment: Experiment) -> None:
    """Refuse, before anything is trained, a batch that the devices cannot share."""
    recipe, data = experiment.recipe, experiment.data
    used = (True, data.warm_up), (recipe.adversarial, data.adversarial), (recipe.adaptation, data.adaptation)
    for stage in (stage for part, stage in used if part):
        share_of_this_process().replica_batch(stage.batch_size)


def build_network(experiment: Experiment, classes: int) -> keras.Model:
    model = experiment.model
    try:
        return build_segmenter(
            model.network, classes, weights=model.weights, output_stride=model.output_stride, seed=experiment.seed
        )
    except WeightsError as error:
        raise UserError(str(error)) from error


def _warm_up(run: Run) -> None:
    """Stage `source`: supervised training, then the figures every later round is compared with."""
    if "source" in run.directory.stages:
        run.network.load_weights(run.directory.weights("source"))
        return
    started = time.monotonic()
    if run.warm_start is not None and run.warm_start.role == "weights":
        figures = _take_over(run, run.warm_start)
    else:
        figures = _look_at_labeller(run)  # before the training: a file that cannot be used shall cost nothing
        _train_source(run)
        _save_weights(run, run.directory.weights("source"))
    _record(run, "source", started, figures)


def _save_weights(run: Run, path: Path) -> None:
    on_chief(lambda: run.directory.save_weights(run.network, path))


def _take_over(run: Run, start: WarmStart) -> dict:
    """Start from the weights of another run; what the state shall say of it."""
    on_chief(lambda: shutil.copyfile(start.file, run.directory.weights("source")))
    run.network.load_weights(run.directory.weights("source"))
    return {"taken_from": start.path, "adapted": start.adapted}


def _look_at_labeller(run: Run) -> dict:
    """What the other model that labels round 1 is worth, where there are labels; the shares that it predicts."""
    labeller, watched = run.first_labeller, run.domains.target.evenly_spaced(run.experiment.recipe.watch.images)
    if labeller is None:
        return {}
    console.print(f"Round 1 will be labelled by {run.warm_start.path}", style="bold")
    if isinstance(labeller, ForeignPredictor):
        console.print(f"  {labeller.understood}", markup=False)
    scores = run.score(run.domains.evaluation, "evaluating the labeller", labeller)
    if scores:
        console.print(f"  its mIoU: {score_or_none(scores['miou'])}")
    shares = predicted_shares(labeller, watched, run.size, run.domains.label_space.count)
    return {"labeller": {"path": run.warm_start.path, "scores": scores, "shares": shares.tolist()}}


def _train_source(run: Run) -> None:
    data, stage = run.experiment.data, run.experiment.data.warm_up
    dataset = run.domains.warm_up
    set_batch_norm(run.network, stage.batch_norm)
    console.print(f"Warm-up: {stage.steps} steps on {len(dataset)} labelled images ({dataset.name})", style="bold")

    def make_stream(first_step, share):
        stream = training_stream(
            dataset, data.size, augmentation_of(stage, data), stage.batch_size, stage.steps,
            seed=run.experiment.seed, start_step=first_step, share=share,
        )  # fmt: skip
        return tf.data.Dataset.zip({"source": stream})

    method = SourceTraining(run.network, [CrossEntropy("source")], data.loss_stride)
    train_stage(method, stage, "source", make_stream, run.directory, head_variables(run.network))


def _take_statistics(run: Run) -> None:
    """Stage `statistics`: batch-norm statistics of the target in place of the source's; nothing is trained.

    Left out where the stages of adaptation keep them frozen.
    """
    name, started = "statistics", time.monotonic()
    if run.experiment.data.adaptation.batch_norm != "train":
        return
    if name in run.directory.stages:
        run.network.load_weights(run.directory.weights(name))
        return
    console.print("Statistics: batch-norm takes those of the target", style="bold")
    run.network.load_weights(run.directory.weights("source"))
    run.take_statistics(run.domains.target)
    _save_weights(run, run.directory.weights(name))
    _record(run, name, started, {})


def _align(run: Run) -> None:
    """Stage `adversarial`: pull the output maps of the target towards those of the source.

    Left out where the run started from a model that was trained on the target.
    """
    name, started, experiment = "adversarial", time.monotonic(), run.experiment
    if name in run.directory.stages:
        run.network.load_weights(run.directory.weights(name))
        return
    if run.directory.stages["source"].get("adapted"):
        console.print("No adversarial warm-up: the model that this run starts from was trained on the target already")
        return
    stage, data, settings = experiment.data.adversarial, experiment.data, experiment.recipe.adversarial
    console.print(f"Adversarial warm-up: {stage.steps} steps", style="bold")
    run.network.load_weights(run.directory.weights(run.before_rounds))
    set_batch_norm(run.network, stage.batch_norm)
    method = adversarial_method(run.network, settings, data.loss_stride, run.domains.label_space.count, experiment.seed)
    make_stream = unlabelled_streams(run.domains, data, stage, experiment.seed)
    discriminator_optimizer = Adam(settings.discriminator_learning_rate, 0.9, settings.discriminator_beta_2)
    compiled = {"discriminator_optimizer": discriminator_optimizer}
    train_stage(method, stage, name, make_stream, run.directory, head_variables(run.network), **compiled)
    run.follow_target(stage)
    _save_weights(run, run.directory.weights(name))
    _record(run, name, started, {})


def _adapt(run: Run) -> None:
    recipe = run.experiment.recipe
    for number in range(1, run.rounds + 1):
        name = f"round_{number}"
        if name in run.directory.stages:
            run.network.load_weights(run.directory.weights(name))
        else:
            _round(run, number)
        verdict = run.directory.stages[name]["verdict"]
        if verdict["collapse"] and recipe.watch.stop:
            console.print(f"The watch stops here: round {number}: {verdict['sentence']}", style="bold red")
            break


def _round(run: Run, number: int) -> None:
    """Label the target with the network as it is, train on the labels, look at the result.

    With a mean teacher the round's result is the teacher: it labels the next round, while the student trains on.
    """
    name, started = f"round_{number}", time.monotonic()
    adaptation, data, network = run.experiment.recipe.adaptation, run.experiment.data, run.network
    console.print(f"Round {number} of {run.rounds}", style="bold")
    previous = f"round_{number - 1}" if number > 1 else run.before_rounds
    network.load_weights(run.directory.weights(previous))  # the state that labels, also when a round is resumed
    labeller = (run.first_labeller if number == 1 else None) or run.labeller
    labelled = label_round(labeller, run.domains, adaptation, data, run.directory, number)
    stage = _decayed(data.adaptation, adaptation.learning_rate_decay ** (number - 1))
    if adaptation.mean_teacher is not None:
        stage = replace(stage, average_weights=None)  # the teacher is the average
    set_batch_norm(network, stage.batch_norm)
    soft = soft_labeller(labeller.network, adaptation, labelled)
    if run.directory.student_weights(previous).exists():
        network.load_weights(run.directory.student_weights(previous))
    method = round_method(network, adaptation, data, stage.steps, soft)
    make_stream = round_streams(
        run.domains, adaptation, data, stage, labelled, number, run.experiment.seed, run.directory
    )
    train_stage(method, stage, name, make_stream, run.directory, head_variables(network))
    figures = dict(labelled.figures)
    if adaptation.mean_teacher is not None:
        run.follow_target(stage)
        _save_weights(run, run.directory.student_weights(name))
        figures["student_scores"] = run.score(run.domains.evaluation, f"evaluating the student of {name}")
        network.set_weights(method.teacher.get_weights())
    run.follow_target(stage)
    _save_weights(run, run.directory.weights(name))
    _record(run, name, started, figures)


def _decayed(stage: Stage, factor: float) -> Stage:
    return replace(stage, optimizer=replace(stage.optimizer, learning_rate=stage.optimizer.learning_rate * factor))


def _record(run: Run, name: str, started: float, figures: dict) -> None:
    """Score and watch the network as it stands after stage `name`, and write all of it down."""
    figures = dict(figures)
    figures["scores"] = run.score(run.domains.evaluation, f"evaluating {name}")
    figures["source_scores"] = _score_at_home(run, name)
    on_chief(lambda: _write_down(run, name, started, figures))


def _write_down(run: Run, name: str, started: float, figures: dict) -> None:
    recipe = run.experiment.recipe
    if recipe.adapts:
        at_home = figures["source_scores"]["miou"]
        watched = (run.domains.target, run.size, recipe.watch.images)
        look = look_at(run.predictor, run.other_view, *watched, source_miou=at_home)
        look.save(run.directory.look(name))
        figures["verdict"] = _verdict(run, name, look).as_json()
    figures["seconds"] = time.monotonic() - started
    run.directory.finish_stage(name, figures)
    if figures["scores"]:
        console.print(f"  {name}: mIoU {score_or_none(figures['scores']['miou'])}")


def _score_at_home(run: Run, name: str) -> dict:
    """Figures on the source; where the statistics are the target's, with those of the source in their place."""
    dataset, title = run.domains.source_evaluation, f"evaluating {name} on the source"
    if name == "source" or run.experiment.data.adaptation.batch_norm != "train":
        return run.score(dataset, title)
    weights = run.network.get_weights()
    run.take_statistics(run.domains.source)
    scores = run.score(dataset, title)
    run.network.set_weights(weights)
    return scores


def _verdict(run: Run, name: str, look: Look) -> Verdict:
    """Of stage `name`; a round that learns from another model is measured by that one's class shares."""
    labeller = None if name in FIRST else run.directory.stages["source"].get("labeller")
    looks = {stage: Look.load(run.directory.look(stage)) for stage in run.directory.stages}
    first = look if name == "statistics" else looks.get("statistics", looks.get("source", look))
    previous = list(looks.values())[-1] if looks else look
    space = run.domains.label_space
    limits, shares = run.experiment.recipe.watch, np.array(labeller["shares"]) if labeller else None
    return judge(look, previous, first, run.domains.source_shares, space.names, limits, shares)


def _finish(run: Run) -> dict:
    stages = run.directory.stages
    chosen = chosen_stage(stages)
    run.network.load_weights(run.directory.weights(chosen))
    _save_weights(run, run.directory.final_weights)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return on_chief(lambda: report_run(run.predictor, run.experiment, run.domains, run.directory, chosen, peak))
