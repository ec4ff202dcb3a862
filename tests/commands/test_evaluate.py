"""`tdfusion evaluate` from folders to tables."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax import cli, files
from tdfusion_jax.metrics.fusion import fusion_metrics

RNG = np.random.default_rng(3)
SIZE = (20, 24)


@pytest.fixture
def folders(tmp_path):
  """Three pairs and two methods: the mean, and one pair's infrared image for all."""
  images = {kind: RNG.integers(0, 256, (3, *SIZE), dtype=np.uint8) for kind in ("ir", "vi")}
  images["mean"] = ((images["ir"].astype(int) + images["vi"]) // 2).astype(np.uint8)
  images["odd"] = images["ir"][::-1].copy()
  for kind, stack in images.items():
    (tmp_path / kind).mkdir()
    for index, image in enumerate(stack):
      Image.fromarray(image).save(tmp_path / kind / f"n{index}.png")
  return tmp_path, images


def evaluate(folder, *more):
  return cli.main(
    ["evaluate", "--ir", str(folder / "ir"), "--vi", str(folder / "vi"), *map(str, more)]
  )


def test_methods_side_by_side(folders, capsys):
  folder, images = folders
  out = folder / "out" / "scores"
  assert (
    evaluate(folder, "--fused", folder / "mean", "--fused", f"rival={folder / 'odd'}", "--out", out)
    == 0
  )
  expected = {
    m: fusion_metrics(images["ir"], images["vi"], images[k])
    for m, k in (("mean", "mean"), ("rival", "odd"))
  }
  report = json.loads((folder / "out" / "scores.json").read_text())
  for method, scores in expected.items():
    for name, values in scores.items():
      assert report["means"][method][name] == pytest.approx(values.mean(), rel=1e-5)
      assert report["images"][method]["n1"][name] == pytest.approx(values[1], rel=1e-5)
  rows = list(csv.DictReader((folder / "out" / "scores.csv").read_text().splitlines()))
  assert len(rows) == 6 and float(rows[4]["EN"]) == pytest.approx(
    expected["rival"]["EN"][1], rel=1e-5
  )
  shown = capsys.readouterr().out
  assert "3 pairs" in shown and (folder / "out" / "scores.md").read_text() in shown
  assert r"\textbf" in (folder / "out" / "scores.tex").read_text()


def test_shipped_weights_are_measured(folders, capsys):
  folder, _ = folders
  assert evaluate(folder, "--metrics", "EN,SF") == 0
  assert "| shipped weights |" in capsys.readouterr().out


def test_fusions_without_a_network(folders, capsys):
  """Expected: NumPy's average and maximum, measured as arrays; and a source is itself."""
  folder, images = folders
  out = folder / "scores"
  rules = "average, maximum,infrared,visible"
  assert evaluate(folder, "--baseline", rules, "--fused", folder / "mean", "--out", out) == 0
  report = json.loads((folder / "scores.json").read_text())["means"]
  assert list(report) == ["average", "maximum", "infrared", "visible", "mean"]
  ir, vi = images["ir"], images["vi"]
  fused = {
    "average": np.round((ir.astype(np.float64) + vi) / 2).astype(np.uint8),
    "maximum": np.maximum(ir, vi),
    "infrared": ir,
    "visible": vi,
  }
  for name, expected in fused.items():
    for metric, values in fusion_metrics(ir, vi, expected).items():
      assert report[name][metric] == pytest.approx(values.mean(), rel=1e-5), (name, metric)
  # Two rows of one title are one too many, whatever they stand for.
  assert evaluate(folder, "--baseline", "average,average") == 2
  assert "two rows are called 'average'" in capsys.readouterr().err
  assert evaluate(folder, "--baseline", "mean") == 2
  assert "--baseline: unknown mean; there are: average, maximum" in capsys.readouterr().err


def test_what_does_not_fit_is_named(folders, capsys):
  folder, _ = folders

  def refusal(*more):
    assert evaluate(folder, *more) == 2
    return capsys.readouterr().err

  assert "unknown QAFB. Do you mean Qabf?" in refusal("--metrics", "EN, QAFB")
  assert "--metrics names none" in refusal("--metrics", " ,")
  assert "--profile: unknown tdfuson; there are: tdfusion, sum" in refusal("--profile", "tdfuson")
  assert "'=x': write NAME=PATH" in refusal("--fused", "=x")
  assert "'x=': write NAME=PATH" in refusal("--fused", "x=")
  (folder / "file").write_text("")
  assert "cannot be made" in refusal("--fused", folder / "mean", "--out", folder / "file" / "x")
  assert "no such folder" in refusal("--fused", folder / "nowhere")
  assert "two rows are called 'mean'" in refusal(
    "--fused", folder / "mean", "--fused", folder / "mean"
  )
  Image.new("L", (12, 10), 9).save(folder / "mean" / "n1.png")
  assert "n1.png is 12x10, its pair 24x20" in refusal("--fused", folder / "mean")
  assert evaluate(folder, "--fused", folder / "mean", "--resize") == 0
  assert "1 of 1 fused images are flat" in capsys.readouterr().err
  (folder / "mean" / "n2.png").unlink()
  assert "no fused image for 1 of 3 pairs: n2" in refusal("--fused", folder / "mean")
  (folder / "odd" / "n0.png").write_bytes(b"no image")
  assert "n0.png: cannot be read" in refusal("--fused", folder / "odd")
  Image.new("L", SIZE[::-1]).save(folder / "odd" / "n1.jpg")
  assert "n1.jpg and" in refusal("--fused", folder / "odd")
  Image.new("L", (12, 10), 9).save(folder / "vi" / "n2.png")
  assert (
    "differ in size" in (said := refusal("--fused", folder / "odd")) and "vi/n2.png 12x10" in said
  )


def test_sizes_are_looked_at_before_anything_is_measured(folders, capsys, monkeypatch):
  """All files that do not fit are named at once, not one an hour."""
  from tdfusion_jax.evaluate import methods

  folder, _ = folders
  monkeypatch.setattr(methods, "read_pixels", None)
  for name in ("n0", "n2"):
    Image.new("L", (12, 10), 9).save(folder / "odd" / f"{name}.png")
  assert evaluate(folder, "--fused", folder / "odd") == 2
  said = capsys.readouterr().err
  assert (
    "n0.png is 12x10, its pair 24x20" in said
    and "n2.png is 12x10" in said
    and said.count("\n") == 1
  )


def test_deep_turned_and_colour_files_are_read_as_fusing_reads_them(folders, capsys):
  """16 bits are scaled, not cut off; EXIF rotates; names of metrics are in any case."""
  folder, images = folders
  for kind in ("ir", "vi", "mean"):
    for index, image in enumerate(images[kind]):
      file = folder / kind / f"n{index}.png"
      file.unlink()
      if index == 0:
        Image.fromarray(image.astype(np.uint16) * 257).save(file)
      elif index == 1:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.rot90(image)).save(file, exif=exif)
      else:
        Image.fromarray(np.repeat(image[..., None], 3, axis=-1)).save(file)
  out = folder / "scores"
  assert evaluate(folder, "--fused", folder / "mean", "--metrics", "en, SSIM,en", "--out", out) == 0
  expected = fusion_metrics(images["ir"], images["vi"], images["mean"])
  report = json.loads((folder / "scores.json").read_text())
  for index in range(3):
    found = report["images"]["mean"][f"n{index}"]
    assert list(found) == ["EN", "SSIM"]
    for name in found:
      assert found[name] == pytest.approx(expected[name][index], rel=1e-5), (index, name)
  assert report["channel"].startswith("luminance") and "averaged" in report["profile_about"]
  assert "profile tdfusion: SSIM and VIF averaged" in capsys.readouterr().out


