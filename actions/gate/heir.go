package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// heirsFirst is where an heir's sequence numbers begin: far from those of the
// process before it, whose answers may still lie in the socket that they share.
const heirsFirst = 1 << 31

// File is the socket that owns the tables, for a process that is to outlive this
// one: see Inherit. The caller closes it.
func (g *Gate) File() (*os.File, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrClosed
	}
	fd, err := unix.FcntlInt(uintptr(g.sock.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hand on gate %s: %w", g.name, err)
	}
	return os.NewFile(uintptr(fd), "gate"), nil
}

// Handle is what an heir of the gate's socket may do: shut, and take out what is
// gone. As long as it is open the tables have their owner, also when the process
// that built them is dead. Its methods may be called from any goroutine, but not
// while the process that it inherits from works on the gate too: they would take
// each other's answers.
type Handle struct {
	name string
	file *os.File

	mu   sync.Mutex
	sock *socket
	out  message
}

// Inherit takes over the socket that a Gate of that name gave by File. It owns f
// from now on.
func Inherit(f *os.File, name string) (*Handle, error) {
	// Not by f.Fd, which sets the socket to blocking for the other side too.
	s := &socket{in: make([]byte, readSize)}
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { s.fd = int(fd) })
	}
	if err == nil {
		err = s.name()
	}
	if err != nil {
		return nil, fmt.Errorf("inherit gate %s: %w", name, err)
	}
	return &Handle{name: name, file: f, sock: s, out: message{first: heirsFirst}}, nil
}

// Shut closes the gate now, and puts out the fuses: a renewal that has been held
// up on its way is refused, though its lease may run.
func (h *Handle) Shut() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sock == nil {
		return ErrClosed
	}
	h.forget()
	h.out.shut(h.name)
	if err := h.sock.transact(&h.out); err != nil {
		return fmt.Errorf("shut gate %s: %w", h.name, explain(err))
	}
	return nil
}

// Remove takes addresses out; one that is not inside is fine. They must have been
// removed from the machine before.
func (h *Handle) Remove(addrs []netip.Addr) error {
	list, err := normal(addrs)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sock == nil {
		return ErrClosed
	}
	h.forget()
	err = h.removeAll(list)
	if _, absent := refused(err, unix.ENOENT); absent {
		// Some were never inside, of ten thousand that were about to be. Each batch that
		// is refused costs as much as one that is not: some milliseconds where the
		// kernel has other things to do.
		if list, err = (reader{h.name, h.sock, &h.out}).inside(list); err == nil {
			err = h.removeAll(list)
		}
	}
	if err != nil {
		return fmt.Errorf("remove addresses from gate %s: %w", h.name, explain(err))
	}
	return nil
}

func (h *Handle) removeAll(list []netip.Addr) error {
	var errs []error
	for portion := range slices.Chunk(list, chunk) {
		errs = append(errs, h.remove(portion))
	}
	return errors.Join(errs...)
}

func (h *Handle) remove(addrs []netip.Addr) error {
	these := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		these[a] = struct{}{}
	}
	h.out.reset()
	h.out.batchBegin()
	for _, t := range tables {
		for _, set := range t.addrs {
			h.out.deleteAddrs(t.family, h.name, set, keysOf(set, these))
		}
	}
	h.out.batchEnd()
	return h.sock.transact(&h.out)
}

// forget throws away what was answered to the process before, so that there is
// room for answers to this one.
func (h *Handle) forget() {
	for {
		if _, err := h.sock.receive(); errors.Is(err, unix.EAGAIN) || err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
	}
}

// Close gives up the socket. The tables stay, without an owner if nobody else has
// it: whoever opens the gate next takes them over.
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sock == nil {
		return nil
	}
	h.sock = nil
	if err := h.file.Close(); err != nil {
		return fmt.Errorf("close gate %s: %w", h.name, err)
	}
	return nil
}
