"""The page as it is served: over HTTP, and in Chromium by keyboard."""

import importlib.util
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bad_files import bad_files
from PIL import Image

import tdfusion_jax
from tdfusion_jax import cli
from tdfusion_jax.demo import page
from tdfusion_jax.demo.models import Model
from tdfusion_jax.demo.samples import write_samples
from tdfusion_jax.metrics.fusion import PAPER

MODEL = Model("none", fuser=None, weigh=None, why_no_maps="")
ROOT = Path(__file__).parents[2]
needs_gradio = pytest.mark.skipif(
  not importlib.util.find_spec("gradio"), reason="Gradio is not installed"
)
# Of the page's libraries and their clients in this process, which are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def chromium():
  """A Chromium that Playwright can drive, or None."""
  if not importlib.util.find_spec("playwright"):
    return None
  names = ("chromium", "chromium-browser", "google-chrome")
  if found := next(filter(None, map(shutil.which, names)), None):
    return found
  from playwright.sync_api import sync_playwright

  with sync_playwright() as started:
    own = started.chromium.executable_path
  return own if Path(own).is_file() else None


@pytest.fixture(scope="module")
def served(tmp_path_factory):
  """(address, what the process connected to so far, its folder of temporary files)."""
  folder = tmp_path_factory.mktemp("served")
  notes, kept = folder / "notes", folder / "tmp"
  notes.touch()
  kept.mkdir()
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  command = [sys.executable, str(ROOT / "tests" / "listening.py"), str(notes), "demo"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "TMPDIR": str(kept)}
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  with subprocess.Popen(
    [*command, f"--port={port}", "--cache="], env=environment, **pipes
  ) as process:
    try:
      line = process.stdout.readline()
      address = f"http://127.0.0.1:{port}/"
      if line == f"{address} (Ctrl-C ends it)\n":
        yield address, notes, kept
    finally:
      process.send_signal(signal.SIGINT)
      _, said = process.communicate(timeout=60)
  assert process.returncode == 130 and "no longer served" in said, said
  assert "Traceback" not in said, said
  assert not list(kept.iterdir())  # nothing of what was dropped is left


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """That of the first sample, so that the page compiles for one size alone."""
  return next(iter(write_samples(tmp_path_factory.mktemp("pair")).values()))


@pytest.fixture
def window():
  """Opens the page in Chromium at a given width."""
  browser = chromium()
  if browser is None:
    pytest.skip("needs Playwright and Chromium")
  from playwright.sync_api import sync_playwright

  with sync_playwright() as started:
    window = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])

    def opened(address, width):
      seen = window.new_page(viewport={"width": width, "height": 900})
      seen.set_default_timeout(120_000)
      return Visit(seen, address)

    yield opened
    window.close()


class Visit:
  """A visit to the page: what the browser asked for, and what failed in it."""

  def __init__(self, seen, address):
    self.seen, self.asked, self.failed = seen, [], []
    seen.on("request", lambda request: self.asked.append(request.url))
    seen.on("pageerror", lambda error: self.failed.append(str(error)))
    seen.goto(address)
    seen.get_by_role("button", name="Fuse").wait_for()

  def tab_to(self, name):
    """Presses Tab until what has the focus is called `name`."""
    for _ in range(80):
      if self.seen.evaluate(FOCUSED) == name:
        return
      self.seen.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {name}")


@needs_gradio
def test_over_http_the_page_fuses_and_refuses(served, pair, tmp_path):
  address, notes, _ = served
  bad = bad_files(tmp_path)
  pairs = [pair, *((file, pair[1]) for file, _ in bad.values())]
  script = str(ROOT / "tests" / "page_client.py")
  command = [sys.executable, script, address, str(tmp_path), *(str(f) for p in pairs for f in p)]
  ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
  assert ran.returncode == 0, ran.stderr
  good, *refused = map(json.loads, ran.stdout.splitlines())
  state, _, fused, sides, maps, of_ir, of_vi, table = good
  assert "Fused, 384x288 pixels." in state and len(sides) == 2
  direct = np.asarray(tdfusion_jax.fuse(*pair))
  np.testing.assert_array_equal(np.asarray(Image.open(fused)), direct)
  assert "Mean weight of infrared" in maps and all(f">{name}<" in table for name in PAPER)
  assert [Image.open(file).size for file in (of_ir, of_vi)] == [(384, 288)] * 2
  for (state, _, fused, *_), (_, said) in zip(refused, bad.values(), strict=True):
    assert said in state and "Traceback" not in state and fused is None
  reached = notes.read_text().splitlines()
  assert reached and not [one for one in reached if "127.0.0.1" not in one], reached


