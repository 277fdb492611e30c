"""The blog post's procedure, to compare the script with: python tests/reference.py 2

In the post's order and with its variable names, so that the two can be read side by
side. It imports nothing from train_mnist.py.
"""

import sys
from pathlib import Path

import torch
import torchvision
from torch import nn
from torchvision import transforms

DATASETS = Path(__file__).resolve().parent.parent / "datasets"


def train(epochs, seed=1):
    """Train as the post does; return the model, its losses and its accuracies.

    There is a loss for each step, and for each epoch an accuracy in percent.
    """
    torch.manual_seed(seed)  # the post has no seed

    # MNIST dataset
    train_dataset = torchvision.datasets.MNIST(
        DATASETS, train=True, transform=transforms.ToTensor(), download=True
    )
    eval_dataset = torchvision.datasets.MNIST(
        DATASETS, train=False, transform=transforms.ToTensor()
    )

    # Data loader
    train_loader = torch.utils.data.DataLoader(
        train_dataset, batch_size=64, shuffle=True
    )
    eval_loader = torch.utils.data.DataLoader(
        eval_dataset, batch_size=64, shuffle=False
    )

    # model
    model = nn.Sequential(nn.Linear(784, 1024), nn.Linear(1024, 10))

    # Loss Function & Optimizer
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)

    losses, accuracies = [], []
    total_step = len(train_loader)
    model.train()
    for epoch in range(epochs):
        for i, (inputs, targets) in enumerate(train_loader):
            inputs = inputs.reshape(-1, 28 * 28)
            outputs = model(inputs)
            loss = criterion(outputs, targets)

            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            losses.append(loss.item())
            progress = f"Epoch [{epoch + 1}/{epochs}], Step [{i + 1}/{total_step}]"
            print(f"{progress}, Loss: {losses[-1]:.4f}")

        model.eval()
        correct_cnt = 0
        total_cnt = 0
        for inputs, targets in eval_loader:
            inputs = inputs.reshape(-1, 28 * 28)
            outputs = model(inputs)
            loss = criterion(outputs, targets)  # computed, but not used in the post

            _, predicted = torch.max(outputs.data, 1)
            total_cnt += targets.size(0)
            correct_cnt += (predicted == targets).sum()
        accuracies.append((100 * correct_cnt / total_cnt).item())
        print(f"Model Accuracy: {accuracies[-1]:.2f} %")
        model.train()

    return model, losses, accuracies


if __name__ == "__main__":
    train(epochs=int(sys.argv[1]))
