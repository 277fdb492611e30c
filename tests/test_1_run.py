"""The main job: the post's numbers from a fresh clone, and what the flags do."""

import contextlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import reference
import torch
from conftest import ARCHIVES, CHECKPOINT, SCRIPT, results, run
from torch import nn
from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_integrity

import train_mnist

OFFLINE = ["unshare", "--map-root-user", "--net"]
if not shutil.which("unshare") or subprocess.call([*OFFLINE, "true"]):
    OFFLINE = []  # this machine can't take the network away from a process


@pytest.fixture(scope="module")
def two_epochs(clone, tmp_path_factory):
    """A first run in a fresh clone, offline, from elsewhere: (model, lines)."""
    folder = tmp_path_factory.mktemp("elsewhere")
    command = [*OFFLINE, sys.executable, clone / "train_mnist.py"]
    lines = run(*command, "--epochs", 2, "--log-interval", 1, cwd=folder).splitlines()
    assert os.listdir(folder) == [CHECKPOINT]
    model = nn.Sequential(nn.Linear(784, 1024), nn.Linear(1024, 10))  # the post's
    model.load_state_dict(torch.load(folder / CHECKPOINT, weights_only=True))
    return model, lines


def test_a_fresh_clone_trains_with_the_network_off(two_epochs):
    lines = two_epochs[1]
    assert "\n".join(lines).isascii()
    assert len(lines) == 1 + 2 * (938 + 1) + 1
    assert (lines[0], lines[-1]) == ("Device: cpu", f"Checkpoint: {CHECKPOINT}")
    shape = r"Model Accuracy: \d+\.\d\d %, Loss: \d\.\d{4}, Time: \d+\.\d s"
    assert all(re.fullmatch(shape, line) for line in (lines[939], lines[1878]))
    if not OFFLINE:
        pytest.skip("all well, but with the network on")


def test_same_as_the_post_bit_for_bit(two_epochs, clone):
    model, lines = two_epochs
    torch.manual_seed(1)
    with contextlib.redirect_stdout(io.StringIO()):
        posts = reference.train(clone / "datasets", 2)
        for first, (losses, accuracy, posts_model) in zip((1, 940), posts, strict=True):
            shown = [line.split("Loss: ")[1] for line in lines[first : first + 938]]
            assert shown == [f"{loss:.4f}" for loss in losses]
            assert lines[first + 938].startswith(f"Model Accuracy: {accuracy:.2f} %, ")
    for ours, posts in zip(model.parameters(), posts_model.parameters(), strict=True):
        assert torch.equal(ours, posts)


def test_a_seed_decides_the_run(train):
    flags = ("--epochs", 2, "--log-interval", 1)
    one = results(train(*flags))
    assert one == results(train(*flags, "--seed", 1))
    for seed in (0, 2, 2**64 - 1):
        for line, other in zip(one[1:11], train(*flags, "--seed", seed)[1:11]):
            assert line != other


