package secure

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
)

// A voucher is a second certificate for the key pair of a certificate of the
// operator's own, by the cluster's authority. It says what the operator's cannot:
// the instance; and that whoever shows it has the cluster's key. It travels among
// the intermediate certificates, where nobody else minds it. That its key pair is
// the one of the handshake is what makes it worth something: shown by anybody else
// it is a certificate for another key.

// vouch makes the voucher of a key pair.
func (k *Keys) vouch(public crypto.PublicKey, name string, uri *url.URL) ([]byte, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		URIs:                  []*url.URL{uri},
		NotBefore:             validFrom,
		NotAfter:              validUntil,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.ca, public, k.caKey)
	if err != nil {
		return nil, fmt.Errorf("vouch for %s: %w", name, err)
	}
	return der, nil
}

// madeThis checks that a certificate is of this key.
func (k *Keys) madeThis(cert *x509.Certificate) bool {
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: k.pool, CurrentTime: validFrom.AddDate(1, 0, 0), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

// vouchers are for one key pair: by each key that counts one, the first by the key
// that is sent by; and by each that was rotated away one that says so.
func (s KeySet) vouchers(public crypto.PublicKey, name string, uri *url.URL) ([][]byte, error) {
	var out [][]byte
	for _, k := range s.counting() {
		der, err := k.vouch(public, name, uri)
		if err != nil {
			return nil, err
		}
		out = append(out, der)
	}
	for _, k := range s.Gone {
		der, err := k.vouch(public, "rotated away", rotatedTo(s.Send.mark))
		if err != nil {
			return nil, err
		}
		out = append(out, der)
	}
	return out, nil
}

// vouchersIn are the vouchers among the certificates of a handshake, whose first is
// the operator's own. They are not verified.
func vouchersIn(certs []*x509.Certificate) []*x509.Certificate {
	if len(certs) == 0 {
		return nil
	}
	own, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil
	}
	var out []*x509.Certificate
	for _, c := range certs[1:] {
		if madeByKey(c) && own.Equal(c.PublicKey) {
			out = append(out, c)
		}
	}
	return out
}

// vouched finds, among the certificates of a handshake, the voucher of a key that
// counts; nil without an error: there is none at all.
func (s KeySet) vouched(certs []*x509.Certificate) (*x509.Certificate, error) {
	var err error
	for _, c := range vouchersIn(certs) {
		k, counts := s.Find(markOfIssuer(c))
		switch {
		case k == nil || !k.madeThis(c):
			err = worse(err, ErrOtherKey)
		case !counts:
			err = worse(err, ErrPeerRotatedAway)
		case isRotated(c): // this side's key is that of yesterday
			err = ErrRotatedAway
		default:
			return c, nil
		}
	}
	return nil, err
}

// worse is the error of two vouchers that says more.
func worse(was, is error) error {
	if was == nil || errors.Is(was, ErrOtherKey) {
		return is
	}
	return was
}

// madeByKey reports whether a certificate says that the authority of some key has
// issued it.
func madeByKey(cert *x509.Certificate) bool { return markOfIssuer(cert) != "" }
