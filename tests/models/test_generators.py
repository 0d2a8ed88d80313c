"""The random generators of a model: which there are, and that they can be started again."""

import keras
import numpy as np

from models.generators import generator_states, restart_generators
from models.layers import Dropout


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), Dropout(0.5)])
    features = keras.Input((8,))
    return keras.Model(features, Dropout(0.5)(keras.layers.GaussianNoise(1.0)(inner(features))))


def test_generators_of_nested_models_are_found_and_no_weight_is_one():
    model = nested()
    states = generator_states(model)
    assert [tuple(state.shape) for state in states] == [(2,)] * 3
    assert not {id(state) for state in states} & {id(weight) for weight in model.weights}
    assert generator_states(keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])) == []


def test_started_again_they_draw_the_same_noise_and_of_another_seed_other_noise():
    features, draws = np.ones((2, 8), np.float32), []
    for seed in ((3, 1), (3, 1), (4, 1), (3, 2)):
        model = nested()
        model.set_weights([np.eye(8), np.zeros(8)])
        restart_generators(model, *seed)
        draws.append([model(features, training=True).numpy() for _ in range(2)])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert all((draws[0][0] != other[0]).any() for other in draws[2:])
    assert (draws[0][0] != draws[0][1]).any()


def test_generators_of_one_model_draw_different_noise():
    model = nested()
    restart_generators(model, 0)
    seeds = [tuple(state.numpy()) for state in generator_states(model)]
    assert len(set(seeds)) == 3
