"""What is printed on consoles of every kind, and what never reaches a terminal."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors.numpy import save_file

from tdfusion_jax import cli, printing, progress

TITLE = "\x1b]0;owned\x07"  # gives a terminal's window another title
CLEAR = "\x1b[2J"  # clears a terminal


@pytest.mark.parametrize(
  ("text", "shown"),
  [
    ("plain é ü 中 ↑ 😀\n\tnext", "plain é ü 中 ↑ 😀\n\tnext"),
    (TITLE, r"\x1b]0;owned\x07"),
    (CLEAR, r"\x1b[2J"),
    ("\x9b2J", r"\x9b2J"),  # CSI in one character
    ("real.png\rfake", r"real.png\x0dfake"),
    ("a\x08b\x7f\x00", r"a\x08b\x7f\x00"),
    ("gnp.\u202efdp", r"gnp.\u202efdp"),  # from here on right to left
    ("\u2066x\u2069\u200f\u061c", r"\u2066x\u2069\u200f\u061c"),
    (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),  # Latin-1, which is no UTF-8
    ("\ud800", r"\ud800"),
  ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
  assert printing.plain(text) == shown
  assert printing.plain(text).encode()


class Console8(io.TextIOWrapper):
  """Standard output in an encoding of 8 bits."""

  def __init__(self, encoding):
    self._bytes = io.BytesIO()
    super().__init__(self._bytes, encoding=encoding, write_through=True)

  def said(self):
    return self._bytes.getvalue().decode(self.encoding)


@pytest.mark.parametrize(
  ("encoding", "shown"),
  [
    ("cp1252", "EN ^ | ± é \\u4e2d"),
    ("ascii", "EN ^ | +- \\xe9 \\u4e2d"),
    ("cp437", "EN ^ | ± é \\u4e2d"),
    ("utf-8", "EN ↑ | ± é 中"),
  ],
)
def test_what_a_console_lacks_is_replaced(monkeypatch, encoding, shown):
  stream = Console8(encoding)
  monkeypatch.setattr(sys, "stdout", stream)
  monkeypatch.setattr(sys, "stderr", Console8("ascii"))
  printing.guard()
  printing.guard()
  print("EN ↑ | ± é 中", end="")
  assert stream.said() == shown
  assert printing.unguarded(sys.stdout) is stream


def test_lines_above_a_bar_are_guarded_and_the_bar_itself_moves(monkeypatch):
  """The bar's own sequences pass, those in its label and in what others print do not."""
  terminal = io.StringIO()
  monkeypatch.setattr(sys, "stdout", io.StringIO())
  monkeypatch.setattr(sys, "stderr", terminal)
  printing.guard()
  console = Console(file=terminal, force_terminal=True, width=120)
  with progress.Progress(2, f"fusing {TITLE}[red]", console=console) as bar:
    print(f"warning: {CLEAR}", file=sys.stderr)
    bar.update(1, text=CLEAR)
  shown = terminal.getvalue()
  assert "\x1b[" in shown and CLEAR not in shown and "\x07" not in shown
  assert r"fusing \x1b]0;owned\x07[red]" in shown and r"warning: \x1b[2J" in shown


def run(*arguments, **variables):
  command = [sys.executable, "-m", "tdfusion_jax.cli", *map(os.fspath, arguments)]
  environment = {**os.environ, **variables}
  return subprocess.run(command, capture_output=True, env=environment, check=False)


def test_names_of_tensors_and_files_do_not_reach_the_terminal(tmp_path):
  path = tmp_path / f"f{TITLE}.safetensors"
  save_file({f"params/{CLEAR}": np.zeros(2, np.float32)}, path, metadata={"arch": f'"{CLEAR}"'})
  for arguments in (
    ("convert", "--inspect", path),
    ("export", "--out", tmp_path, "--weights", path),
  ):
    done = run(*arguments)
    said = done.stdout + done.stderr
    assert rb"\x1b" in said and b"\x1b" not in said and b"\x07" not in said
  done = run("fuse", "--ir", "a", "--vi", "b", "--out", "c", f"--{CLEAR}")
  assert done.returncode == 2 and b"\x1b" not in done.stderr and rb"\x1b[2J" in done.stderr
  done = subprocess.run(
    [sys.executable, "-m", "tdfusion_jax.main", f"--{CLEAR}"], capture_output=True, check=False
  )
  assert done.returncode == 2 and b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_scores_are_there_whatever_the_console_can_print(tmp_path, encoding):
  names = [b"n1.png", b"caf\xe9.png", "中\x1b[2J.png".encode()]
  for side in ("ir", "vi"):
    (tmp_path / side).mkdir()
    for name in names:
      noise = np.random.default_rng(len(name)).integers(0, 256, (20, 24), dtype=np.uint8)
      Image.fromarray(noise).save(os.path.join(os.fsencode(tmp_path / side), name), "PNG")
  ir, vi = tmp_path / "ir", tmp_path / "vi"
  done = run(
    *("evaluate", "--ir", ir, "--vi", vi, "--fused", f"m={ir}", "--out", tmp_path / "s"),
    "--metrics=EN",
    PYTHONIOENCODING=encoding,
  )
  assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
  assert "EN" in done.stdout.decode(encoding)
  texts = [(tmp_path / f"s.{form}").read_text("utf-8") for form in ("md", "tex", "csv", "json")]
  assert "EN ↑" in texts[0]
  assert all("\x1b" not in text for text in texts)
  assert r"caf\xe9" in texts[2] and "n1" in texts[2]


def test_a_usage_error_of_a_console_without_a_letter(monkeypatch):
  monkeypatch.setattr(sys, "stdout", Console8("ascii"))
  stream = Console8("ascii")
  monkeypatch.setattr(sys, "stderr", stream)
  assert cli.main(["export", "--out", "x", "--weights", "中.safetensors"]) == 2
  assert r"\u4e2d.safetensors" in stream.said()
