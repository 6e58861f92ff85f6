package gate

import "golang.org/x/sys/unix"

// Names of what the tables hold.
const (
	setAddr4 = "addr4"
	setAddr6 = "addr6"
	setLease = "lease"
	setFuse  = "fuse"
)

// From the kernel's headers, where x/sys/unix does not have them.
const (
	nfprotoARP = 3 // NFPROTO_ARP
	arpIn      = 0 // NF_ARP_IN
	arpOut     = 1 // NF_ARP_OUT

	verdictDrop   = 0 // NF_DROP
	verdictAccept = 1 // NF_ACCEPT
)

// Before connection tracking (-200) and address translation (-100), so that
// traffic is judged by the address on the wire; and after source translation
// (100) on the way out.
const (
	beforeTracking   = -300
	afterTranslation = 300
)

// Where the headers have what a rule looks at.
const (
	ip4Source, ip4Target = 12, 16
	ip6Source, ip6Target = 8, 24
	arpSource, arpTarget = 14, 24 // of Ethernet: 6 bytes hardware address
	ndTarget             = 8      // of solicitations and advertisements (RFC 4861, 4.3 and 4.4)

	ndSolicitation  = 135
	ndAdvertisement = 136
)

// table is one of the gate's two tables.
type table struct {
	family byte
	addrs  []string // its sets of addresses
	leases []byte   // the elements of its lease set: the protocols that it lets pass
	chains []chain
}

type chain struct {
	name     string
	hook     uint32
	priority int32
	rules    []rule
}

// rule drops a packet of one protocol when size bytes at offset are in a set.
type rule struct {
	protocol byte // of the network layer; 0: the table has but one
	ndType   byte // of ICMPv6, whose header then holds the address; 0: any packet
	offset   uint32
	size     uint32
	set      string
}

var (
	from4 = rule{protocol: unix.NFPROTO_IPV4, offset: ip4Source, size: 4, set: setAddr4}
	to4   = rule{protocol: unix.NFPROTO_IPV4, offset: ip4Target, size: 4, set: setAddr4}
	from6 = rule{protocol: unix.NFPROTO_IPV6, offset: ip6Source, size: 16, set: setAddr6}
	to6   = rule{protocol: unix.NFPROTO_IPV6, offset: ip6Target, size: 16, set: setAddr6}

	// Neighbour discovery names an address that is neither its source nor its
	// target. The kernel must not be asked for a shut address and must not claim
	// it; that it asks or hears others about it is harmless, and is how a
	// stranger is found.
	asked6   = rule{protocol: unix.NFPROTO_IPV6, ndType: ndSolicitation, offset: ndTarget, size: 16, set: setAddr6}
	claimed6 = rule{protocol: unix.NFPROTO_IPV6, ndType: ndAdvertisement, offset: ndTarget, size: 16, set: setAddr6}

	arpFrom = rule{offset: arpSource, size: 4, set: setAddr4}
	arpTo   = rule{offset: arpTarget, size: 4, set: setAddr4}
)

// tables is the whole gate. Each chain first lets pass what has a lease, then
// drops what is to or from one of the addresses; all else goes its way.
var tables = []table{
	{
		family: unix.NFPROTO_INET,
		addrs:  []string{setAddr4, setAddr6},
		leases: []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6},
		chains: []chain{
			{"prerouting", unix.NF_INET_PRE_ROUTING, beforeTracking, []rule{to4, from4, to6, from6, asked6}},
			{"output", unix.NF_INET_LOCAL_OUT, beforeTracking, []rule{from4, to4, from6, to6, claimed6}},
			{"postrouting", unix.NF_INET_POST_ROUTING, afterTranslation, []rule{from4, to4, from6, to6, claimed6}},
		},
	},
	{
		family: nfprotoARP,
		addrs:  []string{setAddr4},
		leases: []byte{nfprotoARP},
		chains: []chain{
			{"input", arpIn, beforeTracking, []rule{arpTo, arpFrom}},
			{"output", arpOut, beforeTracking, []rule{arpFrom, arpTo}},
		},
	},
}

