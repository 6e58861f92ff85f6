package gate

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// chunk is how many elements one message names: 4,095 addresses of IPv4 and
// 2,340 of IPv6 fill the 16 bits that an attribute's length has. It also bounds
// how long one transaction of ours makes a renewal wait, to some 2 ms.
const chunk = 1000

// Types of keys, as nft shows them; the kernel only passes them on.
const (
	typeProtocol = 2  // nf_proto
	typeIPv4     = 7  // ipv4_addr
	typeIPv6     = 8  // ipv6_addr
	typeMark     = 19 // mark
)

// comment is shown by nft beside the tables, and signature beside their sets of
// leases: that one says that a table is flip's.
const (
	comment   = "made by flip: shuts its addresses when the lease ends"
	signature = "flip gate 1"

	// From libnftnl's udata.h.
	udataTableComment = 0 // NFTNL_UDATA_TABLE_COMMENT
	udataSetComment   = 7 // NFTNL_UDATA_SET_COMMENT
)

// key is what an element of a set is named by.
type key []byte

// deleteTable deletes the table with this handle and no other that may have
// taken its name since it was looked at.
func (m *message) deleteTable(family byte, handle uint64) {
	m.nft(unix.NFT_MSG_DELTABLE, 0, family)
	m.u64(attrTableHandle, handle)
}

// newTable makes a table with everything in it, shut, and gives the index of the
// message that asks for the owner flags.
func (m *message) newTable(t table, name string, owned bool, lifetime time.Duration, addrs map[netip.Addr]struct{}) int {
	at := int(m.count) - 1
	m.nft(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t.family)
	m.str(unix.NFTA_TABLE_NAME, name)
	flags := uint32(0)
	if owned {
		flags = tableOwned | tablePersists // never the one alone: the table would vanish with our socket
	}
	m.u32(unix.NFTA_TABLE_FLAGS, flags)
	m.note(attrTableUserdata, udataTableComment, comment)
	id := uint32(0)
	for _, set := range t.addrs {
		id++
		kind, size := uint32(typeIPv4), uint32(4)
		if set == setAddr6 {
			kind, size = typeIPv6, 16
		}
		m.newSet(t.family, name, set, id, kind, size, 0)
		m.addAddrs(t.family, name, set, keysOf(set, addrs))
	}
	m.newSet(t.family, name, setLease, id+1, typeProtocol, 1, lifetime)
	if t.family == unix.NFPROTO_INET {
		m.newSet(t.family, name, setFuse, id+2, typeMark, 4, lifetime)
	}
	for _, c := range t.chains {
		m.newChain(t.family, name, c)
		m.leaseRule(t.family, name, c.name)
		for _, r := range c.rules {
			m.dropRule(t.family, name, c.name, r)
		}
	}
	return at
}

// newSet makes a set. One with a lifetime ends its elements: theirs if they name
// none of their own, since an element without one would never end.
func (m *message) newSet(family byte, tableName, set string, id, kind, size uint32, lifetime time.Duration) {
	m.nft(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL, family)
	m.str(unix.NFTA_SET_TABLE, tableName)
	m.str(unix.NFTA_SET_NAME, set)
	m.u32(unix.NFTA_SET_ID, id)
	m.u32(unix.NFTA_SET_KEY_TYPE, kind)
	m.u32(unix.NFTA_SET_KEY_LEN, size)
	if lifetime > 0 {
		m.u32(unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT)
		m.u64(unix.NFTA_SET_TIMEOUT, uint64(lifetime.Milliseconds()))
	}
	if set == setLease {
		m.note(unix.NFTA_SET_USERDATA, udataSetComment, signature)
	}
}

// note attaches a comment in the form that nft shows.
func (m *message) note(kind uint16, udata byte, s string) {
	at := m.attr(kind)
	m.buf = append(m.buf, udata, byte(len(s)+1))
	m.buf = append(append(m.buf, s...), 0)
	m.done(at)
}

func (m *message) newChain(family byte, tableName string, c chain) {
	m.nft(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL, family)
	m.str(unix.NFTA_CHAIN_TABLE, tableName)
	m.str(unix.NFTA_CHAIN_NAME, c.name)
	hook := m.attr(unix.NFTA_CHAIN_HOOK | nested)
	m.u32(unix.NFTA_HOOK_HOOKNUM, c.hook)
	m.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
	m.done(hook)
	m.u32(unix.NFTA_CHAIN_POLICY, verdictAccept)
	m.str(unix.NFTA_CHAIN_TYPE, "filter")
}

// elements writes a message about some elements of a set; none: about all.
// Lifetime 0 names none, which only a deletion or a set without one may do.
func (m *message) elements(kind, flags uint16, family byte, tableName, set string, lifetime time.Duration, keys ...key) {
	m.nft(kind, flags, family)
	m.str(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
	m.str(unix.NFTA_SET_ELEM_LIST_SET, set)
	if len(keys) == 0 {
		return
	}
	list := m.attr(unix.NFTA_SET_ELEM_LIST_ELEMENTS | nested)
	for _, k := range keys {
		elem := m.attr(unix.NFTA_LIST_ELEM | nested)
		at := m.attr(unix.NFTA_SET_ELEM_KEY | nested)
		m.bytes(unix.NFTA_DATA_VALUE, k...)
		m.done(at)
		if lifetime > 0 {
			m.u64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(lifetime.Milliseconds()))
		}
		m.done(elem)
	}
	m.done(list)
}

// addAddrs adds addresses that may be there already.
func (m *message) addAddrs(family byte, tableName, set string, keys []key) {
	for len(keys) > 0 {
		n := min(len(keys), chunk)
		m.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, family, tableName, set, 0, keys[:n]...)
		keys = keys[n:]
	}
}

// deleteAddrs deletes addresses; one that is not there makes the batch fail.
func (m *message) deleteAddrs(family byte, tableName, set string, keys []key) {
	for len(keys) > 0 {
		n := min(len(keys), chunk)
		m.elements(unix.NFT_MSG_DELSETELEM, 0, family, tableName, set, 0, keys[:n]...)
		keys = keys[n:]
	}
}

// keysOf gives those of the addresses that belong in a set.
func keysOf(set string, addrs map[netip.Addr]struct{}) []key {
	var keys []key
	for a := range addrs {
		if a.Is4() == (set == setAddr4) {
			keys = append(keys, a.AsSlice())
		}
	}
	return keys
}

// fuseKey names a fuse. Each has a name of its own: a call that was held up may
// find its fuse gone, and must never find that of a later call in its place.
func fuseKey(n uint32) key {
	return binary.BigEndian.AppendUint32(nil, n)
}
