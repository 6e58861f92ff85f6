package guard

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// The pipe carries frames: the length of what follows (uint32), the version, what
// it is, and a body. Integers are big-endian; entries, peers and the hello are
// JSON, as in the list. Both ends are of one program: another version is an error.
const (
	frameVersion = 1
	frameHead    = 4
	// maxFrame is more than any entry: an item's config is bounded by the
	// configuration file's size.
	maxFrame = 16 << 20
)

type frameKind byte

const (
	frameHello  frameKind = 1 + iota // always the first
	framePut                         // an entry of the list
	frameDrop                        // its number
	frameListed                      // the list was told whole: what follows are changes
	frameLease                       // epoch, end and what the daemon does about it
	framePeers                       // who is to hear a goodbye
	frameKey                         // by which keys it is said
)

// Hello is what a guard needs to know from the start.
type Hello struct {
	PID       int          `json:"pid"`
	Member    fsm.MemberID `json:"member"`
	Host      fsm.Host     `json:"host"` // with the instance
	Process   fsm.Nonce    `json:"process"`
	Key       []byte       `json:"key,omitempty"` // secure.KeySet.Handover
	Cluster   string       `json:"cluster"`
	Heartbeat time.Duration
	Gate      string `json:"gate,omitempty"` // the tables' name
	List      string `json:"list,omitempty"` // the list's path
	LogLevel  string `json:"log_level,omitempty"`
	// Has names the files that were handed over; New sets it.
	Has struct{ Lock, Gate, Socket bool }
}

// Peers is who is to hear a goodbye, and how often.
type Peers struct {
	Cluster   string                  `json:"cluster"`
	Heartbeat time.Duration           `json:"heartbeat"`
	Addrs     map[fsm.MemberID]string `json:"addrs"` // of the voters: host:port
}

// leaseState is what a guard is told of the lease, all at once: the newest wins.
type leaseState struct {
	epoch    fsm.Epoch
	ends     time.Duration
	until    time.Duration // releasing until then; 0: not said
	released bool
	left     bool
}

const (
	leaseSize     = 8 + 8 + 8 + 1
	flagReleased  = 1
	flagLeft      = 2
	knownFlags    = flagReleased | flagLeft
	dropSize      = 8
	errTooLongFmt = "%w: %d bytes"
)

var errFrame = errors.New("malformed frame")

// frame is one message of the pipe, decoded.
type frame struct {
	kind  frameKind
	hello Hello
	entry ledger.Entry
	id    uint64
	lease leaseState
	peers Peers
	key   []byte
}

func rawFrame(kind frameKind, body []byte) []byte {
	b := make([]byte, 0, frameHead+2+len(body))
	b = binary.BigEndian.AppendUint32(b, uint32(2+len(body)))
	return append(append(b, frameVersion, byte(kind)), body...)
}

// encodeFrame writes a frame; JSON of these types cannot fail, but for a config
// that is none: it is then told in quotes.
func encodeFrame(f *frame) ([]byte, error) {
	var body []byte
	var err error
	switch f.kind {
	case frameHello:
		body, err = json.Marshal(&f.hello)
	case framePut:
		body, err = json.Marshal(&f.entry)
	case frameDrop:
		body = binary.BigEndian.AppendUint64(nil, f.id)
	case frameLease:
		body = f.lease.encode()
	case framePeers:
		body, err = json.Marshal(&f.peers)
	case frameKey:
		body = f.key
	case frameListed:
	default:
		err = fmt.Errorf("%w: kind %d", errFrame, f.kind)
	}
	if err == nil && len(body)+2 > maxFrame {
		err = fmt.Errorf(errTooLongFmt, errFrame, len(body))
	}
	if err != nil {
		return nil, fmt.Errorf("encode for the guard: %w", err)
	}
	return rawFrame(f.kind, body), nil
}

func (l leaseState) encode() []byte {
	b := make([]byte, 0, leaseSize)
	b = binary.BigEndian.AppendUint64(b, uint64(l.epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(l.ends))
	b = binary.BigEndian.AppendUint64(b, uint64(l.until))
	var flags byte
	if l.released {
		flags |= flagReleased
	}
	if l.left {
		flags |= flagLeft
	}
	return append(b, flags)
}

// decodeFrame takes the first frame off b; used 0: it is not whole yet.
func decodeFrame(b []byte) (f frame, used int, err error) {
	if len(b) < frameHead {
		return f, 0, nil
	}
	size := binary.BigEndian.Uint32(b)
	if size < 2 || size > maxFrame {
		return f, 0, fmt.Errorf(errTooLongFmt, errFrame, size)
	}
	if uint32(len(b)-frameHead) < size {
		return f, 0, nil
	}
	used = frameHead + int(size)
	body := b[frameHead+2 : used]
	if b[frameHead] != frameVersion {
		return f, 0, fmt.Errorf("%w: version %d, want %d", errFrame, b[frameHead], frameVersion)
	}
	f.kind = frameKind(b[frameHead+1])
	switch f.kind {
	case frameHello:
		err = json.Unmarshal(body, &f.hello)
	case framePut:
		err = json.Unmarshal(body, &f.entry)
	case framePeers:
		err = json.Unmarshal(body, &f.peers)
	case frameDrop:
		if len(body) != dropSize {
			return f, 0, fmt.Errorf(errTooLongFmt, errFrame, len(body))
		}
		f.id = binary.BigEndian.Uint64(body)
	case frameLease:
		f.lease, err = decodeLease(body)
	case frameKey:
		f.key = bytes.Clone(body)
	case frameListed:
		if len(body) != 0 {
			err = errFrame
		}
	default:
		err = fmt.Errorf("kind %d", f.kind)
	}
	if err != nil {
		return f, 0, fmt.Errorf("%w: %w", errFrame, err)
	}
	return f, used, nil
}

func decodeLease(b []byte) (l leaseState, err error) {
	if len(b) != leaseSize || b[leaseSize-1]&^knownFlags != 0 {
		return l, fmt.Errorf("a lease of %d bytes", len(b))
	}
	l.epoch = fsm.Epoch(binary.BigEndian.Uint64(b))
	l.ends = time.Duration(binary.BigEndian.Uint64(b[8:]))
	l.until = time.Duration(binary.BigEndian.Uint64(b[16:]))
	l.released, l.left = b[24]&flagReleased != 0, b[24]&flagLeft != 0
	if l.ends < 0 || l.until < 0 {
		return l, errors.New("a lease before the boot")
	}
	return l, nil
}
