"""Every example says with --help what it is for."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = set(Path(__file__).parent.glob("*.py"))
EXAMPLES -= set(Path(__file__).parent.glob("test_*.py"))


@pytest.mark.parametrize("path", sorted(EXAMPLES), ids=lambda path: path.name)
def test_help(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert path.read_text("utf-8").split('"""')[1].splitlines()[0] in text