def test_values_in_kelvin_are_measured_by_the_scale_they_were_fused_with(folders, capsys):
  """The same images in other units have the same scores."""
  folder, images = folders
  for index, image in enumerate(images["ir"]):
    (folder / "ir" / f"n{index}.png").unlink()
    Image.fromarray(image.astype(np.float32) + 273).save(folder / "ir" / f"n{index}.tiff")
  assert evaluate(folder, "--fused", folder / "mean") == 2
  assert "give a scale" in capsys.readouterr().err
  out = folder / "alpha=0.1" / "scores"
  assert evaluate(folder, "--fused", folder / "mean", "--scale", "273:528", "--out", out) == 0
  expected = fusion_metrics(images["ir"], images["vi"], images["mean"])
  report = json.loads((folder / "alpha=0.1" / "scores.json").read_text())
  for name, values in expected.items():
    assert report["means"]["mean"][name] == pytest.approx(values.mean(), rel=1e-3)


def test_a_path_may_hold_an_equals_sign(folders, capsys):
  folder, _ = folders
  (folder / "mean").rename(folder / "alpha=0.1")
  assert (
    evaluate(
      folder, "--fused", folder / "alpha=0.1", "--fused", f"b={folder / 'odd'}", "--metrics=EN"
    )
    == 0
  )
  assert "| alpha=0.1 |" in (shown := capsys.readouterr().out) and "| b |" in shown


