package guard

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Hold keeps open, beyond this process's end, what takes the kernel long to close.
// A process that is killed closes all that it has before anybody is told of its
// death, and an AF_PACKET socket is closed only after a grace period of the
// kernel's: 16 ms each were measured, one after the other. So each such socket is
// also put into a pair of sockets, as descriptors are passed on, of which the guard
// has the other end; it never takes them out, and closes them by its own end.
type Hold struct{ in, out *os.File }

// NewHold makes a Hold; the caller closes it.
func NewHold() (*Hold, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	return &Hold{in: os.NewFile(uintptr(pair[0]), "hold"), out: os.NewFile(uintptr(pair[1]), "hold")}, nil
}

// Add keeps a descriptor open, as long as there is room: some hundred fit. One that
// does not is closed with this process, and costs its time.
func (h *Hold) Add(fd int) {
	raw, err := h.in.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(in uintptr) {
		_ = unix.Sendmsg(int(in), []byte{0}, unix.UnixRights(fd), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
}

// Close lets go of all that nobody else has.
func (h *Hold) Close() error {
	if err := h.in.Close(); err != nil {
		return err
	}
	return h.out.Close()
}
