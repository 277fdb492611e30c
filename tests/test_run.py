"""The main job: the post's results from a fresh clone, and what the flags do."""

import contextlib
import hashlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import reference
import torch
from conftest import CHECKPOINT, RAW, ROOT, SCRIPT, run, without_times
from torch import nn
from torchvision.datasets import MNIST

import train_mnist

# Neither network nor root's right to write everywhere; not every machine allows it.
CONFINED = ["unshare", "--user", "--net"]
if not shutil.which("unshare") or subprocess.call([*CONFINED, "true"]):
    CONFINED = []


@pytest.fixture(scope="module")
def read_only_clone(clone):
    paths = [clone, *clone.rglob("*")]
    for path in paths:
        path.chmod(0o555)
    yield clone
    for path in paths:
        path.chmod(0o755)


@pytest.fixture(scope="module")
def two_epochs(read_only_clone, tmp_path_factory):
    """A first run from a folder elsewhere, for two epochs: (model, printed lines)."""
    folder = tmp_path_factory.mktemp("elsewhere")
    script = read_only_clone / "train_mnist.py"
    flags = ["--device", "cpu", "--epochs", 2, "--log-interval", 1]
    output, _ = run(*CONFINED, sys.executable, script, *flags, cwd=folder)
    assert os.listdir(folder) == [CHECKPOINT]
    model = nn.Sequential(nn.Linear(784, 1024), nn.Linear(1024, 10))  # the post's
    model.load_state_dict(torch.load(folder / CHECKPOINT, weights_only=True))
    return model, output.splitlines()


def test_a_read_only_clone_trains_with_the_network_off(two_epochs):
    lines = two_epochs[1]
    assert "\n".join(lines).isascii()  # for every terminal
    assert len(lines) == 1 + 2 * (938 + 1) + 1
    assert (lines[0], lines[-1]) == ("Device: cpu", f"Checkpoint: {CHECKPOINT}")
    shape = r"Model Accuracy: \d\d\.\d\d %, Eval Loss: \d\.\d{4}, Time: \d+\.\d s"
    assert all(re.fullmatch(shape, line) for line in (lines[939], lines[1878]))
    if not CONFINED:
        pytest.skip("all well, but tried with the network on, and perhaps as root")


def test_same_as_the_post_bit_for_bit(two_epochs):
    model, lines = two_epochs
    torch.manual_seed(1)
    with contextlib.redirect_stdout(io.StringIO()):
        posts = reference.train(ROOT / "datasets", epochs=2)
        for first, (losses, accuracy, posts_model) in zip((1, 940), posts, strict=True):
            shown = [line.split("Loss: ")[1] for line in lines[first : first + 938]]
            assert shown == [f"{loss:.4f}" for loss in losses]
            assert lines[first + 938].startswith(f"Model Accuracy: {accuracy:.2f} %, ")
    for ours, other in zip(model.parameters(), posts_model.parameters(), strict=True):
        assert torch.equal(ours, other)


def test_four_first_runs_at_once(read_only_clone, home):
    """All four save to one path, too."""
    flags = ["--device", "cpu", "--epochs", "1", "--batch-size", "6000"]
    command = [sys.executable, read_only_clone / "train_mnist.py", *flags]
    runs = [subprocess.Popen(command) for _ in range(4)]
    assert [run.wait() for run in runs] == [0] * 4
    assert os.listdir() == [CHECKPOINT]
    assert torch.load(CHECKPOINT, weights_only=True)["1.bias"].shape == (10,)


