"""The command's exits and messages; what fusing itself does is in test_fuse.py."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tdfusion_jax import cli, fusers, progress
from tdfusion_jax.commands import fuse as fuse_command
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.images.writing import write_image


@pytest.fixture
def folders(tmp_path, monkeypatch):
  """Arguments for two gray pairs of 0.2 and 0.6, and an F that takes their mean."""
  monkeypatch.setattr(fusers, "load_fusion", lambda **_: (lambda params, ir, vi: (ir + vi) / 2, {}))
  for side, value in (("ir", 0.2), ("vi", 0.6)):
    for name in ("a", "b"):
      write_image(tmp_path / side / f"{name}.png", np.full((3, 4, 1), value))
  return {side: str(tmp_path / side) for side in ("ir", "vi", "out")}


def fuse(folders, *more):
  sides = [part for side, folder in folders.items() for part in (f"--{side}", folder)]
  return cli.main(["fuse", *sides, "--weights", "f.safetensors", *more])


def test_fusing_writes_and_then_skips(folders, capsys):
  assert fuse(folders) == 0
  assert "2 written" in capsys.readouterr().out
  np.testing.assert_allclose(read_image(f"{folders['out']}/a.png"), 0.4, atol=1e-6)  # 102 / 255
  assert fuse(folders, "--skip-existing") == 0
  assert "0 written" in (out := capsys.readouterr().out) and "2 were there" in out


@pytest.mark.parametrize("side", ["ir", "vi"])
def test_results_never_replace_inputs(folders, side, capsys):
  assert fuse({**folders, "out": folders[side] + "/../" + side}) == 2
  assert "holds inputs" in capsys.readouterr().err
  np.testing.assert_allclose(
    read_image(f"{folders[side]}/a.png"), {"ir": 0.2, "vi": 0.6}[side], atol=1e-6
  )


def test_progress_without_a_terminal_is_plain_lines(folders, capsys, monkeypatch):
  monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
  assert fuse(folders) == 0
  lines = capsys.readouterr().err.splitlines()
  assert [line.split(",")[0] for line in lines] == ["fusing 1/2", "fusing 2/2"]
  assert all(line.split(",")[1].endswith(" images/s") for line in lines)


def test_an_interrupted_fusing_ends_without_a_traceback(folders, capsys, monkeypatch):
  def interrupt(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(fuse_command, "fuse_folder", interrupt)
  assert fuse(folders) == 130
  assert "--skip-existing" in capsys.readouterr().err


def test_a_run_goes_by_either_name(tmp_path, capsys):
  sides = [part for side in ("ir", "vi", "out") for part in (f"--{side}", str(tmp_path / side))]
  for name in ("--run", "--checkpoint"):
    assert cli.main(["fuse", *sides, name, str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'} is not a run folder" in capsys.readouterr().err


def no_home():
  raise RuntimeError("Could not determine home directory.")


def test_without_a_home_folder_nothing_is_kept_and_all_else_works(folders, capsys, monkeypatch):
  """As for a user id without an entry in the system's list, such as in a container."""
  monkeypatch.setattr(Path, "home", no_home)
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  assert fuse(folders) == 0
  said = capsys.readouterr()
  assert "2 written" in said.out
  assert "warning: no compiled programs are kept: Could not determine home" in said.err


@pytest.mark.parametrize("verb", ["fuse", "video", "export"])
def test_help_without_a_home_folder(verb):
  code = "import pathlib, sys\ndef no_home(*_): raise RuntimeError('no home')\n"
  code += "pathlib.Path.home = no_home\nfrom tdfusion_jax import cli\ncli.main(sys.argv[1:])"
  command = [sys.executable, "-c", code, verb, "--help"]
  ran = subprocess.run(command, capture_output=True, text=True, check=False)
  assert ran.returncode == 0 and f"example: tdfusion {verb}" in ran.stdout, ran.stderr


def test_a_user_without_an_entry_and_a_home_folder(folders):
  """As in a container that is run with `-u 12345`: no name, no home, no variables of them."""
  code = "import pwd, sys\ndef none(*_): raise KeyError('uid not found')\n"
  code += "pwd.getpwuid = pwd.getpwnam = none\n"
  code += "from tdfusion_jax import cli, fusers\n"
  code += "fusers.load_fusion = lambda **_: (lambda params, ir, vi: (ir + vi) / 2, {})\n"
  code += "sys.exit(cli.main(sys.argv[1:]))"
  gone = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME")
  environment = {name: value for name, value in os.environ.items() if name not in gone}
  sides = [f"--{side}={folder}" for side, folder in folders.items()]
  for arguments in (["--help"], ["fuse", *sides, "--weights=f.safetensors"]):
    ran = subprocess.run(
      [sys.executable, "-c", code, *arguments],
      capture_output=True,
      text=True,
      env=environment,
      check=False,
    )
    assert ran.returncode == 0 and "Traceback" not in ran.stderr, ran.stderr
  np.testing.assert_allclose(read_image(f"{folders['out']}/a.png"), 0.4, atol=1e-6)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "required"),
    (["paint"], "invalid choice"),
    (["fuse", "--ir", "a", "--vi", "b"], "--out"),
    (
      ["fuse", "--ir", "a", "--vi", "b", "--out", "c", "--checkpoint", "r", "--weights", "f"],
      "not allowed with",
    ),
  ],
)
def test_wrong_usage_is_told(arguments, message, capsys):
  with pytest.raises(SystemExit) as end:
    cli.main(arguments)
  assert end.value.code == 2 and message in capsys.readouterr().err


