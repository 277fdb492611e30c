"""Train as train_mnist.py does, by several processes: one for each GPU, or core.

On one machine, with two processes:

    torchrun --nproc-per-node=2 tests/examples/train_ddp.py

On two machines, the same line on each, where HOST is the name of one of them:

    torchrun --nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d \
        --rdzv-endpoint=HOST:29500 tests/examples/train_ddp.py

Each process has the whole model and takes a share of each batch. Before a step, the
processes average their gradients, so that their models stay equal.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from train_mnist import evaluate, make_model, read_mnist


def main():
    args = parse_args()
    # torchrun tells each process which of all it is, and which on its machine.
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    device = choose_device(local_rank, int(os.environ["LOCAL_WORLD_SIZE"]))
    distributed.init_process_group()
    torch.manual_seed(1)

    train_dataset = read_mnist(args.data_dir, train=True)
    eval_dataset = read_mnist(args.data_dir, train=False)
    sampler = DistributedSampler(train_dataset, seed=1)  # a share of the samples
    share = args.batch_size // distributed.get_world_size()
    train_loader = DataLoader(train_dataset, batch_size=share, sampler=sampler)
    eval_loader = DataLoader(eval_dataset, batch_size=args.batch_size)

    model = make_model().to(device)
    # Gives all processes rank 0's weights, and at each step the mean of their gradients
    ddp_model = nn.parallel.DistributedDataParallel(model)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)

    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        sampler.set_epoch(epoch)  # another order in each epoch
        for inputs, targets in train_loader:
            inputs, targets = inputs.to(device), targets.to(device)
            outputs = ddp_model(inputs.reshape(-1, 28 * 28))
            loss = criterion(outputs, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            accuracy, _ = evaluate(model, criterion, eval_loader, device)
            seconds = time.perf_counter() - start
            print(
                f"Model Accuracy: {accuracy:.2f} %, Time: {seconds:.1f} s", flush=True
            )
            torch.save(model.state_dict(), f"{args.checkpoint}.unfinished")
            os.replace(f"{args.checkpoint}.unfinished", args.checkpoint)
    distributed.destroy_process_group()


def choose_device(local_rank, processes):
    """Return this process's GPU, or the CPU if the machine has too few GPUs for all."""
    gpus = torch.cuda.device_count()
    device = torch.device("cuda", local_rank) if gpus >= processes else "cpu"
    print(f"Device: {device}, with {gpus} GPUs for {processes} processes", flush=True)
    return device


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=64, help="of all together")
    parser.add_argument("--data-dir", default=ROOT / "datasets", help="of MNIST/raw")
    parser.add_argument(
        "--checkpoint", default="mnist_dnn_model.pth", help="to save to"
    )
    args = parser.parse_args()
    if "WORLD_SIZE" not in os.environ:
        parser.error("start it with torchrun, as in the README")
    if args.batch_size % int(os.environ["WORLD_SIZE"]) or args.batch_size < 1:
        parser.error("--batch-size must be a multiple of the number of processes")
    return args


if __name__ == "__main__":
    main()
