"""A private Slurm cluster on this machine: munge, a controller and two nodes, started from Debian's packages and stopped again.

    python tests/integration/slurm/cluster.py COMMAND …    runs a command on one, with two nodes of two (pretended) GPUs each

No systemd, no cgroups, no accounting; everything listens on the loopback interface and lives in one folder. The daemons end with the
process that started them, however that ends.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("n1", "n2")

# cred_expire: a job that is queued again waits for that long. preempt_send_user_signal with a GraceTime: a preempted job hears of it
# first. FirstJobId: ids do not come again in another cluster on the same store. Any device file will do for a GPU.
CONFIG = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
FirstJobId={first}
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize={max_array}
KillWait=2
MinJobAge=3600
SlurmctldTimeout=30
SlurmdTimeout=8
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=4000 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=4000 Gres=gpu:2
PartitionName=usual Nodes=n1,n2 Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=n1,n2 State=UP PriorityTier=10 PreemptMode=OFF
"""


def install() -> str:
    """Install what is missing of Slurm; says why not, if that is not possible."""
    if all(map(shutil.which, DAEMONS)):
        return ""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return f"needs root, or the Debian packages {' '.join(PACKAGES)}"
    with Path(tempfile.gettempdir(), "gmsdi-slurm-install").open("w") as lock:  # test processes side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(map(shutil.which, DAEMONS)):
            _apt()
    return ""


def _apt() -> None:
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "check": True}
    subprocess.run(["apt-get", "-qq", "update"], **quiet)
    subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *PACKAGES], **quiet)


class Cluster:
    """Two nodes of ``cpus`` CPUs each. ``environment`` is what makes Slurm's commands talk to this cluster."""

    def __init__(self, cpus: int = 2, max_array: int = 1001) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gmsdi-slurm-"))
        self.folder.chmod(0o755)
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        host = socket.gethostname().split(".")[0]
        first = int(time.time()) * 20 % 60_000_000 + 1
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        text = CONFIG.format(
            host=host, user=user, folder=self.folder, first=first, ports=_free_ports(3), cpus=cpus, max_array=max_array
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (self.folder / "state").mkdir()

    def start(self) -> None:
        """Start all daemons, and wait for the nodes."""
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"key-file": key.name, "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
        places = [f"--{option}={self.folder / file}" for option, file in {**files, "seed-file": "munge.seed"}.items()]
        self._start("munged", "munged", "--foreground", "--force", *places)
        self._wait((self.folder / "munge.socket").exists)
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self._wait(lambda: self.nodes_up() == set(NODES))

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D")
        self._wait(lambda: subprocess.run(["scontrol", "ping"], env=self._env(), capture_output=True).returncode == 0)

    def start_node(self, node: str) -> None:
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self._start(node, "slurmd", "-D", "-N", node)

    def stop_controller(self) -> None:
        """In good order: one that is killed just after it took a job may have forgotten it."""
        self._stop("slurmctld")

    def kill_node(self, node: str) -> None:
        """As if its power were cut: the daemon and all that runs on it, at once."""
        self._daemons.pop(node).kill()
        for pid in self._processes(f"SLURMD_NODENAME={node}", f"GMSDI_NODE={node}"):
            os.kill(pid, 9)

    def nodes_up(self) -> set[str]:
        lines = self.ask("sinfo", "--noheader", "--Node", "--partition", "usual", "--format", "%N %t").splitlines()
        return {name for name, state in map(str.split, lines) if state in ("idle", "mix", "alloc")}

    def ask(self, *command: str) -> str:
        """The output of one of Slurm's commands."""
        return subprocess.run(command, env=self._env(), capture_output=True, text=True, timeout=60, check=True).stdout

    def clear(self) -> None:
        """Cancel everything, and wait until nothing is left of it."""
        for job in set(self.ask("squeue", "--noheader", "--format", "%A").split()):
            self.ask("scancel", job)
        self._wait(lambda: not self.ask("squeue", "--noheader"))

    def stop(self) -> None:
        """Stop everything and remove the folder."""
        if self._daemons.get("slurmctld"):
            subprocess.run(["scancel", "--state=RUNNING", "--signal=KILL", "--user", str(os.getuid())], env=self._env())
        for name in reversed(list(self._daemons)):
            self._stop(name)
        for pid in self._processes(*(f"GMSDI_NODE={node}" for node in NODES), *(f"SLURMD_NODENAME={n}" for n in NODES)):
            os.kill(pid, 9)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        program = next(path for path in (shutil.which(command[0]), f"/usr/sbin/{command[0]}") if path)
        words = ["setpriv", "--pdeathsig", "TERM", program, *command[1:]]
        environment = {**self._env(), "GMSDI_NODE": name}
        self._daemons[name] = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)

    def _stop(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _processes(self, *marks: str) -> list[int]:
        """The processes of this cluster that have one of these variables in their environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            own = f"SLURM_CONF={self.environment['SLURM_CONF']}" in variables
            if own and any(mark in variables for mark in marks) and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        return found

    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))
                raise TimeoutError(f"Slurm does not get ready:\n{logs}")
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    if reason := install():
        sys.exit(reason)
    cluster = Cluster()
    try:
        cluster.start()
        sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **cluster.environment}).returncode)
    finally:
        cluster.stop()
