"""What `verify` found, as a table for the terminal and as one HTML page with thumbnails."""

import base64
import html
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tdfusion_jax.data.images import decode
from tdfusion_jax.data.labels.annotations import Annotation
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.data.verify.labels import HINTS, Finding
from tdfusion_jax.data.verify.pairs import PAPER_LISTS, PairReport, Report

WIDTH = 280
_CLEAR_SHIFT = 8.0  # peaks of `displacement` below this are likely chance


def table(report: Report, *, fix_hints: bool = False, limit: int = 20) -> str:
  """Counts, modes, brightness, alignment, name digests and findings as lines of text.

  Args:
    report: of `verify`.
    fix_hints: say how to repair each kind of error.
    limit: findings shown of each kind.
  """
  lines = [report.shape.title, ""]
  for title, values in _rows(report):
    lines.append(f"{title:<24}" + "".join(f"{value:>22}" for value in values))
  lines.append("")
  for name, (count, digest) in report.manifests.items():
    known = f" = {PAPER_LISTS[digest]}" if digest in PAPER_LISTS else ""
    lines.append(f"names of {name}: {count}, sha256 {digest}{known}")
  kinds = Counter((f.level, f.kind) for f in report.findings)
  for (level, kind), count in sorted(kinds.items()):
    lines += ["", f"{level}: {kind} ({count})"]
    if fix_hints and level == "error":
      lines.append(f"  to repair: {HINTS[kind]}")
    chosen = [f for f in report.findings if (f.level, f.kind) == (level, kind)]
    lines += [f"  {f.split + ': ' if f.split else ''}{f.message}" for f in chosen[:limit]]
    lines += [f"  ... and {count - limit} more"] if count > limit else []
  errors = sum(f.level == "error" for f in report.findings)
  lines += [
    "",
    f"{len(report.pairs)} pairs, {errors} error(s), {len(report.findings) - errors} note(s)",
  ]
  return "\n".join(map(_printable, lines))


def _printable(text: str) -> str:
  """`text` with what a terminal or a UTF-8 file cannot take (line breaks, bytes of other encodings) as escapes."""
  return "".join(
    c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
  )


def _rows(report: Report) -> list[tuple[str, list[str]]]:
  """(title, a value per split)."""
  splits = list(dict.fromkeys(pair.split for pair in report.pairs))
  groups = [[pair for pair in report.pairs if pair.split == split] for split in splits]
  each = lambda f: [f(group) for group in groups]  # noqa: E731
  rows = [
    ("split", splits),
    ("pairs", each(lambda g: str(len(g)))),
    ("annotated", each(lambda g: str(sum(p.labelled for p in g)))),
    ("unlabelled", each(lambda g: str(sum(not p.labelled for p in g)))),
    (
      "empty labels",
      each(lambda g: str(sum(p.boxes is not None and len(p.boxes.boxes) == 0 for p in g))),
    ),
  ]
  for title, which in (("infrared", "ir"), ("visible", "vi")):
    looks = [[look for p in g if (look := getattr(p, which))] for g in groups]
    sizes = [_several(f"{k.size[0]}x{k.size[1]}" for k in g) for g in looks]
    brightness = [
      f"{np.mean([k.mean for k in g]):.1f} +- {np.mean([k.spread for k in g]):.1f}" if g else "-"
      for g in looks
    ]
    rows += [
      (f"{title}: size (h x w)", sizes),
      (f"{title}: modes", [_several(k.mode for k in g) for g in looks]),
      (f"{title}: brightness", brightness),
    ]
  rows.append(("displaced (y, x)", each(_alignment)))
  for index, name in enumerate(report.shape.classes):
    if any(index in p.objects for p in report.pairs):
      rows.append((f"class {name}", each(lambda g, i=index: _count(g, i))))
  return rows


def _several(values: Iterable[str]) -> str:
  counts = Counter(values).most_common()
  if not counts:
    return "-"
  return counts[0][0] if len(counts) == 1 else f"{counts[0][0]} +{len(counts) - 1} other(s)"


def _alignment(pairs: list[PairReport]) -> str:
  clear = [p.shift for p in pairs if p.shift is not None and p.shift[2] >= _CLEAR_SHIFT]
  if not clear:
    return "no clear estimate"
  return f"{np.median([s[0] for s in clear]):.0f}, {np.median([s[1] for s in clear]):.0f} px ({len(clear)} clear)"


def _count(pairs: list[PairReport], index: int) -> str:
  holding = sum(index in p.objects for p in pairs)
  unit = "boxes" if any(p.boxes is not None for p in pairs) else "px"
  return f"{sum(p.objects[index] for p in pairs)} {unit} in {holding}"


