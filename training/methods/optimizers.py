"""Keras optimisers with the head's own learning rate, and the schedules of the papers."""

import keras
import tensorflow as tf

from training.settings.schedule import Optimizer


class _Fused:
    """Mixed in before a Keras optimiser: one TensorFlow operator per variable instead of Keras' dozen.

    What all variables share is computed once per step. The numbers are Keras'; the graph is a third as large.

    Gradients must be summed over the replicas already: Keras would sum them only after it has clipped each replica's by
    its own norm. The learning rate of chosen variables is multiplied (`set_multiples`).
    """

    _head_variables, _multiple = (), 1.0

    def set_multiples(self, head_variables, multiple: float) -> None:
        self._head_variables, self._multiple = list(head_variables), multiple

    def build(self, variables):
        super().build(variables)
        self._head_indices = {self._get_variable_index(variable) for variable in self._head_variables}

    def begin_late(self) -> None:
        """The late variables (`set_late`) get their first gradients in the next step; here nothing depends on it."""

    def restart(self, variable, anew) -> None:
        """After entries of a variable were given other values: their average begins there, and they stand still.

        Args:
            anew: bool, of a shape that broadcasts to that of the variable: which entries.
        """
        index = self._get_variable_index(variable)
        if self.use_ema:
            average = self._model_variables_moving_average[index]
            average.assign(tf.where(anew, tf.convert_to_tensor(variable), tf.convert_to_tensor(average)))
        self._stop(index, anew)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars

    def _clip_gradients(self, gradients):
        """With TensorFlow's operator, which makes no squared copies."""
        return tf.clip_by_global_norm(gradients, self.global_clipnorm)[0] if self.global_clipnorm else gradients

    def _apply_weight_decay(self, variables):
        """Nothing here: `update_step` does it, with the learning rate of the variable."""

    def _backend_update_step(self, gradients, variables, learning_rate):
        super()._backend_update_step(gradients, variables, (learning_rate, self.powers()))

    def update_step(self, gradient, variable, shared):
        rate, powers = shared
        index = self._get_variable_index(variable)
        rate = rate * self._multiple if index in self._head_indices else rate
        if self.weight_decay is not None and self._use_weight_decay(variable):
            with tf.control_dependencies([gradient]):  # earlier, the backward pass would need a copy of the variable
                gradient = self.decay(variable, gradient, rate)
        self.move(variable, gradient, rate, powers, index)

    def decay(self, variable, gradient, rate):
        """Decoupled: variable -= rate * weight_decay * variable; the gradient as it was."""
        variable.assign_sub(variable * (self.weight_decay * rate))
        return gradient

    def _update_model_variables_moving_average(self, variables):
        """At the first step the average is the variable itself."""
        if self.use_ema:
            momentum = keras.ops.cast(self.iterations > 0, "float32") * self.ema_momentum
            for variable, average in zip(variables, self._model_variables_moving_average, strict=True):
                average.assign(momentum * average + (1 - momentum) * variable)


class SGD(_Fused, keras.optimizers.SGD):
    """SGD, with momentum or without. Weight decay is a part of the gradient, as PyTorch's, which the published systems
    use: with a momentum of 0.9 a variable shrinks ten times as fast as by decoupled decay."""

    def decay(self, variable, gradient, rate):
        return gradient + self.weight_decay * variable

    def powers(self) -> tuple:
        return ()

    def move(self, variable, gradient, rate, powers, index) -> None:
        """v = momentum v - rate gradient; variable += v."""
        handle = variable.handle
        if self.momentum == 0:
            tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=rate, delta=gradient)
            return
        velocity, momentum = self.momentums[index].value.handle, self.momentum
        tf.raw_ops.ResourceApplyKerasMomentum(var=handle, accum=velocity, lr=rate, grad=gradient, momentum=momentum)

    def _stop(self, index, anew) -> None:
        if self.momentum != 0:
            _zero(self.momentums[index], anew)


