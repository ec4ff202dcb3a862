"""Files written whole or not at all, functions of the user's own, the root of our errors."""

import ast
import contextlib
import difflib
import errno
import importlib
import importlib.machinery
import importlib.util
import inspect
import itertools
import json
import os
import re
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

_COUNT = itertools.count()
_LARGEST_JSON = 16 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UsageError(ValueError):
  """What a user can mend: the message names the file or field and the remedy; no traceback."""


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
  """A file beside `path`, to be written in the block; it replaces `path` at the block's end.

  An error in the block leaves `path` as it was, and nothing beside it. The folder is made if
  needed. The file has the ending of `path` and a short name, so that any `path` that is allowed can
  be written.

  Raises:
    OSError: the folder cannot be made, or `path` cannot be written or replaced. It names `path`:
      the system does not say which file a full disk has no room for.
  """
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{process_number()}.{next(_COUNT)}.tmp{path.suffix}")
  try:
    yield temporary
    os.replace(temporary, path)
  except OSError as error:
    if error.filename is None or os.fspath(error.filename) == str(temporary):
      error.filename, error.filename2 = str(path), None
    raise
  finally:
    with contextlib.suppress(
      OSError
    ):  # it may never have been made, and an error that is under way counts more
      temporary.unlink(missing_ok=True)


_numbers: dict[int, int] = {}


def process_number() -> int:
  """A number that no other process has that may write into the same folder.

  The process id is none: on a file system that several machines or containers share, every one of
  them may have a process of that id, and containers mostly have the same.
  """
  drawn = int.from_bytes(os.urandom(8)) >> 1
  return _numbers.setdefault(os.getpid(), drawn)  # a forked child draws its own


def is_plugin(name: str) -> bool:
  """Whether `name` is `package.module:name`, something of the user's, and not one of our names."""
  return ":" in name


def plugin(name: str, field: str, returns: type | None = None) -> Callable[..., Any]:
  """The function of the user's that a setting names as `package.module:function`.

  The module is looked for in the current folder first, then among installed packages. The folder
  stays on `sys.path`, so that the loader's worker processes find the module too.

  Args:
    name: such as "my_data:reader"; `a.b:C.d` names an attribute of an attribute.
    field: what named it, for messages: a config field or an option, such as "config.data.name".
    returns: what the function must be annotated to return. Needed where the config of a run folder
      from elsewhere may name it: without that mark such a file could have any installed function
      called with arguments of its choice.

  Raises:
    UsageError: the name is malformed, the module is missing or fails to be imported, has no such
      function, or the function is not annotated.
  """
  where = f"{field}={name!r}"
  module_name, _, path = name.partition(":")
  if not all(part.isidentifier() for part in [*module_name.split("."), *path.split(".")]):
    raise UsageError(f"{where}: write package.module:function, such as my_module:factory.")
  if returns is not None:
    _require_promise(module_name, path, returns, where)
  found: Any = _imported(module_name, where)
  for part in path.split("."):
    if not hasattr(found, part):
      raise UsageError(f"{where}: {module_name} has no {path}.{_near(part, vars(found))}")
    found = getattr(found, part)
  if not callable(found):
    raise UsageError(f"{where}: {path} is not a function but {type(found).__name__}.")
  if returns is not None and _promised(found) is not returns:
    what = f"{returns.__module__.removeprefix('tdfusion_jax.')}.{returns.__name__}"
    raise UsageError(f"{where}: annotate what it returns: def {path}(...) -> {what}.")
  return found


def _require_promise(module_name: str, path: str, returns: type, where: str) -> None:
  """Raises UsageError unless the module's text has the function, annotated with `returns`.

  It is read and not imported: importing a module is running it, and the name may come from a run
  folder of somebody else's.
  """
  _look_here()
  if module_name in sys.modules:
    return
  text = _text_of(module_name, where)
  found = _in_text(text, path.split("."))
  if isinstance(found, ast.ImportFrom):  # a package that hands on what a module of its own has
    package = module_name if _is_package(module_name) else module_name.rpartition(".")[0]
    name = f"{'.' * found.level}{found.module or ''}"
    origin = importlib.util.resolve_name(name, package) if found.level else name
    if origin.partition(".")[0] == module_name.partition(".")[0] and origin != module_name:
      _require_promise(origin, path, returns, where)
      return
  if found is None:
    names = [name for node in text.body if (name := getattr(node, "name", ""))]
    raise UsageError(f"{where}: {module_name} has no {path}.{_near(path, names)}")
  promise = getattr(found, "returns", None)
  words = ast.unparse(promise).strip("'\"") if promise is not None else ""
  if words.rpartition(".")[2] != returns.__name__:
    what = f"{returns.__module__.removeprefix('tdfusion_jax.')}.{returns.__name__}"
    raise UsageError(f"{where}: annotate what it returns: def {path}(...) -> {what}.")


