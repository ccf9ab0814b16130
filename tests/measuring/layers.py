"""Layers with their MACs by hand, from their shapes alone.

Each function takes the shape (C, H, W) of its input and gives a `Layer`: a module that maps
(B, C, H, W) to (B, *out), its MACs per image and its MACs once a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

Shape = tuple[int, int, int]


@dataclass
class Layer:
    module: nn.Module
    per_image: int
    out: Shape
    per_batch: int = 0


class Apply(nn.Module):
    """A function of some modules and the input."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        return self.function(x, *self.parts)


class Weighted(nn.Module):
    """A function of a weight and the input."""

    def __init__(self, function, *size, dtype=torch.float32):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(size, dtype=dtype))

    def forward(self, x):
        return self.function(x, self.weight)


def tokens(x):
    """(B, C, H, W) to (B, H W, C)."""
    return x.flatten(2).transpose(1, 2)


def grid(t, h, w):
    """(B, H W, C) to (B, C, H, W)."""
    return t.transpose(1, 2).unflatten(2, (h, w))


LAYERS: dict[str, Callable[[Shape], Layer]] = {}


def layer(function):
    LAYERS[function.__name__] = function
    return function


def free(name, make):
    """A layer without products that keeps the shape; `make` takes the channels."""
    LAYERS[name] = lambda s: Layer(make(s[0]), 0, s)


for name, make in {
    "batch_norm": nn.BatchNorm2d,
    "group_norm": lambda c: nn.GroupNorm(1, c),
    "instance_norm": nn.InstanceNorm2d,
    "layer_norm": lambda c: Apply(lambda x, n: n(x.movedim(1, -1)).movedim(-1, 1), nn.LayerNorm(c)),
    "rms_norm": lambda c: Apply(lambda x, n: n(x.movedim(1, -1)).movedim(-1, 1), nn.RMSNorm(c)),
    "local_response_norm": lambda c: nn.LocalResponseNorm(2),
    "relu_in_place": lambda c: nn.Sequential(nn.Identity(), nn.Hardtanh(), nn.ReLU(inplace=True)),
    "silu_in_place": lambda c: nn.Sequential(nn.ReLU(), nn.SiLU(inplace=True)),
    "gelu": lambda c: nn.GELU(),
    "hardswish": lambda c: nn.Hardswish(),
    "mish": lambda c: nn.Mish(),
    "prelu": nn.PReLU,
    "elu": lambda c: nn.ELU(),
    "softplus": lambda c: nn.Softplus(),
    "softmax": lambda c: nn.Softmax(1),
    "log_softmax": lambda c: nn.LogSoftmax(1),
    "dropout": lambda c: nn.Dropout2d(0.5),
    "cumsum": lambda c: Apply(lambda x: x.cumsum(1)),
    "sort": lambda c: Apply(lambda x: x.sort(1).values),
    "flip_and_roll": lambda c: Apply(lambda x: x.flip(3).roll(1, 2)),
    "channel_shuffle": lambda c: nn.ChannelShuffle(1),
    "standardised": lambda c: Apply(lambda x: (x - x.mean()) / (x.std() + 1)),
    "cosine": lambda c: Apply(lambda x: x * F.cosine_similarity(x, x, dim=1)[:, None]),
    "grid_sample": lambda c: Apply(
        lambda x: F.grid_sample(x, x.new_zeros(len(x), *x.shape[2:], 2))
    ),
    "lstm_cell_gates": lambda c: Apply(lambda x: x.sigmoid() * x.tanh()),
}.items():
    free(name, make)


@layer
def conv(s):
    c, h, w = s
    return Layer(nn.Conv2d(c, 5, 3, padding=1), h * w * 9 * c * 5, (5, h, w))


@layer
def conv_same(s):
    c, h, w = s
    return Layer(nn.Conv2d(c, 4, (3, 4), padding="same"), h * w * 12 * c * 4, (4, h, w))


@layer
def conv_strided(s):
    c, h, w = s
    h2, w2 = (h + 1) // 2, (w + 1) // 2
    return Layer(nn.Conv2d(c, 6, 3, stride=2, padding=1), h2 * w2 * 9 * c * 6, (6, h2, w2))


@layer
def conv_dilated(s):
    c, h, w = s
    return Layer(nn.Conv2d(c, 3, 3, padding=2, dilation=2), h * w * 9 * c * 3, (3, h, w))


@layer
def conv_grouped(s):
    c, h, w = s
    return Layer(nn.Conv2d(c, 2 * c, 3, padding=1, groups=c), h * w * 9 * 2 * c, (2 * c, h, w))


