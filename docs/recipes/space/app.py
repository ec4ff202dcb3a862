"""`tdfusion demo` as a Hugging Face Space: put the three files of this folder into one."""

from tdfusion_jax.demo import models, page

if __name__ == "__main__":
  page.serve([models.starter()])
