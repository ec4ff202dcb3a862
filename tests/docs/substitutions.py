"""What takes the place of data, weights and time when the commands of the manual are tested.

The commands are taken from the text and run as they stand, in a folder where everything that they
name lies ready, made small. docs/reference/tested.md is made of these tables.
"""

MADE = {
  "ir.png": "one scene of the synthetic world, infrared",
  "vi.png": "the same scene, visible",
  "photos": "three such scenes, in `ir/` and `vi/`",
  "rival": "the means of their infrared and visible images",
  "thermal.mp4": "four frames of the synthetic world, gray",
  "visible.mp4": "the same frames in colour",
  "LLVIP": "scenes of the synthetic world in LLVIP's layout; boxes of people",
  "M3FD": "the same in M3FD's layout; people and cars",
  "M3FD_Fusion": "three such scenes in `Ir/` and `Vis/`, without boxes",
  "M3FD_train.txt": "the names of the training scenes of M3FD above",
  "M3FD_test.txt": "the names of its test scenes",
  "MSRS": "the same in MSRS's layout, with masks",
  "FMB": "the same in FMB's layout, with masks",
  "mine": "a folder of pairs with YOLO labels",
  "mine_masks": "a folder of pairs with masks",
  "unlabelled": "a folder of pairs without labels",
  "f.safetensors": "the starter weights of F",
  "t_fmb.safetensors": "T of a small run on FMB",
  "ReFusion_IVIF.pth": "the starter weights of F in the names of TDFusion's public code",
  "segformer.b0.512x512.ade.160k.pth": "a SegFormer-B0 of random weights in the names of mmseg",
  "yolov8n.pt": "a YOLOv8n of random weights in the names of Ultralytics",
  "records": "records of LLVIP above",
}
"""What a command names and no command before it has made."""

RUNS = {
  "runs/first": "--config=configs/first.py",
  "runs/second": "--config=configs/first.py --config.seed=1",
  "runs/llvip": "--config=configs/llvip_det.py --config.data.root=LLVIP",
  "runs/mine": ("--config=configs/folder_det.py:runlocal --config.data.root=mine"),
}
"""Run folders that a page names without training them: the arguments of the page that does."""

SMALLER = {
  "train.epochs": 1,
  "train.pretrain_steps": 1,
  "meta.steps": 1,
  "meta.pairs": 2,
  "data.batch_size": 2,
  "data.crop_size": (32, 32),
  "data.task_size": (64, 64),
  "data.crop_view": (64, 64),
  "data.train_options.count": 4,
  "data.val_options.count": 2,
  "optim.warmup_steps": 1,
  "log.validate_pairs": 2,
  "log.pictures": 1,
  "train.compile_cache": "",
}
"""Fields of a training, where the command asks for more; all others are the command's own."""

NETWORKS = """F, G and T of a training are one convolution each, since compiling the real ones takes
minutes. A run folder then gets the starter weights of F and G, so that whatever uses the run works
with the real ones. `init.f` and `init.g` are left out."""

ARGUMENTS = {
  "tdfusion sweep": (
    "--only infrared --seeds 0 --set train.epochs=1 --set data.batch_size=2 "
    "--set data.task_size=[64,64] --set data.train_options.count=4 "
    "--set data.val_options.count=2 --set optim.warmup_steps=1"
  ),
}
"""Put behind a command: one arm and one seed stand for all."""

NEEDS = {
  "tdfusion export --out exported": "onnx",
  "python tools/load_onnx.py": "onnxruntime",
  "tdfusion fuse --ir photos/ir --vi photos/vi --out fused_aligned": "cv2",
}
"""{how a command begins: the optional package without which it is not run}."""

INSTALLING = ("pip install", "python3 -m venv", ". .venv/bin/activate")
"""Not run; the extras that a line names must be in pyproject.toml."""

