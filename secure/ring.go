package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// KeySet is which keys count at one moment. While a key is rotated there are two of
// them, which all nodes accept.
type KeySet struct {
	Send *Keys   // sealed with, called with, and accepted; never nil
	Also []*Keys // accepted beside it
	Gone []*Keys // rotated away: refused, and who shows one is told so
}

// counting are the keys that are accepted, first the one that is sent by.
func (s KeySet) counting() []*Keys { return append([]*Keys{s.Send}, s.Also...) }

// Find looks a key up by its mark, and says whether it counts; nil: it is unknown.
func (s KeySet) Find(mark string) (k *Keys, counts bool) {
	has := func(k *Keys) bool { return k.mark == mark }
	if i := slices.IndexFunc(s.counting(), has); i >= 0 {
		return s.counting()[i], true
	}
	if i := slices.IndexFunc(s.Gone, has); i >= 0 {
		return s.Gone[i], false
	}
	return nil, false
}

// Ring is the keys of one process. They may change at any time: what is sealed,
// opened, called and answered from then on is by the new ones. All methods are safe
// for concurrent use.
type Ring struct {
	set     atomic.Pointer[KeySet]
	ciphers atomic.Pointer[ciphers]

	mu   sync.Mutex
	open map[*Conn]string // the mark of the key that each was made with
}

// NewRing makes a Ring.
func NewRing(set KeySet) *Ring {
	r := &Ring{open: make(map[*Conn]string)}
	r.Set(set)
	return r
}

// Keys are those of now; nobody may change them.
func (r *Ring) Keys() KeySet { return *r.set.Load() }

// Set changes the keys. Connections made with a key that another one has taken the
// place of are Outdated from then on; those whose key does not count any more are
// for Cut to end.
func (r *Ring) Set(set KeySet) {
	c := &ciphers{}
	for _, k := range set.counting() {
		c.add(k)
	}
	for _, k := range set.Gone {
		c.list = append(c.list, k.aead())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set.Store(&set)
	r.ciphers.Store(c)
	for conn, mark := range r.open {
		conn.outdated.Store(mark != set.Send.mark)
	}
}

const (
	// cutAtOnce is how many connections are ended in one go; whoever made them comes
	// back at once, and a handshake takes 2 ms of computing.
	cutAtOnce = 32
	cutPause  = 4 * time.Millisecond
)

// Cut ends the connections whose key does not count any more, whoever uses them. It
// returns when there are none, or ctx ends.
func (r *Ring) Cut(ctx context.Context) {
	tick := time.NewTicker(cutPause)
	defer tick.Stop()
	for n := 0; ; n++ {
		c := r.void()
		if c == nil {
			return
		}
		c.cut()
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

// void takes one connection off the list whose key does not count.
func (r *Ring) void() *Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c, mark := range r.open {
		if _, counts := r.Keys().Find(mark); !counts {
			delete(r.open, c)
			return c
		}
	}
	return nil
}

// Outdated is how many connections are by a key that this process does not call with
// any more.
func (r *Ring) Outdated() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		if c.Outdated() {
			n++
		}
	}
	return n
}

// admit notes a connection made with the key of a mark.
func (r *Ring) admit(c *Conn, mark string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := r.Keys()
	if _, counts := set.Find(mark); !counts { // it was rotated away during the handshake
		return ErrRotatedAway
	}
	c.outdated.Store(mark != set.Send.mark)
	c.closed = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, c)
	}
	r.open[c] = mark
	return nil
}

// Server is Keys.Server for a member with the ring. A caller names the key that it has,
// and is answered with that one. One with a key that was rotated away is shown a
// certificate of that key which says so; one with an unknown key sees this one's, and so
// finds out too.
func (r *Ring) Server(self Identity) *tls.Config {
	config := r.Keys().Send.server(self)
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		set := r.Keys()
		switch k, counts := noteKey(hello, set); {
		case counts:
			return k.server(self), nil
		case k != nil:
			return k.obituary(set.Send.mark), nil
		default:
			return set.Send.server(self), nil
		}
	}
	return config
}

// Client is Keys.Client with the key that is sent by now: for one connection.
func (r *Ring) Client(self, want Identity, proto string) *tls.Config {
	return r.Keys().Send.Client(self, want, proto)
}

// Operator is Keys.Operator with the key that is sent by now.
func (r *Ring) Operator(name string) *tls.Config { return r.Keys().Send.Operator(name) }

// Shown is where the configurations of a member come from: its Ring, or certificates of
// the operator's own behind which a key of the Ring stands.
type Shown interface {
	Server(self Identity) *tls.Config
	Client(self, want Identity, proto string) *tls.Config
}

// As are the Credentials of a member that has the ring and shows what by gives.
func (r *Ring) As(self Identity, by Shown) Credentials { return &ringed{r, self, by} }

// ringed is a member whose connections end with the keys they were made with.
type ringed struct {
	ring *Ring
	self Identity
	by   Shown
}

// Server implements Credentials.
func (m *ringed) Server() *tls.Config { return m.by.Server(m.self) }

// Client implements Credentials.
func (m *ringed) Client(want Identity, proto string) *tls.Config {
	return m.by.Client(m.self, want, proto)
}

// Meet implements Credentials.
func (m *ringed) Meet(_ context.Context, c *Conn, want Identity) error {
	if err := c.introduce(); err != nil {
		return err
	}
	if err := want.check(c.peer); err != nil {
		return err
	}
	for _, cert := range c.ConnectionState().PeerCertificates {
		if mark := markOfIssuer(cert); mark != "" {
			return m.ring.admit(c, mark)
		}
	}
	return nil // by certificates alone
}

// Explain implements Credentials.
func (m *ringed) Explain(err error) error {
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || unknown.Cert == nil {
		return err
	}
	if k, counts := m.ring.Keys().Find(markOfIssuer(unknown.Cert)); k != nil && !counts {
		return fmt.Errorf("%w: %w", ErrPeerRotatedAway, err)
	}
	return err
}
