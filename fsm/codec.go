package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// ErrUnknownCommand is returned for a command of a type that this program does
// not know and may not skip. The replica must stop: going on without it would
// let replicas diverge.
var ErrUnknownCommand = errors.New("unknown command")

// skipBit marks a command type that a replica may skip when it does not know it.
const skipBit = 0x80

// handle is the one form in which commands and snapshots are written: fields by
// name, sorted. A field that this program does not know is an error, for the
// same reason as an unknown command is one. No body may contain a map of structs
// (see specBody).
var handle = newHandle()

func newHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.Canonical = true
	h.ErrorIfNoField = true
	h.ErrorIfNoArrayExpand = true
	h.SliceElementReset = true
	return h
}

// Unknown is a command of a type that this program does not know but may skip.
type Unknown struct {
	Kind byte
	Body []byte
}

// Type implements Command.
func (u Unknown) Type() byte { return u.Kind }

// Encode writes a command: its type byte and its msgpack body. Equal commands
// give equal bytes.
func Encode(c Command) []byte {
	var body []byte
	var err error
	switch c := c.(type) {
	case Unknown:
		body = c.Body
	case SetSpec:
		body, err = encodeSetSpec(c)
	case *SetSpec:
		body, err = encodeSetSpec(*c)
	default:
		body, err = marshal(c)
	}
	if err != nil {
		// A command is plain data: only a type that the codec cannot write at all
		// comes here, in the first test that uses it.
		panic(fmt.Sprintf("fsm: encode command 0x%02x: %v", c.Type(), err))
	}
	return append([]byte{c.Type()}, body...)
}

// Decode reads what Encode wrote. It keeps nothing of b, and brings a Spec into
// the one order in which a State keeps it.
func Decode(b []byte) (Command, error) {
	if len(b) == 0 {
		return nil, errors.New("decode command: empty")
	}
	read, ok := decoders[b[0]]
	switch {
	case ok:
		c, err := read(b[1:])
		if err != nil {
			return nil, fmt.Errorf("decode command 0x%02x: %w", b[0], err)
		}
		return c, nil
	case b[0]&skipBit != 0:
		return Unknown{Kind: b[0], Body: slices.Clone(b[1:])}, nil
	default:
		return nil, fmt.Errorf("decode command 0x%02x: %w", b[0], ErrUnknownCommand)
	}
}

var decoders = map[byte]func([]byte) (Command, error){
	TypeBatch:        decodeAs[Batch],
	TypeRegister:     decodeAs[Register],
	TypeSettle:       decodeAs[Settle],
	TypeDown:         decodeAs[Down],
	TypeAssign:       decodeAs[Assign],
	TypeReport:       decodeAs[Report],
	TypeLeave:        decodeAs[Leave],
	TypeForce:        decodeAs[Force],
	TypeFence:        decodeAs[Fence],
	TypeSetSpec:      decodeSetSpec,
	TypeRemoveMember: decodeAs[RemoveMember],
	TypeGoodbye:      decodeAs[Goodbye],
	TypeCleanup:      decodeAs[Cleanup],
	TypeMaintain:     decodeAs[Maintain],
	TypeRotate:       decodeAs[Rotate],
	TypeKeyAck:       decodeAs[KeyAck],
	TypeKeyGo:        decodeAs[KeyGo],
	TypeProbe:        decodeAs[Probe],
}

func decodeAs[T Command](b []byte) (Command, error) {
	var c T
	err := unmarshal(b, &c)
	return c, err
}

func marshal(v any) ([]byte, error) {
	var b []byte
	err := codec.NewEncoderBytes(&b, handle).Encode(v)
	return b, err
}

func unmarshal(b []byte, into any) error {
	return unmarshalWith(codec.NewDecoderBytes(b, handle), b, into)
}

// unmarshalWith uses a decoder that has been set to b.
func unmarshalWith(dec *codec.Decoder, b []byte, into any) error {
	if err := dec.Decode(into); err != nil {
		return err
	}
	if n := dec.NumBytesRead(); n != len(b) {
		return fmt.Errorf("%d bytes too many", len(b)-n)
	}
	return nil
}
