package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// idleReceivers is how many receivers of one link and protocol are kept for the
// next question: closing one waits for the kernel's readers, some milliseconds,
// which a question of 5 ms cannot afford each time. More exist only while more
// questions are open at the same time.
const idleReceivers = 4

// largest frame that is read whole; what is longer is no answer.
const largestFrame = 2048

// receiverKey is what a receiver may be used for.
type receiverKey struct {
	index    int // of the link
	protocol uint16
}

// A receiver is a socket bound to a link and a protocol. While it is idle its
// filter lets nothing through, so that it costs nothing.
type receiver struct {
	*socket
	key receiverKey
}

// gone says whether the link was deleted: the kernel has unbound the socket, and
// what is made anew under the same name has another index.
func (r *receiver) gone() bool {
	gone := true
	_ = r.raw.Control(func(fd uintptr) {
		bound, err := unix.Getsockname(int(fd))
		link, ok := bound.(*unix.SockaddrLinklayer)
		gone = err != nil || !ok || link.Ifindex != r.key.index
	})
	return gone
}

// take returns a receiver that lets through what filter does, from now on.
func (w *Wire) take(l Link, protocol uint16, filter []unix.SockFilter) (*receiver, error) {
	r, err := w.receiver(l, protocol)
	if err != nil {
		return nil, err
	}
	err = r.begin(filter)
	if err != nil {
		w.drop(r)
		return nil, fmt.Errorf("listen on %s: %w", l.Name, err)
	}
	return r, nil
}

// receiver returns one that is idle, or a new one; it is put down as running.
func (w *Wire) receiver(l Link, protocol uint16) (*receiver, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	key := receiverKey{l.Index, protocol}
	if kept := w.idle[key]; len(kept) > 0 {
		r := kept[len(kept)-1]
		w.idle[key] = kept[:len(kept)-1]
		w.running[r] = true
		return r, nil
	}
	s, err := openReceiver(w.space, l, protocol)
	if err != nil {
		return nil, err
	}
	w.tell(s)
	r := &receiver{socket: s, key: key}
	w.running[r] = true
	w.log.Debug().Str("socket", s.file.Name()).Str("interface", l.Name).Int("index", l.Index).Msg("socket opened")
	return r, nil
}

// openReceiver makes a socket that is bound, and shut by its filter.
func openReceiver(n namespace, l Link, protocol uint16) (*socket, error) {
	what := map[uint16]string{unix.ETH_P_ARP: "ARP answers", unix.ETH_P_IPV6: "ND answers"}[protocol]
	return openSocket(n, what, unix.AF_PACKET, unix.SOCK_DGRAM, 0, func(fd int) error {
		if err := attach(fd, noFrame); err != nil {
			return err
		}
		if protocol == unix.ETH_P_IPV6 {
			// The answer to a probe is for all nodes, a group that a host without
			// IPv6 on this interface does not listen to.
			group := unix.PacketMreq{Ifindex: int32(l.Index), Type: unix.PACKET_MR_MULTICAST, Alen: macLen}
			copy(group.Address[:], multicastMAC(allNodes))
			if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &group); err != nil {
				return bindError(l, "join all nodes", err)
			}
		}
		if err := unix.Bind(fd, linkTo(l, protocol, nil)); err != nil {
			return bindError(l, "bind", err)
		}
		return nil
	})
}

func bindError(l Link, doing string, err error) error {
	if isAny(err, unix.ENODEV, unix.ENXIO) {
		err = fmt.Errorf("%w (%w)", ErrNoInterface, err)
	}
	return fmt.Errorf("%s on %s: %w", doing, l.Name, err)
}

// attach puts filter in the place of the socket's former one.
func attach(fd int, filter []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("attach a filter",
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program))
}

// begin empties the socket, whose filter was shut, and opens it.
func (r *receiver) begin(filter []unix.SockFilter) (err error) {
	if err := r.file.SetReadDeadline(time.Time{}); err != nil {
		return closedError(err)
	}
	closed := r.raw.Control(func(fd uintptr) {
		// Reading the error clears one from before, when the link may have been down,
		// so that drain meets no other end than an empty socket.
		_, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		drain(int(fd))
		err = attach(int(fd), filter)
	})
	if closed != nil {
		return closedError(closed)
	}
	return err
}

// drain throws away what the socket holds.
func drain(fd int) {
	var b [1]byte
	for {
		if _, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// put takes a receiver back that nobody reads any more. It is kept if it can be
// of use again.
func (w *Wire) put(r *receiver) {
	var err error
	closed := r.raw.Control(func(fd uintptr) { err = attach(int(fd), noFrame) })
	if closed != nil || err != nil {
		w.drop(r)
		return
	}
	w.mu.Lock()
	delete(w.running, r)
	var surplus []*receiver
	if kept := w.idle[r.key]; w.closed || len(kept) >= idleReceivers {
		surplus = append(surplus, r)
	} else {
		w.idle[r.key] = append(kept, r)
	}
	for key, kept := range w.idle {
		if len(kept) > 0 && kept[0].gone() {
			surplus = append(surplus, kept...)
			delete(w.idle, key)
		}
	}
	w.mu.Unlock()
	for _, one := range surplus {
		one.close()
	}
}

// drop closes a receiver that is of no use any more.
func (w *Wire) drop(r *receiver) {
	w.mu.Lock()
	delete(w.running, r)
	w.mu.Unlock()
	r.close()
}

// wake ends a read that waits, and every later one until the next begin.
func (r *receiver) wake() { _ = r.file.SetReadDeadline(time.Unix(1, 0)) }

// read hands each frame to deliver until wake. The bytes are valid during the
// call only.
func (r *receiver) read(l Link, deliver func(frame []byte, from net.HardwareAddr)) error {
	buffer := make([]byte, largestFrame)
	var n int
	var from unix.Sockaddr
	var err error
	receive := func(fd uintptr) bool {
		n, from, err = unix.Recvfrom(int(fd), buffer, 0)
		return !again(err)
	}
	for {
		switch ended := r.raw.Read(receive); {
		case errors.Is(ended, os.ErrDeadlineExceeded):
			return nil
		case ended != nil:
			return closedError(ended)
		case err != nil:
			return fmt.Errorf("listen on %s: %w", l.Name, r.explain(l, err))
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Halen == macLen {
			deliver(buffer[:n], link.Addr[:macLen])
		}
	}
}
