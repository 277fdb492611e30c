"""Train the model of train_mnist.py with several processes, one for each GPU or core.

    torchrun --standalone --nproc-per-node=4 tests/examples/train_ddp.py --batch-size 16

torchrun is short for python -m torch.distributed.run. 4 is the number of processes; gpu
in its place means one for each GPU. Each process has a copy of the model and trains it
with its share of the data. In each step, the processes average their gradients, so that
their copies stay equal. The first process prints the loss of its share, evaluates the
model, and saves it.

The flags and functions are those of train_mnist.py. --batch-size is each process's.
The GPUs may be NVIDIA's or AMD's, which PyTorch also calls cuda. On a Mac, add
--device cpu.
"""

import math
import os
import sys
import time
from pathlib import Path

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from train_mnist import evaluate, make_model, parse_args, read_mnist


def main():
    args = parse_args()
    device = args.device
    if device == "cuda":  # the launcher tells each process of a machine its number
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)  # for what the processes send to each other
    print(f"Device: {device}", flush=True)
    distributed.init_process_group()
    rank = distributed.get_rank()
    torch.manual_seed(args.seed)  # the same in all: a random split must be the same

    train_dataset = read_mnist(args.data_dir, train=True)
    eval_dataset = read_mnist(args.data_dir, train=False)
    sampler = DistributedSampler(train_dataset, seed=args.seed)  # gives out the shares
    train_loader = DataLoader(train_dataset, args.batch_size, sampler=sampler)
    eval_loader = DataLoader(eval_dataset, args.batch_size)

    model = make_model().to(device)
    # Copies the first process's weights to all, and averages gradients in backward()
    ddp_model = nn.parallel.DistributedDataParallel(model)
    torch.manual_seed(args.seed + rank)  # from here on, Dropout must differ
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)

    total_step = len(train_loader)
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        sampler.set_epoch(epoch)  # another order in each epoch
        ddp_model.train()
        for step, (inputs, targets) in enumerate(train_loader, start=1):
            inputs, targets = inputs.to(device), targets.to(device)
            outputs = ddp_model(inputs)
            loss = criterion(outputs, targets)

            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            if rank == 0 and (step % args.log_interval == 0 or step == total_step):
                progress = f"Epoch [{epoch}/{args.epochs}], Step [{step}/{total_step}]"
                print(f"{progress}, Loss: {loss.item():.4f}", flush=True)
        # What changes the training, such as a scheduler's step(), belongs above this
        # line: all processes must do it. Below, the first one evaluates and saves.
        if rank != 0:
            continue

        accuracy, eval_loss = evaluate(model, criterion, eval_loader, device)
        seconds = time.perf_counter() - start
        result = f"Model Accuracy: {accuracy:.2f} %, Eval Loss: {eval_loss:.4f}"
        print(f"{result}, Time: {seconds:.1f} s", flush=True)
        if not math.isfinite(eval_loss):
            problem = f"the loss is {eval_loss}, so this epoch is not saved"
            raise SystemExit(f"error: {problem}; try a smaller --lr, or check the data")

        unfinished = f"{args.checkpoint}.{os.getpid()}"
        with open(unfinished, "wb") as file:
            torch.save(model.state_dict(), file)
        os.replace(unfinished, args.checkpoint)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
