"""`python -m fitune.core.worker.architecture [MODEL]`: from a config.json on stdin to the model's shape, as JSON.

MODEL: the folder or Hub id whose own code may run. Needs torch and transformers, no card; no weight is loaded.
"""

import contextlib
import json
import sys

import orjson

from fitune.core.errors import UserError
from fitune.core.records import to_json
from fitune.core.worker.architecture.build import build
from fitune.core.worker.architecture.describe import describe


def main() -> int:
    """Write the shape, or {"problem", "hint"} for a model that can't be built, as the last line of stdout."""
    code_of = sys.argv[1] if len(sys.argv) > 1 else None
    values = json.load(sys.stdin)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            answer = to_json(describe(build(values, code_of)))
    except UserError as error:
        answer = {"problem": error.message, "hint": error.hint}
    sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
