package secure

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/flip-ha/flip/fsm"
)

// WireVersion is the version of sealed datagrams. It stands in clear, so that a
// node can say "another version" of what it cannot read.
const WireVersion = 1

// A sealed datagram: three letters and the wire version in clear (and sealed
// in, as associated data), a random nonce of 192 bits, which never repeats by
// chance, and the ciphertext of
//
//	born int64 | sequence uint64 | process [16]byte |
//	length byte, name | length byte, instance | body
//
// Integers are big-endian.
const (
	letters    = "flp"
	clearSize  = len(letters) + 1
	prefixSize = clearSize + chacha20poly1305.NonceSizeX
	fixedSize  = 8 + 8 + len(fsm.Nonce{})
	// Overhead is the most that Seal adds to a body, names of 255 bytes included.
	Overhead = prefixSize + chacha20poly1305.Overhead + fixedSize + 2*(1+maxName)
)

// maxName is the longest name or instance that its length byte can tell.
const maxName = 255

// Why a datagram was not opened.
var (
	// ErrShort: too short to be a sealed datagram.
	ErrShort = errors.New("datagram too short")
	// ErrForeign: not sealed with this key, or damaged.
	ErrForeign = errors.New("datagram does not verify: another key, or not flip's")
	// ErrVersion: it says that it is of another wire version.
	ErrVersion = errors.New("datagram of another wire version")
	// ErrReplay: it verifies and was here before, or may have been.
	ErrReplay = errors.New("datagram seen before")
)

// Sender is who sealed a datagram.
type Sender struct {
	Name     fsm.MemberID
	Instance string
	Process  fsm.Nonce
}

// Box seals the datagrams of one process and opens those of the others. It is
// safe for concurrent use. A process has exactly one: a second one with the
// same Sender would number its datagrams from 1 again.
//
// Its keys may change: sequence numbers and the memory of what was opened go on, so
// that a datagram is not taken twice because it came under two keys.
type Box struct {
	ciphers *atomic.Pointer[ciphers]
	self    Sender
	head    []byte // born, room for the sequence, process, names
	seq     atomic.Uint64
	mu      sync.Mutex
	memory  memory
}

// Box makes the Box of the process self. Names longer than 255 bytes are cut;
// the configuration allows none.
func (k *Keys) Box(self Sender) *Box {
	b := newBox(self)
	set := &ciphers{}
	set.add(k)
	b.ciphers.Store(set)
	return b
}

// Box is that of a process whose keys are those of the ring, whenever they change.
func (r *Ring) Box(self Sender) *Box {
	b := newBox(self)
	b.ciphers = &r.ciphers
	return b
}

func newBox(self Sender) *Box {
	head := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))
	head = binary.BigEndian.AppendUint64(head, 0)
	head = append(head, self.Process[:]...)
	head = appendName(head, string(self.Name))
	head = appendName(head, self.Instance)
	return &Box{
		ciphers: &atomic.Pointer[ciphers]{}, self: self, head: head,
		memory: memory{names: make(map[fsm.MemberID]*runs)},
	}
}

func appendName(to []byte, name string) []byte {
	name = name[:min(len(name), maxName)]
	return append(append(to, byte(len(name))), name...)
}

// Seal makes the datagram that carries body.
func (b *Box) Seal(body []byte) []byte { return b.seal(b.ciphers.Load().list[0], body) }

// SealAll makes one for each key that counts: for who cannot know any more by which
// the others go. Whoever opens two of them takes each in.
func (b *Box) SealAll(body []byte) [][]byte {
	set := b.ciphers.Load()
	out := make([][]byte, 0, set.good)
	for _, c := range set.list[:set.good] {
		out = append(out, b.seal(c, body))
	}
	return out
}

func (b *Box) seal(with cipher.AEAD, body []byte) []byte {
	size := prefixSize + len(b.head) + len(body) + chacha20poly1305.Overhead
	out := make([]byte, prefixSize, size)
	copy(out, letters)
	out[len(letters)] = WireVersion
	_, _ = rand.Read(out[clearSize:]) // never fails: it ends the process instead
	out = append(out, b.head...)
	binary.BigEndian.PutUint64(out[prefixSize+8:], b.seq.Add(1))
	out = append(out, body...)
	sealed := with.Seal(out[prefixSize:prefixSize], out[clearSize:prefixSize], out[prefixSize:], out[:clearSize])
	return out[:prefixSize+len(sealed)]
}

// Open says who sent the datagram and returns its body. It decrypts in place:
// the datagram's bytes are overwritten, and the body is part of them. The error
// is one of ErrShort, ErrForeign, ErrVersion, ErrRotatedAway and ErrReplay.
func (b *Box) Open(datagram []byte) (Sender, []byte, error) {
	if len(datagram) < prefixSize+chacha20poly1305.Overhead+fixedSize+2 {
		return Sender{}, nil, ErrShort
	}
	if string(datagram[:len(letters)]) != letters {
		return Sender{}, nil, ErrForeign
	}
	if datagram[len(letters)] != WireVersion {
		return Sender{}, nil, ErrVersion
	}
	plain, err := b.ciphers.Load().open(datagram)
	if err != nil {
		return Sender{}, nil, err
	}
	h, body, ok := parseHeader(plain)
	if !ok {
		return Sender{}, nil, ErrShort
	}
	if h.process == b.self.Process {
		return Sender{}, nil, ErrReplay // this process's own, thrown back at it
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	from, fresh := b.memory.take(&h)
	if !fresh {
		return Sender{}, nil, ErrReplay
	}
	return from, body, nil
}

// parseHeader splits what was sealed. The bytes are authentic, but a node with a
// defect has the key too.
func parseHeader(plain []byte) (h header, body []byte, ok bool) {
	if len(plain) < fixedSize {
		return h, nil, false
	}
	h.born = int64(binary.BigEndian.Uint64(plain))
	h.seq = binary.BigEndian.Uint64(plain[8:])
	copy(h.process[:], plain[16:])
	rest := plain[fixedSize:]
	if h.name, rest, ok = cutName(rest); !ok || len(h.name) == 0 {
		return h, nil, false
	}
	if h.instance, rest, ok = cutName(rest); !ok {
		return h, nil, false
	}
	return h, rest, true
}

func cutName(from []byte) (name, rest []byte, ok bool) {
	if len(from) == 0 || len(from) < 1+int(from[0]) {
		return nil, nil, false
	}
	return from[1 : 1+int(from[0])], from[1+int(from[0]):], true
}
