"""Train the model of train_mnist.py with several processes, one for each GPU or core.

On one machine, with two processes:

    torchrun --nproc-per-node=2 tests/examples/train_ddp.py

On two machines, the same line on each, where HOST is the name of one of them:

    torchrun --nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d \
        --rdzv-endpoint=HOST:29500 tests/examples/train_ddp.py

Each process has a copy of the model and trains it with its share of the data. In each
step, the processes average their gradients, so that their models stay equal. The first
process evaluates the model and saves it.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import train_mnist
from train_mnist import evaluate, make_model, read_mnist


def main():
    args = parse_args()
    device = choose_device()
    distributed.init_process_group()
    rank = distributed.get_rank()
    torch.manual_seed(1 + rank)  # so that Dropout differs between the processes

    train_dataset = read_mnist(args.data_dir, train=True)
    eval_dataset = read_mnist(args.data_dir, train=False)
    sampler = DistributedSampler(train_dataset, seed=1)  # this process's samples
    train_loader = DataLoader(train_dataset, args.batch_size, sampler=sampler)
    eval_loader = DataLoader(eval_dataset, args.batch_size)

    model = make_model().to(device)
    # Copies the weights of rank 0 to all, and averages the gradients in backward()
    ddp_model = nn.parallel.DistributedDataParallel(model)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)

    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        sampler.set_epoch(epoch)  # another order in each epoch
        ddp_model.train()
        for inputs, targets in train_loader:
            inputs, targets = inputs.to(device), targets.to(device)
            inputs = inputs.flatten(1)
            outputs = ddp_model(inputs)
            loss = criterion(outputs, targets)

            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            accuracy, _ = evaluate(model, criterion, eval_loader, device)
            seconds = time.perf_counter() - start
            result = f"Model Accuracy: {accuracy:.2f} %"
            print(f"{result}, Time: {seconds:.1f} s", flush=True)
            torch.save(model.state_dict(), f"{args.checkpoint}.unfinished")
            os.replace(f"{args.checkpoint}.unfinished", args.checkpoint)
    distributed.destroy_process_group()


def choose_device():
    """Return this process's GPU, or "cpu" if there are fewer GPUs than processes."""
    device = "cpu"
    # torchrun sets these variables: how many processes this machine has, and which one
    if torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"]):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)  # for what the processes send to each other
    print(f"Device: {device}", flush=True)
    return device


def parse_args():
    data_dir = Path(train_mnist.__file__).parent / "datasets"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--batch-size", type=int, default=32, help="samples per step of each process"
    )
    parser.add_argument("--data-dir", default=data_dir)
    parser.add_argument("--checkpoint", default="mnist_dnn_model.pth")
    args = parser.parse_args()
    if "LOCAL_RANK" not in os.environ:
        parser.error("start this program with torchrun, as its docstring says")
    return args


if __name__ == "__main__":
    main()
