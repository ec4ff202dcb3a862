"""`tdfusion evaluate --shard`: the parts together give the files of one measurement."""

import json

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax import cli
from tdfusion_jax.cluster.shards import Shard
from tdfusion_jax.evaluate.parts import part_file
from tdfusion_jax.files import UsageError

RNG = np.random.default_rng(8)


@pytest.fixture
def photos(tmp_path):
  """Seven pairs, of which one is flat: it has no value of some metrics."""
  for name in range(7):
    for side in ("ir", "vi"):
      (tmp_path / side).mkdir(exist_ok=True)
      image = RNG.integers(0, 256, (24, 28), np.uint8) * (name != 3)
      Image.fromarray(image).save(tmp_path / side / f"{name}.png")
  return tmp_path


def evaluate(photos, out, *more):
  sides = [f"--ir={photos / 'ir'}", f"--vi={photos / 'vi'}"]
  how = ["--baseline=average,maximum", "--metrics=EN,SF,MI,CC", f"--out={photos / out}"]
  return cli.main(["evaluate", *sides, *how, *more])


def test_parts_in_any_order_give_the_files_of_one_measurement(photos, capsys):
  assert evaluate(photos, "whole") == 0
  table = capsys.readouterr().out.partition("best **bold**")[2].partition("written")[0]
  for count, index in enumerate((2, 0, 1), 1):
    assert evaluate(photos, "parts", f"--shard={index}/3") == 0
    assert (photos / "parts.json").exists() == (count == 3)
  assert capsys.readouterr().out.partition("best **bold**")[2].partition("written")[0] == table
  for kind in ("md", "tex", "csv", "json"):
    assert (photos / f"parts.{kind}").read_bytes() == (photos / f"whole.{kind}").read_bytes()
  assert len(json.loads((photos / "parts.json").read_text())["images"]["average"]) == 7
  assert not list(photos.glob("*.shard_*"))


def test_a_part_measured_in_another_way_is_refused(photos, capsys):
  assert evaluate(photos, "parts", "--shard=0/2", "--profile=sum") == 0
  assert evaluate(photos, "parts", "--shard=1/2") == 2
  assert "shard_1_of_2.json was measured with other options" in capsys.readouterr().err
  assert evaluate(photos, "parts", "--shard=0/2") == 0  # started again, it takes the other's place
  assert (photos / "parts.json").exists()


def test_a_damaged_part_is_named(photos, capsys):
  part_file(photos / "parts", Shard(0, 2)).write_text("{")
  assert evaluate(photos, "parts", "--shard=1/2") == 2
  assert "shard_0_of_2.json cannot be read" in capsys.readouterr().err


def test_a_part_needs_a_file_to_go_to(photos):
  _, options = cli._parse(["evaluate", f"--ir={photos}", f"--vi={photos}", "--shard=0/2"])
  from tdfusion_jax.commands import evaluate as command

  with pytest.raises(UsageError, match="--shard needs --out"):
    command.run(options)