def write_page(
  path: Path, report: Report, *, thumbnails: int = 48, fix_hints: bool = False
) -> None:
  """One self-contained HTML file: the table, and pairs side by side with their labels drawn, faulty ones first.

  Args:
    path: the file to write.
    report: of `verify`.
    thumbnails: pairs shown; the faulty ones, then some evenly from all.
    fix_hints: say how to repair each kind of error.
  """
  faults: dict[tuple[str, str], list[Finding]] = {}
  for finding in report.findings:
    if finding.name:
      faults.setdefault((finding.split, finding.name), []).append(finding)
  bad = [
    p for p in report.pairs if any(f.level == "error" for f in faults.get((p.split, p.name), ()))
  ]
  rest = [p for p in report.pairs if p not in bad]
  room = max(0, thumbnails - len(bad))
  chosen = (
    np.unique(np.linspace(0, len(rest) - 1, min(room, len(rest))).round().astype(int))
    if rest and room
    else []
  )
  shown = bad[:thumbnails] + [rest[i] for i in chosen]
  text = html.escape(table(report, fix_hints=fix_hints))
  rows = "\n".join(
    _figure(pair, faults.get((pair.split, pair.name), []), report.shape.classes) for pair in shown
  )
  title = html.escape(report.shape.title)
  path.write_text(
    f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    "<style>body{font:14px sans-serif;margin:2em}pre{overflow:auto}figure{display:inline-block;margin:.5em;"
    "padding:.5em;border:1px solid #ccc;vertical-align:top}figure.bad{border-color:#c00;background:#fee}"
    f"figcaption{{max-width:{2 * WIDTH}px;overflow-wrap:anywhere}}</style>"
    f"<h1>{title}</h1><pre>{text}</pre><p>{len(shown)} of {len(report.pairs)} pairs: infrared, visible</p>\n{rows}\n",
    encoding="utf-8",
  )


def _figure(pair: PairReport, findings: list[Finding], classes: tuple[str, ...]) -> str:
  bad = any(f.level == "error" for f in findings)
  images = "".join(_thumbnail(path, pair, classes) for path in pair.files[:2])
  title = html.escape(_printable(f"{pair.split} / {pair.name}"))
  lines = [f"<b>{title}</b>" + ("" if pair.labelled else " unlabelled")]
  lines += [html.escape(_printable(f"{f.kind}: {f.message}")) for f in findings]
  return f"<figure{' class=bad' if bad else ''}>{images}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _thumbnail(path: Path | None, pair: PairReport, classes: tuple[str, ...]) -> str:
  if path is None:
    return "<i>missing</i>"
  try:
    image = Image.fromarray(decode(path, lambda opened: opened.convert("RGB")))
  except DatasetError:
    return "<i>unreadable</i>"
  scale = WIDTH / image.width
  small = image.resize((WIDTH, max(1, min(4 * WIDTH, round(image.height * scale)))))
  if pair.boxes is not None:
    _draw_boxes(small, pair.boxes, scale, classes)
  elif pair.labelled and pair.files[2] is not None:
    small = _overlay(small, pair.files[2])
  buffer = io.BytesIO()
  small.save(buffer, "JPEG", quality=80)
  return f'<img width={WIDTH} alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _colour(index: int) -> tuple[int, int, int]:
  hue = int(255 * (index * 0.6180339887 % 1))
  red, green, blue = Image.new("HSV", (1, 1), (hue, 220, 255)).convert("RGB").getpixel((0, 0))  # type: ignore[misc]
  return red, green, blue


def _draw_boxes(
  image: Image.Image, found: Annotation, scale: float, classes: tuple[str, ...]
) -> None:
  draw = ImageDraw.Draw(image)
  for box, index in zip(found.boxes.tolist(), found.classes.tolist(), strict=True):
    x1, y1, x2, y2 = (value * scale for value in box)
    draw.rectangle(
      (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=_colour(index), width=2
    )
    if index < len(classes):
      draw.text((x1 + 2, y1 + 1), classes[index], fill=_colour(index))


def _overlay(image: Image.Image, label: Path) -> Image.Image:
  """The mask in colours over the image, class 0 clear."""
  try:
    values = decode(label, lambda opened: opened)
  except DatasetError:
    return image
  if values.ndim != 2 or values.dtype.kind not in "bu":
    return image
  small = np.asarray(
    Image.fromarray(values.astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
  )
  colours = np.array([_colour(i) for i in range(256)], np.float32)[small]
  mixed = np.where(
    small[..., None] > 0, 0.5 * np.asarray(image, np.float32) + 0.5 * colours, np.asarray(image)
  )
  return Image.fromarray(mixed.astype(np.uint8))
