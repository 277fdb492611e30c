"""What the tests share: a small data set, and ways to run the script."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest

# PyTorch's threads wait for each other in busy loops: beside another program, several
# threads are much slower than one. This is for the tests and the programs they start.
os.environ["OMP_NUM_THREADS"] = "1"
# A shell starts background jobs with Ctrl-C ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "train_mnist.py"
RAW = ROOT / "datasets" / "MNIST" / "raw"
CHECKPOINT = "mnist_dnn_model.pth"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "examples")]
import readme
import reference

import train_mnist

# Starts a program without a network, and without root's right to write everywhere.
CONFINED = ["unshare", "--user", "--net"]
if not shutil.which("unshare") or subprocess.call([*CONFINED, "true"]):
    CONFINED = []  # this machine does not allow it


@pytest.fixture(scope="session")
def first_run(tmp_path_factory):
    """Two epochs from a read-only clone, whose path has a space and Korean letters.

    These are its current folder, the printed lines, and what reference.train() returns,
    which runs at the same time.
    """
    clone = tmp_path_factory.mktemp("a clone 복사본")
    shutil.copy(SCRIPT, clone)
    shutil.copytree(RAW, clone / "datasets" / "MNIST" / "raw")
    paths = [clone, *clone.rglob("*")]
    for path in paths:
        path.chmod(0o555)
    folder = tmp_path_factory.mktemp("elsewhere")
    flags = ["--device", "cpu", "--epochs", 2, "--log-interval", 1]
    command = [*CONFINED, sys.executable, clone / "train_mnist.py", *flags]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        script = subprocess.Popen([*map(str, command)], cwd=folder, stdout=output)
        with contextlib.redirect_stdout(io.StringIO()):
            expected = reference.train(epochs=2, seed=1)
        assert script.wait() == 0
        output.seek(0)
        lines = output.read().splitlines()
    for path in paths:
        path.chmod(0o755)  # so that pytest can remove it
    return folder, lines, expected


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
        flags = ("--data-dir", small_data, "--device", "cpu", *flags)
        monkeypatch.setattr(sys, "argv", ["train_mnist.py", *map(str, flags)])
        script.main()
        return capsys.readouterr().out.splitlines()

    return train


def changed(*diffs):
    """Return the script as a module, with diffs applied."""
    script = types.ModuleType("changed")
    script.__file__ = str(SCRIPT)
    exec(readme.apply(*diffs), vars(script))
    return script


def run(*command, cwd, status=0):
    """Run a command and check its exit status; return its output and error output."""
    result = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout, result.stderr


def without_times(lines):
    """Return printed lines without the times, which differ from run to run."""
    return [line.split(", Time")[0] for line in lines]
