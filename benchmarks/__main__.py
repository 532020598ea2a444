"""The command: ``python -m benchmarks [workload ...]``, from the folder above this one."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import machine, table
from benchmarks.agreement import Verdict, dropout_verdict, verdict
from benchmarks.driver import Driver, Measured, Settings, installed_peers, pinned
from benchmarks.peers import PEERS
from benchmarks.reference import reference_losses
from benchmarks.worker import CHECKED_STEPS
from benchmarks.workloads import WORKLOADS, Network, Workload


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "workloads", nargs="*", metavar="workload", help=f"of {', '.join(WORKLOADS)}; none: all"
    )
    parser.add_argument("--peers", help=f"with commas, of {', '.join(PEERS)}; default: installed")
    parser.add_argument("--engine", help="chainrule's engine; default: the library's default")
    parser.add_argument("--threads", type=int, default=2, help="of every library; default 2")
    parser.add_argument("--rounds", type=int, help="processes a library; default 3")
    parser.add_argument("--seconds", type=float, help="limit of one process's timing; default 15")
    parser.add_argument("--quick", action="store_true", help="one round, three windows, no starts")
    parser.add_argument(
        "--no-starts", action="store_true", help="leave out compile and start times"
    )
    parser.add_argument("--one-batch", action="store_true", help="the same batch at every step")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    options = parser.parse_args(arguments)
    for kind, given, known in (
        ("workload", options.workloads, WORKLOADS),
        ("peer", (options.peers or "").split(",") if options.peers else [], PEERS),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"no {kind} {unknown[0]!r}: choose from {', '.join(known)}")
    return options


def settings_of(options: argparse.Namespace) -> Settings:
    """What the options say, with the rest by default."""
    names = options.peers.split(",") if options.peers else None
    settings = Settings(
        peers=installed_peers(names),
        threads=options.threads,
        engine=options.engine,
        starts=not options.no_starts,
        one_batch=options.one_batch,
    )
    if options.quick:
        settings = replace(settings, rounds=1, windows=3, starts=False)
    if options.rounds:
        settings = replace(settings, rounds=options.rounds)
    if options.seconds:
        settings = replace(settings, seconds=options.seconds)
    return settings


def judge(
    workload: Workload,
    measured: Mapping[str, Measured],
    one_batch: bool,
    exact_losses: Sequence[float] | None,
) -> dict[str, Verdict]:
    """Whether each library's results are right."""
    expected = None if exact_losses is None else np.array(exact_losses)
    if isinstance(workload, Network):
        order = workload.order(CHECKED_STEPS)
        order = np.broadcast_to(order[:1], order.shape) if one_batch else order
        expected = reference_losses(workload, *workload.data(), order)
    verdicts = {peer: verdict(peer, workload, x, expected) for peer, x in measured.items()}
    if isinstance(workload, Network) and workload.dropout:
        means = [x.mean_loss for x in measured.values() if x.mean_loss is not None]
        for peer, seen in measured.items():
            if verdicts[peer].equal:
                verdicts[peer] = dropout_verdict(seen.mean_loss, means)
    return verdicts


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables; 1 where chainrule failed or its results were wrong."""
    options = read_arguments(arguments)
    settings = settings_of(options)
    about = machine.describe()
    print(f"{about['processor']}, {about['cores']} cores; {about['system']}")
    print(f"Python {about['python']}; {settings.threads} threads; {', '.join(settings.peers)}\n")
    results = {}
    with tempfile.TemporaryDirectory() as folder, pinned(settings.threads):
        driver = Driver(settings, Path(folder), _progress)
        for name in options.workloads or WORKLOADS:
            measured, peaks = driver.measure(name)
            workload = WORKLOADS[name]
            verdicts = judge(workload, measured, settings.one_batch, driver.exact_losses)
            results[name] = table.Result(workload, measured, verdicts, peaks)
            _progress("")
            print(table.show(results[name]), flush=True)
            if options.json:
                data = {name: table.as_data(x) for name, x in results.items()}
                text = json.dumps({"machine": about, "results": data}, indent=1)
                options.json.write_text(text + "\n", encoding="utf-8")
    print(table.summary(results), end="")
    ours = [x.verdicts[table.OURS] for x in results.values() if table.OURS in x.verdicts]
    return 0 if all(x.equal for x in ours) else 1


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:78.78}\r", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
