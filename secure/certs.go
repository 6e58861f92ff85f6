package secure

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Identity names a node: the member, and the instance of its data directory.
type Identity struct {
	Name     fsm.MemberID
	Instance string
}

// String is the identity as Raft's server id has it.
func (i Identity) String() string { return string(fsm.NewVoterID(i.Name, i.Instance)) }

// Every certificate is valid from the first moment a clock can show to the last
// one X.509 can name (RFC 5280, 4.1.2.5). A machine with a dead clock must be
// able to join, and an end would protect nothing: whoever has the key makes
// himself a new certificate.
var (
	validFrom  = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// issuerPrefix is what the name of every authority made by this package begins
// with: it tells "another key" from "no flip at all".
const issuerPrefix = "flip key "

// serverDomain ends the name every node's certificate has in common. It is a
// name for private use and is never looked up.
const serverDomain = ".flip.internal"

// idScheme is the scheme of the URI that carries an Identity.
const idScheme = "flip"

// errNoIdentity says that a certificate names no node.
var errNoIdentity = errors.New("the certificate names no node of flip")

// newAuthority makes the cluster's certificate authority. Nothing in it is
// random and nothing depends on the day: every node makes the same bytes, which
// is why the serial number and the key id are given instead of being left to
// the library.
func newAuthority(key ed25519.PrivateKey, mark string) (*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: issuerPrefix + mark},
		NotBefore:             validFrom,
		NotAfter:              validUntil,
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
		SubjectKeyId:          []byte(mark),
		SignatureAlgorithm:    x509.PureEd25519,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate authority: %w", err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	return ca, nil
}

// serverName is the name that every node of the same key answers to. A client
// sends it in clear, so that a server can tell a node with another key from a
// stranger.
func (k *Keys) serverName() string { return k.mark + serverDomain }

// leaf is this process's certificate as id; made once, kept in memory only.
func (k *Keys) leaf(id Identity) (*tls.Certificate, error) {
	return k.certificate(id.String(), id.uri())
}

// certificate is this process's under one URI; made once, kept in memory only.
func (k *Keys) certificate(name string, uri *url.URL) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if have := k.leaves[uri.String()]; have != nil {
		return have, nil
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key pair for %s: %w", name, err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name},
		URIs:    []*url.URL{uri},
		// Any mark: a caller with another key must fail at the signature, which
		// is what IsKeyMismatch looks for, and not at the name.
		DNSNames:              []string{"*" + serverDomain},
		NotBefore:             validFrom,
		NotAfter:              validUntil,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.ca, public, k.caKey)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", name, err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of %s: %w", name, err)
	}
	made := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: parsed}
	k.leaves[uri.String()] = made
	return made, nil
}

// uri is the identity as a URI, flip:///name/instance. Name and instance stand
// in the path and not in the host, where X.509 would refuse names that are no
// domain name.
func (i Identity) uri() *url.URL {
	return &url.URL{
		Scheme:  idScheme,
		Path:    "/" + string(i.Name) + "/" + i.Instance,
		RawPath: "/" + url.PathEscape(string(i.Name)) + "/" + url.PathEscape(i.Instance),
	}
}

// identityOf reads the one identity a certificate carries.
func identityOf(cert *x509.Certificate) (Identity, error) {
	var found Identity
	for _, u := range cert.URIs {
		switch u.Scheme {
		case idScheme:
		case operatorScheme: // nobody is both
			return Identity{}, errNoIdentity
		default:
			continue
		}
		name, instance, ok := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
		if !ok || found.Name != "" {
			return Identity{}, errNoIdentity
		}
		name, errName := url.PathUnescape(name)
		instance, errInstance := url.PathUnescape(instance)
		if errName != nil || errInstance != nil || name == "" {
			return Identity{}, errNoIdentity
		}
		found = Identity{Name: fsm.MemberID(name), Instance: instance}
	}
	if found.Name == "" {
		return Identity{}, errNoIdentity
	}
	return found, nil
}
