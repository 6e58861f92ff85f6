package secure

import (
	"crypto/cipher"
	"fmt"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

// ciphers are the datagram keys of a moment; nothing of it changes.
type ciphers struct {
	list []cipher.AEAD
	good int // so many of them count, the first is sent by; the others were rotated away
}

// add takes in a key that counts, behind those there are.
func (c *ciphers) add(k *Keys) {
	c.list = append(c.list, k.aead())
	c.good = len(c.list)
}

func (k *Keys) aead() cipher.AEAD {
	aead, err := chacha20poly1305.NewX(k.datagram[:])
	if err != nil {
		panic(fmt.Sprintf("a key of %d bytes: %v", len(k.datagram), err)) // the size is the array's
	}
	return aead
}

// spares are buffers for what does not verify at once.
var spares = sync.Pool{New: func() any { return new([]byte) }}

// open decrypts a datagram in place. A key under which it does not verify destroys
// it: where there is more than one, a copy is kept aside.
func (c *ciphers) open(datagram []byte) ([]byte, error) {
	nonce, sealed, clear := datagram[clearSize:prefixSize], datagram[prefixSize:], datagram[:clearSize]
	if len(c.list) == 1 {
		plain, err := c.list[0].Open(sealed[:0], nonce, sealed, clear)
		if err != nil {
			return nil, ErrForeign
		}
		return plain, nil
	}
	spare, _ := spares.Get().(*[]byte)
	defer spares.Put(spare)
	*spare = append((*spare)[:0], sealed...)
	for i, aead := range c.list {
		copy(sealed, *spare)
		plain, err := aead.Open(sealed[:0], nonce, sealed, clear)
		switch {
		case err != nil:
		case i >= c.good:
			return nil, ErrRotatedAway
		default:
			return plain, nil
		}
	}
	return nil, ErrForeign
}
