"""Fitted models: prediction, files without pickle, ONNX, backbones of torchvision."""
