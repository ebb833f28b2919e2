package runtime

import "golang.org/x/sys/unix"

const (
	auditArch        = unix.AUDIT_ARCH_AARCH64
	x32Bit           = 0 // no second ABI shares the numbers
	sysKexecFileLoad = unix.SYS_KEXEC_FILE_LOAD
)

var deniedHere []uint32
