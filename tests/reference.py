"""The blog post's procedure, sample by sample: what train_mnist.py has to equal.

It imports nothing from the script, so that the two can only agree by doing the same.
"""

import sys
from pathlib import Path

import torch
from torchvision import datasets, transforms

DATASETS = Path(__file__).resolve().parent.parent / "datasets"


def train(data_dir, epochs):
    """Train as the post does; after each epoch yield (losses, accuracy, model).

    losses is a float a step, accuracy is in percent. The steps are printed, one a line.
    """
    as_tensor = transforms.ToTensor()
    splits = {
        train: datasets.MNIST(data_dir, train=train, transform=as_tensor, download=True)
        for train in (True, False)
    }
    batches = {
        train: torch.utils.data.DataLoader(split, batch_size=64, shuffle=train)
        for train, split in splits.items()
    }
    model = torch.nn.Sequential(torch.nn.Linear(784, 1024), torch.nn.Linear(1024, 10))
    cross_entropy = torch.nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(model.parameters(), lr=0.003)
    for epoch in range(1, epochs + 1):
        model.train()
        losses = []
        for step, (images, digits) in enumerate(batches[True], start=1):
            loss = cross_entropy(model(images.reshape(-1, 784)), digits)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(loss.item())
            progress = f"Epoch [{epoch}/{epochs}], Step [{step}/{len(batches[True])}]"
            print(f"{progress}, Loss: {losses[-1]:.4f}")
        model.eval()
        right = 0
        for images, digits in batches[False]:
            logits = model(images.reshape(-1, 784))
            cross_entropy(logits, digits)  # the post computes it and drops it
            right += (torch.max(logits.data, 1)[1] == digits).sum()
        accuracy = (100 * right / len(splits[False])).item()
        print(f"Model Accuracy: {accuracy:.2f} %")
        yield losses, accuracy, model


if __name__ == "__main__":
    for _ in train(DATASETS, epochs=int(sys.argv[1])):
        pass
