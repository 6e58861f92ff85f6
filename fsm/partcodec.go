package fsm

import (
	"errors"
	"fmt"
)

// partVersion is the first byte of a Part.
const partVersion = 1

// Encode writes a Part: its version and a msgpack body. Equal Parts give equal bytes.
func (p Part) Encode() []byte {
	body, err := marshal(p)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode a part: %v", err)) // plain data, as of a command
	}
	return append([]byte{partVersion}, body...)
}

// DecodePart reads what Encode wrote, and keeps nothing of b.
func DecodePart(b []byte) (Part, error) {
	switch {
	case len(b) == 0:
		return Part{}, errors.New("decode a part: empty")
	case b[0] != partVersion:
		return Part{}, fmt.Errorf("decode a part: version %d is unknown, this program knows %d", b[0], partVersion)
	}
	var p Part
	if err := unmarshal(b[1:], &p); err != nil {
		return Part{}, fmt.Errorf("decode a part: %w", err)
	}
	return p, nil
}
