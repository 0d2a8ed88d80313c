"""The command line: three choices, typed overrides, one clear sentence for a mistake."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from models.catalogue import NETWORKS
from training.command_line import catalogue, experiment_of, parse
from training.control import aligns, trains_on_target
from training.errors import UserError
from training.experiment_json import experiment_from_json, experiment_to_json
from training.methods.mean_teacher import decay_of
from training.methods.optimizers import learning_rate
from training.presets import DATA
from training.recipes import RECIPES
from training.settings.losses import Losses, PixelContrast
from training.stages.plan import plan
from training.stages.rounds import round_terms, source_share_of


def experiment(*argv: str):
    return experiment_of(parse(list(argv)))


def test_defaults_are_the_embedded_job():
    resolved = experiment()
    assert resolved.names == {"recipe": "cbst_sp", "data": "streetsim", "model": "compact"}
    assert resolved.model.weights == "none"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    resolved = experiment("--recipe", name, "--seed", "3")
    assert experiment_from_json(json.loads(json.dumps(experiment_to_json(resolved)))) == resolved


def test_overrides_are_typed_and_reach_recipe_data_and_model():
    resolved = experiment(
        "--set",
        "adaptation.rounds=5",
        "data.schedules.warm_up.steps=7",
        "adaptation.selector.portion=0.3",
        "data.crop=64,96",
    )
    assert resolved.recipe.adaptation.rounds == 5
    assert resolved.data.schedules["warm_up"].steps == 7
    assert resolved.recipe.adaptation.selector.portion == 0.3
    assert resolved.data.crop == (64, 96)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--recipe", "cbst_ps"], "did you mean 'cbst_sp'"),
        (["--data", "nowhere"], "no data 'nowhere'"),
        (["--model", "compac"], "did you mean 'compact'"),
        (["--set", "adaptation.round=5"], "round"),
        (["--set", "adaptation.rounds=many"], "many"),
        (["--set", "rounds"], "KEY=VALUE"),
        (["--recipe", "source_only", "--set", "adaptation.rounds=2"], "adaptation"),
        (["--size", "12x"], "HEIGHTxWIDTH"),
        (["--data", "gta5_cityscapes"], "--source-root"),
        (["--data", "streetsim_camvid"], "--target-root"),
    ],
)
def test_a_mistake_gets_one_clear_sentence(argv, words):
    with pytest.raises(UserError) as caught:
        experiment(*argv)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_of_the_user_replace_the_embedded_streets(tmp_path):
    resolved = experiment("--target-root", str(tmp_path), "--data", "streetsim_camvid", "--eval-root", "there")
    assert resolved.data.target.root == str(tmp_path)
    assert resolved.data.evaluation.root == os.path.abspath("there")
    assert resolved.model.network == "deeplab_v3plus_mobilenet_v2"


def test_nothing_is_measured_on_the_streets_that_folders_of_the_user_replace(tmp_path):
    source = experiment("--source-root", str(tmp_path)).data
    assert (source.source.reader, source.source_evaluation) == ("folders", None)
    assert source.evaluation.reader == "streetsim"


def test_photos_as_the_target_of_the_streets_are_refused_with_the_data_to_choose(tmp_path):
    for data in ("streetsim", "streetsim_dusk"):
        with pytest.raises(UserError, match="For your photos choose --data streetsim_camvid"):
            experiment("--data", data, "--target-root", str(tmp_path))
    wide = experiment("--data", "streetsim_camvid", "--target-root", str(tmp_path), "--classes", "cityscapes19")
    assert (wide.data.label_space, wide.names["recipe"]) == ("cityscapes19", "best")


@pytest.mark.parametrize(
    "command",
    [
        *(["training/run.py", option] for option in ("--help", "--list", "--show")),
        *([f"{script}.py", "--help"] for script in ("training/label", "training/evaluate")),
        *([f"{script}.py", "--help"] for script in ("training/data/prepare", "export/run", "export/predict")),
    ],
    ids=" ".join,
)
def test_help_and_listings_wait_for_nothing_heavy(command):
    root = Path(__file__).resolve().parents[2]
    code = (
        "import runpy, sys\n"
        f"sys.argv = {command}\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'keras_cv', 'tf2onnx', 'matplotlib', 'gradio'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert len(done.stdout) > 200


def test_names_that_are_typed_are_whole_on_a_narrow_terminal():
    listing = Console(width=80, file=io.StringIO())
    for table in catalogue():
        listing.print(table)
    words = set(listing.file.getvalue().split())
    assert words >= {*RECIPES, *DATA, *NETWORKS}


def test_an_unknown_recipe_on_the_real_command_line_has_no_traceback():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "training/run.py", "--recipe", "nope"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("streetshift: there is no recipe 'nope'")
    assert "Traceback" not in done.stderr


def test_parts_are_switched_on_off_and_exchanged():
    overrides = ("adaptation.mean_teacher=on", "adaptation.mean_teacher.decay=0.9", "adaptation.strong_views=True")
    recipe = experiment("--recipe", "cbst", "--set", *overrides).recipe
    assert (recipe.adaptation.mean_teacher.decay, recipe.adaptation.strong_views) == (0.9, True)
    assert experiment("--recipe", "hiast", "--set", "alignment=off").recipe.alignment is None
    exchanged = ("adaptation.selector=InstanceAdaptive", "adaptation.selector.alpha=0.3")
    assert experiment("--recipe", "cbst", "--set", *exchanged).recipe.adaptation.selector.alpha == 0.3


def test_another_kind_of_translation_is_used_as_that_of_the_recipe():
    """DRSL trains on the originals too, and its warm-up on them alone."""

    def translation(*overrides: str):
        return experiment("--recipe", "drsl", "--set", *overrides).recipe.translation

    trained = translation("translation=CycleGan")
    assert (trained.alongside, trained.warm_up) == (True, False)
    again = translation("translation=fda", "translation.beta=0.05")
    assert (again.alongside, again.warm_up, again.beta) == (True, False, (0.05,))
    for named in (
        ("translation=CycleGan", "translation.alongside=False"),
        ("translation.alongside=False", "translation=CycleGan"),
    ):
        assert not translation(*named).alongside
    # Other constants are those of the kind, also where another kind has one of the same name.
    contrast = experiment("--recipe", "pgpc", "--set", "adaptation.losses.contrast=PixelContrast").recipe
    assert contrast.adaptation.losses.contrast == PixelContrast()


@pytest.mark.parametrize("override", ["adaptation.selector=best", "adaptation.mean_teacher=maybe"])
def test_an_unknown_kind_of_part_is_refused_with_those_there_are(override):
    with pytest.raises(UserError, match="can be"):
        experiment("--set", override)


def test_several_sets_are_as_one():
    resolved = experiment(
        "--set",
        "adaptation.rounds=5",
        "--seed",
        "4",
        "--set=data.schedules.warm_up.steps=7",
        "--set",
        "data.crop=64,96",
    )
    assert (resolved.recipe.adaptation.rounds, resolved.data.schedules["warm_up"].steps, resolved.data.crop) == (
        5,
        7,
        (64, 96),
    )
    assert resolved.seed == 4


def test_a_labelled_share_takes_the_place_of_the_source():
    """All of it in every round; the loss of a recipe without source keeps its form, a mean a domain."""
    resolved = experiment("--recipe", "cbst", "--labelled-share", "1/8")
    assert resolved.labelled_share == 0.125
    assert resolved.recipe.adaptation.source_share.share == 1.0
    resolved = experiment(
        "--recipe", "hiast", "--labelled-share", "1/8", "--data", "gta5_cityscapes", "--target-root", "."
    )
    assert resolved.recipe.adaptation.source_share is None
    assert source_share_of(resolved.recipe.adaptation, resolved.data).share == 1.0
    assert all(term.own_mean for term in round_terms(resolved.recipe.adaptation, True)[:2])
    resolved = experiment("--recipe", "best", "--labelled-share", "1/8", "--data", "folders", "--target-root", ".")
    assert source_share_of(resolved.recipe.adaptation, resolved.data).share == 1.0  # not left out as without labels


def test_iast_and_hiast_have_their_own_schedules_on_the_published_pairs():
    pairs = {"gta5_cityscapes": 0.05, "synthia_cityscapes": 0.001}
    for data, weight in pairs.items():
        resolved = experiment("--recipe", "iast", "--data", data, "--source-root", ".", "--target-root", ".")
        assert (resolved.recipe.alignment.weight, resolved.data.schedules["rounds"].batch_size) == (weight, 8)
    resolved = experiment("--recipe", "hiast", "--data", "cityscapes_rio", "--source-root", ".", "--target-root", ".")
    stage, optimizer = resolved.data.schedules["rounds"], resolved.data.schedules["rounds"].optimizer
    assert (stage.steps, stage.batch_size) == (8000, 6)
    assert (optimizer.name, optimizer.schedule, optimizer.learning_rate) == ("adamw", "cosine", 3e-6)
    assert resolved.recipe.alignment.discriminator_beta_2 == 0.999


@pytest.mark.parametrize(("recipe", "steps"), [("daformer", 40_000), ("mic", 40_000), ("pgpc", 60_000)])
def test_daformer_and_what_builds_on_it_have_the_published_setting_on_the_published_pairs(recipe, steps):
    command = ("--recipe", recipe, "--data", "gta5_cityscapes", "--source-root", ".", "--target-root", ".")
    resolved = experiment(*command)
    adaptation, data = resolved.recipe.adaptation, resolved.data
    assert (adaptation.start, data.size, data.crop) == ("imagenet", (512, 1024), (512, 512))
    assert data.schedules["online"].steps == steps
    assert adaptation.rare_class_sampling.crop_most_share == 0.75
    assert decay_of(replace(adaptation.mean_teacher, ramp=False), steps) == pytest.approx(0.999)
    # What the user asks for comes after it.
    data = experiment(*command, "--size", "720x1280").data
    assert (data.size, data.crop) == ((720, 1280), (512, 512))
    assert experiment(*command, "--set", "adaptation.start=warm_up").recipe.adaptation.start == "warm_up"


@pytest.mark.parametrize("share", ["0", "1", "1/0", "many"])
def test_impossible_labelled_shares_are_refused(share):
    with pytest.raises(UserError, match="between 0 and 1"):
        experiment("--labelled-share", share)


def test_constants_that_suit_the_data_give_way_to_overrides_and_to_smoke():
    assert experiment("--recipe", "hiast").recipe.adaptation.selector.gamma == 0
    assert experiment("--recipe", "hiast", "--set", "adaptation.selector.gamma=8").recipe.adaptation.selector.gamma == 8
    assert experiment("--recipe", "hiast", "--smoke").data.schedules["rounds"].steps < 10
    assert experiment("--recipe", "cbst").recipe.adaptation == RECIPES["cbst"].adaptation


@pytest.mark.parametrize(
    ("recipe", "override", "said"),
    [
        ("cbst", "adaptation.selector.portion=3", r"--set adaptation\.selector\.portion: .*less than or equal to 1"),
        ("pgpc", "adaptation.losses.contrast.grid=3", r"--set adaptation\.losses\.contrast\.grid: .*'published', or"),
        ("daformer", "adaptation.weighting.threshold=2", r"--set adaptation\.weighting\.threshold: "),
        ("best", "adaptation.weighting.initial=0", r"--set adaptation\.weighting\.initial: .*greater than 0"),
    ],
)
def test_a_value_out_of_range_is_told_by_its_own_name(recipe, override, said):
    """Also within a union of several kinds, of which the first is not the one in use."""
    with pytest.raises(UserError, match=said):
        experiment_of(parse(["--recipe", recipe, "--set", override]))


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.adaptation is not None])
def test_the_control_has_the_steps_of_the_run_and_nothing_of_the_targets_labels(name):
    masked = ("--recipe", name, "--set", "adaptation.losses.masked=on")
    run, control = experiment(*masked), experiment(*masked, "--control")
    assert control.names["recipe"] == f"{name}-control"
    assert control.data == run.data
    assert control.recipe.alignment == run.recipe.alignment
    assert control.recipe.adaptation.target_weight == 0
    assert trains_on_target(run.recipe.adaptation)
    assert trains_on_target(control.recipe.adaptation) == (name == "uplr")  # whose rounds keep the adversarial term
    losses = control.recipe.adaptation.losses
    assert not any(getattr(losses, term) for term in ("mrkld", "regions", "consistency", "contrast", "masked"))
    assert control.recipe.adaptation.rare_class_sampling == run.recipe.adaptation.rare_class_sampling


def test_a_run_that_names_no_recipe_takes_what_suits_its_data(tmp_path):
    root = str(tmp_path)
    assert experiment("--data", "streetsim_dusk").names["recipe"] == "cbst_sp"
    photos = experiment("--data", "streetsim_camvid", "--target-root", root)
    assert photos.names["recipe"] == "best"
    assert (photos.recipe.logit_adjustment, photos.recipe.label_shift) == (0.3, 0.5)
    assert photos.recipe.adaptation.label_scales == (1.0, 1.5)
    roots = ("--source-root", root, "--target-root", root)
    published, mic = (experiment("--data", "gta5_cityscapes", "--recipe", name, *roots) for name in ("best", "mic"))
    assert published.recipe.adaptation == replace(mic.recipe.adaptation, start="imagenet")
    assert published.data == mic.data


def test_the_control_of_a_recipe_without_target_labels_has_no_adversarial_term():
    override = ("--set", "alignment.losses.minimum_entropy=on")
    run, control = (experiment("--recipe", "advent", *override, *more) for more in ((), ("--control",)))
    assert control.recipe.alignment == replace(run.recipe.alignment, weight=0.0, losses=Losses())
    assert control.data == run.data
    assert (aligns(run.recipe.alignment), aligns(control.recipe.alignment)) == (True, False)
    stage = plan(control)[-1]
    assert not stage.trains_on_target
    assert stage.way == "by alignment with an adversarial term of weight 0"
    for recipe in ("source_only", "oracle"):
        with pytest.raises(UserError, match=f"'{recipe}' does not learn from the target"):
            experiment("--recipe", recipe, "--control")


def test_rounds_of_cbst_and_crst_have_their_published_constants_on_the_published_pairs():
    roots = ("--source-root", ".", "--target-root", ".")
    for recipe, rate, share in (("cbst", 1e-4, 505 / 2975), ("st_sp", 1e-4, 505 / 2975), ("lrent", 5e-5, 505 / 2975)):
        resolved = experiment("--recipe", recipe, "--data", "gta5_cityscapes", *roots)
        assert resolved.data.schedules["rounds"].optimizer.learning_rate == rate
        assert resolved.recipe.adaptation.image_selection.share == share
    other = experiment("--recipe", "cbst", "--data", "gta5_bdd100k", *roots).recipe.adaptation
    assert other.image_selection is None
    drsl = experiment("--recipe", "drsl", "--data", "gta5_cityscapes", *roots)
    assert drsl.recipe.adaptation.image_selection is None
    rounds = drsl.data.schedules["rounds"]
    assert (rounds.steps * rounds.batch_size, drsl.data.crop) == (2 * 2975, (512, 512))
    head = drsl.recipe.adaptation.mixture
    assert (head.normalize, head.variance, head.margin, head.beta, head.restart_every) == (False, 0.5, 1, 1, None)
    # The rate of IAST ends at a quarter.
    schedule = experiment("--recipe", "iast", "--data", "gta5_cityscapes", *roots).data.schedules["rounds"]
    assert float(learning_rate(schedule.optimizer, schedule.steps)(schedule.steps)) == pytest.approx(7.5e-7, rel=0.01)


def test_a_published_run_writes_few_checkpoints():
    data = experiment("--data", "gta5_cityscapes", "--source-root", ".", "--target-root", ".").data
    assert {schedule.checkpoint_every for schedule in data.schedules.values()} == {1000}
    assert {schedule.checkpoint_every for schedule in experiment().data.schedules.values()} == {100}


def test_a_class_is_shown_by_3000_pixels_of_the_published_source():
    for data, pixels in (("gta5_cityscapes", 1052 * 1914), ("synthia_cityscapes", 760 * 1280)):
        resolved = experiment("--recipe", "best", "--data", data, "--source-root", ".", "--target-root", ".")
        share = resolved.recipe.adaptation.rare_class_sampling.least_share
        assert share * pixels == pytest.approx(3000, rel=0.01)
        assert [round(margin * 512) for margin in resolved.data.label_margins] == [15, 120, 0, 0]
