"""A trained network in one file: its parameters and all that is needed to use them.

The file is NumPy's ``.npz`` and holds plain arrays only, so that loading it runs no code.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.activations import softmax
from tinygrad_nn.graph import no_grad
from tinygrad_nn.job.arrays import read_arrays
from tinygrad_nn.job.dataset import Dataset, Scale
from tinygrad_nn.job.errors import JobError
from tinygrad_nn.nn import MLP

__all__ = ["SavedModel"]

_FORMAT = "tinygrad_nn model 1"
_PARAMETER = "parameter:"


@dataclass(frozen=True)
class SavedModel:
    """A network with what surrounds it: names, classes, scales.

    Parameters
    ----------
    network : MLP
    activation : str
        Of the hidden layers.
    target : str
        What it predicts.
    features : tuple of str
        From what, in the order of the inputs.
    classes : tuple of str
        Names of the classes; empty for regression.
    scale, target_scale : Scale
        Of the features, and of the target of a regression.
    """

    network: MLP
    activation: str
    target: str
    features: tuple[str, ...]
    classes: tuple[str, ...]
    scale: Scale
    target_scale: Scale

    @classmethod
    def of(cls, network: MLP, activation: str, data: Dataset) -> SavedModel:
        """Put a network together with the dataset it was trained on."""
        return cls(
            network, activation, data.target, data.features, data.classes, data.scale,
            data.target_scale,
        )  # fmt: skip

    def outputs(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return class probabilities, shape ``(n, classes)``, or predicted numbers, ``(n,)``.

        Parameters
        ----------
        x : array_like, shape (n, features)
            In the units of the training file, in the order of `features`.

        Raises
        ------
        JobError
            If the number of columns is another one.
        """
        rows = np.asarray(x, float)
        if rows.ndim != 2 or rows.shape[1] != len(self.features):
            raise JobError(
                f"the model takes rows of {len(self.features)} features, got an array of shape "
                f"{rows.shape}"
            )
        with no_grad():
            out = self.network(self.scale.apply(rows)).data
            if self.classes:
                return softmax(out)  # type: ignore[no-any-return]  # Any to mypy
        return self.target_scale.undo(out[:, 0].astype(float))

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the name of the most probable class for each row, or the predicted number."""
        out = self.outputs(x)
        return np.array(self.classes)[out.argmax(axis=1)] if self.classes else out

    # --- on disk -------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return the content of the file; the same model gives the same bytes."""
        layers = self.network.layers
        arrays: dict[str, npt.ArrayLike] = {
            "format": _FORMAT,
            "sizes": [layers[0].n_in, *(layer.n_out for layer in layers)],
            "activation": self.activation,
            "target": self.target,
            "features": self.features,
            "classes": np.array(self.classes, str),
            "mean": self.scale.mean,
            "std": self.scale.std,
            "target_mean": self.target_scale.mean,
            "target_std": self.target_scale.std,
        }
        for name, array in self.network.state_dict().items():
            arrays[_PARAMETER + name] = array
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> SavedModel:
        """Read a model file.

        Raises
        ------
        JobError
            If it is not a model file of this format.
        """
        arrays = read_arrays(path)
        if str(arrays.get("format")) != _FORMAT:
            raise JobError(f"{path}: is not a model file of the format {_FORMAT!r}")
        try:
            return cls._assemble(arrays)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise JobError(f"{path}: the model file is damaged: {error}") from None

    @classmethod
    def _assemble(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> SavedModel:
        sizes = [int(n) for n in arrays["sizes"]]
        activation = str(arrays["activation"])
        start = len(_PARAMETER)
        state = {name[start:]: a for name, a in arrays.items() if name.startswith(_PARAMETER)}
        # Before a network of these sizes is made: a damaged number may ask for terabytes.
        shapes = [state[f"layers.{i}.weight"].shape for i in range(len(sizes) - 1)]
        if not shapes or shapes != list(pairwise(sizes)):
            raise ValueError(f"sizes {sizes} do not fit weights of shapes {shapes}")
        if not all(np.isfinite(a).all() for a in state.values()):
            raise ValueError("a parameter is not finite")
        names = arrays["features"].shape, arrays["mean"].shape, arrays["std"].shape
        if set(names) != {(sizes[0],)}:
            raise ValueError(f"{sizes[0]} features have names, mean and std of shapes {names}")
        if arrays["classes"].shape not in ((0,), (sizes[-1],)):
            raise ValueError(f"{sizes[-1]} outputs, classes of shape {arrays['classes'].shape}")
        network = MLP(sizes[0], sizes[1:], activation)
        network.load_state_dict(state)
        return cls(
            network,
            activation,
            str(arrays["target"]),
            tuple(map(str, arrays["features"])),
            tuple(map(str, arrays["classes"])),
            Scale(arrays["mean"], arrays["std"]),
            Scale(arrays["target_mean"], arrays["target_std"]),
        )
