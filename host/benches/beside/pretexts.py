"""Self-supervised steps as people run them today, on a ResNet-18 for 32 x 32 images.

    pretexts.py DEVICE [--width W] [--steps N] [--only NAME ...]

lightly          MoCo v2 as lightly's documents have it: its transform on PIL images in a DataLoader with two workers, its momentum
                 update, its loss with 4096 remembered keys; 512 images a step, two views each, f32
rotation users   each image in its four directions after a random crop and flip, as PIL images in a DataLoader with two workers;
                 128 images, so 512 views, a step, f32
rotation tuned   the same on images resident as bytes, cut and turned for the whole batch at once, channels_last, bf16 autocast

Plain PyTorch's own MoCo v2, tuned, is host/benches/moco/pytorch.py. Prints a line of JSON for each; `images_per_second` counts
images, not views. Times are medians over the steps after a warm-up, on random images.
"""

import argparse
import copy
import json
import statistics
import time

import numpy
import torch
from torch import nn
from torch.nn import functional as F

from pytorch import Pictures, ResNet18, Resident

BATCH = 512
ROTATED = 128


class Turned(Pictures):
    """An image in its four directions, of which each then goes through the transform."""

    def __getitem__(self, i):
        from PIL import Image
        from torchvision.transforms import functional as T

        image = Image.fromarray(self.data[i])
        return torch.stack([self.transform(T.rotate(image, angle)) for angle in (0, 90, 180, 270)])


def forever(loader):
    while True:
        yield from loader


def lightly_moco(width, device, data):
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms import MoCoV2Transform

    backbone = ResNet18(width)
    n_features = backbone.fc.in_features
    backbone.fc = nn.Identity()
    head = MoCoProjectionHead(n_features, n_features, 128)
    backbone, head = backbone.to(device), head.to(device)
    slow_backbone, slow_head = copy.deepcopy(backbone), copy.deepcopy(head)
    deactivate_requires_grad(slow_backbone)
    deactivate_requires_grad(slow_head)
    criterion = NTXentLoss(memory_bank_size=(4096, 128)).to(device)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.06, momentum=0.9, weight_decay=5e-4)
    transform = MoCoV2Transform(input_size=32, gaussian_blur=0.0)
    pictures = Pictures(data, [0] * len(data), transform)
    loader = torch.utils.data.DataLoader(pictures, BATCH, shuffle=True, num_workers=2, drop_last=True)

    def step(batch):
        (x_query, x_key), _ = batch
        update_momentum(backbone, slow_backbone, 0.99)
        update_momentum(head, slow_head, 0.99)
        query = head(backbone(x_query.to(device)))
        with torch.no_grad():
            key = slow_head(slow_backbone(x_key.to(device)))
        loss = criterion(query, key)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    return forever(loader), step


def rotation(width, device, data, tuned):
    model = ResNet18(width)
    model.fc = nn.Linear(model.fc.in_features, 4)
    model = model.to(device)
    if tuned:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    angles = torch.arange(4, device=device).repeat(ROTATED)

    def step(x):
        with torch.autocast(device.type, torch.bfloat16, enabled=tuned):
            loss = F.cross_entropy(model(x.to(device)), angles)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    return (resident_turns(data, device) if tuned else loaded_turns(data)), step


def loaded_turns(data):
    from torchvision import transforms as T

    normalise = T.Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    transform = T.Compose([T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), normalise])
    pictures = Turned(data, None, transform)
    loader = torch.utils.data.DataLoader(pictures, ROTATED, shuffle=True, num_workers=2, drop_last=True)
    return (x.flatten(0, 1) for x in forever(loader))


def resident_turns(data, device):
    resident = Resident(data, [0] * len(data), device)
    while True:
        x = resident.batch()[0]
        turned = torch.stack([torch.rot90(x, angle, (2, 3)) for angle in range(4)], 1).flatten(0, 1)
        yield turned.contiguous(memory_format=torch.channels_last)


def main():
    names = ["lightly", "rotation users", "rotation tuned"]
    parser = argparse.ArgumentParser()
    parser.add_argument("device")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=names)
    args = parser.parse_args()
    torch.manual_seed(1)
    device = torch.device(args.device)
    data = numpy.random.default_rng(1).integers(0, 256, (4096, 32, 32, 3), dtype=numpy.uint8)

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    for what in args.only:
        if what == "lightly":
            (batches, step), images = lightly_moco(args.width, device, data), BATCH
        else:
            (batches, step), images = rotation(args.width, device, data, what == "rotation tuned"), ROTATED
        took = []
        wait()
        since = time.perf_counter()
        for at, batch in enumerate(batches):
            loss = step(batch)
            wait()
            now = time.perf_counter()
            took.append(now - since)
            since = now
            if at == args.steps + 1:
                break
        seconds = statistics.median(took[2:])
        print(json.dumps({
            "what": what, "torch": torch.__version__, "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(), "width": args.width, "batch": images, "seconds": seconds,
            "images_per_second": images / seconds, "steps": args.steps, "loss": loss.item(),
        }), flush=True)


if __name__ == "__main__":
    main()
