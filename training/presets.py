"""Pairs of domains, declared once: where images come from, at which size they are used, and the schedule that fits.

The pairs of built-in streets (`streetsim`, `streetsim_dusk`) need no file; `streetsim_camvid` and `folders` take the
user's photos; the others read the published data sets where they lie (`--source-root`, `--target-root`).
"""

from dataclasses import replace

from training.settings.data import Data, Domain, Translator
from training.settings.schedule import Augmentation, Optimizer, Schedule

TRANSLATION_OPTIMIZER = Optimizer(
    learning_rate=2e-4, weight_decay=0.0, beta_1=0.5, power=1.0, constant_share=0.5
)  # Adam; the rate falls to 0 in the second half
SMALL_TRANSLATOR = Translator(channels=16, crop=(128, 128))
SMALL_WARM_UP = Schedule(
    steps=900,
    batch_size=12,
    optimizer=Optimizer(learning_rate=4e-3, ramp_steps=50, clip_norm=5.0),
    augmentation=Augmentation(scale=(0.7, 1.5)),
)
SMALL_ROUND = Schedule(
    steps=300,
    batch_size=8,
    optimizer=Optimizer(learning_rate=1e-3, ramp_steps=50, clip_norm=5.0),
    augmentation=Augmentation(scale=(0.7, 1.5), jitter=0.5),
    average_weights=0.98,
)
SMALL_ALIGNMENT = Schedule(
    steps=200,
    batch_size=8,
    optimizer=Optimizer(learning_rate=5e-4, clip_norm=5.0),
    augmentation=Augmentation(scale=(0.7, 1.5), jitter=0.5),
    average_weights=0.98,
)
SMALL_ONLINE = Schedule(
    steps=1600,
    batch_size=8,
    optimizer=Optimizer(learning_rate=2e-3, ramp_steps=50, power=1.0, clip_norm=5.0),
    augmentation=Augmentation(scale=(0.7, 1.5)),
)
SMALL_TRANSLATION = Schedule(
    steps=2500,  # with the warm-ups the job shall end in 40 minutes
    batch_size=1,
    optimizer=TRANSLATION_OPTIMIZER,
    augmentation=Augmentation(scale=(1.0, 1.0)),
    batch_norm="frozen",
)
PHOTO_WARM_UP = Schedule(
    steps=1200,
    batch_size=8,
    optimizer=Optimizer(learning_rate=5e-4, ramp_steps=50, clip_norm=5.0),
    augmentation=Augmentation(scale=(0.6, 1.6)),
    batch_norm="frozen",
)
PHOTO_ROUND = Schedule(
    steps=250,
    batch_size=4,
    optimizer=Optimizer(learning_rate=5e-4, ramp_steps=50, clip_norm=5.0),
    augmentation=Augmentation(scale=(0.6, 1.6), jitter=1.0, blur=0.3),
    batch_norm="frozen",
    average_weights=0.99,
)
PHOTO_ALIGNMENT = Schedule(
    steps=200,
    batch_size=4,
    optimizer=Optimizer(learning_rate=1e-4, clip_norm=5.0),
    augmentation=Augmentation(scale=(0.6, 1.6)),
    batch_norm="frozen",
    average_weights=0.98,
)
PHOTO_ONLINE = Schedule(
    steps=1000,
    batch_size=4,
    optimizer=Optimizer(learning_rate=2e-4, ramp_steps=50, power=1.0, clip_norm=5.0),
    augmentation=Augmentation(scale=(0.6, 1.6)),
    batch_norm="frozen",
)
PHOTO_TRANSLATION = replace(SMALL_TRANSLATION, steps=6000)
PAPER_CHECKPOINT = 1000  # steps: a checkpoint of a large network has a gigabyte
PAPER_WARM_UP = Schedule(
    steps=100_000,
    batch_size=4,
    optimizer=Optimizer("sgd", learning_rate=2.5e-4, head_multiple=10.0),
    augmentation=Augmentation(scale=(0.5, 1.5)),
    batch_norm="frozen",
    checkpoint_every=PAPER_CHECKPOINT,
)
PAPER_ALIGNMENT = Schedule(
    steps=25_000,  # four passes over GTA5
    batch_size=4,
    optimizer=Optimizer(learning_rate=2e-6, schedule="constant", head_multiple=10.0),
    augmentation=Augmentation(scale=(0.5, 1.5)),
    batch_norm="frozen",
    checkpoint_every=PAPER_CHECKPOINT,
)
PAPER_ROUND = Schedule(
    steps=1250,  # two passes over 748 source and 505 target images, one of each a step
    batch_size=1,
    optimizer=Optimizer("sgd", learning_rate=5e-5, schedule="constant", head_multiple=10.0),
    augmentation=Augmentation(scale=(0.5, 1.5)),
    batch_norm="frozen",
    checkpoint_every=PAPER_CHECKPOINT,
)

PAPER_ONLINE = Schedule(
    steps=40_000,
    batch_size=2,
    optimizer=Optimizer(learning_rate=6e-5, weight_decay=0.01, power=1.0, ramp_steps=1500, head_multiple=10.0),
    augmentation=Augmentation(scale=(1.0, 1.0)),
    batch_norm="frozen",
    checkpoint_every=PAPER_CHECKPOINT,
)

PAPER_TRANSLATION = replace(
    SMALL_TRANSLATION,
    steps=125_000,  # BDL: 20 passes over GTA5, four crops a step
    batch_size=4,
    checkpoint_every=PAPER_CHECKPOINT,
)


def _streets(style: str, split: str, count: int) -> Domain:
    return Domain(reader="streetsim", style=style, split=split, count=count)


