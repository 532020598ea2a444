"""What the benchmarks make of their measurements: verdicts, ratios, tables, options."""

import json
import math

import numpy as np
import pytest
from benchmarks.__main__ import read_arguments, settings_of
from benchmarks.driver import Measured, environment
from benchmarks.peak import Peak, peak_ir
from benchmarks.worker import windows
from benchmarks.workloads import NETWORKS, PRODUCTS

from benchmarks import agreement, machine, table

EQUAL = agreement.Verdict(True)


def seen(micro, **more):
    return Measured(quiet=[micro * 1e-6] * 3, **more)


def result(ours, **peers):
    measured = {"chainrule": ours, **peers}
    verdicts = dict.fromkeys(measured, EQUAL)
    return table.Result(NETWORKS["mlp-small"], measured, verdicts, [150.0, 200.0, 190.0])


def test_ratios_are_to_the_best_peer_whose_results_are_right():
    both = result(seen(10.0), torch=seen(300.0), jax=seen(50.0))
    assert both.best_peer() == "jax"
    assert both.ratio("chainrule") == pytest.approx(5.0)
    assert both.ratio("torch") == pytest.approx(1 / 6)
    wrong = {**both.verdicts, "jax": agreement.Verdict(False, "losses are off")}
    rest = table.Result(both.workload, both.measured, wrong, both.peaks)
    assert rest.best_peer() == "torch"


def test_the_floor_is_the_flops_at_the_best_peak_of_the_run():
    one = result(seen(10.0))
    assert one.floor == pytest.approx(NETWORKS["mlp-small"].flops / 200e9)
    assert one.share("chainrule") == pytest.approx(one.floor / 10e-6)
    assert math.isnan(one.ratio("chainrule"))


def test_tables_fit_into_eighty_columns():
    times = {"start": 31.25, "compile": 29.5}
    slow = seen(123_456.0, memory_bytes=987_000_000, cold=times, warm=times)
    failed = Measured(failure="RuntimeError: no")
    many = result(seen(7.25, memory_bytes=5, cold=times, warm=times), torch=slow, jax=failed)
    text = table.show(many) + table.summary({"mlp-small": many})
    assert max(map(len, text.splitlines())) <= 80
    assert "7.25" in text
    assert "123456" in text


def test_ratios_of_disturbed_windows_are_marked():
    disturbed = Measured(disturbed=[1e-4] * 5)
    quiet = table.summary({"mlp-small": result(seen(10.0), torch=seen(300.0))})
    noisy = table.summary({"mlp-small": result(seen(10.0), torch=disturbed)})
    assert "disturbed" not in quiet
    assert "10.00×" in noisy
    assert "disturbed" in noisy
    assert max(map(len, noisy.splitlines())) <= 80


def test_the_summary_holds_the_geometric_mean_of_the_products():
    results = {
        name: table.Result(
            PRODUCTS[name],
            {"chainrule": seen(10.0), "torch": seen(micro)},
            {"chainrule": EQUAL, "torch": EQUAL},
            [200.0],
        )
        for name, micro in (("mm-256", 10.0), ("mm-thin", 40.0))
    }
    assert "2.00×" in table.summary(results)
    assert json.loads(json.dumps(table.as_data(results["mm-256"])))["best_peer"] == "torch"


def test_losses_that_differ_are_said():
    network = NETWORKS["table"]
    reference = np.array([0.7, 0.6, 0.5])
    right = Measured(losses=[0.7, 0.60001, 0.5])
    wrong = Measured(losses=[0.7, 0.61, 0.5])
    assert agreement.verdict("torch", network, right, reference).equal
    assert not agreement.verdict("torch", network, wrong, reference).equal
    # one output unit instead of two: only the first loss can be the same
    assert agreement.verdict("sklearn", network, wrong, reference).equal
    assert not agreement.verdict("torch", network, Measured(failure="no"), reference).equal
    short = agreement.verdict("torch", network, Measured(losses=[0.7]), reference)
    assert short.why == "only 1 losses"
    assert agreement.dropout_verdict(2.30, [2.30, 2.31, 2.29]).equal
    assert not agreement.dropout_verdict(2.0, [2.30, 2.31, 2.29]).equal


def test_disturbed_windows_count_only_where_quiet_ones_are_few():
    few = Measured(quiet=[1.0], disturbed=[3.0, 5.0])
    assert few.median == 3.0
    enough = Measured(quiet=[1.0, 1.5, 2.0], disturbed=[9.0] * 9)
    assert enough.median == 1.5
    assert enough.best == 1.0
    assert math.isnan(Measured().median)


def test_windows_repeat_until_enough_or_out_of_time():
    calls = []
    job = {"windows": 2, "window_seconds": 0.0001, "seconds": 0.05}
    found = windows(lambda number: calls.append(number) or 4, job)
    assert calls == list(range(len(calls)))
    assert len(found["quiet"]) + len(found["disturbed"]) >= 1


def test_options():
    settings = settings_of(read_arguments(["table", "--quick", "--peers", "chainrule"]))
    assert settings.peers == ("chainrule",)
    assert (settings.rounds, settings.starts) == (1, False)
    with pytest.raises(SystemExit):
        read_arguments(["nothing"])
    with pytest.raises(SystemExit):
        read_arguments(["--peers", "chainrule,nobody"])


def test_workers_get_their_threads_and_a_cache_of_their_own(tmp_path):
    given = environment(3, tmp_path)
    assert given["OMP_NUM_THREADS"] == given["CHAINRULE_NUM_THREADS"] == "3"
    assert given["XDG_CACHE_HOME"] == str(tmp_path)


@pytest.mark.parametrize("width", [4, 8, 16])
def test_the_peak_kernel_is_one_fma_a_chain(width):
    text = peak_ir(width, 5)
    assert text.count("= call") == 5
    assert f"<{width} x float>" in text


def test_the_peak_is_measured():
    assert Peak().measure(1, iterations=10_000) > 0


def test_the_machine_is_described():
    assert machine.describe()["cores"] >= 1
    assert 0 < machine.memory("VmRSS") <= machine.memory("VmHWM") * 1.5
    assert machine.Load().foreign() >= 0
