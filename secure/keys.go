package secure

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// The Argon2id parameters are the second recommended option of RFC 9106,
// section 4: 3 passes over 64 MiB in 4 lanes, a tag of 256 bits. The first
// option wants 2 GiB, more than a node of a small cluster may have. All nodes
// must agree on them: changing one is a new wire version.
const (
	argonPasses = 3
	argonKiB    = 64 * 1024
	argonLanes  = 4
	argonTag    = 32
)

// argonSalt is fixed on purpose. A random salt would have to be agreed upon
// before anything can be sealed, and there is nothing but the key to agree
// with. It keeps tables made for other programs from being used here; a table
// made for flip is what `flip keygen`'s 256 bits are for.
const argonSalt = "flip-ha/flip shared key v1"

// The purposes that HKDF separates; one secret never serves two of them.
const (
	purposeCA       = "flip v1 certificate authority"
	purposeDatagram = "flip v1 datagrams"
	purposeMark     = "flip v1 mark"
	purposeSealing  = "flip v1 sealing of another key"
)

// keyBytes is the strength of a key made by NewKey: 256 bits.
const keyBytes = 32

// ErrNoKey says that there is no key to derive anything from.
var ErrNoKey = errors.New("the key is empty")

// Keys is what the shared key gives. The same key gives the same Keys on every
// node; only the certificates of the nodes are made afresh by each process.
// All methods are safe for concurrent use.
type Keys struct {
	key  string // the shared key as it was given
	root []byte // what Argon2id made of it

	// mark names the key without telling it: a node that shows another mark has
	// another key. It travels in clear, as certificates and datagrams do, and
	// helps a guesser no more than they.
	mark     string
	caKey    ed25519.PrivateKey
	ca       *x509.Certificate
	pool     *x509.CertPool
	datagram [chacha20poly1305.KeySize]byte
	sealing  [chacha20poly1305.KeySize]byte

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // by the URI that they carry
}

// Derive turns the shared key, taken byte by byte as it is, into Keys. It takes
// about a tenth of a second and 64 MiB for a moment: call it once per process, and
// never where a heartbeat could have to wait for it.
func Derive(key []byte) (*Keys, error) {
	if len(key) == 0 {
		return nil, ErrNoKey
	}
	return fromRoot(string(key), argon2.IDKey(key, []byte(argonSalt), argonPasses, argonKiB, argonLanes, argonTag))
}

// Revive is Derive for who has the key's root already, as Root gave it: it takes no
// time and no memory worth a word. It does not check that the root is the key's.
func Revive(key string, root []byte) (*Keys, error) {
	if key == "" {
		return nil, ErrNoKey
	}
	if len(root) != argonTag {
		return nil, fmt.Errorf("the root of a key has %d bytes, want %d", len(root), argonTag)
	}
	return fromRoot(key, root)
}

// fromRoot derives all that there is of a key.
func fromRoot(key string, root []byte) (*Keys, error) {
	k := &Keys{key: key, root: root, leaves: make(map[string]*tls.Certificate)}
	seed, err := expand(root, purposeCA, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	k.caKey = ed25519.NewKeyFromSeed(seed)
	for purpose, into := range map[string][]byte{purposeDatagram: k.datagram[:], purposeSealing: k.sealing[:]} {
		secret, err := expand(root, purpose, len(into))
		if err != nil {
			return nil, err
		}
		copy(into, secret)
	}
	mark, err := expand(root, purposeMark, markSize)
	if err != nil {
		return nil, err
	}
	k.mark = hex.EncodeToString(mark)
	if k.ca, err = newAuthority(k.caKey, k.mark); err != nil {
		return nil, err
	}
	k.pool = x509.NewCertPool()
	k.pool.AddCert(k.ca)
	return k, nil
}

// markSize is that of a mark in bytes; it is written in hexadecimal.
const markSize = 8

// Mark names the key without telling it: its fingerprint.
func (k *Keys) Mark() string { return k.mark }

// Key is the shared key itself.
func (k *Keys) Key() string { return k.key }

// Root is what Argon2id made of the key; it is as secret as the key.
func (k *Keys) Root() []byte { return slices.Clone(k.root) }

// expand derives the secret of one purpose.
func expand(root []byte, purpose string, n int) ([]byte, error) {
	out, err := hkdf.Key(sha256.New, root, nil, purpose, n)
	if err != nil {
		return nil, fmt.Errorf("derive %s: %w", purpose, err)
	}
	return out, nil
}

// NewKey makes a good shared key: 256 random bits as base64url, fit for JSON
// and for a file.
func NewKey() string {
	b := make([]byte, keyBytes)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}
