"""What the suite is compared with is what it says."""

import pytest
import torch

from benchmarks.measuring.baselines import ConvolutionalWRN, OrdinaryLoop, TileLoopKernels
from benchmarks.runs.building import build
from models.wide_resnet import WideResNet

CPU = torch.device("cpu")


def test_the_tile_loop_is_the_same_hypernetwork():
    ours = build("hyper_resnet10_2", 10, seed=0)
    theirs = WideResNet(10, 2, 10, TileLoopKernels)
    theirs.load_state_dict(ours.state_dict())
    kernels, looped = ours.generate(), theirs.generate()
    for a, b in zip(kernels, looped, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    for generated in (kernels, looped):
        sum(
            (k * torch.linspace(-1, 1, k.numel()).view(k.shape)).sum() for k in generated
        ).backward()
    for (name, p), q in zip(
        ours.kernels.named_parameters(), theirs.kernels.parameters(), strict=True
    ):
        assert torch.allclose(p.grad, q.grad, rtol=1e-3, atol=1e-4 * float(p.grad.abs().max())), (
            name
        )


def by_hand(depth, width, plain):
    """The hand-written network with the weights of the suite's."""
    other = ConvolutionalWRN(depth, width)
    kernels, biases = plain.generate(), plain.biases
    convolutions = [conv for block in other.blocks for conv in (block.conv1, block.conv2)]
    with torch.no_grad():
        for conv, kernel, bias in zip(convolutions, kernels, biases, strict=True):
            conv.weight.copy_(kernel)
            conv.bias.copy_(bias)
    norms = [norm for block in other.blocks for norm in (block.norm1, block.norm2)]
    for norm, of in zip(norms, plain.norms, strict=True):
        norm.load_state_dict(of.state_dict())
    for part in ("stem", "stem_norm", "final_norm", "classifier"):
        getattr(other, part).load_state_dict(getattr(plain, part).state_dict())
    return other


@pytest.mark.parametrize("width", [1, 2])
def test_the_hand_written_network_is_the_same_network(width):
    plain = build(f"wide_resnet10_{width}", 10, seed=0)
    other = by_hand(10, width, plain)
    assert sum(p.numel() for p in other.parameters()) == sum(p.numel() for p in plain.parameters())
    x = torch.randn(4, 3, 32, 32)
    for training in (True, False):
        assert torch.allclose(plain.train(training)(x), other.train(training)(x), atol=1e-4)


def test_the_ordinary_loop_trains(digits):
    torch.manual_seed(0)
    loop = OrdinaryLoop(
        ConvolutionalWRN(10, 1),
        digits.train.images[:128],
        digits.train.labels[:128],
        digits.mean,
        digits.std,
        32,
        CPU,
    )
    assert loop.loader.num_workers == 4 and len(loop.loader) == 4
    losses = [loop.epoch() for _ in range(3)]
    assert losses[2] < losses[0]
