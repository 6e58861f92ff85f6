package gate

import (
	"errors"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Without the right to configure the network everything says so.
func TestForbidden(t *testing.T) {
	lonely(t)
	g := newGate(t, Config{Name: "flip-test"}, options{}) // control: with it
	opened(t, g)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	must(t, unix.Capget(&header, &caps[0]))
	caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	must(t, unix.Capset(&header, &caps[0])) // of this thread alone

	_, err := Open(Config{Name: "flip-new"}, nil)
	if !errors.Is(err, ErrForbidden) {
		t.Errorf("Open: %v", err)
	}
	t.Log(err)
	for name, err := range map[string]error{
		"Add": g.Add(gated), "Shut": g.Shut(), "Dismantle": g.Dismantle(),
		"Renew": g.Renew(nil), // not asked for the lease
	} {
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A kernel without netfilter's sockets has no gate. The filter stands for it: it
// refuses what such a kernel refuses.
func TestUnavailable(t *testing.T) {
	lonely(t)
	newGate(t, Config{Name: "flip-test"}, options{}) // control: without the filter
	refuseNetfilter(t)
	_, err := Open(Config{Name: "flip-new"}, nil)
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("Open: %v", err)
	}
	t.Log(err)
}

// refuseNetfilter makes socket(AF_NETLINK, _, NETLINK_NETFILTER) fail with
// EPROTONOSUPPORT in this thread, which dies with the test.
func refuseNetfilter(t *testing.T) {
	t.Helper()
	const argument = 16 // offset of args[0] in struct seccomp_data, 8 bytes each
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: value}
	}
	program := []unix.SockFilter{
		load(0), unless(unix.SYS_SOCKET, 5),
		load(argument), unless(unix.AF_NETLINK, 3),
		load(argument + 16), unless(unix.NETLINK_NETFILTER, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	must(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0); err != nil {
		t.Skipf("no seccomp filter here: %v", err)
	}
}

func TestExplain(t *testing.T) {
	for errno, want := range map[unix.Errno]error{
		unix.EPERM: ErrForbidden, unix.EACCES: ErrForbidden,
		unix.EPROTONOSUPPORT: ErrUnavailable, unix.EAFNOSUPPORT: ErrUnavailable, unix.EOPNOTSUPP: ErrUnavailable,
	} {
		if err := explain(&batchError{index: 3, errno: errno}); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := explain(unix.ENOMEM); !errors.Is(err, unix.ENOMEM) || errors.Is(err, ErrForbidden) || errors.Is(err, ErrUnavailable) {
		t.Errorf("out of memory: %v", err)
	}
	if explain(nil) != nil {
		t.Error("nil explained")
	}
}
