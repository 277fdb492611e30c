"""The fixtures that several tests share."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile

import pytest
import reference
import torch
from helpers import CONFINED, RAW, SCRIPT
from own_data import write_data, write_weights
from torch import distributed
from torch.optim.optimizer import register_optimizer_step_pre_hook

import train_mnist

# PyTorch's threads wait for each other in busy loops: beside another program, several
# threads are much slower than one. This is for the tests and the programs they start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_report_header():
    return f"network and root's rights in the first run: {'off' if CONFINED else 'ON'}"


@pytest.fixture(scope="session")
def first_run(tmp_path_factory):
    """Two epochs from a read-only clone, whose path has a space and Korean letters.

    These are its current folder, the printed lines, and what reference.train() returns,
    which runs at the same time.
    """
    clone = tmp_path_factory.mktemp("a clone 복사본")
    shutil.copy(SCRIPT, clone)
    shutil.copytree(RAW, clone / "datasets" / "MNIST" / "raw")
    for path in (clone, *clone.rglob("*")):
        path.chmod(0o555)
    folder = tmp_path_factory.mktemp("elsewhere")
    flags = ["--device", "cpu", "--epochs", "2", "--log-interval", "1"]
    command = [*CONFINED, sys.executable, str(clone / "train_mnist.py"), *flags]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        with subprocess.Popen(command, cwd=folder, stdout=output) as script:
            with contextlib.redirect_stdout(io.StringIO()):
                expected = reference.train(epochs=2, seed=1)
        assert script.returncode == 0
        output.seek(0)
        return folder, output.read().splitlines(), expected


@pytest.fixture
def small_data(tmp_path):
    """A --data-dir with the first 640 training and 100 test samples of MNIST."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 640), ("t10k", 100)):
        for kind, header, size in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
            name = f"{split}-{kind}-ubyte"
            with open(RAW / name, "rb") as file:
                content = bytearray(file.read(header + count * size))
            content[4:8] = count.to_bytes(4, "big")
            (raw / name).write_bytes(content)
    return tmp_path / "data"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def train(small_data, home, monkeypatch, capsys):
    """A function that runs main() with flags and returns the lines printed."""

    def train(*flags, script=train_mnist):
        if hasattr(script, "read_mnist"):
            flags = ("--data-dir", small_data, *flags)
        flags = ("--device", "cpu", *flags)
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, flags)])
        script.main()
        return capsys.readouterr().out.splitlines()

    return train


@pytest.fixture
def steps():
    """For each step that an optimizer takes, its kind and its settings."""
    steps = []

    def hook(optimizer, *_):
        steps.append({"kind": type(optimizer), **optimizer.param_groups[0]})

    handle = register_optimizer_step_pre_hook(hook)
    yield steps
    handle.remove()


@pytest.fixture
def one_process(monkeypatch):
    """What train_ddp.py is told when it is the only process."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "0")  # any free port
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.fixture(scope="session")
def torch_home(tmp_path_factory):
    """A cache of torch with weights in place of ImageNet's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("cache")))
        write_weights()
        return os.environ["TORCH_HOME"]


@pytest.fixture
def own_data(home, torch_home, monkeypatch):
    """Photos and a table in the current folder, and the cache."""
    monkeypatch.setenv("TORCH_HOME", torch_home)
    write_data()
