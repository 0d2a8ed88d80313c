"""A stage that is resumed, or begun in a new process, ends as the unbroken one, dropout's noise included."""

import gc
import hashlib
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.progress import Progress

from models.batch_norm import set_batch_norm
from models.discriminator import build_discriminator
from models.generators import generator_states
from models.layers import Dropout
from models.segmenter import build_segmenter
from tests.training.methods.tiny import CLASSES, batch, tiny_network
from training.distribution.shares import Share
from training.errors import UserError
from training.methods.adversarial import AdversarialTraining
from training.methods.mean_teacher import MeanTeacherTraining, teacher_of
from training.methods.method import Method
from training.methods.optimizers import Adam
from training.methods.source_training import SourceTraining
from training.methods.step import Step, predict_view
from training.methods.terms import CrossEntropyTerm, TeacherConsistencyTerm, Term
from training.run_directory.checkpoint import save_lasting
from training.run_directory.paths import RunDirectory
from training.settings.schedule import Optimizer, Schedule
from training.stages.fitting import Part, train_stage

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

STEPS, CHECKPOINT = 4, 2  # the last checkpoint of the unbroken stage is where the resumed one begins
SCHEDULE = Schedule(STEPS, batch_size=2, optimizer=Optimizer(learning_rate=0.01), checkpoint_every=CHECKPOINT)
LIGHT = Schedule(STEPS, batch_size=2, optimizer=Optimizer("sgd", 0.01, momentum=0.0), checkpoint_every=CHECKPOINT)


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.begin("cityscapes19")
    return directory


def tiny(seed: int = 0) -> keras.Model:
    """Its generators have other states for another `seed`; its weights do not matter where a checkpoint is loaded."""
    return tiny_network(seed, batch_norm=True, dropout=0.5)


def images(number: int, size: int = 16) -> dict:
    """Batch `number` of both domains: two images of `size` pixels a side."""
    views = {key: value[:2] for key, value in batch(number).items()}
    image = tf.image.resize(views["image"], (size, size))
    label = tf.repeat(tf.repeat(views["label"], size // 16, axis=1), size // 16, axis=2)
    return {"source": {"image": image, "label": label}, "target": {"image": 0.8 * image, "weak": image, "label": label}}


def stream_of(size: int = 16):
    """`make_stream(first_step, share)`, as stages give it."""

    def make_stream(first_step, share):
        batches = [images(number, size) for number in range(first_step, STEPS)]
        return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches))

    return make_stream


class FeatureTerm(Term):
    """Mean square of the features."""

    name, weight, needs = "features_source", 1.0, ("features",)

    def __call__(self, step):
        return tf.reduce_mean(step.source.features**2)


class WithHead(Method):
    """Trains a head of its own, with dropout, on the features: they become small."""

    def __init__(self, network):
        super().__init__(network, [CrossEntropyTerm("source"), FeatureTerm()])
        features = keras.Input((None, None, 8))
        self.head = keras.Model(features, keras.layers.Conv2D(2, 1)(Dropout(0.5)(features)))

    @property
    def networks(self):
        return [self.network, self.head]

    @property
    def trained_variables(self):
        return [*self.network.trainable_variables, *self.head.trainable_variables]

    @property
    def lasting_variables(self):
        return {"head": self.head.weights}

    def forward(self, batch):
        source = predict_view(self.network, batch["source"], self.loss_stride, self.needs)
        return Step(source=replace(source, features=self.head(source.features, training=True)))


def supervised(network) -> SourceTraining:
    return SourceTraining(network, [CrossEntropyTerm("source")])


def with_teacher(network) -> MeanTeacherTraining:
    terms = [CrossEntropyTerm("source"), CrossEntropyTerm("target"), TeacherConsistencyTerm(0.5, "all")]
    return MeanTeacherTraining(network, teacher_of(network), terms, decay=0.9)


def trained(method, directory, name: str = "source", schedule: Schedule = SCHEDULE, seed: int = 0, size: int = 16):
    train_stage(method, schedule, name, stream_of(size), directory, [], seed)
    return method


def test_a_training_that_diverges_ends_in_a_sentence(directory):
    diverging = replace(SCHEDULE, optimizer=Optimizer("sgd", learning_rate=1e30))
    with pytest.raises(UserError, match=r"stage source diverged before step 2 .*learning_rate"):
        trained(supervised(tiny()), directory, schedule=diverging)


def digests(method) -> list[str]:
    """SHA-256 of each variable that moves in a stage."""
    return [hashlib.sha256(np.ascontiguousarray(variable)).hexdigest() for variable in method.resumable_variables]


def aligned(directory, name: str, lasting=None) -> AdversarialTraining:
    """A round of alignment, on the network and the discriminator of another seed than the round before."""
    seed = 0 if lasting is None else 5
    discriminator = build_discriminator(CLASSES, channels=4, seed=seed)
    method = AdversarialTraining(tiny(seed), discriminator, [CrossEntropyTerm("source")])
    more = {"lasting": lasting, "discriminator_optimizer": Adam(0.01)}
    train_stage(method, SCHEDULE, name, stream_of(), directory, [], 0, **more)
    return method


