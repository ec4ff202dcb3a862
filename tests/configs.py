"""The files of `configs/`, loaded as the command line loads them."""

import importlib.util
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NEED_WEIGHTS = ("frozen_det", "starter", "starter_g")  # or are no runs of their own
NAMES = sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem not in NEED_WEIGHTS)


def load(name, options=""):
  spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(options)