def _published(
    title: str, source: Domain, target: Domain, evaluation: Domain, label_space: str, note: str = ""
) -> Data:
    of_cityscapes = (15 / 512, 120 / 512, 0.0, 0.0)  # DAFormer's rows
    margins = of_cityscapes if target.reader == "cityscapes" else (0.0, 0.0, 0.0, 0.0)
    return Data(
        title=title,
        label_space=label_space,
        source=source,
        target=target,
        evaluation=evaluation,
        size=(1024, 2048),
        crop=(512, 1024),
        schedules={
            "warm_up": PAPER_WARM_UP,
            "alignment": PAPER_ALIGNMENT,
            "rounds": PAPER_ROUND,
            "online": PAPER_ONLINE,
            "translation": PAPER_TRANSLATION,
        },
        label_margins=margins,
        translator=Translator(width=1024),  # as BDL; translated at the data's size the images would be sharper
        network="deeplab_v2_resnet101",
        weights="imagenet",
        output_stride=8,
        note=note,
    )


def _embedded(title: str, style: str) -> Data:
    """The game streets and those of another style, small enough for two cores."""
    return Data(
        title=title,
        label_space="cityscapes19",
        source=_streets("game", "train", 450),
        source_evaluation=_streets("game", "val", 100),
        target=_streets(style, "train", 300),
        evaluation=_streets(style, "val", 100),
        size=(128, 256),
        crop=(128, 256),
        schedules={
            "warm_up": SMALL_WARM_UP,
            "alignment": SMALL_ALIGNMENT,
            "rounds": SMALL_ROUND,
            "online": SMALL_ONLINE,
            "translation": SMALL_TRANSLATION,
        },
        most_rounds=1,  # the job shall end in ten minutes: a second costs more than one, for less than a point
        loss_stride=4,
        mined_crops=False,
        translator=SMALL_TRANSLATOR,
        minimum_source_images=400,
        keep_source=True,
        strong_blend=0.5,
    )


DATA: dict[str, Data] = {
    "streetsim": _embedded("built-in streets, game -> city", "city"),
    "streetsim_dusk": _embedded("built-in streets, game -> dusk (harder)", "dusk"),
    "streetsim_camvid": Data(
        title="built-in streets -> your street photos, 11 CamVid classes",
        label_space="camvid11",
        source=_streets("random", "train", 1000),
        source_evaluation=_streets("random", "val", 100),
        target=Domain(reader="images"),
        size=(240, 320),
        crop=(240, 320),
        schedules={
            "warm_up": PHOTO_WARM_UP,
            "alignment": PHOTO_ALIGNMENT,
            "rounds": replace(PHOTO_ROUND, steps=750),
            "online": PHOTO_ONLINE,
            "translation": PHOTO_TRANSLATION,
        },
        most_rounds=1,  # the job shall end in 40 minutes on two cores; two rounds of 250 steps gained less
        mined_crops=False,
        translator=SMALL_TRANSLATOR,
        minimum_source_images=400,
        keep_source=True,
        strong_blend=0.5,
        network="deeplab_v3plus_mobilenet_v2",
        weights="imagenet",
        note="labelled photos are found beside --target-root (val/) or given by --eval-root",
    ),
    "folders": Data(
        title="your labelled images -> your unlabelled images",
        label_space="cityscapes19",
        source=Domain(reader="folders"),
        target=Domain(reader="images"),
        size=(256, 512),
        crop=(256, 512),
        schedules={
            "warm_up": PHOTO_WARM_UP,
            "alignment": PHOTO_ALIGNMENT,
            "rounds": PHOTO_ROUND,
            "online": PHOTO_ONLINE,
            "translation": PHOTO_TRANSLATION,
        },
        mined_crops=False,
        translator=SMALL_TRANSLATOR,
        minimum_source_images=400,
        keep_source=True,
        strong_blend=0.5,
        network="deeplab_v3plus_mobilenet_v2",
        weights="imagenet",
        note="--source-root holds images/ and labels/; --classes names the classes, --eval-root labelled photos",
    ),
    "gta5_cityscapes": _published(
        "GTA5 -> Cityscapes",
        Domain(reader="gta5"),
        Domain(reader="cityscapes", split="train"),
        Domain(reader="cityscapes", split="val"),
        "cityscapes19",
    ),
    "synthia_cityscapes": _published(
        "SYNTHIA-RAND-CITYSCAPES -> Cityscapes",
        Domain(reader="synthia"),
        Domain(reader="cityscapes", split="train"),
        Domain(reader="cityscapes", split="val"),
        "synthia16",
        note="reports the 16 and the 13 class mIoU",
    ),
    "gta5_bdd100k": _published(
        "GTA5 -> BDD100K",
        Domain(reader="gta5"),
        Domain(reader="bdd100k", split="train"),
        Domain(reader="bdd100k", split="val"),
        "cityscapes19",
    ),
    "cityscapes_robotcar": _published(
        "Cityscapes -> Oxford RobotCar",
        Domain(reader="cityscapes", split="train"),
        Domain(reader="robotcar", split="train"),
        Domain(reader="robotcar", split="val"),
        "robotcar9",
    ),
    **{
        f"cityscapes_{city.lower()}": _published(
            f"Cityscapes -> NTHU Cross-City, {city}",
            Domain(reader="cityscapes", split="train"),
            Domain(reader="cross_city", split="train", city=city),
            Domain(reader="cross_city", split="test", city=city),
            "cross_city13",
        )
        for city in ("Rome", "Rio", "Tokyo", "Taipei")
    },
}

EMBEDDED = ("streetsim", "streetsim_dusk")
"""Pairs that need no file of the user's."""

PUBLISHED = tuple(name for name, pair in DATA.items() if pair.schedules["rounds"] is PAPER_ROUND)
"""Pairs of published data sets, with the schedules of the papers."""
