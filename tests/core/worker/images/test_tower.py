"""The image tower runs without gradients, whatever asks its embeddings for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs.run import Run
from tests.core.worker.images.conftest import FEWER

pytestmark = pytest.mark.train


@pytest.mark.parametrize("family", FEWER)
def test_nothing_of_the_tower_is_kept(
    family: str, seeing_model: Callable[[str], Path], image_rows: Path, make_run: Callable[..., Run]
) -> None:
    import torch

    from fitune.core.data.dataset import rows
    from fitune.core.recipe import Data
    from fitune.core.worker.images.collator import ImageCollator
    from fitune.core.worker.images.processor import load
    from fitune.core.worker.images.tower import without_gradients
    from fitune.core.worker.models import ModelFiles
    from fitune.core.worker.rows.truncate import truncate
    from fitune.core.worker.training import model_with_adapter

    folder = seeing_model(family)
    run = make_run(model={"id": str(folder)}, train={"backend": "trl", "checkpointing": "on"})
    model = model_with_adapter.load(run.recipe(), ModelFiles(folder, family, None)).model
    processor = load(folder, 4000, remote_code=False)
    tokenizer = processor.processor.tokenizer
    some = truncate(rows(Data(source=str(image_rows)), limit=2), tokenizer, 512, "answers", images=processor)
    batch = ImageCollator(processor, tokenizer)(some.rows)
    asked: list[bool] = []
    tower = next(module for name, module in model.named_modules() if name.endswith((".visual", ".vision_tower")))
    layer = next(module for module in tower.modules() if type(module).__name__.endswith(("Block", "Layer")))

    def look(_: Any, __: Any, out: Any) -> None:
        asked.append((out[0] if isinstance(out, tuple) else out).grad_fn is not None)

    layer.register_forward_hook(look)
    before = model(**batch).loss
    without_gradients(model)
    loss = model(**batch).loss
    assert asked[-1] is False
    assert torch.equal(before, loss)
    loss.backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())
