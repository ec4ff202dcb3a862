"""The methods that `tdfusion evaluate` and `tdfusion judge` compare, of their options."""

import argparse
from collections.abc import Callable
from functools import partial

from tdfusion_jax.commands.options import dtype, named
from tdfusion_jax.evaluate import methods
from tdfusion_jax.files import UsageError
from tdfusion_jax.images.scaling import parse_scale


def methods_of(options: argparse.Namespace, pairs: methods.Pairs) -> dict[str, methods.Method]:
  """{title: method}; the weights that ship if none is named."""
  how = {"network": options.network, "stretch": options.stretch, "dtype": dtype(options)}
  of_folders = {"resize": options.resize, "scale": parse_scale(options.fused_scale)}
  made: dict[str, methods.Method] = {}

  def add(title: str, make: Callable[[], methods.Method], remedy: str) -> None:
    if title in made:
      raise UsageError(f"two rows are called {title!r}; {remedy}.")
    made[title] = make()

  for name in _words(options.baseline):
    add(name, partial(methods.method_of_baseline, name, "--baseline"), "name it once")
  for w in _words(options.constant):
    add(f"w = {w}", partial(methods.method_of_constant, w, "--constant"), "name it once")
  for option, texts, make in (
    ("--run", options.run, lambda path: methods.method_of_weights(run=path, **how)),
    ("--weights", options.weights, lambda path: methods.method_of_weights(weights=path, **how)),
    ("--fused", options.fused, lambda path: methods.method_of_folder(path, pairs, **of_folders)),
  ):
    for title, path in map(named, texts):
      add(title, partial(make, path), f"name this one: {option} NAME={path}")
  return made or shipped(options)


def shipped(options: argparse.Namespace) -> dict[str, methods.Method]:
  """The weights that come with the package, under their title."""
  return {
    "shipped weights": methods.method_of_weights(stretch=options.stretch, dtype=dtype(options))
  }


def _words(text: str) -> list[str]:
  return [word.strip() for word in text.split(",") if word.strip()]