def test_what_has_no_value_is_said_and_left_out(folders, capsys):
  """Six rows are too few for SSIM's windows of seven."""
  folder, images = folders
  for kind in ("ir", "vi", "mean"):
    Image.fromarray(images[kind][2, :6]).save(folder / kind / "n2.png")
  assert (
    evaluate(folder, "--fused", folder / "mean", "--metrics", "SSIM", "--out", folder / "s") == 0
  )
  assert "SSIM has no finite value for 1 images (n2); not in its mean" in capsys.readouterr().err
  expected = fusion_metrics(*(images[k][:2] for k in ("ir", "vi", "mean")))["SSIM"].mean()
  assert json.loads((folder / "s.json").read_text())["means"]["mean"]["SSIM"] == pytest.approx(
    expected, rel=1e-5
  )


def test_a_dataset_in_place_of_folders(folders, capsys, monkeypatch):
  from tdfusion_jax.data import SyntheticSource
  from tdfusion_jax.evaluate import methods

  source = SyntheticSource("detection", "test", size=(32, 48), count=2)
  monkeypatch.setattr(methods, "get_source", lambda name, root, split: source)
  assert cli.main(["evaluate", "--dataset", "synthetic_det", "--metrics", "EN"]) == 0
  assert "2 pairs" in capsys.readouterr().out
  assert cli.main(["evaluate", "--dataset", "synthetic_det", "--ir", "x"]) == 2
  assert cli.main(["evaluate"]) == 2


@pytest.mark.parametrize("suffix", [".md", ".tex", ".csv", ".json"])
def test_scores_are_written_whole_or_not_at_all(folders, capsys, monkeypatch, suffix):
  """A disk that is full leaves the file of before, not half of a new one."""
  folder, _ = folders
  arguments = ("--fused", folder / "mean", "--metrics", "EN", "--out", folder / "scores")
  (folder / f"scores{suffix}").write_text("before")
  replace = files.os.replace

  def full(source, target):
    if target.suffix == suffix:
      raise OSError(28, "No space left on device")
    replace(source, target)

  monkeypatch.setattr(files.os, "replace", full)
  assert evaluate(folder, *arguments) == 2
  assert "No space left" in capsys.readouterr().err
  assert (folder / f"scores{suffix}").read_text() == "before"
  assert not list(folder.glob(".*.tmp*"))


def test_fused_images_have_a_scale_of_their_own(folders, capsys):
  """Floats up to 255 score as the same numbers of 8 bits do."""
  folder, images = folders
  (folder / "wide").mkdir()
  for index, image in enumerate(images["mean"]):
    Image.fromarray(image.astype(np.float32)).save(folder / "wide" / f"n{index}.tif")
  assert evaluate(folder, "--fused", folder / "wide") == 2
  said = capsys.readouterr().err
  assert "leave [0, 1]; give --fused-scale, such as 0:255" in said and said.count("\n") == 1
  rows = []
  for name, scale in (("mean", "linear"), ("wide", "0:255")):
    assert evaluate(folder, "--fused", f"m={folder / name}", "--fused-scale", scale) == 0
    rows.append(capsys.readouterr().out.splitlines()[-1])
  assert rows[0] == rows[1] and "| m |" in rows[0]


def test_false_colours_are_warned_of(folders, capsys):
  folder, _ = folders
  rainbow = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
  Image.fromarray(rainbow).save(folder / "ir" / "n0.png")
  (folder / "ir" / "clip.gif").write_bytes(b"GIF89a")
  assert evaluate(folder, "--fused", folder / "mean") == 0
  said = capsys.readouterr().err
  assert "n0.png: in colours" in said and "1 not looked at (1 .gif)" in said