def test_data_are_mnists_own():
    readme = (ROOT / "datasets" / "README.md").read_text("utf-8")
    sums = dict(re.findall(r"`(.*-ubyte)` \| .* `([0-9a-f]{64})`", readme))
    assert sorted(sums) == sorted(path.name for path in RAW.iterdir())
    for name, sum_ in sums.items():
        content = (RAW / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sum_
        assert f"`{name}` | " in readme and f" {len(content):,} | " in readme
    for archive, md5 in MNIST.resources:
        assert f"| `{archive}` | `{md5}` |" in readme


def test_a_seed_decides_the_run(train):
    flags = ("--epochs", 2, "--log-interval", 1)
    one = without_times(train(*flags))
    assert one == without_times(train(*flags, "--seed", 1))
    for seed in (-1, 0, 2):
        other = train(*flags, "--seed", seed)
        assert all(a != b for a, b in zip(one[1:11], other[1:11]))


@pytest.mark.parametrize(
    ("flags", "epochs", "steps", "of"),
    [
        ("--batch-size 3", 10, [100, 200], 214),
        ("", 10, [], 10),
        ("--epochs 3 --log-interval 4", 3, [4, 8], 10),
        ("--epochs 1 --log-interval 1 --batch-size 100", 1, range(1, 8), 7),
    ],
)
def test_steps_and_epochs(train, flags, epochs, steps, of):
    lines = train(*flags.split())
    assert [line.split(", Loss")[0] for line in lines if "Step" in line] == [
        f"Epoch [{epoch}/{epochs}], Step [{step}/{of}]"
        for epoch in range(1, epochs + 1)
        for step in steps
    ]
    assert sum(line.startswith("Model Accuracy") for line in lines) == epochs


def test_lr_and_batch_size_reach_their_places(train, monkeypatch):
    seen = []

    class SGD(torch.optim.SGD):
        def __init__(self, parameters, lr):
            seen.append(lr)
            super().__init__(parameters, lr)

    def evaluate(model, criterion, eval_loader, device):
        seen.append(eval_loader.batch_size)
        return 10.0, 2.3

    monkeypatch.setattr(torch.optim, "SGD", SGD)
    monkeypatch.setattr(train_mnist, "evaluate", evaluate)
    train("--epochs", 1, "--lr", 0.01, "--batch-size", 3)
    assert seen == [0.01, 3]


def test_defaults_are_the_posts_and_shown_by_help(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--help"])
    monkeypatch.setenv("COLUMNS", "1000")  # no path is broken
    with pytest.raises(SystemExit):
        train_mnist.parse_args()
    text = " ".join(capsys.readouterr().out.split())
    assert train_mnist.__doc__ in text
    defaults = ["10", "64", "0.003", "1", "100", str(ROOT / "datasets"), CHECKPOINT]
    shown = re.findall(r"--[a-z-]+ [A-Z_]+ [^()]+ \(default: ([^)]*)\)", text)
    assert shown.pop(5) in ("cuda", "mps", "xpu", "cpu")
    assert shown == defaults


def test_device_is_the_accelerator_where_there_is_one(monkeypatch):
    """A GPU, which this machine may not have, is put in PyTorch's mouth."""
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: gpu)
    for flags, device in (
        ("", "cuda"),
        ("--device cpu", "cpu"),
        ("--device cuda:1", "cuda:1"),
    ):
        monkeypatch.setattr(sys, "argv", ["train_mnist.py", *flags.split()])
        assert str(train_mnist.parse_args().device) == device


def test_everything_goes_to_the_device(train):
    """PyTorch's device "meta" computes shapes alone; a tensor elsewhere is an error."""
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        train("--device", "meta", "--epochs", 1)


def test_evaluation_goes_to_the_device(train, monkeypatch):
    """As above, with "meta" able to tell a number, so that evaluate() is completed."""
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1.0)
    assert train("--device", "meta", "--epochs", 1)[0] == "Device: meta"


@pytest.mark.parametrize("path", ["모델 one/model.pth", "link.pth", "absolute"])
def test_checkpoint_goes_where_it_should(train, home, path):
    os.mkdir("모델 one")
    os.symlink("no such file", "link.pth")
    path = home / "model.pth" if path == "absolute" else Path(path)
    assert train("--epochs", 1, "--checkpoint", path)[-1] == f"Checkpoint: {path}"
    assert torch.load(path, weights_only=True)["1.bias"].shape == (10,)


