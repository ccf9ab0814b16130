"""The contract of every registered model, the backbone, and materialisation."""

import pytest
import torch
from torch import nn

from benchmarks.runs import check, runner
from models import registry
from models.kernels.hyper import HyperKernels
from models.kernels.stored import StoredKernels
from models.materialize import materialize
from models.resnet import ResNet
from models.wide_resnet import WideResNet

LARGE = "28_10"


def units(name):
    """Those of a recurrent network; 0 of others."""
    recurrent = registry.get(name).recurrent
    return recurrent.units if recurrent else 0


def heavy(name):
    is_heavy = LARGE in name or "resnet40" in name or units(name) > 500
    return pytest.param(name, marks=pytest.mark.slow) if is_heavy else name


@pytest.mark.parametrize("title", check.CHECKS)
@pytest.mark.parametrize("name", [heavy(name) for name in registry.names()])
def test_contract(name, title):
    if LARGE in name and title == "weights can be saved and loaded":
        pytest.skip("two copies of 36 M parameters say nothing that 40-2 does not")
    if units(name) > 1500 and title != "parameters are counted exactly":
        pytest.skip("drawing orthogonal matrices of this size says nothing that 1000 units do not")
    check.CHECKS[title](name, runner.build(name, check.CLASSES, seed=0))


@pytest.mark.parametrize(
    "name", ["hyper_resnet10_2", "hyper_resnet16_1_projection", "wide_resnet10_1", "hyper_resnet20"]
)
def test_materialized_outputs_are_bitwise_equal(name):
    model = runner.build(name, 10, seed=3).eval()
    plain = materialize(model)
    x = torch.randn(5, 3, 32, 32)
    assert torch.equal(model(x), plain(x))
    assert model.generated is name.startswith("hyper") and not plain.generated
    registered = runner.build(registry.get(name).pair or name, 10, seed=4).eval()
    registered.load_state_dict(plain.state_dict())
    assert torch.equal(registered(x), plain(x))
    names = {f"kernels.{s.name}" for s in model.kernels.shapes}
    assert names == {key for key in plain.state_dict() if key.startswith("kernels.")}


@pytest.mark.parametrize("backbone", ["22_1", "14"])
@pytest.mark.parametrize("source", [*registry.SOURCES, "separable", "shared"])
def test_every_source_materializes_into_the_plain_pair(source, backbone):
    """Bit for bit, factored kernels to 1e-4 of the largest logit."""
    name, x = f"{source}_resnet{backbone}", torch.randn(5, 3, 32, 32)
    model = runner.build(name, 10, seed=3).eval()
    registered = runner.build(registry.get(name).pair, 10, seed=4).eval()
    registered.load_state_dict(materialize(model).state_dict())
    expected, found = model(x), registered(x)
    if source in ("tucker", "separable"):
        assert torch.allclose(
            expected, found, rtol=0, atol=1e-4 * float(expected.detach().abs().max())
        )
    else:
        assert torch.equal(expected, found)


def test_materialize_leaves_the_model_alone():
    model = runner.build("hyper_resnet10_1", 10, seed=0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plain = materialize(model)
    with torch.no_grad():
        for p in plain.parameters():
            p.zero_()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_materialize_refuses_a_foreign_module():
    with pytest.raises(TypeError, match="Linear has no kernel source"):
        materialize(torch.nn.Linear(2, 2))


def test_pad_shortcut_by_hand():
    """A stage change halves by 2x2 averages and appends zero channels, after the first BN-ReLU."""
    model = WideResNet(10, 1, kernels=StoredKernels).eval()
    kernels = [k.detach().clone() for k in model.generate()]
    kernels[3].zero_()
    x = torch.randn(2, 16, 8, 8)
    out = model._block(x, kernels, 2)
    active = torch.relu(model.norms[2](x))
    assert torch.allclose(out[:, :16], torch.nn.functional.avg_pool2d(active, 2))
    assert not out[:, 16:].any()


class LiteralBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if out.shape != x.shape:
            shortcut = torch.zeros_like(out)
            shortcut[:, : x.shape[1]] = x[:, :, ::2, ::2]
            x = shortcut
        return torch.relu(out + x)


def literal_resnet20():
    """He et al. 2016, section 4.2 with n = 3, of `nn.Conv2d`."""
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    stages = [
        LiteralBlock(16, 16, 1),
        LiteralBlock(16, 16, 1),
        LiteralBlock(16, 16, 1),
        LiteralBlock(16, 32, 2),
        LiteralBlock(32, 32, 1),
        LiteralBlock(32, 32, 1),
        LiteralBlock(32, 64, 2),
        LiteralBlock(64, 64, 1),
        LiteralBlock(64, 64, 1),
    ]
    return nn.Sequential(*stem, *stages, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def test_resnet20_is_the_literal_one():
    ours, literal = runner.build("resnet20", 10, seed=0), literal_resnet20()
    with torch.no_grad():
        convolutions = [m for m in literal.modules() if isinstance(m, nn.Conv2d)]
        for module, kernel in zip(convolutions, [ours.stem.weight, *ours.generate()], strict=True):
            module.weight.copy_(kernel)
        norms = [
            [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
            for model in (literal, ours)
        ]
        for theirs, own in zip(*norms, strict=True):
            own.weight.uniform_(0.5, 1.5)
            own.bias.normal_()
            theirs.load_state_dict(own.state_dict())
        literal[-1].load_state_dict(ours.classifier.state_dict())
        x = torch.randn(8, 3, 32, 32)
        for training in (True, False):  # in evaluation with the statistics that training left
            expected, found = literal.train(training)(x), ours.train(training)(x)
            assert torch.allclose(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_a_resnet_refuses_other_depths():
    with pytest.raises(ValueError, match=r"depth 10 is not 6n \+ 2"):
        ResNet(10, kernels=StoredKernels)


def test_channels_can_be_given():
    assert ResNet(8, kernels=StoredKernels, channels=(11, 22, 44))(
        torch.randn(1, 3, 32, 32)
    ).shape == (1, 10)
    model = WideResNet(10, channels=(11, 22, 44), kernels=StoredKernels)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    assert model.stem.out_channels == 11


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"depth": 12, "width": 1}, "depth 12"),
        ({"depth": 10, "width": 0}, "width 0"),
        ({"depth": 10, "width": 1, "shortcut": "none"}, "shortcut 'none'"),
        ({"depth": 10}, "either width or channels"),
    ],
)
def test_bad_backbones(arguments, message):
    with pytest.raises(ValueError, match=message):
        WideResNet(kernels=HyperKernels, **arguments)
