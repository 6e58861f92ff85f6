package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// errMalformed is what a message from the kernel that cannot be read gives.
var errMalformed = errors.New("malformed netlink message")

// reply is one netlink message of the kernel's.
type reply struct {
	kind   uint16
	flags  uint16
	seq    uint32
	port   uint32 // whose transaction it tells of; 0: the kernel's own
	family byte
	body   []byte // after struct nfgenmsg; of an error after its errno
	errno  unix.Errno
}

// replies takes a datagram apart. It yields an error once, at the end.
func replies(b []byte) iter.Seq2[reply, error] {
	return func(yield func(reply, error) bool) {
		for len(b) > 0 {
			r, rest, err := oneReply(b)
			if !yield(r, err) || err != nil {
				return
			}
			b = rest
		}
	}
}

func oneReply(b []byte) (r reply, rest []byte, err error) {
	if len(b) < unix.NLMSG_HDRLEN {
		return r, nil, fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	length := int(binary.NativeEndian.Uint32(b))
	if length < unix.NLMSG_HDRLEN || length > len(b) {
		return r, nil, fmt.Errorf("%w: length %d of %d", errMalformed, length, len(b))
	}
	r.kind = binary.NativeEndian.Uint16(b[4:])
	r.flags = binary.NativeEndian.Uint16(b[6:])
	r.seq = binary.NativeEndian.Uint32(b[8:])
	r.port = binary.NativeEndian.Uint32(b[12:])
	body := b[unix.NLMSG_HDRLEN:length]
	rest = b[min(len(b), align(length)):]
	switch r.kind {
	case unix.NLMSG_ERROR:
		if len(body) < 4 {
			return r, nil, fmt.Errorf("%w: an error of %d bytes", errMalformed, len(body))
		}
		r.errno = unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
		r.body = body[4:]
	case unix.NLMSG_DONE, unix.NLMSG_NOOP, unix.NLMSG_OVERRUN:
	default:
		if len(body) < 4 {
			return r, nil, fmt.Errorf("%w: no nfgenmsg", errMalformed)
		}
		r.family, r.body = body[0], body[4:]
	}
	return r, rest, nil
}

// attrs yields the attributes of b, without the flags of their types, and stops
// at the first that is not whole.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.NLA_HDRLEN {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.NLA_HDRLEN || length > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.NLA_HDRLEN:length]) {
				return
			}
			b = b[min(len(b), align(length)):]
		}
	}
}

// find gives the first attribute of a kind; nil: there is none.
func find(b []byte, kind uint16) []byte {
	for k, data := range attrs(b) {
		if k == kind {
			return data
		}
	}
	return nil
}

func align(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }

func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func number(b []byte) uint64 {
	switch len(b) {
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}
