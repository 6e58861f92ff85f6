package secure

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// Handover is the key of sealed datagrams alone, for a process that speaks for
// this one after its death: BoxOf makes a Box of it. It is as secret as the shared
// key: never in an argument, an environment or a file.
func (k *Keys) Handover() []byte {
	key := k.datagram
	return key[:]
}

// Handover is that of all keys that count, one behind the other: first the one that is
// sent by.
func (s KeySet) Handover() []byte {
	var out []byte
	for _, k := range s.counting() {
		out = append(out, k.Handover()...)
	}
	return out
}

// BoxOf makes the Box of the process self from what Handover gave. self may have
// the name and the instance of the process that it speaks for, and must have a
// process number of its own: receivers count each process's datagrams apart, and
// so take those of the one as well as those of the other.
func BoxOf(handover []byte, self Sender) (*Box, error) {
	set, err := ciphersOf(handover)
	if err != nil {
		return nil, err
	}
	b := newBox(self)
	b.ciphers.Store(set)
	return b, nil
}

// Rekey goes on with what a later Handover gave. Datagrams are counted on: what was
// opened under one key is not opened again under another.
func (b *Box) Rekey(handover []byte) error {
	set, err := ciphersOf(handover)
	if err != nil {
		return err
	}
	b.ciphers.Store(set)
	return nil
}

func ciphersOf(handover []byte) (*ciphers, error) {
	const size = chacha20poly1305.KeySize
	if len(handover) == 0 || len(handover)%size != 0 {
		return nil, fmt.Errorf("the key of datagrams has %d bytes, want %d", len(handover), size)
	}
	set := &ciphers{}
	for ; len(handover) > 0; handover = handover[size:] {
		var k Keys
		copy(k.datagram[:], handover)
		if k.datagram == [size]byte{} {
			return nil, errors.New("the key of datagrams is empty")
		}
		set.add(&k)
	}
	return set, nil
}
