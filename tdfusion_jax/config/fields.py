"""Every field of a configuration with the paper's values."""

from typing import Any

from ml_collections import ConfigDict

from tdfusion_jax.files import UsageError

Config = Any  # a ConfigDict, whose fields a type checker cannot know


class ConfigError(UsageError):
  """A setting that is unknown, contradicts another, or does not fit; it names the field."""


def base() -> Config:
  """The paper's hyper-parameters; a file in `configs/` fills in what its data set needs."""
  return ConfigDict(
    {
      "name": "",
      "seed": 0,
      # F, G and T together; or task: a T of its own on finished images (table 2)
      "stage": "fusion",
      "fused": {  # what the task stage trains on
        # of F: run, or init.f, or the shipped weights; or folder, infrared, visible, both, or the
        # average or maximum of the two
        "images": "fusion",
        "run": "",
        "w_a": 0.5,  # of infrared in the average
        "stretch": False,
        # train/NAME.png and test/NAME.png of any method, splits named as in data.*_split
        "folder": "",
      },
      "fusion": {  # F, or a network of your own in its place
        "network": "",  # package.module:factory, which returns a fusers.Fuser
        "options": {},  # arguments of the factory
        # or fast: a network of a fourteenth of F's arithmetic, for real time on a CPU
        "variant": "paper",
      },
      "data": {
        # llvip, m3fd, msrs, fmb, folder, synthetic_det, synthetic_seg, or your own, module:function
        "name": "",
        "root": "",  # the data set in its distributed layout
        # or records made by `tdfusion data build --data_dir`, with the same options
        "records_dir": "",
        # at a training pair that cannot be read; or skip: go on with the next one, and report it
        "bad_samples": "stop",
        "train_split": "train",
        "val_split": "test",
        "test_split": "",  # a further split that the task stage judges once, at its end
        "train_options": {},  # further arguments of the source, see tdfusion_jax/data
        "val_options": {},
        "batch_size": 2,
        "crop_size": (256, 256),  # fusion terms: random crops at full resolution
        "task_size": (256, 320),  # task terms: the whole pair, resized
        # how T sees whole pairs in the task stage: resized to task_size, or letterbox: with their
        # proportions kept and a gray border
        "view": "resize",
        "max_boxes": 64,
        "swap": "none",  # rows with ir and vi exchanged: none (the paper), half, copy (upstream)
        "flip": False,
        # or task: random scale and place, mosaics for detection (the task stage's default)
        "augment": "none",
        # of augment=task for masks: (height, width) of the random windows, None for task_size
        "crop_view": None,
        # and the most of a window that one class may fill, or it is drawn again; the field: 0.75
        "cat_max_ratio": 1.0,
        # of augment=task for boxes: share of views that are mosaics of four pairs,
        "mosaic": 1.0,
        # and epochs at the end without them; -1: the last tenth of all steps
        "close_mosaic": -1,
        # gain of random brightness of what T is trained on, in the task stage (Ultralytics: 0.4)
        "hsv_value": 0.0,
        # random brightness and contrast there (PhotoMetricDistortion of mmsegmentation)
        "photometric": False,
        "workers": 0,
        "prefetch": 2,
        "cache_mb": 0,  # decoded pairs kept in memory
        # decoded pairs kept on disk, for further epochs and runs; delete the folder to free it
        "cache_dir": "",
        "cache_disk_mb": 20_000,  # budget of that folder
      },
      "task": {
        # detection, segmentation, scenic, none (L_f alone, no labels), or your own, module:factory
        "kind": "detection",
        "variant": "n",  # b0..b5 or n s m l x
        "options": {},  # further arguments of the task's factory, see tdfusion_jax/tasks
        "frozen": False,  # keep a pretrained T (init.t) as it is
        # of batch norm while T is trained: batch, or frozen: the running ones that init.t brings
        "statistics": "batch",
        "dropout": True,
        # of the pairs to train on: true, or pseudo: what T (init.t) is sure of on either image
        "labels": "true",
        "pseudo_threshold": 0.5,  # least score or probability of such a label
        # least score of a box that is no label, but may be an object: no background is taught there
        "pseudo_unsure": 0.05,
      },
      "loss": {
        "alpha": 1.0,
        "intensity": "paper",  # or upstream: (w (I_f - I))^2
        # or given: G as init.g holds it, to train F alone; or fixed: w_a = fixed_w_a everywhere, no
        # G; or truth: the synthetic world's
        "weights": "learned",
        "fixed_w_a": 0.5,
        "task_weight": 0.0,  # of L_t in F's own loss (ablation III)
        # in the place of G: package.module:factory, which returns a fusers.Weigher
        "network": "",
        "network_options": {},  # arguments of the factory
        "tone": 0.5,  # the w_a that an undecided G gives: the best constant, if it is known
        "tone_held": False,  # every image's mean log-odds of w_a are those of tone
        "stride": 1,  # G looks at images reduced by this, and costs less by its square
        "none": False,  # no L_f, I_f = w_a a + w_b b from G itself (ablation V)
      },
      "meta": {
        "pairs": 200,  # M: size of the disjoint meta-train and meta-test draws of an epoch
        "steps": 200,  # G-steps per epoch
        "eta_f": 1e-4,  # inner learning rates (Eq. 4, 5)
        "eta_t": 1e-4,
        "inner_task": "sgd",  # or adam, upstream's
        "derivative": "forward_over_reverse",  # or reverse_over_reverse
        "fuse_in_outer": False,  # F is updated in the outer step only (ablation IV)
        # what teaches G: lookahead, one step of F ahead (Eq. 6); or gauss_newton, equilibrium,
        # direct (docs/method/rules.md); or package.module:factory, a rule of your own
        "rule": "lookahead",
        "rule_options": {},  # arguments of such a factory
        "inner_steps": 1,  # of F, by lookahead
        "inner_fuse": "sgd",  # or adam: lookahead's step of F has its Adam's second moments
        "judged_on": "other",  # pairs that gauss_newton judges F by; or same: those it steps on
        "solve_steps": 20,  # of conjugate gradients, by gauss_newton
        "damping": 0.01,  # of gauss_newton, as a share of the curvature along dL_t/dF
        "curvature": "intensity",  # of L_f, for gauss_newton; or both: the gradient term's too
        # how strongly weights are held where the task does not care, by every rule,
        "anchor": 0.0,
        "anchor_to": 0.5,  # to this w_a: one half, or the best constant if it is known
      },
      "optim": {
        "f": {"rule": "adam", "learning_rate": 1e-4, "eps": 1e-8},
        "g": {"rule": "adam", "learning_rate": 1e-4, "eps": 1e-12},
        "t": {
          "rule": "adam",
          "learning_rate": 1e-4,
          "eps": 1e-8,
          # The rest is for the task stage, where a recipe sets it (docs/method/task_stage.md).
          "weight_decay": -1.0,  # below 0: the rule's own, 0.01 of adamw and 5e-4 of nesterov
          "no_decay": "vectors",  # spared by it; or norms: those outside of T's head, as mmseg
          "momentum": 0.937,  # of nesterov
          "head_factor": 1.0,  # times the rate, for parameters with "head" in their name
          "poly_power": 1.0,  # of the fall to optim.final_rate; 1 is linear
          "falls_by": "step",  # or epoch: the rate falls between two epochs only
          # optim.warmup_steps is the least then, and the rates begin at warmup_from's share
          "warmup_epochs": 0.0,
          "warmup_from": -1.0,  # below 0: at the share of a first step
          "warmup_bias_rate": -1.0,  # biases begin at this rate; below 0: as all others
          "warmup_momentum": -1.0,  # nesterov's momentum begins here; below 0: as it stays
          "nominal_batch": 0,  # gradients add up until so many images were seen; 0: no adding up
          "loss_times_batch": False,
          "clip_norm": 0.0,  # of the whole gradient, at most; 0: any
          "ema": 0.0,  # decay of the moving average of T that is judged and saved; 0: T itself
          "ema_ramp": 2000.0,  # updates over which that decay rises
        },
        "decay_every": 0,  # epochs; the inner rates follow the same decay
        "decay_rate": 0.1,
        "warmup_steps": 0,  # the rates rise linearly from zero
        "final_rate": 1.0,  # and fall linearly to this share at the end
      },
      "train": {
        "epochs": 50,
        "pretrain_steps": 0,
        # of this machine, or of all hosts together, that share each batch: a number, or all
        "devices": "1",
        # parts of a batch that are computed one after another, for less memory
        "accumulate": 1,
        # or bfloat16: what F, G and T compute in; weights, sums and losses stay float32
        "dtype": "float32",
        "remat": True,  # recompute F's and G's intermediates on the way back: a third of the memory
        # compiled steps, for the next start; "" keeps none
        "compile_cache": "~/.cache/tdfusion_jax",
      },
      "init": {"f": "", "g": "", "t": ""},  # .safetensors to start from; f takes names too
      "log": {
        "every": 10,  # steps between metric lines
        "validate_every": 1,  # epochs
        "validate_pairs": 64,
        "pictures": 4,
        "checkpoint_every": 100,  # steps
        "keep": 2,
        # besides TensorBoard: some of wandb, mlflow, trackio, with commas between them
        "trackers": "",
        "project": "tdfusion",  # or experiment, that runs belong to there
      },
    }
  )
