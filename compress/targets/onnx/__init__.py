"""ONNX graphs: written, lowered to integers, cut at segments, and compared with the model that they came from."""
