package netif

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errMalformed: a message that ends before it should. The kernel sends none.
var errMalformed = errors.New("malformed netlink message")

const headerSize = unix.SizeofNlMsghdr

// batch is a row of netlink messages that are sent by one call.
type batch struct {
	buf []byte
	at  []int // where each message begins
}

// begin starts a message with the family's own header.
func (b *batch) begin(kind, flags uint16, header ...byte) {
	b.at = append(b.at, len(b.buf))
	b.buf = native.AppendUint32(b.buf, 0) // its length: end knows it
	b.buf = native.AppendUint16(b.buf, kind)
	b.buf = native.AppendUint16(b.buf, flags|unix.NLM_F_REQUEST)
	b.buf = append(b.buf, make([]byte, 8)...) // sequence number: conn's; port: the kernel's
	b.buf = append(b.buf, header...)
}

// attr adds one attribute to the message begun last.
func (b *batch) attr(kind uint16, value []byte) {
	b.buf = native.AppendUint16(b.buf, uint16(4+len(value)))
	b.buf = native.AppendUint16(b.buf, kind)
	b.buf = append(b.buf, value...)
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

// end closes the message begun last.
func (b *batch) end() {
	at := b.at[len(b.at)-1]
	native.PutUint32(b.buf[at:], uint32(len(b.buf)-at))
}

// ask is a request of one message without attributes.
func ask(kind uint16, header ...byte) *batch {
	b := &batch{}
	b.begin(kind, 0, header...)
	b.end()
	return b
}

// message is one netlink message that was received.
type message struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

// eachMessage takes a datagram apart.
func eachMessage(b []byte, take func(message) error) error {
	for len(b) >= headerSize {
		size := native.Uint32(b)
		if size < headerSize || uint64(size) > uint64(len(b)) {
			return errMalformed
		}
		m := message{
			kind:  native.Uint16(b[4:]),
			flags: native.Uint16(b[6:]),
			seq:   native.Uint32(b[8:]),
			body:  b[headerSize:size],
		}
		if err := take(m); err != nil {
			return err
		}
		b = b[min(align(int(size)), len(b)):]
	}
	return nil
}

// align rounds up to the four bytes at which messages and attributes begin.
func align(n int) int { return (n + 3) &^ 3 }

// failure is the error that a NLMSG_ERROR or NLMSG_DONE carries; nil: none.
func (m message) failure() error {
	if len(m.body) < 4 {
		return nil
	}
	code := int32(native.Uint32(m.body))
	if code >= 0 {
		return nil
	}
	errno := unix.Errno(-code)
	rest := m.body[4:]
	if m.flags&unix.NLM_F_ACK_TLVS == 0 || m.kind != unix.NLMSG_ERROR || len(rest) < headerSize {
		return errno
	}
	skip := headerSize // of the request; the whole of it where NETLINK_CAP_ACK is unknown
	if m.flags&unix.NLM_F_CAPPED == 0 {
		skip = min(align(int(native.Uint32(rest))), len(rest))
	}
	var words string
	eachAttr(rest[skip:], func(kind uint16, value []byte) {
		if kind == unix.NLMSGERR_ATTR_MSG {
			words = text(value)
		}
	})
	if words == "" {
		return errno
	}
	return fmt.Errorf("%w (%s)", errno, words)
}

// eachAttr takes attributes apart. It stops at the first that does not fit.
func eachAttr(b []byte, take func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		size := int(native.Uint16(b))
		if size < 4 || size > len(b) {
			return
		}
		take(native.Uint16(b[2:])&^unix.NLA_F_NESTED, b[4:size])
		b = b[min(align(size), len(b)):]
	}
}

// text is a string attribute without its end.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
