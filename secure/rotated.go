package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
)

// rotatedScheme is the scheme of the URI in a certificate that says of its own key
// that it was rotated away, and by which one: flip-rotated:///MARK.
const rotatedScheme = "flip-rotated"

// keyError is an error about which key this side has.
type keyError struct{ words string }

// Error implements error.
func (e *keyError) Error() string { return e.words }

// RotatedAway tells this error from others, for who cannot import this package.
func (e *keyError) RotatedAway() bool { return true }

var (
	// ErrRotatedAway says that this side's key, or that of a datagram, was rotated
	// away.
	ErrRotatedAway error = &keyError{"the cluster's key was rotated: the one used here does not count any more"}
	// ErrPeerRotatedAway says that the other side knows only a key that was rotated
	// away.
	ErrPeerRotatedAway = errors.New("the other side has a key that was rotated away")
)

// IsRotatedAway reports whether something was refused because of a key that was
// rotated away: this side's.
func IsRotatedAway(err error) bool { return errors.Is(err, ErrRotatedAway) }

// obituary is the configuration of a listening node for a caller whose key, k, was
// rotated away. The certificate is of that key: the caller can believe it.
func (k *Keys) obituary(now string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAnyClientCert, // so that the caller has read it by the time this side ends
		NextProtos:             []string{ProtoRaft, ProtoHTTP, ProtoAPI},
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return k.certificate("rotated away", rotatedTo(now))
		},
		VerifyConnection: func(tls.ConnectionState) error { return ErrRotatedAway },
	}
}

// isObituary reports whether the other side has shown such a certificate.
func isObituary(cs tls.ConnectionState) bool {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return false
	}
	return isRotated(cs.VerifiedChains[0][0])
}

func isRotated(cert *x509.Certificate) bool {
	for _, u := range cert.URIs {
		if u.Scheme == rotatedScheme {
			return true
		}
	}
	return false
}

// rotatedTo is what such a certificate carries: the mark of the key that counts now.
func rotatedTo(mark string) *url.URL { return &url.URL{Scheme: rotatedScheme, Path: "/" + mark} }

// markOfIssuer is the mark of the key that a certificate was made with; "": it is not
// of flip's making.
func markOfIssuer(cert *x509.Certificate) string {
	mark, flips := strings.CutPrefix(cert.Issuer.CommonName, issuerPrefix)
	if !flips {
		return ""
	}
	return mark
}
