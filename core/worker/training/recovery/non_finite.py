"""Numbers that are NaN or infinite: the loss, the gradient or the weights."""


class NonFiniteError(Exception):
    """The loss, the gradient or the weights are NaN or infinite: more training would only spread it."""