@layer
def conv_reflected(s):
    c, h, w = s
    module = nn.Conv2d(c, 4, 3, padding=1, padding_mode="circular", bias=False)
    return Layer(module, h * w * 9 * c * 4, (4, h, w))


@layer
def conv_transposed(s):
    c, h, w = s
    return Layer(nn.ConvTranspose2d(c, 3, 2, stride=2), h * w * 4 * c * 3, (3, 2 * h, 2 * w))


@layer
def conv_transposed_grouped(s):
    c, h, w = s
    module = nn.ConvTranspose2d(c, 2 * c, 3, padding=1, groups=c)
    return Layer(module, h * w * 9 * 2 * c, (2 * c, h, w))


@layer
def conv_1d(s):
    c, h, w = s
    module = Apply(lambda x, f: f(x.flatten(2)).unflatten(2, (h, w)), nn.Conv1d(c, 4, 3, padding=1))
    return Layer(module, h * w * 3 * c * 4, (4, h, w))


@layer
def conv_3d(s):
    c, h, w = s
    module = Apply(lambda x, f: f(x[:, None]).squeeze(1), nn.Conv3d(1, 1, 3, padding=1))
    return Layer(module, c * h * w * 27, s)


@layer
def conv_in_place_of_unfold(s):
    c, h, w = s
    module = Weighted(lambda x, k: (k @ F.unfold(x, 3, padding=1)).unflatten(2, (h, w)), 4, 9 * c)
    return Layer(module, h * w * 9 * c * 4, (4, h, w))


@layer
def conv_per_image(s):
    """A kernel for each image, as one grouped convolution."""
    c, h, w = s

    def run(x, k):
        kernels = (k * x.mean((1, 2, 3)).view(-1, 1, 1, 1, 1)).flatten(0, 1)
        out = F.conv2d(x.flatten(0, 1)[None], kernels, padding=1, groups=len(x))
        return out.view(len(x), 4, h, w)

    return Layer(Weighted(run, 1, 4, c, 3, 3), h * w * 9 * c * 4, (4, h, w))


def _wrapped(wrap, per_batch=0):
    def make(s):
        c, h, w = s
        module = wrap(nn.Conv2d(c, 4, 3, padding=1))
        extra = per_batch and 4 * c * 9 + 4
        return Layer(module, h * w * 9 * c * 4, (4, h, w), extra)

    return make


def _pruned(module):
    prune.random_unstructured(module, "weight", amount=0.5)
    return module


LAYERS["weight_norm"] = _wrapped(parametrizations.weight_norm)
LAYERS["weight_norm_old"] = _wrapped(weight_norm)
LAYERS["spectral_norm"] = _wrapped(parametrizations.spectral_norm, per_batch=1)
LAYERS["spectral_norm_old"] = _wrapped(spectral_norm, per_batch=1)
LAYERS["pruned"] = _wrapped(_pruned)
LAYERS["scripted"] = _wrapped(torch.jit.script)
LAYERS["compiled"] = _wrapped(torch.compile)
LAYERS["checkpointed"] = _wrapped(
    lambda m: Apply(lambda x, f: checkpoint(f, x, use_reentrant=False), m)
)
LAYERS["checkpointed_reentrant"] = _wrapped(
    lambda m: Apply(lambda x, f: checkpoint(f, x, use_reentrant=True), m)
)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        return x @ weight

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


def _on_rows(function):
    """A layer that multiplies each row (W numbers) of the input by a W x 6 matrix."""

    def make(s):
        c, h, w = s
        return Layer(Weighted(function, w, 6), c * h * w * 6, (c, h, 6))

    return make


LAYERS["linear"] = lambda s: Layer(nn.Linear(s[2], 7), s[0] * s[1] * s[2] * 7, (s[0], s[1], 7))
LAYERS["matmul"] = _on_rows(lambda x, m: x @ m)
LAYERS["einsum"] = _on_rows(lambda x, m: torch.einsum("bchw,wk->bchk", x, m))
LAYERS["tensordot"] = _on_rows(lambda x, m: torch.tensordot(x, m, dims=1))
LAYERS["out_given"] = _on_rows(
    lambda x, m: torch.mm(x.flatten(0, 2), m, out=x.new_empty(x[..., 0].numel(), 6)).view(
        *x.shape[:3], 6
    )
)
LAYERS["addmm_in_place"] = _on_rows(
    lambda x, m: x.new_zeros(x[..., 0].numel(), 6).addmm_(x.flatten(0, 2), m).view(*x.shape[:3], 6)
)
LAYERS["batched"] = _on_rows(
    lambda x, m: torch.bmm(x.flatten(1, 2), m.expand(len(x), -1, -1)).unflatten(1, x.shape[1:3])
)
LAYERS["vmapped"] = _on_rows(lambda x, m: torch.vmap(lambda image: image @ m)(x))
LAYERS["image_by_image"] = _on_rows(lambda x, m: torch.stack([image @ m for image in x]))
LAYERS["matrix_by_vector"] = _on_rows(
    lambda x, m: torch.stack([m.T @ row for row in x.flatten(0, 2)]).view(*x.shape[:3], 6)
)
LAYERS["autograd_function"] = _on_rows(Product.apply)