def test_missing_weights_are_an_error_in_one_line(tmp_path, capsys):
  sides = [part for side in ("ir", "vi", "out") for part in (f"--{side}", str(tmp_path / side))]
  assert cli.main(["fuse", *sides, "--weights", str(tmp_path / "none.safetensors")]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ") and "none.safetensors does not exist" in line


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a process group")
def test_an_interrupted_training_is_waited_for(tmp_path):
  """Python's own `subprocess.call` would kill it a quarter second after Ctrl-C, state unsaved."""
  training, saved = tmp_path / "python", tmp_path / "saved"
  training.write_text(
    f"#!{sys.executable}\nimport pathlib, sys, time\n"
    "try:\n  print('ready', flush=True)\n  time.sleep(60)\n"
    "except KeyboardInterrupt:\n  time.sleep(1)\n"
    f"  pathlib.Path({str(saved)!r}).write_text(' '.join(sys.argv[1:]))\n"
    "  sys.exit(130)\n"
  )
  training.chmod(0o755)
  # A test run in the background of a shell inherits an ignored Ctrl-C; the user's has none.
  command = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
  command += f"from tdfusion_jax import cli; sys.executable = {str(training)!r}; "
  command += "sys.exit(cli.main(['train', '--config=x']))"
  with subprocess.Popen(
    [sys.executable, "-c", command], stdout=subprocess.PIPE, text=True, start_new_session=True
  ) as process:
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
  assert saved.read_text() == "-m tdfusion_jax.main --config=x"


def test_an_unknown_option_is_told_with_the_usage_of_its_verb(capsys):
  with pytest.raises(SystemExit) as ended:
    cli.main(["fuse", "--ir=a", "--vi=b", "--out=c", "--bogus"])
  said = capsys.readouterr().err
  assert (
    ended.value.code == 2
    and "usage: tdfusion fuse" in said
    and "unrecognized arguments: --bogus" in said
  )


def test_a_reader_that_has_seen_enough_is_no_error():
  """As in `tdfusion convert --inspect FILE | head`."""
  command = [
    sys.executable,
    "-m",
    "tdfusion_jax.cli",
    "convert",
    "--inspect",
    str(fusers.shipped_weights()),
  ]
  with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(120) == 141 and said == ""


def test_a_pytorch_file_in_place_of_weights(tmp_path, capsys):
  (tmp_path / "f.pth").write_bytes(b"PK" + bytes(100))
  assert cli.main(["fuse", "--ir=a", "--vi=b", "--out=c", f"--weights={tmp_path}/f.pth"]) == 2
  assert "is a PyTorch file; `tdfusion convert" in capsys.readouterr().err


def test_endings_of_weight_files_in_any_case(tmp_path, capsys):
  out = tmp_path / "F.SafeTensors"
  assert cli.main(["convert", str(fusers.shipped_weights()), f"--out={out}"]) == 0
  assert out.is_file()
  (tmp_path / "F.PTH").write_bytes(b"PK" + bytes(100))
  assert cli.main(["fuse", "--ir=a", "--vi=b", "--out=c", f"--weights={tmp_path}/F.PTH"]) == 2
  assert "is a PyTorch file; `tdfusion convert" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_verb_that_a_scheduler_ends_says_so_and_how_to_go_on(
  folders, capsys, monkeypatch, number
):
  monkeypatch.setattr(fuse_command, "fuse_folder", lambda *_, **__: signal.raise_signal(number))
  assert fuse(folders) == 128 + number
  said = capsys.readouterr().err
  assert "interrupted" in said and "--skip-existing" in said


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_what_a_scheduler_sends_is_handed_on_to_the_training(tmp_path):
  training = tmp_path / "python"
  training.write_text(
    f"#!{sys.executable}\nimport signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    "print('ready', flush=True)\ntime.sleep(60)\n"
  )
  training.chmod(0o755)
  command = f"import sys; from tdfusion_jax import cli; sys.executable = {str(training)!r}; "
  command += "sys.exit(cli.main(['train', '--config=x']))"
  with subprocess.Popen(
    [sys.executable, "-c", command], stdout=subprocess.PIPE, text=True
  ) as process:
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143


@pytest.mark.skipif(os.name != "posix", reason="closes standard output by the shell")
def test_a_closed_standard_output_is_no_error():
  command = f"{sys.executable} -m tdfusion_jax.cli convert --inspect {fusers.shipped_weights()} >&-"
  done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
  assert done.returncode == 0 and not done.stderr


def test_an_error_of_the_system_names_the_file_and_the_remedy(folders, capsys, monkeypatch):
  def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device", "out/a.png")

  monkeypatch.setattr(fuse_command, "fuse_folder", full)
  assert fuse(folders) == 2
  line = capsys.readouterr().err
  assert line.startswith("error: out/a.png: No space left on device. Make room")
