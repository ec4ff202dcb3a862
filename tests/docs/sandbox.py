"""Makes what `substitutions.MADE` lists, when a command names it."""

from pathlib import Path

import av
import numpy as np
from conversions import variables_of
from made_data import voc
from PIL import Image

from tdfusion_jax import convert, fusers, weightfiles
from tdfusion_jax.convert.pth_write import write_pth
from tdfusion_jax.data.synthetic import DET_CLASSES, SyntheticSource

SIZE = (64, 80)
COUNTS = {"train": 20, "test": 20}  # every tenth pair of LLVIP is two


def _save(path: Path, image: np.ndarray) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(image).save(path)


def _scenes(kind: str, split: str, count: int) -> list[tuple[str, dict]]:
  source = SyntheticSource(kind, split, size=SIZE, count=count)
  return [(name, source.scene(index)) for index, name in enumerate(source.names)]


def _images(folder: Path, split: str, count: int) -> None:
  for name, scene in _scenes("detection", split, count):
    _save(folder / "ir" / f"{name}.png", scene["ir"])
    _save(folder / "vi" / f"{name}.png", scene["vi"])


def photos(path: Path) -> None:
  _images(path, "test", 3)


def rival(path: Path) -> None:
  for name, scene in _scenes("detection", "test", 3):
    _save(path / f"{name}.png", ((scene["ir"] + scene["vi"].mean(-1)) / 2).astype(np.uint8))


def _single(path: Path) -> None:
  ((_, scene),) = _scenes("detection", "test", 1)
  _save(path, scene[path.stem])


def _video(path: Path, channel: str) -> None:
  with av.open(str(path), "w") as file:
    stream = file.add_stream("libx264", rate=10, options={"crf": "18"})
    stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
    for _, scene in _scenes("detection", "test", 4):
      image = (
        scene[channel]
        if scene[channel].ndim == 3
        else np.repeat(scene[channel][..., None], 3, axis=-1)
      )
      file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    file.mux(stream.encode())


def _boxed(path: Path, infrared: str, visible: str, labels: str, names: dict[str, str]) -> None:
  """A data set with boxes; the folders hold `{split}` where there is one for each."""
  for split, count in COUNTS.items():
    for name, scene in _scenes("detection", split, count):
      _save(path / infrared.format(split=split) / f"{name}.png", scene["ir"])
      _save(path / visible.format(split=split) / f"{name}.png", scene["vi"])
      objects = [
        (names[DET_CLASSES[label]], *box.round().astype(int).tolist())
        for box, label in zip(scene["boxes"], scene["classes"], strict=True)
        if DET_CLASSES[label] in names
      ]
      voc(path / labels / f"{name}.xml", *objects, size=SIZE)


def llvip(path: Path) -> None:
  _boxed(path, "infrared/{split}", "visible/{split}", "Annotations", {"person": "person"})


def m3fd(path: Path) -> None:
  _boxed(path, "Ir", "Vis", "Annotation", {"person": "People", "car": "Car"})


def m3fd_fusion(path: Path) -> None:
  for name, scene in _scenes("detection", "test", 3):
    _save(path / "Ir" / f"{name}.png", scene["ir"])
    _save(path / "Vis" / f"{name}.png", scene["vi"])


def m3fd_list(path: Path) -> None:
  split = path.stem.removeprefix("M3FD_")
  names = [name for name, _ in _scenes("detection", split, COUNTS[split])]
  path.write_text("".join(f"{name}.png\n" for name in names))


def _masked(path: Path, infrared: str, visible: str, labels: str) -> None:
  for split in COUNTS:
    for name, scene in _scenes("segmentation", split, 4):
      _save(path / split / infrared / f"{name}.png", scene["ir"])
      _save(path / split / visible / f"{name}.png", scene["vi"])
      _save(path / split / labels / f"{name}.png", scene["labels"])


def msrs(path: Path) -> None:
  _masked(path, "ir", "vi", "Segmentation_labels")


def fmb(path: Path) -> None:
  _masked(path, "Infrared", "Visible", "Label")


def mine(path: Path) -> None:
  _images(path, "train", 6)
  (path / "labels").mkdir()
  (path / "labels" / "classes.txt").write_text("\n".join(DET_CLASSES) + "\n")
  for name, scene in _scenes("detection", "train", 6):
    lines = []
    for (x1, y1, x2, y2), label in zip(
      scene["boxes"] / np.tile(SIZE[::-1], 2), scene["classes"], strict=True
    ):
      lines.append(f"{label} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n")
    (path / "labels" / f"{name}.txt").write_text("".join(lines))


def mine_masks(path: Path) -> None:
  _images(path, "train", 6)
  for name, scene in _scenes("segmentation", "train", 6):
    _save(path / "labels" / f"{name}.png", scene["labels"])
  (path / "labels" / "classes.txt").write_text("background\nperson\ncar\nsign\nlane\n")


def unlabelled(path: Path) -> None:
  _images(path, "train", 6)


def f_safetensors(path: Path) -> None:
  path.write_bytes(fusers.shipped_weights().read_bytes())


def refusion(path: Path) -> None:
  variables, _ = weightfiles.load_weights(fusers.shipped_weights())
  write_pth(path, convert.to_torch(variables, "fusion"))


def _random(path: Path, arch: str, style: str, **options) -> None:
  if arch == "segformer":
    from tdfusion_jax.convert import segformer as rules
  else:
    from tdfusion_jax.convert import yolov8 as rules
  variables = variables_of(rules.build(**options), rules.sample_inputs(in_channels=3))
  write_pth(path, convert.to_torch(variables, arch, style))


MAKERS = {
  "ir.png": _single,
  "vi.png": _single,
  "photos": photos,
  "rival": rival,
  "thermal.mp4": lambda path: _video(path, "ir"),
  "visible.mp4": lambda path: _video(path, "vi"),
  "LLVIP": llvip,
  "M3FD": m3fd,
  "M3FD_Fusion": m3fd_fusion,
  "M3FD_train.txt": m3fd_list,
  "M3FD_test.txt": m3fd_list,
  "MSRS": msrs,
  "FMB": fmb,
  "mine": mine,
  "mine_masks": mine_masks,
  "unlabelled": unlabelled,
  "f.safetensors": f_safetensors,
  "ReFusion_IVIF.pth": refusion,
  "segformer.b0.512x512.ade.160k.pth": lambda path: _random(
    path, "segformer", "original", num_classes=150
  ),
  "yolov8n.pt": lambda path: _random(path, "yolov8", "ultralytics", num_classes=80),
}
"""{name: what makes it there}; commands make `t_fmb.safetensors` and `records`, see `running`."""
