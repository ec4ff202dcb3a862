"""From a folder of images to a config file: what is there, and what a training needs to know."""