NOT_RUN = {
  "python -m pytest": "this very suite",
  "tdfusion train --config.train.": "`tests/train/test_devices.py` trains so",
  "srun ": "needs a cluster; `tests/train/test_hosts.py` trains by two processes",
  "tdfusion train --coordinator": "waits for a second process, as in `tests/train/test_hosts.py`",
  "tdfusion demo": "serves a page until it is interrupted; `tests/demo` opens it",
  "python3 docs/recipes/fuse_ros.py": "needs ROS 2; `tests/docs/test_cameras.py` has a stand-in",
  "python3 docs/recipes/fuse_gstreamer.py": "needs GStreamer and cameras; the same test",
  "sphinx-build": "`.ci/run` builds the manual",
  "python tools/benchmark": "measures for minutes to hours, and what it prints is this machine's",
  "python tools/credit.py": "needs the runs of a sweep that takes hours",
  "python tools/fuzz_": "tests of the same readers run it on fewer files",
  "python tools/damage_checkpoints.py": "`tests/train/test_checkpoints.py` tries less",
  "python tools/kill_training.py": "`tests/train/test_kill_training.py` sends fewer signals",
  "tdfusion judge --task-weights t_coco.safetensors": "needs labelled pairs of MSRS; see judge.md",
  "python -m tdfusion_jax.main --config=configs/frozen_det.py": (
    "needs a detector that fits; `tests/sweep/test_frozen_det.py` trains by this config"
  ),
  "tdfusion judge --task-weights detector.safetensors --root mine --run learned=": (
    "needs the run of the command before it"
  ),
  "tdfusion sweep configs/sweeps/frozen_det.toml": "`tests/sweep/test_frozen_det.py` runs it",
  "python tools/distil.py": "trains for half an hour; tests/fusers/test_distil.py takes two steps",
  "python tools/polish.py": "trains for an hour; tests/fusers/test_polish.py takes two steps",
  "python tools/learned_average.py": "needs the same; tests/meta/test_learned_average.py runs it",
  "python tools/learned_through_f.py": "as learned_average.py, in the same file of tests",
  "python tools/weight_controls.py": "as learned_average.py, in the same file of tests",
  "python -m tdfusion_jax.main --config=configs/folder_det.py:task --config.data.root=MSRS_det": (
    "needs labelled pairs of MSRS and takes minutes; tables.md has such commands"
  ),
  "tdfusion fuse --ir photos/ir --vi photos/vi --out fused_hub": (
    "`tests/remote/test_hub.py` fetches from a stand-in of the hub on this machine"
  ),
  "tdfusion fuse --ir s3://archive/ir": (
    "`tests/fusing/test_remote.py` fuses from and to a server of S3 on this machine"
  ),
  "tdfusion evaluate --ir s3://archive/ir": (
    "`tests/fusing/test_remote.py` measures images of the same server"
  ),
  "tdfusion fuse --ir photos/ir --vi photos/vi --out fused_ray": (
    "`tests/cluster` fuses pairs on Ray, which takes a while to start"
  ),
  "tdfusion evaluate --ir photos/ir --vi photos/vi --baseline average --out scores_ray": (
    "`tests/cluster` measures pairs on Ray"
  ),
  "tdfusion video --ir photos/ir --vi photos/vi --out film_ray.mp4": (
    "`tests/cluster` fuses segments on Ray"
  ),
  "tdfusion sweep configs/sweeps/learned_loss_seg.toml --workdir runs/learned_loss_ray": (
    "`tests/cluster` has runs on Ray and in jobs of submitit"
  ),
  "tdfusion sweep configs/sweeps/learned_loss_seg.toml --workdir runs/learned_loss_slurm": (
    "`tests/cluster` has runs on Ray and in jobs of submitit"
  ),
  "tdfusion sweep configs/sweeps/learned_loss_det.toml": "as learned_loss_seg.toml, which is run",
  "tdfusion sweep configs/sweeps/llvip.toml": "as learned_loss_seg.toml, which is run",
}
"""{how a command begins: why it is not run}."""
