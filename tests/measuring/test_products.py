"""MACs of many layers and of random networks of them, against counts by hand."""

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.library import custom_op

from benchmarks.measuring import costs
from benchmarks.measuring.costs import Macs
from benchmarks.measuring.products import CountError
from tests.measuring.layers import LAYERS, Apply, Weighted

IMAGE = (3, 32, 32)
pytestmark = pytest.mark.filterwarnings("ignore")


def small(module):
    """The module on the 4 x 4 corner of the image."""
    return nn.Sequential(Apply(lambda x: x[:, :, :4, :4]), module)


def test_there_are_many_layers():
    assert len(LAYERS) >= 60


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(name):
    layer = LAYERS[name]((3, 4, 4))
    assert costs.count_macs(small(layer.module)) == Macs(layer.per_image, layer.per_batch)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        assert layer.module.eval()(torch.randn(2, 3, 4, 4)).shape == (2, *layer.out)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(LAYERS)), min_size=2, max_size=6))
def test_random_networks(names):
    shape, modules, per_image, per_batch = (3, 4, 4), [], 0, 0
    for name in names:
        layer = LAYERS[name](shape)
        if np.prod(layer.out) > 2000:
            continue
        shape = layer.out
        modules.append(layer.module)
        per_image += layer.per_image
        per_batch += layer.per_batch
    head = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 10))
    model = small(nn.Sequential(*modules, head))
    expected = Macs(per_image + 10 * int(np.prod(shape)), per_batch)
    assert costs.count_macs(model) == expected


class NumPy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.detach().numpy() @ np.ones((32, 5), np.float32))


@custom_op("tests::hidden_product", mutates_args=())
def hidden_product(x: torch.Tensor) -> torch.Tensor:
    return x @ x


UNCOUNTABLE = {
    "fft": (lambda x: torch.fft.fft2(x).abs(), "fft_c2c"),
    "inverse": (lambda x: torch.linalg.inv(x + torch.eye(32)), "linalg_inv"),
    "solve": (lambda x: torch.linalg.solve(x + torch.eye(32), x), "linalg_solve"),
    "matrix_exponential": (torch.linalg.matrix_exp, "matrix_exp"),
    "custom_operator": (hidden_product, "tests::hidden_product"),
    "numpy": (lambda x: torch.from_numpy(x.numpy() @ x.numpy()), "numpy"),
    "array": (lambda x: torch.from_numpy(np.asarray(x) @ np.asarray(x)), "__array__"),
    "numpy_in_a_function": (NumPy.apply, "numpy"),
    "sparse": (lambda x: torch.sparse.mm(torch.eye(32).to_sparse(), x[0, 0]), "sparse"),
    "manhattan": (lambda x: torch.cdist(x[..., :4], x[..., :4], p=1), "p = 1"),
    "batch_by_batch": (lambda x: x.flatten(1) @ x.flatten(1).T, "no number per image"),
}


@pytest.mark.parametrize("name", UNCOUNTABLE)
def test_what_cannot_be_counted_is_named(name):
    function, message = UNCOUNTABLE[name]
    with pytest.raises(CountError, match=message):
        costs.count_macs(Apply(function))


def test_a_formula_of_a_plugin():
    @custom_op("tests::own_product", mutates_args=())
    def own_product(x: torch.Tensor) -> torch.Tensor:
        return x @ x

    @torch.utils.flop_counter.register_flop_formula(torch.ops.tests.own_product)
    def flops(shape, out_shape=None):
        return 2 * shape[0] * 77

    assert costs.count_macs(Apply(own_product)) == Macs(77, 0)


def test_a_complex_number_is_two_parameters():
    model = Weighted(lambda x, w: x @ w.abs(), 32, 5, dtype=torch.complex64)
    assert sum(costs.count_parameters(model).values()) == 320
    model.weight.requires_grad_(False)
    assert costs.count_frozen(model) == 320


def test_a_weight_that_comes_first_is_counted_by_its_batch():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 4, 4)
            self.weight = nn.Parameter(torch.randn(64, 64))
            self.head = nn.Linear(16, 10)

        def forward(self, x):
            t = self.patches(x).flatten(2).transpose(1, 2)
            return self.head((t + self.weight @ t).mean(1))

    assert costs.count_macs(Mixer()) == Macs(114848, 0)


def by_hooks(model):
    """The MACs of an image, from the shapes that convolutions and linear layers see."""
    macs = []

    def of_convolution(module, inputs, out):
        macs.append(out[0].numel() * module.weight[0].numel())

    def of_linear(module, inputs, out):
        macs.append(out[0].numel() * module.in_features)

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(of_convolution)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(of_linear)
    model.eval()(torch.zeros(1, *IMAGE))
    return sum(macs)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0", "resnet18"])
def test_convolutional_networks_of_torchvision(name):
    model = getattr(torchvision.models, name)(num_classes=10)
    assert costs.count_macs(model) == Macs(by_hooks(model), 0)


@pytest.mark.slow
def test_a_vision_transformer():
    model = torchvision.models.vit_b_16(image_size=32, num_classes=10)
    tokens, width = 2 * 2 + 1, 768
    layer = tokens * (4 * width**2 + 2 * width * 3072) + 2 * tokens**2 * width
    patches = 4 * width * 16 * 16 * 3
    assert costs.count_macs(model) == Macs(12 * layer + patches + width * 10, 0)
