package runtime

import "golang.org/x/sys/unix"

const (
	auditArch        = unix.AUDIT_ARCH_X86_64
	x32Bit           = 0x40000000
	sysKexecFileLoad = unix.SYS_KEXEC_FILE_LOAD
)

// deniedHere are the calls that only this architecture has, most of them relics.
var deniedHere = []uint32{
	unix.SYS_IOPERM, unix.SYS_IOPL, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS,
	unix.SYS__SYSCTL, unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_QUERY_MODULE,
	unix.SYS_MODIFY_LDT,
}