@layer
def complex_linear(s):
    """Four real MACs for each complex one."""
    c, h, w = s
    module = Weighted(lambda x, m: (x.to(m.dtype) @ m).abs(), w, 5, dtype=torch.complex64)
    return Layer(module, 4 * c * h * w * 5, (c, h, 5))


@layer
def weight_first(s):
    c, h, w = s
    return Layer(Weighted(lambda x, m: m @ x, 5, h), c * 5 * h * w, (c, 5, w))


@layer
def weight_first_on_tokens(s):
    c, h, w = s
    module = Weighted(lambda x, m: grid(m @ tokens(x), h, w), h * w, h * w)
    return Layer(module, (h * w) ** 2 * c, s)


@layer
def dot(s):
    c, h, w = s
    module = Weighted(lambda x, v: x * torch.stack([i.flatten() @ v for i in x]).mean(), c * h * w)
    return Layer(module, c * h * w, s)


@layer
def used_twice(s):
    c, h, w = s
    module = Apply(lambda x, f: f(f(x)), nn.Linear(w, w))
    return Layer(module, 2 * c * h * w * w, s)


@layer
def bilinear(s):
    c, h, w = s
    return Layer(
        Apply(lambda x, f: f(x, x), nn.Bilinear(w, w, 3)), c * h * 3 * w * (w + 1), (c, h, 3)
    )


@layer
def generated(s):
    """A weight that is made once a batch."""
    c, h, w = s
    module = Weighted(lambda x, m: x @ (m @ m.T), w, 3)
    return Layer(module, c * h * w * w, s, w * 3 * w)


@layer
def generated_by_vector(s):
    c, h, w = s
    module = Weighted(lambda x, m: x @ (m @ m[0]).view(w, 2), 2 * w, 3)
    return Layer(module, c * h * w * 2, (c, h, 2), 2 * w * 3)


def _recurrent(kind, gates, layers=1, directions=1):
    def make(s):
        c, h, w = s
        module = kind(c, 4, layers, batch_first=True, bidirectional=directions == 2)
        step = directions * gates * 4 * (c + 4)
        step += (layers - 1) * directions * gates * 4 * (directions * 4 + 4)
        out = (directions * 4, h, w)
        return Layer(Apply(lambda x, f: grid(f(tokens(x))[0], h, w), module), h * w * step, out)

    return make


LAYERS["rnn"] = _recurrent(nn.RNN, 1)
LAYERS["gru"] = _recurrent(nn.GRU, 3)
LAYERS["lstm"] = _recurrent(nn.LSTM, 4)
LAYERS["lstm_deep_both_ways"] = _recurrent(nn.LSTM, 4, layers=2, directions=2)
LAYERS["gru_both_ways"] = _recurrent(nn.GRU, 3, directions=2)


@layer
def lstm_projected(s):
    c, h, w = s
    module = nn.LSTM(c, 4, batch_first=True, proj_size=2)
    step = 16 * (c + 2) + 4 * 2
    return Layer(Apply(lambda x, f: grid(f(tokens(x))[0], h, w), module), h * w * step, (2, h, w))


def _cell(kind, gates):
    def make(s):
        c, h, w = s

        def run(x, cell):
            state = cell(x.flatten(1))
            state = state[0] if isinstance(state, tuple) else state
            return x + state.mean(1).view(-1, 1, 1, 1)

        inputs = c * h * w
        return Layer(Apply(run, kind(inputs, 3)), gates * 3 * (inputs + 3), s)

    return make


LAYERS["rnn_cell"] = _cell(nn.RNNCell, 1)
LAYERS["gru_cell"] = _cell(nn.GRUCell, 3)
LAYERS["lstm_cell"] = _cell(nn.LSTMCell, 4)


def _attention(n, width):
    """Two products of (n, width) tokens with each other."""
    return 2 * n * n * width


@layer
def scaled_dot_product(s):
    c, h, w = s
    module = Apply(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True))
    return Layer(module, c * _attention(h, w), s)


