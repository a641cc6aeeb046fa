"""Micro-batches of rows with images: padded tokens, and the pixels of the images, which are decoded only now."""

from collections.abc import Mapping, Sequence
from typing import Any

from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from fitune.core.worker.images.processor import ImageProcessor
from fitune.core.worker.rows.truncate import ALBUM


class ImageCollator:
    """Makes micro-batches of rows that hold token ids, labels, and places in the album."""

    def __init__(self, processor: ImageProcessor, tokenizer: Any) -> None:
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.processor, self.pad = processor, DataCollatorForLanguageModeling(pad_token_id=pad)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The tensors of a micro-batch: [rows, tokens], and those of the images as the model takes them."""
        made = dict(self.pad([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]))
        return {**made, **self.processor.tensors_of([row[ALBUM] for row in rows], made["input_ids"])}
