"""Keras optimisers with the head's own learning rate, and the schedules of the papers."""

import keras

from training.settings import Optimizer


class _GlobalGradients:
    """Takes gradients that are summed over the replicas already; mixed in before a Keras optimiser.

    Keras would sum them itself, but after it has clipped each replica's by its own norm.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars


class _HeadMultiple(_GlobalGradients):
    """Multiplies the learning rate of the variables it is told of."""

    def set_multiples(self, head_variables, multiple: float) -> None:
        self._head_variables, self._multiple = list(head_variables), multiple

    def build(self, variables):
        super().build(variables)
        self._head_indices = {self._get_variable_index(variable) for variable in self._head_variables}

    def update_step(self, gradient, variable, learning_rate):
        factor = self._multiple if self._get_variable_index(variable) in self._head_indices else 1.0
        super().update_step(gradient, variable, learning_rate * factor)


class SGD(_HeadMultiple, keras.optimizers.SGD):
    """Momentum SGD with a head multiple."""


class AdamW(_HeadMultiple, keras.optimizers.AdamW):
    """AdamW with a head multiple."""


class Adam(_GlobalGradients, keras.optimizers.Adam):
    """Adam, for discriminators."""


class RampedPoly(keras.optimizers.schedules.LearningRateSchedule):
    """`base * (1 - step / steps) ** power` after a linear ramp over the first `ramp_steps`; power 0 is constant."""

    def __init__(self, base: float, steps: int, power: float, ramp_steps: int = 0):
        self.base, self.steps, self.power, self.ramp_steps = base, steps, power, ramp_steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        remaining = keras.ops.maximum(1.0 - step / self.steps, 0.0)
        ramp = keras.ops.minimum((step + 1.0) / max(self.ramp_steps, 1), 1.0)
        return self.base * ramp * remaining**self.power

    def get_config(self):
        return {"base": self.base, "steps": self.steps, "power": self.power, "ramp_steps": self.ramp_steps}


def build_optimizer(settings: Optimizer, steps: int, head_variables, average_weights: float | None = None):
    """The optimiser of one stage of `steps` steps.

    Weight decay is decoupled (variable -= lr * decay * variable) and spares biases and batch-norm parameters, as the
    published codes do. `average_weights` is the decay of a moving average that replaces the weights after the stage.
    """
    power = settings.power if settings.schedule == "poly" else 0.0
    common = {
        "learning_rate": RampedPoly(settings.learning_rate, steps, power, settings.ramp_steps),
        "weight_decay": settings.weight_decay,
        "global_clipnorm": settings.clip_norm,
        "use_ema": average_weights is not None,
        "ema_momentum": average_weights if average_weights is not None else 0.99,
    }
    optimizer = SGD(momentum=settings.momentum, **common) if settings.name == "sgd" else AdamW(**common)
    optimizer.set_multiples(head_variables, settings.head_multiple)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    if keras.mixed_precision.dtype_policy().name == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
