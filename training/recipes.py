"""Every recipe, declared once: `python training/run.py --recipe NAME`; `--list` says what to expect of each.

What is not stated has the documented default of `settings/`. Constants are the papers', in the papers' units; sizes,
steps and learning rates come with the data (`presets.py`). `measured`: time and mIoU on the built-in streets, 17.1
without adaptation (online 16.8; tests/benchmarks/README.md); `published`: the paper's result in its own setting.
"""

from training.settings.experiment import Recipe
from training.settings.losses import (
    Consistency,
    FeatureDistance,
    Losses,
    Masked,
    Mixture,
    Mrkld,
    PixelContrast,
    PrototypeContrast,
    RegionRegularisation,
)
from training.settings.sampling import CopyPaste, RareClassMining, RareClassSampling, SoftBalance, SourceShare
from training.settings.selectors import (
    ClassBalanced,
    EntropyMixture,
    GlobalThreshold,
    InstanceAdaptive,
    LabelEntropy,
    SpatialPrior,
)
from training.settings.stages import Alignment, KeptAdversary, Online, Rounds, WarmUp
from training.settings.teacher import MeanTeacher, RunningThresholds
from training.settings.translation import Fda

CBST = (
    "Zou et al., Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced Self-Training, ECCV 2018"
)
ADAPTSEG = "Tsai et al., Learning to Adapt Structured Output Space for Semantic Segmentation, CVPR 2018"
ADVENT = "Vu et al., ADVENT: Adversarial Entropy Minimization for Domain Adaptation, CVPR 2019"
IAST = "Mei et al., Instance Adaptive Self-Training for Unsupervised Domain Adaptation, ECCV 2020"
HIAST = "Zhu et al., Hard-aware Instance Adaptive Self-training, TPAMI 2025"
CRST = "Zou et al., Confidence Regularized Self-Training, ICCV 2019"
DACS = "Tranheden et al., DACS: Domain Adaptation via Cross-domain Mixed Sampling, WACV 2021"
DAFORMER = (
    "Hoyer et al., DAFormer: Improving Network Architectures and Training Strategies for Domain-Adaptive Semantic "
    "Segmentation, CVPR 2022"
)
MIC = "Hoyer et al., MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation, CVPR 2023"
UPLR = "Wang et al., Uncertainty-aware Pseudo Label Refinery for Domain Adaptive Semantic Segmentation, ICCV 2021"
PGPC = (
    "Xiang et al., Pseudolabel guided pixels contrast for domain adaptive semantic segmentation, "
    "Scientific Reports 14, 2024"
)
DRSL = (
    "Iqbal et al., Distribution Regularized Self-Supervised Learning for Domain Adaptation of Semantic Segmentation, "
    "Image and Vision Computing 2022"
)
PGPC_FIGURES = (
    "+5.1 % of DAFormer's mIoU on GTA5 -> Cityscapes, +4.6 % on SYNTHIA; derived from its 68.3 and 60.9: 71.8 and "
    "63.7 (MiT-B5, 60,000 steps)"
)
HALVE_EVERY_TWO_ROUNDS = 2**-0.5
IAST_DECAY = (2 / 3) ** 0.5  # 3e-5, 2.5e-5, 2e-5
HIAST_DECAY = (1 / 3) ** 0.5  # 3e-6 in the first round, 1e-6 in the third
CRST_SOURCE = SourceShare(share=0.03, step=0.0025, maximum=0.06, policy="random")
CRST_MINING = RareClassMining(probability=0.8, classes=0, threshold=1e-3, domains="target")


def drsl(mixture: Mixture) -> Rounds:
    """CBST's rounds in CRST's program, which DRSL's source model comes from, with the second head."""
    return Rounds(
        rounds=3,
        selector=ClassBalanced(portion=0.20),
        source_share=CRST_SOURCE,
        mining=CRST_MINING,
        mixture=mixture,
    )


