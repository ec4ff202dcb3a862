"""Imports go one way through the house, and some packages stay outside."""

import ast
from pathlib import Path

import tdfusion_jax

PACKAGE = Path(tdfusion_jax.__file__).parent

# A module may import modules of lower levels, and of its own level within one folder.
LEVELS = [
  {"native", "atomic"},
  {"batch", "ops", "state", "config", "compiling"},
  {"data", "networks", "losses", "metrics", "optimisers", "imageio", "onnx_graph", "pictures", "progress", "tables"},
  {"tasks", "convert", "registration", "runfolder", "footage"},
  {"method", "checkpoint", "video"},
  {"fusers", "derivative", "equilibrium", "porting", "integrations"},
  {"meta"},
  {"consistency"},
  {"build"},
  {"fusing", "export"},
  {"single", "folders", "backends", "streaming"},
  {"evaluate", "judge"},
  {"train"},
  {"protocol"},
  {"sweepfile", "report_page"},
  {"sweep", "report"},
  {"main", "commands"},
  {"cli"},
]
# Edges inside a level that the order of the house allows: a loss reads its network's outputs.
ALLOWED = {("losses", "networks")}
FORBIDDEN = {"torch", "transformers", "tensorflow", "scenic"}


def level(name):
  return next(i for i, names in enumerate(LEVELS) if name in names)


def imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      yield node.module
      if node.module == "tdfusion_jax":
        yield from (f"tdfusion_jax.{alias.name}" for alias in node.names)


def room(path):
  return path.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


def test_every_module_has_a_level():
  assert len(FILES) > 30
  for path in FILES:
    level(room(path))


def test_imports_go_one_way():
  wrong = []
  for path in FILES:
    for name in imports(path):
      parts = name.split(".")
      if parts[0] != "tdfusion_jax" or len(parts) == 1:
        continue
      here, there = room(path), parts[1]
      if here != there and level(there) >= level(here) and (here, there) not in ALLOWED:
        wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
  assert not wrong


def test_only_a_few_modules_read_a_config():
  readers = {room(p) for p in FILES if {"ml_collections", "tdfusion_jax.config"} & set(imports(p))}
  # Some for its error alone; a Scenic model takes a ConfigDict of its own.
  assert readers <= {
    "config",
    "consistency",
    "build",
    "train",
    "main",
    "runfolder",
    "cli",
    "integrations",
    "protocol",
    "sweep",
    "report",
    "report_page",
    "sweepfile",
    "commands",
  }


def test_no_foreign_framework_and_no_private_jax():
  for path in [*FILES, *(PACKAGE.parent / "configs").glob("*.py")]:
    for name in imports(path):
      assert name.split(".")[0] not in FORBIDDEN, f"{path} imports {name}"
      assert not name.startswith("jax._src"), f"{path} imports {name}"


def test_data_is_free_of_jax():
  """Loader workers import it again: JAX would cost each a second and its memory."""
  for path in (PACKAGE / "data").rglob("*.py"):
    assert "jax" not in {name.split(".")[0] for name in imports(path)}, path
