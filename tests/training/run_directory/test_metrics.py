"""metrics.csv: no row stands twice, and none is half."""

from training.run_directory.metrics import append_metrics, forget_metrics_after


def written(path, *rows):
    for stage, step in rows:
        append_metrics(path, stage, step, {"loss": step / 3, "other": 1.0})
    return path.read_bytes()


def test_what_came_after_a_checkpoint_goes_and_is_written_again(tmp_path):
    path = tmp_path / "metrics.csv"
    before = written(path, ("source", 25), ("source", 50), ("round_1", 25))
    whole = written(path, ("round_1", 50))
    path.write_bytes(whole[:-5])
    forget_metrics_after(path, ["source"], "round_1", 25)
    assert path.read_bytes() == before
    assert written(path, ("round_1", 50)) == whole


def test_rows_of_stages_that_are_done_again_go(tmp_path):
    path = tmp_path / "metrics.csv"
    before = written(path, ("source", 25))
    written(path, ("round_1", 25), ("round_2", 25))
    forget_metrics_after(path, ["source"], "round_1", 0)
    assert path.read_bytes() == before


def test_a_row_whose_step_cannot_be_read_goes(tmp_path):
    path = tmp_path / "metrics.csv"
    before = written(path, ("source", 25))
    path.write_bytes(before + b"source,many,loss,1\r\nsource,50\r\n")
    forget_metrics_after(path, [], "source", 50)
    assert path.read_bytes() == before


def test_a_run_without_metrics(tmp_path):
    forget_metrics_after(tmp_path / "metrics.csv", [], "source", 0)
    assert not (tmp_path / "metrics.csv").exists()
