"""What people run today: the step of a ResNet-18 for 32 x 32 images in plain PyTorch, in three ways, and its prediction.

    pytorch.py DEVICE [--width W] [--steps N] [--only NAME ...]

users   torchvision's transforms on PIL images in a DataLoader with two workers, NCHW, f32: what tutorials write
tuned   images resident as bytes, crop and flip drawn and done for the whole batch at once, channels_last, bf16 autocast
bound   one ready batch over and over, channels_last, bf16 autocast: no data work at all
predict probabilities and embeddings of many images, batch-norm in inference mode: `users` in f32, `tuned` in bf16

Prints a line of JSON for each. Times are medians over the steps after a warm-up. The images are random: their content does not
change the time. The loop is the usual one: forward, cross-entropy, backward, SGD with Nesterov momentum and weight decay.
"""

import argparse
import json
import statistics
import time

import numpy
import torch
from torch import nn
from torch.nn import functional as F

BATCH = 128


def conv(n_in, n_out, kernel, stride):
    return nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(n_in, n_out, 3, stride), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = conv(n_out, n_out, 3, 1), nn.BatchNorm2d(n_out)
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else nn.Sequential(conv(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 with the stem for small images."""

    def __init__(self, width):
        super().__init__()
        self.stem, self.bn = conv(3, width, 3, 1), nn.BatchNorm2d(width)
        blocks, n_in = [], width
        for stage in range(4):
            n_out = width * 2**stage
            blocks += [Block(n_in, n_out, 1 if stage == 0 else 2), Block(n_out, n_out, 1)]
            n_in = n_out
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(n_in, 10)

    def embed(self, x):
        return self.blocks(F.relu(self.bn(self.stem(x)))).mean((2, 3))

    def forward(self, x):
        return self.fc(self.embed(x))


class Pictures(torch.utils.data.Dataset):
    """As torchvision's CIFAR10: an array of bytes whose items become PIL images and go through transforms."""

    def __init__(self, data, targets, transform):
        self.data, self.targets, self.transform = data, targets, transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        from PIL import Image

        return self.transform(Image.fromarray(self.data[i])), self.targets[i]


def loader(data, targets, train):
    from torchvision import transforms as T

    changes = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()] if train else []
    transform = T.Compose([*changes, T.ToTensor(), T.Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))])
    pictures = Pictures(data, targets, transform)
    return torch.utils.data.DataLoader(pictures, BATCH, shuffle=train, num_workers=2, drop_last=True)


class Resident:
    """Images on the device as bytes, with batches cut there."""

    def __init__(self, data, targets, device):
        self.data, self.targets = torch.from_numpy(data).to(device), torch.tensor(targets, device=device)
        self.mean, self.std = torch.tensor([125.3, 123.0, 113.9], device=device), torch.tensor([63.0, 62.1, 66.7], device=device)

    def batch(self):
        device = self.data.device
        rows = torch.randint(0, len(self.data), (BATCH,), device=device)
        padded = F.pad(self.data[rows], (0, 0, 4, 4, 4, 4))
        tops, lefts = torch.randint(0, 9, (2, BATCH, 1), device=device)
        y = tops + torch.arange(32, device=device)
        x = lefts + torch.arange(32, device=device)
        x = torch.where(torch.rand(BATCH, 1, device=device) < 0.5, x.flip(1), x)
        cropped = padded[torch.arange(BATCH, device=device)[:, None, None], y[:, :, None], x[:, None, :]]
        return ((cropped.float() - self.mean) / self.std).permute(0, 3, 1, 2), self.targets[rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("device")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=["users", "tuned", "bound", "predict"])
    args = parser.parse_args()
    torch.manual_seed(1)
    device = torch.device(args.device)
    n = 4096
    data = numpy.random.default_rng(1).integers(0, 256, (n, 32, 32, 3), dtype=numpy.uint8)
    targets = [i % 10 for i in range(n)]

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def tell(what, seconds, images, **more):
        name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        print(json.dumps({
            "what": what, "torch": torch.__version__, "device": name, "threads": torch.get_num_threads(), "width": args.width,
            "batch": BATCH, "seconds": seconds, "images_per_second": images / seconds, **more,
        }), flush=True)

    def train(what, batches, tuned):
        model = ResNet18(args.width).to(device)
        if tuned:
            model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
        took = []
        wait()
        since = time.perf_counter()
        for at, (x, y) in enumerate(batches):
            x, y = x.to(device), y.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=tuned):
                loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            wait()
            now = time.perf_counter()
            took.append(now - since)
            since = now
            if at + 1 == args.steps + 3:
                break
        took = took[3:]
        tell(what, statistics.median(took), BATCH, steps=len(took), loss=loss.item())

    def forever(make):
        while True:
            yield make()

    resident = Resident(data, targets, device)
    if "users" in args.only:
        epochs = (batch for _ in range(10**6) for batch in loader(data, targets, True))
        train("users", epochs, False)
    if "tuned" in args.only:
        train("tuned", forever(resident.batch), True)
    if "bound" in args.only:
        x, y = resident.batch()
        x = x.contiguous(memory_format=torch.channels_last)
        train("bound", forever(lambda: (x, y)), True)
    if "predict" in args.only:
        for what in ("users", "tuned"):
            predict(what, ResNet18(args.width).to(device).eval(), (data, targets, resident), device, wait, tell)


@torch.no_grad()
def predict(what, model, images, device, wait, tell):
    data, targets, resident = images
    tuned = what == "tuned"
    if tuned:
        model = model.to(memory_format=torch.channels_last)

    def batches():
        if not tuned:
            yield from (x for x, _ in loader(data, targets, False))
            return
        for part in resident.data.split(BATCH):
            yield ((part.float() - resident.mean) / resident.std).permute(0, 3, 1, 2)

    took = []
    for _ in range(3):
        wait()
        since = time.perf_counter()
        for x in batches():
            with torch.autocast(device.type, torch.bfloat16, enabled=tuned):
                embeddings = model.embed(x.to(device))
                model.fc(embeddings).float().softmax(1)
        wait()
        took.append(time.perf_counter() - since)
    tell(f"predict {what}", statistics.median(took), len(data))


if __name__ == "__main__":
    main()
