package udp

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// kind is the byte that says what a packet carries. A number that is retired
// stays taken.
type kind byte

const (
	kindHeartbeat  kind = 0x01
	kindAck        kind = 0x02
	kindBallot     kind = 0x03
	kindGoodbye    kind = 0x04
	kindGoodbyeAck kind = 0x05
	// kindHail says "I am here" and nothing else: it has no meaning to leases.
	kindHail kind = 0x20
)

// Bounds. A packet is what is sealed: cluster, addressee, kind, body.
const (
	// maxDatagram keeps what is sent all the time in one frame: 1,500 bytes less
	// IPv6 and UDP, less a tunnel's header.
	maxDatagram = 1400
	// maxPacket bounds the rest (lists of voters, goodbyes), which IP may cut
	// into fragments; UDP ends at 65,507.
	maxPacket = 60_000
	// maxName bounds what is told by a length byte.
	maxName = 255
	// maxList bounds the voters in an Ack and the polls in a Heartbeat: more than
	// a cluster has members.
	maxList = 4096
	// maxKept bounds a goodbye's items; maxPacket is reached long before.
	maxKept = 1 << 15
	// longest is more than any clock since boot shows: 136 years.
	longest = 1 << 32 * time.Second
)

var (
	// errKind: a packet of a kind this release does not know.
	errKind = errors.New("unknown kind of message")
	// errMalformed: not what its kind says.
	errMalformed = errors.New("malformed message")
	// errTooLong: more than fits into a datagram.
	errTooLong = errors.New("message too long for a datagram")
)

// packet is one message with its envelope.
type packet struct {
	cluster string // "" while the sender belongs to none yet
	to      fsm.MemberID
	kind    kind
	msg     liveness.Message // nil for a Hail
}

// handle is stateless and shared. Bodies are maps by field name: a field that a
// release does not know is passed over.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.MaxDepth = 16 // the deepest body has 5
	return h
}()

// kindOf is the kind of a message; 0 for what cannot be sent.
func kindOf(msg liveness.Message) kind {
	switch msg.(type) {
	case liveness.Heartbeat:
		return kindHeartbeat
	case liveness.Ack:
		return kindAck
	case liveness.Ballot:
		return kindBallot
	case liveness.Goodbye:
		return kindGoodbye
	case liveness.GoodbyeAck:
		return kindGoodbyeAck
	default:
		return 0
	}
}

// encode writes a packet: length byte and cluster, length byte and addressee,
// kind, msgpack body.
func encode(p packet) ([]byte, error) {
	if len(p.cluster) > maxName || len(p.to) > maxName {
		return nil, fmt.Errorf("encode for %.32s: %w: a name of over %d bytes", p.to, errTooLong, maxName)
	}
	out := make([]byte, 0, 256)
	out = append(append(out, byte(len(p.cluster))), p.cluster...)
	out = append(append(out, byte(len(p.to))), p.to...)
	out = append(out, byte(p.kind))
	if p.kind == kindHail {
		return out, nil
	}
	if p.msg == nil || kindOf(p.msg) != p.kind {
		return nil, fmt.Errorf("encode %T: %w", p.msg, errKind)
	}
	var body []byte
	if err := codec.NewEncoderBytes(&body, handle).Encode(p.msg); err != nil {
		return nil, fmt.Errorf("encode %T: %w", p.msg, err)
	}
	if len(out)+len(body) > maxPacket {
		return nil, fmt.Errorf("encode %T of %d bytes: %w", p.msg, len(body), errTooLong)
	}
	return append(out, body...), nil
}

// decode reads a packet. It keeps nothing of raw. Who sent it has the key, but
// may have a defect: nothing in raw is believed that could cost more than raw
// itself did.
func decode(raw []byte) (packet, error) {
	var p packet
	if len(raw) > maxPacket {
		return p, errTooLong
	}
	cluster, rest, ok := cutName(raw)
	if !ok {
		return p, errMalformed
	}
	to, rest, ok := cutName(rest)
	if !ok || len(rest) == 0 {
		return p, errMalformed
	}
	p.cluster, p.to, p.kind = cluster, fsm.MemberID(to), kind(rest[0])
	body := rest[1:]
	var err error
	switch p.kind {
	case kindHeartbeat:
		p.msg, err = decodeBody(body, checkHeartbeat)
	case kindAck:
		p.msg, err = decodeBody(body, checkAck)
	case kindBallot:
		p.msg, err = decodeBody(body, checkBallot)
	case kindGoodbye:
		p.msg, err = decodeBody(body, checkGoodbye)
	case kindGoodbyeAck:
		p.msg, err = decodeBody(body, checkGoodbyeAck)
	case kindHail:
	default:
		err = fmt.Errorf("%w 0x%02x", errKind, byte(p.kind))
	}
	return p, err
}

func cutName(from []byte) (name string, rest []byte, ok bool) {
	if len(from) == 0 || len(from) < 1+int(from[0]) {
		return "", nil, false
	}
	return string(from[1 : 1+int(from[0])]), from[1+int(from[0]):], true
}

// decodeBody reads one msgpack value that fills body and passes check.
func decodeBody[M liveness.Message](body []byte, check func(*M) bool) (liveness.Message, error) {
	var m M
	if len(body) == 0 || !opensMap(body[0]) {
		return nil, errMalformed // nil or a list would pass for a message too
	}
	d := codec.NewDecoderBytes(body, handle)
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if d.NumBytesRead() != len(body) || !check(&m) {
		return nil, errMalformed
	}
	return m, nil
}

// opensMap reports whether b begins a msgpack map: a small one, or one whose
// length stands in the next two or four bytes.
func opensMap(b byte) bool { return b&0xf0 == 0x80 || b == 0xde || b == 0xdf }

func sane(ds ...time.Duration) bool {
	for _, d := range ds {
		if d < 0 || d > longest {
			return false
		}
	}
	return true
}

func saneName[S ~string](names ...S) bool {
	for _, n := range names {
		if len(n) > 2*maxName+1 { // a VoterID is two names and a slash
			return false
		}
	}
	return true
}

func checkPoll(p *liveness.Poll) bool {
	return sane(p.At) && saneName(p.By) && saneName(p.Of)
}

func checkHeartbeat(m *liveness.Heartbeat) bool {
	if !sane(m.Sent) || len(m.Polls) > maxList {
		return false
	}
	for i := range m.Polls {
		if !checkPoll(&m.Polls[i]) {
			return false
		}
	}
	return true
}

func checkAck(m *liveness.Ack) bool {
	return sane(m.Sent, m.TTL) && len(m.Voters.IDs) <= maxList && saneName(m.Voters.IDs...)
}

func checkBallot(m *liveness.Ballot) bool {
	return checkPoll(&m.Poll) && saneName(m.Voter) && sane(m.Silent, m.TTL)
}

func checkGoodbye(m *liveness.Goodbye) bool {
	if len(m.Kept) > maxKept || !saneName(m.Member) ||
		!saneName(m.Host.Machine, m.Host.Boot, m.Host.Instance) {
		return false
	}
	for _, k := range m.Kept {
		if k.Rank < 0 {
			return false
		}
	}
	return true
}

func checkGoodbyeAck(m *liveness.GoodbyeAck) bool { return m.Kept >= 0 && m.Kept <= maxKept }
