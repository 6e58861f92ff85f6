package gate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// What x/sys/unix does not have of linux/netfilter/nf_tables.h.
const (
	tableOwned    = 0x2 // NFT_TABLE_F_OWNER, kernel 5.12
	tablePersists = 0x4 // NFT_TABLE_F_PERSIST, kernel 6.9

	attrTableHandle   = 4  // NFTA_TABLE_HANDLE
	attrTableUserdata = 6  // NFTA_TABLE_USERDATA, kernel 5.10; older ones pass over it
	attrTableOwner    = 7  // NFTA_TABLE_OWNER
	attrSetHandle     = 16 // NFTA_SET_HANDLE
)

const (
	headerLen = unix.NLMSG_HDRLEN + 4 // struct nlmsghdr and struct nfgenmsg
	nested    = unix.NLA_F_NESTED
)

// subsystem is the high byte of the type of every nf_tables message.
const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8

// message lays netlink messages one behind the other. The zero value is ready;
// reset keeps the memory for the next.
type message struct {
	buf   []byte
	first uint32 // sequence number of the first message
	count uint32
	start int // of the message that is being written
}

// reset empties m. The sequence numbers go on from where they were, so that an
// answer to an earlier call is never taken for one to this.
func (m *message) reset() {
	m.first += m.count
	m.buf, m.count, m.start = m.buf[:0], 0, 0
}

// begin starts a message after closing the one before it.
func (m *message) begin(kind, flags uint16, family byte, res uint16) {
	m.close()
	m.start = len(m.buf)
	m.buf = binary.NativeEndian.AppendUint32(m.buf, 0) // the length, by close
	m.buf = binary.NativeEndian.AppendUint16(m.buf, kind)
	m.buf = binary.NativeEndian.AppendUint16(m.buf, flags|unix.NLM_F_REQUEST)
	m.buf = binary.NativeEndian.AppendUint32(m.buf, m.first+m.count)
	m.buf = binary.NativeEndian.AppendUint32(m.buf, 0) // the kernel knows the sender
	m.buf = append(m.buf, family, unix.NFNETLINK_V0)
	m.buf = binary.BigEndian.AppendUint16(m.buf, res)
	m.count++
}

// close writes the length of the message that is open.
func (m *message) close() {
	if len(m.buf) > m.start {
		binary.NativeEndian.PutUint32(m.buf[m.start:], uint32(len(m.buf)-m.start))
	}
}

// batchBegin opens a transaction: what follows up to batchEnd is done whole or
// not at all.
func (m *message) batchBegin() {
	m.begin(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
}

// batchEnd closes the transaction. Its last message alone asks for an answer:
// one that fails is answered unasked, and hundreds of answers would overflow
// the socket although the batch was applied.
func (m *message) batchEnd() {
	flags := m.buf[m.start+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	m.begin(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	m.close()
}

// nft starts a message of nf_tables.
func (m *message) nft(kind, flags uint16, family byte) {
	m.begin(subsystem|kind, flags, family, 0)
}

// attr opens an attribute; done closes it. An attribute's length has 16 bits
// and wraps silently: see chunk.
func (m *message) attr(kind uint16) int {
	at := len(m.buf)
	m.buf = binary.NativeEndian.AppendUint16(m.buf, 0)
	m.buf = binary.NativeEndian.AppendUint16(m.buf, kind)
	return at
}

// done closes the attribute that attr opened at at.
func (m *message) done(at int) {
	binary.NativeEndian.PutUint16(m.buf[at:], uint16(len(m.buf)-at))
	for len(m.buf)%unix.NLA_ALIGNTO != 0 {
		m.buf = append(m.buf, 0)
	}
}

func (m *message) bytes(kind uint16, data ...byte) {
	at := m.attr(kind)
	m.buf = append(m.buf, data...)
	m.done(at)
}

func (m *message) str(kind uint16, s string) {
	at := m.attr(kind)
	m.buf = append(append(m.buf, s...), 0)
	m.done(at)
}

func (m *message) u32(kind uint16, v uint32) {
	at := m.attr(kind)
	m.buf = binary.BigEndian.AppendUint32(m.buf, v)
	m.done(at)
}

func (m *message) u64(kind uint16, v uint64) {
	at := m.attr(kind)
	m.buf = binary.BigEndian.AppendUint64(m.buf, v)
	m.done(at)
}
