"""The metrics of host, disks, networks, process trees and containers. wandb's own keys where it has one, and then with
its meaning and unit: `proc.*` and `cpu` are of the run's main process, MB are 2**20 bytes, `in` and `out` of a disk and
`sent` and `recv` of the network count from the beginning of sampling.
"""

from __future__ import annotations

from telemetryd.sampling.metric import COUNTER, GAUGE, Metric, Read


def _metrics(family: str, *rows: tuple[str, str, str, str, str, str, bool]) -> tuple[Metric, ...]:
    """Rows: name, unit, W&B key, where it is read, help, kind, whether it is in the 1 Hz ring."""
    return tuple(
        Metric(name, unit, family, (Read(where),), wandb, help_, kind, ring=ring)
        for name, unit, wandb, where, help_, kind, ring in rows
    )


_G, _C = GAUGE, COUNTER

CPU = _metrics(
    "cpu",
    ("host_cpu_percent", "percent", "host.cpu.percent", "psutil.cpu_times", "CPU time used by anybody, of all cores",
     _G, True),
    ("host_cpu_iowait_percent", "percent", "host.cpu.iowaitPercent", "psutil.cpu_times",
     "time in which cores waited for disks", _G, True),
    ("host_cpu_steal_percent", "percent", "host.cpu.stealPercent", "psutil.cpu_times",
     "time that the hypervisor gave to others", _G, False),
    ("host_load1", "processes", "host.load.1m", "os.getloadavg", "processes that ran or waited in a minute", _G, True),
    ("host_load5", "processes", "host.load.5m", "os.getloadavg", "the same over five minutes", _G, False),
    ("host_load15", "processes", "host.load.15m", "os.getloadavg", "the same over fifteen minutes", _G, False),
    *(
        (f"host_pressure_{what}_{who}_percent", "percent", f"host.pressure.{what}.{who}", f"/proc/pressure/{what}",
         f"time in which {'some' if who == 'some' else 'all'} processes waited for {what}, over ten seconds", _G, False)
        for what in ("cpu", "memory", "io") for who in ("some", "full")
    ),
)  # fmt: skip

MEMORY = _metrics(
    "memory",
    ("host_memory_used_percent", "percent", "memory_percent", "psutil.virtual_memory",
     "memory that is not available, of all", _G, True),
    ("host_memory_available_mb", "mebibytes", "proc.memory.availableMB", "psutil.virtual_memory",
     "memory that programs can still have", _G, True),
    ("host_memory_total_bytes", "bytes", "host.memory.totalBytes", "psutil.virtual_memory", "memory of the host", _G,
     False),
    ("host_memory_cached_bytes", "bytes", "host.memory.cachedBytes", "psutil.virtual_memory", "file cache", _G, False),
    ("host_memory_shared_bytes", "bytes", "host.memory.sharedBytes", "psutil.virtual_memory",
     "shared memory: /dev/shm and other tmpfs", _G, False),
    ("host_swap_used_bytes", "bytes", "host.swap.usedBytes", "psutil.swap_memory", "swap in use", _G, False),
    ("host_swap_used_percent", "percent", "swap.used_percent", "psutil.swap_memory", "swap in use, of all", _G, False),
    ("host_swapped_in_bytes", "bytes", "host.swap.inBytes", "psutil.swap_memory", "bytes read back from swap", _C,
     False),
    ("host_swapped_out_bytes", "bytes", "host.swap.outBytes", "psutil.swap_memory", "bytes written to swap", _C, False),
)  # fmt: skip

DISK = _metrics(
    "disk",
    ("disk_used_percent", "percent", "disk.{label}.usagePercent", "statvfs of the path", "space used, of all", _G,
     False),
    ("disk_used_gb", "gibibytes", "disk.{label}.usageGB", "statvfs of the path", "space used", _G, False),
    ("disk_free_bytes", "bytes", "disk.{label}.freeBytes", "statvfs of the path", "space that the user can have", _G,
     False),
    ("disk_free_inodes", "inodes", "disk.{label}.freeInodes", "statvfs of the path", "files that can be made", _G,
     False),
    ("disk_read_mb", "mebibytes", "disk.{label}.in", "psutil.disk_io_counters",
     "read from the device since sampling began", _C, False),
    ("disk_written_mb", "mebibytes", "disk.{label}.out", "psutil.disk_io_counters",
     "written to the device since sampling began", _C, False),
    ("disk_busy_percent", "percent", "disk.{label}.busyPercent", "psutil.disk_io_counters",
     "time in which the device had requests", _G, False),
)  # fmt: skip

NETWORK = _metrics(
    "network",
    ("network_sent_bytes", "bytes", "network.sent", "psutil.net_io_counters",
     "bytes sent over every interface but loopback since sampling began", _C, False),
    ("network_received_bytes", "bytes", "network.recv", "psutil.net_io_counters",
     "bytes received over every interface but loopback since sampling began", _C, False),
    ("network_errors", "packets", "network.errors", "psutil.net_io_counters",
     "packets with errors since sampling began", _C, False),
    ("network_drops", "packets", "network.drops", "psutil.net_io_counters", "packets dropped since sampling began", _C,
     False),
    ("network_tcp_retransmits", "segments", "network.tcpRetransmits", "/proc/net/snmp",
     "TCP segments sent again since sampling began", _C, False),
    *(
        (f"infiniband_{name}", unit, f"infiniband.{{label}}.{key}", f"/sys/class/infiniband/*/ports/*/counters/{file}",
         help_, _C, False)
        for name, unit, key, file, help_ in (
            ("sent_bytes", "bytes", "sentBytes", "port_xmit_data", "bytes sent"),
            ("received_bytes", "bytes", "receivedBytes", "port_rcv_data", "bytes received"),
            ("sent_packets", "packets", "sentPackets", "port_xmit_packets", "packets sent"),
            ("received_packets", "packets", "receivedPackets", "port_rcv_packets", "packets received"),
            ("send_waits", "ticks", "sendWaits", "port_xmit_wait", "ticks in which data waited to be sent"),
            ("symbol_errors", "errors", "symbolErrors", "symbol_error", "errors on the cable"),
            ("link_downs", "times", "linkDowns", "link_downed", "times that the link went down"),
            ("link_recoveries", "times", "linkRecoveries", "link_error_recovery", "times that the link was recovered"),
            ("receive_errors", "packets", "receiveErrors", "port_rcv_errors", "bad packets received"),
            ("send_discards", "packets", "sendDiscards", "port_xmit_discards", "packets that could not be sent"),
        )
    ),
)  # fmt: skip

