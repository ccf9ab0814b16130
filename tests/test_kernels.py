"""Kernel sources against a literal reading of the paper, their initialisation, their hand-over."""

import numpy as np
import pytest
import torch

from models.kernels.hyper import HyperKernels
from models.kernels.protocol import check_kernels
from models.kernels.stored import StoredKernels
from models.ledger import kernel_shapes

SHAPES = kernel_shapes(16, (16, 32, 64))
SOURCES = [StoredKernels, HyperKernels]


def literal_kernel(source: HyperKernels, layer: int) -> np.ndarray:
    """Equations 2 and 3, one tile and one input channel at a time, in float64."""
    shape, n = source.shapes[layer], 16
    first = sum((s.in_channels // n) * (s.out_channels // n) for s in source.shapes[:layer])
    w_in, b_in, w_out, b_out, z_all = (
        getattr(source, name).detach().double().numpy() for name in ("w_in", "b_in", "w_out", "b_out", "embeddings")
    )
    kernel = np.zeros((shape.out_channels, shape.in_channels, 3, 3))
    rows, columns = shape.in_channels // n, shape.out_channels // n
    for row in range(rows):
        for column in range(columns):
            z = z_all[first + row * columns + column]
            for i in range(n):
                a = w_in[i] @ z + b_in[i]
                slice_ = (w_out @ a + b_out).reshape(n, 3, 3) * (2 / shape.fan_in) ** 0.5
                kernel[column * n : (column + 1) * n, row * n + i] = slice_
    return kernel


def test_hyper_is_equations_2_and_3():
    torch.manual_seed(0)
    source = HyperKernels(SHAPES)
    with torch.no_grad():
        source.b_in.normal_()
        source.b_out.normal_()
    for layer, kernel in enumerate(source()):
        np.testing.assert_allclose(kernel.detach().numpy(), literal_kernel(source, layer), rtol=1e-4, atol=1e-4)


def test_row_by_row():
    """32 -> 64 channels: tiles 0 to 3 are the first 16 input channels, 4 to 7 the second."""
    source = HyperKernels(SHAPES)
    layer = [s.name for s in SHAPES].index("stage3_block0_conv1")
    first = 4 + 2 + 3 * 4
    with torch.no_grad():
        source.embeddings[first : first + 8] = 0
        source.embeddings[first + 5] = 1
    nonzero = source()[layer].abs().sum((2, 3)).nonzero()
    assert set(nonzero[:, 0].tolist()) == set(range(16, 32))
    assert set(nonzero[:, 1].tolist()) == set(range(16, 32))


@pytest.mark.parametrize("source", SOURCES)
def test_variance_is_of_the_fan_in(source):
    ratios = []
    for seed in range(64):
        torch.manual_seed(seed)
        ratios.append([float(k.detach().square().mean()) * s.fan_in / 2 for k, s in zip(source(SHAPES)(), SHAPES, strict=True)])
    ratios = np.array(ratios)
    assert np.abs(ratios.mean(0) - 1).max() < 0.05
    assert np.abs(ratios - 1).max() < 0.30


@pytest.mark.parametrize("source", SOURCES)
def test_kernels_are_channels_last_and_counted(source):
    instance = source(SHAPES)
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in instance())
    assert sum(source.count(SHAPES).values()) == sum(p.numel() for p in instance.parameters())


def test_generator_runs_in_fp32_under_autocast():
    from models.wide_resnet import WideResNet

    model = WideResNet(10, 1, kernels=HyperKernels)
    plain = model.generate()
    with torch.autocast("cpu", torch.bfloat16):
        cast = model.generate()
    assert all(k.dtype == torch.float32 and torch.equal(k, p) for k, p in zip(cast, plain, strict=True))


def test_hand_over_is_checked():
    kernels = StoredKernels(SHAPES)()
    with pytest.raises(ValueError, match="gave 11 kernels; the backbone has 12"):
        check_kernels(kernels[:-1], SHAPES)
    with pytest.raises(ValueError, match="stage1_block0_conv1 has shape"):
        check_kernels([kernels[0][:1], *kernels[1:]], SHAPES)


def test_tiles_need_multiples():
    with pytest.raises(ValueError, match=r"11 channels .* multiple of the tile, 16"):
        HyperKernels(kernel_shapes(10, (11, 22, 44)))
