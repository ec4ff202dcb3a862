"""The page, in Gradio, and its server. Nothing leaves the machine that it runs on."""

import importlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tdfusion_jax.demo.handlers import SCALES, Handlers
from tdfusion_jax.demo.models import Model
from tdfusion_jax.demo.samples import Sample, write_samples
from tdfusion_jax.files import UsageError, reason
from tdfusion_jax.images.listing import EXTENSIONS

TITLE = "Infrared and visible image fusion"
_ABOUT = f"""# {TITLE}
Drop an infrared and a visible image of one view and one size, or pick a sample. The images stay on
the machine that this page comes from, and are deleted there after an hour at the latest."""
_MAPS = """## Weights of G
What G, the network that F's loss is learned by, asks F to keep: red much, white half, blue little.
F itself does not see these maps."""
_SCORES = """## Six metrics
Higher is better, and none of the six knows what the image is for. Average and maximum of the two
images are there to compare; they need no network."""
_KEPT_S = 3600  # seconds
_LARGEST = "200mb"  # of an upload
_HALF = 320  # pixels of half a row; on narrower screens halves are stacked
_LOOPBACK = ("127.0.0.1", "localhost", "::1", None)
_CSS = """
.trouble {border-left: 4px solid #b91c1c; padding: 0.5rem 0.75rem; font-weight: 600}
.done {border-left: 4px solid #15803d; padding: 0.5rem 0.75rem}
.filled img {width: 100%; height: 100%; object-fit: contain}
.scores {overflow-x: auto}
.scores table {border-collapse: collapse; width: 100%}
.scores th, .scores td {padding: 0.25rem 0.4rem; text-align: right; font-size: 0.875rem}
.scores th:first-child {text-align: left}
/* Gradio paints a chosen one white on white under the mouse. */
input[type=radio]:checked:hover {
  background-color: var(--checkbox-background-color-selected) !important;
  border-color: var(--checkbox-border-color-selected) !important
}
"""
# Gradio names neither pictures nor, one by one, buttons: who hears the page needs to know whose.
_JS = """
() => {
  const named = () => {
    for (const block of document.querySelectorAll(".block")) {
      const label = block.querySelector("[data-testid=block-label]")?.innerText.trim();
      if (!label) continue;
      for (const image of block.querySelectorAll("img")) image.alt = label;
      for (const control of block.querySelectorAll("button, a, input[type=file]")) {
        const own = control.getAttribute("aria-label") || control.innerText.trim() || "open";
        if (!own.startsWith(label)) control.setAttribute("aria-label", `${label}: ${own}`);
      }
    }
  };
  new MutationObserver(named).observe(document.body, {childList: true, subtree: true});
  named();
}
"""


