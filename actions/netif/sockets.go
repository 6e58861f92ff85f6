package netif

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	// struct inet_diag_sockid: ports, addresses, interface, cookie.
	diagIDAt   = 4 // in struct inet_diag_msg
	diagIDSize = 48
	diagSource = 4 // in the id
	// The states of TCP connections; 7 is closed, 10 is listening, 6 waits with
	// nothing left to be ended.
	diagStates = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11
)

// DestroySockets ends the TCP connections from and to addresses that this host
// no longer has, so that both ends learn it at once instead of when they next
// time out, and answers how many those were. Listening sockets stay: they may
// well wait for the address to come back. A kernel that cannot do it
// (INET_DIAG_DESTROY) is no error, nor is a connection that just ended.
func (n *Net) DestroySockets(addrs []netip.Addr) (int, error) {
	if n.diag == nil || len(addrs) == 0 {
		return 0, nil
	}
	gone := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		gone[a.Unmap().WithZone("")] = true
	}
	ended := 0
	// IPv4 connections of programs that listen for both families are among the
	// IPv6 ones.
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		ids, err := n.connections(family, gone)
		if err != nil {
			return ended, fmt.Errorf("list the connections: %w", err)
		}
		for first := 0; first < len(ids); first += batchSize {
			some, err := n.destroy(family, ids[first:min(first+batchSize, len(ids))])
			ended += some
			if errors.Is(err, unix.EOPNOTSUPP) {
				return ended, nil
			}
			if err != nil {
				return ended, fmt.Errorf("end connections of addresses that have gone: %w", err)
			}
		}
	}
	return ended, nil
}

// connections lists the connections whose local address has gone, as the
// kernel names them.
func (n *Net) connections(family byte, gone map[netip.Addr]bool) ([][]byte, error) {
	var ids [][]byte
	take := func(body []byte) {
		if len(body) < diagIDAt+diagIDSize {
			return
		}
		id := body[diagIDAt : diagIDAt+diagIDSize]
		size := 4
		if body[0] == unix.AF_INET6 {
			size = 16
		}
		local, _ := netip.AddrFromSlice(id[diagSource : diagSource+size])
		if gone[local.Unmap()] {
			ids = append(ids, append([]byte{}, id...))
		}
	}
	err := n.diag.dump(diagRequest(unix.SOCK_DIAG_BY_FAMILY, family, diagStates, make([]byte, diagIDSize)),
		unix.SOCK_DIAG_BY_FAMILY, func() { ids = ids[:0] }, take)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // no inet_diag, or not for this family
	}
	return ids, err
}

// destroy ends the connections of one batch. Each is named with its cookie, so
// that no later one with the same ports is meant.
func (n *Net) destroy(family byte, ids [][]byte) (ended int, failure error) {
	b := &batch{}
	for _, id := range ids {
		one := diagRequest(unix.SOCK_DESTROY, family, ^uint32(0), id)
		b.at = append(b.at, len(b.buf))
		b.buf = append(b.buf, one.buf...)
	}
	for _, err := range n.diag.do(b) {
		switch {
		case err == nil:
			ended++
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE):
		case errors.Is(err, unix.EPERM):
			failure = ErrForbidden
		default:
			failure = err
		}
	}
	return ended, failure
}

// diagRequest is a struct inet_diag_req_v2.
func diagRequest(kind uint16, family byte, states uint32, id []byte) *batch {
	body := native.AppendUint32([]byte{family, unix.IPPROTO_TCP, 0, 0}, states)
	return ask(kind, append(body, id...)...)
}
