// Package pki makes throw-away authorities and their certificates, for tests. It
// knows nothing of flip.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Authority issues certificates.
type Authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	above []*x509.Certificate // between it and the root, itself first; the root is left out
}

// NewAuthority makes one that nobody is above.
func NewAuthority(name string) (*Authority, error) { return newAuthority(name, nil) }

// Under makes one between this and what it issues.
func (a *Authority) Under(name string) (*Authority, error) { return newAuthority(name, a) }

func newAuthority(name string, above *Authority) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	out := &Authority{key: key}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().AddDate(-10, 0, 0), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent, signer := template, crypto.Signer(key)
	if above != nil {
		parent, signer = above.cert, above.key
	}
	if out.cert, err = create(template, parent, key.Public(), signer); err != nil {
		return nil, err
	}
	if above != nil {
		out.above = append([]*x509.Certificate{out.cert}, above.above...)
	}
	return out, nil
}

func serial() *big.Int { return new(big.Int).SetBytes(random(16)) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func create(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", template.Subject.CommonName, err)
	}
	return cert, nil
}

// Leaf is what a certificate is to say.
type Leaf struct {
	CN      string
	DNS     []string
	Emails  []string
	IPs     []string
	URIs    []string
	From    time.Time          // zero: an hour ago
	Until   time.Time          // zero: in a year
	Usages  []x509.ExtKeyUsage // nil: both sides of TLS
	KeyPair crypto.Signer      // nil: a new one
}

// Pair is a certificate with those between it and the root, and its key, as PEM.
type Pair struct {
	Cert, Key []byte
	KeyPair   crypto.Signer
}

// Issue makes a certificate.
func (a *Authority) Issue(l Leaf) (Pair, error) {
	key := l.KeyPair
	if key == nil {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return Pair{}, fmt.Errorf("make a key: %w", err)
		}
		key = made
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: l.CN}, DNSNames: l.DNS, EmailAddresses: l.Emails,
		NotBefore: l.From, NotAfter: l.Until, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.Usages,
	}
	if l.From.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if l.Until.IsZero() {
		template.NotAfter = time.Now().AddDate(1, 0, 0)
	}
	if l.Usages == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, ip := range l.IPs {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	for _, text := range l.URIs {
		u, err := url.Parse(text)
		if err != nil {
			return Pair{}, fmt.Errorf("issue %s: %w", l.CN, err)
		}
		template.URIs = append(template.URIs, u)
	}
	cert, err := create(template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("write a key: %w", err)
	}
	return Pair{
		Cert: toPEM(append([]*x509.Certificate{cert}, a.above...)...), KeyPair: key,
		Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}, nil
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return toPEM(a.cert) }

func toPEM(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}

// Write puts a pair into DIR/NAME.crt and DIR/NAME.key, the certificate last: whoever
// reads in between finds a pair that does not fit.
func (p Pair) Write(dir, name string) (cert, key string, err error) {
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	if err := os.WriteFile(key, p.Key, 0o600); err != nil {
		return "", "", fmt.Errorf("write a key: %w", err)
	}
	if err := os.WriteFile(cert, p.Cert, 0o644); err != nil {
		return "", "", fmt.Errorf("write a certificate: %w", err)
	}
	return cert, key, nil
}
