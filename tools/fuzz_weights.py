"""Feeds damaged and hostile weight files to every reader of them: read, or refused by one error.

  python tools/fuzz_weights.py --count=20000 --seed=0

Half of the files are `.safetensors`, the others `.pth` as zip archives and as older PyTorch wrote
them. Valid files of our networks' names are damaged at random, anywhere or within the head or the
pickle, with lengths and checksums made right again; others are built to do harm: calls of
functions, opcodes in random order, sizes beyond all memory, endless and shared nesting. Ends with
status 1 if anything but the expected error came out, code ran, a file was written where none
should be, or one took longer than --limit seconds. --keep=DIR keeps what failed.
"""

import io
import json
import pickle
import random
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import fuzzing
import numpy as np

from tdfusion_jax import convert, fusers, weightfiles
from tdfusion_jax.convert import files
from tdfusion_jax.convert.pth import read_pth
from tdfusion_jax.convert.pth_write import write_pth
from tdfusion_jax.tensorfiles import write_safetensors

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_NUMBERS = (-1, 0, 1, 7, 1 << 31, (1 << 63) - 1, 1 << 63, 1 << 200, True, 1.5, None, "1", [], {})
_TEXTS = (
  "",
  "a",
  "a/b",
  "a" * 5000,
  "\x1b[2J",
  "\ud800",
  "params",
  "module.",
  "__metadata__",
  "..",
)
_CALLS = (
  ("os", "system"),
  ("posix", "system"),
  ("builtins", "eval"),
  ("builtins", "exec"),
  ("builtins", "open"),
  ("builtins", "getattr"),
  ("subprocess", "Popen"),
  ("pathlib", "Path.write_text"),
  ("torch.hub", "load"),
  ("numpy.core.multiarray", "scalar"),
  ("collections", "OrderedDict"),
  ("torch", "Size"),
  ("mine", "Mode"),
)
# Names that begin one of our networks, so that a set of few and small arrays is taken for weights.
_SETS = {
  "fusion": (
    "encoder1.0.attn.temperature",
    "encoder1.0.ffn.project_in.weight",
    "project_out_0.weight",
  ),
  "segformer": ("backbone.patch_embed1.proj.weight", "decode_head.linear_pred.weight"),
  "yolov8": ("model.0.conv.weight", "model.2.cv1.conv.weight", "model.22.cv3.0.2.weight"),
}


def small_set(rng: random.Random) -> dict[str, np.ndarray]:
  """A few small arrays of a network's names, of several dtypes, under some prefix."""
  numbers = np.random.default_rng(rng.randrange(1 << 30))
  dtype = rng.choice((np.float32, np.float16, np.float64, np.int64))
  prefix = rng.choice(("", "", "module.", "model._orig_mod."))
  shapes = [(2, 3), (4, 2, 1, 1), (), (0, 3)]
  return {
    prefix + name: np.asarray(9 * numbers.random(rng.choice(shapes)), dtype)
    for name in _SETS[rng.choice(tuple(_SETS))]
  }


def whole_f() -> dict[str, np.ndarray]:
  """F's starter weights in PyTorch's names."""
  return convert.to_torch(weightfiles.load_weights(fusers.shipped_weights())[0], "fusion")


# .safetensors


def split_head(content: bytes) -> tuple[dict, bytes]:
  """(head, arrays) of a valid file."""
  size = int.from_bytes(content[:8], "little")
  return json.loads(content[8 : 8 + size]), content[8 + size :]


def join_head(head: bytes, data: bytes) -> bytes:
  """The inverse, of any head."""
  return len(head).to_bytes(8, "little") + head + data


def damaged_tensors(rng: random.Random, content: bytes) -> bytes:
  """A damaged `.safetensors` file."""
  way = rng.random()
  if way < 0.15:
    return fuzzing.damage(rng, content, False)
  head, data = split_head(content)
  if rng.random() < 0.8:
    head["__metadata__"].pop("sha256", None)  # so that what comes after its check is reached
  if way < 0.5:
    return join_head(fuzzing.damage(rng, json.dumps(head).encode(), True), data)
  if way < 0.6:
    deep = rng.choice((b"[", b'{"a":')) * rng.choice((100, 5000, 200_000))
    return join_head(rng.choice((deep, b'{"__metadata__":' + deep, b'{"w":' + deep)), data)
  for _ in range(rng.choice((1, 1, 2, 5))):
    change_head(rng, head)
  return join_head(json.dumps(head).encode(), data)