PROCESS = _metrics(
    "process",
    ("process_cpu_percent", "percent", "cpu", "/proc/PID/stat", "CPU time of the main process, of all cores", _G, True),
    ("process_threads", "threads", "proc.cpu.threads", "/proc/PID/stat", "threads of the main process", _G, True),
    ("process_rss_mb", "mebibytes", "proc.memory.rssMB", "/proc/PID/statm", "resident memory of the main process", _G,
     True),
    ("process_rss_percent", "percent", "proc.memory.percent", "/proc/PID/statm", "the same, of the host's memory", _G,
     False),
    ("tree_processes", "processes", "proc.tree.processes", "/proc/PID/task/*/children",
     "processes of the training, with all children", _G, True),
    ("tree_cpu_percent", "percent", "proc.tree.cpuPercent", "/proc/PID/stat",
     "CPU time of the tree; 100 is one core", _G, True),
    ("tree_rss_bytes", "bytes", "proc.tree.rssBytes", "/proc/PID/statm",
     "resident memory; shared pages count in each process", _G, True),
    ("tree_pss_bytes", "bytes", "proc.tree.pssBytes", "/proc/PID/smaps_rollup",
     "resident memory; shared pages are divided among their users", _G, False),
    ("tree_threads", "threads", "proc.tree.threads", "/proc/PID/stat", "threads of the tree", _G, True),
    ("tree_open_files", "files", "proc.tree.openFiles", "/proc/PID/fd", "open file descriptors of the tree", _G, False),
    ("tree_uninterruptible", "processes", "proc.tree.uninterruptible", "/proc/PID/stat",
     "processes in D state: they wait in the kernel, mostly for a disk or a driver", _G, True),
    ("tree_zombies", "processes", "proc.tree.zombies", "/proc/PID/stat", "dead processes that nobody has reaped", _G,
     False),
    ("tree_read_bytes", "bytes", "proc.tree.readBytes", "/proc/PID/io",
     "read from disks by the tree's living processes", _C, False),
    ("tree_written_bytes", "bytes", "proc.tree.writtenBytes", "/proc/PID/io",
     "written to disks by the tree's living processes", _C, False),
)  # fmt: skip

CONTAINER = _metrics(
    "container",
    ("container_cpu_limit_cores", "cores", "container.cpu.limitCores",
     "cpu.max; cpu.cfs_quota_us, the lowest of the cgroup and those above it",
     "cores that the cgroup may use", _G, False),
    ("container_cpu_percent", "percent", "container.cpu.percent", "cpu.stat; cpuacct.usage",
     "CPU time of the cgroup; 100 is one core", _G, False),
    ("container_cpu_throttled_percent", "percent", "proc.cpu.throttledPercent",
     "cpu.stat of the cgroup or of that above it whose quota stops it most",
     "periods in which the quota stopped it, since the sample before", _G, False),
    ("container_cpu_throttled_seconds", "seconds", "container.cpu.throttledSeconds", "cpu.stat",
     "time for which the quota stopped it", _C, False),
    ("container_memory_used_bytes", "bytes", "container.memory.usedBytes", "memory.current; memory.usage_in_bytes",
     "memory of the cgroup, file cache included", _G, True),
    ("container_memory_working_bytes", "bytes", "container.memory.workingBytes", "memory.stat",
     "the same without file cache that can be dropped at once", _G, True),
    ("container_memory_limit_bytes", "bytes", "container.memory.limitBytes",
     "memory.max; memory.limit_in_bytes, the lowest of the cgroup and those above it", "memory that it may use", _G,
     True),
    ("container_memory_percent", "percent", "container.memory.percent",
     "working set and limit of the cgroup, or of that above it which is nearest to its limit",
     "working set, of the limit", _G, True),
    ("container_memory_limit_hits", "times", "container.memory.limitHits", "memory.events max; memory.failcnt",
     "times that the limit was reached", _C, False),
    ("container_memory_ooms", "times", "container.memory.ooms", "memory.events oom",
     "times that the limit left nothing to take", _C, True),
    ("container_memory_oom_kills", "processes", "proc.memory.oomKills",
     "memory.events oom_kill; memory.oom_control oom_kill", "processes killed for want of memory", _C, True),
    ("container_processes", "processes", "container.processes", "pids.current", "processes and threads of the cgroup",
     _G, False),
    ("container_processes_limit", "processes", "container.processesLimit", "pids.max", "how many there may be", _G,
     False),
    *(
        (f"container_pressure_{what}_{who}_percent", "percent", f"container.pressure.{what}.{who}", f"{what}.pressure",
         f"time in which {'some' if who == 'some' else 'all'} of the cgroup waited for {what}, over ten seconds", _G,
         False)
        for what in ("cpu", "memory", "io") for who in ("some", "full")
    ),
)  # fmt: skip
