"""The network, and what is derived from it: checkpoints, calibration, ONNX, quantization."""
