"""Write a file of OpenVINO's own format, by which sentence-transformers and optimum-intel look for it."""

from __future__ import annotations

from pathlib import Path

from compress.errors import CompressError, last_line


def write_ir(source: Path, folder: Path, name: str) -> Path:
    """Turn an ONNX file into OpenVINO's two, .xml and .bin, without changing a number.

    Source: https://docs.openvino.ai, "Convert to OpenVINO IR" (`save_model`, here without its compression to float16).

    Args:
        source: The ONNX file.
        folder: Where to.
        name: Of the .xml file; what stands before its last `/` is left out.

    Raises:
        CompressError: OpenVINO cannot convert it.
    """
    import openvino

    path = folder / Path(name).name
    try:
        openvino.save_model(openvino.Core().read_model(source), path, compress_to_fp16=False)
    except Exception as err:  # openvino raises RuntimeError for everything
        raise CompressError(f"OpenVINO cannot convert {source.name} ({last_line(err)})") from err
    return path
