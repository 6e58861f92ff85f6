package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/mattn/go-isatty"

	"github.com/flip-ha/flip/actions/doctor"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/secure"
)

// openKeys reads what this node seals, calls and answers with.
func (d *daemon) openKeys(ctx context.Context) (err error) {
	if d.keys, err = openKeyring(ctx, d.paths.data, d.file.Node, d.log, deriveHere); err != nil {
		return err
	}
	d.as, err = d.credentials(d.keys.Ring)
	return err
}

// credentials are what this node shows on the servers' port and whom it takes there:
// those of the file's `tls`, if it has it, else what the key makes.
func (d *daemon) credentials(ring *secure.Ring) (secure.Credentials, error) {
	if d.file.Node.TLS == nil {
		return ring.As(d.self, ring), nil
	}
	config := certConfig(d.file)
	config.Log = d.log
	var err error
	if d.certs, err = secure.OpenCertificates(config, ring); err != nil {
		return nil, certHinted(err)
	}
	return d.certs.As(d.self), nil
}

// operator is the configuration with which this node asks another what operators may.
func (d *daemon) operator(name string) *tls.Config {
	if d.certs != nil {
		return d.certs.Operator(name)
	}
	return d.keys.Operator(name)
}

// certConfig is what a file says of certificates.
func certConfig(file *config.File) secure.CertConfig {
	own := file.Node.TLS
	return secure.CertConfig{
		Files: secure.Files{Cert: own.Cert, Key: own.Key, CA: own.CA}, Self: file.Node.ID,
		Operators: own.Operators, AcceptKey: own.AcceptKey,
	}
}

// certHinted shows what to do about certificates.
func certHinted(err error) error {
	var known *secure.CertError
	if errors.As(err, &known) {
		return hinted{err, known.Do}
	}
	return err
}

// runCertificates has certificates read again when their files change.
func (d *daemon) runCertificates(ctx context.Context) error {
	if d.certs == nil {
		return nil
	}
	return d.certs.Run(ctx)
}

// watchCertificates is runCertificates for a node that does not run yet, until the
// function it returns is called.
func (d *daemon) watchCertificates(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = d.runCertificates(ctx) }) // it ends with ctx, and without an error
	return func() {
		cancel()
		running.Wait()
	}
}

// hearHangup reads certificates again on SIGHUP, which otherwise does nothing: a
// daemon has no terminal to lose. One that was started on a terminal ends with it.
func (d *daemon) hearHangup(ctx context.Context) error {
	if isatty.IsTerminal(os.Stdin.Fd()) {
		return nil
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
		}
		if d.certs == nil {
			d.log.Info().Msg("told to read its files again: nothing in them counts before a restart")
			continue
		}
		d.log.Info().Msg("told to read its certificates again")
		d.certs.Look()
	}
}

// certAlarms are what is wrong with this node's certificates, or will be soon.
func (d *daemon) certAlarms() []api.Alarm {
	if d.certs == nil {
		return nil
	}
	var out []api.Alarm
	for _, t := range d.certs.Troubles() {
		severity := api.Warning
		if t.Critical {
			severity = api.Critical
		}
		out = append(out, api.Alarm{Severity: severity, What: t.What, Do: t.Do})
	}
	return out
}

// certificates judges the operator's own, as the daemon reads them at its start.
func (p *patient) certificates() []doctor.Finding {
	if p.file.Node.TLS == nil {
		return nil
	}
	found := doctor.Finding{Check: "certificates", On: p.file.Node.TLS.Cert, Verdict: doctor.OK}
	seen, troubles, err := secure.Examine(certConfig(p.file))
	var known *secure.CertError
	switch {
	case errors.Is(err, os.ErrPermission):
		found.Verdict, found.Found = doctor.Skip, "only the user that flip runs as may read them: run as root"
	case errors.As(err, &known):
		found.Verdict, found.Found, found.Do = doctor.Bad, known.Error(), known.Do
	case err != nil:
		found.Verdict, found.Found, found.Do = doctor.Bad, err.Error(), "see `tls` in "+p.name
	default:
		found.Found = fmt.Sprintf("of %s, by %s, until %s", seen.Names, seen.Issuer, seen.Ends.Local().Format("2006-01-02"))
	}
	out := []doctor.Finding{found}
	for _, t := range troubles {
		f := doctor.Finding{Check: found.Check, On: found.On, Verdict: doctor.Warn, Found: t.What, Do: t.Do}
		if t.Critical {
			f.Verdict = doctor.Bad
		}
		out = append(out, f)
	}
	return out
}
