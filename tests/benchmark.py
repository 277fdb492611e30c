"""Time an epoch of the script, of the post's listing and of a bare loop over tensors.

    python tests/benchmark.py [--rounds 5] [--epochs 4]

The three run in turn, each in a process of its own, as often as there are rounds. The
first epoch of each run is left out. Other programs on the machine can only make a run
slower, so the ratios are those of the least times. At the end, it takes a step of the
script apart. Needs the module resource, so not Windows.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain, pairwise, repeat
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def time_script(epochs):
    """Run train_mnist.py's main() and return its seconds for each epoch but the first.

    An epoch lasts from the end of one checkpoint's saving to the start of the next's.
    """
    import train_mnist

    save, marks = train_mnist.save_checkpoint, []

    def save_and_mark(state, path):
        marks.append(time.perf_counter())
        save(state, path)
        marks.append(time.perf_counter())

    train_mnist.save_checkpoint = save_and_mark
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["train_mnist.py", "--epochs", str(epochs), "--device", "cpu"]
        sys.argv += ["--checkpoint", f"{folder}/checkpoint.pth"]
        train_mnist.main()
    return [end - start for start, end in zip(marks[1::2], marks[2::2])]


def time_listing(epochs):
    """Run the post's procedure and return its seconds for each epoch but the first."""
    import reference

    marks = [time.perf_counter() for _ in reference.train(ROOT / "datasets", epochs)]
    return [end - start for start, end in pairwise(marks)]


def time_bare_loop(epochs):
    """Run the same steps on tensors that are just indexed: the floor for the script."""
    import torch
    from torchvision.datasets import MNIST

    train, test = (MNIST(ROOT / "datasets", train=t, download=True) for t in (1, 0))
    train_x = train.data.reshape(-1, 784).float().div_(255)
    test_x = test.data.reshape(-1, 784).float().div_(255)
    model = torch.nn.Sequential(torch.nn.Linear(784, 1024), torch.nn.Linear(1024, 10))
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)
    marks = []
    for _ in range(epochs):
        model.train()
        for batch in torch.randperm(60000).split(64):
            loss = criterion(model(train_x[batch]), train.targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        right = total_loss = 0
        with torch.inference_mode():
            for x, y in zip(test_x.split(64), test.targets.split(64)):
                logits = model(x)
                right += (logits.argmax(1) == y).sum()
                total_loss += criterion(logits, y) * len(y)
        print(f"{right.item()} right, loss {total_loss.item() / 10000}")
        marks.append(time.perf_counter())
    return [end - start for start, end in pairwise(marks)]


RUNS = {
    "the post's listing": time_listing,
    "train_mnist.py": time_script,
    "bare loop": time_bare_loop,
}


def time_step(steps=2000):
    """Return the median seconds of each part of the script's training step."""
    import torch

    import train_mnist

    train_dataset = train_mnist.read_mnist(ROOT / "datasets", train=True)
    train_loader = torch.utils.data.DataLoader(train_dataset, 64, shuffle=True)
    model = train_mnist.make_model()
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)
    parts = {"fetch": [], "forward and loss": [], "backward": [], "optimizer": []}
    batches = chain.from_iterable(repeat(train_loader))
    for _ in range(steps):
        marks = [time.perf_counter()]
        inputs, targets = next(batches)
        marks.append(time.perf_counter())
        loss = criterion(model(inputs.reshape(-1, 28 * 28)), targets)
        marks.append(time.perf_counter())
        optimizer.zero_grad()
        loss.backward()
        marks.append(time.perf_counter())
        optimizer.step()
        marks.append(time.perf_counter())
        for times, (start, end) in zip(parts.values(), pairwise(marks)):
            times.append(end - start)
    return {part: statistics.median(times) for part, times in parts.items()}


def run_alone(name, epochs):
    """Run one of RUNS in a new process.

    Returns (seconds of each epoch but the first, peak memory in MB, seconds from the
    start to the first line about a step, None without such a line).
    """
    with tempfile.NamedTemporaryFile("r") as report:
        command = [sys.executable, __file__, "--epochs", str(epochs)]
        start = time.perf_counter()
        child = subprocess.Popen(
            [*command, "--run", name, "--report", report.name],
            stdout=subprocess.PIPE,
            text=True,
        )
        first_step = None
        for line in child.stdout:
            if first_step is None and "Step [" in line:
                first_step = time.perf_counter() - start
        if child.wait() != 0:
            sys.exit(f"{name} failed")
        return (*json.load(report), first_step)


def main():
    """Print the table of seconds, ratios, memory and start-up times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="of each run, at least 2")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--report", help=argparse.SUPPRESS)
    args = parser.parse_args()

    sys.path.insert(0, str(ROOT))
    if args.run:
        seconds = RUNS[args.run](args.epochs)
        unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        Path(args.report).write_text(json.dumps([seconds, peak]))
        return

    seconds, peaks, starts = ({name: [] for name in RUNS} for _ in range(3))
    for _ in range(args.rounds):
        for name in RUNS:
            epoch_seconds, peak, first_step = run_alone(name, args.epochs)
            seconds[name] += epoch_seconds
            peaks[name].append(peak)
            starts[name].append(first_step)

    import torch

    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(
        "| | least s an epoch | median | most | of bare loop | MB | s to first step |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    floor = min(seconds["bare loop"])
    for name, times in seconds.items():
        least, median, most = min(times), statistics.median(times), max(times)
        start = "" if starts[name][0] is None else f"{min(starts[name]):.1f}"
        cells = f"{least:.2f} | {median:.2f} | {most:.2f} | {least / floor:.2f}"
        print(f"| {name} | {cells} | {max(peaks[name]):.0f} | {start} |")
    script, listing = min(seconds["train_mnist.py"]), min(seconds["the post's listing"])
    memory = max(peaks["train_mnist.py"]) / max(peaks["the post's listing"])
    print(f"The script is {listing / script:.1f} times as fast as the post's listing,")
    print(f"with {memory:.2f} of its memory.")
    parts = (f"{part} {1e3 * s:.2f} ms" for part, s in time_step().items())
    print(f"The median step: {', '.join(parts)}.")


if __name__ == "__main__":
    main()
