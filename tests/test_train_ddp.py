"""train_ddp.py: several processes train as one does."""

import os
import re
import socket
import subprocess
import sys

import pytest
import torch
import train_ddp
from conftest import CHECKPOINT, ROOT

import train_mnist

COMMANDS = re.findall(r"torchrun .*\.py", train_ddp.__doc__.replace("\\\n", ""))
linux = pytest.mark.skipif(sys.platform != "linux", reason="gloo is for Linux")


def launch(machines, *flags):
    """Train with two processes and the docstring's command; return the parameters.

    For two machines, two launchers on this machine are started.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = COMMANDS[machines - 1].replace("HOST:29500", endpoint).split()
    command[:1] = [sys.executable, "-m", "torch.distributed.run"]
    command[-1] = ROOT / command[-1]
    command = [*map(str, [*command, *flags])]
    launchers = [subprocess.Popen(command) for _ in range(machines)]
    assert [launcher.wait() for launcher in launchers] == [0] * machines
    assert os.listdir() == [CHECKPOINT]
    return torch.load(CHECKPOINT)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_train_as_one(train, small_data, machines):
    """With all samples in one step, their order does not matter."""
    flags = ["--data-dir", small_data, "--epochs", 3, "--batch-size", 640]
    train(*flags)
    alone = torch.load(CHECKPOINT)
    together = launch(machines, *flags)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value)


@linux
@pytest.mark.slow
def test_each_process_takes_a_share_of_the_batch(train, small_data):
    """So there are as many steps, and the weights move about as far."""
    torch.manual_seed(1)
    start = train_mnist.make_model()[1].bias.detach()
    flags = ["--data-dir", small_data, "--epochs", 3]
    train(*flags)
    alone = (torch.load(CHECKPOINT)["1.bias"] - start).norm()
    together = (launch(1, *flags)["1.bias"] - start).norm()
    assert together.item() == pytest.approx(alone.item(), rel=0.2)


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cpu"), (2, "cuda:1")])
def test_device(monkeypatch, gpus, device):
    """Pretend that PyTorch reports GPUs."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert train_ddp.choose_device() == device
    assert chosen == [device] * (device != "cpu")


@pytest.mark.parametrize(
    ("flags", "processes", "error"),
    [
        ([], None, "with torchrun"),
        (["--batch-size", "64"], "3", "--batch-size must be a multiple of"),
        (["--batch-size", "0"], "2", "--batch-size must be a multiple of"),
    ],
)
def test_refused(monkeypatch, capsys, flags, processes, error):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.setattr(sys, "argv", ["train_ddp.py", *flags])
    with pytest.raises(SystemExit, match="2"):
        train_ddp.parse_args()
    assert error in capsys.readouterr().err
