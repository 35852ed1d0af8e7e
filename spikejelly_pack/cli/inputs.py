"""What ``--data`` names where a command takes inputs: an ``.npy`` file, embedded data, a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..spec.errors import DtypeError, ParameterError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_data"]

#: Images read from a folder: as many as adaptive rounding looks at.
FOLDER_LIMIT = 512


def load_data(path: str, network: str = "", limit: int | None = FOLDER_LIMIT) -> Tensor:
    """Inputs ``[N, *]`` as a float32 tensor.

    Args:
        path: An ``.npy`` file (no pickle), ``digits`` (the embedded ones), or, for a network that ``spikepack
            convert`` wrote, a folder of images: the file says how they are preprocessed.
        network: The network they are for, as the command names it.
        limit: Images of a folder at most, spread evenly over it; None: all.

    Raises:
        DtypeError: The file holds no numbers, or NaN.
        ParameterError: There is no such file, or a folder for a network whose preprocessing is not known.
        ShapeError: There is no sample in it.
    """
    import numpy as np
    import torch

    from ..spec.array_file import read_arrays

    if path == "digits":
        from ..data import digits

        return digits().test_inputs
    if Path(path).is_dir():
        return _images(path, network, limit)
    if not Path(path).is_file():
        raise ParameterError(f"--data {path}: must be an .npy file, got nothing there; check the path.")
    found = read_arrays(path, "an .npy file of numbers", "save it with numpy.save")
    if set(found) != {""} or found[""].dtype.kind not in "fiub":
        got = found[""].dtype if "" in found else "an archive"
        raise DtypeError(f"{path}: must hold one array of numbers, got {got}; save it with numpy.save.")
    array = found[""]
    if array.ndim < 2 or not array.size:
        raise ShapeError(f"{path}: must hold samples [N, *], got shape {array.shape}; add the batch axis.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        tensor = torch.from_numpy(array.astype(np.float32))
    if not bool(torch.isfinite(tensor).all()):
        raise DtypeError(f"{path}: values must be finite, got NaN or infinity; clean the data first.")
    return tensor


def _images(folder: str, network: str, limit: int | None) -> Tensor:
    """Images as the converted network was calibrated with."""
    import torch

    from ..tasks.folders import open_data
    from ..tasks.saved import is_conversion, read_conversion
    from .convert import preprocessing

    about = read_conversion(network) if network.endswith(".safetensors") and is_conversion(network) else None
    if about is None or about.task == "detection":
        raise ParameterError(
            f"--data {folder}: must be an .npy file of inputs [N, *], got a folder; save the "
            "preprocessed images with numpy.save, or name a classification or segmentation network that "
            "spikepack convert wrote, which knows the preprocessing."
        )
    data = open_data(
        folder, about.task, preprocessing(about.preprocessing, about.model), limit=limit, voc=about.voc
    )
    return torch.cat([images for images, _ in data])
