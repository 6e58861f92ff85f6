package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// receiveSize holds the largest message the kernel makes of a dump (32 KiB).
	receiveSize = 64 << 10
	// eventQueue is the socket's buffer for events: about 10,000 addresses'. What
	// does not fit costs a resync, no more.
	eventQueue = 8 << 20
	// dumpTries bounds how often a dump that others disturbed is begun anew.
	dumpTries = 10
)

var native = binary.NativeEndian

// errDisturbed: a dump was changed under the kernel's hands each time.
var errDisturbed = errors.New("the kernel's list changed while it was read, each time")

// conn is a netlink socket for requests: the kernel handles them within the
// call that sends them, so that no answer is ever waited for.
type conn struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte
}

// dial opens a socket in the current thread's network namespace.
func dial(protocol int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c := &conn{fd: fd, buf: make([]byte, receiveSize)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), c.close())
	}
	// Errors in words, and without an echo of the request: both are only
	// comfort, kernels before 4.12 do without.
	_ = c.option(unix.NETLINK_EXT_ACK, 1)
	_ = c.option(unix.NETLINK_CAP_ACK, 1)
	return c, nil
}

func (c *conn) option(name, value int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, name, value))
}

func (c *conn) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// do sends a batch as one message exchange and answers with one error each,
// nil where the kernel did it. A batch must be small enough for the answers to
// fit the socket's buffer: 100 failures do.
func (c *conn) do(b *batch) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make([]error, len(b.at))
	if len(errs) == 0 {
		return errs
	}
	first := c.seq + 1
	c.seq += uint32(len(b.at))
	for i, at := range b.at {
		native.PutUint32(b.buf[at+8:], first+uint32(i))
	}
	// Failures are always answered. Only the last one's success is asked for: the
	// kernel works through a batch in order.
	last := b.at[len(b.at)-1]
	native.PutUint16(b.buf[last+6:], native.Uint16(b.buf[last+6:])|unix.NLM_F_ACK)
	err := c.send(b.buf)
	for done := false; !done && err == nil; {
		err = c.receive(func(m message) error {
			i := m.seq - first
			if m.kind != unix.NLMSG_ERROR || i >= uint32(len(errs)) {
				return nil // an answer to what a former call gave up
			}
			errs[i] = m.failure()
			done = done || i == uint32(len(errs))-1
			return nil
		})
	}
	if err != nil {
		for i := range errs {
			errs[i] = fmt.Errorf("netlink: %w", err)
		}
	}
	return errs
}

// dump asks for a list, hands each entry of kind to take, and begins again,
// after start, when the list was changed meanwhile.
func (c *conn) dump(request *batch, kind uint16, start func(), take func(body []byte)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	native.PutUint16(request.buf[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	for range dumpTries {
		start()
		disturbed, err := c.dumpOnce(request, kind, take)
		if err != nil || !disturbed {
			return err
		}
	}
	return errDisturbed
}

func (c *conn) dumpOnce(request *batch, kind uint16, take func([]byte)) (disturbed bool, err error) {
	c.seq++
	seq := c.seq
	native.PutUint32(request.buf[8:], seq)
	if err := c.send(request.buf); err != nil {
		return false, err
	}
	var failure error
	for done := false; !done; {
		err := c.receive(func(m message) error {
			if m.seq != seq {
				return nil
			}
			disturbed = disturbed || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done, failure = true, m.failure()
			case kind:
				take(m.body)
			}
			return nil
		})
		if err != nil {
			return false, fmt.Errorf("netlink: %w", err)
		}
	}
	return disturbed, failure
}

func (c *conn) send(b []byte) error {
	for {
		err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// receive hands each message of one datagram to take.
func (c *conn) receive(take func(message) error) error {
	for {
		size, from, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		case size > len(c.buf):
			return fmt.Errorf("a message of %d bytes, over %d", size, len(c.buf))
		case !fromKernel(from):
			continue
		}
		return eachMessage(c.buf[:size], take)
	}
}

// fromKernel keeps out what another process sends to the socket's port.
func fromKernel(from unix.Sockaddr) bool {
	sa, ok := from.(*unix.SockaddrNetlink)
	return ok && sa.Pid == 0
}
