"""train_ddp.py: several processes train as one does."""

import os
import sys
from pathlib import Path

import pytest
import torch
import train_ddp
from documents import block, change, sides
from helpers import CHECKPOINT, ROOT, run
from torch import nn

# The page's command, with two processes for its four
_, *LAUNCH, PROGRAM, _, _ = block("sh ddp").replace("=4", "=2").split()
PROGRAM = ROOT / PROGRAM


@pytest.fixture
def launch(small_data, home):
    """A function that runs a program in two processes and returns the lines printed."""
    if sys.platform != "linux":
        pytest.skip("tried on Linux only")

    def launch(program, *flags):
        flags = ("--device", "cpu", "--data-dir", small_data, *flags)
        return run(sys.executable, *LAUNCH, program, *flags, cwd=home)[0].splitlines()

    return launch


@pytest.mark.slow
def test_two_processes_train_as_one(train, launch):
    """With all samples in one step, half of them each, their order does not matter."""
    flags = ("--epochs", 3, "--lr", 0.01, "--batch-size")
    train(*flags, 640)
    alone = torch.load(CHECKPOINT)
    launch(PROGRAM, *flags, 320)
    assert os.listdir() == [CHECKPOINT]
    for name, value in torch.load(CHECKPOINT).items():
        torch.testing.assert_close(value, alone[name])


SPLIT = """\
     eval_dataset = read_mnist(args.data_dir, train=False)
+    train_dataset, rest = torch.utils.data.random_split(train_dataset, [64, 576])
...
     optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
+    torch.save((rest.indices, torch.rand(3)), f"{rank}.pt")
"""


@pytest.mark.slow
def test_random_split_is_the_same_in_both_processes_but_dropout_is_not(launch):
    """Without learning, only other samples can change the loss of the first process."""
    parts = [sides(part) for part in SPLIT.split("...\n")]
    Path("split.py").write_text(change(PROGRAM.read_text("utf-8"), parts), "utf-8")
    Path("train_mnist.py").write_bytes((ROOT / "train_mnist.py").read_bytes())
    flags = ("--epochs", 2, "--lr", 0, "--batch-size", 16, "--log-interval", 1)
    lines = launch("split.py", *flags)
    (indices, drawn), (same_indices, other) = map(torch.load, ("0.pt", "1.pt"))
    assert indices == same_indices and not torch.equal(drawn, other)
    losses = [line.split("Loss: ")[1] for line in lines if "Step" in line]
    assert len(losses) == 4 and losses[:2] != losses[2:]


class Spy(nn.Linear):
    """A model with the same weights for all seeds, which notes its modes."""

    def __init__(self):
        super().__init__(784, 10, bias=False)
        self.weight = nn.Parameter(torch.linspace(0, 1, 7840).reshape(10, 784))
        self.modes = []

    def forward(self, inputs):
        self.modes.append(self.training)
        return super().forward(inputs.flatten(1))


def test_each_epoch_begins_in_training_mode(train, one_process, monkeypatch):
    model, evaluate = Spy(), train_ddp.evaluate

    def evaluate_spy(evaluated, *others):
        assert evaluated is model  # and not the copies of all processes
        assert len(others[1].dataset) == 100  # the test set
        return evaluate(evaluated, *others)

    monkeypatch.setattr(train_ddp, "make_model", lambda: model)
    monkeypatch.setattr(train_ddp, "evaluate", evaluate_spy)
    train("--epochs", 2, "--batch-size", 640, script=train_ddp)
    assert model.modes == [True, False, True, False]


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_seed_decides_the_order(train, one_process, monkeypatch, seed, same):
    """Without learning, only another order can change the losses of the steps."""
    monkeypatch.setattr(train_ddp, "make_model", Spy)
    flags = ("--epochs", 1, "--lr", 0, "--log-interval", 1, "--seed")
    losses = []
    for number in (1, seed):
        lines = train(*flags, number, script=train_ddp)
        losses.append([line for line in lines if "Step" in line])
    assert (losses[0] == losses[1]) == same


def test_each_epoch_has_its_own_order(train, one_process, monkeypatch):
    """As above, without learning."""
    monkeypatch.setattr(train_ddp, "make_model", Spy)
    lines = train("--epochs", 2, "--lr", 0, "--log-interval", 1, script=train_ddp)
    losses = [line.split("Loss: ")[1] for line in lines if "Step" in line]
    assert losses[:10] != losses[10:]


def test_each_process_has_its_gpu(monkeypatch):
    """Pretend that there is a GPU for each process; stop where they would meet."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(sys, "argv", ["train_ddp.py", "--device", "cuda"])
    with pytest.raises(TypeError):
        train_ddp.main()
    assert chosen == ["cuda:1"]
