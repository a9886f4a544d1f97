"""Runs a method in several processes that know of one another, and prints their exit statuses.

    python -m tests.impls.joined '{"count": 2, "arguments": [...], "configuration": "ddp-cpu"}'

Processes are forked from this one, which has imported what takes long and has no threads yet: from
a process that has trained before, a fork waits for threads that it does not have.
"""

import json
import os
import socket
import sys
import traceback
import zlib
from pathlib import Path

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from reference_impls.bench import experiment  # noqa: F401 - imported before processes are forked
from reference_impls.core import command_line, measure
from reference_impls.core.model.policy import Policy
from reference_impls.core.train import common, groups, head, pairs  # noqa: F401

LAUNCH = Path(common.__file__).parents[2] / "launch"


def environment(configuration, count=2):
    """What `accelerate launch --config_file` sets, by Accelerate's own reading of the file."""
    parser = launch_command_parser()
    arguments = parser.parse_args(
        ["--config_file", str(LAUNCH / f"{configuration}.yaml"), "--num_processes", str(count), "x"]
    )
    before = dict(os.environ)
    try:
        arguments, _, _ = _validate_launch_command(arguments)
        given = prepare_multi_gpu_env(arguments)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return {name: value for name, value in given.items() if before.get(name) != value}


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def fixed_answers(policy, prompts, images, temperature=None, max_new_tokens=48):
    """What a policy samples depends on how prompts lie in batches, and so on the number of
    processes; these answers depend on the prompt and the place in its group alone."""
    words, seen, answers = ("a", "red", "blue", "square", "circle"), {}, []
    for prompt, shown in zip(prompts, images, strict=True):
        key = json.dumps(prompt) + "".join(str(zlib.crc32(each.tobytes())) for each in shown)
        place = seen[key] = seen.get(key, -1) + 1
        number = zlib.crc32(f"{key}{place}".encode())
        answers.append(" ".join(words[(number >> 3 * n) % 5] for n in range(1 + number % 3)))
    return answers


def shard_on_a_cpu():
    """Let Accelerate believe in a GPU, so that it shards; tensors stay on the CPU."""
    from accelerate import state
    from accelerate.utils import DistributedType

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    start = state.PartialState.__init__
    kind = ("gloo", DistributedType.MULTI_GPU)
    state.PartialState._prepare_backend = lambda *given, **named: kind
    state.PartialState.__init__ = lambda self, cpu=False, **named: start(self, False, **named)


def in_processes(count, arguments, configuration=None, sharded=False):
    """Exit statuses of so many processes that run a method together."""
    port, children = free_port(), []
    for rank in range(count):
        child = os.fork()
        if child:
            children.append(child)
            continue
        status = 99
        try:
            if count > 1:
                os.environ.update(environment(configuration, count) if configuration else {})
                os.environ.update(
                    RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count),
                    LOCAL_WORLD_SIZE=str(count), MASTER_ADDR="localhost", MASTER_PORT=str(port),
                )  # fmt: skip
            if sharded:
                shard_on_a_cpu()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            measure.PAIRS, measure.SCENES = 4, 8
            if arguments[0] in ("grpo", "rloo"):
                Policy.answer = fixed_answers
            status = command_line.run(arguments[0], arguments[1:])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    command_line.GRACE = 0.0
    print(json.dumps(in_processes(**given)))
