"""Names and shapes of weight files as their publishers write them, spelled out independently of the
converter."""

import numpy as np

HEADS = (1, 2, 5, 8)
RATIOS = (8, 4, 2, 1)
MIT_B0 = ((32, 64, 160, 256), (2, 2, 2, 2), 256)
MIT_B2 = ((64, 128, 320, 512), (3, 4, 6, 3), 768)


def random(shapes, seed=0, dtype=np.float32):
  """{key: array} of seeded values; variances positive, counters whole numbers."""
  rng = np.random.default_rng(seed)
  out = {}
  for key, shape in shapes.items():
    if key.endswith("num_batches_tracked"):
      out[key] = np.asarray(rng.integers(1, 10**6), np.int64)
    elif key.endswith("dfl.conv.weight"):
      out[key] = np.arange(16, dtype=dtype).reshape(shape)
    else:
      values = rng.standard_normal(shape)
      out[key] = np.asarray(np.abs(values) if key.endswith("running_var") else values, dtype)
  return out


def _affine(name, *shape):
  return {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}


def _norm(name, width):
  stats = {
    f"{name}.running_mean": (width,),
    f"{name}.running_var": (width,),
    f"{name}.num_batches_tracked": (),
  }
  return {**_affine(name, width), **stats}


def mit(sizes=MIT_B0, channels=3, prefix="", classifier=None):
  """A Mix Transformer as NVIDIA's code names it; `classifier` adds the ImageNet head of that many
  classes."""
  widths, depths, _ = sizes
  shapes, before = {}, channels
  for stage, (width, depth, ratio) in enumerate(zip(widths, depths, RATIOS, strict=True), 1):
    kernel = 7 if stage == 1 else 3
    shapes |= _affine(f"{prefix}patch_embed{stage}.proj", width, before, kernel, kernel)
    shapes |= _affine(f"{prefix}patch_embed{stage}.norm", width)
    for i in range(depth):
      block = f"{prefix}block{stage}.{i}"
      shapes |= _affine(f"{block}.norm1", width) | _affine(f"{block}.attn.q", width, width)
      shapes |= _affine(f"{block}.attn.kv", 2 * width, width) | _affine(
        f"{block}.attn.proj", width, width
      )
      if ratio > 1:
        shapes |= _affine(f"{block}.attn.sr", width, width, ratio, ratio) | _affine(
          f"{block}.attn.norm", width
        )
      shapes |= _affine(f"{block}.norm2", width) | _affine(f"{block}.mlp.fc1", 4 * width, width)
      shapes |= _affine(f"{block}.mlp.dwconv.dwconv", 4 * width, 1, 3, 3)
      shapes |= _affine(f"{block}.mlp.fc2", width, 4 * width)
    shapes |= _affine(f"{prefix}norm{stage}", width)
    before = width
  if classifier:
    shapes |= _affine("head", classifier, widths[-1])
  return shapes


def segformer(sizes=MIT_B0, classes=150, channels=3, *, original):
  """The whole network: NVIDIA's with mmseg's unused `conv_seg`, or TDFusion's without."""
  widths, _, width = sizes
  shapes = mit(sizes, channels, "backbone.")
  if original:
    shapes |= _affine("decode_head.conv_seg", classes, width, 1, 1)
  for level in (4, 3, 2, 1):
    shapes |= _affine(f"decode_head.linear_c{level}.proj", width, widths[level - 1])
  shapes |= {"decode_head.linear_fuse.conv.weight": (width, 4 * width, 1, 1)}
  shapes |= _norm("decode_head.linear_fuse.bn", width)
  return shapes | _affine("decode_head.linear_pred", classes, width, 1, 1)


