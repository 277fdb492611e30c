"""When something goes wrong: one line that tells what to do, and nothing is lost."""

import argparse
import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from conftest import CHECKPOINT, SCRIPT, copy_archives, run
from readme import changed

import train_mnist

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
OLD = b"the checkpoint of an earlier run"


@pytest.fixture
def old(home):
    """A file of an earlier run where the checkpoint goes: at the end, it is there."""
    path = home / CHECKPOINT
    path.write_bytes(OLD)
    yield path
    assert path.read_bytes() == OLD
    assert not list(home.glob("unfinished*"))


def fail(call, *arguments):
    """Call what has to exit with status 1; return its one line of error."""
    with pytest.raises(SystemExit) as stop:
        call(*arguments)
    line = stop.value.code  # a text, which Python prints to exit with 1
    assert line.startswith("error: ")
    assert "\n" not in line
    return line


def as_a_user(call, *arguments):
    """Call in a thread without root's right to read and write everything."""

    def give_up():
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
        assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0

    with ThreadPoolExecutor(1, initializer=give_up) as thread:
        return thread.submit(call, *arguments).result()


@pytest.mark.parametrize(
    ("flag", "value"),
    [(flag, value) for flag, values in {
        "--epochs": ("0", "-1", "two", "1.5"),
        "--batch-size": ("0", "x"),
        "--lr": ("0", "-1", "nan", "inf", "fast"),
        "--log-interval": ("0", "1.5"),
        "--seed": ("x", "-1", str(2**64)),
        "--device": ("toaster", "cuda", "meta"),
        "--checkpoint": ("no/folder.pth", ".", "link", "fifo"),
    }.items() for value in values],
)  # fmt: skip
def test_bad_flag(train, old, capsys, monkeypatch, flag, value):
    """The message names the flag and the value; nothing is read before."""
    monkeypatch.setattr(train_mnist, "read_mnist", None)
    Path("link").symlink_to("no/folder.pth")
    if os.name == "posix":
        os.mkfifo("fifo")
    with pytest.raises(SystemExit) as stop:
        train(flag, value)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    shown = str(Path(value).resolve()) if flag == "--checkpoint" else value
    assert shown in err.split(f"error: argument {flag}: ")[1]
    assert len(os.listdir()) == 2 + (os.name == "posix")


@linux
@pytest.mark.parametrize("locked", ["folder", "file"])
def test_checkpoint_that_cannot_be_written(home, old, locked):
    (home if locked == "folder" else old).chmod(0o555)
    with pytest.raises(argparse.ArgumentTypeError, match=str(old)):
        as_a_user(train_mnist.writable, CHECKPOINT)
    home.chmod(0o755)


@posix
def test_disk_full(old, small_data):
    """A limit of half a megabyte, or a whole one, stands for the full disk."""
    limited = ("sh", "-c", 'ulimit -f 1000 && exec "$@"', "sh")
    command = (*limited, sys.executable, SCRIPT, "--data-dir", small_data)
    error = f"error: cannot save {old}: [Errno 27] File too large\n"
    run(*command, cwd=old.parent, status=1, error=error)


def test_bytes_are_on_the_disk_before_the_file_takes_its_name(home, monkeypatch):
    """The state is smaller than a buffer, which has to be emptied in time."""
    sizes, replace = [], Path.replace

    def spy_replace(source, target):
        sizes.append(("replaced", source.stat().st_size))
        replace(source, target)

    monkeypatch.setattr(
        os, "fsync", lambda file: sizes.append(os.stat(file.fileno())[6])
    )
    monkeypatch.setattr(Path, "replace", spy_replace)
    train_mnist.save_checkpoint({"epoch": 3}, CHECKPOINT)
    size = os.path.getsize(CHECKPOINT)
    assert sizes == [size, ("replaced", size)]


def test_two_runs_save_at_once_and_do_not_meet(home, monkeypatch):
    """The second one saves while the first one's bytes go to the disk."""

    def save_another(file):
        monkeypatch.setattr(os, "fsync", lambda file: None)
        train_mnist.save_checkpoint({"run": 2}, CHECKPOINT)
        assert torch.load(CHECKPOINT, weights_only=True) == {"run": 2}

    monkeypatch.setattr(os, "fsync", save_another)
    train_mnist.save_checkpoint({"run": 1}, CHECKPOINT)
    assert torch.load(CHECKPOINT, weights_only=True) == {"run": 1}
    assert os.listdir() == [CHECKPOINT]


@posix
def test_killed_while_it_saves(home, small_data, monkeypatch):
    (home / CHECKPOINT).write_bytes(OLD)
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parent))
    code = "import os, signal, train_mnist\n"
    code += "os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "train_mnist.main()"
    command = (sys.executable, "-c", code, "--data-dir", small_data)
    run(*command, cwd=home, status=-signal.SIGKILL)
    assert (home / CHECKPOINT).read_bytes() == OLD


