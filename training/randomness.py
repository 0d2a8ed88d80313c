"""Random numbers of a training step as a function of (seed, position), so that nothing has to be saved for a resumed
run, and one device, several replicas and several workers draw the same for the same sample."""

import tensorflow as tf

_IN_STEP = 0x5354  # keeps these numbers apart from those of the augmentation for the same seed and position


def uniform_at(seed: int, stream_number: int, positions: tf.Tensor, count: int) -> tf.Tensor:
    """Uniform numbers in [0, 1) for each row of a batch: float32 [b, count].

    Row i depends on the seed, the stream number and positions[i] alone, not on the other rows of the batch.

    Args:
        seed: the stage's, any integer >= 0.
        stream_number: one integer per use; two uses in one step with the same number draw the same.
        positions: int64 [b], the batch's "position".
        count: numbers per row, at least 1.
    """

    def of_row(position: tf.Tensor) -> tf.Tensor:
        pair = tf.stack([tf.constant(seed, tf.int64), position])
        for number in (_IN_STEP, stream_number):
            pair = tf.random.experimental.stateless_fold_in(pair, number)
        return tf.random.stateless_uniform([count], seed=pair, alg="philox")

    return tf.map_fn(of_row, tf.cast(positions, tf.int64), fn_output_signature=tf.TensorSpec([count], tf.float32))
