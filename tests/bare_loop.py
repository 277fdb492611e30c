"""The script's steps on tensors that are just indexed: what the computing takes."""

import sys
from pathlib import Path

import torch
from torch import nn
from torchvision.datasets import MNIST

DATASETS = Path(__file__).resolve().parent.parent / "datasets"


def main(epochs):
    train, test = (MNIST(DATASETS, train=part) for part in (True, False))
    train_x = train.data.reshape(-1, 784).float().div_(255)
    test_x = test.data.reshape(-1, 784).float().div_(255)
    model = nn.Sequential(nn.Linear(784, 1024), nn.Linear(1024, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)
    for _ in range(epochs):
        for batch in torch.randperm(60000).split(64):
            loss = criterion(model(train_x[batch]), train.targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = total_loss = 0
        with torch.no_grad():
            for x, y in zip(test_x.split(64), test.targets.split(64)):
                logits = model(x)
                right += (logits.argmax(dim=1) == y).sum()
                total_loss += criterion(logits, y) * len(y)
        print(f"{right.item()} right, loss {total_loss.item() / 10000}")


if __name__ == "__main__":
    main(epochs=int(sys.argv[1]))