def _text_of(module_name: str, where: str) -> ast.Module:
  """The parsed text of a module that is not imported, nor the packages that it lies in."""
  spec = _spec_of(module_name)
  if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
    missing = f"there is no module {module_name} in {Path.cwd()}, nor is it installed"
    raise UsageError(f"{where}: {missing}.")
  try:
    return ast.parse(Path(spec.origin).read_bytes(), spec.origin)
  except (OSError, RecursionError, SyntaxError, ValueError) as error:
    raise UsageError(f"{where}: {module_name} cannot be imported: {place_of(error)}") from error


def _spec_of(module_name: str) -> importlib.machinery.ModuleSpec | None:
  spec, place, name = None, None, ""
  for part in module_name.split("."):
    name = f"{name}.{part}" if name else part
    spec = importlib.machinery.PathFinder.find_spec(name, place)
    if spec is None:
      return None
    place = spec.submodule_search_locations
  return spec


def _is_package(module_name: str) -> bool:
  spec = _spec_of(module_name)
  return spec is not None and spec.submodule_search_locations is not None


def _in_text(tree: ast.Module | ast.ClassDef, path: list[str]) -> ast.stmt | None:
  """The statement that gives `path` its meaning; the last one, as in Python."""
  for node in reversed(tree.body):
    if isinstance(node, ast.ImportFrom):
      if any((alias.asname or alias.name) == path[0] for alias in node.names):
        return node
    elif getattr(node, "name", None) == path[0]:
      if isinstance(node, ast.ClassDef) and len(path) > 1:
        return _in_text(node, path[1:])
      return node
  return None


def _promised(function: Callable) -> Any:
  """The annotation of what `function` returns; None without one that can be read."""
  promised = getattr(function, "__annotations__", {}).get("return")
  # Alone, since other annotations of a user's may name what only type checkers import.
  alone = types.SimpleNamespace(__annotations__={"return": promised})
  try:
    return typing.get_type_hints(alone, getattr(function, "__globals__", {})).get("return")
  except (AttributeError, NameError, SyntaxError, TypeError):
    return None


def made_by(name: str, field: str, *arguments: Any, **options: Any) -> Any:
  """What the user's factory that `name` stands for makes of `arguments` and `options`.

  Args:
    name: `package.module:function`, see `plugin`.
    field: what named it, for messages.
    *arguments: of the factory.
    **options: of the factory, from a config.

  Raises:
    UsageError: there is no such function, or it does not accept them.
  """
  factory = plugin(name, field)
  try:
    inspect.signature(factory).bind(*arguments, **options)
  except (
    TypeError
  ) as error:  # before the call, so that a fault inside the factory keeps its traceback
    raise UsageError(f"{field}={name!r} does not accept what it is given: {error}.") from error
  return factory(*arguments, **options)


def _look_here() -> None:
  """Has modules looked for in the current folder first, also such as are made just now."""
  here = str(Path.cwd())
  if here not in sys.path[:1] and sys.path[:1] != [""]:
    sys.path.insert(0, here)
  importlib.invalidate_caches()  # the file may be younger than the last look into the folder


def _imported(module_name: str, where: str) -> Any:
  _look_here()
  here = str(Path.cwd())
  try:
    return importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    missing = error.name or ""
    if module_name != missing and not module_name.startswith(f"{missing}."):
      raise UsageError(
        f"{where}: {module_name} needs {missing}, which is not installed."
      ) from error
    raise UsageError(
      f"{where}: there is no module {missing} in {here}, nor is it installed."
    ) from error
  except Exception as error:  # whatever a user's module may do
    raise UsageError(f"{where}: {module_name} cannot be imported: {place_of(error)}") from error


