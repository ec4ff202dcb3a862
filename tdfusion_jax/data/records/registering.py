"""Makes the builders known to tensorflow-datasets without importing it: that takes time and few need it."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

_NAME = "tensorflow_datasets"


def _register() -> None:
  importlib.import_module("tdfusion_jax.data.records.tfds")


class _Loader(importlib.abc.Loader):
  """Loads tensorflow-datasets as ever, then the builders, whose classes register themselves."""

  def __init__(self, loader: importlib.abc.Loader):
    self.loader = loader

  def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
    return self.loader.create_module(spec)

  def exec_module(self, module: ModuleType) -> None:
    self.loader.exec_module(module)
    # From here on the module is as without us, for tools that look at its loader.
    module.__loader__ = self.loader
    if module.__spec__ is not None:
      module.__spec__.loader = self.loader
    _register()


class _Finder(importlib.abc.MetaPathFinder):
  """Waits for the first import of tensorflow-datasets, and then steps aside."""

  def find_spec(self, fullname, path=None, target=None):
    del path, target
    if fullname != _NAME:
      return None
    if self in sys.meta_path:
      sys.meta_path.remove(self)
    spec = importlib.util.find_spec(fullname)
    if spec is not None and spec.loader is not None:
      spec.loader = _Loader(spec.loader)
    return spec


def register_builders() -> None:
  """`tfds.builder("llvip")` and the like work from now on, whichever module is imported first."""
  if _NAME in sys.modules:
    _register()
  elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())
