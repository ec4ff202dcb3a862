"""Work shared among machines: parts of an array job, workers of Ray, jobs of SLURM."""
