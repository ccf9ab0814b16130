"""The code that the suite's speed is compared with.

It is written the way such code is usually written, and no slower than necessary.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.kernels.hyper import HyperKernels
from models.kernels.protocol import Kernel


class TileLoopKernels(HyperKernels):
    """The same hypernetwork, with its tiles generated one by one in a Python loop.

    The public re-implementations of Ha et al. 2017 call the generator once a tile and join the
    tiles with `cat`, layer by layer. Kernels and gradients equal those of `HyperKernels`.
    """

    def forward(self) -> list[Kernel]:
        """All kernels, in the order of the shapes."""
        kernels: list[Kernel] = []
        number = 0
        for shape in self.shapes:
            columns = []
            for _ in range(shape.in_channels // self.tile):
                row = []
                for _ in range(shape.out_channels // self.tile):
                    row.append(self._tile(self.embeddings[number]) * self.scale[number])
                    number += 1
                columns.append(torch.cat(row, dim=0))
            kernels.append(torch.cat(columns, dim=1))
        return kernels

    def _tile(self, z: Tensor) -> Tensor:
        """One tile (output channel, input channel, f, f) from its embedding, two products."""
        a = torch.matmul(self.w_in.flatten(0, 1), z * self.gain).view(self.tile, -1) + self.b_in
        tile = torch.matmul(a, self.w_out.t() * self.gain) + self.b_out
        return tile.view(self.tile, self.tile, self.size, self.size).transpose(0, 1)


class _Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.changes = stride != 1 or in_channels != out_channels
        self.stride, self.extra = stride, out_channels - in_channels
        self.norm1, self.norm2 = nn.BatchNorm2d(in_channels), nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(x))
        if self.changes:
            x = F.pad(
                F.avg_pool2d(out, 2) if self.stride == 2 else out, (0, 0, 0, 0, 0, self.extra)
            )
        return self.conv2(F.relu(self.norm2(self.conv1(out)))) + x


class ConvolutionalWRN(nn.Module):
    """The plain Wide ResNet without projections, written by hand with `nn.Conv2d` modules."""

    def __init__(self, depth: int, width: int, num_classes: int = 10):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential()
        in_channels = 16
        for stage, out_channels in enumerate((16 * width, 32 * width, 64 * width)):
            for block in range((depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                self.blocks.append(_Block(in_channels, out_channels, stride))
                in_channels = out_channels
        self.final_norm = nn.BatchNorm2d(in_channels)
        self.classifier = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, 32, 32)."""
        x = self.blocks(F.relu(self.stem_norm(self.stem(x))))
        return self.classifier(F.relu(self.final_norm(x)).mean((2, 3)))


class ImageList(torch.utils.data.Dataset):
    """PIL images with a transform, as torchvision's data sets have them."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable):
        from PIL import Image

        self.images = [Image.fromarray(image.numpy()) for image in images.cpu()]
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


class OrdinaryLoop:
    """The usual training loop.

    A DataLoader with 4 persistent workers, torchvision transforms on PIL images, fp32, eager,
    channels_last, SGD with weight decay, `.item()` at every step.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        batch_size: int,
        device: torch.device,
    ):
        from torchvision import transforms

        pipeline = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )
        # 4 workers are what is compared, whatever the cores.
        warnings.filterwarnings("ignore", message="This DataLoader will create 4 worker processes")
        self.loader = torch.utils.data.DataLoader(
            ImageList(images, labels, pipeline),
            batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=4,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
        )
        self.device = device
        self.model = model.to(device).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )

    def epoch(self) -> float:
        """Train one epoch; gives the mean loss."""
        total = 0.0
        for x, y in self.loader:
            x, y = x.to(self.device, memory_format=torch.channels_last), y.to(self.device)
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.loader)
