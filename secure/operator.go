package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// operatorScheme is the scheme of the URI that carries an operator's name. A
// member's has another one: no member is taken for an operator, whatever its
// name, and no operator for a member.
const operatorScheme = "flip-operator"

// errNoOperator says that a certificate is not an operator's.
var errNoOperator = errors.New("the certificate names no operator of flip")

// Operator is the configuration of a caller that controls the cluster and is no
// member of it: it speaks ProtoAPI and takes any node that has the key. name is
// for the nodes' logs; whoever has the key may choose any.
func (k *Keys) Operator(name string) *tls.Config {
	return k.caller(Identity{}, ProtoAPI, func() (*tls.Certificate, error) {
		return k.certificate("operator "+name, operatorURI(name))
	})
}

// operatorURI is flip-operator:///name.
func operatorURI(name string) *url.URL {
	return &url.URL{Scheme: operatorScheme, Path: "/" + name, RawPath: "/" + url.PathEscape(name)}
}

// OperatorOf is who stands at the other end of a connection that Listener.API
// gave.
func OperatorOf(c net.Conn) (string, error) {
	secured, ok := c.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return "", fmt.Errorf("identify %s: not a TLS connection", c.RemoteAddr())
	}
	return operatorOfState(secured.ConnectionState())
}

func operatorOfState(cs tls.ConnectionState) (string, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return "", errors.New("the other side's certificate is not verified")
	}
	if leaf := cs.VerifiedChains[0][0]; madeByKey(leaf) {
		return operatorOf(leaf)
	}
	return operatorShown(cs.PeerCertificates), nil // Certificates has let him in
}

// operatorOf reads the one operator that a certificate carries.
func operatorOf(cert *x509.Certificate) (string, error) {
	found := ""
	for _, u := range cert.URIs {
		switch u.Scheme {
		case operatorScheme:
		case idScheme: // nobody is both
			return "", errNoOperator
		default:
			continue
		}
		name, err := url.PathUnescape(strings.TrimPrefix(u.EscapedPath(), "/"))
		if err != nil || name == "" || found != "" {
			return "", errNoOperator
		}
		found = name
	}
	if found == "" {
		return "", errNoOperator
	}
	return found, nil
}
