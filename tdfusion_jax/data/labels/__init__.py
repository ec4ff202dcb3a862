"""Boxes and masks in the forms of Pascal VOC, YOLO and COCO."""
