"""Networks of the user's own, by name."""

from collections.abc import Mapping
from typing import Any, TypeVar

from tdfusion_jax.files import UsageError, made_by, plugin
from tdfusion_jax.fusers.kinds import Fuser, Weigher

_Kind = TypeVar("_Kind", Fuser, Weigher)


def own_network(kind: type[_Kind], name: str, options: Mapping[str, Any], field: str) -> _Kind:
  """The network of the user's factory, called as `factory(**options)`.

  The factory must be annotated with what it returns, `def factory(width=8) -> fusers.Fuser`, see
  `files.plugin`.

  Args:
    kind: `Fuser` or `Weigher`.
    name: `package.module:factory`.
    options: of the factory.
    field: what named it, for messages.

  Raises:
    UsageError: there is no such function, it is not annotated, does not accept the options, or
      returns something else.
  """
  plugin(name, field, kind)
  made = made_by(name, field, **options)
  if not isinstance(made, kind):
    found = type(made).__name__
    raise UsageError(f"{field}={name!r}: a fusers.{kind.__name__} is needed, not {found}.")
  return made
