"""Names that the options list, written out, so that help need not load the modules that they name.

Each constant says whose names it repeats; `tests/commands/test_help.py` compares them.
"""

DATA_SETS = ("fmb", "folder", "llvip", "m3fd", "msrs", "synthetic_det", "synthetic_seg")
"""Of `data.SOURCES`, sorted."""
ON_DISK = ("llvip", "m3fd", "msrs", "fmb", "folder")
"""`data.verify.layout.CHECKED`."""
LABEL_FORMS = ("voc", "yolo", "coco")
"""`data.labels.convert.FORMS`."""
LABEL_KINDS = ("detection", "segmentation")
"""`init.look.KINDS`."""
METRICS = ("EN", "SF", "SCD", "VIF", "Qabf", "SSIM")
"""`metrics.fusion.PAPER`."""
PROFILES = {
  "tdfusion": "SSIM and VIF averaged over both sources, values rounded to 8 bits",
  "sum": "SSIM and VIF summed over both sources, as many papers do; values rounded to 8 bits",
  "truncate": "as tdfusion, but values cut off to 8 bits, as a cast to uint8 does",
  "float": "as tdfusion, but values left as they are, in [0, 255]",
  "vifb": "Qcv and Qcb with what is known of the settings of the toolbox VIFB (2020), not compared "
  "with its output; the rest as tdfusion",
}
"""{name: what it is about} of `metrics.fusion.PROFILES`."""
BASELINES = ("average", "maximum", "infrared", "visible")
"""Of `evaluate.methods.BASELINES`."""
TASK_SCORES = ("AP50", "mAP", "mIoU")
"""Of `evaluate.verdict.MAIN`."""
EXPORTED = ("stablehlo", "onnx")
"""`export.FORMATS`."""
IMAGE_FORMS = ("png", "png16", "tif", "jpg")
"""`fusing.jobs.FORMATS`."""
BACKENDS = ("auto", "jax", "onnx", "openvino")
"""`fusing.backends.BACKENDS`."""
USUAL_MEGAPIXELS = 12.0
"""`fusing.huge.USUAL_MEGAPIXELS`."""
