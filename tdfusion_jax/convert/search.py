"""Where in a file the weights are: sets of tensors that a network knows, under any wrapper.

Projects save a state_dict bare, under `state_dict`, `model`, `params`, ..., beside moving averages
and optimisers, and put `module.`, `_orig_mod.`, `model.`, ... before its names. No list of such
words would be complete. So every container in the file, and every common beginning of dotted names,
is tried: what a network knows by its names are weights.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.convert.naming import Origin
from tdfusion_jax.convert.recognise import fitting
from tdfusion_jax.convert.unpickle import Storage, Stub, Tensor

_MAX_PARTS = 100_000  # containers looked at
_PART = 10  # as much work as that many tensors' names
_MAX_DEPTH = 64
_MAX_PREFIXES = 12
_MAX_TENSORS = 20_000  # of one network
_MAX_IN_PIECES = 5000  # tensors that are tried together
_MAX_LEFT_OUT = 1000
# Parts of names that wrappers put in, also in the middle, and that no network has.
_WRAPPERS = {
  "module",
  "_orig_mod",
  "_fsdp_wrapped_module",
  "_checkpoint_wrapped_module",
  "_forward_module",
}


class TooManyPartsError(ValueError):
  """More containers than any checkpoint has, such as of modules nested in a circle."""


class Found(NamedTuple):
  """A set of tensors in a file."""

  key: str
  """Where it is: names of containers and the beginning of its tensors' names, dotted."""
  tensors: dict[str, Any]
  """Without that beginning."""
  origins: tuple[Origin, ...]
  """Whose it may be, by its names."""
  left_out: tuple[str, ...] = ()
  """What else is there, by where it is."""

  @property
  def whole(self) -> bool:
    """Whether it may be more than a backbone."""
    return any(not origin.backbone for origin in self.origins)


def find(loaded: Any, arch: str | None = None, style: str | None = None) -> list[Found]:
  """The sets of tensors in `loaded` that networks know by their names, or else the largest set.

  Args:
    loaded: what a file holds: containers, stubs, and as tensors `Tensor` or arrays.
    arch: only of this architecture; None for any.
    style: only in these names; None for any.

  Raises:
    TooManyPartsError: such as of modules nested in a circle.
  """
  search = _Search(arch, style)
  _, sets = search.visit(loaded, ())
  if sets:
    return sets
  largest = max(search.containers, key=lambda found: len(found.tensors), default=None)
  return [] if largest is None else [largest]


