package gate

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// readSize holds the largest piece that the kernel makes of a dump (32 KiB).
const readSize = 64 << 10

// socket is the netlink socket that owns the tables. Its calls must not overlap.
type socket struct {
	fd     int
	port   uint32 // the kernel's name for this socket: the owner of the tables
	buffer int    // what one message may measure
	in     []byte
}

// dial opens a netfilter socket in the network namespace of this thread.
func dial() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	s := &socket{fd: fd, in: make([]byte, readSize)}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return s, nil
}

func (s *socket) prepare() error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind a netfilter socket: %w", err)
	}
	// An error is answered without a copy of the message that caused it, which
	// would not fit into our buffer.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return fmt.Errorf("set NETLINK_CAP_ACK: %w", err)
	}
	return s.name()
}

// name asks what the kernel calls the socket, and how much it takes at once.
func (s *socket) name() error {
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("name of a netfilter socket: %w", err)
	}
	if nl, ok := name.(*unix.SockaddrNetlink); ok {
		s.port = nl.Pid
	}
	if s.buffer, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil {
		return fmt.Errorf("read SO_SNDBUF: %w", err)
	}
	return nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// grow makes room for a message of n bytes: the kernel takes none that is larger
// than the send buffer.
func (s *socket) grow(n int) {
	if n < s.buffer/2 {
		return
	}
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, n+n/2) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, n+n/2) // EMSGSIZE tells it if that did not do
	}
	if size, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
		s.buffer = size
	}
}

// send hands m to the kernel, which has done it all when the call returns and
// has put its answers into our queue.
func (s *socket) send(m *message) error {
	m.close()
	s.grow(len(m.buf))
	for {
		_, err := unix.Write(s.fd, m.buf)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive reads what the kernel has answered; EAGAIN: nothing more.
func (s *socket) receive() ([]byte, error) {
	for {
		n, err := unix.Read(s.fd, s.in)
		if err == nil {
			return s.in[:n], nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, err
		}
	}
}

// transact runs a batch whose last message asked for an answer. Any error means
// that nothing of it was done.
func (s *socket) transact(m *message) error {
	if err := s.send(m); err != nil {
		return fmt.Errorf("send to nf_tables: %w", err)
	}
	last := m.count - 2 // before the batch's end
	var refusal error
	for {
		b, err := s.receive()
		if errors.Is(err, unix.EAGAIN) {
			if refusal == nil {
				refusal = errors.New("nf_tables did not answer")
			}
			return refusal
		}
		if err != nil {
			return fmt.Errorf("read the answer of nf_tables: %w", err)
		}
		for r, err := range replies(b) {
			if err != nil {
				return err
			}
			i := r.seq - m.first
			if r.kind != unix.NLMSG_ERROR || i >= m.count {
				continue // a late answer to an earlier call
			}
			if r.errno != 0 && refusal == nil {
				refusal = &batchError{index: int(i) - 1, errno: r.errno}
			}
			if i == last && refusal == nil {
				return nil
			}
		}
	}
}

// query sends one request and hands each message of the answer to each, until
// the kernel has no more. It says whether a dump was interrupted by a change.
func (s *socket) query(m *message, each func(reply)) (torn bool, err error) {
	if err := s.send(m); err != nil {
		return false, fmt.Errorf("ask nf_tables: %w", err)
	}
	var refusal error
	for {
		b, err := s.receive()
		if errors.Is(err, unix.EAGAIN) {
			return torn, refusal
		}
		if err != nil {
			return torn, fmt.Errorf("read the answer of nf_tables: %w", err)
		}
		for r, err := range replies(b) {
			if err != nil {
				return torn, err
			}
			if r.seq != m.first {
				continue
			}
			torn = torn || r.flags&unix.NLM_F_DUMP_INTR != 0
			switch {
			case r.kind == unix.NLMSG_ERROR && r.errno != 0:
				refusal = &batchError{errno: r.errno}
			case r.kind > unix.NLMSG_OVERRUN:
				each(r)
			}
		}
	}
}
