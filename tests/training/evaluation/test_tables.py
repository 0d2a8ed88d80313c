"""Numbers as text, and the sentences that keep a reader from misreading a mean."""

import pytest

from training.evaluation import formats, tables
from training.evaluation.confusion import scores


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(None, False, "—"), (41.25, False, "41.2"), (3.0, True, "+3.0"), (-3.04, True, "-3.0"), (-0.04, True, "0.0")],
)
def test_number(value, signed, text):
    assert formats.number(value, signed=signed) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (0.84, "0.8 s"), (34.4, "34 s"), (725, "12 min 05 s"), (59.7, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_duration(seconds, text):
    assert formats.duration(seconds) == text


def test_memory():
    assert [formats.memory(size) for size in (None, 300 * 2**20, 3 * 2**29)] == ["—", "300 MiB", "1.50 GiB"]


def test_bar_stays_in_its_ten_places():
    assert [formats.bar(value) for value in (None, 0, 50, 100, 130)] == [
        "░" * 10,
        "░" * 10,
        "█" * 5 + "░" * 5,
        "█" * 10,
        "█" * 10,
    ]


def test_markdown_table_keeps_its_columns_whatever_the_names_hold():
    lines = formats.markdown_table(("class", "%"), [("tree | hedge", 1), ("a\nb", 2)]).splitlines()
    assert lines == ["| class | % |", "| :-- | --: |", "| tree \\| hedge | 1 |", "| a b | 2 |"]


def test_notes_name_absent_and_falsely_predicted_classes(summary):
    notes = tables.score_notes(summary)
    assert notes == [
        "Before: in neither truth nor prediction, so left out of the mean: tram.",
        "After: not in the truth but predicted, so counted as 0 in the mean over all classes, "
        f"{summary['after']['miou']:.1f}: tram.",
    ]
    assert "| mIoU, the classes in the truth |" in tables.class_set_table(summary, True)


def test_the_told_miou_is_over_the_classes_in_the_truth(summary, before):
    known = ("road", "tree | hedge", "car")
    old, new = (sum(summary[side]["per_class_iou"][name] for name in known) / 3 for side in ("before", "after"))
    assert tables.miou_words(summary) == f"mIoU {old:.1f} → {new:.1f} (+{new - old:.1f})"
    assert tables.miou_classes(summary) == "over the 3 classes in the truth, of 4 of streets4"
    assert f"| round 1 (chosen) | {50:.1f} |" in tables.stage_table(
        {**summary, "stages": [{"stage": "round_1", "title": "Round 1", "miou": 40.0, "miou_in_truth": 50.0}]}
    )
    whole = dict.fromkeys(summary["after"]["truth_pixels"], 1)
    assert tables.miou_classes({**summary, "after": {"truth_pixels": whole}}) == "4 classes of streets4"


def test_one_pixel_of_a_class_that_the_labels_lack_does_not_make_a_better_model_worse(summary, before, label_space):
    better = before.matrix.copy()
    better[0] = [82, 10, 7, 1]
    told = {**summary, "after": scores(better, label_space)}
    assert told["after"]["miou"] < told["before"]["miou"] - 10
    assert not tables.is_worse(told)
    assert tables.miou_change(told) == pytest.approx(told["after"]["miou_in_truth"] - told["before"]["miou_in_truth"])
    assert tables.miou_change(told) > 0


def test_classes_that_nothing_taught_are_marked(summary):
    told = {**summary, "unseen_classes": ["car"]}
    assert [row.title for row in tables.class_rows(told) if row.unseen] == ["car †"]
    assert "Classes without a pixel in the labels learned from (†): car." in tables.score_notes(told)


def test_notes_name_the_classes_that_lost(summary):
    summary["after"]["per_class_iou"]["car"] = summary["before"]["per_class_iou"]["car"] - 5
    assert "Lower than before: car (-5.0)." in tables.score_notes(summary)


def test_a_round_with_a_teacher_shows_its_student_and_marks_the_hard_classes(summary):
    teacher = {**summary["stages"][0], "student_scores": {"miou": 64.0}, "hard_classes": ["car"]}
    teacher["parameters"] = {"alpha": 0.2, "limit": 3}
    told = {**summary, "stages": [teacher]}
    heading, _, before, first = tables.stage_table(told).splitlines()
    assert heading.startswith("| stage | alpha | limit | kept |")
    assert first.startswith("| round 1 (chosen) | 0.20 | 3.00 |")
    assert "| its student's |" in heading
    assert (before.count("64.0"), first.count("64.0")) == (0, 1)
    assert [row.title for row in tables.class_rows(told)] == ["road", "tree | hedge", "car *", "tram"]
    assert tables.score_notes(told)[0].startswith("Hard classes (*)")


def test_notes_of_a_run_that_does_not_compare(summary):
    single = {**summary, "stages": [], "after": summary["before"]}
    assert tables.score_notes(single) == ["In neither truth nor prediction, so left out of the mean: tram."]
    silent = {**single, "after": {**summary["before"], "unpredicted": 1200}}
    assert "After: 1,200 pixels have no prediction and count as wrong." in tables.score_notes(silent)
    assert tables.score_notes({"before": None, "after": None}) == []


def test_stage_table_marks_the_chosen_line_and_drops_unknown_columns(summary):
    table = tables.stage_table(summary).splitlines()
    assert table[0] == "| stage | portion | kept | label-free gain | agreement % | drift | mIoU % | watch |"
    assert table[2].startswith("| before | — | — | — | — | — |")
    assert table[3].startswith("| round 1 (chosen) | 0.20 | 19.0 % | 0.710 |")
    assert table[4].endswith("| 21.0 | collapse |")
    refused = {**summary["stages"][0], "refused": ["its labels are less sure"]}
    assert tables.stage_table({**summary, "stages": [refused]}).endswith("| 66.0 | refused |")
    bare = tables.stage_table(
        {"stages": [{"stage": "round_1", "title": "Round 1", "kept_share": 0.5}], "chosen": "source"}
    ).splitlines()
    assert bare == ["| stage | kept |", "| :-- | --: |", "| before (chosen) | — |", "| round 1 | 50.0 % |"]


def test_threshold_table_says_where_nothing_is_selected(summary):
    table = tables.threshold_table(summary["stages"][0])
    assert "| road | 0.9123 | 20.0 % |" in table
    assert "| tram | none | 0.0 % |" in table
    assert tables.threshold_table({"title": "Round 1"}) is None


def test_worse_is_what_one_digit_shows(summary):
    def ended(change):
        after = {**summary["after"], "miou_in_truth": summary["before"]["miou_in_truth"] + change}
        return tables.is_worse({**summary, "after": after})

    assert [ended(change) for change in (-3.0, -0.01, 2.0)] == [True, False, False]
    assert not tables.is_worse({**summary, "after": None})


def test_class_sets_for_a_reader():
    assert tables.class_set_words("13", "synthia16") == "13 classes of synthia16"
    assert tables.class_set_words("vehicles") == "class set vehicles"