// rule starts a rule of a chain and gives what endRule needs.
func (m *message) rule(family byte, tableName, chainName string) int {
	m.nft(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, family)
	m.str(unix.NFTA_RULE_TABLE, tableName)
	m.str(unix.NFTA_RULE_CHAIN, chainName)
	return m.attr(unix.NFTA_RULE_EXPRESSIONS | nested)
}

// leaseRule lets a packet pass whose protocol has a lease.
func (m *message) leaseRule(family byte, tableName, chainName string) {
	list := m.rule(family, tableName, chainName)
	m.load(unix.NFT_META_NFPROTO)
	m.lookup(setLease)
	m.verdict(verdictAccept)
	m.done(list)
}

// dropRule drops the packets that r is about.
func (m *message) dropRule(family byte, tableName, chainName string, r rule) {
	list := m.rule(family, tableName, chainName)
	if r.protocol != 0 {
		m.load(unix.NFT_META_NFPROTO)
		m.compare(r.protocol)
	}
	base := uint32(unix.NFT_PAYLOAD_NETWORK_HEADER)
	if r.ndType != 0 {
		m.load(unix.NFT_META_L4PROTO)
		m.compare(unix.IPPROTO_ICMPV6)
		base = unix.NFT_PAYLOAD_TRANSPORT_HEADER
		m.payload(base, 0, 1)
		m.compare(r.ndType)
	}
	m.payload(base, r.offset, r.size)
	m.lookup(r.set)
	m.verdict(verdictDrop)
	m.done(list)
}

// expr opens one expression of a rule, with what endExpr needs.
func (m *message) expr(name string) (elem, data int) {
	elem = m.attr(unix.NFTA_LIST_ELEM | nested)
	m.str(unix.NFTA_EXPR_NAME, name)
	return elem, m.attr(unix.NFTA_EXPR_DATA | nested)
}

func (m *message) endExpr(elem, data int) {
	m.done(data)
	m.done(elem)
}

// load brings a property of the packet into the register that all expressions
// here use.
func (m *message) load(key uint32) {
	elem, data := m.expr("meta")
	m.u32(unix.NFTA_META_DREG, unix.NFT_REG_1)
	m.u32(unix.NFTA_META_KEY, key)
	m.endExpr(elem, data)
}

// payload brings bytes of the packet into the register.
func (m *message) payload(base, offset, size uint32) {
	elem, data := m.expr("payload")
	m.u32(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1)
	m.u32(unix.NFTA_PAYLOAD_BASE, base)
	m.u32(unix.NFTA_PAYLOAD_OFFSET, offset)
	m.u32(unix.NFTA_PAYLOAD_LEN, size)
	m.endExpr(elem, data)
}

// compare goes on only if the register's first byte is value.
func (m *message) compare(value byte) {
	elem, data := m.expr("cmp")
	m.u32(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
	m.u32(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ)
	at := m.attr(unix.NFTA_CMP_DATA | nested)
	m.bytes(unix.NFTA_DATA_VALUE, value)
	m.done(at)
	m.endExpr(elem, data)
}

// lookup goes on only if the register is in a set of the table.
func (m *message) lookup(set string) {
	elem, data := m.expr("lookup")
	m.str(unix.NFTA_LOOKUP_SET, set)
	m.u32(unix.NFTA_LOOKUP_SREG, unix.NFT_REG_1)
	m.endExpr(elem, data)
}

// verdict ends the rule, and the chain, for the packet.
func (m *message) verdict(code uint32) {
	elem, data := m.expr("immediate")
	m.u32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
	at := m.attr(unix.NFTA_IMMEDIATE_DATA | nested)
	inner := m.attr(unix.NFTA_DATA_VERDICT | nested)
	m.u32(unix.NFTA_VERDICT_CODE, code)
	m.done(inner)
	m.done(at)
	m.endExpr(elem, data)
}
