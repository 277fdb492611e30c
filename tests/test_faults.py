"""When something goes wrong: its cause is named, and nothing is lost."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CHECKPOINT, SCRIPT, run

import train_mnist

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
OLD = b"the checkpoint of an earlier run"


@pytest.fixture
def old(home):
    """A file of an earlier run where the checkpoint goes: at the end, it is there."""
    path = home / CHECKPOINT
    path.write_bytes(OLD)
    yield path
    assert path.read_bytes() == OLD


@pytest.mark.parametrize(
    ("flag", "value", "error"),
    [
        ("--epochs", "0", "must be 1 or more"),
        ("--epochs", "1.5", "invalid int value"),
        ("--batch-size", "0", "must be 1 or more"),
        ("--log-interval", "-1", "must be 1 or more"),
        ("--lr", "0", "--lr must be a finite number above 0"),
        ("--lr", "nan", "--lr must be a finite number above 0"),
        ("--lr", "inf", "--lr must be a finite number above 0"),
        ("--seed", "x", "invalid int value"),
        ("--checkpoint", "no/folder.pth", "no file can be saved as no"),
        ("--checkpoint", ".", "no file can be saved as ."),
        ("--checkpoint", os.devnull, f"no file can be saved as {os.devnull}"),
    ],
)
def test_bad_flag(train, old, capsys, monkeypatch, flag, value, error):
    monkeypatch.setattr(train_mnist, "read_mnist", None)  # nothing is read before
    with pytest.raises(SystemExit) as stop:
        train(flag, value)
    assert stop.value.code == 2
    message = capsys.readouterr().err.split("train_mnist.py: error: ")[1]
    assert flag in message and error in message
    assert os.listdir() == [CHECKPOINT]


def test_bad_device(train, monkeypatch):
    monkeypatch.setattr(train_mnist, "read_mnist", None)
    with pytest.raises(RuntimeError, match="device type at start of device string"):
        train("--device", "toaster")


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_is_no_finite_number(train, old, monkeypatch, loss):
    monkeypatch.setattr(train_mnist, "evaluate", lambda *_: (9.8, loss))
    with pytest.raises(SystemExit, match=f"^error: the loss is {loss}.*--lr.*data$"):
        train()


def test_too_large_a_learning_rate(train, old):
    with pytest.raises(SystemExit, match="the loss is nan"):
        train("--lr", "1e6")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_stopped_while_it_saves(train, old, monkeypatch, stop):
    def save(state, file):
        file.write(b"half")
        raise stop

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(stop):
        train()


def test_two_runs_that_save_to_one_path_do_not_meet(train, old, monkeypatch):
    names = []
    monkeypatch.setattr(torch, "save", lambda state, file: names.append(file.name))
    monkeypatch.setattr(os, "replace", lambda *paths: names.extend(map(str, paths)))
    train("--epochs", 1)
    unfinished = f"{CHECKPOINT}.{os.getpid()}"
    assert names == [unfinished, unfinished, CHECKPOINT]
    assert "*.pth.*\n" in SCRIPT.with_name(".gitignore").read_text("utf-8")


@posix
def test_disk_full(old, small_data):
    """A limit of half a megabyte, or a whole one, stands for the full disk."""
    limited = ("sh", "-c", 'ulimit -f 1000 && exec "$@"', "sh")
    flags = ("--data-dir", small_data, "--device", "cpu")
    _, error = run(*limited, sys.executable, SCRIPT, *flags, cwd=old.parent, status=1)
    assert f"\nOSError: [Errno {errno.EFBIG}] " in error


@posix
def test_ctrl_c(home, small_data):
    """One word is said, and the last epoch's checkpoint is kept."""
    flags = ("--data-dir", small_data, "--device", "cpu", "--log-interval", "1")
    process = subprocess.Popen(
        # Far more lines than a pipe holds, so that the run waits for its reader
        [sys.executable, SCRIPT, *map(str, flags), "--epochs", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert any("Epoch [2/1000], Step [3/" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert (error, process.returncode) == ("Stopped\n", 1)
    assert torch.load(CHECKPOINT, weights_only=True)["1.bias"].shape == (10,)


def test_no_data_and_no_network(tmp_path, monkeypatch):
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(RuntimeError, match="downloading train-images-idx3-ubyte.gz"):
        train_mnist.read_mnist(tmp_path, train=True)


@pytest.mark.parametrize("more", ["images", "labels"])
def test_as_many_images_as_labels(small_data, more):
    raw = small_data / "MNIST" / "raw"
    kind = "labels-idx1" if more == "images" else "images-idx3"
    shutil.copy(raw / f"t10k-{kind}-ubyte", raw / f"train-{kind}-ubyte")
    with pytest.raises(ValueError, match="is shorter than|is longer than"):
        train_mnist.read_mnist(small_data, train=True)


def test_a_misspelt_data_set_shows_its_line(home):
    text = SCRIPT.read_text("utf-8").replace("datasets.MNIST", "datasets.FashonMNIST")
    Path("train_mnist.py").write_text(text, "utf-8")
    _, error = run(sys.executable, "train_mnist.py", cwd=home, status=1)
    assert "    mnist = torchvision.datasets.FashonMNIST(data_dir, train," in error
    assert "AttributeError: module 'torchvision.datasets' has no" in error