RECIPES: dict[str, Recipe] = {
    "source_only": Recipe(
        paper="no adaptation: the number every recipe must beat",
        measured="4 minutes, 17.1",
        published="GTA5 -> Cityscapes 35.4 (ResNet-38), 33.4 (DeepLab-v2 ResNet-101)",
    ),
    "oracle": Recipe(
        paper="trained with the target's labels, for the steps of the warm-up: what labels are worth",
        measured="4 minutes, 36.1",
        warm_up=WarmUp(domain="target"),
    ),
    "st": Recipe(
        paper=CBST,
        measured="6 minutes, 29.9",
        published="GTA5 -> Cityscapes 28.1 (FCN8s-VGG16); SYNTHIA 32.2 (ResNet-38)",
        adaptation=Rounds(
            rounds=3,
            selector=GlobalThreshold(portion=0.20),
            mining=RareClassMining(),
            learning_rate_decay=HALVE_EVERY_TWO_ROUNDS,
        ),
    ),
    "st_sp": Recipe(
        paper=CBST,
        measured="6 minutes, 30.6",
        published="GTA5 -> BDD100K 39.5 (ResNet-38)",
        adaptation=Rounds(
            rounds=3,
            selector=GlobalThreshold(portion=0.15, spatial_prior=SpatialPrior()),
            mining=RareClassMining(),
            learning_rate_decay=HALVE_EVERY_TWO_ROUNDS,
        ),
    ),
    "cbst": Recipe(
        paper=CBST,
        measured="6 minutes, 30.7",
        published="GTA5 -> Cityscapes 45.2 (ResNet-38), SYNTHIA 42.5 / 48.4",
        adaptation=Rounds(
            rounds=3,
            selector=ClassBalanced(portion=0.20),
            source_share=SourceShare(share=0.02),
            mining=RareClassMining(),
            learning_rate_decay=HALVE_EVERY_TWO_ROUNDS,
        ),
    ),
    "cbst_sp": Recipe(
        paper=CBST,
        measured="7 minutes, 31.4",
        published="GTA5 -> Cityscapes 46.2 (ResNet-38), 47.0 with multi-scale testing",
        adaptation=Rounds(
            rounds=3,
            selector=ClassBalanced(portion=0.15, spatial_prior=SpatialPrior()),
            mining=RareClassMining(),
            learning_rate_decay=HALVE_EVERY_TWO_ROUNDS,
        ),
    ),
    "lrent": Recipe(
        paper=CRST,
        measured="6 minutes, 30.4",
        published="GTA5 -> Cityscapes 46.5 (DeepLab-v2 ResNet-101)",
        adaptation=Rounds(
            rounds=3,
            selector=LabelEntropy(portion=0.20, alpha=0.25),
            source_share=CRST_SOURCE,
            mining=CRST_MINING,
        ),
    ),
    "mrkld": Recipe(
        paper=CRST,
        measured="6 minutes, 30.8",
        published="GTA5 -> Cityscapes 47.4 (DeepLab-v2 ResNet-101)",
        adaptation=Rounds(
            rounds=3,
            selector=ClassBalanced(portion=0.20),
            source_share=CRST_SOURCE,
            mining=CRST_MINING,
            losses=Losses(mrkld=Mrkld(weight=0.01)),
        ),
    ),
    "adaptseg": Recipe(
        paper=ADAPTSEG,
        measured="6 minutes, 29.0 (the watch took the 28.3 of the statistics)",
        published="GTA5 -> Cityscapes 41.4 (DeepLab-v2 ResNet-101, one level)",
        alignment=Alignment(map="softmax", loss="bce", weight=0.001),
    ),
    "advent": Recipe(
        paper=ADVENT,
        measured="6 minutes, 29.1 (the watch took the 28.3 of the statistics)",
        published="GTA5 -> Cityscapes 43.8 (DeepLab-v2 ResNet-101)",
        alignment=Alignment(map="self_information", loss="bce", weight=0.001),
    ),
    "iast": Recipe(
        paper=IAST,
        measured="7 minutes, 30.6",
        published="GTA5 -> Cityscapes 51.5, 52.2 with multi-scale testing (DeepLab-v2 ResNet-101)",
        alignment=Alignment(discriminator_learning_rate=2e-5, first_kernel=3),
        adaptation=Rounds(
            rounds=3,
            selector=InstanceAdaptive(alpha=0.2, alpha_step=0.05),
            source_share=None,
            losses=Losses(regions=RegionRegularisation(divergence=0.1, entropy=3.0)),
            learning_rate_decay=IAST_DECAY,
        ),
    ),
    "hiast": Recipe(
        paper=HIAST,
        measured="12 minutes, 35.8",
        published="GTA5 -> Cityscapes 56.3, SYNTHIA 53.5 / 60.3 (DeepLab-v2 ResNet-101)",
        alignment=Alignment(),
        adaptation=Rounds(
            rounds=3,
            selector=InstanceAdaptive(alpha=0.5),
            source_share=None,
            copy_paste=CopyPaste(),
            mean_teacher=MeanTeacher(),
            strong_views=True,
            losses=Losses(
                regions=RegionRegularisation(divergence=0.1, entropy=1.0), consistency=Consistency(weight=0.5)
            ),
            learning_rate_decay=HIAST_DECAY,
        ),
    ),
    "uplr": Recipe(
        paper=UPLR,
        measured="41 minutes on one busy core, 32.1",
        published="GTA5 -> Cityscapes 52.6, SYNTHIA 48.0 / 54.6 (DeepLab-v2 ResNet-101)",
        translation=Fda(),  # in the place of BDL's images, which the paper trained on: --translated-root; or CycleGan
        alignment=Alignment(loss="bce", weight=0.001, rounds=3, sampler=SoftBalance(classes="half")),
        adaptation=Rounds(
            rounds=1,
            selector=EntropyMixture(),
            source_share=SourceShare(share=1.0, step=0.0, maximum=1.0),
            adversarial_term=KeptAdversary(),
            domain_means=True,
        ),
    ),
    "drsl": Recipe(
        paper=DRSL,
        measured="16 minutes on one core, 29.9",
        published="GTA5 -> Cityscapes 47.6, SYNTHIA 45.9 / 52.0 (DeepLab-v2 ResNet-101)",
        translation=Fda(alongside=True, warm_up=False),  # in the place of CyCADA's images: --translated-root
        adaptation=drsl(Mixture()),
    ),
    "drsl_plus": Recipe(
        paper=f"{DRSL}; with mode consistency",
        measured="16 minutes on one core, 29.9",
        published="GTA5 -> Cityscapes 47.8, SYNTHIA 46.7 / 53.2 (DeepLab-v2 ResNet-101)",
        translation=Fda(alongside=True, warm_up=False),
        adaptation=drsl(Mixture(consistency=0.1)),
    ),
    "dacs": Recipe(
        paper=DACS,
        measured="10 minutes, 34.8",
        published="GTA5 -> Cityscapes 52.1, SYNTHIA 48.3 / 54.8 (DeepLab-v2 ResNet-101)",
        adaptation=Online(),
    ),
    "daformer": Recipe(
        paper=DAFORMER,
        measured="10 minutes, 36.9",
        published="GTA5 -> Cityscapes 68.3, SYNTHIA 60.9 / 67.4 (MiT-B5)",
        adaptation=Online(rare_class_sampling=RareClassSampling(), losses=Losses(feature_distance=FeatureDistance())),
    ),
    "mic": Recipe(
        paper=MIC,
        measured="20 minutes on one core, 35.6",
        published="GTA5 -> Cityscapes 75.9 (on HRDA, MiT-B5)",
        adaptation=Online(
            rare_class_sampling=RareClassSampling(),
            losses=Losses(feature_distance=FeatureDistance(), masked=Masked()),
        ),
    ),
    "best": Recipe(
        paper="what measured best: on photos logit adjustment (ICLR 2021) with label shift, then a round with the soft "
        "labels of two scales (LRENT of CRST, ICCV 2019), its result three quarters of the way from the model before "
        "to the trained one (WiSE-FT, CVPR 2022); other data have other parts",
        published="none: of parts of DAFormer, IAST, CRST, WiSE-FT and logit adjustment",
        adaptation=Online(
            rare_class_sampling=RareClassSampling(),
            mean_teacher=MeanTeacher(decay=0.999, decay_steps=40_000, ramp=True),
            weighting=RunningThresholds(),
        ),
    ),
    "pgpc": Recipe(
        paper=PGPC,
        measured="10 minutes, 36.6",
        published=PGPC_FIGURES,
        adaptation=Online(
            rare_class_sampling=RareClassSampling(),
            losses=Losses(feature_distance=FeatureDistance(), contrast=PrototypeContrast()),
            target_weight=0.8,
        ),
    ),
    "pgpc_code": Recipe(
        paper=f"{PGPC}; with the contrast of the released program",
        measured="36 minutes on one core, 33.6",
        published="none of its own: see pgpc",
        adaptation=Online(
            rare_class_sampling=RareClassSampling(),
            losses=Losses(feature_distance=FeatureDistance(), contrast=PixelContrast()),
            target_weight=0.8,
        ),
    ),
}
