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
)

// keyBytes is the strength of a key made by NewKey: 256 bits.
const keyBytes = 32

// ErrNoKey says that there is no key to derive anything from.
var ErrNoKey = errors.New("the key is empty")

// Keys is what the shared key gives. The same key gives the same Keys on every
// node; only the certificates of the nodes are made afresh by each process.
// All methods are safe for concurrent use.
type Keys struct {
	// mark names the key without telling it: a node that shows another mark has
	// another key. It travels in clear, as certificates and datagrams do, and
	// helps a guesser no more than they.
	mark     string
	caKey    ed25519.PrivateKey
	ca       *x509.Certificate
	pool     *x509.CertPool
	datagram [chacha20poly1305.KeySize]byte

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // by the URI that they carry
}

// Derive turns the shared key, taken byte by byte as it is, into Keys. It takes
// about a tenth of a second and 64 MiB for a moment: call it once per process.
func Derive(key []byte) (*Keys, error) {
	if len(key) == 0 {
		return nil, ErrNoKey
	}
	root := argon2.IDKey(key, []byte(argonSalt), argonPasses, argonKiB, argonLanes, argonTag)
	seed, err := expand(root, purposeCA, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	datagram, err := expand(root, purposeDatagram, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	mark, err := expand(root, purposeMark, 8)
	if err != nil {
		return nil, err
	}
	k := &Keys{
		mark:   hex.EncodeToString(mark),
		caKey:  ed25519.NewKeyFromSeed(seed),
		leaves: make(map[string]*tls.Certificate),
	}
	copy(k.datagram[:], datagram)
	k.ca, err = newAuthority(k.caKey, k.mark)
	if err != nil {
		return nil, err
	}
	k.pool = x509.NewCertPool()
	k.pool.AddCert(k.ca)
	return k, nil
}

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