def test_loss_is_no_finite_number_any_more(train, old, monkeypatch):
    line = "error: the loss is {}, not saved; try a smaller --lr"
    assert fail(train, "--lr", "1e6") == line.format("nan")
    monkeypatch.setattr(train_mnist, "evaluate", lambda *_: (9.8, float("inf")))
    assert fail(train) == line.format("inf")


NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
CANNOT_SAVE = rf"error: cannot save .*{CHECKPOINT}: .* No space left on device"


@pytest.mark.parametrize(
    ("place", "fault", "told"),
    [
        ((os, "fsync"), NO_SPACE, CANNOT_SAVE),
        ((Path, "replace"), NO_SPACE, CANNOT_SAVE),
        ((torch, "save"), TypeError("cannot pickle"), None),
        ((os, "fsync"), KeyboardInterrupt(), None),
        ((train_mnist, "evaluate"), KeyboardInterrupt(), None),
        ((train_mnist.torchvision.datasets, "MNIST"), KeyboardInterrupt(), None),
    ],
)
def test_interrupted(train, old, monkeypatch, place, fault, told):
    """A bug and Ctrl-C reach the caller of main(): in a notebook, that is the prompt."""
    monkeypatch.setattr(*place, Mock(side_effect=fault))
    with pytest.raises(SystemExit if told else type(fault), match=told):
        train()


@posix
def test_ctrl_c(home, small_data):
    """What is finished is on the disk, the reader's own open file included."""
    log = "below `args =`: `log = open('log.txt', 'w')`"
    text = changed(f"{log}<br>below `loss = criterion`: `log.write('a step ')`")
    Path("train_mnist.py").write_text(text, "utf-8")
    flags = ("--data-dir", small_data, "--epochs", "1000000", "--log-interval", "3")
    process = subprocess.Popen(
        [sys.executable, "train_mnist.py", *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    limit = threading.Timer(100, process.kill)
    limit.start()
    try:
        assert any("Epoch [2/1000000], Step [3/" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "Stopped\n"
        assert process.wait() == 130
    finally:
        limit.cancel()
        process.kill()
    assert torch.load(CHECKPOINT, weights_only=True)["1.bias"].shape == (10,)
    assert Path("log.txt").read_text().count("a step") >= 13
    assert sorted(os.listdir()) == ["log.txt", CHECKPOINT, "train_mnist.py"]


def cut_an_archive(raw):
    shutil.rmtree(raw)
    archive = copy_archives(raw.parents[1]) / "t10k-labels-idx1-ubyte.gz"
    archive.write_bytes(archive.read_bytes()[:-100])


LABELS = "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (shutil.rmtree, "Error downloading train-images-idx3-ubyte.gz"),
        (cut_an_archive, "Error downloading t10k-labels-idx1-ubyte.gz"),
        (lambda raw: (raw / LABELS).write_bytes(b""), "ValueError"),
        (lambda raw: os.truncate(raw / LABELS, 600), "RuntimeError"),
        (lambda raw: (raw / LABELS).write_text("<html>404"), "AssertionError"),
        (lambda raw: shutil.copy(raw / "t10k-labels-idx1-ubyte", raw / LABELS),
         "640 images, 100 labels"),
    ],
)  # fmt: skip
def test_damaged_data(small_data, monkeypatch, damage, cause):
    """The advice, followed to the letter, helps."""
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # where nobody listens
    raw = small_data / "MNIST" / "raw"
    damage(raw)
    line = fail(train_mnist.read_mnist, small_data, True)
    advice = f"; {small_data}/MNIST/raw needs the four archives (*.gz); files *-ubyte"
    assert cause in line
    assert line.endswith(f"{advice} are unpacked from them, and can be deleted")
    shutil.rmtree(raw, ignore_errors=True)
    copy_archives(small_data)
    assert len(train_mnist.read_mnist(small_data, True)) == 60000


@linux
@pytest.mark.parametrize("unpacked", [True, False])
def test_not_to_be_read_or_unpacked(tmp_path, small_data, unpacked):
    raw = small_data / "MNIST" / "raw" if unpacked else copy_archives(tmp_path)
    images = raw / "train-images-idx3-ubyte"
    (images if unpacked else raw).chmod(0o111)
    line = fail(as_a_user, train_mnist.read_mnist, raw.parents[1], True)
    raw.chmod(0o755)
    reason = f"[Errno 13] Permission denied: '{images}'"
    assert line == f"error: cannot unpack MNIST, or read what is unpacked: {reason}"


@linux
def test_unpacked_it_may_be_for_reading_only(small_data):
    """A class room's, once the teacher has made a first run."""
    raw = small_data / "MNIST" / "raw"
    raw.chmod(0o555)
    assert len(as_a_user(train_mnist.read_mnist, small_data, True)) == 640
    raw.chmod(0o755)
