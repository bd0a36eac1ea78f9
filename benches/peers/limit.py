"""A server that may have so much memory and no more, in a control group of its own."""

import collections
import concurrent.futures
import pathlib
import time

import servers

# Where both versions of control groups are mounted; making a group takes root.
VERSIONS = (
    (pathlib.Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    (pathlib.Path("/sys/fs/cgroup"), "memory.max", "memory.peak"),
)


class Group:
    """A control group with a limit on memory; `None` of `made` where this system gives none."""

    def __init__(self, folder, peak):
        self.folder, self.peak = folder, peak

    @classmethod
    def made(cls, limit):
        for mount, file, peak in VERSIONS:
            folder = mount / "warmcut-limit"
            try:
                folder.mkdir(exist_ok=True)
                (folder / file).write_text(str(limit))
                return cls(folder, peak)
            except OSError:
                continue
        return None

    def entry(self):
        """A command that enters the group before it becomes another."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh"]

    def used(self):
        return int((self.folder / self.peak).read_text())

    def removed(self):
        # The kernel lets go of a group a moment after its last process.
        for _ in range(50):
            try:
                return self.folder.rmdir()
            except OSError:
                time.sleep(0.1)


def at_once(binary, limit, photos):
    """Statuses of photos sent together, the most memory of the process and of its group; or why not."""
    group = Group.made(limit)
    if group is None:
        return "no control group could be made"
    server = servers.Warmcut(binary, before=group.entry())
    server.until(server.ready)

    def cut(photo):
        answer = server.another_client().answers(*server.request(photo))
        return answer[0] if answer else "no answer"

    with concurrent.futures.ThreadPoolExecutor(len(photos)) as pool:
        statuses = collections.Counter(pool.map(cut, photos))
    peaks = server.peak() / 1e6, group.used() / 1e6
    server.close()
    group.removed()
    return f"{dict(statuses)}, {peaks[0]:.0f} MB at most, with the system's cache of files {peaks[1]:.0f} MB"
