"""Hard sharing: one kernel for the same place of every block of a stage."""

from torch import nn

from models.kernels.counts import shared_key, shared_parameters
from models.kernels.protocol import Kernel, KernelSource
from models.kernels.stored import drawn
from models.ledger import KernelShape


class SharedKernels(KernelSource):
    """The blocks of a stage but the first share one kernel per convolution of the block.

    The first block has its own kernels. This is the recurrent reading of a residual network
    (Liao & Poggio 2016); batch norms and biases stay each block's own. It shares nothing below
    depth 22. Parameters: 9 C_in C_out for each kernel that is distinct.
    """

    generated = False
    count = staticmethod(shared_parameters)

    def __init__(self, shapes: list[KernelShape]):
        super().__init__(shapes)
        for shape in shapes:
            key = shared_key(shape)
            if key not in self._parameters:
                self.register_parameter(key, nn.Parameter(drawn(shape, shape.deviation)))

    def component_of(self, parameter: str) -> str:
        """The ledger component that a parameter of this source belongs to."""
        return "kernels"

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        return [self.get_parameter(shared_key(shape)) for shape in self.shapes]
