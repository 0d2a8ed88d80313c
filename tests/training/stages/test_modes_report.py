"""What a stage says of its modes: from where it takes them."""

from types import SimpleNamespace

import numpy as np

from tests.training.methods.tiny import give_levels, tiny_network
from tests.training.methods.tiny_contrast import TINY_SPACE
from training.methods.mixture import GROUP, mixture_head, mixture_terms
from training.methods.term import TermContext
from training.run_directory.checkpoint import save_lasting
from training.settings.losses import Mixture
from training.stages.modes import modes_in_use
from training.stages.modes_report import ModesReport


def head_of(seed: int):
    network = tiny_network(seed=seed)
    terms = mixture_terms(Mixture(dimension=4), TermContext(network, TINY_SPACE, seed, 20))
    return SimpleNamespace(terms=terms, network=network), mixture_head(terms)


def test_a_later_part_of_a_training_shows_the_modes_that_the_part_before_has_left(tmp_path, monkeypatch):
    give_levels(monkeypatch)
    monkeypatch.setattr(ModesReport, "_pixels", lambda report: {})
    stages = [SimpleNamespace(name=name) for name in ("online_2", "online_4")]
    lasting = lambda name: tmp_path / f"{name}.npz"  # noqa: E731
    student, trained = head_of(1)
    trained.start_with(np.asarray(trained.modes), np.zeros(trained.modes.shape[:2]))
    trained.counts.assign(np.ones(trained.counts.shape))
    trained.restarts.assign([2, 0, 1])
    save_lasting(lasting("online_2"), {GROUP: trained.variables, "student": student.network.weights})
    method, head = head_of(2)
    directory = SimpleNamespace(stages={"online_2": {}}, lasting=lasting)
    run = SimpleNamespace(plan=stages, directory=directory, network=method.network, previous=lambda stage: stages[0])
    assert not np.allclose(modes_in_use(head), modes_in_use(trained))
    report = ModesReport.begun(run, stages[1], method, first=False)
    np.testing.assert_array_equal(report.before.modes, modes_in_use(trained))
    assert float(head.active) == 1
    # What started anew is counted from here.
    assert report.restarts.tolist() == [2, 0, 1]
    assert not np.any(head.counts)
    # The modes are the student's, so it is shown beside them: the result of the part before may be the teacher.
    for ours, theirs in zip(method.network.get_weights(), student.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_patches_of_a_mode_are_shown_with_its_share_of_each_domain():
    report = ModesReport.__new__(ModesReport)
    report.run = SimpleNamespace(domains=SimpleNamespace(label_space=TINY_SPACE))
    shares = {"source": [np.array([0.3, 0.7]), None, None], "target": [np.array([0.06, 0.94]), None, None]}
    assert report._title(shares, 0, 1) == "a 2\n70 / 94 %"
    assert report._title(shares, 1, 0) == "b 1\n— / — %"
