"""FedProx's proximal term, which keeps a node's model near the global one."""

from client.device import as_task_array
from client.model import is_trained
from client.mx import gluon, mx


class ProximalTerm:
    """FedProx's penalty for the distance of parameters from the global model's.

    Args:
        parameters: those that may be trained, as the server sent them; their values are copied.
        mu: the weight, PROXIMAL_MU; if it is 0, nothing is copied.
    """

    def __init__(self, parameters: list[gluon.Parameter], mu: float) -> None:
        self._mu = mu
        self._starts = {p: p.list_data()[0].copy() for p in parameters} if mu > 0 else {}
        self.was_pulled = False

    def loss(self, net: gluon.Block, device: mx.Context) -> mx.nd.NDArray:
        """Return the term for the trained parameters of a network or a part of it.

        Args:
            net: contains only parameters that were passed to the constructor.
            device: one of the network's devices.

        Returns:
            float32 (1,), on the device.
        """
        self.was_pulled = True
        total = as_task_array(mx.nd.zeros((1,), ctx=device))
        if self._mu > 0:
            for parameter in filter(is_trained, net.collect_params().values()):
                distance = parameter.data(device) - self._starts[parameter]
                total = total + (distance.astype("float32") ** 2).sum()
        return total * (self._mu / 2)

    def add_gradients(self, batch_size: int) -> None:
        """Add the term's gradient times the batch size, by which the optimizer divides.

        With several devices, the gradients are summed later, so the term is added on the first one only.
        """
        for parameter, start in self._starts.items():
            gradient = parameter.list_grad()[0]
            gradient += (self._mu * batch_size) * (parameter.list_data()[0] - start)
