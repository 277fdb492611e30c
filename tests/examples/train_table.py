"""Train a small network on your table, evaluate it after each epoch, and save it.

The six steps are those of Tutorial-1 on https://blog.nerdfactory.ai (2020, in Korean).
The table (CSV, UTF-8) has a header, then columns of numbers, and at last the class.
"""

import argparse
import csv
import math
import os
import time
import unicodedata
from collections import Counter
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def main():
    """Run the blog post's six steps. Steps 1, 2 and 6 call the functions below."""
    args = parse_args()  # by default 10 epochs, batches of 8, learning rate 0.1
    torch.manual_seed(args.seed)  # the same initial weights and shuffling in every run
    print(f"Device: {args.device}")

    # 1. DataSet
    train_dataset = read_table(args.table)
    (*columns, last), classes = train_dataset.header, train_dataset.classes
    print(f"{len(columns)} columns, from {columns[0]} to {columns[-1]}; class: {last}")
    show_classes(train_dataset)
    least = min(Counter(train_dataset.targets).values())
    if len(classes) < 2 or len(train_dataset) < 10 or least < 2:
        problem = "at least two classes, and ten samples, two for each class"
        raise SystemExit(f"error: too few: {problem}")
    train_dataset, eval_dataset = random_split(train_dataset, [0.8, 0.2])
    train_loader = DataLoader(train_dataset, batch_size=args.batch_size, shuffle=True)
    eval_loader = DataLoader(eval_dataset, batch_size=args.batch_size, shuffle=False)

    # 2. Model
    model = make_model(len(columns), len(classes))
    # Brings each column to one scale, which is that of the rows to train on.
    rows = torch.stack([row for row, _ in train_dataset])
    std = rows.std(dim=0)
    model[0].mean, model[0].std = rows.mean(dim=0), torch.where(std > 0, std, 1)
    model = model.to(args.device)  # moves it to the GPU, if one is used

    # 3. Criterion
    # Compares outputs (n, classes), scores (logits), with targets (n,): the loss is
    # small if the right class scores far above the rest. Includes softmax: the model
    # has none.
    criterion = nn.CrossEntropyLoss()

    # 4. Optimizer
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)

    # 5. Train Iterator
    total_step = len(train_loader)
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        model.train()  # switches layers such as Dropout, not autograd; undoes eval()
        for step, (inputs, targets) in enumerate(train_loader, start=1):
            # A batch: rows (n, columns) and their classes (n,)
            inputs, targets = inputs.to(args.device), targets.to(args.device)
            outputs = model(inputs)  # scores (n, classes)
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
            names = {"columns": columns, "classes": classes}
            torch.save({"model": model.state_dict(), **names}, file)
        os.replace(unfinished, args.checkpoint)
        # To load: see classify_table.py. To go on training from it, save to another
        # --checkpoint.
    print(f"Checkpoint: {args.checkpoint}")


def read_table(path):
    """Return pairs of a row, a float tensor (columns,), and the number of its class."""
    header, rows = read_rows(path)
    if len(header) < 2:
        raise SystemExit(f"error: {path}, line 1: put commas between the columns")
    numbers = to_numbers(path, header, rows, header[:-1])
    for name, *column in zip(header, *numbers):
        first = min(column)
        counting = [first + place for place in range(len(column))]
        if len(column) > 9 and sorted(column) == counting:
            problem = f"{name!r} numbers the rows, which can give the class away"
            raise SystemExit(f"error: {path}, line 1: {problem}: delete that column")
    for line, row in rows:
        if not row[-1]:
            raise SystemExit(f"error: {path}, line {line}: the class is empty")
    classes = sorted({row[-1] for _, row in rows})
    places = {name: place for place, name in enumerate(classes)}
    targets = [places[row[-1]] for _, row in rows]
    dataset = TensorDataset(torch.tensor(numbers), torch.tensor(targets))
    dataset.header, dataset.classes, dataset.targets = header, classes, targets
    return dataset