def change_head(rng: random.Random, head: dict) -> None:
  """One change of a head that stays JSON."""
  name = rng.choice(list(head))
  entry = head[name]
  if name == "__metadata__":
    key = rng.choice((*entry, "arch", "options", "passengers", "part", "network", "changes", "x"))
    values = (*_NUMBERS, *_TEXTS, ["fusion"], {"a": {"b": []}}, "[" * 100_000)
    value = rng.choice(values)
    entry[key] = value if rng.random() < 0.2 else json.dumps(value)
    if rng.random() < 0.3:
      entry["arch"] = json.dumps(rng.choice(("fusion", "detection", "segmentation", "scenic")))
  elif rng.random() < 0.2:
    head[rng.choice((*_TEXTS, f"{name}/a", name.rpartition("/")[0]))] = head.pop(name)
  elif isinstance(entry, dict) and entry:
    key = rng.choice(list(entry))
    if isinstance(entry[key], list) and entry[key] and rng.random() < 0.7:
      entry[key][rng.randrange(len(entry[key]))] = rng.choice(_NUMBERS)
    else:
      dtypes = ("F8_E4M3", "F8_E5M2", "BF16", "C64", "F32", "BOOL", "U64")
      entry[key] = rng.choice((*_NUMBERS, *dtypes, [1, 2], [1] * 100))
  else:
    head[name] = rng.choice(_NUMBERS)


# .pth


def pickled(content: bytes) -> tuple[bytes, list[bytes]]:
  """(pickle, blocks of numbers) of a file that `write_pth` wrote."""
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    blocks = sorted(
      (name for name in archive.namelist() if "/data/" in name),
      key=lambda name: int(name.rpartition("/")[2]),
    )
    return archive.read("archive/data.pkl"), [archive.read(name) for name in blocks]


def zipped(rng: random.Random, program: bytes, blocks: list[bytes]) -> bytes:
  """A zip archive as PyTorch writes, now and then an odd one."""
  out = io.BytesIO()
  odd = rng.random() < 0.1
  kind = zipfile.ZIP_DEFLATED if odd and rng.random() < 0.5 else zipfile.ZIP_STORED
  with zipfile.ZipFile(out, "w", kind) as archive:
    archive.writestr("archive/data.pkl", program)
    for number, block in enumerate(blocks):
      archive.writestr(f"archive/data/{number}", block)
    if odd:
      archive.writestr(
        rng.choice(("../../out", "/tmp/out", "b/data.pkl", "archive/byteorder")), b"x"
      )
  return out.getvalue()


def legacy(program: bytes, blocks: list[bytes], counts: list[int]) -> bytes:
  """The same as PyTorch before 1.6 wrote it: pickles behind each other, then the blocks."""
  # Its storages name a view of another one, None.
  program = program.replace(b"tQ", b"NtQ")
  parts = [pickle.dumps(part, 2) for part in (_LEGACY_MAGIC, 1001, {"little_endian": True})]
  keys = pickle.dumps([str(number) for number in range(len(blocks))], 2)
  sizes = [struct.pack("<q", count) for count in counts]
  data = b"".join(size + block for size, block in zip(sizes, blocks, strict=True))
  return b"".join([*parts, program, keys, data])


def text_code(value: str) -> bytes:
  """The opcode of a text."""
  data = value.encode("utf-8", "surrogatepass")
  return b"X" + struct.pack("<I", len(data)) + data


def call(rng: random.Random) -> bytes:
  """Opcodes that ask for a function to be called, in one of the ways that pickles have."""
  module, name = rng.choice(_CALLS)
  argument = rng.choice((text_code("touch ran"), b")", b"K\x01", b"}", b"]", b"N"))
  by_name = f"c{module}\n{name}\n".encode()
  return rng.choice(
    (
      by_name + argument + b"\x85R",
      b"(" + argument + f"i{module}\n{name}\n".encode(),
      b"(" + by_name + argument + b"o",
      by_name + argument + b"\x85\x81",
      by_name + b")\x81" + argument + b"b",
      text_code(module) + text_code(name) + b"\x93" + argument + b"\x85R",
    )
  )


