"""Classify an image with ResNet-18, as a script: load, then answer one request after the other.

    {"image": "<JPEG or PNG in base64>", "top": 5}  ->  {"top": [{"index": 652, "score": 0.93}, ...]}

The same network, weights and answers as the function resnet18. A script that used to load its model with ``torch.load``
and then read its input needs ``instainfer.load``, ``receive`` and ``reply`` in their places, and nothing else.
"""

from pathlib import Path

from imagenet import classify
from pytorchcv.models.resnet import resnet18

import instainfer

net = resnet18()
net.load_state_dict(instainfer.load(str(Path(__file__).with_name("resnet18.pt"))))
net.eval()

while True:
    instainfer.reply(classify(net, instainfer.receive(), size=224))
