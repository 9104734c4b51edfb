"""The step of `TrainSpec::moco_v2(Setting::Cifar)` in plain PyTorch, eager, for a comparison of speed: `pytorch.py DEVICE STEPS`.

What is alike: ResNet-18 for small images at the given width, MLP head, 128 numbers, split batch-norm in 8 groups, queue of
4096, batch of 512, SGD; images resident on the device as bytes; crop, flip, jitter, grey drawn and done for the whole batch at
once; bf16 where the device multiplies in it, channels_last. Times the steps after a warm-up and prints one line of JSON.
The images are random: their content does not change the time.
"""

import argparse
import json
import math
import time

import torch
from torch import nn
from torch.nn import functional as F


class SplitBatchNorm(nn.BatchNorm2d):
    """Batch-norm over 8 consecutive parts of the batch, each on its own."""

    def forward(self, x):
        return torch.cat([super(SplitBatchNorm, self).forward(part) for part in x.chunk(8)])


def conv(n_in, n_out, kernel, stride):
    return nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(n_in, n_out, 3, stride), SplitBatchNorm(n_out)
        self.conv2, self.bn2 = conv(n_out, n_out, 3, 1), SplitBatchNorm(n_out)
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else nn.Sequential(conv(n_in, n_out, 1, stride), SplitBatchNorm(n_out))

    def forward(self, x):
        hidden = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(x))


class Network(nn.Module):
    """A ResNet-18 with the stem for small images, and MoCo v2's head."""

    def __init__(self, width):
        super().__init__()
        self.stem, self.bn = conv(3, width, 3, 1), SplitBatchNorm(width)
        blocks, n_in = [], width
        for stage in range(4):
            n_out = width * 2**stage
            blocks += [Block(n_in, n_out, 1 if stage == 0 else 2), Block(n_out, n_out, 1)]
            n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Linear(n_in, n_in), nn.ReLU(), nn.Linear(n_in, 128))

    def forward(self, x):
        x = self.blocks(F.relu(self.bn(self.stem(x))))
        return F.normalize(self.head(x.mean((2, 3))).float(), dim=1)


def view(x):
    """Resized crop, flip, jitter and grey of a batch from 0 to 1, with draws for each image."""
    n, device = len(x), x.device
    area = torch.empty(n, device=device).uniform_(0.08, 1)
    ratio = torch.empty(n, device=device).uniform_(math.log(3 / 4), math.log(4 / 3)).exp()
    w, h = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    shift_x, shift_y = (torch.rand(n, device=device) * 2 - 1) * (1 - w), (torch.rand(n, device=device) * 2 - 1) * (1 - h)
    w = torch.where(torch.rand(n, device=device) < 0.5, -w, w)
    zero = torch.zeros_like(w)
    theta = torch.stack([torch.stack([w, zero, shift_x], 1), torch.stack([zero, h, shift_y], 1)], 1)
    x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), padding_mode="border", align_corners=False)
    return grey(jitter(x))


def luma(x):
    return (x * torch.tensor([0.299, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def grey(x):
    hit = (torch.rand(len(x), device=x.device) < 0.2).float().view(-1, 1, 1, 1)
    return x.lerp(luma(x).expand_as(x), hit)


def jitter(x):
    n = len(x)
    hit = (torch.rand(n, device=x.device) < 0.8).float()
    changes = [(torch.rand(n, device=x.device) * 2 - 1) * s * hit for s in (0.4, 0.4, 0.4, 0.1)]
    for what in torch.randperm(4).tolist():
        change = changes[what].view(-1, 1, 1, 1)
        if what == 0:
            x = (x * (1 + change)).clamp(0, 1)
        elif what == 1:
            x = (x + (x - luma(x).mean((1, 2, 3), keepdim=True)) * change).clamp(0, 1)
        elif what == 2:
            x = (x + (x - luma(x)) * change).clamp(0, 1)
        else:
            x = turn_hue(x, change)
    return x


def turn_hue(x, turn):
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - low
    safe = chroma.clamp(min=1e-12)
    red, green, blue = x.split(1, 1)
    hue = torch.where(green == value, (blue - red) / safe + 2, (red - green) / safe + 4)
    hue = torch.where(red == value, (green - blue) / safe, hue) + 6 * turn
    k = [(hue + n).remainder(6) for n in (5, 3, 1)]
    return torch.cat([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in k], 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("device")
    parser.add_argument("steps", type=int)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(1)
    device = torch.device(args.device)
    images = torch.randint(0, 256, (8192, 3, 32, 32), dtype=torch.uint8, device=device)
    query, key = Network(args.width).to(device, memory_format=torch.channels_last), Network(args.width)
    key.to(device, memory_format=torch.channels_last).load_state_dict(query.state_dict())
    queue = F.normalize(torch.randn(4096, 128, device=device), dim=1)
    optimizer = torch.optim.SGD(query.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    forward_q, forward_k = (torch.compile(query), torch.compile(key)) if args.compile else (query, key)

    def step(at):
        rows = torch.randint(0, len(images), (args.batch,), device=device)
        x = images[rows].float() / 255
        x_q, x_k = [((view(x) - 0.5) / 0.25).contiguous(memory_format=torch.channels_last) for _ in range(2)]
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            q = forward_q(x_q)
            with torch.no_grad():
                for p_k, p_q in zip(key.parameters(), query.parameters()):
                    p_k.lerp_(p_q, 0.01)
                order = torch.randperm(args.batch, device=device)
                k = forward_k(x_k[order])[order.argsort()]
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.clone().T], 1) / 0.1
        loss = F.cross_entropy(logits, torch.zeros(args.batch, dtype=torch.long, device=device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        start = at * args.batch % 4096
        queue[start : start + args.batch] = k[: 4096 - start]
        return loss

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    for at in range(min(3, args.steps)):
        step(at)
    wait()
    start = time.perf_counter()
    for at in range(args.steps):
        loss = step(at)
    wait()
    seconds = time.perf_counter() - start
    print(json.dumps({
        "what": "plain PyTorch" + (", compiled" if args.compile else ""),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "width": args.width,
        "batch": args.batch,
        "bf16": args.bf16,
        "steps": args.steps,
        "images_per_second": args.steps * args.batch / seconds,
        "loss": loss.item(),
    }))


if __name__ == "__main__":
    main()