def opcodes(rng: random.Random) -> bytes:
  """Valid opcodes in random order, with arguments that fit."""
  simple = b"()]}NT\x88\x89\x8f201aesudtl\x85\x86\x87Rb\x81\x90\x91\x92\x94Q."
  out = []
  for _ in range(rng.choice((5, 30, 300))):
    size = rng.choice((0, 1, 255, 1 << 20, (1 << 31) - 1))
    long = rng.choice((0, 9, 1 << 35, (1 << 63) - 1, (1 << 64) - 1))
    parts = (
      *[bytes([rng.choice(simple)])] * 4,
      b"K" + rng.randbytes(1),
      b"J" + rng.randbytes(4),
      b"h" + bytes([rng.randrange(4)]),
      b"q" + bytes([rng.randrange(4)]),
      text_code(rng.choice(_TEXTS)),
      b"\x8a\xff" + rng.randbytes(255),
      b"I" + rng.choice((b"1", b"9" * 5000, b"x")) + b"\n",
      b"F1e999\n",
      b"\x96" + struct.pack("<Q", long),  # a bytearray of that size
      b"\x8e" + struct.pack("<Q", long),  # bytes
      b"\x8d" + struct.pack("<Q", long),  # text
      b"B" + struct.pack("<I", size),
      b"\x95" + struct.pack("<Q", long),  # a frame
      b"\x8b" + struct.pack("<i", size),  # a whole number
      b"r" + struct.pack("<I", size),  # a place in the memo
      b"ctorch._utils\n_rebuild_tensor_v2\n",
      b"ctorch\nFloatStorage\n",
      b"ccollections\nOrderedDict\n",
      call(rng),
    )
    out.append(rng.choice(parts))
  return b"".join(out)


def nested(rng: random.Random) -> bytes:
  """Opcodes of endless, shared or deep nesting, which leave one value."""
  count = rng.choice((60, 1000, 100_000))
  return rng.choice(
    (
      b"}q\x09X\x01\x00\x00\x00ah\x09s",
      b"]q\x09h\x09a",
      b"]q\x09" + b"0](h\x09h\x09eq\x09" * count,
      b")" + b"2\x86" * count,
      b"]" * count + b"a" * (count - 1),
      b"}" + b")" + b"2\x86" * count + b"K\x01s",
      b"cmine\nModule\n)\x81q\x09}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x09ssb",
    )
  )


def damaged_pickle(rng: random.Random, program: bytes) -> bytes:
  """A damaged or hostile pickle, of a valid one."""
  way = rng.random()
  if way < 0.35:
    return fuzzing.damage(rng, program, False)
  if way < 0.5:
    return fuzzing.damage(rng, program, True)
  if way < 0.6:
    return b"\x80\x04" + opcodes(rng) + b"."
  body = program[2:-1]
  if way < 0.8:  # beside the weights, under a name of its own
    extra = rng.choice((call, nested, opcodes))(rng)
    return b"\x80\x02}(" + text_code("model") + body + text_code("rest") + extra + b"u."
  # Somewhere between the opcodes of the tensors.
  places = [place for place in range(len(program)) if program[place : place + 1] in b"(tQRK"]
  place = rng.choice(places)
  return program[:place] + rng.choice((call, nested, opcodes))(rng) + program[place:]


