"""Tokenizers written for other programs: as a VQModel of diffusers, as ONNX, as torch.export."""
