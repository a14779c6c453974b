"""Processes of the bench: started on one core, accounted, ended by their id, each wait with a limit."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROXY_CORE = "0"
LOAD_CORE = "1"
TICK = os.sysconf("SC_CLK_TCK")
_started = []
WORK = tempfile.mkdtemp(prefix="pointsman-bench-")


class Failed(Exception):
    """The bench cannot go on; the text says why."""


class Process:
    """A process with everything below it, on one core, with its output in a file."""

    def __init__(self, name, command, core=PROXY_CORE, env=None):
        self.name = name
        self.log = os.path.join(WORK, f"{name}-{len(_started)}.log")
        out = open(self.log, "wb")
        self.child = subprocess.Popen(
            ["taskset", "-c", core, *command],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})}, start_new_session=True)
        out.close()
        self.started = time.monotonic()
        _started.append(self)

    @property
    def pid(self):
        return self.child.pid

    def tail(self):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-15:])

    def assert_alive(self):
        if self.child.poll() is not None:
            raise Failed(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")

    def tree(self):
        """This process and all below it that are there now."""
        below = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = _stat(entry)
                if fields:
                    below.setdefault(int(fields[1]), []).append(int(entry))
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += below.get(pid, [])
        return found

    def cpu(self):
        """Seconds of CPU of the tree so far, with those of children that ended."""
        ticks = 0
        for pid in self.tree():
            fields = _stat(pid)
            if fields:
                ticks += sum(int(x) for x in fields[11:15])
        return ticks / TICK

    def fine_cpu(self):
        """The same from the scheduler's nanoseconds, for small amounts; only of what is alive."""
        total = 0
        for pid in self.tree():
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                        total += int(f.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total / 1e9

    def rss(self):
        """Bytes of resident memory of the tree."""
        pages = 0
        for pid in self.tree():
            try:
                with open(f"/proc/{pid}/statm") as f:
                    pages += int(f.read().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return pages * os.sysconf("SC_PAGE_SIZE")

    def end(self):
        """Ends it and what it started: by TERM, then by KILL, each by id."""
        below = [p for p in self.tree() if p != self.pid]
        for how, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.child.poll() is not None:
                break
            self.child.send_signal(how)
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                pass
        # What is in the session that was made for it cannot be anybody else's.
        for pid in below:
            fields = _stat(pid)
            if fields and int(fields[3]) == self.pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if self in _started:
            _started.remove(self)


def end_all():
    for process in list(reversed(_started)):
        process.end()
    shutil.rmtree(WORK, ignore_errors=True)


def run(command, limit=60, **more):
    """Runs to the end and gives its output."""
    done = subprocess.run(command, timeout=limit, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True, **more)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def wait(what, happened, limit=30, pause=0.005, process=None):
    """Waits until `happened()`; gives how long it took."""
    start = time.monotonic()
    while not happened():
        if process:
            process.assert_alive()
        if time.monotonic() - start > limit:
            raise Failed(f"waited {limit} s in vain: {what}" + (f"\n{process.tail()}" if process else ""))
        time.sleep(pause)
    return time.monotonic() - start


def free_port():
    """A free port below those that connections get."""
    for _ in range(500):
        port = random.randrange(11000, 31000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise Failed("no free port")


def path(name, text=None):
    """A file in the bench's directory, written when there is text for it."""
    full = os.path.join(WORK, name)
    if text is not None:
        with open(full, "w") as f:
            f.write(text)
    return full


def _stat(pid):
    """The fields of /proc/PID/stat from the state on: [1] is the parent, [3] the session, [11:15] the CPU."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
