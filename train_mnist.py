"""Train a two-layer network on MNIST, evaluate it after each epoch, and save it.

The six steps are those of Tutorial-1 on https://blog.nerdfactory.ai (2020, in Korean).
"""

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
    """Run the blog post's six steps. Steps 1, 2 and 6 call the functions below."""
    args = parse_args()  # by default 10 epochs, batches of 64, learning rate 0.003
    torch.manual_seed(args.seed)  # the same initial weights and shuffling in every run
    print(f"Device: {args.device}")

    # 1. DataSet
    train_dataset = read_mnist(args.data_dir, train=True)
    # The test split. To choose settings, keep back some of the training split instead.
    eval_dataset = read_mnist(args.data_dir, train=False)
    train_loader = DataLoader(train_dataset, batch_size=args.batch_size, shuffle=True)
    eval_loader = DataLoader(eval_dataset, batch_size=args.batch_size, shuffle=False)

    # 2. Model
    model = make_model().to(args.device)  # moves it to the GPU, if one is used

    # 3. Criterion
    # Compares outputs (n, 10), scores (logits), with targets (n,): the loss is small if
    # the right digit scores far above the rest. Includes softmax: the model has none.
    criterion = nn.CrossEntropyLoss()

    # 4. Optimizer
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)

    # 5. Train Iterator
    total_step = len(train_loader)
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        model.train()  # switches layers such as Dropout, not autograd; undoes eval()
        for step, (inputs, targets) in enumerate(train_loader, start=1):
            # A batch: images (n, channels=1, 28, 28) and their digits (n,)
            inputs, targets = inputs.to(args.device), targets.to(args.device)
            outputs = model(inputs)  # scores (n, 10)
            loss = criterion(outputs, targets)

            optimizer.zero_grad()  # clears the old gradients: backward() adds to them
            loss.backward()  # computes the gradient of the loss for each parameter
            optimizer.step()  # SGD: parameter -= lr * gradient

            if step % args.log_interval == 0 or step == total_step:
                progress = f"Epoch [{epoch}/{args.epochs}], Step [{step}/{total_step}]"
                print(f"{progress}, Loss: {loss.item():.4f}", flush=True)

        # 6. Evaluation Logic
        accuracy, eval_loss = evaluate(model, criterion, eval_loader, args.device)
        seconds = time.perf_counter() - start
        result = f"Model Accuracy: {accuracy:.2f} %, Eval Loss: {eval_loss:.4f}"
        print(f"{result}, Time: {seconds:.1f} s", flush=True)
        if not math.isfinite(eval_loss):
            problem = f"the loss is {eval_loss}, so this epoch is not saved"
            raise SystemExit(f"error: {problem}; try a smaller --lr, or check the data")

        # Checkpoint
        # Save under a temporary name first: an interruption leaves the old file whole.
        unfinished = f"{args.checkpoint}.{os.getpid()}"
        with open(unfinished, "wb") as file:  # gives a clear error if the disk is full
            torch.save(model.state_dict(), file)
        os.replace(unfinished, args.checkpoint)
        # To load: model.load_state_dict(torch.load(path, map_location="cpu")); then, to
        # use it, model.eval(). To go on training from it, save to another --checkpoint.
    print(f"Checkpoint: {args.checkpoint}")


def read_mnist(data_dir, train):
    """Return MNIST's training or test split as pairs of an image and its digit.

    An image is a float tensor (1, 28, 28) with values from 0 to 1.
    """
    mnist = torchvision.datasets.MNIST(data_dir, train, download=True)
    if mnist.transforms:  # a transform typed into the line above must act every time
        return mnist
    # Scales all images at once; ToTensor() would do it one by one in every epoch.
    images = mnist.data.unsqueeze(1).float()  # (n, 28, 28) to (n, 1, 28, 28)
    images /= 255
    return list(zip(images, mnist.targets.tolist()))  # DataLoader takes lists, too


def make_model():
    """Return the model: from images (n, 1, 28, 28) to scores (n, 10), one per digit."""
    return nn.Sequential(
        nn.Flatten(),  # the post's reshape in steps 5 and 6: (n, 1, 28, 28) to (n, 784)
        nn.Linear(28 * 28, 1024),
        # As in the post, nothing stands here, so the two layers can do no more than
        # one. The README shows what nn.ReLU() changes.
        nn.Linear(1024, 10),
    )


def evaluate(model, criterion, eval_loader, device):
    """Return the accuracy in percent and the mean loss over all samples.

    The model is left in evaluation mode. With class weights, the mean is approximate.
    """
    model.eval()  # switches layers such as Dropout; autograd stays on
    correct_cnt, total_cnt, total_loss = 0, 0, 0.0
    with torch.no_grad():  # turns autograd off, as no gradients are needed here
        for inputs, targets in eval_loader:
            inputs, targets = inputs.to(device), targets.to(device)
            outputs = model(inputs)
            loss = criterion(outputs, targets)

            predicted = outputs.argmax(dim=1)  # the digit with the highest score
            correct_cnt += (predicted == targets).sum().item()
            total_cnt += len(targets)
            total_loss += loss.item() * len(targets)  # loss is the mean over the batch
    return 100 * correct_cnt / total_cnt, total_loss / total_cnt


def parse_args():
    """Return the flags' values: --batch-size 32 becomes args.batch_size == 32."""
    device = "cpu"
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator().type  # such as cuda or mps
    data_dir = Path(__file__).resolve().parent / "datasets"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=64, help="samples per step")
    parser.add_argument("--lr", type=float, default=0.003, help="learning rate")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    parser.add_argument(
        "--log-interval", type=int, default=100, help="steps between printed losses"
    )
    parser.add_argument("--device", default=device, help="cpu, cuda, cuda:1, mps, ...")
    parser.add_argument(
        "--data-dir", default=data_dir, help="folder with MNIST; downloaded if missing"
    )
    parser.add_argument(
        "--checkpoint", type=Path, default="mnist_dnn_model.pth", help="file to save to"
    )
    args = parser.parse_args()
    if min(args.epochs, args.batch_size, args.log_interval) < 1:
        parser.error("--epochs, --batch-size and --log-interval must be 1 or more")
    path = args.checkpoint
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        parser.error("--checkpoint must be a file in a folder that exists")
    return args


if __name__ == "__main__":
    main()
