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

// BoxOf makes the Box of the process self from what Handover gave. self may have
// the name and the instance of the process that it speaks for, and must have a
// process number of its own: receivers count each process's datagrams apart, and
// so take those of the one as well as those of the other.
func BoxOf(handover []byte, self Sender) (*Box, error) {
	if len(handover) != chacha20poly1305.KeySize {
		return nil, fmt.Errorf("the key of datagrams has %d bytes, want %d", len(handover), chacha20poly1305.KeySize)
	}
	k := &Keys{}
	copy(k.datagram[:], handover)
	if k.datagram == [chacha20poly1305.KeySize]byte{} {
		return nil, errors.New("the key of datagrams is empty")
	}
	return k.Box(self), nil
}