def place_of(error: BaseException) -> str:
  """Where in a user's file `error` came up, and what it is."""
  if isinstance(error, SyntaxError):
    return f"{error.filename}, line {error.lineno}: {error.msg}"
  last = traceback.extract_tb(error.__traceback__)[-1]
  return f"{last.filename}, line {last.lineno}: {type(error).__name__}: {error}"


def _near(part: str, names: Iterable[str]) -> str:
  near = difflib.get_close_matches(part, [name for name in names if not name.startswith("_")], 1)
  return f" Is it {near[0]}?" if near else ""


def remove_leftovers(folder: Path, process: int | None = None) -> None:
  """Removes what killed writers left in `folder` and below; nobody may be writing there.

  Args:
    folder: where they wrote.
    process: the `process_number` of the one that was killed; others may then be writing there.
  """
  for path in folder.rglob(".*.tmp*" if process is None else f".{process}.*.tmp*"):
    if re.match(r"\.\d+\.\d+\.tmp", path.name):  # as `atomic_write` names them
      with contextlib.suppress(OSError):
        path.unlink()


def in_words(error: OSError) -> str:
  """A system's error: the file, the reason, and for a full disk the remedy."""
  name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
  return name + reason(error)


def reason(error: Exception) -> str:
  """`in_words` without the file, for a message that names it already."""
  words = [str(word) for word in error.args if isinstance(word, str)]
  text = getattr(error, "strerror", None) or "".join(words[:1]) or type(error).__name__
  full = getattr(error, "errno", None) in _FULL
  remedy = ". Make room, then start the same command again" if full else ""
  return f"{text.removesuffix('.')}{remedy}."


def first_line(error: BaseException) -> str:
  """The first line of what a library says, shortened; the error's kind where it says nothing."""
  text = getattr(error, "strerror", None) or str(error)
  return str(text).strip().partition("\n")[0][:200] or type(error).__name__


def of_full_disk(error: Exception, path: str | Path) -> OSError | None:
  """The error of a full disk that a library hands on in words of its own, as the system's."""
  for code in _FULL:
    if os.strerror(code) in str(error):
      return OSError(code, os.strerror(code), str(path))
  return None


def write_text(path: str | Path, text: str) -> None:
  """Writes UTF-8 text, whole or not at all; what UTF-8 has no code for is escaped, see PEP 383.

  Raises:
    OSError: see `atomic_write`.
  """
  with atomic_write(path) as temporary:
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path, refusal: type[UsageError] = UsageError) -> dict[str, Any]:
  """The object that a JSON file of a run holds.

  Args:
    path: the file.
    refusal: what is raised.

  Raises:
    UsageError: or `refusal`, naming the file: it cannot be read, is larger than any of ours, is no
      JSON, or holds no object.
  """
  try:
    if path.stat().st_size > _LARGEST_JSON:
      raise refusal(f"{path} is larger than {_LARGEST_JSON >> 20} MiB: it is no file of a run.")
    found = json.loads(path.read_bytes())
  except OSError as error:
    raise refusal(f"{path} cannot be read: {error.strerror}.") from error
  except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
    raise refusal(f"{path} cannot be read: {error}.") from error
  if not isinstance(found, dict):
    raise refusal(f"{path} cannot be read: it holds no fields.")
  return found


def write_json(path: str | Path, value: Any) -> None:
  """Writes JSON with an indent of 2 and a newline at its end, whole or not at all.

  Raises:
    OSError: see `atomic_write`.
    TypeError: `value` holds what JSON has no form for.
  """
  write_text(path, json.dumps(value, indent=2) + "\n")


def cache_folder() -> Path:
  """Where compiled programs and kernels are kept.

  `tdfusion_jax` in `$XDG_CACHE_HOME`, or else in `~/.cache`.

  A relative `$XDG_CACHE_HOME` is ignored, as its specification demands.

  Raises:
    RuntimeError: there is no home folder to keep anything in.
  """
  base = Path(os.environ.get("XDG_CACHE_HOME", ""))
  if not base.is_absolute():
    base = Path.home() / ".cache"
  return base / "tdfusion_jax"
