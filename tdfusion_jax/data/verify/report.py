"""What `verify` found, as a table for the terminal and as one HTML page with thumbnails."""

import base64
import html
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tdfusion_jax.batch import IGNORE_LABEL
from tdfusion_jax.data.images import RefusedError, read_stored, read_visible
from tdfusion_jax.data.labels.annotations import Annotation
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.data.verify.images import ImageStats
from tdfusion_jax.data.verify.labels import HINTS, Finding
from tdfusion_jax.data.verify.lists import PAPER_LISTS
from tdfusion_jax.data.verify.pair import PairCheck
from tdfusion_jax.data.verify.pairs import Verification
from tdfusion_jax.files import write_text
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.images.registration import CERTAIN
from tdfusion_jax.images.scaling import Scale
from tdfusion_jax.images.writing import to_bytes

WIDTH = 280


def table(report: Verification, *, fix_hints: bool = False, limit: int = 20) -> str:
  """Counts, modes, brightness, alignment, name digests and findings as lines of text.

  Args:
    report: of `verify`.
    fix_hints: add how to repair each kind of error.
    limit: findings shown of each kind.
  """
  lines = [report.shape.title, ""]
  for title, values in _rows(report):
    lines.append(f"{title:<24}" + "".join(f"{value:>22}" for value in values))
  lines.append("")
  for name, (count, digest) in report.manifests.items():
    known = f" = the paper's {PAPER_LISTS[digest]} list" if digest in PAPER_LISTS else ""
    lines.append(f"names of {name}: {count}, sha256 {digest}{known}")
  kinds = Counter((f.level, f.kind) for f in report.findings)
  # Errors last, beside the sum, which is what a terminal still shows of a long list.
  for (level, kind), count in sorted(kinds.items(), key=lambda item: (item[0][0] == "error", item)):
    lines += ["", f"{level}: {kind} ({count})"]
    if fix_hints and level == "error":
      lines.append(f"  to repair: {HINTS[kind]}")
    chosen = [f for f in report.findings if (f.level, f.kind) == (level, kind)]
    for finding in chosen[:limit]:
      where = f"{finding.split}: " if finding.split else ""
      lines.append(f"  {where}{finding.message}")
    if count > limit:
      lines.append(f"  ... and {count - limit} more")
  errors = sum(f.level == "error" for f in report.findings)
  lines += [
    "",
    f"{len(report.pairs)} pairs, {errors} error(s), {len(report.findings) - errors} note(s)",
  ]
  return "\n".join(map(_printable, lines))


def _printable(text: str) -> str:
  """`text` with line breaks and bytes of other encodings, which no terminal can show, escaped."""
  return "".join(
    c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
  )


def _rows(report: Verification) -> list[tuple[str, list[str]]]:
  """(title, a value per split)."""
  splits = list(dict.fromkeys(pair.split for pair in report.pairs))
  groups = [[pair for pair in report.pairs if pair.split == split] for split in splits]

  def row(title: str, value: Callable[[list[PairCheck]], object]) -> tuple[str, list[str]]:
    return title, [str(value(group)) for group in groups]

  rows = [
    ("split", splits),
    row("pairs", len),
    row("annotated", lambda pairs: sum(pair.labelled for pair in pairs)),
    row("unlabelled", lambda pairs: sum(not pair.labelled for pair in pairs)),
    row("empty labels", lambda pairs: sum(map(_is_empty, pairs))),
  ]
  for title, which in (("infrared", "ir"), ("visible", "vi")):
    rows += [
      row(f"{title}: size (h x w)", partial(_sizes, which)),
      row(f"{title}: modes", partial(_modes, which)),
      row(f"{title}: brightness", partial(_brightness, which)),
    ]
  rows.append(row("displaced (y, x)", _alignment))
  titles = {index: f"class {name}" for index, name in enumerate(report.shape.classes)}
  titles[IGNORE_LABEL] = f"ignored ({IGNORE_LABEL})"
  if report.shape.unlabelled is not None:
    titles[report.shape.unlabelled] = f"ignored ({report.shape.unlabelled})"
  for index, title in titles.items():
    if any(index in pair.objects for pair in report.pairs):
      rows.append(row(title, partial(_count, index)))
  return rows


def _is_empty(pair: PairCheck) -> bool:
  return pair.boxes is not None and len(pair.boxes.boxes) == 0


def _stats(which: str, pairs: list[PairCheck]) -> list[ImageStats]:
  """Of the readable infrared ("ir") or visible ("vi") images."""
  return [stats for pair in pairs if (stats := getattr(pair, which)) is not None]


def _sizes(which: str, pairs: list[PairCheck]) -> str:
  return _several(f"{stats.size[0]}x{stats.size[1]}" for stats in _stats(which, pairs))


def _modes(which: str, pairs: list[PairCheck]) -> str:
  return _several(stats.mode for stats in _stats(which, pairs))


def _brightness(which: str, pairs: list[PairCheck]) -> str:
  stats = _stats(which, pairs)
  if not stats:
    return "-"
  return f"{np.mean([s.mean for s in stats]):.1f} +- {np.mean([s.spread for s in stats]):.1f}"


def _several(values: Iterable[str]) -> str:
  counts = Counter(values).most_common()
  if not counts:
    return "-"
  return counts[0][0] if len(counts) == 1 else f"{counts[0][0]} +{len(counts) - 1} other(s)"


