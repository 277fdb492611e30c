"""Train a two-layer network on MNIST, evaluate it after each epoch, and save it."""

import argparse
import math
import os
import time
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader


def main():
    """Run the blog post's six steps; their functions follow below in the same order."""
    args = parse_args()
    torch.manual_seed(args.seed)  # same first weights and shuffling in every run
    print(f"Device: {args.device}")

    # 1. DataSet
    train_dataset = read_mnist(args.data_dir, train=True)
    eval_dataset = read_mnist(args.data_dir, train=False)
    # A batch of n samples: inputs (n, 1, 28, 28) and targets (n,), the right digits.
    train_loader = DataLoader(train_dataset, batch_size=args.batch_size, shuffle=True)
    eval_loader = DataLoader(eval_dataset, batch_size=args.batch_size, shuffle=False)

    # 2. Model
    model = make_model().to(args.device)

    # 3. Criterion
    # Compares outputs (n, 10) with targets (n,): the loss is small where the right digit
    # has by far the highest output. The criterion applies softmax; the model must not.
    criterion = nn.CrossEntropyLoss()

    # 4. Optimizer
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)

    # 5. Train Iterator
    total_step = len(train_loader)
    model.train()  # training mode: for layers such as Dropout, not for autograd
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        for step, (inputs, targets) in enumerate(train_loader, start=1):
            inputs, targets = inputs.to(args.device), targets.to(args.device)
            inputs = inputs.reshape(-1, 28 * 28)  # (n, 1, 28, 28) to (n, 784)
            outputs = model(inputs)
            loss = criterion(outputs, targets)

            optimizer.zero_grad()  # clears the old gradients: backward() adds to them
            loss.backward()  # computes the gradient of the loss for each parameter
            optimizer.step()  # SGD: parameter -= lr * gradient

            if step % args.log_interval == 0:
                print(
                    f"Epoch [{epoch}/{args.epochs}], Step [{step}/{total_step}], "
                    f"Loss: {loss.item():.4f}",
                    flush=True,
                )

        # 6. Evaluation Logic
        accuracy, eval_loss = evaluate(model, criterion, eval_loader, args.device)
        seconds = time.perf_counter() - start
        print(
            f"Model Accuracy: {accuracy:.2f} %, Eval Loss: {eval_loss:.4f}, "
            f"Time: {seconds:.1f} s",
            flush=True,
        )
        if not math.isfinite(eval_loss):
            raise SystemExit(
                f"error: the loss is {eval_loss}, so this epoch is not saved; try a "
                "smaller --lr, and look for nan or unscaled values in the data"
            )

        # Checkpoint
        # Saved under another name first, so that a stop leaves the old file whole.
        unfinished = f"{args.checkpoint}.{os.getpid()}"
        with open(unfinished, "wb") as file:
            torch.save(model.state_dict(), file)
        os.replace(unfinished, args.checkpoint)
    print(f"Checkpoint: {args.checkpoint}")


def read_mnist(data_dir, train, transform=None):
    """Return a split of MNIST: pairs of an image (1, 28, 28) in [0, 1] and its digit.

    With a transform, the image is what it makes of a PIL image, anew at each access.
    """
    mnist = torchvision.datasets.MNIST(data_dir, train, transform, download=True)
    if mnist.transforms is not None:  # of the images, the targets or both
        return mnist
    images = mnist.data.unsqueeze(1).float().div_(255)  # as ToTensor, but all at once
    return list(zip(images, mnist.targets.tolist(), strict=True))


def make_model():
    """Return the model: from inputs (n, 784) to outputs (n, 10), one score per digit."""
    return nn.Sequential(
        nn.Linear(28 * 28, 1024),  # no activation follows, as in the post
        nn.Linear(1024, 10),
    )


def evaluate(model, criterion, eval_loader, device):
    """Return the accuracy in percent and the mean loss over all samples."""
    model.eval()  # evaluation mode: for layers such as Dropout, not for autograd
    correct_cnt, total_cnt, total_loss = 0, 0, 0.0
    with torch.no_grad():  # turns autograd off: no gradients are needed here
        for inputs, targets in eval_loader:
            inputs, targets = inputs.to(device), targets.to(device)
            inputs = inputs.reshape(-1, 28 * 28)  # (n, 1, 28, 28) to (n, 784)
            outputs = model(inputs)
            loss = criterion(outputs, targets)

            predicted = outputs.argmax(dim=1)  # the highest score is the answer
            correct_cnt += (predicted == targets).sum().item()
            total_cnt += len(targets)
            total_loss += loss.item() * len(targets)  # loss is the mean of the batch
    model.train()
    return 100 * correct_cnt / total_cnt, total_loss / total_cnt


def parse_args():
    device = "cpu"
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator().type  # such as cuda or mps
    datasets = Path(__file__).resolve().parent / "datasets"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=64, help="samples per step")
    parser.add_argument("--lr", type=float, default=0.003, help="learning rate")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    parser.add_argument("--log-interval", type=int, default=100, help="steps per line")
    parser.add_argument(
        "--device", type=torch.device, default=device, help="cpu, cuda, mps ..."
    )
    parser.add_argument("--data-dir", default=datasets, help="folder of MNIST/raw")
    parser.add_argument(
        "--checkpoint", type=Path, default="mnist_dnn_model.pth", help="file to save to"
    )
    args = parser.parse_args()
    if min(args.epochs, args.batch_size, args.log_interval) < 1:
        parser.error("--epochs, --batch-size and --log-interval must be 1 or more")
    if not 0 < args.lr < math.inf:
        parser.error("--lr must be a finite number above 0")
    path = args.checkpoint
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        parser.error(f"--checkpoint: no file can be saved as {path}")
    return args


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("Stopped")