def test_every_epoch_is_saved_better_or_worse(train, monkeypatch):
    accuracies, biases = iter((30.0, 20.0, 10.0)), []

    def evaluate(model, *_):
        biases.append(model[1].bias.tolist())
        if len(biases) > 1:  # the epoch before is on the disk by now
            saved = torch.load(CHECKPOINT, weights_only=True)
            assert saved["1.bias"].tolist() == biases[-2]
        return next(accuracies), 1.0

    monkeypatch.setattr(train_mnist, "evaluate", evaluate)
    train("--epochs", 3)
    assert torch.load(CHECKPOINT, weights_only=True)["1.bias"].tolist() == biases[2]


def test_every_line_is_shown_at_once(train):
    """A pipe or a log file shows a line of results before the next step is done."""
    flushed = []

    class Pipe(io.StringIO):
        def flush(self):
            flushed.append(self.getvalue().splitlines()[-1])

    with contextlib.redirect_stdout(Pipe()) as pipe:
        train("--epochs", 1, "--log-interval", 4)
    assert flushed == [line for line in pipe.getvalue().splitlines() if "Loss" in line]


def test_time_is_that_of_one_epoch(train, monkeypatch):
    """A step takes an hour, and so does an evaluation."""
    clock = [0.0]

    class SGD(torch.optim.SGD):
        def step(self):
            clock[0] += 3600
            super().step()

    def evaluate(*_):
        clock[0] += 3600
        return 10.0, 2.3

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.optim, "SGD", SGD)
    monkeypatch.setattr(train_mnist, "evaluate", evaluate)
    times = [line.split("Time: ")[1] for line in train("--epochs", 3) if "Time" in line]
    assert times == ["39600.0 s"] * 3  # ten steps and an evaluation


def test_modes_and_autograd_are_those_of_the_moment(train, monkeypatch):
    modes = []

    class Spy(nn.Linear):
        def forward(self, inputs):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(inputs)

    monkeypatch.setattr(train_mnist, "make_model", lambda: Spy(784, 10).eval())
    train("--epochs", 2)
    assert modes == ([(True, True)] * 10 + [(False, False)] * 2) * 2


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_evaluation_is_exact(batch_size):
    """Ten samples whose first pixels are the logits; seven are classified right."""
    logits = torch.eye(10) * 3
    logits[7:] = logits[7:].flip(1)
    inputs = nn.functional.pad(logits, (0, 774)).reshape(10, 1, 28, 28)
    model = nn.Sequential(nn.Linear(784, 10), nn.Dropout(0.9))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(10, 784))
        model[0].bias.zero_()
    loader = torch.utils.data.DataLoader(list(zip(inputs, range(10))), batch_size)
    criterion = nn.CrossEntropyLoss()
    accuracy, loss = train_mnist.evaluate(model, criterion, loader, "cpu")
    assert accuracy == 70
    assert loss == pytest.approx(criterion(logits, torch.arange(10)).item(), rel=1e-6)
    assert (type(accuracy), type(loss), model.training) == (float, float, True)


def test_importing_has_no_side_effect(home, capsys):
    state = torch.random.get_rng_state()
    runpy.run_path(str(SCRIPT), run_name="train_mnist")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert capsys.readouterr() == ("", "")
    assert os.listdir(home) == []


def test_main_comes_first_with_the_posts_headings_and_two_packages_do():
    before, main, *_ = SCRIPT.read_text("utf-8").split("\ndef ")
    assert main.startswith("main()")
    headings = "1. DataSet, 2. Model, 3. Criterion, 4. Optimizer, 5. Train Iterator, "
    headings += "6. Evaluation Logic, Checkpoint"
    found = re.findall(r"^ +# (\d\. .*|Checkpoint)$", main, re.MULTILINE)
    assert ", ".join(found) == headings
    imported = re.findall(r"^(?:import|from) (\w+)", before, re.MULTILINE)
    assert set(imported) - sys.stdlib_module_names == {"torch", "torchvision"}
