"""The random generators of a model's layers (dropout): their states, and how to start them again.

Keras keeps the state of a `SeedGenerator` in `variables` but not in `weights`.
"""

import keras
import numpy as np


def generator_states(model: keras.Model) -> list[keras.Variable]:
    """The state of every random generator of `model`, nested models included: each uint32 or int32 `[2]`."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def restart_generators(model: keras.Model, *seed: int) -> None:
    """Start every random generator of `model` from `seed`: what it draws from here on depends on `seed` alone.

    Args:
        seed: integers from 0; other numbers give independent noise.
    """
    for index, state in enumerate(generator_states(model)):
        first = np.random.SeedSequence((*seed, index)).generate_state(1)[0] >> 1  # TensorFlow's seeds are signed
        state.assign(np.array([first, 0], state.dtype))
