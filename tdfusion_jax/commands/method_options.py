"""The methods that `tdfusion evaluate` and `tdfusion judge` compare."""

import argparse
from collections.abc import Callable

from tdfusion_jax.commands.options import named
from tdfusion_jax.evaluate import methods
from tdfusion_jax.files import UsageError
from tdfusion_jax.images.scaling import parse_scale


def add_methods(parser: argparse.ArgumentParser) -> None:
  """`--run`, `--weights`, `--fused`, `--baseline`, and how their images are made."""
  add = parser.add_argument
  several = {"action": "append", "default": []}
  add("--run", metavar="[NAME=]RUN", help="run folder of a training", **several)
  add("--weights", metavar="[NAME=]FILE", help=".safetensors file of F", **several)
  add("--fused", metavar="[NAME=]DIR", help="any method's fused images", **several)
  rules = f"comma separated, fusions without a network: {', '.join(methods.BASELINES)}"
  add("--baseline", default="", metavar="NAMES", help=rules)
  own = "what makes the network of --weights, if it is your own; see tdfusion fuse"
  add("--network", default="", metavar="MODULE:FACTORY", help=own)
  add("--stretch", action="store_true", help="stretch F's images to the full range, as published")
  fused_scale = "the same for the fused images of --fused"
  add("--fused-scale", default="linear", metavar="HOW", help=fused_scale)
  resize = "resize fused images of another size than their pair"
  add("--resize", action="store_true", help=resize)


def methods_of(options: argparse.Namespace, pairs: methods.Pairs) -> dict[str, methods.Method]:
  """{title: method}; the weights that ship if none is named."""
  how = {"network": options.network, "stretch": options.stretch}
  of_folders = {"resize": options.resize, "scale": parse_scale(options.fused_scale)}
  baselines = [word.strip() for word in options.baseline.split(",") if word.strip()]
  makers: list[tuple[list[str], Callable[[str], methods.Method]]] = [
    (baselines, lambda name: methods.method_of_baseline(name, "--baseline")),
    (options.run, lambda path: methods.method_of_weights(run=path, **how)),
    (options.weights, lambda path: methods.method_of_weights(weights=path, **how)),
    (options.fused, lambda path: methods.method_of_folder(path, pairs, **of_folders)),
  ]
  made: dict[str, methods.Method] = {}
  for texts, make in makers:
    for text in texts:
      title, path = named(text)
      if title in made:
        raise UsageError(f"two methods are called {title!r}; name them: NAME={path}")
      made[title] = make(path)
  return made or {"shipped weights": methods.method_of_weights(stretch=options.stretch)}
