"""The networks: plain functional Keras, from an image to logits and features; they know nothing of training."""
