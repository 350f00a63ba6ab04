"""Where a function of a firmware calls kernels: what lets the emulator count call by call."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from itertools import pairwise

from tinytrain.toolchain.build import Artifact

# "  1a2c:  bl  80 <tt_add_s8>", or on RISC-V "jalr -44(ra) # 80 <tt_add_s8>"; the function that
# makes such calls from a table is <add_s8>, a second one <add_s8_2>.
LINE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)(?:\s.*<(?:tt_)?(\w+?)(?:_\d+)?(?:\.\w+)*>)?")
CALLS = ("bl", "blx", "jal", "jalr")


def call_sites(artifact: Artifact, function: str, kernels: Sequence[str]) -> list[tuple[int, int]]:
    """(address of the call, address behind it) of each of ``kernels``, names of ops.

    They must be all that ``function`` calls, in this order. Raises SystemExit if the compiler made
    it otherwise.
    """
    tool = artifact.board.prefix + "objdump"
    command = [tool, "-d", "--no-show-raw-insn", f"--disassemble={function}", str(artifact.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [found for line in done.stdout.splitlines() if (found := LINE.match(line))]
    names, sites = [], []
    for line, following in pairwise(lines):
        if line[2] in CALLS and line[3]:
            names.append(line[3])
            sites.append((int(line[1], 16), int(following[1], 16)))
    if names != list(kernels):
        raise SystemExit(
            f"{function} of {artifact.path.name} calls {len(names)} kernels in another order than "
            f"its {len(kernels)} nodes: the compiler moved, copied or inlined calls"
        )
    return sites
