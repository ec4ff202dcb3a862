"""A sweep file of two arms and a best one, which ends in seconds."""

SWEEP = """
config = "configs/synthetic_seg.py"
seeds = [0, 1]
compare_to = "infrared"
select = "val"
report = "test"
scores = ["mIoU"]
[set]
"data.train_options.size" = [32, 48]
"data.train_options.count" = 4
"data.val_options.size" = [32, 48]
"data.val_options.count" = 2
"data.val_split" = "val"
"data.task_size" = [32, 48]
"data.batch_size" = 4
[task]
"data.test_split" = "test"
"data.augment" = "none"
"train.epochs" = 1
[arms.infrared]
images = "infrared"
[arms.both]
images = "both"
task = { "train.epochs" = 2 }
[best.best]
of = ["infrared", "both"]
by = "mIoU"
"""
