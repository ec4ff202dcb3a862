"""F by other means than Linen: machine code, tiles, one program for all sizes, an ONNX graph."""
