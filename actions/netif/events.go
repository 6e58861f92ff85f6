package netif

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The kernel may hold the news that a link lost its carrier back for up to a
	// second after any other link's news (net/core/link_watch.c), but tells who
	// asks. So for that long after each event of a link all are asked for.
	settleTime = 1200 * time.Millisecond
	// lookStep is when that is done, and what could not be read is tried again.
	lookStep = 100 * time.Millisecond
	// drainLimit bounds the resyncs under one lock while others make events
	// faster than they can be read.
	drainLimit = 4
)

var eventGroups = []int{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
}

// subscribe opens the socket of the events.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	// Over the system's limit with CAP_NET_ADMIN, else up to it.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventQueue) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, eventQueue)
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, withoutLocalRoutes())
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err), file.Close())
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), file.Close())
	}
	for _, group := range eventGroups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return nil, errors.Join(os.NewSyscallError("setsockopt NETLINK_ADD_MEMBERSHIP", err), file.Close())
		}
	}
	return file, nil
}

// withoutLocalRoutes drops, in the kernel, the events of the local table: each
// address has one there, and nobody here asks for them.
func withoutLocalRoutes() *unix.SockFprog {
	const (
		typeAt  = 4              // nlmsg_type
		tableAt = headerSize + 4 // rtm_table
	)
	// The filter reads numbers in network order, the kernel wrote its own.
	number := func(n uint16) uint32 {
		b := native.AppendUint16(nil, n)
		return uint32(b[0])<<8 | uint32(b[1])
	}
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: typeAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number(unix.RTM_NEWROUTE), Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number(unix.RTM_DELROUTE), Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tableAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.RT_TABLE_LOCAL, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
}

// turn waits for events, or for the time to look again, and deals with them.
func (n *Net) turn(ctx context.Context) error {
	n.mu.Lock()
	var deadline time.Time
	if n.unfinished() {
		deadline = time.Now().Add(lookStep)
	}
	n.mu.Unlock()
	if err := n.file.SetReadDeadline(deadline); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil // its deadline may just have been overwritten
	}
	err := n.raw.Read(func(uintptr) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		// Add may have read from the queue what is to be followed up here.
		return n.drain() || (deadline.IsZero() && n.unfinished())
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
		if ctx.Err() == nil {
			n.lookAgain()
		}
	}
	if err != nil {
		return err
	}
	n.refreshRoutes()
	return nil
}

// unfinished reports whether there is something to look at without an event;
// n.mu is held.
func (n *Net) unfinished() bool { return n.lost || n.stale || n.settle.After(time.Now()) }

// lookAgain reads what events have not told, or not yet.
func (n *Net) lookAgain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	if n.lost {
		n.drain()
		return
	}
	if !n.settle.After(time.Now()) {
		return
	}
	if err := n.readLinks(nil); err != nil {
		n.log.Warn().Err(err).Msg("reading the network interfaces")
	}
}

// drain applies all events that wait; n.mu is held. It reports whether there
// were any. Whoever changed something calls it before he looks at the picture:
// the kernel queues an event before it answers the request that caused it.
func (n *Net) drain() (some bool) {
	if n.closed {
		return false
	}
	for range drainLimit {
		err := n.raw.Control(func(fd uintptr) { some = n.drainQueue(int(fd)) || some })
		if err != nil || !n.lost {
			return some
		}
		some = true
		n.resyncs++
		n.log.Warn().Uint64("resyncs", n.resyncs).Msg("lost netlink events: reading all addresses and links anew")
		if err := n.resync(); err != nil {
			n.log.Error().Err(err).Msg("reading all addresses and links anew")
			return some // Run tries again
		}
	}
	return some
}

// awaitEvent waits until there is an event to be read, or may have been: Run
// reads them too, so it never waits for long.
func (n *Net) awaitEvent() {
	_ = n.raw.Control(func(fd uintptr) {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1)
	})
}

// drainQueue reads until the queue is empty; n.mu is held.
func (n *Net) drainQueue(fd int) (some bool) {
	for {
		size, from, err := unix.Recvfrom(fd, n.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return some
		case err != nil: // ENOBUFS: the queue was full
			some, n.lost = true, true
			if !errors.Is(err, unix.ENOBUFS) {
				return some
			}
			continue
		case size > len(n.buf):
			some, n.lost = true, true
			continue
		case !fromKernel(from):
			continue
		}
		some = true
		if err := eachMessage(n.buf[:size], n.apply); err != nil {
			n.lost = true
		}
	}
}

