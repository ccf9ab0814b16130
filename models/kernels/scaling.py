"""Scaled gradients: for sources whose steps of SGD move the kernels as SGD on these would."""

import torch
from torch import Tensor

DAMPING = 1e-2
ITERATIONS = 20


def damped_inverse(matrices: Tensor) -> Tensor:
    """(A + d I)^-1 of symmetric matrices A >= 0 (..., n, n), to about 1e-3 for n up to 256.

    d is 1 % of the mean eigenvalue. Newton-Schulz, X <- X (2 I - A X), is made of products only, so
    that no step waits for the device and a CUDA graph can hold it.
    """
    size = matrices.shape[-1]
    eye = torch.eye(size, device=matrices.device, dtype=matrices.dtype)
    mean = matrices.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    damped = matrices + DAMPING * mean * eye
    inverse = eye / damped.flatten(-2).norm(dim=-1)[..., None, None]
    for _ in range(ITERATIONS):
        inverse = inverse @ (2 * eye - damped @ inverse)
    return inverse
