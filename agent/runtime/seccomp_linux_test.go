package runtime

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// decide runs the filter as the kernel would for one system call.
func decide(t *testing.T, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data[offsetNumber:], nr)
	binary.LittleEndian.PutUint32(data[offsetArch:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[offsetArgs+8*i:], a)
	}
	program := seccompFilter()
	var acc uint32
	for pc := 0; pc < len(program)/8; pc++ {
		in := program[8*pc:]
		code, jt, jf, k := binary.LittleEndian.Uint16(in), in[2], in[3], binary.LittleEndian.Uint32(in[4:])
		jump := func(yes bool) {
			if yes {
				pc += int(jt)
			} else {
				pc += int(jf)
			}
		}
		switch code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[k:])
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == k)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= k)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(acc&k != 0)
		case unix.BPF_RET | unix.BPF_K:
			return k
		default:
			require.Fail(t, "an instruction that the filter does not use")
		}
	}
	require.Fail(t, "the filter has no end")
	return 0
}

func TestTheFilterJudgesCallsByNumberArchitectureAndArguments(t *testing.T) {
	t.Parallel()
	eperm := errno(unix.EPERM)
	for name, c := range map[string]struct {
		got, want uint32
	}{
		"reading is allowed":            {decide(t, auditArch, unix.SYS_READ), unix.SECCOMP_RET_ALLOW},
		"a thread is allowed":           {decide(t, auditArch, unix.SYS_CLONE, 0x3d0f00), unix.SECCOMP_RET_ALLOW},
		"a name space is not":           {decide(t, auditArch, unix.SYS_CLONE, unix.CLONE_NEWNET), eperm},
		"nor beside other flags":        {decide(t, auditArch, unix.SYS_CLONE, unix.CLONE_NEWUSER|17), eperm},
		"clone3 is not there":           {decide(t, auditArch, sysClone3), errno(unix.ENOSYS)},
		"the network is allowed":        {decide(t, auditArch, unix.SYS_SOCKET, unix.AF_INET6), unix.SECCOMP_RET_ALLOW},
		"VSOCK is not":                  {decide(t, auditArch, unix.SYS_SOCKET, unix.AF_VSOCK), errno(unix.EAFNOSUPPORT)},
		"high words do not hide it":     {decide(t, auditArch, unix.SYS_SOCKET, 1<<32|unix.AF_VSOCK), errno(unix.EAFNOSUPPORT)},
		"a terminal's size is allowed":  {decide(t, auditArch, unix.SYS_IOCTL, 0, unix.TIOCGWINSZ), unix.SECCOMP_RET_ALLOW},
		"typing into it is not":         {decide(t, auditArch, unix.SYS_IOCTL, 0, 1<<32|unix.TIOCSTI), eperm},
		"a query of personality":        {decide(t, auditArch, unix.SYS_PERSONALITY, 0xffffffff), unix.SECCOMP_RET_ALLOW},
		"no randomisation of addresses": {decide(t, auditArch, unix.SYS_PERSONALITY, 0x0040000), eperm},
		"another architecture dies":     {decide(t, unix.AUDIT_ARCH_I386, unix.SYS_READ), unix.SECCOMP_RET_KILL_PROCESS},
	} {
		assert.Equal(t, c.want, c.got, name)
	}
	for _, nr := range append(denied, deniedHere...) {
		assert.Equal(t, eperm, decide(t, auditArch, nr), "call %d", nr)
	}
	if x32Bit != 0 {
		assert.EqualValues(t, unix.SECCOMP_RET_KILL_PROCESS, decide(t, auditArch, x32Bit|unix.SYS_READ))
	}
}
