"""What a model sees beside the token ids of a batch, where it answers or is scored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fitune.core.worker.images.processor import ImageProcessor

Look = Callable[[Sequence[int], Any], Mapping[str, Any]]
"""From the places of rows and their padded token ids to what the model gets beside these."""


def look_at(images: ImageProcessor | None, rows: Sequence[Sequence[str]]) -> Look | None:
    """A look at the images of each of these rows; None where no row has any."""
    if images is None or not any(rows):
        return None

    def look(places: Sequence[int], ids: Any) -> Mapping[str, Any]:
        albums = [[images.place_of(image) for image in rows[place]] for place in places]
        made = images.tensors_of(albums, ids)
        return {name: tensor.to(ids.device) for name, tensor in made.items()}

    return look
