"""Whether OpenBLAS's choice of kernels falls short of the processor, and what would mend it.

OpenBLAS knows processors by family and model. One that is newer than the library, or a virtual
machine's, may be given the kernels of an older one; ``OPENBLAS_CORETYPE``, read when the library
is loaded, overrules the choice (OpenBLAS, ``driver/others/dynamic.c``).
"""

from __future__ import annotations

from collections.abc import Mapping

from tinygrad_nn.doctor.openblas import OpenBLAS
from tinygrad_nn.doctor.processor import flags

__all__ = ["AVX512_KERNELS", "CORETYPE", "coretype", "fall_short"]

CORETYPE = "OPENBLAS_CORETYPE"

#: Kernel families that use AVX-512.
AVX512_KERNELS = frozenset({"skylakex", "cooperlake", "sapphirerapids"})

#: What the SkylakeX kernels are compiled for.
_SKYLAKEX_NEEDS = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})

#: Earlier AVX-512 kernels for float64 were wrong (OpenBLAS's changelog, 0.3.3 to 0.3.7).
_FIRST_RIGHT = (0, 3, 8)


def fall_short(cpuinfo: str, blas: OpenBLAS | None) -> bool:
    """Return whether the processor has AVX-512 and OpenBLAS could use it, but does not.

    Parameters
    ----------
    cpuinfo : str
        What ``/proc/cpuinfo`` says of a core.
    blas : OpenBLAS, optional
        What the library says of itself; ``None`` for another library.
    """
    return (
        blas is not None
        and blas.dynamic
        and blas.version >= _FIRST_RIGHT
        and blas.core.lower() not in AVX512_KERNELS
        and flags(cpuinfo) >= _SKYLAKEX_NEEDS
    )


def coretype(cpuinfo: str, environment: Mapping[str, str], blas: OpenBLAS | None) -> str | None:
    """Return what to set ``OPENBLAS_CORETYPE`` to; ``None``: leave it.

    A variable that is set is somebody's decision and stays.

    Examples
    --------
    >>> blas = OpenBLAS.of("OpenBLAS 0.3.21 DYNAMIC_ARCH", "Zen", threads=8, parallel=1)
    >>> cpuinfo = "flags : avx2 avx512f avx512cd avx512bw avx512dq avx512vl"
    >>> coretype(cpuinfo, {}, blas)
    'SkylakeX'
    >>> coretype(cpuinfo, {"OPENBLAS_CORETYPE": "Zen"}, blas) is None
    True
    """
    return "SkylakeX" if CORETYPE not in environment and fall_short(cpuinfo, blas) else None