@needs_gradio
@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_by_keyboard_in_a_browser(served, window, tmp_path, width):
  """A sample is chosen, the slider's divider moved and the result downloaded without a mouse."""
  visit = window(served[0], width)
  seen = visit.seen
  visit.tab_to("Street by night")
  seen.keyboard.press("Space")
  seen.locator(".scores table").wait_for()
  rows = seen.locator(".scores tr").all_inner_texts()
  assert [row.split()[0] for row in rows] == ["metric", *PAPER]
  visit.tab_to("Download the fused image (PNG, full size)")
  with seen.expect_download() as coming:
    seen.keyboard.press("Enter")
  assert Image.open(coming.value.path()).size == (384, 288)
  visit.tab_to("range slider for Divider, percent from the left")
  for _ in range(20):
    seen.keyboard.press("ArrowLeft")
  seen.wait_for_function(CUT, arg="30%")  # from the middle, by one per cent each
  seen.screenshot(path=tmp_path / f"{width}.png", full_page=True)
  # Nothing is cut off, every picture and control has a name, nothing comes from elsewhere.
  assert seen.evaluate("document.documentElement.scrollWidth") == width
  assert seen.evaluate(UNNAMED) == []
  assert not visit.failed
  assert [url for url in visit.asked if not url.startswith((served[0], "data:"))] == []


@needs_gradio
@pytest.mark.browser
@pytest.mark.parametrize(
  ("what", "width"), [("text", 1280), ("other", 1280), ("eps", 390), ("dot", 390)]
)
def test_messages_are_in_the_page(served, window, pair, tmp_path, what, width):
  file, said = bad_files(tmp_path)[what]
  seen = window(served[0], width).seen
  seen.get_by_label("Infrared image: File upload").set_input_files(file)
  seen.get_by_label("Visible image: File upload").set_input_files(pair.vi)
  seen.get_by_alt_text("Visible, as it is read").wait_for()
  seen.get_by_role("button", name="Fuse").click()
  alert = seen.locator(".trouble", has_text=said).last
  alert.wait_for()
  box = alert.bounding_box()
  assert box["width"] > 200 and box["x"] + box["width"] <= width
  assert alert.get_attribute("role") == "alert"
  assert "Traceback" not in seen.content() and not seen.get_by_text("Six metrics").is_visible()
  seen.screenshot(path=tmp_path / f"{what}_{width}.png", full_page=True)


FOCUSED = """() => {
  const e = document.activeElement;
  return (e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || '').trim();
}"""
UNNAMED = """() => {
  const shown = [...document.querySelectorAll('input, select, textarea, button, a[href], img')];
  const label = e => e.labels?.[0]?.innerText || e.innerText;
  const name = e => e.getAttribute('aria-label') || e.alt || label(e) || '';
  return shown.filter(e => e.offsetWidth && !name(e).trim()).map(e => e.outerHTML);
}"""
CUT = """where => {
  const after = document.querySelectorAll('[data-testid=imageslider-image]')[1];
  return after && after.style.clipPath.endsWith(` ${where})`);
}"""


def test_without_gradio_the_error_names_the_command(monkeypatch, capsys):
  monkeypatch.setattr("tdfusion_jax.commands.demo.find_spec", lambda name: None)
  assert cli.main(["demo"]) == 2
  assert "pip install 'tdfusion-jax[demo]'" in capsys.readouterr().err
  monkeypatch.setitem(sys.modules, "gradio", None)  # there, and broken
  with pytest.raises(page.UsageError, match="pip install"):
    page.make_page([], {})


@needs_gradio
def test_a_port_that_is_taken_is_an_error(capsys, monkeypatch):
  monkeypatch.setattr("tdfusion_jax.demo.models.named", lambda **_: [MODEL])
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    assert cli.main(["demo", f"--port={port}", "--cache="]) == 2
  said = capsys.readouterr().err
  assert f"127.0.0.1:{port}" in said and "--port" in said and said.count("\n") == 1
  assert cli.main(["demo", "--port=70000"]) == 2
  assert "a port is from 1 to 65535" in capsys.readouterr().err


def test_the_file_of_a_space_serves_the_starter_weights_where_it_is_told(monkeypatch):
  served = []
  monkeypatch.setattr(page, "serve", lambda models, *where: served.append((models, where)))
  monkeypatch.setattr("tdfusion_jax.demo.models.starter", lambda: MODEL)
  runpy.run_path(str(ROOT / "docs" / "recipes" / "space" / "app.py"), run_name="__main__")
  assert served == [([MODEL], ())]  # no address: Gradio takes that of the environment
