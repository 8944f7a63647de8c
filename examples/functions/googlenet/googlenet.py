"""GoogLeNet for ImageNet: nine inception blocks, each convolution followed by batch norm.

As in the widely used trained versions, the branch called 5x5 in the paper is a 3x3 convolution, and the two auxiliary
classifiers, which serve in training only, are left out. Tensors are named, and pixels normalised, as in torchvision, so
that its trained weights fit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

TRAINING_ONLY = ("aux1.", "aux2.")


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 then 3x3, twice over; pooling then 1x1."""

    def __init__(self, inputs: int, one: int, a: tuple[int, int], b: tuple[int, int], pooled: int) -> None:
        super().__init__()
        self.branch1 = Convolution(inputs, one, kernel_size=1)
        self.branch2 = nn.Sequential(
            Convolution(inputs, a[0], kernel_size=1),
            Convolution(*a, kernel_size=3, padding=1),
        )
        self.branch3 = nn.Sequential(
            Convolution(inputs, b[0], kernel_size=1),
            Convolution(*b, kernel_size=3, padding=1),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True),
            Convolution(inputs, pooled, kernel_size=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class GoogLeNet(nn.Module):
    """(batch, 3, 224, 224) normalised pixels -> (batch, classes) logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = Convolution(3, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = Convolution(64, 64, kernel_size=1)
        self.conv3 = Convolution(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The trained versions expect (value - 0.5) / 0.5 and are given ImageNet's usual normalisation.
        mean, std = x.new_tensor([0.485, 0.456, 0.406]), x.new_tensor([0.229, 0.224, 0.225])
        x = ((x.movedim(1, -1) * std + mean - 0.5) / 0.5).movedim(-1, 1)
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.maxpool4(self.inception4e(self.inception4d(x)))
        x = self.inception5b(self.inception5a(x))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))
