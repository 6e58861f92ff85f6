package secure

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// As are the Credentials of a member with these certificates.
func (c *Certificates) As(self Identity) Credentials {
	return &certified{c, self, c.ring.As(self, c.ring)}
}

// certified is a member with certificates of the operator's own.
type certified struct {
	*Certificates
	self  Identity
	byKey Credentials // what the key makes, for AcceptKey
}

// Server implements Credentials. It lets in members; to ProtoAPI, and there only,
// operators.
func (m *certified) Server() *tls.Config {
	config := m.byKey.Server() // what of it does not depend on certificates is the same
	byKey := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if m.cfg.AcceptKey && strings.HasSuffix(hello.ServerName, serverDomain) {
			return byKey(hello)
		}
		shown, err := m.certificate(m.self.String(), m.self.uri())
		if err != nil {
			return nil, err
		}
		w, watches := hello.Conn.(*watched)
		if watches {
			w.own.Store(true)
		}
		one := config.Clone()
		one.GetConfigForClient, one.GetCertificate, one.Certificates = nil, nil, []tls.Certificate{*shown}
		one.ClientCAs, one.Time = m.own.Load().pool, m.now
		one.VerifyConnection = func(cs tls.ConnectionState) error {
			err := m.admits(cs)
			if watches && errors.Is(err, ErrPeerRotatedAway) {
				w.oldKey.Store(true)
			}
			return err
		}
		return one, nil
	}
	return config
}

// admits judges a caller whose chain is verified.
func (m *certified) admits(cs tls.ConnectionState) error {
	if cs.NegotiatedProtocol == ProtoAPI {
		return m.admitsOperator(cs.PeerCertificates)
	}
	_, _, err := m.member(cs.PeerCertificates)
	return err
}

// Client implements Credentials.
func (m *certified) Client(want Identity, proto string) *tls.Config {
	byKey := m.byKey.Client(want, proto).GetClientCertificate
	return m.caller(want, proto, func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if m.cfg.AcceptKey && wantsKey(info.AcceptableCAs) {
			return byKey(info)
		}
		return m.certificate(m.self.String(), m.self.uri())
	})
}

// wantsKey reports whether a server takes the certificates of a key and no others.
func wantsKey(authorities [][]byte) bool {
	for _, name := range authorities { // DER, in which a text stands as it is
		if !bytes.Contains(name, []byte(issuerPrefix)) {
			return false
		}
	}
	return len(authorities) > 0
}

// Meet implements Credentials.
func (m *certified) Meet(_ context.Context, c *Conn, want Identity) error {
	cs := c.ConnectionState()
	if len(cs.PeerCertificates) == 0 {
		return errNoIdentity
	}
	leaf := cs.PeerCertificates[0]
	mark, err := "", error(nil)
	switch byKey := madeByKey(leaf); {
	case cs.NegotiatedProtocol == ProtoAPI && byKey:
		mark = markOfIssuer(leaf)
	case cs.NegotiatedProtocol == ProtoAPI: // who is named needs no voucher
		var voucher *x509.Certificate
		if voucher, err = m.ring.Keys().vouched(cs.PeerCertificates); voucher != nil {
			mark = markOfIssuer(voucher)
		}
	case byKey: // verified by the handshake
		c.peer, err = identityOf(leaf)
		mark = markOfIssuer(leaf)
	default:
		c.peer, mark, err = m.member(cs.PeerCertificates)
	}
	if err == nil && cs.NegotiatedProtocol != ProtoAPI {
		err = want.check(c.peer)
	}
	if err == nil && mark != "" {
		err = m.ring.admit(c, mark)
	}
	if err == nil && !madeByKey(leaf) {
		m.admit(c)
	}
	return err
}

// Explain implements Credentials.
func (m *certified) Explain(err error) error {
	if known := certificateProblem(err, m.now()); known != nil {
		return known
	}
	return m.byKey.Explain(err)
}

// Operator is the configuration of a member that asks another what operators may.
func (c *Certificates) Operator(name string) *tls.Config {
	return c.caller(Identity{}, ProtoAPI, func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return c.certificate("operator "+name, operatorURI(name))
	})
}

// caller is the configuration of whoever shows what shown gives.
func (c *Certificates) caller(want Identity, proto string, shown func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The name is looked for where members have it, which is not only where names of
		// the DNS are; VerifyConnection does all of it.
		InsecureSkipVerify:   true,
		ServerName:           string(want.Name),
		NextProtos:           []string{proto},
		Time:                 c.now,
		GetClientCertificate: shown,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != proto {
				return fmt.Errorf("%w: wanted %s", ErrProtocol, proto)
			}
			got, err := c.server(cs.PeerCertificates)
			if err != nil {
				return err
			}
			return want.check(got)
		},
	}
}

