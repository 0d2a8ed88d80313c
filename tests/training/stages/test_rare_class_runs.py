"""Rare class sampling in a run of rounds: of both domains, counted once, told in the report."""

import json

import pytest

from tests.training.small_runs import CLASSES, options


def test_cbst_sp_with_rare_class_sampling(start, tmp_path):
    sampling = ("warm_up.rare_class_sampling=on", "adaptation.rare_class_sampling=on", "adaptation.rounds=1")
    both, out = "adaptation.rare_class_sampling.domains=both", tmp_path / "run"
    assert start([*options(tmp_path, "cbst_sp", *sampling, both), "--out", str(out)]) == 0
    summary = json.loads((out / "report" / "summary.json").read_text())
    sampled = {entry["domain"]: entry["classes"] for entry in summary["rare_class_sampling"]}
    assert set(sampled) == {"source", "target"}
    for classes in sampled.values():
        assert len(classes) == len(CLASSES)
        assert sum(figures["drawn"] for figures in classes.values()) == pytest.approx(1)
    assert "images drawn for it" in (out / "report" / "report.md").read_text()
    assert (out / "class_counts_source.npy").is_file()
