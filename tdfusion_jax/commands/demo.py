"""`tdfusion demo`: a page in the browser that fuses a pair."""

import argparse
from importlib.util import find_spec

from tdfusion_jax.commands import options as shared
from tdfusion_jax.files import UsageError

ABOUT = """A page for the browser: drop an infrared and a visible image, or pick a sample, and see
the fused image, the weights of G, a slider and six metrics. Nothing is sent anywhere, and only this
machine can open the page unless --host says otherwise.
Needs Gradio: pip install 'tdfusion-jax[demo]'"""
EXAMPLE = "tdfusion demo --run runs/first"
INTERRUPTED = "the page is no longer served"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion demo`."""
  shared.add_network(parser)
  add = parser.add_argument
  listens = "address that is listened on (default 127.0.0.1: this machine alone); 0.0.0.0: all"
  add("--host", default="127.0.0.1", metavar="ADDRESS", help=listens)
  port = "port (default: the first of 7860 to 7959 that is free)"
  add("--port", type=int, metavar="N", help=port)
  shared.add_cache(parser)


def run(options: argparse.Namespace) -> int:
  """Serves the page until it is interrupted."""
  if options.port is not None and not 1 <= options.port <= 65535:
    raise UsageError(f"--port {options.port}: a port is from 1 to 65535.")
  if find_spec("gradio") is None:  # before anything slow
    raise UsageError("the page needs Gradio: pip install 'tdfusion-jax[demo]'")
  from tdfusion_jax import fusers
  from tdfusion_jax.demo import models, page

  shared.use_cache(options)
  chosen, file = [], None
  if options.run or options.weights:
    title = f"run {options.run}" if options.run else options.weights
    loaded = shared.load_network(options)
    chosen.append(models.make_model(title, loaded, run=options.run, weights=options.weights))
    file = fusers.fusion_file(run=options.run, weights=options.weights)
  page.serve([*chosen, *models.named(but=file)], options.host, options.port)
  return 0
