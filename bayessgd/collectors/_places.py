"""Where a network keeps its parameters, so that a collector notices those that were replaced.

A collector holds the tensors that an optimizer changes in place. A parameter that is replaced (by
`load_state_dict(assign=True)`, a new layer, a parametrization) leaves it with one that stands still. Looking at every
update must cost little: what is looked at is where modules and parameters were found, and only where one of these
places has changed are the names gone through.
"""

import weakref
from collections.abc import Sequence

from torch import Tensor, nn

from bayessgd.params import clean_name

__all__ = ["Places"]


class Places:
    """The parameters of a network and their places; it does not keep the network alive, and copies forget it.

    >>> line = nn.Linear(2, 1)
    >>> places = Places(line, list(line.parameters()), ["weight", "bias"])
    >>> line.bias = nn.Parameter(line.bias.detach().clone())
    >>> places.replaced()
    'bias'
    """

    def __init__(self, network: nn.Module, parameters: Sequence[Tensor], names: Sequence[str]) -> None:
        self._parameters, self._names = list(parameters), list(names)
        self._network: weakref.ref[nn.Module] | None = weakref.ref(network)
        self._look()

    def _look(self) -> None:
        network = self._network and self._network()
        own = {id(parameter) for parameter in self._parameters}
        self._children, self._leaves = [], []
        for module in () if network is None else network.modules():
            here = weakref.ref(module)
            for name, child in module._modules.items():
                if child is not None:
                    self._children.append((here, name, weakref.ref(child)))
            for name, parameter in module._parameters.items():
                if id(parameter) in own:
                    self._leaves.append((here, name, parameter))

    def replaced(self) -> str | None:
        """Return the name of a parameter that is no longer the network's, or None."""
        network = self._network and self._network()
        if network is None or self._unchanged():
            return None
        now = {clean_name(name): p for name, p in network.named_parameters(remove_duplicate=False)}
        for name, parameter in zip(self._names, self._parameters, strict=True):
            if now.get(name) is not parameter:
                return name
        self._look()  # another layer was replaced, without parameters of these
        return None

    def _unchanged(self) -> bool:
        for place, name, child in self._children:
            module = place()
            if module is None or module._modules.get(name) is not child():
                return False
        for place, name, parameter in self._leaves:
            module = place()
            if module is None or module._parameters.get(name) is not parameter:
                return False
        return True

    def __getstate__(self) -> dict[str, object]:
        """Leave the network out of copies and pickles, whose parameters are copies."""
        return self.__dict__ | {"_network": None, "_children": [], "_leaves": []}
