package secure

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// sealedKey begins what Seal gives: another form is another letter.
const sealedKey = 'k'

// ErrNotSealed says that something was not sealed under this key, or altered since.
var ErrNotSealed = errors.New("it is not sealed under this key")

// Seal hides another key under this one, so that only who has this one can take it
// over: for the cluster's log, which holds no secret in clear. The root goes with it,
// so that nobody has to derive it at a time that does not suit.
func (k *Keys) Seal(other *Keys) []byte {
	aead, err := chacha20poly1305.NewX(k.sealing[:])
	if err != nil {
		panic(fmt.Sprintf("a key of %d bytes: %v", len(k.sealing), err)) // the size is the array's
	}
	plain := binary.BigEndian.AppendUint32(nil, uint32(len(other.key)))
	plain = append(append(plain, other.key...), other.root...)
	out := make([]byte, 1+chacha20poly1305.NonceSizeX)
	out[0] = sealedKey
	_, _ = rand.Read(out[1:]) // never fails: it ends the process instead
	return aead.Seal(out, out[1:], plain, out[:1])
}

// Unseal reads what Seal of the same key made.
func (k *Keys) Unseal(sealed []byte) (*Keys, error) {
	const head = 1 + chacha20poly1305.NonceSizeX
	if len(sealed) < head || sealed[0] != sealedKey {
		return nil, ErrNotSealed
	}
	aead, err := chacha20poly1305.NewX(k.sealing[:])
	if err != nil {
		return nil, fmt.Errorf("unseal a key: %w", err)
	}
	plain, err := aead.Open(nil, sealed[1:head], sealed[head:], sealed[:1])
	if err != nil {
		return nil, ErrNotSealed
	}
	if len(plain) < 4 || uint64(len(plain)-4) != uint64(binary.BigEndian.Uint32(plain))+argonTag {
		return nil, errors.New("what is sealed under this key is no key")
	}
	key, root := plain[4:len(plain)-argonTag], plain[len(plain)-argonTag:]
	return Revive(string(key), root)
}