def sizes_changed(rng: random.Random, program: bytes) -> bytes:
  """Other numbers in place of sizes, strides and counts."""
  places = [place for place in range(len(program) - 5) if program[place : place + 1] == b"J"]
  for place in rng.sample(places, min(len(places), rng.choice((1, 2, 4)))):
    number = rng.choice((b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x40", b"\x01\0\0\0", b"\0" * 4))
    program = program[: place + 1] + number + program[place + 5 :]
  return program


# What is fuzzed


class Files:
  """Makes a damaged weight file of a kind."""

  def __init__(self, folder: Path):
    self._folder = folder
    self._f = whole_f()

  def _arrays(self, rng: random.Random) -> dict[str, np.ndarray]:
    return self._f if rng.random() < 0.3 else small_set(rng)

  def safetensors(self, rng: random.Random) -> bytes:
    """Of this package, or of another program."""
    if rng.random() < 0.2:
      return damaged_tensors(rng, fusers.shipped_weights().read_bytes())
    path = self._folder / "valid.safetensors"
    arrays = self._arrays(rng)
    texts = {"format": "pt"}
    if rng.random() < 0.6:
      arrays = {f"params/{name.replace('.', '/')}": array for name, array in arrays.items()}
      arch = rng.choice(("fusion", "lossgen", "detection", "segmentation"))
      texts = {"arch": json.dumps(arch), "options": json.dumps({"variant": "n"}), "step": "3"}
    write_safetensors(path, arrays, texts)
    return damaged_tensors(rng, path.read_bytes())

  def _parts(self, rng: random.Random) -> tuple[bytes, list[bytes], list[int]]:
    path = self._folder / "valid.pth"
    arrays = self._arrays(rng)
    write_pth(path, arrays)
    program, blocks = pickled(path.read_bytes())
    return program, blocks, [array.size for array in arrays.values()]

  def zip(self, rng: random.Random) -> bytes:
    """As PyTorch 1.6 and newer write."""
    program, blocks, _ = self._parts(rng)
    if rng.random() < 0.15:
      return fuzzing.damage(rng, zipped(rng, program, blocks), False)
    change = rng.choice((damaged_pickle, damaged_pickle, sizes_changed))
    return zipped(rng, change(rng, program), blocks)

  def legacy(self, rng: random.Random) -> bytes:
    """As older ones wrote."""
    program, blocks, counts = self._parts(rng)
    if rng.random() < 0.3:
      return fuzzing.damage(rng, legacy(program, blocks, counts), False)
    change = rng.choice((damaged_pickle, damaged_pickle, sizes_changed))
    if rng.random() < 0.2:
      counts = [rng.choice((count, -1, 1 << 62)) for count in counts]
    return legacy(change(rng, program), blocks, counts)


def target(scratch: Path) -> fuzzing.Target:
  """Every reader of weight files, with a damaged file at a time; `scratch` is for valid ones."""
  source = Files(scratch)
  convert.from_torch(whole_f(), "fusion")  # what is compiled once, by a compiler of the system
  makers: dict[str, tuple[str, Callable[[random.Random], bytes]]] = {
    "safetensors": (".safetensors", source.safetensors),
    "pth zip": (".pth", source.zip),
    "pth legacy": (".pth", source.legacy),
  }

  def make(rng: random.Random, folder: Path) -> fuzzing.Case:
    kind = rng.choice(("safetensors", "safetensors", "pth zip", "pth legacy"))
    suffix, content = makers[kind]
    path = folder / f"case{suffix}"
    path.write_bytes(content(rng))
    return fuzzing.Case(kind, path)

  return fuzzing.Target(make, attempt)


def attempt(case: fuzzing.Case, rng: random.Random, out: Path) -> None:
  """What `fuse --weights`, `init.*`, `report` and `convert` do with a file."""
  path = case.path
  ways = ["convert", "to torch", "inspect"] + ["weights"] * (case.kind == "safetensors")
  way = rng.choice(ways)
  if way == "weights":
    loaded, _ = weightfiles.load_weights(path)
    weightfiles.match(loaded, {"params": {"a": np.zeros(3)}}, str(path))
  elif way == "inspect":
    files.inspect(path, rng.choice(("", "", "model")))
  elif way == "convert":
    files.convert(path, out / "o.safetensors")
    weightfiles.load_weights(out / "o.safetensors")
  else:
    files.convert(path, out / "o.pth", to="upstream")
    read_pth(out / "o.pth")


def main() -> int:
  """The command line."""
  with tempfile.TemporaryDirectory() as scratch:
    return fuzzing.main(__doc__ or "", lambda: target(Path(scratch)))


if __name__ == "__main__":
  sys.exit(main())
