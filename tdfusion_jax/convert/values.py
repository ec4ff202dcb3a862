"""Names of plain values that files of weights hold beside their tensors."""

import sys

from tdfusion_jax.files import UsageError

# Constructors of plain values that real checkpoints hold beside their tensors: settings, states of
# schedulers and generators. None is run: a call gives an empty object, because nothing here needs
# the values.
VALUES = {
  "_codecs": {"encode"},
  "argparse": {"Namespace"},
  "builtins": {"bytearray", "complex", "object", "range", "slice", "xrange"},
  "collections": {"ChainMap", "Counter", "defaultdict", "deque"},
  "copy_reg": {"_reconstructor"},
  "copyreg": {"_reconstructor"},
  "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
  "decimal": {"Decimal"},
  "fractions": {"Fraction"},
  "functools": {"partial"},
  "http": {"HTTPStatus"},
  "numpy": {"dtype"},
  "numpy._core.multiarray": {"_reconstruct", "scalar"},
  "numpy._core.numeric": {"_frombuffer"},
  "numpy.core.multiarray": {"_reconstruct", "scalar"},
  "numpy.core.numeric": {"_frombuffer"},
  "numpy.random._pickle": {
    "__bit_generator_ctor",
    "__generator_ctor",
    "__randomstate_ctor",
  },
  "numpy.random.bit_generator": {"__pyx_unpickle_SeedSequence"},
  "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
  "random": {"Random"},
  "re": {"_compile"},
  "torch": {"device"},
  "torch.serialization": {"_get_layout"},
  "types": {"SimpleNamespace"},
  "uuid": {"SafeUUID", "UUID"},
}
VALUES["__builtin__"] = VALUES["builtins"]
VALUES["pathlib._local"] = VALUES["pathlib"]
STANDARD = sys.stdlib_module_names | {"__builtin__", "copy_reg"}


class WeightFileError(UsageError):
  """A weight file that cannot be read safely, with the reason."""
