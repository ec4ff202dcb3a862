"""Video files, folders of frames and cameras: read as frames, paired, written."""
