package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			k.noteKey(hello)
			return nil, nil
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

// noteKey tells the Listener when the caller belongs to another key. The
// handshake goes on, so that the caller sees a certificate and finds out too.
func (k *Keys) noteKey(hello *tls.ClientHelloInfo) {
	w, ok := hello.Conn.(*watched)
	if ok && hello.ServerName != k.serverName() && strings.HasSuffix(hello.ServerName, serverDomain) {
		w.otherKey.Store(true)
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
func PeerOf(c *tls.Conn) (Identity, error) { return PeerOfState(c.ConnectionState()) }

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
	return errors.As(err, &unknown) && unknown.Cert != nil &&
		strings.HasPrefix(unknown.Cert.Issuer.CommonName, issuerPrefix)
}
