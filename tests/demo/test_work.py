"""What the page does with files: known answers, and what it refuses."""

import numpy as np
import pytest
from bad_files import bad_files
from made_data import picture, save
from PIL import Image

from tdfusion_jax import fusers
from tdfusion_jax.demo import handlers, models, samples, work
from tdfusion_jax.fusing.pairs import make_pair_fuser
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.images.scaling import parse_scale
from tdfusion_jax.metrics.fusion import PAPER, fusion_metrics
from tdfusion_jax.weightfiles import CheckpointError


@pytest.fixture
def mean():
  """A model whose answers are known: the mean of both luminances, and infrared as its weight."""
  fuser = make_pair_fuser(lambda params, ir, vi: (ir + vi) / 2, {})
  return models.Model("mean", fuser, lambda ir, vi: (ir, 1))


@pytest.fixture(scope="module")
def starter():
  return models.starter()


@pytest.fixture
def pair(tmp_path):
  """A gray infrared and a gray visible file, of other names."""
  files = tmp_path / "warm.png", tmp_path / "seen.png"
  for seed, file in enumerate(files):
    save(file, picture(seed, 1))
  return files


def staged(tmp_path, ir, vi, **more):
  return work.stage(tmp_path / "work", ir, vi, **more)


def test_a_pair_is_fused_weighed_and_measured(tmp_path, mean, pair):
  files = staged(tmp_path, *pair)
  work.check(files)
  work.fuse(files, mean)
  ir, vi, fused = (read_image(file)[..., 0] for file in (*pair, files.fused))
  np.testing.assert_allclose(fused, (ir + vi) / 2, atol=0.51 / 255)
  w_a, stride = work.weight_map(files, mean)
  np.testing.assert_array_equal(w_a, ir)
  assert stride == 1
  rows, _ = work.scores(files)
  assert list(rows) == ["fused", "average", "maximum"]
  direct = fusion_metrics(ir[None], vi[None], fused[None])  # of arrays, without any file
  for name in PAPER:
    np.testing.assert_allclose(rows["fused"][name], direct[name][0], rtol=1e-6)
  assert files.fused.name == "seen_fused.png"


def test_the_range_of_infrared_counts(tmp_path, mean, pair):
  """0 to 1000 of 16 bits: dark as they are, the whole range between percentiles 0 and 100."""
  ramp = np.linspace(0, 1000, 32 * 40).reshape(32, 40).astype(np.uint16)
  deep = tmp_path / "deep.png"
  Image.fromarray(ramp).save(deep)
  save(pair[1], np.zeros((32, 40), np.uint8))
  largest = {}
  for scale in ("linear", "percentile:0:100"):
    files = staged(tmp_path, deep, pair[1], scale=parse_scale(scale))
    work.fuse(files, mean)
    largest[scale] = read_image(files.fused).max()
  np.testing.assert_allclose(largest["linear"], 1000 / 65535 / 2, atol=1e-5)
  np.testing.assert_allclose(largest["percentile:0:100"], 0.5, atol=1e-5)


@pytest.mark.parametrize("what", ["text", "eps", "dot", "other"])
def test_what_cannot_be_used_is_named(tmp_path, mean, pair, what):
  file, said = bad_files(tmp_path)[what]
  *_, last = fused_by_the_page(mean, str(file), str(pair[1]))
  state, results, *others = last
  assert said in state and 'role="alert"' in state and "visible" in results
  assert str(tmp_path) not in state and not any(others)  # no place on the server is told


class Gradio:
  """What the handlers need of the package: components as what they are told."""

  def __getattr__(self, name):
    return lambda *value, **more: {"is": name, "value": value, **more}


def fused_by_the_page(model, ir, vi):
  page = handlers.Handlers(Gradio(), [model], {})
  return list(page.fuse(ir, vi, model.title, next(iter(handlers.SCALES)), "visible"))


def test_the_page_shows_what_is_there_as_soon_as_it_is(mean, pair):
  begun, fused, weighed, measured = fused_by_the_page(mean, *map(str, pair))
  assert "Fusing" in begun[0] and begun[1]["visible"] is False
  size = read_image(pair[1]).shape
  assert f"{size[1]}x{size[0]} pixels" in fused[0] and fused[1]["visible"] is True
  assert fused[2] == fused[3] and fused[2].endswith("seen_fused.png")
  before, after = fused[4]
  assert before.shape == after.shape == (*size[:2], 3)
  note, of_ir, of_vi = weighed[6:9]
  ir = read_image(pair[0])[..., 0]
  assert f"Mean weight of infrared: {ir.mean():.2f}" in note
  # Blue 0, white 1/2, red 1: red of one where the other is blue.
  np.testing.assert_array_equal(of_ir[..., 0], of_vi[..., 2])
  assert all(name in measured[9] for name in PAPER)
  assert len({len(row) for row in (begun, fused, weighed, measured)}) == 1


def test_a_warning_names_what_was_dropped(tmp_path, mean, pair):
  alpha = tmp_path / "alpha.png"
  shape = read_image(pair[0]).shape[:2]
  Image.fromarray(np.random.default_rng(0).integers(0, 255, (*shape, 4), np.uint8)).save(alpha)
  _, fused, *_ = fused_by_the_page(mean, str(pair[0]), str(alpha))
  assert "visible image alpha.png: channel 4 (alpha" in fused[0]
  assert "an option of tdfusion fuse" in fused[0] and "tdfusion_demo_" not in fused[0]


