package gate

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// reader reads the tables of a name by a socket.
type reader struct {
	name string
	sock *socket
	out  *message
}

func (g *Gate) reader() reader { return reader{g.name, g.sock, &g.out} }

// element is what the kernel tells of an element of a set.
type element struct {
	ends time.Duration // 0: never
}

// elements reads a whole set, of about hint elements. One that changes meanwhile is read again; then
// all that was seen in any of the readings is given.
func (r reader) elements(family byte, set string, hint int) (map[string]element, error) {
	all := make(map[string]element, hint)
	for range buildAttempts {
		r.out.reset()
		r.out.elements(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, family, r.name, set, 0)
		torn, err := r.sock.query(r.out, func(told reply) { collect(all, told.body) })
		if err != nil || !torn {
			return all, err
		}
	}
	return all, nil
}

// collect adds the elements that a message tells of.
func collect(all map[string]element, body []byte) {
	for _, elem := range attrs(find(body, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
		k := find(find(elem, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE)
		ends := number(find(elem, unix.NFTA_SET_ELEM_EXPIRATION))
		all[string(k)] = element{ends: time.Duration(min(ends, uint64(time.Hour.Milliseconds()))) * time.Millisecond}
	}
}

// few is how many elements are asked for by name at once: each answer takes some
// 4 KiB of the socket's 200. More of them are first read with their whole set,
// which the kernel hands over in pieces that cannot overflow us.
const few = 32

// absent gives those of want that a set does not hold, asking by name for what a
// reading of the whole set has not shown: while the kernel rehashes a set that
// grows, such a reading passes over some of its elements, and says nothing.
func (r reader) absent(family byte, set string, want []key, have map[string]element) ([]key, error) {
	var rest, gone []key
	for _, k := range want {
		if _, ok := have[string(k)]; !ok {
			rest = append(rest, k)
		}
	}
	for len(rest) > 0 {
		portion := rest[:min(few, len(rest))]
		n := 0
		r.out.reset()
		r.out.elements(unix.NFT_MSG_GETSETELEM, 0, family, r.name, set, 0, portion...)
		_, err := r.sock.query(r.out, func(reply) { n++ })
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		if n < len(portion) { // the first that is not there ends the answer
			gone = append(gone, portion[n])
			n++
		}
		rest = rest[n:]
	}
	return gone, nil
}

// inside are those of addrs that the tables hold: all of them hold the same.
func (r reader) inside(addrs []netip.Addr) ([]netip.Addr, error) {
	wanted := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		wanted[a] = struct{}{}
	}
	for _, set := range tables[0].addrs {
		keys := keysOf(set, wanted)
		have, err := r.elements(tables[0].family, set, len(keys))
		if err != nil {
			return nil, err
		}
		gone, err := r.absent(tables[0].family, set, keys, have)
		if err != nil {
			return nil, err
		}
		for _, k := range gone {
			if a, ok := netip.AddrFromSlice(k); ok {
				delete(wanted, a)
			}
		}
	}
	return slices.Collect(maps.Keys(wanted)), nil
}
