"""How many threads: settings, environment, affinity, control groups, joblib's workers."""

import multiprocessing
import os
import subprocess
import sys
import textwrap

import pytest

import chainrule as cr
from chainrule.errors import ArgumentError
from chainrule.program.compiler.runtime import counts


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    """Pretend to have eight cores and no setting."""
    for name in ("CHAINRULE_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(counts, "available_cores", lambda: 8)
    yield
    cr.set_num_threads(None)


def test_without_a_setting_all_cores_are_used():
    assert cr.get_num_threads() == 8


def test_what_was_said_last_and_nearest_counts(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert cr.get_num_threads() == 5
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", " 6 ")
    assert cr.get_num_threads() == 6
    cr.set_num_threads(7)
    assert cr.get_num_threads() == 7
    with counts.exactly(20):
        assert cr.get_num_threads() == 20
        with counts.exactly(1):
            assert cr.get_num_threads() == 1
        assert cr.get_num_threads() == 20
    cr.set_num_threads(None)
    assert cr.get_num_threads() == 6


def test_there_are_never_more_threads_than_cores(monkeypatch):
    cr.set_num_threads(9)
    assert cr.get_num_threads() == 8
    cr.set_num_threads(None)
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "100")
    assert cr.get_num_threads() == 8


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
def test_a_bad_setting_is_answered(n):
    with pytest.raises(ArgumentError, match="whole number of at least 1"):
        cr.set_num_threads(n)
    assert cr.get_num_threads() == 8


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_bad_variable_is_answered(monkeypatch, text):
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", text)
    with pytest.raises(ArgumentError, match=r"CHAINRULE_NUM_THREADS(.|\n)*unset it"):
        cr.get_num_threads()


@pytest.mark.parametrize("text", ["", "dynamic", "0"])
def test_what_openmp_alone_understands_is_passed_over(monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert cr.get_num_threads() == 8


def test_workers_of_a_pool_use_one(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert cr.get_num_threads() == 1
    cr.set_num_threads(3)
    assert cr.get_num_threads() == 3


@pytest.mark.peer
def test_workers_of_joblib_share_the_cores():
    pytest.importorskip("joblib")
    code = """
        import joblib, os
        from chainrule.program.compiler.runtime.counts import available_cores, get_num_threads
        cores = available_cores()
        for backend, expected in ("loky", max(1, cores // 2)), ("multiprocessing", 1):
            found = joblib.Parallel(2, backend=backend)(
                joblib.delayed(get_num_threads)() for _ in range(4)
            )
            assert found == [expected] * 4, (backend, found)
    """
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, check=True, timeout=120
    )


# -- control groups -------------------------------------------------------------------------------

V2_MOUNT = "31 27 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = (
    "32 31 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 31 0:28 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def system(root, group, mounts, files):
    """Write what Linux would show under ``root``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    (root / "proc/self/mountinfo").write_text("22 27 0:21 / /proc rw - proc proc rw\n" + mounts)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_2_without_a_limit(tmp_path):
    system(tmp_path, "0::/user\n", V2_MOUNT, {"user/cpu.max": "max 100000\n"})
    assert counts.cgroup_cores(tmp_path) is None


def test_version_2_every_parent_limits(tmp_path):
    files = {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "400000 100000\n"}
    system(tmp_path, "0::/a/b\n", V2_MOUNT, files)
    assert counts.cgroup_cores(tmp_path) == 1.5


def test_version_2_at_the_top_of_a_container(tmp_path):
    system(tmp_path, "0::/\n", V2_MOUNT, {"cpu.max": "50000 100000\n"})
    assert counts.cgroup_cores(tmp_path) == 0.5


@pytest.mark.parametrize(("quota", "cores"), [("-1", None), ("250000", 2.5)])
def test_version_1(tmp_path, quota, cores):
    files = {
        "cpu,cpuacct/job/cpu.cfs_quota_us": quota,
        "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
    }
    system(tmp_path, "5:memory:/other\n4:cpu,cpuacct:/job\n", V1_MOUNT.format(top="/"), files)
    assert counts.cgroup_cores(tmp_path) == cores


def test_version_1_container_whose_mount_starts_at_its_group(tmp_path):
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    system(tmp_path, "4:cpu,cpuacct:/docker/1\n", V1_MOUNT.format(top="/docker/1"), files)
    assert counts.cgroup_cores(tmp_path) == 3


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "100000 0"])
def test_files_that_say_nothing_limit_nothing(tmp_path, text):
    system(tmp_path, "0::/\n", V2_MOUNT, {"cpu.max": text})
    assert counts.cgroup_cores(tmp_path) is None


def test_elsewhere_there_are_no_groups(tmp_path):
    assert counts.cgroup_cores(tmp_path) is None


def test_the_quota_is_rounded_up(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    for quota, cores in [(None, 4), (0.2, 1), (1.5, 2), (3.0, 3), (9.0, 4)]:
        monkeypatch.setattr(counts, "cgroup_cores", lambda q=quota: q)
        counts.available_cores.cache_clear()
        assert counts.available_cores() == cores
    counts.available_cores.cache_clear()