def read_rows(path):
    """Return a table's header and its rows, each with the number of its line."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = csv.reader(file)
            lines = [(table.line_num, [*map(tidy, row)]) for row in table if row]
    except UnicodeDecodeError:
        problem = 'is not in UTF-8: save it as "CSV UTF-8"'
        raise SystemExit(f"error: {path} {problem}") from None
    if len(lines) < 2:
        raise SystemExit(f"error: {path} has no rows below a header")
    (_, header), *rows = lines
    if "" in header or len({*header}) < len(header):
        raise SystemExit(f"error: {path}, line 1: each column needs a name of its own")
    return header, rows


def to_numbers(path, header, rows, columns):
    """Return the numbers in the columns of these names, a list for each row."""
    for name in columns:
        if name not in header:
            raise SystemExit(f"error: {path}, line 1: no column {name!r} in {header}")
    places = [header.index(name) for name in columns]
    numbers = []
    for line, row in rows:
        if len(row) != len(header):
            problem = f"{len(row)} cells, but the header has {len(header)}"
            raise SystemExit(f"error: {path}, line {line}: {problem}")
        numbers.append([])
        for place in places:
            try:
                number = float(row[place])
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                problem = f"{header[place]} is {row[place]!r}, which is no number"
                raise SystemExit(f"error: {path}, line {line}: {problem}")
            numbers[-1].append(number)
    return numbers


def tidy(name):
    """Return a name without spaces around it, and with letters as most systems write.

    A Mac may store 가 as the two letters ㄱ and ㅏ, which looks the same.
    """
    return unicodedata.normalize("NFC", name.strip())


def show_classes(dataset):
    """Print the samples of each class, and the accuracy of always answering one."""
    counts = Counter(dataset.targets)
    for number, name in enumerate(dataset.classes):
        print(f"{counts[number]} samples of {name}")
    percent = 100 * max(counts.values()) / len(dataset)
    print(f"Always answering the largest class would give {percent:.2f} %")


class Scale(nn.Module):
    """Brings each column to mean 0 and standard deviation 1; main() sets the two."""

    def __init__(self, columns):
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("std", torch.ones(columns))

    def forward(self, rows):
        return (rows - self.mean) / self.std


def make_model(columns, classes):
    """Return the model: from rows (n, columns) to scores (n, classes)."""
    layers = [Scale(columns), nn.Linear(columns, 64), nn.ReLU(), nn.Linear(64, classes)]
    return nn.Sequential(*layers)


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

            predicted = outputs.argmax(dim=1)  # the class with the highest score
            correct_cnt += (predicted == targets).sum().item()
            total_cnt += len(targets)
            total_loss += loss.item() * len(targets)  # loss is the mean over the batch
    return 100 * correct_cnt / total_cnt, total_loss / total_cnt


def parse_args():
    """Return the flags' values: --batch-size 32 becomes args.batch_size == 32."""
    device = "cpu"
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator().type  # such as cuda or mps
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=8, help="samples per step")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    parser.add_argument(
        "--log-interval", type=int, default=5, help="steps between printed losses"
    )
    parser.add_argument("--device", default=device, help="cpu, cuda, cuda:1, mps, ...")
    parser.add_argument(
        "--table",
        type=Path,
        default="table.csv",
        help="CSV file; its last column is the class",
    )
    parser.add_argument(
        "--checkpoint", type=Path, default="table.pth", help="file to save to"
    )
    args = parser.parse_args()
    if min(args.epochs, args.batch_size, args.log_interval) < 1:
        parser.error("--epochs, --batch-size and --log-interval must be 1 or more")
    if not args.table.is_file():
        parser.error(f"--table must be a file, not {args.table}")
    path = args.checkpoint
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        parser.error("--checkpoint must be a file in a folder that exists")
    return args


if __name__ == "__main__":
    main()
