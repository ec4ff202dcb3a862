"""Which rows of a pretrained classifier are kept, and what they are called."""

from collections.abc import Sequence

from tdfusion_jax.tensorfiles import shown

# Of COCO, in the order of networks with 80 classes (Lin et al., ECCV 2014).
COCO = (
  *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
  *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat"),
  *("dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack"),
  *("umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball"),
  *("kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket"),
  *("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
  *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair"),
  *("couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
  *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
  *("refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier"),
  "toothbrush",
)


def kept(wanted: Sequence[str], count: int, names: Sequence[str] = ()) -> list[tuple[str, int]]:
  """(name, row) of each class that is kept, in the order that is asked for.

  Args:
    wanted: names, numbers of rows, or `NEW=OLD` with either behind it.
    count: rows of the classifier.
    names: what they are called; empty: not known, or COCO's names where there are 80.

  Raises:
    ValueError: no such class, or one twice.
  """
  known = list(names) if len(names) == count else list(COCO) if count == len(COCO) else []
  found = []
  for entry in wanted:
    name, _, old = entry.partition("=") if "=" in entry else (entry, "", entry)
    if old.isdecimal() and int(old) < count:
      row = int(old)
      name = known[row] if known and name == old else name
    elif old in known:
      row = known.index(old)
    elif known:
      raise ValueError(f"no class {shown(old)!r}; there are: {', '.join(map(shown, known))}.")
    else:
      raise ValueError(
        f"no class {shown(old)!r}: the {count} classes have no names here; give numbers, such as "
        "person=0,car=2."
      )
    found.append((name, row))
  for column, what in ((0, "name"), (1, "class")):
    values = [pair[column] for pair in found]
    if twice := next((value for value in values if values.count(value) > 1), None):
      raise ValueError(f"{what} {twice!r} is asked for twice.")
  return found