// apply takes one event into the picture; n.mu is held.
func (n *Net) apply(m message) error {
	switch m.kind {
	case unix.RTM_NEWLINK:
		if l, ok := decodeLink(m.body); ok {
			n.linkSeen(l)
		}
	case unix.RTM_DELLINK:
		if l, ok := decodeLink(m.body); ok {
			n.linkGone(l.index)
		}
	case unix.RTM_NEWADDR:
		if a, ok := decodeAddr(m.body); ok && n.picture.setAddr(a, time.Now()) {
			n.signal()
		}
	case unix.RTM_DELADDR:
		if a, ok := decodeAddr(m.body); ok {
			n.addrGone(a.key)
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if r, ok := decodeRoute(m.body); ok && n.concerns(r) {
			n.stale = true
		}
	}
	return nil
}

func (n *Net) linkSeen(m linkMessage) {
	before, after, changed := n.picture.setLink(m)
	if !changed {
		return
	}
	n.signal()
	if before.Up != after.Up || before.Carrier != after.Carrier {
		n.stale = true // the routes of a link that went down go without a word
		n.settle = time.Now().Add(settleTime)
		n.log.Info().Str("interface", after.Name).Int("index", after.Index).
			Bool("up", after.Up).Bool("carrier", after.Carrier).Msg("interface changed")
	} else if before.Name != after.Name && before.Name != "" {
		n.log.Info().Str("interface", after.Name).Str("before", before.Name).Msg("interface renamed")
	}
}

func (n *Net) linkGone(index int) {
	gone, was := n.picture.dropLink(index)
	if !was {
		return
	}
	n.signal()
	n.stale = true
	n.settle = time.Now().Add(settleTime)
	n.log.Info().Str("interface", gone.Name).Int("index", index).Msg("interface gone")
}

func (n *Net) addrGone(k addrKey) {
	if n.picture.dropAddr(k) {
		n.signal()
		n.stale = true // routes that prefer it as a source go with it
	}
}

// resync reads the whole picture; n.mu is held. Events that were queued before
// are applied after it: an outdated one is followed by the one that undoes it.
func (n *Net) resync() error {
	n.lost = true
	if err := n.readLinks(func(index int) { n.linkGone(index) }); err != nil {
		return err
	}
	if err := n.readAddrs(); err != nil {
		return err
	}
	n.lost, n.stale = false, true
	return nil
}

// readLinks brings the links up to date; gone, if any, is told of those that
// are no longer there.
func (n *Net) readLinks(gone func(index int)) error {
	// Without statistics: RTEXT_FILTER_SKIP_STATS.
	request := &batch{}
	request.begin(unix.RTM_GETLINK, 0, make([]byte, sizeofIfInfomsg)...)
	request.attr(unix.IFLA_EXT_MASK, native.AppendUint32(nil, 1<<3))
	request.end()
	var links []linkMessage
	err := n.dumps.dump(request, unix.RTM_NEWLINK, func() { links = links[:0] }, func(body []byte) {
		if l, ok := decodeLink(body); ok {
			links = append(links, l)
		}
	})
	if err != nil {
		return fmt.Errorf("list the links: %w", err)
	}
	seen := map[int]bool{}
	for _, l := range links {
		seen[l.index] = true
		n.linkSeen(l)
	}
	if gone == nil {
		return nil
	}
	for index := range n.picture.links {
		if !seen[index] {
			gone(index)
		}
	}
	return nil
}

func (n *Net) readAddrs() error {
	var addrs []addrMessage
	request := ask(unix.RTM_GETADDR, make([]byte, sizeofIfAddrmsg)...)
	err := n.dumps.dump(request, unix.RTM_NEWADDR, func() { addrs = addrs[:0] }, func(body []byte) {
		if a, ok := decodeAddr(body); ok {
			addrs = append(addrs, a)
		}
	})
	if err != nil {
		return fmt.Errorf("list the addresses: %w", err)
	}
	now := time.Now()
	seen := make(map[addrKey]bool, len(addrs))
	for _, a := range addrs {
		seen[a.key] = true
		if n.picture.setAddr(a, now) {
			n.signal()
		}
	}
	for k := range n.picture.addrs {
		if !seen[k] {
			n.addrGone(k)
		}
	}
	return nil
}
