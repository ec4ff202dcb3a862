"""Records: tensorflow-datasets builds of the same pairs, made and read without TensorFlow."""
