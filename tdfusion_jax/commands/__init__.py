"""The verbs of the `tdfusion` command, a module each.

A module `commands/VERB.py` has `ABOUT` (what it does), `EXAMPLE` (a command line),
`add_arguments(parser)` and `run(options) -> exit status`, and may have `INTERRUPTED` (what to print
on Ctrl-C). Where it takes long to import, `ABOUT`, `EXAMPLE` and `add_arguments` are in a module
`commands/VERB_options.py`, which is all that help and mistyped options need.
"""

VERBS = {
  "convert": "convert weights from PyTorch, and back",
  "data": "look through data sets, convert labels, prepare records",
  "demo": "a page in the browser that fuses a pair",
  "export": "write F as StableHLO and ONNX files",
  "evaluate": "measure fused images, several methods side by side",
  "fuse": "fuse two folders of images, or one pair",
  "init": "look at a folder of your own pairs and write a config to train on them",
  "judge": "which images suit a detector or segmenter that you have already",
  "models": "list the weights that have a name: licence, size, scores",
  "report": "a page about runs, with pictures to compare",
  "sweep": "train several settings over several seeds and compare them",
  "video": "fuse two videos",
}
"""Verb: its line in `tdfusion --help`. The module is imported only when its verb is used."""
