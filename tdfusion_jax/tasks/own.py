"""A task of the user's own, `package.module:function`."""

from collections.abc import Mapping
from typing import Any

from tdfusion_jax.files import UsageError, made_by, plugin
from tdfusion_jax.tasks import Task


def own_task(
  name: str,
  num_classes: int,
  variant: str,
  options: Mapping[str, Any],
  field: str = "config.task.kind",
) -> Task:
  """The task of the user's factory, called as `factory(num_classes, variant=variant, **options)`.

  The factory must be annotated with what it returns, `-> tasks.Task`, see `files.plugin`.

  Args:
    name: `package.module:function`.
    num_classes: of the data set.
    variant: `task.variant`.
    options: `task.options`.
    field: what named it, for messages.

  Raises:
    UsageError: there is no such function, it is not annotated, does not accept the options, or
      makes no `Task`.
  """
  plugin(name, field, Task)
  made = made_by(name, field, num_classes, variant=variant, **options)
  if not isinstance(made, Task) or not all(map(callable, made[:4])):
    found = type(made).__name__
    raise UsageError(f"{field}={name!r}: a tasks.Task of four functions is needed, not {found}.")
  return made