class _Search:
  """One way through everything that a file holds."""

  def __init__(self, arch: str | None, style: str | None):
    self.wish = (arch, style)
    self.containers: list[Found] = []
    """All that hold tensors themselves."""
    self._seen = 0
    self._above: set[int] = set()
    self._barren: set[int] = set()
    """Containers without tensors, which may be shared endlessly often."""

  def visit(self, node: Any, where: tuple[str, ...]) -> tuple[dict[str, Any], list[Found]]:
    """(all tensors in `node` and below, sets that fit there); `where` are the names before it."""
    if len(where) > _MAX_DEPTH or id(node) in self._above or id(node) in self._barren:
      return {}, []
    self._count()
    self._above.add(id(node))
    direct, below, plain = {}, {}, []
    within: dict[str, list[Found]] = {}
    for name, value in self._children(node):
      if isinstance(value, Tensor | np.ndarray):
        direct[name] = value
        continue
      tensors, sets = self.visit(value, (*where, name)) if _is_container(value) else ({}, [])
      self._count(len(tensors))
      if len(tensors) <= _MAX_IN_PIECES:
        below |= {f"{name}.{inner}": tensor for inner, tensor in tensors.items()}
      if sets:
        within[name] = sets
      if not tensors and not sets:
        plain.append(name)
    self._above.discard(id(node))
    if not (direct or below or within):
      self._barren.add(id(node))
      return {}, []
    here = ".".join(where)
    if direct:
      self.containers.append(Found(here, direct, (), tuple(_join(here, name) for name in plain)))
    return {**below, **direct}, self._fitting(here, direct, below, plain, within)

  def _fitting(
    self,
    here: str,
    direct: dict[str, Any],
    below: dict[str, Any],
    plain: list[str],
    within: dict[str, list[Found]],
  ) -> list[Found]:
    """What fits in a container: its own tensors, what is in containers in it, or all together."""
    own = self._unwrap(here, direct)
    inner = [found for sets in within.values() for found in sets]
    in_pieces = below and len(below) + len(direct) <= _MAX_IN_PIECES
    if in_pieces and not any(found.whole for found in (*own, *inner)):
      # A state_dict may be in pieces: {"backbone": {...}, "decode_head": {...}}.
      together = self._unwrap(here, {**direct, **below})
      if any(found.whole for found in together) or not (own or inner):
        return [_beside(found, here, plain) for found in together]
    sets = [_beside(found, here, [*plain, *within]) for found in own]
    for name, found_there in within.items():
      siblings = [*plain, *direct, *(other for other in within if other != name)]
      sets += [_beside(found, here, siblings) for found in found_there]
    return sets

  def _unwrap(self, key: str, tensors: dict[str, Any], depth: int = 0) -> list[Found]:
    """The sets that fit among tensors of dotted names, behind whatever their names begin with."""
    if len(tensors) > _MAX_TENSORS:
      return []
    self._count(4 * len(tensors))  # several looks at each name
    if origins := fitting(tensors, *self.wish):
      return [Found(key, tensors, tuple(origins))]
    groups: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
      first, dot, rest = name.partition(".")
      if dot:
        groups.setdefault(first, {})[rest] = tensor
    sets = []
    for first, group in groups.items() if depth < _MAX_PREFIXES else ():
      for found in self._unwrap(_join(key, first), group, depth + 1):
        others = [name for name in tensors if not name.startswith(f"{first}.")]
        sets.append(_beside(found, key, others))
    if any(found.whole for found in sets):
      return sets
    for names in (_without_wrappers(tensors), _numbered(tensors)):
      if names and (origins := fitting(names, *self.wish)):
        return [Found(key, names, tuple(origins))]
    return sets

  def _children(self, node: Any) -> Iterator[tuple[str, Any]]:
    """What a container holds, by name."""
    if isinstance(node, dict):
      pairs = node.items()
    elif isinstance(node, Stub):
      if _is_module(node):
        yield from self._module(node).items()
        return
      pairs = _parts(node)
    elif all(_is_named(item) for item in node):  # [("layer.weight", tensor), ...]
      pairs = node
    else:
      pairs = enumerate(node)
    for name, value in pairs:
      if isinstance(name, str) or (type(name) is int and abs(name) < 1 << 31):
        yield str(name), value

  def _module(self, module: Stub) -> dict[str, Tensor]:
    """The tensors of a pickled `torch.nn.Module` and its children, as its state_dict names them."""
    tensors: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", module)]
    while waiting:
      prefix, part = waiting.pop()
      self._count()
      state = part.state if isinstance(part, Stub) else None
      if not isinstance(state, dict):
        continue
      hidden = _mapping(state.get("_non_persistent_buffers_set"))
      own = {**_mapping(state.get("_parameters")), **_mapping(state.get("_buffers"))}
      for name, value in own.items():
        if isinstance(value, Tensor) and isinstance(name, str) and name not in hidden:
          tensors[f"{prefix}{name}"] = value
      children = list(_mapping(state.get("_modules")).items())
      waiting += [(f"{prefix}{name}.", child) for name, child in reversed(children)]
    return tensors

  def _count(self, work: int = _PART) -> None:
    self._seen += work
    if self._seen > _PART * _MAX_PARTS:
      raise TooManyPartsError(f"a model of more than {_MAX_PARTS} modules; refused.")


def _is_container(value: Any) -> bool:
  is_list = isinstance(value, list | tuple) and not isinstance(value, Tensor | Storage)
  return is_list or isinstance(value, dict | Stub)


def _is_named(item: Any) -> bool:
  pair = isinstance(item, tuple) and not isinstance(item, Tensor) and len(item) == 2
  return pair and isinstance(item[0], str) and isinstance(item[1], Tensor)


def _is_module(stub: Stub) -> bool:
  state = stub.state
  return isinstance(state, dict) and any(
    isinstance(state.get(name), dict) for name in ("_parameters", "_buffers", "_modules")
  )


def _parts(stub: Stub) -> Iterator[tuple[Any, Any]]:
  """What the file has put into a stub: attributes, also of classes with slots, and items."""
  states = stub.state if isinstance(stub.state, tuple) else (stub.state,)
  for part in (*states, stub.entries):
    if isinstance(part, dict):
      yield from part.items()
  yield from enumerate(stub.members or ())


def _mapping(value: Any) -> Any:
  """`value` if it can be asked for names, else an empty mapping."""
  if isinstance(value, Stub):
    return value.entries or {}
  return value if isinstance(value, dict | set | frozenset) else {}


def _join(key: str, name: str) -> str:
  return f"{key}.{name}" if key else name


def _beside(found: Found, key: str, names: list[str]) -> Found:
  """`found`, with what is left out beside it in a container."""
  left_out = found.left_out + tuple(_join(key, name) for name in names[:_MAX_LEFT_OUT])
  return found._replace(left_out=left_out[:_MAX_LEFT_OUT])


def _without_wrappers(tensors: dict[str, Any]) -> dict[str, Any]:
  """Without the parts of names that wrappers put in; empty if there are none."""
  bare = {
    ".".join(part for part in name.split(".") if part not in _WRAPPERS): tensor
    for name, tensor in tensors.items()
  }
  return bare if bare.keys() != tensors.keys() and len(bare) == len(tensors) else {}


def _numbered(tensors: dict[str, Any]) -> dict[str, Any]:
  """Names of a list of layers with the `model.` that Ultralytics has before them; else empty."""
  if tensors and all(name[:1].isdigit() for name in tensors):
    return {f"model.{name}": tensor for name, tensor in tensors.items()}
  return {}