def test_a_missing_image_and_a_strange_name_are_named(tmp_path, mean, pair):
  (last,) = fused_by_the_page(mean, None, str(pair[1]))[-1:]
  assert "The infrared image is missing" in last[0]
  strange = tmp_path / "<b>scan.eps"
  strange.write_text("%!PS")
  (last,) = fused_by_the_page(mean, str(strange), str(pair[1]))[-1:]
  assert "&lt;b&gt;scan.eps is no file of a kind that is read" in last[0]


def test_the_look_of_a_file_says_what_is_wrong_with_it(tmp_path, mean, pair):
  page = handlers.Handlers(Gradio(), [mean], {})
  scale = next(iter(handlers.SCALES))
  shown, said = page.look("visible")(str(pair[1]), scale)
  assert shown.shape[-1] == 3 and said["visible"] is False
  shown, said = page.look("infrared")(str(bad_files(tmp_path)["text"][0]), scale)
  assert shown is None and "Infrared image text.png: cannot be read" in said["value"][0]


def test_scores_that_are_missing_are_no_numbers():
  rows = {"fused": dict.fromkeys(PAPER, 1.0), "<b>": dict.fromkeys(PAPER, 2.0) | {"VIF": np.nan}}
  table = handlers.table(rows, ["flat"])
  assert table.count("<strong>2.000</strong>") == 5 and table.count("<td>none</td>") == 1
  assert "&lt;b&gt;" in table and "flat" in table


def test_the_starter_model_has_maps_a_weight_file_has_none(tmp_path, starter):
  given = tmp_path / "f.safetensors"
  given.write_bytes(fusers.shipped_weights().read_bytes())
  of_file = models.make_model("f", fusers.load_fusion(weights=given), weights=given)
  assert of_file.weigh is None and "weight file" in of_file.why_no_maps
  run = tmp_path / "run" / "weights"
  run.mkdir(parents=True)
  (run / "f.safetensors").write_bytes(given.read_bytes())
  loaded = fusers.load_fusion(run=run.parent)
  fixed = models.make_model("run", loaded, run=run.parent)
  assert fixed.weigh is None and "no G" in fixed.why_no_maps
  (run / "g.safetensors").write_bytes(given.read_bytes())  # F's, in G's place
  with pytest.raises(CheckpointError, match="does not fit"):
    models.make_model("run", loaded, run=run.parent)
  g = fusers.shipped_weights().with_name("g.safetensors")
  (run / "g.safetensors").write_bytes(g.read_bytes())
  ir, vi = np.random.default_rng(0).random((2, 16, 24), np.float32)
  w_a = [m.weigh(ir, vi)[0] for m in (models.make_model("r", loaded, run=run.parent), starter)]
  np.testing.assert_array_equal(*w_a)
  assert w_a[0].shape == (16, 24) and 0 < w_a[0].min() < w_a[0].max() < 1


def test_weights_that_have_a_name_and_are_there_are_offered(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
  monkeypatch.setattr(models, "make_pair_fuser", lambda *loaded: None)  # nothing is fused here
  assert [model.title for model in models.named()] == ["starter", "fast"]
  converted = tmp_path / "tdfusion_jax" / "weights" / "refusion.safetensors"
  converted.parent.mkdir(parents=True)
  converted.write_bytes(fusers.shipped_weights().read_bytes())
  offered = models.named()
  assert [model.title for model in offered] == ["starter", "fast", "refusion"]
  assert offered[0].weigh is not None and offered[1].weigh is offered[2].weigh is None
  assert [m.title for m in models.named(but=fusers.shipped_weights())] == ["fast", "refusion"]
  converted.write_bytes(b"damaged")
  assert [model.title for model in models.named()] == ["starter", "fast"]


def test_a_run_shows_the_g_of_its_config(tmp_path):
  """`loss.tone_held` with tone c: the log-odds of w_a have the mean log(c / (1 - c))."""
  from tdfusion_jax.config import base

  config = base()
  config.data.name = "synthetic_seg"
  config.loss.tone, config.loss.tone_held = 0.8, True
  weights = tmp_path / "weights"
  weights.mkdir()
  for name in ("f", "g"):
    file = fusers.shipped_weights().with_name(f"{name}.safetensors")
    (weights / file.name).write_bytes(file.read_bytes())
  (tmp_path / "config.json").write_text(config.to_json())
  model = models.make_model("run", fusers.load_fusion(run=tmp_path), run=tmp_path)
  ir, vi = np.random.default_rng(0).random((2, 16, 24), np.float32)
  w_a, _ = model.weigh(ir, vi)
  np.testing.assert_allclose(np.log(w_a / (1 - w_a)).mean(), np.log(4), atol=1e-4)


def test_g_looks_at_large_images_reduced(monkeypatch, starter):
  monkeypatch.setattr(models, "_MOST", 100)
  ir, vi = np.random.default_rng(0).random((2, 16, 24), np.float32)
  w_a, stride = starter.weigh(ir, vi)
  assert stride == 2 and w_a.shape == (16, 24)  # 384 pixels: by 2 they are 96


def test_samples_are_pairs_of_both_times_of_day(tmp_path):
  made = samples.write_samples(tmp_path)
  assert len(made) == 3
  means = {}
  for title, sample in made.items():
    ir, vi = read_image(sample.ir), read_image(sample.vi)
    assert ir.shape[:2] == vi.shape[:2] and (ir.shape[2], vi.shape[2]) == (1, 3)
    means[title] = vi.mean()
  assert max(m for t, m in means.items() if "night" in t) < means["Street by day"] / 2


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path, monkeypatch, pair):
  monkeypatch.setattr(work, "USUAL_MEGAPIXELS", 1e-3)
  with pytest.raises(ImageError, match="tdfusion fuse accepts larger ones"):
    work.check(staged(tmp_path, *pair))
