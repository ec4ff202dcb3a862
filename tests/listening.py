"""`tdfusion` with a file that notes every address which the process connects to or looks up.

python listening.py NOTES VERB...
"""

import sys
from pathlib import Path

notes, *arguments = sys.argv[1:]


def hear(event, values):
  reached = {"socket.connect": 1, "socket.getaddrinfo": 0}
  if event in reached:
    with Path(notes).open("a") as file:
      file.write(f"{values[reached[event]]!r}\n")


if __name__ == "__main__":
  sys.addaudithook(hear)
  from tdfusion_jax import cli

  sys.exit(cli.main(arguments))
