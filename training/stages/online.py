"""Online adaptation: a mean teacher labels every target batch (DACS, DAFormer, PGPC).

The training has one schedule, and is cut into parts so that the watch can judge it on its way: each part is a stage of
the run, which goes on with all variables of the part before, as if there were no cut. The watch judges student and
teacher of each part. The best of all by the watch is the result. Where both collapse, in as many
parts in a row as `Watch.patience` says, the run ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from models.batch_norm import set_batch_norm
from models.heads import head_variables
from training.control import trains_on_target
from training.data.frame_changes import LeftOutMargins
from training.data.input_pipeline import side_by_side
from training.data.sampling import SampleOrder
from training.distribution.workers import on_chief
from training.errors import UserError
from training.evaluation.panels import write_mixing
from training.evaluation.watch import agreement_of
from training.methods.block_mask import BlockMasker
from training.methods.class_mix import ClassMixer
from training.methods.mean_teacher import decay_of, teacher_of
from training.methods.mixture import mixture_head, mixture_terms
from training.methods.online_labels import ONLINE_LABELS
from training.methods.online_teacher import OnlineTeacher
from training.methods.terms import CrossEntropyTerm, TeacherWeightTerm, terms_of
from training.progress import console
from training.settings.experiment import Experiment
from training.settings.sampling import ClassMix
from training.settings.schedule import Schedule
from training.settings.stages import Online
from training.stages.contrast_report import ContrastReport
from training.stages.fitting import Part, train_stage
from training.stages.judging import better_of, judge_network
from training.stages.modes import start_modes
from training.stages.modes_report import ModesReport
from training.stages.network import initial_network
from training.stages.orders import counted_files, order_figures, showing, source_order
from training.stages.stage import JUDGED, Run, Stage, term_context
from training.stages.streams import augmentation_of, source_stream, stream_of

STREAMS = 800  # keeps the streams of online training apart from those of rounds and of alignment
PARTS = 4  # of the training, where the recipe does not say how often the watch judges
PICTURED = 4  # mixed images per picture
CANDIDATES = ("student", "teacher")  # for the result of a part; on ties the later one


def stages(part: Online, experiment: Experiment) -> tuple[Stage, ...]:
    """One stage per part of the training.

    Raises:
        UserError: the recipe trains before it what this training, which starts from other weights, would not use.
    """
    recipe = experiment.recipe
    for name, used, without in (
        ("alignment", recipe.alignment, "off"),
        ("logit_adjustment", recipe.logit_adjustment, 0),
        ("label_shift", recipe.label_shift, 0),
    ):
        if part.start == "imagenet" and used:
            raise UserError(
                f"{name} changes a model that adaptation.start=imagenet does not begin with: set "
                f"adaptation.start=warm_up or {name}={without}"
            )
    schedule, learns = experiment.data.schedules["online"], trains_on_target(part)
    every = recipe.watch.every or -(-schedule.steps // PARTS)
    firsts = range(0, schedule.steps, every)
    return tuple(
        OnlineStage(
            name=f"online_{last}",
            title=f"Step {last}",
            phrase=f"after step {last} of {schedule.steps}",
            schedule=schedule,
            way="by online self-training" if learns else "by online steps with target labels of weight 0",
            trains_on_target=learns,
            ends_run=recipe.watch.patience,
            settings=part,
            margins=experiment.data.label_margins,
            first=first,
            last=last,
        )
        for first, last in ((first, min(first + every, schedule.steps)) for first in firsts)
    )


@dataclass(frozen=True, kw_only=True)
class OnlineStage(Stage):
    """The steps `first` to `last` - 1 of the training; the result is the better of student and teacher by the watch.

    margins: top, bottom, left, right: shares of the target's frames that are not labelled.
    """

    setting: ClassVar = "data.schedules.online"
    settings: Online
    margins: tuple[float, float, float, float]
    first: int
    last: int

    def check(self) -> None:
        sampling = self.settings.rare_class_sampling
        if sampling is not None and sampling.domains == "both":
            raise UserError(
                "adaptation.rare_class_sampling.domains is both, and online labels are not known before the images are "
                "drawn: leave it at source; rounds have both"
            )
        if self.schedule.average_weights is not None:
            raise UserError(
                f"data.schedules.online.average_weights is {self.schedule.average_weights}, and the teacher of online "
                "self-training is an average of the weights already: set it to None"
            )
        top, bottom, left, right = self.margins
        if max(top + bottom, left + right) >= 1:
            raise UserError(
                "data.label_margins (top, bottom, left, right) leave nothing of the target's frames to label: "
                f"{self.margins} add up to a whole side; give smaller shares"
            )
        if self.settings.start == "imagenet" and self.settings.blend < 1:
            raise UserError(
                "adaptation.blend goes back to the model before adaptation, which a training from "
                "adaptation.start=imagenet does not begin with: set adaptation.start=warm_up or adaptation.blend=1"
            )
        terms = [*terms_of(self.settings.losses), *mixture_terms(self.settings.mixture)]
        OnlineTeacher.check_terms(terms, self.schedule.accumulate)

    def run(self, run: Run) -> dict:
        network, schedule = run.network, self.schedule
        console.print(f"Online self-training: steps {self.first} to {self.last} of {schedule.steps}", style="bold")
        # 1. The network to begin with; a later part finds all of its variables in what the part before has kept.
        if self.first == 0 and self.settings.start == "imagenet":
            network.set_weights(initial_network(run.experiment, run.domains.label_space.count).get_weights())
        kept = run.directory.lasting(run.previous(self).name) if self.first > 0 else None
        contrast = self.settings.losses.contrast
        shown = contrast and ContrastReport(run, contrast, self)
        # 2. Training.
        set_batch_norm(network, schedule.batch_norm)
        method = online_method(run, self.settings, schedule)
        second, before_steps = mixture_head(method.terms), {}
        start = start_of_modes(self.settings, schedule)
        modes = None
        if start is None or start < self.first:
            modes = ModesReport.begun(run, self, method, first=self.first == 0)
        order = source_order(run, self.settings.rare_class_sampling)
        streams = online_streams(run, self.settings, replace(schedule, steps=self.last), order)
        if start is not None:
            before_steps[start] = lambda: start_modes(run, self, second, streams["source"], method.optimizer)
        make_stream = side_by_side(**streams)
        head, seed = head_variables(network), run.experiment.seed
        part = Part("online", self.first, self.last)
        options = {"lasting": kept, "part": part, "setting": self.setting, "before_steps": before_steps}
        train_stage(method, schedule, self.name, make_stream, run.directory, head, seed, **options)
        # 3. Pictures of what it has mixed.
        if self._is_pictured:
            picture = run.directory.mixing_picture(self.name)
            on_chief(lambda: write_mixing(picture, mixed_images(method, streams), run.domains.label_space))
        # 4. What the next part goes on with is kept. Student and teacher are judged as they would predict; the better
        #    one is the result.
        run.follow_target(schedule)
        run.save_lasting(method, self)
        used = modes.figures() if modes else {}
        figures = self._better_of(run, {"student": network.get_weights(), "teacher": method.result_weights()})
        drawn = order_figures({"source": order}, run.domains.label_space.names) if self.first == 0 else {}
        contrasted = {"contrast": shown.figures(method)} if shown else {}
        return {**figures, **drawn, **contrasted, **used}

    def _better_of(self, run: Run, trained: dict[str, list[np.ndarray]]) -> dict:
        """Give the network the better of the candidates' weights, by name; the figures of all, and how far their labels
        agree."""
        network, weights, judged = run.network, {}, {}
        for name in CANDIDATES:
            network.set_weights(trained[name])
            if name == "teacher" or self.settings.blend < 1:  # the student as it is has the target's statistics
                run.blend(self.settings.blend)
                run.follow_target(self.schedule)
            weights[name], judged[name] = network.get_weights(), judge_network(run, self, name)
        result, classes = better_of(judged), run.domains.label_space.count
        network.set_weights(weights[result])
        for name, judgement in judged.items():
            taken = ", taken" if name == result else ""
            console.print(f"  the {name}: label-free gain {judgement.verdict.score:+.3f}{taken}")
        return {
            "result": result,
            "candidates": {name: judgement.figures for name, judgement in judged.items()},
            "student_scores": judged["student"].scores,
            "candidates_agreement": agreement_of(*(each.observation for each in judged.values()), classes),
            JUDGED: judged[result],
        }

    @property
    def _is_pictured(self) -> bool:
        """At three moments of the training: in its first, middle and last part."""
        length = self.last - self.first
        middle = self.schedule.steps // 2
        return self.first == 0 or self.last == self.schedule.steps or self.last - length < middle <= self.last

    def files(self, run: Run) -> list[Path]:
        directory = run.directory
        pictures = [directory.mixing_picture(self.name), directory.contrast_picture(self.name)]
        counted = counted_files(directory, self.settings.rare_class_sampling)
        return [*counted, *pictures, *directory.mode_pictures(self.name)]


def start_of_modes(settings: Online, schedule: Schedule) -> int | None:
    """The step before which the modes of a second head start, in a training from ImageNet's weights; None where the
    warm-up has started them, or there are none."""
    if settings.start != "imagenet" or not mixture_terms(settings.mixture):
        return None
    return int(settings.mixture.start * schedule.steps)


def online_method(run: Run, settings: Online, schedule: Schedule) -> OnlineTeacher:
    """The `train_step`; its teacher starts as the network is now."""
    data, network, losses, space = run.experiment.data, run.network, settings.losses, run.domains.label_space
    # The feature distance is to an encoder that there is only with ImageNet weights.
    frozen = None
    if losses.feature_distance is not None and run.experiment.model.weights == "none":
        console.print("No feature distance: this network has no ImageNet weights to stay near (--weights)")
        losses = replace(losses, feature_distance=None)
    elif losses.feature_distance is not None:
        frozen = initial_network(run.experiment, space.count)
        frozen.trainable = False
    masker = None if losses.masked is None else BlockMasker(losses.masked, _seed(run))
    context = term_context(run, _seed(run), schedule.steps)
    domains = [CrossEntropyTerm(name, over_all=True, prior=context.prior) for name in ("source", "mixed")]
    terms = [*domains, TeacherWeightTerm()]
    terms += [*terms_of(losses, context), *mixture_terms(settings.mixture, context)]
    return OnlineTeacher(
        network,
        teacher_of(network),
        terms,
        labels=ONLINE_LABELS[type(settings.weighting)](settings.weighting, space.count),
        mixer=ClassMixer(settings.class_mix or ClassMix(), _seed(run)),
        decay=decay_of(settings.mean_teacher, schedule.steps),
        loss_stride=data.loss_stride,
        target_weight=settings.target_weight,
        mixes=settings.class_mix is not None,
        frozen=frozen,
        masker=masker,
        scales=settings.mean_teacher.scales,
    )


def online_streams(run: Run, settings: Online, schedule: Schedule, order: SampleOrder | None) -> dict:
    """The streams of the source, in its order, and of the target, by their names in a batch."""
    data, domains, seed = run.experiment.data, run.domains, _seed(run)
    changes = (LeftOutMargins(*data.label_margins),) if any(data.label_margins) else ()
    crops = showing(augmentation_of(schedule, data), settings.rare_class_sampling, order)
    source = source_stream(run, schedule, seed, crops, order=order)
    return {"source": source, "target": stream_of(domains.target, data, schedule, seed + 1, changes=changes)}


def _seed(run: Run) -> int:
    return 1000 * run.experiment.seed + STREAMS


def mixed_images(method: OnlineTeacher, streams: dict) -> Iterator[dict[str, np.ndarray]]:
    """What the method makes of the first positions of the streams, as `write_mixing` takes it."""
    few = {name: replace(stream, batch_size=PICTURED, steps=1, cache=False) for name, stream in streams.items()}
    batch = next(iter(side_by_side(**few)()))
    found = method.mixed(batch)
    for row in range(PICTURED):
        mixed = found["mixed"]
        yield {
            **{name: _pixels(found[name]["image"][row]) for name in streams},
            "image": _pixels(mixed["image"][row]),
            "label": mixed["label"][row].numpy().astype(np.uint8),
            "weight": mixed["weight"][row].numpy(),
            "target_weight": float(found["teacher"]["target"]["weight"][row].numpy().mean()),
        }


def _pixels(image) -> np.ndarray:
    return np.clip(image.numpy().round(), 0, 255).astype(np.uint8)
