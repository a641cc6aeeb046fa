"""Make core/memory/shapes/shapes.json, the shapes of the models in shapes_table.json beside it, with this transformers;
and tests/core/memory/shapes.json, those of the configs in shape_configs.py beside it, in bench/families.json and in
bench/seeing_models.py.

usage: PYTHONPATH=. python bench/shipped_shapes.py
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from bench import seeing_models
from fitune.core.memory import config_json, shapes
from fitune.core.memory.shapes.known import key_of
from fitune.core.records import to_json
from fitune.core.worker.architecture.build import build
from fitune.core.worker.architecture.describe import describe
from tests.core.memory import shape_configs


def main() -> None:
    """Build each model on the meta device, and write its shape by its key."""
    write(Path(shapes.__file__).with_name("shapes.json"), config_json.shipped_configs().values())
    families = orjson.loads(Path(__file__).with_name("families.json").read_bytes())
    seeing = map(seeing_models.sizes_of, seeing_models.REAL)
    configs = [*shape_configs.CONFIGS.values(), *families.values(), *seeing]
    write(Path(shape_configs.__file__).with_name("shapes.json"), configs)


def write(path: Path, configs: Iterable[dict[str, Any]]) -> None:
    """Write the shapes of these configs to a file, one a line."""
    found = {key_of(config): to_json(describe(build(config))) for config in configs}
    lines = (b'"%s": %s' % (key.encode(), orjson.dumps(shape)) for key, shape in found.items())
    path.write_bytes(b"{\n" + b",\n".join(lines) + b"\n}\n")
    print(f"{path}: {len(found)} shapes, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
