package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// kind is what is wrong with an address; of several the highest is explained.
type kind int

const (
	silent kind = iota
	refused
	broken
	notFlip
	olderFlip
	badCertificate
	refusedCertificate
	anotherKey
	rotatedKey
)

// why is what came of an address; no words: nothing bad so far.
type why struct {
	kind  kind
	words string
}

var hints = map[kind]string{
	silent:             "is the host up, and the port open for TCP? flip needs TCP and UDP on each server's port",
	refused:            "does flip run there? The port is the server's own, as in the configuration file; `systemctl status flip` on that host tells",
	broken:             "flip on that host is starting, stopping or at its limit: try again; its log says why",
	notFlip:            "another program has that port: flip's is the server's own, as in the configuration file",
	olderFlip:          "flip on that host is of a version without remote control: upgrade it, or run this command there",
	badCertificate:     "another program has that port; or name the authority of the nodes' certificates with --ca and your own with --cert and --tls-key; where they have none of their own (`tls`), their key: --key-file",
	refusedCertificate: "its log says why; a certificate that may control the cluster is named there under `operators` of `tls`, or goes with the cluster's key: --key-file",
	rotatedKey:         "the cluster has another key by now: `flip key show --secret` on a member's own machine prints it; name a file with it with --key-file",
	anotherKey:         "name the key of that cluster with --key-file: what `key` or `key_file` says on its nodes",
}

// handshakeError is a failure after the connection was there.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// refusedHere reports that a server has not taken the certificate that it was shown:
// it says so in one byte, after this side's part of the handshake is over, and does
// nothing that it was asked.
func refusedHere(err error) bool {
	var alert *net.OpError
	return errors.As(err, &alert) && alert.Op == "remote error" && strings.Contains(alert.Err.Error(), "certificate")
}

// explain puts a failed connection into words.
func (r *remote) explain(err error) why {
	var (
		record    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		cert      *tls.CertificateVerificationError
		name      *net.DNSError
		timeout   net.Error
		shaking   *handshakeError
		other     x509.HostnameError
		known     interface {
			error
			Hint() string // of secure.CertError
		}
	)
	var rotated interface {
		error
		RotatedAway() bool
	}
	switch {
	case errors.As(err, &rotated):
		return why{rotatedKey, "this key was rotated away"}
	case r.otherKey != nil && r.otherKey(err):
		return why{anotherKey, "another key"}
	case errors.As(err, &record):
		return why{notFlip, "not flip: it does not speak TLS"}
	case refusedHere(err):
		return why{refusedCertificate, "it does not take this certificate: " + cause(err).Error()}
	case errors.As(err, &known):
		return why{badCertificate, known.Error()}
	case errors.As(err, &other) && !strings.HasSuffix(other.Host, ".flip.internal"): // which is asked of what the key makes
		return why{badCertificate, "its certificate does not name this address: " + other.Error()}
	case errors.As(err, &other), errors.As(err, &authority):
		return why{badCertificate, "not this flip: its certificate is another authority's"}
	case errors.As(err, &cert):
		return why{badCertificate, "its certificate is not taken: " + cert.Err.Error()}
	case strings.Contains(err.Error(), "no application protocol"): // crypto/tls has no value for it
		return why{olderFlip, "no remote control there: an older flip, or another program"}
	case errors.As(err, &name):
		return why{notFlip, "no such host"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return why{refused, "connection refused"}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return why{silent, "no route to the host"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		if errors.As(err, &shaking) {
			return why{broken, "connected, but silent"}
		}
		return why{silent, "silent"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		if errors.As(err, &shaking) {
			return why{broken, "hung up in the handshake: not flip, or at its limit"}
		}
		return why{broken, "hung up"}
	default:
		return why{broken, cause(err).Error()}
	}
}
