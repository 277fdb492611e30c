"""Tests of examples/train_ddp.py: several processes train as one does."""

import os
import re
import socket
import subprocess
import sys

import pytest
import torch
import train_ddp
from conftest import CHECKPOINT, ROOT
from readme import section

COMMANDS = re.findall(
    r"^torchrun .*", section("More than one GPU or machine"), re.MULTILINE
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo is for Linux")
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_train_as_one(train, small_data, home, machines):
    """With all samples in one step the order does not matter: the weights are equal.

    Two launchers on one machine stand for the two machines.
    """
    flags = ["--data-dir", small_data, "--epochs", 3, "--batch-size", 640]
    train(*flags)
    alone = torch.load(CHECKPOINT, weights_only=True)
    os.remove(CHECKPOINT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = COMMANDS[machines - 1].replace("HOST:29500", endpoint).split()
    command[:1] = [sys.executable, "-m", "torch.distributed.run"]
    command[-1] = str(ROOT / command[-1])
    started = [
        subprocess.Popen(
            [*command, *map(str, flags)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(machines)
    ]
    try:
        outputs = [process.communicate(timeout=100)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * machines, outputs
    assert len(re.findall(r"Model Accuracy: (.*?) %", "".join(outputs))) == 3
    together = torch.load(CHECKPOINT, weights_only=True)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value)


@pytest.mark.parametrize(
    ("flags", "world_size", "error"),
    [
        ([], None, "start it with torchrun"),
        (["--batch-size", "64"], "3", "3 processes can't share --batch-size 64"),
    ],
)
def test_refused(monkeypatch, capsys, flags, world_size, error):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    monkeypatch.setattr(sys, "argv", ["train_ddp.py", *flags])
    with pytest.raises(SystemExit) as stop:
        train_ddp.main()
    assert stop.value.code == 2
    assert f"error: {error}" in capsys.readouterr().err
