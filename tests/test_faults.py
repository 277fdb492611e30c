"""When something goes wrong, nothing is lost, and the cause is named."""

import errno
import fnmatch
import os
import signal
import subprocess
import sys

import pytest
import torch
from helpers import CHECKPOINT, ROOT, SCRIPT, run

import train_mnist

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


@pytest.fixture
def old_checkpoint(home):
    """The file of an earlier run, which is still whole when the test has ended."""
    path = home / CHECKPOINT
    path.write_bytes(b"of an earlier run")
    yield path
    assert path.read_bytes() == b"of an earlier run"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epochs", "0"),
        ("--batch-size", "0"),
        ("--log-interval", "-1"),
        ("--checkpoint", "no/folder.pth"),
        ("--checkpoint", "."),
        pytest.param("--checkpoint", "/dev/null", marks=posix),
    ],
)
def test_bad_flag(train, old_checkpoint, capsys, monkeypatch, flag, value):
    monkeypatch.setattr(train_mnist, "read_mnist", None)  # nothing is read before
    with pytest.raises(SystemExit, match="2"):
        train(flag, value)
    assert flag in capsys.readouterr().err.split("error: ")[1]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_not_finite(train, old_checkpoint, monkeypatch, loss):
    monkeypatch.setattr(train_mnist, "evaluate", lambda *_: (9.8, loss))
    with pytest.raises(SystemExit, match=f"^error: the loss is {loss}, .*--lr.*data$"):
        train()


def test_stop_while_saving(train, old_checkpoint, monkeypatch):
    def save(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        train()
    # Git ignores what is left, and runs that save to the same path do not meet.
    unfinished = f"{CHECKPOINT}.{os.getpid()}"
    assert sorted(os.listdir()) == [CHECKPOINT, unfinished]
    ignored = ROOT.joinpath(".gitignore").read_text("utf-8").splitlines()
    assert any(fnmatch.fnmatch(unfinished, pattern) for pattern in ignored)


@posix
def test_full_disk(old_checkpoint, small_data):
    """A limit for the size of a file stands for the full disk."""
    limited = ("sh", "-c", 'ulimit -f 1000 && exec "$@"', "sh", sys.executable, SCRIPT)
    flags = ("--data-dir", small_data, "--device", "cpu")
    _, error = run(*limited, *flags, cwd=old_checkpoint.parent, status=1)
    assert f"\nOSError: [Errno {errno.EFBIG}] " in error


@posix
def test_ctrl_c_keeps_the_last_epoch(home, small_data):
    flags = ("--data-dir", small_data, "--device", "cpu", "--log-interval", 1)
    process = subprocess.Popen(
        # These are more lines than a pipe holds, so the run waits for its reader.
        [sys.executable, SCRIPT, *map(str, flags), "--epochs", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert any("Epoch [2/1000], Step [3/" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode != 0
    assert torch.load(CHECKPOINT)["2.bias"].shape == (10,)


def test_no_data_and_no_network(tmp_path, monkeypatch):
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(RuntimeError, match="downloading train-images-idx3-ubyte.gz"):
        train_mnist.read_mnist(tmp_path, train=True)
