package secure

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Files name certificates of the operator's own; all are PEM.
type Files struct {
	Cert string // one's own, then the intermediate ones
	Key  string // the private key of the first
	CA   string // whose certificates are taken
}

// own is one reading of Files.
type own struct {
	chain [][]byte // DER, one's own first
	certs []*x509.Certificate
	key   crypto.PrivateKey
	pool  *x509.CertPool
	sum   [sha256.Size]byte // of all that was read
	ends  time.Time         // the first end on the way from one's own to the authority
	begun time.Time         // when one's own began
	mode  fs.FileMode       // of the key
}

// leaf is one's own certificate.
func (o *own) leaf() *x509.Certificate { return o.certs[0] }

// readFiles reads and checks everything but whether the certificates hold today: a
// clock may be wrong at the start and right a moment later.
func readFiles(f Files) (*own, error) {
	var o own
	sum := sha256.New()
	read := func(key, name string) ([]byte, error) {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, unreadable(key, err)
		}
		sum.Write(data)
		return data, nil
	}
	data, err := read("cert", f.Cert)
	if err != nil {
		return nil, err
	}
	if o.certs, err = certificatesIn("cert", f.Cert, data); err != nil {
		return nil, err
	}
	for _, c := range o.certs {
		o.chain = append(o.chain, c.Raw)
	}
	if data, err = read("key", f.Key); err != nil {
		return nil, err
	}
	if o.key, err = o.privateKey(f, data); err != nil {
		return nil, err
	}
	if info, err := os.Stat(f.Key); err == nil {
		o.mode = info.Mode().Perm()
	}
	if data, err = read("ca", f.CA); err != nil {
		return nil, err
	}
	authorities, err := certificatesIn("ca", f.CA, data)
	if err != nil {
		return nil, err
	}
	if err := o.trust(f, authorities); err != nil {
		return nil, err
	}
	sum.Sum(o.sum[:0])
	return &o, nil
}

// unreadable is a file that cannot be read.
func unreadable(key string, err error) error {
	do := "name the right file in `tls`; a relative path starts at the configuration file"
	if errors.Is(err, fs.ErrPermission) {
		do = fmt.Sprintf("let the user that flip runs as (uid %d) read it, and nobody else: chown, chmod 0600", os.Getuid())
	}
	return &CertError{What: "read tls." + key, Do: do, Err: err}
}

// certificatesIn reads the certificates of a PEM file.
func certificatesIn(key, name string, data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	secret := false
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, &CertError{What: fmt.Sprintf("read tls.%s: certificate %d in %s", key, len(out)+1, name), Do: "issue it anew, or leave it out", Err: err}
			}
			out = append(out, cert)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			secret = true
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case secret:
		return nil, &CertError{What: fmt.Sprintf("read tls.%s: %s holds a private key and no certificate", key, name), Do: "are `cert` and `key` swapped?"}
	default:
		return nil, &CertError{What: fmt.Sprintf("read tls.%s: %s holds no certificate in PEM", key, name), Do: notPEM(data, "x509")}
	}
}

// notPEM says how to come by PEM.
func notPEM(data []byte, tool string) string {
	const sequence = 0x30 // what DER begins with
	if len(data) > 0 && data[0] == sequence {
		return "it looks like DER: openssl " + tool + " -inform der -in FILE -out FILE.pem"
	}
	return "the file begins with -----BEGIN …; `openssl " + tool + " -in FILE -noout -text` reads one"
}

// privateKey reads the key of one's own certificate.
func (o *own) privateKey(f Files, data []byte) (crypto.PrivateKey, error) {
	var found *pem.Block
	for rest := data; found == nil; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			found = block
		}
	}
	switch {
	case found == nil && bytes.Contains(data, []byte("BEGIN CERTIFICATE")):
		return nil, &CertError{What: fmt.Sprintf("read tls.key: %s holds a certificate and no private key", f.Key), Do: "are `cert` and `key` swapped?"}
	case found == nil:
		return nil, &CertError{What: fmt.Sprintf("read tls.key: %s holds no private key in PEM", f.Key), Do: notPEM(data, "pkey")}
	case strings.HasPrefix(found.Type, "ENCRYPTED") || found.Headers["DEK-Info"] != "":
		return nil, &CertError{
			What: fmt.Sprintf("read tls.key: %s has a passphrase, and nobody is there to type it", f.Key),
			Do:   "take it off, into a file that only flip's user can read: openssl pkey -in FILE -out FILE.key",
		}
	}
	pair, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.chain[0]}), pem.EncodeToMemory(found))
	switch {
	case err != nil && strings.Contains(err.Error(), "does not match"):
		return nil, &CertError{
			What: fmt.Sprintf("the key in %s does not belong to the certificate of %s in %s", f.Key, title(o.leaf()), f.Cert),
			Do:   "`openssl x509 -in CERT -noout -pubkey` and `openssl pkey -in KEY -pubout` print the same for a pair; one's own certificate comes first in the file",
		}
	case err != nil:
		return nil, &CertError{What: fmt.Sprintf("read tls.key: %s", f.Key), Do: "RSA, ECDSA and Ed25519 are taken; `openssl pkey -in FILE -noout -text` reads one", Err: err}
	}
	return pair.PrivateKey, nil
}

// trust checks that the authorities are some, and that one's own certificate is of
// one of them: the others have the same file.
func (o *own) trust(f Files, authorities []*x509.Certificate) error {
	o.pool = x509.NewCertPool()
	for _, ca := range authorities {
		if !ca.IsCA {
			return &CertError{
				What: fmt.Sprintf("the certificate of %s in %s is no authority's", title(ca), f.CA),
				Do:   "`ca` names the file of the authority that has issued the nodes' certificates",
			}
		}
		o.pool.AddCert(ca)
	}
	leaf := o.leaf()
	chains, err := o.anyTime(x509.ExtKeyUsageAny)
	if err != nil {
		return unverified(leaf, err, leaf.NotAfter)
	}
	o.begun = leaf.NotBefore
	for _, chain := range chains {
		ends := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(ends) {
				ends = c.NotAfter
			}
		}
		if ends.After(o.ends) {
			o.ends = ends
		}
	}
	return nil
}

// anyTime verifies one's own certificate at some time at which it is valid.
func (o *own) anyTime(usage x509.ExtKeyUsage) (chains [][]*x509.Certificate, err error) {
	leaf := o.leaf()
	for _, at := range []time.Time{leaf.NotAfter, leaf.NotBefore, time.Now()} {
		if chains, err = o.verify(o.certs, usage, at); err == nil {
			return chains, nil
		}
	}
	return nil, err
}

// verify checks what somebody has shown against the authorities.
func (o *own) verify(certs []*x509.Certificate, usage x509.ExtKeyUsage, at time.Time) ([][]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	return certs[0].Verify(x509.VerifyOptions{Roots: o.pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: at})
}

// fits checks that the certificate is one that the member can run with.
func (o *own) fits(f Files, self fsm.MemberID) error {
	if !isNamed(o.leaf(), self) {
		return &CertError{
			What: fmt.Sprintf("the certificate in %s is of %s, and this node is %s", f.Cert, title(o.leaf()), self),
			Do:   fmt.Sprintf("issue one with %s as a DNS name, or as its common name; or run the node under another name: --id", self),
		}
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := o.anyTime(usage); err != nil {
			return unverified(o.leaf(), err, o.leaf().NotAfter)
		}
	}
	return nil
}
