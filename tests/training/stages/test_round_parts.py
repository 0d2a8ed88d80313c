"""Parts of online self-training in rounds: ClassMix and hidden blocks."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.methods.tiny import CLASSES, batch, compiled, tiny_network
from tests.training.small_runs import options
from training.command_line import experiment_of, parse
from training.errors import UserError
from training.methods.mean_teacher import MeanTeacherTraining
from training.methods.self_training import SelfTraining, SoftLabeller
from training.run_directory.paths import RunDirectory
from training.settings.losses import Losses, Masked
from training.settings.sampling import ClassMix
from training.settings.selectors import ClassBalanced, LabelEntropy
from training.settings.stages import Rounds
from training.settings.teacher import ImageConfidence, MeanTeacher
from training.stages.plan import plan
from training.stages.rounds import round_method

UNCHANGED = ClassMix(jitter_probability=0.0, blur_probability=0.0)
TEACHER = {"mean_teacher": MeanTeacher()}


def data_of():
    return experiment_of(parse(["--recipe", "cbst", "--smoke"])).data


def views(label_share: float = 0.4) -> dict:
    source, target, position = batch(0), batch(1, label_share), {"position": tf.range(4, dtype=tf.int64)}
    target = {"image": 255 - 0.8 * target["image"], "weak": target["image"], "label": target["label"]}
    return {"source": {**source, **position}, "target": {**target, **position}}


def method_of(**parts):
    return round_method(tiny_network(), Rounds(**parts), data_of(), 100, None)


@pytest.mark.parametrize("more", [{}, TEACHER], ids=["plain", "mean_teacher"])
def test_the_student_learns_the_pasted_pixels_as_pseudo_labels(more):
    method, data = method_of(class_mix=UNCHANGED, **more), views()
    assert isinstance(method, MeanTeacherTraining if more else SelfTraining)
    step = method.forward(method.prepared(data))
    pasted, stride = method.mixer.mask(data["source"]["label"], data["source"]["position"]).numpy(), method.loss_stride
    mixed = np.where(pasted, data["source"]["label"], data["target"]["label"])[:, stride // 2 :: stride]
    np.testing.assert_array_equal(step.target.label, mixed[..., stride // 2 :: stride])
    image = np.where(pasted[..., None], data["source"]["image"], data["target"]["image"])
    logits = tf.image.resize(method.network(image, training=True)["logits"], step.target.label.shape[1:])
    np.testing.assert_allclose(step.target.logits, logits, atol=1e-5)
    assert all(np.isfinite(float(value)) for value in compiled(method).train_step(data).values())


def test_a_pasted_pixels_soft_label_is_the_sources_label():
    soft = SoftLabeller(tiny_network(1), np.full(CLASSES, 0.5, np.float32), 0.25)
    settings = Rounds(selector=LabelEntropy(), class_mix=UNCHANGED)
    method, data = round_method(tiny_network(), settings, data_of(), 100, soft), views()
    target = method.forward(method.prepared(data)).target
    pasted = target.pasted.numpy()
    assert 0 < pasted.mean() < 1
    np.testing.assert_array_equal(target.soft_label[pasted], np.eye(CLASSES)[target.label[pasted]])
    assert (target.soft_label.numpy()[~pasted].max(axis=-1) < 1).all()


@pytest.mark.parametrize("selector", [ClassBalanced(), LabelEntropy()], ids=["hard labels", "soft labels"])
def test_in_the_control_pasted_pixels_count_and_those_of_the_target_do_not(selector):
    soft = SoftLabeller(tiny_network(1), np.full(CLASSES, 0.5, np.float32), 0.25)
    soft = soft if isinstance(selector, LabelEntropy) else None
    settings = Rounds(selector=selector, class_mix=UNCHANGED, target_weight=0.0, domain_means=True)
    method, data = round_method(tiny_network(), settings, data_of(), 100, soft), views()
    (term,) = (term for term in method.terms if "target" in term.needs)
    step = method.forward(method.prepared(data))
    pasted, label = step.target.pasted.numpy(), step.target.label.numpy()
    log_probs = tf.nn.log_softmax(step.target.logits).numpy()[pasted]
    mean = -log_probs[np.arange(len(log_probs)), label[pasted]].sum() / (label < CLASSES).sum()
    assert mean > 0
    assert term.weight * float(term(step)) == pytest.approx(mean, rel=1e-5)


def test_hidden_blocks_have_the_labels_of_the_teacher_and_daformers_weight():
    method, data = method_of(losses=Losses(masked=Masked()), **TEACHER), views(0.0)
    method.labels.settings = ImageConfidence(threshold=0.4)
    view, target = method.forward(method.prepared(data)).masked, data["target"]
    probs = method.predict_with_teacher(target["weak"], view.label).numpy()
    np.testing.assert_array_equal(view.label, probs.argmax(-1))
    share = (probs.max(-1) >= 0.4).mean(axis=(1, 2))
    assert 0 < share.mean() < 1
    np.testing.assert_allclose(view.weight, np.broadcast_to(share[:, None, None], view.label.shape), atol=1e-6)
    hidden = method.masker.hidden(target["image"], target["position"])
    assert 0.4 < np.mean((hidden != target["image"]).numpy().any(axis=3)) < 1
    logits = tf.image.resize(method.network(hidden, training=True)["logits"], view.label.shape[1:])
    np.testing.assert_allclose(view.logits, logits, atol=1e-5)
    assert "masked" in compiled(method).train_step(data)


def test_under_hidden_blocks_a_pasted_pixel_has_its_own_label():
    method, data = method_of(class_mix=UNCHANGED, losses=Losses(masked=Masked()), **TEACHER), views()
    step = method.forward(method.prepared(data))
    pasted = step.target.pasted.numpy()
    np.testing.assert_array_equal(step.masked.label[pasted], step.target.label[pasted])
    assert (step.masked.weight[pasted] == 1).numpy().all()


def test_hidden_blocks_without_weight_cost_no_pass_of_the_teacher(monkeypatch):
    method = method_of(losses=Losses(masked=Masked(weight=0.0)), **TEACHER)

    def refuse(weak, label):
        raise AssertionError("the teacher made a forward pass")

    monkeypatch.setattr(method, "predict_with_teacher", refuse)
    assert method.forward(method.prepared(views())).masked is None


def check(recipe: str, *settings: str) -> None:
    for stage in plan(experiment_of(parse(["--recipe", recipe, "--smoke", "--set", *settings]))):
        stage.check()


def test_class_mix_without_a_source_is_refused_before_anything_is_trained():
    with pytest.raises(UserError, match=r"no source image takes part in the rounds .* set adaptation\.source_share=on"):
        check("hiast", "adaptation.class_mix=on", "data.keep_source=False")
    check("hiast", "adaptation.class_mix=on")
    check("hiast", "adaptation.class_mix=on", "data.keep_source=False", "adaptation.source_share=on")


def test_hidden_blocks_without_a_mean_teacher_are_refused():
    with pytest.raises(UserError, match=r"adaptation\.losses\.masked needs a mean teacher|losses\.masked needs a mean"):
        check("cbst", "adaptation.losses.masked=on")
    check("cbst", "adaptation.losses.masked=on", "adaptation.mean_teacher=on")


def test_a_run_with_both(start, tmp_path):
    parts = ("adaptation.class_mix=on", "adaptation.losses.masked=on", "adaptation.mean_teacher=on")
    command = options(tmp_path, "cbst", "adaptation.rounds=1", "adaptation.strong_views=True", *parts)
    assert start([*command, "--out", str(tmp_path / "run")]) == 0
    logged = RunDirectory(tmp_path / "run").metrics.read_text().splitlines()
    assert any(line.startswith("round_1,5,masked,") for line in logged)
