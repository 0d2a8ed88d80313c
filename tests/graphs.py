"""How TensorFlow runs the graphs of tests, in their own process and in those that they start."""


def run_graphs_as_traced(wanted: bool) -> None:
    """Without (True) or with (False) its optimiser of graphs."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": wanted})