def huggingface(sizes=MIT_B0, classes=150, channels=3):
  """`SegformerForSemanticSegmentation`."""
  widths, depths, width = sizes
  shapes, before, root = {}, channels, "segformer.encoder"
  for stage, (inner, depth, ratio) in enumerate(zip(widths, depths, RATIOS, strict=True)):
    kernel = 3 if stage else 7
    shapes |= _affine(f"{root}.patch_embeddings.{stage}.proj", inner, before, kernel, kernel)
    shapes |= _affine(f"{root}.patch_embeddings.{stage}.layer_norm", inner)
    for i in range(depth):
      block = f"{root}.block.{stage}.{i}"
      shapes |= _affine(f"{block}.layer_norm_1", inner) | _affine(f"{block}.layer_norm_2", inner)
      for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes |= _affine(f"{block}.attention.{part}", inner, inner)
      if ratio > 1:
        shapes |= _affine(f"{block}.attention.self.sr", inner, inner, ratio, ratio)
        shapes |= _affine(f"{block}.attention.self.layer_norm", inner)
      shapes |= _affine(f"{block}.mlp.dense1", 4 * inner, inner) | _affine(
        f"{block}.mlp.dense2", inner, 4 * inner
      )
      shapes |= _affine(f"{block}.mlp.dwconv.dwconv", 4 * inner, 1, 3, 3)
    shapes |= _affine(f"{root}.layer_norm.{stage}", inner)
    before = inner
  for level, inner in enumerate(widths):
    shapes |= _affine(f"decode_head.linear_c.{level}.proj", width, inner)
  shapes |= {"decode_head.linear_fuse.weight": (width, 4 * width, 1, 1)} | _norm(
    "decode_head.batch_norm", width
  )
  return shapes | _affine("decode_head.classifier", classes, width, 1, 1)


def transformers5(sizes=MIT_B0, classes=150, channels=3):
  """The same in memory of transformers 5, whose modules have other names than its files."""
  widths, depths, width = sizes
  shapes, before = {}, channels
  for stage, (inner, depth, ratio) in enumerate(zip(widths, depths, RATIOS, strict=True)):
    root, kernel = f"segformer.stages.{stage}", 3 if stage else 7
    shapes |= _affine(f"{root}.patch_embeddings.proj", inner, before, kernel, kernel)
    shapes |= _affine(f"{root}.patch_embeddings.layer_norm", inner)
    for i in range(depth):
      block = f"{root}.blocks.{i}"
      for part in "qkvo":
        shapes |= _affine(f"{block}.attention.{part}_proj", inner, inner)
      if ratio > 1:
        shapes |= _affine(
          f"{block}.attention.sequence_reduction.sequence_reduction", inner, inner, ratio, ratio
        )
        shapes |= _affine(f"{block}.attention.sequence_reduction.layer_norm", inner)
      shapes |= _affine(f"{block}.layernorm_before", inner) | _affine(
        f"{block}.layernorm_after", inner
      )
      shapes |= _affine(f"{block}.mlp.fc1", 4 * inner, inner) | _affine(
        f"{block}.mlp.fc2", inner, 4 * inner
      )
      shapes |= _affine(f"{block}.mlp.dwconv.dwconv", 4 * inner, 1, 3, 3)
    shapes |= _affine(f"{root}.layer_norm", inner)
    before = inner
  for level in range(4):
    shapes |= _affine(f"decode_head.linear_projections.{level}.proj", width, widths[level])
  shapes |= {"decode_head.linear_fuse.weight": (width, 4 * width, 1, 1)}
  return (
    shapes
    | _norm("decode_head.batch_norm", width)
    | _affine("decode_head.classifier", classes, width, 1, 1)
  )


