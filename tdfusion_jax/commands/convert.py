"""`tdfusion convert`: weights of PyTorch projects to this package's and back."""

import argparse

from tdfusion_jax.convert.naming import STYLES
from tdfusion_jax.convert.rules import DTYPES
from tdfusion_jax.files import UsageError

ABOUT = """Converts weight files of F, G, SegFormer and YOLOv8 from PyTorch to this package, or with
--to back. The architecture and whose names a file uses are recognised. No code in a weight file is
run."""
EXAMPLE = (
  "tdfusion convert segformer.b0.512x512.ade.160k.pth --in-channels 1 --num-classes 9 "
  "--out t.safetensors"
)

_NAMES = sorted({name for names in STYLES.values() for name in names})


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion convert`."""
  add = parser.add_argument
  add("file", metavar="FILE", help=".pth, .pt, .bin or .safetensors")
  add("--out", metavar="FILE", help="file to write; ends in .safetensors unless --to is given")
  add("--inspect", action="store_true", help="only print what FILE holds")
  add(
    "--to",
    metavar="NAMES",
    choices=_NAMES,
    help="write a PyTorch state_dict in these names: " + ", ".join(_NAMES),
  )
  add(
    "--from",
    dest="style",
    metavar="NAMES",
    choices=_NAMES,
    help="whose names FILE uses, if that cannot be recognised",
  )
  add(
    "--key",
    metavar="NAME",
    default="",
    help="which weights, if FILE holds several sets (such as model and ema)",
  )
  add("--arch", choices=sorted(STYLES), help="which network it has to be")
  add(
    "--in-channels",
    type=int,
    choices=(1, 3),
    help="input channels: 3 to 1 sums the kernel, 1 to 3 repeats it",
  )
  add(
    "--num-classes", type=_positive, metavar="N", help="another number: the classifier is made anew"
  )
  add(
    "--keep-classes",
    metavar="A,B",
    help="keep only these rows of the classifier, in this order: names (COCO's, or those that FILE "
    "notes), numbers, or NEW=OLD",
  )
  add("--backbone-only", action="store_true", help="convert the backbone without its head")
  add(
    "--fold-imagenet",
    action="store_true",
    help="fold ImageNet's normalisation into the input layer (SegFormer)",
  )
  add(
    "--dtype",
    choices=DTYPES,
    default="float32",
    help="of the written weights (default: float32)",
  )


def _positive(text: str) -> int:
  number = int(text)
  if number < 1:
    raise argparse.ArgumentTypeError("at least 1")
  return number


def run(options: argparse.Namespace) -> int:
  """Converts or inspects, and prints what was done."""
  from tdfusion_jax.convert import files  # JAX is loaded here, not for --help
  from tdfusion_jax.convert.adopt import Changes

  if options.inspect:
    print("\n".join(files.inspect(options.file, options.key)))
    return 0
  if not options.out:
    raise UsageError("--out is missing: the file to write (--inspect writes nothing).")
  if options.backbone_only and options.num_classes:
    raise UsageError("--backbone-only has no classes: remove --num-classes.")
  kept = [name.strip() for name in (options.keep_classes or "").split(",")]
  if options.keep_classes is not None and not all(kept):
    raise UsageError(f"--keep-classes={options.keep_classes}: write names, such as person,car.")
  if options.keep_classes and (options.num_classes or options.backbone_only):
    raise UsageError("--keep-classes goes with neither --num-classes nor --backbone-only.")
  changes = Changes(
    options.in_channels,
    options.num_classes,
    options.backbone_only,
    options.fold_imagenet,
    tuple(filter(None, kept)),
  )
  lines = files.convert(
    files.Part(options.file, options.key),
    options.out,
    to=options.to,
    arch=options.arch,
    style=options.style,
    changes=changes,
    dtype=options.dtype,
  )
  print("\n".join(lines))
  return 0