def test_discriminator_and_its_optimiser_go_on_from_the_stage_before(directory, monkeypatch):
    first = aligned(directory, "alignment_1")
    save_lasting(directory.lasting("alignment_1"), first.lasting_variables)
    directory.remove_partials()
    second = aligned(directory, "alignment_2", directory.lasting("alignment_1"))
    assert int(second.discriminator_optimizer.iterations) == 2 * STEPS
    assert int(second.optimizer.iterations) == STEPS
    # resumed in its middle it does not begin with what the stage before has left, but with its checkpoint
    assert digests(aligned(directory, "alignment_2", directory.lasting("alignment_1"))) == digests(second)
    directory.remove_partials()
    monkeypatch.setattr("training.stages.fitting.train", lambda *given: None)
    begun = aligned(directory, "alignment_2", directory.lasting("alignment_1"))
    for name, variables in first.lasting_variables.items():
        for ours, theirs in zip(begun.lasting_variables[name], variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("make", [supervised, with_teacher, WithHead])
def test_a_stage_resumed_in_its_middle_is_bit_equal_with_dropout(make, directory):
    unbroken = digests(trained(make(tiny(0)), directory))
    assert [path.stem for path in directory.partials.iterdir()] == [f"source-{CHECKPOINT:07d}"]
    assert digests(trained(make(tiny(5)), directory)) == unbroken


@pytest.mark.parametrize("make", [supervised, with_teacher])
def test_a_stage_in_parts_is_resumed_bit_equal_with_dropout(make, directory):
    def result(seed: int) -> list[str]:
        network = tiny(seed)
        set_batch_norm(network, "frozen")
        method = trained(make(network), directory, schedule=replace(SCHEDULE, accumulate=2))
        assert method.accumulate == 2
        return digests(method)

    unbroken = result(0)
    assert [path.stem for path in directory.partials.iterdir()] == [f"source-{CHECKPOINT:07d}"]
    assert result(5) == unbroken


def test_the_optimiser_moves_the_variables_of_the_method_and_averages_them(directory):
    head = WithHead(tiny()).head
    method = WithHead(tiny())
    method.head.set_weights(head.get_weights())
    trained(method, directory, schedule=replace(SCHEDULE, average_weights=0.5))
    averages = method.optimizer._model_variables_moving_average
    assert len(averages) == len(method.trained_variables) == len(tiny().trainable_variables) + 2
    assert (method.head.get_weights()[0] != head.get_weights()[0]).any()
    for variable, average in zip(method.trained_variables, averages, strict=True):
        np.testing.assert_array_equal(variable, average)


def trained_at_32(name: str, directory) -> list[str]:
    """The digests of a large network after a stage; its memory is free again."""
    network = build_segmenter(name, 3, seed=1)
    method = trained(supervised(network), directory, schedule=LIGHT, size=32)
    assert all(state.numpy()[1] > 0 for state in generator_states(network))
    found = digests(method)
    del network, method
    keras.backend.clear_session()
    gc.collect()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn8s_vgg16", "wide_resnet38"])
def test_the_networks_with_dropout_resume_bit_equal(name, directory):
    """60 s and 6 GB at most: SGD without momentum, for the checkpoint holds all that the optimiser keeps."""
    unbroken = trained_at_32(name, directory)
    assert trained_at_32(name, directory) == unbroken


def test_a_stage_begun_in_a_new_process_is_bit_equal_with_dropout(directory):
    """A run killed between two stages builds its network anew: its generators must not begin elsewhere."""
    network = tiny(0)
    trained(supervised(network), directory)
    between = network.get_weights()
    directory.remove_partials()
    unbroken = digests(trained(supervised(network), directory, "round_1"))
    directory.remove_partials()
    fresh = tiny(5)
    fresh.set_weights(between)
    assert digests(trained(supervised(fresh), directory, "round_1")) == unbroken


def test_other_stages_and_seeds_drop_other_places(directory):
    results = []
    for name, seed in (("round_1", 0), ("round_2", 0), ("round_1", 1)):
        results.append(trained(supervised(tiny()), directory, name, seed=seed).network.get_weights())
        directory.remove_partials()
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert any((a != b).any() for a, b in zip(results[first], results[second], strict=True))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_stage_that_ends_in_an_error_gives_the_terminal_back(directory, monkeypatch, capsys, error):
    """The bar hides the cursor; a log has no line that would say that all is done."""
    bars = []

    class Bar(Progress):
        def __init__(self, *columns):
            super().__init__(*columns)
            bars.append(self)

    def fails(*_):
        assert bars[0].live.is_started == terminal
        raise error

    monkeypatch.setattr("training.progress.Progress", Bar)
    monkeypatch.setattr("training.stages.fitting.append_metrics", fails)
    terminal = True
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    with pytest.raises(error):
        trained(supervised(tiny()), directory)
    assert not bars[0].live.is_started
    terminal = False
    bars[0] = Bar()
    capsys.readouterr()
    with pytest.raises(error):
        trained(supervised(tiny()), directory)
    assert "training source: " not in capsys.readouterr().out


def test_a_part_of_a_stage_takes_all_batches_of_its_stream(directory, monkeypatch):
    """On two devices of one machine twice as many as it has steps."""
    given = []
    monkeypatch.setattr("training.stages.fitting.share_of_this_process", lambda: Share(replicas=2))
    monkeypatch.setattr("training.stages.fitting.train", lambda method, stream, *_: given.extend(stream))
    make = lambda first_step, share: tf.data.Dataset.range(share.replicas * (2 - first_step))  # noqa: E731
    train_stage(supervised(tiny()), SCHEDULE, "online_2", make, directory, [], 0, part=Part("online", 0, 2))
    assert len(given) == 4