def openmmlab(sizes=MIT_B0, classes=150, channels=3, *, whole=True):
  """mmsegmentation's (0.19 and newer), or its backbone alone as it is published."""
  widths, depths, width = sizes
  root = "backbone." if whole else ""
  shapes, before = {}, channels
  for stage, (inner, depth, ratio) in enumerate(zip(widths, depths, RATIOS, strict=True)):
    layer, kernel = f"{root}layers.{stage}", 3 if stage else 7
    shapes |= _affine(f"{layer}.0.projection", inner, before, kernel, kernel)
    shapes |= _affine(f"{layer}.0.norm", inner) | _affine(f"{layer}.2", inner)
    for i in range(depth):
      block = f"{layer}.1.{i}"
      shapes |= _affine(f"{block}.norm1", inner) | _affine(f"{block}.norm2", inner)
      shapes |= {f"{block}.attn.attn.in_proj_weight": (3 * inner, inner)}
      shapes |= {f"{block}.attn.attn.in_proj_bias": (3 * inner,)}
      shapes |= _affine(f"{block}.attn.attn.out_proj", inner, inner)
      if ratio > 1:
        shapes |= _affine(f"{block}.attn.sr", inner, inner, ratio, ratio)
        shapes |= _affine(f"{block}.attn.norm", inner)
      shapes |= _affine(f"{block}.ffn.layers.0", 4 * inner, inner, 1, 1)
      shapes |= _affine(f"{block}.ffn.layers.1", 4 * inner, 1, 3, 3)
      shapes |= _affine(f"{block}.ffn.layers.4", inner, 4 * inner, 1, 1)
    before = inner
  if not whole:
    return shapes
  for level, inner in enumerate(widths):
    shapes |= _conv(f"decode_head.convs.{level}", inner, width)
  shapes |= _conv("decode_head.fusion_conv", 4 * width, width)
  return shapes | _affine("decode_head.conv_seg", classes, width, 1, 1)


def _conv(name, inputs, outputs, kernel=1):
  return {f"{name}.conv.weight": (outputs, inputs, kernel, kernel), **_norm(f"{name}.bn", outputs)}


def _c2f(name, inputs, outputs, depth):
  half = outputs // 2
  shapes = _conv(f"{name}.cv1", inputs, outputs) | _conv(f"{name}.cv2", (2 + depth) * half, outputs)
  for i in range(depth):
    shapes |= _conv(f"{name}.m.{i}.cv1", half, half, 3) | _conv(f"{name}.m.{i}.cv2", half, half, 3)
  return shapes


ULTRALYTICS_LAYERS = tuple(f"model.{i}" for i in (*range(10), 12, 15, 16, 18, 19, 21))
UPSTREAM_LAYERS = (
  "backbone.stem",
  "backbone.dark2.0",
  "backbone.dark2.1",
  "backbone.dark3.0",
  "backbone.dark3.1",
  "backbone.dark4.0",
  "backbone.dark4.1",
  "backbone.dark5.0",
  "backbone.dark5.1",
  "backbone.dark5.2",
  "conv3_for_upsample1",
  "conv3_for_upsample2",
  "down_sample1",
  "conv3_for_downsample1",
  "down_sample2",
  "conv3_for_downsample2",
)


def yolov8(
  widths=(16, 32, 64, 128, 256),
  d=1,
  classes=80,
  channels=3,
  *,
  layers=ULTRALYTICS_LAYERS,
  head="model.22.",
):
  """YOLOv8n by its published table of layers; `d` is the depth of a C2f of three."""
  w1, w2, w3, w4, w5 = widths
  name = iter(layers)
  shapes = _conv(next(name), channels, w1, 3)
  for inputs, outputs, depth in ((w1, w2, d), (w2, w3, 2 * d), (w3, w4, 2 * d), (w4, w5, d)):
    shapes |= _conv(next(name), inputs, outputs, 3) | _c2f(next(name), outputs, outputs, depth)
  sppf = next(name)
  shapes |= _conv(f"{sppf}.cv1", w5, w5 // 2) | _conv(f"{sppf}.cv2", 2 * w5, w5)
  shapes |= _c2f(next(name), w5 + w4, w4, d) | _c2f(next(name), w4 + w3, w3, d)
  shapes |= _conv(next(name), w3, w3, 3) | _c2f(next(name), w3 + w4, w4, d)
  shapes |= _conv(next(name), w4, w4, 3) | _c2f(next(name), w4 + w5, w5, d)
  for branch, inner, outputs in (
    ("cv2", max(16, w3 // 4, 64), 64),
    ("cv3", max(w3, min(classes, 100)), classes),
  ):
    for i, inputs in enumerate((w3, w4, w5)):
      key = f"{head}{branch}.{i}"
      shapes |= _conv(f"{key}.0", inputs, inner, 3) | _conv(f"{key}.1", inner, inner, 3)
      shapes |= _affine(f"{key}.2", outputs, inner, 1, 1)
  return shapes | {f"{head}dfl.conv.weight": (1, 16, 1, 1)}
