"""A ResNet-18 of torchvision in plain PyTorch, from scratch or fine-tuned from weights of your own."""
# /// coldstart
# summary = "torchvision's ResNet-18, trained by SGD with a cosine"
#
# [params.epochs]
# type = "integer"
# default = 30
# minimum = 1
#
# [params.lr]
# type = "number"
# default = 0.05
#
# [params.batch_size]
# type = "integer"
# default = 64
# minimum = 2
#
# [params.weights]
# type = "string"
# default = ""
# description = "A file of torch.save with a state_dict to begin with; empty for none"
# ///

import torch
import torchvision
from torch import nn


class Learner:
    def __init__(self):
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(True)

    def network(self):
        net = torchvision.models.resnet18(num_classes=len(self.data.classes))
        if self.params["weights"]:
            state = torch.load(self.params["weights"], weights_only=True)
            net.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")}, strict=False)
        if min(self.data.shape[:2]) <= 64:  # small images: keep their detail
            net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        return net.to(self.device)

    def fit(self, labelled, labels, seed, warm):
        torch.manual_seed(seed)
        if not warm:
            self.net = self.network()
        x, y = self.images(labelled), torch.tensor(labels, device=self.device)
        epochs, size = self.params["epochs"], self.params["batch_size"]
        optimizer = torch.optim.SGD(self.net.parameters(), self.params["lr"], momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        self.net.train()
        for epoch in range(epochs):
            batches = [rows for rows in torch.randperm(len(x)).split(size) if len(rows) > 1]
            for rows in batches:
                flip = torch.rand(1) < 0.5
                batch = x[rows].flip(3) if flip else x[rows]
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.net(batch), y[rows]).backward()
                optimizer.step()
            schedule.step()
            self.progress(epoch + 1, epochs)

    @torch.no_grad()
    def answer(self, ids, network, chunk=256):
        self.net.eval()
        return torch.cat([network(self.images(ids[i : i + chunk])) for i in range(0, len(ids), chunk)])

    def predict(self, ids):
        return self.answer(ids, self.net).softmax(dim=1)

    def embed(self, ids):
        body = nn.Sequential(*list(self.net.children())[:-1], nn.Flatten())
        return self.answer(ids, body)

    def images(self, ids):
        x_nchw = torch.tensor(self.data.images(ids)).permute(0, 3, 1, 2).float() / 255
        x_nchw = x_nchw if x_nchw.shape[1] == 3 else x_nchw.expand(-1, 3, -1, -1)
        return ((x_nchw - 0.5) / 0.25).to(self.device)

    def save(self, path):
        torch.save(self.net.state_dict(), path)

    def load(self, path):
        self.net = self.network()
        self.net.load_state_dict(torch.load(path, weights_only=True))
