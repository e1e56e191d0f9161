"""FedProx's proximal term, which keeps a node's model near the global one."""

from client.mx import gluon


class ProximalTerm:
    """Adds mu * (w - w_global) to the gradients of a batch.

    Args:
        parameters: those that are trained, with the global model's values.
        mu: the term's weight; 0 adds nothing.
    """

    def __init__(self, parameters: list[gluon.Parameter], mu: float) -> None:
        self._mu = mu
        self._pairs = [(p, p.data().copy()) for p in parameters] if mu > 0 else []

    def add_gradients(self, batch_size: int) -> None:
        """Add the term's gradient times the batch size: the optimizer divides by it."""
        for parameter, start in self._pairs:
            gradient = parameter.grad()
            gradient += (self._mu * batch_size) * (parameter.data() - start)
