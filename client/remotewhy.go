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
	anotherKey
	rotatedKey
)

// why is what came of an address; no words: nothing bad so far.
type why struct {
	kind  kind
	words string
}

var hints = map[kind]string{
	silent:     "is the host up, and the port open for TCP? flip needs TCP and UDP on each server's port",
	refused:    "does flip run there? The port is the server's own, as in the configuration file; `systemctl status flip` on that host tells",
	broken:     "flip on that host is starting, stopping or at its limit: try again; its log says why",
	notFlip:    "another program has that port: flip's is the server's own, as in the configuration file",
	olderFlip:  "flip on that host is of a version without remote control: upgrade it, or run this command there",
	rotatedKey: "the cluster has another key by now: `flip key show --secret` on a member's own machine prints it; name a file with it with --key-file",
	anotherKey: "name the key of that cluster with --key-file: what `key` or `key_file` says on its nodes",
}

// handshakeError is a failure after the connection was there.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// explain puts a failed connection into words.
func (r *remote) explain(err error) why {
	var (
		record    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		cert      *tls.CertificateVerificationError
		name      *net.DNSError
		timeout   net.Error
		shaking   *handshakeError
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
	case errors.As(err, &authority), errors.As(err, &cert):
		return why{notFlip, "not flip: its certificate is another authority's"}
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
