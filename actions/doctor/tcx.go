package doctor

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// progQuery is the part of union bpf_attr that BPF_PROG_QUERY reads and writes,
// as far as counting goes.
type progQuery struct {
	ifindex    uint32
	attachType uint32
	queryFlags uint32
	attach     uint32
	ids        uint64
	count      uint32
	_          uint32
	_          [3]uint64
	revision   uint64
}

// tcx counts the programs that are attached to an interface without a filter, as
// Linux 6.6 and later can; 0 where the kernel or this user cannot.
func tcx(index int) int {
	n := 0
	for _, at := range []uint32{unix.BPF_TCX_INGRESS, unix.BPF_TCX_EGRESS} {
		q := progQuery{ifindex: uint32(index), attachType: at}
		_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&q)), unsafe.Sizeof(q))
		runtime.KeepAlive(&q)
		if errno == 0 {
			n += int(q.count)
		}
	}
	return n
}