def _alignment(pairs: list[PairCheck]) -> str:
  """The median of what is certain: a single pair's value may mean nothing."""
  clear = [p.shift for p in pairs if p.shift is not None and p.shift.certainty >= CERTAIN]
  if not clear:
    return "no clear estimate"
  # Of the visible against the infrared image, as the pairs are listed.
  down, right = -np.median([[s.down, s.right] for s in clear], axis=0) + 0.0  # no "-0"
  return f"{down:.0f}, {right:.0f} px ({len(clear)} clear)"


def _count(index: int, pairs: list[PairCheck]) -> str:
  holding = sum(index in pair.objects for pair in pairs)
  unit = "boxes" if any(pair.boxes is not None for pair in pairs) else "px"
  return f"{sum(pair.objects[index] for pair in pairs)} {unit} in {holding}"


_STYLE = (
  "body{font:14px sans-serif;margin:2em}"
  "pre{overflow:auto}"
  "figure{display:inline-block;margin:.5em;padding:.5em;border:1px solid #ccc;vertical-align:top}"
  "figure.bad{border-color:#c00;background:#fee}"
  f"figcaption{{max-width:{2 * WIDTH}px;overflow-wrap:anywhere}}"
)


def page_path(file: str) -> Path:
  """Where the page goes; refused before the reading, which may take long.

  Raises:
    DatasetError: it is a folder.
  """
  page = Path(file).expanduser()
  if page.is_dir():
    raise DatasetError(
      f"--html={file}: this is a folder; give a file, such as {page / 'verify.html'}"
    )
  page.parent.mkdir(parents=True, exist_ok=True)
  return page


def write_page(
  path: Path, report: Verification, *, thumbnails: int = 48, fix_hints: bool = False
) -> None:
  """One self-contained HTML file: the table, and pairs side by side with their labels drawn.

  Args:
    path: the file to write.
    report: of `verify`.
    thumbnails: pairs shown; the faulty ones, then some evenly from all.
    fix_hints: add how to repair each kind of error.

  Raises:
    OSError: the file cannot be written.
  """
  findings: dict[tuple[str, str], list[Finding]] = defaultdict(list)
  for finding in report.findings:
    findings[finding.split, finding.name].append(finding)
  shown = _chosen(report.pairs, findings, thumbnails)
  figures = [_figure(p, findings[p.split, p.name], report.shape.classes) for p in shown]
  title = html.escape(report.shape.title)
  text = html.escape(table(report, fix_hints=fix_hints))
  write_text(
    path,
    f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    f"<style>{_STYLE}</style><h1>{title}</h1><pre>{text}</pre>"
    f"<p>{len(shown)} of {len(report.pairs)} pairs: infrared, visible</p>\n"
    + "\n".join(figures)
    + "\n",
  )


def _chosen(
  pairs: list[PairCheck], findings: Mapping[tuple[str, str], list[Finding]], most: int
) -> list[PairCheck]:
  """At most `most` pairs: the faulty ones, then some evenly from the rest."""
  bad, rest = [], []
  for pair in pairs:
    (bad if _is_faulty(findings[pair.split, pair.name]) else rest).append(pair)
  room = min(max(0, most - len(bad)), len(rest))
  if not room:
    return bad[:most]
  evenly = np.unique(np.linspace(0, len(rest) - 1, room).round().astype(int))
  return bad + [rest[i] for i in evenly]


def _is_faulty(findings: Iterable[Finding]) -> bool:
  return any(finding.level == "error" for finding in findings)


def _figure(pair: PairCheck, findings: list[Finding], classes: tuple[str, ...]) -> str:
  images = "".join(_thumbnail(path, pair, classes) for path in pair.files[:2])
  title = html.escape(_printable(f"{pair.split} / {pair.name}"))
  lines = [f"<b>{title}</b>" + ("" if pair.labelled else " unlabelled")]
  lines += [html.escape(_printable(f"{f.kind}: {f.message}")) for f in findings]
  mark = " class=bad" if _is_faulty(findings) else ""
  return f"<figure{mark}>{images}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _thumbnail(path: Path | None, pair: PairCheck, classes: tuple[str, ...]) -> str:
  if path is None:
    return "<i>missing</i>"
  try:
    image = Image.fromarray(_shown(path)).convert("RGB")
  except (DatasetError, ImageError):
    return "<i>unreadable</i>"
  scale = WIDTH / image.width
  small = image.resize((WIDTH, max(1, min(4 * WIDTH, round(image.height * scale)))))
  if pair.boxes is not None:
    _draw_boxes(small, pair.boxes, scale, classes)
  elif pair.labelled and pair.files[2] is not None:
    small = _overlay(small, pair.files[2])
  buffer = io.BytesIO()
  small.save(buffer, "JPEG", quality=80)
  content = base64.b64encode(buffer.getvalue()).decode()
  return f'<img width={WIDTH} alt="" src="data:image/jpeg;base64,{content}">'


def _shown(path: Path) -> np.ndarray:
  """[H, W] or [H, W, 3] uint8; of what no training reads, its usual range of values."""
  try:
    return read_visible(path)
  except RefusedError:
    image = to_bytes(read_image(path, Scale("percentile", 1, 99, fill=True)))
    return image if image.shape[-1] == 3 else image[..., 0]


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
    values = read_stored(label, indices=True).array
  except DatasetError:
    return image
  if values.shape[-1] != 1 or values.dtype.kind not in "bu":
    return image
  values = values[..., 0]
  mask = Image.fromarray(values.astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
  small = np.asarray(mask)
  colours = np.array([_colour(i) for i in range(256)], np.float32)[small]
  half = 0.5 * np.asarray(image, np.float32) + 0.5 * colours
  mixed = np.where(small[..., None] > 0, half, np.asarray(image))
  return Image.fromarray(mixed.astype(np.uint8))
