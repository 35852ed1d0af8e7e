"""Can CuPy run the kernels here, and if not, why: the real cause and the line that mends it."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import KernelEnvironmentError

__all__ = ["MINIMUM_CAPABILITY", "MINIMUM_CUPY", "install_line", "load_cupy"]

#: From CuPy 13 on, leaving a device context restores what was current before, also torch's device.
MINIMUM_CUPY = 13
#: The oldest cards the kernels are compiled for.
MINIMUM_CAPABILITY = (7, 5)
_DEFAULT_MAJOR = 13


def install_line(cuda_major: int | None) -> str:
    """Command that installs the CuPy for one CUDA major."""
    return f"pip install 'cupy-cuda{cuda_major or _DEFAULT_MAJOR}x>={MINIMUM_CUPY}'"


def _nvrtc_line(cuda_major: int) -> str:
    return f"pip install 'cuda-toolkit[nvrtc]=={cuda_major}.*'"


def _cause(error: BaseException) -> str:
    """The error's own words on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")


def load_cupy(cuda_major: int | None = None, device: int = 0) -> Any:
    """Import CuPy and check everything a launch on ``device`` needs.

    Args:
        cuda_major: CUDA major of the torch in use (``int(torch.version.cuda.split(".")[0])``); None: any.
        device: CUDA ordinal.

    Returns:
        The module ``cupy``.

    Raises:
        KernelEnvironmentError: CuPy is missing, broken, too old or for another CUDA major; NVRTC is missing;
            there is no driver or no such device; the card is too old. The message holds the cause.
    """
    cupy = _import(cuda_major)
    major = _check_versions(cupy, cuda_major)
    _check_nvrtc(cupy, major)
    _check_device(cupy, device)
    return cupy


def _import(cuda_major: int | None) -> Any:
    try:
        return importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise _broken(error, cuda_major) from error
        raise KernelEnvironmentError(
            f"cupy: CuPy is not installed ({_cause(error)}); run: {install_line(cuda_major)}"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise _broken(error, cuda_major) from error


def _broken(error: BaseException, cuda_major: int | None) -> KernelEnvironmentError:
    return KernelEnvironmentError(
        f"cupy: CuPy is installed but cannot be imported ({_cause(error)}); run: "
        f"pip uninstall -y cupy cupy-cuda12x cupy-cuda13x && {install_line(cuda_major)}"
    )


def _check_versions(cupy: Any, cuda_major: int | None) -> int:
    if int(cupy.__version__.split(".")[0]) < MINIMUM_CUPY:
        raise KernelEnvironmentError(
            f"cupy: CuPy must be version {MINIMUM_CUPY} or newer, got {cupy.__version__}; run: "
            f"{install_line(cuda_major)}"
        )
    built_for = int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
    if cuda_major is not None and built_for != cuda_major:
        raise KernelEnvironmentError(
            f"cupy: CuPy must be for CUDA {cuda_major} as torch is, got one for CUDA {built_for}; run: "
            f"pip uninstall -y cupy-cuda{built_for}x && {install_line(cuda_major)}"
        )
    return built_for


def _check_nvrtc(cupy: Any, cuda_major: int) -> None:
    try:
        cupy.cuda.nvrtc.getVersion()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise KernelEnvironmentError(
            f"cupy: the compiler library NVRTC cannot be loaded ({_cause(error)}); run: "
            f"{_nvrtc_line(cuda_major)}"
        ) from error


def _check_device(cupy: Any, device: int) -> None:
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except RuntimeError as error:
        raise KernelEnvironmentError(
            f"cupy: no CUDA device can be used ({_cause(error)}); install an NVIDIA driver for CUDA "
            f"{int(cupy.cuda.runtime.runtimeGetVersion()) // 1000} or newer, or choose provider='torch'"
        ) from error
    if not 0 <= device < count:
        raise KernelEnvironmentError(
            f"cupy: device must be one of the {count} CUDA devices present, got cuda:{device}; move them"
        )
    capability = str(cupy.cuda.Device(device).compute_capability)
    found = int(capability[:-1]), int(capability[-1])
    if found < MINIMUM_CAPABILITY:
        raise KernelEnvironmentError(
            f"cupy: the card must have compute capability {MINIMUM_CAPABILITY[0]}.{MINIMUM_CAPABILITY[1]} or "
            f"newer (Turing), got {found[0]}.{found[1]}; choose provider='torch'"
        )