@layer
def grouped_queries(s):
    c, h, w = s

    def run(x):
        few = x[:, :1]
        return F.scaled_dot_product_attention(x, few, few, enable_gqa=True)

    return Layer(Apply(run), c * _attention(h, w), s)


def _multi_head(need_weights):
    def make(s):
        c, h, w = s

        def run(x, f):
            t = x.flatten(1, 2)
            return f(t, t, t, need_weights=need_weights)[0].unflatten(1, (c, h))

        n = c * h
        macs = n * 4 * w * w + _attention(n, w)
        return Layer(Apply(run, nn.MultiheadAttention(w, 1, batch_first=True)), macs, s)

    return make


LAYERS["multi_head_attention"] = _multi_head(False)
LAYERS["multi_head_attention_with_weights"] = _multi_head(True)


def _encoder_macs(n, width):
    return n * (4 * width**2 + 2 * width * 8) + _attention(n, width)


def _encoder_layer(width, **options):
    return nn.TransformerEncoderLayer(width, 1, 8, batch_first=True, **options)


@layer
def encoder_layer(s):
    c, h, w = s
    module = Apply(lambda x, f: f(x.flatten(1, 2)).unflatten(1, (c, h)), _encoder_layer(w))
    return Layer(module, _encoder_macs(c * h, w), s)


@layer
def encoder_masked(s):
    c, h, w = s

    def run(x, f):
        t = x.flatten(1, 2)
        mask = torch.zeros(t.shape[:2], dtype=torch.bool)
        return f(t, src_key_padding_mask=mask).unflatten(1, (c, h))

    module = Apply(run, nn.TransformerEncoder(_encoder_layer(w, norm_first=True), 2, None, False))
    return Layer(module, 2 * _encoder_macs(c * h, w), s)


@layer
def decoder_layer(s):
    c, h, w = s

    def run(x, f):
        t = x.flatten(1, 2)
        return f(t, t).unflatten(1, (c, h))

    n = c * h
    macs = _encoder_macs(n, w) + n * 4 * w * w + _attention(n, w)
    return Layer(Apply(run, nn.TransformerDecoderLayer(w, 1, 8, batch_first=True)), macs, s)


@layer
def distances(s):
    c, h, w = s
    module = Weighted(lambda x, p: torch.cdist(x, p.expand(len(x), c, 4, w)), 4, w)
    return Layer(module, c * h * 4 * w, (c, h, 4))


@layer
def spatial_transformer(s):
    _, h, w = s

    def run(x, theta):
        points = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, points, align_corners=False)

    return Layer(Weighted(run, 2, 3), h * w * 6, s)


@layer
def squeeze_and_excite(s):
    c = s[0]
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, 2, 1), nn.ReLU(), nn.Conv2d(2, c, 1))
    return Layer(Apply(lambda x, f: x * f(x).sigmoid(), gate), 4 * c, s)


@layer
def embedding(s):
    module = Apply(lambda x, f: f((x > 0).long()).mean(-1), nn.Embedding(2, 3))
    return Layer(module, 0, s)


def _pooled(make):
    def make_layer(s):
        c, h, w = s
        return Layer(make(), 0, (c, h // 2, w // 2)) if min(h, w) > 1 else Layer(nn.ReLU(), 0, s)

    return make_layer


LAYERS["max_pool"] = _pooled(lambda: nn.MaxPool2d(2))
LAYERS["average_pool"] = _pooled(lambda: nn.AvgPool2d(2))
LAYERS["power_pool"] = _pooled(lambda: nn.LPPool2d(2, 2))
LAYERS["up_bilinear"] = lambda s: Layer(
    nn.Upsample(scale_factor=2, mode="bilinear"), 0, (s[0], 2 * s[1], 2 * s[2])
)
LAYERS["up_nearest"] = lambda s: Layer(nn.Upsample(scale_factor=2), 0, (s[0], 2 * s[1], 2 * s[2]))
LAYERS["adaptive_pool"] = lambda s: Layer(nn.AdaptiveAvgPool2d(3), 0, (s[0], 3, 3))
LAYERS["adaptive_max_pool"] = lambda s: Layer(nn.AdaptiveMaxPool2d(2), 0, (s[0], 2, 2))
LAYERS["padded"] = lambda s: Layer(nn.ZeroPad2d(1), 0, (s[0], s[1] + 2, s[2] + 2))
LAYERS["pixel_shuffle"] = lambda s: Layer(nn.Sequential(nn.PixelShuffle(1), nn.Identity()), 0, s)