def make_page(models: Sequence[Model], samples: Mapping[str, Sample]) -> Any:
  """The page, a `gradio.Blocks`.

  Args:
    models: to choose from; the first is chosen.
    samples: {title: pair}, to pick from.

  Raises:
    UsageError: Gradio is not installed.
  """
  gr = _gradio()
  handlers = Handlers(gr, models, samples)
  titles = [model.title for model in models]
  with gr.Blocks(
    title=TITLE, analytics_enabled=False, delete_cache=(_KEPT_S // 6, _KEPT_S)
  ) as page:
    gr.Markdown(_ABOUT)
    with gr.Row():
      ir, *of_ir_file = _side(gr, "Infrared")
      vi, *of_vi_file = _side(gr, "Visible")
    sample = gr.Radio(list(samples), label="Or a sample of the built-in synthetic world")
    with gr.Row():
      model = gr.Radio(titles, value=titles[0], label="Model", min_width=_HALF)
      scale = gr.Radio(
        list(SCALES), value=next(iter(SCALES)), label="Range of infrared values", min_width=_HALF
      )
    button = gr.Button("Fuse", variant="primary")
    state = gr.HTML(padding=False)
    with gr.Column(visible=False) as results:
      with gr.Row():
        with gr.Column(min_width=_HALF):
          fused = _picture(gr, "Fused image", type="filepath")
          download = gr.DownloadButton("Download the fused image (PNG, full size)")
        with gr.Column(min_width=_HALF):
          slider = gr.ImageSlider(label="Before and after", interactive=False, buttons=[])
          before = gr.Radio(["visible", "infrared"], value="visible", label="Before")
          divider = gr.Slider(
            0, 100, 50, step=1, label="Divider, percent from the left", buttons=[]
          )
      gr.Markdown(_MAPS)
      maps = gr.HTML(padding=False)
      with gr.Row():
        of_ir = _picture(gr, "Weight of infrared")
        of_vi = _picture(gr, "Weight of visible")
      gr.Markdown(_SCORES)
      table = gr.HTML(padding=False)
    seen = gr.State(None, time_to_live=_KEPT_S)

    inputs = [ir, vi, model, scale, before]
    outputs = [state, results, fused, download, slider, seen, maps, of_ir, of_vi, table]
    private: Any = {"api_visibility": "private"}
    for file, seen_of, side in ((ir, of_ir_file, "infrared"), (vi, of_vi_file, "visible")):
      file.change(handlers.look(side), [file, scale], seen_of, **private)
      file.upload(handlers.unpick, None, sample, **private)
    scale.change(handlers.look("infrared"), [ir, scale], of_ir_file, **private)
    button.click(handlers.fuse, inputs, outputs, api_name="fuse")
    picked = sample.input(handlers.pick, sample, [ir, vi], **private)
    picked.then(handlers.fuse, inputs, outputs, **private)
    before.change(handlers.compare, [seen, before], slider, **private)
    divider.change(handlers.divide, divider, slider, show_progress="hidden", **private)
  return page


def _side(gr: Any, name: str) -> tuple[Any, Any, Any]:
  """A place for a file, what is seen of it, and what is wrong with it."""
  with gr.Column(min_width=_HALF):
    file = gr.File(label=f"{name} image", file_types=list(EXTENSIONS), height=120)
    wrong = gr.HTML(visible=False)
    return file, _picture(gr, f"{name}, as it is read", height=240), wrong


def _picture(gr: Any, label: str, **more: Any) -> Any:
  """An image to look at; Gradio's own has a button that sends it to a forum."""
  return gr.Image(
    label=label, interactive=False, buttons=["fullscreen"], elem_classes="filled", **more
  )


@contextmanager
def served(models: Sequence[Model], host: str | None, port: int | None) -> Iterator[str]:
  """Serves the page for the time of the block.

  Args:
    models: see `make_page`.
    host: the address that is listened on; None is what GRADIO_SERVER_NAME has, else 127.0.0.1.
    port: likewise; None is GRADIO_SERVER_PORT, else the first of 7860 to 7959 that is free.

  Yields:
    The page's address.

  Raises:
    UsageError: Gradio is not installed, or the port cannot be had.
  """
  _require_free(host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1", port or 0)
  with tempfile.TemporaryDirectory(prefix="tdfusion_demo_") as folder, _kept_in(folder):
    gr = _gradio()
    plain = gr.themes.Default(
      font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    page = make_page(models, write_samples(Path(folder)))
    try:
      _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        theme=plain,  # the usual one has fonts fetched from elsewhere
        css=_CSS,
        js=_JS,
        share=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        max_file_size=_LARGEST,
        quiet=True,
        prevent_thread_lock=True,
      )
      yield address
    finally:
      page.close(verbose=False)


def _require_free(host: str, port: int) -> None:
  """Raises UsageError unless `port`, or any for 0, can be listened on; Gradio tells less."""
  try:
    family, kind, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as tried:
      tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      tried.bind(place)
  except OSError as error:
    raise UsageError(
      f"the page cannot be served at {host}:{port or 'any port'}: {reason(error)} See --host and "
      "--port."
    ) from error


@contextmanager
def _kept_in(folder: str) -> Iterator[None]:
  """Has Gradio keep uploads and results below `folder`, which goes when the page does."""
  name = "GRADIO_TEMP_DIR"
  before = os.environ.get(name)
  os.environ[name] = str(Path(folder) / "kept")
  try:
    yield
  finally:
    if before is None:
      del os.environ[name]
    else:
      os.environ[name] = before


def serve(models: Sequence[Model], host: str | None = None, port: int | None = None) -> None:
  """Serves the page until the process is asked to end; prints its address. See `served`."""
  with served(models, host, port) as address:
    if host not in _LOOPBACK:
      print(f"note: at {host} others can open the page too; it asks for no password", flush=True)
    print(f"{address} (Ctrl-C ends it)", flush=True)
    threading.Event().wait()


def _gradio() -> Any:
  """The package, which is then forbidden to report to its makers."""
  os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
  try:
    return importlib.import_module("gradio")
  except ImportError:
    raise UsageError("the page needs Gradio: pip install 'tdfusion-jax[demo]'") from None
