"""Constants of a recipe that data unlike its paper's need, and those of its paper on the published pairs.

Tuples of settings as `--set` takes them, with their reasons.
"""

from training.presets import DATA, EMBEDDED, PUBLISHED

_HIAST_ON_SMALL_DATA = (
    "adaptation.copy_paste.hard_classes=0.3",  # published 14 / 19: of CamVid's classes 8, and cars lost 7 to 10 IoU
    "adaptation.losses.consistency.weight=5",
)
_IAST_ON_STREETS = (
    "adaptation.selector.gamma=0",  # 8 supposes confidences near 1: a network of minutes shows rare classes at 0.5,
    # of which alpha * 0.5 ** 8 would be kept, one pixel in 500
    "adaptation.target_weight=0.4",  # the labels cover 36 % and have a mean of their own: so a pixel of them weighs
    # about what one of the source does, as in CBST, and the wrong ones less than the source's right ones
)
_HIAST_ON_STREETS = (
    *_HIAST_ON_SMALL_DATA,
    *_IAST_ON_STREETS,
    "adaptation.selector.alpha=0.2",
    "data.schedules.rounds.steps=1300",  # published are 8000 per round, CBST has 1250: more than its rounds here too
    "data.schedules.rounds.optimizer.learning_rate=2e-3",
)

_UPLR_ON_STREETS = (
    "data.schedules.alignment.steps=130",  # per round, of three
    "alignment.sampler.shift=0.6",  # the median ratio of these images, which all show many classes: with 0.2 and 10 one
    "alignment.sampler.slope=20",  # is drawn at most 1.14 times as often as another, which no figure shows
)

_UPLR_ON_PHOTOS = ("alignment.sampler.shift=median", "alignment.sampler.slope=20")  # for the same reason

# `PAPER_ROUND` is CBST's and CRST's, with the learning rate of CRST; IAST and HIAST have schedules of their own on the
# published pairs.
_CBST_RATE = ("data.schedules.rounds.optimizer.learning_rate=1e-4",)  # in the first round
_CRST_SUBSETS = ("adaptation.source_share.seed=3",)
_OF_CITYSCAPES = (  # CBST and CRST train on 505 of the 2975 images
    "adaptation.image_selection=on",
    f"adaptation.image_selection.share={505 / 2975}",
)
_AS_PUBLISHED = (
    "data.schedules.rounds.optimizer.name=adamw",
    "data.schedules.rounds.optimizer.learning_rate=3e-6",  # 3e-5 for the head
    "data.schedules.rounds.optimizer.schedule=cosine",
    "alignment.discriminator_beta_2=0.999",
)
_IAST_AS_PUBLISHED = (
    *_AS_PUBLISHED,
    "data.schedules.rounds.steps=6234",  # GTA5, twice
    "data.schedules.rounds.batch_size=8",
    "data.schedules.rounds.optimizer.horizon=9351",  # three halves of the steps: the rate ends at a quarter
)
_HIAST_AS_PUBLISHED = (*_AS_PUBLISHED, "data.schedules.rounds.steps=8000", "data.schedules.rounds.batch_size=6")


def _as_adaptsegnet(schedule: str, steps: int) -> tuple[str, ...]:
    """One image of each domain a step; the rate, ten times as large for the head, falls as for 250,000 steps."""
    prefix = f"data.schedules.{schedule}"
    optimizer = ("name=sgd", "learning_rate=2.5e-4", "schedule=poly", "horizon=250_000")
    return (f"{prefix}.steps={steps}", f"{prefix}.batch_size=1", *(f"{prefix}.optimizer.{each}" for each in optimizer))


# Of AdaptSegNet, ADVENT and BDL, but for the warm-up, which they do without, and for crops at scales of 0.5 to 1.5:
# they train on whole images, 1280 and 1024 wide. Of IAST and HIAST no schedule of the discriminator is known.
_ADAPTSEG_AS_PUBLISHED = ("alignment.discriminator_schedule=poly", *_as_adaptsegnet("alignment", 120_000))
# UPLR published no schedule. That of AdaptSegNet and BDL, which it builds on: 120,000 steps of alignment, in three
# rounds, and as many of self-training. The paper's translation is CycleGAN (BDL's images), here it is FDA: CycleGAN
# (`translation=CycleGan`) takes days on a GPU, and BDL's images are the user's to get (`--translated-root`).
_UPLR_AS_PUBLISHED = (
    "alignment.discriminator_schedule=poly",
    *_as_adaptsegnet("alignment", 40_000),
    *_as_adaptsegnet("rounds", 120_000),
)

