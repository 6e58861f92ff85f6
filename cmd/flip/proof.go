package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/secure"
)

// proof is how a person shows a cluster that he may control it: by its key, by a
// certificate, or by both.
type proof struct {
	keyFile string
	own     secure.Files // all three or none
}

const proofHint = "--key-file FILE, or where the nodes have `tls` --cert FILE --tls-key FILE --ca FILE"

// proofFlags are those of the command line.
func proofFlags(c *cli.Context) proof {
	return proof{stringFlag(c, "key-file"), secure.Files{Cert: stringFlag(c, "cert"), Key: stringFlag(c, "tls-key"), CA: stringFlag(c, "ca")}}
}

// or fills in from another proof what this one does not say; the three files of a
// certificate belong together.
func (p proof) or(other proof) proof {
	p.keyFile = or(p.keyFile, other.keyFile)
	if p.own == (secure.Files{}) {
		p.own = other.own
	}
	return p
}

// envProof is what the environment says.
func (a *App) envProof() proof {
	return proof{a.Env("FLIP_KEY_FILE"), secure.Files{Cert: a.Env("FLIP_CERT"), Key: a.Env("FLIP_TLS_KEY"), CA: a.Env("FLIP_CA")}}
}

func (p proof) empty() bool { return p == proof{} }

// flag is one that was set, for a message.
func (p proof) flag() string {
	for _, f := range []struct{ name, value string }{
		{"--key-file", p.keyFile}, {"--cert", p.own.Cert}, {"--tls-key", p.own.Key}, {"--ca", p.own.CA},
	} {
		if f.value != "" {
			return f.name
		}
	}
	return ""
}

// whole refuses a certificate without its key, and the like.
func (p proof) whole() error {
	if p.own == (secure.Files{}) || p.own.Cert != "" && p.own.Key != "" && p.own.CA != "" {
		return nil
	}
	return &usageError{what: "--cert, --tls-key and --ca go together: one of them is missing", hint: "--cert FILE --tls-key FILE --ca FILE: your certificate, its private key, and the authority of the nodes' certificates"}
}

// absolute makes its paths independent of where a command is run.
func (p *proof) absolute() error {
	for _, name := range []*string{&p.keyFile, &p.own.Cert, &p.own.Key, &p.own.CA} {
		if *name == "" {
			continue
		}
		abs, err := filepath.Abs(*name)
		if err != nil {
			return fmt.Errorf("find %s: %w", *name, err)
		}
		*name = abs
	}
	return nil
}

// credentials reads the files, and makes of them what a client presents; otherKey tells
// which failures mean that a server has another key. Deriving takes a tenth of a
// second.
func (a *App) credentials(p proof) (config *tls.Config, otherKey func(error) bool, err error) {
	var keys *secure.Keys
	if p.keyFile != "" {
		key, err := readKey(p.keyFile)
		if err != nil {
			return nil, nil, err
		}
		a.warnMode(p.keyFile, "the cluster's key")
		if keys, err = secure.Derive([]byte(key)); err != nil {
			return nil, nil, fmt.Errorf("derive the cluster's keys from %s: %w", p.keyFile, err)
		}
		if p.own == (secure.Files{}) {
			return keys.Operator(operatorName()), secure.IsKeyMismatch, nil
		}
	}
	config, troubles, err := secure.OperatorFiles(p.own, keys, operatorName())
	var known *secure.CertError
	if errors.As(err, &known) {
		return nil, nil, hinted{err, known.Do}
	}
	if err != nil {
		return nil, nil, err
	}
	for _, t := range troubles {
		a.complain("warning: "+t.What, t.Do)
	}
	return config, secure.IsKeyMismatch, nil
}

// usable reads the files, so that a context does not name what cannot be used.
func (a *App) usable(p proof) error {
	if p.keyFile != "" {
		if _, err := readKey(p.keyFile); err != nil {
			return err
		}
		a.warnMode(p.keyFile, "the cluster's key")
	}
	if p.own == (secure.Files{}) {
		return nil
	}
	_, _, err := a.credentials(proof{own: p.own})
	return err
}