// server is who answers with these certificates.
func (c *Certificates) server(certs []*x509.Certificate) (Identity, error) {
	if len(certs) == 0 {
		return Identity{}, errors.New("the other side shows no certificate")
	}
	if leaf := certs[0]; c.cfg.AcceptKey && madeByKey(leaf) {
		k, counts := c.ring.Keys().Find(markOfIssuer(leaf))
		switch {
		case k == nil || !k.madeThis(leaf):
			return Identity{}, ErrOtherKey
		case isRotated(leaf):
			return Identity{}, ErrRotatedAway
		case !counts:
			return Identity{}, ErrPeerRotatedAway
		}
		return identityOf(leaf)
	}
	if _, err := c.own.Load().verify(certs, x509.ExtKeyUsageServerAuth, c.now()); err != nil {
		return Identity{}, unverified(certs[0], err, c.now())
	}
	id, _, err := c.member(certs)
	return id, err
}

// member is who shows these certificates, of which the chain is verified, and the
// mark of the key that has vouched.
func (c *Certificates) member(certs []*x509.Certificate) (Identity, string, error) {
	voucher, err := c.ring.Keys().vouched(certs)
	switch {
	case err != nil:
		return Identity{}, "", err
	case voucher == nil:
		return Identity{}, "", &CertError{
			What: fmt.Sprintf("%s has a certificate of the authority and is no member: it does not show that it has the cluster's key", title(certs[0])),
			Do:   "a member has `tls` and the cluster's `key` in its file; an operator asks with `flip --address`",
		}
	}
	id, err := identityOf(voucher)
	if err != nil {
		return Identity{}, "", err
	}
	if !isNamed(certs[0], id.Name) {
		return Identity{}, "", &CertError{
			What: fmt.Sprintf("%s shows a certificate of %s", id.Name, title(certs[0])),
			Do:   fmt.Sprintf("issue it one with %s as a DNS name, or as its common name", id.Name),
		}
	}
	return id, markOfIssuer(voucher), nil
}

// admitsOperator decides who may control the cluster: who shows that he has its key,
// whose certificate says so itself, and who is named.
func (c *Certificates) admitsOperator(certs []*x509.Certificate) error {
	if voucher, err := c.ring.Keys().vouched(certs); voucher != nil || err != nil {
		return err
	}
	leaf := certs[0]
	if _, err := operatorOf(leaf); err == nil {
		return nil
	}
	names := append(namesOf(leaf), leaf.EmailAddresses...)
	for _, known := range c.cfg.Operators {
		if known == everybody || slices.Contains(names, known) {
			return nil
		}
	}
	return &CertError{
		What: fmt.Sprintf("the certificate of %s may not control this cluster", title(leaf)),
		Do:   "name it under `operators` of `tls` in the nodes' files; or ask with the cluster's key too: --key-file",
	}
}

// everybody among the operators is whoever has a certificate.
const everybody = "*"

// operatorShown is an operator's name for the log, as a certificate that is not made
// by the key has it.
func operatorShown(certs []*x509.Certificate) string {
	who := title(certs[0])
	for _, voucher := range vouchersIn(certs) {
		if name, err := operatorOf(voucher); err == nil {
			return name + " (" + who + ")"
		}
	}
	if name, err := operatorOf(certs[0]); err == nil {
		return name
	}
	return who
}

// OperatorFiles is the configuration of an operator with a certificate of his own.
// The server's has to name the address that he calls it by; with the cluster's key
// (keys is not nil) it need not, and the servers need not know his name.
func OperatorFiles(f Files, keys *Keys, name string) (*tls.Config, []CertTrouble, error) {
	o, err := readFiles(f)
	if err != nil {
		return nil, nil, err
	}
	troubles := o.troubles(f, time.Now())
	if keys != nil {
		c := newCertificates(CertConfig{Files: f}, NewRing(KeySet{Send: keys}))
		c.own.Store(o)
		return c.Operator(name), troubles, nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: o.pool, NextProtos: []string{ProtoAPI},
		Certificates: []tls.Certificate{{Certificate: o.chain, PrivateKey: o.key, Leaf: o.leaf()}},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != ProtoAPI {
				return fmt.Errorf("%w: wanted %s", ErrProtocol, ProtoAPI)
			}
			return nil
		},
	}, troubles, nil
}

// certificate is what this process shows as uri: the operator's chain, and behind
// it the vouchers.
func (c *Certificates) certificate(name string, uri *url.URL) (*tls.Certificate, error) {
	o, set := c.own.Load(), c.ring.set.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.shown[uri.String()]; ok && have.of == o && have.by == set {
		return have.Certificate, nil
	}
	vouchers, err := set.vouchers(o.leaf().PublicKey, name, uri)
	if err != nil {
		return nil, err
	}
	made := &tls.Certificate{Certificate: slices.Concat(o.chain, vouchers), PrivateKey: o.key, Leaf: o.leaf()}
	c.shown[uri.String()] = shownAs{made, o, set}
	return made, nil
}

// shownAs is a certificate as it was last made.
type shownAs struct {
	*tls.Certificate
	of *own
	by *KeySet
}