# DAFormer trains from ImageNet's weights, on crops of Cityscapes' frames at half their size. GTA5 it brings to 720 x
# 1280, SYNTHIA to 760 x 1280; here both domains have one size. Its network is `--model daformer_mit_b5`. MIC's figures
# are on HRDA, which sees frames of the whole size; these are the settings of MIC on DAFormer. DACS has none of its own.
_DAFORMER_AS_PUBLISHED = (
    "adaptation.start=imagenet",
    "adaptation.rare_class_sampling.crop_most_share=0.75",
    "data.size=512,1024",
    "data.crop=512,512",
)
_SYNTHIA_SHARE = ("adaptation.rare_class_sampling.least_share=0.0031",)  # 3000 pixels of its 760 x 1280
# Of `best` on photos (tests/benchmarks/README.md): every pixel has the adjusted model's soft label, and the student
# learns to say at one scale what that model says at two, the larger one mirrored.
_BEST_ON_PHOTOS = (
    "logit_adjustment=0.3",
    "label_shift=0.5",
    "adaptation=Rounds",
    "adaptation.rounds=1",
    "adaptation.selector=LabelEntropy",
    "adaptation.selector.portion=1",
    "adaptation.selector.portion_max=1",
    "adaptation.label_scales=1.0,1.5",
    "adaptation.source_share=off",
    "adaptation.blend=0.75",
    "data.keep_source=False",
    "data.schedules.rounds.steps=500",
    # The student sees what it will be given: changed colours, sizes and sharpness cost CamVid 1 point.
    "data.schedules.rounds.augmentation.scale=1,1",
    "data.schedules.rounds.augmentation.jitter=0",
    "data.schedules.rounds.augmentation.blur=0",
)
# The recipe with the best published figures.
_BEST_AS_PUBLISHED = (
    *_DAFORMER_AS_PUBLISHED,
    "adaptation.losses.feature_distance=on",
    "adaptation.losses.masked=on",
    "adaptation.weighting=ImageConfidence",
)
# DRSL trains on all images of the target, on small crops, whose size it does not state. Of the second head it states
# variance and margins, no length 1 and no modes that start anew.
_DRSL_AS_PUBLISHED = (
    "data.schedules.rounds.steps=5950",  # two passes over 2975 images of Cityscapes, with one of each domain per step
    "data.crop=512,512",
    "adaptation.mixture.start=0.02",  # 2000 of 100,000 steps
    "adaptation.mixture.normalize=False",
    "adaptation.mixture.variance=0.5",
    "adaptation.mixture.margin=1",
    "adaptation.mixture.beta=1",
    "adaptation.mixture.restart_every=None",
    *_CRST_SUBSETS,
)

_PGPC_AS_PUBLISHED = (
    *_DAFORMER_AS_PUBLISHED,
    "data.schedules.online.steps=60000",
    "adaptation.mean_teacher.decay_steps=60000",  # the decay of 0.999 is per step of these
)
_PROTOTYPES_AS_PUBLISHED = (
    *_PGPC_AS_PUBLISHED,
    "adaptation.losses.contrast.queue_megabytes=300",  # of 19 classes 2000 negatives each with the 3840 channels of a
    # ResNet-101's levels, 7700 with the 1024 of a Mix Transformer's
)
_PIXELS_AS_PUBLISHED = (
    *_PGPC_AS_PUBLISHED,
    "adaptation.losses.contrast.grid=published",
    "adaptation.losses.contrast.pixels=None",
)


def _as_cbst(recipe: str, name: str) -> tuple[str, ...]:
    """Of the recipes in CBST's program, and in CRST's; DRSL trains on all images of the target."""
    own = _CRST_SUBSETS if recipe in _CRST else _CBST_RATE
    selects = DATA[name].target.reader == "cityscapes"
    return (*own, *(_OF_CITYSCAPES if selects else ()))


_CBST, _CRST = ("st", "st_sp", "cbst", "cbst_sp"), ("lrent", "mrkld")
_ONLINE_AS_PUBLISHED = {
    "daformer": _DAFORMER_AS_PUBLISHED,
    "mic": _DAFORMER_AS_PUBLISHED,
    "pgpc": _PROTOTYPES_AS_PUBLISHED,
    "pgpc_code": _PIXELS_AS_PUBLISHED,
    "best": _BEST_AS_PUBLISHED,
}

SUITED: dict[tuple[str, str], tuple[str, ...]] = {
    **{(recipe, name): _as_cbst(recipe, name) for recipe in (*_CBST, *_CRST) for name in PUBLISHED},
    **{("best", name): _BEST_ON_PHOTOS for name in ("streetsim_camvid", "folders")},
    **{("iast", name): _IAST_ON_STREETS for name in EMBEDDED},
    **{("iast", name): _IAST_AS_PUBLISHED for name in PUBLISHED},
    ("iast", "synthia_cityscapes"): (*_IAST_AS_PUBLISHED, "alignment.weight=0.001"),
    **{("hiast", name): _HIAST_ON_STREETS for name in EMBEDDED},
    ("hiast", "streetsim_camvid"): _HIAST_ON_SMALL_DATA,
    **{("hiast", name): _HIAST_AS_PUBLISHED for name in PUBLISHED},
    **{(recipe, name): _ADAPTSEG_AS_PUBLISHED for recipe in ("adaptseg", "advent") for name in PUBLISHED},
    **{("uplr", name): _UPLR_ON_STREETS for name in EMBEDDED},
    **{("uplr", name): _UPLR_ON_PHOTOS for name in ("streetsim_camvid", "folders")},
    **{("uplr", name): _UPLR_AS_PUBLISHED for name in PUBLISHED},
    **{(recipe, name): _DRSL_AS_PUBLISHED for recipe in ("drsl", "drsl_plus") for name in PUBLISHED},
    **{(recipe, name): settings for recipe, settings in _ONLINE_AS_PUBLISHED.items() for name in PUBLISHED},
    **{
        (recipe, "synthia_cityscapes"): (*settings, *_SYNTHIA_SHARE)
        for recipe, settings in _ONLINE_AS_PUBLISHED.items()
    },
}
"""By recipe and data: what `with_overrides` applies before the user's own."""
