package runtime

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The filter denies what Docker's default profile denies to a container
// without capabilities, so that a kernel bug in a rarely used call is out of a
// job's reach. It is a deny list because the interpreters that jobs bring need
// more of the rest than any list of ours would foresee.

// denied answer EPERM. Calls of one architecture alone are in deniedHere.
var denied = []uint32{
	// mounts and name spaces
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSCONFIG,
	unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	// the kernel itself
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEXEC_LOAD, sysKexecFileLoad, unix.SYS_REBOOT, unix.SYS_SYSLOG, unix.SYS_ACCT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
	unix.SYS_VHANGUP, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	// large and often broken into
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_FANOTIFY_INIT, unix.SYS_PTRACE, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	// files by handle step out of a mount; memory policy reaches other jobs
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
}

const (
	namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS |
		unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

	offsetNumber = 0 // of struct seccomp_data
	offsetArch   = 4
	offsetArgs   = 16 // low words first: both architectures are little-endian

	sysClone3 = 435 // the same everywhere
)

// families that a job may open sockets of. VSOCK reaches the hypervisor, ALG
// and the rest are attack surface.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// personalities are those that Docker lets pass: Linux, 32 bit Linux, each with
// and without UNAME26, and the query.
var personalities = []uint32{0x0, 0x8, 0x20000, 0x20008, 0xffffffff}

// seccompFilter assembles the program as the kernel and bubblewrap's --seccomp
// take it: an array of struct sock_filter.
func seccompFilter() []byte {
	var p bpf
	p.load(offsetArch)
	p.unless(auditArch, unix.SECCOMP_RET_KILL_PROCESS)
	p.load(offsetNumber)
	if x32Bit != 0 {
		// The x32 ABI would give every call a second number.
		p.emit(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, 0, 1, x32Bit)
		p.ret(unix.SECCOMP_RET_KILL_PROCESS)
	}
	for _, nr := range append(denied, deniedHere...) {
		p.when(nr, errno(unix.EPERM))
	}
	// Its flags lie in memory, where no filter can read them; libc falls back
	// to clone.
	p.when(sysClone3, errno(unix.ENOSYS))

	p.call(unix.SYS_CLONE, func(b *bpf) {
		b.load(offsetArgs)
		b.emit(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, 0, 1, namespaceFlags)
		b.ret(errno(unix.EPERM))
	})
	p.call(unix.SYS_SOCKET, func(b *bpf) { b.only(0, families, errno(unix.EAFNOSUPPORT)) })
	p.call(unix.SYS_SOCKETPAIR, func(b *bpf) { b.only(0, families, errno(unix.EAFNOSUPPORT)) })
	p.call(unix.SYS_PERSONALITY, func(b *bpf) { b.only(0, personalities, errno(unix.EPERM)) })
	p.call(unix.SYS_IOCTL, func(b *bpf) {
		b.load(offsetArgs + 8)
		b.when(unix.TIOCSTI, errno(unix.EPERM)) // types into the terminal of whoever looks on
		b.when(unix.TIOCLINUX, errno(unix.EPERM))
	})
	p.ret(unix.SECCOMP_RET_ALLOW)
	return p.bytes()
}

func errno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// bpf is a classic BPF program under construction. Its jumps go forward only
// and past one return at most, or past the short body of call.
type bpf []unix.SockFilter

func (p *bpf) emit(code uint16, jt, jf uint8, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *bpf) load(offset uint32) { p.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, offset) }
func (p *bpf) ret(action uint32)  { p.emit(unix.BPF_RET|unix.BPF_K, 0, 0, action) }

// when returns action if the loaded word is k; unless does if it is not.
func (p *bpf) when(k, action uint32) {
	p.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, k)
	p.ret(action)
}

func (p *bpf) unless(k, action uint32) {
	p.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, k)
	p.ret(action)
}

// call runs body for one system call and allows what body does not return.
func (p *bpf) call(nr uint32, body func(*bpf)) {
	var b bpf
	body(&b)
	b.ret(unix.SECCOMP_RET_ALLOW)
	p.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, uint8(len(b)), nr)
	*p = append(*p, b...)
}

// only answers action unless argument arg is one of allowed.
func (p *bpf) only(arg uint32, allowed []uint32, action uint32) {
	p.load(offsetArgs + 8*arg)
	for _, k := range allowed {
		p.when(k, unix.SECCOMP_RET_ALLOW)
	}
	p.ret(action)
}

func (p bpf) bytes() []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, []unix.SockFilter(p))
	return b.Bytes()
}
