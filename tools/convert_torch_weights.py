"""Converts weights of PyTorch projects to this package's and back: the same as `tdfusion convert`.

python tools/convert_torch_weights.py ReFusion_IVIF.pth --out f.safetensors
"""

import sys

from tdfusion_jax.cli import main

if __name__ == "__main__":
  sys.exit(main(["convert", *sys.argv[1:]]))
