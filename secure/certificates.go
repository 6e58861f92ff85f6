package secure

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

const (
	// lookEvery is how often the files are read again: renewing is done by all
	// sorts of programs, and none of them knows flip. Three small files.
	lookEvery = 2 * time.Second
	// warnAhead is how long before its end a certificate is warned of, and
	// warnShare the part of its life for those that live shorter than that:
	// what renews them does so earlier.
	warnAhead = 14 * 24 * time.Hour
	warnShare = 5
)

// CertConfig is what Certificates are made of.
type CertConfig struct {
	Files Files
	Self  fsm.MemberID
	// Operators are the names whose certificates may control the cluster without its
	// key; "*": all.
	Operators []string
	// AcceptKey: certificates that the key makes are taken too.
	AcceptKey bool
	Log       zerolog.Logger
}

// Certificates are the operator's own, in place of those that the key makes: a
// member is who shows a certificate of the authority that names it, and the voucher
// that only who has the key can make. They are read again when their files change;
// connections that there are go on.
type Certificates struct {
	cfg  CertConfig
	ring *Ring
	now  func() time.Time
	own  atomic.Pointer[own]
	look chan struct{} // capacity 1

	mu      sync.Mutex
	failed  *CertError         // of the last reading; nil: it did not fail
	lasting bool               // and so it did the time before
	shown   map[string]shownAs // by the URI of the vouchers
	open    map[*Conn]struct{}
}

func newCertificates(cfg CertConfig, ring *Ring) *Certificates {
	return &Certificates{cfg: cfg, ring: ring, now: time.Now, look: make(chan struct{}, 1), shown: make(map[string]shownAs), open: make(map[*Conn]struct{})}
}

// OpenCertificates reads the files; its error is a *CertError if it is about them.
// That they do not hold today is none: Troubles has it.
func OpenCertificates(cfg CertConfig, ring *Ring) (*Certificates, error) {
	c := newCertificates(cfg, ring)
	o, err := c.read()
	if err != nil {
		return nil, err
	}
	c.own.Store(o)
	c.tell(o, "certificates of this cluster's own authority")
	return c, nil
}

func (c *Certificates) read() (*own, error) { return readFor(c.cfg) }

func readFor(cfg CertConfig) (*own, error) {
	o, err := readFiles(cfg.Files)
	if err != nil {
		return nil, err
	}
	return o, o.fits(cfg.Files, cfg.Self)
}

// Examined is what is worth knowing of a node's certificate.
type Examined struct {
	Names, Issuer string
	Ends          time.Time // the certificate's own or its authority's, whichever is first
}

// Examine reads certificates as OpenCertificates does, to tell of them.
func Examine(cfg CertConfig) (Examined, []CertTrouble, error) {
	o, err := readFor(cfg)
	if err != nil {
		return Examined{}, nil, err
	}
	return Examined{title(o.leaf()), legible(o.leaf().Issuer.String()), o.ends}, o.troubles(cfg.Files, time.Now()), nil
}

// tell logs what is in use now.
func (c *Certificates) tell(o *own, what string) {
	c.cfg.Log.Info().Str("cert", c.cfg.Files.Cert).Str("names", title(o.leaf())).
		Str("issuer", o.leaf().Issuer.String()).Time("ends", o.ends.UTC()).Msg(what)
	for _, t := range c.Troubles() {
		c.cfg.Log.Warn().Str("hint", t.Do).Msg(t.What)
	}
}

// Run reads the files again whenever they have changed, until ctx ends.
func (c *Certificates) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-c.look:
		}
		c.again(ctx)
	}
}

// Look has Run read the files at once.
func (c *Certificates) Look() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// again reads the files, and uses what they say if it can be used. What is written
// in several steps does not fit for a moment: one that fails is tried again.
func (c *Certificates) again(ctx context.Context) {
	was := c.own.Load()
	o, err := c.read()
	if err != nil {
		c.fail(err)
		return
	}
	c.mu.Lock()
	mended := c.lasting
	c.failed, c.lasting = nil, false
	c.mu.Unlock()
	switch {
	case o.sum != was.sum:
		c.own.Store(o)
		c.tell(o, "certificates were read again: new connections are made with them")
		cutOff(ctx, c.renewed(was, o))
	case o.mode != was.mode:
		c.own.Store(o)
	case mended:
		c.cfg.Log.Info().Msg("the certificates' files are as they were")
	}
}

