package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// The protocols that share a server's TCP port, told apart by ALPN.
const (
	ProtoRaft = "flip-raft/1"
	ProtoHTTP = "flip-http/1"
	// ProtoAPI is an operator's way in; the other two are for members only.
	ProtoAPI = "flip-api/1"
)

var (
	// ErrOtherKey says that the other side of a handshake is a node of flip with
	// another key.
	ErrOtherKey = errors.New("the other side has another key")
	// ErrProtocol says that the two sides found no protocol in common.
	ErrProtocol = errors.New("no protocol in common")
)

// WrongPeerError says that a node of this cluster answered, but not the one that
// was called: an address given to another node, or a data directory that is not
// the one it was.
type WrongPeerError struct{ Want, Got Identity }

// Error implements error.
func (e *WrongPeerError) Error() string {
	if e.Want.Name != e.Got.Name {
		return fmt.Sprintf("%s answered where %s was expected", e.Got.Name, e.Want.Name)
	}
	return fmt.Sprintf("%s answered with instance %s where %s was expected: its data_dir is another one",
		e.Got.Name, e.Got.Instance, e.Want.Instance)
}

// Server is the configuration of a listening node. It lets in every node that
// has the key, whatever its name, and to ProtoAPI, and there only, operators.
// Failures to make a certificate come out of the handshake.
func (k *Keys) Server(self Identity) *tls.Config {
	config := k.server(self)
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		noteKey(hello, KeySet{Send: k})
		return nil, nil
	}
	return config
}

// noteKey finds the key that a caller names, and tells the Listener when it is none that
// counts. The handshake goes on, so that the caller sees a certificate and finds out too.
func noteKey(hello *tls.ClientHelloInfo, set KeySet) (k *Keys, counts bool) {
	mark, flips := strings.CutSuffix(hello.ServerName, serverDomain)
	k, counts = set.Find(mark)
	if w, ok := hello.Conn.(*watched); ok {
		w.oldKey.Store(k != nil && !counts)
		w.otherKey.Store(k == nil && flips)
	}
	return k, counts
}

// server is that for a caller with the same key.
func (k *Keys) server(self Identity) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  k.pool,
		NextProtos: []string{ProtoRaft, ProtoHTTP, ProtoAPI},
		// Connections are few and long: nothing is worth keeping of them.
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return k.leaf(self)
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol == ProtoAPI {
				_, err := operatorOfState(cs)
				return err
			}
			_, err := PeerOfState(cs)
			return err
		},
	}
}

// Client is the configuration of a caller that speaks proto. It refuses, with a
// *WrongPeerError, a node that is not the one wanted; an empty Instance takes
// any instance of that name, an empty Name any node.
func (k *Keys) Client(self, want Identity, proto string) *tls.Config {
	return k.caller(want, proto, func() (*tls.Certificate, error) { return k.leaf(self) })
}

// caller is the configuration of whoever shows what leaf gives.
func (k *Keys) caller(want Identity, proto string, leaf func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    k.pool,
		ServerName: k.serverName(),
		NextProtos: []string{proto},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return leaf()
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if isObituary(cs) {
				return ErrRotatedAway
			}
			if cs.NegotiatedProtocol != proto {
				return fmt.Errorf("%w: wanted %s", ErrProtocol, proto)
			}
			got, err := PeerOfState(cs)
			if err != nil {
				return err
			}
			return want.check(got)
		},
	}
}

// check compares the node that answered with the one wanted.
func (want Identity) check(got Identity) error {
	if want.Name == "" || want == got || want.Name == got.Name && want.Instance == "" {
		return nil
	}
	return &WrongPeerError{Want: want, Got: got}
}

// PeerOf is who stands at the other end of a connection whose handshake is done.
func PeerOf(c net.Conn) (Identity, error) {
	switch c := c.(type) {
	case interface{ Peer() Identity }:
		if c.Peer().Name == "" {
			return Identity{}, errNoIdentity
		}
		return c.Peer(), nil
	case interface{ ConnectionState() tls.ConnectionState }:
		return PeerOfState(c.ConnectionState())
	default:
		return Identity{}, fmt.Errorf("identify %s: not a TLS connection", c.RemoteAddr())
	}
}

// PeerOfState is PeerOf for the state alone, as net/http hands it to a handler.
func PeerOfState(cs tls.ConnectionState) (Identity, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return Identity{}, errors.New("the other side's certificate is not verified")
	}
	return identityOf(cs.VerifiedChains[0][0])
}

// IsKeyMismatch reports whether a handshake failed because the other side is a
// node of flip with another key. On the calling side it takes the error of
// tls.Conn.Handshake; on the listening side only the Listener can tell.
func IsKeyMismatch(err error) bool {
	if errors.Is(err, ErrOtherKey) {
		return true
	}
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &unknown) && unknown.Cert != nil && markOfIssuer(unknown.Cert) != ""
}
