"""`mmalign run` with its arguments; a last line with the process's memory in MB: once the first
model is loaded, and at most."""

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "tools")]

from reference_impls.core import command_line, stages  # noqa: E402
from tests.impls.memory import peak  # noqa: E402

loaded: list[float] = []
load = stages.load


def measured(*given, **named):
    made = load(*given, **named)
    loaded.append(peak())
    return made


stages.load = measured
status = command_line.run(sys.argv[1], sys.argv[2:])
print(json.dumps({"model": loaded[0], "peak": peak()}))
sys.exit(status)
