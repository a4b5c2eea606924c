"""Batch inference over many machines by Ray Data: scheduling, files and retries are Ray's, the model is ours.

    import ray, omniconv.ray

    photos = ray.data.read_images("photos/", size=(224, 224), mode="RGB")
    found = omniconv.ray.predict(photos, "resnet50", weights="resnet50.safetensors", columns=["image"], concurrency=4)
    found.drop_columns(["image"]).write_parquet("logits/")

Importing this module does not import Ray, which the extra "ray" installs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import omniconv
from omniconv.array import said
from omniconv.nn.images import from_pixels

__all__ = ["Predictor", "predict"]


class Predictor:
    """A model as a function of batches, ``{column: array [N, ...]}``: for ``Dataset.map_batches``, or without Ray.

    Parameters
    ----------
    model : str
        A name that `omniconv.models.list` gives.
    weights : path, optional
        A checkpoint that every worker can read. Without one the parameters are random.
    options : mapping, optional
        Overrides of `omniconv.models.create`.
    columns : sequence of str
        The inputs of the model, in order. uint8 images [N, H, W] or [N, H, W, C] become float32 [N, C, H, W]
        from 0 to 1, other arrays go in as they are, float64 as float32.
    outputs : sequence of str, optional
        Which of the model's named results become columns; default is the main one.
    standardise : bool
        Whether colours are standardised by ImageNet's statistics: what published classifiers expect.
    prepare : callable, optional
        From a batch to the arrays for the model, instead of `columns` and `standardise`.
    fold : bool
        Whether to merge norms and branches into the weights once they are loaded.
    num_threads : int, optional
        Threads of a worker; default is the setting of its process.
    """

    def __init__(
        self,
        model: str,
        *,
        weights: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
        columns: Sequence[str] = ("image",),
        outputs: Sequence[str] | None = None,
        standardise: bool = True,
        prepare: Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]] | None = None,
        fold: bool = True,
        num_threads: int | None = None,
    ) -> None:
        from omniconv import models  # a worker sees them here first

        if num_threads is not None:
            omniconv.set_num_threads(num_threads)
        self.model = models.create(model, **(options or {}))
        if weights is not None:
            self.model.load(weights)
        if fold:
            self.model.fold()
        self.columns, self.standardise, self.prepare = tuple(columns), standardise, prepare
        self.wanted = (self.model.main,) if outputs is None else tuple(outputs)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batch with a column more for each output."""
        arrays = self.prepare(batch) if self.prepare else [self._column(batch, name) for name in self.columns]
        found = self.model.outputs(*arrays)
        unknown = [name for name in self.wanted if name not in found]
        if unknown:
            raise ValueError(f"outputs has {said(unknown)}; the model computes {', '.join(found)}")
        taken = [name for name in self.wanted if name in batch]
        if taken:
            raise ValueError(f"outputs has {said(taken)}, and the batch has columns of these names already")
        return batch | {name: np.ascontiguousarray(found[name]) for name in self.wanted}

    def _column(self, batch: dict[str, np.ndarray], name: str) -> np.ndarray:
        if name not in batch:
            raise ValueError(f"columns has {name!r}; the batch has {', '.join(batch)}")
        array = np.asarray(batch[name])
        if array.dtype == object:
            shapes = sorted({np.shape(row) for row in array})
            raise ValueError(
                f"column {name!r} has rows of shapes {said(shapes)}; expected is one shape: resize them first"
            )
        if array.dtype == np.uint8 and array.ndim in (3, 4):
            return from_pixels(array, standardise=self.standardise)
        return array.astype(np.float32) if array.dtype == np.float64 else array


def predict(
    dataset: Any, model: str, *, batch_size: int = 16, concurrency: Any = 1, num_cpus: int = 1, **options: Any
) -> Any:
    """The dataset with the model's results as columns, computed when it is consumed.

    Parameters
    ----------
    dataset : ray.data.Dataset
    model, **options
        As for `Predictor`, of which each worker makes one.
    batch_size : int
        Rows at a time.
    concurrency : int or (int, int)
        Workers, or the least and most of them, as for ``Dataset.map_batches``.
    num_cpus : int
        Cores that Ray sets aside for each worker, which runs as many threads.
    """
    if not hasattr(dataset, "map_batches"):
        raise TypeError(f"dataset is a {type(dataset).__name__}; expected is a ray.data.Dataset (the extra 'ray')")
    return dataset.map_batches(
        Predictor,
        fn_constructor_args=(model,),
        fn_constructor_kwargs={"num_threads": num_cpus} | options,
        batch_size=batch_size,
        batch_format="numpy",
        concurrency=concurrency,
        num_cpus=num_cpus,
    )
