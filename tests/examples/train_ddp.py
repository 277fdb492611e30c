"""Train as train_mnist.py does, by several processes: one for each GPU, or core.

torchrun --nproc-per-node=2 tests/examples/train_ddp.py
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
from train_mnist import count, evaluate, make_model, read_mnist, save_checkpoint


def main():
    args = parse_args()
    # torchrun tells each process which of all it is, and which on its machine.
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    distributed.init_process_group()
    torch.manual_seed(1)

    if local_rank > 0:
        distributed.barrier()  # until the first process of each machine has unpacked
    train_dataset = read_mnist(args.data_dir, train=True)
    if local_rank == 0:
        distributed.barrier()
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
            save_checkpoint(model.state_dict(), args.checkpoint)
    distributed.destroy_process_group()


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=count, default=10, help="passes over the data")
    parser.add_argument("--batch-size", type=count, default=64, help="of all together")
    parser.add_argument("--data-dir", default=ROOT / "datasets", help="of MNIST/raw")
    parser.add_argument(
        "--checkpoint", default="mnist_dnn_model.pth", help="to save to"
    )
    args = parser.parse_args()
    if "WORLD_SIZE" not in os.environ:
        parser.error("start it with torchrun, as in the README")
    world_size = int(os.environ["WORLD_SIZE"])
    if args.batch_size % world_size:
        parser.error(
            f"{world_size} processes can't share --batch-size {args.batch_size}"
        )
    return args


if __name__ == "__main__":
    main()
