"""Train a two-layer network on MNIST, evaluate it after each epoch, and save it."""

import argparse
import io
import math
import os
import sys
import time
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader


def main():
    """Run the post's six steps; what they call follows below, in the same order."""
    args = parse_args()
    torch.manual_seed(args.seed)
    print(f"Device: {args.device}")

    # 1. DataSet
    train_dataset = read_mnist(args.data_dir, train=True)
    eval_dataset = read_mnist(args.data_dir, train=False)
    train_loader = DataLoader(train_dataset, batch_size=args.batch_size, shuffle=True)
    eval_loader = DataLoader(eval_dataset, batch_size=args.batch_size, shuffle=False)

    # 2. Model
    model = make_model().to(args.device)

    # 3. Criterion
    criterion = nn.CrossEntropyLoss()

    # 4. Optimizer
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)

    # 5. Train Iterator
    total_step = len(train_loader)
    model.train()  # turns on layers such as Dropout, which evaluate() turns off
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        for step, (inputs, targets) in enumerate(train_loader, start=1):
            inputs, targets = inputs.to(args.device), targets.to(args.device)
            inputs = inputs.reshape(-1, 28 * 28)  # both reshapes go for a conv net
            outputs = model(inputs)
            loss = criterion(outputs, targets)

            optimizer.zero_grad()  # backward() adds to the gradients it finds
            loss.backward()  # computes the gradient of the loss for each parameter
            optimizer.step()  # SGD: each parameter -= lr * its gradient

            if step % args.log_interval == 0:
                progress = f"Epoch [{epoch}/{args.epochs}], Step [{step}/{total_step}]"
                print(f"{progress}, Loss: {loss.item():.4f}", flush=True)

        # 6. Evaluation Logic
        accuracy, eval_loss = evaluate(model, criterion, eval_loader, args.device)
        print(f"Model Accuracy: {accuracy:.2f} %, Loss: {eval_loss:.4f}", end=", ")
        print(f"Time: {time.perf_counter() - start:.1f} s", flush=True)
        if not math.isfinite(eval_loss):
            sys.exit(f"error: the loss is {eval_loss}, not saved; try a smaller --lr")

        # Checkpoint
        save_checkpoint(model.state_dict(), args.checkpoint)
    print(f"Checkpoint: {args.checkpoint}")


def read_mnist(data_dir, train, transform=None):
    """Return a split of MNIST: pairs of an image (1, 28, 28) in [0, 1] and its digit.

    A transform gets the PIL image each time it is asked for, in place of ToTensor.
    """
    try:
        mnist = torchvision.datasets.MNIST(data_dir, train, transform, download=True)
        if len(mnist.data) != len(mnist.targets):
            raise ValueError(f"{len(mnist.data)} images, {len(mnist.targets)} labels")
    except OSError as error:
        sys.exit(f"error: cannot unpack MNIST, or read what is unpacked: {error}")
    except Exception as error:
        raise SystemExit(
            f"error: cannot read MNIST: {error!r}; {data_dir}/MNIST/raw needs the four "
            "archives (*.gz); files *-ubyte are unpacked from them, and can be deleted"
        ) from error
    if mnist.transforms is not None:
        return mnist
    images = mnist.data.unsqueeze(1).float().div_(255)  # as ToTensor, but all at once
    return list(zip(images, mnist.targets.tolist()))


def make_model():
    """Return the model: from inputs (n, 784) to logits (n, 10), a score a digit."""
    return nn.Sequential(
        nn.Linear(28 * 28, 1024),  # nothing between the two, as in the post
        nn.Linear(1024, 10),
    )


@torch.no_grad()  # turns autograd off, which model.eval() does not
def evaluate(model, criterion, eval_loader, device):
    """Return the accuracy in percent and the mean loss over all samples."""
    model.eval()
    correct_cnt = total_cnt = total_loss = 0
    for inputs, targets in eval_loader:
        inputs, targets = inputs.to(device), targets.to(device)
        outputs = model(inputs.reshape(-1, 28 * 28))  # the other reshape
        predicted = outputs.argmax(dim=1)
        correct_cnt += (predicted == targets).sum()
        total_cnt += len(targets)
        total_loss += criterion(outputs, targets) * len(targets)  # it is a mean
    model.train()
    return 100 * correct_cnt.item() / total_cnt, total_loss.item() / total_cnt


def save_checkpoint(state, path):
    """Save a state, such as model.state_dict(), or leave path as it was and exit."""
    buffer = io.BytesIO()
    torch.save(state, buffer)  # its error would not say that the disk is full
    path = Path(path).resolve()  # where a link leads
    temporary = path.with_name(f"unfinished-{os.urandom(8).hex()}.pth")  # this run's
    try:
        with open(temporary, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file)  # all on the disk before it takes the name
        temporary.replace(path)
    except OSError as error:
        sys.exit(f"error: cannot save {path}: {error}")
    finally:
        temporary.unlink(missing_ok=True)


def parse_args():
    devices = ["cpu"]
    if torch.accelerator.is_available():
        devices.insert(0, torch.accelerator.current_accelerator().type)  # cuda, mps ...
    datasets = Path(__file__).resolve().parent / "datasets"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=count, default=10, help="passes over the data")
    parser.add_argument("--batch-size", type=count, default=64, help="samples per step")
    parser.add_argument("--lr", type=rate, default=0.003, help="learning rate")
    parser.add_argument("--seed", type=seed, default=1, help="of weights and shuffling")
    parser.add_argument("--log-interval", type=count, default=100, help="steps a line")
    parser.add_argument("--device", choices=devices, default=devices[0], help="to use")
    parser.add_argument("--data-dir", default=datasets, help="folder of MNIST/raw")
    parser.add_argument(
        "--checkpoint", type=writable, default="mnist_dnn_model.pth", help="to save to"
    )
    return parser.parse_args()


def count(text):
    if int(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return int(text)


def rate(text):
    if not 0 < float(text) < math.inf:  # refuses nan as well
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return float(text)


def seed(text):
    if not 0 <= int(text) < 2**64:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 2**64 - 1")
    return int(text)


def writable(text):
    path = Path(text).resolve()
    is_free = not path.exists() or (path.is_file() and os.access(path, os.W_OK))
    if not is_free or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"no file can be written at {path}")
    return text


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Stopped", file=sys.stderr)
        sys.exit(130)
