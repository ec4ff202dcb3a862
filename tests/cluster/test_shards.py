"""Parts of the work: every item in one of them; what the environment names."""

import pytest

from tdfusion_jax.cluster.shards import WHOLE, Shard, parse_shard
from tdfusion_jax.files import UsageError


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_every_item_is_in_one_part(count):
  items = list(range(11))
  parts = [parse_shard(f"{i}/{count}").of(items) for i in range(count)]
  assert sorted(sum(parts, [])) == items
  assert max(map(len, parts)) - min(map(len, parts)) <= 1


def slurm(index, count, least, most, step="1"):
  names = {"ID": index, "COUNT": count, "MIN": least, "MAX": most, "STEP": step}
  return {f"SLURM_ARRAY_TASK_{name}": value for name, value in names.items()}


@pytest.mark.parametrize(
  ("text", "environment", "expected"),
  [
    ("", {"JOB_COMPLETION_INDEX": "3"}, WHOLE),
    ("2/4", {"JOB_COMPLETION_INDEX": "3"}, Shard(2, 4)),
    ("auto", {"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETION_COUNT": "8"}, Shard(3, 8)),
    ("auto/16", {"JOB_COMPLETION_INDEX": "3"}, Shard(3, 16)),
    ("auto", slurm("0", "4", "0", "3"), Shard(0, 4)),
    ("auto", slurm("3", "4", "1", "4"), Shard(2, 4)),
    ("auto", slurm("14", "4", "10", "16", "2"), Shard(2, 4)),
    ("auto/4", slurm("3", "1", "3", "3"), Shard(3, 4)),  # one task of four, submitted again
  ],
)
def test_the_part_that_is_named(text, environment, expected):
  assert parse_shard(text, environment) == expected


@pytest.mark.parametrize(
  ("text", "environment", "message"),
  [
    ("4/4", {}, "no part 4 of 4; parts count from 0"),
    ("0/0", {}, "0 parts; 1 to 1000000"),
    ("3", {}, "write I/N"),
    ("-1/4", {}, "write I/N"),
    ("a/b", {}, "write I/N"),
    ("auto", {}, "neither JOB_COMPLETION_INDEX .* nor SLURM_ARRAY_TASK_ID"),
    ("auto", {"JOB_COMPLETION_INDEX": "1"}, "Set JOB_COMPLETION_COUNT"),
    ("auto", {"JOB_COMPLETION_INDEX": "x", "JOB_COMPLETION_COUNT": "2"}, "INDEX is 'x', not a"),
    ("auto", {"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETION_COUNT": "2"}, "no part 2 of 2"),
    ("auto", {"JOB_COMPLETION_INDEX": "0"} | slurm("0", "4", "0", "3"), "both set"),
    ("auto", slurm("3", "3", "0", "3"), "it has gaps. Write --shard auto/N"),
    ("auto", {"SLURM_ARRAY_TASK_ID": "0"}, "SLURM_ARRAY_TASK_COUNT is ''"),
  ],
)
def test_what_names_no_part_is_refused_with_the_remedy(text, environment, message):
  with pytest.raises(UsageError, match=message):
    parse_shard(text, environment)
