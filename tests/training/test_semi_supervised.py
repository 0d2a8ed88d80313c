"""A labelled part of the target in place of the source, from the user's own folders to the figures."""

import json

from export.run_metadata import domain_titles
from tests.training.small_runs import options, two_layers
from training.data.domains import load_domains
from training.evaluation.scoring import score
from training.prediction.predictor import Predictor
from training.run_directory.checkpoint import read_lasting
from training.run_directory.paths import RunDirectory

RECIPE = ("hiast", "alignment=off", "adaptation.rounds=1", "adaptation.selector.initial=0.2")


def test_half_of_the_photos_with_labels(start, tmp_path):
    run = tmp_path / "run"
    assert start([*options(tmp_path, *RECIPE), "--labelled-share", "1/2", "--out", str(run)]) == 0
    directory, experiment = RunDirectory.reopen(run)
    domains = load_domains(experiment)
    assert (len(domains.source), len(domains.target), domains.target.labelled) == (2, 2, False)
    assert not {sample.name for sample in domains.source.samples} & {sample.name for sample in domains.target.samples}
    assert len(list((run / "pseudo_labels" / "round_1").glob("*.png"))) == 2
    assert domain_titles(experiment) == ("images, 0.5 of it", "images, the rest")
    summary = json.loads((run / "report" / "summary.json").read_text())
    assert "(2 labelled)" in summary["source"]

    network = two_layers(experiment, domains.label_space.count)
    network.set_weights(read_lasting(directory.lasting("round_1"))["student"])
    scored = score(Predictor(network), domains.evaluation, experiment.data.size, 8, "the student")
    assert scored == directory.stages["round_1"]["student_scores"]


def test_a_share_of_photos_without_labels_is_told_where_to_put_them(start, tmp_path, capsys):
    for path in (tmp_path / "target" / "labels").iterdir():
        path.unlink()
    (tmp_path / "target" / "labels").rmdir()
    command = [*options(tmp_path, *RECIPE), "--labelled-share", "1/2", "--out", str(tmp_path / "run")]
    assert start(command) == 2
    assert "put them into labels/ beside images/" in capsys.readouterr().err
