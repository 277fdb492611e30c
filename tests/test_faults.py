"""When something goes wrong, nothing is lost, and the cause is named."""

import errno
import fnmatch
import itertools
import os
import sys

import pytest
import torch
import train_ddp
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
        ("--checkpoint", f"{CHECKPOINT}/below_a_file.pth"),
        ("--checkpoint", "."),
        pytest.param("--checkpoint", "/dev/null", marks=posix),
    ],
)
def test_bad_flag(train, old_checkpoint, capsys, monkeypatch, flag, value):
    monkeypatch.setattr(train_mnist, "read_mnist", None)  # nothing is read before
    with pytest.raises(SystemExit, match="2"):
        train(flag, value)
    assert flag in capsys.readouterr().err.split("error: ")[1]


@pytest.mark.parametrize("script", [train_mnist, train_ddp])
@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_not_finite(
    train, old_checkpoint, one_process, monkeypatch, capsys, script, loss
):
    """The result is printed all the same."""
    monkeypatch.setattr(script, "evaluate", lambda *_: (9.8, loss))
    with pytest.raises(SystemExit, match=f"^error: the loss is {loss}, .*--lr.*data$"):
        train(script=script)
    *_, result = capsys.readouterr().out.splitlines()
    assert result.startswith(f"Model Accuracy: 9.80 %, Eval Loss: {loss}, Time: ")


def test_stop_while_saving(train, old_checkpoint, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # the temporary file is beside the old one, not here

    def save(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        train("--checkpoint", old_checkpoint)
    # Git ignores what is left, and runs that save to the same path do not meet.
    unfinished = f"{CHECKPOINT}.{os.getpid()}"
    assert sorted(os.listdir(old_checkpoint.parent)) == [CHECKPOINT, unfinished]
    ignored = ROOT.joinpath(".gitignore").read_text("utf-8").splitlines()
    assert any(fnmatch.fnmatch(unfinished, pattern) for pattern in ignored)


@posix
def test_full_disk(old_checkpoint, small_data):
    """A limit for the size of a file stands for the full disk."""
    limited = ("sh", "-c", 'ulimit -f 1000 && exec "$@"', "sh", sys.executable, SCRIPT)
    flags = ("--data-dir", small_data, "--device", "cpu")
    _, error = run(*limited, *flags, cwd=old_checkpoint.parent, status=1)
    assert f"\nOSError: [Errno {errno.EFBIG}] " in error


def test_ctrl_c_keeps_the_last_epoch(train, monkeypatch):
    """In the third epoch, in step 6 of 10."""
    train("--epochs", 2)
    expected = torch.load(CHECKPOINT)
    steps, step = itertools.count(1), torch.optim.SGD.step

    def stop(optimizer, *args):
        if next(steps) == 26:
            raise KeyboardInterrupt
        return step(optimizer, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert os.listdir() == [CHECKPOINT]
    assert all(map(torch.equal, torch.load(CHECKPOINT).values(), expected.values()))


def test_no_data_and_no_network(tmp_path, monkeypatch):
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(RuntimeError, match="downloading train-images-idx3-ubyte.gz"):
        train_mnist.read_mnist(tmp_path, train=True)