class _FusedAdam(_Fused):
    """The update of Adam (ICLR 2015), in the order of operations at the end of its section 2.

    Variables that have no gradient before some step (`set_late`) count their steps from there (`begin_late`): with the
    number of all steps, their means would count as settled, and their first steps would be several times too long.
    """

    _late_variables, _late_indices, _first_late = (), frozenset(), None

    def set_late(self, variables) -> None:
        self._late_variables = list(variables)

    def build(self, variables):
        super().build(variables)
        if self._late_variables:
            self._late_indices = {self._get_variable_index(variable) for variable in self._late_variables}
            self._first_late = self.add_variable((), dtype="int64", name="first_late")

    def begin_late(self) -> None:
        self._first_late.assign(self.iterations)

    def powers(self) -> tuple:
        """The betas to the number of the step, from 1: for most variables, and for the late ones."""
        steps = [self.iterations + 1]
        if self._late_variables:
            steps.append(self.iterations + 1 - keras.ops.cast(self._first_late, self.iterations.dtype))
        betas = [keras.ops.cast(beta, "float32") for beta in (self.beta_1, self.beta_2)]
        return tuple([keras.ops.power(beta, keras.ops.cast(step, "float32")) for beta in betas] for step in steps)

    def move(self, variable, gradient, rate, powers, index) -> None:
        powers = powers[1 if index in self._late_indices else 0]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _stop(self, index, anew) -> None:
        """The mean square of the gradients stays: from 0 its first steps would be several times too long."""
        _zero(self._momentums[index], anew)


def _zero(moment, where) -> None:
    moment.assign(tf.where(where, 0.0, tf.convert_to_tensor(moment)))


class AdamW(_FusedAdam, keras.optimizers.AdamW):
    """Adam with decoupled weight decay (ICLR 2019)."""


class Adam(_FusedAdam, keras.optimizers.Adam):
    """Adam, for discriminators."""


class RampedPoly(keras.optimizers.schedules.LearningRateSchedule):
    """`base * (1 - step / steps) ** power` after a linear ramp over the first `ramp_steps`; power 0 is constant.

    With `constant_steps` it begins to fall after these: `base * ((steps - step) / (steps - constant_steps)) ** power`.
    """

    def __init__(self, base: float, steps: int, power: float, ramp_steps: int = 0, constant_steps: int = 0):
        self.base, self.steps, self.power = base, steps, power
        self.ramp_steps, self.constant_steps = ramp_steps, constant_steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        past = keras.ops.maximum(step - self.constant_steps, 0.0)
        remaining = keras.ops.maximum(1.0 - past / (self.steps - self.constant_steps), 0.0)
        ramp = keras.ops.minimum((step + 1.0) / max(self.ramp_steps, 1), 1.0)
        return self.base * ramp * remaining**self.power

    def get_config(self):
        names = ("base", "steps", "power", "ramp_steps", "constant_steps")
        return {name: getattr(self, name) for name in names}


def learning_rate(settings: Optimizer, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """The schedule of a stage of `steps` steps; with a longer horizon the stage ends before the rate has fallen."""
    rate, ramp, steps = settings.learning_rate, settings.ramp_steps, max(steps, settings.horizon)
    if settings.schedule == "cosine":
        start = {"initial_learning_rate": 0.0, "warmup_target": rate} if ramp else {"initial_learning_rate": rate}
        return keras.optimizers.schedules.CosineDecay(
            decay_steps=max(steps - ramp, 1), alpha=1e-3, warmup_steps=ramp, **start
        )
    power = settings.power if settings.schedule == "poly" else 0.0
    return RampedPoly(rate, steps, power, ramp, int(settings.constant_share * steps))


def build_optimizer(
    settings: Optimizer, steps: int, head_variables, average_weights: float | None = None, late_variables=()
):
    """The optimiser of one stage of `steps` steps.

    Weight decay spares biases and batch-norm parameters. AdamW's is decoupled (variable -= lr * decay * variable, the
    head's with its own lr), SGD's is added to the clipped gradient. `average_weights` is the decay of a moving average
    that replaces the weights after the stage. `late_variables` may have no gradient before `begin_late` is called.
    """
    common = {
        "learning_rate": learning_rate(settings, steps),
        "weight_decay": settings.weight_decay,
        "global_clipnorm": settings.clip_norm,
        "use_ema": average_weights is not None,
        "ema_momentum": average_weights if average_weights is not None else 0.99,
    }
    if settings.name == "sgd":
        optimizer = SGD(momentum=settings.momentum, **common)
    else:
        optimizer = AdamW(beta_1=settings.beta_1, **common)
        optimizer.set_late(late_variables)
    optimizer.set_multiples(head_variables, settings.head_multiple)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    if keras.mixed_precision.dtype_policy().name == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
