"""What each kind of process may ask of the kernel: one closed list each, by name.

An allow-list, so that a call of a later kernel is refused until somebody has thought about it. The refusal is EPERM
where we know the call and mean the refusal, and ENOSYS everywhere else: C libraries then take an older way.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Final

from router.seal.filter import Condition, Rules, Where

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
AF_NETLINK: Final = 16
STREAM, DGRAM, SEQPACKET = 1, 2, 5
TYPE_FLAGS: Final = 0o2004000  # SOCK_CLOEXEC | SOCK_NONBLOCK
TCP, UDP = 6, 17
MSG_FASTOPEN: Final = 0x20000000
CLONE_THREAD: Final = 0x00010000
CLONE_NEW_ANY: Final = 0x7E020000
PR_SET_DUMPABLE: Final = 4
PR_SET_PTRACER: Final = 0x59616D61
F_SETOWN, F_SETOWN_EX = 8, 15


class Profile(StrEnum):
    """A kind of process."""

    GATE = "gate"
    WORKER = "worker"
    ENGINE = "engine"
    PROGRAM = "program"  # an operator's own, behind an upstream: all that programs do, but no way out of its cage


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


IO_URING: Final = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register"})
STAGE_0: Final = Rules(unknown=IO_URING, default=None)
"""Before any event loop: libuv makes a ring when a loop is created, and a ring that exists works past any filter."""

_READING: Final = _names(
    "access close close_range dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait "
    "eventfd eventfd2 faccessat faccessat2 fadvise64 fchdir fdatasync flock fstat fstatfs fsync getcwd "
    "getdents getdents64 getxattr lgetxattr fgetxattr lseek lstat newfstatat pipe pipe2 poll ppoll pread64 "
    "preadv preadv2 pselect6 pwrite64 pwritev pwritev2 read readlink readlinkat readv select signalfd4 stat "
    "statfs statx timerfd_create timerfd_gettime timerfd_settime umask write writev"
)
_WRITING: Final = _names(
    "chmod creat fallocate fchmod fchmodat ftruncate link linkat mkdir mkdirat open openat rename renameat "
    "renameat2 rmdir symlink symlinkat sync_file_range truncate unlink unlinkat utimensat"
)
_LIVING: Final = _names(
    "alarm arch_prctl brk capget clock_getres clock_gettime clock_nanosleep exit exit_group futex futex_waitv "
    "getcpu getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid getpriority getrandom "
    "getresgid getresuid getrlimit getrusage getsid gettid gettimeofday getuid madvise membarrier mincore "
    "mlock mlock2 mmap mprotect mremap msync munlock munmap nanosleep pause restart_syscall rseq rt_sigaction "
    "rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max "
    "sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_yield set_robust_list "
    "set_tid_address setitimer setrlimit sigaltstack sysinfo time timer_create timer_delete timer_getoverrun "
    "timer_gettime timer_settime times uname"
)
_TALKING: Final = _names("getpeername getsockname getsockopt recvfrom recvmsg shutdown")
_SERVING: Final = _names("accept accept4 listen")
_STARTING: Final = _names(
    "chdir execve fork get_mempolicy kill mbind mlockall munlockall pidfd_open sched_setaffinity "
    "sched_setparam sched_setscheduler set_mempolicy setpgid setpriority setsid tgkill tkill vfork wait4 "
    "waitid"
)
DENIED: Final = (
    _names(
        "accept accept4 acct add_key bind bpf chroot clock_settime clone connect delete_module execve execveat "
        "fanotify_init finit_module fork fsconfig fsmount fsopen fspick init_module ioperm iopl kcmp "
        "kexec_file_load kexec_load keyctl kill listen memfd_create memfd_secret migrate_pages mknod mknodat "
        "modify_ldt mount mount_setattr move_mount move_pages mq_open msgget name_to_handle_at open_by_handle_at "
        "open_tree perf_event_open personality pidfd_getfd pidfd_open pidfd_send_signal pivot_root prlimit64 "
        "process_madvise process_mrelease process_vm_readv process_vm_writev ptrace quotactl reboot request_key "
        "rt_sigqueueinfo rt_tgsigqueueinfo seccomp semget sendmmsg setdomainname setgid setgroups sethostname "
        "setns setregid setresgid setresuid setreuid setuid shmat shmget socket socketpair splice swapoff swapon "
        "syslog tee tkill umount2 unshare userfaultfd vfork vhangup vmsplice"
    )
    | _WRITING
)
"""Refused by name, wherever a profile does not allow it."""

_SOCKET_OPTIONS: Final = {1: (2, 3, 4, 7, 8, 9, 13, 15, 20, 21), 6: (1, 2, 3, 4, 5, 6, 12, 18)}
"""SOL_SOCKET: REUSEADDR TYPE ERROR SNDBUF RCVBUF KEEPALIVE LINGER REUSEPORT RCVTIMEO SNDTIMEO; TCP: NODELAY MAXSEG
CORK KEEPIDLE KEEPINTVL KEEPCNT QUICKACK USER_TIMEOUT. Nothing of IPPROTO_IP or IPV6: their options hold source
routes, by which a connected socket can be made to send its packets to a third machine first."""
_RESOLVER_OPTIONS: Final = {0: (10, 11), 41: (23, 25)}  # MTU_DISCOVER and RECVERR, set by the C library's resolver
_IOCTLS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS WINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
_OPEN_FOR_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _without(argument: int, bits: int) -> Where:
    return Where(argument, 0, bits)


def _kind(value: int) -> Where:
    """The second argument of socket(2) and socketpair(2), whatever its flags."""
    return Where(1, value, 0xFFFFFFFF ^ TYPE_FLAGS)


_STREAM_PAIR: Final[Condition] = (Where(0, AF_UNIX), _kind(STREAM), Where(2, 0))
"""An AF_UNIX datagram socket takes an address with each message and would reach /dev/log."""
_NO_ADDRESS: Final = (Where(4, 0), Where(4, 0, high=True))


def _options(levels: dict[int, tuple[int, ...]]) -> tuple[Condition, ...]:
    return tuple((Where(1, level), Where(2, option)) for level, options in levels.items() for option in options)


def _common() -> dict[str, tuple[Condition, ...]]:
    return {
        "fcntl": ((Where(1, F_SETOWN, unless=True), Where(1, F_SETOWN_EX, unless=True)),),
        "ioctl": tuple((Where(1, request),) for request in _IOCTLS),
        "prctl": (
            (Where(0, PR_SET_DUMPABLE, unless=True), Where(0, PR_SET_PTRACER, unless=True)),
            (Where(0, PR_SET_DUMPABLE), Where(1, 0), Where(1, 0, high=True)),
        ),
        "prlimit64": ((Where(0, 0),),),  # its own limits only
        "sendmsg": ((_without(2, MSG_FASTOPEN),),),
        "sendto": ((_without(3, MSG_FASTOPEN), *_NO_ADDRESS),),
        "setsockopt": _options(_SOCKET_OPTIONS),
        "socketpair": (_STREAM_PAIR,),
    }


def _alone(pid: int) -> dict[str, tuple[Condition, ...]]:
    """Threads but no children; signals to itself only."""
    own: tuple[Condition, ...] = ((Where(0, pid),),)
    return {"clone": ((Where(0, CLONE_THREAD, CLONE_THREAD | CLONE_NEW_ANY),),), "kill": own, "tgkill": own}


def _worker(pid: int, *, writes: bool) -> Rules:
    """Serves on what it inherited. `writes`: its room has a place to write, where Landlock watches."""
    when = {**_common(), **_alone(pid)}
    if not writes:
        when |= {"open": ((_without(1, _OPEN_FOR_WRITING),),), "openat": ((_without(2, _OPEN_FOR_WRITING),),)}
    return _rules(_READING | _LIVING | _TALKING | _SERVING | (_WRITING if writes else frozenset()), when)


def _gate(pid: int) -> Rules:
    """Dials TCP and UNIX streams and asks name servers; nobody can call it."""
    sockets: list[Condition] = [(Where(0, AF_UNIX), _kind(STREAM), Where(2, 0))]
    for family in (AF_INET, AF_INET6):
        sockets += [(Where(0, family), _kind(STREAM), Where(2, protocol)) for protocol in (0, TCP)]
        sockets += [(Where(0, family), _kind(DGRAM), Where(2, protocol)) for protocol in (0, UDP)]
    when = {
        **_common(),
        **_alone(pid),
        "socket": tuple(sockets),
        "sendto": ((_without(3, MSG_FASTOPEN),),),
        "sendmmsg": ((_without(3, MSG_FASTOPEN),),),
        "setsockopt": _options(_SOCKET_OPTIONS | _RESOLVER_OPTIONS),
    }
    return _rules(_READING | _WRITING | _LIVING | _TALKING | {"connect"}, when)


def _engine() -> Rules:
    """Serves on what it inherited and starts a child to try out its library; no other socket, ever."""
    when = {**_common(), "clone": ((_without(0, CLONE_NEW_ANY),),)}
    return _rules(_READING | _WRITING | _LIVING | _TALKING | _SERVING | _STARTING, when)


_ESCAPING: Final = _names(
    "acct add_key bpf chroot clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick "
    "init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl mknod mknodat mount mount_setattr move_mount "
    "name_to_handle_at open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise "
    "process_vm_readv process_vm_writev ptrace quotactl reboot request_key setdomainname sethostname setns swapoff "
    "swapon syslog umount2 unshare userfaultfd vhangup"
)
"""What reaches into other processes, other namespaces or the kernel itself."""


def _program(*, datagrams: bool) -> Rules:
    """Whatever programs do, but what could lead out of its network and its files. Not an allow-list: which calls a
    model server and its drivers make is not ours to know. AF_VSOCK and packet sockets pass network namespaces by, and
    datagrams to a UNIX socket reach /dev/log; of netlink it asks for the addresses of its own network. `datagrams`:
    over IP; where its network is the machine's, they would go anywhere.
    """
    sockets: list[Condition] = [(Where(0, AF_UNIX), _kind(kind), Where(2, 0)) for kind in (STREAM, SEQPACKET)]
    for family in (AF_INET, AF_INET6):
        sockets += [(Where(0, family), _kind(STREAM), Where(2, protocol)) for protocol in (0, TCP)]
        sockets += [(Where(0, family), _kind(DGRAM), Where(2, protocol)) for protocol in (0, UDP) if datagrams]
    sockets.append((Where(0, AF_NETLINK), Where(2, 0)))
    when: dict[str, tuple[Condition, ...]] = {
        "socket": tuple(sockets),
        "socketpair": tuple((Where(0, AF_UNIX), _kind(kind), Where(2, 0)) for kind in (STREAM, SEQPACKET)),
        "clone": ((_without(0, CLONE_NEW_ANY),),),
        "sendmsg": ((_without(2, MSG_FASTOPEN),),),
        "sendto": ((_without(3, MSG_FASTOPEN),),),
        "sendmmsg": ((_without(3, MSG_FASTOPEN),),),
    }
    return Rules(when=when, deny=_ESCAPING, unknown=IO_URING | {"clone3"}, default=None)


def _rules(allow: frozenset[str], when: dict[str, tuple[Condition, ...]]) -> Rules:
    allow = allow - when.keys()
    return Rules(allow, when, DENIED - allow - when.keys(), IO_URING)


def rules_of(profile: Profile, pid: int, *, writes: bool = False, datagrams: bool = True) -> Rules:
    """The rules of stage 1 for a process of this kind; `pid` is the only one it may send a signal to."""
    match profile:
        case Profile.GATE:
            return _gate(pid)
        case Profile.WORKER:
            return _worker(pid, writes=writes)
        case Profile.ENGINE:
            return _engine()
        case Profile.PROGRAM:
            return _program(datagrams=datagrams)