@pytest.mark.parametrize(
    ("flags", "epochs", "steps", "of"),
    [
        ("--batch-size 3", 10, [100, 200], 214),
        ("", 10, [], 10),
        ("--epochs 3 --log-interval 4", 3, [4, 8], 10),
        ("--epochs 1 --log-interval 1 --batch-size 100", 1, range(1, 8), 7),
        ("--epochs 1 --log-interval 1 --batch-size 999999999999", 1, [1], 1),
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


@pytest.mark.parametrize("given", ["relative", "absolute", "link", "dangling link"])
def test_checkpoint_goes_where_it_should(train, home, given):
    target = home / "모델 one" / ("a" * 251 + ".pth")  # the longest name there can be
    target.parent.mkdir()
    flag = target if given == "absolute" else target.relative_to(home)
    if "link" in given:
        flag = home / "latest.pth"
        flag.symlink_to(target)
        if given == "link":
            target.write_bytes(b"an old checkpoint")
    assert train("--epochs", 1, "--checkpoint", flag)[-1] == f"Checkpoint: {flag}"
    assert torch.load(target, weights_only=True)["1.bias"].shape == (10,)
    assert os.listdir(target.parent) == [target.name]
    assert flag.is_symlink() == ("link" in given)


def test_device_is_the_accelerator_where_there_is_one(monkeypatch):
    """A GPU, which this machine may not have, is put in PyTorch's mouth."""
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: gpu)
    for flags, device in (([], "cuda"), (["--device", "cpu"], "cpu")):
        monkeypatch.setattr(sys, "argv", ["train_mnist.py", *flags])
        assert train_mnist.parse_args().device == device


def test_help_shows_every_default(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--help"])
    with pytest.raises(SystemExit):
        train_mnist.parse_args()
    text = " ".join(capsys.readouterr().out.split())
    assert train_mnist.__doc__ in text
    defaults = ["10", "64", "0.003", "1", "100", "cpu"]
    defaults += [str(SCRIPT.parent / "datasets"), CHECKPOINT]
    assert (
        re.findall(r"--[a-z-]+ [A-Z{]\S+ [^()]+ \(default: ([^)]*)\)", text) == defaults
    )


def test_every_epoch_is_saved_better_or_worse(train, monkeypatch):
    accuracies, saved = iter((30.0, 20.0, 10.0)), set()
    monkeypatch.setattr(train_mnist, "evaluate", lambda *_: (next(accuracies), 1.0))
    monkeypatch.setattr(
        train_mnist,
        "save_checkpoint",
        lambda state, _: saved.add(state["1.bias"][0].item()),
    )
    train("--epochs", 3)
    assert len(saved) == 3


def test_every_line_is_shown_at_once(train):
    """A pipe or a log file has to show a line before the next step is done."""
    flushed = []

    class Pipe(io.StringIO):
        def flush(self):
            flushed.append(self.getvalue().splitlines()[-1])

    with contextlib.redirect_stdout(Pipe()) as pipe:
        train("--epochs", 1, "--log-interval", 4)
    assert flushed == [line for line in pipe.getvalue().splitlines() if "Loss" in line]


def test_time_is_that_of_one_epoch(train, monkeypatch):
    """The clock goes on by one hour whenever it is looked at."""
    hours = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: 3600.0 * next(hours))
    times = [line.split("Time: ")[1] for line in train("--epochs", 3) if "Time" in line]
    assert times == ["3600.0 s"] * 3


def test_modes_and_autograd_are_those_of_the_moment(train, monkeypatch):
    modes = []

    class Spy(nn.Linear):
        def forward(self, inputs):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(inputs)

    monkeypatch.setattr(train_mnist, "make_model", lambda: Spy(784, 10).eval())
    train("--epochs", 2)
    assert modes == ([(True, True)] * 10 + [(False, False)] * 2) * 2


def test_everything_goes_to_the_device(train, monkeypatch):
    moved = []
    for kind in (torch.Tensor, nn.Module):
        monkeypatch.setattr(kind, "to", lambda self, to: moved.append(to) or self)
    train("--epochs", 1)
    assert moved == ["cpu"] * (1 + 2 * (10 + 2))  # the model, and every batch


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
    assert ", ".join(re.findall(r"^ +# (.*)", main, re.MULTILINE)) == headings
    imported = re.findall(r"^(?:import|from) (\w+)", before, re.MULTILINE)
    assert set(imported) - sys.stdlib_module_names == {"torch", "torchvision"}


def test_archives_are_the_ones_torchvision_expects():
    readme = (ARCHIVES.parents[1] / "README.md").read_text("utf-8")
    for name, md5 in MNIST.resources:
        assert check_integrity(ARCHIVES / name, md5)
        size = f"{(ARCHIVES / name).stat().st_size:,}"
        assert re.search(rf"`{name}` \| .* \| {size} \| `{md5}`", readme)