// fail remembers a reading that failed; it is worth a word once it stays so.
func (c *Certificates) fail(err error) {
	var failed *CertError
	if !errors.As(err, &failed) {
		failed = &CertError{What: "read the certificates", Err: err}
	}
	c.mu.Lock()
	same := c.failed != nil && c.failed.Error() == failed.Error()
	news := same && !c.lasting
	c.failed, c.lasting = failed, same
	c.mu.Unlock()
	if news {
		c.cfg.Log.Warn().Err(failed).Str("hint", failed.Do).Msg(unusable)
	}
}

const unusable = "the certificates' files have changed and cannot be used: those read before are"

// CertTrouble is what a person should know of this node's certificates.
type CertTrouble struct {
	Critical bool // connections fail, or will at the next start
	What, Do string
}

const renew = "renew it: flip reads its files again within seconds, without a restart"

// Troubles are what is wrong now, or will be soon.
func (c *Certificates) Troubles() []CertTrouble {
	c.mu.Lock()
	failed, lasting := c.failed, c.lasting
	c.mu.Unlock()
	out := c.own.Load().troubles(c.cfg.Files, c.now())
	if lasting {
		out = append(out, CertTrouble{Critical: true, What: unusable + ": " + failed.Error(), Do: failed.Do})
	}
	return out
}

// troubles are those of one reading.
func (o *own) troubles(f Files, now time.Time) []CertTrouble {
	var out []CertTrouble
	left := o.ends.Sub(now)
	switch early := outOfTime(o.leaf(), now); {
	case left <= 0:
		out = append(out, CertTrouble{
			Critical: true, Do: renew,
			What: fmt.Sprintf("the certificate in %s, or its authority's, has expired on %s: nobody takes new connections of this node", f.Cert, o.ends.UTC().Format(day)),
		})
	case early != nil:
		out = append(out, CertTrouble{Critical: true, What: early.What, Do: early.Do})
	case left < min(warnAhead, o.ends.Sub(o.begun)/warnShare):
		out = append(out, CertTrouble{
			Do: renew, What: fmt.Sprintf("the certificate in %s, or its authority's, expires in %s, on %s", f.Cert, inDays(left), o.ends.UTC().Format(day)),
		})
	}
	if open := openTo(o.mode); open != "" {
		out = append(out, CertTrouble{
			What: fmt.Sprintf("%s can open the private key %s (%s)", open, f.Key, o.mode), Do: "chmod 0600 " + f.Key,
		})
	}
	return out
}

// openTo says whom a mode lets at a private key besides its owner; "": nobody. A
// group of its own may have one, as with Debian's ssl-cert.
func openTo(mode fs.FileMode) string {
	switch {
	case mode&0o006 != 0:
		return "everybody"
	case mode&0o020 != 0:
		return "its group"
	default:
		return ""
	}
}

func inDays(left time.Duration) string {
	const days = 24 * time.Hour
	switch {
	case left >= 2*days:
		return fmt.Sprintf("%d days", left/days)
	case left >= 2*time.Hour:
		return fmt.Sprintf("%d hours", left/time.Hour)
	default:
		return fmt.Sprintf("%d minutes", left/time.Minute)
	}
}

// admit notes a connection that is made with these certificates.
func (c *Certificates) admit(conn *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn] = struct{}{}
	before := conn.closed
	conn.closed = func() {
		if before != nil {
			before()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, conn)
	}
}

// renewed says of all connections that new ones would be by other certificates, and
// gives those whose other side's authority is not trusted any more.
func (c *Certificates) renewed(was, is *own) (void []*Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		conn.outdated.Store(true)
		if is.pool.Equal(was.pool) {
			continue
		}
		if !is.trusts(conn.ConnectionState().PeerCertificates, c.now()) {
			void = append(void, conn)
		}
	}
	return void
}

// trusts reports whether certificates are of an authority that counts; that they were
// valid when they were shown is enough.
func (o *own) trusts(certs []*x509.Certificate, now time.Time) bool {
	last := certs[0].NotAfter
	for _, c := range certs {
		if c.NotAfter.Before(last) {
			last = c.NotAfter
		}
	}
	for _, at := range []time.Time{last, now} {
		if _, err := o.verify(certs, x509.ExtKeyUsageAny, at); err == nil {
			return true
		}
	}
	return false
}

// cutOff ends connections, some at once and the others one by one: they all come
// back for a handshake.
func cutOff(ctx context.Context, conns []*Conn) {
	tick := time.NewTicker(cutPause)
	defer tick.Stop()
	for n, conn := range conns {
		conn.cut()
		if n < cutAtOnce {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
