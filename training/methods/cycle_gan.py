"""CycleGAN (ICCV 2017): two translators learn from unpaired images; with BDL's semantic term (CVPR 2019).

1. Draw a source batch and a target batch. Each generator translates its own domain, and is given the other domain too,
   which it should leave as it is (identity).
2. The translated images are brought back by the other generator (reconstruction).
3. The generators descend together: the least squares of the discriminators' scores with 1, `cycle` times the difference
   of the reconstruction, `cycle * identity` times that of the identity; and with a frozen segmenter the differences of
   its logits on the reconstruction (`cycle * reconstruction`) and on the translated image (`translation`).
4. The discriminators descend together: each half the least squares of photos with 1 and of translated images with 0,
   which come from a pool of earlier ones.

All gradients are taken before anything is updated, from the same forward passes, as in the authors' program.
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from models.replicas import over_replicas
from training.losses import least_squares
from training.losses.adversarial import discriminator_loss
from training.losses.translation import REAL, absolute_difference, semantic_difference
from training.methods.image_pool import ImagePool
from training.methods.method import Method
from training.settings.translation import CycleGan

SOURCE_POOL, TARGET_POOL = 1, 2  # of `uniform_at`
ADVERSARIAL = ("to_target", "to_source", "cycle", "identity")
SEMANTIC = ("semantic_reconstruction", "semantic_translation")
DISCRIMINATORS = ("source_discriminator", "target_discriminator")


@dataclass(frozen=True, eq=False)
class TranslatorNetworks:
    """to_target, to_source: the generators. of_source, of_target: the discriminators of images of these domains."""

    to_target: keras.Model
    to_source: keras.Model
    of_source: keras.Model
    of_target: keras.Model


class CycleGanTraining(Method):
    """Batches: `{"source": {"image", "position"}, "target": {"image", "position"}}`, images of one size.

    Args:
        networks: see `models.translator`.
        settings: weights, and the size of the pools.
        crop: (height, width) of the images.
        seed: of the stage.
        segmenter: image -> {"logits"}, is never changed; needed where the settings have a semantic term.
    """

    title = "CycleGAN"
    provides = frozenset()
    splits = False  # the pools take the whole batch

    def __init__(
        self,
        networks: TranslatorNetworks,
        settings: CycleGan,
        crop: tuple[int, int],
        seed: int,
        segmenter: keras.Model | None = None,
    ):
        super().__init__(networks.to_target, ())
        self.translators, self.settings = networks, settings
        self.segmenter = None if settings.semantic is None else segmenter
        self.source_pool = ImagePool(settings.pool, crop, seed, SOURCE_POOL)
        self.target_pool = ImagePool(settings.pool, crop, seed, TARGET_POOL)
        names = (*ADVERSARIAL, *(SEMANTIC if self.segmenter is not None else ()), *DISCRIMINATORS)
        self.trackers = [keras.metrics.Mean(name) for name in names]

    def compile(self, optimizer, discriminator_optimizer, **keywords):
        """Keras' `compile` with one optimiser for the generators and one for the discriminators."""
        super().compile(optimizer=optimizer, **keywords)
        self.discriminator_optimizer = discriminator_optimizer
        discriminator_optimizer.build(self.discriminator_variables)

    @property
    def networks(self) -> list[keras.Model]:
        networks = self.translators
        return [networks.to_target, networks.to_source, networks.of_source, networks.of_target]

    @property
    def trained_variables(self) -> list:
        """Those of both generators."""
        return [*self.translators.to_target.trainable_variables, *self.translators.to_source.trainable_variables]

    @property
    def discriminator_variables(self) -> list:
        """Those of both discriminators."""
        return [*self.translators.of_source.trainable_variables, *self.translators.of_target.trainable_variables]

    @property
    def descended_variables(self) -> list:
        """The generators', then the discriminators'."""
        return [*self.trained_variables, *self.discriminator_variables]

    @property
    def resumable_variables(self) -> list:
        pools = [self.source_pool.images, self.target_pool.images]
        return [*super().resumable_variables, *self.discriminator_optimizer.variables, *pools]

    @property
    def lasting_variables(self) -> dict[str, list]:
        """The generators, which translate the source afterwards."""
        return {name: getattr(self.translators, name).weights for name in ("to_target", "to_source")}

    def gradients_of(self, batch):
        networks, source, target = self.translators, batch["source"]["image"], batch["target"]["image"]
        rows, both = tf.shape(source)[0], tf.concat([source, target], axis=0)
        real_logits = None if self.segmenter is None else self._logits(both)
        with tf.GradientTape(persistent=True) as tape:
            # 1. Translated images, and what should stay as it is: two halves of one pass of each generator.
            of_both = networks.to_target(both, training=True)
            as_target, same_target = of_both[:rows], of_both[rows:]
            of_both = networks.to_source(both, training=True)
            same_source, as_source = of_both[:rows], of_both[rows:]
            # 2. Reconstructions.
            back = [networks.to_source(as_target, training=True), networks.to_target(as_source, training=True)]
            back = tf.concat(back, axis=0)
            # 3. The generators' loss.
            identity = absolute_difference(same_source, source) + absolute_difference(same_target, target)
            values = {
                "to_target": least_squares(networks.of_target(as_target, training=True), REAL),
                "to_source": least_squares(networks.of_source(as_source, training=True), REAL),
                "cycle": 2.0 * absolute_difference(back, both),
                "identity": identity,
            }
            if self.segmenter is not None:
                translated = tf.concat([as_target, as_source], axis=0)
                values |= self._semantic_values(real_logits, back, translated)
            loss = tf.add_n([weight * values[name] for name, weight in self.weights_of_terms.items()])
            loss = self.optimizer.scale_loss(loss)
            # 4. The discriminators', on images of the pools.
            shown = {
                "source_discriminator": (networks.of_source, self.source_pool, as_source, batch["target"], source),
                "target_discriminator": (networks.of_target, self.target_pool, as_target, batch["source"], target),
            }
            for name, (network, pool, fake, origin, real) in shown.items():
                fake_scores = network(pool.exchanged(fake, origin["position"]), training=True)
                values[name] = discriminator_loss(least_squares, fake_scores, network(real, training=True))
            discriminators = self.discriminator_optimizer.scale_loss(tf.add_n([values[name] for name in shown]))
        gradients = tape.gradient(loss, self.trained_variables)
        gradients += tape.gradient(discriminators, self.discriminator_variables)
        del tape  # a persistent tape keeps the activations of an eager step
        return [values[tracker.name] for tracker in self.trackers], gradients

    @property
    def weights_of_terms(self) -> dict[str, float]:
        """Of each summand of the generators' loss, by name."""
        settings = self.settings
        weights = {"to_target": 1.0, "to_source": 1.0, "cycle": settings.cycle}
        weights["identity"] = settings.cycle * settings.identity
        if self.segmenter is not None:
            weights["semantic_reconstruction"] = settings.cycle * settings.semantic.reconstruction
            weights["semantic_translation"] = settings.semantic.translation
        return weights

    def _semantic_values(self, real_logits, back, translated) -> dict:
        """What the segmenter sees of both domains; the factor 2 makes a mean over both their sum."""
        return {
            "semantic_reconstruction": 2.0 * semantic_difference(self._logits(back), real_logits),
            "semantic_translation": 2.0 * semantic_difference(self._logits(translated), real_logits),
        }

    def _logits(self, images):
        return self.segmenter(images, training=False)["logits"]

    def descend(self, gradients):
        """One step of both optimisers: the generators', then the discriminators'."""
        count = len(self.trained_variables)
        super().descend(gradients[:count])
        self.discriminator_optimizer.apply(over_replicas(gradients[count:]), self.discriminator_variables)
