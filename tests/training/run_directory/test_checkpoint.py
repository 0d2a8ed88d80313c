"""Partial checkpoints: the last two are kept, a damaged one is named and the one before it is used.

Lasting variables: they come back bit for bit or not at all.
"""

import io
import time
import zipfile

import numpy as np
import pytest

from tests.training.methods.tiny import batch, compiled, tiny_network
from training.errors import UserError
from training.methods.mean_teacher import MeanTeacherTraining, teacher_of
from training.methods.source_training import SourceTraining
from training.methods.terms import CrossEntropyTerm
from training.run_directory.checkpoint import (
    lasting_groups,
    load_lasting,
    load_partial,
    read_lasting,
    save_lasting,
    save_partial,
)
from training.run_directory.paths import RunDirectory


def method(seed=0):
    network = tiny_network(seed, batch_norm=True)
    return compiled(MeanTeacherTraining(network, teacher_of(network), [CrossEntropyTerm("target")], decay=0.9))


def step(model, seed: int) -> None:
    views = batch(seed)
    model.train_step({"target": {**views, "weak": views["image"]}})


def values(model) -> list[np.ndarray]:
    return [np.array(variable) for variable in model.resumable_variables]


@pytest.fixture
def saved(tmp_path):
    """`(directory, {step: values})` of a stage saved after steps 1, 2 and 3."""
    directory, model, states = RunDirectory(tmp_path), method(), {}
    directory.checkpoints.mkdir()
    for number in (1, 2, 3):
        step(model, number)
        save_partial(directory, model, "round_1", number)
        states[number] = values(model)
    return directory, states


def restored(directory) -> tuple[int, list[np.ndarray]]:
    model = method(seed=5)
    return load_partial(directory, model, "round_1"), values(model)


def damage(directory, number: int) -> str:
    path = directory.partials / f"round_1-{number:07d}.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return str(path)


def test_student_teacher_and_optimiser_come_back_bit_for_bit(saved):
    directory, states = saved
    number, found = restored(directory)
    assert number == 3
    for ours, theirs in zip(found, states[3], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(list(directory.partials.iterdir())) == 2


def test_a_resumed_stage_counts_the_seconds_before_its_checkpoint_too(saved):
    (directory, _), model = saved, method()
    directory.stage_began -= 60  # the stage has taken a minute
    save_partial(directory, model, "round_1", 4)
    resumed = RunDirectory(directory.path)
    for _ in range(2):  # stopped and resumed twice: once more a minute
        resumed.stage_began = time.monotonic() - 60
        load_partial(resumed, model, "round_1")
        save_partial(resumed, model, "round_1", 5)
    assert 180 <= time.monotonic() - resumed.stage_began < 240


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(saved, capsys):
    directory, states = saved
    name = damage(directory, 3)
    number, found = restored(directory)
    assert (number, name in capsys.readouterr().out) == (2, True)
    for ours, theirs in zip(found, states[2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    damage(directory, 2)
    assert restored(directory)[0] == 0


def test_a_checkpoint_written_again_does_not_push_out_the_one_before(saved):
    directory, _ = saved
    damage(directory, 3)
    model = method()
    load_partial(directory, model, "round_1")
    save_partial(directory, model, "round_1", 3)
    damage(directory, 3)
    assert restored(directory)[0] == 2


def test_a_file_that_was_not_listed_before_the_kill_does_not_count(saved):
    directory, _ = saved
    (directory.partials / "round_1-0000009.npz").write_bytes(b"whole, but killed before its digest was written")
    assert restored(directory)[0] == 3


def test_of_another_stage_or_network(saved):
    directory, _ = saved
    assert load_partial(directory, method(), "round_2") == 0
    other = compiled(SourceTraining(tiny_network(), [CrossEntropyTerm("source")]))
    with pytest.raises(UserError, match="does not fit this network"):
        load_partial(directory, other, "round_1")


@pytest.fixture
def lasting(tmp_path):
    """A file of two groups, and their variables."""
    groups = {"student": tiny_network(1).weights, "queue": tiny_network(2).weights[:1]}
    save_lasting(tmp_path / "round_1.lasting.npz", groups)
    return tmp_path / "round_1.lasting.npz", groups


def test_lasting_variables_come_back_bit_for_bit(lasting):
    path, groups = lasting
    with np.load(path) as arrays:
        assert arrays.files == ["student/0", "student/1", "student/2", "student/3", "queue/0"]
    found = {"student": tiny_network(5).weights, "queue": tiny_network(6).weights[:1]}
    load_lasting(path, found)
    for name, variables in groups.items():
        for ours, theirs in zip(found[name], variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda groups: groups | {"queue": []}, "it has an array queue/0 that is not expected"),
        (lambda groups: groups | {"modes": groups["queue"]}, "it has no array modes/0"),
        (lambda groups: groups | {"queue": groups["student"][1:2]}, r"its array queue/0 has the shape \(3, 3, 3, 8\)"),
    ],
    ids=["missing", "extra", "shape"],
)
def test_lasting_variables_that_do_not_fit_are_refused_and_change_nothing(lasting, change, words):
    path, _ = lasting
    groups = change({"student": (network := tiny_network(5)).weights, "queue": tiny_network(6).weights[:1]})
    before = network.get_weights()
    with pytest.raises(UserError, match=words):
        load_lasting(path, groups)
    for ours, theirs in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def claim(path) -> None:
    """An array that claims terabytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("student/0.npy", header.getvalue())


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), cut, claim], ids=["gone", "cut", "claim"])
@pytest.mark.parametrize("read", [load_lasting, lambda path, _: read_lasting(path)], ids=["load", "read"])
def test_a_file_of_lasting_variables_that_cannot_be_read_is_named(lasting, damage, read):
    path, groups = lasting
    damage(path)
    with pytest.raises(UserError, match=r"round_1\.lasting\.npz"):
        read(path, groups)


def test_groups_are_read_by_name(lasting):
    path, groups = lasting
    assert lasting_groups(path) == {"student", "queue"}
    found = read_lasting(path)
    for name, variables in groups.items():
        for ours, theirs in zip(found[name], variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)
