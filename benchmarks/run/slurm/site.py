"""What Slurm's own commands say about a site and about our jobs."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gmsdi.errors import GmsdiError, one_line

PATIENCE = 60.0
"""Seconds to wait for a command of Slurm; a busy controller is slow to answer."""

AT_ONCE = 500
"""The most job ids in one command."""


class Silent(GmsdiError):
    """Slurm does not answer."""


@dataclass(frozen=True)
class Active:
    """A job that Slurm has and that has not ended; an element of an array is a job of its own."""

    name: str
    state: str
    reason: str
    node: str


def active() -> dict[str, Active]:
    """Our jobs that have not ended, by id (``123`` or, in an array, ``123_4``)."""
    lines = ask(
        "squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", "%i|%T|%r|%N|%j"
    ).splitlines()
    facts = (line.split("|", 4) for line in lines)  # a name may hold anything
    return {job: Active(name, state, reason, node) for job, state, reason, node, name in facts}


def ended(jobs: Sequence[str]) -> dict[str, str]:
    """How jobs ended, by id, as far as Slurm still knows: from its accounting, or for some minutes from squeue."""
    found: dict[str, str] = {}
    known = ["squeue", "--noheader", "--array", "--states", "all", "--user", str(os.getuid()), "--format", "%i|%T"]
    accounts = ["sacct", "--noheader", "--parsable2", "--allocations", "--format", "JobID,State"]
    for command in (known, *([*accounts, "--jobs", ",".join(some)] for some in _portions(jobs))):
        try:
            lines = ask(*command).splitlines()
        except Silent:
            continue
        found |= {job: state for job, state in (line.split("|") for line in lines) if state}
    return {job: found[job] for job in jobs if job in found}


def limit(setting: str) -> int | None:
    """A number in the site's configuration, such as ``MaxArraySize``; None if it is not set."""
    for line in ask("scontrol", "show", "config").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == setting and value.strip().isdigit():
            return int(value)
    return None


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs; some may have ended already."""
    for some in _portions(jobs):
        ask("scancel", "--quiet", *some)


def ask(*command: str) -> str:
    """What a command prints; ``Silent`` if it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        raise Silent(f"{command[0]}: no such command; is this a login node of a Slurm cluster?") from None
    except subprocess.TimeoutExpired:
        raise Silent(f"{command[0]}: no answer within {PATIENCE:.0f} s") from None
    if done.returncode:
        raise Silent(one_line(done.stderr) or f"{command[0]}: exit code {done.returncode}")
    return done.stdout


def _portions(jobs: Sequence[str]) -> Iterable[Sequence[str]]:
    return (jobs[n : n + AT_ONCE] for n in range(0, len(jobs), AT_ONCE))
